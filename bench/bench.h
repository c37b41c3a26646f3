/* SPDX-License-Identifier: MIT */
/* What `granule bench` measures, and the machine without hardware that it measures on. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <granule/granule.h>

#include <stdbool.h>
#include <stdint.h>

#define BENCH_MAX_SEGS 256u

/* ---- A device behind an IOMMU that is not there ---- */

/*
 * The instance's driver counts invalidations and touches no register, so that what is timed is the
 * library's own work. Translation is a DART1's of 32 bits, 36 bits of PA, coherent walker.
 */
struct stand {
    struct bench_env env;
    struct gr_instance inst;
    uint64_t invalidations; /* that reached the driver */
    struct gr_stream stream;
    struct gr_device dev;
    struct gr_domain domain;
    gr_iova_t kept; /* see stand_make() */
    bool keeps;
};

/*
 * Make a TRANSLATED domain with granules of 2^granule_lg2 and attach the device. `keeps`: one page
 * stays mapped all the time, so that leaf tables are there when a list comes; without it nothing
 * else is mapped, and each map makes the tables that the unmap before it freed.
 * Returns 0 or what the library said.
 */
int stand_make(struct stand *s, unsigned granule_lg2, bool caches_absent, bool keeps);

/* Tear down. GR_EBUSY if the library has not given all its memory back. */
int stand_end(struct stand *s);

/* ---- One row of the table ---- */

enum shape_kind { SHAPE_SCATTERED, SHAPE_CONTIGUOUS, SHAPE_SINGLE };

struct shape {
    enum shape_kind kind;
    unsigned count;   /* segments */
    uint64_t seg_len; /* bytes of each */
};

struct row {
    char name[48];
    const struct shape *shape;
    unsigned granule_lg2;
    bool keeps;
};

struct options {
    uint64_t seed;
    uint64_t rounds;
    uint64_t time_ms;    /* of one round */
    uint64_t iterations; /* of one round; 0: as many as fit in time_ms */
    const char *only;    /* the name of one row, or NULL */
    bool absent;         /* the IOMMU caches absent entries */
    bool json;
};

/* Numbers are for one list: map and unmap. */
struct result {
    double ns_median;
    double ns_min;
    double instructions; /* median; negative: the machine does not tell */
    uint64_t iterations; /* in each round */
    uint64_t walks;
    uint64_t leaf_tables; /* that the list's IOVAs lie in */
    uint64_t map_invalidations;
    uint64_t unmap_invalidations;
    bool held; /* walks and invalidations are as few as promised, and translations right */
};

/* Measure a row. Returns 0 or what the library said. */
int row_measure(const struct row *row, const struct options *options, struct result *out);

/* ---- Instructions ---- */

/* Start counting this thread's instructions in user space, where the machine lets us. */
void counter_open(void);

/* Instructions since counter_open(), or -1. */
int64_t counter_read(void);

#endif
