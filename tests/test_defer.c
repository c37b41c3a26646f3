/* SPDX-License-Identifier: MIT */
/*
 * DEFERRED domains: what was unmapped waits for an invalidation, bounded in number and time, and
 * with it its IOVAs, tables and slots; no IOVA means something new before the old is forgotten.
 */
#include "iso.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A device that is behind a walker, which need not be told of a map: only unmaps wait there. */
static void make(struct iso *iso, unsigned kind, struct gr_range aperture)
{
    const struct iso_setup setup = {
        .kind = kind, .flags = GR_DOMAIN_DEFERRED, .aperture = aperture, .pool = GR_BOUNCE_CHUNK};

    iso_make(iso, &setup);
}

static gr_iova_t must_map(struct iso *iso, gr_pa_t pa, uint64_t len)
{
    gr_iova_t iova = 0;

    assert_int_equal(gr_dma_map(&iso->dev, pa, len, BOTH, 0, &iova), 0);
    return iova;
}

static void must_unmap(struct iso *iso, gr_iova_t iova, uint64_t len)
{
    assert_int_equal(gr_dma_unmap(&iso->dev, iova, len, BOTH, 0), 0);
}

static uint64_t waiting(struct iso *iso)
{
    return iso_stats(iso).deferred;
}

/* ---- what is refused ---- */

static void test_refused(void **state)
{
    const struct iso_setup setup = {.kind = RIG_T8020, .untrusted = true, .bare = true};
    struct iso iso;
    struct gr_domain domain;
    struct gr_device trusted;
    struct gr_stream stream[RIG_DARTS];
    struct gr_device_config config;

    (void)state;
    iso_make(&iso, &setup);
    assert_int_equal(
        gr_domain_init(&domain, iso.rig.host, &iso.dev, GR_DOMAIN_TRANSLATED, GR_DOMAIN_DEFERRED),
        GR_EOPNOTSUPP);
    assert_true(host_logged(iso.rig.host, "an untrusted device is not given a domain that is"));
    config = iso_device(&iso, stream, 7);
    assert_int_equal(gr_device_init(&trusted, &config), 0);
    assert_int_equal(gr_domain_init(&domain, iso.rig.host, &trusted, GR_DOMAIN_UNMANAGED,
                                    GR_DOMAIN_DEFERRED | GR_DOMAIN_LP_AWARE),
                     GR_EOPNOTSUPP);
    assert_int_equal(
        gr_domain_init(&domain, iso.rig.host, &trusted, GR_DOMAIN_BLOCKED, GR_DOMAIN_DEFERRED),
        GR_EOPNOTSUPP);
    assert_int_equal(
        gr_domain_init(&domain, iso.rig.host, &trusted, GR_DOMAIN_TRANSLATED, GR_DOMAIN_DEFERRED),
        0);
    assert_int_equal(gr_domain_attach(&domain, &iso.dev), GR_EOPNOTSUPP);
    assert_null(gr_device_domain(&iso.dev));
    assert_int_equal(gr_domain_flush(&domain), 0);
    assert_int_equal(gr_domain_fini(&domain), 0);
    assert_int_equal(gr_device_fini(&trusted), 0);
    iso_end(&iso);
}

/* A domain that is not made leaves nothing behind, whichever allocation fails. */
static void test_no_memory(void **state)
{
    const struct iso_setup setup = {.kind = RIG_T8020, .bare = true};
    struct iso iso;
    struct gr_domain domain;
    unsigned n = 0;
    int ret;

    (void)state;
    iso_make(&iso, &setup);
    do {
        const int leaks = host_leaks(iso.rig.host);

        host_fail_alloc(iso.rig.host, ++n);
        ret = gr_domain_init(&domain, iso.rig.host, &iso.dev, GR_DOMAIN_TRANSLATED,
                             GR_DOMAIN_DEFERRED);
        host_fail_alloc(iso.rig.host, 0);
        assert_true(!ret || host_leaks(iso.rig.host) == leaks);
    } while (ret == GR_ENOMEM);
    assert_int_equal(ret, 0);
    assert_in_range(n, 3, 8);
    assert_int_equal(gr_domain_fini(&domain), 0);
    iso_end(&iso);
}

/* ---- bounds ---- */

/* As many as one CPU may queue, then one invalidation for all of them. */
static void fill_ring(unsigned kind)
{
    struct iso iso;

    make(&iso, kind, (struct gr_range){0, 0});
    for (unsigned round = 0; round < 3; round++) {
        const uint64_t before = iso.walker.invalidations;
        gr_iova_t iova[GR_CFG_DEFER];

        for (unsigned i = 0; i < GR_CFG_DEFER; i++)
            iova[i] = must_map(&iso, RIG_BIG + i * 4096, 4096);
        for (unsigned i = 0; i < GR_CFG_DEFER; i++) {
            assert_int_equal(waiting(&iso), i);
            assert_true(iso_reads(&iso, iova[i]));
            must_unmap(&iso, iova[i], 4096);
            assert_int_equal(iso_reads(&iso, iova[0]), i + 1 < GR_CFG_DEFER); /* stale, as told */
        }
        assert_int_equal(waiting(&iso), 0);
        /* and one for the tables, where they go with the last range in their span */
        if (iso.lpae)
            assert_in_range(iso.walker.invalidations, before + 1, before + 2);
        assert_int_equal(iso_stats(&iso).iova.held, 0);
        for (unsigned i = 0; i < GR_CFG_DEFER; i++)
            assert_false(iso_reads(&iso, iova[i]));
    }
    iso_end(&iso);
}

static void test_full_ring(void **state)
{
    (void)state;
    fill_ring(ISO_LPAE_4K);
    fill_ring(RIG_T8110_4K);
}

/* Each CPU has its own ring; one flush retires them all. */
static void test_rings_of_cpus(void **state)
{
    struct iso iso;
    uint64_t before;

    (void)state;
    make(&iso, ISO_LPAE_4K, (struct gr_range){0, 0});
    for (unsigned cpu = 0; cpu < GR_CFG_COUNTS; cpu++) {
        host_set_cpu(cpu);
        for (unsigned i = 0; i < 3; i++)
            must_unmap(&iso, must_map(&iso, RIG_BIG, 4096), 4096);
    }
    assert_int_equal(waiting(&iso), 3 * GR_CFG_COUNTS);
    before = iso.walker.invalidations;
    assert_int_equal(gr_domain_flush(&iso.domain), 0);
    assert_int_equal(waiting(&iso), 0);
    assert_int_equal(iso.walker.invalidations, before + 1);
    assert_int_equal(gr_domain_flush(&iso.domain), 0); /* free of cost where nothing waits */
    assert_int_equal(iso.walker.invalidations, before + 1);
    host_set_cpu(UINT32_MAX);
    iso_end(&iso);
}

/* By virtual time: an unmap that finds an old one flushes; before that none does. */
static void test_age(void **state)
{
    struct iso iso;
    gr_iova_t old;

    (void)state;
    make(&iso, ISO_LPAE_4K, (struct gr_range){0, 0});
    old = must_map(&iso, RIG_BIG, 4096);
    assert_true(iso_reads(&iso, old));
    must_unmap(&iso, old, 4096);
    host_advance(iso.rig.host, GR_CFG_DEFER_NS - 10000);
    must_unmap(&iso, must_map(&iso, RIG_BIG, 4096), 4096);
    assert_int_equal(waiting(&iso), 2);
    assert_true(iso_reads(&iso, old));
    host_advance(iso.rig.host, 10000);
    must_unmap(&iso, must_map(&iso, RIG_BIG, 4096), 4096);
    assert_int_equal(waiting(&iso), 0);
    assert_false(iso_reads(&iso, old));
    /* the clock begins with the oldest that waits */
    must_unmap(&iso, must_map(&iso, RIG_BIG, 4096), 4096);
    assert_int_equal(waiting(&iso), 1);
    iso_end(&iso);
}

/* ---- what waits ---- */

/* An IOVA that waits is nobody's: where there is no other, the map flushes. */
static void test_no_room(void **state)
{
    static const unsigned kinds[] = {ISO_LPAE_4K, ISO_LPAE_64K};

    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        const uint64_t g = UINT64_C(1) << iso_granule_lg2(kinds[k]);
        struct iso iso;
        gr_iova_t iova[4];

        make(&iso, kinds[k], (struct gr_range){64 * g, 68 * g - 1});
        for (unsigned i = 0; i < 4; i++) {
            iova[i] = must_map(&iso, RIG_BIG + i * g, g);
            assert_true(iso_reads(&iso, iova[i]));
        }
        must_unmap(&iso, iova[1], g);
        must_unmap(&iso, iova[3], g);
        assert_int_equal(waiting(&iso), 2);
        assert_int_equal(iso_stats(&iso).iova.held, 2 * g);
        for (unsigned i = 1; i < 4; i += 2) {
            const gr_iova_t again = must_map(&iso, RIG_BIG + (8 + i) * g, g);

            assert_int_equal(waiting(&iso), 0);
            assert_true(again == iova[1] || again == iova[3]);
            assert_true(iso_reads(&iso, again));
        }
        assert_int_equal(gr_dma_map(&iso.dev, RIG_BIG, g, BOTH, 0, &iova[0]), GR_ENOSPC);
        for (unsigned i = 0; i < 4; i++)
            must_unmap(&iso, (64 + i) * g, g);
        assert_int_equal(iso_reused(&iso), 0);
        iso_end(&iso);
    }
}

/* A DART has to be told of a map as well: that retires what waits. */
static void test_map_retires(void **state)
{
    struct iso iso;
    gr_iova_t iova[2];

    (void)state;
    make(&iso, RIG_T8020, (struct gr_range){0, 0});
    iova[0] = must_map(&iso, RIG_BIG, iso.g);
    iova[1] = must_map(&iso, RIG_BIG + iso.g, iso.g);
    assert_true(iso_reads(&iso, iova[0]));
    must_unmap(&iso, iova[0], iso.g);
    assert_int_equal(waiting(&iso), 1);
    assert_true(iso_reads(&iso, iova[0]));
    iova[0] = must_map(&iso, RIG_BIG + 2 * iso.g, iso.g);
    assert_int_equal(waiting(&iso), 0);
    must_unmap(&iso, iova[0], iso.g);
    must_unmap(&iso, iova[1], iso.g);
    assert_int_equal(gr_domain_flush(&iso.domain), 0);
    assert_false(iso_reads(&iso, iova[0]));
    iso_end(&iso);
}

/* Tables, too, are freed only when the walkers have forgotten them; the model would tell. */
static void test_tables(void **state)
{
    static const unsigned kinds[] = {RIG_T8020, RIG_T8110_4K, RIG_T8110_VA42, ISO_LPAE_4K};

    (void)state;
    for (unsigned k = 0; k < 4; k++) {
        struct iso iso;
        gr_iova_t iova[3];
        uint64_t tables;
        uint64_t fetches = 0;

        make(&iso, kinds[k], (struct gr_range){0, 0});
        for (unsigned i = 0; i < 3; i++) {
            iova[i] = must_map(&iso, RIG_BIG + i * iso.g, (i + 1) * iso.g);
            assert_true(iso_reads(&iso, iova[i]));
        }
        tables = iso_stats(&iso).tables;
        assert_true(tables > rig_root_tables(&iso.domain));
        for (unsigned i = 0; i < 3; i++)
            must_unmap(&iso, iova[i], (i + 1) * iso.g);
        assert_int_equal(iso_stats(&iso).tables, tables);
        if (!iso.lpae) { /* through stale pointers: the tables must still be there */
            for (uint64_t at = 0; at < 64; at++)
                dart_model_prefetch(iso.rig.dart[0].hw.model, RIG_SID, iova[1] + at * iso.g);
            fetches = dart_model_stats(iso.rig.dart[0].hw.model)->fetches;
            assert_true(fetches > 0);
        }
        assert_int_equal(gr_domain_flush(&iso.domain), 0);
        assert_int_equal(iso_stats(&iso).tables, rig_root_tables(&iso.domain));
        for (unsigned i = 0; i < 3; i++)
            assert_false(iso_reads(&iso, iova[i]));
        iso_end(&iso);
    }
}

/* Spans that several CPUs leave at a time; the last that is retired takes the table. */
static void test_tables_of_many(void **state)
{
    struct iso iso;
    gr_iova_t iova[GR_CFG_DEFER + 5];

    (void)state;
    make(&iso, ISO_LPAE_16K, (struct gr_range){0, 0});
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < GR_CFG_DEFER + 5; i++) {
            host_set_cpu(i % 3);
            iova[i] = must_map(&iso, RIG_BIG + i * iso.g, iso.g);
        }
        for (unsigned i = 0; i < GR_CFG_DEFER + 5; i++) {
            host_set_cpu((i + round) % 3);
            must_unmap(&iso, iova[i], iso.g);
        }
        assert_int_equal(gr_domain_flush(&iso.domain), 0);
        assert_int_equal(iso_stats(&iso).iova.allocations, 0);
    }
    host_set_cpu(UINT32_MAX);
    assert_int_equal(gr_domain_trim(&iso.domain, 0, iso.domain.aperture.last + 1), 0);
    assert_int_equal(iso_stats(&iso).tables, rig_root_tables(&iso.domain));
    assert_int_equal(iso_stats(&iso).iova.held, 0);
    iso_end(&iso);
}

/* Slots wait as well; a map that finds none asks for what waits (issue C 6: "bounce slots"). */
static void test_slots(void **state)
{
    static const unsigned kinds[] = {ISO_LPAE_16K, ISO_LPAE_64K};

    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        const struct iso_setup setup = {.kind = kinds[k],
                                        .isolation = GR_ISOLATION_BOUNCE,
                                        .flags = GR_DOMAIN_DEFERRED,
                                        .pool = GR_BOUNCE_CHUNK};
        struct iso iso;
        unsigned slots;
        gr_iova_t anchor;
        gr_iova_t first = 0;
        gr_iova_t full[65];

        iso_make(&iso, &setup);
        slots = (unsigned)(GR_BOUNCE_CHUNK / iso.g);
        iso_set(&iso, RIG_BIG, 0x11, 64 * KIB);
        anchor = must_map(&iso, RIG_BIG + MIB, iso.g); /* so that no table's span is held */
        for (unsigned i = 0; i < 3 * slots; i++) {
            const gr_iova_t iova = must_map(&iso, RIG_BIG + i, 16);
            uint8_t byte = (uint8_t)(0x20 + i);

            assert_true(iso_access(&iso, iova + 3, &byte, 1, true));
            must_unmap(&iso, iova, 16);
            assert_int_equal(iso_at(&iso, RIG_BIG + i + 3, 1)[0], byte);
            assert_int_equal(iso_pool(&iso).slots, i % slots + 1);
            assert_int_equal(waiting(&iso), i % slots + 1);
            if (i && i % slots == 0) /* its slot is another's now */
                assert_false(iso_reads(&iso, first));
            if (i % slots == 0)
                first = iova;
            /* what the device writes now goes nowhere */
            byte = 0x7f;
            assert_true(iso_access(&iso, iova + 3, &byte, 1, true));
            assert_int_equal(iso_at(&iso, RIG_BIG + i + 3, 1)[0], (uint8_t)(0x20 + i));
        }
        assert_int_equal(iso_pool(&iso).refused, 0);
        assert_int_equal(gr_domain_flush(&iso.domain), 0);
        for (unsigned i = 0; i < slots; i++) /* all taken by what lives: that is the limit */
            full[i] = must_map(&iso, RIG_BIG, 1);
        assert_int_equal(gr_dma_map(&iso.dev, RIG_BIG, 1, BOTH, 0, &full[slots]), GR_ENOBUFS);
        assert_int_equal(iso_pool(&iso).refused, 1);
        assert_true(host_logged(iso.rig.host, "bounce pool: no slot of"));
        must_unmap(&iso, full[0], 1); /* where the flush fails, that is the error */
        iso.walker.fail = 1;
        full[0] = 5;
        assert_int_equal(gr_dma_map(&iso.dev, RIG_BIG, 1, BOTH, 0, &full[0]), GR_ETIMEDOUT);
        assert_int_equal(full[0], 5);
        assert_true(iso_stats(&iso).broken);
        for (unsigned i = 1; i < slots; i++) {
            iso.walker.fail = 0;
            assert_int_equal(gr_dma_unmap(&iso.dev, full[i], 1, BOTH, 0), 0);
        }
        must_unmap(&iso, anchor, iso.g);
        assert_int_equal(gr_domain_flush(&iso.domain), 0);
        assert_int_equal(iso_pool(&iso).slots, 0);
        assert_int_equal(iso_pool(&iso).lost, iso.g);
        iso_end_leaking(&iso, (int)(GR_BOUNCE_CHUNK / 4096));
    }
}

/* A coherent buffer's memory is given to others at once: its unmap does not wait. */
static void test_coherent(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        struct iso iso;
        gr_iova_t iova;
        void *cpu;

        make(&iso, k ? RIG_T8020_4K : ISO_LPAE_4K, (struct gr_range){0, 0});
        assert_int_equal(gr_dma_alloc(&iso.dev, 10000, 0, &cpu, &iova), 0);
        must_unmap(&iso, must_map(&iso, RIG_BIG, 4096), 4096);
        assert_true(iso_reads(&iso, iova));
        assert_int_equal(waiting(&iso), 1);
        assert_int_equal(gr_dma_free(&iso.dev, 10000, 0, cpu, iova), 0);
        assert_int_equal(waiting(&iso), 0);
        assert_false(iso_reads(&iso, iova));
        iso_end(&iso);
    }
}

/* ---- known bug 16: the queue against teardown ---- */

static void test_teardown(void **state)
{
    static const unsigned kinds[] = {RIG_T8020, RIG_T8110_4K, ISO_LPAE_16K};

    (void)state;
    for (unsigned k = 0; k < 6; k++) {
        struct iso iso;
        gr_iova_t iova[4];

        make(&iso, kinds[k / 2], (struct gr_range){0, 0});
        for (unsigned i = 0; i < 4; i++) {
            iova[i] = must_map(&iso, RIG_BIG + i * iso.g, iso.g);
            assert_true(iso_reads(&iso, iova[i]));
        }
        for (unsigned i = 0; i < 4; i++) {
            host_set_cpu(i);
            must_unmap(&iso, iova[i], iso.g);
        }
        host_set_cpu(UINT32_MAX);
        assert_int_equal(waiting(&iso), 4);
        assert_int_equal(gr_domain_fini(&iso.domain), GR_EBUSY); /* it is attached; flushed only */
        assert_int_equal(waiting(&iso), 0);
        assert_false(iso_reads(&iso, iova[2]));
        iova[0] = must_map(&iso, RIG_BIG, iso.g);
        assert_true(iso_reads(&iso, iova[0]));
        must_unmap(&iso, iova[0], iso.g);
        assert_int_equal(gr_domain_trim(&iso.domain, 0, iso.g), 0); /* so does this */
        assert_int_equal(waiting(&iso), 0);
        assert_false(iso_reads(&iso, iova[0]));
        must_unmap(&iso, must_map(&iso, RIG_BIG, iso.g), iso.g);
        assert_int_equal(waiting(&iso), 1);
        assert_int_equal(gr_domain_detach(&iso.domain, &iso.dev), 0);
        assert_int_equal(waiting(&iso), 0);
        assert_int_equal(iso_stats(&iso).iova.held, 0);
        assert_int_equal(gr_domain_flush(&iso.domain), 0); /* a timer that comes late */
        for (unsigned i = 0; i < 4; i++)
            assert_false(iso_reads(&iso, iova[i]));
        if (k % 2) {
            assert_int_equal(gr_domain_attach(&iso.domain, &iso.dev), 0);
            must_unmap(&iso, must_map(&iso, RIG_BIG, iso.g), iso.g);
        }
        iso_end(&iso);
    }
}

/* ---- failures ---- */

/* What a flush could not confirm is quarantined: IOVAs, tables, slots; the domain takes no more. */
static void test_failed_flush(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 3; how++) {
        const struct iso_setup setup = {.kind = ISO_LPAE_16K,
                                        .isolation = GR_ISOLATION_BOUNCE,
                                        .flags = GR_DOMAIN_DEFERRED,
                                        .pool = GR_BOUNCE_CHUNK};
        struct iso iso;
        gr_iova_t iova[GR_CFG_DEFER];
        uint64_t tables;
        unsigned n = how == 1 ? GR_CFG_DEFER : 5;
        int ret = 0;

        iso_make(&iso, &setup);
        for (unsigned i = 0; i < n; i++)
            iova[i] = must_map(&iso, RIG_BIG + i * iso.g + (i < 2), iso.g - (i < 2));
        tables = iso_stats(&iso).tables;
        for (unsigned i = 0; i < n; i++) {
            if (i == n - 1 && how == 1)
                iso.walker.fail = 1;
            ret = gr_dma_unmap(&iso.dev, iova[i], iso.g - (i < 2), BOTH, 0);
            assert_int_equal(ret, i == n - 1 && how == 1 ? GR_ETIMEDOUT : 0);
        }
        if (how != 1) {
            assert_int_equal(iso_pool(&iso).slots, 2);
            iso.walker.dead = how == 2;
            iso.walker.fail = 1;
            assert_int_equal(gr_domain_flush(&iso.domain), GR_ETIMEDOUT);
        }
        assert_int_equal(waiting(&iso), 0);
        assert_int_equal(iso_stats(&iso).quarantined_bytes, n * iso.g);
        assert_int_equal(iso_stats(&iso).iova.held, n * iso.g);
        assert_int_equal(iso_stats(&iso).tables, tables);
        assert_true(iso_stats(&iso).broken);
        assert_int_equal(iso_pool(&iso).lost, 2 * iso.g);
        assert_int_equal(iso_pool(&iso).slots, 0);
        assert_int_equal(gr_dma_map(&iso.dev, RIG_BIG, iso.g, BOTH, 0, &iova[0]), GR_EIO);
        assert_int_equal(gr_domain_flush(&iso.domain), 0);
        iso.walker.dead = false;
        iso_end_leaking(&iso, (int)(GR_BOUNCE_CHUNK / 4096));
    }
}

/* At a detach: the stream is blocked, and says that it forgot; what it missed stays quarantined. */
static void test_failed_detach(void **state)
{
    struct iso iso;
    gr_iova_t iova;

    (void)state;
    make(&iso, ISO_LPAE_4K, (struct gr_range){0, 0});
    iova = must_map(&iso, RIG_BIG, 4096);
    assert_true(iso_reads(&iso, iova));
    must_unmap(&iso, iova, 4096);
    iso.walker.fail = 1;
    assert_int_equal(gr_domain_detach(&iso.domain, &iso.dev), 0);
    assert_false(iso_reads(&iso, iova));
    assert_true(iso_stats(&iso).broken);
    assert_int_equal(iso_stats(&iso).quarantined_bytes, 4096);
    assert_int_equal(gr_domain_attach(&iso.domain, &iso.dev), GR_EIO);
    iso_end(&iso);
}

/* The same by the flush that a full ring or a table's unmap needs. */
static void test_failed_push(void **state)
{
    struct iso iso;
    gr_iova_t iova;

    (void)state;
    make(&iso, ISO_LPAE_4K, (struct gr_range){0, 0});
    iova = must_map(&iso, RIG_BIG, 4096);
    must_unmap(&iso, must_map(&iso, RIG_BIG, 8192), 8192);
    host_advance(iso.rig.host, GR_CFG_DEFER_NS);
    iso.walker.fail = 1;
    assert_int_equal(gr_dma_unmap(&iso.dev, iova, 4096, BOTH, 0), GR_ETIMEDOUT);
    assert_true(iso_stats(&iso).broken);
    assert_int_equal(iso_stats(&iso).quarantined_bytes, 3 * 4096);
    iso_end(&iso);
}

/* A map that has to invalidate, and cannot: gone as in STRICT domains. */
static void test_failed_map(void **state)
{
    struct iso iso;
    gr_iova_t iova = 5;

    (void)state;
    make(&iso, ISO_LPAE_4K, (struct gr_range){0, 0});
    iso.domain.invalidate_on_map = true;
    iso.walker.fail = 1; /* with nothing else waiting, the second attempt counts */
    assert_int_equal(gr_dma_map(&iso.dev, RIG_BIG, 4096, BOTH, 0, &iova), GR_ETIMEDOUT);
    assert_false(iso_stats(&iso).broken);
    assert_int_equal(iso_stats(&iso).iova.held, 0);
    must_unmap(&iso, must_map(&iso, RIG_BIG, 8192), 8192);
    iso.walker.fail = 1;
    assert_int_equal(gr_dma_map(&iso.dev, RIG_BIG, 4096, BOTH, 0, &iova), GR_ETIMEDOUT);
    assert_int_equal(iova, 5);
    assert_true(iso_stats(&iso).broken);
    assert_int_equal(iso_stats(&iso).iova.allocations, 0);
    iso_end(&iso);
}

/* ---- vector 20, known bug 17 ---- */

#define LIVE 24u

struct live {
    gr_iova_t iova;
    gr_pa_t pa;
    uint64_t len;
};

/*
 * Random maps, unmaps and accesses, among them to what was unmapped: never does an IOVA lead to
 * what it meant before once it means something new. An unmap invalidates what one ring holds at
 * most, and what all hold is bounded.
 */
static uint64_t play(struct iso *iso, unsigned ops)
{
    struct live live[LIVE] = {{0}};
    gr_iova_t gone[64] = {0};
    unsigned n_gone = 0;
    uint64_t stale = 0;

    for (unsigned op = 0; op < ops; op++) {
        struct live *const l = &live[rig_random(&iso->rig, LIVE)];

        host_set_cpu((uint32_t)rig_random(&iso->rig, 3));
        if (!l->len) {
            l->len = 1 + rig_random(&iso->rig, 3 * iso->g);
            l->pa = RIG_BIG + rig_random(&iso->rig, 64 * iso->g);
            if (gr_dma_map(&iso->dev, l->pa, l->len, BOTH, 0, &l->iova))
                l->len = 0;
        } else if (rig_random(&iso->rig, 2)) {
            gone[n_gone++ % 64] = l->iova;
            must_unmap(iso, l->iova, l->len);
            assert_in_range(waiting(iso), 0, 3 * GR_CFG_DEFER);
            l->len = 0;
        } else {
            assert_true(iso_reads(iso, l->iova + rig_random(&iso->rig, l->len)));
        }
        if (n_gone)
            stale += iso_reads(iso, gone[rig_random(&iso->rig, n_gone < 64 ? n_gone : 64)]);
        if (!rig_random(&iso->rig, 200))
            host_advance(iso->rig.host, GR_CFG_DEFER_NS);
    }
    for (unsigned i = 0; i < LIVE; i++) {
        if (live[i].len)
            must_unmap(iso, live[i].iova, live[i].len);
    }
    host_set_cpu(UINT32_MAX);
    return stale;
}

static void test_vector_20_reuse(void **state)
{
    static const unsigned kinds[] = {RIG_T8020, RIG_T8110_4K, RIG_T8110_VA42, ISO_LPAE_4K,
                                     ISO_LPAE_64K};
    const uint64_t seed = chance_seed("test_vector_20_reuse");

    (void)state;
    for (unsigned k = 0; k < 5; k++) {
        const uint64_t g = UINT64_C(1) << iso_granule_lg2(kinds[k]);
        struct iso iso;

        make(&iso, kinds[k], (struct gr_range){256 * g, 400 * g - 1});
        iso.rig.rng = seed + k;
        assert_true(play(&iso, 4000) > 0);
        assert_int_equal(iso_reused(&iso), 0);
        assert_int_equal(gr_domain_flush(&iso.domain), 0);
        assert_int_equal(iso_stats(&iso).iova.held, 0);
        iso_end(&iso);
    }
}

/* The detector detects: where the hardware is not told, the same play is noticed. */
static void test_vector_20_detector(void **state)
{
    static const unsigned kinds[] = {RIG_T8020, ISO_LPAE_4K};
    const uint64_t seed = chance_seed("test_vector_20_detector");

    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        const uint64_t g = UINT64_C(1) << iso_granule_lg2(kinds[k]);
        struct iso iso;
        gr_iova_t anchor;

        make(&iso, kinds[k], (struct gr_range){256 * g, 336 * g - 1});
        iso.rig.rng = seed;
        anchor = must_map(&iso, RIG_BIG, g); /* tables stay: only leaves are stale */
        iso.rig.dart[0].lose_commands = true;
        iso.walker.deaf = true;
        for (unsigned i = 0; i < 200; i++) {
            const gr_iova_t iova = must_map(&iso, RIG_BIG + i * g, g);

            (void)iso_reads(&iso, iova);
            must_unmap(&iso, iova, g);
            assert_int_equal(gr_domain_flush(&iso.domain), 0);
        }
        assert_true(iso_reused(&iso) > 0);
        iso.rig.dart[0].lose_commands = false;
        must_unmap(&iso, anchor, g);
        assert_int_equal(gr_domain_detach(&iso.domain, &iso.dev), 0);
        assert_int_equal(gr_domain_fini(&iso.domain), 0);
        assert_int_equal(gr_bounce_fini(&iso.pool), 0);
        assert_int_equal(gr_device_fini(&iso.dev), 0);
        if (iso.lpae)
            assert_int_equal(gr_instance_fini(&iso.walker.inst), 0);
        rig_end(&iso.rig);
    }
}

/* Known bug 17: how long a flush takes is bounded by what the rings hold, whatever is mapped. */
static void test_known_bug_17_bounded(void **state)
{
    struct iso iso;
    static gr_iova_t iova[3000];
    uint64_t most = 0;

    (void)state;
    make(&iso, ISO_LPAE_4K, (struct gr_range){0, 0});
    for (unsigned i = 0; i < 3000; i++)
        iova[i] = must_map(&iso, RIG_BIG + i * 4096, 4096);
    for (unsigned i = 0; i < 3000; i++) {
        const uint64_t before = iso.walker.invalidations;

        must_unmap(&iso, iova[i], 4096);
        if (iso.walker.invalidations - before > most)
            most = iso.walker.invalidations - before;
        assert_in_range(waiting(&iso), 0, GR_CFG_DEFER - 1);
    }
    assert_in_range(most, 1, 1 + GR_CFG_DEFER);
    assert_in_range(iso.walker.invalidations, 3000 / GR_CFG_DEFER, 2 * 3000 / GR_CFG_DEFER);
    iso_end(&iso);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(test_refused),
        rig_test(test_no_memory),
        rig_test(test_full_ring),
        rig_test(test_rings_of_cpus),
        rig_test(test_age),
        rig_test(test_no_room),
        rig_test(test_map_retires),
        rig_test(test_tables),
        rig_test(test_tables_of_many),
        rig_test(test_slots),
        rig_test(test_coherent),
        rig_test(test_teardown),
        rig_test(test_failed_flush),
        rig_test(test_failed_detach),
        rig_test(test_failed_push),
        rig_test(test_failed_map),
        rig_test(test_vector_20_reuse),
        rig_test(test_vector_20_detector),
        rig_test(test_known_bug_17_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
