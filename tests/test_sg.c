/* SPDX-License-Identifier: MIT */
/*
 * Scatter lists: random lists against a slow and obvious reference, their cost, every documented
 * error, devices that do not snoop, and accesses through models that forget nothing unless told.
 *
 * LISTS=N runs N random lists instead of the default; SEED=N replays.
 */
#include "bench.h"
#include "formats.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MOST 256u /* segments */
#define PAGE 4096u

static uint64_t min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t down(uint64_t at, uint64_t unit)
{
    return at - at % unit;
}

static uint64_t up(uint64_t at, uint64_t unit)
{
    return down(at + unit - 1, unit);
}

/*
 * A list whose segments lie in memory that cannot be written, and both of whose arrays end at
 * memory that cannot be touched.
 */
struct paper {
    uint8_t *pencil;      /* the page of segments, to write */
    const uint8_t *glass; /* the same, to read */
    uint8_t *out;
    struct gr_seg *segs; /* of this list, to write */
    struct gr_dma_list list;
};

static void paper_make(struct paper *p)
{
    const int fd = memfd_create("segments", 0);
    const int mode = PROT_READ | PROT_WRITE;
    uint8_t *both;

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, PAGE), 0);
    p->pencil = mmap(NULL, PAGE, mode, MAP_SHARED, fd, 0);
    assert_true(p->pencil != MAP_FAILED);
    both = mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(both != MAP_FAILED);
    assert_true(mmap(both, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == both);
    p->glass = both;
    p->out = mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p->out != MAP_FAILED);
    assert_int_equal(mprotect(p->out, PAGE, mode), 0);
    close(fd);
}

static void paper_end(struct paper *p)
{
    munmap(p->pencil, PAGE);
    munmap((void *)(uintptr_t)p->glass, 2 * PAGE);
    munmap(p->out, 2 * PAGE);
}

/* A list of `count` segments, to be filled through p->segs. */
static void paper_list(struct paper *p, unsigned count)
{
    const size_t at = PAGE - count * sizeof(struct gr_seg);

    assert_in_range(count, 0, MOST);
    p->segs = (struct gr_seg *)(void *)(p->pencil + at);
    p->list = (struct gr_dma_list){
        .segs = (const struct gr_seg *)(const void *)(p->glass + at),
        .count = count,
        .out = (struct gr_dma_seg *)(void *)(p->out + at),
    };
}

/* ---- the reference: dma.h, in the words of dma.h ---- */

struct limits {
    uint64_t max_len;  /* UINT64_MAX: none */
    uint64_t boundary; /* 0: none */
};

static bool crosses(const struct limits *lim, uint64_t at, uint64_t len)
{
    return lim->boundary && at / lim->boundary != (at + len - 1) / lim->boundary;
}

/* An offset in a granule never changes, so the best place is the first granule after a boundary. */
static bool fits_somewhere(const struct limits *lim, const struct gr_seg *seg, uint64_t g)
{
    return seg->len <= lim->max_len &&
           (!lim->boundary || seg->pa % min(g, lim->boundary) + seg->len <= lim->boundary);
}

static bool touches(const struct gr_seg *a, const struct gr_seg *b)
{
    return a->pa + a->len == b->pa;
}

/* Where each segment must be, given where the first is: nothing is left out but what limits ask. */
static void expect_places(const struct gr_seg *segs, unsigned count, const struct limits *lim,
                          uint64_t g, gr_iova_t first, uint64_t *at)
{
    at[0] = first;
    for (unsigned i = 1; i < count; i++) {
        const uint64_t end = at[i - 1] + segs[i - 1].len;

        at[i] = end;
        if (touches(&segs[i - 1], &segs[i]) && !crosses(lim, end, segs[i].len))
            continue;
        at[i] = up(end, g) + segs[i].pa % g;
        if (crosses(lim, at[i], segs[i].len))
            at[i] = up(up(end, g), lim->boundary) + segs[i].pa % g;
    }
}

/* What the device must be given. */
static unsigned expect_out(const struct gr_seg *segs, unsigned count, const struct limits *lim,
                           uint64_t g, const uint64_t *at, struct gr_dma_seg *out)
{
    unsigned n = 1;

    out[0] = (struct gr_dma_seg){at[0], segs[0].len};
    for (unsigned i = 1; i < count; i++) {
        struct gr_dma_seg *const last = &out[n - 1];
        const bool edges = (segs[i - 1].pa + segs[i - 1].len) % g == 0 && segs[i].pa % g == 0;
        const bool allowed = segs[i].len <= lim->max_len - last->len &&
                             !crosses(lim, last->iova, last->len + segs[i].len);

        if ((touches(&segs[i - 1], &segs[i]) || edges) && allowed)
            last->len += segs[i].len;
        else
            out[n++] = (struct gr_dma_seg){at[i], segs[i].len};
    }
    return n;
}

/* ---- a world: a domain on instances that only count ---- */

#define FAKES 2u
#define ANCHORS 6u

struct fake {
    struct gr_instance inst;
    uint64_t invalidations;
    struct gr_range last; /* invalidated */
};

static int fake_attach(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                       struct gr_binding *binding)
{
    (void)inst;
    (void)stream;
    (void)pt;
    (void)binding;
    return 0;
}

static int fake_block(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding)
{
    (void)inst;
    (void)stream;
    (void)binding;
    return 0;
}

static int fake_invalidate(struct gr_instance *inst, struct gr_binding *binding, gr_iova_t first,
                           gr_iova_t last, bool tables)
{
    struct fake *const fake = (struct fake *)(void *)inst; /* its first member */

    (void)binding;
    (void)tables;
    fake->invalidations++;
    fake->last = (struct gr_range){first, last};
    return 0;
}

static const struct gr_instance_ops fake_ops = {
    .attach = fake_attach,
    .block = fake_block,
    .invalidate = fake_invalidate,
};

struct paging {
    enum gr_pt_format format;
    uint8_t granule_lg2, va_bits, pa_bits;
    struct gr_range aperture; /* ends a little above a large power of two */
    bool caches_absent;
};

static const struct paging pagings[] = {
    {GR_PT_DART1, 12, 32, 36, {0, 2 * GIB + 300 * 4 * KIB - 1}, true},
    {GR_PT_DART1, 14, 36, 36, {GIB, 4 * GIB + 300 * 16 * KIB - 1}, true},
    {GR_PT_DART2, 12, 32, 42, {64 * KIB, 4 * GIB - 1}, false},
    {GR_PT_DART2, 14, 36, 42, {0, 32 * GIB + 300 * 16 * KIB - 1}, true},
    {GR_PT_LPAE_S1, 16, 42, 42, {0, 32 * GIB + 300 * 64 * KIB - 1}, false},
    {GR_PT_LPAE_S2, 14, 40, 42, {0, 128 * GIB + 300 * 16 * KIB - 1}, false},
};
static const unsigned cpu_pages[] = {4096, 16384, 65536};

#define PAGINGS (sizeof(pagings) / sizeof(pagings[0]))
#define PAGES (sizeof(cpu_pages) / sizeof(cpu_pages[0]))

struct world {
    const struct paging *geo;
    uint64_t g, p;
    struct host *host;
    struct fake fake[FAKES];
    struct gr_stream stream[FAKES];
    struct gr_device dev;
    struct gr_domain domain;
    uint64_t rng;
    struct paper paper;
    gr_iova_t anchor[ANCHORS]; /* granules that other mappings hold; 1: none */
    struct limits lim;
    uint64_t mapped, refused, merged, segments; /* so that the test tests something */
};

static uint64_t roll(struct world *w, uint64_t below)
{
    return chance_below(&w->rng, below);
}

static void world_make(struct world *w, const struct paging *geo, unsigned p, uint64_t seed)
{
    const struct host_config config = {
        .cpu_page = p,
        .nbanks = 1,
        .seed = seed,
        .banks = {{UINT64_C(0x800000000), 64 * MIB}},
    };
    struct gr_device_config device = {
        .name = "device", .streams = w->stream, .stream_count = FAKES, .coherent = true};
    char why[160];

    memset(w, 0, sizeof(*w));
    w->geo = geo;
    w->g = UINT64_C(1) << geo->granule_lg2;
    w->p = p;
    w->rng = seed;
    w->host = host_create(&config, why, sizeof(why));
    if (!w->host)
        fail_msg("no host: %s", why);
    for (unsigned i = 0; i < FAKES; i++) {
        w->fake[i].inst = (struct gr_instance){
            .ops = &fake_ops,
            .env = w->host,
            .name = "fake",
            .table = {.format = geo->format,
                      .granule_lg2 = geo->granule_lg2,
                      .levels = 2,
                      .roots_lg2 = format_of(geo->format)->most_roots_lg2,
                      .va_bits = geo->va_bits,
                      .pa_bits = geo->pa_bits,
                      .coherent = true},
            .aperture = geo->aperture,
            .streams = 1,
            .caches_absent = geo->caches_absent && i == 1, /* one of them is enough */
        };
        gr_instance_init(&w->fake[i].inst);
        w->stream[i] = (struct gr_stream){.inst = &w->fake[i].inst, .window = {0, UINT64_MAX}};
    }
    assert_int_equal(gr_device_init(&w->dev, &device), 0);
    assert_int_equal(gr_domain_init(&w->domain, w->host, &w->dev, GR_DOMAIN_TRANSLATED, 0), 0);
    assert_int_equal(gr_domain_attach(&w->domain, &w->dev), 0);
    for (unsigned i = 0; i < ANCHORS; i++)
        w->anchor[i] = 1;
    paper_make(&w->paper);
}

static void world_end(struct world *w)
{
    for (unsigned i = 0; i < ANCHORS; i++) {
        if (w->anchor[i] != 1)
            assert_int_equal(gr_dma_unmap(&w->dev, w->anchor[i], 1, BOTH, 0), 0);
    }
    paper_end(&w->paper);
    assert_int_equal(gr_domain_detach(&w->domain, &w->dev), 0);
    assert_int_equal(gr_domain_fini(&w->domain), 0);
    assert_int_equal(gr_device_fini(&w->dev), 0);
    for (unsigned i = 0; i < FAKES; i++)
        assert_int_equal(gr_instance_fini(&w->fake[i].inst), 0);
    assert_int_equal(host_misuse(w->host), 0);
    assert_int_equal(host_destroy(w->host), 0);
}

/* Other mappings come and go, so that ranges and tables are found in every state. */
static void shuffle_anchors(struct world *w)
{
    const unsigned i = (unsigned)roll(w, ANCHORS);
    uint64_t mask = w->geo->aperture.last;

    if (w->anchor[i] != 1) {
        assert_int_equal(gr_dma_unmap(&w->dev, w->anchor[i], 1, BOTH, 0), 0);
        w->anchor[i] = 1;
    } else {
        assert_int_equal(
            gr_dma_map(&w->dev, down(roll(w, 1u << 30), w->g), 1, BOTH, 0, &w->anchor[i]), 0);
    }
    if (roll(w, 2)) /* lists lie anywhere */
        mask = w->geo->aperture.first + 256 * MIB +
               roll(w, w->geo->aperture.last - w->geo->aperture.first - 256 * MIB);
    assert_int_equal(gr_dma_set_mask(&w->dev, mask), 0);
}

static void roll_limits(struct world *w)
{
    w->lim = (struct limits){UINT64_MAX, 0};
    if (roll(w, 2))
        w->lim.max_len = 1 + roll(w, UINT64_C(1) << roll(w, 24));
    if (roll(w, 3))
        w->lim.boundary = UINT64_C(1) << (roll(w, 16) ? 9 + roll(w, 24) : roll(w, 9));
    assert_int_equal(gr_dma_set_seg_limits(&w->dev,
                                           w->lim.max_len == UINT64_MAX ? 0 : w->lim.max_len,
                                           w->lim.boundary),
                     0);
}

/* How much a segment at `pa` may have. */
static uint64_t room(const struct world *w, uint64_t pa)
{
    const uint64_t b = w->lim.boundary;

    return min(w->lim.max_len, b ? b - pa % min(w->g, b) : UINT64_MAX);
}

static struct gr_seg roll_seg(struct world *w, uint64_t pool, uint64_t unit, bool lawful)
{
    struct gr_seg s = {.pa = pool + roll(w, 600) * unit};

    switch (roll(w, 4)) {
    case 0: /* the rest of a page */
        s.pa += roll(w, unit);
        s.len = unit - s.pa % unit;
        break;
    case 1: /* some bytes */
        s.pa += roll(w, unit);
        s.len = 1 + roll(w, 3000);
        break;
    case 2: /* pages */
        s.len = unit * (1 + roll(w, 1u << roll(w, 5)));
        break;
    default:
        s.len = unit;
    }
    if (lawful)
        s.len = min(s.len, room(w, s.pa));
    return s;
}

static void roll_list(struct world *w)
{
    static const unsigned most[] = {1, 3, 8, 32, MOST, MOST};
    const uint64_t width = UINT64_C(1) << w->geo->pa_bits;
    const uint64_t pool = down(roll(w, width - 256 * MIB), 65536);
    const uint64_t unit = roll(w, 4) ? w->p : w->g;
    const uint64_t contiguous = roll(w, 4); /* of 4 */
    const bool lawful = roll(w, 8);
    uint64_t left = 800 * w->g; /* a bound for the time that one list takes */
    struct gr_seg segs[MOST];
    unsigned count = 1 + (unsigned)roll(w, most[roll(w, 6)]);
    unsigned i;

    for (i = 0; i < count && left; i++) {
        struct gr_seg *const s = &segs[i];

        *s = roll_seg(w, pool, unit, lawful);
        if (i && roll(w, 4) < contiguous) {
            s->pa = segs[i - 1].pa + segs[i - 1].len;
            if (lawful)
                s->len = min(s->len, room(w, s->pa));
        }
        left -= min(left, up(s->len, w->g));
    }
    paper_list(&w->paper, i);
    memcpy(w->paper.segs, segs, i * sizeof(*segs));
}

static struct gr_domain_stats stats_of(struct world *w)
{
    struct gr_domain_stats stats;

    gr_domain_stats(&w->domain, &stats);
    return stats;
}

static bool is_anchor(const struct world *w, gr_iova_t at)
{
    for (unsigned i = 0; i < ANCHORS; i++) {
        if (w->anchor[i] != 1 && down(w->anchor[i], w->g) == down(at, w->g))
            return true;
    }
    return false;
}

/* Nothing of this list is mapped in the granule at `at`. */
static void check_absent(struct world *w, gr_iova_t at)
{
    const struct gr_range *const a = &w->geo->aperture;
    gr_pa_t pa;

    if (at < a->first || at > a->last)
        return;
    assert_int_equal(gr_domain_iova_to_phys(&w->domain, at, &pa), is_anchor(w, at) ? 0 : GR_ENOENT);
}

static void check_leads(struct world *w, gr_iova_t at, gr_pa_t expected)
{
    gr_pa_t pa;

    assert_int_equal(gr_domain_iova_to_phys(&w->domain, at, &pa), 0);
    assert_int_equal(pa, expected);
}

/* Every granule leads to its memory, and those between and around the segments lead nowhere. */
static void check_translation(struct world *w, const uint64_t *at, unsigned prot)
{
    const struct gr_dma_list *const list = &w->paper.list;
    const unsigned some = (unsigned)roll(w, list->count);
    struct gr_pt_walk walk;

    for (unsigned i = 0; i < list->count; i++) {
        const struct gr_seg *const s = &list->segs[i];
        const uint64_t last = at[i] + s->len - 1;

        check_leads(w, at[i], s->pa);
        check_leads(w, last, s->pa + s->len - 1);
        for (uint64_t k = up(at[i] + 1, w->g); k <= last; k += w->g)
            check_leads(w, k, s->pa + (k - at[i]));
        if (i && down(at[i], w->g) > up(at[i - 1] + list->segs[i - 1].len, w->g)) {
            check_absent(w, down(at[i], w->g) - 1);
            check_absent(w, up(at[i - 1] + list->segs[i - 1].len, w->g));
        }
    }
    assert_int_equal(gr_pt_walk(&w->domain.pt, at[some], &walk), 0);
    assert_int_equal(walk.prot, format_prot(w->geo->format, prot));
}

/* Leaf tables that hold an entry of the list. */
static uint64_t tables_touched(const struct world *w, const uint64_t *at)
{
    const struct gr_dma_list *const list = &w->paper.list;
    const uint64_t span = UINT64_C(1) << (2u * w->geo->granule_lg2 - 3u);
    uint64_t seen = UINT64_MAX;
    uint64_t n = 0;

    for (unsigned i = 0; i < list->count; i++) {
        const uint64_t first = at[i] / span;
        const uint64_t last = (at[i] + list->segs[i].len - 1) / span;

        n += last - first + (first != seen);
        seen = last;
    }
    return n;
}

static void check_cost(struct world *w, const struct gr_domain_stats *before,
                       const uint64_t *before_fake, uint64_t invalidations)
{
    assert_int_equal(stats_of(w).invalidations - before->invalidations, invalidations);
    for (unsigned i = 0; i < FAKES; i++)
        assert_int_equal(w->fake[i].invalidations - before_fake[i], invalidations);
}

static void check_same(struct world *w, const struct gr_domain_stats *before)
{
    const struct gr_domain_stats now = stats_of(w);

    assert_int_equal(now.iova.allocations, before->iova.allocations);
    assert_int_equal(now.iova.allocated, before->iova.allocated);
    assert_int_equal(now.iova.held, 0);
    assert_int_equal(now.iova.available, before->iova.available);
    assert_int_equal(now.tables, before->tables);
    assert_false(now.broken);
}

static void note_fakes(const struct world *w, uint64_t *counts)
{
    for (unsigned i = 0; i < FAKES; i++)
        counts[i] = w->fake[i].invalidations;
}

static void check_mapped(struct world *w, const struct gr_domain_stats *before, unsigned prot,
                         uint64_t *at)
{
    const struct gr_dma_list *const list = &w->paper.list;
    const struct gr_domain_stats now = stats_of(w);
    struct gr_dma_seg out[MOST];
    uint64_t first, end;

    assert_in_range(list->out_count, 1, list->count);
    expect_places(list->segs, list->count, &w->lim, w->g, list->out[0].iova, at);
    assert_int_equal(list->out_count, expect_out(list->segs, list->count, &w->lim, w->g, at, out));
    for (unsigned i = 0; i < list->out_count; i++) {
        assert_int_equal(list->out[i].iova, out[i].iova);
        assert_int_equal(list->out[i].len, out[i].len);
        assert_true(out[i].len <= w->lim.max_len);
        assert_false(crosses(&w->lim, out[i].iova, out[i].len));
    }
    /* one range: the granules from the first to the last, below the mask */
    first = down(at[0], w->g);
    end = up(at[list->count - 1] + list->segs[list->count - 1].len, w->g);
    assert_true(first >= w->geo->aperture.first);
    assert_true(end - 1 <= min(w->geo->aperture.last, w->dev.dma_mask));
    assert_int_equal(now.iova.allocations, before->iova.allocations + 1);
    assert_int_equal(now.iova.allocated, before->iova.allocated + (end - first));
    assert_in_range(now.walks - before->walks, 1, tables_touched(w, at));
    check_absent(w, first - 1);
    check_absent(w, end);
    check_translation(w, at, prot);
    w->merged += list->count - list->out_count;
}

/* The last invalidation of every instance covered the whole list. */
static void check_invalidated(const struct world *w, const uint64_t *at)
{
    const unsigned last = w->paper.list.count - 1;

    for (unsigned i = 0; i < FAKES; i++) {
        assert_true(w->fake[i].last.first <= at[0]);
        assert_true(w->fake[i].last.last >= at[last] + w->paper.list.segs[last].len - 1);
    }
}

/* Map one list, check everything, unmap it. */
static void one_list(struct world *w)
{
    static const unsigned prots[] = {0, GR_PROT_READ, GR_PROT_WRITE, GR_PROT_READ | GR_PROT_WRITE};
    struct gr_dma_list *const list = &w->paper.list;
    const enum gr_dma_dir dir = (enum gr_dma_dir)(1 + roll(w, 3));
    const unsigned attrs = roll(w, 4) ? 0 : GR_DMA_UNCACHED;
    const struct gr_domain_stats before = stats_of(w);
    uint64_t fakes[FAKES];
    uint64_t at[MOST];
    bool possible = true;
    int ret;

    for (unsigned i = 0; i < list->count; i++)
        possible = possible && fits_somewhere(&w->lim, &list->segs[i], w->g);
    note_fakes(w, fakes);
    ret = gr_dma_map_sg(&w->dev, list, dir, attrs);
    if (!possible) {
        assert_int_equal(ret, GR_EINVAL);
        check_same(w, &before);
        check_cost(w, &before, fakes, 0);
        w->refused++;
        return;
    }
    assert_int_equal(ret, 0);
    w->mapped++;
    w->segments += list->count;
    check_mapped(w, &before, prots[dir] | (attrs ? (unsigned)GR_PROT_UNCACHED : 0u), at);
    check_cost(w, &before, fakes, w->geo->caches_absent);
    if (w->geo->caches_absent)
        check_invalidated(w, at);
    note_fakes(w, fakes);
    const struct gr_domain_stats held = stats_of(w);

    assert_int_equal(gr_dma_unmap_sg(&w->dev, list, dir, attrs), 0);
    check_cost(w, &held, fakes, 1);
    check_invalidated(w, at);
    check_same(w, &before);
    for (unsigned i = 0; i < list->count; i++) {
        check_absent(w, at[i]);
        check_absent(w, at[i] + list->segs[i].len - 1);
    }
}

static void test_property(void **state)
{
    const char *const given = getenv("LISTS");
    const uint64_t lists = given ? strtoull(given, NULL, 0) : 20000;
    const uint64_t seed = chance_seed("lists");
    struct world *const w = malloc(sizeof(*w));
    uint64_t mapped = 0, segments = 0, merged = 0;

    (void)state;
    assert_non_null(w);
    for (unsigned k = 0; k < PAGINGS * PAGES; k++) {
        const uint64_t n = lists / (PAGINGS * PAGES) + 1;

        world_make(w, &pagings[k % PAGINGS], cpu_pages[k / PAGINGS], seed + k);
        for (uint64_t i = 0; i < n; i++) {
            if (i % 16 == 0)
                shuffle_anchors(w);
            if (i % 4 == 0)
                roll_limits(w);
            roll_list(w);
            one_list(w);
        }
        mapped += w->mapped;
        segments += w->segments;
        merged += w->merged;
        if (n > 100)
            assert_true(w->mapped > n / 2 && w->refused && w->merged);
        world_end(w);
    }
    printf("lists: %" PRIu64 " mapped, %" PRIu64 " segments, %" PRIu64 " merged\n", mapped,
           segments, merged);
    free(w);
}

/* ---- the cost of one list through a real driver ---- */

/* A list of `count` segments of `len` bytes, `apart` bytes from one to the next. */
static void plain_list(struct paper *p, unsigned count, gr_pa_t pa, uint64_t len, uint64_t apart)
{
    paper_list(p, count);
    for (unsigned i = 0; i < count; i++)
        p->segs[i] = (struct gr_seg){pa + i * apart, len};
}

static void test_cost(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        struct paper p;
        struct bench b;
        struct gr_domain_stats before;
        struct gr_range mapped;
        uint64_t span;

        paper_make(&p);
        bench_make(&b, kind, .darts = 3);
        span = rig_span(&b.domain);
        for (unsigned count = 1; count <= MOST; count *= 4) {
            plain_list(&p, count, 100, 50, 2 * b.g);
            before = bench_stats(&b);
            assert_int_equal(gr_dma_map_sg(&b.dev, &p.list, BOTH, 0), 0);
            assert_int_equal(bench_stats(&b).invalidations,
                             before.invalidations + b.domain.invalidate_on_map);
            assert_int_equal(bench_stats(&b).walks, before.walks + 1);
            assert_int_equal(p.list.out_count, count);
            assert_int_equal(gr_dma_unmap_sg(&b.dev, &p.list, BOTH, 0), 0);
            assert_int_equal(bench_stats(&b).invalidations,
                             before.invalidations + 1 + b.domain.invalidate_on_map);
            assert_int_equal(bench_stats(&b).walks, before.walks + 1);
        }
        /* at the top of the space: 4 whole tables, cut at 5 places that are no table's end */
        plain_list(&p, 8, 0, span / 2 - b.g, span);
        before = bench_stats(&b);
        assert_int_equal(gr_dma_map_sg(&b.dev, &p.list, BOTH, 0), 0);
        assert_int_equal(bench_stats(&b).walks, before.walks + 4);
        assert_int_equal(p.list.out_count, 1); /* all on granules */
        assert_int_equal(p.list.out[0].len, 4 * span - 8 * b.g);
        mapped.first = p.list.out[0].iova;
        mapped.last = mapped.first + p.list.out[0].len - 1;
        assert_int_equal(bench_stats(&b).tables, rig_tables(&b.domain, &mapped, 1));
        assert_int_equal(gr_dma_unmap_sg(&b.dev, &p.list, BOTH, 0), 0);
        assert_int_equal(bench_stats(&b).invalidations,
                         before.invalidations + 1 + b.domain.invalidate_on_map);
        assert_int_equal(bench_stats(&b).tables, before.tables);
        bench_end(&b);
        paper_end(&p);
    }
}

/* ---- errors: each documented one, and nothing else changed ---- */

static void refuse(struct bench *b, struct paper *p, unsigned dir, unsigned attrs, int err,
                   const char *what)
{
    const struct rig_state before = rig_state(&b->rig, &b->domain);
    const int ret = gr_dma_map_sg(&b->dev, &p->list, (enum gr_dma_dir)dir, attrs);

    if (ret != err)
        fail_msg("%s: map_sg gives %d, not %s", what, ret, gr_strerror(err));
    assert_int_equal(p->list.out_count, 0);
    rig_same(&b->rig, &b->domain, &before, what);
}

/* The same with segment 0, 2 and 4 of five. */
static void refuse_seg(struct bench *b, struct paper *p, gr_pa_t pa, uint64_t len, int err,
                       const char *what)
{
    for (unsigned i = 0; i < 5; i += 2) {
        plain_list(p, 5, 3 * b->g + 7, 100, 2 * b->g);
        p->segs[i] = (struct gr_seg){pa, len};
        refuse(b, p, BOTH, 0, err, what);
    }
}

static void map_errors(struct bench *b, struct paper *p)
{
    const uint64_t g = b->g;
    const uint64_t width = UINT64_C(1) << b->domain.pt.pa_bits;

    paper_list(p, 0);
    refuse(b, p, BOTH, 0, GR_ENODATA, "no segments");
    plain_list(p, 5, 3 * g, 100, 2 * g);
    refuse(b, p, 0, 0, GR_EACCES, "no direction");
    refuse(b, p, 4, 0, GR_EACCES, "direction 4");
    refuse(b, p, BOTH, 0x40000000u, GR_EOPNOTSUPP, "attribute 30");
    refuse(b, p, BOTH, 0x80000000u, GR_EOPNOTSUPP, "attribute 31");
    refuse_seg(b, p, 5 * g, 0, GR_ENODATA, "an empty segment");
    refuse_seg(b, p, 0, 0, GR_ENODATA, "an empty segment at 0");
    refuse_seg(b, p, UINT64_MAX, 2, GR_EOVERFLOW, "a segment past 2^64");
    refuse_seg(b, p, 1, UINT64_MAX, GR_EFAULT, "nearly 2^64 bytes");
    refuse_seg(b, p, 2, UINT64_MAX, GR_EOVERFLOW, "one more");
    refuse_seg(b, p, width - 1, 2, GR_EFAULT, "the first byte beyond the width");
    refuse_seg(b, p, width, 1, GR_EFAULT, "beyond the width");
    refuse_seg(b, p, UINT64_MAX, 1, GR_EFAULT, "the last byte");
    /* contiguous with the one before, so that it would join its run */
    plain_list(p, 2, width - g, g, g);
    refuse(b, p, BOTH, 0, GR_EFAULT, "a run that leaves the width");
    plain_list(p, 3, 3 * g, 100, 100);
    p->segs[1].len = 0;
    p->segs[2].pa = p->segs[1].pa;
    refuse(b, p, BOTH, 0, GR_ENODATA, "an empty segment in a run");
}

static void limit_errors(struct bench *b, struct paper *p)
{
    const uint64_t g = b->g;

    assert_int_equal(gr_dma_set_seg_limits(&b->dev, 0, 3), GR_EINVAL);
    assert_int_equal(gr_dma_set_seg_limits(&b->dev, 0, UINT64_MAX), GR_EINVAL);
    assert_int_equal(gr_dma_set_seg_limits(&b->dev, 200, 0), 0);
    refuse_seg(b, p, 5 * g, 201, GR_EINVAL, "one byte over max_len");
    plain_list(p, 3, 100, 100, 100);
    p->segs[2].len = 201;
    refuse(b, p, BOTH, 0, GR_EINVAL, "one byte over max_len in a run");
    assert_int_equal(gr_dma_set_seg_limits(&b->dev, 0, 2048), 0); /* below the granule */
    refuse_seg(b, p, 5 * g + 2000, 49, GR_EINVAL, "over a boundary below the granule");
    refuse_seg(b, p, 5 * g, 2049, GR_EINVAL, "longer than the boundary");
    assert_int_equal(gr_dma_set_seg_limits(&b->dev, 0, g), 0);
    refuse_seg(b, p, 5 * g + 1, g, GR_EINVAL, "over a boundary of one granule");
    assert_int_equal(gr_dma_set_seg_limits(&b->dev, 0, 4 * g), 0);
    refuse_seg(b, p, 5 * g + 1, 4 * g, GR_EINVAL, "over a boundary above the granule");
    refuse_seg(b, p, 5 * g, 4 * g + 1, GR_EINVAL, "longer than four granules");
    refuse_seg(b, p, 5 * g, UINT64_MAX, GR_EINVAL, "2^64 bytes and a boundary");
    /* each of them fits exactly */
    plain_list(p, 2, 5 * g + 1, 4 * g - 1, 8 * g);
    assert_int_equal(gr_dma_map_sg(&b->dev, &p->list, BOTH, 0), 0);
    assert_int_equal(p->list.out_count, 2);
    assert_int_equal(gr_dma_unmap_sg(&b->dev, &p->list, BOTH, 0), 0);
    assert_int_equal(gr_dma_set_seg_limits(&b->dev, 0, 0), 0);
}

static void test_map_errors(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        struct bench b;
        struct paper p, other;

        paper_make(&p);
        paper_make(&other);
        bench_make(&b, kind, .darts = 2);
        plain_list(&other, 9, 77, 600, 3 * b.g); /* something that must not change */
        assert_int_equal(gr_dma_map_sg(&b.dev, &other.list, BOTH, 0), 0);
        map_errors(&b, &p);
        limit_errors(&b, &p);
        assert_int_equal(gr_dma_unmap_sg(&b.dev, &other.list, BOTH, 0), 0);
        bench_end(&b);
        paper_end(&p);
        paper_end(&other);
    }
}

/* Lengths whose sum passes 2^64: with 42 bits of PA that takes four million segments. */
static void test_sum_overflows(void **state)
{
    const unsigned count = (1u << 22) + 1;
    struct gr_seg *const segs = calloc(count, sizeof(*segs));
    struct gr_dma_seg *const out = calloc(count, sizeof(*out));
    struct gr_dma_list list = {.segs = segs, .count = count, .out = out};
    struct rig_state before;
    struct bench b;

    (void)state;
    assert_non_null(segs);
    assert_non_null(out);
    bench_make(&b, RIG_T8110);
    for (unsigned i = 0; i < count; i++)
        segs[i].len = UINT64_C(1) << 42;
    before = rig_state(&b.rig, &b.domain);
    assert_int_equal(gr_dma_map_sg(&b.dev, &list, BOTH, 0), GR_EOVERFLOW);
    rig_same(&b.rig, &b.domain, &before, "a sum beyond 2^64");
    segs[0].len = b.g; /* so that one would cross 2^63, and must move, and one 2^64 */
    segs[count / 4 * 3].len = b.g;
    assert_int_equal(gr_dma_set_seg_limits(&b.dev, 0, UINT64_C(1) << 63), 0);
    assert_int_equal(gr_dma_map_sg(&b.dev, &list, BOTH, 0), GR_EOVERFLOW);
    rig_same(&b.rig, &b.domain, &before, "a sum and gaps beyond 2^64");
    assert_int_equal(gr_dma_set_seg_limits(&b.dev, 0, 0), 0);
    list.count = 2;
    assert_int_equal(gr_dma_map_sg(&b.dev, &list, BOTH, 0), GR_ENOSPC);
    rig_same(&b.rig, &b.domain, &before, "more than the aperture");
    bench_end(&b);
    free(segs);
    free(out);
}

static void test_exhaustion(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        const uint64_t g = UINT64_C(1) << rig_kinds[kind].page_bits;
        struct paper p[3];
        struct bench b;

        bench_make(&b, kind, .aperture = {16 * g, 32 * g - 1});
        for (unsigned i = 0; i < 3; i++)
            paper_make(&p[i]);
        plain_list(&p[0], 17, 0, 1, g + 1);
        refuse(&b, &p[0], BOTH, 0, GR_ENOSPC, "17 granules in a space of 16");
        plain_list(&p[0], 10, 0, 1, g + 1);
        assert_int_equal(gr_dma_map_sg(&b.dev, &p[0].list, BOTH, 0), 0);
        plain_list(&p[1], 7, 0, 1, g + 1);
        refuse(&b, &p[1], BOTH, 0, GR_ENOSPC, "7 granules where 6 are left");
        plain_list(&p[1], 6, 0, 1, g + 1);
        assert_int_equal(gr_dma_map_sg(&b.dev, &p[1].list, BOTH, 0), 0);
        plain_list(&p[2], 1, 0, 1, 1);
        refuse(&b, &p[2], BOTH, 0, GR_ENOSPC, "a full space");
        assert_int_equal(gr_dma_unmap_sg(&b.dev, &p[0].list, BOTH, 0), 0);
        assert_int_equal(gr_dma_map_sg(&b.dev, &p[2].list, BOTH, 0), 0);
        assert_int_equal(gr_dma_unmap_sg(&b.dev, &p[1].list, BOTH, 0), 0);
        assert_int_equal(gr_dma_unmap_sg(&b.dev, &p[2].list, BOTH, 0), 0);
        b.dev.dma_mask = 16 * g; /* as a device that came with such a mask */
        refuse(&b, &p[2], BOTH, 0, GR_ERANGE, "a mask below the aperture");
        bench_end(&b);
        for (unsigned i = 0; i < 3; i++)
            paper_end(&p[i]);
    }
}

/* Every allocation of a list over several new tables fails once. */
static void test_no_memory(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        struct bench b;
        struct paper p;
        gr_iova_t iova = 0;
        gr_pa_t pa;
        uint64_t span, n;
        int leaks, ret = GR_ENOMEM;

        paper_make(&p);
        bench_make(&b, kind, .darts = 2);
        span = rig_span(&b.domain);
        assert_int_equal(gr_dma_map(&b.dev, 0, 1, BOTH, 0, &iova), 0); /* a neighbour that stays */
        plain_list(&p, 7, 9 * b.g + 1, span / 2, span);
        leaks = host_leaks(b.rig.host);
        for (n = 1; ret; n++) {
            const struct rig_state before = rig_state(&b.rig, &b.domain);

            assert_in_range(n, 1, 20);
            host_fail_alloc(b.rig.host, n);
            ret = gr_dma_map_sg(&b.dev, &p.list, BOTH, 0);
            host_fail_alloc(b.rig.host, 0);
            if (!ret)
                break;
            assert_int_equal(ret, GR_ENOMEM);
            assert_int_equal(p.list.out_count, 0);
            rig_same(&b.rig, &b.domain, &before, "no memory");
            assert_int_equal(host_leaks(b.rig.host), leaks);
            assert_true(bench_reads(&b, iova));
            for (uint64_t at = 1; at < 4 * span; at += span / 4) /* all the list would have had */
                assert_false(bench_reads(&b, down(iova, b.g) - at));
        }
        assert_true(n >= 4); /* so many tables were missing */
        for (unsigned i = 0; i < p.list.out_count; i++) {
            assert_int_equal(gr_domain_iova_to_phys(&b.domain, p.list.out[i].iova, &pa), 0);
            assert_int_equal(pa, p.segs[i].pa);
        }
        assert_int_equal(gr_dma_unmap_sg(&b.dev, &p.list, BOTH, 0), 0);
        assert_int_equal(host_leaks(b.rig.host), leaks);
        assert_int_equal(gr_dma_unmap(&b.dev, iova, 1, BOTH, 0), 0);
        bench_end(&b);
        paper_end(&p);
    }
}

static void test_untrusted(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        struct bench b;
        struct paper p;
        uint64_t g;

        paper_make(&p);
        bench_make(&b, kind, .untrusted = true);
        g = b.g;
        for (unsigned i = 0; i < 3; i++) {
            plain_list(&p, 3, 4 * g, g, 4 * g);
            p.segs[i].pa += 8;
            refuse(&b, &p, BOTH, 0, GR_EOPNOTSUPP, "a run that begins and ends inside a granule");
            p.segs[i].len -= 8;
            refuse(&b, &p, BOTH, 0, GR_EOPNOTSUPP, "a run that begins inside a granule");
            p.segs[i].pa -= 8;
            refuse(&b, &p, BOTH, 0, GR_EOPNOTSUPP, "a run that ends inside a granule");
        }
        /* pieces that make up whole granules together */
        plain_list(&p, 9, 4 * g, 100, 100);
        p.segs[8].len = 3 * g - 800;
        assert_int_equal(gr_dma_map_sg(&b.dev, &p.list, BOTH, 0), 0);
        assert_int_equal(p.list.out_count, 1);
        assert_int_equal(gr_dma_unmap_sg(&b.dev, &p.list, BOTH, 0), 0);
        /* but not where the device's boundary parts them */
        assert_int_equal(gr_dma_set_seg_limits(&b.dev, 0, 4 * g), 0);
        plain_list(&p, 2, 4 * g, 3 * g + 8, 3 * g + 8);
        p.segs[1].len = 2 * g - 8;
        refuse(&b, &p, BOTH, 0, GR_EOPNOTSUPP, "a run that a boundary cuts inside a granule");
        bench_end(&b);
        paper_end(&p);
    }
}

static void refuse_unmap(struct bench *b, const struct gr_dma_list *list, unsigned dir,
                         unsigned attrs, int err, const char *what)
{
    const struct rig_state before = rig_state(&b->rig, &b->domain);
    const int ret = gr_dma_unmap_sg(&b->dev, list, (enum gr_dma_dir)dir, attrs);

    if (ret != err)
        fail_msg("%s: unmap_sg gives %d, not %s", what, ret, gr_strerror(err));
    rig_same(&b->rig, &b->domain, &before, what);
}

/* `p`: a mapped list of at least three outputs, each with a granule of its own. */
static void unmap_errors(struct bench *b, const struct paper *p)
{
    struct gr_dma_seg *const out = p->list.out;
    const unsigned n = p->list.out_count;
    const struct gr_dma_seg first = out[0];
    const struct gr_dma_seg last = out[n - 1];
    struct gr_dma_list list = p->list;

    refuse_unmap(b, &list, 0, 0, GR_EACCES, "no direction");
    refuse_unmap(b, &list, BOTH, 0x80000000u, GR_EOPNOTSUPP, "attribute 31");
    list.count = 0;
    refuse_unmap(b, &list, BOTH, 0, GR_ENODATA, "no segments");
    list = p->list;
    list.out_count = 0;
    refuse_unmap(b, &list, BOTH, 0, GR_ENODATA, "no output");
    list.out_count = n - 1;
    refuse_unmap(b, &list, BOTH, 0, GR_EMSGSIZE, "without the last output");
    list.out_count = n - 1;
    list.out = out + 1;
    refuse_unmap(b, &list, BOTH, 0, GR_EMSGSIZE, "without the first output");
    list = p->list;
    out[0].iova += b->g;
    refuse_unmap(b, &list, BOTH, 0, GR_EMSGSIZE, "from one granule later");
    out[0].iova -= 2 * b->g;
    refuse_unmap(b, &list, BOTH, 0, GR_ENOENT, "from one granule earlier");
    out[0] = first;
    out[n - 1].len += b->g;
    refuse_unmap(b, &list, BOTH, 0, GR_EMSGSIZE, "one granule longer");
    out[n - 1].len = 0;
    refuse_unmap(b, &list, BOTH, 0, GR_ENODATA, "an empty output");
    out[n - 1] = (struct gr_dma_seg){UINT64_MAX, 2};
    refuse_unmap(b, &list, BOTH, 0, GR_EOVERFLOW, "past 2^64");
    out[n - 1] = (struct gr_dma_seg){UINT64_MAX, 1};
    refuse_unmap(b, &list, BOTH, 0, GR_EMSGSIZE, "up to 2^64");
    out[n - 1] = (struct gr_dma_seg){first.iova - b->g, 1};
    refuse_unmap(b, &list, BOTH, 0, GR_EMSGSIZE, "backwards");
    out[n - 1] = last;
    out[0] = last;
    out[n - 1] = first;
    refuse_unmap(b, &list, BOTH, 0, GR_EMSGSIZE, "first and last exchanged");
    out[0] = first;
    out[n - 1] = last;
}

static void test_unmap_errors(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        struct bench b;
        struct paper p, empty;

        paper_make(&p);
        paper_make(&empty);
        bench_make(&b, kind, .darts = 2, .noncoherent = !(kind % 2));
        plain_list(&p, 5, 3 * b.g + 64, 100, 2 * b.g);
        paper_list(&empty, 0);
        assert_int_equal(gr_dma_map_sg(&b.dev, &p.list, BOTH, 0), 0);
        unmap_errors(&b, &p);
        assert_int_equal(gr_dma_sync_sg_for_cpu(&b.dev, &empty.list, BOTH), GR_ENODATA);
        assert_int_equal(gr_dma_sync_sg_for_device(&b.dev, &empty.list, BOTH), GR_ENODATA);
        assert_int_equal(gr_dma_sync_sg_for_cpu(&b.dev, &p.list, (enum gr_dma_dir)0), GR_EACCES);
        assert_int_equal(gr_dma_sync_sg_for_device(&b.dev, &p.list, (enum gr_dma_dir)4), GR_EACCES);
        assert_int_equal(gr_dma_unmap_sg(&b.dev, &p.list, BOTH, 0), 0);
        refuse_unmap(&b, &p.list, BOTH, 0, GR_ENOENT, "twice");
        assert_int_equal(gr_domain_detach(&b.domain, &b.dev), 0);
        p.list.out_count = 0;
        refuse(&b, &p, BOTH, 0, GR_ENODEV, "no domain");
        refuse_unmap(&b, &p.list, BOTH, 0, GR_ENODEV, "no domain");
        assert_int_equal(gr_dma_sync_sg_for_cpu(&b.dev, &p.list, BOTH), GR_ENODEV);
        assert_int_equal(gr_dma_sync_sg_for_device(&b.dev, &p.list, BOTH), GR_ENODEV);
        assert_int_equal(gr_domain_attach(&b.domain, &b.dev), 0);
        bench_end(&b);
        paper_end(&p);
        paper_end(&empty);
    }
}

/* An invalidation that fails: during a map nothing is left mapped, after an unmap all is lost. */
static void test_stuck(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS * 2; kind++) {
        const bool unmap = kind % 2 || rig_is_smmu(kind / 2); /* a map invalidates nothing there */
        struct bench b;
        struct paper p, late;
        struct gr_domain_stats stats;

        paper_make(&p);
        paper_make(&late);
        bench_make(&b, kind / 2);
        plain_list(&p, 4, 100, 100, 2 * b.g);
        plain_list(&late, 4, 100, 100, 2 * b.g);
        if (unmap)
            assert_int_equal(gr_dma_map_sg(&b.dev, &p.list, BOTH, 0), 0);
        rig_set_busy(&b.rig, 0, 0, true);
        assert_int_equal(unmap ? gr_dma_unmap_sg(&b.dev, &p.list, BOTH, 0)
                               : gr_dma_map_sg(&b.dev, &p.list, BOTH, 0),
                         GR_ETIMEDOUT);
        stats = bench_stats(&b);
        assert_true(stats.broken);
        assert_int_equal(stats.quarantined_bytes, 4 * b.g);
        assert_int_equal(stats.iova.allocations, 0);
        assert_int_equal(gr_dma_map_sg(&b.dev, &late.list, BOTH, 0), GR_EIO);
        rig_set_busy(&b.rig, 0, 0, false);
        for (unsigned i = 0; unmap && i < p.list.out_count; i++)
            assert_false(bench_reads(&b, p.list.out[i].iova));
        for (uint64_t at = b.domain.aperture.last; at + 8 * b.g > b.domain.aperture.last; at -= b.g)
            assert_false(bench_reads(&b, at));
        bench_end(&b);
        paper_end(&p);
        paper_end(&late);
    }
}

/* ---- accesses end to end ---- */

#define ARENA (512 * KIB)
#define SLOTS 32u
#define SLOT (ARENA / SLOTS)

struct course {
    struct bench b;
    unsigned kind;
    struct paper p;
    gr_pa_t arena;
    uint8_t *cpu; /* what the CPU sees of it */
    uint8_t copy[ARENA];
    uint8_t buf[ARENA];
};

static void course_make(struct course *c, unsigned kind, bool coherent, uint64_t seed)
{
    c->kind = kind;
    bench_make(&c->b, kind, .cpu_page = cpu_pages[seed % PAGES], .seed = seed,
               .noncoherent = !coherent);
    paper_make(&c->p);
    c->arena = rig_ram(&c->b.rig, ARENA, 64 * KIB);
    c->cpu = host_ptr(c->b.rig.host, c->arena, ARENA);
    assert_non_null(c->cpu);
    bench_random_bytes(&c->b, c->copy, ARENA);
    memcpy(c->cpu, c->copy, ARENA);
}

static void course_end(struct course *c)
{
    host_ram_free(c->b.rig.host, c->arena);
    paper_end(&c->p);
    bench_end(&c->b);
}

/* Some slots in disorder, in part contiguous, with odd offsets and lengths; none twice. */
static void course_list(struct course *c)
{
    struct rig *const rig = &c->b.rig;
    const unsigned count = 1 + (unsigned)rig_random(rig, SLOTS);
    const uint64_t neat = rig_random(rig, 3); /* how many of three are whole slots */
    unsigned slot[SLOTS];

    for (unsigned i = 0; i < SLOTS; i++)
        slot[i] = i;
    for (unsigned i = 0; i < SLOTS / 2; i++) {
        const unsigned a = (unsigned)rig_random(rig, SLOTS), b = (unsigned)rig_random(rig, SLOTS);
        const unsigned t = slot[a];

        slot[a] = slot[b];
        slot[b] = t;
    }
    paper_list(&c->p, count);
    for (unsigned i = 0; i < count; i++) {
        const uint64_t offset = rig_random(rig, 3) < neat ? 0 : rig_random(rig, SLOT);

        c->p.segs[i].pa = c->arena + slot[i] * SLOT + offset;
        c->p.segs[i].len =
            rig_random(rig, 3) < neat ? SLOT - offset : 1 + rig_random(rig, SLOT - offset);
    }
}

static uint8_t *copy_of(struct course *c, gr_pa_t pa)
{
    return c->copy + (pa - c->arena);
}

/* The CPU writes new bytes into all segments. */
static void cpu_writes(struct course *c)
{
    for (unsigned i = 0; i < c->p.list.count; i++) {
        const struct gr_seg *const s = &c->p.list.segs[i];

        bench_random_bytes(&c->b, copy_of(c, s->pa), s->len);
        memcpy(c->cpu + (s->pa - c->arena), copy_of(c, s->pa), s->len);
    }
}

/* The device goes through its segments: what it reads, or with `write` writes, is the list's. */
static void device_moves(struct course *c, bool write)
{
    const struct gr_seg *s = c->p.list.segs;

    for (unsigned k = 0; k < c->p.list.out_count; k++) {
        const struct gr_dma_seg out = c->p.list.out[k];

        if (write)
            bench_random_bytes(&c->b, c->buf, out.len);
        bench_device(&c->b, out.iova, c->buf, out.len, write);
        for (uint64_t done = 0; done < out.len; s++) {
            if (write)
                memcpy(copy_of(c, s->pa), c->buf + done, s->len);
            else
                assert_memory_equal(copy_of(c, s->pa), c->buf + done, s->len);
            done += s->len;
        }
    }
    assert_true(s == c->p.list.segs + c->p.list.count);
}

static void check_closed(struct course *c)
{
    for (unsigned k = 0; k < c->p.list.out_count; k++) {
        const struct gr_dma_seg out = c->p.list.out[k];

        for (uint64_t at = 0; at < out.len; at += c->b.g)
            assert_false(bench_reads(&c->b, out.iova + at));
        assert_false(rig_can_write(&c->b.rig, 0, RIG_SID, out.iova + out.len - 1));
    }
}

static void end_to_end_list(struct course *c)
{
    struct rig *const rig = &c->b.rig;
    const enum gr_dma_dir dir = (enum gr_dma_dir)(1 + rig_random(rig, 3));
    const uint64_t boundary = UINT64_C(1) << (14 + rig_random(rig, 6));
    const bool limited = rig_random(rig, 2);

    course_list(c);
    assert_int_equal(gr_dma_set_seg_limits(&c->b.dev, limited ? SLOT + rig_random(rig, 3) : 0,
                                           limited ? boundary : 0),
                     0);
    cpu_writes(c);
    assert_int_equal(gr_dma_map_sg(&c->b.dev, &c->p.list, dir, 0), 0);
    rig_prefetch(rig, 0, RIG_SID, c->p.list.out[rig_random(rig, c->p.list.out_count)].iova);
    if (dir & GR_DMA_TO_DEVICE)
        device_moves(c, false);
    else
        assert_int_equal(bench_reads(&c->b, c->p.list.out[0].iova), !rig_has_write_only(c->kind));
    if (dir & GR_DMA_FROM_DEVICE)
        device_moves(c, true);
    else
        assert_false(rig_can_write(rig, 0, RIG_SID, c->p.list.out[0].iova));
    assert_memory_equal(c->cpu, c->copy, ARENA); /* no byte outside the list */
    assert_int_equal(gr_dma_unmap_sg(&c->b.dev, &c->p.list, dir, 0), 0);
    check_closed(c);
    assert_memory_equal(c->cpu, c->copy, ARENA);
}

static void test_end_to_end(void **state)
{
    const uint64_t seed = chance_seed("end to end");
    struct course *const c = malloc(sizeof(*c));

    (void)state;
    assert_non_null(c);
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        course_make(c, kind, true, seed + kind);
        for (unsigned i = 0; i < 40; i++)
            end_to_end_list(c);
        course_end(c);
    }
    free(c);
}

/* ---- a device that does not snoop ---- */

/* The middle of one output goes to the CPU, which writes it, and back. */
static void sync_part(struct course *c)
{
    struct rig *const rig = &c->b.rig;
    const unsigned i = (unsigned)rig_random(rig, c->p.list.count);
    const struct gr_seg s = c->p.list.segs[i];
    const uint64_t from = rig_random(rig, s.len);
    const uint64_t len = 1 + rig_random(rig, s.len - from);
    uint8_t *const cpu = c->cpu + (s.pa - c->arena) + from;
    const struct gr_dma_seg *out = c->p.list.out;
    uint64_t before = 0; /* bytes of the output before the segment */
    gr_iova_t iova;

    for (unsigned k = 0; k < i; k++) {
        before += c->p.list.segs[k].len;
        if (before == out->len) {
            before = 0;
            out++;
        }
    }
    iova = out->iova + before + from;
    assert_int_equal(gr_dma_sync_for_cpu(&c->b.dev, iova, len, BOTH), 0);
    assert_memory_equal(cpu, copy_of(c, s.pa) + from, len);
    bench_random_bytes(&c->b, copy_of(c, s.pa) + from, len);
    memcpy(cpu, copy_of(c, s.pa) + from, len);
    assert_int_equal(gr_dma_sync_for_device(&c->b.dev, iova, len, BOTH), 0);
    device_moves(c, false);
}

static void check_segs(struct course *c)
{
    for (unsigned i = 0; i < c->p.list.count; i++) {
        const struct gr_seg *const s = &c->p.list.segs[i];

        assert_memory_equal(c->cpu + (s->pa - c->arena), copy_of(c, s->pa), s->len);
    }
}

static void noncoherent_list(struct course *c)
{
    course_list(c);
    cpu_writes(c);
    assert_int_equal(gr_dma_map_sg(&c->b.dev, &c->p.list, BOTH, 0), 0);
    device_moves(c, false);
    device_moves(c, true);
    for (unsigned i = 0; i < 3; i++)
        sync_part(c);
    assert_int_equal(gr_dma_sync_sg_for_cpu(&c->b.dev, &c->p.list, BOTH), 0);
    check_segs(c);
    cpu_writes(c);
    assert_int_equal(gr_dma_sync_sg_for_device(&c->b.dev, &c->p.list, BOTH), 0);
    device_moves(c, false);
    device_moves(c, true);
    assert_int_equal(gr_dma_unmap_sg(&c->b.dev, &c->p.list, BOTH, 0), 0);
    check_segs(c);
    assert_memory_equal(c->cpu, c->copy, ARENA); /* also what lies beside it */
}

static void test_noncoherent(void **state)
{
    const uint64_t seed = chance_seed("not coherent");
    struct course *const c = malloc(sizeof(*c));

    (void)state;
    assert_non_null(c);
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        course_make(c, kind, false, seed + kind);
        for (unsigned i = 0; i < 10; i++)
            noncoherent_list(c);
        course_end(c);
    }
    free(c);
}

/* How many of the list's segments hold other bytes for the CPU than the device wrote. */
static unsigned stale_segs(struct course *c)
{
    unsigned n = 0;

    for (unsigned i = 0; i < c->p.list.count; i++) {
        const struct gr_seg *const s = &c->p.list.segs[i];

        n += memcmp(c->cpu + (s->pa - c->arena), copy_of(c, s->pa), s->len) != 0;
    }
    return n;
}

/* The tests of the test: one lost cache operation spoils one segment; and attributes without any.
 */
static void test_cache_work(void **state)
{
    struct course *const c = malloc(sizeof(*c));
    struct host *host;
    uint64_t calls;

    (void)state;
    assert_non_null(c);
    course_make(c, RIG_T8110, false, 3);
    host = c->b.rig.host;
    plain_list(&c->p, 8, c->arena + 256, 1024, SLOT);
    cpu_writes(c);
    assert_int_equal(gr_dma_map_sg(&c->b.dev, &c->p.list, GR_DMA_FROM_DEVICE, 0), 0);
    device_moves(c, true);
    host_ignore(host, HOST_INVAL, 5);
    assert_int_equal(gr_dma_unmap_sg(&c->b.dev, &c->p.list, GR_DMA_FROM_DEVICE, 0), 0);
    host_ignore(host, HOST_INVAL, 0);
    assert_int_equal(stale_segs(c), 1);

    c->p.list.out_count = 0;
    calls = host_calls(host, HOST_CLEAN | HOST_INVAL);
    for (unsigned attrs = GR_DMA_SKIP_SYNC; attrs <= GR_DMA_MMIO; attrs *= 4) {
        assert_int_equal(gr_dma_map_sg(&c->b.dev, &c->p.list, BOTH, attrs), 0);
        assert_int_equal(gr_dma_unmap_sg(&c->b.dev, &c->p.list, BOTH, attrs), 0);
    }
    assert_int_equal(host_calls(host, HOST_CLEAN | HOST_INVAL), calls);
    /* to a device only: nothing comes back */
    assert_int_equal(gr_dma_map_sg(&c->b.dev, &c->p.list, GR_DMA_TO_DEVICE, 0), 0);
    assert_int_equal(host_calls(host, HOST_CLEAN), calls + 8 - host_calls(host, HOST_INVAL));
    calls = host_calls(host, HOST_CLEAN | HOST_INVAL);
    assert_int_equal(gr_dma_unmap_sg(&c->b.dev, &c->p.list, GR_DMA_TO_DEVICE, 0), 0);
    assert_int_equal(host_calls(host, HOST_CLEAN | HOST_INVAL), calls);
    course_end(c);

    course_make(c, RIG_T8110, true, 3); /* and none for a coherent device */
    host = c->b.rig.host;
    plain_list(&c->p, 8, c->arena + 256, 1024, SLOT);
    calls = host_calls(host, HOST_CLEAN | HOST_INVAL);
    assert_int_equal(gr_dma_map_sg(&c->b.dev, &c->p.list, BOTH, 0), 0);
    assert_int_equal(gr_dma_sync_sg_for_cpu(&c->b.dev, &c->p.list, BOTH), 0);
    assert_int_equal(gr_dma_sync_sg_for_device(&c->b.dev, &c->p.list, BOTH), 0);
    assert_int_equal(gr_dma_unmap_sg(&c->b.dev, &c->p.list, BOTH, 0), 0);
    assert_int_equal(host_calls(host, HOST_CLEAN | HOST_INVAL), calls);
    course_end(c);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(test_property),      rig_test(test_cost),         rig_test(test_map_errors),
        rig_test(test_sum_overflows), rig_test(test_exhaustion),   rig_test(test_no_memory),
        rig_test(test_untrusted),     rig_test(test_unmap_errors), rig_test(test_stuck),
        rig_test(test_end_to_end),    rig_test(test_noncoherent),  rig_test(test_cache_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
