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
 * library's own work, and where it is asked to the time that hardware would take. The walker is
 * coherent.
 */
struct stand {
    struct bench_env env;
    struct gr_instance inst;
    uint64_t leaf_only;   /* invalidations of leaves alone that reached the driver */
    uint64_t with_tables; /* and of entries above them as well */
    unsigned command_ns;  /* that the driver spends on each; 0 or the caller's */
    struct gr_stream stream;
    struct gr_device dev;
    struct gr_domain domain;
    gr_iova_t kept; /* see stand_make() */
    bool keeps;
    struct gr_bounce pool;
    bool bounces; /* it has that pool */
};

/* A DART1 of 32 bits with 36 bits of PA; an SMMU's stage 1 of 48 bits each. */
enum shape_format { FORMAT_DART_16K, FORMAT_DART_4K, FORMAT_LPAE_4K, FORMATS };

unsigned stand_granule_lg2(enum shape_format format);

/* Does the library know the format? */
bool stand_knows(enum shape_format format);

/*
 * Make a TRANSLATED domain of this format and attach the device. `keeps`: one page
 * stays mapped all the time, so that leaf tables are there when a list comes; without it nothing
 * else is mapped, and each map makes the tables that the unmap before it freed.
 * Returns 0 or what the library said.
 */
int stand_make(struct stand *s, enum shape_format format, bool caches_absent, bool keeps);

/*
 * The same on a DART of 16 KiB, its device isolated as `how` says, invalidations deferred or not;
 * or, with `linear`, in a LINEAR domain that maps all memory but stand_buffer(). It has a pool to
 * bounce from.
 */
int stand_make_isolated(struct stand *s, enum gr_isolation how, bool deferred, bool linear,
                        bool caches_absent);

/* 2 MiB of memory for buffers, which is not the library's. */
gr_pa_t stand_buffer(void);

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
    enum shape_format format;
    bool keeps;
};

/* Hardware whose time each row is measured with a second time. */
enum hardware { HARDWARE_OWN, HARDWARE_NONE, HARDWARE_DART, HARDWARE_SMMU };

struct options {
    uint64_t seed;
    uint64_t rounds;
    uint64_t time_ms;    /* of one round */
    uint64_t iterations; /* of one round; 0: as many as fit in time_ms */
    const char *only;    /* the name of one row, or NULL */
    enum hardware hardware;
    const char *svg; /* folder for plots, or NULL */
    bool isolation;  /* the other benchmark */
    bool absent;     /* the IOMMU caches absent entries */
    bool json;
};

/* Numbers are for one list: map and unmap. */
struct result {
    double ns_median;
    double ns_min;
    double ns_hardware;  /* median, with the time of the hardware; negative: not asked for */
    double instructions; /* median; negative: the machine does not tell */
    uint64_t iterations; /* in each round */
    uint64_t walks;
    uint64_t leaf_tables; /* that the list's IOVAs lie in */
    uint64_t map_invalidations;
    uint64_t unmap_invalidations;
    uint64_t leaf_only; /* of them all: nothing above the leaves had changed */
    bool held;          /* walks and invalidations are as few as promised, and translations right */
};

/* Measure a row. Returns 0 or what the library said. */
int row_measure(const struct row *row, const struct options *options, struct result *out);

/* ---- granule bench isolation ---- */

/* Measure all rows and print them. The exit status. */
int isolation_bench(const struct options *options);

/* Hardware's time for a command of a DART. */
#define BENCH_DART_NS 1000u

/* ---- Instructions ---- */

/* Start counting this thread's instructions in user space, where the machine lets us. */
void counter_open(void);

/* Instructions since counter_open(), or -1. */
int64_t counter_read(void);

#endif
