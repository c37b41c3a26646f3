/* SPDX-License-Identifier: MIT */
/*
 * One table, several CPUs: calls on disjoint IOVAs that need the same missing tables, and calls
 * that retire tables beside others that make some. First every schedule that two threads can have
 * (interleave.h), then threads that run as they like, which ThreadSanitizer watches. SEED=N is for
 * what each thread does, not for their order; SCHEDULE= as a failure prints it replays that one.
 */
#include "pt_tools.h"

#include <granule/err.h>

#include "interleave.h"
#include "rounds.h"

#include <stdatomic.h>
#include <stdlib.h>

#define WORKERS 4u
#define ROUNDS rounds_of(6)
#define OPS 300u

static uint64_t seed;

/* One thread runs at a time in a schedule, where TSan sees no race that others would not find. */
#define PREEMPTIONS (ROUNDS_TSAN || GR_CFG_DEBUG ? 2 : 3)

#define SHAPES RACED_GEOMETRIES

struct stage {
    struct gr_pt_config c;
    struct host *h;
    struct gr_pt pt;
    uint64_t g, span; /* of a leaf table */
};

static void open_stage(struct stage *s, unsigned shape, bool coherent, uint64_t rng)
{
    const struct gr_pt_config *const c = &raced_geometries[shape].config;

    *s = (struct stage){.c = *c, .g = UINT64_C(1) << c->granule_lg2};
    s->c.coherent = coherent;
    s->span = s->g << (s->c.granule_lg2 - 3);
    s->h = machine_of(8, rng, coherent);
    if (gr_pt_init(&s->pt, s->h, &s->c))
        fail_msg("no tables");
}

static void close_stage(struct stage *s)
{
    gr_pt_fini(&s->pt);
    assert_int_equal(host_leaks(s->h), 0);
    finish(s->h);
}

/* Where a granule's IOVA should lead; as aligned as the IOVA, so that a whole span may be a block.
 */
static gr_pa_t target(const struct stage *s, gr_iova_t iova)
{
    return (iova + 77 * s->span) & bits(s->c.pa_bits) & ~(s->g - 1);
}

/* What a device finds, once the map has returned. */
static bool leads(struct stage *s, gr_iova_t iova)
{
    const struct seen seen = hardware_walk(s->h, &s->c, s->pt.root_pa, iova);

    return !seen.broken && seen.valid && seen.pa == target(s, iova) && seen.prot == RW;
}

static bool absent(struct stage *s, gr_iova_t iova)
{
    const struct seen seen = hardware_walk(s->h, &s->c, s->pt.root_pa, iova);

    return !seen.broken && !seen.valid;
}

/* ---- every schedule ---- */

struct scenario {
    const char *name;
    gr_iova_t (*at)(const struct stage *s, unsigned who);
    unsigned fails;  /* the n-th allocation; 0: none */
    unsigned leaves; /* leaf tables in the end, where nothing fails */
    unsigned retire; /* how many have mapped before, and unmap with a table's span to retire */
    bool block;      /* A maps, or has mapped, all of that span: LPAE's alone */
};

struct race {
    struct stage stage;
    const struct scenario *scenario;
    int ret[2];
};

static gr_iova_t neighbours(const struct stage *s, unsigned who)
{
    return who * s->g;
}

static gr_iova_t two_tables(const struct stage *s, unsigned who)
{
    return who * s->span + s->g;
}

static gr_iova_t spans(const struct stage *s, unsigned who)
{
    return who * s->span;
}

/* On both sides of an edge between two tables. */
static gr_iova_t edge(const struct stage *s, unsigned who)
{
    return s->span - !who * s->g;
}

static const struct scenario scenarios[] = {
    {"two maps below one missing table", neighbours, 0, 1, 0, false},
    {"two maps in two missing tables", two_tables, 0, 2, 0, false},
    {"the first allocation fails", neighbours, 1, 1, 0, false},
    {"the second allocation fails", two_tables, 2, 2, 0, false},
    {"a retirement beside a map", two_tables, 0, 1, 1, false},
    {"two retirements side by side", edge, 0, 0, 2, false},
    {"a block beside a map", spans, 0, 1, 0, true},
    {"an unmapped block beside a map", spans, 0, 1, 1, true},
};

#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

static uint64_t length(const struct race *r, unsigned who)
{
    return r->scenario->block && !who ? r->stage.span : r->stage.g;
}

static void race_map(struct race *r, unsigned who)
{
    struct stage *const s = &r->stage;
    const gr_iova_t iova = r->scenario->at(s, who);
    uint64_t done = 1;

    r->ret[who] = gr_pt_map(&s->pt, iova, target(s, iova), length(r, who), RW, &done);
    if (r->ret[who] && (r->ret[who] != GR_ENOMEM || done || !r->scenario->fails))
        il_fail("%c: %s", il_letter(who), gr_strerror(r->ret[who]));
    else if (!r->ret[who] && !leads(s, iova))
        il_fail("%c: the map has returned, and a device does not see it", il_letter(who));
}

static void race_retire(struct race *r, unsigned who)
{
    struct stage *const s = &r->stage;
    const gr_iova_t iova = r->scenario->at(s, who);
    const struct gr_range own = {iova & ~(s->span - 1), iova | (s->span - 1)};
    struct gr_pt_gather gather = {0};

    if (gr_pt_unmap(&s->pt, iova, length(r, who), &own, &gather))
        il_fail("%c: no unmap", il_letter(who));
    gr_port_wmb();
    if (gather.count != !r->scenario->block || !absent(s, iova))
        il_fail("%c: %" PRIu64 " tables retired", il_letter(who), gather.count);
    gr_pt_gather_free(&s->pt, &gather);
}

static void race_op(void *arg, unsigned who)
{
    struct race *const r = arg;

    if (who < r->scenario->retire)
        race_retire(r, who);
    else
        race_map(r, who);
}

/* While they run, devices walk: into nothing that is not a table. */
static void race_watch(void *arg)
{
    struct race *const r = arg;

    for (unsigned who = 0; who < 2; who++) {
        const struct seen seen = hardware_walk(r->stage.h, &r->stage.c, r->stage.pt.root_pa,
                                               r->scenario->at(&r->stage, who));

        if (seen.broken || (seen.valid && seen.prot != RW))
            il_fail("a walker is lost");
    }
}

static void race_check(struct race *r, unsigned shape)
{
    struct stage *const s = &r->stage;
    const unsigned failed = (r->ret[0] ? 1u : 0u) + (r->ret[1] ? 1u : 0u);
    const uint64_t roots = UINT64_C(1) << s->pt.roots_lg2;
    const uint64_t others = roots + s->c.levels - 2;
    const uint64_t bytes = (s->pt.tables - roots) * s->g + (UINT64_C(1) << s->pt.root_lg2);

    for (unsigned who = r->scenario->retire; who < 2; who++) {
        const gr_iova_t iova = r->scenario->at(s, who);

        if (r->ret[who] ? !absent(s, iova) : !leads(s, iova))
            il_fail("in the end %c's IOVA leads elsewhere", il_letter(who));
    }
    if (failed > 1 || (!failed && s->pt.tables != others + r->scenario->leaves))
        il_fail("shape %u: %u failed, %" PRIu64 " tables", shape, failed, s->pt.tables);
    if ((uint64_t)host_leaks(s->h) != bytes / 4096)
        il_fail("%d pages for %" PRIu64 " tables", host_leaks(s->h), s->pt.tables);
}

static void every_schedule(const struct scenario *scenario, unsigned shape, bool coherent)
{
    const char *const replay = getenv("SCHEDULE");
    const char *const path = replay ? strchr(replay, ':') : NULL;
    char name[96];
    unsigned n = 0;

    (void)snprintf(name, sizeof(name), "%s, shape %u, %s", scenario->name, shape,
                   coherent ? "coherent" : "not coherent");
    if (path && (strncmp(replay, name, strlen(name)) != 0 || replay[strlen(name)] != ':'))
        return;
    il_begin(name, PREEMPTIONS, path ? path + 1 : NULL);
    do {
        struct race r = {.scenario = scenario};
        uint64_t done;

        open_stage(&r.stage, shape, coherent, seed + n);
        for (unsigned who = 0; who < scenario->retire; who++) {
            const gr_iova_t iova = scenario->at(&r.stage, who);

            assert_int_equal(
                gr_pt_map(&r.stage.pt, iova, target(&r.stage, iova), length(&r, who), RW, &done),
                0);
        }
        if (scenario->fails)
            host_fail_alloc(r.stage.h, scenario->fails);
        *il.failure = '\0';
        il_run(race_op, race_op, race_watch, &r);
        race_check(&r, shape);
        if (*il.failure) {
            il_say_schedule();
            fail_msg("%s: %s", name, il.failure);
        }
        host_fail_alloc(r.stage.h, 0);
        close_stage(&r.stage);
        n++;
    } while (!path && il_next());
    print_message("%s: %u schedules\n", name, n);
    il.name = NULL;
}

static void creation_races(void **state)
{
    (void)state;
    (void)snprintf(il.seed, sizeof(il.seed), "%" PRIu64, seed);
    il_start();
    for (unsigned i = 0; i < SCENARIOS; i++) {
        for (unsigned shape = 0; shape < SHAPES; shape++) {
            const bool lpae = is_lpae(&raced_geometries[shape].config);

            /* Blocks are LPAE's, and so is what an edge might cut; the rest is as with the others.
             */
            if (lpae ? !scenarios[i].block && scenarios[i].retire < 2 : scenarios[i].block)
                continue;
            every_schedule(&scenarios[i], shape, true);
            every_schedule(&scenarios[i], shape, false);
        }
    }
    il_stop();
}

/* ---- as they like ---- */

struct worker {
    struct stage *s;
    pthread_t thread;
    pthread_barrier_t *start;
    uint64_t rng;
    unsigned id;
    atomic_uint *bad;
};

/* Granules that nobody else has, in three leaf tables that all have: number n of worker id. */
static gr_iova_t shared_iova(const struct worker *w, unsigned n)
{
    const uint64_t per_table = w->s->span / w->s->g / WORKERS;

    return (n % 3) * w->s->span + (n / 3 % per_table * WORKERS + w->id) * w->s->g;
}

static bool map_one(struct worker *w, gr_iova_t iova)
{
    uint64_t done;

    return !gr_pt_map(&w->s->pt, iova, target(w->s, iova), w->s->g, RW, &done) &&
           leads(w->s, iova) && !gr_pt_check_mapped(&w->s->pt, iova, w->s->g);
}

/* A leaf table of its own comes and goes, beside the others' in the table above. */
static bool come_and_go(struct worker *w)
{
    const gr_iova_t first = (8 + w->id) * w->s->span;
    const struct gr_range own = {first, first + w->s->span - 1};
    struct gr_pt_gather gather = {0};
    bool good = map_one(w, first) && map_one(w, first + w->s->span - w->s->g);

    good = good && !gr_pt_unmap(&w->s->pt, first, w->s->span, &own, &gather) && gather.count == 1;
    gr_port_wmb();
    good = good && absent(w->s, first);
    gr_pt_gather_free(&w->s->pt, &gather);
    return good && gr_pt_tables(&w->s->pt) >= 1;
}

static void *work(void *arg)
{
    struct worker *const w = arg;
    bool mapped[OPS] = {false};

    (void)pthread_barrier_wait(w->start);
    for (unsigned i = 0; i < OPS; i++) {
        const unsigned n = (unsigned)(chance_next(&w->rng) % OPS);
        const gr_iova_t iova = shared_iova(w, n);
        struct gr_pt_walk walk;
        bool good;

        if (chance_next(&w->rng) % 8 == 0) {
            good = come_and_go(w);
        } else if (!mapped[n]) {
            good = map_one(w, iova) && !gr_pt_walk(&w->s->pt, iova + 1, &walk) &&
                   walk.pa == target(w->s, iova) + 1;
            mapped[n] = true;
        } else {
            good = !gr_pt_unmap(&w->s->pt, iova, w->s->g, NULL, NULL);
            gr_port_wmb();
            good = good && absent(w->s, iova) &&
                   gr_pt_check_mapped(&w->s->pt, iova, w->s->g) == GR_ENOENT;
            mapped[n] = false;
        }
        if (!good)
            atomic_fetch_add(w->bad, 1);
    }
    return NULL;
}

static void threads_of(unsigned shape, bool coherent)
{
    const unsigned rounds = ROUNDS;

    for (unsigned round = 0; round < rounds; round++) {
        struct worker worker[WORKERS];
        pthread_barrier_t start;
        atomic_uint bad = 0;
        struct stage s;

        open_stage(&s, shape, coherent, seed + round);
        pthread_barrier_init(&start, NULL, WORKERS);
        for (unsigned i = 0; i < WORKERS; i++) {
            worker[i] = (struct worker){
                .s = &s, .start = &start, .rng = seed * WORKERS + i, .id = i, .bad = &bad};
            assert_int_equal(pthread_create(&worker[i].thread, NULL, work, &worker[i]), 0);
        }
        for (unsigned i = 0; i < WORKERS; i++)
            assert_int_equal(pthread_join(worker[i].thread, NULL), 0);
        pthread_barrier_destroy(&start);
        assert_int_equal(atomic_load(&bad), 0);
        assert_true(s.pt.tables == (UINT64_C(1) << s.pt.roots_lg2) + s.c.levels - 2 + 3);
        close_stage(&s);
    }
}

static void threads(void **state)
{
    (void)state;
    for (unsigned shape = 0; shape < SHAPES; shape++) {
        threads_of(shape, true);
        threads_of(shape, false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads),
        cmocka_unit_test(creation_races), /* last, because it stays on one CPU */
    };

    seed = chance_seed_or("pt_threads", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
