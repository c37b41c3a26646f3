/* SPDX-License-Identifier: MIT */
/* How the verbs that decode tables show what they found. */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include "sim/snapshot_read.h"

/* Read a snapshot, and show progress. False: refused, and *out_status is the exit status. */
bool cli_open_snapshot(struct sim_snapshot *snapshot, const char *dir, bool json, int *out_status);

/* "blocked", "bypass", "translate" */
const char *cli_show_mode(enum walker_mode mode);

struct cli_show_text {
    char text[64];
};

/* "16 KiB", "1.5 MiB": cut off after one digit. */
struct cli_show_text cli_show_size(uint64_t bytes);

/* "0xFIRST-0xLAST" */
struct cli_show_text cli_show_range(uint64_t first, uint64_t last);

#endif
