/* SPDX-License-Identifier: MIT */
#include "cli.h"

#include "sim/json.h"

#include <errno.h>
#include <granule/granule.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int cli_version(bool json)
{
    printf(json ? "{\"version\":\"%s\"}\n" : "granule %s\n", GR_VERSION_STRING);
    return CLI_OK;
}

int cli_finish(int status)
{
    struct sim_error error;
    bool written = fflush(stdout) == 0 && !ferror(stdout);

    if (written || status == CLI_USAGE)
        return status;
    sim_refuse(&error, "not all of the output could be written: standard output is full or closed");
    return cli_refuse(&error, false);
}

int cli_refuse(const struct sim_error *error, bool json)
{
    fprintf(stderr, "granule: %s\n", error->text);
    if (json) {
        json_t *const object = json_pack("{s:o}", "error", sim_json_text(error->text));

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

    if (text[0] < '0' || text[0] > '9') /* strtoull() would take blanks and signs */
        return false;
    errno = 0;
    value = strtoull(text, &end, 0);
    if (errno != 0 || *end != '\0' || value > max)
        return false;
    *out = value;
    return true;
}

bool cli_option_error(struct sim_error *error, int code, char **argv, const char *verb)
{
    const char *const space = verb ? " " : "";
    const char *const option = argv[optind - 1];
    char letter[3] = {'-', (char)optopt, '\0'};

    if (!verb)
        verb = "";
    if (option[0] == '-' && option[1] == '-') {
        int name = (int)strcspn(option, "=");

        if (code == ':')
            return sim_refuse(error, "option %s needs a value: %s=VALUE", option, option);
        if (option[name] == '=' && optopt != 0)
            return sim_refuse(error, "option %.*s takes no value: leave out %s", name, option,
                              option + name);
        return sim_refuse(error, "unknown option %.*s: see granule%s%s --help", name, option, space,
                          verb);
    }
    return sim_refuse(error, "unknown option %s: see granule%s%s --help", letter, space, verb);
}

bool cli_wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

/* False: the verb has no more to do. *out_status is CLI_USAGE then if `error` was filled in. */
static bool parse(const struct cli_usage *usage, int argc, char **argv, void *into, bool *json,
                  int *out_status, struct sim_error *error)
{
    int code;

    opterr = 0;
    while ((code = getopt_long(argc, argv, ":h", usage->options, NULL)) != -1) {
        switch (code) {
        case 'j':
            *json = true;
            break;
        case 'h':
            usage->print_help(usage->verb);
            *out_status = CLI_OK;
            return false;
        case 'V':
            *out_status = cli_version(*json);
            return false;
        case '?':
        case ':':
            return cli_option_error(error, code, argv, usage->verb);
        default:
            if (!usage->set(into, code, optarg, error))
                return false;
        }
    }
    return usage->operands(into, argc - optind, argv + optind, error);
}

bool cli_parse(const struct cli_usage *usage, int argc, char **argv, void *into, bool *out_json,
               int *out_status)
{
    struct sim_error error;

    *out_json = cli_wants_json(argc, argv);
    *out_status = CLI_USAGE;
    if (parse(usage, argc, argv, into, out_json, out_status, &error))
        return true;
    if (*out_status == CLI_USAGE)
        cli_refuse(&error, *out_json);
    return false;
}
