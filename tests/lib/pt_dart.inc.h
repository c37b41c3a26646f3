/* SPDX-License-Identifier: MIT */
/* Leaves and windows of DARTs' entries, to the bit. The including file has the format's codec. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "units.h"

#ifndef GRI_FMT_NAME
#include "pt/fmt/dart1.h" /* so that an editor can read this file alone */
#endif

#define PAGE UINT64_C(0x8c5d54000)

struct leaf {
    unsigned granule_lg2;
    gr_pa_t pa;
    unsigned prot;
    uint64_t entry;
};

/* `kept`: the GR_PROT_* that the format has bits for. */
static void check_leaves(const struct leaf *v, size_t count, unsigned kept)
{
    for (size_t i = 0; i < count; i++) {
        struct gr_range window;

        assert_true(gri_fmt_leaf(v[i].pa, gri_fmt_attrs(v[i].prot)) == v[i].entry);
        assert_true(gri_fmt_valid(v[i].entry));
        assert_true(gri_fmt_pa(v[i].entry, v[i].granule_lg2) == v[i].pa);
        assert_int_equal(gri_fmt_prot(v[i].entry), v[i].prot & kept);
        window = gri_fmt_leaf_window(v[i].entry, v[i].granule_lg2);
        assert_true(window.first == 0 && window.last == gri_mask(v[i].granule_lg2));
    }
    assert_false(gri_fmt_valid(v[0].entry & ~UINT64_C(1)));
    assert_false(gri_fmt_valid(0));
}

struct window {
    unsigned granule_lg2;
    uint64_t first, last;
    uint64_t entry; /* of PAGE, for reading and writing */
};

static void check_windows(const struct window *v, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint64_t attrs =
            gri_fmt_window(gri_fmt_attrs(RW), v[i].granule_lg2, v[i].first, v[i].last);
        struct gr_range window;

        assert_true(gri_fmt_leaf(PAGE, attrs) == v[i].entry);
        assert_true(gri_fmt_pa(v[i].entry, v[i].granule_lg2) == PAGE);
        assert_int_equal(gri_fmt_prot(v[i].entry), RW);
        window = gri_fmt_leaf_window(v[i].entry, v[i].granule_lg2);
        assert_true(window.first == v[i].first && window.last == v[i].last);
    }
}

/* Bytes that do not fill a unit: the window is rounded out, never in (DART.md 4.4). */
static void windows_are_rounded_out(void **state)
{
    const uint64_t leaf = gri_fmt_leaf(PAGE, gri_fmt_window(gri_fmt_attrs(RW), 14, 0x101, 0x11f9));
    const struct gr_range window = gri_fmt_leaf_window(leaf, 14);

    (void)state;
    assert_true(window.first == 0x100 && window.last == 0x11fb);
}
