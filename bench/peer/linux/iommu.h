/* SPDX-License-Identifier: MIT */
#ifndef SHIM_IOMMU_H
#define SHIM_IOMMU_H
#include <kshim.h>
#define IOMMU_READ (1 << 0)
#define IOMMU_WRITE (1 << 1)
#define IOMMU_CACHE (1 << 2)
#define IOMMU_NOEXEC (1 << 3)
#define IOMMU_MMIO (1 << 4)
#define IOMMU_PRIV (1 << 5)
#define IOMMU_DIRTY_NO_CLEAR (1 << 0)
#define __IOMMU_DOMAIN_PAGING (1U << 0)
#define __IOMMU_DOMAIN_DMA_API (1U << 1)
struct iommu_iotlb_gather {
    unsigned long start, end;
    size_t pgsize;
    struct list_head freelist;
    bool queued;
};
struct iommu_dirty_bitmap;
static inline void iommu_dirty_bitmap_record(struct iommu_dirty_bitmap *d, unsigned long i,
                                             unsigned long n)
{
    (void)d;
    (void)i;
    (void)n;
}
static inline bool iommu_iotlb_gather_queued(struct iommu_iotlb_gather *g)
{
    return g && g->queued;
}
static inline void iommu_iotlb_gather_init(struct iommu_iotlb_gather *g)
{
    *g = (struct iommu_iotlb_gather){.start = ULONG_MAX};
    INIT_LIST_HEAD(&g->freelist);
}
struct iommu_domain;
struct iommu_domain_ops {
    int (*map_pages)(struct iommu_domain *, unsigned long, phys_addr_t, size_t, size_t, int, gfp_t,
                     size_t *);
    size_t (*unmap_pages)(struct iommu_domain *, unsigned long, size_t, size_t,
                          struct iommu_iotlb_gather *);
    int (*iotlb_sync_map)(struct iommu_domain *, unsigned long, size_t);
    void (*iotlb_sync)(struct iommu_domain *, struct iommu_iotlb_gather *);
};
struct iommu_domain {
    unsigned type;
    const struct iommu_domain_ops *ops;
    unsigned long pgsize_bitmap;
    struct {
        dma_addr_t aperture_start, aperture_end;
        bool force_aperture;
    } geometry;
    struct iommu_dma_cookie *iova_cookie;
};
static inline void iommu_iotlb_sync(struct iommu_domain *d, struct iommu_iotlb_gather *g)
{
    if (d->ops->iotlb_sync)
        d->ops->iotlb_sync(d, g);
    iommu_iotlb_gather_init(g);
}
#endif
