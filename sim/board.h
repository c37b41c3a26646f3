/* SPDX-License-Identifier: MIT */
/* A board: a device tree in memory, read from a .dtb or compiled from a .dts. */
#ifndef SIM_BOARD_H
#define SIM_BOARD_H

#include "error.h"

#include <granule/dt.h>

struct sim_board {
    const char *path; /* as given, not owned */
    void *blob;
    size_t size;
    struct gr_dt dt;
    char model[96]; /* the tree's name for itself, printable ASCII, or "" */
};

/*
 * Read and check a tree. A file that begins with the blob's magic number is a .dtb; one whose name
 * ends in .dts is compiled by dtc, which must be installed. On false nothing needs freeing.
 */
bool sim_board_load(struct sim_board *board, const char *path, struct sim_error *error);
void sim_board_free(struct sim_board *board);

#endif
