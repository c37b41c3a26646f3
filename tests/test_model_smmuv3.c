/* SPDX-License-Identifier: MIT */
/*
 * The SMMUv3 model alone: registers written and tables laid out by hand, no library. What the
 * driver's tests rely on: that it refuses what it should, and forgets only what it is told to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <smmuv3/smmuv3.h>

#include <string.h>

#include "chance.h"

#define RAM UINT64_C(0x40000000)
#define RAM_SIZE 0x400000u
#define STRTAB RAM
#define SUBTAB (RAM + 0x10000)
#define CD_A (RAM + 0x20000)
#define CD_B (RAM + 0x20040)
#define CMDQ (RAM + 0x30000)
#define EVTQ (RAM + 0x31000)
#define ROOT (RAM + 0x40000)
#define TABLES (RAM + 0x60000)
#define DATA (RAM + 0x200000)
#define SID_A 0x123u
#define SID_B 0x124u
#define ASID_A UINT64_C(5)
#define ASID_B UINT64_C(6)

struct board {
    uint8_t *ram;
    struct model_host host;
    struct smmuv3_model_config config;
    struct smmuv3_model *m;
    uint64_t now;
    unsigned edges;
    uint64_t dice;       /* 0: none */
    uint64_t unreadable; /* a page that does not answer */
    bool no_writes;
};

static uint8_t *at(struct board *b, uint64_t pa, uint64_t len)
{
    return pa >= RAM && pa - RAM <= RAM_SIZE - len ? b->ram + (pa - RAM) : NULL;
}

static bool table_read64(void *opaque, uint64_t pa, uint64_t *out)
{
    struct board *const b = opaque;
    const uint8_t *const from = pa % 8 ? NULL : at(b, pa, 8);

    if (!from || (b->unreadable && pa - b->unreadable < 4096))
        return false;
    memcpy(out, from, 8);
    return true;
}

static bool mem_read(void *opaque, uint64_t pa, void *buf, size_t len, bool coherent)
{
    const uint8_t *const from = at(opaque, pa, len);

    (void)coherent;
    if (from)
        memcpy(buf, from, len);
    return from;
}

static bool mem_write(void *opaque, uint64_t pa, const void *buf, size_t len, bool coherent)
{
    struct board *const b = opaque;
    uint8_t *const to = at(b, pa, len);

    (void)coherent;
    if (!to || b->no_writes)
        return false;
    memcpy(to, buf, len);
    return true;
}

static uint64_t now_ns(void *opaque)
{
    return ((struct board *)opaque)->now;
}

static void irq(void *opaque, void *cookie, bool level)
{
    struct board *const b = opaque;

    assert_ptr_equal(cookie, b);
    assert_true(level);
    b->edges++;
}

static uint32_t roll(void *opaque)
{
    struct board *const b = opaque;

    return (uint32_t)chance_next(&b->dice);
}

static void board_init(struct board *b)
{
    memset(b, 0, sizeof(*b));
    b->ram = test_calloc(1, RAM_SIZE);
    b->host = (struct model_host){.opaque = b,
                                  .table_read64 = table_read64,
                                  .mem_read = mem_read,
                                  .mem_write = mem_write,
                                  .now_ns = now_ns,
                                  .irq = irq};
    b->config = smmuv3_model_defaults();
    b->config.host = &b->host;
    b->config.irq_cookie = b;
}

static void board_create(struct board *b)
{
    b->m = smmuv3_model_create(&b->config);
    assert_non_null(b->m);
}

static void board_free(struct board *b)
{
    smmuv3_model_destroy(b->m);
    test_free(b->ram);
}

static const struct smmuv3_model_stats *stats(struct board *b)
{
    return smmuv3_model_stats(b->m);
}

static void put(struct board *b, uint64_t pa, uint64_t word)
{
    memcpy(at(b, pa, 8), &word, 8);
}

static uint64_t get(struct board *b, uint64_t pa)
{
    uint64_t word;

    memcpy(&word, at(b, pa, 8), 8);
    return word;
}

static void w32(struct board *b, uint32_t off, uint32_t value)
{
    smmuv3_model_write32(b->m, off, value);
}

static uint32_t r32(struct board *b, uint32_t off)
{
    return smmuv3_model_read32(b->m, off);
}

/* Commands, one by one; the last sees to it that they are consumed. */
static void give(struct board *b, uint64_t word0, uint64_t word1)
{
    const uint32_t prod = r32(b, 0x98);

    put(b, CMDQ + 16 * (prod & 15), word0);
    put(b, CMDQ + 16 * (prod & 15) + 8, word1);
    w32(b, 0x98, (prod + 1) & 31);
}

static void sync(struct board *b)
{
    give(b, 0x46, 0);
}

static uint64_t cd0(unsigned tg, unsigned bits, uint64_t asid)
{
    return (64 - bits) | tg << 6 | 0x3500 | UINT64_C(3) << 30 | UINT64_C(4) << 32 |
           UINT64_C(1) << 41 | UINT64_C(3) << 45 | asid << 48;
}

static void put_cd(struct board *b, uint64_t cd, uint64_t word0, uint64_t root)
{
    put(b, cd, word0);
    put(b, cd + 8, root);
    put(b, cd + 24, 0x44ff);
}

static void put_ste(struct board *b, uint32_t sid, uint64_t word0)
{
    put(b, SUBTAB + 64 * (sid & 0xff), word0);
    put(b, SUBTAB + 64 * (sid & 0xff) + 8, 0xd4);
}

#define LEAF (UINT64_C(0x743) | UINT64_C(1) << 11) /* AF, inner, EL0, page, nG */
#define BLOCK (LEAF & ~UINT64_C(2))

/* Two streams, 39 bits of IOVA at 4 KiB, the first page of each at DATA. board_init() was. */
static void board_start(struct board *b)
{
    board_create(b);
    w32(b, 0x28, 0xd75);
    w32(b, 0x2c, 2);
    smmuv3_model_write64(b->m, 0x80, STRTAB);
    w32(b, 0x88, 0x10210);
    smmuv3_model_write64(b->m, 0x90, CMDQ | 4);
    smmuv3_model_write64(b->m, 0xa0, EVTQ | 3);
    w32(b, 0x20, 0xc);
    w32(b, 0x50, 5);
    w32(b, 0x20, 0xd);
    put(b, STRTAB + 8 * (SID_A >> 8), SUBTAB | 9);
    put_ste(b, SID_A, CD_A | 0xb);
    put_ste(b, SID_B, CD_B | 0xb);
    put_cd(b, CD_A, cd0(0, 39, ASID_A), ROOT);
    put_cd(b, CD_B, cd0(0, 39, ASID_B), ROOT + 0x1000);
    put(b, ROOT, TABLES | 3);
    put(b, TABLES, (TABLES + 0x1000) | 3);
    put(b, TABLES + 0x1000, DATA | LEAF);
    put(b, ROOT + 0x1000, (TABLES + 0x2000) | 3);
    put(b, TABLES + 0x2000, (TABLES + 0x3000) | 3);
    put(b, TABLES + 0x3000, (DATA + 0x1000) | LEAF);
}

static void board_up(struct board *b)
{
    board_init(b);
    board_start(b);
}

static uint64_t leads(struct board *b, uint32_t sid, uint64_t iova)
{
    uint64_t pa = 0;

    return smmuv3_model_translate(b->m, sid, iova, false, 1, &pa) == MODEL_OK ? pa : 0;
}

static bool writes(struct board *b, uint32_t sid, uint64_t iova)
{
    uint64_t pa;

    return smmuv3_model_translate(b->m, sid, iova, true, 1, &pa) == MODEL_OK;
}

/* The one event that there is, taken; 0: none. */
static uint64_t event(struct board *b, unsigned word)
{
    const uint32_t cons = r32(b, 0x100ac);
    const uint32_t prod = r32(b, 0x100a8);
    uint64_t found;

    if (!((cons ^ prod) & 15))
        return 0;
    assert_int_equal((prod - cons) & 15, 1);
    found = get(b, EVTQ + 32 * (cons & 7) + 8 * word);
    w32(b, 0x100ac, prod);
    return found;
}

/* ---- registers ---- */

static void test_create(void **state)
{
    struct board b;

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        board_init(&b);
        if (i == 0)
            b.config.host = NULL;
        if (i == 1)
            b.config.mmio_size = 0x1fff8;
        if (i == 2)
            b.config.tlb_entries = 0;
        if (i == 3)
            b.config.walk_entries = 0;
        if (i == 4)
            b.config.random_replacement = true; /* and no dice */
        assert_null(smmuv3_model_create(&b.config));
        test_free(b.ram);
    }
    smmuv3_model_destroy(NULL);
}

static void test_registers(void **state)
{
    static const uint32_t bad[] = {0x0, 0x4, 0x14, 0x24, 0x54, 0x60, 0xc0, 0x2, 0x20000, 0x1fffe};
    struct board b;

    (void)state;
    board_init(&b);
    board_create(&b);
    assert_int_equal(r32(&b, 0), 0x0d40101a); /* docs/QEMU.md */
    assert_int_equal(r32(&b, 0x14), 0x74);
    assert_int_equal(stats(&b)->misuse, 0);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        w32(&b, bad[i], 1);
        assert_int_equal(stats(&b)->misuse, i + 1);
    }
    assert_int_equal(r32(&b, 0x20002), 0);
    assert_int_equal(smmuv3_model_read64(b.m, 4), 0);
    smmuv3_model_write64(b.m, 4, 0);
    smmuv3_model_poke32(b.m, 2, 0);
    assert_int_equal(stats(&b)->misuse, sizeof(bad) / sizeof(bad[0]) + 4);
    smmuv3_model_poke32(b.m, 0x20, 0xd);
    assert_int_equal(r32(&b, 0x24), 0xd);
    board_free(&b);
}

/* What is read while it is enabled must not be written meanwhile. */
static void test_guards(void **state)
{
    static const uint32_t offsets[] = {0x28, 0x2c, 0x80, 0x88, 0x90, 0x9c, 0xa0, 0x100a8};
    struct board b;

    (void)state;
    board_up(&b);
    for (unsigned i = 0; i < 8; i++) {
        const uint32_t before = r32(&b, offsets[i]);

        w32(&b, offsets[i], before ^ 1);
        assert_int_equal(r32(&b, offsets[i]), before);
        assert_int_equal(stats(&b)->misuse, i + 1);
    }
    w32(&b, 0x44, 1u << 20); /* without Update */
    assert_int_equal(stats(&b)->misuse, 9);
    board_free(&b);
}

static void test_disabled(void **state)
{
    struct board b;

    (void)state;
    board_init(&b);
    board_create(&b);
    assert_int_equal(leads(&b, 7, DATA), DATA);
    smmuv3_model_set_busy(b.m, 100, 0);
    w32(&b, 0x44, 0x80100000);
    assert_int_equal(r32(&b, 0x44), 0x80100000);
    w32(&b, 0x44, 0x80000000); /* too early */
    assert_int_equal(stats(&b)->misuse, 1);
    b.now += 100;
    assert_int_equal(r32(&b, 0x44), 0x00100000);
    assert_int_equal(leads(&b, 7, DATA), 0);
    assert_int_equal(stats(&b)->faults, 1);
    board_free(&b);
}

/* Late, or never until it is let go. */
static void test_acknowledge(void **state)
{
    static const uint32_t regs[][3] = {{0x20, 0x24, 8}, {0x50, 0x54, 5}};
    static const unsigned stuck[] = {SMMUV3_MODEL_STUCK_CR0, SMMUV3_MODEL_STUCK_IRQ};
    struct board b;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        board_init(&b);
        board_create(&b);
        w32(&b, 0x28, 0xd75);
        smmuv3_model_set_busy(b.m, 50, 0);
        w32(&b, regs[i][0], regs[i][2]);
        assert_int_equal(r32(&b, regs[i][1]), 0);
        b.now += 50;
        assert_int_equal(r32(&b, regs[i][1]), regs[i][2]);
        smmuv3_model_set_busy(b.m, 0, stuck[i]);
        w32(&b, regs[i][0], 0);
        b.now += 1000000;
        assert_int_equal(r32(&b, regs[i][1]), regs[i][2]);
        smmuv3_model_set_busy(b.m, 0, 0);
        assert_int_equal(r32(&b, regs[i][1]), 0);
        assert_int_equal(stats(&b)->misuse, 0);
        board_free(&b);
    }
}

/* ---- streams and contexts ---- */

static void test_streams(void **state)
{
    struct board b;

    (void)state;
    board_up(&b);
    assert_int_equal(leads(&b, SID_A, 0x10), DATA + 0x10);
    assert_int_equal(leads(&b, SID_B, 0x10), DATA + 0x1010);
    assert_int_equal(event(&b, 0), 0);
    assert_int_equal(leads(&b, 0x10000, 0), 0);
    assert_int_equal(event(&b, 0), UINT64_C(0x1000000000002)); /* C_BAD_STREAMID */
    assert_int_equal(leads(&b, 0x223, 0), 0);                  /* no descriptor */
    assert_int_equal(event(&b, 0) & 0xff, 2);
    assert_int_equal(leads(&b, SID_A + 1 + 1, 0), 0);
    assert_int_equal(event(&b, 0) & 0xff, 4); /* C_BAD_STE */
    put_ste(&b, 0x130, 1);
    assert_int_equal(leads(&b, 0x130, 0), 0);
    assert_int_equal(event(&b, 0), 0); /* aborts in silence */
    put_ste(&b, 0x131, 9);
    assert_int_equal(leads(&b, 0x131, DATA), DATA);
    put_ste(&b, 0x132, CD_A | 0xf);
    assert_int_equal(leads(&b, 0x132, 0), 0);
    assert_int_equal(event(&b, 0) & 0xff, 4); /* stage 2 */
    put_ste(&b, 0x133, CD_A | 0xb | UINT64_C(1) << 59);
    assert_int_equal(leads(&b, 0x133, 0), 0);
    assert_int_equal(event(&b, 0) & 0xff, 4); /* substreams */
    put_ste(&b, 0x134, 0x1000 | 0xb);
    assert_int_equal(leads(&b, 0x134, 0), 0);
    assert_int_equal(event(&b, 0) & 0xff, 9); /* F_CD_FETCH */
    put(&b, STRTAB + 8 * 4, 0x1000 | 9);
    assert_int_equal(leads(&b, 0x400, 0), 0);
    assert_int_equal(event(&b, 0) & 0xff, 3); /* F_STE_FETCH */
    put(&b, STRTAB + 8 * 5, SUBTAB | 3);      /* four entries only */
    assert_int_equal(leads(&b, 0x504, 0), 0);
    assert_int_equal(event(&b, 0) & 0xff, 2);
    assert_int_equal(stats(&b)->misuse, 0);
    assert_int_equal(stats(&b)->bad_fetches, 2);
    board_free(&b);
}

static void test_linear(void **state)
{
    struct board b;

    (void)state;
    board_up(&b);
    w32(&b, 0x20, 0xc);
    w32(&b, 0x88, 5);
    smmuv3_model_write64(b.m, 0x80, SUBTAB);
    put_ste(&b, 31, CD_A | 0xb);
    w32(&b, 0x2c, 0); /* and do not record what no table has */
    w32(&b, 0x20, 0xd);
    give(&b, 4, 31);
    sync(&b);
    assert_int_equal(leads(&b, 31, 0), DATA);
    assert_int_equal(leads(&b, 32, 0), 0);
    assert_int_equal(event(&b, 0), 0);
    assert_int_equal(stats(&b)->misuse, 0);
    board_free(&b);
}

static void test_contexts(void **state)
{
    static const uint64_t flips[] = {
        UINT64_C(1) << 31, UINT64_C(1) << 41,
        UINT64_C(1) << 14, UINT64_C(1) << 15,
        UINT64_C(1) << 30, UINT64_C(1) << 42,
        UINT64_C(1) << 43, UINT64_C(1) << 44,
        UINT64_C(1) << 46, 0xc0,
        25 ^ 15,           25 ^ 40,
    };
    struct board b;

    (void)state;
    for (unsigned i = 0; i < sizeof(flips) / sizeof(flips[0]); i++) {
        board_up(&b);
        put_cd(&b, CD_A, cd0(0, 39, ASID_A) ^ flips[i], ROOT);
        assert_int_equal(leads(&b, SID_A, 0), 0);
        assert_int_equal(event(&b, 0) & 0xff, 0x0a); /* C_BAD_CD */
        board_free(&b);
    }
    board_up(&b);
    put_cd(&b, CD_A, cd0(0, 39, ASID_A), UINT64_C(1) << 44);
    assert_int_equal(leads(&b, SID_A, 0), 0); /* a root beyond what it drives */
    assert_int_equal(event(&b, 0) & 0xff, 0x0a);
    board_free(&b);
    /* Without R faults of the walk are not recorded. */
    board_up(&b);
    put_cd(&b, CD_A, cd0(0, 39, ASID_A) ^ UINT64_C(1) << 45, ROOT);
    assert_int_equal(leads(&b, SID_A, 0x1000), 0);
    assert_int_equal(event(&b, 0), 0);
    board_free(&b);
    /* 8 bits of ASID are all that some have. */
    board_init(&b);
    b.config.idr0 &= ~(1u << 12);
    board_start(&b);
    assert_int_equal(leads(&b, SID_A, 0), DATA);
    put_cd(&b, CD_B, cd0(0, 39, 256), ROOT);
    assert_int_equal(leads(&b, SID_B, 0), 0);
    assert_int_equal(event(&b, 0) & 0xff, 0x0a);
    board_free(&b);
}

/* Structures that say "not cached" where the machine is coherent would be read past the caches. */
static void test_attributes(void **state)
{
    struct board b;

    (void)state;
    board_up(&b);
    put(&b, SUBTAB + 64 * (SID_A & 0xff) + 8, 0);
    assert_int_equal(leads(&b, SID_A, 0), DATA);
    assert_int_equal(stats(&b)->misuse, 1);
    put_cd(&b, CD_B, cd0(0, 39, ASID_B) & ~UINT64_C(0x3f00), ROOT);
    assert_int_equal(leads(&b, SID_B, 0), DATA);
    assert_int_equal(stats(&b)->misuse, 2);
    w32(&b, 0x20, 0);
    w32(&b, 0x28, 0);
    w32(&b, 0x20, 8);
    assert_int_equal(stats(&b)->misuse, 3);
    board_free(&b);
}

/* ---- walks ---- */

static void test_granules(void **state)
{
    static const struct {
        unsigned tg, lg2, bits;
    } rows[] = {{0, 12, 25}, {0, 12, 30}, {0, 12, 39}, {0, 12, 48}, {2, 14, 26}, {2, 14, 36},
                {2, 14, 47}, {2, 14, 48}, {1, 16, 30}, {1, 16, 42}, {1, 16, 48}};
    struct board b;

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const unsigned g = rows[i].lg2;
        const uint64_t last = (UINT64_C(1) << rows[i].bits) - 1;
        unsigned shift = g;
        uint64_t table = TABLES;
        uint64_t entry = DATA | LEAF;

        board_up(&b);
        /* From the leaf up, for the last address of all. */
        while (shift + g - 3 < rows[i].bits) {
            put(&b, table + 8 * (last >> shift & ((1u << (g - 3)) - 1)), entry);
            entry = table | 3;
            table += UINT64_C(1) << g;
            shift += g - 3;
        }
        put(&b, ROOT + 8 * (last >> shift), entry);
        put_cd(&b, CD_A, cd0(rows[i].tg, rows[i].bits, ASID_A), ROOT);
        assert_int_equal(leads(&b, SID_A, last), DATA + (last & ((1u << g) - 1)));
        assert_int_equal(leads(&b, SID_A, last + 1), 0);
        assert_int_equal(event(&b, 2), last + 1);
        assert_int_equal(stats(&b)->misuse, 0);
        board_free(&b);
    }
}

static void test_blocks_and_groups(void **state)
{
    struct board b;

    (void)state;
    board_up(&b);
    put(&b, TABLES + 8, UINT64_C(0x40400000) | BLOCK);                             /* 2 MiB */
    put(&b, ROOT + 8, UINT64_C(0x80000000) | BLOCK);                               /* 1 GiB */
    put(&b, TABLES + 0x1000 + 8 * 17, (DATA + 0x1000) | LEAF | UINT64_C(1) << 52); /* a group */
    assert_int_equal(leads(&b, SID_A, 0x200000 + 0x54321), 0x40454321);
    assert_int_equal(leads(&b, SID_A, 0x40000000 + 0x7654321), 0x87654321);
    assert_int_equal(leads(&b, SID_A, 0x11000), DATA + 0x1000);
    assert_int_equal(leads(&b, SID_A, 0x1f123), DATA + 0xf123); /* never stored: it is promised */
    assert_int_equal(leads(&b, SID_A, 0x20000), 0);
    assert_int_equal(stats(&b)->misuse, 0);
    /* What is not aligned to what it maps. */
    put(&b, TABLES + 16, UINT64_C(0x40401000) | BLOCK);
    (void)leads(&b, SID_A, 0x400000);
    assert_int_equal(stats(&b)->misuse, 1);
    put(&b, TABLES + 0x1000 + 8 * 33, (DATA + 0x2000) | LEAF | UINT64_C(1) << 52);
    (void)leads(&b, SID_A, 0x21000);
    assert_int_equal(stats(&b)->misuse, 2);
    /* Where there are no blocks: the lowest level, and 512 GiB. */
    w32(&b, 0x100ac, r32(&b, 0x100a8));
    put(&b, TABLES + 0x1000 + 8 * 3, DATA | BLOCK);
    assert_int_equal(leads(&b, SID_A, 0x3000), 0);
    assert_int_equal(event(&b, 0) & 0xff, 0x10);
    put_cd(&b, CD_B, cd0(0, 48, ASID_B), ROOT + 0x1000);
    put(&b, ROOT + 0x1000, DATA | BLOCK);
    assert_int_equal(leads(&b, SID_B, 0), 0);
    assert_int_equal(event(&b, 0) & 0xff, 0x10);
    board_free(&b);
}

static void test_permissions(void **state)
{
    static const struct {
        uint64_t flip;
        bool reads, writes;
        unsigned event; /* of what is refused */
    } rows[] = {
        {0, true, true, 0},
        {0x80, true, false, 0x13},
        {0x40, false, false, 0x13},
        {0x400, false, false, 0x12},
        {UINT64_C(1) << 45, false, false, 0x11},
    };
    struct board b;

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        board_up(&b);
        put(&b, TABLES + 0x1000, (DATA | LEAF) ^ rows[i].flip);
        assert_int_equal(leads(&b, SID_A, 0x321) != 0, rows[i].reads);
        if (!rows[i].reads) {
            assert_int_equal(get(&b, EVTQ), rows[i].event | (uint64_t)SID_A << 32);
            assert_int_equal(get(&b, EVTQ + 8) >> 35 & 1, 1);
            assert_int_equal(event(&b, 2), 0x321);
        }
        assert_int_equal(writes(&b, SID_A, 0x321), rows[i].writes);
        if (!rows[i].writes)
            assert_int_equal(event(&b, 1) >> 35 & 1, 0);
        board_free(&b);
    }
    /* A MAIR that was never written. */
    board_up(&b);
    put(&b, CD_A + 24, 0);
    (void)leads(&b, SID_A, 0);
    assert_int_equal(stats(&b)->misuse, 1);
    board_free(&b);
    /* A table that does not answer. */
    board_up(&b);
    b.unreadable = TABLES + 0x1000;
    assert_int_equal(leads(&b, SID_A, 0), 0);
    assert_int_equal(event(&b, 0) & 0xff, 0x0b);
    assert_int_equal(stats(&b)->bad_fetches, 1);
    board_free(&b);
}

/* ---- what is kept, and what makes it go ---- */

static void test_stale_leaf(void **state)
{
    static const struct {
        uint64_t word0, word1;
        bool drops;
    } rows[] = {
        {0x30, 0, true},
        {0x10, 0, true},
        {0x11 | ASID_A << 48, 0, true},
        {0x11 | ASID_B << 48, 0, false},
        {0x12 | ASID_A << 48, 1, true},
        {0x12 | ASID_A << 48, 0, true},
        {0x12 | ASID_B << 48, 0, false},
        {0x12 | ASID_A << 48, 0x1000, false},
        {0x12 | ASID_A << 48 | 1 << 12, 0x400, true},            /* two granules of 4 KiB */
        {0x12 | ASID_A << 48 | 1 << 12, 0x1400, false},          /* the next two */
        {0x12 | ASID_A << 48 | 1 << 12, 0x800, false},           /* of 16 KiB */
        {0x12 | ASID_A << 48 | 31 << 12 | 3 << 20, 0x401, true}, /* 32 << 3 */
        {0x04, 31, false},
    };
    struct board b;

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (unsigned keep = 0; keep < 2; keep++) {
            board_init(&b);
            b.config.keep_all = keep;
            board_start(&b);
            assert_int_equal(leads(&b, SID_A, 0), DATA);
            put(&b, TABLES + 0x1000, 0);
            assert_int_equal(leads(&b, SID_A, 0), DATA);
            give(&b, rows[i].word0, rows[i].word1);
            assert_int_equal(leads(&b, SID_A, 0), DATA); /* not before a CMD_SYNC */
            sync(&b);
            assert_int_equal(leads(&b, SID_A, 0) == 0, rows[i].drops);
            assert_int_equal(stats(&b)->misuse, 0);
            board_free(&b);
        }
    }
}

/* Upper entries: a leaf-only command keeps them. */
static void test_stale_walk(void **state)
{
    struct board b;

    (void)state;
    board_up(&b);
    assert_int_equal(leads(&b, SID_A, 0), DATA);
    put(&b, TABLES, 0);
    put(&b, ROOT, 0);
    put(&b, TABLES + 0x1000 + 8, (DATA + 0x5000) | LEAF);
    assert_int_equal(leads(&b, SID_A, 0x1000), DATA + 0x5000); /* through the old tables */
    give(&b, 0x12 | ASID_A << 48, 1);
    sync(&b);
    assert_int_equal(leads(&b, SID_A, 0), DATA);
    give(&b, 0x12 | ASID_A << 48, 0);
    sync(&b);
    assert_int_equal(leads(&b, SID_A, 0), 0);
    assert_int_equal(leads(&b, SID_A, 0x1000), DATA + 0x5000); /* another leaf, still known */
    board_free(&b);
}

/* Blocks, groups and global leaves go with any address of theirs; the last not with their ASID. */
static void test_stale_large(void **state)
{
    struct board b;

    (void)state;
    board_up(&b);
    put(&b, TABLES + 8, UINT64_C(0x40400000) | BLOCK);
    put(&b, TABLES + 0x1000 + 8 * 17, (DATA + 0x1000) | LEAF | UINT64_C(1) << 52);
    put(&b, TABLES + 0x1000 + 8 * 64, (DATA + 0x3000) | (LEAF & ~(UINT64_C(1) << 11)));
    assert_int_equal(leads(&b, SID_A, 0x200000), 0x40400000);
    assert_int_equal(leads(&b, SID_A, 0x11000), DATA + 0x1000);
    assert_int_equal(leads(&b, SID_A, 0x40000), DATA + 0x3000);
    put(&b, TABLES + 8, 0);
    put(&b, TABLES + 0x1000 + 8 * 17, 0);
    put(&b, TABLES + 0x1000 + 8 * 64, 0);
    give(&b, 0x11 | ASID_A << 48, 0);
    sync(&b);
    assert_int_equal(leads(&b, SID_A, 0x200000), 0);
    assert_int_equal(leads(&b, SID_A, 0x11000), 0);
    assert_int_equal(leads(&b, SID_A, 0x40000), DATA + 0x3000);
    assert_int_equal(leads(&b, SID_B, 0x40000), DATA + 0x3000); /* of every ASID */
    give(&b, 0x12 | ASID_B << 48, 0x40001);
    sync(&b);
    assert_int_equal(leads(&b, SID_A, 0x40000), 0);
    put(&b, TABLES + 8, UINT64_C(0x40400000) | BLOCK);
    put(&b, TABLES + 0x1000 + 8 * 17, (DATA + 0x1000) | LEAF | UINT64_C(1) << 52);
    assert_int_equal(leads(&b, SID_A, 0x2fffff), 0x404fffff);
    assert_int_equal(leads(&b, SID_A, 0x11000), DATA + 0x1000);
    assert_int_equal(leads(&b, SID_A, 0x1ffff), DATA + 0xffff);
    put(&b, TABLES + 8, 0);
    put(&b, TABLES + 0x1000 + 8 * 17, 0);
    give(&b, 0x12 | ASID_A << 48, 0x234001);
    give(&b, 0x12 | ASID_A << 48, 0x15001);
    sync(&b);
    assert_int_equal(leads(&b, SID_A, 0x2fffff), 0);
    assert_int_equal(leads(&b, SID_A, 0x1ffff), 0);
    board_free(&b);
}

/* Entries, descriptors and contexts: each goes with its own command. */
static void test_stale_config(void **state)
{
    struct board b;

    (void)state;
    board_up(&b);
    assert_int_equal(leads(&b, SID_A, 0), DATA);
    put_ste(&b, SID_A, 1);
    put(&b, CD_A, 0);
    put(&b, STRTAB + 8 * (SID_A >> 8), 0);
    assert_int_equal(leads(&b, SID_A, 0), DATA);
    give(&b, 5 | (uint64_t)SID_B << 32, 0);
    give(&b, 3 | (uint64_t)SID_B << 32, 1);
    give(&b, 0x30, 0);
    sync(&b);
    assert_int_equal(leads(&b, SID_A, 0), DATA);
    give(&b, 5 | (uint64_t)SID_A << 32, 0);
    sync(&b);
    assert_int_equal(leads(&b, SID_A, 0), 0);
    assert_int_equal(event(&b, 0) & 0xff, 0x0a); /* the context */
    give(&b, 3 | (uint64_t)SID_A << 32, 1);
    sync(&b);
    assert_int_equal(leads(&b, SID_A, 0), 0);
    assert_int_equal(event(&b, 0), 0); /* the entry: it aborts */
    give(&b, 3 | (uint64_t)SID_A << 32, 0);
    sync(&b);
    assert_int_equal(leads(&b, SID_A, 0), 0);
    assert_int_equal(event(&b, 0) & 0xff, 2); /* the descriptor */
    /* A range of streams, and all of them. */
    put(&b, STRTAB + 8 * (SID_A >> 8), SUBTAB | 9);
    put_ste(&b, SID_A, CD_A | 0xb);
    put_cd(&b, CD_A, cd0(0, 39, ASID_A), ROOT);
    assert_int_equal(leads(&b, SID_A, 0), DATA);
    put_ste(&b, SID_A, 1);
    give(&b, 4 | (uint64_t)(SID_A ^ 8) << 32, 2); /* eight, not ours */
    sync(&b);
    assert_int_equal(leads(&b, SID_A, 0), DATA);
    give(&b, 4 | (uint64_t)(SID_A ^ 7) << 32, 2);
    sync(&b);
    assert_int_equal(leads(&b, SID_A, 0), 0);
    put_ste(&b, SID_A, CD_A | 0xb);
    give(&b, 4, 31);
    sync(&b);
    assert_int_equal(leads(&b, SID_A, 0), DATA);
    assert_int_equal(stats(&b)->misuse, 0);
    board_free(&b);
}

/* Nothing that is not valid is kept: what comes into being needs no command. */
static void test_absent(void **state)
{
    struct board b;

    (void)state;
    board_up(&b);
    put_ste(&b, SID_A, 0);
    put(&b, STRTAB + 8 * (SID_A >> 8), 0);
    put(&b, CD_A, 0);
    put(&b, ROOT, 0);
    assert_int_equal(leads(&b, SID_A, 0), 0);
    put(&b, STRTAB + 8 * (SID_A >> 8), SUBTAB | 9);
    assert_int_equal(leads(&b, SID_A, 0), 0);
    put_ste(&b, SID_A, CD_A | 0xb);
    assert_int_equal(leads(&b, SID_A, 0), 0);
    put_cd(&b, CD_A, cd0(0, 39, ASID_A), ROOT);
    assert_int_equal(leads(&b, SID_A, 0), 0);
    put(&b, ROOT, TABLES | 3);
    assert_int_equal(leads(&b, SID_A, 0), DATA);
    board_free(&b);
}

/* A small cache forgets by itself; one that keeps all does not. Prefetches fill it. */
static void test_capacity(void **state)
{
    struct board b;
    unsigned stale;

    (void)state;
    for (unsigned kind = 0; kind < 3; kind++) {
        board_init(&b);
        b.config.tlb_entries = 8;
        b.config.walk_entries = 2;
        b.config.keep_all = kind == 2;
        b.config.random_replacement = kind == 1;
        if (kind == 1) {
            b.host.random = roll;
            b.dice = 1;
        }
        board_start(&b);
        for (unsigned i = 0; i < 400; i++)
            put(&b, TABLES + 0x1000 + 8 * i, (DATA + 4096 * (i % 64)) | LEAF);
        for (unsigned i = 0; i < 400; i++)
            assert_int_equal(leads(&b, SID_A, 4096 * i), DATA + 4096 * (i % 64));
        smmuv3_model_prefetch(b.m, SID_A, 4096 * 400);
        smmuv3_model_prefetch(b.m, SID_A, UINT64_C(1) << 39);
        smmuv3_model_prefetch(b.m, 0x10000, 0);
        for (unsigned i = 0; i < 400; i++)
            put(&b, TABLES + 0x1000 + 8 * i, 0);
        stale = 0;
        for (unsigned i = 400; i-- > 0;)
            stale += leads(&b, SID_A, 4096 * i) != 0;
        assert_in_range(stale, kind == 2 ? 400 : 1, kind == 2 ? 400 : 8);
        assert_int_equal(stats(&b)->prefetches > 1, kind == 1);
        board_free(&b);
    }
}

/* ---- commands in trouble ---- */

static void test_illegal(void **state)
{
    struct board b;

    (void)state;
    board_up(&b);
    b.edges = 0;
    give(&b, 0x7f, 0);
    assert_int_equal(r32(&b, 0x60), 1);
    assert_int_equal(r32(&b, 0x9c), 1u << 24); /* where it stopped, and why */
    assert_int_equal(b.edges, 1);
    sync(&b);
    assert_int_equal(stats(&b)->syncs, 0);
    w32(&b, 0x64, 1); /* acknowledged, and the same again */
    assert_int_equal(r32(&b, 0x60), 0);
    assert_int_equal(b.edges, 2);
    put(&b, CMDQ, 0x46);
    w32(&b, 0x64, 0);
    assert_int_equal(stats(&b)->syncs, 2);
    assert_int_equal(r32(&b, 0x9c) & 0x1f, 2);
    /* A range of one granule that gives no level. */
    give(&b, 0x12, 0x400);
    assert_int_equal(r32(&b, 0x60) ^ r32(&b, 0x64), 1);
    board_free(&b);
    /* The queue itself cannot be read. */
    board_up(&b);
    b.unreadable = CMDQ;
    sync(&b);
    assert_int_equal(r32(&b, 0x9c), 2u << 24);
    board_free(&b);
}

static void test_refuse(void **state)
{
    struct board b;

    (void)state;
    board_up(&b);
    smmuv3_model_refuse(b.m, 2, 1);
    sync(&b);
    assert_int_equal(r32(&b, 0x60), 0);
    give(&b, 0x30, 0);
    assert_int_equal(r32(&b, 0x60), 1);
    w32(&b, 0x64, 1); /* it is still there */
    assert_int_equal(r32(&b, 0x60), 0);
    put(&b, CMDQ + 16, 0x46);
    w32(&b, 0x64, 0);
    assert_int_equal(stats(&b)->syncs, 2);
    /* What is lost looks done. */
    assert_int_equal(leads(&b, SID_A, 0), DATA);
    put(&b, TABLES + 0x1000, 0);
    smmuv3_model_lose(b.m, true);
    give(&b, 0x30, 0);
    sync(&b);
    assert_int_equal(r32(&b, 0x9c) & 31, r32(&b, 0x98));
    smmuv3_model_lose(b.m, false);
    sync(&b);
    assert_int_equal(leads(&b, SID_A, 0), DATA);
    board_free(&b);
}

static void test_busy(void **state)
{
    struct board b;

    (void)state;
    board_up(&b);
    smmuv3_model_set_busy(b.m, 1000, 0);
    sync(&b);
    b.now += 999;
    assert_int_equal(r32(&b, 0x9c), 0);
    b.now++;
    assert_int_equal(r32(&b, 0x9c), 1);
    smmuv3_model_set_busy(b.m, 0, SMMUV3_MODEL_STUCK_COMMANDS);
    sync(&b);
    b.now += 1000000000;
    assert_int_equal(r32(&b, 0x9c), 1);
    smmuv3_model_set_busy(b.m, 0, 0);
    assert_int_equal(r32(&b, 0x9c), 2);
    board_free(&b);
}

/* What no driver should ask for. */
static void test_command_misuse(void **state)
{
    static const struct {
        uint64_t word0, word1;
        bool ril;
    } rows[] = {
        {0x46 | 1 << 12, 0, true},              /* a signal that nobody takes */
        {3 | UINT64_C(0x10000) << 32, 0, true}, /* no such stream */
        {0x12 | 1 << 12, 0, true},              /* a range without a granule */
        {0x12 | 1 << 12, 0x2800, true},         /* not on one of 16 KiB */
        {0x12 | 1 << 12, 0x400, false},         /* where there are no ranges */
    };
    struct board b;

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        board_init(&b);
        if (!rows[i].ril)
            b.config.idr3 = 0;
        board_create(&b);
        w32(&b, 0x28, 0xd75);
        smmuv3_model_write64(b.m, 0x90, CMDQ | 4);
        w32(&b, 0x20, 8);
        give(&b, rows[i].word0, rows[i].word1);
        assert_int_equal(stats(&b)->misuse, 1);
        board_free(&b);
    }
}

/* ---- events ---- */

static void test_event_queue(void **state)
{
    struct board b;
    const uint64_t record[4] = {0x10, 0, 0, 0};

    (void)state;
    board_up(&b);
    b.edges = 0;
    for (unsigned i = 0; i < 8; i++)
        smmuv3_model_event(b.m, record);
    assert_int_equal(b.edges, 1); /* from empty only */
    assert_int_equal(r32(&b, 0x100a8), 8);
    smmuv3_model_event(b.m, record);
    assert_int_equal(r32(&b, 0x100a8), 0x80000008);
    smmuv3_model_event(b.m, record);
    assert_int_equal(stats(&b)->lost, 2);
    w32(&b, 0x100ac, 7); /* room for seven, and not acknowledged */
    for (unsigned i = 0; i < 8; i++)
        smmuv3_model_event(b.m, record);
    assert_int_equal(r32(&b, 0x100a8), 0x8000000f);
    assert_int_equal(stats(&b)->lost, 3);
    w32(&b, 0x100ac, 0x8000000f);
    for (unsigned i = 0; i < 9; i++)
        smmuv3_model_event(b.m, record);
    assert_int_equal(r32(&b, 0x100a8), 0x00000007); /* once more */
    w32(&b, 0x100ac, 0x00000007);
    b.edges = 0;
    smmuv3_model_fail_events(b.m, 1);
    smmuv3_model_event(b.m, record);
    assert_int_equal(r32(&b, 0x60), 4);
    assert_int_equal(b.edges, 1);
    b.no_writes = true;
    smmuv3_model_event(b.m, record); /* active already */
    assert_int_equal(b.edges, 1);
    b.no_writes = false;
    w32(&b, 0x64, 4);
    smmuv3_model_raise(b.m, 0x104);
    assert_int_equal(r32(&b, 0x60) ^ r32(&b, 0x64), 0x104);
    w32(&b, 0x20, 8);
    smmuv3_model_event(b.m, record); /* off */
    assert_int_equal(r32(&b, 0x100a8), 7);
    board_free(&b);
}

/* ---- accesses ---- */

static void test_access(void **state)
{
    uint8_t buf[3 * 4096];
    struct board b;
    uint64_t done = 99;
    uint64_t pa;

    (void)state;
    board_up(&b);
    put(&b, TABLES + 0x1008, (DATA + 0x8000) | LEAF);
    memset(at(&b, DATA, 4096), 1, 4096);
    memset(at(&b, DATA + 0x8000, 4096), 2, 4096);
    assert_int_equal(smmuv3_model_access(b.m, SID_A, 4090, buf, 12, false, true, &done), MODEL_OK);
    assert_int_equal(done, 12);
    assert_true(buf[5] == 1 && buf[6] == 2);
    assert_int_equal(
        smmuv3_model_access(b.m, SID_A, 4000, buf, sizeof(buf) - 4096, true, true, &done),
        MODEL_FAULT);
    assert_int_equal(done, 96 + 4096);
    put(&b, TABLES + 0x1010, UINT64_C(0x100000000) | LEAF); /* no memory */
    assert_int_equal(smmuv3_model_access(b.m, SID_A, 8192, buf, 1, true, true, NULL),
                     MODEL_BUS_ERROR);
    assert_int_equal(stats(&b)->bus_errors, 1);
    assert_int_equal(smmuv3_model_translate(b.m, SID_A, 0, false, 0, &pa), MODEL_FAULT);
    assert_int_equal(smmuv3_model_translate(b.m, SID_A, 1, false, 4096, &pa), MODEL_FAULT);
    assert_int_equal(stats(&b)->misuse, 2);
    board_free(&b);
}

/* ---- stage 2 ---- */

#define VMID_A UINT64_C(7)
#define VMID_B UINT64_C(8)
#define LEAF_2 UINT64_C(0x7ff) /* MemAttr 15, S2AP, inner, AF, page */

/* Word 2 of an entry: 40 bits at 4 KiB from level 1 on, so two tables side by side; 44 bits out. */
static uint64_t ste2(uint64_t vmid)
{
    return vmid | UINT64_C(24) << 32 | UINT64_C(1) << 38 | UINT64_C(0x35) << 40 |
           UINT64_C(4) << 48 | UINT64_C(1) << 51 | UINT64_C(1) << 58;
}

static void put_ste2(struct board *b, uint32_t sid, uint64_t word2, uint64_t root)
{
    put(b, SUBTAB + 64 * (sid & 0xff), 0xd);
    put(b, SUBTAB + 64 * (sid & 0xff) + 16, word2);
    put(b, SUBTAB + 64 * (sid & 0xff) + 24, root);
}

#define FAR (UINT64_C(1) << 39) /* what the second root begins with */

/* Both streams with stage 2: the first page of each root. The roots are those of stage 1's. */
static void board_stage_2(struct board *b, unsigned stages)
{
    board_init(b);
    smmuv3_model_set_stages(&b->config, stages);
    board_start(b);
    put_ste2(b, SID_A, ste2(VMID_A), ROOT);
    put(b, TABLES + 0x1000, DATA | LEAF_2);
    put(b, TABLES + 0x3000, (DATA + 0x1000) | LEAF_2);
    put_ste2(b, SID_B, ste2(VMID_B), ROOT + 0x4000);
    put(b, ROOT + 0x4000, (TABLES + 0x4000) | 3);
    put(b, TABLES + 0x4000, (TABLES + 0x5000) | 3);
    put(b, TABLES + 0x5000, (DATA + 0x2000) | LEAF_2);
}

static void test_stage_2(void **state)
{
    struct board b;

    (void)state;
    board_stage_2(&b, SMMUV3_MODEL_STAGE_2);
    assert_int_equal(leads(&b, SID_A, 0x123), DATA + 0x123);
    assert_int_equal(leads(&b, SID_A, FAR + 0x123), DATA + 0x1123);
    assert_int_equal(leads(&b, SID_B, 0x123), DATA + 0x2123);
    assert_int_equal(event(&b, 0), 0);
    assert_int_equal(leads(&b, SID_A, 0x5678), 0);
    assert_int_equal(event(&b, 0), 0x10 | (uint64_t)SID_A << 32); /* F_TRANSLATION */
    assert_int_equal(leads(&b, SID_A, 0x5678), 0);
    assert_int_equal(event(&b, 1), UINT64_C(0x288) << 32);
    assert_int_equal(leads(&b, SID_A, 0x5678), 0);
    assert_int_equal(event(&b, 2), 0x5678);
    assert_int_equal(leads(&b, SID_A, 0x5678), 0);
    assert_int_equal(event(&b, 3), 0x5000);
    assert_int_equal(leads(&b, SID_A, UINT64_C(1) << 40), 0); /* beyond S2T0SZ */
    assert_int_equal(event(&b, 0) & 0xff, 0x10);
    put_ste(&b, 0x130, CD_A | 0xb);
    assert_int_equal(leads(&b, 0x130, 0), 0);
    assert_int_equal(event(&b, 0) & 0xff, 4); /* there is no stage 1 */
    put_ste(&b, 0x131, 9);
    assert_int_equal(leads(&b, 0x131, DATA), DATA);
    assert_int_equal(stats(&b)->misuse, 0);
    board_free(&b);
    /* And none of stage 2 where there is stage 1 only. */
    board_stage_2(&b, SMMUV3_MODEL_STAGE_1);
    assert_int_equal(leads(&b, SID_A, 0), 0);
    assert_int_equal(event(&b, 0) & 0xff, 4);
    board_free(&b);
    /* With both, either; but not one after the other. */
    board_stage_2(&b, SMMUV3_MODEL_STAGE_1 | SMMUV3_MODEL_STAGE_2);
    put_ste(&b, SID_B, CD_B | 0xb);
    put(&b, TABLES + 0x3000, (DATA + 0x1000) | LEAF);
    assert_int_equal(leads(&b, SID_A, 0x123), DATA + 0x123);
    assert_int_equal(leads(&b, SID_B, 0x123), DATA + 0x1123);
    put_ste(&b, 0x132, CD_A | 0xf);
    assert_int_equal(leads(&b, 0x132, 0), 0);
    assert_int_equal(event(&b, 0) & 0xff, 4);
    board_free(&b);
}

/* What an entry may say of stage 2, and what not. */
static void test_stage_2_entries(void **state)
{
    static const struct {
        unsigned bits, sl0, tg, ps, oas;
        bool ok;
    } rows[] = {
        {25, 0, 0, 5, 5, true},  {34, 0, 0, 5, 5, true},  {35, 0, 0, 5, 5, false},
        {30, 1, 0, 5, 5, false}, {31, 1, 0, 5, 5, true},  {43, 1, 0, 5, 5, true},
        {44, 1, 0, 5, 5, false}, {44, 2, 0, 4, 5, true},  {40, 2, 0, 4, 4, true},
        {40, 2, 0, 3, 3, false}, {40, 3, 0, 5, 5, false}, {42, 1, 0, 3, 5, true},
        {43, 1, 0, 3, 5, false}, {43, 1, 0, 5, 3, false}, {24, 0, 0, 5, 5, false},
        {25, 0, 2, 5, 5, true},  {30, 0, 2, 5, 5, false}, {40, 1, 2, 5, 5, true},
        {41, 1, 2, 5, 5, false}, {41, 2, 2, 3, 3, true},  {40, 2, 2, 2, 2, false},
        {48, 2, 2, 5, 5, true},  {46, 1, 1, 5, 5, true},  {47, 1, 1, 5, 5, false},
        {43, 2, 1, 4, 4, true},  {43, 2, 1, 3, 3, false}, {42, 1, 1, 3, 3, true},
        {40, 1, 3, 5, 5, false}, {40, 1, 0, 7, 5, false},
    };
    /* Bits that make a good one bad: S2ENDI, S2HD, S2HA, S2S, and what is for other worlds. */
    static const unsigned bad[] = {52, 55, 56, 57, 59, 63};
    struct board b;

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        board_init(&b);
        smmuv3_model_set_stages(&b.config, SMMUV3_MODEL_STAGE_2);
        b.config.idr5 = 0x70 | rows[i].oas;
        board_start(&b);
        put_ste2(&b, SID_A,
                 (ste2(VMID_A) & ~(UINT64_C(0xff) << 32 | UINT64_C(0x1f) << 46)) |
                     (uint64_t)(64 - rows[i].bits) << 32 | (uint64_t)rows[i].sl0 << 38 |
                     (uint64_t)rows[i].tg << 46 | (uint64_t)rows[i].ps << 48,
                 RAM + 0x100000); /* aligned to 1 MiB, and empty */
        assert_int_equal(leads(&b, SID_A, 0), 0);
        assert_int_equal(event(&b, 0) & 0xff, rows[i].ok ? 0x10 : 4);
        assert_int_equal(stats(&b)->misuse, 0);
        board_free(&b);
    }
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]) + 4; i++) {
        board_stage_2(&b, SMMUV3_MODEL_STAGE_2);
        if (i < sizeof(bad) / sizeof(bad[0]))
            put_ste2(&b, SID_A, ste2(VMID_A) | UINT64_C(1) << bad[i], ROOT);
        else if (i == sizeof(bad) / sizeof(bad[0]))
            put_ste2(&b, SID_A, ste2(VMID_A) & ~(UINT64_C(1) << 51), ROOT); /* AArch32 */
        else if (i == sizeof(bad) / sizeof(bad[0]) + 1)
            put_ste2(&b, SID_A, ste2(VMID_A), UINT64_C(1) << 44);
        else if (i == sizeof(bad) / sizeof(bad[0]) + 2)
            put_ste2(&b, SID_A, ste2(VMID_A) & ~(UINT64_C(63) << 32), ROOT); /* 64 bits in */
        else {
            board_free(&b);
            board_init(&b);
            smmuv3_model_set_stages(&b.config, SMMUV3_MODEL_STAGE_2);
            b.config.idr0 &= ~(1u << 18); /* 8 bits of VMID */
            board_start(&b);
            put_ste2(&b, SID_A, ste2(0x100), ROOT);
        }
        assert_int_equal(leads(&b, SID_A, 0), 0);
        assert_int_equal(event(&b, 0) & 0xff, 4);
        board_free(&b);
    }
    /* Allowed, but no machine is like that: roots that are not aligned, tables read uncached. */
    for (unsigned i = 0; i < 2; i++) {
        board_stage_2(&b, SMMUV3_MODEL_STAGE_2);
        put_ste2(&b, SID_A, ste2(VMID_A) & ~(i ? UINT64_C(3) << 40 : 0), ROOT + (i ? 0 : 0x1000));
        (void)leads(&b, SID_A, 0);
        assert_int_equal(stats(&b)->misuse, 1);
        board_free(&b);
    }
}

/* Reading and writing each for itself; AF, unless S2AFFD; the output's width; S2R. */
static void test_stage_2_leaves(void **state)
{
    static const struct {
        uint64_t leaf, word2;
        unsigned read, write; /* events; 0: allowed */
        unsigned misuse;
    } rows[] = {
        {DATA | LEAF_2, 0, 0, 0, 0},
        {DATA | 0x77f, 0, 0, 0x13, 0},
        {DATA | 0x7bf, 0, 0x13, 0, 0},
        {DATA | 0x73f, 0, 0x13, 0x13, 0},
        {DATA | 0x3ff, 0, 0x12, 0x12, 0},
        {DATA | 0x3ff, UINT64_C(1) << 53, 0, 0, 0},
        {UINT64_C(1) << 45 | LEAF_2, 0, 0x11, 0x11, 0},
        {DATA | 0x7d7, 0, 0, 0, 0}, /* not cacheable */
        {DATA | 0x7c7, 0, 0, 0, 0}, /* a device's */
        {DATA | 0x7d3, 0, 0, 0, 1}, /* outer without inner */
        {DATA | LEAF_2 | UINT64_C(1) << 54, 0, 0, 0, 0},
        {DATA | LEAF_2 | UINT64_C(1) << 53, 0, 0, 0, 1},
        {DATA | LEAF_2 | UINT64_C(1) << 11, 0, 0, 0, 1},
        {DATA | 0x7fd, 0, 0x10, 0x10, 0}, /* no page */
    };
    struct board b;

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        board_stage_2(&b, SMMUV3_MODEL_STAGE_2);
        put(&b, TABLES + 0x1000, rows[i].leaf);
        put_ste2(&b, SID_A, ste2(VMID_A) | rows[i].word2, ROOT);
        assert_int_equal(leads(&b, SID_A, 0) != 0, !rows[i].read);
        assert_int_equal(event(&b, 0) & 0xff, rows[i].read);
        assert_int_equal(writes(&b, SID_A, 0), !rows[i].write);
        assert_int_equal(event(&b, 0) & 0xff, rows[i].write);
        assert_int_equal(stats(&b)->misuse, rows[i].misuse);
        board_free(&b);
    }
    board_stage_2(&b, SMMUV3_MODEL_STAGE_2);
    put_ste2(&b, SID_A, ste2(VMID_A) & ~(UINT64_C(1) << 58), ROOT);
    assert_int_equal(leads(&b, SID_A, 0x5000), 0);
    assert_int_equal(event(&b, 0), 0); /* not recorded */
    board_free(&b);
}

/* A stale leaf serves until a command names it, its VMID and its stage, and CMD_SYNC is through. */
static void test_stage_2_stale(void **state)
{
    static const struct {
        uint64_t word0, word1;
        bool leaf, table; /* whether it makes it forget a leaf, an entry above it */
    } rows[] = {
        {0x2a | VMID_A << 32, 0, true, true},
        {0x2a | VMID_A << 32, 1, true, false},
        {0x2a | VMID_B << 32, 0, false, false},
        {0x2a | VMID_A << 32, 0x1000, false, true},
        {0x2a | VMID_A << 32 | 3 << 12, 0x400, true, true},   /* four of 4 KiB */
        {0x2a | VMID_A << 32 | 3 << 12, 0x800, false, false}, /* of 16 KiB */
        {0x2a | VMID_A << 32 | 1 << 20, 0x1400 | 1, false, false},
        {0x28 | VMID_A << 32, 0, true, true},
        {0x28 | VMID_B << 32, 0, false, false},
        {0x12 | VMID_A << 32, 0, false, false},
        {0x11 | VMID_A << 32, 0, false, false},
        {0x10 | VMID_A << 32, 0, false, false},
        {0x30, 0, true, true},
    };
    struct board b;

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        board_stage_2(&b, SMMUV3_MODEL_STAGE_1 | SMMUV3_MODEL_STAGE_2);
        assert_int_equal(leads(&b, SID_A, 0), DATA);
        assert_int_equal(leads(&b, SID_B, 0), DATA + 0x2000);
        put(&b, TABLES + 0x1000, 0);
        give(&b, rows[i].word0, rows[i].word1);
        assert_int_equal(leads(&b, SID_A, 0), DATA);
        sync(&b);
        assert_int_equal(leads(&b, SID_A, 0) != 0, !rows[i].leaf);
        (void)event(&b, 0);
        board_free(&b);

        board_stage_2(&b, SMMUV3_MODEL_STAGE_1 | SMMUV3_MODEL_STAGE_2);
        assert_int_equal(leads(&b, SID_A, 0), DATA);
        put(&b, TABLES, 0); /* and the leaf table is another page's now */
        put(&b, TABLES + 0x1008, (DATA + 0x3000) | LEAF_2);
        give(&b, rows[i].word0, rows[i].word1);
        sync(&b);
        assert_int_equal(leads(&b, SID_A, 0x1000) != 0, !rows[i].table);
        assert_int_equal(stats(&b)->misuse, 0);
        board_free(&b);
    }
}

/* Stage 1 where there is a stage 2: its translations have a VMID, too. */
static void test_stage_1_vmids(void **state)
{
    struct board b;

    (void)state;
    for (unsigned right = 0; right < 3; right++) {
        board_init(&b);
        smmuv3_model_set_stages(&b.config, SMMUV3_MODEL_STAGE_1 | SMMUV3_MODEL_STAGE_2);
        board_start(&b);
        put(&b, SUBTAB + 64 * (SID_A & 0xff) + 16, VMID_A);
        assert_int_equal(leads(&b, SID_A, 0), DATA);
        put(&b, TABLES + 0x1000, 0);
        if (right == 2)
            give(&b, 0x28 | VMID_A << 32, 0);
        else
            give(&b, 0x11 | ASID_A << 48 | (right ? VMID_A : VMID_B) << 32, 0);
        sync(&b);
        assert_int_equal(leads(&b, SID_A, 0) != 0, !right);
        board_free(&b);
    }
}

/* Commands about a stage that there is not are illegal; VMIDs beyond their width are misuse. */
static void test_stage_commands(void **state)
{
    static const uint64_t first[] = {0x05, 0x10, 0x11, 0x12}, second[] = {0x28, 0x2a};
    struct board b;

    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        const uint64_t word0 = i < 4 ? first[i] : second[i - 4];

        for (unsigned stages = 1; stages <= 3; stages++) {
            board_init(&b);
            smmuv3_model_set_stages(&b.config, stages);
            board_start(&b);
            give(&b, word0, 0);
            assert_int_equal(r32(&b, 0x60) & 1,
                             !(stages & (i < 4 ? SMMUV3_MODEL_STAGE_1 : SMMUV3_MODEL_STAGE_2)));
            assert_int_equal(stats(&b)->misuse, 0);
            board_free(&b);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        board_init(&b);
        smmuv3_model_set_stages(&b.config, SMMUV3_MODEL_STAGE_2);
        b.config.idr0 &= ~(1u << 18);
        board_start(&b);
        give(&b, second[i] | UINT64_C(0x100) << 32, 0);
        assert_int_equal(stats(&b)->misuse, 1);
        board_free(&b);
    }
    board_init(&b);
    smmuv3_model_set_stages(&b.config, SMMUV3_MODEL_STAGE_2);
    board_start(&b);
    give(&b, 0x2a, 0x400); /* NUM, SCALE and TTL 0 with a TG */
    assert_int_equal(r32(&b, 0x60) & 1, 1);
    board_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_registers),
        cmocka_unit_test(test_guards),
        cmocka_unit_test(test_disabled),
        cmocka_unit_test(test_acknowledge),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_contexts),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_granules),
        cmocka_unit_test(test_blocks_and_groups),
        cmocka_unit_test(test_permissions),
        cmocka_unit_test(test_stale_leaf),
        cmocka_unit_test(test_stale_walk),
        cmocka_unit_test(test_stale_large),
        cmocka_unit_test(test_stale_config),
        cmocka_unit_test(test_absent),
        cmocka_unit_test(test_capacity),
        cmocka_unit_test(test_illegal),
        cmocka_unit_test(test_refuse),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_command_misuse),
        cmocka_unit_test(test_event_queue),
        cmocka_unit_test(test_access),
        cmocka_unit_test(test_stage_2),
        cmocka_unit_test(test_stage_2_entries),
        cmocka_unit_test(test_stage_2_leaves),
        cmocka_unit_test(test_stage_2_stale),
        cmocka_unit_test(test_stage_1_vmids),
        cmocka_unit_test(test_stage_commands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
