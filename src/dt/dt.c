/* SPDX-License-Identifier: MIT */
/* The tree itself: opening, walking, properties, addresses, sentences of errors. */
#include "dt_internal.h"

#include <stdarg.h>

struct text {
    char *at;
    char *end; /* the last byte of the buffer, for the NUL */
};

/* Names and strings come from an untrusted tree: only printable ASCII is kept. */
static void put_text(struct text *t, const char *s, size_t max)
{
    for (; *s && max && t->at < t->end; s++, max--)
        *t->at++ = *s >= 0x20 && *s < 0x7f ? *s : '?';
}

static void put_number(struct text *t, uint64_t n, unsigned base)
{
    char digits[21];
    char *d = &digits[sizeof(digits) - 1];

    *d = '\0';
    do {
        *--d = "0123456789abcdef"[n % base];
        n /= base;
    } while (n);
    put_text(t, d, sizeof(digits));
}

static void put_path(struct text *t, struct gr_dt *dt, const struct gr_dt_chain *at)
{
    struct text part = {t->at, t->at + GR_DT_PATH < t->end ? t->at + GR_DT_PATH : t->end};

    if (at->depth == 1)
        put_text(&part, "/", 1);
    for (int i = 1; i < at->depth; i++) {
        const char *const name = fdt_get_name(dt->fdt, at->node[i], NULL);

        put_text(&part, "/", 1);
        put_text(&part, name ? name : "?", SIZE_MAX);
    }
    t->at = part.at;
}

static void put_format(struct text *t, const char *fmt, va_list ap)
{
    for (; *fmt; fmt++) {
        if (*fmt != '%') {
            put_text(t, fmt, 1);
        } else if (fmt[1] == 's') {
            put_text(t, va_arg(ap, const char *), GR_DT_PATH);
            fmt += 1;
        } else if (fmt[1] == 'u') {
            put_number(t, va_arg(ap, unsigned), 10);
            fmt += 1;
        } else { /* %llx */
            put_text(t, "0x", 2);
            put_number(t, va_arg(ap, unsigned long long), 16);
            fmt += 3;
        }
    }
}

int gri_dt_fail(struct gr_dt *dt, const struct gr_dt_chain *at, const char *fmt, ...)
{
    struct text t = {dt->error, dt->error + sizeof(dt->error) - 1};
    va_list ap;

    if (at) {
        put_path(&t, dt, at);
        put_text(&t, ": ", 2);
    }
    va_start(ap, fmt);
    put_format(&t, fmt, ap);
    va_end(ap);
    *t.at = '\0';
    return GR_EBADMSG;
}

/*
 * Has each name in the strings block its NUL within GR_DT_NAME bytes? libfdt, fdt_check_full()
 * included, reads a name to its end whenever it passes the name: long names cost too much.
 */
static bool short_strings(const void *blob, size_t size)
{
    const char *s = blob;
    size_t run = 0;

    if (size < sizeof(struct fdt_header) || fdt_check_header(blob) != 0 ||
        size < fdt_totalsize(blob))
        return true; /* fdt_check_full() says what is wrong */
    s += fdt_off_dt_strings(blob);
    for (size_t i = 0; i < fdt_size_dt_strings(blob) && run < GR_DT_NAME; i++)
        run = s[i] ? run + 1 : 0;
    return run < GR_DT_NAME;
}

/* Has each node's name its NUL within GR_DT_NAME bytes? The name lies between two tags. */
static bool short_nodes(const void *blob)
{
    int node = 0;
    int next = 0;

    do {
        (void)fdt_next_tag(blob, node, &next);
        if (next - node > 4 + GR_DT_NAME)
            return false;
        node = fdt_next_node(blob, node, NULL);
    } while (node >= 0);
    return true;
}

int gr_dt_open(struct gr_dt *dt, const void *blob, size_t size)
{
    int ret;

    dt->fdt = blob;
    dt->work = 0;
    dt->error[0] = '\0';
    if (!blob || (uintptr_t)blob & 7) {
        (void)gri_dt_fail(dt, NULL, "the device tree must lie at an 8-byte aligned address");
        return GR_EINVAL;
    }
    if (size > GR_DT_SIZE_MAX)
        return gri_dt_fail(dt, NULL, "the device tree is larger than %u bytes; give a smaller one",
                           GR_DT_SIZE_MAX);
    if (!short_strings(blob, size))
        return gri_dt_fail(dt, NULL, "a property's name is longer than %u characters; shorten it",
                           GR_DT_NAME - 1u);
    ret = fdt_check_full(blob, size);
    if (ret)
        return gri_dt_fail(dt, NULL,
                           "this is not a device tree, or a damaged one (%s); give a whole .dtb",
                           fdt_strerror(ret));
    if (!fdt_get_name(blob, 0, NULL))
        return gri_dt_fail(dt, NULL, "the device tree has no root node; compile it again with dtc");
    if (!short_nodes(blob))
        return gri_dt_fail(dt, NULL, "a node's name is longer than %u characters; shorten it",
                           GR_DT_NAME - 1u);
    return 0;
}

int gri_dt_end(struct gr_dt *dt, struct gr_dt_iter *it, int ret)
{
    it->work = GR_DT_WORK - dt->work;
    if (!dt->work && it->at.depth > 0)
        ret = gri_dt_fail(dt, &it->at,
                          "to read the tree up to here takes more looks at nodes, properties and "
                          "windows than we make; give a smaller tree, or fewer references");
    if (ret < 0) {
        it->at.depth = -1;
        it->entry = 0;
    }
    return ret;
}

int gri_dt_step(struct gr_dt *dt, struct gr_dt_chain *at)
{
    int depth = at->depth;
    int node = 0;

    if (depth < 0)
        return 0;
    if (!depth) {
        depth = 1;
    } else {
        const uint32_t here = (uint32_t)gri_dt_node(at);

        node = fdt_next_node(dt->fdt, gri_dt_node(at), &depth);
        /* four bytes hold one tag at most: count them instead of the tags that were passed */
        gri_dt_spend(dt, ((node < 0 ? fdt_totalsize(dt->fdt) : (uint32_t)node) - here) / 4);
        if (!dt->work)
            return GR_EBADMSG;
        if (node < 0 || depth < 2) {
            at->depth = -1;
            return 0;
        }
    }
    if (depth > GR_DT_DEPTH)
        return gri_dt_fail(dt, at, "its children are nested deeper than %u nodes; flatten the tree",
                           (unsigned)GR_DT_DEPTH);
    at->node[depth - 1] = node;
    at->depth = depth;
    return 1;
}

static bool has_phandle(struct gr_dt *dt, const struct gr_dt_chain *at, uint32_t phandle)
{
    int len = 0;

    const fdt32_t *value = gri_dt_get(dt, at, "phandle", &len);

    if (!value || len != 4)
        value = gri_dt_get(dt, at, "linux,phandle", &len);
    return value && len == 4 && fdt32_ld(value) == phandle;
}

int gri_dt_locate(struct gr_dt *dt, uint32_t phandle, struct gr_dt_chain *out)
{
    int ret;

    out->depth = 0;
    do
        ret = gri_dt_step(dt, out);
    while (ret > 0 && !has_phandle(dt, out, phandle));
    return ret;
}

int gri_dt_path(struct gr_dt *dt, const struct gr_dt_chain *at, char *buf)
{
    size_t used = 0;

    for (int i = 1; i < at->depth; i++) {
        int len = 0;
        const char *const name = fdt_get_name(dt->fdt, at->node[i], &len);

        if (!name || len <= 0)
            return gri_dt_fail(dt, at, "a node on this path has no name; name it");
        if (used + 1 + (size_t)len >= GR_DT_PATH)
            return gri_dt_fail(dt, at, "the path is longer than %u characters; shorten the names",
                               GR_DT_PATH - 1u);
        for (int k = 0; k < len; k++) {
            if (name[k] <= 0x20 || name[k] >= 0x7f || name[k] == '/')
                return gri_dt_fail(dt, at,
                                   "a node name has a character that names cannot have; use "
                                   "letters, digits and ,._+-@");
        }
        buf[used++] = '/';
        memcpy(buf + used, name, (size_t)len);
        used += (size_t)len;
    }
    if (!used)
        buf[used++] = '/';
    buf[used] = '\0';
    return 0;
}

/* As fdt_getprop(), but counts the work. */
const void *gri_dt_get(struct gr_dt *dt, const struct gr_dt_chain *at, const char *prop, int *len)
{
    int next = 0;
    uint32_t tag;

    (void)fdt_next_tag(dt->fdt, gri_dt_node(at), &next);
    do {
        const int here = next;
        const char *name = NULL;

        tag = fdt_next_tag(dt->fdt, here, &next);
        gri_dt_spend(dt, 1);
        if (tag == FDT_PROP) {
            const void *const value = fdt_getprop_by_offset(dt->fdt, here, &name, len);

            if (gri_dt_same(name, prop))
                return value;
        }
    } while (dt->work && (tag == FDT_PROP || tag == FDT_NOP));
    return NULL;
}

bool gri_dt_has(struct gr_dt *dt, const struct gr_dt_chain *at, const char *prop)
{
    int len;

    return gri_dt_get(dt, at, prop, &len) != NULL;
}

bool gri_dt_is(struct gr_dt *dt, const struct gr_dt_chain *at, const char *prop, const char *text)
{
    int len = 0;
    const char *const value = gri_dt_get(dt, at, prop, &len);
    const size_t want = gri_dt_length(text) + 1;

    return value && (size_t)len == want && memcmp(value, text, want) == 0;
}

bool gri_dt_compatible(struct gr_dt *dt, const struct gr_dt_chain *at, const char *with)
{
    int len = 0;
    const char *const value = gri_dt_get(dt, at, "compatible", &len);

    if (!value)
        return false;
    gri_dt_spend(dt, (uint32_t)len);
    return fdt_stringlist_contains(value, len, with) != 0;
}

bool gri_dt_enabled(struct gr_dt *dt, const struct gr_dt_chain *at)
{
    struct gr_dt_chain up = *at;

    for (; up.depth > 0; up.depth--) {
        if (gri_dt_has(dt, &up, "status") && !gri_dt_is(dt, &up, "status", "okay") &&
            !gri_dt_is(dt, &up, "status", "ok"))
            return false;
    }
    return true;
}

int gri_dt_get_cells(struct gr_dt *dt, const struct gr_dt_chain *at, const char *prop,
                     struct gri_dt_cells *out)
{
    int len = 0;
    const void *const value = gri_dt_get(dt, at, prop, &len);

    if (!value)
        return 0;
    if (len % 4 != 0)
        return gri_dt_fail(dt, at,
                           "%s has %u bytes, not a whole number of 32-bit cells; write cells", prop,
                           (unsigned)len);
    out->v = value;
    out->n = (unsigned)len / 4;
    return 1;
}

int gri_dt_get_u32(struct gr_dt *dt, const struct gr_dt_chain *at, const char *prop, uint32_t *out)
{
    struct gri_dt_cells cells;
    const int ret = gri_dt_get_cells(dt, at, prop, &cells);

    if (ret <= 0)
        return ret;
    if (cells.n != 1)
        return gri_dt_fail(dt, at, "%s has %u cells; give one", prop, cells.n);
    *out = fdt32_ld(cells.v);
    return 1;
}

int gri_dt_check_own(struct gr_dt *dt, const struct gr_dt_chain *at, const char *const *known,
                     size_t count, const char *hint)
{
    int prop;

    fdt_for_each_property_offset(prop, dt->fdt, gri_dt_node(at))
    {
        const char *name = NULL;
        bool good = fdt_getprop_by_offset(dt->fdt, prop, &name, NULL) == NULL;

        gri_dt_spend(dt, 1);
        for (size_t i = 0; i < 8 && !good; i++)
            good = name[i] != "granule,"[i];
        for (size_t i = 0; i < count && !good; i++)
            good = gri_dt_same(name, known[i]);
        if (!good)
            return gri_dt_fail(dt, at, "%s is not known; give one of %s", name, hint);
    }
    return 0;
}

/* How a bus's children write addresses. The defaults are those of the devicetree specification. */
int gri_dt_bus_cells(struct gr_dt *dt, const struct gr_dt_chain *bus, unsigned *out_address,
                     unsigned *out_size)
{
    uint32_t address = 2;
    uint32_t size = 1;

    if (gri_dt_get_u32(dt, bus, "#address-cells", &address) < 0 ||
        gri_dt_get_u32(dt, bus, "#size-cells", &size) < 0)
        return GR_EBADMSG;
    if (address < 1 || address > 3)
        return gri_dt_fail(dt, bus, "#address-cells is %u; give 1 or 2, or 3 on a PCI bus",
                           (unsigned)address);
    if (size > 2)
        return gri_dt_fail(dt, bus, "#size-cells is %u; give 0, 1 or 2", (unsigned)size);
    *out_address = address;
    *out_size = size;
    return 0;
}

int gri_dt_get_ranges(struct gr_dt *dt, const struct gr_dt_chain *bus, const char *prop,
                      struct gri_dt_ranges *out)
{
    struct gr_dt_chain parent = *bus;
    struct gri_dt_cells cells;
    unsigned unused;
    const int ret = gri_dt_get_cells(dt, bus, prop, &cells);

    if (ret <= 0)
        return ret;
    parent.depth--;
    if (gri_dt_bus_cells(dt, bus, &out->child_cells, &out->size_cells) ||
        gri_dt_bus_cells(dt, &parent, &out->parent_cells, &unused))
        return GR_EBADMSG;
    out->stride = out->child_cells + out->parent_cells + out->size_cells;
    if (cells.n % out->stride != 0)
        return gri_dt_fail(
            dt, bus,
            "%s has %u cells, not a multiple of the %u of an entry; give child address, "
            "parent address and size",
            prop, cells.n, out->stride);
    out->name = prop;
    out->v = cells.v;
    out->n = cells.n / out->stride;
    return 1;
}

int gri_dt_get_window(struct gr_dt *dt, const struct gr_dt_chain *bus,
                      const struct gri_dt_ranges *ranges, unsigned index, struct gri_dt_window *out)
{
    const fdt32_t *const child = ranges->v + (size_t)index * ranges->stride;
    const fdt32_t *const parent = child + ranges->child_cells;
    const unsigned child_flags = ranges->child_cells == 3;
    const unsigned parent_flags = ranges->parent_cells == 3;
    const uint64_t size = gri_dt_number(parent + ranges->parent_cells, ranges->size_cells);

    gri_dt_spend(dt, 1);
    if (!dt->work)
        return GR_EBADMSG;
    out->flags = child_flags ? fdt32_ld(child) : 0;
    if (!gri_dt_make_range(gri_dt_number(child + child_flags, ranges->child_cells - child_flags),
                           size, &out->child) ||
        !gri_dt_make_range(
            gri_dt_number(parent + parent_flags, ranges->parent_cells - parent_flags), size,
            &out->parent))
        return gri_dt_fail(dt, bus,
                           "%s entry %u has a size of %llx, which is zero or passes the end of the "
                           "address space; correct the size",
                           ranges->name, index, (unsigned long long)size);
    return 0;
}

/* Translate a range from the address space of a bus to that of the bus's parent. */
static int translate_once(struct gr_dt *dt, const struct gr_dt_chain *at,
                          const struct gr_dt_chain *bus, struct gr_range *r)
{
    struct gri_dt_ranges ranges;
    struct gri_dt_window w;
    int ret = gri_dt_get_ranges(dt, bus, "ranges", &ranges);

    if (ret < 0)
        return ret;
    if (!ret)
        return gri_dt_fail(
            dt, bus, "ranges is missing, so that the CPU cannot reach what is below; give it");
    if (ranges.child_cells == 3)
        return gri_dt_fail(dt, at, "reg lies on a PCI bus and is not a CPU address; move the node");
    if (!ranges.n)
        return 0;
    for (unsigned i = 0; i < ranges.n; i++) {
        ret = gri_dt_get_window(dt, bus, &ranges, i, &w);
        if (ret)
            return ret;
        if (r->first >= w.child.first && r->last <= w.child.last) {
            r->last = r->last - w.child.first + w.parent.first;
            r->first = r->first - w.child.first + w.parent.first;
            return 0;
        }
    }
    return gri_dt_fail(dt, at, "reg %llx lies outside the ranges of its bus; correct either",
                       (unsigned long long)r->first);
}

int gri_dt_get_reg(struct gr_dt *dt, const struct gr_dt_chain *at, unsigned index, uint64_t *base,
                   uint64_t *size)
{
    struct gr_dt_chain bus = *at;
    struct gri_dt_cells reg;
    struct gr_range r;
    unsigned address_cells;
    unsigned size_cells;
    unsigned flags;
    int ret;

    bus.depth--;
    if (!bus.depth)
        return 0; /* the root */
    ret = gri_dt_get_cells(dt, at, "reg", &reg);
    if (ret > 0)
        ret = gri_dt_bus_cells(dt, &bus, &address_cells, &size_cells) ? GR_EBADMSG : 1;
    if (ret <= 0)
        return ret;
    if (!reg.n || reg.n % (address_cells + size_cells) != 0)
        return gri_dt_fail(
            dt, at,
            "reg has %u cells, not a multiple of the %u of an entry; give %u of address "
            "and %u of size",
            reg.n, address_cells + size_cells, address_cells, size_cells);
    if (index >= reg.n / (address_cells + size_cells))
        return 0;
    reg.v += (size_t)index * (address_cells + size_cells);
    flags = address_cells == 3;
    *base = gri_dt_number(reg.v + flags, address_cells - flags);
    *size = gri_dt_number(reg.v + address_cells, size_cells);
    if (!*size)
        return 1;
    if (!gri_dt_make_range(*base, *size, &r))
        return gri_dt_fail(
            dt, at, "reg %llx with size %llx passes the end of the address space; correct it",
            (unsigned long long)*base, (unsigned long long)*size);
    for (; bus.depth > 1; bus.depth--) {
        ret = translate_once(dt, at, &bus, &r);
        if (ret)
            return ret;
    }
    *base = r.first;
    return 1;
}
