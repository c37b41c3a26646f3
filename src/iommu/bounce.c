/* SPDX-License-Identifier: MIT */
/*
 * The bounce pool. A chunk is 64 units of 4 KiB, so that one word has a bit for each unit. A slot
 * is a naturally aligned block of units; a few shifts find a free block. An area keeps each of its
 * chunks in the bin of the chunk's largest free block.
 *
 * An unmap knows an address only: a table hashed by PA finds the chunk. The table only ever grows,
 * so it is read without a lock.
 */
#include "iommu/bounce.h"

#include "core/bits.h"
#include "core/list.h"
#include "core/log.h"
#include "core/mem.h"

#define CHUNK_LG2 18u
#define UNIT_LG2 12u
#define UNITS 64u
#define ORDERS (CHUNK_LG2 - UNIT_LG2 + 1)
#define CHUNKS_MAX 0x100000u

struct gr_bounce_chunk {
    struct gr_link link; /* in a bin of its area; in none while the chunk is full */
    struct gr_bounce *pool;
    struct gr_bounce_area *area;
    gr_pa_t pa;
    unsigned char *va;
    uint64_t used;        /* a bit for each unit */
    bool lost;            /* a slot of it is lost: the chunk's memory is never freed */
    uint8_t start[UNITS]; /* for each unit: the first unit of its slot */
    struct gri_slot slot[UNITS];
};

_Static_assert(sizeof(struct gr_bounce_chunk) <= (size_t)1 << UNIT_LG2, "a chunk's page");

static struct gr_bounce_chunk *chunk_of(const struct gri_slot *slot)
{
    const struct gri_slot *const first = slot - slot->chunk_unit;

    return GRI_CONTAINER((uintptr_t)first, struct gr_bounce_chunk, slot);
}

/* ---- blocks of one chunk ---- */

/* A bit for each unit at which a free block of 2^order units starts. */
static uint64_t free_blocks(uint64_t used, unsigned order)
{
    static const uint64_t aligned[ORDERS] = {
        UINT64_MAX,
        0x5555555555555555u,
        0x1111111111111111u,
        0x0101010101010101u,
        0x0001000100010001u,
        0x0000000100000001u,
        1,
    };
    uint64_t at = ~used;

    for (unsigned k = 0; k < order; k++)
        at &= at >> (1u << k);
    return at & aligned[order];
}

/* Move a chunk to the bin of its largest free block. */
static void file_chunk(struct gr_bounce_chunk *chunk)
{
    gri_list_remove(&chunk->link);
    for (unsigned order = ORDERS; order--;) {
        if (free_blocks(chunk->used, order)) {
            gri_list_append(&chunk->area->bin[order], &chunk->link);
            return;
        }
    }
}

/* Take a block from an area, whose lock is held. NULL: the area has no such block. */
static struct gri_slot *take_block(struct gr_bounce_area *area, unsigned order)
{
    unsigned bin = order;

    while (bin < ORDERS && gri_list_empty(&area->bin[bin]))
        bin++;
    if (bin == ORDERS)
        return NULL;

    struct gr_bounce_chunk *const chunk =
        GRI_CONTAINER(area->bin[bin].next, struct gr_bounce_chunk, link);
    const unsigned unit = gri_low_bit(free_blocks(chunk->used, order));
    struct gri_slot *const slot = &chunk->slot[unit];

    chunk->used |= gri_mask(1u << order) << unit;
    memset(&chunk->start[unit], (int)unit, (size_t)1 << order);
    file_chunk(chunk);
    slot->size = 1u << (order + UNIT_LG2);
    area->slots++;
    area->slots_ever++;
    area->used += slot->size;
    return slot;
}

/* ---- the table of chunks ---- */

static size_t hash(const struct gr_bounce *pool, gr_pa_t pa)
{
    return (size_t)((pa >> CHUNK_LG2) * 0x9e3779b97f4a7c15u >> (64 - pool->table_lg2));
}

static size_t next_in(const struct gr_bounce *pool, size_t at)
{
    return (at + 1) & (size_t)gri_mask(pool->table_lg2);
}

struct gri_slot *gri_bounce_find(const struct gr_bounce *pool, gr_pa_t pa)
{
    const gr_pa_t base = pa & ~gri_mask(CHUNK_LG2);
    struct gr_bounce_chunk *chunk;

    /* The table has twice as many entries as chunks: an empty entry ends the search. */
    for (size_t at = hash(pool, base);; at = next_in(pool, at)) {
        chunk = __atomic_load_n(&pool->table[at], __ATOMIC_ACQUIRE);
        if (!chunk)
            return NULL;
        if (chunk->pa == base)
            break;
    }
    return &chunk->slot[chunk->start[(pa - base) >> UNIT_LG2]];
}

/* Make a chunk for an area and, unless `out` is NULL, take a block from it. */
static int add_chunk(struct gr_bounce *pool, struct gr_bounce_area *area, unsigned order,
                     unsigned flags, struct gri_slot **out)
{
    struct gr_bounce_chunk *chunk = NULL;
    unsigned char *va = NULL;
    gr_lock_state_t state = gr_port_lock(&pool->lock);
    int ret = pool->chunks < pool->chunks_max ? 0 : GR_ENOBUFS;
    size_t at;

    if (!ret) /* counted first: other CPUs cannot exceed the limit meanwhile */
        pool->chunks++;
    gr_port_unlock(&pool->lock, state);
    if (ret)
        return ret;
    chunk = gr_port_pages_alloc(pool->env, UNIT_LG2, UINT64_MAX, flags);
    if (chunk)
        va = gr_port_pages_alloc(pool->env, CHUNK_LG2, pool->config.pa_last, flags);
    if (!va) {
        if (chunk)
            gr_port_pages_free(pool->env, chunk, UNIT_LG2);
        state = gr_port_lock(&pool->lock);
        pool->chunks--;
        gr_port_unlock(&pool->lock, state);
        return GR_ENOMEM;
    }
    chunk->pool = pool;
    chunk->area = area;
    chunk->va = va;
    chunk->pa = gr_port_virt_to_phys(pool->env, va);
    gri_list_init(&chunk->link);
    for (unsigned i = 0; i < UNITS; i++)
        chunk->slot[i].chunk_unit = (uint8_t)i;

    state = gr_port_lock(&pool->lock); /* into the table before any slot of the chunk is used */
    at = hash(pool, chunk->pa);
    while (pool->table[at])
        at = next_in(pool, at);
    __atomic_store_n(&pool->table[at], chunk, __ATOMIC_RELEASE);
    gr_port_unlock(&pool->lock, state);

    state = gr_port_lock(&area->lock);
    file_chunk(chunk);
    if (out)
        *out = take_block(area, order);
    gr_port_unlock(&area->lock, state);
    return 0;
}

/* ---- slots ---- */

static struct gr_bounce_area *my_area(struct gr_bounce *pool)
{
    return &pool->area[gr_port_cpu() % GR_CFG_BOUNCE_AREAS];
}

/* Take a block from this CPU's area, then from the other areas, then from a new chunk. */
static int find_room(struct gr_bounce *pool, unsigned order, struct gri_slot **out)
{
    struct gr_bounce_area *const own = my_area(pool);
    struct gr_bounce_area *area = own;

    do {
        const gr_lock_state_t state = gr_port_lock(&area->lock);

        *out = take_block(area, order);
        gr_port_unlock(&area->lock, state);
        if (*out)
            return 0;
        if (++area == pool->area + GR_CFG_BOUNCE_AREAS)
            area = pool->area;
    } while (area != own);
    return add_chunk(pool, own, order, 0, out);
}

static void count(struct gr_bounce_area *area, uint64_t bounced, uint64_t copied)
{
    const gr_lock_state_t state = gr_port_lock(&area->lock);

    area->bounced += bounced;
    area->copied += copied;
    gr_port_unlock(&area->lock, state);
}

void gri_bounce_refused(struct gr_bounce *pool, uint64_t size)
{
    const gr_lock_state_t state = gr_port_lock(&pool->lock);
    const bool first = !pool->refused++;

    gr_port_unlock(&pool->lock, state);
    if (first)
        gri_log(pool->env, GR_LOG_ERR,
                "bounce pool: no slot of %x bytes left within the limit of %x: make the limit "
                "higher, or map less at a time",
                size, pool->config.limit);
}

int gri_bounce_make(struct gr_bounce *pool, uint64_t size, uint32_t offset, gr_pa_t pa,
                    uint32_t len, struct gri_slot **out)
{
    struct gri_slot *slot;
    unsigned char *va;
    unsigned order = 0;
    int ret = GR_ENOBUFS;

    while (order < ORDERS && size > (uint64_t)1 << (order + UNIT_LG2))
        order++;
    if (order < ORDERS)
        ret = find_room(pool, order, &slot);
    if (ret)
        return ret;
    slot->pa = pa;
    slot->offset = offset;
    slot->len = len;
    slot->next = NULL;
    va = gri_bounce_va(slot);
    memset(va, 0, offset); /* a device must not see what the slot held before */
    memset(va + offset + len, 0, slot->size - offset - len);
    count(chunk_of(slot)->area, len, 0);
    gri_bounce_copy(slot, 0, slot->size, false);
    *out = slot;
    return 0;
}

gr_pa_t gri_bounce_pa(const struct gri_slot *slot)
{
    return chunk_of(slot)->pa + ((gr_pa_t)slot->chunk_unit << UNIT_LG2);
}

unsigned char *gri_bounce_va(const struct gri_slot *slot)
{
    return chunk_of(slot)->va + ((size_t)slot->chunk_unit << UNIT_LG2);
}

void gri_bounce_copy(const struct gri_slot *slot, uint64_t first, uint64_t len, bool out)
{
    const struct gr_bounce_chunk *const chunk = chunk_of(slot);
    const uint64_t from = gri_max(first, slot->offset);
    const uint64_t end = gri_min(first + len, (uint64_t)slot->offset + slot->len);
    unsigned char *there;
    unsigned char *here;

    if (from >= end)
        return;
    there = gri_bounce_va(slot) + from;
    here = gr_port_phys_to_virt(chunk->pool->env, slot->pa + (from - slot->offset));
    if (out)
        memcpy(here, there, (size_t)(end - from));
    else
        memcpy(there, here, (size_t)(end - from));
    count(chunk->area, 0, end - from);
}

void gri_bounce_free(struct gri_slot *slots, bool lost)
{
    while (slots) {
        struct gri_slot *const slot = slots;
        struct gr_bounce_chunk *const chunk = chunk_of(slot);
        struct gr_bounce_area *const area = chunk->area;
        gr_lock_state_t state;

        slots = slot->next;
        state = gr_port_lock(&area->lock);
        area->slots--;
        area->used -= slot->size;
        if (lost) {
            area->lost += slot->size;
            chunk->lost = true;
        } else {
            chunk->used &= ~(gri_mask(slot->size >> UNIT_LG2) << slot->chunk_unit);
            slot->size = 0;
            file_chunk(chunk);
        }
        gr_port_unlock(&area->lock, state);
    }
}

/* ---- the pool ---- */

static bool config_is_valid(const struct gr_bounce_config *config)
{
    return config->limit && !((config->limit | config->reserve) & gri_mask(CHUNK_LG2)) &&
           config->reserve <= config->limit && config->limit >> CHUNK_LG2 <= CHUNKS_MAX;
}

/* log2 of the bytes of a table of 2^table_lg2 entries. */
static unsigned table_bytes_lg2(unsigned table_lg2)
{
    const unsigned lg2 = table_lg2 + (sizeof(void *) == 8 ? 3 : 2);

    return lg2 > UNIT_LG2 ? lg2 : UNIT_LG2;
}

static void free_all(struct gr_bounce *pool)
{
    for (size_t at = 0; at < (size_t)1 << pool->table_lg2; at++) {
        struct gr_bounce_chunk *const chunk = pool->table[at];

        if (!chunk)
            continue;
        if (!chunk->lost)
            gr_port_pages_free(pool->env, chunk->va, CHUNK_LG2);
        gr_port_pages_free(pool->env, chunk, UNIT_LG2);
    }
    gr_port_pages_free(pool->env, pool->table, table_bytes_lg2(pool->table_lg2));
    for (unsigned i = 0; i < GR_CFG_BOUNCE_AREAS; i++)
        gr_port_lock_fini(&pool->area[i].lock);
    gr_port_lock_fini(&pool->lock);
}

int gr_bounce_init(struct gr_bounce *pool, gr_env_t env, const struct gr_bounce_config *config)
{
    int ret = 0;

    if (!config_is_valid(config))
        return GR_EINVAL;
    *pool = (struct gr_bounce){
        .env = env,
        .config = *config,
        .chunks_max = (uint32_t)(config->limit >> CHUNK_LG2),
        .table_lg2 = 1,
    };
    while ((uint64_t)1 << pool->table_lg2 < 2 * (uint64_t)pool->chunks_max)
        pool->table_lg2++;
    pool->table =
        gr_port_pages_alloc(env, table_bytes_lg2(pool->table_lg2), UINT64_MAX, GR_PAGES_MAY_SLEEP);
    if (!pool->table)
        return GR_ENOMEM;
    gr_port_lock_init(&pool->lock);
    for (unsigned i = 0; i < GR_CFG_BOUNCE_AREAS; i++) {
        gr_port_lock_init(&pool->area[i].lock);
        for (unsigned k = 0; k < ORDERS; k++)
            gri_list_init(&pool->area[i].bin[k]);
    }
    while (!ret && pool->chunks < config->reserve >> CHUNK_LG2)
        ret = add_chunk(pool, my_area(pool), 0, GR_PAGES_MAY_SLEEP, NULL);
    if (ret)
        free_all(pool);
    return ret;
}

int gr_bounce_fini(struct gr_bounce *pool)
{
    for (unsigned i = 0; i < GR_CFG_BOUNCE_AREAS; i++) {
        if (pool->area[i].slots)
            return GR_EBUSY;
    }
    free_all(pool);
    return 0;
}

void gr_bounce_stats(struct gr_bounce *pool, struct gr_bounce_stats *out)
{
    gr_lock_state_t state = gr_port_lock(&pool->lock);

    *out = (struct gr_bounce_stats){
        .memory = (uint64_t)pool->chunks << CHUNK_LG2,
        .limit = pool->config.limit,
        .refused = pool->refused,
    };
    gr_port_unlock(&pool->lock, state);
    for (unsigned i = 0; i < GR_CFG_BOUNCE_AREAS; i++) {
        struct gr_bounce_area *const area = &pool->area[i];

        state = gr_port_lock(&area->lock);
        out->slots += area->slots;
        out->used += area->used;
        out->slots_ever += area->slots_ever;
        out->bounced += area->bounced;
        out->copied += area->copied;
        out->lost += area->lost;
        gr_port_unlock(&area->lock, state);
    }
}
