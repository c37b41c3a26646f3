/* SPDX-License-Identifier: MIT */
/*
 * A rig with one device, attached to a domain: where most tests of domains and of the DMA API
 * begin. Further devices of the same rig are clients.
 */
#ifndef TESTS_BENCH_H
#define TESTS_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "rig.h"

struct bench_setup {
    unsigned kind;
    unsigned darts;           /* 0: 1 */
    unsigned cpu_page;        /* 0: 4096 */
    uint64_t seed;            /* 0: 1 */
    uint32_t sid;             /* 0: RIG_SID */
    enum gr_domain_type type; /* 0: TRANSLATED */
    struct gr_range aperture; /* what the bus lets through; {0, 0}: the kind's */
    struct gr_range window;   /* of the first stream; {0, 0}: all */
    bool noncoherent, untrusted;
    enum gr_isolation isolation;
    uint64_t dma_mask;
    const struct gr_range *reserved;
    unsigned reserved_count;
    bool ram; /* 16 KiB at `pa` */
};

struct bench {
    struct rig rig;
    struct gr_stream stream[RIG_DARTS];
    struct gr_device_config config;
    struct gr_device dev;
    struct gr_domain domain;
    uint64_t g; /* the granule */
    gr_pa_t pa; /* of `ram` */
    bool ram;
};

/* The machine and the device's config, which may be changed before bench_attach(). */
static inline void bench_open(struct bench *b, const struct bench_setup *setup)
{
    const struct rig_setup one = {.kind = setup->kind, .aperture = setup->aperture};
    const struct rig_setup each[RIG_DARTS] = {one, one, one};
    const unsigned darts = setup->darts ? setup->darts : 1;

    rig_make(&b->rig, setup->cpu_page ? setup->cpu_page : 4096, setup->seed ? setup->seed : 1,
             darts, each);
    b->config = rig_device(&b->rig, b->stream, 0, darts, setup->sid ? setup->sid : RIG_SID);
    b->config.coherent = !setup->noncoherent;
    b->config.untrusted = setup->untrusted;
    b->config.isolation = setup->isolation;
    b->config.dma_mask = setup->dma_mask;
    b->config.reserved = setup->reserved;
    b->config.reserved_count = setup->reserved_count;
    if (setup->window.last)
        b->stream[0].window = setup->window;
    b->ram = setup->ram;
    b->pa = setup->ram ? rig_ram(&b->rig, 16 * KIB, 16 * KIB) : 0;
}

static inline void bench_attach(struct bench *b, enum gr_domain_type type)
{
    const unsigned flags = type == GR_DOMAIN_UNMANAGED ? GR_DOMAIN_LP_AWARE : 0;

    assert_int_equal(gr_device_init(&b->dev, &b->config), 0);
    assert_int_equal(gr_domain_init(&b->domain, b->rig.host, &b->dev, type, flags), 0);
    assert_int_equal(gr_domain_attach(&b->domain, &b->dev), 0);
    b->g = UINT64_C(1) << gr_domain_granule_lg2(&b->domain);
}

static inline void bench_setup(struct bench *b, const struct bench_setup *setup)
{
    bench_open(b, setup);
    bench_attach(b, setup->type ? setup->type : GR_DOMAIN_TRANSLATED);
}

/* bench_make(b, KIND), or with more: bench_make(b, KIND, .darts = 2, .type = GR_DOMAIN_LINEAR). */
#define bench_make(b, ...) bench_setup(b, &(const struct bench_setup){.kind = __VA_ARGS__})

/* `leaks`: pages that stay allocated on purpose. */
static inline void bench_end_leaking(struct bench *b, int leaks)
{
    assert_int_equal(gr_domain_detach(&b->domain, &b->dev), 0);
    assert_int_equal(gr_domain_fini(&b->domain), 0);
    assert_int_equal(gr_device_fini(&b->dev), 0);
    memset(&b->dev, 0xa5, sizeof(b->dev)); /* the caller's memory again */
    if (b->ram)
        host_ram_free(b->rig.host, b->pa);
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
    for (uint64_t word; len; bytes += sizeof(word), len -= sizeof(word)) {
        word = rig_random(&b->rig, UINT64_MAX);
        if (len < sizeof(word)) {
            memcpy(bytes, &word, len);
            return;
        }
        memcpy(bytes, &word, sizeof(word));
    }
}

/* ---- further devices ---- */

struct client {
    struct gr_stream stream[RIG_DARTS];
    struct gr_device_config config;
    struct gr_device dev;
};

static inline void client_make(struct rig *rig, struct client *c, unsigned first, unsigned count,
                               uint32_t sid)
{
    c->config = rig_device(rig, c->stream, first, count, sid);
    assert_int_equal(gr_device_init(&c->dev, &c->config), 0);
}

static inline void client_end(struct client *c)
{
    assert_int_equal(gr_device_fini(&c->dev), 0);
    memset(&c->dev, 0xa5, sizeof(c->dev)); /* the caller's memory again */
}

#endif
