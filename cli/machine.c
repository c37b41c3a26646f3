/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include "firmware.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More register space than any DART has; a tree may claim anything. */
#define MMIO_MAX 0x10000u
#define SMMU_MMIO 0x20000u
/* What the model takes for va_bits. Tables and driver still keep to what the tree says. */
#define MODEL_VA_MIN 32u
#define MODEL_VA_MAX 47u
/* The longest that an invalidation takes; the drivers' limits are GR_CFG_*_TIMEOUT_NS. */
#define RECORDS_END                                                                                \
    0xc000u /* facts/DART.md 5: where the records of a t8110 of revision 2.2 end                   \
             */
#define BUSY_NS 20000u
/* What the pool may take, at most, and of all RAM. */
#define POOL_MAX (UINT64_C(64) << 20)
#define POOL_SHARE 8u
/* How often the handler is called while the line stays up. */
#define IRQ_TRIES 4u
/* And while an SMMUv3 has events: more than a queue full of them, in parts. */
#define EVENT_TRIES 64u

uint64_t rng_mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

uint64_t rng_next(struct rng *rng)
{
    rng->state += 0x9e3779b97f4a7c15u;
    return rng_mix(rng->state);
}

uint64_t rng_below(struct rng *rng, uint64_t bound)
{
    return rng_next(rng) % bound;
}

void machine_problem(struct machine *m, const char *format, ...)
{
    va_list args;

    if (m->nproblems < MACHINE_PROBLEMS) {
        va_start(args, format);
        vsnprintf(m->problems[m->nproblems], MACHINE_REASON, format, args);
        va_end(args);
    }
    m->nproblems++;
}

void machine_forget_faults(struct machine *m)
{
    m->nfaults = 0;
    m->lost_faults = 0;
}

static void note_fault(struct machine *m, struct gr_domain *domain, const struct gr_fault *fault)
{
    if (m->nfaults < MACHINE_FAULTS) {
        m->faults[m->nfaults++] = (struct machine_fault){.fault = *fault, .domain = domain};
    } else {
        m->lost_faults++;
    }
    m->lost_faults += fault->lost;
}

static bool on_instance_fault(void *cookie, const struct gr_fault *fault)
{
    note_fault(cookie, NULL, fault);
    return true;
}

static bool on_domain_fault(void *cookie, const struct gr_fault *fault)
{
    struct machine_device *dev = cookie;

    note_fault(dev->iommu[0]->machine, &dev->domain, fault);
    return true;
}

/* ---- Bringing up ---- */

static bool out_of_memory(struct cli_error *error)
{
    return cli_error_set(error, "out of memory: close something else and try again");
}

static bool tree_error(const struct machine *m, struct cli_error *error)
{
    return cli_error_set(error, "%s: %s", m->board->path, m->board->dt.error);
}

/* Whole pages of 4 KiB: what a bank has, or what a hole touches. Size 0 if there is none. */
static struct host_bank bank_of(const struct gr_range *range)
{
    uint64_t base = (range->first + 0xfff) & ~(uint64_t)0xfff;
    uint64_t end = (range->last + 1) & ~(uint64_t)0xfff;

    if (range->last == UINT64_MAX) {
        end = range->last & ~(uint64_t)0xfff;
    }
    return (struct host_bank){.base = base, .size = end > base ? end - base : 0};
}

static void widen(struct gr_range *span, const struct host_bank *bank, bool first)
{
    uint64_t last = bank->base + (bank->size - 1);

    span->first = first || bank->base < span->first ? bank->base : span->first;
    span->last = first || last > span->last ? last : span->last;
}

static bool read_memory(struct machine *m, struct host_config *config, struct cli_error *error)
{
    struct gr_dt_iter banks = {0};
    struct gr_dt_iter holes = {0};
    struct gr_range range;
    int rc;

    while ((rc = gr_dt_memory_next(&m->board->dt, &banks, &range)) > 0) {
        struct host_bank bank = bank_of(&range);

        if (bank.size == 0) {
            continue;
        }
        _Static_assert(GR_DT_BANKS <= HOST_MAX_BANKS, "what dt.h lets through fits");
        widen(&m->ram_span, &bank, config->nbanks == 0);
        m->banks[m->nbanks++] = (struct gr_range){bank.base, bank.base + (bank.size - 1)};
        config->banks[config->nbanks++] = bank;
        m->ram += bank.size;
    }
    if (rc == 0 && config->nbanks == 0) {
        return cli_error_set(error, "%s: no memory node has a whole page of 4 KiB: correct its reg",
                             m->board->path);
    }
    while (rc == 0 && (rc = gr_dt_reserved_next(&m->board->dt, &holes, &range)) > 0) {
        if (config->nreserved == HOST_MAX_RESERVED) {
            return cli_error_set(error,
                                 "%s: /reserved-memory or /memreserve/: 0x%llx is past the %d "
                                 "reserved regions that we can hold: merge those that touch",
                                 m->board->path, (unsigned long long)range.first,
                                 HOST_MAX_RESERVED);
        }
        m->holes[m->nholes++] = range;
        config->reserved[config->nreserved++] =
            (struct host_hole){.base = range.first, .size = range.last - range.first + 1};
        rc = 0;
    }
    return rc < 0 ? tree_error(m, error) : true;
}

static bool make_host(struct machine *m, struct cli_error *error)
{
    struct host_config config = {.cpu_page = m->options.cpu_page, .seed = m->options.seed};
    char why[256];

    if (!read_memory(m, &config, error)) {
        return false;
    }
    m->host = host_create(&config, why, sizeof(why));
    if (!m->host) {
        return cli_error_set(error, "%s: reg of its memory nodes: %s", m->board->path, why);
    }
    host_log_level(m->host, -1);
    return true;
}

/* What the library logged about `name`, in its form "NAME: why", or else the error's own words. */
static void reason_from_log(struct machine *m, char *reason, const char *name, int rc)
{
    const char *line = host_last_log(m->host);
    size_t length = strlen(name);
    bool ours = strncmp(line, name, length) == 0 && strncmp(line + length, ": ", 2) == 0;

    if (!ours && rc == GR_ENOMEM) {
        line = "no memory for its tables: describe RAM that its IOMMU can address";
    } else {
        line = ours ? line + length + 2 : gr_strerror(rc);
    }
    snprintf(reason, MACHINE_REASON, "%s", line);
}

const char *machine_compatible(const struct machine_iommu *iommu)
{
    switch (iommu->tree.driver) {
    case GR_DT_DART_T8020:
        return "apple,t8103-dart";
    case GR_DT_DART_T6000:
        return "apple,t6000-dart";
    case GR_DT_DART_T8110:
        return "apple,t8110-dart";
    case GR_DT_DART_T8103_USB4:
        return "apple,t8103-usb4-dart";
    case GR_DT_DART_S5L8960X:
        return "apple,s5l8960x-dart";
    case GR_DT_SMMUV3:
        return "arm,smmu-v3";
    case GR_DT_NONE:
        break;
    }
    return iommu->tree.compatible;
}

static bool dart_kinds(enum gr_dt_driver driver, enum dart_model_kind *model,
                       enum gr_dart_kind *own)
{
    switch (driver) {
    case GR_DT_DART_T8020:
        *model = DART_MODEL_T8020;
        *own = GR_DART_T8020;
        return true;
    case GR_DT_DART_T6000:
        *model = DART_MODEL_T6000;
        *own = GR_DART_T6000;
        return true;
    case GR_DT_DART_T8110:
        *model = DART_MODEL_T8110;
        *own = GR_DART_T8110;
        return true;
    case GR_DT_DART_T8103_USB4:
        *model = DART_MODEL_T8103_USB4;
        *own = GR_DART_T8103_USB4;
        return true;
    case GR_DT_DART_S5L8960X:
        *model = DART_MODEL_S5L8960X;
        *own = GR_DART_S5L8960X;
        return true;
    case GR_DT_SMMUV3:
    case GR_DT_NONE:
        break;
    }
    return false;
}

static bool is_smmu(const struct machine_iommu *iommu)
{
    return iommu->tree.driver == GR_DT_SMMUV3;
}

static bool has_model(const struct machine_iommu *iommu)
{
    return is_smmu(iommu) ? iommu->smmu_hw.model != NULL : iommu->dart_hw.model != NULL;
}

struct machine_hw_stats machine_hw_stats(const struct machine_iommu *iommu)
{
    if (!has_model(iommu)) {
        return (struct machine_hw_stats){0};
    }
    if (is_smmu(iommu)) {
        const struct smmuv3_model_stats *stats = smmuv3_model_stats(iommu->smmu_hw.model);

        return (struct machine_hw_stats){stats->hits, stats->misses, stats->fetches,
                                         stats->invalidations, stats->misuse + stats->bad_fetches};
    }
    const struct dart_model_stats *stats = dart_model_stats(iommu->dart_hw.model);

    return (struct machine_hw_stats){
        stats->hits, stats->misses, stats->fetches, stats->invalidations,
        stats->misuse + stats->bad_fetches + stats->locked_writes + stats->reused};
}

void machine_bus_lock(struct machine *m)
{
    pthread_mutex_lock(&m->bus);
}

void machine_bus_unlock(struct machine *m)
{
    pthread_mutex_unlock(&m->bus);
}

uint32_t machine_hw_read32(struct machine_iommu *iommu, uint32_t offset)
{
    uint32_t value;

    machine_bus_lock(iommu->machine);
    value = is_smmu(iommu) ? smmuv3_model_read32(iommu->smmu_hw.model, offset)
                           : dart_model_read32(iommu->dart_hw.model, offset);
    machine_bus_unlock(iommu->machine);
    return value;
}

uint32_t machine_hw_size(const struct machine_iommu *iommu)
{
    return is_smmu(iommu) ? iommu->smmu_hw.mmio.size : iommu->dart_hw.mmio.size;
}

void machine_hw_prefetch(struct machine_iommu *iommu, uint32_t sid, gr_iova_t iova)
{
    machine_bus_lock(iommu->machine);
    if (is_smmu(iommu)) {
        smmuv3_model_prefetch(iommu->smmu_hw.model, sid, iova);
    } else {
        dart_model_prefetch(iommu->dart_hw.model, sid, iova);
    }
    machine_bus_unlock(iommu->machine);
}

enum model_result machine_hw_translate(struct machine_iommu *iommu, uint32_t sid, gr_iova_t iova,
                                       bool write, uint64_t len, gr_pa_t *out_pa)
{
    enum model_result result;

    machine_bus_lock(iommu->machine);
    result = is_smmu(iommu)
                 ? smmuv3_model_translate(iommu->smmu_hw.model, sid, iova, write, len, out_pa)
                 : dart_model_translate(iommu->dart_hw.model, sid, iova, write, len, out_pa);
    machine_bus_unlock(iommu->machine);
    return result;
}

/* Hardware may look at the tables now. */
static void moment(void *arg)
{
    struct machine *m = arg;

    firmware_look(m);
    if (m->observer) {
        m->observer(m->observer_arg);
    }
}

static uint32_t observed_read32(void *opaque, uint32_t offset)
{
    struct machine_iommu *iommu = opaque;

    moment(iommu->machine);
    return machine_hw_read32(iommu, offset);
}

static void observed_write32(void *opaque, uint32_t offset, uint32_t value)
{
    struct machine_iommu *iommu = opaque;

    machine_bus_lock(iommu->machine);
    if (is_smmu(iommu)) {
        smmuv3_model_write32(iommu->smmu_hw.model, offset, value);
    } else {
        dart_model_write32(iommu->dart_hw.model, offset, value);
    }
    machine_bus_unlock(iommu->machine);
    firmware_look(iommu->machine);
}

static void observed_write64(void *opaque, uint32_t offset, uint64_t value)
{
    struct machine_iommu *iommu = opaque;

    machine_bus_lock(iommu->machine);
    smmuv3_model_write64(iommu->smmu_hw.model, offset, value);
    machine_bus_unlock(iommu->machine);
}

void machine_observe(struct machine *m, void (*fn)(void *arg), void *arg)
{
    m->observer = fn;
    m->observer_arg = arg;
}

static bool make_dart(struct machine_iommu *iommu, enum dart_model_kind kind)
{
    struct machine *m = iommu->machine;
    const struct gr_dt_iommu *tree = &iommu->tree;
    struct dart_model_config config = dart_model_defaults(kind);
    unsigned least;

    config.mmio_size = tree->reg_size < MMIO_MAX ? (uint32_t)tree->reg_size & ~3u : MMIO_MAX;
    config.page_bits = tree->page_bits;
    /* The bus of an s5l8960x may pass fewer bits, and then the tree says so. */
    least = kind == DART_MODEL_S5L8960X ? 0 : MODEL_VA_MIN;
    config.va_bits = tree->va_bits < least          ? least
                     : tree->va_bits > MODEL_VA_MAX ? MODEL_VA_MAX
                                                    : tree->va_bits;
    config.pa_bits = tree->pa_bits;
    config.streams = tree->streams;
    config.bypass = tree->bypass;
    /* Of revision 2.2 now and then, where its record of errors lies within the window. */
    if (kind == DART_MODEL_T8110 && config.mmio_size >= RECORDS_END && rng_below(&m->rng, 2) != 0) {
        config.revision = 0x0202;
    }
    config.locked = tree->firmware == GR_DT_FIRMWARE_LOCKED;
    config.random_replacement = rng_below(&m->rng, 2) != 0;
    config.keep_all = rng_below(&m->rng, 4) == 0;
    config.watch_reuse = m->options.deferred; /* else a stale hit shows by itself */
    config.serve_while_busy = rng_below(&m->rng, 2) != 0;
    if (!host_dart_init(&iommu->dart_hw, m->host, &config, rng_next(&m->rng))) {
        return false;
    }
    iommu->dart_hw.mmio.opaque = iommu;
    iommu->dart_hw.mmio.read32 = observed_read32;
    iommu->dart_hw.mmio.write32 = observed_write32;
    dart_model_set_busy(iommu->dart_hw.model, rng_below(&m->rng, BUSY_NS), false);
    return true;
}

/* One with linear stream tables, or without range commands, now and then. */
static bool make_smmu(struct machine_iommu *iommu)
{
    struct machine *m = iommu->machine;
    struct smmuv3_model_config config = smmuv3_model_defaults();
    const uint32_t oas = iommu->tree.pa_bits == 36 ? 1 : 4;

    config.idr5 = (config.idr5 & ~7u) | oas;
    if (strcmp(iommu->tree.compatible, "granule,smmuv3-stage-2") == 0) {
        smmuv3_model_set_stages(&config, SMMUV3_MODEL_STAGE_2);
    }
    if (rng_below(&m->rng, 4) == 0) {
        config.idr0 &= ~(3u << 27);
    }
    if (rng_below(&m->rng, 4) == 0) {
        config.idr3 = 0;
    }
    config.random_replacement = rng_below(&m->rng, 2) != 0;
    config.keep_all = rng_below(&m->rng, 4) == 0;
    if (iommu->tree.reg_size < SMMU_MMIO ||
        !host_smmuv3_init(&iommu->smmu_hw, m->host, &config, rng_next(&m->rng))) {
        return false;
    }
    iommu->smmu_hw.mmio.opaque = iommu;
    iommu->smmu_hw.mmio.read32 = observed_read32;
    iommu->smmu_hw.mmio.write32 = observed_write32;
    iommu->smmu_hw.mmio.write64 = observed_write64;
    smmuv3_model_set_busy(iommu->smmu_hw.model, rng_below(&m->rng, BUSY_NS), 0);
    return true;
}

static void build_iommu(struct machine_iommu *iommu)
{
    const struct gr_dt_iommu *tree = &iommu->tree;
    enum dart_model_kind kind = DART_MODEL_T8020;
    enum gr_dart_kind own;

    if (is_smmu(iommu) && !make_smmu(iommu)) {
        snprintf(iommu->reason, sizeof(iommu->reason),
                 "no model of such an SMMUv3: its reg has 0x%llx bytes, 0x20000 are needed",
                 (unsigned long long)tree->reg_size);
    } else if (!is_smmu(iommu) && !dart_kinds(tree->driver, &kind, &own)) {
        snprintf(iommu->reason, sizeof(iommu->reason), "%s", tree->reason);
    } else if (!is_smmu(iommu) && !make_dart(iommu, kind)) {
        snprintf(iommu->reason, sizeof(iommu->reason),
                 "no model of such a DART: its reg has 0x%llx bytes, at least 0x4000 are needed",
                 (unsigned long long)tree->reg_size);
    }
}

static bool start_smmu(struct machine_iommu *iommu)
{
    struct machine *m = iommu->machine;
    const struct gr_dt_iommu *tree = &iommu->tree;
    const struct gr_smmuv3_config config = {
        .env = m->host,
        .mmio = &iommu->smmu_hw.mmio,
        .mmio_size = tree->reg_size,
        .name = tree->path,
        .granule_lg2 = (uint8_t)tree->page_bits,
        .va_bits = (uint8_t)tree->va_bits,
        .aperture = tree->has_aperture ? tree->aperture : (struct gr_range){0, 0},
    };
    int rc;

    rc = gr_smmuv3_init(&iommu->smmu, &config);
    if (rc != 0) {
        reason_from_log(m, iommu->reason, tree->path, rc);
        return false;
    }
    iommu->inst = &iommu->smmu.inst;
    return true;
}

static bool start_dart(struct machine_iommu *iommu)
{
    struct machine *m = iommu->machine;
    const struct gr_dt_iommu *tree = &iommu->tree;
    enum dart_model_kind kind = DART_MODEL_T8020;
    struct gr_dart_config config = {
        .env = m->host,
        .mmio = &iommu->dart_hw.mmio,
        .mmio_size = tree->reg_size,
        .name = tree->path,
        .va_bits = (uint8_t)tree->va_bits,
        .pa_bits = (uint8_t)tree->pa_bits,
        .streams = (uint16_t)tree->streams,
        .window_verified = tree->window_verified,
    };
    int rc;

    (void)dart_kinds(tree->driver, &kind, &config.kind);
    if (tree->has_aperture) {
        config.aperture = tree->aperture;
    }
    rc = gr_dart_init(&iommu->dart, &config);
    if (rc != 0) {
        reason_from_log(m, iommu->reason, tree->path, rc);
        return false;
    }
    iommu->inst = &iommu->dart.inst;
    return true;
}

static void bring_up_iommu(struct machine_iommu *iommu)
{
    if (iommu->reason[0] != '\0' || !(is_smmu(iommu) ? start_smmu(iommu) : start_dart(iommu))) {
        return;
    }
    iommu->up = true;
    iommu->aperture = iommu->inst->aperture;
    iommu->granule = UINT64_C(1) << iommu->inst->table.granule_lg2;
    iommu->streams = iommu->inst->streams;
    iommu->locked = iommu->inst->locked;
    gr_instance_set_fault_handler(iommu->inst, on_instance_fault, iommu->machine);
}

static bool make_iommus(struct machine *m, struct cli_error *error)
{
    struct gr_dt *dt = &m->board->dt;
    struct gr_dt_iter count = {0};
    struct gr_dt_iter fill = {0};
    struct gr_dt_iommu tree;
    unsigned enabled = 0;
    int rc;

    while ((rc = gr_dt_iommu_next(dt, &count, &tree)) > 0) {
        enabled += tree.enabled;
        if (enabled > MACHINE_MAX) {
            return cli_error_set(error,
                                 "%s: %s: status enables it past the %u IOMMUs that we can hold: "
                                 "disable some",
                                 m->board->path, tree.path, MACHINE_MAX);
        }
    }
    if (rc < 0) {
        return tree_error(m, error);
    }
    m->iommus = calloc(enabled + 1, sizeof(*m->iommus));
    if (!m->iommus) {
        return out_of_memory(error);
    }
    while (gr_dt_iommu_next(dt, &fill, &tree) > 0) {
        struct machine_iommu *iommu = &m->iommus[m->niommus];

        if (tree.enabled) {
            iommu->tree = tree;
            iommu->machine = m;
            m->niommus++;
            build_iommu(iommu);
        }
    }
    return true;
}

static struct machine_iommu *find_iommu(struct machine *m, int node)
{
    for (unsigned i = 0; i < m->niommus; i++) {
        if (m->iommus[i].tree.node == node) {
            return &m->iommus[i];
        }
    }
    return NULL;
}

/* It stays blocked, though it should not be. */
__attribute__((format(printf, 2, 3))) static void fail(struct machine_device *dev,
                                                       const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(dev->reason, sizeof(dev->reason), format, args);
    va_end(args);
    dev->failed = true;
}

/* Are all its IOMMUs up? Else it is blocked, for the reason of the last that is not. */
static bool connect(struct machine_device *dev)
{
    for (unsigned i = 0; i < dev->tree.nstreams; i++) {
        struct machine_iommu *iommu = dev->iommu[i];

        if (!iommu->up) {
            fail(dev, "%.100s is not usable: %.120s", iommu->tree.path, iommu->reason);
        }
        dev->streams[i] = (struct gr_stream){
            .inst = iommu->inst,
            .sid = dev->tree.streams[i].sid,
            .window = dev->tree.streams[i].window,
        };
    }
    return !dev->failed;
}

static void fail_as_logged(struct machine *m, struct machine_device *dev, int rc)
{
    reason_from_log(m, dev->reason, dev->tree.path, rc);
    dev->failed = true;
}

static struct gr_region region_of(const struct gr_dt_region *tree)
{
    static const enum gr_region_kind of[] = {
        [GR_DT_REGION_RESERVED] = GR_REGION_RESERVED,
        [GR_DT_REGION_DIRECT] = GR_REGION_DIRECT,
        [GR_DT_REGION_TRANSLATED] = GR_REGION_TRANSLATED,
    };

    return (struct gr_region){
        .kind = of[tree->kind],
        .iova = tree->iova.first,
        .pa = tree->pa,
        .len = tree->iova.last - tree->iova.first + 1,
        .prot = GR_PROT_READ | GR_PROT_WRITE,
    };
}

static enum gr_adopt adopt_of(const struct machine *m, const struct machine_device *dev)
{
    for (unsigned i = 0; i < dev->tree.nstreams; i++) {
        if (m->options.adopt == GR_ADOPT_REPLACE && dev->iommu[i]->locked) {
            return GR_ADOPT_DEFAULT;
        }
    }
    return m->options.adopt;
}

static void register_device(struct machine *m, struct machine_device *dev)
{
    static const enum gr_domain_type modes[] = {
        [GR_DT_MODE_ANY] = 0,
        [GR_DT_MODE_TRANSLATED] = GR_DOMAIN_TRANSLATED,
        [GR_DT_MODE_LINEAR] = GR_DOMAIN_LINEAR,
        [GR_DT_MODE_IDENTITY] = GR_DOMAIN_IDENTITY,
        [GR_DT_MODE_BLOCKED] = GR_DOMAIN_BLOCKED,
    };
    const struct machine_options *options = &m->options;
    struct gr_device_config config = {
        .name = dev->tree.path,
        .streams = dev->streams,
        .stream_count = dev->tree.nstreams,
        .reserved = dev->reserved,
        .reserved_count = dev->tree.nreserved,
        .regions = dev->regions,
        .region_count = dev->tree.nregions,
        .dma_mask = dev->tree.dma.last,
        .untrusted = dev->tree.untrusted || options->untrusted,
        .isolation = options->isolation,
        .access_unit = options->access_unit ? options->access_unit : dev->tree.access_unit,
        .overread = dev->tree.overread,
        .mode = modes[dev->tree.mode],
        .coherent = dev->tree.coherent,
    };
    int rc;

    dev->untrusted = config.untrusted;
    dev->mode = GR_DOMAIN_BLOCKED;
    if (!connect(dev)) {
        return;
    }
    config.adopt = adopt_of(m, dev);
    memcpy(dev->reserved, dev->tree.reserved, sizeof(dev->tree.reserved));
    for (unsigned i = 0; i < dev->tree.nregions; i++) {
        dev->regions[i] = region_of(&dev->tree.regions[i]);
    }
    if (dev->tree.dma.first > 0) {
        dev->reserved[config.reserved_count++] = (struct gr_range){0, dev->tree.dma.first - 1};
    }
    rc = gr_device_init(&dev->device, &config);
    if (rc != 0) {
        fail_as_logged(m, dev, rc);
        return;
    }
    dev->registered = true;
}

/* ---- Domains ---- */

/* Above the lowest memory, there is nothing else that it could reach as it is. */
static bool reaches_memory(const struct machine *m, const struct machine_device *dev)
{
    uint64_t last = (UINT64_C(1) << dev->iommu[0]->dart.inst.table.pa_bits) - 1;

    return m->ram_span.first <= last && m->ram_span.first <= dev->tree.dma.last;
}

/* The domain of another device that is the same for all, if it can be this one's as well. */
static bool share_linear(struct machine *m, struct machine_device *dev)
{
    for (unsigned i = 0; i < m->ndevices; i++) {
        struct machine_device *other = &m->devices[i];

        if (other->owns_domain && other->mode == GR_DOMAIN_LINEAR &&
            gr_domain_attach(&other->domain, &dev->device) == 0) {
            dev->active = &other->domain;
            return true;
        }
    }
    return false;
}

static int make_domain(struct machine *m, struct machine_device *dev, enum gr_domain_type type)
{
    struct gr_linear_config linear = {
        .ram = m->banks,
        .ram_count = m->nbanks,
        .holes = m->holes,
        .hole_count = m->nholes,
    };
    bool deferred = m->options.deferred && type == GR_DOMAIN_TRANSLATED;

    if (type == GR_DOMAIN_LINEAR) {
        return gr_domain_init_linear(&dev->domain, m->host, &dev->device, &linear);
    }
    if (type == GR_DOMAIN_IDENTITY && !reaches_memory(m, dev)) {
        return GR_ERANGE;
    }
    return gr_domain_init(&dev->domain, m->host, &dev->device, type,
                          deferred ? GR_DOMAIN_DEFERRED : 0);
}

static enum gr_isolation isolation_of(const struct machine_device *dev)
{
    enum gr_isolation how = dev->device.config.isolation;

    if (dev->mode != GR_DOMAIN_TRANSLATED) {
        return GR_ISOLATION_DEFAULT;
    }
    if (how == GR_ISOLATION_DEFAULT || (how == GR_ISOLATION_EXPOSE && dev->untrusted)) {
        how = dev->untrusted ? GR_ISOLATION_WINDOW : GR_ISOLATION_EXPOSE;
    }
    /* Windows that may not hold are good enough for those that mean no harm; an SMMU has none. */
    if (how == GR_ISOLATION_WINDOW &&
        (!dev->active->pt.window_unit || (dev->untrusted && !dev->active->windows_verified))) {
        how = GR_ISOLATION_BOUNCE;
    }
    return how;
}

static void attach_device(struct machine *m, struct machine_device *dev)
{
    struct gr_domain *shared = gr_device_domain(&dev->device);
    struct gr_policy policy;
    int rc = gr_device_policy(&dev->device, m->options.mode, &policy);

    dev->untrusted = gr_device_untrusted(&dev->device); /* its group's least trusted decides */
    snprintf(dev->reason, sizeof(dev->reason), "%s", policy.reason);
    if (rc != 0) { /* what was asked for cannot be, and nothing else was */
        return;
    }
    if (shared || (policy.type == GR_DOMAIN_LINEAR && share_linear(m, dev))) {
        shared = gr_device_domain(&dev->device);
    } else {
        rc = make_domain(m, dev, policy.type);
        if (rc == GR_ERANGE && policy.type == GR_DOMAIN_IDENTITY) {
            snprintf(dev->reason, sizeof(dev->reason), "no RAM lies within the device's reach");
            return;
        }
        if (rc != 0) {
            fail_as_logged(m, dev, rc);
            dev->failed = policy.type == GR_DOMAIN_TRANSLATED || rc == GR_ENOMEM;
            return;
        }
        gr_domain_set_fault_handler(&dev->domain, on_domain_fault, dev);
        rc = gr_domain_attach(&dev->domain, &dev->device);
        if (rc != 0) {
            fail_as_logged(m, dev, rc);
            rc = gr_domain_fini(&dev->domain);
            if (rc != 0) {
                machine_problem(m, "%s: gr_domain_fini() after a failed attach: %s", dev->tree.path,
                                gr_strerror(rc));
            }
            return;
        }
        dev->owns_domain = true;
        shared = &dev->domain;
    }
    dev->mode = policy.type;
    dev->active = policy.type == GR_DOMAIN_BLOCKED ? NULL : shared;
    dev->isolation = isolation_of(dev);
}

/* The highest memory that the device reaches through its domain. */
static gr_pa_t reach(const struct machine_device *dev)
{
    const struct gr_domain *domain = dev->active;
    gr_pa_t last = domain->direct.last;

    if (dev->mode == GR_DOMAIN_TRANSLATED) {
        return domain->pt.pa_mask;
    }
    return last - domain->direct_offset <= dev->tree.dma.last
               ? last
               : dev->tree.dma.last + domain->direct_offset;
}

/* One pool to bounce from, within everybody's reach. */
static bool make_pool(struct machine *m)
{
    struct gr_bounce_config config = {.pa_last = UINT64_MAX, .limit = m->ram / POOL_SHARE};
    int rc;

    config.limit = config.limit < POOL_MAX ? config.limit : POOL_MAX;
    config.limit &= ~(GR_BOUNCE_CHUNK - 1);
    config.limit = config.limit ? config.limit : GR_BOUNCE_CHUNK;
    for (unsigned i = 0; i < m->ndevices; i++) {
        if (m->devices[i].active && reach(&m->devices[i]) < config.pa_last) {
            config.pa_last = reach(&m->devices[i]);
        }
    }
    rc = gr_bounce_init(&m->pool, m->host, &config);
    m->has_pool = rc == 0;
    for (unsigned i = 0; rc == 0 && i < m->ndevices; i++) {
        struct machine_device *dev = &m->devices[i];

        if (dev->owns_domain && dev->active) {
            rc = gr_domain_set_bounce(&dev->domain, &m->pool);
        }
    }
    if (rc != 0) {
        machine_problem(m, "no bounce pool: %s", gr_strerror(rc));
    }
    return rc != GR_ENOMEM;
}

/* An option that must not be given where a device may be hostile. */
static bool check_trust(const struct machine *m, const struct gr_dt_master *tree,
                        struct cli_error *error)
{
    const char *option = m->options.deferred                           ? "--invalidate=deferred"
                         : m->options.isolation == GR_ISOLATION_EXPOSE ? "--isolation=expose"
                                                                       : NULL;

    if (option && (tree->untrusted || m->options.untrusted)) {
        return cli_error_set(error, "%s: %s is untrusted, and %s is for trusted devices: drop it",
                             m->board->path, tree->path, option);
    }
    return true;
}

static bool read_devices(struct machine *m, struct cli_error *error)
{
    struct gr_dt *dt = &m->board->dt;
    struct gr_dt_iter it = {0};
    struct gr_dt_master tree;
    int rc;

    /* calloc'ed for all that there may be: one pass, since each reference costs a walk over the
     * tree, and a device that is registered must stay where it is. */
    m->devices = calloc(MACHINE_MAX, sizeof(*m->devices));
    if (!m->devices) {
        return out_of_memory(error);
    }
    while ((rc = gr_dt_master_next(dt, &it, &tree)) > 0) {
        if (m->ndevices == MACHINE_MAX) {
            return cli_error_set(error,
                                 "%s: %s: its IOMMU makes it a device past the %u that we can "
                                 "hold: disable some with status",
                                 m->board->path, tree.path, MACHINE_MAX);
        }
        if (!check_trust(m, &tree, error)) {
            return false;
        }
        struct machine_device *dev = &m->devices[m->ndevices++];

        dev->tree = tree;
        for (unsigned i = 0; i < tree.nstreams; i++) {
            dev->iommu[i] = find_iommu(m, tree.streams[i].iommu);
        }
    }
    return rc < 0 ? tree_error(m, error) : true;
}

/* Firmware has run; now it is our turn. */
static bool start(struct machine *m, struct cli_error *error)
{
    m->scan_rng.state = rng_mix(m->options.seed ^ 0x7363616eu);
    if (!firmware_boot(m)) {
        return cli_error_set(error,
                             "%s: no memory for the tables of granule,firmware: describe more RAM",
                             m->board->path);
    }
    host_set_observer(m->host, moment, m);
    if (!firmware_start_display(m)) {
        return cli_error_set(error, "--scanout=thread: no thread can be started: drop it");
    }
    for (unsigned i = 0; i < m->niommus; i++) {
        bring_up_iommu(&m->iommus[i]);
    }
    /* Groups form as devices are registered; only then do they get their domains. */
    for (unsigned i = 0; i < m->ndevices; i++) {
        register_device(m, &m->devices[i]);
    }
    for (unsigned i = 0; i < m->ndevices; i++) {
        if (m->devices[i].registered) {
            attach_device(m, &m->devices[i]);
        }
    }
    firmware_note_adoption(m);
    return make_pool(m) || out_of_memory(error);
}

bool machine_up(struct machine *m, struct board *board, const struct machine_options *options,
                struct cli_error *error)
{
    memset(m, 0, sizeof(*m));
    m->board = board;
    m->options = *options;
    m->rng.state = rng_mix(options->seed ^ 0x6d6f64656c73u);
    pthread_mutex_init(&m->bus, NULL);
    if (!make_host(m, error) || !make_iommus(m, error) || !read_devices(m, error) ||
        !start(m, error)) {
        machine_detach(m);
        machine_down(m);
        machine_free(m);
        return false;
    }
    return true;
}

/* ---- What became of a device ---- */

const char *machine_mode(enum gr_domain_type mode)
{
    switch (mode) {
    case GR_DOMAIN_TRANSLATED:
        return "translated";
    case GR_DOMAIN_LINEAR:
        return "linear";
    case GR_DOMAIN_IDENTITY:
        return "identity";
    case GR_DOMAIN_UNMANAGED:
    case GR_DOMAIN_BLOCKED:
        break;
    }
    return "blocked";
}

bool machine_is_direct(const struct machine_device *dev)
{
    return dev->mode == GR_DOMAIN_LINEAR || dev->mode == GR_DOMAIN_IDENTITY;
}

const char *machine_isolation(const struct machine_device *dev)
{
    switch (dev->isolation) {
    case GR_ISOLATION_WINDOW:
        return "window";
    case GR_ISOLATION_BOUNCE:
        return "bounce";
    case GR_ISOLATION_EXPOSE:
        return "expose";
    case GR_ISOLATION_DEFAULT:
        break;
    }
    return "none";
}

/* ---- Taking down ---- */

static void check_down(struct machine *m, const char *name, const char *call, int rc)
{
    if (rc != 0) {
        machine_problem(m, "%s: %s() failed when taking the machine down: %s", name, call,
                        gr_strerror(rc));
    }
}

void machine_detach(struct machine *m)
{
    for (unsigned i = 0; i < m->ndevices; i++) {
        struct machine_device *dev = &m->devices[i];
        struct gr_domain *domain = dev->registered ? gr_device_domain(&dev->device) : NULL;

        if (domain) { /* with its whole group */
            check_down(m, dev->tree.path, "gr_domain_detach",
                       gr_domain_detach(domain, &dev->device));
        }
    }
    for (unsigned i = 0; i < m->ndevices; i++) {
        struct machine_device *dev = &m->devices[i];

        if (dev->owns_domain) {
            check_down(m, dev->tree.path, "gr_domain_fini", gr_domain_fini(&dev->domain));
            dev->owns_domain = false;
        }
    }
    if (m->has_pool) {
        gr_bounce_stats(&m->pool, &m->bounced);
        check_down(m, m->board->path, "gr_bounce_fini", gr_bounce_fini(&m->pool));
        m->has_pool = false;
    }
}

void machine_down(struct machine *m)
{
    for (unsigned i = 0; i < m->ndevices; i++) {
        struct machine_device *dev = &m->devices[i];

        if (dev->registered) {
            check_down(m, dev->tree.path, "gr_device_fini", gr_device_fini(&dev->device));
            dev->registered = false;
        }
    }
    for (unsigned i = 0; i < m->niommus; i++) {
        struct machine_iommu *iommu = &m->iommus[i];

        if (iommu->up && is_smmu(iommu)) {
            check_down(m, iommu->tree.path, "gr_smmuv3_fini", gr_smmuv3_fini(&iommu->smmu));
        } else if (iommu->up) {
            check_down(m, iommu->tree.path, "gr_dart_fini", gr_dart_fini(&iommu->dart));
        }
    }
    firmware_stop_display(m);
    firmware_check(m, true);
}

uint64_t machine_leaks(const struct machine *m)
{
    return (uint64_t)host_leaks(m->host) + (uint64_t)host_ram_leaks(m->host);
}

uint64_t machine_misuse(const struct machine *m)
{
    uint64_t misuse = host_misuse(m->host) + m->stuck_irqs;

    for (unsigned i = 0; i < m->niommus; i++) {
        misuse += machine_hw_stats(&m->iommus[i]).misuse;
    }
    return misuse;
}

void machine_free(struct machine *m)
{
    for (unsigned i = 0; i < m->niommus; i++) {
        if (m->iommus[i].smmu_hw.model) {
            host_smmuv3_fini(&m->iommus[i].smmu_hw);
        }
        if (m->iommus[i].dart_hw.model) {
            host_dart_fini(&m->iommus[i].dart_hw);
        }
    }
    firmware_free(m);
    pthread_mutex_destroy(&m->bus);
    free(m->iommus);
    free(m->devices);
    if (m->host) {
        host_destroy(m->host);
    }
    *m = (struct machine){0};
}

/* ---- Accesses ---- */

/* Where there is no write-only. */
bool machine_reads_all(const struct machine_device *dev)
{
    return dev->iommu[0]->inst->table.format == GR_PT_LPAE_S1;
}

/* Edges: called until there is nothing, which is soon, since nothing happens meanwhile. */
static void serve_smmu(struct machine_iommu *iommu)
{
    if (!iommu->smmu_hw.irq) {
        return;
    }
    iommu->smmu_hw.irq = false;
    for (unsigned i = 0; gr_smmuv3_isr(&iommu->smmu); i++) {
        if (i == EVENT_TRIES) {
            iommu->machine->stuck_irqs++;
            break;
        }
        gr_fault_dispatch(iommu->inst);
    }
}

void machine_serve_irq(struct machine_iommu *iommu)
{
    if (is_smmu(iommu)) {
        serve_smmu(iommu);
        return;
    }
    for (unsigned i = 0; iommu->dart_hw.irq; i++) {
        if (i == IRQ_TRIES || !gr_dart_isr(&iommu->dart)) {
            iommu->machine->stuck_irqs++;
            break;
        }
    }
    gr_fault_dispatch(&iommu->dart.inst);
}

enum model_result machine_access_raw(struct machine_device *dev, unsigned stream, gr_iova_t iova,
                                     void *buf, uint64_t len, bool write, uint64_t *done)
{
    struct machine_iommu *iommu = dev->iommu[stream];
    enum model_result result;

    const uint32_t sid = dev->streams[stream].sid;

    machine_bus_lock(iommu->machine);
    if (is_smmu(iommu)) {
        result = host_smmuv3_access(&iommu->smmu_hw, sid, iova, buf, len, write, dev->tree.coherent,
                                    done);
    } else {
        result =
            host_dart_access(&iommu->dart_hw, sid, iova, buf, len, write, dev->tree.coherent, done);
    }
    machine_bus_unlock(iommu->machine);
    machine_serve_irq(iommu);
    return result;
}

static bool overlaps(const struct gr_range *range, gr_iova_t first, gr_iova_t last)
{
    return first <= range->last && range->first <= last;
}

static bool within(const struct gr_range *range, gr_iova_t first, gr_iova_t last)
{
    return range->first <= first && last <= range->last;
}

enum model_result machine_access(struct machine_device *dev, unsigned stream, gr_iova_t iova,
                                 void *buf, uint64_t len, bool write, uint64_t *done)
{
    gr_iova_t last = iova + (len - 1);

    *done = 0;
    /* The window is of what is translated. */
    if (last < iova || !within(&dev->tree.dma, iova, last) ||
        (dev->mode != GR_DOMAIN_IDENTITY &&
         !within(&dev->tree.streams[stream].window, iova, last))) {
        return MODEL_BUS_ERROR;
    }
    for (unsigned i = 0; i < dev->tree.nreserved; i++) {
        if (overlaps(&dev->tree.reserved[i], iova, last)) {
            return MODEL_BUS_ERROR;
        }
    }
    return machine_access_raw(dev, stream, iova, buf, len, write, done);
}
