/* SPDX-License-Identifier: MIT */
/* What a run found, and how it is told to people and to machines. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "machine.h"

struct report_device {
    uint64_t maps;
    uint64_t bytes;
    uint64_t leaked; /* bytes of memory that it reached and no buffer of its had; attack only */
    uint64_t slack;  /* of these, what windows let through */
};

struct report {
    const struct machine *machine;
    bool attack;                   /* every device is hostile: leaks are counted */
    const char *snapshot;          /* the folder that one was saved in, or NULL */
    struct report_device *devices; /* one for each of the machine's */
    uint64_t maps;                 /* single maps, lists and coherent buffers */
    uint64_t bytes;                /* mapped, each map's length once */
    uint64_t lists;                /* of the maps, with so many segments; and coherent buffers */
    uint64_t segments;
    uint64_t coherent;
    /* The bad counters. */
    uint64_t mismatched_bytes;
    uint64_t touched_guard_bytes;
    uint64_t unexpected_faults;
    uint64_t missed_faults;
    uint64_t live_mappings;
    uint64_t leaked_pages;
    uint64_t misuse;
};

/* Did everything hold? The command's exit status. */
bool report_passed(const struct report *report);

/* Print it, tables or one line of JSON. False when memory is short or stdout takes no more. */
bool report_table(const struct report *report);
bool report_json(const struct report *report);

#endif
