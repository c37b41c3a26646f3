/* SPDX-License-Identifier: MIT */
/* What a run counts. */
#ifndef SIM_TALLY_H
#define SIM_TALLY_H

#include <stdbool.h>
#include <stdint.h>

struct sim_tally_device {
    uint64_t maps;
    uint64_t bytes;
    uint64_t leaked; /* bytes of memory that it reached and no buffer of its had; attack only */
    uint64_t slack;  /* of these, what windows let through */
};

struct sim_tally {
    bool attack;                      /* every device is hostile: leaks are counted */
    struct sim_tally_device *devices; /* one for each of the machine's */
    uint64_t maps;                    /* single maps, lists and coherent buffers */
    uint64_t bytes;                   /* mapped, each map's length once */
    uint64_t lists;                   /* of the maps, with so many segments; and coherent buffers */
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

#endif
