/* SPDX-License-Identifier: MIT */
/* DART1 entries to the bit: DART.md 4.1, 4.3, 4.4 and 13. */
#include "pt/fmt/dart1.h"

#include "pt_dart.inc.h"

static void table_entries(void **state)
{
    (void)state;
    assert_true(gri_fmt_table(0x8a0b10000) == 0x00000008a0b10001);
    assert_true(gri_fmt_table(0x870002000) == 0x0000000870002001);
    assert_true(gri_fmt_pa(0x00000008a0b10001, 14) == 0x8a0b10000);
    assert_true(gri_fmt_pa(0x0000000870002001, 12) == 0x870002000);
    assert_true(gri_fmt_pa(0x00000008a0b10003, 14) == 0x8a0b10000); /* bit 1 means nothing here */
}

static void leaves(void **state)
{
    static const struct leaf v[] = {
        {14, PAGE, RW, 0x000fff08c5d54003},
        {14, PAGE, GR_PROT_READ, 0x000fff08c5d54083},
        {14, PAGE, GR_PROT_WRITE, 0x000fff08c5d54103},
        {14, PAGE, RW | GR_PROT_UNCACHED, 0x000fff08c5d54003}, /* no such bit: the same leaf */
        {12, 0x8700ab000, RW, 0x000fff08700ab003},
        {14, 0, RW, 0x000fff0000000003},
        {14, 0xfffffc000, RW, 0x000fff0fffffc003},
        {12, 0xffffff000, RW, 0x000fff0ffffff003},
    };

    (void)state;
    check_leaves(v, GRI_ARRAY_SIZE(v), RW);
}

static void windows(void **state)
{
    static const struct window v[] = {
        {14, 0x100, 0x11ff, 0x04047f08c5d54001}, /* START 0x40, END 0x47f: units of 4 bytes */
        {14, 0, 3, 0x00000008c5d54001},          {14, 0x3ffc, 0x3fff, 0xffffff08c5d54001},
        {14, 0, 0x3fff, 0x000fff08c5d54001},    /* whole, but checked */
        {12, 0x234, 0x235, 0x23423508c5d54001}, /* units of one byte */
        {12, 0xfff, 0xfff, 0xffffff08c5d54001},
    };

    (void)state;
    check_windows(v, GRI_ARRAY_SIZE(v));
}

/* DART.md 14.1: bit 1 is SP_DIS in this format. Without it START and END are obeyed. */
static void bit_1_disables_the_window(void **state)
{
    struct gr_range window;

    (void)state;
    assert_int_equal(GRI_DART1_SP_DIS, 2);
    assert_true(gri_fmt_attrs(RW) & 2);
    window = gri_fmt_leaf_window(0x04047f08c5d54003, 14);
    assert_true(window.first == 0 && window.last == 0x3fff);
    window = gri_fmt_leaf_window(0x04047f08c5d54001, 14);
    assert_true(window.first == 0x100 && window.last == 0x11ff);
    assert_false(gri_fmt_window(gri_fmt_attrs(RW), 14, 0x100, 0x11ff) & 2);
    assert_int_equal(gri_fmt_prot(0x000fff08c5d54003) & GR_PROT_UNCACHED, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_entries),
        cmocka_unit_test(leaves),
        cmocka_unit_test(windows),
        cmocka_unit_test(windows_are_rounded_out),
        cmocka_unit_test(bit_1_disables_the_window),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
