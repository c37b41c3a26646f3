/* SPDX-License-Identifier: MIT */
/* granule run: bring a board up, exercise it, report. */
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
    const char *board;
    unsigned cpu_page;
    uint64_t seed;
    const char *snapshot; /* folder, or NULL */
    bool json;
    bool help;
    bool version;
};

static void print_help(void)
{
    printf(
        "Usage: granule run [OPTION]... BOARD.dtb|BOARD.dts\n"
        "\n"
        "Bring up the machine that a device tree describes on register-level models of its\n"
        "IOMMUs. Give every device behind one maps of 1 byte to 1 MiB, scatter lists of 1 to\n"
        "256 segments and coherent buffers, let it read and write all of them through each of\n"
        "its instances, and check every byte, the bytes beside every buffer, and that what is\n"
        "not mapped faults. A .dts is compiled by dtc.\n"
        "\n"
        "  --cpu-page=4K|16K|64K  page size of the CPU (4K)\n"
        "  --seed=N               the same seed gives the same run (1)\n"
        "  --snapshot=DIR         save memory and registers at the busiest moment, as memory.img\n"
        "                         and machine.json in DIR, which is made if it is missing\n"
        "  --json                 one line of JSON instead of tables\n"
        "  --help                 this text\n"
        "  --version              the version, in JSON with --json\n"
        "\n"
        "Exit status: 0 all held, 1 something did not, 2 wrong usage or wrong input.\n");
}

static bool parse_page(const char *text, struct run_options *options, struct cli_error *error)
{
    static const struct {
        const char *name;
        unsigned bytes;
    } pages[] = {{"4K", 4096}, {"16K", 16384}, {"64K", 65536}};

    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        if (strcmp(text, pages[i].name) == 0) {
            options->cpu_page = pages[i].bytes;
            return true;
        }
    }
    return cli_error_set(error, "--cpu-page=%s is no page size: give 4K, 16K or 64K", text);
}

static bool parse(int argc, char **argv, struct run_options *options, struct cli_error *error)
{
    static const struct option long_options[] = {
        {"cpu-page", required_argument, NULL, 'p'},
        {"seed", required_argument, NULL, 's'},
        {"snapshot", required_argument, NULL, 'S'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    int code;

    opterr = 0;
    while ((code = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
        switch (code) {
        case 'p':
            if (!parse_page(optarg, options, error)) {
                return false;
            }
            break;
        case 's': /* as far as JSON's integers go */
            if (!cli_parse_u64(optarg, INT64_MAX, &options->seed)) {
                return cli_error_set(error, "--seed=%s is no seed: give a number from 0 to %lld",
                                     optarg, (long long)INT64_MAX);
            }
            break;
        case 'S':
            options->snapshot = optarg;
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
            return cli_option_error(error, code, argv, "run");
        }
    }
    if (argc - optind != 1) {
        return cli_error_set(error,
                             "%s: give one BOARD.dtb or BOARD.dts, or see granule run --help",
                             argc == optind ? "no board given" : "more than one board given");
    }
    options->board = argv[optind];
    return true;
}

/* Exercise, report, and the exit status. */
static int run_machine(struct machine *m, const struct run_options *options)
{
    struct report report = {.machine = m, .snapshot = options->snapshot};
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

int cli_run(int argc, char **argv)
{
    struct run_options options = {.cpu_page = 4096, .seed = 1, .json = cli_wants_json(argc, argv)};
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
        print_help();
        return CLI_OK;
    }
    if (options.version) {
        return cli_version(options.json);
    }
    progress_begin("reading", options.board);
    loaded = board_load(&board, options.board, &error);
    up = loaded && machine_up(&machine, &board, options.cpu_page, options.seed, &error);
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
