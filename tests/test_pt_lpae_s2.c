/* SPDX-License-Identifier: MIT */
/* ARM LPAE stage 2: entries to the bit (VMSAv8-64 descriptors), tables, roots side by side. */
#include "pt/fmt/lpae_s2.h"

#define STAGE_FORMAT GR_PT_LPAE_S2
#define STAGE_WRITE_ONLY GR_PROT_WRITE
/* Of each granule: all that there is, 16 roots or as many as 48 bits need, one root. */
#define STAGE_GRANULES                                                                             \
    {12, 4, 48, 48, 64 * KIB, 2 * MIB, 32 * MIB}, {12, 3, 43, 44, 64 * KIB, 2 * MIB, 32 * MIB},    \
        {12, 3, 39, 40, 64 * KIB, 2 * MIB, 32 * MIB}, {14, 3, 48, 48, 2 * MIB, 32 * MIB, GIB},     \
        {14, 2, 40, 40, 2 * MIB, 32 * MIB, GIB}, {14, 2, 36, 40, 2 * MIB, 32 * MIB, GIB},          \
        {16, 3, 48, 48, 2 * MIB, 512 * MIB, 16 * GIB},                                             \
        {16, 2, 46, 48, 2 * MIB, 512 * MIB, 16 * GIB},                                             \
    {                                                                                              \
        16, 2, 42, 42, 2 * MIB, 512 * MIB, 16 * GIB                                                \
    }
#include "pt_lpae.inc.h"

/* ---- values ---- */

static void entries(void **state)
{
    static const struct value v[] = {
        /* XN, AF, inner shareable, S2AP, MemAttr 0xf, page */
        {0x8c5d54000, RW, 0x00400008c5d547ff},
        {0x8c5d54000, GR_PROT_READ, 0x00400008c5d5477f},
        {0x8c5d54000, GR_PROT_WRITE, 0x00400008c5d547bf},
        {0x8c5d54000, RW | GR_PROT_UNCACHED, 0x00400008c5d547d7},
        {0, RW, 0x00400000000007ff},
        {0xfffffffff000, GR_PROT_READ | GR_PROT_UNCACHED, 0x0040fffffffff757},
    };
    const uint64_t block = gri_fmt_leaf(2 * MIB, gri_fmt_attrs(RW) & ~GRI_FMT_LEAF_ONLY);

    (void)state;
    check_values(v, GRI_ARRAY_SIZE(v));
    assert_true(block == 0x00400000002007fd);
    assert_true(gri_fmt_valid(block) && !gri_fmt_is_table(block));
}

/* ---- roots ---- */

/* As many tables side by side as the bits above one's reach ask for, indexed as one. */
static void concatenated(void **state)
{
    static const struct {
        uint8_t lg2, levels, reach; /* of one root */
    } v[] = {{12, 2, 30}, {12, 3, 39}, {14, 2, 36}, {16, 2, 42}};

    (void)state;
    for (size_t i = 0; i < GRI_ARRAY_SIZE(v); i++) {
        for (uint8_t more = 0; more <= 4; more++) {
            const uint8_t va_bits = (uint8_t)(v[i].reach + more);
            const struct gr_pt_config c = shape_of(v[i].lg2, v[i].levels, va_bits, 48);
            const uint64_t g = UINT64_C(1) << c.granule_lg2;
            struct gr_pt_walk walk;
            struct world w;

            open_world(&w, &c);
            assert_int_equal(w.pt.roots_lg2, more);
            assert_true(w.pt.root_pa % (g << more) == 0);
            assert_true(w.pt.tables == UINT64_C(1) << more);
            for (uint64_t root = 0; root < UINT64_C(1) << more; root++) {
                const gr_iova_t first = root << v[i].reach;
                const gr_iova_t last = first + bits(v[i].reach) + 1 - g;

                map(&w, first, TEST_RAM + root * g, g, RW);
                map(&w, last, TEST_RAM + (root + 16) * g, g, GR_PROT_WRITE);
                (void)leads(&w, first, TEST_RAM + root * g, RW);
                (void)leads(&w, last, TEST_RAM + (root + 16) * g, GR_PROT_WRITE);
                assert_int_equal(gr_pt_walk(&w.pt, last, &walk), 0);
                assert_int_equal(walk.steps, c.levels);
                assert_true(walk.step[0].entry_pa == w.pt.root_pa + (root + 1) * g - 8);
            }
            /* Across the edge between two roots, with a group on it where it is aligned. */
            if (more) {
                absent(&w, (UINT64_C(1) << v[i].reach) + g);
                unmap(&w, UINT64_C(1) << v[i].reach, g);
                unmap(&w, (UINT64_C(1) << v[i].reach) - g, g);
                map(&w, (UINT64_C(1) << v[i].reach) - g, TEST_RAM, 2 * g, RW);
                (void)leads(&w, (UINT64_C(1) << v[i].reach) - 1, TEST_RAM + g - 1, RW);
                (void)leads(&w, UINT64_C(1) << v[i].reach, TEST_RAM + g, RW);
            }
            close_world(&w);
        }
    }
}

static void shapes(void **state)
{
    static const struct shape v[] = {
        {12, 2, 25, 36, 0}, /* T0SZ 39, as few as level 2 takes */
        {12, 2, 34, 36, 0},
        {12, 3, 35, 36, 0},
        {12, 3, 43, 44, 0},
        {12, 4, 44, 44, 0},
        {14, 2, 26, 36, 0},
        {14, 2, 40, 40, 0},
        {14, 3, 41, 42, 0},
        {14, 3, 48, 48, 0},
        {16, 2, 30, 36, 0},
        {16, 2, 46, 48, 0},
        {16, 3, 47, 48, 0},
        {12, 2, 24, 48, GR_EINVAL},
        {12, 2, 35, 48, GR_EINVAL}, /* 32 roots */
        {12, 3, 34, 48, GR_EINVAL}, /* 16 of a level less do */
        {12, 4, 43, 48, GR_EINVAL},
        {14, 2, 25, 48, GR_EINVAL}, /* an entry of the start level must be told from another */
        {14, 3, 40, 48, GR_EINVAL},
        {14, 4, 48, 48, GR_EINVAL}, /* no such start level */
        {16, 2, 29, 48, GR_EINVAL},
        {16, 3, 46, 48, GR_EINVAL},
        {12, 3, 43, 42, GR_EINVAL}, /* more in than out */
        {16, 2, 44, 42, GR_EINVAL},
        {14, 3, 49, 48, GR_EINVAL},
        {12, 3, 39, 52, GR_EINVAL},
    };
    struct gr_pt_config more = shape_of(12, 3, 39, 48);
    struct host *const h = machine_of(4, 1, true);
    struct gr_pt pt;

    (void)state;
    try_shapes(v, GRI_ARRAY_SIZE(v));
    assert_int_equal(gr_pt_reach_bits(&more), 43);
    more.roots_lg2 = 5;
    assert_int_equal(gr_pt_reach_bits(&more), 0);
    assert_int_equal(gr_pt_init(&pt, h, &more), GR_EINVAL);
    more = shape_of(14, 3, 48, 48);
    assert_int_equal(gr_pt_reach_bits(&more), 48);
    finish(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries), cmocka_unit_test(concatenated),   cmocka_unit_test(shapes),
        cmocka_unit_test(sizes),   cmocka_unit_test(cuts),           cmocka_unit_test(collisions),
        cmocka_unit_test(edges),   cmocka_unit_test(failing_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
