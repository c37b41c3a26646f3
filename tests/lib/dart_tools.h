/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the DART driver share: register files, made of plain memory or of the model,
 * that log every access and watch over the streams.
 */
#ifndef TESTS_DART_TOOLS_H
#define TESTS_DART_TOOLS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <granule/drv/dart.h>
#include <granule/pt.h>
#include <host_dart.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "units.h"

#define REVISION_1 0x0100u /* of t8110: two levels below the TTBR, DART.md 3 */
#define LIMIT ((uint64_t)GR_CFG_DART_TIMEOUT_NS)
#define SLACK 10000u /* what the calls of a bounded wait may take beyond its limit */

/* The registers of a kind, from DART.md 2, 3, 5 and 6. */
struct kind {
    const char *name;
    enum gr_dart_kind kind;
    enum dart_model_kind model;
    uint32_t tcr, tcr_bytes, translate;
    uint32_t ttbr, ttbrs;
    uint32_t command, busy;
    uint32_t enable, enable_words;
    uint32_t error, error_addr, error_sid;
    uint32_t lock, lock_bit;  /* 0: none */
    uint32_t remap;           /* four words; 0: none */
    uint32_t streams, widest; /* as usual, and at most */
    unsigned page_bits;
    bool bypass; /* it may have it */
    bool dart2;
};

#define KIND_T8020                                                                                 \
    .tcr = 0x100, .tcr_bytes = 4, .translate = 0x80, .ttbrs = 4, .command = 0x20, .busy = 1u << 2, \
    .enable = 0xfc, .enable_words = 1, .error = 0x40, .error_addr = 0x50, .error_sid = 24,         \
    .lock = 0x60, .lock_bit = 1u << 15, .remap = 0x80, .page_bits = 14

static const struct kind kinds[] = {
    {"t8020", GR_DART_T8020, DART_MODEL_T8020, KIND_T8020, .ttbr = 0x200, .streams = 16,
     .widest = 32, .bypass = true},
    {"t6000", GR_DART_T6000, DART_MODEL_T6000, KIND_T8020, .ttbr = 0x200, .streams = 16,
     .widest = 32, .bypass = true, .dart2 = true},
    {.name = "t8110",
     .kind = GR_DART_T8110,
     .model = DART_MODEL_T8110,
     .tcr = 0x1000,
     .tcr_bytes = 4,
     .translate = 1,
     .ttbr = 0x1400,
     .ttbrs = 1,
     .command = 0x80,
     .busy = 1u << 31,
     .enable = 0xc00,
     .enable_words = 8,
     .error = 0x100,
     .error_addr = 0x170,
     .error_sid = 20,
     .lock = 0x200,
     .lock_bit = 1,
     .streams = 16,
     .widest = 256,
     .page_bits = 14,
     .bypass = true,
     .dart2 = true},
    {"usb4", GR_DART_T8103_USB4, DART_MODEL_T8103_USB4, KIND_T8020, .ttbr = 0x400, .streams = 64,
     .widest = 64},
    {.name = "s5l8960x",
     .kind = GR_DART_S5L8960X,
     .model = DART_MODEL_S5L8960X,
     .tcr = 0xc,
     .tcr_bytes = 1,
     .translate = 0x80,
     .ttbr = 0x40,
     .ttbrs = 4,
     .command = 0x0,
     .busy = 1u << 3,
     .error = 0x10,
     .error_addr = 0x1c,
     .error_sid = 24,
     .streams = 4,
     .widest = 4,
     .page_bits = 12},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct access {
    uint32_t offset, value;
};

struct probe {
    const struct kind *k;
    struct host *h;
    struct host_mmio mmio;
    struct gr_dart dart;
    bool modelled;
    struct host_dart model;
    uint32_t regs[0xc000 / 4]; /* where there is no model */
    struct access writes[8192];
    size_t written, reads;
    bool (*on_read)(struct probe *p, uint32_t offset, uint32_t *out); /* true: answered */
    unsigned answers;

    /* Streams that translate, that have other TTBRs than what the TLB may hold, that the command
     * under way makes it forget, and of which it holds nothing. */
    bool on[256], dirty[256], forgetting[256], clean[256];
    unsigned mixed; /* a stream translated with TTBRs or TLB entries of two tables */
    unsigned hasty; /* a command was given while one was under way */
    bool commanded; /* and not yet seen to be done */
    uint64_t select;
};

static inline uint32_t kind_reads_tcr(const struct kind *k, uint32_t sid, uint32_t word)
{
    return k->tcr_bytes == 4 ? word : word >> sid * 8 & 0xff;
}

static inline uint32_t probe_peek(struct probe *p, uint32_t offset)
{
    return p->modelled ? dart_model_read32(p->model.model, offset) : p->regs[offset / 4];
}

static inline uint32_t probe_read(void *opaque, uint32_t offset)
{
    struct probe *const p = opaque;
    uint32_t value = 0;

    p->reads++;
    if (!p->on_read || !p->on_read(p, offset, &value))
        value = probe_peek(p, offset);
    if (offset == p->k->command && !(value & p->k->busy)) {
        for (unsigned sid = 0; p->commanded && sid < 256; sid++) {
            p->dirty[sid] = p->dirty[sid] && !p->forgetting[sid];
            p->clean[sid] = p->clean[sid] || p->forgetting[sid];
        }
        p->commanded = false;
    }
    return value;
}

/* A stream's TCR. */
static inline uint32_t probe_tcr(struct probe *p, uint32_t sid)
{
    const uint32_t at = p->k->tcr + p->k->tcr_bytes * sid;

    return kind_reads_tcr(p->k, sid, probe_peek(p, at & ~3u));
}

/* As firmware left it. */
static inline void probe_set_tcr(struct probe *p, uint32_t sid, uint32_t value)
{
    const uint32_t at = (p->k->tcr + p->k->tcr_bytes * sid) & ~3u;
    const uint32_t shift = p->k->tcr_bytes == 4 ? 0 : sid * 8;
    const uint32_t mask = p->k->tcr_bytes == 4 ? UINT32_MAX : 0xffu << shift;

    value = (probe_peek(p, at) & ~mask) | value << shift;
    if (p->modelled)
        dart_model_poke32(p->model.model, at, value);
    else
        p->regs[at / 4] = value;
}

static inline bool has_ttbr(struct probe *p, uint32_t sid)
{
    for (uint32_t i = 0; i < p->k->ttbrs; i++) {
        if (probe_peek(p, p->k->ttbr + 4 * (sid * p->k->ttbrs + i)))
            return true;
    }
    return false;
}

static inline void watch_command(struct probe *p, uint32_t value)
{
    p->hasty += p->commanded;
    p->commanded = true;
    for (unsigned sid = 0; sid < 256; sid++) {
        if (p->k->kind == GR_DART_T8110)
            p->forgetting[sid] = (value >> 8 & 7) == 0 || (value & 0xff) == sid;
        else if (p->k->kind == GR_DART_S5L8960X) /* only while it translates */
            p->forgetting[sid] = sid < 4 && value >> 8 >> sid & 1 && p->on[sid];
        else
            p->forgetting[sid] = sid < 64 && p->select >> sid & 1;
    }
}

static inline void watch(struct probe *p, uint32_t offset, uint32_t value)
{
    const struct kind *const k = p->k;

    if (offset == k->command)
        watch_command(p, value);
    if ((offset == 0x34 || offset == 0x38) && k->command == 0x20) {
        p->hasty += p->commanded;
        p->select = offset == 0x34 ? (p->select & ~(uint64_t)UINT32_MAX) | value
                                   : (uint32_t)p->select | (uint64_t)value << 32;
    }
    if (offset >= k->ttbr && offset < k->ttbr + 4 * k->ttbrs * k->widest) {
        const uint32_t sid = (offset - k->ttbr) / (4 * k->ttbrs);

        p->mixed += p->on[sid];
        p->dirty[sid] = p->dirty[sid] || (!p->clean[sid] && probe_peek(p, offset) != value);
    }
    for (uint32_t sid = 0; sid < k->widest; sid++) {
        if (offset != ((k->tcr + k->tcr_bytes * sid) & ~3u))
            continue;
        const bool was = p->on[sid];

        p->on[sid] = kind_reads_tcr(k, sid, value) != 0;
        if (was || !p->on[sid] || !has_ttbr(p, sid))
            continue;
        p->mixed += p->dirty[sid] || p->commanded;
        p->clean[sid] = false;
    }
}

static inline void probe_write(void *opaque, uint32_t offset, uint32_t value)
{
    struct probe *const p = opaque;
    const bool bitmap = p->k->kind == GR_DART_T8110 && ((offset >= 0x1c0 && offset <= 0x1dc) ||
                                                        (offset >= 0x4000 && offset <= 0x401c));

    if (p->written < sizeof(p->writes) / sizeof(p->writes[0]))
        p->writes[p->written] = (struct access){offset, value};
    p->written++;
    watch(p, offset, value);
    if (p->modelled)
        dart_model_write32(p->model.model, offset, value);
    else if (offset == p->k->error || bitmap) /* DART.md 5: written back to clear */
        p->regs[offset / 4] &= ~value;
    else
        p->regs[offset / 4] = offset == p->k->command ? value & ~p->k->busy : value;
}

static inline struct host *probe_host(uint64_t seed)
{
    const struct host_config config = {
        .cpu_page = 4096, .nbanks = 1, .seed = seed, .banks = {{UINT64_C(0x800000000), 16 << 20}}};
    char err[256] = "";
    struct host *const h = host_create(&config, err, sizeof(err));

    if (!h)
        fail_msg("host_create: %s", err);
    host_log_level(h, -1);
    return h;
}

/* A register file in reset, of plain memory: 16 KiB granules and `streams`. */
static inline struct probe *probe_new(const struct kind *k, unsigned streams)
{
    struct probe *const p = test_calloc(1, sizeof(*p));

    p->k = k;
    p->h = probe_host(1);
    p->mmio = (struct host_mmio){.host = p->h,
                                 .opaque = p,
                                 .size = sizeof(p->regs),
                                 .read32 = probe_read,
                                 .write32 = probe_write};
    if (k->kind != GR_DART_S5L8960X)
        p->regs[0] = 14u << 24;
    for (uint32_t word = 0; k->remap && word < 4; word++)
        p->regs[k->remap / 4 + word] = 0x03020100 + word * 0x04040404;
    if (k->kind == GR_DART_T8110) {
        p->regs[2] = 42u << 24 | 36u << 16 | REVISION_1;
        p->regs[3] = streams;
    }
    return p;
}

/* The usual model of a kind, with two levels below the TTBR. */
static inline struct dart_model_config model_of(const struct kind *k)
{
    struct dart_model_config config = dart_model_defaults(k->model);

    config.revision = REVISION_1;
    return config;
}

static inline struct probe *probe_new_model(const struct kind *k,
                                            const struct dart_model_config *config, uint64_t seed)
{
    struct probe *const p = probe_new(k, config->streams);

    p->modelled = true;
    if (!host_dart_init(&p->model, p->h, config, seed))
        fail_msg("no model of %s", k->name);
    return p;
}

static inline struct gr_dart_config probe_config(struct probe *p)
{
    return (struct gr_dart_config){.kind = p->k->kind,
                                   .env = p->h,
                                   .mmio = &p->mmio,
                                   .mmio_size = sizeof(p->regs),
                                   .name = "dart-under-test"};
}

static inline void probe_start(struct probe *p, unsigned streams)
{
    struct gr_dart_config config = probe_config(p);

    config.streams = (uint16_t)streams;
    assert_int_equal(gr_dart_init(&p->dart, &config), 0);
    p->written = 0;
    p->reads = 0;
}

/* `live`: the driver was initialised. */
static inline void probe_free(struct probe *p, bool live)
{
    if (live)
        assert_int_equal(gr_dart_fini(&p->dart), 0);
    if (p->modelled) {
        assert_true(dart_model_stats(p->model.model)->misuse == 0);
        host_dart_fini(&p->model);
    }
    assert_int_equal(p->mixed, 0);
    assert_int_equal(p->hasty, 0);
    if (host_misuse(p->h))
        fail_msg("misuse: %s", host_last_log(p->h));
    assert_int_equal(host_destroy(p->h), 0);
    test_free(p);
}

/* The writes since the log was emptied, exactly; empties it. */
static inline void assert_writes(struct probe *p, const struct access *want, size_t n)
{
    for (size_t i = 0; i < n && i < p->written; i++) {
        const struct access *const a = &p->writes[i];

        if (a->offset != want[i].offset || a->value != want[i].value)
            fail_msg("%s: write %zu is 0x%" PRIx32 " <- 0x%" PRIx32 ", not 0x%" PRIx32
                     " <- 0x%" PRIx32,
                     p->k->name, i, a->offset, a->value, want[i].offset, want[i].value);
    }
    assert_int_equal(p->written, n);
    p->written = 0;
}

#define ASSERT_WRITES(p, ...)                                                                      \
    do {                                                                                           \
        const struct access want_[] = {__VA_ARGS__};                                               \
        assert_writes(p, want_, sizeof(want_) / sizeof(want_[0]));                                 \
    } while (0)

#endif
