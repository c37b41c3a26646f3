/* SPDX-License-Identifier: MIT */
/* DART model: the table walk and the device's accesses. */
#include "internal.h"

#define MODEL_REMAP_T8020 0x80u               /* DART.md 2: byte n = target of stream n */
#define MODEL_TCR_FOUR_LEVELS (1u << 3)       /* 3: t8110, not revision 1 */
#define MODEL_TCR_REMAP (1u << 7)             /* 3: t8110, target in 11:8 */
#define MODEL_ENTRY_VALID (UINT64_C(1) << 0)  /* 4: leaves and table entries */
#define MODEL_DART1_SP_DIS (UINT64_C(1) << 1) /* 4.1; in DART2 bit 1 is NO_CACHE */
#define MODEL_DART1_NO_READ (UINT64_C(1) << 8)
#define MODEL_DART1_NO_WRITE (UINT64_C(1) << 7)
#define MODEL_DART2_NO_READ (UINT64_C(1) << 3) /* 4.2 */
#define MODEL_DART2_NO_WRITE (UINT64_C(1) << 2)

/* Not a bit of ERROR: this code becomes number 14 in a record of revision 2.2 (5). */
#define MODEL_ILLEGAL_SID (1u << 31)

/* The key of an entry: its stream, its level, and the IOVA bits that the entry stands for. */
static uint64_t key_of(unsigned sid, unsigned level, uint64_t prefix)
{
    return prefix << 12 | (uint64_t)sid << 4 | level;
}

/* A stream after remapping, and the addresses its tables reach. */
struct view {
    unsigned sid;
    uint32_t tcr;
    unsigned levels; /* of tables in memory */
    unsigned bits;   /* of IOVA per level */
    uint64_t mask;   /* IOVA bits compared; those above are dropped (DART.md 4) */
};

/* DART.md 15: enabled, then remap. False: the access goes nowhere. */
static bool resolve(const struct dart_model *m, unsigned sid, struct view *v)
{
    const struct dart_model_layout *l = m->layout;
    unsigned reach;
    bool remapped;

    if (sid >= m->config.streams)
        return false;
    /* The second enable word of 64-stream parts is unknown (14, 2): those streams always pass. */
    if (l->enable && (l->t8110 || sid < 32) &&
        !(dart_model_reg(m, l->enable + sid / 32 * 4) >> (sid % 32) & 1))
        return false;
    v->sid = sid;
    remapped = l->t8110 && (dart_model_tcr(m, sid) & MODEL_TCR_REMAP);
    if (remapped)
        v->sid = dart_model_tcr(m, sid) >> 8 & 0xf;
    else if (!l->t8110 && !l->s5l8960x && sid < 16)
        v->sid = dart_model_reg(m, MODEL_REMAP_T8020 + sid / 4 * 4) >> (sid % 4 * 8) & 0xff;
    if (v->sid >= m->config.streams)
        return false;
    v->tcr = dart_model_tcr(m, v->sid);
    if (remapped && (v->tcr & MODEL_TCR_REMAP))
        return false; /* a single hop only (3) */
    v->levels =
        l->t8110 && m->config.revision >= 0x0200 && (v->tcr & MODEL_TCR_FOUR_LEVELS) ? 3 : 2;
    v->bits = m->config.page_bits - 3;
    reach = m->config.page_bits + v->levels * v->bits + (l->ttbrs == 4 ? 2 : 0);
    if (reach > m->config.va_bits)
        reach = m->config.va_bits;
    v->mask = (UINT64_C(1) << reach) - 1;
    return true;
}

bool dart_model_cached(const struct dart_model *m, unsigned sid, uint64_t iova, uint64_t *out_leaf)
{
    struct view v;

    if (!m->on || !resolve(m, sid, &v))
        return false;
    for (size_t i = 0; i < m->tlb.capacity; i++) {
        const struct dart_model_slot *slot = &m->tlb.slots[i];

        if (slot->gen && dart_model_is_live(&m->tlb, slot) &&
            slot->key == key_of(v.sid, 0, (iova & v.mask) >> m->config.page_bits)) {
            *out_leaf = slot->entry;
            return true;
        }
    }
    return false;
}

/* TRANSLATE and BYPASS both set are invalid, both clear block the stream (DART.md 2). */
static bool translates(const struct dart_model *m, const struct view *v)
{
    return (v->tcr & m->layout->translate) && !(v->tcr & m->layout->bypass);
}

static bool bypasses(const struct dart_model *m, const struct view *v)
{
    return (v->tcr & m->layout->bypass) && !(v->tcr & m->layout->translate) && m->config.bypass;
}

/*
 * DART.md 4.1 to 4.3: leaves and table entries place the address alike. DART1: PA[35:12] in
 * place. DART2: PA[41:14] at 37:10; for 4K pages PA[41:12] at 37:8, an assumption (no source).
 */
static uint64_t entry_pa(const struct dart_model *m, uint64_t entry)
{
    uint64_t pa = m->layout->dart2 ? entry << 4 & ((UINT64_C(1) << 42) - 1)
                                   : entry & ((UINT64_C(1) << 36) - 1);

    return pa >> m->config.page_bits << m->config.page_bits;
}

/* The top table of `iova`. */
static bool ttbr_pa(const struct dart_model *m, const struct view *v, uint64_t iova,
                    uint64_t *out_pa)
{
    const struct dart_model_layout *l = m->layout;
    uint32_t index =
        (uint32_t)(iova >> (m->config.page_bits + v->levels * v->bits)) & (l->ttbrs - 1);
    uint32_t ttbr = dart_model_reg(m, l->ttbr + 4 * (l->ttbrs * v->sid + index));

    if (l->t8110) {
        *out_pa = (uint64_t)(ttbr >> 2 & 0x0fffffff) << 14;
        return ttbr & 1;
    }
    *out_pa = (uint64_t)(ttbr & 0x7fffffff) << 12;
    return ttbr >> 31;
}

/* Walk from the lowest cached level, or else from the TTBR, down to the leaf; cache every step. */
static enum dart_model_fault walk(struct dart_model *m, const struct view *v, uint64_t iova,
                                  uint64_t *out_leaf)
{
    const struct model_host *host = m->config.host;
    unsigned page_bits = m->config.page_bits;
    uint64_t entry = 0, table;
    unsigned level = 1;

    while (level < v->levels &&
           !dart_model_cache_find(
               m, &m->walks, key_of(v->sid, level, iova >> (page_bits + level * v->bits)), &entry))
        level++;
    if (level == v->levels) {
        if (!ttbr_pa(m, v, iova, &table))
            return DART_MODEL_NO_TTBR;
    } else {
        if (!(entry & MODEL_ENTRY_VALID))
            return (enum dart_model_fault)level;
        table = entry_pa(m, entry);
    }
    for (;;) {
        uint64_t prefix, index;

        level--;
        prefix = iova >> (page_bits + level * v->bits);
        index = prefix & ((UINT64_C(1) << v->bits) - 1);
        m->stats.fetches++;
        if (!host->table_read64(host->opaque, table + 8 * index, &entry)) {
            m->stats.bad_fetches++;
            return DART_MODEL_FETCH;
        }
        dart_model_cache_put(m, level ? &m->walks : &m->tlb, key_of(v->sid, level, prefix), entry);
        if (!level)
            break;
        if (!(entry & MODEL_ENTRY_VALID))
            return (enum dart_model_fault)level;
        table = entry_pa(m, entry);
    }
    *out_leaf = entry;
    return DART_MODEL_NONE;
}

/* The leaf that a walk without caches finds now. Leaves caches and counters alone. */
static bool walk_anew(const struct dart_model *m, const struct view *v, uint64_t iova,
                      uint64_t *out_leaf)
{
    const struct model_host *host = m->config.host;
    uint64_t table;
    uint64_t entry = 0;

    if (!ttbr_pa(m, v, iova, &table))
        return false;
    for (unsigned level = v->levels; level--; table = entry_pa(m, entry)) {
        const uint64_t index = iova >> (m->config.page_bits + level * v->bits);

        if (!host->table_read64(host->opaque, table + 8 * (index & ((UINT64_C(1) << v->bits) - 1)),
                                &entry) ||
            !(entry & MODEL_ENTRY_VALID))
            return false;
    }
    *out_leaf = entry;
    return true;
}

/* An access is about to use a cached leaf: do the tables still map its IOVA to that page? */
static void watch_reuse(struct dart_model *m, const struct view *v, uint64_t iova, uint64_t leaf)
{
    uint64_t now;

    if (m->config.watch_reuse && (leaf & MODEL_ENTRY_VALID) && walk_anew(m, v, iova, &now))
        m->stats.reused += entry_pa(m, now) != entry_pa(m, leaf);
}

/* DART.md 15: valid, permission, sub-page window (4.4), in this order. */
static enum dart_model_fault check(const struct dart_model *m, uint64_t leaf, bool write,
                                   uint64_t offset, uint64_t len)
{
    bool dart2 = m->layout->dart2;
    uint64_t no_write = dart2 ? MODEL_DART2_NO_WRITE : MODEL_DART1_NO_WRITE;
    uint64_t no_read = dart2 ? MODEL_DART2_NO_READ : MODEL_DART1_NO_READ;
    unsigned unit = m->config.page_bits - 12;

    if (!(leaf & MODEL_ENTRY_VALID))
        return DART_MODEL_NO_LEAF;
    if (write && (leaf & no_write))
        return DART_MODEL_NO_WRITE;
    if (!write && (leaf & no_read))
        return DART_MODEL_NO_READ;
    if (!dart2 && (leaf & MODEL_DART1_SP_DIS))
        return DART_MODEL_NONE;
    if (offset >> unit < leaf >> 52 || (offset + len - 1) >> unit > (leaf >> 40 & 0xfff))
        return DART_MODEL_WINDOW;
    return DART_MODEL_NONE;
}

static void prefetch(struct dart_model *m, const struct view *v, uint64_t iova)
{
    uint64_t leaf;

    iova &= v->mask;
    if (dart_model_cache_find(m, &m->tlb, key_of(v->sid, 0, iova >> m->config.page_bits), &leaf))
        return;
    m->stats.prefetches++;
    (void)walk(m, v, iova, &leaf);
}

/* Now and then prefetch a page nearby, or a page below a neighbouring upper entry. */
static void prefetch_some(struct dart_model *m, const struct view *v, uint64_t iova)
{
    uint32_t dice;
    uint64_t distance;

    if (!m->config.host->random)
        return;
    dice = dart_model_chance(m);
    if (dice & 7)
        return;
    distance = (uint64_t)(1 + (dice >> 3 & 3))
               << (m->config.page_bits + (dice >> 5 & 1 ? v->bits : 0));
    prefetch(m, v, dice >> 6 & 1 ? iova + distance : iova - distance);
}

void dart_model_prefetch(struct dart_model *m, unsigned sid, uint64_t iova)
{
    struct view v;

    dart_model_settle(m);
    if (m->on && !m->busy && resolve(m, sid, &v) && translates(m, &v))
        prefetch(m, &v, iova);
}

static enum dart_model_fault lookup(struct dart_model *m, const struct view *v, uint64_t iova,
                                    bool write, uint64_t len, uint64_t *out_pa)
{
    uint64_t offset = iova & ((UINT64_C(1) << m->config.page_bits) - 1);
    enum dart_model_fault fault = DART_MODEL_NONE;
    uint64_t leaf = 0;

    iova &= v->mask;
    if (dart_model_cache_find(m, &m->tlb, key_of(v->sid, 0, iova >> m->config.page_bits), &leaf)) {
        m->stats.hits++;
        watch_reuse(m, v, iova, leaf);
    } else {
        m->stats.misses++;
        fault = walk(m, v, iova, &leaf);
    }
    if (fault == DART_MODEL_NONE)
        fault = check(m, leaf, write, offset, len);
    *out_pa = entry_pa(m, leaf) + offset;
    prefetch_some(m, v, iova);
    return fault;
}

/*
 * TCR bits 4:0 of the t8020 suppress the errors of the same numbers (DART.md 2). Errors name
 * the stream that made the access and the IOVA as it was given; after a remap, and above the bits
 * compared, what hardware shows is unknown.
 */
static void report(struct dart_model *m, const struct view *v, unsigned sid, uint64_t iova,
                   bool write, enum dart_model_fault fault)
{
    uint32_t code = m->layout->codes[fault];

    m->stats.faults++;
    if (m->layout->s5l8960x) /* DART.md 6: ERROR_ADDR has only the bits compared */
        iova &= v->mask;
    if (m->layout->t8110 || !(code & v->tcr & 0x1f))
        dart_model_latch(m, sid, iova, write, code);
}

static enum model_result deny(struct dart_model *m, unsigned sid, uint64_t iova, bool write)
{
    m->stats.faults++;
    if (sid >= m->config.streams && sid < MODEL_DART_STREAMS && dart_model_has_records(m))
        dart_model_latch(m, sid, iova, write, MODEL_ILLEGAL_SID);
    if (m->config.denied_code && sid < m->config.streams)
        dart_model_latch(m, sid, iova, write, m->config.denied_code);
    return MODEL_FAULT;
}

enum model_result dart_model_translate(struct dart_model *m, unsigned sid, uint64_t iova,
                                       bool write, uint64_t len, uint64_t *out_pa)
{
    uint64_t page = UINT64_C(1) << m->config.page_bits;
    enum dart_model_fault fault;
    uint64_t pa = iova;
    struct view v;

    dart_model_settle(m);
    if (!m->on) {
        m->stats.bus_errors++;
        return MODEL_BUS_ERROR;
    }
    if (m->busy && !m->config.serve_while_busy)
        return MODEL_STALLED;
    if (!len || len > page - (iova & (page - 1))) {
        m->stats.misuse++;
        return MODEL_FAULT;
    }
    if (m->error_locked) { /* until operation 4; what hardware does is unknown */
        m->stats.faults++;
        return MODEL_FAULT;
    }
    if (!resolve(m, sid, &v))
        return deny(m, sid, iova, write);
    if (translates(m, &v)) {
        fault = lookup(m, &v, iova, write, len, &pa);
        if (fault != DART_MODEL_NONE) {
            report(m, &v, sid, iova, write, fault);
            return fault == DART_MODEL_FETCH ? MODEL_BUS_ERROR : MODEL_FAULT;
        }
    } else if (!bypasses(m, &v)) {
        return deny(m, sid, iova, write);
    }
    if (pa >> m->config.pa_bits) {
        m->stats.bus_errors++;
        return MODEL_BUS_ERROR;
    }
    *out_pa = pa;
    return MODEL_OK;
}

enum model_result dart_model_access(struct dart_model *m, unsigned sid, uint64_t iova, void *buf,
                                    uint64_t len, bool write, bool coherent, uint64_t *done)
{
    const struct model_host *host = m->config.host;
    uint64_t page = UINT64_C(1) << m->config.page_bits;
    enum model_result result = MODEL_OK;
    uint64_t at = 0;

    while (at < len) {
        uint64_t room = page - ((iova + at) & (page - 1));
        uint64_t piece = len - at < room ? len - at : room;
        unsigned char *bytes = (unsigned char *)buf + at;
        uint64_t pa;

        result = dart_model_translate(m, sid, iova + at, write, piece, &pa);
        if (result != MODEL_OK)
            break;
        if (!(write ? host->mem_write(host->opaque, pa, bytes, (size_t)piece, coherent)
                    : host->mem_read(host->opaque, pa, bytes, (size_t)piece, coherent))) {
            m->stats.bus_errors++;
            result = MODEL_BUS_ERROR;
            break;
        }
        at += piece;
    }
    if (done)
        *done = at;
    return result;
}
