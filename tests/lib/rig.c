/* SPDX-License-Identifier: MIT */
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats.h"

#define RIG_POLL_NS 110u /* virtual time of one poll: host.h */

#define DART_ROW(name, text, kind, page, va, pa, revision)                                         \
    {text, DART_MODEL_##kind, GR_DART_##kind, page, va, pa, revision, 0},
#define SMMU_ROW(name, text, stage, page, va, pa) {text, 0, 0, page, va, pa, 0, stage},
const struct rig_kind rig_kinds[RIG_KINDS] = {RIG_DART_KINDS(DART_ROW) RIG_SMMU_KINDS(SMMU_ROW)};

static bool is_smmu(const struct rig_dart *d)
{
    return !d->kind->driver;
}

/* ---- the tap ---- */

uint32_t rig_command(const struct rig_kind *kind)
{
    if (kind->driver == GR_DART_S5L8960X)
        return 0x00;
    return kind->driver == GR_DART_T8110 ? 0x80 : 0x20;
}

uint32_t rig_busy_bit(const struct rig_kind *kind)
{
    if (kind->driver == GR_DART_S5L8960X)
        return 1u << 3;
    return kind->driver == GR_DART_T8110 ? 1u << 31 : 1u << 2;
}

static bool is_command(const struct rig_dart *d, uint32_t offset)
{
    return offset == rig_command(d->kind);
}

static uint32_t tap_read32(void *opaque, uint32_t offset)
{
    struct rig_dart *const d = opaque;
    uint32_t value = dart_model_read32(d->hw.model, offset);

    if (is_command(d, offset) && d->busy_reads) {
        d->busy_reads--;
        value |= rig_busy_bit(d->kind);
    }
    return value;
}

static void tap_write32(void *opaque, uint32_t offset, uint32_t value)
{
    struct rig_dart *const d = opaque;

    if (is_command(d, offset) && d->hang && !--d->hang)
        d->busy_reads = GR_CFG_DART_TIMEOUT_NS / RIG_POLL_NS + 100;
    if (is_command(d, offset) && d->lose_commands)
        d->lost++;
    else
        dart_model_write32(d->hw.model, offset, value);
}

/* The register that says how far commands are, and the one that starts them. */
#define SMMU_CMDQ_PROD 0x98u
#define SMMU_CMDQ_CONS 0x9cu

static uint32_t smmu_read32(void *opaque, uint32_t offset)
{
    struct rig_dart *const d = opaque;
    const uint32_t value = smmuv3_model_read32(d->smmu_hw.model, offset);

    if (offset != SMMU_CMDQ_CONS || !d->busy_reads)
        return value;
    d->busy_reads--;
    return value ^ 1;
}

static void smmu_write32(void *opaque, uint32_t offset, uint32_t value)
{
    struct rig_dart *const d = opaque;

    if (offset == SMMU_CMDQ_PROD && d->hang && !--d->hang)
        d->busy_reads = GR_CFG_SMMUV3_TIMEOUT_NS / RIG_POLL_NS + 100;
    smmuv3_model_lose(d->smmu_hw.model, d->lose_commands);
    d->lost += offset == SMMU_CMDQ_PROD && d->lose_commands;
    smmuv3_model_write32(d->smmu_hw.model, offset, value);
}

static void smmu_write64(void *opaque, uint32_t offset, uint64_t value)
{
    struct rig_dart *const d = opaque;

    smmuv3_model_write64(d->smmu_hw.model, offset, value);
}

/* ---- making and ending ---- */

static bool on_fault(void *cookie, const struct gr_fault *fault)
{
    struct rig *const rig = cookie;

    rig->faults++;
    rig->last_fault = *fault;
    return true;
}

static const char *const names[RIG_DARTS] = {"dart0", "dart1", "dart2"};

static void make_smmu(struct rig *rig, unsigned i, const struct rig_setup *setup)
{
    struct rig_dart *const d = &rig->dart[i];
    struct smmuv3_model_config model = smmuv3_model_defaults();
    const struct gr_smmuv3_config config = {
        .env = rig->host,
        .mmio = &d->tap,
        .mmio_size = 0x20000,
        .name = names[i],
        .granule_lg2 = (uint8_t)d->kind->page_bits,
        .va_bits = (uint8_t)d->kind->va_bits,
        .aperture = setup->aperture,
    };

    model.idr5 = (model.idr5 & ~7u) | (d->kind->pa_bits == 42 ? 3 : 1);
    if (rig_is_stage_2(d->kind))
        smmuv3_model_set_stages(&model, SMMUV3_MODEL_STAGE_2);
    model.keep_all = true;
    assert_true(host_smmuv3_init(&d->smmu_hw, rig->host, &model, rig->rng + i));
    d->tap = (struct host_mmio){
        .host = rig->host,
        .opaque = d,
        .size = 0x20000,
        .read32 = smmu_read32,
        .write32 = smmu_write32,
        .write64 = smmu_write64,
    };
    assert_int_equal(gr_smmuv3_init(&d->smmu, &config), 0);
    d->inst = &d->smmu.inst;
}

static void make_dart(struct rig *rig, unsigned i, const struct rig_setup *setup)
{
    struct rig_dart *const d = &rig->dart[i];
    const struct rig_kind *const kind = &rig_kinds[setup->kind];
    struct dart_model_config model = dart_model_defaults(kind->model);
    struct gr_dart_config config = {
        .kind = kind->driver,
        .env = rig->host,
        .mmio = &d->tap,
        .mmio_size = RIG_MMIO_SIZE,
        .name = names[i],
        .va_bits = (uint8_t)kind->va_bits,
        .pa_bits = (uint8_t)kind->pa_bits,
        .aperture = setup->aperture,
    };

    model.mmio_size = RIG_MMIO_SIZE;
    if (kind->revision)
        model.revision = kind->revision;
    model.page_bits = kind->page_bits;
    model.va_bits = kind->va_bits;
    model.pa_bits = kind->pa_bits;
    model.keep_all = true;
    model.watch_reuse = true;
    assert_true(host_dart_init(&d->hw, rig->host, &model, rig->rng + i));
    d->tap = (struct host_mmio){
        .host = rig->host,
        .opaque = d,
        .size = RIG_MMIO_SIZE,
        .read32 = tap_read32,
        .write32 = tap_write32,
    };
    assert_int_equal(gr_dart_init(&d->drv, &config), 0);
    d->inst = &d->drv.inst;
}

/* For rig_teardown(): a failure leaves the test's own rig behind with its stack. */
static struct {
    const char *kind; /* NULL: there is no rig */
    unsigned darts, cpu_page;
    uint64_t seed;
} open_rig;

void rig_call(const char *kind)
{
    open_rig.kind = kind;
}

int rig_teardown(void **state)
{
    (void)state;
    if (open_rig.kind)
        print_error("the rig: %u of %s, P = %u, seed %" PRIu64 "\n", open_rig.darts, open_rig.kind,
                    open_rig.cpu_page, open_rig.seed);
    open_rig.kind = NULL;
    return 0;
}

void rig_make(struct rig *rig, unsigned cpu_page, uint64_t seed, unsigned darts,
              const struct rig_setup *setup)
{
    struct host_config config = {
        .cpu_page = cpu_page,
        .nbanks = 4,
        .nreserved = 3,
        .seed = seed,
        .banks = {{0, 16 * MIB},
                  {UINT64_C(0x800000000), 64 * MIB},
                  {RIG_BIG, RIG_BIG_SIZE},
                  {(UINT64_C(1) << 36) - 16 * MIB, 16 * MIB}},
        .reserved = {{RIG_LOW, RIG_FIXED_SIZE},
                     {RIG_BIG, RIG_BIG_SIZE},
                     {RIG_TOP(36), RIG_FIXED_SIZE}},
    };
    unsigned pa_bits = 42;
    char why[160];

    assert_in_range(darts, 1, RIG_DARTS);
    memset(rig, 0, sizeof(*rig));
    rig->darts = darts;
    rig->rng = seed;
    open_rig.kind = rig_kinds[setup[0].kind].name;
    open_rig.darts = darts;
    open_rig.cpu_page = cpu_page;
    open_rig.seed = seed;
    for (unsigned i = 0; i < darts; i++) {
        if (rig_kinds[setup[i].kind].pa_bits < pa_bits)
            pa_bits = rig_kinds[setup[i].kind].pa_bits;
    }
    if (pa_bits == 42) {
        config.banks[config.nbanks++] =
            (struct host_bank){(UINT64_C(1) << 42) - 16 * MIB, 16 * MIB};
        config.reserved[config.nreserved++] = (struct host_hole){RIG_TOP(42), RIG_FIXED_SIZE};
    }
    rig->host = host_create(&config, why, sizeof(why));
    if (!rig->host)
        fail_msg("no host: %s", why);
    host_log_level(rig->host, -1);
    for (unsigned i = 0; i < darts; i++) {
        rig->dart[i].kind = &rig_kinds[setup[i].kind];
        if (is_smmu(&rig->dart[i]))
            make_smmu(rig, i, &setup[i]);
        else
            make_dart(rig, i, &setup[i]);
        gr_instance_set_fault_handler(rig->dart[i].inst, on_fault, rig);
    }
}

void rig_make_plain(struct rig *rig, unsigned kind, unsigned darts)
{
    const struct rig_setup setup[RIG_DARTS] = {{.kind = kind}, {.kind = kind}, {.kind = kind}};

    rig_make(rig, 4096, 1, darts, setup);
}

static void end_smmu(struct rig_dart *d)
{
    const struct smmuv3_model_stats *const stats = smmuv3_model_stats(d->smmu_hw.model);

    smmuv3_model_lose(d->smmu_hw.model, false);
    assert_int_equal(gr_smmuv3_fini(&d->smmu), 0);
    assert_int_equal(stats->bad_fetches, 0);
    assert_int_equal(stats->misuse, 0);
    assert_int_equal(stats->bus_errors, 0);
    host_smmuv3_fini(&d->smmu_hw);
}

void rig_end_leaking(struct rig *rig, int leaks)
{
    for (unsigned i = 0; i < rig->darts; i++) {
        if (is_smmu(&rig->dart[i])) {
            end_smmu(&rig->dart[i]);
            continue;
        }
        const struct dart_model_stats *const stats = dart_model_stats(rig->dart[i].hw.model);

        assert_int_equal(gr_dart_fini(&rig->dart[i].drv), 0);
        assert_int_equal(stats->bad_fetches, 0);
        assert_int_equal(stats->misuse, 0);
        assert_int_equal(stats->bus_errors, 0);
        host_dart_fini(&rig->dart[i].hw);
    }
    if (host_misuse(rig->host))
        fail_msg("misuse: %s", host_last_log(rig->host));
    assert_int_equal(host_leaks(rig->host), leaks);
    (void)host_destroy(rig->host);
    open_rig.kind = NULL;
}

void rig_end(struct rig *rig)
{
    rig_end_leaking(rig, 0);
}

struct gr_device_config rig_device(struct rig *rig, struct gr_stream *streams, unsigned first,
                                   unsigned count, uint32_t sid)
{
    for (unsigned i = 0; i < count; i++) {
        streams[i] = (struct gr_stream){
            .inst = rig->dart[first + i].inst,
            .sid = sid,
            .window = {0, UINT64_MAX},
        };
    }
    return (struct gr_device_config){
        .name = "device",
        .streams = streams,
        .stream_count = count,
        .coherent = true,
    };
}

/* ---- accesses ---- */

void rig_set_busy(struct rig *rig, unsigned dart, uint64_t delay_ns, bool stuck)
{
    struct rig_dart *const d = &rig->dart[dart];

    if (is_smmu(d))
        smmuv3_model_set_busy(d->smmu_hw.model, delay_ns, stuck ? SMMUV3_MODEL_STUCK_COMMANDS : 0);
    else
        dart_model_set_busy(d->hw.model, delay_ns, stuck);
}

void rig_prefetch(struct rig *rig, unsigned dart, uint32_t sid, uint64_t iova)
{
    struct rig_dart *const d = &rig->dart[dart];

    if (is_smmu(d))
        smmuv3_model_prefetch(d->smmu_hw.model, sid, iova);
    else
        dart_model_prefetch(d->hw.model, sid, iova);
}

static void serve_smmu(struct rig_dart *d)
{
    if (!d->smmu_hw.irq)
        return;
    d->smmu_hw.irq = false;
    assert_true(gr_smmuv3_isr(&d->smmu));
    do
        (void)gr_fault_dispatch(d->inst);
    while (gr_smmuv3_isr(&d->smmu));
}

enum model_result rig_access(struct rig *rig, unsigned dart, uint32_t sid, uint64_t iova, void *buf,
                             uint64_t len, bool write, bool coherent, uint64_t *done)
{
    struct rig_dart *const d = &rig->dart[dart];
    enum model_result result;

    if (is_smmu(d)) {
        result = host_smmuv3_access(&d->smmu_hw, sid, iova, buf, len, write, coherent, done);
        serve_smmu(d);
        return result;
    }
    result = host_dart_access(&d->hw, sid, iova, buf, len, write, coherent, done);
    while (d->hw.irq) {
        assert_true(gr_dart_isr(&d->drv));
        (void)gr_fault_dispatch(&d->drv.inst);
    }
    return result;
}

bool rig_can_read(struct rig *rig, unsigned dart, uint32_t sid, uint64_t iova)
{
    uint8_t byte;

    return rig_access(rig, dart, sid, iova, &byte, 1, false, true, NULL) == MODEL_OK;
}

bool rig_can_write(struct rig *rig, unsigned dart, uint32_t sid, uint64_t iova)
{
    uint8_t byte = 0x5a;

    return rig_access(rig, dart, sid, iova, &byte, 1, true, true, NULL) == MODEL_OK;
}

gr_pa_t rig_ram(struct rig *rig, uint64_t size, uint64_t align)
{
    gr_pa_t pa;

    assert_int_equal(host_ram_alloc(rig->host, size, align, &pa), 0);
    return pa;
}

/* ---- state ---- */

static uint64_t digest(uint64_t sum, uint64_t word)
{
    return (sum ^ word) * UINT64_C(0x100000001b3) ^ sum >> 29;
}

/* A table of `level` and what is below it. */
static uint64_t digest_table(struct rig *rig, const struct gr_pt *pt, uint64_t sum, uint64_t pa,
                             uint64_t bytes, unsigned level)
{
    const uint64_t *const words = host_ptr(rig->host, pa, bytes);

    assert_non_null(words);
    for (uint64_t i = 0; i < bytes / 8; i++) {
        if (!words[i])
            continue;
        sum = digest(digest(sum, i), words[i]);
        if (level && format_is_table(pt->format, words[i]))
            sum = digest_table(rig, pt, sum, format_address(pt->format, pt->granule_lg2, words[i]),
                               UINT64_C(1) << pt->granule_lg2, level - 1);
    }
    return sum;
}

static uint64_t digest_tables(struct rig *rig, const struct gr_pt *pt)
{
    assert_in_range(pt->levels, 2, 4);
    return digest_table(rig, pt, 1, pt->root_pa, UINT64_C(1) << pt->root_lg2, pt->levels - 1u);
}

/* Registers that do not change with every command, and the streams' entries. */
static uint64_t digest_smmu(struct rig *rig, uint64_t sum, const struct rig_dart *d)
{
    static const uint32_t offsets[] = {0x20, 0x24, 0x28, 0x2c, 0x44, 0x50, 0x60, 0x64,
                                       0x80, 0x84, 0x88, 0x90, 0x94, 0xa0, 0xa4};

    for (unsigned i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++)
        sum = digest(sum, smmuv3_model_read32(d->smmu_hw.model, offsets[i]));
    for (uint32_t sid = 0; sid < 256; sid++) {
        const uint64_t l1 = smmuv3_model_read32(d->smmu_hw.model, 0x80) |
                            (uint64_t)smmuv3_model_read32(d->smmu_hw.model, 0x84) << 32;
        const uint64_t *const upper = host_ptr(rig->host, l1 & 0xfffffffff000, 8);
        const uint64_t *const entry =
            *upper ? host_ptr(rig->host, (*upper & 0xfffffffff000) + 64 * sid, 64) : NULL;

        sum = digest(sum, entry && (entry[0] & 0xe) ? entry[0] : 0);
    }
    return sum;
}

struct rig_state rig_state(struct rig *rig, struct gr_domain *domain)
{
    struct rig_state state = {.registers = 1};

    if (domain) {
        gr_domain_stats(domain, &state.stats);
        state.tables = digest_tables(rig, &domain->pt);
    }
    for (unsigned i = 0; i < rig->darts; i++) {
        if (is_smmu(&rig->dart[i])) {
            state.registers = digest_smmu(rig, state.registers, &rig->dart[i]);
            continue;
        }
        for (uint32_t off = 0; off < 0x2400; off += 4) {
            /* but the TLB command and its operands */
            if ((off < 0x20 || off >= 0x40) && off != 0x80 && off != 0x84 && off != 0x98 &&
                off != 0xa0)
                state.registers =
                    digest(state.registers, dart_model_read32(rig->dart[i].hw.model, off));
        }
    }
    return state;
}

void rig_same(struct rig *rig, struct gr_domain *domain, const struct rig_state *before,
              const char *where)
{
    const struct rig_state now = rig_state(rig, domain);
    const struct gr_domain_stats *const a = &before->stats;
    const struct gr_domain_stats *const b = &now.stats;

    if (a->iova.allocations != b->iova.allocations || a->iova.allocated != b->iova.allocated ||
        a->iova.held != b->iova.held || a->iova.reserved != b->iova.reserved ||
        a->iova.available != b->iova.available || a->tables != b->tables ||
        a->quarantined_bytes != b->quarantined_bytes || a->broken != b->broken)
        fail_msg("%s: the domain's numbers changed", where);
    if (before->tables != now.tables)
        fail_msg("%s: the tables changed", where);
    if (before->registers != now.registers)
        fail_msg("%s: the registers changed", where);
}

uint64_t rig_root_tables(const struct gr_domain *domain)
{
    return UINT64_C(1) << domain->pt.roots_lg2;
}

/* Tables of spans of 2^shift bytes that the last of `count` ranges touches, and none before it. */
static uint64_t tables_added(const struct gr_range *ranges, unsigned count, unsigned shift)
{
    const struct gr_range *const own = &ranges[count - 1];
    uint64_t added = 0;

    for (uint64_t at = own->first >> shift; at <= own->last >> shift; at++) {
        unsigned i = 0;

        while (at < ranges[i].first >> shift || at > ranges[i].last >> shift)
            i++;
        added += i == count - 1;
    }
    return added;
}

uint64_t rig_tables(const struct gr_domain *domain, const struct gr_range *ranges, unsigned count)
{
    const struct gr_pt *const pt = &domain->pt;
    uint64_t tables = rig_root_tables(domain);

    for (unsigned level = 1; level < pt->levels; level++) {
        for (unsigned i = 1; i <= count; i++)
            tables += tables_added(ranges, i, pt->granule_lg2 + level * (pt->granule_lg2 - 3u));
    }
    return tables;
}

uint64_t rig_span(const struct gr_domain *domain)
{
    return UINT64_C(1) << (2u * domain->pt.granule_lg2 - 3u);
}
