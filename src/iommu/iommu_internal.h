/* SPDX-License-Identifier: MIT */
/* What dma/ uses of iommu/ beyond the public header. */
#ifndef GRI_IOMMU_INTERNAL_H
#define GRI_IOMMU_INTERNAL_H

#include <granule/domain.h>

/*
 * Allocate an IOVA range as `req` says and map it to pa: all or nothing. Lengths, alignment and PA
 * width are the caller's to check. Returns 0, GR_EIO, GR_ENOSPC, GR_ERANGE, GR_ENOMEM,
 * GR_ETIMEDOUT.
 */
GR_MUST_CHECK int gri_domain_map_new(struct gr_domain *domain, const struct gr_iova_req *req,
                                     gr_pa_t pa, unsigned prot, gr_iova_t *out_iova);

/*
 * Unmap and free the allocation [iova, iova + size), and say where it led if out_pa is not NULL.
 * Returns 0, GR_ENOENT, GR_EMSGSIZE, GR_ETIMEDOUT (quarantined).
 */
GR_MUST_CHECK int gri_domain_unmap_free(struct gr_domain *domain, gr_iova_t iova, uint64_t size,
                                        gr_pa_t *out_pa);

#endif
