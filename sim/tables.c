/* SPDX-License-Identifier: MIT */
#include "tables.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Lists that grow ---- */

/* Make room for one more element of `size` bytes. NULL: no memory, and the list is as it was. */
static void *grow(void *list, size_t count, size_t *room, size_t size)
{
    size_t more = *room ? 2 * *room : 16;
    void *bigger;

    if (count < *room)
        return list;
    bigger = realloc(list, more * size);
    if (bigger)
        *room = more;
    return bigger;
}

__attribute__((format(printf, 5, 6))) static bool complain(struct sim_tables_problems *problems,
                                                           const struct sim_snapshot_instance *inst,
                                                           unsigned stream, uint64_t iova,
                                                           const char *format, ...)
{
    struct sim_tables_problem *const list =
        grow(problems->list, problems->count, &problems->room, sizeof(*list));
    struct sim_tables_problem *problem;
    va_list args;

    if (!list)
        return false;
    problems->list = list;
    problem = &list[problems->count++];
    problem->instance = inst->path;
    problem->stream = stream;
    problem->iova = iova;
    va_start(args, format);
    vsnprintf(problem->text, sizeof(problem->text), format, args);
    va_end(args);
    return true;
}

void sim_tables_problems_free(struct sim_tables_problems *problems)
{
    free(problems->list);
}

/* ---- Runs ---- */

const char *sim_tables_access(bool read, bool write)
{
    static const char *const names[] = {"no access", "write only", "read only", "read and write"};

    return names[2 * read + write];
}

static bool continues(const struct sim_tables_run *run, const struct walker_leaf *leaf)
{
    return leaf->iova != 0 && run->last == leaf->iova - 1 &&
           run->pa + (leaf->iova - run->iova) == leaf->pa && run->read == leaf->read &&
           run->write == leaf->write && run->uncached == leaf->uncached &&
           run->open_last == run->last && leaf->open == leaf->iova && run->open <= run->open_last &&
           leaf->open <= leaf->open_last;
}

static bool add_leaf(struct sim_tables *tables, const struct walker_leaf *leaf)
{
    struct sim_tables_run *runs;

    tables->mapped += leaf->last - leaf->iova + 1;
    if (tables->nruns > 0 && continues(&tables->runs[tables->nruns - 1], leaf)) {
        tables->runs[tables->nruns - 1].last = leaf->last;
        tables->runs[tables->nruns - 1].open_last = leaf->open_last;
        return true;
    }
    runs = grow(tables->runs, tables->nruns, &tables->room, sizeof(*runs));
    if (!runs)
        return false;
    tables->runs = runs;
    runs[tables->nruns++] = (struct sim_tables_run){.iova = leaf->iova,
                                                    .last = leaf->last,
                                                    .pa = leaf->pa,
                                                    .open = leaf->open,
                                                    .open_last = leaf->open_last,
                                                    .read = leaf->read,
                                                    .write = leaf->write,
                                                    .uncached = leaf->uncached};
    return true;
}

static bool add_problem(const struct sim_tables *tables, const struct walker_problem *problem,
                        struct sim_tables_problems *problems)
{
    bool root = problem->level == tables->stream.levels;

    return complain(problems, tables->inst, tables->sid, problem->iova,
                    "%s 0x%" PRIx64 " of level %u, at %s0x%" PRIx64 ", points at 0x%" PRIx64 ": %s",
                    root ? "TTBR" : "entry", problem->entry, problem->level,
                    root && !tables->stream.in_memory ? "register " : "", problem->at, problem->pa,
                    problem->text);
}

static bool iterate(struct sim_tables *tables, struct walker_iter *iter,
                    struct sim_tables_problems *problems)
{
    for (;;) {
        switch (walker_next(iter)) {
        case WALKER_LEAF:
            if (!add_leaf(tables, &iter->leaf))
                return false;
            break;
        case WALKER_PROBLEM:
            if (!add_problem(tables, &iter->problem, problems))
                return false;
            break;
        case WALKER_DONE:
            memcpy(tables->tables, iter->tables, sizeof(tables->tables));
            return true;
        }
    }
}

bool sim_tables_load(struct sim_tables *tables, const struct sim_snapshot_instance *inst,
                     unsigned sid, struct sim_tables_problems *problems)
{
    struct walker_iter iter;
    bool ok;

    memset(tables, 0, sizeof(*tables));
    tables->inst = inst;
    tables->sid = sid;
    walker_stream(&tables->stream, &inst->walker, sid);
    if (tables->stream.mode != WALKER_TRANSLATE)
        return true;
    if (!walker_begin(&iter, &tables->stream))
        return false;
    ok = iterate(tables, &iter, problems);
    walker_end(&iter);
    if (!ok)
        sim_tables_free(tables);
    return ok;
}

void sim_tables_free(struct sim_tables *tables)
{
    free(tables->runs);
}

/* ---- The records ---- */

/* A record, with the IOVA bits that the stream compares. */
struct record {
    const struct sim_snapshot_mapping *map;
    uint64_t iova, last;             /* its bytes */
    uint64_t granules, granule_last; /* first and last byte of the granules that they touch */
    bool wrong;
};

struct checker {
    const struct sim_tables *tables;
    struct sim_tables_check *check;
    struct sim_tables_problems *problems;
    struct record *records;
    size_t count;
    bool no_memory;
};

__attribute__((format(printf, 4, 5))) static void wrong(struct checker *c, struct record *record,
                                                        uint64_t iova, const char *format, ...)
{
    char text[200];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    c->no_memory |= !complain(c->problems, c->tables->inst, c->tables->sid, iova,
                              "the %s of %.60s at 0x%" PRIx64 ": %s", record->map->kind,
                              record->map->device, record->map->iova, text);
    record->wrong = true;
}

static int by_iova(const void *a, const void *b)
{
    const struct record *const x = a;
    const struct record *const y = b;

    if (x->iova != y->iova)
        return x->iova < y->iova ? -1 : 1;
    return x->map < y->map ? -1 : x->map > y->map;
}

/* The run that contains `iova`, or the first one after it, or the end. */
static const struct sim_tables_run *find_run(const struct sim_tables *tables, uint64_t iova)
{
    size_t low = 0;
    size_t high = tables->nruns;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (tables->runs[middle].last < iova)
            low = middle + 1;
        else
            high = middle;
    }
    return tables->runs + low;
}

static bool check_run(struct checker *c, struct record *record, const struct sim_tables_run *run,
                      uint64_t at)
{
    const struct sim_snapshot_mapping *const map = record->map;
    uint64_t got = run->pa + (at - run->iova);
    uint64_t want =
        map->pa - record->iova + at; /* wraps correctly where `at` is below record->iova */

    if (got != want) {
        wrong(c, record, at, "the tables say PA 0x%" PRIx64 ", not 0x%" PRIx64, got, want);
    } else if (run->read != map->read || run->write != map->write) {
        wrong(c, record, at, "the tables permit %s, not %s",
              sim_tables_access(run->read, run->write), sim_tables_access(map->read, map->write));
    } else if (run->open > run->open_last) {
        wrong(c, record, at, "the window of its leaf is empty");
    } else {
        return true;
    }
    return false;
}

/*
 * The leaves let [open, open_last] of the record's granules through: is that the record's window?
 */
static void check_window(struct checker *c, struct record *record, uint64_t open,
                         uint64_t open_last)
{
    const struct sim_snapshot_mapping *const map = record->map;
    uint64_t first = map->window - map->iova + record->iova;
    uint64_t last = map->window_last - map->iova + record->iova;
    bool whole = open == record->granules && open_last == record->granule_last;

    if (open > record->iova || open_last < record->last) {
        wrong(c, record, open > record->iova ? record->iova : record->last,
              "the window 0x%" PRIx64 "-0x%" PRIx64 " of its leaves closes some of its bytes", open,
              open_last);
    } else if (whole && map->windowed) {
        wrong(c, record, record->iova, "its leaves open whole granules, but it has a window");
    } else if (!whole && !map->windowed) {
        wrong(c, record, record->iova,
              "its leaves open 0x%" PRIx64 "-0x%" PRIx64 ", but it has no window", open, open_last);
    } else if (!whole && (open != first || open_last != last)) {
        wrong(c, record, record->iova,
              "its leaves open 0x%" PRIx64 "-0x%" PRIx64 ", its window is 0x%" PRIx64 "-0x%" PRIx64,
              open, open_last, first, last);
    }
}

static void check_record(struct checker *c, struct record *record)
{
    const struct sim_tables *const tables = c->tables;
    const struct sim_tables_run *const end = tables->nruns ? tables->runs + tables->nruns : NULL;
    const struct sim_tables_run *run = tables->nruns ? find_run(tables, record->granules) : end;
    uint64_t at = record->granules;
    uint64_t open = at;

    for (;; run++) {
        uint64_t open_last;

        if (run == end || run->iova > at) {
            wrong(c, record, at, "it is not mapped there");
            return;
        }
        if (!check_run(c, record, run, at))
            return;
        if (run->iova == at) {
            if (at == record->granules) {
                open = run->open;
            } else if (run->open != at) {
                wrong(c, record, at, "a window closes bytes in the middle of it");
                return;
            }
        }
        if (run->last >= record->granule_last) {
            open_last = run->last == record->granule_last ? run->open_last : record->granule_last;
            check_window(c, record, open, open_last);
            return;
        }
        if (run->open_last != run->last) {
            wrong(c, record, run->open_last, "a window closes bytes in the middle of it");
            return;
        }
        at = run->last + 1;
    }
}

/*
 * A range of firmware, a region or a linear map is one range, with a record for each device of the
 * stream.
 */
static bool may_overlap(const struct record *a, const struct record *b)
{
    const char *const kind = a->map->kind;

    return strcmp(kind, b->map->kind) == 0 && strcmp(a->map->device, b->map->device) != 0 &&
           a->map->pa - a->iova == b->map->pa - b->iova &&
           (strcmp(kind, "reserved") == 0 || strcmp(kind, "firmware") == 0 ||
            strcmp(kind, "linear") == 0);
}

static void check_overlaps(struct checker *c)
{
    const struct record *furthest = c->count ? &c->records[0] : NULL;

    for (size_t i = 1; i < c->count; i++) {
        struct record *const record = &c->records[i];

        if (record->iova <= furthest->last && !may_overlap(furthest, record))
            wrong(c, record, record->iova, "it overlaps the %s of %.60s at 0x%" PRIx64,
                  furthest->map->kind, furthest->map->device, furthest->map->iova);
        if (record->last > furthest->last)
            furthest = record;
    }
}

static void unexplained(struct checker *c, uint64_t first, uint64_t last)
{
    c->check->unexplained += last - first + 1;
    c->no_memory |= !complain(c->problems, c->tables->inst, c->tables->sid, first,
                              "mapped up to 0x%" PRIx64 ", but no mapping covers it", last);
}

/* Find the bytes that leaves map and no record does. Runs and records are both sorted. */
static void check_leaves(struct checker *c)
{
    size_t next = 0;
    uint64_t explained = 0; /* records cover the run up to here */

    for (size_t i = 0; i < c->tables->nruns; i++) {
        const struct sim_tables_run *const run = &c->tables->runs[i];
        uint64_t at = run->iova > explained ? run->iova : explained;

        for (; next < c->count && c->records[next].granules <= run->last; next++) {
            const struct record *const record = &c->records[next];

            if (record->granules > at)
                unexplained(c, at, record->granules - 1);
            if (record->granule_last >= explained)
                explained = record->granule_last + 1;
            at = at > explained ? at : explained;
        }
        if (at <= run->last)
            unexplained(c, at, run->last);
    }
}

/* False: the record is wrong whatever the tables say. */
static bool make_record(struct checker *c, const struct sim_snapshot_mapping *map)
{
    const struct walker_stream *const s = &c->tables->stream;
    uint64_t mask = s->va_bits < 64 ? (UINT64_C(1) << s->va_bits) - 1 : UINT64_MAX;
    uint64_t granule = c->tables->inst->granule;
    uint64_t last = map->iova + (map->length - 1);
    struct record *record = &c->records[c->count];

    *record = (struct record){.map = map, .iova = map->iova & mask, .last = last & mask};
    record->granules = record->iova & ~(granule - 1);
    record->granule_last = record->last | (granule - 1);
    if (s->mode != WALKER_TRANSLATE) {
        wrong(c, record, map->iova, "the stream does not translate: %s", s->reason);
    } else if ((map->iova ^ last) & ~mask) {
        wrong(c, record, map->iova, "it exceeds the %u bits of IOVA that the stream translates",
              s->va_bits);
    } else {
        c->count++;
        return true;
    }
    return false;
}

bool sim_tables_check(const struct sim_tables *tables, struct sim_tables_check *check,
                      struct sim_tables_problems *problems)
{
    struct checker c = {.tables = tables, .check = check, .problems = problems};
    const struct sim_snapshot_mapping *maps;
    size_t count = sim_snapshot_mappings(tables->inst, tables->sid, tables->sid, &maps);

    c.records = calloc(count + 1, sizeof(*c.records));
    if (!c.records)
        return false;
    check->mappings += count;
    for (size_t i = 0; i < count; i++)
        check->wrong += !make_record(&c, &maps[i]);
    qsort(c.records, c.count, sizeof(*c.records), by_iova);
    check_overlaps(&c);
    for (size_t i = 0; i < c.count; i++) {
        check_record(&c, &c.records[i]);
        check->wrong += c.records[i].wrong;
    }
    check_leaves(&c);
    free(c.records);
    return !c.no_memory;
}

bool sim_tables_check_unknown(const struct sim_snapshot_instance *inst,
                              struct sim_tables_check *check, struct sim_tables_problems *problems)
{
    const struct sim_snapshot_mapping *maps;
    size_t count = sim_snapshot_mappings(inst, 0, UINT_MAX, &maps);

    check->mappings += count;
    check->wrong += count;
    for (size_t i = 0; i < count; i++)
        if (!complain(problems, inst, maps[i].stream, maps[i].iova,
                      "the %s of %.60s: granule cannot read the tables of %.60s", maps[i].kind,
                      maps[i].device, inst->compatible))
            return false;
    return true;
}
