/* SPDX-License-Identifier: MIT */
/* ports/host: what it promises, what it may do to us, and what it catches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <granule/err.h>
#include <granule/port.h>
#include <host.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chance.h"
#include "units.h"

#define FRESH UINT64_C(0x000fffabcdef0003)
#define SEEDS 64
#define LINE ((uint64_t)GR_PORT_CACHE_LINE)

/* TSan's own memory drowns what a machine costs. */
#if defined(__SANITIZE_THREAD__)
#define TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TSAN 1
#endif
#endif
#ifndef TSAN
#define TSAN 0
#endif

static uint64_t seed0;

static struct host_config config(uint64_t base, uint64_t size)
{
    struct host_config c = {.cpu_page = 4096, .nbanks = 1, .seed = seed0};

    c.banks[0] = (struct host_bank){base, size};
    return c;
}

static struct host *create(const struct host_config *c)
{
    char err[256] = "";
    struct host *h = host_create(c, err, sizeof(err));

    if (!h)
        fail_msg("host_create: %s", err);
    host_log_level(h, -1);
    return h;
}

/* A machine of 64 MiB with the k-th seed. */
static struct host *small(uint64_t k, bool noncoherent_walk)
{
    struct host_config c = config(GIB, 64 * MIB);

    c.seed = seed0 + k;
    c.noncoherent_walk = noncoherent_walk;
    return create(&c);
}

/* The end of a test without misuse and without leaks. */
static void finish(struct host *h)
{
    if (host_misuse(h))
        fail_msg("%s", host_last_log(h));
    assert_int_equal(host_ram_leaks(h), 0);
    assert_int_equal(host_destroy(h), 0);
}

/* One more misuse than `before`, and a line that says so. */
static void caught(struct host *h, unsigned before, const char *text)
{
    assert_int_equal(host_misuse(h), before + 1);
    if (!strstr(host_last_log(h), text))
        fail_msg("\"%s\" does not say \"%s\"", host_last_log(h), text);
}

static uint64_t walk(struct host *h, gr_pa_t pa)
{
    uint64_t v = 0;

    assert_true(host_table_read64(h, pa, &v));
    return v;
}

static uint64_t *table_new(struct host *h, gr_pa_t *pa)
{
    uint64_t *t = gr_port_pages_alloc(h, 14, UINT64_MAX, GR_PAGES_TABLE);

    assert_non_null(t);
    *pa = gr_port_virt_to_phys(h, t);
    return t;
}

static void config_errors(void **state)
{
    static const struct {
        struct host_config c;
        const char *says;
    } bad[] = {
        {{.cpu_page = 8192, .nbanks = 1, .banks = {{0, MIB}}}, "8192"},
        {{.cpu_page = 4096, .nbanks = 0}, "0 banks"},
        {{.cpu_page = 4096, .nbanks = 65}, "65 banks"},
        {{.cpu_page = 4096, .nbanks = 1, .banks = {{0, 0}}}, "bank 0"},
        {{.cpu_page = 4096, .nbanks = 1, .banks = {{100, MIB}}}, "4 KiB"},
        {{.cpu_page = 4096, .nbanks = 1, .banks = {{0xfffffffffffff000, 2 * 4096}}}, "2^64"},
        {{.cpu_page = 4096, .nbanks = 2, .banks = {{0, MIB}, {MIB / 2, MIB}}}, "overlap"},
        {{.cpu_page = 4096, .nbanks = 1, .banks = {{0, (uint64_t)1 << 60}}}, "address space"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char err[256] = "";

        assert_null(host_create(&bad[i].c, err, sizeof(err)));
        if (!strstr(err, bad[i].says))
            fail_msg("\"%s\" does not say \"%s\"", err, bad[i].says);
    }
}

static void pages_are_as_promised(void **state)
{
    struct host *h = small(0, false);
    void *va[200];
    unsigned lg2[200];
    uint64_t low = GIB + 16 * MIB - 1, lowest = UINT64_MAX, highest = 0;

    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        gr_pa_t pa, last = i % 2 ? low : UINT64_MAX;
        static const uint8_t zero[4096];

        lg2[i] = 12 + i % 5;
        va[i] = gr_port_pages_alloc(h, lg2[i], last, i % 3 ? GR_PAGES_TABLE : GR_PAGES_MAY_SLEEP);
        assert_non_null(va[i]);
        pa = gr_port_virt_to_phys(h, va[i]);
        assert_ptr_equal(gr_port_phys_to_virt(h, pa), va[i]);
        assert_ptr_equal(host_ptr(h, pa, (uint64_t)1 << lg2[i]), va[i]);
        assert_int_equal(pa & (((uint64_t)1 << lg2[i]) - 1), 0);
        assert_true(pa >= GIB && pa + (((uint64_t)1 << lg2[i]) - 1) <= last);
        for (uint64_t at = 0; at >> lg2[i] == 0; at += 4096)
            assert_memory_equal((char *)va[i] + at, zero, 4096);
        memset(va[i], (int)i, (size_t)1 << lg2[i]);
        lowest = pa < lowest ? pa : lowest;
        highest = pa > highest ? pa : highest;
    }
    assert_true(highest - lowest > 32 * MIB); /* from all over the RAM */
    for (unsigned i = 0; i < 200; i++) {      /* nobody got memory of another */
        const uint8_t *p = va[i];

        assert_int_equal(memcmp(p, p + 1, ((size_t)1 << lg2[i]) - 1), 0);
        assert_int_equal(*p, i);
        gr_port_pages_free(h, va[i], lg2[i]);
        assert_int_equal(*p, 0x5a);
    }
    assert_null(gr_port_pages_alloc(h, 12, GIB - 1, 0));
    assert_null(gr_port_pages_alloc(h, 12, GIB + 4094, 0));
    assert_null(gr_port_pages_alloc(h, 27, UINT64_MAX, 0));
    assert_null(gr_port_pages_alloc(h, 63, UINT64_MAX, 0));
    finish(h);
}

static void same_seed_same_places(void **state)
{
    struct host *a = small(1, false), *b = small(1, false), *c = small(2, false);
    unsigned differ = 0;
    uint64_t unused;

    (void)state;
    for (unsigned i = 0; i < 32; i++) {
        void *pa = gr_port_pages_alloc(a, 12, UINT64_MAX, GR_PAGES_TABLE);
        void *pb = gr_port_pages_alloc(b, 12, UINT64_MAX, GR_PAGES_TABLE);
        void *pc = gr_port_pages_alloc(c, 12, UINT64_MAX, GR_PAGES_TABLE);

        /* What walkers do moves no allocation. */
        assert_true(host_table_read64(b, gr_port_virt_to_phys(b, pb), &unused));
        assert_int_equal(gr_port_virt_to_phys(a, pa), gr_port_virt_to_phys(b, pb));
        differ += gr_port_virt_to_phys(a, pa) != gr_port_virt_to_phys(c, pc);
        gr_port_pages_free(a, pa, 12);
        gr_port_pages_free(b, pb, 12);
        gr_port_pages_free(c, pc, 12);
    }
    assert_true(differ > 0);
    finish(a);
    finish(b);
    finish(c);
}

/* Two MiB with holes at the ends and in the middle: every free page is found, and no other. */
static void tiny_ram_and_holes(void **state)
{
    struct host_config c = config(0, 2 * MIB);
    struct host *h;
    void *va[512];
    unsigned n = 0;
    gr_pa_t pa;
    bool zero = false;

    (void)state;
    c.nreserved = 4;
    c.reserved[0] = (struct host_hole){MIB + 1, 4096};           /* two pages, partly */
    c.reserved[1] = (struct host_hole){2 * MIB - 4096, 2 * MIB}; /* the last one, and beyond */
    c.reserved[2] = (struct host_hole){64 * KIB, 0};             /* nothing */
    c.reserved[3] = (struct host_hole){GIB, GIB};                /* elsewhere */
    h = create(&c);
    while (n < 512 && (va[n] = gr_port_pages_alloc(h, 12, UINT64_MAX, 0))) {
        pa = gr_port_virt_to_phys(h, va[n]);
        zero = zero || pa == 0;
        assert_true(pa != MIB && pa != MIB + 4096 && pa != 2 * MIB - 4096);
        n++;
    }
    assert_int_equal(n, 509);
    assert_true(zero);
    assert_int_equal(host_leaks(h), 509);
    assert_int_equal(host_ram_alloc(h, 1, 0, &pa), GR_ENOMEM);
    for (unsigned i = 0; i < n; i++)
        gr_port_pages_free(h, va[i], 12);
    va[0] = gr_port_pages_alloc(h, 20, UINT64_MAX, 0); /* the one place where it fits */
    assert_non_null(va[0]);
    assert_int_equal(gr_port_virt_to_phys(h, va[0]), 0);
    assert_null(gr_port_pages_alloc(h, 20, UINT64_MAX, 0));
    gr_port_pages_free(h, va[0], 20);
    assert_non_null(host_ptr(h, MIB, 8192)); /* a hole is RAM */
    assert_null(host_ptr(h, 2 * MIB - 1, 2));
    assert_null(host_ptr(h, 2 * MIB, 1));
    finish(h);
}

static void top_of_the_address_space(void **state)
{
    struct host_config c = config(0 - MIB, MIB);
    struct host *h = create(&c);
    void *va = gr_port_pages_alloc(h, 20, UINT64_MAX, GR_PAGES_TABLE);
    uint8_t byte = 7;

    (void)state;
    assert_non_null(va);
    assert_null(gr_port_pages_alloc(h, 12, UINT64_MAX, 0));
    gr_port_cache(h, va, MIB, GR_CACHE_CLEAN);
    assert_int_equal(walk(h, 0 - (uint64_t)8), 0);
    assert_true(host_mem_read(h, UINT64_MAX, &byte, 1, true));
    assert_int_equal(byte, 0);
    assert_false(host_mem_read(h, UINT64_MAX, &byte, 2, true));
    gr_port_pages_free(h, va, 20);
    finish(h);
}

/* One page in all: what is left of its last life must not reach the next one. */
static void reused_memory(void **state)
{
    struct host_config c = config(0, 16 * KIB);
    struct host *h = create(&c);
    uint64_t v = 0x4444, *t;
    gr_pa_t pa;

    (void)state;
    for (unsigned i = 0; i < SEEDS; i++) {
        t = table_new(h, &pa);
        gr_port_table_store64(h, &t[9], 1); /* pending, and never retired */
        gr_port_pages_free(h, t, 14);
        assert_int_equal(host_ram_alloc(h, 16 * KIB, 0, &pa), 0);
        assert_true(host_mem_write(h, pa + 72, &v, 8, false));
        gr_port_wmb();
        v = 0;
        assert_true(host_mem_read(h, pa + 72, &v, 8, false));
        assert_int_equal(v, 0x4444);
        host_ram_free(h, pa);
    }
    assert_int_equal(host_misuse(h), 0);
    t = table_new(h, &pa);
    gr_port_pages_free(h, t, 14);
    t[100] = 1;
    assert_ptr_equal(table_new(h, &pa), t);
    caught(h, 0, "written after it was freed");
    gr_port_pages_free(h, t, 14);
    assert_int_equal(host_destroy(h), 0);
}

/* Tables that nobody allocated as such, a firmware's say, are read as data. */
static void tables_in_other_memory(void **state)
{
    (void)state;
    for (unsigned noncoherent = 0; noncoherent < 2; noncoherent++) {
        struct host *h = small(0, noncoherent != 0);
        uint64_t *t;
        gr_pa_t pa;

        assert_int_equal(host_ram_alloc(h, 4096, 0, &pa), 0);
        t = host_ptr(h, pa, 4096);
        t[1] = 0x55;
        assert_int_equal(walk(h, pa + 8), noncoherent ? 0 : 0x55);
        gr_port_table_store64(h, &t[1], 0x66);
        assert_int_equal(walk(h, pa + 8), noncoherent ? 0 : 0x66);
        gr_port_cache(h, t, 16, GR_CACHE_CLEAN);
        assert_int_equal(walk(h, pa + 8), 0x66);
        host_ram_free(h, pa);
        finish(h);
    }
}

static void big_machine_costs_what_it_touches(void **state)
{
    struct host_config c = config(32 * GIB, 64 * GIB);
    struct host *h;
    struct rusage before, after;
    static bool seen[96 * 512]; /* of each 2 MiB below 96 GiB */
    uint64_t steps = 0;
    unsigned regions = 0;

    (void)state;
    if (sizeof(void *) < 8)
        skip();
    c.nbanks = 2;
    c.banks[1] = (struct host_bank){0, 16 * GIB};
    getrusage(RUSAGE_SELF, &before);
    h = create(&c);
    for (unsigned i = 0; i < 4000; i++) {
        gr_pa_t pa, last = i % 8 ? UINT64_MAX : 16 * GIB - 1;
        void *va = gr_port_pages_alloc(h, 16, last, GR_PAGES_TABLE);

        assert_non_null(va);
        pa = gr_port_virt_to_phys(h, va);
        assert_true(pa <= last);
        steps |= (uint64_t)1 << pa / (4 * GIB);
        regions += !seen[pa / (2 * MIB)];
        seen[pa / (2 * MIB)] = true;
        gr_port_pages_free(h, va, 16);
    }
    assert_true(__builtin_popcountll(steps) > 10); /* all over the RAM: of 20 */
    assert_in_range(regions, 65, 250);             /* mostly where it was before, not only */
    finish(h);
    getrusage(RUSAGE_SELF, &after);
    assert_true(TSAN ||
                after.ru_maxrss - before.ru_maxrss < 500 * 1024); /* KiB; each place once: 750 */
}

static void buffers_for_tests(void **state)
{
    static const unsigned pages[] = {4096, 16384, 65536};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct host_config c = config(GIB, 64 * MIB);
        struct host *h;
        gr_pa_t a, b, d;

        c.cpu_page = pages[i];
        h = create(&c);
        assert_int_equal(host_cpu_page(h), pages[i]);
        assert_int_equal(host_ram_alloc(h, 1, 0, &a), 0);
        assert_int_equal(host_ram_alloc(h, 3 * MIB + 1, 0, &b), 0);
        assert_int_equal(host_ram_alloc(h, pages[i], MIB, &d), 0);
        assert_int_equal(a % pages[i], 0);
        assert_int_equal(b % pages[i], 0);
        assert_int_equal(d % MIB, 0);
        assert_int_equal((unsigned)host_ram_leaks(h), (3 * MIB + 3 * pages[i]) / 4096);
        assert_int_equal(host_leaks(h), 0);
        assert_int_equal(host_ram_alloc(h, 0, 0, &a), GR_EINVAL);
        assert_int_equal(host_ram_alloc(h, 1, 3, &a), GR_EINVAL);
        assert_int_equal(host_ram_alloc(h, UINT64_MAX, 0, &a), GR_EINVAL);
        assert_int_equal(host_ram_alloc(h, GIB, 0, &a), GR_ENOMEM);
        host_ram_free(h, b);
        host_ram_free(h, d);
        host_ram_free(h, d);
        caught(h, 0, "host_ram_free");
        host_ram_free(h, a + 4096);
        caught(h, 1, "host_ram_free");
        host_ram_free(h, a);
        assert_int_equal(host_ram_leaks(h), 0);
        assert_int_equal(host_destroy(h), 0);
    }
}

/* A fresh table: poison or zeroes at first, each slot for itself; zeroes after the barrier. */
static void fresh_tables(void **state)
{
    unsigned poison = 0, zero = 0;

    (void)state;
    for (unsigned s = 0; s < SEEDS; s++) {
        struct host *h = small(s, false);
        gr_pa_t pa;
        uint64_t *t = table_new(h, &pa);

        for (unsigned i = 0; i < 2048; i++) {
            uint64_t v = walk(h, pa + i * 8);

            assert_true(v == 0 || v == FRESH);
            assert_int_equal(t[i], 0);
            poison += v != 0;
            zero += v == 0;
        }
        gr_port_wmb();
        for (unsigned i = 0; i < 2048; i++)
            assert_int_equal(walk(h, pa + i * 8), 0);
        gr_port_pages_free(h, t, 14);
        finish(h);
    }
    assert_true(poison > 0 && zero > 0);
}

/* Two stores, looked at once before the barrier: all four outcomes happen. */
static void stores_become_visible(void **state)
{
    unsigned seen[4] = {0};

    (void)state;
    for (unsigned s = 0; s < SEEDS * 4; s++) {
        struct host *h = small(s, false);
        gr_pa_t pa;
        uint64_t *t = table_new(h, &pa);
        unsigned first, second;

        gr_port_wmb();
        gr_port_table_store64(h, &t[5], 0x1111);
        gr_port_table_store64(h, &t[900], 0x2222);
        assert_int_equal(t[5], 0x1111);
        assert_int_equal(t[900], 0x2222);
        first = walk(h, pa + 5 * 8) == 0x1111;
        second = walk(h, pa + 900 * 8) == 0x2222;
        seen[first + 2 * second]++;
        gr_port_rmb();
        if (s % 2)
            gr_port_wmb();
        else
            gr_port_mb();
        assert_int_equal(walk(h, pa + 5 * 8), 0x1111);
        assert_int_equal(walk(h, pa + 900 * 8), 0x2222);
        gr_port_pages_free(h, t, 14);
        finish(h);
    }
    for (unsigned i = 0; i < 4; i++)
        if (!seen[i])
            fail_msg("outcome %u of two pending stores never happened", i);
}

/* What a walker saw of a slot is never older afterwards, whatever was pending twice. */
static void one_slot_is_in_order(void **state)
{
    (void)state;
    for (unsigned s = 0; s < SEEDS; s++) {
        struct host *h = small(s, s % 2 != 0);
        gr_pa_t pa;
        uint64_t *t = table_new(h, &pa), last = 0;

        gr_port_wmb();
        gr_port_cache(h, t, 16384, GR_CACHE_CLEAN);
        for (uint64_t v = 1; v < 40; v++) {
            uint64_t now;

            gr_port_table_store64(h, &t[7], v);
            now = walk(h, pa + 56);
            assert_true(now >= last && now <= v);
            last = now;
        }
        gr_port_pages_free(h, t, 14);
        finish(h);
    }
}

/* Tables that walkers read past the caches: barriers do nothing, a CLEAN does, for what it covers.
 */
static void noncoherent_walk(void **state)
{
    unsigned late = 0, early = 0;

    (void)state;
    for (unsigned s = 0; s < SEEDS * 4; s++) {
        struct host *h = small(s, true);
        gr_pa_t pa;
        uint64_t *t = table_new(h, &pa), v;

        gr_port_cache(h, t, 16384, GR_CACHE_CLEAN);
        assert_int_equal(walk(h, pa + 16376), 0);
        gr_port_table_store64(h, &t[0], 0x1111);
        gr_port_table_store64(h, &t[512], 0x2222);
        gr_port_wmb();
        v = walk(h, pa);
        assert_true(v == 0 || v == 0x1111);
        late += v == 0;
        early += v != 0;
        gr_port_cache(h, t, 8, GR_CACHE_CLEAN);
        assert_int_equal(walk(h, pa), 0x1111);
        v = walk(h, pa + 4096);
        assert_true(v == 0 || v == 0x2222);
        late += v == 0;
        early += v != 0;
        for (unsigned i = 0; i < 1000; i++) /* more than is remembered */
            gr_port_table_store64(h, &t[i], i);
        gr_port_cache(h, t, 16384, GR_CACHE_CLEAN);
        for (unsigned i = 0; i < 1000; i++)
            assert_int_equal(walk(h, pa + i * 8), i);
        gr_port_pages_free(h, t, 14);
        finish(h);
    }
    assert_true(late > 0 && early > 0);
}

struct watch {
    struct host *h;
    gr_pa_t pa;
    unsigned calls, seen;
};

static void watcher(void *arg)
{
    struct watch *w = arg;

    w->calls++;
    w->seen += walk(w->h, w->pa) == 0x77;
}

static void observer(void **state)
{
    unsigned seen = 0;

    (void)state;
    for (unsigned s = 0; s < SEEDS; s++) {
        struct host *h = small(s, false);
        struct watch w = {.h = h};
        uint64_t *t = table_new(h, &w.pa);

        gr_port_wmb();
        host_set_observer(h, watcher, &w);
        gr_port_table_store64(h, &t[0],
                              0x77); /* never there after a barrier: only a look between */
        gr_port_table_store64(h, &t[0], 0);
        gr_port_wmb();
        gr_port_wmb(); /* with nothing stored */
        assert_int_equal(w.calls, 3);
        seen += w.seen > 0;
        host_set_observer(h, NULL, NULL);
        gr_port_pages_free(h, t, 14);
        assert_int_equal(w.calls, 3);
        finish(h);
    }
    assert_true(seen > 0 && seen < SEEDS);
}

/* A thread's barrier retires its own stores, not another's; its end does. */
struct other {
    struct host *h;
    uint64_t *slot;
    pthread_barrier_t *meet;
};

static void *other_thread(void *arg)
{
    struct other *o = arg;

    gr_port_table_store64(o->h, o->slot, 0x3333);
    pthread_barrier_wait(o->meet);
    pthread_barrier_wait(o->meet);
    return NULL;
}

static void barriers_are_per_thread(void **state)
{
    unsigned late = 0;

    (void)state;
    for (unsigned s = 0; s < SEEDS; s++) {
        struct host *h = small(s, false);
        pthread_barrier_t meet;
        pthread_t thread;
        gr_pa_t pa;
        uint64_t *t = table_new(h, &pa);
        struct other o = {h, &t[3], &meet};

        gr_port_wmb();
        pthread_barrier_init(&meet, NULL, 2);
        assert_int_equal(pthread_create(&thread, NULL, other_thread, &o), 0);
        pthread_barrier_wait(&meet);
        gr_port_wmb();
        late += walk(h, pa + 24) == 0;
        pthread_barrier_wait(&meet);
        pthread_join(thread, NULL);
        pthread_barrier_destroy(&meet);
        assert_int_equal(walk(h, pa + 24), 0x3333);
        gr_port_pages_free(h, t, 14);
        finish(h);
    }
    assert_true(late > 0);
}

/* Stores pending in two hosts; one is destroyed, the other's stay and are retired. */
static void two_hosts_in_one_thread(void **state)
{
    struct host *a = small(0, false), *b = small(1, false);
    gr_pa_t pa, pb;
    uint64_t *ta = table_new(a, &pa), *tb = table_new(b, &pb);

    (void)state;
    gr_port_table_store64(a, ta, 1);
    gr_port_table_store64(b, tb, 2);
    host_log_level(a, -1);
    assert_int_equal(host_destroy(a), 4); /* the table of 16 KiB is still there */
    gr_port_wmb();
    assert_int_equal(walk(b, pb), 2);
    gr_port_pages_free(b, tb, 14);
    finish(b);
}

static void noncoherent_data(void **state)
{
    unsigned stale = 0, evicted = 0;

    (void)state;
    for (unsigned s = 0; s < SEEDS * 4; s++) {
        struct host *h = small(s, false);
        uint8_t dev[512], *cpu;
        gr_pa_t pa;

        assert_int_equal(host_ram_alloc(h, 4096, 0, &pa), 0);
        cpu = host_ptr(h, pa, 4096);
        memset(cpu, 1, 512);
        assert_true(host_mem_read(h, pa, dev, 512, true)); /* a coherent master sees it at once */
        assert_int_equal(dev[511], 1);
        assert_true(host_mem_read(h, pa, dev, 512, false));
        for (unsigned l = 0; l < 4; l++) { /* whole lines, evicted or not */
            assert_memory_equal(&dev[l * LINE], &dev[l * LINE + 1], LINE - 1);
            stale += dev[l * LINE] == 0;
            evicted += dev[l * LINE] == 1;
        }
        gr_port_cache(h, cpu + 130, 10, GR_CACHE_CLEAN); /* a part of line 1 cleans all of it */
        assert_true(host_mem_read(h, pa + LINE, dev, LINE, false));
        for (unsigned i = 0; i < LINE; i++)
            assert_int_equal(dev[i], 1);

        /* A device writes after a clean: seen after the INVAL, or a moment before. */
        gr_port_cache(h, cpu, 512, GR_CACHE_CLEAN);
        memset(dev, 2, sizeof(dev));
        assert_true(host_mem_write(h, pa, dev, 512, false));
        for (unsigned l = 0; l < 4; l++)
            assert_true(cpu[l * LINE] == 1 || cpu[l * LINE] == 2);
        gr_port_cache(h, cpu, 512, GR_CACHE_INVAL);
        assert_memory_equal(cpu, dev, 512);
        host_ram_free(h, pa);
        finish(h);
    }
    assert_true(stale > 0 && evicted > 0);
}

/* INVAL: the CPU's bytes in a line covered in part are kept, in a line covered whole they may go.
 */
static void partial_lines(void **state)
{
    unsigned dropped = 0, kept = 0;

    (void)state;
    for (unsigned s = 0; s < SEEDS; s++) {
        struct host *h = small(s, false);
        uint8_t byte, *cpu;
        gr_pa_t pa;

        assert_int_equal(host_ram_alloc(h, 4096, 0, &pa), 0);
        cpu = host_ptr(h, pa, 4096);
        cpu[0] = 3;        /* before the range, in its first line */
        cpu[200] = 4;      /* in a whole line */
        cpu[2 * LINE] = 5; /* in the range, in its last line */
        cpu[3 * LINE] = 6; /* the line after it */
        gr_port_cache(h, cpu + 1, 2 * LINE, GR_CACHE_INVAL);
        assert_int_equal(cpu[0], 3);
        assert_true(cpu[200] == 4 || cpu[200] == 0);
        dropped += cpu[200] == 0;
        kept += cpu[200] == 4;
        assert_int_equal(cpu[2 * LINE], 5);
        assert_int_equal(cpu[3 * LINE], 6);
        assert_true(host_mem_read(h, pa, &byte, 1, false));
        assert_int_equal(byte, 3); /* cleaned, before it was dropped */
        cpu[200] = 9;
        gr_port_cache(h, cpu, 512, GR_CACHE_CLEAN | GR_CACHE_INVAL);
        assert_int_equal(cpu[200], 9);
        gr_port_cache(h, cpu, 0, GR_CACHE_CLEAN);
        host_ram_free(h, pa);
        finish(h);
    }
    assert_true(dropped > 0 && kept > 0);
}

static void failures_on_demand(void **state)
{
    struct host *h = small(3, false);
    gr_pa_t pa, buf;
    uint64_t *t, v;
    void *p;
    uint8_t byte = 0, *cpu;
    unsigned unseen = 0;

    (void)state;
    host_fail_alloc(h, 2);
    t = table_new(h, &pa);
    assert_null(gr_port_pages_alloc(h, 12, UINT64_MAX, 0));
    p = gr_port_pages_alloc(h, 12, UINT64_MAX, 0);
    assert_non_null(p);
    assert_int_equal(host_allocs(h), 3);
    gr_port_pages_free(h, p, 12);
    host_fail_alloc(h, 1);
    host_fail_alloc(h, 0);
    p = gr_port_pages_alloc(h, 12, UINT64_MAX, 0);
    assert_non_null(p);
    gr_port_pages_free(h, p, 12);

    gr_port_wmb();
    assert_int_equal(host_calls(h, HOST_BARRIER), 1);
    gr_port_wmb(); /* with nothing stored: not counted */
    assert_int_equal(host_calls(h, HOST_BARRIER), 1);
    host_ignore(h, HOST_BARRIER, 2);
    gr_port_table_store64(h, &t[0], 1);
    gr_port_wmb();
    assert_int_equal(walk(h, pa), 1);
    for (unsigned i = 0; i < 64; i++)
        gr_port_table_store64(h, &t[i], 2);
    gr_port_mb();
    for (unsigned i = 0; i < 64; i++)
        unseen += walk(h, pa + i * 8) != 2;
    assert_true(unseen > 0);
    gr_port_wmb();
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(walk(h, pa + i * 8), 2);
    assert_int_equal(host_calls(h, HOST_BARRIER), 3);

    assert_int_equal(host_ram_alloc(h, 4096, 0, &buf), 0);
    cpu = host_ptr(h, buf, 4096);
    host_ignore(h, HOST_CLEAN | HOST_INVAL, 1);
    memset(cpu, 1, 4096);
    gr_port_cache(h, cpu, 4096, GR_CACHE_CLEAN);
    unseen = 0;
    for (unsigned i = 0; i < 32; i++) {
        assert_true(host_mem_read(h, buf + i * LINE, &byte, 1, false));
        unseen += byte == 0;
    }
    assert_true(unseen > 0);
    gr_port_cache(h, cpu, 4096, GR_CACHE_CLEAN);
    assert_true(host_mem_read(h, buf + 4095, &byte, 1, false));
    assert_int_equal(byte, 1);
    v = 0x0202020202020202;
    for (unsigned i = 0; i < 32; i++)
        assert_true(host_mem_write(h, buf + i * LINE, &v, 8, false));
    gr_port_cache(h, cpu, 4096, GR_CACHE_INVAL); /* ignored */
    unseen = 0;
    for (unsigned i = 0; i < 32; i++)
        unseen += cpu[i * LINE] == 1;
    assert_true(unseen > 0);
    gr_port_cache(h, cpu, 4096, GR_CACHE_INVAL);
    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(cpu[i * LINE], 2);
    assert_int_equal(host_calls(h, HOST_CLEAN), 2);
    assert_int_equal(host_calls(h, HOST_CLEAN | HOST_INVAL), 4);
    host_ram_free(h, buf);
    gr_port_pages_free(h, t, 14);
    finish(h);
}

static void leaks_are_found(void **state)
{
    struct host *h = small(0, false);
    gr_pa_t pa;

    (void)state;
    (void)gr_port_pages_alloc(h, 13, UINT64_MAX, 0);
    (void)gr_port_pages_alloc(h, 16, UINT64_MAX, GR_PAGES_TABLE);
    assert_int_equal(host_ram_alloc(h, 5 * 4096, 0, &pa), 0);
    assert_int_equal(host_leaks(h), 2 + 16);
    assert_int_equal(host_ram_leaks(h), 5);
    assert_int_equal(host_misuse(h), 0);
    assert_int_equal(host_destroy(h), 2 + 16);
    assert_int_equal(host_destroy(NULL), 0);
}

static void misuse_of_pages(void **state)
{
    struct host *h = small(0, false);
    uint8_t *a = gr_port_pages_alloc(h, 13, UINT64_MAX, 0), byte = 0;
    uint64_t *t, v;
    gr_pa_t pa, pt;

    (void)state;
    pa = gr_port_virt_to_phys(h, a);
    gr_port_pages_free(h, a, 12);
    caught(h, 0, "not 2^12");
    gr_port_pages_free(h, a + 4096, 12);
    caught(h, 1, "not the start");
    gr_port_pages_free(h, &byte, 12);
    caught(h, 2, "not memory");
    assert_null(gr_port_pages_alloc(h, 11, UINT64_MAX, 0));
    caught(h, 3, "lg2 11");
    assert_null(gr_port_pages_alloc(h, 12, UINT64_MAX, 0x80));
    caught(h, 4, "0x80");
    assert_int_equal(gr_port_virt_to_phys(h, &byte), UINT64_MAX);
    caught(h, 5, "virt_to_phys");
    assert_null(gr_port_phys_to_virt(h, GIB - 1));
    caught(h, 6, "phys_to_virt");
    gr_port_cache(h, &byte, 1, GR_CACHE_CLEAN);
    caught(h, 7, "cache");
    gr_port_cache(h, a, 128 * MIB, GR_CACHE_CLEAN);
    caught(h, 8, "cache");
    gr_port_cache(h, a, 1, 4);
    caught(h, 9, "operation 0x4");
    v = 1;
    gr_port_table_store64(h, &v, 2);
    caught(h, 10, "GR_PAGES_TABLE");
    gr_port_table_store64(h, (void *)a, 2);
    caught(h, 11, "GR_PAGES_TABLE");

    gr_port_pages_free(h, a, 13);
    gr_port_pages_free(h, a, 13);
    caught(h, 12, "freed already");
    assert_false(host_mem_read(h, pa, &byte, 1, true));
    caught(h, 13, "freed");
    assert_false(host_table_read64(h, pa, &v));
    caught(h, 14, "freed");
    gr_port_cache(h, a, 1, GR_CACHE_CLEAN);
    caught(h, 15, "cache");
    a[5000] = 1;
    caught(h, 16, "written after it was freed");
    assert_int_equal(host_misuse(h), 17); /* once */

    t = table_new(h, &pt);
    assert_false(host_mem_write(h, pt + 100, &byte, 1, false));
    caught(h, 17, "page table");
    assert_true(host_mem_read(h, pt, &byte, 1, true));
    assert_int_equal(byte, 0);
    assert_false(
        host_mem_read(h, GIB + 64 * MIB - 1, &byte, 2, true)); /* no misuse: a bad device */
    assert_false(host_mem_write(h, GIB - 1, &byte, 1, true));
    assert_false(host_table_read64(h, pt + 4, &v));
    assert_false(host_table_read64(h, GIB - 8, &v));
    gr_port_pages_free(h, t, 14);
    assert_int_equal(host_misuse(h), 18);
    gr_port_log(h, GR_LOG_INFO, "one\ntwo");
    assert_int_equal(host_misuse(h), 19);
    assert_int_equal(host_destroy(h), 0);
}

static void *unlocks(void *lock)
{
    struct host *h = small(7, false); /* the host that this thread uses last */
    void *ret = NULL;
    unsigned before;

    gr_port_relax(h);
    (void)gr_port_now_ns(h);
    before = host_misuse(h);
    gr_port_unlock(lock, 1);
    if (host_misuse(h) == before + 1 && strstr(host_last_log(h), "does not hold"))
        ret = lock;
    (void)host_destroy(h);
    return ret;
}

static void misuse_of_locks(void **state)
{
    struct host *h = small(0, false);
    gr_lock_t lock, never;
    gr_lock_state_t st, again;
    pthread_t thread;
    void *ok = NULL, *p;

    (void)state;
    memset(&never, 0, sizeof(never));
    gr_port_lock_init(&lock);
    (void)gr_port_now_ns(h);
    st = gr_port_lock(&lock);
    p = gr_port_pages_alloc(h, 12, UINT64_MAX, 0);
    assert_int_equal(host_misuse(h), 0);
    gr_port_pages_free(h, p, 12);
    p = gr_port_pages_alloc(h, 12, UINT64_MAX, GR_PAGES_MAY_SLEEP);
    caught(h, 0, "MAY_SLEEP");
    gr_port_pages_free(h, p, 12);
    again = gr_port_lock(&lock);
    caught(h, 1, "twice");
    gr_port_unlock(&lock, again);
    gr_port_lock_fini(&lock);
    caught(h, 2, "while it is held");
    assert_int_equal(pthread_create(&thread, NULL, unlocks, &lock), 0);
    pthread_join(thread, &ok);
    assert_ptr_equal(ok, &lock);
    assert_int_equal(host_misuse(h), 3);
    gr_port_unlock(&lock, st);
    gr_port_unlock(&lock, st);
    caught(h, 3, "does not hold");
    st = gr_port_lock(&lock);
    gr_port_unlock(&lock, st + 2);
    caught(h, 4, "not this lock's");
    gr_port_lock_fini(&lock);
    assert_int_equal(host_misuse(h), 5);
    gr_port_lock_fini(&lock);
    caught(h, 5, "not initialised");
    st = gr_port_lock(&never);
    caught(h, 6, "not initialised");
    gr_port_unlock(&never, st);
    p = gr_port_pages_alloc(h, 12, UINT64_MAX, GR_PAGES_MAY_SLEEP); /* none is held now */
    gr_port_pages_free(h, p, 12);
    assert_int_equal(host_misuse(h), 7);
    assert_int_equal(host_destroy(h), 0);
}

static uint64_t reg_value;

static uint32_t reg_read32(void *opaque, uint32_t offset)
{
    assert_ptr_equal(opaque, &reg_value);
    return (uint32_t)reg_value + offset;
}

static void reg_write32(void *opaque, uint32_t offset, uint32_t value)
{
    assert_ptr_equal(opaque, &reg_value);
    reg_value = value + offset;
}

static uint64_t reg_read64(void *opaque, uint32_t offset)
{
    (void)opaque;
    return reg_value + offset;
}

static void registers(void **state)
{
    struct host *h = small(0, false);
    struct host_mmio m = {h, &reg_value, 0x100, reg_read32, reg_write32, reg_read64, NULL};

    (void)state;
    gr_port_write32(&m, (gr_reg32){0xfc}, 5);
    assert_int_equal(reg_value, 5 + 0xfc);
    assert_int_equal(gr_port_read32(&m, (gr_reg32){4}), 5 + 0xfc + 4);
    reg_value = 0x1122334455667700;
    assert_true(gr_port_read64(&m, (gr_reg64){0xf8}) == 0x11223344556677f8);
    assert_int_equal(host_misuse(h), 0);
    gr_port_write64(&m, (gr_reg64){0}, 1);
    caught(h, 0, "none of this width");
    assert_int_equal(gr_port_read32(&m, (gr_reg32){0x100}), UINT32_MAX);
    caught(h, 1, "0x100");
    assert_int_equal(gr_port_read32(&m, (gr_reg32){2}), UINT32_MAX);
    caught(h, 2, "unaligned");
    assert_true(gr_port_read64(&m, (gr_reg64){4}) == UINT64_MAX);
    caught(h, 3, "64 bits");
    gr_port_write32(&m, (gr_reg32){0xfffffffc}, 1);
    caught(h, 4, "beyond");
    assert_true(reg_value == 0x1122334455667700);
    assert_int_equal(host_destroy(h), 0);
}

static void time_and_log(void **state)
{
    struct host *h = small(0, false);
    uint64_t t = gr_port_now_ns(h);

    (void)state;
    assert_int_equal(gr_port_now_ns(h), t + 10);
    gr_port_relax(h);
    host_advance(h, 1000);
    assert_int_equal(host_now(h), t + 1110);
    assert_int_equal(host_now(h), t + 1110);
    assert_string_equal(host_last_log(h), "");
    gr_port_log(h, GR_LOG_WARN, "first");
    for (unsigned i = 0; i < 63; i++)
        gr_port_log(h, GR_LOG_INFO, "more of it");
    assert_string_equal(host_last_log(h), "more of it");
    assert_true(host_logged(h, "irs"));
    gr_port_log(h, GR_LOG_ERR, "last");
    assert_false(host_logged(h, "first"));
    assert_string_equal(host_last_log(h), "last");
    finish(h);
}

static void panic_aborts(void **state)
{
    int status = 0;
    pid_t pid;

    (void)state;
    (void)fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        (void)signal(SIGABRT, SIG_DFL);
        (void)fclose(stderr);
        gr_port_panic(NULL, "on purpose");
    }
    assert_true(waitpid(pid, &status, 0) == pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

#define THREADS 4

struct crowd {
    struct host *h;
    gr_lock_t lock;
    uint64_t *table;
    uint64_t shared; /* guarded by lock */
    uint64_t cpus;   /* a bit each, atomic */
    unsigned wrong;  /* atomic */
};

static void *member(void *arg)
{
    struct crowd *c = arg;
    unsigned cpu = gr_port_cpu();

    __atomic_fetch_or(&c->cpus, (uint64_t)1 << cpu, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < 300; i++) {
        gr_pa_t pa, pb;
        uint64_t *t = table_new(c->h, &pa);
        uint8_t *buf, out = (uint8_t)i, in = 0;
        gr_lock_state_t st;

        st = gr_port_lock(&c->lock);
        c->shared++;
        gr_port_table_store64(c->h, &c->table[i], c->shared);
        gr_port_unlock(&c->lock, st);
        gr_port_table_store64(c->h, &t[i], i);
        gr_port_wmb();
        if (walk(c->h, pa + i * 8) != i)
            __atomic_fetch_add(&c->wrong, 1, __ATOMIC_RELAXED);
        if (host_ram_alloc(c->h, 300, 0, &pb))
            abort();
        buf = host_ptr(c->h, pb, 300);
        gr_port_cache(c->h, buf, 300, GR_CACHE_CLEAN);
        if (!host_mem_write(c->h, pb + 200, &out, 1, false))
            abort();
        gr_port_cache(c->h, buf, 300, GR_CACHE_INVAL);
        if (buf[200] != out || !host_mem_read(c->h, pb + 200, &in, 1, true) || in != out)
            __atomic_fetch_add(&c->wrong, 1, __ATOMIC_RELAXED);
        host_ram_free(c->h, pb);
        (void)gr_port_now_ns(c->h);
        gr_port_log(c->h, GR_LOG_INFO, "a line");
        gr_port_pages_free(c->h, t, 14);
    }
    return NULL;
}

static void threads(void **state)
{
    struct host *h = small(11, false);
    struct crowd c = {.h = h};
    pthread_t thread[THREADS];
    gr_pa_t pa;

    (void)state;
    gr_port_lock_init(&c.lock);
    c.table = table_new(h, &pa);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, member, &c), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(c.wrong, 0);
    assert_int_equal(c.shared, THREADS * 300);
    assert_int_equal(__builtin_popcountll(c.cpus), THREADS);
    assert_true(gr_port_cpu() < 64);
    gr_port_wmb();
    assert_int_equal(walk(h, pa + 299 * 8), c.table[299]);
    gr_port_lock_fini(&c.lock);
    gr_port_pages_free(h, c.table, 14);
    finish(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config_errors),
        cmocka_unit_test(pages_are_as_promised),
        cmocka_unit_test(same_seed_same_places),
        cmocka_unit_test(tiny_ram_and_holes),
        cmocka_unit_test(top_of_the_address_space),
        cmocka_unit_test(reused_memory),
        cmocka_unit_test(tables_in_other_memory),
        cmocka_unit_test(big_machine_costs_what_it_touches),
        cmocka_unit_test(buffers_for_tests),
        cmocka_unit_test(fresh_tables),
        cmocka_unit_test(stores_become_visible),
        cmocka_unit_test(one_slot_is_in_order),
        cmocka_unit_test(noncoherent_walk),
        cmocka_unit_test(observer),
        cmocka_unit_test(barriers_are_per_thread),
        cmocka_unit_test(two_hosts_in_one_thread),
        cmocka_unit_test(noncoherent_data),
        cmocka_unit_test(partial_lines),
        cmocka_unit_test(failures_on_demand),
        cmocka_unit_test(leaks_are_found),
        cmocka_unit_test(misuse_of_pages),
        cmocka_unit_test(misuse_of_locks),
        cmocka_unit_test(registers),
        cmocka_unit_test(time_and_log),
        cmocka_unit_test(panic_aborts),
        cmocka_unit_test(threads),
    };

    seed0 = chance_seed_or("host", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
