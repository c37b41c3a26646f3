/* SPDX-License-Identifier: MIT */
/* The masters behind the IOMMUs: nodes with `iommus`, and entries of `iommu-map`. */
#include "dt_internal.h"

#define ALL_ADDRESSES ((struct gr_range){0, UINT64_MAX})
#define DMA_RANGES 8 /* the most entries of one dma-ranges */

/* The page at which a host bridge takes inbound stores as MSIs: they never reach memory. */
static const struct {
    const char *compatible;
    struct gr_range page;
} msi_pages[] = {
    {"apple,pcie", {0xfffff000, 0xffffffff}}, /* DART.md 7 */
};

/* ---- streams ---- */

/* Read the IOMMU that a reference in `prop` of the node at it->at names. Returns 0 or an error. */
static int resolve(struct gr_dt *dt, struct gr_dt_iter *it, const char *prop, uint32_t phandle,
                   struct gr_dt_iommu *out)
{
    struct gr_dt_chain *const target = &it->target;
    int ret = 1;

    if (++it->count > GR_DT_REFS)
        return gri_dt_fail(dt, &it->at,
                           "%s is past the %u references to IOMMUs that we follow; "
                           "remove some",
                           prop, (unsigned)GR_DT_REFS);
    if (!phandle || phandle == UINT32_MAX) /* values that no phandle may have */
        ret = 0;
    else if (phandle != it->phandle) /* references in a row often name the same IOMMU: one walk */
        ret = gri_dt_locate(dt, phandle, target);
    if (!ret)
        return gri_dt_fail(dt, &it->at, "%s names phandle %llx, which no node has; name an IOMMU",
                           prop, (unsigned long long)phandle);
    if (ret < 0)
        return gri_dt_fail(dt, &it->at, "%s names a node nested too deep; flatten the tree", prop);
    it->phandle = phandle;
    if (!gri_dt_has(dt, target, "#iommu-cells"))
        return gri_dt_fail(dt, &it->at,
                           "%s names %s, which is not an IOMMU: it lacks #iommu-cells; "
                           "name an IOMMU",
                           prop, fdt_get_name(dt->fdt, gri_dt_node(target), NULL));
    return gri_dt_read_iommu(dt, target, out);
}

static int add_stream(struct gr_dt *dt, const struct gr_dt_chain *at, const char *prop,
                      const struct gr_dt_iommu *iommu, uint32_t sid, const struct gr_range *window,
                      struct gr_dt_master *out)
{
    struct gr_dt_stream *s = out->streams;
    struct gr_dt_stream *const end = s + out->nstreams;

    if (iommu->driver != GR_DT_NONE && sid >= iommu->streams)
        return gri_dt_fail(dt, at,
                           "%s names stream %u of %s, which has streams 0 to %u; correct "
                           "the stream or give granule,streams",
                           prop, (unsigned)sid, iommu->path, iommu->streams - 1);
    while (s < end && (s->iommu != iommu->node || s->sid != sid))
        s++;
    if (s < end) {
        if (!gri_dt_cut(&s->window, window))
            return gri_dt_fail(dt, at,
                               "%s gives stream %u of %s windows that share nothing; let "
                               "them overlap",
                               prop, (unsigned)sid, iommu->path);
        return 0;
    }
    if (out->nstreams == GR_DT_STREAMS)
        return gri_dt_fail(dt, at, "%s gives more than %u streams to one device; give fewer", prop,
                           (unsigned)GR_DT_STREAMS);
    s->iommu = iommu->node;
    s->sid = sid;
    s->window = *window;
    out->nstreams++;
    return 0;
}

/* Make a window of the four cells after the SID, start and size (DART.md 10). */
static int five_cells(struct gr_dt *dt, const struct gr_dt_chain *at,
                      const struct gr_dt_iommu *iommu, const fdt32_t *v, struct gr_range *out)
{
    const uint64_t page = ((uint64_t)1 << iommu->page_bits) - 1;
    const uint64_t low = ((uint64_t)1 << iommu->va_bits) - 1;
    const uint64_t start = gri_dt_number(v, 2);
    const uint64_t size = gri_dt_number(v + 2, 2);
    struct gr_range r;

    if (!gri_dt_make_range(start, size, &r))
        return gri_dt_fail(dt, at,
                           "iommus gives %s a window whose size is zero or passes the end "
                           "of the address space; correct it",
                           iommu->path);
    if (((start | size) & page) != 0)
        return gri_dt_fail(dt, at,
                           "iommus gives %s a window that is not in whole pages of 2^%u "
                           "bytes; round it",
                           iommu->path, iommu->page_bits);
    if (((r.first ^ r.last) & ~low) != 0)
        return gri_dt_fail(dt, at,
                           "iommus gives %s a window beyond one aligned block of 2^%u "
                           "bytes, all that it decodes; shorten it",
                           iommu->path, iommu->va_bits);
    if (iommu->has_aperture && !gri_dt_cut(&r, &iommu->aperture))
        return gri_dt_fail(dt, at,
                           "iommus gives %s a window outside its apple,dma-range; let them "
                           "overlap",
                           iommu->path);
    *out = r;
    return 0;
}

static int read_iommus(struct gr_dt *dt, struct gr_dt_iter *it, struct gr_dt_master *out)
{
    static const char prop[] = "iommus";
    struct gri_dt_cells cells;
    struct gr_dt_iommu iommu;
    int ret = gri_dt_get_cells(dt, &it->at, prop, &cells);

    if (ret < 0)
        return ret;
    if (!cells.n)
        return gri_dt_fail(dt, &it->at, "iommus is empty; name an IOMMU or remove it");
    for (const fdt32_t *v = cells.v, *end = v + cells.n; v < end; v += iommu.iommu_cells) {
        struct gr_range window;

        ret = resolve(dt, it, prop, fdt32_ld(v++), &iommu);
        if (ret)
            return ret;
        if ((size_t)(end - v) < iommu.iommu_cells)
            return gri_dt_fail(dt, &it->at,
                               "iommus ends within the entry of %s, whose "
                               "#iommu-cells is %u; complete the entry",
                               iommu.path, iommu.iommu_cells);
        if (!iommu.enabled)
            continue;
        window = iommu.driver != GR_DT_NONE ? iommu.aperture : ALL_ADDRESSES;
        if (iommu.driver != GR_DT_NONE && iommu.iommu_cells == 5)
            ret = five_cells(dt, &it->at, &iommu, v + 1, &window);
        if (!ret)
            ret = add_stream(dt, &it->at, prop, &iommu, iommu.iommu_cells ? fdt32_ld(v) : 0,
                             &window, out);
        if (ret)
            return ret;
    }
    return 0;
}

/* ---- other facts about a device ---- */

static int reserve(struct gr_dt *dt, const struct gr_dt_chain *at, const struct gr_range *r,
                   struct gr_dt_master *out)
{
    if (out->nreserved == GR_DT_RESERVED)
        return gri_dt_fail(dt, at,
                           "ranges and dma-ranges reserve more than %u IOVA ranges; join "
                           "neighbouring windows",
                           (unsigned)GR_DT_RESERVED);
    out->reserved[out->nreserved++] = *r;
    return 0;
}

/* Reserve the bus addresses that a PCI host bridge claims: memory windows and the MSI page. */
static int reserve_host(struct gr_dt *dt, const struct gr_dt_chain *bridge,
                        struct gr_dt_master *out)
{
    struct gri_dt_ranges ranges;
    struct gri_dt_window w;
    uint32_t cells = 2;
    int ret = bridge->depth > 1 && gri_dt_has(dt, bridge, "ranges");

    if (ret && gri_dt_get_u32(dt, bridge, "#address-cells", &cells) >= 0 && cells != 3)
        return gri_dt_fail(dt, bridge, "#address-cells is %u on a PCI host bridge; give 3",
                           (unsigned)cells);
    if (ret)
        ret = gri_dt_get_ranges(dt, bridge, "ranges", &ranges);
    if (ret < 0)
        return ret;
    for (unsigned i = 0; ret > 0 && i < ranges.n; i++) {
        if (gri_dt_get_window(dt, bridge, &ranges, i, &w))
            return GR_EBADMSG;
        /* Space codes: 0 configuration, 1 I/O, 2 and 3 memory of 32 and 64 bits. */
        if ((w.flags >> 24 & 3) >= 2 && reserve(dt, bridge, &w.child, out))
            return GR_EBADMSG;
    }
    for (size_t i = 0; i < sizeof(msi_pages) / sizeof(msi_pages[0]); i++) {
        if (gri_dt_has(dt, bridge, "msi-controller") &&
            gri_dt_compatible(dt, bridge, msi_pages[i].compatible) &&
            reserve(dt, bridge, &msi_pages[i].page, out))
            return GR_EBADMSG;
    }
    return 0;
}

/* Read the entries of one dma-ranges, all of which are 1:1, into list[DMA_RANGES], sorted. */
static int sorted_dma(struct gr_dt *dt, const struct gr_dt_chain *bus,
                      const struct gri_dt_ranges *ranges, struct gr_range *list)
{
    struct gri_dt_window w;

    if (ranges->n > DMA_RANGES)
        return gri_dt_fail(dt, bus, "dma-ranges has more than %u entries; join neighbours",
                           (unsigned)DMA_RANGES);
    for (unsigned i = 0; i < ranges->n; i++) {
        unsigned k = i;

        if (gri_dt_get_window(dt, bus, ranges, i, &w))
            return GR_EBADMSG;
        if (w.child.first != w.parent.first)
            return gri_dt_fail(dt, bus,
                               "dma-ranges moves %llx to %llx, but only 1:1 is supported; "
                               "make both equal",
                               (unsigned long long)w.child.first,
                               (unsigned long long)w.parent.first);
        for (; k > 0 && list[k - 1].first > w.child.first; k--)
            list[k] = list[k - 1];
        list[k] = w.child;
    }
    return 0;
}

/* Cut out->dma to what the dma-ranges of one bus let through, and reserve the gaps in them. */
static int limit_dma(struct gr_dt *dt, const struct gr_dt_chain *bus, struct gr_dt_master *out)
{
    struct gr_range list[DMA_RANGES] = {{0, 0}};
    struct gri_dt_ranges ranges;
    struct gr_range hull;
    int ret = gri_dt_get_ranges(dt, bus, "dma-ranges", &ranges);

    if (ret <= 0 || !ranges.n)
        return ret < 0 ? ret : 0;
    ret = sorted_dma(dt, bus, &ranges, list);
    if (ret)
        return ret;
    hull = list[0];
    for (unsigned i = 1; i < ranges.n; i++) {
        struct gr_range gap = {hull.last + 1, list[i].first - 1};

        /* hull.last + 1 cannot wrap where the next range begins above it */
        if (list[i].first > hull.last && gap.first <= gap.last && reserve(dt, bus, &gap, out))
            return GR_EBADMSG;
        hull.last = list[i].last > hull.last ? list[i].last : hull.last;
    }
    if (!gri_dt_cut(&out->dma, &hull))
        return gri_dt_fail(dt, bus,
                           "dma-ranges shares no address with those of the buses above; "
                           "let them overlap");
    return 0;
}

static int read_coherent(struct gr_dt *dt, const struct gr_dt_chain *at, struct gr_dt_master *out)
{
    struct gr_dt_chain up = *at;
    bool yes = false;
    bool no = false;

    for (; up.depth > 0 && !yes && !no; up.depth--) {
        yes = gri_dt_has(dt, &up, "dma-coherent");
        no = gri_dt_has(dt, &up, "dma-noncoherent");
        if (yes && no)
            return gri_dt_fail(dt, &up,
                               "dma-coherent and dma-noncoherent contradict each other; "
                               "remove one");
    }
    out->coherent = !no;
    return 0;
}

static bool external_facing(struct gr_dt *dt, const struct gr_dt_chain *at)
{
    struct gr_dt_chain up = *at;

    for (; up.depth > 0; up.depth--) {
        if (gri_dt_has(dt, &up, "external-facing"))
            return true;
    }
    return false;
}

static const char mode_name[] = "granule,dma-mode";
static const char unit_name[] = "granule,access-unit";
static const char overread_name[] = "granule,overread";

static int read_mode(struct gr_dt *dt, const struct gr_dt_chain *at, enum gr_dt_mode *out)
{
    static const struct {
        const char *text;
        enum gr_dt_mode mode;
    } modes[] = {
        {"translated", GR_DT_MODE_TRANSLATED},
        {"linear", GR_DT_MODE_LINEAR},
        {"identity", GR_DT_MODE_IDENTITY},
        {"blocked", GR_DT_MODE_BLOCKED},
    };

    if (!gri_dt_has(dt, at, mode_name))
        return 0;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (gri_dt_is(dt, at, mode_name, modes[i].text)) {
            *out = modes[i].mode;
            return 0;
        }
    }
    return gri_dt_fail(dt, at,
                       "%s is none that there is; give \"translated\", \"linear\", \"identity\" "
                       "or \"blocked\"",
                       mode_name);
}

/* Read the `granule,` properties of a device: how it makes its accesses, and its domain. */
static int read_own(struct gr_dt *dt, const struct gr_dt_chain *at, struct gr_dt_master *out)
{
    static const char *const known[] = {mode_name, unit_name, overread_name};
    int ret;

    if (gri_dt_check_own(dt, at, known, sizeof(known) / sizeof(known[0]),
                         "granule,dma-mode, -access-unit and -overread") ||
        read_mode(dt, at, &out->mode))
        return GR_EBADMSG;
    ret = gri_dt_get_u32(dt, at, unit_name, &out->access_unit);
    if (ret > 0 && (!out->access_unit || out->access_unit > 4096 ||
                    (out->access_unit & (out->access_unit - 1)) != 0))
        return gri_dt_fail(dt, at, "%s is %u; give a power of two from 1 to 4096", unit_name,
                           (unsigned)out->access_unit);
    if (ret >= 0)
        ret = gri_dt_get_u32(dt, at, overread_name, &out->overread);
    if (ret > 0 && out->overread > 4096)
        return gri_dt_fail(dt, at, "%s is %u; give a value from 0 to 4096", overread_name,
                           (unsigned)out->overread);
    return ret < 0 ? ret : 0;
}

/* Read all but path, node and streams of the device at `at`, whose DMA enters the bus `bus`. */
static int read_limits(struct gr_dt *dt, const struct gr_dt_chain *at,
                       const struct gr_dt_chain *bus, struct gr_dt_master *out)
{
    struct gr_dt_chain up = *bus;

    out->dma = ALL_ADDRESSES;
    for (; up.depth > 1; up.depth--) {
        if (limit_dma(dt, &up, out))
            return GR_EBADMSG;
    }
    for (unsigned i = 0; i < out->nstreams; i++) {
        struct gr_range both = out->streams[i].window;

        if (!gri_dt_cut(&both, &out->dma))
            return gri_dt_fail(dt, at,
                               "dma-ranges of the buses above let nothing of the IOMMU's "
                               "aperture through; let them overlap");
    }
    out->untrusted |= external_facing(dt, at);
    if (read_own(dt, at, out))
        return GR_EBADMSG;
    return read_coherent(dt, at, out);
}

/* ---- masters ---- */

/* Read the device at it->at by its `iommus`: 1 and the device, 0 if it is none, or an error. */
static int from_iommus(struct gr_dt *dt, struct gr_dt_iter *it, struct gr_dt_master *out)
{
    struct gr_dt_chain bus = it->at;

    if (!gri_dt_has(dt, &it->at, "iommus") || !gri_dt_enabled(dt, &it->at))
        return 0;
    bus.depth--;
    memset(out, 0, sizeof(*out));
    if (read_iommus(dt, it, out))
        return GR_EBADMSG;
    if (!out->nstreams)
        return 0;
    out->node = gri_dt_node(&it->at);
    if (gri_dt_path(dt, &it->at, out->path) ||
        (gri_dt_is(dt, &it->at, "device_type", "pci") && reserve_host(dt, &it->at, out)) ||
        read_limits(dt, &it->at, &bus, out) || gri_dt_read_regions(dt, it, &it->at, out))
        return GR_EBADMSG;
    return 1;
}

/* An entry of iommu-map: a RID of first .. last, after the mask, has SID sid + (RID - first). */
struct map_entry {
    uint32_t mask;
    uint32_t first;
    uint32_t last;
    uint32_t sid;
};

/*
 * Add the SIDs of those RIDs of an entry that the mask can produce. Only the first is added if the
 * IOMMU has no driver, or if the entry is a whole segment behind an SMMUv3 rather than a device.
 */
static int map_streams(struct gr_dt *dt, const struct gr_dt_chain *bridge,
                       const struct map_entry *e, const struct gr_dt_iommu *iommu,
                       struct gr_dt_master *out)
{
    const bool segment = iommu->driver == GR_DT_SMMUV3 && e->last - e->first >= GR_DT_STREAMS;
    const bool driven = iommu->driver != GR_DT_NONE;
    uint32_t rid = e->first;

    do {
        if (add_stream(dt, bridge, "iommu-map", iommu, e->sid + (rid - e->first),
                       driven ? &iommu->aperture : &ALL_ADDRESSES, out))
            return GR_EBADMSG;
        rid = ((rid | ~e->mask) + 1) & e->mask;
    } while (driven && !segment && rid > e->first && rid <= e->last);
    return 0;
}

/*
 * Look at the bridges below `bridge` that requests of an entry may come through. *port is the
 * outermost that holds the first RID's bus; its depth is 0 if there is none. *external is set if
 * one of the bridges is external-facing.
 */
static int find_port(struct gr_dt *dt, const struct gr_dt_chain *bridge, const struct map_entry *e,
                     struct gr_dt_chain *port, bool *external)
{
    const bool whole_bus = (e->mask & 0xff00) == 0xff00;
    const uint32_t low = whole_bus ? e->first >> 8 : 0;
    const uint32_t high = whole_bus ? e->last >> 8 : 255;
    struct gr_dt_chain below = *bridge;
    struct gri_dt_cells buses;
    int ret;

    port->depth = 0;
    while ((ret = gri_dt_step(dt, &below)) > 0 && below.depth > bridge->depth) {
        uint32_t first;
        uint32_t last;

        ret = gri_dt_get_cells(dt, &below, "bus-range", &buses);
        if (ret < 0)
            return ret;
        if (!ret)
            continue;
        first = buses.n == 2 ? fdt32_ld(buses.v) : 1;
        last = buses.n == 2 ? fdt32_ld(buses.v + 1) : 0;
        if (first > last || last > 255)
            return gri_dt_fail(dt, &below,
                               "bus-range is not two bus numbers up to 255 in order; "
                               "give first and last bus");
        if (!port->depth && first <= e->first >> 8 && last >= e->first >> 8)
            *port = below;
        if (first <= high && last >= low && gri_dt_has(dt, &below, "external-facing"))
            *external = true;
    }
    return ret < 0 ? ret : 0;
}

/* Write the path of a RID without a port: "<bridge>/rid@HEX". */
static int rid_path(struct gr_dt *dt, const struct gr_dt_chain *bridge, uint32_t rid, char *buf)
{
    static const char name[] = "/rid@";
    size_t used;
    int shift = 12;

    if (gri_dt_path(dt, bridge, buf))
        return GR_EBADMSG;
    used = bridge->depth > 1 ? gri_dt_length(buf) : 0;
    if (used + sizeof(name) + 4 > GR_DT_PATH)
        return gri_dt_fail(dt, bridge,
                           "the path is too long for a device's name after it; shorten "
                           "the names");
    memcpy(buf + used, name, sizeof(name) - 1);
    used += sizeof(name) - 1;
    while (shift > 0 && rid >> shift == 0)
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        buf[used++] = "0123456789abcdef"[rid >> shift & 15];
    buf[used] = '\0';
    return 0;
}

static int map_device(struct gr_dt *dt, const struct gr_dt_chain *bridge, const struct map_entry *e,
                      const struct gr_dt_iommu *iommu, struct gr_dt_master *out)
{
    struct gr_dt_chain port;
    int ret;

    memset(out, 0, sizeof(*out));
    if (map_streams(dt, bridge, e, iommu, out) || find_port(dt, bridge, e, &port, &out->untrusted))
        return GR_EBADMSG;
    if (port.depth) {
        ret = gri_dt_path(dt, &port, out->path);
    } else {
        port = *bridge;
        ret = rid_path(dt, bridge, e->first, out->path);
    }
    if (ret)
        return ret;
    out->node = gri_dt_node(&port);
    if (reserve_host(dt, bridge, out))
        return GR_EBADMSG;
    return read_limits(dt, &port, bridge, out);
}

/*
 * Read the mask of an iommu-map to e->mask, and the whole property to *cells: 1, 0 if the node is
 * disabled or has no iommu-map, or an error.
 */
static int open_map(struct gr_dt *dt, const struct gr_dt_chain *bridge, struct gri_dt_cells *cells,
                    struct map_entry *e)
{
    int ret;

    if (!gri_dt_has(dt, bridge, "iommu-map") || !gri_dt_enabled(dt, bridge))
        return 0;
    ret = gri_dt_get_cells(dt, bridge, "iommu-map", cells);
    if (ret <= 0)
        return ret;
    if (!cells->n || cells->n % 4 != 0)
        return gri_dt_fail(dt, bridge,
                           "iommu-map has %u cells, not a multiple of the 4 of an entry; "
                           "give RID base, IOMMU, SID base and length",
                           cells->n);
    e->mask = UINT32_MAX;
    ret = gri_dt_get_u32(dt, bridge, "iommu-map-mask", &e->mask);
    return ret < 0 ? ret : 1;
}

static int check_entry(struct gr_dt *dt, const struct gr_dt_chain *bridge, unsigned index,
                       const struct map_entry *e, uint32_t length, const struct gr_dt_iommu *iommu)
{
    if (!length || e->first > 0xffff || length > 0x10000 - e->first)
        return gri_dt_fail(dt, bridge,
                           "iommu-map entry %u covers no RIDs or some above 0xffff; "
                           "correct RID base or length",
                           index);
    if ((e->first & ~e->mask) != 0)
        return gri_dt_fail(dt, bridge,
                           "iommu-map-mask %llx hides RID base %llx of entry %u of "
                           "iommu-map, which can never match; correct either",
                           (unsigned long long)e->mask, (unsigned long long)e->first, index);
    if (iommu->iommu_cells != 1)
        return gri_dt_fail(dt, bridge,
                           "iommu-map names %s, whose #iommu-cells is %u; it can only "
                           "name one with 1",
                           iommu->path, iommu->iommu_cells);
    if (e->sid > UINT32_MAX - (length - 1))
        return gri_dt_fail(dt, bridge,
                           "iommu-map entry %u has streams above 0xffffffff; correct "
                           "SID base or length",
                           index);
    return 0;
}

/*
 * Read entry `index` of the iommu-map at it->at to *e, except for the mask, and the entry's IOMMU
 * to *iommu: 1, 0 if the IOMMU is disabled, or an error.
 */
static int read_entry(struct gr_dt *dt, struct gr_dt_iter *it, const struct gri_dt_cells *cells,
                      unsigned index, struct map_entry *e, struct gr_dt_iommu *iommu)
{
    const fdt32_t *const v = cells->v + (size_t)index * 4;

    const uint32_t length = fdt32_ld(v + 3);
    const int ret = resolve(dt, it, "iommu-map", fdt32_ld(v + 1), iommu);

    if (ret || !iommu->enabled)
        return ret;
    e->first = fdt32_ld(v);
    e->sid = fdt32_ld(v + 2);
    if (check_entry(dt, &it->at, index, e, length, iommu))
        return GR_EBADMSG;
    e->last = e->first + (length - 1);
    return 1;
}

/*
 * Read the device of entry it->entry - 1 of the iommu-map at it->at, and go to the next entry: 1
 * and the device, 0 if the IOMMU is disabled or past the last entry, or an error.
 */
static int from_map(struct gr_dt *dt, struct gr_dt_iter *it, struct gr_dt_master *out)
{
    const unsigned index = it->entry - 1;
    struct gri_dt_cells cells = {NULL, 0};
    struct gr_dt_iommu iommu;
    struct map_entry e;
    int ret = open_map(dt, &it->at, &cells, &e);

    if (ret < 0)
        return ret;
    if (index >= cells.n / 4) {
        it->entry = 0;
        return 0;
    }
    it->entry++;
    ret = read_entry(dt, it, &cells, index, &e, &iommu);
    if (ret <= 0)
        return ret;
    ret = map_device(dt, &it->at, &e, &iommu, out);
    return ret ? ret : 1;
}

/* Go to the node at an offset: 1, 0 if no node is there, or an error. */
static int go_to(struct gr_dt *dt, int node, struct gr_dt_chain *out)
{
    int ret;

    do
        ret = gri_dt_step(dt, out);
    while (ret > 0 && gri_dt_node(out) != node);
    return ret;
}

static int pci_function(struct gr_dt *dt, struct gr_dt_iter *it, int bridge, uint32_t rid,
                        struct gr_dt_master *out)
{
    struct gri_dt_cells cells = {NULL, 0};
    struct gr_dt_iommu iommu;
    struct map_entry e;
    int ret = go_to(dt, bridge, &it->at);

    if (ret > 0)
        ret = open_map(dt, &it->at, &cells, &e);
    for (unsigned i = 0; i < cells.n / 4 && ret >= 0; i++) {
        ret = read_entry(dt, it, &cells, i, &e, &iommu);
        if (ret <= 0 || (rid & e.mask) < e.first || (rid & e.mask) > e.last)
            continue;
        e.sid += (rid & e.mask) - e.first;
        e.first = e.last = rid & e.mask;
        ret = map_device(dt, &it->at, &e, &iommu, out);
        return ret ? ret : 1;
    }
    return ret < 0 ? ret : 0;
}

int gr_dt_pci_function(struct gr_dt *dt, int bridge, uint32_t rid, struct gr_dt_master *out)
{
    struct gr_dt_iter it = {0};
    struct gr_dt_master record;
    int ret;

    gri_dt_begin(dt, &it);
    ret = gri_dt_end(dt, &it, pci_function(dt, &it, bridge, rid, &record));
    if (ret > 0)
        *out = record;
    return ret;
}

/*
 * The next device: 1, 0 at the end, or an error. it->entry is 0 if the next node is due, else 1 +
 * the index of the next entry of iommu-map.
 */
static int master_next(struct gr_dt *dt, struct gr_dt_iter *it, struct gr_dt_master *out)
{
    int ret;

    do {
        if (!it->entry) {
            ret = gri_dt_step(dt, &it->at);
            if (ret <= 0)
                return ret;
            it->entry = 1;
            ret = from_iommus(dt, it, out);
        } else {
            ret = from_map(dt, it, out);
        }
    } while (!ret);
    return ret;
}

int gr_dt_master_next(struct gr_dt *dt, struct gr_dt_iter *it, struct gr_dt_master *out)
{
    struct gr_dt_master record;
    int ret;

    gri_dt_begin(dt, it);
    ret = gri_dt_end(dt, it, master_next(dt, it, &record));
    if (ret > 0)
        *out = record;
    return ret;
}
