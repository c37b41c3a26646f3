/* SPDX-License-Identifier: MIT */
/*
 * Streams that firmware left translating, reserved regions, and fixed ranges: IOVAs that the
 * allocator must not hand out.
 *
 * Firmware's tables of a stream are read once, when a device that has the stream is registered. The
 * result is kept with the instance: struct gr_adopted. Streams with the same roots share one.
 *
 * A domain's own tables never point to firmware's, so pt/ need not know whose a table is. While the
 * domain is attached, firmware's tables point to the domain's (struct gr_pt_mirror).
 */
#ifndef GRI_IOMMU_ADOPT_H
#define GRI_IOMMU_ADOPT_H

#include <granule/domain.h>

#include "iommu/iommu_internal.h"
#include "pt/pt_internal.h"

struct gr_adopted {
    struct gr_adopted *next; /* in the instance's list */
    struct gr_instance *inst;
    struct gr_firmware firmware; /* of the first stream that was found with these tables */
    unsigned users;              /* streams that have these tables */
    unsigned lg2;                /* log2 of the bytes of this struct */
    struct gr_pt *pt;            /* the domain's tables that `mirror` is listed with, or NULL */
    struct gr_pt_mirror mirror;
    const struct gr_pt_ops *ops; /* of the format and granule */
    uint64_t leaves;             /* that are valid */
    struct gri_pt_foreign table[GR_CFG_FIRMWARE_TABLES];
};

/* log2 of the bytes that one entry of a level spans. */
static inline unsigned gri_adopt_span_lg2(const struct gr_instance *inst, unsigned level)
{
    return inst->table.granule_lg2 + level * (inst->table.granule_lg2 - 3u);
}

/* Entries of a table. */
static inline size_t gri_adopt_entries(const struct gr_instance *inst)
{
    return (size_t)1 << (inst->table.granule_lg2 - 3u);
}

/* ---- adopt.c; configuration context ---- */

/*
 * Read the tables that firmware left in a device's streams, and set `adopted` of each stream that
 * firmware's tables translate. Returns 0, GR_ENOMEM,
 * GR_EOPNOTSUPP (the port has no such memory, or the tables are not sound), GR_ENOSPC (more tables
 * than GR_CFG_FIRMWARE_TABLES); on failure nothing is held.
 */
GR_MUST_CHECK int gri_adopt_streams(const struct gr_device_config *config);
void gri_adopt_drop(const struct gr_device_config *config);

/* ---- region.c; configuration context ---- */

/* Are the regions of a device sound? Returns 0, GR_EINVAL. */
GR_MUST_CHECK int gri_region_check(const struct gr_device_config *config);

/* Has a device of the group regions: memory at IOVAs that the allocator does not choose? */
bool gri_has_regions(const struct gr_group *group);

/* Log why no domain can be made for a device with the region at `iova`. Returns `err`. */
GR_MUST_CHECK int gri_region_refuse(const struct gr_domain *domain, const struct gr_device *dev,
                                    int err, const char *why, gr_iova_t iova);

/* Call `fn` for each granule of each mapped region of a group, until a call fails. */
GR_MUST_CHECK int
gri_region_for_granules(struct gr_domain *domain, const struct gr_group *group,
                        int (*fn)(struct gr_domain *domain, const struct gr_device *dev,
                                  const struct gr_region *r, gr_iova_t iova, gr_pa_t pa));

/* Note the regions of a group as fixed ranges. Returns 0, GR_ENOMEM. */
GR_MUST_CHECK int gri_region_fix(struct gr_domain *domain, const struct gr_group *group);

/* Are all regions of a group noted? */
bool gri_region_all_fixed(const struct gr_domain *domain, const struct gr_group *group);

/* ---- fixed.c ---- */

/* Note [first, last], joined to the range noted last if the two touch. Returns 0, GR_ENOMEM. */
GR_MUST_CHECK int gri_fixed_add(struct gr_domain *domain, gr_iova_t first, gr_iova_t last);

/* Does one noted range hold all of [first, last]? */
bool gri_fixed_contains(const struct gr_domain *domain, gr_iova_t first, gr_iova_t last);

/* Is a part of [first, last] noted? */
bool gri_fixed_overlaps(const struct gr_domain *domain, gr_iova_t first, gr_iova_t last);

/* Keep the noted ranges out of the IOVA space. Returns as gr_iova_reserve(). */
GR_MUST_CHECK int gri_fixed_reserve(struct gr_domain *domain);

void gri_fixed_fini(struct gr_domain *domain);

/* ---- coexist.c; configuration context ---- */

/* May a domain of this type serve the stream? Fixes domain->fixed_levels. 0, GR_EOPNOTSUPP. */
GR_MUST_CHECK int gri_coexist_fold(struct gr_domain *domain, const struct gr_stream *stream);

/*
 * Choose how a domain with empty tables shares the group's streams with firmware. Map the leaves of
 * firmware that the domain has to hold, and the group's regions, and note the fixed ranges. On
 * failure the caller frees the tables. Returns 0, GR_EOPNOTSUPP, GR_EBUSY, GR_ERANGE, GR_ENOMEM.
 */
GR_MUST_CHECK int gri_coexist_build(struct gr_domain *domain, struct gr_device *dev);

/* Does the domain hold all that the group's streams and regions need? 0, GR_EOPNOTSUPP. */
GR_MUST_CHECK int gri_coexist_fits(struct gr_domain *domain, const struct gr_device *dev);

/* attach() and block() of a stream that has `adopted`. domain->lock is held. 0, GR_ETIMEDOUT. */
GR_MUST_CHECK int gri_coexist_attach(struct gr_domain *domain, struct gr_stream *stream,
                                     struct gr_binding *binding);
GR_MUST_CHECK int gri_coexist_release(struct gr_stream *stream, struct gr_binding *binding);

#endif
