/* SPDX-License-Identifier: MIT */
/* granule run and granule attack: bring a board up, exercise it, report. */
#include "cli.h"
#include "progress.h"
#include "report.h"
#include "sim/board.h"
#include "sim/exercise.h"
#include "sim/machine.h"
#include "sim/snapshot_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct run_options {
    bool attack; /* the verb is attack, else run */
    const char *board;
    struct sim_options machine;
    const char *snapshot; /* folder, or NULL */
    bool json;
};

static void print_about(const char *verb, bool attack)
{
    printf(
        "Usage: granule %s [OPTION]... BOARD.dtb|BOARD.dts\n"
        "\n"
        "Bring up the machine that a device tree describes, on register-level models of its\n"
        "IOMMUs. Every device behind an IOMMU gets maps of 1 byte to 1 MiB, scatter lists of 1\n"
        "to 256 segments and coherent buffers, and reads and writes all of them through each of\n"
        "its instances. Every byte is checked, and the bytes beside every buffer; an access to\n"
        "what is not mapped must fault. A .dts is compiled by dtc; one with #include goes\n"
        "through cpp first.\n"
        "\n",
        verb);
    if (attack)
        printf(
            "Every device is hostile. Before, during and after the life of each mapping it probes\n"
            "every leaf of its tables byte by byte at the edges, one address of every absent\n"
            "entry, and random addresses, with its own stream number and with every other. It\n"
            "writes wherever it can between syncs, rings the MSI doorbell, and looks at tables\n"
            "while they change.\n"
            "\n"
            "  leaked  bytes of memory that it reached outside its live buffers, each once\n"
            "  slack   of these, bytes that a window let through because its edge is rounded\n"
            "\n"
            "Bytes of a bounce slot outside the buffer do not count while they are zero. A leak\n"
            "to a trusted device is only counted; to any other it fails the run.\n"
            "\n");
}

static void print_help(const char *verb)
{
    bool attack = strcmp(verb, "attack") == 0;

    print_about(verb, attack);
    printf("  --cpu-page=4K|16K|64K  page size of the CPU (4K)\n"
           "  --seed=N               the same seed gives the same run (1)\n"
           "  --untrusted            treat every device as untrusted, whatever the tree says\n"
           "  --isolation=window|bounce|expose\n"
           "                         how a device is kept from the bytes beside its buffers.\n"
           "                         window: by the leaf's window; an untrusted device bounces\n"
           "                         instead, unless granule,window-verified says that windows\n"
           "                         hold and the buffer's ends lie on access units. bounce: the\n"
           "                         ends are copied. expose: not at all, for trusted devices\n"
           "                         only. Without the option: expose for trusted devices,\n"
           "                         window for others\n"
           "  --mode=translated|linear|identity|blocked\n"
           "                         domain type of devices without granule,dma-mode\n"
           "                         (translated). The report says which each got, and why\n"
           "  --access-unit=N        bytes that a device reads or writes at once, a power of two\n"
           "                         up to 4096 (granule,access-unit of the tree, or 8)\n"
           "  --invalidate=strict|deferred\n"
           "                         invalidate before an unmap returns, or later, many at once\n"
           "                         (strict). deferred is refused where a device is untrusted\n"
           "  --adopt=keep_slots|import|replace\n"
           "                         how a domain shares a stream with firmware's mappings;\n"
           "                         replace only where no instance is locked\n"
           "  --scanout=step|thread  when firmware's mappings are looked up as its display would:\n"
           "                         after every store to a table (step), or at any time, on a\n"
           "                         thread of its own (thread)\n");
    if (!attack)
        printf("  --snapshot=DIR         save memory and registers at the busiest moment, as\n"
               "                         memory.img and machine.json in DIR, which is made if\n"
               "                         missing\n");
    printf("  --json                 one line of JSON instead of tables\n"
           "  --help                 this text\n"
           "  --version              the version, in JSON with --json\n"
           "\n"
           "Exit status: 0 every check passed, 1 a check failed, 2 wrong usage or wrong input.\n");
}

/* A word and what it stands for. */
struct word {
    const char *text;
    unsigned value;
};

/* An option that takes one of a few words. */
static const struct choice {
    int code;
    const char *name;
    const char *wrong; /* what a word that is not in the list is called, or "" */
    const char *give;
    struct word words[5];
} choices[] = {
    {'p',
     "cpu-page",
     " is not a page size",
     "4K, 16K or 64K",
     {{"4K", 4096}, {"16K", 16384}, {"64K", 65536}}},
    {'i',
     "isolation",
     "",
     "window, bounce or expose",
     {{"window", GR_ISOLATION_WINDOW},
      {"bounce", GR_ISOLATION_BOUNCE},
      {"expose", GR_ISOLATION_EXPOSE}}},
    {'m',
     "mode",
     "",
     "translated, linear, identity or blocked",
     {{"translated", GR_DOMAIN_TRANSLATED},
      {"linear", GR_DOMAIN_LINEAR},
      {"identity", GR_DOMAIN_IDENTITY},
      {"blocked", GR_DOMAIN_BLOCKED}}},
    {'A',
     "adopt",
     "",
     "keep_slots, import or replace",
     {{"keep_slots", GR_ADOPT_KEEP_SLOTS},
      {"import", GR_ADOPT_IMPORT},
      {"replace", GR_ADOPT_REPLACE}}},
    {'O', "scanout", "", "step or thread", {{"step", false}, {"thread", true}}},
    {'I', "invalidate", "", "strict or deferred", {{"strict", false}, {"deferred", true}}},
};

#define CHOICES (sizeof(choices) / sizeof(choices[0]))

/*
 * Look up the value of an option's word. True without a value for options that take other values.
 */
static bool choose(int code, const char *text, unsigned *out_value, struct sim_error *error)
{
    for (size_t i = 0; i < CHOICES; i++) {
        const struct choice *const c = &choices[i];
        const struct word *word = c->words;

        if (c->code != code)
            continue;
        while (word->text && strcmp(text, word->text) != 0)
            word++;
        *out_value = word->value;
        return word->text ||
               sim_refuse(error, "--%s=%s%s: give %s", c->name, text, c->wrong, c->give);
    }
    return true;
}

static bool set(void *into, int code, const char *text, struct sim_error *error)
{
    struct run_options *const options = into;
    struct sim_options *const o = &options->machine;
    unsigned value = 0;
    uint64_t number;

    if (!choose(code, text, &value, error))
        return false;
    switch (code) {
    case 'p':
        o->cpu_page = value;
        break;
    case 's': /* as far as JSON's integers go */
        if (!cli_parse_u64(text, INT64_MAX, &o->seed))
            return sim_refuse(error, "--seed=%s is not a seed: give a number from 0 to %lld", text,
                              (long long)INT64_MAX);
        break;
    case 'u':
        o->untrusted = true;
        break;
    case 'i':
        o->isolation = (enum gr_isolation)value;
        break;
    case 'm':
        o->mode = (enum gr_domain_type)value;
        break;
    case 'a':
        if (!cli_parse_u64(text, 4096, &number) || number == 0 || (number & (number - 1)) != 0)
            return sim_refuse(error, "--access-unit=%s: give a power of two from 1 to 4096", text);
        o->access_unit = (uint32_t)number;
        break;
    case 'A':
        o->adopt = (enum gr_adopt)value;
        break;
    case 'O':
        o->scanout_thread = value;
        break;
    case 'I':
        o->deferred = value;
        break;
    case 'S':
        options->snapshot = text;
        break;
    default:
        break;
    }
    return true;
}

static bool check(const struct run_options *options, struct sim_error *error)
{
    const struct sim_options *const o = &options->machine;

    if (o->untrusted && o->deferred)
        return sim_refuse(error,
                          "--invalidate=deferred and --untrusted exclude each other: drop one");
    if (o->untrusted && o->isolation == GR_ISOLATION_EXPOSE)
        return sim_refuse(error, "--isolation=expose and --untrusted exclude each other: drop one");
    return true;
}

static bool operands(void *into, int count, char **operands, struct sim_error *error)
{
    struct run_options *const options = into;

    if (count != 1)
        return sim_refuse(error, "%s: give one BOARD.dtb or BOARD.dts, or see granule %s --help",
                          count == 0 ? "no board given" : "more than one board given",
                          options->attack ? "attack" : "run");
    options->board = operands[0];
    return check(options, error);
}

/* Exercise, report, and the exit status. */
static int run_machine(struct sim_machine *m, const struct run_options *options)
{
    struct sim_tally tally = {.attack = options->attack};
    const struct cli_report report = {
        .machine = m,
        .tally = &tally,
        .snapshot = options->snapshot,
    };
    struct sim_error error;
    bool passed = false;
    bool done = !options->snapshot || sim_snapshot_prepare(options->snapshot, &error);

    if (done) {
        tally.devices = calloc(m->ndevices + 1, sizeof(*tally.devices));
        cli_progress_begin_maps();
        done = tally.devices ? sim_exercise(m, &tally, options->snapshot, cli_progress_maps, &error)
                             : sim_refuse(&error, "out of memory: try again");
        cli_progress_end_maps();
    }
    if (done) {
        passed = cli_report_passed(&report);
        done = (options->json ? cli_report_json(&report) : cli_report_table(&report)) ||
               ferror(stdout);
        if (!done)
            sim_refuse(&error, "no memory for the report: close something else and try again");
    }
    free(tally.devices);
    if (!done)
        return cli_refuse(&error, options->json);
    return passed ? CLI_OK : CLI_FAILED;
}

static int bring_up(const char *verb, bool attack, int argc, char **argv)
{
    static const struct option own[] = {
        {"snapshot", required_argument, NULL, 'S'}, /* not of attack, which skips this row */
        {"cpu-page", required_argument, NULL, 'p'},   {"seed", required_argument, NULL, 's'},
        {"untrusted", no_argument, NULL, 'u'},        {"isolation", required_argument, NULL, 'i'},
        {"mode", required_argument, NULL, 'm'},       {"access-unit", required_argument, NULL, 'a'},
        {"invalidate", required_argument, NULL, 'I'}, {"adopt", required_argument, NULL, 'A'},
        {"scanout", required_argument, NULL, 'O'},    CLI_OPTIONS,
    };
    const struct cli_usage usage = {verb, attack ? own + 1 : own, print_help, set, operands};
    struct run_options options = {.attack = attack, .machine = {.cpu_page = 4096, .seed = 1}};
    struct sim_error error;
    struct sim_board board;
    struct sim_machine machine;
    bool loaded;
    bool up;
    int status;

    if (!cli_parse(&usage, argc, argv, &options, &options.json, &status))
        return status;
    cli_progress_begin("reading", options.board);
    loaded = sim_board_load(&board, options.board, &error);
    up = loaded && sim_machine_up(&machine, &board, &options.machine, &error);
    cli_progress_end();
    if (up) {
        status = run_machine(&machine, &options);
        sim_machine_free(&machine);
    } else {
        status = cli_refuse(&error, options.json);
    }
    if (loaded)
        sim_board_free(&board);
    return status;
}

int cli_run(int argc, char **argv)
{
    return bring_up("run", false, argc, argv);
}

int cli_attack(int argc, char **argv)
{
    return bring_up("attack", true, argc, argv);
}
