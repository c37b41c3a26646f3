/* SPDX-License-Identifier: MIT */
/* What a run found, and how it is told to people and to machines. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "sim/machine.h"
#include "sim/tally.h"

struct cli_report {
    const struct sim_machine *machine;
    const struct sim_tally *tally;
    const char *snapshot; /* the folder that one was saved in, or NULL */
};

/* Did everything hold? The command's exit status. */
bool cli_report_passed(const struct cli_report *report);

/* Print it, tables or one line of JSON. False when memory is short or stdout takes no more. */
bool cli_report_table(const struct cli_report *report);
bool cli_report_json(const struct cli_report *report);

#endif
