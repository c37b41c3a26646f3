/* SPDX-License-Identifier: MIT */
/*
 * Coherent buffers: sizes, alignment, zeroes, many small ones in any order, sharing without a sync,
 * devices that do not snoop, every documented error, memory that runs out, commands that hang.
 */
#include "bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIVE 200u

struct buffer {
    uint64_t size;
    unsigned attrs;
    uint8_t *cpu;
    gr_iova_t iova;
    uint8_t fill; /* what every byte of it holds */
};

static uint64_t rounded(uint64_t size, uint64_t least)
{
    uint64_t n = least;

    while (n < size)
        n *= 2;
    return n;
}

static uint64_t span_of(const struct bench *b, uint64_t size)
{
    return (size + b->g - 1) / b->g * b->g;
}

static int try_alloc(struct bench *b, uint64_t size, unsigned attrs, struct buffer *out)
{
    void *cpu = b;
    gr_iova_t iova = 0xabcd;
    const int ret = gr_dma_alloc(&b->dev, size, attrs, &cpu, &iova);

    if (ret) { /* results are left alone */
        assert_true(cpu == b);
        assert_int_equal(iova, 0xabcd);
        return ret;
    }
    *out = (struct buffer){.size = size, .attrs = attrs, .cpu = cpu, .iova = iova};
    return 0;
}

static struct buffer must_alloc(struct bench *b, uint64_t size)
{
    struct buffer buf = {0};
    const int ret = try_alloc(b, size, 0, &buf);

    if (ret)
        fail_msg("alloc of %" PRIu64 " bytes: %s", size, gr_strerror(ret));
    return buf;
}

static void must_free(struct bench *b, const struct buffer *buf)
{
    const int ret = gr_dma_free(&b->dev, buf->size, buf->attrs, buf->cpu, buf->iova);

    if (ret)
        fail_msg("free of %" PRIu64 " bytes: %s", buf->size, gr_strerror(ret));
}

/* ---- sizes, alignment, zeroes ---- */

/* All that the device can reach around a buffer is zero. */
static void check_zeroes(struct bench *b, const struct buffer *buf)
{
    const uint64_t span = span_of(b, buf->size);
    uint8_t *const seen = malloc(span);

    assert_non_null(seen);
    memset(seen, 0xee, span);
    bench_device(b, buf->iova, seen, span, false);
    for (uint64_t i = 0; i < span; i++)
        assert_int_equal(seen[i], 0);
    for (uint64_t i = 0; i < buf->size; i++)
        assert_int_equal(buf->cpu[i], 0);
    free(seen);
}

/* Each writes, the other reads, and nobody syncs. */
static void check_shared(struct bench *b, const struct buffer *buf)
{
    uint8_t *const bytes = malloc(buf->size);
    uint8_t *const seen = malloc(buf->size);

    assert_non_null(bytes);
    assert_non_null(seen);
    for (unsigned round = 0; round < 2; round++) {
        bench_random_bytes(b, bytes, buf->size);
        memcpy(buf->cpu, bytes, buf->size);
        gr_port_wmb();
        bench_device(b, buf->iova, seen, buf->size, false);
        assert_memory_equal(seen, bytes, buf->size);
        bench_random_bytes(b, bytes, buf->size);
        bench_device(b, buf->iova, bytes, buf->size, true);
        gr_port_rmb();
        assert_memory_equal(buf->cpu, bytes, buf->size);
    }
    free(bytes);
    free(seen);
}

static void one_size(struct bench *b, uint64_t size)
{
    const struct gr_domain_stats before = bench_stats(b);
    const int leaks = host_leaks(b->rig.host);
    struct buffer buf = must_alloc(b, size);

    assert_int_equal(buf.iova % rounded(size, 1), 0);
    assert_int_equal(buf.iova % b->g, 0);
    if ((uintptr_t)buf.cpu % rounded(size, b->g))
        fail_msg("%" PRIu64 " bytes at CPU address %p", size, (void *)buf.cpu);
    assert_int_equal(bench_stats(b).iova.allocations, before.iova.allocations + 1);
    assert_int_equal(bench_stats(b).iova.allocated, before.iova.allocated + span_of(b, size));
    assert_int_equal(bench_stats(b).invalidations,
                     before.invalidations + b->domain.invalidate_on_map);
    check_zeroes(b, &buf);
    assert_false(buf.iova > b->domain.aperture.first && bench_reads(b, buf.iova - 1));
    assert_false(buf.iova + span_of(b, size) - 1 < b->domain.aperture.last &&
                 bench_reads(b, buf.iova + span_of(b, size)));
    check_shared(b, &buf);
    must_free(b, &buf);
    assert_false(bench_reads(b, buf.iova));
    assert_false(bench_reads(b, buf.iova + size - 1));
    assert_false(bench_reads(b, buf.iova + span_of(b, size) - 1));
    assert_int_equal(bench_stats(b).iova.allocations, before.iova.allocations);
    assert_int_equal(bench_stats(b).iova.available, before.iova.available);
    assert_int_equal(bench_stats(b).tables, before.tables);
    assert_int_equal(host_leaks(b->rig.host), leaks);
}

static void test_sizes(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS * 2; kind++) {
        struct bench b;
        uint64_t sizes[] = {1,         2,          17,        4095,        4096,     4097,
                            3 * 4096,  16383,      16384,     16385,       5 * 4096, 65536 + 1,
                            100 * KIB, 1000 * 999, MIB - 100, 3 * MIB + 1, 4 * MIB,  8 * MIB};

        bench_make(&b, kind / 2, .noncoherent = !(kind % 2));
        struct buffer first = must_alloc(&b, 1); /* the allocator keeps its pages */

        must_free(&b, &first);
        for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            /* the large ones once, for their time */
            if (sizes[i] < 200 * KIB || kind < 4)
                one_size(&b, sizes[i]);
        }
        bench_end(&b);
    }
}

/* Memory that was used before, by the CPU and by devices, comes back as zeroes. */
static void test_zero_again(void **state)
{
    (void)state;
    for (unsigned coherent = 0; coherent < 2; coherent++) {
        struct bench b;
        struct buffer buf[64];
        uint8_t junk[16384];

        bench_make(&b, RIG_T8110, .noncoherent = !coherent);
        memset(junk, 0x99, sizeof(junk));
        for (unsigned round = 0; round < 3; round++) {
            for (unsigned i = 0; i < 64; i++) {
                buf[i] = must_alloc(&b, 1 + i * 200);
                check_zeroes(&b, &buf[i]);
            }
            for (unsigned i = 0; i < 64; i++) {
                bench_device(&b, buf[i].iova, junk, b.g, true); /* its whole granule */
                must_free(&b, &buf[i]);
            }
        }
        bench_end(&b);
    }
}

/* ---- many small ones ---- */

static void check_fill(struct bench *b, const struct buffer *buf)
{
    uint8_t *const seen = malloc(buf->size);

    assert_non_null(seen);
    bench_device(b, buf->iova, seen, buf->size, false);
    for (uint64_t i = 0; i < buf->size; i++) {
        assert_int_equal(seen[i], buf->fill);
        assert_int_equal(buf->cpu[i], buf->fill);
    }
    free(seen);
}

/* None may overlap another, in IOVA or in memory: each has its own bytes until it is freed. */
static void small_ones(unsigned kind, unsigned cpu_page, bool coherent, uint64_t seed)
{
    struct bench b;
    struct buffer live[LIVE];
    unsigned count = 0;
    unsigned fill = 1;
    int leaks;

    bench_make(&b, kind, .cpu_page = cpu_page, .seed = seed, .noncoherent = !coherent,
               .dma_mask = UINT32_MAX);
    leaks = host_leaks(b.rig.host);
    for (unsigned i = 0; i < 1200; i++) {
        if (i == 600) /* lower, as a second device might have it */
            assert_int_equal(gr_dma_set_mask(&b.dev, (UINT64_C(1) << 28) - 1), 0);
        if (count < LIVE && rig_random(&b.rig, 5) < 3) {
            const uint64_t pages = 1 + rig_random(&b.rig, 3);
            struct buffer *const buf = &live[count++];

            *buf = must_alloc(&b, pages * 4096 - (rig_random(&b.rig, 2) ? 0 : 100));
            assert_true(buf->iova + buf->size - 1 <= b.dev.dma_mask);
            assert_int_equal(buf->iova % rounded(buf->size, 1), 0);
            buf->fill = (uint8_t)fill++;
            memset(buf->cpu, buf->fill, buf->size);
            gr_port_wmb();
        } else if (count) {
            const unsigned k = (unsigned)rig_random(&b.rig, count);

            check_fill(&b, &live[k]);
            must_free(&b, &live[k]);
            assert_false(bench_reads(&b, live[k].iova));
            live[k] = live[--count];
        }
    }
    while (count) {
        check_fill(&b, &live[--count]);
        must_free(&b, &live[count]);
    }
    assert_int_equal(bench_stats(&b).iova.allocations, 0);
    assert_true(host_leaks(b.rig.host) - leaks <= 8); /* bookkeeping that is kept */
    bench_end(&b);
}

static void test_small_ones(void **state)
{
    const uint64_t seed = chance_seed("small ones");

    (void)state;
    small_ones(RIG_T8020_VA38, 4096, true, seed);
    small_ones(RIG_T8020_4K, 16384, true, seed + 1);
    small_ones(RIG_T8110, 65536, false, seed + 2);
    small_ones(RIG_T8110_4K, 4096, false, seed + 3);
    small_ones(RIG_T6000, 16384, true, seed + 4);
}

/* ---- errors ---- */

static void refuse_alloc(struct bench *b, uint64_t size, unsigned attrs, int err, const char *what)
{
    const struct rig_state before = rig_state(&b->rig, &b->domain);
    const int leaks = host_leaks(b->rig.host);
    struct buffer unused;
    const int ret = try_alloc(b, size, attrs, &unused);

    if (ret != err)
        fail_msg("%s: alloc gives %d, not %s", what, ret, gr_strerror(err));
    rig_same(&b->rig, &b->domain, &before, what);
    assert_int_equal(host_leaks(b->rig.host), leaks);
}

static void refuse_free(struct bench *b, struct buffer buf, int err, const char *what)
{
    const struct rig_state before = rig_state(&b->rig, &b->domain);
    const int leaks = host_leaks(b->rig.host);
    const int ret = gr_dma_free(&b->dev, buf.size, buf.attrs, buf.cpu, buf.iova);

    if (ret != err)
        fail_msg("%s: free gives %d, not %s", what, ret, gr_strerror(err));
    rig_same(&b->rig, &b->domain, &before, what);
    assert_int_equal(host_leaks(b->rig.host), leaks);
}

static void test_alloc_errors(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS * 2; kind++) {
        struct bench b;

        bench_make(&b, kind / 2, .darts = 2, .noncoherent = !(kind % 2));
        refuse_alloc(&b, 0, 0, GR_ENODATA, "no size");
        refuse_alloc(&b, 1, 0x80000000u, GR_EOPNOTSUPP, "attribute 31");
        refuse_alloc(&b, 1, GR_DMA_MMIO, GR_EOPNOTSUPP, "registers");
        refuse_alloc(&b, 1, GR_DMA_SKIP_SYNC, GR_EOPNOTSUPP, "no cache work");
        refuse_alloc(&b, UINT64_MAX, 0, GR_EOVERFLOW, "2^64 - 1 bytes");
        refuse_alloc(&b, UINT64_C(1) << 62, 0, GR_ENOMEM, "2^62 bytes");
        refuse_alloc(&b, 128 * MIB, 0, GR_ENOMEM, "more than there is");
        b.dev.dma_mask = b.domain.aperture.first + b.g - 2; /* as a device may come */
        refuse_alloc(&b, 1, 0, GR_ERANGE, "a mask below the first granule's end");
        b.dev.dma_mask = UINT64_MAX;
        assert_int_equal(gr_domain_detach(&b.domain, &b.dev), 0);
        refuse_alloc(&b, 1, 0, GR_ENODEV, "no domain");
        assert_int_equal(gr_domain_attach(&b.domain, &b.dev), 0);
        bench_end(&b);
    }
}

static void test_free_errors(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS * 2; kind++) {
        struct bench b;
        struct buffer buf, other, wrong;

        bench_make(&b, kind / 2, .darts = 2, .noncoherent = !(kind % 2));
        buf = must_alloc(&b, 2 * b.g + 1);
        other = must_alloc(&b, 5);
        wrong = buf;
        wrong.size = 0;
        refuse_free(&b, wrong, GR_ENODATA, "no size");
        wrong.size = buf.size + b.g;
        refuse_free(&b, wrong, GR_EMSGSIZE, "one granule more");
        wrong.size = buf.size - 2;
        refuse_free(&b, wrong, GR_EMSGSIZE, "one granule less");
        wrong = buf;
        wrong.attrs = GR_DMA_SKIP_SYNC;
        refuse_free(&b, wrong, GR_EOPNOTSUPP, "an attribute that no allocation has");
        wrong = buf;
        wrong.iova++;
        refuse_free(&b, wrong, GR_ENOENT, "an address inside");
        wrong.iova = buf.iova - 8 * b.g;
        refuse_free(&b, wrong, GR_ENOENT, "an address where nothing is");
        wrong.iova = 0 - b.g;
        refuse_free(&b, wrong, GR_ENOENT, "an address outside the aperture");
        wrong = buf;
        wrong.cpu = other.cpu;
        wrong.size = 5;
        refuse_free(&b, wrong, b.config.coherent ? GR_EINVAL : GR_EMSGSIZE, "two others");
        wrong.size = buf.size;
        if (b.config.coherent) {
            refuse_free(&b, wrong, GR_EINVAL, "the other's memory");
            wrong.cpu = buf.cpu + 1;
            refuse_free(&b, wrong, GR_EINVAL, "an address inside its memory");
        }
        must_free(&b, &other);
        must_free(&b, &buf);
        refuse_free(&b, buf, GR_ENOENT, "twice");
        assert_int_equal(gr_domain_detach(&b.domain, &b.dev), 0);
        refuse_free(&b, buf, GR_ENODEV, "no domain");
        assert_int_equal(gr_domain_attach(&b.domain, &b.dev), 0);
        bench_end(&b);
    }
}

/* ---- what runs out ---- */

static void test_exhaustion(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        const uint64_t g = UINT64_C(1) << rig_kinds[kind].page_bits;
        struct buffer buf[16];
        struct bench b;

        bench_make(&b, kind, .aperture = {16 * g, 32 * g - 1});
        refuse_alloc(&b, 16 * g + 1, 0, GR_ENOSPC, "more than the aperture");
        for (unsigned round = 0; round < 2; round++) {
            for (unsigned i = 0; i < 16; i++)
                buf[i] = must_alloc(&b, 100 + i);
            refuse_alloc(&b, 1, 0, GR_ENOSPC, "a full aperture");
            for (unsigned i = 0; i < 16; i += 2)
                must_free(&b, &buf[i]);
            refuse_alloc(&b, 2 * g, 0, GR_ENOSPC, "every other granule is free");
            for (unsigned i = 0; i < 16; i += 2)
                buf[i] = must_alloc(&b, g);
            for (unsigned i = 16; i--;)
                must_free(&b, &buf[i]);
            buf[0] = must_alloc(&b, 16 * g - 1);
            assert_int_equal(buf[0].iova, 16 * g);
            must_free(&b, &buf[0]);
        }
        bench_end(&b);
    }
}

/* No more memory than this bench's host has, and all of it again afterwards. */
static void test_memory_exhaustion(void **state)
{
    struct buffer buf[LIVE];
    struct bench b;
    unsigned first = 0;
    int ret = 0;

    (void)state;
    bench_make(&b, RIG_T8110);
    for (unsigned round = 0; round < 2; round++) {
        unsigned n = 0;

        while (n < LIVE && !(ret = try_alloc(&b, 2 * MIB, 0, &buf[n])))
            n++;
        assert_int_equal(ret, GR_ENOMEM);
        assert_int_equal(n, round ? first : n);
        first = n;
        while (n)
            must_free(&b, &buf[--n]);
    }
    assert_true(first > 20);
    bench_end(&b);
}

/* The n-th allocation of the port fails, each once: the buffer's own, then its tables'. */
static void test_no_memory(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS * 2; kind++) {
        struct bench b;
        struct buffer buf;
        struct gr_range mapped;
        uint64_t n;
        int leaks, ret = GR_ENOMEM;

        bench_make(&b, kind / 2, .noncoherent = !(kind % 2));
        buf = must_alloc(&b, 1); /* the IOVA space's first bookkeeping */
        must_free(&b, &buf);
        leaks = host_leaks(b.rig.host);
        for (n = 1; ret; n++) {
            const struct rig_state before = rig_state(&b.rig, &b.domain);

            assert_in_range(n, 1, 20);
            host_fail_alloc(b.rig.host, n);
            ret = try_alloc(&b, 3 * MIB, 0, &buf);
            host_fail_alloc(b.rig.host, 0);
            if (!ret)
                break;
            assert_int_equal(ret, GR_ENOMEM);
            rig_same(&b.rig, &b.domain, &before, "no memory");
            assert_int_equal(host_leaks(b.rig.host), leaks);
        }
        mapped = (struct gr_range){buf.iova, buf.iova + 3 * MIB - 1};
        /* the buffer, each table, and then the call that succeeds */
        assert_int_equal(n, bench_stats(&b).tables - rig_root_tables(&b.domain) + 2);
        assert_true(rig_is_smmu(kind / 2) || /* which makes blocks */
                    bench_stats(&b).tables == rig_tables(&b.domain, &mapped, 1));
        check_shared(&b, &buf);
        must_free(&b, &buf);
        assert_int_equal(host_leaks(b.rig.host), leaks);
        bench_end(&b);
    }
}

/* ---- devices that do not snoop ---- */

static void test_uncached(void **state)
{
    struct buffer buf[3];
    struct bench b;
    uint64_t calls;

    (void)state;
    bench_make(&b, RIG_T8110, .noncoherent = true);
    host_fail_uncached(b.rig.host, 1);
    refuse_alloc(&b, 100, 0, GR_EOPNOTSUPP, "no uncached mapping");
    host_fail_uncached(b.rig.host, 3);
    buf[0] = must_alloc(&b, 100);
    buf[1] = must_alloc(&b, 100);
    refuse_alloc(&b, 100, 0, GR_EOPNOTSUPP, "no third uncached mapping");
    buf[2] = must_alloc(&b, 40 * KIB);
    calls = host_calls(b.rig.host, HOST_CLEAN | HOST_INVAL);
    for (unsigned i = 0; i < 3; i++)
        check_shared(&b, &buf[i]);
    assert_int_equal(host_calls(b.rig.host, HOST_CLEAN | HOST_INVAL), calls);
    for (unsigned i = 0; i < 3; i++)
        must_free(&b, &buf[i]);
    bench_end(&b);
}

/* The test of the test: were the zeroes not cleaned, the device and the CPU would see others. */
static void test_zeroes_are_cleaned(void **state)
{
    struct bench b;
    struct buffer buf;
    uint8_t seen[4096];
    unsigned wrong = 0;

    (void)state;
    bench_make(&b, RIG_T8110, .noncoherent = true);
    for (unsigned i = 0; i < 8; i++) {
        host_ignore(b.rig.host, HOST_CLEAN | HOST_INVAL, 1);
        buf = must_alloc(&b, sizeof(seen));
        host_ignore(b.rig.host, HOST_CLEAN | HOST_INVAL, 0);
        bench_device(&b, buf.iova, seen, sizeof(seen), false);
        for (unsigned k = 0; k < sizeof(seen); k++)
            wrong += seen[k] != 0;
        must_free(&b, &buf);
    }
    assert_true(wrong > 0);
    bench_end(&b);
}

/* ---- one device behind two instances; attributes ---- */

static void test_two_instances(void **state)
{
    struct bench b;
    struct buffer buf;

    (void)state;
    bench_make(&b, RIG_T8020, .darts = 2);
    buf = must_alloc(&b, 5000);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(rig_can_read(&b.rig, i, RIG_SID, buf.iova));
        assert_true(rig_can_write(&b.rig, i, RIG_SID, buf.iova + 4999));
    }
    must_free(&b, &buf);
    for (unsigned i = 0; i < 2; i++) {
        assert_false(rig_can_read(&b.rig, i, RIG_SID, buf.iova));
        assert_false(rig_can_write(&b.rig, i, RIG_SID, buf.iova + 4999));
    }
    bench_end(&b);
}

static void test_untrusted_may(void **state)
{
    struct bench b;
    struct buffer buf;

    (void)state;
    bench_make(&b, RIG_T8110, .untrusted = true);
    buf = must_alloc(&b, 100); /* it owns its granule, so nothing else is exposed */
    check_zeroes(&b, &buf);
    must_free(&b, &buf);
    bench_end(&b);
}

/* ---- commands that hang: the memory stays, because the device may still write it ---- */

static void test_stuck_alloc(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_SMMU * 2; kind++) {
        struct bench b;
        struct buffer unused;
        const bool coherent = kind % 2;
        int leaks;

        bench_make(&b, kind / 2, .noncoherent = !coherent);
        leaks = host_leaks(b.rig.host);
        rig_set_busy(&b.rig, 0, 0, true);
        assert_int_equal(try_alloc(&b, 2 * b.g, 0, &unused), GR_ETIMEDOUT);
        assert_true(bench_stats(&b).broken);
        assert_int_equal(bench_stats(&b).quarantined_bytes, 2 * b.g);
        assert_true(host_leaks(b.rig.host) >= leaks + (int)(2 * b.g / 4096) + !coherent);
        leaks = host_leaks(b.rig.host);
        rig_set_busy(&b.rig, 0, 0, false);
        assert_int_equal(try_alloc(&b, 1, 0, &unused), GR_EIO);
        assert_int_equal(host_leaks(b.rig.host), leaks);
        bench_end_leaking(&b, (int)(2 * b.g / 4096) + !coherent);
    }
}

static void test_stuck_free(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS * 2; kind++) {
        struct bench b;
        struct buffer buf;
        const bool coherent = kind % 2;

        bench_make(&b, kind / 2, .noncoherent = !coherent);
        buf = must_alloc(&b, 3 * b.g);
        memset(buf.cpu, 0x44, buf.size);
        gr_port_wmb();
        assert_true(bench_reads(&b, buf.iova));
        rig_set_busy(&b.rig, 0, 0, true);
        assert_int_equal(gr_dma_free(&b.dev, buf.size, 0, buf.cpu, buf.iova), GR_ETIMEDOUT);
        rig_set_busy(&b.rig, 0, 0, false);
        assert_false(bench_reads(&b, buf.iova));
        for (uint64_t i = 0; i < buf.size; i++)
            assert_int_equal(buf.cpu[i], 0x44); /* still there, and nobody else's */
        assert_int_equal(gr_dma_free(&b.dev, buf.size, 0, buf.cpu, buf.iova), GR_ENOENT);
        bench_end_leaking(&b, (int)(4 * b.g / 4096) + !coherent);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(test_sizes),
        rig_test(test_zero_again),
        rig_test(test_small_ones),
        rig_test(test_alloc_errors),
        rig_test(test_free_errors),
        rig_test(test_exhaustion),
        rig_test(test_memory_exhaustion),
        rig_test(test_no_memory),
        rig_test(test_uncached),
        rig_test(test_zeroes_are_cleaned),
        rig_test(test_two_instances),
        rig_test(test_untrusted_may),
        rig_test(test_stuck_alloc),
        rig_test(test_stuck_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
