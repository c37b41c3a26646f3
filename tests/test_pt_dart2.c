/* SPDX-License-Identifier: MIT */
/* DART2 entries to the bit: DART.md 4.2 to 4.4 and 13. */
#include "pt/fmt/dart2.h"

#include "pt_dart.inc.h"

static void table_entries(void **state)
{
    (void)state;
    assert_true(gri_fmt_table(0x8a0b10000) == 0x000000008a0b1001);
    assert_true(gri_fmt_table(0x8a0b0c000) == 0x000000008a0b0c01); /* the L0 entry */
    assert_true(gri_fmt_pa(0x000000008a0b1001, 14) == 0x8a0b10000);
    assert_true(gri_fmt_pa(0x000000008a0b1003, 14) == 0x8a0b10000); /* bit 1 means nothing here */
}

static void leaves(void **state)
{
    static const struct leaf v[] = {
        {14, PAGE, RW, 0x000fff008c5d5401},
        {14, PAGE, RW | GR_PROT_UNCACHED, 0x000fff008c5d5403},
        {14, PAGE, GR_PROT_READ, 0x000fff008c5d5405},
        {14, PAGE, GR_PROT_WRITE, 0x000fff008c5d5409},
        {14, PAGE, GR_PROT_WRITE | GR_PROT_UNCACHED, 0x000fff008c5d540b},
        {14, 0x2b987654000, RW, 0x000fff2b98765401},
        {14, 0, RW, 0x000fff0000000001},
        {14, 0x3ffffffc000, RW, 0x000fff3ffffffc01},
    };

    (void)state;
    check_leaves(v, GRI_ARRAY_SIZE(v), RW | GR_PROT_UNCACHED);
}

static void windows(void **state)
{
    static const struct window v[] = {
        {14, 0x100, 0x11ff, 0x04047f008c5d5401},
        {14, 0, 3, 0x000000008c5d5401}, /* END 0 lets one unit through */
        {14, 0x3ffc, 0x3fff, 0xffffff008c5d5401},
        {14, 0, 0x3fff, 0x000fff008c5d5401}, /* whole: the value of a mapping without a window */
    };

    (void)state;
    check_windows(v, GRI_ARRAY_SIZE(v));
}

/*
 * DART.md 14.1: bit 1 is NO_CACHE in this format, clear in cached leaves; and no bit turns
 * the window off.
 */
static void bit_1_is_no_cache(void **state)
{
    struct gr_range window;

    (void)state;
    for (unsigned prot = 1; prot <= RW; prot++) {
        assert_false(gri_fmt_attrs(prot) & 2);
        assert_true(gri_fmt_attrs(prot | GR_PROT_UNCACHED) == (gri_fmt_attrs(prot) | 2));
    }
    window = gri_fmt_leaf_window(0x04047f008c5d5403, 14);
    assert_true(window.first == 0x100 && window.last == 0x11ff);
    window = gri_fmt_leaf_window(0x000000008c5d5403, 14);
    assert_true(window.first == 0 && window.last == 3);
}

/* 4 KiB granules, an assumption (no source): PA[13:12] follow at 9:8, units are bytes. */
static void small_granules(void **state)
{
    const gr_pa_t pa = 0x2b987657000;
    const uint64_t leaf = gri_fmt_leaf(pa, gri_fmt_attrs(RW));
    struct gr_range window;

    (void)state;
    assert_true(leaf == 0x000fff2b98765701);
    assert_true(gri_fmt_pa(leaf, 12) == pa);
    assert_true(gri_fmt_pa(gri_fmt_table(pa), 12) == pa);
    window = gri_fmt_leaf_window(leaf, 12);
    assert_true(window.first == 0 && window.last == 0xfff);
    window = gri_fmt_leaf_window(gri_fmt_leaf(pa, gri_fmt_window(gri_fmt_attrs(RW), 12, 5, 6)), 12);
    assert_true(window.first == 5 && window.last == 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_entries),     cmocka_unit_test(leaves),
        cmocka_unit_test(windows),           cmocka_unit_test(windows_are_rounded_out),
        cmocka_unit_test(bit_1_is_no_cache), cmocka_unit_test(small_granules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
