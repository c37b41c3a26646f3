/* SPDX-License-Identifier: MIT */
/* SMMUv3 model: cached entries of tables, cached structures of streams, and what commands drop. */
#include "internal.h"

#include <stdlib.h>

/* A key may lie in so many slots. */
#define MODEL_WINDOW 16u

static struct smmuv3_model_slot *slot_at(const struct smmuv3_model_cache *c, uint64_t key,
                                         unsigned lg2, uint32_t asid, uint32_t vmid, size_t i)
{
    uint64_t hash = (key * 64 + lg2 + ((uint64_t)asid << 40) + ((uint64_t)vmid << 20)) *
                    UINT64_C(0x9e3779b97f4a7c15);

    return &c->slots[((size_t)(hash >> 32) + i) % c->capacity];
}

static size_t window(const struct smmuv3_model *m, const struct smmuv3_model_cache *c)
{
    return m->config.keep_all || c->capacity < MODEL_WINDOW ? c->capacity : MODEL_WINDOW;
}

const struct smmuv3_model_slot *smmuv3_model_cache_find(const struct smmuv3_model *m,
                                                        struct smmuv3_model_cache *c, uint64_t va,
                                                        unsigned lg2, unsigned granule,
                                                        uint32_t asid, uint32_t vmid)
{
    uint64_t key = va >> lg2;

    for (size_t i = 0; i < window(m, c); i++) {
        struct smmuv3_model_slot *slot = slot_at(c, key, lg2, asid, vmid, i);

        if (slot->live && slot->key == key && slot->lg2 == lg2 && slot->asid == asid &&
            slot->vmid == vmid && slot->granule == granule) {
            slot->used = ++c->clock;
            return slot;
        }
        if (m->config.keep_all && !slot->ever)
            break;
    }
    return NULL;
}

/* Fill the first free slot of the key's window, or replace a slot that is live. */
static void place(const struct smmuv3_model *m, struct smmuv3_model_cache *c,
                  const struct smmuv3_model_slot *what)
{
    size_t n = window(m, c);
    struct smmuv3_model_slot *victim = slot_at(c, what->key, what->lg2, what->asid, what->vmid, 0);

    for (size_t i = 0; i < n && victim->live; i++) {
        struct smmuv3_model_slot *slot =
            slot_at(c, what->key, what->lg2, what->asid, what->vmid, i);

        if (!slot->live || slot->used < victim->used)
            victim = slot;
    }
    if (m->config.random_replacement && victim->live)
        victim =
            slot_at(c, what->key, what->lg2, what->asid, what->vmid, smmuv3_model_chance(m) % n);
    c->filled += !victim->ever;
    *victim = *what;
    victim->live = true;
    victim->ever = true;
    victim->used = ++c->clock;
}

/* keep_all: make room for four times the live entries, and leave out those that were dropped. */
static void cache_grow(const struct smmuv3_model *m, struct smmuv3_model_cache *c)
{
    struct smmuv3_model_cache old = *c;
    size_t live = 0;

    for (size_t i = 0; i < old.capacity; i++)
        live += old.slots[i].live;
    c->capacity = 4 * live + 64;
    c->filled = 0;
    c->slots = calloc(c->capacity, sizeof(*c->slots));
    if (!c->slots)
        abort(); /* a cache that lost entries in silence would hide missing invalidations */
    for (size_t i = 0; i < old.capacity; i++)
        if (old.slots[i].live)
            place(m, c, &old.slots[i]);
    free(old.slots);
}

void smmuv3_model_cache_put(const struct smmuv3_model *m, struct smmuv3_model_cache *c,
                            struct smmuv3_model_slot what)
{
    if (smmuv3_model_cache_find(m, c, what.key << what.lg2, what.lg2, what.granule, what.asid,
                                what.vmid))
        return;
    if (m->config.keep_all && c->filled >= c->capacity / 2)
        cache_grow(m, c);
    place(m, c, &what);
}

bool smmuv3_model_caches_init(struct smmuv3_model *m)
{
    m->tlb.capacity = m->config.tlb_entries;
    m->tlb.slots = calloc(m->tlb.capacity, sizeof(*m->tlb.slots));
    m->walks.capacity = m->config.walk_entries;
    m->walks.slots = calloc(m->walks.capacity, sizeof(*m->walks.slots));
    return m->tlb.slots && m->walks.slots;
}

void smmuv3_model_caches_free(struct smmuv3_model *m)
{
    free(m->tlb.slots);
    free(m->walks.slots);
}

/* What a TLB command names. */
struct named {
    bool by_asid, by_range;
    bool by_vmid, not_1, not_2; /* not_1: entries of stage 1 are kept; not_2: of stage 2 */
    uint32_t asid, vmid;
    uint64_t first, last;
    unsigned granule; /* log2; 0: any */
};

static void drop_slots(struct smmuv3_model_cache *c, const struct named *n)
{
    for (size_t i = 0; i < c->capacity; i++) {
        struct smmuv3_model_slot *slot = &c->slots[i];
        uint64_t first = slot->key << slot->lg2;
        uint64_t last = first + ((UINT64_C(1) << slot->lg2) - 1);

        if (slot->asid == SMMUV3_MODEL_IPA ? n->not_2 : n->not_1)
            continue;
        if (n->by_vmid && slot->vmid != n->vmid)
            continue;
        if (n->by_range && slot->asid != SMMUV3_MODEL_IPA && slot->asid != n->asid &&
            slot->asid != SMMUV3_MODEL_GLOBAL)
            continue;
        if (n->by_asid && slot->asid != n->asid)
            continue;
        if (n->by_range && (first > n->last || last < n->first))
            continue;
        if (n->granule && n->granule != slot->granule)
            continue;
        slot->live = false;
    }
}

/* 4.4: what of the TLB a command drops. */
static void drop_translations(struct smmuv3_model *m, const struct smmuv3_model_command *c)
{
    unsigned op = (unsigned)(c->word[0] & 0xff);
    struct named n = {.asid = (uint32_t)(c->word[0] >> 48)};
    bool leaf = false;

    /* VMIDs count only where there is a stage 2. CMD_TLBI_NSNH_ALL drops everything. */
    n.vmid =
        m->config.idr0 & SMMUV3_MODEL_STAGE_2 ? (uint32_t)smmuv3_model_bits(c->word[0], 47, 32) : 0;
    n.by_vmid = op != 0x30;
    n.by_asid = op == 0x11;
    n.by_range = op == 0x12 || op == 0x2a;
    n.not_1 = op == 0x2a;
    n.not_2 = op == 0x10 || op == 0x11 || op == 0x12;
    if (n.by_range) {
        unsigned tg = (unsigned)smmuv3_model_bits(c->word[1], 11, 10);

        leaf = c->word[1] & 1;
        n.first = c->word[1] & ~UINT64_C(0xfff);
        n.last = n.first;
        if (tg) {
            n.granule = 10 + 2 * tg;
            n.last += ((smmuv3_model_bits(c->word[0], 16, 12) + 1)
                       << smmuv3_model_bits(c->word[0], 24, 20) << n.granule) -
                      1;
        }
    }
    drop_slots(&m->tlb, &n);
    if (!leaf)
        drop_slots(&m->walks, &n);
}

static void drop_structs(struct smmuv3_model_struct *structs, uint32_t first, uint32_t last)
{
    for (unsigned i = 0; i < SMMUV3_MODEL_CONFIGS; i++)
        if (structs[i].number >= first && structs[i].number <= last)
            structs[i].live = false;
}

void smmuv3_model_drop(struct smmuv3_model *m, const struct smmuv3_model_command *c)
{
    uint32_t first = (uint32_t)(c->word[0] >> 32);
    uint32_t last = first;
    unsigned range = (unsigned)(c->word[1] & 31);

    switch (c->word[0] & 0xff) {
    case 0x05:
        drop_structs(m->cd, first, last);
        return;
    case 0x04:
        if (range == 31) {
            drop_structs(m->cd, 0, UINT32_MAX);
            first = 0;
            last = UINT32_MAX;
        } else {
            first &= ~((UINT32_C(2) << range) - 1);
            last = first + ((UINT32_C(2) << range) - 1);
        }
        drop_structs(m->ste, first, last);
        drop_structs(m->l1, first >> smmuv3_model_split(m), last >> smmuv3_model_split(m));
        return;
    case 0x03:
        drop_structs(m->ste, first, last);
        if (!(c->word[1] & 1))
            drop_structs(m->l1, first >> smmuv3_model_split(m), last >> smmuv3_model_split(m));
        return;
    default:
        drop_translations(m, c);
    }
}
