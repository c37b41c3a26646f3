/* SPDX-License-Identifier: MIT */
/* granule: the command line. Options that come before the verb, and the table of verbs. */
#include "cli.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const struct verb {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} verbs[] = {
    {"run", cli_run, "bring up a device tree's machine on the models and drive DMA through it"},
    {"attack", cli_attack, "the same with hostile devices, which probe all that they can reach"},
    {"dump", cli_dump, "decode the tables of a snapshot, and check them"},
    {"walk", cli_walk, "translate one IOVA with the tables of a snapshot, step by step"},
    {"bench", cli_bench, "measure the CPU time that the library takes"},
};

#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void print_help(void)
{
    printf("Usage: granule [--help] [--version [--json]] VERB [OPTION]... ARGUMENT...\n"
           "\n"
           "IOMMUs and DMA mapping, tried on register-level models of the hardware.\n"
           "\n"
           "Verbs:\n");
    for (size_t i = 0; i < VERBS; i++)
        printf("  %-8s %s\n", verbs[i].name, verbs[i].summary);
    printf("\n"
           "`granule VERB --help` describes one of them.\n"
           "\n"
           "Exit status: 0 every check passed, 1 a check failed, 2 wrong usage or wrong input.\n");
}

static bool verb_error(struct sim_error *error, const char *given)
{
    char names[256] = "";

    for (size_t i = 0; i < VERBS; i++)
        snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", i > 0 ? ", " : "",
                 verbs[i].name);
    if (!given)
        return sim_refuse(error, "no verb given: name one of: %s; or see granule --help", names);
    return sim_refuse(error, "unknown verb %s: name one of: %s; or see granule --help", given,
                      names);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"help", no_argument, NULL, 'h'},
        {"json", no_argument, NULL, 'j'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    struct sim_error error;
    bool json = cli_wants_json(argc, argv);
    bool early = false; /* --json before the verb */
    int code;

    opterr = 0;
    while ((code = getopt_long(argc, argv, "+:hV", options, NULL)) != -1) {
        switch (code) {
        case 'h':
            print_help();
            return cli_finish(CLI_OK);
        case 'j':
            early = true;
            break;
        case 'V':
            return cli_finish(cli_version(json));
        default:
            cli_option_error(&error, code, argv, NULL);
            return cli_refuse(&error, json);
        }
    }
    if (early) {
        sim_refuse(&error, "option --json belongs after the verb: see granule --help");
        return cli_refuse(&error, json);
    }
    if (optind >= argc) {
        verb_error(&error, NULL);
        return cli_refuse(&error, json);
    }
    for (size_t i = 0; i < VERBS; i++) {
        if (strcmp(argv[optind], verbs[i].name) == 0) {
            int first = optind;

            optind = 0; /* the verb's own options start anew */
            return cli_finish(verbs[i].run(argc - first, argv + first));
        }
    }
    verb_error(&error, argv[optind]);
    return cli_refuse(&error, json);
}
