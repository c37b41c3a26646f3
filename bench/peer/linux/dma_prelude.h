/* SPDX-License-Identifier: MIT */
/* What the functions cut out of dma-iommu.c and iommu.c need around them. */
#include <kshim.h>
#include <linux/io-pgtable.h>
#include <linux/iova.h>
struct scatterlist {
    unsigned long page_link;
    unsigned int offset, length;
    dma_addr_t dma_address;
    unsigned int dma_length;
    unsigned int dma_flags;
};
#define sg_dma_address(s) ((s)->dma_address)
#define sg_dma_len(s) ((s)->dma_length)
#define sg_page(s) ((struct page *)((s)->page_link & ~3ul))
#define sg_phys(s) (page_to_phys(sg_page(s)) + (s)->offset)
static inline struct scatterlist *sg_next(struct scatterlist *s)
{
    if (s->page_link & 2)
        return NULL;
    s++;
    if (unlikely(s->page_link & 1))
        s = (struct scatterlist *)(s->page_link & ~3ul);
    return s;
}
#define for_each_sg(l, s, n, i) for (i = 0, s = (l); i < (n); i++, s = sg_next(s))
#define sg_dma_is_bus_address(s) ((s)->dma_flags & 1)
#define sg_dma_unmark_bus_address(s) ((s)->dma_flags &= ~1u)
#define sg_dma_mark_bus_address(s) ((s)->dma_flags |= 1u)
#define sg_dma_is_swiotlb(s) ((s)->dma_flags & 2)
struct dev_iommu {
    int pci_32bit_workaround;
};
struct device {
    struct iommu_domain *domain;
    struct dev_iommu *iommu;
    u64 dma_mask, bus_dma_limit;
    unsigned long seg_boundary;
    unsigned max_seg;
    bool coherent;
};
enum { IOMMU_DMA_IOVA_COOKIE, IOMMU_DMA_MSI_COOKIE };
struct iommu_dma_cookie {
    int type;
    struct iova_domain iovad;
    dma_addr_t msi_iova;
    struct iommu_domain *fq_domain;
};
#define iommu_get_dma_domain(d) ((d)->domain)
#define dev_is_dma_coherent(d) ((d)->coherent)
#define dma_get_seg_boundary(d) ((d)->seg_boundary)
#define dma_get_max_seg_size(d) ((d)->max_seg)
#define dma_get_mask(d) ((d)->dma_mask)
#define dma_get_min_align_mask(d) 0u
#define static_branch_unlikely(x) 0
#define iommu_deferred_attach(d, m) 0
#define DMA_ATTR_SKIP_CPU_SYNC (1UL << 5)
#define DMA_ATTR_PRIVILEGED (1UL << 9)
#define dev_use_sg_swiotlb(d, s, n, dir) (0)
#define iommu_dma_map_sg_swiotlb(d, s, n, dir, a) (-EINVAL)
#define iommu_dma_unmap_sg_swiotlb(d, s, n, dir, a)                                                \
    do {                                                                                           \
    } while (0)
/* coherent device: these return at once in the kernel */
#define iommu_dma_sync_sg_for_device(d, s, n, dir)                                                 \
    do {                                                                                           \
        if (sg_dma_is_swiotlb(s) || !dev_is_dma_coherent(d))                                       \
            BUG_ON(1);                                                                             \
    } while (0)
#define iommu_dma_sync_sg_for_cpu(d, s, n, dir)                                                    \
    do {                                                                                           \
        if (sg_dma_is_swiotlb(s) || !dev_is_dma_coherent(d))                                       \
            BUG_ON(1);                                                                             \
    } while (0)
struct pci_p2pdma_map_state {
    int x;
};
enum pci_p2pdma_map_type { PCI_P2PDMA_MAP_BUS_ADDR, PCI_P2PDMA_MAP_THRU_HOST_BRIDGE };
#define is_pci_p2pdma_page(p) 0
#define pci_p2pdma_map_segment(a, b, c) ((void)(a), PCI_P2PDMA_MAP_THRU_HOST_BRIDGE)
#define queue_iova(c, p, n, l) BUG_ON(1)
#define trace_map(a, b, c)                                                                         \
    do {                                                                                           \
        (void)(a);                                                                                 \
        (void)(b);                                                                                 \
        (void)(c);                                                                                 \
    } while (0)
#define trace_unmap(a, b, c)                                                                       \
    do {                                                                                           \
        (void)(a);                                                                                 \
        (void)(b);                                                                                 \
        (void)(c);                                                                                 \
    } while (0)
#define gfpflags_allow_blocking(g) 0
size_t iommu_unmap(struct iommu_domain *, unsigned long, size_t);
