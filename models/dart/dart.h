/* SPDX-License-Identifier: MIT */
/*
 * Register-level model of Apple's DART, written from docs/hardware/DART.md alone.
 *
 * Modelled: the t8020 and t6000 register layout (DART.md 2), the USB4 variant of it, the t8110
 * layout up to revision 2.2 (DART.md 3), s5l8960x (DART.md 6); DART1 and DART2 tables of two or
 * three levels (DART.md 4); faults (DART.md 5); locks (DART.md 9.1); the checklist (DART.md 15).
 * Not modelled: DAPF, TrustZone regions, performance counters, TLB_CMD operations 2 and 3.
 *
 * Where DART.md leaves open what happens, the model does what hurts most. With
 * DIAG_LOCK.LOCK_ON_ERR every access after a fault is refused until the fault is acknowledged and
 * operation 4 follows. An s5l8960x drops no entry of a stream that does not translate while the
 * command runs, and a command for a stream that does not translate counts as misuse.
 *
 * The model is harsher than any one chip where DART.md leaves room. Table entries, valid or not,
 * are cached at every level until an invalidation of their stream has completed. Nothing else drops
 * them, neither stores to TCR nor to TTBR. Neighbours may be prefetched on any access.
 */
#ifndef MODELS_DART_DART_H
#define MODELS_DART_DART_H

#include "../model.h"

enum dart_model_kind {
    DART_MODEL_T8020,      /* "M1": DART1 tables */
    DART_MODEL_T8103_USB4, /* t8020 with 64 streams and the TTBRs at 0x400 */
    DART_MODEL_T6000,      /* "M1 Pro/Max/Ultra": t8020 registers, DART2 tables */
    DART_MODEL_T8110,      /* "M2" and later: own registers, DART2 tables */
    DART_MODEL_S5L8960X,   /* A7 to A9: own registers, DART1 tables of 4 KiB */
};

struct dart_model_config {
    enum dart_model_kind kind;
    const struct model_host *host; /* must outlive the model */
    void *irq_cookie;              /* handed to host->irq */
    uint32_t mmio_size;            /* bytes, at least 0x4000; s5l8960x: 0x2000; t8110 2.2: 0xc000 */
    unsigned page_bits;            /* 12 or 14; s5l8960x: 12 */
    unsigned va_bits;              /* IOVA bits above are dropped, and bits that no level reaches */
    unsigned pa_bits;              /* 36 or 42: a leaf beyond is a bus error */
    unsigned streams;              /* at most 16 (t8020, t6000), 64 (USB4), 256 (t8110), 4 */
    uint16_t revision;             /* t8110: major << 8 | minor, to 0x0202; others: unused */
    bool bypass;                   /* PARAMS2: full bypass supported */
    bool locked;                   /* CONFIG.LOCK or PROTECT[0] set from the start; not s5l8960x */

    /*
     * Disabled streams and blocked TCRs: ERROR code bits to latch, 0: deny and latch nothing. What
     * hardware latches is unknown (DART.md 15).
     */
    uint32_t denied_code;

    /* Capacities in entries, at least 1. */
    unsigned tlb_entries;
    unsigned walk_entries;
    bool random_replacement; /* else least recently used; needs host->random */
    bool keep_all;           /* no capacity: keep every entry until it is invalidated */

    /*
     * False: translations stall while an invalidation is busy. True: they go on, by the entries
     * that the command is about to drop. That exposes software that does not wait.
     */
    bool serve_while_busy;

    /* Compare the leaf of each hit with the tables as they are now: see `reused`. */
    bool watch_reuse;
};

struct dart_model_stats {
    uint64_t hits;          /* translations answered by the TLB, cached invalid leaves included */
    uint64_t misses;        /* translations that had to walk */
    uint64_t fetches;       /* 64-bit table reads, prefetches included */
    uint64_t prefetches;    /* pages walked that no device asked for */
    uint64_t bad_fetches;   /* table reads the host refused: freed tables, wild pointers */
    uint64_t invalidations; /* commands completed */
    uint64_t faults;        /* accesses the DART refused, whether latched or not */
    uint64_t lost;          /* faults among these that found an earlier fault in ERROR */
    uint64_t bus_errors;    /* accesses refused behind the DART, bad_fetches not included */
    uint64_t reused;        /* hits on a leaf whose IOVA the tables map elsewhere now: the IOVA was
                               reused before it was invalidated; watch_reuse only */
    uint64_t locked_writes; /* stores to registers a lock protects: dropped (DART.md 9.1) */
    uint64_t misuse;        /* stores while busy, wrong commands, bad or unaligned offsets,
                               registers touched while off */
};

struct dart_model;

/*
 * The family's usual values (DART.md 1): 16 KiB pages (s5l8960x: 4), va_bits 32 (t8110: 36),
 * pa_bits 36 (t6000: 42, t8110: 42), 16 streams (USB4: 64, s5l8960x: 4), bypass (USB4, s5l8960x:
 * none); revision 2.0; 128 TLB and 32 walk entries, LRU. host is NULL: fill it in.
 */
struct dart_model_config dart_model_defaults(enum dart_model_kind kind);

/*
 * A powered instance, registers in reset: all 0 but PARAMS, STREAM_REMAP (identity) and the lock;
 * thus every stream disabled. NULL: out of memory, or a configuration that is not valid (a field
 * above out of its range, no host).
 */
struct dart_model *dart_model_create(const struct dart_model_config *config);
void dart_model_destroy(struct dart_model *m);

/* The CPU's 32-bit accesses; `off` from the start of the window. Reads have no side effects. */
uint32_t dart_model_read32(struct dart_model *m, uint64_t off);
void dart_model_write32(struct dart_model *m, uint64_t off, uint32_t val);

/* Preset a register as firmware left it: no lock, no side effect, read-only ones too. */
void dart_model_poke32(struct dart_model *m, uint64_t off, uint32_t val);

/* Off: every register, cached entry and lock is lost, nothing answers. On again: in reset. */
void dart_model_power(struct dart_model *m, bool on);

/*
 * Invalidations stay BUSY for delay_ns from the store of the command, and drop their entries when
 * that time is over. With `stuck` BUSY never ends and nothing is dropped. `stuck` applies to the
 * command under way as well, delay_ns to later commands only. Initially 0 and false: a command is
 * done with its store.
 */
void dart_model_set_busy(struct dart_model *m, uint64_t delay_ns, bool stuck);

/*
 * Translate an access of `len` bytes at `iova` that lies within one page: permission and sub-page
 * window are checked for all of them. *out_pa is set on MODEL_OK only. A len of 0 or across a page
 * is misuse and refused. Counts and latches as an access does.
 */
enum model_result dart_model_translate(struct dart_model *m, unsigned sid, uint64_t iova,
                                       bool write, uint64_t len, uint64_t *out_pa);

/*
 * A device's access of any size and alignment, cut into pieces at the pages' ends. A piece is done
 * whole or not at all. *done counts the bytes completed, also on failure; on MODEL_STALLED go on
 * from there. `done` may be NULL.
 */
enum model_result dart_model_access(struct dart_model *m, unsigned sid, uint64_t iova, void *buf,
                                    uint64_t len, bool write, bool coherent, uint64_t *done);

/*
 * Walk `iova` as a prefetcher may at any time: fills the caches, faults nothing. Does nothing where
 * the stream does not translate or is busy.
 */
void dart_model_prefetch(struct dart_model *m, unsigned sid, uint64_t iova);

/*
 * The leaf that the TLB holds for the page of `iova`, and translates by until an invalidation.
 * False: an access would have to walk. Changes nothing.
 */
bool dart_model_cached(const struct dart_model *m, unsigned sid, uint64_t iova, uint64_t *out_leaf);

const struct dart_model_stats *dart_model_stats(const struct dart_model *m);

#endif
