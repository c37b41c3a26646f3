/* SPDX-License-Identifier: MIT */
/* The timed loops, compiled once for each side after its side_* adaptors. */
#include "side.h"

static long loop_pairs(void *space, const unsigned *size, ul mask, long n, ul limit)
{
    long failed = 0;

    for (long i = 0; i < n; i++) {
        const ul s = size[(ul)i & mask];
        const ul at = side_alloc(space, s, limit);

        if (at)
            side_release(space, at, s);
        else
            failed++;
    }
    return failed;
}

static long loop_allocs(void *space, const unsigned *size, ul *at, long n, ul limit)
{
    long failed = 0;

    for (long i = 0; i < n; i++)
        failed += !(at[i] = side_alloc(space, size[i], limit));
    return failed;
}

static void loop_releases(void *space, const unsigned *size, const ul *at, const unsigned *order,
                          long n)
{
    for (long i = 0; i < n; i++) {
        const unsigned k = order[i];

        if (at[k])
            side_release(space, at[k], size[k]);
    }
}

static long loop_churn(void *space, ul *at, unsigned *size, const unsigned *which,
                       const unsigned *next, long n, ul limit)
{
    long failed = 0;

    for (long i = 0; i < n; i++) {
        const unsigned k = which[i];

        if (at[k])
            side_release(space, at[k], size[k]);
        size[k] = next[i];
        at[k] = side_alloc(space, size[k], limit);
        failed += !at[k];
    }
    return failed;
}

/* As Linux's core does it: a call maps what one table holds, and the caller goes on behind that. */
static long loop_pt_map(void *pt, const ul *iova, const ul *pa, long n, ul page, ul count)
{
    long bad = 0;

    for (long i = 0; i < n; i++) {
        ul v = iova[i];
        ul p = pa[i];
        ul left = count;

        do {
            const ul done = side_pt_map(pt, v, p, page, left);

            if (!done) {
                bad++;
                break;
            }
            v += done;
            p += done;
            left -= done / page;
        } while (left);
    }
    return bad;
}

static long loop_pt_unmap(void *pt, const ul *iova, long n, ul page, ul count)
{
    long bad = 0;

    for (long i = 0; i < n; i++) {
        ul v = iova[i];
        ul left = count;

        do {
            const ul done = side_pt_unmap(pt, v, page, left);

            if (!done) {
                bad++;
                break;
            }
            v += done;
            left -= done / page;
        } while (left);
    }
    return bad;
}

static long loop_lists(void *dev, void *list, long n, long rounds)
{
    long bad = 0;

    for (long i = 0; i < rounds; i++) {
        if (side_list_map(dev, list, n) > 0)
            side_list_unmap(dev, list, n);
        else
            bad++;
    }
    return bad;
}

static ul call_alloc(void *space, ul size, ul limit)
{
    return side_alloc(space, size, limit);
}

static void call_release(void *space, ul at, ul size)
{
    side_release(space, at, size);
}

static long call_list_map(void *dev, void *list, long n)
{
    return side_list_map(dev, list, n);
}

static void call_list_unmap(void *dev, void *list, long n)
{
    side_list_unmap(dev, list, n);
}

const struct side SIDE_SYMBOL = {
    .name = SIDE_NAME,
    .space_make = side_space_make,
    .space_end = side_space_end,
    .alloc = call_alloc,
    .release = call_release,
    .alloc_plain = side_alloc_plain,
    .release_plain = side_release_plain,
    .pairs = loop_pairs,
    .allocs = loop_allocs,
    .releases = loop_releases,
    .churn = loop_churn,
    .pt_make = side_pt_make,
    .pt_end = side_pt_end,
    .pt_map = loop_pt_map,
    .pt_unmap = loop_pt_unmap,
    .pt_phys = side_pt_phys,
    .dev_make = side_dev_make,
    .dev_end = side_dev_end,
    .ring_make = side_ring_make,
    .ring_end = side_ring_end,
    .list_make = side_list_make,
    .list_end = side_list_end,
    .lists = loop_lists,
    .list_map = call_list_map,
    .list_unmap = call_list_unmap,
    .list_bad = side_list_bad,
    .dev_tables = side_dev_tables,
    .memory = side_memory,
    .reset = side_reset,
};
