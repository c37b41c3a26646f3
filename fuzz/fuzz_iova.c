/* SPDX-License-Identifier: MIT */
/*
 * The IOVA allocator against a map of its units: what it hands out is free, what it refuses is not
 * there, and every number that it reports is right. Where the space is small, what is promised is
 * exact; one input in 16 has a space with arenas, and several CPUs.
 *
 * Input: the space, then one operation after the other.
 */
#include "fuzz.h"

#include <granule/iova.h>

#include <host.h>
#include <stdbool.h>
#include <string.h>

#define UNITS 300u
#define ARENA_UNITS (1u << 14) /* of a space with arenas */
#define OPS 256u
#define LIVE 64u

enum unit { FREE, USED, HELD, RESERVED };

struct range {
    unsigned at, n; /* units; n 0: none */
};

struct world {
    struct host *host;
    struct gr_iova space;
    uint64_t first; /* of the space's whole units */
    unsigned lg2, units;
    bool arenas;
    unsigned spans; /* of a space with arenas */
    uint8_t unit[ARENA_UNITS];
    struct range live[LIVE];
    struct range held[LIVE];
};

static uint64_t address(const struct world *w, unsigned unit)
{
    return w->first + ((uint64_t)unit << w->lg2);
}

static void set(struct world *w, unsigned at, unsigned n, enum unit state)
{
    memset(w->unit + at, (int)state, n);
}

static unsigned count(const struct world *w, enum unit state)
{
    unsigned n = 0;

    for (unsigned i = 0; i < w->units; i++)
        n += w->unit[i] == state;
    return n;
}

/* A unit to begin at. */
static unsigned pick_unit(const struct world *w, struct fuzz *f)
{
    return w->arenas ? (unsigned)fuzz_take(f, 2) % w->units
                     : fuzz_pick(f, w->units < 256 ? w->units : 256);
}

static bool all_free(const struct world *w, unsigned at, unsigned n)
{
    for (unsigned i = at; i < at + n; i++) {
        if (w->unit[i] != FREE)
            return false;
    }
    return true;
}

static struct range *slot(struct range *list, bool empty, unsigned start)
{
    for (unsigned i = 0; i < LIVE; i++) {
        struct range *const r = &list[(start + i) % LIVE];

        if ((r->n == 0) == empty)
            return r;
    }
    return NULL;
}

/* ---- what must hold ---- */

static void check_stats(struct world *w)
{
    struct gr_iova_stats stats;
    unsigned live = 0;

    for (unsigned i = 0; i < LIVE; i++)
        live += w->live[i].n != 0;
    gr_iova_stats(&w->space, &stats);
    FUZZ_CHECK(stats.allocations == live, "%u", live);
    FUZZ_CHECK(stats.allocated == (uint64_t)count(w, USED) << w->lg2, "allocated");
    FUZZ_CHECK(stats.held == (uint64_t)count(w, HELD) << w->lg2, "held");
    FUZZ_CHECK(stats.reserved == (uint64_t)count(w, RESERVED) << w->lg2, "reserved");
    FUZZ_CHECK(stats.available == (uint64_t)count(w, FREE) << w->lg2, "available");
}

/* Whole units of the space within [first, last]; false: none. */
static bool window(const struct world *w, uint64_t first, uint64_t last, unsigned *out_at,
                   unsigned *out_end)
{
    unsigned at = 0;
    unsigned end = w->units;

    while (at < end && address(w, at) < first)
        at++;
    while (end > at && address(w, end - 1) + ((UINT64_C(1) << w->lg2) - 1) > last)
        end--;
    *out_at = at;
    *out_end = end;
    return first <= last && at < end;
}

/* A run of n free units in [at, end)? */
static bool has_run(const struct world *w, unsigned at, unsigned end, uint64_t n)
{
    uint64_t run = 0;

    for (unsigned i = at; i < end; i++) {
        run = w->unit[i] == FREE ? run + 1 : 0;
        if (run >= n)
            return true;
    }
    return false;
}

/* A naturally aligned free block of `bytes`, a power of two, in [at, end)? */
static bool has_block(const struct world *w, unsigned at, unsigned end, uint64_t bytes)
{
    const uint64_t n = bytes >> w->lg2;

    for (unsigned i = at; i < end && n <= end - i; i++) {
        if (!(address(w, i) & (bytes - 1)) && all_free(w, i, (unsigned)n))
            return true;
    }
    return false;
}

static bool is_power(uint64_t n)
{
    return n && !(n & (n - 1));
}

/* ---- operations ---- */

static void do_alloc(struct world *w, struct fuzz *f, bool starved)
{
    const uint64_t unit = UINT64_C(1) << w->lg2;
    const uint8_t flags = fuzz_byte(f);
    struct gr_iova_req req = {
        .size = flags & 128 ? unit << fuzz_pick(f, 9)
                : flags & 1 ? fuzz_number(f)
                            : (uint64_t)(1 + fuzz_pick(f, 40)) << w->lg2,
        .align = flags & 2 ? (flags & 4 ? fuzz_number(f) : unit << fuzz_pick(f, 10)) : 0,
        .boundary = flags & 8 ? (flags & 16 ? fuzz_number(f) : unit << fuzz_pick(f, 10)) : 0,
        .first = flags & 32 ? fuzz_number(f) : 0,
        .last = flags & 64 ? address(w, pick_unit(w, f)) + unit - 1 : 0,
    };
    struct range *const r = slot(w->live, true, 0);
    uint64_t start = 1;
    unsigned at;
    unsigned end;
    bool some;
    int rc;

    if (!r)
        return;
    rc = gr_iova_alloc(&w->space, &req, &start);
    some = window(w, req.first, req.last ? req.last : UINT64_MAX, &at, &end);
    if (!req.align || req.align < unit)
        req.align = is_power(req.align) || !req.align ? unit : req.align;
    if (!rc) {
        const uint64_t n = req.size >> w->lg2;
        const uint64_t first = (start - w->first) >> w->lg2;

        FUZZ_CHECK(req.size && !(req.size & (unit - 1)), "a bad size was taken");
        FUZZ_CHECK(some && first >= at && n <= end - at && first + n <= end, "outside");
        FUZZ_CHECK(is_power(req.align) && !(start & (req.align - 1)), "not aligned");
        FUZZ_CHECK(!req.boundary || (is_power(req.boundary) &&
                                     (start & (req.boundary - 1)) + req.size <= req.boundary),
                   "a boundary is crossed");
        FUZZ_CHECK(!((start - w->first) & (unit - 1)), "not on a unit");
        FUZZ_CHECK(all_free(w, (unsigned)first, (unsigned)n), "in use already");
        if (req.align == unit && !req.boundary && !w->arenas)
            FUZZ_CHECK(!has_run(w, (unsigned)first + 1, end, n), "a higher range was free");
        *r = (struct range){(unsigned)first, (unsigned)n};
        set(w, r->at, r->n, USED);
        return;
    }
    FUZZ_CHECK(start == 1, "written on failure");
    switch (rc) {
    case GR_ENODATA:
        FUZZ_CHECK(!req.size, "size");
        break;
    case GR_EINVAL:
        FUZZ_CHECK((req.size & (unit - 1)) || !is_power(req.align) ||
                       (req.boundary && (!is_power(req.boundary) || req.boundary < req.size)),
                   "nothing was wrong");
        break;
    case GR_ERANGE:
        FUZZ_CHECK(!some, "there are units");
        break;
    case GR_ENOMEM:
        FUZZ_CHECK(starved, "there was memory");
        break;
    case GR_ENOSPC: {
        const uint64_t n = req.size >> w->lg2;
        uint64_t block = req.align;

        FUZZ_CHECK(some, "no units");
        if (w->arenas)
            break;
        while (block < req.size && block <= UINT64_MAX / 2)
            block *= 2;
        if (req.align == unit && !req.boundary)
            FUZZ_CHECK(!has_run(w, at, end, n), "a range was free");
        else if (n <= UNITS && req.align >> w->lg2 <= UNITS) {
            FUZZ_CHECK(!has_block(w, at, end, block), "a block was free");
            FUZZ_CHECK(
                !has_run(w, at, end, n + (req.align >> w->lg2) - 1 + (req.boundary ? n - 1 : 0)),
                "a long range was free");
        }
        break;
    }
    default:
        FUZZ_CHECK(false, "%d", rc);
    }
}

static void do_fixed(struct world *w, struct fuzz *f, bool starved)
{
    const uint64_t unit = UINT64_C(1) << w->lg2;
    const uint8_t flags = fuzz_byte(f);
    const unsigned at = pick_unit(w, f);
    const uint64_t start = flags & 1 ? fuzz_number(f) : address(w, at);
    const uint64_t size = flags & 2 ? fuzz_number(f) : (uint64_t)fuzz_pick(f, 40) << w->lg2;
    struct range *const r = slot(w->live, true, 0);
    const uint64_t n = size >> w->lg2;
    int rc;

    if (!r)
        return;
    rc = gr_iova_alloc_fixed(&w->space, start, size);
    const bool inside = start >= w->first && (start - w->first) >> w->lg2 < w->units &&
                        n <= w->units - ((start - w->first) >> w->lg2);
    const bool whole = !((start | size) & (unit - 1));

    if (!rc) {
        const unsigned first = (unsigned)((start - w->first) >> w->lg2);

        FUZZ_CHECK(size && whole && inside, "bad arguments were taken");
        FUZZ_CHECK(all_free(w, first, (unsigned)n), "in use already");
        *r = (struct range){first, (unsigned)n};
        set(w, r->at, r->n, USED);
    } else if (rc == GR_ENODATA) {
        FUZZ_CHECK(!size, "size");
    } else if (rc == GR_EINVAL) {
        FUZZ_CHECK(!whole, "in units");
    } else if (rc == GR_EOVERFLOW) {
        FUZZ_CHECK(start > UINT64_MAX - (size - 1), "no overflow");
    } else if (rc == GR_ERANGE) {
        FUZZ_CHECK(!inside, "inside");
    } else if (rc == GR_EEXIST) {
        FUZZ_CHECK(inside && whole &&
                       !all_free(w, (unsigned)((start - w->first) >> w->lg2), (unsigned)n),
                   "it was free");
    } else {
        FUZZ_CHECK(rc == GR_ENOMEM && starved, "%d", rc);
    }
}

static void do_reserve(struct world *w, struct fuzz *f, bool starved)
{
    const uint64_t unit = UINT64_C(1) << w->lg2;
    const uint8_t flags = fuzz_byte(f);
    const unsigned base = pick_unit(w, f);
    const uint64_t first = flags & 1 ? fuzz_number(f) : address(w, base) + (flags >> 4);
    const uint64_t last = flags & 2   ? fuzz_number(f)
                          : flags & 4 ? first
                                      : first + ((uint64_t)fuzz_pick(f, 16) << w->lg2);
    const int rc = gr_iova_reserve(&w->space, first, last);
    bool busy = false;

    if (first > last) {
        FUZZ_CHECK(rc == GR_EINVAL, "%d", rc);
        return;
    }
    for (unsigned i = 0; i < w->units; i++) {
        if (address(w, i) <= last && address(w, i) + (unit - 1) >= first)
            busy |= w->unit[i] == USED || w->unit[i] == HELD;
    }
    if (rc == GR_ENOMEM) {
        FUZZ_CHECK(starved && !busy, "there was memory");
        return;
    }
    FUZZ_CHECK(rc == (busy ? GR_EBUSY : 0), "%d", rc);
    for (unsigned i = 0; !rc && i < w->units; i++) {
        if (address(w, i) <= last && address(w, i) + (unit - 1) >= first)
            w->unit[i] = RESERVED;
    }
}

/* The units that free_begin() has to hold: `r` and every table's span that it leaves empty. */
static struct range hold(const struct world *w, const struct range *r, const uint8_t *span_lg2,
                         unsigned spans)
{
    const uint64_t unit = UINT64_C(1) << w->lg2;
    const uint64_t first = address(w, r->at);
    const uint64_t last = address(w, r->at + r->n - 1) + (unit - 1);
    unsigned low = r->at;
    unsigned high = r->at + r->n;

    for (unsigned k = 0; k < spans; k++) {
        const uint64_t mask = span_lg2[k] >= 64 ? UINT64_MAX : (UINT64_C(1) << span_lg2[k]) - 1;

        for (uint64_t at = first & ~mask;; at += mask + 1) {
            unsigned from = w->units;
            unsigned to = 0;
            bool empty = true;

            for (unsigned i = 0; i < w->units; i++) {
                if (address(w, i) > (at | mask) || address(w, i) + (unit - 1) < at)
                    continue;
                from = i < from ? i : from;
                to = i + 1;
                empty &= w->unit[i] == FREE || (i >= r->at && i < r->at + r->n);
            }
            if (empty && from < to) {
                low = from < low ? from : low;
                high = to > high ? to : high;
            }
            if ((at | mask) >= last)
                break;
        }
    }
    return (struct range){low, high - low};
}

/* In a space with arenas: what it may hold, for how far an arena reaches is not told. */
static struct range free_in_arena(struct world *w, const struct range *r)
{
    const uint64_t end = address(w, r->at + r->n);
    struct gr_range held;

    FUZZ_CHECK(!gr_iova_free_begin(&w->space, address(w, r->at), (uint64_t)r->n << w->lg2, &held),
               "a live allocation");
    FUZZ_CHECK(held.first <= address(w, r->at) && held.last >= end - 1, "not all of it");
    FUZZ_CHECK(w->spans || (held.first == address(w, r->at) && held.last == end - 1), "no tables");

    const unsigned at = (unsigned)((held.first - w->first) >> w->lg2);
    const unsigned to = (unsigned)((held.last - w->first) >> w->lg2) + 1;

    FUZZ_CHECK(to <= w->units && all_free(w, at, r->at - at) &&
                   all_free(w, r->at + r->n, to - r->at - r->n),
               "somebody's is held");
    return (struct range){at, to - at};
}

static void do_free(struct world *w, struct fuzz *f)
{
    const unsigned spans = fuzz_pick(f, 4);
    struct range *const r = slot(w->live, false, fuzz_pick(f, LIVE));
    struct range *const h = slot(w->held, true, 0);
    struct gr_range held;
    struct range want;
    uint8_t span_lg2[4];

    for (unsigned i = 0; i < spans; i++)
        span_lg2[i] = (uint8_t)(w->lg2 + fuzz_pick(f, 65 - w->lg2));
    if (!r || !h)
        return;
    host_set_cpu(spans); /* perhaps another one */
    FUZZ_CHECK(!gr_iova_check(&w->space, address(w, r->at), (uint64_t)r->n << w->lg2), "lost");
    if (w->arenas) {
        want = free_in_arena(w, r);
        set(w, want.at, want.n, HELD);
        *h = want;
        r->n = 0;
        return;
    }
    want = hold(w, r, span_lg2, spans);
    gr_iova_set_spans(&w->space, span_lg2, spans);
    FUZZ_CHECK(!gr_iova_free_begin(&w->space, address(w, r->at), (uint64_t)r->n << w->lg2, &held),
               "a live allocation");
    FUZZ_CHECK(held.first == address(w, want.at) &&
                   held.last == address(w, want.at + want.n - 1) + ((UINT64_C(1) << w->lg2) - 1),
               "held %#llx..%#llx", (unsigned long long)held.first, (unsigned long long)held.last);
    set(w, want.at, want.n, HELD);
    *h = want;
    r->n = 0;
}

static void do_wrong_free(struct world *w, struct fuzz *f)
{
    const unsigned at = (unsigned)fuzz_take(f, 2) % (w->units + 1);
    const uint64_t start = address(w, at) + fuzz_byte(f) / 128;
    const uint64_t size = (uint64_t)fuzz_pick(f, 40) << w->lg2;
    const int check = gr_iova_check(&w->space, start, size);
    bool exact = false;

    for (unsigned i = 0; i < LIVE; i++)
        exact |= w->live[i].n && address(w, w->live[i].at) == start &&
                 (uint64_t)w->live[i].n << w->lg2 == size;
    FUZZ_CHECK((check == 0) == exact, "%d", check);
    if (check) {
        struct gr_range held = {1, 2};

        FUZZ_CHECK(gr_iova_free_begin(&w->space, start, size, &held) == check, "differ");
        FUZZ_CHECK(held.first == 1 && held.last == 2, "written on failure");
        FUZZ_CHECK(check != GR_ENODATA || !size, "size");
    }
}

static void do_end(struct world *w, struct fuzz *f)
{
    struct range *const h = slot(w->held, false, fuzz_pick(f, LIVE));

    if (h) {
        const struct gr_range held = {address(w, h->at),
                                      address(w, h->at + h->n - 1) + ((UINT64_C(1) << w->lg2) - 1)};

        struct gr_range empty;

        set(w, h->at, h->n, FREE);
        h->n = 0;
        if (gr_iova_free_end(&w->space, &held, &empty)) {
            FUZZ_CHECK(w->arenas && w->spans, "an arena");
            FUZZ_CHECK(empty.first <= held.first && empty.last >= held.last, "elsewhere");
            FUZZ_CHECK(all_free(w, (unsigned)((empty.first - w->first) >> w->lg2),
                                (unsigned)((empty.last - empty.first) >> w->lg2) + 1),
                       "somebody's is held");
            FUZZ_CHECK(!gr_iova_free_end(&w->space, &empty, &empty), "twice");
        }
        FUZZ_CHECK(!gr_iova_free_end(&w->space, &held, &empty), "ended: ignored");
    }
}

static void step(struct world *w, struct fuzz *f)
{
    const uint8_t byte = fuzz_byte(f);
    const unsigned op = byte % 16;
    const bool starved = op == 15;

    host_set_cpu(byte / 16 % 4);
    if (starved)
        host_fail_alloc(w->host, 1);
    switch (starved ? fuzz_pick(f, 8) : op) {
    default:
        do_alloc(w, f, starved);
        break;
    case 0:
        do_fixed(w, f, starved);
        break;
    case 1:
        do_reserve(w, f, starved);
        break;
    case 2:
        do_wrong_free(w, f);
        break;
    case 3:
    case 4:
    case 5:
        do_free(w, f);
        break;
    case 6:
    case 7:
        do_end(w, f);
        break;
    case 8:
        if (w->arenas && byte >= 192)
            (void)gr_iova_drain(&w->space);
        else
            do_alloc(w, f, starved);
        break;
    }
    host_fail_alloc(w->host, 0);
    check_stats(w);
}

/* With tables, as a domain's, or without. */
static void name_tables(struct world *w, struct fuzz *f)
{
    uint8_t span_lg2[2];

    w->spans = fuzz_pick(f, 3);
    for (unsigned i = 0; i < w->spans; i++)
        span_lg2[i] = (uint8_t)(w->lg2 + 5 + fuzz_pick(f, 9));
    gr_iova_set_spans(&w->space, span_lg2, w->spans);
}

/* A space of few units, or of enough for arenas, anywhere; its ends need not lie on units. */
static int begin(struct world *w, struct fuzz *f)
{
    const unsigned size = (unsigned)fuzz_take(f, 2);
    const unsigned units = size >= 0xf000 ? ARENA_UNITS : 1 + size % UNITS;
    const uint8_t where = fuzz_byte(f);
    const uint64_t ragged = fuzz_byte(f);
    uint64_t bytes;

    w->lg2 = 12 + fuzz_pick(f, 7);
    w->units = units;
    w->arenas = units == ARENA_UNITS;
    bytes = (uint64_t)units << w->lg2;
    w->first = where < 64    ? 0
               : where < 128 ? UINT64_MAX - bytes + 1
                             : (UINT64_C(1) << where % 64) >> w->lg2 << w->lg2;
    if (w->first && bytes > UINT64_MAX - w->first + 1)
        w->first = UINT64_MAX - bytes + 1;
    return gr_iova_init(&w->space, w->host, w->lg2, w->first - (w->first ? ragged : 0),
                        w->first + (bytes - 1) +
                            (w->first + (bytes - 1) < UINT64_MAX - 256 ? ragged : 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct host_config config = {
        .cpu_page = 4096, .nbanks = 1, .seed = 1, .banks = {{0, 0x100000}}};
    struct fuzz f = {data, size};
    static struct world w;
    char why[160];

    memset(&w, 0, sizeof(w));
    w.host = host_create(&config, why, sizeof(why));
    FUZZ_CHECK(w.host, "%s", why);
    FUZZ_CHECK(!begin(&w, &f), "init");
    if (w.arenas)
        name_tables(&w, &f);
    for (unsigned i = 0; i < OPS && f.left; i++)
        step(&w, &f);
    (void)gr_iova_drain(&w.space);
    FUZZ_CHECK(!w.space.arenas || w.arenas, "arenas");
    check_stats(&w);
    gr_iova_fini(&w.space);
    host_set_cpu(UINT32_MAX);
    FUZZ_CHECK(!host_misuse(w.host), "%s", host_last_log(w.host));
    FUZZ_CHECK(!host_destroy(w.host), "leaks");
    return 0;
}
