/* SPDX-License-Identifier: MIT */
/* SMMUv3 model: streams, contexts, the walk and the device's accesses. */
#include "internal.h"

#define MODEL_PA_48 UINT64_C(0x0000ffffffffffff)
#define MODEL_PIECE 4096u

/* Events, IHI 0070 7.3 */
enum event {
    EVENT_BAD_STREAMID = 0x02,
    EVENT_STE_FETCH = 0x03,
    EVENT_BAD_STE = 0x04,
    EVENT_CD_FETCH = 0x09,
    EVENT_BAD_CD = 0x0a,
    EVENT_WALK_ABORT = 0x0b,
    EVENT_TRANSLATION = 0x10,
    EVENT_ADDR_SIZE = 0x11,
    EVENT_ACCESS = 0x12,
    EVENT_PERMISSION = 0x13,
    EVENT_NONE = 0,
    EVENT_SILENT = 0x100, /* refused, and nothing recorded */
};

/* How a stream translates, by its context descriptor, or by its stream table entry in stage 2. */
struct view {
    bool bypass;
    bool record;
    bool stage_2;
    bool ignore_af;
    uint32_t asid; /* or SMMUV3_MODEL_IPA */
    uint32_t vmid;
    unsigned bits;    /* of input address */
    unsigned granule; /* log2 */
    unsigned out;     /* bits of output address */
    unsigned top;     /* the level that a walk begins with */
    uint64_t ttb;
    uint64_t mair;
};

static const uint8_t granules[] = {12, 16, 14, 0};
static const uint8_t sizes[] = {32, 36, 40, 42, 44, 48, 52, 0};

static uint64_t bits(uint64_t word, unsigned hi, unsigned lo)
{
    return smmuv3_model_bits(word, hi, lo);
}

static bool coherent(const struct smmuv3_model *m)
{
    return bits(m->config.idr0, 4, 4);
}

/* ---- streams and contexts: 5.1, 5.2, 5.4 ---- */

static bool two_levels(const struct smmuv3_model *m)
{
    return bits(smmuv3_model_reg(m, SMMUV3_MODEL_STRTAB_CFG), 17, 16) == 1;
}

static bool fetch_struct(struct smmuv3_model *m, struct smmuv3_model_struct *slot, uint32_t number,
                         uint64_t pa, unsigned words)
{
    slot->live = false;
    slot->number = number;
    for (unsigned i = 0; i < words; i++)
        if (!smmuv3_model_fetch(m, pa + 8 * i, &slot->word[i]))
            return false;
    return true;
}

static enum event find_ste(struct smmuv3_model *m, uint32_t sid,
                           const struct smmuv3_model_struct **out)
{
    uint32_t cfg = smmuv3_model_reg(m, SMMUV3_MODEL_STRTAB_CFG);
    struct smmuv3_model_struct *slot = &m->ste[sid % SMMUV3_MODEL_CONFIGS];
    uint64_t table = smmuv3_model_reg64(m, SMMUV3_MODEL_STRTAB_BASE) & MODEL_PA_48 & ~UINT64_C(63);
    uint32_t index = sid;

    *out = slot;
    if (slot->live && slot->number == sid)
        return EVENT_NONE;
    if ((uint64_t)sid >> (cfg & 0x3f))
        return EVENT_BAD_STREAMID;
    if (two_levels(m)) {
        uint32_t upper = sid >> smmuv3_model_split(m);
        struct smmuv3_model_struct *l1 = &m->l1[upper % SMMUV3_MODEL_CONFIGS];

        if (!l1->live || l1->number != upper) {
            if (!fetch_struct(m, l1, upper, table + 8 * upper, 1))
                return EVENT_STE_FETCH;
            l1->live = (l1->word[0] & 31) != 0;
        }
        index = sid & ((UINT32_C(1) << smmuv3_model_split(m)) - 1);
        if (!(l1->word[0] & 31) || index >> ((l1->word[0] & 31) - 1))
            return EVENT_BAD_STREAMID;
        table = l1->word[0] & MODEL_PA_48 & ~UINT64_C(63);
    }
    if (!fetch_struct(m, slot, sid, table + 64 * index, SMMUV3_MODEL_WORDS))
        return EVENT_STE_FETCH;
    slot->live = slot->word[0] & 1;
    return EVENT_NONE;
}

/* Is a stream table entry valid, and does it ask for nothing that is not modelled? */
static bool ste_ok(struct smmuv3_model *m, const uint64_t *ste)
{
    unsigned config = (unsigned)bits(ste[0], 3, 1);

    if (!(ste[0] & 1) || config == 7) /* 7: both stages, not modelled */
        return false;
    if (config == 6)
        return m->config.idr0 & SMMUV3_MODEL_STAGE_2;
    if (config != 5)
        return true;
    if (!(m->config.idr0 & SMMUV3_MODEL_STAGE_1) || bits(ste[0], 63, 59) ||
        bits(ste[1], 31, 28)) /* substreams; ATS, other worlds */
        return false;
    if (coherent(m) && (!bits(ste[1], 3, 2) || !bits(ste[1], 5, 4) || bits(ste[1], 7, 6) != 3))
        m->stats.misuse++; /* context descriptors would be read past the caches */
    return true;
}

/* log2 of the bytes that an entry of a level spans. */
static unsigned span(const struct view *v, unsigned level)
{
    return v->granule + (3 - level) * (v->granule - 3);
}

static unsigned first_level(const struct view *v)
{
    unsigned level = 3;

    while (span(v, level) + v->granule - 3 < v->bits)
        level--;
    return level;
}

static bool granule_ok(const struct smmuv3_model *m, unsigned granule)
{
    return bits(m->config.idr5, 6, 4) >> (granule - 12) / 2 & 1;
}

static bool cd_ok(struct smmuv3_model *m, const uint64_t *cd, struct view *v)
{
    unsigned t0sz = (unsigned)bits(cd[0], 5, 0);
    unsigned oas = sizes[bits(m->config.idr5, 2, 0)];
    uint64_t reserved =
        UINT64_C(1) << 14 | UINT64_C(1) << 15 | UINT64_C(7) << 42; /* EPD0 ENDI HD HA S */

    v->granule = granules[bits(cd[0], 7, 6)];
    v->bits = 64 - t0sz;
    v->out = sizes[bits(cd[0], 34, 32)];
    v->out = v->out < oas ? v->out : oas;
    v->record = bits(cd[0], 45, 45);
    v->asid = (uint32_t)bits(cd[0], 63, 48);
    v->ttb = cd[1] & MODEL_PA_48 & ~UINT64_C(15);
    v->mair = cd[3];
    if (!bits(cd[0], 31, 31) || !bits(cd[0], 41, 41) || cd[0] & reserved || !bits(cd[0], 30, 30) ||
        t0sz < 16 || t0sz > 39 || !v->granule || !granule_ok(m, v->granule) || v->ttb >> v->out)
        return false;
    if (bits(m->config.idr0, 26, 26) && !bits(cd[0], 46, 46)) /* TERM_MODEL: A has to be 1 */
        return false;
    if (!bits(m->config.idr0, 12, 12) && v->asid >> 8)
        return false;
    if (coherent(m) && (!bits(cd[0], 9, 8) || !bits(cd[0], 11, 10) || bits(cd[0], 13, 12) != 3))
        m->stats.misuse++; /* tables would be read past the caches */
    v->top = first_level(v);
    return true;
}

/*
 * May a walk of stage 2 begin at the level that S2SL0 names (Arm ARM D8.2)? The lowest-numbered
 * level of each granule exists only with wide PAs. The level has one table, or up to 16 side by
 * side, and the input address selects among at least two of its entries.
 */
static bool start_ok(struct view *v, unsigned sl0, unsigned oas)
{
    unsigned deepest = v->granule == 12 ? 2 : 3;

    if (sl0 > 2 || (sl0 == 2 && oas < (v->granule == 14 ? 42u : 44u)))
        return false;
    v->top = deepest - sl0;
    return v->bits > span(v, v->top) && v->bits <= span(v, v->top) + v->granule - 3 + 4;
}

/* 5.2: what an entry says of stage 2. */
static bool stage_2_ok(struct smmuv3_model *m, const uint64_t *ste, struct view *v)
{
    unsigned t0sz = (unsigned)bits(ste[2], 37, 32);
    unsigned oas = sizes[bits(m->config.idr5, 2, 0)];
    /* S2ENDI, S2HD, S2HA, S2S, and what is for other worlds */
    uint64_t reserved = UINT64_C(1) << 52 | UINT64_C(7) << 55 | UINT64_C(31) << 59;

    *v = (struct view){.stage_2 = true, .asid = SMMUV3_MODEL_IPA};
    v->granule = granules[bits(ste[2], 47, 46)];
    v->bits = 64 - t0sz;
    v->out = sizes[bits(ste[2], 50, 48)];
    v->out = v->out < oas ? v->out : oas;
    v->record = bits(ste[2], 58, 58);
    v->ignore_af = bits(ste[2], 53, 53);
    v->vmid = (uint32_t)bits(ste[2], 15, 0);
    v->ttb = ste[3] & MODEL_PA_48 & ~UINT64_C(15);
    if (!bits(ste[2], 51, 51) || ste[2] & reserved || t0sz > 39 || !v->granule ||
        !granule_ok(m, v->granule) || v->bits > v->out || v->ttb >> v->out ||
        !start_ok(v, (unsigned)bits(ste[2], 39, 38), oas))
        return false;
    if (!bits(m->config.idr0, 18, 18) && v->vmid >> 8)
        return false;
    if (coherent(m) &&
        (!bits(ste[2], 41, 40) || !bits(ste[2], 43, 42) || bits(ste[2], 45, 44) != 3))
        m->stats.misuse++; /* tables would be read past the caches */
    return true;
}

static enum event find_cd(struct smmuv3_model *m, uint32_t sid, uint64_t pa,
                          const struct smmuv3_model_struct **out)
{
    struct smmuv3_model_struct *slot = &m->cd[sid % SMMUV3_MODEL_CONFIGS];

    *out = slot;
    if (slot->live && slot->number == sid)
        return EVENT_NONE;
    if (!fetch_struct(m, slot, sid, pa, SMMUV3_MODEL_WORDS))
        return EVENT_CD_FETCH;
    slot->live = bits(slot->word[0], 31, 31);
    return EVENT_NONE;
}

/* 3.4 and 5.2: what becomes of the stream's accesses. */
static enum event resolve(struct smmuv3_model *m, uint32_t sid, struct view *v)
{
    const struct smmuv3_model_struct *ste;
    const struct smmuv3_model_struct *cd;
    enum event event = find_ste(m, sid, &ste);

    *v = (struct view){.record = true};
    if (event != EVENT_NONE)
        return event;
    if (!ste_ok(m, ste->word))
        return EVENT_BAD_STE;
    if (!bits(ste->word[0], 3, 3))
        return EVENT_SILENT;
    if (bits(ste->word[0], 2, 2))
        return stage_2_ok(m, ste->word, v) ? EVENT_NONE : EVENT_BAD_STE;
    v->bypass = !bits(ste->word[0], 1, 1);
    if (v->bypass)
        return EVENT_NONE;
    if (m->config.idr0 & SMMUV3_MODEL_STAGE_2) /* then VMIDs tag entries of stage 1 as well */
        v->vmid = (uint32_t)bits(ste->word[2], 15, 0);
    event = find_cd(m, sid, ste->word[0] & MODEL_PA_48 & ~UINT64_C(63), &cd);
    if (event != EVENT_NONE)
        return event;
    return cd_ok(m, cd->word, v) ? EVENT_NONE : EVENT_BAD_CD;
}

/* ---- the walk: Arm ARM D8 ---- */

static bool block_allowed(const struct view *v, unsigned level)
{
    return level == 2 || (level == 1 && v->granule == 12);
}

/* log2 of the entries of a contiguous group. */
static unsigned group(const struct view *v, unsigned level)
{
    return v->granule == 12 ? 4 : v->granule == 14 && level == 3 ? 7 : 5;
}

static uint64_t low_mask(unsigned n)
{
    return (UINT64_C(1) << n) - 1;
}

/* A slot for a leaf or its contiguous group. A leaf that hardware must not be given is misuse. */
static struct smmuv3_model_slot leaf_slot(struct smmuv3_model *m, const struct view *v, uint64_t va,
                                          unsigned level, uint64_t entry)
{
    unsigned lg2 = span(v, level);

    m->stats.misuse += (entry & MODEL_PA_48 & low_mask(lg2) & ~UINT64_C(0xfff)) != 0;
    if (v->stage_2) /* MemAttr without an inner part; XN[0] and nG are stage 1's */
        m->stats.misuse +=
            (bits(entry, 5, 4) && !bits(entry, 3, 2)) || bits(entry, 53, 53) || bits(entry, 11, 11);
    else
        m->stats.misuse += !(v->mair >> 8 * bits(entry, 4, 2) & 0xff);
    if (bits(entry, 52, 52)) {
        uint64_t in = low_mask(lg2 + group(v, level));

        m->stats.misuse += ((entry ^ va) & in & ~low_mask(lg2)) != 0;
        entry &= ~(in & ~UINT64_C(0xfff));
        lg2 += group(v, level);
    }
    return (struct smmuv3_model_slot){
        .key = va >> lg2,
        .entry = entry,
        .asid = v->stage_2 || bits(entry, 11, 11) ? v->asid : SMMUV3_MODEL_GLOBAL,
        .vmid = v->vmid,
        .lg2 = (uint8_t)lg2,
        .level = (uint8_t)level,
        .granule = (uint8_t)v->granule,
    };
}

/* Walk from the lowest level that is cached, or else from the root, down to the leaf. */
static enum event walk(struct smmuv3_model *m, const struct view *v, uint64_t va,
                       struct smmuv3_model_slot *out)
{
    unsigned top = v->top;
    unsigned level = 2;
    uint64_t table = v->ttb;
    const struct smmuv3_model_slot *cached = NULL;

    for (; level + 1 > top && !cached; level--)
        cached =
            smmuv3_model_cache_find(m, &m->walks, va, span(v, level), v->granule, v->asid, v->vmid);
    level = top;
    if (cached) {
        table = cached->entry & MODEL_PA_48 & ~low_mask(v->granule);
        level = cached->level + 1u;
    } else {
        unsigned root = v->bits - span(v, top) + 3;

        m->stats.misuse += (table & low_mask(root < 6 ? 6 : root)) != 0;
    }
    for (;; level++) {
        uint64_t in = level == top ? v->bits - span(v, level) : v->granule - 3;
        uint64_t index = va >> span(v, level) & low_mask((unsigned)in);
        uint64_t entry;

        if (!smmuv3_model_fetch(m, table + 8 * index, &entry))
            return EVENT_WALK_ABORT;
        if (!(entry & 1) || (!bits(entry, 1, 1) && !block_allowed(v, level)))
            return EVENT_TRANSLATION;
        if (level == 3 || !bits(entry, 1, 1)) {
            *out = leaf_slot(m, v, va, level, entry);
            smmuv3_model_cache_put(m, &m->tlb, *out);
            return EVENT_NONE;
        }
        m->stats.misuse += bits(entry, 63, 59) != 0; /* hierarchical permissions: not modelled */
        m->stats.misuse += (entry & MODEL_PA_48 & low_mask(v->granule) & ~UINT64_C(0xfff)) != 0;
        smmuv3_model_cache_put(m, &m->walks,
                               (struct smmuv3_model_slot){
                                   .key = va >> span(v, level),
                                   .entry = entry,
                                   .asid = v->asid,
                                   .vmid = v->vmid,
                                   .lg2 = (uint8_t)span(v, level),
                                   .level = (uint8_t)level,
                                   .granule = (uint8_t)v->granule,
                               });
        table = entry & MODEL_PA_48 & ~low_mask(v->granule);
    }
}

static const struct smmuv3_model_slot *find_leaf(struct smmuv3_model *m, const struct view *v,
                                                 uint64_t va)
{
    for (unsigned level = 3; level > 0; level--) {
        for (unsigned grouped = 0; grouped < 2; grouped++) {
            unsigned lg2 = span(v, level) + (grouped ? group(v, level) : 0);
            const struct smmuv3_model_slot *slot =
                smmuv3_model_cache_find(m, &m->tlb, va, lg2, v->granule, v->asid, v->vmid);

            if (!slot)
                slot = smmuv3_model_cache_find(m, &m->tlb, va, lg2, v->granule, SMMUV3_MODEL_GLOBAL,
                                               v->vmid);
            if (slot)
                return slot;
        }
    }
    return NULL;
}

/*
 * Devices' accesses are unprivileged: AP[1] has to let them pass. S2AP has one bit for reads and
 * one bit for writes.
 */
static enum event check(const struct view *v, uint64_t entry, bool write)
{
    if ((entry & MODEL_PA_48 & ~UINT64_C(0xfff)) >> v->out)
        return EVENT_ADDR_SIZE;
    if (!bits(entry, 10, 10) && !v->ignore_af)
        return EVENT_ACCESS;
    if (v->stage_2)
        return bits(entry, write ? 7 : 6, write ? 7 : 6) ? EVENT_NONE : EVENT_PERMISSION;
    if (!bits(entry, 6, 6) || (write && bits(entry, 7, 7)))
        return EVENT_PERMISSION;
    return EVENT_NONE;
}

static void prefetch(struct smmuv3_model *m, const struct view *v, uint64_t va)
{
    struct smmuv3_model_slot leaf;

    if (va >> v->bits || find_leaf(m, v, va))
        return;
    m->stats.prefetches++;
    (void)walk(m, v, va, &leaf);
}

static bool enabled(const struct smmuv3_model *m)
{
    return smmuv3_model_reg(m, SMMUV3_MODEL_CR0ACK) & 1;
}

void smmuv3_model_prefetch(struct smmuv3_model *m, uint32_t sid, uint64_t iova)
{
    struct view v;

    smmuv3_model_settle(m);
    if (enabled(m) && resolve(m, sid, &v) == EVENT_NONE && !v.bypass)
        prefetch(m, &v, iova);
}

/*
 * Now and then prefetch a page nearby, or a page below a neighbouring upper entry, and perhaps the
 * stream table entry of a neighbouring stream.
 */
static void prefetch_some(struct smmuv3_model *m, uint32_t sid, const struct view *v, uint64_t va)
{
    uint32_t dice;
    uint64_t distance;
    const struct smmuv3_model_struct *ste;

    if (!m->config.host->random)
        return;
    dice = smmuv3_model_chance(m);
    if (dice & 7)
        return;
    distance = (uint64_t)(1 + (dice >> 3 & 3))
               << (v->granule + (dice >> 5 & 1 ? v->granule - 3 : 0));
    prefetch(m, v, dice >> 6 & 1 ? va + distance : va - distance);
    if (dice >> 7 & 1)
        (void)find_ste(m, sid ^ 1, &ste);
}

/* ---- accesses ---- */

static void report(struct smmuv3_model *m, uint32_t sid, const struct view *v, uint64_t iova,
                   bool write, enum event event)
{
    uint64_t record[4] = {(uint64_t)event | (uint64_t)sid << 32};

    m->stats.faults++;
    /* CD.R, or S2R, decides only about faults of the translation itself: 5.4. */
    if (event == EVENT_SILENT || (!v->record && event >= EVENT_WALK_ABORT))
        return;
    if (event == EVENT_BAD_STREAMID && !(smmuv3_model_reg(m, SMMUV3_MODEL_CR2) & 2))
        return;
    if (event >= EVENT_TRANSLATION || event == EVENT_WALK_ABORT) {
        record[1] = (write ? 0 : UINT64_C(1) << 35) | UINT64_C(2) << 40;
        record[2] = iova;
        if (v->stage_2) {
            record[1] |= UINT64_C(1) << 39;
            record[3] = iova & UINT64_C(0x000ffffffffff000);
        }
    }
    smmuv3_model_event(m, record);
}

static enum event translate(struct smmuv3_model *m, uint32_t sid, const struct view *v,
                            uint64_t iova, bool write, uint64_t *out_pa)
{
    const struct smmuv3_model_slot *slot;
    struct smmuv3_model_slot leaf;
    enum event event;

    if (iova >> v->bits)
        return EVENT_TRANSLATION;
    slot = find_leaf(m, v, iova);
    if (slot) {
        m->stats.hits++;
        leaf = *slot;
    } else {
        m->stats.misses++;
        event = walk(m, v, iova, &leaf);
        if (event != EVENT_NONE)
            return event;
    }
    event = check(v, leaf.entry, write);
    *out_pa = (leaf.entry & MODEL_PA_48 & ~low_mask(leaf.lg2)) | (iova & low_mask(leaf.lg2));
    prefetch_some(m, sid, v, iova);
    return event;
}

enum model_result smmuv3_model_translate(struct smmuv3_model *m, uint32_t sid, uint64_t iova,
                                         bool write, uint64_t len, uint64_t *out_pa)
{
    struct view v = {.record = true};
    enum event event = EVENT_NONE;
    uint64_t pa = iova;

    smmuv3_model_settle(m);
    if (!len || len > MODEL_PIECE - iova % MODEL_PIECE) {
        m->stats.misuse++;
        return MODEL_FAULT;
    }
    if (!enabled(m)) {
        if (bits(smmuv3_model_reg(m, SMMUV3_MODEL_GBPA), 20, 20))
            event = EVENT_SILENT;
    } else {
        event = resolve(m, sid, &v);
        if (event == EVENT_NONE && !v.bypass)
            event = translate(m, sid, &v, iova, write, &pa);
    }
    if (event != EVENT_NONE) {
        report(m, sid, &v, iova, write, event);
        return event == EVENT_WALK_ABORT || event == EVENT_STE_FETCH || event == EVENT_CD_FETCH
                   ? MODEL_BUS_ERROR
                   : MODEL_FAULT;
    }
    *out_pa = pa;
    return MODEL_OK;
}

enum model_result smmuv3_model_access(struct smmuv3_model *m, uint32_t sid, uint64_t iova,
                                      void *buf, uint64_t len, bool write, bool is_coherent,
                                      uint64_t *done)
{
    const struct model_host *host = m->config.host;
    enum model_result result = MODEL_OK;
    uint64_t total = 0;

    while (total < len && result == MODEL_OK) {
        uint64_t at = iova + total;
        uint64_t part = MODEL_PIECE - at % MODEL_PIECE;
        uint8_t *bytes = (uint8_t *)buf + total;
        uint64_t pa = 0;
        bool ok;

        if (part > len - total)
            part = len - total;
        result = smmuv3_model_translate(m, sid, at, write, part, &pa);
        if (result != MODEL_OK)
            break;
        ok = write ? host->mem_write(host->opaque, pa, bytes, (size_t)part, is_coherent)
                   : host->mem_read(host->opaque, pa, bytes, (size_t)part, is_coherent);
        if (!ok) {
            m->stats.bus_errors++;
            result = MODEL_BUS_ERROR;
        } else {
            total += part;
        }
    }
    if (done)
        *done = total;
    return result;
}
