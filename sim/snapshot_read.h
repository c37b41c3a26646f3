/* SPDX-License-Identifier: MIT */
/*
 * A saved machine, read back: DIR/machine.json and DIR/memory.img, as docs/SNAPSHOT.md has them.
 * sim_snapshot_load() checks everything but the content of the tables: types, ranges, names that
 * records refer to, the size of the image, that registers and granule agree.
 */
#ifndef SIM_SNAPSHOT_READ_H
#define SIM_SNAPSHOT_READ_H

#include "error.h"
#include "walker.h"

#include <jansson.h>

struct sim_snapshot_register {
    uint32_t offset, value;
};

struct sim_snapshot_instance {
    const char *path;
    const char *compatible;
    uint64_t granule;
    bool locked;
    struct sim_snapshot_register *registers; /* sorted by offset */
    size_t nregisters;
    struct sim_snapshot *snapshot;
    struct walker_source source;
    struct walker_instance walker; /* `kind` is NULL where the walker has no description of it */
};

struct sim_snapshot_mapping {
    const char *device;
    const char *kind;
    unsigned instance; /* index */
    unsigned stream;
    uint64_t iova, pa, length;
    bool read, write;
    bool windowed;
    uint64_t window, window_last; /* IOVAs, if windowed */
};

struct sim_snapshot {
    const char *dir; /* as given, not owned */
    unsigned cpu_page;
    uint64_t ram_base, ram_size;
    struct sim_snapshot_instance *instances;
    size_t ninstances;
    struct sim_snapshot_mapping *mappings; /* sorted by instance, stream, IOVA */
    size_t nmappings;
    json_t *root; /* owns every string */
    int memory;   /* file descriptor */
};

/*
 * Read both files. On false nothing needs freeing. The snapshot must not move in memory, and the
 * directory's name must outlive it.
 */
bool sim_snapshot_load(struct sim_snapshot *snapshot, const char *dir, struct sim_error *error);
void sim_snapshot_free(struct sim_snapshot *snapshot);

/* The instance of that path, or NULL. */
const struct sim_snapshot_instance *sim_snapshot_find(const struct sim_snapshot *snapshot,
                                                      const char *path);

/* How many mappings streams `first` to `last` of an instance have; *out is the first of them. */
size_t sim_snapshot_mappings(const struct sim_snapshot_instance *inst, unsigned first,
                             unsigned last, const struct sim_snapshot_mapping **out);

#endif
