/* SPDX-License-Identifier: MIT */
/*
 * The DART model against DART.md: the worked examples of DART.md 13 to the bit, every fault,
 * stale entries, locks, and random tables against a flat map.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chance.h"

#include "../models/dart/dart.h"

/* A machine: memory that exists where it was written, a clock, an interrupt line. */

#define FRAME 4096u
#define FRAMES 4096u

struct frame {
    uint64_t pa;
    uint8_t *bytes; /* NULL: slot free */
};

struct machine {
    struct model_host host;
    struct frame frames[FRAMES];
    uint64_t now;
    uint64_t rng;
    bool line;
    unsigned edges;
    void *cookie;
    uint64_t hole;     /* data accesses to this frame are refused */
    uint64_t poisoned; /* table reads of this page are refused */
    struct dart_model *m;
    struct dart_model_config config;
};

static uint8_t *frame_of(struct machine *w, uint64_t pa, bool make)
{
    uint64_t base = pa & ~(uint64_t)(FRAME - 1);

    for (uint64_t i = base / FRAME * 7;; i++) {
        struct frame *f = &w->frames[i % FRAMES];

        if (f->bytes && f->pa == base)
            return f->bytes;
        if (f->bytes)
            continue;
        if (!make)
            return NULL;
        f->pa = base;
        f->bytes = calloc(1, FRAME);
        assert_non_null(f->bytes);
        return f->bytes;
    }
}

static uint8_t *byte_at(struct machine *w, uint64_t pa)
{
    return frame_of(w, pa, true) + pa % FRAME;
}

static void put64(struct machine *w, uint64_t pa, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++)
        *byte_at(w, pa + i) = (uint8_t)(v >> (8 * i));
}

static bool table_read64(void *opaque, uint64_t pa, uint64_t *out)
{
    struct machine *w = opaque;
    uint8_t *frame = frame_of(w, pa, false);

    assert_int_equal(pa % 8, 0);
    if (!frame || (w->poisoned && pa >> 12 == w->poisoned >> 12))
        return false;
    *out = 0;
    for (unsigned i = 0; i < 8; i++)
        *out |= (uint64_t)frame[pa % FRAME + i] << (8 * i);
    return true;
}

static bool mem_read(void *opaque, uint64_t pa, void *buf, size_t len, bool coherent)
{
    struct machine *w = opaque;

    (void)coherent;
    for (size_t i = 0; i < len; i++) {
        if (w->hole && (pa + i) >> 12 == w->hole >> 12)
            return false;
        ((uint8_t *)buf)[i] = *byte_at(w, pa + i);
    }
    return true;
}

static bool mem_write(void *opaque, uint64_t pa, const void *buf, size_t len, bool coherent)
{
    struct machine *w = opaque;

    (void)coherent;
    for (size_t i = 0; i < len; i++) {
        if (w->hole && (pa + i) >> 12 == w->hole >> 12)
            return false;
        *byte_at(w, pa + i) = ((const uint8_t *)buf)[i];
    }
    return true;
}

static uint64_t now_ns(void *opaque)
{
    return ((struct machine *)opaque)->now;
}

static void irq(void *opaque, void *cookie, bool level)
{
    struct machine *w = opaque;

    assert_int_not_equal(w->line, level);
    w->line = level;
    w->cookie = cookie;
    w->edges++;
}

static uint32_t random32(void *opaque)
{
    struct machine *w = opaque;

    return (uint32_t)chance_next(&w->rng);
}

static struct machine *machine_make(enum dart_model_kind kind)
{
    struct machine *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    w->host = (struct model_host){.opaque = w,
                                  .table_read64 = table_read64,
                                  .mem_read = mem_read,
                                  .mem_write = mem_write,
                                  .now_ns = now_ns,
                                  .irq = irq};
    w->config = dart_model_defaults(kind);
    w->config.host = &w->host;
    w->config.irq_cookie = &w->config;
    return w;
}

static bool is_t8110(const struct machine *w)
{
    return w->config.kind == DART_MODEL_T8110;
}

static uint32_t rd(struct machine *w, uint32_t off)
{
    return dart_model_read32(w->m, off);
}

static void wr(struct machine *w, uint32_t off, uint32_t val)
{
    dart_model_write32(w->m, off, val);
}

static const struct dart_model_stats *stats(const struct machine *w)
{
    return dart_model_stats(w->m);
}

static void enable_all(struct machine *w)
{
    for (uint32_t i = 0; i < (is_t8110(w) ? 8u : 1u); i++)
        wr(w, (is_t8110(w) ? 0xc00 : 0xfc) + 4 * i, UINT32_MAX);
}

static void power_up(struct machine *w)
{
    w->m = dart_model_create(&w->config);
    assert_non_null(w->m);
    enable_all(w);
}

static struct machine *machine_new(enum dart_model_kind kind)
{
    struct machine *w = machine_make(kind);

    power_up(w);
    return w;
}

static void machine_free(struct machine *w)
{
    dart_model_destroy(w->m);
    for (unsigned i = 0; i < FRAMES; i++)
        free(w->frames[i].bytes);
    free(w);
}

static uint32_t tcr_off(const struct machine *w, unsigned sid)
{
    return (is_t8110(w) ? 0x1000 : 0x100) + 4 * sid;
}

static uint32_t ttbr_off(const struct machine *w, unsigned sid, unsigned i)
{
    if (is_t8110(w))
        return 0x1400 + 4 * sid;
    return (w->config.kind == DART_MODEL_T8103_USB4 ? 0x400 : 0x200) + 16 * sid + 4 * i;
}

static void set_tcr(struct machine *w, unsigned sid, bool translate)
{
    wr(w, tcr_off(w, sid), !translate ? 0 : is_t8110(w) ? 1 : 0x80);
}

static void set_ttbr(struct machine *w, unsigned sid, unsigned i, uint64_t pa)
{
    wr(w, ttbr_off(w, sid, i),
       is_t8110(w) ? (uint32_t)(pa >> 14) << 2 | 1 : (uint32_t)(pa >> 12) | 1u << 31);
}

static void flush(struct machine *w, unsigned sid)
{
    if (is_t8110(w)) {
        wr(w, 0x80, 0x100 | sid);
    } else {
        wr(w, 0x34, sid < 32 ? 1u << sid : 0);
        wr(w, 0x38, sid < 32 ? 0 : 1u << (sid - 32));
        wr(w, 0x20, 1u << 20);
    }
}

static uint32_t error_of(struct machine *w)
{
    return rd(w, is_t8110(w) ? 0x100 : 0x40);
}

static uint64_t error_addr(struct machine *w)
{
    uint32_t lo = is_t8110(w) ? 0x170 : 0x50;

    return rd(w, lo) | (uint64_t)rd(w, lo + 4) << 32;
}

static void clear_error(struct machine *w)
{
    wr(w, is_t8110(w) ? 0x100 : 0x40, error_of(w));
    if (is_t8110(w))
        for (uint32_t i = 0; i < 8; i++)
            wr(w, 0x1c0 + 4 * i, UINT32_MAX);
}

/* Entries as DART.md 4 gives them, in arithmetic of the test's own. */

enum { NO_READ = 1, NO_WRITE = 2, SP_DIS = 4 };

static uint64_t table_entry(const struct machine *w, uint64_t pa)
{
    return (w->config.kind <= DART_MODEL_T8103_USB4 ? pa : pa / 16) + 1;
}

static uint64_t leaf_entry(const struct machine *w, uint64_t pa, unsigned flags, uint64_t start,
                           uint64_t end)
{
    bool dart1 = w->config.kind <= DART_MODEL_T8103_USB4;
    uint64_t e = table_entry(w, pa) + (start << 52) + (end << 40);

    if (flags & NO_READ)
        e += dart1 ? 0x100 : 8;
    if (flags & NO_WRITE)
        e += dart1 ? 0x80 : 4;
    if (flags & SP_DIS)
        e += 2;
    return e;
}

/* Checks one translation of `len` bytes: PA, or the refusal where pa is UINT64_MAX. */
static void expect(struct machine *w, unsigned sid, uint64_t iova, bool write, uint64_t len,
                   uint64_t pa)
{
    uint64_t got = UINT64_MAX;
    enum model_result r = dart_model_translate(w->m, sid, iova, write, len, &got);

    assert_int_equal(got, pa);
    assert_int_equal(r, pa == UINT64_MAX ? MODEL_FAULT : MODEL_OK);
}

#define REFUSED UINT64_MAX

static const enum dart_model_kind kinds[] = {DART_MODEL_T8020, DART_MODEL_T8103_USB4,
                                             DART_MODEL_T6000, DART_MODEL_T8110};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* The tables of DART.md 13. */
#define IOVA 0x9F4A1234u
#define L1_PA 0x8A0B0C000u
#define L1E_PA 0x8A0B0C278u
#define L2_PA 0x8A0B10000u
#define L2E_PA 0x8A0B12940u
#define PAGE_PA 0x8C5D54000u
#define DATA_PA 0x8C5D55234u

/* Stream 5 translates through the example's tables; the leaf is the family's plain read-write. */
static void example(struct machine *w)
{
    bool dart1 = w->config.kind <= DART_MODEL_T8103_USB4;

    put64(w, L1E_PA, dart1 ? 0x00000008A0B10001 : 0x000000008A0B1001);
    put64(w, L2E_PA, dart1 ? 0x000FFF08C5D54003 : 0x000FFF008C5D5401);
    wr(w, ttbr_off(w, 5, 0), is_t8110(w) ? 0x008A0B0D : 0x808A0B0C);
    wr(w, tcr_off(w, 5), is_t8110(w) ? 0x1 : 0x80);
    flush(w, 5);
}

static struct machine *example_new(enum dart_model_kind kind)
{
    struct machine *w = machine_new(kind);

    example(w);
    return w;
}

static void leaf(struct machine *w, uint64_t value)
{
    put64(w, L2E_PA, value);
    flush(w, 5);
}

static void test_worked_example(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        struct machine *w = example_new(kinds[k]);
        bool dart1 = kinds[k] <= DART_MODEL_T8103_USB4;

        expect(w, 5, IOVA, false, 4, DATA_PA);
        expect(w, 5, IOVA, true, 4, DATA_PA);
        assert_int_equal(stats(w)->fetches, 2);
        assert_int_equal(stats(w)->misses, 1);
        assert_int_equal(stats(w)->hits, 1);
        leaf(w, dart1 ? 0x000FFF08C5D54083 : 0x000FFF008C5D5405);
        expect(w, 5, IOVA, false, 4, DATA_PA);
        expect(w, 5, IOVA, true, 4, REFUSED);
        leaf(w, dart1 ? 0x000FFF08C5D54103 : 0x000FFF008C5D5409);
        expect(w, 5, IOVA, false, 4, REFUSED);
        expect(w, 5, IOVA, true, 4, DATA_PA);
        leaf(w, dart1 ? 0x04047F08C5D54001 : 0x04047F008C5D5401);
        for (uint64_t at = 0; at < 0x4000; at++)
            expect(w, 5, 0x9F4A0000 + at, false, 1,
                   at >= 0x100 && at <= 0x11FF ? PAGE_PA + at : REFUSED);
        if (!dart1) {
            leaf(w, 0x000FFF008C5D5403); /* uncached: bit 1 is no SP_DIS here */
            expect(w, 5, IOVA, true, 4, DATA_PA);
            leaf(w, 0x04047F008C5D5403);
            expect(w, 5, 0x9F4A0000, true, 4, REFUSED);
            leaf(w, 0x000FFF2B98765401);
            expect(w, 5, IOVA, true, 4, 0x2B987655234);
        }
        machine_free(w);
    }
}

static void test_worked_registers(void **state)
{
    struct machine *w = example_new(DART_MODEL_T8020);

    (void)state;
    assert_int_equal(rd(w, 0x250), 0x808A0B0C);
    assert_int_equal(rd(w, 0x114), 0x80);
    assert_int_equal(rd(w, 0x00), 14u << 24);
    assert_int_equal(rd(w, 0x04), 3);
    assert_int_equal(rd(w, 0x84), 0x07060504);
    assert_int_equal(rd(w, 0x8c), 0x0f0e0d0c);
    expect(w, 5, IOVA, false, 1, DATA_PA);
    put64(w, L2E_PA, 0);
    wr(w, 0x34, 0x20);
    wr(w, 0x20, 0x00100000);
    expect(w, 5, IOVA, false, 1, REFUSED);
    assert_int_equal(rd(w, 0x40), 0x85000004);
    assert_int_equal(error_addr(w), IOVA);
    machine_free(w);

    w = example_new(DART_MODEL_T8110);
    assert_int_equal(rd(w, 0x1414), 0x008A0B0D);
    assert_int_equal(rd(w, 0x1014), 1);
    assert_int_equal(rd(w, 0x00), 14u << 24);
    assert_int_equal(rd(w, 0x04), 3);
    assert_int_equal(rd(w, 0x08), 42u << 24 | 36u << 16 | 0x0200);
    assert_int_equal(rd(w, 0x0c), 16);
    expect(w, 5, IOVA, false, 1, DATA_PA);
    put64(w, L2E_PA, 0);
    wr(w, 0x80, 0x105);
    assert_int_equal(rd(w, 0x80), 0x105);
    expect(w, 5, IOVA, false, 1, REFUSED);
    assert_int_equal(rd(w, 0x100), 0x80500008);
    clear_error(w);
    expect(w, 5, IOVA, true, 1, REFUSED);
    assert_int_equal(rd(w, 0x100), 0x90500008);
    put64(w, L2E_PA, 0x000FFF008C5D5401);
    expect(w, 5, IOVA, false, 1, REFUSED);
    wr(w, 0x80, 0x8105);
    expect(w, 5, IOVA, false, 1, DATA_PA);
    put64(w, L2E_PA, 0);
    wr(w, 0x80, 0x000);
    expect(w, 5, IOVA, false, 1, REFUSED);
    machine_free(w);

    w = example_new(DART_MODEL_T8103_USB4);
    assert_int_equal(rd(w, 0x450), 0x808A0B0C);
    assert_int_equal(rd(w, 0x04), 2);
    machine_free(w);
}

/* Revision 2: pages IOVA .. IOVA + 0x8000 go, the end inclusive; their neighbours stay. */
static void test_range_flush(void **state)
{
    struct machine *w = example_new(DART_MODEL_T8110);

    (void)state;
    for (uint64_t i = 0; i < 5; i++) {
        put64(w, L2E_PA - 8 + 8 * i, 0x000FFF008C5D5401 + (i << 10));
        expect(w, 5, IOVA - 0x4000 + 0x4000 * i, false, 1, DATA_PA + 0x4000 * i);
        put64(w, L2E_PA - 8 + 8 * i, 0);
    }
    wr(w, 0x98, 0x0009F4A0);
    wr(w, 0xa0, 0x0009F4A8);
    wr(w, 0x80, 0x0000E104); /* another stream's */
    expect(w, 5, IOVA, false, 1, DATA_PA + 0x4000);
    wr(w, 0x80, 0x0000E105);
    for (uint64_t i = 0; i < 5; i++)
        expect(w, 5, IOVA - 0x4000 + 0x4000 * i, false, 1,
               i == 0 || i == 4 ? DATA_PA + 0x4000 * i : REFUSED);
    /* upper entries go with bit 13 only */
    put64(w, L1E_PA, 0);
    wr(w, 0x80, 0x00004105);
    expect(w, 5, IOVA, false, 1, REFUSED);
    assert_int_equal(error_of(w) & 0x7fff, 8);
    clear_error(w);
    wr(w, 0x80, 0x00006105);
    expect(w, 5, IOVA, false, 1, REFUSED);
    assert_int_equal(error_of(w) & 0x7fff, 4);
    machine_free(w);
}

static void test_four_levels(void **state)
{
    struct machine *w = machine_make(DART_MODEL_T8110);
    uint64_t far = 0x10A9F4A1234;

    (void)state;
    w->config.va_bits = 42;
    power_up(w);
    put64(w, 0x8A0B08080, 0x000000008A0B0C01);
    put64(w, 0x8A0B0EA78, 0x000000008A0B1001);
    put64(w, L2E_PA, 0x000FFF008C5D5401);
    wr(w, 0x1414, 0x008A0B09);
    wr(w, 0x1014, 0x9);
    expect(w, 5, far, false, 8, DATA_PA);
    assert_int_equal(stats(w)->fetches, 3);
    expect(w, 5, far | UINT64_C(0xffff) << 42, false, 8, DATA_PA);
    expect(w, 5, far + (UINT64_C(1) << 36), false, 8, REFUSED);
    assert_int_equal(error_of(w), 0x80500002);
    clear_error(w);
    expect(w, 5, far + (1 << 25), false, 8, REFUSED);
    assert_int_equal(error_of(w), 0x80500004);
    clear_error(w);
    expect(w, 5, far + (1 << 14), false, 8, REFUSED);
    assert_int_equal(error_of(w), 0x80500008);
    machine_free(w);

    /* Revision 1 has no such bit: the same registers walk two levels. */
    w = machine_make(DART_MODEL_T8110);
    w->config.va_bits = 42;
    w->config.revision = 0x0100;
    power_up(w);
    wr(w, 0x1414, 0x008A0B0D);
    wr(w, 0x1014, 0x9);
    put64(w, 0x8A0B0EA78, 0x000000008A0B1001);
    put64(w, L2E_PA, 0x000FFF008C5D5401);
    expect(w, 5, far, false, 8, DATA_PA);
    assert_int_equal(stats(w)->fetches, 2);
    machine_free(w);
}

static void test_4k_example(void **state)
{
    struct machine *w = machine_make(DART_MODEL_T8020);

    (void)state;
    w->config.page_bits = 12;
    power_up(w);
    wr(w, 0x258, 0x80870001);
    wr(w, 0x114, 0x80);
    put64(w, 0x8700017D0, 0x0000000870002001);
    put64(w, 0x870002508, 0x000FFF08700AB003);
    expect(w, 5, IOVA, true, 4, 0x8700AB234);
    put64(w, 0x870002508, 0x100FFF08700AB001); /* unit 1: from byte 0x100 */
    flush(w, 5);
    for (uint64_t at = 0; at < 0x1000; at++)
        expect(w, 5, 0x9F4A1000 + at, true, 1, at >= 0x100 ? 0x8700AB000 + at : REFUSED);
    assert_int_equal(error_of(w), 0x85000080);
    machine_free(w);
}

static void test_ttbr_select(void **state)
{
    struct machine *w = machine_make(DART_MODEL_T6000);

    (void)state;
    w->config.va_bits = 38;
    power_up(w);
    wr(w, 0x100, 0x80);
    for (unsigned i = 1; i < 4; i++) {
        uint64_t l1 = UINT64_C(0x800000000) + 0x100000 * i;

        set_ttbr(w, 0, i, l1);
        put64(w, l1, table_entry(w, l1 + 0x4000));
        put64(w, l1 + 0x4000 + 8, leaf_entry(w, PAGE_PA + 0x4000 * i, 0, 0, 0xfff));
    }
    for (unsigned i = 1; i < 4; i++)
        expect(w, 0, ((uint64_t)i << 36) + 0x4010, true, 4, PAGE_PA + 0x4000 * i + 0x10);
    expect(w, 0, 0x4010, true, 4, REFUSED);
    assert_int_equal(error_of(w), 0x80000001);
    expect(w, 0, (UINT64_C(1) << 38) + (UINT64_C(1) << 36) + 0x4010, true, 4, PAGE_PA + 0x4010);
    machine_free(w);
}

/* The codes of DART.md 5, by kind and page size. */
static void test_fault_codes(void **state)
{
    (void)state;
    for (size_t k = 0; k < 2 * KINDS; k++) {
        struct machine *w = machine_make(kinds[k / 2]);
        bool t8110 = is_t8110(w);
        uint64_t iova = 0x1234, page, l1 = 0x880000000, l2 = 0x880010000, pa = 0x880020000, out = 0;
        const struct {
            uint64_t leaf;
            bool write;
            uint32_t t8020, t8110;
        } leaves[] = {
            {0, false, 0x83000004, 0x80300008},
            {0, true, 0x83000004, 0x90300008},
            {leaf_entry(w, pa, NO_WRITE, 0, 0xfff), true, 0x83000008, 0x90300010},
            {leaf_entry(w, pa, NO_READ, 0, 0xfff), false, 0x83000010, 0x80300020},
            {leaf_entry(w, pa, 0, 0xf00, 0xfff), false, 0x83000080, 0xa0300000},
            {leaf_entry(w, pa, 0, 0, 0), true, 0x83000080, 0xb0300000},
        };

        w->config.page_bits = k % 2 ? 12 : 14;
        power_up(w);
        page = UINT64_C(1) << w->config.page_bits;
        set_tcr(w, 3, true);
        expect(w, 3, iova, true, 4, REFUSED);
        assert_int_equal(error_of(w), t8110 ? 0x90300001 : 0x83000001);
        assert_int_equal(error_addr(w), iova);
        assert_true(w->line);
        assert_ptr_equal(w->cookie, &w->config);
        clear_error(w);
        assert_int_equal(error_of(w) >> 31, 0);
        assert_false(w->line);

        set_ttbr(w, 3, 0, l1);
        put64(w, l1, 0);
        expect(w, 3, iova, false, 4, REFUSED);
        assert_int_equal(error_of(w), t8110 ? 0x80300004 : 0x83000002);
        clear_error(w);
        put64(w, l1, table_entry(w, l2) | 2); /* bit 1 of a table entry is ignored (4.3) */
        flush(w, 3);
        for (size_t i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++) {
            put64(w, l2 + 8 * (iova / page), leaves[i].leaf);
            flush(w, 3);
            expect(w, 3, iova, leaves[i].write, 4, REFUSED);
            assert_int_equal(error_of(w), t8110 ? leaves[i].t8110 : leaves[i].t8020);
            clear_error(w);
        }

        /* A table that cannot be read. */
        w->poisoned = l2;
        flush(w, 3);
        assert_int_equal(dart_model_translate(w->m, 3, iova, false, 4, &out), MODEL_BUS_ERROR);
        assert_int_equal(error_of(w), t8110 ? 0x80300040 : 0x83000020);
        assert_int_equal(stats(w)->bad_fetches, 1);
        assert_int_equal(stats(w)->misuse, 0);
        machine_free(w);
    }
}

static void test_pa_width(void **state)
{
    struct machine *w = machine_make(DART_MODEL_T6000);
    uint64_t out;

    (void)state;
    w->config.pa_bits = 36;
    power_up(w);
    example(w);
    expect(w, 5, IOVA, false, 1, DATA_PA);
    leaf(w, 0x000FFF2B98765401);
    assert_int_equal(dart_model_translate(w->m, 5, IOVA, false, 1, &out), MODEL_BUS_ERROR);
    assert_int_equal(stats(w)->bus_errors, 1);
    assert_int_equal(error_of(w), 0);
    machine_free(w);
}

/* Every byte of a window that starts and ends anywhere, and accesses across its edges. */
static void test_subpage_edges(void **state)
{
    static const uint64_t windows[][2] = {{0, 0},         {0, 0xfff},    {0xfff, 0xfff}, {1, 1},
                                          {0x7f3, 0x801}, {0x10, 0xffe}, {5, 4}};

    (void)state;
    for (size_t k = 0; k < 2 * KINDS; k++) {
        struct machine *w = machine_make(kinds[k / 2]);
        uint64_t unit = k % 2 ? 1 : 4, page = 4096 * unit, pa = 0x880020000;

        w->config.page_bits = k % 2 ? 12 : 14;
        power_up(w);
        set_tcr(w, 0, true);
        set_ttbr(w, 0, 0, 0x880000000);
        put64(w, 0x880000000, table_entry(w, 0x880010000));
        for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
            uint64_t first = windows[i][0] * unit, end = (windows[i][1] + 1) * unit;

            put64(w, 0x880010000, leaf_entry(w, pa, 0, windows[i][0], windows[i][1]));
            flush(w, 0);
            for (uint64_t at = 0; at < page; at++)
                expect(w, 0, at, at % 2, 1, at >= first && at < end ? pa + at : REFUSED);
            if (first >= end)
                continue;
            expect(w, 0, first, false, end - first, pa + first);
            if (first)
                expect(w, 0, first - 1, false, end - first + 1, REFUSED);
            if (end < page)
                expect(w, 0, first, false, end - first + 1, REFUSED);
        }
        /* SP_DIS opens the page on DART1; on DART2 that bit is the cache's. */
        put64(w, 0x880010000, leaf_entry(w, pa, SP_DIS, 5, 4));
        flush(w, 0);
        expect(w, 0, 0, false, page, kinds[k / 2] <= DART_MODEL_T8103_USB4 ? pa : REFUSED);
        machine_free(w);
    }
}

/* Entries of every level, valid and not, serve until their own stream is invalidated. */
static void test_stale(void **state)
{
    (void)state;
    for (size_t k = 0; k < 2 * KINDS; k++) {
        struct machine *w = machine_make(kinds[k / 2]);
        uint64_t next_l1 = IOVA + (1 << 25);

        w->config.keep_all = k % 2;
        power_up(w);
        example(w);
        expect(w, 5, IOVA, false, 1, DATA_PA);
        expect(w, 5, IOVA + 0x4000, false, 1, REFUSED);
        expect(w, 5, next_l1, false, 1, REFUSED);

        put64(w, L2E_PA, 0);
        put64(w, L2E_PA + 8, leaf_entry(w, PAGE_PA, 0, 0, 0xfff));
        put64(w, L1E_PA + 8, table_entry(w, L2_PA + 0x4000));
        put64(w, L2E_PA + 0x4000, leaf_entry(w, PAGE_PA + 0x4000, 0, 0, 0xfff));
        flush(w, 4);
        set_ttbr(w, 5, 0, 0x870000000);
        set_tcr(w, 5, false);
        expect(w, 5, IOVA, false, 1, REFUSED);
        set_tcr(w, 5, true);
        expect(w, 5, IOVA, false, 1, DATA_PA);
        expect(w, 5, IOVA + 0x4000, false, 1, REFUSED);
        expect(w, 5, next_l1, false, 1, REFUSED);
        /* a pointer to a table that is no longer there serves pages not yet seen */
        expect(w, 5, IOVA - 0x4000, false, 1, REFUSED);
        assert_int_equal(stats(w)->bad_fetches, 0);
        set_ttbr(w, 5, 0, L1_PA);

        flush(w, 5);
        expect(w, 5, IOVA, false, 1, REFUSED);
        expect(w, 5, IOVA + 0x4000, false, 1, DATA_PA);
        expect(w, 5, next_l1, false, 1, DATA_PA + 0x4000);

        /* freed table, no invalidation: the walker still goes there, and the host is told */
        w->poisoned = L2E_PA;
        put64(w, L1E_PA, 0);
        assert_int_equal(dart_model_translate(w->m, 5, IOVA - 0x8000, false, 1, &(uint64_t){0}),
                         MODEL_BUS_ERROR);
        assert_int_equal(stats(w)->bad_fetches, 1);
        flush(w, 5);
        expect(w, 5, IOVA - 0x8000, false, 1, REFUSED);
        assert_int_equal(stats(w)->bad_fetches, 1);
        machine_free(w);
    }
}

/* A hit that the tables, as they are now, would lead elsewhere is counted; no other is. */
static void test_reuse(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        struct machine *w = machine_make(kinds[k]);
        uint64_t fetches;

        w->config.watch_reuse = true;
        power_up(w);
        example(w);
        expect(w, 5, IOVA, false, 1, DATA_PA);
        fetches = stats(w)->fetches;
        expect(w, 5, IOVA, false, 1, DATA_PA);
        put64(w, L2E_PA, 0); /* unmapped, and not forgotten: what DEFERRED allows */
        expect(w, 5, IOVA, false, 1, DATA_PA);
        put64(w, L1E_PA, 0);
        expect(w, 5, IOVA, false, 1, DATA_PA);
        wr(w, ttbr_off(w, 5, 0), 0);
        expect(w, 5, IOVA, false, 1, DATA_PA);
        set_ttbr(w, 5, 0, L1_PA);
        put64(w, L1E_PA, table_entry(w, L2_PA));
        put64(w, L2E_PA, leaf_entry(w, PAGE_PA, NO_WRITE, 0, 0xfff)); /* the same page again */
        expect(w, 5, IOVA, false, 1, DATA_PA);
        w->poisoned = L2E_PA;
        expect(w, 5, IOVA, false, 1, DATA_PA);
        w->poisoned = 0;
        assert_int_equal(stats(w)->reused, 0);
        assert_int_equal(stats(w)->fetches, fetches);
        assert_int_equal(stats(w)->bad_fetches, 0);
        put64(w, L2E_PA, leaf_entry(w, PAGE_PA + 0x4000, 0, 0, 0xfff));
        expect(w, 5, IOVA, false, 1, DATA_PA);
        assert_int_equal(stats(w)->reused, 1);
        flush(w, 5);
        expect(w, 5, IOVA, false, 1, DATA_PA + 0x4000);
        expect(w, 5, IOVA, false, 1, DATA_PA + 0x4000);
        put64(w, L2E_PA + 8, 0);
        expect(w, 5, IOVA + 0x4000, false, 1, REFUSED); /* absent, and cached as that */
        put64(w, L2E_PA + 8, leaf_entry(w, PAGE_PA, 0, 0, 0xfff));
        expect(w, 5, IOVA + 0x4000, false, 1, REFUSED);
        assert_int_equal(stats(w)->reused, 1);
        machine_free(w);
    }
}

static void test_explicit_prefetch(void **state)
{
    struct machine *w = example_new(DART_MODEL_T8110);

    (void)state;
    dart_model_prefetch(w->m, 5, IOVA + 0x4000);
    dart_model_prefetch(w->m, 6, IOVA); /* does not translate */
    assert_int_equal(stats(w)->prefetches, 1);
    assert_int_equal(error_of(w), 0);
    put64(w, L2E_PA + 8, 0x000FFF008C5D5401);
    expect(w, 5, IOVA + 0x4000, false, 1, REFUSED);
    flush(w, 5);
    expect(w, 5, IOVA + 0x4000, false, 1, DATA_PA);
    machine_free(w);
}

/* Capacity: with room for few entries old ones go, with keep_all none does. */
static void test_capacity(void **state)
{
    (void)state;
    for (unsigned mode = 0; mode < 3; mode++) {
        struct machine *w = machine_make(DART_MODEL_T8020);
        uint64_t before, prefetches;

        w->config.tlb_entries = 4;
        w->config.walk_entries = 1;
        w->config.keep_all = mode == 1;
        w->config.random_replacement = mode == 2;
        w->rng = 1;
        if (mode == 2)
            w->host.random = random32;
        power_up(w);
        example(w);
        for (uint64_t i = 0; i < 1024; i++)
            put64(w, L2_PA + 8 * i, leaf_entry(w, PAGE_PA + (i << 14), 0, 0, 0xfff));
        for (uint64_t i = 0; i < 1024; i++)
            expect(w, 5, 0x9E000000 + (i << 14), false, 1, PAGE_PA + (i << 14));
        before = stats(w)->fetches;
        prefetches = stats(w)->prefetches;
        for (uint64_t i = 0; i < 1024; i++) {
            put64(w, L2_PA + 8 * i, 0);
            (void)dart_model_translate(w->m, 5, 0x9E000000 + (i << 14), false, 1, &(uint64_t){0});
        }
        if (mode == 1)
            assert_int_equal(stats(w)->faults, 0);
        else /* but for the four that are left, and what was prefetched before it was cleared */
            assert_true(stats(w)->faults + 4 + stats(w)->prefetches - prefetches >= 1024);
        assert_int_equal(stats(w)->fetches - before >= 1000, mode != 1);
        machine_free(w);
    }
}

static void test_busy(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        struct machine *w = example_new(kinds[k]);
        uint32_t cmd = is_t8110(w) ? 0x80 : 0x20, busy = is_t8110(w) ? 1u << 31 : 4;
        uint64_t done = 7, out;
        uint8_t b = 0;

        *byte_at(w, DATA_PA) = 0x5a;
        expect(w, 5, IOVA, false, 1, DATA_PA);
        put64(w, L2E_PA, 0);
        dart_model_set_busy(w->m, 1000, false);
        flush(w, 5);
        assert_int_equal(rd(w, cmd) & busy, busy);
        assert_int_equal(dart_model_access(w->m, 5, IOVA, &b, 1, false, true, &done),
                         MODEL_STALLED);
        assert_int_equal(done, 0);
        w->now += 999;
        assert_int_equal(rd(w, cmd) & busy, busy);
        assert_int_equal(stats(w)->misuse, 0);
        flush(w, 6); /* ignored: all of its stores come while busy */
        assert_int_equal(stats(w)->misuse, is_t8110(w) ? 1 : 3);
        if (!is_t8110(w))
            assert_int_equal(rd(w, 0x34), 1u << 5);
        assert_int_equal(stats(w)->invalidations, 1); /* example()'s own */
        w->now += 1;
        assert_int_equal(rd(w, cmd) & busy, 0);
        assert_int_equal(stats(w)->invalidations, 2);
        expect(w, 5, IOVA, false, 1, REFUSED);

        dart_model_set_busy(w->m, 1000, true);
        flush(w, 5);
        w->now += UINT64_C(1) << 40;
        assert_int_equal(rd(w, cmd) & busy, busy);
        assert_int_equal(dart_model_translate(w->m, 5, IOVA, false, 1, &out), MODEL_STALLED);
        dart_model_set_busy(w->m, 0, false);
        assert_int_equal(rd(w, cmd) & busy, 0);
        assert_int_equal(stats(w)->invalidations, 3);
        machine_free(w);

        /* For software that does not wait: the old entries serve until the command is done. */
        w = machine_make(kinds[k]);
        w->config.serve_while_busy = true;
        power_up(w);
        example(w);
        expect(w, 5, IOVA, false, 1, DATA_PA);
        put64(w, L2E_PA, 0);
        dart_model_set_busy(w->m, 10, false);
        flush(w, 5);
        expect(w, 5, IOVA, false, 1, DATA_PA);
        w->now += 10;
        expect(w, 5, IOVA, false, 1, REFUSED);
        machine_free(w);
    }
}

static void test_wrong_commands(void **state)
{
    struct machine *w = example_new(DART_MODEL_T8020);

    (void)state;
    expect(w, 5, IOVA, false, 1, DATA_PA);
    put64(w, L2E_PA, 0);
    wr(w, 0x34, 1u << 5);
    wr(w, 0x20, 0);            /* no set */
    wr(w, 0x20, 1u << 20 | 1); /* unknown operation */
    expect(w, 5, IOVA, false, 1, DATA_PA);
    assert_int_equal(stats(w)->misuse, 2);
    machine_free(w);

    w = example_new(DART_MODEL_T8110);
    expect(w, 5, IOVA, false, 1, DATA_PA);
    put64(w, L2E_PA, 0);
    wr(w, 0x80, 0x205); /* TLB read */
    wr(w, 0x80, 0x1ff); /* stream that is not there */
    expect(w, 5, IOVA, false, 1, DATA_PA);
    assert_int_equal(stats(w)->misuse, 2);
    machine_free(w);
}

static void test_blocked_and_bypass(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        struct machine *w = example_new(kinds[k]);
        uint32_t translate = is_t8110(w) ? 1 : 0x80, bypass = is_t8110(w) ? 6 : 0x1100;
        uint64_t ok = kinds[k] == DART_MODEL_T8103_USB4 ? REFUSED : IOVA;

        wr(w, tcr_off(w, 5), 0);
        expect(w, 5, IOVA, false, 4, REFUSED);
        wr(w, tcr_off(w, 5), bypass);
        expect(w, 5, IOVA, true, 4, ok);
        wr(w, tcr_off(w, 5), bypass | translate);
        expect(w, 5, IOVA, false, 4, REFUSED);
        wr(w, tcr_off(w, 5), translate);
        expect(w, 5, IOVA, false, 4, DATA_PA);
        expect(w, 999, IOVA, false, 4, REFUSED);
        if (is_t8110(w)) {
            wr(w, 0xc20, 1u << 5);
            assert_int_equal(rd(w, 0xc00), ~(1u << 5));
        } else {
            wr(w, 0xfc, ~(1u << 5));
        }
        expect(w, 5, IOVA, false, 4, REFUSED);
        if (is_t8110(w))
            wr(w, 0xc00, 1u << 5);
        else
            wr(w, 0xfc, 1u << 5);
        expect(w, 5, IOVA, false, 4, DATA_PA);
        assert_int_equal(error_of(w), 0); /* refusals of this kind latch nothing */
        assert_int_equal(w->edges, 0);
        machine_free(w);

        w = machine_make(kinds[k]);
        w->config.denied_code = 1u << 9;
        power_up(w);
        expect(w, 2, IOVA, false, 4, REFUSED);
        assert_int_equal(error_of(w), is_t8110(w) ? 0x80200200 : 0x82000200);
        machine_free(w);
    }
}

static void test_remap(void **state)
{
    struct machine *w = example_new(DART_MODEL_T6000);

    (void)state;
    expect(w, 9, IOVA, false, 4, REFUSED);
    wr(w, 0x88, 0x0b0a0508); /* stream 9 goes as 5 */
    expect(w, 9, IOVA, false, 4, DATA_PA);
    wr(w, 0x88, 0x0b0a4008); /* to a stream that is not there, whatever lies where it would be */
    wr(w, 0x200, 0x80);
    wr(w, 0x600, 0x808A0B0C);
    expect(w, 9, IOVA, false, 4, REFUSED);
    machine_free(w);

    w = example_new(DART_MODEL_T8110);
    wr(w, 0x1024, 0x580);
    expect(w, 9, IOVA, false, 4, DATA_PA);
    wr(w, 0x1024, 0x581);
    wr(w, 0x1424, 0x008A0B0D);
    expect(w, 9, IOVA, false, 4, DATA_PA);
    wr(w, 0x1028, 0x980); /* 10 -> 9 -> 5: one hop only */
    expect(w, 10, IOVA, false, 4, REFUSED);
    wr(w, 0x102c, 0xb81); /* to itself */
    wr(w, 0x142c, 0x008A0B0D);
    expect(w, 11, IOVA, false, 4, REFUSED);
    machine_free(w);
}

/* Streams past the first word of every bitmap. */
static void test_many_streams(void **state)
{
    static const struct {
        enum dart_model_kind kind;
        unsigned sid;
        uint32_t error;
    } parts[] = {
        {DART_MODEL_T8103_USB4, 42, 0x8a000004}, /* the error's stream field has 4 bits */
        {DART_MODEL_T8110, 200, 0x8c800008},
        {DART_MODEL_T8110, 255, 0x8ff00008},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        struct machine *w = machine_make(parts[i].kind);
        unsigned sid = parts[i].sid;

        w->config.streams = is_t8110(w) ? 256 : 64;
        power_up(w);
        example(w);
        set_ttbr(w, sid, 0, L1_PA);
        set_tcr(w, sid, true);
        expect(w, sid, IOVA, false, 1, DATA_PA);
        put64(w, L2E_PA, 0);
        flush(w, 5);
        flush(w, sid - 1);
        expect(w, sid, IOVA, false, 1, DATA_PA);
        flush(w, sid);
        expect(w, sid, IOVA, false, 1, REFUSED);
        assert_int_equal(error_of(w), parts[i].error);
        expect(w, sid, IOVA, false, 1, REFUSED);
        if (is_t8110(w)) {
            assert_int_equal(rd(w, 0x1c0 + sid / 32 * 4), 1u << (sid % 32));
            example(w);
            wr(w, 0xc20 + sid / 32 * 4, 1u << (sid % 32));
            flush(w, sid);
            expect(w, sid, IOVA, false, 1, REFUSED);
            expect(w, 5, IOVA, false, 1, DATA_PA);
        }
        machine_free(w);
    }
}

static void test_lock(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        struct machine *w = machine_make(kinds[k]);
        uint32_t ttbr, tcr;

        w->config.locked = true;
        power_up(w);
        ttbr = ttbr_off(w, 5, 0);
        tcr = tcr_off(w, 5);
        wr(w, tcr, 1);
        wr(w, ttbr, 1);
        assert_int_equal(rd(w, tcr) | rd(w, ttbr), 0);
        assert_int_equal(stats(w)->locked_writes, 2);
        dart_model_poke32(w->m, ttbr, is_t8110(w) ? 0x008A0B0D : 0x808A0B0C);
        dart_model_poke32(w->m, tcr, is_t8110(w) ? 1 : 0x80);
        example(w); /* its two stores are dropped */
        assert_int_equal(stats(w)->locked_writes, 4);
        expect(w, 5, IOVA, false, 4, DATA_PA);
        put64(w, L2E_PA, 0);
        flush(w, 5); /* still works */
        expect(w, 5, IOVA, false, 4, REFUSED);
        clear_error(w);
        assert_int_equal(error_of(w) >> 31, 0);
        if (!is_t8110(w)) {
            wr(w, 0x60, 0);
            assert_int_equal(rd(w, 0x60), 1u << 15);
            wr(w, 0x60, 3);
            assert_int_equal(rd(w, 0x60), 1u << 15 | 3);
        } else {
            wr(w, 0x200, 0);
            assert_int_equal(rd(w, 0x200), 1);
            wr(w, 0x204, 1);
            assert_int_equal(rd(w, 0x200), 0);
            wr(w, tcr, 0);
            assert_int_equal(rd(w, tcr), 0);
            wr(w, 0x200, 0x3);
            wr(w, 0x208, 0); /* any store locks */
            wr(w, 0x208, 0);
            wr(w, 0x204, 0x3);
            assert_int_equal(rd(w, 0x200), 0x3);
            wr(w, 0x200, 0xffffffff);
            assert_int_equal(rd(w, 0x200), 0x1f);
            wr(w, 0x404, 0xffffffff);
            assert_int_equal(rd(w, 0x404), 0);
        }
        machine_free(w);
    }
}

static void test_registers(void **state)
{
    struct machine *w = machine_new(DART_MODEL_T8110);

    (void)state;
    wr(w, 0x08, 0xffffffff);
    assert_int_equal(rd(w, 0x08), 42u << 24 | 36u << 16 | 0x0200);
    assert_int_equal(rd(w, 0x844), 0); /* nothing known there: keeps what is written */
    wr(w, 0x844, 0x12345678);
    assert_int_equal(rd(w, 0x844), 0x12345678);
    wr(w, 0x80, 1u << 31);
    assert_int_equal(rd(w, 0x80), 0);
    wr(w, 0x170, 5);
    assert_int_equal(rd(w, 0x170), 0);
    wr(w, 0x20c, 0xffffffff);
    assert_int_equal(rd(w, 0x20c), 0xff00001f);
    wr(w, 0x228, 0xffffffff);
    assert_int_equal(rd(w, 0x228), 0x3f3f3f3f);
    wr(w, 0x404, 0xffffffff);
    assert_int_equal(rd(w, 0x404), 0x1fffff);
    assert_int_equal(stats(w)->misuse, 0);
    assert_int_equal(rd(w, 0x4000), 0);
    wr(w, 0x102, 1);
    wr(w, 0xfffffffc, 1);
    assert_int_equal(stats(w)->misuse, 3);
    dart_model_power(w->m, false);
    assert_int_equal(rd(w, 0x08), 0);
    assert_int_equal(stats(w)->misuse, 4);
    assert_int_equal(dart_model_translate(w->m, 0, 0, false, 1, &(uint64_t){0}), MODEL_BUS_ERROR);
    dart_model_power(w->m, true);
    assert_int_equal(rd(w, 0x844), 0);
    assert_int_equal(rd(w, 0xc00), 0);
    assert_int_equal(rd(w, 0x0c), 16);
    machine_free(w);

    w = machine_new(DART_MODEL_T8020);
    wr(w, 0x00, 0);
    wr(w, 0x04, 0);
    wr(w, 0x50, 1);
    assert_int_equal(rd(w, 0x00), 14u << 24);
    assert_int_equal(rd(w, 0x04), 3);
    assert_int_equal(rd(w, 0x50), 0);
    wr(w, 0x3ffc, 5);
    assert_int_equal(rd(w, 0x3ffc), 5);
    machine_free(w);
}

static void test_bad_configs(void **state)
{
    struct machine *w = machine_make(DART_MODEL_T8110);
    struct dart_model_config c;

    (void)state;
#define MUST_FAIL(field, value)                                                                    \
    do {                                                                                           \
        c = w->config;                                                                             \
        c.field = value;                                                                           \
        assert_null(dart_model_create(&c));                                                        \
    } while (0)
    MUST_FAIL(host, NULL);
    MUST_FAIL(mmio_size, 0x2000);
    MUST_FAIL(page_bits, 16);
    MUST_FAIL(va_bits, 48);
    MUST_FAIL(pa_bits, 40);
    MUST_FAIL(streams, 257);
    MUST_FAIL(streams, 0);
    MUST_FAIL(revision, 0x0202); /* its records need a larger window */
    w->config.mmio_size = 0xc000;
    MUST_FAIL(revision, 0x0203);
    w->config.mmio_size = 0x4000;
    MUST_FAIL(tlb_entries, 0);
    MUST_FAIL(walk_entries, 0);
    MUST_FAIL(random_replacement, true); /* needs host->random */
    w->config.kind = DART_MODEL_T8020;
    MUST_FAIL(streams, 17);
    machine_free(w);
    w = machine_make(DART_MODEL_S5L8960X);
    MUST_FAIL(streams, 5);
    MUST_FAIL(page_bits, 14);
    MUST_FAIL(mmio_size, 0x1ffc);
    machine_free(w);
}

/* DART.md 6: a byte of TCR for each stream, commands that want the stream to translate. */
static void test_s5l8960x(void **state)
{
    struct machine *w = machine_make(DART_MODEL_S5L8960X);
    uint64_t leaf;

    (void)state;
    w->m = dart_model_create(&w->config);
    assert_non_null(w->m);
    /* the example of 4 KiB, DART.md 13, on stream 2 */
    put64(w, 0x8700017D0, 0x0000000870002001);
    put64(w, 0x870002508, 0x000FFF08700AB003);
    wr(w, 0x40 + 16 * 2 + 8, 0x80870001);
    expect(w, 2, IOVA, true, 4, REFUSED); /* blocked, and nothing latched */
    assert_int_equal(rd(w, 0x10), 0);
    wr(w, 0x0c, 0x00800000);
    expect(w, 2, IOVA, true, 4, 0x8700AB234);
    expect(w, 1, IOVA, true, 4, REFUSED);
    expect(w, 4, IOVA, true, 4, REFUSED); /* no such stream */
    assert_int_equal(rd(w, 0x10), 0);
    wr(w, 0x0c, 0x00000080); /* written whole: stream 2 has lost its byte */
    expect(w, 2, IOVA, true, 4, REFUSED);
    expect(w, 0, IOVA, true, 4, REFUSED);
    assert_int_equal(rd(w, 0x10), 0x80000001);
    assert_int_equal(rd(w, 0x1c), IOVA);
    assert_true(w->line);
    wr(w, 0x10, rd(w, 0x10));
    assert_false(w->line);

    /* Nothing is forgotten of a stream that does not translate when the command comes, */
    put64(w, 0x870002508, 0);
    wr(w, 0x00, 0x402);
    assert_int_equal(stats(w)->misuse, 1);
    wr(w, 0x0c, 0x00800080);
    expect(w, 2, IOVA, true, 4, 0x8700AB234);
    wr(w, 0x00, 0x102); /* another stream's */
    expect(w, 2, IOVA, true, 4, 0x8700AB234);
    assert_true(dart_model_cached(w->m, 2, IOVA, &leaf) && leaf == 0x000FFF08700AB003);
    assert_false(dart_model_cached(w->m, 2, IOVA + 0x1000, &leaf));
    wr(w, 0x00, 0x400); /* no command */
    assert_int_equal(stats(w)->misuse, 2);
    /* or not any more when it is done. */
    dart_model_set_busy(w->m, 1000, false);
    wr(w, 0x00, 0x402);
    assert_int_equal(rd(w, 0x00), 1u << 3);
    wr(w, 0x0c, 0x00000080);
    w->now += 1000;
    assert_int_equal(rd(w, 0x00), 0);
    wr(w, 0x0c, 0x00800080);
    expect(w, 2, IOVA, true, 4, 0x8700AB234);
    dart_model_set_busy(w->m, 0, false);
    wr(w, 0x00, 0x402);
    assert_false(dart_model_cached(w->m, 2, IOVA, &leaf));
    expect(w, 2, IOVA, true, 4, REFUSED);
    assert_int_equal(rd(w, 0x10), 0x82000004);
    wr(w, 0x1c, 7);
    assert_int_equal(rd(w, 0x1c), IOVA);
    dart_model_power(w->m, false);
    assert_false(dart_model_cached(w->m, 2, IOVA, &leaf));
    dart_model_power(w->m, true);
    assert_int_equal(rd(w, 0x0c) | rd(w, 0x10), 0);
    dart_model_destroy(w->m);

    /* Behind a bus of 30 bits an address has no more. */
    w->config.va_bits = 30;
    w->config.mmio_size = 0x2000;
    w->m = dart_model_create(&w->config);
    assert_non_null(w->m);
    wr(w, 0x0c, 0x80);
    expect(w, 0, 0xbfffe000, false, 4, REFUSED);
    assert_int_equal(rd(w, 0x1c), 0x3fffe000);
    machine_free(w);
}

static struct machine *machine_2_2(void)
{
    struct machine *w = machine_make(DART_MODEL_T8110);

    w->config.revision = 0x0202;
    w->config.mmio_size = 0xc000;
    power_up(w);
    example(w);
    return w;
}

/* Revision 2.2: a record for each stream, DART.md 3 and 5. */
static void test_records(void **state)
{
    struct machine *w = machine_2_2();

    (void)state;
    expect(w, 5, IOVA + 0x4000, true, 4, REFUSED);
    assert_int_equal(error_of(w), 0);
    assert_int_equal(rd(w, 0x4000), 1u << 5);
    assert_int_equal(rd(w, 0x8140), 0x3100); /* PTE, written */
    assert_int_equal(rd(w, 0x8148), IOVA + 0x4000);
    assert_int_equal(rd(w, 0x814c), 0);
    assert_true(w->line);
    expect(w, 5, UINT64_C(0xabc) << 52, false, 4, REFUSED); /* the first stays */
    assert_int_equal(rd(w, 0x8140), 0x3100);
    assert_int_equal(stats(w)->lost, 1);
    set_tcr(w, 7, true);
    expect(w, 7, UINT64_C(0xabc) << 52, false, 4, REFUSED);
    assert_int_equal(rd(w, 0x4000), 1u << 5 | 1u << 7);
    assert_int_equal(rd(w, 0x81c0), 0x0000); /* TTBR, read */
    assert_int_equal(rd(w, 0x81cc), 0xabc00000);
    wr(w, 0x8140, 0); /* read only */
    assert_int_equal(rd(w, 0x8140), 0x3100);
    wr(w, 0x4000, 1u << 5);
    assert_true(w->line);
    wr(w, 0x104, 1u << 31);
    assert_false(w->line);
    wr(w, 0x104, 0);
    assert_true(w->line);
    wr(w, 0x4000, 1u << 7);
    assert_false(w->line);

    leaf(w, leaf_entry(w, PAGE_PA, NO_WRITE, 0, 0xff));
    expect(w, 5, IOVA, true, 4, REFUSED);
    assert_int_equal(rd(w, 0x8140), 0x0101);
    wr(w, 0x4000, 1u << 5);
    expect(w, 5, IOVA, false, 4, REFUSED);
    assert_int_equal(rd(w, 0x8140), 0x0007);
    wr(w, 0x4000, 1u << 5);
    put64(w, L1E_PA, 0);
    flush(w, 5);
    expect(w, 5, IOVA, false, 4, REFUSED);
    assert_int_equal(rd(w, 0x8140), 0x2000);
    wr(w, 0x4000, 1u << 5);

    /* A stream that is not there. */
    expect(w, 200, IOVA, true, 4, REFUSED);
    assert_int_equal(rd(w, 0x4018), 1u << 8);
    assert_int_equal(rd(w, 0xb200), 0x010e);
    wr(w, 0x4018, UINT32_MAX);
    assert_false(w->line);
    expect(w, 256, IOVA, true, 4, REFUSED); /* nor has it a record */
    assert_false(w->line);
    assert_int_equal(stats(w)->misuse, 0);
    machine_free(w);
}

/* DIAG_LOCK.LOCK_ON_ERR: DART.md 3, 5. */
static void test_lock_on_error(void **state)
{
    struct machine *w = machine_2_2();

    (void)state;
    wr(w, 0x210, 2);
    expect(w, 5, IOVA, false, 4, DATA_PA);
    expect(w, 5, IOVA + 0x4000, false, 4, REFUSED);
    expect(w, 5, IOVA, false, 4, REFUSED);
    flush(w, 5);
    wr(w, 0x80, 0x400); /* not yet acknowledged */
    assert_int_equal(stats(w)->misuse, 1);
    expect(w, 5, IOVA, false, 4, REFUSED);
    wr(w, 0x4000, 1u << 5);
    expect(w, 5, IOVA, false, 4, REFUSED);
    wr(w, 0x80, 0x405); /* for stream 0 only */
    assert_int_equal(stats(w)->misuse, 2);
    wr(w, 0x80, 0x400);
    expect(w, 5, IOVA, false, 4, DATA_PA);
    wr(w, 0x210, 0);
    expect(w, 5, IOVA + 0x4000, false, 4, REFUSED);
    expect(w, 5, IOVA, false, 4, DATA_PA);
    machine_free(w);

    /* Revision 1 knows neither. */
    w = machine_make(DART_MODEL_T8110);
    w->config.revision = 0x0100;
    power_up(w);
    example(w);
    wr(w, 0x210, 2);
    expect(w, 5, IOVA + 0x4000, false, 4, REFUSED);
    expect(w, 5, IOVA, false, 4, DATA_PA);
    clear_error(w);
    wr(w, 0x80, 0x400);
    assert_int_equal(stats(w)->misuse, 1);
    machine_free(w);
}

/* Upper IOVA bits are not compared (4), and ERROR_ADDR shows the IOVA as it was given. */
static void test_upper_bits(void **state)
{
    uint64_t high = UINT64_C(0xabc) << 52;

    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        struct machine *w = example_new(kinds[k]);

        expect(w, 5, high + IOVA, false, 4, DATA_PA);
        expect(w, 5, (UINT64_C(1) << w->config.va_bits) + IOVA, false, 4, DATA_PA);
        assert_int_equal(stats(w)->hits, 1);
        expect(w, 5, high + IOVA + 0x4000, false, 4, REFUSED);
        assert_int_equal(error_addr(w), high + IOVA + 0x4000);
        machine_free(w);
    }
}

static void test_error_record(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        struct machine *w = example_new(kinds[k]);
        uint32_t first = is_t8110(w) ? 0x90500008 : 0x85000004;

        set_tcr(w, 7, true);
        expect(w, 5, IOVA + 0x4000, true, 4, REFUSED);
        assert_int_equal(w->edges, 1);
        expect(w, 7, IOVA, false, 4, REFUSED);
        assert_int_equal(stats(w)->lost, 1);
        assert_int_equal(stats(w)->faults, 2);
        assert_int_equal(error_of(w), is_t8110(w) ? first | 1u << 19 : first);
        assert_int_equal(error_addr(w), IOVA + 0x4000);
        assert_int_equal(w->edges, 1);
        if (is_t8110(w)) {
            assert_int_equal(rd(w, 0x1c0), 1u << 7);
            wr(w, 0x100, 0x80000004);
            assert_int_equal(error_of(w) >> 31, 0);
            assert_true(w->line); /* the stream bitmap is still set (5) */
            wr(w, 0x1c0, 1u << 7);
            assert_false(w->line);
            wr(w, 0x104, UINT32_MAX);
            expect(w, 7, IOVA, false, 4, REFUSED);
            assert_int_equal(error_of(w), 0x80700001);
            assert_false(w->line);
            wr(w, 0x104, 1);
            assert_false(w->line);
            wr(w, 0x104, 2);
            assert_true(w->line);
        }
        clear_error(w);
        assert_false(w->line);
        expect(w, 7, IOVA, false, 4, REFUSED);
        assert_int_equal(error_of(w), is_t8110(w) ? 0x80700001 : 0x87000001);
        assert_true(w->line);
        if (!is_t8110(w)) { /* TCR bit 0 suppresses it (2) */
            clear_error(w);
            wr(w, tcr_off(w, 7), 0x81);
            expect(w, 7, IOVA, false, 4, REFUSED);
            assert_int_equal(error_of(w) >> 31, 0);
        }
        machine_free(w);
    }
}

static void test_access(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        struct machine *w = example_new(kinds[k]);
        uint8_t out[0x9000], in[0x9000];
        uint64_t done;

        for (size_t i = 0; i < sizeof(out); i++)
            out[i] = (uint8_t)(i * 7 + i / 256);
        /* three pages in a row in IOVA, apart in PA; the third is read-only */
        put64(w, L2E_PA + 8, leaf_entry(w, PAGE_PA + 0x20000, 0, 0, 0xfff));
        put64(w, L2E_PA + 16, leaf_entry(w, PAGE_PA + 0x40000, NO_WRITE, 0, 0xfff));
        flush(w, 5);
        assert_int_equal(dart_model_access(w->m, 5, 0x9F4A3fff, out, 0x4002, true, true, &done),
                         MODEL_FAULT);
        assert_int_equal(done, 0x4001);
        assert_int_equal(error_addr(w), 0x9F4A8000);
        assert_int_equal(*byte_at(w, PAGE_PA + 0x3fff), out[0]);
        assert_int_equal(*byte_at(w, PAGE_PA + 0x23fff), out[0x4000]);
        assert_int_equal(*byte_at(w, PAGE_PA + 0x40000), 0);
        *byte_at(w, PAGE_PA + 0x40000) = out[0x4001];
        assert_int_equal(dart_model_access(w->m, 5, 0x9F4A3fff, in, 0x4002, false, false, &done),
                         MODEL_OK);
        assert_int_equal(done, 0x4002);
        assert_memory_equal(in, out, 0x4002);
        assert_int_equal(dart_model_access(w->m, 5, 0x9F4A3fff, in, 0, false, false, &done),
                         MODEL_OK);
        assert_int_equal(done, 0);

        /* a piece that reaches out of the window moves nothing at all */
        leaf(w, leaf_entry(w, PAGE_PA, 0, 0x40, 0x47f));
        *byte_at(w, PAGE_PA + 0x11ff) = 0x77;
        assert_int_equal(dart_model_access(w->m, 5, 0x9F4A11ff, out, 2, true, true, &done),
                         MODEL_FAULT);
        assert_int_equal(done, 0);
        assert_int_equal(*byte_at(w, PAGE_PA + 0x11ff), 0x77);

        w->hole = PAGE_PA + 0x20000;
        assert_int_equal(
            dart_model_access(w->m, 5, IOVA - 0x1234 + 0x1100, in, 0x100, false, true, NULL),
            MODEL_OK);
        assert_int_equal(dart_model_access(w->m, 5, 0x9F4A4000, in, 1, false, true, &done),
                         MODEL_BUS_ERROR);
        assert_int_equal(stats(w)->bus_errors, 1);
        assert_int_equal(stats(w)->misuse, 0);
        machine_free(w);
    }
}

/*
 * Random maps, unmaps and accesses against a flat list of pages, everything invalidated as it must
 * be, with prefetches: the model must agree byte for byte. Tables that go are poisoned.
 */
#define PAGES 64u

struct page {
    uint64_t iova, pa;
    unsigned flags; /* NO_READ, NO_WRITE */
    uint64_t start, end;
    bool mapped;
};

struct random_tables {
    unsigned levels;
    uint64_t root, next;
    uint64_t span; /* IOVA bits */
};

static uint64_t read_entry(struct machine *w, uint64_t pa)
{
    uint64_t v = 0;

    assert_true(table_read64(w, pa, &v));
    return v;
}

/* Where the leaf of `iova` lies; makes tables on the way. */
static uint64_t leaf_slot(struct machine *w, struct random_tables *t, uint64_t iova)
{
    unsigned bits = w->config.page_bits - 3;
    uint64_t table = t->root;

    for (unsigned level = t->levels - 1; level; level--) {
        uint64_t slot = table + (iova >> (w->config.page_bits + level * bits)) % (1u << bits) * 8;
        uint64_t entry = read_entry(w, slot);

        if (!entry) {
            t->next += 0x4000;
            for (uint64_t i = 0; i < 0x4000; i += FRAME)
                (void)byte_at(w, t->next + i);
            entry = table_entry(w, t->next);
            put64(w, slot, entry);
        }
        table = w->config.kind <= DART_MODEL_T8103_USB4 ? entry - 1 : (entry - 1) * 16;
    }
    return table + (iova >> w->config.page_bits) % (1u << bits) * 8;
}

static uint64_t pick(struct machine *w, uint64_t n)
{
    return chance_below(&w->rng, n);
}

static void random_run(enum dart_model_kind kind, unsigned page_bits, unsigned levels,
                       uint64_t seed)
{
    struct machine *w = machine_make(kind);
    struct random_tables t = {.levels = levels, .root = 0x880000000, .next = 0x880000000};
    struct page pages[PAGES] = {{0}};
    uint64_t size = UINT64_C(1) << page_bits, unit = size / 4096;
    unsigned granted = 0;

    w->rng = seed;
    w->host.random = random32;
    w->config.page_bits = page_bits;
    w->config.va_bits = levels == 3 ? 42 : 36;
    w->config.keep_all = pick(w, 2);
    w->config.random_replacement = pick(w, 2);
    w->config.tlb_entries = 1 + (unsigned)pick(w, 64);
    w->config.walk_entries = 1 + (unsigned)pick(w, 8);
    power_up(w);
    t.span = page_bits + levels * (page_bits - 3);
    if (t.span > w->config.va_bits)
        t.span = w->config.va_bits;
    for (uint64_t i = 0; i < 0x4000; i += FRAME)
        (void)byte_at(w, t.root + i);
    set_ttbr(w, 1, 0, t.root);
    set_tcr(w, 1, true);
    if (levels == 3)
        wr(w, 0x1004, 9);
    flush(w, 1);
    /* pages in few clusters, so that tables are shared and neighbours exist */
    for (unsigned i = 0; i < PAGES; i++)
        pages[i].iova =
            (i % 8 ? pages[i - 1].iova + size : pick(w, UINT64_C(1) << t.span) & ~(size * 8 - 1));

    for (unsigned step = 0; step < 4000; step++) {
        struct page *p = &pages[pick(w, PAGES)];

        if (pick(w, 8) == 0) {
            uint64_t at;

            /* the clusters are random: two may be the same pages */
            for (unsigned i = 0; i < PAGES; i++)
                if (&pages[i] != p && pages[i].iova == p->iova)
                    p = &pages[i];
            at = leaf_slot(w, &t, p->iova);
            p->mapped = !p->mapped;
            p->pa = 0x800000000 + pick(w, 1u << 15) * 0x4000;
            p->flags = (unsigned)pick(w, 3);
            p->start = pick(w, 2) ? 0 : pick(w, 4096);
            p->end = pick(w, 2) ? 0xfff : pick(w, 4096);
            put64(w, at, p->mapped ? leaf_entry(w, p->pa, p->flags, p->start, p->end) : 0);
            flush(w, 1);
        } else {
            uint64_t at = pick(w, size), got = REFUSED;
            uint64_t len = 1 + pick(w, size - at < 16 ? size - at : 16);
            bool write = pick(w, 2);
            bool allowed = false;

            for (unsigned i = 0; i < PAGES; i++)
                if (pages[i].iova == p->iova && pages[i].mapped)
                    p = &pages[i];
            allowed = p->mapped && !(p->flags & (write ? NO_WRITE : NO_READ));
            for (uint64_t b = at; b < at + len; b++)
                allowed = allowed && b / unit >= p->start && b / unit <= p->end;
            assert_int_equal(
                dart_model_translate(w->m, 1, p->iova + at + (pick(w, 4) << 60), write, len, &got),
                allowed ? MODEL_OK : MODEL_FAULT);
            assert_int_equal(got, allowed ? p->pa + at : REFUSED);
            granted += allowed;
        }
    }
    assert_true(granted > 100);
    assert_true(stats(w)->prefetches > 50);
    /* A TLB of one entry hits where two accesses to one page follow each other. */
    assert_true(stats(w)->hits > 10 * (w->config.tlb_entries < 10 ? w->config.tlb_entries : 10));
    assert_int_equal(stats(w)->bad_fetches, 0);
    assert_int_equal(stats(w)->misuse, 0);
    machine_free(w);
}

static void test_random(void **state)
{
    const uint64_t seed = chance_seed_or("model_dart", 1);

    (void)state;
    for (unsigned run = 0; run < 4; run++) {
        const uint64_t s = seed + run;

        for (size_t k = 0; k < KINDS; k++) {
            random_run(kinds[k], 14, 2, s);
            random_run(kinds[k], 12, 2, s);
        }
        random_run(DART_MODEL_T8110, 14, 3, s);
        random_run(DART_MODEL_T8110, 12, 3, s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worked_example), cmocka_unit_test(test_worked_registers),
        cmocka_unit_test(test_range_flush),    cmocka_unit_test(test_four_levels),
        cmocka_unit_test(test_4k_example),     cmocka_unit_test(test_ttbr_select),
        cmocka_unit_test(test_fault_codes),    cmocka_unit_test(test_pa_width),
        cmocka_unit_test(test_subpage_edges),  cmocka_unit_test(test_stale),
        cmocka_unit_test(test_reuse),          cmocka_unit_test(test_explicit_prefetch),
        cmocka_unit_test(test_capacity),       cmocka_unit_test(test_busy),
        cmocka_unit_test(test_wrong_commands), cmocka_unit_test(test_blocked_and_bypass),
        cmocka_unit_test(test_remap),          cmocka_unit_test(test_many_streams),
        cmocka_unit_test(test_lock),           cmocka_unit_test(test_registers),
        cmocka_unit_test(test_bad_configs),    cmocka_unit_test(test_s5l8960x),
        cmocka_unit_test(test_records),        cmocka_unit_test(test_lock_on_error),
        cmocka_unit_test(test_upper_bits),     cmocka_unit_test(test_error_record),
        cmocka_unit_test(test_access),         cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
