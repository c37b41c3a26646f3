/* SPDX-License-Identifier: MIT */
/* Shared by the SMMUv3 model's parts: smmuv3.c (registers, queues), translate.c and cache.c. */
#ifndef MODELS_SMMUV3_INTERNAL_H
#define MODELS_SMMUV3_INTERNAL_H

#include "smmuv3.h"

/* Register offsets that several files use: IHI 0070 6.3. */
#define SMMUV3_MODEL_CR0 0x20u
#define SMMUV3_MODEL_CR0ACK 0x24u
#define SMMUV3_MODEL_CR1 0x28u
#define SMMUV3_MODEL_CR2 0x2cu
#define SMMUV3_MODEL_GBPA 0x44u
#define SMMUV3_MODEL_STRTAB_BASE 0x80u
#define SMMUV3_MODEL_STRTAB_CFG 0x88u

#define SMMUV3_MODEL_WORDS 8u        /* of a stream table entry and a context descriptor */
#define SMMUV3_MODEL_CONFIGS 64u     /* cached structures of each kind */
#define SMMUV3_MODEL_GLOBAL 0x10000u /* in place of an ASID: a leaf without nG */
#define SMMUV3_MODEL_IPA 0x20000u    /* in place of an ASID: an entry of stage 2, which has none */

/* A leaf or table entry: [va >> lg2] of an ASID of a VMID. */
struct smmuv3_model_slot {
    uint64_t key;   /* va >> lg2 */
    uint64_t entry; /* of a contiguous group: with the address of its first leaf */
    uint64_t used;  /* the cache's clock at the last use, for LRU */
    uint32_t asid;
    uint32_t vmid;
    uint8_t lg2;     /* log2 of the bytes that the entry spans, or its whole contiguous group */
    uint8_t level;   /* as the architecture counts: 3 is the last */
    uint8_t granule; /* log2 of the granule of its tables */
    bool live;
    bool ever; /* the slot was live once */
};

struct smmuv3_model_cache {
    struct smmuv3_model_slot *slots;
    size_t capacity;
    size_t filled; /* slots ever used */
    uint64_t clock;
};

/* A cached structure of a stream. */
struct smmuv3_model_struct {
    uint64_t word[SMMUV3_MODEL_WORDS];
    uint32_t number; /* the stream; of a first-level descriptor its index */
    bool live;
};

struct smmuv3_model_command {
    uint64_t word[2];
};

struct smmuv3_model {
    struct smmuv3_model_config config;
    struct smmuv3_model_stats stats;
    uint32_t *regs;

    uint64_t delay_ns;
    unsigned stuck;
    uint64_t commands_since, acks_since; /* when PROD or a control register was written */

    uint64_t refuse_in;
    unsigned refuse_error;
    uint64_t refused[2]; /* the command refused last, until another is in its place */
    unsigned fail_events;
    bool lose;

    /* Invalidations that are consumed, and take effect with the next CMD_SYNC. */
    struct smmuv3_model_command *pending;
    size_t npending, pending_room;

    struct smmuv3_model_cache tlb;   /* leaves */
    struct smmuv3_model_cache walks; /* entries above the leaves */
    struct smmuv3_model_struct ste[SMMUV3_MODEL_CONFIGS];
    struct smmuv3_model_struct l1[SMMUV3_MODEL_CONFIGS];
    struct smmuv3_model_struct cd[SMMUV3_MODEL_CONFIGS];
};

static inline uint32_t smmuv3_model_reg(const struct smmuv3_model *m, uint32_t off)
{
    return m->regs[off / 4];
}

static inline uint64_t smmuv3_model_reg64(const struct smmuv3_model *m, uint32_t off)
{
    return m->regs[off / 4] | (uint64_t)m->regs[off / 4 + 1] << 32;
}

static inline uint64_t smmuv3_model_bits(uint64_t word, unsigned hi, unsigned lo)
{
    return word >> lo & (UINT64_MAX >> (63 - (hi - lo)));
}

static inline uint32_t smmuv3_model_chance(const struct smmuv3_model *m)
{
    const struct model_host *host = m->config.host;

    return host->random ? host->random(host->opaque) : 0;
}

/* log2 of the streams in a table of the second level. */
static inline unsigned smmuv3_model_split(const struct smmuv3_model *m)
{
    return (unsigned)smmuv3_model_bits(smmuv3_model_reg(m, SMMUV3_MODEL_STRTAB_CFG), 10, 6);
}

/* smmuv3.c */

/* Consume commands and acknowledge registers whose time has come. */
void smmuv3_model_settle(struct smmuv3_model *m);

/* Fetch 64 bits of a table, a structure or a command. */
bool smmuv3_model_fetch(struct smmuv3_model *m, uint64_t pa, uint64_t *out);

/* cache.c */

bool smmuv3_model_caches_init(struct smmuv3_model *m);
void smmuv3_model_caches_free(struct smmuv3_model *m);

/* Drop the cached entries that an invalidation names. */
void smmuv3_model_drop(struct smmuv3_model *m, const struct smmuv3_model_command *command);

const struct smmuv3_model_slot *smmuv3_model_cache_find(const struct smmuv3_model *m,
                                                        struct smmuv3_model_cache *c, uint64_t va,
                                                        unsigned lg2, unsigned granule,
                                                        uint32_t asid, uint32_t vmid);

/* Cache an entry, unless it is cached already. */
void smmuv3_model_cache_put(const struct smmuv3_model *m, struct smmuv3_model_cache *c,
                            struct smmuv3_model_slot what);

#endif
