/* SPDX-License-Identifier: MIT */
/*
 * Debug builds: calls on disjoint ranges of a domain may run at the same time, calls on overlapping
 * ranges are the caller's error. Each call notes its range while it runs, and looks for ranges of
 * other calls that overlap its own.
 */
#include "core/log.h"
#include "iommu/iommu_internal.h"

#if GR_CFG_DEBUG

void gri_overlap_init(struct gr_domain *domain)
{
    gr_port_lock_init(&domain->busy_lock);
}

void gri_overlap_fini(struct gr_domain *domain)
{
    gr_port_lock_fini(&domain->busy_lock);
}

void gri_overlap_enter(struct gr_domain *domain, gr_iova_t first, gr_iova_t last)
{
    const gr_lock_state_t state = gr_port_lock(&domain->busy_lock);
    bool met = false;

    for (unsigned i = 0; i < domain->busy_count; i++)
        met = met || (domain->busy[i].first <= last && domain->busy[i].last >= first);
    if (domain->busy_count < GR_CFG_DEBUG_CALLS) /* else this call goes unnoted */
        domain->busy[domain->busy_count++] = (struct gr_range){first, last};
    domain->overlaps += met;
    gr_port_unlock(&domain->busy_lock, state);
    if (met)
        gri_log(domain->env, GR_LOG_ERR,
                "domain: two calls at once on IOVAs of %x..%x: the caller must serialise them",
                first, last);
}

void gri_overlap_leave(struct gr_domain *domain, gr_iova_t first, gr_iova_t last)
{
    const gr_lock_state_t state = gr_port_lock(&domain->busy_lock);

    for (unsigned i = 0; i < domain->busy_count; i++) {
        if (domain->busy[i].first == first && domain->busy[i].last == last) {
            domain->busy[i] = domain->busy[--domain->busy_count];
            break;
        }
    }
    gr_port_unlock(&domain->busy_lock, state);
}

uint64_t gri_overlap_count(struct gr_domain *domain)
{
    const gr_lock_state_t state = gr_port_lock(&domain->busy_lock);
    const uint64_t count = domain->overlaps;

    gr_port_unlock(&domain->busy_lock, state);
    return count;
}

#else

typedef int gri_overlap_is_off; /* ISO C wants a declaration in every file */

#endif
