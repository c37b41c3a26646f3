/* SPDX-License-Identifier: MIT */
/* The SMMUv3 driver on its model: what it writes, in which order, and what becomes of accesses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <granule/granule.h>
#include <host_smmuv3.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "units.h"

#define LIMIT ((uint64_t)GR_CFG_SMMUV3_TIMEOUT_NS)
#define SLACK 10000u /* what the calls of a bounded wait may take beyond its limit */
#define SID 0x1234u
#define RAM UINT64_C(0x800000000)
#define LEFT RAM /* where firmware keeps its tables: memory that is never handed out */
#define LEFT_SIZE 0x100000u

/* Registers, IHI 0070 6.3. */
enum {
    IDR0 = 0x00,
    IDR1 = 0x04,
    IDR5 = 0x14,
    CR0 = 0x20,
    CR0ACK = 0x24,
    CR1 = 0x28,
    CR2 = 0x2c,
    GBPA = 0x44,
    IRQ_CTRL = 0x50,
    IRQ_CTRLACK = 0x54,
    GERROR = 0x60,
    GERRORN = 0x64,
    GERROR_IRQ_CFG0 = 0x68,
    STRTAB_BASE = 0x80,
    STRTAB_BASE_CFG = 0x88,
    CMDQ_BASE = 0x90,
    CMDQ_PROD = 0x98,
    CMDQ_CONS = 0x9c,
    EVENTQ_BASE = 0xa0,
    EVENTQ_IRQ_CFG0 = 0xb0,
    EVENTQ_PROD = 0x100a8,
    EVENTQ_CONS = 0x100ac,
};

struct write {
    uint32_t offset;
    uint64_t value;
};

struct probe {
    struct host *h;
    struct smmuv3_model_config model;
    struct host_smmuv3 hw;
    struct host_mmio tap;
    struct gr_smmuv3 smmu;
    struct write writes[64]; /* the first, since they were last forgotten */
    unsigned written, reads;
    bool (*on_read)(struct probe *p, uint32_t offset, uint32_t *out); /* true: answered */
    void (*on_access)(struct probe *p);                               /* before each */
    unsigned answers;
    bool hasty; /* time flies while the command queue is polled: a time-out takes few reads */
    bool noncoherent;
    uint64_t barriers; /* host_load_barriers() at a read of PROD or a change of CONS */
};

static uint32_t peek(struct probe *p, uint32_t offset)
{
    return smmuv3_model_read32(p->hw.model, offset);
}

static uint64_t peek64(struct probe *p, uint32_t offset)
{
    return smmuv3_model_read64(p->hw.model, offset);
}

static uint32_t tap_read32(void *opaque, uint32_t offset)
{
    struct probe *const p = opaque;
    uint32_t value;

    if (p->on_access)
        p->on_access(p);
    p->reads++;
    if (p->hasty && offset == CMDQ_CONS)
        host_advance(p->h, LIMIT / 16);
    return p->on_read && p->on_read(p, offset, &value) ? value : peek(p, offset);
}

static void note(struct probe *p, uint32_t offset, uint64_t value)
{
    if (p->on_access)
        p->on_access(p);
    if (p->written < sizeof(p->writes) / sizeof(p->writes[0]))
        p->writes[p->written] = (struct write){offset, value};
    p->written++;
}

static void tap_write32(void *opaque, uint32_t offset, uint32_t value)
{
    struct probe *const p = opaque;

    note(p, offset, value);
    smmuv3_model_write32(p->hw.model, offset, value);
}

static void tap_write64(void *opaque, uint32_t offset, uint64_t value)
{
    struct probe *const p = opaque;

    note(p, offset, value);
    smmuv3_model_write64(p->hw.model, offset, value);
}

#define NONCOHERENT 0x1u
#define LINEAR 0x2u
#define NO_RANGE 0x4u
#define STAGE_2 0x8u /* and no other */
#define VARIANTS 16u
#define VARIANTS_1 8u /* of stage 1 */

/* A host and a model, and no driver yet. */
static struct probe *probe_new(unsigned variant, uint64_t seed)
{
    struct probe *const p = test_calloc(1, sizeof(*p));
    const struct host_config config = {
        .cpu_page = 4096,
        .nbanks = 1,
        .nreserved = 1,
        .noncoherent_walk = variant & NONCOHERENT,
        .seed = seed,
        .banks = {{RAM, 64 << 20}},
        .reserved = {{LEFT, LEFT_SIZE}},
    };
    char err[256] = "";

    p->h = host_create(&config, err, sizeof(err));
    if (!p->h)
        fail_msg("host_create: %s", err);
    host_log_level(p->h, -1);
    p->noncoherent = variant & NONCOHERENT;
    p->model = smmuv3_model_defaults();
    p->model.keep_all = true;
    if (variant & NONCOHERENT)
        p->model.idr0 &= ~(1u << 4);
    if (variant & LINEAR) {
        p->model.idr0 &= ~(3u << 27);
        p->model.idr1 = (p->model.idr1 & ~0x3fu) | 13; /* streams */
    }
    if (variant & NO_RANGE)
        p->model.idr3 = 0;
    if (variant & STAGE_2)
        smmuv3_model_set_stages(&p->model, SMMUV3_MODEL_STAGE_2);
    return p;
}

static void probe_model(struct probe *p)
{
    assert_true(host_smmuv3_init(&p->hw, p->h, &p->model, 1));
    p->tap = (struct host_mmio){
        .host = p->h,
        .opaque = p,
        .size = 0x20000,
        .read32 = tap_read32,
        .write32 = tap_write32,
        .write64 = tap_write64,
    };
}

static struct gr_smmuv3_config probe_config(struct probe *p)
{
    return (struct gr_smmuv3_config){
        .env = p->h, .mmio = &p->tap, .mmio_size = 0x20000, .name = "smmu-under-test"};
}

static void probe_start(struct probe *p, unsigned granule_lg2, unsigned va_bits)
{
    struct gr_smmuv3_config config = probe_config(p);

    config.granule_lg2 = (uint8_t)granule_lg2;
    config.va_bits = (uint8_t)va_bits;
    assert_int_equal(gr_smmuv3_init(&p->smmu, &config), 0);
    p->written = 0;
    p->reads = 0;
}

/* The usual: with a driver. */
static struct probe *probe_up(unsigned variant, unsigned granule_lg2, unsigned va_bits)
{
    struct probe *const p = probe_new(variant, 1);

    probe_model(p);
    probe_start(p, granule_lg2, va_bits);
    return p;
}

/* Nothing misused or leaked; `live`: the driver was initialised. */
static void probe_free(struct probe *p, bool live)
{
    p->on_read = NULL;
    p->on_access = NULL;
    if (live)
        assert_int_equal(gr_smmuv3_fini(&p->smmu), 0);
    if (p->hw.model) {
        assert_int_equal(smmuv3_model_stats(p->hw.model)->misuse, 0);
        assert_int_equal(smmuv3_model_stats(p->hw.model)->bad_fetches, 0);
        host_smmuv3_fini(&p->hw);
    }
    if (host_misuse(p->h))
        fail_msg("misuse: %s", host_last_log(p->h));
    assert_int_equal(host_destroy(p->h), 0);
    test_free(p);
}

static void serve(struct probe *p)
{
    p->hw.irq = false;
    while (gr_smmuv3_isr(&p->smmu))
        (void)gr_fault_dispatch(&p->smmu.inst);
}

static bool reads(struct probe *p, uint32_t sid, uint64_t iova)
{
    uint8_t byte;

    return host_smmuv3_access(&p->hw, sid, iova, &byte, 1, false, !p->noncoherent, NULL) ==
           MODEL_OK;
}

static bool writes(struct probe *p, uint32_t sid, uint64_t iova)
{
    uint8_t byte = 0x77;

    return host_smmuv3_access(&p->hw, sid, iova, &byte, 1, true, !p->noncoherent, NULL) == MODEL_OK;
}

/* ---- a device with an UNMANAGED domain ---- */

struct client {
    struct gr_stream stream[2];
    struct gr_device dev;
    struct gr_domain domain;
    uint64_t g;
};

static void client_make(struct probe *p, struct client *c, uint32_t sid, unsigned streams)
{
    const struct gr_device_config config = {.name = "client",
                                            .streams = c->stream,
                                            .stream_count = streams,
                                            .coherent = !p->noncoherent};

    for (unsigned i = 0; i < streams; i++)
        c->stream[i] =
            (struct gr_stream){.inst = &p->smmu.inst, .sid = sid + i, .window = {0, UINT64_MAX}};
    assert_int_equal(gr_device_init(&c->dev, &config), 0);
    assert_int_equal(
        gr_domain_init(&c->domain, p->h, &c->dev, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE), 0);
    c->g = UINT64_C(1) << gr_domain_granule_lg2(&c->domain);
}

static void client_up(struct probe *p, struct client *c, uint32_t sid, unsigned streams)
{
    client_make(p, c, sid, streams);
    assert_int_equal(gr_domain_attach(&c->domain, &c->dev), 0);
}

static void client_end(struct client *c)
{
    if (gr_device_domain(&c->dev))
        assert_int_equal(gr_domain_detach(&c->domain, &c->dev), 0);
    assert_int_equal(gr_domain_fini(&c->domain), 0);
    assert_int_equal(gr_device_fini(&c->dev), 0);
}

static void map(struct client *c, uint64_t iova, uint64_t len)
{
    assert_int_equal(gr_domain_map(&c->domain, iova, LEFT, len, RW), 0);
}

/* ---- memory that the hardware reads, as it lies there ---- */

static const uint64_t *memory_at(struct probe *p, uint64_t pa, uint64_t len)
{
    const void *const at = p->noncoherent ? host_memory(p->h, pa, len) : host_ptr(p->h, pa, len);

    assert_non_null(at);
    return at;
}

static const uint64_t *entry_of(struct probe *p, uint32_t sid)
{
    const uint64_t table = peek64(p, STRTAB_BASE) & UINT64_C(0xffffffffffc0);
    const uint32_t cfg = peek(p, STRTAB_BASE_CFG);
    const uint32_t split = cfg >> 6 & 31;

    if (!(cfg >> 16 & 1))
        return memory_at(p, table + 64 * sid, 64);
    const uint64_t l1 = *memory_at(p, table + 8 * (sid >> split), 8);

    if (!l1)
        return NULL;
    assert_int_equal(l1 & 0x3f, split + 1);
    return memory_at(p, (l1 & UINT64_C(0xffffffffffc0)) + 64 * (sid & ((1u << split) - 1)), 64);
}

static const uint64_t *context_of(struct probe *p, uint32_t sid)
{
    return memory_at(p, entry_of(p, sid)[0] & UINT64_C(0xffffffffffc0), 64);
}

/* The ASID or the VMID of a stream. */
static uint64_t number_of(struct probe *p, uint32_t sid)
{
    const uint64_t *const ste = entry_of(p, sid);

    return (ste[0] & 0xf) == 0xd ? ste[2] & 0xffff : context_of(p, sid)[0] >> 48;
}

/* The n-th last command that was given, 1 is the last. */
static const uint64_t *command_back(struct probe *p, unsigned n)
{
    const uint64_t base = peek64(p, CMDQ_BASE);
    const uint32_t entries = 1u << (base & 31);
    const uint32_t at = (peek(p, CMDQ_PROD) - n) & (entries - 1);

    return memory_at(p, (base & UINT64_C(0xffffffffffe0)) + 16 * at, 16);
}

static void assert_command(struct probe *p, unsigned n, uint64_t word0, uint64_t word1)
{
    const uint64_t *const c = command_back(p, n);

    if (c[0] != word0 || c[1] != word1)
        fail_msg("command %u from the end is %" PRIx64 " %" PRIx64 ", not %" PRIx64 " %" PRIx64, n,
                 c[0], c[1], word0, word1);
}

#define CMD_SYNC 0x46u

/* ---- starting ---- */

static unsigned index_of_write(struct probe *p, uint32_t offset, uint64_t value)
{
    for (unsigned i = 0; i < p->written; i++) {
        if (p->writes[i].offset == offset && p->writes[i].value == value)
            return i;
    }
    fail_msg("0x%x was never written with 0x%" PRIx64, offset, value);
    return 0;
}

static void test_start(void **state)
{
    (void)state;
    for (unsigned variant = 0; variant < VARIANTS; variant++) {
        struct probe *const p = probe_new(variant, variant);
        struct gr_smmuv3_config config = probe_config(p);
        const bool second = variant & STAGE_2;

        probe_model(p);
        assert_int_equal(gr_smmuv3_init(&p->smmu, &config), 0);
        /* docs/QEMU.md: values that work */
        assert_int_equal(peek(p, CR0), 0xd);
        assert_int_equal(peek(p, CR1), variant & NONCOHERENT ? 0 : 0xd75);
        assert_int_equal(peek(p, CR2), 6);
        assert_int_equal(peek(p, GBPA), 1u << 20);
        assert_int_equal(peek(p, IRQ_CTRL), 5);
        assert_int_equal(peek(p, STRTAB_BASE_CFG), variant & LINEAR ? 13 : 0x10210);
        assert_int_equal(peek64(p, STRTAB_BASE) >> 62, 1);
        assert_int_equal(peek64(p, CMDQ_BASE) & 31, 8);
        assert_int_equal(peek64(p, EVENTQ_BASE) & 31, 7);
        /* Nothing bypasses on the way, and nothing is enabled before what it reads is in place. */
        assert_int_equal(p->writes[0].offset, GBPA);
        assert_int_equal(p->writes[0].value, 0x80100000);
        assert_true(index_of_write(p, CR0, 0) < index_of_write(p, CR1, peek(p, CR1)));
        assert_true(index_of_write(p, CMDQ_BASE, peek64(p, CMDQ_BASE)) < index_of_write(p, CR0, 8));
        assert_true(index_of_write(p, CR0, 8) < index_of_write(p, CMDQ_PROD, 3));
        assert_true(index_of_write(p, CMDQ_PROD, 3) < index_of_write(p, CR0, 0xc));
        assert_true(index_of_write(p, CR0, 0xc) < index_of_write(p, IRQ_CTRL, 5));
        assert_int_equal(p->writes[p->written - 1].offset, CR0);
        assert_command(p, 3, 0x04, 31);
        assert_command(p, 2, 0x30, 0);
        assert_command(p, 1, CMD_SYNC, 0);
        assert_int_equal(p->smmu.inst.streams, variant & LINEAR ? 1u << 13 : 1u << 16);
        assert_int_equal(p->smmu.inst.table.granule_lg2, 12);
        assert_int_equal(p->smmu.inst.table.levels, 4);
        assert_int_equal(p->smmu.inst.table.format, second ? GR_PT_LPAE_S2 : GR_PT_LPAE_S1);
        assert_int_equal(p->smmu.inst.table.roots_lg2, second ? 4 : 0);
        assert_int_equal(p->smmu.inst.table.va_bits, second ? 44 : 48);
        assert_int_equal(p->smmu.inst.table.pa_bits, 44);
        assert_int_equal(p->smmu.inst.table.coherent, !(variant & NONCOHERENT));
        assert_false(p->smmu.inst.caches_absent);
        assert_int_equal(p->smmu.inst.aperture.first, 0);
        assert_int_equal(p->smmu.inst.aperture.last,
                         second ? UINT64_C(0xfffffffffff) : UINT64_C(0xffffffffffff));
        /* Every stream aborts; a stream that the table does not have is an event. */
        assert_false(reads(p, 0, LEFT));
        assert_int_equal(p->hw.irq, !(variant & LINEAR)); /* where there is no table yet */
        serve(p);
        assert_false(reads(p, 0x10000, LEFT));
        assert_true(p->hw.irq);
        serve(p);
        assert_true(host_logged(p->h, "stream 65536 (no device): access at IOVA 0x0 refused"));
        probe_free(p, true);
    }
}

static void test_granules(void **state)
{
    static const struct {
        uint32_t idr5;
        unsigned cpu_page, asked, lg2;
    } rows[] = {
        {0x74, 4096, 0, 12},   {0x74, 16384, 0, 14}, {0x74, 65536, 0, 16}, {0x64, 4096, 0, 14},
        {0x44, 4096, 0, 16},   {0x54, 16384, 0, 12}, {0x74, 4096, 14, 14}, {0x74, 4096, 16, 16},
        {0x14, 65536, 12, 12}, {0x15, 4096, 0, 12},  {0x76, 4096, 0, 12},
    };
    static const unsigned pa_bits[] = {32, 36, 40, 42, 44, 48, 48};

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct host_config host = {
            .cpu_page = rows[i].cpu_page, .nbanks = 1, .seed = 1, .banks = {{0, 16 << 20}}};
        struct probe *const p = probe_new(0, 1);
        struct gr_smmuv3_config config;
        char err[256];

        assert_int_equal(host_destroy(p->h), 0);
        p->h = host_create(&host, err, sizeof(err));
        assert_non_null(p->h);
        p->model.idr5 = rows[i].idr5;
        probe_model(p);
        config = probe_config(p);
        config.granule_lg2 = (uint8_t)rows[i].asked;
        assert_int_equal(gr_smmuv3_init(&p->smmu, &config), 0);
        assert_int_equal(p->smmu.inst.table.granule_lg2, rows[i].lg2);
        assert_int_equal(p->smmu.inst.table.levels, rows[i].lg2 == 16 ? 3 : 4);
        assert_int_equal(p->smmu.inst.table.pa_bits, pa_bits[rows[i].idr5 & 7]);
        probe_free(p, true);
    }
}

/* It was refused: in one sentence, with nothing written and nothing kept. */
static void refused(struct probe *p, const struct gr_smmuv3_config *config, int err,
                    const char *why)
{
    if (!p->hw.model)
        probe_model(p);
    assert_int_equal(gr_smmuv3_init(&p->smmu, config), err);
    assert_true(host_logged(p->h, why));
    assert_int_equal(p->written, 0);
    assert_int_equal(host_leaks(p->h), 0);
}

static void refuses_registers(uint32_t idr0, uint32_t idr1, uint32_t idr5, int err, const char *why)
{
    struct probe *const p = probe_new(0, 1);
    const struct gr_smmuv3_config config = probe_config(p);

    p->model.idr0 ^= idr0;
    p->model.idr1 ^= idr1;
    p->model.idr5 ^= idr5;
    refused(p, &config, err, why);
    probe_free(p, false);
}

static void test_refused_registers(void **state)
{
    (void)state;
    refuses_registers(1u << 1, 0, 0, GR_EOPNOTSUPP, "it has no stage 1 and no stage 2");
    refuses_registers(1u << 3, 0, 0, GR_EOPNOTSUPP, "little-endian AArch64");
    refuses_registers(1u << 21, 0, 0, GR_EOPNOTSUPP, "little-endian AArch64");
    refuses_registers(3u << 24, 0, 0, GR_EOPNOTSUPP, "stalls on a fault");
    refuses_registers(0, 1u << 29, 0, GR_EOPNOTSUPP, "preset addresses");
    refuses_registers(0, 1u << 30, 0, GR_EOPNOTSUPP, "preset addresses");
    refuses_registers(0, 0, 3, GR_EIO, "address size");
    refuses_registers(0, 0, 0x70, GR_EIO, "granules");
    refuses_registers(0, 16 ^ 33, 0, GR_EIO, "sizes that no SMMUv3 has");
    refuses_registers(0, (19u ^ 1) << 21, 0, GR_EIO, "sizes that no SMMUv3 has");
    refuses_registers(0, (19u ^ 20) << 21, 0, GR_EIO, "sizes that no SMMUv3 has");
}

static void test_refused_configurations(void **state)
{
    static const struct {
        uint64_t mmio_size;
        unsigned granule, va_bits, streams;
        struct gr_range aperture;
        const char *why;
    } rows[] = {
        {0x1ffff, 0, 0, 0, {0, 0}, "register window"},
        {0x20000, 13, 0, 0, {0, 0}, "granule"},
        {0x20000, 14, 0, 0, {0, 0}, "granule"}, /* the model below has none of 16 KiB */
        {0x20000, 18, 0, 0, {0, 0}, "granule"},
        {0x20000, 0, 31, 0, {0, 0}, "IOVAs must have 32 to 48 bits"},
        {0x20000, 0, 49, 0, {0, 0}, "IOVAs must have 32 to 48 bits"},
        {0x20000, 0, 0, 17, {0, 0}, "stream bits"},
        {0x20000, 0, 0, 0, {1, 0}, "aperture"},
        {0x20000, 0, 36, 0, {0, UINT64_C(1) << 36}, "aperture"},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct probe *const p = probe_new(0, 1);
        struct gr_smmuv3_config config = probe_config(p);

        p->model.idr5 &= ~0x20u;
        config.mmio_size = rows[i].mmio_size;
        config.granule_lg2 = (uint8_t)rows[i].granule;
        config.va_bits = (uint8_t)rows[i].va_bits;
        config.stream_bits = (uint8_t)rows[i].streams;
        config.aperture = rows[i].aperture;
        refused(p, &config, GR_EINVAL, rows[i].why);
        probe_free(p, false);
    }
}

/* What the hardware has and nobody needs is cut: streams, queues; what the host asks for is had. */
static void test_sizes(void **state)
{
    static const struct {
        bool linear;
        unsigned sidsize, asked, bits, cmdqs, evtqs, cfg;
    } rows[] = {
        {false, 32, 0, 25, 8, 7, 0x10219}, {true, 32, 0, 16, 19, 19, 16},
        {false, 8, 0, 8, 2, 0, 8},         {false, 9, 0, 9, 3, 1, 0x10209},
        {false, 16, 5, 5, 8, 7, 5},        {true, 16, 12, 12, 8, 7, 12},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct probe *const p = probe_new(rows[i].linear ? LINEAR : 0, 1);
        struct gr_smmuv3_config config = probe_config(p);
        struct client c;

        p->model.idr1 = rows[i].sidsize | rows[i].evtqs << 16 | rows[i].cmdqs << 21;
        probe_model(p);
        config.stream_bits = (uint8_t)rows[i].asked;
        config.aperture = (struct gr_range){0x1000, 0xffffff};
        assert_int_equal(gr_smmuv3_init(&p->smmu, &config), 0);
        assert_int_equal(p->smmu.inst.streams, 1u << rows[i].bits);
        assert_int_equal(p->smmu.inst.aperture.first, 0x1000);
        assert_int_equal(p->smmu.inst.aperture.last, 0xffffff);
        assert_int_equal(peek(p, STRTAB_BASE_CFG), rows[i].cfg);
        assert_int_equal(peek64(p, CMDQ_BASE) & 31, rows[i].cmdqs < 8 ? rows[i].cmdqs : 8);
        assert_int_equal(peek64(p, EVENTQ_BASE) & 31, rows[i].evtqs < 7 ? rows[i].evtqs : 7);
        client_up(p, &c, (1u << rows[i].bits) - 1, 1); /* the last stream */
        for (unsigned round = 0; round < 5; round++) {
            map(&c, 0x10000, 4 * c.g);
            assert_true(reads(p, (1u << rows[i].bits) - 1, 0x10000));
            assert_int_equal(gr_domain_unmap(&c.domain, 0x10000, 4 * c.g), 0);
            assert_false(reads(p, (1u << rows[i].bits) - 1, 0x10000));
            serve(p);
        }
        client_end(&c);
        probe_free(p, true);
    }
}

static void test_start_without_memory(void **state)
{
    (void)state;
    for (unsigned variant = 0; variant < 2; variant++) {
        for (uint64_t n = 1; n <= 4; n++) {
            struct probe *const p = probe_new(variant ? LINEAR : 0, 1);
            const struct gr_smmuv3_config config = probe_config(p);

            host_fail_alloc(p->h, n);
            refused(p, &config, GR_ENOMEM, "no memory for a stream table and queues");
            assert_int_equal(gr_smmuv3_init(&p->smmu, &config), 0);
            probe_free(p, true);
        }
    }
}

/* ---- a controller that firmware left on ---- */

static void never_passes(struct probe *p)
{
    assert_false(reads(p, SID, LEFT + 0x8000));
}

/* Firmware's stream table aborts, its bypass is open, and its queues and errors are in use. */
static void test_left_on(void **state)
{
    (void)state;
    for (unsigned variant = 0; variant < VARIANTS; variant++) {
        struct probe *const p = probe_new(variant, 3);
        const struct gr_smmuv3_config config = probe_config(p);
        struct client c;

        probe_model(p);
        memset(host_ptr(p->h, LEFT, LEFT_SIZE), 0, LEFT_SIZE);
        smmuv3_model_poke32(p->hw.model, STRTAB_BASE, (uint32_t)LEFT);
        smmuv3_model_poke32(p->hw.model, STRTAB_BASE + 4, LEFT >> 32);
        smmuv3_model_poke32(p->hw.model, STRTAB_BASE_CFG, 13);
        smmuv3_model_poke32(p->hw.model, CMDQ_BASE, 3);
        smmuv3_model_poke32(p->hw.model, CMDQ_PROD, 5);
        smmuv3_model_poke32(p->hw.model, CMDQ_CONS, 5);
        smmuv3_model_poke32(p->hw.model, EVENTQ_PROD, 7);
        smmuv3_model_poke32(p->hw.model, EVENTQ_CONS, 6);
        smmuv3_model_poke32(p->hw.model, GERROR, 0x1fd);
        smmuv3_model_poke32(p->hw.model, GERRORN, 0x1f8);
        smmuv3_model_poke32(p->hw.model, IRQ_CTRL, 7);
        smmuv3_model_poke32(p->hw.model, CR1, 0xd75);
        smmuv3_model_poke32(p->hw.model, CR0, 0x9); /* no event queue: LEFT holds no room for it */
        p->on_access = never_passes;
        assert_int_equal(gr_smmuv3_init(&p->smmu, &config), 0);
        p->on_access = NULL;
        assert_int_equal(peek(p, GERROR), peek(p, GERRORN));
        client_up(p, &c, SID, 1);
        map(&c, 0, c.g);
        assert_true(reads(p, SID, 0));
        client_end(&c);
        p->on_access = never_passes; /* nor afterwards */
        assert_int_equal(gr_smmuv3_fini(&p->smmu), 0);
        never_passes(p);
        probe_free(p, false);
    }
}

/* What firmware's streams and tables left in the caches is forgotten before ours are enabled. */
static void left_in_caches(unsigned stage)
{
    const uint64_t ste = LEFT, cd = LEFT + 0x40000, root = LEFT + 0x50000;
    struct probe *const p = probe_new(LINEAR | (stage == 2 ? STAGE_2 : 0), 3);
    uint64_t *const memory = host_ptr(p->h, LEFT, LEFT_SIZE);
    struct client c;

    p->model.idr1 = (p->model.idr1 & ~0x3fu) | 8;
    probe_model(p);
    memset(memory, 0, LEFT_SIZE);
    memory[0] = cd | 0xb;
    memory[1] = 0xd4;
    memory[0x40000 / 8] =
        25 | 0x3500 | UINT64_C(3) << 30 | UINT64_C(4) << 32 | UINT64_C(1) << 41 | UINT64_C(3) << 45;
    memory[0x40000 / 8 + 1] = root;
    memory[0x40000 / 8 + 3] = 0x44ff;
    memory[0x50000 / 8] = (LEFT + 0x60000) | 3;
    memory[0x60000 / 8] = (LEFT + 0x70000) | 3;
    memory[0x70000 / 8] = LEFT | 0x40000000000743 | UINT64_C(1) << 11;
    if (stage == 2) {
        memory[0] = 0xd;
        memory[2] = UINT64_C(25) << 32 | UINT64_C(1) << 38 | UINT64_C(0x35) << 40 |
                    UINT64_C(4) << 48 | UINT64_C(0x81) << 51;
        memory[3] = root;
        memory[0x70000 / 8] = LEFT | 0x400000000007ff;
    }
    smmuv3_model_poke32(p->hw.model, STRTAB_BASE, (uint32_t)ste);
    smmuv3_model_poke32(p->hw.model, STRTAB_BASE + 4, (uint32_t)(ste >> 32));
    smmuv3_model_poke32(p->hw.model, STRTAB_BASE_CFG, 8);
    smmuv3_model_poke32(p->hw.model, CR1, 0xd75);
    smmuv3_model_poke32(p->hw.model, CR0, 0x1);
    assert_true(reads(p, 0, 0)); /* IOVA 0 of ASID 0, or VMID 0 */
    probe_start(p, 12, 39);
    assert_false(reads(p, 0, 0));
    client_up(p, &c, 0, 1);
    assert_int_equal(number_of(p, 0), 0); /* the same */
    assert_false(reads(p, 0, 0));
    serve(p);
    client_end(&c);
    probe_free(p, true);
}

static void test_left_in_caches(void **state)
{
    (void)state;
    left_in_caches(1);
    left_in_caches(2);
}

/* ---- hardware that does not answer while starting or stopping ---- */

static void test_stuck_start(void **state)
{
    static const unsigned stuck[] = {SMMUV3_MODEL_STUCK_CR0, SMMUV3_MODEL_STUCK_GBPA,
                                     SMMUV3_MODEL_STUCK_IRQ, SMMUV3_MODEL_STUCK_COMMANDS};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned slow = 0; slow < 2; slow++) {
            struct probe *const p = probe_new(0, 1);
            const struct gr_smmuv3_config config = probe_config(p);
            uint64_t start;
            int leaks;

            probe_model(p);
            smmuv3_model_poke32(p->hw.model, CR0, 0x8);
            smmuv3_model_poke32(p->hw.model, IRQ_CTRL, 1);
            smmuv3_model_set_busy(p->hw.model, slow ? LIMIT / 2 : 0, slow ? 0 : stuck[i]);
            if (i == 1) /* firmware's own store is still under way */
                smmuv3_model_poke32(p->hw.model, GBPA, 1u << 31);
            start = host_now(p->h);
            assert_int_equal(gr_smmuv3_init(&p->smmu, &config), slow ? 0 : GR_ETIMEDOUT);
            leaks = host_leaks(p->h);
            if (slow) {
                assert_true(host_now(p->h) - start > LIMIT);
            } else {
                assert_in_range(host_now(p->h) - start, LIMIT, LIMIT + SLACK);
                assert_true(host_logged(p->h, i < 3 ? "cannot be disabled" : "does not start"));
                assert_int_equal(leaks, 0);
            }
            smmuv3_model_set_busy(p->hw.model, 0, 0);
            /* But where it does not even take the wish to abort. */
            assert_int_equal(reads(p, SID, LEFT), i == 1 && !slow);
            probe_free(p, slow);
        }
    }
}

/* It answers at the very moment that we give up on it. */
static bool late_answer(struct probe *p, uint32_t offset, uint32_t *out)
{
    if (offset != CR0ACK || p->answers++)
        return false;
    host_advance(p->h, 2 * LIMIT);
    *out = 0x1f;
    return true;
}

static void test_late_start(void **state)
{
    struct probe *const p = probe_new(0, 1);

    (void)state;
    probe_model(p);
    p->on_read = late_answer;
    probe_start(p, 0, 0);
    assert_true(p->answers > 1);
    probe_free(p, true);
}

/* It starts in part, and then does not stop either: what it may still read stays. */
static bool stuck_later(struct probe *p, uint32_t offset, uint32_t *out)
{
    if (offset == CMDQ_CONS)
        p->answers = 1;
    if (offset == CR0ACK && p->answers) {
        *out = 0x8;
        return true;
    }
    return false;
}

static void test_stuck_after_start(void **state)
{
    struct probe *const p = probe_new(0, 1);
    const struct gr_smmuv3_config config = probe_config(p);

    (void)state;
    probe_model(p);
    p->on_read = stuck_later;
    assert_int_equal(gr_smmuv3_init(&p->smmu, &config), GR_ETIMEDOUT);
    assert_int_equal(host_leaks(p->h), 4); /* the table, two queues, contexts */
    p->on_read = NULL;
    host_smmuv3_fini(&p->hw);
    assert_int_equal(host_misuse(p->h), 0);
    assert_int_equal(host_destroy(p->h), 4);
    test_free(p);
}

/* It stays disabled. */
static bool never_starts(struct probe *p, uint32_t offset, uint32_t *out)
{
    (void)p;
    *out = 0;
    return offset == CR0ACK;
}

static void test_never_starts(void **state)
{
    struct probe *const p = probe_new(0, 1);
    const struct gr_smmuv3_config config = probe_config(p);

    (void)state;
    probe_model(p);
    p->on_read = never_starts;
    assert_int_equal(gr_smmuv3_init(&p->smmu, &config), GR_ETIMEDOUT);
    assert_true(host_logged(p->h, "does not start"));
    probe_free(p, false);
}

static void test_stuck_fini(void **state)
{
    struct probe *const p = probe_up(0, 0, 0);
    struct client c;

    (void)state;
    client_up(p, &c, SID, 1);
    assert_int_equal(gr_smmuv3_fini(&p->smmu), GR_EBUSY);
    client_end(&c);
    smmuv3_model_set_busy(p->hw.model, 0, SMMUV3_MODEL_STUCK_CR0);
    assert_int_equal(gr_smmuv3_fini(&p->smmu), GR_ETIMEDOUT);
    assert_true(host_logged(p->h, "stay allocated"));
    assert_int_equal(host_leaks(p->h), 4 + 4 + 1); /* also a second table and a page of contexts */
    host_smmuv3_fini(&p->hw);
    assert_int_equal(host_misuse(p->h), 0);
    assert_int_equal(host_destroy(p->h), 9);
    test_free(p);
}

/* ---- streams and contexts ---- */

static void test_attach(void **state)
{
    static const struct {
        unsigned lg2, va_bits, tg, levels;
    } rows[] = {
        {12, 32, 0, 3}, {12, 39, 0, 3}, {12, 40, 0, 4}, {12, 48, 0, 4},
        {14, 36, 2, 2}, {14, 37, 2, 3}, {14, 47, 2, 3}, {14, 48, 2, 4},
        {16, 42, 1, 2}, {16, 43, 1, 3}, {16, 48, 1, 3},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]) * VARIANTS_1; i++) {
        const unsigned row = i / VARIANTS_1;
        const bool coherent = !(i & NONCOHERENT);
        struct probe *const p = probe_up(i % VARIANTS_1, rows[row].lg2, rows[row].va_bits);
        const uint64_t end = UINT64_C(1) << rows[row].va_bits;
        struct client c;
        const uint64_t *ste;
        const uint64_t *cd;
        uint64_t pa;

        client_up(p, &c, SID, 1);
        ste = entry_of(p, SID);
        cd = context_of(p, SID);
        /* IHI 0070 5.2, 5.4; docs/QEMU.md */
        assert_int_equal(ste[0] & 0xf00000000000003f, 0xb);
        assert_int_equal(ste[1], UINT64_C(1) << 44 | (coherent ? 0xd4 : 0)); /* SHCFG, S1C* */
        assert_int_equal(entry_of(p, SID ^ 0x80)[0], 1);                     /* aborts */
        assert_int_equal(cd[0] & 0x3f, 64 - rows[row].va_bits);
        assert_int_equal(cd[0] >> 6 & 3, rows[row].tg);
        assert_int_equal(cd[0] >> 8 & 0x3f, coherent ? 0x35 : 0);
        assert_int_equal(cd[0] >> 14 & 0xffff, 0);
        assert_int_equal(cd[0] >> 30 & 3, 3);
        assert_int_equal(cd[0] >> 32 & 7, 4);
        assert_int_equal(cd[0] >> 35 & 0x1fff, 0x1c40);
        assert_int_equal(cd[0] >> 48, 0);
        assert_int_equal(cd[1], c.domain.pt.root_pa);
        assert_int_equal(cd[2], 0);
        assert_int_equal(cd[3], 0x44ff);
        assert_int_equal(c.domain.pt.levels, rows[row].levels);
        /* The first and the last address, and none above. */
        map(&c, 0, c.g);
        assert_int_equal(gr_domain_map(&c.domain, end - c.g, LEFT, c.g, GR_PROT_READ), 0);
        assert_true(reads(p, SID, 0) && reads(p, SID, end - 1) && writes(p, SID, c.g - 1));
        assert_false(reads(p, SID, end) || reads(p, SID, c.g) || writes(p, SID, end - 1));
        serve(p);
        assert_false(reads(p, SID ^ 1, 0) || reads(p, SID ^ 0x80, 0));
        assert_false(p->hw.irq); /* as blocked ones are */
        assert_int_equal(smmuv3_model_translate(p->hw.model, SID, 5, true, 1, &pa), MODEL_OK);
        assert_int_equal(pa, LEFT + 5);
        serve(p);
        assert_int_equal(gr_domain_detach(&c.domain, &c.dev), 0);
        assert_int_equal(ste[0], 1);
        assert_false(reads(p, SID, 0));
        assert_false(p->hw.irq); /* blocked streams are silent */
        client_end(&c);
        probe_free(p, true);
    }
}

/* IPS follows the tables' width, which is the least of the instances'. */
static void test_physical_sizes(void **state)
{
    (void)state;
    for (unsigned oas = 0; oas < 6; oas++) {
        const struct host_config host = {
            .cpu_page = 4096, .nbanks = 1, .seed = 1, .banks = {{0, 16 << 20}}};
        struct probe *const p = probe_new(0, 1);
        struct client c;
        char err[256];

        assert_int_equal(host_destroy(p->h), 0);
        p->h = host_create(&host, err, sizeof(err));
        assert_non_null(p->h);
        p->model.idr5 = 0x70 | oas;
        probe_model(p);
        probe_start(p, 0, 0);
        client_up(p, &c, SID, 1);
        assert_int_equal(context_of(p, SID)[0] >> 32 & 7, oas);
        assert_int_equal(gr_domain_map(&c.domain, 0, 0, c.g, RW), 0);
        assert_true(reads(p, SID, 0));
        client_end(&c);
        probe_free(p, true);
    }
}

/* A domain has one context, whatever its streams; another domain has another ASID, or VMID. */
static void test_asids(void **state)
{
    (void)state;
    for (unsigned variant = 0; variant < VARIANTS; variant++) {
        struct probe *const p = probe_up(variant, 12, 39);
        struct client a, b;

        client_up(p, &a, SID, 2);
        client_up(p, &b, SID + 0x100, 1);
        assert_int_equal(entry_of(p, SID)[0], entry_of(p, SID + 1)[0]);
        assert_int_equal(number_of(p, SID), 0);
        assert_int_equal(number_of(p, SID + 1), 0);
        assert_int_equal(number_of(p, SID + 0x100), 1);
        map(&a, 0, a.g);
        map(&b, a.g, a.g);
        assert_true(reads(p, SID, 0) && reads(p, SID + 1, 0) && !reads(p, SID + 0x100, 0));
        assert_true(reads(p, SID + 0x100, a.g) && !reads(p, SID, a.g));
        serve(p);
        /* Its number goes to the next domain, with nothing left of what was cached for it. */
        client_end(&a);
        client_up(p, &a, SID + 1, 1);
        assert_int_equal(number_of(p, SID + 1), 0);
        assert_false(reads(p, SID + 1, 0) || reads(p, SID, 0));
        assert_true(reads(p, SID + 0x100, a.g));
        serve(p);
        client_end(&a);
        client_end(&b);
        probe_free(p, true);
    }
}

/* From one domain to another, with everything cached: never a mix, never the old one after. */
static void test_move(void **state)
{
    (void)state;
    for (unsigned variant = 0; variant < VARIANTS; variant++) {
        struct probe *const p = probe_up(variant, 12, 39);
        struct client a, b;

        client_up(p, &a, SID, 1);
        client_make(p, &b, SID + 1, 1);
        for (unsigned round = 0; round < 20; round++) {
            struct client *const from = round % 2 ? &b : &a;
            struct client *const to = round % 2 ? &a : &b;

            map(from, 0, from->g);
            map(to, from->g, to->g);
            assert_true(reads(p, SID, 0) && !reads(p, SID, from->g));
            assert_int_equal(gr_domain_attach(&to->domain, &a.dev), 0);
            assert_true(!reads(p, SID, 0) && reads(p, SID, from->g));
            assert_int_equal(gr_domain_unmap(&from->domain, 0, from->g), 0);
            assert_int_equal(gr_domain_unmap(&to->domain, from->g, from->g), 0);
            assert_false(reads(p, SID, 0) || reads(p, SID, from->g));
            serve(p);
        }
        client_end(&b);
        client_end(&a);
        probe_free(p, true);
    }
}

/* Into a domain that translates another stream already, and back: that one keeps its context. */
static void test_join(void **state)
{
    (void)state;
    for (unsigned variant = 0; variant < VARIANTS; variant++) {
        struct probe *const p = probe_up(variant, 12, 39);
        struct client a, b, c;

        client_up(p, &a, SID, 1);
        client_up(p, &b, SID + 0x100, 1);
        map(&a, 0, a.g);
        map(&b, b.g, b.g);
        for (unsigned round = 0; round < 3; round++) {
            assert_int_equal(gr_domain_attach(&b.domain, &a.dev), 0);
            assert_int_equal(number_of(p, SID), 1);
            assert_true(reads(p, SID, b.g) && reads(p, SID + 0x100, b.g) && !reads(p, SID, 0));
            assert_int_equal(gr_domain_attach(&a.domain, &a.dev), 0);
            assert_int_equal(number_of(p, SID), 0);
            assert_int_equal(number_of(p, SID + 0x100), 1);
            assert_true(reads(p, SID, 0) && reads(p, SID + 0x100, b.g) && !reads(p, SID, b.g));
        }
        client_up(p, &c, SID + 0x200, 1);
        assert_int_equal(number_of(p, SID + 0x200), 2);
        client_end(&c);
        assert_int_equal(gr_domain_unmap(&b.domain, b.g, b.g), 0);
        assert_false(reads(p, SID + 0x100, b.g));
        serve(p);
        client_end(&a);
        client_end(&b);
        probe_free(p, true);
    }
}

/* The same with nothing between: what the stream leaves is not what the other one has. */
static void test_replace(void **state)
{
    (void)state;
    for (unsigned variant = 0; variant < VARIANTS; variant++) {
        struct probe *const p = probe_up(variant, 12, 39);
        struct gr_binding from = {.inst = &p->smmu.inst}, to = from, third = from;
        const struct gr_instance_ops *const ops = p->smmu.inst.ops;
        struct client a, b;

        client_make(p, &a, SID, 1);
        client_make(p, &b, SID, 1);
        map(&b, 0, b.g);
        assert_int_equal(ops->attach(&p->smmu.inst, SID, &a.domain.pt, &from), 0);
        assert_int_equal(ops->attach(&p->smmu.inst, SID + 1, &b.domain.pt, &to), 0);
        assert_int_equal(ops->attach(&p->smmu.inst, SID, &b.domain.pt, &to), 0);
        assert_int_equal(number_of(p, SID), 1);
        assert_int_equal(ops->block(&p->smmu.inst, SID, &to), 0);
        assert_true(reads(p, SID + 1, 0) && !reads(p, SID, 0));
        assert_int_equal(ops->attach(&p->smmu.inst, SID, &a.domain.pt, &third), 0);
        assert_int_equal(number_of(p, SID), 2); /* the other is not free */
        assert_int_equal(ops->block(&p->smmu.inst, SID, &third), 0);
        assert_int_equal(ops->block(&p->smmu.inst, SID + 1, &to), 0);
        client_end(&a);
        client_end(&b);
        probe_free(p, true);
    }
}

/* What a stream's entry says of stage 2, to the bit; and roots side by side. */
static void test_attach_stage_2(void **state)
{
    static const struct {
        unsigned lg2, va_bits, oas, tg, levels, sl0, roots;
    } rows[] = {
        {12, 32, 4, 0, 2, 0, 4},  {12, 34, 4, 0, 2, 0, 16}, {12, 35, 4, 0, 3, 1, 1},
        {12, 39, 4, 0, 3, 1, 1},  {12, 42, 4, 0, 3, 1, 8},  {12, 43, 4, 0, 3, 1, 16},
        {12, 44, 4, 0, 4, 2, 1},  {12, 48, 5, 0, 4, 2, 1},  {14, 36, 4, 2, 2, 1, 1},
        {14, 40, 4, 2, 2, 1, 16}, {14, 41, 4, 2, 3, 2, 1},  {14, 48, 5, 2, 3, 2, 2},
        {16, 42, 4, 1, 2, 1, 1},  {16, 44, 4, 1, 2, 1, 4},  {16, 46, 5, 1, 2, 1, 16},
        {16, 48, 5, 1, 3, 2, 1},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]) * VARIANTS_1; i++) {
        const unsigned row = i / VARIANTS_1;
        const bool coherent = !(i & NONCOHERENT);
        struct probe *const p = probe_new(i % VARIANTS_1 | STAGE_2, 1);
        const uint64_t end = UINT64_C(1) << rows[row].va_bits;
        const uint64_t edge = end / rows[row].roots; /* of the first root */
        struct client pad, c;
        const uint64_t *ste;
        uint64_t pa;

        p->model.idr5 = (p->model.idr5 & ~7u) | rows[row].oas;
        probe_model(p);
        probe_start(p, rows[row].lg2, rows[row].va_bits);
        client_up(p, &pad, SID ^ 0x80, 1); /* so that the VMID is not 0 */
        client_up(p, &c, SID, 1);
        ste = entry_of(p, SID);
        /* IHI 0070 5.2: V, Config 0b110 */
        assert_int_equal(ste[0], 0xd);
        assert_int_equal(ste[1], UINT64_C(1) << 44); /* SHCFG; no descriptors are read */
        assert_int_equal(ste[2] & 0xffffffff, 1);    /* S2VMID */
        assert_int_equal(ste[2] >> 32 & 0x3f, 64 - rows[row].va_bits);
        assert_int_equal(ste[2] >> 38 & 3, rows[row].sl0);
        assert_int_equal(ste[2] >> 40 & 0x3f, coherent ? 0x35 : 0); /* S2IR0, S2OR0, S2SH0 */
        assert_int_equal(ste[2] >> 46 & 3, rows[row].tg);
        assert_int_equal(ste[2] >> 48 & 7, rows[row].oas);
        assert_int_equal(ste[2] >> 51, 0x81); /* S2AA64 and S2R; not S2ENDI, S2AFFD, S2PTW, S2S */
        assert_int_equal(ste[3], c.domain.pt.root_pa);
        for (unsigned word = 4; word < 8; word++)
            assert_int_equal(ste[word], 0);
        assert_int_equal(c.domain.pt.levels, rows[row].levels);
        assert_int_equal(1u << c.domain.pt.roots_lg2, rows[row].roots);
        assert_int_equal(ste[3] % (rows[row].roots * c.g), 0);
        /* The first and the last address, around the edge of a root, and none above. */
        map(&c, 0, c.g);
        assert_int_equal(gr_domain_map(&c.domain, end - c.g, LEFT, c.g, GR_PROT_READ), 0);
        assert_true(reads(p, SID, 0) && reads(p, SID, end - 1) && writes(p, SID, c.g - 1));
        assert_false(reads(p, SID, end) || reads(p, SID, c.g) || writes(p, SID, end - 1));
        if (edge < end) {
            assert_int_equal(gr_domain_map(&c.domain, edge, LEFT + 2 * c.g, c.g, GR_PROT_WRITE), 0);
            assert_true(writes(p, SID, edge));
            assert_false(reads(p, SID, edge) || reads(p, SID, edge - 1));
            assert_int_equal(smmuv3_model_translate(p->hw.model, SID, edge, true, 1, &pa),
                             MODEL_OK);
            assert_int_equal(pa, LEFT + 2 * c.g);
        }
        serve(p);
        assert_int_equal(gr_domain_detach(&c.domain, &c.dev), 0);
        assert_int_equal(ste[0], 1);
        assert_false(reads(p, SID, 0));
        assert_false(p->hw.irq); /* blocked streams are silent */
        client_end(&c);
        client_end(&pad);
        probe_free(p, true);
    }
}

/* Which stage it is: what is asked for, else the first; what it lacks is refused. */
static void test_stages(void **state)
{
    static const struct {
        unsigned has, asked;
        enum gr_pt_format format; /* 0: refused */
        int err;
        const char *why;
    } rows[] = {
        {1, 0, GR_PT_LPAE_S1, 0, NULL},
        {2, 0, GR_PT_LPAE_S2, 0, NULL},
        {3, 0, GR_PT_LPAE_S1, 0, NULL},
        {3, 1, GR_PT_LPAE_S1, 0, NULL},
        {3, 2, GR_PT_LPAE_S2, 0, NULL},
        {0, 0, 0, GR_EOPNOTSUPP, "it has no stage 1 and no stage 2; IDR0"},
        {2, 1, 0, GR_EINVAL, "stage 1 is configured, and it has none; IDR0"},
        {1, 2, 0, GR_EINVAL, "stage 2 is configured, and it has none; IDR0"},
        {3, 3, 0, GR_EINVAL, "the stage must be 1 or 2; configured (0x3)"},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct probe *const p = probe_new(0, 1);
        struct gr_smmuv3_config config = probe_config(p);
        struct client c;

        smmuv3_model_set_stages(&p->model, (rows[i].has & 1 ? SMMUV3_MODEL_STAGE_1 : 0) |
                                               (rows[i].has & 2 ? SMMUV3_MODEL_STAGE_2 : 0));
        config.stage = (uint8_t)rows[i].asked;
        if (!rows[i].format) {
            refused(p, &config, rows[i].err, rows[i].why);
            probe_free(p, false);
            continue;
        }
        probe_model(p);
        assert_int_equal(gr_smmuv3_init(&p->smmu, &config), 0);
        assert_int_equal(p->smmu.inst.table.format, rows[i].format);
        client_up(p, &c, SID, 1);
        map(&c, 0, c.g);
        assert_true(reads(p, SID, 0));
        assert_int_equal(gr_domain_unmap(&c.domain, 0, c.g), 0);
        assert_false(reads(p, SID, 0));
        serve(p);
        client_end(&c);
        probe_free(p, true);
    }
}

/* Stage 2 translates no more than the output's width, whatever is asked for. */
static void test_stage_2_widths(void **state)
{
    static const unsigned sizes[] = {32, 36, 40, 42, 44, 48};

    (void)state;
    for (unsigned i = 0; i < 12; i++) {
        const struct host_config host = {
            .cpu_page = 4096, .nbanks = 1, .seed = 1, .banks = {{0, 16 << 20}}};
        struct probe *const p = probe_new(STAGE_2, 1);
        struct gr_smmuv3_config config = probe_config(p);
        const unsigned bits = i < 6 ? sizes[i] : 32;
        struct client c;
        char err[256];

        assert_int_equal(host_destroy(p->h), 0);
        p->h = host_create(&host, err, sizeof(err));
        assert_non_null(p->h);
        p->model.idr5 = 0x70 | i % 6;
        probe_model(p);
        config = probe_config(p);
        config.va_bits = i < 6 ? 0 : 32;
        assert_int_equal(gr_smmuv3_init(&p->smmu, &config), 0);
        assert_int_equal(p->smmu.inst.table.va_bits, bits);
        assert_int_equal(p->smmu.inst.aperture.last, (UINT64_C(1) << bits) - 1);
        client_up(p, &c, SID, 1);
        assert_int_equal(entry_of(p, SID)[2] >> 48 & 7, i % 6);
        assert_int_equal(gr_domain_map(&c.domain, (UINT64_C(1) << bits) - c.g, 0, c.g, RW), 0);
        assert_true(reads(p, SID, (UINT64_C(1) << bits) - 1));
        client_end(&c);
        assert_int_equal(gr_smmuv3_fini(&p->smmu), 0);
        p->written = 0;
        config.va_bits = 48;
        config.aperture = (struct gr_range){0, UINT64_C(1) << sizes[i % 6]};
        refused(p, &config, GR_EINVAL, "the aperture does not lie in the IOVA bits");
        probe_free(p, false);
    }
}

/*
 * The words that say what stage 2 is to do change only while the stream is known to abort, and the
 * hardware has forgotten and confirmed that before the first word leads there.
 */
struct order_2 {
    struct probe *p;
    uint64_t word[4];
    uint64_t since; /* commands consumed when the entry last changed */
    unsigned described, started;
};

static void watch_order_2(void *arg)
{
    struct order_2 *const o = arg;
    const uint64_t commands = smmuv3_model_stats(o->p->hw.model)->commands;
    const uint64_t *const ste = entry_of(o->p, SID);

    if (ste[2] != o->word[2] || ste[3] != o->word[3]) {
        assert_int_equal(ste[0], 1);
        assert_int_equal(o->word[0], 1);
        if (!o->described++) { /* before the first of them */
            assert_true(commands - o->since >= 2);
            assert_command(o->p, 1, CMD_SYNC, 0);
        }
        o->since = commands;
    }
    if (ste[0] != o->word[0]) {
        if (ste[0] != 1) {
            assert_int_equal(commands - o->since, 2);
            assert_command(o->p, 2, 0x03 | (uint64_t)SID << 32, 0);
            assert_command(o->p, 1, CMD_SYNC, 0);
            o->started++;
        }
        o->described = 0;
        o->since = commands;
    }
    memcpy(o->word, ste, sizeof(o->word));
}

static void order_stage_2(unsigned variant)
{
    struct probe *const p = probe_up(variant | STAGE_2, 14, 36);
    struct order_2 order = {.p = p};
    struct client a, b;

    client_up(p, &a, SID, 1);
    client_make(p, &b, SID + 1, 1);
    memcpy(order.word, entry_of(p, SID), sizeof(order.word));
    host_set_observer(p->h, watch_order_2, &order);
    for (unsigned round = 0; round < 4; round++) {
        map(&a, 0, a.g);
        map(&b, b.g, b.g);
        assert_int_equal(gr_domain_attach(round % 2 ? &a.domain : &b.domain, &a.dev), 0);
        assert_int_equal(reads(p, SID, 0), round % 2);
        assert_int_equal(reads(p, SID, a.g), !(round % 2));
        serve(p);
        assert_int_equal(gr_domain_unmap(&a.domain, 0, a.g), 0);
        assert_int_equal(gr_domain_unmap(&b.domain, b.g, b.g), 0);
    }
    assert_int_equal(order.started, 4);
    host_set_observer(p->h, NULL, NULL);
    client_end(&b);
    client_end(&a);
    probe_free(p, true);
}

static void test_order_stage_2(void **state)
{
    (void)state;
    order_stage_2(0);
    order_stage_2(NONCOHERENT); /* as memory has it */
}

/* Every access on the way into and out of a domain is refused or translated by it. */
static void looks_in(struct probe *p)
{
    uint64_t pa = 0;

    if (smmuv3_model_translate(p->hw.model, SID, 0, false, 1, &pa) == MODEL_OK)
        assert_int_equal(pa, LEFT);
    smmuv3_model_prefetch(p->hw.model, SID, 0);
}

static void look(void *arg)
{
    looks_in(arg);
}

/* No structure is ever found half made: C_BAD_STREAMID, while there is no table, and no other. */
static bool on_early(void *cookie, const struct gr_fault *fault)
{
    (void)cookie;
    assert_int_equal(fault->raw, 2);
    return true;
}

static void test_watched(void **state)
{
    (void)state;
    for (unsigned variant = 0; variant < VARIANTS; variant++) {
        for (unsigned round = 0; round < 2; round++) {
            struct probe *const p = probe_up(variant, 14, 36);
            struct client c;

            gr_instance_set_fault_handler(&p->smmu.inst, on_early, NULL);
            host_set_observer(p->h, look, p);
            p->on_access = looks_in;
            for (unsigned again = 0; again < 2; again++) {
                client_make(p, &c, SID, 2);
                map(&c, 0, c.g);
                assert_int_equal(gr_domain_attach(&c.domain, &c.dev), 0);
                assert_true(reads(p, SID, 0) && reads(p, SID + 1, 0));
                client_end(&c);
                assert_false(reads(p, SID, 0) || reads(p, SID + 1, 0));
                serve(p);
            }
            host_set_observer(p->h, NULL, NULL);
            probe_free(p, true);
        }
    }
}

/*
 * What a descriptor or an entry leads to was stored, and a barrier followed, before it itself is
 * stored: seen from the CPU's side, because hardware would have to be very lucky to see it.
 */
struct order {
    struct probe *p;
    uint64_t barriers;
    unsigned since; /* stores since the last barrier */
    uint64_t descriptor, entry;
    unsigned seen;
};

static void watch_order(void *arg)
{
    struct order *const o = arg;
    const uint64_t calls = host_calls(o->p->h, HOST_BARRIER);
    const uint64_t table = peek64(o->p, STRTAB_BASE) & UINT64_C(0xffffffffffc0);
    const uint64_t descriptor = *memory_at(o->p, table + 8 * (SID >> 8), 8);
    const uint64_t *const entry = descriptor ? entry_of(o->p, SID) : NULL;

    o->since = calls == o->barriers ? o->since + 1 : 0;
    o->barriers = calls;
    if (descriptor != o->descriptor) {
        assert_int_equal(o->since, 1);
        o->seen++;
    }
    if (entry && entry[0] != o->entry && entry[0] & 8) {
        assert_int_equal(o->since, 1);
        o->seen++;
    }
    o->descriptor = descriptor;
    o->entry = entry ? entry[0] : 0;
}

static void test_order(void **state)
{
    struct probe *const p = probe_up(0, 14, 36);
    struct order order = {.p = p};
    struct client c;

    (void)state;
    client_make(p, &c, SID, 1);
    host_set_observer(p->h, watch_order, &order);
    assert_int_equal(gr_domain_attach(&c.domain, &c.dev), 0);
    host_set_observer(p->h, NULL, NULL);
    assert_int_equal(order.seen, 2);
    client_end(&c);
    probe_free(p, true);
}

/* A stream that passes as it is, between domains that translate; and one that hangs on the way. */
static void test_bypass(void **state)
{
    (void)state;
    for (unsigned i = 0; i < VARIANTS; i++) {
        struct probe *const p = probe_up(i, 14, 0);
        struct gr_domain through;
        struct client c;

        client_up(p, &c, SID, 2);
        map(&c, 0, c.g);
        assert_true(reads(p, SID, 0) && !reads(p, SID, LEFT));
        assert_int_equal(gr_domain_init(&through, p->h, &c.dev, GR_DOMAIN_IDENTITY, 0), 0);
        assert_int_equal(gr_domain_attach(&through, &c.dev), 0);
        assert_int_equal(entry_of(p, SID)[0], 0x9); /* IHI 0070 5.2: Config 0b100 */
        assert_true(reads(p, SID, LEFT) && writes(p, SID + 1, LEFT + LEFT_SIZE - 1));
        assert_false(reads(p, SID, 0) || reads(p, SID + 2, LEFT));
        assert_int_equal(gr_domain_attach(&c.domain, &c.dev), 0);
        assert_true(reads(p, SID, 0) && !reads(p, SID, LEFT));
        assert_int_equal(gr_domain_attach(&through, &c.dev), 0);
        assert_int_equal(gr_domain_detach(&through, &c.dev), 0);
        assert_false(reads(p, SID, 0) || reads(p, SID, LEFT));
        assert_int_equal(gr_domain_fini(&through), 0);
        assert_int_equal(gr_domain_unmap(&c.domain, 0, c.g), 0);
        client_end(&c);
        probe_free(p, true);
    }
}

static void attach_without_memory(unsigned variant, uint64_t pages)
{
    struct probe *const p = probe_up(variant, 12, 39);
    struct client c;

    client_make(p, &c, SID, 1);
    for (uint64_t n = 1; n <= pages; n++) {
        host_fail_alloc(p->h, n);
        assert_int_equal(gr_domain_attach(&c.domain, &c.dev), GR_ENOMEM);
        host_fail_alloc(p->h, 0);
        assert_null(gr_device_domain(&c.dev));
        assert_false(reads(p, SID, 0));
        serve(p);
    }
    host_fail_alloc(p->h, pages + 1);
    assert_int_equal(gr_domain_attach(&c.domain, &c.dev), 0);
    host_fail_alloc(p->h, 0);
    client_end(&c);
    probe_free(p, true);
}

static void test_attach_without_memory(void **state)
{
    (void)state;
    attach_without_memory(0, 2); /* a second table, then a page of contexts */
    attach_without_memory(STAGE_2, 1);
}

/* ASIDs or VMIDs of 8 bits: 256 contexts, and no more; one that is given back is had again. */
static void run_out(unsigned variant)
{
    struct probe *const p = probe_new(variant, 1);
    struct gr_binding *const binding = test_calloc(257, sizeof(*binding));
    struct client c;
    const struct gr_instance_ops *ops;

    p->model.idr0 &= ~(1u << 12 | 1u << 18);
    probe_model(p);
    probe_start(p, 12, 39);
    ops = p->smmu.inst.ops;
    client_make(p, &c, SID, 1);
    for (uint32_t i = 0; i < 256; i++) {
        assert_int_equal(ops->attach(&p->smmu.inst, i, &c.domain.pt, &binding[i]), 0);
        assert_int_equal(number_of(p, i), i);
    }
    assert_int_equal(ops->attach(&p->smmu.inst, 256, &c.domain.pt, &binding[256]), GR_ENOSPC);
    assert_int_equal(ops->block(&p->smmu.inst, 256, &binding[256]), 0);
    assert_int_equal(ops->invalidate(&p->smmu.inst, &binding[256], 0, c.g - 1, false), 0);
    assert_int_equal(ops->block(&p->smmu.inst, 77, &binding[77]), 0);
    assert_int_equal(ops->attach(&p->smmu.inst, 256, &c.domain.pt, &binding[256]), 0);
    assert_int_equal(number_of(p, 256), 77);
    for (uint32_t i = 0; i <= 256; i++)
        assert_int_equal(ops->block(&p->smmu.inst, i, &binding[i]), 0);
    assert_int_equal(ops->block(&p->smmu.inst, 0x4000, &binding[0]), 0); /* never attached */
    client_end(&c);
    test_free(binding);
    probe_free(p, true);
}

static void test_no_context(void **state)
{
    (void)state;
    run_out(0);
    run_out(STAGE_2);
}

/* ---- invalidation ---- */

static void invalidates(struct probe *p, struct client *c, uint64_t first, uint64_t count,
                        bool tables)
{
    const struct gr_instance *const inst = &p->smmu.inst;

    assert_int_equal(inst->ops->invalidate(&p->smmu.inst, &c->domain.binding[0], first,
                                           first + count * c->g - 1, tables),
                     0);
    assert_command(p, 1, CMD_SYNC, 0);
}

static void test_range_commands(void **state)
{
    static const uint64_t counts[] = {1, 2, 31, 32, 33, 64, 65, 1000, 1u << 20, UINT64_C(1) << 31};

    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        const unsigned lg2 = 12 + i % 3 * 2;
        struct probe *const p = probe_up(i < 3 ? 0 : STAGE_2, lg2, 48);
        const uint64_t tg = (lg2 - 10) / 2;
        const uint64_t word0 = i < 3 ? 0x12 | UINT64_C(1) << 48 : 0x2a | UINT64_C(1) << 32;
        struct client pad, c;
        uint64_t prod;

        client_up(p, &pad, SID + 1, 1); /* so that the number is not 0 */
        client_up(p, &c, SID, 1);
        for (unsigned k = 0; k < sizeof(counts) / sizeof(counts[0]); k++) {
            const uint64_t count = counts[k];
            uint64_t scale = 0;
            uint64_t num = count;

            while (num > 32) {
                num = (num + 1) / 2;
                scale++;
            }
            for (unsigned tables = 0; tables < 2; tables++) {
                const uint64_t iova = 7 * c.g;

                prod = peek(p, CMDQ_PROD);
                invalidates(p, &c, iova, count, tables);
                assert_int_equal((peek(p, CMDQ_PROD) - prod) & 0xff, 2);
                if (count == 1)
                    assert_command(p, 2, word0, iova | !tables);
                else
                    assert_command(p, 2, word0 | (num - 1) << 12 | scale << 20,
                                   iova | !tables | tg << 10);
                assert_true(num << scale >= count && num << scale <= count + count / 16 + 1);
            }
        }
        client_end(&c);
        client_end(&pad);
        probe_free(p, true);
    }
}

static void single_commands(unsigned variant, uint64_t one, uint64_t all)
{
    struct probe *const p = probe_up(variant | NO_RANGE, 14, 36);
    struct client c;

    client_up(p, &c, SID, 1);
    for (uint64_t count = 1; count <= 40; count++) {
        const uint32_t prod = peek(p, CMDQ_PROD);

        invalidates(p, &c, 3 * c.g, count, count % 2);
        if (count > GR_CFG_SMMUV3_SINGLE) {
            assert_int_equal((peek(p, CMDQ_PROD) - prod) & 0xff, 2);
            assert_command(p, 2, all, 0);
            continue;
        }
        assert_int_equal((peek(p, CMDQ_PROD) - prod) & 0xff, count + 1);
        for (uint64_t i = 0; i < count; i++)
            assert_command(p, (unsigned)(count + 1 - i), one, ((3 + i) * c.g) | !(count % 2));
    }
    client_end(&c);
    probe_free(p, true);
}

static void test_single_commands(void **state)
{
    (void)state;
    single_commands(0, 0x12, 0x11);
    single_commands(STAGE_2, 0x2a, 0x28);
}

/*
 * What is cached is forgotten, all of it and nothing else's: pages, groups, blocks, tables. The
 * model keeps everything that it was not told to forget.
 */
static void test_invalidation(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3 * VARIANTS; i++) {
        const unsigned lg2 = 12 + 2 * (i / VARIANTS);
        struct probe *const p = probe_up(i % VARIANTS, lg2, lg2 == 12 ? 39 : 42);
        struct client c, other;
        const uint64_t g = UINT64_C(1) << lg2;
        const uint64_t lens[] = {g, 2 * g, 17 * g, 33 * g, 300 * g};

        client_up(p, &c, SID, 1);
        client_up(p, &other, SID + 1, 1);
        for (unsigned k = 0; k < 5; k++) {
            const uint64_t len = lens[k];
            const uint64_t span = UINT64_C(1) << (2 * lg2 - 3);

            for (uint64_t at = span - 2 * g; at < span + 2 * g; at += g) {
                assert_int_equal(gr_domain_map(&c.domain, at, RAM, len, RW), 0);
                map(&other, 0, g);
                for (uint64_t byte = at; byte < at + len; byte += g)
                    smmuv3_model_prefetch(p->hw.model, SID, byte);
                assert_true(reads(p, SID, at) && reads(p, SID + 1, 0));
                assert_int_equal(gr_domain_unmap(&c.domain, at, len), 0);
                for (uint64_t byte = at; byte < at + len; byte += g)
                    assert_false(reads(p, SID, byte));
                serve(p);
                assert_int_equal(gr_domain_trim(&c.domain, at, len), 0);
                assert_int_equal(gr_domain_unmap(&other.domain, 0, g), 0);
            }
        }
        client_end(&c);
        client_end(&other);
        probe_free(p, true);
    }
}

/* Blocks, where the tables make them, and their groups. */
static void test_blocks(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2 * VARIANTS; i++) {
        const unsigned lg2 = 12 + 2 * (i / VARIANTS);
        struct probe *const p = probe_up(i % VARIANTS, lg2, lg2 == 12 ? 39 : 44);
        const uint64_t block = UINT64_C(1) << (2 * lg2 - 3);
        struct client c;

        client_up(p, &c, SID, 1);
        for (unsigned k = 1; k <= 32; k *= 2) {
            assert_int_equal(gr_domain_map(&c.domain, 32 * block, 32 * block, k * block, RW), 0);
            for (unsigned n = 0; n < k; n++) {
                uint64_t pa = 0;
                const uint64_t at = (32 + n) * block + 0x777;

                assert_int_equal(smmuv3_model_translate(p->hw.model, SID, at, false, 1, &pa),
                                 MODEL_OK);
                assert_int_equal(pa, at);
            }
            assert_int_equal(gr_domain_unmap(&c.domain, 32 * block, k * block), 0);
            for (unsigned n = 0; n < k; n++)
                assert_false(reads(p, SID, (32 + n) * block + 0x777));
            serve(p);
        }
        client_end(&c);
        probe_free(p, true);
    }
}

/* ---- the command queue in trouble ---- */

/* A command is refused: what asked for it fails, and the next goes on. */
static void test_refused_command(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4 * VARIANTS; i++) {
        struct probe *const p = probe_up(i % VARIANTS, 12, 39);
        const unsigned error = 1 + i / VARIANTS % 2; /* illegal, abort */
        const unsigned which = 1 + i / VARIANTS / 2; /* the invalidation, or the CMD_SYNC */
        struct client c;

        client_up(p, &c, SID, 1);
        map(&c, 0, c.g);
        assert_true(reads(p, SID, 0));
        smmuv3_model_refuse(p->hw.model, which, error);
        assert_int_equal(
            p->smmu.inst.ops->invalidate(&p->smmu.inst, &c.domain.binding[0], 0, c.g - 1, false),
            GR_ETIMEDOUT);
        assert_int_equal(p->smmu.refused, 1);
        assert_int_equal(p->smmu.timeouts, 0);
        assert_int_equal(p->smmu.gerrors, 1);
        assert_int_equal(peek(p, GERROR), peek(p, GERRORN));
        assert_command(p, 3 - which, CMD_SYNC, 0);
        assert_true(
            host_logged(p->h, error == 1 ? "was refused, error 1" : "was refused, error 2"));
        assert_false(gr_smmuv3_isr(&p->smmu)); /* nothing is left of it */
        assert_int_equal(gr_domain_unmap(&c.domain, 0, c.g), 0);
        assert_false(reads(p, SID, 0));
        serve(p);
        client_end(&c);
        probe_free(p, true);
    }
}

/* One after another, until the queue is empty: bounded all the same. */
static bool always_refused(struct probe *p, uint32_t offset, uint32_t *out)
{
    if (offset == GERROR) {
        *out = peek(p, GERRORN) ^ 1;
        return true;
    }
    if (offset == CMDQ_CONS) {
        *out = 1u << 24 | ((peek(p, CMDQ_PROD) - 1) & 0x1ff);
        return true;
    }
    return false;
}

static void test_refused_for_ever(void **state)
{
    struct probe *const p = probe_up(0, 12, 39);
    struct client c;
    uint64_t start;

    (void)state;
    client_up(p, &c, SID, 1);
    p->on_read = always_refused;
    start = host_now(p->h);
    assert_int_equal(
        p->smmu.inst.ops->invalidate(&p->smmu.inst, &c.domain.binding[0], 0, c.g - 1, false),
        GR_ETIMEDOUT);
    assert_in_range(host_now(p->h) - start, LIMIT, LIMIT + SLACK);
    assert_int_equal(p->smmu.timeouts, 1);
    p->on_read = NULL;
    assert_true(gr_smmuv3_isr(&p->smmu)); /* of the acknowledgements one is too many */
    client_end(&c);
    probe_free(p, true);
}

/* The queue wraps, many times, with batches of all lengths. */
static void test_wrap(void **state)
{
    struct probe *const p = probe_up(NO_RANGE, 12, 39);
    struct client c;

    (void)state;
    client_up(p, &c, SID, 1);
    for (unsigned i = 0; i < 400; i++) {
        const uint64_t n = 1 + i % 32;

        map(&c, 0, n * c.g);
        assert_true(reads(p, SID, 0) && reads(p, SID, n * c.g - 1));
        assert_int_equal(gr_domain_unmap(&c.domain, 0, n * c.g), 0);
        assert_false(reads(p, SID, 0) || reads(p, SID, n * c.g - 1));
        serve(p);
    }
    assert_true(p->smmu.commands > 8 * 256);
    client_end(&c);
    probe_free(p, true);
}

/* It stops: bounded, and what was asked meanwhile is done once it goes on. */
static void test_stuck(void **state)
{
    (void)state;
    for (unsigned variant = 0; variant < VARIANTS; variant++) {
        struct probe *const p = probe_up(variant, 12, 39);
        struct client c;
        uint64_t start;
        unsigned rounds = 0;

        client_up(p, &c, SID, 2);
        map(&c, 0, 2 * c.g);
        assert_true(reads(p, SID, 0) && reads(p, SID, c.g) && reads(p, SID + 1, 0));
        smmuv3_model_set_busy(p->hw.model, 0, SMMUV3_MODEL_STUCK_COMMANDS);
        start = host_now(p->h);
        assert_int_equal(gr_domain_unmap(&c.domain, 0, c.g), GR_ETIMEDOUT);
        assert_in_range(host_now(p->h) - start, LIMIT, 3 * LIMIT + SLACK); /* and two blocks */
        p->hasty = true;
        /* Until it is full. */
        for (unsigned i = 0; i < 200; i++) {
            const uint32_t prod = peek(p, CMDQ_PROD);

            start = host_now(p->h);
            assert_int_equal(p->smmu.inst.ops->invalidate(&p->smmu.inst, &c.domain.binding[0], 0,
                                                          c.g - 1, false),
                             GR_ETIMEDOUT);
            assert_in_range(host_now(p->h) - start, LIMIT, LIMIT + LIMIT / 4);
            rounds += prod != peek(p, CMDQ_PROD);
        }
        assert_in_range(rounds, 60, 120);
        for (unsigned i = 0; i < 12; i++)
            assert_int_equal(p->smmu.inst.ops->block(&p->smmu.inst, SID, &c.domain.binding[0]),
                             GR_ETIMEDOUT);
        smmuv3_model_set_busy(p->hw.model, 0, 0);
        assert_false(reads(p, SID, 0) || reads(p, SID, c.g) || reads(p, SID + 1, 0));
        /* It confirms now, and the streams are known to be blocked. */
        assert_int_equal(gr_domain_unmap(&c.domain, c.g, c.g), 0);
        client_end(&c);
        serve(p);
        probe_free(p, true);
    }
}

/* Only the first wait fails: full queue or not, what is refused meanwhile is skipped. */
static void test_refused_while_stuck(void **state)
{
    struct probe *const p = probe_up(0, 12, 39);
    struct client c;

    (void)state;
    client_up(p, &c, SID, 1);
    p->hasty = true;
    smmuv3_model_set_busy(p->hw.model, 0, SMMUV3_MODEL_STUCK_COMMANDS);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(
            p->smmu.inst.ops->invalidate(&p->smmu.inst, &c.domain.binding[0], 0, c.g - 1, false),
            GR_ETIMEDOUT);
    smmuv3_model_refuse(p->hw.model, 5, 1);
    smmuv3_model_set_busy(p->hw.model, 0, 0);
    assert_int_equal(
        p->smmu.inst.ops->invalidate(&p->smmu.inst, &c.domain.binding[0], 0, c.g - 1, false),
        GR_ETIMEDOUT);
    assert_int_equal(
        p->smmu.inst.ops->invalidate(&p->smmu.inst, &c.domain.binding[0], 0, c.g - 1, false), 0);
    assert_int_equal(p->smmu.refused, 1);
    client_end(&c);
    probe_free(p, true);
}

static bool late_queue(struct probe *p, uint32_t offset, uint32_t *out)
{
    if (offset != CMDQ_CONS || p->answers++)
        return false;
    host_advance(p->h, 2 * LIMIT);
    *out = peek(p, CMDQ_CONS) ^ 1;
    return true;
}

static void test_late_queue(void **state)
{
    struct probe *const p = probe_up(0, 12, 39);
    struct client c;

    (void)state;
    client_up(p, &c, SID, 1);
    p->on_read = late_queue;
    assert_int_equal(
        p->smmu.inst.ops->invalidate(&p->smmu.inst, &c.domain.binding[0], 0, c.g - 1, false), 0);
    assert_int_equal(p->smmu.timeouts, 0);
    client_end(&c);
    probe_free(p, true);
}

/* A block that was not confirmed is asked for again, with whatever comes next. */
static void test_doubt(void **state)
{
    (void)state;
    for (unsigned again = 0; again < 3; again++) {
        struct probe *const p = probe_up(0, 12, 39);
        struct gr_binding binding = {.inst = &p->smmu.inst};
        const struct gr_instance_ops *const ops = p->smmu.inst.ops;
        struct client c;

        client_make(p, &c, SID, 1);
        map(&c, 0, c.g);
        assert_int_equal(ops->attach(&p->smmu.inst, SID, &c.domain.pt, &binding), 0);
        assert_int_equal(ops->attach(&p->smmu.inst, SID + 1, &c.domain.pt, &binding), 0);
        assert_true(reads(p, SID, 0) && reads(p, SID + 1, 0));
        smmuv3_model_lose(p->hw.model, true); /* it will not have done it */
        smmuv3_model_set_busy(p->hw.model, 0, SMMUV3_MODEL_STUCK_COMMANDS);
        assert_int_equal(ops->block(&p->smmu.inst, SID, &binding), GR_ETIMEDOUT);
        smmuv3_model_set_busy(p->hw.model, 0, 0);
        smmuv3_model_read32(p->hw.model, CMDQ_CONS);
        smmuv3_model_lose(p->hw.model, false);
        assert_true(reads(p, SID, 0));
        if (again == 0)
            assert_int_equal(ops->invalidate(&p->smmu.inst, &binding, 0, c.g - 1, false), 0);
        else if (again == 1)
            assert_int_equal(ops->block(&p->smmu.inst, SID + 1, &binding), 0);
        else
            assert_int_equal(ops->block(&p->smmu.inst, SID, &binding), 0);
        assert_false(reads(p, SID, 0));
        assert_int_equal(reads(p, SID + 1, 0), again != 1);
        assert_int_equal(ops->block(&p->smmu.inst, SID + 1, &binding), 0);
        assert_int_equal(ops->block(&p->smmu.inst, SID, &binding), 0);
        client_end(&c);
        probe_free(p, true);
    }
}

/* The first step of an attach hangs: there is no context yet, and whatever was before is in doubt.
 */
static void test_doubt_without_context(void **state)
{
    struct probe *const p = probe_up(0, 12, 39);
    struct gr_binding binding = {.inst = &p->smmu.inst};
    const struct gr_instance_ops *const ops = p->smmu.inst.ops;
    struct client c;

    (void)state;
    client_make(p, &c, SID, 1);
    smmuv3_model_set_busy(p->hw.model, 0, SMMUV3_MODEL_STUCK_COMMANDS);
    assert_int_equal(ops->attach(&p->smmu.inst, SID, &c.domain.pt, &binding), GR_ETIMEDOUT);
    assert_int_equal(ops->invalidate(&p->smmu.inst, &binding, 0, c.g - 1, false), GR_ETIMEDOUT);
    smmuv3_model_set_busy(p->hw.model, 0, 0);
    assert_int_equal(ops->invalidate(&p->smmu.inst, &binding, 0, c.g - 1, false), 0);
    assert_command(p, 2, 0x04, 31);
    assert_int_equal(ops->block(&p->smmu.inst, SID, &binding), 0);
    client_end(&c);
    probe_free(p, true);
}

/* A later step of an attach hangs: the stream is blocked, and the context comes back. */
static bool hangs_later(struct probe *p, uint32_t offset, uint32_t *out)
{
    if (offset != CMDQ_CONS || peek(p, CMDQ_PROD) <= p->answers)
        return false;
    *out = peek(p, CMDQ_CONS) ^ 1;
    return true;
}

static void attach_hangs(unsigned variant, unsigned commands)
{
    struct probe *const p = probe_up(variant, 12, 39);
    struct client c;

    client_make(p, &c, SID, 1);
    map(&c, 0, c.g);
    p->answers = peek(p, CMDQ_PROD) + commands;
    p->on_read = hangs_later;
    assert_int_equal(gr_domain_attach(&c.domain, &c.dev), GR_ETIMEDOUT);
    p->on_read = NULL;
    assert_int_equal(entry_of(p, SID)[0], 1);
    assert_int_equal(gr_domain_attach(&c.domain, &c.dev), 0);
    assert_true(reads(p, SID, 0));
    client_end(&c);
    assert_false(reads(p, SID, 0));
    probe_free(p, true);
}

static void test_attach_hangs(void **state)
{
    (void)state;
    attach_hangs(0, 3); /* answered up to the first CMD_SYNC */
    attach_hangs(STAGE_2, 2);
    attach_hangs(STAGE_2, 4); /* or to the second, before it is let go */
}

/*
 * A stream that left one domain without an answer, and got halfway into another: the first's tables
 * are known to be forgotten then, the second's are not.
 */
static void test_doubt_moves(void **state)
{
    struct probe *const p = probe_up(0, 12, 39);
    struct client a, b;
    int leaks;

    (void)state;
    client_up(p, &a, SID, 1);
    client_make(p, &b, SID + 1, 1);
    map(&a, 0, a.g);
    map(&b, 0, b.g);
    p->hasty = true;
    smmuv3_model_set_busy(p->hw.model, 0, SMMUV3_MODEL_STUCK_COMMANDS);
    assert_int_equal(gr_domain_detach(&a.domain, &a.dev), GR_ETIMEDOUT);
    smmuv3_model_set_busy(p->hw.model, 0, 0);
    p->answers = (peek(p, CMDQ_PROD) + 3) & 0x1ff;
    p->on_read = hangs_later;
    assert_int_equal(gr_domain_attach(&b.domain, &a.dev), GR_ETIMEDOUT);
    p->on_read = NULL;
    assert_null(gr_device_domain(&a.dev));
    leaks = host_leaks(p->h);
    assert_int_equal(gr_domain_unmap(&a.domain, 0, a.g), 0); /* nobody has it */
    assert_int_equal(gr_domain_fini(&a.domain), 0);
    assert_int_equal(host_leaks(p->h), leaks - 3);
    assert_int_equal(gr_domain_fini(&b.domain), 0);
    assert_true(host_logged(p->h, "never confirmed"));
    assert_int_equal(host_leaks(p->h), leaks - 3);
    assert_int_equal(gr_device_fini(&a.dev), 0);
    assert_int_equal(gr_device_fini(&b.dev), 0);
    assert_int_equal(gr_smmuv3_fini(&p->smmu), 0);
    assert_int_equal(host_leaks(p->h), 3);
    host_smmuv3_fini(&p->hw);
    assert_int_equal(host_misuse(p->h), 0);
    assert_int_equal(host_destroy(p->h), 3);
    test_free(p);
}

/* ---- events and errors ---- */

struct seen {
    struct gr_fault fault[64];
    unsigned count;
};

static bool on_fault(void *cookie, const struct gr_fault *fault)
{
    struct seen *const seen = cookie;

    if (seen->count < 64)
        seen->fault[seen->count] = *fault;
    seen->count++;
    return true;
}

static void test_events(void **state)
{
    static const struct {
        unsigned type;
        bool address;
        uint32_t read, write;
    } rows[] = {
        {0x02, false, GR_FAULT_NO_ROOT, GR_FAULT_NO_ROOT},
        {0x03, false, GR_FAULT_EXTERNAL, GR_FAULT_EXTERNAL},
        {0x04, false, GR_FAULT_NO_ROOT, GR_FAULT_NO_ROOT},
        {0x09, false, GR_FAULT_EXTERNAL, GR_FAULT_EXTERNAL},
        {0x0a, false, GR_FAULT_NO_ROOT, GR_FAULT_NO_ROOT},
        {0x0b, true, GR_FAULT_EXTERNAL, GR_FAULT_EXTERNAL},
        {0x10, true, GR_FAULT_NO_LEAF, GR_FAULT_NO_LEAF},
        {0x11, true, GR_FAULT_UNKNOWN, GR_FAULT_UNKNOWN},
        {0x12, true, GR_FAULT_UNKNOWN, GR_FAULT_UNKNOWN},
        {0x13, true, GR_FAULT_READ_PROT, GR_FAULT_WRITE_PROT},
        {0x21, false, GR_FAULT_UNKNOWN, GR_FAULT_UNKNOWN},
    };

    (void)state;
    for (unsigned variant = 0; variant < 2; variant++) {
        struct probe *const p = probe_up(variant, 12, 39);
        struct seen seen = {.count = 0};

        /* Once more, with a queue in memory that was used, and that caches know of. */
        assert_int_equal(gr_smmuv3_fini(&p->smmu), 0);
        probe_start(p, 12, 39);
        gr_instance_set_fault_handler(&p->smmu.inst, on_fault, &seen);
        assert_false(gr_smmuv3_isr(&p->smmu));
        for (unsigned i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
            const bool read = i % 2;
            const uint64_t record[4] = {rows[i / 2].type | (uint64_t)(i + 7) << 32,
                                        read ? UINT64_C(1) << 35 : 0, 0x123456789000 + i, 0};
            const struct gr_fault *const f = &seen.fault[0];

            smmuv3_model_event(p->hw.model, record);
            assert_true(p->hw.irq);
            seen.count = 0;
            serve(p);
            assert_int_equal(seen.count, 1);
            assert_ptr_equal(f->instance, &p->smmu.inst);
            assert_int_equal(f->stream, i + 7);
            assert_int_equal(f->raw, rows[i / 2].type);
            assert_int_equal(f->reasons, read ? rows[i / 2].read : rows[i / 2].write);
            assert_int_equal(f->level, GR_FAULT_LEVEL_UNKNOWN);
            assert_int_equal(f->access_known, rows[i / 2].address);
            assert_int_equal(f->iova, rows[i / 2].address ? 0x123456789000 + i : 0);
            assert_int_equal(f->write, rows[i / 2].address && !read);
            assert_int_equal(f->lost, 0);
        }
        probe_free(p, true);
    }
}

/* Of stage 2: S2 and CLASS; what it refused the SMMU itself is no fault of the device's. */
static void test_events_stage_2(void **state)
{
    struct probe *const p = probe_up(STAGE_2, 16, 0);
    struct seen seen = {.count = 0};
    const struct gr_fault *const f = &seen.fault[0];
    struct client c;

    (void)state;
    gr_instance_set_fault_handler(&p->smmu.inst, on_fault, &seen);
    client_up(p, &c, SID, 1);
    assert_int_equal(gr_domain_map(&c.domain, 0x50000, LEFT, c.g, GR_PROT_READ), 0);
    assert_int_equal(gr_domain_map(&c.domain, 0x70000, LEFT, c.g, GR_PROT_WRITE), 0);
    for (unsigned i = 0; i < 4; i++) {
        static const struct {
            uint64_t iova;
            uint32_t raw, reasons;
            bool write;
        } rows[] = {
            {0x50123, 0x13, GR_FAULT_WRITE_PROT, true},
            {0x70123, 0x13, GR_FAULT_READ_PROT, false},
            {0x60123, 0x10, GR_FAULT_NO_LEAF, true},
            {UINT64_C(1) << 44, 0x10, GR_FAULT_NO_LEAF, false},
        };

        seen.count = 0;
        assert_false(rows[i].write ? writes(p, SID, rows[i].iova) : reads(p, SID, rows[i].iova));
        serve(p);
        assert_int_equal(seen.count, 1);
        assert_int_equal(f->raw, rows[i].raw);
        assert_int_equal(f->stream, SID);
        assert_int_equal(f->iova, rows[i].iova);
        assert_int_equal(f->reasons, rows[i].reasons);
        assert_true(f->access_known);
        assert_int_equal(f->write, rows[i].write);
    }
    for (uint64_t class = 0; class < 4; class ++) {
        for (unsigned second = 0; second < 2; second++) {
            const uint64_t record[4] = {0x13 | (uint64_t)SID << 32,
                                        (second ? UINT64_C(1) << 39 : 0) | class << 40, 0x5678,
                                        0x5000};

            smmuv3_model_event(p->hw.model, record);
            seen.count = 0;
            serve(p);
            assert_int_equal(seen.count, 1);
            assert_int_equal(f->iova, 0x5678);
            assert_int_equal(f->reasons,
                             second && class != 2 ? GR_FAULT_EXTERNAL : GR_FAULT_WRITE_PROT);
        }
    }
    client_end(&c);
    probe_free(p, true);
}

/* A flood: a queue full is recorded, the rest counted, and afterwards it works again. */
static void test_overflow(void **state)
{
    (void)state;
    for (unsigned variant = 0; variant < 4; variant++) {
        struct probe *const p = probe_up(variant & 1, 12, 39);
        const bool lazy = variant & 2; /* nobody dispatches meanwhile */
        struct seen seen = {.count = 0};

        gr_instance_set_fault_handler(&p->smmu.inst, on_fault, &seen);
        for (unsigned flood = 0; flood < 3; flood++) {
            for (unsigned i = 0; i < 1000; i++) {
                const uint64_t record[4] = {0x10 | (uint64_t)SID << 32, 0, i << 12, 0};

                smmuv3_model_event(p->hw.model, record);
            }
            seen.count = 0;
            while (lazy && gr_smmuv3_isr(&p->smmu))
                ;
            (void)gr_fault_dispatch(&p->smmu.inst);
            serve(p);
            assert_int_equal(seen.count, lazy ? GR_CFG_FAULT_RING : 128);
            assert_int_equal(peek(p, EVENTQ_PROD), peek(p, EVENTQ_CONS));
            assert_int_equal(seen.fault[0].lost, 1); /* at least */
            for (unsigned i = 0; i < GR_CFG_FAULT_RING; i++)
                assert_int_equal(seen.fault[i].iova, (uint32_t)((flood ? i - 1 : i) << 12));
            smmuv3_model_event(p->hw.model, (uint64_t[4]){0x10, 0, 0x5000, 0});
            seen.count = 0;
            serve(p);
            assert_int_equal(seen.count, 1);
            assert_int_equal(seen.fault[0].iova, 0x5000);
            assert_int_equal(seen.fault[0].lost, lazy ? 128 - GR_CFG_FAULT_RING : 0);
            /* One that is there already when the next flood comes. */
            smmuv3_model_event(p->hw.model, (uint64_t[4]){0x10, 0, 0u - 4096, 0});
        }
        serve(p);
        probe_free(p, true);
    }
}

/* Events while the handler runs make no edge: it is called until there are none. */
static bool one_more(struct probe *p, uint32_t offset, uint32_t *out)
{
    (void)out;
    if (offset == EVENTQ_PROD && p->answers) {
        const uint32_t prod = peek(p, EVENTQ_PROD);

        p->answers--;
        smmuv3_model_event(p->hw.model, (uint64_t[4]){0x10, 0, p->answers, 0});
        *out = prod;
        return true;
    }
    return false;
}

static void test_no_edge(void **state)
{
    struct probe *const p = probe_up(0, 12, 39);
    struct seen seen = {.count = 0};

    (void)state;
    gr_instance_set_fault_handler(&p->smmu.inst, on_fault, &seen);
    smmuv3_model_event(p->hw.model, (uint64_t[4]){0x10, 0, 0, 0});
    p->answers = 9;
    p->on_read = one_more;
    assert_true(p->hw.irq);
    serve(p);
    assert_int_equal(seen.count, 10);
    probe_free(p, true);
}

static void test_global_errors(void **state)
{
    struct probe *const p = probe_up(0, 12, 39);
    struct seen seen = {.count = 0};

    (void)state;
    gr_instance_set_fault_handler(&p->smmu.inst, on_fault, &seen);
    smmuv3_model_raise(p->hw.model, 0x100); /* service failure mode */
    assert_true(p->hw.irq);
    assert_true(gr_smmuv3_isr(&p->smmu));
    assert_false(gr_smmuv3_isr(&p->smmu));
    assert_true(host_logged(p->h, "smmu-under-test: global error 0x100"));
    assert_int_equal(p->smmu.gerrors, 0x100);
    /* An event that could not be written is lost, and told with the next. */
    smmuv3_model_fail_events(p->hw.model, 1);
    assert_false(reads(p, 0x10000, 0));
    assert_false(reads(p, 0x10000, 0));
    serve(p);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.fault[0].lost, 1);
    assert_int_equal(p->smmu.gerrors, 0x104);
    assert_int_equal(peek(p, GERROR), peek(p, GERRORN));
    /* A command error that nobody waits for. */
    smmuv3_model_raise(p->hw.model, 1);
    assert_true(gr_smmuv3_isr(&p->smmu));
    assert_false(gr_smmuv3_isr(&p->smmu));
    assert_int_equal(p->smmu.refused, 1);
    probe_free(p, true);
}

/* PROD as no hardware has it: bounded, and in step afterwards. */
static bool wild_prod(struct probe *p, uint32_t offset, uint32_t *out)
{
    if (offset != EVENTQ_PROD)
        return false;
    *out = p->answers;
    return true;
}

static void test_wild_events(void **state)
{
    static const uint32_t prods[] = {0xff, 0x80000081, 0xffffffff, 0x7f, 0xfffff, 0x80000000, 0};
    struct probe *const p = probe_up(0, 12, 39);

    (void)state;
    p->on_read = wild_prod;
    for (unsigned i = 0; i < sizeof(prods) / sizeof(prods[0]); i++) {
        const uint64_t before = p->smmu.inst.faults_recorded + p->smmu.inst.faults_dropped;

        p->answers = prods[i];
        assert_true(gr_smmuv3_isr(&p->smmu));
        while (gr_smmuv3_isr(&p->smmu))
            ;
        assert_in_range(p->smmu.inst.faults_recorded + p->smmu.inst.faults_dropped - before, 0,
                        128);
        while (gr_fault_dispatch(&p->smmu.inst))
            ;
    }
    probe_free(p, true);
}

/* ---- loads: what is read after a register, and what before ---- */

static bool watches_loads(struct probe *p, uint32_t offset, uint32_t *out)
{
    (void)out;
    if (offset == CMDQ_CONS || offset == EVENTQ_PROD)
        p->barriers = host_load_barriers();
    return false;
}

static void test_load_barriers(void **state)
{
    struct probe *const p = probe_up(0, 12, 39);
    struct client c;
    struct seen seen = {.count = 0};

    (void)state;
    client_up(p, &c, SID, 1);
    gr_instance_set_fault_handler(&p->smmu.inst, on_fault, &seen);
    p->on_read = watches_loads;
    /* After the queue was seen to be empty, before memory is looked at. */
    assert_int_equal(
        p->smmu.inst.ops->invalidate(&p->smmu.inst, &c.domain.binding[0], 0, c.g - 1, false), 0);
    assert_true(host_load_barriers() > p->barriers);
    /* PROD, barrier, records, barrier, CONS. */
    smmuv3_model_event(p->hw.model, (uint64_t[4]){0x10, 0, 0, 0});
    assert_true(gr_smmuv3_isr(&p->smmu));
    assert_int_equal(host_load_barriers(), p->barriers + 2);
    (void)gr_fault_dispatch(&p->smmu.inst);
    client_end(&c);
    probe_free(p, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_granules),
        cmocka_unit_test(test_refused_registers),
        cmocka_unit_test(test_refused_configurations),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_start_without_memory),
        cmocka_unit_test(test_left_on),
        cmocka_unit_test(test_left_in_caches),
        cmocka_unit_test(test_stuck_start),
        cmocka_unit_test(test_late_start),
        cmocka_unit_test(test_stuck_after_start),
        cmocka_unit_test(test_never_starts),
        cmocka_unit_test(test_stuck_fini),
        cmocka_unit_test(test_attach),
        cmocka_unit_test(test_attach_stage_2),
        cmocka_unit_test(test_stages),
        cmocka_unit_test(test_physical_sizes),
        cmocka_unit_test(test_stage_2_widths),
        cmocka_unit_test(test_asids),
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_replace),
        cmocka_unit_test(test_watched),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_order_stage_2),
        cmocka_unit_test(test_bypass),
        cmocka_unit_test(test_attach_without_memory),
        cmocka_unit_test(test_no_context),
        cmocka_unit_test(test_range_commands),
        cmocka_unit_test(test_single_commands),
        cmocka_unit_test(test_invalidation),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_refused_command),
        cmocka_unit_test(test_refused_for_ever),
        cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_stuck),
        cmocka_unit_test(test_refused_while_stuck),
        cmocka_unit_test(test_late_queue),
        cmocka_unit_test(test_doubt),
        cmocka_unit_test(test_doubt_without_context),
        cmocka_unit_test(test_attach_hangs),
        cmocka_unit_test(test_doubt_moves),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_events_stage_2),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_no_edge),
        cmocka_unit_test(test_global_errors),
        cmocka_unit_test(test_wild_events),
        cmocka_unit_test(test_load_barriers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
