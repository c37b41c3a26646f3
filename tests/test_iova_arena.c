/* SPDX-License-Identifier: MIT */
/*
 * Arenas: random calls of several CPUs, on one thread, in a space with arenas, against a map of its
 * units. SEED=N replays.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <host.h>
#include <string.h>

#include "iova_tools.h"

#define K4 UINT64_C(4096)
#define UNITS (1u << 15) /* arenas of 128 units */
#define LIVE 2048u

static uint64_t rng_state;

static unsigned below(unsigned n)
{
    return (unsigned)chance_below(&rng_state, n);
}

struct live {
    uint64_t at;
    unsigned units;
    bool held;
    struct gr_range range; /* held */
};

struct world {
    struct host *host;
    struct gr_iova space;
    uint8_t unit[UNITS]; /* gri_iova_state */
    struct live live[LIVE];
    unsigned count;
    bool spans;
};

static void make(struct world *w, bool spans)
{
    static const uint8_t span_lg2[] = {12 + 9, 12 + 13};
    const struct host_config config = {
        .cpu_page = 4096, .nbanks = 1, .banks = {{.base = 1 << 20, .size = 16 << 20}}};
    char err[200] = "";

    memset(w, 0, sizeof(*w));
    w->host = host_create(&config, err, sizeof(err));
    assert_non_null(w->host);
    assert_int_equal(gr_iova_init(&w->space, w->host, 12, 0, UNITS * K4 - 1), 0);
    w->spans = spans;
    if (spans)
        gr_iova_set_spans(&w->space, span_lg2, 2);
    assert_int_equal(w->space.arena_lg2, 7);
}

static void end(struct world *w)
{
    gr_iova_fini(&w->space);
    host_set_cpu(UINT32_MAX);
    assert_int_equal(host_misuse(w->host), 0);
    assert_int_equal(host_destroy(w->host), 0);
}

static void mark(struct world *w, uint64_t first, uint64_t units, enum gri_iova_state state)
{
    memset(w->unit + first, (int)state, (size_t)units);
}

static void look(void *arg, uint64_t first, uint64_t units, enum gri_iova_state state)
{
    const struct world *const w = arg;

    for (uint64_t i = first; i < first + units; i++)
        assert_int_equal(w->unit[i], state);
}

static void compare(struct world *w)
{
    struct gr_iova_stats stats;
    uint64_t units[5] = {0};
    unsigned live = 0;

    iova_each(&w->space, look, w);
    for (unsigned i = 0; i < UNITS; i++)
        units[w->unit[i]]++;
    for (unsigned i = 0; i < w->count; i++)
        live += !w->live[i].held;
    gr_iova_stats(&w->space, &stats);
    assert_int_equal(stats.allocations, live);
    assert_int_equal(stats.allocated, units[GRI_IOVA_ALLOCATED] * K4);
    assert_int_equal(stats.held, units[GRI_IOVA_HELD] * K4);
    assert_int_equal(stats.available, units[GRI_IOVA_FREE] * K4);
}

static int alloc(struct world *w, const struct gr_iova_req *req)
{
    gr_iova_t at;
    const int rc = gr_iova_alloc(&w->space, req, &at);
    const uint64_t first = at / K4;
    const unsigned units = (unsigned)(req->size / K4);

    if (rc)
        return rc;
    assert_true(at >= req->first && at + req->size - 1 <= (req->last ? req->last : UINT64_MAX));
    assert_true(!req->align || !(at & (req->align - 1)));
    assert_true(!req->boundary || !((at ^ (at + req->size - 1)) & ~(req->boundary - 1)));
    for (uint64_t i = first; i < first + units; i++)
        assert_int_equal(w->unit[i], GRI_IOVA_FREE);
    mark(w, first, units, GRI_IOVA_ALLOCATED);
    w->live[w->count++] = (struct live){.at = first, .units = units};
    return 0;
}

static void free_begin(struct world *w, struct live *l)
{
    const uint64_t at = l->at * K4;
    struct gr_range held = {1, 2};

    assert_int_equal(gr_iova_check(&w->space, at, l->units * K4), 0);
    assert_int_equal(gr_iova_free_begin(&w->space, at, (l->units + 1) * K4, &held), GR_EMSGSIZE);
    if (l->units > 1)
        assert_int_equal(gr_iova_free_begin(&w->space, at + K4, K4, &held), GR_EMSGSIZE);
    assert_true(held.first == 1 && held.last == 2);
    assert_int_equal(gr_iova_free_begin(&w->space, at, l->units * K4, &l->range), 0);
    assert_true(l->range.first <= at && l->range.last >= at + l->units * K4 - 1);
    for (uint64_t i = l->range.first / K4; i <= l->range.last / K4; i++)
        assert_int_equal(w->unit[i],
                         i >= l->at && i < l->at + l->units ? GRI_IOVA_ALLOCATED : GRI_IOVA_FREE);
    mark(w, l->range.first / K4, (l->range.last - l->range.first + 1) / K4, GRI_IOVA_HELD);
    l->held = true;
    host_set_cpu(below(3));
    assert_int_equal(gr_iova_free_begin(&w->space, at, l->units * K4, &held), GR_ENOENT);
    assert_int_equal(gr_iova_check(&w->space, at, l->units * K4), GR_ENOENT);
}

static void free_end(struct world *w, struct live *l)
{
    const struct gr_range held = l->range;
    struct gr_range empty;

    mark(w, held.first / K4, (held.last - held.first + 1) / K4, GRI_IOVA_FREE);
    if (gr_iova_free_end(&w->space, &held, &empty)) {
        assert_true(w->spans && empty.first <= held.first && empty.last >= held.last);
        for (uint64_t i = empty.first / K4; i <= empty.last / K4; i++)
            assert_int_equal(w->unit[i], GRI_IOVA_FREE);
        assert_false(gr_iova_free_end(&w->space, &empty, &empty));
    }
    assert_false(gr_iova_free_end(&w->space, &held, &empty));
    *l = w->live[--w->count];
}

static void random_alloc(struct world *w)
{
    struct gr_iova_req req = {.size = (1 + below(below(8) ? 32 : 200)) * K4};

    if (w->count == LIVE)
        return;
    if (!below(4))
        req.align = K4 << below(6);
    if (!below(6))
        req.boundary = K4 * 256 << below(3);
    if (!below(3))
        req.last = (1 + below(UNITS)) * K4 + K4 - 1;
    if (!below(6))
        req.first = below(UNITS) * K4;
    (void)alloc(w, &req);
}

static void step(struct world *w)
{
    struct live *const l = w->count ? &w->live[below(w->count)] : NULL;
    const unsigned dice = below(64);

    host_set_cpu(below(3));
    if (!below(50))
        host_fail_alloc(w->host, 1);
    if (dice < 26 || !l)
        random_alloc(w);
    else if (dice < 62)
        l->held ? free_end(w, l) : free_begin(w, l);
    else if (dice == 62 && w->count < LIVE) {
        const unsigned at = below(UNITS - 8);
        bool all = true;

        for (unsigned i = at; i < at + 8; i++)
            all = all && w->unit[i] == GRI_IOVA_FREE;
        const int rc = gr_iova_alloc_fixed(&w->space, at * K4, 8 * K4);
        assert_true(rc == (all ? 0 : GR_EEXIST) || rc == GR_ENOMEM);
        if (!rc) {
            mark(w, at, 8, GRI_IOVA_ALLOCATED);
            w->live[w->count++] = (struct live){.at = at, .units = 8};
        }
    } else if (!below(20)) {
        (void)gr_iova_drain(&w->space);
    }
    host_fail_alloc(w->host, 0);
}

static void run(bool spans)
{
    static struct world w;

    make(&w, spans);
    for (unsigned i = 0; i < 60000; i++) {
        step(&w);
        if (i % 64 == 0)
            compare(&w);
    }
    while (w.count) {
        host_set_cpu(below(3));
        if (!w.live[0].held)
            free_begin(&w, &w.live[0]);
        free_end(&w, &w.live[0]);
    }
    compare(&w);
    (void)gr_iova_drain(&w.space);
    compare(&w);
    assert_int_equal(w.space.arenas, 0);
    assert_int_equal(w.space.root->state, GRI_IOVA_FREE);
    assert_true(w.space.root->units == UNITS);
    end(&w);
}

static void test_random(void **state)
{
    (void)state;
    run(false);
}

static void test_random_with_tables(void **state)
{
    (void)state;
    run(true);
}

/* A last free on another CPU waits for the owner or for a drain; nothing else does. */
static void test_remote(void **state)
{
    static struct world w;
    struct gr_iova_stats stats;
    struct gr_range held;
    gr_iova_t at;
    const struct gr_iova_req req = {.size = 3 * K4};

    (void)state;
    make(&w, true);
    host_set_cpu(0);
    assert_int_equal(gr_iova_alloc(&w.space, &req, &at), 0);
    host_set_cpu(1);
    assert_int_equal(gr_iova_free_begin(&w.space, at, 3 * K4, &held), 0);
    assert_int_equal(gr_iova_free_begin(&w.space, at, 3 * K4, &held), GR_ENOENT);
    assert_false(gr_iova_free_end(&w.space, &held, &held));
    gr_iova_stats(&w.space, &stats);
    assert_int_equal(stats.allocations + stats.held, 0);
    assert_int_equal(stats.arenas, GRI_IOVA_EXCLUSIVE);
    assert_int_equal(gr_iova_drain(&w.space), GRI_IOVA_EXCLUSIVE * 128 * K4);
    gr_iova_stats(&w.space, &stats);
    assert_int_equal(stats.arenas + stats.stranded, 0);
    end(&w);
}

/* What two CPUs free at the same time, against the rules, may succeed twice and upsets the sums,
 * but no arena: notes about what is not there any more are forgotten. */
static void test_double_free(void **state)
{
    static struct world w;
    const struct gr_iova_req req = {.size = 3 * K4};
    gr_iova_t at[3];
    gr_iova_t again;

    (void)state;
    make(&w, false);
    host_set_cpu(0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(gr_iova_alloc(&w.space, &req, &at[i]), 0);
    struct gr_iova_slot *const slot = w.space.slots[0];
    struct gr_iova_arena *const cur = gri_arena_of(&w.space, at[2] / K4);
    const unsigned first = (unsigned)(at[2] / K4 - cur->first);

    assert_ptr_equal(slot->cur, cur);
    for (unsigned notes = 1; notes < 4; notes++) {
        assert_int_equal(gr_iova_free(&w.space, at[2], 3 * K4), 0);
        /* as the other CPU leaves them that looked before */
        if (notes & 1)
            slot->claimed[first / GRI_WORD_BITS] |= gri_note_bit(first);
        if (notes & 2)
            slot->done[first / GRI_WORD_BITS] |= gri_note_bit(first);
        slot->remote += (notes & 1) + (notes >> 1);
        assert_int_equal(gr_iova_free(&w.space, at[2], 3 * K4), GR_ENOENT);
        assert_int_equal(gri_count_ranges(&cur->busy), 2);
        assert_int_equal(slot->remote, 0);
        assert_int_equal(gr_iova_check(&w.space, at[0], 3 * K4), 0);
        assert_int_equal(gr_iova_check(&w.space, at[1], 3 * K4), 0);
        assert_int_equal(gr_iova_alloc(&w.space, &req, &again), 0);
        assert_true(again == at[2]);
    }
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(gr_iova_free(&w.space, at[i], 3 * K4), 0);
    assert_int_equal(gr_iova_drain(&w.space), 128 * K4);
    end(&w);
}

/* At the first failure 95 % are in use; nothing is found that is not there, in few steps. */
static void test_full(void **state)
{
    static const unsigned size[][2] = {{1, 32}, {64, 449}};

    (void)state;
    for (unsigned unit_lg2 = 12; unit_lg2 <= 16; unit_lg2 += 4) {
        for (unsigned i = 0; i < 2; i++) {
            static struct world w;
            uint64_t used = 0;
            gr_iova_t at;
            int rc = 0;

            make(&w, false);
            gr_iova_fini(&w.space);
            assert_int_equal(gr_iova_init(&w.space, w.host, unit_lg2, 0, UINT32_MAX), 0);
            while (!rc) {
                const struct gr_iova_req req = {.size = (uint64_t)(size[i][0] + below(size[i][1]))
                                                        << unit_lg2};

                rc = gr_iova_alloc(&w.space, &req, &at);
                used += rc ? 0 : req.size;
            }
            assert_int_equal(rc, GR_ENOSPC);
            assert_true(used > UINT32_MAX / 100 * UINT64_C(95));
            end(&w);
        }
    }
}

static gr_iova_t must_alloc(struct world *w, uint64_t units)
{
    const struct gr_iova_req req = {.size = units * K4};
    gr_iova_t at;

    assert_int_equal(gr_iova_alloc(&w->space, &req, &at), 0);
    return at;
}

static void test_free_with_tables(void **state)
{
    static struct world w;
    gr_iova_t at[2];

    (void)state;
    make(&w, true);
    at[0] = must_alloc(&w, 3);
    at[1] = must_alloc(&w, 5);
    assert_int_equal(gr_iova_free(&w.space, at[0], 3 * K4), 0);
    assert_int_equal(gr_iova_free(&w.space, at[0], 3 * K4), GR_ENOENT);
    assert_int_equal(gr_iova_free(&w.space, at[1], 4 * K4), GR_EMSGSIZE);
    assert_int_equal(gr_iova_free(&w.space, at[1], 5 * K4), 0); /* the arena goes with it */
    assert_int_equal(w.space.arenas, 0);
    end(&w);
}

/* Each page that a first allocation wants, near the end of a large space and far from it. */
static void test_no_memory(void **state)
{
    static struct world w;
    struct gr_iova_stats stats;
    gr_iova_t at;

    (void)state;
    for (unsigned far = 0; far < 2; far++) {
        const struct gr_iova_req req = {.size = K4, .last = far ? UINT32_MAX : 0};
        unsigned n = 0;
        int rc;

        make(&w, false);
        gr_iova_fini(&w.space);
        do {
            assert_int_equal(gr_iova_init(&w.space, w.host, 12, 0, (UINT64_C(1) << 48) - 1), 0);
            host_fail_alloc(w.host, ++n);
            at = 1;
            rc = gr_iova_alloc(&w.space, &req, &at);
            host_fail_alloc(w.host, 0);
            gr_iova_stats(&w.space, &stats);
            assert_int_equal(stats.allocations, rc ? 0 : 1);
            assert_true(stats.available == (UINT64_C(1) << 48) - (rc ? 0 : K4));
            assert_int_equal(stats.arenas, rc ? 0 : 1);
            if (rc) {
                assert_int_equal(rc, GR_ENOMEM);
                assert_true(at == 1);
                assert_int_equal(gr_iova_alloc(&w.space, &req, &at), 0);
            }
            assert_int_equal(gr_iova_free(&w.space, at, K4), 0);
            gr_iova_fini(&w.space);
        } while (rc);
        /* slots, slot, header, the map's top; far away the map has more levels */
        assert_in_range(n, 4, far ? 12 : 8);
        assert_int_equal(gr_iova_init(&w.space, w.host, 12, 0, UNITS * K4 - 1), 0);
        end(&w);
    }
}

/* A full arena wants more nodes than there are: what meets it fails, and nothing has changed. */
static void test_dissolve_no_memory(void **state)
{
    static struct world w;
    struct gr_iova_stats before;
    struct gr_iova_stats after;
    gr_iova_t at = 0;

    (void)state;
    make(&w, false);
    for (unsigned i = 0; i < 100; i++)
        at = must_alloc(&w, 1);
    gr_iova_stats(&w.space, &before);
    host_fail_alloc(w.host, 1);
    assert_int_equal(gr_iova_alloc_fixed(&w.space, (UNITS - 128) * K4, K4), GR_ENOMEM);
    host_fail_alloc(w.host, 1);
    assert_int_equal(gr_iova_reserve(&w.space, (UNITS - 128) * K4, (UNITS - 127) * K4 - 1),
                     GR_ENOMEM);
    host_fail_alloc(w.host, 0);
    gr_iova_stats(&w.space, &after);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(after.arenas, 1);
    assert_int_equal(gr_iova_alloc_fixed(&w.space, (UNITS - 128) * K4, K4), 0);
    assert_int_equal(gr_iova_check(&w.space, at, K4), 0); /* in the core now */
    assert_int_equal(w.space.arenas, 0);
    end(&w);
}

/* An arena is no longer than a table, and there are none in tables of less than 64 units. */
static void test_spans(void **state)
{
    static struct world w;

    (void)state;
    for (unsigned lg2 = 5; lg2 <= 7; lg2++) {
        const uint8_t span_lg2[] = {(uint8_t)(12 + lg2), 12, 12 + 9};
        const struct gr_iova_req req = {.size = K4};
        struct gr_range held;
        struct gr_range wrong;
        gr_iova_t at;

        make(&w, false);
        gr_iova_set_spans(&w.space, span_lg2, 3);
        assert_int_equal(w.space.arena_lg2, lg2 < 6 ? 0 : lg2);
        assert_int_equal(gr_iova_alloc(&w.space, &req, &at), 0);
        assert_int_equal(gr_iova_alloc(&w.space, &req, &at), 0);
        assert_int_equal(gr_iova_free_begin(&w.space, at, K4, &held), 0);
        wrong = (struct gr_range){held.first, held.last + K4};
        assert_false(gr_iova_free_end(&w.space, &wrong, &wrong));
        wrong = (struct gr_range){held.first + K4, held.last + K4};
        assert_false(gr_iova_free_end(&w.space, &wrong, &wrong));
        assert_false(gr_iova_free_end(&w.space, &held, &held));
        assert_int_equal(gr_iova_free(&w.space, at + K4, K4), 0);
        end(&w);
    }
}

/* Limits narrower than an arena: inside the current one, a parked one, and what is another's. */
static void test_narrow(void **state)
{
    static struct world w;
    const struct gr_iova_req one = {.size = K4};
    gr_iova_t at;
    gr_iova_t got;

    (void)state;
    make(&w, false);
    host_set_cpu(0);
    assert_int_equal(gr_iova_alloc(&w.space, &one, &at), 0);
    const uint64_t low = at - 127 * K4;
    const struct gr_iova_req within = {
        .size = 2 * K4, .first = low + 10 * K4, .last = low + 14 * K4 - 1};

    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(gr_iova_alloc(&w.space, &within, &got), 0);
        assert_true(got == low + (12 - 2 * i) * K4);
    }
    assert_int_equal(gr_iova_alloc(&w.space, &within, &got), GR_ENOSPC);
    assert_int_equal(gr_iova_alloc(&w.space, &one, &got), 0); /* and the current arena goes on */
    assert_true(got == at - K4);
    host_set_cpu(1);
    assert_int_equal(gr_iova_free(&w.space, low + 12 * K4, 2 * K4), 0);
    assert_int_equal(gr_iova_alloc(&w.space, &within, &got), GRI_IOVA_EXCLUSIVE ? GR_ENOSPC : 0);
    host_set_cpu(0);
    assert_int_equal(gr_iova_alloc(&w.space, &within, &got), GRI_IOVA_EXCLUSIVE ? 0 : GR_ENOSPC);
    end(&w);
}

/* The owner's last free takes the arena along; what others freed there it uses again. */
static void test_owner(void **state)
{
    static struct world w;
    struct gr_iova_stats stats;
    struct gr_range held;
    gr_iova_t at[4];
    const struct gr_iova_req req = {.size = 32 * K4};

    (void)state;
    make(&w, true);
    host_set_cpu(0);
    assert_int_equal(gr_iova_alloc(&w.space, &req, &at[0]), 0);
    assert_int_equal(gr_iova_free_begin(&w.space, at[0], 32 * K4, &held), 0);
    assert_true(held.first <= at[0] && held.last - held.first >= 128 * K4 - 1);
    gr_iova_stats(&w.space, &stats);
    assert_int_equal(stats.arenas, 0);
    assert_false(gr_iova_free_end(&w.space, &held, &held));

    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(gr_iova_alloc(&w.space, &req, &at[i]), 0);
    host_set_cpu(1);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(gr_iova_free_begin(&w.space, at[i], 32 * K4, &held), 0);
        assert_false(gr_iova_free_end(&w.space, &held, &held));
    }
    host_set_cpu(0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(gr_iova_alloc(&w.space, &req, &at[i]), 0);
    gr_iova_stats(&w.space, &stats);
    assert_int_equal(stats.arenas, 1);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(gr_iova_free(&w.space, at[i], 32 * K4), 0);
    gr_iova_stats(&w.space, &stats);
    assert_int_equal(stats.arenas, 0);
    end(&w);
}

/* Exclusive calls meet a current arena in which another CPU has freed and begun to free. */
static void test_dissolve(void **state)
{
    static struct world w;
    struct gr_iova_stats stats;
    struct gr_range held[2];
    gr_iova_t at[3];
    const struct gr_iova_req req = {.size = 3 * K4};

    (void)state;
    for (unsigned reserves = 0; reserves < 2; reserves++) {
        make(&w, true);
        host_set_cpu(0);
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(gr_iova_alloc(&w.space, &req, &at[i]), 0);
        host_set_cpu(1);
        for (unsigned i = 0; i < 2; i++)
            assert_int_equal(gr_iova_free_begin(&w.space, at[i], 3 * K4, &held[i]), 0);
        assert_false(gr_iova_free_end(&w.space, &held[0], &held[0]));

        const uint64_t free_at = at[2] - K4;
        if (reserves) {
            assert_int_equal(gr_iova_reserve(&w.space, at[1], at[1]), GR_EBUSY);
            assert_int_equal(gr_iova_reserve(&w.space, at[2], at[2]), GR_EBUSY);
            assert_int_equal(gr_iova_reserve(&w.space, free_at, free_at), 0);
            assert_int_equal(gr_iova_reserve(&w.space, at[0], at[0] + 3 * K4 - 1), 0);
        } else {
            assert_int_equal(gr_iova_alloc_fixed(&w.space, at[1], K4), GR_EEXIST);
            assert_int_equal(gr_iova_alloc_fixed(&w.space, at[2] + 2 * K4, K4), GR_EEXIST);
            assert_int_equal(gr_iova_alloc_fixed(&w.space, free_at, K4), 0);
            assert_int_equal(gr_iova_alloc_fixed(&w.space, at[0], 3 * K4), 0);
        }
        gr_iova_stats(&w.space, &stats);
        assert_int_equal(stats.arenas, 0);
        assert_int_equal(stats.held, 3 * K4);
        assert_int_equal(stats.allocations, reserves ? 1 : 3);
        assert_int_equal(stats.allocated, (reserves ? 3 : 7) * K4);
        assert_int_equal(stats.reserved, (reserves ? 4 : 0) * K4);
        assert_int_equal(gr_iova_free(&w.space, at[1], 3 * K4), GR_ENOENT);
        assert_false(gr_iova_free_end(&w.space, &held[1], &held[1]));
        assert_int_equal(gr_iova_free(&w.space, at[2], 3 * K4), 0);
        host_set_cpu(0);
        assert_int_equal(gr_iova_alloc(&w.space, &req, &at[2]), 0);
        assert_int_equal(gr_iova_free(&w.space, at[2], 3 * K4), 0);
        end(&w);
    }
}

/* How often a lock of the space was taken so far: ports/host counts in twos. */
static uint64_t locks_taken(const struct gr_iova *space)
{
    uint64_t n = space->lock.cookie / 2;

    for (unsigned cpu = 0; space->slots && cpu < GR_PORT_CPUS; cpu++)
        n += space->slots[cpu] ? space->slots[cpu]->lock.cookie / 2 : 0;
    return n;
}

/* An allocation that fails does so in few steps, whatever is live: here every second unit is. */
static void test_fails_soon(void **state)
{
    static const struct gr_iova_req fails[] = {
        {.size = 2 * K4},
        {.size = 2 * K4, .align = 2 * K4},
        {.size = 1024 * K4},
        {.size = 2 * K4, .last = UINT32_MAX / 2},
        {.size = 2 * K4, .first = 700 * K4 + 1, .last = UINT32_MAX / 3},
        {.size = 2 * K4, .boundary = 4096 * K4},
    };
    static struct world w;
    const struct gr_iova_req one = {.size = K4};

    (void)state;
    for (unsigned lg2 = 26; lg2 <= 32; lg2 += 6) {
        const uint64_t units = UINT64_C(1) << (lg2 - 12);
        gr_iova_t at;

        make(&w, false);
        gr_iova_fini(&w.space);
        assert_int_equal(gr_iova_init(&w.space, w.host, 12, 0, (UINT64_C(1) << lg2) - 1), 0);
        for (uint64_t i = 0; i < units; i++) {
            host_set_cpu((uint32_t)(i / 4096 % 4));
            assert_int_equal(gr_iova_alloc(&w.space, &one, &at), 0);
        }
        assert_int_equal(gr_iova_alloc(&w.space, &one, &at), GR_ENOSPC);
        for (uint64_t i = 0; i < units; i += 2)
            assert_int_equal(gr_iova_free(&w.space, i * K4, K4), 0);
        for (unsigned cpu = 0; cpu < 4; cpu++) {
            host_set_cpu(cpu);
            for (size_t i = 0; i < sizeof(fails) / sizeof(fails[0]); i++) {
                const uint64_t before = locks_taken(&w.space);

                assert_int_equal(gr_iova_alloc(&w.space, &fails[i], &at), GR_ENOSPC);
                /* slot, new arena, core, count; two visits to each slot, core; nine arenas */
                assert_true(locks_taken(&w.space) - before <= 4 + 4 * 2 + 1 + 9 + 4);
            }
        }
        end(&w);
    }
}

/* Starts and sizes that no range has, with and without a current arena of this CPU. */
static void test_unaligned(void **state)
{
    static struct world w;
    const struct gr_iova_req req = {.size = 2 * K4};

    (void)state;
    for (int spans = 0; spans < 2; spans++) {
        gr_iova_t at = 0;

        make(&w, spans);
        host_set_cpu(0);
        for (unsigned step = 0; step < 3; step++) {
            for (unsigned i = 0; i < 4; i++) {
                const gr_iova_t near = step == 1 ? at : i / 2 * K4;
                const gr_iova_t start = i & 1 ? near + 1 : near - 1;
                const int inside = step == 1 && start > near ? GR_EMSGSIZE : GR_ENOENT;
                struct gr_range held;

                assert_int_equal(gr_iova_free_begin(&w.space, start, 2 * K4, &held), inside);
                assert_int_equal(gr_iova_free(&w.space, start, 2 * K4), inside);
                assert_int_equal(gr_iova_check(&w.space, start, 2 * K4), inside);
                assert_int_equal(gr_iova_free(&w.space, near, 2 * K4 - 1),
                                 step == 1 ? GR_EMSGSIZE : GR_ENOENT);
            }
            if (step == 0)
                assert_int_equal(gr_iova_alloc(&w.space, &req, &at), 0);
            else if (step == 1)
                assert_int_equal(gr_iova_free(&w.space, at, 2 * K4), 0);
        }
        end(&w);
    }
}

int main(void)
{
    rng_state = chance_seed_or("iova_arena", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_free_with_tables),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_dissolve_no_memory),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_narrow),
        cmocka_unit_test(test_owner),
        cmocka_unit_test(test_dissolve),
        cmocka_unit_test(test_fails_soon),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_random_with_tables),
        cmocka_unit_test(test_remote),
        cmocka_unit_test(test_double_free),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_unaligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
