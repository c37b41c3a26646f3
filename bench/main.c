/* SPDX-License-Identifier: MIT */
/*
 * granule-bench: what the library costs the CPU. It is a program of its own, started by `granule
 * bench`, because it holds a copy of the library that was compiled for ports/bench.
 */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Exit statuses of every verb. */
enum { OK, FAILED, USAGE };

#define KIB UINT64_C(1024)

static const struct shape shapes[] = {
    {SHAPE_SCATTERED, 1, 4 * KIB},    {SHAPE_SCATTERED, 8, 4 * KIB},
    {SHAPE_SCATTERED, 64, 4 * KIB},   {SHAPE_SCATTERED, 256, 4 * KIB},
    {SHAPE_CONTIGUOUS, 8, 4 * KIB},   {SHAPE_CONTIGUOUS, 64, 4 * KIB},
    {SHAPE_CONTIGUOUS, 256, 4 * KIB}, {SHAPE_SINGLE, 1, 4 * KIB},
    {SHAPE_SINGLE, 1, 64 * KIB},      {SHAPE_SINGLE, 1, 1024 * KIB},
};

#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))
#define ROWS (SHAPES * 2 * FORMATS)

static const char *const kind_names[] = {"scattered", "contiguous", "single"};

static const char *const format_names[FORMATS] = {"16K", "4K", "lpae-4K"};

/* Rows by number: formats, then whether tables are kept, then shapes. */
static struct row row_of(size_t number)
{
    const struct shape *const shape = &shapes[number % SHAPES];
    struct row row = {.shape = shape,
                      .format = (enum shape_format)(number / SHAPES / 2),
                      .keeps = number / SHAPES % 2 == 0};
    const char *const name = kind_names[shape->kind];
    const char *const format = format_names[row.format];
    const char *const tables = row.keeps ? "kept" : "made";

    if (shape->kind == SHAPE_SINGLE)
        snprintf(row.name, sizeof(row.name), "%s/%s/%" PRIu64 "K/%s", format, name,
                 shape->seg_len / KIB, tables);
    else
        snprintf(row.name, sizeof(row.name), "%s/%s/%u/%s", format, name, shape->count, tables);
    return row;
}

/* ---- words ---- */

static void print_help(void)
{
    printf(
        "Usage: granule bench [isolation] [OPTION]...\n"
        "\n"
        "What map and unmap cost the CPU: time, instructions, page-table walks, invalidations. No\n"
        "IOMMU is there: the library runs over ports/bench and a driver that only counts. Column\n"
        "hw adds the time of the hardware's invalidations, as if one took 1000 ns (a DART) "
        "or\n"
        "500 ns (an SMMU). `make bench-peer` compares with Linux.\n"
        "\n"
        "  scattered  gr_dma_map_sg + gr_dma_unmap_sg of pages of 4 KiB in disorder\n"
        "  contiguous the same where each begins at the end of the one before\n"
        "  16K, 4K    a DART with such granules; lpae-4K: an SMMU's stage 1\n"
        "  single     gr_dma_map + gr_dma_unmap of one range\n"
        "  kept       a neighbour stays mapped, so the page table is there\n"
        "  made       nothing else is mapped: each map makes the table, each unmap frees it\n"
        "\n"
        "Options:\n"
        "  --rounds=N      rounds of each row, 1..10000 (11); the median and the best are shown\n"
        "  --time=MS       of each round, 1..10000 (5)\n"
        "  --iterations=N  lists in each round, instead of --time and of warming up\n"
        "  --seed=N        of the physical addresses (1)\n"
        "  --row=NAME      this row only\n"
        "  --no-absent     as if the IOMMU cached no absent entries: a map invalidates nothing\n"
        "  --invalidation=none|dart|smmu\n"
        "                  the hardware of that column; without it DARTs for their formats, an "
        "SMMU\n"
        "                  for lpae\n"
        "  --svg=DIR       draw DIR/lists.svg with gnuplot: cost of a segment by length of the "
        "list\n"
        "  --json          one line of JSON instead of a table\n"
        "  --help          this text\n"
        "\n"
        "`granule bench isolation` measures instead what it costs to keep a device from the bytes\n"
        "beside a buffer: window, bounce or expose, with strict or deferred invalidation, and\n"
        "copying the whole buffer into memory that stays mapped (copy). It takes --rounds, "
        "--time,\n"
        "--iterations, --no-absent and --json.\n"
        "\n"
        "Instructions are counted where the machine lets a program do so (most virtual ones do\n"
        "not). With valgrind, in the source folder: sh bench/icount.sh PROGRAM [ROW]...\n"
        "\n"
        "Exit status: 0 every check passed, 1 a check failed, 2 wrong usage.\n");
}

/* One sentence on stderr and, for machines, on stdout. Returns `status`. */
__attribute__((format(printf, 3, 4))) static int refuse(int status, bool json, const char *format,
                                                        ...)
{
    char text[400];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    for (char *c = text; *c; c++) { /* one line of plain text, whatever an argument had in it */
        if (*c < ' ' || *c > '~')
            *c = '?';
    }
    fprintf(stderr, "granule: %s\n", text);
    if (json) {
        json_t *const object = json_pack("{s:s}", "error", text);

        json_dumpf(object, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(object);
    }
    return status;
}

/* ---- options ---- */

static bool wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--json") == 0)
            return true;
    }
    return false;
}

static bool parse_number(const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 0);
    *out = value;
    return text[0] >= '0' && text[0] <= '9' && !errno && !*end && value >= least && value <= most;
}

static bool parse_hardware(const char *text, enum hardware *out)
{
    static const char *const names[] = {
        [HARDWARE_NONE] = "none", [HARDWARE_DART] = "dart", [HARDWARE_SMMU] = "smmu"};

    for (unsigned i = HARDWARE_NONE; i <= HARDWARE_SMMU; i++) {
        if (!strcmp(text, names[i])) {
            *out = (enum hardware)i;
            return true;
        }
    }
    return false;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {
        {"rounds", required_argument, NULL, 'r'},
        {"time", required_argument, NULL, 't'},
        {"iterations", required_argument, NULL, 'i'},
        {"seed", required_argument, NULL, 's'},
        {"row", required_argument, NULL, 'o'},
        {"no-absent", no_argument, NULL, 'a'},
        {"invalidation", required_argument, NULL, 'n'},
        {"svg", required_argument, NULL, 'v'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int code;

    opterr = 0;
    while ((code = getopt_long(argc, argv, ":h", names, NULL)) != -1) {
        if (code == 'r' && !parse_number(optarg, 1, 10000, &o->rounds))
            return refuse(USAGE, o->json, "--rounds=%s: give a number from 1 to 10000", optarg);
        if (code == 't' && !parse_number(optarg, 1, 10000, &o->time_ms))
            return refuse(USAGE, o->json, "--time=%s: give milliseconds from 1 to 10000", optarg);
        if (code == 'i' && !parse_number(optarg, 1, 1000000000, &o->iterations))
            return refuse(USAGE, o->json, "--iterations=%s: give a number from 1 to 1000000000",
                          optarg);
        if (code == 's' && !parse_number(optarg, 0, INT64_MAX, &o->seed))
            return refuse(USAGE, o->json, "--seed=%s is not a seed: give a number below 2^63",
                          optarg);
        if (code == 'n' && !parse_hardware(optarg, &o->hardware))
            return refuse(USAGE, o->json, "--invalidation=%s: give none, dart or smmu", optarg);
        if (code == 'v')
            o->svg = optarg;
        if (code == 'o')
            o->only = optarg;
        if (code == 'a')
            o->absent = false;
        if (code == 'h') {
            print_help();
            return OK;
        }
        if (code == '?' || code == ':')
            return refuse(USAGE, o->json, "%s: %s: see granule bench --help", argv[optind - 1],
                          code == ':' ? "the option needs a value, as in --rounds=5"
                                      : "no such option, or one that takes no value");
    }
    o->isolation = optind < argc && !strcmp(argv[optind], "isolation");
    optind += o->isolation;
    if (o->isolation && (o->only || o->svg || o->hardware != HARDWARE_OWN))
        return refuse(USAGE, o->json,
                      "bench isolation has no rows to choose, no plot and one "
                      "hardware: leave out --row, --svg and --invalidation");
    if (optind < argc)
        return refuse(USAGE, o->json, "%s: bench takes options only: see granule bench --help",
                      argv[optind]);
    return -1;
}

/* ---- results ---- */

static void print_head(void)
{
    printf(
        "The CPU's cost of the library on a machine without an IOMMU: the driver only counts.\n"
        "One list is mapped and unmapped; ns are medians, best: the fastest round, hw: with the\n"
        "time of the hardware. Invalidations: of the map + of the unmap, (how many of leaves "
        "alone).\n\n"
        "%-30s %9s %9s %9s %8s %10s %6s %7s %s\n",
        "format/what/N/tables", "ns/list", "best", "hw", "ns/seg", "instr/seg", "walks", "tables",
        "invalidations");
}

static void print_row(const struct row *row, const struct result *r)
{
    const double n = row->shape->count;
    char instructions[24] = "-";
    char hardware[24] = "-";

    if (r->instructions >= 0)
        snprintf(instructions, sizeof(instructions), "%.1f", r->instructions / n);
    if (r->ns_hardware >= 0)
        snprintf(hardware, sizeof(hardware), "%.1f", r->ns_hardware);
    printf("%-30s %9.1f %9.1f %9s %8.2f %10s %6" PRIu64 " %7" PRIu64 " %" PRIu64 "+%" PRIu64
           " (%" PRIu64 ")%s\n",
           row->name, r->ns_median, r->ns_min, hardware, r->ns_median / n, instructions, r->walks,
           r->leaf_tables, r->map_invalidations, r->unmap_invalidations, r->leaf_only,
           r->held ? "" : "  BROKEN PROMISE");
    fflush(stdout);
}

static json_t *json_row(const struct row *row, const struct result *r)
{
    const double n = row->shape->count;

    return json_pack(
        "{s:s s:s s:i s:s s:i s:I s:b s:I s:f s:f s:o s:f s:o s:I s:I s:{s:I s:I s:I} s:b}", "row",
        row->name, "format", row->format == FORMAT_LPAE_4K ? "lpae" : "dart", "granule",
        1 << stand_granule_lg2(row->format), "kind", kind_names[row->shape->kind], "segments",
        (int)row->shape->count, "segment_bytes", (json_int_t)row->shape->seg_len, "kept",
        row->keeps, "iterations", (json_int_t)r->iterations, "ns", r->ns_median, "ns_min",
        r->ns_min, "ns_hardware", r->ns_hardware < 0 ? json_null() : json_real(r->ns_hardware),
        "ns_per_segment", r->ns_median / n, "instructions_per_segment",
        r->instructions < 0 ? json_null() : json_real(r->instructions / n), "walks",
        (json_int_t)r->walks, "leaf_tables", (json_int_t)r->leaf_tables, "invalidations", "map",
        (json_int_t)r->map_invalidations, "unmap", (json_int_t)r->unmap_invalidations, "leaf_only",
        (json_int_t)r->leaf_only, "held", r->held);
}

static int print_json(const struct options *o, json_t *rows, bool held)
{
    json_t *const all = json_pack("{s:I s:I s:s s:b s:o s:b}", "seed", (json_int_t)o->seed,
                                  "rounds", (json_int_t)o->rounds, "hardware", "none",
                                  "caches_absent", o->absent, "rows", rows, "held", held);

    if (!all)
        return refuse(FAILED, false, "no memory left for the report");
    json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(all);
    return held ? OK : FAILED;
}

/* ---- plot ---- */

struct point {
    bool there;
    double ns;
    double ns_hardware;
};

/* ns for each segment of scattered lists against their length. 0 or the exit status. */
static int draw(const struct options *o, const struct row *rows, const struct point *points)
{
    char path[4096];
    FILE *gnuplot;
    const char *end = "";

    if ((unsigned)snprintf(path, sizeof(path), "%s/lists.svg", o->svg) >= sizeof(path))
        return refuse(USAGE, o->json, "--svg: the name is too long");
    if (strpbrk(path, "'\"\\\n"))
        return refuse(USAGE, o->json, "--svg=%s: give a name without quotes and backslashes",
                      o->svg);
    gnuplot = popen("gnuplot", "w");
    if (!gnuplot)
        return refuse(FAILED, o->json, "--svg: gnuplot does not start");
    fprintf(gnuplot,
            "set terminal svg size 800,500 dynamic background rgb 'white'\n"
            "set output '%s'\n"
            "set title 'gr\\_dma\\_map\\_sg and gr\\_dma\\_unmap\\_sg of scattered pages'\n"
            "set xlabel 'segments in the list'\nset ylabel 'ns for each segment'\n"
            "set logscale xy\nset grid\nset key top right\nplot",
            path);
    for (unsigned hw = 0; hw < 2; hw++) {
        for (size_t i = 0; i < ROWS; i++) {
            if (rows[i].shape->kind != SHAPE_SCATTERED || rows[i].shape->count != 1 ||
                !points[i].there || (hw && points[i].ns_hardware < 0))
                continue;
            fprintf(gnuplot, "%s '-' with linespoints title '%s, tables %s%s'", end,
                    format_names[rows[i].format], rows[i].keeps ? "kept" : "made",
                    hw ? ", with the time of the hardware" : "");
            end = ",";
        }
    }
    putc('\n', gnuplot);
    for (unsigned hw = 0; hw < 2; hw++) {
        for (size_t i = 0; i < ROWS; i++) {
            if (rows[i].shape->kind != SHAPE_SCATTERED || rows[i].shape->count != 1 ||
                !points[i].there || (hw && points[i].ns_hardware < 0))
                continue;
            for (size_t k = i; k < ROWS && rows[k].shape->kind == SHAPE_SCATTERED; k++)
                fprintf(gnuplot, "%u %f\n", rows[k].shape->count,
                        (hw ? points[k].ns_hardware : points[k].ns) / rows[k].shape->count);
            fputs("e\n", gnuplot);
        }
    }
    if (pclose(gnuplot))
        return refuse(FAILED, o->json, "--svg=%s: gnuplot failed, or is not installed", o->svg);
    return OK;
}

int main(int argc, char **argv)
{
    static struct row rows_by_number[ROWS];
    static struct point points[ROWS];
    struct options o = {.seed = 1, .rounds = 11, .time_ms = 5, .absent = true};
    json_t *rows;
    bool held = true;
    unsigned done = 0;
    int status;

    o.json = wants_json(argc, argv);
    status = parse(argc, argv, &o);
    if (status >= 0)
        return status;
    if (o.isolation)
        return isolation_bench(&o);
    counter_open();
    rows = json_array();
    for (size_t i = 0; i < ROWS; i++) {
        const struct row row = row_of(i);
        struct result result;
        int ret;

        rows_by_number[i] = row;
        if (!stand_knows(row.format))
            continue;
        if (o.only && strcmp(o.only, row.name) != 0)
            continue;
        ret = row_measure(&row, &o, &result);
        if (ret) {
            json_decref(rows);
            return refuse(FAILED, o.json, "%s: %s", row.name, gr_strerror(ret));
        }
        held = held && result.held;
        points[i] = (struct point){true, result.ns_median, result.ns_hardware};
        if (!o.json && !done++)
            print_head();
        if (o.json)
            json_array_append_new(rows, json_row(&row, &result));
        else
            print_row(&row, &result);
    }
    if (o.svg && !o.only) {
        status = draw(&o, rows_by_number, points);
        if (status > 0) {
            json_decref(rows);
            return status;
        }
    }
    if (o.json && json_array_size(rows))
        return print_json(&o, rows, held);
    json_decref(rows);
    if (!done)
        return refuse(USAGE, o.json, "--row=%s: no such row: granule bench shows their names",
                      o.only);
    if (counter_read() < 0)
        printf("\nThis machine does not let a program count instructions: see granule bench "
               "--help.\n");
    return held ? OK : FAILED;
}
