/* SPDX-License-Identifier: MIT */
/* granule: the command line. Options that come before the verb, and the table of verbs. */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <granule/granule.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
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

bool cli_error_set(struct cli_error *error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    /* It is one line, whatever a file or an argument had in it. */
    for (char *c = error->text; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f) {
            *c = '?';
        }
    }
    return false;
}

int cli_version(bool json)
{
    printf(json ? "{\"version\":\"%s\"}\n" : "granule %s\n", GR_VERSION_STRING);
    return CLI_OK;
}

/* After the last output: was there room for all of it? A refusal has been told on stderr already.
 */
static int finish(int status)
{
    struct cli_error error;
    bool written = fflush(stdout) == 0 && !ferror(stdout);

    if (written || status == CLI_USAGE) {
        return status;
    }
    cli_error_set(&error,
                  "not all of the output could be written: standard output is full or closed");
    return cli_refuse(&error, false);
}

json_t *cli_json_text(const char *text)
{
    json_t *string = json_string(text);
    char ascii[sizeof(((struct cli_error *)NULL)->text)];
    size_t i;

    if (string) {
        return string;
    }
    for (i = 0; i < sizeof(ascii) - 1 && text[i]; i++) {
        ascii[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
    }
    ascii[i] = '\0';
    return json_string(ascii);
}

int cli_refuse(const struct cli_error *error, bool json)
{
    fprintf(stderr, "granule: %s\n", error->text);
    if (json) {
        json_t *object = json_pack("{s:o}", "error", cli_json_text(error->text));

        json_dumpf(object, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(object);
    }
    return CLI_USAGE;
}

bool cli_parse_u64(const char *text, uint64_t max, uint64_t *out)
{
    char *end;
    unsigned long long value;

    if (text[0] < '0' || text[0] > '9') { /* strtoull() would take blanks and signs */
        return false;
    }
    errno = 0;
    value = strtoull(text, &end, 0);
    if (errno != 0 || *end != '\0' || value > max) {
        return false;
    }
    *out = value;
    return true;
}

bool cli_option_error(struct cli_error *error, int code, char **argv, const char *verb)
{
    const char *space = verb ? " " : "";
    const char *option = argv[optind - 1];
    char letter[3] = {'-', (char)optopt, '\0'};

    if (!verb) {
        verb = "";
    }
    if (option[0] == '-' && option[1] == '-') {
        int name = (int)strcspn(option, "=");

        if (code == ':') {
            return cli_error_set(error, "option %s needs a value: %s=VALUE", option, option);
        }
        if (option[name] == '=' && optopt != 0) {
            return cli_error_set(error, "option %.*s takes no value: leave out %s", name, option,
                                 option + name);
        }
        return cli_error_set(error, "unknown option %.*s: see granule%s%s --help", name, option,
                             space, verb);
    }
    return cli_error_set(error, "unknown option %s: see granule%s%s --help", letter, space, verb);
}

bool cli_wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            return true;
        }
    }
    return false;
}

static void print_help(void)
{
    printf("Usage: granule [--help] [--version [--json]] VERB [OPTION]... ARGUMENT...\n"
           "\n"
           "IOMMUs and DMA mapping, tried on register-level models of the hardware.\n"
           "\n"
           "Verbs:\n");
    for (size_t i = 0; i < VERBS; i++) {
        printf("  %-8s %s\n", verbs[i].name, verbs[i].summary);
    }
    printf("\n"
           "`granule VERB --help` describes one of them.\n"
           "\n"
           "Exit status: 0 every check passed, 1 a check failed, 2 wrong usage or wrong input.\n");
}

static bool verb_error(struct cli_error *error, const char *given)
{
    char names[256] = "";

    for (size_t i = 0; i < VERBS; i++) {
        snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", i > 0 ? ", " : "",
                 verbs[i].name);
    }
    if (!given) {
        return cli_error_set(error, "no verb given: name one of: %s; or see granule --help", names);
    }
    return cli_error_set(error, "unknown verb %s: name one of: %s; or see granule --help", given,
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
    struct cli_error error;
    bool json = cli_wants_json(argc, argv);
    bool early = false; /* --json before the verb */
    int code;

    opterr = 0;
    while ((code = getopt_long(argc, argv, "+:hV", options, NULL)) != -1) {
        switch (code) {
        case 'h':
            print_help();
            return finish(CLI_OK);
        case 'j':
            early = true;
            break;
        case 'V':
            return finish(cli_version(json));
        default:
            cli_option_error(&error, code, argv, NULL);
            return cli_refuse(&error, json);
        }
    }
    if (early) {
        cli_error_set(&error, "option --json belongs after the verb: see granule --help");
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
            return finish(verbs[i].run(argc - first, argv + first));
        }
    }
    verb_error(&error, argv[optind]);
    return cli_refuse(&error, json);
}
