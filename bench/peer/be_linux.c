/* SPDX-License-Identifier: MIT */
/*
 * Linux's side. The functions of dma-iommu.c and iommu.c come unchanged from linux_dma.inc, which
 * the Makefile cuts out of the kernel's tree; iova.c, rbtree.c and io-pgtable*.c are compiled
 * whole. What stands here is what a driver would add: as apple-dart.c and arm-smmu-v3.c do it.
 */
#include "linux/dma_prelude.h"

#include <linux_dma.inc>

#include "side.h"

#define UNIT_LG2 12u

/* ---- the address allocator ---- */

static void iovad_init(struct iova_domain *d, unsigned unit_lg2)
{
    static int once;

    if (!once) {
        once = 1;
        if (iova_cache_get())
            BUG_ON(1);
    }
    init_iova_domain(d, 1ul << unit_lg2, 1);
    if (iova_domain_init_rcaches(d))
        BUG_ON(1);
}

static void *side_space_make(ul limit)
{
    struct iova_domain *const d = shim_kzalloc(sizeof(*d));

    (void)limit;
    iovad_init(d, UNIT_LG2);
    return d;
}

static void side_space_end(void *d)
{
    put_iova_domain(d);
    shim_kfree(d);
    while (shim_run_delayed_work())
        ;
}

static inline ul side_alloc(void *d, ul size, ul limit)
{
    return alloc_iova_fast(d, size, limit, true);
}

static inline void side_release(void *d, ul at, ul size)
{
    free_iova_fast(d, at, size);
}

static ul side_alloc_plain(void *d, ul size, ul limit)
{
    struct iova *const iova = alloc_iova(d, size, limit, true);

    return iova ? iova->pfn_lo : 0;
}

static void side_release_plain(void *d, ul at, ul size)
{
    (void)size;
    free_iova(d, at);
}

/* ---- page tables ---- */

static void tlb_all(void *cookie)
{
    (void)cookie;
}

static void tlb_walk(unsigned long iova, size_t size, size_t page, void *cookie)
{
    (void)iova;
    (void)size;
    (void)page;
    (void)cookie;
}

static void tlb_add(struct iommu_iotlb_gather *gather, unsigned long iova, size_t page,
                    void *cookie)
{
    (void)gather;
    (void)iova;
    (void)page;
    (void)cookie;
}

static const struct iommu_flush_ops tlb_ops = {tlb_all, tlb_walk, tlb_add};

static void *side_pt_make(enum fmt f)
{
    struct io_pgtable_cfg cfg = {.coherent_walk = 1};

    if (f == FMT_DART16K) {
        cfg.pgsize_bitmap = SZ_16K;
        cfg.ias = 32;
        cfg.oas = 36;
        return alloc_io_pgtable_ops(APPLE_DART, &cfg, NULL);
    }
    cfg.pgsize_bitmap = SZ_4K | SZ_2M | SZ_1G;
    cfg.ias = cfg.oas = 48;
    cfg.tlb = &tlb_ops;
    return alloc_io_pgtable_ops(ARM_64_LPAE_S1, &cfg, NULL);
}

static void side_pt_end(void *pt)
{
    free_io_pgtable_ops(pt);
}

static inline ul side_pt_map(void *pt, ul iova, ul pa, ul page, ul n)
{
    struct io_pgtable_ops *const ops = pt;
    size_t mapped = 0;

    ops->map_pages(ops, iova, pa, page, n, IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE, GFP_ATOMIC,
                   &mapped);
    return mapped;
}

static inline ul side_pt_unmap(void *pt, ul iova, ul page, ul n)
{
    struct io_pgtable_ops *const ops = pt;
    struct iommu_iotlb_gather gather = {.start = ~0ul};

    return ops->unmap_pages(ops, iova, page, n, &gather);
}

static ul side_pt_phys(void *pt, ul iova)
{
    struct io_pgtable_ops *const ops = pt;

    return ops->iova_to_phys(ops, iova);
}

/* ---- a device ---- */

struct linux_domain {
    struct iommu_domain domain;
    struct io_pgtable_ops *ops;
    struct iommu_dma_cookie cookie;
};

struct linux_dev {
    struct device device;
    struct dev_iommu iommu;
    struct linux_domain domain;
    ul pages_before; /* in the page pool; Linux takes nothing but tables from it */
};

static int drv_map(struct iommu_domain *d, unsigned long iova, phys_addr_t pa, size_t page,
                   size_t n, int prot, gfp_t gfp, size_t *mapped)
{
    struct io_pgtable_ops *const ops = container_of(d, struct linux_domain, domain)->ops;

    if (!ops)
        return -ENODEV;
    return ops->map_pages(ops, iova, pa, page, n, prot, gfp, mapped);
}

static size_t drv_unmap(struct iommu_domain *d, unsigned long iova, size_t page, size_t n,
                        struct iommu_iotlb_gather *gather)
{
    struct io_pgtable_ops *const ops = container_of(d, struct linux_domain, domain)->ops;

    return ops->unmap_pages(ops, iova, page, n, gather);
}

static void drv_sync(struct iommu_domain *d, struct iommu_iotlb_gather *gather)
{
    (void)d;
    (void)gather;
    rt_invalidate();
}

static int drv_sync_map(struct iommu_domain *d, unsigned long iova, size_t size)
{
    (void)d;
    (void)iova;
    (void)size;
    rt_invalidate();
    return 0;
}

static const struct iommu_domain_ops drv_ops = {drv_map, drv_unmap, NULL, drv_sync};
/* A DART keeps absent entries: its driver invalidates after a map as well. */
static const struct iommu_domain_ops drv_ops_dart = {drv_map, drv_unmap, drv_sync_map, drv_sync};

static void *side_dev_make(enum fmt f)
{
    struct linux_dev *const v = shim_kzalloc(sizeof(*v));
    struct iommu_domain *const d = &v->domain.domain;

    v->pages_before = shim_page_bytes_live();
    iovad_init(&v->domain.cookie.iovad, fmt_lg2(f));
    v->domain.ops = side_pt_make(f);
    v->domain.cookie.type = IOMMU_DMA_IOVA_COOKIE;
    d->ops = rt_invalidation_ns && f == FMT_DART16K ? &drv_ops_dart : &drv_ops;
    d->type = __IOMMU_DOMAIN_PAGING | __IOMMU_DOMAIN_DMA_API;
    d->pgsize_bitmap = io_pgtable_ops_to_pgtable(v->domain.ops)->cfg.pgsize_bitmap;
    d->geometry.aperture_end = DMA_BIT_MASK(fmt_bits(f));
    d->geometry.force_aperture = true;
    d->iova_cookie = &v->domain.cookie;
    v->device.domain = d;
    v->device.iommu = &v->iommu;
    v->device.dma_mask = DMA_BIT_MASK(fmt_bits(f));
    v->device.seg_boundary = 0xffffffff;
    v->device.max_seg = 65536;
    v->device.coherent = true;
    return v;
}

static void side_dev_end(void *dev)
{
    struct linux_dev *const v = dev;

    side_pt_end(v->domain.ops);
    put_iova_domain(&v->domain.cookie.iovad);
    shim_kfree(v);
    while (shim_run_delayed_work())
        ;
}

static void *side_list_make(const ul *pa, long n)
{
    struct scatterlist *const s = shim_kzalloc((ul)n * sizeof(*s));

    for (long i = 0; i < n; i++) {
        s[i].page_link = pa[i] | (i == n - 1 ? 2 : 0);
        s[i].length = SEG_LEN;
    }
    return s;
}

static void side_list_end(void *list)
{
    shim_kfree(list);
}

static inline long side_list_map(void *dev, void *list, long n)
{
    return iommu_dma_map_sg(dev, list, (int)n, DMA_BIDIRECTIONAL, 0);
}

static inline void side_list_unmap(void *dev, void *list, long n)
{
    iommu_dma_unmap_sg(dev, list, (int)n, DMA_BIDIRECTIONAL, 0);
}

static long side_list_bad(void *dev, void *list, const ul *pa, long n)
{
    const struct linux_dev *const v = dev;
    const struct scatterlist *s = list;
    long bad = 0;
    ul used = 0; /* bytes of s that are accounted for */

    for (long i = 0; i < n; i++) {
        const ul iova = s->dma_address + used;

        bad += side_pt_phys(v->domain.ops, iova) != pa[i];
        bad += side_pt_phys(v->domain.ops, iova + SEG_LEN - 1) != pa[i] + SEG_LEN - 1;
        used += SEG_LEN;
        if (used >= s->dma_length) {
            s++;
            used = 0;
        }
    }
    return bad;
}

static void *side_ring_make(void *dev)
{
    const ul pa = 0x180000000;
    void *const ring = side_list_make(&pa, 1);

    BUG_ON(side_list_map(dev, ring, 1) != 1);
    return ring;
}

static void side_ring_end(void *dev, void *ring)
{
    side_list_unmap(dev, ring, 1);
    side_list_end(ring);
}

static ul side_dev_tables(void *dev)
{
    return shim_page_bytes_live() - ((const struct linux_dev *)dev)->pages_before;
}

static ul side_memory(void)
{
    return shim_page_bytes_live() + shim_slab_bytes_live();
}

static void side_reset(void)
{
    rt_slab_reset();
}

#define SIDE_SYMBOL side_linux
#define SIDE_NAME "linux"
#include "loops.h"
