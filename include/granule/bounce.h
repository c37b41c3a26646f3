/* SPDX-License-Identifier: MIT */
/*
 * The bounce pool: memory that stands in for a buffer, or for the end of one, where the device must
 * not reach what lies beside it (docs/SECURITY.md) or cannot reach the buffer itself.
 *
 * A *slot* is a power of two of bytes, naturally aligned, at least a granule of the domain that it
 * serves, and nobody else's: what is not data in it is zero. One pool may serve any number of
 * domains (gr_domain_set_bounce()), also of different granules. Memory comes from the port in
 * chunks of 256 KiB, which is also the largest slot; every CPU has an area of chunks with a lock of
 * its own and takes from others' only before it makes a new one. Chunks stay until the pool goes.
 *
 * Slots are made and freed by the DMA API only.
 */
#ifndef GRANULE_BOUNCE_H
#define GRANULE_BOUNCE_H

#include <granule/config.h>
#include <granule/err.h>
#include <granule/port.h>
#include <granule/types.h>

GR_BEGIN_DECLS

#define GR_BOUNCE_CHUNK UINT64_C(0x40000)

struct gr_bounce_config {
    gr_pa_t pa_last;  /* no chunk lies above: within the reach of every domain served */
    uint64_t limit;   /* bytes of chunks, at most; whole chunks, 1 to 2^20 of them */
    uint64_t reserve; /* bytes of chunks to have from the start, so that no map has to make one */
};

struct gr_bounce_chunk; /* private */

/* The chunks of one CPU, apart from another's. Private. */
struct gr_bounce_area {
    gr_lock_t lock;
    struct gr_link bin[7]; /* by the largest block that is free: 4 KiB << n */
    uint64_t slots;        /* in use */
    uint64_t used;         /* bytes of them */
    uint64_t slots_ever;
    uint64_t bounced; /* bytes of data ever placed in slots */
    uint64_t copied;  /* bytes ever copied, in and out */
    uint64_t lost;    /* bytes of slots that can never be used again */
    uint8_t apart[GR_PORT_CACHE_LINE];
};

/* Lives in the caller's memory; private. */
struct gr_bounce {
    gr_env_t env;
    struct gr_bounce_config config;
    struct gr_bounce_chunk **table; /* all chunks, hashed by PA */
    unsigned table_lg2;             /* log2 of its entries */
    gr_lock_t lock;                 /* making a chunk */
    uint32_t chunks;
    uint32_t chunks_max;
    uint64_t refused;
    struct gr_bounce_area area[GR_CFG_BOUNCE_AREAS];
};

struct gr_bounce_stats {
    uint64_t memory;     /* bytes of chunks; each has another page of bookkeeping */
    uint64_t limit;      /* of that */
    uint64_t slots;      /* in use */
    uint64_t used;       /* bytes of them */
    uint64_t slots_ever; /* made so far */
    uint64_t bounced;    /* bytes of buffers that were placed in slots so far */
    uint64_t copied;     /* bytes that the CPU copied so far, in and out */
    uint64_t lost;       /* bytes of slots that stay taken: an invalidation failed */
    uint64_t refused;    /* maps refused because there was no slot */
};

/*
 * Make a pool. May sleep. Returns 0, GR_EINVAL (limit or reserve not in whole chunks, reserve over
 * the limit, limit out of range), GR_ENOMEM (nothing is left behind).
 */
GR_MUST_CHECK int gr_bounce_init(struct gr_bounce *pool, gr_env_t env,
                                 const struct gr_bounce_config *config);

/*
 * Give all memory back, but chunks with a slot that an unconfirmed invalidation has lost: a device
 * may still write there. Returns 0, or GR_EBUSY while a slot is in use. May sleep.
 */
GR_MUST_CHECK int gr_bounce_fini(struct gr_bounce *pool);

/* Any CPU, at any time; exact when nothing else runs. */
void gr_bounce_stats(struct gr_bounce *pool, struct gr_bounce_stats *out);

GR_END_DECLS

#endif
