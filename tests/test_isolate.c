/* SPDX-License-Identifier: MIT */
/*
 * What a device can reach of the granules that a buffer only partly fills: random maps against a
 * shadow of both sides' bytes, with devices that read and write around what they were given; the
 * vectors (REQUIREMENTS.md 5) and known bugs (docs/KNOWN-BUGS.md) by name; every failure.
 *
 * SEED=N replays, OPS=N runs so many operations for each setup.
 */
#include "iso.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUARD 0xa5u /* of every byte that is nobody's; iso_scramble() makes none */
#define SLOTS 3u
#define SEGS 5u
#define ROOM (16 * 64 * KIB) /* of a slot's memory */
#define MOST (5 * 64 * KIB)  /* bytes mapped at once */

static uint64_t min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t down(uint64_t at, uint64_t unit)
{
    return at - at % unit;
}

static uint64_t up(uint64_t at, uint64_t unit)
{
    return down(at + unit - 1, unit);
}

/* ---- one mapping and what both sides should see of it ---- */

struct slot {
    bool live;
    bool list;
    bool whole; /* all of it changes hands at a time */
    gr_pa_t room;
    enum gr_dma_dir dir;
    uint64_t len; /* sum */
    gr_iova_t iova;
    struct gr_seg segs[SEGS];
    struct gr_dma_seg out[SEGS];
    struct gr_dma_list l;
    uint8_t device[MOST]; /* what the device sees, segment after segment */
};

struct world {
    struct iso iso;
    struct slot slot[SLOTS];
    char where[160];
    uint64_t maps, refused, failed, slack;
};

static uint64_t roll(struct world *w, uint64_t below)
{
    return rig_random(&w->iso.rig, below);
}

/* How a device that is not exposed treats the ends. */
static bool exposes(const struct world *w)
{
    const enum gr_isolation how = w->iso.setup.isolation;

    return how == GR_ISOLATION_EXPOSE || (how == GR_ISOLATION_DEFAULT && !w->iso.setup.untrusted);
}

/* The IOVA of byte `at` of a mapping, and how many follow it there. */
static gr_iova_t iova_of(const struct slot *s, uint64_t at, uint64_t *run)
{
    const struct gr_dma_seg *out = s->out;

    if (!s->list) {
        *run = s->len - at;
        return s->iova + at;
    }
    while (at >= out->len)
        at -= out++->len;
    *run = out->len - at;
    return out->iova + at;
}

static gr_pa_t pa_of(const struct slot *s, uint64_t at, uint64_t *run)
{
    const struct gr_seg *seg = s->segs;

    while (at >= seg->len)
        at -= seg++->len;
    *run = seg->len - at;
    return seg->pa + at;
}

/* The CPU's bytes of a mapping, or new ones for it. */
static void cpu(struct world *w, const struct slot *s, uint64_t at, uint64_t len, uint8_t *buf,
                bool write)
{
    uint64_t run;

    for (; len; len -= run, at += run, buf += run) {
        const gr_pa_t pa = pa_of(s, at, &run);
        uint8_t *there;

        run = min(run, len);
        there = iso_at(&w->iso, pa, run);
        memcpy(write ? there : buf, write ? buf : there, (size_t)run);
    }
}

static void device(struct world *w, const struct slot *s, uint64_t at, uint64_t len, uint8_t *buf,
                   bool write)
{
    uint64_t run;

    for (; len; len -= run, at += run, buf += run) {
        const gr_iova_t iova = iova_of(s, at, &run);

        run = min(run, len);
        if (!iso_access(&w->iso, iova, buf, run, write))
            fail_msg("%s: the device cannot %s 0x%" PRIx64 "+0x%" PRIx64, w->where,
                     write ? "write" : "read", iova, run);
    }
}

static uint8_t scratch[MOST];

/* The device reads what it should. */
static void check_device(struct world *w, const struct slot *s)
{
    if (!(s->dir & GR_DMA_TO_DEVICE))
        return;
    device(w, s, 0, s->len, scratch, false);
    if (memcmp(scratch, s->device, (size_t)s->len) != 0)
        fail_msg("%s: the device reads other bytes", w->where);
}

/* The CPU reads [at, at + len) as the device left it. */
static void check_cpu(struct world *w, const struct slot *s, uint64_t at, uint64_t len)
{
    cpu(w, s, at, len, scratch, false);
    for (uint64_t i = 0; i < len; i++) {
        uint64_t run;

        if (scratch[i] != s->device[at + i])
            fail_msg("%s: the CPU reads 0x%x at PA 0x%" PRIx64 ", not 0x%x", w->where, scratch[i],
                     pa_of(s, at + i, &run), s->device[at + i]);
    }
}

/* What lies around a mapping is as it was. */
static void check_guards(struct world *w, const struct slot *s)
{
    uint8_t *const room = iso_at(&w->iso, s->room, ROOM);
    gr_pa_t at = s->room;

    while (at < s->room + ROOM) {
        gr_pa_t next = s->room + ROOM;
        const struct gr_seg *in = NULL;

        for (unsigned i = 0; s->live && i < s->l.count; i++) {
            if (at >= s->segs[i].pa && at < s->segs[i].pa + s->segs[i].len)
                in = &s->segs[i];
            else if (s->segs[i].pa > at)
                next = min(next, s->segs[i].pa);
        }
        if (in) {
            at = in->pa + in->len;
            continue;
        }
        for (; at < next; at++) {
            if (room[at - s->room] != GUARD)
                fail_msg("%s: PA 0x%" PRIx64 " was overwritten", w->where, at);
        }
    }
}

/* ---- the device tries what it was not given ---- */

static void probe(struct world *w, const struct slot *s, gr_iova_t iova, bool overread)
{
    const struct iso_setup *const setup = &w->iso.setup;
    uint8_t byte = 0;
    uint8_t written = 0x5b;
    const bool read = iso_access(&w->iso, iova, &byte, 1, false);

    if (overread && (s->dir & GR_DMA_TO_DEVICE) && !read)
        fail_msg("%s: 0x%" PRIx64 " is read beyond the buffer, and faults", w->where, iova);
    if (exposes(w))
        return;
    if (read && byte == GUARD && setup->untrusted)
        fail_msg("%s: an untrusted device reads its neighbour at 0x%" PRIx64, w->where, iova);
    w->slack += read;
    if (setup->untrusted && iso_access(&w->iso, iova, &written, 1, true))
        w->slack++; /* a slot's: check_guards() sees if not */
}

/* Bytes at the ends of one output, and at the ends of its granules. */
static void probe_around(struct world *w, const struct slot *s, gr_iova_t iova, uint64_t len,
                         bool alone)
{
    const uint64_t g = w->iso.g;
    const uint64_t over = w->iso.setup.overread;
    const gr_iova_t base = down(iova, g);
    const gr_iova_t end = iova + len;

    for (unsigned i = 1; alone && i <= 9 && i <= iova - base; i++)
        probe(w, s, iova - i, false);
    if (alone && iova > base)
        probe(w, s, base, false);
    for (unsigned i = 0; alone && i < 9 && end + i < up(end + over, g); i++)
        probe(w, s, end + i, i < over);
    if (alone && over)
        probe(w, s, end + over - 1, true);
    if (alone && end % g)
        probe(w, s, up(end, g) - 1, false);
}

static void probe_slot(struct world *w, const struct slot *s)
{
    uint8_t byte = 0x5b;

    /* Lists: outputs may touch, so that what lies beside one is the next. */
    probe_around(w, s, s->list ? s->out[0].iova : s->iova, s->list ? s->out[0].len : s->len,
                 !s->list || s->l.out_count == 1);
    if (s->dir == GR_DMA_TO_DEVICE)
        assert_false(iso_access(&w->iso, s->list ? s->out[0].iova : s->iova, &byte, 1, true));
    if (s->dir == GR_DMA_FROM_DEVICE && !w->iso.lpae)
        assert_false(iso_access(&w->iso, s->list ? s->out[0].iova : s->iova, &byte, 1, false));
}

/* ---- steps ---- */

static void fill_room(struct world *w, struct slot *s)
{
    iso_set(&w->iso, s->room, GUARD, ROOM);
}

static uint64_t edge(struct world *w)
{
    const uint64_t g = w->iso.g;

    switch (roll(w, 6)) {
    case 0:
        return 0;
    case 1:
        return roll(w, g / 8) * 8;
    case 2:
        return roll(w, 4) * (g / 4);
    case 3:
        return g - 1 - roll(w, min(g, 20));
    case 4:
        return roll(w, 20);
    default:
        return roll(w, g);
    }
}

static void roll_segs(struct world *w, struct slot *s)
{
    const uint64_t g = w->iso.g;
    gr_pa_t at = s->room + g + edge(w);

    s->list = roll(w, 2);
    s->l = (struct gr_dma_list){.segs = s->segs, .out = s->out};
    s->l.count = s->list ? 1 + (unsigned)roll(w, SEGS) : 1;
    s->len = 0;
    for (unsigned i = 0; i < s->l.count; i++) {
        uint64_t len = roll(w, 3) * g + edge(w);

        if (!len)
            len = 1 + roll(w, 2 * g);
        len = min(len, MOST / SEGS);
        if (i && roll(w, 3))
            at = up(at, g) + (roll(w, 2) ? g + edge(w) : 0);
        s->segs[i] = (struct gr_seg){at, len};
        at += len;
        s->len += len;
    }
    assert_true(at + g <= s->room + ROOM);
}

/*
 * A boundary cuts a run anywhere, and what lies on either side of the cut may share a line: where
 * that matters, such a list is handed over as a whole.
 */
static void limits(struct world *w, struct slot *s)
{
    const uint64_t boundary = roll(w, 3) ? 0 : UINT64_C(1) << (13 + roll(w, 8));

    s->whole = w->iso.setup.noncoherent && boundary;
    assert_int_equal(
        gr_dma_set_seg_limits(&w->iso.dev, roll(w, 2) ? 0 : 1 + roll(w, 64 * KIB), boundary), 0);
}

static void map(struct world *w, struct slot *s)
{
    const struct iso_state was = iso_state(&w->iso);
    struct gr_device *const dev = &w->iso.dev;
    unsigned fail;
    int ret;

    limits(w, s);
    roll_segs(w, s);
    fill_room(w, s);
    s->dir = (enum gr_dma_dir)(1 + roll(w, 3));
    for (unsigned i = 0; i < s->l.count; i++)
        iso_scramble(&w->iso, s->segs[i].pa, s->segs[i].len);
    cpu(w, s, 0, s->len, s->device, false);
    fail = roll(w, 8) ? 0 : 1 + (unsigned)roll(w, 4);
    host_fail_alloc(w->iso.rig.host, fail);
    ret = s->list ? gr_dma_map_sg(dev, &s->l, s->dir, 0)
                  : gr_dma_map(dev, s->segs[0].pa, s->len, s->dir, 0, &s->iova);
    host_fail_alloc(w->iso.rig.host, 0);
    if (ret) {
        if (!(ret == GR_EINVAL && s->list) && !(ret == GR_ENOMEM && fail) && ret != GR_ENOBUFS)
            fail_msg("%s: %s", w->where, gr_strerror(ret));
        w->refused += ret != GR_ENOMEM;
        w->failed += ret == GR_ENOMEM;
        if (ret != GR_ENOBUFS || !was.domain.deferred) /* else it has flushed, to no avail */
            iso_same(&w->iso, &was, w->where);
        else if (iso_stats(&w->iso).deferred ||
                 iso_stats(&w->iso).iova.allocations != was.domain.iova.allocations)
            fail_msg("%s: after a flush something waits, or is mapped", w->where);
        cpu(w, s, 0, s->len, scratch, false);
        assert_memory_equal(scratch, s->device, s->len);
        fill_room(w, s);
        return;
    }
    s->live = true;
    w->maps++;
    check_device(w, s);
    probe_slot(w, s);
}

/* The device writes here and there. */
static void scribble(struct world *w, struct slot *s)
{
    if (!(s->dir & GR_DMA_FROM_DEVICE))
        return;
    for (unsigned n = (unsigned)roll(w, 4); n--;) {
        const uint64_t at = roll(w, s->len);
        const uint64_t len = 1 + roll(w, min(s->len - at, roll(w, 2) ? 16 : MOST));

        for (uint64_t i = 0; i < len; i++)
            s->device[at + i] = (uint8_t)(1 + roll(w, 127));
        memcpy(scratch, s->device + at, (size_t)len);
        device(w, s, at, len, scratch, true);
    }
}

static int sync(struct world *w, struct slot *s, uint64_t at, uint64_t len, bool for_cpu)
{
    uint64_t run;
    int ret = 0;

    if (s->list && !at && len == s->len)
        return for_cpu ? gr_dma_sync_sg_for_cpu(&w->iso.dev, &s->l, s->dir)
                       : gr_dma_sync_sg_for_device(&w->iso.dev, &s->l, s->dir);
    for (; !ret && len; len -= run, at += run) {
        const gr_iova_t iova = iova_of(s, at, &run);

        run = min(run, len);
        ret = for_cpu ? gr_dma_sync_for_cpu(&w->iso.dev, iova, run, s->dir)
                      : gr_dma_sync_for_device(&w->iso.dev, iova, run, s->dir);
    }
    return ret;
}

/*
 * The CPU looks at a part (known bug 3), or takes all of it, writes a part and hands that back;
 * what it does not hand back it has not written.
 */
static void turn(struct world *w, struct slot *s)
{
    const uint64_t at = s->whole ? 0 : roll(w, s->len);
    const uint64_t len = s->whole ? s->len : 1 + roll(w, min(s->len - at, roll(w, 2) ? 16 : MOST));

    if (s->dir == GR_DMA_TO_DEVICE || roll(w, 2)) {
        assert_int_equal(sync(w, s, 0, s->len, true), 0);
        check_cpu(w, s, 0, s->len);
        for (uint64_t i = 0; i < len; i++)
            s->device[at + i] = (uint8_t)(1 + roll(w, 127));
        cpu(w, s, at, len, s->device + at, true);
        assert_int_equal(sync(w, s, at, len, false), 0);
        check_device(w, s);
    } else {
        assert_int_equal(sync(w, s, at, len, true), 0);
        check_cpu(w, s, at, len);
        assert_int_equal(sync(w, s, at, len, false), 0);
        check_device(w, s);
    }
}

static void unmap(struct world *w, struct slot *s)
{
    struct gr_device *const dev = &w->iso.dev;
    const gr_iova_t first = s->list ? s->out[0].iova : s->iova;
    uint64_t run;
    const gr_iova_t last = iova_of(s, s->len - 1, &run);
    const bool strict = !(w->iso.setup.flags & GR_DOMAIN_DEFERRED);
    const int ret = s->list ? gr_dma_unmap_sg(dev, &s->l, s->dir, 0)
                            : gr_dma_unmap(dev, s->iova, s->len, s->dir, 0);
    uint8_t byte = 0x5b;

    if (ret)
        fail_msg("%s: unmap: %s", w->where, gr_strerror(ret));
    check_cpu(w, s, 0, s->len);
    check_guards(w, s);
    s->live = false;
    fill_room(w, s);
    assert_false(strict && iso_reads(&w->iso, first));
    assert_false(strict && iso_reads(&w->iso, last));
    assert_false(strict && iso_access(&w->iso, last, &byte, 1, true));
    if (strict)
        assert_int_equal(s->list ? gr_dma_unmap_sg(dev, &s->l, s->dir, 0)
                                 : gr_dma_unmap(dev, s->iova, s->len, s->dir, 0),
                         GR_ENOENT);
}

static void step(struct world *w)
{
    struct slot *const s = &w->slot[roll(w, SLOTS)];

    if (!s->live) {
        map(w, s);
        return;
    }
    scribble(w, s);
    if (roll(w, 2)) {
        turn(w, s);
        scribble(w, s);
    }
    if (roll(w, 2))
        check_device(w, s);
    if (roll(w, 2))
        unmap(w, s);
}

static unsigned operations(unsigned usual)
{
    const char *const given = getenv("OPS");

    return given ? (unsigned)strtoul(given, NULL, 0) : usual;
}

static void run(const struct iso_setup *setup, const char *what, unsigned ops)
{
    struct world *const w = test_calloc(1, sizeof(*w));

    iso_make(&w->iso, setup);
    for (unsigned i = 0; i < SLOTS; i++) {
        w->slot[i].room = RIG_BIG + i * ROOM;
        fill_room(w, &w->slot[i]);
    }
    for (unsigned i = 0; i < ops; i++) {
        (void)snprintf(w->where, sizeof(w->where), "%s, step %u", what, i);
        step(w);
    }
    (void)snprintf(w->where, sizeof(w->where), "%s, the end", what);
    for (unsigned i = 0; i < SLOTS; i++) {
        if (w->slot[i].live)
            unmap(w, &w->slot[i]);
        check_guards(w, &w->slot[i]);
    }
    assert_int_equal(gr_domain_flush(&w->iso.domain), 0);
    assert_int_equal(iso_pool(&w->iso).slots, 0);
    assert_int_equal(iso_stats(&w->iso).iova.allocations, 0);
    assert_int_equal(iso_stats(&w->iso).iova.held, 0);
    assert_true(w->maps > 0);
    iso_end(&w->iso);
    test_free(w);
}

/* ---- the property, over all kinds of devices ---- */

static const unsigned kinds[] = {RIG_T8020,    RIG_T8020_4K, RIG_T6000,    RIG_T8110,
                                 RIG_T8110_4K, ISO_LPAE_4K,  ISO_LPAE_16K, ISO_LPAE_64K};

static void property(uint64_t seed, unsigned flags, unsigned rounds)
{
    static const uint32_t units[] = {0, 1, 2, 4, 8, 16, 64, 128, 4096};
    static const uint32_t overreads[] = {0, 0, 0, 1, 8, 64, 100, 4096};
    static const unsigned pages[] = {4096, 16384, 65536};
    uint64_t dice = seed;

    for (unsigned n = 0; n < rounds * sizeof(kinds) / sizeof(kinds[0]); n++) {
        struct iso_setup s = {.kind = kinds[n % (sizeof(kinds) / sizeof(kinds[0]))]};
        char what[120];

        s.untrusted = !(flags & GR_DOMAIN_DEFERRED) && chance_below(&dice, 3);
        s.isolation = (enum gr_isolation)chance_below(&dice, s.untrusted ? 3 : 4);
        s.verified = chance_below(&dice, 3);
        s.noncoherent = chance_below(&dice, 2);
        s.darts = s.kind < RIG_KINDS ? 1 + (unsigned)chance_below(&dice, 2) : 1;
        s.cpu_page = pages[chance_below(&dice, 3)];
        s.access_unit = units[chance_below(&dice, 9)];
        s.overread = overreads[chance_below(&dice, 8)];
        s.pool = (chance_below(&dice, 4) ? 5u : 1u) * GR_BOUNCE_CHUNK;
        s.flags = flags;
        s.seed = 1 + chance_below(&dice, UINT64_MAX - 1);
        (void)snprintf(what, sizeof(what),
                       "SEED=%" PRIu64 " round %u: %s, %s, isolation %u, unit %u, overread %u%s",
                       seed, n, iso_name(s.kind), s.untrusted ? "untrusted" : "trusted",
                       (unsigned)s.isolation, s.access_unit, s.overread,
                       s.noncoherent ? ", not coherent" : "");
        run(&s, what, operations(60));
    }
}

static void test_property(void **state)
{
    (void)state;
    property(chance_seed("test_property"), 0, 8);
}

/* The same where unmaps queue their invalidations: a slot, too, comes back only after that. */
static void test_property_deferred(void **state)
{
    (void)state;
    property(chance_seed("test_property_deferred"), GR_DOMAIN_DEFERRED, 3);
}

/* ---- Test vectors: REQUIREMENTS.md 5 ---- */

static gr_iova_t must_map(struct iso *iso, gr_pa_t pa, uint64_t len, enum gr_dma_dir dir)
{
    gr_iova_t iova = 0;

    assert_int_equal(gr_dma_map(&iso->dev, pa, len, dir, 0, &iova), 0);
    assert_int_equal((iova ^ pa) & (iso->g - 1), 0);
    return iova;
}

static void must_unmap(struct iso *iso, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir)
{
    assert_int_equal(gr_dma_unmap(&iso->dev, iova, len, dir, 0), 0);
}

static gr_pa_t leads_to(struct iso *iso, gr_iova_t iova)
{
    gr_pa_t pa;

    assert_int_equal(gr_domain_iova_to_phys(&iso->domain, iova, &pa), 0);
    return pa;
}

/*
 * REQUIREMENTS.md 5.3: a 16 KiB granule bounces into memory that is aligned to 16 KiB also
 * where the CPU's pages, and all else that the pool is used for, are of 4 KiB.
 */
static void test_vector_3_bounce_alignment(void **state)
{
    static const unsigned bouncers[] = {RIG_T8020, RIG_T6000, ISO_LPAE_16K, ISO_LPAE_64K};

    (void)state;
    for (unsigned k = 0; k < 4; k++) {
        const struct iso_setup setup = {.kind = bouncers[k],
                                        .untrusted = true,
                                        .isolation = GR_ISOLATION_BOUNCE,
                                        .pool = 4 * GR_BOUNCE_CHUNK};
        struct iso iso;
        struct gr_stream stream[RIG_DARTS];
        struct gr_domain small;
        struct gr_device dev;
        struct iso_walker tiny;
        struct gr_device_config config;
        gr_iova_t iova[8];
        gr_iova_t other[8];

        /* Another domain, of 4 KiB granules, takes slots of the same pool in between. */
        iso_make(&iso, &setup);
        iso_walker_make(&tiny, iso.rig.host, 12, (struct gr_range){0, 0});
        stream[0] = (struct gr_stream){.inst = &tiny.inst, .sid = 1, .window = {0, UINT64_MAX}};
        config = (struct gr_device_config){.name = "small",
                                           .streams = stream,
                                           .stream_count = 1,
                                           .untrusted = true,
                                           .isolation = GR_ISOLATION_BOUNCE,
                                           .coherent = true};
        assert_int_equal(gr_device_init(&dev, &config), 0);
        assert_int_equal(gr_domain_init(&small, iso.rig.host, &dev, GR_DOMAIN_TRANSLATED, 0), 0);
        assert_int_equal(gr_domain_set_bounce(&small, &iso.pool), 0);
        assert_int_equal(gr_domain_attach(&small, &dev), 0);
        iso_set(&iso, RIG_BIG, 1, 2 * MIB);
        for (unsigned i = 0; i < 8; i++) {
            const gr_pa_t pa = RIG_BIG + i * 128 * KIB + 4096;
            gr_pa_t at;

            assert_int_equal(gr_dma_map(&dev, RIG_BIG + i * 4096, 4095, BOTH, 0, &other[i]), 0);
            assert_int_equal(gr_domain_iova_to_phys(&small, other[i], &at), 0);
            assert_int_equal(at & 4095, 0);
            iova[i] = must_map(&iso, pa, i % 2 ? iso.g - 4096 : 4096, BOTH);
            at = leads_to(&iso, iova[i]);
            assert_int_equal(host_use_of(iso.rig.host, at), HOST_LIBRARY);
            assert_int_equal(at % iso.g, 4096);
            for (unsigned n = 0; n < i; n++)
                assert_true(down(leads_to(&iso, iova[n]), iso.g) != down(at, iso.g));
            for (uint64_t b = 0; b < iso.g; b += 509) {
                uint8_t byte = 0xff;
                const bool data = b >= 4096 && b < 4096 + (i % 2 ? iso.g - 4096 : 4096);

                assert_true(iso_access(&iso, iova[i] - 4096 + b, &byte, 1, false));
                assert_int_equal(byte, data);
            }
        }
        assert_int_equal(iso_pool(&iso).slots, 16);
        for (unsigned i = 0; i < 8; i++) {
            assert_int_equal(gr_dma_unmap(&dev, other[i], 4095, BOTH, 0), 0);
            must_unmap(&iso, iova[i], i % 2 ? iso.g - 4096 : 4096, BOTH);
        }
        assert_int_equal(gr_domain_detach(&small, &dev), 0);
        assert_int_equal(gr_domain_fini(&small), 0);
        assert_int_equal(gr_device_fini(&dev), 0);
        assert_int_equal(gr_instance_fini(&tiny.inst), 0);
        iso_end(&iso);
    }
}

/*
 * Vector 4: a device with a min_align_mask of 4095, sizes that are not aligned, and IOVAs that are
 * used again and again: an end aligned twice maps a granule too many, which is another's later.
 */
static void test_vector_4_min_align_mask(void **state)
{
    static const unsigned all[] = {RIG_T8020, RIG_T8020_4K, RIG_T8110, ISO_LPAE_64K};

    (void)state;
    for (unsigned k = 0; k < 4; k++) {
        const uint64_t g = UINT64_C(1) << iso_granule_lg2(all[k]);
        const struct iso_setup setup = {.kind = all[k],
                                        .untrusted = true,
                                        .isolation = GR_ISOLATION_BOUNCE,
                                        .min_align_mask = 4095,
                                        .pool = 2 * GR_BOUNCE_CHUNK,
                                        /* room for 8 granules */
                                        .aperture = {64 * g, 72 * g - 1}};
        struct iso iso;

        iso_make(&iso, &setup);
        iso_set(&iso, RIG_BIG, GUARD, 8 * g);
        for (unsigned i = 0; i < 200; i++) {
            const uint64_t len = 1 + (i * 1237) % (2 * g);
            const gr_pa_t pa = RIG_BIG + 1 + (i * 331) % g;
            const uint64_t granules = (pa % g + len + g - 1) / g;
            gr_iova_t one;
            gr_iova_t rest[8];
            unsigned n = 0;

            one = must_map(&iso, pa, len, BOTH);
            assert_int_equal((one ^ pa) & 4095, 0);
            assert_int_equal((leads_to(&iso, one) ^ pa) & 4095, 0);
            while (n < 8 && !gr_dma_map(&iso.dev, RIG_BIG + 3 * g + n, 1, BOTH, 0, &rest[n]))
                n++;
            assert_int_equal(n, 8 - granules); /* all room is used, none twice */
            while (n--)
                must_unmap(&iso, rest[n], 1, BOTH);
            must_unmap(&iso, one, len, BOTH);
            assert_int_equal(iso_stats(&iso).iova.allocations, 0);
        }
        iso_end(&iso);
    }
}

/* Vector 5: where a window ends, a device faults: one byte before, one byte beyond. */
static void check_window(struct iso *iso, uint64_t offset, uint64_t len)
{
    const uint64_t g = iso->g;
    const gr_pa_t pa = RIG_BIG + g + offset;
    const gr_iova_t iova = must_map(iso, pa, len, BOTH);
    const gr_iova_t base = iova - offset;
    const uint64_t unit = iso->config.access_unit ? iso->config.access_unit : 8;
    const uint64_t first = down(offset, max(unit, g / 4096));
    const uint64_t last = min(up(offset + len, max(unit, g / 4096)), up(offset + len, g)) - 1;
    static const int64_t near[] = {-9, -8, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 8, 9};

    for (unsigned i = 0; i < sizeof(near) / sizeof(near[0]); i++) {
        const uint64_t at[] = {first + (uint64_t)near[i], last + (uint64_t)near[i]};

        for (unsigned k = 0; k < 2; k++) {
            uint8_t byte;

            if (at[k] >= up(offset + len, g))
                continue; /* or before the first granule */
            assert_int_equal(iso_reads(iso, base + at[k]), at[k] >= first && at[k] <= last);
            byte = GUARD;
            assert_int_equal(iso_access(iso, base + at[k], &byte, 1, true),
                             at[k] >= first && at[k] <= last);
        }
    }
    /* an access that begins inside and ends outside is refused whole */
    if (last % g != g - 1) {
        uint8_t two[2] = {0, 0};

        assert_false(iso_access(iso, base + last, two, 2, false));
    }
    must_unmap(iso, iova, len, BOTH);
}

static void test_vector_5_subpage_windows(void **state)
{
    static const unsigned darts[] = {RIG_T8020, RIG_T8020_4K, RIG_T6000, RIG_T8110, RIG_T8110_4K};
    static const uint32_t units[] = {0, 1, 4, 16, 256, 4096};

    (void)state;
    for (unsigned k = 0; k < 5; k++) {
        for (unsigned u = 0; u < 6; u++) {
            const struct iso_setup setup = {
                .kind = darts[k], .isolation = GR_ISOLATION_WINDOW, .access_unit = units[u]};
            struct iso iso;

            iso_make(&iso, &setup);
            iso_set(&iso, RIG_BIG, GUARD, 6 * iso.g);
            for (uint64_t offset = 0; offset < iso.g; offset += offset < 20 ? 1 : iso.g / 5 - 3) {
                check_window(&iso, offset, 1);
                check_window(&iso, offset, 8);
                check_window(&iso, offset, iso.g - offset);
                check_window(&iso, offset, iso.g - offset + 1);
                check_window(&iso, offset, 2 * iso.g + 13);
            }
            check_window(&iso, iso.g - 1, 1);
            check_window(&iso, iso.g - 1, 2);
            iso_end(&iso);
        }
    }
}

/* Untrusted, and no copy: edges on the access unit, windows that are known to hold. */
static void test_windows_of_the_untrusted(void **state)
{
    static const unsigned darts[] = {RIG_T8020, RIG_T8020_4K, RIG_T6000, RIG_T8110};

    (void)state;
    for (unsigned k = 0; k < 4; k++) {
        const struct iso_setup setup = {
            .kind = darts[k], .untrusted = true, .verified = true, .pool = GR_BOUNCE_CHUNK};
        struct iso iso;
        gr_iova_t iova;

        iso_make(&iso, &setup);
        iso_set(&iso, RIG_BIG, GUARD, 6 * iso.g);
        for (uint64_t offset = 0; offset < iso.g; offset += 8 * 37) {
            check_window(&iso, offset, 8);
            check_window(&iso, offset, iso.g - offset);
            check_window(&iso, offset, 2 * iso.g + 16);
        }
        assert_int_equal(iso_pool(&iso).copied, 0);
        assert_int_equal(iso_pool(&iso).slots_ever, 0);
        /* one edge off the unit: that end bounces, the other has its window */
        iova = must_map(&iso, RIG_BIG + 8, 2 * iso.g + 3, BOTH);
        assert_int_equal(iso_pool(&iso).slots, 1);
        assert_int_equal(leads_to(&iso, iova), RIG_BIG + 8);
        assert_false(iso_reads(&iso, iova - 1));
        must_unmap(&iso, iova, 2 * iso.g + 3, BOTH);
        iova = must_map(&iso, RIG_BIG + 7, 2 * iso.g + 1, BOTH);
        assert_int_equal(iso_pool(&iso).slots, 1);
        assert_int_equal(leads_to(&iso, iova + 2 * iso.g), RIG_BIG + 7 + 2 * iso.g);
        assert_false(iso_reads(&iso, iova + 2 * iso.g + 1));
        must_unmap(&iso, iova, 2 * iso.g + 1, BOTH);
        iso_end(&iso);
    }
}

/* Every byte that an untrusted device reaches, one by one, in both isolations (known bug 4). */
static void test_known_bug_4_every_byte(void **state)
{
    static const struct {
        unsigned kind;
        enum gr_isolation how;
        bool verified;
    } all[] = {{RIG_T8020_4K, GR_ISOLATION_WINDOW, true},
               {RIG_T8020_4K, GR_ISOLATION_WINDOW, false},
               {RIG_T8110_4K, GR_ISOLATION_BOUNCE, true},
               {ISO_LPAE_4K, GR_ISOLATION_DEFAULT, true},
               {RIG_T8020, GR_ISOLATION_BOUNCE, false}};

    (void)state;
    for (unsigned k = 0; k < 5; k++) {
        const struct iso_setup setup = {.kind = all[k].kind,
                                        .untrusted = true,
                                        .verified = all[k].verified,
                                        .isolation = all[k].how,
                                        .min_align_mask = 4095,
                                        .pool = GR_BOUNCE_CHUNK};
        struct iso iso;
        uint64_t reached = 0;
        gr_iova_t iova[3];

        iso_make(&iso, &setup);
        iso_set(&iso, RIG_BIG, GUARD, 16 * iso.g);
        /* neighbours of each other in memory, and in the pool */
        for (unsigned i = 0; i < 3; i++) {
            iso_set(&iso, RIG_BIG + iso.g + i * 1024 + 8, (uint8_t)(i + 1), 1000);
            iova[i] = must_map(&iso, RIG_BIG + iso.g + i * 1024 + 8, 1000, BOTH);
        }
        for (unsigned i = 0; i < 3; i++) {
            const gr_iova_t base = down(iova[i], iso.g);

            for (uint64_t b = 0; b < iso.g; b++) {
                const bool data = base + b >= iova[i] && base + b < iova[i] + 1000;
                uint8_t byte = 0;
                const bool got = iso_access(&iso, base + b, &byte, 1, false);

                assert_true(got || !data);
                assert_int_equal(byte, data ? i + 1 : 0);
                reached += got;
            }
            assert_false(iso_reads(&iso, base + iso.g) && base + iso.g != down(iova[0], iso.g) &&
                         base + iso.g != down(iova[1], iso.g) &&
                         base + iso.g != down(iova[2], iso.g));
        }
        assert_int_equal(reached, iso_pool(&iso).slots ? 3 * iso.g : 3000);
        for (unsigned i = 0; i < 3; i++)
            must_unmap(&iso, iova[i], 1000, BOTH);
        iso_end(&iso);
    }
}

/* ---- known bugs 1 to 3, and 5 ---- */

static const unsigned some_kinds[] = {RIG_T8020, RIG_T8110_4K, ISO_LPAE_64K};

static void make_bouncer(struct iso *iso, unsigned kind, bool noncoherent)
{
    const struct iso_setup setup = {.kind = kind,
                                    .untrusted = true,
                                    .isolation = GR_ISOLATION_BOUNCE,
                                    .noncoherent = noncoherent,
                                    .pool = GR_BOUNCE_CHUNK};

    iso_make(iso, &setup);
}

/*
 * Known bugs 1 and 38: slots full of secrets, a buffer from a device that writes less than it was
 * given. What it did not write stays the CPU's, and the device cannot read what was there before.
 */
static void test_known_bug_1_short_write(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 6; k++) {
        struct iso iso;
        const gr_pa_t secret = RIG_BIG;
        const gr_pa_t buffer = RIG_BIG + MIB + 40;
        uint8_t page[3000];
        gr_iova_t iova;

        make_bouncer(&iso, some_kinds[k / 2], k % 2);
        iso_set(&iso, secret, GUARD, 64 * KIB);
        iso_set(&iso, RIG_BIG + MIB, 0x11, 4 * iso.g);
        for (unsigned i = 0; i < GR_BOUNCE_CHUNK / iso.g; i++) { /* poison all of the pool */
            iova = must_map(&iso, secret, iso.g - 1, BOTH);
            must_unmap(&iso, iova, iso.g - 1, BOTH);
        }
        iso_set(&iso, buffer, 0x22, 3000);
        iova = must_map(&iso, buffer, 3000, GR_DMA_FROM_DEVICE);
        memset(page, 0x33, sizeof(page));
        assert_true(iso_access(&iso, iova + 100, page, 5, true));
        must_unmap(&iso, iova, 3000, GR_DMA_FROM_DEVICE);
        for (unsigned i = 0; i < 3000; i++)
            assert_int_equal(iso_at(&iso, buffer, 3000)[i], i >= 100 && i < 105 ? 0x33 : 0x22);
        assert_int_equal(iso_at(&iso, buffer - 1, 1)[0], 0x11);
        assert_int_equal(iso_at(&iso, buffer + 3000, 1)[0], 0x11);
        iova = must_map(&iso, buffer, 3000, BOTH);
        for (uint64_t b = 0; b < iso.g; b += 7) {
            uint8_t byte = 0xff;

            assert_true(iso_access(&iso, down(iova, iso.g) + b, &byte, 1, false));
            assert_true(byte == 0 || byte == 0x22 || byte == 0x33);
        }
        must_unmap(&iso, iova, 3000, BOTH);
        iso_end(&iso);
    }
}

/* Known bug 2: map, the device writes a part, for the CPU, for the device, the device reads. */
static void test_known_bug_2_back_and_forth(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 6; k++) {
        const uint64_t len = 5000;
        const gr_pa_t pa = RIG_BIG + 300;
        uint8_t got[5000];
        struct iso iso;
        gr_iova_t iova;

        make_bouncer(&iso, some_kinds[k / 2], k % 2);
        iso_set(&iso, RIG_BIG, 0x10, 2 * iso.g + 8192);
        iova = must_map(&iso, pa, len, BOTH);
        memset(got, 0x20, 100);
        assert_true(iso_access(&iso, iova + 50, got, 100, true));
        assert_int_equal(gr_dma_sync_for_cpu(&iso.dev, iova, len, BOTH), 0);
        for (unsigned i = 0; i < len; i++)
            assert_int_equal(iso_at(&iso, pa, len)[i], i >= 50u && i < 150u ? 0x20 : 0x10);
        memset(iso_at(&iso, pa + 100, 20), 0x30, 20);
        assert_int_equal(gr_dma_sync_for_device(&iso.dev, iova, len, BOTH), 0);
        assert_true(iso_access(&iso, iova, got, len, false));
        for (unsigned i = 0; i < len; i++)
            assert_int_equal(got[i], i >= 100 && i < 120 ? 0x30 : i >= 50 && i < 150 ? 0x20 : 0x10);
        must_unmap(&iso, iova, len, BOTH);
        iso_end(&iso);
    }
}

/* Known bug 3: syncs of any part; none that begins before the buffer or ends beyond it. */
static void test_known_bug_3_partial_syncs(void **state)
{
    const uint64_t seed = chance_seed("test_known_bug_3_partial_syncs");

    (void)state;
    for (unsigned k = 0; k < 6; k++) {
        const gr_pa_t pa = RIG_BIG + 64 * KIB - 700;
        const uint64_t len = 1900;
        struct iso iso;
        gr_iova_t iova;

        make_bouncer(&iso, some_kinds[k / 2], k % 2);
        iso.rig.rng = seed;
        iso_set(&iso, RIG_BIG, GUARD, 192 * KIB);
        iso_set(&iso, pa, 1, len);
        iova = must_map(&iso, pa, len, BOTH);
        for (unsigned i = 0; i < 500; i++) {
            const uint64_t at = rig_random(&iso.rig, len + 40) - 20; /* from -20 on */
            const uint64_t n = 1 + rig_random(&iso.rig, 60);
            const bool inside = at < len && n <= len - at;
            const struct iso_state was = iso_state(&iso);

            assert_int_equal(gr_dma_sync_for_cpu(&iso.dev, iova + at, n, BOTH),
                             inside ? 0 : GR_ENOENT);
            assert_int_equal(gr_dma_sync_for_device(&iso.dev, iova + at, n, BOTH),
                             inside ? 0 : GR_ENOENT);
            assert_int_equal(iso_pool(&iso).copied - was.pool.copied, inside ? 2 * n : 0);
        }
        assert_int_equal(gr_dma_sync_for_cpu(&iso.dev, iova + 8 * iso.g, 1, BOTH), GR_ENOENT);
        for (gr_pa_t at = RIG_BIG; at < RIG_BIG + 192 * KIB; at++)
            assert_int_equal(iso_at(&iso, at, 1)[0], at >= pa && at < pa + len ? 1 : GUARD);
        must_unmap(&iso, iova, len, BOTH);
        iso_end(&iso);
    }
}

/*
 * Known bug 5: buffers made of every combination of a first, a middle and a last part, some of
 * which are empty; each with every allocation failing in turn, and with no slot left: as before.
 */
static void test_known_bug_5_head_middle_tail(void **state)
{
    static const unsigned all[] = {RIG_T8020, RIG_T8110_VA42, RIG_T8110_4K, ISO_LPAE_4K,
                                   ISO_LPAE_64K};

    (void)state;
    for (unsigned k = 0; k < 5 * 27; k++) {
        struct iso iso;
        uint64_t head, tail, middle, len, bounced = 0;
        gr_pa_t pa;
        gr_iova_t iova = 77;
        int ret = GR_ENOMEM;
        struct iso_state was;

        make_bouncer(&iso, all[k / 27], false);
        head = (k % 3) * (iso.g / 2 - 1); /* 0, some, most of a granule */
        middle = (k / 3 % 3) * iso.g;
        tail = (k / 9 % 3) * (iso.g / 2 - 1);
        len = head + middle + tail;
        pa = RIG_BIG + 4 * iso.g - head;
        iso_set(&iso, RIG_BIG, GUARD, 8 * iso.g);
        was = iso_state(&iso);
        for (unsigned n = 1; ret == GR_ENOMEM; n++) {
            bounced = iso_pool(&iso).bounced;
            host_fail_alloc(iso.rig.host, n);
            ret = gr_dma_map(&iso.dev, pa, len, BOTH, 0, &iova);
            host_fail_alloc(iso.rig.host, 0);
            if (ret) {
                assert_int_equal(ret, len ? GR_ENOMEM : GR_ENODATA);
                assert_int_equal(iova, 77);
                iso_same(&iso, &was, "an allocation failed");
            }
            assert_in_range(n, 1, 12);
        }
        if (!len) {
            iso_end(&iso);
            continue;
        }
        assert_int_equal(ret, 0);
        assert_int_equal(iso_pool(&iso).slots, (head != 0) + (tail != 0));
        assert_int_equal(iso_pool(&iso).bounced - bounced, head + tail);
        for (uint64_t at = 0; at < len; at += 97)
            assert_true(iso_reads(&iso, iova + at));
        if (middle)
            assert_int_equal(leads_to(&iso, iova + head), pa + head);
        must_unmap(&iso, iova, len, BOTH);
        iso_same(&iso, &was, "unmapped");
        for (uint64_t at = 0; at < len; at += 97)
            assert_false(iso_reads(&iso, iova + at));
        if (head || tail) { /* none left for the first part, then none for the second */
            gr_iova_t full[64];
            unsigned n = 0;

            while (!gr_dma_map(&iso.dev, RIG_BIG, 1, BOTH, 0, &full[n]))
                n++;
            for (unsigned free = head && tail ? 2 : 1; free--;) {
                was = iso_state(&iso);
                assert_int_equal(gr_dma_map(&iso.dev, pa, len, BOTH, 0, &iova), GR_ENOBUFS);
                iso_same(&iso, &was, "no slot");
                must_unmap(&iso, full[--n], 1, BOTH);
            }
            iova = must_map(&iso, pa, len, BOTH);
            must_unmap(&iso, iova, len, BOTH);
            while (n--)
                must_unmap(&iso, full[n], 1, BOTH);
        }
        iso_end(&iso);
    }
}

/* ---- what is refused ---- */

static void refuse(struct iso *iso, gr_pa_t pa, uint64_t len, unsigned attrs, int want)
{
    const struct iso_state was = iso_state(iso);
    const struct gr_seg seg = {pa, len};
    struct gr_dma_seg out;
    struct gr_dma_list list = {.segs = &seg, .count = 1, .out = &out};
    gr_iova_t iova = 77;

    assert_int_equal(gr_dma_map(&iso->dev, pa, len, BOTH, attrs, &iova), want);
    assert_int_equal(iova, 77);
    iso_same(iso, &was, "refused");
    assert_int_equal(gr_dma_map_sg(&iso->dev, &list, BOTH, attrs), want);
    assert_int_equal(list.out_count, 0);
    iso_same(iso, &was, "refused as a list");
}

static void test_refused(void **state)
{
    static const struct {
        struct iso_setup setup;
        bool windows; /* on the access unit */
    } all[] = {
        {{.kind = RIG_T8020, .untrusted = true}, false},
        {{.kind = RIG_T8020, .untrusted = true, .verified = true}, true},
        {{.kind = RIG_T8020, .isolation = GR_ISOLATION_BOUNCE}, false},
        {{.kind = RIG_T6000, .isolation = GR_ISOLATION_BOUNCE, .pool = GR_BOUNCE_CHUNK}, false},
        {{.kind = ISO_LPAE_16K, .isolation = GR_ISOLATION_WINDOW}, false},
        {{.kind = RIG_T8020, .untrusted = true, .verified = true, .overread = 8}, false},
    };

    (void)state;
    for (unsigned k = 0; k < 6; k++) {
        const unsigned attrs = all[k].setup.pool ? GR_DMA_MMIO : 0; /* registers never bounce */
        struct iso iso;
        uint64_t g;
        gr_iova_t iova;

        iso_make(&iso, &all[k].setup);
        g = iso.g;
        refuse(&iso, RIG_BIG + 1, g - 1, attrs, GR_EOPNOTSUPP);
        refuse(&iso, RIG_BIG, g - 1, attrs, GR_EOPNOTSUPP);
        refuse(&iso, RIG_BIG + g / 2 + 1, g, attrs, GR_EOPNOTSUPP);
        refuse(&iso, RIG_BIG + 9, 2, attrs, GR_EOPNOTSUPP);
        if (!all[k].windows)
            refuse(&iso, RIG_BIG + 8, 8, attrs, GR_EOPNOTSUPP);
        if (all[k].setup.overread) { /* what is read beyond has to be somewhere */
            refuse(&iso, RIG_BIG, g, 0, GR_EOPNOTSUPP);
            iso_end(&iso);
            continue;
        }
        assert_int_equal(gr_dma_map(&iso.dev, RIG_BIG, 2 * g, BOTH, attrs, &iova), 0);
        assert_int_equal(gr_dma_sync_for_cpu(&iso.dev, iova, 2 * g, BOTH), 0);
        assert_int_equal(gr_dma_unmap(&iso.dev, iova, 2 * g, BOTH, attrs), 0);
        if (all[k].windows) {
            assert_int_equal(gr_dma_map(&iso.dev, RIG_BIG + 8, g, BOTH, GR_DMA_MMIO, &iova), 0);
            assert_false(iso_reads(&iso, iova - 1));
            assert_int_equal(gr_dma_unmap(&iso.dev, iova, g, BOTH, GR_DMA_MMIO), 0);
        }
        iso_end(&iso);
    }
}

/* Calls that name no mapping, or not all of one. */
static void test_unmap_errors(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        const struct iso_setup setup = {.kind = k ? ISO_LPAE_4K : RIG_T8110,
                                        .untrusted = true,
                                        .overread = 16,
                                        .isolation = GR_ISOLATION_BOUNCE,
                                        .pool = GR_BOUNCE_CHUNK};
        struct gr_dma_seg out = {UINT64_MAX - 15, 16};
        const struct gr_seg seg = {RIG_BIG, 16};
        const struct gr_dma_list list = {.segs = &seg, .count = 1, .out_count = 1, .out = &out};
        struct iso iso;
        gr_iova_t iova;
        struct iso_state was;
        uint64_t len;

        iso_make(&iso, &setup);
        len = 2 * iso.g + 100;
        iova = must_map(&iso, RIG_BIG + 50, len, BOTH);
        was = iso_state(&iso);
        assert_int_equal(gr_dma_unmap(&iso.dev, iova + iso.g, len, BOTH, 0), GR_EMSGSIZE);
        assert_int_equal(gr_dma_unmap(&iso.dev, iova - iso.g, len, BOTH, 0), GR_ENOENT);
        assert_int_equal(gr_dma_unmap(&iso.dev, iova, iso.g, BOTH, 0), GR_EMSGSIZE);
        assert_int_equal(gr_dma_unmap(&iso.dev, iova, len + iso.g, BOTH, 0), GR_EMSGSIZE);
        assert_int_equal(gr_dma_unmap(&iso.dev, iova, 0, BOTH, 0), GR_ENODATA);
        assert_int_equal(gr_dma_unmap(&iso.dev, iova, len, (enum gr_dma_dir)0, 0), GR_EACCES);
        assert_int_equal(gr_dma_unmap(&iso.dev, iova, UINT64_MAX, BOTH, 0), GR_EOVERFLOW);
        assert_int_equal(gr_dma_unmap(&iso.dev, 0, UINT64_MAX - 3, BOTH, 0), GR_ENOENT);
        assert_int_equal(gr_dma_unmap(&iso.dev, UINT64_MAX - 9, 5, BOTH, 0), GR_ENOENT);
        assert_int_equal(gr_dma_unmap_sg(&iso.dev, &list, BOTH, 0), GR_ENOENT);
        assert_int_equal(gr_dma_sync_sg_for_cpu(&iso.dev, &list, BOTH), GR_ENOENT);
        out = (struct gr_dma_seg){iova + 8 * iso.g, 16};
        assert_int_equal(gr_dma_unmap_sg(&iso.dev, &list, BOTH, 0), GR_ENOENT);
        assert_int_equal(gr_dma_sync_for_cpu(&iso.dev, iova, 0, BOTH), GR_ENODATA);
        assert_int_equal(gr_dma_sync_for_cpu(&iso.dev, iova, 1, (enum gr_dma_dir)4), GR_EACCES);
        assert_int_equal(gr_dma_sync_for_cpu(&iso.dev, 5, UINT64_MAX - 3, BOTH), GR_EOVERFLOW);
        iso_same(&iso, &was, "refused");
        assert_true(iso_reads(&iso, iova + len - 1));
        must_unmap(&iso, iova, len, BOTH);
        iso_end(&iso);
    }
}

/* ---- lists ---- */

/* What touches is one run, and bounces at its two ends only, however it is cut. */
static void test_runs(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 3; k++) {
        struct iso iso;
        struct gr_seg segs[4];
        struct gr_dma_seg out[4];
        struct gr_dma_list list = {.segs = segs, .count = 4, .out = out};
        uint64_t g;

        iso_make(&iso, &(struct iso_setup){.kind = some_kinds[k],
                                           .untrusted = true,
                                           .isolation = GR_ISOLATION_BOUNCE,
                                           .pool = 4 * GR_BOUNCE_CHUNK});
        g = iso.g;
        segs[0] = (struct gr_seg){RIG_BIG + 100, g};
        segs[1] = (struct gr_seg){RIG_BIG + 100 + g, g};
        segs[2] = (struct gr_seg){RIG_BIG + 100 + 2 * g, g + 7};
        segs[3] = (struct gr_seg){RIG_BIG + 8 * g, 2 * g}; /* whole granules: none */
        assert_int_equal(gr_dma_map_sg(&iso.dev, &list, BOTH, 0), 0);
        assert_int_equal(list.out_count, 2);
        assert_int_equal(iso_pool(&iso).slots, 2);
        assert_int_equal(leads_to(&iso, out[0].iova + g), RIG_BIG + 100 + g);
        assert_int_equal(leads_to(&iso, out[1].iova), RIG_BIG + 8 * g);
        assert_int_equal(gr_dma_unmap_sg(&iso.dev, &list, BOTH, 0), 0);
        /* a length cuts outputs, not the run */
        assert_int_equal(gr_dma_set_seg_limits(&iso.dev, 2 * g, 0), 0);
        assert_int_equal(gr_dma_map_sg(&iso.dev, &list, BOTH, 0), 0);
        assert_int_equal(list.out_count, 3);
        assert_int_equal(iso_pool(&iso).slots, 2);
        assert_int_equal(gr_dma_sync_sg_for_cpu(&iso.dev, &list, BOTH), 0);
        assert_int_equal(gr_dma_unmap_sg(&iso.dev, &list, BOTH, 0), 0);
        /* a boundary does: each part has two ends of its own */
        assert_int_equal(gr_dma_set_seg_limits(&iso.dev, 0, 2 * g), 0);
        segs[2].len = g;
        assert_int_equal(gr_dma_map_sg(&iso.dev, &list, BOTH, 0), 0);
        assert_true(list.out_count >= 3);
        assert_true(iso_pool(&iso).slots >= 4);
        assert_int_equal(gr_dma_sync_sg_for_device(&iso.dev, &list, BOTH), 0);
        assert_int_equal(gr_dma_unmap_sg(&iso.dev, &list, BOTH, 0), 0);
        assert_int_equal(iso_pool(&iso).slots, 0);
        iso_end(&iso);
    }
}

/*
 * Short outputs, each of which may read into the next granule: they meet the same two slots again
 * and again.
 */
static void test_outputs_meet_slots_again(void **state)
{
    const struct iso_setup setup = {.kind = RIG_T8020_4K,
                                    .untrusted = true,
                                    .overread = 4096,
                                    .isolation = GR_ISOLATION_BOUNCE,
                                    .pool = GR_BOUNCE_CHUNK};
    struct gr_seg segs[6];
    struct gr_dma_seg out[6];
    struct gr_dma_list list = {.segs = segs, .count = 6, .out = out};
    struct iso iso;

    (void)state;
    iso_make(&iso, &setup);
    assert_int_equal(gr_dma_set_seg_limits(&iso.dev, 1000, 0), 0);
    for (unsigned i = 0; i < 6; i++)
        segs[i] = (struct gr_seg){RIG_BIG + 100 + i * 900, 900};
    assert_int_equal(gr_dma_map_sg(&iso.dev, &list, BOTH, 0), 0);
    assert_int_equal(list.out_count, 6);
    assert_int_equal(iso_pool(&iso).slots, 2);
    assert_int_equal(gr_dma_unmap_sg(&iso.dev, &list, BOTH, 0), 0);
    assert_int_equal(iso_pool(&iso).slots, 0);
    iso_end(&iso);
}

/* A boundary in the middle of a cache line: the copy to one end, the device's bytes in the other.
 */
static void test_line_of_two_outputs(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 4; k++) {
        const struct iso_setup setup = {.kind = RIG_T8020_4K,
                                        .noncoherent = true,
                                        .overread = 64,
                                        .isolation = GR_ISOLATION_EXPOSE,
                                        .flags = k & 1 ? GR_DOMAIN_DEFERRED : 0,
                                        .pool = GR_BOUNCE_CHUNK};
        /* the first ends where what is read beyond it needs a slot, in the line of the second */
        const struct gr_seg segs[] = {{RIG_BIG + 8192 - 20 - 5000, 5000},
                                      {RIG_BIG + 8192 - 20, 4080}};
        struct gr_dma_seg out[2];
        struct gr_dma_list list = {.segs = segs, .count = 2, .out = out};
        uint8_t bytes[16];
        struct iso iso;

        iso_make(&iso, &setup);
        iso_set(&iso, RIG_BIG, 0x10, 4 * 4096);
        assert_int_equal(gr_dma_set_seg_limits(&iso.dev, 0, 8192), 0);
        assert_int_equal(gr_dma_map_sg(&iso.dev, &list, GR_DMA_FROM_DEVICE, 0), 0);
        assert_int_equal(list.out_count, 2);
        assert_int_equal(iso_pool(&iso).slots, 2);
        memset(bytes, 0x20, 16);
        assert_true(iso_access(&iso, out[0].iova + 4984, bytes, 16, true));
        memset(bytes, 0x30, 16);
        assert_true(iso_access(&iso, out[1].iova, bytes, 16, true));
        if (k & 2) {
            assert_int_equal(gr_dma_sync_sg_for_cpu(&iso.dev, &list, GR_DMA_FROM_DEVICE), 0);
            for (unsigned i = 0; i < 32; i++)
                assert_int_equal(iso_at(&iso, segs[1].pa - 16 + i, 1)[0], i < 16 ? 0x20 : 0x30);
        }
        assert_int_equal(gr_dma_unmap_sg(&iso.dev, &list, GR_DMA_FROM_DEVICE, 0), 0);
        for (unsigned i = 0; i < 32; i++)
            assert_int_equal(iso_at(&iso, segs[1].pa - 16 + i, 1)[0], i < 16 ? 0x20 : 0x30);
        iso_end(&iso);
    }
}

/* ---- overread ---- */

/* Beyond any buffer the device reads what is no one's, or an exposed granule's; it never faults. */
static void test_overread(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 12; k++) {
        const struct iso_setup setup = {
            .kind = (unsigned[]){RIG_T8020_4K, RIG_T6000, ISO_LPAE_4K}[k % 3],
            .untrusted = k / 3 == 0,
            .isolation = k / 3 ? (enum gr_isolation)(k / 3) : GR_ISOLATION_DEFAULT,
            .overread = k % 2 ? 64 : 4096,
            .verified = true,
            .pool = 2 * GR_BOUNCE_CHUNK};
        struct iso iso;
        uint64_t g;

        iso_make(&iso, &setup);
        g = iso.g;
        iso_set(&iso, RIG_BIG, GUARD, 8 * g);
        for (unsigned i = 0; i < 8; i++) {
            const uint64_t len = (uint64_t[]){1, 8, g - 64, g - 63, g - 1, g, 2 * g - 64, 2 * g}[i];
            const gr_pa_t pa = RIG_BIG + g + (i % 2 ? 0 : 64);
            const gr_iova_t iova = must_map(&iso, pa, len, GR_DMA_TO_DEVICE);
            uint8_t beyond[4096];

            assert_true(iso_access(&iso, iova + len, beyond, setup.overread, false));
            for (unsigned b = 0; setup.untrusted && b < setup.overread; b++)
                assert_int_equal(beyond[b], 0);
            must_unmap(&iso, iova, len, GR_DMA_TO_DEVICE);
        }
        for (uint64_t size = g - 1; size <= 2 * g; size += g + 1) { /* and beyond coherent ones */
            uint8_t beyond[4096];
            gr_iova_t iova;
            void *cpu;

            assert_int_equal(gr_dma_alloc(&iso.dev, size, 0, &cpu, &iova), 0);
            assert_true(iso_access(&iso, iova + size, beyond, setup.overread, false));
            for (unsigned b = 0; b < setup.overread; b++)
                assert_int_equal(beyond[b], 0);
            assert_int_equal(gr_dma_free(&iso.dev, size, 0, cpu, iova), 0);
        }
        assert_int_equal(gr_dma_alloc(&iso.dev, g, 0, &(void *){NULL}, &(gr_iova_t){0}) != 0, 0);
        {
            const struct gr_domain_stats stats = iso_stats(&iso);

            assert_int_equal(stats.iova.allocated, (1 + 1) * g);
        }
        assert_int_equal(gr_domain_detach(&iso.domain, &iso.dev), 0);
        assert_int_equal(gr_domain_attach(&iso.domain, &iso.dev), 0);
        {
            const gr_iova_t at = iso.domain.aperture.last + 1 - 2 * g;
            gr_pa_t pa = leads_to(&iso, at);

            assert_int_equal(gr_dma_free(&iso.dev, g, 0, host_ptr(iso.rig.host, pa, g), at), 0);
        }
        /* the longest buffer leaves room for it */
        assert_true(gr_dma_max_mapping_size(&iso.dev) + g - 1 + setup.overread <=
                    iso.domain.aperture.last - iso.domain.aperture.first + 1);
        iso_end(&iso);
    }
}

/* ---- failed invalidations ---- */

/* A slot that a device may still write to is nobody's for ever; with a second answer it is free. */
static void test_lost_slots(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 4; how++) {
        struct iso iso;
        gr_iova_t iova = 77;
        const uint64_t len = 3 * 64 * KIB;

        make_bouncer(&iso, ISO_LPAE_64K, false);
        iso.domain.invalidate_on_map = how >= 2;
        if (how < 2) {
            iova = must_map(&iso, RIG_BIG + 1, len, BOTH);
            memset(iso_at(&iso, RIG_BIG, len + 2), 0x66, len + 2);
            assert_true(iso_access(&iso, iova, (uint8_t[]){0x77}, 1, true));
            iso.walker.fail = 1;
            iso.walker.dead = how == 1;
            assert_int_equal(gr_dma_unmap(&iso.dev, iova, len, BOTH, 0), GR_ETIMEDOUT);
            assert_int_equal(iso_at(&iso, RIG_BIG + 1, 1)[0], 0x66); /* not copied: not safe */
        } else { /* a map whose invalidation fails: for a moment, and for good */
            iso.walker.fail = 1;
            iso.walker.dead = how == 3;
            assert_int_equal(gr_dma_map(&iso.dev, RIG_BIG + 1, len, BOTH, 0, &iova), GR_ETIMEDOUT);
            assert_int_equal(iova, 77);
        }
        assert_int_equal(iso_pool(&iso).slots, 0);
        assert_int_equal(iso_pool(&iso).lost, how == 2 ? 0 : 2 * iso.g);
        assert_int_equal(iso_stats(&iso).broken, how != 2);
        iso.walker.dead = false;
        iso_end_leaking(&iso, how == 2 ? 0 : (int)(GR_BOUNCE_CHUNK / 4096));
    }
}

/* A stream that left without an answer may still know the tables: slots are lost there, too. */
static void test_lost_to_the_departed(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 3; how++) {
        struct gr_stream stream[RIG_DARTS];
        struct gr_device next;
        struct gr_device_config config;
        struct iso iso;
        gr_iova_t iova = 0;
        int tables;

        make_bouncer(&iso, ISO_LPAE_16K, false);
        iso.walker.dead = true;
        assert_int_equal(gr_domain_detach(&iso.domain, &iso.dev), GR_ETIMEDOUT);
        assert_int_equal(gr_device_fini(&iso.dev), 0);
        iso.walker.dead = false;
        iso.dev.group = NULL;
        config = iso_device(&iso, stream, 1);
        config.isolation = GR_ISOLATION_BOUNCE;
        assert_int_equal(gr_device_init(&next, &config), 0);
        assert_int_equal(gr_domain_attach(&iso.domain, &next), 0);
        if (how == 0) {
            assert_int_equal(gr_dma_map(&next, RIG_BIG + 1, 5, BOTH, 0, &iova), 0);
            assert_int_equal(gr_dma_unmap(&next, iova, 5, BOTH, 0), GR_ETIMEDOUT);
        } else if (how == 1) {
            /* the second slot is not to be had: the first was mapped */
            gr_iova_t full[16];
            unsigned n = 0;

            while (!gr_dma_map(&next, RIG_BIG + 1, 5, BOTH, 0, &full[n]))
                n++;
            assert_int_equal(n, 16);
            assert_int_equal(gr_dma_unmap(&next, full[3], 5, BOTH, 0), GR_ETIMEDOUT);
            assert_int_equal(iso_pool(&iso).lost, iso.g);
            assert_int_equal(iso_pool(&iso).slots, 15);
            for (unsigned i = 0; i < n; i++) {
                if (i != 3)
                    assert_int_equal(gr_dma_unmap(&next, full[i], 5, BOTH, 0), GR_ETIMEDOUT);
            }
            assert_int_equal(iso_pool(&iso).lost, 16 * iso.g);
        } else {
            gr_iova_t one;
            void *cpu;

            iso.domain.invalidate_on_map = true;
            iso.walker.fail = 1;
            assert_int_equal(gr_dma_map(&next, RIG_BIG + 1, 5, BOTH, 0, &one), GR_ETIMEDOUT);
            assert_int_equal(iso_pool(&iso).lost, iso.g);
            iso.walker.fail = 1;
            assert_int_equal(gr_dma_alloc(&next, 1, 0, &cpu, &one), GR_ETIMEDOUT);
        }
        assert_false(iso_stats(&iso).broken);
        assert_true(iso_pool(&iso).lost >= iso.g);
        assert_int_equal(iso_pool(&iso).slots, 0);
        assert_int_equal(gr_domain_detach(&iso.domain, &next), GR_ETIMEDOUT);
        assert_int_equal(gr_device_fini(&next), 0);
        tables = (int)(iso_stats(&iso).tables * (iso.g / 4096));
        iso_end_leaking(&iso, tables + (int)(GR_BOUNCE_CHUNK / 4096) +
                                  (how == 2 ? (int)(iso.g / 4096) : 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(test_property),
        rig_test(test_property_deferred),
        rig_test(test_vector_3_bounce_alignment),
        rig_test(test_vector_4_min_align_mask),
        rig_test(test_vector_5_subpage_windows),
        rig_test(test_windows_of_the_untrusted),
        rig_test(test_known_bug_4_every_byte),
        rig_test(test_known_bug_1_short_write),
        rig_test(test_known_bug_2_back_and_forth),
        rig_test(test_known_bug_3_partial_syncs),
        rig_test(test_known_bug_5_head_middle_tail),
        rig_test(test_refused),
        rig_test(test_unmap_errors),
        rig_test(test_runs),
        rig_test(test_outputs_meet_slots_again),
        rig_test(test_line_of_two_outputs),
        rig_test(test_overread),
        rig_test(test_lost_slots),
        rig_test(test_lost_to_the_departed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
