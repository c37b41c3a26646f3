/* SPDX-License-Identifier: MIT */
/* Slots of the bounce pool, for dma/ and for a DEFERRED domain's queue, which frees them late. */
#ifndef GRI_IOMMU_BOUNCE_H
#define GRI_IOMMU_BOUNCE_H

#include <granule/bounce.h>

/* A slot, and the part of a buffer that it stands in for. */
struct gri_slot {
    gr_pa_t pa; /* of the buffer's part; its bytes lie from `offset` on in the slot */
    uint32_t offset;
    uint32_t len;          /* of the part; 0: nothing but zeroes */
    struct gri_slot *next; /* in a list of the slot's holder */
    uint32_t size;         /* of the slot; 0: free */
    uint8_t chunk_unit;    /* the unit of its chunk that the slot starts at */
};

/*
 * Take a slot of at least `size` bytes, a power of two, for `len` bytes at `pa`, which lie from
 * `offset` on in the slot. Copy them in; the rest of the slot is zero. Any context.
 * Returns 0, GR_ENOBUFS (at the limit, or longer than a chunk), GR_ENOMEM (the port has none left).
 */
GR_MUST_CHECK int gri_bounce_make(struct gr_bounce *pool, uint64_t size, uint32_t offset,
                                  gr_pa_t pa, uint32_t len, struct gri_slot **out);

/* A map fails with GR_ENOBUFS for want of a slot of `size`: count it, and say so once. */
void gri_bounce_refused(struct gr_bounce *pool, uint64_t size);

/* The slot that `pa` lies in, or NULL; it must not be freed meanwhile. Any context, no lock. */
struct gri_slot *gri_bounce_find(const struct gr_bounce *pool, gr_pa_t pa);

/* Where a slot lies. */
gr_pa_t gri_bounce_pa(const struct gri_slot *slot);
unsigned char *gri_bounce_va(const struct gri_slot *slot);

/*
 * Copy [first, first + len) of a slot to the buffer (`out`) or from it, as far as those bytes stand
 * in for the buffer's. Any context; barriers and caches are the caller's.
 */
void gri_bounce_copy(const struct gri_slot *slot, uint64_t first, uint64_t len, bool out);

/* Free a list of slots; with `lost` their memory is never used again. Any context. */
void gri_bounce_free(struct gri_slot *slots, bool lost);

#endif
