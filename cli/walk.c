/* SPDX-License-Identifier: MIT */
/* granule walk: how one IOVA is translated, step by step, or why it is not. */
#include "progress.h"
#include "show.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct walk_options {
    const char *dir;
    const char *path; /* NULL: every instance */
    uint64_t stream;
    bool one_stream; /* else every one */
    uint64_t iova;
    bool json;
    bool help;
    bool version;
};

/* One walk with the words about it. */
struct told {
    const struct snapshot_instance *inst;
    unsigned sid;
    struct walker_stream stream;
    struct walker_walk walk;
    bool ok;
    char verdict[320];
    char note[160]; /* or "" */
};

static void print_help(void)
{
    printf("Usage: granule walk [OPTION]... DIR IOVA\n"
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
           "Exit status: 0 a stream translates the IOVA, 1 none does, 2 wrong usage or wrong "
           "input.\n");
}

static bool parse(int argc, char **argv, struct walk_options *options, struct cli_error *error)
{
    static const struct option long_options[] = {
        {"instance", required_argument, NULL, 'i'}, {"stream", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},           {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},        {NULL, 0, NULL, 0},
    };
    int code;

    opterr = 0;
    while ((code = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
        switch (code) {
        case 'i':
            options->path = optarg;
            break;
        case 's':
            if (!cli_parse_u64(optarg, 65535, &options->stream)) {
                return cli_error_set(error, "--stream=%s is not a stream: give a number", optarg);
            }
            options->one_stream = true;
            break;
        case 'j':
            options->json = true;
            break;
        case 'h':
            options->help = true;
            return true;
        case 'V':
            options->version = true;
            return true;
        default:
            return cli_option_error(error, code, argv, "walk");
        }
    }
    if (argc - optind != 2) {
        return cli_error_set(error, "%s: give DIR and IOVA, or see granule walk --help",
                             argc == optind       ? "no snapshot given"
                             : argc == optind + 1 ? "no IOVA given"
                                                  : "more than DIR and IOVA given");
    }
    options->dir = argv[optind];
    if (!cli_parse_u64(argv[optind + 1], UINT64_MAX, &options->iova)) {
        return cli_error_set(error, "%s is not an IOVA: give a number such as 0x9f4a1234",
                             argv[optind + 1]);
    }
    return true;
}

/* ---- Words ---- */

static struct show_text meaning(const struct walker_walk *walk, unsigned i)
{
    const struct walker_step *step = &walk->steps[i];
    struct show_text show;

    if (i + 1 < walk->nsteps) {
        snprintf(show.text, sizeof(show.text), "table at 0x%" PRIx64, step->pa);
    } else if (walk->end == WALKER_NO_MEMORY) {
        snprintf(show.text, sizeof(show.text), "outside memory");
    } else if (walk->end == WALKER_NO_ENTRY) {
        snprintf(show.text, sizeof(show.text), "not valid");
    } else {
        snprintf(show.text, sizeof(show.text), "page at 0x%" PRIx64, step->pa);
    }
    return show;
}

static void say_mapped(struct told *told)
{
    const struct walker_walk *walk = &told->walk;
    const struct walker_leaf *leaf = &walk->leaf;
    struct show_text window = show_range(leaf->open, leaf->open_last);

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
                 walk->pa, show_access(leaf->read, leaf->write),
                 leaf->uncached ? "uncached" : "cached", whole ? "the whole page" : window.text);
    }
}

static void say(struct told *told)
{
    const struct walker_walk *walk = &told->walk;
    const struct walker_step *last = &walk->steps[walk->nsteps ? walk->nsteps - 1 : 0];
    char *text = told->verdict;
    size_t room = sizeof(told->verdict);

    switch (walk->end) {
    case WALKER_MAPPED:
        say_mapped(told);
        break;
    case WALKER_NO_STREAM:
        told->ok = told->stream.mode == WALKER_BYPASS;
        if (told->ok) {
            snprintf(text, room, "bypassed, PA 0x%" PRIx64 ": %s", walk->iova, told->stream.reason);
        } else {
            snprintf(text, room, "blocked: %s", told->stream.reason);
        }
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

static void tell_walk(struct told *told, const struct snapshot_instance *inst, unsigned sid,
                      uint64_t iova)
{
    memset(told, 0, sizeof(*told));
    told->inst = inst;
    told->sid = sid;
    walker_stream(&told->stream, &inst->walker, sid);
    walker_walk(&told->stream, iova, &told->walk);
    say(told);
    if (told->walk.iova != iova) {
        snprintf(told->note, sizeof(told->note),
                 "the IOMMU ignores IOVA bits from %u on: walked as 0x%" PRIx64,
                 told->stream.va_bits, told->walk.iova);
    }
}

/* ---- For machines ---- */

static json_t *json_steps(const struct told *told)
{
    const struct walker_walk *walk = &told->walk;
    json_t *steps = json_array();

    for (unsigned i = 0; i < walk->nsteps; i++) {
        const struct walker_step *step = &walk->steps[i];
        bool read = i + 1 < walk->nsteps || walk->end != WALKER_NO_MEMORY;

        json_array_append_new(steps,
                              json_pack("{s:i,s:I,s:o,s:o,s:s}", "level", (int)step->level, "index",
                                        (json_int_t)step->index, "address", show_json_hex(step->at),
                                        "entry", read ? show_json_hex(step->entry) : json_null(),
                                        "meaning", meaning(walk, i).text));
    }
    return steps;
}

static json_t *json_walk(const struct told *told)
{
    const struct walker_leaf *leaf = &told->walk.leaf;
    bool mapped = told->walk.end == WALKER_MAPPED;
    bool whole = leaf->open == leaf->iova && leaf->open_last == leaf->last;
    json_t *object =
        json_pack("{s:s,s:i,s:s,s:b,s:s}", "instance", told->inst->path, "stream", (int)told->sid,
                  "mode", show_mode(told->stream.mode), "ok", told->ok, "verdict", told->verdict);

    if (told->note[0]) {
        json_object_set_new(object, "note", json_string(told->note));
    }
    json_object_set_new(object, "sid", json_integer((json_int_t)told->stream.sid));
    if (told->stream.in_memory) {
        json_object_set_new(object, "entry", show_json_hex(told->stream.entry));
        json_object_set_new(object, "context", show_json_hex(told->stream.context));
    } else {
        json_object_set_new(object, "tcr", show_json_hex(told->stream.tcr));
    }
    if (told->stream.mode == WALKER_TRANSLATE) {
        const struct walker_root *root = &told->stream.roots[told->walk.root];

        json_object_set_new(object, "iova", show_json_hex(told->walk.iova));
        json_object_set_new(object, "va_bits", json_integer((json_int_t)told->stream.va_bits));
        json_object_set_new(object, told->stream.in_memory ? "ttb" : "ttbr",
                            told->stream.in_memory
                                ? show_json_hex(root->pa)
                                : json_pack("{s:i,s:o,s:o,s:b,s:o}", "index", (int)told->walk.root,
                                            "register", show_json_hex(root->offset), "value",
                                            show_json_hex(root->value), "valid", root->valid,
                                            "table",
                                            root->valid ? show_json_hex(root->pa) : json_null()));
        json_object_set_new(object, "steps", json_steps(told));
    }
    if (mapped) {
        json_object_set_new(object, "read", json_boolean(leaf->read));
        json_object_set_new(object, "write", json_boolean(leaf->write));
        json_object_set_new(object, "cached", json_boolean(!leaf->uncached));
        json_object_set_new(object, "window",
                            whole ? json_null() : show_json_range(leaf->open, leaf->open_last));
    }
    if (mapped || told->walk.end == WALKER_PA_TOO_WIDE) {
        json_object_set_new(object, "pa", show_json_hex(told->walk.pa));
    } else if (told->ok) {
        json_object_set_new(object, "pa", show_json_hex(told->walk.iova));
    }
    return object;
}

/* ---- For people ---- */

/* Of a stream in memory. */
static void print_entries(const struct walker_stream *s)
{
    printf("  entry    memory   0x%-13" PRIx64 " 0x%016" PRIx64 "  %s\n", s->entry_at, s->entry,
           show_mode(s->mode));
    if (s->context_at) {
        printf("  context  memory   0x%-13" PRIx64 " 0x%016" PRIx64 "  ", s->context_at,
               s->context);
        if (s->mode == WALKER_TRANSLATE) {
            printf("%u bits of IOVA, table at 0x%" PRIx64 "\n", s->va_bits, s->roots[0].pa);
        } else {
            printf("not used\n");
        }
    }
}

static void print_walk(const struct told *told, uint64_t iova)
{
    const struct walker_stream *s = &told->stream;
    const struct walker_walk *walk = &told->walk;

    printf("%s, stream %u: IOVA 0x%" PRIx64 "\n", told->inst->path, told->sid, iova);
    if (s->sid != told->sid) {
        printf("  remapped to stream %u\n", s->sid);
    }
    if (s->in_memory) {
        print_entries(s);
    } else {
        printf("  TCR      register 0x%-13" PRIx32 " 0x%08" PRIx32 "          %s\n", s->tcr_offset,
               s->tcr, show_mode(s->mode));
    }
    if (told->note[0]) {
        printf("  %s\n", told->note);
    }
    if (s->mode == WALKER_TRANSLATE && !s->in_memory) {
        const struct walker_root *root = &s->roots[walk->root];

        printf("  TTBR%u    register 0x%-13" PRIx32 " 0x%08" PRIx32 "          ", walk->root,
               root->offset, root->value);
        if (root->valid) {
            printf("table at 0x%" PRIx64 "\n", root->pa);
        } else {
            printf("not valid\n");
        }
    }
    for (unsigned i = 0; i < walk->nsteps; i++) {
        const struct walker_step *step = &walk->steps[i];

        printf("  level %u  [%4" PRIu64 "] at 0x%-12" PRIx64 " 0x%016" PRIx64 "  %s\n", step->level,
               step->index, step->at, step->entry, meaning(walk, i).text);
    }
    printf("  %s\n", told->verdict);
}

/* ---- All of them ---- */

/* What was asked for must be there. */
static bool check_selection(const struct snapshot *snapshot, const struct walk_options *options,
                            struct cli_error *error)
{
    const struct snapshot_instance *inst;

    if (!options->path) {
        return true;
    }
    inst = snapshot_find(snapshot, options->path);
    if (!inst) {
        return cli_error_set(error, "--instance=%.300s: no such instance: granule dump lists them",
                             options->path);
    }
    if (!inst->walker.kind) {
        return cli_error_set(error, "--instance=%.300s: granule cannot read the tables of %.100s",
                             options->path, inst->compatible);
    }
    if (options->one_stream && options->stream >= inst->walker.streams) {
        return cli_error_set(error, "--stream=%" PRIu64 ": %.300s has streams 0 to %u",
                             options->stream, options->path, inst->walker.streams - 1);
    }
    return true;
}

struct tally {
    unsigned walks, ok;
    json_t *json; /* NULL: print */
};

static void walk_instance(const struct snapshot_instance *inst, const struct walk_options *options,
                          struct tally *tally)
{
    unsigned last = inst->walker.streams;
    struct told told;

    for (unsigned sid = 0; inst->walker.kind && sid < last; sid++) {
        if (options->one_stream && sid != options->stream) {
            continue;
        }
        tell_walk(&told, inst, sid, options->iova);
        /* One stream of one instance is what somebody wants to know about in any case. */
        if (told.stream.mode != WALKER_TRANSLATE && !(options->one_stream && options->path)) {
            continue;
        }
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

static int walk_all(const struct snapshot *snapshot, const struct walk_options *options)
{
    struct tally tally = {.json = options->json ? json_array() : NULL};

    for (size_t i = 0; i < snapshot->ninstances; i++) {
        const struct snapshot_instance *inst = &snapshot->instances[i];

        if (!options->path || strcmp(options->path, inst->path) == 0) {
            walk_instance(inst, options, &tally);
        }
    }
    if (options->json) {
        json_t *root = json_pack("{s:o,s:o,s:o}", "snapshot", cli_json_text(snapshot->dir), "iova",
                                 show_json_hex(options->iova), "walks", tally.json);

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
    struct walk_options options = {.json = cli_wants_json(argc, argv)};
    struct cli_error error;
    struct snapshot snapshot;
    bool loaded;
    int status;

    if (!parse(argc, argv, &options, &error)) {
        return cli_refuse(&error, options.json);
    }
    if (options.help) {
        print_help();
        return CLI_OK;
    }
    if (options.version) {
        return cli_version(options.json);
    }
    progress_begin("reading", options.dir);
    loaded = snapshot_load(&snapshot, options.dir, &error);
    progress_end();
    if (!loaded) {
        return cli_refuse(&error, options.json);
    }
    status = check_selection(&snapshot, &options, &error) ? walk_all(&snapshot, &options)
                                                          : cli_refuse(&error, options.json);
    snapshot_free(&snapshot);
    return status;
}
