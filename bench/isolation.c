/* SPDX-License-Identifier: MIT */
/*
 * granule bench isolation: what it costs to keep from a device what lies beside a buffer, by the
 * buffer's length: where is copying cheaper than mapping?
 */
#include "bench.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define OFFSET 512u /* of a buffer in its granule: on the access unit, so that windows fit */
#define DIR GR_DMA_BIDIRECTIONAL
#define WARM 64u

static const uint64_t lengths[] = {64, 1536, 4096, 65536, 1048576};

#define LENGTHS (sizeof(lengths) / sizeof(lengths[0]))

static const struct kind {
    const char *name;
    enum gr_isolation how;
    bool deferred;
    bool linear;
} kinds[] = {
    {"expose", GR_ISOLATION_EXPOSE, false, false}, {"window", GR_ISOLATION_WINDOW, false, false},
    {"bounce", GR_ISOLATION_BOUNCE, false, false}, {"expose", GR_ISOLATION_EXPOSE, true, false},
    {"window", GR_ISOLATION_WINDOW, true, false},  {"bounce", GR_ISOLATION_BOUNCE, true, false},
    {"copy", GR_ISOLATION_DEFAULT, false, true},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* For one map and unmap. */
struct cost {
    bool fits; /* a copy has to fit into a slot */
    double ns;
    double ns_hardware;
    double copied; /* bytes */
    double invalidations;
};

static int map_and_unmap(struct stand *s, uint64_t len, uint64_t times)
{
    int ret = 0;

    for (uint64_t i = 0; !ret && i < times; i++) {
        gr_iova_t iova;

        ret = gr_dma_map(&s->dev, stand_buffer() + OFFSET, len, DIR, 0, &iova);
        if (!ret)
            ret = gr_dma_unmap(&s->dev, iova, len, DIR, 0);
    }
    return ret;
}

static double ran_ns(void)
{
    struct timespec ran;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ran);
    return (double)ran.tv_sec * 1e9 + (double)ran.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;

    return (x > y) - (x < y);
}

static int time_one(struct stand *s, uint64_t len, uint64_t times, double *ns)
{
    const double begin = ran_ns();
    const int ret = map_and_unmap(s, len, times);

    *ns = (ran_ns() - begin) / (double)times;
    return ret;
}

/* The median of the rounds. */
static int time_rounds(struct stand *s, uint64_t len, const struct options *o, double *median)
{
    double *const ns = calloc((size_t)o->rounds, sizeof(*ns));
    uint64_t times = o->iterations ? o->iterations : WARM;
    int ret = ns ? time_one(s, len, times, &ns[0]) : GR_ENOMEM;

    if (!ret && !o->iterations) {
        const double fit = (double)o->time_ms * 1e6 / ns[0];

        times = fit > 1 ? (uint64_t)fit : 1;
    }
    for (uint64_t i = 0; !ret && i < o->rounds; i++)
        ret = time_one(s, len, times, &ns[i]);
    if (!ret) {
        qsort(ns, (size_t)o->rounds, sizeof(*ns), by_value);
        *median = ns[o->rounds / 2];
    }
    free(ns);
    return ret;
}

static int measure(const struct kind *kind, uint64_t len, const struct options *o, struct cost *out)
{
    static struct stand stand;
    struct gr_bounce_stats before;
    struct gr_bounce_stats after;
    uint64_t commands;
    int ret;
    int end;

    *out = (struct cost){.fits = !kind->linear || len <= GR_BOUNCE_CHUNK - 4096};
    if (!out->fits)
        return 0;
    ret = stand_make_isolated(&stand, kind->how, kind->deferred, kind->linear, o->absent);
    if (!ret)
        ret = map_and_unmap(&stand, len, WARM);
    gr_bounce_stats(&stand.pool, &before);
    commands = stand.leaf_only + stand.with_tables;
    if (!ret)
        ret = map_and_unmap(&stand, len, WARM);
    gr_bounce_stats(&stand.pool, &after);
    out->copied = (double)(after.copied - before.copied) / WARM;
    out->invalidations = (double)(stand.leaf_only + stand.with_tables - commands) / WARM;
    if (!ret)
        ret = time_rounds(&stand, len, o, &out->ns);
    stand.command_ns = BENCH_DART_NS;
    if (!ret)
        ret = time_rounds(&stand, len, o, &out->ns_hardware);
    stand.command_ns = 0;
    end = stand_end(&stand);
    return ret ? ret : end;
}

static const char *invalidate(const struct kind *kind)
{
    return kind->linear ? "none" : kind->deferred ? "deferred" : "strict";
}

static void print_cost(const struct kind *kind, uint64_t len, const struct cost *cost)
{
    printf("%-8s %-9s %8" PRIu64, kind->name, invalidate(kind), len);
    if (cost->fits)
        printf(" %10.1f %10.1f %10.0f %8.2f\n", cost->ns, cost->ns_hardware, cost->copied,
               cost->invalidations);
    else
        printf(" %10s\n", "longer than a slot");
    fflush(stdout);
}

static json_t *json_cost(const struct kind *kind, uint64_t len, const struct cost *cost)
{
    json_t *const object =
        json_pack("{s:s s:s s:I s:b}", "isolation", kind->name, "invalidate", invalidate(kind),
                  "bytes", (json_int_t)len, "fits", cost->fits);

    if (cost->fits) {
        json_object_set_new(object, "ns", json_real(cost->ns));
        json_object_set_new(object, "ns_hardware", json_real(cost->ns_hardware));
        json_object_set_new(object, "copied_bytes", json_real(cost->copied));
        json_object_set_new(object, "invalidations", json_real(cost->invalidations));
    }
    return object;
}

int isolation_bench(const struct options *o)
{
    json_t *const rows = json_array();
    json_t *all;
    int ret = 0;

    if (!o->json)
        printf("One buffer is mapped and unmapped, both ends in the middle of granules of 16 KiB.\n"
               "ns are medians of the CPU's time; hw: as if each invalidation took %u ns.\n\n"
               "%-8s %-9s %8s %10s %10s %10s %8s\n",
               BENCH_DART_NS, "what", "inval.", "bytes", "ns", "hw", "copied", "commands");
    for (size_t i = 0; !ret && i < KINDS * LENGTHS; i++) {
        const struct kind *const kind = &kinds[i / LENGTHS];
        const uint64_t len = lengths[i % LENGTHS];
        struct cost cost;

        ret = measure(kind, len, o, &cost);
        if (!ret && o->json)
            json_array_append_new(rows, json_cost(kind, len, &cost));
        else if (!ret)
            print_cost(kind, len, &cost);
        else
            fprintf(stderr, "granule: %s, %s, %" PRIu64 " bytes: %s\n", kind->name,
                    invalidate(kind), len, gr_strerror(ret));
    }
    all = ret ? json_pack("{s:s}", "error", gr_strerror(ret))
              : json_pack("{s:i s:i s:b s:O}", "granule", 16384, "command_ns", (int)BENCH_DART_NS,
                          "caches_absent", o->absent, "rows", rows);
    if (o->json) {
        json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
        putchar('\n');
    }
    json_decref(all);
    json_decref(rows);
    return ret ? 1 : 0;
}
