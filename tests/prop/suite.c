/* SPDX-License-Identifier: MIT */
/*
 * The suite: one episode, on a machine of the shape that the row gives.
 *
 * Two devices, one of them behind two instances; two TRANSLATED and two UNMANAGED domains, between
 * which the devices move. A flat shadow has for each granule of each domain what it should lead to.
 * After each operation devices probe where it was, beside it, and at random: the machine's caches
 * are warm with what was there before, so whatever is not invalidated shows.
 */
#include "prop.h"

#include "iova/iova_arena.h"
#include "pt/pt_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct prop_shape shape; /* of the episode that plays */

#define G ((uint64_t)1 << shape.granule_lg2)
#define INDEX_BITS (shape.granule_lg2 - 3u)
#define PER_TABLE ((uint64_t)1 << INDEX_BITS) /* granules that a leaf table maps */
#define PA_GRANULES ((uint64_t)1 << (shape.pa_bits - shape.granule_lg2))

#define CHUNK 64u
#define CHUNKS 4096u
#define SLOTS 8192u
#define POINTS 32u
#define AROUND 96u /* granules about a point that are used */
#define LIVE 64u
#define SEGS 8u
#define DOMAINS 4u /* the first two TRANSLATED */
#define DEVICES 2u

#define MUST(what, ...)                                                                            \
    do {                                                                                           \
        if (!(what))                                                                               \
            prop_fail(__VA_ARGS__);                                                                \
    } while (0)

/* ---- The shadow: by granule number, PA's granule << 3 | GR_PROT_*, 0 where nothing is mapped ----
 */

struct chunk {
    uint64_t key; /* granule / CHUNK */
    unsigned mapped;
    uint64_t cell[CHUNK];
};

struct shadow {
    struct chunk chunk[CHUNKS];
    unsigned chunks;
    uint16_t slot[SLOTS]; /* chunk + 1 */
    uint64_t mapped;
};

static uint16_t *slot_for(struct shadow *s, uint64_t key)
{
    unsigned i = (unsigned)(key * UINT64_C(0x9e3779b97f4a7c15) >> 51);

    while (s->slot[i] && s->chunk[s->slot[i] - 1].key != key)
        i = (i + 1) % SLOTS;
    return &s->slot[i];
}

static uint64_t shadow_get(struct shadow *s, uint64_t g)
{
    const uint16_t slot = *slot_for(s, g / CHUNK);

    return slot ? s->chunk[slot - 1].cell[g % CHUNK] : 0;
}

static void shadow_set(struct shadow *s, uint64_t g, uint64_t cell)
{
    uint16_t *const slot = slot_for(s, g / CHUNK);
    struct chunk *chunk;
    int more;

    if (!*slot) {
        MUST(s->chunks < CHUNKS, "the shadow is full: the test uses more than it was made for");
        *slot = (uint16_t)++s->chunks;
        s->chunk[*slot - 1].key = g / CHUNK;
    }
    chunk = &s->chunk[*slot - 1];
    more = !!cell - !!chunk->cell[g % CHUNK];
    chunk->mapped = (unsigned)((int)chunk->mapped + more);
    s->mapped += (uint64_t)(int64_t)more;
    chunk->cell[g % CHUNK] = cell;
}

/* How many granules from g on, at most n, are mapped, or are not. */
static uint64_t run_of(struct shadow *s, uint64_t g, uint64_t n, bool mapped)
{
    uint64_t run = 0;

    while (run < n && !shadow_get(s, g + run) == !mapped)
        run++;
    return run;
}

static void shadow_fill(struct shadow *s, uint64_t g, uint64_t n, uint64_t pa_g, unsigned prot)
{
    for (uint64_t i = 0; i < n; i++)
        shadow_set(s, g + i, (pa_g + i) << 3 | prot);
}

static void shadow_clear(struct shadow *s, uint64_t g, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        shadow_set(s, g + i, 0);
}

/* Whole chunks: g and n are multiples of CHUNK. */
static bool shadow_empty(struct shadow *s, uint64_t g, uint64_t n)
{
    for (uint64_t key = g / CHUNK; key < (g + n) / CHUNK; key++) {
        const uint16_t slot = *slot_for(s, key);

        if (slot && s->chunk[slot - 1].mapped)
            return false;
    }
    return true;
}

static void shadow_reset(struct shadow *s)
{
    memset(s->chunk, 0, s->chunks * sizeof(s->chunk[0]));
    memset(s->slot, 0, sizeof(s->slot));
    s->chunks = 0;
    s->mapped = 0;
}

/* ---- The world ---- */

enum live_kind { LIVE_RANGE, LIVE_LIST, LIVE_BUFFER };

/* What the DMA API gave. */
struct live {
    enum live_kind kind;
    enum gr_dma_dir dir;
    unsigned attrs;
    uint64_t first, granules; /* the IOVA allocation */
    gr_iova_t iova;
    uint64_t len;
    gr_pa_t pa;
    void *cpu;
    struct gr_seg segs[SEGS];
    struct gr_dma_seg out[SEGS];
    struct gr_dma_list list;
};

struct place {
    struct gr_domain dom;
    bool translated;
    unsigned users; /* a bitmap of devices */
    struct live live[LIVE];
    unsigned lives;
    struct walker_stream stream; /* its tables, for the independent walker */
    uint64_t least_tables;       /* that there are when nothing is mapped */
};

struct member {
    struct gr_device dev;
    struct gr_stream streams[PROP_INSTANCES];
    unsigned sid[PROP_INSTANCES];
    unsigned at[PROP_INSTANCES]; /* instance of each stream */
    struct place *place;
    uint64_t mask;
    uint64_t seg_max, boundary; /* 0: none */
};

struct world {
    struct prop_episode *episode;
    struct prop_machine *m;
    uint64_t rng;
    struct gr_range aperture;
    uint64_t first, last; /* its granules */
    uint64_t base;        /* granule at which the translated bits are 0 */
    struct gr_range reserved;
    bool coherent; /* the devices */
    struct walker_source source;
    const struct walker_format *format;
    uint64_t point[POINTS];
    unsigned points;
    struct place place[DOMAINS];
    struct member member[DEVICES];
    /* What the call under way may change, for the observer: any granule of all, or none of NULL. */
    const struct place *busy;
    uint64_t busy_first, busy_last;
};

static struct world *world;             /* reused by the next episode */
static struct shadow *shadows[DOMAINS]; /* too */

static struct shadow *shadow_of(const struct world *w, const struct place *p)
{
    return shadows[p - w->place];
}

static unsigned index_of(const struct world *w, const struct place *p)
{
    return (unsigned)(p - w->place);
}

static uint64_t below(struct world *w, uint64_t n)
{
    const uint64_t z = chance_next(&w->rng);

    return n >> 32 ? z % n : (z >> 32) * n >> 32;
}

static bool chance(struct world *w, uint64_t n)
{
    return !below(w, n);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- Probes ---- */

/* The independent walker, and the library's own words about a leaf. */
static void look_deeper(struct world *w, struct place *p, uint64_t g, uint64_t cell)
{
    const gr_iova_t iova = (g << shape.granule_lg2) + below(w, G);
    struct walker_walk walk;
    struct gr_pt_walk own;
    const int ret = gr_pt_walk(&p->dom.pt, iova, &own);

    walker_walk(&p->stream, iova, &walk);
    MUST(walk.end == (cell ? WALKER_MAPPED : WALKER_NO_ENTRY),
         "domain %u: the independent walker ends %d at %" PRIx64 ", in the shadow is %" PRIx64,
         index_of(w, p), (int)walk.end, iova, cell);
    MUST(ret == (cell ? 0 : GR_ENOENT), "domain %u: gr_pt_walk() says %d at %" PRIx64,
         index_of(w, p), ret, iova);
    MUST(own.steps == walk.nsteps,
         "domain %u: gr_pt_walk() reads %u entries for %" PRIx64 ", not %u", index_of(w, p),
         own.steps, iova, walk.nsteps);
    if (!cell)
        return;
    MUST(walk.pa == ((cell >> 3) << shape.granule_lg2 | (iova & (G - 1))) && own.pa == walk.pa,
         "domain %u: %" PRIx64 " leads to %" PRIx64 " by the walker, %" PRIx64 " by gr_pt_walk(), "
         "in the shadow is %" PRIx64,
         index_of(w, p), iova, walk.pa, own.pa, cell);
    MUST(own.prot == (cell & 7) && walk.leaf.read == !!(cell & GR_PROT_READ) &&
             walk.leaf.write == !!(cell & GR_PROT_WRITE) &&
             walk.leaf.uncached == !!(cell & GR_PROT_UNCACHED),
         "domain %u: the leaf of %" PRIx64 " is %" PRIx64 ", in the shadow is %" PRIx64,
         index_of(w, p), iova, walk.leaf.entry, cell);
    MUST(walk.leaf.open == walk.leaf.iova && walk.leaf.open_last == walk.leaf.last &&
             own.window.first == 0 && own.window.last == G - 1,
         "domain %u: the leaf of %" PRIx64 " does not open its granule", index_of(w, p), iova);
}

/* A device of the domain, which has one, tries a byte. */
static void device_probe(struct world *w, const struct place *p, uint64_t g, uint64_t dice,
                         bool (*reach)(struct prop_machine *m, unsigned inst, unsigned sid,
                                       gr_iova_t iova, bool write, gr_pa_t *out_pa))
{
    const struct member *const u = &w->member[p->users == 3 ? dice >> 62 & 1 : p->users >> 1];
    const unsigned i = u->dev.config.stream_count == 2 ? dice >> 61 & 1 : 0;
    const uint64_t cell = shadow_get(shadow_of(w, p), g);
    const gr_iova_t iova = (g << shape.granule_lg2) + (dice & (G - 1));
    const bool write = dice >> 63;
    const bool want = cell & (write ? GR_PROT_WRITE : GR_PROT_READ);
    gr_pa_t pa = 0;
    const bool got = reach(w->m, u->at[i], u->sid[i], iova, write, &pa);

    MUST(got == want,
         "domain %u: a %s at %" PRIx64 " %s (to %" PRIx64 "), in the shadow is %" PRIx64,
         index_of(w, p), write ? "write" : "read", iova, got ? "passes" : "faults", pa, cell);
    MUST(!got || pa == ((cell >> 3) << shape.granule_lg2 | (iova & (G - 1))),
         "domain %u: %" PRIx64 " leads to %" PRIx64 ", in the shadow is %" PRIx64, index_of(w, p),
         iova, pa, cell);
}

static void probe(struct world *w, struct place *p, uint64_t g)
{
    const uint64_t dice = chance_next(&w->rng);

    if (p->users)
        device_probe(w, p, g, dice, machine_reach);
    if (!p->users || !(dice >> 56 & 15))
        look_deeper(w, p, g, shadow_get(shadow_of(w, p), g));
}

/* A granule for `n` of them, near a point of interest. */
static uint64_t pick(struct world *w, uint64_t n)
{
    const uint64_t at = w->point[below(w, w->points)] + below(w, AROUND);
    const uint64_t g = at > AROUND / 2 ? at - AROUND / 2 : 0;

    if (g < w->first)
        return w->first;
    return g > w->last - (n - 1) ? w->last - (n - 1) : g;
}

static void set_busy(struct world *w, const struct place *p, uint64_t first, uint64_t last)
{
    w->busy = p;
    w->busy_first = first;
    w->busy_last = last;
}

/* In the middle of a call nothing has changed but what the call is about. */
static void observe(void *opaque)
{
    struct world *const w = opaque;
    const struct member *const u = &w->member[below(w, DEVICES)];
    const struct place *const p = u->place;
    const uint64_t near = w->busy_first - 8 + below(w, w->busy_last - w->busy_first + 16);
    const uint64_t g = p && p == w->busy && near >= w->first && near <= w->last ? near : pick(w, 1);

    if (p && w->busy && (p != w->busy || g < w->busy_first || g > w->busy_last))
        device_probe(w, p, g, chance_next(&w->rng), machine_peek);
}

/* Fill caches with what is there before it changes. */
static void warm(struct world *w, struct place *p, uint64_t g, uint64_t n)
{
    probe(w, p, g);
    if (n > 1)
        probe(w, p, g + n - 1);
}

static void probe_around(struct world *w, struct place *p, uint64_t g, uint64_t n)
{
    warm(w, p, g, n);
    if (n > 2)
        probe(w, p, g + below(w, n));
    if (g > w->first && chance(w, 2))
        probe(w, p, g - 1);
    if (g + n - 1 < w->last && chance(w, 2))
        probe(w, p, g + n);
    if (chance(w, 2))
        probe(w, p, pick(w, 1));
}

/* ---- What every operation shares ---- */

struct watch {
    uint64_t allocs, tables, nth;
};

/* Perhaps one of the next allocations fails. */
static struct watch arm(struct world *w, const struct place *p, uint64_t one_in)
{
    struct watch watch = {machine_allocs(w->m), p->dom.pt.tables, 0};

    if (one_in && chance(w, one_in)) {
        watch.nth = 1 + below(w, 3);
        machine_fail_alloc(w->m, watch.nth);
    }
    return watch;
}

/* Did it? */
static bool disarm(struct world *w, const struct watch *watch)
{
    if (!watch->nth)
        return false;
    machine_fail_alloc(w->m, 0);
    return machine_allocs(w->m) - watch->allocs >= watch->nth;
}

static void expect(const struct world *w, const struct place *p, int ret, int want,
                   const char *call)
{
    MUST(ret == want, "domain %u: %s returns %d, not %d", index_of(w, p), call, ret, want);
}

static void expect_no_alloc(struct world *w, const struct place *p, const struct watch *watch,
                            const char *call)
{
    MUST(machine_allocs(w->m) == watch->allocs, "domain %u: %s allocates", index_of(w, p), call);
    MUST(p->dom.pt.tables <= watch->tables, "domain %u: %s makes tables", index_of(w, p), call);
}

static unsigned random_prot(struct world *w)
{
    return (1 + (unsigned)below(w, 3)) | (chance(w, 4) ? GR_PROT_UNCACHED : 0);
}

static uint64_t random_page(struct world *w, uint64_t n)
{
    const uint64_t dice = below(w, 16);

    return dice > 1 ? below(w, PA_GRANULES - n + 1) : dice ? PA_GRANULES - n : 0;
}

/* ---- UNMANAGED domains ---- */

/* As aligned as IOVA granule g, so that formats that have them use blocks and groups. */
static uint64_t aligned_page(struct world *w, uint64_t g, uint64_t n)
{
    const uint64_t page = (random_page(w, n) & ~(PER_TABLE - 1)) + (g & (PER_TABLE - 1));

    return page + n > PA_GRANULES
               ? page - (page + n - PA_GRANULES + PER_TABLE - 1) / PER_TABLE * PER_TABLE
               : page;
}

static void u_map(struct world *w, struct place *p, uint64_t g, uint64_t n)
{
    struct shadow *const s = shadow_of(w, p);
    const uint64_t page =
        w->format->group && chance(w, 2) ? aligned_page(w, g, n) : random_page(w, n);
    const unsigned prot = random_prot(w);
    const bool clash = run_of(s, g, n, false) < n;
    struct watch watch;
    bool fired;
    int ret;

    prop_tell("u%u map %" PRIx64 "+%" PRIx64 " -> %" PRIx64 " prot %x%s", index_of(w, p), g, n,
              page, prot, clash ? ", taken" : "");
    warm(w, p, g, n);
    set_busy(w, p, g, g + n - 1);
    watch = arm(w, p, 64);
    ret = gr_domain_map(&p->dom, g << shape.granule_lg2, page << shape.granule_lg2,
                        n << shape.granule_lg2, prot);
    fired = disarm(w, &watch);
    expect(w, p, ret, fired ? GR_ENOMEM : clash ? GR_EEXIST : 0, "gr_domain_map()");
    if (!ret)
        shadow_fill(s, g, n, page, format_prot(shape.format, prot));
    else
        MUST(p->dom.pt.tables <= watch.tables, "domain %u: a failed map leaves tables",
             index_of(w, p));
    probe_around(w, p, g, n);
}

/* Of a leaf table that maps nothing: is it there all the same? */
static bool has_table(const struct place *p, uint64_t g)
{
    struct gr_pt_walk walk;

    return gr_pt_walk(&p->dom.pt, g << shape.granule_lg2, &walk) == 0 ||
           walk.steps == p->dom.pt.levels;
}

/* The granules of the leaf or group that maps g, which is mapped. */
static struct gr_range whole_of(const struct world *w, const struct place *p, uint64_t g)
{
    struct walker_walk walk;

    walker_walk(&p->stream, g << shape.granule_lg2, &walk);
    return (struct gr_range){(walk.leaf.whole >> shape.granule_lg2) + w->base,
                             (walk.leaf.whole_last >> shape.granule_lg2) + w->base};
}

/* Does granule g, the first after the last included, begin inside a leaf or a group? */
static bool is_inside(struct world *w, struct place *p, uint64_t g)
{
    return g <= w->last && shadow_get(shadow_of(w, p), g) && whole_of(w, p, g).first < g;
}

/* Grow a range of mapped granules to whole leaves and groups. */
static void grow(struct world *w, struct place *p, uint64_t *g, uint64_t *n)
{
    const uint64_t first = whole_of(w, p, *g).first;
    const uint64_t last = whole_of(w, p, *g + *n - 1).last;

    *g = first;
    *n = last - first + 1;
}

static void u_unmap(struct world *w, struct place *p, uint64_t g, uint64_t n)
{
    struct shadow *const s = shadow_of(w, p);
    const bool cut = is_inside(w, p, g) || is_inside(w, p, g + n);
    const bool hole = run_of(s, g, n, true) < n;
    const uint64_t table = (g + PER_TABLE - 1) & ~(PER_TABLE - 1);
    struct watch watch;
    int ret;

    prop_tell("u%u unmap %" PRIx64 "+%" PRIx64 "%s", index_of(w, p), g, n, hole ? ", hole" : "");
    warm(w, p, g, n);
    set_busy(w, p, g, g + n - 1);
    watch = arm(w, p, 0);
    ret = gr_domain_unmap(&p->dom, g << shape.granule_lg2, n << shape.granule_lg2);
    expect(w, p, ret, cut ? GR_EMSGSIZE : hole ? GR_ENOENT : 0, "gr_domain_unmap()");
    expect_no_alloc(w, p, &watch, "gr_domain_unmap()");
    if (!ret)
        shadow_clear(s, g, n);
    if (!ret && table + PER_TABLE <= g + n)
        MUST(!has_table(p, table), "domain %u: the table of %" PRIx64 " outlives its span's unmap",
             index_of(w, p), table);
    probe_around(w, p, g, n);
}

static void u_unmap_whole(struct world *w, struct place *p, uint64_t g, uint64_t n)
{
    grow(w, p, &g, &n);
    u_unmap(w, p, g, n);
}

static void u_trim(struct world *w, struct place *p)
{
    const bool all = chance(w, 64); /* it looks at every table that there might be */
    const uint64_t n =
        all ? w->last - w->first + 1 : 1 + below(w, least(3 * PER_TABLE, w->last - w->first));
    const uint64_t g = all ? w->first : pick(w, n);
    const uint64_t table = g & ~(PER_TABLE - 1);
    struct watch watch;

    prop_tell("u%u trim %" PRIx64 "+%" PRIx64, index_of(w, p), g, n);
    warm(w, p, g, n);
    set_busy(w, p, w->first, w->first); /* nothing at all changes, but busy is not empty */
    watch = arm(w, p, 0);
    expect(w, p, gr_domain_trim(&p->dom, g << shape.granule_lg2, n << shape.granule_lg2), 0,
           "gr_domain_trim()");
    expect_no_alloc(w, p, &watch, "gr_domain_trim()");
    MUST(!shadow_empty(shadow_of(w, p), table, PER_TABLE) || !has_table(p, g),
         "domain %u: a table of %" PRIx64 " that maps nothing outlives a trim", index_of(w, p), g);
    probe_around(w, p, g, n);
}

/* A whole table in one call, and out again. */
static void u_table(struct world *w, struct place *p)
{
    struct shadow *const s = shadow_of(w, p);
    uint64_t g = pick(w, 1) & ~(PER_TABLE - 1);
    uint64_t end = least(g + PER_TABLE + (chance(w, 2) ? below(w, 4) : 0), w->last + 1);

    g = g < w->first ? w->first : g;
    for (uint64_t at = g; at < end;) {
        const uint64_t run = run_of(s, at, end - at, true);

        if (run)
            u_unmap(w, p, at, run);
        at += run + run_of(s, at + run, end - at - run, false);
    }
    u_map(w, p, g, end - g);
    if (chance(w, 2) && shadow_get(s, g))
        u_unmap(w, p, g, end - g);
}

/* Runs with gaps through the cursor below the API, which is what lists use. */
static void u_runs(struct world *w, struct place *p)
{
    struct shadow *const s = shadow_of(w, p);
    const uint64_t in_all = AROUND / 2;
    struct gri_pt_cursor cursor = {.pt = &p->dom.pt, .prot = random_prot(w)};
    struct gr_seg run[6];
    uint64_t at_va[6];
    uint64_t g = pick(w, in_all);
    const uint64_t first = g, last = g + in_all - 1;
    unsigned count = 0;
    uint64_t end = g - w->base;
    struct watch watch;
    int want = 0;
    int ret;

    cursor.end = end << shape.granule_lg2;
    for (; count < 6 && g <= last; count++) {
        const uint64_t n = 1 + below(w, least(8, last - g + 1));
        const uint64_t page = random_page(w, n);

        at_va[count] = (g - w->base) << shape.granule_lg2;
        run[count] = (struct gr_seg){page << shape.granule_lg2, n << shape.granule_lg2};
        g += n + (chance(w, 2) ? below(w, 6) : 0);
    }
    prop_tell("u%u %u runs from %" PRIx64, index_of(w, p), count, first);
    warm(w, p, first, in_all);
    set_busy(w, p, first, last);
    watch = arm(w, p, 32);
    ret = 0;
    for (unsigned i = 0; !ret && i < count; i++)
        ret = gri_pt_map_segs(&cursor, at_va[i], &run[i], 1);
    gri_pt_map_end(&cursor);
    for (unsigned i = 0; i < p->dom.bindings; i++) {
        struct gr_binding *const b = &p->dom.binding[i];

        expect(w, p,
               b->inst->ops->invalidate(b->inst, b, first << shape.granule_lg2, (last + 1) * G - 1,
                                        true),
               0, "invalidate()");
    }
    for (unsigned i = 0; i < count && !want; i++) {
        const uint64_t at = (at_va[i] >> shape.granule_lg2) + w->base;
        const uint64_t n = run[i].len >> shape.granule_lg2;
        const uint64_t done =
            cursor.end > at_va[i] ? (cursor.end - at_va[i]) >> shape.granule_lg2 : 0;
        const uint64_t fits = run_of(s, at, n, false);

        want = fits < n ? GR_EEXIST : 0;
        MUST(least(done, n) <= fits, "domain %u: a run wrote over %" PRIx64, index_of(w, p),
             at + fits);
        if (ret == GR_ENOMEM) { /* as far as it says */
            shadow_fill(s, at, least(done, n), run[i].pa >> shape.granule_lg2,
                        format_prot(shape.format, cursor.prot));
            continue;
        }
        shadow_fill(s, at, fits, run[i].pa >> shape.granule_lg2,
                    format_prot(shape.format, cursor.prot));
        end = fits ? at + fits - w->base : end;
    }
    expect(w, p, ret, disarm(w, &watch) ? GR_ENOMEM : want, "map_segs");
    MUST(ret == GR_ENOMEM || cursor.end == end << shape.granule_lg2,
         "domain %u: the cursor ends at %" PRIx64 ", not %" PRIx64, index_of(w, p), cursor.end,
         end << shape.granule_lg2);
    probe_around(w, p, first, in_all);
}

/* One thing wrong with the arguments each. */
static void u_refused(struct world *w, struct place *p)
{
    const uint64_t tables = p->dom.pt.tables;
    const gr_iova_t iova = pick(w, 1) << shape.granule_lg2;
    const uint64_t odd = 1 + below(w, G - 1);
    gr_pa_t pa;

    prop_tell("u%u refused %" PRIx64, index_of(w, p), iova);
    expect(w, p, gr_domain_map(&p->dom, iova, 0, 0, RW), GR_ENODATA, "map of no bytes");
    expect(w, p, gr_domain_map(&p->dom, iova + odd, 0, G, RW), GR_EINVAL, "map, odd IOVA");
    expect(w, p, gr_domain_map(&p->dom, iova, odd, G, RW), GR_EINVAL, "map, odd PA");
    expect(w, p, gr_domain_map(&p->dom, iova, 0, odd, RW), GR_EINVAL, "map, odd length");
    expect(w, p, gr_domain_map(&p->dom, iova, 0, G, GR_PROT_UNCACHED), GR_EACCES, "map, no access");
    expect(w, p, gr_domain_map(&p->dom, iova, 0, G, 0x10), GR_EOPNOTSUPP, "map, unknown prot");
    expect(w, p, gr_domain_map(&p->dom, iova, PA_GRANULES * G, G, RW), GR_EFAULT,
           "map beyond the PA width");
    if (iova > G)
        expect(w, p, gr_domain_map(&p->dom, iova, 0, 0 - iova + G, RW), GR_EOVERFLOW,
               "map past 2^64");
    if (w->last < UINT64_MAX >> shape.granule_lg2)
        expect(w, p, gr_domain_map(&p->dom, w->last << shape.granule_lg2, 0, 2 * G, RW), GR_ERANGE,
               "map past the aperture");
    if (w->first)
        expect(w, p, gr_domain_unmap(&p->dom, (w->first - 1) << shape.granule_lg2, G), GR_ERANGE,
               "unmap before the aperture");
    expect(w, p, gr_domain_unmap(&p->dom, iova, odd), GR_EINVAL, "unmap, odd length");
    expect(w, p, gr_domain_iova_to_phys(&p->dom, iova + odd, &pa),
           shadow_get(shadow_of(w, p), iova >> shape.granule_lg2) ? 0 : GR_ENOENT, "iova_to_phys");
    MUST(p->dom.pt.tables == tables, "domain %u: refused calls changed tables", index_of(w, p));
    probe_around(w, p, iova >> shape.granule_lg2, 1);
}

static void u_step(struct world *w, struct place *p)
{
    const uint64_t dice = below(w, 256);
    const uint64_t n = 1 + below(w, chance(w, 4) ? 40 : 6);
    const uint64_t g = pick(w, n);
    const bool mapped = shadow_get(shadow_of(w, p), g);
    const uint64_t run = run_of(shadow_of(w, p), g, n, mapped);

    if (dice == 0)
        u_table(w, p);
    else if (dice < 3)
        u_refused(w, p);
    else if (dice < 12)
        u_trim(w, p);
    else if (dice < 26)
        u_runs(w, p);
    else if (mapped && dice > 250)
        u_map(w, p, g, n);
    else if (mapped && w->format->group && dice < 200)
        u_unmap_whole(w, p, g, run);
    else if (mapped)
        u_unmap(w, p, g, dice < 246 ? run : n);
    else if (dice > 250)
        u_unmap(w, p, g, n);
    else
        u_map(w, p, g, dice < 236 ? run : n);
}

/* ---- TRANSLATED domains: the DMA API ---- */

static int by_first(const void *a, const void *b)
{
    const struct gr_range *const x = a;
    const struct gr_range *const y = b;

    return x->first < y->first ? -1 : x->first > y->first;
}

/* Of the free granules [at, end), the longest run that no arena lies in: the one that must be found
 * whatever is asked for (iova.h). */
static uint64_t outside_arenas(const struct place *p, uint64_t at, uint64_t end)
{
    const struct gr_iova *const space = &p->dom.iova;
    uint64_t best = 0, next;

    if (at >= end || !space->arena_lg2)
        return at < end ? end - at : 0;
    for (uint64_t unit = at; unit < end; unit = next) {
        next = least(end, ((unit >> space->arena_lg2) + 1) << space->arena_lg2);
        if (gri_arena_of(space, unit)) {
            best = unit - at > best ? unit - at : best;
            at = next;
        }
    }
    return end - at > best ? end - at : best;
}

/* The longest free range that `u` may use, in granules. */
static uint64_t longest_gap(const struct world *w, const struct place *p, const struct member *u)
{
    const uint64_t last =
        least(w->last + 1, (u->mask >> shape.granule_lg2) + ((u->mask & (G - 1)) == G - 1));
    struct gr_range taken[LIVE + 1];
    uint64_t at = w->first, best = 0;

    for (unsigned i = 0; i < p->lives; i++)
        taken[i] = (struct gr_range){p->live[i].first, p->live[i].first + p->live[i].granules};
    taken[p->lives] = (struct gr_range){w->reserved.first >> shape.granule_lg2,
                                        (w->reserved.last >> shape.granule_lg2) + 1};
    qsort(taken, p->lives + 1, sizeof(taken[0]), by_first);
    for (unsigned i = 0; i <= p->lives; i++) {
        const uint64_t gap = outside_arenas(p, at, least(taken[i].first, last));

        best = gap > best ? gap : best;
        at = taken[i].last > at ? taken[i].last : at;
    }
    return outside_arenas(p, at, last) > best ? outside_arenas(p, at, last) : best;
}

/* [first, first + n) was allocated: is it free and allowed? */
static void check_allocation(const struct world *w, const struct place *p, const struct member *u,
                             uint64_t first, uint64_t n)
{
    MUST(first >= w->first && n && n - 1 <= w->last - first &&
             ((first + n) << shape.granule_lg2) - 1 <= u->mask,
         "domain %u: %" PRIx64 "+%" PRIx64 " was given, outside aperture or mask", index_of(w, p),
         first, n);
    MUST(first + n <= w->reserved.first >> shape.granule_lg2 ||
             first > w->reserved.last >> shape.granule_lg2,
         "domain %u: %" PRIx64 "+%" PRIx64 " was given, and is reserved", index_of(w, p), first, n);
    for (unsigned i = 0; i < p->lives; i++)
        MUST(first + n <= p->live[i].first || first >= p->live[i].first + p->live[i].granules,
             "domain %u: %" PRIx64 "+%" PRIx64 " was given, and is in use", index_of(w, p), first,
             n);
}

/* `clean` and `drop` are the bytes for which the CPU's caches had to be touched. */
static void check_cache(struct world *w, gr_pa_t pa, uint64_t span, uint64_t clean, uint64_t drop)
{
    struct prop_cache seen;

    if (!machine_cache(w->m, &seen))
        return;
    clean = w->coherent ? 0 : clean;
    drop = w->coherent ? 0 : drop;
    MUST(seen.cleaned == clean && seen.dropped == drop,
         "%" PRIx64 " bytes cleaned, %" PRIx64 " dropped; should be %" PRIx64 ", %" PRIx64,
         seen.cleaned, seen.dropped, clean, drop);
    MUST((!clean && !drop) || (seen.first >= pa && seen.last <= pa + span - 1),
         "cache lines of %" PRIx64 "..%" PRIx64 " touched for a buffer at %" PRIx64, seen.first,
         seen.last, pa);
}

static uint64_t synced(unsigned attrs, uint64_t len)
{
    return attrs & (GR_DMA_SKIP_SYNC | GR_DMA_MMIO) ? 0 : len;
}

static unsigned prot_of(enum gr_dma_dir dir, unsigned attrs)
{
    return format_prot(shape.format,
                       (unsigned)dir | (attrs & GR_DMA_UNCACHED ? GR_PROT_UNCACHED : 0));
}

static unsigned random_attrs(struct world *w)
{
    static const unsigned attrs[8] = {0,          0, 0, 0, 0, GR_DMA_SKIP_SYNC, GR_DMA_UNCACHED,
                                      GR_DMA_MMIO};

    return attrs[below(w, 8)];
}

static gr_pa_t random_pa(struct world *w, uint64_t len)
{
    const uint64_t all = PA_GRANULES * G;
    const uint64_t dice = below(w, 16);

    return dice > 1 ? below(w, all - len + 1) & (dice > 8 ? UINT64_MAX : ~(G - 1))
           : dice   ? all - len
                    : 0;
}

static void set_mask(struct world *w, struct place *p, struct member *u, uint64_t mask)
{
    const int want = mask < w->first * G + G - 1 ? GR_ERANGE : 0;

    prop_tell("t%u mask %" PRIx64, index_of(w, p), mask);
    expect(w, p, gr_dma_set_mask(&u->dev, mask), want, "gr_dma_set_mask()");
    u->mask = want ? u->mask : mask;
}

static void t_map(struct world *w, struct place *p, struct member *u)
{
    struct live *const l = &p->live[p->lives];
    const bool long_one = chance(w, 128); /* over more than one table, some of them new */
    const uint64_t len =
        long_one ? (PER_TABLE + below(w, 8)) * G : 1 + below(w, chance(w, 4) ? 16 * G : 2 * 4096);
    const bool beyond = chance(w, 64);
    const gr_pa_t pa = beyond ? PA_GRANULES * G - len + 1 : random_pa(w, len);
    const uint64_t n = ((pa & (G - 1)) + len + G - 1) >> shape.granule_lg2;
    struct watch watch;
    int ret;

    *l = (struct live){.kind = LIVE_RANGE,
                       .dir = (enum gr_dma_dir)(1 + below(w, 3)),
                       .attrs = random_attrs(w),
                       .len = len,
                       .pa = pa,
                       .granules = n};
    if (long_one)
        set_mask(w, p, u, pick(w, 1) * G + (G - 1));
    prop_tell("t%u map %" PRIx64 "+%" PRIx64 " dir %u attrs %x", index_of(w, p), pa, len,
              (unsigned)l->dir, l->attrs);
    (void)machine_cache(w->m, &(struct prop_cache){0});
    set_busy(w, p, 0, UINT64_MAX - 32); /* who knows where it will be */
    watch = arm(w, p, long_one ? 2 : 64);
    ret = gr_dma_map(&u->dev, pa, len, l->dir, l->attrs, &l->iova);
    if (disarm(w, &watch)) {
        expect(w, p, ret, GR_ENOMEM, "gr_dma_map()");
    } else if (ret == GR_ENOSPC) {
        MUST(longest_gap(w, p, u) < n,
             "domain %u: no space for %" PRIx64 " granules, where there is", index_of(w, p), n);
    } else {
        expect(w, p, ret, beyond ? GR_EFAULT : 0, "gr_dma_map()");
    }
    if (ret) {
        MUST(p->dom.pt.tables == watch.tables, "domain %u: a failed map leaves tables",
             index_of(w, p));
        probe(w, p, pick(w, 1));
        return;
    }
    check_cache(w, pa, len, synced(l->attrs, len), 0);
    MUST(((l->iova ^ pa) & (G - 1)) == 0, "domain %u: %" PRIx64 " for PA %" PRIx64, index_of(w, p),
         l->iova, pa);
    l->first = l->iova >> shape.granule_lg2;
    check_allocation(w, p, u, l->first, n);
    shadow_fill(shadow_of(w, p), l->first, n, pa >> shape.granule_lg2, prot_of(l->dir, l->attrs));
    p->lives++;
    probe_around(w, p, l->first, n);
}

/* ---- lists ---- */

static void make_list(struct world *w, struct live *l)
{
    gr_pa_t next = 0;

    l->list =
        (struct gr_dma_list){.segs = l->segs, .count = 1 + (unsigned)below(w, SEGS), .out = l->out};
    for (unsigned i = 0; i < l->list.count; i++) {
        const uint64_t len =
            chance(w, 3) ? G * (1 + below(w, 2)) : 1 + below(w, chance(w, 8) ? 2 * G : 4096);
        gr_pa_t pa = random_pa(w, len);

        if (i && chance(w, 2) && next <= PA_GRANULES * G - len)
            pa = next;
        else if (chance(w, 256))
            pa = PA_GRANULES * G - len + 1;
        l->segs[i] = (struct gr_seg){pa, len};
        next = pa + len;
        l->len += len;
    }
}

/* What is wrong with a list, and how many granules it takes where there is no boundary. */
static int judge_list(const struct member *u, const struct live *l, uint64_t *out_granules)
{
    uint64_t granules = 0, at = 0;

    for (unsigned i = 0; i < l->list.count; i++) {
        const struct gr_seg *const s = &l->segs[i];

        if (u->seg_max && s->len > u->seg_max)
            return GR_EINVAL;
        if (u->boundary && s->len > u->boundary)
            return GR_EINVAL;
        if (s->pa + s->len > PA_GRANULES * G)
            return GR_EFAULT;
        if (u->boundary && (s->pa & (G - 1)) + s->len > u->boundary)
            return GR_EINVAL;
        if (!i || s->pa != s[-1].pa + s[-1].len)
            at = s->pa & (G - 1); /* a run begins */
        granules +=
            ((at + s->len + G - 1) >> shape.granule_lg2) - ((at + G - 1) >> shape.granule_lg2);
        if ((!i || s->pa != s[-1].pa + s[-1].len) && at)
            granules++; /* its first granule, in part */
        at += s->len;
    }
    *out_granules = granules;
    return 0;
}

/* Lay one input segment into the shadow. Neighbours of a run share a granule. */
static void shadow_seg(struct world *w, struct place *p, struct live *l, const struct gr_seg *seg,
                       gr_iova_t iova)
{
    const uint64_t n = ((seg->pa & (G - 1)) + seg->len + G - 1) >> shape.granule_lg2;
    const unsigned prot = prot_of(l->dir, l->attrs);

    MUST(((iova ^ seg->pa) & (G - 1)) == 0, "domain %u: %" PRIx64 " for PA %" PRIx64,
         index_of(w, p), iova, seg->pa);
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t g = (iova >> shape.granule_lg2) + i;
        const uint64_t cell = ((seg->pa >> shape.granule_lg2) + i) << 3 | prot;
        const uint64_t was = shadow_get(shadow_of(w, p), g);

        MUST(!was || was == cell, "domain %u: two segments of a list at %" PRIx64, index_of(w, p),
             g);
        shadow_set(shadow_of(w, p), g, cell);
    }
}

/* Whole input segments, in order, make up each output, and touching ones share it. */
static void take_list(struct world *w, struct place *p, const struct member *u, struct live *l)
{
    unsigned in = 0;

    for (unsigned i = 0; i < l->list.out_count; i++) {
        const struct gr_dma_seg *const out = &l->out[i];
        uint64_t done = 0;

        MUST(!u->seg_max || out->len <= u->seg_max, "an output of %" PRIx64 " bytes", out->len);
        MUST(!u->boundary || !((out->iova ^ (out->iova + out->len - 1)) & ~(u->boundary - 1)),
             "the output at %" PRIx64 " crosses a boundary", out->iova);
        for (; done < out->len && in < l->list.count; in++) {
            shadow_seg(w, p, l, &l->segs[in], out->iova + done);
            done += l->segs[in].len;
        }
        MUST(done == out->len && done, "output %u has %" PRIx64 " bytes, its inputs %" PRIx64, i,
             out->len, done);
        MUST(u->seg_max || u->boundary || in == l->list.count ||
                 l->segs[in].pa != l->segs[in - 1].pa + l->segs[in - 1].len,
             "segments %u and %u touch and do not share an output", in - 1, in);
    }
    MUST(in == l->list.count, "%u of %u segments were mapped", in, l->list.count);
}

static void t_map_list(struct world *w, struct place *p, struct member *u)
{
    struct live *const l = &p->live[p->lives];
    uint64_t n = 0;
    struct watch watch;
    int want;
    int ret;

    *l = (struct live){
        .kind = LIVE_LIST, .dir = (enum gr_dma_dir)(1 + below(w, 3)), .attrs = random_attrs(w)};
    make_list(w, l);
    want = judge_list(u, l, &n);
    prop_tell("t%u map list of %u, %" PRIx64 " bytes from %" PRIx64 ", max %" PRIx64
              " boundary %" PRIx64,
              index_of(w, p), l->list.count, l->len, l->segs[0].pa, u->seg_max, u->boundary);
    (void)machine_cache(w->m, &(struct prop_cache){0});
    set_busy(w, p, 0, UINT64_MAX - 32); /* who knows where it will be */
    watch = arm(w, p, 64);
    ret = gr_dma_map_sg(&u->dev, &l->list, l->dir, l->attrs);
    if (disarm(w, &watch))
        expect(w, p, ret, GR_ENOMEM, "gr_dma_map_sg()");
    else if (ret == GR_ENOSPC)
        MUST(!want && (u->boundary || longest_gap(w, p, u) < n),
             "domain %u: no space for %" PRIx64 " granules, where there is", index_of(w, p), n);
    else
        expect(w, p, ret, want, "gr_dma_map_sg()");
    if (ret) {
        MUST(p->dom.pt.tables == watch.tables, "domain %u: a failed list leaves tables",
             index_of(w, p));
        MUST(!l->list.out_count || want, "a failed list has output");
        probe(w, p, pick(w, 1));
        return;
    }
    check_cache(w, 0, PA_GRANULES * G, synced(l->attrs, l->len), 0);
    l->first = l->out[0].iova >> shape.granule_lg2;
    l->granules = ((l->out[l->list.out_count - 1].iova + l->out[l->list.out_count - 1].len - 1) >>
                   shape.granule_lg2) -
                  l->first + 1;
    MUST(u->boundary || l->granules == n, "a list of %" PRIx64 " granules takes %" PRIx64, n,
         l->granules);
    check_allocation(w, p, u, l->first, l->granules);
    MUST(run_of(shadow_of(w, p), l->first, l->granules, false) == l->granules,
         "domain %u: a list at %" PRIx64 " over something", index_of(w, p), l->first);
    take_list(w, p, u, l);
    p->lives++;
    probe_around(w, p, l->first, l->granules);
}

/* ---- coherent buffers ---- */

static void t_alloc(struct world *w, struct place *p, struct member *u)
{
    struct live *const l = &p->live[p->lives];
    const uint64_t len = 1 + below(w, chance(w, 4) ? 6 * G : 4096);
    const uint64_t n = (len + G - 1) >> shape.granule_lg2;
    uint64_t align = G;
    struct watch watch;
    int ret;

    while (align < len)
        align *= 2;
    *l = (struct live){.kind = LIVE_BUFFER,
                       .dir = GR_DMA_BIDIRECTIONAL,
                       .attrs = chance(w, 2) ? GR_DMA_UNCACHED : 0,
                       .len = len,
                       .granules = n};
    prop_tell("t%u alloc %" PRIx64, index_of(w, p), len);
    set_busy(w, p, 0, UINT64_MAX - 32); /* who knows where it will be */
    watch = arm(w, p, 32);
    ret = gr_dma_alloc(&u->dev, len, l->attrs, &l->cpu, &l->iova);
    if (disarm(w, &watch))
        expect(w, p, ret, GR_ENOMEM, "gr_dma_alloc()");
    else if (ret == GR_ENOSPC)
        MUST(longest_gap(w, p, u) < n + (align >> shape.granule_lg2) - 1,
             "domain %u: no space for %" PRIx64 " granules, where there is", index_of(w, p), n);
    else
        expect(w, p, ret, 0, "gr_dma_alloc()");
    if (ret) {
        MUST(p->dom.pt.tables == watch.tables, "domain %u: a failed alloc leaves tables",
             index_of(w, p));
        return;
    }
    l->pa = machine_pa(w->m, l->cpu);
    MUST(!(l->iova & (align - 1)) && !(l->pa & (align - 1)),
         "a buffer of %" PRIx64 " at IOVA %" PRIx64 ", PA %" PRIx64, len, l->iova, l->pa);
    MUST(((const uint8_t *)l->cpu)[0] == 0 && ((const uint8_t *)l->cpu)[n * G - 1] == 0,
         "a buffer that is not zeroed");
    l->first = l->iova >> shape.granule_lg2;
    check_allocation(w, p, u, l->first, n);
    shadow_fill(shadow_of(w, p), l->first, n, l->pa >> shape.granule_lg2,
                prot_of(l->dir, l->attrs));
    p->lives++;
    memset(l->cpu, 0xa5, (size_t)len);
    probe_around(w, p, l->first, n);
}

/* ---- undoing any of them ---- */

static int undo(struct member *u, const struct live *l)
{
    switch (l->kind) {
    case LIVE_RANGE:
        return gr_dma_unmap(&u->dev, l->iova, l->len, l->dir, l->attrs);
    case LIVE_LIST:
        return gr_dma_unmap_sg(&u->dev, &l->list, l->dir, l->attrs);
    case LIVE_BUFFER:
    default:
        return gr_dma_free(&u->dev, l->len, l->attrs, l->cpu, l->iova);
    }
}

static void t_undo(struct world *w, struct place *p, struct member *u, unsigned i)
{
    struct live *const l = &p->live[i];
    const uint64_t first = l->first, n = l->granules;
    const uint64_t drop = l->dir & GR_DMA_FROM_DEVICE ? synced(l->attrs, l->len) : 0;
    struct watch watch;

    prop_tell("t%u undo kind %u %" PRIx64 "+%" PRIx64, index_of(w, p), (unsigned)l->kind, first, n);
    warm(w, p, first, n);
    (void)machine_cache(w->m, &(struct prop_cache){0});
    set_busy(w, p, first, first + n - 1);
    watch = arm(w, p, 0);
    expect(w, p, undo(u, l), 0, "undoing");
    expect_no_alloc(w, p, &watch, "undoing");
    if (l->kind == LIVE_RANGE)
        check_cache(w, l->pa, l->len, 0, drop);
    else if (l->kind == LIVE_LIST)
        check_cache(w, 0, PA_GRANULES * G, 0, drop);
    shadow_clear(shadow_of(w, p), first, n);
    p->lives--;
    *l = p->live[p->lives];
    if (l->kind == LIVE_LIST) { /* it points into itself */
        l->list.segs = l->segs;
        l->list.out = l->out;
    }
    probe_around(w, p, first, n);
}

/* ---- what changes nothing ---- */

static void t_sync(struct world *w, struct place *p, struct member *u)
{
    const struct live *const l = &p->live[below(w, p->lives)];
    const bool for_cpu = chance(w, 2);
    const uint64_t at = l->kind == LIVE_RANGE ? below(w, l->len) : 0;
    const uint64_t len = l->kind == LIVE_RANGE ? 1 + below(w, l->len - at) : l->len;
    const uint64_t drop = for_cpu && (l->dir & GR_DMA_FROM_DEVICE) ? len : 0;
    int ret;

    if (l->kind == LIVE_BUFFER)
        return;
    prop_tell("t%u sync %" PRIx64 "+%" PRIx64, index_of(w, p), l->iova + at, len);
    (void)machine_cache(w->m, &(struct prop_cache){0});
    if (l->kind == LIVE_LIST)
        ret = for_cpu ? gr_dma_sync_sg_for_cpu(&u->dev, &l->list, l->dir)
                      : gr_dma_sync_sg_for_device(&u->dev, &l->list, l->dir);
    else
        ret = for_cpu ? gr_dma_sync_for_cpu(&u->dev, l->iova + at, len, l->dir)
                      : gr_dma_sync_for_device(&u->dev, l->iova + at, len, l->dir);
    expect(w, p, ret, 0, "sync");
    check_cache(w, l->kind == LIVE_RANGE ? l->pa + at : 0,
                l->kind == LIVE_RANGE ? len : PA_GRANULES * G, for_cpu ? 0 : len, drop);
    probe_around(w, p, l->first, l->granules);
}

static void t_refused(struct world *w, struct place *p, struct member *u)
{
    const struct live *const l = &p->live[p->lives ? below(w, p->lives) : 0];
    const uint64_t free = pick(w, 1);
    const struct watch watch = arm(w, p, 0);
    gr_iova_t iova;

    prop_tell("t%u refused", index_of(w, p));
    expect(w, p, gr_domain_map(&p->dom, 0, 0, G, RW), GR_ENODEV, "gr_domain_map()");
    expect(w, p, gr_dma_map(&u->dev, 0, 0, GR_DMA_TO_DEVICE, 0, &iova), GR_ENODATA,
           "map of no bytes");
    expect(w, p, gr_dma_map(&u->dev, UINT64_MAX, 2, GR_DMA_TO_DEVICE, 0, &iova), GR_EOVERFLOW,
           "map past 2^64");
    if (p->lives && l->kind == LIVE_RANGE)
        expect(w, p, gr_dma_unmap(&u->dev, l->iova, l->len + G, l->dir, l->attrs),
               l->len + G - 1 > UINT64_MAX - l->iova ? GR_EOVERFLOW : GR_EMSGSIZE,
               "unmap of too much");
    if (!shadow_get(shadow_of(w, p), free) && chance(w, 2)) {
        const int ret =
            gr_dma_unmap(&u->dev, free << shape.granule_lg2, 1, GR_DMA_TO_DEVICE, GR_DMA_SKIP_SYNC);

        /* In the gap that a boundary left in a list there is an allocation. */
        MUST(ret == GR_ENOENT || ret == GR_EMSGSIZE, "domain %u: unmap of nothing returns %d",
             index_of(w, p), ret);
    }
    expect_no_alloc(w, p, &watch, "a refused call");
    if (p->lives)
        probe_around(w, p, l->first, l->granules);
}

static void t_limits(struct world *w, struct place *p, struct member *u)
{
    const uint64_t offset = w->base << shape.granule_lg2;
    const uint64_t masks[] = {UINT64_MAX,
                              w->aperture.last,
                              offset + INT32_MAX,
                              offset + UINT32_MAX,
                              (w->first + 8) * G - 1,
                              w->first * G + G - 1,
                              w->first * G + below(w, G)};
    /* Often so that allocation begins near a point of interest, and soon crosses it. */
    set_mask(w, p, u, chance(w, 2) ? pick(w, 1) * G + (G - 1) : masks[below(w, 7)]);
    u->seg_max = chance(w, 3) ? 1 + below(w, 3 * G) : 0;
    u->boundary = chance(w, 3) ? 2 * G << below(w, 6) : 0;
    expect(w, p, gr_dma_set_seg_limits(&u->dev, u->seg_max, u->boundary), 0,
           "gr_dma_set_seg_limits()");
    probe(w, p, pick(w, 1));
}

static void t_step(struct world *w, struct place *p, struct member *u)
{
    const uint64_t dice = below(w, 64);
    /* The number of mappings swings between few and full. */
    const bool more = below(w, LIVE) >= p->lives;

    if (dice == 0)
        t_limits(w, p, u);
    else if (dice == 1)
        t_refused(w, p, u);
    else if (dice < 6 && p->lives)
        t_sync(w, p, u);
    else if (!more && p->lives)
        t_undo(w, p, u, (unsigned)below(w, p->lives));
    else if (p->lives == LIVE)
        t_undo(w, p, u, 0);
    else if (dice < 34)
        t_map(w, p, u);
    else if (dice < 54)
        t_map_list(w, p, u);
    else
        t_alloc(w, p, u);
}

/* ---- Attaching ---- */

static void move(struct world *w, struct member *u, struct place *to)
{
    struct place *const from = u->place;
    const unsigned bit = 1u << (u - w->member);
    int want = 0;

    prop_tell("device %u to %d", (unsigned)(u - w->member), to ? (int)index_of(w, to) : -1);
    w->busy = NULL; /* where streams lie in memory, they are stored to: nobody is to look */
    if (!to) {
        expect(w, &w->place[0], gr_domain_detach(from ? &from->dom : &w->place[0].dom, &u->dev),
               from ? 0 : GR_ENODEV, "gr_domain_detach()");
    } else {
        if (to != from && to->translated && to->users)
            want = GR_EBUSY;
        expect(w, to, gr_domain_attach(&to->dom, &u->dev), want, "gr_domain_attach()");
    }
    if (!want) {
        if (from)
            from->users &= ~bit;
        if (to)
            to->users |= bit;
        u->place = to;
    }
    MUST(gr_device_domain(&u->dev) == (u->place ? &u->place->dom : NULL),
         "the device is elsewhere");
    if (u->place) {
        probe_around(w, u->place, pick(w, 1), 1);
        if (u->place->lives)
            probe(w, u->place, u->place->live[0].first);
    }
}

/* A device without a domain reaches nothing. */
static void probe_blocked(struct world *w, const struct member *u)
{
    const unsigned i = (unsigned)below(w, u->dev.config.stream_count);
    const gr_iova_t iova = pick(w, 1) << shape.granule_lg2;
    gr_pa_t pa = 0;

    MUST(!machine_reach(w->m, u->at[i], u->sid[i], iova, false, &pa),
         "a blocked stream reads %" PRIx64, iova);
}

static void step(struct world *w)
{
    struct member *const u = &w->member[below(w, DEVICES)];
    const uint64_t dice = below(w, 256);

    if (dice < 2)
        move(w, u, chance(w, 4) ? NULL : &w->place[below(w, DOMAINS)]);
    else if (dice < 32)
        u_step(w, &w->place[2 + below(w, 2)]);
    else if (!u->place && dice < 64)
        move(w, u, &w->place[below(w, DOMAINS)]);
    else if (!u->place)
        probe_blocked(w, u);
    else if (u->place->translated)
        t_step(w, u->place, u);
    else
        u_step(w, u->place);
}

/* ---- All of it ---- */

/* Every leaf that the independent walker finds, and every table. */
static void check_all(struct world *w, struct place *p)
{
    struct walker_iter iter;
    enum walker_event event;
    uint64_t leaves = 0, tables = 0;

    MUST(walker_begin(&iter, &p->stream), "no memory for the walker");
    while ((event = walker_next(&iter)) != WALKER_DONE) {
        const uint64_t g = (iter.leaf.iova >> shape.granule_lg2) + w->base;
        const uint64_t n = (iter.leaf.last - iter.leaf.iova) / G + 1;

        MUST(event == WALKER_LEAF, "domain %u: %s", index_of(w, p), iter.problem.text);
        for (uint64_t i = 0; i < n; i++) {
            const uint64_t cell = shadow_get(shadow_of(w, p), g + i);

            MUST(cell && cell >> 3 == (iter.leaf.pa >> shape.granule_lg2) + i,
                 "domain %u: a leaf at %" PRIx64 " to %" PRIx64 ", in the shadow is %" PRIx64,
                 index_of(w, p), iter.leaf.iova, iter.leaf.pa, cell);
        }
        leaves += n;
    }
    for (unsigned level = 0; level < WALKER_LEVELS; level++)
        tables += iter.tables[level];
    walker_end(&iter);
    MUST(leaves == shadow_of(w, p)->mapped,
         "domain %u: %" PRIu64 " leaves, %" PRIu64 " in the shadow", index_of(w, p), leaves,
         shadow_of(w, p)->mapped);
    MUST(tables == p->dom.pt.tables, "domain %u: %" PRIu64 " tables, %" PRIu64 " counted",
         index_of(w, p), tables, p->dom.pt.tables);
}

static void add_point(struct world *w, unsigned shift, uint64_t times)
{
    const uint64_t bytes = times << shift;

    if (shift < shape.va_bits && bytes >> shape.va_bits <= 1)
        w->point[w->points++] = w->base + (bytes >> shape.granule_lg2);
}

static void choose_points(struct world *w)
{
    const unsigned top = shape.granule_lg2 + shape.levels * INDEX_BITS; /* of one root */
    const unsigned leaf = shape.granule_lg2 + INDEX_BITS;

    w->points = 0;
    add_point(w, 0, 0);
    add_point(w, shape.granule_lg2,
              (uint64_t)1 << (shape.va_bits - shape.granule_lg2)); /* the end */
    add_point(w, 31, 1);
    add_point(w, 32, 1);
    add_point(w, leaf, 1);
    add_point(w, leaf, below(w, (uint64_t)1 << (shape.va_bits - leaf)));
    for (uint64_t root = 1; root < 1u << shape.roots_lg2; root++)
        add_point(w, top, root);
    if (shape.levels > 2) {
        add_point(w, leaf + INDEX_BITS, 1);
        add_point(w, leaf + INDEX_BITS, ((uint64_t)1 << (shape.va_bits - leaf - INDEX_BITS)) - 1);
    }
}

static void choose_aperture(struct world *w)
{
    const uint64_t size = (uint64_t)1 << shape.va_bits;
    const uint64_t dice = below(w, 8);
    const bool low = dice < 4 || shape.hardware == PROP_SMMUV3; /* whose upper bits are 0 */
    const uint64_t block = low        ? 0
                           : dice < 7 ? 0 - size /* its last byte is 2^64 - 1 */
                                      : chance_next(&w->rng) << shape.va_bits;

    w->aperture = (struct gr_range){block, block + size - 1};
    if (chance(w, 8)) { /* odd ends: a granule less at each */
        w->aperture.first += 1 + below(w, G - 1);
        w->aperture.last -= 1 + below(w, G - 1);
    }
    w->base = block >> shape.granule_lg2;
    w->first = (w->aperture.first >> shape.granule_lg2) + ((w->aperture.first & (G - 1)) != 0);
    w->last = (w->aperture.last >> shape.granule_lg2) - ((w->aperture.last & (G - 1)) != G - 1);
    w->reserved.first = ((w->last - 6) << shape.granule_lg2) + 7; /* near where allocation begins */
    w->reserved.last = w->reserved.first + G;
}

static void open_member(struct world *w, unsigned which)
{
    struct member *const u = &w->member[which];
    struct gr_device_config config = {
        .name = which ? "second" : "first",
        .streams = u->streams,
        .stream_count = which ? 2 : 1,
        .reserved = &w->reserved,
        .reserved_count = which,
        .coherent = w->coherent, /* both, because one may undo what the other did */
    };

    u->mask = UINT64_MAX;
    for (unsigned i = 0; i < config.stream_count; i++) {
        u->at[i] = i;
        u->sid[i] = which && !i ? PROP_STREAMS - 1 : 1;
        u->streams[i] =
            (struct gr_stream){.inst = w->m->inst[i], .sid = u->sid[i], .window = {0, UINT64_MAX}};
    }
    MUST(gr_device_init(&u->dev, &config) == 0, "gr_device_init() fails");
}

static void open_place(struct world *w, struct place *p)
{
    const unsigned which = index_of(w, p);

    p->translated = which < 2;
    expect(w, p,
           gr_domain_init(&p->dom, w->m->env, &w->member[1].dev,
                          p->translated ? GR_DOMAIN_TRANSLATED : GR_DOMAIN_UNMANAGED,
                          GR_DOMAIN_LP_AWARE),
           0, "gr_domain_init()");
    MUST(p->dom.pt.levels == shape.levels && p->dom.aperture.first == w->first * G &&
             p->dom.aperture.last == w->last * G + (G - 1),
         "a domain of %u levels for %" PRIx64 "..%" PRIx64, p->dom.pt.levels, p->dom.aperture.first,
         p->dom.aperture.last);
    p->stream = (struct walker_stream){
        .format = w->format,
        .from = &w->source,
        .mode = WALKER_TRANSLATE,
        .levels = shape.levels,
        .va_bits = shape.va_bits,
        .pa_bits = shape.pa_bits,
        .nroots = 1u << p->dom.pt.roots_lg2,
    };
    p->least_tables = p->stream.nroots;
    for (unsigned i = 0; i < p->stream.nroots; i++)
        p->stream.roots[i] = (struct walker_root){.pa = p->dom.pt.root_pa + i * G, .valid = true};
}

/*
 * A table whose span has a reserved range in it stays when it was made once (iova.h): make those of
 * the range that the devices have, so that from here on nothing adds tables but what is mapped.
 */
static void make_kept_tables(struct world *w, struct place *p)
{
    struct gr_device *const dev = &w->member[0].dev;
    const struct gr_seg seg = {0, 1};
    struct gr_dma_seg out;
    struct gr_dma_list list = {.segs = &seg, .count = 1, .out = &out};

    move(w, &w->member[0], p);
    /* By its boundary it comes from the very top, not from an arena. */
    expect(w, p, gr_dma_set_seg_limits(dev, 0, 2 * G), 0, "gr_dma_set_seg_limits()");
    expect(w, p, gr_dma_map_sg(dev, &list, GR_DMA_TO_DEVICE, 0), 0, "gr_dma_map_sg()");
    expect(w, p, gr_dma_unmap_sg(dev, &list, GR_DMA_TO_DEVICE, 0), 0, "gr_dma_unmap_sg()");
    expect(w, p, gr_dma_set_seg_limits(dev, 0, 0), 0, "gr_dma_set_seg_limits()");
    p->least_tables = p->dom.pt.tables;
    MUST(p->least_tables <= p->stream.nroots + shape.levels - 1u,
         "domain %u: %" PRIu64 " tables of nothing", index_of(w, p), p->least_tables);
}

static void open_world(struct world *w, struct prop_episode *episode)
{
    memset(w, 0, sizeof(*w));
    w->episode = episode;
    w->rng = episode->seed;
    w->format = walker_entries(format_of(shape.format)->entries, G);
    choose_aperture(w);
    choose_points(w);
    w->m = machine_make(&shape, w->aperture, chance_next(&w->rng));
    w->coherent = w->m->snoops || chance(w, 2);
    w->source = (struct walker_source){.opaque = w->m, .memory = machine_read};
    for (unsigned i = 0; i < DEVICES; i++)
        open_member(w, i);
    for (unsigned i = 0; i < DOMAINS; i++)
        open_place(w, &w->place[i]);
    w->m->observer = observe;
    w->m->opaque = w;
    make_kept_tables(w, &w->place[1]);
    make_kept_tables(w, &w->place[0]);
    move(w, &w->member[1], &w->place[2]);
}

static void close_place(struct world *w, struct place *p)
{
    struct shadow *const s = shadow_of(w, p);
    struct member *const u = &w->member[0];

    check_all(w, p);
    if (p->translated) {
        if (w->member[1].place == p)
            move(w, &w->member[1], NULL);
        move(w, u, p);
        while (p->lives)
            t_undo(w, p, u, p->lives - 1);
    } else if (chance(w, 2)) {
        for (unsigned i = 0; i < s->chunks; i++) {
            for (uint64_t g = s->chunk[i].key * CHUNK; s->chunk[i].mapped;) {
                const uint64_t run = run_of(s, g, CHUNK, true);

                if (run)
                    u_unmap_whole(w, p, g, run);
                g += run ? run : 1;
            }
        }
        expect(w, p, gr_domain_trim(&p->dom, w->first * G, (w->last - w->first + 1) * G), 0,
               "gr_domain_trim()");
    }
    MUST(s->mapped || p->dom.pt.tables == p->least_tables,
         "domain %u: %" PRIu64 " tables of nothing", index_of(w, p), p->dom.pt.tables);
    for (unsigned i = 0; i < DEVICES; i++) {
        if (w->member[i].place == p)
            move(w, &w->member[i], NULL);
    }
    expect(w, p, gr_domain_fini(&p->dom), 0, "gr_domain_fini()");
    shadow_reset(s);
}

void prop_play(const struct prop_shape *row, struct prop_episode *episode)
{
    struct world *w;

    shape = *row;
    for (unsigned i = 0; i < DOMAINS; i++) {
        if (!shadows[i])
            shadows[i] = calloc(1, sizeof(*shadows[i]));
    }
    world = w = world ? world : malloc(sizeof(*world));
    MUST(w && shadows[DOMAINS - 1], "no memory");
    open_world(w, episode);
    for (episode->step = 0; episode->step < episode->steps; episode->step++) {
        if (episode->at)
            *episode->at = episode->step;
        if (episode->left && episode->left[episode->step])
            continue;
        w->rng = chance_mix(episode->seed ^
                            ((uint64_t)episode->step + 1) * UINT64_C(0xd1342543de82ef95));
        step(w);
        set_busy(w, NULL, 0, 0);
    }
    for (unsigned i = 0; i < DOMAINS; i++)
        close_place(w, &w->place[i]);
    for (unsigned i = 0; i < DEVICES; i++)
        MUST(gr_device_fini(&w->member[i].dev) == 0, "gr_device_fini() fails");
    machine_end(w->m);
}
