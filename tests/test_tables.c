/* SPDX-License-Identifier: MIT */
/* What a debugger shows of tables: tests/lib/tables.h. */
#include "pt_tools.h"

#include <stdlib.h>

#include "tables.h"

static char *printed(const struct gr_pt *pt)
{
    char *text = NULL;
    size_t size;
    FILE *const to = open_memstream(&text, &size);

    assert_non_null(to);
    tables_print(to, pt);
    assert_int_equal(fclose(to), 0);
    return text;
}

__attribute__((format(printf, 2, 3))) static void prints(const struct gr_pt *pt, const char *format,
                                                         ...)
{
    char expected[1024];
    char *const text = printed(pt);
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(expected, sizeof(expected), format, ap);
    va_end(ap);
    assert_string_equal(text, expected);
    free(text);
}

static void must_map(struct gr_pt *pt, gr_iova_t iova, gr_pa_t pa, uint64_t len, unsigned prot)
{
    uint64_t done;

    assert_int_equal(gr_pt_map(pt, iova, pa, len, prot, &done), 0);
}

static gr_pa_t entry_of(const struct gr_pt *pt, gr_iova_t iova, unsigned step)
{
    struct gr_pt_walk walk;

    assert_int_equal(gr_pt_walk(pt, iova, &walk), 0);
    return walk.step[step].entry_pa;
}

/* Empty, then two leaves with what they permit. */
static void leaves(void **state)
{
    const struct gr_pt_config config = {.format = GR_PT_DART1,
                                        .granule_lg2 = 14,
                                        .levels = 2,
                                        .roots_lg2 = 2,
                                        .va_bits = 32,
                                        .pa_bits = 36,
                                        .coherent = true};
    struct host *const h = machine_of(16, 1, true);
    struct gr_pt pt;

    (void)state;
    assert_int_equal(gr_pt_init(&pt, h, &config), 0);
    prints(&pt,
           "DART1, granule 2^14, 2 levels, 32 bits of IOVA, root at PA 0x%" PRIx64 "\n"
           "0 leaves, 0 entries that lead nowhere\n",
           pt.root_pa);
    must_map(&pt, 0, 0x8c5d54000, 0x4000, RW);
    must_map(&pt, 0x80000000, 0x870000000, 0x4000, GR_PROT_READ);
    prints(&pt,
           "DART1, granule 2^14, 2 levels, 32 bits of IOVA, root at PA 0x%" PRIx64 "\n"
           "0x000000000000-0x000000003fff: PA 0x8c5d54000 rw-, level 0: 0x000fff08c5d54003 at "
           "0x%" PRIx64 "\n"
           "0x000080000000-0x000080003fff: PA 0x870000000 r--, level 0: 0x000fff0870000083 at "
           "0x%" PRIx64 "\n"
           "2 leaves, 0 entries that lead nowhere\n",
           pt.root_pa, entry_of(&pt, 0, 1), entry_of(&pt, 0x80000000, 1));
    gr_pt_fini(&pt);
    finish(h);
}

/* A block, and an entry that was overwritten. */
static void broken(void **state)
{
    const struct gr_pt_config config = {.format = GR_PT_LPAE_S2,
                                        .granule_lg2 = 12,
                                        .levels = 3,
                                        .roots_lg2 = 4,
                                        .va_bits = 40,
                                        .pa_bits = 42,
                                        .coherent = true};
    struct host *const h = machine_of(16, 1, true);
    struct gr_pt pt;
    gr_pa_t at;
    uint64_t entry;

    (void)state;
    assert_int_equal(gr_pt_init(&pt, h, &config), 0);
    must_map(&pt, 2 * MIB, 0x80000000, 2 * MIB, GR_PROT_WRITE | GR_PROT_UNCACHED);
    must_map(&pt, GIB, 0x90000000, 0x1000, RW);
    at = entry_of(&pt, GIB, 0);
    assert_true(host_table_read64(h, at, &entry));
    gr_port_table_store64(h, gr_port_phys_to_virt(h, at), 0x40000000003);
    gr_port_wmb();
    prints(&pt,
           "LPAE2, granule 2^12, 3 levels, 40 bits of IOVA, root at PA 0x%" PRIx64 "\n"
           "0x000000200000-0x0000003fffff: PA 0x80000000 -wu, level 1: 0x0040000080000795 at "
           "0x%" PRIx64 "\n"
           "0x000040000000-0x00007fffffff: its table lies outside memory, level 2: "
           "0x0000040000000003 at 0x%" PRIx64 "\n"
           "1 leaves, 1 entries that lead nowhere\n",
           pt.root_pa, entry_of(&pt, 2 * MIB, 1), at);
    gr_port_table_store64(h, gr_port_phys_to_virt(h, at), entry);
    gr_port_wmb();
    gr_pt_fini(&pt);
    finish(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaves),
        cmocka_unit_test(broken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
