/* SPDX-License-Identifier: MIT */
/*
 * The independent walker against tables made by hand: the numbers of DART.md 13, tables that
 * lie, and formats that are nothing but another table of numbers.
 */
#include "sim/walker.h"

#include "chance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORDS 65536u
#define REGS 512u
#define RAM_BASE UINT64_C(0x800000000)
#define RAM_SIZE UINT64_C(0x200000000)

/* Registers and 64-bit words by address; what was never set reads 0. */
struct world {
    struct walker_source source;
    struct walker_instance inst;
    uint64_t at[WORDS];
    uint64_t word[WORDS];
    size_t words;
    uint32_t offset[REGS];
    uint32_t value[REGS];
    size_t regs;
    uint64_t reads;
};

static uint32_t world_reg(void *opaque, uint32_t offset)
{
    const struct world *w = opaque;

    for (size_t i = w->regs; i-- > 0;) {
        if (w->offset[i] == offset) {
            return w->value[i];
        }
    }
    return 0;
}

static bool world_memory(void *opaque, uint64_t pa, void *buf, size_t len)
{
    struct world *w = opaque;
    uint8_t *bytes = buf;

    w->reads++;
    if (pa < RAM_BASE || pa - RAM_BASE >= RAM_SIZE || len > RAM_SIZE - (pa - RAM_BASE)) {
        return false;
    }
    memset(buf, 0, len);
    for (size_t i = 0; i < w->words; i++) {
        for (unsigned k = 0; k < 8 && w->at[i] + 8 > pa && w->at[i] < pa + len; k++) {
            uint64_t at = w->at[i] + k;

            if (at >= pa && at - pa < len) {
                bytes[at - pa] = (uint8_t)(w->word[i] >> 8 * k);
            }
        }
    }
    return true;
}

static void set_reg(struct world *w, uint32_t offset, uint32_t value)
{
    assert_true(w->regs < REGS);
    w->offset[w->regs] = offset;
    w->value[w->regs++] = value;
}

static void set_word(struct world *w, uint64_t at, uint64_t word)
{
    assert_true(w->words < WORDS);
    w->at[w->words] = at;
    w->word[w->words++] = word;
}

static struct world *new_world(const char *compatible, uint64_t granule)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    w->source = (struct walker_source){w, world_reg, world_memory};
    w->inst.from = &w->source;
    w->inst.kind = walker_kind(compatible);
    assert_non_null(w->inst.kind);
    w->inst.format = walker_format(w->inst.kind, granule);
    assert_non_null(w->inst.format);
    w->inst.streams = 16;
    return w;
}

/* Reset values of a t8020 or t6000: every stream enabled, remap the identity, bypass supported. */
static struct world *new_t8020(const char *compatible, uint64_t granule)
{
    struct world *w = new_world(compatible, granule);

    set_reg(w, 0x0, granule == 4096 ? 0x0c000000 : 0x0e000000);
    set_reg(w, 0x4, 0x1);
    set_reg(w, 0xfc, 0xffff);
    for (uint32_t i = 0; i < 4; i++) {
        set_reg(w, 0x80 + 4 * i, 0x03020100u + 0x04040404u * i);
    }
    return w;
}

static struct world *new_t8110(const char *compatible, uint64_t granule, uint32_t params3)
{
    struct world *w = new_world(compatible, granule);

    set_reg(w, 0x0, granule == 4096 ? 0x0c000000 : 0x0e000000);
    set_reg(w, 0x4, 0x1);
    set_reg(w, 0x8, params3);
    set_reg(w, 0xc00, 0xffff);
    return w;
}

static struct walker_walk walk(const struct world *w, unsigned sid, uint64_t iova)
{
    struct walker_stream stream;
    struct walker_walk result;

    walker_stream(&stream, &w->inst, sid);
    walker_walk(&stream, iova, &result);
    return result;
}

/* ---- DART.md 13 ---- */

#define IOVA UINT64_C(0x9f4a1234)
#define L1 UINT64_C(0x8a0b0c000)
#define L2 UINT64_C(0x8a0b10000)
#define PARAMS3_36 0x2a240201u /* 42 PA bits, 36 VA bits, revision 2.1 */
#define PARAMS3_47 0x2a2f0201u

static struct world *worked_t8020(const char *compatible, uint64_t l1_entry, uint64_t leaf)
{
    struct world *w = new_t8020(compatible, 16384);

    set_reg(w, 0x114, 0x80);
    set_reg(w, 0x250, 0x808a0b0c);
    set_word(w, 0x8a0b0c278, l1_entry);
    set_word(w, 0x8a0b12940, leaf);
    return w;
}

static struct world *worked_t8110(uint64_t leaf)
{
    struct world *w = new_t8110("apple,t8110-dart", 16384, PARAMS3_36);

    set_reg(w, 0x1014, 0x1);
    set_reg(w, 0x1414, 0x008a0b0d);
    set_word(w, 0x8a0b0c278, 0x00000008a0b1001);
    set_word(w, 0x8a0b12940, leaf);
    return w;
}

static void check_worked(struct world *w, bool read, bool write, bool uncached, uint64_t open,
                         uint64_t open_last)
{
    struct walker_walk got = walk(w, 5, IOVA);

    assert_int_equal(got.end, WALKER_MAPPED);
    assert_int_equal(got.nsteps, 2);
    assert_int_equal(got.steps[0].level, 1);
    assert_int_equal(got.steps[0].index, 0x4f);
    assert_int_equal(got.steps[0].at, 0x8a0b0c278);
    assert_int_equal(got.steps[0].pa, L2);
    assert_int_equal(got.steps[1].level, 0);
    assert_int_equal(got.steps[1].index, 0x528);
    assert_int_equal(got.steps[1].at, 0x8a0b12940);
    assert_int_equal(got.pa, 0x8c5d55234);
    assert_int_equal(got.leaf.iova, 0x9f4a0000);
    assert_int_equal(got.leaf.last, 0x9f4a3fff);
    assert_int_equal(got.leaf.pa, 0x8c5d54000);
    assert_int_equal(got.leaf.read, read);
    assert_int_equal(got.leaf.write, write);
    assert_int_equal(got.leaf.uncached, uncached);
    assert_int_equal(got.leaf.open, 0x9f4a0000 + open);
    assert_int_equal(got.leaf.open_last, 0x9f4a0000 + open_last);
    free(w);
}

static void test_worked_dart1(void **state)
{
    const uint64_t l1 = 0x00000008a0b10001;

    (void)state;
    check_worked(worked_t8020("apple,t8103-dart", l1, 0x000fff08c5d54003), true, true, false, 0,
                 0x3fff);
    check_worked(worked_t8020("apple,t8103-dart", l1, 0x000fff08c5d54083), true, false, false, 0,
                 0x3fff);
    check_worked(worked_t8020("apple,t8103-dart", l1, 0x000fff08c5d54103), false, true, false, 0,
                 0x3fff);
    check_worked(worked_t8020("apple,t8103-dart", l1, 0x04047f08c5d54001), true, true, false, 0x100,
                 0x11ff);
    /* SP_DIS: the window is not looked at. Bit 1 of a table entry is nothing. */
    check_worked(worked_t8020("apple,t8103-dart", l1 | 2, 0x04047f08c5d54003), true, true, false, 0,
                 0x3fff);
}

static void test_worked_dart2(void **state)
{
    const uint64_t l1 = 0x000000008a0b1001;

    (void)state;
    check_worked(worked_t8020("apple,t6000-dart", l1, 0x000fff008c5d5401), true, true, false, 0,
                 0x3fff);
    check_worked(worked_t8020("apple,t6000-dart", l1, 0x000fff008c5d5403), true, true, true, 0,
                 0x3fff);
    check_worked(worked_t8020("apple,t6000-dart", l1, 0x000fff008c5d5405), true, false, false, 0,
                 0x3fff);
    check_worked(worked_t8110(0x000fff008c5d5409), false, true, false, 0, 0x3fff);
    check_worked(worked_t8110(0x04047f008c5d5401), true, true, false, 0x100, 0x11ff);
}

static void test_wide_pa(void **state)
{
    struct world *w = worked_t8110(0x000fff2b98765401);
    struct walker_walk got = walk(w, 5, IOVA);

    (void)state;
    assert_int_equal(got.end, WALKER_MAPPED);
    assert_int_equal(got.leaf.pa, 0x2b987654000);
    set_reg(w, 0x8, 0x24240201); /* 36 PA bits */
    got = walk(w, 5, IOVA);
    assert_int_equal(got.end, WALKER_PA_TOO_WIDE);
    assert_int_equal(got.pa, 0x2b987655234);
    free(w);
}

static void test_worked_four_levels(void **state)
{
    struct world *w = new_t8110("apple,t8112-dart", 16384, PARAMS3_47);
    const uint64_t iova = 0x10a9f4a1234;
    struct walker_walk got;

    (void)state;
    set_reg(w, 0x1014, 0x9);
    set_reg(w, 0x1414, 0x008a0b09);
    set_word(w, 0x8a0b08080, 0x000000008a0b0c01);
    set_word(w, 0x8a0b0ea78, 0x000000008a0b1001);
    set_word(w, 0x8a0b12940, 0x000fff008c5d5401);
    got = walk(w, 5, iova);
    assert_int_equal(got.end, WALKER_MAPPED);
    assert_int_equal(got.nsteps, 3);
    assert_int_equal(got.steps[0].level, 2);
    assert_int_equal(got.steps[0].index, 0x10);
    assert_int_equal(got.steps[0].at, 0x8a0b08080);
    assert_int_equal(got.steps[1].index, 0x54f);
    assert_int_equal(got.steps[1].at, 0x8a0b0ea78);
    assert_int_equal(got.steps[2].index, 0x528);
    assert_int_equal(got.pa, 0x8c5d55234);
    /* Bits from 47 on are dropped, those below are not. */
    assert_int_equal(walk(w, 5, iova | UINT64_C(1) << 47).end, WALKER_MAPPED);
    assert_int_equal(walk(w, 5, iova | UINT64_C(0xffff) << 48).iova, iova);
    assert_int_equal(walk(w, 5, iova ^ UINT64_C(1) << 46).end, WALKER_NO_ENTRY);
    /* VA_WIDTH 42: bit 46 is dropped as well. */
    set_reg(w, 0x8, 0x2a2a0201);
    assert_int_equal(walk(w, 5, iova ^ UINT64_C(1) << 46).end, WALKER_MAPPED);
    /* Revision 1 does not know FOUR_LEVELS: the L0 table is read as an L1. */
    set_reg(w, 0x8, 0x2a2f0105);
    got = walk(w, 5, UINT64_C(0x10) << 25);
    assert_int_equal(got.steps[0].at, 0x8a0b08080);
    assert_int_equal(got.nsteps, 2);
    free(w);
}

static void test_worked_4k(void **state)
{
    struct world *w = new_t8020("apple,t8103-dart", 4096);
    struct walker_walk got;

    (void)state;
    set_reg(w, 0x114, 0x80);
    set_reg(w, 0x258, 0x80870001);
    set_word(w, 0x8700017d0, 0x0000000870002001);
    set_word(w, 0x870002508, 0x000fff08700ab003);
    got = walk(w, 5, IOVA);
    assert_int_equal(got.end, WALKER_MAPPED);
    assert_int_equal(got.root, 2);
    assert_int_equal(got.steps[0].index, 0xfa);
    assert_int_equal(got.steps[0].at, 0x8700017d0);
    assert_int_equal(got.steps[1].index, 0xa1);
    assert_int_equal(got.steps[1].at, 0x870002508);
    assert_int_equal(got.pa, 0x8700ab234);
    assert_int_equal(walk(w, 5, IOVA & 0x3fffffff).end, WALKER_NO_ROOT);
    assert_int_equal(walk(w, 5, IOVA | UINT64_C(5) << 32).pa, 0x8700ab234);
    /* A byte a unit. */
    set_word(w, 0x870002508, 0x23423508700ab001);
    got = walk(w, 5, IOVA);
    assert_int_equal(got.leaf.open, 0x9f4a1234);
    assert_int_equal(got.leaf.open_last, 0x9f4a1235);
    free(w);
}

/* PA[41:12] at 37:8, with two levels, and with three. */
static void test_dart2_4k(void **state)
{
    struct world *w = new_t8110("apple,t6020-dart", 4096, PARAMS3_47);
    struct walker_walk got;

    (void)state;
    set_reg(w, 0x1000, 0x1);
    set_reg(w, 0x1400, 0x008a0b09);                    /* 0x8a0b08000 */
    set_word(w, 0x8a0b08000 + 8 * 0x1fa, 0x8a0b0a301); /* 0x8a0b0a3000 is beyond RAM */
    assert_int_equal(walk(w, 0, 0x7f4a1234 & 0x3fffffff).end, WALKER_NO_MEMORY);
    set_word(w, 0x8a0b08000 + 8 * 0x1fa, (0x8a0b0b000 >> 4) | 1);
    set_word(w, 0x8a0b0b000 + 8 * 0xa1, 0x000fff2b98765701);
    got = walk(w, 0, 0x3f4a1234);
    assert_int_equal(got.end, WALKER_MAPPED);
    assert_int_equal(got.pa, 0x2b987657234);
    assert_int_equal(walk(w, 0, 0x7f4a1234).pa, 0x2b987657234);
    /* One level more: the table from above is reached through entry 3 of another. */
    set_reg(w, 0x1000, 0x9);
    set_reg(w, 0x1400, 0x008a0b11); /* 0x8a0b10000 */
    set_word(w, 0x8a0b10000 + 8 * 3, (0x8a0b08000 >> 4) | 1);
    got = walk(w, 0, 0xff4a1234);
    assert_int_equal(got.end, WALKER_MAPPED);
    assert_int_equal(got.nsteps, 3);
    assert_int_equal(got.pa, 0x2b987657234);
    assert_int_equal(walk(w, 0, 0x3f4a1234).end, WALKER_NO_ENTRY);
    assert_int_equal(walk(w, 0, 0x80ff4a1234).pa, 0x2b987657234); /* 39 bits */
    free(w);
}

/* A byte of TCR for each stream; 30 bits, or 32 if more than the first TTBR leads somewhere. */
static void test_s5l8960x(void **state)
{
    struct world *w = new_world("apple,s5l8960x-dart", 4096);

    (void)state;
    w->inst.streams = 4;
    set_reg(w, 0x0c, 0x00800000);
    set_reg(w, 0x40 + 16 * 2, 0x80870001);
    set_word(w, 0x8700017d0, 0x0000000870002001);
    set_word(w, 0x870002508, 0x000fff08700ab003);
    assert_int_equal(walk(w, 2, IOVA & 0x3fffffff).pa, 0x8700ab234);
    assert_int_equal(walk(w, 2, IOVA).pa, 0x8700ab234);
    assert_int_equal(walk(w, 1, IOVA).end, WALKER_NO_STREAM);
    set_reg(w, 0x40 + 16 * 2, 0);
    set_reg(w, 0x40 + 16 * 2 + 8, 0x80870001);
    assert_int_equal(walk(w, 2, IOVA).pa, 0x8700ab234);
    assert_int_equal(walk(w, 2, IOVA & 0x3fffffff).end, WALKER_NO_ROOT);
    free(w);
}

static void test_usb4(void **state)
{
    struct world *w = new_t8020("apple,t8103-usb4-dart", 16384);

    (void)state;
    w->inst.streams = 64;
    set_reg(w, 0x100 + 4 * 33, 0x80);
    set_reg(w, 0x400 + 16 * 33, 0x808a0b0c);
    set_word(w, 0x8a0b0c278, 0x00000008a0b10001);
    set_word(w, 0x8a0b12940, 0x000fff08c5d54003);
    assert_int_equal(walk(w, 33, IOVA).pa, 0x8c5d55234);
    free(w);
}

/* ---- Why a walk fails ---- */

static void test_failures(void **state)
{
    struct world *w = worked_t8020("apple,t8103-dart", 0x00000008a0b10001, 0x000fff08c5d54003);
    struct walker_walk got;

    (void)state;
    got = walk(w, 5, IOVA + 0x4000);
    assert_int_equal(got.end, WALKER_NO_ENTRY);
    assert_int_equal(got.nsteps, 2);
    assert_int_equal(got.steps[1].at, 0x8a0b12948);
    assert_int_equal(got.steps[1].entry, 0);
    got = walk(w, 5, IOVA + 0x2000000);
    assert_int_equal(got.end, WALKER_NO_ENTRY);
    assert_int_equal(got.nsteps, 1);
    set_word(w, 0x8a0b0c278, 0x0000000000010001);
    got = walk(w, 5, IOVA);
    assert_int_equal(got.end, WALKER_NO_MEMORY);
    assert_int_equal(got.nsteps, 2);
    assert_int_equal(got.steps[1].at, 0x12940);
    set_reg(w, 0x250, 0x80000001); /* the table itself */
    got = walk(w, 5, IOVA);
    assert_int_equal(got.end, WALKER_NO_MEMORY);
    assert_int_equal(got.nsteps, 1);
    set_reg(w, 0x250, 0x008a0b0c);
    assert_int_equal(walk(w, 5, IOVA).end, WALKER_NO_ROOT);
    assert_int_equal(walk(w, 4, IOVA).end, WALKER_NO_STREAM);
    free(w);
}

static enum walker_mode mode(const struct world *w, unsigned sid)
{
    struct walker_stream stream;

    walker_stream(&stream, &w->inst, sid);
    assert_non_null(stream.reason);
    return stream.mode;
}

static void test_modes_t8020(void **state)
{
    struct world *w = worked_t8020("apple,t8103-dart", 0x00000008a0b10001, 0x000fff08c5d54003);

    (void)state;
    assert_int_equal(mode(w, 5), WALKER_TRANSLATE);
    assert_int_equal(mode(w, 4), WALKER_BLOCKED);
    set_reg(w, 0x110, 0x1100);
    assert_int_equal(mode(w, 4), WALKER_BYPASS);
    set_reg(w, 0x4, 0);
    assert_int_equal(mode(w, 4), WALKER_BLOCKED);
    set_reg(w, 0x110, 0x180); /* both */
    assert_int_equal(mode(w, 4), WALKER_BLOCKED);
    set_reg(w, 0x80, 0x05020100); /* 3 stands for 5 */
    assert_int_equal(mode(w, 3), WALKER_TRANSLATE);
    assert_int_equal(walk(w, 3, IOVA).pa, 0x8c5d55234);
    set_reg(w, 0x80, 0xff020100);
    assert_int_equal(mode(w, 3), WALKER_BLOCKED);
    set_reg(w, 0xfc, 0xffdf); /* 5 is not enabled */
    assert_int_equal(mode(w, 5), WALKER_BLOCKED);
    free(w);
}

static void test_modes_t8110(void **state)
{
    struct world *w = worked_t8110(0x000fff008c5d5401);

    (void)state;
    assert_int_equal(mode(w, 5), WALKER_TRANSLATE);
    set_reg(w, 0x1010, 0x6);
    assert_int_equal(mode(w, 4), WALKER_BYPASS);
    set_reg(w, 0x1010, 0x580);
    assert_int_equal(mode(w, 4), WALKER_TRANSLATE);
    assert_int_equal(walk(w, 4, IOVA).pa, 0x8c5d55234);
    set_reg(w, 0x100c, 0x480); /* to a remapped one */
    assert_int_equal(mode(w, 3), WALKER_BLOCKED);
    set_reg(w, 0x100c, 0xf80);
    w->inst.streams = 15;
    assert_int_equal(mode(w, 3), WALKER_BLOCKED);
    set_reg(w, 0xc00, 0);
    assert_int_equal(mode(w, 5), WALKER_BLOCKED);
    free(w);
}

/* 32 bits are compared, until the tables use more of the 38 that four TTBRs reach. */
static void test_compared_bits(void **state)
{
    struct world *w = worked_t8020("apple,t8103-dart", 0x00000008a0b10001, 0x000fff08c5d54003);

    (void)state;
    assert_int_equal(walk(w, 5, UINT64_C(0xf00000000) | IOVA).pa, 0x8c5d55234);
    set_word(w, L1 + 8 * 0x780, 0x00000008a0b14001);
    set_word(w, 0x8a0b14000, 0x000fff08c6000003);
    assert_int_equal(walk(w, 5, UINT64_C(0xf00000000) | IOVA).end, WALKER_NO_ENTRY);
    assert_int_equal(walk(w, 5, UINT64_C(0xf00000123)).pa, 0x8c6000123);
    assert_int_equal(walk(w, 5, UINT64_C(0x4f00000123)).pa, 0x8c6000123);
    set_word(w, L1 + 8 * 0x780, 0);
    set_reg(w, 0x25c, 0x808a0b14); /* TTBR3, whose table is */
    set_word(w, 0x8a0b14000, 0x00000008a0b18001);
    set_word(w, 0x8a0b18000, 0x000fff08c6000003);
    assert_int_equal(walk(w, 5, UINT64_C(0x3000000123)).pa, 0x8c6000123);
    assert_int_equal(walk(w, 5, UINT64_C(0x3000000123)).root, 3);
    free(w);
}

/* ---- Iterating ---- */

struct found {
    unsigned leaves, problems;
    uint64_t tables[WALKER_LEVELS];
    uint64_t iovas[64]; /* of the leaves, the first ones */
    const char *text;   /* of the last problem */
};

static struct found iterate(const struct world *w, unsigned sid)
{
    struct walker_stream stream;
    struct walker_iter iter;
    struct found found = {0};
    uint64_t before = 0;
    enum walker_event event;

    walker_stream(&stream, &w->inst, sid);
    assert_true(walker_begin(&iter, &stream));
    while ((event = walker_next(&iter)) != WALKER_DONE) {
        if (event == WALKER_LEAF) {
            struct walker_walk got;

            assert_true(found.leaves == 0 || iter.leaf.iova > before);
            before = iter.leaf.last;
            if (found.leaves < 64) {
                /* Both ways to read a table agree. */
                walker_walk(&stream, iter.leaf.iova, &got);
                assert_int_equal(got.end, WALKER_MAPPED);
                assert_memory_equal(&got.leaf, &iter.leaf, sizeof(got.leaf));
                found.iovas[found.leaves] = iter.leaf.iova;
            }
            found.leaves++;
        } else {
            found.text = iter.problem.text;
            found.problems++;
        }
    }
    assert_int_equal(walker_next(&iter), WALKER_DONE);
    memcpy(found.tables, iter.tables, sizeof(found.tables));
    walker_end(&iter);
    return found;
}

static void test_iterate(void **state)
{
    struct world *w = worked_t8020("apple,t8103-dart", 0x00000008a0b10001, 0x000fff08c5d54003);
    struct found found;

    (void)state;
    set_word(w, L2 + 8 * 2047, 0x000fff08c5d58003);
    set_word(w, L2, 0x000fff08c5d5c003);
    set_word(w, L1 + 8 * 127, 0x00000008a0b14001);
    set_word(w, 0x8a0b14000 + 8 * 2047, 0x000fff08c5d60003);
    found = iterate(w, 5);
    assert_int_equal(found.problems, 0);
    assert_int_equal(found.leaves, 4);
    assert_int_equal(found.iovas[0], 0x9e000000);
    assert_int_equal(found.iovas[1], 0x9f4a0000);
    assert_int_equal(found.iovas[2], 0x9fffc000);
    assert_int_equal(found.iovas[3], 0xffffc000);
    assert_int_equal(found.tables[1], 1);
    assert_int_equal(found.tables[0], 2);
    assert_int_equal(iterate(w, 4).leaves, 0); /* blocked */
    free(w);
}

static void test_iterate_roots(void **state)
{
    struct world *w = new_t8020("apple,t6000-dart", 4096);
    struct found found;

    (void)state;
    set_reg(w, 0x100, 0x80);
    for (uint32_t i = 0; i < 4; i++) {
        set_reg(w, 0x200 + 4 * i, 0x80870000u + i);
        const uint64_t page = UINT64_C(0x1000) * i;

        set_word(w, 0x870000000 + page + 8 * i, (0x870010000 + page) >> 4 | 1);
        set_word(w, 0x870010000 + page + 8, 0x000fff0087000401);
    }
    found = iterate(w, 0);
    assert_int_equal(found.leaves, 4);
    assert_int_equal(found.iovas[0], 0x1000);
    assert_int_equal(found.iovas[3], 0xc0000000 + 3 * 0x200000 + 0x1000);
    assert_int_equal(found.tables[1], 4);
    assert_int_equal(found.tables[0], 4);
    free(w);
}

/* A table that is its own child, at every entry and every level. */
static void test_loops(void **state)
{
    struct world *w = new_t8110("apple,t8110-dart", 16384, PARAMS3_47);
    struct found found;

    (void)state;
    set_reg(w, 0x1000, 0x9);
    set_reg(w, 0x1400, 0x008a0b09);
    for (unsigned i = 0; i < 2048; i++) {
        set_word(w, 0x8a0b08000 + 8 * i, 0x000fff008a0b0801);
    }
    found = iterate(w, 0);
    assert_int_equal(found.leaves, 0);
    assert_int_equal(found.problems, 2048);
    assert_non_null(strstr(found.text, "used already"));
    assert_true(w->reads < 2100);
    assert_int_equal(walk(w, 0, 0x123456789).end, WALKER_MAPPED); /* of three steps, however */
    /* Two levels that lead back up. */
    w->words = 0;
    set_word(w, 0x8a0b08000, 0x000fff008a0b0c01);
    set_word(w, 0x8a0b0c000, 0x000fff008a0b0801);
    set_word(w, 0x8a0b0c008, 0x000fff008a0b1001);
    set_word(w, 0x8a0b10000, 0x000fff008c5d5401);
    found = iterate(w, 0);
    assert_int_equal(found.problems, 1);
    assert_int_equal(found.leaves, 1);
    free(w);
}

static void test_outside(void **state)
{
    struct world *w = new_t8110("apple,t8110-dart", 16384, PARAMS3_36);
    struct found found;

    (void)state;
    set_reg(w, 0x1000, 0x1);
    set_reg(w, 0x1400, 0xffffffff);
    found = iterate(w, 0);
    assert_int_equal(found.problems, 1);
    assert_non_null(strstr(found.text, "outside memory"));
    set_reg(w, 0x1400, 0x008a0b09);
    for (unsigned i = 0; i < 2048; i++) { /* below memory, beyond it, and across its end */
        set_word(w, 0x8a0b08000 + 8 * i,
                 i % 3 == 0   ? 0x401 + i * 0x400
                 : i % 3 == 1 ? UINT64_MAX - i * 0x400
                              : 0);
    }
    found = iterate(w, 0);
    assert_int_equal(found.problems, 683 + 683);
    assert_int_equal(found.leaves, 0);
    free(w);
}

#define AREA 0x20000u /* where the tables lie that most entries point at */
#define ENTRIES 2000u

/* Registers of chance, but stream 0 translates; tables whose entries mostly point at tables. */
static struct world *random_world(uint64_t *rng)
{
    static const char *const compatibles[] = {"apple,t8103-dart", "apple,t6000-dart",
                                              "apple,t8110-dart", "apple,t8103-usb4-dart"};
    const char *compatible = compatibles[chance_next(rng) % 4];
    uint64_t granule = chance_next(rng) % 2 ? 4096 : 16384;
    struct world *w = new_world(compatible, granule);
    unsigned shift = strcmp(w->inst.format->name, "DART2") == 0 ? 4 : 0;

    for (uint32_t offset = 0; offset < 0x1600; offset += 16) {
        set_reg(w, offset, (uint32_t)chance_next(rng));
    }
    set_reg(w, 0x80, 0x03020100);
    set_reg(w, 0xfc, 0xffffffff);
    set_reg(w, 0xc00, 0xffffffff);
    set_reg(w, 0x100, 0x80);
    set_reg(w, 0x1000, chance_next(rng) % 2 ? 0x9 : 0x1);
    set_reg(w, 0x200, 0x80800000);
    set_reg(w, 0x400, 0x80800000);
    set_reg(w, 0x1400, 0x00800001);
    for (unsigned i = 0; i < ENTRIES; i++) {
        uint64_t at = RAM_BASE + chance_next(rng) % AREA / 8 * 8;
        uint64_t pa = RAM_BASE + chance_next(rng) % AREA / granule * granule;

        set_word(w, at, chance_next(rng) % 8 ? pa >> shift | 1 : chance_next(rng) << 24 | 1);
    }
    return w;
}

/* Whatever is in memory and registers: it ends, in order, and no table is read twice. */
static void test_random(void **state)
{
    uint64_t rng = chance_seed("walker");
    uint64_t leaves = 0;
    uint64_t problems = 0;

    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        struct world *w = random_world(&rng);

        for (unsigned sid = 0; sid < 4; sid++) {
            struct found found = iterate(w, sid);

            uint64_t tables = 0;

            for (unsigned level = 0; level < WALKER_LEVELS; level++) {
                tables += found.tables[level];
            }
            assert_true(tables <= ENTRIES + WALKER_ROOTS); /* each entry is followed once */
            leaves += found.leaves;
            problems += found.problems;
        }
        free(w);
    }
    assert_true(leaves > 1000);
    assert_true(problems > 1000);
}

/* ---- Other formats are other numbers ---- */

/* Long descriptors, stage 1, 4 KiB: blocks at levels 1 and 2, a page has bit 1 set. */
static const struct walker_format lpae_4k = {
    .name = "LPAE",
    .page_bits = 12,
    .entry_bytes = 8,
    .table = {0x3, 0x3, false},
    .leaf = {0x3, 0x3, false},
    .block = {0x3, 0x1, false},
    .block_levels = 0x6,
    .pa = {{12, 36, 12}},
    .write = {0x80, 0, false},
};

/* Second level: present where it may be read or written, superpages by bit 7. */
static const struct walker_format vtd = {
    .name = "VT-d",
    .page_bits = 12,
    .entry_bytes = 8,
    .table = {0x3, 0, true},
    .leaf = {0x3, 0, true},
    .block = {0x81, 0x81, false},
    .block_levels = 0x6,
    .pa = {{12, 40, 12}},
    .read = {0x1, 0x1, false},
    .write = {0x2, 0x2, false},
};

/* 32-bit entries of page numbers, 1024 to a table; one page number stands for "nothing". */
static const struct walker_format ipu3 = {
    .name = "IPU3",
    .page_bits = 12,
    .entry_bytes = 4,
    .table = {UINT32_MAX, 0x800fff, true},
    .leaf = {UINT32_MAX, 0x800ffe, true},
    .pa = {{0, 27, 12}},
};

/* A stream of a made-up instance whose one TTBR register has page number and valid bit. */
static struct walker_stream other_stream(struct world *w, const struct walker_format *format,
                                         unsigned levels, uint64_t root)
{
    struct walker_stream stream = {.format = format,
                                   .from = &w->source,
                                   .mode = WALKER_TRANSLATE,
                                   .levels = levels,
                                   .reach_bits = walker_span_bits(format, levels),
                                   .va_bits = walker_span_bits(format, levels),
                                   .pa_bits = 48,
                                   .nroots = 1,
                                   .roots = {{.pa = root, .valid = true}}};

    return stream;
}

static void test_other_formats(void **state)
{
    struct world *w = new_world("apple,t8103-dart", 4096);
    struct walker_stream s = other_stream(w, &lpae_4k, 4, 0x800000000);
    struct walker_walk got;

    (void)state;
    set_word(w, 0x800000008, 0x800001003);
    set_word(w, 0x800001010, 0x00400009c0000481); /* 1 GiB, read only, XN */
    set_word(w, 0x800001018, 0x800002003);
    set_word(w, 0x800002020, 0x980200401); /* 2 MiB */
    set_word(w, 0x800002028, 0x800003003);
    set_word(w, 0x800003030, 0x812345403);
    set_word(w, 0x800003038, 0x812345401); /* a block has no place there */
    walker_walk(&s, 0x80b0123456, &got);
    assert_int_equal(got.end, WALKER_MAPPED);
    assert_int_equal(got.leaf.level, 2);
    assert_int_equal(got.pa, 0x9f0123456);
    assert_true(got.leaf.read);
    assert_false(got.leaf.write);
    walker_walk(&s, 0x80c0812345, &got);
    assert_int_equal(got.leaf.level, 1);
    assert_int_equal(got.leaf.last - got.leaf.iova, 0x1fffff);
    assert_int_equal(got.pa, 0x980212345);
    walker_walk(&s, 0x80c0a06789, &got);
    assert_int_equal(got.leaf.level, 0);
    assert_int_equal(got.pa, 0x812345789);
    walker_walk(&s, 0x80c0a07789, &got);
    assert_int_equal(got.end, WALKER_NO_ENTRY);
    assert_int_equal(got.nsteps, 4);

    s = other_stream(w, &vtd, 3, 0x800010000);
    set_word(w, 0x800010000, 0x800011003);
    set_word(w, 0x800011008, 0x840200082 | 1);
    set_word(w, 0x800011010, 0x800012002);
    set_word(w, 0x800012000, 0x812345002);
    walker_walk(&s, 0x234567, &got);
    assert_int_equal(got.leaf.level, 1);
    assert_int_equal(got.pa, 0x840234567);
    walker_walk(&s, 0x400abc, &got);
    assert_int_equal(got.end, WALKER_MAPPED);
    assert_int_equal(got.pa, 0x812345abc);
    assert_false(got.leaf.read);
    assert_true(got.leaf.write);
    walker_walk(&s, 0x401abc, &got);
    assert_int_equal(got.end, WALKER_NO_ENTRY);

    s = other_stream(w, &ipu3, 2, 0x800020000);
    set_word(w, 0x800020000, UINT64_C(0x00800021) << 32 | 0x800fff);
    set_word(w, 0x800021000, UINT64_C(0x00812345) << 32 | 0x800ffe);
    walker_walk(&s, 0x401234, &got);
    assert_int_equal(got.end, WALKER_MAPPED);
    assert_int_equal(got.steps[0].at, 0x800020004);
    assert_int_equal(got.pa, 0x812345234);
    walker_walk(&s, 0x400234, &got);
    assert_int_equal(got.end, WALKER_NO_ENTRY);
    assert_int_equal(got.nsteps, 2);
    walker_walk(&s, 0x1234, &got);
    assert_int_equal(got.nsteps, 1);
    free(w);
}

/* The LPAE that is ours: entries as the Arm ARM lays them out, and what a group is. */
static void test_lpae(void **state)
{
    static const struct {
        uint64_t granule, group, blocks;
    } v[] = {
        {4096, 0x10000, 0x2000000}, {16384, 0x200000, 0x40000000}, {65536, 0x200000, 0x400000000}};

    (void)state;
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        struct world *w = new_world("apple,t8103-dart", 4096);
        const struct walker_format *format = walker_entries("LPAE", v[i].granule);
        struct walker_stream s = other_stream(w, format, 2, 0x800000000);
        uint64_t block = UINT64_C(1) << walker_span_bits(format, 1);
        struct walker_walk got;

        set_word(w, 0x800000000, 0x800010003);
        set_word(w, 0x800000008, 0x0070000000000f41 | block); /* contiguous, read and write */
        set_word(w, 0x800010008, 0x00600000c0000fc7);         /* read only, AttrIndx 1 */
        set_word(w, 0x800010010, 0x00700000c0000743 | 2 * v[i].granule); /* contiguous */
        walker_walk(&s, v[i].granule + 5, &got);
        assert_int_equal(got.end, WALKER_MAPPED);
        assert_int_equal(got.pa, 0xc0000005);
        assert_true(got.leaf.read && !got.leaf.write && got.leaf.uncached);
        assert_int_equal(got.leaf.whole_last - got.leaf.whole, v[i].granule - 1);
        walker_walk(&s, 2 * v[i].granule, &got);
        assert_true(got.leaf.read && got.leaf.write && !got.leaf.uncached);
        assert_int_equal(got.leaf.whole, 0);
        assert_int_equal(got.leaf.whole_last, v[i].group - 1);
        walker_walk(&s, block + 7, &got);
        assert_int_equal(got.end, WALKER_MAPPED);
        assert_int_equal(got.pa, block + 7);
        assert_int_equal(got.leaf.level, 1);
        assert_int_equal(got.leaf.whole_last - got.leaf.whole, v[i].blocks - 1);
        free(w);
    }
    assert_null(walker_entries("LPAE", 8192));
    assert_null(walker_entries("DART3", 4096));
    assert_int_equal(walker_entries("DART2", 16384)->page_bits, 14);
}

static void test_lookup(void **state)
{
    (void)state;
    assert_null(walker_kind("apple,t8110"));
    assert_null(walker_kind(""));
    assert_null(walker_format(walker_kind("apple,t8110-dart"), 65536));
    assert_int_equal(walker_format(walker_kind("apple,t8110-dart"), 4096)->page_bits, 12);
}

/* ---- streams in memory: Arm IHI 0070, 5 ---- */

#define STRTAB (RAM_BASE + 0x100000)
#define STES (RAM_BASE + 0x200000)
#define CONTEXT (RAM_BASE + 0x300000)
#define SMMU_ROOT (RAM_BASE + 0x400000)
#define VALID_CD (UINT64_C(0x0000e204c0003500) | 25) /* 39 bits, 4 KiB, 44 bits of PA */

/* Two levels of 256 entries; stream 0x305 translates. */
static struct world *new_smmu(void)
{
    struct world *w = new_world("arm,smmu-v3", 4096);

    w->inst.streams = 65536;
    set_reg(w, 0x14, 0x74);
    set_reg(w, 0x20, 0xd);
    set_reg(w, 0x80, (uint32_t)STRTAB);
    set_reg(w, 0x84, 0x40000000 | (uint32_t)(STRTAB >> 32));
    set_reg(w, 0x88, 0x10210);
    set_word(w, STRTAB + 8 * 3, STES | 9);
    set_word(w, STES + 64 * 5, CONTEXT | 0xb);
    set_word(w, CONTEXT, VALID_CD);
    set_word(w, CONTEXT + 8, SMMU_ROOT);
    set_word(w, SMMU_ROOT + 8 * 3, (SMMU_ROOT + 0x1000) | 3);
    set_word(w, SMMU_ROOT + 0x1000 + 8 * 2, 0x8c0000741 | 4); /* a block of 2 MiB */
    set_word(w, SMMU_ROOT + 0x1000 + 8 * 5, (SMMU_ROOT + 0x2000) | 3);
    set_word(w, SMMU_ROOT + 0x2000 + 8 * 7, 0x8a12347c3); /* read only */
    return w;
}

static void test_smmu(void **state)
{
    struct world *w = new_smmu();
    struct walker_stream s;
    struct walker_walk got;

    (void)state;
    walker_stream(&s, &w->inst, 0x305);
    assert_int_equal(s.mode, WALKER_TRANSLATE);
    assert_true(s.in_memory);
    assert_int_equal(s.entry_at, STES + 64 * 5);
    assert_int_equal(s.context_at, CONTEXT);
    assert_int_equal(s.levels, 3);
    assert_int_equal(s.va_bits, 39);
    assert_int_equal(s.pa_bits, 44);
    got = walk(w, 0x305, UINT64_C(3) << 30 | 2 << 21 | 0x12345);
    assert_int_equal(got.end, WALKER_MAPPED);
    assert_int_equal(got.pa, 0x8c0012345);
    assert_true(got.leaf.read && got.leaf.write && got.leaf.uncached);
    got = walk(w, 0x305, UINT64_C(3) << 30 | 5 << 21 | 7 << 12 | 0x678);
    assert_int_equal(got.end, WALKER_MAPPED);
    assert_int_equal(got.pa, 0x8a1234678);
    assert_true(got.leaf.read && !got.leaf.write && !got.leaf.uncached);
    assert_int_equal(walk(w, 0x305, UINT64_C(3) << 30).end, WALKER_NO_ENTRY);
    assert_int_equal(walk(w, 0x305, UINT64_C(1) << 39).end, WALKER_TOO_HIGH);
    assert_int_equal(walk(w, 0x306, 0).end, WALKER_NO_STREAM);
    free(w);
}

/* What keeps a stream from translating, and what it then does. */
static void test_smmu_reasons(void **state)
{
    static const struct {
        uint32_t reg, value;
        uint64_t at, word;
        enum walker_mode mode;
        const char *reason;
    } rows[] = {
        {0x20, 0xc, 0, 0, WALKER_BYPASS, "lets accesses pass"},
        {0x44, 1u << 20, 0, 0, WALKER_TRANSLATE, "translation"}, /* GBPA counts when it is off */
        {0x88, 0x10209, 0, 0, WALKER_BLOCKED, "does not reach so far"},
        {0, 0, STRTAB + 8 * 3, 0, WALKER_BLOCKED, "no second level for it"},
        {0, 0, STRTAB + 8 * 3, STES | 3, WALKER_BLOCKED, "no second level for it"},
        {0x84, 0, 0, 0, WALKER_BLOCKED, "table lies outside memory"},
        {0, 0, STRTAB + 8 * 3, 0x1000 | 9, WALKER_BLOCKED, "entry lies outside memory"},
        {0, 0, STES + 64 * 5, CONTEXT | 0xa, WALKER_BLOCKED, "entry is not valid"},
        {0, 0, STES + 64 * 5, 1, WALKER_BLOCKED, "entry aborts"},
        {0, 0, STES + 64 * 5, 9, WALKER_BYPASS, "entry bypasses"},
        {0, 0, STES + 64 * 5, CONTEXT | 0xf, WALKER_BLOCKED, "stage 2"},
        {0, 0, STES + 64 * 5, 0x100b, WALKER_BLOCKED, "context descriptor lies outside memory"},
        {0, 0, CONTEXT, VALID_CD & ~(UINT64_C(1) << 31), WALKER_BLOCKED,
         "context descriptor is not valid"},
        {0, 0, CONTEXT, VALID_CD & ~(UINT64_C(1) << 41), WALKER_BLOCKED,
         "context descriptor is not valid"},
        {0, 0, CONTEXT, VALID_CD | 1 << 14, WALKER_BLOCKED, "context descriptor is not valid"},
        {0, 0, CONTEXT, VALID_CD & ~UINT64_C(0x18), WALKER_BLOCKED,
         "context descriptor is not valid"},
        {0, 0, CONTEXT, VALID_CD | 0x38, WALKER_BLOCKED, "context descriptor is not valid"},
        {0, 0, CONTEXT, VALID_CD | 0x80, WALKER_BLOCKED, "another granule"},
        {0x88, 0x10, 0, 0, WALKER_BLOCKED, "entry is not valid"}, /* linear, and empty there */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world *w = new_smmu();
        struct walker_stream s;

        if (rows[i].reg) {
            set_reg(w, rows[i].reg, rows[i].value);
        }
        if (rows[i].at) {
            set_word(w, rows[i].at, rows[i].word);
        }
        walker_stream(&s, &w->inst, 0x305);
        assert_int_equal(s.mode, rows[i].mode);
        if (!strstr(s.reason, rows[i].reason)) {
            fail_msg("row %zu: %s", i, s.reason);
        }
        free(w);
    }
}

/* Off, with GBPA closed; a linear table; fewer PA bits than the context asks for. */
static void test_smmu_more(void **state)
{
    struct world *w = new_smmu();
    struct walker_stream s;

    (void)state;
    set_reg(w, 0x88, 0xd);
    set_word(w, STRTAB + 64 * 0x305, CONTEXT | 0xb);
    set_reg(w, 0x14, 0x71);
    walker_stream(&s, &w->inst, 0x305);
    assert_int_equal(s.mode, WALKER_TRANSLATE);
    assert_int_equal(s.pa_bits, 36);
    set_reg(w, 0x20, 0);
    set_reg(w, 0x44, 1u << 20);
    walker_stream(&s, &w->inst, 0x305);
    assert_int_equal(s.mode, WALKER_BLOCKED);
    free(w);
}

/* ---- stage 2: 5.2 ---- */

#define STE2(bits, sl0)                                                                            \
    (UINT64_C(7) | (uint64_t)(64 - (bits)) << 32 | (uint64_t)(sl0) << 38 | UINT64_C(0x35) << 40 |  \
     UINT64_C(4) << 48 | UINT64_C(0x81) << 51)

/* 40 bits at 4 KiB with two tables side by side. */
static struct world *new_stage_2(void)
{
    struct world *w = new_smmu();

    set_word(w, STES + 64 * 5, 0xd);
    set_word(w, STES + 64 * 5 + 16, STE2(40, 1));
    set_word(w, STES + 64 * 5 + 24, SMMU_ROOT);
    set_word(w, SMMU_ROOT + 0x1000, (SMMU_ROOT + 0x2000) | 3); /* the second root */
    set_word(w, SMMU_ROOT + 0x2000 + 8 * 4, 0x8c00007fd);      /* a block of 2 MiB */
    set_word(w, SMMU_ROOT + 0x2000 + 8 * 6, (SMMU_ROOT + 0x3000) | 3);
    set_word(w, SMMU_ROOT + 0x3000, 0x8a123477f);      /* read only */
    set_word(w, SMMU_ROOT + 0x3000 + 8, 0x8a12357bf);  /* write only */
    set_word(w, SMMU_ROOT + 0x3000 + 16, 0x8a12367d7); /* not cacheable */
    return w;
}

static void test_stage_2(void **state)
{
    const uint64_t second = UINT64_C(1) << 39;
    struct world *w = new_stage_2();
    struct walker_stream s;
    struct walker_walk got;

    (void)state;
    walker_stream(&s, &w->inst, 0x305);
    assert_int_equal(s.mode, WALKER_TRANSLATE);
    assert_string_equal(s.format->name, "LPAE2");
    assert_int_equal(s.context_at, STES + 64 * 5 + 16);
    assert_int_equal(s.levels, 3);
    assert_int_equal(s.nroots, 2);
    assert_int_equal(s.roots[1].pa, SMMU_ROOT + 0x1000);
    assert_int_equal(s.va_bits, 40);
    assert_int_equal(s.pa_bits, 44);
    got = walk(w, 0x305, second | 4 << 21 | 0x12345);
    assert_int_equal(got.end, WALKER_MAPPED);
    assert_int_equal(got.pa, 0x8c0012345);
    assert_true(got.leaf.read && got.leaf.write && !got.leaf.uncached);
    got = walk(w, 0x305, second | 6 << 21);
    assert_true(got.leaf.read && !got.leaf.write && !got.leaf.uncached);
    got = walk(w, 0x305, second | 6 << 21 | 1 << 12);
    assert_true(!got.leaf.read && got.leaf.write && !got.leaf.uncached);
    got = walk(w, 0x305, second | 6 << 21 | 2 << 12);
    assert_true(got.leaf.read && got.leaf.write && got.leaf.uncached);
    assert_int_equal(walk(w, 0x305, 6 << 21).end, WALKER_NO_ENTRY);
    assert_int_equal(walk(w, 0x305, 2 * second).end, WALKER_TOO_HIGH);
    free(w);
}

static void test_stage_2_reasons(void **state)
{
    static const struct {
        uint64_t word;
        const char *reason; /* NULL: it translates */
    } rows[] = {
        {STE2(40, 1), NULL},
        {STE2(43, 1), NULL},
        {STE2(44, 2), NULL},
        {STE2(34, 0), NULL},
        {STE2(44, 1), "not valid for stage 2"},
        {STE2(30, 1), "not valid for stage 2"},
        {STE2(40, 3), "not valid for stage 2"},
        {STE2(45, 2), "not valid for stage 2"}, /* more in than out */
        {STE2(40, 1) & ~(UINT64_C(1) << 51), "not valid for stage 2"},
        {STE2(40, 1) | UINT64_C(1) << 52, "not valid for stage 2"},
        {STE2(40, 1) | UINT64_C(7) << 48, "not valid for stage 2"}, /* no such size */
        {STE2(64, 1), "not valid for stage 2"},
        {STE2(40, 1) | UINT64_C(1) << 46, "another granule"},
    };
    struct walker_stream s;
    struct world *w;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        w = new_stage_2();
        set_word(w, STES + 64 * 5 + 16, rows[i].word);
        walker_stream(&s, &w->inst, 0x305);
        assert_int_equal(s.mode, rows[i].reason ? WALKER_BLOCKED : WALKER_TRANSLATE);
        if (!strstr(s.reason, rows[i].reason ? rows[i].reason : "translation by stage 2")) {
            fail_msg("row %zu: %s", i, s.reason);
        }
        free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smmu),
        cmocka_unit_test(test_smmu_reasons),
        cmocka_unit_test(test_smmu_more),
        cmocka_unit_test(test_stage_2),
        cmocka_unit_test(test_stage_2_reasons),
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_lpae),
        cmocka_unit_test(test_worked_dart1),
        cmocka_unit_test(test_worked_dart2),
        cmocka_unit_test(test_wide_pa),
        cmocka_unit_test(test_worked_four_levels),
        cmocka_unit_test(test_worked_4k),
        cmocka_unit_test(test_dart2_4k),
        cmocka_unit_test(test_usb4),
        cmocka_unit_test(test_s5l8960x),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_modes_t8020),
        cmocka_unit_test(test_modes_t8110),
        cmocka_unit_test(test_compared_bits),
        cmocka_unit_test(test_iterate),
        cmocka_unit_test(test_iterate_roots),
        cmocka_unit_test(test_loops),
        cmocka_unit_test(test_outside),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_other_formats),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
