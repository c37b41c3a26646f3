/* SPDX-License-Identifier: MIT */
/* The command queue of an SMMUv3 (S 3.5, 4, 7.1). inst.lock is held. */
#include "drv/smmuv3/smmuv3_internal.h"

void gri_smmu_command(struct gr_smmuv3 *smmu, uint64_t word0, uint64_t word1)
{
    uint64_t *const at = &smmu->cmdq[2 * (smmu->prod & gri_mask(smmu->cmdq_lg2))];

    gri_smmu_store(smmu, at, word0);
    gri_smmu_store(smmu, at + 1, word1);
    gri_smmu_clean(smmu, at, 2);
    smmu->prod = (smmu->prod + 1) & (uint32_t)gri_mask(smmu->cmdq_lg2 + 1u);
    smmu->commands++;
}

uint32_t gri_smmu_global_errors(const struct gr_smmuv3 *smmu)
{
    return gr_port_read32(smmu->mmio, GRI_SMMU_GERROR) ^
           gr_port_read32(smmu->mmio, GRI_SMMU_GERRORN);
}

/* A bit that differs between GERROR and GERRORN is an active error (S 7.5). */
void gri_smmu_acknowledge(const struct gr_smmuv3 *smmu, uint32_t errors)
{
    gr_port_write32(smmu->mmio, GRI_SMMU_GERRORN,
                    gr_port_read32(smmu->mmio, GRI_SMMU_GERRORN) ^ errors);
}

bool gri_smmu_skip_refused(struct gr_smmuv3 *smmu)
{
    uint64_t *at;
    uint32_t cons;

    if (!(gri_smmu_global_errors(smmu) & GRI_SMMU_GERROR_CMDQ))
        return false;
    cons = gr_port_read32(smmu->mmio, GRI_SMMU_CMDQ_CONS);
    at = &smmu->cmdq[2 * (cons & gri_mask(smmu->cmdq_lg2))];
    gri_log(smmu->inst.env, GR_LOG_ERR, "%s: command %x %x was refused, error %u", smmu->inst.name,
            at[0], at[1], gri_field_get(cons, GRI_SMMU_CMDQ_CONS_ERR));
    smmu->refused++;
    smmu->gerrors |= GRI_SMMU_GERROR_CMDQ;
    gri_smmu_store(smmu, at, GRI_SMMU_CMD_SYNC);
    gri_smmu_store(smmu, at + 1, 0);
    gri_smmu_clean(smmu, at, 2);
    gr_port_wmb(); /* the CMD_SYNC before the store that lets the hardware read on */
    gri_smmu_acknowledge(smmu, GRI_SMMU_GERROR_CMDQ);
    return true;
}

static bool smmu_is_idle(const struct gr_smmuv3 *smmu)
{
    const uint32_t cons = gr_port_read32(smmu->mmio, GRI_SMMU_CMDQ_CONS);

    return !((cons ^ smmu->prod) & gri_mask(smmu->cmdq_lg2 + 1u));
}

/* Wait until all commands are done. Returns 0, GR_ETIMEDOUT (also if a command was refused). */
static int smmu_wait_idle(struct gr_smmuv3 *smmu)
{
    const uint64_t start = gr_port_now_ns(smmu->inst.env);
    int ret = 0;

    smmu->behind = true;
    while (!smmu_is_idle(smmu)) {
        if (gri_smmu_skip_refused(smmu))
            ret = GR_ETIMEDOUT;
        if (gr_port_now_ns(smmu->inst.env) - start > GR_CFG_SMMUV3_TIMEOUT_NS) {
            /* This CPU may have been preempted past the deadline: read the queue once more. */
            if (smmu_is_idle(smmu))
                break;
            smmu->timeouts++;
            return GR_ETIMEDOUT;
        }
        gr_port_relax(smmu->inst.env);
    }
    smmu->behind = false;
    gr_port_rmb(); /* what the device wrote, and memory it may no longer reach, are read after */
    return ret;
}

int gri_smmu_begin(struct gr_smmuv3 *smmu, uint32_t count)
{
    const uint32_t wrap = (uint32_t)gri_mask(smmu->cmdq_lg2 + 1u);
    uint32_t used;

    if (!smmu->behind)
        return 0;
    used = (smmu->prod - gr_port_read32(smmu->mmio, GRI_SMMU_CMDQ_CONS)) & wrap;
    return used + count + 1 > 1u << smmu->cmdq_lg2 ? smmu_wait_idle(smmu) : 0;
}

int gri_smmu_sync(struct gr_smmuv3 *smmu)
{
    gri_smmu_command(smmu, GRI_SMMU_CMD_SYNC, 0);
    smmu->syncs++;
    gr_port_wmb(); /* the commands, and entries that they invalidate, before PROD */
    gr_port_write32(smmu->mmio, GRI_SMMU_CMDQ_PROD, smmu->prod);
    return smmu_wait_idle(smmu);
}

void gri_smmu_invalidate_context(struct gr_smmuv3 *smmu, uint64_t context)
{
    gri_smmu_command(smmu,
                     gri_smmu_stage_2(smmu)
                         ? GRI_SMMU_CMD_TLBI_S12_VMALL | context << GRI_SMMU_CMD_VMID_SHIFT
                         : GRI_SMMU_CMD_TLBI_NH_ASID | context << GRI_SMMU_CMD_ASID_SHIFT,
                     0);
}

/*
 * A range command (S 4.4.1.1) covers up to 32 times 2^n granules. The range is rounded up to such a
 * length, so that one command is enough. A single granule has a command of its own.
 */
void gri_smmu_invalidate_range(struct gr_smmuv3 *smmu, uint64_t context, gr_iova_t first,
                               gr_iova_t last, bool tables)
{
    const unsigned g = smmu->inst.table.granule_lg2;
    const uint64_t word0 = gri_smmu_stage_2(smmu)
                               ? GRI_SMMU_CMD_TLBI_S2_IPA | context << GRI_SMMU_CMD_VMID_SHIFT
                               : GRI_SMMU_CMD_TLBI_NH_VA | context << GRI_SMMU_CMD_ASID_SHIFT;
    const uint64_t word1 = (first & ~gri_mask(g)) | (tables ? 0 : GRI_SMMU_TLBI_LEAF);
    uint64_t count = (last >> g) - (first >> g) + 1;
    uint64_t scale = 0;

    if (count > 1 && smmu->idr3 & GRI_SMMU_IDR3_RIL) {
        for (; count > GRI_SMMU_TLBI_NUM_MAX; scale++)
            count = (count + 1) / 2;
        gri_smmu_command(smmu,
                         word0 | (count - 1) << GRI_SMMU_TLBI_NUM_SHIFT |
                             scale << GRI_SMMU_TLBI_SCALE_SHIFT,
                         word1 | (uint64_t)(g / 2 - 5) << GRI_SMMU_TLBI_TG_SHIFT);
    } else if (count > smmu->single) {
        gri_smmu_invalidate_context(smmu, context);
    } else {
        for (uint64_t i = 0; i < count; i++)
            gri_smmu_command(smmu, word0, word1 + (i << g));
    }
}

void gri_smmu_invalidate_config(struct gr_smmuv3 *smmu, uint32_t sid)
{
    const uint64_t stream = (uint64_t)sid << GRI_SMMU_CMD_SID_SHIFT;

    /* Leaf is 0: a cached descriptor of the first level is invalidated as well. */
    gri_smmu_command(smmu, GRI_SMMU_CMD_CFGI_STE | stream, 0);
    if (!gri_smmu_stage_2(smmu)) /* hardware without stage 1 may not know CFGI_CD */
        gri_smmu_command(smmu, GRI_SMMU_CMD_CFGI_CD | stream, 0);
}

void gri_smmu_invalidate_all_config(struct gr_smmuv3 *smmu)
{
    gri_smmu_command(smmu, GRI_SMMU_CMD_CFGI_ALL, GRI_SMMU_CFGI_ALL_RANGE);
}
