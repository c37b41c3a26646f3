/* SPDX-License-Identifier: MIT */
/*
 * Devices, groups and domains on DART models that forget nothing unless told: who shares what,
 * every documented error, UNMANAGED domains, several instances behind one device, and failures.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"

static void unmanaged(struct rig *rig, struct gr_domain *domain, struct client *c)
{
    assert_int_equal(
        gr_domain_init(domain, rig->host, &c->dev, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE), 0);
}

static void attach(struct gr_domain *domain, struct client *c)
{
    assert_int_equal(gr_domain_attach(domain, &c->dev), 0);
    assert_ptr_equal(gr_device_domain(&c->dev), domain);
}

static void detach(struct gr_domain *domain, struct client *c)
{
    assert_int_equal(gr_domain_detach(domain, &c->dev), 0);
    assert_null(gr_device_domain(&c->dev));
}

static void domain_end(struct gr_domain *domain)
{
    assert_int_equal(gr_domain_fini(domain), 0);
}

static uint64_t tables(struct gr_domain *domain)
{
    struct gr_domain_stats stats;

    gr_domain_stats(domain, &stats);
    return stats.tables;
}

static uint64_t granule(const struct gr_domain *domain)
{
    return UINT64_C(1) << gr_domain_granule_lg2(domain);
}

static bool reads(struct bench *b, unsigned dart, uint64_t iova)
{
    return rig_can_read(&b->rig, dart, RIG_SID, iova);
}

/* ---- devices and groups ---- */

static bool same_group(const struct client *a, const struct client *b)
{
    return a->dev.group == b->dev.group;
}

static void test_device_errors(void **state)
{
    struct rig rig;
    struct client good;
    struct client bad;
    struct gr_domain domain;

    (void)state;
    rig_make_plain(&rig, RIG_T8020, 2);
    bad.config = rig_device(&rig, bad.stream, 0, 2, RIG_SID);
    bad.config.stream_count = 0;
    assert_int_equal(gr_device_init(&bad.dev, &bad.config), GR_EINVAL);
    bad.config.stream_count = 2;
    bad.stream[1] = bad.stream[0];
    assert_int_equal(gr_device_init(&bad.dev, &bad.config), GR_EINVAL);
    bad.config = rig_device(&rig, bad.stream, 0, 2, RIG_SID);
    bad.stream[1].window = (struct gr_range){5, 4};
    assert_int_equal(gr_device_init(&bad.dev, &bad.config), GR_EINVAL);
    bad.stream[1].window = (struct gr_range){4, 5};
    bad.stream[1].sid = 16;
    assert_int_equal(gr_device_init(&bad.dev, &bad.config), GR_ERANGE);
    assert_true(host_logged(rig.host, "16"));
    bad.stream[1].sid = UINT32_MAX;
    assert_int_equal(gr_device_init(&bad.dev, &bad.config), GR_ERANGE);
    /* No instance has kept a trace of it. */
    client_make(&rig, &good, 0, 2, RIG_SID);
    assert_ptr_equal(good.dev.group, &good.dev.own_group);
    unmanaged(&rig, &domain, &good);
    attach(&domain, &good);
    bad.config = rig_device(&rig, bad.stream, 1, 1, RIG_SID);
    assert_int_equal(gr_device_init(&bad.dev, &bad.config), GR_EBUSY);
    assert_int_equal(gr_device_fini(&good.dev), GR_EBUSY);
    assert_int_equal(gr_dart_fini(&rig.dart[0].drv), GR_EBUSY);
    detach(&domain, &good);
    assert_int_equal(gr_device_init(&bad.dev, &bad.config), 0);
    assert_true(same_group(&good, &bad));
    client_end(&good);
    client_end(&bad);
    domain_end(&domain);
    rig_end(&rig);
}

static void test_highest_stream(void **state)
{
    static const unsigned kinds[] = {RIG_T8020, RIG_T6000, RIG_T8110};

    (void)state;
    for (unsigned k = 0; k < 3; k++) {
        struct rig rig;
        struct client c[2];
        struct gr_domain domain;

        rig_make_plain(&rig, kinds[k], 1);
        client_make(&rig, &c[0], 0, 1, 0);
        client_make(&rig, &c[1], 0, 1, 15);
        unmanaged(&rig, &domain, &c[1]);
        attach(&domain, &c[1]);
        assert_int_equal(gr_domain_map(&domain, 0, 0, granule(&domain), RW), 0);
        assert_true(rig_can_read(&rig, 0, 15, 0));
        assert_false(rig_can_read(&rig, 0, 0, 0));
        attach(&domain, &c[0]);
        assert_true(rig_can_read(&rig, 0, 0, 0));
        detach(&domain, &c[1]);
        assert_false(rig_can_read(&rig, 0, 15, 0));
        assert_true(rig_can_read(&rig, 0, 0, 0));
        detach(&domain, &c[0]);
        domain_end(&domain);
        client_end(&c[0]);
        client_end(&c[1]);
        rig_end(&rig);
    }
}

/* Two devices on one stream are one: domain, trust, access. */
static void test_shared_stream(void **state)
{
    struct rig rig;
    struct client a;
    struct client b;
    struct client other;
    struct gr_domain domain;

    (void)state;
    rig_make_plain(&rig, RIG_T8020, 2);
    client_make(&rig, &a, 0, 1, RIG_SID);
    client_make(&rig, &other, 1, 1, RIG_SID); /* the same number, on another instance */
    assert_false(gr_device_untrusted(&a.dev));
    b.config = rig_device(&rig, b.stream, 0, 1, RIG_SID);
    b.config.untrusted = true;
    assert_int_equal(gr_device_init(&b.dev, &b.config), 0);
    assert_true(same_group(&a, &b));
    assert_false(same_group(&a, &other));
    assert_true(gr_device_untrusted(&a.dev) && gr_device_untrusted(&b.dev));
    assert_false(gr_device_untrusted(&other.dev));
    unmanaged(&rig, &domain, &a);
    attach(&domain, &a);
    assert_ptr_equal(gr_device_domain(&b.dev), &domain);
    assert_null(gr_device_domain(&other.dev));
    assert_int_equal(gr_domain_attach(&domain, &b.dev), 0); /* it is there already */
    assert_int_equal(gr_device_fini(&b.dev), GR_EBUSY);
    detach(&domain, &b);
    assert_null(gr_device_domain(&a.dev));
    client_end(&b);
    assert_false(gr_device_untrusted(&a.dev));
    client_end(&a);
    client_end(&other);
    domain_end(&domain);
    rig_end(&rig);
}

/* A third device that has a stream of two groups makes them one; they go in any order. */
static void test_groups_merge(void **state)
{
    static const unsigned orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                          {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

    (void)state;
    for (unsigned order = 0; order < 6; order++) {
        struct rig rig;
        struct client c[3];
        struct gr_domain domain;

        rig_make_plain(&rig, RIG_T8110, 2);
        client_make(&rig, &c[0], 0, 1, 2);
        client_make(&rig, &c[1], 1, 1, 2);
        assert_false(same_group(&c[0], &c[1]));
        c[2].config = rig_device(&rig, c[2].stream, 0, 2, 2);
        c[2].config.untrusted = true;
        /* Not while one of the two is in use. */
        for (unsigned i = 0; i < 2; i++) {
            unmanaged(&rig, &domain, &c[i]);
            attach(&domain, &c[i]);
            assert_int_equal(gr_device_init(&c[2].dev, &c[2].config), GR_EBUSY);
            assert_false(same_group(&c[0], &c[1]));
            detach(&domain, &c[i]);
            domain_end(&domain);
        }
        assert_int_equal(gr_device_init(&c[2].dev, &c[2].config), 0);
        assert_true(same_group(&c[0], &c[1]) && same_group(&c[0], &c[2]));
        assert_true(gr_device_untrusted(&c[0].dev) && gr_device_untrusted(&c[1].dev));
        for (unsigned gone = 0; gone < 3; gone++) {
            struct client *const last = &c[orders[order][2]];

            /* Whoever is left is still one group, and can be attached with all streams. */
            for (unsigned i = gone; i < 3; i++)
                assert_true(same_group(&c[orders[order][i]], last));
            unmanaged(&rig, &domain, last);
            attach(&domain, last);
            assert_int_equal(gr_domain_map(&domain, 0, 0, granule(&domain), RW), 0);
            for (unsigned i = gone; i < 3; i++) {
                struct client *const left = &c[orders[order][i]];

                assert_ptr_equal(gr_device_domain(&left->dev), &domain);
                for (unsigned s = 0; s < left->config.stream_count; s++)
                    assert_true(
                        rig_can_read(&rig, left->stream[s].inst == &rig.dart[1].drv.inst, 2, 0));
            }
            detach(&domain, last);
            assert_false(rig_can_read(&rig, 0, 2, 0) || rig_can_read(&rig, 1, 2, 0));
            domain_end(&domain);
            client_end(&c[orders[order][gone]]);
        }
        rig_end(&rig);
    }
}

/* ---- making domains ---- */

static void refuse_domain(struct rig *rig, struct client *c, unsigned type, unsigned flags, int err,
                          const char *what)
{
    const int pages = host_leaks(rig->host);
    const struct rig_state before = rig_state(rig, NULL);
    struct gr_domain domain;
    const int ret = gr_domain_init(&domain, rig->host, &c->dev, (enum gr_domain_type)type, flags);

    if (ret != err)
        fail_msg("%s: gr_domain_init gives %d, not %s", what, ret, gr_strerror(err));
    assert_int_equal(host_leaks(rig->host), pages);
    assert_null(gr_device_domain(&c->dev));
    rig_same(rig, NULL, &before, what);
}

static void test_domain_errors(void **state)
{
    const struct rig_setup setup[] = {
        {.kind = RIG_T8020, .aperture = {GIB, 2 * GIB - 1}},
        {.kind = RIG_T8020, .aperture = {2 * GIB, 3 * GIB - 1}},
    };
    const struct gr_range most[] = {{0, GIB + GIB / 2}, {GIB + GIB / 2, UINT64_MAX}};
    struct rig rig;
    struct client one;
    struct client both;

    (void)state;
    rig_make(&rig, 4096, 1, 2, setup);
    client_make(&rig, &one, 0, 1, 1);
    refuse_domain(&rig, &one, 0, 0, GR_EINVAL, "type 0");
    refuse_domain(&rig, &one, 99, 0, GR_EINVAL, "type 99");
    refuse_domain(&rig, &one, GR_DOMAIN_TRANSLATED, 0x80000000u, GR_EOPNOTSUPP, "flag 31");
    refuse_domain(&rig, &one, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE | 0x40000000u, GR_EOPNOTSUPP,
                  "flag 30");
    refuse_domain(&rig, &one, GR_DOMAIN_UNMANAGED, 0, GR_EOPNOTSUPP, "not LP_AWARE");
    client_make(&rig, &both, 0, 2, RIG_SID);
    refuse_domain(&rig, &both, GR_DOMAIN_TRANSLATED, 0, GR_ERANGE, "apertures apart");
    assert_true(host_last_log(rig.host)[0]);
    client_end(&both);
    client_end(&one);

    one.config = rig_device(&rig, one.stream, 0, 1, 1);
    one.stream[0].window = (struct gr_range){0, GIB - 1};
    assert_int_equal(gr_device_init(&one.dev, &one.config), 0);
    refuse_domain(&rig, &one, GR_DOMAIN_TRANSLATED, 0, GR_ERANGE, "a window below");
    client_end(&one);
    one.stream[0].window = (struct gr_range){GIB + 1, GIB + 2 * 16384 - 2}; /* no whole granule */
    assert_int_equal(gr_device_init(&one.dev, &one.config), 0);
    refuse_domain(&rig, &one, GR_DOMAIN_TRANSLATED, 0, GR_ERANGE, "two halves of granules");
    client_end(&one);
    one.stream[0].window = (struct gr_range){0, UINT64_MAX};
    one.config.reserved = most;
    one.config.reserved_count = 2;
    assert_int_equal(gr_device_init(&one.dev, &one.config), 0);
    refuse_domain(&rig, &one, GR_DOMAIN_TRANSLATED, 0, GR_EBUSY, "all is reserved");
    client_end(&one);
    rig_end(&rig);
}

static void test_instances_that_differ(void **state)
{
    static const unsigned other[] = {RIG_T8020_4K, RIG_T6000, RIG_T6000_PA36, RIG_T8110,
                                     RIG_T8110_4K};

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        for (unsigned swap = 0; swap < 2; swap++) {
            struct rig_setup setup[2] = {{.kind = RIG_T8020}, {.kind = RIG_T8020}};
            struct rig rig;
            struct client c;

            setup[swap].kind = other[i];
            rig_make(&rig, 65536, 1, 2, setup);
            client_make(&rig, &c, 0, 2, RIG_SID);
            refuse_domain(&rig, &c, GR_DOMAIN_TRANSLATED, 0, GR_EOPNOTSUPP, "unlike instances");
            assert_true(host_logged(rig.host, "dart1"));
            refuse_domain(&rig, &c, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE, GR_EOPNOTSUPP,
                          "unlike instances");
            client_end(&c);
            rig_end(&rig);
        }
    }
}

/* The narrower of two widths holds for both, and works on both. */
static void test_widths_that_differ(void **state)
{
    static const unsigned pairs[][2] = {{RIG_T8020, RIG_T8020_VA38},
                                        {RIG_T8020_VA38, RIG_T8020},
                                        {RIG_T8110, RIG_T8110_PA36},
                                        {RIG_T6000, RIG_T6000_PA36},
                                        {RIG_T6000, RIG_T8110}};

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        const struct rig_setup setup[2] = {{.kind = pairs[i][0]}, {.kind = pairs[i][1]}};
        const struct rig_kind *const a = &rig_kinds[pairs[i][0]];
        const struct rig_kind *const b = &rig_kinds[pairs[i][1]];
        const uint64_t end = UINT64_C(1) << (a->va_bits < b->va_bits ? a->va_bits : b->va_bits);
        const uint64_t pa = UINT64_C(1) << (a->pa_bits < b->pa_bits ? a->pa_bits : b->pa_bits);
        struct rig rig;
        struct client c;
        struct gr_domain domain;
        uint64_t g;

        rig_make(&rig, 4096, 1, 2, setup);
        client_make(&rig, &c, 0, 2, RIG_SID);
        unmanaged(&rig, &domain, &c);
        attach(&domain, &c);
        g = granule(&domain);
        assert_int_equal(tables(&domain), 1); /* no more roots than the narrower one needs */
        assert_int_equal(gr_domain_map(&domain, end - g, pa - g, g, RW), 0);
        assert_int_equal(gr_domain_map(&domain, end, 0, g, RW), GR_ERANGE);
        assert_int_equal(gr_domain_map(&domain, 0, pa, g, RW), GR_EFAULT);
        for (unsigned d = 0; d < 2; d++) {
            assert_true(rig_can_read(&rig, d, RIG_SID, end - 1));
            assert_false(rig_can_read(&rig, d, RIG_SID, end - g - 1));
        }
        assert_int_equal(gr_domain_unmap(&domain, end - g, g), 0);
        detach(&domain, &c);
        domain_end(&domain);
        client_end(&c);
        rig_end(&rig);
    }
}

static void test_lp_aware(void **state)
{
    static const unsigned pages[] = {4096, 16384, 65536};

    (void)state;
    for (unsigned p = 0; p < 3; p++) {
        for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
            const struct rig_setup setup = {.kind = kind};
            struct rig rig;
            struct client c;
            struct gr_domain domain;
            int ret;

            rig_make(&rig, pages[p], 1, 1, &setup);
            client_make(&rig, &c, 0, 1, RIG_SID);
            ret = gr_domain_init(&domain, rig.host, &c.dev, GR_DOMAIN_UNMANAGED, 0);
            assert_int_equal(
                ret, UINT64_C(1) << rig_kinds[kind].page_bits > pages[p] ? GR_EOPNOTSUPP : 0);
            if (!ret)
                domain_end(&domain);
            unmanaged(&rig, &domain, &c);
            domain_end(&domain);
            assert_int_equal(gr_domain_init(&domain, rig.host, &c.dev, GR_DOMAIN_TRANSLATED, 0), 0);
            domain_end(&domain);
            client_end(&c);
            rig_end(&rig);
        }
    }
}

/* What apertures and windows leave, to the byte. */
static void test_apertures(void **state)
{
    const uint64_t g = 16384;
    const struct rig_setup setup[] = {
        {.kind = RIG_T8020, .aperture = {GIB + 1, 3 * GIB - 1}},
        {.kind = RIG_T8020, .aperture = {GIB - 5 * g, 4 * GIB - 1}},
    };
    struct rig rig;
    struct client c;
    struct gr_domain domain;
    gr_pa_t pa;

    (void)state;
    rig_make(&rig, 4096, 1, 2, setup);
    c.config = rig_device(&rig, c.stream, 0, 2, RIG_SID);
    c.stream[1].window = (struct gr_range){5, 2 * GIB + 3 * g - 2};
    assert_int_equal(gr_device_init(&c.dev, &c.config), 0);
    unmanaged(&rig, &domain, &c);
    attach(&domain, &c);
    assert_int_equal(gr_domain_map(&domain, GIB, 0, g, RW), GR_ERANGE);
    assert_int_equal(gr_domain_map(&domain, GIB, 0, 2 * g, RW), GR_ERANGE);
    assert_int_equal(gr_domain_map(&domain, GIB + g, 0, g, RW), 0);
    assert_int_equal(gr_domain_map(&domain, 2 * GIB + 2 * g, 0, g, RW), GR_ERANGE);
    assert_int_equal(gr_domain_map(&domain, 2 * GIB + g, 0, 2 * g, RW), GR_ERANGE);
    assert_int_equal(gr_domain_map(&domain, 2 * GIB + g, 0, g, RW), 0);
    assert_int_equal(gr_domain_iova_to_phys(&domain, GIB + g - 1, &pa), GR_ERANGE);
    assert_int_equal(gr_domain_iova_to_phys(&domain, 2 * GIB + 2 * g, &pa), GR_ERANGE);
    for (unsigned d = 0; d < 2; d++)
        assert_true(rig_can_read(&rig, d, RIG_SID, GIB + g) &&
                    rig_can_read(&rig, d, RIG_SID, 2 * GIB + 2 * g - 1));
    detach(&domain, &c);
    domain_end(&domain);
    client_end(&c);
    rig_end(&rig);
}

/* An aperture above the bits that hardware compares: the IOVAs carry them, the tables do not. */
static void test_tagged_aperture(void **state)
{
    const uint64_t tag = UINT64_C(0x500000000);
    const struct rig_setup setup = {.kind = RIG_T8020, .aperture = {tag, tag + 4 * GIB - 1}};
    struct rig rig;
    struct client c;
    struct gr_domain domain;
    gr_pa_t pa = 0;
    uint64_t g;

    (void)state;
    rig_make(&rig, 4096, 1, 1, &setup);
    c.config = rig_device(&rig, c.stream, 0, 1, RIG_SID);
    c.stream[0].window = (struct gr_range){tag + GIB, tag + 20 * GIB};
    assert_int_equal(gr_device_init(&c.dev, &c.config), 0);
    unmanaged(&rig, &domain, &c);
    attach(&domain, &c);
    g = granule(&domain);
    assert_int_equal(gr_domain_map(&domain, GIB, g, g, RW), GR_ERANGE);
    assert_int_equal(gr_domain_map(&domain, tag, g, g, RW), GR_ERANGE);
    assert_int_equal(gr_domain_map(&domain, tag + 4 * GIB - g, g, 2 * g, RW), GR_ERANGE);
    assert_int_equal(gr_domain_map(&domain, tag + 4 * GIB - g, g, g, RW), 0);
    assert_int_equal(gr_domain_map(&domain, tag + GIB, 0, g, RW), 0);
    assert_int_equal(gr_domain_iova_to_phys(&domain, tag + 4 * GIB - 1, &pa), 0);
    assert_int_equal(pa, 2 * g - 1);
    assert_int_equal(gr_domain_iova_to_phys(&domain, 4 * GIB - 1, &pa), GR_ERANGE);
    assert_true(rig_can_read(&rig, 0, RIG_SID, tag + 4 * GIB - 1));
    assert_true(rig_can_read(&rig, 0, RIG_SID, tag + GIB));
    assert_int_equal(gr_domain_unmap(&domain, GIB, g), GR_ERANGE);
    assert_int_equal(gr_domain_unmap(&domain, tag + GIB, g), 0);
    assert_false(rig_can_read(&rig, 0, RIG_SID, tag + GIB));
    detach(&domain, &c);
    domain_end(&domain);
    client_end(&c);
    rig_end(&rig);
}

/*
 * Two instances that agree on an aperture, but of which one compares bits that the other drops: one
 * table cannot serve both, unless these bits are 0. Refused, or it works on both.
 */
static void test_tags_that_differ(void **state)
{
    const uint64_t tag = UINT64_C(0x500000000);
    const struct rig_setup setup[] = {
        {.kind = RIG_T8020, .aperture = {tag, tag + 4 * GIB - 1}}, /* compares 32 bits */
        {.kind = RIG_T8020_VA38},                                  /* compares 38 bits */
    };
    struct rig rig;
    struct client both;
    struct gr_domain domain;
    int ret;

    (void)state;
    rig_make(&rig, 4096, 1, 2, setup);
    client_make(&rig, &both, 0, 2, RIG_SID);
    ret = gr_domain_init(&domain, rig.host, &both.dev, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE);
    if (ret) {
        assert_true(ret == GR_EOPNOTSUPP || ret == GR_ERANGE);
    } else {
        attach(&domain, &both);
        assert_int_equal(gr_domain_map(&domain, tag, 0, granule(&domain), RW), 0);
        assert_true(rig_can_read(&rig, 0, RIG_SID, tag) && rig_can_read(&rig, 1, RIG_SID, tag));
        detach(&domain, &both);
        domain_end(&domain);
    }
    client_end(&both);

    /* The same by attaching a second device to the first one's domain, either way. */
    for (unsigned swap = 0; swap < 2; swap++) {
        struct client first;
        struct client second;

        first.config = rig_device(&rig, first.stream, swap, 1, RIG_SID);
        first.stream[0].window = (struct gr_range){tag, tag + 4 * GIB - 1};
        assert_int_equal(gr_device_init(&first.dev, &first.config), 0);
        client_make(&rig, &second, !swap, 1, RIG_SID);
        unmanaged(&rig, &domain, &first);
        attach(&domain, &first);
        assert_int_equal(gr_domain_map(&domain, tag, 0, granule(&domain), RW), 0);
        assert_true(rig_can_read(&rig, swap, RIG_SID, tag));
        ret = gr_domain_attach(&domain, &second.dev);
        if (ret) {
            assert_true(ret == GR_EOPNOTSUPP || ret == GR_ERANGE);
        } else {
            assert_true(rig_can_read(&rig, !swap, RIG_SID, tag));
            detach(&domain, &second);
        }
        detach(&domain, &first);
        domain_end(&domain);
        client_end(&first);
        client_end(&second);
    }
    rig_end(&rig);
}

/* ---- instances that are none, for what no DART here can be ---- */

#define STUBS (GR_CFG_DOMAIN_INSTANCES + 1)

struct stub {
    struct gr_instance inst;
    unsigned attached;
    int attach_ret;
};

static int stub_attach(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                       struct gr_binding *binding)
{
    struct stub *const s = (struct stub *)(void *)inst; /* its first member */

    (void)stream;
    (void)pt;
    (void)binding;
    s->attached = !s->attach_ret;
    return s->attach_ret;
}

static int stub_block(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding)
{
    (void)stream;
    (void)binding;
    ((struct stub *)(void *)inst)->attached = 0;
    return 0;
}

static int stub_invalidate(struct gr_instance *inst, struct gr_binding *binding, gr_iova_t first,
                           gr_iova_t last, bool with_tables)
{
    (void)inst;
    (void)binding;
    (void)with_tables;
    return first <= last ? 0 : GR_EINVAL;
}

static const struct gr_instance_ops stub_ops = {
    .attach = stub_attach,
    .block = stub_block,
    .invalidate = stub_invalidate,
};

static void stub_make(struct stub *s, struct rig *rig)
{
    *s = (struct stub){.inst = rig->dart[0].drv.inst}; /* the same table and aperture */
    s->inst.ops = &stub_ops;
    s->inst.name = "stub";
    gr_instance_init(&s->inst);
}

static void test_stubs(void **state)
{
    struct rig rig;
    struct stub stub[STUBS];
    struct gr_stream stream[STUBS];
    struct client c;
    struct gr_device_config config = {.name = "stub device", .streams = stream};
    struct gr_device dev;
    struct gr_domain domain;

    (void)state;
    rig_make_plain(&rig, RIG_T8110, 1);
    for (unsigned i = 0; i < STUBS; i++) {
        stub_make(&stub[i], &rig);
        stream[i] = (struct gr_stream){.inst = &stub[i].inst, .sid = 1, .window = {0, UINT64_MAX}};
    }

    /* One instance more than a domain has room for. */
    config.stream_count = STUBS;
    assert_int_equal(gr_device_init(&dev, &config), 0);
    assert_int_equal(gr_domain_init(&domain, rig.host, &dev, GR_DOMAIN_TRANSLATED, 0), 0);
    assert_int_equal(gr_domain_attach(&domain, &dev), GR_ENOSPC);
    assert_null(gr_device_domain(&dev));
    for (unsigned i = 0; i < STUBS; i++)
        assert_int_equal(stub[i].attached, 0);
    domain_end(&domain);
    assert_int_equal(gr_device_fini(&dev), 0);

    /* As many as fit; the last but one refuses. */
    config.stream_count = STUBS - 1;
    assert_int_equal(gr_device_init(&dev, &config), 0);
    assert_int_equal(gr_domain_init(&domain, rig.host, &dev, GR_DOMAIN_TRANSLATED, 0), 0);
    stub[STUBS - 3].attach_ret = GR_EOPNOTSUPP;
    assert_int_equal(gr_domain_attach(&domain, &dev), GR_EOPNOTSUPP);
    assert_null(gr_device_domain(&dev));
    for (unsigned i = 0; i < STUBS; i++)
        assert_int_equal(stub[i].attached, 0);
    stub[STUBS - 3].attach_ret = 0;
    assert_int_equal(gr_domain_attach(&domain, &dev), 0);
    for (unsigned i = 0; i < STUBS; i++)
        assert_int_equal(stub[i].attached, i < STUBS - 1);
    assert_int_equal(gr_domain_detach(&domain, &dev), 0);
    for (unsigned i = 0; i < STUBS; i++)
        assert_int_equal(stub[i].attached, 0);
    domain_end(&domain);
    assert_int_equal(gr_device_fini(&dev), 0);

    /* A locked instance; an aperture over two blocks of the translated bits. */
    config.stream_count = 1;
    assert_int_equal(gr_device_init(&dev, &config), 0);
    stub[0].inst.locked = true;
    assert_int_equal(gr_domain_init(&domain, rig.host, &dev, GR_DOMAIN_TRANSLATED, 0),
                     GR_EOPNOTSUPP);
    assert_true(host_logged(rig.host, "locked"));
    client_make(&rig, &c, 0, 1, 1);
    unmanaged(&rig, &domain, &c);
    assert_int_equal(gr_domain_attach(&domain, &dev), GR_EOPNOTSUPP);
    stub[0].inst.locked = false;
    stub[0].inst.table.coherent = false; /* the domain's tables are not cleaned */
    assert_int_equal(gr_domain_attach(&domain, &dev), GR_EOPNOTSUPP);
    assert_int_equal(stub[0].attached, 0);
    domain_end(&domain);
    client_end(&c);
    stub[0].inst.aperture = (struct gr_range){0, UINT64_C(1) << 40};
    assert_int_equal(gr_domain_init(&domain, rig.host, &dev, GR_DOMAIN_TRANSLATED, 0), GR_ERANGE);
    assert_int_equal(gr_device_fini(&dev), 0);
    for (unsigned i = 0; i < STUBS; i++)
        assert_int_equal(gr_instance_fini(&stub[i].inst), 0);
    rig_end(&rig);
}

/* ---- attaching ---- */

static void refuse_attach(struct rig *rig, struct gr_domain *domain, struct client *c, int err,
                          const char *what)
{
    struct gr_domain *const had = gr_device_domain(&c->dev);
    const struct rig_state before = rig_state(rig, domain);
    const int ret = gr_domain_attach(domain, &c->dev);

    if (ret != err)
        fail_msg("%s: attach gives %d, not %s", what, ret, gr_strerror(err));
    assert_ptr_equal(gr_device_domain(&c->dev), had);
    rig_same(rig, domain, &before, what);
}

static void test_attach_errors(void **state)
{
    const struct rig_setup setup[RIG_DARTS] = {{.kind = RIG_T8020},
                                               {.kind = RIG_T8020, .aperture = {GIB, 3 * GIB - 1}},
                                               {.kind = RIG_T8020_4K}};
    struct rig rig;
    struct client c[RIG_DARTS];
    struct client second;
    struct gr_domain wide;
    struct gr_domain narrow;
    gr_iova_t iova = 0;

    (void)state;
    rig_make(&rig, 4096, 1, RIG_DARTS, setup);
    for (unsigned i = 0; i < RIG_DARTS; i++)
        client_make(&rig, &c[i], i, 1, RIG_SID);
    client_make(&rig, &second, 0, 1, 3);
    unmanaged(&rig, &wide, &c[0]);
    assert_int_equal(gr_domain_init(&narrow, rig.host, &c[1].dev, GR_DOMAIN_TRANSLATED, 0), 0);
    refuse_attach(&rig, &wide, &c[1], GR_ERANGE, "an aperture too small");
    refuse_attach(&rig, &wide, &c[2], GR_EOPNOTSUPP, "another granule");
    attach(&wide, &second);
    assert_int_equal(gr_domain_map(&wide, 0, 0, 16384, RW), 0);
    attach(&narrow, &c[1]);
    refuse_attach(&rig, &narrow, &c[0], GR_EBUSY, "a second group in a TRANSLATED domain");
    refuse_attach(&rig, &narrow, &second, GR_EBUSY, "the same, from another domain");
    assert_true(rig_can_read(&rig, 0, 3, 0));
    assert_int_equal(gr_domain_detach(&narrow, &c[0].dev), GR_ENODEV);
    assert_int_equal(gr_domain_detach(&narrow, &second.dev), GR_ENODEV);
    assert_int_equal(gr_domain_fini(&wide), GR_EBUSY);
    assert_int_equal(gr_domain_fini(&narrow), GR_EBUSY);
    assert_int_equal(gr_dma_map(&c[1].dev, 100, 50, GR_DMA_TO_DEVICE, 0, &iova), 0);
    detach(&narrow, &c[1]);
    assert_false(rig_can_read(&rig, 1, RIG_SID, iova));
    assert_int_equal(gr_domain_fini(&narrow), GR_EBUSY); /* something is mapped */
    attach(&narrow, &c[1]);
    assert_true(rig_can_read(&rig, 1, RIG_SID, iova));
    assert_int_equal(gr_dma_unmap(&c[1].dev, iova, 50, GR_DMA_TO_DEVICE, 0), 0);
    detach(&narrow, &c[1]);
    assert_int_equal(gr_domain_detach(&narrow, &c[1].dev), GR_ENODEV);
    detach(&wide, &second);
    domain_end(&narrow);
    domain_end(&wide); /* with a mapping: it is the caller's */
    for (unsigned i = 0; i < RIG_DARTS; i++)
        client_end(&c[i]);
    client_end(&second);
    rig_end(&rig);
}

#define DOMAINS 3u
#define SLOTS 24u

/*
 * One device, three domains: whatever is attached, an IOVA leads where that domain says, whatever
 * the caches held before; domains change also while they are not attached.
 */
static void switching_run(unsigned kind, uint64_t seed)
{
    const struct rig_setup one = {.kind = kind};
    const struct rig_setup setup[] = {one, one};
    struct rig rig;
    struct client c;
    struct gr_domain domain[DOMAINS];
    unsigned where[DOMAINS][SLOTS] = {{0}}; /* 0: not mapped, else granule where - 1 of memory */
    int now = -1;
    uint64_t g;
    gr_pa_t pa;

    rig_make(&rig, 4096, seed, 2, setup);
    client_make(&rig, &c, 0, 2, RIG_SID);
    for (unsigned i = 0; i < DOMAINS; i++)
        unmanaged(&rig, &domain[i], &c);
    g = granule(domain);
    pa = rig_ram(&rig, 8 * g, g);
    for (unsigned i = 0; i < 8; i++)
        memset(host_ptr(rig.host, pa + i * g, g), (int)i + 1, g);
    for (unsigned step = 0; step < 400; step++) {
        const uint64_t what = rig_random(&rig, 10);
        const unsigned d = (unsigned)rig_random(&rig, DOMAINS);
        const unsigned slot = (unsigned)rig_random(&rig, SLOTS);
        /* Three slots in each of eight tables. */
        const uint64_t iova = slot / 3 * rig_span(domain) + slot % 3 * g;

        if (what == 0 && now >= 0 && rig_random(&rig, 3) == 0) {
            detach(&domain[now], &c);
            now = -1;
        } else if (what < 2) {
            attach(&domain[d], &c);
            now = (int)d;
        } else if (what < 5 && where[d][slot]) {
            assert_int_equal(gr_domain_unmap(&domain[d], iova, g), 0);
            if (rig_random(&rig, 2))
                assert_int_equal(gr_domain_trim(&domain[d], iova, g), 0);
            where[d][slot] = 0;
        } else if (what < 5) {
            const unsigned to = (unsigned)rig_random(&rig, 8);

            assert_int_equal(gr_domain_map(&domain[d], iova, pa + to * g, g, RW), 0);
            where[d][slot] = to + 1;
        } else {
            const unsigned want = now < 0 ? 0 : where[now][slot];
            uint8_t byte = 0;
            const enum model_result result = rig_access(
                &rig, step & 1, RIG_SID, iova + rig_random(&rig, g), &byte, 1, false, true, NULL);

            assert_int_equal(result, want ? MODEL_OK : MODEL_FAULT);
            assert_int_equal(byte, want);
        }
    }
    if (now >= 0)
        detach(&domain[now], &c);
    for (unsigned i = 0; i < DOMAINS; i++)
        domain_end(&domain[i]);
    host_ram_free(rig.host, pa);
    client_end(&c);
    rig_end(&rig);
}

static void test_switching(void **state)
{
    const uint64_t seed = chance_seed("switching");

    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++)
        switching_run(kind, seed + kind);
}

/* One domain, two devices on different instances and one more on the first. */
static void test_one_domain_three_devices(void **state)
{
    static const unsigned kinds[] = {RIG_T8020, RIG_T8110, RIG_SMMU, RIG_SMMU_4K_VA39};

    (void)state;
    for (unsigned k = 0; k < 4; k++) {
        static const unsigned dart[] = {0, 1, 0};
        static const uint32_t sid[] = {2, 5, 6};
        struct rig rig;
        struct client c[3];
        struct gr_domain domain;
        uint64_t g;

        rig_make_plain(&rig, kinds[k], 2);
        for (unsigned i = 0; i < 3; i++)
            client_make(&rig, &c[i], dart[i], 1, sid[i]);
        unmanaged(&rig, &domain, &c[0]);
        g = granule(&domain);
        for (unsigned i = 0; i < 3; i++)
            attach(&domain, &c[i]);
        for (unsigned gone = 0; gone < 3; gone++) {
            for (unsigned round = 0; round < 2; round++) {
                for (unsigned i = 0; i < 3; i++)
                    assert_false(rig_can_read(&rig, dart[i], sid[i], 4 * g));
                assert_int_equal(gr_domain_map(&domain, 4 * g, 0, g, GR_PROT_READ), 0);
                for (unsigned i = 0; i < 3; i++) {
                    assert_int_equal(rig_can_read(&rig, dart[i], sid[i], 4 * g), i >= gone);
                    assert_false(rig_can_write(&rig, dart[i], sid[i], 4 * g));
                }
                assert_int_equal(gr_domain_unmap(&domain, 4 * g, g), 0);
            }
            detach(&domain, &c[gone]);
        }
        domain_end(&domain);
        for (unsigned i = 0; i < 3; i++)
            client_end(&c[i]);
        rig_end(&rig);
    }
}

/* ---- UNMANAGED ---- */

static void refuse_map(struct bench *b, uint64_t iova, uint64_t pa, uint64_t len, unsigned prot,
                       int err, const char *what)
{
    const struct rig_state before = rig_state(&b->rig, &b->domain);
    const int ret = gr_domain_map(&b->domain, iova, pa, len, prot);

    if (ret != err)
        fail_msg("%s: map gives %d, not %s", what, ret, gr_strerror(err));
    rig_same(&b->rig, &b->domain, &before, what);
}

static void refuse_unmap(struct bench *b, uint64_t iova, uint64_t len, int err, bool trim,
                         const char *what)
{
    const struct rig_state before = rig_state(&b->rig, &b->domain);
    int ret = gr_domain_unmap(&b->domain, iova, len);

    if (ret != err)
        fail_msg("%s: unmap gives %d, not %s", what, ret, gr_strerror(err));
    rig_same(&b->rig, &b->domain, &before, what);
    ret = trim ? gr_domain_trim(&b->domain, iova, len) : err;
    if (ret != err)
        fail_msg("%s: trim gives %d, not %s", what, ret, gr_strerror(err));
    rig_same(&b->rig, &b->domain, &before, what);
}

static void test_unmanaged_errors(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        const uint64_t end = UINT64_C(1) << rig_kinds[kind].va_bits;
        const uint64_t pa = UINT64_C(1) << rig_kinds[kind].pa_bits;
        gr_pa_t where = 0xabcd;
        struct bench b;
        uint64_t g;
        uint64_t span;

        bench_make(&b, kind, .type = GR_DOMAIN_UNMANAGED);
        g = b.g;
        span = rig_span(&b.domain);
        for (unsigned mapped = 0; mapped < 2; mapped++) {
            refuse_map(&b, 0, 0, 0, RW, GR_ENODATA, "no length");
            refuse_map(&b, g / 2, 0, g, RW, GR_EINVAL, "an unaligned IOVA");
            refuse_map(&b, 0, 8, g, RW, GR_EINVAL, "an unaligned PA");
            refuse_map(&b, 0, 0, g + 1, RW, GR_EINVAL, "an unaligned length");
            refuse_map(&b, 0 - g, 0, 2 * g, RW, GR_EOVERFLOW, "past 2^64");
            refuse_map(&b, 0, 0 - g, 2 * g, RW, GR_EOVERFLOW, "memory past 2^64");
            refuse_map(&b, 0 - g, 0, g, RW, GR_ERANGE, "the last granule of 2^64");
            refuse_map(&b, end, 0, g, RW, GR_ERANGE, "behind the aperture");
            refuse_map(&b, end - g, 0, 2 * g, RW, GR_ERANGE, "across the aperture's end");
            refuse_map(&b, 0, 0, end + g, RW, GR_ERANGE, "more than the aperture");
            refuse_map(&b, 0, pa, g, RW, GR_EFAULT, "beyond the PA width");
            refuse_map(&b, 0, pa - g, 2 * g, RW, GR_EFAULT, "across the PA width");
            refuse_map(&b, 0, 0 - g, g, RW, GR_EFAULT, "the last granule of memory");
            refuse_map(&b, 0, 0, g, 0, GR_EACCES, "no permission");
            refuse_map(&b, 0, 0, g, GR_PROT_UNCACHED, GR_EACCES, "an attribute only");
            refuse_map(&b, 0, 0, g, RW | 0x80, GR_EOPNOTSUPP, "unknown permissions");
            refuse_unmap(&b, 0, 0, GR_ENODATA, true, "no length");
            refuse_unmap(&b, 8, g, GR_EINVAL, true, "an unaligned IOVA");
            refuse_unmap(&b, 0, g - 8, GR_EINVAL, true, "an unaligned length");
            refuse_unmap(&b, 0 - g, 2 * g, GR_EOVERFLOW, true, "past 2^64");
            refuse_unmap(&b, 0 - g, g, GR_ERANGE, true, "the last granule of 2^64");
            refuse_unmap(&b, end - g, 2 * g, GR_ERANGE, true, "across the aperture's end");
            refuse_unmap(&b, span, g, GR_ENOENT, false, "nothing there");
            assert_int_equal(gr_domain_iova_to_phys(&b.domain, end, &where), GR_ERANGE);
            assert_int_equal(gr_domain_iova_to_phys(&b.domain, UINT64_MAX, &where), GR_ERANGE);
            assert_int_equal(gr_domain_iova_to_phys(&b.domain, span, &where), GR_ENOENT);
            assert_int_equal(where, 0xabcd);
            /* The second time with something there. */
            if (!mapped) {
                assert_int_equal(gr_domain_map(&b.domain, 2 * g, 0, 2 * g, RW), 0);
                assert_int_equal(gr_domain_map(&b.domain, 2 * span - 2 * g, 0, g, RW), 0);
            }
        }
        refuse_map(&b, 2 * g, 0, g, RW, GR_EEXIST, "a live granule");
        refuse_map(&b, 0, 0, 3 * g, RW, GR_EEXIST, "the last of three is live");
        refuse_map(&b, 3 * g, 0, 3 * g, RW, GR_EEXIST, "the first of three is live");
        /* A whole table is made and filled before the live granule is met. */
        assert_int_equal(gr_domain_map(&b.domain, 4 * span, 0, g, RW), 0);
        refuse_map(&b, 3 * span, 0, span + g, RW, GR_EEXIST, "live behind a new table");
        assert_false(reads(&b, 0, 3 * span));
        refuse_unmap(&b, 2 * g, 3 * g, GR_ENOENT, false, "the last of three is not mapped");
        refuse_unmap(&b, g, 3 * g, GR_ENOENT, false, "the first of three is not mapped");
        refuse_unmap(&b, 2 * g, 2 * span - 3 * g, GR_ENOENT, false, "a hole between");
        assert_true(reads(&b, 0, 2 * g) && reads(&b, 0, 4 * g - 1));
        bench_end(&b);
    }
}

static void test_unmanaged_only(void **state)
{
    struct rig rig;
    struct client c;
    struct gr_domain domain;
    gr_iova_t iova;
    gr_pa_t pa;
    uint64_t base;

    (void)state;
    rig_make_plain(&rig, RIG_T8020, 1);
    client_make(&rig, &c, 0, 1, RIG_SID);
    assert_int_equal(gr_domain_init(&domain, rig.host, &c.dev, GR_DOMAIN_TRANSLATED, 0), 0);
    attach(&domain, &c);
    assert_int_equal(gr_dma_map(&c.dev, 0, 16384, GR_DMA_BIDIRECTIONAL, 0, &iova), 0);
    base = iova & ~UINT64_C(16383);
    assert_int_equal(gr_domain_map(&domain, 0, 0, 16384, RW), GR_ENODEV);
    assert_int_equal(gr_domain_unmap(&domain, base, 16384), GR_ENODEV);
    assert_int_equal(gr_domain_trim(&domain, base, 16384), 0); /* nothing to be taken */
    assert_true(rig_can_read(&rig, 0, RIG_SID, iova));
    assert_int_equal(gr_domain_iova_to_phys(&domain, iova + 77, &pa), 0);
    assert_int_equal(pa, 77);
    assert_int_equal(gr_dma_unmap(&c.dev, iova, 16384, GR_DMA_BIDIRECTIONAL, 0), 0);
    detach(&domain, &c);
    domain_end(&domain);
    client_end(&c);
    rig_end(&rig);
}

/* Fixed addresses, the first and the last; permissions; a part unmapped. */
static void test_unmanaged(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        const uint64_t end = UINT64_C(1) << rig_kinds[kind].va_bits;
        const struct gr_range mapped[] = {{0, 1}, {end / 2, end / 2 + 1}, {end - 1, end - 1}};
        struct bench b;
        uint64_t g;
        gr_pa_t pa;

        bench_make(&b, kind, .type = GR_DOMAIN_UNMANAGED);
        g = b.g;
        for (unsigned round = 0; round < 2; round++) {
            assert_int_equal(gr_domain_map(&b.domain, 0, g, g, RW), 0);
            assert_int_equal(gr_domain_map(&b.domain, end - g, 0, g, GR_PROT_READ), 0);
            assert_int_equal(gr_domain_map(&b.domain, end / 2, 0, 4 * g, GR_PROT_WRITE), 0);
            assert_int_equal(tables(&b.domain), rig_tables(&b.domain, mapped, 3));
            assert_true(reads(&b, 0, 0) && reads(&b, 0, g - 1) && reads(&b, 0, end - 1));
            assert_false(reads(&b, 0, g) || reads(&b, 0, end - g - 1));
            assert_int_equal(reads(&b, 0, end / 2), !rig_has_write_only(kind));
            assert_false(rig_can_write(&b.rig, 0, RIG_SID, end - 1));
            assert_true(rig_can_write(&b.rig, 0, RIG_SID, end / 2));
            assert_int_equal(gr_domain_iova_to_phys(&b.domain, 5, &pa), 0);
            assert_int_equal(pa, g + 5);
            assert_int_equal(gr_domain_iova_to_phys(&b.domain, end - 1, &pa), 0);
            assert_int_equal(pa, g - 1);
            assert_int_equal(gr_domain_unmap(&b.domain, end / 2 + g, 2 * g), 0);
            assert_true(rig_can_write(&b.rig, 0, RIG_SID, end / 2 + g - 1));
            assert_false(rig_can_write(&b.rig, 0, RIG_SID, end / 2 + g));
            assert_false(rig_can_write(&b.rig, 0, RIG_SID, end / 2 + 3 * g - 1));
            assert_true(rig_can_write(&b.rig, 0, RIG_SID, end / 2 + 3 * g));
            refuse_unmap(&b, end / 2, 4 * g, GR_ENOENT, false, "a hole");
            refuse_map(&b, end / 2, 0, 4 * g, RW, GR_EEXIST, "over both ends");
            assert_int_equal(gr_domain_unmap(&b.domain, 0, g), 0);
            refuse_unmap(&b, 0, g, GR_ENOENT, false, "unmapped twice");
            assert_int_equal(gr_domain_unmap(&b.domain, end - g, g), 0);
            assert_false(reads(&b, 0, 0) || reads(&b, 0, end - 1));
            assert_int_equal(gr_domain_unmap(&b.domain, end / 2, g), 0);
            assert_int_equal(gr_domain_unmap(&b.domain, end / 2 + 3 * g, g), 0);
            assert_int_equal(gr_domain_trim(&b.domain, 0, end), 0);
            assert_int_equal(tables(&b.domain), rig_root_tables(&b.domain));
        }
        bench_end(&b);
    }
}

/* A table goes when one call covers its span, or by a trim once it is empty; never before. */
static void test_unmanaged_tables(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        if (rig_kinds[kind].page_bits == 16)
            continue; /* more memory than there is */
        struct bench b;
        uint64_t g;
        uint64_t span;
        uint64_t held; /* that map the first five spans */

        bench_make(&b, kind, .darts = 2, .type = GR_DOMAIN_UNMANAGED);
        g = b.g;
        span = rig_span(&b.domain);
        held = rig_tables(&b.domain, &(struct gr_range){0, 5 * span - 1}, 1);
        /* Three whole tables and a granule on either side. */
        assert_int_equal(gr_domain_map(&b.domain, span - g, RIG_BIG, 3 * span + 2 * g, RW), 0);
        assert_int_equal(tables(&b.domain), held);
        for (unsigned i = 0; i < 2; i++) {
            for (uint64_t at = span - g; at < 4 * span + g; at += span)
                assert_true(reads(&b, i, at) && reads(&b, i, at + g - 1));
        }
        assert_int_equal(gr_domain_trim(&b.domain, 0, 8 * span), 0);
        assert_int_equal(tables(&b.domain), held); /* all are in use */
        assert_int_equal(gr_domain_unmap(&b.domain, 2 * span - g, span + 2 * g), 0);
        assert_int_equal(tables(&b.domain), held - 1); /* only table 2 was covered */
        for (unsigned i = 0; i < 2; i++) {
            assert_true(reads(&b, i, 2 * span - g - 1) && reads(&b, i, 3 * span + g));
            for (uint64_t at = 2 * span - g; at < 3 * span + g; at += span / 8)
                assert_false(reads(&b, i, at));
        }
        /* In two parts: each covers less than the table. */
        assert_int_equal(gr_domain_unmap(&b.domain, span, span / 2), 0);
        assert_int_equal(gr_domain_trim(&b.domain, span, span / 2), 0);
        assert_int_equal(gr_domain_unmap(&b.domain, span + span / 2, span / 2 - g), 0);
        assert_int_equal(tables(&b.domain), held - 1);
        assert_int_equal(gr_domain_trim(&b.domain, 2 * span - g, g), 0); /* one granule will do */
        assert_int_equal(tables(&b.domain), held - 2);
        assert_false(reads(&b, 0, span) || reads(&b, 1, span));
        assert_true(reads(&b, 0, span - 1) && reads(&b, 1, 4 * span));
        assert_int_equal(gr_domain_trim(&b.domain, 0, 8 * span), 0);
        assert_int_equal(tables(&b.domain), held - 2);
        assert_int_equal(gr_domain_unmap(&b.domain, span - g, g), 0);
        assert_int_equal(gr_domain_unmap(&b.domain, 3 * span + g, span), 0);
        assert_int_equal(tables(&b.domain), held - 2);
        assert_int_equal(gr_domain_trim(&b.domain, 0, 8 * span), 0);
        assert_int_equal(tables(&b.domain), rig_root_tables(&b.domain));
        for (unsigned i = 0; i < 2; i++)
            assert_false(reads(&b, i, span - 1) || reads(&b, i, 4 * span));
        bench_end(&b);
    }
}

/* ---- several instances ---- */

static void test_every_instance(void **state)
{
    static const unsigned kinds[] = {RIG_T8020,    RIG_T6000, RIG_T8110,
                                     RIG_T8110_4K, RIG_SMMU,  RIG_SMMU_64K_VA42};

    (void)state;
    for (unsigned k = 0; k < 6; k++) {
        for (unsigned n = 2; n <= RIG_DARTS; n++) {
            struct bench b;

            bench_make(&b, kinds[k], .darts = n, .type = GR_DOMAIN_UNMANAGED);
            for (unsigned lossy = 0; lossy <= n; lossy++) {
                const uint64_t iova = (lossy + 1) * b.g;

                for (unsigned i = 0; i < n; i++)
                    assert_false(reads(&b, i, iova)); /* remembered as absent */
                assert_int_equal(gr_domain_map(&b.domain, iova, 0, b.g, RW), 0);
                for (unsigned i = 0; i < n; i++)
                    assert_true(reads(&b, i, iova));
                /* The test of the test, but for the last: one instance is not told. */
                if (lossy < n)
                    b.rig.dart[lossy].lose_commands = true;
                assert_int_equal(gr_domain_unmap(&b.domain, iova, b.g), 0);
                for (unsigned i = 0; i < n; i++) {
                    assert_int_equal(reads(&b, i, iova), i == lossy);
                    assert_int_equal(b.rig.dart[i].lost, i == lossy);
                    b.rig.dart[i].lose_commands = false;
                    b.rig.dart[i].lost = 0;
                }
            }
            bench_end(&b);
        }
    }
}

/* One instance's command hangs: the group is nowhere, blocked everywhere, and can be tried again.
 */
static void test_attach_stuck(void **state)
{
    static const unsigned kinds[] = {RIG_T8020, RIG_T8110, RIG_SMMU, RIG_SMMU_4K_VA39};

    (void)state;
    for (unsigned k = 0; k < 4; k++) {
        struct rig rig;
        struct client c;
        struct gr_domain domain;

        rig_make_plain(&rig, kinds[k], RIG_DARTS);
        client_make(&rig, &c, 0, RIG_DARTS, RIG_SID);
        unmanaged(&rig, &domain, &c);
        assert_int_equal(gr_domain_map(&domain, 0, 0, granule(&domain), RW), 0);
        rig_set_busy(&rig, 1, 0, true);
        assert_int_equal(gr_domain_attach(&domain, &c.dev), GR_ETIMEDOUT);
        assert_null(gr_device_domain(&c.dev));
        rig_set_busy(&rig, 1, 0, false);
        for (unsigned i = 0; i < RIG_DARTS; i++)
            assert_false(rig_can_read(&rig, i, RIG_SID, 0));
        attach(&domain, &c);
        for (unsigned i = 0; i < RIG_DARTS; i++)
            assert_true(rig_can_read(&rig, i, RIG_SID, 0));
        assert_int_equal(gr_domain_unmap(&domain, 0, granule(&domain)), 0);
        for (unsigned i = 0; i < RIG_DARTS; i++)
            assert_false(rig_can_read(&rig, i, RIG_SID, 0));
        /* The second attach has confirmed what the first could not: nothing is left in doubt. */
        detach(&domain, &c);
        domain_end(&domain);
        client_end(&c);
        rig_end(&rig);
    }
}

/* It hangs once, on the way from one domain to another: back to the first. */
static void test_attach_rolls_back(void **state)
{
    static const unsigned kinds[] = {RIG_T8020, RIG_T8110, RIG_SMMU, RIG_SMMU_4K_VA39};

    (void)state;
    for (unsigned k = 0; k < 4; k++) {
        struct rig rig;
        struct client c;
        struct gr_domain old;
        struct gr_domain next;
        uint64_t g;

        rig_make_plain(&rig, kinds[k], RIG_DARTS);
        client_make(&rig, &c, 0, RIG_DARTS, RIG_SID);
        unmanaged(&rig, &old, &c);
        unmanaged(&rig, &next, &c);
        g = granule(&old);
        assert_int_equal(gr_domain_map(&old, 0, 0, g, RW), 0);
        assert_int_equal(gr_domain_map(&next, g, 0, g, RW), 0);
        attach(&old, &c);
        for (unsigned i = 0; i < RIG_DARTS; i++)
            assert_true(rig_can_read(&rig, i, RIG_SID, 0) && !rig_can_read(&rig, i, RIG_SID, g));
        rig.dart[1].hang = 2; /* the first blocks, the second attaches */
        assert_int_equal(gr_domain_attach(&next, &c.dev), GR_ETIMEDOUT);
        assert_ptr_equal(gr_device_domain(&c.dev), &old);
        for (unsigned i = 0; i < RIG_DARTS; i++)
            assert_true(rig_can_read(&rig, i, RIG_SID, 0) && !rig_can_read(&rig, i, RIG_SID, g));
        attach(&next, &c);
        for (unsigned i = 0; i < RIG_DARTS; i++)
            assert_true(!rig_can_read(&rig, i, RIG_SID, 0) && rig_can_read(&rig, i, RIG_SID, g));
        detach(&next, &c);
        domain_end(&old);
        domain_end(&next);
        client_end(&c);
        rig_end(&rig);
    }
}

/* ---- an invalidation that fails ---- */

static void all_blocked(struct bench *b, unsigned darts, uint64_t iova)
{
    for (unsigned i = 0; i < darts; i++)
        assert_false(reads(b, i, iova) || rig_can_write(&b->rig, i, RIG_SID, iova));
}

static void test_map_stuck(void **state)
{
    static const unsigned kinds[] = {RIG_T8020, RIG_T8110};

    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        struct gr_domain_stats stats;
        struct bench b;
        gr_pa_t pa;

        bench_make(&b, kinds[k], .darts = RIG_DARTS, .type = GR_DOMAIN_UNMANAGED);
        assert_int_equal(gr_domain_map(&b.domain, 0, 0, b.g, RW), 0);
        assert_true(reads(&b, 0, 0) && reads(&b, 2, 0));
        rig_set_busy(&b.rig, 1, 0, true);
        assert_int_equal(gr_domain_map(&b.domain, b.g, 0, 2 * b.g, RW), GR_ETIMEDOUT);
        gr_domain_stats(&b.domain, &stats);
        assert_true(stats.broken);
        assert_int_equal(stats.quarantined_bytes, 2 * b.g);
        assert_int_equal(gr_domain_iova_to_phys(&b.domain, b.g, &pa), GR_ENOENT);
        assert_int_equal(gr_domain_map(&b.domain, 8 * b.g, 0, b.g, RW), GR_EIO);
        rig_set_busy(&b.rig, 1, 0, false);
        assert_int_equal(gr_domain_map(&b.domain, b.g, 0, b.g, RW), GR_EIO);
        all_blocked(&b, RIG_DARTS, 0);
        bench_end(&b);
    }
}

/* Table and range stay; so do those of unmaps that follow while the instance does not answer. */
static void test_unmap_stuck(void **state)
{
    static const unsigned kinds[] = {RIG_T8020, RIG_T8110, RIG_SMMU, RIG_SMMU_4K_VA39};

    (void)state;
    for (unsigned k = 0; k < 4; k++) {
        struct bench b;
        uint64_t span;
        uint64_t held;

        bench_make(&b, kinds[k], .darts = RIG_DARTS, .type = GR_DOMAIN_UNMANAGED);
        span = rig_span(&b.domain);
        assert_int_equal(gr_domain_map(&b.domain, 0, RIG_BIG, 3 * span, RW), 0);
        held = tables(&b.domain);
        for (unsigned i = 0; i < RIG_DARTS; i++)
            assert_true(reads(&b, i, 0) && reads(&b, i, span) && reads(&b, i, 2 * span));
        rig_set_busy(&b.rig, 1, 0, true);
        assert_int_equal(gr_domain_unmap(&b.domain, 0, span), GR_ETIMEDOUT);
        assert_int_equal(tables(&b.domain), held);
        assert_int_equal(gr_domain_map(&b.domain, 0, 0, b.g, RW), GR_EIO);
        assert_int_equal(gr_domain_unmap(&b.domain, 0, span), GR_ENOENT);
        assert_int_equal(gr_domain_unmap(&b.domain, span, span), GR_ETIMEDOUT);
        assert_int_equal(tables(&b.domain), held);
        rig_set_busy(&b.rig, 1, 0, false);
        all_blocked(&b, RIG_DARTS, 0);
        all_blocked(&b, RIG_DARTS, span);
        all_blocked(&b, RIG_DARTS, 2 * span);
        bench_end(&b); /* which confirms, frees, and leaks nothing */
    }
}

/* A broken domain blocks its streams: those that it had, and any that might come. */
static void test_broken_blocks(void **state)
{
    struct bench b;
    struct client second;

    (void)state;
    bench_make(&b, RIG_T8020, .darts = 2, .type = GR_DOMAIN_UNMANAGED);
    client_make(&b.rig, &second, 1, 1, RIG_SID + 1);
    assert_int_equal(gr_domain_map(&b.domain, 0, 0, 2 * b.g, RW), 0);
    rig_set_busy(&b.rig, 0, 0, true);
    assert_int_equal(gr_domain_unmap(&b.domain, b.g, b.g), GR_ETIMEDOUT);
    rig_set_busy(&b.rig, 0, 0, false);
    for (unsigned again = 0; again < 2; again++) {
        const int ret = gr_domain_attach(&b.domain, &second.dev);

        assert_false(rig_can_read(&b.rig, 1, RIG_SID + 1, 0));
        if (!ret)
            detach(&b.domain, &second);
        all_blocked(&b, 2, 0);
        if (gr_device_domain(&b.dev))
            assert_int_equal(gr_domain_detach(&b.domain, &b.dev), 0);
        (void)!gr_domain_attach(&b.domain, &b.dev);
        all_blocked(&b, 2, 0);
    }
    if (gr_device_domain(&b.dev))
        assert_int_equal(gr_domain_detach(&b.domain, &b.dev), 0);
    domain_end(&b.domain);
    client_end(&second);
    assert_int_equal(gr_device_fini(&b.dev), 0);
    rig_end(&b.rig);
}

/* It never comes back: detached and blocked all the same, and the tables are kept from reuse. */
static void test_stuck_for_good(void **state)
{
    static const unsigned kinds[] = {RIG_T8020, RIG_T8110};

    (void)state;
    for (unsigned k = 0; k < 4; k++) {
        struct bench b;
        int leaks;

        bench_make(&b, kinds[k % 2], .darts = 2, .type = GR_DOMAIN_UNMANAGED);
        assert_int_equal(gr_domain_map(&b.domain, 0, 0, b.g, RW), 0);
        assert_true(reads(&b, 0, 0) && reads(&b, 1, 0));
        rig_set_busy(&b.rig, 0, 0, true);
        assert_int_equal(gr_domain_detach(&b.domain, &b.dev), GR_ETIMEDOUT);
        assert_null(gr_device_domain(&b.dev));
        assert_false(reads(&b, 1, 0));
        leaks = host_leaks(b.rig.host);
        if (k < 2)
            assert_int_equal(gr_device_fini(&b.dev), 0);
        domain_end(&b.domain);
        if (k >= 2)
            assert_int_equal(gr_device_fini(&b.dev), 0);
        assert_true(host_logged(b.rig.host, "never confirmed"));
        assert_int_equal(host_leaks(b.rig.host), leaks);
        rig_set_busy(&b.rig, 0, 0, false);
        assert_false(reads(&b, 0, 0));
        rig_end_leaking(&b.rig, leaks);
    }
}

/*
 * It hangs once during a map and then answers: nothing is mapped, and either the domain is broken
 * and blocked, or all is as before.
 */
static void test_map_hangs_once(void **state)
{
    static const unsigned kinds[] = {RIG_T8020, RIG_T8110};

    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        struct gr_domain_stats stats;
        struct bench b;

        bench_make(&b, kinds[k], .darts = 2, .type = GR_DOMAIN_UNMANAGED);
        assert_int_equal(gr_domain_map(&b.domain, 0, 0, b.g, RW), 0);
        b.rig.dart[0].hang = 1;
        assert_int_equal(gr_domain_map(&b.domain, b.g, 0, b.g, RW), GR_ETIMEDOUT);
        gr_domain_stats(&b.domain, &stats);
        for (unsigned i = 0; i < 2; i++) {
            assert_false(reads(&b, i, b.g));
            assert_int_equal(reads(&b, i, 0), !stats.broken);
        }
        assert_int_equal(gr_domain_map(&b.domain, 5 * b.g, 0, b.g, RW), stats.broken ? GR_EIO : 0);
        bench_end(&b);
    }
}

/* ---- memory ---- */

static void test_no_memory(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        for (unsigned type = GR_DOMAIN_TRANSLATED; type <= GR_DOMAIN_UNMANAGED; type++) {
            struct rig rig;
            struct client c;
            struct gr_domain domain;
            uint64_t before;
            uint64_t needed;
            int held;

            rig_make_plain(&rig, kind, 1);
            client_make(&rig, &c, 0, 1, RIG_SID);
            held = host_leaks(rig.host);
            before = host_allocs(rig.host);
            assert_int_equal(gr_domain_init(&domain, rig.host, &c.dev, (enum gr_domain_type)type,
                                            GR_DOMAIN_LP_AWARE),
                             0);
            needed = host_allocs(rig.host) - before;
            assert_true(needed >= 1);
            domain_end(&domain);
            assert_int_equal(host_leaks(rig.host), held);
            for (uint64_t n = 1; n <= needed; n++) {
                host_fail_alloc(rig.host, n);
                refuse_domain(&rig, &c, type, GR_DOMAIN_LP_AWARE, GR_ENOMEM, "no memory");
            }
            assert_int_equal(gr_domain_init(&domain, rig.host, &c.dev, (enum gr_domain_type)type,
                                            GR_DOMAIN_LP_AWARE),
                             0);
            /* Attaching needs none, but for the first time with an SMMUv3. */
            attach(&domain, &c);
            detach(&domain, &c);
            host_fail_alloc(rig.host, 1);
            attach(&domain, &c);
            detach(&domain, &c);
            host_fail_alloc(rig.host, 0);
            domain_end(&domain);
            client_end(&c);
            rig_end(&rig);
        }
    }
}

static void test_map_without_memory(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        if (rig_kinds[kind].page_bits == 16)
            continue; /* more memory than there is */
        struct bench b;
        uint64_t span;

        bench_make(&b, kind, .type = GR_DOMAIN_UNMANAGED);
        span = rig_span(&b.domain);
        assert_int_equal(gr_domain_map(&b.domain, 0, 0, b.g, RW), 0);
        /* Three tables: the n-th is not to be had. */
        for (uint64_t n = 1; n <= 3; n++) {
            host_fail_alloc(b.rig.host, n);
            refuse_map(&b, 2 * span - b.g, RIG_BIG, span + 2 * b.g, RW, GR_ENOMEM, "no memory");
            host_fail_alloc(b.rig.host, 0);
            assert_false(reads(&b, 0, 2 * span - b.g) || reads(&b, 0, 2 * span));
        }
        /* The first of the tables is there already, and stays. */
        host_fail_alloc(b.rig.host, 1);
        refuse_map(&b, span - b.g, 0, 2 * b.g, RW, GR_ENOMEM, "no memory");
        assert_true(reads(&b, 0, 0));
        assert_int_equal(gr_domain_map(&b.domain, 2 * span - b.g, RIG_BIG, span + 2 * b.g, RW), 0);
        assert_true(reads(&b, 0, 2 * span - b.g) && reads(&b, 0, 3 * span));
        /* Unmapping and trimming need none. */
        host_fail_alloc(b.rig.host, 1);
        assert_int_equal(gr_domain_unmap(&b.domain, 2 * span - b.g, span + 2 * b.g), 0);
        assert_int_equal(gr_domain_unmap(&b.domain, 0, b.g), 0);
        assert_int_equal(gr_domain_trim(&b.domain, 0, 4 * span), 0);
        host_fail_alloc(b.rig.host, 0);
        assert_int_equal(tables(&b.domain), rig_root_tables(&b.domain));
        bench_end(&b);
    }
}

/* ---- faults ---- */

static bool take(void *cookie, const struct gr_fault *fault)
{
    *(struct gr_fault *)cookie = *fault;
    return true;
}

static bool pass_on(void *cookie, const struct gr_fault *fault)
{
    (void)take(cookie, fault);
    return false;
}

static void test_fault_handlers(void **state)
{
    struct bench b;
    struct gr_fault seen = {.iova = 1};
    uint64_t others;

    (void)state;
    bench_make(&b, RIG_T8110, .darts = 2, .type = GR_DOMAIN_UNMANAGED);
    assert_int_equal(gr_domain_map(&b.domain, 0, 0, b.g, GR_PROT_READ), 0);
    gr_domain_set_fault_handler(&b.domain, take, &seen);
    others = b.rig.faults;
    assert_false(rig_can_write(&b.rig, 1, RIG_SID, 77));
    assert_int_equal(b.rig.faults, others);
    assert_int_equal(seen.iova, 77);
    assert_int_equal(seen.stream, RIG_SID);
    assert_int_equal(seen.reasons, GR_FAULT_WRITE_PROT);
    assert_ptr_equal(seen.instance, &b.rig.dart[1].drv.inst);
    gr_domain_set_fault_handler(&b.domain, pass_on, &seen);
    assert_false(reads(&b, 0, 5 * b.g));
    assert_int_equal(seen.iova, 5 * b.g);
    assert_int_equal(b.rig.faults, others + 1);
    gr_domain_set_fault_handler(&b.domain, NULL, NULL);
    seen.iova = 1;
    assert_false(reads(&b, 0, 6 * b.g));
    assert_int_equal(seen.iova, 1);
    assert_int_equal(b.rig.faults, others + 2);
    bench_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(test_device_errors),
        rig_test(test_highest_stream),
        rig_test(test_shared_stream),
        rig_test(test_groups_merge),
        rig_test(test_domain_errors),
        rig_test(test_instances_that_differ),
        rig_test(test_widths_that_differ),
        rig_test(test_lp_aware),
        rig_test(test_apertures),
        rig_test(test_tagged_aperture),
        rig_test(test_tags_that_differ),
        rig_test(test_stubs),
        rig_test(test_attach_errors),
        rig_test(test_switching),
        rig_test(test_one_domain_three_devices),
        rig_test(test_unmanaged_errors),
        rig_test(test_unmanaged_only),
        rig_test(test_unmanaged),
        rig_test(test_unmanaged_tables),
        rig_test(test_every_instance),
        rig_test(test_attach_stuck),
        rig_test(test_attach_rolls_back),
        rig_test(test_map_stuck),
        rig_test(test_unmap_stuck),
        rig_test(test_broken_blocks),
        rig_test(test_stuck_for_good),
        rig_test(test_map_hangs_once),
        rig_test(test_no_memory),
        rig_test(test_map_without_memory),
        rig_test(test_fault_handlers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
