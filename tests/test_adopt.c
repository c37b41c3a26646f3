/* SPDX-License-Identifier: MIT */
/*
 * Domains beside mappings that firmware left in a stream, locked or not. Every test ends in
 * fw_end(): at no moment was one of firmware's mappings absent or different, and every page of its
 * tables and every register is as it was.
 */
#include "adopt_tools.h"

#define SID 0u
#define FB_IOVA UINT64_C(0xa0000000)
#define FB_PA (FW_RAM + UINT64_C(0x10000000))
#define FB_PAGES 4u
#define MINE (FW_RAM + UINT64_C(0x18000000)) /* memory that nobody hands out in these tests */

/* A granule, and what a leaf table spans. */
static uint64_t g(const struct fw *fw)
{
    return UINT64_C(1) << fw->k->page_bits;
}

static uint64_t span(const struct fw *fw)
{
    return UINT64_C(1) << (2 * fw->k->page_bits - 3);
}

/* ---- one stream of one instance ---- */

struct one {
    struct fw fw;
    struct gr_stream stream;
    struct gr_device dev;
};

static void one_boot(struct one *o, const struct fw_kind *k, bool locked, uint64_t seed)
{
    fw_make(&o->fw, k, 1, locked, seed);
    (void)fw_stream(&o->fw, 0, SID);
    fw_map(&o->fw, 0, SID, FB_IOVA, FB_PA, FB_PAGES);
    fw_map(&o->fw, 0, SID, 0, FB_PA + 16 * g(&o->fw), 1);
    fw_boot(&o->fw);
}

static int one_device(struct one *o, enum gr_adopt adopt)
{
    struct gr_device_config config = fw_device(&o->fw, &o->stream, 1, SID);

    config.adopt = adopt;
    return gr_device_init(&o->dev, &config);
}

static void one_make(struct one *o, const struct fw_kind *k, bool locked, enum gr_adopt adopt)
{
    one_boot(o, k, locked, 1);
    assert_int_equal(fw_driver(&o->fw, 0, NULL), 0);
    assert_int_equal(one_device(o, adopt), 0);
}

static void one_end(struct one *o)
{
    assert_int_equal(gr_device_fini(&o->dev), 0);
    fw_end(&o->fw);
}

static int new_domain(struct one *o, struct gr_domain *domain, enum gr_domain_type type)
{
    return gr_domain_init(domain, o->fw.host, &o->dev, type,
                          type == GR_DOMAIN_UNMANAGED ? GR_DOMAIN_LP_AWARE : 0);
}

/* Every policy that a kind has, locked and not. */
static void for_all(void (*fn)(const struct fw_kind *k, bool locked, enum gr_adopt adopt))
{
    for (size_t i = 0; i < FW_KINDS; i++) {
        if (!fw_kinds[i].packed) { /* nor can it be locked: DART.md 6 */
            fn(&fw_kinds[i], true, GR_ADOPT_DEFAULT);
            fn(&fw_kinds[i], true, GR_ADOPT_IMPORT);
        }
        fn(&fw_kinds[i], false, GR_ADOPT_KEEP_SLOTS);
        fn(&fw_kinds[i], false, GR_ADOPT_IMPORT);
        fn(&fw_kinds[i], false, GR_ADOPT_REPLACE);
    }
}

/* ---- the DMA API: REQUIREMENTS.md 5.11 and 5.12 ---- */

static void translated_one(const struct fw_kind *k, bool locked, enum gr_adopt adopt)
{
    struct one o;
    struct gr_domain domain;
    struct gr_adoption told;
    gr_iova_t iova[40];

    one_make(&o, k, locked, adopt);
    assert_int_equal(new_domain(&o, &domain, GR_DOMAIN_TRANSLATED), 0);
    fw_restored(&o.fw);
    gr_stream_adoption(&o.stream, &told);
    assert_int_equal(told.policy, 0);
    assert_int_equal(gr_domain_attach(&domain, &o.dev), 0);
    gr_stream_adoption(&o.stream, &told);
    assert_int_equal(told.state, locked ? GR_FIRMWARE_LOCKED : GR_FIRMWARE_TRANSLATING);
    assert_int_equal(told.policy, adopt ? adopt : GR_ADOPT_KEEP_SLOTS);
    assert_int_equal(told.leaves, FB_PAGES + 1);
    assert_int_equal(told.tables, o.fw.tables);
    assert_non_null(told.reason);
    assert_false(told.partial);
    for (unsigned i = 0; i < 40; i++) {
        const gr_pa_t pa = MINE + i * g(&o.fw);

        assert_int_equal(gr_dma_map(&o.dev, pa, 64, GR_DMA_BIDIRECTIONAL, 0, &iova[i]), 0);
        assert_true(fw_reaches(&o.fw, 0, SID, iova[i], pa));
        for (unsigned n = 0; n < o.fw.dart[0].leaves; n++)
            assert_true(o.fw.dart[0].leaf[n].iova != (iova[i] & ~(g(&o.fw) - 1)));
    }
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(gr_dma_unmap(&o.dev, iova[i], 64, GR_DMA_BIDIRECTIONAL, 0), 0);
        assert_false(fw_reaches(&o.fw, 0, SID, iova[i], MINE + i * g(&o.fw)));
    }
    assert_int_equal(gr_domain_detach(&domain, &o.dev), 0);
    fw_restored(&o.fw);
    assert_int_equal(gr_domain_fini(&domain), 0);
    assert_true(o.fw.looks > 1000);
    one_end(&o);
}

static void vectors_11_12_scan_out(void **state)
{
    (void)state;
    for_all(translated_one);
}

/*
 * Nobody looks until the stores that count, so that none of them happens to be out before its time;
 * and what an attach or detach has changed is changed when it returns.
 */
static void at_once_one(const struct fw_kind *k, bool locked, enum gr_adopt adopt)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct one o;
        struct gr_domain domain;

        one_boot(&o, k, locked, seed);
        assert_int_equal(fw_driver(&o.fw, 0, NULL), 0);
        assert_int_equal(one_device(&o, adopt), 0);
        o.fw.quiet = true;
        assert_int_equal(new_domain(&o, &domain, GR_DOMAIN_UNMANAGED), 0);
        o.fw.quiet = seed % 2;
        assert_int_equal(gr_domain_attach(&domain, &o.dev), 0);
        o.fw.quiet = false;
        fw_look(&o.fw);
        o.fw.quiet = true;
        assert_int_equal(gr_domain_map(&domain, 3 * span(&o.fw), MINE, g(&o.fw), GR_PROT_WRITE), 0);
        assert_true(fw_reaches(&o.fw, 0, SID, 3 * span(&o.fw), MINE));
        assert_int_equal(gr_domain_detach(&domain, &o.dev), 0);
        assert_false(fw_reaches(&o.fw, 0, SID, 3 * span(&o.fw), MINE));
        assert_int_equal(gr_domain_attach(&domain, &o.dev), 0);
        assert_true(fw_reaches(&o.fw, 0, SID, 3 * span(&o.fw), MINE));
        assert_int_equal(gr_domain_detach(&domain, &o.dev), 0);
        assert_int_equal(gr_domain_fini(&domain), 0);
        o.fw.quiet = false;
        one_end(&o);
    }
}

static void at_once(void **state)
{
    (void)state;
    for_all(at_once_one);
}

/* ---- domains whose IOVAs are the caller's, and one after the other ---- */

static void map_at(struct gr_domain *domain, gr_iova_t iova, gr_pa_t pa, uint64_t len)
{
    assert_int_equal(gr_domain_map(domain, iova, pa, len, GR_PROT_READ | GR_PROT_WRITE), 0);
}

/* What firmware has cannot be mapped, unmapped or trimmed; what it has not can. */
static void firmware_is_refused(struct one *o, struct gr_domain *domain, bool keep)
{
    struct fw *const fw = &o->fw;
    const uint64_t beside = FB_IOVA + FB_PAGES * g(fw);

    assert_int_equal(gr_domain_map(domain, FB_IOVA, MINE, g(fw), GR_PROT_READ), GR_EBUSY);
    assert_int_equal(gr_domain_unmap(domain, FB_IOVA, g(fw)), GR_EBUSY);
    assert_int_equal(gr_domain_map(domain, FB_IOVA - g(fw), MINE, 2 * g(fw), GR_PROT_READ),
                     GR_EBUSY);
    assert_int_equal(gr_domain_trim(domain, FB_IOVA & ~(span(fw) - 1), span(fw)), 0);
    assert_int_equal(
        gr_domain_diagnose(domain, &(struct gr_fault){.iova = beside, .reasons = GR_FAULT_NO_LEAF}),
        keep ? GR_DIAGNOSIS_FIRMWARE : GR_DIAGNOSIS_NEVER_MAPPED);
    if (keep) {
        assert_int_equal(gr_domain_map(domain, beside, MINE, g(fw), GR_PROT_READ), GR_EBUSY);
        return;
    }
    map_at(domain, beside, MINE, g(fw));
    assert_true(fw_reaches(fw, 0, SID, beside, MINE));
    assert_int_equal(gr_domain_unmap(domain, beside, g(fw)), 0);
    assert_false(fw_reaches(fw, 0, SID, beside, MINE));
}

static void switched_one(const struct fw_kind *k, bool locked, enum gr_adopt adopt)
{
    struct one o;
    struct gr_domain a, b, blocked;
    struct gr_adoption told;
    uint64_t at;

    one_make(&o, k, locked, adopt);
    at = span(&o.fw) * 3; /* a slot that firmware left empty */
    o.fw.prefetch[0] = at;
    o.fw.prefetch[1] = at + span(&o.fw);
    o.fw.prefetches = 2;
    assert_int_equal(new_domain(&o, &a, GR_DOMAIN_UNMANAGED), 0);
    assert_int_equal(new_domain(&o, &b, GR_DOMAIN_UNMANAGED), 0);
    assert_int_equal(new_domain(&o, &blocked, GR_DOMAIN_BLOCKED), 0);
    map_at(&a, at, MINE, 2 * g(&o.fw));
    map_at(&b, at + span(&o.fw), MINE, g(&o.fw));
    fw_restored(&o.fw);

    assert_int_equal(gr_domain_attach(&a, &o.dev), 0);
    assert_true(fw_reaches(&o.fw, 0, SID, at, MINE));
    firmware_is_refused(&o, &a, !adopt || adopt == GR_ADOPT_KEEP_SLOTS);
    assert_int_equal(gr_domain_attach(&b, &o.dev), 0);
    assert_false(fw_reaches(&o.fw, 0, SID, at, MINE));
    assert_true(fw_reaches(&o.fw, 0, SID, at + span(&o.fw), MINE));
    map_at(&b, at, MINE + 5 * g(&o.fw), g(&o.fw));
    assert_true(fw_reaches(&o.fw, 0, SID, at, MINE + 5 * g(&o.fw)));

    assert_int_equal(gr_domain_attach(&blocked, &o.dev), 0);
    assert_false(fw_reaches(&o.fw, 0, SID, at, MINE + 5 * g(&o.fw)));
    assert_true(host_logged(o.fw.host, "blocked in part"));
    gr_stream_adoption(&o.stream, &told);
    assert_true(told.partial);
    fw_restored(&o.fw);

    assert_int_equal(gr_domain_attach(&b, &o.dev), 0);
    assert_true(fw_reaches(&o.fw, 0, SID, at, MINE + 5 * g(&o.fw)));
    assert_int_equal(gr_domain_unmap(&b, at, g(&o.fw)), 0);
    assert_int_equal(gr_domain_trim(&b, at, g(&o.fw)), 0);
    assert_false(fw_reaches(&o.fw, 0, SID, at, MINE + 5 * g(&o.fw)));
    assert_int_equal(gr_domain_detach(&b, &o.dev), 0);
    assert_false(fw_reaches(&o.fw, 0, SID, at + span(&o.fw), MINE));
    fw_restored(&o.fw);
    assert_int_equal(gr_domain_fini(&a), 0);
    assert_int_equal(gr_domain_fini(&b), 0);
    assert_int_equal(gr_domain_fini(&blocked), 0);
    one_end(&o);
}

static void switched(void **state)
{
    (void)state;
    for_all(switched_one);
}

/*
 * Three levels: the domain's middle tables meet firmware's further down, come and go, and what
 * hangs in firmware's comes back.
 */
static void deep(void **state)
{
    const struct fw_kind *const k = &fw_kinds[4];
    const uint64_t top = UINT64_C(1) << 36; /* what an entry of the top table spans */
    struct one o;
    struct gr_domain domain;

    (void)state;
    for (unsigned adopt = 0; adopt <= GR_ADOPT_IMPORT; adopt++) {
        one_make(&o, k, true, (enum gr_adopt)adopt);
        assert_int_equal(new_domain(&o, &domain, GR_DOMAIN_UNMANAGED), 0);
        map_at(&domain, span(&o.fw) * 3, MINE, g(&o.fw)); /* in firmware's middle table */
        assert_int_equal(gr_domain_attach(&domain, &o.dev), 0);
        assert_true(fw_reaches(&o.fw, 0, SID, span(&o.fw) * 3, MINE));
        map_at(&domain, span(&o.fw) * 4, MINE, g(&o.fw));
        map_at(&domain, top * 5, MINE, g(&o.fw)); /* beside it */
        map_at(&domain, top * 5 + span(&o.fw), MINE, g(&o.fw));
        assert_true(fw_reaches(&o.fw, 0, SID, span(&o.fw) * 4, MINE));
        assert_true(fw_reaches(&o.fw, 0, SID, top * 5, MINE));
        assert_true(fw_reaches(&o.fw, 0, SID, top * 5 + span(&o.fw), MINE));
        assert_int_equal(gr_domain_unmap(&domain, span(&o.fw) * 3, g(&o.fw)), 0);
        assert_int_equal(gr_domain_unmap(&domain, span(&o.fw) * 4, g(&o.fw)), 0);
        assert_int_equal(gr_domain_unmap(&domain, top * 5, g(&o.fw)), 0);
        assert_int_equal(gr_domain_unmap(&domain, top * 5 + span(&o.fw), g(&o.fw)), 0);
        assert_int_equal(gr_domain_trim(&domain, span(&o.fw) * 3, 2 * span(&o.fw)), 0);
        assert_int_equal(gr_domain_trim(&domain, top * 5, 2 * span(&o.fw)), 0);
        if (adopt == GR_ADOPT_DEFAULT)
            fw_restored(&o.fw); /* nothing is left in them */
        map_at(&domain, span(&o.fw) * 3, MINE + g(&o.fw), g(&o.fw));
        assert_true(fw_reaches(&o.fw, 0, SID, span(&o.fw) * 3, MINE + g(&o.fw)));
        assert_int_equal(gr_domain_detach(&domain, &o.dev), 0);
        assert_int_equal(gr_domain_fini(&domain), 0);
        one_end(&o);
    }
}

/* ---- failures ---- */

/* Everything once, until something fails; all is taken down again. */
static int use_all(struct one *o, enum gr_adopt adopt)
{
    struct gr_domain domain;
    gr_iova_t iova[8];
    unsigned mapped = 0;
    int ret = one_device(o, adopt);

    if (ret)
        return ret;
    ret = new_domain(o, &domain, GR_DOMAIN_TRANSLATED);
    if (!ret) {
        ret = gr_domain_attach(&domain, &o->dev);
        for (; !ret && mapped < 8; mapped++) {
            ret = gr_dma_map(&o->dev, MINE, (1 + mapped) * g(&o->fw), GR_DMA_TO_DEVICE, 0,
                             &iova[mapped]);
            if (ret)
                break;
            assert_true(dart_model_translate(o->fw.dart[0].hw.model, SID, iova[mapped], false, 1,
                                             &(uint64_t){0}) == MODEL_OK);
        }
        for (unsigned i = 0; i < mapped; i++)
            assert_int_equal(
                gr_dma_unmap(&o->dev, iova[i], (1 + i) * g(&o->fw), GR_DMA_TO_DEVICE, 0), 0);
        if (gr_device_domain(&o->dev))
            assert_int_equal(gr_domain_detach(&domain, &o->dev), 0);
        assert_int_equal(gr_domain_fini(&domain), 0);
    }
    fw_restored(&o->fw);
    assert_int_equal(gr_device_fini(&o->dev), 0);
    return ret;
}

static void allocations_fail_one(const struct fw_kind *k, bool locked, enum gr_adopt adopt)
{
    struct one o;
    int ret = GR_ENOMEM;

    one_boot(&o, k, locked, 1);
    assert_int_equal(fw_driver(&o.fw, 0, NULL), 0);
    for (unsigned n = 1; ret; n++) {
        host_fail_alloc(o.fw.host, n);
        ret = use_all(&o, adopt);
        assert_true(ret == 0 || ret == GR_ENOMEM);
        assert_int_equal(host_leaks(o.fw.host), 0);
        assert_true(n < 500);
    }
    fw_end(&o.fw);
}

static void allocations_fail(void **state)
{
    (void)state;
    for_all(allocations_fail_one);
}

/* A hundred machines, each with failures at random. */
static void random_failures(void **state)
{
    const uint64_t base = chance_seed_or("random_failures", 1);

    (void)state;
    for (unsigned run = 0; run < 100; run++) {
        static const enum gr_adopt policies[] = {GR_ADOPT_DEFAULT, GR_ADOPT_KEEP_SLOTS,
                                                 GR_ADOPT_IMPORT, GR_ADOPT_REPLACE};
        const struct fw_kind *const k = &fw_kinds[run % FW_KINDS];
        struct one o;
        bool locked = run / FW_KINDS % 2 && !k->packed;

        one_boot(&o, k, locked, base + run);
        assert_int_equal(fw_driver(&o.fw, 0, NULL), 0);
        for (unsigned i = 0; i < 6; i++) {
            const enum gr_adopt adopt = policies[fw_random(&o.fw, locked ? 3 : 4)];
            int ret;

            host_fail_alloc(o.fw.host, fw_random(&o.fw, 40));
            host_fail_firmware(o.fw.host, fw_random(&o.fw, 4) ? 0 : 1 + fw_random(&o.fw, 3));
            ret = use_all(&o, adopt);
            assert_true(!ret || ret == GR_ENOMEM || ret == GR_EOPNOTSUPP);
        }
        fw_end(&o.fw);
    }
}

/* TLB commands that hang: the stream has what firmware left, and nothing else. */
static void commands_hang_one(const struct fw_kind *k, bool locked, enum gr_adopt adopt)
{
    struct one o;
    struct gr_domain domain;
    gr_iova_t iova;

    one_make(&o, k, locked, adopt);
    assert_int_equal(new_domain(&o, &domain, GR_DOMAIN_TRANSLATED), 0);
    o.fw.dart[0].lose = true;
    assert_int_equal(gr_domain_attach(&domain, &o.dev), GR_ETIMEDOUT);
    assert_null(gr_device_domain(&o.dev));
    fw_restored(&o.fw);
    o.fw.dart[0].lose = false;

    assert_int_equal(gr_domain_attach(&domain, &o.dev), 0);
    assert_int_equal(gr_dma_map(&o.dev, MINE, 64, GR_DMA_TO_DEVICE, 0, &iova), 0);
    o.fw.dart[0].lose = true;
    assert_int_equal(gr_dma_unmap(&o.dev, iova, 64, GR_DMA_TO_DEVICE, 0), GR_ETIMEDOUT);
    fw_restored(&o.fw); /* broken: what may be cleared is */
    assert_int_equal(gr_dma_map(&o.dev, MINE, 64, GR_DMA_TO_DEVICE, 0, &iova), GR_EIO);
    o.fw.dart[0].lose = false;
    assert_int_equal(gr_domain_detach(&domain, &o.dev), 0);
    assert_int_equal(gr_domain_fini(&domain), 0);
    one_end(&o);
}

static void commands_hang(void **state)
{
    (void)state;
    for_all(commands_hang_one);
}

/* ---- what cannot serve ---- */

enum bad { BAD_BLOCKED, BAD_BYPASS, BAD_BOTH, BAD_NO_ROOT, BAD_REMAP, BADS };

static void make_bad(struct fw *fw, enum bad bad)
{
    const struct fw_kind *const k = fw->k;
    struct dart_model *const m = fw->dart[0].hw.model;
    const bool t8110 = k->ttbrs == 1;

    if (bad == BAD_BLOCKED)
        dart_model_poke32(m, k->tcr, 0);
    else if (bad == BAD_BYPASS)
        dart_model_poke32(m, k->tcr, t8110 ? 0x6 : 0x1100);
    else if (bad == BAD_BOTH)
        dart_model_poke32(m, k->tcr, k->translate | (t8110 ? 0x2u : 0x100u));
    else if (bad == BAD_NO_ROOT)
        dart_model_poke32(m, k->ttbr, 0x1000 & ~1u);
    else if (t8110)
        dart_model_poke32(m, k->tcr, k->translate | 0x80 | 5u << 8);
    else
        dart_model_poke32(m, 0x80, 0x03020105);
}

/* REQUIREMENTS.md 4: one clear error and no DMA; nothing is touched. */
static void locked_and_useless(void **state)
{
    (void)state;
    for (size_t i = 0; i < FW_KINDS; i++) {
        for (enum bad bad = BAD_BLOCKED; bad < BADS && !fw_kinds[i].packed; bad++) {
            struct one o;
            struct gr_domain domain;

            fw_make(&o.fw, &fw_kinds[i], 1, true, 1);
            (void)fw_stream(&o.fw, 0, SID);
            make_bad(&o.fw, bad);
            fw_boot(&o.fw);
            assert_int_equal(fw_driver(&o.fw, 0, NULL), 0);
            assert_int_equal(one_device(&o, GR_ADOPT_DEFAULT), 0);
            for (unsigned type = GR_DOMAIN_TRANSLATED; type <= GR_DOMAIN_BLOCKED; type++) {
                if (type == GR_DOMAIN_LINEAR)
                    continue;
                assert_int_equal(new_domain(&o, &domain, (enum gr_domain_type)type), GR_EOPNOTSUPP);
                assert_true(host_logged(o.fw.host, "was not left translating"));
            }
            one_end(&o);
        }
    }
}

/* Not locked: it is nobody's, and reset as ever. */
static void unlocked_is_reset(void **state)
{
    (void)state;
    for (size_t i = 0; i < FW_KINDS; i++) {
        for (enum bad bad = BAD_BLOCKED; bad < BADS && !fw_kinds[i].packed; bad++) {
            struct one o;
            struct gr_firmware firmware;
            struct gr_adoption told;
            struct gr_instance *inst;

            fw_make(&o.fw, &fw_kinds[i], 1, false, 1);
            (void)fw_stream(&o.fw, 0, SID);
            make_bad(&o.fw, bad);
            assert_int_equal(fw_driver(&o.fw, 0, NULL), 0);
            inst = &o.fw.dart[0].drv.inst;
            inst->ops->firmware(inst, SID, &firmware);
            assert_int_equal(firmware.state, GR_FIRMWARE_OFF);
            assert_int_equal(dart_model_read32(o.fw.dart[0].hw.model, fw_kinds[i].tcr), 0);
            assert_int_equal(one_device(&o, GR_ADOPT_DEFAULT), 0);
            gr_stream_adoption(&o.stream, &told);
            assert_int_equal(told.state, GR_FIRMWARE_OFF);
            assert_int_equal(told.tables, 0);
            assert_int_equal(gr_device_fini(&o.dev), 0);
            assert_int_equal(gr_dart_fini(&o.fw.dart[0].drv), 0);
            o.fw.dart[0].drv.layout = NULL;
            fw_boot(&o.fw);
            fw_end(&o.fw);
        }
    }
}

static void states_at_probe(void **state)
{
    struct gr_firmware firmware;
    struct one o;

    (void)state;
    one_make(&o, &fw_kinds[0], false, GR_ADOPT_DEFAULT);
    o.stream.inst->ops->firmware(o.stream.inst, SID, &firmware);
    assert_int_equal(firmware.state, GR_FIRMWARE_TRANSLATING);
    o.stream.inst->ops->firmware(o.stream.inst, 3, &firmware);
    assert_int_equal(firmware.state, GR_FIRMWARE_OFF);
    dart_model_poke32(o.fw.dart[0].hw.model, o.fw.k->tcr + 4 * 3, 0x1100);
    o.stream.inst->ops->firmware(o.stream.inst, 3, &firmware);
    assert_int_equal(firmware.state, GR_FIRMWARE_BYPASS);
    assert_false(firmware.serves);
    dart_model_poke32(o.fw.dart[0].hw.model, o.fw.k->tcr + 4 * 3, 0);
    one_end(&o);
}

/* A window beyond the levels that the lock fixes. */
static void beyond_the_levels(void **state)
{
    struct fw_kind shallow = fw_kinds[4];
    struct one o;
    struct gr_domain domain;
    struct gr_device_config config;

    (void)state;
    shallow.levels = 2;
    shallow.translate = 1; /* 42 bits wide, but no FOUR_LEVELS */
    one_boot(&o, &shallow, true, 1);
    assert_int_equal(fw_driver(&o.fw, 0, NULL), 0);
    config = fw_device(&o.fw, &o.stream, 1, SID);
    assert_int_equal(gr_device_init(&o.dev, &config), 0);
    assert_int_equal(new_domain(&o, &domain, GR_DOMAIN_TRANSLATED), GR_ERANGE);
    assert_true(host_logged(o.fw.host, "one block of 36 bits"));
    assert_int_equal(gr_device_fini(&o.dev), 0);
    /* One block of them serves, whatever the bits above are: they are not compared. */
    o.stream.window = (struct gr_range){UINT64_C(0x1000000000), UINT64_C(0x1fffffffff)};
    assert_int_equal(gr_device_init(&o.dev, &config), 0);
    assert_int_equal(new_domain(&o, &domain, GR_DOMAIN_UNMANAGED), 0);
    assert_int_equal(gr_domain_attach(&domain, &o.dev), 0);
    assert_int_equal(
        gr_domain_map(&domain, UINT64_C(0x1000000000) + FB_IOVA, MINE, g(&o.fw), GR_PROT_READ),
        GR_EBUSY);
    map_at(&domain, UINT64_C(0x1000000000) + 3 * span(&o.fw), MINE, g(&o.fw));
    assert_true(fw_reaches(&o.fw, 0, SID, UINT64_C(0x1000000000) + 3 * span(&o.fw), MINE));
    assert_int_equal(gr_domain_detach(&domain, &o.dev), 0);
    assert_int_equal(gr_domain_fini(&domain), 0);
    one_end(&o);
}

static void open_domains_are_refused(void **state)
{
    (void)state;
    for (unsigned locked = 0; locked < 2; locked++) {
        const struct gr_range ram = {FW_RAM, FW_RAM + 0xfffffff};
        const struct gr_linear_config linear = {.ram = &ram, .ram_count = 1};
        struct one o;
        struct gr_domain domain;
        struct gr_policy policy;

        one_make(&o, &fw_kinds[0], locked, GR_ADOPT_DEFAULT);
        assert_int_equal(gr_device_policy(&o.dev, GR_DOMAIN_IDENTITY, &policy), 0);
        assert_int_equal(policy.type, GR_DOMAIN_TRANSLATED);
        assert_int_equal(new_domain(&o, &domain, GR_DOMAIN_IDENTITY), GR_EOPNOTSUPP);
        assert_int_equal(gr_domain_init_linear(&domain, o.fw.host, &o.dev, &linear), GR_EOPNOTSUPP);
        assert_true(host_logged(o.fw.host, "must be kept"));
        assert_int_equal(gr_device_fini(&o.dev), 0);
        assert_int_equal(one_device(&o, (enum gr_adopt)(GR_ADOPT_REPLACE + 1)), GR_EINVAL);
        assert_int_equal(one_device(&o, GR_ADOPT_REPLACE), 0);
        if (locked)
            assert_int_equal(new_domain(&o, &domain, GR_DOMAIN_TRANSLATED), GR_EOPNOTSUPP);
        one_end(&o);
    }
}

/* ---- power ---- */

/* Whose power firmware's display needs keeps it; one that went all the same is not touched. */
static void power_one(const struct fw_kind *k, bool locked, enum gr_adopt adopt)
{
    struct one o;
    struct gr_domain domain;
    struct gr_adoption told;

    if (adopt == GR_ADOPT_REPLACE)
        return; /* who would put the register back? */
    one_make(&o, k, locked, adopt);
    assert_int_equal(gr_dart_suspend(&o.fw.dart[0].drv), GR_EOPNOTSUPP);
    assert_int_equal(gr_dart_resume(&o.fw.dart[0].drv), locked ? GR_EOPNOTSUPP : 0);
    assert_int_equal(new_domain(&o, &domain, GR_DOMAIN_UNMANAGED), 0);
    map_at(&domain, 3 * span(&o.fw), MINE, g(&o.fw));
    assert_int_equal(gr_domain_attach(&domain, &o.dev), 0);
    assert_int_equal(gr_dart_suspend(&o.fw.dart[0].drv), GR_EOPNOTSUPP);
    assert_true(fw_reaches(&o.fw, 0, SID, 3 * span(&o.fw), MINE));
    gr_dart_lost(&o.fw.dart[0].drv);
    o.fw.dart[0].lose = true; /* nothing would be answered, */
    o.fw.dart[0].leaves = 0;  /* and the display went too */
    assert_int_equal(gr_domain_detach(&domain, &o.dev), 0);
    assert_int_equal(gr_domain_attach(&domain, &o.dev), 0);
    assert_int_equal(gr_domain_unmap(&domain, 3 * span(&o.fw), g(&o.fw)), 0);
    assert_int_equal(gr_domain_detach(&domain, &o.dev), 0);
    assert_int_equal(gr_domain_fini(&domain), 0);
    assert_int_equal(gr_device_fini(&o.dev), 0);
    assert_int_equal(one_device(&o, GR_ADOPT_DEFAULT), 0); /* no register says a thing */
    gr_stream_adoption(&o.stream, &told);
    assert_int_equal(told.state, GR_FIRMWARE_OFF);
    o.fw.dart[0].lose = false;
    assert_int_equal(gr_dart_resume(&o.fw.dart[0].drv), locked ? GR_EOPNOTSUPP : 0);
    one_end(&o);
}

/*
 * What was not locked may lose its registers, another stream's among them. Those that firmware had
 * set come back with the domain, whatever it did meanwhile, and the others as ever.
 */
static void power_lost_one(const struct fw_kind *k, bool locked, enum gr_adopt adopt)
{
    struct gr_stream other = {.sid = SID + 1, .window = {0, UINT64_MAX}};
    struct gr_device_config config = {
        .name = "other", .streams = &other, .stream_count = 1, .coherent = true};
    struct gr_device dev;
    struct gr_domain mine, domain;
    struct one o;
    unsigned leaves;

    if (locked)
        return; /* nobody but firmware could */
    one_make(&o, k, locked, adopt);
    other.inst = &o.fw.dart[0].drv.inst;
    assert_int_equal(gr_device_init(&dev, &config), 0);
    assert_int_equal(
        gr_domain_init(&mine, o.fw.host, &dev, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE), 0);
    map_at(&mine, g(&o.fw), MINE, g(&o.fw));
    assert_int_equal(gr_domain_attach(&mine, &dev), 0);
    assert_int_equal(new_domain(&o, &domain, GR_DOMAIN_UNMANAGED), 0);
    map_at(&domain, 3 * span(&o.fw), MINE, g(&o.fw));
    assert_int_equal(gr_domain_attach(&domain, &o.dev), 0);

    leaves = o.fw.dart[0].leaves;
    o.fw.dart[0].leaves = 0; /* nothing is on the screen */
    gr_dart_lost(&o.fw.dart[0].drv);
    for (unsigned sid = SID; sid < SID + 2; sid++) {
        fw_set_tcr(&o.fw, 0, sid, 0);
        for (unsigned i = 0; i < k->ttbrs; i++)
            dart_model_poke32(o.fw.dart[0].hw.model, k->ttbr + 4 * (k->ttbrs * sid + i), 0);
    }
    assert_false(fw_reaches(&o.fw, 0, SID, 3 * span(&o.fw), MINE));
    map_at(&domain, 3 * span(&o.fw) + g(&o.fw), MINE, g(&o.fw));
    assert_int_equal(gr_dart_resume(&o.fw.dart[0].drv), 0);
    o.fw.dart[0].leaves = leaves;
    fw_look(&o.fw);
    fw_good(&o.fw);
    assert_true(fw_reaches(&o.fw, 0, SID, 3 * span(&o.fw), MINE));
    assert_true(fw_reaches(&o.fw, 0, SID, 3 * span(&o.fw) + g(&o.fw), MINE));
    assert_true(fw_reaches(&o.fw, 0, SID + 1, g(&o.fw), MINE));

    assert_int_equal(gr_domain_detach(&domain, &o.dev), 0);
    assert_int_equal(gr_domain_fini(&domain), 0);
    assert_int_equal(gr_domain_detach(&mine, &dev), 0);
    assert_int_equal(gr_domain_fini(&mine), 0);
    assert_int_equal(gr_device_fini(&dev), 0);
    one_end(&o);
}

static void power(void **state)
{
    (void)state;
    for_all(power_one);
    for_all(power_lost_one);
}

/* ---- handover ---- */

/* Whoever comes next finds what we found, and adopts it as we did. */
static void handover_one(const struct fw_kind *k, bool locked, enum gr_adopt adopt)
{
    struct gr_adoption first, next;
    struct gr_domain domain;
    struct one o;

    one_make(&o, k, locked, adopt);
    gr_stream_adoption(&o.stream, &first);
    for (unsigned kernel = 0; kernel < 3; kernel++) {
        assert_int_equal(new_domain(&o, &domain, GR_DOMAIN_UNMANAGED), 0);
        map_at(&domain, 3 * span(&o.fw), MINE, g(&o.fw));
        assert_int_equal(gr_domain_attach(&domain, &o.dev), 0);
        assert_true(fw_reaches(&o.fw, 0, SID, 3 * span(&o.fw), MINE));
        assert_int_equal(gr_domain_detach(&domain, &o.dev), 0);
        assert_int_equal(gr_domain_fini(&domain), 0);
        assert_int_equal(gr_device_fini(&o.dev), 0);
        assert_int_equal(gr_dart_fini(&o.fw.dart[0].drv), 0);
        assert_int_equal(host_leaks(o.fw.host), 0);
        fw_restored(&o.fw);

        assert_int_equal(fw_driver(&o.fw, 0, NULL), 0);
        assert_int_equal(one_device(&o, adopt), 0);
        gr_stream_adoption(&o.stream, &next);
        assert_int_equal(next.state, first.state);
        assert_int_equal(next.tables, first.tables);
        assert_true(next.leaves == first.leaves);
    }
    one_end(&o);
}

static void handover(void **state)
{
    (void)state;
    for_all(handover_one);
}

/* ---- hostile tables ---- */

struct hostile {
    const char *what;
    void (*make)(struct fw *fw, gr_pa_t root, gr_pa_t leaf, gr_pa_t other);
    int err;
};

static void set(struct fw *fw, gr_pa_t table, unsigned i, gr_pa_t to)
{
    host_firmware_write64(fw->host, table + 8 * i, fw_entry(fw->k, to));
}

static void itself(struct fw *fw, gr_pa_t root, gr_pa_t leaf, gr_pa_t other)
{
    (void)leaf;
    (void)other;
    set(fw, root, 7, root);
}

static void a_cycle(struct fw *fw, gr_pa_t root, gr_pa_t leaf, gr_pa_t other)
{
    (void)leaf;
    set(fw, root, 7, other);
    set(fw, other, 7, root);
    set(fw, root, 8, other);
}

static void outside_of_memory(struct fw *fw, gr_pa_t root, gr_pa_t leaf, gr_pa_t other)
{
    (void)leaf;
    (void)other;
    set(fw, root, 7, UINT64_C(0xfff000000));
}

static void ordinary_memory(struct fw *fw, gr_pa_t root, gr_pa_t leaf, gr_pa_t other)
{
    (void)leaf;
    (void)other;
    set(fw, root, 7, MINE);
}

static void one_leaf_table_twice(struct fw *fw, gr_pa_t root, gr_pa_t leaf, gr_pa_t other)
{
    (void)other;
    set(fw, root, 7, leaf);
}

static void too_many(struct fw *fw, gr_pa_t root, gr_pa_t leaf, gr_pa_t other)
{
    (void)leaf;
    (void)other;
    for (unsigned i = 1; i <= GR_CFG_FIRMWARE_TABLES; i++) {
        gr_pa_t pa;

        assert_int_equal(host_firmware_alloc(fw->host, g(fw), &pa), 0);
        set(fw, root, i, pa);
    }
}

static void wild_root(struct fw *fw, gr_pa_t root, gr_pa_t leaf, gr_pa_t other)
{
    (void)root;
    (void)leaf;
    (void)other;
    fw_set_ttbr(fw, 0, SID, 0, UINT64_C(0xfffffc000));
}

static void half_a_page(struct fw *fw, gr_pa_t root, gr_pa_t leaf, gr_pa_t other)
{
    (void)leaf;
    (void)other;
    if (fw->k->ttbrs == 1)
        fw_set_ttbr(fw, 0, SID, 0, UINT64_C(0xfffffc000)); /* nothing else can be said there */
    else
        fw_set_ttbr(fw, 0, SID, 0, root + g(fw) / 2);
}

static const struct hostile hostile[] = {
    {"itself", itself, GR_EOPNOTSUPP},
    {"a cycle", a_cycle, GR_EOPNOTSUPP},
    {"outside of memory", outside_of_memory, GR_EOPNOTSUPP},
    {"ordinary memory", ordinary_memory, GR_EOPNOTSUPP},
    {"one leaf table twice", one_leaf_table_twice, GR_EOPNOTSUPP},
    {"too many", too_many, GR_ENOSPC},
    {"a wild root", wild_root, GR_EOPNOTSUPP},
    {"half a page", half_a_page, GR_EOPNOTSUPP},
};

/* Nothing is asserted, nothing is stored, and the device is refused. */
static void hostile_tables(void **state)
{
    (void)state;
    for (size_t i = 0; i < FW_KINDS; i++) {
        for (size_t n = 0; n < sizeof(hostile) / sizeof(hostile[0]); n++) {
            struct one o;
            gr_pa_t root, leaf, other;
            int ret;

            if (fw_kinds[i].page_bits == 12 && hostile[n].make == half_a_page)
                continue; /* a t8020's TTBR is good to 4 KiB */
            fw_make(&o.fw, &fw_kinds[i], 1, !fw_kinds[i].packed, 1);
            root = fw_stream(&o.fw, 0, SID);
            leaf = fw_slot(&o.fw, 0, SID, 0) & ~(g(&o.fw) - 1);
            other = fw_table(&o.fw);
            hostile[n].make(&o.fw, root, leaf, other);
            o.fw.quiet = true;
            fw_boot(&o.fw);
            assert_int_equal(fw_driver(&o.fw, 0, NULL), 0);
            ret = one_device(&o, GR_ADOPT_DEFAULT);
            if (ret != hostile[n].err)
                fail_msg("%s, %s: %d", fw_kinds[i].name, hostile[n].what, ret);
            assert_true(host_logged(o.fw.host, "cannot be adopted"));
            fw_end(&o.fw);
        }
    }
}

/* Any bits at all: refused or adopted, and put back. */
static void random_tables(void **state)
{
    (void)state;
    for (unsigned run = 0; run < 200; run++) {
        struct one o;
        gr_pa_t root;
        int ret;

        fw_make(&o.fw, &fw_kinds[run % FW_KINDS], 1,
                run / FW_KINDS % 2 && !fw_kinds[run % FW_KINDS].packed, run);
        root = fw_stream(&o.fw, 0, SID);
        (void)fw_slot(&o.fw, 0, SID, 0);
        (void)fw_slot(&o.fw, 0, SID, span(&o.fw) * 9);
        for (unsigned i = 0; i < 20; i++) {
            const gr_pa_t table = o.fw.table[fw_random(&o.fw, o.fw.tables)];
            const uint64_t slot = fw_random(&o.fw, g(&o.fw) / 8);
            const uint64_t bits = fw_random(&o.fw, 4) ? fw_random(&o.fw, UINT64_MAX) & ~UINT64_C(1)
                                                      : fw_random(&o.fw, UINT64_MAX);

            if (table != root || fw_random(&o.fw, 8) == 0)
                host_firmware_write64(o.fw.host, table + 8 * slot, bits);
        }
        o.fw.quiet = true;
        fw_boot(&o.fw);
        assert_int_equal(fw_driver(&o.fw, 0, NULL), 0);
        ret = use_all(&o, run % 3 ? GR_ADOPT_IMPORT : GR_ADOPT_DEFAULT);
        assert_true(!ret || ret == GR_EOPNOTSUPP);
        fw_end(&o.fw);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_11_12_scan_out),
        cmocka_unit_test(at_once),
        cmocka_unit_test(switched),
        cmocka_unit_test(deep),
        cmocka_unit_test(allocations_fail),
        cmocka_unit_test(random_failures),
        cmocka_unit_test(commands_hang),
        cmocka_unit_test(locked_and_useless),
        cmocka_unit_test(unlocked_is_reset),
        cmocka_unit_test(states_at_probe),
        cmocka_unit_test(beyond_the_levels),
        cmocka_unit_test(open_domains_are_refused),
        cmocka_unit_test(power),
        cmocka_unit_test(handover),
        cmocka_unit_test(hostile_tables),
        cmocka_unit_test(random_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
