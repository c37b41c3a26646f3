/* SPDX-License-Identifier: MIT */
/*
 * What a walker sees while tables change. The host makes stores visible late and out of order; an
 * observer walks after each of them. Whenever it looks, an IOVA leads where it led before the call
 * or where it leads after, and nowhere else; after the call only there. SEED=N replays.
 */
#include "pt_tools.h"

#include <granule/err.h>

#include "pt/pt_internal.h"

#include <stdlib.h>

#define SEEDS 16u      /* of the runs in which all must hold */
#define SEEDS_MAX 1000 /* tried until a missing barrier shows */
#define TABLES 3u
#define PER_TABLE 6u
#define WATCHED (TABLES * PER_TABLE)

struct target {
    bool valid;
    uint64_t pa;
    unsigned prot;
};

struct stage {
    const struct gr_pt_config *c;
    struct host *h;
    struct gr_pt pt;
    struct gr_pt_gather gather;
    uint64_t base; /* IOVA of the first of TABLES leaf tables' spans */
    uint64_t g, span;
    gr_iova_t iova[WATCHED];
    struct target old[WATCHED], new[WATCHED];
    gr_pa_t table[TABLES]; /* before the call, 0: none */
    uint64_t mood;         /* of the observer */
    unsigned looks, bad;
    char why[160];
};

enum kind {
    INIT,
    MAP,
    LIST, /* a map of one run for each granule, with one cursor */
    UNMAP,
    RETIRE, /* unmap with all three spans as the retire range */
    TRIM,
};

/* Lengths of what LPAE makes one entry or marks as one; a step with one is LPAE's alone. */
enum { BLOCK = 1000000, GROUP };

/* In granules from an edge: of the first table's span with the second's, the second's with ... */
struct op {
    const char *name;
    enum kind kind;
    unsigned edge; /* 0: the start of the first span */
    int from;
    unsigned n;
    int ret;       /* of a map */
    unsigned done; /* granules */
};

static const struct op script[] = {
    {"init", INIT, 0, 0, 0, 0, 0},
    {"map that needs two tables", MAP, 1, -2, 4, 0, 4},
    {"map into a table that exists", MAP, 0, 0, 3, 0, 3},
    {"map that needs one table after one that exists", MAP, 2, -2, 3, 0, 3},
    {"map that collides in its first table", MAP, 1, -4, 6, GR_EEXIST, 2},
    {"map that collides in its second table", MAP, 2, -5, 6, GR_EEXIST, 3},
    {"unmap over two tables", UNMAP, 1, -4, 5, 0, 0},
    {"unmap of the rest of the first table", UNMAP, 0, 0, 3, 0, 0},
    {"trim of the first table", TRIM, 0, 0, 1, 0, 0},
    {"map that makes the first table anew", MAP, 1, -2, 2, 0, 2},
    {"unmap of what the third table maps", UNMAP, 2, 0, 1, 0, 0},
    {"unmap of most of the second table", UNMAP, 2, -5, 5, 0, 0},
    {"unmap that retires two tables", RETIRE, 1, -2, 4, 0, 0},
    {"map into the third table again", MAP, 2, 0, 1, 0, 1},
    {"unmap that retires the third table", RETIRE, 2, 0, 1, 0, 0},
    {"map after all was retired", MAP, 1, -1, 2, 0, 2},
    {"unmap that retires these", RETIRE, 1, -1, 2, 0, 0},
    {"map of a block", MAP, 1, 0, BLOCK, 0, BLOCK},
    {"unmap of a block", UNMAP, 1, 0, BLOCK, 0, 0},
    {"map where a block was", MAP, 1, 0, 3, 0, 3},
    {"map of a group", MAP, 2, -GROUP, GROUP, 0, GROUP},
    {"unmap of a group", UNMAP, 2, -GROUP, GROUP, 0, 0},
    {"unmap that retires the table", RETIRE, 1, 0, 3, 0, 0},
    {"list that needs two tables", LIST, 1, -2, 4, 0, 4},
    {"list that needs one table after one that exists", LIST, 2, -2, 3, 0, 3},
    {"list that collides", LIST, 1, -4, 6, GR_EEXIST, 2},
};

#define OPS (sizeof(script) / sizeof(script[0]))

#define SHAPES (GEOMETRIES + DEEP_GEOMETRIES)

static uint64_t seed;

static const struct geometry *geometry(size_t i)
{
    return i < GEOMETRIES ? &geometries[i] : &deep_geometries[i - GEOMETRIES];
}

/* Has the format what a step needs? */
static bool applies(const struct op *op, const struct gr_pt_config *c)
{
    return op->n < BLOCK || group_lg2(c);
}

static int granules(const struct stage *s, int n)
{
    if (n == BLOCK)
        return (int)(s->span / s->g);
    if (n == GROUP || n == -GROUP)
        return (n < 0 ? -1 : 1) * (1 << group_lg2(s->c));
    return n;
}

static void complain(struct stage *s, const char *what, gr_iova_t iova)
{
    if (!s->bad++)
        (void)snprintf(s->why, sizeof(s->why), "%s: IOVA 0x%" PRIx64, what, iova);
}

static bool matches(const struct seen *seen, const struct target *target)
{
    if (seen->valid != target->valid)
        return false;
    return !seen->valid || (seen->pa == target->pa && seen->prot == target->prot && seen->whole);
}

/* A walker from the top, and one that holds a pointer to a table from before the call. */
static void look_at(struct stage *s, unsigned i)
{
    struct seen seen = hardware_walk(s->h, s->c, s->pt.root_pa, s->iova[i]);
    const gr_pa_t table = s->table[i / PER_TABLE];
    uint64_t entry = 0;

    if (seen.broken)
        complain(s, "a walk leaves the tables", s->iova[i]);
    else if (!matches(&seen, &s->old[i]) && !matches(&seen, &s->new[i]))
        complain(s, "neither the old nor the new translation", s->iova[i]);
    if (!table)
        return;
    if (!host_table_read64(s->h, table + leaf_offset(s->c, s->iova[i]), &entry)) {
        complain(s, "a table was freed", s->iova[i]);
        return;
    }
    decode_leaf(s->c, entry, &seen);
    if (seen.valid && !matches(&seen, &s->old[i]) && !matches(&seen, &s->new[i]))
        complain(s, "through a table from before: neither old nor new", s->iova[i]);
}

/*
 * Walks make stores visible, so an observer that always looked everywhere would leave nothing to
 * see: sometimes it does not look, sometimes at a little, sometimes at all.
 */
static void look(void *arg)
{
    struct stage *const s = arg;
    const uint64_t dice = chance_next(&s->mood);
    const unsigned start = (unsigned)(dice >> 8) % WATCHED;
    const unsigned n = dice % 4 == 0 ? WATCHED : dice % 4 == 1 ? (unsigned)(dice >> 16) % 4 : 0;

    for (unsigned i = 0; i < n; i++)
        look_at(s, (start + i) % WATCHED);
    s->looks += n;
}

/* The leaf table of a span as the CPU sees it, or as a walker does; 0: none. */
static gr_pa_t table_now(const struct stage *s, unsigned i, bool cpu)
{
    const gr_iova_t iova = s->base + i * s->span;
    gr_pa_t at = top_entry(s->c, s->pt.root_pa, iova);

    for (unsigned level = s->c->levels - 1u;;) {
        uint64_t entry = 0;

        if (cpu)
            entry = *(const uint64_t *)host_ptr(s->h, at, 8);
        else if (!host_table_read64(s->h, at, &entry))
            return s->table[i]; /* through what is no table: as bad */
        if (!is_table(s->c, entry))
            return 0;
        at = entry_address(s->c, entry);
        if (!--level)
            return at;
        at += 8 * (iova >> (s->c->granule_lg2 + level * (s->c->granule_lg2 - 3u)) &
                   bits(s->c->granule_lg2 - 3u));
    }
}

/* Nothing leads to a table that was taken out, and nothing in it is valid. */
static void settled_table(struct stage *s, unsigned t)
{
    const gr_iova_t iova = s->base + t * s->span;
    const uint64_t start = leaf_offset(s->c, s->iova[chance_next(&s->mood) % WATCHED]);
    uint64_t entry = 0;

    if (!s->table[t] || table_now(s, t, true) == s->table[t])
        return;
    if (table_now(s, t, false) == s->table[t])
        complain(s, "a retired table can be reached", iova);
    for (uint64_t off = 0; off < s->g; off += 8) {
        const uint64_t at = (start + off) % s->g;

        if (!host_table_read64(s->h, s->table[t] + at, &entry) || (entry & 1))
            complain(s, "a retired table holds a valid entry", iova + at / 8 * s->g);
    }
}

/*
 * Once the call has returned: exactly the new state. Every read may make a store visible, so the
 * order is drawn.
 */
static void settled(struct stage *s)
{
    unsigned start = (unsigned)(chance_next(&s->mood) % WATCHED);
    const unsigned first_table = (unsigned)(chance_next(&s->mood) % TABLES);
    const bool tables_first = chance_next(&s->mood) & 1;

    for (unsigned k = 0; k < WATCHED; k++) { /* from one that changed, if any did */
        const unsigned i = (start + k) % WATCHED;

        if (s->old[i].valid != s->new[i].valid) {
            start = i;
            break;
        }
    }
    for (unsigned t = 0; tables_first && t < TABLES; t++)
        settled_table(s, (first_table + t) % TABLES);
    for (unsigned k = 0; k < WATCHED; k++) {
        const unsigned i = (start + k) % WATCHED;
        const struct seen seen = hardware_walk(s->h, s->c, s->pt.root_pa, s->iova[i]);

        if (seen.broken || !matches(&seen, &s->new[i]))
            complain(s, "stale after the call", s->iova[i]);
    }
    for (unsigned t = 0; !tables_first && t < TABLES; t++)
        settled_table(s, (first_table + t) % TABLES);
}

static void set_stage(struct stage *s, const struct gr_pt_config *c, uint64_t rng)
{
    *s = (struct stage){.c = c, .mood = rng, .g = UINT64_C(1) << c->granule_lg2};
    s->span = s->g << (c->granule_lg2 - 3);
    s->base =
        (bits(c->va_bits) + 1) / 2 - s->span; /* over the middle: two top tables if there are */
    s->h = machine_of(1, rng, c->coherent);
    for (unsigned i = 0; i < WATCHED; i++) {
        static const int at[PER_TABLE] = {0, 1, 2, -3, -2, -1};
        const int k = at[i % PER_TABLE];
        const uint64_t start = s->base + i / PER_TABLE * s->span;

        s->iova[i] = k < 0 ? start + s->span - (unsigned)-k * s->g : start + (unsigned)k * s->g;
    }
}

/* What the watched IOVAs lead to after the first `n` granules from `iova` changed. */
static void foresee(struct stage *s, const struct op *op, gr_iova_t iova, unsigned n,
                    const struct target *to)
{
    memcpy(s->new, s->old, sizeof(s->new));
    if (op->kind == TRIM || op->kind == INIT)
        return;
    for (unsigned i = 0; i < WATCHED; i++) {
        if (s->iova[i] - iova >= n * s->g)
            continue;
        s->new[i] = *to;
        s->new[i].pa += to->valid ? s->iova[i] - iova : 0;
    }
    for (unsigned t = 0; t < TABLES; t++)
        s->table[t] = table_now(s, t, true);
}

/* One granule for each run; every second call gets two of them. */
static void map_list(struct stage *s, const struct op *op, gr_iova_t iova, const struct target *to)
{
    struct gri_pt_cursor cursor = {.pt = &s->pt, .prot = to->prot, .end = iova};
    int ret = 0;

    for (unsigned i = 0; !ret && i < op->n; i += 2) {
        const struct gr_seg segs[] = {{to->pa + i * s->g, s->g}, {to->pa + (i + 1) * s->g, s->g}};

        ret = gri_pt_map_segs(&cursor, iova + i * s->g, segs, i + 1 < op->n ? 2 : 1);
    }
    gri_pt_map_end(&cursor);
    assert_int_equal(ret, op->ret);
    assert_true(cursor.end == iova + op->done * s->g);
}

static void perform(struct stage *s, const struct op *named, uint64_t *rng)
{
    const struct op own = {named->name,
                           named->kind,
                           named->edge,
                           granules(s, named->from),
                           (unsigned)granules(s, (int)named->n),
                           named->ret,
                           (unsigned)granules(s, (int)named->done)};
    const struct op *const op = &own;
    const gr_iova_t iova = s->base + op->edge * s->span + (uint64_t)(int64_t)op->from * s->g;
    const struct gr_range spans = {s->base, s->base + TABLES * s->span - 1};
    const struct target to = {
        .valid = op->kind == MAP || op->kind == LIST,
        .pa = (1 + chance_next(rng) % 1000) * (named->n < BLOCK ? 4 : op->n) * s->g,
        .prot = kept_prot(s->c, 1 + (unsigned)(chance_next(rng) % 3)),
    };
    uint64_t done = 0;

    if (op->kind == INIT) {
        assert_int_equal(gr_pt_init(&s->pt, s->h, s->c), 0);
        return;
    }
    for (unsigned t = 0; t < TABLES; t++)
        s->table[t] = table_now(s, t, true);
    foresee(s, op, iova, to.valid ? op->done : op->n, &to);
    host_set_observer(s->h, look, s);
    switch (op->kind) {
    case MAP:
        assert_int_equal(gr_pt_map(&s->pt, iova, to.pa, op->n * s->g, to.prot, &done), op->ret);
        assert_true(done == op->done * s->g);
        break;
    case LIST:
        map_list(s, op, iova, &to);
        break;
    case UNMAP:
        assert_int_equal(gr_pt_unmap(&s->pt, iova, op->n * s->g, NULL, &s->gather), 0);
        gr_port_wmb(); /* the caller's */
        break;
    case RETIRE:
        assert_int_equal(gr_pt_unmap(&s->pt, iova, op->n * s->g, &spans, &s->gather), 0);
        gr_port_wmb();
        assert_true(s->gather.count);
        break;
    case TRIM:
        assert_int_equal(gr_pt_trim(&s->pt, iova, op->n * s->g, &s->gather), 0);
        gr_port_wmb();
        assert_in_range(s->gather.count, 1, s->c->levels - 1); /* and those above that are empty */
        break;
    case INIT:
    default:
        fail();
    }
    host_set_observer(s->h, NULL, NULL);
}

/* One step of the script, watched; the retired tables are freed after it. */
static void step(struct stage *s, const struct op *op, uint64_t *rng)
{
    if (!applies(op, s->c))
        return;
    perform(s, op, rng);
    settled(s);
    gr_pt_gather_free(&s->pt, &s->gather);
    memcpy(s->old, s->new, sizeof(s->old));
}

static struct gr_pt_config shape(size_t i, bool coherent)
{
    struct gr_pt_config c = geometry(i)->config;

    c.coherent = coherent;
    return c;
}

static void all_holds(bool coherent)
{
    unsigned looks = 0;

    for (size_t i = 0; i < SHAPES; i++) {
        const struct gr_pt_config c = shape(i, coherent);

        for (uint64_t k = 0; k < SEEDS; k++) {
            uint64_t rng = seed + k;
            struct stage s;

            set_stage(&s, &c, seed + k);
            for (size_t j = 0; j < OPS; j++) {
                step(&s, &script[j], &rng);
                if (s.bad)
                    fail_msg("%s, SEED=%" PRIu64 ", %s: %s", geometry(i)->name, seed + k,
                             script[j].name, s.why);
            }
            looks += s.looks;
            gr_pt_fini(&s.pt);
            finish(s.h);
        }
    }
    print_message("%u looks\n", looks);
    assert_true(looks > SHAPES * SEEDS * 100);
}

static void coherent_walks(void **state)
{
    (void)state;
    all_holds(true);
}

static void noncoherent_walks(void **state)
{
    (void)state;
    all_holds(false);
}

/*
 * Run the script up to step `last`, in which the k-th call of `what` is ignored: what goes wrong?
 * *out_calls: how many there were. Memory is not checked: the walkers are meant to get lost.
 */
static unsigned without(const struct gr_pt_config *c, size_t last, unsigned what, uint64_t k,
                        uint64_t rng, uint64_t *out_calls)
{
    uint64_t place = rng;
    struct stage s;
    uint64_t before;

    set_stage(&s, c, rng);
    for (size_t j = 0; j < last; j++)
        step(&s, &script[j], &place);
    assert_int_equal(s.bad, 0);
    before = host_calls(s.h, what);
    host_ignore(s.h, what, k);
    perform(&s, &script[last], &place);
    *out_calls = host_calls(s.h, what) - before;
    host_ignore(s.h, what, 0);
    settled(&s);
    gr_pt_gather_free(&s.pt, &s.gather);
    gr_pt_fini(&s.pt);
    (void)host_destroy(s.h);
    return s.bad;
}

/* No call of `what` can be left out of any step, but that some walker sees it. */
static void each_one_matters(size_t i, unsigned what, bool coherent)
{
    const struct gr_pt_config c = shape(i, coherent);
    unsigned tried = 0;

    for (size_t j = 0; j < OPS; j++) {
        uint64_t calls = 1;

        if (what == HOST_CLEAN && script[j].kind == LIST)
            continue; /* runs share cache lines, so that one clean covers another's */
        if (what == HOST_CLEAN && script[j].kind == TRIM && c.levels > 2)
            continue; /* the entry is in a table that goes as well */
        if (!applies(&script[j], &c))
            continue;
        for (uint64_t k = 1; k <= calls; k++) {
            bool shown = false;

            for (uint64_t n = 0; !shown && n < SEEDS_MAX; n++)
                shown = without(&c, j, what, k, seed + n, &calls) != 0;
            if (!calls)
                fail_msg("%s: none at all", script[j].name);
            if (!shown)
                fail_msg("%s, %s: number %" PRIu64 " of %" PRIu64 " left out, and nothing shows",
                         geometry(i)->name, script[j].name, k, calls);
            tried++;
        }
    }
    print_message("%s: %u left out, one by one\n", geometry(i)->name, tried);
}

/* Both sizes of DART's tables, all three of LPAE's, and deep ones. */
static const size_t thorough[] = {1, 8, 9, 11, 12, GEOMETRIES, GEOMETRIES + 1};

static void barriers_matter(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(thorough) / sizeof(thorough[0]); i++)
        each_one_matters(thorough[i], HOST_BARRIER, true);
}

static void cleans_matter(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(thorough) / sizeof(thorough[0]); i++)
        each_one_matters(thorough[i], HOST_CLEAN, false);
}

/* Where the walker snoops, not one cache operation is made. */
static void no_clean_where_coherent(void **state)
{
    const struct gr_pt_config c = shape(0, true);
    uint64_t rng = seed;
    struct stage s;

    (void)state;
    set_stage(&s, &c, seed);
    for (size_t j = 0; j < OPS; j++)
        step(&s, &script[j], &rng);
    gr_pt_fini(&s.pt);
    assert_true(host_calls(s.h, HOST_CLEAN | HOST_INVAL) == 0);
    finish(s.h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coherent_walks),          cmocka_unit_test(noncoherent_walks),
        cmocka_unit_test(barriers_matter),         cmocka_unit_test(cleans_matter),
        cmocka_unit_test(no_clean_where_coherent),
    };

    seed = chance_seed_or("pt_visible", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
