/* SPDX-License-Identifier: MIT */
/* Arm's SMMUv3: what the hardware is, how it starts and stops. "S 6.3" is 6.3 of Arm IHI 0070. */
#include "drv/smmuv3/smmuv3_internal.h"

#define CMDQ_LG2_MAX 8u    /* log2 of the commands in a page: 16 bytes each */
#define CMDQ_LG2_MIN 2u    /* the longest fixed sequence is four commands */
#define EVTQ_LG2_MAX 7u    /* log2 of the events in a page: 32 bytes each */
#define L1_LG2_MAX 17u     /* log2 of the descriptors in the first level: 1 MiB */
#define LINEAR_LG2_MAX 16u /* log2 of the streams in a linear table: 4 MiB */

static const struct gr_instance_ops smmu_ops = {
    .attach = gri_smmu_attach,
    .bypass = gri_smmu_bypass,
    .block = gri_smmu_block,
    .invalidate = gri_smmu_invalidate,
};

/* ---- features and sizes: the registers and the configuration decide ---- */

static int smmu_refuse(const struct gr_smmuv3_config *config, int err, const char *why,
                       uint32_t value)
{
    gri_log(config->env, GR_LOG_ERR, "%s: %s (%x)", config->name, why, (uint64_t)value);
    return err;
}

/* Features that the driver needs, and features that it cannot work with: S 6.3.1, 6.3.2. */
static int check_features(const struct gr_smmuv3 *smmu, const struct gr_smmuv3_config *config)
{
    const uint32_t idr0 = smmu->idr0;

    if (config->stage > 2)
        return smmu_refuse(config, GR_EINVAL, "the stage must be 1 or 2; configured",
                           config->stage);
    if (config->stage == 1 && !(idr0 & GRI_SMMU_IDR0_S1P))
        return smmu_refuse(config, GR_EINVAL, "stage 1 is configured, and it has none; IDR0", idr0);
    if (config->stage == 2 && !(idr0 & GRI_SMMU_IDR0_S2P))
        return smmu_refuse(config, GR_EINVAL, "stage 2 is configured, and it has none; IDR0", idr0);
    if (!(idr0 & (GRI_SMMU_IDR0_S1P | GRI_SMMU_IDR0_S2P)))
        return smmu_refuse(config, GR_EOPNOTSUPP, "it has no stage 1 and no stage 2; IDR0", idr0);
    if (!(idr0 & GRI_SMMU_IDR0_TTF_AA64) ||
        gri_field_get(idr0, GRI_SMMU_IDR0_TTENDIAN) == GRI_SMMU_IDR0_TTENDIAN_BIG)
        return smmu_refuse(config, GR_EOPNOTSUPP,
                           "it cannot walk little-endian AArch64 tables; IDR0", idr0);
    if (gri_field_get(idr0, GRI_SMMU_IDR0_STALL_MODEL) == GRI_SMMU_IDR0_STALL_FORCED)
        return smmu_refuse(config, GR_EOPNOTSUPP, "it always stalls on a fault; IDR0", idr0);
    if (smmu->idr1 & GRI_SMMU_IDR1_PRESET)
        return smmu_refuse(config, GR_EOPNOTSUPP,
                           "its tables or queues are at preset addresses; IDR1", smmu->idr1);
    return 0;
}

/* Granule and widths of the tables: S 6.3.6. */
static int choose_table(struct gr_smmuv3 *smmu, const struct gr_smmuv3_config *config)
{
    static const uint8_t sizes[] = {32, 36, 40, 42, 44, 48, 48}; /* 52 bits: 48 are used */
    struct gr_pt_config *const t = &smmu->inst.table;
    const uint32_t oas = gri_field_get(smmu->idr5, GRI_SMMU_IDR5_OAS);
    const uint32_t granules = smmu->idr5 / GRI_SMMU_IDR5_GRAN4K & 7;
    const bool stage_2 =
        config->stage == 2 || (!config->stage && !(smmu->idr0 & GRI_SMMU_IDR0_S1P));
    unsigned g = config->granule_lg2;

    if (oas >= GRI_ARRAY_SIZE(sizes) || !granules)
        return smmu_refuse(config, GR_EIO,
                           "IDR5 has an address size or granules that no SMMUv3 has", smmu->idr5);
    if (!g && granules >> (gr_port_cpu_page_lg2(config->env) - 12u) / 2 & 1)
        g = gr_port_cpu_page_lg2(config->env);
    else if (!g)
        g = granules & 1 ? 12 : granules & 2 ? 14 : 16;
    if ((g != 12 && g != 14 && g != 16) || !(granules >> (g - 12u) / 2 & 1))
        return smmu_refuse(config, GR_EINVAL,
                           "it does not have the granule that is configured; IDR5", smmu->idr5);
    if (config->va_bits && (config->va_bits < 32 || config->va_bits > 48))
        return smmu_refuse(config, GR_EINVAL, "IOVAs must have 32 to 48 bits; configured",
                           config->va_bits);
    *t = (struct gr_pt_config){
        .format = stage_2 ? GR_PT_LPAE_S2 : GR_PT_LPAE_S1,
        .granule_lg2 = (uint8_t)g,
        .levels = 2,
        .roots_lg2 = stage_2 ? 4 : 0,
        .va_bits = config->va_bits ? config->va_bits : 48,
        .pa_bits = sizes[oas],
        .coherent = smmu->idr0 & GRI_SMMU_IDR0_COHACC,
    };
    if (stage_2)
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
        return smmu_refuse(config, GR_EINVAL, "the aperture does not lie in the IOVA bits",
                           smmu->inst.table.va_bits);
    return 0;
}

/* Sizes of the stream table and the queues: S 6.3.2. */
static int choose_sizes(struct gr_smmuv3 *smmu, const struct gr_smmuv3_config *config)
{
    const uint32_t bits = gri_field_get(smmu->idr1, GRI_SMMU_IDR1_SIDSIZE);
    const uint32_t most =
        smmu->idr0 & GRI_SMMU_IDR0_ST_LEVEL ? GRI_SMMU_SPLIT + L1_LG2_MAX : LINEAR_LG2_MAX;
    const uint32_t commands = gri_field_get(smmu->idr1, GRI_SMMU_IDR1_CMDQS);

    if (bits > 32 || commands < CMDQ_LG2_MIN || commands > 19)
        return smmu_refuse(config, GR_EIO, "IDR1 has sizes that no SMMUv3 has", smmu->idr1);
    if (config->stream_bits > gri_min(bits, most))
        return smmu_refuse(config, GR_EINVAL, "more stream bits configured than there can be; IDR1",
                           smmu->idr1);
    smmu->stream_bits = (uint8_t)(config->stream_bits ? config->stream_bits : gri_min(bits, most));
    smmu->inst.streams = 1u << smmu->stream_bits;
    smmu->strtab_lg2 = (uint8_t)gri_max(
        GRI_SMMU_PAGE_LG2, gri_smmu_two_levels(smmu) ? smmu->stream_bits - GRI_SMMU_SPLIT + 3u
                                                     : smmu->stream_bits + 6u);
    smmu->cmdq_lg2 = (uint8_t)gri_min(commands, CMDQ_LG2_MAX);
    smmu->evtq_lg2 =
        (uint8_t)gri_min(gri_field_get(smmu->idr1, GRI_SMMU_IDR1_EVENTQS), EVTQ_LG2_MAX);
    smmu->context_count = (uint32_t)gri_min(
        smmu->idr0 & (gri_smmu_stage_2(smmu) ? GRI_SMMU_IDR0_VMID16 : GRI_SMMU_IDR0_ASID16) ? 65536
                                                                                            : 256,
        GRI_SMMU_CONTEXT_PAGES * GRI_SMMU_CONTEXTS);
    /* The queue must hold them together with a CFGI_ALL before and a CMD_SYNC after them. */
    smmu->single = (uint32_t)gri_min(GR_CFG_SMMUV3_SINGLE, gri_mask(smmu->cmdq_lg2) - 1);
    return 0;
}

/* ---- starting and stopping: S 3.11 ---- */

static void free_memory(const struct gr_smmuv3 *smmu)
{
    const gr_env_t env = smmu->inst.env;
    const size_t descriptors =
        gri_smmu_two_levels(smmu) ? (size_t)1 << (smmu->stream_bits - GRI_SMMU_SPLIT) : 0;

    for (size_t i = 0; smmu->strtab && i < descriptors; i++) {
        if (smmu->strtab[i])
            gr_port_pages_free(env, gr_port_phys_to_virt(env, smmu->strtab[i] & GRI_SMMU_PA_OF_L1),
                               GRI_SMMU_SPLIT + 6u);
    }
    for (size_t i = 0; smmu->contexts && i < GRI_SMMU_CONTEXT_PAGES; i++) {
        if (smmu->contexts[i].cds)
            gr_port_pages_free(env, smmu->contexts[i].cds, GRI_SMMU_PAGE_LG2);
    }
    if (smmu->strtab)
        gr_port_pages_free(env, smmu->strtab, smmu->strtab_lg2);
    if (smmu->cmdq)
        gr_port_pages_free(env, smmu->cmdq, GRI_SMMU_PAGE_LG2);
    if (smmu->evtq)
        gr_port_pages_free(env, smmu->evtq, GRI_SMMU_PAGE_LG2);
    if (smmu->contexts)
        gr_port_pages_free(env, smmu->contexts, GRI_SMMU_PAGE_LG2);
}

static int make_memory(struct gr_smmuv3 *smmu)
{
    const unsigned table = GR_PAGES_TABLE | GR_PAGES_MAY_SLEEP;

    smmu->strtab = gri_smmu_pages(smmu, smmu->strtab_lg2, table);
    smmu->cmdq = gri_smmu_pages(smmu, GRI_SMMU_PAGE_LG2, table);
    smmu->evtq = gri_smmu_pages(smmu, GRI_SMMU_PAGE_LG2, GR_PAGES_MAY_SLEEP);
    smmu->contexts = gri_smmu_pages(smmu, GRI_SMMU_PAGE_LG2, GR_PAGES_MAY_SLEEP);
    if (!smmu->strtab || !smmu->cmdq || !smmu->evtq || !smmu->contexts) {
        free_memory(smmu);
        return GR_ENOMEM;
    }
    if (gri_smmu_two_levels(smmu))
        gri_smmu_clean(smmu, smmu->strtab, (size_t)1 << (smmu->stream_bits - GRI_SMMU_SPLIT));
    else
        gri_smmu_fill_entries(smmu, smmu->strtab, smmu->inst.streams);
    if (!smmu->inst.table.coherent) /* else the zeros may be written back over events */
        gr_port_cache(smmu->inst.env, smmu->evtq, (size_t)1 << GRI_SMMU_PAGE_LG2, GR_CACHE_CLEAN);
    return 0;
}

/* Wait until the bits `mask` of a register are `value`. Returns 0, GR_ETIMEDOUT. */
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

/* GBPA says what becomes of accesses while the SMMU is disabled (S 6.3.14): set ABORT first. */
static int smmu_disable(const struct gr_smmuv3 *smmu)
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

/* Start a disabled SMMU. Tables and queues are in place before CR0 enables what reads them. */
static int smmu_enable(struct gr_smmuv3 *smmu)
{
    const gr_mmio_t mmio = smmu->mmio;
    int ret;

    gr_port_write32(mmio, GRI_SMMU_CR1, smmu->inst.table.coherent ? GRI_SMMU_CR1_COHERENT : 0);
    gr_port_write32(mmio, GRI_SMMU_CR2, GRI_SMMU_CR2_RECINVSID | GRI_SMMU_CR2_PTM);
    gr_port_write64(mmio, GRI_SMMU_STRTAB_BASE,
                    gri_smmu_pa_of(smmu, smmu->strtab) | GRI_SMMU_BASE_ALLOCATE);
    gr_port_write32(
        mmio, GRI_SMMU_STRTAB_BASE_CFG,
        smmu->stream_bits |
            (gri_smmu_two_levels(smmu)
                 ? GRI_SMMU_STRTAB_TWO_LEVELS | gri_field_put(GRI_SMMU_SPLIT, GRI_SMMU_STRTAB_SPLIT)
                 : 0));
    gr_port_write64(mmio, GRI_SMMU_CMDQ_BASE,
                    gri_smmu_pa_of(smmu, smmu->cmdq) | smmu->cmdq_lg2 | GRI_SMMU_BASE_ALLOCATE);
    gr_port_write32(mmio, GRI_SMMU_CMDQ_PROD, 0);
    gr_port_write32(mmio, GRI_SMMU_CMDQ_CONS, 0);
    gr_port_write64(mmio, GRI_SMMU_EVENTQ_BASE,
                    gri_smmu_pa_of(smmu, smmu->evtq) | smmu->evtq_lg2 | GRI_SMMU_BASE_ALLOCATE);
    gr_port_write32(mmio, GRI_SMMU_EVENTQ_PROD, 0);
    gr_port_write32(mmio, GRI_SMMU_EVENTQ_CONS, 0);
    gr_port_write64(mmio, GRI_SMMU_GERROR_IRQ_CFG0, 0);
    gr_port_write64(mmio, GRI_SMMU_EVENTQ_IRQ_CFG0, 0);
    gr_port_write32(mmio, GRI_SMMU_GERRORN, gr_port_read32(mmio, GRI_SMMU_GERROR));
    ret = set_cr0(smmu, GRI_SMMU_CR0_CMDQEN);
    if (ret)
        return ret;
    gri_smmu_invalidate_all_config(smmu);
    gri_smmu_command(smmu, GRI_SMMU_CMD_TLBI_NSNH_ALL, 0);
    ret = gri_smmu_sync(smmu);
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
        return smmu_refuse(config, GR_EINVAL, "its register window is smaller than 0x20000 bytes",
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
        ret = smmu_refuse(config, GR_ENOMEM, "no memory for a stream table and queues; IDR1",
                          smmu->idr1);
    if (ret)
        return ret;
    ret = smmu_disable(smmu);
    if (ret) { /* the hardware has no address of the driver's memory yet */
        free_memory(smmu);
        return smmu_refuse(config, ret, "it cannot be disabled; CR0ACK",
                           gr_port_read32(smmu->mmio, GRI_SMMU_CR0ACK));
    }
    ret = smmu_enable(smmu);
    if (ret) {
        if (!smmu_disable(smmu))
            free_memory(smmu);
        return smmu_refuse(config, ret, "it does not start; CMDQ_CONS",
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
    ret = smmu_disable(smmu);
    if (!ret)
        free_memory(smmu);
    else
        gri_log(smmu->inst.env, GR_LOG_ERR,
                "%s: its tables and queues stay allocated: it never confirmed that it stopped",
                smmu->inst.name);
    return ret;
}
