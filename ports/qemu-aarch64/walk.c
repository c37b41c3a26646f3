/* SPDX-License-Identifier: MIT */
/*
 * The second opinion on the tables: from the SMMU's registers over stream table and context
 * descriptor to the leaves, by the architecture's bits (Arm IHI 0070, Arm DDI 0487 D8.3) and none
 * of the library's. QEMU masks an output address that is not aligned to its granule; this walker
 * calls such an address wrong.
 */
#include "rig.h"

#define ADDRESS 0xfffffffff000ull

struct tables {
    uint64_t root;
    unsigned lg2, va_bits;
    int levels;
    int stage;
};

static const unsigned granules[] = {12, 16, 14, 0};

static uint64_t load(uint64_t pa)
{
    return *(volatile uint64_t *)ram_at(pa);
}

static uint64_t smmu_read(const struct machine *m, unsigned offset)
{
    return mmio_read64((volatile void *)(uintptr_t)m->smmu, offset);
}

/* The tables of stage 2, by a stream table entry: S2TTB, S2T0SZ, S2TG, first level S2SL0. */
static const char *find_stage_2(uint64_t ste, struct tables *out)
{
    const uint64_t word = load(ste + 16);
    const int sl0 = word >> 38 & 3;

    out->stage = 2;
    out->va_bits = 64 - (unsigned)(word >> 32 & 63);
    out->lg2 = granules[word >> 46 & 3];
    if (!(word >> 51 & 1) || !out->lg2 || sl0 == 3)
        return "the entry's stage 2 is not for AArch64, or has no granule or level that exists";
    out->root = load(ste + 24) & 0xffffffffffff0ull;
    out->levels = sl0 + (out->lg2 == 12 ? 2 : 1);
    if (out->va_bits > out->lg2 + (unsigned)out->levels * (out->lg2 - 3) + 4)
        return "more than 16 tables side by side";
    return NULL;
}

/* Find the stream's tables. Returns NULL, or why the stream has none. */
static const char *find_tables(const struct machine *m, uint32_t sid, struct tables *out)
{
    const uint64_t base = smmu_read(m, 0x80) & 0xfffffffffffc0ull; /* STRTAB_BASE */
    const uint32_t config = mmio_read32((volatile void *)(uintptr_t)m->smmu, 0x88);
    const unsigned split = config >> 6 & 31;
    uint64_t ste = base + 64ull * sid, cd, word;

    if (sid >> (config & 63))
        return "the stream table is shorter";
    if ((config >> 16 & 3) == 1) { /* two levels */
        word = load(base + 8ull * (sid >> split));
        if (!(word & 31) || (sid & ((1u << split) - 1)) >> ((word & 31) - 1))
            return "no second level for this stream";
        ste = (word & 0xfffffffffffc0ull) + 64ull * (sid & ((1u << split) - 1));
    }
    word = load(ste);
    if ((word & 0xf) == 0xd) /* valid, stage 2 translates */
        return find_stage_2(ste, out);
    if ((word & 0xf) != 0xb) /* valid, stage 1 translates */
        return "the stream is not translated";
    out->stage = 1;
    cd = word & 0xfffffffffffc0ull;
    word = load(cd);
    if (!(word >> 31 & 1) || !(word >> 41 & 1))
        return "the context descriptor is not valid, or not for AArch64";
    out->va_bits = 64 - (unsigned)(word & 63);
    out->lg2 = granules[word >> 6 & 3];
    if (!out->lg2)
        return "a granule that does not exist";
    out->root = load(cd + 8) & 0xffffffffffff0ull;
    /* as few as translate va_bits: (va_bits - lg2) / (lg2 - 3), rounded up */
    out->levels = ((int)out->va_bits - 4) / ((int)out->lg2 - 3);
    return NULL;
}

/* log2 of the bytes that an entry spans, levels counted from the leaves. */
static unsigned span(const struct tables *t, int level)
{
    return t->lg2 + (unsigned)level * (t->lg2 - 3);
}

/* Entries of a contiguous group. */
static unsigned group(const struct tables *t, int level)
{
    if (t->lg2 == 12)
        return 16;
    return t->lg2 == 14 && level == 0 ? 128 : 32;
}

/* A valid entry that maps memory: what is wrong with it? */
static const char *check_leaf(const struct tables *t, int level, uint64_t at, uint64_t entry)
{
    const uint64_t size = 1ull << span(t, level), pa = entry & ADDRESS;

    if (level > (t->lg2 == 12 ? 2 : 1))
        return "a block on a level that has none";
    if (pa & (size - 1))
        return "the leaf's address is not aligned to what it maps";
    if (!(entry >> 10 & 1))
        return "the access flag is not set";
    if (t->stage == 2 && (entry >> 2 & 15) != 15 && (entry >> 2 & 15) != 5)
        return "a leaf of memory that nobody asked for";
    if (entry >> 52 & 1) {
        const uint64_t n = group(t, level), first = at & ~(8 * n - 1);

        for (uint64_t i = 0; i < n; i++) {
            if (load(first + 8 * i) != (entry & ~ADDRESS) + (load(first) & ADDRESS) + i * size)
                return "a contiguous group that is not";
        }
        if (load(first) & ADDRESS & (n * size - 1))
            return "a contiguous group at no multiple of its size";
    }
    return NULL;
}

/* What is wrong with a pointer to a table? QEMU would cut it to its alignment, too. */
static const char *check_table(const struct tables *t, uint64_t entry)
{
    return entry & ADDRESS & ((1ull << t->lg2) - 1) ? "a table that is not aligned" : NULL;
}

bool walk(const struct machine *m, uint32_t sid, unsigned granule_lg2, uint64_t iova,
          struct walk *out)
{
    struct tables t;
    uint64_t table;

    out->bad = find_tables(m, sid, &t);
    if (!out->bad && t.lg2 != granule_lg2)
        out->bad = "the tables have another granule";
    if (out->bad || iova >> t.va_bits)
        return false;
    table = t.root;
    for (int level = t.levels - 1; level >= 0; level--) {
        const uint64_t index =
            iova >> span(&t, level) & (level == t.levels - 1 ? ~0ull : (1ull << (t.lg2 - 3)) - 1);
        const uint64_t at = table + 8 * index, entry = load(at);

        if (!(entry & 1) || (level == 0 && !(entry & 2)))
            return false;
        if (level == 0 || !(entry & 2)) {
            out->bad = check_leaf(&t, level, at, entry);
            out->entry = at;
            out->size = 1ull << span(&t, level);
            out->pa = (entry & ADDRESS) + (iova & (out->size - 1));
            out->write = t.stage == 1 ? !(entry >> 7 & 1) : entry >> 7 & 1;
            return !out->bad;
        }
        out->bad = check_table(&t, entry);
        if (out->bad)
            return false;
        table = entry & ADDRESS;
    }
    return false;
}

const char *walk_all(const struct machine *m, uint32_t sid, unsigned granule_lg2,
                     uint64_t *out_bytes)
{
    struct tables t;
    uint64_t table[4], next[4] = {0}, count;
    const char *bad = find_tables(m, sid, &t);
    int level;

    *out_bytes = 0;
    if (bad || t.lg2 != granule_lg2)
        return bad ? bad : "the tables have another granule";
    level = t.levels - 1;
    table[level] = t.root;
    while (level < t.levels && !bad) {
        count = level == t.levels - 1 ? 1ull << (t.va_bits - span(&t, level)) : 1ull << (t.lg2 - 3);
        if (next[level] == count) {
            next[level++] = 0;
            continue;
        }
        const uint64_t at = table[level] + 8 * next[level]++, entry = load(at);

        if (!(entry & 1))
            continue;
        if (level == 0 || !(entry & 2)) {
            bad = level == 0 && !(entry & 2) ? "a leaf of no known kind"
                                             : check_leaf(&t, level, at, entry);
            *out_bytes += 1ull << span(&t, level);
        } else {
            bad = check_table(&t, entry);
            table[--level] = entry & ADDRESS;
        }
    }
    return bad;
}
