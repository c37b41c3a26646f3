/* SPDX-License-Identifier: MIT */
/* SMMUv3 model: registers and queues. Sections are those of IHI 0070. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#define MODEL_CMDQEN (1u << 3)
#define MODEL_EVENTQEN (1u << 2)
#define MODEL_SMMUEN (1u << 0)
#define MODEL_IRQ_CTRL 0x50u
#define MODEL_IRQ_CTRLACK 0x54u
#define MODEL_GERROR 0x60u
#define MODEL_GERRORN 0x64u
#define MODEL_GERROR_CMDQ (1u << 0)
#define MODEL_GERROR_EVENTQ_ABT (1u << 2)
#define MODEL_CMDQ_BASE 0x90u
#define MODEL_CMDQ_PROD 0x98u
#define MODEL_CMDQ_CONS 0x9cu
#define MODEL_EVENTQ_BASE 0xa0u
#define MODEL_EVENTQ_PROD 0x100a8u
#define MODEL_EVENTQ_CONS 0x100acu
#define MODEL_OVERFLOW (1u << 31)
#define MODEL_GBPA_UPDATE (1u << 31)
#define MODEL_QUEUE_MAX 19u /* log2 entries */
#define MODEL_PA_MASK UINT64_C(0x000fffffffffffff)

enum model_error { MODEL_NONE, MODEL_ILLEGAL, MODEL_ABORT };

bool smmuv3_model_fetch(struct smmuv3_model *m, uint64_t pa, uint64_t *out)
{
    const struct model_host *host = m->config.host;

    m->stats.fetches++;
    if (host->table_read64(host->opaque, pa, out))
        return true;
    m->stats.bad_fetches++;
    return false;
}

static void edge(const struct smmuv3_model *m, uint32_t enable)
{
    const struct model_host *host = m->config.host;

    if (host->irq && smmuv3_model_reg(m, MODEL_IRQ_CTRLACK) & enable)
        host->irq(host->opaque, m->config.irq_cookie, true);
}

/* 7.5: an error is active while its bits in GERROR and GERRORN differ. */
static uint32_t active_errors(const struct smmuv3_model *m)
{
    return smmuv3_model_reg(m, MODEL_GERROR) ^ smmuv3_model_reg(m, MODEL_GERRORN);
}

void smmuv3_model_raise(struct smmuv3_model *m, uint32_t errors)
{
    errors &= ~active_errors(m);
    m->regs[MODEL_GERROR / 4] ^= errors;
    if (errors)
        edge(m, 1u << 0);
}

/* ---- events: 7.2 to 7.4 ---- */

static uint32_t queue_lg2(const struct smmuv3_model *m, uint32_t base)
{
    uint32_t lg2 = smmuv3_model_reg(m, base) & 0x1f;

    return lg2 < MODEL_QUEUE_MAX ? lg2 : MODEL_QUEUE_MAX;
}

void smmuv3_model_event(struct smmuv3_model *m, const uint64_t record[4])
{
    const struct model_host *host = m->config.host;
    uint32_t lg2 = queue_lg2(m, MODEL_EVENTQ_BASE);
    uint32_t wrap = (2u << lg2) - 1;
    uint32_t *prod = &m->regs[MODEL_EVENTQ_PROD / 4];
    uint32_t cons = smmuv3_model_reg(m, MODEL_EVENTQ_CONS);
    uint32_t used = (*prod - cons) & wrap;
    uint64_t base = smmuv3_model_reg64(m, MODEL_EVENTQ_BASE) & MODEL_PA_MASK & ~UINT64_C(31);
    bool coherent = (m->config.idr0 >> 4 & 1) != 0;

    if (!(smmuv3_model_reg(m, SMMUV3_MODEL_CR0ACK) & MODEL_EVENTQEN)) {
        m->stats.lost++;
        return;
    }
    if (used >> lg2) { /* full: OVFLG is toggled, once until software acknowledges it */
        m->stats.lost++;
        if (!((*prod ^ cons) & MODEL_OVERFLOW))
            *prod ^= MODEL_OVERFLOW;
        return;
    }
    if (m->fail_events ||
        !host->mem_write(host->opaque, base + 32 * (*prod & (wrap >> 1)), record, 32, coherent)) {
        m->fail_events -= m->fail_events != 0;
        m->stats.lost++;
        smmuv3_model_raise(m, MODEL_GERROR_EVENTQ_ABT);
        return;
    }
    m->stats.events++;
    *prod = ((*prod + 1) & wrap) | (*prod & MODEL_OVERFLOW);
    if (!used) /* 7.2: from empty to not empty */
        edge(m, 1u << 2);
}

/* ---- commands: 4 and 7.1 ---- */

static void note_pending(struct smmuv3_model *m, const struct smmuv3_model_command *c)
{
    if (m->npending == m->pending_room) {
        m->pending_room = 2 * m->pending_room + 64;
        m->pending = realloc(m->pending, m->pending_room * sizeof(*m->pending));
        if (!m->pending)
            abort(); /* a model that lost commands in silence would fail sound drivers */
    }
    m->pending[m->npending++] = *c;
    m->stats.invalidations++;
}

/* 4.4.1.1: check the range fields, which exist only with IDR3.RIL. */
static enum model_error check_range(struct smmuv3_model *m, const struct smmuv3_model_command *c)
{
    bool ril = (m->config.idr3 >> 10 & 1) != 0;
    uint64_t num = smmuv3_model_bits(c->word[0], 16, 12);
    uint64_t scale = smmuv3_model_bits(c->word[0], 24, 20);
    uint64_t tg = smmuv3_model_bits(c->word[1], 11, 10);
    uint64_t ttl = smmuv3_model_bits(c->word[1], 9, 8);
    uint64_t granule_lg2 = 10 + 2 * tg;

    if (!ril) {
        m->stats.misuse += num || scale || tg || ttl;
        return MODEL_NONE;
    }
    if (!tg) {
        m->stats.misuse += num || scale || ttl;
        return MODEL_NONE;
    }
    m->stats.misuse += (c->word[1] & ((UINT64_C(1) << granule_lg2) - 1) & ~UINT64_C(0xfff)) != 0;
    return !num && !scale && !ttl ? MODEL_ILLEGAL : MODEL_NONE;
}

/* 4.3, 4.4: does the SMMU have the stage that a command is about? */
static bool has_stage(const struct smmuv3_model *m, const struct smmuv3_model_command *c)
{
    switch (c->word[0] & 0xff) {
    case 0x05:
    case 0x10:
    case 0x11:
    case 0x12:
        return m->config.idr0 & SMMUV3_MODEL_STAGE_1;
    case 0x28:
    case 0x2a:
        return m->config.idr0 & SMMUV3_MODEL_STAGE_2;
    default:
        return true;
    }
}

static enum model_error execute(struct smmuv3_model *m, const struct smmuv3_model_command *c)
{
    uint64_t sid_bits = smmuv3_model_bits(m->config.idr1, 5, 0);
    uint64_t sid = c->word[0] >> 32;
    bool asid16 = (m->config.idr0 >> 12 & 1) != 0;
    bool vmid16 = (m->config.idr0 >> 18 & 1) != 0;

    if (!has_stage(m, c))
        return MODEL_ILLEGAL;
    switch (c->word[0] & 0xff) {
    case 0x03: /* CMD_CFGI_STE */
    case 0x05: /* CMD_CFGI_CD */
        m->stats.misuse += sid >> sid_bits != 0;
        note_pending(m, c);
        return MODEL_NONE;
    case 0x04: /* CMD_CFGI_STE_RANGE, and ALL */
        note_pending(m, c);
        return MODEL_NONE;
    case 0x12: /* CMD_TLBI_NH_VA */
        if (check_range(m, c) != MODEL_NONE)
            return MODEL_ILLEGAL;
        __attribute__((fallthrough));
    case 0x11: /* CMD_TLBI_NH_ASID */
        m->stats.misuse += !asid16 && c->word[0] >> 56;
        note_pending(m, c);
        return MODEL_NONE;
    case 0x2a: /* CMD_TLBI_S2_IPA */
        if (check_range(m, c) != MODEL_NONE)
            return MODEL_ILLEGAL;
        __attribute__((fallthrough));
    case 0x28: /* CMD_TLBI_S12_VMALL */
        m->stats.misuse += !vmid16 && smmuv3_model_bits(c->word[0], 47, 40);
        note_pending(m, c);
        return MODEL_NONE;
    case 0x10: /* CMD_TLBI_NH_ALL */
    case 0x30: /* CMD_TLBI_NSNH_ALL */
        note_pending(m, c);
        return MODEL_NONE;
    case 0x46:                                                         /* CMD_SYNC */
        m->stats.misuse += smmuv3_model_bits(c->word[0], 13, 12) != 0; /* CS is not modelled */
        for (size_t i = 0; i < m->npending; i++)
            smmuv3_model_drop(m, &m->pending[i]);
        m->npending = 0;
        m->stats.syncs++;
        return MODEL_NONE;
    default:
        return MODEL_ILLEGAL;
    }
}

static enum model_error consume_one(struct smmuv3_model *m, uint64_t pa)
{
    struct smmuv3_model_command c;

    if (!smmuv3_model_fetch(m, pa, &c.word[0]) || !smmuv3_model_fetch(m, pa + 8, &c.word[1]))
        return MODEL_ABORT;
    if (m->refuse_in && !--m->refuse_in) {
        m->refused[0] = c.word[0];
        m->refused[1] = c.word[1];
        return (enum model_error)m->refuse_error;
    }
    if (m->refused[0] && m->refused[0] == c.word[0] && m->refused[1] == c.word[1] &&
        (c.word[0] & 0xff) != 0x46)
        return (enum model_error)m->refuse_error;
    m->refused[0] = 0;
    return m->lose ? MODEL_NONE : execute(m, &c);
}

static void consume(struct smmuv3_model *m)
{
    uint32_t lg2 = queue_lg2(m, MODEL_CMDQ_BASE);
    uint32_t wrap = (2u << lg2) - 1;
    uint64_t base = smmuv3_model_reg64(m, MODEL_CMDQ_BASE) & MODEL_PA_MASK & ~UINT64_C(31);
    uint32_t prod = smmuv3_model_reg(m, MODEL_CMDQ_PROD);
    uint32_t *cons = &m->regs[MODEL_CMDQ_CONS / 4];

    while (smmuv3_model_reg(m, SMMUV3_MODEL_CR0ACK) & MODEL_CMDQEN &&
           !(active_errors(m) & MODEL_GERROR_CMDQ) && (prod ^ *cons) & wrap) {
        enum model_error error = consume_one(m, base + 16 * (*cons & (wrap >> 1)));

        if (error != MODEL_NONE) { /* 7.1: CONS stays at the refused command */
            *cons = (*cons & wrap) | (uint32_t)error << 24;
            smmuv3_model_raise(m, MODEL_GERROR_CMDQ);
            return;
        }
        m->stats.commands++;
        *cons = ((*cons + 1) & wrap) | (*cons & 0x7f000000);
    }
}

void smmuv3_model_refuse(struct smmuv3_model *m, uint64_t n, unsigned error)
{
    m->refuse_in = n;
    m->refuse_error = error;
}

void smmuv3_model_lose(struct smmuv3_model *m, bool lose)
{
    m->lose = lose;
}

void smmuv3_model_fail_events(struct smmuv3_model *m, unsigned n)
{
    m->fail_events = n;
}

/* ---- registers: 6.3 ---- */

static bool is_due(const struct smmuv3_model *m, uint64_t since, unsigned stuck)
{
    const struct model_host *host = m->config.host;

    return !(m->stuck & stuck) && host->now_ns(host->opaque) - since >= m->delay_ns;
}

/* A coherent SMMU is misused if it is enabled with uncached accesses to its tables and queues. */
static void check_enabled(struct smmuv3_model *m)
{
    bool coherent = (m->config.idr0 >> 4 & 1) != 0;
    uint32_t cr1 = smmuv3_model_reg(m, SMMUV3_MODEL_CR1);

    if (coherent && (!(cr1 >> 8 & 3) || !(cr1 >> 6 & 3) || !(cr1 >> 2 & 3) || !(cr1 & 3)))
        m->stats.misuse++; /* it would read memory past the caches that hold the data */
}

void smmuv3_model_settle(struct smmuv3_model *m)
{
    uint32_t *ack = &m->regs[SMMUV3_MODEL_CR0ACK / 4];
    uint32_t cr0 = smmuv3_model_reg(m, SMMUV3_MODEL_CR0) & 0x1df;

    if (*ack != cr0 && is_due(m, m->acks_since, SMMUV3_MODEL_STUCK_CR0)) {
        if (cr0 & ~*ack)
            check_enabled(m);
        *ack = cr0;
    }
    if (is_due(m, m->acks_since, SMMUV3_MODEL_STUCK_IRQ))
        m->regs[MODEL_IRQ_CTRLACK / 4] = smmuv3_model_reg(m, MODEL_IRQ_CTRL) & 7;
    if (is_due(m, m->acks_since, SMMUV3_MODEL_STUCK_GBPA))
        m->regs[SMMUV3_MODEL_GBPA / 4] &= ~MODEL_GBPA_UPDATE;
    if (is_due(m, m->commands_since, SMMUV3_MODEL_STUCK_COMMANDS))
        consume(m);
}

void smmuv3_model_set_busy(struct smmuv3_model *m, uint64_t delay_ns, unsigned stuck)
{
    smmuv3_model_settle(m);
    m->delay_ns = delay_ns;
    m->stuck = stuck;
}

/* How a register may be written: `off` must be 0 in CR0 and in CR0ACK. */
static const struct rule {
    uint32_t first, last; /* offsets, inclusive */
    uint32_t mask;        /* bits that can be written */
    uint32_t off;         /* of CR0 */
} rules[] = {
    {0x00, 0x1f, 0, 0},
    {0x20, 0x20, 0x1df, 0},
    {0x24, 0x24, 0, 0},
    {0x28, 0x28, 0xfff, MODEL_CMDQEN | MODEL_EVENTQEN | MODEL_SMMUEN},
    {0x2c, 0x2c, 0x7, MODEL_SMMUEN},
    {0x44, 0x44, UINT32_MAX, 0},
    {0x50, 0x50, 0x7, 0},
    {0x54, 0x54, 0, 0},
    {0x60, 0x60, 0, 0},
    {0x64, 0x64, 0x1ff, 0},
    {0x68, 0x77, UINT32_MAX, 0},
    {0x80, 0x8b, UINT32_MAX, MODEL_SMMUEN},
    {0x90, 0x97, UINT32_MAX, MODEL_CMDQEN},
    {0x98, 0x98, 0xfffff, 0},
    {0x9c, 0x9c, 0xfffff, MODEL_CMDQEN},
    {0xa0, 0xa7, UINT32_MAX, MODEL_EVENTQEN},
    {0xb0, 0xbf, UINT32_MAX, 0},
    {0x100a8, 0x100a8, 0x800fffff, MODEL_EVENTQEN},
    {0x100ac, 0x100ac, 0x800fffff, 0},
};

static uint32_t *reach(struct smmuv3_model *m, uint64_t off, uint64_t size)
{
    if (off % size || off > m->config.mmio_size - size) {
        m->stats.misuse++;
        return NULL;
    }
    return &m->regs[off / 4];
}

uint32_t smmuv3_model_read32(struct smmuv3_model *m, uint64_t off)
{
    uint32_t *reg = reach(m, off, 4);

    if (!reg)
        return 0;
    smmuv3_model_settle(m);
    return *reg;
}

uint64_t smmuv3_model_read64(struct smmuv3_model *m, uint64_t off)
{
    uint32_t *reg = reach(m, off, 8);

    if (!reg)
        return 0;
    smmuv3_model_settle(m);
    return reg[0] | (uint64_t)reg[1] << 32;
}

static void write_one(struct smmuv3_model *m, uint32_t off, uint32_t val)
{
    const struct model_host *host = m->config.host;
    uint32_t cr0 = smmuv3_model_reg(m, SMMUV3_MODEL_CR0) | smmuv3_model_reg(m, SMMUV3_MODEL_CR0ACK);
    uint32_t *reg = &m->regs[off / 4];

    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        const struct rule *rule = &rules[i];

        if (off < rule->first || off > rule->last)
            continue;
        if (cr0 & rule->off || !rule->mask) {
            m->stats.misuse++;
            return;
        }
        if (off == SMMUV3_MODEL_GBPA && (*reg & MODEL_GBPA_UPDATE || !(val & MODEL_GBPA_UPDATE))) {
            m->stats.misuse++; /* 6.3.14: with Update set, and only while Update reads 0 */
            return;
        }
        if (off == MODEL_CMDQ_CONS && (*reg ^ val) & 0x7f000000)
            val &= ~0x7f000000u;
        *reg = val & rule->mask;
        if (off == MODEL_CMDQ_PROD)
            m->commands_since = host->now_ns(host->opaque);
        else if (off == SMMUV3_MODEL_CR0 || off == SMMUV3_MODEL_GBPA || off == MODEL_IRQ_CTRL)
            m->acks_since = host->now_ns(host->opaque);
        return;
    }
    m->stats.misuse++;
}

void smmuv3_model_write32(struct smmuv3_model *m, uint64_t off, uint32_t val)
{
    if (!reach(m, off, 4))
        return;
    smmuv3_model_settle(m);
    write_one(m, (uint32_t)off, val);
    smmuv3_model_settle(m);
}

void smmuv3_model_write64(struct smmuv3_model *m, uint64_t off, uint64_t val)
{
    if (!reach(m, off, 8))
        return;
    smmuv3_model_settle(m);
    write_one(m, (uint32_t)off, (uint32_t)val);
    write_one(m, (uint32_t)off + 4, (uint32_t)(val >> 32));
    smmuv3_model_settle(m);
}

void smmuv3_model_poke32(struct smmuv3_model *m, uint64_t off, uint32_t val)
{
    uint32_t *reg = reach(m, off, 4);

    if (!reg)
        return;
    *reg = val;
    if (off == SMMUV3_MODEL_CR0 || off == MODEL_IRQ_CTRL)
        reg[1] = val;
}

const struct smmuv3_model_stats *smmuv3_model_stats(const struct smmuv3_model *m)
{
    return &m->stats;
}

struct smmuv3_model_config smmuv3_model_defaults(void)
{
    return (struct smmuv3_model_config){
        .mmio_size = 0x20000,
        .idr0 = 0x0d40101a,
        .idr1 = 19u << 21 | 19u << 16 | 16,
        .idr3 = 1u << 10,
        .idr5 = 0x74,
        .tlb_entries = 128,
        .walk_entries = 32,
    };
}

void smmuv3_model_set_stages(struct smmuv3_model_config *config, unsigned stages)
{
    config->idr0 &= ~(SMMUV3_MODEL_STAGE_1 | SMMUV3_MODEL_STAGE_2 | 1u << 18);
    config->idr0 |= stages | (stages & SMMUV3_MODEL_STAGE_2 ? 1u << 18 : 0);
}

static bool config_ok(const struct smmuv3_model_config *c)
{
    return c->host && c->mmio_size >= 0x20000 && c->mmio_size % 8 == 0 && c->tlb_entries &&
           c->walk_entries && (!c->random_replacement || c->host->random);
}

struct smmuv3_model *smmuv3_model_create(const struct smmuv3_model_config *config)
{
    struct smmuv3_model *m;

    if (!config_ok(config))
        return NULL;
    m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->config = *config;
    m->regs = calloc(1, config->mmio_size);
    if (!m->regs || !smmuv3_model_caches_init(m)) {
        smmuv3_model_destroy(m);
        return NULL;
    }
    m->regs[0x00 / 4] = config->idr0;
    m->regs[0x04 / 4] = config->idr1;
    m->regs[0x0c / 4] = config->idr3;
    m->regs[0x14 / 4] = config->idr5;
    return m;
}

void smmuv3_model_destroy(struct smmuv3_model *m)
{
    if (!m)
        return;
    smmuv3_model_caches_free(m);
    free(m->pending);
    free(m->regs);
    free(m);
}
