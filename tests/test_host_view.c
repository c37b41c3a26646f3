/* SPDX-License-Identifier: MIT */
/* What ports/host tells of its memory from outside: views, uses, runs. */
#include <host.h>

#include <granule/err.h>
#include <granule/port.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define BASE UINT64_C(0x40000000)
#define SIZE UINT64_C(0x100000)
#define LINE ((size_t)GR_PORT_CACHE_LINE)

static int make(void **state)
{
    const struct host_config config = {
        .cpu_page = 4096, .nbanks = 1, .seed = 5, .banks = {{.base = BASE, .size = SIZE}}};
    char err[128];

    *state = host_create(&config, err, sizeof(err));
    return *state ? 0 : -1;
}

static int destroy(void **state)
{
    return host_destroy(*state);
}

static void *pages(struct host *h, unsigned flags, gr_pa_t *out_pa)
{
    void *va = gr_port_pages_alloc(h, 12, UINT64_MAX, flags);

    assert_non_null(va);
    *out_pa = gr_port_virt_to_phys(h, va);
    return va;
}

static void test_addresses(void **state)
{
    struct host *h = *state;
    uint8_t local = 0;
    gr_pa_t pa;
    gr_pa_t got;
    uint8_t *va = pages(h, GR_PAGES_MAY_SLEEP, &pa);
    uint8_t *uncached;

    assert_true(host_pa_of(h, va + 5, &got));
    assert_int_equal(got, pa + 5);
    gr_port_cache(h, va, 4096, GR_CACHE_CLEAN | GR_CACHE_INVAL);
    uncached = gr_port_map_uncached(h, va, 4096);
    assert_non_null(uncached);
    assert_true(host_pa_of(h, uncached + 4095, &got));
    assert_int_equal(got, pa + 4095);
    assert_ptr_equal(host_memory(h, pa, 4096), uncached);
    assert_false(host_pa_of(h, &local, &got));
    assert_null(host_memory(h, BASE + SIZE - 1, 2));
    gr_port_unmap_uncached(h, uncached, 4096);
    gr_port_pages_free(h, va, 12);
}

static void test_uses(void **state)
{
    struct host *h = *state;
    gr_pa_t library;
    gr_pa_t table;
    gr_pa_t buffer;
    void *va = pages(h, GR_PAGES_MAY_SLEEP, &library);
    void *tva = pages(h, GR_PAGES_TABLE, &table);

    assert_int_equal(host_ram_alloc(h, 1, 0, &buffer), 0);
    assert_int_equal(host_use_of(h, library + 4095), HOST_LIBRARY);
    assert_int_equal(host_use_of(h, table), HOST_TABLE);
    assert_int_equal(host_use_of(h, buffer), HOST_BUFFER);
    assert_int_equal(host_use_of(h, BASE - 1), HOST_UNUSED);
    gr_port_pages_free(h, va, 12);
    gr_port_pages_free(h, tva, 12);
    host_ram_free(h, buffer);
    assert_int_equal(host_use_of(h, library), HOST_UNUSED);
    assert_int_equal(host_use_of(h, table), HOST_UNUSED);
    assert_int_equal(host_use_of(h, buffer), HOST_UNUSED);
}

/* Tables of firmware's: the library's once it has asked, and walkers see its stores late. */
static void test_firmware(void **state)
{
    struct host *h = *state;
    gr_pa_t buffer, pa;
    uint64_t *va;
    uint64_t got;
    unsigned late = 0;

    assert_int_equal(host_firmware_alloc(h, 0x3000, &pa), GR_EINVAL);
    assert_int_equal(host_firmware_alloc(h, 0x800, &pa), GR_EINVAL);
    assert_int_equal(host_firmware_alloc(h, UINT64_C(1) << 40, &pa), GR_ENOMEM);
    assert_int_equal(host_firmware_alloc(h, 0x4000, &pa), 0);
    assert_int_equal(pa % 0x4000, 0);
    assert_int_equal(host_use_of(h, pa + 0x3fff), HOST_FIRMWARE);
    host_firmware_write64(h, pa + 8, 77);
    assert_true(host_table_read64(h, pa + 8, &got));
    assert_int_equal(got, 77);

    assert_int_equal(host_ram_alloc(h, 0x4000, 0, &buffer), 0);
    assert_null(gr_port_map_firmware(h, buffer, 0x1000)); /* others' memory */
    assert_null(gr_port_map_firmware(h, BASE - 0x1000, 0x1000));
    host_ram_free(h, buffer);
    host_fail_firmware(h, 2);
    va = gr_port_map_firmware(h, pa, 0x4000);
    assert_non_null(va);
    assert_null(gr_port_map_firmware(h, pa, 0x4000));
    assert_ptr_equal(gr_port_map_firmware(h, pa, 0x4000), va);
    assert_ptr_equal(gr_port_phys_to_virt(h, pa), va);
    assert_int_equal(gr_port_virt_to_phys(h, va + 1), pa + 8);
    assert_int_equal(va[1], 77);
    for (unsigned i = 0; i < 64; i++) {
        gr_port_table_store64(h, va + i, 1000 + i);
        assert_true(host_table_read64(h, pa + 8 * i, &got));
        late += got != 1000 + i;
    }
    assert_true(late > 0);
    gr_port_wmb();
    assert_true(host_table_read64(h, pa + 8 * 63, &got));
    assert_int_equal(got, 1063);
    assert_false(host_mem_write(h, pa, &got, 8, true)); /* a device there is misuse, */
    assert_int_equal(host_misuse(h), 1);
    assert_int_equal(host_leaks(h), 0); /* and none of it is a leak */
    host_firmware_write64(h, pa + 4, 1);
    host_firmware_write64(h, BASE, 1);
    assert_null(gr_port_map_firmware(h, pa + 8, 0x1000));
    assert_int_equal(host_firmware_alloc(h, 0x1000, &pa), 0);
    (void)gr_port_phys_to_virt(h, pa); /* before it has asked */
    (void)gr_port_virt_to_phys(h, host_ptr(h, pa, 8));
    gr_port_table_store64(h, host_ptr(h, pa, 8), 1);
    assert_int_equal(host_misuse(h), 7);
}

struct seen {
    gr_pa_t end;
    uint64_t bytes[HOST_FIRMWARE + 1];
};

static void see(void *arg, gr_pa_t pa, uint64_t len, enum host_use use)
{
    struct seen *seen = arg;

    assert_true(pa >= seen->end && len > 0 && use != HOST_UNUSED);
    for (uint64_t at = 0; at < len; at += 4096) {
        seen->bytes[use] += 4096;
    }
    seen->end = pa + len;
}

static void test_runs(void **state)
{
    struct host *h = *state;
    struct seen seen = {.end = BASE};
    gr_pa_t pa[3];
    void *tva[2];

    host_for_each_used(h, see, &seen);
    assert_int_equal(seen.end, BASE); /* nothing is used */
    tva[0] = pages(h, GR_PAGES_TABLE, &pa[0]);
    tva[1] = pages(h, GR_PAGES_TABLE, &pa[1]);
    assert_int_equal(host_ram_alloc(h, 0x5000, 0, &pa[2]), 0);
    host_for_each_used(h, see, &seen);
    assert_int_equal(seen.bytes[HOST_TABLE], 0x2000);
    assert_int_equal(seen.bytes[HOST_BUFFER], 0x5000);
    assert_int_equal(seen.bytes[HOST_LIBRARY], 0);
    gr_port_pages_free(h, tva[0], 12);
    gr_port_pages_free(h, tva[1], 12);
    host_ram_free(h, pa[2]);
}

/* A buffer: the CPU's dirty lines, and else what masters that are not coherent have written. */
static void test_held_buffer(void **state)
{
    struct host *h = *state;
    uint8_t got[3 * LINE];
    uint8_t *cpu;
    gr_pa_t pa;

    assert_int_equal(host_ram_alloc(h, 4096, 0, &pa), 0);
    cpu = host_ptr(h, pa, 4096);
    memset(cpu, 1, 4096);
    gr_port_cache(h, cpu, 4096, GR_CACHE_CLEAN);
    cpu[LINE] = 2; /* dirty; the next line is not */
    memset(got, 3, LINE);
    assert_true(host_mem_write(h, pa + 2 * LINE, got, LINE, false));
    assert_true(host_read_held(h, pa + 1, got, 3 * LINE - 1));
    assert_int_equal(got[0], 1);
    assert_int_equal(got[LINE - 1], 2);
    assert_int_equal(got[LINE], 1);
    assert_int_equal(got[2 * LINE - 2], 1);
    assert_int_equal(got[2 * LINE - 1], 3);
    assert_int_equal(got[3 * LINE - 2], 3);
    assert_false(host_read_held(h, BASE + SIZE - 8, got, 16));
    host_ram_free(h, pa);
}

/* A table: what walkers see, and looking changes nothing. */
static void test_held_table(void **state)
{
    struct host *h = *state;
    uint64_t got = 0;
    gr_pa_t pa;
    uint64_t *table = pages(h, GR_PAGES_TABLE, &pa);

    gr_port_wmb();
    gr_port_table_store64(h, &table[3], 77);
    for (unsigned i = 0; i < 2; i++) {
        const uint64_t *visible = host_memory(h, pa, 4096);

        assert_true(host_read_held(h, pa + 24, &got, 8));
        assert_int_equal(got, visible[3]);
    }
    gr_port_wmb();
    assert_true(host_read_held(h, pa + 24, &got, 8));
    assert_int_equal(got, 77);
    gr_port_pages_free(h, table, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_addresses, make, destroy),
        cmocka_unit_test_setup_teardown(test_uses, make, destroy),
        cmocka_unit_test_setup_teardown(test_firmware, make, destroy),
        cmocka_unit_test_setup_teardown(test_runs, make, destroy),
        cmocka_unit_test_setup_teardown(test_held_buffer, make, destroy),
        cmocka_unit_test_setup_teardown(test_held_table, make, destroy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
