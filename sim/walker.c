/* SPDX-License-Identifier: MIT */
#include "walker.h"

#include <stdlib.h>
#include <string.h>

#define BIT(n) (UINT64_C(1) << (n))
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Formats: DART.md 4.1 to 4.4 ---- */

/* PA[35:page] lies in place. Bit 1 turns the window off. */
#define DART1(page)                                                                                \
    {                                                                                              \
        .name = "DART1", .page_bits = (page), .entry_bytes = 8, .table = {BIT(0), BIT(0), false},  \
        .leaf = {BIT(0), BIT(0), false}, .pa = {{(page), 36 - (page), (page)}},                    \
        .read = {BIT(8), 0, false}, .write = {BIT(7), 0, false}, .window = {52, 40, 12, BIT(1)},   \
    }

/*
 * PA[41:page] lies four bits lower. For 16 KiB pages that is 37:10; for 4 KiB pages 37:8, which is
 * an assumption (docs/ASSUMPTIONS.md).
 */
#define DART2(page)                                                                                \
    {                                                                                              \
        .name = "DART2", .page_bits = (page), .entry_bytes = 8, .table = {BIT(0), BIT(0), false},  \
        .leaf = {BIT(0), BIT(0), false}, .pa = {{(page)-4, 42 - (page), (page)}},                  \
        .read = {BIT(3), 0, false}, .write = {BIT(2), 0, false},                                   \
        .uncached = {BIT(1), BIT(1), false}, .window = {52, 40, 12, 0},                            \
    }

static const struct walker_format dart1[] = {DART1(14), DART1(12)};
static const struct walker_format dart2[] = {DART2(14), DART2(12)};

/*
 * Arm ARM, VMSAv8-64 stage 1 with 48 bits out. A leaf lets through what its access flag (10) does
 * not stop; devices are unprivileged, so that bit 6 must allow them, and bit 7 forbids writes.
 * AttrIndx (4:2) is an index into registers: 0 is ordinary memory by our convention. Bit 52:
 * contiguous.
 */
#define LPAE(page, levels, group0, group1) LPAE_OF("LPAE", page, levels, group0, group1, STAGE_1)
#define STAGE_1                                                                                    \
    .read = {0x440, 0x440, false}, .write = {0x4c0, 0x440, false}, .uncached = {0x1c, 0, true}

/* Of stage 2: bits 6 and 7 let read and write, and MemAttr (5:2) says ordinary memory with 15. */
#define LPAE2(page, levels, group0, group1) LPAE_OF("LPAE2", page, levels, group0, group1, STAGE_2)
#define STAGE_2                                                                                    \
    .read = {0x440, 0x440, false}, .write = {0x480, 0x480, false}, .uncached = {0x3c, 0x3c, true}

#define LPAE_OF(title, page, levels, group0, group1, ...)                                          \
    {                                                                                              \
        .name = (title), .page_bits = (page), .entry_bytes = 8, .table = {0x3, 0x3, false},        \
        .leaf = {0x3, 0x3, false}, .block = {0x3, 0x1, false}, .block_levels = (levels),           \
        .pa = {{(page), 48 - (page), (page)}}, .group = BIT(52),                                   \
        .group_lg2 = {(group0), (group1)}, __VA_ARGS__                                             \
    }

static const struct walker_format lpae[] = {
    LPAE(12, 0x6, 4, 4), /* 2 MiB, 1 GiB */
    LPAE(14, 0x2, 7, 5), /* 32 MiB */
    LPAE(16, 0x2, 5, 5), /* 512 MiB */
};

static const struct walker_format lpae2[] = {
    LPAE2(12, 0x6, 4, 4),
    LPAE2(14, 0x2, 7, 5),
    LPAE2(16, 0x2, 5, 5),
};

static const struct {
    const struct walker_format *format;
    size_t count;
} all_formats[] = {
    {dart1, COUNT(dart1)}, {dart2, COUNT(dart2)}, {lpae, COUNT(lpae)}, {lpae2, COUNT(lpae2)}};

/* ---- Kinds: DART.md 2, 3 and 6 ---- */

/* IOVA bits: DART.md 1 says 32, and 4 that there are TTBRs for 38 with 16 KiB pages. */
#define T8020(name, entries, sids, ttbr_offset, bypass_bits)                                       \
    {                                                                                              \
        .compatible = (name), .streams = (sids), .formats = {&(entries)[0], &(entries)[1]},        \
        .page_bits = {0x0, 24, 4}, .bypass_supported = {0x4, 0, (bypass_bits)}, .va_usual = 32,    \
        .levels = 2, .tcr = 0x100, .translate = 0x80, .bypass = 0x100, .ttbr = (ttbr_offset),      \
        .ttbrs = 4, .ttbr_pa = {0, 31, 12}, .ttbr_valid = 0x80000000u, .enable = 0xfc,             \
        .enable_streams = 32, .remap_bytes = 0x80, .remap_streams = 16,                            \
    }

#define T8110(name)                                                                                \
    {                                                                                              \
        .compatible = (name), .streams = 256, .formats = {&dart2[0], &dart2[1]},                   \
        .page_bits = {0x0, 24, 4}, .bypass_supported = {0x4, 0, 1}, .va_bits = {0x8, 16, 6},       \
        .pa_bits = {0x8, 24, 6}, .levels = 2, .deeper = 0x8, .revision = {0x8, 8, 8},              \
        .shallow_revision = 1, .tcr = 0x1000, .translate = 0x1, .bypass = 0x2, .ttbr = 0x1400,     \
        .ttbrs = 1, .ttbr_pa = {2, 28, 14}, .ttbr_valid = 0x1, .enable = 0xc00,                    \
        .enable_streams = 256, .remap_enable = 0x80, .remap_from = 8, .remap_width = 4,            \
    }

/* The last two stand before "apple,t8110-dart" in trees; snapshots of others may have them. */
static const struct walker_kind kinds[] = {
    T8020("apple,t8103-dart", dart1, 32, 0x200, 1),
    T8020("apple,t8103-usb4-dart", dart1, 64, 0x400, 0), /* never bypasses */
    T8020("apple,t6000-dart", dart2, 32, 0x200, 1),
    T8110("apple,t8110-dart"),
    T8110("apple,t8112-dart"),
    T8110("apple,t6020-dart"),
    {
        .compatible = "apple,s5l8960x-dart",
        .streams = 4,
        .formats = {&dart1[1], NULL},
        .va_usual = 30, /* all that its bus may pass; 32 have four TTBRs in use */
        .levels = 2,
        .tcr = 0xc,
        .tcr_shared = true,
        .translate = 0x80,
        .ttbr = 0x40,
        .ttbrs = 4,
        .ttbr_pa = {0, 31, 12},
        .ttbr_valid = 0x80000000u,
    },
    {.compatible = "arm,smmu-v3",
     .streams = 65536,
     .formats = {&lpae[0], &lpae[1], &lpae[2]},
     .in_memory = true},
};

const struct walker_kind *walker_kind(const char *compatible)
{
    for (size_t i = 0; i < COUNT(kinds); i++)
        if (strcmp(kinds[i].compatible, compatible) == 0)
            return &kinds[i];
    return NULL;
}

const struct walker_format *walker_format(const struct walker_kind *kind, uint64_t granule)
{
    for (size_t i = 0; i < COUNT(kind->formats); i++)
        if (kind->formats[i] && BIT(kind->formats[i]->page_bits) == granule)
            return kind->formats[i];
    return NULL;
}

const struct walker_format *walker_entries(const char *name, uint64_t granule)
{
    for (size_t i = 0; i < COUNT(all_formats); i++) {
        for (size_t k = 0; k < all_formats[i].count; k++) {
            const struct walker_format *const format = &all_formats[i].format[k];

            if (strcmp(format->name, name) == 0 && BIT(format->page_bits) == granule)
                return format;
        }
    }
    return NULL;
}

/* ---- Bits ---- */

static uint64_t low_mask(unsigned bits)
{
    return bits < 64 ? BIT(bits) - 1 : UINT64_MAX;
}

static uint64_t move_field(struct walker_field field, uint64_t value)
{
    return (value >> field.from & low_mask(field.width)) << field.to;
}

static bool holds(struct walker_test test, uint64_t entry)
{
    return ((entry & test.mask) == test.value) != test.differs;
}

uint64_t walker_register(const struct walker_source *from, struct walker_reg_field field)
{
    return field.width ? from->reg(from->opaque, field.offset) >> field.from & low_mask(field.width)
                       : 0;
}

static uint64_t entry_pa(const struct walker_format *format, uint64_t entry, unsigned span)
{
    uint64_t pa = 0;

    for (size_t i = 0; i < COUNT(format->pa); i++)
        pa |= move_field(format->pa[i], entry);
    return pa & ~low_mask(span); /* the low bits of a block's address are other fields */
}

static unsigned format_pa_bits(const struct walker_format *format)
{
    unsigned most = 0;

    for (size_t i = 0; i < COUNT(format->pa); i++) {
        unsigned bits = (unsigned)format->pa[i].to + format->pa[i].width;

        most = bits > most ? bits : most;
    }
    return most;
}

static unsigned index_bits(const struct walker_format *format)
{
    return format->page_bits - (format->entry_bytes == 8 ? 3u : 2u);
}

unsigned walker_span_bits(const struct walker_format *format, unsigned level)
{
    return format->page_bits + level * index_bits(format);
}

static uint64_t load(const struct walker_format *format, const uint8_t *bytes)
{
    uint64_t value = 0;

    for (unsigned i = format->entry_bytes; i-- > 0;)
        value = value << 8 | bytes[i];
    return value;
}

static bool is_leaf(const struct walker_format *format, uint64_t entry, unsigned level)
{
    if (level == 0)
        return holds(format->leaf, entry);
    return (format->block_levels >> level & 1) && holds(format->block, entry);
}

/* ---- Streams ---- */

static void read_tcr(struct walker_stream *s, const struct walker_kind *kind)
{
    s->tcr_offset = kind->tcr + (kind->tcr_shared ? 0 : 4 * s->sid);
    s->tcr = s->from->reg(s->from->opaque, s->tcr_offset);
    if (kind->tcr_shared)
        s->tcr = s->tcr >> 8 * s->sid & 0xff;
}

/* Remap, enable and TCR decide: DART.md 2, 3 and 15. Sets sid, tcr, mode and reason. */
static void settle_mode(struct walker_stream *s, const struct walker_instance *inst)
{
    const struct walker_kind *const kind = inst->kind;
    const struct walker_source *const from = inst->from;
    bool in_tcr;

    s->mode = WALKER_BLOCKED;
    read_tcr(s, kind);
    if (s->sid < kind->enable_streams &&
        !(from->reg(from->opaque, kind->enable + s->sid / 32 * 4) >> (s->sid % 32) & 1)) {
        s->reason = "the stream is not enabled";
        return;
    }
    in_tcr = (s->tcr & kind->remap_enable) != 0;
    if (in_tcr) {
        s->sid = (unsigned)(s->tcr >> kind->remap_from & low_mask(kind->remap_width));
    } else if (s->sid < kind->remap_streams) {
        uint32_t word = from->reg(from->opaque, kind->remap_bytes + s->sid / 4 * 4);

        s->sid = word >> (s->sid % 4 * 8) & 0xff;
    }
    if (s->sid >= inst->streams) {
        s->reason = "the stream is remapped to a stream that the instance does not have";
        return;
    }
    read_tcr(s, kind);
    if (in_tcr && (s->tcr & kind->remap_enable)) {
        s->reason = "the stream is remapped to a stream that is itself remapped";
    } else if ((s->tcr & kind->translate) && (s->tcr & kind->bypass)) {
        s->reason = "TCR asks for translation and bypass at once";
    } else if (s->tcr & kind->translate) {
        s->mode = WALKER_TRANSLATE;
        s->reason = "TCR asks for translation";
    } else if (!(s->tcr & kind->bypass)) {
        s->reason = "TCR asks for neither translation nor bypass";
    } else if (!walker_register(from, kind->bypass_supported)) {
        s->reason = "TCR asks for bypass, which the instance does not support";
    } else {
        s->mode = WALKER_BYPASS;
        s->reason = "TCR asks for bypass";
    }
}

static void settle_roots(struct walker_stream *s, const struct walker_kind *kind)
{
    s->nroots = kind->ttbrs;
    for (unsigned i = 0; i < s->nroots; i++) {
        struct walker_root *const root = &s->roots[i];

        root->offset = kind->ttbr + 4 * (s->nroots * s->sid + i);
        root->value = s->from->reg(s->from->opaque, root->offset);
        root->valid = (root->value & kind->ttbr_valid) != 0;
        root->pa = move_field(kind->ttbr_pa, root->value);
    }
}

/* Is any top-level entry for an IOVA of 2^bits or more in use? */
static bool uses_more(const struct walker_stream *s, unsigned bits)
{
    unsigned span = walker_span_bits(s->format, s->levels - 1);
    uint64_t entries = BIT(index_bits(s->format));
    uint8_t bytes[8];

    for (uint64_t i = BIT(bits) >> span; i < s->nroots * entries; i++) {
        const struct walker_root *const root = &s->roots[i / entries];
        uint64_t at = root->pa + i % entries * s->format->entry_bytes;

        if (root->valid && s->from->memory(s->from->opaque, at, bytes, s->format->entry_bytes) &&
            load(s->format, bytes) != 0)
            return true;
    }
    return false;
}

/* DART.md 4: the bits above those that the levels need are not compared. */
static void settle_bits(struct walker_stream *s, const struct walker_kind *kind)
{
    unsigned va = (unsigned)walker_register(s->from, kind->va_bits);
    unsigned pa = (unsigned)walker_register(s->from, kind->pa_bits);

    s->levels = kind->levels;
    if ((s->tcr & kind->deeper) &&
        walker_register(s->from, kind->revision) != kind->shallow_revision)
        s->levels++;
    s->reach_bits = walker_span_bits(s->format, s->levels);
    for (unsigned n = s->nroots; n > 1; n /= 2)
        s->reach_bits++;
    s->pa_bits = format_pa_bits(s->format);
    if (pa && pa < s->pa_bits)
        s->pa_bits = pa;
    s->va_bits = s->reach_bits;
    if (kind->va_usual && kind->va_usual < s->va_bits && !uses_more(s, kind->va_usual))
        va = kind->va_usual;
    if (va && va < s->va_bits)
        s->va_bits = va;
}

/* ---- Streams in memory: Arm IHI 0070, 5 and 6.3 ---- */

#define SMMU_CR0 0x20u
#define SMMU_GBPA 0x44u
#define SMMU_IDR5 0x14u
#define SMMU_STRTAB_BASE 0x80u
#define SMMU_STRTAB_CFG 0x88u

static uint64_t bits_of(uint64_t word, unsigned hi, unsigned lo)
{
    return word >> lo & low_mask(hi - lo + 1);
}

static bool read_word(const struct walker_stream *s, uint64_t at, uint64_t *out)
{
    uint8_t bytes[8];

    *out = 0;
    if (!s->from->memory(s->from->opaque, at, bytes, sizeof(bytes)))
        return false;
    for (unsigned i = 8; i-- > 0;)
        *out = *out << 8 | bytes[i];
    return true;
}

/* Find the stream's table entry (5.1). NULL, or the reason that there is none. */
static const char *find_entry(struct walker_stream *s)
{
    uint32_t cfg = s->from->reg(s->from->opaque, SMMU_STRTAB_CFG);
    unsigned split = (unsigned)bits_of(cfg, 10, 6);
    uint64_t index = s->sid;
    uint64_t table = s->from->reg(s->from->opaque, SMMU_STRTAB_BASE) |
                     (uint64_t)s->from->reg(s->from->opaque, SMMU_STRTAB_BASE + 4) << 32;
    uint64_t upper;

    table = table & low_mask(48) & ~low_mask(6);
    if (index >> bits_of(cfg, 5, 0))
        return "the stream table does not reach so far";
    if (bits_of(cfg, 17, 16) == 1) {
        if (!read_word(s, table + 8 * (index >> split), &upper))
            return "the stream table lies outside memory";
        index &= low_mask(split);
        if (!bits_of(upper, 4, 0) || index >> (bits_of(upper, 4, 0) - 1))
            return "the stream table has no second level for it";
        table = upper & low_mask(48) & ~low_mask(6);
    }
    s->entry_at = table + 64 * index;
    return read_word(s, s->entry_at, &s->entry) ? NULL
                                                : "its stream table entry lies outside memory";
}

static const uint8_t granules[4] = {12, 16, 14, 0};
static const uint8_t sizes[8] = {32, 36, 40, 42, 44, 48, 52, 0};

/* Read the stage 2 fields of the stream's entry (5.2). NULL, or why they cannot translate. */
static const char *read_stage_2(struct walker_stream *s)
{
    unsigned oas = sizes[bits_of(s->from->reg(s->from->opaque, SMMU_IDR5), 2, 0)];
    unsigned page = s->format->page_bits;
    unsigned reach;
    uint64_t root;

    s->context_at = s->entry_at + 16; /* the words of stage 2, with the tables' address */
    if (!read_word(s, s->context_at, &s->context) || !read_word(s, s->context_at + 8, &root))
        return "its stream table entry lies outside memory";
    if (granules[bits_of(s->context, 47, 46)] != page)
        return "its stream table entry has another granule";
    s->format = &lpae2[(page - 12) / 2];
    s->va_bits = 64 - (unsigned)bits_of(s->context, 37, 32);
    s->reach_bits = s->va_bits;
    s->pa_bits = sizes[bits_of(s->context, 50, 48)];
    s->pa_bits = s->pa_bits < oas ? s->pa_bits : oas;
    s->levels = (unsigned)bits_of(s->context, 39, 38) + (page == 12 ? 2 : 1);
    reach = walker_span_bits(s->format, s->levels);
    if (!bits_of(s->context, 51, 51) || bits_of(s->context, 52, 52) ||
        bits_of(s->context, 39, 38) == 3 || s->va_bits > s->pa_bits || s->va_bits > reach + 4 ||
        s->va_bits <= walker_span_bits(s->format, s->levels - 1))
        return "its stream table entry is not valid for stage 2";
    s->nroots = s->va_bits > reach ? 1u << (s->va_bits - reach) : 1;
    root &= low_mask(48) & ~low_mask(4);
    for (unsigned i = 0; i < s->nroots; i++)
        s->roots[i] = (struct walker_root){.pa = root + ((uint64_t)i << page), .valid = true};
    return NULL;
}

/* Read the stream's context (5.4). NULL, or why it cannot translate. */
static const char *read_context(struct walker_stream *s)
{
    unsigned oas = sizes[bits_of(s->from->reg(s->from->opaque, SMMU_IDR5), 2, 0)];
    unsigned page = s->format->page_bits;
    uint64_t root;

    s->context_at = s->entry & low_mask(48) & ~low_mask(6);
    if (!read_word(s, s->context_at, &s->context) || !read_word(s, s->context_at + 8, &root))
        return "its context descriptor lies outside memory";
    if (!bits_of(s->context, 31, 31) || !bits_of(s->context, 41, 41) ||
        bits_of(s->context, 14, 14) || bits_of(s->context, 5, 0) < 16 ||
        bits_of(s->context, 5, 0) > 39)
        return "its context descriptor is not valid";
    if (granules[bits_of(s->context, 7, 6)] != page)
        return "its context descriptor has another granule";
    s->va_bits = 64 - (unsigned)bits_of(s->context, 5, 0);
    s->reach_bits = s->va_bits;
    s->pa_bits = sizes[bits_of(s->context, 34, 32)];
    s->pa_bits = s->pa_bits < oas ? s->pa_bits : oas;
    while (page + s->levels * (page - 3) < s->va_bits)
        s->levels++;
    s->nroots = 1;
    s->roots[0] = (struct walker_root){.pa = root & low_mask(48) & ~low_mask(4), .valid = true};
    return NULL;
}

static void settle_in_memory(struct walker_stream *s)
{
    const char *why;

    s->mode = WALKER_BLOCKED;
    if (!(s->from->reg(s->from->opaque, SMMU_CR0) & 1)) {
        s->reason = "the instance is disabled, and aborts accesses";
        if (!bits_of(s->from->reg(s->from->opaque, SMMU_GBPA), 20, 20)) {
            s->mode = WALKER_BYPASS;
            s->reason = "the instance is disabled, and lets accesses pass";
        }
        return;
    }
    why = find_entry(s);
    if (why) {
        s->reason = why;
    } else if (!(s->entry & 1)) {
        s->reason = "its stream table entry is not valid";
    } else if (!bits_of(s->entry, 3, 3)) {
        s->reason = "its stream table entry aborts";
    } else if (bits_of(s->entry, 2, 1) == 3) {
        s->reason =
            "its stream table entry asks for stage 2 after stage 1, which granule cannot read";
    } else if (bits_of(s->entry, 2, 2)) {
        why = read_stage_2(s);
        s->mode = why ? WALKER_BLOCKED : WALKER_TRANSLATE;
        s->reason = why ? why : "its stream table entry asks for translation by stage 2";
    } else if (!bits_of(s->entry, 1, 1)) {
        s->mode = WALKER_BYPASS;
        s->reason = "its stream table entry bypasses";
    } else {
        why = read_context(s);
        s->mode = why ? WALKER_BLOCKED : WALKER_TRANSLATE;
        s->reason = why ? why : "its stream table entry asks for translation";
    }
}

void walker_stream(struct walker_stream *stream, const struct walker_instance *inst, unsigned sid)
{
    memset(stream, 0, sizeof(*stream));
    stream->format = inst->format;
    stream->from = inst->from;
    stream->sid = sid;
    stream->in_memory = inst->kind->in_memory;
    if (stream->in_memory) {
        settle_in_memory(stream);
        return;
    }
    settle_mode(stream, inst);
    if (stream->mode == WALKER_TRANSLATE) {
        settle_roots(stream, inst->kind);
        settle_bits(stream, inst->kind);
    }
}

/* ---- Leaves ---- */

static void decode_leaf(const struct walker_format *format, struct walker_leaf *leaf)
{
    const struct walker_window *const window = &format->window;
    unsigned span = walker_span_bits(format, leaf->level);
    unsigned unit = span - window->width;

    leaf->last = leaf->iova | low_mask(span);
    leaf->pa = entry_pa(format, leaf->entry, span);
    leaf->read = holds(format->read, leaf->entry);
    leaf->write = holds(format->write, leaf->entry);
    leaf->uncached = format->uncached.mask && holds(format->uncached, leaf->entry);
    leaf->whole = leaf->iova;
    leaf->whole_last = leaf->last;
    if (leaf->entry & format->group && leaf->level < COUNT(format->group_lg2)) {
        uint64_t mask = low_mask(span + format->group_lg2[leaf->level]);

        leaf->whole &= ~mask;
        leaf->whole_last |= mask;
    }
    leaf->open = leaf->iova;
    leaf->open_last = leaf->last;
    if (window->width && !(leaf->entry & window->disable)) {
        uint64_t mask = low_mask(window->width);
        uint64_t first = leaf->entry >> window->first & mask;
        uint64_t last = leaf->entry >> window->last & mask;

        leaf->open = leaf->iova + (first << unit);
        leaf->open_last = leaf->iova + (last << unit) + low_mask(unit);
    }
}

void walker_walk(const struct walker_stream *s, uint64_t iova, struct walker_walk *walk)
{
    const struct walker_format *const format = s->format;
    uint64_t table;

    memset(walk, 0, sizeof(*walk));
    walk->iova = iova;
    walk->end = WALKER_NO_STREAM;
    if (s->mode != WALKER_TRANSLATE)
        return;
    if (s->in_memory && iova & ~low_mask(s->va_bits)) {
        walk->end = WALKER_TOO_HIGH;
        return;
    }
    walk->iova &= low_mask(s->va_bits);
    walk->root = (unsigned)(walk->iova >> walker_span_bits(format, s->levels)) % s->nroots;
    walk->end = WALKER_NO_ROOT;
    if (!s->roots[walk->root].valid)
        return;
    table = s->roots[walk->root].pa;
    for (unsigned level = s->levels; level-- > 0;) {
        struct walker_step *const step = &walk->steps[walk->nsteps++];
        unsigned span = walker_span_bits(format, level);
        uint8_t bytes[8];

        step->level = level;
        step->index = walk->iova >> span & low_mask(index_bits(format));
        step->at = table + step->index * format->entry_bytes;
        walk->end = WALKER_NO_MEMORY;
        if (!s->from->memory(s->from->opaque, step->at, bytes, format->entry_bytes))
            return;
        step->entry = load(format, bytes);
        if (is_leaf(format, step->entry, level)) {
            walk->leaf = (struct walker_leaf){.iova = walk->iova & ~low_mask(span),
                                              .at = step->at,
                                              .entry = step->entry,
                                              .level = level};
            decode_leaf(format, &walk->leaf);
            step->pa = walk->leaf.pa;
            walk->pa = step->pa | (walk->iova & low_mask(span));
            walk->end = step->pa >> s->pa_bits ? WALKER_PA_TOO_WIDE : WALKER_MAPPED;
            return;
        }
        walk->end = WALKER_NO_ENTRY;
        if (level == 0 || !holds(format->table, step->entry))
            return;
        table = step->pa = entry_pa(format, step->entry, format->page_bits);
    }
}

/* ---- All of them ---- */

bool walker_begin(struct walker_iter *iter, const struct walker_stream *stream)
{
    size_t page = (size_t)BIT(stream->format->page_bits);

    memset(iter, 0, sizeof(*iter));
    iter->stream = stream;
    iter->buffer = malloc(WALKER_LEVELS * page);
    if (!iter->buffer)
        return false;
    for (unsigned i = 0; i < WALKER_LEVELS; i++)
        iter->frames[i].table = iter->buffer + i * page;
    return true;
}

void walker_end(struct walker_iter *iter)
{
    free(iter->buffer);
    free(iter->seen);
}

/* The slot of `pa` in the hash set, or the free slot where `pa` belongs. */
static uint64_t *seen_slot(uint64_t *seen, size_t room, uint64_t pa)
{
    size_t i = (size_t)(pa * UINT64_C(0x9e3779b97f4a7c15) >> 32) % room;

    while (seen[i] != 0 && seen[i] != pa + 1)
        i = (i + 1) % room;
    return &seen[i];
}

/* Note that the table at `pa` is entered. 1: it was before, -1: out of memory. */
static int see(struct walker_iter *iter, uint64_t pa)
{
    uint64_t *slot;

    if (iter->nseen * 2 >= iter->room) {
        size_t room = iter->room ? 2 * iter->room : 64;
        uint64_t *const bigger = calloc(room, sizeof(*bigger));

        if (!bigger)
            return -1;
        for (size_t i = 0; i < iter->room; i++)
            if (iter->seen[i])
                *seen_slot(bigger, room, iter->seen[i] - 1) = iter->seen[i];
        free(iter->seen);
        iter->seen = bigger;
        iter->room = room;
    }
    slot = seen_slot(iter->seen, iter->room, pa);
    if (*slot)
        return 1;
    *slot = pa + 1;
    iter->nseen++;
    return 0;
}

/* Go into the table that `iter->problem` would complain about. */
static enum walker_event enter(struct walker_iter *iter)
{
    const struct walker_stream *const s = iter->stream;
    const struct walker_format *const format = s->format;
    struct walker_problem *const problem = &iter->problem;
    struct walker_frame *const frame = &iter->frames[iter->depth];
    int seen = see(iter, problem->pa);

    if (seen < 0) {
        iter->dead = true;
        problem->text = "out of memory";
        return WALKER_PROBLEM;
    }
    if (seen) {
        problem->text = "its table has been used already: tables must not be shared or loop";
        return WALKER_PROBLEM;
    }
    if (!s->from->memory(s->from->opaque, problem->pa, frame->table,
                         (size_t)BIT(format->page_bits))) {
        problem->text = "its table lies outside memory";
        return WALKER_PROBLEM;
    }
    frame->pa = problem->pa;
    frame->iova = problem->iova;
    frame->index = 0;
    frame->entries = BIT(index_bits(format));
    iter->depth++;
    iter->tables[problem->level - 1]++;
    return WALKER_DONE;
}

static enum walker_event next_root(struct walker_iter *iter)
{
    const struct walker_stream *const s = iter->stream;
    const struct walker_root *const root = &s->roots[iter->root];
    unsigned span = walker_span_bits(s->format, s->levels);
    uint64_t iova = (uint64_t)iter->root << span;

    iter->root++;
    if (!root->valid || iova > low_mask(s->va_bits))
        return WALKER_DONE;
    iter->problem = (struct walker_problem){.iova = iova,
                                            .last = iova | low_mask(span),
                                            .at = s->in_memory ? s->context_at + 8 : root->offset,
                                            .entry = s->in_memory ? root->pa : root->value,
                                            .level = s->levels,
                                            .pa = root->pa};
    return enter(iter);
}

static enum walker_event next_entry(struct walker_iter *iter)
{
    const struct walker_stream *const s = iter->stream;
    const struct walker_format *const format = s->format;
    struct walker_frame *const frame = &iter->frames[iter->depth - 1];
    unsigned level = s->levels - iter->depth;
    unsigned span = walker_span_bits(format, level);
    uint64_t iova = frame->iova + (frame->index << span);
    uint64_t at = frame->index * format->entry_bytes;
    uint64_t entry;

    if (frame->index == frame->entries || iova > low_mask(s->va_bits)) {
        iter->depth--;
        return WALKER_DONE;
    }
    frame->index++;
    entry = load(format, frame->table + at);
    iter->problem = (struct walker_problem){.iova = iova,
                                            .last = iova | low_mask(span),
                                            .at = frame->pa + at,
                                            .entry = entry,
                                            .level = level};
    if (is_leaf(format, entry, level)) {
        iter->leaf = (struct walker_leaf){
            .iova = iova, .at = frame->pa + at, .entry = entry, .level = level};
        decode_leaf(format, &iter->leaf);
        if (iter->leaf.pa >> s->pa_bits == 0)
            return WALKER_LEAF;
        iter->problem.pa = iter->leaf.pa;
        iter->problem.text = "its page needs more PA bits than the instance has";
        return WALKER_PROBLEM;
    }
    if (level == 0 || !holds(format->table, entry))
        return WALKER_DONE;
    iter->problem.pa = entry_pa(format, entry, format->page_bits);
    return enter(iter);
}

enum walker_event walker_next(struct walker_iter *iter)
{
    iter->event = WALKER_DONE;
    while (iter->event == WALKER_DONE && !iter->dead &&
           (iter->depth > 0 || iter->root < iter->stream->nroots))
        iter->event = iter->depth > 0 ? next_entry(iter) : next_root(iter);
    return iter->event;
}
