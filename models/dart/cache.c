/* SPDX-License-Identifier: MIT */
/* DART model: cached entries of tables. */
#include "internal.h"

#include <stdlib.h>

/* A key may lie in so many slots. */
#define MODEL_WINDOW 16u
/* A slot whose entry was dropped alone, without its stream. */
#define MODEL_DEAD UINT64_MAX

/* The first slot of a key's window, and the one after a slot: the last is followed by the first. */
static struct dart_model_slot *first_slot(const struct dart_model_cache *c, uint64_t key)
{
    size_t hash = (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 32);

    return &c->slots[hash % c->capacity];
}

static inline struct dart_model_slot *next_slot(const struct dart_model_cache *c,
                                                struct dart_model_slot *slot)
{
    return slot + 1 == c->slots + c->capacity ? c->slots : slot + 1;
}

static size_t window(const struct dart_model *m, const struct dart_model_cache *c)
{
    return m->config.keep_all || c->capacity < MODEL_WINDOW ? c->capacity : MODEL_WINDOW;
}

bool dart_model_cache_find(const struct dart_model *m, struct dart_model_cache *c, uint64_t key,
                           uint64_t *out_entry)
{
    struct dart_model_slot *slot = first_slot(c, key);

    for (size_t n = window(m, c); n; n--, slot = next_slot(c, slot)) {
        if (slot->key == key && dart_model_is_live(c, slot)) {
            slot->used = ++c->clock;
            *out_entry = slot->entry;
            return true;
        }
        if (m->config.keep_all && !slot->gen)
            return false;
    }
    return false;
}

/* Fill the first free slot of the key's window, or replace a live one. The key is not cached. */
static void place(const struct dart_model *m, struct dart_model_cache *c, uint64_t key,
                  uint64_t entry)
{
    struct dart_model_slot *victim = first_slot(c, key);
    struct dart_model_slot *slot = victim;
    size_t n = window(m, c);

    for (size_t i = 0; i < n && dart_model_is_live(c, victim); i++, slot = next_slot(c, slot)) {
        if (!dart_model_is_live(c, slot) || slot->used < victim->used)
            victim = slot;
    }
    if (m->config.random_replacement && dart_model_is_live(c, victim))
        victim = &c->slots[((size_t)(first_slot(c, key) - c->slots) + dart_model_chance(m) % n) %
                           c->capacity];
    c->filled += victim->gen == 0;
    *victim = (struct dart_model_slot){
        .key = key, .entry = entry, .gen = c->gen[key >> 4 & 0xff], .used = ++c->clock};
}

/* keep_all: make room for four times the live entries, and leave out those that were dropped. */
static void cache_grow(const struct dart_model *m, struct dart_model_cache *c)
{
    struct dart_model_cache old = *c;
    size_t live = 0;

    for (size_t i = 0; i < old.capacity; i++)
        live += dart_model_is_live(&old, &old.slots[i]);
    c->capacity = 4 * live + 64;
    c->filled = 0;
    c->slots = calloc(c->capacity, sizeof(*c->slots));
    if (!c->slots)
        abort(); /* a cache that lost entries in silence would hide missing invalidations */
    for (size_t i = 0; i < old.capacity; i++)
        if (dart_model_is_live(&old, &old.slots[i]))
            place(m, c, old.slots[i].key, old.slots[i].entry);
    free(old.slots);
}

void dart_model_cache_put(const struct dart_model *m, struct dart_model_cache *c, uint64_t key,
                          uint64_t entry)
{
    if (m->config.keep_all && c->filled >= c->capacity / 2)
        cache_grow(m, c);
    place(m, c, key, entry);
}

static bool cache_init(struct dart_model_cache *c, unsigned capacity)
{
    c->capacity = capacity;
    c->slots = calloc(capacity, sizeof(*c->slots));
    for (unsigned sid = 0; sid < MODEL_DART_STREAMS; sid++)
        c->gen[sid] = 1;
    return c->slots != NULL;
}

bool dart_model_caches_init(struct dart_model *m)
{
    bool ok = cache_init(&m->tlb, m->config.tlb_entries);

    return cache_init(&m->walks, m->config.walk_entries) && ok;
}

void dart_model_caches_free(struct dart_model *m)
{
    free(m->tlb.slots);
    free(m->walks.slots);
}

static bool selects(const struct dart_model_flush *f, uint64_t sid)
{
    return f->streams[sid / 64] >> (sid % 64) & 1;
}

static void drop_range(struct dart_model *m, const struct dart_model_flush *f)
{
    for (size_t i = 0; i < m->tlb.capacity; i++) {
        struct dart_model_slot *slot = &m->tlb.slots[i];
        uint64_t page = slot->key >> 12;

        if (dart_model_is_live(&m->tlb, slot) && selects(f, slot->key >> 4 & 0xff) &&
            page >= f->first && page <= f->last)
            slot->gen = MODEL_DEAD;
    }
}

void dart_model_drop(struct dart_model *m, const struct dart_model_flush *f)
{
    if (f->range)
        drop_range(m, f);
    for (unsigned sid = 0; sid < MODEL_DART_STREAMS; sid++) {
        m->tlb.gen[sid] += selects(f, sid) && !f->range;
        m->walks.gen[sid] += selects(f, sid) && f->walks;
    }
}
