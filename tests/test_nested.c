/* SPDX-License-Identifier: MIT */
/*
 * One IOMMU behind another, as hardware has it: models alone, where the tables that one walks lie
 * at addresses that the next translates. Vector 15 of REQUIREMENTS.md 5: how many entries
 * are fetched for one access when nothing is cached (7.2).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dart/dart.h>
#include <smmuv3/smmuv3.h>

#include <string.h>

#define STAGES 3u
#define PAGES 256u
#define PAGE UINT64_C(0x4000)
#define LOWEST UINT64_C(0x800000000) /* tables that nobody translates */
#define SHIFT (UINT64_C(1) << 24)    /* what each stage adds to an address */
#define STE UINT64_C(0x1000)         /* streams and contexts are not counted, nor translated */
#define CD UINT64_C(0x1040)
#define CONTEXT_END UINT64_C(0x1080)

enum kind { SMMU, T6000, T8110 };

struct memory {
    struct {
        uint64_t pa;
        uint8_t *bytes;
    } page[PAGES];
    unsigned pages;
    uint64_t tables; /* handed out: tables that nobody translates, top entries for the others */
    uint64_t taken;
    uint64_t fetches;
};

struct stage {
    enum kind kind;
    struct memory *memory;
    struct stage *lower; /* NULL: addresses are memory's */
    unsigned page_bits, levels;
    struct model_host host;
    struct smmuv3_model *smmu;
    struct dart_model *dart;
    uint64_t context[(CONTEXT_END - STE) / 8];
    uint64_t root;
};

/* ---- memory ---- */

static uint64_t *word(struct memory *m, uint64_t pa)
{
    const uint64_t at = pa & ~(PAGE - 1);
    unsigned i = 0;

    while (i < m->pages && m->page[i].pa != at)
        i++;
    if (i == m->pages) {
        assert_true(m->pages < PAGES);
        m->page[m->pages].pa = at;
        m->page[m->pages++].bytes = test_calloc(1, PAGE);
    }
    return (uint64_t *)(void *)(m->page[i].bytes + (pa - at));
}

static uint64_t index_bits(const struct stage *s)
{
    return s->page_bits - 3;
}

/* Where in memory a table of a stage's is. */
static uint64_t real(const struct stage *s, uint64_t addr)
{
    for (s = s->lower; s; s = s->lower)
        addr += SHIFT;
    return addr;
}

static bool translate(struct stage *s, uint64_t iova, uint64_t *out)
{
    const enum model_result result = s->smmu
                                         ? smmuv3_model_translate(s->smmu, 0, iova, false, 8, out)
                                         : dart_model_translate(s->dart, 0, iova, false, 8, out);

    return result == MODEL_OK && (!s->lower || translate(s->lower, *out, out));
}

static bool table_read64(void *opaque, uint64_t pa, uint64_t *out)
{
    struct stage *const s = opaque;

    if (pa >= STE && pa < CONTEXT_END) {
        *out = s->context[(pa - STE) / 8];
        return true;
    }
    if (s->lower && !translate(s->lower, pa, &pa))
        return false;
    s->memory->fetches++;
    *out = *word(s->memory, pa);
    return true;
}

static bool mem_read(void *opaque, uint64_t pa, void *buf, size_t len, bool coherent)
{
    (void)opaque, (void)pa, (void)buf, (void)len, (void)coherent;
    return false;
}

static bool mem_write(void *opaque, uint64_t pa, const void *buf, size_t len, bool coherent)
{
    (void)opaque, (void)pa, (void)buf, (void)len, (void)coherent;
    return false;
}

static uint64_t now_ns(void *opaque)
{
    (void)opaque;
    return 0;
}

/* ---- tables, by the architectures' books ---- */

static uint64_t table_entry(const struct stage *s, uint64_t addr)
{
    return s->kind == SMMU ? addr | 3 : addr >> 4 | 1;
}

static uint64_t entry_addr(const struct stage *s, uint64_t entry)
{
    return s->kind == SMMU ? entry & ~UINT64_C(0xfff)
                           : (entry & ((UINT64_C(1) << 38) - 1)) << 4 & ~(PAGE - 1);
}

static uint64_t leaf_entry(const struct stage *s, uint64_t addr, unsigned level)
{
    if (s->kind == SMMU)
        return addr | 0xf41 | (level ? 0 : 2);
    return addr >> 4 | UINT64_C(0xfff) << 40 | 1;
}

static void map(struct stage *s, uint64_t iova, uint64_t out, unsigned leaf);

/*
 * An address for something that a stage has: of memory, or behind a top entry of the stages below
 * that nothing else is behind, so that no two walks there have an entry in common.
 */
static uint64_t new_address(struct stage *s)
{
    struct stage *lower = s->lower;
    uint64_t addr, at;

    if (!lower)
        return LOWEST + s->memory->tables++ * PAGE;
    addr = ++s->memory->taken << (lower->page_bits + (lower->levels - 1) * index_bits(lower));
    for (at = addr; lower; lower = lower->lower, at += SHIFT)
        map(lower, at, at + SHIFT, 0);
    return addr;
}

static void map(struct stage *s, uint64_t iova, uint64_t out, unsigned leaf)
{
    uint64_t table = s->root;

    for (unsigned level = s->levels - 1;; level--) {
        const unsigned shift = (unsigned)(s->page_bits + level * index_bits(s));
        const uint64_t i = iova >> shift & ((UINT64_C(1) << index_bits(s)) - 1);
        uint64_t *const slot = word(s->memory, real(s, table) + 8 * i);

        if (level == leaf) {
            *slot = leaf_entry(s, out, level);
            return;
        }
        if (!*slot)
            *slot = table_entry(s, new_address(s));
        table = entry_addr(s, *slot);
    }
}

/* ---- stages ---- */

/* 48 bits, 4 KiB: four levels. */
static void smmu_init(struct stage *s)
{
    struct smmuv3_model_config config = smmuv3_model_defaults();
    const uint64_t registers[] = {0x80, STE}; /* STRTAB_BASE; one stream: STRTAB_BASE_CFG is 0 */

    config.host = &s->host;
    config.tlb_entries = 1;
    config.walk_entries = 1;
    s->smmu = smmuv3_model_create(&config);
    assert_non_null(s->smmu);
    s->context[0] = CD | 0xb;
    s->context[1] = 0xd4;
    s->context[(CD - STE) / 8] = (64 - 48) | 0x3500 | UINT64_C(3) << 30 | UINT64_C(4) << 32 |
                                 UINT64_C(1) << 41 | UINT64_C(3) << 45 | UINT64_C(5) << 48;
    s->context[(CD - STE) / 8 + 1] = s->root;
    s->context[(CD - STE) / 8 + 3] = 0x44ff;
    smmuv3_model_poke32(s->smmu, registers[0], (uint32_t)registers[1]);
    smmuv3_model_poke32(s->smmu, 0x28, 0xd75);
    smmuv3_model_poke32(s->smmu, 0x20, 1);
}

static void dart_init(struct stage *s)
{
    const bool t8110 = s->kind == T8110;
    struct dart_model_config config =
        dart_model_defaults(t8110 ? DART_MODEL_T8110 : DART_MODEL_T6000);

    config.host = &s->host;
    config.tlb_entries = 1;
    config.walk_entries = 1;
    config.va_bits = t8110 ? 42 : 32;
    s->dart = dart_model_create(&config);
    assert_non_null(s->dart);
    if (t8110) {
        dart_model_poke32(s->dart, 0x1400, (uint32_t)(s->root >> 14) << 2 | 1);
        dart_model_poke32(s->dart, 0x1000, 0x9);
        dart_model_poke32(s->dart, 0xc00, 1);
    } else {
        dart_model_poke32(s->dart, 0x200, UINT32_C(1) << 31 | (uint32_t)(s->root >> 12));
        dart_model_poke32(s->dart, 0x100, 0x80);
        dart_model_poke32(s->dart, 0xfc, 1);
    }
}

static void stage_init(struct stage *s, enum kind kind, struct stage *lower, struct memory *memory)
{
    *s = (struct stage){.kind = kind,
                        .memory = memory,
                        .lower = lower,
                        .page_bits = kind == SMMU ? 12 : 14,
                        .levels = kind == SMMU    ? 4
                                  : kind == T8110 ? 3
                                                  : 2};
    s->host = (struct model_host){.opaque = s,
                                  .table_read64 = table_read64,
                                  .mem_read = mem_read,
                                  .mem_write = mem_write,
                                  .now_ns = now_ns};
    s->root = new_address(s);
    if (kind == SMMU)
        smmu_init(s);
    else
        dart_init(s);
}

/* Entries fetched for one access through `count` stages, the first faces the device. */
static uint64_t fetches(const enum kind *kinds, unsigned count, unsigned leaf)
{
    const uint64_t iova = UINT64_C(0x40000000);
    struct memory memory = {.pages = 0};
    struct stage stage[STAGES];
    uint64_t want, got = 0;

    for (unsigned i = count; i-- > 0;)
        stage_init(&stage[i], kinds[i], i + 1 < count ? &stage[i + 1] : NULL, &memory);
    want = new_address(&stage[0]);
    map(&stage[0], iova, want, leaf);
    assert_int_equal(memory.fetches, 0);
    assert_true(translate(&stage[0], iova + 0x128, &got));
    assert_true(got == real(&stage[0], want) + 0x128);
    for (unsigned i = 0; i < count; i++) {
        smmuv3_model_destroy(stage[i].smmu);
        dart_model_destroy(stage[i].dart);
    }
    for (unsigned i = 0; i < memory.pages; i++)
        test_free(memory.page[i].bytes);
    return memory.fetches;
}

/*
 * Each of the n fetches of a stage needs its address translated, and so does what comes out:
 * (n + 1)(m + 1) - 1, a product over the stages. 35 takes two of five levels, which no model has.
 */
static void vector_15_fetches(void **state)
{
    static const struct {
        enum kind kinds[STAGES];
        unsigned count, leaf;
        uint64_t fetches;
    } v[] = {
        {{SMMU}, 1, 0, 4},
        {{SMMU, SMMU}, 2, 0, 24},
        {{SMMU, SMMU}, 2, 1, 19}, /* a leaf of 2 MiB */
        {{SMMU, SMMU}, 2, 2, 14}, /* of 1 GiB */
        {{T6000, T8110}, 2, 0, 11},
        {{T8110, SMMU}, 2, 0, 19},
        {{SMMU, SMMU, SMMU}, 3, 0, 124},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
        assert_int_equal(fetches(v[i].kinds, v[i].count, v[i].leaf), v[i].fetches);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vector_15_fetches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
