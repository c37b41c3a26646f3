/* SPDX-License-Identifier: MIT */
/*
 * The stream table and the contexts of an SMMUv3.
 *
 * The first word of a stream's entry says abort, bypass or translate. For stage 1 the first word
 * also points to a context descriptor, and all other words are the same in every entry. For stage 2
 * two more words hold the VMID, the root and the shape of the tables. These two are written while
 * the stream aborts, which is confirmed before and after. Attaching and blocking are one store to
 * the first word each, so the hardware never sees a mix of old and new.
 *
 * A domain has one context on each instance. The number of the context is its ASID or, in stage 2,
 * its VMID.
 */
#include "drv/smmuv3/smmuv3_internal.h"

/* Words of binding->hw */
enum {
    HW_CONTEXT, /* the number of the context, plus 1; 0: none */
    HW_STREAMS, /* how many streams use the context */
    HW_DOUBT,   /* 1: the hardware did not confirm that it invalidated a stream's entry */
};

/* ---- the stream table (S 5.1, 5.2); inst.lock is held, except while starting ---- */

void gri_smmu_fill_entries(const struct gr_smmuv3 *smmu, uint64_t *table, size_t count)
{
    const bool reads_cds = smmu->inst.table.coherent && !gri_smmu_stage_2(smmu);

    for (size_t i = 0; i < count; i++) {
        gri_smmu_store(smmu, &table[i * GRI_SMMU_STE_WORDS], GRI_SMMU_STE0_VALID);
        gri_smmu_store(smmu, &table[i * GRI_SMMU_STE_WORDS + 1],
                       GRI_SMMU_STE1_INCOMING | (reads_cds ? GRI_SMMU_STE1_COHERENT : 0));
    }
    gri_smmu_clean(smmu, table, count * GRI_SMMU_STE_WORDS);
}

/* A stream's entry, or NULL if the second-level table for it has not been made. */
static uint64_t *find_entry(const struct gr_smmuv3 *smmu, uint32_t sid)
{
    uint64_t descriptor;
    uint64_t *table = smmu->strtab;

    if (gri_smmu_two_levels(smmu)) {
        descriptor = table[sid >> GRI_SMMU_SPLIT];
        if (!descriptor)
            return NULL;
        table = gr_port_phys_to_virt(smmu->inst.env, descriptor & GRI_SMMU_PA_OF_L1);
        sid &= (uint32_t)gri_mask(GRI_SMMU_SPLIT);
    }
    return &table[(size_t)sid * GRI_SMMU_STE_WORDS];
}

/* A stream's entry, in a second-level table that is made if need be. Returns 0, GR_ENOMEM. */
static int make_entry(const struct gr_smmuv3 *smmu, uint32_t sid, uint64_t **out)
{
    uint64_t *const descriptor = &smmu->strtab[sid >> GRI_SMMU_SPLIT];
    uint64_t *table;

    *out = find_entry(smmu, sid);
    if (*out)
        return 0;
    table = gri_smmu_pages(smmu, GRI_SMMU_SPLIT + 6u, GR_PAGES_TABLE);
    if (!table)
        return GR_ENOMEM;
    gri_smmu_fill_entries(smmu, table, (size_t)1 << GRI_SMMU_SPLIT);
    gr_port_wmb(); /* the table before the pointer to it */
    gri_smmu_store(smmu, descriptor, gri_smmu_pa_of(smmu, table) | (GRI_SMMU_SPLIT + 1u));
    gri_smmu_clean(smmu, descriptor, 1);
    *out = find_entry(smmu, sid);
    return 0;
}

/* ---- contexts (S 5.4); inst.lock is held ---- */

static uint64_t *cd_of(const struct gr_smmuv3 *smmu, uint64_t context)
{
    return &smmu->contexts[context / GRI_SMMU_CONTEXTS]
                .cds[context % GRI_SMMU_CONTEXTS * GRI_SMMU_CD_WORDS];
}

/* Take a free context. Returns 0, GR_ENOSPC, GR_ENOMEM. */
static int take_context(struct gr_smmuv3 *smmu, uint64_t *out_context)
{
    struct gr_smmuv3_contexts *c = smmu->contexts;
    uint64_t bit = 0;

    while (c->used == UINT64_MAX) {
        if (++c == &smmu->contexts[smmu->context_count / GRI_SMMU_CONTEXTS])
            return GR_ENOSPC;
    }
    if (!c->cds && !gri_smmu_stage_2(smmu)) {
        c->cds = gri_smmu_pages(smmu, GRI_SMMU_PAGE_LG2, GR_PAGES_TABLE);
        if (!c->cds)
            return GR_ENOMEM;
    }
    while (c->used >> bit & 1)
        bit++;
    c->used |= (uint64_t)1 << bit;
    *out_context = (uint64_t)(c - smmu->contexts) * GRI_SMMU_CONTEXTS + bit;
    return 0;
}

/* IPS, S2PS: 32, 36, 40, 42, 44, 48 bits are 0 to 5 */
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

/* Write the descriptor of a context. No entry points to it yet. */
static void make_cd(const struct gr_smmuv3 *smmu, const struct gr_pt *pt, uint64_t context)
{
    uint64_t *const cd = cd_of(smmu, context);

    gri_smmu_store(smmu, cd,
                   (64u - pt->va_bits) | granule_code(pt) << GRI_SMMU_CD0_TG0_SHIFT |
                       (smmu->inst.table.coherent ? GRI_SMMU_CD0_COHERENT : 0) | GRI_SMMU_CD0_EPD1 |
                       GRI_SMMU_CD0_VALID | physical_size(pt->pa_bits) << GRI_SMMU_CD0_IPS_SHIFT |
                       GRI_SMMU_CD0_AA64 | GRI_SMMU_CD0_RECORD | GRI_SMMU_CD0_ABORT |
                       GRI_SMMU_CD0_ASET | context << GRI_SMMU_CD0_ASID_SHIFT);
    gri_smmu_store(smmu, cd + 1, pt->root_pa);
    gri_smmu_store(smmu, cd + 3, GRI_SMMU_CD3_MAIR);
    gri_smmu_clean(smmu, cd, GRI_SMMU_CD_WORDS);
    gr_port_wmb(); /* the descriptor before the stream's entry that points to it */
}

/* Give a binding a context for the tables of `pt`. Returns 0, GR_ENOSPC, GR_ENOMEM. */
static int make_context(struct gr_smmuv3 *smmu, const struct gr_pt *pt, struct gr_binding *binding)
{
    uint64_t context;
    const int ret = take_context(smmu, &context);

    if (ret)
        return ret;
    if (!gri_smmu_stage_2(smmu))
        make_cd(smmu, pt, context);
    binding->hw[HW_CONTEXT] = context + 1;
    return 0;
}

/* Free a binding's context. No entry points to it, and no translation of it is cached. */
static void free_context(struct gr_smmuv3 *smmu, struct gr_binding *binding)
{
    const uint64_t context = binding->hw[HW_CONTEXT] - 1;

    smmu->contexts[context / GRI_SMMU_CONTEXTS].used &=
        ~((uint64_t)1 << context % GRI_SMMU_CONTEXTS);
    binding->hw[HW_CONTEXT] = 0;
}

/* The first word of an entry that translates through the binding's context. There is a context. */
static uint64_t first_word(const struct gr_smmuv3 *smmu, const struct gr_binding *binding)
{
    if (gri_smmu_stage_2(smmu))
        return GRI_SMMU_STE0_S2_TRANSLATE | GRI_SMMU_STE0_VALID;
    return gri_smmu_pa_of(smmu, cd_of(smmu, binding->hw[HW_CONTEXT] - 1)) |
           GRI_SMMU_STE0_S1_TRANSLATE | GRI_SMMU_STE0_VALID;
}

/* Does an entry translate through the binding's context? */
static bool uses_context(const struct gr_smmuv3 *smmu, const uint64_t *entry,
                         const struct gr_binding *binding)
{
    const uint64_t context = binding->hw[HW_CONTEXT] - 1;

    return binding->hw[HW_CONTEXT] && entry[0] == first_word(smmu, binding) &&
           (!gri_smmu_stage_2(smmu) || (entry[2] & GRI_SMMU_STE2_VMID) == context);
}

/* ---- streams; inst.lock is held ---- */

static void set_entry(const struct gr_smmuv3 *smmu, uint64_t *entry, uint64_t word)
{
    gri_smmu_store(smmu, entry, word);
    gri_smmu_clean(smmu, entry, 1);
}

/*
 * Let all accesses of a stream abort, and wait for the confirmation. If that leaves the binding's
 * context without streams, the context is freed, but only once none of its translations is cached.
 * Returns 0, GR_ETIMEDOUT.
 */
static int smmu_stop(struct gr_smmuv3 *smmu, uint32_t sid, uint64_t *entry,
                     struct gr_binding *binding)
{
    uint64_t *const hw = binding->hw;
    int ret = gri_smmu_begin(smmu, 3);

    if (uses_context(smmu, entry, binding))
        hw[HW_STREAMS]--;
    set_entry(smmu, entry, GRI_SMMU_STE0_VALID);
    if (!ret) {
        if (hw[HW_DOUBT])
            gri_smmu_invalidate_all_config(smmu);
        else
            gri_smmu_invalidate_config(smmu, sid);
        if (hw[HW_CONTEXT] && !hw[HW_STREAMS])
            gri_smmu_invalidate_context(smmu, hw[HW_CONTEXT] - 1);
        ret = gri_smmu_sync(smmu);
    }
    hw[HW_DOUBT] = ret != 0;
    if (!ret && hw[HW_CONTEXT] && !hw[HW_STREAMS])
        free_context(smmu, binding);
    return ret;
}

/*
 * Write the words of stage 2 (S 5.2) into the entry of a stopped stream. The hardware may read an
 * entry at any time, word by word. So wait until only these words can be found, before the first
 * word changes. Returns 0, GR_ETIMEDOUT.
 */
static int describe_stage_2(struct gr_smmuv3 *smmu, uint32_t sid, uint64_t *entry,
                            const struct gr_pt *pt, const struct gr_binding *binding)
{
    const uint64_t level = pt->levels - (pt->granule_lg2 == 12 ? 2u : 1u);

    gri_smmu_store(smmu, entry + 2,
                   (binding->hw[HW_CONTEXT] - 1) |
                       (uint64_t)(64 - pt->va_bits) << GRI_SMMU_STE2_T0SZ_SHIFT |
                       level << GRI_SMMU_STE2_SL0_SHIFT |
                       (smmu->inst.table.coherent ? GRI_SMMU_STE2_COHERENT : 0) |
                       granule_code(pt) << GRI_SMMU_STE2_TG_SHIFT |
                       physical_size(pt->pa_bits) << GRI_SMMU_STE2_PS_SHIFT | GRI_SMMU_STE2_AA64 |
                       GRI_SMMU_STE2_RECORD);
    gri_smmu_store(smmu, entry + 3, pt->root_pa);
    gri_smmu_clean(smmu, entry + 2, 2);
    gri_smmu_invalidate_config(smmu, sid);
    return gri_smmu_sync(smmu);
}

/*
 * Start a stopped stream: through the tables of `pt`, or with NULL untranslated. Returns 0, GR_EIO
 * (the start was not confirmed; the stream is stopped again, which is not confirmed either).
 */
static int smmu_start(struct gr_smmuv3 *smmu, uint32_t sid, uint64_t *entry, const struct gr_pt *pt,
                      struct gr_binding *binding)
{
    int ret = 0; /* no gri_smmu_begin(): smmu_stop() has left the queue empty */

    if (pt && gri_smmu_stage_2(smmu))
        ret = describe_stage_2(smmu, sid, entry, pt, binding);
    if (!ret) {
        set_entry(smmu, entry,
                  pt ? first_word(smmu, binding) : GRI_SMMU_STE0_VALID | GRI_SMMU_STE0_BYPASS);
        gri_smmu_invalidate_config(smmu, sid);
        ret = gri_smmu_sync(smmu);
    }
    binding->hw[HW_DOUBT] = ret != 0;
    if (!ret)
        return 0;
    set_entry(smmu, entry, GRI_SMMU_STE0_VALID);
    return GR_EIO;
}

/* Open a stream: through the tables of `pt`, or with NULL untranslated. */
static int smmu_open(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                     struct gr_binding *binding)
{
    struct gr_smmuv3 *const smmu = gri_smmu_of(inst);
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    uint64_t *entry;
    int ret = make_entry(smmu, stream, &entry);

    if (!ret)
        ret = smmu_stop(smmu, stream, entry, binding);
    if (!ret && pt && !binding->hw[HW_CONTEXT])
        ret = make_context(smmu, pt, binding);
    if (!ret)
        ret = smmu_start(smmu, stream, entry, pt, binding);
    if (!ret && pt)
        binding->hw[HW_STREAMS]++;
    gr_port_unlock(&inst->lock, state);
    return ret;
}

int gri_smmu_attach(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                    struct gr_binding *binding)
{
    return smmu_open(inst, stream, pt, binding);
}

int gri_smmu_bypass(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding)
{
    return smmu_open(inst, stream, NULL, binding);
}

int gri_smmu_block(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding)
{
    struct gr_smmuv3 *const smmu = gri_smmu_of(inst);
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    uint64_t *const entry = find_entry(smmu, stream);
    const int ret = entry ? smmu_stop(smmu, stream, entry, binding) : 0;

    gr_port_unlock(&inst->lock, state);
    return ret;
}

int gri_smmu_invalidate(struct gr_instance *inst, struct gr_binding *binding, gr_iova_t first,
                        gr_iova_t last, bool tables)
{
    struct gr_smmuv3 *const smmu = gri_smmu_of(inst);
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    const uint64_t *const hw = binding->hw;
    int ret = 0;

    if (hw[HW_CONTEXT] || hw[HW_DOUBT])
        ret = gri_smmu_begin(smmu, smmu->single + 1);
    if (!ret && hw[HW_DOUBT])
        gri_smmu_invalidate_all_config(smmu);
    if (!ret && hw[HW_CONTEXT])
        gri_smmu_invalidate_range(smmu, hw[HW_CONTEXT] - 1, first, last, tables);
    if (!ret && (hw[HW_CONTEXT] || hw[HW_DOUBT]))
        ret = gri_smmu_sync(smmu);
    gr_port_unlock(&inst->lock, state);
    return ret;
}
