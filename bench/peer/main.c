/* SPDX-License-Identifier: MIT */
/* The benchmark beside Linux's own code: `make bench-peer`. docs/BENCHMARKS.md says how it stays
 * fair and how to read it. */
#include "rows.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK, FAILED, USAGE };
enum { LINUX, OURS, SIDES };

#define REPS_MOST 101

struct options {
    int reps;
    double budget_ns;
    const char *rows;
    const char *json;
    bool growth;
    bool list;
};

struct value {
    bool there;
    double median;
    double once[REPS_MOST];
    ul invalidations;
};

static long checks;
static long bad;

static void print_help(void)
{
    printf(
        "Usage: peer [OPTION]...\n"
        "\n"
        "The library beside Linux 6.12's own code, compiled with the same flags, on one machine,\n"
        "in one process, repeat by repeat in turn. ratio: how many times better ours is.\n"
        "\n"
        "Options:\n"
        "  --rows=TEXT[,TEXT]...  only rows whose name holds one of these\n"
        "  --reps=N               repeats of each row, 1..%d (21)\n"
        "  --quick                fewer and shorter repeats: about two minutes\n"
        "  --growth               the points of the plots instead of the table\n"
        "  --json=FILE            a list of {row, unit, ours, linux, ratio, spread} as well\n"
        "  --list                 names of rows\n"
        "  --help                 this text\n"
        "\n"
        "Exit status: 0 all results were right, 1 one was not, 2 wrong usage.\n",
        REPS_MOST);
}

static bool wanted(const struct row *row, const struct options *o)
{
    char text[1024];
    char *rest = text;
    char *one;

    if (row->growth != o->growth)
        return false;
    if (!o->rows)
        return true;
    snprintf(text, sizeof(text), "%s", o->rows);
    while ((one = strsep(&rest, ","))) {
        if (*one && strstr(row->name, one))
            return true;
    }
    return false;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Distance of the quartiles in parts of the median; sorts. */
static double spread_of(double *v, int n, double *median)
{
    qsort(v, (size_t)n, sizeof(*v), by_value);
    *median = v[n / 2];
    return *median > 0 ? (v[n - 1 - n / 4] - v[n / 4]) / *median : 0;
}

static void measure(const struct row *row, const struct options *o, struct value *v, double *spread)
{
    const struct side *const side[SIDES] = {&side_linux,
                                            row->without ? &side_without : &side_granule};
    const int most = row->kind->reps;
    const int reps = most && most < o->reps ? most : o->reps;
    struct cell cell[SIDES];
    double ratio[REPS_MOST];
    double ignored;

    for (int s = 0; s < SIDES; s++) {
        side[s]->reset();
        cell[s] = (struct cell){
            .row = row, .side = side[s], .budget_ns = o->budget_ns, .seed = 88172645463325252};
        v[s].there = row->kind->make(&cell[s]);
    }
    for (int i = 0; i < reps; i++) {
        for (int k = 0; k < SIDES; k++) { /* in turn, and each begins as often */
            const int s = (k + i) % SIDES;

            if (v[s].there)
                v[s].once[i] = row->kind->once(&cell[s]);
        }
        ratio[i] = v[LINUX].there && v[OURS].there ? v[LINUX].once[i] / v[OURS].once[i] : 0;
    }
    for (int s = 0; s < SIDES; s++) {
        if (v[s].there)
            row->kind->end(&cell[s]);
        v[s].invalidations = cell[s].invalidations;
        checks += cell[s].checks;
        bad += cell[s].bad;
        *spread = spread_of(v[s].once, reps, &v[s].median);
    }
    if (v[LINUX].there && v[OURS].there)
        *spread = spread_of(ratio, reps, &ignored);
}

static void number(char *out, size_t size, bool there, double x)
{
    if (!there)
        snprintf(out, size, "-");
    else
        snprintf(out, size, x < 100 ? "%.2f" : x < 10000 ? "%.1f" : "%.0f", x);
}

static void progress(size_t done, size_t all, const char *name)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K%s%zu/%zu %s%s", name ? "[" : "", done, all, name ? name : "",
                name ? "]" : "\r\033[K");
}

static int parse(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {
        {"rows", required_argument, NULL, 'o'}, {"reps", required_argument, NULL, 'r'},
        {"quick", no_argument, NULL, 'q'},      {"growth", no_argument, NULL, 'g'},
        {"json", required_argument, NULL, 'j'}, {"list", no_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},       {NULL, 0, NULL, 0},
    };
    int code;

    while ((code = getopt_long(argc, argv, "h", names, NULL)) != -1) {
        char *end;

        if (code == 'o')
            o->rows = optarg;
        if (code == 'j')
            o->json = optarg;
        if (code == 'g')
            o->growth = true;
        if (code == 'l')
            o->list = true;
        if (code == 'q') {
            o->reps = 7;
            o->budget_ns = 5e6;
        }
        if (code == 'r') {
            o->reps = (int)strtol(optarg, &end, 10);
            if (*end || o->reps < 1 || o->reps > REPS_MOST) {
                fprintf(stderr, "peer: --reps=%s: give a number from 1 to %d\n", optarg, REPS_MOST);
                return USAGE;
            }
        }
        if (code == 'h') {
            print_help();
            return OK;
        }
        if (code == '?')
            return USAGE;
    }
    if (optind < argc) {
        fprintf(stderr, "peer: %s: options only\n", argv[optind]);
        return USAGE;
    }
    return -1;
}

static int write_json(const struct options *o, json_t *all)
{
    FILE *const file = fopen(o->json, "w");
    size_t i;
    json_t *one;

    if (!file) {
        perror(o->json);
        return FAILED;
    }
    fputs("[", file);
    json_array_foreach(all, i, one)
    {
        fputs(i ? ",\n " : "\n ", file);
        json_dumpf(one, file, JSON_COMPACT | JSON_REAL_PRECISION(6));
    }
    fputs("\n]\n", file);
    if (fclose(file)) {
        perror(o->json);
        return FAILED;
    }
    return OK;
}

static void show(const struct row *row, const struct value *v, double ratio, double spread)
{
    const bool both = v[LINUX].there && v[OURS].there;
    char ours[24];
    char theirs[24];
    char times[24];
    char commands[64] = "";

    number(ours, sizeof(ours), v[OURS].there, v[OURS].median);
    number(theirs, sizeof(theirs), v[LINUX].there, v[LINUX].median);
    number(times, sizeof(times), both, ratio);
    if (v[OURS].invalidations)
        snprintf(commands, sizeof(commands), "  invalidations %lu/%lu", v[OURS].invalidations,
                 v[LINUX].invalidations);
    printf("%-46s %-4s %10s %10s %8s %6.0f%%%s\n", row->name, row->kind->unit, ours, theirs, times,
           100 * spread, commands);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static struct value v[SIDES];
    static const struct side *const sides[] = {&side_linux, &side_granule, &side_without};
    struct options o = {.reps = 21, .budget_ns = 1e7};
    const struct row *rows;
    const char *theme = "";
    json_t *const all = json_array();
    size_t count;
    size_t todo = 0;
    size_t done = 0;
    int status = parse(argc, argv, &o);

    if (status >= 0)
        return status;
    rt_init();
    rt_thread_init(0);
    count = rows_all(&rows);
    for (size_t i = 0; i < count; i++) {
        if (!wanted(&rows[i], &o))
            continue;
        todo++;
        if (o.list)
            puts(rows[i].name);
    }
    if (o.list)
        return OK;
    if (!todo) {
        fprintf(stderr, "peer: --rows=%s: no such row: see --list\n", o.rows);
        return USAGE;
    }
    for (size_t s = 0; s < sizeof(sides) / sizeof(sides[0]); s++) {
        progress(s, sizeof(sides) / sizeof(sides[0]), "checking");
        sides[s]->reset();
        bad += rows_check(sides[s], &checks);
    }
    progress(0, 0, NULL);
    printf("%-46s %-4s %10s %10s %8s %7s\n", "row", "unit", "ours", "Linux", "ratio", "spread");
    for (size_t i = 0; i < count && !bad; i++) {
        const struct row *const row = &rows[i];
        bool both;
        double spread = 0;
        double ratio;

        if (!wanted(row, &o))
            continue;
        progress(++done, todo, row->name);
        memset(v, 0, sizeof(v));
        measure(row, &o, v, &spread);
        both = v[LINUX].there && v[OURS].there;
        ratio =
            row->kind->higher ? v[OURS].median / v[LINUX].median : v[LINUX].median / v[OURS].median;
        progress(0, 0, NULL);
        if (strcmp(theme, row->theme) != 0)
            printf("\n%s\n", row->theme);
        theme = row->theme;
        show(row, v, ratio, spread);
        json_array_append_new(
            all, json_pack("{s:s s:s s:o s:o s:o s:f}", "row", row->name, "unit", row->kind->unit,
                           "ours", v[OURS].there ? json_real(v[OURS].median) : json_null(), "linux",
                           v[LINUX].there ? json_real(v[LINUX].median) : json_null(), "ratio",
                           both ? json_real(ratio) : json_null(), "spread", spread));
    }
    printf("\n%ld results checked, %ld wrong\n", checks, bad + (long)shim_warn_count);
    if (o.json && write_json(&o, all))
        return FAILED;
    json_decref(all);
    return bad || shim_warn_count ? FAILED : OK;
}
