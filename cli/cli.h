/* SPDX-License-Identifier: MIT */
/* What the verbs of the `granule` command share. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "sim/error.h"

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit statuses of every verb. */
#define CLI_OK 0     /* all held */
#define CLI_FAILED 1 /* something did not */
#define CLI_USAGE 2  /* wrong usage or wrong input */

/* Print the sentence on stderr and, for machines, as {"error":"..."} on stdout. Returns CLI_USAGE.
 */
int cli_refuse(const struct sim_error *error, bool json);

/* After the last output: was there room for all of it? A refusal has been told on stderr already.
 */
int cli_finish(int status);

/* Print the version. Returns CLI_OK. */
int cli_version(bool json);

/* A decimal number or one with 0x or 0, at most `max`; nothing before or after it. */
bool cli_parse_u64(const char *text, uint64_t max, uint64_t *out);

/*
 * getopt_long() returned '?' or ':' : say what is wrong with which option. `verb` is NULL for the
 * options before the verb. Call with opterr = 0, optstring starting with "+:".
 */
bool cli_option_error(struct sim_error *error, int code, char **argv, const char *verb);

/* Is --json among the arguments? Looked up before parsing, so that wrong usage is told in JSON too.
 */
bool cli_wants_json(int argc, char **argv);

/* How a verb is called. */
struct cli_usage {
    const char *verb;
    const struct option *options; /* the last are CLI_OPTIONS */
    void (*print_help)(const char *verb);
    /* Take one of the verb's own options, and what follows all options. False: it is wrong. */
    bool (*set)(void *into, int code, const char *value, struct sim_error *error);
    bool (*operands)(void *into, int count, char **operands, struct sim_error *error);
};

/* The options of every verb, and the end of the list. */
#define CLI_OPTIONS                                                                                \
    {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'},                            \
        {"version", no_argument, NULL, 'V'},                                                       \
    {                                                                                              \
        NULL, 0, NULL, 0                                                                           \
    }

/*
 * Take all arguments. False: the verb has no more to do, because they are wrong, or --help or
 * --version was among them; *out_status is the exit status then.
 */
bool cli_parse(const struct cli_usage *usage, int argc, char **argv, void *into, bool *out_json,
               int *out_status);

/* The verbs: argv[0] is the verb's name. They return the exit status. */
int cli_run(int argc, char **argv);
int cli_attack(int argc, char **argv);
int cli_dump(int argc, char **argv);
int cli_walk(int argc, char **argv);
int cli_bench(int argc, char **argv);

#endif
