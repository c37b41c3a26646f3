/* SPDX-License-Identifier: MIT */
/*
 * One side of the comparison: an implementation behind functions that are the same for all. Each
 * side's file defines the side_* adaptors and includes loops.h, so that the timed loops call the
 * implementation directly and only entering a loop is an indirect call.
 */
#ifndef PEER_SIDE_H
#define PEER_SIDE_H

#include "rt.h"

typedef unsigned long ul;

enum fmt { FMT_DART16K, FMT_LPAE4K, FMTS };

static inline unsigned fmt_lg2(enum fmt f)
{
    return f == FMT_DART16K ? 14 : 12;
}

/* Bits of an IOVA. */
static inline unsigned fmt_bits(enum fmt f)
{
    return f == FMT_DART16K ? 32 : 48;
}

#define SEG_LEN 4096u /* bytes of each segment of a list */

struct side {
    const char *name;

    /*
     * A space of addresses, in units of 4 KiB, from 1 to what `limit` will say. An address is a
     * number of units, 0: none. `plain` asks Linux to go around its caches, where it can.
     */
    void *(*space_make)(ul limit);
    void (*space_end)(void *);
    ul (*alloc)(void *, ul size, ul limit);
    void (*release)(void *, ul at, ul size);
    ul (*alloc_plain)(void *, ul size, ul limit);
    void (*release_plain)(void *, ul at, ul size);
    long (*pairs)(void *, const unsigned *size, ul mask, long n, ul limit);
    long (*allocs)(void *, const unsigned *size, ul *at, long n, ul limit);
    void (*releases)(void *, const unsigned *size, const ul *at, const unsigned *order, long n);
    long (*churn)(void *, ul *at, unsigned *size, const unsigned *which, const unsigned *next,
                  long n, ul limit);

    /* Page tables. pt_make() is NULL where this side does not have the format. */
    void *(*pt_make)(enum fmt f);
    void (*pt_end)(void *);
    long (*pt_map)(void *, const ul *iova, const ul *pa, long n, ul page, ul count);
    long (*pt_unmap)(void *, const ul *iova, long n, ul page, ul count);
    ul (*pt_phys)(void *, ul iova); /* 0: not mapped */

    /*
     * A device with a domain of its own. ring_make() maps a page that stays, as a driver's ring
     * does; once in each thread. dev_make() is NULL where the format is missing.
     */
    void *(*dev_make)(enum fmt f);
    void (*dev_end)(void *);
    void *(*ring_make)(void *dev);
    void (*ring_end)(void *dev, void *ring);
    void *(*list_make)(const ul *pa, long n);
    void (*list_end)(void *);
    long (*lists)(void *dev, void *list, long n, long rounds); /* map and unmap */
    long (*list_map)(void *dev, void *list, long n);           /* output segments, <= 0: error */
    void (*list_unmap)(void *dev, void *list, long n);
    long (*list_bad)(void *dev, void *list, const ul *pa, long n); /* mapped: wrong segments */
    ul (*dev_tables)(void *dev);                                   /* bytes of page tables held */

    ul (*memory)(void);  /* bytes taken from the pools and not given back */
    void (*reset)(void); /* nothing is live: the next row starts from memory in address order */
};

#endif
