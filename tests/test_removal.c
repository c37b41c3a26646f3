/* SPDX-License-Identifier: MIT */
/*
 * What only shows with the right machine at the right moment: barriers, cache operations and
 * invalidations that no other test needs (scripts/check-removal.sh).
 */
#include "bench.h"

#include <granule/pt.h>

#include <string.h>

/* ---- loads after a wait ---- */

/* A CPU that loads ahead of its program, and a device whose last write a TLB command drains. */
struct late {
    struct host_mmio beyond; /* what the tap in front of the model does */
    struct host *host;
    uint32_t command;
    gr_pa_t pa;
    bool running;      /* the command was given */
    uint64_t barriers; /* when the CPU loaded `value` */
    uint32_t value;
};

static uint32_t late_read(void *opaque, uint32_t offset)
{
    struct late *const l = opaque;

    if (offset == l->command && l->running) {
        const uint32_t last_write = 0x600df00d;

        l->running = false;
        l->barriers = host_load_barriers();
        memcpy(&l->value, host_ptr(l->host, l->pa, 4), 4);
        assert_true(host_mem_write(l->host, l->pa, &last_write, 4, true));
    }
    return l->beyond.read32(l->beyond.opaque, offset);
}

static void late_write(void *opaque, uint32_t offset, uint32_t value)
{
    struct late *const l = opaque;

    l->running = l->running || offset == l->command;
    l->beyond.write32(l->beyond.opaque, offset, value);
}

/* After an unmap the CPU reads what the device wrote last, not what it loaded during the wait. */
static void unmap_orders_loads(void **unused)
{
    static const unsigned kind[] = {RIG_T8020, RIG_T6000, RIG_T8110};

    (void)unused;
    for (unsigned i = 0; i < sizeof(kind) / sizeof(kind[0]); i++) {
        struct bench b;
        struct late late;
        struct host_mmio *tap;
        gr_iova_t iova;
        uint32_t value = 0;

        bench_make(&b, kind[i]);
        tap = &b.rig.dart[0].tap;
        late = (struct late){.beyond = *tap,
                             .host = b.rig.host,
                             .command = kind[i] == RIG_T8110 ? 0x80 : 0x20,
                             .pa = rig_ram(&b.rig, 4096, 0)};
        memcpy(host_ptr(b.rig.host, late.pa, 4), &value, 4);
        assert_int_equal(gr_dma_map(&b.dev, late.pa, 4096, GR_DMA_FROM_DEVICE, 0, &iova), 0);
        tap->opaque = &late;
        tap->read32 = late_read;
        tap->write32 = late_write;
        assert_int_equal(gr_dma_unmap(&b.dev, iova, 4096, GR_DMA_FROM_DEVICE, 0), 0);
        *tap = late.beyond;
        memcpy(&value, host_ptr(b.rig.host, late.pa, 4), 4);
        if (late.barriers == host_load_barriers())
            value = late.value;
        assert_int_equal(value, 0x600df00d);
        host_ram_free(b.rig.host, late.pa);
        bench_end(&b);
    }
}

/* ---- trim ---- */

/* The walk cache still knows a table that trim frees, although nothing was mapped in it. */
static void trim_invalidates(void **unused)
{
    (void)unused;
    for (unsigned kind = 0; kind < RIG_KINDS; kind++) {
        struct rig rig;
        struct gr_stream stream;
        struct gr_device_config config;
        struct gr_device dev;
        struct gr_domain domain;
        uint64_t g;

        rig_make_plain(&rig, kind, 1);
        config = rig_device(&rig, &stream, 0, 1, RIG_SID);
        assert_int_equal(gr_device_init(&dev, &config), 0);
        assert_int_equal(
            gr_domain_init(&domain, rig.host, &dev, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE), 0);
        assert_int_equal(gr_domain_attach(&domain, &dev), 0);
        g = UINT64_C(1) << gr_domain_granule_lg2(&domain);
        assert_int_equal(gr_domain_map(&domain, 0, RIG_BIG, g, RW), 0);
        assert_int_equal(gr_domain_unmap(&domain, 0, g), 0);
        assert_false(rig_can_read(&rig, 0, RIG_SID, 0)); /* and the table is known */
        assert_int_equal(gr_domain_trim(&domain, 0, g), 0);
        assert_int_equal(domain.pt.tables, rig_root_tables(&domain));
        assert_false(rig_can_read(&rig, 0, RIG_SID, g)); /* or a freed table is walked */
        assert_int_equal(gr_domain_detach(&domain, &dev), 0);
        assert_int_equal(gr_domain_fini(&domain), 0);
        assert_int_equal(gr_device_fini(&dev), 0);
        rig_end(&rig);
    }
}

/* ---- tables below new tables, for a walker that does not snoop ---- */

/* DART.md 4.1, 4.3: the table that entry `index` of the table at `pa` leads to. */
static gr_pa_t table_at(struct host *h, gr_pa_t pa, uint64_t index)
{
    uint64_t entry;

    assert_true(host_table_read64(h, pa + 8 * index, &entry));
    assert_true(entry & 1);
    return entry << 4 & ((UINT64_C(1) << 42) - 1) & ~UINT64_C(0xfff);
}

static void entries_of_new_tables_are_cleaned(void **unused)
{
    const struct gr_pt_config config = {.format = GR_PT_DART2,
                                        .granule_lg2 = 12,
                                        .levels = 3,
                                        .va_bits = 36,
                                        .pa_bits = 42,
                                        .coherent = false};
    const struct host_config machine = {.cpu_page = 4096,
                                        .nbanks = 1,
                                        .seed = 1,
                                        .noncoherent_walk = true,
                                        .banks = {{UINT64_C(0x800000000), 16 * MIB}}};
    char why[160] = "";
    struct host *const h = host_create(&machine, why, sizeof(why));
    struct gr_pt pt;

    (void)unused;
    if (!h)
        fail_msg("no host: %s", why);
    host_log_level(h, -1);
    assert_int_equal(gr_pt_init(&pt, h, &config), 0);
    /* A new table at each of the two levels below the root, every time. */
    for (uint64_t i = 0; i < 16; i++) {
        const gr_iova_t iova = i << 30 | i << 21 | i << 12;
        const gr_pa_t pa = UINT64_C(0x900000000) + (i << 12);
        uint64_t leaf;
        uint64_t done;

        assert_int_equal(gr_pt_map(&pt, iova, pa, 4096, RW, &done), 0);
        assert_true(
            host_table_read64(h, table_at(h, table_at(h, pt.root_pa, i), i) + 8 * i, &leaf));
        assert_true(leaf & 1);
        assert_int_equal(leaf << 4 & ((UINT64_C(1) << 42) - 1) & ~UINT64_C(0xfff), pa);
    }
    /* And that each leaf table is gone is seen, before it is freed. */
    for (uint64_t i = 0; i < 16; i++) {
        const gr_iova_t iova = i << 30 | i << 21;
        const struct gr_range span = {iova, iova + 2 * MIB - 1};
        struct gr_pt_gather gather = {0};
        uint64_t entry;

        assert_int_equal(gr_pt_unmap(&pt, iova | i << 12, 4096, NULL, NULL), 0);
        gr_pt_retire(&pt, &span, &gather);
        assert_int_equal(gather.count, 1);
        assert_true(host_table_read64(h, table_at(h, pt.root_pa, i) + 8 * i, &entry));
        assert_false(entry & 1);
        gr_pt_gather_free(&pt, &gather);
    }
    gr_pt_fini(&pt);
    if (host_misuse(h))
        fail_msg("misuse: %s", host_last_log(h));
    assert_int_equal(host_destroy(h), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(unmap_orders_loads),
        rig_test(trim_invalidates),
        rig_test(entries_of_new_tables_are_cleaned),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
