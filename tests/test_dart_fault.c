/* SPDX-License-Identifier: MIT */
/* Faults of DARTs: what is read, what is recorded, how it is acknowledged and to whom it goes. */
#include "dart_tools.h"

#include <granule/domain.h>
#include <granule/err.h>

#define NONE GR_FAULT_LEVEL_UNKNOWN
#define UNIT_IOVA UINT64_C(0x123456789abcdef0)

/* ---- who gets it ---- */

struct catcher {
    bool take;
    unsigned called;
    unsigned *order; /* shared counter */
    unsigned when;
    struct gr_fault last;
};

static bool catch_fault(void *cookie, const struct gr_fault *fault)
{
    struct catcher *const c = cookie;

    c->called++;
    c->last = *fault;
    if (c->order)
        c->when = ++*c->order;
    return c->take;
}

/* The one fault that the instance has, through the whole path. */
static struct gr_fault only_fault(struct probe *p)
{
    struct catcher c = {.take = true};

    assert_true(gr_dart_isr(&p->dart));
    gr_instance_set_fault_handler(&p->dart.inst, catch_fault, &c);
    assert_int_equal(gr_fault_dispatch(&p->dart.inst), 1);
    gr_instance_set_fault_handler(&p->dart.inst, NULL, NULL);
    assert_int_equal(c.called, 1);
    assert_ptr_equal(c.last.instance, &p->dart.inst);
    assert_in_range(c.last.time_ns, 1, host_now(p->h));
    return c.last;
}

static void raise(struct probe *p, uint32_t error, uint64_t iova)
{
    p->regs[p->k->error / 4] = error;
    p->regs[p->k->error_addr / 4] = (uint32_t)iova;
    p->regs[p->k->error_addr / 4 + 1] = (uint32_t)(iova >> 32);
}

/* ---- what codes mean ---- */

struct code {
    uint32_t bits;
    uint32_t reasons;
    uint8_t level;
    int write; /* -1: the register does not say */
};

/* DART.md 5. Codes whose meaning no source gives are unknown. */
static const struct code t8020_codes[] = {
    {1u << 0, GR_FAULT_NO_ROOT, NONE, -1},
    {1u << 1, GR_FAULT_NO_TABLE, 1, -1},
    {1u << 2, GR_FAULT_NO_LEAF, 0, -1},
    {1u << 3, GR_FAULT_WRITE_PROT, 0, 1},
    {1u << 4, GR_FAULT_READ_PROT, 0, 0},
    {1u << 5, GR_FAULT_EXTERNAL, NONE, -1},
    {1u << 6, GR_FAULT_EXTERNAL, NONE, -1},
    {1u << 7, GR_FAULT_WINDOW, 0, -1},
    {1u << 8, GR_FAULT_PROTECTED, NONE, -1},
    {1u << 9, GR_FAULT_UNKNOWN, NONE, -1},
    {1u << 10, GR_FAULT_UNKNOWN, NONE, -1},
    {1u << 11, GR_FAULT_FILTER, NONE, -1},
    {0, GR_FAULT_UNKNOWN, NONE, -1},
    {1u << 1 | 1u << 2, GR_FAULT_NO_TABLE | GR_FAULT_NO_LEAF, 1, -1},
    {1u << 3 | 1u << 4, GR_FAULT_WRITE_PROT | GR_FAULT_READ_PROT, 0, -1},
    {1u << 2 | 1u << 3, GR_FAULT_NO_LEAF | GR_FAULT_WRITE_PROT, 0, -1},
    {1u << 2 | 1u << 11, GR_FAULT_NO_LEAF | GR_FAULT_FILTER, 0, -1},
    {1u << 2 | 1u << 9, GR_FAULT_NO_LEAF, 0, -1}, /* the rest is in `raw` */
    {0xff, 0x7f, NONE, -1},
};

static const struct code t8110_codes[] = {
    {1u << 0, GR_FAULT_NO_ROOT, NONE, 0},
    {1u << 1, GR_FAULT_NO_TABLE, 2, 0},
    {1u << 2, GR_FAULT_NO_TABLE, 1, 0},
    {1u << 3, GR_FAULT_NO_LEAF, 0, 0},
    {1u << 3 | 1u << 28, GR_FAULT_NO_LEAF, 0, 1},
    {1u << 4 | 1u << 28, GR_FAULT_WRITE_PROT, 0, 1},
    {1u << 5, GR_FAULT_READ_PROT, 0, 0},
    {1u << 6, GR_FAULT_EXTERNAL, NONE, 0},
    {1u << 7 | 1u << 28, GR_FAULT_EXTERNAL, NONE, 1},
    {1u << 13, GR_FAULT_EXTERNAL, NONE, 0},
    {1u << 29, GR_FAULT_WINDOW, 0, 0},
    {1u << 29 | 1u << 28, GR_FAULT_WINDOW, 0, 1},
    {1u << 8, GR_FAULT_PROTECTED, NONE, 0},
    {1u << 9, GR_FAULT_PROTECTED, NONE, 0},
    {1u << 10, GR_FAULT_FILTER, NONE, 0},
    {1u << 11, GR_FAULT_CACHE, NONE, 0},
    {1u << 12, GR_FAULT_CACHE, NONE, 0},
    {1u << 14, GR_FAULT_FILTER, NONE, 0},
    {1u << 18, GR_FAULT_UNKNOWN, NONE, 0},
    {1u << 30 | 1u << 28, GR_FAULT_UNKNOWN, NONE, 1},
    {0, GR_FAULT_UNKNOWN, NONE, 0},
    {1u << 2 | 1u << 3, GR_FAULT_NO_TABLE | GR_FAULT_NO_LEAF, 1, 0},
    {1u << 4 | 1u << 29 | 1u << 28, GR_FAULT_WRITE_PROT | GR_FAULT_WINDOW, 0, 1},
    {1u << 3 | 1u << 10, GR_FAULT_NO_LEAF | GR_FAULT_FILTER, 0, 0},
    {1u << 3 | 1u << 18, GR_FAULT_NO_LEAF, 0, 0},
    {0x200000ff, 0x7f, NONE, 0},
    {0x20007fff, 0xb7f, NONE, 0},
};

/* DART.md 6: of the t8020's, the first five. */
static const struct code s5l8960x_codes[] = {
    {1u << 0, GR_FAULT_NO_ROOT, NONE, -1},
    {1u << 1, GR_FAULT_NO_TABLE, 1, -1},
    {1u << 2, GR_FAULT_NO_LEAF, 0, -1},
    {1u << 3, GR_FAULT_WRITE_PROT, 0, 1},
    {1u << 4, GR_FAULT_READ_PROT, 0, 0},
    {1u << 5, GR_FAULT_UNKNOWN, NONE, -1},
    {1u << 6, GR_FAULT_UNKNOWN, NONE, -1},
    {1u << 7, GR_FAULT_UNKNOWN, NONE, -1},
    {0, GR_FAULT_UNKNOWN, NONE, -1},
    {0x1f,
     GR_FAULT_NO_ROOT | GR_FAULT_NO_TABLE | GR_FAULT_NO_LEAF | GR_FAULT_WRITE_PROT |
         GR_FAULT_READ_PROT,
     NONE, -1},
};

static void codes_of(const struct kind *k, const struct code *code, size_t n)
{
    static const uint32_t sids[] = {0, 3, 1, 5, 15, 200};
    struct probe *const p = probe_new(k, k->widest);
    const size_t usable = k->kind == GR_DART_T8110 ? 6 : k->streams == 4 ? 3 : 5;
    const bool high = k->kind != GR_DART_S5L8960X; /* one register of the address there */

    probe_start(p, 0);
    for (size_t i = 0; i < n; i++) {
        const uint32_t sid = sids[i % usable];
        const uint32_t error = 1u << 31 | sid << k->error_sid | code[i].bits;
        struct gr_fault f;

        raise(p, error, UNIT_IOVA + i);
        f = only_fault(p);
        if (f.reasons != code[i].reasons || f.level != code[i].level)
            fail_msg("%s code 0x%" PRIx32 ": reasons 0x%" PRIx32 ", level %u", k->name,
                     code[i].bits, f.reasons, f.level);
        assert_int_equal(f.stream, sid);
        assert_true(f.iova == (high ? UNIT_IOVA + i : (uint32_t)(UNIT_IOVA + i)));
        assert_int_equal(f.access_known, code[i].write >= 0);
        if (code[i].write >= 0)
            assert_int_equal(f.write, code[i].write);
        assert_true(f.raw == error);
        assert_true(f.lost == 0 && !f.stream_shared);
        assert_int_equal(p->regs[k->error / 4], 0); /* acknowledged, all of it */
        assert_false(gr_dart_isr(&p->dart));
    }
    assert_true(p->dart.inst.faults_recorded == n);
    probe_free(p, true);
}

static void codes(void **state)
{
    (void)state;
    codes_of(&kinds[0], t8020_codes, sizeof(t8020_codes) / sizeof(t8020_codes[0]));
    codes_of(&kinds[1], t8020_codes, sizeof(t8020_codes) / sizeof(t8020_codes[0]));
    codes_of(&kinds[2], t8110_codes, sizeof(t8110_codes) / sizeof(t8110_codes[0]));
    codes_of(&kinds[3], t8020_codes, sizeof(t8020_codes) / sizeof(t8020_codes[0]));
    codes_of(&kinds[4], s5l8960x_codes, sizeof(s5l8960x_codes) / sizeof(s5l8960x_codes[0]));
}

/* DART.md 13 */
static void worked_examples(void **state)
{
    struct probe *p = probe_new(&kinds[0], 16);
    struct gr_fault f;

    (void)state;
    probe_start(p, 0);
    raise(p, 0x85000004, 0x9f4a1234);
    f = only_fault(p);
    assert_true(f.stream == 5 && f.reasons == GR_FAULT_NO_LEAF && f.iova == 0x9f4a1234);
    ASSERT_WRITES(p, {0x40, 0x85000004});
    probe_free(p, true);

    p = probe_new(&kinds[2], 16);
    probe_start(p, 0);
    raise(p, 0x80500008, 0x9f4a1234);
    f = only_fault(p);
    assert_true(f.stream == 5 && f.reasons == GR_FAULT_NO_LEAF && f.access_known && !f.write);
    ASSERT_WRITES(p, {0x100, 0x80500008}, {0x1c0, UINT32_MAX}, {0x1c4, UINT32_MAX},
                  {0x1c8, UINT32_MAX}, {0x1cc, UINT32_MAX}, {0x1d0, UINT32_MAX},
                  {0x1d4, UINT32_MAX}, {0x1d8, UINT32_MAX}, {0x1dc, UINT32_MAX});
    raise(p, 0x90500008, 0x9f4a1234);
    f = only_fault(p);
    assert_true(f.stream == 5 && f.reasons == GR_FAULT_NO_LEAF && f.access_known && f.write);
    probe_free(p, true);
}

static void reasons_have_names(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 32; bit++) {
        const char *const name = gr_fault_reason_name(1u << bit);

        assert_int_equal(name != NULL, bit < 13);
        for (unsigned other = 0; name && other < bit; other++)
            assert_string_not_equal(name, gr_fault_reason_name(1u << other));
    }
    assert_null(gr_fault_reason_name(0));
    assert_null(gr_fault_reason_name(GR_FAULT_NO_ROOT | GR_FAULT_NO_LEAF));
    assert_string_equal(gr_fault_reason_name(GR_FAULT_NO_LEAF), "no-leaf");
}

/* The line is shared: what is not ours is left alone. */
static void not_ours(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct probe *const p = probe_new(&kinds[i], 16);

        probe_start(p, 0);
        assert_false(gr_dart_isr(&p->dart));
        raise(p, 0x05000004, 0x1000); /* a code, but no flag */
        assert_false(gr_dart_isr(&p->dart));
        assert_int_equal(p->written, 0);
        assert_int_equal(gr_fault_dispatch(&p->dart.inst), 0);
        assert_true(p->dart.inst.faults_recorded == 0);
        probe_free(p, true);
    }
}

/* ---- an address in two registers ---- */

#define BEFORE UINT64_C(0x11111111aaaaaaaa)
#define AFTER UINT64_C(0x22222222bbbbbbbb)

static bool replaced(struct probe *p, uint32_t offset, uint32_t *out)
{
    const uint32_t half = offset - p->k->error_addr;

    if (half != 0 && half != 4)
        return false;
    const uint64_t iova = p->answers-- > 0 ? BEFORE : AFTER;

    p->answers += iova == AFTER; /* stays at 0 */
    *out = (uint32_t)(half ? iova >> 32 : iova);
    return true;
}

static bool never_still(struct probe *p, uint32_t offset, uint32_t *out)
{
    if (offset - p->k->error_addr > 4)
        return false;
    *out = p->answers++;
    return true;
}

/* Another fault takes the record's place after the n-th read of its address: no mix of the two. */
static void torn_address(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct probe *const p = probe_new(&kinds[i], 16);
        bool seen_before = false;

        probe_start(p, 0);
        if (kinds[i].kind == GR_DART_S5L8960X) { /* one register */
            probe_free(p, true);
            continue;
        }
        p->on_read = replaced;
        for (unsigned n = 0; n < 8; n++) {
            struct gr_fault f;

            raise(p, 1u << 31 | 4, 0);
            p->answers = n;
            f = only_fault(p);
            assert_true(f.iova == BEFORE || f.iova == AFTER);
            assert_true(n > 0 || f.iova == AFTER);
            seen_before = seen_before || f.iova == BEFORE;
        }
        assert_true(seen_before);

        /* Hardware that never stands still does not keep the handler. */
        p->on_read = never_still;
        raise(p, 1u << 31 | 4, 0);
        p->reads = 0;
        assert_true(gr_dart_isr(&p->dart));
        assert_in_range(p->reads, 3, 20);
        probe_free(p, true);
    }
}

/* ---- what is lost ---- */

static void ring_overflow(void **state)
{
    const unsigned more = 4;
    struct probe *const p = probe_new(&kinds[0], 16);
    struct gr_instance *const inst = &p->dart.inst;
    struct catcher c = {.take = true};

    (void)state;
    probe_start(p, 0);
    for (unsigned i = 0; i < GR_CFG_FAULT_RING + more; i++) {
        raise(p, 1u << 31 | (i % 16) << 24 | 4, i * 0x4000);
        assert_true(gr_dart_isr(&p->dart));
        assert_int_equal(p->regs[0x40 / 4], 0); /* acknowledged although it was dropped */
    }
    assert_true(inst->faults_recorded == GR_CFG_FAULT_RING);
    assert_true(inst->faults_dropped == more);
    gr_instance_set_fault_handler(inst, catch_fault, &c);
    assert_int_equal(gr_fault_dispatch(inst), GR_CFG_FAULT_RING);
    assert_int_equal(c.called, GR_CFG_FAULT_RING);
    assert_true(c.last.iova ==
                (GR_CFG_FAULT_RING - 1) * 0x4000); /* the oldest were kept, in order */
    assert_true(c.last.lost == 0);
    assert_int_equal(gr_fault_dispatch(inst), 0);

    /* Told with the next record, once. */
    raise(p, 1u << 31 | 4, 0);
    assert_true(gr_dart_isr(&p->dart));
    assert_int_equal(gr_fault_dispatch(inst), 1);
    assert_true(c.last.lost == more);
    raise(p, 1u << 31 | 4, 0);
    assert_true(gr_dart_isr(&p->dart));
    assert_int_equal(gr_fault_dispatch(inst), 1);
    assert_true(c.last.lost == 0);
    assert_true(inst->faults_recorded == GR_CFG_FAULT_RING + 2);
    assert_true(inst->faults_dropped == more);
    probe_free(p, true);
}

/* A ring that wraps keeps the order. */
static void ring_wraps(void **state)
{
    struct probe *const p = probe_new(&kinds[0], 16);
    struct catcher c = {.take = true};
    uint64_t next = 0;

    (void)state;
    probe_start(p, 0);
    gr_instance_set_fault_handler(&p->dart.inst, catch_fault, &c);
    for (uint64_t i = 0; i < 7 * GR_CFG_FAULT_RING; i += 5) {
        for (uint64_t j = i; j < i + 5; j++) {
            raise(p, 1u << 31 | 4, j);
            assert_true(gr_dart_isr(&p->dart));
        }
        assert_int_equal(gr_fault_dispatch(&p->dart.inst), 5);
        next = i + 5;
        assert_true(c.last.iova == next - 1 && c.last.lost == 0);
    }
    assert_true(c.called == next);
    probe_free(p, true);
}

/*
 * Everything that was lost, by hardware and by the ring, in one number. Another fault of the same
 * stream is all that hardware says; other streams' have records of their own.
 */
static void secondary_counts_as_lost(void **state)
{
    struct probe *const p = probe_new(&kinds[2], 256);
    struct gr_fault f;

    (void)state;
    probe_start(p, 0);
    raise(p, 1u << 31 | 1u << 19 | 5u << 20 | 1u << 3, 0x4000);
    p->regs[0x1c0 / 4] = 0x20;
    f = only_fault(p);
    assert_true(f.lost == 1 && f.reasons == GR_FAULT_NO_LEAF && f.stream == 5);
    assert_int_equal(p->regs[0x1c0 / 4], 0);

    /* The bitmap may name the first stream as well. */
    raise(p, 1u << 31 | 5u << 20 | 1u << 3, 0x4000);
    p->regs[0x1c0 / 4] = 0x20;
    f = only_fault(p);
    assert_true(f.lost == 0 && f.stream == 5);

    for (unsigned i = 0; i < GR_CFG_FAULT_RING; i++) {
        raise(p, 1u << 31 | 1u << 3, 0);
        assert_true(gr_dart_isr(&p->dart));
    }
    raise(p, 1u << 31 | 1u << 19 | 1u << 3, 0); /* itself, and one that it says was lost */
    assert_true(gr_dart_isr(&p->dart));
    assert_int_equal(gr_fault_dispatch(&p->dart.inst), GR_CFG_FAULT_RING);
    raise(p, 1u << 31 | 1u << 3, 0);
    f = only_fault(p);
    assert_true(f.lost == 2);
    probe_free(p, true);
}

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

static void secondary_streams_are_told(void **state)
{
    struct probe *const p = probe_new(&kinds[2], 256);
    struct list l = {.count = 0};

    (void)state;
    probe_start(p, 0);
    gr_instance_set_fault_handler(&p->dart.inst, list_fault, &l);
    raise(p, 1u << 31 | 1u << 19 | 5u << 20 | 1u << 3, 0x4000);
    p->regs[0x1c0 / 4] = 0x60;
    p->regs[0x1dc / 4] = 0x80000000;
    assert_true(gr_dart_isr(&p->dart));
    assert_int_equal(gr_fault_dispatch(&p->dart.inst), 3);
    assert_true(l.fault[0].stream == 5 && l.fault[0].reasons == GR_FAULT_NO_LEAF);
    for (unsigned i = 1; i < 3; i++) {
        assert_int_equal(l.fault[i].stream, i == 1 ? 6 : 255);
        assert_int_equal(l.fault[i].reasons, GR_FAULT_SECONDARY);
        assert_int_equal(l.fault[i].level, NONE);
        assert_false(l.fault[i].access_known);
        assert_true(l.fault[i].lost == 0);
    }
    assert_int_equal(p->regs[0x1c0 / 4] | p->regs[0x1dc / 4], 0);
    probe_free(p, true);
}

/* ---- real accesses ---- */

struct rig {
    struct probe *p;
    struct gr_pt pt;
    struct gr_binding b;
    uint32_t sid;
};

static void rig_new(struct rig *r, const struct kind *k)
{
    struct dart_model_config config = model_of(k);
    uint64_t done;

    if (k->kind == GR_DART_T8110)
        config.streams = 64;
    if (k->ttbrs == 4 && k->page_bits == 14)
        config.va_bits = 38; /* so that it looks at all four tables at the top */
    *r = (struct rig){.p = probe_new_model(k, &config, 1)};
    r->sid = config.streams == 64 ? 37 : k->streams == 4 ? 2 : 11;
    r->b.inst = &r->p->dart.inst;
    probe_start(r->p, 0);
    assert_int_equal(gr_pt_init(&r->pt, r->p->h, &r->p->dart.inst.table), 0);
    assert_int_equal(gr_pt_map(&r->pt, 0x4000, 0x900000000, 0x4000, GR_PROT_READ, &done), 0);
    assert_int_equal(gr_pt_map(&r->pt, 0x8000, 0x900000000, 0x4000, GR_PROT_WRITE, &done), 0);
    assert_int_equal(gr_pt_map(&r->pt, 0xc000, 0x900000000, 0x4000, RW, &done), 0);
    assert_int_equal(r->p->dart.inst.ops->attach(r->b.inst, r->sid, &r->pt, &r->b), 0);
}

static void rig_free(struct rig *r)
{
    assert_int_equal(r->p->dart.inst.ops->block(r->b.inst, r->sid, &r->b), 0);
    gr_pt_fini(&r->pt);
    probe_free(r->p, true);
}

static enum model_result touch(struct rig *r, uint64_t iova, bool write)
{
    uint64_t pa;

    return dart_model_translate(r->p->model.model, r->sid, iova, write, 4, &pa);
}

/* The access is refused, the line goes up, the record says why, and the line goes down. */
static void refused(struct rig *r, uint64_t iova, bool write, uint32_t reason, uint8_t level)
{
    const bool t8110 = r->p->k->kind == GR_DART_T8110;
    const bool protection = reason == GR_FAULT_READ_PROT || reason == GR_FAULT_WRITE_PROT;
    struct gr_fault f;

    assert_int_not_equal(touch(r, iova, write), MODEL_OK);
    assert_true(r->p->model.irq);
    f = only_fault(r->p);
    assert_false(r->p->model.irq);
    assert_int_equal(probe_peek(r->p, r->p->k->error), 0);
    assert_int_equal(f.stream, r->sid);
    assert_int_equal(f.reasons, reason);
    assert_int_equal(f.level, level);
    assert_true(f.iova == iova);
    assert_true(f.lost == 0);
    assert_int_equal(f.access_known, t8110 || protection);
    if (f.access_known)
        assert_int_equal(f.write, write);
    assert_false(gr_dart_isr(&r->p->dart));
}

/* Store straight into a table, and make the DART forget. */
static void poke(struct rig *r, gr_pa_t pa, uint64_t entry)
{
    gr_port_table_store64(r->p->h, host_ptr(r->p->h, pa, 8), entry);
    gr_port_wmb();
    assert_int_equal(r->p->dart.inst.ops->invalidate(r->b.inst, &r->b, 0, UINT64_MAX, true), 0);
}

static void real_accesses_of(const struct kind *k)
{
    const bool t8110 = k->kind == GR_DART_T8110;
    const bool s5l8960x = k->kind == GR_DART_S5L8960X;
    /* Above all that is translated; s5l8960x does not see it at all (DART.md 6). */
    const uint64_t tag = s5l8960x ? 0 : UINT64_C(0xabcd) << 44;
    const uint64_t span = UINT64_C(1) << (2 * k->page_bits - 3); /* of an entry above the leaves */
    const uint64_t unit = UINT64_C(1) << (k->page_bits - 12);
    const unsigned top = k->page_bits + 2 * (k->page_bits - 3);
    struct gr_pt_walk walk;
    struct rig r;

    rig_new(&r, k);
    assert_int_equal(touch(&r, 0x4000, false), MODEL_OK);
    assert_int_equal(touch(&r, 0x8000, true), MODEL_OK);
    assert_false(r.p->model.irq);
    refused(&r, 0x4010, true, GR_FAULT_WRITE_PROT, 0);
    refused(&r, 0x8010, false, GR_FAULT_READ_PROT, 0);
    refused(&r, 0x10008, false, GR_FAULT_NO_LEAF, 0);
    refused(&r, 0x10008, true, GR_FAULT_NO_LEAF, 0);
    refused(&r, span + 4, true, GR_FAULT_NO_TABLE, 1);
    refused(&r, tag + 0x10008, false, GR_FAULT_NO_LEAF, 0);

    /* Only units 0x40 to 0x47f: DART.md 13. */
    assert_int_equal(gr_pt_walk(&r.pt, 0xc000, &walk), 0);
    poke(&r, walk.step[1].entry_pa,
         (walk.step[1].entry & (k->dart2 ? 0x3fffffffff : 0xffffffffd)) | UINT64_C(0x04047f) << 40);
    assert_int_equal(touch(&r, 0xc000 + 0x40 * unit, false), MODEL_OK);
    assert_int_equal(touch(&r, 0xc000 + 0x480 * unit - 4, true), MODEL_OK);
    if (!s5l8960x) { /* whose ERROR has no such code */
        refused(&r, 0xc000 + 0x40 * unit - 4, false, GR_FAULT_WINDOW, 0);
        refused(&r, 0xc000 + 0x480 * unit, true, GR_FAULT_WINDOW, 0);
    }

    /* A table that is not there at all. */
    poke(&r, walk.step[0].entry_pa + 8, k->dart2 ? 0xff000001 : 0xff0000001);
    refused(&r, span + 4, false, s5l8960x ? GR_FAULT_UNKNOWN : GR_FAULT_EXTERNAL, NONE);
    poke(&r, walk.step[0].entry_pa + 8, 0);

    /* No table at the top. */
    if (t8110 || s5l8960x) {
        dart_model_poke32(r.p->model.model, k->ttbr + 4 * k->ttbrs * r.sid, 0);
        poke(&r, walk.step[0].entry_pa + 8, 0); /* forget */
        refused(&r, 0x4000, false, GR_FAULT_NO_ROOT, NONE);
    } else {
        refused(&r, UINT64_C(1) << top | 0x4000, false, GR_FAULT_NO_ROOT, NONE);
        refused(&r, UINT64_C(3) << top | 0x4000, true, GR_FAULT_NO_ROOT, NONE);
    }
    rig_free(&r);
}

static void real_accesses(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++)
        real_accesses_of(&kinds[i]);
}

/* Two faults before the handler runs: the first is the record, t8110 says that there was another.
 */
static void two_before_the_handler(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct gr_fault f;
        struct rig r;

        rig_new(&r, &kinds[i]);
        assert_int_equal(touch(&r, 0x10000, false), MODEL_FAULT);
        assert_int_equal(touch(&r, 0x2000000, true), MODEL_FAULT);
        assert_true(r.p->model.irq);
        f = only_fault(r.p);
        assert_true(f.iova == 0x10000 && f.reasons == GR_FAULT_NO_LEAF);
        assert_true(f.lost == (kinds[i].kind == GR_DART_T8110 ? 1 : 0));
        assert_false(r.p->model.irq);
        assert_false(gr_dart_isr(&r.p->dart));
        refused(&r, 0x14000, false, GR_FAULT_NO_LEAF, 0); /* and it goes on */
        rig_free(&r);
    }
}

/* ---- domain, then instance, then the log ---- */

struct delivery {
    struct probe *p;
    struct gr_stream stream;
    struct gr_device dev;
    struct gr_domain domain;
    unsigned order;
    struct catcher by_domain, by_instance;
};

static void delivery_new(struct delivery *d)
{
    struct gr_device_config config = {.name = "client", .streams = &d->stream, .stream_count = 1};

    *d = (struct delivery){.p = probe_new(&kinds[0], 16)};
    probe_start(d->p, 0);
    d->stream = (struct gr_stream){.inst = &d->p->dart.inst, .sid = 5, .window = {0, UINT64_MAX}};
    d->by_domain.order = &d->order;
    d->by_instance.order = &d->order;
    config.coherent = true;
    assert_int_equal(gr_device_init(&d->dev, &config), 0);
    assert_int_equal(
        gr_domain_init(&d->domain, d->p->h, &d->dev, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE), 0);
    assert_int_equal(gr_domain_attach(&d->domain, &d->dev), 0);
    gr_domain_set_fault_handler(&d->domain, catch_fault, &d->by_domain);
    gr_instance_set_fault_handler(&d->p->dart.inst, catch_fault, &d->by_instance);
}

static void delivery_free(struct delivery *d)
{
    assert_int_equal(gr_domain_detach(&d->domain, &d->dev), 0);
    assert_int_equal(gr_domain_fini(&d->domain), 0);
    assert_int_equal(gr_device_fini(&d->dev), 0);
    probe_free(d->p, true);
}

static void deliver(struct delivery *d, uint32_t sid)
{
    d->by_domain.called = 0;
    d->by_instance.called = 0;
    raise(d->p, 1u << 31 | sid << 24 | 1u << 3, 0xabcd000);
    assert_true(gr_dart_isr(&d->p->dart));
    assert_int_equal(gr_fault_dispatch(&d->p->dart.inst), 1);
}

static void dispatch_order(void **state)
{
    struct delivery d;

    (void)state;
    delivery_new(&d);

    d.by_domain.take = true;
    deliver(&d, 5);
    assert_int_equal(d.by_domain.called, 1);
    assert_int_equal(d.by_instance.called, 0);
    assert_false(host_logged(d.p->h, "refused"));
    assert_int_equal(d.by_domain.last.stream, 5);
    assert_int_equal(d.by_domain.last.reasons, GR_FAULT_WRITE_PROT);

    d.by_domain.take = false;
    d.by_instance.take = true;
    deliver(&d, 5);
    assert_int_equal(d.by_domain.called, 1);
    assert_int_equal(d.by_instance.called, 1);
    assert_int_equal(d.by_instance.when, d.by_domain.when + 1);
    assert_false(host_logged(d.p->h, "refused"));

    d.by_instance.take = false;
    deliver(&d, 5);
    assert_int_equal(d.by_domain.called, 1);
    assert_int_equal(d.by_instance.called, 1);
    for (size_t i = 0; i < 6; i++) { /* all that a person needs to find the culprit */
        static const char *const words[] = {"dart-under-test", "stream 5",  "client",
                                            "write",           "0xabcd000", "write-protected"};

        if (!strstr(host_last_log(d.p->h), words[i]))
            fail_msg("\"%s\" does not say %s", host_last_log(d.p->h), words[i]);
    }

    /* A stream that nobody owns has no domain to ask. */
    d.by_domain.take = true;
    d.by_instance.take = true;
    deliver(&d, 6);
    assert_int_equal(d.by_domain.called, 0);
    assert_int_equal(d.by_instance.called, 1);
    d.by_instance.take = false;
    deliver(&d, 6);
    assert_non_null(strstr(host_last_log(d.p->h), "stream 6"));
    assert_null(strstr(host_last_log(d.p->h), "client"));

    /* Without handlers, and after the domain has let go. */
    gr_domain_set_fault_handler(&d.domain, NULL, NULL);
    gr_instance_set_fault_handler(&d.p->dart.inst, NULL, NULL);
    deliver(&d, 5);
    assert_int_equal(d.by_domain.called + d.by_instance.called, 0);
    assert_non_null(strstr(host_last_log(d.p->h), "client"));
    gr_domain_set_fault_handler(&d.domain, catch_fault, &d.by_domain);
    assert_int_equal(gr_domain_detach(&d.domain, &d.dev), 0);
    deliver(&d, 5);
    assert_int_equal(d.by_domain.called, 0);
    assert_int_equal(gr_domain_attach(&d.domain, &d.dev), 0);
    delivery_free(&d);
}

/* A handler that raises the next fault does not keep the dispatcher for ever. */
struct storm {
    struct probe *p;
    unsigned left;
};

static bool feed(void *cookie, const struct gr_fault *fault)
{
    struct storm *const s = cookie;

    (void)fault;
    if (s->left) {
        s->left--;
        raise(s->p, 1u << 31 | 4, 0);
        (void)gr_dart_isr(&s->p->dart);
    }
    return true;
}

static void dispatch_is_bounded(void **state)
{
    struct probe *const p = probe_new(&kinds[0], 16);
    struct storm storm = {p, 1000};
    unsigned n;

    (void)state;
    probe_start(p, 0);
    gr_instance_set_fault_handler(&p->dart.inst, feed, &storm);
    raise(p, 1u << 31 | 4, 0);
    assert_true(gr_dart_isr(&p->dart));
    n = gr_fault_dispatch(&p->dart.inst);
    assert_in_range(n, 1, GR_CFG_FAULT_RING);
    while (gr_fault_dispatch(&p->dart.inst))
        ;
    assert_true(p->dart.inst.faults_recorded == 1001 && p->dart.inst.faults_dropped == 0);
    probe_free(p, true);
}

/* Nor does a ring that handlers fill again hide that faults still come faster than they go. */
static void storm_goes_on(void **state)
{
    struct probe *const p = probe_new(&kinds[0], 16);
    struct storm storm = {p, GR_CFG_FAULT_RING};

    (void)state;
    probe_start(p, 0);
    gr_instance_set_fault_handler(&p->dart.inst, feed, &storm);
    for (unsigned i = 0; i < GR_CFG_FAULT_RING; i++) {
        assert_false(p->dart.inst.fault_storm);
        raise(p, 1u << 31 | 4, 0);
        assert_true(gr_dart_isr(&p->dart));
    }
    assert_true(p->dart.inst.fault_storm);
    assert_int_equal(gr_fault_dispatch(&p->dart.inst), GR_CFG_FAULT_RING);
    assert_false(p->dart.inst.fault_storm);
    raise(p, 1u << 31 | 4, 0); /* finds the ring full */
    assert_true(gr_dart_isr(&p->dart));
    assert_true(p->dart.inst.faults_dropped == 1);
    assert_true(p->dart.inst.fault_storm);
    while (gr_fault_dispatch(&p->dart.inst))
        ;
    assert_false(p->dart.inst.fault_storm);
    probe_free(p, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes),
        cmocka_unit_test(worked_examples),
        cmocka_unit_test(reasons_have_names),
        cmocka_unit_test(not_ours),
        cmocka_unit_test(torn_address),
        cmocka_unit_test(ring_overflow),
        cmocka_unit_test(ring_wraps),
        cmocka_unit_test(secondary_counts_as_lost),
        cmocka_unit_test(secondary_streams_are_told),
        cmocka_unit_test(real_accesses),
        cmocka_unit_test(two_before_the_handler),
        cmocka_unit_test(dispatch_order),
        cmocka_unit_test(dispatch_is_bounded),
        cmocka_unit_test(storm_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
