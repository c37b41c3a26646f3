/* SPDX-License-Identifier: MIT */
/*
 * Corners that the tests of a layer do not come by: mixed instances, windows at the ends of the
 * address space, a way back that is closed, and tables of three levels where the middle one counts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "iommu/iommu_internal.h"

static void domain_make(struct rig *rig, struct gr_domain *domain, struct client *c,
                        enum gr_domain_type type)
{
    assert_int_equal(gr_domain_init(domain, rig->host, &c->dev, type, GR_DOMAIN_LP_AWARE), 0);
}

static struct gr_domain_stats stats_of(struct gr_domain *domain)
{
    struct gr_domain_stats stats;

    gr_domain_stats(domain, &stats);
    return stats;
}

/* ---- devices ---- */

/* Two streams of one instance: both translate, both stop; a second device with the same two. */
static void test_two_streams(void **state)
{
    struct rig rig;
    struct client c[2];
    struct gr_domain domain;

    (void)state;
    rig_make_plain(&rig, RIG_T8110, 1);
    for (unsigned i = 0; i < 2; i++) {
        c[i].config = rig_device(&rig, c[i].stream, 0, 1, 3);
        c[i].stream[1] = c[i].stream[0];
        c[i].stream[1].sid = 4;
        c[i].config.stream_count = 2;
        assert_int_equal(gr_device_init(&c[i].dev, &c[i].config), 0);
        assert_ptr_equal(c[i].dev.group, c[0].dev.group);
    }
    domain_make(&rig, &domain, &c[1], GR_DOMAIN_UNMANAGED);
    assert_int_equal(gr_domain_map(&domain, 0, 0, KIB * 16, RW), 0);
    assert_int_equal(gr_domain_attach(&domain, &c[0].dev), 0);
    assert_true(rig_can_read(&rig, 0, 3, 0) && rig_can_read(&rig, 0, 4, 0));
    assert_int_equal(gr_domain_unmap(&domain, 0, KIB * 16), 0);
    assert_false(rig_can_read(&rig, 0, 3, 0) || rig_can_read(&rig, 0, 4, 0));
    assert_int_equal(gr_domain_detach(&domain, &c[1].dev), 0);
    assert_int_equal(gr_domain_fini(&domain), 0);
    client_end(&c[0]);
    client_end(&c[1]);
    rig_end(&rig);
}

static void test_reserved_backwards(void **state)
{
    const struct gr_range reserved[] = {{7, 7}, {2, 1}};
    struct rig rig;
    struct client c;

    (void)state;
    rig_make_plain(&rig, RIG_T8020, 1);
    c.config = rig_device(&rig, c.stream, 0, 1, RIG_SID);
    c.config.reserved = reserved;
    c.config.reserved_count = 2;
    assert_int_equal(gr_device_init(&c.dev, &c.config), GR_EINVAL);
    c.config.reserved_count = 1;
    assert_int_equal(gr_device_init(&c.dev, &c.config), 0);
    client_end(&c);
    rig_end(&rig);
}

/* ---- domains ---- */

/* A window without a whole granule, at either end of the address space. */
static void test_thin_windows(void **state)
{
    static const struct gr_range windows[] = {
        {0, 0x3ffe}, {1, 0x4000}, {UINT64_MAX - 0x3ffe, UINT64_MAX}, {UINT64_MAX, UINT64_MAX}};
    struct rig rig;

    (void)state;
    rig_make(&rig, 4096, 1, 1,
             &(const struct rig_setup){.kind = RIG_T8020, .aperture = {0, 0xffffffff}});
    for (unsigned i = 0; i < 4; i++) {
        struct client c;
        struct gr_domain domain;

        c.config = rig_device(&rig, c.stream, 0, 1, RIG_SID);
        c.stream[0].window = windows[i];
        assert_int_equal(gr_device_init(&c.dev, &c.config), 0);
        assert_int_equal(gr_domain_init(&domain, rig.host, &c.dev, GR_DOMAIN_TRANSLATED, 0),
                         GR_ERANGE);
        client_end(&c);
    }
    rig_end(&rig);
}

/* One instance that does not snoop is enough: the tables of the domain are cleaned. */
static void test_one_walker_does_not_snoop(void **state)
{
    (void)state;
    for (unsigned last = 0; last < 2; last++) {
        struct rig rig;
        struct client c;
        struct gr_domain domain;
        uint64_t cleans;

        rig_make_plain(&rig, RIG_T8020, 2);
        rig.dart[last].drv.inst.table.coherent = false;
        client_make(&rig, &c, 0, 2, RIG_SID);
        domain_make(&rig, &domain, &c, GR_DOMAIN_UNMANAGED);
        cleans = host_calls(rig.host, HOST_CLEAN);
        assert_int_equal(gr_domain_map(&domain, 0, 0, 16 * KIB, RW), 0);
        assert_true(host_calls(rig.host, HOST_CLEAN) >= cleans + 3); /* leaf, table, its entry */
        assert_int_equal(gr_domain_attach(&domain, &c.dev), 0);
        assert_true(rig_can_read(&rig, 0, RIG_SID, 0) && rig_can_read(&rig, 1, RIG_SID, 0));
        assert_int_equal(gr_domain_detach(&domain, &c.dev), 0);
        assert_int_equal(gr_domain_fini(&domain), 0);
        client_end(&c);
        rig_end(&rig);
    }
}

/* Each single thing that an instance cannot do is enough to refuse a domain made for another. */
static void test_each_misfit(void **state)
{
    enum { LOCKED, GRANULE, FORMAT, LEVELS, ROOTS, PA, COHERENT, FIRST, LAST, NONE };

    (void)state;
    for (unsigned what = 0; what <= NONE; what++) {
        const struct rig_setup setup[] = {
            {.kind = RIG_T8020_VA38, .aperture = {GIB, 128 * GIB - 1}},
            {.kind = RIG_T8020_VA38, .aperture = {GIB, 128 * GIB - 1}},
        };
        struct rig rig;
        struct client made_for;
        struct client other;
        struct gr_domain domain;
        struct gr_instance *inst;
        int ret;

        rig_make(&rig, 4096, 1, 2, setup);
        client_make(&rig, &made_for, 0, 1, RIG_SID);
        client_make(&rig, &other, 1, 1, RIG_SID);
        domain_make(&rig, &domain, &made_for, GR_DOMAIN_UNMANAGED);
        assert_int_equal(domain.pt.roots_lg2, 2);
        inst = &rig.dart[1].drv.inst;
        inst->locked = what == LOCKED;
        inst->table.granule_lg2 = what == GRANULE ? 12 : 14;
        inst->table.format = what == FORMAT ? GR_PT_DART2 : GR_PT_DART1;
        inst->table.levels = what == LEVELS ? 1 : 2;
        inst->table.roots_lg2 = what == ROOTS ? 1 : 2;
        inst->table.pa_bits = what == PA ? 35 : 36;
        inst->table.coherent = what != COHERENT;
        inst->aperture.first = what == FIRST ? GIB + 1 : GIB;
        inst->aperture.last = what == LAST ? 128 * GIB - 2 : 128 * GIB - 1;
        ret = gr_domain_attach(&domain, &other.dev);
        assert_int_equal(ret, what == NONE ? 0 : what >= FIRST ? GR_ERANGE : GR_EOPNOTSUPP);
        assert_ptr_equal(gr_device_domain(&other.dev), what == NONE ? &domain : NULL);
        inst->locked = false;
        if (what == NONE)
            assert_int_equal(gr_domain_detach(&domain, &other.dev), 0);
        assert_int_equal(gr_domain_fini(&domain), 0);
        client_end(&made_for);
        client_end(&other);
        rig_end(&rig);
    }
}

/* A domain invalidates on map from when the first instance that caches absent entries comes. */
static void test_absent_entries(void **state)
{
    struct rig rig;
    struct client c[2];
    struct gr_domain domain;
    const uint64_t g = 16 * KIB;

    (void)state;
    rig_make_plain(&rig, RIG_T8110, 2);
    rig.dart[0].drv.inst.caches_absent = false;
    client_make(&rig, &c[0], 0, 1, RIG_SID);
    client_make(&rig, &c[1], 1, 1, RIG_SID);
    domain_make(&rig, &domain, &c[0], GR_DOMAIN_UNMANAGED);
    assert_int_equal(gr_domain_attach(&domain, &c[0].dev), 0);
    assert_int_equal(gr_domain_map(&domain, 0, 0, g, RW), 0);
    assert_int_equal(stats_of(&domain).invalidations, 0);
    assert_int_equal(gr_domain_attach(&domain, &c[1].dev), 0);
    assert_false(rig_can_read(&rig, 1, RIG_SID, g));
    assert_int_equal(gr_domain_map(&domain, g, 0, g, RW), 0);
    assert_int_equal(stats_of(&domain).invalidations, 1);
    assert_true(rig_can_read(&rig, 1, RIG_SID, g));
    assert_int_equal(gr_domain_detach(&domain, &c[0].dev), 0);
    assert_int_equal(gr_domain_detach(&domain, &c[1].dev), 0);
    assert_int_equal(gr_domain_fini(&domain), 0);
    client_end(&c[0]);
    client_end(&c[1]);
    rig_end(&rig);
}

/* A device that must not be given what is allocated already cannot come. */
static void test_reserved_is_in_use(void **state)
{
    struct rig rig;
    struct client c[2];
    struct gr_domain domain;
    struct gr_range reserved[2] = {{0, 0}, {0, 0}};
    gr_iova_t iova;

    (void)state;
    rig_make_plain(&rig, RIG_T8020, 2);
    client_make(&rig, &c[0], 0, 1, RIG_SID);
    domain_make(&rig, &domain, &c[0], GR_DOMAIN_TRANSLATED);
    assert_int_equal(gr_domain_attach(&domain, &c[0].dev), 0);
    assert_int_equal(gr_dma_map(&c[0].dev, RIG_LOW, 1, GR_DMA_BIDIRECTIONAL, 0, &iova), 0);
    assert_int_equal(gr_domain_detach(&domain, &c[0].dev), 0);
    reserved[1] = (struct gr_range){iova, iova};
    c[1].config = rig_device(&rig, c[1].stream, 1, 1, RIG_SID);
    c[1].config.reserved = reserved;
    c[1].config.reserved_count = 2;
    assert_int_equal(gr_device_init(&c[1].dev, &c[1].config), 0);
    assert_int_equal(gr_domain_attach(&domain, &c[1].dev), GR_EBUSY);
    assert_null(gr_device_domain(&c[1].dev));
    assert_int_equal(gr_domain_attach(&domain, &c[0].dev), 0);
    assert_int_equal(gr_dma_unmap(&c[0].dev, iova, 1, GR_DMA_BIDIRECTIONAL, 0), 0);
    assert_int_equal(gr_domain_detach(&domain, &c[0].dev), 0);
    assert_int_equal(gr_domain_attach(&domain, &c[1].dev), 0);
    assert_int_equal(gr_domain_detach(&domain, &c[1].dev), 0);
    assert_int_equal(gr_domain_fini(&domain), 0);
    client_end(&c[0]);
    client_end(&c[1]);
    rig_end(&rig);
}

/* From a broken domain to one that cannot be attached: there is no way back, so it is nowhere. */
static void test_no_way_back(void **state)
{
    struct bench b;
    struct gr_domain next;

    (void)state;
    bench_make(&b, RIG_T8020, .type = GR_DOMAIN_UNMANAGED);
    assert_int_equal(
        gr_domain_init(&next, b.rig.host, &b.dev, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE), 0);
    assert_int_equal(gr_domain_map(&next, 0, 0, b.g, RW), 0);
    assert_int_equal(gr_domain_map(&b.domain, 0, 0, b.g, RW), 0);
    b.rig.dart[0].hang = 1;
    assert_int_equal(gr_domain_unmap(&b.domain, 0, b.g), GR_ETIMEDOUT);
    assert_true(stats_of(&b.domain).broken);
    b.rig.dart[0].hang = 2; /* the first blocks, the second attaches */
    assert_int_equal(gr_domain_attach(&next, &b.dev), GR_ETIMEDOUT);
    assert_null(gr_device_domain(&b.dev));
    assert_true(host_logged(b.rig.host, "device: blocked: the return to"));
    assert_false(rig_can_read(&b.rig, 0, RIG_SID, 0));
    assert_int_equal(gr_domain_attach(&next, &b.dev), 0);
    assert_true(rig_can_read(&b.rig, 0, RIG_SID, 0));
    assert_int_equal(gr_domain_detach(&next, &b.dev), 0);
    assert_int_equal(gr_domain_fini(&next), 0);
    assert_int_equal(gr_domain_fini(&b.domain), 0);
    assert_int_equal(gr_device_fini(&b.dev), 0);
    rig_end(&b.rig);
}

/*
 * A broken domain takes nobody in, so what was mapped in it cannot be unmapped once its device has
 * left; it can be freed all the same. With `doubt` the device leaves without a confirmation, and
 * the tables stay allocated.
 */
static void leave_live(bool doubt)
{
    struct gr_domain_stats stats;
    struct bench b;
    gr_iova_t one;
    gr_iova_t other;

    bench_make(&b, RIG_T8020);
    assert_int_equal(gr_dma_map(&b.dev, RIG_BIG, b.g, GR_DMA_BIDIRECTIONAL, 0, &one), 0);
    assert_int_equal(gr_dma_map(&b.dev, RIG_BIG, b.g, GR_DMA_BIDIRECTIONAL, 0, &other), 0);
    if (!doubt) {
        b.rig.dart[0].hang = 1;
        assert_int_equal(gr_dma_unmap(&b.dev, one, b.g, GR_DMA_BIDIRECTIONAL, 0), GR_ETIMEDOUT);
        assert_int_equal(gr_domain_fini(&b.domain), GR_EBUSY);
    }
    b.rig.dart[0].hang = doubt;
    assert_int_equal(gr_domain_detach(&b.domain, &b.dev), doubt ? GR_ETIMEDOUT : 0);
    stats = stats_of(&b.domain);
    assert_true(stats.iova.allocations > 0 && stats.broken == !doubt);
    assert_int_equal(gr_domain_attach(&b.domain, &b.dev), doubt ? 0 : GR_EIO);
    if (doubt) { /* confirmed now, so it is an ordinary domain again: unmap first */
        assert_int_equal(gr_domain_detach(&b.domain, &b.dev), 0);
        assert_int_equal(gr_domain_fini(&b.domain), GR_EBUSY);
        assert_int_equal(gr_domain_attach(&b.domain, &b.dev), 0);
        b.rig.dart[0].hang = 1;
        assert_int_equal(gr_domain_detach(&b.domain, &b.dev), GR_ETIMEDOUT);
    }
    assert_int_equal(gr_domain_fini(&b.domain), 0);
    assert_int_equal(gr_device_fini(&b.dev), 0);
    rig_end_leaking(&b.rig,
                    doubt ? (int)(stats.tables << (rig_kinds[RIG_T8020].page_bits - 12)) : 0);
}

static void test_left_live(void **state)
{
    (void)state;
    leave_live(false);
    leave_live(true);
}

/* ---- faults that nobody takes ---- */

static void test_fault_lines(void **state)
{
    static const struct {
        uint32_t stream, reasons;
        bool access_known, write;
        const char *line;
    } v[] = {
        {RIG_SID, GR_FAULT_NO_LEAF, true, false,
         "dart0: stream 2 (device): read at IOVA 0x1234 refused: no-leaf, level unknown, raw "
         "0xabcd, 0 lost"},
        {RIG_SID, GR_FAULT_WRITE_PROT | GR_FAULT_WINDOW, true, true,
         "dart0: stream 2 (device): write at IOVA 0x1234 refused: write-protected and more, "
         "level 1, raw 0xabcd, 0 lost"},
        {5, GR_FAULT_UNKNOWN, false, false,
         "dart0: stream 5 (no device): access at IOVA 0x1234 refused: unknown, level unknown, "
         "raw 0xabcd, 0 lost"},
    };
    struct bench b;

    (void)state;
    bench_make(&b, RIG_T8020);
    gr_instance_set_fault_handler(&b.rig.dart[0].drv.inst, NULL, NULL);
    for (unsigned i = 0; i < 3; i++) {
        struct gr_instance *const inst = &b.rig.dart[0].drv.inst;
        const struct gr_fault fault = {
            .instance = inst,
            .stream = v[i].stream,
            .reasons = v[i].reasons,
            .iova = 0x1234,
            .level = i == 1 ? 1 : GR_FAULT_LEVEL_UNKNOWN,
            .access_known = v[i].access_known,
            .write = v[i].write,
            .raw = 0xabcd,
        };
        const gr_lock_state_t lock = gr_port_lock(&inst->lock);

        gr_instance_fault(inst, &fault, 0);
        gr_port_unlock(&inst->lock, lock);
        assert_int_equal(gr_fault_dispatch(inst), 1);
        assert_string_equal(host_last_log(b.rig.host), v[i].line);
    }
    bench_end(&b);
}

/* ---- the DMA API ---- */

/* A device that cannot reach the aperture: nothing can be mapped for it. */
static void test_mask_below_aperture(void **state)
{
    struct bench b;
    gr_iova_t iova;

    (void)state;
    bench_make(&b, RIG_T8020, .aperture = {GIB, 2 * GIB - 1}, .dma_mask = GIB - 1);
    assert_int_equal(gr_dma_max_mapping_size(&b.dev), 0);
    assert_int_equal(gr_dma_map(&b.dev, 0, 1, GR_DMA_BIDIRECTIONAL, 0, &iova), GR_ERANGE);
    bench_end(&b);
}

/* One output segment that lies in two places of memory: a sync reaches the bytes of both. */
static void test_sync_across_a_seam(void **state)
{
    enum { SEGS = 2 };
    struct bench b;
    struct gr_seg segs[SEGS];
    struct gr_dma_seg out[SEGS];
    struct gr_dma_list list = {.segs = segs, .count = SEGS, .out = out};
    static uint8_t seen[2 * 16384];

    (void)state;
    bench_make(&b, RIG_T8110, .noncoherent = true);
    segs[0] = (struct gr_seg){RIG_LOW + 4 * b.g, b.g};
    segs[1] = (struct gr_seg){RIG_LOW, b.g};
    assert_int_equal(gr_dma_map_sg(&b.dev, &list, GR_DMA_BIDIRECTIONAL, 0), 0);
    assert_int_equal(list.out_count, 1);
    for (unsigned i = 0; i < SEGS; i++)
        memset(host_ptr(b.rig.host, segs[i].pa, b.g), 0x61 + (int)i, (size_t)b.g);
    assert_int_equal(
        gr_dma_sync_for_device(&b.dev, out[0].iova + b.g - 5, 10, GR_DMA_BIDIRECTIONAL), 0);
    assert_int_equal(
        rig_access(&b.rig, 0, RIG_SID, out[0].iova + b.g - 5, seen, 10, false, false, NULL),
        MODEL_OK);
    assert_memory_equal(seen, "aaaaabbbbb", 10);
    assert_int_equal(gr_dma_sync_for_device(&b.dev, out[0].iova, 2 * b.g, GR_DMA_BIDIRECTIONAL), 0);
    assert_int_equal(rig_access(&b.rig, 0, RIG_SID, out[0].iova, seen, 2 * b.g, false, false, NULL),
                     MODEL_OK);
    for (uint64_t at = 0; at < 2 * b.g; at++)
        assert_int_equal(seen[at], at < b.g ? 'a' : 'b');
    assert_int_equal(gr_dma_unmap_sg(&b.dev, &list, GR_DMA_BIDIRECTIONAL, 0), 0);
    bench_end(&b);
}

/* ---- the overlap detector, past what it holds ---- */

#if GR_CFG_DEBUG
static void test_overlap_counts(void **state)
{
    struct bench b;

    (void)state;
    bench_make(&b, RIG_T8020, .type = GR_DOMAIN_UNMANAGED);
    /* Three that meet: each that comes to a busy range counts once. */
    for (unsigned i = 0; i < 3; i++)
        gri_overlap_enter(&b.domain, 0, 10);
    assert_int_equal(stats_of(&b.domain).overlaps, 2);
    for (unsigned i = 0; i < 3; i++)
        gri_overlap_leave(&b.domain, 0, 10);
    gri_overlap_enter(&b.domain, 0, 10);
    gri_overlap_enter(&b.domain, 0, 20); /* the third */
    gri_overlap_leave(&b.domain, 0, 20);
    assert_int_equal(b.domain.busy_count, 1);
    assert_int_equal(b.domain.busy[0].last, 10);
    gri_overlap_leave(&b.domain, 0, 10);
    /* One more than there is room for is not watched, and leaves no trace. */
    for (uint64_t i = 0; i <= GR_CFG_DEBUG_CALLS; i++)
        gri_overlap_enter(&b.domain, 100 * i, 100 * i);
    for (uint64_t i = GR_CFG_DEBUG_CALLS + 1; i-- > 0;)
        gri_overlap_leave(&b.domain, 100 * i, 100 * i);
    assert_int_equal(b.domain.busy_count, 0);
    assert_int_equal(stats_of(&b.domain).overlaps, 3);
    bench_end(&b);
}
#endif

/* ---- three levels ---- */

static const unsigned deep[] = {RIG_T8110_VA42, RIG_T8110_4K_VA39};

#define DEEP (sizeof(deep) / sizeof(deep[0]))

/* How many bytes of IOVA one table of the middle level spans. */
static uint64_t middle_span(const struct gr_domain *domain)
{
    return UINT64_C(1) << (3u * domain->pt.granule_lg2 - 6u);
}

/* The walk from the root down: three entries, each in the table that the one before points to. */
static void test_deep_walk(void **state)
{
    (void)state;
    for (unsigned k = 0; k < DEEP; k++) {
        struct bench b;
        struct gr_pt_walk walk;
        uint64_t end;

        bench_make(&b, deep[k], .type = GR_DOMAIN_UNMANAGED);
        assert_int_equal(b.domain.pt.levels, 3);
        end = b.domain.aperture.last + 1;
        assert_int_equal(gr_domain_map(&b.domain, end - b.g, RIG_LOW, b.g, RW), 0);
        assert_int_equal(gr_pt_walk(&b.domain.pt, end - 1, &walk), 0);
        assert_int_equal(walk.steps, 3);
        assert_int_equal(walk.pa, RIG_LOW + b.g - 1);
        for (unsigned i = 0; i < 3; i++) {
            const unsigned shift =
                b.domain.pt.granule_lg2 + (2 - i) * (b.domain.pt.granule_lg2 - 3);
            /* DART.md 4.2: PA bits 41:14 at 37:10; with 4 KiB granules 41:12 at 37:8 */
            const uint64_t table =
                i ? (walk.step[i - 1].entry << 4 & ((UINT64_C(1) << 42) - 1)) & ~(b.g - 1)
                  : b.domain.pt.root_pa;
            const uint64_t index = (end - 1) >> shift & (b.g / 8 - 1);
            uint64_t entry;

            assert_int_equal(walk.step[i].level, 2 - i);
            assert_int_equal(walk.step[i].entry_pa, table + 8 * index);
            assert_true(host_table_read64(b.rig.host, walk.step[i].entry_pa, &entry));
            assert_int_equal(walk.step[i].entry, entry);
        }
        /* next to it nothing, at each level */
        assert_int_equal(gr_pt_walk(&b.domain.pt, end - b.g - 1, &walk), GR_ENOENT);
        assert_int_equal(walk.steps, 3);
        assert_int_equal(gr_pt_walk(&b.domain.pt, end - rig_span(&b.domain) - 1, &walk), GR_ENOENT);
        assert_int_equal(walk.steps, 2);
        assert_int_equal(gr_pt_walk(&b.domain.pt, 0, &walk), GR_ENOENT);
        assert_int_equal(walk.steps, 1);
        bench_end(&b); /* and what is still mapped goes with the domain */
    }
}

/* A table of the middle level goes when one call covers its span, with all below it. */
static void test_deep_retirement(void **state)
{
    struct bench b;
    const struct gr_range edges[] = {{GIB - 1, GIB - 1}, {2 * GIB, 2 * GIB}};
    uint64_t span;

    (void)state;
    bench_make(&b, RIG_T8110_4K_VA39, .type = GR_DOMAIN_UNMANAGED);
    span = rig_span(&b.domain);
    assert_int_equal(middle_span(&b.domain), GIB);
    /* One whole middle table and a granule on either side. */
    for (unsigned round = 0; round < 2; round++) {
        const struct gr_range all = {GIB - 1, 2 * GIB};

        assert_int_equal(gr_domain_map(&b.domain, GIB - b.g, RIG_BIG, GIB + 2 * b.g, RW), 0);
        assert_int_equal(stats_of(&b.domain).tables, rig_tables(&b.domain, &all, 1));
        for (uint64_t at = GIB - b.g; at <= GIB + 8 * b.g; at += b.g)
            assert_true(rig_can_read(&b.rig, 0, RIG_SID, at));
        if (round == 0) { /* in one */
            assert_int_equal(gr_domain_unmap(&b.domain, GIB, GIB), 0);
        } else { /* a bit less first: leaf tables go, the middle one does not */
            assert_int_equal(gr_domain_unmap(&b.domain, GIB, GIB - b.g), 0);
            assert_int_equal(stats_of(&b.domain).tables, rig_tables(&b.domain, edges, 2) + 2);
            assert_int_equal(gr_domain_unmap(&b.domain, 2 * GIB - b.g, b.g), 0);
            assert_int_equal(stats_of(&b.domain).tables, rig_tables(&b.domain, edges, 2) + 2);
            assert_int_equal(gr_domain_trim(&b.domain, 2 * GIB - span, span), 0);
        }
        assert_int_equal(stats_of(&b.domain).tables, rig_tables(&b.domain, edges, 2));
        assert_true(rig_can_read(&b.rig, 0, RIG_SID, GIB - 1));
        for (uint64_t at = GIB; at <= GIB + 8 * b.g; at += b.g)
            assert_false(rig_can_read(&b.rig, 0, RIG_SID, at));
        assert_int_equal(gr_domain_unmap(&b.domain, GIB - b.g, b.g), 0);
        assert_int_equal(gr_domain_unmap(&b.domain, 2 * GIB, b.g), 0);
        assert_int_equal(gr_domain_trim(&b.domain, 0, 3 * GIB), 0);
        assert_int_equal(stats_of(&b.domain).tables, rig_root_tables(&b.domain));
    }
    bench_end(&b);
}

/*
 * One retirement over two leaf tables: the middle table lies in what may be retired, and goes only
 * after the last of them; also where some of it has no leaf table, or none at all.
 */
static void test_deep_unmap_of_all(void **state)
{
    (void)state;
    for (unsigned k = 0; k < DEEP; k++) {
        const struct gr_range all = {0, UINT64_MAX};
        struct gr_pt_gather gather = {0};
        struct gr_pt *pt;
        struct bench b;
        uint64_t span, middle;

        bench_make(&b, deep[k], .type = GR_DOMAIN_UNMANAGED);
        pt = &b.domain.pt;
        span = rig_span(&b.domain);
        middle = middle_span(&b.domain);
        assert_int_equal(gr_domain_map(&b.domain, span - b.g, 0, 2 * b.g, RW), 0);
        assert_int_equal(gr_domain_map(&b.domain, 5 * span, 0, b.g, RW), 0);
        assert_int_equal(gr_domain_map(&b.domain, 2 * middle, 0, b.g, RW), 0);
        assert_int_equal(pt->tables, 1 + 3 + 2 + 1);
        /* over two leaf tables: those two, and the middle one because the call says so */
        assert_int_equal(
            gr_pt_unmap(pt, span - b.g, 2 * b.g, &(struct gr_range){0, 2 * span - 1}, &gather), 0);
        assert_int_equal(gather.count, 2);
        /* over a gap, a leaf table, and a gap up to the next middle table */
        assert_int_equal(gr_pt_unmap(pt, 0, middle, &all, &gather), 0);
        assert_int_equal(gather.count, 4);
        assert_int_equal(gr_pt_unmap(pt, 0, 3 * middle, &all, &gather), 0);
        assert_int_equal(gather.count, 6);
        gr_pt_gather_free(pt, &gather);
        assert_int_equal(pt->tables, 1);
        for (uint64_t i = 0; i < b.g / 8; i++)
            assert_int_equal(pt->root[i], 0);
        bench_end(&b);
    }
}

/* Over the end of a middle table, with every allocation failing once: two of each level. */
static void test_deep_no_memory(void **state)
{
    (void)state;
    for (unsigned k = 0; k < DEEP; k++) {
        for (unsigned kept = 0; kept < 3; kept++) {
            struct bench b;
            struct gr_range mapped[2];
            unsigned count = 0;
            uint64_t middle, n;
            int ret = GR_ENOMEM;

            bench_make(&b, deep[k], .type = GR_DOMAIN_UNMANAGED);
            middle = middle_span(&b.domain);
            if (kept == 1) { /* the first of the leaf tables is there, and stays */
                assert_int_equal(gr_domain_map(&b.domain, middle - 4 * b.g, 0, b.g, RW), 0);
                mapped[count++] = (struct gr_range){middle - 4 * b.g, middle - 3 * b.g - 1};
            } else if (kept == 2) { /* the second of the middle tables is */
                assert_int_equal(gr_domain_map(&b.domain, 2 * middle - b.g, 0, b.g, RW), 0);
                mapped[count++] = (struct gr_range){2 * middle - b.g, 2 * middle - 1};
            }
            for (n = 1; ret; n++) {
                const struct rig_state before = rig_state(&b.rig, &b.domain);
                const int pages = host_leaks(b.rig.host);

                assert_in_range(n, 1, 8);
                host_fail_alloc(b.rig.host, n);
                ret = gr_domain_map(&b.domain, middle - 2 * b.g, RIG_LOW, 4 * b.g, RW);
                host_fail_alloc(b.rig.host, 0);
                if (!ret)
                    break;
                assert_int_equal(ret, GR_ENOMEM);
                rig_same(&b.rig, &b.domain, &before, "no memory");
                assert_int_equal(host_leaks(b.rig.host), pages);
                assert_false(rig_can_read(&b.rig, 0, RIG_SID, middle - 1) ||
                             rig_can_read(&b.rig, 0, RIG_SID, middle));
            }
            assert_int_equal(n, kept == 0 ? 5 : kept == 1 ? 3 : 4);
            mapped[count++] = (struct gr_range){middle - 2 * b.g, middle + 2 * b.g - 1};
            assert_int_equal(stats_of(&b.domain).tables, rig_tables(&b.domain, mapped, count));
            for (uint64_t at = middle - 2 * b.g; at < middle + 2 * b.g; at += b.g)
                assert_true(rig_can_write(&b.rig, 0, RIG_SID, at));
            assert_int_equal(gr_domain_unmap(&b.domain, middle - 2 * b.g, 4 * b.g), 0);
            for (uint64_t at = middle - 2 * b.g; at < middle + 2 * b.g; at += b.g)
                assert_false(rig_can_write(&b.rig, 0, RIG_SID, at));
            assert_int_equal(gr_domain_trim(&b.domain, 0, 2 * middle), 0);
            assert_int_equal(stats_of(&b.domain).tables, rig_tables(&b.domain, mapped, count - 1));
            bench_end(&b);
        }
    }
}

/* An unmap that the hardware does not confirm keeps the middle table as well. */
static void test_deep_quarantine(void **state)
{
    (void)state;
    for (unsigned k = 0; k < DEEP; k++) {
        struct bench b;
        gr_iova_t iova;
        uint64_t tables;

        bench_make(&b, deep[k]);
        assert_int_equal(gr_dma_map(&b.dev, 0, 1, GR_DMA_BIDIRECTIONAL, 0, &iova), 0);
        tables = stats_of(&b.domain).tables;
        assert_int_equal(tables, rig_root_tables(&b.domain) + 2);
        b.rig.dart[0].hang = 1;
        assert_int_equal(gr_dma_unmap(&b.dev, iova, 1, GR_DMA_BIDIRECTIONAL, 0), GR_ETIMEDOUT);
        assert_int_equal(stats_of(&b.domain).tables, tables);
        assert_true(stats_of(&b.domain).iova.held >= middle_span(&b.domain));
        bench_end(&b); /* which asks again, and frees them */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(test_two_streams),
        rig_test(test_reserved_backwards),
        rig_test(test_thin_windows),
        rig_test(test_one_walker_does_not_snoop),
        rig_test(test_each_misfit),
        rig_test(test_absent_entries),
        rig_test(test_reserved_is_in_use),
        rig_test(test_no_way_back),
        rig_test(test_left_live),
        rig_test(test_fault_lines),
        rig_test(test_mask_below_aperture),
        rig_test(test_sync_across_a_seam),
#if GR_CFG_DEBUG
        rig_test(test_overlap_counts),
#endif
        rig_test(test_deep_walk),
        rig_test(test_deep_retirement),
        rig_test(test_deep_unmap_of_all),
        rig_test(test_deep_no_memory),
        rig_test(test_deep_quarantine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
