/* SPDX-License-Identifier: MIT */
/*
 * The bounce pool: memory that stands in for a buffer, or for one end of a buffer. An end bounces
 * where the device must not reach the memory beside the buffer (docs/SECURITY.md), a whole buffer
 * where the device cannot reach it.
 *
 * A *slot* is a naturally aligned power of two of bytes, at least one granule of the domain that
 * uses the slot. A slot holds data of one buffer, and zeros around the data. One pool may serve any
 * number of domains (gr_domain_set_bounce()), also domains with different granules.
 *
 * Memory comes from the port in chunks of 256 KiB, which is also the size of the largest slot.
 * Every CPU has an area of chunks with a lock of its own. A slot is taken from the CPU's own area,
 * else from another area, else from a new chunk. Chunks stay until gr_bounce_fini().
 *
 * Only the DMA API makes and frees slots.
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
    gr_pa_t pa_last;  /* chunks lie at or below this: every domain served must reach it */
    uint64_t limit;   /* the most bytes of chunks; whole chunks, 1 to 2^20 of them */
    uint64_t reserve; /* bytes of chunks to make at once, so that no map has to make a chunk */
};

struct gr_bounce_chunk; /* private */

/* The chunks of one CPU, a cache line apart from the next area. Private. */
struct gr_bounce_area {
    gr_lock_t lock;
    struct gr_link bin[7]; /* bin n: chunks whose largest free block has 4 KiB << n */
    uint64_t slots;        /* in use */
    uint64_t used;         /* bytes of slots in use */
    uint64_t slots_ever;
    uint64_t bounced; /* bytes of data ever placed in slots */
    uint64_t copied;  /* bytes ever copied, in and out */
    uint64_t lost;    /* bytes of slots that can never be used again */
    uint8_t apart[GR_PORT_CACHE_LINE];
};

/* A pool, in the caller's memory. Every member is private. */
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
    uint64_t memory;     /* bytes of chunks; each chunk has 4 KiB of bookkeeping besides */
    uint64_t limit;      /* gr_bounce_config.limit */
    uint64_t slots;      /* slots in use */
    uint64_t used;       /* bytes of slots in use */
    uint64_t slots_ever; /* slots made so far */
    uint64_t bounced;    /* bytes of buffers that were placed in slots so far */
    uint64_t copied;     /* bytes that the CPU copied so far, in and out */
    uint64_t lost;       /* bytes of slots that stay taken, because an invalidation failed */
    uint64_t refused;    /* maps refused because there was no slot */
};

/*
 * Make a pool. It owns its memory until gr_bounce_fini(). Context: may sleep.
 * Returns 0, GR_EINVAL (limit or reserve not in whole chunks, reserve above the limit, limit out of
 * range), GR_ENOMEM. Nothing is held after a failure.
 */
GR_MUST_CHECK int gr_bounce_init(struct gr_bounce *pool, gr_env_t env,
                                 const struct gr_bounce_config *config);

/*
 * Give all memory back, except chunks in which a slot was lost to a failed invalidation: a device
 * may still write to such a slot. No domain may use the pool any more. Configuration context.
 * Returns 0, or GR_EBUSY while a slot is in use.
 */
GR_MUST_CHECK int gr_bounce_fini(struct gr_bounce *pool);

/* Any context. The numbers are exact when no other call uses the pool. */
void gr_bounce_stats(struct gr_bounce *pool, struct gr_bounce_stats *out);

GR_END_DECLS

#endif
