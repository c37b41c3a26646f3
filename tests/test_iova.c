/* SPDX-License-Identifier: MIT */
/*
 * The IOVA allocator against a model with one byte per unit, and its tree against its invariants.
 * SEED=N replays the random tests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "../ports/host/host.h"
#include "iova_tools.h"

#define K4 UINT64_C(4096)
#define G4 (UINT64_C(1) << 32)
#define TOP UINT64_MAX

/* --- The port --------------------------------------------------------------------------------- */

static struct host *test_env_new(void)
{
    const struct host_config config = {
        .cpu_page = 4096,
        .nbanks = 1,
        .banks = {{.base = G4, .size = 16 << 20}},
    };
    char err[200] = "";
    struct host *h = host_create(&config, err, sizeof(err));
    assert_string_equal(err, "");
    assert_non_null(h);
    return h;
}

static void test_env_free(struct host *h)
{
    assert_int_equal(host_misuse(h), 0);
    assert_int_equal(host_destroy(h), 0);
}

/* --- Random numbers --------------------------------------------------------------------------- */

static uint64_t seed;
static uint64_t rng_state;

static unsigned below(unsigned n)
{
    return (unsigned)chance_below(&rng_state, n);
}

/* --- The tree's invariants -------------------------------------------------------------------- */

struct walk {
    const struct gr_iova *space;
    uint64_t next; /* where the next range must start */
    int last_state;
    uint64_t nodes;
    uint64_t units[5];  /* per state, of the core alone */
    uint64_t ranges[5]; /* the same */
};

static uint64_t slow_block(uint64_t first, uint64_t end)
{
    for (unsigned k = 52;; k--) {
        uint64_t block = UINT64_C(1) << k;
        uint64_t start = (first + block - 1) / block * block;
        if (start + block <= end)
            return block;
        assert_true(k > 0);
    }
}

/* Checks one subtree; returns its height. NOLINTNEXTLINE(misc-no-recursion) */
static unsigned walk_tree(struct walk *w, const struct gr_iova_node *node,
                          const struct gr_iova_node *parent)
{
    if (!node)
        return 0;
    assert_ptr_equal(node->parent, parent);
    unsigned low = walk_tree(w, node->child[0], node);

    assert_true(node->first == w->next);
    assert_true(node->units > 0);
    assert_in_range(node->state, GRI_IOVA_FREE, GRI_IOVA_ARENA);
    if (node->state == GRI_IOVA_FREE || node->state == GRI_IOVA_RESERVED)
        assert_int_not_equal(node->state, w->last_state);
    w->last_state = node->state;
    w->next += node->units;
    w->nodes++;
    w->units[node->state] += node->units;
    w->ranges[node->state]++;

    unsigned high = walk_tree(w, node->child[1], node);
    assert_true(low <= high + 1 && high <= low + 1);
    unsigned height = 1 + (low > high ? low : high);
    assert_int_equal(node->height, height);

    uint64_t units = 0;
    uint64_t block = 0;
    if (node->state == GRI_IOVA_FREE) {
        units = node->units;
        block = slow_block(node->first, node->first + node->units);
    }
    for (unsigned i = 0; i < 2; i++) {
        const struct gr_iova_node *child = node->child[i];
        if (child && child->max_units > units)
            units = child->max_units;
        if (child && child->max_block > block)
            block = child->max_block;
    }
    assert_true(node->max_units == units);
    assert_true(node->max_block == block);
    return height;
}

/* What a slot knows of its arenas is true. */
static void check_arenas(const struct gr_iova *space)
{
    const unsigned units = gri_arena_units(space);
    for (unsigned cpu = 0; space->slots && cpu < GR_PORT_CPUS; cpu++) {
        const struct gr_iova_slot *slot = space->slots[cpu];
        for (unsigned bin = 0; slot && bin < GRI_BINS; bin++) {
            const struct gr_iova_arena *prev = NULL;
            assert_int_equal(slot->bin[bin] != NULL, slot->bins >> bin & 1);
            for (const struct gr_iova_arena *a = slot->bin[bin]; a; prev = a, a = a->next) {
                unsigned known = 0;
                unsigned rest = 0;
                unsigned hi;
                assert_ptr_equal(a->prev, prev);
                assert_ptr_equal(a->slot, slot);
                assert_ptr_equal(gri_arena_of(space, a->first), a);
                assert_ptr_not_equal(a, slot->cur);
                assert_int_equal(a->bin, bin);
                for (unsigned lo = 0; lo < units; lo = hi) {
                    hi = gri_mark_next(a, units, lo + 1, GRI_ANY_MARK);
                    if (gri_is_range(gri_mark(a, lo)))
                        continue;
                    if (lo == a->hole_at)
                        known = hi - lo;
                    else
                        rest = hi - lo > rest ? hi - lo : rest;
                    assert_true(hi == units || gri_is_range(gri_mark(a, hi)));
                }
                assert_int_equal(a->hole, known);
                assert_true(a->rest >= rest);
                assert_int_equal(gri_counted(&a->busy) == 0, bin == GRI_BIN_EMPTY);
            }
        }
        if (slot && slot->cur) {
            assert_true(slot->lo <= slot->hi);
            if (slot->lo < slot->hi) {
                const unsigned lo = slot->lo;
                const unsigned hi = slot->hi;
                assert_true(slot->base == slot->cur->first << space->unit_lg2);
                assert_true(hi <= units);
                assert_int_equal(gri_mark_next(slot->cur, units, lo + 1, GRI_ANY_MARK),
                                 gri_mark_next(slot->cur, units, hi, GRI_ANY_MARK));
                assert_true(hi == units || gri_mark(slot->cur, hi) != GRI_NONE);
                assert_int_equal(gri_mark(slot->cur, lo), lo ? GRI_HOLE : gri_mark(slot->cur, 0));
                assert_false(gri_is_range(gri_mark(slot->cur, lo)));
            }
        }
    }
}

static uint64_t saturated(const struct gr_iova *space, uint64_t units)
{
    return units > TOP >> space->unit_lg2 ? TOP : units << space->unit_lg2;
}

/* What callers know of a space. */
struct seen {
    uint64_t next;
    uint64_t units[5];
    uint64_t ranges[5];
    uint64_t hash; /* of all ranges in order */
};

static void see(void *arg, uint64_t first, uint64_t units, enum gri_iova_state state)
{
    struct seen *seen = arg;
    assert_true(first == seen->next);
    seen->next += units;
    seen->units[state] += units;
    seen->ranges[state]++;
    seen->hash = (seen->hash ^ first) * UINT64_C(0x100000001b3);
    seen->hash = (seen->hash ^ units) * UINT64_C(0x100000001b3);
    seen->hash = (seen->hash ^ state) * UINT64_C(0x100000001b3);
}

/* Checks everything that can be checked without knowing what was called; returns the walk. */
static struct walk check_space_seen(struct gr_iova *space, struct seen *seen)
{
    struct walk w = {.space = space, .next = space->first, .last_state = -1};
    struct gr_iova_stats st;
    walk_tree(&w, space->root, NULL);
    assert_true(w.next == space->end);
    *seen = (struct seen){.next = space->first};
    iova_each(space, see, seen);
    assert_true(seen->next == space->end);
    gr_iova_stats(space, &st);
    assert_true(st.allocations == seen->ranges[GRI_IOVA_ALLOCATED]);
    assert_true(st.allocated == saturated(space, seen->units[GRI_IOVA_ALLOCATED]));
    assert_true(st.held == saturated(space, seen->units[GRI_IOVA_HELD]));
    assert_true(st.reserved == saturated(space, seen->units[GRI_IOVA_RESERVED]));
    assert_true(st.available == saturated(space, seen->units[GRI_IOVA_FREE]));
    assert_true(st.arenas == w.ranges[GRI_IOVA_ARENA]);
    assert_true(st.stranded ==
                saturated(space, seen->units[GRI_IOVA_FREE] - w.units[GRI_IOVA_FREE]));

    uint64_t spares = 0;
    uint64_t slabs = 0;
    for (const struct gr_iova_node *n = space->spare; n; n = n->child[0])
        spares++;
    for (const struct gr_iova_node *n = space->slabs; n; n = n->child[0])
        slabs++;
    assert_true(spares == space->spares);
    assert_true(st.memory >= slabs * K4 && (space->arena_lg2 || st.memory == slabs * K4));
    assert_true(spares + w.nodes == slabs * (K4 / sizeof(struct gr_iova_node) - 1));
    check_arenas(space);
    return w;
}

static struct walk check_space(struct gr_iova *space)
{
    struct seen seen;
    return check_space_seen(space, &seen);
}

/* A space's whole state, to see that a failed call changed nothing. */
struct snap {
    uint64_t hash;
    struct gr_iova_stats stats;
};

static struct snap snap(struct gr_iova *space)
{
    struct seen seen;
    struct snap s = {.hash = 0};
    (void)check_space_seen(space, &seen);
    s.hash = seen.hash;
    gr_iova_stats(space, &s.stats);
    /* A failing call may keep a page, and look for room in arenas. */
    s.stats.memory = s.stats.drains = s.stats.arenas = s.stats.stranded = 0;
    return s;
}

static void assert_same(struct gr_iova *space, const struct snap *before)
{
    struct snap now = snap(space);
    assert_memory_equal(&now, before, sizeof(now));
}

/* Evaluates `call`, which must fail with `err` and change nothing. */
#define ASSERT_FAILS(space, err, call)                                                             \
    do {                                                                                           \
        struct snap before_ = snap(space);                                                         \
        assert_int_equal(call, err);                                                               \
        assert_same(space, &before_);                                                              \
    } while (0)

/* Small spaces take other tables for every call. */
static int begin_free(struct gr_iova *space, gr_iova_t start, uint64_t size, const uint8_t *spans,
                      unsigned count, struct gr_range *held)
{
    gr_iova_set_spans(space, spans, count);
    return gr_iova_free_begin(space, start, size, held);
}

static void end_free(struct gr_iova *space, const struct gr_range *held)
{
    assert_false(gr_iova_free_end(space, held, NULL));
}

/* --- Short calls ------------------------------------------------------------------------------ */

static int try_alloc(struct gr_iova *space, struct gr_iova_req req)
{
    gr_iova_t start = 0x5a5a;
    int err = gr_iova_alloc(space, &req, &start);
    if (err)
        assert_true(start == 0x5a5a);
    return err;
}

static gr_iova_t must_alloc(struct gr_iova *space, struct gr_iova_req req)
{
    gr_iova_t start;
    assert_int_equal(gr_iova_alloc(space, &req, &start), 0);
    return start;
}

static int try_begin(struct gr_iova *space, gr_iova_t start, uint64_t size)
{
    struct gr_range held = {1, 2};
    int err = begin_free(space, start, size, NULL, 0, &held);
    if (err)
        assert_true(held.first == 1 && held.last == 2);
    return err;
}

static struct gr_range must_begin(struct gr_iova *space, gr_iova_t start, uint64_t size)
{
    struct gr_range held;
    assert_int_equal(begin_free(space, start, size, NULL, 0, &held), 0);
    assert_true(held.first == start && held.last == start + (size - 1));
    return held;
}

static void must_free(struct gr_iova *space, gr_iova_t start, uint64_t size)
{
    struct gr_range held = must_begin(space, start, size);
    end_free(space, &held);
}

struct fixture {
    struct host *env;
    struct gr_iova space;
};

static void open_space(struct fixture *f, unsigned lg2, gr_iova_t first, gr_iova_t last)
{
    f->env = test_env_new();
    assert_int_equal(gr_iova_init(&f->space, f->env, lg2, first, last), 0);
    check_space(&f->space);
}

static void close_space(struct fixture *f)
{
    check_space(&f->space);
    gr_iova_fini(&f->space);
    gr_iova_fini(&f->space);
    test_env_free(f->env);
}

/* --- Directed tests --------------------------------------------------------------------------- */

static void test_init(void **state)
{
    (void)state;
    struct host *env = test_env_new();
    struct gr_iova space;
    assert_int_equal(gr_iova_init(&space, env, 11, 0, TOP), GR_EINVAL);
    assert_int_equal(gr_iova_init(&space, env, 33, 0, TOP), GR_EINVAL);
    assert_int_equal(gr_iova_init(&space, env, 12, 1, 0), GR_EINVAL);
    assert_int_equal(gr_iova_init(&space, env, 12, 0, 4094), GR_ERANGE);
    assert_int_equal(gr_iova_init(&space, env, 12, 1, 8190), GR_ERANGE);
    assert_int_equal(gr_iova_init(&space, env, 12, TOP - 4094, TOP), GR_ERANGE);
    host_fail_alloc(env, 1);
    assert_int_equal(gr_iova_init(&space, env, 12, 0, TOP), GR_ENOMEM);
    gr_iova_fini(&space);
    host_fail_alloc(env, 0);

    struct gr_iova_stats st;
    assert_int_equal(gr_iova_init(&space, env, 32, 0, TOP), 0);
    gr_iova_stats(&space, &st);
    assert_true(st.available == TOP && st.memory == K4);
    gr_iova_fini(&space);
    assert_int_equal(gr_iova_init(&space, env, 14, 1, 5 * UINT64_C(16384) - 2),
                     0); /* partial ends */
    gr_iova_stats(&space, &st);
    assert_true(st.available == 3 * UINT64_C(16384));
    assert_true(must_alloc(&space, (struct gr_iova_req){.size = 3 * UINT64_C(16384)}) == 16384);
    gr_iova_fini(&space);
    test_env_free(env);
}

static void test_one_unit_and_iova_zero(void **state)
{
    (void)state;
    struct fixture f;
    open_space(&f, 14, 0, 16383);
    ASSERT_FAILS(&f.space, GR_ENOSPC, try_alloc(&f.space, (struct gr_iova_req){.size = 32768}));
    for (unsigned i = 0; i < 3; i++) {
        assert_true(must_alloc(&f.space, (struct gr_iova_req){.size = 16384}) == 0);
        assert_int_equal(gr_iova_check(&f.space, 0, 16384), 0);
        ASSERT_FAILS(&f.space, GR_ENOSPC, try_alloc(&f.space, (struct gr_iova_req){.size = 16384}));
        must_free(&f.space, 0, 16384);
    }
    assert_int_equal(gr_iova_alloc_fixed(&f.space, 0, 16384), 0);
    must_free(&f.space, 0, 16384);
    assert_int_equal(gr_iova_reserve(&f.space, 0, 0), 0);
    ASSERT_FAILS(&f.space, GR_ENOSPC, try_alloc(&f.space, (struct gr_iova_req){.size = 16384}));
    close_space(&f);
}

static void test_alloc_errors(void **state)
{
    (void)state;
    struct fixture f;
    open_space(&f, 14, 0x100000, 0x1fffff);
    struct gr_iova *s = &f.space;
    const uint64_t u = 16384;
    must_alloc(s, (struct gr_iova_req){.size = 3 * u});
    const struct {
        int err;
        struct gr_iova_req req;
    } cases[] = {
        {GR_ENODATA, {.size = 0}},
        {GR_ENODATA, {.size = 0, .align = 3}},
        {GR_EINVAL, {.size = u + 4096}},
        {GR_EINVAL, {.size = 1}},
        {GR_EINVAL, {.size = u, .align = 3 * u}},
        {GR_EINVAL, {.size = u, .boundary = 3 * u}},
        {GR_EINVAL, {.size = 2 * u, .boundary = u}},
        {GR_EINVAL, {.size = u, .boundary = 4096}},
        {GR_ERANGE, {.size = u, .first = 0x200000}},
        {GR_ERANGE, {.size = u, .first = 0x1fc001}},
        {GR_ERANGE, {.size = u, .last = 0x103ffe}},
        {GR_ERANGE, {.size = u, .last = 0xfffff}},
        {GR_ERANGE, {.size = u, .first = 0x140000, .last = 0x13ffff}},
        {GR_ERANGE, {.size = u, .first = 0x140001, .last = 0x147ffe}},
        {GR_ENOSPC, {.size = 0x100000}},
        {GR_ENOSPC, {.size = UINT64_MAX - (u - 1)}},
        {GR_ENOSPC, {.size = 62 * u}},
        {GR_ENOSPC, {.size = u, .first = 0x1f4000}},
        {GR_ENOSPC, {.size = 2 * u, .first = 0x140001, .last = 0x14bffe}},
        {GR_ENOSPC, {.size = u, .align = UINT64_C(1) << 63}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        ASSERT_FAILS(s, cases[i].err, try_alloc(s, cases[i].req));

    /* The neighbours of the errors are fine. */
    assert_true(must_alloc(s, (struct gr_iova_req){.size = u, .align = 1}) == 0x1f0000);
    assert_true(must_alloc(s, (struct gr_iova_req){.size = u, .last = 0x103fff}) == 0x100000);
    assert_true(must_alloc(s, (struct gr_iova_req){
                                  .size = u, .first = 0x140001, .last = 0x147fff}) == 0x144000);
    close_space(&f);
}

static void test_fixed(void **state)
{
    (void)state;
    struct fixture f;
    open_space(&f, 12, 0x10000, 0x1ffff);
    struct gr_iova *s = &f.space;
    ASSERT_FAILS(s, GR_ENODATA, gr_iova_alloc_fixed(s, 0x10000, 0));
    ASSERT_FAILS(s, GR_EINVAL, gr_iova_alloc_fixed(s, 0x10800, 0x1000));
    ASSERT_FAILS(s, GR_EINVAL, gr_iova_alloc_fixed(s, 0x10000, 0x1800));
    ASSERT_FAILS(s, GR_EOVERFLOW, gr_iova_alloc_fixed(s, 0x10000, TOP - 0xfff));
    ASSERT_FAILS(s, GR_EOVERFLOW, gr_iova_alloc_fixed(s, TOP - 0xfff, 0x2000));
    ASSERT_FAILS(s, GR_ERANGE, gr_iova_alloc_fixed(s, TOP - 0xfff, 0x1000));
    ASSERT_FAILS(s, GR_ERANGE, gr_iova_alloc_fixed(s, 0xf000, 0x1000));
    ASSERT_FAILS(s, GR_ERANGE, gr_iova_alloc_fixed(s, 0xf000, 0x2000));
    ASSERT_FAILS(s, GR_ERANGE, gr_iova_alloc_fixed(s, 0x1f000, 0x2000));
    assert_int_equal(gr_iova_alloc_fixed(s, 0x14000, 0x3000), 0);
    assert_int_equal(gr_iova_reserve(s, 0x1a000, 0x1a000), 0);
    assert_int_equal(gr_iova_alloc_fixed(s, 0x1c000, 0x1000), 0);
    struct gr_range held = must_begin(s, 0x1c000, 0x1000);
    ASSERT_FAILS(s, GR_EEXIST, gr_iova_alloc_fixed(s, 0x15000, 0x1000));
    ASSERT_FAILS(s, GR_EEXIST, gr_iova_alloc_fixed(s, 0x13000, 0x2000));
    ASSERT_FAILS(s, GR_EEXIST, gr_iova_alloc_fixed(s, 0x16000, 0x2000));
    ASSERT_FAILS(s, GR_EEXIST, gr_iova_alloc_fixed(s, 0x19000, 0x3000));
    ASSERT_FAILS(s, GR_EEXIST, gr_iova_alloc_fixed(s, 0x1b000, 0x2000));
    ASSERT_FAILS(s, GR_EEXIST, gr_iova_alloc_fixed(s, 0x10000, 0x10000));
    end_free(s, &held);
    assert_int_equal(gr_iova_alloc_fixed(s, 0x1b000, 0x5000), 0);
    assert_int_equal(gr_iova_alloc_fixed(s, 0x10000, 0x4000), 0);
    must_free(s, 0x14000, 0x3000);
    must_free(s, 0x10000, 0x4000);
    must_free(s, 0x1b000, 0x5000);
    close_space(&f);
}

static void test_free_errors(void **state)
{
    (void)state;
    struct fixture f;
    open_space(&f, 12, 0x10000, 0x1ffff);
    struct gr_iova *s = &f.space;
    assert_int_equal(gr_iova_alloc_fixed(s, 0x14000, 0x3000), 0);
    assert_int_equal(gr_iova_alloc_fixed(s, 0x17000, 0x1000), 0); /* next to it, not joined */
    assert_int_equal(gr_iova_reserve(s, 0x1c000, 0x1cfff), 0);
    const struct {
        int err;
        gr_iova_t start;
        uint64_t size;
    } cases[] = {
        {GR_ENODATA, 0x14000, 0},       {GR_ENOENT, 0x13000, 0x1000},
        {GR_ENOENT, 0x13000, 0x4000},   {GR_ENOENT, 0x1c000, 0x1000},
        {GR_ENOENT, 0xf000, 0x1000},    {GR_ENOENT, 0, 0x1000},
        {GR_ENOENT, 0x20000, 0x1000},   {GR_ENOENT, TOP, 1},
        {GR_EMSGSIZE, 0x14000, 0x1000}, {GR_EMSGSIZE, 0x14000, 0x4000},
        {GR_EMSGSIZE, 0x15000, 0x1000}, {GR_EMSGSIZE, 0x15000, 0x2000},
        {GR_EMSGSIZE, 0x14800, 0x3000}, {GR_EMSGSIZE, 0x14000, 0x2fff},
        {GR_EMSGSIZE, 0x14000, TOP},    {GR_EMSGSIZE, 0x17001, 0x1000},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ASSERT_FAILS(s, cases[i].err, try_begin(s, cases[i].start, cases[i].size));
        ASSERT_FAILS(s, cases[i].err, gr_iova_check(s, cases[i].start, cases[i].size));
    }
    assert_int_equal(gr_iova_check(s, 0x14000, 0x3000), 0);

    struct gr_range held = must_begin(s, 0x14000, 0x3000);
    ASSERT_FAILS(s, GR_ENOENT, try_begin(s, 0x14000, 0x3000)); /* twice, while held */
    ASSERT_FAILS(s, GR_ENOENT, gr_iova_check(s, 0x14000, 0x3000));
    const struct gr_range wrong[] = {
        {0x14000, 0x15fff}, {0x15000, 0x16fff}, {0x14000, 0x17fff}, {0x13000, 0x16fff},
        {0x14001, 0x16fff}, {0x17000, 0x17fff}, {0x1c000, 0x1cfff}, {0x10000, 0x13fff},
        {0xf000, 0x16fff},  {TOP - 4095, TOP},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct snap before = snap(s);
        end_free(s, &wrong[i]);
        assert_same(s, &before);
    }
    end_free(s, &held);
    ASSERT_FAILS(s, GR_ENOENT, try_begin(s, 0x14000, 0x3000)); /* twice, after the end */
    struct snap before = snap(s);
    end_free(s, &held);
    assert_same(s, &before);
    must_free(s, 0x17000, 0x1000);
    close_space(&f);
}

static void test_reserve(void **state)
{
    (void)state;
    struct fixture f;
    struct gr_iova_stats st;
    open_space(&f, 12, 0x10000, 0x1ffff);
    struct gr_iova *s = &f.space;
    ASSERT_FAILS(s, GR_EINVAL, gr_iova_reserve(s, 2, 1));
    ASSERT_FAILS(s, 0, gr_iova_reserve(s, 0, 0xffff)); /* outside: nothing to do */
    ASSERT_FAILS(s, 0, gr_iova_reserve(s, 0x20000, TOP));
    assert_int_equal(gr_iova_reserve(s, 0x14fff, 0x15000), 0); /* two bytes, two units */
    ASSERT_FAILS(s, 0, gr_iova_reserve(s, 0x14000, 0x15fff));  /* again */
    ASSERT_FAILS(s, 0, gr_iova_reserve(s, 0x15010, 0x15020));
    assert_int_equal(gr_iova_reserve(s, 0x18000, 0x18fff), 0);
    assert_int_equal(gr_iova_reserve(s, 0x15000, 0x18000), 0); /* joins the two */
    gr_iova_stats(s, &st);
    assert_true(st.reserved == 5 * K4);
    assert_int_equal(gr_iova_reserve(s, 0, 0x10000), 0); /* in part outside */
    assert_int_equal(gr_iova_reserve(s, 0x1f000, TOP), 0);
    assert_int_equal(gr_iova_alloc_fixed(s, 0x1a000, K4), 0);
    ASSERT_FAILS(s, GR_EBUSY, gr_iova_reserve(s, 0x1a000, 0x1a000));
    ASSERT_FAILS(s, GR_EBUSY, gr_iova_reserve(s, 0, TOP));
    struct gr_range held = must_begin(s, 0x1a000, K4);
    ASSERT_FAILS(s, GR_EBUSY, gr_iova_reserve(s, 0x12000, 0x1afff));
    end_free(s, &held);
    assert_int_equal(gr_iova_reserve(s, 0, TOP), 0);
    gr_iova_stats(s, &st);
    assert_true(st.reserved == 16 * K4 && st.available == 0);
    ASSERT_FAILS(s, GR_ENOSPC, try_alloc(s, (struct gr_iova_req){.size = K4}));
    close_space(&f);
}

/* All 2^64 bytes, with the smallest and the largest unit. */
static void test_whole_space(void **state)
{
    (void)state;
    for (unsigned lg2 = 12; lg2 <= 32; lg2 += 20) {
        const uint64_t u = UINT64_C(1) << lg2;
        struct fixture f;
        struct gr_iova_stats st;
        struct gr_range held;
        open_space(&f, lg2, 0, TOP);
        struct gr_iova *s = &f.space;
        assert_true(must_alloc(s, (struct gr_iova_req){.size = u}) == TOP - u + 1);
        assert_int_equal(gr_iova_check(s, TOP - u + 1, u), 0);
        ASSERT_FAILS(s, GR_EEXIST, gr_iova_alloc_fixed(s, TOP - u + 1, u));
        ASSERT_FAILS(s, GR_EMSGSIZE, try_begin(s, TOP, u));
        must_free(s, TOP - u + 1, u);
        assert_int_equal(gr_iova_alloc_fixed(s, TOP - u + 1, u), 0);

        /* The largest size there is, then the unit that is left. */
        assert_true(must_alloc(s, (struct gr_iova_req){.size = TOP - u + 1}) == 0);
        ASSERT_FAILS(s, GR_ENOSPC, try_alloc(s, (struct gr_iova_req){.size = u}));
        gr_iova_stats(s, &st);
        assert_true(st.allocated == TOP && st.available == 0);
        must_free(s, 0, TOP - u + 1);

        const uint64_t half = UINT64_C(1) << 63;
        assert_true(must_alloc(s, (struct gr_iova_req){.size = u, .align = half}) == half);
        assert_true(must_alloc(s, (struct gr_iova_req){.size = half, .align = half}) == 0);
        must_free(s, 0, half);
        must_free(s, half, u);
        assert_true(must_alloc(s, (struct gr_iova_req){.size = half, .boundary = half}) == 0);
        must_free(s, 0, half);
        must_free(s, TOP - u + 1, u);

        /* A root table that spans everything is unused only with the last allocation. */
        const uint8_t spans[] = {64, 63, (uint8_t)lg2, 0};
        (void)gr_iova_drain(s);
        assert_int_equal(gr_iova_alloc_fixed(s, half - u, 2 * u), 0);
        assert_int_equal(gr_iova_alloc_fixed(s, 0, u), 0);
        assert_int_equal(begin_free(s, half - u, 2 * u, spans, 4, &held), 0);
        assert_true(held.first == half - u && held.last == TOP);
        const gr_iova_t at = must_alloc(s, (struct gr_iova_req){.size = u});
        assert_true(at < half - u && at > half / 2); /* an arena is aligned */
        must_free(s, at, u);
        (void)gr_iova_drain(s);
        end_free(s, &held);
        assert_int_equal(begin_free(s, 0, u, spans, 4, &held), 0);
        assert_true(held.first == 0 && held.last == TOP);
        ASSERT_FAILS(s, GR_ENOSPC, try_alloc(s, (struct gr_iova_req){.size = u}));
        end_free(s, &held);
        assert_int_equal(check_space(s).nodes, 1);

        assert_int_equal(gr_iova_reserve(s, 0, TOP), 0);
        gr_iova_stats(s, &st);
        assert_true(st.reserved == TOP && st.available == 0);
        close_space(&f);
    }
}

static void test_crossings(void **state)
{
    (void)state;
    const uint64_t marks[] = {G4 / 2, G4, UINT64_C(1) << 36};
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        const uint64_t m = marks[i];
        struct fixture f;
        open_space(&f, 12, m - 16 * K4, m + 2 * K4 - 1);
        struct gr_iova *s = &f.space;
        assert_true(must_alloc(s, (struct gr_iova_req){.size = 4 * K4}) == m - 2 * K4);
        must_free(s, m - 2 * K4, 4 * K4);
        assert_true(must_alloc(s, (struct gr_iova_req){.size = 4 * K4, .boundary = m}) ==
                    m - 4 * K4);
        must_free(s, m - 4 * K4, 4 * K4);
        assert_true(must_alloc(s, (struct gr_iova_req){.size = 4 * K4, .last = m - 1}) ==
                    m - 4 * K4);
        must_free(s, m - 4 * K4, 4 * K4);
        assert_true(must_alloc(s, (struct gr_iova_req){.size = 2 * K4, .first = m}) == m);
        must_free(s, m, 2 * K4);
        assert_int_equal(gr_iova_alloc_fixed(s, m - K4, 2 * K4), 0);
        ASSERT_FAILS(s, GR_ENOSPC,
                     try_alloc(s, (struct gr_iova_req){.size = 2 * K4, .first = m - K4}));
        must_free(s, m - K4, 2 * K4);
        close_space(&f);
    }
}

static void shuffle(uint64_t *a, unsigned n)
{
    for (unsigned i = n; i > 1; i--) {
        unsigned j = below(i);
        uint64_t t = a[i - 1];
        a[i - 1] = a[j];
        a[j] = t;
    }
}

static void test_exhaust_and_refill(void **state)
{
    (void)state;
    enum { N = 3000 };
    static uint64_t at[N];
    struct fixture f;
    rng_state = seed;
    open_space(&f, 14, 0, N * UINT64_C(16384) - 1);
    struct gr_iova *s = &f.space;
    for (unsigned round = 0; round < 3; round++) {
        /* Single units come from the top down, then nothing is left. */
        for (unsigned i = 0; i < N; i++) {
            at[i] = must_alloc(s, (struct gr_iova_req){.size = 16384});
            assert_true(at[i] == (N - 1 - i) * UINT64_C(16384));
        }
        ASSERT_FAILS(s, GR_ENOSPC, try_alloc(s, (struct gr_iova_req){.size = 16384}));
        assert_int_equal(check_space(s).ranges[GRI_IOVA_ALLOCATED], N);

        /* Half of it back in random order: each free unit is found again, the highest first. */
        shuffle(at, N);
        for (unsigned i = 0; i < N / 2; i++)
            must_free(s, at[i], 16384);
        check_space(s);
        uint64_t last = TOP;
        for (unsigned i = 0; i < N / 2; i++) {
            uint64_t start = must_alloc(s, (struct gr_iova_req){.size = 16384});
            assert_true(start < last);
            last = start;
        }
        ASSERT_FAILS(s, GR_ENOSPC, try_alloc(s, (struct gr_iova_req){.size = 16384}));
        shuffle(at, N);
        for (unsigned i = 0; i < N; i++)
            must_free(s, at[i], 16384);
        assert_int_equal(check_space(s).nodes, 1);
    }
    close_space(&f);
}

/* Fail every page from the n-th on, for each n, in a run that needs several pages. Nothing may
 * change on GR_ENOMEM, and everything can be freed with no page to be had. */
static void test_no_memory(void **state)
{
    (void)state;
    enum { UNITS = 1024 };
    bool failed = true;
    for (unsigned n = 1; failed; n++) {
        static uint64_t live[UNITS];
        unsigned count = 0;
        struct fixture f;
        failed = false;
        open_space(&f, 12, 0, UNITS * K4 - 1);
        struct gr_iova *s = &f.space;
        host_fail_alloc(f.env, n);
        for (unsigned i = 0; i + 8 <= UNITS / 2; i += 8) {
            struct snap before = snap(s);
            uint64_t at = i * K4;
            int err = gr_iova_alloc_fixed(s, at + K4, K4);
            if (!err)
                live[count++] = at + K4;
            if (!err) {
                before = snap(s);
                err = gr_iova_reserve(s, at + 3 * K4, at + 3 * K4);
            }
            if (!err) {
                struct gr_iova_req req = {.size = K4, .align = 4 * K4};
                before = snap(s);
                err = gr_iova_alloc(s, &req, &live[count]);
                if (!err)
                    count++;
            }
            if (!err)
                continue;
            assert_int_equal(err, GR_ENOMEM);
            assert_same(s, &before);
            failed = true;
            host_fail_alloc(f.env, 1);
        }
        uint64_t allocs = host_allocs(f.env);
        const uint8_t spans[] = {15};
        for (unsigned i = 0; i < count; i++) {
            struct gr_range held;
            assert_int_equal(begin_free(s, live[i], K4, spans, 1, &held), 0);
            end_free(s, &held);
        }
        assert_true(host_allocs(f.env) == allocs);
        struct walk w = check_space(s);
        assert_true(w.units[GRI_IOVA_FREE] + w.units[GRI_IOVA_RESERVED] == UNITS);
        assert_true(n < 100);
        assert_true(n > 3 || failed); /* the run does need pages */
        close_space(&f);
    }
}

/* What the tables' spans add to a hold, by example; the random test compares with brute force. */
static void test_hold(void **state)
{
    (void)state;
    const uint8_t spans[] = {15, 18}; /* 8 and 64 units */
    struct gr_range held;
    struct fixture f;
    open_space(&f, 12, 2 * K4, 100 * K4 - 1);
    struct gr_iova *s = &f.space;
    assert_int_equal(gr_iova_alloc_fixed(s, 20 * K4, K4), 0);
    assert_int_equal(gr_iova_alloc_fixed(s, 40 * K4, K4), 0);

    /* Its leaf table 16..23 has no other user, the table above has one at 40. */
    assert_int_equal(begin_free(s, 20 * K4, K4, spans, 2, &held), 0);
    assert_true(held.first == 16 * K4 && held.last == 24 * K4 - 1);
    ASSERT_FAILS(s, GR_EEXIST, gr_iova_alloc_fixed(s, 16 * K4, K4));
    ASSERT_FAILS(s, GR_EEXIST, gr_iova_alloc_fixed(s, 23 * K4, K4));
    assert_int_equal(gr_iova_alloc_fixed(s, 15 * K4, K4), 0);
    must_free(s, 15 * K4, K4);
    end_free(s, &held);

    /* Now the upper one, 0..63, goes too; units 0 and 1 are outside the space. */
    assert_int_equal(begin_free(s, 40 * K4, K4, spans, 2, &held), 0);
    assert_true(held.first == 2 * K4 && held.last == 64 * K4 - 1);
    end_free(s, &held);

    /* A reservation is a user; a long range touches several spans, its ends differ. */
    assert_int_equal(gr_iova_reserve(s, 9 * K4, 9 * K4), 0);
    assert_int_equal(gr_iova_alloc_fixed(s, 12 * K4, 22 * K4), 0);
    assert_int_equal(begin_free(s, 12 * K4, 22 * K4, spans, 1, &held), 0);
    assert_true(held.first == 12 * K4 && held.last == 40 * K4 - 1);

    /* So is a hold; and what is never ended stays out of use. */
    assert_int_equal(gr_iova_alloc_fixed(s, 42 * K4, K4), 0);
    struct gr_range other;
    assert_int_equal(begin_free(s, 42 * K4, K4, spans, 2, &other), 0);
    assert_true(other.first == 40 * K4 && other.last == 48 * K4 - 1);
    end_free(s, &other);
    unsigned got = 0;
    while (!try_alloc(s, (struct gr_iova_req){.size = K4}))
        got++;
    assert_int_equal(got, 98 - 1 - 28);
    end_free(s, &held);
    assert_true(must_alloc(s, (struct gr_iova_req){.size = 28 * K4}) == 12 * K4);
    close_space(&f);
}

/* --- Random operations against a model with one byte per unit --------------------------------- */

enum { MAX_UNITS = 2048 };

struct model {
    struct fixture f;
    unsigned lg2;
    uint64_t base; /* number of the first unit */
    unsigned units;
    uint8_t state[MAX_UNITS];
    uint16_t head[MAX_UNITS]; /* first unit of the allocation or hold that a unit belongs to */
    uint16_t run[MAX_UNITS + 1];
};

static uint64_t first_byte(const struct model *m, unsigned unit)
{
    return (m->base + unit) << m->lg2;
}

static uint64_t last_byte(const struct model *m, unsigned unit)
{
    return first_byte(m, unit) | ((UINT64_C(1) << m->lg2) - 1);
}

static void model_set(struct model *m, unsigned first, unsigned count, enum gri_iova_state state)
{
    memset(m->state + first, (int)state, count);
    for (unsigned i = 0; i < count; i++)
        m->head[first + i] = (uint16_t)first;
}

static void model_see(void *arg, uint64_t first, uint64_t units, enum gri_iova_state state)
{
    const struct model *m = arg;
    bool whole = state == GRI_IOVA_ALLOCATED || state == GRI_IOVA_HELD;
    unsigned at = (unsigned)(first - m->base);
    for (unsigned i = at; i < at + units; i++) {
        assert_int_equal(m->state[i], state);
        if (whole)
            assert_int_equal(m->head[i], at);
    }
}

static void model_compare(struct model *m)
{
    check_space(&m->f.space);
    iova_each(&m->f.space, model_see, m);
}

/* How many units from `first` on have the same head and state. */
static unsigned extent(const struct model *m, unsigned first)
{
    unsigned n = 1;
    while (first + n < m->units && m->state[first + n] == m->state[first] &&
           m->head[first + n] == m->head[first])
        n++;
    return n;
}

/* The error the contract demands of an alloc, or 0 if it is well-formed. Fills m->run with the
 * number of free units within the limits from each unit on. */
static int model_limits(struct model *m, const struct gr_iova_req *req)
{
    bool any = false;
    m->run[m->units] = 0;
    for (unsigned i = m->units; i-- > 0;) {
        bool in = first_byte(m, i) >= req->first && (!req->last || last_byte(m, i) <= req->last);
        any = any || in;
        m->run[i] = in && m->state[i] == GRI_IOVA_FREE ? (uint16_t)(m->run[i + 1] + 1) : 0;
    }
    return any ? 0 : GR_ERANGE;
}

static bool model_legal(const struct model *m, const struct gr_iova_req *req, unsigned at)
{
    uint64_t first = first_byte(m, at);
    if (m->run[at] < req->size >> m->lg2 || (req->align && first % req->align))
        return false;
    return !req->boundary || first / req->boundary == (first + (req->size - 1)) / req->boundary;
}

/* May a request that is not met be refused? Only if no long range and no aligned block is free. */
static bool model_may_refuse(const struct model *m, const struct gr_iova_req *req)
{
    uint64_t n = req->size >> m->lg2;
    uint64_t align = req->align >> m->lg2 ? req->align >> m->lg2 : 1;
    uint64_t block = align;
    while (block < n)
        block *= 2;
    for (unsigned i = 0; i < m->units; i++) {
        if (m->run[i] >= n + align - 1 + (req->boundary ? n - 1 : 0))
            return false;
        if (m->run[i] >= block && (m->base + i) % block == 0)
            return false;
    }
    return true;
}

static unsigned refused; /* allocs that the exception refused, to see that it is rare */
static unsigned served;

static void random_request(const struct model *m, struct gr_iova_req *req)
{
    uint64_t n = below(4) ? 1 + below(8) : 1 + below(m->units);
    *req = (struct gr_iova_req){.size = n << m->lg2};
    if (below(2))
        req->align = UINT64_C(1) << below(m->lg2 + 7);
    if (below(3) == 0) {
        req->boundary = UINT64_C(1) << m->lg2;
        while (req->boundary < req->size)
            req->boundary *= 2;
        req->boundary <<= below(3);
    }
    if (below(2)) {
        unsigned a = below(m->units);
        unsigned b = a + below(m->units - a);
        req->first = first_byte(m, a) + below(3) - 1;
        req->last = last_byte(m, b) + below(3) - 1;
        if (req->first > req->last || !req->last)
            req->first = req->last = 0;
    }
}

static void random_alloc(struct model *m)
{
    struct gr_iova_req req;
    gr_iova_t start;
    random_request(m, &req);
    bool exact = req.align <= UINT64_C(1) << m->lg2 && !req.boundary;
    int want = model_limits(m, &req);
    unsigned best = m->units;
    while (best > 0 && !model_legal(m, &req, best - 1))
        best--;
    struct snap before = snap(&m->f.space);
    int err = gr_iova_alloc(&m->f.space, &req, &start);
    if (err == GR_ENOMEM) { /* asked for below; must leave no trace */
        assert_same(&m->f.space, &before);
        host_fail_alloc(m->f.env, 0);
        err = gr_iova_alloc(&m->f.space, &req, &start);
    }
    if (err) {
        assert_same(&m->f.space, &before);
        if (want) {
            assert_int_equal(err, want);
            return;
        }
        assert_int_equal(err, GR_ENOSPC);
        if (best) {
            assert_false(exact);
            assert_true(model_may_refuse(m, &req));
            refused++;
        }
        return;
    }
    assert_int_equal(want, 0);
    unsigned at = (unsigned)((start >> m->lg2) - m->base);
    assert_true(at < m->units && first_byte(m, at) == start);
    assert_true(model_legal(m, &req, at));
    if (exact)
        assert_int_equal(at, best - 1);
    model_set(m, at, (unsigned)(req.size >> m->lg2), GRI_IOVA_ALLOCATED);
    served++;
}

static void random_fixed_or_reserve(struct model *m)
{
    bool reserve = below(4) == 0;
    unsigned at = below(m->units);
    unsigned room = m->units - at < 12 ? m->units - at : 12;
    unsigned count = 1 + below(room);
    bool all_free = true;
    bool busy = false;
    for (unsigned i = at; i < at + count; i++) {
        all_free = all_free && m->state[i] == GRI_IOVA_FREE;
        busy = busy || m->state[i] == GRI_IOVA_ALLOCATED || m->state[i] == GRI_IOVA_HELD;
    }
    int want = reserve ? (busy ? GR_EBUSY : 0) : (all_free ? 0 : GR_EEXIST);
    struct snap before = snap(&m->f.space);
    for (int tries = 0;; tries++) {
        int err = reserve ? gr_iova_reserve(&m->f.space, first_byte(m, at) + below(9),
                                            last_byte(m, at + count - 1) - below(9))
                          : gr_iova_alloc_fixed(&m->f.space, first_byte(m, at),
                                                (uint64_t)count << m->lg2);
        if (err)
            assert_same(&m->f.space, &before);
        if (err == GR_ENOMEM && tries == 0) {
            host_fail_alloc(m->f.env, 0);
            continue;
        }
        assert_int_equal(err, want);
        break;
    }
    if (!want)
        model_set(m, at, count, reserve ? GRI_IOVA_RESERVED : GRI_IOVA_ALLOCATED);
}

static uint64_t span_of(const struct model *m, unsigned unit, unsigned span_lg2)
{
    return span_lg2 < 64 ? first_byte(m, unit) >> span_lg2 : 0;
}

/* Has the span that `unit` lies in no user but the allocation [at, at + count)? Widens the hold. */
static void model_span(const struct model *m, unsigned unit, unsigned span_lg2, unsigned at,
                       unsigned count, unsigned *first, unsigned *last)
{
    uint64_t span = span_of(m, unit, span_lg2);
    unsigned low = unit;
    unsigned high = unit;
    while (low > 0 && span_of(m, low - 1, span_lg2) == span)
        low--;
    while (high + 1 < m->units && span_of(m, high + 1, span_lg2) == span)
        high++;
    for (unsigned i = low; i <= high; i++)
        if (m->state[i] != GRI_IOVA_FREE && (i < at || i >= at + count))
            return;
    *first = low < *first ? low : *first;
    *last = high > *last ? high : *last;
}

static void random_free(struct model *m, unsigned at)
{
    unsigned count = extent(m, at);
    uint8_t spans[3];
    unsigned span_count = below(4);
    unsigned first = at;
    unsigned last = at + count - 1;
    struct gr_range held;
    /* A wrong range first. */
    unsigned wrong_at = below(3) ? at : at + below(count);
    unsigned wrong_count = 1 + below(count + 2);
    if (wrong_at != at || wrong_count != count) {
        ASSERT_FAILS(
            &m->f.space, GR_EMSGSIZE,
            try_begin(&m->f.space, first_byte(m, wrong_at), (uint64_t)wrong_count << m->lg2));
    }
    for (unsigned i = 0; i < span_count; i++) {
        spans[i] = (uint8_t)(below(5) ? m->lg2 + below(9) : 12 + below(53));
        for (unsigned u = at; u < at + count; u++)
            model_span(m, u, spans[i], at, count, &first, &last);
    }
    uint64_t allocs = host_allocs(m->f.env);
    assert_int_equal(begin_free(&m->f.space, first_byte(m, at), (uint64_t)count << m->lg2, spans,
                                span_count, &held),
                     0);
    assert_true(held.first == first_byte(m, first));
    assert_true(held.last == last_byte(m, last));
    assert_true(host_allocs(m->f.env) == allocs);
    model_set(m, first, last - first + 1, GRI_IOVA_HELD);
}

static void random_end(struct model *m, unsigned at)
{
    unsigned count = extent(m, at);
    const struct gr_range held = {first_byte(m, at), last_byte(m, at + count - 1)};
    uint64_t allocs = host_allocs(m->f.env);
    end_free(&m->f.space, &held);
    assert_true(host_allocs(m->f.env) == allocs);
    model_set(m, at, count, GRI_IOVA_FREE);
}

static void random_step(struct model *m)
{
    unsigned unit = below(m->units);
    unsigned at = m->head[unit];
    host_fail_alloc(m->f.env, 0);
    if (below(4) == 0)
        host_fail_alloc(m->f.env, 1);
    switch (below(8)) {
    case 0:
    case 1:
    case 2:
        random_alloc(m);
        break;
    case 3:
        random_fixed_or_reserve(m);
        break;
    default:
        if (m->state[unit] == GRI_IOVA_ALLOCATED)
            random_free(m, at);
        else if (m->state[unit] == GRI_IOVA_HELD)
            random_end(m, at);
        else
            ASSERT_FAILS(&m->f.space, GR_ENOENT,
                         try_begin(&m->f.space, first_byte(m, unit), UINT64_C(1) << m->lg2));
        break;
    }
}

static void random_run(unsigned max_units, unsigned steps)
{
    static struct model m;
    static const uint8_t lg2s[] = {12, 14, 16, 32};
    memset(&m, 0, sizeof(m));
    m.lg2 = lg2s[below(4)];
    m.units = 1 + below(max_units);
    uint64_t all = UINT64_C(1) << (64 - m.lg2);
    const uint64_t bases[] = {0, all - m.units, below(1000), all / 2 - m.units / 2,
                              (G4 >> m.lg2) - (m.lg2 < 20 ? m.units / 2 : 0)};
    m.base = bases[below(5)];
    open_space(&m.f, m.lg2, first_byte(&m, 0), last_byte(&m, m.units - 1));
    for (unsigned i = 0; i < steps; i++) {
        random_step(&m);
        if (i % 8 == 0 || i + 1 == steps)
            model_compare(&m);
    }
    /* Free all there is; only reservations stay. */
    for (unsigned i = 0; i < m.units; i++)
        if (m.state[i] == GRI_IOVA_ALLOCATED)
            random_free(&m, i);
    for (unsigned i = 0; i < m.units; i++)
        if (m.state[i] == GRI_IOVA_HELD)
            random_end(&m, i);
    model_compare(&m);
    host_fail_alloc(m.f.env, 0);
    close_space(&m.f);
}

static void test_random_small(void **state)
{
    (void)state;
    rng_state = seed;
    for (unsigned i = 0; i < 300; i++)
        random_run(256, 500);
    print_message("served %u, refused by the exception %u\n", served, refused);
    assert_true(served > 1000);
    assert_true(refused < served / 100);
}

static void test_random_deep(void **state)
{
    (void)state;
    rng_state = seed;
    for (unsigned i = 0; i < 6; i++)
        random_run(MAX_UNITS, 4000);
}

int main(void)
{
    seed = chance_seed_or("iova", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init),
        cmocka_unit_test(test_one_unit_and_iova_zero),
        cmocka_unit_test(test_alloc_errors),
        cmocka_unit_test(test_fixed),
        cmocka_unit_test(test_free_errors),
        cmocka_unit_test(test_reserve),
        cmocka_unit_test(test_whole_space),
        cmocka_unit_test(test_crossings),
        cmocka_unit_test(test_exhaust_and_refill),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_hold),
        cmocka_unit_test(test_random_small),
        cmocka_unit_test(test_random_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
