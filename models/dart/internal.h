/* SPDX-License-Identifier: MIT */
/* Shared by the parts of the DART model: dart.c (registers), translate.c and cache.c. */
#ifndef MODELS_DART_INTERNAL_H
#define MODELS_DART_INTERNAL_H

#include "dart.h"

#define MODEL_DART_STREAMS 256u

/* Why a translation fails. The values of the first three are the level of the invalid entry. */
enum dart_model_fault {
    DART_MODEL_NO_LEAF,
    DART_MODEL_NO_L1,
    DART_MODEL_NO_L0,
    DART_MODEL_NO_TTBR,
    DART_MODEL_NO_WRITE,
    DART_MODEL_NO_READ,
    DART_MODEL_WINDOW, /* outside the leaf's sub-page window */
    DART_MODEL_FETCH,  /* a table could not be read */
    DART_MODEL_FAULTS,
    DART_MODEL_NONE = DART_MODEL_FAULTS,
};

/* A register layout: the offsets and bits that translation needs. */
struct dart_model_layout {
    uint32_t command, busy;     /* invalidation command and its BUSY bit */
    uint32_t error, error_addr; /* ERROR, ERROR_ADDR_LO; */
    unsigned error_addr_words;  /* 2: ERROR_ADDR_HI follows; 1: there is none */
    uint32_t enable;            /* bitmap of enabled streams, 0: all are */
    uint32_t tcr, translate, bypass;
    unsigned tcr_bytes; /* of a stream */
    uint32_t ttbr;
    unsigned ttbrs; /* per stream */
    unsigned max_streams;
    unsigned error_sid;      /* shift of ERROR's SID field, */
    uint32_t error_sid_mask; /* and its width */
    uint32_t error_write;    /* ERROR's direction bit, or 0 */
    uint32_t codes[DART_MODEL_FAULTS];
    bool t8110;
    bool s5l8960x;
    bool dart2;
};

/*
 * A table entry, valid or not, as the hardware once fetched it. It is live while `gen` is the
 * generation of its stream: an invalidation of the stream begins a new generation.
 */
struct dart_model_slot {
    uint64_t key; /* see key_of() */
    uint64_t entry;
    uint64_t gen;  /* 0: never used */
    uint64_t used; /* time of the last use, for LRU */
};

struct dart_model_cache {
    struct dart_model_slot *slots;
    size_t capacity;
    size_t filled; /* slots ever used */
    uint64_t clock;
    uint64_t gen[MODEL_DART_STREAMS];
};

/* What an invalidation will drop once it is done. */
struct dart_model_flush {
    uint64_t streams[MODEL_DART_STREAMS / 64];
    bool range;  /* only leaves of pages first..last */
    bool walks;  /* upper levels too */
    bool unlock; /* ends the lock of an error */
    uint64_t first, last;
};

struct dart_model {
    struct dart_model_config config;
    const struct dart_model_layout *layout;
    struct dart_model_stats stats;
    uint32_t *regs;
    bool on;
    bool irq;
    bool error_locked; /* there was an error with DIAG_LOCK.LOCK_ON_ERR */

    bool busy, stuck;
    uint64_t delay_ns;            /* of commands to come */
    uint64_t busy_since, busy_ns; /* of the command under way */
    struct dart_model_flush flush;

    struct dart_model_cache tlb;   /* leaves */
    struct dart_model_cache walks; /* entries of the levels above */
};

static inline uint32_t dart_model_reg(const struct dart_model *m, uint32_t off)
{
    return m->regs[off / 4];
}

/* A stream's TCR, of whatever width. */
static inline uint32_t dart_model_tcr(const struct dart_model *m, unsigned sid)
{
    uint32_t byte = m->layout->tcr + sid * m->layout->tcr_bytes;
    uint32_t word = dart_model_reg(m, byte);

    return m->layout->tcr_bytes == 4 ? word : word >> (byte % 4 * 8) & 0xff;
}

static inline bool dart_model_is_live(const struct dart_model_cache *c,
                                      const struct dart_model_slot *slot)
{
    return slot->gen == c->gen[slot->key >> 4 & 0xff];
}

static inline uint32_t dart_model_chance(const struct dart_model *m)
{
    const struct model_host *host = m->config.host;

    return host->random ? host->random(host->opaque) : 0;
}

/* dart.c */

/* Ends the invalidation under way if its time is over. */
void dart_model_settle(struct dart_model *m);

/* Does the DART keep a fault record for each stream instead of ERROR? DART.md 3, at the end. */
bool dart_model_has_records(const struct dart_model *m);

/* Records a fault of `code` in ERROR or in the stream's record, or counts the fault as lost. */
void dart_model_latch(struct dart_model *m, unsigned sid, uint64_t iova, bool write, uint32_t code);

/* cache.c */

bool dart_model_caches_init(struct dart_model *m);
void dart_model_caches_free(struct dart_model *m);
void dart_model_drop(struct dart_model *m, const struct dart_model_flush *flush);

/* The entry of a key, if it is cached. */
bool dart_model_cache_find(const struct dart_model *m, struct dart_model_cache *c, uint64_t key,
                           uint64_t *out_entry);

/* Caches the entry of a key that is not in the cache. */
void dart_model_cache_put(const struct dart_model *m, struct dart_model_cache *c, uint64_t key,
                          uint64_t entry);

#endif
