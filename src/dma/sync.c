/* SPDX-License-Identifier: MIT */
/* Handing a part of a mapping to the CPU, and back to the device. */
#include "dma/dma_internal.h"

/* Find the PA of `iova`, and cut *len to what is contiguous in memory from there. */
static int find_run(struct gr_domain *domain, gr_iova_t iova, uint64_t *len, gr_pa_t *out_pa)
{
    const uint64_t mask = gri_mask(domain->pt.granule_lg2);
    int ret = gr_domain_iova_to_phys(domain, iova, out_pa);
    uint64_t run = gri_min(*len, (mask + 1) - (iova & mask));

    if (ret)
        return GR_ENOENT;
    while (run < *len) {
        gr_pa_t next;

        ret = gr_domain_iova_to_phys(domain, iova + run, &next);
        if (ret)
            return GR_ENOENT;
        if (next != *out_pa + run)
            break;
        run = gri_min(*len, run + mask + 1);
    }
    *len = run;
    return 0;
}

/* Find all of [iova, iova + len); with `touch` clean or drop its lines. Returns 0, GR_ENOENT. */
static int sync_caches(struct gr_domain *domain, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir,
                       bool for_cpu, bool touch)
{
    uint64_t part;

    for (uint64_t done = 0; done < len; done += part) {
        gr_pa_t pa;
        int ret;

        part = len - done;
        ret = find_run(domain, iova + done, &part, &pa);
        if (ret)
            return ret;
        if (touch && for_cpu)
            gri_dma_to_cpu(domain, pa, part, dir);
        else if (touch)
            gri_dma_to_device(domain, pa, part);
    }
    return 0;
}

/*
 * A step is done for all parts before the next step, so that an error leaves nothing half done, and
 * no line is dropped that a copy has just filled.
 */
enum sync_step {
    LOOK,
    CACHES, /* for the device, slots are filled before the caches are cleaned */
    COPY_OUT,
    SYNC_STEPS,
};

static int sync_part(struct gr_device *dev, const struct gr_dma_seg *part, enum gr_dma_dir dir,
                     bool for_cpu, unsigned step)
{
    struct gr_domain *const domain = gri_dma_domain(dev);
    const bool caches = !dev->config.coherent && step != COPY_OUT;
    const bool slots = gri_isolated(dev);
    const bool copies = slots && (step == LOOK || (step == CACHES && !for_cpu) ||
                                  (step == COPY_OUT && for_cpu && (dir & GR_DMA_FROM_DEVICE)));
    int ret = step == LOOK ? gri_dma_check(part->iova, part->len, dir, 0) : 0;

    if (!ret && copies)
        ret = gri_isolation_sync(dev, part->iova, part->len, for_cpu, step == LOOK);
    if (!ret && caches)
        ret = sync_caches(domain, part->iova, part->len, dir, for_cpu, step != LOOK);
    return ret;
}

int gri_dma_sync(struct gr_device *dev, const struct gr_dma_seg *parts, unsigned count,
                 enum gr_dma_dir dir, bool for_cpu)
{
    int ret = 0;

    for (unsigned step = LOOK; step < SYNC_STEPS; step++) {
        for (unsigned i = 0; !ret && i < count; i++)
            ret = sync_part(dev, &parts[i], dir, for_cpu, step);
    }
    return ret;
}

static int sync_one(struct gr_device *dev, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir,
                    bool for_cpu)
{
    const struct gr_dma_seg part = {iova, len};

    return gri_dma_domain(dev) ? gri_dma_sync(dev, &part, 1, dir, for_cpu)
                               : gri_offset_sync(dev, iova, len, dir, for_cpu);
}

int gr_dma_sync_for_cpu(struct gr_device *dev, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir)
{
    return sync_one(dev, iova, len, dir, true);
}

int gr_dma_sync_for_device(struct gr_device *dev, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir)
{
    return sync_one(dev, iova, len, dir, false);
}
