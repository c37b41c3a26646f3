/* SPDX-License-Identifier: MIT */
/* Two files from which anyone can check the tables of a machine: memory.img and machine.json. */
#ifndef SIM_SNAPSHOT_WRITE_H
#define SIM_SNAPSHOT_WRITE_H

#include "machine.h"

/* One run of a mapping, contiguous in IOVA and PA, as one stream has it; exact, not rounded. */
struct sim_snapshot_record {
    const char *device; /* paths */
    const char *instance;
    const char *kind;
    uint32_t stream;
    bool read; /* what the leaf permits */
    bool write;
    gr_iova_t iova;
    gr_pa_t pa;
    uint64_t length;
    bool narrow; /* the leaves let through only the window: */
    gr_iova_t window, window_last;
};

/* Make the folder if it is missing, and check that it can be written to. */
bool sim_snapshot_prepare(const char *dir, struct sim_error *error);

/*
 * Write both files, or, on false, neither: they are renamed into place at the end. Other files in
 * the folder stay as they are. The machine is not changed.
 */
bool sim_snapshot_write(struct sim_machine *m, const struct sim_snapshot_record *mappings,
                        size_t count, const char *dir, struct sim_error *error);

#endif
