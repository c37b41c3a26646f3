/* SPDX-License-Identifier: MIT */
/* What the tables of a stream map, as runs, and whether a snapshot's records agree. */
#ifndef SIM_TABLES_H
#define SIM_TABLES_H

#include "snapshot_read.h"

/* Neighbouring leaves, contiguous in IOVA and PA, with equal attributes. */
struct sim_tables_run {
    uint64_t iova, last;
    uint64_t pa;
    uint64_t open,
        open_last; /* what windows let through, without a gap; open > open_last: nothing */
    bool read, write, uncached;
};

struct sim_tables {
    const struct sim_snapshot_instance *inst;
    unsigned sid;
    struct walker_stream stream;
    struct sim_tables_run *runs; /* in the order of IOVA */
    size_t nruns, room;
    uint64_t mapped;                /* bytes */
    uint64_t tables[WALKER_LEVELS]; /* by level */
};

/* A list of sentences. */
struct sim_tables_problem {
    const char *instance;
    unsigned stream;
    uint64_t iova;
    char text[256];
};

struct sim_tables_problems {
    struct sim_tables_problem *list;
    size_t count, room;
};

/* What --check found. */
struct sim_tables_check {
    uint64_t mappings;    /* records looked at */
    uint64_t wrong;       /* of these, that do not translate as they say, or overlap another */
    uint64_t unexplained; /* bytes that leaves map and no record does */
};

/* Decode a stream; false: no memory. What is wrong with the tables themselves goes to `problems`.
 */
bool sim_tables_load(struct sim_tables *tables, const struct sim_snapshot_instance *inst,
                     unsigned sid, struct sim_tables_problems *problems);
void sim_tables_free(struct sim_tables *tables);

/* "read and write", "read only", "write only", "no access" */
const char *sim_tables_access(bool read, bool write);

/* Compare with the records of that instance and stream; false: no memory. */
bool sim_tables_check(const struct sim_tables *tables, struct sim_tables_check *check,
                      struct sim_tables_problems *problems);

/* Records of an instance whose tables are not known here cannot be right. */
bool sim_tables_check_unknown(const struct sim_snapshot_instance *inst,
                              struct sim_tables_check *check, struct sim_tables_problems *problems);

void sim_tables_problems_free(struct sim_tables_problems *problems);

#endif
