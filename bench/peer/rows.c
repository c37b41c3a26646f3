/* SPDX-License-Identifier: MIT */
/* What is measured, on any side. */
#include "rows.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define UNITS(bits) ((1ul << ((bits)-12)) - 1)
#define CHUNK_MOST 4096
#define CHUNK_NS 1e5 /* beside which reading the clock is nothing */

/* ---- small things ---- */

static void *take(size_t n, size_t size)
{
    void *const p = calloc(n ? n : 1, size);

    if (!p) {
        fputs("peer: no memory left\n", stderr);
        exit(1);
    }
    return p;
}

static ul next_random(ul *state)
{
    ul x = *state += 0x9e3779b97f4a7c15;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static unsigned random_size(ul *state, enum sizes sizes)
{
    return sizes == SIZES_SMALL ? 1 + (unsigned)(next_random(state) % 32)
                                : 64 + (unsigned)(next_random(state) % 449);
}

static unsigned *random_sizes(ul *state, enum sizes sizes, long n)
{
    unsigned *const a = take((size_t)n, sizeof(*a));

    for (long i = 0; i < n; i++)
        a[i] = random_size(state, sizes);
    return a;
}

static unsigned *random_order(ul *state, long n)
{
    unsigned *const a = take((size_t)n, sizeof(*a));

    for (long i = 0; i < n; i++)
        a[i] = (unsigned)i;
    for (long i = n - 1; i > 0; i--) {
        const ul k = next_random(state) % (ul)(i + 1);
        const unsigned swap = a[i];

        a[i] = a[k];
        a[k] = swap;
    }
    return a;
}

/* The time that this thread ran, so that what else the machine does is not charged to anybody. */
static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Threads that wait for each other do it while time passes for both. */
static double wall(void)
{
    return (double)rt_now_ns();
}

/* How many operations to time at once, after `n` took `ns`. */
static int next_chunk(int n, double ns)
{
    return ns < CHUNK_NS && n < CHUNK_MOST ? 2 * n : n;
}

/* Work that Linux defers runs between timed parts: it is not charged. */
static void run_deferred(void)
{
    while (shim_run_delayed_work())
        ;
}

static void expect(struct cell *c, bool right)
{
    c->checks++;
    c->bad += !right;
}

static void cell_free(struct cell *c)
{
    free(c->at);
    free(c->iova);
    free(c->pa);
    free(c->size);
    free(c->order);
}

/* How often `work`, which took `ns` for `n`, fits into the budget. */
static long rounds_of(const struct cell *c, double ns, long n)
{
    return 1 + (long)(c->budget_ns * (double)n / (ns > 1 ? ns : 1));
}

/* ---- pairs of an allocation and its release ---- */

static void space_fill(struct cell *c, long live)
{
    const long n = live + live / 4;
    unsigned *const size = random_sizes(&c->seed, SIZES_SMALL, n);
    unsigned *const order = random_order(&c->seed, n);
    ul *const at = take((size_t)n, sizeof(*at));

    expect(c, !c->side->allocs(c->space, size, at, n, c->limit));
    c->side->releases(c->space, size, at, order, n - live);
    run_deferred();
    c->n = live;
    c->size = take((size_t)live, sizeof(*c->size));
    c->at = take((size_t)live, sizeof(*c->at));
    for (long i = 0; i < live; i++) {
        c->size[i] = size[order[n - live + i]];
        c->at[i] = at[order[n - live + i]];
    }
    free(size);
    free(order);
    free(at);
}

static void space_empty(struct cell *c)
{
    for (long i = 0; i < c->n; i++) {
        if (c->at[i])
            c->side->release(c->space, c->at[i], c->size[i]);
    }
    c->side->space_end(c->space);
    cell_free(c);
}

#define PAIR_SIZES 4096

static bool pair_make(struct cell *c)
{
    double begin;

    c->limit = UNITS(c->row->bits);
    c->space = c->side->space_make(c->limit);
    space_fill(c, c->row->live);
    c->order = random_sizes(&c->seed, c->row->sizes, PAIR_SIZES);
    expect(c, !c->side->pairs(c->space, c->order, PAIR_SIZES - 1, 20000, c->limit));
    begin = now();
    expect(c, !c->side->pairs(c->space, c->order, PAIR_SIZES - 1, 20000, c->limit));
    c->rounds = rounds_of(c, now() - begin, 20000);
    return true;
}

static double pair_once(struct cell *c)
{
    const double begin = now();

    c->bad += c->side->pairs(c->space, c->order, PAIR_SIZES - 1, c->rounds, c->limit);
    return (now() - begin) / (double)c->rounds;
}

static const struct kind pair_kind = {
    .unit = "ns", .make = pair_make, .once = pair_once, .end = space_empty};

/* ---- churn: a random live one goes, another size comes ---- */

static void churn_plan(struct cell *c, unsigned *which, unsigned *next, int n)
{
    for (int i = 0; i < n; i++) {
        which[i] = (unsigned)(next_random(&c->seed) % (ul)c->n);
        next[i] = random_size(&c->seed, c->row->sizes);
    }
}

static bool churn_make(struct cell *c)
{
    const struct row *const row = c->row;
    const long room = row->percent ? (long)UNITS(row->bits) + 1 : row->live;
    const double stop = now() + 4e9;
    unsigned which[CHUNK_MOST];
    unsigned next[CHUNK_MOST];
    ul used = 0;

    c->limit = UNITS(row->bits);
    c->space = c->side->space_make(c->limit);
    c->size = take((size_t)room, sizeof(*c->size));
    c->at = take((size_t)room, sizeof(*c->at));
    while (c->n < room) {
        const unsigned size = random_size(&c->seed, row->sizes);

        if (row->percent && used + size > (c->limit + 1) / 100 * row->percent)
            break;
        c->at[c->n] = c->side->alloc(c->space, size, c->limit);
        if (!c->at[c->n])
            break;
        c->size[c->n++] = size;
        used += size;
    }
    /* Fewer than asked for: it was full before. A side's own affair below 100 %. */
    if (!c->n || (row->percent && used < (c->limit + 1) / 100 * row->percent * 99 / 100)) {
        space_empty(c);
        return false;
    }
    for (long aged = 0; aged < 3 * c->n && now() < stop; aged += 256) {
        churn_plan(c, which, next, 256);
        c->side->churn(c->space, c->at, c->size, which, next, 256, c->limit);
        if (aged % 8192 == 0)
            shim_run_delayed_work();
    }
    return true;
}

static double churn_once(struct cell *c)
{
    unsigned which[CHUNK_MOST];
    unsigned next[CHUNK_MOST];
    double all = 0;
    long done = 0;
    long failed = 0;
    int n = 64;

    do {
        double ns;

        churn_plan(c, which, next, n);
        ns = now();
        failed += c->side->churn(c->space, c->at, c->size, which, next, n, c->limit);
        ns = now() - ns;
        run_deferred();
        all += ns;
        done += n;
        n = next_chunk(n, ns);
    } while (all < c->budget_ns);
    if (!c->row->percent) /* a space nearly full may refuse */
        expect(c, !failed);
    return all / (double)done;
}

static const struct kind churn_kind = {
    .unit = "ns", .make = churn_make, .once = churn_once, .end = space_empty};

/* ---- an allocation that fails ---- */

/* Every second unit of a 32-bit space is in use, in a space that was full once before. */
static bool fail_make(struct cell *c)
{
    long kept = 0;

    c->limit = UNITS(32);
    c->space = c->side->space_make(c->limit);
    c->at = take(c->limit + 2, sizeof(*c->at));
    c->size = take(c->limit + 2, sizeof(*c->size));
    for (int aged = 0; aged < 2; aged++) {
        unsigned *order;

        c->n = 0;
        while ((c->at[c->n] = c->side->alloc_plain(c->space, 1, c->limit)))
            c->n++;
        if (aged)
            break;
        order = random_order(&c->seed, c->n);
        for (long i = 0; i < c->n; i++)
            c->side->release_plain(c->space, c->at[order[i]], 1);
        free(order);
    }
    expect(c, c->n >= (long)c->limit - 1);
    for (long i = 0; i < c->n; i++) {
        if (c->at[i] & 1) {
            c->side->release_plain(c->space, c->at[i], 1);
        } else {
            c->at[kept] = c->at[i];
            c->size[kept++] = 1;
        }
    }
    c->n = kept;
    return true;
}

static double fail_once(struct cell *c)
{
    double all = 0;
    long done = 0;
    int n = 1;

    do {
        const double begin = now();
        double ns;

        for (int i = 0; i < n; i++) {
            /* Any traffic makes Linux forget that the last one failed. */
            const ul one = c->side->alloc_plain(c->space, 1, c->limit);

            c->side->release_plain(c->space, one, 1);
            c->bad += !one || c->side->alloc(c->space, 2, c->limit);
        }
        ns = now() - begin;
        all += ns;
        done += n;
        n = next_chunk(n, ns);
    } while (all < c->budget_ns);
    c->checks++;
    return all / (double)done;
}

static const struct kind fail_kind = {
    .unit = "ns", .reps = 7, .make = fail_make, .once = fail_once, .end = space_empty};

/* ---- how full a space is when the first allocation fails ---- */

static bool full_make(struct cell *c)
{
    c->limit = UNITS(c->row->bits);
    return true;
}

static double full_once(struct cell *c)
{
    ul used = 0;

    c->space = c->side->space_make(c->limit);
    c->at = take(c->limit + 1, sizeof(*c->at));
    c->size = take(c->limit + 1, sizeof(*c->size));
    for (c->n = 0;; c->n++) {
        c->size[c->n] = random_size(&c->seed, c->row->sizes);
        c->at[c->n] = c->side->alloc(c->space, c->size[c->n], c->limit);
        if (!c->at[c->n])
            break;
        used += c->size[c->n];
    }
    space_empty(c);
    c->at = NULL;
    c->size = NULL;
    return 100.0 * (double)used / (double)(c->limit + 1);
}

static void nothing(struct cell *c)
{
    (void)c;
}

static const struct kind full_kind = {
    .unit = "%", .higher = true, .reps = 3, .make = full_make, .once = full_once, .end = nothing};

/* ---- bookkeeping of a live allocation ---- */

static double memory_once(struct cell *c)
{
    ul before;
    double bytes;

    c->space = c->side->space_make(c->limit);
    before = c->side->memory();
    space_fill(c, c->row->live);
    bytes = (double)(c->side->memory() - before) / (double)c->row->live;
    space_empty(c);
    c->at = NULL;
    c->size = NULL;
    return bytes;
}

static const struct kind memory_kind = {
    .unit = "B", .reps = 3, .make = full_make, .once = memory_once, .end = nothing};

/* ---- page tables ---- */

/* Physical addresses that no large entry and no other page has to do with. */
static ul random_pa(ul *state, enum fmt f, ul bytes)
{
    const ul top = f == FMT_DART16K ? 1ul << 35 : 1ul << 40;
    const ul pa = next_random(state) % (top - bytes) & ~((1ul << fmt_lg2(f)) - 1);

    return pa ? pa : 1ul << fmt_lg2(f);
}

#define PT_BASE 0x10000000ul

/* Single pages: one of every four. Ranges: side by side. All in disorder. */
static void pt_ranges(struct cell *c, long n, long pages, ul base)
{
    const unsigned lg2 = fmt_lg2(c->row->fmt);
    unsigned *const order = random_order(&c->seed, n);
    const ul stride = pages == 1 ? 4 : (ul)pages;

    c->n = n;
    c->iova = take((size_t)n, sizeof(*c->iova));
    c->pa = take((size_t)n, sizeof(*c->pa));
    for (long i = 0; i < n; i++) {
        c->iova[i] = base + (order[i] * stride << lg2);
        c->pa[i] = random_pa(&c->seed, c->row->fmt, (ul)pages << lg2);
    }
    free(order);
}

static long pt_wrong(const struct side *side, void *pt, const struct cell *c, ul page, ul *state)
{
    long bad = 0;

    for (long i = 0; i < c->n; i++) {
        for (long k = 0; k < c->row->n; k++) {
            const ul offset = (ul)k * page + next_random(state) % page;

            bad += side->pt_phys(pt, c->iova[i] + offset) != c->pa[i] + offset;
        }
    }
    return bad;
}

static bool pt_make(struct cell *c)
{
    const ul page = 1ul << fmt_lg2(c->row->fmt);
    const long pages = c->row->n;

    c->pt = c->side->pt_make(c->row->fmt);
    if (!c->pt)
        return false;
    pt_ranges(c, pages == 1 ? 4096 : 16384 / pages, pages, PT_BASE);
    expect(c, !c->side->pt_map(c->pt, c->iova, c->pa, c->n, page, (ul)pages));
    expect(c, !pt_wrong(c->side, c->pt, c, page, &c->seed));
    expect(c, !c->side->pt_unmap(c->pt, c->iova, c->n, page, (ul)pages));
    for (long i = 0; i < c->n; i++)
        expect(c, !c->side->pt_phys(c->pt, c->iova[i]));
    return true;
}

static double pt_time(struct cell *c, bool map)
{
    const ul page = 1ul << fmt_lg2(c->row->fmt);
    double ns = 0;
    long done = 0;

    do {
        double begin = now();

        c->bad += c->side->pt_map(c->pt, c->iova, c->pa, c->n, page, (ul)c->row->n);
        if (map)
            ns += now() - begin;
        begin = now();
        c->bad += c->side->pt_unmap(c->pt, c->iova, c->n, page, (ul)c->row->n);
        if (!map)
            ns += now() - begin;
        done += c->n;
    } while (ns < c->budget_ns);
    return ns / (double)done;
}

static double pt_map_once(struct cell *c)
{
    return pt_time(c, true);
}

static double pt_unmap_once(struct cell *c)
{
    return pt_time(c, false);
}

static void pt_end(struct cell *c)
{
    c->side->pt_end(c->pt);
    cell_free(c);
}

static const struct kind map_kind = {
    .unit = "ns", .make = pt_make, .once = pt_map_once, .end = pt_end};
static const struct kind unmap_kind = {
    .unit = "ns", .make = pt_make, .once = pt_unmap_once, .end = pt_end};

/* ---- lists ---- */

/* Pages in disorder, none beside another. */
static ul *scattered(ul *state, enum fmt f, long n)
{
    enum { ROOM = 65536 };
    unsigned *const order = random_order(state, ROOM);
    ul *const pa = take((size_t)n, sizeof(*pa));

    for (long i = 0; i < n; i++)
        pa[i] = 0x100000000ul + ((ul)order[i] * 2 << fmt_lg2(f));
    free(order);
    return pa;
}

static void list_check(struct cell *c, void *dev, void *list, const ul *pa, long n)
{
    expect(c, c->side->list_map(dev, list, n) > 0);
    expect(c, !c->side->list_bad(dev, list, pa, n));
    c->side->list_unmap(dev, list, n);
    expect(c, c->side->list_bad(dev, list, pa, n) == 2 * n);
}

static bool sg_make(struct cell *c)
{
    const long n = c->row->n;
    const long warm = 1 + 20000 / n;
    double begin;

    rt_invalidation_ns = c->row->hw_ns;
    c->dev = c->side->dev_make(c->row->fmt);
    if (!c->dev)
        return false;
    if (c->row->ring)
        c->ring = c->side->ring_make(c->dev);
    c->pa = scattered(&c->seed, c->row->fmt, n);
    c->list = c->side->list_make(c->pa, n);
    list_check(c, c->dev, c->list, c->pa, n);
    expect(c, !c->side->lists(c->dev, c->list, n, warm));
    begin = now();
    expect(c, !c->side->lists(c->dev, c->list, n, warm));
    c->rounds = rounds_of(c, now() - begin, warm);
    rt_invalidation_ns = 0;
    return true;
}

static double sg_once(struct cell *c)
{
    const ul before = rt_invalidations;
    double ns;

    rt_invalidation_ns = c->row->hw_ns;
    ns = now();
    c->bad += c->side->lists(c->dev, c->list, c->row->n, c->rounds);
    ns = now() - ns;
    rt_invalidation_ns = 0;
    c->invalidations = (rt_invalidations - before) / (ul)c->rounds;
    return ns / (double)c->rounds;
}

static void sg_end(struct cell *c)
{
    c->side->list_end(c->list);
    if (c->ring)
        c->side->ring_end(c->dev, c->ring);
    c->side->dev_end(c->dev);
    cell_free(c);
}

static const struct kind sg_kind = {.unit = "ns", .make = sg_make, .once = sg_once, .end = sg_end};

/* ---- tables that stay when all is unmapped, page by page ---- */

#define TABLES_PAGES 50000

static bool tables_make(struct cell *c)
{
    c->dev = c->side->dev_make(c->row->fmt);
    if (!c->dev)
        return false;
    c->side->dev_end(c->dev);
    return true;
}

static double tables_once(struct cell *c)
{
    void **const list = take(TABLES_PAGES, sizeof(*list));
    unsigned *const order = random_order(&c->seed, TABLES_PAGES);
    double bytes;

    c->dev = c->side->dev_make(c->row->fmt);
    for (long i = 0; i < TABLES_PAGES; i++) {
        const ul pa = random_pa(&c->seed, c->row->fmt, SEG_LEN);

        list[i] = c->side->list_make(&pa, 1);
        expect(c, c->side->list_map(c->dev, list[i], 1) == 1);
        expect(c, !c->side->list_bad(c->dev, list[i], &pa, 1));
    }
    for (long i = 0; i < TABLES_PAGES; i++) {
        c->side->list_unmap(c->dev, list[order[i]], 1);
        c->side->list_end(list[order[i]]);
    }
    bytes = (double)c->side->dev_tables(c->dev);
    c->side->dev_end(c->dev);
    free(list);
    free(order);
    return bytes / 1024;
}

static const struct kind tables_kind = {
    .unit = "KiB", .reps = 3, .make = tables_make, .once = tables_once, .end = nothing};

/* ---- threads on one domain ---- */

enum work { WORK_PAIR_APART, WORK_PAIR, WORK_MAP, WORK_UNMAP, WORK_SG };

struct worker {
    pthread_t thread;
    struct cell *cell;
    int cpu;
    pthread_barrier_t *start;
    int *stop;
    double ops_per_ns;
    bool disturbed; /* it did not have its CPU to itself */
    long bad;
};

static void worker_loop(struct worker *w, struct cell *own, void *list)
{
    const struct cell *const c = w->cell;
    const struct row *const row = c->row;
    const ul page = 1ul << fmt_lg2(row->fmt);
    double ns = 0;
    double ops = 0;
    double begin;
    const double ran = now();
    const double passed = wall();

    do {
        begin = wall();
        if (row->work <= WORK_PAIR) {
            w->bad += c->side->pairs(own->space, own->order, PAIR_SIZES - 1, 1000, c->limit);
            ops += 1000;
        } else if (row->work == WORK_SG) {
            const long rounds = 1 + 1000 / row->n;

            w->bad += c->side->lists(c->dev, list, row->n, rounds);
            ops += (double)rounds;
        } else {
            double between;

            w->bad += c->side->pt_map(c->pt, own->iova, own->pa, own->n, page, (ul)row->n);
            between = wall();
            w->bad += c->side->pt_unmap(c->pt, own->iova, own->n, page, (ul)row->n);
            if (row->work == WORK_MAP)
                begin += wall() - between;
            else
                begin = between;
            ops += (double)own->n;
        }
        ns += wall() - begin;
    } while (!__atomic_load_n(w->stop, __ATOMIC_RELAXED));
    w->ops_per_ns = ops / ns;
    w->disturbed = now() - ran < 0.97 * (wall() - passed);
}

static void *worker_main(void *arg)
{
    struct worker *const w = arg;
    struct cell *const c = w->cell;
    const struct row *const row = c->row;
    struct cell own = {.row = row, .side = c->side, .seed = c->seed + (ul)w->cpu};
    void *list = NULL;
    void *ring = NULL;

    rt_thread_init(w->cpu);
    if (row->work <= WORK_PAIR) {
        own.space = row->work == WORK_PAIR ? c->space : c->side->space_make(c->limit);
        own.order = random_sizes(&own.seed, row->sizes, PAIR_SIZES);
        w->bad += c->side->pairs(own.space, own.order, PAIR_SIZES - 1, 1000, c->limit);
    } else if (row->work == WORK_SG) {
        own.pa = scattered(&own.seed, row->fmt, row->n);
        list = c->side->list_make(own.pa, row->n);
        ring = c->side->ring_make(c->dev);
        w->bad += c->side->lists(c->dev, list, row->n, 100);
    } else {
        const ul page = 1ul << fmt_lg2(row->fmt);

        pt_ranges(&own, 1024, row->n, PT_BASE * (ul)(1 + w->cpu));
        w->bad += c->side->pt_map(c->pt, own.iova, own.pa, own.n, page, (ul)row->n);
        w->bad += pt_wrong(c->side, c->pt, &own, page, &own.seed);
        w->bad += c->side->pt_unmap(c->pt, own.iova, own.n, page, (ul)row->n);
    }
    pthread_barrier_wait(w->start);
    worker_loop(w, &own, list);
    if (ring)
        c->side->ring_end(c->dev, ring);
    if (list)
        c->side->list_end(list);
    if (row->work == WORK_PAIR_APART)
        c->side->space_end(own.space);
    cell_free(&own);
    return NULL;
}

/* Operations in all, each ns, of `threads` at a time, in 30 ms. */
static double threads_try(struct cell *c, int threads, bool *disturbed)
{
    struct worker *const w = take((size_t)threads, sizeof(*w));
    const struct timespec pause = {.tv_nsec = 30000000};
    pthread_barrier_t start;
    double rate = 0;
    int stop = 0;

    pthread_barrier_init(&start, NULL, (unsigned)threads + 1);
    for (int i = 0; i < threads; i++) {
        w[i] = (struct worker){.cell = c, .cpu = i, .start = &start, .stop = &stop};
        if (pthread_create(&w[i].thread, NULL, worker_main, &w[i])) {
            fputs("peer: no thread to be had\n", stderr);
            exit(1);
        }
    }
    pthread_barrier_wait(&start);
    nanosleep(&pause, NULL);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < threads; i++) {
        pthread_join(w[i].thread, NULL);
        rate += w[i].ops_per_ns;
        *disturbed = *disturbed || w[i].disturbed;
        expect(c, !w[i].bad);
    }
    pthread_barrier_destroy(&start);
    free(w);
    return rate;
}

/* Where something else took a CPU meanwhile, another try is better; the last one counts. */
static double threads_rate(struct cell *c, int threads)
{
    double rate = 0;
    bool disturbed = true;

    for (int i = 0; disturbed && i < 8; i++) {
        disturbed = false;
        rate = threads_try(c, threads, &disturbed);
    }
    return rate;
}

static bool threads_make(struct cell *c)
{
    c->limit = UNITS(48);
    if (c->row->threads > rt_cpus)
        return false;
    if (c->row->work <= WORK_PAIR)
        c->space = c->side->space_make(c->limit);
    else if (c->row->work == WORK_SG)
        c->dev = c->side->dev_make(c->row->fmt);
    else
        c->pt = c->side->pt_make(c->row->fmt);
    return c->space || c->dev || c->pt;
}

static double threads_once(struct cell *c)
{
    const double one = threads_rate(c, 1);

    return threads_rate(c, c->row->threads) / one;
}

static double rate_once(struct cell *c)
{
    return threads_rate(c, c->row->threads) * 1e3;
}

static void threads_end(struct cell *c)
{
    if (c->space)
        c->side->space_end(c->space);
    if (c->dev)
        c->side->dev_end(c->dev);
    if (c->pt)
        c->side->pt_end(c->pt);
}

static const struct kind threads_kind = {
    .unit = "x", .higher = true, .make = threads_make, .once = threads_once, .end = threads_end};
static const struct kind rate_kind = {.unit = "M/s",
                                      .higher = true,
                                      .reps = 7,
                                      .make = threads_make,
                                      .once = rate_once,
                                      .end = threads_end};

/* ---- the rows ---- */

#define ROWS_MOST 256

static struct row rows[ROWS_MOST];
static size_t rows_count;

static const char *const size_names[] = {"1..32", "64..512"};
static const char *const fmt_names[] = {"dart16k", "lpae4k"};

__attribute__((format(printf, 2, 3))) static void add(struct row row, const char *format, ...)
{
    __builtin_va_list args;

    if (rows_count == ROWS_MOST)
        abort();
    __builtin_va_start(args, format);
    vsnprintf(row.name, sizeof(row.name), format, args);
    __builtin_va_end(args);
    rows[rows_count++] = row;
}

/* 1000 as 1k and so on: round numbers only. */
static const char *round_name(long n)
{
    static char name[4][24];
    static unsigned turn;
    char *const out = name[turn++ % 4];

    if (n >= 1000000)
        snprintf(out, sizeof(name[0]), "%ldM", n / 1000000);
    else if (n >= 1000)
        snprintf(out, sizeof(name[0]), "%ldk", n / 1000);
    else
        snprintf(out, sizeof(name[0]), "%ld", n);
    return out;
}

static void add_iova(void)
{
    static const long live[] = {0, 10000, 100000, 1000000};
    static const long churned[] = {1000, 10000, 100000};

    for (int without = 0; without < 2; without++) {
        const char *const end = without ? " without exclusive" : "";

        for (int z = 0; z < 2; z++) {
            for (unsigned i = 0; i < sizeof(live) / sizeof(live[0]); i++)
                add((struct row){.theme = without ? "addresses, port without exclusive section"
                                                  : "addresses: allocate and free",
                                 .kind = &pair_kind,
                                 .without = without,
                                 .bits = 48,
                                 .sizes = (enum sizes)z,
                                 .live = live[i]},
                    "iova pair %s live=%s%s", size_names[z], round_name(live[i]), end);
        }
        for (unsigned i = 0; i < sizeof(churned) / sizeof(churned[0]); i++)
            add((struct row){.theme = without ? "addresses, port without exclusive section"
                                              : "addresses: a random one goes, another comes",
                             .kind = &churn_kind,
                             .without = without,
                             .bits = 48,
                             .sizes = SIZES_LARGE,
                             .live = churned[i]},
                "iova churn 64..512 live=%s%s", round_name(churned[i]), end);
    }
    add((struct row){.theme = "addresses: scarce", .kind = &fail_kind},
        "iova alloc fails 32bit fragmented");
    for (int z = 0; z < 2; z++)
        add((struct row){.theme = "addresses: scarce",
                         .kind = &full_kind,
                         .bits = 32,
                         .sizes = (enum sizes)z},
            "iova 32bit full %s", size_names[z]);
    add(
        (struct row){
            .theme = "addresses: scarce", .kind = &memory_kind, .bits = 48, .live = 100000},
        "iova memory per allocation 1..32");
}

static void add_pt(void)
{
    static const long pages[] = {1, 16, 256, 2048};

    for (int f = 0; f < FMTS; f++) {
        for (int unmap = 0; unmap < 2; unmap++) {
            for (unsigned i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
                add((struct row){.theme = "page tables",
                                 .kind = unmap ? &unmap_kind : &map_kind,
                                 .fmt = (enum fmt)f,
                                 .n = pages[i]},
                    "pt_%s %s x%ld", unmap ? "unmap" : "map", fmt_names[f], pages[i]);
        }
    }
    for (int f = 0; f < FMTS; f++)
        add((struct row){.theme = "page tables", .kind = &tables_kind, .fmt = (enum fmt)f},
            "tables left %s", fmt_names[f]);
}

/* One DART command with its poll, one SMMU command with its sync: docs/BENCHMARKS.md. */
static const struct {
    const char *name;
    unsigned ns;
} hardware[FMTS] = {{"dart", 1000}, {"smmu", 500}};

static void add_sg(void)
{
    static const long lengths[] = {1, 8, 64, 256};
    static const struct {
        const char *theme;
        bool ring;
        bool hw;
    } way[] = {
        {"lists: map and unmap", true, false},
        {"lists: map and unmap, nothing else mapped", false, false},
        {"lists: map and unmap, with the time that hardware takes to invalidate", true, true},
    };

    for (unsigned w = 0; w < sizeof(way) / sizeof(way[0]); w++) {
        for (int f = 0; f < FMTS; f++) {
            for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
                add((struct row){.theme = way[w].theme,
                                 .kind = &sg_kind,
                                 .ring = way[w].ring,
                                 .hw_ns = way[w].hw ? hardware[f].ns : 0,
                                 .fmt = (enum fmt)f,
                                 .n = lengths[i]},
                    "dma_map_sg %s n=%ld%s%s", fmt_names[f], lengths[i],
                    way[w].hw     ? " hw="
                    : way[w].ring ? ""
                                  : " made",
                    way[w].hw ? hardware[f].name : "");
        }
    }
}

static void add_threads(void)
{
    static const long lengths[] = {1, 64};
    const struct row base = {
        .theme = "two threads on one domain against one", .kind = &threads_kind, .threads = 2};

    /* What this machine gives two threads at best. */
    add(base, "threads=2 iova pair 1..32, a space each");
    for (int z = 0; z < 2; z++) {
        struct row row = base;

        row.work = WORK_PAIR;
        row.sizes = (enum sizes)z;
        add(row, "threads=2 iova pair %s", size_names[z]);
    }
    for (int f = 0; f < FMTS; f++) {
        for (int work = WORK_MAP; work <= WORK_UNMAP; work++) {
            struct row row = base;

            row.work = work;
            row.fmt = (enum fmt)f;
            row.n = 1;
            add(row, "threads=2 pt_%s %s x1", work == WORK_MAP ? "map" : "unmap", fmt_names[f]);
        }
        for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
            struct row row = base;

            row.work = WORK_SG;
            row.fmt = (enum fmt)f;
            row.n = lengths[i];
            add(row, "threads=2 dma_map_sg %s n=%ld", fmt_names[f], lengths[i]);
        }
    }
}

static void add_growth(void)
{
    static const long lengths[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};

    for (int z = 0; z < 2; z++) {
        /* Ten million large ones do not fit into 42 bits. */
        for (long live = 10; live <= (z == SIZES_SMALL ? 10000000 : 1000000); live *= 10)
            add((struct row){.theme = "growth: live allocations in 42 bits",
                             .growth = true,
                             .kind = &churn_kind,
                             .bits = 42,
                             .sizes = (enum sizes)z,
                             .live = live},
                "growth live %s n=%ld", size_names[z], live);
    }
    for (int f = 0; f < FMTS; f++) {
        for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
            add((struct row){.theme = "growth: length of the list",
                             .growth = true,
                             .kind = &sg_kind,
                             .ring = true,
                             .fmt = (enum fmt)f,
                             .n = lengths[i]},
                "growth list %s n=%ld", fmt_names[f], lengths[i]);
    }
    for (unsigned percent = 10; percent <= 95; percent += percent < 90 ? 10 : 5)
        add((struct row){.theme = "growth: part of a 32-bit space in use",
                         .growth = true,
                         .kind = &churn_kind,
                         .bits = 32,
                         .percent = percent},
            "growth fill 1..32 n=%u", percent);
    for (int threads = 1; threads <= rt_cpus && threads <= 16; threads++) {
        struct row row = {
            .theme = "growth: threads", .growth = true, .kind = &rate_kind, .threads = threads};

        row.work = WORK_PAIR;
        add(row, "growth threads pair 1..32 n=%d", threads);
        row.sizes = SIZES_LARGE;
        add(row, "growth threads pair 64..512 n=%d", threads);
        row.work = WORK_SG;
        row.n = 1;
        add(row, "growth threads dma_map_sg dart16k n=%d", threads);
    }
}

size_t rows_all(const struct row **out)
{
    if (!rows_count) {
        add_iova();
        add_pt();
        add_sg();
        add_threads();
        add_growth();
    }
    *out = rows;
    return rows_count;
}

/* ---- checks before anything is timed ---- */

/* Random allocations of all sizes: in range, and none meets another. */
static void check_space(struct cell *c, unsigned bits, long ops)
{
    enum { N = 4096 };
    ul *const at = take(N, sizeof(*at));
    unsigned *const size = take(N, sizeof(*size));
    unsigned char *const owned = bits == 32 ? take(UNITS(32) + 2, 1) : NULL;

    c->limit = UNITS(bits);
    c->space = c->side->space_make(c->limit);
    for (long i = 0; i < ops; i++) {
        const ul k = next_random(&c->seed) % N;
        bool clash = false;

        if (at[k]) {
            if (owned)
                memset(owned + at[k], 0, size[k]);
            c->side->release(c->space, at[k], size[k]);
            at[k] = 0;
            continue;
        }
        size[k] = random_size(&c->seed, next_random(&c->seed) % 8 ? SIZES_SMALL : SIZES_LARGE);
        at[k] = c->side->alloc(c->space, size[k], c->limit);
        if (!at[k])
            continue; /* 32 bits may be full: Linux rounds up */
        expect(c, at[k] + size[k] - 1 <= c->limit);
        for (unsigned j = 0; owned && j < size[k]; j++) {
            clash = clash || owned[at[k] + j];
            owned[at[k] + j] = 1;
        }
        expect(c, !clash);
        if (i % 8192 == 0)
            shim_run_delayed_work();
    }
    for (long k = 0; k < N; k++) {
        if (at[k])
            c->side->release(c->space, at[k], size[k]);
    }
    c->side->space_end(c->space);
    free(at);
    free(size);
    free(owned);
}

/* Ranges of all lengths side by side; half go, the others stay true. */
static void check_pt(struct cell *c, enum fmt f)
{
    enum { N = 2000 };
    const ul page = 1ul << fmt_lg2(f);
    ul *const iova = take(N, sizeof(*iova));
    ul *const pa = take(N, sizeof(*pa));
    ul *const pages = take(N, sizeof(*pages));
    void *const pt = c->side->pt_make(f);
    ul at = PT_BASE;
    int n = 0;

    for (; pt && n < N; n++) {
        iova[n] = at;
        pages[n] = 1 + next_random(&c->seed) % 100;
        at += pages[n] * page;
        if (at >> fmt_bits(f))
            break;
        pa[n] = random_pa(&c->seed, f, pages[n] * page);
        expect(c, !c->side->pt_map(pt, &iova[n], &pa[n], 1, page, pages[n]));
    }
    for (int odd = -1; odd < 2; odd++) {
        for (int i = 0; i < n; i++) {
            if (i % 2 == odd) {
                expect(c, !c->side->pt_unmap(pt, &iova[i], 1, page, pages[i]));
                expect(c, !c->side->pt_phys(pt, iova[i]));
            }
        }
        for (int i = 0; i < n; i++) {
            for (ul k = 0; k < pages[i]; k++) {
                const ul offset = k * page + next_random(&c->seed) % page;
                const ul want = odd == 1 || (odd == 0 && i % 2 == 0) ? 0 : pa[i] + offset;

                expect(c, c->side->pt_phys(pt, iova[i] + offset) == want);
            }
        }
    }
    if (pt)
        c->side->pt_end(pt);
    free(iova);
    free(pa);
    free(pages);
}

static void check_lists(struct cell *c, enum fmt f)
{
    for (long n = 1; n <= 300; n += 13) {
        void *const dev = c->side->dev_make(f);
        ul *pa;
        void *list;

        if (!dev)
            return;
        pa = scattered(&c->seed, f, n);
        list = c->side->list_make(pa, n);
        list_check(c, dev, list, pa, n);
        c->side->list_end(list);
        c->side->dev_end(dev);
        free(pa);
    }
}

long rows_check(const struct side *side, long *checks)
{
    struct cell c = {.side = side, .seed = 1};

    check_space(&c, 32, 1000000);
    check_space(&c, 48, 300000);
    for (int f = 0; f < FMTS; f++) {
        check_pt(&c, (enum fmt)f);
        check_lists(&c, (enum fmt)f);
    }
    *checks += c.checks;
    return c.bad;
}
