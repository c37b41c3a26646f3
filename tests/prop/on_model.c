/* SPDX-License-Identifier: MIT */
/*
 * The property tests on the whole machine: the adversarial port, the driver, and models of the
 * hardware that keep every stale entry, fetch ahead at random and take their time for commands.
 * prop.h has more.
 */
#include "prop.h"

#include <host_dart.h>
#include <host_smmuv3.h>

#include <string.h>

#define MMIO_SIZE 0xc000u /* of every generation */
#define TOP_SIZE (128 * MIB)

struct dart {
    struct host_dart hw;
    struct gr_dart drv;
    bool is_smmu; /* then these instead */
    struct host_smmuv3 smmu_hw;
    struct gr_smmuv3 smmu;
};

static struct model_machine {
    struct prop_machine m;
    struct host *host;
    struct dart dart[PROP_INSTANCES];
    uint64_t faults;
} machine;

static const struct {
    enum dart_model_kind model;
    enum gr_dart_kind driver;
} kinds[] = {
    [PROP_T8020] = {DART_MODEL_T8020, GR_DART_T8020},
    [PROP_T6000] = {DART_MODEL_T6000, GR_DART_T6000},
    [PROP_T8110] = {DART_MODEL_T8110, GR_DART_T8110},
};

static bool on_fault(void *cookie, const struct gr_fault *fault)
{
    (void)cookie;
    machine.faults++;
    if (!fault->reasons)
        prop_fail("a fault without a reason, raw %x", (unsigned)fault->raw);
    return true;
}

static void make_dart(struct dart *d, const struct prop_shape *shape, struct gr_range aperture,
                      uint64_t seed)
{
    static const uint64_t delays[4] = {0, 0, 150, 900};
    struct dart_model_config model = dart_model_defaults(kinds[shape->hardware].model);
    struct gr_dart_config config = {
        .kind = kinds[shape->hardware].driver,
        .env = machine.host,
        .mmio = &d->hw.mmio,
        .mmio_size = MMIO_SIZE,
        .name = "dart",
        .va_bits = shape->va_bits,
        .pa_bits = shape->pa_bits,
        .aperture = aperture,
    };

    model.page_bits = shape->granule_lg2;
    model.va_bits = shape->va_bits;
    model.pa_bits = shape->pa_bits;
    model.keep_all = true;
    model.mmio_size = MMIO_SIZE;
    if (seed >> 25 & 1) /* of t8110: invalidates ranges */
        model.revision = 0x0202;
    model.serve_while_busy = seed >> 24 & 1;
    if (!host_dart_init(&d->hw, machine.host, &model, seed))
        prop_fail("the model refuses this row");
    dart_model_set_busy(d->hw.model, delays[seed >> 16 & 3], false);
    if (gr_dart_init(&d->drv, &config))
        prop_fail("the driver refuses this row: %s", host_last_log(machine.host));
    gr_instance_set_fault_handler(&d->drv.inst, on_fault, NULL);
}

static void make_smmu(struct dart *d, const struct prop_shape *shape, struct gr_range aperture,
                      uint64_t seed)
{
    static const uint64_t delays[4] = {0, 0, 150, 900};
    static const uint8_t sizes[] = {32, 36, 40, 42, 44, 48};
    struct smmuv3_model_config model = smmuv3_model_defaults();
    const struct gr_smmuv3_config config = {
        .env = machine.host,
        .mmio = &d->smmu_hw.mmio,
        .mmio_size = 0x20000,
        .name = "smmu",
        .granule_lg2 = (uint8_t)shape->granule_lg2,
        .va_bits = (uint8_t)shape->va_bits,
        .stage = shape->format == GR_PT_LPAE_S2 ? 2 : 1,
        .aperture = aperture,
    };

    model.idr5 &= ~7u;
    while (sizes[model.idr5 & 7] != shape->pa_bits)
        model.idr5++;
    if (seed >> 24 & 1)
        model.idr3 = 0; /* no range commands */
    if (shape->format == GR_PT_LPAE_S2)
        smmuv3_model_set_stages(&model, seed >> 25 & 1
                                            ? SMMUV3_MODEL_STAGE_2
                                            : SMMUV3_MODEL_STAGE_1 | SMMUV3_MODEL_STAGE_2);
    model.keep_all = true;
    d->is_smmu = true;
    if (!host_smmuv3_init(&d->smmu_hw, machine.host, &model, seed))
        prop_fail("the model refuses this row");
    smmuv3_model_set_busy(d->smmu_hw.model, delays[seed >> 16 & 3], 0);
    if (gr_smmuv3_init(&d->smmu, &config))
        prop_fail("the driver refuses this row: %s", host_last_log(machine.host));
    gr_instance_set_fault_handler(&d->smmu.inst, on_fault, NULL);
}

static void on_store(void *arg)
{
    (void)arg;
    if (machine.m.observer)
        machine.m.observer(machine.m.opaque);
}

struct prop_machine *machine_make(const struct prop_shape *shape, struct gr_range aperture,
                                  uint64_t seed)
{
    struct host_config config = {
        .cpu_page = 4096u << (seed % 3 * 2),
        .nbanks = 2,
        .seed = seed,
        .banks = {{0, 32 * MIB}, {(UINT64_C(1) << shape->pa_bits) - TOP_SIZE, TOP_SIZE}},
    };
    char why[160] = "";

    memset(&machine, 0, sizeof(machine));
    machine.host = host_create(&config, why, sizeof(why));
    if (!machine.host)
        prop_fail("no host: %s", why);
    host_log_level(machine.host, -1);
    machine.m = (struct prop_machine){.env = machine.host, .snoops = true};
    for (unsigned i = 0; i < PROP_INSTANCES; i++) {
        struct dart *const d = &machine.dart[i];

        if (shape->hardware == PROP_SMMUV3)
            make_smmu(d, shape, aperture, chance_mix(seed + i));
        else
            make_dart(d, shape, aperture, chance_mix(seed + i));
        machine.m.inst[i] = d->is_smmu ? &d->smmu.inst : &d->drv.inst;
    }
    host_set_observer(machine.host, on_store, NULL);
    return &machine.m;
}

static void end_smmu(struct dart *d)
{
    const struct smmuv3_model_stats *const stats = smmuv3_model_stats(d->smmu_hw.model);

    if (gr_smmuv3_fini(&d->smmu))
        prop_fail("gr_smmuv3_fini() fails");
    if (stats->bad_fetches || stats->misuse)
        prop_fail("%" PRIu64 " reads of tables that are none, %" PRIu64 " misuses",
                  stats->bad_fetches, stats->misuse);
    host_smmuv3_fini(&d->smmu_hw);
}

void machine_end(struct prop_machine *m)
{
    (void)m;
    for (unsigned i = 0; i < PROP_INSTANCES; i++) {
        struct dart *const d = &machine.dart[i];

        if (d->is_smmu) {
            end_smmu(d);
            continue;
        }
        const struct dart_model_stats *const stats = dart_model_stats(d->hw.model);

        if (stats->bad_fetches || stats->misuse)
            prop_fail("%" PRIu64 " reads of tables that are none, %" PRIu64
                      " misuses of the registers",
                      stats->bad_fetches, stats->misuse);
        if (gr_dart_fini(&d->drv))
            prop_fail("gr_dart_fini() fails");
        host_dart_fini(&d->hw);
    }
    if (host_misuse(machine.host))
        prop_fail("misuse: %s", host_last_log(machine.host));
    if (host_destroy(machine.host))
        prop_fail("the library leaks pages");
}

bool machine_peek(struct prop_machine *m, unsigned inst, unsigned sid, gr_iova_t iova, bool write,
                  gr_pa_t *out_pa)
{
    enum model_result result = MODEL_STALLED;

    (void)m;
    for (unsigned tries = 0; result == MODEL_STALLED && tries < 100; tries++) {
        const struct dart *const d = &machine.dart[inst];

        result = d->is_smmu ? smmuv3_model_translate(d->smmu_hw.model, sid, iova, write, 1, out_pa)
                            : dart_model_translate(d->hw.model, sid, iova, write, 1, out_pa);
        if (result == MODEL_STALLED)
            host_advance(machine.host, 100);
    }
    if (result != MODEL_OK && result != MODEL_FAULT)
        prop_fail("an access at %" PRIx64
                  " ends %d: a table that is none, or a command without end",
                  iova, (int)result);
    return result == MODEL_OK;
}

bool machine_reach(struct prop_machine *m, unsigned inst, unsigned sid, gr_iova_t iova, bool write,
                   gr_pa_t *out_pa)
{
    struct dart *const d = &machine.dart[inst];
    const bool good = machine_peek(m, inst, sid, iova, write, out_pa);

    while (d->smmu_hw.irq) {
        d->smmu_hw.irq = false;
        while (gr_smmuv3_isr(&d->smmu))
            (void)gr_fault_dispatch(&d->smmu.inst);
    }
    while (d->hw.irq) {
        if (!gr_dart_isr(&d->drv))
            prop_fail("the handler does not know its interrupt");
        (void)gr_fault_dispatch(&d->drv.inst);
    }
    return good;
}

bool machine_read(void *m, uint64_t pa, void *buf, size_t len)
{
    uint8_t *const to = buf;

    (void)m;
    for (size_t at = 0; at < len; at += 8) {
        uint64_t word;

        if (!host_table_read64(machine.host, pa + at, &word))
            return false;
        memcpy(to + at, &word, 8);
    }
    return true;
}

void machine_fail_alloc(struct prop_machine *m, uint64_t n)
{
    (void)m;
    host_fail_alloc(machine.host, n);
}

uint64_t machine_allocs(struct prop_machine *m)
{
    (void)m;
    return host_allocs(machine.host);
}

gr_pa_t machine_pa(struct prop_machine *m, void *cpu)
{
    gr_pa_t pa;

    (void)m;
    if (!host_pa_of(machine.host, cpu, &pa))
        prop_fail("a buffer that is not in memory");
    return pa;
}

bool machine_cache(struct prop_machine *m, struct prop_cache *out)
{
    (void)m;
    (void)out;
    return false;
}

int main(void)
{
    return prop_main("prop_model", 100000);
}
