/* SPDX-License-Identifier: MIT */
/* The bounce pool alone: sizes, places, what is in a slot, growth, limits, what is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "iommu/bounce.h"
#include "rig.h"

#include <string.h>

#define CHUNK GR_BOUNCE_CHUNK
#define CHUNK_PAGES ((int)(CHUNK / 4096))
#define RAM UINT64_C(0x800000000)
#define DATA UINT64_C(0x900000000) /* nobody is given it */

static struct host *make_host(void)
{
    const struct host_config config = {
        .cpu_page = 4096,
        .nbanks = 2,
        .nreserved = 1,
        .seed = 1,
        .banks = {{RAM, 64 * MIB}, {DATA, MIB}},
        .reserved = {{DATA, MIB}},
    };
    char why[160];
    struct host *const host = host_create(&config, why, sizeof(why));

    if (!host)
        fail_msg("no host: %s", why);
    host_log_level(host, -1);
    return host;
}

static void end_host(struct host *host, int leaks)
{
    host_set_cpu(UINT32_MAX);
    if (host_misuse(host))
        fail_msg("misuse: %s", host_last_log(host));
    assert_int_equal(host_leaks(host), leaks);
    (void)host_destroy(host);
}

static void make_pool(struct gr_bounce *pool, struct host *host, uint64_t limit, uint64_t reserve)
{
    const struct gr_bounce_config config = {
        .pa_last = UINT64_MAX, .limit = limit, .reserve = reserve};

    assert_int_equal(gr_bounce_init(pool, host, &config), 0);
}

static struct gr_bounce_stats stats_of(struct gr_bounce *pool)
{
    struct gr_bounce_stats stats;

    gr_bounce_stats(pool, &stats);
    return stats;
}

static struct gri_slot *must_make(struct gr_bounce *pool, uint64_t size)
{
    struct gri_slot *slot = NULL;

    assert_int_equal(gri_bounce_make(pool, size, 0, DATA, 1, &slot), 0);
    return slot;
}

/* ---- what it refuses ---- */

static void test_configs(void **state)
{
    static const struct gr_bounce_config bad[] = {
        {UINT64_MAX, 0, 0},
        {UINT64_MAX, CHUNK - 4096, 0},
        {UINT64_MAX, CHUNK + 4096, 0},
        {UINT64_MAX, CHUNK, 4096},
        {UINT64_MAX, CHUNK, 2 * CHUNK},
        {UINT64_MAX, CHUNK * 0x100001, 0},
        {UINT64_MAX, UINT64_MAX - CHUNK + 1, 0},
    };
    struct host *const host = make_host();
    struct gr_bounce pool;

    (void)state;
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(gr_bounce_init(&pool, host, &bad[i]), GR_EINVAL);
    make_pool(&pool, host, CHUNK * 0x100000, 0); /* the most there can be */
    assert_int_equal(gr_bounce_fini(&pool), 0);
    end_host(host, 0);
}

/* Each allocation of init fails in turn: nothing is left. */
static void test_no_memory(void **state)
{
    const struct gr_bounce_config config = {UINT64_MAX, 4 * CHUNK, 3 * CHUNK};
    struct host *const host = make_host();
    struct gr_bounce pool;
    struct gri_slot *slot = NULL;
    struct gri_slot *all[4];
    unsigned n = 0;
    int ret;

    (void)state;
    do {
        host_fail_alloc(host, ++n);
        ret = gr_bounce_init(&pool, host, &config);
        host_fail_alloc(host, 0);
        assert_true(!ret || host_leaks(host) == 0);
    } while (ret == GR_ENOMEM);
    assert_int_equal(ret, 0);
    assert_int_equal(n, 8); /* the table, three chunks with their pages, none */
    for (unsigned i = 0; i < 3; i++)
        all[i] = must_make(&pool, CHUNK);
    for (n = 1; n <= 2; n++) { /* a chunk that is not made leaves its place */
        host_fail_alloc(host, n);
        assert_int_equal(gri_bounce_make(&pool, 4096, 0, DATA, 1, &slot), GR_ENOMEM);
        host_fail_alloc(host, 0);
        assert_int_equal(stats_of(&pool).memory, 3 * CHUNK);
        assert_int_equal(stats_of(&pool).refused, 0);
    }
    all[3] = must_make(&pool, CHUNK);
    assert_int_equal(stats_of(&pool).memory, 4 * CHUNK);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(gr_bounce_fini(&pool), GR_EBUSY);
        gri_bounce_free(all[i], false);
    }
    assert_int_equal(gr_bounce_fini(&pool), 0);
    end_host(host, 0);
}

/* What it has from the start, it need not ask for; where it must lie, it lies. */
static void test_reserve(void **state)
{
    const struct gr_bounce_config config = {RAM + 2 * MIB - 1, 4 * CHUNK, 2 * CHUNK};
    struct host *const host = make_host();
    struct gri_slot *slot[4];
    struct gr_bounce pool;
    uint64_t allocs;

    (void)state;
    assert_int_equal(gr_bounce_init(&pool, host, &config), 0);
    assert_int_equal(stats_of(&pool).memory, 2 * CHUNK);
    assert_int_equal(stats_of(&pool).limit, 4 * CHUNK);
    assert_int_equal(host_leaks(host), 1 + 2 * (1 + CHUNK_PAGES));
    allocs = host_allocs(host);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(host_allocs(host), allocs + (i > 2 ? 2 * (i - 2) : 0));
        slot[i] = must_make(&pool, CHUNK);
        assert_in_range(gri_bounce_pa(slot[i]), RAM, RAM + 2 * MIB - CHUNK);
    }
    for (unsigned i = 0; i < 4; i++)
        gri_bounce_free(slot[i], false);
    assert_int_equal(stats_of(&pool).memory, 4 * CHUNK); /* they stay */
    assert_int_equal(gr_bounce_fini(&pool), 0);
    end_host(host, 0);
}

/* ---- exhaustion ---- */

static void test_exhaustion(void **state)
{
    struct host *const host = make_host();
    struct gri_slot *slot[16];
    struct gri_slot *none = NULL;
    struct gr_bounce pool;

    (void)state;
    make_pool(&pool, host, CHUNK, 0);
    assert_int_equal(gri_bounce_make(&pool, CHUNK + 1, 0, DATA, 1, &none), GR_ENOBUFS);
    assert_int_equal(gri_bounce_make(&pool, UINT64_MAX, 0, DATA, 1, &none), GR_ENOBUFS);
    assert_int_equal(stats_of(&pool).memory, 0);
    for (unsigned i = 0; i < 16; i++)
        slot[i] = must_make(&pool, 16 * KIB);
    assert_int_equal(gri_bounce_make(&pool, 1, 0, DATA, 1, &none), GR_ENOBUFS);
    assert_int_equal(stats_of(&pool).slots, 16);
    assert_int_equal(stats_of(&pool).used, CHUNK);
    gri_bounce_free(slot[5], false);
    assert_int_equal(gri_bounce_make(&pool, 32 * KIB, 0, DATA, 1, &none), GR_ENOBUFS);
    gri_bounce_free(slot[6], false); /* side by side, but not one block */
    assert_int_equal(gri_bounce_make(&pool, 32 * KIB, 0, DATA, 1, &none), GR_ENOBUFS);
    gri_bounce_free(slot[7], false);
    slot[6] = must_make(&pool, 32 * KIB);
    assert_int_equal(gri_bounce_pa(slot[6]) % (32 * KIB), 0);
    slot[5] = must_make(&pool, 1);
    assert_int_equal(slot[5]->size, 4096);
    gri_bounce_free(slot[5], false);
    gri_bounce_free(slot[6], false);
    for (unsigned i = 0; i < 16; i++) {
        if (i < 5 || i > 7)
            gri_bounce_free(slot[i], false);
    }
    assert_int_equal(stats_of(&pool).slots, 0);
    assert_int_equal(stats_of(&pool).used, 0);
    assert_int_equal(stats_of(&pool).slots_ever, 18);
    assert_null(none);
    assert_int_equal(gr_bounce_fini(&pool), 0);
    end_host(host, 0);
}

/* ---- CPUs ---- */

/* A CPU's own chunks first, then another's, and only then a new one. */
static void test_areas(void **state)
{
    struct host *const host = make_host();
    struct gri_slot *slot[5];
    struct gr_bounce pool;

    (void)state;
    make_pool(&pool, host, 3 * CHUNK, 0);
    host_set_cpu(3);
    slot[0] = must_make(&pool, CHUNK / 2);
    host_set_cpu(0);
    slot[1] = must_make(&pool, CHUNK / 2); /* what CPU 3 has left */
    assert_int_equal(stats_of(&pool).memory, CHUNK);
    slot[2] = must_make(&pool, CHUNK / 2);
    assert_int_equal(stats_of(&pool).memory, 2 * CHUNK);
    host_set_cpu(3);
    gri_bounce_free(slot[0], false);
    host_set_cpu(GR_CFG_BOUNCE_AREAS); /* shares with CPU 0 */
    slot[3] = must_make(&pool, CHUNK / 2);
    assert_int_equal(gri_bounce_pa(slot[3]) / CHUNK, gri_bounce_pa(slot[2]) / CHUNK);
    host_set_cpu(3);
    slot[0] = must_make(&pool, CHUNK / 2);
    assert_int_equal(gri_bounce_pa(slot[0]) / CHUNK, gri_bounce_pa(slot[1]) / CHUNK);
    slot[4] = must_make(&pool, CHUNK);
    assert_int_equal(stats_of(&pool).memory, 3 * CHUNK);
    for (unsigned i = 0; i < 5; i++) { /* freed by whom it may be */
        host_set_cpu(i);
        gri_bounce_free(slot[i], false);
    }
    assert_int_equal(gr_bounce_fini(&pool), 0);
    end_host(host, 0);
}

/* ---- what is in a slot ---- */

/* All but the data is zero, whatever was there; copies touch the data that they name. */
static void test_content(void **state)
{
    static const struct {
        uint32_t offset, len;
        uint64_t size;
    } all[] = {{0, 0, 4096},        {0, 4096, 4096},    {0, 1, 4096},        {4095, 1, 4096},
               {100, 900, 4096},    {0, 5000, 8192},    {16000, 384, 16384}, {3, 16384 - 3, 16384},
               {4096, 8192, 65536}, {0, 0x40000, CHUNK}};
    struct host *const host = make_host();
    uint8_t *const data = host_ptr(host, DATA, MIB);
    struct gr_bounce pool;

    (void)state;
    make_pool(&pool, host, CHUNK, 0);
    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const uint32_t offset = all[i].offset;
        const uint32_t len = all[i].len;
        struct gri_slot *slot = must_make(&pool, CHUNK);
        uint64_t copied;
        unsigned char *va;

        memset(gri_bounce_va(slot), 0xa5, CHUNK);
        gri_bounce_free(slot, false);
        memset(data, 0x11, MIB);
        copied = stats_of(&pool).copied;
        assert_int_equal(gri_bounce_make(&pool, all[i].size, offset, DATA + 8, len, &slot), 0);
        assert_int_equal(stats_of(&pool).copied - copied, len);
        va = gri_bounce_va(slot);
        assert_int_equal(gr_port_virt_to_phys(host, va), gri_bounce_pa(slot));
        assert_int_equal(slot->size, all[i].size);
        assert_int_equal(gri_bounce_pa(slot) % slot->size, 0);
        for (uint64_t b = 0; b < slot->size; b++)
            assert_int_equal(va[b], b >= offset && b < offset + len ? 0x11 : 0);
        for (uint64_t b = 0; b < slot->size; b += 4096)
            assert_ptr_equal(gri_bounce_find(&pool, gri_bounce_pa(slot) + b), slot);
        /* out: nothing before or behind the data, however much is named */
        memset(va, 0x22, slot->size);
        gri_bounce_copy(slot, 0, offset, true);
        gri_bounce_copy(slot, offset + len, slot->size, true);
        gri_bounce_copy(slot, offset + len / 2, slot->size, true);
        for (uint64_t b = 0; b < MIB; b++)
            assert_int_equal(data[b], b >= 8 + len / 2 && b < 8 + len ? 0x22 : 0x11);
        assert_int_equal(stats_of(&pool).copied - copied, len + (len - len / 2));
        /* in */
        memset(data, 0x33, MIB);
        gri_bounce_copy(slot, 0, offset + len / 2, false);
        for (uint64_t b = 0; b < slot->size; b++)
            assert_int_equal(va[b], b >= offset && b < offset + len / 2 ? 0x33 : 0x22);
        gri_bounce_free(slot, false);
    }
    assert_null(gri_bounce_find(&pool, DATA));
    assert_null(gri_bounce_find(&pool, UINT64_MAX));
    assert_int_equal(gr_bounce_fini(&pool), 0);
    end_host(host, 0);
}

/* ---- slots that cannot be used again ---- */

static void test_lost(void **state)
{
    struct host *const host = make_host();
    struct gri_slot *slot[16];
    struct gri_slot *none;
    struct gr_bounce pool;
    gr_pa_t lost;

    (void)state;
    make_pool(&pool, host, 2 * CHUNK, 2 * CHUNK);
    slot[0] = must_make(&pool, 32 * KIB);
    lost = gri_bounce_pa(slot[0]);
    memset(gri_bounce_va(slot[0]), 0x77, 32 * KIB);
    gri_bounce_free(slot[0], true);
    assert_int_equal(stats_of(&pool).lost, 32 * KIB);
    assert_int_equal(stats_of(&pool).slots, 0);
    assert_int_equal(stats_of(&pool).used, 0);
    for (unsigned i = 0; i < 15; i++) {
        slot[i] = must_make(&pool, 32 * KIB);
        assert_true(gri_bounce_pa(slot[i]) != lost);
    }
    assert_int_equal(gri_bounce_make(&pool, 4096, 0, DATA, 1, &none), GR_ENOBUFS);
    for (unsigned i = 0; i < 15; i++)
        gri_bounce_free(slot[i], false);
    assert_int_equal(gr_bounce_fini(&pool), 0);
    /* a device may still write there: the chunk stays */
    assert_int_equal(host_use_of(host, lost), HOST_LIBRARY);
    end_host(host, CHUNK_PAGES);
}

/* ---- chance ---- */

#define MANY 400u
#define WHOLE 12u /* chunks */

/* Slots of all sizes come and go: each is aligned, whole, found, and no other's. */
static void test_random(void **state)
{
    struct host *const host = make_host();
    uint64_t dice = chance_seed("test_random");
    struct gri_slot *slot[MANY] = {NULL};
    unsigned char mark[MANY] = {0};
    struct gr_bounce pool;
    uint64_t used = 0;
    unsigned refused = 0;

    (void)state;
    make_pool(&pool, host, WHOLE * CHUNK, CHUNK);
    for (unsigned n = 0; n < 20000; n++) {
        const unsigned i = (unsigned)chance_below(&dice, MANY);
        const uint64_t size = UINT64_C(1) << (12 + chance_below(&dice, 1 + chance_below(&dice, 7)));

        host_set_cpu((uint32_t)chance_below(&dice, 20));
        if (slot[i]) {
            const unsigned char *const va = gri_bounce_va(slot[i]);

            assert_ptr_equal(gri_bounce_find(&pool, gri_bounce_pa(slot[i]) + slot[i]->size - 1),
                             slot[i]);
            assert_int_equal(va[0], mark[i]);
            assert_int_equal(va[slot[i]->size - 1], mark[i]);
            used -= slot[i]->size;
            gri_bounce_free(slot[i], false);
            slot[i] = NULL;
            continue;
        }
        if (gri_bounce_make(&pool, size - chance_below(&dice, size / 2), 0, DATA, 0, &slot[i])) {
            slot[i] = NULL;
            refused++;
            continue;
        }
        assert_int_equal(slot[i]->size, size);
        assert_int_equal(gri_bounce_pa(slot[i]) % size, 0);
        used += size;
        mark[i] = (unsigned char)(1 + n % 251);
        memset(gri_bounce_va(slot[i]), mark[i], size);
        assert_int_equal(stats_of(&pool).used, used);
    }
    assert_in_range(refused, 1, 10000);
    for (unsigned i = 0; i < MANY; i++)
        gri_bounce_free(slot[i], false);
    assert_int_equal(stats_of(&pool).slots, 0);
    for (unsigned i = 0; i < WHOLE; i++) /* all of it is whole again */
        slot[i] = must_make(&pool, CHUNK);
    for (unsigned i = 0; i < WHOLE; i++)
        gri_bounce_free(slot[i], false);
    assert_int_equal(gr_bounce_fini(&pool), 0);
    end_host(host, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(test_configs),    rig_test(test_no_memory), rig_test(test_reserve),
        rig_test(test_exhaustion), rig_test(test_areas),     rig_test(test_content),
        rig_test(test_lost),       rig_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
