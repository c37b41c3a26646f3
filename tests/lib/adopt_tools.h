/* SPDX-License-Identifier: MIT */
/*
 * A machine whose firmware left DARTs translating, for the tests of adoption: tables in firmware's
 * memory, registers that lead to them, a lock. While a test runs every mapping that firmware made
 * is looked up at every moment at which hardware could look: in the tables as walkers see them, and
 * through the model with its caches. It must be there and lead where it did.
 *
 * Entries and registers are written and read here from docs/hardware/DART.md alone.
 */
#ifndef TESTS_ADOPT_TOOLS_H
#define TESTS_ADOPT_TOOLS_H

#include <granule/granule.h>

#include <host_dart.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chance.h"
#include "units.h"

#define FW_DARTS 2u
#define FW_TABLES 64u
#define FW_LEAVES 512u
#define FW_RAM UINT64_C(0x800000000)
#define FW_RAM_SIZE (UINT64_C(512) << 20)

struct fw_kind {
    const char *name;
    enum dart_model_kind model;
    enum gr_dart_kind driver;
    unsigned page_bits;
    unsigned va_bits;
    unsigned levels; /* of tables in memory */
    bool dart2;
    uint32_t ttbr, tcr, enable, translate; /* registers, and the value of TCR */
    unsigned ttbrs;
    uint32_t command, busy;
    bool packed;       /* TCR is a byte of one register */
    uint16_t revision; /* t8110 */
    uint32_t mmio_size;
};

#define FW_T8020 0x200, 0x100, 0xfc, 0x80, 4, 0x20, 0x4, .mmio_size = 0x4000
#define FW_T8110 0x1400, 0x1000, 0xc00, 0x1, 1, 0x80, 0x80000000
#define FW_DEEP 0x1400, 0x1000, 0xc00, 0x9, 1, 0x80, 0x80000000

static const struct fw_kind fw_kinds[] = {
    {"t8020", DART_MODEL_T8020, GR_DART_T8020, 14, 32, 2, false, FW_T8020},
    {"t8020 4K", DART_MODEL_T8020, GR_DART_T8020, 12, 32, 2, false, FW_T8020},
    {"t6000", DART_MODEL_T6000, GR_DART_T6000, 14, 32, 2, true, FW_T8020},
    {"t8110", DART_MODEL_T8110, GR_DART_T8110, 14, 36, 2, true, FW_T8110, .revision = 0x200,
     .mmio_size = 0x4000},
    {"t8110 deep", DART_MODEL_T8110, GR_DART_T8110, 14, 42, 3, true, FW_DEEP, .revision = 0x200,
     .mmio_size = 0x4000},
    {"t8110 2.2", DART_MODEL_T8110, GR_DART_T8110, 14, 42, 3, true, FW_DEEP, .revision = 0x202,
     .mmio_size = 0xc000},
    {"usb4", DART_MODEL_T8103_USB4, GR_DART_T8103_USB4, 14, 32, 2, false, 0x400, 0x100, 0xfc, 0x80,
     4, 0x20, 0x4, .mmio_size = 0x4000},
    {"s5l8960x", DART_MODEL_S5L8960X, GR_DART_S5L8960X, 12, 32, 2, false, 0x40, 0x0c, 0, 0x80, 4,
     0x00, 0x8, .packed = true, .mmio_size = 0x4000},
};
#define FW_KINDS (sizeof(fw_kinds) / sizeof(fw_kinds[0]))

struct fw_leaf {
    uint64_t iova, pa;
    unsigned sid;
};

struct fw_dart {
    struct host_dart hw;
    struct host_mmio tap;
    struct gr_dart drv;
    struct fw *fw;
    bool lose; /* TLB commands hang */
    unsigned polls;
    struct fw_leaf leaf[FW_LEAVES];
    unsigned leaves;
    uint32_t registers[0xc000 / 4]; /* as they were */
};

struct fw {
    const struct fw_kind *k;
    struct host *host;
    struct fw_dart dart[FW_DARTS];
    unsigned darts;
    gr_pa_t table[FW_TABLES];
    uint64_t *copy[FW_TABLES]; /* of what firmware wrote there */
    unsigned tables;
    uint64_t looks, absent, changed, refused;
    uint64_t rng;
    bool quiet;           /* nobody looks */
    bool wild;            /* entries lead to where nothing is, and prefetches follow */
    uint64_t prefetch[4]; /* the first DART's stream 0 walks there at any moment */
    unsigned prefetches;
};

static inline uint64_t fw_random(struct fw *fw, uint64_t below)
{
    return chance_below(&fw->rng, below);
}

/* ---- what hardware reads ---- */

static inline uint64_t fw_entry_pa(const struct fw_kind *k, uint64_t entry)
{
    const uint64_t pa =
        k->dart2 ? entry << 4 & ((UINT64_C(1) << 42) - 1) : entry & ((UINT64_C(1) << 36) - 1);

    return pa >> k->page_bits << k->page_bits;
}

static inline uint64_t fw_entry(const struct fw_kind *k, uint64_t pa)
{
    return (k->dart2 ? pa >> 4 : pa) | 1;
}

/* A leaf for read and write. */
static inline uint64_t fw_leaf(const struct fw_kind *k, uint64_t pa)
{
    return fw_entry(k, pa) | UINT64_C(0xfff) << 40 | (k->dart2 ? 0 : 2);
}

static inline bool fw_root(const struct fw_dart *d, unsigned sid, uint64_t iova, uint64_t *out_pa)
{
    const struct fw_kind *const k = d->fw->k;
    const unsigned top = k->page_bits + k->levels * (k->page_bits - 3);
    const uint32_t i = (uint32_t)(iova >> top) & (k->ttbrs - 1);
    const uint32_t ttbr = dart_model_read32(d->hw.model, k->ttbr + 4 * (k->ttbrs * sid + i));

    *out_pa = k->ttbrs == 1 ? (uint64_t)(ttbr >> 2) << 14 : (uint64_t)(ttbr & 0x7fffffff) << 12;
    return k->ttbrs == 1 ? ttbr & 1 : ttbr >> 31;
}

/* Where an IOVA leads by the tables alone, as walkers see them. */
static inline bool fw_walk(const struct fw_dart *d, unsigned sid, uint64_t iova, uint64_t *out_pa)
{
    const struct fw_kind *const k = d->fw->k;
    uint64_t pa, entry = 0;

    iova &= (UINT64_C(1) << k->va_bits) - 1;
    if (!fw_root(d, sid, iova, &pa))
        return false;
    for (unsigned level = k->levels; level-- > 0;) {
        const unsigned shift = k->page_bits + level * (k->page_bits - 3);

        if (!host_table_read64(
                d->fw->host, pa + 8 * (iova >> shift & ((1u << (k->page_bits - 3)) - 1)), &entry) ||
            !(entry & 1))
            return false;
        pa = fw_entry_pa(k, entry);
    }
    *out_pa = pa;
    return true;
}

static inline void fw_look_at(struct fw_dart *d, const struct fw_leaf *leaf)
{
    struct fw *const fw = d->fw;
    const unsigned page = 1u << fw->k->page_bits;
    enum model_result result;
    uint64_t pa;

    fw->looks++;
    if (!fw_walk(d, leaf->sid, leaf->iova, &pa))
        fw->absent++;
    else if (pa != leaf->pa)
        fw->changed++;
    result = dart_model_translate(d->hw.model, leaf->sid, leaf->iova, false, page, &pa);
    if (result != MODEL_OK && result != MODEL_STALLED)
        fw->refused++;
    else if (result == MODEL_OK && pa != leaf->pa)
        fw->changed++;
}

/* The display and the coprocessor at any moment. */
static inline void fw_look(void *arg)
{
    struct fw *const fw = arg;

    for (unsigned i = 0; !fw->quiet && i < fw->darts; i++) {
        for (unsigned k = 0; k < fw->dart[i].leaves; k++)
            fw_look_at(&fw->dart[i], &fw->dart[i].leaf[k]);
    }
    for (unsigned i = 0; i < fw->prefetches; i++)
        dart_model_prefetch(fw->dart[0].hw.model, 0, fw->prefetch[i]);
}

/* ---- what firmware did ---- */

static inline uint32_t fw_tap_read32(void *opaque, uint32_t offset)
{
    struct fw_dart *const d = opaque;
    const struct fw_kind *const k = d->fw->k;
    const uint32_t value = dart_model_read32(d->hw.model, offset);

    if (!d->lose || ++d->polls % 1024 == 0)
        fw_look(d->fw);
    return d->lose && offset == k->command ? value | k->busy : value;
}

static inline void fw_tap_write32(void *opaque, uint32_t offset, uint32_t value)
{
    struct fw_dart *const d = opaque;

    dart_model_write32(d->hw.model, offset, value);
    fw_look(d->fw);
}

static inline void fw_make(struct fw *fw, const struct fw_kind *k, unsigned darts, bool locked,
                           uint64_t seed)
{
    const struct host_config config = {
        .cpu_page = 4096, .nbanks = 1, .seed = seed, .banks = {{FW_RAM, FW_RAM_SIZE}}};
    struct dart_model_config model = dart_model_defaults(k->model);
    char why[160];

    memset(fw, 0, sizeof(*fw));
    fw->k = k;
    fw->rng = seed;
    fw->darts = darts;
    fw->host = host_create(&config, why, sizeof(why));
    if (!fw->host)
        fail_msg("no host: %s", why);
    host_log_level(fw->host, -1);
    model.page_bits = k->page_bits;
    model.va_bits = k->va_bits;
    model.revision = k->revision;
    model.mmio_size = k->mmio_size;
    model.keep_all = true;
    model.locked = locked;
    for (unsigned i = 0; i < darts; i++) {
        struct fw_dart *const d = &fw->dart[i];

        d->fw = fw;
        assert_true(host_dart_init(&d->hw, fw->host, &model, seed + i));
        d->tap = (struct host_mmio){.host = fw->host,
                                    .opaque = d,
                                    .size = k->mmio_size,
                                    .read32 = fw_tap_read32,
                                    .write32 = fw_tap_write32};
    }
}

static inline gr_pa_t fw_table(struct fw *fw)
{
    gr_pa_t pa;

    assert_true(fw->tables < FW_TABLES);
    assert_int_equal(host_firmware_alloc(fw->host, UINT64_C(1) << fw->k->page_bits, &pa), 0);
    fw->table[fw->tables++] = pa;
    return pa;
}

static inline uint64_t fw_peek(struct fw *fw, gr_pa_t pa)
{
    return *(const uint64_t *)host_ptr(fw->host, pa, 8);
}

static inline void fw_set_ttbr(struct fw *fw, unsigned dart, unsigned sid, unsigned i, gr_pa_t pa)
{
    const struct fw_kind *const k = fw->k;

    dart_model_poke32(fw->dart[dart].hw.model, k->ttbr + 4 * (k->ttbrs * sid + i),
                      k->ttbrs == 1 ? (uint32_t)(pa >> 14) << 2 | 1
                                    : 0x80000000u | (uint32_t)(pa >> 12));
}

static inline uint32_t fw_tcr(const struct fw *fw, unsigned dart, unsigned sid)
{
    struct dart_model *const m = fw->dart[dart].hw.model;

    return fw->k->packed ? dart_model_read32(m, fw->k->tcr) >> 8 * sid & 0xff
                         : dart_model_read32(m, fw->k->tcr + 4 * sid);
}

static inline void fw_set_tcr(struct fw *fw, unsigned dart, unsigned sid, uint32_t value)
{
    struct dart_model *const m = fw->dart[dart].hw.model;

    if (fw->k->packed)
        dart_model_poke32(m, fw->k->tcr,
                          (dart_model_read32(m, fw->k->tcr) & ~(0xffu << 8 * sid)) |
                              value << 8 * sid);
    else
        dart_model_poke32(m, fw->k->tcr + 4 * sid, value);
}

static inline void fw_translate(struct fw *fw, unsigned dart, unsigned sid)
{
    fw_set_tcr(fw, dart, sid, fw->k->translate);
    if (fw->k->enable)
        dart_model_poke32(fw->dart[dart].hw.model, fw->k->enable, 0xffff);
}

/* A stream that translates through an empty root; its PA. */
static inline gr_pa_t fw_stream(struct fw *fw, unsigned dart, unsigned sid)
{
    const gr_pa_t root = fw_table(fw);

    fw_set_ttbr(fw, dart, sid, 0, root);
    fw_translate(fw, dart, sid);
    return root;
}

/* Where the leaf for an IOVA is, with tables made on the way. */
static inline gr_pa_t fw_slot(struct fw *fw, unsigned dart, unsigned sid, uint64_t iova)
{
    const struct fw_kind *const k = fw->k;
    uint64_t pa;

    iova &= (UINT64_C(1) << k->va_bits) - 1;
    if (!fw_root(&fw->dart[dart], sid, iova, &pa)) {
        pa = fw_table(fw);
        fw_set_ttbr(fw, dart, sid,
                    (unsigned)(iova >> (k->page_bits + k->levels * (k->page_bits - 3))), pa);
    }
    for (unsigned level = k->levels - 1;; level--) {
        const unsigned shift = k->page_bits + level * (k->page_bits - 3);
        const gr_pa_t slot = pa + 8 * (iova >> shift & ((1u << (k->page_bits - 3)) - 1));

        if (!level)
            return slot;
        if (!(fw_peek(fw, slot) & 1)) /* others write 3: DART.md 4.3 */
            host_firmware_write64(fw->host, slot, fw_entry(k, fw_table(fw)) | 2);
        pa = fw_entry_pa(k, fw_peek(fw, slot));
    }
}

static inline void fw_map(struct fw *fw, unsigned dart, unsigned sid, uint64_t iova, gr_pa_t pa,
                          uint64_t pages)
{
    struct fw_dart *const d = &fw->dart[dart];

    for (uint64_t i = 0; i < pages; i++) {
        const uint64_t offset = i << fw->k->page_bits;

        assert_true(d->leaves < FW_LEAVES);
        d->leaf[d->leaves++] = (struct fw_leaf){iova + offset, pa + offset, sid};
        host_firmware_write64(fw->host, fw_slot(fw, dart, sid, iova + offset),
                              fw_leaf(fw->k, pa + offset));
    }
}

/* Firmware is done: from here on nothing of it may ever be missed. */
static inline void fw_boot(struct fw *fw)
{
    const size_t size = (size_t)1 << fw->k->page_bits;

    for (unsigned i = 0; i < fw->tables; i++) {
        if (!fw->copy[i])
            fw->copy[i] = test_malloc(size);
        memcpy(fw->copy[i], host_ptr(fw->host, fw->table[i], size), size);
    }
    for (unsigned i = 0; i < fw->darts; i++) {
        for (uint32_t off = 0; off < fw->k->mmio_size; off += 4)
            fw->dart[i].registers[off / 4] = dart_model_read32(fw->dart[i].hw.model, off);
    }
    host_set_observer(fw->host, fw_look, fw);
    fw_look(fw);
}

static inline int fw_driver(struct fw *fw, unsigned dart, const struct gr_range *aperture)
{
    static const char *const names[FW_DARTS] = {"dart0", "dart1"};
    struct fw_dart *const d = &fw->dart[dart];
    const struct gr_dart_config config = {
        .kind = fw->k->driver,
        .env = fw->host,
        .mmio = &d->tap,
        .mmio_size = fw->k->mmio_size,
        .name = names[dart],
        .va_bits = (uint8_t)fw->k->va_bits,
        .aperture = aperture ? *aperture : (struct gr_range){0, 0},
    };

    return gr_dart_init(&d->drv, &config);
}

/* The streams of [0, count) DARTs, all with number `sid`. */
static inline struct gr_device_config fw_device(struct fw *fw, struct gr_stream *streams,
                                                unsigned count, uint32_t sid)
{
    for (unsigned i = 0; i < count; i++)
        streams[i] = (struct gr_stream){
            .inst = &fw->dart[i].drv.inst, .sid = sid, .window = {0, UINT64_MAX}};
    return (struct gr_device_config){
        .name = "device", .streams = streams, .stream_count = count, .coherent = true};
}

/* Is every page of firmware's tables, and every register that says where they are, as it was? */
static inline void fw_restored(struct fw *fw)
{
    const struct fw_kind *const k = fw->k;
    const size_t size = (size_t)1 << k->page_bits;

    for (unsigned i = 0; i < fw->tables; i++)
        assert_memory_equal(fw->copy[i], host_ptr(fw->host, fw->table[i], size), size);
    for (unsigned i = 0; i < fw->darts; i++) {
        for (unsigned sid = 0; sid < 4; sid++) {
            const uint32_t tcr = k->packed ? fw->dart[i].registers[k->tcr / 4] >> 8 * sid & 0xff
                                           : fw->dart[i].registers[k->tcr / 4 + sid];

            if (!(tcr & k->translate))
                continue;
            assert_int_equal(fw_tcr(fw, i, sid), tcr);
            for (unsigned t = 0; t < k->ttbrs; t++) {
                const uint32_t ttbr = k->ttbr + 4 * (k->ttbrs * sid + t);

                assert_int_equal(dart_model_read32(fw->dart[i].hw.model, ttbr),
                                 fw->dart[i].registers[ttbr / 4]);
            }
        }
    }
}

static inline void fw_good(struct fw *fw)
{
    if (fw->absent || fw->changed || fw->refused)
        fail_msg("%s: firmware's mappings were absent %u times, changed %u, refused %u",
                 fw->k->name, (unsigned)fw->absent, (unsigned)fw->changed, (unsigned)fw->refused);
}

/* Drivers that are up are taken down, and all must be as firmware left it. */
static inline void fw_end(struct fw *fw)
{
    for (unsigned i = 0; i < fw->darts; i++) {
        const struct dart_model_stats *const stats = dart_model_stats(fw->dart[i].hw.model);

        if (fw->dart[i].drv.layout)
            assert_int_equal(gr_dart_fini(&fw->dart[i].drv), 0);
        if (!fw->wild)
            assert_int_equal(stats->bad_fetches, 0);
        assert_int_equal(stats->misuse, 0);
        assert_int_equal(stats->locked_writes, 0);
    }
    fw_look(fw);
    fw_good(fw);
    fw_restored(fw);
    if (host_misuse(fw->host))
        fail_msg("misuse: %s", host_last_log(fw->host));
    assert_int_equal(host_leaks(fw->host), 0);
    for (unsigned i = 0; i < fw->tables; i++)
        test_free(fw->copy[i]);
    for (unsigned i = 0; i < fw->darts; i++)
        host_dart_fini(&fw->dart[i].hw);
    (void)host_destroy(fw->host);
}

/* ---- a device's accesses ---- */

static inline bool fw_reaches(struct fw *fw, unsigned dart, unsigned sid, uint64_t iova, gr_pa_t pa)
{
    struct fw_dart *const d = &fw->dart[dart];
    uint64_t got = 0;
    const bool ok =
        dart_model_translate(d->hw.model, sid, iova, true, 1, &got) == MODEL_OK && got == pa;

    while (d->hw.irq) {
        fw_good(fw); /* else the display's faults never end */
        assert_true(gr_dart_isr(&d->drv));
        (void)gr_fault_dispatch(&d->drv.inst);
    }
    return ok;
}

#endif
