/* SPDX-License-Identifier: MIT */
/* granule run and granule attack: bring a board up, exercise it, report. */
#include "board.h"
#include "cli.h"
#include "exercise.h"
#include "machine.h"
#include "progress.h"
#include "report.h"
#include "snapshot_write.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct run_options {
    const char *verb;
    const char *board;
    struct machine_options machine;
    const char *snapshot; /* folder, or NULL */
    bool json;
    bool help;
    bool version;
};

static void print_help(const char *verb)
{
    bool attack = strcmp(verb, "attack") == 0;

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
    if (attack) {
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
    printf(
        "  --cpu-page=4K|16K|64K  page size of the CPU (4K)\n"
        "  --seed=N               the same seed gives the same run (1)\n"
        "  --untrusted            treat every device as untrusted, whatever the tree says\n"
        "  --isolation=window|bounce|expose\n"
        "                         how a device is kept from the bytes beside its buffers. window:\n"
        "                         by the leaf's window; an untrusted device bounces instead, "
        "unless\n"
        "                         granule,window-verified says that windows hold and the\n"
        "                         buffer's ends lie on access units. bounce: the ends are copied.\n"
        "                         expose: not at all, for trusted devices only. Without the\n"
        "                         option: expose for trusted devices, window for others\n"
        "  --mode=translated|linear|identity|blocked\n"
        "                         domain type of devices without granule,dma-mode (translated).\n"
        "                         The report says which type each device got, and why\n"
        "  --access-unit=N        bytes that a device reads or writes at once, a power of two up\n"
        "                         to 4096 (granule,access-unit of the tree, or 8)\n"
        "  --invalidate=strict|deferred\n"
        "                         invalidate before an unmap returns, or later, many at once\n"
        "                         (strict). deferred is refused where a device is untrusted\n"
        "  --adopt=keep_slots|import|replace\n"
        "                         how a domain shares a stream with firmware's mappings; replace\n"
        "                         only where no instance is locked\n"
        "  --scanout=step|thread  when firmware's mappings are looked up as its display would:\n"
        "                         after every store to a table (step), or at any time, on a\n"
        "                         thread of its own (thread)\n");
    if (!attack) {
        printf("  --snapshot=DIR         save memory and registers at the busiest moment, as\n"
               "                         memory.img and machine.json in DIR; DIR is made if "
               "missing\n");
    }
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

static const struct word pages[] = {{"4K", 4096}, {"16K", 16384}, {"64K", 65536}, {NULL, 0}};
static const struct word isolations[] = {{"window", GR_ISOLATION_WINDOW},
                                         {"bounce", GR_ISOLATION_BOUNCE},
                                         {"expose", GR_ISOLATION_EXPOSE},
                                         {NULL, 0}};
static const struct word modes[] = {{"translated", GR_DOMAIN_TRANSLATED},
                                    {"linear", GR_DOMAIN_LINEAR},
                                    {"identity", GR_DOMAIN_IDENTITY},
                                    {"blocked", GR_DOMAIN_BLOCKED},
                                    {NULL, 0}};
static const struct word policies[] = {{"keep_slots", GR_ADOPT_KEEP_SLOTS},
                                       {"import", GR_ADOPT_IMPORT},
                                       {"replace", GR_ADOPT_REPLACE},
                                       {NULL, 0}};
static const struct word scanouts[] = {{"step", false}, {"thread", true}, {NULL, 0}};
static const struct word invalidations[] = {{"strict", false}, {"deferred", true}, {NULL, 0}};

static bool find_word(const struct word *words, const char *text, unsigned *out)
{
    for (; words->text; words++) {
        if (strcmp(text, words->text) == 0) {
            *out = words->value;
            return true;
        }
    }
    return false;
}

static bool parse_value(int code, const char *text, struct run_options *options,
                        struct cli_error *error)
{
    struct machine_options *o = &options->machine;
    unsigned value = 0;
    uint64_t number;

    switch (code) {
    case 'p':
        if (!find_word(pages, text, &o->cpu_page)) {
            return cli_error_set(error, "--cpu-page=%s is not a page size: give 4K, 16K or 64K",
                                 text);
        }
        break;
    case 's': /* as far as JSON's integers go */
        if (!cli_parse_u64(text, INT64_MAX, &o->seed)) {
            return cli_error_set(error, "--seed=%s is not a seed: give a number from 0 to %lld",
                                 text, (long long)INT64_MAX);
        }
        break;
    case 'i':
        if (!find_word(isolations, text, &value)) {
            return cli_error_set(error, "--isolation=%s: give window, bounce or expose", text);
        }
        o->isolation = (enum gr_isolation)value;
        break;
    case 'm':
        if (!find_word(modes, text, &value)) {
            return cli_error_set(error, "--mode=%s: give translated, linear, identity or blocked",
                                 text);
        }
        o->mode = (enum gr_domain_type)value;
        break;
    case 'a':
        if (!cli_parse_u64(text, 4096, &number) || number == 0 || (number & (number - 1)) != 0) {
            return cli_error_set(error, "--access-unit=%s: give a power of two from 1 to 4096",
                                 text);
        }
        o->access_unit = (uint32_t)number;
        break;
    case 'A':
        if (!find_word(policies, text, &value)) {
            return cli_error_set(error, "--adopt=%s: give keep_slots, import or replace", text);
        }
        o->adopt = (enum gr_adopt)value;
        break;
    case 'O':
        if (!find_word(scanouts, text, &value)) {
            return cli_error_set(error, "--scanout=%s: give step or thread", text);
        }
        o->scanout_thread = value;
        break;
    case 'I':
        if (!find_word(invalidations, text, &value)) {
            return cli_error_set(error, "--invalidate=%s: give strict or deferred", text);
        }
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

static bool check(const struct run_options *options, struct cli_error *error)
{
    const struct machine_options *o = &options->machine;

    if (o->untrusted && o->deferred) {
        return cli_error_set(error, "--invalidate=deferred and --untrusted exclude each other: "
                                    "drop one");
    }
    if (o->untrusted && o->isolation == GR_ISOLATION_EXPOSE) {
        return cli_error_set(error, "--isolation=expose and --untrusted exclude each other: drop "
                                    "one");
    }
    return true;
}

static bool parse(int argc, char **argv, struct run_options *options, struct cli_error *error)
{
    static const struct option long_options[] = {
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {"cpu-page", required_argument, NULL, 'p'},
        {"seed", required_argument, NULL, 's'},
        {"untrusted", no_argument, NULL, 'u'},
        {"isolation", required_argument, NULL, 'i'},
        {"mode", required_argument, NULL, 'm'},
        {"access-unit", required_argument, NULL, 'a'},
        {"invalidate", required_argument, NULL, 'I'},
        {"adopt", required_argument, NULL, 'A'},
        {"scanout", required_argument, NULL, 'O'},
        {"snapshot", required_argument, NULL, 'S'}, /* of run */
        {NULL, 0, NULL, 0},
    };
    bool attack = strcmp(options->verb, "attack") == 0;
    int code;

    opterr = 0;
    while ((code = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
        switch (code) {
        case 'u':
            options->machine.untrusted = true;
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
        case '?':
        case ':':
            return cli_option_error(error, code, argv, options->verb);
        default:
            if (attack && code == 'S') {
                return cli_error_set(error, "unknown option --snapshot: see granule attack --help");
            }
            if (!parse_value(code, optarg, options, error)) {
                return false;
            }
        }
    }
    if (argc - optind != 1) {
        return cli_error_set(error, "%s: give one BOARD.dtb or BOARD.dts, or see granule %s --help",
                             argc == optind ? "no board given" : "more than one board given",
                             options->verb);
    }
    options->board = argv[optind];
    return check(options, error);
}

/* Exercise, report, and the exit status. */
static int run_machine(struct machine *m, const struct run_options *options)
{
    struct report report = {
        .machine = m,
        .attack = strcmp(options->verb, "attack") == 0,
        .snapshot = options->snapshot,
    };
    struct cli_error error;
    bool passed = false;
    bool done = !options->snapshot || snapshot_prepare(options->snapshot, &error);

    if (done) {
        report.devices = calloc(m->ndevices + 1, sizeof(*report.devices));
        done = report.devices ? exercise(m, &report, options->snapshot, &error)
                              : cli_error_set(&error, "out of memory: try again");
    }
    if (done) {
        passed = report_passed(&report);
        done = (options->json ? report_json(&report) : report_table(&report)) || ferror(stdout);
        if (!done) {
            cli_error_set(&error, "no memory for the report: close something else and try again");
        }
    }
    free(report.devices);
    if (!done) {
        return cli_refuse(&error, options->json);
    }
    return passed ? CLI_OK : CLI_FAILED;
}

static int bring_up(const char *verb, int argc, char **argv)
{
    struct run_options options = {
        .verb = verb,
        .machine = {.cpu_page = 4096, .seed = 1},
        .json = cli_wants_json(argc, argv),
    };
    struct cli_error error;
    struct board board;
    struct machine machine;
    bool loaded;
    bool up;
    int status;

    if (!parse(argc, argv, &options, &error)) {
        return cli_refuse(&error, options.json);
    }
    if (options.help) {
        print_help(verb);
        return CLI_OK;
    }
    if (options.version) {
        return cli_version(options.json);
    }
    progress_begin("reading", options.board);
    loaded = board_load(&board, options.board, &error);
    up = loaded && machine_up(&machine, &board, &options.machine, &error);
    progress_end();
    if (!loaded) {
        return cli_refuse(&error, options.json);
    }
    if (up) {
        status = run_machine(&machine, &options);
        machine_free(&machine);
    } else {
        status = cli_refuse(&error, options.json);
    }
    board_free(&board);
    return status;
}

int cli_run(int argc, char **argv)
{
    return bring_up("run", argc, argv);
}

int cli_attack(int argc, char **argv)
{
    return bring_up("attack", argc, argv);
}
