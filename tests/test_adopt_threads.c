/* SPDX-License-Identifier: MIT */
/*
 * A display that scans its frame buffer out on a thread of its own, from before the driver comes
 * until after it went, while others map and unmap beside it on theirs. The model is one piece of
 * hardware: a lock stands for its bus.
 */
#include "adopt_tools.h"
#include "rounds.h"

#include <pthread.h>

#define SID 0u
#define FB_IOVA UINT64_C(0x12000000)
#define FB_PA (FW_RAM + UINT64_C(0x10000000))
#define FB_PAGES 16u
#define MINE (FW_RAM + UINT64_C(0x18000000))
#define MAPPERS 2u

struct machine {
    struct fw fw;
    pthread_mutex_t bus;
    struct gr_device dev;
    struct gr_stream stream;
    bool stop;
    uint64_t scans;
    int failed; /* of a mapper */
};

/* Registers and accesses are one at a time; tables are the walker's own business. */
static uint32_t read32(void *opaque, uint32_t offset)
{
    struct machine *const m = opaque;
    uint32_t value;

    pthread_mutex_lock(&m->bus);
    value = dart_model_read32(m->fw.dart[0].hw.model, offset);
    pthread_mutex_unlock(&m->bus);
    return value;
}

static void write32(void *opaque, uint32_t offset, uint32_t value)
{
    struct machine *const m = opaque;

    pthread_mutex_lock(&m->bus);
    dart_model_write32(m->fw.dart[0].hw.model, offset, value);
    pthread_mutex_unlock(&m->bus);
}

static void *scan(void *arg)
{
    struct machine *const m = arg;
    struct fw_dart *const d = &m->fw.dart[0];

    while (!__atomic_load_n(&m->stop, __ATOMIC_ACQUIRE)) {
        for (unsigned i = 0; i < d->leaves; i++) {
            pthread_mutex_lock(&m->bus);
            fw_look_at(d, &d->leaf[i]);
            pthread_mutex_unlock(&m->bus);
        }
        __atomic_add_fetch(&m->scans, 1, __ATOMIC_RELEASE);
    }
    return NULL;
}

/* At least one whole picture from now on. */
static void wait_for_a_scan(struct machine *m)
{
    const uint64_t before = __atomic_load_n(&m->scans, __ATOMIC_ACQUIRE);

    while (__atomic_load_n(&m->scans, __ATOMIC_ACQUIRE) < before + 2)
        sched_yield();
}

static void *map_and_unmap(void *arg)
{
    struct machine *const m = arg;
    const uint64_t page = UINT64_C(1) << m->fw.k->page_bits;
    const unsigned rounds = rounds_of(300);
    int failed = 0;

    for (unsigned i = 0; i < rounds; i++) {
        const uint64_t len = (1 + i * 13 % 40) * page;
        gr_iova_t iova;

        if (gr_dma_map(&m->dev, MINE, len, GR_DMA_BIDIRECTIONAL, 0, &iova) ||
            gr_dma_unmap(&m->dev, iova, len, GR_DMA_BIDIRECTIONAL, 0))
            failed++;
    }
    __atomic_add_fetch(&m->failed, failed, __ATOMIC_RELAXED);
    return NULL;
}

static void run(const struct fw_kind *k, bool locked, enum gr_adopt adopt)
{
    struct machine m;
    struct gr_device_config config;
    struct gr_domain domain;
    pthread_t display, mapper[MAPPERS];

    memset(&m, 0, sizeof(m));
    pthread_mutex_init(&m.bus, NULL);
    fw_make(&m.fw, k, 1, locked, 1);
    (void)fw_stream(&m.fw, 0, SID);
    fw_map(&m.fw, 0, SID, FB_IOVA, FB_PA, FB_PAGES);
    fw_boot(&m.fw);
    host_set_observer(m.fw.host, NULL, NULL);
    m.fw.dart[0].tap.opaque = &m;
    m.fw.dart[0].tap.read32 = read32;
    m.fw.dart[0].tap.write32 = write32;
    assert_int_equal(pthread_create(&display, NULL, scan, &m), 0);
    wait_for_a_scan(&m);

    assert_int_equal(fw_driver(&m.fw, 0, NULL), 0);
    config = fw_device(&m.fw, &m.stream, 1, SID);
    config.adopt = adopt;
    assert_int_equal(gr_device_init(&m.dev, &config), 0);
    for (unsigned turn = 0; turn < 2; turn++) {
        assert_int_equal(gr_domain_init(&domain, m.fw.host, &m.dev, GR_DOMAIN_TRANSLATED, 0), 0);
        assert_int_equal(gr_domain_attach(&domain, &m.dev), 0);
        wait_for_a_scan(&m);
        for (unsigned i = 0; i < MAPPERS; i++)
            assert_int_equal(pthread_create(&mapper[i], NULL, map_and_unmap, &m), 0);
        for (unsigned i = 0; i < MAPPERS; i++)
            assert_int_equal(pthread_join(mapper[i], NULL), 0);
        assert_int_equal(m.failed, 0);
        assert_int_equal(gr_domain_detach(&domain, &m.dev), 0);
        assert_int_equal(gr_domain_fini(&domain), 0);
    }
    assert_int_equal(gr_device_fini(&m.dev), 0);
    assert_int_equal(gr_dart_fini(&m.fw.dart[0].drv), 0);
    m.fw.dart[0].drv.layout = NULL;
    wait_for_a_scan(&m);
    __atomic_store_n(&m.stop, true, __ATOMIC_RELEASE);
    assert_int_equal(pthread_join(display, NULL), 0);
    fw_end(&m.fw);
    pthread_mutex_destroy(&m.bus);
}

static void keep_slots(void **state)
{
    (void)state;
    run(&fw_kinds[0], true, GR_ADOPT_DEFAULT);
    run(&fw_kinds[4], true, GR_ADOPT_DEFAULT);
}

static void import(void **state)
{
    (void)state;
    run(&fw_kinds[2], true, GR_ADOPT_IMPORT);
    run(&fw_kinds[5], true, GR_ADOPT_IMPORT);
}

static void replace(void **state)
{
    (void)state;
    run(&fw_kinds[0], false, GR_ADOPT_REPLACE);
    run(&fw_kinds[4], false, GR_ADOPT_REPLACE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keep_slots),
        cmocka_unit_test(import),
        cmocka_unit_test(replace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
