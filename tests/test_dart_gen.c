/* SPDX-License-Identifier: MIT */
/*
 * What the generations of DARTs have of their own: USB4's 64 streams, ranges and records of t8110
 * revision 2.2, locks, s5l8960x. What they share is in test_dart.c and test_dart_fault.c.
 */
#include "dart_tools.h"

#include <granule/err.h>

#define T8110 (&kinds[2])
#define USB4 (&kinds[3])
#define S5L8960X (&kinds[4])
#define NONE GR_FAULT_LEVEL_UNKNOWN

static const struct gr_pt one_root = {.root_pa = 0x8a0b0c000, .granule_lg2 = 14, .roots_lg2 = 0};
static const struct gr_pt four_roots = {.root_pa = 0x86ffff000, .granule_lg2 = 12, .roots_lg2 = 2};

static int attach(struct probe *p, uint32_t sid, const struct gr_pt *pt, struct gr_binding *b)
{
    return p->dart.inst.ops->attach(&p->dart.inst, sid, pt, b);
}

static int block(struct probe *p, uint32_t sid, struct gr_binding *b)
{
    return p->dart.inst.ops->block(&p->dart.inst, sid, b);
}

static int invalidate(struct probe *p, struct gr_binding *b, uint64_t first, uint64_t last,
                      bool tables)
{
    return p->dart.inst.ops->invalidate(&p->dart.inst, b, first, last, tables);
}

static bool wrote(const struct probe *p, uint32_t offset)
{
    for (size_t i = 0; i < p->written; i++) {
        if (p->writes[i].offset == offset)
            return true;
    }
    return false;
}

/* ---- faults ---- */

struct list {
    struct gr_fault fault[GR_CFG_FAULT_RING];
    unsigned count;
};

static bool list_fault(void *cookie, const struct gr_fault *fault)
{
    struct list *const l = cookie;

    l->fault[l->count++] = *fault;
    return true;
}

/* Interrupt and dispatch. */
static struct list take(struct probe *p)
{
    struct list l = {.count = 0};
    unsigned told;

    assert_true(gr_dart_isr(&p->dart));
    gr_instance_set_fault_handler(&p->dart.inst, list_fault, &l);
    told = gr_fault_dispatch(&p->dart.inst);
    assert_int_equal(told, l.count);
    return l;
}

/* ---- t8103-usb4: DART.md 1, 2 ---- */

static void usb4_values(void **state)
{
    struct probe *const p = probe_new(USB4, 64);
    struct gr_binding b = {.inst = &p->dart.inst, .streams = 1};

    (void)state;
    probe_start(p, 0);
    assert_int_equal(p->dart.inst.streams, 64);
    assert_false(p->dart.inst.bypass);
    assert_int_equal(attach(p, 42, &one_root, &b), 0);
    ASSERT_WRITES(p, {0x1a8, 0}, {0x6a0, 0x808a0b0c}, {0x6a4, 0}, {0x6a8, 0}, {0x6ac, 0}, {0x34, 0},
                  {0x38, 1u << 10}, {0x20, 0x00100000}, {0x1a8, 0x80});
    assert_true(b.hw[0] == UINT64_C(1) << 42);
    assert_int_equal(attach(p, 5, &one_root, &b), 0);
    ASSERT_WRITES(p, {0x114, 0}, {0x450, 0x808a0b0c}, {0x454, 0}, {0x458, 0}, {0x45c, 0},
                  {0x34, 0x20}, {0x38, 0}, {0x20, 0x00100000}, {0x114, 0x80});
    /* Both words in one command. */
    assert_int_equal(invalidate(p, &b, 0, UINT64_MAX, true), 0);
    ASSERT_WRITES(p, {0x34, 0x20}, {0x38, 1u << 10}, {0x20, 0x00100000});
    assert_int_equal(block(p, 42, &b), 0);
    assert_int_equal(block(p, 5, &b), 0);
    probe_free(p, true);
}

/* Streams from 32 on have no ENABLE bit that is known: TCR blocks them, counted or not. */
static void usb4_reset(void **state)
{
    for (unsigned streams = 8; streams <= 64; streams *= 2) {
        struct probe *const p = probe_new(USB4, streams);
        struct gr_dart_config config = probe_config(p);

        config.streams = (uint16_t)streams;
        for (uint32_t sid = 0; sid < 64; sid++)
            p->regs[(0x100 + 4 * sid) / 4] = 0x80;
        assert_int_equal(gr_dart_init(&p->dart, &config), 0);
        assert_int_equal(p->regs[0xfc / 4], streams < 32 ? (1u << streams) - 1 : UINT32_MAX);
        for (uint32_t sid = 0; sid < 64; sid++)
            assert_int_equal(p->regs[(0x100 + 4 * sid) / 4], 0);
        assert_int_equal(p->regs[0x34 / 4], UINT32_MAX);
        assert_int_equal(p->regs[0x38 / 4], UINT32_MAX);
        probe_free(p, true);
    }
    (void)state;
}

/* ERROR has four bits for a stream. */
static void usb4_fault_streams(void **state)
{
    static const struct {
        uint32_t open[3]; /* 0: none */
        uint32_t field, stream;
        bool shared;
    } v[] = {
        {{0}, 5, 5, false}, /* nobody: as it says */
        {{5}, 5, 5, false},       {{21}, 5, 21, false},      {{53}, 5, 53, false},
        {{21, 53}, 5, 21, true},  {{5, 21, 53}, 5, 5, true}, {{6, 22, 54}, 5, 5, false},
        {{63, 5}, 15, 63, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        struct probe *const p = probe_new(USB4, 64);
        struct gr_binding b = {.inst = &p->dart.inst};
        struct list l;

        probe_start(p, 0);
        for (unsigned k = 0; k < 3 && v[i].open[k]; k++)
            assert_int_equal(attach(p, v[i].open[k], &one_root, &b), 0);
        p->regs[0x40 / 4] = 1u << 31 | v[i].field << 24 | 1u << 2;
        l = take(p);
        assert_int_equal(l.count, 1);
        assert_int_equal(l.fault[0].stream, v[i].stream);
        assert_int_equal(l.fault[0].stream_shared, v[i].shared);
        probe_free(p, true);
    }
}

/* ---- t8110 revision 2.2: DART.md 3, at its end ---- */

static struct probe *new_2_2(unsigned streams, unsigned va_bits)
{
    struct probe *const p = probe_new(T8110, streams);

    p->regs[2] = 42u << 24 | va_bits << 16 | 0x0202;
    return p;
}

static void range_values(void **state)
{
    struct probe *const p = new_2_2(16, 42);
    struct gr_binding b = {.inst = &p->dart.inst};
    const uint64_t g = 0x4000;

    (void)state;
    probe_start(p, 0);
    assert_int_equal(attach(p, 5, &one_root, &b), 0);
    ASSERT_WRITES(p, {0x1014, 0}, {0x1414, 0x008a0b0d}, {0x80, 0x8105}, {0x1014, 1});
    /* DART.md 13. */
    assert_int_equal(invalidate(p, &b, 0x9f4a1234, 0x9f4a1234 + 0x7fff, true), 0);
    ASSERT_WRITES(p, {0x98, 0x0009f4a0}, {0xa0, 0x0009f4a8}, {0x80, 0xe105});
    /* Leaves alone: what lies above them may stay. */
    assert_int_equal(invalidate(p, &b, 0x9f4a0000, 0x9f4a3fff, false), 0);
    ASSERT_WRITES(p, {0x98, 0x0009f4a0}, {0xa0, 0x0009f4a0}, {0x80, 0xc105});
    /* A second stream has the same range. */
    assert_int_equal(attach(p, 7, &one_root, &b), 0);
    p->written = 0;
    assert_int_equal(invalidate(p, &b, 0, g - 1, false), 0);
    ASSERT_WRITES(p, {0x98, 0}, {0xa0, 0}, {0x80, 0xc105}, {0x80, 0xc107});
    assert_int_equal(block(p, 7, &b), 0);
    p->written = 0;
    /* Up to the limit, and one more: then all of the stream. */
    assert_int_equal(invalidate(p, &b, g, GR_CFG_DART_RANGE * g + g - 1, false), 0);
    ASSERT_WRITES(p, {0x98, 1 << 2}, {0xa0, GR_CFG_DART_RANGE << 2}, {0x80, 0xc105});
    assert_int_equal(invalidate(p, &b, g, GR_CFG_DART_RANGE * g + g, false), 0);
    ASSERT_WRITES(p, {0x80, 0x8105});
    assert_int_equal(invalidate(p, &b, 0, UINT64_MAX, true), 0);
    ASSERT_WRITES(p, {0x80, 0x8105});
    /* The last granule that is translated; bits above are not compared. */
    assert_int_equal(invalidate(p, &b, 0xffffffffffffc000, UINT64_MAX, false), 0);
    ASSERT_WRITES(p, {0x98, 0x3ffffffc}, {0xa0, 0x3ffffffc}, {0x80, 0xc105});
    probe_free(p, true);
}

/* More granules than the registers can name, and revisions that have no ranges. */
static void no_range(void **state)
{
    struct probe *p = new_2_2(16, 47);
    struct gr_binding b = {.inst = &p->dart.inst};
    const uint64_t named = UINT64_C(1) << 44; /* 2^30 granules */

    (void)state;
    probe_start(p, 0);
    assert_int_equal(attach(p, 5, &one_root, &b), 0);
    p->written = 0;
    assert_int_equal(invalidate(p, &b, named - 0x4000, named - 1, false), 0);
    ASSERT_WRITES(p, {0x98, 0xfffffffc}, {0xa0, 0xfffffffc}, {0x80, 0xc105});
    assert_int_equal(invalidate(p, &b, named, named + 0x3fff, false), 0);
    ASSERT_WRITES(p, {0x80, 0x8105});
    assert_int_equal(invalidate(p, &b, named - 0x4000, named + 0x3fff, false), 0);
    ASSERT_WRITES(p, {0x80, 0x8105});
    probe_free(p, true);
    for (uint32_t revision = 0x0100; revision <= 0x0201; revision += 0x0101) {
        p = new_2_2(16, 36);
        b = (struct gr_binding){.inst = &p->dart.inst};
        p->regs[2] = 42u << 24 | 36u << 16 | revision;
        probe_start(p, 0);
        assert_int_equal(attach(p, 5, &one_root, &b), 0);
        p->written = 0;
        assert_int_equal(invalidate(p, &b, 0, 0x3fff, true), 0);
        ASSERT_WRITES(p, {0x80, 0x105});
        probe_free(p, true);
    }
}

/* On the model: what was unmapped is gone, its neighbours are still cached, tables go if asked. */
static void range_on_model(void **state)
{
    struct dart_model_config config = dart_model_defaults(DART_MODEL_T8110);
    struct gr_binding b = {0};
    struct gr_pt pt;
    struct probe *p;
    uint64_t done, pa, leaf;

    (void)state;
    config.revision = 0x0202;
    config.mmio_size = 0xc000;
    config.keep_all = true;
    p = probe_new_model(T8110, &config, 1);
    b.inst = &p->dart.inst;
    probe_start(p, 0);
    assert_int_equal(gr_pt_init(&pt, p->h, &p->dart.inst.table), 0);
    assert_int_equal(gr_pt_map(&pt, 0, 0x900000000, 0x10000, RW, &done), 0);
    assert_int_equal(attach(p, 5, &pt, &b), 0);
    for (uint64_t at = 0; at < 0x10000; at += 0x4000)
        assert_int_equal(dart_model_translate(p->model.model, 5, at, false, 4, &pa), MODEL_OK);
    assert_int_equal(gr_pt_unmap(&pt, 0x4000, 0x8000, NULL, NULL), 0);
    gr_port_wmb();
    assert_int_equal(invalidate(p, &b, 0x4000, 0xbfff, false), 0);
    for (uint64_t at = 0; at < 0x10000; at += 0x4000) {
        const bool kept = at == 0 || at == 0xc000;

        assert_int_equal(dart_model_cached(p->model.model, 5, at, &leaf), kept);
        assert_int_equal(dart_model_translate(p->model.model, 5, at, false, 4, &pa),
                         kept ? MODEL_OK : MODEL_FAULT);
    }
    while (gr_dart_isr(&p->dart))
        ;
    assert_int_equal(gr_pt_map(&pt, 0x2000000, 0x900000000, 0x4000, RW, &done), 0);
    assert_int_equal(invalidate(p, &b, 0x2000000, 0x2003fff, true), 0);
    assert_int_equal(dart_model_translate(p->model.model, 5, 0x2000000, false, 4, &pa), MODEL_OK);
    assert_int_equal(block(p, 5, &b), 0);
    gr_pt_fini(&pt);
    probe_free(p, true);
}

/* DART.md 5: numbers instead of bits. */
static void record_codes(void **state)
{
    static const struct {
        uint32_t status, reasons;
        uint8_t level;
    } v[] = {
        {0x0000, GR_FAULT_NO_ROOT, NONE},   {0x1000, GR_FAULT_NO_TABLE, 2},
        {0x2000, GR_FAULT_NO_TABLE, 1},     {0x3000, GR_FAULT_NO_LEAF, 0},
        {0x3001, GR_FAULT_WRITE_PROT, 0},   {0x3002, GR_FAULT_READ_PROT, 0},
        {0x0003, GR_FAULT_PROTECTED, NONE}, {0x2004, GR_FAULT_EXTERNAL, NONE},
        {0x0005, GR_FAULT_EXTERNAL, NONE},  {0x0006, GR_FAULT_UNKNOWN, NONE},
        {0x3007, GR_FAULT_WINDOW, 0},       {0x0008, GR_FAULT_PROTECTED, NONE},
        {0x0009, GR_FAULT_FILTER, NONE},    {0x000a, GR_FAULT_FILTER, NONE},
        {0x000b, GR_FAULT_CACHE, NONE},     {0x000c, GR_FAULT_CACHE, NONE},
        {0x000d, GR_FAULT_EXTERNAL, NONE},  {0x000e, GR_FAULT_STREAM, NONE},
        {0x000f, GR_FAULT_UNKNOWN, NONE},
    };
    static const uint32_t sids[] = {0, 31, 32, 255};
    struct probe *const p = new_2_2(256, 42);

    (void)state;
    probe_start(p, 0);
    for (unsigned i = 0; i < 2 * sizeof(v) / sizeof(v[0]); i++) {
        const uint32_t sid = sids[i % 4];
        const uint32_t status = v[i / 2].status | (i % 2 ? 1u << 8 : 0);
        struct list l;

        p->regs[(0x4000 + sid / 32 * 4) / 4] = 1u << sid % 32;
        p->regs[(0x8000 + 0x40 * sid) / 4] = status;
        p->regs[(0x8008 + 0x40 * sid) / 4] = 0x9f4a1234;
        p->regs[(0x800c + 0x40 * sid) / 4] = 0x10a;
        l = take(p);
        assert_int_equal(l.count, 1);
        assert_int_equal(l.fault[0].stream, sid);
        assert_int_equal(l.fault[0].reasons, v[i / 2].reasons);
        assert_int_equal(l.fault[0].level, v[i / 2].level);
        assert_true(l.fault[0].access_known);
        assert_int_equal(l.fault[0].write, i % 2);
        assert_true(l.fault[0].iova == 0x10a9f4a1234);
        assert_true(l.fault[0].raw == status);
        assert_int_equal(p->regs[(0x4000 + sid / 32 * 4) / 4], 0); /* acknowledged */
        assert_false(gr_dart_isr(&p->dart));
    }
    probe_free(p, true);
}

/* Several at once, in the order of streams; the acknowledgement says which were seen. */
static void many_records(void **state)
{
    struct probe *const p = new_2_2(256, 42);
    struct list l;

    (void)state;
    probe_start(p, 0);
    for (uint32_t sid = 0; sid < 256; sid++)
        p->regs[(0x8000 + 0x40 * sid) / 4] = 0x3000;
    p->regs[0x4000 / 4] = 0x80000001;
    p->regs[0x401c / 4] = 0x00000100;
    l = take(p);
    assert_int_equal(l.count, 3);
    assert_int_equal(l.fault[0].stream, 0);
    assert_int_equal(l.fault[1].stream, 31);
    assert_int_equal(l.fault[2].stream, 232);
    ASSERT_WRITES(p, {0x4000, 0x80000001}, {0x401c, 0x00000100});
    probe_free(p, true);
}

/* ERROR is not used, and what was pending before the start is not told. */
static void records_replace_error(void **state)
{
    struct probe *const p = new_2_2(16, 42);

    (void)state;
    p->regs[0x4000 / 4] = 0x20;
    probe_start(p, 0);
    assert_int_equal(p->regs[0x4000 / 4], 0);
    p->regs[0x100 / 4] = 0x80500008;
    assert_false(gr_dart_isr(&p->dart));
    assert_int_equal(p->written, 0);
    probe_free(p, true);
}

static void records_need_a_window(void **state)
{
    struct probe *p = new_2_2(16, 42);
    struct gr_dart_config config = probe_config(p);
    struct list l;

    (void)state;
    config.mmio_size = 0x8000 + 0x40 * 16 - 1;
    assert_int_equal(gr_dart_init(&p->dart, &config), GR_EINVAL);
    assert_int_equal(p->written, 0);
    assert_non_null(strstr(host_last_log(p->h), "window"));

    /* A stream that is not there, and whose record is not either. */
    config.mmio_size++;
    assert_int_equal(gr_dart_init(&p->dart, &config), 0);
    p->regs[0x4000 / 4] = 0x18000;
    p->regs[(0x8000 + 0x40 * 15) / 4] = 0x3000;
    p->regs[(0x8000 + 0x40 * 16) / 4] = 0x3000;
    l = take(p);
    assert_int_equal(l.count, 2);
    assert_int_equal(l.fault[0].reasons, GR_FAULT_NO_LEAF);
    assert_int_equal(l.fault[1].stream, 16);
    assert_int_equal(l.fault[1].reasons, GR_FAULT_STREAM);
    assert_false(l.fault[1].access_known);
    assert_int_equal(p->regs[0x4000 / 4], 0);
    probe_free(p, true);
}

static struct probe *model_2_2(unsigned streams)
{
    struct dart_model_config config = dart_model_defaults(DART_MODEL_T8110);

    config.revision = 0x0202;
    config.mmio_size = 0xc000;
    config.streams = streams;
    return probe_new_model(T8110, &config, 1);
}

static void illegal_stream(void **state)
{
    struct probe *const p = model_2_2(16);
    struct list l;
    uint64_t pa;

    (void)state;
    probe_start(p, 0);
    assert_int_equal(dart_model_translate(p->model.model, 77, 0x1234, true, 4, &pa), MODEL_FAULT);
    assert_true(p->model.irq);
    l = take(p);
    assert_false(p->model.irq);
    assert_int_equal(l.count, 1);
    assert_int_equal(l.fault[0].stream, 77);
    assert_int_equal(l.fault[0].reasons, GR_FAULT_STREAM);
    assert_true(l.fault[0].iova == 0x1234 && l.fault[0].write);
    probe_free(p, true);
}

/* DIAG_LOCK.LOCK_ON_ERR: acknowledge, then operation 4; before that nothing passes. */
static void lock_on_error(void **state)
{
    for (uint32_t revision = 0x0200; revision <= 0x0202; revision++) {
        struct dart_model_config config = dart_model_defaults(DART_MODEL_T8110);
        struct gr_binding b = {0};
        struct gr_pt pt;
        struct probe *p;
        uint64_t done, pa;

        config.revision = (uint16_t)revision;
        config.mmio_size = 0xc000;
        p = probe_new_model(T8110, &config, 1);
        dart_model_poke32(p->model.model, 0x210, 0x2);
        b.inst = &p->dart.inst;
        probe_start(p, 0);
        assert_int_equal(gr_pt_init(&pt, p->h, &p->dart.inst.table), 0);
        assert_int_equal(gr_pt_map(&pt, 0, 0x900000000, 0x4000, RW, &done), 0);
        assert_int_equal(attach(p, 5, &pt, &b), 0);
        assert_int_equal(dart_model_translate(p->model.model, 5, 0, false, 4, &pa), MODEL_OK);
        assert_int_equal(dart_model_translate(p->model.model, 5, 0x4000, false, 4, &pa),
                         MODEL_FAULT);
        assert_int_equal(dart_model_translate(p->model.model, 5, 0, false, 4, &pa), MODEL_FAULT);
        dart_model_set_busy(p->model.model, 1000, false);
        p->written = 0;
        assert_int_equal(take(p).count, 1);
        assert_int_equal(p->writes[p->written - 1].offset, 0x80);
        assert_int_equal(p->writes[p->written - 1].value, 0x400);
        assert_false(p->commanded); /* seen to be done */
        assert_int_equal(dart_model_translate(p->model.model, 5, 0, false, 4, &pa), MODEL_OK);
        dart_model_set_busy(p->model.model, 0, false);
        assert_int_equal(block(p, 5, &b), 0);
        gr_pt_fini(&pt);
        probe_free(p, true);
    }
    (void)state;
}

/* A fault that was pending before the start, or over a suspend whose power stayed. */
static void lock_before_start(void **state)
{
    struct probe *const p = model_2_2(16);
    struct gr_binding b = {.inst = &p->dart.inst};
    struct gr_dart_config config = probe_config(p);
    struct gr_pt pt;
    uint64_t done, pa;

    (void)state;
    dart_model_poke32(p->model.model, 0x210, 0x2);
    assert_int_equal(dart_model_translate(p->model.model, 99, 0, false, 4, &pa), MODEL_FAULT);
    probe_start(p, 0);
    assert_false(gr_dart_isr(&p->dart));
    assert_int_equal(gr_pt_init(&pt, p->h, &p->dart.inst.table), 0);
    assert_int_equal(gr_pt_map(&pt, 0, 0x900000000, 0x4000, RW, &done), 0);
    assert_int_equal(attach(p, 5, &pt, &b), 0);
    assert_int_equal(dart_model_translate(p->model.model, 5, 0, false, 4, &pa), MODEL_OK);
    assert_int_equal(dart_model_translate(p->model.model, 5, 0x4000, false, 4, &pa), MODEL_FAULT);
    assert_int_equal(gr_dart_suspend(&p->dart), 0);
    assert_int_equal(gr_dart_resume(&p->dart), 0);
    assert_int_equal(attach(p, 5, &pt, &b), 0);
    assert_int_equal(dart_model_translate(p->model.model, 5, 0, false, 4, &pa), MODEL_OK);
    assert_int_equal(block(p, 5, &b), 0);

    /* It does not answer. */
    dart_model_set_busy(p->model.model, 0, true);
    dart_model_write32(p->model.model, 0x80, 0x100);
    assert_int_equal(gr_dart_resume(&p->dart), GR_ETIMEDOUT);
    assert_int_equal(gr_dart_fini(&p->dart), 0);
    assert_int_equal(gr_dart_init(&p->dart, &config), GR_ETIMEDOUT);
    dart_model_set_busy(p->model.model, 0, false);
    gr_pt_fini(&pt);
    probe_free(p, false);
}

/* Nobody asked for it: no command. Nor when the TLB does not answer, for ever. */
static void no_unlock(void **state)
{
    struct probe *p = probe_new(T8110, 16);

    (void)state;
    p->regs[0x210 / 4] = 0x2; /* revision 1 has no operation 4 */
    probe_start(p, 0);
    p->regs[0x100 / 4] = 0x80500008;
    assert_int_equal(take(p).count, 1);
    assert_false(wrote(p, 0x80));
    probe_free(p, true);

    p = new_2_2(16, 42);
    p->regs[0x210 / 4] = 0x1;
    probe_start(p, 0);
    p->regs[0x4000 / 4] = 0x20;
    assert_int_equal(take(p).count, 1);
    assert_false(wrote(p, 0x80));
    probe_free(p, true);

    p = model_2_2(16);
    dart_model_poke32(p->model.model, 0x210, 0x2);
    probe_start(p, 0);
    dart_model_set_busy(p->model.model, 0, true);
    p->written = 0;
    dart_model_write32(p->model.model, 0x80, 0x100); /* stuck from here on */
    dart_model_poke32(p->model.model, 0x4000, 0x20);
    assert_true(gr_dart_isr(&p->dart));
    assert_false(wrote(p, 0x80)); /* it would be ignored */
    assert_true(p->dart.timeouts == 1);
    dart_model_set_busy(p->model.model, 0, false);
    probe_free(p, true);
}

/* PROTECT_LOCK: DART.md 3, 9.1. The driver does not undo a lock, and knows what could be. */
static void protect_lock(void **state)
{
    (void)state;
    for (unsigned final = 0; final < 3; final++) {
        struct probe *const p = probe_new(final == 2 ? &kinds[0] : T8110, 16);
        struct gr_dart_config config = probe_config(p);

        p->regs[0x200 / 4] = 1;
        p->regs[0x208 / 4] = final;
        p->regs[0x60 / 4] = 1u << 15; /* the t8020's */
        assert_int_equal(gr_dart_init(&p->dart, &config), 0);
        assert_true(p->dart.inst.locked);
        assert_int_equal(p->dart.unlockable, final == 0);
        assert_int_equal(gr_dart_suspend(&p->dart), GR_EOPNOTSUPP); /* who would give it back? */
        assert_int_equal(gr_dart_resume(&p->dart), GR_EOPNOTSUPP);
        assert_int_equal(gr_dart_fini(&p->dart), 0);
        for (size_t i = 0; i < p->written; i++) {
            const uint32_t offset = p->writes[i].offset;

            assert_false(offset >= p->k->tcr && offset < p->k->tcr + 64);
            assert_false(offset >= p->k->ttbr && offset < p->k->ttbr + 64 * p->k->ttbrs);
            assert_false(offset >= 0x200 && offset <= 0x208);
        }
        probe_free(p, false);
    }
}

/* ---- s5l8960x: DART.md 6 ---- */

static void s5l8960x_values(void **state)
{
    struct probe *const p = probe_new(S5L8960X, 4);
    struct gr_dart_config config = probe_config(p);
    struct gr_binding b = {.inst = &p->dart.inst, .streams = 1};

    (void)state;
    config.mmio_size = 0x2000;
    for (uint32_t i = 0; i < 16; i++)
        p->regs[0x40 / 4 + i] = 0x80888888;
    p->regs[0xc / 4] = 0x00400040; /* none that translates: those would stay */
    p->regs[0x10 / 4] = 0x81000004;
    assert_int_equal(gr_dart_init(&p->dart, &config), 0);
    /* One stream after another is closed, tables go, and a command finds all of them open. */
    assert_int_equal(p->writes[0].offset, 0xc);
    assert_int_equal(p->writes[0].value, 0x00400000);
    assert_int_equal(p->writes[3].value, 0);
    for (uint32_t i = 0; i < 16; i++) {
        assert_int_equal(p->writes[4 + i].offset, 0x40 + 4 * i);
        assert_int_equal(p->writes[4 + i].value, 0);
    }
    assert_int_equal(p->writes[20].offset, 0x10);
    assert_int_equal(p->writes[21].offset, 0xc);
    assert_int_equal(p->writes[21].value, 0x80808080);
    assert_int_equal(p->writes[22].offset, 0x0);
    assert_int_equal(p->writes[22].value, 0xf02);
    assert_int_equal(p->writes[23].offset, 0xc);
    assert_int_equal(p->writes[23].value, 0);
    assert_int_equal(p->written, 24);
    assert_int_equal(p->dart.inst.streams, 4);
    assert_int_equal(p->dart.inst.table.granule_lg2, 12);
    assert_false(p->dart.inst.bypass || p->dart.inst.locked || p->dart.unlockable);
    p->written = 0;

    assert_int_equal(attach(p, 2, &four_roots, &b), 0);
    ASSERT_WRITES(p, {0xc, 0}, {0x60, 0}, {0x64, 0}, {0x68, 0}, {0x6c, 0}, {0xc, 0x00800000},
                  {0x0, 0x402}, {0xc, 0}, {0x60, 0x8086ffff}, {0x64, 0x80870000},
                  {0x68, 0x80870001}, {0x6c, 0x80870002}, {0xc, 0x00800000});
    /* Of one that translates, no more than the command; the others' bytes are theirs. */
    assert_int_equal(attach(p, 0, &four_roots, &b), 0);
    assert_int_equal(p->regs[0xc / 4], 0x00800080);
    p->written = 0;
    assert_int_equal(invalidate(p, &b, 0, UINT64_MAX, true), 0);
    ASSERT_WRITES(p, {0xc, 0x00800080}, {0x0, 0x502}, {0xc, 0x00800080});
    assert_int_equal(block(p, 2, &b), 0);
    ASSERT_WRITES(p, {0xc, 0x00000080}, {0x60, 0}, {0x64, 0}, {0x68, 0}, {0x6c, 0},
                  {0xc, 0x00800080}, {0x0, 0x402}, {0xc, 0x00000080});
    assert_int_equal(block(p, 0, &b), 0);
    probe_free(p, true);
}

/* Fewer streams than there are: the others are closed as well. */
static void s5l8960x_counts(void **state)
{
    struct probe *const p = probe_new(S5L8960X, 4);

    (void)state;
    p->regs[0xc / 4] = 0x80808080;
    probe_start(p, 1);
    assert_int_equal(p->dart.inst.streams, 1);
    assert_int_equal(p->regs[0xc / 4], 0);
    probe_free(p, true);
}

/*
 * Behind a bus that drops the high bits: dma-range <0x80000000 0x40000000>. A report has a device
 * at 0xbfffe000 fault as 0x3fffe000; the driver tells the device's own address.
 */
static void s5l8960x_offset(void **state)
{
    struct dart_model_config config = dart_model_defaults(DART_MODEL_S5L8960X);
    struct gr_dart_config given;
    struct gr_binding b = {0};
    struct list l;
    struct gr_pt pt;
    struct probe *p;
    uint64_t done, pa = 0;

    (void)state;
    config.va_bits = 30;
    p = probe_new_model(S5L8960X, &config, 1);
    given = probe_config(p);
    given.va_bits = 30;
    given.aperture = (struct gr_range){0x80000000, 0xbfffffff};
    b.inst = &p->dart.inst;
    assert_int_equal(gr_dart_init(&p->dart, &given), 0);
    assert_int_equal(gr_pt_init(&pt, p->h, &p->dart.inst.table), 0);
    assert_int_equal(pt.roots_lg2, 0); /* 30 bits are one TTBR */
    assert_int_equal(gr_pt_map(&pt, 0xbfffe000, 0x900000000, 0x1000, RW, &done), 0);
    assert_int_equal(attach(p, 1, &pt, &b), 0);
    assert_int_equal(dart_model_translate(p->model.model, 1, 0xbfffe010, false, 4, &pa), MODEL_OK);
    assert_true(pa == 0x900000010);
    assert_int_equal(dart_model_translate(p->model.model, 1, 0xbffff020, false, 4, &pa),
                     MODEL_FAULT);
    assert_int_equal(probe_peek(p, 0x1c), 0x3ffff020);
    l = take(p);
    assert_int_equal(l.count, 1);
    assert_true(l.fault[0].iova == 0xbffff020);
    assert_int_equal(l.fault[0].stream, 1);
    assert_int_equal(block(p, 1, &b), 0);
    gr_pt_fini(&pt);
    probe_free(p, true);
}

/* A stream that a time-out left closed and unconfirmed is asked again, and then has forgotten. */
static void s5l8960x_asks_again(void **state)
{
    struct dart_model_config config = dart_model_defaults(DART_MODEL_S5L8960X);
    struct gr_binding b = {0};
    struct gr_pt pt;
    struct probe *p;
    uint64_t done, pa, leaf;

    (void)state;
    config.keep_all = true;
    p = probe_new_model(S5L8960X, &config, 1);
    b.inst = &p->dart.inst;
    probe_start(p, 0);
    assert_int_equal(gr_pt_init(&pt, p->h, &p->dart.inst.table), 0);
    assert_int_equal(gr_pt_map(&pt, 0x1000, 0x900000000, 0x1000, RW, &done), 0);
    assert_int_equal(attach(p, 1, &pt, &b), 0);
    assert_int_equal(dart_model_translate(p->model.model, 1, 0x1000, false, 4, &pa), MODEL_OK);
    dart_model_set_busy(p->model.model, 0, true);
    assert_int_equal(block(p, 1, &b), GR_ETIMEDOUT);
    assert_int_equal(probe_tcr(p, 1), 0);
    assert_true(b.hw[0] == 2);
    dart_model_set_busy(p->model.model, 0, false);
    assert_int_equal(invalidate(p, &b, 0, UINT64_MAX, true), 0);
    assert_false(dart_model_cached(p->model.model, 1, 0x1000, &leaf));
    assert_int_equal(block(p, 1, &b), 0);
    gr_pt_fini(&pt);
    probe_free(p, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usb4_values),
        cmocka_unit_test(usb4_reset),
        cmocka_unit_test(usb4_fault_streams),
        cmocka_unit_test(range_values),
        cmocka_unit_test(no_range),
        cmocka_unit_test(range_on_model),
        cmocka_unit_test(record_codes),
        cmocka_unit_test(many_records),
        cmocka_unit_test(records_replace_error),
        cmocka_unit_test(records_need_a_window),
        cmocka_unit_test(illegal_stream),
        cmocka_unit_test(lock_on_error),
        cmocka_unit_test(lock_before_start),
        cmocka_unit_test(no_unlock),
        cmocka_unit_test(protect_lock),
        cmocka_unit_test(s5l8960x_values),
        cmocka_unit_test(s5l8960x_counts),
        cmocka_unit_test(s5l8960x_offset),
        cmocka_unit_test(s5l8960x_asks_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
