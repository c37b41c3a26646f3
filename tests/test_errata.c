/* SPDX-License-Identifier: MIT */
/*
 * Mistakes that drivers of DARTs have made, by their number in DART.md 14: each test fails on
 * a driver that makes the mistake; 9 is the model's. 16 is no software's; 11 is an assumption
 * (docs/ASSUMPTIONS.md). Then test vectors 13, 14 and 17 of REQUIREMENTS.md 5.
 */
#include "bench.h"
#include "dart_tools.h"

#include <granule/err.h>

#define T8110 (&kinds[2])
#define USB4 (&kinds[3])

static int attach(struct probe *p, uint32_t sid, const struct gr_pt *pt, struct gr_binding *b)
{
    return p->dart.inst.ops->attach(&p->dart.inst, sid, pt, b);
}

static const struct gr_pt one_root = {.root_pa = 0x8a0b0c000, .granule_lg2 = 14, .levels = 2};

/* 1: bit 1 of a leaf is DART1's SP_DIS and DART2's NO_CACHE; set in all, nothing is cached. */
static void erratum_01_uncached_leaves(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU; kind++) {
        struct gr_pt_walk walk;
        struct bench b;

        bench_make(&b, kind, .type = GR_DOMAIN_UNMANAGED, .ram = true);
        for (unsigned uncached = 0; uncached < 2; uncached++) {
            const unsigned prot = RW | (uncached ? GR_PROT_UNCACHED : 0);

            assert_int_equal(gr_domain_map(&b.domain, 0x8000, b.pa, 0x4000, prot), 0);
            assert_int_equal(gr_pt_walk(&b.domain.pt, 0x8000, &walk), 0);
            if (b.domain.pt.format == GR_PT_DART2)
                assert_int_equal(walk.step[walk.steps - 1].entry >> 1 & 1, uncached);
            else
                assert_int_equal(walk.step[walk.steps - 1].entry >> 1 & 1, 1);
            assert_int_equal(gr_domain_unmap(&b.domain, 0x8000, 0x4000), 0);
        }
        bench_end(&b);
    }
}

/* 2: the second ENABLE word of 64 streams would be TCR 0, which is left at all ones. */
static void erratum_02_second_enable_word(void **state)
{
    struct probe *const p = probe_new(USB4, 64);
    struct gr_dart_config config = probe_config(p);

    (void)state;
    assert_int_equal(gr_dart_init(&p->dart, &config), 0);
    for (size_t i = 0; i < p->written; i++)
        assert_true(p->writes[i].offset != 0x100 || !p->writes[i].value);
    assert_int_equal(p->regs[0x100 / 4], 0);
    probe_free(p, true);
}

/* 3 and 5: bitmaps of which only the first word is flushed. */
static void errata_03_05_streams_past_the_first_word(void **state)
{
    static const struct {
        unsigned kind;
        uint32_t sid;
    } v[] = {{RIG_USB4, 31}, {RIG_USB4, 32}, {RIG_USB4, 63}, {RIG_T8110, 15}, {RIG_T8020, 15}};

    (void)state;
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        struct bench b;

        bench_make(&b, v[i].kind, .sid = v[i].sid, .type = GR_DOMAIN_UNMANAGED, .ram = true);
        for (unsigned n = 0; n < 2; n++) {
            assert_int_equal(gr_domain_map(&b.domain, 0x8000, b.pa, 0x4000, RW), 0);
            assert_true(rig_can_read(&b.rig, 0, v[i].sid, 0x8000));
            assert_int_equal(gr_domain_unmap(&b.domain, 0x8000, 0x4000), 0);
            assert_false(rig_can_read(&b.rig, 0, v[i].sid, 0x8000));
        }
        bench_end(&b);
    }
}

/* 4: of a t8110 with more than 36 IOVA bits, 2 or 4 TTBRs were written, where each has one. */
static void erratum_04_one_ttbr(void **state)
{
    (void)state;
    for (unsigned va_bits = 36; va_bits <= 42; va_bits++) {
        struct probe *const p = probe_new(T8110, 16);
        struct gr_binding b = {.inst = &p->dart.inst};
        struct gr_pt pt;

        p->regs[2] = 42u << 24 | va_bits << 16 | 0x0200;
        probe_start(p, 0);
        assert_int_equal(gr_pt_init(&pt, p->h, &p->dart.inst.table), 0);
        assert_int_equal(pt.roots_lg2, 0);
        for (uint32_t sid = 0; sid < 16; sid++)
            p->regs[0x1400 / 4 + sid] = 0xa5a5a5a5;
        assert_int_equal(attach(p, 5, &pt, &b), 0);
        for (uint32_t sid = 0; sid < 16; sid++)
            assert_int_equal(p->regs[0x1400 / 4 + sid] != 0xa5a5a5a5, sid == 5);
        gr_pt_fini(&pt);
        probe_free(p, true);
    }
}

static bool only_busy_counts(struct probe *p, uint32_t offset, uint32_t *out)
{
    assert_int_not_equal(offset, 0x700);
    if (offset != 0x80 || !p->commanded)
        return false;
    *out = p->answers ? 1u << 31 : 0; /* busy for a while */
    p->answers -= p->answers > 0;
    return true;
}

/* 6: BUSY is awaited where it is, in TLB_CMD. */
static void erratum_06_wait_at_the_command(void **state)
{
    struct probe *const p = probe_new(T8110, 16);
    struct gr_binding b = {.inst = &p->dart.inst};

    (void)state;
    probe_start(p, 0);
    p->on_read = only_busy_counts;
    p->answers = 5;
    assert_int_equal(attach(p, 5, &one_root, &b), 0);
    assert_int_equal(p->answers, 0); /* all of it */
    assert_false(p->commanded);
    probe_free(p, true);
}

/* 7: the flush goes to TLB_CMD and not to ERROR; fewer than 32 streams are enabled as well. */
static void erratum_07_flush_register_and_enable(void **state)
{
    struct probe *const p = probe_new(T8110, 16);
    struct gr_binding b = {.inst = &p->dart.inst};

    (void)state;
    probe_start(p, 0);
    assert_int_equal(p->regs[0xc00 / 4], 0xffff);
    assert_int_equal(attach(p, 5, &one_root, &b), 0);
    for (size_t i = 0; i < p->written; i++)
        assert_int_not_equal(p->writes[i].offset, 0x100);
    probe_free(p, true);
}

/* 8: the last entry of every table, and tables above the first TTBR. */
static void erratum_08_last_entry(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU; kind++) {
        struct bench b;
        uint64_t g, span, pa;

        bench_make(&b, kind, .type = GR_DOMAIN_UNMANAGED, .ram = true);
        g = UINT64_C(1) << b.domain.pt.granule_lg2;
        span = rig_span(&b.domain);
        for (unsigned i = 0; i < 3; i++) {
            /* The last leaf of the first table, of the next to last, and of all. */
            const uint64_t end = i == 0 ? span : b.domain.aperture.last + 1 - (2 - i) * span;

            assert_int_equal(gr_domain_map(&b.domain, end - g, b.pa, g, RW), 0);
            assert_int_equal(gr_domain_iova_to_phys(&b.domain, end - 1, &pa), 0);
            assert_true(pa == b.pa + g - 1);
            assert_true(rig_can_read(&b.rig, 0, RIG_SID, end - 1));
            assert_int_equal(gr_domain_unmap(&b.domain, end - g, g), 0);
            assert_false(rig_can_read(&b.rig, 0, RIG_SID, end - 1));
            assert_int_equal(gr_domain_iova_to_phys(&b.domain, end - 1, &pa), GR_ENOENT);
        }
        bench_end(&b);
    }
}

/* The device is refused, and for this reason alone. */
static void refused_for(struct bench *b, uint64_t iova, bool write, unsigned reason)
{
    b->rig.last_fault = (struct gr_fault){0};
    assert_false(write ? rig_can_write(&b->rig, 0, RIG_SID, iova)
                       : rig_can_read(&b->rig, 0, RIG_SID, iova));
    assert_int_equal(b->rig.last_fault.reasons, reason);
}

/*
 * 9: an emulator's, and our models do not make it: a reason is told as what it is, an entry above
 * the leaves that is not valid too, and the last TTBR is the last.
 */
static void erratum_09_reasons_and_ttbrs(void **state)
{
    static const unsigned v[] = {RIG_T8020, RIG_T8020_VA38, RIG_T6000, RIG_T8110, RIG_T8110_2_2};

    (void)state;
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        uint64_t span, top;
        struct bench b;

        bench_make(&b, v[i], .type = GR_DOMAIN_UNMANAGED, .ram = true);
        span = rig_span(&b.domain);
        top = b.domain.aperture.last + 1 - span;
        assert_int_equal(gr_domain_map(&b.domain, 0x8000, b.pa, 0x4000, GR_PROT_READ), 0);
        assert_int_equal(gr_domain_map(&b.domain, top, b.pa, 0x4000, GR_PROT_WRITE), 0);
        assert_true(rig_can_read(&b.rig, 0, RIG_SID, 0x8000));
        assert_true(rig_can_write(&b.rig, 0, RIG_SID, top));
        refused_for(&b, 0x8000, true, GR_FAULT_WRITE_PROT);
        refused_for(&b, top, false, GR_FAULT_READ_PROT);
        refused_for(&b, top + 0x4000, false, GR_FAULT_NO_LEAF);
        refused_for(&b, 2 * span, false, GR_FAULT_NO_TABLE);
        assert_int_equal(gr_domain_unmap(&b.domain, 0x8000, 0x4000), 0);
        assert_int_equal(gr_domain_unmap(&b.domain, top, 0x4000), 0);
        bench_end(&b);
    }
}

/* 10: after a resume the TLB is flushed between TTBR and TCR. */
static void erratum_10_resume_flushes(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        const struct kind *const k = &kinds[i];
        const uint32_t tcr = (k->tcr + k->tcr_bytes * 2) & ~3u;
        struct gr_stream stream = {.sid = 2, .window = {0, UINT64_MAX}};
        const struct gr_device_config config = {
            .name = "device", .streams = &stream, .stream_count = 1, .coherent = true};
        struct probe *const p = probe_new(k, k->streams);
        struct gr_domain domain;
        struct gr_device dev;
        size_t n = 0, ttbr = 0, flush = 0, enable = 0;

        probe_start(p, 0);
        stream.inst = &p->dart.inst;
        assert_int_equal(gr_device_init(&dev, &config), 0);
        assert_int_equal(
            gr_domain_init(&domain, p->h, &dev, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE), 0);
        assert_int_equal(gr_domain_attach(&domain, &dev), 0);
        assert_int_equal(gr_dart_suspend(&p->dart), 0);
        assert_int_equal(probe_tcr(p, 2), 0);
        p->written = 0;
        assert_int_equal(gr_dart_resume(&p->dart), 0);
        for (; n < p->written; n++) {
            if (p->writes[n].offset == k->ttbr + 2 * 4 * k->ttbrs)
                ttbr = n;
            if (p->writes[n].offset == k->command)
                flush = n;
            if (p->writes[n].offset == tcr && p->writes[n].value)
                enable = n;
        }
        assert_int_not_equal(probe_tcr(p, 2), 0);
        if (k->kind == GR_DART_S5L8960X) /* empty by then: DART.md 6 */
            assert_true(flush < ttbr && ttbr < enable);
        else
            assert_true(ttbr < flush && flush < enable);
        assert_int_equal(gr_domain_detach(&domain, &dev), 0);
        assert_int_equal(gr_domain_fini(&domain), 0);
        assert_int_equal(gr_device_fini(&dev), 0);
        probe_free(p, true); /* nothing was mixed */
    }
}

/* 12: nothing is written to TCR and TTBR of what is locked. */
static void erratum_12_writes_to_locked(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct dart_model_config config = model_of(&kinds[i]);
        struct gr_dart_config given;
        struct probe *p;

        if (!kinds[i].lock_bit)
            continue;
        config.locked = true;
        p = probe_new_model(&kinds[i], &config, 1);
        given = probe_config(p);
        assert_int_equal(gr_dart_init(&p->dart, &given), 0);
        assert_int_equal(gr_dart_fini(&p->dart), 0);
        assert_true(dart_model_stats(p->model.model)->locked_writes == 0);
        probe_free(p, false);
    }
}

/* 13: a stream that is blocked or let pass, and then gets other tables, has forgotten the first. */
static void erratum_13_switches_flush(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU; kind++) {
        const bool bypass = dart_model_defaults(rig_kinds[kind].model).bypass;
        struct gr_domain between;
        struct bench b;
        uint64_t leaf;

        bench_make(&b, kind, .type = GR_DOMAIN_UNMANAGED, .ram = true);
        assert_int_equal(gr_domain_init(&between, b.rig.host, &b.dev,
                                        bypass ? GR_DOMAIN_IDENTITY : GR_DOMAIN_BLOCKED, 0),
                         0);
        assert_int_equal(gr_domain_map(&b.domain, 0x8000, b.pa, 0x4000, RW), 0);
        assert_true(rig_can_read(&b.rig, 0, RIG_SID, 0x8000));
        assert_int_equal(gr_domain_attach(&between, &b.dev), 0);
        assert_false(dart_model_cached(b.rig.dart[0].hw.model, RIG_SID, 0x8000, &leaf));
        assert_int_equal(gr_domain_detach(&between, &b.dev), 0);
        assert_int_equal(gr_domain_unmap(&b.domain, 0x8000, 0x4000), 0);
        assert_int_equal(gr_domain_attach(&b.domain, &b.dev), 0);
        assert_false(rig_can_read(&b.rig, 0, RIG_SID, 0x8000));
        assert_int_equal(gr_domain_fini(&between), 0);
        bench_end(&b);
    }
}

/* 14: others keep away from the first and the last granule; there is no need to. */
static void erratum_14_first_and_last(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU; kind++) {
        struct bench b;
        uint64_t g, last;

        bench_make(&b, kind, .type = GR_DOMAIN_UNMANAGED, .ram = true);
        g = UINT64_C(1) << b.domain.pt.granule_lg2;
        last = b.domain.aperture.last;
        assert_int_equal(gr_domain_map(&b.domain, 0, b.pa, g, RW), 0);
        assert_int_equal(gr_domain_map(&b.domain, last - g + 1, b.pa, g, RW), 0);
        assert_true(rig_can_read(&b.rig, 0, RIG_SID, 0));
        assert_true(rig_can_write(&b.rig, 0, RIG_SID, last));
        assert_int_equal(gr_domain_unmap(&b.domain, 0, g), 0);
        assert_int_equal(gr_domain_unmap(&b.domain, last - g + 1, g), 0);
        bench_end(&b);
    }
}

/* 15: one mapping in two or three DARTs, and no stale TLB among them. */
static void erratum_15_every_dart(void **state)
{
    (void)state;
    for (unsigned darts = 2; darts <= 3; darts++) {
        struct bench b;

        bench_make(&b, RIG_T8020, .darts = darts, .type = GR_DOMAIN_UNMANAGED, .ram = true);
        for (unsigned n = 0; n < 2; n++) {
            assert_int_equal(gr_domain_map(&b.domain, 0x8000, b.pa, 0x4000, RW), 0);
            for (unsigned i = 0; i < darts; i++)
                assert_true(rig_can_read(&b.rig, i, RIG_SID, 0x8000));
            assert_int_equal(gr_domain_unmap(&b.domain, 0x8000, 0x4000), 0);
            for (unsigned i = 0; i < darts; i++)
                assert_false(rig_can_read(&b.rig, i, RIG_SID, 0x8000));
        }
        bench_end(&b);
    }
}

/* Vector 13: unmap below a TTBR other than the first, with the same indices below another. */
static void vector_13_ttbr_above_0(void **state)
{
    static const unsigned with_four[] = {RIG_T8020_VA38, RIG_T8020_4K, RIG_S5L8960X};

    (void)state;
    for (size_t k = 0; k < sizeof(with_four) / sizeof(with_four[0]); k++) {
        struct bench b;
        uint64_t g, reach;

        bench_make(&b, with_four[k], .type = GR_DOMAIN_UNMANAGED, .ram = true);
        g = UINT64_C(1) << b.domain.pt.granule_lg2;
        assert_int_equal(b.domain.pt.roots_lg2, 2);
        reach = (b.domain.aperture.last + 1) / 4; /* of one TTBR */
        for (uint64_t i = 0; i < 4; i++)
            assert_int_equal(gr_domain_map(&b.domain, i * reach + 5 * g, b.pa, g, RW), 0);
        for (uint64_t gone = 4; gone-- > 0;) {
            for (uint64_t i = 0; i < 4; i++)
                assert_int_equal(rig_can_read(&b.rig, 0, RIG_SID, i * reach + 5 * g), i <= gone);
            assert_int_equal(gr_domain_unmap(&b.domain, gone * reach + 5 * g, g), 0);
        }
        assert_false(rig_can_read(&b.rig, 0, RIG_SID, 5 * g));
        bench_end(&b);
    }
}

/* Vector 14: a t8110's flush goes to 0x80, for the stream alone. */
static void vector_14_flush_of_one_stream(void **state)
{
    struct probe *const p = probe_new(T8110, 256);
    struct gr_binding b = {.inst = &p->dart.inst};

    (void)state;
    probe_start(p, 0);
    assert_int_equal(attach(p, 200, &one_root, &b), 0);
    p->written = 0;
    assert_int_equal(p->dart.inst.ops->invalidate(&p->dart.inst, &b, 0, UINT64_MAX, true), 0);
    ASSERT_WRITES(p, {0x80, 0x1c8});
    probe_free(p, true);
}

struct told {
    uint32_t reasons;
    uint64_t lost;
    unsigned count;
};

static bool tell(void *cookie, const struct gr_fault *fault)
{
    struct told *const t = cookie;

    t->reasons |= fault->reasons;
    t->lost += fault->lost;
    t->count++;
    return true;
}

/*
 * Vector 17: every code of every kind is told, alone and all at once, and a ring that overflows
 * says how many it dropped. What each code means is in test_dart_fault.c and test_dart_gen.c.
 */
static void vector_17_fault_codes(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        const struct kind *const k = &kinds[i];
        const uint32_t codes = k->kind == GR_DART_T8110      ? 0x20007fff
                               : k->kind == GR_DART_S5L8960X ? 0x1f
                                                             : 0x9ff;
        struct probe *const p = probe_new(k, k->streams);
        struct told t = {0};
        uint32_t alone;

        probe_start(p, 0);
        gr_instance_set_fault_handler(&p->dart.inst, tell, &t);
        for (uint32_t bit = 1; bit; bit <<= 1) {
            if (!(codes & bit))
                continue;
            t.reasons = 0;
            p->regs[k->error / 4] = 1u << 31 | bit;
            assert_true(gr_dart_isr(&p->dart));
            assert_int_equal(gr_fault_dispatch(&p->dart.inst), 1);
            assert_true(t.reasons && !(t.reasons & GR_FAULT_UNKNOWN) &&
                        !(t.reasons & (t.reasons - 1)));
        }
        t = (struct told){0};
        for (uint32_t bit = 1; bit; bit <<= 1) {
            if (!(codes & bit))
                continue;
            p->regs[k->error / 4] = 1u << 31 | bit;
            assert_true(gr_dart_isr(&p->dart));
            assert_int_equal(gr_fault_dispatch(&p->dart.inst), 1);
        }
        alone = t.reasons;
        t = (struct told){0};
        p->regs[k->error / 4] = 1u << 31 | codes;
        assert_true(gr_dart_isr(&p->dart));
        assert_int_equal(gr_fault_dispatch(&p->dart.inst), 1);
        assert_int_equal(t.reasons, alone);

        t = (struct told){0};
        for (unsigned n = 0; n < GR_CFG_FAULT_RING + 7; n++) {
            p->regs[k->error / 4] = 1u << 31 | 4;
            assert_true(gr_dart_isr(&p->dart));
        }
        assert_int_equal(gr_fault_dispatch(&p->dart.inst), GR_CFG_FAULT_RING);
        p->regs[k->error / 4] = 1u << 31 | 4;
        assert_true(gr_dart_isr(&p->dart));
        assert_int_equal(gr_fault_dispatch(&p->dart.inst), 1);
        assert_int_equal(t.count, GR_CFG_FAULT_RING + 1);
        assert_true(t.lost == 7);
        probe_free(p, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(erratum_01_uncached_leaves),
        rig_test(erratum_02_second_enable_word),
        rig_test(errata_03_05_streams_past_the_first_word),
        rig_test(erratum_04_one_ttbr),
        rig_test(erratum_06_wait_at_the_command),
        rig_test(erratum_07_flush_register_and_enable),
        rig_test(erratum_08_last_entry),
        rig_test(erratum_09_reasons_and_ttbrs),
        rig_test(erratum_10_resume_flushes),
        rig_test(erratum_12_writes_to_locked),
        rig_test(erratum_13_switches_flush),
        rig_test(erratum_14_first_and_last),
        rig_test(erratum_15_every_dart),
        rig_test(vector_13_ttbr_above_0),
        rig_test(vector_14_flush_of_one_stream),
        rig_test(vector_17_fault_codes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
