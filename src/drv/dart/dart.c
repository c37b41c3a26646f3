/* SPDX-License-Identifier: MIT */
/*
 * Apple's DART. What differs between the generations is data (struct gr_dart_layout), but for the
 * TLB command, which is a function. Every section cited is one of facts/DART.md.
 */
#include <granule/drv/dart.h>

#include "core/bits.h"
#include "core/log.h"
#include "drv/dart/regs.h"

struct fault_code {
    uint32_t bits;
    uint32_t reason;
    uint8_t level;
};

struct gr_dart_layout {
    enum gr_pt_format format;
    uint8_t ttbrs_lg2;
    uint8_t ttbr_pa_shift; /* TTBR = valid | (pa >> pa_shift) << field_shift */
    uint8_t ttbr_field_shift;
    uint8_t va_bits; /* usual values, where no register says them (section 1) */
    uint8_t pa_bits;
    uint16_t streams;
    uint16_t streams_max;
    uint32_t ttbr_valid;
    uint32_t ttbr;
    uint32_t tcr;
    uint32_t tcr_translate;
    uint32_t tcr_bypass;      /* section 2: of DART and of DAPF, as known drivers set it */
    uint32_t tcr_four_levels; /* three levels below the TTBR */
    uint32_t enable;
    uint32_t remap; /* byte n says which stream n goes as */
    uint32_t remap_words;
    uint32_t lock;
    uint32_t lock_bit;
    uint32_t error;
    uint32_t error_addr_lo; /* the high half follows */
    uint32_t error_stream;
    uint32_t error_write;     /* 0: the register does not tell reads from writes */
    uint32_t error_secondary; /* set when a fault found the record taken */
    uint32_t error_streams;   /* bitmaps of those, to be cleared; 0: none */
    struct fault_code code[8];
    int (*flush)(struct gr_dart *dart, uint32_t word, uint32_t streams);
};

static uint32_t read_at(const struct gr_dart *dart, uint32_t offset)
{
    return gr_port_read32(dart->mmio, (gr_reg32){offset});
}

static void write_at(const struct gr_dart *dart, uint32_t offset, uint32_t value)
{
    gr_port_write32(dart->mmio, (gr_reg32){offset}, value);
}

/* ---- TLB commands; inst.lock is held ---- */

static int wait_idle(struct gr_dart *dart, gr_reg32 reg, uint32_t busy)
{
    const uint64_t start = gr_port_now_ns(dart->inst.env);

    while (gr_port_read32(dart->mmio, reg) & busy) {
        if (gr_port_now_ns(dart->inst.env) - start > GR_CFG_DART_TIMEOUT_NS) {
            /* We may have been away between the two reads: what counts is the command, not us. */
            if (!(gr_port_read32(dart->mmio, reg) & busy))
                break;
            dart->timeouts++;
            return GR_ETIMEDOUT;
        }
        gr_port_relax(dart->inst.env);
    }
    gr_port_rmb(); /* what the device wrote, and memory it may no longer reach, are read after */
    return 0;
}

/*
 * One command: wait, since writes are ignored while an earlier one runs (section 2, Q's model);
 * start it; wait until it is done. Stores to the tables were made visible by pt/.
 */
static int flush_t8020(struct gr_dart *dart, uint32_t word, uint32_t streams)
{
    const gr_reg32 command = GRI_T8020_STREAM_COMMAND;
    int ret = wait_idle(dart, command, GRI_T8020_STREAM_COMMAND_BUSY);

    (void)word; /* streams_max keeps this layout to one */
    if (ret)
        return ret;
    dart->invalidations++;
    gr_port_write32(dart->mmio, GRI_T8020_STREAM_SELECT, streams);
    gr_port_write32(dart->mmio, command, GRI_T8020_STREAM_COMMAND_INVALIDATE);
    return wait_idle(dart, command, GRI_T8020_STREAM_COMMAND_BUSY);
}

/* One command for each stream: section 3. */
static int flush_t8110(struct gr_dart *dart, uint32_t word, uint32_t streams)
{
    const gr_reg32 command = GRI_T8110_TLB_CMD;
    int ret = wait_idle(dart, command, GRI_T8110_TLB_CMD_BUSY);

    for (uint32_t sid = word * 32; !ret && streams; sid++, streams >>= 1) {
        if (!(streams & 1))
            continue;
        dart->invalidations++;
        gr_port_write32(dart->mmio, command, GRI_T8110_TLB_CMD_FLUSH_SID | sid);
        ret = wait_idle(dart, command, GRI_T8110_TLB_CMD_BUSY);
    }
    return ret;
}

/* ---- the generations ---- */

#define GRI_T8020_COMMON                                                                           \
    .ttbrs_lg2 = 2, .ttbr_pa_shift = 12, .ttbr_field_shift = 0, .va_bits = 32, .streams = 16,      \
    .streams_max = 32, .ttbr_valid = GRI_T8020_TTBR_VALID, .ttbr = GRI_T8020_TTBR,                 \
    .tcr = GRI_T8020_TCR, .tcr_translate = GRI_T8020_TCR_TRANSLATE,                                \
    .tcr_bypass = GRI_T8020_TCR_BYPASS, .enable = GRI_T8020_ENABLED_STREAMS,                       \
    .remap = GRI_T8020_STREAM_REMAP, .remap_words = GRI_T8020_STREAM_REMAP_WORDS,                  \
    .lock = GRI_T8020_CONFIG, .lock_bit = GRI_T8020_CONFIG_LOCK, .error = GRI_T8020_ERROR,         \
    .error_addr_lo = GRI_T8020_ERROR_ADDR_LO, .error_stream = GRI_T8020_ERROR_STREAM,              \
    .code =                                                                                        \
        {                                                                                          \
            {1u << 0, GR_FAULT_NO_ROOT, GR_FAULT_LEVEL_UNKNOWN},                                   \
            {1u << 1, GR_FAULT_NO_TABLE, 1},                                                       \
            {1u << 2, GR_FAULT_NO_LEAF, 0},                                                        \
            {1u << 3, GR_FAULT_WRITE_PROT, 0},                                                     \
            {1u << 4, GR_FAULT_READ_PROT, 0},                                                      \
            {1u << 7, GR_FAULT_WINDOW, 0},                                                         \
            {3u << 5, GR_FAULT_EXTERNAL, GR_FAULT_LEVEL_UNKNOWN},                                  \
    },                                                                                             \
    .flush = flush_t8020

static const struct gr_dart_layout layouts[] = {
    [GR_DART_T8020] = {.format = GR_PT_DART1, .pa_bits = 36, GRI_T8020_COMMON},
    [GR_DART_T6000] = {.format = GR_PT_DART2, .pa_bits = 42, GRI_T8020_COMMON},
    [GR_DART_T8110] =
        {
            .format = GR_PT_DART2,
            .ttbrs_lg2 = 0,
            .ttbr_pa_shift = 14,
            .ttbr_field_shift = 2,
            .streams_max = GR_DART_MAX_STREAMS,
            .ttbr_valid = GRI_T8110_TTBR_VALID,
            .ttbr = GRI_T8110_TTBR,
            .tcr = GRI_T8110_TCR,
            .tcr_translate = GRI_T8110_TCR_TRANSLATE,
            .tcr_bypass = GRI_T8110_TCR_BYPASS,
            .tcr_four_levels = GRI_T8110_TCR_FOUR_LEVELS,
            .enable = GRI_T8110_ENABLE_STREAMS,
            .lock = GRI_T8110_PROTECT,
            .lock_bit = GRI_T8110_PROTECT_TCR_TTBR,
            .error = GRI_T8110_ERROR,
            .error_addr_lo = GRI_T8110_ERROR_ADDR_LO,
            .error_stream = GRI_T8110_ERROR_STREAM,
            .error_write = GRI_T8110_ERROR_WRITE,
            .error_secondary = GRI_T8110_ERROR_SECONDARY,
            .error_streams = GRI_T8110_ERROR_STREAMS,
            .code =
                {
                    {1u << 0, GR_FAULT_NO_ROOT, GR_FAULT_LEVEL_UNKNOWN},
                    {1u << 1, GR_FAULT_NO_TABLE, 2},
                    {1u << 2, GR_FAULT_NO_TABLE, 1},
                    {1u << 3, GR_FAULT_NO_LEAF, 0},
                    {1u << 4, GR_FAULT_WRITE_PROT, 0},
                    {1u << 5, GR_FAULT_READ_PROT, 0},
                    {1u << 29, GR_FAULT_WINDOW, 0},
                    {3u << 6 | 1u << 13, GR_FAULT_EXTERNAL, GR_FAULT_LEVEL_UNKNOWN},
                },
            .flush = flush_t8110,
        },
};

/* ---- streams; inst.lock is held ---- */

static void write_ttbrs(const struct gr_dart *dart, uint32_t sid, const struct gr_pt *pt)
{
    const struct gr_dart_layout *const l = dart->layout;
    const uint32_t roots = pt ? 1u << pt->roots_lg2 : 0;

    for (uint32_t i = 0; i < 1u << l->ttbrs_lg2; i++) {
        const uint32_t offset = l->ttbr + 4 * ((sid << l->ttbrs_lg2) + i);
        uint32_t value = 0;

        if (i < roots) {
            const gr_pa_t pa = pt->root_pa + ((uint64_t)i << pt->granule_lg2);

            value = l->ttbr_valid | (uint32_t)(pa >> l->ttbr_pa_shift) << l->ttbr_field_shift;
        }
        write_at(dart, offset, value);
    }
}

/*
 * Point a stream at tables, or at none, and let it do what `tcr` says. It is blocked first and let
 * go last, after the TLB forgot what it had, so no access meets a mix: the drivers of section 7
 * enable first and flush after.
 */
static int set_stream(struct gr_dart *dart, uint32_t sid, const struct gr_pt *pt, uint32_t tcr)
{
    const struct gr_dart_layout *const l = dart->layout;
    int ret;

    write_at(dart, l->tcr + 4 * sid, 0);
    write_ttbrs(dart, sid, pt);
    ret = l->flush(dart, sid / 32, 1u << sid % 32);
    if (!ret && tcr)
        write_at(dart, l->tcr + 4 * sid, tcr);
    return ret;
}

static struct gr_dart *dart_of(struct gr_instance *inst)
{
    return GRI_CONTAINER(inst, struct gr_dart, inst);
}

static int open_stream(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                       uint32_t tcr, struct gr_binding *binding)
{
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    const int ret = set_stream(dart_of(inst), stream, pt, tcr);

    binding->hw[stream / 64] |= (uint64_t)1 << stream % 64;
    gr_port_unlock(&inst->lock, state);
    return ret;
}

static int dart_attach(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                       struct gr_binding *binding)
{
    const struct gr_dart_layout *const l = dart_of(inst)->layout;

    return open_stream(inst, stream, pt,
                       l->tcr_translate | (pt->levels > 2 ? l->tcr_four_levels : 0), binding);
}

static int dart_bypass(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding)
{
    return open_stream(inst, stream, NULL, dart_of(inst)->layout->tcr_bypass, binding);
}

static int dart_block(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding)
{
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    const int ret = set_stream(dart_of(inst), stream, NULL, 0);

    if (!ret) /* else invalidate() goes on asking for a confirmation */
        binding->hw[stream / 64] &= ~((uint64_t)1 << stream % 64);
    gr_port_unlock(&inst->lock, state);
    return ret;
}

/* Whole streams: there is no range form that every revision has (sections 2, 3). */
static int dart_invalidate(struct gr_instance *inst, struct gr_binding *binding, gr_iova_t first,
                           gr_iova_t last, bool tables)
{
    struct gr_dart *const dart = dart_of(inst);
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    int ret = 0;

    (void)first;
    (void)last;
    (void)tables;
    for (uint32_t word = 0; !ret && word * 32 < inst->streams; word++) {
        const uint32_t streams = (uint32_t)(binding->hw[word / 2] >> word % 2 * 32);

        if (streams)
            ret = dart->layout->flush(dart, word, streams);
    }
    gr_port_unlock(&inst->lock, state);
    return ret;
}

static const struct gr_instance_ops dart_ops = {
    .attach = dart_attach,
    .bypass = dart_bypass,
    .block = dart_block,
    .invalidate = dart_invalidate,
};

/* ---- parameters and reset ---- */

static int refuse(const struct gr_dart_config *config, int err, const char *why, uint32_t value)
{
    gri_log(config->env, GR_LOG_ERR, "%s: %s (%x)", config->name, why, (uint64_t)value);
    return err;
}

/* Section 3: t8110 says its widths and streams; a configured value can only narrow them. */
static int read_t8110(struct gr_dart *dart, const struct gr_dart_config *config)
{
    struct gr_instance *const inst = &dart->inst;

    dart->params[2] = gr_port_read32(dart->mmio, GRI_T8110_PARAMS3);
    dart->params[3] = gr_port_read32(dart->mmio, GRI_T8110_PARAMS4);
    inst->table.va_bits = (uint8_t)gri_field_get(dart->params[2], GRI_T8110_PARAMS3_VA_WIDTH);
    inst->table.pa_bits = (uint8_t)gri_field_get(dart->params[2], GRI_T8110_PARAMS3_PA_WIDTH);
    inst->streams = gri_field_get(dart->params[3], GRI_T8110_PARAMS4_SIDS);
    inst->table.levels = gri_field_get(dart->params[2], GRI_T8110_PARAMS3_MAJOR) >= 2 ? 3 : 2;
    if (inst->streams > dart->layout->streams_max || !inst->streams)
        return refuse(config, GR_EIO, "PARAMS4 gives a number of streams that no DART has",
                      dart->params[3]);
    if (inst->table.va_bits <= inst->table.granule_lg2 ||
        (inst->table.pa_bits != 36 && inst->table.pa_bits != 42))
        return refuse(config, GR_EIO, "PARAMS3 gives address widths that no DART has",
                      dart->params[2]);
    if (config->va_bits)
        inst->table.va_bits = (uint8_t)gri_min(inst->table.va_bits, config->va_bits);
    if (config->pa_bits)
        inst->table.pa_bits = (uint8_t)gri_min(inst->table.pa_bits, config->pa_bits);
    if (config->streams)
        inst->streams = (uint32_t)gri_min(inst->streams, config->streams);
    return 0;
}

static int read_params(struct gr_dart *dart, const struct gr_dart_config *config)
{
    const struct gr_dart_layout *const l = dart->layout;
    struct gr_instance *const inst = &dart->inst;
    int ret = 0;

    dart->params[0] = gr_port_read32(dart->mmio, GRI_DART_PARAMS1);
    dart->params[1] = gr_port_read32(dart->mmio, GRI_DART_PARAMS2);
    inst->bypass = dart->params[1] & GRI_DART_PARAMS2_BYPASS;
    inst->locked = read_at(dart, l->lock) & l->lock_bit;
    inst->window_verified = config->window_verified;
    inst->caches_absent = true; /* section 4.5: Linux flushes after map as well */
    inst->table = (struct gr_pt_config){
        .format = l->format,
        .granule_lg2 = (uint8_t)gri_field_get(dart->params[0], GRI_DART_PARAMS1_PAGE_LG2),
        .levels = 2,
        .roots_lg2 = l->ttbrs_lg2,
        .va_bits = config->va_bits ? config->va_bits : l->va_bits,
        .pa_bits = config->pa_bits ? config->pa_bits : l->pa_bits,
        .coherent = true,
    };
    inst->streams = config->streams ? config->streams : l->streams;
    if (inst->table.granule_lg2 != 12 && inst->table.granule_lg2 != 14)
        return refuse(config, GR_EIO, "PARAMS1 gives a page size that no DART has",
                      dart->params[0]);
    if (config->kind == GR_DART_T8110)
        ret = read_t8110(dart, config);
    if (ret)
        return ret;
    if (inst->streams > l->streams_max)
        return refuse(config, GR_EINVAL, "more streams configured than this kind has",
                      inst->streams);
    if (inst->table.pa_bits != 36 && (l->format != GR_PT_DART2 || inst->table.pa_bits != 42))
        return refuse(config, GR_EINVAL, "a physical address width that this kind does not have",
                      inst->table.pa_bits);
    return 0;
}

/* Aperture and translated bits: what is configured, cut to what the tables reach. */
static int settle_aperture(struct gr_dart *dart, const struct gr_dart_config *config)
{
    struct gr_instance *const inst = &dart->inst;
    const struct gr_range a = config->aperture;
    const bool given = a.first || a.last;

    inst->aperture = given ? a : (struct gr_range){0, gri_mask(inst->table.va_bits)};
    /* Hardware drops higher bits, so both ends must agree in them: section 10. */
    if (inst->aperture.first > inst->aperture.last ||
        ((inst->aperture.first ^ inst->aperture.last) & ~gri_mask(inst->table.va_bits)))
        return refuse(config, GR_EINVAL,
                      "the aperture does not lie in one block of the translated bits",
                      inst->table.va_bits);
    inst->table.va_bits = (uint8_t)gri_min(inst->table.va_bits, gr_pt_reach_bits(&inst->table));
    if (inst->table.va_bits <= inst->table.granule_lg2)
        return refuse(config, GR_EINVAL, "fewer IOVA bits than a granule has", inst->table.va_bits);
    inst->aperture.last =
        gri_min(inst->aperture.last, inst->aperture.first | gri_mask(inst->table.va_bits));
    return 0;
}

/*
 * Each stream goes as itself (section 2), or it would use the tables of another, with a domain or
 * without. On t8110 the remap is a part of TCR (section 3).
 */
static int reset_remap(const struct gr_dart *dart)
{
    const struct gr_dart_layout *const l = dart->layout;

    for (uint32_t word = 0; word < l->remap_words; word++) {
        const uint32_t offset = l->remap + 4 * word;
        const uint32_t identity = 0x03020100u + word * 0x04040404u;

        if (read_at(dart, offset) == identity)
            continue;
        write_at(dart, offset, identity);
        if (read_at(dart, offset) != identity)
            return GR_EIO;
    }
    return 0;
}

/*
 * Section 7, in this order. A t8110's ENABLE_STREAMS only ever adds (section 3), so there the
 * streams that the host has not counted are blocked as well.
 */
static int reset(struct gr_dart *dart)
{
    const struct gr_dart_layout *const l = dart->layout;
    const uint32_t streams = dart->inst.streams;
    const uint32_t blocked = dart->kind == GR_DART_T8110
                                 ? gri_field_get(dart->params[3], GRI_T8110_PARAMS4_SIDS)
                                 : streams;
    int ret;

    for (uint32_t sid = 0; sid < blocked; sid++)
        write_at(dart, l->tcr + 4 * sid, 0);
    ret = reset_remap(dart);
    if (ret)
        return ret;
    for (uint32_t sid = 0; sid < streams; sid++)
        write_ttbrs(dart, sid, NULL);
    for (uint32_t word = 0; word * 32 < streams; word++)
        write_at(dart, l->enable + 4 * word, (uint32_t)gri_mask(streams - word * 32));
    write_at(dart, l->error, read_at(dart, l->error));
    if (dart->kind == GR_DART_T8110)
        gr_port_write32(dart->mmio, GRI_T8110_ERROR_MASK, 0);
    for (uint32_t word = 0; !ret && word * 32 < streams; word++)
        ret = l->flush(dart, word, (uint32_t)gri_mask(streams - word * 32));
    return ret;
}

int gr_dart_init(struct gr_dart *dart, const struct gr_dart_config *config)
{
    int ret;

    if (config->kind != GR_DART_T8020 && config->kind != GR_DART_T6000 &&
        config->kind != GR_DART_T8110)
        return refuse(config, GR_EINVAL, "no such kind of DART", (uint32_t)config->kind);
    if (config->mmio_size < GRI_DART_MMIO_SIZE)
        return refuse(config, GR_EINVAL, "its register window is smaller than 0x4000 bytes",
                      (uint32_t)config->mmio_size);
    *dart = (struct gr_dart){
        .inst = {.ops = &dart_ops, .env = config->env, .name = config->name},
        .layout = &layouts[config->kind],
        .kind = config->kind,
        .mmio = config->mmio,
    };
    ret = read_params(dart, config);
    if (!ret)
        ret = settle_aperture(dart, config);
    if (ret)
        return ret;
    if (dart->inst.locked)
        return refuse(config, GR_EOPNOTSUPP, "it is locked until reboot by firmware",
                      read_at(dart, dart->layout->lock));
    ret = reset(dart);
    if (ret == GR_EIO)
        return refuse(config, ret, "STREAM_REMAP does not keep what is written; it starts with",
                      read_at(dart, dart->layout->remap));
    if (ret)
        return refuse(config, ret, "a TLB command does not finish; PARAMS1", dart->params[0]);
    gr_instance_init(&dart->inst);
    return 0;
}

int gr_dart_fini(struct gr_dart *dart)
{
    const int ret = gr_instance_fini(&dart->inst);

    if (!ret) { /* every stream was blocked when it left its domain; now let none pass */
        for (uint32_t sid = 0; sid < dart->inst.streams; sid++)
            write_at(dart, dart->layout->tcr + 4 * sid, 0);
    }
    return ret;
}

/* ---- faults ---- */

static uint64_t read_fault_address(const struct gr_dart *dart)
{
    const uint32_t lo = dart->layout->error_addr_lo;
    uint32_t high = read_at(dart, lo + 4);
    uint32_t low;
    uint32_t again;

    /* Two registers: a later fault may replace the record between the reads (section 5). */
    for (unsigned tries = 0; tries < 4; tries++) {
        low = read_at(dart, lo);
        again = read_at(dart, lo + 4);
        if (again == high)
            return (uint64_t)high << 32 | low;
        high = again;
    }
    return (uint64_t)high << 32 | low;
}

static void decode(const struct gr_dart *dart, uint32_t error, struct gr_fault *out)
{
    const struct gr_dart_layout *const l = dart->layout;

    out->stream = gri_field_get(error, l->error_stream);
    out->raw = error;
    out->level = GR_FAULT_LEVEL_UNKNOWN;
    for (size_t i = 0; i < GRI_ARRAY_SIZE(l->code); i++) {
        if (!(error & l->code[i].bits))
            continue;
        if (!out->reasons)
            out->level = l->code[i].level;
        out->reasons |= l->code[i].reason;
    }
    if (!out->reasons)
        out->reasons = GR_FAULT_UNKNOWN;
    if (l->error_write) {
        out->access_known = true;
        out->write = error & l->error_write;
    } else if (out->reasons == GR_FAULT_READ_PROT || out->reasons == GR_FAULT_WRITE_PROT) {
        out->access_known = true;
        out->write = out->reasons == GR_FAULT_WRITE_PROT;
    }
}

bool gr_dart_isr(struct gr_dart *dart)
{
    const struct gr_dart_layout *const l = dart->layout;
    const gr_lock_state_t state = gr_port_lock(&dart->inst.lock);
    const uint32_t error = read_at(dart, l->error);
    const bool ours = error & GRI_DART_ERROR_FLAG;

    if (ours) {
        struct gr_fault fault = {
            .instance = &dart->inst,
            .iova = read_fault_address(dart),
            .time_ns = gr_port_now_ns(dart->inst.env),
        };

        decode(dart, error, &fault);
        gr_instance_fault(&dart->inst, &fault, error & l->error_secondary ? 1 : 0);
        /* Acknowledge by writing back; what is not cleared interrupts again (section 5). */
        write_at(dart, l->error, error);
        for (uint32_t word = 0; l->error_streams && word * 32 < l->streams_max; word++)
            write_at(dart, l->error_streams + 4 * word, UINT32_MAX);
    }
    gr_port_unlock(&dart->inst.lock, state);
    return ours;
}
