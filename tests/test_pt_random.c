/* SPDX-License-Identifier: MIT */
/*
 * Random maps, unmaps and trims of every geometry against a flat shadow. SEED=N replays.
 */
#include "pt_tools.h"

#include <granule/err.h>

#include "pt/pt_internal.h"

#include <stdlib.h>

#define WINDOWS_MAX 17 /* at both ends, and between as many roots as there can be */
#define WINDOW_SPANS 3 /* leaf tables that a window of the IOVA space reaches over */
#define OPERATIONS 1000
#define CHECK_EVERY 50

/* What one granule should lead to. */
struct cell {
    bool mapped;
    uint64_t pa;
    unsigned prot;
    uint64_t head; /* the first cell of the block or group that it is part of; else itself */
};

/* A stretch of the IOVA space that the test uses; elsewhere nothing is ever mapped. */
struct window {
    uint64_t first; /* granule */
    uint64_t cells;
    struct cell *cell;
    bool table[WINDOW_SPANS]; /* is there a leaf table? */
};

struct world {
    const struct gr_pt_config *c;
    struct host *h;
    struct gr_pt pt;
    struct gr_pt_gather gather;
    uint64_t rng;
    uint64_t per_table; /* granules that one leaf table maps */
    struct window window[WINDOWS_MAX];
    unsigned windows;
    uint64_t maps, lists, collisions, retired, trimmed, blocks, groups, cuts;
};

static uint64_t seed;

static uint64_t below(struct world *w, uint64_t n)
{
    return chance_below(&w->rng, n);
}

static void add_window(struct world *w, uint64_t first_table)
{
    struct window *const win = &w->window[w->windows++];

    win->first = first_table * w->per_table;
    win->cells = WINDOW_SPANS * w->per_table;
    win->cell = test_calloc(win->cells, sizeof(*win->cell));
}

/* Both ends, and around every edge between top tables; in ascending order. */
static void open_world(struct world *w, const struct gr_pt_config *c, uint64_t s)
{
    const unsigned index_bits = c->granule_lg2 - 3u;
    const uint64_t tables = UINT64_C(1) << (c->va_bits - c->granule_lg2 - index_bits);
    const uint64_t per_top = UINT64_C(1) << index_bits;

    *w = (struct world){.c = c, .rng = s, .per_table = per_top};
    w->h = machine_of(32, s, true);
    assert_int_equal(gr_pt_init(&w->pt, w->h, c), 0);
    add_window(w, 0);
    for (uint64_t edge = per_top; edge < tables; edge += per_top)
        add_window(w, edge - 1);
    add_window(w, tables - WINDOW_SPANS);
}

static uint64_t roots(const struct world *w)
{
    return UINT64_C(1) << w->pt.roots_lg2;
}

static uint64_t tables_expected(const struct world *w)
{
    uint64_t n = roots(w);

    for (unsigned i = 0; i < w->windows; i++)
        for (unsigned t = 0; t < WINDOW_SPANS; t++)
            n += w->window[i].table[t];
    return n;
}

/* An IOVA of the granule, sometimes with bits set that are ignored; the same for one call. */
static uint64_t tag(struct world *w)
{
    return below(w, 4) ? 0 : chance_next(&w->rng) << w->c->va_bits;
}

/* Mostly a few granules, one in `big` times over whole tables. */
static void pick(struct world *w, uint64_t big, struct window **out_win, uint64_t *out_at,
                 uint64_t *out_n)
{
    struct window *const win = &w->window[below(w, w->windows)];
    const uint64_t longest = below(w, big) ? 12 : win->cells;
    uint64_t n = longest == 12 || below(w, 2) ? 1 + below(w, longest) : longest;
    uint64_t at = below(w, win->cells - n + 1);

    if (n <= 12 && !below(w, 2)) { /* near an edge between leaf tables, or an end */
        const uint64_t edge = below(w, WINDOW_SPANS + 1) * w->per_table;
        const uint64_t from = edge > 6 ? edge - 6 : 0;

        at = from + n <= win->cells ? from : win->cells - n;
    }
    if (group_lg2(w->c) && !below(w, 8)) { /* what may be one block */
        at -= at % w->per_table;
        n = w->per_table;
    }
    *out_win = win;
    *out_at = at;
    *out_n = n;
}

static void assert_cell(struct world *w, const struct window *win, uint64_t at)
{
    const uint64_t g = UINT64_C(1) << w->c->granule_lg2;
    const uint64_t offset = below(w, g);
    const gr_iova_t iova = ((win->first + at) << w->c->granule_lg2) + offset + tag(w);
    const struct cell *const cell = &win->cell[at];
    struct gr_pt_walk walk;
    const int ret = gr_pt_walk(&w->pt, iova, &walk);

    assert_int_equal(ret, cell->mapped ? 0 : GR_ENOENT);
    if (!cell->mapped)
        return;
    assert_true(walk.pa == cell->pa + offset);
    assert_int_equal(walk.prot, cell->prot);
    assert_true(walk.window.first == 0 && walk.window.last == g - 1);
}

/* Everything, as hardware sees it. */
static void check_all(struct world *w)
{
    for (unsigned i = 0; i < w->windows; i++) {
        const struct window *const win = &w->window[i];

        for (uint64_t at = 0; at < win->cells; at++) {
            const struct cell *const cell = &win->cell[at];
            const gr_iova_t iova = (win->first + at) << w->c->granule_lg2;
            struct seen seen;

            if (!cell->mapped && at % 16) /* a sample of what is absent */
                continue;
            seen = hardware_walk(w->h, w->c, w->pt.root_pa, iova);
            assert_false(seen.broken);
            assert_int_equal(seen.valid, cell->mapped);
            if (!cell->mapped)
                continue;
            assert_true(seen.pa == cell->pa);
            assert_int_equal(seen.prot, cell->prot);
            assert_true(seen.whole);
        }
    }
    assert_true(w->pt.tables == tables_expected(w) + w->gather.count);
}

static void free_gathered(struct world *w)
{
    gr_pt_gather_free(&w->pt, &w->gather);
    assert_true(w->pt.tables == tables_expected(w));
}

static unsigned random_prot(struct world *w)
{
    const unsigned prot = 1 + (unsigned)below(w, 3);

    return prot | (below(w, 4) ? 0 : GR_PROT_UNCACHED);
}

/*
 * Where in memory `n` granules go that are mapped at `at`: at both ends sometimes, and, for blocks
 * and groups, often as far from the start of a table's span as the IOVA.
 */
static uint64_t random_page(struct world *w, const struct window *win, uint64_t at, uint64_t n)
{
    const uint64_t pages = UINT64_C(1) << (w->c->pa_bits - w->c->granule_lg2);
    uint64_t page = below(w, 8) ? below(w, pages - n + 1) : below(w, 2) ? 0 : pages - n;

    if (group_lg2(w->c) && below(w, 4)) {
        page = page - page % w->per_table + (win->first + at) % w->per_table;
        if (page + n > pages)
            page -= w->per_table;
    }
    return page;
}

/* How many entries' worth one entry or group gets at `at`, of `n` that are free. */
static uint64_t unit_of(struct world *w, const struct window *win, uint64_t at, uint64_t n,
                        uint64_t page)
{
    const uint64_t first = win->first + at;
    const uint64_t group = UINT64_C(1) << group_lg2(w->c);

    if (group == 1)
        return 1;
    if ((first | page) % w->per_table == 0 && n >= w->per_table && !win->table[at / w->per_table]) {
        w->blocks++;
        return w->per_table;
    }
    if ((first | page) % group || n < group)
        return 1;
    w->groups++;
    return group;
}

/* What a map should do to the shadow; how many granules of it were free. */
static uint64_t shadow_map(struct world *w, struct window *win, uint64_t at, uint64_t n,
                           uint64_t page, unsigned prot)
{
    uint64_t fits = 0;
    uint64_t head = 0;
    uint64_t unit = 0;

    while (fits < n && !win->cell[at + fits].mapped)
        fits++;
    for (uint64_t i = 0; i < fits; i++) {
        if (i >= head + unit) {
            unit = unit_of(w, win, at + i, fits - i, page + i);
            head = i;
            if (unit != w->per_table)
                win->table[(at + i) / w->per_table] = true;
        }
        win->cell[at + i] =
            (struct cell){true, (page + i) << w->c->granule_lg2, kept_prot(w->c, prot), at + head};
    }
    return fits;
}

/* Would an edge before `at` cut a block or a group? */
static bool cuts(const struct window *win, uint64_t at)
{
    return at < win->cells && win->cell[at].mapped && win->cell[at].head != at;
}

/* Nothing may be mapped anew where retired tables wait: they are freed first. */
static void do_map(struct world *w)
{
    const unsigned lg2 = w->c->granule_lg2;
    const unsigned prot = random_prot(w);
    struct window *win;
    uint64_t at;
    uint64_t n;
    uint64_t fits;
    uint64_t done = 0;
    uint64_t page;
    int ret;

    free_gathered(w);
    pick(w, 16, &win, &at, &n);
    page = random_page(w, win, at, n);
    fits = shadow_map(w, win, at, n, page, prot);
    ret =
        gr_pt_map(&w->pt, ((win->first + at) << lg2) + tag(w), page << lg2, n << lg2, prot, &done);
    assert_int_equal(ret, fits < n ? GR_EEXIST : 0);
    assert_true(done == fits << lg2);
    w->maps++;
    w->collisions += fits < n;
    /* A chunk that begins with a taken granule has its table already. */
    assert_true(w->pt.tables == tables_expected(w));
}

/* A list of runs in ascending order, some with gaps between, given to the cursor piece by piece. */
static void do_list(struct world *w)
{
    const unsigned lg2 = w->c->granule_lg2;
    struct gri_pt_cursor cursor = {.pt = &w->pt, .prot = random_prot(w)};
    uint64_t tables;
    struct window *win;
    uint64_t at;
    uint64_t n;
    uint64_t end;
    int want = 0;
    int ret = 0;

    free_gathered(w);
    pick(w, 8, &win, &at, &n);
    end = win->first + at;
    cursor.end = end << lg2;
    tables = (at + n - 1) / w->per_table - at / w->per_table + 1;
    for (unsigned calls = 0; !ret && n && calls < 4; calls++) {
        unsigned count = 0;

        for (; n && count < 6; count++) {
            const uint64_t len = 1 + below(w, n);
            const uint64_t gap = below(w, 2) && len < n ? below(w, n - len + 1) : 0;
            const uint64_t page = random_page(w, win, at, len);

            const struct gr_seg seg = {page << lg2, len << lg2};

            if (!ret)
                ret = gri_pt_map_segs(&cursor, (win->first + at) << lg2, &seg, 1);
            if (!want) {
                const uint64_t fits = shadow_map(w, win, at, len, page, cursor.prot);

                end = fits ? win->first + at + fits : end;
                want = fits < len ? GR_EEXIST : 0;
            }
            at += len + gap;
            n -= len + gap;
        }
        assert_int_equal(ret, want);
    }
    gri_pt_map_end(&cursor);
    assert_true(cursor.end == end << lg2);
    assert_true(w->pt.tables == tables_expected(w));
    assert_in_range(cursor.walks, group_lg2(w->c) ? 0 : 1, tables); /* a block needs none */
    w->lists++;
}

/* How far around [at, at + n) nothing is mapped, in granules: the freedom of `retire`. */
static struct gr_range free_extent(const struct world *w, const struct window *win, uint64_t at,
                                   uint64_t n)
{
    const uint64_t all = UINT64_C(1) << (w->c->va_bits - w->c->granule_lg2);
    const uint64_t first = win->first + at;
    struct gr_range r = {0, all - 1};

    for (unsigned i = 0; i < w->windows; i++) {
        const struct window *const o = &w->window[i];

        for (uint64_t k = 0; k < o->cells; k++) {
            const uint64_t granule = o->first + k;

            if (!o->cell[k].mapped)
                continue;
            if (granule < first)
                r.first = granule + 1;
            else if (granule >= first + n && granule - 1 < r.last)
                r.last = granule - 1;
        }
    }
    return r;
}

/* Part of the extent, or all of it, in bytes; past the ends of the block where it reaches them. */
static struct gr_range random_retire(struct world *w, const struct window *win, uint64_t at,
                                     uint64_t n, uint64_t tagged)
{
    const uint64_t all = UINT64_C(1) << (w->c->va_bits - w->c->granule_lg2);
    const uint64_t first = win->first + at;
    struct gr_range r = free_extent(w, win, at, n);
    const bool from_0 = r.first == 0;
    const bool to_end = r.last == all - 1;

    if (!below(w, 3))
        r.first += below(w, first - r.first + 1);
    if (!below(w, 3))
        r.last -= below(w, r.last - (first + n - 1) + 1);
    r.first = (r.first << w->c->granule_lg2) + tagged;
    r.last = (r.last << w->c->granule_lg2) + tagged + bits(w->c->granule_lg2);
    if (from_0 && r.first == tagged && below(w, 2))
        r.first = 0;
    if (to_end && r.last == tagged + bits(w->c->va_bits) && below(w, 2))
        r.last = UINT64_MAX;
    return r;
}

static void forget_tables(struct world *w, struct window *win, uint64_t at, uint64_t n,
                          const struct gr_range *retire, uint64_t tagged)
{
    for (uint64_t t = at / w->per_table; t <= (at + n - 1) / w->per_table; t++) {
        const uint64_t first = ((win->first + t * w->per_table) << w->c->granule_lg2) + tagged;
        const uint64_t last = first + (w->per_table << w->c->granule_lg2) - 1;

        if (win->table[t] && retire->first <= first && retire->last >= last) {
            win->table[t] = false;
            w->retired++;
        }
    }
}

/* A range that would cut: refused, and nothing has changed. */
static void refused_unmap(struct world *w, const struct window *win, uint64_t at, uint64_t n,
                          uint64_t tagged, const struct gr_range *retire)
{
    const unsigned lg2 = w->c->granule_lg2;
    struct gr_pt_gather gather = {0};

    assert_int_equal(
        gr_pt_unmap(&w->pt, ((win->first + at) << lg2) + tagged, n << lg2, retire, &gather),
        GR_EMSGSIZE);
    assert_true(!gather.head && !gather.count);
    assert_cell(w, win, at);
    assert_cell(w, win, at + n - 1);
    w->cuts++;
}

static void do_unmap(struct world *w)
{
    const unsigned lg2 = w->c->granule_lg2;
    const bool with_retire = below(w, 2);
    const uint64_t tagged = tag(w);
    struct gr_pt_gather gather = {0};
    struct gr_range retire;
    struct window *win;
    uint64_t at;
    uint64_t n;

    pick(w, 3, &win, &at, &n);
    if (cuts(win, at) || cuts(win, at + n)) {
        retire = random_retire(w, win, at, n, tagged);
        refused_unmap(w, win, at, n, tagged, with_retire ? &retire : NULL);
        for (; cuts(win, at); n++) /* as it should be */
            at--;
        while (cuts(win, at + n))
            n++;
    }
    retire = random_retire(w, win, at, n, tagged);
    assert_int_equal(gr_pt_unmap(&w->pt, ((win->first + at) << lg2) + tagged, n << lg2,
                                 with_retire ? &retire : NULL, &gather),
                     0);
    gr_port_wmb(); /* the caller's, before it invalidates */
    memset(&win->cell[at], 0, n * sizeof(*win->cell));
    if (with_retire)
        forget_tables(w, win, at, n, &retire, tagged);
    assert_true(w->pt.tables == tables_expected(w) + w->gather.count + gather.count);
    gr_pt_gather_join(&w->pt, &w->gather, &gather);
    if (below(w, 2))
        free_gathered(w);
}

static void do_trim(struct world *w)
{
    const unsigned lg2 = w->c->granule_lg2;
    struct gr_pt_gather gather = {0};
    struct window *win;
    uint64_t at;
    uint64_t n;

    pick(w, 2, &win, &at, &n);
    assert_int_equal(gr_pt_trim(&w->pt, ((win->first + at) << lg2) + tag(w), n << lg2, &gather), 0);
    gr_port_wmb();
    for (uint64_t t = at / w->per_table; t <= (at + n - 1) / w->per_table; t++) {
        bool used = false;

        for (uint64_t i = 0; i < w->per_table; i++)
            used = used || win->cell[t * w->per_table + i].mapped;
        w->trimmed += win->table[t] && !used;
        win->table[t] = win->table[t] && used;
    }
    assert_true(w->pt.tables == tables_expected(w) + w->gather.count + gather.count);
    gr_pt_gather_join(&w->pt, &w->gather, &gather);
}

static void do_check(struct world *w)
{
    const unsigned lg2 = w->c->granule_lg2;
    bool all = true;
    struct window *win;
    uint64_t at;
    uint64_t n;

    pick(w, 8, &win, &at, &n);
    for (uint64_t i = 0; i < n; i++)
        all = all && win->cell[at + i].mapped;
    assert_int_equal(gr_pt_check_mapped(&w->pt, ((win->first + at) << lg2) + tag(w), n << lg2),
                     cuts(win, at) || cuts(win, at + n) ? GR_EMSGSIZE
                     : all                              ? 0
                                                        : GR_ENOENT);
    for (unsigned i = 0; i < 4; i++)
        assert_cell(w, win, at + below(w, n));
    /* A range that is mapped for certain: shrink to the run around a mapped granule. */
    if (!win->cell[at].mapped)
        return;
    for (n = 1; at + n < win->cells && win->cell[at + n].mapped; n++)
        ;
    assert_int_equal(gr_pt_check_mapped(&w->pt, (win->first + at) << lg2, n << lg2),
                     cuts(win, at) ? GR_EMSGSIZE : 0);
}

/* Unmap all in random order with all the freedom there is: only the root is left. */
static void close_world(struct world *w)
{
    const struct gr_range all = {0, UINT64_MAX};
    const unsigned lg2 = w->c->granule_lg2;

    free_gathered(w);
    if (below(w, 2)) {
        assert_int_equal(gr_pt_unmap(&w->pt, 0, bits(w->c->va_bits) + 1, &all, &w->gather), 0);
    } else {
        for (unsigned i = 0; i < w->windows; i++) {
            const struct window *const win = &w->window[i];
            const struct gr_range own = {win->first << lg2, ((win->first + win->cells) << lg2) - 1};

            assert_int_equal(
                gr_pt_unmap(&w->pt, own.first, own.last - own.first + 1, &own, &w->gather), 0);
        }
    }
    gr_pt_gather_free(&w->pt, &w->gather);
    assert_true(w->pt.tables == roots(w));
    for (unsigned i = 0; i < w->windows; i++)
        test_free(w->window[i].cell);
    gr_pt_fini(&w->pt);
    assert_int_equal(host_leaks(w->h), 0);
    finish(w->h);
}

static void random_geometry(const struct geometry *geometry, uint64_t s)
{
    struct world w;

    print_message("%s, seed %" PRIu64 "\n", geometry->name, s);
    open_world(&w, &geometry->config, s);
    for (unsigned i = 0; i < OPERATIONS; i++) {
        const uint64_t dice = below(&w, 16);

        if (dice < 4)
            do_map(&w);
        else if (dice < 6)
            do_list(&w);
        else if (dice < 12)
            do_unmap(&w);
        else if (dice < 14)
            do_trim(&w);
        else
            do_check(&w);
        if (i % CHECK_EVERY == 0)
            check_all(&w);
    }
    check_all(&w);
    print_message("maps %" PRIu64 ", collisions %" PRIu64 ", retired %" PRIu64 ", trimmed %" PRIu64
                  ", blocks %" PRIu64 ", groups %" PRIu64 ", cuts %" PRIu64 "\n",
                  w.maps, w.collisions, w.retired, w.trimmed, w.blocks, w.groups, w.cuts);
    assert_true(w.lists > 50 && w.maps > 100 && w.collisions && w.collisions < w.maps);
    assert_true(w.retired && w.trimmed);
    if (group_lg2(w.c))
        assert_true(w.blocks && w.groups && w.cuts);
    close_world(&w);
}

static void random_operations(void **state)
{
    (void)state;
    for (size_t i = 0; i < GEOMETRIES; i++)
        random_geometry(&geometries[i], seed + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations),
    };

    seed = chance_seed_or("pt_random", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
