/* SPDX-License-Identifier: MIT */
/*
 * Instances whose power goes and comes back, with domains, on every kind of DART. The models count
 * every access to a register that has no power as misuse, and rig_end() wants none.
 */
#include "bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct gr_dart *dart(struct bench *b, unsigned i)
{
    return &b->rig.dart[i].drv;
}

static struct dart_model *model(struct bench *b, unsigned i)
{
    return b->rig.dart[i].hw.model;
}

static void power_off(struct bench *b, unsigned i)
{
    assert_int_equal(gr_dart_suspend(dart(b, i)), 0);
    dart_model_power(model(b, i), false);
}

static void power_on(struct bench *b, unsigned i)
{
    dart_model_power(model(b, i), true);
    assert_int_equal(gr_dart_resume(dart(b, i)), 0);
}

static gr_iova_t map(struct bench *b)
{
    gr_iova_t iova;

    assert_int_equal(gr_dma_map(&b->dev, b->pa, 0x4000, BOTH, 0, &iova), 0);
    return iova;
}

static void unmap(struct bench *b, gr_iova_t iova)
{
    assert_int_equal(gr_dma_unmap(&b->dev, iova, 0x4000, BOTH, 0), 0);
}

/* What is mapped while it is off is there when it is back, and what is unmapped is not. */
static void translated(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU; kind++) {
        struct bench b;
        gr_iova_t old, kept, new;
        uint64_t commands;

        bench_make(&b, kind, .ram = true);
        old = map(&b);
        kept = map(&b);
        assert_true(rig_can_read(&b.rig, 0, RIG_SID, old));
        power_off(&b, 0);
        commands = dart(&b, 0)->invalidations;
        assert_false(gr_dart_isr(dart(&b, 0)));
        unmap(&b, old);
        new = map(&b);
        assert_true(dart(&b, 0)->invalidations == commands);
        assert_int_equal(gr_dart_suspend(dart(&b, 0)), 0); /* again */
        power_on(&b, 0);
        assert_true(rig_can_read(&b.rig, 0, RIG_SID, kept));
        assert_true(rig_can_write(&b.rig, 0, RIG_SID, new));
        if (old != new)
            assert_false(rig_can_read(&b.rig, 0, RIG_SID, old));
        unmap(&b, new);
        assert_false(rig_can_read(&b.rig, 0, RIG_SID, new));
        unmap(&b, kept);
        assert_false(rig_can_read(&b.rig, 0, RIG_SID, kept));
        bench_end(&b);
    }
}

/*
 * The host did not cut the power after all: nothing passes, nothing that was cached comes back, and
 * resume does not rely on registers in reset.
 */
static void power_stays(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU; kind++) {
        struct bench b;
        gr_iova_t old, new;
        uint64_t leaf;

        bench_make(&b, kind, .ram = true);
        old = map(&b);
        assert_true(rig_can_read(&b.rig, 0, RIG_SID, old));
        dart_model_set_busy(model(&b, 0), 1000, false);
        assert_int_equal(gr_dart_suspend(dart(&b, 0)), 0);
        assert_false(dart_model_cached(model(&b, 0), RIG_SID, old, &leaf));
        assert_false(rig_can_read(&b.rig, 0, RIG_SID, old));
        unmap(&b, old);
        new = map(&b);
        assert_int_equal(gr_dart_resume(dart(&b, 0)), 0);
        assert_true(rig_can_read(&b.rig, 0, RIG_SID, new));
        unmap(&b, new);
        bench_end(&b);
    }
}

/* One that was not suspended comes back as well: it may have been reset behind our back. */
static void resume_alone(void **state)
{
    struct bench b;
    gr_iova_t iova;

    (void)state;
    bench_make(&b, RIG_T8020, .ram = true);
    iova = map(&b);
    dart_model_power(model(&b, 0), false);
    power_on(&b, 0);
    assert_true(rig_can_read(&b.rig, 0, RIG_SID, iova));
    unmap(&b, iova);
    bench_end(&b);
}

static void bypassed_and_blocked(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU; kind++) {
        struct bench b;

        if (dart_model_defaults(rig_kinds[kind].model).bypass) {
            bench_make(&b, kind, .type = GR_DOMAIN_IDENTITY, .ram = true);
            assert_true(rig_can_read(&b.rig, 0, RIG_SID, b.pa));
            power_off(&b, 0);
            power_on(&b, 0);
            assert_true(rig_can_read(&b.rig, 0, RIG_SID, b.pa));
            bench_end(&b);
        }
        bench_make(&b, kind, .type = GR_DOMAIN_BLOCKED, .ram = true);
        power_off(&b, 0);
        power_on(&b, 0);
        assert_false(rig_can_read(&b.rig, 0, RIG_SID, b.pa));
        bench_end(&b);
    }
}

/*
 * A stream that left without an answer, since another's command hung, and then goes to a BLOCKED
 * domain: that is asked again, so that the tables it had can go.
 */
static void blocked_confirms(void **state)
{
    struct gr_domain closed;
    struct bench b;
    gr_iova_t iova;
    uint64_t leaf;

    (void)state;
    bench_make(&b, RIG_T8020, .ram = true);
    iova = map(&b);
    assert_true(rig_can_read(&b.rig, 0, RIG_SID, iova));
    dart_model_set_busy(model(&b, 0), 0, true);
    dart_model_write32(model(&b, 0), 0x34, 1u << 7);
    dart_model_write32(model(&b, 0), 0x20, 1u << 20);
    assert_int_equal(gr_domain_detach(&b.domain, &b.dev), GR_ETIMEDOUT);
    dart_model_set_busy(model(&b, 0), 0, false);
    assert_true(dart_model_cached(model(&b, 0), RIG_SID, iova, &leaf));
    assert_int_equal(gr_domain_init(&closed, b.rig.host, &b.dev, GR_DOMAIN_BLOCKED, 0), 0);
    assert_int_equal(gr_domain_attach(&closed, &b.dev), 0);
    assert_false(dart_model_cached(model(&b, 0), RIG_SID, iova, &leaf));
    assert_int_equal(gr_domain_attach(&b.domain, &b.dev), 0);
    assert_int_equal(gr_domain_fini(&closed), 0);
    unmap(&b, iova);
    bench_end(&b);
}

/* Attached, moved and detached while it is off: remembered. */
static void changes_while_off(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU; kind++) {
        struct gr_domain other;
        struct bench b;
        gr_iova_t iova;

        bench_make(&b, kind, .ram = true);
        iova = map(&b);
        power_off(&b, 0);
        assert_int_equal(gr_domain_detach(&b.domain, &b.dev), 0);
        power_on(&b, 0);
        assert_false(rig_can_read(&b.rig, 0, RIG_SID, iova));

        power_off(&b, 0);
        assert_int_equal(gr_domain_attach(&b.domain, &b.dev), 0);
        power_on(&b, 0);
        assert_true(rig_can_read(&b.rig, 0, RIG_SID, iova));

        assert_int_equal(
            gr_domain_init(&other, b.rig.host, &b.dev, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE), 0);
        power_off(&b, 0);
        assert_int_equal(gr_domain_attach(&other, &b.dev), 0);
        power_on(&b, 0);
        assert_false(rig_can_read(&b.rig, 0, RIG_SID, iova));
        assert_int_equal(gr_domain_map(&other, 0, b.pa, 0x4000, GR_PROT_READ), 0);
        assert_true(rig_can_read(&b.rig, 0, RIG_SID, 0x123));
        assert_int_equal(gr_domain_attach(&b.domain, &b.dev), 0);
        assert_int_equal(gr_domain_unmap(&other, 0, 0x4000), 0);
        assert_int_equal(gr_domain_fini(&other), 0);
        assert_true(rig_can_read(&b.rig, 0, RIG_SID, iova));
        unmap(&b, iova);
        bench_end(&b);
    }
}

/* Two DARTs in front of one device, of which one is off. */
static void one_of_two(void **state)
{
    struct bench b;
    gr_iova_t iova;

    (void)state;
    bench_make(&b, RIG_T6000, .darts = 2, .ram = true);
    iova = map(&b);
    assert_true(rig_can_read(&b.rig, 0, RIG_SID, iova));
    assert_true(rig_can_read(&b.rig, 1, RIG_SID, iova));
    power_off(&b, 1);
    unmap(&b, iova);
    assert_false(rig_can_read(&b.rig, 0, RIG_SID, iova)); /* still asked */
    iova = map(&b);
    assert_true(rig_can_read(&b.rig, 0, RIG_SID, iova));
    power_on(&b, 1);
    assert_true(rig_can_read(&b.rig, 1, RIG_SID, iova));
    unmap(&b, iova);
    assert_false(rig_can_read(&b.rig, 1, RIG_SID, iova));
    bench_end(&b);
}

/* A command that does not end: nothing passes, and a second attempt brings all back. */
static void suspend_times_out(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU; kind++) {
        struct bench b;
        gr_iova_t iova;

        bench_make(&b, kind, .ram = true);
        iova = map(&b);
        b.rig.dart[0].hang = 1;
        assert_int_equal(gr_dart_suspend(dart(&b, 0)), GR_ETIMEDOUT);
        assert_false(dart(&b, 0)->off);
        assert_false(rig_can_read(&b.rig, 0, RIG_SID, iova));
        b.rig.dart[0].busy_reads = 0;
        assert_int_equal(gr_dart_suspend(dart(&b, 0)), 0);
        assert_int_equal(gr_dart_resume(dart(&b, 0)), 0);
        assert_true(rig_can_read(&b.rig, 0, RIG_SID, iova));

        /* Or without it. */
        b.rig.dart[0].hang = 1;
        assert_int_equal(gr_dart_suspend(dart(&b, 0)), GR_ETIMEDOUT);
        b.rig.dart[0].busy_reads = 0;
        assert_int_equal(gr_dart_resume(dart(&b, 0)), 0);
        assert_true(rig_can_read(&b.rig, 0, RIG_SID, iova));
        unmap(&b, iova);
        bench_end(&b);
    }
}

static void resume_times_out(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU; kind++) {
        /* In the reset, and at the first and the second stream. */
        for (unsigned at = 0; at < 3; at++) {
            struct gr_stream second = {.sid = 1, .window = {0, UINT64_MAX}};
            struct gr_device_config config = {
                .name = "second", .streams = &second, .stream_count = 1, .coherent = true};
            struct gr_domain domain;
            struct gr_device dev;
            struct bench b;
            gr_iova_t iova, other;

            bench_make(&b, kind, .ram = true);
            second.inst = &dart(&b, 0)->inst;
            assert_int_equal(gr_device_init(&dev, &config), 0);
            assert_int_equal(gr_domain_init(&domain, b.rig.host, &dev, GR_DOMAIN_TRANSLATED, 0), 0);
            assert_int_equal(gr_domain_attach(&domain, &dev), 0);
            iova = map(&b);
            assert_int_equal(gr_dma_map(&dev, b.pa, 0x4000, BOTH, 0, &other), 0);
            power_off(&b, 0);
            dart_model_power(model(&b, 0), true);
            b.rig.dart[0].hang = 1 + at;
            if (at && rig_kinds[kind].model == DART_MODEL_T8110)
                b.rig.dart[0].hang = 16 + at; /* one command for each stream in the reset */
            assert_int_equal(gr_dart_resume(dart(&b, 0)), GR_ETIMEDOUT);
            assert_false(dart(&b, 0)->off);
            assert_false(rig_can_read(&b.rig, 0, RIG_SID, iova));
            assert_false(rig_can_read(&b.rig, 0, 1, other));
            b.rig.dart[0].busy_reads = 0;
            power_off(&b, 0);
            power_on(&b, 0);
            assert_true(rig_can_read(&b.rig, 0, RIG_SID, iova));
            assert_true(rig_can_read(&b.rig, 0, 1, other));
            unmap(&b, iova);
            assert_int_equal(gr_dma_unmap(&dev, other, 0x4000, BOTH, 0), 0);
            assert_int_equal(gr_domain_detach(&domain, &dev), 0);
            assert_int_equal(gr_domain_fini(&domain), 0);
            assert_int_equal(gr_device_fini(&dev), 0);
            bench_end(&b);
        }
    }
}

/* After a failed resume it counts as on: an unmap asks it, and what it does not confirm stays. */
static void unmap_after_failed_resume(void **state)
{
    struct gr_domain_stats stats;
    struct bench b;
    gr_iova_t iova;

    (void)state;
    bench_make(&b, RIG_T8020, .ram = true);
    iova = map(&b);
    power_off(&b, 0);
    dart_model_power(model(&b, 0), true);
    b.rig.dart[0].hang = 1;
    assert_int_equal(gr_dart_resume(dart(&b, 0)), GR_ETIMEDOUT);
    b.rig.dart[0].busy_reads = 0;
    b.rig.dart[0].hang = 1;
    assert_int_equal(gr_dma_unmap(&b.dev, iova, 0x4000, BOTH, 0), GR_ETIMEDOUT);
    gr_domain_stats(&b.domain, &stats);
    assert_true(stats.broken);
    b.rig.dart[0].busy_reads = 0;

    /* What broke stays blocked. */
    power_off(&b, 0);
    power_on(&b, 0);
    assert_false(rig_can_read(&b.rig, 0, RIG_SID, iova));
    assert_int_equal(dart_model_read32(model(&b, 0), 0x100 + 4 * RIG_SID), 0);
    bench_end(&b);
}

/* Without power, or another one in its place: refused, and not a register is written. */
static bool answers_nothing;

static uint32_t absent_read32(void *opaque, uint32_t offset)
{
    struct rig_dart *const d = opaque;

    return answers_nothing && offset < 0x10 ? UINT32_MAX : dart_model_read32(d->hw.model, offset);
}

static void resume_without_power(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU; kind++) {
        uint32_t (*tap)(void *, uint32_t);
        struct bench b;
        gr_iova_t iova;

        if (kind == RIG_S5L8960X)
            continue; /* has nothing that tells */
        bench_make(&b, kind, .ram = true);
        power_off(&b, 0);
        dart_model_power(model(&b, 0), true);
        tap = b.rig.dart[0].tap.read32;
        b.rig.dart[0].tap.read32 = absent_read32;
        answers_nothing = true;
        assert_int_equal(gr_dart_resume(dart(&b, 0)), GR_EIO);
        assert_true(dart(&b, 0)->off);
        dart_model_power(model(&b, 0), false); /* from here on an access would be misuse */
        iova = map(&b);
        unmap(&b, iova);
        answers_nothing = false;
        b.rig.dart[0].tap.read32 = tap;
        power_on(&b, 0);
        iova = map(&b);
        assert_true(rig_can_read(&b.rig, 0, RIG_SID, iova));
        unmap(&b, iova);
        bench_end(&b);
    }
}

/* Firmware locks it on its way back: what would be written is dropped, so it stays off. */
static void resume_locked(void **state)
{
    static const struct {
        unsigned kind;
        uint32_t offset, bit;
    } v[] = {{RIG_T8020, 0x60, 1u << 15}, {RIG_T8110, 0x200, 1}};

    (void)state;
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        struct bench b;
        gr_iova_t iova;

        bench_make(&b, v[i].kind, .ram = true);
        power_off(&b, 0);
        dart_model_power(model(&b, 0), true);
        dart_model_poke32(model(&b, 0), v[i].offset, v[i].bit);
        assert_int_equal(gr_dart_resume(dart(&b, 0)), GR_EOPNOTSUPP);
        assert_true(dart(&b, 0)->off);
        assert_true(dart_model_stats(model(&b, 0))->locked_writes == 0);
        dart_model_power(model(&b, 0), false);
        iova = map(&b);
        power_on(&b, 0);
        assert_true(rig_can_read(&b.rig, 0, RIG_SID, iova));
        unmap(&b, iova);
        bench_end(&b);
    }
}

/* It is gone: the device, then the instance, go in order and touch nothing. */
static void lost(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU; kind++) {
        struct bench b;
        gr_iova_t iova;

        bench_make(&b, kind, .ram = true);
        iova = map(&b);
        dart_model_power(model(&b, 0), false);
        gr_dart_lost(dart(&b, 0));
        assert_false(gr_dart_isr(dart(&b, 0)));
        assert_int_equal(gr_device_fini(&b.dev), GR_EBUSY);
        assert_int_equal(gr_dart_fini(dart(&b, 0)), GR_EBUSY);
        unmap(&b, iova);
        bench_end(&b); /* with gr_dart_fini() */
    }
}

/* It comes back. */
static void lost_and_found(void **state)
{
    struct bench b;
    gr_iova_t iova;

    (void)state;
    bench_make(&b, RIG_USB4, .ram = true);
    iova = map(&b);
    dart_model_power(model(&b, 0), false);
    gr_dart_lost(dart(&b, 0));
    unmap(&b, iova);
    iova = map(&b);
    power_on(&b, 0);
    assert_true(rig_can_read(&b.rig, 0, RIG_SID, iova));
    unmap(&b, iova);
    bench_end(&b);
}

/* A device goes while its buffers are mapped: they stay the domain's, and go one by one. */
static void device_goes_in_use(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU; kind++) {
        struct gr_device_config config;
        struct bench b;
        gr_iova_t iova;

        bench_make(&b, kind, .ram = true);
        iova = map(&b);
        assert_true(rig_can_write(&b.rig, 0, RIG_SID, iova));
        assert_int_equal(gr_device_fini(&b.dev), GR_EBUSY);
        assert_int_equal(gr_domain_detach(&b.domain, &b.dev), 0);
        assert_false(rig_can_write(&b.rig, 0, RIG_SID, iova));
        assert_int_equal(gr_domain_fini(&b.domain), GR_EBUSY); /* mapped */
        assert_int_equal(gr_device_fini(&b.dev), 0);
        config = rig_device(&b.rig, b.stream, 0, 1, RIG_SID);
        assert_int_equal(gr_device_init(&b.dev, &config), 0); /* plugged in again */
        assert_int_equal(gr_domain_attach(&b.domain, &b.dev), 0);
        assert_true(rig_can_write(&b.rig, 0, RIG_SID, iova));
        unmap(&b, iova);
        bench_end(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(translated),
        rig_test(power_stays),
        rig_test(resume_alone),
        rig_test(bypassed_and_blocked),
        rig_test(blocked_confirms),
        rig_test(changes_while_off),
        rig_test(one_of_two),
        rig_test(suspend_times_out),
        rig_test(resume_times_out),
        rig_test(unmap_after_failed_resume),
        rig_test(resume_without_power),
        rig_test(resume_locked),
        rig_test(lost),
        rig_test(lost_and_found),
        rig_test(device_goes_in_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
