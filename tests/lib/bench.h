/* SPDX-License-Identifier: MIT */
/* A rig with one device, attached to a TRANSLATED domain: where most tests of the DMA API begin. */
#ifndef TESTS_BENCH_H
#define TESTS_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rig.h"

struct bench {
    struct rig rig;
    struct gr_stream stream[RIG_DARTS];
    struct gr_device_config config;
    struct gr_device dev;
    struct gr_domain domain;
    uint64_t g; /* the granule */
};

/* `rig` is made, and `config` filled by rig_device(). */
static inline void bench_attach(struct bench *b)
{
    assert_int_equal(gr_device_init(&b->dev, &b->config), 0);
    assert_int_equal(gr_domain_init(&b->domain, b->rig.host, &b->dev, GR_DOMAIN_TRANSLATED, 0), 0);
    assert_int_equal(gr_domain_attach(&b->domain, &b->dev), 0);
    b->g = UINT64_C(1) << gr_domain_granule_lg2(&b->domain);
}

static inline void bench_make(struct bench *b, unsigned kind, unsigned darts, bool coherent)
{
    rig_make_plain(&b->rig, kind, darts);
    b->config = rig_device(&b->rig, b->stream, 0, darts, RIG_SID);
    b->config.coherent = coherent;
    bench_attach(b);
}

/* One DART whose bus lets only [first, last] through. */
static inline void bench_make_narrow(struct bench *b, unsigned kind, uint64_t first, uint64_t last)
{
    const struct rig_setup setup = {.kind = kind, .aperture = {first, last}};

    rig_make(&b->rig, 4096, 1, 1, &setup);
    b->config = rig_device(&b->rig, b->stream, 0, 1, RIG_SID);
    bench_attach(b);
}

/* `leaks`: pages that stay allocated on purpose. */
static inline void bench_end_leaking(struct bench *b, int leaks)
{
    assert_int_equal(gr_domain_detach(&b->domain, &b->dev), 0);
    assert_int_equal(gr_domain_fini(&b->domain), 0);
    assert_int_equal(gr_device_fini(&b->dev), 0);
    rig_end_leaking(&b->rig, leaks);
}

static inline void bench_end(struct bench *b)
{
    bench_end_leaking(b, 0);
}

static inline struct gr_domain_stats bench_stats(struct bench *b)
{
    struct gr_domain_stats stats;

    gr_domain_stats(&b->domain, &stats);
    return stats;
}

static inline bool bench_reads(struct bench *b, gr_iova_t iova)
{
    return rig_can_read(&b->rig, 0, RIG_SID, iova);
}

/* The device moves bytes, all of them. */
static inline void bench_device(struct bench *b, gr_iova_t iova, void *buf, uint64_t len,
                                bool write)
{
    uint64_t done = 0;

    assert_int_equal(
        rig_access(&b->rig, 0, RIG_SID, iova, buf, len, write, b->config.coherent, &done),
        MODEL_OK);
    assert_int_equal(done, len);
}

static inline void bench_random_bytes(struct bench *b, uint8_t *bytes, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)rig_random(&b->rig, 256);
}

#endif
