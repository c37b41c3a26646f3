/* SPDX-License-Identifier: MIT */
/*
 * Scalars, ranges and permissions that every other header uses.
 *
 * Words (docs/DESIGN.md has the full list):
 *   P      the CPU's page size
 *   G      the granule: the smallest page of an IOMMU instance, read from its registers
 *   IOVA   the address a device uses
 *   PA     a physical address
 *
 * Ranges are (start, length) in APIs and (first, last), both inclusive, where a range may end at
 * 2^64 - 1. `end` is always exclusive. Every length is in bytes unless the name says otherwise.
 *
 * Contexts, in the words that the functions use for them:
 *   any            on any CPU, at the same time as other calls, with interrupts off, with a lock of
 *                  the host held, in an interrupt handler. The function never sleeps.
 *   configuration  the host makes one such call at a time for objects that are connected:
 *                  instances, their devices, the domains of these. The host holds no lock, and the
 *                  function may sleep.
 */
#ifndef GRANULE_TYPES_H
#define GRANULE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define GR_BEGIN_DECLS extern "C" {
#define GR_END_DECLS }
#else
#define GR_BEGIN_DECLS
#define GR_END_DECLS
#endif

/* The result must be looked at. Every function that can fail is marked with this. */
#define GR_MUST_CHECK __attribute__((warn_unused_result))

GR_BEGIN_DECLS

typedef uint64_t gr_iova_t;
typedef uint64_t gr_pa_t;

/* An address range, both ends inclusive. */
struct gr_range {
    uint64_t first;
    uint64_t last;
};

/* A piece of physical memory; no alignment is asked for. */
struct gr_seg {
    gr_pa_t pa;
    uint64_t len;
};

/* What a device may do through a mapping. A mapping has READ, WRITE or both. */
#define GR_PROT_READ 0x1u  /* the device may read memory */
#define GR_PROT_WRITE 0x2u /* the device may write memory */
#define GR_PROT_UNCACHED                                                                           \
    0x4u /* the device's accesses bypass caches: DART2's NO_CACHE (DART.md 4.2), LPAE's            \
            non-cacheable memory; without effect in DART1, which has no bit for it */

/* A node of an intrusive, circular, doubly linked list. Private to the library. */
struct gr_link {
    struct gr_link *next;
    struct gr_link *prev;
};

GR_END_DECLS

#endif
