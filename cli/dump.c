/* SPDX-License-Identifier: MIT */
/* granule dump: what every stream of a saved machine translates, and whether its records agree. */
#include "cli.h"
#include "progress.h"
#include "show.h"
#include "sim/json.h"
#include "sim/tables.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CELLS_LG2 6u
#define CELLS (1u << CELLS_LG2)

struct dump_options {
    const char *dir;
    bool check;
    bool json;
};

struct dump {
    const struct dump_options *options;
    const struct sim_snapshot *snapshot;
    json_t *json; /* "instances"; NULL: print */
    struct sim_tables_problems problems;
    struct sim_tables_check check;
    unsigned translating;
};

/* How full the IOVA space is, in CELLS cells. */
struct picture {
    uint64_t first, last;
    uint64_t cell; /* bytes */
    char cells[CELLS + 1];
};

static void print_help(const char *verb)
{
    printf("Usage: granule %s [OPTION]... DIR\n"
           "\n"
           "Decode the tables in a snapshot that granule run --snapshot=DIR has made. Of every\n"
           "stream that translates: the IOVAs with their physical addresses and permissions, the\n"
           "memory that the tables take, and a picture of the IOVA space.\n"
           "\n"
           "  --check    check that every mapping of machine.json translates exactly, and that\n"
           "             every leaf belongs to a mapping\n"
           "  --json     one line of JSON instead of tables\n"
           "  --help     this text\n"
           "  --version  the version, in JSON with --json\n"
           "\n"
           "Exit status: 0 every check passed, 1 a check failed, 2 wrong usage or wrong input.\n",
           verb);
}

static bool set(void *into, int code, const char *value, struct sim_error *error)
{
    struct dump_options *const options = into;

    (void)code; /* there is --check only */
    (void)value;
    (void)error;
    options->check = true;
    return true;
}

static bool operands(void *into, int count, char **operands, struct sim_error *error)
{
    struct dump_options *const options = into;

    if (count != 1)
        return sim_refuse(error, "%s: give one DIR, or see granule dump --help",
                          count == 0 ? "no snapshot given" : "more than one DIR given");
    options->dir = operands[0];
    return true;
}

/* ---- Pictures ---- */

/* Draw [first, first + 2^bits), which is aligned to its size and has at least CELLS granules. */
static struct picture draw(const struct sim_tables *tables, uint64_t first, unsigned bits)
{
    unsigned cell_bits = bits - CELLS_LG2;
    struct picture picture = {.first = first,
                              .last = first + ((UINT64_C(1) << bits) - 1),
                              .cell = UINT64_C(1) << cell_bits};
    uint64_t mapped[CELLS] = {0};

    for (size_t i = 0; i < tables->nruns; i++) {
        const struct sim_tables_run *const run = &tables->runs[i];

        for (uint64_t at = run->iova; at <= run->last;) {
            uint64_t cell_last = at | (picture.cell - 1);
            uint64_t last = run->last < cell_last ? run->last : cell_last;

            mapped[(at - first) >> cell_bits] += last - at + 1;
            at = last + 1;
        }
    }
    for (unsigned i = 0; i < CELLS; i++)
        picture.cells[i] = mapped[i] == 0                 ? '.'
                           : mapped[i] == picture.cell    ? '#'
                           : mapped[i] < picture.cell / 2 ? '-'
                                                          : '+';
    return picture;
}

/* Draw the whole space; where all mappings lie in a small part of the space, that part, too. */
static unsigned draw_both(const struct sim_tables *tables, struct picture pictures[2])
{
    unsigned all = tables->stream.va_bits;
    unsigned bits = tables->stream.format->page_bits + CELLS_LG2;
    uint64_t first;

    if (bits > all)
        return 0;
    pictures[0] = draw(tables, 0, all);
    if (tables->nruns == 0)
        return 1;
    first = tables->runs[0].iova;
    while (first >> bits != tables->runs[tables->nruns - 1].last >> bits)
        bits++;
    if (bits + 2 >= all)
        return 1;
    pictures[1] = draw(tables, first >> bits << bits, bits);
    return 2;
}

/* ---- For machines ---- */

static json_t *json_runs(const struct sim_tables *tables)
{
    json_t *const runs = json_array();

    for (size_t i = 0; i < tables->nruns; i++) {
        const struct sim_tables_run *const run = &tables->runs[i];
        bool whole = run->open == run->iova && run->open_last == run->last;

        json_array_append_new(
            runs, json_pack("{s:o,s:o,s:o,s:b,s:b,s:b,s:o}", "iova", sim_json_hex(run->iova),
                            "last", sim_json_hex(run->last), "pa", sim_json_hex(run->pa), "read",
                            run->read, "write", run->write, "cached", !run->uncached, "window",
                            whole ? json_null() : sim_json_range(run->open, run->open_last)));
    }
    return runs;
}

static uint64_t table_bytes(const struct sim_tables *tables)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < WALKER_LEVELS; i++)
        count += tables->tables[i];
    return count << tables->stream.format->page_bits;
}

static json_t *json_tables(const struct sim_tables *tables)
{
    json_t *const levels = json_array();

    for (unsigned level = tables->stream.levels; level-- > 0;) {
        json_array_append_new(levels, json_pack("{s:i,s:I}", "level", (int)level, "count",
                                                (json_int_t)tables->tables[level]));
    }
    return levels;
}

static json_t *json_pictures(const struct sim_tables *tables)
{
    struct picture pictures[2];
    unsigned count = draw_both(tables, pictures);
    json_t *const array = json_array();

    for (unsigned i = 0; i < count; i++) {
        json_array_append_new(
            array, json_pack("{s:o,s:o,s:I,s:s}", "first", sim_json_hex(pictures[i].first), "last",
                             sim_json_hex(pictures[i].last), "cell_bytes",
                             (json_int_t)pictures[i].cell, "cells", pictures[i].cells));
    }
    return array;
}

static json_t *json_stream(const struct sim_tables *tables)
{
    const struct walker_stream *const s = &tables->stream;
    json_t *const object =
        json_pack("{s:i,s:i,s:s,s:o,s:s}", "stream", (int)tables->sid, "sid", (int)s->sid, "mode",
                  cli_show_mode(s->mode), s->in_memory ? "entry" : "tcr",
                  sim_json_hex(s->in_memory ? s->entry : s->tcr), "reason", s->reason);

    if (s->mode == WALKER_TRANSLATE) {
        json_t *const more =
            json_pack("{s:i,s:i,s:o,s:I,s:I,s:o,s:o}", "levels", (int)s->levels, "va_bits",
                      (int)s->va_bits, "tables", json_tables(tables), "table_bytes",
                      (json_int_t)table_bytes(tables), "mapped_bytes", (json_int_t)tables->mapped,
                      "occupancy", json_pictures(tables), "runs", json_runs(tables));

        json_object_update(object, more);
        json_decref(more);
    }
    return object;
}

static json_t *json_problems(const struct sim_tables_problems *problems)
{
    json_t *const array = json_array();

    for (size_t i = 0; i < problems->count; i++) {
        const struct sim_tables_problem *const problem = &problems->list[i];

        json_array_append_new(array, json_pack("{s:s,s:i,s:o,s:s}", "instance", problem->instance,
                                               "stream", (int)problem->stream, "iova",
                                               sim_json_hex(problem->iova), "text", problem->text));
    }
    return array;
}

static bool print_json(struct dump *dump)
{
    const struct sim_snapshot *const s = dump->snapshot;
    json_t *const root =
        json_pack("{s:o,s:i,s:o,s:I,s:o,s:o}", "snapshot", sim_json_text(s->dir), "cpu_page",
                  (int)s->cpu_page, "ram_base", sim_json_hex(s->ram_base), "ram_bytes",
                  (json_int_t)s->ram_size, "instances", dump->json, "problems",
                  json_problems(&dump->problems));
    bool ok;

    if (dump->options->check) {
        json_object_set_new(root, "check",
                            json_pack("{s:I,s:I,s:I}", "mappings", (json_int_t)dump->check.mappings,
                                      "wrong", (json_int_t)dump->check.wrong, "unexplained_bytes",
                                      (json_int_t)dump->check.unexplained));
    }
    ok = root && (json_dumpf(root, stdout, JSON_COMPACT) == 0 || ferror(stdout));
    putchar('\n');
    json_decref(root);
    return ok;
}

/* ---- For people ---- */

static void print_runs(const struct sim_tables *tables)
{
    if (tables->nruns > 0)
        printf("    %-31s  %-27s  %-14s  %-8s  %s\n", "IOVA", "PA", "access", "cache", "window");
    for (size_t i = 0; i < tables->nruns; i++) {
        const struct sim_tables_run *const run = &tables->runs[i];
        bool whole = run->open == run->iova && run->open_last == run->last;

        printf("    %-31s  %-27s  %-14s  %-8s  %s\n", cli_show_range(run->iova, run->last).text,
               cli_show_range(run->pa, run->pa + (run->last - run->iova)).text,
               sim_tables_access(run->read, run->write), run->uncached ? "uncached" : "cached",
               whole                        ? "-"
               : run->open > run->open_last ? "empty"
                                            : cli_show_range(run->open, run->open_last).text);
    }
}

static void print_stream(const struct sim_tables *tables)
{
    const struct walker_stream *const s = &tables->stream;
    struct picture pictures[2];
    unsigned count = draw_both(tables, pictures);
    const char *word = ":";

    printf("  stream %u: translates %u bits of IOVA", tables->sid, s->va_bits);
    if (s->sid != tables->sid)
        printf(", with the tables of stream %u", s->sid);
    printf("\n");
    print_runs(tables);
    printf("    %zu run%s, %s mapped; tables", tables->nruns, tables->nruns == 1 ? "" : "s",
           cli_show_size(tables->mapped).text);
    for (unsigned level = s->levels; level-- > 0;) {
        printf("%s %" PRIu64 " of level %u", word, tables->tables[level], level);
        word = ",";
    }
    printf(", %s\n", cli_show_size(table_bytes(tables)).text);
    for (unsigned i = 0; i < count; i++)
        printf("    [%s] %s, %s each\n", pictures[i].cells,
               cli_show_range(pictures[i].first, pictures[i].last).text,
               cli_show_size(pictures[i].cell).text);
}

static void print_problems(const struct sim_tables_problems *problems)
{
    for (size_t i = 0; i < problems->count; i++) {
        const struct sim_tables_problem *const problem = &problems->list[i];

        printf("%s, stream %u, IOVA 0x%" PRIx64 ": %s\n", problem->instance, problem->stream,
               problem->iova, problem->text);
    }
}

static void print_end(const struct dump *dump)
{
    const struct sim_tables_check *const check = &dump->check;

    printf("%s[.] empty  [-] less than half  [+] half or more  [#] full\n",
           dump->snapshot->ninstances ? "\n" : "");
    print_problems(&dump->problems);
    if (dump->options->check) {
        printf("%s: %" PRIu64 " mapping%s of %u stream%s, %" PRIu64 " wrong, %s unexplained%s\n",
               dump->problems.count ? "FAIL" : "PASS", check->mappings,
               check->mappings == 1 ? "" : "s", dump->translating,
               dump->translating == 1 ? "" : "s", check->wrong,
               cli_show_size(check->unexplained).text, dump->problems.count ? "; see above" : "");
    }
}

/* ---- All of them ---- */

/* Streams [first, first + count) that do not translate for one reason. */
struct idle {
    unsigned first, count;
    enum walker_mode mode;
    const char *reason;
};

static void tell_idle(const struct idle *idle, json_t *streams)
{
    if (idle->count == 0)
        return;
    if (streams) {
        json_array_append_new(streams,
                              json_pack("{s:i,s:i,s:s,s:s}", "stream", (int)idle->first, "last",
                                        (int)(idle->first + idle->count - 1), "mode",
                                        cli_show_mode(idle->mode), "reason", idle->reason));
    } else if (idle->count == 1) {
        printf("  stream %u: %s: %s\n", idle->first, cli_show_mode(idle->mode), idle->reason);
    } else {
        printf("  streams %u to %u: %s: %s\n", idle->first, idle->first + idle->count - 1,
               cli_show_mode(idle->mode), idle->reason);
    }
}

static bool dump_stream(struct dump *dump, const struct sim_snapshot_instance *inst, unsigned sid,
                        struct idle *idle, json_t *streams)
{
    struct sim_tables tables;
    const struct walker_stream *const s = &tables.stream;
    bool ok;

    if (!sim_tables_load(&tables, inst, sid, &dump->problems))
        return false;
    if (idle->count > 0 && (s->mode != idle->mode || strcmp(s->reason, idle->reason) != 0)) {
        tell_idle(idle, streams);
        idle->count = 0;
    }
    if (s->mode != WALKER_TRANSLATE) {
        if (idle->count++ == 0)
            *idle = (struct idle){sid, 1, s->mode, s->reason};
    } else {
        dump->translating++;
        if (streams)
            json_array_append_new(streams, json_stream(&tables));
        else
            print_stream(&tables);
    }
    ok = !dump->options->check || sim_tables_check(&tables, &dump->check, &dump->problems);
    sim_tables_free(&tables);
    return ok;
}

static bool dump_instance(struct dump *dump, const struct sim_snapshot_instance *inst)
{
    const struct walker_format *const format = inst->walker.format;
    const char *const name = inst->walker.kind ? format->name : "unknown";
    json_t *streams = NULL;
    struct idle idle = {0};

    if (dump->json) {
        streams = json_array();
        json_array_append_new(dump->json, json_pack("{s:s,s:s,s:s,s:I,s:b,s:o}", "path", inst->path,
                                                    "compatible", inst->compatible, "format", name,
                                                    "granule", (json_int_t)inst->granule, "locked",
                                                    inst->locked, "streams", streams));
    } else {
        printf("\n%s: %s, %s pages, %s tables%s\n", inst->path, inst->compatible,
               cli_show_size(inst->granule).text, name, inst->locked ? ", locked" : "");
    }
    if (!inst->walker.kind)
        return !dump->options->check ||
               sim_tables_check_unknown(inst, &dump->check, &dump->problems);
    for (unsigned sid = 0; sid < inst->walker.streams; sid++)
        if (!dump_stream(dump, inst, sid, &idle, streams))
            return false;
    tell_idle(&idle, streams);
    return true;
}

static int dump_all(struct dump *dump)
{
    const struct sim_snapshot *const s = dump->snapshot;
    bool decoded = true;
    bool told = true;

    if (dump->options->json) {
        dump->json = json_array();
    } else {
        printf("%s: %s CPU pages, RAM %s (%s)\n", s->dir, cli_show_size(s->cpu_page).text,
               cli_show_range(s->ram_base, s->ram_base + (s->ram_size - 1)).text,
               cli_show_size(s->ram_size).text);
    }
    if (dump->options->json ||
        !isatty(STDOUT_FILENO)) /* on a terminal the tables themselves show progress */
        cli_progress_begin("decoding", s->dir);
    for (size_t i = 0; decoded && i < s->ninstances; i++)
        decoded = dump_instance(dump, &s->instances[i]);
    cli_progress_end();
    if (!decoded) {
        struct sim_error error;

        json_decref(dump->json);
        sim_refuse(&error, "%.400s: no memory to decode it", s->dir);
        return cli_refuse(&error, dump->options->json);
    }
    if (dump->options->json)
        told = print_json(dump);
    else
        print_end(dump);
    return told && dump->problems.count == 0 ? CLI_OK : CLI_FAILED;
}

int cli_dump(int argc, char **argv)
{
    static const struct option own[] = {{"check", no_argument, NULL, 'c'}, CLI_OPTIONS};
    static const struct cli_usage usage = {"dump", own, print_help, set, operands};
    struct dump_options options = {0};
    struct sim_snapshot snapshot;
    struct dump dump = {.options = &options, .snapshot = &snapshot};
    int status;

    if (!cli_parse(&usage, argc, argv, &options, &options.json, &status) ||
        !cli_open_snapshot(&snapshot, options.dir, options.json, &status))
        return status;
    status = dump_all(&dump);
    sim_tables_problems_free(&dump.problems);
    sim_snapshot_free(&snapshot);
    return status;
}
