/* SPDX-License-Identifier: MIT */
/* Reserved regions of devices. */
#include "iommu/adopt.h"

#include "core/bits.h"
#include "core/list.h"
#include "core/log.h"

static bool is_mapped_region(const struct gr_region *r)
{
    return r->kind != GR_REGION_RESERVED;
}

static gr_pa_t region_pa(const struct gr_region *r)
{
    return r->kind == GR_REGION_DIRECT ? r->iova : r->pa;
}

bool gri_has_regions(const struct gr_group *group)
{
    GRI_LIST_FOREACH(link, &group->members) {
        if (GRI_CONTAINER(link, struct gr_device, group_link)->config.region_count)
            return true;
    }
    return false;
}

int gri_region_check(const struct gr_device_config *config)
{
    for (unsigned i = 0; i < config->region_count; i++) {
        const struct gr_region *const r = &config->regions[i];
        const gr_pa_t pa = region_pa(r);

        if (r->kind < GR_REGION_RESERVED || r->kind > GR_REGION_TRANSLATED || !r->len ||
            gri_overflows(r->iova, r->len))
            return GR_EINVAL;
        if (!is_mapped_region(r))
            continue;
        if (gri_overflows(pa, r->len) || !(r->prot & (GR_PROT_READ | GR_PROT_WRITE)))
            return GR_EINVAL;
        for (unsigned k = 0; k < config->stream_count; k++) {
            const struct gr_instance *const inst = config->streams[k].inst;

            if (!((pa - r->iova) & gri_mask(inst->table.granule_lg2)))
                continue;
            gri_log(inst->env, GR_LOG_ERR,
                    "%s: its region at IOVA %x cannot be mapped to %x: they lie differently in "
                    "granules of %u KiB",
                    config->name, r->iova, pa, 1u << (inst->table.granule_lg2 - 10));
            return GR_EINVAL;
        }
    }
    return 0;
}

/* The IOVAs of a region, in whole granules. */
static struct gr_range region_range(const struct gr_domain *domain, const struct gr_region *r)
{
    const uint64_t mask = domain->pt.granule_mask;

    return (struct gr_range){r->iova & ~mask, (r->iova + (r->len - 1)) | mask};
}

int gri_region_refuse(const struct gr_domain *domain, const struct gr_device *dev, int err,
                      const char *why, gr_iova_t iova)
{
    gri_log(domain->env, GR_LOG_ERR, "%s: no domain: its region at IOVA %x %s", dev->config.name,
            iova, why);
    return err;
}

int gri_region_for_granules(struct gr_domain *domain, const struct gr_group *group,
                            int (*fn)(struct gr_domain *domain, const struct gr_device *dev,
                                      const struct gr_region *r, gr_iova_t iova, gr_pa_t pa))
{
    int ret = 0;

    GRI_LIST_FOREACH(link, &group->members) {
        const struct gr_device *const dev = GRI_CONTAINER(link, struct gr_device, group_link);

        for (unsigned i = 0; !ret && i < dev->config.region_count; i++) {
            const struct gr_region *const r = &dev->config.regions[i];
            const struct gr_range range = region_range(domain, r);
            const uint64_t count = ((range.last - range.first) >> domain->pt.granule_lg2) + 1;
            const gr_pa_t pa = region_pa(r) & ~domain->pt.granule_mask;

            for (uint64_t k = 0; !ret && is_mapped_region(r) && k < count; k++) {
                const uint64_t offset = k << domain->pt.granule_lg2;

                ret = fn(domain, dev, r, range.first + offset, pa + offset);
            }
        }
    }
    return ret;
}

int gri_region_fix(struct gr_domain *domain, const struct gr_group *group)
{
    int ret = 0;

    GRI_LIST_FOREACH(link, &group->members) {
        const struct gr_device *const dev = GRI_CONTAINER(link, struct gr_device, group_link);

        for (unsigned i = 0; !ret && i < dev->config.region_count; i++) {
            const struct gr_range range = region_range(domain, &dev->config.regions[i]);

            ret = gri_fixed_add(domain, range.first, range.last);
        }
    }
    return ret;
}

bool gri_region_all_fixed(const struct gr_domain *domain, const struct gr_group *group)
{
    GRI_LIST_FOREACH(link, &group->members) {
        const struct gr_device *const dev = GRI_CONTAINER(link, struct gr_device, group_link);

        for (unsigned i = 0; i < dev->config.region_count; i++) {
            const struct gr_range range = region_range(domain, &dev->config.regions[i]);

            if (!gri_fixed_contains(domain, range.first, range.last))
                return false;
        }
    }
    return true;
}
