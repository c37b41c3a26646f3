/* SPDX-License-Identifier: MIT */
/*
 * Reserved IOVAs: `memory-region` of a master, and `iommu-addresses` of the nodes that it names.
 * Known parsers skip only one cell of an entry that is another master's, and so take the entry's
 * address for a phandle (DART.md 10). Here each entry has as many cells as the bus of the master in
 * the entry says.
 */
#include "dt_internal.h"

static const char regions_name[] = "memory-region";
static const char addresses_name[] = "iommu-addresses";

/* Find the node with the phandle that `prop` of `at` holds. Returns 0 or an error. */
static int follow(struct gr_dt *dt, struct gr_dt_iter *it, const struct gr_dt_chain *at,
                  const char *prop, uint32_t phandle, struct gr_dt_chain *out)
{
    int ret;

    if (++it->count > GR_DT_REFS)
        return gri_dt_fail(dt, at, "%s is past the %u references that we follow; remove some", prop,
                           (unsigned)GR_DT_REFS);
    ret = !phandle || phandle == UINT32_MAX ? 0 : gri_dt_locate(dt, phandle, out);
    if (!ret)
        return gri_dt_fail(dt, at, "%s names phandle %llx, which no node has; correct it", prop,
                           (unsigned long long)phandle);
    if (ret < 0)
        return gri_dt_fail(dt, at, "%s names a node nested too deep; flatten the tree", prop);
    return 0;
}

/* Add an entry of iommu-addresses as a region. The `reg` of its node decides what kind it is. */
static int add_region(struct gr_dt *dt, const struct gr_dt_chain *node, const struct gr_range *iova,
                      struct gr_dt_master *out)
{
    struct gr_dt_region *const r = &out->regions[out->nregions];
    const uint64_t len = iova->last - iova->first;
    uint64_t base = 0;
    uint64_t size = 0;
    const int ret = gri_dt_get_reg(dt, node, 0, &base, &size);

    if (ret < 0)
        return ret;
    if (iova->first < out->dma.first || iova->last > out->dma.last)
        return gri_dt_fail(dt, node,
                           "iommu-addresses has an IOVA of %llx, which dma-ranges above %s do not "
                           "let through; correct either",
                           (unsigned long long)iova->first, out->path);
    if (out->nregions == GR_DT_REGIONS)
        return gri_dt_fail(dt, node, "iommu-addresses gives %s more than %u regions; join some",
                           out->path, (unsigned)GR_DT_REGIONS);
    if (size > 1 && len > size - 1)
        return gri_dt_fail(dt, node,
                           "iommu-addresses gives %s more than the %llx bytes of reg; shorten it",
                           out->path, (unsigned long long)size);
    *r = (struct gr_dt_region){.iova = *iova};
    if (size > 1) {
        r->kind = base == iova->first ? GR_DT_REGION_DIRECT : GR_DT_REGION_TRANSLATED;
        r->pa = base;
    }
    out->nregions++;
    return 0;
}

/* Add the entries of one node's iommu-addresses that are the master's. */
static int read_addresses(struct gr_dt *dt, struct gr_dt_iter *it, const struct gr_dt_chain *at,
                          const struct gr_dt_chain *node, struct gr_dt_master *out)
{
    struct gri_dt_cells cells = {NULL, 0};
    int ret = gri_dt_get_cells(dt, node, addresses_name, &cells);
    unsigned need;

    for (unsigned i = 0; ret >= 0 && i < cells.n; i += need) {
        const fdt32_t *const v = &cells.v[i + 1];

        struct gr_dt_chain bus;
        struct gr_range iova;
        unsigned address;
        unsigned size;
        unsigned flags;
        bool ours;

        ret = follow(dt, it, node, addresses_name, fdt32_ld(&cells.v[i]), &bus);
        if (ret < 0)
            return ret;
        ours = gri_dt_node(&bus) == gri_dt_node(at);
        bus.depth -= bus.depth > 1;
        ret = gri_dt_bus_cells(dt, &bus, &address, &size);
        if (ret < 0)
            return ret;
        need = 1 + address + size;
        if (cells.n - i < need)
            return gri_dt_fail(dt, node,
                               "iommu-addresses ends within an entry, which has %u cells here; "
                               "complete it",
                               need);
        if (!ours)
            continue;
        flags = address == 3;
        if (!gri_dt_make_range(gri_dt_number(v + flags, address - flags),
                               gri_dt_number(v + address, size), &iova))
            return gri_dt_fail(dt, node,
                               "iommu-addresses gives %s a size that is zero or passes the end of "
                               "the address space; correct it",
                               out->path);
        ret = add_region(dt, node, &iova, out);
    }
    return ret < 0 ? ret : 0;
}

int gri_dt_read_regions(struct gr_dt *dt, struct gr_dt_iter *it, const struct gr_dt_chain *at,
                        struct gr_dt_master *out)
{
    struct gri_dt_cells cells = {NULL, 0};
    int ret = gri_dt_get_cells(dt, at, regions_name, &cells);

    for (unsigned i = 0; ret >= 0 && i < cells.n; i++) {
        struct gr_dt_chain node;

        ret = follow(dt, it, at, regions_name, fdt32_ld(&cells.v[i]), &node);
        if (!ret && gri_dt_enabled(dt, &node))
            ret = read_addresses(dt, it, at, &node, out);
    }
    return ret < 0 ? ret : 0;
}
