/* SPDX-License-Identifier: MIT */
/* Shared by the parts of the SMMUv3 driver. "S 7.5" is 7.5 of Arm IHI 0070. */
#ifndef GRI_SMMUV3_INTERNAL_H
#define GRI_SMMUV3_INTERNAL_H

#include <granule/drv/smmuv3.h>

#include "core/bits.h"
#include "core/log.h"
#include "drv/smmuv3/regs.h"

#define GRI_SMMU_PAGE_LG2 12u /* log2 of the bytes of a queue, and of a page of contexts */
#define GRI_SMMU_SPLIT 8u     /* log2 of the streams in a second-level table: those of a PCI bus */
#define GRI_SMMU_CONTEXTS 64u /* context descriptors in a page: 64 bytes each */
#define GRI_SMMU_PA_OF_L1 0x000fffffffffffc0u /* the PA in a descriptor of the first level */

/* A page of context descriptors; descriptor n of page p is context p * GRI_SMMU_CONTEXTS + n. */
struct gr_smmuv3_contexts {
    uint64_t used; /* a bit for each context that is taken */
    uint64_t *cds; /* the descriptors; NULL: not needed yet. Stage 2 has none */
};

#define GRI_SMMU_CONTEXT_PAGES                                                                     \
    (((size_t)1 << GRI_SMMU_PAGE_LG2) / sizeof(struct gr_smmuv3_contexts))

static inline struct gr_smmuv3 *gri_smmu_of(struct gr_instance *inst)
{
    return GRI_CONTAINER(inst, struct gr_smmuv3, inst);
}

/* Store a word that the hardware reads. */
static inline void gri_smmu_store(const struct gr_smmuv3 *smmu, uint64_t *at, uint64_t value)
{
    gr_port_table_store64(smmu->inst.env, at, value);
}

static inline void gri_smmu_clean(const struct gr_smmuv3 *smmu, const uint64_t *at, size_t words)
{
    if (!smmu->inst.table.coherent)
        gr_port_cache(smmu->inst.env, at, words * sizeof(*at), GR_CACHE_CLEAN);
}

static inline gr_pa_t gri_smmu_pa_of(const struct gr_smmuv3 *smmu, const void *va)
{
    return gr_port_virt_to_phys(smmu->inst.env, va);
}

static inline void *gri_smmu_pages(const struct gr_smmuv3 *smmu, unsigned lg2, unsigned flags)
{
    return gr_port_pages_alloc(smmu->inst.env, lg2, gri_mask(smmu->inst.table.pa_bits), flags);
}

static inline bool gri_smmu_stage_2(const struct gr_smmuv3 *smmu)
{
    return smmu->inst.table.format == GR_PT_LPAE_S2;
}

static inline bool gri_smmu_two_levels(const struct gr_smmuv3 *smmu)
{
    return smmu->idr0 & GRI_SMMU_IDR0_ST_LEVEL && smmu->stream_bits > GRI_SMMU_SPLIT;
}

/* ---- smmuv3_queue.c; inst.lock is held ---- */

/*
 * Reserve room for `count` commands, CMD_SYNC not counted. The queue is empty except after a
 * time-out; the commands left from then still run, ahead of these. Returns 0, GR_ETIMEDOUT.
 */
GR_MUST_CHECK int gri_smmu_begin(struct gr_smmuv3 *smmu, uint32_t count);

/*
 * Add a command, for which gri_smmu_begin() reserved room. The hardware reads the command only
 * after gri_smmu_sync().
 */
void gri_smmu_command(struct gr_smmuv3 *smmu, uint64_t word0, uint64_t word1);

/*
 * Submit the commands with a CMD_SYNC and wait. After a 0 no walk or cached translation that the
 * commands cover is in use any more. Returns 0, GR_ETIMEDOUT (also if a command was refused).
 */
GR_MUST_CHECK int gri_smmu_sync(struct gr_smmuv3 *smmu);

/*
 * Commands that invalidate: all translations of a context; those of a range of it, or of more; the
 * entry of a stream, with its context descriptor; all entries and context descriptors.
 */
void gri_smmu_invalidate_context(struct gr_smmuv3 *smmu, uint64_t context);
void gri_smmu_invalidate_range(struct gr_smmuv3 *smmu, uint64_t context, gr_iova_t first,
                               gr_iova_t last, bool tables);
void gri_smmu_invalidate_config(struct gr_smmuv3 *smmu, uint32_t sid);
void gri_smmu_invalidate_all_config(struct gr_smmuv3 *smmu);

/* The global errors (S 7.5) that are active; acknowledging ends `errors`. */
uint32_t gri_smmu_global_errors(const struct gr_smmuv3 *smmu);
void gri_smmu_acknowledge(const struct gr_smmuv3 *smmu, uint32_t errors);

/*
 * If the hardware stopped at a command that it cannot read or does not know, put a CMD_SYNC in the
 * command's place and let the hardware go on (S 7.1). Returns whether it had stopped.
 */
bool gri_smmu_skip_refused(struct gr_smmuv3 *smmu);

/* ---- smmuv3_stream.c ---- */

/* Fill a table with entries of streams that abort without an event. */
void gri_smmu_fill_entries(const struct gr_smmuv3 *smmu, uint64_t *table, size_t count);

/* The instance's operations; they take inst.lock. */
int gri_smmu_attach(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                    struct gr_binding *binding);
int gri_smmu_bypass(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding);
int gri_smmu_block(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding);
int gri_smmu_invalidate(struct gr_instance *inst, struct gr_binding *binding, gr_iova_t first,
                        gr_iova_t last, bool tables);

#endif
