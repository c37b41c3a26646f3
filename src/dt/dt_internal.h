/* SPDX-License-Identifier: MIT */
/* What the files of the device-tree front end share. `at` is always the node that is meant. */
#ifndef GRI_DT_INTERNAL_H
#define GRI_DT_INTERNAL_H

#include <granule/dt.h>
#include <libfdt.h> /* and, through its own port libfdt_env.h, mem* */

/* A property as 32-bit cells. */
struct gri_dt_cells {
    const fdt32_t *v;
    unsigned n;
};

/* A `ranges` or `dma-ranges` property: n entries of `stride` cells, none where it is empty. */
struct gri_dt_ranges {
    const char *name;
    const fdt32_t *v;
    unsigned n;
    unsigned stride;
    unsigned child_cells; /* 1 or 2, or 3 on PCI: flags before the address */
    unsigned parent_cells;
    unsigned size_cells;
};

/* One entry of it; neither side overflows, the size is not 0. */
struct gri_dt_window {
    uint32_t flags; /* PCI's first cell, or 0 */
    struct gr_range child;
    struct gr_range parent;
};

/* strlen is not among the four functions that the library takes from libc. */
static inline size_t gri_dt_length(const char *text)
{
    size_t n = 0;

    while (text[n])
        n++;
    return n;
}

static inline bool gri_dt_same(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static inline int gri_dt_node(const struct gr_dt_chain *at)
{
    return at->node[at->depth - 1];
}

/*
 * Set dt->error to "<path>: <sentence>" and return GR_EBADMSG. `at` may be NULL: no path. The
 * format knows %s, %u and %llx (64 bits, printed with 0x).
 */
__attribute__((format(printf, 3, 4))) int
gri_dt_fail(struct gr_dt *dt, const struct gr_dt_chain *at, const char *fmt, ...);

/*
 * Work: a hostile tree makes every lookup slow, and asks for many. What takes time that the size of
 * a record does not bound is counted, and where nothing is left, lookups find nothing, steps and
 * windows fail, and gri_dt_end() makes an error of whatever came out.
 */
static inline void gri_dt_spend(struct gr_dt *dt, uint32_t work)
{
    dt->work -= dt->work < work ? dt->work : work;
}

static inline void gri_dt_begin(struct gr_dt *dt, const struct gr_dt_iter *it)
{
    dt->work = GR_DT_WORK - it->work;
}

/* The end of each gr_dt_*_next(). After an error an iteration is at its end. */
int gri_dt_end(struct gr_dt *dt, struct gr_dt_iter *it, int ret);

/*
 * To the next node in tree order: 1, 0 at the end, or an error. A zeroed chain is before the root.
 */
int gri_dt_step(struct gr_dt *dt, struct gr_dt_chain *at);

/* The node with this phandle: 1, 0 where there is none, or an error. */
int gri_dt_locate(struct gr_dt *dt, uint32_t phandle, struct gr_dt_chain *out);

/* The full path into buf[GR_DT_PATH]. Fails when it does not fit or a name is not printable. */
int gri_dt_path(struct gr_dt *dt, const struct gr_dt_chain *at, char *buf);

/* The value of a property and its bytes, or NULL. */
const void *gri_dt_get(struct gr_dt *dt, const struct gr_dt_chain *at, const char *prop, int *len);
bool gri_dt_has(struct gr_dt *dt, const struct gr_dt_chain *at, const char *prop);
bool gri_dt_is(struct gr_dt *dt, const struct gr_dt_chain *at, const char *prop, const char *text);
bool gri_dt_compatible(struct gr_dt *dt, const struct gr_dt_chain *at, const char *with);
bool gri_dt_enabled(struct gr_dt *dt, const struct gr_dt_chain *at);

/* 1 and the value, 0 when absent, or an error when the length is wrong. */
int gri_dt_get_cells(struct gr_dt *dt, const struct gr_dt_chain *at, const char *prop,
                     struct gri_dt_cells *out);
int gri_dt_get_u32(struct gr_dt *dt, const struct gr_dt_chain *at, const char *prop, uint32_t *out);

/*
 * Is each property of the node whose name begins with "granule," among the `count` of `known`? A
 * typing error in one would change the machine in silence. `hint` says what may stand there.
 */
int gri_dt_check_own(struct gr_dt *dt, const struct gr_dt_chain *at, const char *const *known,
                     size_t count, const char *hint);

static inline uint64_t gri_dt_number(const fdt32_t *v, unsigned cells)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < cells; i++)
        n = n << 32 | fdt32_ld(&v[i]);
    return n;
}

/* [start, start + size) as a range; false when it is empty or passes the end. */
static inline bool gri_dt_make_range(uint64_t start, uint64_t size, struct gr_range *out)
{
    out->first = start;
    out->last = start + (size - 1);
    return size && out->last >= start;
}

/* The part that two ranges share; false, and `r` undefined, when there is none. */
static inline bool gri_dt_cut(struct gr_range *r, const struct gr_range *with)
{
    r->first = r->first > with->first ? r->first : with->first;
    r->last = r->last < with->last ? r->last : with->last;
    return r->first <= r->last;
}

/* #address-cells and #size-cells of a bus: 1 to 3, and 0 to 2. */
int gri_dt_bus_cells(struct gr_dt *dt, const struct gr_dt_chain *bus, unsigned *out_address,
                     unsigned *out_size);

/* The regions of a master; `it` counts what is followed. */
int gri_dt_read_regions(struct gr_dt *dt, struct gr_dt_iter *it, const struct gr_dt_chain *at,
                        struct gr_dt_master *out);

/* The ranges of a bus that is not the root: 1, 0 when the property is absent, or an error. */
int gri_dt_get_ranges(struct gr_dt *dt, const struct gr_dt_chain *bus, const char *prop,
                      struct gri_dt_ranges *out);
int gri_dt_get_window(struct gr_dt *dt, const struct gr_dt_chain *bus,
                      const struct gri_dt_ranges *ranges, unsigned index,
                      struct gri_dt_window *out);

/*
 * Entry `index` of `reg`: 1 and CPU addresses (size 0: neither checked nor translated), 0 past the
 * end or without a `reg`, or an error.
 */
int gri_dt_get_reg(struct gr_dt *dt, const struct gr_dt_chain *at, unsigned index, uint64_t *base,
                   uint64_t *size);

/* The IOMMU at a node with `#iommu-cells`. */
int gri_dt_read_iommu(struct gr_dt *dt, const struct gr_dt_chain *at, struct gr_dt_iommu *out);

#endif
