/* SPDX-License-Identifier: MIT */
/*
 * Storms of faults, lines that are shared, and what software can say about a fault: its domain's
 * diagnosis beside what the model's TLB holds.
 */
#include "bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

/* The access faults, and the domain says why. */
static enum gr_diagnosis diagnosis(struct bench *b, uint64_t iova, bool write)
{
    const uint64_t before = b->rig.faults;

    assert_false(write ? rig_can_write(&b->rig, 0, RIG_SID, iova)
                       : rig_can_read(&b->rig, 0, RIG_SID, iova));
    assert_true(b->rig.faults == before + 1);
    return gr_domain_diagnose(&b->domain, &b->rig.last_fault);
}

/* ---- diagnoses ---- */

static void names(void **state)
{
    (void)state;
    assert_null(gr_diagnosis_name((enum gr_diagnosis)0));
    for (unsigned d = GR_DIAGNOSIS_STALE; d <= GR_DIAGNOSIS_HARDWARE; d++) {
        const char *const name = gr_diagnosis_name((enum gr_diagnosis)d);

        assert_non_null(name);
        for (unsigned other = 1; other < d; other++)
            assert_string_not_equal(name, gr_diagnosis_name((enum gr_diagnosis)other));
    }
    assert_null(gr_diagnosis_name((enum gr_diagnosis)(GR_DIAGNOSIS_HARDWARE + 1)));
    assert_string_equal(gr_diagnosis_name(GR_DIAGNOSIS_STALE), "stale translation");
    assert_string_equal(gr_diagnosis_name(GR_DIAGNOSIS_NEVER_MAPPED), "never mapped");
    assert_string_equal(gr_diagnosis_name(GR_DIAGNOSIS_OUTSIDE), "outside the window");
    assert_string_equal(gr_diagnosis_name(GR_DIAGNOSIS_FIRMWARE), "firmware region");
}

/*
 * Never mapped; then mapped with the invalidation lost on the way, so that the TLB goes by the
 * absent entry that it has: stale, and the model's TLB shows it.
 */
static void never_mapped_and_stale(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU; kind++) {
        struct bench b;
        gr_iova_t iova, again;
        uint64_t leaf = UINT64_MAX;

        bench_make(&b, kind, .ram = true);
        assert_int_equal(gr_dma_map(&b.dev, b.pa, 0x4000, BOTH, 0, &iova), 0);
        assert_int_equal(gr_dma_unmap(&b.dev, iova, 0x4000, BOTH, 0), 0);
        assert_int_equal(diagnosis(&b, iova, false), GR_DIAGNOSIS_NEVER_MAPPED);
        assert_int_equal(diagnosis(&b, iova + 0x3fff, true), GR_DIAGNOSIS_NEVER_MAPPED);

        b.rig.dart[0].lose_commands = true;
        assert_int_equal(gr_dma_map(&b.dev, b.pa, 0x4000, BOTH, 0, &again), 0);
        b.rig.dart[0].lose_commands = false;
        assert_true(again == iova);
        assert_int_equal(diagnosis(&b, iova, false), GR_DIAGNOSIS_STALE);
        if (dart_model_cached(b.rig.dart[0].hw.model, RIG_SID, iova, &leaf))
            assert_true(!(leaf & 1)); /* what it goes by is not what the table says */
        assert_int_equal(gr_dma_unmap(&b.dev, iova, 0x4000, BOTH, 0), 0);
        assert_int_equal(diagnosis(&b, iova, false), GR_DIAGNOSIS_NEVER_MAPPED);
        bench_end(&b);
    }
}

static void protection(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU; kind++) {
        struct bench b;
        gr_iova_t iova;

        bench_make(&b, kind, .ram = true);
        assert_int_equal(gr_dma_map(&b.dev, b.pa, 0x4000, GR_DMA_TO_DEVICE, 0, &iova), 0);
        assert_int_equal(diagnosis(&b, iova, true), GR_DIAGNOSIS_PROTECTION);
        assert_int_equal(gr_dma_unmap(&b.dev, iova, 0x4000, GR_DMA_TO_DEVICE, 0), 0);
        assert_int_equal(gr_dma_map(&b.dev, b.pa, 0x4000, GR_DMA_FROM_DEVICE, 0, &iova), 0);
        assert_int_equal(diagnosis(&b, iova, false), GR_DIAGNOSIS_PROTECTION);
        assert_int_equal(gr_dma_unmap(&b.dev, iova, 0x4000, GR_DMA_FROM_DEVICE, 0), 0);
        bench_end(&b);
    }
}

static void window(void **state)
{
    struct bench b;
    gr_iova_t iova;

    (void)state;
    bench_make(&b, RIG_T6000, .isolation = GR_ISOLATION_WINDOW, .ram = true);
    assert_int_equal(gr_dma_map(&b.dev, b.pa + 0x1000, 0x800, BOTH, 0, &iova), 0);
    assert_true(rig_can_read(&b.rig, 0, RIG_SID, iova));
    assert_int_equal(diagnosis(&b, iova + 0x800, false), GR_DIAGNOSIS_WINDOW);
    assert_int_equal(diagnosis(&b, iova - 1, true), GR_DIAGNOSIS_WINDOW);
    assert_int_equal(gr_dma_unmap(&b.dev, iova, 0x800, BOTH, 0), 0);
    bench_end(&b);
}

static void outside_and_reserved(void **state)
{
    static const struct gr_range reserved[] = {{0x20000000, 0x2000ffff}, {0xf0000000, 0xf000ffff}};
    struct bench b;

    (void)state;
    bench_make(&b, RIG_T8020, .window = {0x10000000, 0x7fffffff}, .reserved = reserved,
               .reserved_count = 2, .ram = true);
    assert_int_equal(diagnosis(&b, 0xfffffff, false), GR_DIAGNOSIS_OUTSIDE);
    assert_int_equal(diagnosis(&b, 0x80000000, true), GR_DIAGNOSIS_OUTSIDE);
    assert_int_equal(diagnosis(&b, 0x20000000, false), GR_DIAGNOSIS_FIRMWARE);
    assert_int_equal(diagnosis(&b, 0x2000ffff, false), GR_DIAGNOSIS_FIRMWARE);
    assert_int_equal(diagnosis(&b, 0x20010000, false), GR_DIAGNOSIS_NEVER_MAPPED);
    assert_int_equal(diagnosis(&b, 0xf0008000, false), GR_DIAGNOSIS_FIRMWARE); /* and outside */
    bench_end(&b);
}

/* Of domains that let nothing pass, and of those without tables. */
static void other_types(void **state)
{
    const struct gr_fault fault = {.reasons = GR_FAULT_NO_LEAF, .iova = 0x1000};
    struct bench b;
    gr_iova_t iova;

    (void)state;
    bench_make(&b, RIG_T8020, .type = GR_DOMAIN_BLOCKED, .ram = true);
    assert_int_equal(gr_domain_diagnose(&b.domain, &fault), GR_DIAGNOSIS_BLOCKED);
    bench_end(&b);
    bench_make(&b, RIG_T8020, .type = GR_DOMAIN_IDENTITY, .ram = true);
    assert_int_equal(gr_domain_diagnose(&b.domain, &fault), GR_DIAGNOSIS_HARDWARE);
    bench_end(&b);
    bench_make(&b, RIG_T8020, .type = GR_DOMAIN_UNMANAGED, .ram = true);
    assert_int_equal(diagnosis(&b, 0x1000, false), GR_DIAGNOSIS_NEVER_MAPPED);
    assert_int_equal(gr_domain_map(&b.domain, 0, b.pa, 0x4000, GR_PROT_READ), 0);
    assert_int_equal(diagnosis(&b, 0x1000, true), GR_DIAGNOSIS_PROTECTION);
    assert_int_equal(gr_domain_unmap(&b.domain, 0, 0x4000), 0);
    bench_end(&b);

    /* Broken: everything of it is blocked. */
    bench_make(&b, RIG_T8020, .ram = true);
    assert_int_equal(gr_dma_map(&b.dev, b.pa, 0x4000, BOTH, 0, &iova), 0);
    b.rig.dart[0].hang = 1;
    assert_int_equal(gr_dma_unmap(&b.dev, iova, 0x4000, BOTH, 0), GR_ETIMEDOUT);
    b.rig.dart[0].busy_reads = 0;
    assert_int_equal(gr_domain_diagnose(&b.domain, &fault), GR_DIAGNOSIS_BLOCKED);
    bench_end(&b);
}

/* Allocated, and not in the tables: a handler that runs between the two. */
static void changing(void **state)
{
    struct gr_iova_req req = {.size = 0x4000};
    struct gr_fault fault = {.reasons = GR_FAULT_NO_LEAF};
    struct bench b;

    (void)state;
    bench_make(&b, RIG_T8020, .ram = true);
    assert_int_equal(gr_iova_alloc(&b.domain.iova, &req, &fault.iova), 0);
    assert_int_equal(gr_domain_diagnose(&b.domain, &fault), GR_DIAGNOSIS_CHANGING);
    assert_int_equal(gr_iova_free(&b.domain.iova, fault.iova, 0x4000), 0);
    assert_int_equal(gr_domain_diagnose(&b.domain, &fault), GR_DIAGNOSIS_NEVER_MAPPED);
    bench_end(&b);
}

static void hardware(void **state)
{
    static const uint32_t reasons[] = {GR_FAULT_EXTERNAL, GR_FAULT_FILTER, GR_FAULT_PROTECTED,
                                       GR_FAULT_STREAM,   GR_FAULT_CACHE,  GR_FAULT_SECONDARY};
    struct bench b;

    (void)state;
    bench_make(&b, RIG_T8020, .ram = true);
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        const struct gr_fault fault = {.reasons = reasons[i]};

        assert_int_equal(gr_domain_diagnose(&b.domain, &fault), GR_DIAGNOSIS_HARDWARE);
    }
    bench_end(&b);
}

/* From within the handler, where it is most of use. */
static bool in_handler(void *cookie, const struct gr_fault *fault)
{
    struct bench *const b = cookie;

    b->rig.faults++;
    assert_int_equal(gr_domain_diagnose(&b->domain, fault), GR_DIAGNOSIS_NEVER_MAPPED);
    return true;
}

static void from_a_handler(void **state)
{
    struct bench b;

    (void)state;
    bench_make(&b, RIG_T8020, .ram = true);
    gr_domain_set_fault_handler(&b.domain, in_handler, &b);
    assert_false(rig_can_read(&b.rig, 0, RIG_SID, 0x5000));
    assert_true(b.rig.faults == 1);
    bench_end(&b);
}

/* ---- storms ---- */

static void fault(struct bench *b)
{
    uint8_t byte;

    assert_int_not_equal(
        host_dart_access(&b->rig.dart[0].hw, RIG_SID, 0x5000, &byte, 1, false, true, NULL),
        MODEL_OK);
}

/*
 * A device that faults without end. t8110: after as many as are kept the line stays down, whatever
 * comes; the dispatch lets it rise again, and says how many were lost as far as known. The others
 * cannot be kept quiet: each fault is acknowledged, and the host is told that there is a storm.
 */
static void storm(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU; kind++) {
        const bool can_mask = rig_kinds[kind].driver == GR_DART_T8110;
        struct gr_instance *inst;
        struct host_dart *hw;
        unsigned interrupts = 0;
        struct bench b;

        bench_make(&b, kind, .ram = true);
        inst = &b.rig.dart[0].drv.inst;
        hw = &b.rig.dart[0].hw;
        for (unsigned i = 0; i < 10 * GR_CFG_FAULT_RING; i++) {
            fault(&b);
            for (; hw->irq; interrupts++)
                assert_true(gr_dart_isr(&b.rig.dart[0].drv));
            assert_int_equal(inst->fault_storm, i + 1 >= GR_CFG_FAULT_RING);
        }
        assert_int_equal(interrupts, can_mask ? GR_CFG_FAULT_RING : 10 * GR_CFG_FAULT_RING);
        assert_int_equal(gr_fault_dispatch(inst), GR_CFG_FAULT_RING);
        assert_false(inst->fault_storm);
        if (can_mask) { /* the one that found room in the hardware */
            assert_true(hw->irq);
            assert_true(gr_dart_isr(&b.rig.dart[0].drv));
            assert_false(hw->irq);
            assert_int_equal(gr_fault_dispatch(inst), 1);
        }
        fault(&b);
        assert_true(hw->irq);
        assert_true(gr_dart_isr(&b.rig.dart[0].drv));
        assert_false(inst->fault_storm);
        assert_int_equal(gr_fault_dispatch(inst), 1);
        if (!can_mask)
            assert_true(b.rig.last_fault.lost == 9 * GR_CFG_FAULT_RING);
        bench_end(&b);
    }
}

/* A storm in a ring that a dispatch ends while the instance is off: nothing is touched. */
static void storm_then_off(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU; kind++) {
        struct bench b;

        bench_make(&b, kind, .ram = true);
        for (unsigned i = 0; i < GR_CFG_FAULT_RING; i++) {
            fault(&b);
            assert_true(gr_dart_isr(&b.rig.dart[0].drv));
        }
        assert_int_equal(gr_dart_suspend(&b.rig.dart[0].drv), 0);
        dart_model_power(b.rig.dart[0].hw.model, false);
        assert_int_equal(gr_fault_dispatch(&b.rig.dart[0].drv.inst), GR_CFG_FAULT_RING);
        dart_model_power(b.rig.dart[0].hw.model, true);
        assert_int_equal(gr_dart_resume(&b.rig.dart[0].drv), 0);
        fault(&b);
        assert_true(b.rig.dart[0].hw.irq); /* not masked */
        assert_true(gr_dart_isr(&b.rig.dart[0].drv));
        bench_end(&b);
    }
}

/* ---- a line that two instances share ---- */

static void shared_line(void **state)
{
    static const unsigned pairs[][2] = {
        {RIG_T6000, RIG_T6000}, {RIG_T8110, RIG_T8110_2_2}, {RIG_USB4, RIG_S5L8960X}};

    (void)state;
    for (size_t n = 0; n < sizeof(pairs) / sizeof(pairs[0]); n++) {
        const struct rig_setup setup[RIG_DARTS] = {{.kind = pairs[n][0]}, {.kind = pairs[n][1]}};
        struct gr_stream streams[2];
        struct gr_device dev[2];
        struct gr_domain domain[2];
        struct rig rig;

        rig_make(&rig, 4096, 1, 2, setup);
        for (unsigned i = 0; i < 2; i++) {
            const struct gr_device_config config = rig_device(&rig, &streams[i], i, 1, RIG_SID);

            assert_int_equal(gr_device_init(&dev[i], &config), 0);
            assert_int_equal(gr_domain_init(&domain[i], rig.host, &dev[i], GR_DOMAIN_TRANSLATED, 0),
                             0);
            assert_int_equal(gr_domain_attach(&domain[i], &dev[i]), 0);
        }
        for (unsigned who = 1; who < 4; who++) {
            for (unsigned i = 0; i < 2; i++) {
                uint8_t byte;

                if (who >> i & 1)
                    (void)host_dart_access(&rig.dart[i].hw, RIG_SID, 0x9000, &byte, 1, false, true,
                                           NULL);
            }
            for (unsigned i = 0; i < 2; i++) { /* the host asks each */
                assert_int_equal(gr_dart_isr(&rig.dart[i].drv), who >> i & 1);
                assert_int_equal(gr_fault_dispatch(&rig.dart[i].drv.inst), who >> i & 1);
                if (who >> i & 1) {
                    assert_ptr_equal(rig.last_fault.instance, &rig.dart[i].drv.inst);
                    assert_true(rig.last_fault.iova == 0x9000);
                    assert_int_equal(rig.last_fault.stream, RIG_SID);
                }
            }
            assert_false(rig.dart[0].hw.irq || rig.dart[1].hw.irq);
        }
        /* One of the two is off: it is not asked, and the other still is. */
        assert_int_equal(gr_dart_suspend(&rig.dart[0].drv), 0);
        dart_model_power(rig.dart[0].hw.model, false);
        assert_false(rig_can_read(&rig, 1, RIG_SID, 0x9000));
        assert_false(gr_dart_isr(&rig.dart[0].drv));
        for (unsigned i = 0; i < 2; i++) {
            assert_int_equal(gr_domain_detach(&domain[i], &dev[i]), 0);
            assert_int_equal(gr_domain_fini(&domain[i]), 0);
            assert_int_equal(gr_device_fini(&dev[i]), 0);
        }
        rig_end(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(names),
        rig_test(never_mapped_and_stale),
        rig_test(protection),
        rig_test(window),
        rig_test(outside_and_reserved),
        rig_test(other_types),
        rig_test(changing),
        rig_test(hardware),
        rig_test(from_a_handler),
        rig_test(storm),
        rig_test(storm_then_off),
        rig_test(shared_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
