/* SPDX-License-Identifier: MIT */
/*
 * Arm's SMMUv3. Sections (S) are those of Arm IHI 0070.
 *
 * The first word of a stream's entry says abort, bypass, or translate. For stage 1 it also points
 * to a context descriptor, and all other words are the same for every stream; for stage 2 two more
 * say how, and are written while the stream aborts, which is confirmed before and after. Attaching
 * and blocking are one store each, so the hardware never sees a mix.
 *
 * A domain has one context on each instance, whose number is its ASID or, in stage 2, its VMID.
 */
#include <granule/drv/smmuv3.h>

#include "core/bits.h"
#include "core/log.h"
#include "drv/smmuv3/regs.h"

#define PAGE_LG2 12u    /* of a queue and of a page of contexts */
#define CMDQ_LG2_MAX 8u /* commands of 16 bytes in a page */
#define CMDQ_LG2_MIN 2u /* the longest fixed sequence is four */
#define EVTQ_LG2_MAX 7u /* events of 32 bytes in a page */
#define SPLIT 8u        /* streams in a table of the second level, log2: those of a PCI bus */
#define L1_MAX 17u      /* descriptors of the first level, log2: 1 MiB */
#define LINEAR_MAX 16u  /* streams of a linear table, log2: 4 MiB */
#define CONTEXTS 64u    /* descriptors of 64 bytes in a page */
#define PA_OF_L1 0x000fffffffffffc0u

/* A page of context descriptors; descriptor n of page p is context p * CONTEXTS + n. */
struct gr_smmuv3_contexts {
    uint64_t used; /* a bit for each */
    uint64_t *cds; /* NULL: not needed yet, or ever where there are none in stage 2 */
};

#define CONTEXT_PAGES (((size_t)1 << PAGE_LG2) / sizeof(struct gr_smmuv3_contexts))

/* binding->hw */
enum {
    HW_CONTEXT, /* and 1; 0: none */
    HW_STREAMS, /* that use the context */
    HW_DOUBT,   /* the hardware did not confirm that it forgot a stream's entry */
};

static struct gr_smmuv3 *smmu_of(struct gr_instance *inst)
{
    return GRI_CONTAINER(inst, struct gr_smmuv3, inst);
}

/* To memory that the hardware reads. */
static void store(const struct gr_smmuv3 *smmu, uint64_t *at, uint64_t value)
{
    gr_port_table_store64(smmu->inst.env, at, value);
}

static void clean(const struct gr_smmuv3 *smmu, const uint64_t *at, size_t words)
{
    if (!smmu->inst.table.coherent)
        gr_port_cache(smmu->inst.env, at, words * sizeof(*at), GR_CACHE_CLEAN);
}

static gr_pa_t pa_of(const struct gr_smmuv3 *smmu, const void *va)
{
    return gr_port_virt_to_phys(smmu->inst.env, va);
}

static void *pages(const struct gr_smmuv3 *smmu, unsigned lg2, unsigned flags)
{
    return gr_port_pages_alloc(smmu->inst.env, lg2, gri_mask(smmu->inst.table.pa_bits), flags);
}

/* ---- the command queue (S 3.5, 4, 7.1); inst.lock is held ---- */

static void command(struct gr_smmuv3 *smmu, uint64_t word0, uint64_t word1)
{
    uint64_t *const at = &smmu->cmdq[2 * (smmu->prod & gri_mask(smmu->cmdq_lg2))];

    store(smmu, at, word0);
    store(smmu, at + 1, word1);
    clean(smmu, at, 2);
    smmu->prod = (smmu->prod + 1) & (uint32_t)gri_mask(smmu->cmdq_lg2 + 1u);
    smmu->commands++;
}

static uint32_t global_errors(const struct gr_smmuv3 *smmu)
{
    return gr_port_read32(smmu->mmio, GRI_SMMU_GERROR) ^
           gr_port_read32(smmu->mmio, GRI_SMMU_GERRORN);
}

/* Acknowledge (S 7.5): what differs is active. */
static void acknowledge(const struct gr_smmuv3 *smmu, uint32_t errors)
{
    gr_port_write32(smmu->mmio, GRI_SMMU_GERRORN,
                    gr_port_read32(smmu->mmio, GRI_SMMU_GERRORN) ^ errors);
}

/*
 * The hardware stopped at a command that it cannot read or does not know. A CMD_SYNC in its place
 * lets it go on (S 7.1). Returns whether that was so.
 */
static bool skip_refused(struct gr_smmuv3 *smmu)
{
    uint64_t *at;
    uint32_t cons;

    if (!(global_errors(smmu) & GRI_SMMU_GERROR_CMDQ))
        return false;
    cons = gr_port_read32(smmu->mmio, GRI_SMMU_CMDQ_CONS);
    at = &smmu->cmdq[2 * (cons & gri_mask(smmu->cmdq_lg2))];
    gri_log(smmu->inst.env, GR_LOG_ERR, "%s: command %x %x was refused, error %u", smmu->inst.name,
            at[0], at[1], gri_field_get(cons, GRI_SMMU_CMDQ_CONS_ERR));
    smmu->refused++;
    smmu->gerrors |= GRI_SMMU_GERROR_CMDQ;
    store(smmu, at, GRI_SMMU_CMD_SYNC);
    store(smmu, at + 1, 0);
    clean(smmu, at, 2);
    gr_port_wmb(); /* the command before it is read again */
    acknowledge(smmu, GRI_SMMU_GERROR_CMDQ);
    return true;
}

static bool is_idle(const struct gr_smmuv3 *smmu)
{
    const uint32_t cons = gr_port_read32(smmu->mmio, GRI_SMMU_CMDQ_CONS);

    return !((cons ^ smmu->prod) & gri_mask(smmu->cmdq_lg2 + 1u));
}

/* Wait until all commands are done. Returns 0, GR_ETIMEDOUT: also if one was refused. */
static int wait_idle(struct gr_smmuv3 *smmu)
{
    const uint64_t start = gr_port_now_ns(smmu->inst.env);
    int ret = 0;

    smmu->behind = true;
    while (!is_idle(smmu)) {
        if (skip_refused(smmu))
            ret = GR_ETIMEDOUT;
        if (gr_port_now_ns(smmu->inst.env) - start > GR_CFG_SMMUV3_TIMEOUT_NS) {
            /* We may have been away between the two reads: what counts is the queue, not us. */
            if (is_idle(smmu))
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

/*
 * Before the first of so many commands, CMD_SYNC not counted: is there room? The queue is empty,
 * but after a time-out; what was given up is done once the hardware moves again, and what is asked
 * now as well. Returns 0, GR_ETIMEDOUT.
 */
static int begin(struct gr_smmuv3 *smmu, uint32_t count)
{
    const uint32_t wrap = (uint32_t)gri_mask(smmu->cmdq_lg2 + 1u);
    uint32_t used;

    if (!smmu->behind)
        return 0;
    used = (smmu->prod - gr_port_read32(smmu->mmio, GRI_SMMU_CMDQ_CONS)) & wrap;
    return used + count + 1 > 1u << smmu->cmdq_lg2 ? wait_idle(smmu) : 0;
}

/* Give the commands to the hardware, wait until they are done, and what they forgot is unused. */
static int sync(struct gr_smmuv3 *smmu)
{
    command(smmu, GRI_SMMU_CMD_SYNC, 0);
    smmu->syncs++;
    gr_port_wmb(); /* the commands, and what they are about, before they are read */
    gr_port_write32(smmu->mmio, GRI_SMMU_CMDQ_PROD, smmu->prod);
    return wait_idle(smmu);
}

static bool stage_2(const struct gr_smmuv3 *smmu)
{
    return smmu->inst.table.format == GR_PT_LPAE_S2;
}

static void forget_context(struct gr_smmuv3 *smmu, uint64_t context)
{
    command(smmu,
            stage_2(smmu) ? GRI_SMMU_CMD_TLBI_S12_VMALL | context << GRI_SMMU_CMD_VMID_SHIFT
                          : GRI_SMMU_CMD_TLBI_NH_ASID | context << GRI_SMMU_CMD_ASID_SHIFT,
            0);
}

/*
 * Whatever is cached of a range, or of more. A range command (S 4.4.1.1) takes up to 32 times 2^n
 * granules: the range is rounded up to that, so that one is enough. One granule is no range.
 */
static void forget_range(struct gr_smmuv3 *smmu, uint64_t context, gr_iova_t first, gr_iova_t last,
                         bool tables)
{
    const unsigned g = smmu->inst.table.granule_lg2;
    const uint64_t word0 = stage_2(smmu)
                               ? GRI_SMMU_CMD_TLBI_S2_IPA | context << GRI_SMMU_CMD_VMID_SHIFT
                               : GRI_SMMU_CMD_TLBI_NH_VA | context << GRI_SMMU_CMD_ASID_SHIFT;
    const uint64_t word1 = (first & ~gri_mask(g)) | (tables ? 0 : GRI_SMMU_TLBI_LEAF);
    uint64_t count = (last >> g) - (first >> g) + 1;
    uint64_t scale = 0;

    if (count > 1 && smmu->idr3 & GRI_SMMU_IDR3_RIL) {
        for (; count > GRI_SMMU_TLBI_NUM_MAX; scale++)
            count = (count + 1) / 2;
        command(smmu,
                word0 | (count - 1) << GRI_SMMU_TLBI_NUM_SHIFT | scale << GRI_SMMU_TLBI_SCALE_SHIFT,
                word1 | (uint64_t)(g / 2 - 5) << GRI_SMMU_TLBI_TG_SHIFT);
    } else if (count > smmu->single) {
        forget_context(smmu, context);
    } else {
        for (uint64_t i = 0; i < count; i++)
            command(smmu, word0, word1 + (i << g));
    }
}

static void forget_config(struct gr_smmuv3 *smmu, uint32_t sid)
{
    const uint64_t stream = (uint64_t)sid << GRI_SMMU_CMD_SID_SHIFT;

    command(smmu, GRI_SMMU_CMD_CFGI_STE | stream, 0); /* not only the leaf: also what leads to it */
    if (!stage_2(smmu))                               /* where there may be no such command */
        command(smmu, GRI_SMMU_CMD_CFGI_CD | stream, 0);
}

static void forget_all_config(struct gr_smmuv3 *smmu)
{
    command(smmu, GRI_SMMU_CMD_CFGI_ALL, GRI_SMMU_CFGI_ALL_RANGE);
}

/* ---- the stream table (S 5.1, 5.2); inst.lock is held, but while starting ---- */

static bool two_levels(const struct gr_smmuv3 *smmu)
{
    return smmu->idr0 & GRI_SMMU_IDR0_ST_LEVEL && smmu->stream_bits > SPLIT;
}

/* Entries of streams that abort, without an event. */
static void fill_entries(const struct gr_smmuv3 *smmu, uint64_t *table, size_t count)
{
    const bool reads_cds = smmu->inst.table.coherent && !stage_2(smmu);

    for (size_t i = 0; i < count; i++) {
        store(smmu, &table[i * GRI_SMMU_STE_WORDS], GRI_SMMU_STE0_VALID);
        store(smmu, &table[i * GRI_SMMU_STE_WORDS + 1],
              GRI_SMMU_STE1_INCOMING | (reads_cds ? GRI_SMMU_STE1_COHERENT : 0));
    }
    clean(smmu, table, count * GRI_SMMU_STE_WORDS);
}

/* A stream's entry, or NULL where its table has not been made. */
static uint64_t *find_entry(const struct gr_smmuv3 *smmu, uint32_t sid)
{
    uint64_t descriptor;
    uint64_t *table = smmu->strtab;

    if (two_levels(smmu)) {
        descriptor = table[sid >> SPLIT];
        if (!descriptor)
            return NULL;
        table = gr_port_phys_to_virt(smmu->inst.env, descriptor & PA_OF_L1);
        sid &= (uint32_t)gri_mask(SPLIT);
    }
    return &table[(size_t)sid * GRI_SMMU_STE_WORDS];
}

/* The same, and make the table. Returns 0, GR_ENOMEM. */
static int make_entry(const struct gr_smmuv3 *smmu, uint32_t sid, uint64_t **out)
{
    uint64_t *const descriptor = &smmu->strtab[sid >> SPLIT];
    uint64_t *table;

    *out = find_entry(smmu, sid);
    if (*out)
        return 0;
    table = pages(smmu, SPLIT + 6u, GR_PAGES_TABLE);
    if (!table)
        return GR_ENOMEM;
    fill_entries(smmu, table, (size_t)1 << SPLIT);
    gr_port_wmb(); /* the table before the pointer to it */
    store(smmu, descriptor, pa_of(smmu, table) | (SPLIT + 1u));
    clean(smmu, descriptor, 1);
    *out = find_entry(smmu, sid);
    return 0;
}

/* ---- contexts (S 5.4); inst.lock is held ---- */

static uint64_t *cd_of(const struct gr_smmuv3 *smmu, uint64_t context)
{
    return &smmu->contexts[context / CONTEXTS].cds[context % CONTEXTS * GRI_SMMU_CD_WORDS];
}

/* Take a context that is free. Returns 0, GR_ENOSPC, GR_ENOMEM. */
static int take_context(struct gr_smmuv3 *smmu, uint64_t *out_context)
{
    struct gr_smmuv3_contexts *c = smmu->contexts;
    uint64_t bit = 0;

    while (c->used == UINT64_MAX) {
        if (++c == &smmu->contexts[smmu->context_count / CONTEXTS])
            return GR_ENOSPC;
    }
    if (!c->cds && !stage_2(smmu)) {
        c->cds = pages(smmu, PAGE_LG2, GR_PAGES_TABLE);
        if (!c->cds)
            return GR_ENOMEM;
    }
    while (c->used >> bit & 1)
        bit++;
    c->used |= (uint64_t)1 << bit;
    *out_context = (uint64_t)(c - smmu->contexts) * CONTEXTS + bit;
    return 0;
}

static uint64_t physical_size(unsigned pa_bits)
{
    return pa_bits == 48 ? 5 : pa_bits == 44 ? 4 : pa_bits == 42 ? 3 : (pa_bits - 32u) / 4;
}

/* TG0, S2TG */
static uint64_t granule_code(const struct gr_pt *pt)
{
    static const uint8_t codes[] = {0, 2, 1}; /* 4, 16, 64 KiB */

    return codes[(pt->granule_lg2 - 12u) / 2];
}

/* The descriptor of a context; nothing leads there yet. */
static void make_cd(const struct gr_smmuv3 *smmu, const struct gr_pt *pt, uint64_t context)
{
    uint64_t *const cd = cd_of(smmu, context);

    store(smmu, cd,
          (64u - pt->va_bits) | granule_code(pt) << GRI_SMMU_CD0_TG0_SHIFT |
              (smmu->inst.table.coherent ? GRI_SMMU_CD0_COHERENT : 0) | GRI_SMMU_CD0_EPD1 |
              GRI_SMMU_CD0_VALID | physical_size(pt->pa_bits) << GRI_SMMU_CD0_IPS_SHIFT |
              GRI_SMMU_CD0_AA64 | GRI_SMMU_CD0_RECORD | GRI_SMMU_CD0_ABORT | GRI_SMMU_CD0_ASET |
              context << GRI_SMMU_CD0_ASID_SHIFT);
    store(smmu, cd + 1, pt->root_pa);
    store(smmu, cd + 3, GRI_SMMU_CD3_MAIR);
    clean(smmu, cd, GRI_SMMU_CD_WORDS);
    gr_port_wmb(); /* the context before the stream that points to it */
}

/* A context for `pt`. Returns 0, GR_ENOSPC, GR_ENOMEM. */
static int make_context(struct gr_smmuv3 *smmu, const struct gr_pt *pt, struct gr_binding *binding)
{
    uint64_t context;
    const int ret = take_context(smmu, &context);

    if (ret)
        return ret;
    if (!stage_2(smmu))
        make_cd(smmu, pt, context);
    binding->hw[HW_CONTEXT] = context + 1;
    return 0;
}

/* Nothing leads there, and nothing of it is cached. */
static void free_context(struct gr_smmuv3 *smmu, struct gr_binding *binding)
{
    const uint64_t context = binding->hw[HW_CONTEXT] - 1;

    smmu->contexts[context / CONTEXTS].used &= ~((uint64_t)1 << context % CONTEXTS);
    binding->hw[HW_CONTEXT] = 0;
}

/* The first word of an entry that leads to the binding's context, which there is. */
static uint64_t first_word(const struct gr_smmuv3 *smmu, const struct gr_binding *binding)
{
    if (stage_2(smmu))
        return GRI_SMMU_STE0_S2_TRANSLATE | GRI_SMMU_STE0_VALID;
    return pa_of(smmu, cd_of(smmu, binding->hw[HW_CONTEXT] - 1)) | GRI_SMMU_STE0_S1_TRANSLATE |
           GRI_SMMU_STE0_VALID;
}

/* Does an entry lead there? */
static bool leads_to(const struct gr_smmuv3 *smmu, const uint64_t *entry,
                     const struct gr_binding *binding)
{
    const uint64_t context = binding->hw[HW_CONTEXT] - 1;

    return binding->hw[HW_CONTEXT] && entry[0] == first_word(smmu, binding) &&
           (!stage_2(smmu) || (entry[2] & GRI_SMMU_STE2_VMID) == context);
}

/* ---- streams; inst.lock is held ---- */

static void set_entry(const struct gr_smmuv3 *smmu, uint64_t *entry, uint64_t word)
{
    store(smmu, entry, word);
    clean(smmu, entry, 1);
}

/*
 * Abort whatever the stream does, and have it confirmed. A context without streams is given up;
 * its ASID is free only once nothing is cached of it. Returns 0, GR_ETIMEDOUT.
 */
static int stop(struct gr_smmuv3 *smmu, uint32_t sid, uint64_t *entry, struct gr_binding *binding)
{
    uint64_t *const hw = binding->hw;
    int ret = begin(smmu, 3);

    if (leads_to(smmu, entry, binding))
        hw[HW_STREAMS]--;
    set_entry(smmu, entry, GRI_SMMU_STE0_VALID);
    if (!ret) {
        if (hw[HW_DOUBT])
            forget_all_config(smmu);
        else
            forget_config(smmu, sid);
        if (hw[HW_CONTEXT] && !hw[HW_STREAMS])
            forget_context(smmu, hw[HW_CONTEXT] - 1);
        ret = sync(smmu);
    }
    hw[HW_DOUBT] = ret != 0;
    if (!ret && hw[HW_CONTEXT] && !hw[HW_STREAMS])
        free_context(smmu, binding);
    return ret;
}

/*
 * What stage 2 is to do with a stopped stream (S 5.2). It may be reading the entry at any time,
 * word by word: so this is all that it can find before the first word changes. Returns 0,
 * GR_ETIMEDOUT.
 */
static int describe_stage_2(struct gr_smmuv3 *smmu, uint32_t sid, uint64_t *entry,
                            const struct gr_pt *pt, const struct gr_binding *binding)
{
    const uint64_t level = pt->levels - (pt->granule_lg2 == 12 ? 2u : 1u);

    store(smmu, entry + 2,
          (binding->hw[HW_CONTEXT] - 1) | (uint64_t)(64 - pt->va_bits) << GRI_SMMU_STE2_T0SZ_SHIFT |
              level << GRI_SMMU_STE2_SL0_SHIFT |
              (smmu->inst.table.coherent ? GRI_SMMU_STE2_COHERENT : 0) |
              granule_code(pt) << GRI_SMMU_STE2_TG_SHIFT |
              physical_size(pt->pa_bits) << GRI_SMMU_STE2_PS_SHIFT | GRI_SMMU_STE2_AA64 |
              GRI_SMMU_STE2_RECORD);
    store(smmu, entry + 3, pt->root_pa);
    clean(smmu, entry + 2, 2);
    forget_config(smmu, sid);
    return sync(smmu);
}

/*
 * Let a stopped stream go through the tables of `pt`, or untranslated. Returns 0, GR_EIO
 * (unconfirmed: stopped again).
 */
static int start(struct gr_smmuv3 *smmu, uint32_t sid, uint64_t *entry, const struct gr_pt *pt,
                 struct gr_binding *binding)
{
    int ret = 0; /* the queue is empty: stop() was before */

    if (pt && stage_2(smmu))
        ret = describe_stage_2(smmu, sid, entry, pt, binding);
    if (!ret) {
        set_entry(smmu, entry,
                  pt ? first_word(smmu, binding) : GRI_SMMU_STE0_VALID | GRI_SMMU_STE0_BYPASS);
        forget_config(smmu, sid);
        ret = sync(smmu);
    }
    binding->hw[HW_DOUBT] = ret != 0;
    if (!ret)
        return 0;
    set_entry(smmu, entry, GRI_SMMU_STE0_VALID);
    return GR_EIO;
}

/* Through the tables of `pt`, or with NULL untranslated. */
static int open_stream(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                       struct gr_binding *binding)
{
    struct gr_smmuv3 *const smmu = smmu_of(inst);
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    uint64_t *entry;
    int ret = make_entry(smmu, stream, &entry);

    if (!ret)
        ret = stop(smmu, stream, entry, binding);
    if (!ret && pt && !binding->hw[HW_CONTEXT])
        ret = make_context(smmu, pt, binding);
    if (!ret)
        ret = start(smmu, stream, entry, pt, binding);
    if (!ret && pt)
        binding->hw[HW_STREAMS]++;
    gr_port_unlock(&inst->lock, state);
    return ret;
}

static int smmu_attach(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                       struct gr_binding *binding)
{
    return open_stream(inst, stream, pt, binding);
}

static int smmu_bypass(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding)
{
    return open_stream(inst, stream, NULL, binding);
}

static int smmu_block(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding)
{
    struct gr_smmuv3 *const smmu = smmu_of(inst);
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    uint64_t *const entry = find_entry(smmu, stream);
    const int ret = entry ? stop(smmu, stream, entry, binding) : 0;

    gr_port_unlock(&inst->lock, state);
    return ret;
}

static int smmu_invalidate(struct gr_instance *inst, struct gr_binding *binding, gr_iova_t first,
                           gr_iova_t last, bool tables)
{
    struct gr_smmuv3 *const smmu = smmu_of(inst);
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    const uint64_t *const hw = binding->hw;
    int ret = 0;

    if (hw[HW_CONTEXT] || hw[HW_DOUBT])
        ret = begin(smmu, smmu->single + 1);
    if (!ret && hw[HW_DOUBT])
        forget_all_config(smmu);
    if (!ret && hw[HW_CONTEXT])
        forget_range(smmu, hw[HW_CONTEXT] - 1, first, last, tables);
    if (!ret && (hw[HW_CONTEXT] || hw[HW_DOUBT]))
        ret = sync(smmu);
    gr_port_unlock(&inst->lock, state);
    return ret;
}

static const struct gr_instance_ops smmu_ops = {
    .attach = smmu_attach,
    .bypass = smmu_bypass,
    .block = smmu_block,
    .invalidate = smmu_invalidate,
};

/* ---- what it is ---- */

static int refuse(const struct gr_smmuv3_config *config, int err, const char *why, uint32_t value)
{
    gri_log(config->env, GR_LOG_ERR, "%s: %s (%x)", config->name, why, (uint64_t)value);
    return err;
}

/* Features that the driver needs, or cannot live with: S 6.3.1, 6.3.2. */
static int check_features(const struct gr_smmuv3 *smmu, const struct gr_smmuv3_config *config)
{
    const uint32_t idr0 = smmu->idr0;

    if (config->stage > 2)
        return refuse(config, GR_EINVAL, "the stage must be 1 or 2; configured", config->stage);
    if (config->stage == 1 && !(idr0 & GRI_SMMU_IDR0_S1P))
        return refuse(config, GR_EINVAL, "stage 1 is configured, and it has none; IDR0", idr0);
    if (config->stage == 2 && !(idr0 & GRI_SMMU_IDR0_S2P))
        return refuse(config, GR_EINVAL, "stage 2 is configured, and it has none; IDR0", idr0);
    if (!(idr0 & (GRI_SMMU_IDR0_S1P | GRI_SMMU_IDR0_S2P)))
        return refuse(config, GR_EOPNOTSUPP, "it has no stage 1 and no stage 2; IDR0", idr0);
    if (!(idr0 & GRI_SMMU_IDR0_TTF_AA64) ||
        gri_field_get(idr0, GRI_SMMU_IDR0_TTENDIAN) == GRI_SMMU_IDR0_TTENDIAN_BIG)
        return refuse(config, GR_EOPNOTSUPP, "it cannot walk little-endian AArch64 tables; IDR0",
                      idr0);
    if (gri_field_get(idr0, GRI_SMMU_IDR0_STALL_MODEL) == GRI_SMMU_IDR0_STALL_FORCED)
        return refuse(config, GR_EOPNOTSUPP, "it always stalls on a fault; IDR0", idr0);
    if (smmu->idr1 & GRI_SMMU_IDR1_PRESET)
        return refuse(config, GR_EOPNOTSUPP, "its tables or queues are at preset addresses; IDR1",
                      smmu->idr1);
    return 0;
}

/* Granule and widths of the tables: S 6.3.6. */
static int choose_table(struct gr_smmuv3 *smmu, const struct gr_smmuv3_config *config)
{
    static const uint8_t sizes[] = {32, 36, 40, 42, 44, 48, 48}; /* 52 bits are not for us */
    struct gr_pt_config *const t = &smmu->inst.table;
    const uint32_t oas = gri_field_get(smmu->idr5, GRI_SMMU_IDR5_OAS);
    const uint32_t granules = smmu->idr5 / GRI_SMMU_IDR5_GRAN4K & 7;
    const bool second = config->stage == 2 || (!config->stage && !(smmu->idr0 & GRI_SMMU_IDR0_S1P));
    unsigned g = config->granule_lg2;

    if (oas >= GRI_ARRAY_SIZE(sizes) || !granules)
        return refuse(config, GR_EIO, "IDR5 has an address size or granules that no SMMUv3 has",
                      smmu->idr5);
    if (!g && granules >> (gr_port_cpu_page_lg2(config->env) - 12u) / 2 & 1)
        g = gr_port_cpu_page_lg2(config->env);
    else if (!g)
        g = granules & 1 ? 12 : granules & 2 ? 14 : 16;
    if ((g != 12 && g != 14 && g != 16) || !(granules >> (g - 12u) / 2 & 1))
        return refuse(config, GR_EINVAL, "it does not have the granule that is configured; IDR5",
                      smmu->idr5);
    if (config->va_bits && (config->va_bits < 32 || config->va_bits > 48))
        return refuse(config, GR_EINVAL, "IOVAs must have 32 to 48 bits; configured",
                      config->va_bits);
    *t = (struct gr_pt_config){
        .format = second ? GR_PT_LPAE_S2 : GR_PT_LPAE_S1,
        .granule_lg2 = (uint8_t)g,
        .levels = 2,
        .roots_lg2 = second ? 4 : 0,
        .va_bits = config->va_bits ? config->va_bits : 48,
        .pa_bits = sizes[oas],
        .coherent = smmu->idr0 & GRI_SMMU_IDR0_COHACC,
    };
    if (second)
        t->va_bits = (uint8_t)gri_min(t->va_bits, t->pa_bits);
    while (gr_pt_reach_bits(t) < t->va_bits)
        t->levels++;
    return 0;
}

static int choose_aperture(struct gr_smmuv3 *smmu, const struct gr_smmuv3_config *config)
{
    const struct gr_range a = config->aperture;
    const uint64_t last = gri_mask(smmu->inst.table.va_bits);

    smmu->inst.aperture = a.first || a.last ? a : (struct gr_range){0, last};
    if (a.first > a.last || a.last > last)
        return refuse(config, GR_EINVAL, "the aperture does not lie in the IOVA bits",
                      smmu->inst.table.va_bits);
    return 0;
}

/* Sizes of the stream table and the queues: S 6.3.2. */
static int choose_sizes(struct gr_smmuv3 *smmu, const struct gr_smmuv3_config *config)
{
    const uint32_t bits = gri_field_get(smmu->idr1, GRI_SMMU_IDR1_SIDSIZE);
    const uint32_t most = smmu->idr0 & GRI_SMMU_IDR0_ST_LEVEL ? SPLIT + L1_MAX : LINEAR_MAX;
    const uint32_t commands = gri_field_get(smmu->idr1, GRI_SMMU_IDR1_CMDQS);

    if (bits > 32 || commands < CMDQ_LG2_MIN || commands > 19)
        return refuse(config, GR_EIO, "IDR1 has sizes that no SMMUv3 has", smmu->idr1);
    if (config->stream_bits > gri_min(bits, most))
        return refuse(config, GR_EINVAL, "more stream bits configured than there can be; IDR1",
                      smmu->idr1);
    smmu->stream_bits = (uint8_t)(config->stream_bits ? config->stream_bits : gri_min(bits, most));
    smmu->inst.streams = 1u << smmu->stream_bits;
    smmu->strtab_lg2 = (uint8_t)gri_max(PAGE_LG2, two_levels(smmu) ? smmu->stream_bits - SPLIT + 3u
                                                                   : smmu->stream_bits + 6u);
    smmu->cmdq_lg2 = (uint8_t)gri_min(commands, CMDQ_LG2_MAX);
    smmu->evtq_lg2 =
        (uint8_t)gri_min(gri_field_get(smmu->idr1, GRI_SMMU_IDR1_EVENTQS), EVTQ_LG2_MAX);
    smmu->context_count = (uint32_t)gri_min(
        smmu->idr0 & (stage_2(smmu) ? GRI_SMMU_IDR0_VMID16 : GRI_SMMU_IDR0_ASID16) ? 65536 : 256,
        CONTEXT_PAGES * CONTEXTS);
    /* With CFGI_ALL before them and CMD_SYNC after. */
    smmu->single = (uint32_t)gri_min(GR_CFG_SMMUV3_SINGLE, gri_mask(smmu->cmdq_lg2) - 1);
    return 0;
}

/* ---- starting and stopping: S 3.11 ---- */

static void free_memory(const struct gr_smmuv3 *smmu)
{
    const gr_env_t env = smmu->inst.env;
    const size_t descriptors = two_levels(smmu) ? (size_t)1 << (smmu->stream_bits - SPLIT) : 0;

    for (size_t i = 0; smmu->strtab && i < descriptors; i++) {
        if (smmu->strtab[i])
            gr_port_pages_free(env, gr_port_phys_to_virt(env, smmu->strtab[i] & PA_OF_L1),
                               SPLIT + 6u);
    }
    for (size_t i = 0; smmu->contexts && i < CONTEXT_PAGES; i++) {
        if (smmu->contexts[i].cds)
            gr_port_pages_free(env, smmu->contexts[i].cds, PAGE_LG2);
    }
    if (smmu->strtab)
        gr_port_pages_free(env, smmu->strtab, smmu->strtab_lg2);
    if (smmu->cmdq)
        gr_port_pages_free(env, smmu->cmdq, PAGE_LG2);
    if (smmu->evtq)
        gr_port_pages_free(env, smmu->evtq, PAGE_LG2);
    if (smmu->contexts)
        gr_port_pages_free(env, smmu->contexts, PAGE_LG2);
}

static int make_memory(struct gr_smmuv3 *smmu)
{
    const unsigned table = GR_PAGES_TABLE | GR_PAGES_MAY_SLEEP;

    smmu->strtab = pages(smmu, smmu->strtab_lg2, table);
    smmu->cmdq = pages(smmu, PAGE_LG2, table);
    smmu->evtq = pages(smmu, PAGE_LG2, GR_PAGES_MAY_SLEEP);
    smmu->contexts = pages(smmu, PAGE_LG2, GR_PAGES_MAY_SLEEP);
    if (!smmu->strtab || !smmu->cmdq || !smmu->evtq || !smmu->contexts) {
        free_memory(smmu);
        return GR_ENOMEM;
    }
    if (two_levels(smmu))
        clean(smmu, smmu->strtab, (size_t)1 << (smmu->stream_bits - SPLIT));
    else
        fill_entries(smmu, smmu->strtab, smmu->inst.streams);
    if (!smmu->inst.table.coherent) /* or the zeroes may be written over events */
        gr_port_cache(smmu->inst.env, smmu->evtq, (size_t)1 << PAGE_LG2, GR_CACHE_CLEAN);
    return 0;
}

/* Returns 0, GR_ETIMEDOUT. */
static int wait_register(const struct gr_smmuv3 *smmu, gr_reg32 reg, uint32_t mask, uint32_t value)
{
    const uint64_t start = gr_port_now_ns(smmu->inst.env);

    while ((gr_port_read32(smmu->mmio, reg) & mask) != value) {
        if (gr_port_now_ns(smmu->inst.env) - start > GR_CFG_SMMUV3_TIMEOUT_NS)
            return (gr_port_read32(smmu->mmio, reg) & mask) == value ? 0 : GR_ETIMEDOUT;
        gr_port_relax(smmu->inst.env);
    }
    return 0;
}

static int set_cr0(const struct gr_smmuv3 *smmu, uint32_t value)
{
    gr_port_write32(smmu->mmio, GRI_SMMU_CR0, value);
    return wait_register(smmu, GRI_SMMU_CR0ACK, 0x1f, value);
}

static int set_irq_ctrl(const struct gr_smmuv3 *smmu, uint32_t value)
{
    gr_port_write32(smmu->mmio, GRI_SMMU_IRQ_CTRL, value);
    return wait_register(smmu, GRI_SMMU_IRQ_CTRLACK, 0x7, value);
}

/* Disabled, it lets pass or aborts as GBPA says (S 6.3.14), so that comes first. */
static int disable(const struct gr_smmuv3 *smmu)
{
    int ret = wait_register(smmu, GRI_SMMU_GBPA, GRI_SMMU_GBPA_UPDATE, 0);

    if (ret)
        return ret;
    gr_port_write32(smmu->mmio, GRI_SMMU_GBPA, GRI_SMMU_GBPA_UPDATE | GRI_SMMU_GBPA_ABORT);
    ret = wait_register(smmu, GRI_SMMU_GBPA, GRI_SMMU_GBPA_UPDATE, 0);
    if (!ret)
        ret = set_irq_ctrl(smmu, 0);
    return ret ? ret : set_cr0(smmu, 0);
}

/* It is disabled. Everything is in place before what reads it is enabled. */
static int enable(struct gr_smmuv3 *smmu)
{
    const gr_mmio_t mmio = smmu->mmio;
    int ret;

    gr_port_write32(mmio, GRI_SMMU_CR1, smmu->inst.table.coherent ? GRI_SMMU_CR1_COHERENT : 0);
    gr_port_write32(mmio, GRI_SMMU_CR2, GRI_SMMU_CR2_RECINVSID | GRI_SMMU_CR2_PTM);
    gr_port_write64(mmio, GRI_SMMU_STRTAB_BASE, pa_of(smmu, smmu->strtab) | GRI_SMMU_BASE_ALLOCATE);
    gr_port_write32(mmio, GRI_SMMU_STRTAB_BASE_CFG,
                    smmu->stream_bits |
                        (two_levels(smmu) ? GRI_SMMU_STRTAB_TWO_LEVELS |
                                                gri_field_put(SPLIT, GRI_SMMU_STRTAB_SPLIT)
                                          : 0));
    gr_port_write64(mmio, GRI_SMMU_CMDQ_BASE,
                    pa_of(smmu, smmu->cmdq) | smmu->cmdq_lg2 | GRI_SMMU_BASE_ALLOCATE);
    gr_port_write32(mmio, GRI_SMMU_CMDQ_PROD, 0);
    gr_port_write32(mmio, GRI_SMMU_CMDQ_CONS, 0);
    gr_port_write64(mmio, GRI_SMMU_EVENTQ_BASE,
                    pa_of(smmu, smmu->evtq) | smmu->evtq_lg2 | GRI_SMMU_BASE_ALLOCATE);
    gr_port_write32(mmio, GRI_SMMU_EVENTQ_PROD, 0);
    gr_port_write32(mmio, GRI_SMMU_EVENTQ_CONS, 0);
    gr_port_write64(mmio, GRI_SMMU_GERROR_IRQ_CFG0, 0);
    gr_port_write64(mmio, GRI_SMMU_EVENTQ_IRQ_CFG0, 0);
    gr_port_write32(mmio, GRI_SMMU_GERRORN, gr_port_read32(mmio, GRI_SMMU_GERROR));
    ret = set_cr0(smmu, GRI_SMMU_CR0_CMDQEN);
    if (ret)
        return ret;
    forget_all_config(smmu);
    command(smmu, GRI_SMMU_CMD_TLBI_NSNH_ALL, 0);
    ret = sync(smmu);
    if (!ret)
        ret = set_cr0(smmu, GRI_SMMU_CR0_CMDQEN | GRI_SMMU_CR0_EVENTQEN);
    if (!ret)
        ret = set_irq_ctrl(smmu, GRI_SMMU_IRQ_CTRL_GERROR | GRI_SMMU_IRQ_CTRL_EVENTQ);
    if (!ret)
        ret = set_cr0(smmu, GRI_SMMU_CR0_CMDQEN | GRI_SMMU_CR0_EVENTQEN | GRI_SMMU_CR0_SMMUEN);
    return ret;
}

int gr_smmuv3_init(struct gr_smmuv3 *smmu, const struct gr_smmuv3_config *config)
{
    int ret;

    if (config->mmio_size < GRI_SMMU_MMIO_SIZE)
        return refuse(config, GR_EINVAL, "its register window is smaller than 0x20000 bytes",
                      (uint32_t)config->mmio_size);
    *smmu = (struct gr_smmuv3){
        .inst = {.ops = &smmu_ops, .env = config->env, .name = config->name, .bypass = true},
        .mmio = config->mmio,
        .idr0 = gr_port_read32(config->mmio, GRI_SMMU_IDR0),
        .idr1 = gr_port_read32(config->mmio, GRI_SMMU_IDR1),
        .idr3 = gr_port_read32(config->mmio, GRI_SMMU_IDR3),
        .idr5 = gr_port_read32(config->mmio, GRI_SMMU_IDR5),
    };
    ret = check_features(smmu, config);
    if (!ret)
        ret = choose_table(smmu, config);
    if (!ret)
        ret = choose_aperture(smmu, config);
    if (!ret)
        ret = choose_sizes(smmu, config);
    if (!ret && make_memory(smmu))
        ret =
            refuse(config, GR_ENOMEM, "no memory for a stream table and queues; IDR1", smmu->idr1);
    if (ret)
        return ret;
    ret = disable(smmu);
    if (ret) { /* it has not been told of our memory */
        free_memory(smmu);
        return refuse(config, ret, "it cannot be disabled; CR0ACK",
                      gr_port_read32(smmu->mmio, GRI_SMMU_CR0ACK));
    }
    ret = enable(smmu);
    if (ret) {
        if (!disable(smmu))
            free_memory(smmu);
        return refuse(config, ret, "it does not start; CMDQ_CONS",
                      gr_port_read32(smmu->mmio, GRI_SMMU_CMDQ_CONS));
    }
    gr_instance_init(&smmu->inst);
    return 0;
}

int gr_smmuv3_fini(struct gr_smmuv3 *smmu)
{
    int ret = gr_instance_fini(&smmu->inst);

    if (ret)
        return ret;
    ret = disable(smmu);
    if (!ret)
        free_memory(smmu);
    else
        gri_log(smmu->inst.env, GR_LOG_ERR,
                "%s: its tables and queues stay allocated: it never confirmed that it stopped",
                smmu->inst.name);
    return ret;
}

/* ---- events (S 7.3) and global errors (S 7.5); inst.lock is held ---- */

static const struct event {
    uint8_t type;
    bool address; /* the record says address and direction */
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

static void decode(const uint64_t *record, struct gr_fault *out)
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
    out->iova = record[2]; /* nothing comes before stage 2, so the IPA is the same */
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

    decode(record, &fault);
    gr_instance_fault(&smmu->inst, &fault, smmu->lost);
    smmu->lost = 0;
}

/*
 * Take events, as many as there is room for, so that none is lost while the queue holds them; but
 * where there is none at all, nobody dispatches, and they are counted. Whatever PROD says, no more
 * than a queue full. Returns whether there were any.
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
    gr_port_rmb(); /* PROD before the records */
    if (!smmu->inst.table.coherent)
        gr_port_cache(smmu->inst.env, smmu->evtq, (size_t)1 << PAGE_LG2, GR_CACHE_INVAL);
    for (uint32_t i = 0; i < taken; i++)
        take_event(smmu, &smmu->evtq[(size_t)((first + i) & (wrap >> 1)) * GRI_SMMU_EVENT_WORDS]);
    gr_port_rmb(); /* the records before they may be overwritten */
    smmu->evtq_cons = ((first + taken) & wrap) | (prod & GRI_SMMU_EVENTQ_OVERFLOW);
    gr_port_write32(smmu->mmio, GRI_SMMU_EVENTQ_CONS, smmu->evtq_cons);
    return true;
}

static bool take_errors(struct gr_smmuv3 *smmu)
{
    const bool skipped = skip_refused(smmu);
    const uint32_t errors = global_errors(smmu) & ~GRI_SMMU_GERROR_CMDQ;

    if (!errors)
        return skipped;
    gri_log(smmu->inst.env, GR_LOG_ERR, "%s: global error %x", smmu->inst.name, (uint64_t)errors);
    smmu->gerrors |= errors;
    if (errors & GRI_SMMU_GERROR_EVENTQ_ABT) /* an event could not be written */
        smmu->lost++;
    acknowledge(smmu, errors);
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
