/* SPDX-License-Identifier: MIT */
/*
 * One IOVA space, several CPUs: each allocates, frees what is its own and what others gave it, runs
 * into a full space, moves to another CPU, or shares one. A map of the units says who has each, and
 * in the end nothing is missing. ThreadSanitizer watches. SEED=N is for what each thread does, not
 * for their order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <host.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "iova_tools.h"

#define K4 UINT64_C(4096)
#define UNITS (1u << 14) /* arenas of 64 units, and not many: allocations fail */
#define WORKERS 4u
#define OPS 12000u
#define LIVE 640u
#define POST 64u
#define HELD 0xff

static uint64_t seed;

struct range {
    gr_iova_t at;
    uint64_t size; /* 0: none */
    struct gr_range held;
    bool begun;
};

struct stage {
    struct host *host;
    struct gr_iova space;
    pthread_barrier_t start;
    pthread_mutex_t lock; /* of the post */
    struct range post[POST];
    unsigned posted;
    unsigned cpus;           /* 0: each thread its own */
    atomic_uchar who[UNITS]; /* 0: nobody */
    atomic_uint failed;      /* allocations */
    atomic_uint bad;
};

struct worker {
    struct stage *s;
    pthread_t thread;
    uint64_t rng;
    unsigned id;
    struct range live[LIVE];
    unsigned count;
};

static unsigned below(struct worker *w, unsigned n)
{
    return (unsigned)chance_below(&w->rng, n);
}

static void expect(struct worker *w, bool good)
{
    if (!good)
        atomic_fetch_add(&w->s->bad, 1);
}

/* Units [at, at + size) were `from`'s, and are `to`'s; but for those of `but`, which are held. */
static void pass(struct worker *w, uint64_t at, uint64_t last, unsigned from, unsigned to,
                 const struct range *but)
{
    for (uint64_t i = at / K4; i <= last / K4; i++) {
        if (but && i * K4 - but->at < but->size)
            continue;
        expect(w, atomic_exchange(&w->s->who[i], (unsigned char)to) == from);
    }
}

static void alloc(struct worker *w)
{
    struct gr_iova_req req = {.size = (1 + below(w, below(w, 16) ? 16 : 100)) * K4};
    struct range *const r = &w->live[w->count];

    if (!below(w, 8))
        req.align = K4 << below(w, 4);
    if (!below(w, 8))
        req.last = (UNITS / 4 + below(w, 3 * UNITS / 4)) * K4 - 1;
    *r = (struct range){.size = req.size};
    const int rc = gr_iova_alloc(&w->s->space, &req, &r->at);
    if (rc) {
        expect(w, rc == GR_ENOSPC);
        atomic_fetch_add(&w->s->failed, 1);
        return;
    }
    expect(w, !(r->at & (gri_max(req.align, K4) - 1)) &&
                  r->at + req.size - 1 <= (req.last ? req.last : UINT64_MAX));
    pass(w, r->at, r->at + r->size - 1, 0, w->id + 1, NULL);
    w->count++;
}

static void begin(struct worker *w, struct range *r)
{
    expect(w, !gr_iova_check(&w->s->space, r->at, r->size));
    pass(w, r->at, r->at + r->size - 1, w->id + 1, HELD, NULL);
    expect(w, !gr_iova_free_begin(&w->s->space, r->at, r->size, &r->held));
    expect(w, r->held.first <= r->at && r->held.last >= r->at + r->size - 1);
    pass(w, r->held.first, r->held.last, 0, HELD, r);
    r->begun = true;
}

static void finish(struct worker *w, const struct range *r)
{
    struct gr_range held = r->held;
    bool empty = true;

    for (unsigned n = 0; empty; n++) {
        pass(w, held.first, held.last, HELD, 0, NULL);
        empty = gr_iova_free_end(&w->s->space, &held, &held);
        expect(w, n < 2);
        if (empty)
            pass(w, held.first, held.last, 0, HELD, NULL);
    }
}

static void release(struct worker *w, struct range *r)
{
    if (!r->begun && !w->s->space.spans && below(w, 2)) {
        pass(w, r->at, r->at + r->size - 1, w->id + 1, 0, NULL);
        expect(w, !gr_iova_free(&w->s->space, r->at, r->size));
    } else {
        if (!r->begun)
            begin(w, r);
        if (below(w, 8)) { /* or later, or by somebody else */
            finish(w, r);
        } else {
            return;
        }
    }
    *r = w->live[--w->count];
}

/* Give one to whoever comes, or take one. */
static void trade(struct worker *w)
{
    struct stage *const s = w->s;
    struct range *const mine = w->count ? &w->live[below(w, w->count)] : NULL;
    struct range got = {0};

    if (mine && !mine->begun && below(w, 2))
        pass(w, mine->at, mine->at + mine->size - 1, w->id + 1, 0xfe, NULL);
    else if (!mine || !mine->begun || below(w, 2))
        got.size = 1;
    (void)pthread_mutex_lock(&s->lock);
    if (got.size) {
        got = s->posted && w->count < LIVE ? s->post[--s->posted] : (struct range){0};
    } else if (s->posted < POST) {
        s->post[s->posted++] = *mine;
        *mine = w->live[--w->count];
    } else {
        got = *mine;
        *mine = w->live[--w->count];
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (!got.size)
        return;
    if (!got.begun)
        pass(w, got.at, got.at + got.size - 1, 0xfe, w->id + 1, NULL);
    w->live[w->count++] = got;
}

static void *work(void *arg)
{
    struct worker *const w = arg;
    struct stage *const s = w->s;
    struct gr_iova_stats stats;

    (void)pthread_barrier_wait(&s->start);
    if (s->cpus)
        host_set_cpu(w->id % s->cpus);
    for (unsigned i = 0; i < OPS; i++) {
        const unsigned dice = below(w, 64);
        const bool fills = i / 1500 % 2 == 0;

        if (dice == 0) {
            gr_iova_stats(&s->space, &stats);
            expect(w, stats.reserved == 0);
        } else if (dice == 1) { /* somebody's: no answer is wrong, but for a crash */
            (void)!gr_iova_check(&s->space, below(w, UNITS) * K4, (1 + below(w, 4)) * K4);
        } else if (dice == 2 && s->cpus) {
            host_set_cpu(below(w, s->cpus));
        } else if (dice < 12) {
            trade(w);
        } else if (w->count < LIVE && dice < (fills ? 52 : 28)) {
            alloc(w);
        } else if (w->count) {
            release(w, &w->live[below(w, w->count)]);
        }
    }
    (void)pthread_barrier_wait(&s->start);
    for (bool more = true; w->count || more;) {
        (void)pthread_mutex_lock(&s->lock);
        more = s->posted && w->count < LIVE;
        if (more)
            w->live[w->count++] = s->post[--s->posted];
        (void)pthread_mutex_unlock(&s->lock);
        if (more && !w->live[w->count - 1].begun)
            pass(w, w->live[w->count - 1].at,
                 w->live[w->count - 1].at + w->live[w->count - 1].size - 1, 0xfe, w->id + 1, NULL);
        if (w->count)
            release(w, &w->live[w->count - 1]);
    }
    return NULL;
}

static void open_stage(struct stage *s, bool spans, unsigned cpus)
{
    static const uint8_t span_lg2[] = {12 + 6, 12 + 11};
    const struct host_config config = {
        .cpu_page = 4096, .nbanks = 1, .banks = {{.base = 1 << 20, .size = 16 << 20}}};
    char err[200] = "";

    memset(s, 0, sizeof(*s));
    s->cpus = cpus;
    s->host = host_create(&config, err, sizeof(err));
    assert_non_null(s->host);
    assert_int_equal(gr_iova_init(&s->space, s->host, 12, 0, UNITS * K4 - 1), 0);
    if (spans)
        gr_iova_set_spans(&s->space, span_lg2, 2);
    assert_int_equal(s->space.arena_lg2, 6);
    (void)pthread_barrier_init(&s->start, NULL, WORKERS);
    (void)pthread_mutex_init(&s->lock, NULL);
}

/* Nothing is in use, and every unit is back where it came from. */
static void close_stage(struct stage *s)
{
    struct gr_iova_stats stats;

    assert_int_equal(atomic_load(&s->bad), 0);
    gr_iova_stats(&s->space, &stats);
    assert_int_equal(stats.allocations + stats.allocated + stats.held, 0);
    assert_int_equal(stats.available, UNITS * K4);
    assert_int_equal(stats.stranded, gr_iova_drain(&s->space));
    gr_iova_stats(&s->space, &stats);
    assert_int_equal(stats.arenas + stats.stranded, 0);
    assert_int_equal(s->space.root->state, GRI_IOVA_FREE);
    assert_true(s->space.root->units == UNITS);
    gr_iova_fini(&s->space);
    (void)pthread_barrier_destroy(&s->start);
    (void)pthread_mutex_destroy(&s->lock);
    assert_int_equal(host_misuse(s->host), 0);
    assert_int_equal(host_destroy(s->host), 0);
}

static void run(bool spans, unsigned cpus)
{
    static struct stage s;
    static struct worker worker[WORKERS];

    open_stage(&s, spans, cpus);
    for (unsigned i = 0; i < WORKERS; i++) {
        worker[i] = (struct worker){.s = &s, .rng = seed * WORKERS + i, .id = i};
        assert_int_equal(pthread_create(&worker[i].thread, NULL, work, &worker[i]), 0);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_join(worker[i].thread, NULL), 0);
    print_message("%u allocations failed, %" PRIu64 " drains\n", atomic_load(&s.failed),
                  s.space.drains);
    assert_true(atomic_load(&s.failed) > 0);
    close_stage(&s);
}

static void each_its_own_cpu(void **state)
{
    (void)state;
    run(false, 0);
    run(true, 0);
}

/* Two threads use one slot, and threads move. */
static void shared_cpus(void **state)
{
    (void)state;
    run(false, 2);
    run(true, 2);
    run(true, WORKERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_its_own_cpu),
        cmocka_unit_test(shared_cpus),
    };

    seed = chance_seed_or("iova_threads", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
