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

/* What a TLB command shall forget. */
struct tlb_flush {
    uint64_t streams[4];
    bool range; /* no more of them than what first .. last, as registers have it, says */
    bool tables;
    uint32_t first;
    uint32_t last;
};

struct gr_dart_layout {
    enum gr_dart_kind kind;
    uint16_t revision; /* the first that it is for: PARAMS3 */
    enum gr_pt_format format;
    uint8_t levels;      /* of tables that it walks */
    uint8_t params;      /* registers of parameters, from 0 on */
    uint8_t granule_lg2; /* where PARAMS1 does not say */
    uint8_t ttbrs_lg2;
    uint8_t ttbr_pa_shift; /* TTBR = valid | (pa >> pa_shift) << field_shift */
    uint8_t ttbr_field_shift;
    uint8_t tcr_lg2; /* bytes of a stream's TCR: 4, or 1 of a register that four streams share */
    uint8_t va_bits; /* usual values, where no register says them (section 1) */
    uint8_t pa_bits;
    uint16_t streams;
    uint16_t streams_max;
    uint16_t streams_open; /* these pass whatever `enable` says: blocked also where not counted */
    bool fault_low;        /* a fault's address lacks the bits above those translated: section 6 */
    bool flush_closed;     /* the flush opens a stream: no table may be installed (section 6) */
    uint32_t mmio_size;    /* at least */
    uint32_t ttbr_valid;
    uint32_t ttbr;
    uint32_t tcr;
    uint32_t tcr_translate;
    uint32_t tcr_bypass;      /* section 2: of DART and of DAPF, as known drivers set it; */
    uint32_t tcr_bypass_dart; /* the former alone */
    uint32_t tcr_remap;       /* the stream goes as another; or see `remap` */
    uint32_t tcr_four_levels; /* three levels below the TTBR */
    uint32_t enable;          /* a bitmap, as far as `enable_words`; */
    uint32_t enable_words;
    uint32_t remap; /* byte n says which stream n goes as */
    uint32_t remap_words;
    uint32_t lock;
    uint32_t lock_bit;
    uint32_t lock_final; /* while it is 0, the lock can be undone; no such register: 0 */
    uint32_t error;
    uint32_t error_mask; /* 0: faults cannot be kept from interrupting */
    uint32_t error_addr_lo;
    uint32_t error_addr_hi; /* 0: there is none */
    uint32_t error_stream;
    uint32_t error_write;     /* 0: the register does not tell reads from writes */
    uint32_t error_secondary; /* set when a fault found the record taken */
    uint32_t error_streams;   /* bitmaps of those, to be cleared; 0: none */
    uint32_t exceptions;      /* bitmaps of streams with a record of their own; 0: `error` it is */
    bool select_hi;           /* t8020: SELECT has a word for streams from 32 on */
    uint32_t flush_flags;     /* t8110: in every command that flushes a stream */
    bool flush_range;         /* t8110: commands for a range */
    bool flush_unlock;        /* t8110: DIAG_LOCK may want a command after each fault */
    struct fault_code code[16];
    int (*flush)(struct gr_dart *dart, const struct tlb_flush *what);
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
static int flush_t8020(struct gr_dart *dart, const struct tlb_flush *what)
{
    const gr_reg32 command = GRI_T8020_STREAM_COMMAND;
    int ret = wait_idle(dart, command, GRI_T8020_STREAM_COMMAND_BUSY);

    if (ret)
        return ret;
    dart->invalidations++;
    gr_port_write32(dart->mmio, GRI_T8020_STREAM_SELECT, (uint32_t)what->streams[0]);
    if (dart->layout->select_hi)
        gr_port_write32(dart->mmio, GRI_T8020_STREAM_SELECT_HI, (uint32_t)(what->streams[0] >> 32));
    gr_port_write32(dart->mmio, command, GRI_T8020_STREAM_COMMAND_INVALIDATE);
    return wait_idle(dart, command, GRI_T8020_STREAM_COMMAND_BUSY);
}

/* One command for each stream: section 3. */
static int flush_t8110(struct gr_dart *dart, const struct tlb_flush *what)
{
    const gr_reg32 command = GRI_T8110_TLB_CMD;
    uint32_t value = GRI_T8110_TLB_CMD_FLUSH_SID | dart->layout->flush_flags;
    int ret = wait_idle(dart, command, GRI_T8110_TLB_CMD_BUSY);

    if (!ret && what->range) {
        value |= GRI_T8110_TLB_CMD_RANGE | (what->tables ? GRI_T8110_TLB_CMD_STT : 0);
        gr_port_write32(dart->mmio, GRI_T8110_RANGE_FIRST, what->first);
        gr_port_write32(dart->mmio, GRI_T8110_RANGE_LAST, what->last);
    }
    for (uint32_t word = 0; word < GRI_ARRAY_SIZE(what->streams); word++) {
        for (uint64_t rest = what->streams[word]; !ret && rest; rest &= rest - 1) {
            dart->invalidations++;
            gr_port_write32(dart->mmio, command, value | (word * 64 + gri_low_bit(rest)));
            ret = wait_idle(dart, command, GRI_T8110_TLB_CMD_BUSY);
        }
    }
    return ret;
}

/*
 * Section 6: a command reaches only streams that translate. Those that do not are made to for its
 * time: they have no TTBR (set_stream()), so all they can meet is what they are to forget.
 */
static int flush_s5l8960x(struct gr_dart *dart, const struct tlb_flush *what)
{
    const gr_reg32 command = GRI_S5L8960X_STREAM_COMMAND;
    const uint32_t streams = (uint32_t)what->streams[0];
    const uint32_t tcr = read_at(dart, GRI_S5L8960X_TCR);
    uint32_t open = tcr;
    int ret = wait_idle(dart, command, GRI_S5L8960X_STREAM_COMMAND_BUSY);

    if (ret)
        return ret;
    for (uint32_t sid = 0; sid < 4; sid++)
        open |= streams >> sid & 1 ? GRI_S5L8960X_TCR_TRANSLATE << 8 * sid : 0;
    write_at(dart, GRI_S5L8960X_TCR, open);
    dart->invalidations++;
    gr_port_write32(dart->mmio, command,
                    GRI_S5L8960X_STREAM_COMMAND_INVALIDATE |
                        gri_field_put(streams, GRI_S5L8960X_STREAM_COMMAND_STREAMS));
    ret = wait_idle(dart, command, GRI_S5L8960X_STREAM_COMMAND_BUSY);
    write_at(dart, GRI_S5L8960X_TCR, tcr);
    return ret;
}

/* Streams [first, end). */
static int flush_streams(struct gr_dart *dart, uint32_t first, uint32_t end)
{
    struct tlb_flush what = {.tables = true};

    for (uint32_t sid = first; sid < end; sid++)
        what.streams[sid / 64] |= (uint64_t)1 << sid % 64;
    return dart->layout->flush(dart, &what);
}

/* DIAG_LOCK.LOCK_ON_ERR: after a fault the TLB waits for this (section 5). */
static int unlock_tlb(struct gr_dart *dart)
{
    const gr_reg32 command = GRI_T8110_TLB_CMD;
    const int ret = wait_idle(dart, command, GRI_T8110_TLB_CMD_BUSY);

    if (ret)
        return ret;
    gr_port_write32(dart->mmio, command, GRI_T8110_TLB_CMD_UNLOCK);
    return wait_idle(dart, command, GRI_T8110_TLB_CMD_BUSY);
}

/* ---- the generations ---- */

#define GRI_T8020_COMMON                                                                           \
    .levels = 2, .params = 2, .ttbrs_lg2 = 2, .ttbr_pa_shift = 12, .ttbr_field_shift = 0,          \
    .tcr_lg2 = 2, .va_bits = 32, .mmio_size = GRI_DART_MMIO_SIZE,                                  \
    .ttbr_valid = GRI_T8020_TTBR_VALID, .tcr = GRI_T8020_TCR,                                      \
    .tcr_translate = GRI_T8020_TCR_TRANSLATE, .tcr_bypass_dart = GRI_T8020_TCR_BYPASS_DART,        \
    .enable = GRI_T8020_ENABLED_STREAMS, .enable_words = 1, .remap = GRI_T8020_STREAM_REMAP,       \
    .remap_words = GRI_T8020_STREAM_REMAP_WORDS, .lock = GRI_T8020_CONFIG,                         \
    .lock_bit = GRI_T8020_CONFIG_LOCK, .error = GRI_T8020_ERROR,                                   \
    .error_addr_lo = GRI_T8020_ERROR_ADDR_LO, .error_addr_hi = GRI_T8020_ERROR_ADDR_HI,            \
    .error_stream = GRI_T8020_ERROR_STREAM,                                                        \
    .code =                                                                                        \
        {                                                                                          \
            {1u << 0, GR_FAULT_NO_ROOT, GR_FAULT_LEVEL_UNKNOWN},                                   \
            {1u << 1, GR_FAULT_NO_TABLE, 1},                                                       \
            {1u << 2, GR_FAULT_NO_LEAF, 0},                                                        \
            {1u << 3, GR_FAULT_WRITE_PROT, 0},                                                     \
            {1u << 4, GR_FAULT_READ_PROT, 0},                                                      \
            {1u << 7, GR_FAULT_WINDOW, 0},                                                         \
            {3u << 5, GR_FAULT_EXTERNAL, GR_FAULT_LEVEL_UNKNOWN},                                  \
            {1u << 8, GR_FAULT_PROTECTED, GR_FAULT_LEVEL_UNKNOWN},                                 \
            {1u << 11, GR_FAULT_FILTER, GR_FAULT_LEVEL_UNKNOWN},                                   \
    },                                                                                             \
    .flush = flush_t8020

#define GRI_T8110_COMMON                                                                           \
    .kind = GR_DART_T8110, .format = GR_PT_DART2, .params = 4, .ttbrs_lg2 = 0,                     \
    .ttbr_pa_shift = 14, .ttbr_field_shift = 2, .tcr_lg2 = 2, .streams_max = GR_DART_MAX_STREAMS,  \
    .ttbr_valid = GRI_T8110_TTBR_VALID, .ttbr = GRI_T8110_TTBR, .tcr = GRI_T8110_TCR,              \
    .tcr_translate = GRI_T8110_TCR_TRANSLATE, .tcr_bypass = GRI_T8110_TCR_BYPASS,                  \
    .tcr_bypass_dart = GRI_T8110_TCR_BYPASS_DART, .tcr_remap = GRI_T8110_TCR_REMAP,                \
    .enable = GRI_T8110_ENABLE_STREAMS, .enable_words = GR_DART_MAX_STREAMS / 32,                  \
    .lock = GRI_T8110_PROTECT, .lock_bit = GRI_T8110_PROTECT_TCR_TTBR,                             \
    .lock_final = GRI_T8110_PROTECT_LOCK, .error = GRI_T8110_ERROR,                                \
    .error_mask = GRI_T8110_ERROR_MASK, .error_stream = GRI_T8110_ERROR_STREAM,                    \
    .error_write = GRI_T8110_ERROR_WRITE, .flush = flush_t8110

#define GRI_T8110_ONE_RECORD                                                                       \
    .mmio_size = GRI_DART_MMIO_SIZE, .error_addr_lo = GRI_T8110_ERROR_ADDR_LO,                     \
    .error_addr_hi = GRI_T8110_ERROR_ADDR_HI, .error_secondary = GRI_T8110_ERROR_SECONDARY,        \
    .error_streams = GRI_T8110_ERROR_STREAMS,                                                      \
    .code = {                                                                                      \
        {1u << 0, GR_FAULT_NO_ROOT, GR_FAULT_LEVEL_UNKNOWN},                                       \
        {1u << 1, GR_FAULT_NO_TABLE, 2},                                                           \
        {1u << 2, GR_FAULT_NO_TABLE, 1},                                                           \
        {1u << 3, GR_FAULT_NO_LEAF, 0},                                                            \
        {1u << 4, GR_FAULT_WRITE_PROT, 0},                                                         \
        {1u << 5, GR_FAULT_READ_PROT, 0},                                                          \
        {1u << 29, GR_FAULT_WINDOW, 0},                                                            \
        {3u << 6 | 1u << 13, GR_FAULT_EXTERNAL, GR_FAULT_LEVEL_UNKNOWN},                           \
        {3u << 8, GR_FAULT_PROTECTED, GR_FAULT_LEVEL_UNKNOWN},                                     \
        {1u << 10 | 1u << 14, GR_FAULT_FILTER, GR_FAULT_LEVEL_UNKNOWN},                            \
        {3u << 11, GR_FAULT_CACHE, GR_FAULT_LEVEL_UNKNOWN},                                        \
    }

/* One row for each generation, of t8110 for each revision from which on something differs. */
static const struct gr_dart_layout layouts[] = {
    {
        .kind = GR_DART_T8020,
        .format = GR_PT_DART1,
        .pa_bits = 36,
        .streams = 16,
        .streams_max = 32,
        .ttbr = GRI_T8020_TTBR,
        .tcr_bypass = GRI_T8020_TCR_BYPASS,
        GRI_T8020_COMMON,
    },
    {
        .kind = GR_DART_T6000,
        .format = GR_PT_DART2,
        .pa_bits = 42,
        .streams = 16,
        .streams_max = 32,
        .ttbr = GRI_T8020_TTBR,
        .tcr_bypass = GRI_T8020_TCR_BYPASS,
        GRI_T8020_COMMON,
    },
    {
        /* Sections 2 and 14, 2: no second word of ENABLED_STREAMS, since that would be TCR 0. */
        .kind = GR_DART_T8103_USB4,
        .format = GR_PT_DART1,
        .pa_bits = 36,
        .streams = 64,
        .streams_max = 64,
        .streams_open = 64,
        .ttbr = GRI_USB4_TTBR,
        .select_hi = true,
        GRI_T8020_COMMON,
    },
    {
        .revision = 0,
        .levels = 2,
        GRI_T8110_COMMON,
        GRI_T8110_ONE_RECORD,
    },
    {
        .revision = 0x0200,
        .levels = 3,
        .tcr_four_levels = GRI_T8110_TCR_FOUR_LEVELS,
        .flush_unlock = true,
        GRI_T8110_COMMON,
        GRI_T8110_ONE_RECORD,
    },
    {
        .revision = 0x0202,
        .levels = 3,
        .tcr_four_levels = GRI_T8110_TCR_FOUR_LEVELS,
        .flush_flags = GRI_T8110_TLB_CMD_2_2,
        .flush_range = true,
        .flush_unlock = true,
        .exceptions = GRI_T8110_EXCEPTIONS,
        GRI_T8110_COMMON,
        .code = /* by number: see exception_bits() */
        {
            {1u << 0, GR_FAULT_NO_ROOT, GR_FAULT_LEVEL_UNKNOWN},
            {1u << 1, GR_FAULT_NO_TABLE, 2},
            {1u << 2, GR_FAULT_NO_TABLE, 1},
            {1u << 3, GR_FAULT_NO_LEAF, 0},
            {1u << (3 + 1), GR_FAULT_WRITE_PROT, 0},
            {1u << (3 + 2), GR_FAULT_READ_PROT, 0},
            {1u << (3 + 3) | 1u << (3 + 8), GR_FAULT_PROTECTED, GR_FAULT_LEVEL_UNKNOWN},
            {3u << (3 + 4) | 1u << (3 + 13), GR_FAULT_EXTERNAL, GR_FAULT_LEVEL_UNKNOWN},
            {1u << (3 + 7), GR_FAULT_WINDOW, 0},
            {3u << (3 + 9), GR_FAULT_FILTER, GR_FAULT_LEVEL_UNKNOWN},
            {3u << (3 + 11), GR_FAULT_CACHE, GR_FAULT_LEVEL_UNKNOWN},
            {1u << (3 + 14), GR_FAULT_STREAM, GR_FAULT_LEVEL_UNKNOWN},
        },
    },
    {
        /* Section 6 */
        .kind = GR_DART_S5L8960X,
        .format = GR_PT_DART1,
        .levels = 2,
        .granule_lg2 = 12,
        .ttbrs_lg2 = 2,
        .ttbr_pa_shift = 12,
        .tcr_lg2 = 0,
        .va_bits = 32,
        .pa_bits = 36,
        .streams = 4,
        .streams_max = 4,
        .streams_open = 4,
        .fault_low = true,
        .flush_closed = true,
        .mmio_size = GRI_S5L8960X_MMIO_SIZE,
        .ttbr_valid = GRI_T8020_TTBR_VALID,
        .ttbr = GRI_S5L8960X_TTBR,
        .tcr = GRI_S5L8960X_TCR,
        .tcr_translate = GRI_S5L8960X_TCR_TRANSLATE,
        .error = GRI_S5L8960X_ERROR,
        .error_addr_lo = GRI_S5L8960X_ERROR_ADDR,
        .error_stream = GRI_S5L8960X_ERROR_STREAM,
        .code =
            {
                {1u << 0, GR_FAULT_NO_ROOT, GR_FAULT_LEVEL_UNKNOWN},
                {1u << 1, GR_FAULT_NO_TABLE, 1},
                {1u << 2, GR_FAULT_NO_LEAF, 0},
                {1u << 3, GR_FAULT_WRITE_PROT, 0},
                {1u << 4, GR_FAULT_READ_PROT, 0},
            },
        .flush = flush_s5l8960x,
    },
};

/* The row of a kind, or NULL. */
static const struct gr_dart_layout *find_layout(enum gr_dart_kind kind, uint32_t revision)
{
    const struct gr_dart_layout *found = NULL;

    for (size_t i = 0; i < GRI_ARRAY_SIZE(layouts); i++) {
        if (layouts[i].kind == kind && layouts[i].revision <= revision)
            found = &layouts[i];
    }
    return found;
}

/* ---- streams; inst.lock is held ---- */

static uint32_t ttbr_at(const struct gr_dart_layout *l, uint32_t sid, uint32_t i)
{
    return l->ttbr + 4 * ((sid << l->ttbrs_lg2) + i);
}

static uint32_t ttbr_of(const struct gr_dart_layout *l, const struct gr_pt *pt, uint32_t i)
{
    const gr_pa_t pa = pt->root_pa + ((uint64_t)i << pt->granule_lg2);

    return l->ttbr_valid | (uint32_t)(pa >> l->ttbr_pa_shift) << l->ttbr_field_shift;
}

static void write_ttbrs(const struct gr_dart *dart, uint32_t sid, const struct gr_pt *pt)
{
    const struct gr_dart_layout *const l = dart->layout;
    const uint32_t roots = pt ? 1u << pt->roots_lg2 : 0;

    for (uint32_t i = 0; i < 1u << l->ttbrs_lg2; i++)
        write_at(dart, ttbr_at(l, sid, i), i < roots ? ttbr_of(l, pt, i) : 0);
}

static uint32_t read_tcr(const struct gr_dart *dart, uint32_t sid)
{
    const struct gr_dart_layout *const l = dart->layout;
    const uint32_t byte = sid << l->tcr_lg2;
    const uint32_t value = read_at(dart, l->tcr + (byte & ~3u)) >> byte % 4 * 8;

    return l->tcr_lg2 ? value : value & 0xff;
}

static void write_tcr(const struct gr_dart *dart, uint32_t sid, uint32_t value)
{
    const struct gr_dart_layout *const l = dart->layout;
    const uint32_t byte = sid << l->tcr_lg2;
    const uint32_t offset = l->tcr + (byte & ~3u);
    const uint32_t shift = byte % 4 * 8;

    if (!l->tcr_lg2) /* the other streams' as they are: section 6 */
        value = (read_at(dart, offset) & ~(0xffu << shift)) | value << shift;
    write_at(dart, offset, value);
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

    write_tcr(dart, sid, 0);
    write_ttbrs(dart, sid, l->flush_closed ? NULL : pt);
    ret = flush_streams(dart, sid, sid + 1);
    if (ret || !tcr)
        return ret;
    if (l->flush_closed)
        write_ttbrs(dart, sid, pt);
    write_tcr(dart, sid, tcr);
    return 0;
}

static struct gr_dart *dart_of(struct gr_instance *inst)
{
    return GRI_CONTAINER(inst, struct gr_dart, inst);
}

static const struct gr_dart *const_dart_of(const struct gr_instance *inst)
{
    return (const struct gr_dart *)(const void *)((const unsigned char *)(const void *)inst -
                                                  offsetof(struct gr_dart, inst));
}

static int open_stream(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                       uint32_t tcr, struct gr_binding *binding)
{
    struct gr_dart *const dart = dart_of(inst);
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    const int ret = dart->off ? 0 : set_stream(dart, stream, pt, tcr);

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
    struct gr_dart *const dart = dart_of(inst);
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    const int ret = dart->off ? 0 : set_stream(dart, stream, NULL, 0);

    if (!ret) /* else invalidate() goes on asking for a confirmation */
        binding->hw[stream / 64] &= ~((uint64_t)1 << stream % 64);
    gr_port_unlock(&inst->lock, state);
    return ret;
}

/* Few granules go by their addresses, so that the stream keeps the rest; many go with all of it. */
static void choose_range(const struct gr_dart *dart, gr_iova_t first, gr_iova_t last,
                         struct tlb_flush *what)
{
    const struct gr_pt_config *const t = &dart->inst.table;
    const uint64_t from = (first & gri_mask(t->va_bits)) >> t->granule_lg2;
    const uint64_t more = (last >> t->granule_lg2) - (first >> t->granule_lg2);

    if (!dart->layout->flush_range || more >= GR_CFG_DART_RANGE || from + more > UINT32_MAX >> 2)
        return;
    what->range = true;
    what->first = (uint32_t)from << 2;
    what->last = (uint32_t)(from + more) << 2;
}

static int dart_invalidate(struct gr_instance *inst, struct gr_binding *binding, gr_iova_t first,
                           gr_iova_t last, bool tables)
{
    struct gr_dart *const dart = dart_of(inst);
    struct tlb_flush what = {.tables = tables};
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    uint64_t any = 0;
    int ret = 0;

    for (uint32_t word = 0; word < GRI_ARRAY_SIZE(what.streams); word++) {
        what.streams[word] = binding->hw[word];
        any |= binding->hw[word];
    }
    if (any && !dart->off) {
        choose_range(dart, first, last, &what);
        ret = dart->layout->flush(dart, &what);
    }
    gr_port_unlock(&inst->lock, state);
    return ret;
}

/* Let faults interrupt again, after a storm; inst->lock is held. */
static void dart_rearm(struct gr_instance *inst)
{
    const struct gr_dart *const dart = dart_of(inst);

    if (dart->layout->error_mask && !dart->off)
        write_at(dart, dart->layout->error_mask, 0);
}

/* ---- streams that firmware left translating ---- */

/* Does it go as itself? Else TCR and TTBR of another count (sections 2, 3). */
static bool goes_as_itself(const struct gr_dart *dart, uint32_t sid, uint32_t tcr)
{
    const struct gr_dart_layout *const l = dart->layout;

    if (sid / 4 >= l->remap_words)
        return !(tcr & l->tcr_remap);
    return (read_at(dart, l->remap + (sid & ~3u)) >> sid % 4 * 8 & 0xff) == sid;
}

static void dart_firmware(const struct gr_instance *inst, uint32_t stream, struct gr_firmware *out)
{
    const struct gr_dart *const dart = const_dart_of(inst);
    const struct gr_dart_layout *const l = dart->layout;
    uint32_t tcr;

    *out = (struct gr_firmware){.state = inst->locked ? GR_FIRMWARE_LOCKED : GR_FIRMWARE_OFF};
    if (dart->off)
        return;
    tcr = read_tcr(dart, stream);
    out->levels = tcr & l->tcr_four_levels ? 3 : 2;
    for (uint32_t i = 0; i < 1u << l->ttbrs_lg2; i++) {
        const uint32_t ttbr = read_at(dart, ttbr_at(l, stream, i));
        const uint64_t field = (ttbr & ~l->ttbr_valid) >> l->ttbr_field_shift;

        out->raw[i] = ttbr;
        out->root[i] = field << l->ttbr_pa_shift;
        out->roots |= (uint8_t)(ttbr & l->ttbr_valid ? 1u << i : 0);
    }
    out->serves = (tcr & l->tcr_translate) && !(tcr & l->tcr_bypass_dart) && out->roots &&
                  goes_as_itself(dart, stream, tcr);
    if (!inst->locked && out->serves)
        out->state = GR_FIRMWARE_TRANSLATING;
    else if (!inst->locked && tcr & l->tcr_bypass_dart && !(tcr & l->tcr_translate))
        out->state = GR_FIRMWARE_BYPASS;
}

/* Is its state firmware's, so that no register of it is stored to? */
static bool is_kept(const struct gr_dart *dart, uint32_t sid)
{
    return dart->kept[sid / 64] >> sid % 64 & 1;
}

static bool keeps_any(const struct gr_dart *dart)
{
    return dart->kept[0] | dart->kept[1] | dart->kept[2] | dart->kept[3];
}

static void find_kept(struct gr_dart *dart)
{
    for (uint32_t sid = 0; sid < dart->streams; sid++) {
        struct gr_firmware firmware;

        dart_firmware(&dart->inst, sid, &firmware);
        if (firmware.state >= GR_FIRMWARE_TRANSLATING)
            dart->kept[sid / 64] |= (uint64_t)1 << sid % 64;
    }
}

/*
 * Let the top registers say what `pt` needs, or else what they said: each changes with one store,
 * from a table to one that translates all that it did (docs/ASSUMPTIONS.md).
 */
static void swap_ttbrs(const struct gr_dart *dart, uint32_t sid, const struct gr_firmware *firmware,
                       const struct gr_pt *pt)
{
    const struct gr_dart_layout *const l = dart->layout;

    for (uint32_t i = 0; i < 1u << l->ttbrs_lg2; i++) {
        const uint32_t value = pt && i < 1u << pt->roots_lg2 ? ttbr_of(l, pt, i) : firmware->raw[i];

        if (read_at(dart, ttbr_at(l, sid, i)) != value)
            write_at(dart, ttbr_at(l, sid, i), value);
    }
}

static int dart_adopt(struct gr_instance *inst, uint32_t stream, const struct gr_firmware *firmware,
                      const struct gr_pt *pt, struct gr_binding *binding)
{
    struct gr_dart *const dart = dart_of(inst);
    const struct gr_dart_layout *const l = dart->layout;
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    int ret = 0;

    binding->hw[stream / 64] |= (uint64_t)1 << stream % 64;
    if (!dart->off) {
        const bool lost = !(read_tcr(dart, stream) & l->tcr_translate); /* with the power */

        if (pt || lost)
            swap_ttbrs(dart, stream, firmware, pt);
        ret = flush_streams(dart, stream, stream + 1);
        if (!ret && lost)
            write_tcr(dart, stream,
                      l->tcr_translate | (firmware->levels > 2 ? l->tcr_four_levels : 0));
    }
    gr_port_unlock(&inst->lock, state);
    return ret;
}

static int dart_release(struct gr_instance *inst, uint32_t stream,
                        const struct gr_firmware *firmware, struct gr_binding *binding)
{
    struct gr_dart *const dart = dart_of(inst);
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    int ret = 0;

    if (!dart->off) {
        swap_ttbrs(dart, stream, firmware, NULL);
        ret = flush_streams(dart, stream, stream + 1);
    }
    if (!ret) /* else invalidate() goes on asking for a confirmation */
        binding->hw[stream / 64] &= ~((uint64_t)1 << stream % 64);
    gr_port_unlock(&inst->lock, state);
    return ret;
}

static const struct gr_instance_ops dart_ops = {
    .attach = dart_attach,
    .bypass = dart_bypass,
    .block = dart_block,
    .invalidate = dart_invalidate,
    .rearm = dart_rearm,
    .firmware = dart_firmware,
    .adopt = dart_adopt,
    .release = dart_release,
};

/* ---- parameters and reset ---- */

static int refuse(const struct gr_dart_config *config, int err, const char *why, uint32_t value)
{
    gri_log(config->env, GR_LOG_ERR, "%s: %s (%x)", config->name, why, (uint64_t)value);
    return err;
}

/*
 * Section 3: t8110 says its widths, its streams and which row of `layouts` it is; a configured
 * value can only narrow them.
 */
static int read_t8110(struct gr_dart *dart, const struct gr_dart_config *config)
{
    struct gr_instance *const inst = &dart->inst;

    dart->layout =
        find_layout(dart->kind, gri_field_get(dart->params[2], GRI_T8110_PARAMS3_REVISION));
    inst->table.levels = dart->layout->levels;
    inst->table.va_bits = (uint8_t)gri_field_get(dart->params[2], GRI_T8110_PARAMS3_VA_WIDTH);
    inst->table.pa_bits = (uint8_t)gri_field_get(dart->params[2], GRI_T8110_PARAMS3_PA_WIDTH);
    inst->streams = gri_field_get(dart->params[3], GRI_T8110_PARAMS4_SIDS);
    if (inst->streams > dart->layout->streams_max || !inst->streams)
        return refuse(config, GR_EIO, "PARAMS4 gives a number of streams that no DART has",
                      dart->params[3]);
    if (inst->table.va_bits <= inst->table.granule_lg2 ||
        (inst->table.pa_bits != 36 && inst->table.pa_bits != 42))
        return refuse(config, GR_EIO, "PARAMS3 gives address widths that no DART has",
                      dart->params[2]);
    if (dart->layout->exceptions && dart->mmio_size < GRI_T8110_EXCEPTION(inst->streams))
        return refuse(config, GR_EINVAL, "its register window ends before its streams' errors do",
                      (uint32_t)config->mmio_size);
    dart->streams = inst->streams;
    if (config->va_bits)
        inst->table.va_bits = (uint8_t)gri_min(inst->table.va_bits, config->va_bits);
    if (config->pa_bits)
        inst->table.pa_bits = (uint8_t)gri_min(inst->table.pa_bits, config->pa_bits);
    if (config->streams)
        inst->streams = (uint32_t)gri_min(inst->streams, config->streams);
    return 0;
}

static bool is_locked(const struct gr_dart *dart)
{
    const struct gr_dart_layout *const l = dart->layout;

    return l->lock_bit && read_at(dart, l->lock) & l->lock_bit;
}

static int read_params(struct gr_dart *dart, const struct gr_dart_config *config)
{
    const struct gr_dart_layout *const l = dart->layout;
    struct gr_instance *const inst = &dart->inst;
    uint8_t granule_lg2;
    int ret = 0;

    for (uint32_t i = 0; i < l->params; i++)
        dart->params[i] = read_at(dart, 4 * i);
    granule_lg2 = (uint8_t)gri_field_get(dart->params[0], GRI_DART_PARAMS1_PAGE_LG2);
    inst->bypass = l->tcr_bypass && dart->params[1] & GRI_DART_PARAMS2_BYPASS;
    inst->locked = is_locked(dart);
    dart->unlockable = inst->locked && l->lock_final && !read_at(dart, l->lock_final);
    inst->window_verified = config->window_verified;
    inst->caches_absent = true; /* section 4.5: Linux flushes after map as well */
    inst->table = (struct gr_pt_config){
        .format = l->format,
        .granule_lg2 = l->granule_lg2 ? l->granule_lg2 : granule_lg2,
        .levels = l->levels,
        .roots_lg2 = l->ttbrs_lg2,
        .va_bits = config->va_bits ? config->va_bits : l->va_bits,
        .pa_bits = config->pa_bits ? config->pa_bits : l->pa_bits,
        .coherent = true,
    };
    inst->streams = config->streams ? config->streams : l->streams;
    dart->streams = (uint32_t)gri_max(inst->streams, l->streams_open);
    if (inst->table.granule_lg2 != 12 && inst->table.granule_lg2 != 14)
        return refuse(config, GR_EIO, "PARAMS1 gives a page size that no DART has",
                      dart->params[0]);
    if (l->params == 4)
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
 * Every stream that can pass, also those that the host has not counted: a t8110's ENABLE_STREAMS
 * only ever adds (section 3), and others have none.
 */
static void close_streams(const struct gr_dart *dart)
{
    for (uint32_t sid = 0; sid < dart->streams; sid++) {
        if (!is_kept(dart, sid))
            write_tcr(dart, sid, 0);
    }
}

static void clear_ttbrs(const struct gr_dart *dart)
{
    for (uint32_t sid = 0; sid < dart->streams; sid++) {
        if (!is_kept(dart, sid))
            write_ttbrs(dart, sid, NULL);
    }
}

/* What was raised before anybody listened. */
static void drop_faults(const struct gr_dart *dart)
{
    const struct gr_dart_layout *const l = dart->layout;

    write_at(dart, l->error, read_at(dart, l->error));
    for (uint32_t word = 0; l->exceptions && word * 32 < l->streams_max; word++)
        write_at(dart, l->exceptions + 4 * word, UINT32_MAX);
    if (l->error_mask)
        write_at(dart, l->error_mask, 0);
}

/* Section 7, in this order, but for streams that firmware left translating: they go on. */
static int reset(struct gr_dart *dart)
{
    const struct gr_dart_layout *const l = dart->layout;
    const uint32_t streams = dart->inst.streams;
    int ret;

    close_streams(dart);
    ret = dart->inst.locked ? 0 : reset_remap(dart);
    if (ret)
        return ret;
    clear_ttbrs(dart);
    for (uint32_t word = 0; word < l->enable_words && word * 32 < streams; word++)
        write_at(dart, l->enable + 4 * word, (uint32_t)gri_mask(streams - word * 32));
    drop_faults(dart);
    dart->lock_on_error =
        l->flush_unlock && read_at(dart, GRI_T8110_DIAG_LOCK) & GRI_T8110_DIAG_LOCK_ON_ERR;
    if (dart->lock_on_error)
        ret = unlock_tlb(dart);
    return ret ? ret : flush_streams(dart, 0, dart->streams);
}

int gr_dart_init(struct gr_dart *dart, const struct gr_dart_config *config)
{
    const struct gr_dart_layout *const l = find_layout(config->kind, 0);
    int ret;

    if (!l)
        return refuse(config, GR_EINVAL, "no such kind of DART", (uint32_t)config->kind);
    if (config->mmio_size < l->mmio_size)
        return refuse(config, GR_EINVAL, "its register window is smaller than any DART's",
                      (uint32_t)config->mmio_size);
    *dart = (struct gr_dart){
        .inst = {.ops = &dart_ops, .env = config->env, .name = config->name},
        .layout = l,
        .kind = config->kind,
        .mmio = config->mmio,
        .mmio_size = config->mmio_size,
    };
    ret = read_params(dart, config);
    if (!ret)
        ret = settle_aperture(dart, config);
    if (ret)
        return ret;
#ifndef GR_PORT_HAS_FIRMWARE
    if (dart->inst.locked)
        return refuse(config, GR_EOPNOTSUPP,
                      dart->unlockable ? "it is locked by firmware; the lock can be undone"
                                       : "it is locked until reboot by firmware",
                      read_at(dart, dart->layout->lock));
#endif
    find_kept(dart);
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

    if (!ret && !dart->off) { /* every stream was blocked when it left its domain; let none pass */
        for (uint32_t sid = 0; sid < dart->inst.streams; sid++) {
            if (!is_kept(dart, sid))
                write_tcr(dart, sid, 0);
        }
    }
    return ret;
}

/* ---- power ---- */

int gr_dart_suspend(struct gr_dart *dart)
{
    const gr_lock_state_t state = gr_port_lock(&dart->inst.lock);
    int ret = 0;

    if (keeps_any(dart)) {
        ret = GR_EOPNOTSUPP;
    } else if (!dart->off) {
        /* Closed and forgotten, so that what is unmapped from here on needs no command. */
        close_streams(dart);
        clear_ttbrs(dart);
        ret = flush_streams(dart, 0, dart->streams);
        dart->off = !ret;
    }
    gr_port_unlock(&dart->inst.lock, state);
    return ret;
}

void gr_dart_lost(struct gr_dart *dart)
{
    const gr_lock_state_t state = gr_port_lock(&dart->inst.lock);

    dart->off = true;
    gr_port_unlock(&dart->inst.lock, state);
}

/* Does it answer as it did? */
static bool is_back(const struct gr_dart *dart)
{
    for (uint32_t i = 0; i < dart->layout->params; i++) {
        if (read_at(dart, 4 * i) != dart->params[i])
            return false;
    }
    return true;
}

int gr_dart_resume(struct gr_dart *dart)
{
    gr_lock_state_t state = gr_port_lock(&dart->inst.lock);
    int ret;

    if (!is_back(dart)) {
        ret = GR_EIO;
    } else if (is_locked(dart)) {
        ret = GR_EOPNOTSUPP;
    } else {
        ret = reset(dart);
        dart->off = false; /* also after a failure: whoever unmaps asks it again */
    }
    gr_port_unlock(&dart->inst.lock, state);
    if (ret)
        return ret;
    ret = gr_instance_reattach(&dart->inst);
    if (ret) {
        state = gr_port_lock(&dart->inst.lock);
        close_streams(dart);
        gr_port_unlock(&dart->inst.lock, state);
    }
    return ret;
}

/* ---- faults; inst.lock is held ---- */

static uint64_t read_fault_address(const struct gr_dart *dart, uint32_t lo, uint32_t hi)
{
    uint32_t high = read_at(dart, hi);
    uint32_t low;
    uint32_t again;

    /* Two registers: a later fault may replace the record between the reads (section 5). */
    for (unsigned tries = 0; tries < 4; tries++) {
        low = read_at(dart, lo);
        again = read_at(dart, hi);
        if (again == high)
            return (uint64_t)high << 32 | low;
        high = again;
    }
    return (uint64_t)high << 32 | low;
}

/* Where ERROR has too few bits for all streams, the one that is open, if it is only one. */
static void find_stream(const struct gr_dart *dart, uint32_t error, struct gr_fault *out)
{
    const struct gr_dart_layout *const l = dart->layout;
    const uint32_t told = gri_field_get(UINT32_MAX, l->error_stream) + 1;
    unsigned open = 0;

    out->stream = gri_field_get(error, l->error_stream);
    if (dart->inst.streams <= told)
        return;
    for (uint32_t sid = out->stream; sid < dart->inst.streams; sid += told) {
        if (!read_at(dart, l->tcr + 4 * sid))
            continue;
        out->stream = open ? out->stream : sid;
        open++;
    }
    out->stream_shared = open > 1;
}

static void decode(const struct gr_dart_layout *l, uint32_t error, struct gr_fault *out)
{
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

/*
 * Record a fault, and one for each other stream whose fault found the record taken: nothing else is
 * known of those.
 */
static void record_all(struct gr_dart *dart, struct gr_fault *fault)
{
    const struct gr_dart_layout *const l = dart->layout;
    const uint32_t first = fault->stream;
    uint32_t others[GR_DART_MAX_STREAMS / 32] = {0};
    uint32_t any = 0;

    for (uint32_t word = 0; l->error_streams && word * 32 < l->streams_max; word++) {
        others[word] = read_at(dart, l->error_streams + 4 * word);
        others[word] &= word == first / 32 ? ~(1u << first % 32) : UINT32_MAX;
        any |= others[word];
    }
    if (!(fault->raw & l->error_secondary))
        any = 0;
    gr_instance_fault(&dart->inst, fault, fault->raw & l->error_secondary && !any ? 1 : 0);
    for (uint32_t word = 0; any && word < GRI_ARRAY_SIZE(others); word++) {
        for (uint32_t rest = others[word]; rest; rest &= rest - 1) {
            const struct gr_fault other = {
                .instance = &dart->inst,
                .stream = word * 32 + gri_low_bit(rest),
                .reasons = GR_FAULT_SECONDARY,
                .level = GR_FAULT_LEVEL_UNKNOWN,
                .raw = fault->raw,
                .time_ns = fault->time_ns,
            };

            gr_instance_fault(&dart->inst, &other, 0);
        }
    }
}

/* The one record of section 5; acknowledged by writing it back. */
static bool take_record(struct gr_dart *dart)
{
    const struct gr_dart_layout *const l = dart->layout;
    const uint32_t error = read_at(dart, l->error);
    struct gr_fault fault = {
        .instance = &dart->inst,
        .raw = error,
        .time_ns = gr_port_now_ns(dart->inst.env),
    };

    if (!(error & GRI_DART_ERROR_FLAG))
        return false;
    if (l->error_addr_hi)
        fault.iova = read_fault_address(dart, l->error_addr_lo, l->error_addr_hi);
    else
        fault.iova = read_at(dart, l->error_addr_lo);
    if (l->fault_low) /* section 6: as the device gave it */
        fault.iova |= dart->inst.aperture.first & ~gri_mask(dart->inst.table.va_bits);
    find_stream(dart, error, &fault);
    decode(l, error, &fault);
    record_all(dart, &fault);
    /* What is not cleared interrupts again (section 5). */
    write_at(dart, l->error, error);
    for (uint32_t word = 0; l->error_streams && word * 32 < l->streams_max; word++)
        write_at(dart, l->error_streams + 4 * word, UINT32_MAX);
    return true;
}

/* Revision 2.2: a number instead of bits, and for 0 the level. Here bits again, and the access. */
static uint32_t exception_bits(uint32_t status)
{
    const uint32_t code = gri_field_get(status, GRI_T8110_EXCEPTION_CODE);
    const uint32_t level = gri_field_get(status, GRI_T8110_EXCEPTION_LEVEL);

    return 1u << (code ? 3 + code : level) |
           (status & GRI_T8110_EXCEPTION_WRITE ? GRI_T8110_ERROR_WRITE : 0);
}

static void take_exception(struct gr_dart *dart, uint32_t sid)
{
    const uint32_t at = GRI_T8110_EXCEPTION(sid);
    struct gr_fault fault = {
        .instance = &dart->inst,
        .stream = sid,
        .reasons = GR_FAULT_STREAM, /* if its record is beyond the window */
        .level = GR_FAULT_LEVEL_UNKNOWN,
        .time_ns = gr_port_now_ns(dart->inst.env),
    };

    if (at + GRI_T8110_EXCEPTION_ADDR_HI < dart->mmio_size) {
        fault.raw = read_at(dart, at);
        fault.iova = read_fault_address(dart, at + GRI_T8110_EXCEPTION_ADDR_LO,
                                        at + GRI_T8110_EXCEPTION_ADDR_HI);
        fault.reasons = 0;
        decode(dart->layout, exception_bits(fault.raw), &fault);
    }
    gr_instance_fault(&dart->inst, &fault, 0);
}

/* Revision 2.2: a record for each stream. */
static bool take_exceptions(struct gr_dart *dart)
{
    const struct gr_dart_layout *const l = dart->layout;
    bool any = false;

    for (uint32_t word = 0; word * 32 < l->streams_max; word++) {
        const uint32_t offset = l->exceptions + 4 * word;
        const uint32_t pending = read_at(dart, offset);

        for (uint32_t rest = pending; rest; rest &= rest - 1)
            take_exception(dart, word * 32 + gri_low_bit(rest));
        if (pending)
            write_at(dart, offset, pending);
        any = any || pending;
    }
    return any;
}

bool gr_dart_isr(struct gr_dart *dart)
{
    const struct gr_dart_layout *const l = dart->layout;
    const gr_lock_state_t state = gr_port_lock(&dart->inst.lock);
    bool ours = false;

    if (!dart->off)
        ours = l->exceptions ? take_exceptions(dart) : take_record(dart);
    if (ours && dart->lock_on_error)
        (void)unlock_tlb(dart);
    if (ours && l->error_mask && dart->inst.fault_storm)
        write_at(dart, l->error_mask, UINT32_MAX); /* until dart_rearm() */
    gr_port_unlock(&dart->inst.lock, state);
    return ours;
}
