/* SPDX-License-Identifier: MIT */
/* The generations of DARTs: a row of data for each, and a function for its TLB command. */
#include "drv/dart/dart_internal.h"

/* ---- TLB commands; inst.lock is held ---- */

static int dart_wait_idle(struct gr_dart *dart, gr_reg32 reg, uint32_t busy)
{
    const uint64_t start = gr_port_now_ns(dart->inst.env);

    while (gr_port_read32(dart->mmio, reg) & busy) {
        if (gr_port_now_ns(dart->inst.env) - start > GR_CFG_DART_TIMEOUT_NS) {
            /* This CPU may have been preempted past the deadline: read the busy bit once more. */
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
 * One command for all streams. Writes are ignored while an earlier command runs (DART.md 2, of the
 * emulator), so wait before the command, and after it until it is done. The caller has made stores
 * to tables visible.
 */
static int flush_t8020(struct gr_dart *dart, const struct gri_dart_flush *what)
{
    const gr_reg32 command = GRI_T8020_STREAM_COMMAND;
    int ret = dart_wait_idle(dart, command, GRI_T8020_STREAM_COMMAND_BUSY);

    if (ret)
        return ret;
    dart->invalidations++;
    gr_port_write32(dart->mmio, GRI_T8020_STREAM_SELECT, (uint32_t)what->streams[0]);
    if (dart->layout->select_hi)
        gr_port_write32(dart->mmio, GRI_T8020_STREAM_SELECT_HI, (uint32_t)(what->streams[0] >> 32));
    gr_port_write32(dart->mmio, command, GRI_T8020_STREAM_COMMAND_INVALIDATE);
    return dart_wait_idle(dart, command, GRI_T8020_STREAM_COMMAND_BUSY);
}

/* One command for each stream (DART.md 3). */
static int flush_t8110(struct gr_dart *dart, const struct gri_dart_flush *what)
{
    const gr_reg32 command = GRI_T8110_TLB_CMD;
    uint32_t value = GRI_T8110_TLB_CMD_FLUSH_SID | dart->layout->flush_flags;
    int ret = dart_wait_idle(dart, command, GRI_T8110_TLB_CMD_BUSY);

    if (!ret && what->range) {
        value |= GRI_T8110_TLB_CMD_RANGE | (what->tables ? GRI_T8110_TLB_CMD_STT : 0);
        gr_port_write32(dart->mmio, GRI_T8110_RANGE_FIRST, what->first);
        gr_port_write32(dart->mmio, GRI_T8110_RANGE_LAST, what->last);
    }
    for (uint32_t word = 0; word < GRI_ARRAY_SIZE(what->streams); word++) {
        for (uint64_t rest = what->streams[word]; !ret && rest; rest &= rest - 1) {
            dart->invalidations++;
            gr_port_write32(dart->mmio, command, value | (word * 64 + gri_low_bit(rest)));
            ret = dart_wait_idle(dart, command, GRI_T8110_TLB_CMD_BUSY);
        }
    }
    return ret;
}

/*
 * A command reaches only streams that translate (DART.md 6). So blocked streams are set to
 * translate while the command runs. They have no valid TTBR (set_stream()), so they can only hit
 * the stale entries that the command removes.
 */
static int flush_s5l8960x(struct gr_dart *dart, const struct gri_dart_flush *what)
{
    const gr_reg32 command = GRI_S5L8960X_STREAM_COMMAND;
    const uint32_t streams = (uint32_t)what->streams[0];
    const uint32_t tcr = gri_dart_read(dart, GRI_S5L8960X_TCR);
    uint32_t open = tcr;
    int ret = dart_wait_idle(dart, command, GRI_S5L8960X_STREAM_COMMAND_BUSY);

    if (ret)
        return ret;
    for (uint32_t sid = 0; sid < 4; sid++)
        open |= streams >> sid & 1 ? GRI_S5L8960X_TCR_TRANSLATE << 8 * sid : 0;
    gri_dart_write(dart, GRI_S5L8960X_TCR, open);
    dart->invalidations++;
    gr_port_write32(dart->mmio, command,
                    GRI_S5L8960X_STREAM_COMMAND_INVALIDATE |
                        gri_field_put(streams, GRI_S5L8960X_STREAM_COMMAND_STREAMS));
    ret = dart_wait_idle(dart, command, GRI_S5L8960X_STREAM_COMMAND_BUSY);
    gri_dart_write(dart, GRI_S5L8960X_TCR, tcr);
    return ret;
}

int gri_dart_flush_streams(struct gr_dart *dart, uint32_t first, uint32_t end)
{
    struct gri_dart_flush what = {.tables = true};

    for (uint32_t sid = first; sid < end; sid++)
        what.streams[sid / 64] |= (uint64_t)1 << sid % 64;
    return dart->layout->flush(dart, &what);
}

int gri_dart_unlock_tlb(struct gr_dart *dart)
{
    const gr_reg32 command = GRI_T8110_TLB_CMD;
    const int ret = dart_wait_idle(dart, command, GRI_T8110_TLB_CMD_BUSY);

    if (ret)
        return ret;
    gr_port_write32(dart->mmio, command, GRI_T8110_TLB_CMD_UNLOCK);
    return dart_wait_idle(dart, command, GRI_T8110_TLB_CMD_BUSY);
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

/* A row for each generation; a t8110 has a row for each revision from which on it differs. */
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
        /* No second word of ENABLED_STREAMS: at that offset is TCR 0 (DART.md 2, 14.2). */
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
        .code = /* bits as exception_bits() makes them */
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
        .kind = GR_DART_S5L8960X, /* DART.md 6 */
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

const struct gr_dart_layout *gri_dart_find_layout(enum gr_dart_kind kind, uint32_t revision)
{
    const struct gr_dart_layout *found = NULL;

    for (size_t i = 0; i < GRI_ARRAY_SIZE(layouts); i++) {
        if (layouts[i].kind == kind && layouts[i].revision <= revision)
            found = &layouts[i];
    }
    return found;
}
