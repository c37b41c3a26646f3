/* SPDX-License-Identifier: MIT */
/* What is compared: the rows, and how one of them is measured. */
#ifndef PEER_ROWS_H
#define PEER_ROWS_H

#include "side.h"

#include <stdbool.h>
#include <stddef.h>

extern const struct side side_linux;
extern const struct side side_granule; /* the port has an exclusive section */
extern const struct side side_without; /* the same library without it */

enum sizes { SIZES_SMALL, SIZES_LARGE }; /* 1..32 and 64..512 units */

struct row;
struct cell;

/* How a kind of row is measured on one side: built once, then asked for one value per repeat. */
struct kind {
    const char *unit;
    bool higher;                 /* more is better */
    int reps;                    /* at most; 0: as many as asked for */
    bool (*make)(struct cell *); /* false: this side does not have it */
    double (*once)(struct cell *);
    void (*end)(struct cell *);
};

struct row {
    char name[64];
    const char *theme;
    const struct kind *kind;
    bool growth;  /* a point of a plot, not of the table */
    bool without; /* ours is the build without the exclusive section */
    bool ring;    /* something stays mapped */
    enum fmt fmt;
    enum sizes sizes;
    unsigned bits;    /* of the address space */
    unsigned percent; /* of the space in use; 0: `live` */
    long live;        /* allocations */
    long n;           /* segments, or pages of one call */
    int threads;
    unsigned hw_ns; /* of one invalidation */
    int work;       /* of the threads */
};

/* One row on one side. */
struct cell {
    const struct row *row;
    const struct side *side;
    double budget_ns; /* that one repeat should take */
    long bad;         /* results that were wrong */
    long checks;      /* results that were looked at */
    ul invalidations; /* of the last repeat, for one list */
    ul seed;
    void *space;
    void *pt;
    void *dev;
    void *list;
    void *ring;
    ul limit;
    long n;      /* of the arrays */
    long rounds; /* that fill the budget */
    long at_next;
    ul *at;
    ul *iova;
    ul *pa;
    unsigned *size;
    unsigned *order;
};

/* All rows, in the order in which they are shown. Returns how many. */
size_t rows_all(const struct row **out);

/* Random use of a side against what must hold. Returns how often it did not; *checks counts. */
long rows_check(const struct side *side, long *checks);

#endif
