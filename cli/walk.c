/* SPDX-License-Identifier: MIT */
/* granule walk: how one IOVA is translated, step by step, or why it is not. */
#include "cli.h"
#include "show.h"
#include "sim/json.h"
#include "sim/tables.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct walk_options {
    const char *dir;
    const char *path; /* NULL: every instance */
    uint64_t stream;
    bool one_stream; /* else all streams */
    uint64_t iova;
    bool json;
};

/* One walk, and its result in words. */
struct told {
    const struct sim_snapshot_instance *inst;
    unsigned sid;
    struct walker_stream stream;
    struct walker_walk walk;
    bool ok;
    char verdict[320];
    char note[160]; /* or "" */
};

static void print_help(const char *verb)
{
    printf("Usage: granule %s [OPTION]... DIR IOVA\n"
           "\n"
           "Translate one IOVA with the tables in a snapshot that granule run --snapshot=DIR has\n"
           "made, as the hardware would: every level with its entry's address and value, and the\n"
           "physical address, permissions and window, or why the walk fails.\n"
           "\n"
           "  --instance=PATH  this IOMMU only (every one)\n"
           "  --stream=N       this stream only (every one that translates)\n"
           "  --json           one line of JSON instead of text\n"
           "  --help           this text\n"
           "  --version        the version, in JSON with --json\n"
           "\n"
           "Exit status: 0 a stream translates it, 1 none does, 2 wrong usage or wrong input.\n",
           verb);
}

static bool set(void *into, int code, const char *value, struct sim_error *error)
{
    struct walk_options *const options = into;

    if (code == 'i') {
        options->path = value;
        return true;
    }
    if (!cli_parse_u64(value, 65535, &options->stream))
        return sim_refuse(error, "--stream=%s is not a stream: give a number", value);
    options->one_stream = true;
    return true;
}

static bool operands(void *into, int count, char **operands, struct sim_error *error)
{
    struct walk_options *const options = into;

    if (count != 2)
        return sim_refuse(error, "%s: give DIR and IOVA, or see granule walk --help",
                          count == 0   ? "no snapshot given"
                          : count == 1 ? "no IOVA given"
                                       : "more than DIR and IOVA given");
    options->dir = operands[0];
    if (!cli_parse_u64(operands[1], UINT64_MAX, &options->iova))
        return sim_refuse(error, "%s is not an IOVA: give a number such as 0x9f4a1234",
                          operands[1]);
    return true;
}

/* ---- Words ---- */

static struct cli_show_text meaning(const struct walker_walk *walk, unsigned i)
{
    const struct walker_step *const step = &walk->steps[i];
    struct cli_show_text show;

    if (i + 1 < walk->nsteps)
        snprintf(show.text, sizeof(show.text), "table at 0x%" PRIx64, step->pa);
    else if (walk->end == WALKER_NO_MEMORY)
        snprintf(show.text, sizeof(show.text), "outside memory");
    else if (walk->end == WALKER_NO_ENTRY)
        snprintf(show.text, sizeof(show.text), "not valid");
    else
        snprintf(show.text, sizeof(show.text), "page at 0x%" PRIx64, step->pa);
    return show;
}

static void say_mapped(struct told *told)
{
    const struct walker_walk *const walk = &told->walk;
    const struct walker_leaf *const leaf = &walk->leaf;
    struct cli_show_text window = cli_show_range(leaf->open, leaf->open_last);

    if (!leaf->read && !leaf->write) {
        snprintf(told->verdict, sizeof(told->verdict),
                 "fails at level %u: the leaf permits neither read nor write", leaf->level);
    } else if (leaf->open > leaf->open_last) {
        snprintf(told->verdict, sizeof(told->verdict),
                 "fails at level %u: the leaf's window is empty", leaf->level);
    } else if (walk->iova < leaf->open || walk->iova > leaf->open_last) {
        snprintf(told->verdict, sizeof(told->verdict),
                 "fails at level %u: the leaf's window lets through %s only", leaf->level,
                 window.text);
    } else {
        bool whole = leaf->open == leaf->iova && leaf->open_last == leaf->last;

        told->ok = true;
        snprintf(told->verdict, sizeof(told->verdict), "PA 0x%" PRIx64 ", %s, %s, window: %s",
                 walk->pa, sim_tables_access(leaf->read, leaf->write),
                 leaf->uncached ? "uncached" : "cached", whole ? "the whole page" : window.text);
    }
}

static void say(struct told *told)
{
    const struct walker_walk *const walk = &told->walk;
    const struct walker_step *const last = &walk->steps[walk->nsteps ? walk->nsteps - 1 : 0];
    char *const text = told->verdict;
    size_t room = sizeof(told->verdict);

    switch (walk->end) {
    case WALKER_MAPPED:
        say_mapped(told);
        break;
    case WALKER_NO_STREAM:
        told->ok = told->stream.mode == WALKER_BYPASS;
        if (told->ok)
            snprintf(text, room, "bypassed, PA 0x%" PRIx64 ": %s", walk->iova, told->stream.reason);
        else
            snprintf(text, room, "blocked: %s", told->stream.reason);
        break;
    case WALKER_TOO_HIGH:
        snprintf(text, room, "fails before any table: the stream translates %u bits of IOVA",
                 told->stream.va_bits);
        break;
    case WALKER_NO_ROOT:
        snprintf(text, room, "fails above level %u: TTBR%u, register 0x%" PRIx32 ", is not valid",
                 told->stream.levels - 1, walk->root, told->stream.roots[walk->root].offset);
        break;
    case WALKER_NO_ENTRY:
        snprintf(text, room, "fails at level %u: the entry at 0x%" PRIx64 " is not valid",
                 last->level, last->at);
        break;
    case WALKER_NO_MEMORY:
        snprintf(text, room, "fails at level %u: the entry at 0x%" PRIx64 " lies outside memory",
                 last->level, last->at);
        break;
    case WALKER_PA_TOO_WIDE:
        snprintf(text, room,
                 "fails after level %u: PA 0x%" PRIx64 " has more than the instance's %u bits",
                 last->level, walk->pa, told->stream.pa_bits);
        break;
    }
}

static void tell_walk(struct told *told, const struct sim_snapshot_instance *inst, unsigned sid,
                      uint64_t iova)
{
    memset(told, 0, sizeof(*told));
    told->inst = inst;
    told->sid = sid;
    walker_stream(&told->stream, &inst->walker, sid);
    walker_walk(&told->stream, iova, &told->walk);
    say(told);
    if (told->walk.iova != iova)
        snprintf(told->note, sizeof(told->note),
                 "the IOMMU ignores IOVA bits from %u on: walked as 0x%" PRIx64,
                 told->stream.va_bits, told->walk.iova);
}

/* ---- For machines ---- */

static json_t *json_steps(const struct told *told)
{
    const struct walker_walk *const walk = &told->walk;
    json_t *const steps = json_array();

    for (unsigned i = 0; i < walk->nsteps; i++) {
        const struct walker_step *const step = &walk->steps[i];
        bool read = i + 1 < walk->nsteps || walk->end != WALKER_NO_MEMORY;

        json_array_append_new(steps,
                              json_pack("{s:i,s:I,s:o,s:o,s:s}", "level", (int)step->level, "index",
                                        (json_int_t)step->index, "address", sim_json_hex(step->at),
                                        "entry", read ? sim_json_hex(step->entry) : json_null(),
                                        "meaning", meaning(walk, i).text));
    }
    return steps;
}

static json_t *json_walk(const struct told *told)
{
    const struct walker_leaf *const leaf = &told->walk.leaf;
    bool mapped = told->walk.end == WALKER_MAPPED;
    bool whole = leaf->open == leaf->iova && leaf->open_last == leaf->last;
    json_t *const object = json_pack(
        "{s:s,s:i,s:s,s:b,s:s}", "instance", told->inst->path, "stream", (int)told->sid, "mode",
        cli_show_mode(told->stream.mode), "ok", told->ok, "verdict", told->verdict);

    if (told->note[0])
        json_object_set_new(object, "note", json_string(told->note));
    json_object_set_new(object, "sid", json_integer((json_int_t)told->stream.sid));
    if (told->stream.in_memory) {
        json_object_set_new(object, "entry", sim_json_hex(told->stream.entry));
        json_object_set_new(object, "context", sim_json_hex(told->stream.context));
    } else {
        json_object_set_new(object, "tcr", sim_json_hex(told->stream.tcr));
    }
    if (told->stream.mode == WALKER_TRANSLATE) {
        const struct walker_root *const root = &told->stream.roots[told->walk.root];

        json_object_set_new(object, "iova", sim_json_hex(told->walk.iova));
        json_object_set_new(object, "va_bits", json_integer((json_int_t)told->stream.va_bits));
        json_object_set_new(object, told->stream.in_memory ? "ttb" : "ttbr",
                            told->stream.in_memory
                                ? sim_json_hex(root->pa)
                                : json_pack("{s:i,s:o,s:o,s:b,s:o}", "index", (int)told->walk.root,
                                            "register", sim_json_hex(root->offset), "value",
                                            sim_json_hex(root->value), "valid", root->valid,
                                            "table",
                                            root->valid ? sim_json_hex(root->pa) : json_null()));
        json_object_set_new(object, "steps", json_steps(told));
    }
    if (mapped) {
        json_object_set_new(object, "read", json_boolean(leaf->read));
        json_object_set_new(object, "write", json_boolean(leaf->write));
        json_object_set_new(object, "cached", json_boolean(!leaf->uncached));
        json_object_set_new(object, "window",
                            whole ? json_null() : sim_json_range(leaf->open, leaf->open_last));
    }
    if (mapped || told->walk.end == WALKER_PA_TOO_WIDE)
        json_object_set_new(object, "pa", sim_json_hex(told->walk.pa));
    else if (told->ok)
        json_object_set_new(object, "pa", sim_json_hex(told->walk.iova));
    return object;
}

/* ---- For people ---- */

/* The entry and context of a stream whose registers lie in memory. */
static void print_entries(const struct walker_stream *s)
{
    printf("  entry    memory   0x%-13" PRIx64 " 0x%016" PRIx64 "  %s\n", s->entry_at, s->entry,
           cli_show_mode(s->mode));
    if (s->context_at) {
        printf("  context  memory   0x%-13" PRIx64 " 0x%016" PRIx64 "  ", s->context_at,
               s->context);
        if (s->mode == WALKER_TRANSLATE)
            printf("%u bits of IOVA, table at 0x%" PRIx64 "\n", s->va_bits, s->roots[0].pa);
        else
            printf("not used\n");
    }
}

static void print_walk(const struct told *told, uint64_t iova)
{
    const struct walker_stream *const s = &told->stream;
    const struct walker_walk *const walk = &told->walk;

    printf("%s, stream %u: IOVA 0x%" PRIx64 "\n", told->inst->path, told->sid, iova);
    if (s->sid != told->sid)
        printf("  remapped to stream %u\n", s->sid);
    if (s->in_memory) {
        print_entries(s);
    } else {
        printf("  TCR      register 0x%-13" PRIx32 " 0x%08" PRIx32 "          %s\n", s->tcr_offset,
               s->tcr, cli_show_mode(s->mode));
    }
    if (told->note[0])
        printf("  %s\n", told->note);
    if (s->mode == WALKER_TRANSLATE && !s->in_memory) {
        const struct walker_root *const root = &s->roots[walk->root];

        printf("  TTBR%u    register 0x%-13" PRIx32 " 0x%08" PRIx32 "          ", walk->root,
               root->offset, root->value);
        if (root->valid)
            printf("table at 0x%" PRIx64 "\n", root->pa);
        else
            printf("not valid\n");
    }
    for (unsigned i = 0; i < walk->nsteps; i++) {
        const struct walker_step *const step = &walk->steps[i];

        printf("  level %u  [%4" PRIu64 "] at 0x%-12" PRIx64 " 0x%016" PRIx64 "  %s\n", step->level,
               step->index, step->at, step->entry, meaning(walk, i).text);
    }
    printf("  %s\n", told->verdict);
}

/* ---- All of them ---- */

/* Check that the instance and stream that were named exist. */
static bool check_selection(const struct sim_snapshot *snapshot, const struct walk_options *options,
                            struct sim_error *error)
{
    const struct sim_snapshot_instance *inst;

    if (!options->path)
        return true;
    inst = sim_snapshot_find(snapshot, options->path);
    if (!inst)
        return sim_refuse(error, "--instance=%.300s: no such instance: granule dump lists them",
                          options->path);
    if (!inst->walker.kind)
        return sim_refuse(error, "--instance=%.300s: granule cannot read the tables of %.100s",
                          options->path, inst->compatible);
    if (options->one_stream && options->stream >= inst->walker.streams)
        return sim_refuse(error, "--stream=%" PRIu64 ": %.300s has streams 0 to %u",
                          options->stream, options->path, inst->walker.streams - 1);
    return true;
}

struct tally {
    unsigned walks, ok;
    json_t *json; /* NULL: print */
};

static void walk_instance(const struct sim_snapshot_instance *inst,
                          const struct walk_options *options, struct tally *tally)
{
    unsigned last = inst->walker.streams;
    struct told told;

    for (unsigned sid = 0; inst->walker.kind && sid < last; sid++) {
        if (options->one_stream && sid != options->stream)
            continue;
        tell_walk(&told, inst, sid, options->iova);
        /* A stream that was named with its instance is told also where it does not translate. */
        if (told.stream.mode != WALKER_TRANSLATE && !(options->one_stream && options->path))
            continue;
        tally->ok += told.ok;
        if (tally->json) {
            json_array_append_new(tally->json, json_walk(&told));
        } else {
            printf("%s", tally->walks ? "\n" : "");
            print_walk(&told, options->iova);
        }
        tally->walks++;
    }
}

static int walk_all(const struct sim_snapshot *snapshot, const struct walk_options *options)
{
    struct tally tally = {.json = options->json ? json_array() : NULL};

    for (size_t i = 0; i < snapshot->ninstances; i++) {
        const struct sim_snapshot_instance *const inst = &snapshot->instances[i];

        if (!options->path || strcmp(options->path, inst->path) == 0)
            walk_instance(inst, options, &tally);
    }
    if (options->json) {
        json_t *const root = json_pack("{s:o,s:o,s:o}", "snapshot", sim_json_text(snapshot->dir),
                                       "iova", sim_json_hex(options->iova), "walks", tally.json);

        json_dumpf(root, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(root);
    } else if (tally.walks == 0) {
        printf("no stream translates: see granule dump %s\n", snapshot->dir);
    }
    return tally.ok > 0 ? CLI_OK : CLI_FAILED;
}

int cli_walk(int argc, char **argv)
{
    static const struct option own[] = {
        {"instance", required_argument, NULL, 'i'},
        {"stream", required_argument, NULL, 's'},
        CLI_OPTIONS,
    };
    static const struct cli_usage usage = {"walk", own, print_help, set, operands};
    struct walk_options options = {0};
    struct sim_snapshot snapshot;
    struct sim_error error;
    int status;

    if (!cli_parse(&usage, argc, argv, &options, &options.json, &status) ||
        !cli_open_snapshot(&snapshot, options.dir, options.json, &status))
        return status;
    status = check_selection(&snapshot, &options, &error) ? walk_all(&snapshot, &options)
                                                          : cli_refuse(&error, options.json);
    sim_snapshot_free(&snapshot);
    return status;
}
