/* SPDX-License-Identifier: MIT */
/*
 * Register-level model of Arm's SMMUv3, written from the architecture (IHI 0070) alone.
 *
 * Modelled: the non-secure registers of pages 0 and 1, linear and two-level stream tables, context
 * descriptors without substreams, stage 1 or stage 2 with AArch64 tables of 4, 16 and 64 KiB up to
 * 48 bits, the command queue with its errors, the event queue with its overflow, global errors,
 * both interrupts. Not modelled: both stages of one stream, substreams, stalls, ATS, PRI, MSIs,
 * hierarchical permissions.
 *
 * The model is harsher than any one chip where the architecture leaves room. It caches stream table
 * entries, their first-level descriptors, context descriptors, table entries and leaves, each on
 * its own. A cached entry is dropped only when a command that names it *and* a later CMD_SYNC have
 * been consumed. Leaves of a contiguous group are cached as one. Neighbours may be prefetched on
 * any access, stream table entries too. Entries that are not valid are not cached.
 */
#ifndef MODELS_SMMUV3_SMMUV3_H
#define MODELS_SMMUV3_SMMUV3_H

#include "../model.h"

struct smmuv3_model_config {
    const struct model_host *host; /* must outlive the model */
    void *irq_cookie;              /* handed to host->irq, which is called with true at each edge */
    uint32_t mmio_size;            /* bytes, at least 0x20000 */
    uint32_t idr0, idr1, idr3, idr5; /* any values; features not modelled do nothing */

    /* Capacities in entries, at least 1. */
    unsigned tlb_entries;
    unsigned walk_entries;
    bool random_replacement; /* else least recently used; needs host->random */
    bool keep_all;           /* no capacity: keep every entry until it is invalidated */
};

struct smmuv3_model_stats {
    uint64_t hits;        /* translations answered by the TLB */
    uint64_t misses;      /* translations that had to walk */
    uint64_t fetches;     /* 64-bit reads of tables, structures and commands, prefetches included */
    uint64_t prefetches;  /* pages walked that no device asked for */
    uint64_t bad_fetches; /* reads that the host refused: freed tables, wild pointers */
    uint64_t commands;    /* consumed */
    uint64_t invalidations; /* commands among these that drop cached entries */
    uint64_t syncs;
    uint64_t faults;     /* accesses that the SMMU refused, whether recorded or not */
    uint64_t events;     /* recorded */
    uint64_t lost;       /* events not recorded, for lack of room or of memory */
    uint64_t bus_errors; /* accesses refused behind the SMMU, bad_fetches not included */
    uint64_t misuse;     /* registers written while they must not be, bad or unaligned offsets,
                            reserved bits, structures and leaves that hardware must not be given */
};

struct smmuv3_model;

#define SMMUV3_MODEL_STAGE_1 0x2u
#define SMMUV3_MODEL_STAGE_2 0x1u

/*
 * QEMU 7.2's identification (docs/QEMU.md): stage 1, coherent, two-level tables, 16 bits of ASID
 * and of streams, range invalidation, 4, 16 and 64 KiB, 44 bits of PA; 128 TLB and 32 walk
 * entries, LRU. host is NULL: fill it in.
 */
struct smmuv3_model_config smmuv3_model_defaults(void);

/* Configure a model with these stages, one or both; with stage 2 VMIDs have 16 bits. */
void smmuv3_model_set_stages(struct smmuv3_model_config *config, unsigned stages);

/*
 * A model in reset: all registers are 0 but the identification. NULL: out of memory, or a
 * configuration that is not valid.
 */
struct smmuv3_model *smmuv3_model_create(const struct smmuv3_model_config *config);
void smmuv3_model_destroy(struct smmuv3_model *m);

/* The CPU's accesses; `off` from the start of the window. */
uint32_t smmuv3_model_read32(struct smmuv3_model *m, uint64_t off);
void smmuv3_model_write32(struct smmuv3_model *m, uint64_t off, uint32_t val);
uint64_t smmuv3_model_read64(struct smmuv3_model *m, uint64_t off);
void smmuv3_model_write64(struct smmuv3_model *m, uint64_t off, uint64_t val);

/* Preset a register as firmware left it, with CR0ACK or IRQ_CTRLACK: no check, no side effect. */
void smmuv3_model_poke32(struct smmuv3_model *m, uint64_t off, uint32_t val);

/* What is stuck: commands are not consumed, or a register is not acknowledged. */
#define SMMUV3_MODEL_STUCK_COMMANDS 0x1u
#define SMMUV3_MODEL_STUCK_CR0 0x2u
#define SMMUV3_MODEL_STUCK_GBPA 0x4u
#define SMMUV3_MODEL_STUCK_IRQ 0x8u

/*
 * Commands are consumed, and registers acknowledged, delay_ns after the store. Until then old
 * translations serve. `stuck` is a set of SMMUV3_MODEL_STUCK_*: these do not happen at all, until a
 * later call leaves them out.
 */
void smmuv3_model_set_busy(struct smmuv3_model *m, uint64_t delay_ns, unsigned stuck);

/* While `lose`: commands are consumed and do nothing. */
void smmuv3_model_lose(struct smmuv3_model *m, bool lose);

/*
 * The n-th command from now is refused with this error (1: illegal, 2: abort). It is refused each
 * time it is fetched, until the queue has another command in its place; a CMD_SYNC is refused only
 * once. n 0: none.
 */
void smmuv3_model_refuse(struct smmuv3_model *m, uint64_t n, unsigned error);

/* The next n events cannot be written to memory. */
void smmuv3_model_fail_events(struct smmuv3_model *m, unsigned n);

/* Global errors become active. */
void smmuv3_model_raise(struct smmuv3_model *m, uint32_t errors);

/* Record an event as given: for events that this model never records by itself. */
void smmuv3_model_event(struct smmuv3_model *m, const uint64_t record[4]);

/*
 * Translate an access of `len` bytes at `iova` that lies within 4 KiB. *out_pa is set on MODEL_OK
 * only. A len of 0, or beyond the 4 KiB, is misuse and refused. Counts and records as an access
 * does.
 */
enum model_result smmuv3_model_translate(struct smmuv3_model *m, uint32_t sid, uint64_t iova,
                                         bool write, uint64_t len, uint64_t *out_pa);

/*
 * A device's access of any size and alignment, cut into pieces at multiples of 4 KiB. A piece is
 * done whole or not at all. *done counts the bytes completed, also on failure; may be NULL.
 */
enum model_result smmuv3_model_access(struct smmuv3_model *m, uint32_t sid, uint64_t iova,
                                      void *buf, uint64_t len, bool write, bool coherent,
                                      uint64_t *done);

/* Walk `iova` as a prefetcher may at any time, from the stream table entry on. Never faults. */
void smmuv3_model_prefetch(struct smmuv3_model *m, uint32_t sid, uint64_t iova);

const struct smmuv3_model_stats *smmuv3_model_stats(const struct smmuv3_model *m);

#endif
