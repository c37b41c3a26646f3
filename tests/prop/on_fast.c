/* SPDX-License-Identifier: MIT */
/*
 * The property tests for volume: a port that does little, and an instance that is only a walker
 * with caches. These keep whatever invalidate() did not name, entries that are not valid included,
 * and fetch ahead between any two stores of the library to its tables. prop.h has more.
 *
 * This program brings the port's functions itself, so nothing of ports/host is linked.
 */
#include "prop.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMORY (UINT64_C(128) << 20)
#define PAGES (MEMORY >> 12)
#define BLOCK_LG2 20u
#define TLB 256u
#define WALKS 16u
#define LEVELS 4u

/* ---- The machine ---- */

struct cached {
    uint64_t tag; /* IOVA's bits that the entry translates, + 1; 0: free */
    uint64_t entry;
};

struct stream {
    bool translates;
    gr_pa_t root;
    unsigned levels, va_bits;
    struct cached tlb[TLB];
    struct cached walk[LEVELS][WALKS]; /* by the entry's level, from 1 */
};

struct fast_inst {
    struct gr_instance inst;
    struct stream stream[PROP_STREAMS];
};

struct host {
    struct prop_machine m;
    const struct prop_shape *shape;
    const struct walker_format *format;
    struct fast_inst inst[PROP_INSTANCES];
    uint8_t *memory;   /* of all machines, one after the other */
    uint8_t *uncached; /* the same memory again */
    gr_pa_t pa;        /* of memory */
    uint64_t used;     /* bytes */
    void *free[BLOCK_LG2 + 1];
    uint8_t live[PAGES];
    uint64_t pages;  /* live */
    uint64_t mapped; /* uncached mappings */
    uint64_t allocs, fail_at;
    struct prop_cache cache;
    const uint64_t *pending; /* the last table store, if there was no barrier since */
    uint64_t rng;
    struct stream *hot; /* that a device used last, and where */
    gr_iova_t hot_iova;
};

static struct host machine; /* one at a time */

/* Where a PA of a whole number of pages lies. NULL: not in memory, or not live. */
static uint8_t *live_at(struct host *h, gr_pa_t pa, uint64_t len)
{
    const uint64_t at = pa - h->pa;

    if (pa < h->pa || at >= MEMORY || len > MEMORY - at)
        return NULL;
    for (uint64_t page = at >> 12; page <= (at + len - 1) >> 12; page++) {
        if (!h->live[page])
            return NULL;
    }
    return h->memory + at;
}

/* ---- The walker ---- */

static uint64_t low(unsigned bits)
{
    return bits < 64 ? (UINT64_C(1) << bits) - 1 : UINT64_MAX;
}

static bool holds(struct walker_test t, uint64_t entry)
{
    return ((entry & t.mask) == t.value) != t.differs;
}

static uint64_t entry_pa(const struct walker_format *f, uint64_t entry)
{
    return (entry >> f->pa[0].from & low(f->pa[0].width)) << f->pa[0].to |
           (entry >> f->pa[1].from & low(f->pa[1].width)) << f->pa[1].to;
}

static uint64_t fetch(struct host *h, gr_pa_t pa)
{
    const uint8_t *const at = live_at(h, pa, h->format->entry_bytes);
    uint64_t entry = 0;

    if (!at)
        prop_fail("the hardware reads a table entry at %" PRIx64 ", which is no live memory", pa);
    memcpy(&entry, at, h->format->entry_bytes); /* little endian, as the machine */
    return entry;
}

static struct cached *walk_slot(const struct host *h, struct stream *s, unsigned level, uint64_t va)
{
    return &s->walk[level][(va >> walker_span_bits(h->format, level)) % WALKS];
}

static bool cached(const struct cached *c, uint64_t tag)
{
    return c->tag == tag + 1;
}

/* The leaf of `va`, from the lowest cached entry down; 0 where an entry is not valid. */
static uint64_t walk(struct host *h, struct stream *s, uint64_t va)
{
    const struct walker_format *const f = h->format;
    const bool keep_absent = h->inst[0].inst.caches_absent;
    const uint64_t entries = (UINT64_C(1) << f->page_bits) / f->entry_bytes;
    struct cached *const leaf = &s->tlb[(va >> f->page_bits) % TLB];
    unsigned level = 1;
    uint64_t entry = 0;

    while (level < s->levels &&
           !cached(walk_slot(h, s, level, va), va >> walker_span_bits(f, level)))
        level++;
    if (level < s->levels)
        entry = walk_slot(h, s, level, va)->entry;
    for (;;) {
        const bool top = level == s->levels;
        uint64_t index;

        if (!top && !holds(f->table, entry)) {
            entry = 0;
            break;
        }
        level--;
        index = va >> walker_span_bits(f, level);
        index = top ? index : index % entries; /* roots lie side by side */
        entry = fetch(h, (top ? s->root : entry_pa(f, entry)) + index * f->entry_bytes);
        if (!level)
            break;
        if ((f->block_levels >> level & 1) && holds(f->block, entry)) {
            /* As if it were a leaf: such formats have the address in its place. */
            entry |= f->leaf.value | (va & low(walker_span_bits(f, level)) & ~low(f->page_bits));
            level = 0;
            break;
        }
        if (holds(f->table, entry) || keep_absent)
            *walk_slot(h, s, level, va) =
                (struct cached){(va >> walker_span_bits(f, level)) + 1, entry};
    }
    entry = level || !holds(f->leaf, entry) ? 0 : entry;
    if (entry || keep_absent)
        *leaf = (struct cached){(va >> f->page_bits) + 1, entry};
    return entry;
}

static uint64_t find(struct host *h, struct stream *s, uint64_t va)
{
    const struct cached *const c = &s->tlb[(va >> h->format->page_bits) % TLB];

    return cached(c, va >> h->format->page_bits) ? c->entry : walk(h, s, va);
}

/* Somebody asks for what is near the last access. */
static void prefetch(struct host *h)
{
    const uint64_t dice = chance_next(&h->rng);

    if (h->hot && h->hot->translates && !(dice & 7))
        (void)find(h, h->hot,
                   (h->hot_iova + ((dice >> 8 & 7) << h->format->page_bits)) &
                       low(h->hot->va_bits));
}

/* Nobody observes here: stores are visible in their order, and prefetch() looks between them. */
bool machine_peek(struct prop_machine *m, unsigned inst, unsigned sid, gr_iova_t iova, bool write,
                  gr_pa_t *out_pa)
{
    return machine_reach(m, inst, sid, iova, write, out_pa);
}

bool machine_reach(struct prop_machine *m, unsigned inst, unsigned sid, gr_iova_t iova, bool write,
                   gr_pa_t *out_pa)
{
    struct host *const h = m->env;
    struct stream *const s = &h->inst[inst].stream[sid];
    uint64_t leaf;

    if (h->pending)
        prop_fail("a device runs while table stores are not ordered by a barrier");
    if (!s->translates)
        return false;
    h->hot = s;
    h->hot_iova = iova;
    leaf = find(h, s, iova & low(s->va_bits));
    if (!leaf || !holds(write ? h->format->write : h->format->read, leaf))
        return false;
    *out_pa = entry_pa(h->format, leaf) | (iova & low(h->format->page_bits));
    return true;
}

/* ---- The instance ---- */

static struct stream *stream_of(struct gr_instance *inst, uint32_t sid)
{
    return &((struct fast_inst *)(void *)inst)->stream[sid];
}

static int fast_attach(struct gr_instance *inst, uint32_t sid, const struct gr_pt *pt,
                       struct gr_binding *binding)
{
    struct stream *const s = stream_of(inst, sid);
    const unsigned reach = walker_span_bits(inst->env->format, pt->levels) + inst->table.roots_lg2;

    if (inst->env->pending)
        prop_fail("a stream is attached while table stores are not ordered by a barrier");
    memset(s, 0, sizeof(*s));
    s->translates = true;
    s->root = pt->root_pa;
    s->levels = pt->levels;
    s->va_bits = inst->table.va_bits < reach ? inst->table.va_bits : reach;
    binding->hw[0] |= UINT64_C(1) << sid;
    return 0;
}

static int fast_block(struct gr_instance *inst, uint32_t sid, struct gr_binding *binding)
{
    memset(stream_of(inst, sid), 0, sizeof(struct stream));
    binding->hw[0] &= ~(UINT64_C(1) << sid);
    return 0;
}

static void drop_leaves(const struct host *h, struct stream *s, uint64_t first, uint64_t last)
{
    const uint64_t from = first >> h->format->page_bits, to = last >> h->format->page_bits;

    for (uint64_t i = 0; i < TLB && i <= to - from; i++) {
        struct cached *const c = &s->tlb[(from + i) % TLB];

        if (c->tag > from && c->tag <= to + 1)
            c->tag = 0;
    }
}

static void drop_walks(const struct host *h, struct stream *s, uint64_t first, uint64_t last)
{
    for (unsigned level = 1; level < s->levels; level++) {
        const unsigned span = walker_span_bits(h->format, level);

        for (unsigned i = 0; i < WALKS; i++) {
            struct cached *const c = &s->walk[level][i];

            if (c->tag > first >> span && c->tag <= (last >> span) + 1)
                c->tag = 0;
        }
    }
}

/* Exactly what the contract of instance.h gives, and not an entry more. */
static int fast_invalidate(struct gr_instance *inst, struct gr_binding *binding, gr_iova_t first,
                           gr_iova_t last, bool tables)
{
    struct host *const h = inst->env;

    if (h->pending)
        prop_fail("an invalidation while table stores are not ordered by a barrier");
    if (first > last)
        prop_fail("an invalidation of %" PRIx64 "..%" PRIx64, first, last);
    for (uint32_t sid = 0; sid < PROP_STREAMS; sid++) {
        struct stream *const s = stream_of(inst, sid);

        if (!(binding->hw[0] >> sid & 1))
            continue;
        drop_leaves(h, s, first & low(s->va_bits), last & low(s->va_bits));
        if (tables)
            drop_walks(h, s, first & low(s->va_bits), last & low(s->va_bits));
    }
    return 0;
}

static const struct gr_instance_ops fast_ops = {
    .attach = fast_attach,
    .block = fast_block,
    .invalidate = fast_invalidate,
};

/* ---- Making and ending ---- */

static void make_memory(struct host *h)
{
    const int fd = memfd_create("memory", 0);

    if (fd < 0 || ftruncate(fd, (off_t)(2 * MEMORY)))
        prop_fail("no memory for a machine");
    h->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    h->uncached = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (h->memory == MAP_FAILED || h->uncached == MAP_FAILED)
        prop_fail("no memory for a machine");
    close(fd);
}

static void make_instance(struct host *h, unsigned i, struct gr_range aperture, bool caches_absent)
{
    const struct prop_shape *const shape = h->shape;
    struct gr_instance *const inst = &h->inst[i].inst;

    *inst = (struct gr_instance){
        .ops = &fast_ops,
        .env = h,
        .name = "walker",
        .table = {.format = shape->format,
                  .granule_lg2 = shape->granule_lg2,
                  .levels = shape->levels,
                  .roots_lg2 = shape->roots_lg2,
                  .va_bits = shape->va_bits,
                  .pa_bits = shape->pa_bits,
                  .coherent = true},
        .aperture = aperture,
        .streams = PROP_STREAMS,
        .caches_absent = caches_absent,
    };
    gr_instance_init(inst);
    h->m.inst[i] = inst;
}

struct prop_machine *machine_make(const struct prop_shape *shape, struct gr_range aperture,
                                  uint64_t seed)
{
    struct host *const h = &machine;
    uint8_t *const memory = h->memory;
    uint8_t *const uncached = h->uncached;

    memset(h, 0, sizeof(*h));
    h->memory = memory;
    h->uncached = uncached;
    if (!memory)
        make_memory(h);
    h->m.env = h;
    h->m.snoops = sizeof(void *) < 8; /* any PA of a buffer must have an address */
    h->shape = shape;
    h->format =
        walker_entries(format_of(shape->format)->entries, UINT64_C(1) << shape->granule_lg2);
    h->rng = seed;
    h->cache = (struct prop_cache){.first = UINT64_MAX};
    /* Tables from PA 0, somewhere, and up to the last PA. */
    h->pa = seed % 3 == 0   ? 0
            : seed % 3 == 1 ? UINT64_C(0x800000000)
                            : (UINT64_C(1) << shape->pa_bits) - MEMORY;
    for (unsigned i = 0; i < PROP_INSTANCES; i++)
        make_instance(h, i, aperture, seed >> 8 & 1);
    return &h->m;
}

void machine_end(struct prop_machine *m)
{
    struct host *const h = m->env;

    for (unsigned i = 0; i < PROP_INSTANCES; i++) {
        if (gr_instance_fini(m->inst[i]))
            prop_fail("gr_instance_fini() fails");
    }
    if (h->pages || h->mapped)
        prop_fail("%" PRIu64 " pages and %" PRIu64 " mappings leak", h->pages, h->mapped);
}

/* ---- What a suite asks ---- */

bool machine_read(void *m, uint64_t pa, void *buf, size_t len)
{
    const uint8_t *const at = live_at(((struct prop_machine *)m)->env, pa, len);

    if (at)
        memcpy(buf, at, len);
    return at;
}

void machine_fail_alloc(struct prop_machine *m, uint64_t n)
{
    m->env->fail_at = n ? m->env->allocs + n : 0;
}

uint64_t machine_allocs(struct prop_machine *m)
{
    return m->env->allocs;
}

gr_pa_t machine_pa(struct prop_machine *m, void *cpu)
{
    const uintptr_t at = (uintptr_t)cpu;
    const uintptr_t uncached = (uintptr_t)m->env->uncached;

    if (at - uncached < MEMORY)
        return m->env->pa + (at - uncached);
    return gr_port_virt_to_phys(m->env, cpu);
}

bool machine_cache(struct prop_machine *m, struct prop_cache *out)
{
    *out = m->env->cache;
    m->env->cache = (struct prop_cache){.first = UINT64_MAX};
    return true;
}

/* ---- The port ---- */

static void set_live(struct host *h, const uint8_t *va, unsigned lg2, bool live)
{
    const uint64_t first = (uint64_t)(va - h->memory) >> 12;

    for (uint64_t page = first; page < first + (UINT64_C(1) << (lg2 - 12)); page++) {
        if (h->live[page] == live)
            prop_fail("page %" PRIx64 " is %s twice", page, live ? "given" : "freed");
        h->live[page] = live;
    }
    h->pages += live ? UINT64_C(1) << (lg2 - 12) : 0 - (UINT64_C(1) << (lg2 - 12));
}

void *gr_port_pages_alloc(gr_env_t env, unsigned lg2, gr_pa_t pa_last, unsigned flags)
{
    const uint64_t size = UINT64_C(1) << lg2;
    uint8_t *block;

    (void)flags;
    if (++env->allocs == env->fail_at)
        return NULL;
    if (lg2 > BLOCK_LG2 || pa_last < env->pa + MEMORY - 1)
        return NULL;
    block = env->free[lg2];
    if (block) {
        memcpy(&env->free[lg2], block, sizeof(void *));
    } else {
        env->used = (env->used + size - 1) & ~(size - 1);
        if (env->used + size > MEMORY)
            return NULL;
        block = env->memory + env->used;
        env->used += size;
    }
    set_live(env, block, lg2, true);
    return memset(block, 0, size);
}

void gr_port_pages_free(gr_env_t env, void *va, unsigned lg2)
{
    set_live(env, va, lg2, false);
    /* The end of a domain links its tables before it frees them, and no walker is there to see. */
    if ((uintptr_t)env->pending - (uintptr_t)va < (uintptr_t)1 << lg2)
        env->pending = NULL;
    memcpy(va, &env->free[lg2], sizeof(void *));
    env->free[lg2] = va;
}

/* Also of buffers, which may have any PA: addresses that are computed with and never followed. */
gr_pa_t gr_port_virt_to_phys(gr_env_t env, const void *va)
{
    return (uintptr_t)va - (uintptr_t)env->memory + env->pa;
}

void *gr_port_phys_to_virt(gr_env_t env, gr_pa_t pa)
{
    return (void *)(uintptr_t)(pa - env->pa + (uintptr_t)env->memory);
}

void gr_port_cache(gr_env_t env, const void *va, size_t len, unsigned op)
{
    const gr_pa_t pa = gr_port_virt_to_phys(env, va);

    env->cache.cleaned += op & GR_CACHE_CLEAN ? len : 0;
    env->cache.dropped += op & GR_CACHE_INVAL ? len : 0;
    env->cache.first = pa < env->cache.first ? pa : env->cache.first;
    env->cache.last = pa + len - 1 > env->cache.last ? pa + len - 1 : env->cache.last;
}

void *gr_port_map_uncached(gr_env_t env, void *va, size_t len)
{
    (void)len;
    env->mapped++;
    return env->uncached + ((uint8_t *)va - env->memory);
}

/* No firmware ran here. */
void *gr_port_map_firmware(gr_env_t env, gr_pa_t pa, size_t len)
{
    (void)env;
    (void)pa;
    (void)len;
    return NULL;
}

void gr_port_unmap_uncached(gr_env_t env, void *mapped, size_t len)
{
    if ((uintptr_t)mapped - (uintptr_t)env->uncached >= MEMORY || len > MEMORY)
        prop_fail("what is unmapped was not mapped");
    env->mapped--;
}

void gr_port_table_store64(gr_env_t env, uint64_t *slot, uint64_t value)
{
    prefetch(env);
    *slot = value;
    env->pending = slot;
    prefetch(env);
}

/* Barriers have no environment: there is one machine. */
void gr_port_wmb(void)
{
    machine.pending = NULL;
}

void gr_port_rmb(void)
{
}

void gr_port_mb(void)
{
    machine.pending = NULL;
}

void gr_port_lock_init(gr_lock_t *lock)
{
    lock->owner = 0;
}

void gr_port_lock_fini(gr_lock_t *lock)
{
    if (lock->owner)
        prop_fail("a lock ends that is held");
}

gr_lock_state_t gr_port_lock(gr_lock_t *lock)
{
    if (lock->owner)
        prop_fail("a lock is taken twice");
    lock->owner = 1;
    return 0;
}

void gr_port_unlock(gr_lock_t *lock, gr_lock_state_t state)
{
    (void)state;
    lock->owner = 0;
}

#ifdef GR_PORT_HAS_EXCLUSIVE
gr_exclusive_t gr_port_exclusive_enter(void)
{
    return 1;
}

void gr_port_exclusive_leave(gr_exclusive_t section)
{
    (void)section;
}
#endif

unsigned gr_port_cpu(void)
{
    return 0;
}

unsigned gr_port_cpu_page_lg2(gr_env_t env)
{
    (void)env;
    return 12;
}

uint64_t gr_port_now_ns(gr_env_t env)
{
    return (uint64_t)(uintptr_t)env & 0;
}

void gr_port_relax(gr_env_t env)
{
    (void)env;
}

/* Refusals are part of the tests. */
void gr_port_log(gr_env_t env, unsigned level, const char *line)
{
    (void)env;
    (void)level;
    prop_tell("log: %s", line);
}

void gr_port_panic(gr_env_t env, const char *why)
{
    (void)env;
    prop_fail("panic: %s", why);
}

int main(void)
{
    return prop_main("prop_fast", 1000000);
}
