/* SPDX-License-Identifier: MIT */
/* DART model: the instance, its registers, invalidations and the error record. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* t8020, t6000: DART.md 2 */
#define MODEL_T8020_PARAMS1 0x00u
#define MODEL_T8020_PARAMS2 0x04u
#define MODEL_T8020_STREAM_COMMAND 0x20u
#define MODEL_T8020_OP (3u << 0)
#define MODEL_T8020_BUSY (1u << 2)
#define MODEL_T8020_SET0 (1u << 20)
#define MODEL_T8020_STREAM_SELECT 0x34u
#define MODEL_T8020_STREAM_SELECT_HI 0x38u
#define MODEL_T8020_ERROR 0x40u
#define MODEL_T8020_ERROR_ADDR 0x50u
#define MODEL_T8020_CONFIG 0x60u
#define MODEL_T8020_CONFIG_LOCK (1u << 15)
#define MODEL_T8020_STREAM_REMAP 0x80u
#define MODEL_T8020_ENABLED_STREAMS 0xfcu
#define MODEL_T8020_TCR 0x100u
#define MODEL_T8020_TTBR 0x200u
#define MODEL_USB4_TTBR 0x400u

/* t8110: DART.md 3 */
#define MODEL_T8110_PARAMS1 0x000u
#define MODEL_T8110_PARAMS2 0x004u
#define MODEL_T8110_PARAMS3 0x008u
#define MODEL_T8110_PARAMS4 0x00cu
#define MODEL_T8110_TLB_CMD 0x080u
#define MODEL_T8110_BUSY (1u << 31)
#define MODEL_T8110_FLUSH_RANGE (1u << 14) /* revision 2 */
#define MODEL_T8110_FLUSH_STT (1u << 13)   /* revision 2 */
#define MODEL_T8110_KEEP_STC (1u << 12)    /* revision 2 */
#define MODEL_T8110_RANGE_FIRST 0x098u
#define MODEL_T8110_RANGE_LAST 0x0a0u
#define MODEL_T8110_ERROR 0x100u
#define MODEL_T8110_ERROR_SECONDARY (1u << 19)
#define MODEL_T8110_ERROR_CODES 0x60047fffu /* bits 30, 29, 18, 14:0 */
#define MODEL_T8110_ERROR_MASK 0x104u
#define MODEL_T8110_ERROR_ADDR 0x170u
#define MODEL_T8110_ERROR_STREAMS 0x1c0u
#define MODEL_T8110_PROTECT 0x200u
#define MODEL_T8110_DIAG_LOCK 0x210u
#define MODEL_T8110_LOCK_ON_ERR (1u << 1)
#define MODEL_T8110_UNPROTECT 0x204u
#define MODEL_T8110_PROTECT_LOCK 0x208u
#define MODEL_T8110_ENABLE 0xc00u
#define MODEL_T8110_DISABLE 0xc20u
#define MODEL_T8110_TCR 0x1000u
#define MODEL_T8110_TTBR 0x1400u
#define MODEL_T8110_PENDING 0x4000u /* revision 2.2 */
#define MODEL_T8110_RECORD(sid) (0x8000u + (sid)*0x40u)
#define MODEL_T8110_RECORDS_END 0xc000u

/* s5l8960x: DART.md 6 */
#define MODEL_S5L_COMMAND 0x00u
#define MODEL_S5L_INVALIDATE (1u << 1)
#define MODEL_S5L_BUSY (1u << 3)
#define MODEL_S5L_TCR 0x0cu
#define MODEL_S5L_ERROR 0x10u
#define MODEL_S5L_ERROR_ADDR 0x1cu
#define MODEL_S5L_TTBR 0x40u

#define MODEL_ERROR_FLAG (1u << 31)
#define MODEL_PARAMS2_BYPASS (1u << 0)
#define MODEL_PARAMS2_LOCK (1u << 1)

/*
 * DART.md 5. Sub-page violations: bit 7 and bit 29 are assumptions, sources disagree.
 * Unreadable tables: the AXI decode error, bits 5 and 6.
 */
#define MODEL_T8020_LAYOUT                                                                         \
    .command = MODEL_T8020_STREAM_COMMAND, .busy = MODEL_T8020_BUSY, .error = MODEL_T8020_ERROR,   \
    .error_addr = MODEL_T8020_ERROR_ADDR, .error_addr_words = 2,                                   \
    .enable = MODEL_T8020_ENABLED_STREAMS, .tcr = MODEL_T8020_TCR, .tcr_bytes = 4,                 \
    .translate = 1u << 7, .bypass = 1u << 8, .ttbrs = 4, .error_sid = 24, .error_sid_mask = 0xf,   \
    .codes = {                                                                                     \
        [DART_MODEL_NO_TTBR] = 1u << 0, [DART_MODEL_NO_L1] = 1u << 1,                              \
        [DART_MODEL_NO_LEAF] = 1u << 2, [DART_MODEL_NO_WRITE] = 1u << 3,                           \
        [DART_MODEL_NO_READ] = 1u << 4, [DART_MODEL_FETCH] = 1u << 5,                              \
        [DART_MODEL_WINDOW] = 1u << 7,                                                             \
    }

static const struct dart_model_layout layouts[] = {
    [DART_MODEL_T8020] = {MODEL_T8020_LAYOUT, .ttbr = MODEL_T8020_TTBR, .max_streams = 16},
    [DART_MODEL_T8103_USB4] = {MODEL_T8020_LAYOUT, .ttbr = MODEL_USB4_TTBR, .max_streams = 64},
    [DART_MODEL_T6000] = {MODEL_T8020_LAYOUT, .ttbr = MODEL_T8020_TTBR, .max_streams = 16,
                          .dart2 = true},
    [DART_MODEL_T8110] =
        {
            .command = MODEL_T8110_TLB_CMD,
            .busy = MODEL_T8110_BUSY,
            .error = MODEL_T8110_ERROR,
            .error_addr = MODEL_T8110_ERROR_ADDR,
            .error_addr_words = 2,
            .enable = MODEL_T8110_ENABLE,
            .tcr = MODEL_T8110_TCR,
            .tcr_bytes = 4,
            .translate = 1u << 0,
            .bypass = 1u << 1,
            .ttbr = MODEL_T8110_TTBR,
            .ttbrs = 1,
            .max_streams = 256,
            .error_sid = 20,
            .error_sid_mask = 0xff,
            .error_write = 1u << 28,
            .codes =
                {
                    [DART_MODEL_NO_TTBR] = 1u << 0,
                    [DART_MODEL_NO_L0] = 1u << 1,
                    [DART_MODEL_NO_L1] = 1u << 2,
                    [DART_MODEL_NO_LEAF] = 1u << 3,
                    [DART_MODEL_NO_WRITE] = 1u << 4,
                    [DART_MODEL_NO_READ] = 1u << 5,
                    [DART_MODEL_FETCH] = 1u << 6,
                    [DART_MODEL_WINDOW] = 1u << 29,
                },
            .t8110 = true,
            .dart2 = true,
        },
    [DART_MODEL_S5L8960X] =
        {
            .command = MODEL_S5L_COMMAND,
            .busy = MODEL_S5L_BUSY,
            .error = MODEL_S5L_ERROR,
            .error_addr = MODEL_S5L_ERROR_ADDR,
            .error_addr_words = 1,
            .tcr = MODEL_S5L_TCR,
            .tcr_bytes = 1,
            .translate = 1u << 7,
            .ttbr = MODEL_S5L_TTBR,
            .ttbrs = 4,
            .max_streams = 4,
            .error_sid = 24,
            .error_sid_mask = 0x3,
            .codes =
                {
                    [DART_MODEL_NO_TTBR] = 1u << 0,
                    [DART_MODEL_NO_L1] = 1u << 1,
                    [DART_MODEL_NO_LEAF] = 1u << 2,
                    [DART_MODEL_NO_WRITE] = 1u << 3,
                    [DART_MODEL_NO_READ] = 1u << 4,
                    [DART_MODEL_FETCH] = 1u << 5,
                    [DART_MODEL_WINDOW] = 1u << 7,
                },
            .s5l8960x = true,
        },
};

/*
 * Revision 2.2 numbers its faults and names the level of an invalid entry. For each bit of ERROR:
 * the low half of a record's status. DART.md 5.
 */
static const struct {
    uint32_t error, status;
} numbers[] = {
    {1u << 0, 0x0000},  {1u << 1, 0x1000},  {1u << 2, 0x2000},  {1u << 3, 0x3000},
    {1u << 4, 0x0001},  {1u << 5, 0x0002},  {1u << 9, 0x0003},  {1u << 6, 0x0004},
    {1u << 7, 0x0005},  {1u << 18, 0x0006}, {1u << 29, 0x0007}, {1u << 8, 0x0008},
    {1u << 10, 0x0009}, {1u << 14, 0x000a}, {1u << 11, 0x000b}, {1u << 12, 0x000c},
    {1u << 13, 0x000d}, {1u << 31, 0x000e},
};

/* How stores to a register act. Registers without a rule keep what is written. */
enum action {
    STORE,   /* bits of `mask` take the value, but bits of `sticky` are never cleared */
    CLEAR,   /* ones clear bits of the register `below` bytes below this one (0: of this one) */
    LATCH,   /* any store sets `mask`, for good */
    COMMAND, /* starts an invalidation */
};

struct rule {
    uint32_t first, last; /* offsets, inclusive */
    enum action action;
    uint32_t mask, sticky;
    uint32_t below;
    uint32_t guard; /* while any of guard_bits is set in this register, stores are dropped */
    uint32_t guard_bits;
    bool idle; /* stores while an invalidation is busy are ignored */
};

#define MODEL_READ_ONLY .action = STORE, .mask = 0
#define MODEL_ALL UINT32_MAX

/* DART.md 2: BUSY ignores stores; 9.1: the lock */
static const struct rule t8020_rules[] = {
    {0x00, 0x04, MODEL_READ_ONLY},
    {0x20, 0x20, COMMAND, .idle = true},
    {0x34, 0x38, STORE, .mask = MODEL_ALL, .idle = true},
    {0x40, 0x40, CLEAR, .below = 0},
    {0x50, 0x54, MODEL_READ_ONLY},
    {0x60, 0x60, STORE, .mask = MODEL_ALL, .sticky = MODEL_T8020_CONFIG_LOCK},
};

/* DART.md 3 */
static const struct rule t8110_rules[] = {
    {0x000, 0x014, MODEL_READ_ONLY},
    {0x080, 0x080, COMMAND, .idle = true},
    {0x084, 0x084, STORE, .mask = 0x00003f77},
    {0x100, 0x100, CLEAR, .below = 0},
    {0x170, 0x174, MODEL_READ_ONLY},
    {0x1c0, 0x1dc, CLEAR, .below = 0},
    {0x200, 0x200, STORE, .mask = 0x1f, .sticky = 0x1f},
    {0x204, 0x204, CLEAR, .below = 4, .guard = MODEL_T8110_PROTECT_LOCK, .guard_bits = MODEL_ALL},
    {0x208, 0x208, LATCH, .mask = 1},
    {0x20c, 0x20c, STORE, .mask = 0xff00001f},
    {0x210, 0x210, STORE, .mask = 0x3},
    {0x218, 0x218, STORE, .mask = 0x3ffffffc},
    {0x220, 0x220, STORE, .mask = 0x000f0f0f},
    {0x224, 0x224, STORE, .mask = 0x00ffffff},
    {0x228, 0x228, STORE, .mask = 0x3f3f3f3f},
    {0x22c, 0x22c, STORE, .mask = 0x07070707},
    {0x230, 0x23c, MODEL_READ_ONLY},
    {0x400, 0x400, STORE, .mask = 0x3, .guard = MODEL_T8110_PROTECT, .guard_bits = 1u << 1},
    {0x404, 0x404, STORE, .mask = 0x1fffff, .guard = MODEL_T8110_PROTECT, .guard_bits = 1u << 1},
    {0x408, 0x408, STORE, .mask = 0xfffffc, .guard = MODEL_T8110_PROTECT, .guard_bits = 1u << 1},
    {0x410, 0x410, STORE, .mask = 0x3ffffffc, .guard = MODEL_T8110_PROTECT, .guard_bits = 1u << 1},
    {0x500, 0x500, STORE, .mask = 0x7, .guard = MODEL_T8110_PROTECT, .guard_bits = 1u << 3},
    {0x504, 0x504, STORE, .mask = 0x1, .guard = MODEL_T8110_PROTECT, .guard_bits = 1u << 4},
    {0xc00, 0xc1c, STORE, .mask = MODEL_ALL, .sticky = MODEL_ALL},
    {0xc20, 0xc3c, CLEAR, .below = 0x20},
};

/* DART.md 3, at the end: revision 2.2 */
static const struct rule t8110_record_rules[] = {
    {MODEL_T8110_PENDING, MODEL_T8110_PENDING + 0x1c, CLEAR, .below = 0},
    {MODEL_T8110_RECORD(0), MODEL_T8110_RECORDS_END - 4, MODEL_READ_ONLY},
};

/* DART.md 6; that BUSY ignores stores is taken from the other layouts */
static const struct rule s5l8960x_rules[] = {
    {MODEL_S5L_COMMAND, MODEL_S5L_COMMAND, COMMAND, .idle = true},
    {MODEL_S5L_ERROR, MODEL_S5L_ERROR, CLEAR, .below = 0},
    {MODEL_S5L_ERROR_ADDR, MODEL_S5L_ERROR_ADDR, MODEL_READ_ONLY},
};

/* TCR and TTBR of every stream, and anything without a rule of its own */
static const struct rule t8020_stream_rule = {.action = STORE,
                                              .mask = MODEL_ALL,
                                              .guard = MODEL_T8020_CONFIG,
                                              .guard_bits = MODEL_T8020_CONFIG_LOCK};
static const struct rule t8110_stream_rule = {
    .action = STORE, .mask = MODEL_ALL, .guard = MODEL_T8110_PROTECT, .guard_bits = 1u << 0};
static const struct rule plain_rule = {.action = STORE, .mask = MODEL_ALL};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static const struct rule *search(const struct rule *rules, size_t n, uint32_t off)
{
    for (size_t i = 0; i < n; i++)
        if (off >= rules[i].first && off <= rules[i].last)
            return &rules[i];
    return NULL;
}

static const struct rule *find_rule(const struct dart_model *m, uint32_t off)
{
    const struct dart_model_layout *l = m->layout;
    const struct rule *found = NULL;

    if (l->s5l8960x)
        found = search(s5l8960x_rules, COUNT(s5l8960x_rules), off);
    else if (off - l->tcr < 4 * l->max_streams || off - l->ttbr < 4 * l->ttbrs * l->max_streams)
        found = l->t8110 ? &t8110_stream_rule : &t8020_stream_rule;
    else if (!l->t8110)
        found = search(t8020_rules, COUNT(t8020_rules), off);
    else
        found = search(t8110_rules, COUNT(t8110_rules), off);
    if (!found && dart_model_has_records(m))
        found = search(t8110_record_rules, COUNT(t8110_record_rules), off);
    return found ? found : &plain_rule;
}

bool dart_model_has_records(const struct dart_model *m)
{
    return m->layout->t8110 && m->config.revision >= 0x0202;
}

static bool any_pending(const struct dart_model *m)
{
    uint32_t any = 0;

    for (uint32_t i = 0; i < 8; i++)
        any |= dart_model_reg(m, MODEL_T8110_PENDING + 4 * i);
    return any != 0;
}

/*
 * DART.md 15: level = FLAG && !mask. Streams left in ERROR_STREAMS interrupt again (5). It is an
 * assumption that bit 31 of the mask is for all records of revision 2.2.
 */
static void update_irq(struct dart_model *m)
{
    const struct dart_model_layout *l = m->layout;
    uint32_t error = dart_model_reg(m, l->error);
    uint32_t mask = 0;
    bool level = (error & MODEL_ERROR_FLAG) != 0;

    if (dart_model_has_records(m)) {
        mask = dart_model_reg(m, MODEL_T8110_ERROR_MASK);
        level = any_pending(m) && !(mask & MODEL_ERROR_FLAG);
    } else if (l->t8110) {
        mask = dart_model_reg(m, MODEL_T8110_ERROR_MASK);
        level = level && !(mask & error & (MODEL_ERROR_FLAG | MODEL_T8110_ERROR_CODES));
        for (uint32_t i = 0; i < 8; i++)
            if (dart_model_reg(m, MODEL_T8110_ERROR_STREAMS + 4 * i) &&
                !(mask & (MODEL_ERROR_FLAG | MODEL_T8110_ERROR_SECONDARY)))
                level = true;
    }
    if (level == m->irq)
        return;
    m->irq = level;
    if (m->config.host->irq)
        m->config.host->irq(m->config.host->opaque, m->config.irq_cookie, level);
}

/* A record keeps the first fault of its stream. */
static void latch_record(struct dart_model *m, unsigned sid, uint64_t iova, bool write,
                         uint32_t code)
{
    uint32_t *record = &m->regs[MODEL_T8110_RECORD(sid) / 4];
    uint32_t *pending = &m->regs[(MODEL_T8110_PENDING + sid / 32 * 4) / 4];

    if (*pending >> (sid % 32) & 1) {
        m->stats.lost++;
        return;
    }
    *pending |= 1u << (sid % 32);
    record[0] = write ? 0x100 : 0;
    for (size_t i = 0; i < COUNT(numbers); i++)
        if (code & numbers[i].error)
            record[0] |= numbers[i].status;
    record[2] = (uint32_t)iova;
    record[3] = (uint32_t)(iova >> 32);
}

/* DART.md 5 and 15: ERROR keeps the first fault; of later faults a t8110 keeps the stream. */
void dart_model_latch(struct dart_model *m, unsigned sid, uint64_t iova, bool write, uint32_t code)
{
    const struct dart_model_layout *l = m->layout;
    uint32_t *error = &m->regs[l->error / 4];

    if (l->t8110 && m->config.revision >= 0x0200 &&
        (dart_model_reg(m, MODEL_T8110_DIAG_LOCK) & MODEL_T8110_LOCK_ON_ERR))
        m->error_locked = true;
    if (dart_model_has_records(m)) {
        latch_record(m, sid, iova, write, code);
    } else if (*error & MODEL_ERROR_FLAG) {
        m->stats.lost++;
        if (l->t8110) {
            *error |= MODEL_T8110_ERROR_SECONDARY;
            m->regs[MODEL_T8110_ERROR_STREAMS / 4 + sid / 32] |= 1u << (sid % 32);
        }
    } else {
        *error = MODEL_ERROR_FLAG | (sid & l->error_sid_mask) << l->error_sid | code;
        if (write)
            *error |= l->error_write;
        m->regs[l->error_addr / 4] = (uint32_t)iova;
        if (l->error_addr_words == 2)
            m->regs[l->error_addr / 4 + 1] = (uint32_t)(iova >> 32);
    }
    update_irq(m);
}

void dart_model_settle(struct dart_model *m)
{
    const struct model_host *host = m->config.host;

    if (!m->busy || m->stuck || host->now_ns(host->opaque) - m->busy_since < m->busy_ns)
        return;
    m->busy = false;
    m->stats.invalidations++;
    m->error_locked = m->error_locked && !m->flush.unlock;
    for (unsigned sid = 0; m->layout->s5l8960x && sid < m->layout->max_streams; sid++) {
        if (!(dart_model_tcr(m, sid) & m->layout->translate))
            m->flush.streams[0] &= ~(UINT64_C(1) << sid); /* DART.md 6 */
    }
    dart_model_drop(m, &m->flush);
}

/* DART.md 6: a command is only for streams that translate. False: not a command. */
static bool decode_s5l8960x(const struct dart_model *m, uint32_t val, struct dart_model_flush *f)
{
    f->streams[0] = val >> 8 & 0xf;
    for (unsigned sid = 0; sid < m->layout->max_streams; sid++)
        if ((f->streams[0] >> sid & 1) && !(dart_model_tcr(m, sid) & m->layout->translate))
            return false;
    return val & MODEL_S5L_INVALIDATE;
}

/* DART.md 2: only "operation 0 on SID-set 0" is known. False: not a command. */
static bool decode_t8020(const struct dart_model *m, uint32_t val, struct dart_model_flush *f)
{
    f->streams[0] = dart_model_reg(m, MODEL_T8020_STREAM_SELECT) |
                    (uint64_t)dart_model_reg(m, MODEL_T8020_STREAM_SELECT_HI) << 32;
    return (val & MODEL_T8020_SET0) && !(val & MODEL_T8020_OP);
}

/* DART.md 3. It is an assumption that bit 13 makes a range flush drop entries above the leaves. */
static bool decode_t8110(const struct dart_model *m, uint32_t val, struct dart_model_flush *f)
{
    uint32_t op = val >> 8 & 7;
    uint32_t sid = val & 0xff;

    if (op == 0 || op == 4)
        memset(f->streams, 0xff, sizeof(f->streams));
    else if (op == 1)
        f->streams[sid / 64] = UINT64_C(1) << (sid % 64);
    if (m->config.revision >= 0x0200) {
        f->range = (val & MODEL_T8110_FLUSH_RANGE) != 0;
        f->walks = f->range ? (val & MODEL_T8110_FLUSH_STT) != 0 : !(val & MODEL_T8110_KEEP_STC);
        f->first = dart_model_reg(m, MODEL_T8110_RANGE_FIRST) >> 2;
        f->last = dart_model_reg(m, MODEL_T8110_RANGE_LAST) >> 2;
    }
    if (op == 4) { /* flush-unlock: not revision 1; after errors are acknowledged (5) */
        f->unlock = true;
        return m->config.revision >= 0x0200 && sid == 0 && !any_pending(m) &&
               !(dart_model_reg(m, MODEL_T8110_ERROR) & MODEL_ERROR_FLAG);
    }
    return op == 0 || (op == 1 && sid < m->config.streams);
}

static void command(struct dart_model *m, uint32_t val)
{
    const struct model_host *host = m->config.host;
    struct dart_model_flush f = {.walks = true};
    bool known;

    if (m->layout->t8110)
        m->regs[MODEL_T8110_TLB_CMD / 4] = val & ~MODEL_T8110_BUSY;
    if (m->layout->s5l8960x)
        known = decode_s5l8960x(m, val, &f);
    else
        known = (m->layout->t8110 ? decode_t8110 : decode_t8020)(m, val, &f);
    if (!known) {
        m->stats.misuse++;
        return;
    }
    m->flush = f;
    m->busy = true;
    m->busy_ns = m->delay_ns;
    m->busy_since = host->now_ns(host->opaque);
    dart_model_settle(m);
}

/* The register an access means, or NULL where nothing answers. */
static uint32_t *reach(struct dart_model *m, uint64_t off)
{
    if (!m->on || off % 4 || off > m->config.mmio_size - 4) {
        m->stats.misuse++;
        return NULL;
    }
    return &m->regs[off / 4];
}

uint32_t dart_model_read32(struct dart_model *m, uint64_t off)
{
    uint32_t *reg = reach(m, off);

    if (!reg)
        return 0;
    dart_model_settle(m);
    return *reg | (m->busy && off == m->layout->command ? m->layout->busy : 0);
}

void dart_model_write32(struct dart_model *m, uint64_t off, uint32_t val)
{
    uint32_t *reg = reach(m, off);
    const struct rule *rule;

    if (!reg)
        return;
    dart_model_settle(m);
    rule = find_rule(m, (uint32_t)off);
    if (rule->idle && m->busy) {
        m->stats.misuse++;
        return;
    }
    if (dart_model_reg(m, rule->guard) & rule->guard_bits) {
        m->stats.locked_writes++;
        return;
    }
    switch (rule->action) {
    case STORE:
        *reg = (*reg & (~rule->mask | rule->sticky)) | (val & rule->mask);
        break;
    case CLEAR:
        *(reg - rule->below / 4) &= ~val;
        break;
    case LATCH:
        *reg |= rule->mask;
        break;
    case COMMAND:
        command(m, val);
        break;
    }
    update_irq(m);
}

void dart_model_poke32(struct dart_model *m, uint64_t off, uint32_t val)
{
    uint32_t *reg = reach(m, off);

    if (!reg)
        return;
    *reg = val;
    update_irq(m);
}

static void reset(struct dart_model *m)
{
    const struct dart_model_config *c = &m->config;
    uint32_t params2 = MODEL_PARAMS2_LOCK | (c->bypass ? MODEL_PARAMS2_BYPASS : 0);

    memset(m->regs, 0, c->mmio_size);
    m->busy = false;
    m->error_locked = false;
    m->flush = (struct dart_model_flush){.walks = true};
    memset(m->flush.streams, 0xff, sizeof(m->flush.streams));
    dart_model_drop(m, &m->flush);
    if (m->layout->s5l8960x) {
        /* this layout has no PARAMS */
    } else if (!m->layout->t8110) {
        m->regs[MODEL_T8020_PARAMS1 / 4] = c->page_bits << 24;
        m->regs[MODEL_T8020_PARAMS2 / 4] = params2;
        for (uint32_t w = 0; w < 4; w++)
            m->regs[MODEL_T8020_STREAM_REMAP / 4 + w] = 0x03020100u + w * 0x04040404u;
    } else {
        m->regs[MODEL_T8110_PARAMS1 / 4] = c->page_bits << 24;
        m->regs[MODEL_T8110_PARAMS2 / 4] = params2;
        m->regs[MODEL_T8110_PARAMS3 / 4] = c->pa_bits << 24 | c->va_bits << 16 | c->revision;
        m->regs[MODEL_T8110_PARAMS4 / 4] = c->streams;
    }
    update_irq(m);
}

void dart_model_power(struct dart_model *m, bool on)
{
    reset(m);
    m->on = on;
}

void dart_model_set_busy(struct dart_model *m, uint64_t delay_ns, bool stuck)
{
    dart_model_settle(m);
    m->delay_ns = delay_ns;
    m->stuck = stuck;
}

const struct dart_model_stats *dart_model_stats(const struct dart_model *m)
{
    return &m->stats;
}

struct dart_model_config dart_model_defaults(enum dart_model_kind kind)
{
    bool usb4 = kind == DART_MODEL_T8103_USB4;
    bool t8110 = kind == DART_MODEL_T8110;
    bool s5l8960x = kind == DART_MODEL_S5L8960X;

    return (struct dart_model_config){
        .kind = kind,
        .mmio_size = 0x4000,
        .page_bits = s5l8960x ? 12 : 14,
        .va_bits = t8110 ? 36 : 32,
        .pa_bits = t8110 || kind == DART_MODEL_T6000 ? 42 : 36,
        .streams = usb4       ? 64
                   : s5l8960x ? 4
                              : 16,
        .revision = 0x0200,
        .bypass = !usb4 && !s5l8960x,
        .tlb_entries = 128,
        .walk_entries = 32,
    };
}

static uint32_t least_mmio(const struct dart_model_config *c)
{
    if (c->kind == DART_MODEL_S5L8960X)
        return 0x2000;
    return c->kind == DART_MODEL_T8110 && c->revision >= 0x0202 ? MODEL_T8110_RECORDS_END : 0x4000;
}

static bool config_ok(const struct dart_model_config *c)
{
    return (size_t)c->kind < COUNT(layouts) && c->host && c->mmio_size >= least_mmio(c) &&
           c->mmio_size % 4 == 0 && (c->kind != DART_MODEL_S5L8960X || c->page_bits == 12) &&
           (c->page_bits == 12 || c->page_bits == 14) && (c->pa_bits == 36 || c->pa_bits == 42) &&
           c->va_bits > c->page_bits && c->va_bits <= 47 && c->streams &&
           c->streams <= layouts[c->kind].max_streams && c->revision <= 0x0202 && c->tlb_entries &&
           c->walk_entries && (!c->random_replacement || c->host->random);
}

struct dart_model *dart_model_create(const struct dart_model_config *config)
{
    struct dart_model *m;

    if (!config_ok(config))
        return NULL;
    m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->config = *config;
    m->layout = &layouts[config->kind];
    m->regs = calloc(1, config->mmio_size);
    if (!m->regs || !dart_model_caches_init(m)) {
        dart_model_destroy(m);
        return NULL;
    }
    dart_model_power(m, true);
    if (config->locked && m->layout->t8110)
        m->regs[MODEL_T8110_PROTECT / 4] |= 1u << 0;
    else if (config->locked && !m->layout->s5l8960x)
        m->regs[MODEL_T8020_CONFIG / 4] |= MODEL_T8020_CONFIG_LOCK;
    return m;
}

void dart_model_destroy(struct dart_model *m)
{
    if (!m)
        return;
    dart_model_caches_free(m);
    free(m->regs);
    free(m);
}
