/* SPDX-License-Identifier: MIT */
/*
 * The DMA API on DART models that forget nothing unless told: random operations against a flat
 * shadow, every documented error, masks, edges, caches, reserved ranges, failures.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

static gr_iova_t must_map(struct bench *b, gr_pa_t pa, uint64_t len, enum gr_dma_dir dir)
{
    gr_iova_t iova = 0;
    const int ret = gr_dma_map(&b->dev, pa, len, dir, 0, &iova);

    if (ret)
        fail_msg("map of %" PRIu64 " bytes at PA 0x%" PRIx64 ": %s", len, pa, gr_strerror(ret));
    return iova;
}

static void must_unmap(struct bench *b, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir)
{
    assert_int_equal(gr_dma_unmap(&b->dev, iova, len, dir, 0), 0);
}

static struct gr_domain_stats stats_of(struct bench *b)
{
    struct gr_domain_stats stats;

    gr_domain_stats(&b->domain, &stats);
    return stats;
}

static bool reads(struct bench *b, gr_iova_t iova)
{
    return rig_can_read(&b->rig, 0, RIG_SID, iova);
}

/* ---- random operations against a flat shadow ---- */

#define ARENAS 3u
#define ARENA_SIZE (MIB / 2)
#define LEAVES (1u << 15)
#define LIVE 96u
#define ACCESS_MAX (192 * KIB)

/* Which granule of memory an IOVA granule leads to, and whether it ever led anywhere. */
struct leaf {
    uint64_t iova;
    uint64_t pa;
    unsigned dir; /* 0: unmapped again */
    bool used;
};

struct mapping {
    gr_iova_t iova;
    uint64_t len;
    enum gr_dma_dir dir;
    unsigned attrs;
};

struct shadow {
    struct bench bench;
    unsigned kind;
    gr_pa_t arena[ARENAS];
    uint8_t *copy[ARENAS]; /* what the arenas must hold */
    struct leaf *leaf;
    unsigned leaves;
    struct mapping live[LIVE];
    unsigned count;
    uint64_t ok, refused; /* accesses */
    uint8_t buf[ACCESS_MAX];
};

static struct leaf *leaf_at(struct shadow *s, uint64_t iova)
{
    const uint64_t key = iova / s->bench.g;

    for (uint64_t i = key * UINT64_C(0x9e3779b97f4a7c15) >> 40;; i++) {
        struct leaf *const leaf = &s->leaf[i % LEAVES];

        if (!leaf->used || leaf->iova == iova)
            return leaf;
    }
}

static uint8_t *copy_of(struct shadow *s, gr_pa_t pa)
{
    for (unsigned i = 0; i < ARENAS; i++) {
        if (pa - s->arena[i] < ARENA_SIZE)
            return s->copy[i] + (pa - s->arena[i]);
    }
    fail_msg("PA 0x%" PRIx64 " is in no arena", pa);
    return NULL;
}

static void check_memory(struct shadow *s)
{
    for (unsigned i = 0; i < ARENAS; i++)
        assert_memory_equal(host_ptr(s->bench.rig.host, s->arena[i], ARENA_SIZE), s->copy[i],
                            ARENA_SIZE);
}

static void fill_random(struct shadow *s, uint8_t *bytes, uint64_t len)
{
    uint64_t word = rig_random(&s->bench.rig, UINT64_MAX);

    for (uint64_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)(word >> i % 8 * 8);
        word += i % 8 ? 0 : UINT64_C(0x9e3779b97f4a7c15);
    }
}

static uint64_t random_len(struct shadow *s, uint64_t most)
{
    struct rig *const rig = &s->bench.rig;
    const uint64_t g = s->bench.g;
    const uint64_t bound[] = {16, 300, g, g + 2, 3 * g, 12 * g};
    const uint64_t len = 1 + rig_random(rig, bound[rig_random(rig, 6)]);

    return len < most ? len : most;
}

/* The live mappings' granules, one by one, in the shadow. */
static void note(struct shadow *s, const struct mapping *m, gr_pa_t pa, bool mapped)
{
    const uint64_t g = s->bench.g;
    const uint64_t first = m->iova & ~(g - 1);
    const uint64_t last = (m->iova + m->len - 1) & ~(g - 1);

    pa &= ~(g - 1);
    for (uint64_t at = 0; at <= last - first; at += g) {
        struct leaf *const leaf = leaf_at(s, first + at);

        assert_true(mapped == !leaf->dir);
        s->leaves += !leaf->used;
        assert_in_range(s->leaves, 0, LEAVES / 2);
        *leaf = (struct leaf){first + at, pa + at,
                              mapped ? rig_opens(s->kind, (unsigned)m->dir) : 0, true};
    }
}

static void do_map(struct shadow *s)
{
    struct rig *const rig = &s->bench.rig;
    const struct gr_range aperture = s->bench.domain.aperture;
    const uint64_t base = aperture.first + s->bench.g * 64;
    const gr_pa_t arena = s->arena[rig_random(rig, ARENAS)];
    const uint64_t offset = rig_random(rig, ARENA_SIZE - 1);
    struct mapping m = {
        .len = random_len(s, ARENA_SIZE - offset),
        .dir = (enum gr_dma_dir)(1 + rig_random(rig, 3)),
        .attrs = rig_random(rig, 4) ? 0 : GR_DMA_UNCACHED,
    };
    /* Any mask, so that mappings come to lie all over the aperture. */
    uint64_t mask = aperture.last;
    int ret;

    if (rig_random(rig, 4))
        mask = base + rig_random(rig, mask - base);
    assert_int_equal(gr_dma_set_mask(&s->bench.dev, mask), 0);
    ret = gr_dma_map(&s->bench.dev, arena + offset, m.len, m.dir, m.attrs, &m.iova);
    if (ret == GR_ENOSPC && mask < aperture.last) { /* low masks have little below them */
        mask = aperture.last;
        assert_int_equal(gr_dma_set_mask(&s->bench.dev, mask), 0);
        ret = gr_dma_map(&s->bench.dev, arena + offset, m.len, m.dir, m.attrs, &m.iova);
    }
    assert_int_equal(ret, 0);
    assert_int_equal((m.iova ^ (arena + offset)) % s->bench.g, 0);
    assert_true(m.iova >= aperture.first);
    assert_true(((m.iova + m.len - 1) | (s->bench.g - 1)) <= mask);
    note(s, &m, arena + offset, true);
    s->live[s->count++] = m;
}

static void do_unmap(struct shadow *s)
{
    const unsigned i = (unsigned)rig_random(&s->bench.rig, s->count);
    const struct mapping m = s->live[i];

    s->live[i] = s->live[--s->count];
    host_fail_alloc(s->bench.rig.host, 1); /* it needs none */
    assert_int_equal(gr_dma_unmap(&s->bench.dev, m.iova, m.len, m.dir, m.attrs), 0);
    host_fail_alloc(s->bench.rig.host, 0);
    note(s, &m, 0, false);
}

/* Somewhere at, before or behind a granule that is mapped or was; now and then anywhere. */
static uint64_t random_iova(struct shadow *s)
{
    struct rig *const rig = &s->bench.rig;
    const uint64_t g = s->bench.g;
    const uint64_t kind = rig_random(rig, 8);

    if (kind && s->count && kind < 6) {
        const struct mapping *const m = &s->live[rig_random(rig, s->count)];

        return m->iova + rig_random(rig, m->len);
    }
    for (unsigned tries = 0; kind && tries < 64; tries++) {
        const struct leaf *const leaf = &s->leaf[rig_random(rig, LEAVES)];

        if (leaf->used)
            return leaf->iova + rig_random(rig, g);
    }
    return s->bench.domain.aperture.first +
           rig_random(rig, s->bench.domain.aperture.last - s->bench.domain.aperture.first);
}

static void check_fault(struct shadow *s, uint64_t iova, bool write, const struct leaf *leaf)
{
    const struct gr_fault *const f = &s->bench.rig.last_fault;

    assert_int_equal(f->stream, RIG_SID);
    assert_int_equal(f->iova, iova);
    if (f->access_known)
        assert_int_equal(f->write, write);
    if (!leaf->dir)
        assert_true(f->reasons == GR_FAULT_NO_LEAF || f->reasons == GR_FAULT_NO_TABLE);
    else
        assert_int_equal(f->reasons, write ? GR_FAULT_WRITE_PROT : GR_FAULT_READ_PROT);
}

/* One access: how far it gets, what it moves, and how it ends, as the shadow says. */
static void check_access(struct shadow *s, unsigned dart, uint64_t iova, uint64_t len, bool write)
{
    struct rig *const rig = &s->bench.rig;
    const uint64_t g = s->bench.g;
    const unsigned need = write ? GR_DMA_FROM_DEVICE : GR_DMA_TO_DEVICE;
    const uint64_t faults = rig->faults;
    const struct leaf *stop = NULL;
    uint64_t good = 0;
    uint64_t done = 0;

    if (write)
        fill_random(s, s->buf, len);
    while (good < len && !stop) {
        const uint64_t at = iova + good;
        const struct leaf *const leaf = leaf_at(s, at & ~(g - 1));

        if (leaf->dir & need)
            good += g - at % g;
        else
            stop = leaf;
    }
    good = good < len ? good : len;
    assert_int_equal(rig_access(rig, dart, RIG_SID, iova, s->buf, len, write, true, &done),
                     stop ? MODEL_FAULT : MODEL_OK);
    assert_int_equal(done, good);
    assert_int_equal(rig->faults, faults + (stop ? 1 : 0));
    if (stop)
        check_fault(s, iova + good, write, stop);
    for (uint64_t at = 0; at < good;) {
        const uint64_t room = g - (iova + at) % g;
        const uint64_t n = room < good - at ? room : good - at;
        const struct leaf *const leaf = leaf_at(s, (iova + at) & ~(g - 1));
        uint8_t *const memory = copy_of(s, leaf->pa + (iova + at) % g);

        if (write)
            memcpy(memory, s->buf + at, (size_t)n);
        else
            assert_memory_equal(s->buf + at, memory, (size_t)n);
        at += n;
    }
    if (stop)
        s->refused++;
    else
        s->ok++;
}

static void do_access(struct shadow *s)
{
    struct rig *const rig = &s->bench.rig;
    const uint64_t last = s->bench.domain.aperture.last;
    const uint64_t iova = random_iova(s);
    const uint64_t room = last - iova + 1 < ACCESS_MAX ? last - iova + 1 : ACCESS_MAX;

    check_access(s, (unsigned)rig_random(rig, rig->darts), iova, random_len(s, room),
                 rig_random(rig, 2));
}

static void do_cpu_write(struct shadow *s)
{
    struct rig *const rig = &s->bench.rig;
    const unsigned i = (unsigned)rig_random(rig, ARENAS);
    const uint64_t offset = rig_random(rig, ARENA_SIZE);
    const uint64_t len = random_len(s, ARENA_SIZE - offset);

    fill_random(s, s->copy[i] + offset, len);
    memcpy(host_ptr(rig->host, s->arena[i] + offset, len), s->copy[i] + offset, (size_t)len);
}

static void do_trouble(struct shadow *s)
{
    struct rig *const rig = &s->bench.rig;
    const unsigned dart = (unsigned)rig_random(rig, rig->darts);

    if (rig_random(rig, 2))
        rig_set_busy(rig, dart, rig_random(rig, 3000), false);
    else
        rig_prefetch(rig, dart, RIG_SID, random_iova(s));
}

/* A table exists exactly where a mapping lies in its span. */
static void check_tables(struct shadow *s)
{
    const struct gr_domain_stats stats = stats_of(&s->bench);
    struct gr_range mapped[LIVE];

    for (unsigned i = 0; i < s->count; i++)
        mapped[i] = (struct gr_range){s->live[i].iova, s->live[i].iova + s->live[i].len - 1};
    assert_int_equal(stats.tables, rig_tables(&s->bench.domain, mapped, s->count));
    assert_int_equal(stats.iova.allocations, s->count);
    assert_int_equal(stats.iova.held, 0);
}

static void operate(struct shadow *s)
{
    const uint64_t what = rig_random(&s->bench.rig, 100);

    if (what < 26 && s->count < LIVE) {
        do_map(s);
    } else if (what < 46 && s->count) {
        do_unmap(s);
        check_tables(s);
    } else if (what < 90) {
        do_access(s);
    } else if (what < 95) {
        do_cpu_write(s);
    } else {
        do_trouble(s);
    }
}

static void shadow_make(struct shadow *s)
{
    s->leaf = calloc(LEAVES, sizeof(*s->leaf));
    assert_non_null(s->leaf);
    for (unsigned i = 0; i < ARENAS; i++) {
        s->arena[i] = rig_ram(&s->bench.rig, ARENA_SIZE, 64 * KIB);
        s->copy[i] = malloc(ARENA_SIZE);
        assert_non_null(s->copy[i]);
        fill_random(s, s->copy[i], ARENA_SIZE);
        memcpy(host_ptr(s->bench.rig.host, s->arena[i], ARENA_SIZE), s->copy[i], ARENA_SIZE);
    }
}

static void shadow_end(struct shadow *s)
{
    for (unsigned i = 0; i < ARENAS; i++) {
        host_ram_free(s->bench.rig.host, s->arena[i]);
        free(s->copy[i]);
    }
    free(s->leaf);
}

static void random_run(unsigned kind, struct gr_range aperture, unsigned darts, unsigned cpu_page,
                       uint64_t seed)
{
    const unsigned operations = 2000;
    struct shadow *const s = calloc(1, sizeof(*s));

    assert_non_null(s);
    s->kind = kind;
    bench_make(&s->bench, kind, .aperture = aperture, .darts = darts, .cpu_page = cpu_page,
               .seed = seed);
    shadow_make(s);
    for (unsigned i = 0; i < operations; i++)
        operate(s);
    check_memory(s);
    while (s->count)
        do_unmap(s);
    check_tables(s);
    assert_true(s->ok > operations / 20 && s->refused > operations / 20);
    for (unsigned i = 0; i < LEAVES; i++) {
        if (s->leaf[i].used)
            check_access(s, i % darts, s->leaf[i].iova + i % s->bench.g, 1, i & 1);
    }
    check_memory(s);
    shadow_end(s);
    bench_end(&s->bench);
    free(s);
}

static const struct gr_range whole;

static void test_random(void **state)
{
    static const unsigned pages[] = {4096, 16384, 65536};
    const uint64_t seed = chance_seed("random");

    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        for (unsigned p = 0; p < 3; p++)
            random_run(kind, whole, 1, pages[p], seed + kind * 3 + p);
    }
    random_run(RIG_T8020, whole, 3, 4096, seed + 100);
    random_run(RIG_T8110, whole, 2, 16384, seed + 101);
}

/* Apertures that begin and end within the span of a table, in part above the translated bits. */
static void test_random_edges(void **state)
{
    const uint64_t seed = chance_seed("random edges");

    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        const unsigned g_lg2 = rig_kinds[kind].page_bits;
        const uint64_t g = UINT64_C(1) << g_lg2;
        const uint64_t span = UINT64_C(1) << (2 * g_lg2 - 3);
        const uint64_t block = UINT64_C(1) << rig_kinds[kind].va_bits;
        struct gr_range odd = {span - 3 * g, 9 * span + 2 * g - 1};

        random_run(kind, odd, 1, 4096, seed + 2 * kind);
        if (rig_is_smmu(kind))
            odd = (struct gr_range){block - 9 * span - 5 * g, block - 1};
        else if (kind %
                 2) /* the last blocks of 2^64, where bits above the translated ones are set */
            odd = (struct gr_range){0 - 9 * span - 5 * g, UINT64_MAX};
        else
            odd = (struct gr_range){5 * block + 7 * g, 5 * block + 9 * span + 5};
        random_run(kind, odd, 1, 4096, seed + 2 * kind + 1);
    }
}

/* ---- errors: each documented one, and nothing else changed ---- */

static void refuse_map(struct bench *b, gr_pa_t pa, uint64_t len, unsigned dir, unsigned attrs,
                       int err, const char *what)
{
    const struct rig_state before = rig_state(&b->rig, &b->domain);
    gr_iova_t iova = 0xabcd;
    const int ret = gr_dma_map(&b->dev, pa, len, (enum gr_dma_dir)dir, attrs, &iova);

    if (ret != err)
        fail_msg("%s: map gives %d, not %s", what, ret, gr_strerror(err));
    assert_int_equal(iova, 0xabcd);
    rig_same(&b->rig, &b->domain, &before, what);
}

static void refuse_unmap(struct bench *b, gr_iova_t iova, uint64_t len, unsigned dir,
                         unsigned attrs, int err, const char *what)
{
    const struct rig_state before = rig_state(&b->rig, &b->domain);
    const int ret = gr_dma_unmap(&b->dev, iova, len, (enum gr_dma_dir)dir, attrs);

    if (ret != err)
        fail_msg("%s: unmap gives %d, not %s", what, ret, gr_strerror(err));
    rig_same(&b->rig, &b->domain, &before, what);
}

static void test_map_errors(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        struct bench b;
        uint64_t g;
        uint64_t width = UINT64_C(1) << rig_kinds[kind].pa_bits;

        bench_make(&b, kind);
        g = b.g;
        refuse_map(&b, RIG_LOW, 0, BOTH, 0, GR_ENODATA, "no length");
        refuse_map(&b, RIG_LOW, 1, 0, 0, GR_EACCES, "no direction");
        refuse_map(&b, RIG_LOW, 1, 4, 0, GR_EACCES, "direction 4");
        refuse_map(&b, RIG_LOW, 1, 7, 0, GR_EACCES, "direction 7");
        refuse_map(&b, RIG_LOW, 1, BOTH, 0x40000000u, GR_EOPNOTSUPP, "attribute 30");
        refuse_map(&b, RIG_LOW, 1, BOTH, 0x80000000u, GR_EOPNOTSUPP, "attribute 31");
        refuse_map(&b, UINT64_MAX, 2, BOTH, 0, GR_EOVERFLOW, "past 2^64 by one");
        refuse_map(&b, 0 - g, g + 1, BOTH, 0, GR_EOVERFLOW, "past the last granule");
        refuse_map(&b, 5, UINT64_MAX, BOTH, 0, GR_EOVERFLOW, "nearly 2^64 from 5");
        refuse_map(&b, 0 - g, g, BOTH, 0, GR_EFAULT, "the last granule");
        refuse_map(&b, UINT64_MAX, 1, BOTH, 0, GR_EFAULT, "the last byte");
        refuse_map(&b, 0, UINT64_MAX, BOTH, 0, GR_EFAULT, "nearly all");
        refuse_map(&b, 1, UINT64_MAX, BOTH, 0, GR_EFAULT, "all but byte 0");
        refuse_map(&b, width - 1, 2, BOTH, 0, GR_EFAULT, "one byte beyond the width");
        refuse_map(&b, width, 1, BOTH, 0, GR_EFAULT, "the first byte beyond the width");
        refuse_map(&b, width - g, g + 1, BOTH, 0, GR_EFAULT, "a granule and one byte");
        bench_end(&b);
    }
}

static void test_unmap_errors(void **state)
{
    (void)state;
    for (unsigned coherent = 0; coherent < 2; coherent++) {
        struct bench b;
        uint64_t g;
        gr_iova_t iova;
        gr_iova_t next;

        bench_make(&b, RIG_T8020, .noncoherent = !coherent);
        g = b.g;
        refuse_unmap(&b, 5 * g, g, BOTH, 0, GR_ENOENT, "nothing there");
        iova = must_map(&b, RIG_LOW + g + 100, 2 * g, BOTH); /* touches three granules */
        next = must_map(&b, RIG_LOW, g, GR_DMA_TO_DEVICE);
        refuse_unmap(&b, iova, 0, BOTH, 0, GR_ENODATA, "no length");
        refuse_unmap(&b, iova, 2 * g, 0, 0, GR_EACCES, "no direction");
        refuse_unmap(&b, iova, 2 * g, BOTH, 0x80000000u, GR_EOPNOTSUPP, "attribute 31");
        refuse_unmap(&b, iova, UINT64_MAX - g, BOTH, 0, GR_EOVERFLOW, "past 2^64");
        refuse_unmap(&b, UINT64_MAX, 1, BOTH, 0, GR_ENOENT, "the last byte of 2^64");
        refuse_unmap(&b, 0 - g, g, BOTH, 0, GR_ENOENT, "the last granule of 2^64");
        refuse_unmap(&b, 1, UINT64_MAX, BOTH, 0, GR_ENOENT, "nearly everything");
        refuse_unmap(&b, iova, g, BOTH, 0, GR_EMSGSIZE, "a granule short");
        refuse_unmap(&b, iova, 1, BOTH, 0, GR_EMSGSIZE, "one byte only");
        refuse_unmap(&b, iova, 3 * g, BOTH, 0, GR_EMSGSIZE, "a granule more");
        refuse_unmap(&b, iova + g, 2 * g, BOTH, 0, GR_EMSGSIZE, "from the second granule");
        refuse_unmap(&b, iova - g, 3 * g, BOTH, 0, GR_EMSGSIZE, "with the one below");
        refuse_unmap(&b, iova + 2 * g, 10, BOTH, 0, GR_EMSGSIZE, "the last granule");
        /* The hardware drops these bits (DART.md 4); the library must not. */
        refuse_unmap(&b, iova + 4 * GIB, 2 * g, BOTH, 0, GR_ENOENT, "the same but for bit 32");
        assert_true(reads(&b, iova) && reads(&b, iova + 2 * g - 1));
        must_unmap(&b, iova + 5, 2 * g - 50, BOTH); /* other bytes, but the very same granules */
        assert_false(reads(&b, iova) || reads(&b, iova + 2 * g - 1));
        refuse_unmap(&b, iova, 2 * g, BOTH, 0, GR_ENOENT, "unmapped twice");
        assert_true(reads(&b, next));
        must_unmap(&b, next, g, GR_DMA_TO_DEVICE);
        bench_end(&b);
    }
}

static void test_no_domain(void **state)
{
    struct bench b;
    gr_iova_t iova = 0xabcd;

    (void)state;
    bench_open(&b, &(const struct bench_setup){.kind = RIG_T8020});
    assert_int_equal(gr_device_init(&b.dev, &b.config), 0);
    for (unsigned unmanaged = 0; unmanaged < 2; unmanaged++) {
        if (unmanaged) {
            assert_int_equal(gr_domain_init(&b.domain, b.rig.host, &b.dev, GR_DOMAIN_UNMANAGED,
                                            GR_DOMAIN_LP_AWARE),
                             0);
            assert_int_equal(gr_domain_attach(&b.domain, &b.dev), 0);
        }
        assert_int_equal(gr_dma_map(&b.dev, 0, 1, BOTH, 0, &iova), GR_ENODEV);
        assert_int_equal(gr_dma_unmap(&b.dev, 0, 1, BOTH, 0), GR_ENODEV);
        assert_int_equal(gr_dma_set_mask(&b.dev, UINT32_MAX), GR_ENODEV);
        assert_int_equal(gr_dma_sync_for_cpu(&b.dev, 0, 1, BOTH), GR_ENODEV);
        assert_int_equal(gr_dma_sync_for_device(&b.dev, 0, 1, BOTH), GR_ENODEV);
        assert_int_equal(iova, 0xabcd);
    }
    bench_end(&b);
}

static void test_exhaustion(void **state)
{
    static const unsigned kinds[] = {RIG_T8020, RIG_T8020_4K, RIG_T8110};

    (void)state;
    for (unsigned k = 0; k < 3; k++) {
        const uint64_t g = UINT64_C(1) << rig_kinds[kinds[k]].page_bits;
        gr_iova_t iova[6];
        struct bench b;

        bench_make(&b, kinds[k], .aperture = {3 * g, 9 * g - 1});
        refuse_map(&b, RIG_LOW, 7 * g, BOTH, 0, GR_ENOSPC, "more than the aperture");
        for (unsigned i = 0; i < 6; i++) {
            iova[i] = must_map(&b, RIG_LOW + i * g, 1 + i, BOTH);
            assert_in_range(iova[i], 3 * g, 9 * g - 1);
        }
        refuse_map(&b, RIG_LOW, 1, BOTH, 0, GR_ENOSPC, "a full aperture");
        must_unmap(&b, iova[2], 3, BOTH);
        refuse_map(&b, RIG_LOW, g + 1, BOTH, 0, GR_ENOSPC, "two granules into one");
        assert_int_equal(must_map(&b, RIG_LOW + 5, 3, BOTH), iova[2] + 5);
        for (unsigned i = 0; i < 6; i++)
            must_unmap(&b, iova[i], 1 + i, BOTH);
        assert_int_equal(must_map(&b, RIG_LOW, 6 * g, BOTH), 3 * g);
        must_unmap(&b, 3 * g, 6 * g, BOTH);
        assert_int_equal(stats_of(&b).tables, rig_root_tables(&b.domain));
        bench_end(&b);
    }
}

static void test_untrusted(void **state)
{
    struct bench b;
    uint64_t g;
    gr_iova_t iova;

    (void)state;
    bench_make(&b, RIG_T6000, .untrusted = true);
    g = b.g;
    refuse_map(&b, RIG_LOW + 1, g, BOTH, 0, GR_EOPNOTSUPP, "an unaligned start and end");
    refuse_map(&b, RIG_LOW + 1, g - 1, BOTH, 0, GR_EOPNOTSUPP, "an unaligned start");
    refuse_map(&b, RIG_LOW, g - 1, BOTH, 0, GR_EOPNOTSUPP, "an unaligned end");
    refuse_map(&b, RIG_LOW, 4096, BOTH, 0, GR_EOPNOTSUPP, "a CPU page");
    iova = must_map(&b, RIG_LOW, 2 * g, BOTH);
    must_unmap(&b, iova, 2 * g, BOTH);
    bench_end(&b);
}

/* ---- masks ---- */

static void check_mask(struct bench *b, uint64_t mask, uint64_t expected)
{
    gr_iova_t iova[80];
    unsigned n = 0;
    int ret = 0;

    assert_int_equal(gr_dma_set_mask(&b->dev, mask), 0);
    while (n < 80) {
        ret = gr_dma_map(&b->dev, RIG_LOW + 77 * n, b->g, BOTH, 0, &iova[n]);
        if (ret)
            break;
        assert_true(((iova[n] + b->g - 1) | (b->g - 1)) <= mask);
        assert_true(iova[n] <= mask);
        n++;
    }
    assert_int_equal(ret, n < 80 ? GR_ENOSPC : 0);
    if (expected)
        assert_int_equal(n, expected);
    while (n--)
        must_unmap(b, iova[n], b->g, BOTH);
}

static void test_masks(void **state)
{
    struct bench b;
    uint64_t g;
    struct rig_state before;

    (void)state;
    bench_make(&b, RIG_T8110);
    g = b.g;
    check_mask(&b, UINT32_MAX, 0);
    check_mask(&b, UINT64_MAX, 0);
    check_mask(&b, 0x3fffffff, 0);
    check_mask(&b, 0x12345678, 0);
    check_mask(&b, 0x800000123, 0);
    check_mask(&b, 2 * g - 1, 1); /* the first map is aligned: one granule; the next take two */
    check_mask(&b, 7 * g - 1, 1 + 3);
    check_mask(&b, 7 * g, 1 + 3);
    check_mask(&b, 7 * g - 2, 1 + 2);
    assert_int_equal(gr_dma_set_mask(&b.dev, g - 1), 0);
    before = rig_state(&b.rig, &b.domain);
    assert_int_equal(gr_dma_set_mask(&b.dev, g - 2), GR_ERANGE);
    assert_int_equal(gr_dma_set_mask(&b.dev, 0), GR_ERANGE);
    rig_same(&b.rig, &b.domain, &before, "a mask that nothing fits under");
    refuse_map(&b, RIG_LOW, g + 1, BOTH, 0, GR_ENOSPC, "the old mask has stayed");
    assert_int_equal(must_map(&b, RIG_LOW, g, BOTH), 0);
    must_unmap(&b, 0, g, BOTH);
    bench_end(&b);

    bench_make(&b, RIG_T8020, .aperture = {0x40000000, 0x4fffffff});
    assert_int_equal(gr_dma_set_mask(&b.dev, 0x40000000 + g - 2), GR_ERANGE);
    assert_int_equal(gr_dma_set_mask(&b.dev, 0x40000000 + g - 1), 0);
    assert_int_equal(must_map(&b, RIG_LOW, g, BOTH), 0x40000000);
    must_unmap(&b, 0x40000000, g, BOTH);
    bench_end(&b);
}

/* A mask from the device's own description, under which the aperture has nothing. */
static void test_mask_below_aperture(void **state)
{
    struct bench b;

    (void)state;
    bench_make(&b, RIG_T8020, .aperture = {0x40000000, 0x4fffffff}, .dma_mask = 0x3fffffff);
    refuse_map(&b, RIG_LOW, 1, BOTH, 0, GR_ERANGE, "a mask below the aperture");
    bench_end(&b);
}

/* ---- edges ---- */

/* Map, then look at every byte that matters: first, last, and what lies around the granules. */
static void check_edge(struct bench *b, gr_pa_t pa, uint64_t len)
{
    const uint64_t g = b->g;
    const gr_iova_t iova = must_map(b, pa, len, BOTH);
    const gr_iova_t first = iova & ~(g - 1);
    const gr_iova_t last = (iova + len - 1) | (g - 1);
    uint8_t *const memory = host_ptr(b->rig.host, pa, len);
    uint8_t seen[3 * 65536];
    uint8_t *const bytes = seen;

    assert_int_equal((iova ^ pa) & (g - 1), 0);
    assert_true(len <= sizeof(seen));
    for (uint64_t i = 0; i < len; i++)
        memory[i] = (uint8_t)(i * 7 + pa);
    assert_int_equal(rig_access(&b->rig, 0, RIG_SID, iova, bytes, len, false, true, NULL),
                     MODEL_OK);
    assert_memory_equal(bytes, memory, len);
    for (uint64_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(bytes[i] ^ 0xff);
    assert_int_equal(rig_access(&b->rig, 0, RIG_SID, iova, bytes, len, true, true, NULL), MODEL_OK);
    assert_memory_equal(bytes, memory, len);
    assert_true(reads(b, first) && reads(b, last));
    assert_false(first && reads(b, first - 1));
    assert_false(last < b->domain.aperture.last && reads(b, last + 1));
    must_unmap(b, iova, len, BOTH);
    assert_false(reads(b, iova) || reads(b, iova + len - 1) || reads(b, first) || reads(b, last));
}

static void test_edges(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        struct bench b;
        const uint64_t end = UINT64_C(1) << rig_kinds[kind].pa_bits;
        uint64_t g;

        bench_make(&b, kind);
        g = b.g;
        for (uint64_t i = 0; i < 8; i++) {
            const uint64_t at = 2 * g - 4 + i; /* on both sides of a granule's end */

            check_edge(&b, RIG_LOW + at, 1);
            check_edge(&b, RIG_LOW + at, g);
            check_edge(&b, RIG_LOW + at, g - 1);
            check_edge(&b, RIG_LOW + at, g + 1);
            check_edge(&b, RIG_LOW + 4096 - 4 + i, 1);
        }
        check_edge(&b, 0, 1);
        check_edge(&b, 0, g);
        check_edge(&b, 0, g + 1);
        check_edge(&b, end - 1, 1);
        check_edge(&b, end - g, g);
        check_edge(&b, end - g - 1, g + 1);
        check_edge(&b, end - g + 3, g - 3);
        bench_end(&b);
    }
}

/* IOVA 0 is an address like any other. */
static void test_iova_zero(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        const uint64_t g = UINT64_C(1) << rig_kinds[kind].page_bits;
        struct bench b;

        bench_make(&b, kind, .aperture = {0, g - 1});
        assert_int_equal(must_map(&b, g, 1, BOTH), 0);
        assert_true(reads(&b, 0));
        must_unmap(&b, 0, 1, BOTH);
        check_edge(&b, RIG_LOW, g);
        bench_end(&b);
    }
}

/* One mapping over an address where some hardware or software counts anew. */
static void check_crossing(unsigned kind, uint64_t middle, uint64_t below, uint64_t above)
{
    const uint64_t len = below + above - 100;
    const struct gr_range mapped = {middle - below, middle + (above - 1)};
    const uint64_t size = 2 * MIB;
    uint8_t *const seen = malloc(size);
    struct bench b;
    gr_pa_t pa;
    gr_iova_t iova;
    uint8_t *memory;

    assert_non_null(seen);
    assert_true(len < size);
    bench_make(&b, kind, .aperture = {mapped.first, mapped.last});
    pa = rig_ram(&b.rig, size, 64 * KIB);
    iova = must_map(&b, pa + 50, len, BOTH);
    assert_int_equal(iova, middle - below + 50);
    assert_int_equal(stats_of(&b).tables, rig_tables(&b.domain, &mapped, 1));
    memory = host_ptr(b.rig.host, pa, size);
    for (uint64_t i = 0; i < size; i++)
        memory[i] = (uint8_t)(i ^ i >> 8 ^ i >> 16);
    assert_int_equal(rig_access(&b.rig, 0, RIG_SID, iova, seen, len, false, true, NULL), MODEL_OK);
    assert_memory_equal(seen, memory + 50, len);
    for (uint64_t i = 0; i < len; i++)
        seen[i] = (uint8_t)~seen[i];
    assert_int_equal(rig_access(&b.rig, 0, RIG_SID, iova, seen, len, true, true, NULL), MODEL_OK);
    assert_memory_equal(seen, memory + 50, len);
    must_unmap(&b, iova, len, BOTH);
    for (uint64_t at = 0; at < len; at += b.g)
        assert_false(reads(&b, iova + at));
    assert_int_equal(stats_of(&b).tables, rig_root_tables(&b.domain));
    host_ram_free(b.rig.host, pa);
    bench_end(&b);
    free(seen);
}

static void test_crossings(void **state)
{
    const uint64_t part = 256 * KIB;

    (void)state;
    check_crossing(RIG_T8020, 2 * GIB, part, part);
    check_crossing(RIG_T8020_4K, 2 * GIB, part, part);
    check_crossing(RIG_T8020_4K, GIB, part, part); /* from one TTBR to the next */
    check_crossing(RIG_T8020_4K, 3 * GIB, part, part);
    check_crossing(RIG_T8020_4K, 4 * GIB, part, 0); /* the very end of the aperture */
    check_crossing(RIG_T8020, 4 * GIB, part, 0);
    for (unsigned k = 0; k < 2; k++) {
        const unsigned kind = k ? RIG_T8020_VA38 : RIG_T8110;

        check_crossing(kind, 2 * GIB, part, part);
        check_crossing(kind, 4 * GIB, part, part);
        check_crossing(kind, 32 * GIB, part, part);
    }
    check_crossing(RIG_T8110, 64 * GIB, part, 0);
    check_crossing(RIG_T8020_VA38, 64 * GIB, part, part);
    check_crossing(RIG_T8020_VA38, 128 * GIB, part, part);
    check_crossing(RIG_T8020_VA38, 192 * GIB, part, part);
    check_crossing(RIG_T8020_VA38, 256 * GIB, part, 0);
    check_crossing(RIG_T8110_4K, 512 * MIB, part, part);
    check_crossing(RIG_T8110_4K, GIB, part, 0);
    check_crossing(RIG_T8110_4K_VA39, GIB, part, part); /* from one middle table to the next */
    check_crossing(RIG_T8110_4K_VA39, 511 * GIB, part, part);
    check_crossing(RIG_T8110_4K_VA39, 512 * GIB, part, 0);
    check_crossing(RIG_T8110_VA42, 64 * GIB, part, part);
    check_crossing(RIG_T8110_VA42, 4096 * GIB, part, 0);
}

/* ---- caches of a device that does not snoop ---- */

#define LINE ((uint64_t)GR_PORT_CACHE_LINE)
#define LINES 96u

static uint64_t device(struct bench *b, gr_iova_t iova, uint8_t *buf, uint64_t len, bool write)
{
    uint64_t done;

    assert_int_equal(rig_access(&b->rig, 0, RIG_SID, iova, buf, len, write, false, &done),
                     MODEL_OK);
    return done;
}

static void pattern(uint8_t *bytes, uint64_t len, unsigned salt)
{
    for (uint64_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 251 + salt);
}

/* Lines in which two buffers differ. */
static unsigned lines_off(const uint8_t *a, const uint8_t *b, uint64_t len)
{
    unsigned off = 0;

    for (uint64_t at = 0; at < len; at += LINE)
        off += memcmp(a + at, b + at, (size_t)(len - at < LINE ? len - at : LINE)) != 0;
    return off;
}

struct buffer {
    gr_pa_t pa;
    uint8_t *cpu; /* what the CPU sees */
    uint64_t len;
    uint8_t want[LINES * GR_PORT_CACHE_LINE];
    uint8_t seen[LINES * GR_PORT_CACHE_LINE];
};

/* In whole lines; CPU and memory agree on what it holds. */
static void buffer_make(struct bench *b, struct buffer *buf)
{
    buf->len = sizeof(buf->want);
    buf->pa = RIG_LOW + 5 * LINE;
    buf->cpu = host_ptr(b->rig.host, buf->pa, buf->len);
    memset(buf->cpu, 0x11, buf->len);
    gr_port_cache(b->rig.host, buf->cpu, buf->len, GR_CACHE_CLEAN);
}

static unsigned to_device_round(struct bench *b, bool ignore)
{
    struct buffer buf;
    gr_iova_t iova;
    unsigned off;

    buffer_make(b, &buf);
    pattern(buf.want, buf.len, 3);
    memcpy(buf.cpu, buf.want, buf.len);
    host_ignore(b->rig.host, HOST_CLEAN, ignore);
    iova = must_map(b, buf.pa, buf.len, GR_DMA_TO_DEVICE);
    host_ignore(b->rig.host, HOST_CLEAN, 0);
    device(b, iova, buf.seen, buf.len, false);
    off = lines_off(buf.seen, buf.want, buf.len);
    must_unmap(b, iova, buf.len, GR_DMA_TO_DEVICE);
    assert_memory_equal(buf.cpu, buf.want, buf.len);
    return off;
}

/* `what`: HOST_CLEAN: the map's is lost; HOST_INVAL: the unmap's; 0: none. */
static unsigned from_device_round(struct bench *b, unsigned what)
{
    struct buffer buf;
    gr_iova_t iova;

    buffer_make(b, &buf);
    memset(buf.cpu, 0x22, buf.len); /* dirty lines, which must not be written back later */
    host_ignore(b->rig.host, HOST_CLEAN, what == HOST_CLEAN);
    iova = must_map(b, buf.pa, buf.len, GR_DMA_FROM_DEVICE);
    host_ignore(b->rig.host, HOST_CLEAN, 0);
    pattern(buf.want, buf.len, 5);
    device(b, iova, buf.want, buf.len, true);
    host_ignore(b->rig.host, HOST_INVAL, what == HOST_INVAL);
    must_unmap(b, iova, buf.len, GR_DMA_FROM_DEVICE);
    host_ignore(b->rig.host, HOST_INVAL, 0);
    return lines_off(buf.cpu, buf.want, buf.len);
}

static void test_caches(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind += 2) {
        struct bench b;

        bench_make(&b, kind, .noncoherent = true);
        for (unsigned round = 0; round < 8; round++) {
            assert_int_equal(to_device_round(&b, false), 0);
            assert_int_equal(from_device_round(&b, 0), 0);
        }
        /* The tests of the test: without the operation the bytes are wrong. */
        assert_int_not_equal(to_device_round(&b, true), 0);
        assert_int_not_equal(from_device_round(&b, HOST_CLEAN), 0);
        assert_int_not_equal(from_device_round(&b, HOST_INVAL), 0);
        bench_end(&b);
    }
}

static void test_sync(void **state)
{
    struct bench b;
    struct buffer buf;
    gr_iova_t iova;
    const uint64_t part = 8 * LINE;

    (void)state;
    bench_make(&b, RIG_T8020_4K, .noncoherent = true); /* so that the buffer has several granules */
    buffer_make(&b, &buf);
    iova = must_map(&b, buf.pa, buf.len, BOTH);
    for (uint64_t at = 0; at < buf.len; at += part) {
        pattern(buf.want, part, (unsigned)at);
        device(&b, iova + at, buf.want, part, true);
        assert_int_equal(gr_dma_sync_for_cpu(&b.dev, iova + at, part, BOTH), 0);
        assert_memory_equal(buf.cpu + at, buf.want, part);
        pattern(buf.want, part, (unsigned)at + 9);
        memcpy(buf.cpu + at, buf.want, part);
        assert_int_equal(gr_dma_sync_for_device(&b.dev, iova + at, part, BOTH), 0);
        device(&b, iova + at, buf.seen, part, false);
        assert_memory_equal(buf.seen, buf.want, part);
    }
    /* The tests of the test. */
    pattern(buf.want, buf.len, 77);
    device(&b, iova, buf.want, buf.len, true);
    host_ignore(b.rig.host, HOST_INVAL, 1);
    assert_int_equal(gr_dma_sync_for_cpu(&b.dev, iova, buf.len, BOTH), 0);
    assert_int_not_equal(lines_off(buf.cpu, buf.want, buf.len), 0);
    assert_int_equal(gr_dma_sync_for_cpu(&b.dev, iova, buf.len, BOTH), 0);
    assert_int_equal(lines_off(buf.cpu, buf.want, buf.len), 0);
    memset(buf.cpu, 0x33, buf.len);
    host_ignore(b.rig.host, HOST_CLEAN, 1);
    assert_int_equal(gr_dma_sync_for_device(&b.dev, iova, buf.len, BOTH), 0);
    device(&b, iova, buf.seen, buf.len, false);
    assert_int_not_equal(lines_off(buf.cpu, buf.seen, buf.len), 0);
    assert_int_equal(gr_dma_sync_for_device(&b.dev, iova, buf.len, BOTH), 0);
    must_unmap(&b, iova, buf.len, BOTH);
    bench_end(&b);
}

static void test_sync_errors(void **state)
{
    int (*const sync[])(struct gr_device *, gr_iova_t, uint64_t,
                        enum gr_dma_dir) = {gr_dma_sync_for_cpu, gr_dma_sync_for_device};
    struct bench b;
    gr_iova_t iova;
    uint64_t g;

    (void)state;
    bench_make(&b, RIG_T8020, .noncoherent = true);
    g = b.g;
    iova = must_map(&b, RIG_LOW + g, 2 * g, BOTH);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(sync[i](&b.dev, iova, 0, BOTH), GR_ENODATA);
        assert_int_equal(sync[i](&b.dev, iova, 1, (enum gr_dma_dir)0), GR_EACCES);
        assert_int_equal(sync[i](&b.dev, iova, UINT64_MAX, BOTH), GR_EOVERFLOW);
        assert_int_equal(sync[i](&b.dev, iova - 1, 2, BOTH), GR_ENOENT);
        assert_int_equal(sync[i](&b.dev, iova + 2 * g - 1, 2, BOTH), GR_ENOENT);
        assert_int_equal(sync[i](&b.dev, iova - 5 * g, 1, BOTH), GR_ENOENT);
        assert_int_equal(sync[i](&b.dev, UINT64_MAX, 1, BOTH), GR_ENOENT);
        assert_int_equal(sync[i](&b.dev, iova + 4 * GIB, 1, BOTH), GR_ENOENT);
        assert_int_equal(sync[i](&b.dev, iova + 2 * g - 1, 1, BOTH), 0);
        assert_int_equal(sync[i](&b.dev, iova + g - 1, 2, BOTH), 0);
    }
    must_unmap(&b, iova, 2 * g, BOTH);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(sync[i](&b.dev, iova, 1, BOTH), GR_ENOENT);
    bench_end(&b);
}

/* A hole between two mappings whose memory lies just as far apart: still not mapped in whole. */
static void test_sync_over_hole(void **state)
{
    struct bench b;
    const uint64_t g = 16384;
    gr_iova_t iova[3];
    uint8_t *between;

    (void)state;
    bench_make(&b, RIG_T8020, .aperture = {0, 3 * g - 1}, .noncoherent = true);
    for (unsigned i = 0; i < 3; i++)
        iova[i] = must_map(&b, RIG_LOW + (2 - i) * g, g, BOTH);
    assert_int_equal(iova[0] - iova[2], 2 * g);
    must_unmap(&b, iova[1], g, BOTH);
    between = host_ptr(b.rig.host, RIG_LOW + g, g);
    memset(between, 0x77, g); /* the CPU's again */
    assert_int_equal(gr_dma_sync_for_cpu(&b.dev, iova[2], 3 * g, BOTH), GR_ENOENT);
    for (uint64_t i = 0; i < g; i++)
        assert_int_equal(between[i], 0x77);
    must_unmap(&b, iova[0], g, BOTH);
    must_unmap(&b, iova[2], g, BOTH);
    bench_end(&b);
}

static void test_skip_sync(void **state)
{
    struct bench b;
    struct buffer buf;
    gr_iova_t iova = 0;
    uint64_t calls;

    (void)state;
    bench_make(&b, RIG_T8110, .noncoherent = true);
    buffer_make(&b, &buf);
    calls = host_calls(b.rig.host, HOST_CLEAN | HOST_INVAL);
    assert_int_equal(gr_dma_map(&b.dev, buf.pa, buf.len, BOTH, GR_DMA_SKIP_SYNC, &iova), 0);
    assert_int_equal(host_calls(b.rig.host, HOST_CLEAN | HOST_INVAL), calls);
    pattern(buf.want, buf.len, 8);
    memcpy(buf.cpu, buf.want, buf.len);
    assert_int_equal(gr_dma_sync_for_device(&b.dev, iova, buf.len, BOTH), 0);
    device(&b, iova, buf.seen, buf.len, false);
    assert_memory_equal(buf.seen, buf.want, buf.len);
    pattern(buf.want, buf.len, 19);
    device(&b, iova, buf.want, buf.len, true);
    assert_int_equal(gr_dma_sync_for_cpu(&b.dev, iova, buf.len, BOTH), 0);
    assert_memory_equal(buf.cpu, buf.want, buf.len);
    calls = host_calls(b.rig.host, HOST_CLEAN | HOST_INVAL);
    assert_int_equal(gr_dma_unmap(&b.dev, iova, buf.len, BOTH, GR_DMA_SKIP_SYNC), 0);
    assert_int_equal(host_calls(b.rig.host, HOST_CLEAN | HOST_INVAL), calls);
    bench_end(&b);
}

/* A coherent device costs no cache operation at all. */
static void test_coherent_is_free(void **state)
{
    struct bench b;
    gr_iova_t iova;

    (void)state;
    bench_make(&b, RIG_T8020);
    iova = must_map(&b, RIG_LOW + 3, 5000, BOTH);
    assert_int_equal(gr_dma_sync_for_cpu(&b.dev, iova, 5000, BOTH), 0);
    assert_int_equal(gr_dma_sync_for_device(&b.dev, iova, 5000, BOTH), 0);
    assert_int_equal(gr_dma_sync_for_cpu(&b.dev, iova, 5000, (enum gr_dma_dir)4), GR_EACCES);
    must_unmap(&b, iova, 5000, BOTH);
    assert_int_equal(host_calls(b.rig.host, HOST_CLEAN | HOST_INVAL), 0);
    bench_end(&b);
}

/* Bytes beside a buffer that shares its first and last line with them. */
static void test_cache_neighbours(void **state)
{
    struct bench b;
    struct buffer buf;

    (void)state;
    bench_make(&b, RIG_T8020, .noncoherent = true);
    for (unsigned round = 0; round < 200; round++) {
        const uint64_t start = 1 + rig_random(&b.rig, 3 * LINE);
        const uint64_t len = 1 + rig_random(&b.rig, 4 * LINE);
        const enum gr_dma_dir dir = (enum gr_dma_dir)(2 + rig_random(&b.rig, 2));
        const bool partial = rig_random(&b.rig, 2);
        gr_iova_t iova;

        buffer_make(&b, &buf);
        pattern(buf.cpu, buf.len, round); /* dirty, also beside the buffer */
        memcpy(buf.want, buf.cpu, buf.len);
        iova = must_map(&b, buf.pa + start, len, dir);
        pattern(buf.seen, len, round + 100);
        device(&b, iova, buf.seen, partial ? len / 2 : len, true);
        must_unmap(&b, iova, len, dir);
        memcpy(buf.want + start, buf.seen, partial ? len / 2 : len);
        assert_memory_equal(buf.cpu, buf.want, buf.len);
    }
    bench_end(&b);
}

/* ---- reserved ranges ---- */

static void check_reserved(struct bench *b, const struct gr_range *reserved, unsigned count,
                           uint64_t expected)
{
    const uint64_t g = b->g;
    gr_iova_t iova[64];
    unsigned n = 0;
    int ret = 0;

    while (n < 64) {
        ret = gr_dma_map(&b->dev, RIG_LOW + 5, 1, BOTH, 0, &iova[n]);
        if (ret)
            break;
        for (unsigned i = 0; i < count; i++)
            assert_true((iova[n] | (g - 1)) < reserved[i].first ||
                        (iova[n] & ~(g - 1)) > reserved[i].last);
        n++;
    }
    assert_int_equal(ret, GR_ENOSPC);
    assert_int_equal(n, expected);
    while (n--)
        must_unmap(b, iova[n], 1, BOTH);
}

static void test_reserved(void **state)
{
    static const unsigned kinds[] = {RIG_T8020, RIG_T8020_4K, RIG_T8110};

    (void)state;
    for (unsigned k = 0; k < 3; k++) {
        const uint64_t g = UINT64_C(1) << rig_kinds[kinds[k]].page_bits;
        const uint64_t base = 2 * GIB - 20 * g;
        const struct gr_range own[] = {{base + 5 * g + 100, base + 5 * g + 200},
                                       {base + 20 * g, base + 30 * g - 1},
                                       {base + 39 * g, UINT64_MAX}};
        const struct gr_range others[] = {{0, base + 2 * g}, {base + 29 * g, base + 30 * g}};
        const struct gr_range all[] = {own[0], own[1], own[2], others[0], others[1]};
        const struct bench_setup setup = {.kind = kinds[k],
                                          .aperture = {base, base + 40 * g - 1},
                                          .reserved = own,
                                          .reserved_count = 3};
        struct gr_stream stream;
        struct gr_device_config config;
        struct gr_device other;
        struct bench b;

        bench_setup(&b, &setup);
        check_reserved(&b, own, 3, 40 - 1 - 10 - 1);
        bench_end(&b);

        /* The same with a second device in the group, which has ranges of its own. */
        bench_open(&b, &setup);
        config = rig_device(&b.rig, &stream, 0, 1, RIG_SID);
        config.reserved = others;
        config.reserved_count = 2;
        assert_int_equal(gr_device_init(&other, &config), 0);
        bench_attach(&b, GR_DOMAIN_TRANSLATED);
        check_reserved(&b, all, 5, 40 - 1 - 10 - 1 - 3 - 1);
        assert_int_equal(gr_domain_detach(&b.domain, &other), 0);
        assert_int_equal(gr_device_fini(&other), 0);
        assert_int_equal(gr_domain_fini(&b.domain), 0);
        assert_int_equal(gr_device_fini(&b.dev), 0);
        rig_end(&b.rig);
    }
}

/*
 * A domain made for one device, given to another with reserved ranges: refused, or these ranges are
 * kept free as well.
 */
static void test_reserved_of_another(void **state)
{
    const uint64_t g = 16384;
    const struct gr_range msi = {4 * g, 4 * g + 3};
    struct gr_stream stream;
    struct gr_device_config config;
    struct gr_device first;
    struct bench b;
    int ret;

    (void)state;
    bench_open(&b, &(const struct bench_setup){.kind = RIG_T8020,
                                               .aperture = {g, 9 * g - 1},
                                               .reserved = &msi,
                                               .reserved_count = 1});
    config = rig_device(&b.rig, &stream, 0, 1, RIG_SID + 1);
    assert_int_equal(gr_device_init(&first, &config), 0);
    assert_int_equal(gr_device_init(&b.dev, &b.config), 0);
    assert_int_equal(gr_domain_init(&b.domain, b.rig.host, &first, GR_DOMAIN_TRANSLATED, 0), 0);
    b.g = g;
    ret = gr_domain_attach(&b.domain, &b.dev);
    if (!ret) {
        check_reserved(&b, &msi, 1, 7);
        assert_int_equal(gr_domain_detach(&b.domain, &b.dev), 0);
    }
    assert_int_equal(gr_domain_fini(&b.domain), 0);
    assert_int_equal(gr_device_fini(&b.dev), 0);
    assert_int_equal(gr_device_fini(&first), 0);
    rig_end(&b.rig);
}

/* ---- invalidation ---- */

/* A device that tried too early has made the hardware remember that nothing is there. */
static void test_invalidation_matters(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        const uint64_t g = UINT64_C(1) << rig_kinds[kind].page_bits;
        struct bench b;

        bench_make(&b, kind, .aperture = {4 * g, 5 * g - 1});
        for (unsigned round = 0; round < 3; round++) {
            assert_false(reads(&b, 4 * g));
            assert_int_equal(must_map(&b, RIG_LOW, 1, BOTH), 4 * g);
            assert_true(reads(&b, 4 * g));
            must_unmap(&b, 4 * g, 1, BOTH);
        }
        /* The tests of the test: the map's command lost, if there is one, then the unmap's. */
        assert_false(reads(&b, 4 * g));
        b.rig.dart[0].lose_commands = true;
        assert_int_equal(must_map(&b, RIG_LOW, 1, BOTH), 4 * g);
        assert_int_equal(reads(&b, 4 * g), !b.domain.invalidate_on_map);
        b.rig.dart[0].lose_commands = false;
        must_unmap(&b, 4 * g, 1, BOTH);
        assert_int_equal(must_map(&b, RIG_LOW, 1, BOTH), 4 * g);
        assert_true(reads(&b, 4 * g));
        b.rig.dart[0].lose_commands = true;
        must_unmap(&b, 4 * g, 1, BOTH);
        assert_true(reads(&b, 4 * g));
        assert_int_equal(b.rig.dart[0].lost, 1 + b.domain.invalidate_on_map);
        b.rig.dart[0].lose_commands = false;
        bench_end(&b);
    }
}

/* ---- failures ---- */

/* Every allocation that a map makes fails once; the range crosses into a second leaf table. */
static void test_map_without_memory(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        const uint64_t g = UINT64_C(1) << rig_kinds[kind].page_bits;
        const struct gr_range all = {512 * MIB - 2 * g, 512 * MIB + 2 * g - 1};
        struct bench b;
        uint64_t n;
        gr_iova_t iova = 0xabcd;
        int ret = GR_ENOMEM;

        bench_make(&b, kind, .aperture = {all.first, all.last});
        for (n = 1; ret; n++) {
            const struct rig_state before = rig_state(&b.rig, &b.domain);

            assert_in_range(n, 1, 20);
            host_fail_alloc(b.rig.host, n);
            ret = gr_dma_map(&b.dev, RIG_LOW + 1, 3 * g, BOTH, 0, &iova);
            host_fail_alloc(b.rig.host, 0);
            if (!ret)
                break;
            assert_int_equal(ret, GR_ENOMEM);
            assert_int_equal(iova, 0xabcd);
            rig_same(&b.rig, &b.domain, &before, "no memory");
            assert_false(reads(&b, 512 * MIB - 2 * g));
        }
        assert_true(n >= 3); /* both tables were missing once */
        assert_int_equal(iova, 512 * MIB - 2 * g + 1);
        assert_int_equal(stats_of(&b).tables, rig_tables(&b.domain, &all, 1));
        assert_true(reads(&b, iova) && reads(&b, iova + 3 * g - 1));
        must_unmap(&b, iova, 3 * g, BOTH);
        assert_int_equal(stats_of(&b).tables, rig_root_tables(&b.domain));
        bench_end(&b);
    }
}

/* A command that never ends, during a map: nothing is mapped, nothing passes, nothing comes back.
 */
static void test_stuck_map(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU; kind++) {
        struct bench b;
        struct gr_domain_stats stats;
        gr_iova_t old;
        gr_iova_t iova = 0xabcd;

        bench_make(&b, kind);
        old = must_map(&b, RIG_LOW, 1, BOTH);
        assert_true(reads(&b, old));
        rig_set_busy(&b.rig, 0, 0, true);
        assert_int_equal(gr_dma_map(&b.dev, RIG_LOW, 3 * b.g, BOTH, 0, &iova), GR_ETIMEDOUT);
        assert_int_equal(iova, 0xabcd);
        stats = stats_of(&b);
        assert_true(stats.broken);
        assert_int_equal(stats.quarantined_bytes, 3 * b.g);
        assert_int_equal(stats.iova.allocations, 1);
        assert_true(stats.iova.held >= 3 * b.g);
        assert_int_equal(gr_dma_map(&b.dev, RIG_LOW, 1, BOTH, 0, &iova), GR_EIO);
        rig_set_busy(&b.rig, 0, 0, false);
        assert_int_equal(gr_dma_map(&b.dev, RIG_LOW, 1, BOTH, 0, &iova), GR_EIO);
        assert_false(reads(&b, old));
        must_unmap(&b, old, 1, BOTH);
        assert_true(stats_of(&b).broken);
        assert_int_equal(stats_of(&b).quarantined_bytes, 3 * b.g);
        bench_end(&b);
    }
}

/*
 * The same during an unmap. Its table may still be walked, so it stays; another mapping that is
 * unmapped while the command still runs is no safer.
 */
static void test_stuck_unmap(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        struct bench b;
        gr_iova_t iova[2];
        gr_iova_t unused;
        struct gr_range mapped[2];
        uint64_t tables;
        uint64_t g;

        bench_make(&b, kind);
        g = b.g;
        iova[0] = must_map(&b, RIG_LOW, 2 * g, BOTH);
        assert_int_equal(gr_dma_set_mask(&b.dev, b.domain.aperture.last / 2), 0);
        iova[1] = must_map(&b, RIG_LOW, 2 * g, BOTH); /* in another table */
        for (unsigned i = 0; i < 2; i++)
            mapped[i] = (struct gr_range){iova[i], iova[i] + 2 * g - 1};
        tables = stats_of(&b).tables;
        assert_int_equal(tables, rig_tables(&b.domain, mapped, 2));
        assert_true(reads(&b, iova[0]) && reads(&b, iova[1]));
        rig_set_busy(&b.rig, 0, 0, true);
        assert_int_equal(gr_dma_unmap(&b.dev, iova[0], 2 * g, BOTH, 0), GR_ETIMEDOUT);
        assert_true(stats_of(&b).broken);
        assert_int_equal(stats_of(&b).quarantined_bytes, 2 * g);
        assert_int_equal(stats_of(&b).tables, tables);
        assert_int_equal(stats_of(&b).iova.allocations, 1);
        assert_int_equal(gr_dma_unmap(&b.dev, iova[0], 2 * g, BOTH, 0), GR_ENOENT);
        assert_int_equal(gr_dma_unmap(&b.dev, iova[1], 2 * g, BOTH, 0), GR_ETIMEDOUT);
        assert_int_equal(stats_of(&b).tables, tables);
        assert_int_equal(gr_dma_map(&b.dev, RIG_LOW, 1, BOTH, 0, &unused), GR_EIO);
        rig_set_busy(&b.rig, 0, 0, false);
        assert_false(reads(&b, iova[0]) || reads(&b, iova[1]));
        bench_end(&b);
    }
}

/* Never confirmed: what a walker may still hold is leaked, and said so. */
static void test_stuck_for_good(void **state)
{
    struct bench b;
    gr_iova_t iova;
    int leaks;

    (void)state;
    bench_make(&b, RIG_T8020);
    iova = must_map(&b, RIG_LOW, 1, BOTH);
    assert_true(reads(&b, iova));
    rig_set_busy(&b.rig, 0, 0, true);
    assert_int_equal(gr_dma_unmap(&b.dev, iova, 1, BOTH, 0), GR_ETIMEDOUT);
    assert_int_equal(gr_domain_detach(&b.domain, &b.dev), GR_ETIMEDOUT);
    assert_null(gr_device_domain(&b.dev));
    assert_int_equal(gr_domain_fini(&b.domain), 0);
    assert_true(host_logged(b.rig.host, "never confirmed"));
    leaks = host_leaks(b.rig.host);
    assert_int_equal(leaks, 2 * 4); /* root and leaf table, 16 KiB each */
    rig_set_busy(&b.rig, 0, 0, false);
    assert_false(reads(&b, iova));
    assert_int_equal(gr_device_fini(&b.dev), 0);
    rig_end_leaking(&b.rig, leaks);
}

/* Slow is not stuck: an unmap waits as long as a command needs, and accesses meanwhile stall. */
static void test_slow_commands(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        struct bench b;
        gr_iova_t iova;
        uint64_t before;

        bench_make(&b, kind);
        rig_set_busy(&b.rig, 0, GR_CFG_DART_TIMEOUT_NS / 2, false);
        iova = must_map(&b, RIG_LOW, 100, BOTH);
        assert_true(reads(&b, iova));
        before = host_now(b.rig.host);
        must_unmap(&b, iova, 100, BOTH);
        assert_true(host_now(b.rig.host) - before >= GR_CFG_DART_TIMEOUT_NS / 2);
        assert_false(reads(&b, iova));
        bench_end(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(test_random),
        rig_test(test_random_edges),
        rig_test(test_map_errors),
        rig_test(test_unmap_errors),
        rig_test(test_no_domain),
        rig_test(test_exhaustion),
        rig_test(test_untrusted),
        rig_test(test_masks),
        rig_test(test_mask_below_aperture),
        rig_test(test_edges),
        rig_test(test_iova_zero),
        rig_test(test_crossings),
        rig_test(test_caches),
        rig_test(test_sync),
        rig_test(test_sync_errors),
        rig_test(test_sync_over_hole),
        rig_test(test_skip_sync),
        rig_test(test_coherent_is_free),
        rig_test(test_cache_neighbours),
        rig_test(test_reserved),
        rig_test(test_reserved_of_another),
        rig_test(test_invalidation_matters),
        rig_test(test_map_without_memory),
        rig_test(test_stuck_map),
        rig_test(test_stuck_unmap),
        rig_test(test_stuck_for_good),
        rig_test(test_slow_commands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
