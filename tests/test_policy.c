/* SPDX-License-Identifier: MIT */
/*
 * Who gets which domain, and which isolation: what a device says of itself, what the host wants,
 * groups, locked instances, instances that cannot bypass; all with their reasons.
 */
#include "iso.h"

#include <string.h>

#define MEMBERS 3u

struct world {
    struct iso iso;
    struct gr_stream stream[MEMBERS][RIG_DARTS];
    struct gr_device dev[MEMBERS];
    unsigned count;
};

static void make(struct world *w)
{
    memset(w, 0, sizeof(*w));
    iso_make(&w->iso, &(struct iso_setup){.kind = RIG_T8020, .bare = true});
}

/* Another device; all with one `sid` are one group. */
static struct gr_device *join(struct world *w, uint32_t sid, bool untrusted,
                              enum gr_domain_type mode)
{
    struct gr_device *const dev = &w->dev[w->count];
    struct gr_device_config config = iso_device(&w->iso, w->stream[w->count], sid);

    config.untrusted = untrusted;
    config.mode = mode;
    assert_int_equal(gr_device_init(dev, &config), 0);
    w->count++;
    return dev;
}

static void finish(struct world *w)
{
    while (w->count)
        assert_int_equal(gr_device_fini(&w->dev[--w->count]), 0);
    iso_end(&w->iso);
}

static void expect(const struct gr_device *dev, enum gr_domain_type wish, int ret,
                   enum gr_domain_type type, const char *reason)
{
    struct gr_policy policy = {GR_DOMAIN_UNMANAGED, NULL};

    assert_int_equal(gr_device_policy(dev, wish, &policy), ret);
    assert_int_equal(policy.type, type);
    assert_non_null(policy.reason);
    if (!strstr(policy.reason, reason))
        fail_msg("the reason is: %s", policy.reason);
    assert_true(policy.reason[strlen(policy.reason) - 1] != '.');
    assert_null(gr_device_domain(dev));
}

#define T GR_DOMAIN_TRANSLATED
#define I GR_DOMAIN_IDENTITY
#define L GR_DOMAIN_LINEAR
#define B GR_DOMAIN_BLOCKED
#define NONE ((enum gr_domain_type)0)

static void test_wishes(void **state)
{
    struct world w;
    struct gr_device *dev;

    (void)state;
    make(&w);
    dev = join(&w, 5, false, NONE);
    expect(dev, NONE, 0, T, "the default");
    expect(dev, T, 0, T, "by the host");
    expect(dev, L, 0, L, "by the host");
    expect(dev, I, 0, I, "by the host");
    expect(dev, B, 0, B, "by the host");
    expect(dev, GR_DOMAIN_UNMANAGED, GR_EINVAL, B, "no device can have");
    expect(dev, (enum gr_domain_type)6, GR_EINVAL, B, "no device can have");
    dev = join(&w, 6, false, L);
    expect(dev, NONE, 0, L, "the device's configuration");
    expect(dev, I, 0, L, "the device's configuration");
    expect(dev, B, 0, L, "the device's configuration");
    finish(&w);
}

static void test_overrides(void **state)
{
    struct world w;
    struct gr_device *dev;
    struct gr_instance *inst;

    (void)state;
    make(&w);
    inst = &w.iso.rig.dart[0].drv.inst;
    dev = join(&w, 5, true, I);
    expect(dev, NONE, 0, T, "untrusted");
    expect(dev, I, 0, T, "untrusted");
    dev = join(&w, 6, true, B);
    expect(dev, I, 0, B, "configuration");
    dev = join(&w, 7, false, NONE);
    inst->bypass = false;
    expect(dev, I, GR_EOPNOTSUPP, I, "cannot bypass");
    expect(dev, L, 0, L, "by the host");
    inst->locked = true;
    expect(dev, I, 0, T, "locked");
    expect(dev, L, 0, T, "locked");
    expect(dev, B, 0, B, "by the host");
    inst->locked = false;
    inst->bypass = true;
    expect(dev, I, 0, I, "by the host");
    finish(&w);
}

/* Every instance of every member counts. */
static void test_instances(void **state)
{
    struct rig rig;
    struct gr_stream stream[2][RIG_DARTS];
    struct gr_device one;
    struct gr_device two;
    struct gr_device_config config;
    struct gr_policy policy;

    (void)state;
    rig_make_plain(&rig, RIG_T6000, 3);
    config = rig_device(&rig, stream[0], 0, 2, 4);
    assert_int_equal(gr_device_init(&one, &config), 0);
    config = rig_device(&rig, stream[1], 1, 2, 4); /* shares dart1's stream */
    assert_int_equal(gr_device_init(&two, &config), 0);
    assert_ptr_equal(one.group, two.group);
    assert_int_equal(gr_device_policy(&one, I, &policy), 0);
    rig.dart[2].drv.inst.bypass = false;
    assert_int_equal(gr_device_policy(&one, I, &policy), GR_EOPNOTSUPP);
    rig.dart[2].drv.inst.bypass = true;
    rig.dart[0].drv.inst.locked = true;
    assert_int_equal(gr_device_policy(&two, L, &policy), 0);
    assert_int_equal(policy.type, T);
    rig.dart[0].drv.inst.locked = false;
    assert_int_equal(gr_device_fini(&one), 0);
    assert_int_equal(gr_device_fini(&two), 0);
    rig_end(&rig);
}

/* A group takes the strictest wish and the least trust of its members. */
static void test_groups(void **state)
{
    static const struct {
        enum gr_domain_type mode[MEMBERS];
        bool untrusted[MEMBERS];
        enum gr_domain_type wish, type;
        const char *reason[MEMBERS];
    } all[] = {
        {{I, NONE, NONE}, {0}, NONE, T, {"another device of its group", "default", "default"}},
        {{I, L, I}, {0}, T, L, {"another device", "the device's configuration", "another"}},
        {{I, L, B}, {0}, I, B, {"another device", "another", "the device's configuration"}},
        {{I, NONE, I}, {0}, I, I, {"configuration", "by the host", "configuration"}},
        {{I, I, I}, {false, true, false}, NONE, T, {"untrusted", "shares streams", "untrusted"}},
        {{L, B, L}, {false, false, true}, NONE, B, {"another", "configuration", "another"}},
    };

    (void)state;
    for (unsigned k = 0; k < sizeof(all) / sizeof(all[0]); k++) {
        struct world w;

        make(&w);
        for (unsigned i = 0; i < MEMBERS; i++)
            (void)join(&w, 5, all[k].untrusted[i], all[k].mode[i]);
        for (unsigned i = 0; i < MEMBERS; i++)
            expect(&w.dev[i], all[k].wish, 0, all[k].type, all[k].reason[i]);
        finish(&w);
    }
}

/* ---- what a device may say of itself ---- */

static void test_configs(void **state)
{
    struct world w;
    struct gr_device dev;
    struct gr_stream stream[RIG_DARTS];
    const struct gr_device_config usual = {.name = "d", .streams = stream, .stream_count = 1};
    struct gr_device_config bad[12];
    struct gr_device_config config;
    struct gr_domain domain;

    (void)state;
    make(&w);
    config = iso_device(&w.iso, stream, 5);
    for (unsigned i = 0; i < 12; i++)
        bad[i] = usual;
    bad[0].access_unit = 3;
    bad[1].access_unit = 8192;
    bad[2].overread = 4097;
    bad[3].min_align_mask = 0x1000;
    bad[4].min_align_mask = 0x1ffff;
    bad[5].mode = GR_DOMAIN_UNMANAGED;
    bad[6].mode = (enum gr_domain_type)6;
    bad[7].isolation = (enum gr_isolation)4;
    bad[8].isolation = GR_ISOLATION_EXPOSE;
    bad[8].untrusted = true;
    bad[9].min_align_mask = 0xfffe;
    bad[10].access_unit = 4097;
    bad[11].mode = (enum gr_domain_type)UINT32_MAX;
    for (unsigned i = 0; i < 12; i++)
        assert_int_equal(gr_device_init(&dev, &bad[i]), GR_EINVAL);
    assert_true(host_logged(w.iso.rig.host, "an untrusted device cannot have its buffers"));
    config.access_unit = 4096;
    config.overread = 4096;
    config.min_align_mask = 0xffff;
    config.mode = L;
    assert_int_equal(gr_device_init(&dev, &config), 0);
    /* addresses keep what a granule keeps, and no more */
    assert_int_equal(gr_domain_init(&domain, w.iso.rig.host, &dev, T, 0), GR_EOPNOTSUPP);
    assert_true(host_logged(w.iso.rig.host, "min_align_mask"));
    assert_int_equal(gr_device_fini(&dev), 0);
    config.min_align_mask = 0x3fff;
    assert_int_equal(gr_device_init(&dev, &config), 0);
    assert_int_equal(gr_domain_init(&domain, w.iso.rig.host, &dev, T, 0), 0);
    assert_int_equal(gr_domain_fini(&domain), 0);
    assert_int_equal(gr_device_fini(&dev), 0);
    finish(&w);
}

/* ---- who is isolated ---- */

/* One that is not trusted makes all of its group so, also what they say themselves. */
static void test_weakest_member(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 3; k++) { /* who, beside an exposed one: nobody, hostile, careful */
        struct world w;
        struct gr_device *exposed;
        struct gr_stream more[RIG_DARTS];
        struct gr_device other;
        struct gr_device_config config;
        struct gr_domain domain;
        struct gr_bounce pool;
        const struct gr_bounce_config limits = {UINT64_C(0xfffffffff), GR_BOUNCE_CHUNK, 0};
        gr_iova_t iova;
        gr_iova_t theirs = 0;

        make(&w);
        exposed = &w.dev[w.count++];
        config = iso_device(&w.iso, w.stream[0], RIG_SID + 1);
        config.isolation = GR_ISOLATION_EXPOSE;
        assert_int_equal(gr_device_init(exposed, &config), 0);
        config = iso_device(&w.iso, more, RIG_SID + 1);
        config.untrusted = k == 1;
        config.isolation = k == 2 ? GR_ISOLATION_WINDOW : GR_ISOLATION_DEFAULT;
        if (k)
            assert_int_equal(gr_device_init(&other, &config), 0);
        assert_int_equal(gr_device_untrusted(exposed), k == 1);
        assert_int_equal(gr_domain_init(&domain, w.iso.rig.host, exposed, T, 0), 0);
        assert_int_equal(gr_bounce_init(&pool, w.iso.rig.host, &limits), 0);
        assert_int_equal(gr_domain_set_bounce(&domain, &pool), 0);
        assert_int_equal(gr_domain_attach(&domain, exposed), 0);
        iso_set(&w.iso, RIG_BIG, 0xa5, 2 * w.iso.g);
        assert_int_equal(gr_dma_map(exposed, RIG_BIG + 16, 64, BOTH, 0, &iova), 0);
        if (k)
            assert_int_equal(gr_dma_map(&other, RIG_BIG + 16, 64, BOTH, 0, &theirs), 0);
        for (unsigned b = 0; b < 200; b++) {
            uint8_t byte = 0;
            const bool in = b >= 16 && b < 80;
            const gr_iova_t at = iova - 16 + b;

            assert_int_equal(iso_sid_access(&w.iso, RIG_SID + 1, at, &byte, 1, false),
                             true); /* exposed; or a slot, since windows are not verified */
            assert_int_equal(byte, in || k != 1 ? 0xa5 : 0);
            if (k)
                assert_int_equal(
                    iso_sid_access(&w.iso, RIG_SID + 1, theirs - 16 + b, &byte, 1, false),
                    k == 1 || in);
        }
        assert_int_equal(gr_dma_unmap(exposed, iova, 64, BOTH, 0), 0);
        if (k)
            assert_int_equal(gr_dma_unmap(&other, theirs, 64, BOTH, 0), 0);
        assert_int_equal(gr_domain_detach(&domain, exposed), 0);
        assert_int_equal(gr_domain_fini(&domain), 0);
        assert_int_equal(gr_bounce_fini(&pool), 0);
        if (k)
            assert_int_equal(gr_device_fini(&other), 0);
        finish(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(test_wishes), rig_test(test_overrides), rig_test(test_instances),
        rig_test(test_groups), rig_test(test_configs),   rig_test(test_weakest_member),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
