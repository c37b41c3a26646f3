/* SPDX-License-Identifier: MIT */
/* Why a fault came about, as far as software can tell. */
#include <granule/domain.h>

#include "core/bits.h"
#include "core/list.h"
#include "iommu/adopt.h"

/* Reasons that tables can give for a fault; all others come from elsewhere in the hardware. */
#define OF_TABLES                                                                                  \
    (GR_FAULT_NO_ROOT | GR_FAULT_NO_TABLE | GR_FAULT_NO_LEAF | GR_FAULT_READ_PROT |                \
     GR_FAULT_WRITE_PROT | GR_FAULT_WINDOW | GR_FAULT_UNKNOWN)

const char *gr_diagnosis_name(enum gr_diagnosis diagnosis)
{
    static const char *const names[] = {
        [GR_DIAGNOSIS_STALE] = "stale translation",
        [GR_DIAGNOSIS_NEVER_MAPPED] = "never mapped",
        [GR_DIAGNOSIS_CHANGING] = "being mapped or unmapped",
        [GR_DIAGNOSIS_PROTECTION] = "mapped without this permission",
        [GR_DIAGNOSIS_WINDOW] = "outside the buffer's part of the granule",
        [GR_DIAGNOSIS_OUTSIDE] = "outside the window",
        [GR_DIAGNOSIS_FIRMWARE] = "firmware region",
        [GR_DIAGNOSIS_BLOCKED] = "blocked",
        [GR_DIAGNOSIS_HARDWARE] = "refused by the hardware beside the tables",
    };

    return (size_t)diagnosis < GRI_ARRAY_SIZE(names) ? names[diagnosis] : NULL;
}

static bool group_reserves(const struct gr_group *group, gr_iova_t iova)
{
    GRI_LIST_FOREACH(link, &group->members) {
        const struct gr_device *const dev = GRI_CONTAINER(link, struct gr_device, group_link);

        for (unsigned i = 0; i < dev->config.reserved_count; i++) {
            if (gri_range_contains(&dev->config.reserved[i], iova, iova))
                return true;
        }
    }
    return false;
}

static bool is_reserved(const struct gr_domain *domain, gr_iova_t iova)
{
    GRI_LIST_FOREACH(link, &domain->groups) {
        if (group_reserves(GRI_CONTAINER(link, struct gr_group, domain_link), iova))
            return true;
    }
    return false;
}

static bool is_allocated(struct gr_domain *domain, gr_iova_t iova)
{
    const uint64_t mask = gri_mask(domain->pt.granule_lg2);

    return domain->type == GR_DOMAIN_TRANSLATED &&
           gr_iova_check(&domain->iova, iova & ~mask, mask + 1) != GR_ENOENT;
}

/* Why an access to an IOVA that is mapped was refused. */
static enum gr_diagnosis diagnose_leaf(const struct gr_domain *domain, const struct gr_fault *fault,
                                       const struct gr_pt_walk *walk)
{
    const unsigned want = fault->write ? GR_PROT_WRITE : GR_PROT_READ;
    const uint64_t offset = fault->iova & gri_mask(domain->pt.granule_lg2);

    if (fault->access_known && !(walk->prot & want))
        return GR_DIAGNOSIS_PROTECTION;
    if (!gri_range_contains(&walk->window, offset, offset))
        return GR_DIAGNOSIS_WINDOW;
    return GR_DIAGNOSIS_STALE;
}

/* domain->lock is held, so that no table is freed under the walk. */
static enum gr_diagnosis diagnose(struct gr_domain *domain, const struct gr_fault *fault)
{
    const gr_iova_t iova = fault->iova;
    const bool inside = gri_range_contains(&domain->aperture, iova, iova);
    struct gr_pt_walk walk;

    if (!(fault->reasons & OF_TABLES))
        return GR_DIAGNOSIS_HARDWARE;
    if (domain->broken || domain->type == GR_DOMAIN_BLOCKED)
        return GR_DIAGNOSIS_BLOCKED;
    if (!domain->pt.ops) /* IDENTITY: no tables that could have refused the access */
        return GR_DIAGNOSIS_HARDWARE;
    if (inside && !gr_pt_walk(&domain->pt, iova, &walk))
        return diagnose_leaf(domain, fault, &walk);
    if (is_reserved(domain, iova) || gri_fixed_overlaps(domain, iova, iova))
        return GR_DIAGNOSIS_FIRMWARE;
    if (!inside)
        return GR_DIAGNOSIS_OUTSIDE;
    return is_allocated(domain, iova) ? GR_DIAGNOSIS_CHANGING : GR_DIAGNOSIS_NEVER_MAPPED;
}

enum gr_diagnosis gr_domain_diagnose(struct gr_domain *domain, const struct gr_fault *fault)
{
    const gr_lock_state_t state = gr_port_lock(&domain->lock);
    const enum gr_diagnosis found = diagnose(domain, fault);

    gr_port_unlock(&domain->lock, state);
    return found;
}
