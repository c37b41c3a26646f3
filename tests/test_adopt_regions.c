/* SPDX-License-Identifier: MIT */
/*
 * Reserved regions, with firmware's tables beside them and without; which policy is chosen and why;
 * several streams of one domain.
 */
#include "adopt_tools.h"

#define SID 0u
#define FB_IOVA UINT64_C(0x12000000)
#define FB_PA (FW_RAM + UINT64_C(0x10000000))
#define FB_PAGES 4u
#define MINE (FW_RAM + UINT64_C(0x18000000))

static uint64_t g(const struct fw *fw)
{
    return UINT64_C(1) << fw->k->page_bits;
}

static uint64_t span(const struct fw *fw)
{
    return UINT64_C(1) << (2 * fw->k->page_bits - 3);
}

/* DARTs whose stream SID translates, or with `plain` is off; the frame buffer in the first. */
struct many {
    struct fw fw;
    struct gr_stream streams[FW_DARTS];
    struct gr_device dev;
    struct gr_region region[4];
    struct gr_device_config config;
};

static void many_boot(struct many *m, const struct fw_kind *k, unsigned darts, bool locked)
{
    fw_make(&m->fw, k, darts, locked && !k->packed, 1);
    (void)fw_stream(&m->fw, 0, SID);
    fw_map(&m->fw, 0, SID, FB_IOVA, FB_PA, FB_PAGES);
}

static void many_start(struct many *m)
{
    fw_boot(&m->fw);
    for (unsigned i = 0; i < m->fw.darts; i++)
        assert_int_equal(fw_driver(&m->fw, i, NULL), 0);
    m->config = fw_device(&m->fw, m->streams, m->fw.darts, SID);
    m->config.regions = m->region;
}

static void add_region(struct many *m, enum gr_region_kind kind, gr_iova_t iova, gr_pa_t pa,
                       uint64_t len)
{
    m->region[m->config.region_count++] =
        (struct gr_region){.kind = kind, .iova = iova, .pa = pa, .len = len, .prot = RW};
}

static int domain_of(struct many *m, struct gr_domain *domain, enum gr_domain_type type)
{
    return gr_domain_init(domain, m->fw.host, &m->dev, type,
                          type == GR_DOMAIN_UNMANAGED ? GR_DOMAIN_LP_AWARE : 0);
}

static void many_end(struct many *m)
{
    assert_int_equal(gr_device_fini(&m->dev), 0);
    fw_end(&m->fw);
}

/* The domain's policy, with a word of its reason, after an attach and with all of it usable. */
static void attach_as(struct many *m, enum gr_domain_type type, enum gr_adopt policy,
                      const char *reason)
{
    struct gr_domain domain;
    struct gr_adoption told;

    assert_int_equal(domain_of(m, &domain, type), 0);
    assert_int_equal(gr_domain_attach(&domain, &m->dev), 0);
    gr_stream_adoption(&m->streams[0], &told);
    if (told.policy != policy || !strstr(told.reason, reason))
        fail_msg("%s: policy %d because %s", m->fw.k->name, told.policy, told.reason);
    for (unsigned i = 0; i < m->config.region_count; i++) {
        const struct gr_region *const r = &m->region[i];

        for (unsigned d = 0; r->kind == GR_REGION_TRANSLATED && d < m->fw.darts; d++) {
            assert_true(fw_reaches(&m->fw, d, SID, r->iova, r->pa));
            assert_true(fw_reaches(&m->fw, d, SID, r->iova + r->len - 1, r->pa + r->len - 1));
        }
    }
    assert_int_equal(gr_domain_detach(&domain, &m->dev), 0);
    fw_restored(&m->fw);
    assert_int_equal(gr_domain_fini(&domain), 0);
}

/* ---- which policy ---- */

static void nothing_in_the_way(void **state)
{
    (void)state;
    for (size_t i = 0; i < FW_KINDS; i++) {
        struct many m;

        many_boot(&m, &fw_kinds[i], 1, true);
        many_start(&m);
        /* Firmware has it as it shall be: nothing to do. */
        add_region(&m, GR_REGION_TRANSLATED, FB_IOVA, FB_PA, FB_PAGES * g(&m.fw));
        add_region(&m, GR_REGION_TRANSLATED, 5 * span(&m.fw) + 0x800, MINE + 0x800, g(&m.fw));
        add_region(&m, GR_REGION_RESERVED, 7 * span(&m.fw), 0, g(&m.fw));
        assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
        attach_as(&m, GR_DOMAIN_TRANSLATED, GR_ADOPT_KEEP_SLOTS, "no write to firmware's");
        attach_as(&m, GR_DOMAIN_UNMANAGED, GR_ADOPT_KEEP_SLOTS, "no write to firmware's");
        many_end(&m);
    }
}

/* A region whose table firmware has, without it. */
static void a_region_needs_import(void **state)
{
    (void)state;
    for (size_t i = 0; i < FW_KINDS; i++) {
        struct gr_domain domain;
        struct many m;

        many_boot(&m, &fw_kinds[i], 1, true);
        many_start(&m);
        add_region(&m, GR_REGION_TRANSLATED, FB_IOVA + 8 * g(&m.fw), MINE, g(&m.fw));
        assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
        attach_as(&m, GR_DOMAIN_TRANSLATED, GR_ADOPT_IMPORT, "a reserved region");
        attach_as(&m, GR_DOMAIN_UNMANAGED, GR_ADOPT_IMPORT, "a reserved region");
        assert_int_equal(gr_device_fini(&m.dev), 0);
        m.config.adopt = GR_ADOPT_KEEP_SLOTS;
        assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
        assert_int_equal(domain_of(&m, &domain, GR_DOMAIN_TRANSLATED), GR_EBUSY);
        assert_true(host_logged(m.fw.host, "in a slot that firmware keeps"));
        many_end(&m);
    }
}

/* Two slots, and firmware has both. */
static void no_room_but_in_firmwares(void **state)
{
    (void)state;
    for (size_t i = 0; i < FW_KINDS; i++) {
        struct many m;

        many_boot(&m, &fw_kinds[i], 1, true);
        fw_map(&m.fw, 0, SID, (FB_IOVA & ~(span(&m.fw) - 1)) + span(&m.fw), FB_PA, 1);
        many_start(&m);
        m.streams[0].window.first = FB_IOVA & ~(span(&m.fw) - 1);
        m.streams[0].window.last = m.streams[0].window.first + 2 * span(&m.fw) - 1;
        assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
        attach_as(&m, GR_DOMAIN_TRANSLATED, GR_ADOPT_IMPORT, "cover all other");
        attach_as(&m, GR_DOMAIN_UNMANAGED, GR_ADOPT_IMPORT, "cover all other");
        many_end(&m);
    }
}

/* ---- regions ---- */

/* REQUIREMENTS.md 5.9: one that starts inside a granule is mapped from the granule's start. */
static void vector_09_inside_granules(void **state)
{
    (void)state;
    for (size_t i = 0; i < FW_KINDS; i++) {
        for (unsigned plain = 0; plain < 2; plain++) {
            struct many m;
            struct gr_domain domain;
            const gr_iova_t iova = UINT64_C(0x30000000);
            gr_iova_t got;
            uint64_t pages;

            many_boot(&m, &fw_kinds[i], 1, false);
            if (plain) { /* firmware left nothing */
                fw_set_tcr(&m.fw, 0, SID, 0);
                m.fw.dart[0].leaves = 0;
            }
            many_start(&m);
            /* From the middle of one granule to the start of the next but one. */
            add_region(&m, GR_REGION_TRANSLATED, iova + g(&m.fw) / 2, MINE + g(&m.fw) / 2,
                       g(&m.fw) + g(&m.fw) / 2 + 8);
            add_region(&m, GR_REGION_DIRECT, UINT64_C(0x38000010), 0, 16);
            assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
            assert_int_equal(domain_of(&m, &domain, GR_DOMAIN_TRANSLATED), 0);
            assert_int_equal(gr_domain_attach(&domain, &m.dev), 0);
            for (pages = 0; pages < 3; pages++)
                assert_true(
                    fw_reaches(&m.fw, 0, SID, iova + pages * g(&m.fw), MINE + pages * g(&m.fw)));
            assert_false(fw_reaches(&m.fw, 0, SID, iova + 3 * g(&m.fw), MINE + 3 * g(&m.fw)));
            assert_true(fw_reaches(&m.fw, 0, SID, UINT64_C(0x38000000), UINT64_C(0x38000000)));
            for (unsigned n = 0; n < 50; n++) { /* never one of its addresses */
                assert_int_equal(gr_dma_map(&m.dev, MINE, 8 * g(&m.fw), GR_DMA_TO_DEVICE, 0, &got),
                                 0);
                assert_true(got >= iova + 3 * g(&m.fw) || got + 8 * g(&m.fw) <= iova);
                assert_int_equal(gr_dma_unmap(&m.dev, got, 8 * g(&m.fw), GR_DMA_TO_DEVICE, 0), 0);
            }
            assert_int_equal(gr_domain_detach(&domain, &m.dev), 0);
            assert_int_equal(gr_domain_fini(&domain), 0);
            many_end(&m);
        }
    }
}

static int refused_region(const struct gr_region *r, unsigned count)
{
    struct many m;
    struct gr_domain domain;
    int ret;

    many_boot(&m, &fw_kinds[0], 1, true);
    many_start(&m);
    memcpy(m.region, r, count * sizeof(*r));
    m.config.region_count = count;
    ret = gr_device_init(&m.dev, &m.config);
    if (!ret) {
        ret = domain_of(&m, &domain, GR_DOMAIN_TRANSLATED);
        if (!ret)
            assert_int_equal(gr_domain_fini(&domain), 0);
        assert_int_equal(gr_device_fini(&m.dev), 0);
    }
    fw_end(&m.fw);
    return ret;
}

static void refused(void **state)
{
    const struct gr_region good = {GR_REGION_TRANSLATED, UINT64_C(0x40000000), MINE, 0x8000, RW};
    struct gr_region r[3] = {good, good, good};

    (void)state;
    assert_int_equal(refused_region(r, 2), 0); /* twice the same */
    r[1].pa += 0x4000;
    assert_int_equal(refused_region(r, 2), GR_EBUSY);
    r[0] = good;
    r[0].pa += 0x1000; /* incongruent */
    assert_int_equal(refused_region(r, 1), GR_EINVAL);
    r[0] = good;
    r[0].kind = (enum gr_region_kind)0;
    assert_int_equal(refused_region(r, 1), GR_EINVAL);
    r[0].kind = (enum gr_region_kind)4;
    assert_int_equal(refused_region(r, 1), GR_EINVAL);
    r[0] = good;
    r[0].len = 0;
    assert_int_equal(refused_region(r, 1), GR_EINVAL);
    r[0] = good;
    r[0].iova = UINT64_MAX - 0x3fff;
    assert_int_equal(refused_region(r, 1), GR_EINVAL);
    r[0] = good;
    r[0].pa = UINT64_MAX - 0x3fff;
    assert_int_equal(refused_region(r, 1), GR_EINVAL);
    r[0] = good;
    r[0].prot = 0;
    assert_int_equal(refused_region(r, 1), GR_EINVAL);
    r[0] = good;
    r[0].iova = UINT64_C(0xffffc000); /* its end is outside of the aperture */
    assert_int_equal(refused_region(r, 1), GR_ERANGE);
    r[0] = good;
    r[0].pa = UINT64_C(1) << 36;
    assert_int_equal(refused_region(r, 1), GR_EFAULT);
    r[0] = good;
    r[0].iova = FB_IOVA; /* firmware has something else there */
    assert_int_equal(refused_region(r, 1), GR_EBUSY);
    r[0] = good;
    r[0].kind = GR_REGION_RESERVED; /* all of it, however far it reaches */
    r[0].iova = 0;
    r[0].len = UINT64_C(1) << 40;
    r[0].prot = 0;
    assert_int_equal(refused_region(r, 1), GR_EBUSY);
}

static void regions_and_open_domains(void **state)
{
    struct many m;
    struct gr_domain domain;
    struct gr_policy policy;

    (void)state;
    fw_make(&m.fw, &fw_kinds[0], 1, false, 1);
    many_start(&m);
    add_region(&m, GR_REGION_RESERVED, 0, 0, 0x4000);
    assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
    assert_int_equal(gr_device_policy(&m.dev, GR_DOMAIN_IDENTITY, &policy), 0);
    assert_int_equal(policy.type, GR_DOMAIN_TRANSLATED);
    assert_int_equal(domain_of(&m, &domain, GR_DOMAIN_IDENTITY), GR_EOPNOTSUPP);
    assert_true(host_logged(m.fw.host, "at fixed IOVAs"));
    many_end(&m);
}

/* A domain that was made for another device lacks what this one needs. */
static void made_for_another(void **state)
{
    (void)state;
    for (size_t i = 0; i < FW_KINDS; i++) {
        struct many m;
        struct gr_stream stream;
        struct gr_device other;
        struct gr_device_config config;
        struct gr_domain domain;

        many_boot(&m, &fw_kinds[i], 1, false);
        many_start(&m);
        config = fw_device(&m.fw, &stream, 1, SID + 1);
        assert_int_equal(gr_device_init(&other, &config), 0);
        assert_int_equal(
            gr_domain_init(&domain, m.fw.host, &other, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE), 0);
        assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
        assert_int_equal(gr_domain_attach(&domain, &m.dev), GR_EOPNOTSUPP);
        assert_int_equal(gr_device_fini(&m.dev), 0);
        assert_int_equal(gr_domain_fini(&domain), 0);

        /* The other way round it has more than it needs. */
        for (unsigned adopt = GR_ADOPT_KEEP_SLOTS; adopt <= GR_ADOPT_IMPORT; adopt++) {
            m.config.adopt = (enum gr_adopt)adopt;
            assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
            assert_int_equal(domain_of(&m, &domain, GR_DOMAIN_UNMANAGED), 0);
            assert_int_equal(gr_domain_attach(&domain, &other), 0);
            assert_int_equal(gr_domain_attach(&domain, &m.dev), 0);
            assert_int_equal(gr_domain_detach(&domain, &m.dev), 0);
            assert_int_equal(gr_domain_detach(&domain, &other), 0);
            assert_int_equal(gr_domain_fini(&domain), 0);
            assert_int_equal(gr_device_fini(&m.dev), 0);
        }

        /* A region alone. */
        m.config = fw_device(&m.fw, m.streams, 1, SID + 2);
        m.config.regions = m.region;
        add_region(&m, GR_REGION_TRANSLATED, 5 * span(&m.fw), MINE, g(&m.fw));
        assert_int_equal(
            gr_domain_init(&domain, m.fw.host, &other, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE), 0);
        assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
        assert_int_equal(gr_domain_attach(&domain, &m.dev), GR_EOPNOTSUPP);
        assert_int_equal(gr_domain_fini(&domain), 0);
        assert_int_equal(gr_device_fini(&other), 0);
        many_end(&m);
    }
}

/* Its region leads elsewhere in a domain whose own device has one at the same addresses. */
static void same_addresses_other_memory(void **state)
{
    struct many m;
    struct gr_stream stream;
    struct gr_device other;
    struct gr_device_config config;
    struct gr_region region = {GR_REGION_TRANSLATED, UINT64_C(0x60000000), MINE, 0x4000, RW};
    struct gr_domain domain;

    (void)state;
    many_boot(&m, &fw_kinds[0], 1, false);
    many_start(&m);
    config = fw_device(&m.fw, &stream, 1, SID + 1);
    config.regions = &region;
    config.region_count = 1;
    assert_int_equal(gr_device_init(&other, &config), 0);
    assert_int_equal(
        gr_domain_init(&domain, m.fw.host, &other, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE), 0);
    m.config = fw_device(&m.fw, m.streams, 1, SID + 2);
    m.config.regions = m.region;
    add_region(&m, GR_REGION_TRANSLATED, UINT64_C(0x60000000), MINE + 0x4000, 0x4000);
    assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
    assert_int_equal(gr_domain_attach(&domain, &m.dev), GR_EOPNOTSUPP);
    m.region[0].pa = MINE;
    assert_int_equal(gr_domain_attach(&domain, &m.dev), 0);
    assert_true(fw_reaches(&m.fw, 0, SID + 2, UINT64_C(0x60000000), MINE));
    assert_int_equal(gr_domain_detach(&domain, &m.dev), 0);
    assert_int_equal(gr_domain_fini(&domain), 0);
    assert_int_equal(gr_device_fini(&other), 0);
    many_end(&m);
}

/* Every second granule is firmware's: as many ranges as there are, in pages that grow. */
static void many_ranges(void **state)
{
    struct many m;
    struct gr_domain domain;

    (void)state;
    many_boot(&m, &fw_kinds[0], 1, true);
    for (unsigned i = 0; i < 400; i++)
        fw_map(&m.fw, 0, SID, FB_IOVA + (16 + 2 * i) * g(&m.fw), FB_PA, 1);
    many_start(&m);
    m.config.adopt = GR_ADOPT_IMPORT;
    assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
    for (unsigned n = 1;; n++) {
        int ret;

        host_fail_alloc(m.fw.host, n);
        ret = domain_of(&m, &domain, GR_DOMAIN_UNMANAGED);
        if (!ret)
            break;
        assert_int_equal(ret, GR_ENOMEM);
    }
    host_fail_alloc(m.fw.host, 0);
    assert_int_equal(gr_domain_attach(&domain, &m.dev), 0);
    for (unsigned i = 0; i < 400; i++) {
        const gr_iova_t iova = FB_IOVA + (16 + 2 * i) * g(&m.fw);

        assert_int_equal(gr_domain_map(&domain, iova, MINE, g(&m.fw), RW), GR_EBUSY);
        assert_int_equal(gr_domain_map(&domain, iova + g(&m.fw), MINE, g(&m.fw), RW), 0);
        assert_true(fw_reaches(&m.fw, 0, SID, iova + g(&m.fw), MINE));
        assert_int_equal(gr_domain_unmap(&domain, iova + g(&m.fw), g(&m.fw)), 0);
    }
    assert_int_equal(gr_domain_detach(&domain, &m.dev), 0);
    assert_int_equal(gr_domain_fini(&domain), 0);
    many_end(&m);
}

/* ---- several streams ---- */

/* Two instances, one frame buffer in both, and more in the second. */
static void two_that_agree(void **state)
{
    (void)state;
    for (size_t i = 0; i < FW_KINDS; i++) {
        for (unsigned adopt = GR_ADOPT_DEFAULT; adopt <= GR_ADOPT_IMPORT; adopt++) {
            struct many m;
            struct gr_domain domain;

            many_boot(&m, &fw_kinds[i], 2, true);
            (void)fw_stream(&m.fw, 1, SID);
            fw_map(&m.fw, 1, SID, FB_IOVA, FB_PA, FB_PAGES);
            fw_map(&m.fw, 1, SID, FB_IOVA + 32 * g(&m.fw), FB_PA, 1);
            many_start(&m);
            m.config.adopt = (enum gr_adopt)adopt;
            assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
            assert_int_equal(domain_of(&m, &domain, GR_DOMAIN_UNMANAGED), 0);
            assert_int_equal(gr_domain_attach(&domain, &m.dev), 0);
            assert_int_equal(gr_domain_map(&domain, 5 * span(&m.fw), MINE, g(&m.fw), RW), 0);
            assert_true(fw_reaches(&m.fw, 0, SID, 5 * span(&m.fw), MINE));
            assert_true(fw_reaches(&m.fw, 1, SID, 5 * span(&m.fw), MINE));
            assert_int_equal(gr_domain_unmap(&domain, 5 * span(&m.fw), g(&m.fw)), 0);
            assert_false(fw_reaches(&m.fw, 0, SID, 5 * span(&m.fw), MINE));
            assert_false(fw_reaches(&m.fw, 1, SID, 5 * span(&m.fw), MINE));
            assert_int_equal(gr_domain_detach(&domain, &m.dev), 0);
            assert_int_equal(gr_domain_fini(&domain), 0);
            many_end(&m);
        }
    }
}

static void two_that_do_not(void **state)
{
    (void)state;
    for (size_t i = 0; i < FW_KINDS; i++) {
        for (unsigned adopt = GR_ADOPT_DEFAULT; adopt <= GR_ADOPT_IMPORT; adopt++) {
            struct many m;
            struct gr_domain domain;

            many_boot(&m, &fw_kinds[i], 2, true);
            (void)fw_stream(&m.fw, 1, SID);
            fw_map(&m.fw, 1, SID, FB_IOVA + g(&m.fw), FB_PA, 1);
            many_start(&m);
            m.config.adopt = (enum gr_adopt)adopt;
            assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
            assert_int_equal(domain_of(&m, &domain, GR_DOMAIN_UNMANAGED), GR_EBUSY);
            assert_true(host_logged(m.fw.host, "different mappings"));
            assert_int_equal(domain_of(&m, &domain, GR_DOMAIN_BLOCKED), 0);
            assert_int_equal(gr_domain_fini(&domain), 0);
            many_end(&m);
        }
    }
}

/* One has firmware's mappings, the other starts empty; the region is for both. */
static void one_of_two(void **state)
{
    (void)state;
    for (size_t i = 0; i < FW_KINDS; i++) {
        struct many m;

        many_boot(&m, &fw_kinds[i], 2, false);
        many_start(&m);
        add_region(&m, GR_REGION_TRANSLATED, FB_IOVA, FB_PA, FB_PAGES * g(&m.fw));
        assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
        attach_as(&m, GR_DOMAIN_TRANSLATED, GR_ADOPT_IMPORT, "a reserved region");
        assert_int_equal(gr_device_fini(&m.dev), 0);
        m.config.region_count = 0;
        assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
        attach_as(&m, GR_DOMAIN_TRANSLATED, GR_ADOPT_KEEP_SLOTS, "no write to firmware's");
        many_end(&m);
    }
}

/* Tables of two depths cannot be one domain's. */
static void two_depths(void **state)
{
    struct many m;
    struct gr_domain domain;

    (void)state;
    many_boot(&m, &fw_kinds[4], 2, true);
    (void)fw_stream(&m.fw, 1, SID);
    dart_model_poke32(m.fw.dart[1].hw.model, m.fw.k->tcr + 4 * SID, 0x1);
    many_start(&m);
    assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
    assert_int_equal(domain_of(&m, &domain, GR_DOMAIN_TRANSLATED), GR_EOPNOTSUPP);
    assert_true(host_logged(m.fw.host, "different depths"));
    many_end(&m);
}

/* Two streams of one instance with tables of their own: neither's domain will do for the other. */
static void two_of_one_instance(void **state)
{
    (void)state;
    for (size_t i = 0; i < FW_KINDS; i++) {
        for (unsigned adopt = GR_ADOPT_KEEP_SLOTS; adopt <= GR_ADOPT_IMPORT; adopt++) {
            struct many m;
            struct gr_stream stream;
            struct gr_device other;
            struct gr_device_config config;
            struct gr_domain domain;

            many_boot(&m, &fw_kinds[i], 1, true);
            (void)fw_stream(&m.fw, 0, SID + 1);
            fw_map(&m.fw, 0, SID + 1, FB_IOVA + g(&m.fw), MINE, 1);
            fw_map(&m.fw, 0, SID + 1, FB_IOVA + 3 * span(&m.fw), MINE, 1);
            many_start(&m);
            m.config.adopt = (enum gr_adopt)adopt;
            assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
            config = fw_device(&m.fw, &stream, 1, SID + 1);
            assert_int_equal(gr_device_init(&other, &config), 0);
            assert_ptr_not_equal(m.dev.group, other.group);
            assert_int_equal(domain_of(&m, &domain, GR_DOMAIN_UNMANAGED), 0);
            assert_int_equal(gr_domain_attach(&domain, &m.dev), 0);
            assert_int_equal(gr_domain_attach(&domain, &other), GR_EOPNOTSUPP);
            assert_int_equal(gr_domain_detach(&domain, &m.dev), 0);
            assert_int_equal(gr_domain_fini(&domain), 0);
            assert_int_equal(gr_device_fini(&m.dev), 0); /* the older of the two */
            assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
            assert_int_equal(gr_device_fini(&other), 0);
            many_end(&m);
        }
    }
}

/* Streams that share a root are one group; those that share less are refused. */
static void shared_roots(void **state)
{
    (void)state;
    for (size_t i = 0; i < FW_KINDS; i++) {
        struct many m;
        struct gr_stream stream;
        struct gr_device other;
        struct gr_device_config config;
        struct gr_domain domain;
        gr_pa_t root;

        many_boot(&m, &fw_kinds[i], 1, true);
        root = m.fw.table[0];
        fw_set_ttbr(&m.fw, 0, SID + 1, 0, root);
        fw_translate(&m.fw, 0, SID + 1);
        many_start(&m);
        config = fw_device(&m.fw, &stream, 1, SID + 1);
        assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
        assert_int_equal(gr_device_init(&other, &config), 0);
        assert_ptr_equal(m.dev.group, other.group);
        assert_int_equal(domain_of(&m, &domain, GR_DOMAIN_UNMANAGED), 0);
        assert_int_equal(gr_domain_map(&domain, 5 * span(&m.fw), MINE, g(&m.fw), RW), 0);
        assert_int_equal(gr_domain_attach(&domain, &m.dev), 0);
        assert_true(fw_reaches(&m.fw, 0, SID, 5 * span(&m.fw), MINE));
        assert_true(fw_reaches(&m.fw, 0, SID + 1, 5 * span(&m.fw), MINE));
        assert_int_equal(gr_domain_detach(&domain, &other), 0);
        assert_false(fw_reaches(&m.fw, 0, SID, 5 * span(&m.fw), MINE));
        assert_false(fw_reaches(&m.fw, 0, SID + 1, 5 * span(&m.fw), MINE));
        assert_int_equal(gr_domain_fini(&domain), 0);
        assert_int_equal(gr_device_fini(&m.dev), 0);
        m.config.adopt = GR_ADOPT_IMPORT; /* the second member's wish is the group's */
        assert_int_equal(gr_device_init(&m.dev, &m.config), 0); /* while the other has it */
        assert_int_equal(domain_of(&m, &domain, GR_DOMAIN_TRANSLATED), 0);
        assert_int_equal(domain.adopt, GR_ADOPT_IMPORT);
        assert_int_equal(gr_domain_fini(&domain), 0);
        assert_int_equal(domain_of(&m, &domain, GR_DOMAIN_BLOCKED), 0);
        assert_int_equal(gr_domain_attach(&domain, &m.dev), 0);
        assert_int_equal(gr_device_fini(&other), GR_EBUSY);
        assert_int_equal(gr_domain_detach(&domain, &m.dev), 0);
        assert_int_equal(gr_domain_fini(&domain), 0);
        assert_int_equal(gr_device_fini(&other), 0);
        assert_int_equal(domain_of(&m, &domain, GR_DOMAIN_BLOCKED), 0);
        assert_int_equal(gr_domain_attach(&domain, &m.dev), 0);
        assert_int_equal(gr_device_init(&other, &config), GR_EBUSY); /* it would join */
        assert_int_equal(gr_domain_detach(&domain, &m.dev), 0);
        assert_int_equal(gr_domain_fini(&domain), 0);
        many_end(&m);
    }
}

static void partly_shared(void **state)
{
    const struct fw_kind *const k = &fw_kinds[0];
    struct many m;
    struct gr_stream stream;
    struct gr_device other;
    struct gr_device_config config;

    (void)state;
    many_boot(&m, k, 1, true);
    (void)fw_stream(&m.fw, 0, SID + 1);
    fw_set_ttbr(&m.fw, 0, SID + 1, 1, m.fw.table[0]); /* its second root is the other's first */
    /* A leaf table may well be shared: nobody stores there. */
    (void)fw_stream(&m.fw, 0, SID + 2);
    host_firmware_write64(m.fw.host, m.fw.table[m.fw.tables - 1], fw_entry(k, m.fw.table[1]));
    many_start(&m);
    assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
    config = fw_device(&m.fw, &stream, 1, SID + 1);
    assert_int_equal(gr_device_init(&other, &config), GR_EOPNOTSUPP);
    assert_true(host_logged(m.fw.host, "shared in part with another"));
    config = fw_device(&m.fw, &stream, 1, SID + 2);
    assert_int_equal(gr_device_init(&other, &config), 0);
    assert_ptr_not_equal(m.dev.group, other.group);
    assert_int_equal(gr_device_fini(&other), 0);
    many_end(&m);
}

/* The second stream of a device cannot be adopted: the first is let go. */
static void the_second_fails(void **state)
{
    struct many m;

    (void)state;
    many_boot(&m, &fw_kinds[0], 2, true);
    (void)fw_stream(&m.fw, 1, SID);
    many_start(&m);
    host_fail_firmware(m.fw.host, m.fw.tables);
    assert_int_equal(gr_device_init(&m.dev, &m.config), GR_EOPNOTSUPP);
    assert_int_equal(host_leaks(m.fw.host), 0);
    assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
    many_end(&m);
}

/* Where a top register is not valid, its part of the IOVAs is nobody's: it cannot be made to lead
 * anywhere. */
static void missing_roots(void **state)
{
    const struct fw_kind *const k = &fw_kinds[1]; /* 4 KiB: each root has 1 GiB */
    struct many m;
    struct gr_domain domain;

    (void)state;
    for (unsigned adopt = GR_ADOPT_KEEP_SLOTS; adopt <= GR_ADOPT_REPLACE; adopt++) {
        gr_iova_t iova;

        many_boot(&m, k, 1, false);
        fw_map(&m.fw, 0, SID, UINT64_C(0x80000000), FB_PA, 1);
        many_start(&m);
        m.config.adopt = (enum gr_adopt)adopt;
        assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
        assert_int_equal(domain_of(&m, &domain, GR_DOMAIN_TRANSLATED), 0);
        assert_int_equal(gr_domain_attach(&domain, &m.dev), 0);
        assert_int_equal(gr_dma_map(&m.dev, MINE, 8, GR_DMA_BIDIRECTIONAL, 0, &iova), 0);
        assert_true(fw_reaches(&m.fw, 0, SID, iova, MINE));
        assert_true(adopt == GR_ADOPT_REPLACE ? iova >= UINT64_C(0xc0000000)
                                              : iova < UINT64_C(0xc0000000));
        assert_int_equal(gr_dma_unmap(&m.dev, iova, 8, GR_DMA_BIDIRECTIONAL, 0), 0);
        assert_int_equal(gr_domain_detach(&domain, &m.dev), 0);
        assert_int_equal(gr_domain_fini(&domain), 0);
        many_end(&m);
    }
}

static void a_region_without_a_root(void **state)
{
    struct many m;
    struct gr_domain domain;

    (void)state;
    many_boot(&m, &fw_kinds[1], 1, false);
    many_start(&m);
    add_region(&m, GR_REGION_TRANSLATED, UINT64_C(0x40000000), MINE, g(&m.fw));
    assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
    assert_int_equal(domain_of(&m, &domain, GR_DOMAIN_TRANSLATED), GR_ERANGE);
    assert_true(host_logged(m.fw.host, "did not set up"));
    assert_int_equal(gr_device_fini(&m.dev), 0);
    m.config.adopt = GR_ADOPT_REPLACE;
    assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
    attach_as(&m, GR_DOMAIN_TRANSLATED, GR_ADOPT_REPLACE, "asked for by");
    many_end(&m);
}

/* Firmware may have mapped what the instance is told not to decode: it stays. */
static void beyond_the_aperture(void **state)
{
    struct fw_kind wide = fw_kinds[3];
    const uint64_t high = UINT64_C(0x800000000);
    struct many m;
    struct gr_domain domain;

    (void)state;
    for (unsigned adopt = GR_ADOPT_DEFAULT; adopt <= GR_ADOPT_IMPORT; adopt++) {
        struct gr_dart_config config;

        many_boot(&m, &wide, 1, true);
        fw_map(&m.fw, 0, SID, high, FB_PA, 1);
        fw_boot(&m.fw);
        config = (struct gr_dart_config){.kind = wide.driver,
                                         .env = m.fw.host,
                                         .mmio = &m.fw.dart[0].tap,
                                         .mmio_size = 0x4000,
                                         .name = "dart0",
                                         .va_bits = 32};
        assert_int_equal(gr_dart_init(&m.fw.dart[0].drv, &config), 0);
        m.config = fw_device(&m.fw, m.streams, 1, SID);
        m.config.adopt = (enum gr_adopt)adopt;
        assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
        assert_int_equal(domain_of(&m, &domain, GR_DOMAIN_UNMANAGED), 0);
        assert_int_equal(gr_domain_attach(&domain, &m.dev), 0);
        assert_int_equal(gr_domain_map(&domain, 5 * span(&m.fw), MINE, g(&m.fw), RW), 0);
        assert_true(fw_reaches(&m.fw, 0, SID, 5 * span(&m.fw), MINE));
        assert_true(fw_reaches(&m.fw, 0, SID, high, FB_PA));
        assert_int_equal(gr_domain_detach(&domain, &m.dev), 0);
        assert_int_equal(gr_domain_fini(&domain), 0);
        many_end(&m);
    }
}

/*
 * The aperture begins or ends inside what a leaf table of firmware's spans, with leaves on the
 * other side: the table's copy stays when nothing in the aperture is mapped any more.
 */
static void beside_the_aperture(void **state)
{
    const struct fw_kind *const k = &fw_kinds[0];

    (void)state;
    for (unsigned turn = 0; turn < 4; turn++) {
        const struct gr_range window = turn & 1 ? (struct gr_range){0, FB_IOVA + 0xffff}
                                                : (struct gr_range){FB_IOVA + 0x20000, UINT32_MAX};
        const struct gr_range narrow = {window.first ? window.first : FB_IOVA,
                                        window.first ? window.first + 0x7ffff : window.last};
        struct many m;
        struct gr_domain domain;
        gr_iova_t iova;

        fw_make(&m.fw, k, 1, true, 1);
        (void)fw_stream(&m.fw, 0, SID);
        fw_map(&m.fw, 0, SID, FB_IOVA + 0x10000, FB_PA, FB_PAGES);
        many_start(&m);
        m.streams[0].window = turn & 2 ? narrow : window;
        m.config.adopt = turn & 2 ? GR_ADOPT_DEFAULT : GR_ADOPT_IMPORT;
        assert_int_equal(gr_device_init(&m.dev, &m.config), 0);
        assert_int_equal(domain_of(&m, &domain, GR_DOMAIN_TRANSLATED), 0);
        assert_int_equal(gr_domain_attach(&domain, &m.dev), 0);
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(gr_dma_map(&m.dev, MINE, 64, GR_DMA_BIDIRECTIONAL, 0, &iova), 0);
            fw_good(&m.fw); /* before what was refused raises interrupts without end */
            assert_true(fw_reaches(&m.fw, 0, SID, iova, MINE));
            assert_int_equal(gr_dma_unmap(&m.dev, iova, 64, GR_DMA_BIDIRECTIONAL, 0), 0);
            assert_int_equal(gr_domain_trim(&domain, domain.aperture.first,
                                            domain.aperture.last - domain.aperture.first + 1),
                             0);
        }
        assert_int_equal(gr_domain_detach(&domain, &m.dev), 0);
        assert_int_equal(gr_domain_fini(&domain), 0);
        many_end(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_in_the_way),
        cmocka_unit_test(a_region_needs_import),
        cmocka_unit_test(no_room_but_in_firmwares),
        cmocka_unit_test(vector_09_inside_granules),
        cmocka_unit_test(refused),
        cmocka_unit_test(regions_and_open_domains),
        cmocka_unit_test(made_for_another),
        cmocka_unit_test(same_addresses_other_memory),
        cmocka_unit_test(many_ranges),
        cmocka_unit_test(two_that_agree),
        cmocka_unit_test(two_that_do_not),
        cmocka_unit_test(one_of_two),
        cmocka_unit_test(two_depths),
        cmocka_unit_test(two_of_one_instance),
        cmocka_unit_test(shared_roots),
        cmocka_unit_test(partly_shared),
        cmocka_unit_test(the_second_fails),
        cmocka_unit_test(missing_roots),
        cmocka_unit_test(a_region_without_a_root),
        cmocka_unit_test(beyond_the_aperture),
        cmocka_unit_test(beside_the_aperture),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
