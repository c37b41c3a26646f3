/* SPDX-License-Identifier: MIT */
/*
 * LINEAR, IDENTITY and BLOCKED domains: what passes and what is left out, offsets, bounces, lists,
 * errors; each byte of memory is either reachable at its constant offset or a hole.
 */
#include "iso.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define RAM UINT64_C(0x800000000) /* where the host gives memory from, 64 MiB */
#define RAM_SIZE (64 * MIB)

static void make(struct iso *iso, unsigned kind, bool noncoherent, struct gr_range aperture)
{
    const struct iso_setup setup = {
        .kind = kind, .bare = true, .noncoherent = noncoherent, .aperture = aperture};

    iso_make(iso, &setup);
}

static struct gr_range bank(gr_pa_t first, uint64_t size)
{
    return (struct gr_range){first, first + size - 1};
}

static int init_linear(struct iso *iso, const struct gr_range *ram, unsigned banks,
                       const struct gr_range *holes, unsigned count)
{
    const struct gr_linear_config config = {ram, banks, holes, count};

    return gr_domain_init_linear(&iso->domain, iso->rig.host, &iso->dev, &config);
}

static void begin(struct iso *iso, const struct gr_range *ram, unsigned banks,
                  const struct gr_range *holes, unsigned count)
{
    assert_int_equal(init_linear(iso, ram, banks, holes, count), 0);
    assert_int_equal(gr_domain_attach(&iso->domain, &iso->dev), 0);
}

static void add_pool(struct iso *iso, gr_pa_t pa_last, uint64_t limit)
{
    const struct gr_bounce_config config = {.pa_last = pa_last, .limit = limit};

    assert_int_equal(gr_bounce_init(&iso->pool, iso->rig.host, &config), 0);
    iso->setup.pool = limit;
    assert_int_equal(gr_domain_set_bounce(&iso->domain, &iso->pool), 0);
}

static void finish(struct iso *iso)
{
    if (gr_device_domain(&iso->dev))
        assert_int_equal(gr_domain_detach(&iso->domain, &iso->dev), 0);
    assert_int_equal(gr_domain_fini(&iso->domain), 0);
    if (iso->setup.pool)
        assert_int_equal(gr_bounce_fini(&iso->pool), 0);
    iso_end(iso);
}

static gr_iova_t must_map(struct iso *iso, gr_pa_t pa, uint64_t len, enum gr_dma_dir dir)
{
    gr_iova_t iova = 0;
    const int ret = gr_dma_map(&iso->dev, pa, len, dir, 0, &iova);

    if (ret)
        fail_msg("PA 0x%" PRIx64 "+0x%" PRIx64 ": %s", pa, len, gr_strerror(ret));
    return iova;
}

static void must_unmap(struct iso *iso, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir)
{
    assert_int_equal(gr_dma_unmap(&iso->dev, iova, len, dir, 0), 0);
}

static int try_map(struct iso *iso, gr_pa_t pa, uint64_t len)
{
    gr_iova_t iova = 7;
    const int ret = gr_dma_map(&iso->dev, pa, len, BOTH, 0, &iova);

    if (ret)
        assert_int_equal(iova, 7);
    else
        must_unmap(iso, iova, len, BOTH);
    return ret;
}

/* ---- every granule: reachable where it should be, or not at all ---- */

static bool touches(const struct gr_range *r, unsigned n, gr_pa_t first, gr_pa_t last)
{
    for (unsigned i = 0; i < n; i++) {
        if (r[i].first <= last && first <= r[i].last)
            return true;
    }
    return false;
}

static bool all_memory(const struct gr_range *ram, unsigned banks, gr_pa_t first, gr_pa_t last)
{
    while (first <= last) {
        unsigned i = 0;

        while (i < banks && !(ram[i].first <= first && first <= ram[i].last))
            i++;
        if (i == banks)
            return false;
        first = ram[i].last + 1;
    }
    return true;
}

/* The granule at `pa`; `leaves out` as the configuration says, and tables. */
static void check_granule(struct iso *iso, const struct gr_range *ram, unsigned banks,
                          const struct gr_range *holes, unsigned count, gr_pa_t pa)
{
    const gr_pa_t last = pa + iso->g - 1;
    bool expected = all_memory(ram, banks, pa, last) && !touches(holes, count, pa, last);
    gr_pa_t to = 0;
    const gr_iova_t iova = pa - iso->domain.direct_offset;
    const int ret = gr_domain_iova_to_phys(&iso->domain, iova + 5, &to);

    for (gr_pa_t at = pa; at < last; at += 4096)
        expected = expected && host_use_of(iso->rig.host, at) != HOST_TABLE;
    if (expected && (ret || to != pa + 5))
        fail_msg("PA 0x%" PRIx64 " is not where it should be: %s", pa, gr_strerror(ret));
    if (!expected && !ret)
        fail_msg("PA 0x%" PRIx64 " is reached, and is a hole", pa);
    if (!iso->domain.bounce)
        assert_int_equal(try_map(iso, pa + 9, iso->g - 9), expected ? 0 : GR_EFAULT);
    if (expected && host_use_of(iso->rig.host, pa) == HOST_UNUSED && !(pa / iso->g % 7)) {
        uint8_t byte = 1;

        iso_at(iso, pa + 3, 1)[0] = 0x42;
        gr_port_cache(iso->rig.host, iso_at(iso, pa + 3, 1), 1, GR_CACHE_CLEAN);
        assert_true(iso_access(iso, iova + 3, &byte, 1, false));
        assert_int_equal(byte, 0x42);
    }
}

static void check_all(struct iso *iso, const struct gr_range *ram, unsigned banks,
                      const struct gr_range *holes, unsigned count)
{
    for (unsigned i = 0; i < banks; i++) {
        const gr_pa_t first = ram[i].first & ~(iso->g - 1);
        const gr_pa_t start = first >= 4 * iso->g ? first - 4 * iso->g : 0;

        for (gr_pa_t pa = start; pa <= (ram[i].last | (iso->g - 1)) + 4 * iso->g; pa += iso->g) {
            if (pa >= iso->domain.direct.first && pa + iso->g - 1 <= iso->domain.direct.last)
                check_granule(iso, ram, banks, holes, count, pa);
        }
    }
    assert_int_equal(iso->rig.faults, 0);
}

static const unsigned kinds[] = {RIG_T8020_VA38, RIG_T6000_PA36, RIG_T8110_PA36, RIG_T8110_VA42,
                                 ISO_LPAE_4K,    ISO_LPAE_16K,   ISO_LPAE_64K};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* Banks with a gap, banks that begin and end inside granules, holes of all kinds; own tables. */
static void test_window(void **state)
{
    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        const struct gr_range ram[] = {
            bank(RIG_BIG, 8 * MIB + 4096), bank(RAM, RAM_SIZE),
            bank(RIG_BIG + 8 * MIB + 4096, 64 * KIB), /* goes on where the first ends */
            bank(RIG_BIG + 20 * MIB + 4096 * 3, MIB), /* begins inside a granule */
        };
        const struct gr_range holes[] = {
            bank(RIG_BIG + MIB + 5000, 3),
            bank(RIG_BIG + 2 * MIB, 256 * KIB),
            bank(RIG_BIG + 2 * MIB - 64 * KIB, 64 * KIB),   /* touches it */
            bank(RIG_BIG + 2 * MIB + 100 * KIB, 300 * KIB), /* overlaps it */
            bank(RAM + RAM_SIZE - 4096, 4096),              /* the end of a bank */
            bank(RIG_BIG + 30 * MIB, MIB),                  /* no memory there */
            bank(0, 4096),                                  /* before all */
            bank(RIG_BIG + 4 * MIB, 4096),
            bank(RIG_BIG + 4 * MIB + 512 * KIB, 4096),
        };
        struct iso iso;

        make(&iso, kinds[k], false, (struct gr_range){0, 0});
        begin(&iso, ram, 4, holes, sizeof(holes) / sizeof(holes[0]));
        assert_int_equal(iso.domain.type, GR_DOMAIN_LINEAR);
        check_all(&iso, ram, 4, holes, sizeof(holes) / sizeof(holes[0]));
        assert_int_equal(gr_dma_merge_boundary(&iso.dev), 0);
        assert_int_equal(gr_domain_trim(&iso.domain, 0, iso.g), 0);
        finish(&iso);
    }
}

/* Memory from PA 0 on, with holes at 0 and right behind. */
static void test_from_zero(void **state)
{
    static const unsigned all[] = {RIG_T8020_VA38, RIG_T8020, ISO_LPAE_4K, ISO_LPAE_64K};

    (void)state;
    for (unsigned k = 0; k < 4; k++) {
        const struct gr_range ram[] = {bank(0, 16 * MIB)};
        struct gr_range holes[6];
        struct iso iso;

        for (unsigned order = 0; order < 3; order++) {
            make(&iso, all[k], false, (struct gr_range){0, 0});
            holes[order == 0 ? 0 : 5] = bank(0, iso.g);
            holes[order == 0 ? 1 : 4] = bank(iso.g, iso.g);
            holes[order == 0 ? 2 : 3] = bank(8 * iso.g, 1);
            holes[order == 0 ? 3 : 2] = bank(2 * iso.g + 1, 1);
            holes[order == 0 ? 4 : 1] = bank(order == 2 ? 0 : 20 * iso.g, order == 2 ? 1 : 7);
            holes[order == 0 ? 5 : 0] = bank(40 * iso.g, 5 * iso.g);
            begin(&iso, ram, 1, holes, 6);
            assert_int_equal(iso.domain.direct_offset, 0);
            check_all(&iso, ram, 1, holes, 6);
            finish(&iso);
        }
    }
}

/* An aperture that does not reach memory as it is: the offset puts its start at the aperture's. */
static void test_offset(void **state)
{
    static const struct {
        unsigned kind;
        struct gr_range aperture;
    } all[] = {{RIG_T8020, {0, 0}},
               {RIG_T8020, {0x100000, 0x3fffffff}},
               {RIG_T6000, {0x4000, 0x4000 + 40 * MIB - 1}},
               {RIG_T8110_4K, {0x1000, 0x3ff00000 - 1}},
               {ISO_LPAE_16K, {0x80000000, 0x80000000 + 48 * MIB - 1}},
               {ISO_LPAE_64K, {0x20000000, 0x7fffffff}}};

    (void)state;
    for (unsigned k = 0; k < 6; k++) {
        const struct gr_range ram[] = {bank(RAM, RAM_SIZE), bank(RIG_BIG, 8 * MIB)};
        struct iso iso;

        make(&iso, all[k].kind, false, all[k].aperture);
        begin(&iso, ram, 1, NULL, 0);
        assert_true(iso.domain.direct_offset != 0);
        assert_int_equal(iso.domain.direct.first, RAM);
        assert_true(RAM - iso.domain.direct_offset >= all[k].aperture.first);
        if (all[k].aperture.last)
            assert_true(iso.domain.direct.last - iso.domain.direct_offset <= all[k].aperture.last);
        check_all(&iso, ram, 1, NULL, 0);
        assert_int_equal(iso.domain.beyond, iso.domain.direct.last != RAM + RAM_SIZE - 1);
        finish(&iso);
    }
}

/* What cannot be made, and what is left then: nothing. */
static void test_refused(void **state)
{
    const struct gr_range good[] = {bank(RAM, RAM_SIZE)};
    const struct gr_range backwards[] = {{RAM + 1, RAM}};
    const struct gr_range overlap[] = {bank(RAM, 2 * MIB), bank(RAM + 2 * MIB - 1, MIB)};
    const struct gr_range tiny[] = {bank(RAM + 1, 16 * KIB)};
    const struct gr_range high[] = {bank(UINT64_C(1) << 50, RAM_SIZE)};
    const struct gr_range top[] = {{UINT64_MAX - 100, UINT64_MAX}};
    const struct gr_range low[] = {{0, 100}};
    const struct gr_range all[] = {bank(RAM - 5 * MIB, 2 * RAM_SIZE)};
    struct iso iso;
    struct gr_domain other;
    struct gr_stream stream[RIG_DARTS];
    struct gr_device hostile;
    struct gr_device_config config;
    unsigned n = 0;
    int ret;

    (void)state;
    make(&iso, RIG_T8020, false, (struct gr_range){0, 0});
    assert_int_equal(init_linear(&iso, NULL, 0, NULL, 0), GR_EINVAL);
    assert_int_equal(init_linear(&iso, backwards, 1, NULL, 0), GR_EINVAL);
    assert_int_equal(init_linear(&iso, overlap, 2, NULL, 0), GR_EINVAL);
    assert_int_equal(init_linear(&iso, good, 1, backwards, 1), GR_EINVAL);
    assert_int_equal(init_linear(&iso, tiny, 1, NULL, 0), GR_ERANGE);
    assert_int_equal(init_linear(&iso, high, 1, NULL, 0), GR_ERANGE);
    assert_int_equal(init_linear(&iso, top, 1, NULL, 0), GR_ERANGE);
    assert_int_equal(init_linear(&iso, low, 1, NULL, 0), GR_ERANGE);
    assert_true(host_logged(iso.rig.host, "no LINEAR domain"));
    assert_int_equal(init_linear(&iso, good, 1, all, 1), GR_ERANGE);
    assert_int_equal(gr_domain_init(&other, iso.rig.host, &iso.dev, GR_DOMAIN_LINEAR, 0),
                     GR_EINVAL);
    do {
        const int leaks = host_leaks(iso.rig.host);

        host_fail_alloc(iso.rig.host, ++n);
        ret = init_linear(&iso, good, 1, NULL, 0);
        host_fail_alloc(iso.rig.host, 0);
        assert_true(!ret || host_leaks(iso.rig.host) == leaks);
    } while (ret == GR_ENOMEM);
    assert_int_equal(ret, 0);
    assert_in_range(n, 4, 20);
    /* vector 19: untrusted refused, at init and at attach */
    config = iso_device(&iso, stream, 9);
    config.untrusted = true;
    assert_int_equal(gr_device_init(&hostile, &config), 0);
    assert_int_equal(gr_domain_attach(&iso.domain, &hostile), GR_EOPNOTSUPP);
    {
        const struct gr_linear_config linear = {good, 1, NULL, 0};

        assert_int_equal(gr_domain_init_linear(&other, iso.rig.host, &hostile, &linear),
                         GR_EOPNOTSUPP);
    }
    assert_true(host_logged(iso.rig.host, "an untrusted device is not given a domain that is"));
    assert_int_equal(gr_domain_init(&other, iso.rig.host, &hostile, GR_DOMAIN_IDENTITY, 0),
                     GR_EOPNOTSUPP);
    assert_int_equal(gr_device_fini(&hostile), 0);
    finish(&iso);
}

/* The device's reserved IOVAs are no memory, nor a second device's, which is refused otherwise. */
static void test_reserved(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        const struct gr_range ram[] = {bank(RIG_BIG, 32 * MIB)};
        struct gr_range reserved[3];
        const struct iso_setup setup = {.kind = k ? ISO_LPAE_64K : RIG_T8020, .bare = true};
        struct gr_stream stream[3][RIG_DARTS];
        struct gr_device fits;
        struct gr_device does_not;
        struct gr_device_config config;
        struct iso iso;
        uint8_t byte = 0;
        gr_iova_t base;

        iso_make(&iso, &setup);
        assert_int_equal(gr_device_fini(&iso.dev), 0);
        base = k ? RIG_BIG : 0; /* an aperture of 32 bits needs an offset */
        reserved[0] = bank(base + MIB + 100, 5);
        reserved[1] = bank(base + 2 * MIB, 128 * KIB);
        reserved[2] = bank(base + GIB, 4096); /* outside anyway */
        iso.config.reserved = reserved;
        iso.config.reserved_count = 3;
        assert_int_equal(gr_device_init(&iso.dev, &iso.config), 0);
        begin(&iso, ram, 1, NULL, 0);
        assert_int_equal(RIG_BIG - iso.domain.direct_offset, base);
        for (unsigned i = 0; i < 2; i++) {
            assert_false(iso_reads(&iso, reserved[i].first));
            assert_int_equal(try_map(&iso, reserved[i].first + iso.domain.direct_offset, 1),
                             GR_EFAULT);
        }
        iso.rig.faults = 0;
        assert_true(iso_reads(&iso, base + MIB - iso.g));
        assert_true(iso_reads(&iso, (reserved[0].last | (iso.g - 1)) + 1));
        config = iso_device(&iso, stream[1], 3);
        config.reserved = reserved;
        config.reserved_count = 3;
        assert_int_equal(gr_device_init(&fits, &config), 0);
        assert_int_equal(gr_domain_attach(&iso.domain, &fits), 0);
        assert_true(iso_sid_access(&iso, 3, base + 4 * MIB, &byte, 1, false));
        config = iso_device(&iso, stream[2], 1);
        reserved[0].first = base + 3 * MIB;
        reserved[0].last = reserved[0].first;
        config.reserved = reserved;
        config.reserved_count = 1;
        assert_int_equal(gr_device_init(&does_not, &config), 0);
        assert_int_equal(gr_domain_attach(&iso.domain, &does_not), GR_EBUSY);
        assert_int_equal(gr_domain_detach(&iso.domain, &fits), 0);
        assert_int_equal(gr_device_fini(&fits), 0);
        assert_int_equal(gr_device_fini(&does_not), 0);
        finish(&iso);
    }
}

/* More of them than there is room for: refused, and nothing is left. */
static void test_too_many_holes(void **state)
{
    static struct gr_range reserved[2000];
    const struct gr_range ram[] = {bank(RIG_BIG, 64 * MIB)};
    struct iso iso;
    int leaks;

    (void)state;
    make(&iso, RIG_T8020, false, (struct gr_range){0, 0});
    assert_int_equal(gr_device_fini(&iso.dev), 0);
    for (unsigned i = 0; i < 2000; i++)
        reserved[i] = bank(2 * i * iso.g, 1);
    iso.config.reserved = reserved;
    iso.config.reserved_count = 2000;
    assert_int_equal(gr_device_init(&iso.dev, &iso.config), 0);
    leaks = host_leaks(iso.rig.host);
    assert_int_equal(init_linear(&iso, ram, 1, NULL, 0), GR_ENOMEM);
    assert_int_equal(host_leaks(iso.rig.host), leaks);
    iso_end(&iso);
}

/* LPAE maps memory by blocks and groups; its own tables, and holes, lie inside such. */
static void test_tables_are_hidden(void **state)
{
    (void)state;
    for (unsigned kind = ISO_LPAE_4K; kind <= ISO_LPAE_64K; kind++) {
        const struct gr_range ram[] = {bank(0, 16 * MIB), bank(RAM, RAM_SIZE),
                                       bank((UINT64_C(1) << 36) - 16 * MIB, 16 * MIB)};
        struct iso iso;
        unsigned found = 0;

        make(&iso, kind, false, (struct gr_range){0, 0});
        begin(&iso, ram, 3, NULL, 0);
        check_all(&iso, ram, 3, NULL, 0);
        for (unsigned i = 0; i < 3; i++) {
            for (gr_pa_t pa = ram[i].first; pa < ram[i].last; pa += 4096) {
                if (host_use_of(iso.rig.host, pa) != HOST_TABLE)
                    continue;
                found++;
                assert_false(iso_reads(&iso, pa - iso.domain.direct_offset));
            }
        }
        iso.rig.faults = 0;
        assert_true(found >= 1);
        finish(&iso);
    }
}

/*
 * The first access of a device meets the holes as well, where no block is mapped anew after them:
 * the stores that made them are behind a barrier.
 */
static void test_holes_come_first(void **state)
{
    const struct gr_range ram = bank(RAM, RAM_SIZE);
    unsigned found = 0;

    (void)state;
    for (unsigned kind = 0; kind < ISO_KINDS; kind++) {
        for (unsigned round = 0; round < 16; round++) {
            struct iso iso;

            if (kind < RIG_KINDS && rig_is_smmu(kind)) /* iso.h has DARTs and LPAE's tables alone */
                break;
            make(&iso, kind, round & 1, (struct gr_range){0, 0});
            begin(&iso, &ram, 1, NULL, 0);
            for (gr_pa_t pa = ram.first; pa < ram.last; pa += 4096) {
                const gr_iova_t iova = pa - iso.domain.direct_offset;
                gr_pa_t at;

                if (pa < iso.domain.direct.first || pa > iso.domain.direct.last ||
                    gr_domain_iova_to_phys(&iso.domain, iova, &at) != GR_ENOENT)
                    continue;
                found++;
                assert_false(iso_reads(&iso, iova));
            }
            iso.rig.faults = 0;
            finish(&iso);
        }
    }
    assert_true(found >= 16);
}

/* ---- vector 19: what lies outside bounces ---- */

/* Both sides see the same bytes through a bounce, in parts as well; what is around stays. */
static void play(struct iso *iso, gr_pa_t pa, uint64_t len)
{
    const uint8_t was = iso_at(iso, pa - 1, 1)[0];
    static uint8_t mine[GR_BOUNCE_CHUNK];
    static uint8_t got[GR_BOUNCE_CHUNK];
    gr_iova_t iova;

    iso_scramble(iso, pa, len);
    memcpy(mine, iso_at(iso, pa, len), (size_t)len);
    iova = must_map(iso, pa, len, BOTH);
    assert_int_equal((iova ^ pa) & (iso->dev.config.min_align_mask | 4095), 0);
    assert_true(iso_access(iso, iova, got, len, false));
    assert_memory_equal(got, mine, len);
    for (unsigned n = 0; n < 5; n++) {
        const uint64_t at = rig_random(&iso->rig, len);
        const uint64_t part = 1 + rig_random(&iso->rig, len - at);

        memset(mine + at, (int)(0x80 + n), (size_t)part);
        if (n % 2) {
            assert_int_equal(gr_dma_sync_for_cpu(&iso->dev, iova, len, BOTH), 0);
            memset(iso_at(iso, pa + at, part), (int)(0x80 + n), (size_t)part);
            assert_int_equal(gr_dma_sync_for_device(&iso->dev, iova + at, part, BOTH), 0);
        } else {
            assert_true(iso_access(iso, iova + at, mine + at, part, true));
            assert_int_equal(gr_dma_sync_for_cpu(&iso->dev, iova + at, part, BOTH), 0);
            assert_memory_equal(iso_at(iso, pa + at, part), mine + at, part);
        }
        assert_true(iso_access(iso, iova, got, len, false));
        assert_memory_equal(got, mine, len);
    }
    assert_true(iso_access(iso, iova + len / 2, (uint8_t[]){'x'}, 1, true));
    mine[len / 2] = 'x';
    must_unmap(iso, iova, len, BOTH);
    assert_memory_equal(iso_at(iso, pa, len), mine, len);
    assert_int_equal(iso_at(iso, pa - 1, 1)[0], was);
}

static void test_vector_19_bounces(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 8; k++) {
        const bool noncoherent = k % 2;
        const unsigned kind =
            (unsigned[]){RIG_T8020, RIG_T8110_4K, ISO_LPAE_4K, ISO_LPAE_64K}[k / 2];
        const struct iso_setup setup = {.kind = kind,
                                        .bare = true,
                                        .noncoherent = noncoherent,
                                        .aperture = {256 * MIB, 384 * MIB - 1},
                                        .min_align_mask = k < 4 ? 0 : 0xffff};
        /* the window ends before all but the lowest bank: from there slots come */
        const struct gr_range ram[] = {bank(0, 16 * MIB), bank(RIG_BIG, RIG_BIG_SIZE)};
        struct iso iso;
        gr_iova_t iova;
        uint64_t len;

        iso_make(&iso, &setup);
        begin(&iso, ram, 2, NULL, 0);
        iso_set(&iso, RIG_BIG, 0xa5, 2 * MIB);
        assert_true(iso.domain.beyond);
        assert_int_equal(try_map(&iso, RIG_BIG + 5, 10), GR_EFAULT); /* nothing to bounce from */
        assert_int_equal(gr_dma_max_mapping_size(&iso.dev),
                         iso.domain.direct.last - iso.domain.direct.first + 1);
        add_pool(&iso, iso.domain.direct.last, 2 * GR_BOUNCE_CHUNK);
        assert_int_equal(gr_domain_set_bounce(&iso.domain, &iso.pool), GR_EBUSY);
        len = gr_dma_max_mapping_size(&iso.dev);
        assert_int_equal(len, GR_BOUNCE_CHUNK - (k < 4 ? 4095 : 0xffff));
        play(&iso, RIG_BIG + 4097, 100);
        play(&iso, RIG_BIG + 4096, 4096);
        play(&iso, RIG_BIG + 0x1ffff, len);
        play(&iso, RIG_BIG + 0x1ffff, 60001);
        assert_int_equal(try_map(&iso, RIG_BIG + 0x1ffff, len + 1), GR_ENOBUFS);
        assert_int_equal(try_map(&iso, RIG_BIG, GR_BOUNCE_CHUNK), 0);
        assert_int_equal(try_map(&iso, RIG_BIG, UINT64_C(1) << 33), GR_ENOBUFS);
        assert_int_equal(iso_pool(&iso).slots, 0);
        assert_int_equal(gr_dma_map(&iso.dev, RIG_BIG, 10, BOTH, GR_DMA_MMIO, &iova), GR_EFAULT);
        /* a byte before, a byte behind, half of it: no part of the buffer */
        iova = must_map(&iso, RIG_BIG + 100, 50, BOTH);
        assert_int_equal(gr_dma_sync_for_cpu(&iso.dev, iova - 1, 2, BOTH), GR_ENOENT);
        assert_int_equal(gr_dma_sync_for_device(&iso.dev, iova + 49, 2, BOTH), GR_ENOENT);
        assert_int_equal(gr_dma_unmap(&iso.dev, iova + 1, 49, BOTH, 0), GR_EMSGSIZE);
        assert_int_equal(gr_dma_unmap(&iso.dev, iova, 49, BOTH, GR_DMA_SKIP_SYNC), GR_EMSGSIZE);
        must_unmap(&iso, iova, 50, BOTH);
        assert_int_equal(gr_dma_unmap(&iso.dev, iova, 50, BOTH, 0), GR_ENOENT);
        assert_int_equal(gr_dma_sync_for_cpu(&iso.dev, iova, 1, BOTH), GR_ENOENT);
        /* without sync the device's bytes stay where they are */
        iso_set(&iso, RIG_BIG, 1, 64);
        iova = must_map(&iso, RIG_BIG, 64, GR_DMA_FROM_DEVICE);
        assert_true(iso_access(&iso, iova, (uint8_t[]){'a', 'b', 'c'}, 3, true));
        assert_int_equal(gr_dma_unmap(&iso.dev, iova, 64, GR_DMA_FROM_DEVICE, GR_DMA_SKIP_SYNC), 0);
        assert_int_equal(iso_at(&iso, RIG_BIG, 1)[0], 1);
        iova = must_map(&iso, RIG_BIG, 64, GR_DMA_TO_DEVICE); /* nor what it may not write */
        assert_true(iso_access(&iso, iova, (uint8_t[]){'a', 'b', 'c'}, 3, true));
        must_unmap(&iso, iova, 64, GR_DMA_TO_DEVICE);
        assert_int_equal(iso_at(&iso, RIG_BIG, 1)[0], 1);
        finish(&iso);
    }
}

/* A mask below the window: what lies above bounces, from below the mask or not at all. */
static void test_mask(void **state)
{
    const struct gr_range ram[] = {bank(RAM, RAM_SIZE), bank(RIG_BIG, 8 * MIB), bank(0, 16 * MIB)};
    struct iso iso;

    (void)state;
    make(&iso, RIG_T8020_VA38, false, (struct gr_range){0, 0});
    begin(&iso, ram, 3, NULL, 0);
    assert_int_equal(iso.domain.direct_offset, 0);
    assert_int_equal(gr_dma_required_mask(&iso.dev), (UINT64_C(1) << 36) - 1);
    assert_int_equal(gr_dma_set_mask(&iso.dev, iso.g - 2), GR_ERANGE);
    assert_int_equal(gr_dma_set_mask(&iso.dev, RAM + RAM_SIZE - 1), 0);
    assert_int_equal(gr_dma_max_mapping_size(&iso.dev), RAM + RAM_SIZE);
    assert_int_equal(try_map(&iso, RIG_BIG, 100), GR_EFAULT);
    add_pool(&iso, RAM + RAM_SIZE - 1, GR_BOUNCE_CHUNK);
    assert_int_equal(gr_dma_max_mapping_size(&iso.dev), GR_BOUNCE_CHUNK - 4095);
    iso_set(&iso, RIG_BIG, 0xa5, MIB);
    play(&iso, RIG_BIG + 55, 5000);
    assert_int_equal(gr_dma_set_mask(&iso.dev, iso.g - 1), 0);
    assert_int_equal(try_map(&iso, RIG_BIG, 100), GR_ERANGE); /* no slot lies below that */
    assert_int_equal(iso_pool(&iso).slots, 0);
    finish(&iso);
}

/* ---- lists ---- */

static void test_lists(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 4; k++) {
        const struct gr_range ram[] = {bank(RIG_BIG, 16 * MIB), bank(RAM, RAM_SIZE),
                                       bank(0, 16 * MIB)};
        const gr_pa_t out = RIG_BIG + 64 * MIB; /* no memory as far as the domain knows */
        const struct gr_seg segs[] = {
            {RIG_BIG + 100, 50}, {RIG_BIG + 150, 4096}, {RIG_BIG + 9000, 5},
            {out + 50, 4046},    {out + 8192, 4096},    {RIG_BIG + 9005, 1},
        };
        struct gr_dma_seg outs[6];
        struct gr_dma_list list = {.segs = segs, .count = 6, .out = outs};
        uint8_t buf[4146];
        uint64_t sum = 0;
        struct iso iso;

        make(&iso, k / 2 ? ISO_LPAE_4K : RIG_T8020_VA38, k % 2, (struct gr_range){0, 0});
        begin(&iso, ram, 3, NULL, 0);
        assert_int_equal(gr_dma_map_sg(&iso.dev, &list, BOTH, 0), GR_EFAULT);
        assert_int_equal(list.out_count, 0);
        add_pool(&iso, iso.domain.direct.last, GR_BOUNCE_CHUNK);
        for (unsigned i = 0; i < 6; i++)
            iso_set(&iso, segs[i].pa, (uint8_t)(i + 1), segs[i].len);
        assert_int_equal(gr_dma_map_sg(&iso.dev, &list, BOTH, 0), 0);
        assert_in_range(list.out_count, 4, 5); /* slots may touch */
        assert_int_equal(outs[0].len, 4146);
        for (unsigned i = 0; i < list.out_count; i++)
            sum += outs[i].len;
        assert_int_equal(sum, 50 + 4096 + 5 + 4046 + 4096 + 1);
        assert_int_equal(iso_pool(&iso).slots, 2);
        assert_true(iso_access(&iso, outs[0].iova, buf, 4146, false));
        for (unsigned i = 0; i < 4146; i++)
            assert_int_equal(buf[i], i < 50 ? 1 : 2);
        assert_true(iso_access(&iso, outs[2].iova, buf, 4046, false));
        assert_int_equal(buf[0], 4);
        buf[1] = 0x44;
        assert_true(iso_access(&iso, outs[2].iova + 4045, buf + 1, 1, true));
        assert_int_equal(gr_dma_sync_sg_for_cpu(&iso.dev, &list, BOTH), 0);
        assert_int_equal(iso_at(&iso, out + 50 + 4045, 1)[0], 0x44);
        iso_at(&iso, out + 8192, 1)[0] = 0x55;
        assert_int_equal(gr_dma_sync_sg_for_device(&iso.dev, &list, BOTH), 0);
        sum = list.out_count == 5 ? outs[3].iova : outs[2].iova + 4046;
        assert_true(iso_access(&iso, sum, buf, 1, false));
        assert_int_equal(buf[0], 0x55);
        assert_int_equal(gr_dma_unmap_sg(&iso.dev, &list, BOTH, 0), 0);
        assert_int_equal(iso_pool(&iso).slots, 0);
        assert_int_equal(gr_dma_unmap_sg(&iso.dev, &list, BOTH, 0), GR_ENOENT);
        /* limits: a boundary, a length; nothing stays behind */
        assert_int_equal(gr_dma_set_seg_limits(&iso.dev, 4095, 0), 0);
        assert_int_equal(gr_dma_map_sg(&iso.dev, &list, BOTH, 0), GR_EINVAL);
        assert_int_equal(gr_dma_set_seg_limits(&iso.dev, 0, 4096), 0);
        assert_int_equal(gr_dma_map_sg(&iso.dev, &list, BOTH, 0), GR_EINVAL);
        assert_int_equal(gr_dma_set_seg_limits(&iso.dev, 4097, 16384), 0);
        assert_int_equal(gr_dma_map_sg(&iso.dev, &list, BOTH, 0), 0);
        assert_in_range(list.out_count, 5, 6);
        assert_int_equal(gr_dma_unmap_sg(&iso.dev, &list, BOTH, GR_DMA_SKIP_SYNC), 0);
        assert_int_equal(gr_dma_set_seg_limits(&iso.dev, 0, 0), 0);
        list.out_count = 0; /* as after a map that failed */
        assert_int_equal(gr_dma_unmap_sg(&iso.dev, &list, BOTH, 0), GR_ENODATA);
        assert_int_equal(gr_dma_sync_sg_for_cpu(&iso.dev, &list, BOTH), GR_ENODATA);
        assert_int_equal(gr_dma_sync_sg_for_device(&iso.dev, &list, BOTH), GR_ENODATA);
        list.count = 0;
        assert_int_equal(gr_dma_map_sg(&iso.dev, &list, BOTH, 0), GR_ENODATA);
        assert_int_equal(iso_pool(&iso).slots, 0);
        finish(&iso);
    }
}

/* ---- arguments ---- */

static void test_arguments(void **state)
{
    const struct gr_range ram[] = {bank(RIG_BIG, 16 * MIB)};
    struct iso iso;
    gr_iova_t iova = 3;

    (void)state;
    make(&iso, RIG_T8020_VA38, true, (struct gr_range){0, 0});
    assert_int_equal(gr_dma_map(&iso.dev, RIG_BIG, 1, BOTH, 0, &iova), GR_ENODEV);
    assert_int_equal(gr_dma_unmap(&iso.dev, RIG_BIG, 1, BOTH, 0), GR_ENODEV);
    assert_int_equal(gr_dma_sync_for_cpu(&iso.dev, RIG_BIG, 1, BOTH), GR_ENODEV);
    begin(&iso, ram, 1, NULL, 0);
    assert_int_equal(gr_dma_map(&iso.dev, RIG_BIG, 0, BOTH, 0, &iova), GR_ENODATA);
    assert_int_equal(gr_dma_map(&iso.dev, RIG_BIG, 1, (enum gr_dma_dir)4, 0, &iova), GR_EACCES);
    assert_int_equal(gr_dma_map(&iso.dev, RIG_BIG, 1, BOTH, 8, &iova), GR_EOPNOTSUPP);
    assert_int_equal(gr_dma_map(&iso.dev, RIG_BIG, 0 - RIG_BIG + 1, BOTH, 0, &iova), GR_EOVERFLOW);
    assert_int_equal(gr_dma_unmap(&iso.dev, RIG_BIG, 0, BOTH, 0), GR_ENODATA);
    assert_int_equal(gr_dma_unmap(&iso.dev, 0, 16, BOTH, 0), GR_ENOENT);
    assert_int_equal(gr_dma_sync_for_device(&iso.dev, RIG_BIG, 0, BOTH), GR_ENODATA);
    assert_int_equal(gr_dma_sync_for_device(&iso.dev, 0, 1, BOTH), GR_ENOENT);
    assert_int_equal(iova, 3);
    assert_int_equal(gr_domain_map(&iso.domain, 0, 0, iso.g, GR_PROT_READ), GR_ENODEV);
    finish(&iso);
}

/* ---- IDENTITY ---- */

/* The hardware lets it pass: what the device puts out is the PA. */
static void test_identity(void **state)
{
    static const unsigned all[] = {RIG_T8020, RIG_T6000, RIG_T8110, ISO_LPAE_16K};

    (void)state;
    for (unsigned k = 0; k < 8; k++) {
        const gr_pa_t pa = RIG_BIG + 777;
        const uint64_t last = all[k / 2] == RIG_T8020 ? 36 : all[k / 2] >= RIG_KINDS ? 40 : 42;
        struct iso iso;
        gr_iova_t iova;
        uint8_t byte = 0;
        gr_pa_t to;

        make(&iso, all[k / 2], k % 2, (struct gr_range){0, 0});
        assert_int_equal(gr_domain_init(&iso.domain, iso.rig.host, &iso.dev, GR_DOMAIN_IDENTITY, 0),
                         0);
        assert_int_equal(gr_domain_attach(&iso.domain, &iso.dev), 0);
        memset(iso_at(&iso, pa, 100), 0x31, 100); /* in the CPU's cache, perhaps only there */
        iova = must_map(&iso, pa, 100, BOTH);
        assert_int_equal(iova, pa);
        assert_true(iso_access(&iso, iova, &byte, 1, false));
        assert_int_equal(byte, 0x31);
        byte = 0x32;
        assert_true(iso_access(&iso, iova + 99, &byte, 1, true));
        must_unmap(&iso, iova, 100, BOTH);
        assert_int_equal(iso_at(&iso, pa + 99, 1)[0], 0x32);
        assert_int_equal(gr_domain_iova_to_phys(&iso.domain, pa, &to), GR_ENODEV);
        assert_int_equal(gr_domain_trim(&iso.domain, 0, iso.g), GR_ENODEV);
        assert_int_equal(gr_dma_max_mapping_size(&iso.dev), UINT64_C(1) << last);
        assert_int_equal(gr_dma_required_mask(&iso.dev), (UINT64_C(1) << last) - 1);
        assert_int_equal(try_map(&iso, (UINT64_C(1) << last) - 1, 2), GR_EFAULT);
        /* registers, which no cache may touch, and which are no memory */
        assert_int_equal(gr_dma_map(&iso.dev, 0x300000000, 64, BOTH, GR_DMA_MMIO, &iova), 0);
        assert_int_equal(iova, 0x300000000);
        assert_int_equal(gr_dma_unmap(&iso.dev, iova, 64, BOTH, GR_DMA_MMIO), 0);
        /* a device that reaches less */
        assert_int_equal(gr_dma_set_mask(&iso.dev, iso.g - 2), GR_ERANGE);
        assert_int_equal(gr_dma_set_mask(&iso.dev, RAM + RAM_SIZE - 1), 0);
        assert_int_equal(try_map(&iso, pa, 100), GR_EFAULT);
        add_pool(&iso, RAM + RAM_SIZE - 1, GR_BOUNCE_CHUNK);
        iso_set(&iso, pa - 1, 0xa5, MIB);
        play(&iso, pa, 4000);
        finish(&iso);
    }
}

/* Only where all instances can, and no width is exceeded. */
static void test_identity_refused(void **state)
{
    const struct rig_setup two[2] = {{.kind = RIG_T6000}, {.kind = RIG_T6000_PA36}};
    struct rig rig;
    struct gr_stream stream[RIG_DARTS];
    struct gr_stream both[RIG_DARTS];
    struct gr_device_config config;
    struct gr_device dev;
    struct gr_device wide;
    struct gr_domain domain;

    (void)state;
    rig_make(&rig, 4096, 1, 2, two);
    config = rig_device(&rig, stream, 0, 1, 3);
    assert_int_equal(gr_device_init(&wide, &config), 0);
    config = rig_device(&rig, both, 0, 2, 4);
    assert_int_equal(gr_device_init(&dev, &config), 0);
    rig.dart[1].drv.inst.bypass = false;
    assert_int_equal(gr_domain_init(&domain, rig.host, &dev, GR_DOMAIN_IDENTITY, 0), GR_EOPNOTSUPP);
    assert_true(host_logged(rig.host, "cannot bypass"));
    rig.dart[1].drv.inst.bypass = true;
    assert_int_equal(gr_domain_init(&domain, rig.host, &wide, GR_DOMAIN_IDENTITY, 0), 0);
    assert_int_equal(domain.direct.last, (UINT64_C(1) << 42) - 1);
    assert_int_equal(gr_domain_attach(&domain, &dev), GR_EOPNOTSUPP); /* 36 bits, on one side */
    assert_int_equal(gr_domain_attach(&domain, &wide), 0);
    assert_int_equal(gr_domain_detach(&domain, &wide), 0);
    rig.dart[0].drv.inst.bypass = false;
    assert_int_equal(gr_domain_attach(&domain, &wide), GR_EOPNOTSUPP);
    rig.dart[0].drv.inst.bypass = true;
    rig.dart[0].drv.inst.locked = true;
    assert_int_equal(gr_domain_attach(&domain, &wide), GR_EOPNOTSUPP);
    rig.dart[0].drv.inst.locked = false;
    assert_int_equal(gr_domain_fini(&domain), 0);
    assert_int_equal(gr_domain_init(&domain, rig.host, &dev, GR_DOMAIN_IDENTITY, 0), 0);
    assert_int_equal(domain.direct.last, (UINT64_C(1) << 36) - 1);
    assert_int_equal(gr_domain_attach(&domain, &dev), 0);
    assert_int_equal(gr_domain_detach(&domain, &dev), 0);
    assert_int_equal(gr_domain_fini(&domain), 0);
    assert_int_equal(gr_device_fini(&dev), 0);
    assert_int_equal(gr_device_fini(&wide), 0);
    rig_end(&rig);
}

/* From translated to bypassed and back: nothing of the one is left in the other. */
static void test_moves(void **state)
{
    static const unsigned all[] = {RIG_T8020, RIG_T8110};

    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        const struct iso_setup setup = {.kind = all[k]};
        struct gr_domain identity;
        struct gr_domain blocked;
        struct iso iso;
        gr_iova_t iova;
        gr_iova_t nothing = 1;

        iso_make(&iso, &setup);
        assert_int_equal(gr_domain_init(&identity, iso.rig.host, &iso.dev, GR_DOMAIN_IDENTITY, 0),
                         0);
        assert_int_equal(gr_domain_init(&blocked, iso.rig.host, &iso.dev, GR_DOMAIN_BLOCKED, 0), 0);
        assert_int_equal(gr_dma_map(&iso.dev, RIG_BIG, iso.g, BOTH, 0, &iova), 0);
        assert_true(iso_reads(&iso, iova));
        assert_int_equal(gr_domain_attach(&identity, &iso.dev), 0);
        assert_true(iso_reads(&iso, RIG_BIG + 5));
        assert_false(iso_reads(&iso, 0xc0000000)); /* no memory there */
        iso.rig.dart[0].hw.irq = false;
        assert_int_equal(gr_domain_attach(&blocked, &iso.dev), 0);
        assert_false(iso_reads(&iso, RIG_BIG + 5));
        assert_false(iso_reads(&iso, iova));
        assert_int_equal(gr_dma_map(&iso.dev, RIG_BIG, 1, BOTH, 0, &nothing), GR_ENODEV);
        assert_int_equal(gr_dma_max_mapping_size(&iso.dev), 0);
        assert_int_equal(gr_dma_required_mask(&iso.dev), 0);
        assert_int_equal(gr_dma_set_mask(&iso.dev, UINT64_MAX), GR_ENODEV);
        assert_int_equal(gr_domain_map(&blocked, 0, 0, iso.g, GR_PROT_READ), GR_ENODEV);
        assert_int_equal(gr_domain_iova_to_phys(&blocked, 0, &nothing), GR_ENODEV);
        assert_int_equal(gr_domain_attach(&iso.domain, &iso.dev), 0);
        assert_true(iso_reads(&iso, iova));
        assert_false(iso_reads(&iso, RIG_BIG + 5));
        assert_int_equal(gr_dma_unmap(&iso.dev, iova, iso.g, BOTH, 0), 0);
        assert_int_equal(gr_domain_fini(&identity), 0);
        assert_int_equal(gr_domain_fini(&blocked), 0);
        /* bus errors of the read that went nowhere are meant */
        assert_int_equal(gr_domain_detach(&iso.domain, &iso.dev), 0);
        assert_int_equal(gr_domain_fini(&iso.domain), 0);
        assert_int_equal(gr_device_fini(&iso.dev), 0);
        assert_int_equal(gr_dart_fini(&iso.rig.dart[0].drv), 0);
        host_dart_fini(&iso.rig.dart[0].hw);
        assert_int_equal(host_misuse(iso.rig.host), 0);
        assert_int_equal(host_leaks(iso.rig.host), 0);
        (void)host_destroy(iso.rig.host);
    }
}

/* A pool lies where the domain reaches, or is refused. */
static void test_set_bounce(void **state)
{
    const struct gr_range ram[] = {bank(RAM, RAM_SIZE)};
    const struct gr_bounce_config beyond = {.pa_last = RAM + RAM_SIZE, .limit = GR_BOUNCE_CHUNK};
    const struct gr_bounce_config high = {.pa_last = UINT64_C(1) << 36, .limit = GR_BOUNCE_CHUNK};
    struct gr_domain other;
    struct gr_bounce pool;
    struct iso iso;

    (void)state;
    make(&iso, RIG_T8020_VA38, false, (struct gr_range){0, 0});
    begin(&iso, ram, 1, NULL, 0);
    assert_int_equal(gr_bounce_init(&pool, iso.rig.host, &beyond), 0);
    assert_int_equal(gr_domain_set_bounce(&iso.domain, &pool), GR_EFAULT);
    assert_int_equal(gr_domain_init(&other, iso.rig.host, &iso.dev, GR_DOMAIN_BLOCKED, 0), 0);
    assert_int_equal(gr_domain_set_bounce(&other, &pool), GR_EOPNOTSUPP);
    assert_int_equal(gr_domain_fini(&other), 0);
    assert_int_equal(
        gr_domain_init(&other, iso.rig.host, &iso.dev, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE), 0);
    assert_int_equal(gr_domain_set_bounce(&other, &pool), GR_EOPNOTSUPP);
    assert_int_equal(gr_domain_fini(&other), 0);
    assert_int_equal(gr_domain_init(&other, iso.rig.host, &iso.dev, GR_DOMAIN_IDENTITY, 0), 0);
    assert_int_equal(gr_domain_set_bounce(&other, &pool), 0);
    assert_int_equal(gr_domain_fini(&other), 0);
    assert_int_equal(gr_bounce_fini(&pool), 0);
    assert_int_equal(gr_bounce_init(&pool, iso.rig.host, &high), 0);
    assert_int_equal(gr_domain_init(&other, iso.rig.host, &iso.dev, GR_DOMAIN_IDENTITY, 0), 0);
    assert_int_equal(gr_domain_set_bounce(&other, &pool), GR_EFAULT);
    assert_int_equal(gr_domain_fini(&other), 0);
    assert_int_equal(gr_domain_init(&other, iso.rig.host, &iso.dev, GR_DOMAIN_TRANSLATED, 0), 0);
    assert_int_equal(gr_domain_set_bounce(&other, &pool), GR_EFAULT);
    assert_int_equal(gr_domain_fini(&other), 0);
    assert_int_equal(gr_bounce_fini(&pool), 0);
    finish(&iso);
}

/* ---- coherent buffers in each ---- */

static void test_coherent_buffers(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 8; k++) {
        const struct gr_range ram[] = {bank(0, 16 * MIB), bank(RAM, RAM_SIZE)};
        const bool identity = k & 1;
        struct iso iso;
        gr_iova_t iova = 0;
        uint8_t *cpu_ = NULL;
        void *cpu = NULL;
        uint8_t byte = 0x21;
        gr_iova_t other = 9;

        make(&iso, k & 4 ? ISO_LPAE_64K : RIG_T8020, k & 2, (struct gr_range){0, 0});
        if (identity) {
            assert_int_equal(
                gr_domain_init(&iso.domain, iso.rig.host, &iso.dev, GR_DOMAIN_IDENTITY, 0), 0);
            assert_int_equal(gr_domain_attach(&iso.domain, &iso.dev), 0);
        } else {
            begin(&iso, ram, 1, NULL, 0);
        }
        assert_int_equal(gr_dma_alloc(&iso.dev, 3 * iso.g - 5, 0, &cpu, &iova), 0);
        cpu_ = cpu;
        assert_int_equal(iova % (4 * iso.g), 0);
        for (uint64_t i = 0; i < 3 * iso.g; i += 97) {
            uint8_t got = 1;

            assert_true(iso_access(&iso, iova + i, &got, 1, false));
            assert_int_equal(got, 0);
        }
        assert_true(iso_access(&iso, iova + 7, &byte, 1, true));
        assert_int_equal(cpu_[7], 0x21);
        assert_int_equal(gr_dma_free(&iso.dev, 3 * iso.g - 5, 0, cpu, iova + 1), GR_ENOENT);
        assert_int_equal(gr_dma_free(&iso.dev, 3 * iso.g - 5, 0, cpu, UINT64_C(1) << 45),
                         GR_ENOENT);
        assert_int_equal(gr_dma_free(&iso.dev, 3 * iso.g - 5, 0, cpu, iova), 0);
        /* all that there is below the mask is used or none: refused */
        assert_int_equal(
            gr_dma_set_mask(&iso.dev,
                            identity ? iso.g - 1 : RAM - iso.domain.direct_offset + iso.g - 1),
            0);
        if (!gr_dma_alloc(&iso.dev, iso.g, 0, &cpu, &other))
            assert_int_equal(gr_dma_free(&iso.dev, iso.g, 0, cpu, other), 0);
        finish(&iso);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(test_window),
        rig_test(test_from_zero),
        rig_test(test_offset),
        rig_test(test_refused),
        rig_test(test_reserved),
        rig_test(test_too_many_holes),
        rig_test(test_tables_are_hidden),
        rig_test(test_holes_come_first),
        rig_test(test_vector_19_bounces),
        rig_test(test_mask),
        rig_test(test_lists),
        rig_test(test_arguments),
        rig_test(test_identity),
        rig_test(test_identity_refused),
        rig_test(test_moves),
        rig_test(test_set_bounce),
        rig_test(test_coherent_buffers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
