/* SPDX-License-Identifier: MIT */
/* Events of an SMMUv3 (S 7.3) and its global errors (S 7.5). inst.lock is held. */
#include "drv/smmuv3/smmuv3_internal.h"

static const struct event {
    uint8_t type;
    bool address; /* the record holds address and direction */
    uint32_t reason;
} events[] = {
    {0x02, false, GR_FAULT_NO_ROOT},  /* C_BAD_STREAMID */
    {0x03, false, GR_FAULT_EXTERNAL}, /* F_STE_FETCH */
    {0x04, false, GR_FAULT_NO_ROOT},  /* C_BAD_STE */
    {0x09, false, GR_FAULT_EXTERNAL}, /* F_CD_FETCH */
    {0x0a, false, GR_FAULT_NO_ROOT},  /* C_BAD_CD */
    {0x0b, true, GR_FAULT_EXTERNAL},  /* F_WALK_EABT */
    {0x10, true, GR_FAULT_NO_LEAF},   /* F_TRANSLATION */
    {0x11, true, GR_FAULT_UNKNOWN},   /* F_ADDR_SIZE */
    {0x12, true, GR_FAULT_UNKNOWN},   /* F_ACCESS */
    {0x13, true, GR_FAULT_READ_PROT}, /* F_PERMISSION */
};

static void smmu_decode(const uint64_t *record, struct gr_fault *out)
{
    out->stream = (uint32_t)(record[0] >> GRI_SMMU_EVENT0_SID_SHIFT);
    out->raw = (uint32_t)record[0];
    out->level = GR_FAULT_LEVEL_UNKNOWN;
    out->reasons = GR_FAULT_UNKNOWN;
    for (size_t i = 0; i < GRI_ARRAY_SIZE(events); i++) {
        if (events[i].type != (record[0] & GRI_SMMU_EVENT0_TYPE))
            continue;
        out->reasons = events[i].reason;
        out->access_known = events[i].address;
    }
    if (!out->access_known)
        return;
    out->iova = record[2]; /* with stage 2 alone, the input address is the IPA */
    out->write = !(record[1] & GRI_SMMU_EVENT1_READ);
    if (record[1] & GRI_SMMU_EVENT1_S2 &&
        (record[1] & GRI_SMMU_EVENT1_CLASS) != GRI_SMMU_EVENT1_CLASS_IN)
        out->reasons = GR_FAULT_EXTERNAL; /* stage 2 refused the SMMU's own access */
    if (out->reasons == GR_FAULT_READ_PROT && out->write)
        out->reasons = GR_FAULT_WRITE_PROT;
}

static void take_event(struct gr_smmuv3 *smmu, const uint64_t *record)
{
    struct gr_fault fault = {
        .instance = &smmu->inst,
        .time_ns = gr_port_now_ns(smmu->inst.env),
    };

    smmu_decode(record, &fault);
    gr_instance_fault(&smmu->inst, &fault, smmu->lost);
    smmu->lost = 0;
}

/*
 * Take as many events as the instance's ring has room for: the others wait in the queue, and none
 * is lost. If the ring is full nobody dispatches: then take all events, so that they are counted as
 * lost. Whatever PROD says, no more events are taken than the queue holds. Returns whether there
 * were any.
 */
static bool take_events(struct gr_smmuv3 *smmu)
{
    const uint32_t wrap = (uint32_t)gri_mask(smmu->evtq_lg2 + 1u);
    const uint32_t prod = gr_port_read32(smmu->mmio, GRI_SMMU_EVENTQ_PROD);
    const uint32_t count =
        (uint32_t)gri_min((prod - smmu->evtq_cons) & wrap, (uint64_t)1 << smmu->evtq_lg2);
    const uint32_t room = GR_CFG_FAULT_RING - smmu->inst.fault_count;
    const uint32_t taken = room ? (uint32_t)gri_min(count, room) : count;
    const uint32_t first = prod - count;

    if (!((prod ^ smmu->evtq_cons) & (wrap | GRI_SMMU_EVENTQ_OVERFLOW)))
        return false;
    if ((prod ^ smmu->evtq_cons) & GRI_SMMU_EVENTQ_OVERFLOW)
        smmu->lost++;
    gr_port_rmb(); /* read PROD before the records */
    if (!smmu->inst.table.coherent)
        gr_port_cache(smmu->inst.env, smmu->evtq, (size_t)1 << GRI_SMMU_PAGE_LG2, GR_CACHE_INVAL);
    for (uint32_t i = 0; i < taken; i++)
        take_event(smmu, &smmu->evtq[(size_t)((first + i) & (wrap >> 1)) * GRI_SMMU_EVENT_WORDS]);
    gr_port_rmb(); /* read the records before CONS lets the hardware overwrite them */
    smmu->evtq_cons = ((first + taken) & wrap) | (prod & GRI_SMMU_EVENTQ_OVERFLOW);
    gr_port_write32(smmu->mmio, GRI_SMMU_EVENTQ_CONS, smmu->evtq_cons);
    return true;
}

static bool take_errors(struct gr_smmuv3 *smmu)
{
    const bool skipped = gri_smmu_skip_refused(smmu);
    const uint32_t errors = gri_smmu_global_errors(smmu) & ~GRI_SMMU_GERROR_CMDQ;

    if (!errors)
        return skipped;
    gri_log(smmu->inst.env, GR_LOG_ERR, "%s: global error %x", smmu->inst.name, (uint64_t)errors);
    smmu->gerrors |= errors;
    if (errors & GRI_SMMU_GERROR_EVENTQ_ABT) /* an event could not be written */
        smmu->lost++;
    gri_smmu_acknowledge(smmu, errors);
    return true;
}

bool gr_smmuv3_isr(struct gr_smmuv3 *smmu)
{
    const gr_lock_state_t state = gr_port_lock(&smmu->inst.lock);
    const bool errors = take_errors(smmu);
    const bool faults = take_events(smmu);

    gr_port_unlock(&smmu->inst.lock, state);
    return errors || faults;
}
