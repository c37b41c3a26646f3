/* SPDX-License-Identifier: MIT */
/* Shared by the files of the device-tree front end. `at` is the node that a function is about. */
#ifndef GRI_DT_INTERNAL_H
#define GRI_DT_INTERNAL_H

#include <granule/dt.h>
#include <libfdt.h> /* and, through its own port libfdt_env.h, mem* */

/* A property as 32-bit cells. */
struct gri_dt_cells {
    const fdt32_t *v;
    unsigned n;
};

/* A `ranges` or `dma-ranges` property: n entries of `stride` cells; 0 if the property is empty. */
struct gri_dt_ranges {
    const char *name;
    const fdt32_t *v;
    unsigned n;
    unsigned stride;
    unsigned child_cells; /* 1 or 2, or 3 on a PCI bus: a cell of flags, then the address */
    unsigned parent_cells;
    unsigned size_cells;
};

/* One entry of such a property. Neither range is empty or passes the end of the addresses. */
struct gri_dt_window {
    uint32_t flags; /* PCI's first cell, or 0 */
    struct gr_range child;
    struct gr_range parent;
};

/* strlen(), which is not among the four functions that the library takes from libc. */
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
 * Set dt->error to "<path>: <sentence>" and return GR_EBADMSG. With `at` NULL there is no path. The
 * format may have %s, %u and %llx (64 bits, printed with 0x).
 */
__attribute__((format(printf, 3, 4))) int
gri_dt_fail(struct gr_dt *dt, const struct gr_dt_chain *at, const char *fmt, ...);

/*
 * Work: a hostile tree makes every lookup slow, and needs many of them. So every look at a node, a
 * property or a window is counted. Once nothing is left of GR_DT_WORK, lookups find nothing, steps
 * and windows fail, and gri_dt_end() returns an error whatever the iteration found.
 */
static inline void gri_dt_spend(struct gr_dt *dt, uint32_t work)
{
    dt->work -= dt->work < work ? dt->work : work;
}

static inline void gri_dt_begin(struct gr_dt *dt, const struct gr_dt_iter *it)
{
    dt->work = GR_DT_WORK - it->work;
}

/* The last step of each gr_dt_*_next(). Puts the iteration to its end after an error. */
int gri_dt_end(struct gr_dt *dt, struct gr_dt_iter *it, int ret);

/*
 * Go to the next node in the order of the tree: 1, 0 at the end, or an error. From a chain of all
 * zeros the next node is the root.
 */
int gri_dt_step(struct gr_dt *dt, struct gr_dt_chain *at);

/* Find the node with a phandle: 1, 0 if no node has it, or an error. */
int gri_dt_locate(struct gr_dt *dt, uint32_t phandle, struct gr_dt_chain *out);

/* Write the full path into buf[GR_DT_PATH]. Fails if it does not fit or a name is not printable. */
int gri_dt_path(struct gr_dt *dt, const struct gr_dt_chain *at, char *buf);

/* The value of a property, and its number of bytes in *len; NULL if there is no such property. */
const void *gri_dt_get(struct gr_dt *dt, const struct gr_dt_chain *at, const char *prop, int *len);
bool gri_dt_has(struct gr_dt *dt, const struct gr_dt_chain *at, const char *prop);
bool gri_dt_is(struct gr_dt *dt, const struct gr_dt_chain *at, const char *prop, const char *text);
bool gri_dt_compatible(struct gr_dt *dt, const struct gr_dt_chain *at, const char *with);
bool gri_dt_enabled(struct gr_dt *dt, const struct gr_dt_chain *at);

/* Read a property: 1 and the value, 0 if it is absent, or an error if its length is wrong. */
int gri_dt_get_cells(struct gr_dt *dt, const struct gr_dt_chain *at, const char *prop,
                     struct gri_dt_cells *out);
int gri_dt_get_u32(struct gr_dt *dt, const struct gr_dt_chain *at, const char *prop, uint32_t *out);

/*
 * Fail if the node has a property whose name begins with "granule," and is not among the `count` of
 * `known`: a typing error in a name would change the machine in silence. `hint` lists the names for
 * the sentence.
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

/* Make [start, start + size) a range. False if it is empty or passes the end of the addresses. */
static inline bool gri_dt_make_range(uint64_t start, uint64_t size, struct gr_range *out)
{
    out->first = start;
    out->last = start + (size - 1);
    return size && out->last >= start;
}

/* Cut `r` to what it shares with `with`. False, and `r` undefined, if they share nothing. */
static inline bool gri_dt_cut(struct gr_range *r, const struct gr_range *with)
{
    r->first = r->first > with->first ? r->first : with->first;
    r->last = r->last < with->last ? r->last : with->last;
    return r->first <= r->last;
}

/* Read a bus's #address-cells, 1 to 3, and #size-cells, 0 to 2. */
int gri_dt_bus_cells(struct gr_dt *dt, const struct gr_dt_chain *bus, unsigned *out_address,
                     unsigned *out_size);

/* Read the regions of the master at `at`. `it` counts the references that are followed. */
int gri_dt_read_regions(struct gr_dt *dt, struct gr_dt_iter *it, const struct gr_dt_chain *at,
                        struct gr_dt_master *out);

/*
 * Read the `ranges` or `dma-ranges` of a bus that is not the root: 1, 0 if the property is absent,
 * or an error. Then read one entry: 0 or an error.
 */
int gri_dt_get_ranges(struct gr_dt *dt, const struct gr_dt_chain *bus, const char *prop,
                      struct gri_dt_ranges *out);
int gri_dt_get_window(struct gr_dt *dt, const struct gr_dt_chain *bus,
                      const struct gri_dt_ranges *ranges, unsigned index,
                      struct gri_dt_window *out);

/*
 * Read entry `index` of `reg`: 1 and its CPU address and size, 0 past the last entry or without a
 * `reg`, or an error. An entry of size 0 is neither checked nor translated to a CPU address.
 */
int gri_dt_get_reg(struct gr_dt *dt, const struct gr_dt_chain *at, unsigned index, uint64_t *base,
                   uint64_t *size);

/* Read the IOMMU at a node with `#iommu-cells`. Returns 0 or an error. */
int gri_dt_read_iommu(struct gr_dt *dt, const struct gr_dt_chain *at, struct gr_dt_iommu *out);

#endif
