/* SPDX-License-Identifier: MIT */
/* The device-tree front end: every rule, every error sentence, real trees and damaged ones. */
#include "chance.h"

#include <granule/dt.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOM 16384

static _Alignas(8) char tree[ROOM];

#define OK(expr) assert_int_equal((expr), 0)

/* ------------------------------------------------------------------ building */

static void begin(const char *name)
{
    OK(fdt_begin_node(tree, name));
}

static void end(void)
{
    OK(fdt_end_node(tree));
}

static void put_cells(const char *name, const uint32_t *v, size_t n)
{
    fdt32_t be[40];

    assert_true(n <= 40);
    for (size_t i = 0; i < n; i++)
        be[i] = cpu_to_fdt32(v[i]);
    OK(fdt_property(tree, name, be, (int)(n * 4)));
}

static void put_string(const char *name, const char *text)
{
    OK(fdt_property(tree, name, text, (int)strlen(text) + 1));
}

#define CELLS(...) (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / 4
#define P(name, ...) put_cells(name, CELLS(__VA_ARGS__))
#define S(name, text) put_string(name, text)
#define EMPTY(name) OK(fdt_property(tree, name, NULL, 0))

enum { T8103 = 1, FIVE, OFF, OTHER, SECOND, SART, ONE, PLUGGED, FB, MAP, DYNAMIC, DISABLED };
/* phandles */

static void iommu(const char *name, const char *compatible, uint32_t reg, uint32_t cells,
                  uint32_t phandle)
{
    begin(name);
    S("compatible", compatible);
    P("reg", 0, reg, 0, 0x4000);
    P("#iommu-cells", cells);
    P("phandle", phandle);
}

static void device(const char *name, const uint32_t *v, size_t n)
{
    begin(name);
    put_cells("iommus", v, n);
    end();
}

static void port(const char *name, uint32_t first, uint32_t last)
{
    begin(name);
    P("bus-range", first, last);
    end();
}

static void build_pcie(void)
{
    begin("pcie");
    OK(fdt_property(tree, "compatible", "x,pcie\0apple,pcie", 18));
    S("device_type", "pci");
    P("#address-cells", 3);
    P("#size-cells", 2);
    EMPTY("msi-controller");
    P("iommu-map", 0x100, T8103, 1, 1, 0x200, T8103, 2, 1, 0x300, OFF, 1, 1, 0x400, SECOND, 4, 2,
      0x500, OTHER, 9, 0x100);
    P("iommu-map-mask", 0xffff);
    P("ranges", 0x01000000, 0, 0, 0, 0x60000000, 0, 0x10000,  /* I/O */
      0x02000000, 0, 0x80000000, 0, 0x90000000, 0, 0x1000000, /* moved by the bus */
      0x43000000, 4, 0, 0, 0xa0000000, 0, 0x1000000);
    begin("pci@0,0");
    P("bus-range", 1, 3);
    S("status", "disabled");
    port("pci@inner", 1, 1);
    end();
    begin("bus");
    begin("pci@1,0");
    P("bus-range", 4, 4);
    EMPTY("external-facing");
    end();
    end();
    end();
}

static void build_soc(void)
{
    begin("soc");
    P("#address-cells", 2);
    P("#size-cells", 2);
    P("ranges", 0, 0, 2, 0, 1, 0);
    P("dma-ranges", 0, 0, 0, 0, 0xff, 0xffffc000);

    iommu("a@1000", "apple,t8103-dart", 0x1000, 1, T8103);
    end();
    iommu("b@2000", "apple,t8110-dart", 0x2000, 5, FIVE);
    end();
    iommu("c@3000", "apple,t8103-dart", 0x3000, 1, OFF);
    S("status", "disabled");
    end();
    iommu("d@4000", "vendor,other-iommu", 0x4000, 1, OTHER);
    end();
    begin("e@5000");
    OK(fdt_property(tree, "compatible", "x,y\0apple,t6000-dart\0apple,t8110-dart", 38));
    P("reg", 0, 0x5000, 0, 0x8000);
    P("#iommu-cells", 1);
    P("phandle", SECOND);
    P("granule,page-bits", 12);
    P("granule,va-bits", 31);
    P("granule,pa-bits", 36);
    P("granule,streams", 8);
    P("granule,bypass", 0);
    P("apple,dma-range", 0, 0x1000, 0, 0x10000);
    end();
    begin("iommu@6000"); /* no #iommu-cells: none, whatever it is called */
    P("reg", 0, 0x6000, 0, 0x4000);
    P("phandle", SART);
    end();

    device("one", CELLS(T8103, 15));
    device("two", CELLS(T8103, 0, SECOND, 7));
    device("five",
           CELLS(FIVE, 2, 8, 0, 1, 0, FIVE, 2, 8, 0x80000000, 2, 0, FIVE, 3, 0, 0, 0, 0x4000));
    device("half", CELLS(OFF, 0, T8103, 5));
    device("gone", CELLS(OFF, 0));
    device("blocked", CELLS(OTHER, 99));
    begin("absent");
    P("iommus", T8103, 1);
    S("status", "fail");
    end();
    begin("sub");
    EMPTY("external-facing");
    EMPTY("dma-noncoherent");
    device("plugged", CELLS(T8103, 3));
    begin("coherent");
    EMPTY("dma-coherent");
    P("iommus", T8103, 3);
    end();
    end();
    build_pcie();
    begin("beside"); /* no port of the bridge, though it looks like one */
    P("bus-range", 1, 5);
    EMPTY("external-facing");
    end();
    end();
}

/* The tree that most tests start from, with room for changes. */

static void build(void)
{
    memset(tree, 0, sizeof(tree));
    OK(fdt_create(tree, sizeof(tree)));
    OK(fdt_add_reservemap_entry(tree, 0x80010000, 0x1000));
    OK(fdt_finish_reservemap(tree));
    begin("");
    P("#address-cells", 2);
    P("#size-cells", 2);
    begin("memory@80000000");
    S("device_type", "memory");
    P("reg", 0, 0x80000000, 0, 0x1000000, 0xffffffff, 0xfffff000, 0, 0x1000);
    end();
    begin("memory@0");
    S("device_type", "memory");
    P("reg", 0, 0, 0, 0x1000);
    S("status", "okay");
    end();
    begin("memory@90000000");
    S("device_type", "memory");
    P("reg", 0, 0x90000000, 0, 0x1000);
    S("status", "disabled");
    end();
    begin("reserved-memory");
    P("#address-cells", 2);
    P("#size-cells", 1);
    EMPTY("ranges");
    begin("fb");
    P("reg", 0, 0x80020000, 0x1001, 0, 0x80030000, 0);
    EMPTY("no-map");
    end();
    begin("dynamic");
    P("size", 0x1000);
    end();
    begin("off");
    P("reg", 0, 0x80040000, 0x1000);
    S("status", "disabled");
    end();
    begin("map");
    P("reg", 0, 0x80050000, 0x1000);
    end();
    end();
    build_soc();
    end();
    OK(fdt_finish(tree));
    OK(fdt_open_into(tree, tree, sizeof(tree)));
}

static void set(const char *path, const char *prop, const void *value, size_t len)
{
    int node = fdt_path_offset(tree, path);

    assert_true(node >= 0);
    OK(fdt_setprop(tree, node, prop, value, (int)len));
}

static void set_cells(const char *path, const char *prop, const uint32_t *v, size_t n)
{
    fdt32_t be[48];

    assert_true(n <= 48);
    for (size_t i = 0; i < n; i++)
        be[i] = cpu_to_fdt32(v[i]);
    set(path, prop, be, n * 4);
}

static void build_regions(void)
{
    set_cells("/soc/one", "phandle", CELLS(ONE));
    set_cells("/soc/one", "memory-region", CELLS(FB, MAP, DYNAMIC, DISABLED));
    set_cells("/soc/sub/plugged", "phandle", CELLS(PLUGGED));
    set_cells("/reserved-memory/fb", "phandle", CELLS(FB));
    set_cells("/reserved-memory/fb", "iommu-addresses",
              /* The other master's bus has one cell of size; its address looks like a phandle. */
              CELLS(PLUGGED, 0, ONE, 0x1000, ONE, 0, 0x1000000, 0, 0x1001));
    set_cells("/reserved-memory/map", "phandle", CELLS(MAP));
    set_cells("/reserved-memory/map", "iommu-addresses",
              CELLS(ONE, 0, 0x80050000, 0, 0x800, ONE, 1, 0x4000, 0, 0x1000));
    set_cells("/reserved-memory/dynamic", "phandle", CELLS(DYNAMIC));
    set_cells("/reserved-memory/dynamic", "iommu-addresses", CELLS(ONE, 0, 0x2000000, 0, 0x100000));
    set_cells("/reserved-memory/off", "phandle", CELLS(DISABLED));
    set_cells("/reserved-memory/off", "iommu-addresses", CELLS(99));
}

/* ------------------------------------------------------------------ reading */

struct seen {
    unsigned iommus;
    unsigned masters;
    struct gr_dt_iommu iommu[32];
    struct gr_dt_master master[32];
};

static struct seen seen;

/* Everything in a tree: the first error, or 0. The iterators must end. */
static int read_all(struct gr_dt *dt, const void *blob, size_t size)
{
    struct gr_dt_iter it[4];
    struct gr_dt_iommu i;
    struct gr_dt_master m;
    struct gr_range r;
    int rc = gr_dt_open(dt, blob, size);

    memset(it, 0, sizeof(it));
    memset(&seen, 0, sizeof(seen));
    while (rc >= 0 && (rc = gr_dt_iommu_next(dt, &it[0], &i)) > 0) {
        if (seen.iommus < 32)
            seen.iommu[seen.iommus] = i;
        seen.iommus++;
    }
    while (rc >= 0 && (rc = gr_dt_master_next(dt, &it[1], &m)) > 0) {
        if (seen.masters < 32)
            seen.master[seen.masters] = m;
        seen.masters++;
    }
    while (rc >= 0 && (rc = gr_dt_memory_next(dt, &it[2], &r)) > 0)
        assert_true(r.first <= r.last);
    while (rc >= 0 && (rc = gr_dt_reserved_next(dt, &it[3], &r)) > 0)
        assert_true(r.first <= r.last);
    return rc;
}

static void read_ok(const void *blob, size_t size)
{
    struct gr_dt dt;
    int rc = read_all(&dt, blob, size);

    if (rc != 0)
        print_error("%s\n", dt.error);
    assert_int_equal(rc, 0);
    assert_string_equal(dt.error, "");
}

static const struct gr_dt_iommu *find_iommu(const char *path)
{
    for (unsigned i = 0; i < seen.iommus; i++) {
        if (strcmp(seen.iommu[i].path, path) == 0)
            return &seen.iommu[i];
    }
    fail_msg("no IOMMU %s", path);
    return NULL;
}

static const struct gr_dt_master *find_master(const char *path)
{
    for (unsigned i = 0; i < seen.masters; i++) {
        if (strcmp(seen.master[i].path, path) == 0)
            return &seen.master[i];
    }
    fail_msg("no device %s", path);
    return NULL;
}

static void check_range(const struct gr_range *r, uint64_t first, uint64_t last)
{
    assert_int_equal(r->first, first);
    assert_int_equal(r->last, last);
}

static void check_stream(const struct gr_dt_master *m, unsigned index, const char *iommu_path,
                         uint32_t sid, uint64_t first, uint64_t last)
{
    assert_true(index < m->nstreams);
    assert_int_equal(m->streams[index].iommu, find_iommu(iommu_path)->node);
    assert_int_equal(m->streams[index].sid, sid);
    check_range(&m->streams[index].window, first, last);
}

/* ------------------------------------------------------------------ rules */

static void test_iommus(void **state)
{
    const struct gr_dt_iommu *i;

    (void)state;
    build();
    read_ok(tree, sizeof(tree));
    assert_int_equal(seen.iommus, 5);

    i = find_iommu("/soc/a@1000");
    assert_true(i->enabled && i->driver == GR_DT_DART_T8020);
    assert_string_equal(i->reason, "");
    assert_int_equal(i->reg_base, 0x200001000);
    assert_int_equal(i->reg_size, 0x4000);
    assert_int_equal(i->page_bits, 14);
    assert_int_equal(i->va_bits, 32);
    assert_int_equal(i->pa_bits, 36);
    assert_int_equal(i->streams, 16);
    assert_true(i->bypass && !i->has_aperture && i->iommu_cells == 1);
    check_range(&i->aperture, 0, 0xffffffff);

    i = find_iommu("/soc/b@2000");
    assert_true(i->driver == GR_DT_DART_T8110 && i->iommu_cells == 5);
    assert_int_equal(i->va_bits, 36);
    assert_int_equal(i->pa_bits, 42);

    i = find_iommu("/soc/c@3000");
    assert_true(!i->enabled && i->driver == GR_DT_DART_T8020 && i->reg_size == 0);

    i = find_iommu("/soc/d@4000");
    assert_true(i->enabled && i->driver == GR_DT_NONE);
    assert_string_equal(i->reason, "no driver for vendor,other-iommu");

    i = find_iommu("/soc/e@5000");
    assert_true(i->driver == GR_DT_DART_T6000); /* the first known string wins */
    assert_string_equal(i->compatible, "x,y");
    assert_int_equal(i->page_bits, 12);
    assert_int_equal(i->va_bits, 31);
    assert_int_equal(i->pa_bits, 36);
    assert_int_equal(i->streams, 8);
    assert_true(!i->bypass && i->has_aperture);
    check_range(&i->aperture, 0x1000, 0x10fff);
}

static void read_bad(const char *prop)
{
    struct gr_dt dt;

    assert_int_equal(read_all(&dt, tree, sizeof(tree)), GR_EBADMSG);
    assert_non_null(strstr(dt.error, prop));
}

/* DART.md 1 and 6: 64 streams and no bypass; four streams of 4 KiB. */
static void test_iommu_generations(void **state)
{
    const struct gr_dt_iommu *i;

    (void)state;
    build();
    set("/soc/pcie", "status", "disabled", 9);
    set("/soc/d@4000", "compatible", "apple,t8103-usb4-dart", 22);
    set_cells("/soc/blocked", "iommus", CELLS(OTHER, 63));
    read_ok(tree, sizeof(tree));
    i = find_iommu("/soc/d@4000");
    assert_true(i->enabled && i->driver == GR_DT_DART_T8103_USB4);
    assert_int_equal(i->page_bits, 14);
    assert_int_equal(i->va_bits, 32);
    assert_int_equal(i->pa_bits, 36);
    assert_int_equal(i->streams, 64);
    assert_false(i->bypass);
    set_cells("/soc/d@4000", "granule,bypass", CELLS(1));
    read_bad("granule,bypass");

    build();
    set("/soc/pcie", "status", "disabled", 9);
    set("/soc/d@4000", "compatible", "apple,s5l8960x-dart", 20);
    set_cells("/soc/blocked", "iommus", CELLS(OTHER, 3));
    read_ok(tree, sizeof(tree));
    i = find_iommu("/soc/d@4000");
    assert_true(i->enabled && i->driver == GR_DT_DART_S5L8960X);
    assert_int_equal(i->page_bits, 12);
    assert_int_equal(i->va_bits, 32);
    assert_int_equal(i->pa_bits, 36);
    assert_int_equal(i->streams, 4);
    assert_false(i->bypass || i->has_aperture);
    set_cells("/soc/d@4000", "granule,page-bits", CELLS(14));
    read_bad("granule,page-bits");

    /* DART.md 6: <0x80000000 0x40000000> is all that 30 bits can say. */
    set_cells("/soc/d@4000", "granule,page-bits", CELLS(12));
    set_cells("/soc/d@4000", "apple,dma-range", CELLS(0, 0x80000000, 0, 0x40000000));
    read_ok(tree, sizeof(tree));
    assert_int_equal(find_iommu("/soc/d@4000")->va_bits, 30);
    check_range(&find_iommu("/soc/d@4000")->aperture, 0x80000000, 0xbfffffff);
    /* Not a block by itself, or said otherwise: all bits count. */
    set_cells("/soc/d@4000", "apple,dma-range", CELLS(0, 0x80000000, 0, 0x60000000));
    read_ok(tree, sizeof(tree));
    assert_int_equal(find_iommu("/soc/d@4000")->va_bits, 31);
    set_cells("/soc/d@4000", "apple,dma-range", CELLS(0, 0x60000000, 0, 0x40000000));
    read_ok(tree, sizeof(tree));
    assert_int_equal(find_iommu("/soc/d@4000")->va_bits, 32);
    set_cells("/soc/d@4000", "apple,dma-range", CELLS(0, 0x80000000, 0, 0x40000000));
    set_cells("/soc/d@4000", "granule,va-bits", CELLS(32));
    read_ok(tree, sizeof(tree));
    assert_int_equal(find_iommu("/soc/d@4000")->va_bits, 32);
}

static void test_iommu_defaults(void **state)
{
    (void)state;
    build();
    set_cells("/soc/b@2000", "granule,page-bits", CELLS(12));
    set_cells("/soc/five", "iommus", CELLS(FIVE, 0, 0, 0x3fff0000, 0, 0x10000));
    set_cells("/soc/a@1000", "granule,va-bits", CELLS(38));
    set("/soc/d@4000", "compatible", "arm,mmu-500", 12);
    read_ok(tree, sizeof(tree));
    assert_int_equal(find_iommu("/soc/b@2000")->va_bits, 30);
    check_range(&find_iommu("/soc/a@1000")->aperture, 0, 0x3fffffffff);
    assert_string_equal(find_iommu("/soc/d@4000")->reason, "no driver for arm,mmu-500");

    /* The layout of the USB4 variant must not be taken for its second string's. */
    build();
    set("/soc/a@1000", "compatible", "apple,t8103-usb4-dart\0apple,t8103-dart", 39);
    /* A mistake in an IOMMU that we do not drive, or that is off, does no harm. */
    set_cells("/soc/d@4000", "reg", CELLS(0, 0));
    set_cells("/soc/c@3000", "granule,page-bits", CELLS(99));
    read_ok(tree, sizeof(tree));
    assert_int_equal(find_iommu("/soc/a@1000")->driver, GR_DT_DART_T8103_USB4);

    build();
    OK(fdt_delprop(tree, fdt_path_offset(tree, "/soc/d@4000"), "compatible"));
    read_ok(tree, sizeof(tree));
    assert_string_equal(find_iommu("/soc/d@4000")->reason,
                        "no driver for a node without compatible");

    /* Off by a parent: no instance and no device. */
    build();
    set("/soc", "status", "disabled", 9);
    read_ok(tree, sizeof(tree));
    assert_false(find_iommu("/soc/a@1000")->enabled);
    assert_int_equal(seen.masters, 0);
}

/* What an SMMUv3 has that DARTs have not: three granules, or none that anybody chose. */
static void test_smmuv3(void **state)
{
    static const struct {
        const char *prop;
        uint32_t value;
        const char *error;
    } rows[] = {
        {"granule,page-bits", 11,
         "/soc/d@4000: granule,page-bits is 11; give a value from 12 to 16"},
        {"granule,page-bits", 13, "/soc/d@4000: granule,page-bits is 13; give 12, 14 or 16"},
        {"granule,va-bits", 31, "/soc/d@4000: granule,va-bits is 31; give a value from 32 to 48"},
        {"granule,va-bits", 49, "/soc/d@4000: granule,va-bits is 49; give a value from 32 to 48"},
        {"granule,pa-bits", 40, "/soc/d@4000: granule,pa-bits is 40; give 36 or 44"},
        {"granule,streams", 65537,
         "/soc/d@4000: granule,streams is 65537; give a value from 1 to 65536"},
    };
    const struct gr_dt_iommu *i;
    struct gr_dt dt;

    (void)state;
    build();
    set("/soc/d@4000", "compatible", "arm,smmu-v3", 12);
    read_ok(tree, sizeof(tree));
    i = find_iommu("/soc/d@4000");
    assert_true(i->enabled && i->driver == GR_DT_SMMUV3);
    assert_int_equal(i->page_bits, 0);
    assert_int_equal(i->va_bits, 48);
    assert_int_equal(i->pa_bits, 44);
    assert_int_equal(i->streams, 65536);
    check_range(&i->aperture, 0, 0xffffffffffff);
    assert_int_equal(find_master("/soc/pcie/rid@500")->nstreams, 1); /* of a whole bus */
    for (unsigned bits = 12; bits <= 16; bits += 2) {
        set_cells("/soc/d@4000", "granule,page-bits", CELLS(bits));
        read_ok(tree, sizeof(tree));
        assert_int_equal(find_iommu("/soc/d@4000")->page_bits, bits);
    }
    set_cells("/soc/pcie", "iommu-map", CELLS(0x500, OTHER, 9, 8));
    read_ok(tree, sizeof(tree));
    assert_int_equal(find_master("/soc/pcie/rid@500")->nstreams, 8);
    for (unsigned k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
        build();
        set("/soc/d@4000", "compatible", "arm,smmu-v3", 12);
        set_cells("/soc/d@4000", rows[k].prop, CELLS(rows[k].value));
        assert_int_equal(read_all(&dt, tree, sizeof(tree)), GR_EBADMSG);
        assert_string_equal(dt.error, rows[k].error);
    }
}

static void test_masters(void **state)
{
    const struct gr_dt_master *m;

    (void)state;
    build();
    read_ok(tree, sizeof(tree));
    assert_int_equal(seen.masters, 11);

    m = find_master("/soc/one");
    assert_int_equal(m->nstreams, 1);
    check_stream(m, 0, "/soc/a@1000", 15, 0, 0xffffffff);
    assert_true(m->coherent && !m->untrusted);
    assert_int_equal(m->nreserved, 0);
    check_range(&m->dma, 0, 0xffffffbfff);

    m = find_master("/soc/two");
    assert_int_equal(m->nstreams, 2);
    check_stream(m, 0, "/soc/a@1000", 0, 0, 0xffffffff);
    check_stream(m, 1, "/soc/e@5000", 7, 0x1000, 0x10fff);

    m = find_master("/soc/five");
    assert_int_equal(m->nstreams, 2);
    check_stream(m, 0, "/soc/b@2000", 2, 0x880000000, 0x8ffffffff);
    check_stream(m, 1, "/soc/b@2000", 3, 0, 0x3fff);

    m = find_master("/soc/half");
    assert_int_equal(m->nstreams, 1);
    check_stream(m, 0, "/soc/a@1000", 5, 0, 0xffffffff);

    m = find_master("/soc/blocked");
    check_stream(m, 0, "/soc/d@4000", 99, 0, UINT64_MAX);

    m = find_master("/soc/sub/plugged");
    assert_true(!m->coherent && m->untrusted);
    m = find_master("/soc/sub/coherent");
    assert_true(m->coherent && m->untrusted);
}

static void test_pcie(void **state)
{
    const struct gr_dt_master *m;

    (void)state;
    build();
    read_ok(tree, sizeof(tree));

    /* The outermost bridge that holds the bus, though it is disabled; two entries share it. */
    m = find_master("/soc/pcie/pci@0,0");
    check_stream(m, 0, "/soc/a@1000", 1, 0, 0xffffffff);
    assert_int_equal(m->nstreams, 1);
    assert_false(m->untrusted);
    assert_int_equal(m->nreserved, 3);
    check_range(&m->reserved[0], 0x80000000, 0x80ffffff);
    check_range(&m->reserved[1], 0x400000000, 0x400ffffff);
    check_range(&m->reserved[2], 0xfffff000, 0xffffffff);
    check_stream(m + 1, 0, "/soc/a@1000", 2, 0, 0xffffffff);
    assert_string_equal(m[1].path, m->path);

    m = find_master("/soc/pcie/bus/pci@1,0");
    assert_true(m->untrusted);
    assert_int_equal(m->nstreams, 2);
    check_stream(m, 0, "/soc/e@5000", 4, 0x1000, 0x10fff);
    check_stream(m, 1, "/soc/e@5000", 5, 0x1000, 0x10fff);

    /* No port, no driver. */
    m = find_master("/soc/pcie/rid@500");
    assert_int_equal(m->nstreams, 1);
    check_stream(m, 0, "/soc/d@4000", 9, 0, UINT64_MAX);

    /* A mask that folds RIDs: 0x100 and 0x101 are all that is left of the entry. */
    build();
    set_cells("/soc/pcie", "iommu-map", CELLS(0x100, T8103, 4, 8));
    set_cells("/soc/pcie", "iommu-map-mask", CELLS(0xff01));
    OK(fdt_delprop(tree, fdt_path_offset(tree, "/soc/pcie"), "msi-controller"));
    read_ok(tree, sizeof(tree));
    m = find_master("/soc/pcie/pci@0,0");
    assert_int_equal(m->nstreams, 2);
    check_stream(m, 1, "/soc/a@1000", 5, 0, 0xffffffff);
    assert_int_equal(m->nreserved, 2);

    /* Where the mask hides the bus, any port may be in front, also the external one. */
    build();
    set_cells("/soc/pcie", "iommu-map", CELLS(0, T8103, 4, 1));
    set_cells("/soc/pcie", "iommu-map-mask", CELLS(0));
    read_ok(tree, sizeof(tree));
    m = find_master("/soc/pcie/rid@0");
    assert_true(m->untrusted);
    assert_int_equal(m->nstreams, 1);

    /* A bridge that is off has no devices. */
    build();
    set("/soc/pcie", "status", "disabled", 9);
    read_ok(tree, sizeof(tree));
    assert_int_equal(seen.masters, 7);
}

/* What is written out although it need not be, and what is allowed though seldom met. */
static void test_seldom(void **state)
{
    static const char many[] = "c0\0c1\0c2\0c3\0c4\0c5\0c6\0c7\0apple,t8103-dart";
    const struct gr_dt_iommu *i;
    const struct gr_dt_master *m;

    (void)state;
    build();
    set("/soc/one", "status", "ok", 3);
    set_cells("/soc/b@2000", "granule,page-bits", CELLS(14));
    set_cells("/soc/b@2000", "granule,pa-bits", CELLS(42));
    set_cells("/soc/b@2000", "apple,dma-range", CELLS(8, 0x40000000, 1, 0));
    set_cells("/soc/five", "iommus", CELLS(FIVE, 2, 8, 0, 1, 0));
    set_cells("/soc/d@4000", "#iommu-cells", CELLS(0));
    set_cells("/soc/blocked", "iommus", CELLS(OTHER, T8103, 1));
    set_cells("/soc/pcie", "iommu-map", CELLS(0x100, T8103, 1, 1));
    read_ok(tree, sizeof(tree));
    check_stream(find_master("/soc/one"), 0, "/soc/a@1000", 15, 0, 0xffffffff);
    i = find_iommu("/soc/b@2000");
    assert_int_equal(i->page_bits, 14);
    assert_int_equal(i->pa_bits, 42);
    check_stream(find_master("/soc/five"), 0, "/soc/b@2000", 2, 0x840000000, 0x8ffffffff);
    m = find_master("/soc/blocked");
    assert_int_equal(m->nstreams, 2);
    check_stream(m, 0, "/soc/d@4000", 0, 0, UINT64_MAX);
    check_stream(m, 1, "/soc/a@1000", 1, 0, 0xffffffff);

    /* The first eight strings are looked at. */
    build();
    set("/soc/e@5000", "compatible", many, sizeof(many));
    read_ok(tree, sizeof(tree));
    assert_string_equal(find_iommu("/soc/e@5000")->reason, "no driver for c0");
    set("/soc/e@5000", "compatible", many + 3, sizeof(many) - 3);
    read_ok(tree, sizeof(tree));
    assert_int_equal(find_iommu("/soc/e@5000")->driver, GR_DT_DART_T8020);

    /* A host bridge that is a device itself keeps out of its own windows. */
    build();
    set("/soc/one", "device_type", "pci", 4);
    set_cells("/soc/one", "#address-cells", CELLS(3));
    set_cells("/soc/one", "#size-cells", CELLS(2));
    set_cells("/soc/one", "ranges", CELLS(0x02000000, 0, 0x1000, 0, 0x1000, 0, 0x1000));
    read_ok(tree, sizeof(tree));
    m = find_master("/soc/one");
    assert_int_equal(m->nreserved, 1);
    check_range(&m->reserved[0], 0x1000, 0x1fff);
    set_cells("/soc/one", "#address-cells", CELLS(2));
    assert_int_equal(read_all(&(struct gr_dt){0}, tree, sizeof(tree)), GR_EBADMSG);
}

static void test_dma_ranges(void **state)
{
    const struct gr_dt_master *m;

    (void)state;
    build();
    set_cells("/soc/five", "iommus", CELLS(FIVE, 0, 0, 0, 0, 0x10000));
    set_cells("/soc", "dma-ranges",
              CELLS(0, 0x3000, 0, 0x3000, 0, 0x1000, /* not sorted */
                    0, 0x1000, 0, 0x1000, 0, 0x1000, /* touches the next */
                    0, 0x2000, 0, 0x2000, 0, 0x800));
    read_ok(tree, sizeof(tree));
    m = find_master("/soc/one");
    check_range(&m->dma, 0x1000, 0x3fff);
    assert_int_equal(m->nreserved, 1);
    check_range(&m->reserved[0], 0x2800, 0x2fff);

    build();
    set("/soc", "dma-ranges", NULL, 0);
    set_cells("/soc/pcie", "dma-ranges", CELLS(0x02000000, 0, 0, 0, 0, 0, 0x80000000));
    read_ok(tree, sizeof(tree));
    check_range(&find_master("/soc/one")->dma, 0, UINT64_MAX);
    check_range(&find_master("/soc/pcie/pci@0,0")->dma, 0, 0x7fffffff);
    check_range(&find_master("/soc/pcie/rid@500")->dma, 0, 0x7fffffff);
}

/* What only the tree's author knows of hardware and devices. */
static void test_own(void **state)
{
    static const struct {
        const char *text;
        enum gr_dt_mode mode;
    } modes[] = {{"translated", GR_DT_MODE_TRANSLATED},
                 {"linear", GR_DT_MODE_LINEAR},
                 {"identity", GR_DT_MODE_IDENTITY},
                 {"blocked", GR_DT_MODE_BLOCKED}};
    const struct gr_dt_master *m;

    (void)state;
    build();
    read_ok(tree, sizeof(tree));
    assert_false(find_iommu("/soc/a@1000")->window_verified);
    m = find_master("/soc/one");
    assert_int_equal(m->mode, GR_DT_MODE_ANY);
    assert_int_equal(m->access_unit, 0);
    assert_int_equal(m->overread, 0);
    set("/soc/a@1000", "granule,window-verified", NULL, 0);
    set_cells("/soc/one", "granule,access-unit", CELLS(4096));
    set_cells("/soc/one", "granule,overread", CELLS(4096));
    set_cells("/soc/two", "granule,access-unit", CELLS(1));
    set_cells("/soc/two", "granule,overread", CELLS(0));
    for (unsigned i = 0; i < 4; i++) {
        set("/soc/one", "granule,dma-mode", modes[i].text, strlen(modes[i].text) + 1);
        /* Of a PCI device: on its port, or on the host bridge where there is none. */
        set("/soc/pcie/pci@0,0", "granule,dma-mode", modes[3 - i].text,
            strlen(modes[3 - i].text) + 1);
        set("/soc/pcie", "granule,dma-mode", modes[i].text, strlen(modes[i].text) + 1);
        read_ok(tree, sizeof(tree));
        m = find_master("/soc/one");
        assert_int_equal(m->mode, modes[i].mode);
        assert_int_equal(m->access_unit, 4096);
        assert_int_equal(m->overread, 4096);
        assert_int_equal(find_master("/soc/two")->access_unit, 1);
        assert_int_equal(find_master("/soc/two")->mode, GR_DT_MODE_ANY);
        assert_int_equal(find_master("/soc/pcie/pci@0,0")->mode, modes[3 - i].mode);
        assert_int_equal(find_master("/soc/pcie/rid@500")->mode, modes[i].mode);
    }
    assert_true(find_iommu("/soc/a@1000")->window_verified);
    assert_false(find_iommu("/soc/b@2000")->window_verified);
}

static void test_memory(void **state)
{
    static const struct gr_range banks[] = {
        {0x80000000, 0x80ffffff}, {0xfffffffffffff000, UINT64_MAX}, {0, 0xfff}};
    static const struct gr_range reserved[] = {
        {0x80010000, 0x80010fff}, {0x80020000, 0x80021000}, {0x80050000, 0x80050fff}};
    struct gr_dt_iter it = {0};
    struct gr_dt dt;
    struct gr_range r;

    (void)state;
    build();
    OK(gr_dt_open(&dt, tree, sizeof(tree)));
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(gr_dt_memory_next(&dt, &it, &r), 1);
        check_range(&r, banks[i].first, banks[i].last);
    }
    assert_int_equal(gr_dt_memory_next(&dt, &it, &r), 0);
    assert_int_equal(gr_dt_memory_next(&dt, &it, &r), 0);
    memset(&it, 0, sizeof(it));
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(gr_dt_reserved_next(&dt, &it, &r), 1);
        check_range(&r, reserved[i].first, reserved[i].last);
    }
    assert_int_equal(gr_dt_reserved_next(&dt, &it, &r), 0);
    assert_int_equal(gr_dt_reserved_next(&dt, &it, &r), 0);
}

/* ------------------------------------------------------------------ errors */

#define C(...) {__VA_ARGS__}, sizeof((uint32_t[]){__VA_ARGS__}) / 4, NULL, 0
#define TEXT(s) {0}, 0, s, sizeof(s)
#define BYTES(s, n) {0}, 0, s, n
#define GONE {0}, 0, NULL, 1

/* One change to the tree and the whole sentence that must follow. */
static const struct mistake {
    const char *path;
    const char *prop;
    uint32_t cells[36];
    size_t n;
    const char *bytes;
    size_t len; /* with neither cells nor bytes: 1 deletes, 0 makes it empty */
    const char *sentence;
} mistakes[] = {
    {"/soc/a@1000", "reg", GONE,
     "/soc/a@1000: reg is missing; give address and size of the registers"},
    {"/soc/a@1000", "reg", C(0, 0x1000, 0, 0),
     "/soc/a@1000: reg has size 0; give the size of the register block"},
    {"/soc/a@1000", "reg", C(0, 0x1000, 0),
     "/soc/a@1000: reg has 3 cells, not a multiple of the 4 of an entry; give 2 of address and 2 "
     "of "
     "size"},
    {"/soc/a@1000", "reg", BYTES(NULL, 0),
     "/soc/a@1000: reg has 0 cells, not a multiple of the 4 of an entry; give 2 of address and 2 "
     "of "
     "size"},
    {"/soc/a@1000", "reg", TEXT("abcd0"),
     "/soc/a@1000: reg has 6 bytes, not a whole number of 32-bit cells; write cells"},
    {"/soc/a@1000", "reg", C(0xffffffff, 0xfffff000, 0, 0x2000),
     "/soc/a@1000: reg 0xfffffffffffff000 with size 0x2000 passes the end of the address space; "
     "correct it"},
    {"/soc/a@1000", "reg", C(1, 0, 0, 0x4000),
     "/soc/a@1000: reg 0x100000000 lies outside the ranges of its bus; correct either"},
    {"/soc/a@1000", "reg", C(0, 0xfffff000, 0, 0x2000),
     "/soc/a@1000: reg 0xfffff000 lies outside the ranges of its bus; correct either"},
    {"/soc/a@1000", "#iommu-cells", C(2),
     "/soc/a@1000: #iommu-cells is 2; give 1 (SID) or 5 (SID, start, size)"},
    {"/soc/a@1000", "#iommu-cells", C(1, 1), "/soc/a@1000: #iommu-cells has 2 cells; give one"},
    {"/soc/a@1000", "#iommu-cells", TEXT("12"),
     "/soc/a@1000: #iommu-cells has 3 bytes, not a whole number of 32-bit cells; write cells"},
    {"/soc/d@4000", "#iommu-cells", C(9), "/soc/d@4000: #iommu-cells is 9; give 8 at most"},
    {"/soc/a@1000", "compatible", BYTES("apple,t8103-dart", 5),
     "/soc/a@1000: compatible does not end with a NUL; write strings"},
    {"/soc/a@1000", "compatible", TEXT("\x1b[2J"),
     "/soc/a@1000: compatible is not printable; write text"},
    {"/soc/a@1000", "compatible",
     TEXT("a-name-that-is-longer-than-any-compatible-string-may-ever-be-here-1"),
     "/soc/a@1000: compatible has a string of more than 63 characters; shorten it"},
    {"/soc/a@1000", "granule,page-bits", C(13),
     "/soc/a@1000: granule,page-bits is 13; give 12 or 14"},
    {"/soc/a@1000", "granule,page-bits", C(12, 14),
     "/soc/a@1000: granule,page-bits has 2 cells; give one"},
    {"/soc/a@1000", "granule,va-bits", C(14),
     "/soc/a@1000: granule,va-bits is 14; give a value from 15 to 38"},
    {"/soc/a@1000", "granule,va-bits", C(39),
     "/soc/a@1000: granule,va-bits is 39; give a value from 15 to 38"},
    {"/soc/b@2000", "granule,va-bits", C(49),
     "/soc/b@2000: granule,va-bits is 49; give a value from 15 to 48"},
    {"/soc/a@1000", "granule,pa-bits", C(42), "/soc/a@1000: granule,pa-bits is 42; give 36"},
    {"/soc/b@2000", "granule,pa-bits", C(40), "/soc/b@2000: granule,pa-bits is 40; give 36 or 42"},
    {"/soc/a@1000", "granule,streams", C(17),
     "/soc/a@1000: granule,streams is 17; give a value from 1 to 16"},
    {"/soc/e@5000", "granule,streams", C(17),
     "/soc/e@5000: granule,streams is 17; give a value from 1 to 16"},
    {"/soc/b@2000", "granule,streams", C(257),
     "/soc/b@2000: granule,streams is 257; give a value from 1 to 256"},
    {"/soc/b@2000", "granule,streams", C(0),
     "/soc/b@2000: granule,streams is 0; give a value from 1 to 256"},
    {"/soc/a@1000", "granule,strems", C(8),
     "/soc/a@1000: granule,strems is not known; give one of granule,page-bits, -va-bits, -pa-bits, "
     "-streams, -bypass, -window-verified and -firmware"},
    {"/soc/b@2000", "granule,", C(8),
     "/soc/b@2000: granule, is not known; give one of granule,page-bits, -va-bits, -pa-bits, "
     "-streams, -bypass, -window-verified and -firmware"},
    {"/soc/b@2000", "granule,bypass2", C(0),
     "/soc/b@2000: granule,bypass2 is not known; give one of granule,page-bits, -va-bits, "
     "-pa-bits, "
     "-streams, -bypass, -window-verified and -firmware"},
    {"/soc/a@1000", "granule,window-verified", C(0),
     "/soc/a@1000: granule,window-verified has a value; leave it empty, or remove it"},
    {"/soc/a@1000", "granule,window-verified", BYTES("yes", 3),
     "/soc/a@1000: granule,window-verified has a value; leave it empty, or remove it"},
    {"/soc/one", "granule,dma-mode", TEXT("bypass"),
     "/soc/one: granule,dma-mode is none that there is; give \"translated\", \"linear\", "
     "\"identity\" or \"blocked\""},
    {"/soc/one", "granule,dma-mode", BYTES(NULL, 0),
     "/soc/one: granule,dma-mode is none that there is; give \"translated\", \"linear\", "
     "\"identity\" or \"blocked\""},
    {"/soc/one", "granule,dma-mode", BYTES("linear", 6),
     "/soc/one: granule,dma-mode is none that there is; give \"translated\", \"linear\", "
     "\"identity\" or \"blocked\""},
    {"/soc/one", "granule,access-unit", C(0),
     "/soc/one: granule,access-unit is 0; give a power of two from 1 to 4096"},
    {"/soc/one", "granule,access-unit", C(24),
     "/soc/one: granule,access-unit is 24; give a power of two from 1 to 4096"},
    {"/soc/one", "granule,access-unit", C(8192),
     "/soc/one: granule,access-unit is 8192; give a power of two from 1 to 4096"},
    {"/soc/one", "granule,access-unit", C(0, 8),
     "/soc/one: granule,access-unit has 2 cells; give one"},
    {"/soc/one", "granule,overread", C(4097),
     "/soc/one: granule,overread is 4097; give a value from 0 to 4096"},
    {"/soc/one", "granule,overread", C(0, 8), "/soc/one: granule,overread has 2 cells; give one"},
    {"/soc/pcie/pci@0,0", "granule,access_unit", C(8),
     "/soc/pcie/pci@0,0: granule,access_unit is not known; give one of granule,dma-mode, "
     "-access-unit and -overread"},
    {"/soc/a@1000", "granule,bypass", C(2),
     "/soc/a@1000: granule,bypass is 2; give a value from 0 to 1"},
    {"/soc/a@1000", "apple,dma-range", C(0, 0x1000),
     "/soc/a@1000: apple,dma-range has 2 cells; give four, start and size of 64 bits each"},
    {"/soc/a@1000", "apple,dma-range", C(0, 0, 0, 0),
     "/soc/a@1000: apple,dma-range has a size that is zero or passes the end of the address space; "
     "correct it"},
    {"/soc/a@1000", "apple,dma-range", C(0xffffffff, 0xffffc000, 0, 0x8000),
     "/soc/a@1000: apple,dma-range has a size that is zero or passes the end of the address space; "
     "correct it"},
    {"/soc/a@1000", "apple,dma-range", C(0, 0x80000000, 0, 0x80004000),
     "/soc/a@1000: apple,dma-range spans more than one aligned block of 2^32 bytes, all that this "
     "IOMMU decodes; shorten it"},
    {"/soc/a@1000", "apple,dma-range", C(0, 0x2000, 0, 0x4000),
     "/soc/a@1000: apple,dma-range holds no whole page of 2^14 bytes; widen it"},
    {"/soc/one",
     "iommus",
     {0},
     0,
     NULL,
     0,
     "/soc/one: iommus is empty; name an IOMMU or remove it"},
    {"/soc/a@1000", "granule,firmware", TEXT("lokced"),
     "/soc/a@1000: granule,firmware is not \"off\", \"translating\" or, where the hardware can, "
     "\"bypass\" or \"locked\"; give one of these"},
    {"/soc/e@5000", "granule,firmware", TEXT("bypass"),
     "/soc/e@5000: granule,firmware is not \"off\", \"translating\" or, where the hardware can, "
     "\"bypass\" or \"locked\"; give one of these"},
    {"/soc/one", "memory-region", C(99),
     "/soc/one: memory-region names phandle 0x63, which no node has; correct it"},
    {"/soc/one", "memory-region", BYTES("abc", 3),
     "/soc/one: memory-region has 3 bytes, not a whole number of 32-bit cells; write cells"},
    {"/reserved-memory/fb", "iommu-addresses", BYTES("abc", 3),
     "/reserved-memory/fb: iommu-addresses has 3 bytes, not a whole number of 32-bit cells; write "
     "cells"},
    {"/reserved-memory/fb", "iommu-addresses", C(ONE, 0, 0, 0),
     "/reserved-memory/fb: iommu-addresses ends within an entry, which has 5 cells here; complete "
     "it"},
    {"/reserved-memory/fb", "iommu-addresses", C(PLUGGED, 0, 0),
     "/reserved-memory/fb: iommu-addresses ends within an entry, which has 4 cells here; complete "
     "it"},
    {"/reserved-memory/fb", "iommu-addresses", C(77, 0, 0, 0, 0),
     "/reserved-memory/fb: iommu-addresses names phandle 0x4d, which no node has; correct it"},
    {"/reserved-memory/fb", "iommu-addresses", C(ONE, 0, 0, 0, 0),
     "/reserved-memory/fb: iommu-addresses gives /soc/one a size that is zero or passes the end of "
     "the address space; correct it"},
    {"/reserved-memory/fb", "iommu-addresses", C(ONE, 0xffffffff, 0xfffff000, 0, 0x1001),
     "/reserved-memory/fb: iommu-addresses gives /soc/one a size that is zero or passes the end of "
     "the address space; correct it"},
    {"/reserved-memory/fb", "iommu-addresses", C(ONE, 0, 0, 0, 0x1002),
     "/reserved-memory/fb: iommu-addresses gives /soc/one more than the 0x1001 bytes of reg; "
     "shorten it"},
    {"/reserved-memory/fb", "iommu-addresses", C(ONE, 0xff, 0xffffb001, 0, 0x1001),
     "/reserved-memory/fb: iommu-addresses has an IOVA of 0xffffffb001, which dma-ranges above "
     "/soc/one do not let through; correct either"},
    {"/reserved-memory/fb", "reg", C(0xffffffff, 0xfffff000, 0x2000),
     "/reserved-memory/fb: reg 0xfffffffffffff000 with size 0x2000 passes the end of the address "
     "space; correct it"},
    {"/soc", "#size-cells", C(3), "/soc: #size-cells is 3; give 0, 1 or 2"},
    {"/soc/sub", "#size-cells", C(3), "/soc/sub: #size-cells is 3; give 0, 1 or 2"},
    {"/soc/one", "iommus", C(77, 0),
     "/soc/one: iommus names phandle 0x4d, which no node has; name an IOMMU"},
    {"/soc/one", "iommus", C(0, 0),
     "/soc/one: iommus names phandle 0x0, which no node has; name an IOMMU"},
    {"/soc/one", "iommus", C(T8103),
     "/soc/one: iommus ends within the entry of /soc/a@1000, whose #iommu-cells is 1; complete the "
     "entry"},
    {"/soc/one", "iommus", C(T8103, 0, FIVE, 1, 2),
     "/soc/one: iommus ends within the entry of /soc/b@2000, whose #iommu-cells is 5; complete the "
     "entry"},
    {"/soc/one", "iommus", BYTES("abc", 3),
     "/soc/one: iommus has 3 bytes, not a whole number of 32-bit cells; write cells"},
    {"/soc/one", "iommus", C(T8103, 16),
     "/soc/one: iommus names stream 16 of /soc/a@1000, which has streams 0 to 15; correct the "
     "stream or give granule,streams"},
    {"/soc/one", "iommus",
     C(T8103, 0, T8103, 1, T8103, 2, T8103, 3, T8103, 4, T8103, 5, T8103, 6, T8103, 7, T8103, 8),
     "/soc/one: iommus gives more than 8 streams to one device; give fewer"},
    {"/soc/one", "iommus", C(SART, 0),
     "/soc/one: iommus names iommu@6000, which is not an IOMMU: it lacks #iommu-cells; name an "
     "IOMMU"},
    {"/soc/five", "iommus", C(FIVE, 16, 0, 0, 0, 0x4000),
     "/soc/five: iommus names stream 16 of /soc/b@2000, which has streams 0 to 15; correct the "
     "stream or give granule,streams"},
    {"/soc/five", "iommus", C(FIVE, 1, 0, 0, 0, 0),
     "/soc/five: iommus gives /soc/b@2000 a window whose size is zero or passes the end of the "
     "address space; correct it"},
    {"/soc/five", "iommus", C(FIVE, 1, 0xffffffff, 0xffffc000, 0, 0x8000),
     "/soc/five: iommus gives /soc/b@2000 a window whose size is zero or passes the end of the "
     "address space; correct it"},
    {"/soc/five", "iommus", C(FIVE, 1, 0, 0x1000, 0, 0x4000),
     "/soc/five: iommus gives /soc/b@2000 a window that is not in whole pages of 2^14 bytes; round "
     "it"},
    {"/soc/five", "iommus", C(FIVE, 1, 0, 0, 0, 0x5000),
     "/soc/five: iommus gives /soc/b@2000 a window that is not in whole pages of 2^14 bytes; round "
     "it"},
    {"/soc/five", "iommus", C(FIVE, 1, 0, 0x4000, 0x10, 0),
     "/soc/five: iommus gives /soc/b@2000 a window beyond one aligned block of 2^36 bytes, all "
     "that it decodes; shorten it"},
    {"/soc/five", "iommus", C(FIVE, 1, 0, 0, 0, 0x4000, FIVE, 1, 0, 0x4000, 0, 0x4000),
     "/soc/five: iommus gives stream 1 of /soc/b@2000 windows that share nothing; let them "
     "overlap"},
    {"/soc/b@2000", "apple,dma-range", C(0, 0, 0, 0x4000),
     "/soc/five: iommus gives /soc/b@2000 a window outside its apple,dma-range; let them overlap"},
    {"/soc/pcie", "iommu-map", C(0x100, T8103, 1),
     "/soc/pcie: iommu-map has 3 cells, not a multiple of the 4 of an entry; give RID base, IOMMU, "
     "SID base and length"},
    {"/soc/pcie",
     "iommu-map",
     {0},
     0,
     NULL,
     0,
     "/soc/pcie: iommu-map has 0 cells, not a multiple of the 4 of an entry; give RID base, IOMMU, "
     "SID base and length"},
    {"/soc/pcie", "iommu-map", BYTES("abc", 3),
     "/soc/pcie: iommu-map has 3 bytes, not a whole number of 32-bit cells; write cells"},
    {"/soc/pcie", "iommu-map", C(0x100, 77, 1, 1),
     "/soc/pcie: iommu-map names phandle 0x4d, which no node has; name an IOMMU"},
    {"/soc/pcie", "iommu-map", C(0x100, T8103, 16, 1),
     "/soc/pcie: iommu-map names stream 16 of /soc/a@1000, which has streams 0 to 15; correct the "
     "stream or give granule,streams"},
    {"/soc/pcie", "iommu-map", C(0x100, T8103, 1, 0),
     "/soc/pcie: iommu-map entry 0 covers no RIDs or some above 0xffff; correct RID base or "
     "length"},
    {"/soc/pcie", "iommu-map", C(0x10000, T8103, 1, 1),
     "/soc/pcie: iommu-map entry 0 covers no RIDs or some above 0xffff; correct RID base or "
     "length"},
    {"/soc/pcie", "iommu-map", C(0xffff, T8103, 1, 2),
     "/soc/pcie: iommu-map entry 0 covers no RIDs or some above 0xffff; correct RID base or "
     "length"},
    {"/soc/pcie", "iommu-map", C(0x100, T8103, 0, 9),
     "/soc/pcie: iommu-map gives more than 8 streams to one device; give fewer"},
    {"/soc/pcie", "iommu-map", C(0x100, T8103, 0xffffffff, 2),
     "/soc/pcie: iommu-map entry 0 has streams above 0xffffffff; correct SID base or length"},
    {"/soc/pcie", "iommu-map", C(0x100, FIVE, 1, 1),
     "/soc/pcie: iommu-map names /soc/b@2000, whose #iommu-cells is 5; it can only name one with "
     "1"},
    {"/soc/pcie", "iommu-map-mask", C(0xfe00),
     "/soc/pcie: iommu-map-mask 0xfe00 hides RID base 0x100 of entry 0 of iommu-map, which can "
     "never match; correct either"},
    {"/soc/pcie", "iommu-map-mask", C(0, 0), "/soc/pcie: iommu-map-mask has 2 cells; give one"},
    {"/soc/pcie/pci@0,0", "bus-range", BYTES("abc", 3),
     "/soc/pcie/pci@0,0: bus-range has 3 bytes, not a whole number of 32-bit cells; write cells"},
    {"/soc/pcie/pci@0,0", "bus-range", C(1),
     "/soc/pcie/pci@0,0: bus-range is not two bus numbers up to 255 in order; give first and last "
     "bus"},
    {"/soc/pcie/pci@0,0", "bus-range", C(2, 1),
     "/soc/pcie/pci@0,0: bus-range is not two bus numbers up to 255 in order; give first and last "
     "bus"},
    {"/soc/pcie/pci@0,0", "bus-range", C(0, 256),
     "/soc/pcie/pci@0,0: bus-range is not two bus numbers up to 255 in order; give first and last "
     "bus"},
    {"/soc/pcie", "#address-cells", C(3, 3), "/soc/pcie: #address-cells has 2 cells; give one"},
    {"/soc/pcie", "#address-cells", C(2),
     "/soc/pcie: #address-cells is 2 on a PCI host bridge; give 3"},
    {"/soc/pcie", "#address-cells", C(4),
     "/soc/pcie: #address-cells is 4 on a PCI host bridge; give 3"},
    {"/soc/pcie", "ranges", C(0x02000000, 0, 0, 0, 0, 0),
     "/soc/pcie: ranges has 6 cells, not a multiple of the 7 of an entry; give child address, "
     "parent "
     "address and size"},
    {"/soc/pcie", "ranges", C(0x02000000, 0, 0, 0, 0, 0, 0),
     "/soc/pcie: ranges entry 0 has a size of 0x0, which is zero or passes the end of the address "
     "space; correct the size"},
    {"/soc/pcie", "ranges", C(0x03000000, 0xffffffff, 0xffffffff, 0, 0, 0, 2),
     "/soc/pcie: ranges entry 0 has a size of 0x2, which is zero or passes the end of the address "
     "space; correct the size"},
    {"/soc", "dma-ranges", C(0, 0, 0, 0x1000, 0, 0x1000),
     "/soc: dma-ranges moves 0x0 to 0x1000, but only 1:1 is supported; make both equal"},
    {"/soc", "dma-ranges", C(0, 0, 0, 0),
     "/soc: dma-ranges has 4 cells, not a multiple of the 6 of an entry; give child address, "
     "parent "
     "address and size"},
    {"/soc", "dma-ranges", C(0, 0, 0, 0, 0, 0),
     "/soc: dma-ranges entry 0 has a size of 0x0, which is zero or passes the end of the address "
     "space; correct the size"},
    {"/soc", "dma-ranges", C(1, 0, 1, 0, 0, 0x1000),
     "/soc/one: dma-ranges of the buses above let nothing of the IOMMU's aperture through; let "
     "them overlap"},
    {"/soc/pcie", "dma-ranges", C(0, 0x100, 0, 0x100, 0, 0, 0x1000),
     "/soc: dma-ranges shares no address with those of the buses above; let them overlap"},
    {"/soc", "#size-cells", C(3), "/soc: #size-cells is 3; give 0, 1 or 2"},
    {"/soc", "ranges", C(0, 0, 2, 0, 0, 0),
     "/soc: ranges entry 0 has a size of 0x0, which is zero or passes the end of the address "
     "space; correct the size"},
    {"/soc", "ranges", C(0, 0, 0xffffffff, 0xfffff000, 1, 0),
     "/soc: ranges entry 0 has a size of 0x100000000, which is zero or passes the end of the "
     "address space; correct the size"},
    {"/soc", "ranges", GONE,
     "/soc: ranges is missing, so that the CPU cannot reach what is below; give it"},
    {"/soc/sub",
     "dma-coherent",
     {0},
     0,
     NULL,
     0,
     "/soc/sub: dma-coherent and dma-noncoherent contradict each other; remove one"},
    {"/memory@80000000", "reg", GONE,
     "/memory@80000000: reg is missing; give base and size of the RAM"},
    {"/memory@80000000", "reg", C(0, 0x80000000, 0, 0),
     "/memory@80000000: reg has a bank of size 0; give the size of the RAM fitted"},
    {"/memory@80000000", "reg", C(0, 0x80000000, 0),
     "/memory@80000000: reg has 3 cells, not a multiple of the 4 of an entry; give 2 of address "
     "and 2 "
     "of size"},
    {"/memory@80000000", "reg", C(0xffffffff, 0xfffff000, 0, 0x2000),
     "/memory@80000000: reg 0xfffffffffffff000 with size 0x2000 passes the end of the address "
     "space; correct it"},
    {"/memory@80000000", "reg", C(0, 0x80000000, 0, 0x1000, 0, 0x80000fff, 0, 0x1000),
     "/memory@80000000: reg has a bank at 0x80000fff that overlaps another bank; correct base or "
     "size"},
    {"/memory@0", "reg", C(0, 0x80fff000, 0, 0x1000),
     "/memory@0: reg has a bank at 0x80fff000 that overlaps another bank; correct base or size"},
    {"/reserved-memory", "ranges", GONE,
     "/reserved-memory: ranges is missing, so that the CPU cannot reach what is below; give it"},
    {"/reserved-memory/map", "reg", C(0xffffffff, 0xfffff000, 0x2000),
     "/reserved-memory/map: reg 0xfffffffffffff000 with size 0x2000 passes the end of the address "
     "space; correct it"},
    {"/reserved-memory/map", "reg", C(0),
     "/reserved-memory/map: reg has 1 cells, not a multiple of the 3 of an entry; give 2 of "
     "address "
     "and 1 of size"},
    {"/reserved-memory", "#address-cells", C(0),
     "/reserved-memory: #address-cells is 0; give 1 or 2, or 3 on a PCI bus"},
};

static void apply(const struct mistake *m)
{
    if (m->n != 0)
        set_cells(m->path, m->prop, m->cells, m->n);
    else if (m->bytes == NULL && m->len == 1)
        OK(fdt_delprop(tree, fdt_path_offset(tree, m->path), m->prop));
    else
        set(m->path, m->prop, m->bytes, m->len);
}

static void test_mistakes(void **state)
{
    struct gr_dt dt;
    unsigned wrong = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        const struct mistake *m = &mistakes[i];
        int rc;

        build();
        build_regions();
        apply(m);
        rc = read_all(&dt, tree, sizeof(tree));
        if (rc != GR_EBADMSG || strcmp(dt.error, m->sentence) != 0) {
            print_error("%s %s: %d\n  got  %s\n  want %s\n", m->path, m->prop, rc, dt.error,
                        m->sentence);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

/* DART.md 10, with the readers' mistakes left out. */
static void test_regions(void **state)
{
    const struct gr_dt_master *m;
    struct gr_dt dt;

    (void)state;
    build();
    build_regions();
    OK(read_all(&dt, tree, sizeof(tree)));
    m = find_master("/soc/one");
    assert_int_equal(m->nregions, 4);
    assert_int_equal(m->regions[0].kind, GR_DT_REGION_TRANSLATED);
    assert_int_equal(m->regions[0].iova.first, 0x1000000);
    assert_int_equal(m->regions[0].iova.last, 0x1001000);
    assert_int_equal(m->regions[0].pa, 0x80020000);
    assert_int_equal(m->regions[1].kind, GR_DT_REGION_DIRECT);
    assert_int_equal(m->regions[1].iova.last, 0x800507ff);
    assert_int_equal(m->regions[1].pa, 0x80050000);
    assert_int_equal(m->regions[2].kind, GR_DT_REGION_TRANSLATED);
    assert_int_equal(m->regions[2].iova.first, 0x100004000);
    assert_int_equal(m->regions[3].kind, GR_DT_REGION_RESERVED);
    assert_int_equal(m->regions[3].iova.last, 0x20fffff);
    m = find_master("/soc/sub/plugged");
    assert_int_equal(m->nregions, 0); /* it names no region itself */

    /* On a bus of three cells the first is no address; a byte of reg is none. */
    set_cells("/reserved-memory/fb", "reg", CELLS(0, 0x80020000, 1));
    set_cells("/soc/sub", "#address-cells", CELLS(3));
    set_cells("/reserved-memory/fb", "iommu-addresses",
              CELLS(PLUGGED, 0x02000000, 0, 0x4000, 0x1000));
    set_cells("/soc/sub/plugged", "memory-region", CELLS(FB));
    OK(read_all(&dt, tree, sizeof(tree)));
    m = find_master("/soc/sub/plugged");
    assert_int_equal(m->nregions, 1);
    assert_int_equal(m->regions[0].kind, GR_DT_REGION_RESERVED);
    assert_int_equal(m->regions[0].iova.first, 0x4000);
    assert_int_equal(find_master("/soc/one")->nregions, 3);
}

/* As many regions as fit, one more, and references without end. */
static void test_many_regions(void **state)
{
    uint32_t cells[5 * (GR_DT_REGIONS + 1)];
    struct gr_dt dt;

    (void)state;
    for (unsigned i = 0; i <= GR_DT_REGIONS; i++) {
        const uint32_t entry[5] = {ONE, 0, 0x10000 * i, 0, 0x1000};

        memcpy(&cells[5 * i], entry, sizeof(entry));
    }
    for (unsigned extra = 0; extra < 2; extra++) {
        fdt32_t be[5 * (GR_DT_REGIONS + 1)];

        build();
        build_regions();
        set_cells("/soc/one", "memory-region", CELLS(FB));
        for (unsigned i = 0; i < 5 * (GR_DT_REGIONS + 1); i++)
            be[i] = cpu_to_fdt32(cells[i]);
        set("/reserved-memory/fb", "iommu-addresses", be, 20 * (GR_DT_REGIONS + extra));
        assert_int_equal(read_all(&dt, tree, sizeof(tree)), extra ? GR_EBADMSG : 0);
    }
    assert_string_equal(dt.error,
                        "/reserved-memory/fb: iommu-addresses gives /soc/one more than 16 "
                        "regions; join some");
    build();
    build_regions();
    {
        static fdt32_t be[GR_DT_REFS + 1];

        for (unsigned i = 0; i <= GR_DT_REFS; i++)
            be[i] = cpu_to_fdt32(DISABLED);
        set("/soc/one", "memory-region", be, sizeof(be));
    }
    assert_int_equal(read_all(&dt, tree, sizeof(tree)), GR_EBADMSG);
    assert_string_equal(dt.error, "/soc/one: memory-region is past the 1024 references that we "
                                  "follow; remove some");
}

static void test_firmware(void **state)
{
    static const char *const states[] = {"off", "bypass", "translating", "locked"};
    struct gr_dt dt;

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        build();
        set("/soc/a@1000", "granule,firmware", states[i], strlen(states[i]) + 1);
        OK(read_all(&dt, tree, sizeof(tree)));
        assert_int_equal(seen.iommu[0].firmware, i);
        assert_int_equal(seen.iommu[1].firmware, GR_DT_FIRMWARE_OFF);
    }
    for (unsigned i = 0; i < 4; i++) { /* DART.md 6: translates and does no more */
        build();
        set("/soc/pcie", "status", "disabled", 9);
        set("/soc/d@4000", "compatible", "apple,s5l8960x-dart", 20);
        set_cells("/soc/blocked", "iommus", CELLS(OTHER, 3));
        set("/soc/d@4000", "granule,firmware", states[i], strlen(states[i]) + 1);
        assert_int_equal(read_all(&dt, tree, sizeof(tree)), i % 2 ? GR_EBADMSG : 0);
    }
    assert_string_equal(dt.error,
                        "/soc/d@4000: granule,firmware is not \"off\", \"translating\" or, where "
                        "the hardware can, \"bypass\" or \"locked\"; give one of these");
    build();
    set("/soc/d@4000", "compatible", "arm,smmu-v3", 12);
    set("/soc/d@4000", "granule,firmware", "off", 4);
    assert_int_equal(read_all(&dt, tree, sizeof(tree)), GR_EBADMSG);
    assert_string_equal(dt.error, "/soc/d@4000: granule,firmware is for DARTs; remove it");
}

static void expect(const void *blob, size_t size, int rc, const char *sentence)
{
    struct gr_dt dt;

    assert_int_equal(read_all(&dt, blob, size), rc);
    assert_string_equal(dt.error, sentence);
}

static void test_open(void **state)
{
    static _Alignas(8) char large[GR_DT_SIZE_MAX + 1];

    (void)state;
    build();
    expect(NULL, 64, GR_EINVAL, "the device tree must lie at an 8-byte aligned address");
    expect(tree + 4, sizeof(tree) - 4, GR_EINVAL,
           "the device tree must lie at an 8-byte aligned address");
    expect(tree, 0, GR_EBADMSG,
           "this is not a device tree, or a damaged one (FDT_ERR_TRUNCATED); give a whole .dtb");
    expect(tree, sizeof(tree) - 1, GR_EBADMSG,
           "this is not a device tree, or a damaged one (FDT_ERR_TRUNCATED); give a whole .dtb");
    expect(large, 64, GR_EBADMSG,
           "this is not a device tree, or a damaged one (FDT_ERR_BADMAGIC); give a whole .dtb");
    memcpy(large, tree, sizeof(tree));
    expect(large, sizeof(large), GR_EBADMSG,
           "the device tree is larger than 2097152 bytes; give a smaller one");
    OK(fdt_create(tree, sizeof(tree)));
    OK(fdt_finish_reservemap(tree));
    OK(fdt_finish(tree));
    expect(tree, sizeof(tree), GR_EBADMSG,
           "the device tree has no root node; compile it again with dtc");
}

/* A tree with only what the caller adds between the two. */
static void begin_tree(void)
{
    memset(tree, 0, sizeof(tree));
    OK(fdt_create(tree, sizeof(tree)));
    OK(fdt_add_reservemap_entry(tree, UINT64_MAX, 2));
    OK(fdt_finish_reservemap(tree));
    begin("");
}

static void end_tree(void)
{
    end();
    OK(fdt_finish(tree));
}

static void memory_node(const char *name, unsigned banks)
{
    fdt32_t reg[3 * (GR_DT_BANKS + 1)] = {0};

    for (uint32_t i = 0; i < banks; i++) {
        reg[3 * i] = cpu_to_fdt32(i);
        reg[3 * i + 2] = cpu_to_fdt32(1);
    }
    begin(name);
    S("device_type", "memory");
    OK(fdt_property(tree, "reg", reg, (int)(banks * 12)));
    end();
}

static int function(struct gr_dt *dt, const char *bridge, uint32_t rid, struct gr_dt_master *out)
{
    const int node = fdt_path_offset(tree, bridge);

    OK(gr_dt_open(dt, tree, sizeof(tree)));
    return gr_dt_pci_function(dt, node, rid, out);
}

/* What an entry of iommu-map makes of one RID, also of an entry too long to be a device. */
static void test_pci_function(void **state)
{
    struct gr_dt_master m = {.nstreams = 77};
    struct gr_dt dt;

    (void)state;
    build();
    assert_int_equal(function(&dt, "/soc/pcie", 0x200, &m), 1);
    assert_int_equal(m.nstreams, 1);
    assert_int_equal(m.streams[0].sid, 2);
    assert_string_equal(m.path, "/soc/pcie/pci@0,0");
    assert_false(m.untrusted);
    assert_int_equal(function(&dt, "/soc/pcie", 0x401, &m), 1);
    assert_int_equal(m.nstreams, 1);
    assert_int_equal(m.streams[0].sid, 5);
    assert_true(m.untrusted);
    assert_int_equal(function(&dt, "/soc/pcie", 0x5a3, &m), 1); /* 256 RIDs */
    assert_int_equal(m.streams[0].sid, 9 + 0xa3);
    assert_string_equal(m.path, "/soc/pcie/rid@5a3");
    set_cells("/soc/pcie", "iommu-map", CELLS(0x100, T8103, 0, 16)); /* too long for one device */
    assert_int_equal(function(&dt, "/soc/pcie", 0x10f, &m), 1);
    assert_int_equal(m.nstreams, 1);
    assert_int_equal(m.streams[0].sid, 15);
    set_cells("/soc/pcie", "iommu-map-mask", CELLS(0xff00)); /* the functions of a bus are one */
    assert_int_equal(function(&dt, "/soc/pcie", 0x1ff, &m), 1);
    assert_int_equal(m.streams[0].sid, 0);

    build();
    m.nstreams = 77;
    assert_int_equal(function(&dt, "/soc/pcie", 0x300, &m), 0); /* its IOMMU is disabled */
    assert_int_equal(function(&dt, "/soc/pcie", 0x50, &m), 0);  /* below, between, and above */
    assert_int_equal(function(&dt, "/soc/pcie", 0x150, &m), 0);
    assert_int_equal(function(&dt, "/soc/pcie", 0x600, &m), 0);
    assert_int_equal(function(&dt, "/soc", 0x200, &m), 0); /* no bridge, no node */
    assert_int_equal(function(&dt, "/nowhere", 0x200, &m), 0);
    set_cells("/soc/pcie/pci@0,0", "bus-range", CELLS(1));
    assert_int_equal(function(&dt, "/soc/pcie", 0x200, &m), GR_EBADMSG);
    set_cells("/soc/pcie", "iommu-map", CELLS(0x100, 77, 1, 1, 0x200, T8103, 1, 1));
    assert_int_equal(function(&dt, "/soc/pcie", 0x200, &m), GR_EBADMSG);
    assert_string_equal(
        dt.error, "/soc/pcie: iommu-map names phandle 0x4d, which no node has; name an IOMMU");
    set_cells("/soc/pcie", "iommu-map", CELLS(1, 2, 3));
    assert_int_equal(function(&dt, "/soc/pcie", 0x200, &m), GR_EBADMSG);
    assert_int_equal(m.nstreams, 77);
}

static void test_limits_of_banks(void **state)
{
    (void)state;
    begin_tree();
    end_tree();
    expect(tree, sizeof(tree), GR_EBADMSG,
           "/: no enabled node has device_type = \"memory\" and a reg; add one with the machine's "
           "RAM");

    begin_tree();
    memory_node("memory", GR_DT_BANKS);
    end_tree();
    expect(tree, sizeof(tree), GR_EBADMSG,
           "/memreserve/ 0xffffffffffffffff 0x2 passes the end of the address space; correct the "
           "size");

    begin_tree();
    memory_node("memory", GR_DT_BANKS + 1);
    end_tree();
    expect(tree, sizeof(tree), GR_EBADMSG,
           "/memory: reg is past the 64 banks of RAM that we can hold; join neighbouring banks");
}

/* As deep as can be, and one more. */
static void test_limits_of_depth(void **state)
{
    (void)state;
    for (int depth = GR_DT_DEPTH; depth <= GR_DT_DEPTH + 1; depth++) {
        struct gr_dt_iter it = {0};
        struct gr_dt_iommu i;
        struct gr_dt dt;

        begin_tree();
        for (int k = 1; k < depth; k++)
            begin("n");
        P("#iommu-cells", 1);
        for (int k = 1; k < depth; k++)
            end();
        end_tree();
        OK(gr_dt_open(&dt, tree, sizeof(tree)));
        if (depth == GR_DT_DEPTH) {
            assert_int_equal(gr_dt_iommu_next(&dt, &it, &i), 1);
            assert_int_equal(strlen(i.path), 2 * (GR_DT_DEPTH - 1));
            assert_int_equal(gr_dt_iommu_next(&dt, &it, &i), 0);
        } else {
            assert_int_equal(gr_dt_iommu_next(&dt, &it, &i), GR_EBADMSG);
            assert_non_null(strstr(dt.error, "/n/n: its children are nested deeper than 32 nodes; "
                                             "flatten the tree"));
            assert_int_equal(gr_dt_iommu_next(&dt, &it, &i), 0);
        }
    }
}

/* A path that just fits, and one character more. */
static void test_limits_of_paths(void **state)
{
    static const char part[] = "a-name-of-thirty-one-characters";
    char name[400];

    (void)state;
    for (int more = 0; more < 2; more++) {
        begin_tree();
        for (int k = 0; k < 4; k++)
            begin(part);
        (void)snprintf(name, sizeof(name), "%.*s", 30 + more, part);
        begin(name);
        P("#iommu-cells", 1);
        for (int k = 0; k < 5; k++)
            end();
        memory_node("memory", 1);
        end_tree();
        (void)snprintf(name, sizeof(name),
                       "/%s/%s/%s/%s/%s: the path is longer than 159 characters; shorten the names",
                       part, part, part, part, part);
        expect(tree, sizeof(tree), GR_EBADMSG,
               more == 0 ? "/memreserve/ 0xffffffffffffffff 0x2 passes the end of the address "
                           "space; correct the size"
                         : name);
    }

    /* The same where "/rid@100" comes after it. */
    begin_tree();
    P("#size-cells", 2);
    iommu("a", "apple,t8103-dart", 0, 1, T8103);
    end();
    for (int k = 0; k < 4; k++)
        begin(part);
    begin("a-name-of-twenty-four-ch");
    P("iommu-map", 0x100, T8103, 0, 1);
    for (int k = 0; k < 5; k++)
        end();
    end_tree();
    (void)snprintf(
        name, sizeof(name),
        "/%s/%s/%s/%s/a-name-of-twenty-four-ch: the path is too long for a device's name "
        "after it; shorten the names",
        part, part, part, part);
    expect(tree, sizeof(tree), GR_EBADMSG, name);

    /* A host bridge whose path does not fit even alone. */
    begin_tree();
    P("#size-cells", 2);
    iommu("a", "apple,t8103-dart", 0, 1, T8103);
    end();
    for (int k = 0; k < 5; k++)
        begin(part);
    P("iommu-map", 0x100, T8103, 0, 1);
    for (int k = 0; k < 5; k++)
        end();
    end_tree();
    (void)snprintf(name, sizeof(name),
                   "/%s/%s/%s/%s/%s: the path is longer than 159 characters; shorten the names",
                   part, part, part, part, part);
    expect(tree, sizeof(tree), GR_EBADMSG, name);
}

/* The root as host bridge: its ranges lead nowhere, as there is no bus above. */
static void test_root_as_host_bridge(void **state)
{
    (void)state;
    begin_tree();
    P("#size-cells", 2);
    P("ranges", 1, 2, 3);
    P("iommu-map", 0x100, T8103, 0, 1);
    iommu("a", "apple,t8103-dart", 0, 1, T8103);
    end();
    end_tree();
    expect(tree, sizeof(tree), GR_EBADMSG,
           "/: no enabled node has device_type = \"memory\" and a reg; add one with the machine's "
           "RAM");
    assert_string_equal(find_master("/rid@100")->path, "/rid@100");
    assert_int_equal(find_master("/rid@100")->nreserved, 0);
}

/* A device whose IOMMU lies deeper than we go. */
static void test_too_deep_to_refer_to(void **state)
{
    (void)state;
    {
        struct gr_dt_iter it = {0};
        struct gr_dt_master m;
        struct gr_dt dt;

        begin_tree();
        device("dev", CELLS(T8103, 0));
        for (int k = 0; k < GR_DT_DEPTH; k++)
            begin("n");
        P("phandle", T8103);
        for (int k = 0; k < GR_DT_DEPTH; k++)
            end();
        end_tree();
        OK(gr_dt_open(&dt, tree, sizeof(tree)));
        assert_int_equal(gr_dt_master_next(&dt, &it, &m), GR_EBADMSG);
        assert_string_equal(dt.error,
                            "/dev: iommus names a node nested too deep; flatten the tree");
    }

    /* The same of a region. */
    {
        struct gr_dt_iter it = {0};
        struct gr_dt_master m;
        struct gr_dt dt;

        begin_tree();
        P("#address-cells", 2);
        P("#size-cells", 2);
        iommu("a@1000", "apple,t8103-dart", 0x1000, 1, T8103);
        end();
        begin("dev");
        P("iommus", T8103, 0);
        P("memory-region", FB);
        end();
        for (int k = 0; k < GR_DT_DEPTH; k++)
            begin("n");
        P("phandle", FB);
        for (int k = 0; k < GR_DT_DEPTH; k++)
            end();
        end_tree();
        OK(gr_dt_open(&dt, tree, sizeof(tree)));
        assert_int_equal(gr_dt_master_next(&dt, &it, &m), GR_EBADMSG);
        assert_string_equal(dt.error,
                            "/dev: memory-region names a node nested too deep; flatten the tree");
    }
}

/* Registers where the CPU has no address for them, and the root as IOMMU and as device. */
static void test_registers_nowhere(void **state)
{
    (void)state;
    begin_tree();
    begin("pci");
    P("#address-cells", 3);
    P("#size-cells", 2);
    EMPTY("ranges");
    begin("a");
    S("compatible", "apple,t8103-dart");
    P("#iommu-cells", 1);
    P("reg", 0x800, 0, 0, 0, 0x4000);
    end();
    end();
    end_tree();
    expect(tree, sizeof(tree), GR_EBADMSG,
           "/pci/a: reg lies on a PCI bus and is not a CPU address; move the node");
    begin_tree();
    S("compatible", "apple,t8103-dart");
    P("#iommu-cells", 1);
    P("reg", 0, 0, 0x4000);
    end_tree();
    expect(tree, sizeof(tree), GR_EBADMSG,
           "/: reg is missing; give address and size of the registers");
}

/* No terminal codes out of a tree, and an error text that would not fit is cut. */
static void test_names(void **state)
{
    char name[400];

    (void)state;
    begin_tree();
    begin("a\x1b[2J");
    P("#iommu-cells", 1);
    end();
    end_tree();
    expect(tree, sizeof(tree), GR_EBADMSG,
           "/a?[2J: a node name has a character that names cannot have; use letters, digits and "
           ",._+-@");
    begin_tree();
    begin("a/b");
    P("#iommu-cells", 1);
    end();
    end_tree();
    expect(tree, sizeof(tree), GR_EBADMSG,
           "/a/b: a node name has a character that names cannot have; use letters, digits and "
           ",._+-@");
    begin_tree();
    begin("");
    P("#iommu-cells", 1);
    end();
    end_tree();
    expect(tree, sizeof(tree), GR_EBADMSG, "/: a node on this path has no name; name it");
    begin_tree();
    memset(name, 'x', sizeof(name) - 1);
    name[GR_DT_NAME - 1] = '\0';
    begin(name);
    P("#iommu-cells", 1);
    end();
    end_tree();
    name[0] = '/';
    (void)snprintf(name + GR_DT_PATH - 1, sizeof(name) - GR_DT_PATH,
                   "x: the path is longer than 159 characters; shorten the names");
    expect(tree, sizeof(tree), GR_EBADMSG, name);
}

/* The longest names, and one character more; what the tree would say next is about its RAM. */
static void test_limits_of_names(void **state)
{
    char name[400];

    (void)state;
    for (int more = 0; more < 2; more++) {
        memset(name, 'x', sizeof(name) - 1);
        name[GR_DT_NAME - 1 + more] = '\0';
        begin_tree();
        begin(name);
        end();
        end_tree();
        expect(tree, sizeof(tree), GR_EBADMSG,
               more ? "a node's name is longer than 159 characters; shorten it"
                    : "/: no enabled node has device_type = \"memory\" and a reg; add one with the "
                      "machine's RAM");
        begin_tree();
        EMPTY(name);
        end_tree();
        expect(tree, sizeof(tree), GR_EBADMSG,
               more ? "a property's name is longer than 159 characters; shorten it"
                    : "/: no enabled node has device_type = \"memory\" and a reg; add one with the "
                      "machine's RAM");
    }
}

/* ------------------------------------------------------------------ trees that take long */

static _Alignas(8) char big[GR_DT_SIZE_MAX];

static void big_iommu(uint32_t phandle)
{
    const fdt32_t reg[] = {cpu_to_fdt32(0x10000000), cpu_to_fdt32(0x4000)};

    OK(fdt_begin_node(big, "i"));
    OK(fdt_property_string(big, "compatible", "apple,t8103-dart"));
    OK(fdt_property(big, "reg", reg, sizeof(reg)));
    OK(fdt_property_u32(big, "#iommu-cells", 1));
    OK(fdt_property_u32(big, "phandle", phandle));
    OK(fdt_end_node(big));
}

static void big_nodes(unsigned n, const char *prop)
{
    for (; n; n--) {
        OK(fdt_begin_node(big, "n"));
        OK(fdt_property_u32(big, prop, 1));
        OK(fdt_end_node(big));
    }
}

static void big_begin(unsigned properties)
{
    OK(fdt_create(big, sizeof(big)));
    OK(fdt_finish_reservemap(big));
    OK(fdt_begin_node(big, ""));
    for (; properties; properties--)
        OK(fdt_property(big, "wide", NULL, 0));
    OK(fdt_property_u32(big, "#address-cells", 1));
    OK(fdt_property_u32(big, "#size-cells", 1));
}

static void big_end(void)
{
    OK(fdt_end_node(big));
    OK(fdt_finish(big));
}

/* 128 devices that name two IOMMUs at the end of the tree by turns, or one. */
static void big_refs(bool by_turns)
{
    big_begin(0);
    for (unsigned d = 0; d < 128; d++) {
        fdt32_t refs[16];

        for (unsigned i = 0; i < 8; i++) {
            refs[2 * i] = cpu_to_fdt32(by_turns && i % 2 ? 2 : 1);
            refs[2 * i + 1] = cpu_to_fdt32(i);
        }
        OK(fdt_begin_node(big, "device"));
        OK(fdt_property(big, "iommus", refs, sizeof(refs)));
        OK(fdt_end_node(big));
    }
    big_nodes(50000, "filler");
    big_iommu(1);
    big_iommu(2);
    big_end();
}

/* An iteration ends with one sentence and the record as it was; how many records came before? */
static unsigned gives_up(bool masters, const char *node)
{
    struct gr_dt_iter it = {0};
    struct gr_dt_master master;
    struct gr_dt_master as_before;
    struct gr_dt_iommu iommu;
    struct gr_dt dt;
    char want[400];
    unsigned n = 0;
    int rc;

    OK(gr_dt_open(&dt, big, sizeof(big)));
    do {
        memset(&master, 0x5a, sizeof(master));
        rc = masters ? gr_dt_master_next(&dt, &it, &master) : gr_dt_iommu_next(&dt, &it, &iommu);
        n += rc == 1;
    } while (rc == 1);
    assert_int_equal(rc, GR_EBADMSG);
    assert_int_equal(it.work, GR_DT_WORK);
    memset(&as_before, 0x5a, sizeof(as_before));
    assert_memory_equal(&master, &as_before, sizeof(master));
    (void)snprintf(want, sizeof(want),
                   "%s: to read the tree up to here takes more looks at nodes, properties and "
                   "windows than we make; give a smaller tree, or fewer references",
                   node);
    assert_string_equal(dt.error, want);
    rc = masters ? gr_dt_master_next(&dt, &it, &master) : gr_dt_iommu_next(&dt, &it, &iommu);
    assert_int_equal(rc, 0);
    return n;
}

static void test_work(void **state)
{
    struct gr_dt_iter it = {0};
    struct gr_dt_master master;
    struct gr_range range;
    fdt32_t *ranges;
    struct gr_dt dt;
    unsigned n = 0;

    (void)state;
    big_refs(true);
    assert_in_range(gives_up(true, "/device"), 1, 127);
    big_refs(false); /* one search for all */
    OK(gr_dt_open(&dt, big, sizeof(big)));
    while (gr_dt_master_next(&dt, &it, &master) == 1)
        n++;
    assert_int_equal(n, 128);
    assert_true(it.work < GR_DT_WORK / 8);

    /* Each node asks its parents, and the root has much to look through. */
    big_begin(60000);
    big_nodes(40000, "#iommu-cells");
    big_end();
    assert_in_range(gives_up(false, "/n"), 1, 39999);

    /* Registers that the last of many windows lets through. */
    ranges = calloc(4 * 60000, sizeof(*ranges));
    assert_non_null(ranges);
    for (uint32_t i = 0; i < 60000; i++) {
        ranges[3 * i] = cpu_to_fdt32(i);
        ranges[3 * i + 2] = cpu_to_fdt32(i < 59999 ? 1 : 0x20000000);
    }
    big_begin(0);
    OK(fdt_begin_node(big, "bus"));
    OK(fdt_property_u32(big, "#address-cells", 1));
    OK(fdt_property_u32(big, "#size-cells", 1));
    OK(fdt_property(big, "ranges", ranges, 12 * 60000));
    free(ranges);
    for (uint32_t i = 0; i < 8000; i++)
        big_iommu(i + 1);
    OK(fdt_end_node(big));
    big_end();
    assert_in_range(gives_up(false, "/bus/i"), 1, 7999);

    /* As many reservations as fit are read one by one. */
    OK(fdt_create(big, sizeof(big)));
    for (uint64_t i = 0; i < 100000; i++)
        OK(fdt_add_reservemap_entry(big, i << 12, 1));
    OK(fdt_finish_reservemap(big));
    OK(fdt_begin_node(big, ""));
    big_end();
    OK(gr_dt_open(&dt, big, sizeof(big)));
    memset(&it, 0, sizeof(it));
    for (uint64_t i = 0; i < 100000; i++) {
        assert_int_equal(gr_dt_reserved_next(&dt, &it, &range), 1);
        assert_true(range.first == i << 12 && range.last == range.first);
    }
    assert_int_equal(gr_dt_reserved_next(&dt, &it, &range), 0);
}

/*
 * A tree of version 3, from before 2005, where a node's name is its whole path: libfdt takes a name
 * without a slash for a broken one.
 */
static void test_old_version(void **state)
{
    static const uint32_t words[] = {
        FDT_MAGIC,
        0x84, /* of the whole */
        0x38, /* of the structure */
        0x74, /* of the strings */
        0x28, /* of the reserved memory: none */
        3,    /* version */
        2,    /* the oldest that reads it */
        0,    /* the CPU that boots */
        16,   /* bytes of strings */
        0,    /* room */
        0,
        0,
        0,
        0,
        /* the structure */
        FDT_BEGIN_NODE,
        0x2f000000, /* "/" */
        FDT_BEGIN_NODE,
        0x6e000000, /* "n" */
        FDT_PROP,
        4,
        0,
        1, /* #iommu-cells = <1> */
        FDT_END_NODE,
        FDT_END_NODE,
        FDT_END,
        0,
        0,
        0,
        0,
    };
    static const char strings[16] = "#iommu-cells";

    (void)state;
    for (size_t i = 0; i < sizeof(words) / 4; i++)
        fdt32_st(tree + 4 * i, words[i]);
    assert_int_equal(sizeof(words), 0x74);
    memcpy(tree + 0x74, strings, sizeof(strings));
    expect(tree, 0x84, GR_EBADMSG, "/?: a node on this path has no name; name it");
    fdt32_st(tree + 0x44, 0x2f6e0000); /* "/n" */
    expect(tree, 0x84, GR_EBADMSG,
           "/: no enabled node has device_type = \"memory\" and a reg; add one with the machine's "
           "RAM");
    assert_string_equal(find_iommu("/n")->path, "/n");
}

/* A second root: libfdt refuses the tree, or the first is all there is. */
static void test_two_roots(void **state)
{
    struct gr_dt dt;

    (void)state;
    begin_tree();
    memory_node("memory", 1);
    end();
    begin("");
    P("#iommu-cells", 1);
    end_tree();
    assert_int_equal(read_all(&dt, tree, sizeof(tree)), GR_EBADMSG);
    assert_int_equal(seen.iommus, 0);
}

/* One node, one property: an array of `n` entries of `width` cells, each made by `make`. */
static void big_property(const char *path, const char *prop, unsigned n, unsigned width,
                         void (*make)(unsigned, uint32_t *))
{
    fdt32_t *be = malloc((size_t)n * width * 4);
    uint32_t v[8];

    assert_non_null(be);
    for (unsigned i = 0; i < n; i++) {
        make(i, v);
        for (unsigned k = 0; k < width; k++)
            be[i * width + k] = cpu_to_fdt32(v[k]);
    }
    set(path, prop, be, (size_t)n * width * 4);
    free(be);
}

static void make_window(unsigned i, uint32_t *v)
{
    const uint32_t entry[7] = {0x02000000, 0, i << 12, 0, i << 12, 0, 0x1000};

    memcpy(v, entry, sizeof(entry));
}

static void make_dma(unsigned i, uint32_t *v)
{
    const uint32_t entry[6] = {0, i << 13, 0, i << 13, 0, 0x1000};

    memcpy(v, entry, sizeof(entry));
}

static void make_next(unsigned i, uint32_t *v)
{
    const uint32_t entry[6] = {0, i << 12, 0, i << 12, 0, 0x1000};

    memcpy(v, entry, sizeof(entry));
}

static void test_too_many(void **state)
{
    static _Alignas(8) char large[65536];
    static fdt32_t refs[2 * (GR_DT_REFS + 1)];

    (void)state;
    build();
    big_property("/soc/pcie", "ranges", GR_DT_RESERVED, 7, make_window);
    expect(tree, sizeof(tree), GR_EBADMSG,
           "/soc/pcie: ranges and dma-ranges reserve more than 16 IOVA ranges; join neighbouring "
           "windows");
    build();
    big_property("/soc/pcie", "ranges", GR_DT_RESERVED + 1, 7, make_window);
    expect(tree, sizeof(tree), GR_EBADMSG,
           "/soc/pcie: ranges and dma-ranges reserve more than 16 IOVA ranges; join neighbouring "
           "windows");
    build();
    big_property("/soc/pcie", "ranges", GR_DT_RESERVED - 1, 7, make_window);
    read_ok(tree, sizeof(tree));
    /* and the gap between two ranges of a bus above it is one more */
    set_cells("/soc/five", "iommus", CELLS(FIVE, 0, 0, 0, 0, 0x10000));
    big_property("/soc", "dma-ranges", 2, 6, make_dma);
    expect(tree, sizeof(tree), GR_EBADMSG,
           "/soc: ranges and dma-ranges reserve more than 16 IOVA ranges; join neighbouring "
           "windows");

    build();
    big_property("/soc", "dma-ranges", 9, 6, make_dma);
    expect(tree, sizeof(tree), GR_EBADMSG,
           "/soc: dma-ranges has more than 8 entries; join neighbours");
    build();
    set_cells("/soc/five", "iommus", CELLS(FIVE, 0, 0, 0, 0, 0x10000));
    big_property("/soc", "dma-ranges", 8, 6, make_dma);
    read_ok(tree, sizeof(tree));
    assert_int_equal(find_master("/soc/one")->nreserved, 7);
    big_property("/soc", "dma-ranges", 8, 6, make_next); /* no gap, nothing reserved */
    read_ok(tree, sizeof(tree));
    assert_int_equal(find_master("/soc/one")->nreserved, 0);
    check_range(&find_master("/soc/one")->dma, 0, 0x7fff);
    /* ranges that overlap, the second inside the first */
    set_cells("/soc", "dma-ranges",
              CELLS(0, 0x1000, 0, 0x1000, 0, 0x1000, 0, 0, 0, 0, 0, 0x8000, 0, 0x6000, 0, 0x6000, 0,
                    0x4000));
    read_ok(tree, sizeof(tree));
    assert_int_equal(find_master("/soc/one")->nreserved, 0);
    check_range(&find_master("/soc/one")->dma, 0, 0x9fff);

    build();
    OK(fdt_open_into(tree, large, sizeof(large)));
    for (unsigned i = 0; i <= GR_DT_REFS; i++)
        refs[2 * i] = cpu_to_fdt32(OFF);
    OK(fdt_setprop(large, fdt_path_offset(large, "/soc/one"), "iommus", refs, sizeof(refs)));
    expect(large, sizeof(large), GR_EBADMSG,
           "/soc/one: iommus is past the 1024 references to IOMMUs that we follow; remove some");
}

/* ------------------------------------------------------------------ real and damaged trees */

static void *load(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    void *blob = NULL;

    if (f == NULL)
        return NULL;
    blob = calloc(1, GR_DT_SIZE_MAX);
    assert_non_null(blob);
    *size = fread(blob, 1, GR_DT_SIZE_MAX, f);
    (void)fclose(f);
    return blob;
}

static const struct {
    const char *path;
    unsigned instances;
    unsigned devices;
    const char *device; /* the last one */
} boards[] = {
    {"../shared/boards/t8103-j274.dtb", 4, 4, "/soc/pcie@690000000/pci@2,0"},
    {"../shared/boards/t6000-j314s.dtb", 4, 3, "/soc/pcie@590000000/pci@1,0"},
    {"../shared/boards/t8112-j473.dtb", 4, 4, "/soc/pcie@690000000/pci@2,0"},
};

static void test_boards(void **state)
{
    (void)state;
    for (size_t b = 0; b < sizeof(boards) / sizeof(boards[0]); b++) {
        unsigned instances = 0;
        size_t size = 0;
        void *blob = load(boards[b].path, &size);

        if (blob == NULL) {
            print_message("SKIPPED: %s is not there\n", boards[b].path);
            continue;
        }
        read_ok(blob, size);
        for (unsigned i = 0; i < seen.iommus; i++) {
            assert_int_not_equal(seen.iommu[i].driver, GR_DT_NONE);
            instances += seen.iommu[i].enabled;
        }
        assert_int_equal(instances, boards[b].instances);
        assert_int_equal(seen.masters, boards[b].devices);
        assert_string_equal(seen.master[seen.masters - 1].path, boards[b].device);
        free(blob);
    }
}

static uint64_t random_state;

static uint32_t random32(void)
{
    return (uint32_t)(chance_next(&random_state) >> 32);
}

/* A change at a random place: a bit, a byte, or a word that is likely to matter. */
static void damage(unsigned char *blob, size_t size)
{
    static const uint32_t words[] = {0,   1,  2,  3,  4,  5,           9,          0x7fffffff,
                                     ~0u, 16, 31, 64, 32, 0x80000000u, 0xfffffff0, 0x10000};
    size_t at = random32() % size;
    fdt32_t word = cpu_to_fdt32(words[random32() % 16]);

    switch (random32() % 4) {
    case 0:
        blob[at] ^= (unsigned char)(1u << random32() % 8);
        break;
    case 1:
        blob[at] = (unsigned char)random32();
        break;
    default:
        if (at + 8 <= size)
            memcpy(blob + (at & ~(size_t)3), &word, 4);
        break;
    }
}

/* Rounds on copies exactly as long as they claim, so that ASan sees one byte too far. */
static void damage_all(const void *blob, size_t size, unsigned rounds)
{
    struct gr_dt dt;
    unsigned refused = 0;

    for (unsigned i = 0; i < rounds; i++) {
        size_t cut = random32() % 8 == 0 ? random32() % size : size;
        unsigned char *copy = malloc(cut != 0 ? cut : 1);
        unsigned changes = 1 + random32() % 4;
        int rc;

        assert_non_null(copy);
        memcpy(copy, blob, cut);
        while (cut != 0 && changes-- != 0)
            damage(copy, cut);
        rc = read_all(&dt, copy, cut);
        free(copy);
        assert_true(rc == 0 || rc == GR_EBADMSG);
        assert_int_equal(rc == 0, dt.error[0] == '\0');
        assert_non_null(memchr(dt.error, '\0', sizeof(dt.error)));
        for (const char *c = dt.error; *c != '\0'; c++)
            assert_true(*c >= 0x20 && *c < 0x7f);
        refused += rc != 0;
    }
    assert_true(refused > rounds / 20);
}

static void test_damaged(void **state)
{
    size_t size = 0;
    void *blob;

    (void)state;
    random_state = chance_seed("dt");
    build();
    OK(fdt_pack(tree));
    damage_all(tree, fdt_totalsize(tree), 8000);
    blob = load(boards[0].path, &size);
    if (blob != NULL)
        damage_all(blob, size, 200);
    free(blob);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_work),
        cmocka_unit_test(test_iommus),
        cmocka_unit_test(test_iommu_defaults),
        cmocka_unit_test(test_iommu_generations),
        cmocka_unit_test(test_smmuv3),
        cmocka_unit_test(test_masters),
        cmocka_unit_test(test_pcie),
        cmocka_unit_test(test_dma_ranges),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_seldom),
        cmocka_unit_test(test_old_version),
        cmocka_unit_test(test_two_roots),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_regions),
        cmocka_unit_test(test_many_regions),
        cmocka_unit_test(test_firmware),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_limits_of_banks),
        cmocka_unit_test(test_limits_of_depth),
        cmocka_unit_test(test_limits_of_paths),
        cmocka_unit_test(test_root_as_host_bridge),
        cmocka_unit_test(test_too_deep_to_refer_to),
        cmocka_unit_test(test_registers_nowhere),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_limits_of_names),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_boards),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_pci_function),
        cmocka_unit_test(test_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
