/* SPDX-License-Identifier: MIT */
/* ARM LPAE stage 1: entries to the bit (VMSAv8-64 descriptors), and tables. */
#include "pt/fmt/lpae_s1.h"

#define STAGE_FORMAT GR_PT_LPAE_S1
#define STAGE_WRITE_ONLY RW /* there is none */
#define STAGE_GRANULES                                                                             \
    {12, 4, 48, 40, 64 * KIB, 2 * MIB, 32 * MIB}, {12, 3, 39, 40, 64 * KIB, 2 * MIB, 32 * MIB},    \
        {14, 3, 47, 40, 2 * MIB, 32 * MIB, GIB}, {14, 4, 48, 40, 2 * MIB, 32 * MIB, GIB},          \
        {16, 3, 48, 40, 2 * MIB, 512 * MIB, 16 * GIB},                                             \
    {                                                                                              \
        16, 2, 42, 40, 2 * MIB, 512 * MIB, 16 * GIB                                                \
    }
#include "pt_lpae.inc.h"

/* ---- values ---- */

static void entries(void **state)
{
    static const struct value v[] = {
        /* UXN, PXN, nG, AF, inner shareable, EL0, AttrIndx 0, page */
        {0x8c5d54000, RW, 0x00600008c5d54f43},
        {0x8c5d54000, GR_PROT_READ, 0x00600008c5d54fc3},
        {0x8c5d54000, RW | GR_PROT_UNCACHED, 0x00600008c5d54f47},
        {0, RW, 0x0060000000000f43},
        {0xfffffffff000, RW, 0x0060ffffffffff43},
    };
    const uint64_t block = gri_fmt_leaf(2 * MIB, gri_fmt_attrs(RW) & ~GRI_FMT_LEAF_ONLY);

    (void)state;
    check_values(v, GRI_ARRAY_SIZE(v));
    /* There is no write-only. */
    assert_true(gri_fmt_attrs(GR_PROT_WRITE) == gri_fmt_attrs(RW));
    assert_true(block == 0x0060000000200f41);
    assert_true(gri_fmt_valid(block));
    assert_false(gri_fmt_is_table(block));
    assert_true(gri_fmt_table(0x8a0b10000) == 0x8a0b10003);
    assert_true(gri_fmt_is_table(0x8a0b10003));
    assert_false(gri_fmt_is_table(0x8a0b10002));
    assert_false(gri_fmt_valid(0x8a0b10000)); /* a link of the gather */
    assert_true(gri_fmt_pa(0x8a0b13003, 14) == 0x8a0b10000);
}

/* Four levels, to the bit: root, a 1 GiB block, 2 MiB blocks, a page. */
static void worked_example(void **state)
{
    const struct gr_pt_config c = shape_of(12, 4, 48, 48);
    struct world w;
    struct gr_pt_walk walk;

    (void)state;
    open_world(&w, &c);
    map(&w, 0x80c0a06000, 0x812345000, 0x1000, RW);
    assert_int_equal(gr_pt_walk(&w.pt, 0x80c0a06789, &walk), 0);
    assert_int_equal(walk.steps, 4);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(walk.step[i].level, 3 - i);
    assert_true(walk.step[0].entry_pa == w.pt.root_pa + 8 * 1);
    assert_true((walk.step[1].entry_pa & 0xfff) == 8 * 3);
    assert_true((walk.step[2].entry_pa & 0xfff) == 8 * 5);
    assert_true((walk.step[3].entry_pa & 0xfff) == 8 * 6);
    assert_true(walk.step[3].entry == 0x0060000812345f43);
    assert_true(walk.pa == 0x812345789);
    assert_true(w.pt.tables == 4);

    map(&w, 0x8080000000, 0x9c0000000, GIB, GR_PROT_READ);
    assert_int_equal(gr_pt_walk(&w.pt, 0x80b0123456, &walk), 0);
    assert_int_equal(walk.steps, 2);
    assert_true(walk.step[1].entry == 0x00600009c0000fc1);
    assert_true(walk.pa == 0x9f0123456);
    assert_true(walk.window.first == 0 && walk.window.last == 0xfff);
    map(&w, 0x80c0800000, 0x980200000, 2 * MIB, RW);
    assert_int_equal(gr_pt_walk(&w.pt, 0x80c0812345, &walk), 0);
    assert_int_equal(walk.steps, 3);
    assert_true(walk.step[2].entry == 0x0060000980200f41);
    assert_true(w.pt.tables == 4);
    close_world(&w);
}

static void shapes(void **state)
{
    static const struct shape v[] = {
        {12, 3, 39, 48, 0},
        {12, 4, 40, 32, GR_ENOMEM},
        /* RAM lies above */ {12, 4, 48, 36, 0},
        {14, 2, 36, 40, 0},
        {14, 3, 47, 42, 0},
        {14, 4, 48, 44, 0},
        {16, 2, 42, 48, 0},
        {16, 3, 43, 48, 0},
        {16, 3, 48, 48, 0},
        {12, 2, 25, 48, 0},
        {12, 2, 30, 48, 0},
        {12, 2, 24, 48, GR_EINVAL}, /* T0SZ 40 */
        {12, 4, 39, 48, GR_EINVAL}, /* an SMMU starts a level lower */
        {12, 3, 30, 48, GR_EINVAL},
        {14, 4, 47, 48, GR_EINVAL},
        {16, 3, 42, 48, GR_EINVAL},
        {12, 3, 40, 48, GR_EINVAL},
        {14, 4, 49, 48, GR_EINVAL},
        {16, 3, 49, 48, GR_EINVAL},
        {12, 3, 39, 35, GR_EINVAL},
        {12, 3, 39, 52, GR_EINVAL},
        {12, 3, 39, 64, GR_EINVAL},
        {13, 3, 39, 48, GR_EINVAL},
        {18, 2, 42, 48, GR_EINVAL},
        {10, 4, 36, 48, GR_EINVAL},
        {12, 5, 48, 48, GR_EINVAL},
        {16, 1, 29, 48, GR_EINVAL},
    };
    struct gr_pt_config more = shape_of(12, 3, 39, 48);
    struct host *const h = machine_of(4, 1, true);
    struct gr_pt pt;

    (void)state;
    try_shapes(v, GRI_ARRAY_SIZE(v));
    more.roots_lg2 = 1; /* concatenation is for stage 2 */
    assert_int_equal(gr_pt_init(&pt, h, &more), GR_EINVAL);
    more = shape_of(16, 3, 48, 48);
    assert_int_equal(gr_pt_reach_bits(&more), 48);
    more.levels = 2;
    assert_int_equal(gr_pt_reach_bits(&more), 42);
    finish(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries), cmocka_unit_test(worked_example), cmocka_unit_test(shapes),
        cmocka_unit_test(sizes),   cmocka_unit_test(cuts),           cmocka_unit_test(collisions),
        cmocka_unit_test(edges),   cmocka_unit_test(failing_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
