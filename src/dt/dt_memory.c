/* SPDX-License-Identifier: MIT */
/* RAM, and the parts of RAM that are reserved. */
#include "dt_internal.h"

/*
 * The next `reg` entry of the nodes for which `wanted` returns 1: 1 and the entry, 0 at the end, or
 * an error, also one of `wanted`. it->entry is 0 before a node and after its last entry. Within a
 * node it is the index of the next entry.
 */
static int next_entry(struct gr_dt *dt, struct gr_dt_iter *it,
                      int (*wanted)(struct gr_dt *, const struct gr_dt_chain *), uint64_t *base,
                      uint64_t *size)
{
    for (;;) {
        int ret;

        if (!it->entry) {
            ret = gri_dt_step(dt, &it->at);
            if (ret <= 0)
                return ret;
            ret = wanted(dt, &it->at);
            if (ret < 0)
                return ret;
            if (!ret)
                continue;
        }
        ret = gri_dt_get_reg(dt, &it->at, it->entry, base, size);
        if (ret < 0)
            return ret;
        it->entry = ret > 0 ? it->entry + 1 : 0;
        if (ret > 0)
            return 1;
    }
}

static int is_memory(struct gr_dt *dt, const struct gr_dt_chain *at)
{
    if (!gri_dt_is(dt, at, "device_type", "memory") || !gri_dt_enabled(dt, at))
        return 0;
    if (!gri_dt_has(dt, at, "reg"))
        return gri_dt_fail(dt, at, "reg is missing; give base and size of the RAM");
    return 1;
}

/* The next bank, which is sound by itself: 1, 0 at the end, or an error. */
static int next_bank(struct gr_dt *dt, struct gr_dt_iter *it, struct gr_range *out)
{
    uint64_t base;
    uint64_t size;
    const int ret = next_entry(dt, it, is_memory, &base, &size);

    if (ret <= 0)
        return ret;
    if (!gri_dt_make_range(base, size, out))
        return gri_dt_fail(dt, &it->at,
                           "reg has a bank of size 0; give the size of the RAM fitted");
    it->count++;
    if (it->count > GR_DT_BANKS)
        return gri_dt_fail(dt, &it->at,
                           "reg is past the %u banks of RAM that we can hold; join "
                           "neighbouring banks",
                           (unsigned)GR_DT_BANKS);
    return 1;
}

static int memory_next(struct gr_dt *dt, struct gr_dt_iter *it, struct gr_range *out)
{
    struct gr_dt_iter before = {0};
    struct gr_range bank;
    struct gr_range other;
    const int ret = next_bank(dt, it, &bank);

    if (ret < 0)
        return ret;
    if (!ret)
        return it->count ? 0
                         : gri_dt_fail(dt, NULL,
                                       "/: no enabled node has device_type = \"memory\" and a "
                                       "reg; add one with the machine's RAM");
    while (before.count + 1 < it->count && next_bank(dt, &before, &other) > 0) {
        if (gri_dt_cut(&other, &bank))
            return gri_dt_fail(dt, &it->at,
                               "reg has a bank at %llx that overlaps another bank; "
                               "correct base or size",
                               (unsigned long long)bank.first);
    }
    *out = bank;
    return 1;
}

/* The next entry of /memreserve/: 1, 0 at the empty entry that ends the block, or an error. */
static int next_memreserve(struct gr_dt *dt, struct gr_dt_iter *it, struct gr_range *out)
{
    uint64_t base = 0;
    uint64_t size = 0;

    /* This cannot fail: gr_dt_open() saw the empty entry, and none behind it is read. */
    (void)fdt_get_mem_rsv(dt->fdt, (int)it->entry++, &base, &size);
    if (!size) {
        it->entry = 0;
        return 0;
    }
    if (!gri_dt_make_range(base, size, out))
        return gri_dt_fail(dt, NULL,
                           "/memreserve/ %llx %llx passes the end of the address space; correct "
                           "the size",
                           (unsigned long long)base, (unsigned long long)size);
    return 1;
}

static int is_reserved_node(struct gr_dt *dt, const struct gr_dt_chain *at)
{
    const char *const name = at->depth == 3 ? fdt_get_name(dt->fdt, at->node[1], NULL) : NULL;

    return name && gri_dt_same(name, "reserved-memory") && gri_dt_enabled(dt, at);
}

static int reserved_next(struct gr_dt *dt, struct gr_dt_iter *it, struct gr_range *out)
{
    uint64_t base;
    uint64_t size;
    int ret = !it->at.depth ? next_memreserve(dt, it, out) : 0;

    if (ret)
        return ret;
    do {
        ret = next_entry(dt, it, is_reserved_node, &base, &size);
        if (ret <= 0)
            return ret;
    } while (!gri_dt_make_range(base, size, out));
    return 1;
}

static int range_end(struct gr_dt *dt, struct gr_dt_iter *it, int ret, const struct gr_range *range,
                     struct gr_range *out)
{
    ret = gri_dt_end(dt, it, ret);
    if (ret > 0)
        *out = *range;
    return ret;
}

int gr_dt_memory_next(struct gr_dt *dt, struct gr_dt_iter *it, struct gr_range *out)
{
    struct gr_range range;

    gri_dt_begin(dt, it);
    return range_end(dt, it, memory_next(dt, it, &range), &range, out);
}

int gr_dt_reserved_next(struct gr_dt *dt, struct gr_dt_iter *it, struct gr_range *out)
{
    struct gr_range range;

    gri_dt_begin(dt, it);
    return range_end(dt, it, reserved_next(dt, it, &range), &range, out);
}
