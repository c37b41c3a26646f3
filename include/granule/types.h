/* SPDX-License-Identifier: MIT */
/*
 * Scalars, ranges and permissions that every other header uses.
 *
 * Words (docs/DESIGN.md has the full list):
 *   P      the CPU's page size
 *   G      the granule: smallest page of an IOMMU instance, read from the hardware
 *   IOVA   the address a device uses
 *   PA     a physical address
 *
 * Ranges are (start, length) in APIs and (first, last), both inclusive, where a range may end at
 * 2^64 - 1. `end` is always exclusive. Every length is in bytes unless the name says otherwise.
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

/* A result that must be looked at: every function that can fail carries it. */
#define GR_MUST_CHECK __attribute__((warn_unused_result))

GR_BEGIN_DECLS

typedef uint64_t gr_iova_t;
typedef uint64_t gr_pa_t;

/* An address range, both ends inclusive. */
struct gr_range {
    uint64_t first;
    uint64_t last;
};

/* A piece of memory. */
struct gr_seg {
    gr_pa_t pa;
    uint64_t len;
};

/* What a device may do through a mapping. At least one of READ and WRITE must be set. */
#define GR_PROT_READ 0x1u  /* the device may read memory */
#define GR_PROT_WRITE 0x2u /* the device may write memory */
#define GR_PROT_UNCACHED                                                                           \
    0x4u /* bypass the system cache where the format has a bit for it (DART2),                     \
            without effect where it has none (DART1) */

/* A node of an intrusive, circular, doubly linked list. Private to the library. */
struct gr_link {
    struct gr_link *next;
    struct gr_link *prev;
};

GR_END_DECLS

#endif
