/* SPDX-License-Identifier: MIT */
/*
 * Cases that went wrong before, elsewhere (REQUIREMENTS.md 5, numbered as there), and
 * whether the answers about limits are true.
 */
#include "bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const unsigned cpu_pages[] = {4096, 16384, 65536};

#define PAGES (sizeof(cpu_pages) / sizeof(cpu_pages[0]))
#define MOST 16u

/* Memory whose every 8 bytes hold their own address. */
static void sign(struct bench *b, gr_pa_t pa, uint64_t len)
{
    for (uint64_t at = pa; at < pa + len; at += 8)
        memcpy(host_ptr(b->rig.host, at, 8), &at, 8);
}

static uint8_t signature(gr_pa_t pa)
{
    return (uint8_t)((pa & ~UINT64_C(7)) >> pa % 8 * 8);
}

/* What the device finds at `iova` is the signed memory at `pa`. */
static void check_leads(struct bench *b, gr_iova_t iova, gr_pa_t pa, uint64_t len)
{
    uint8_t *const seen = malloc(len);
    gr_pa_t led = 0;

    assert_non_null(seen);
    assert_int_equal((iova ^ pa) % b->g, 0);
    assert_int_equal(gr_domain_iova_to_phys(&b->domain, iova, &led), 0);
    assert_int_equal(led, pa);
    bench_device(b, iova, seen, len, false);
    for (uint64_t i = 0; i < len; i++)
        assert_int_equal(seen[i], signature(pa + i));
    free(seen);
}

static void map_list(struct bench *b, struct gr_dma_list *list)
{
    const int ret = gr_dma_map_sg(&b->dev, list, BOTH, 0);

    if (ret)
        fail_msg("map_sg: %s", gr_strerror(ret));
}

static void unmap_list(struct bench *b, struct gr_dma_list *list)
{
    assert_int_equal(gr_dma_unmap_sg(&b->dev, list, BOTH, 0), 0);
}

static gr_iova_t must_map(struct bench *b, gr_pa_t pa, uint64_t len)
{
    gr_iova_t iova = 0;
    const int ret = gr_dma_map(&b->dev, pa, len, BOTH, 0, &iova);

    if (ret)
        fail_msg("map of %" PRIu64 " bytes at 0x%" PRIx64 ": %s", len, pa, gr_strerror(ret));
    return iova;
}

static void must_unmap(struct bench *b, gr_iova_t iova, uint64_t len)
{
    assert_int_equal(gr_dma_unmap(&b->dev, iova, len, BOTH, 0), 0);
}

/*
 * Vector 1: an entry is a page and an offset, and the offset exceeds a page. Whatever of it was
 * counted into the page must not be counted again: page 0 and offset 0x1000 lead to 0x1000. The
 * transform that was proposed is wrong in 4096 of these 4608 cases at G = 4 KiB.
 */
static void vector_01_offset_beyond_page(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS * PAGES; kind++) {
        const uint64_t p = cpu_pages[kind % PAGES];
        struct bench b;

        bench_make(&b, kind / PAGES, .cpu_page = (unsigned)p);
        sign(&b, RIG_LOW, RIG_FIXED_SIZE);
        for (uint64_t page = 0; page < 2; page++) {
            for (uint64_t offset = 0; offset < 2 * p; offset += p / 16) {
                const struct gr_seg segs[] = {
                    {RIG_LOW + page * p + offset, 512},
                    {RIG_LOW + page * p + offset + p / 2 + 3, 100}, /* apart, the same granule */
                };
                struct gr_dma_seg out[2];
                struct gr_dma_list list = {.segs = segs, .count = 2, .out = out};

                map_list(&b, &list);
                assert_int_equal(list.out_count, 2);
                for (unsigned i = 0; i < 2; i++) {
                    assert_int_equal(out[i].len, segs[i].len);
                    check_leads(&b, out[i].iova, segs[i].pa, segs[i].len);
                }
                unmap_list(&b, &list);
            }
        }
        bench_end(&b);
    }
}

/* Vector 2: a page in the second quarter of a granule. Its offset in there is +0x1000. */
static void vector_02_page_inside_granule(void **state)
{
    static const unsigned kinds[] = {RIG_T8020, RIG_T6000, RIG_T8110};
    const gr_pa_t pa = UINT64_C(0x802e65000);

    (void)state;
    for (unsigned k = 0; k < 3; k++) {
        const struct gr_seg segs[] = {{pa, 0x1000}, {pa - 0x1000, 0x1000}};
        struct gr_dma_seg out[2];
        struct gr_dma_list list = {.segs = segs, .count = 2, .out = out};
        struct gr_pt_walk walk;
        struct bench b;
        gr_iova_t iova;

        bench_make(&b, kinds[k]);
        assert_int_equal(b.g, 16384);
        sign(&b, pa - 0x1000, 0x2000);
        iova = must_map(&b, pa, 0x1000);
        assert_int_equal(iova % b.g, 0x1000);
        assert_int_equal(gr_pt_walk(&b.domain.pt, iova - 0x1000, &walk), 0);
        assert_int_equal(walk.pa, UINT64_C(0x802e64000));
        check_leads(&b, iova, pa, 0x1000);
        must_unmap(&b, iova, 0x1000);
        map_list(&b, &list);
        assert_int_equal(out[0].iova % b.g, 0x1000);
        assert_int_equal(out[1].iova % b.g, 0);
        check_leads(&b, out[0].iova, pa, 0x1000);
        check_leads(&b, out[1].iova, pa - 0x1000, 0x1000);
        unmap_list(&b, &list);
        bench_end(&b);
    }
}

/* Vector 6: neighbours in memory take one run and one output, and no granule twice. */
static void vector_06_neighbours(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        const gr_pa_t base = RIG_LOW + 0x8000;
        const struct gr_seg segs[] = {
            {base + 0x1000, 0x1000},
            {base + 0x2000, 0x1000},
            {base + 0x1000, 0x1000}, /* the same again, after it: no neighbour */
        };
        struct gr_dma_seg out[3];
        struct gr_dma_list list = {.segs = segs, .count = 2, .out = out};
        struct bench b;

        bench_make(&b, kind);
        sign(&b, base, 0x4000);
        map_list(&b, &list);
        assert_int_equal(list.out_count, 1);
        assert_int_equal(out[0].len, 0x2000);
        assert_int_equal(bench_stats(&b).iova.allocated, b.g == 4096 ? 2 * b.g : b.g);
        check_leads(&b, out[0].iova, base + 0x1000, 0x2000);
        unmap_list(&b, &list);
        /* the other way round they are none, but for edges on a granule they are merged in IOVA */
        list.segs = segs + 1;
        map_list(&b, &list);
        assert_int_equal(list.out_count, b.g == 4096 ? 1 : 2);
        assert_int_equal(bench_stats(&b).iova.allocated, 2 * b.g);
        check_leads(&b, out[0].iova, base + 0x2000, 0x1000);
        check_leads(&b, b.g == 4096 ? out[0].iova + 0x1000 : out[1].iova, base + 0x1000, 0x1000);
        unmap_list(&b, &list);
        bench_end(&b);
    }
}

/* Vector 7: coherent buffers below a granule, many, mixed, freed in random order. */
static void sub_granule(unsigned kind, bool coherent, uint64_t seed)
{
    struct {
        uint8_t *cpu;
        uint64_t size;
        gr_iova_t iova;
        gr_pa_t pa;
    } live[96];
    const unsigned most = sizeof(live) / sizeof(live[0]);
    unsigned count = 0;
    uint8_t seen[65536];
    struct bench b;

    bench_make(&b, kind, .seed = seed, .noncoherent = !coherent, .untrusted = true);
    for (unsigned i = 0; i < 600 || count; i++) {
        if (i < 600 && count < most && rig_random(&b.rig, 5) < 3) {
            void *cpu;

            live[count].size = 1 + rig_random(&b.rig, b.g - 1);
            assert_int_equal(gr_dma_alloc(&b.dev, live[count].size, 0, &cpu, &live[count].iova), 0);
            live[count].cpu = cpu;
            assert_int_equal(gr_domain_iova_to_phys(&b.domain, live[count].iova, &live[count].pa),
                             0);
            bench_device(&b, live[count].iova, seen, b.g, false);
            for (uint64_t at = 0; at < b.g; at++) /* not only its size: all that is exposed */
                assert_int_equal(seen[at], 0);
            for (unsigned k = 0; k < count; k++)
                assert_true(live[k].pa / b.g != live[count].pa / b.g);
            memset(seen, (int)i | 1, b.g);
            bench_device(&b, live[count].iova, seen, b.g, true);
            count++;
        } else if (count) {
            const unsigned k = (unsigned)rig_random(&b.rig, count);

            bench_device(&b, live[k].iova, seen, b.g, false);
            for (uint64_t at = 0; at < live[k].size; at++) {
                assert_int_equal(seen[at], seen[0]);
                assert_int_equal(live[k].cpu[at], seen[0]);
            }
            assert_int_equal(gr_dma_free(&b.dev, live[k].size, 0, live[k].cpu, live[k].iova), 0);
            assert_false(bench_reads(&b, live[k].iova));
            live[k] = live[--count];
        }
    }
    bench_end(&b);
}

static void vector_07_coherent_below_granule(void **state)
{
    const uint64_t seed = chance_seed("coherent below a granule");

    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++)
        sub_granule(kind, kind % 2, seed + kind);
}

/* One granule at the end of an address space, through every call. */
static void last_granule(unsigned kind, uint64_t last)
{
    struct gr_seg segs[2];
    struct gr_dma_seg out[2];
    struct gr_dma_list list = {.segs = segs, .count = 2, .out = out};
    const uint64_t g = UINT64_C(1) << rig_kinds[kind].page_bits;
    const gr_pa_t pa = (UINT64_C(1) << rig_kinds[kind].pa_bits) - g; /* the last of memory, too */
    struct bench b;
    gr_iova_t iova;
    void *cpu;

    bench_make(&b, kind, .aperture = {last - (g - 1), last});
    sign(&b, pa, g);
    assert_int_equal(gr_dma_max_mapping_size(&b.dev), 1);
    iova = must_map(&b, pa, g);
    assert_int_equal(iova, last - (g - 1));
    check_leads(&b, iova, pa, g);
    must_unmap(&b, iova, g);
    assert_false(bench_reads(&b, last));
    iova = must_map(&b, pa + g - 1, 1);
    assert_int_equal(iova, last);
    check_leads(&b, iova, pa + g - 1, 1);
    assert_int_equal(gr_dma_sync_for_cpu(&b.dev, iova, 1, BOTH), 0);
    must_unmap(&b, iova, 1);
    assert_false(bench_reads(&b, last));
    segs[0] = (struct gr_seg){pa + 5, g - 10};
    segs[1] = (struct gr_seg){pa + g - 5, 5};
    map_list(&b, &list);
    assert_int_equal(list.out_count, 1);
    assert_int_equal(out[0].iova + (out[0].len - 1), last);
    check_leads(&b, out[0].iova, pa + 5, g - 5);
    unmap_list(&b, &list);
    assert_false(bench_reads(&b, last));
    assert_int_equal(gr_dma_alloc(&b.dev, g, 0, &cpu, &iova), 0);
    assert_int_equal(iova, last - (g - 1));
    assert_true(bench_reads(&b, last));
    assert_int_equal(gr_dma_free(&b.dev, g, 0, cpu, iova), 0);
    assert_false(bench_reads(&b, last));
    bench_end(&b);
}

/* Vector 8: the last granule of the aperture, up to 2^64; intervals are closed. */
static void vector_08_last_granule(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        const uint64_t block = UINT64_C(1) << rig_kinds[kind].va_bits;

        last_granule(kind, block - 1);
        if (rig_is_smmu(kind))
            continue; /* it translates no upper bits */
        last_granule(kind, 7 * block - 1);
        last_granule(kind, UINT64_MAX);
    }
}

/* Not a byte of what a failed map put below the mapping `old` is left, on either DART. */
static void check_nothing(struct bench *b, gr_iova_t old, bool old_lives)
{
    for (unsigned i = 0; i < 2; i++) {
        assert_true(rig_can_read(&b->rig, i, RIG_SID, old) == old_lives);
        for (uint64_t at = b->g; at < 5 * rig_span(&b->domain); at += 13 * b->g)
            assert_false(rig_can_read(&b->rig, i, RIG_SID, old - at));
    }
}

/* Vector 10: a device behind two DARTs, and a map that fails: neither keeps anything of it. */
static void vector_10_rollback(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        struct gr_seg segs[MOST];
        struct gr_dma_seg out[MOST];
        struct gr_dma_list list = {.segs = segs, .count = MOST, .out = out};
        struct rig_state before;
        struct bench b;
        gr_iova_t old;
        uint64_t n;
        int ret = GR_ENOMEM;

        bench_make(&b, kind, .darts = 2);
        for (unsigned i = 0; i < MOST; i++)
            segs[i] = (struct gr_seg){i * 4 * b.g + 1, rig_span(&b.domain) / 4};
        old = must_map(&b, RIG_LOW, 1);
        for (n = 1;; n++) {
            assert_in_range(n, 1, 20);
            before = rig_state(&b.rig, &b.domain);
            host_fail_alloc(b.rig.host, n);
            ret = gr_dma_map_sg(&b.dev, &list, BOTH, 0);
            host_fail_alloc(b.rig.host, 0);
            if (!ret)
                break;
            assert_int_equal(ret, GR_ENOMEM);
            rig_same(&b.rig, &b.domain, &before, "no memory");
            check_nothing(&b, old, true);
        }
        assert_true(n >= 4);
        unmap_list(&b, &list);
        if (rig_is_smmu(kind)) { /* whose maps wait for nothing */
            must_unmap(&b, old, 1);
            bench_end(&b);
            continue;
        }

        /* The first DART does its part; the second is late once, and takes the rollback's. */
        before = rig_state(&b.rig, &b.domain);
        b.rig.dart[1].hang = 1;
        assert_int_equal(gr_dma_map_sg(&b.dev, &list, BOTH, 0), GR_ETIMEDOUT);
        b.rig.dart[1].busy_reads = 0;
        if (!bench_stats(&b).broken)
            rig_same(&b.rig, &b.domain, &before, "a late DART");
        check_nothing(&b, old, !bench_stats(&b).broken);

        /* The second never answers: it is blocked, and so is the first. */
        rig_set_busy(&b.rig, 1, 0, true);
        ret = gr_dma_map_sg(&b.dev, &list, BOTH, 0);
        assert_true(ret == GR_ETIMEDOUT || ret == GR_EIO);
        rig_set_busy(&b.rig, 1, 0, false);
        assert_true(bench_stats(&b).broken);
        assert_true(bench_stats(&b).quarantined_bytes > 0);
        assert_int_equal(gr_dma_map_sg(&b.dev, &list, BOTH, 0), GR_EIO);
        check_nothing(&b, old, false);
        must_unmap(&b, old, 1);
        bench_end(&b);
    }
}

/* ---- limits ---- */

/* `m` maps at the worst offset, and one byte more does not. */
static void check_max(struct bench *b)
{
    const uint64_t m = gr_dma_max_mapping_size(&b->dev);
    gr_iova_t iova = 0;

    assert_int_equal(gr_dma_opt_mapping_size(&b->dev), m);
    if (m) {
        iova = must_map(b, b->g - 1, m);
        must_unmap(b, iova, m);
    }
    assert_int_not_equal(gr_dma_map(&b->dev, b->g - 1, m + 1, BOTH, 0, &iova), 0);
}

static void max_with(uint64_t *dice, unsigned kind, uint64_t end)
{
    const uint64_t g = UINT64_C(1) << rig_kinds[kind].page_bits;
    const uint64_t size = g * (1 + chance_below(dice, 100));
    const uint64_t first = end - size; /* `end` may be 2^64, which is 0 */
    struct gr_range reserved[5];
    struct bench b;
    unsigned count = (unsigned)chance_below(dice, 6);
    int ret;

    for (unsigned i = 0; i < count; i++) {
        reserved[i].first = first + chance_below(dice, size);
        reserved[i].last =
            reserved[i].first + chance_below(dice, 1 + (end - 1 - reserved[i].first) / 4);
        if (chance_below(dice, 2)) /* granules, or a few bytes in the middle of one */
            reserved[i].last = reserved[i].first;
    }
    bench_open(&b, &(const struct bench_setup){.kind = kind,
                                               .aperture = {first, end - 1},
                                               .reserved = reserved,
                                               .reserved_count = count});
    assert_int_equal(gr_device_init(&b.dev, &b.config), 0);
    ret = gr_domain_init(&b.domain, b.rig.host, &b.dev, GR_DOMAIN_TRANSLATED, 0);
    if (ret) { /* nothing is left */
        assert_int_equal(ret, GR_EBUSY);
        assert_int_equal(gr_device_fini(&b.dev), 0);
        rig_end(&b.rig);
        return;
    }
    assert_int_equal(gr_domain_attach(&b.domain, &b.dev), 0);
    b.g = g;
    check_max(&b);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(
            gr_dma_set_mask(&b.dev, first + g - 1 + chance_below(dice, end - first - g + 1)), 0);
        check_max(&b);
    }
    if (size > g) { /* all but the last byte */
        assert_int_equal(gr_dma_set_mask(&b.dev, end - 2), 0);
        check_max(&b);
    }
    bench_end(&b);
}

static void test_max_mapping_size(void **state)
{
    uint64_t dice = chance_seed("max_mapping_size");

    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        const uint64_t block = UINT64_C(1) << rig_kinds[kind].va_bits;

        for (unsigned i = 0; i < 12; i++) {
            max_with(&dice, kind, block);
            max_with(&dice, kind, rig_is_smmu(kind) ? block : 0);
        }
    }
}

/* A reserved range that ends inside the last granule of all, and a mask that ends there as well. */
static void test_max_at_the_end(void **state)
{
    const uint64_t g = 16384;
    const struct gr_range reserved = {0 - g, 0 - g / 2};
    struct bench b;

    (void)state;
    bench_make(&b, RIG_T8020, .aperture = {0 - 4 * g, UINT64_MAX}, .reserved = &reserved,
               .reserved_count = 1);
    for (uint64_t below = 0; below < 3; below++) {
        assert_int_equal(gr_dma_set_mask(&b.dev, UINT64_MAX - below), 0);
        assert_int_equal(gr_dma_max_mapping_size(&b.dev), 3 * g - (g - 1));
        check_max(&b);
    }
    bench_end(&b);
}

/* An aperture larger than memory can be: a length beyond the PA width never maps. */
static void test_max_is_below_pa_width(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        struct bench b;
        const uint64_t width = UINT64_C(1) << rig_kinds[kind].pa_bits;
        const uint64_t block = UINT64_C(1) << rig_kinds[kind].va_bits;

        bench_make(&b, kind);
        assert_int_equal(gr_dma_max_mapping_size(&b.dev),
                         (width < block ? width : block) - (b.g - 1));
        bench_end(&b);
    }
}

static void test_required_mask(void **state)
{
    static const struct {
        uint64_t last, mask;
    } cases[] = {
        {0xffffffff, 0xffffffff},
        {0x0fffffff, 0x0fffffff},
        {0x10003fff, 0x1fffffff},
        {0x20000000 + 0x3fff, 0x3fffffff},
        {0x700003fff, UINT64_C(0x7ffffffff)},
        {UINT64_C(0x8000000000003fff), UINT64_MAX},
        {UINT64_MAX, UINT64_MAX},
        {0x3fff, 0x3fff},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bench b;
        gr_iova_t iova;

        bench_make(&b, RIG_T8020, .aperture = {cases[i].last - 0x3fff, cases[i].last});
        assert_int_equal(gr_dma_required_mask(&b.dev), cases[i].mask);
        assert_int_equal(gr_dma_set_mask(&b.dev, cases[i].mask), 0);
        iova = must_map(&b, RIG_LOW, 1);
        must_unmap(&b, iova, 1);
        bench_end(&b);
    }
}

static void test_set_mask(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        const uint64_t g = UINT64_C(1) << rig_kinds[kind].page_bits;
        struct bench b;
        gr_iova_t iova[2];

        bench_make(&b, kind, .aperture = {64 * g, 96 * g - 1});
        assert_int_equal(gr_dma_set_mask(&b.dev, 65 * g - 1), 0); /* exactly one granule */
        iova[0] = must_map(&b, RIG_LOW, 1);
        assert_int_equal(iova[0], 64 * g);
        assert_int_equal(gr_dma_set_mask(&b.dev, 65 * g - 2), GR_ERANGE);
        assert_int_equal(gr_dma_set_mask(&b.dev, 0), GR_ERANGE);
        assert_int_equal(gr_dma_map(&b.dev, RIG_LOW, 1, BOTH, 0, &iova[1]), GR_ENOSPC);
        assert_int_equal(gr_dma_set_mask(&b.dev, UINT64_MAX), 0);
        iova[1] = must_map(&b, RIG_LOW, 1);
        assert_true(iova[1] > iova[0]);
        /* maps from before live on under any mask */
        assert_int_equal(gr_dma_set_mask(&b.dev, 66 * g), 0);
        must_unmap(&b, iova[1], 1);
        must_unmap(&b, iova[0], 1);
        bench_end(&b);
    }
}

/* Edges on a granule merge, edges on a CPU page do not. */
static void test_merge_boundary(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        struct gr_seg segs[3];
        struct gr_dma_seg out[3];
        struct gr_dma_list list = {.segs = segs, .count = 3, .out = out};
        struct bench b;

        bench_make(&b, kind);
        assert_int_equal(gr_dma_merge_boundary(&b.dev), b.g - 1);
        for (unsigned i = 0; i < 3; i++)
            segs[i] = (struct gr_seg){(7 - 2 * i) * b.g, b.g};
        map_list(&b, &list);
        assert_int_equal(list.out_count, 1);
        unmap_list(&b, &list);
        for (unsigned i = 0; i < 3; i++) {
            struct gr_seg *const s = &segs[i];
            const struct gr_seg saved = *s;

            s->pa += b.g / 4;
            s->len -= b.g / 4; /* begins later */
            map_list(&b, &list);
            assert_int_equal(list.out_count, i ? 2 : 1);
            unmap_list(&b, &list);
            s->pa = saved.pa; /* ends earlier */
            map_list(&b, &list);
            assert_int_equal(list.out_count, i == 2 ? 1 : 2);
            unmap_list(&b, &list);
            *s = saved;
        }
        bench_end(&b);
    }
}

/* Without a TRANSLATED domain there is no answer. */
static void check_no_answers(struct gr_device *dev)
{
    assert_int_equal(gr_dma_max_mapping_size(dev), 0);
    assert_int_equal(gr_dma_opt_mapping_size(dev), 0);
    assert_int_equal(gr_dma_required_mask(dev), 0);
    assert_int_equal(gr_dma_merge_boundary(dev), 0);
    assert_int_equal(gr_dma_set_mask(dev, UINT64_MAX), GR_ENODEV);
}

static void test_no_domain(void **state)
{
    struct gr_domain unmanaged;
    struct bench b;

    (void)state;
    bench_make(&b, RIG_T8110);
    assert_int_equal(
        gr_domain_init(&unmanaged, b.rig.host, &b.dev, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE), 0);
    assert_int_equal(gr_domain_detach(&b.domain, &b.dev), 0);
    check_no_answers(&b.dev);
    assert_int_equal(gr_domain_attach(&unmanaged, &b.dev), 0);
    check_no_answers(&b.dev);
    assert_int_equal(gr_domain_attach(&b.domain, &b.dev), 0);
    assert_int_equal(gr_domain_fini(&unmanaged), 0);
    assert_int_not_equal(gr_dma_max_mapping_size(&b.dev), 0);
    bench_end(&b);
}

/* ---- attributes ---- */

/* Another device's registers: no memory, so nobody may ask the CPU's caches about them. */
static void test_mmio(void **state)
{
    const gr_pa_t pa = UINT64_C(0x23b100000) + 0x4c;
    struct bench b;
    gr_iova_t iova = 0;
    gr_pa_t led = 0;
    uint64_t calls;

    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        bench_make(&b, kind, .noncoherent = true);
        calls = host_calls(b.rig.host, HOST_CLEAN | HOST_INVAL);
        assert_int_equal(gr_dma_map(&b.dev, pa, 4, BOTH, GR_DMA_MMIO, &iova), 0);
        assert_int_equal(gr_domain_iova_to_phys(&b.domain, iova, &led), 0);
        assert_int_equal(led, pa);
        assert_int_equal(gr_dma_unmap(&b.dev, iova, 4, BOTH, GR_DMA_MMIO), 0);
        assert_int_equal(host_calls(b.rig.host, HOST_CLEAN | HOST_INVAL), calls);
        bench_end(&b);
    }
}

static uint64_t leaf_at(struct bench *b, gr_iova_t iova)
{
    struct gr_pt_walk walk;

    assert_int_equal(gr_pt_walk(&b->domain.pt, iova, &walk), 0);
    return walk.step[walk.steps - 1].entry;
}

/*
 * DART.md 4.2: bit 1 of a DART2 leaf; DART1 has another bit there, which must not move. LPAE:
 * MAIR's index 1 instead of 0, or of stage 2 MemAttr 5 instead of 15.
 */
static void test_uncached(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        const struct gr_seg seg = {3 * 65536, 100};
        struct gr_dma_seg out;
        struct gr_dma_list list = {.segs = &seg, .count = 1, .out = &out};
        struct bench b;
        gr_iova_t iova[2] = {0};
        void *cpu[2];
        uint64_t address = UINT64_C(0x3fffffff00) | ~UINT64_C(0xff) << 32 >> 28;
        uint64_t bit;

        if (rig_is_smmu(kind))
            address = UINT64_C(0xfffffffff000);
        bench_make(&b, kind);
        bit = rig_is_stage_2(&rig_kinds[kind])    ? 0x28
              : rig_is_smmu(kind)                 ? 4
              : b.domain.pt.format == GR_PT_DART2 ? 2
                                                  : 0;
        for (unsigned i = 0; i < 2; i++)
            assert_int_equal(
                gr_dma_map(&b.dev, seg.pa, seg.len, BOTH, i ? GR_DMA_UNCACHED : 0, &iova[i]), 0);
        assert_int_equal(leaf_at(&b, iova[0]) ^ leaf_at(&b, iova[1]), bit);
        assert_int_equal(gr_dma_map_sg(&b.dev, &list, BOTH, GR_DMA_UNCACHED), 0);
        assert_int_equal(leaf_at(&b, iova[0]) ^ leaf_at(&b, out.iova), bit);
        assert_int_equal(gr_dma_unmap_sg(&b.dev, &list, BOTH, GR_DMA_UNCACHED), 0);
        for (unsigned i = 0; i < 2; i++)
            assert_int_equal(gr_dma_unmap(&b.dev, iova[i], seg.len, BOTH, i ? GR_DMA_UNCACHED : 0),
                             0);
        for (unsigned i = 0; i < 2; i++)
            assert_int_equal(gr_dma_alloc(&b.dev, 100, i ? GR_DMA_UNCACHED : 0, &cpu[i], &iova[i]),
                             0);
        assert_int_equal((leaf_at(&b, iova[0]) ^ leaf_at(&b, iova[1])) & ~address, bit);
        for (unsigned i = 0; i < 2; i++)
            assert_int_equal(gr_dma_free(&b.dev, 100, i ? GR_DMA_UNCACHED : 0, cpu[i], iova[i]), 0);
        bench_end(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(vector_01_offset_beyond_page),
        rig_test(vector_02_page_inside_granule),
        rig_test(vector_06_neighbours),
        rig_test(vector_07_coherent_below_granule),
        rig_test(vector_08_last_granule),
        rig_test(vector_10_rollback),
        rig_test(test_max_mapping_size),
        rig_test(test_max_at_the_end),
        rig_test(test_max_is_below_pa_width),
        rig_test(test_required_mask),
        rig_test(test_set_mask),
        rig_test(test_merge_boundary),
        rig_test(test_no_domain),
        rig_test(test_mmio),
        rig_test(test_uncached),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
