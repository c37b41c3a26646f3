/* SPDX-License-Identifier: MIT */
/*
 * Device trees: whatever the bytes are, every iterator ends, reads nothing outside the blob (it is
 * on the heap, exactly as long as said) and hands out records that keep what dt.h promises.
 *
 * Input: a flattened tree as it is; or, where it does not begin like one, a recipe to build one
 * from, which gets past the checks of the encoding.
 */
#include "fuzz.h"

#include <granule/dt.h>

#include <libfdt.h>
#include <stdbool.h>
#include <string.h>

#define BUILT_MAX 8192
#define DEPTH_MAX 40

static const char *const node_names[] = {
    "soc",          "memory@0",     "iommu@0", "iommu@1",  "pcie@0",  "pci@0,0", "dev0",
    "dev1",         "dev2",         "dev3",    "memory@1", "pci@1,0", "bus",     "a-node-of-a-name",
    "region@10000", "region@20000",
};

static const char *const property_names[] = {
    "#address-cells",  "#size-cells",     "#iommu-cells",    "reg",
    "ranges",          "dma-ranges",      "iommus",          "iommu-map",
    "iommu-map-mask",  "bus-range",       "phandle",         "linux,phandle",
    "compatible",      "status",          "device_type",     "dma-coherent",
    "dma-noncoherent", "external-facing", "apple,dma-range", "granule,page-bits",
    "granule,va-bits", "granule,pa-bits", "granule,streams", "granule,bypass",
    "no-map",          "msi-parent",
};

static const char *const strings[] = {
    "apple,t8103-dart",
    "apple,t6000-dart",
    "apple,t8110-dart",
    "apple,t8103-usb4-dart",
    "arm,smmu-v3",
    "okay",
    "disabled",
    "memory",
    "pci",
    "apple,pcie",
    "simple-bus",
    "ok",
    "no,such-thing",
};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static void add_cells(struct fuzz *f, void *fdt)
{
    const char *const name = property_names[fuzz_pick(f, COUNT(property_names))];
    const unsigned n = fuzz_pick(f, 24);
    uint32_t cells[24];

    for (unsigned i = 0; i < n; i++) {
        const uint8_t kind = fuzz_byte(f);

        if (kind < 200)
            cells[i] = cpu_to_fdt32(kind % 64);
        else if (kind < 230)
            cells[i] = cpu_to_fdt32((uint32_t)1 << kind % 32);
        else
            cells[i] = (uint32_t)fuzz_take(f, 4);
    }
    (void)fdt_property(fdt, name, cells, (int)(4 * n));
}

static void add_text(struct fuzz *f, void *fdt)
{
    const char *const name = property_names[fuzz_pick(f, COUNT(property_names))];
    char text[256];
    size_t size = 0;

    for (unsigned n = 1 + fuzz_pick(f, 4); n; n--) {
        const char *const string = strings[fuzz_pick(f, COUNT(strings))];

        memcpy(text + size, string, strlen(string) + 1);
        size += strlen(string) + 1;
    }
    (void)fdt_property(fdt, name, text, (int)size);
}

/* Errors of libfdt (no room left) leave a broken tree: that is input as well. */
static void build(struct fuzz *f, void *fdt)
{
    unsigned depth = 1;

    (void)fdt_create(fdt, BUILT_MAX);
    for (unsigned n = fuzz_pick(f, 4); n; n--) {
        const uint64_t base = fuzz_number(f);

        (void)fdt_add_reservemap_entry(fdt, base, fuzz_number(f));
    }
    (void)fdt_finish_reservemap(fdt);
    (void)fdt_begin_node(fdt, "");
    while (f->left) {
        switch (fuzz_pick(f, 5)) {
        case 0:
            if (depth < DEPTH_MAX &&
                !fdt_begin_node(fdt, node_names[fuzz_pick(f, COUNT(node_names))]))
                depth++;
            break;
        case 1:
            if (depth < DEPTH_MAX && !fdt_begin_node(fdt, "reserved-memory"))
                depth++;
            break;
        case 2:
            if (depth > 1 && !fdt_end_node(fdt))
                depth--;
            break;
        case 3:
            add_text(f, fdt);
            break;
        default:
            add_cells(f, fdt);
            break;
        }
    }
    while (depth--)
        (void)fdt_end_node(fdt);
    (void)fdt_finish(fdt);
}

/* ---- what records promise ---- */

static void check_text(const char *text, size_t room)
{
    FUZZ_CHECK(memchr(text, '\0', room), "a string of %zu bytes without an end", room);
}

static void check_range(const struct gr_range *range)
{
    FUZZ_CHECK(range->first <= range->last, "a range that ends before it begins");
}

static void check_iommu(const void *record)
{
    const struct gr_dt_iommu *const iommu = record;

    check_text(iommu->path, sizeof(iommu->path));
    check_text(iommu->compatible, sizeof(iommu->compatible));
    check_text(iommu->reason, sizeof(iommu->reason));
    FUZZ_CHECK((iommu->driver == GR_DT_NONE) == (iommu->reason[0] != '\0'), "%s", iommu->path);
    if (iommu->driver == GR_DT_NONE || !iommu->enabled) {
        FUZZ_CHECK(!iommu->reg_base && !iommu->page_bits && !iommu->streams, "%s", iommu->path);
        return;
    }
    const bool smmu = iommu->driver == GR_DT_SMMUV3;

    FUZZ_CHECK(iommu->page_bits == 12 || iommu->page_bits == 14 ||
                   (smmu && (iommu->page_bits == 0 || iommu->page_bits == 16)),
               "%u", iommu->page_bits);
    FUZZ_CHECK(iommu->va_bits > iommu->page_bits && iommu->va_bits <= 48, "%u", iommu->va_bits);
    FUZZ_CHECK(iommu->pa_bits == 36 || iommu->pa_bits == (smmu ? 44u : 42u), "%u", iommu->pa_bits);
    FUZZ_CHECK(iommu->streams >= 1 && iommu->streams <= (smmu ? 65536u : 256u), "%u",
               iommu->streams);
    FUZZ_CHECK(iommu->reg_size && iommu->reg_base <= UINT64_MAX - (iommu->reg_size - 1), "%s",
               iommu->path);
    check_range(&iommu->aperture);
    FUZZ_CHECK(!((iommu->aperture.first ^ iommu->aperture.last) >> iommu->va_bits), "%s",
               iommu->path);
}

static void check_master(const void *record)
{
    const struct gr_dt_master *const master = record;

    check_text(master->path, sizeof(master->path));
    FUZZ_CHECK(master->nstreams >= 1 && master->nstreams <= GR_DT_STREAMS, "%u", master->nstreams);
    FUZZ_CHECK(master->nreserved <= GR_DT_RESERVED, "%u", master->nreserved);
    check_range(&master->dma);
    for (unsigned i = 0; i < master->nstreams; i++)
        check_range(&master->streams[i].window);
    for (unsigned i = 0; i < master->nreserved; i++)
        check_range(&master->reserved[i]);
    FUZZ_CHECK(master->nregions <= GR_DT_REGIONS, "%u", master->nregions);
    for (unsigned i = 0; i < master->nregions; i++)
        check_range(&master->regions[i].iova);
}

static void check_memory(const void *record)
{
    check_range(record);
}

static int next_iommu(struct gr_dt *dt, struct gr_dt_iter *it, void *out)
{
    return gr_dt_iommu_next(dt, it, out);
}

static int next_master(struct gr_dt *dt, struct gr_dt_iter *it, void *out)
{
    return gr_dt_master_next(dt, it, out);
}

static int next_memory(struct gr_dt *dt, struct gr_dt_iter *it, void *out)
{
    return gr_dt_memory_next(dt, it, out);
}

static int next_reserved(struct gr_dt *dt, struct gr_dt_iter *it, void *out)
{
    return gr_dt_reserved_next(dt, it, out);
}

static const struct kind {
    int (*next)(struct gr_dt *dt, struct gr_dt_iter *it, void *out);
    void (*check)(const void *record);
} kinds[] = {
    {next_iommu, check_iommu},
    {next_master, check_master},
    {next_memory, check_memory},
    {next_reserved, check_memory},
};

static void check_error(const struct gr_dt *dt, int rc)
{
    check_text(dt->error, sizeof(dt->error));
    FUZZ_CHECK(rc >= 0 || dt->error[0] != '\0', "an error without a sentence");
    for (const char *c = dt->error; *c; c++)
        FUZZ_CHECK(*c >= ' ' && *c <= '~', "byte %d in the sentence", *c);
}

/* A stream's IOMMU is a record of the first kind, and its number one that the IOMMU has. */
static void check_streams(struct gr_dt *dt, const struct gr_dt_master *master)
{
    for (unsigned i = 0; i < master->nstreams; i++) {
        struct gr_dt_iter it = {0};
        struct gr_dt_iommu iommu;
        bool found = false;

        while (!found && gr_dt_iommu_next(dt, &it, &iommu) > 0)
            found = iommu.node == master->streams[i].iommu;
        FUZZ_CHECK(!found || iommu.enabled, "%s: %s is disabled", master->path, iommu.path);
        FUZZ_CHECK(!found || iommu.driver == GR_DT_NONE || master->streams[i].sid < iommu.streams,
                   "%s: stream %u of %s", master->path, master->streams[i].sid, iommu.path);
    }
}

static void check_function(struct gr_dt *dt, int node, uint32_t rid)
{
    struct gr_dt_master master;
    const int rc = gr_dt_pci_function(dt, node, rid, &master);

    FUZZ_CHECK(rc == 0 || rc == 1 || rc == GR_EBADMSG, "%d", rc);
    check_error(dt, rc);
    if (rc == 1) {
        check_master(&master);
        FUZZ_CHECK(master.nstreams == 1, "%u", master.nstreams);
    }
}

static void iterate(struct gr_dt *dt, const struct kind *kind, size_t size)
{
    struct gr_dt_iter it = {0};
    union {
        struct gr_dt_iommu iommu;
        struct gr_dt_master master;
        struct gr_range range;
    } record;
    size_t records = 0;
    int rc;

    while ((rc = kind->next(dt, &it, &record)) > 0) {
        FUZZ_CHECK(rc == 1, "%d", rc);
        kind->check(&record);
        if (kind->next == next_master) {
            check_streams(dt, &record.master);
            check_function(dt, record.master.node, (uint32_t)size & 0xffff);
        }
        records++;
        FUZZ_CHECK(records <= size, "more records than the tree has bytes");
    }
    FUZZ_CHECK(rc == 0 || rc == GR_EBADMSG, "%d", rc);
    check_error(dt, rc);
    FUZZ_CHECK(kind->next(dt, &it, &record) <= 0, "it goes on after its end");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gr_dt dt;
    void *blob;
    int rc;

    if (size && data[0] == FDT_MAGIC >> 24) {
        blob = malloc(size);
        FUZZ_CHECK(blob, "no memory");
        memcpy(blob, data, size);
    } else {
        struct fuzz f = {data, size};
        void *const room = calloc(1, BUILT_MAX);

        FUZZ_CHECK(room, "no memory");
        build(&f, room);
        size = fdt_totalsize(room) <= BUILT_MAX ? fdt_totalsize(room) : BUILT_MAX;
        blob = malloc(size ? size : 1);
        FUZZ_CHECK(blob, "no memory");
        memcpy(blob, room, size);
        free(room);
    }
    rc = gr_dt_open(&dt, blob, size);
    FUZZ_CHECK(rc == 0 || rc == GR_EBADMSG, "%d", rc);
    check_error(&dt, rc);
    for (size_t i = 0; !rc && i < COUNT(kinds); i++)
        iterate(&dt, &kinds[i], size);
    free(blob);
    return 0;
}
