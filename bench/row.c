/* SPDX-License-Identifier: MIT */
/* Measure one row: a list mapped and unmapped again and again, and what each time costs. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGE UINT64_C(4096)
#define WARM_MS 2u
#define DIR GR_DMA_BIDIRECTIONAL

struct load {
    struct stand stand;
    struct gr_seg segs[BENCH_MAX_SEGS];
    struct gr_dma_seg out[BENCH_MAX_SEGS];
    struct gr_dma_list list;
    bool single;
};

/* ---- what is mapped ---- */

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/*
 * Scattered: pages in disorder, spread over 8 GiB, each in a granule of its own whose neighbours
 * are nobody's. Contiguous: each begins where the one before ends, the first at such a page.
 */
static void fill(struct load *load, const struct row *row, uint64_t seed)
{
    const struct shape *const shape = row->shape;
    const uint64_t room = (UINT64_C(8) << 30) / shape->count; /* for each page */
    const uint64_t granule = UINT64_C(1) << stand_granule_lg2(row->format);

    for (unsigned i = 0; i < shape->count; i++) {
        struct gr_seg *const seg = &load->segs[i];

        seg->len = shape->seg_len;
        if (i && shape->kind != SHAPE_SCATTERED) {
            seg->pa = load->segs[i - 1].pa + shape->seg_len;
            continue;
        }
        seg->pa = (UINT64_C(4) << 30) + i * room;
        seg->pa += next_random(&seed) % (room / 4 * 3 / PAGE) * PAGE; /* a quarter stays a gap */
        if (shape->kind == SHAPE_SINGLE)
            seg->pa &= ~(granule - 1); /* so that its length alone says how many entries it takes */
    }
    for (unsigned i = shape->count - 1; i && shape->kind == SHAPE_SCATTERED; i--) {
        const unsigned k = (unsigned)(next_random(&seed) % (i + 1));
        const struct gr_seg seg = load->segs[i];

        load->segs[i] = load->segs[k];
        load->segs[k] = seg;
    }
    load->list = (struct gr_dma_list){load->segs, shape->count, 0, load->out};
    load->single = shape->kind == SHAPE_SINGLE;
}

static int map(struct load *load)
{
    if (!load->single)
        return gr_dma_map_sg(&load->stand.dev, &load->list, DIR, 0);
    load->out[0].len = load->segs[0].len;
    load->list.out_count = 1;
    return gr_dma_map(&load->stand.dev, load->segs[0].pa, load->segs[0].len, DIR, 0,
                      &load->out[0].iova);
}

static int unmap(struct load *load)
{
    if (!load->single)
        return gr_dma_unmap_sg(&load->stand.dev, &load->list, DIR, 0);
    return gr_dma_unmap(&load->stand.dev, load->out[0].iova, load->out[0].len, DIR, 0);
}

/* ---- what must hold, untimed ---- */

/* Every segment is where the output says. */
static bool translates(struct load *load)
{
    uint64_t used = 0; /* bytes of out[k] that are accounted for */
    unsigned k = 0;

    for (unsigned i = 0; i < load->list.count; i++) {
        const struct gr_seg *const seg = &load->segs[i];
        gr_pa_t pa;

        if (k == load->list.out_count || load->out[k].len - used < seg->len)
            return false;
        if (gr_domain_iova_to_phys(&load->stand.domain, load->out[k].iova + used, &pa) ||
            pa != seg->pa)
            return false;
        used += seg->len;
        if (used == load->out[k].len) {
            used = 0;
            k++;
        }
    }
    return k == load->list.out_count && !used;
}

static uint64_t leaf_tables(const struct load *load)
{
    const struct gr_dma_seg *const last = &load->out[load->list.out_count - 1];
    uint8_t span_lg2[GR_PT_MAX_LEVELS];

    (void)gr_pt_spans(&load->stand.domain.pt, span_lg2);
    return ((last->iova + last->len - 1) >> span_lg2[0]) - (load->out[0].iova >> span_lg2[0]) + 1;
}

/* Map and unmap once, and look at what it took. */
static int look(struct load *load, const struct options *options, struct result *out)
{
    struct gr_domain *const domain = &load->stand.domain;
    const struct stand *const stand = &load->stand;
    const uint64_t leaf_only = stand->leaf_only;
    const uint64_t with_tables = stand->with_tables;
    uint64_t commands;
    struct gr_domain_stats before;
    struct gr_domain_stats mapped;
    struct gr_domain_stats after;
    gr_pa_t pa;
    bool right;
    int ret;

    gr_domain_stats(domain, &before);
    ret = map(load);
    if (ret)
        return ret;
    gr_domain_stats(domain, &mapped);
    right = translates(load);
    out->leaf_tables = leaf_tables(load);
    ret = unmap(load);
    if (ret)
        return ret;
    gr_domain_stats(domain, &after);
    out->walks = after.walks - before.walks;
    out->map_invalidations = mapped.invalidations - before.invalidations;
    out->unmap_invalidations = after.invalidations - mapped.invalidations;
    out->leaf_only = stand->leaf_only - leaf_only;
    commands = out->leaf_only + stand->with_tables - with_tables;
    /* The last command is the unmap's: it is about leaves alone unless a table went. */
    out->held = right && gr_domain_iova_to_phys(domain, load->out[0].iova, &pa) == GR_ENOENT &&
                out->walks <= out->leaf_tables && out->map_invalidations == options->absent &&
                out->unmap_invalidations == 1 && after.tables == before.tables &&
                commands == out->map_invalidations + out->unmap_invalidations &&
                out->leaf_only >= (mapped.tables == after.tables);
    return 0;
}

/* ---- what is timed ---- */

int bench_measured(struct load *load, uint64_t iterations);

/* Not static and not inlined: callgrind counts what happens inside, by this name (icount.sh). */
__attribute__((noinline)) int bench_measured(struct load *load, uint64_t iterations)
{
    int ret = 0;

    for (uint64_t i = 0; !ret && i < iterations; i++) {
        ret = map(load);
        if (!ret)
            ret = unmap(load);
    }
    return ret;
}

/* Nanoseconds that this thread ran: what else the machine does is not the library's. */
static double ran_ns(void)
{
    struct timespec ran;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ran);
    return (double)ran.tv_sec * 1e9 + (double)ran.tv_nsec;
}

static int time_round(struct load *load, uint64_t iterations, double *ns, double *instructions)
{
    const int64_t count = counter_read();
    const double begin = ran_ns();
    const int ret = bench_measured(load, iterations);

    *ns = (ran_ns() - begin) / (double)iterations;
    *instructions = count < 0 ? -1 : (double)(counter_read() - count) / (double)iterations;
    return ret;
}

/* How many iterations fill a round; finding out also warms up. */
static int calibrate(struct load *load, const struct options *options, uint64_t *iterations)
{
    const double enough = (double)options->time_ms * 1e6;
    double ns = 1;
    int ret = 0;

    *iterations = options->iterations;
    for (uint64_t n = 16; !ret && !options->iterations; n *= 2) {
        double ignored;

        ret = time_round(load, n, &ns, &ignored);
        if (ns * (double)n < WARM_MS * 1e6 && ns * (double)n < enough)
            continue;
        *iterations = ns < enough ? (uint64_t)(enough / ns) : 1;
        break;
    }
    return ret;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;

    return (x > y) - (x < y);
}

static int time_rounds(struct load *load, const struct options *options, struct result *out)
{
    const size_t rounds = (size_t)options->rounds;
    double *const ns = calloc(rounds, sizeof(*ns));
    double *const instructions = calloc(rounds, sizeof(*instructions));
    int ret = ns && instructions ? calibrate(load, options, &out->iterations) : GR_ENOMEM;

    for (size_t i = 0; !ret && i < rounds; i++)
        ret = time_round(load, out->iterations, &ns[i], &instructions[i]);
    if (!ret) {
        qsort(ns, rounds, sizeof(*ns), by_value);
        qsort(instructions, rounds, sizeof(*instructions), by_value);
        out->ns_median = ns[rounds / 2];
        out->ns_min = ns[0];
        out->instructions = instructions[rounds / 2];
    }
    free(ns);
    free(instructions);
    return ret;
}

/*
 * What one command takes until it is known to be done: a DART's driver polls every microsecond
 * (DART.md 2); a command and its sync on an SMMUv3 take about half of one
 * (docs/BENCHMARKS.md).
 */
static unsigned command_ns(const struct row *row, enum hardware hardware)
{
    if (hardware == HARDWARE_NONE)
        return 0;
    if (hardware == HARDWARE_OWN)
        hardware = row->format == FORMAT_LPAE_4K ? HARDWARE_SMMU : HARDWARE_DART;
    return hardware == HARDWARE_DART ? BENCH_DART_NS : 500;
}

/* The row a second time, with the time that the hardware would take. */
static int time_hardware(struct load *load, const struct row *row, const struct options *options,
                         struct result *out)
{
    struct result second = {0};
    int ret = 0;

    load->stand.command_ns = command_ns(row, options->hardware);
    if (load->stand.command_ns)
        ret = time_rounds(load, options, &second);
    out->ns_hardware = load->stand.command_ns ? second.ns_median : -1;
    load->stand.command_ns = 0;
    return ret;
}

int row_measure(const struct row *row, const struct options *options, struct result *out)
{
    static struct load load;
    int ret;
    int end;

    memset(out, 0, sizeof(*out));
    ret = stand_make(&load.stand, row->format, options->absent, row->keeps);
    if (ret)
        return ret;
    fill(&load, row, options->seed);
    ret = look(&load, options, out);
    if (!ret)
        ret = time_rounds(&load, options, out);
    if (!ret)
        ret = time_hardware(&load, row, options, out);
    end = stand_end(&load.stand);
    return ret ? ret : end;
}
