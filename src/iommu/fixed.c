/* SPDX-License-Identifier: MIT */
/*
 * Fixed ranges of a domain: IOVAs of firmware's mappings and of reserved regions, which the
 * allocator must not hand out.
 */
#include "iommu/adopt.h"

#include "core/bits.h"
#include "core/mem.h"

int gri_fixed_add(struct gr_domain *domain, gr_iova_t first, gr_iova_t last)
{
    struct gr_range *const top =
        domain->fixed_count ? &domain->fixed[domain->fixed_count - 1] : NULL;
    struct gr_range *grown;
    unsigned lg2;

    if (top && top->last + 1 == first) {
        top->last = last;
        return 0;
    }
    if (!domain->fixed || (domain->fixed_count + 1) * sizeof(*grown) >> domain->fixed_lg2) {
        lg2 = domain->fixed ? domain->fixed_lg2 + 1 : 12;
        grown = gr_port_pages_alloc(domain->env, lg2, UINT64_MAX, GR_PAGES_MAY_SLEEP);
        if (!grown)
            return GR_ENOMEM;
        if (domain->fixed) {
            memcpy(grown, domain->fixed, domain->fixed_count * sizeof(*grown));
            gr_port_pages_free(domain->env, domain->fixed, domain->fixed_lg2);
        }
        domain->fixed = grown;
        domain->fixed_lg2 = lg2;
    }
    domain->fixed[domain->fixed_count++] = (struct gr_range){first, last};
    return 0;
}

bool gri_fixed_contains(const struct gr_domain *domain, gr_iova_t first, gr_iova_t last)
{
    for (unsigned i = 0; i < domain->fixed_count; i++) {
        if (gri_range_contains(&domain->fixed[i], first, last))
            return true;
    }
    return false;
}

bool gri_fixed_overlaps(const struct gr_domain *domain, gr_iova_t first, gr_iova_t last)
{
    for (unsigned i = 0; i < domain->fixed_count; i++) {
        if (first <= domain->fixed[i].last && last >= domain->fixed[i].first)
            return true;
    }
    return false;
}

int gri_fixed_reserve(struct gr_domain *domain)
{
    int ret = 0;

    for (unsigned i = 0; !ret && i < domain->fixed_count; i++)
        ret = gr_iova_reserve(&domain->iova, domain->fixed[i].first, domain->fixed[i].last);
    return ret;
}

void gri_fixed_fini(struct gr_domain *domain)
{
    if (domain->fixed)
        gr_port_pages_free(domain->env, domain->fixed, domain->fixed_lg2);
    domain->fixed = NULL;
    domain->fixed_count = 0;
}
