/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include "firmware.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The bounce pool's limit: in bytes, and as a part of all RAM. */
#define POOL_MAX (UINT64_C(64) << 20)
#define POOL_SHARE 8u
/* Calls of the interrupt handler while a DART's line stays up, at most. */
#define IRQ_TRIES 4u
/* The same while an SMMUv3 has events: more than a full queue, in parts. */
#define EVENT_TRIES 64u

void sim_problem(struct sim_machine *m, const char *format, ...)
{
    va_list args;

    if (m->nproblems < SIM_PROBLEMS) {
        va_start(args, format);
        vsnprintf(m->problems[m->nproblems], SIM_REASON, format, args);
        va_end(args);
    }
    m->nproblems++;
}

void sim_drop_faults(struct sim_machine *m)
{
    m->nfaults = 0;
    m->lost_faults = 0;
}

static void note_fault(struct sim_machine *m, struct gr_domain *domain,
                       const struct gr_fault *fault)
{
    if (m->nfaults < SIM_FAULTS)
        m->faults[m->nfaults++] = (struct sim_fault){.fault = *fault, .domain = domain};
    else
        m->lost_faults++;
    m->lost_faults += fault->lost;
}

static bool on_instance_fault(void *cookie, const struct gr_fault *fault)
{
    note_fault(cookie, NULL, fault);
    return true;
}

static bool on_domain_fault(void *cookie, const struct gr_fault *fault)
{
    struct sim_device *const dev = cookie;

    note_fault(dev->iommu[0]->machine, &dev->domain, fault);
    return true;
}

/* ---- Bringing up ---- */

static bool out_of_memory(struct sim_error *error)
{
    return sim_refuse(error, "out of memory: close something else and try again");
}

static bool tree_error(const struct sim_machine *m, struct sim_error *error)
{
    return sim_refuse(error, "%s: %s", m->board->path, m->board->dt.error);
}

/* The whole pages of 4 KiB in a range. Size 0 if there is none. */
static struct host_bank bank_of(const struct gr_range *range)
{
    uint64_t base = (range->first + 0xfff) & ~(uint64_t)0xfff;
    uint64_t end = (range->last + 1) & ~(uint64_t)0xfff;

    if (range->last == UINT64_MAX)
        end = range->last & ~(uint64_t)0xfff;
    return (struct host_bank){.base = base, .size = end > base ? end - base : 0};
}

static void widen(struct gr_range *span, const struct host_bank *bank, bool first)
{
    uint64_t last = bank->base + (bank->size - 1);

    span->first = first || bank->base < span->first ? bank->base : span->first;
    span->last = first || last > span->last ? last : span->last;
}

static bool read_memory(struct sim_machine *m, struct host_config *config, struct sim_error *error)
{
    struct gr_dt_iter banks = {0};
    struct gr_dt_iter holes = {0};
    struct gr_range range;
    int ret;

    while ((ret = gr_dt_memory_next(&m->board->dt, &banks, &range)) > 0) {
        struct host_bank bank = bank_of(&range);

        if (bank.size == 0)
            continue;
        _Static_assert(GR_DT_BANKS <= HOST_MAX_BANKS, "what dt.h lets through fits");
        widen(&m->ram_span, &bank, config->nbanks == 0);
        m->banks[m->nbanks++] = (struct gr_range){bank.base, bank.base + (bank.size - 1)};
        config->banks[config->nbanks++] = bank;
        m->ram += bank.size;
    }
    if (!ret && config->nbanks == 0)
        return sim_refuse(error, "%s: no memory node has a whole page of 4 KiB: correct its reg",
                          m->board->path);
    while (!ret && (ret = gr_dt_reserved_next(&m->board->dt, &holes, &range)) > 0) {
        if (config->nreserved == HOST_MAX_RESERVED)
            return sim_refuse(error,
                              "%s: /reserved-memory or /memreserve/: 0x%llx is past the %d "
                              "reserved regions that we can hold: merge those that touch",
                              m->board->path, (unsigned long long)range.first, HOST_MAX_RESERVED);
        m->holes[m->nholes++] = range;
        config->reserved[config->nreserved++] =
            (struct host_hole){.base = range.first, .size = range.last - range.first + 1};
        ret = 0;
    }
    return ret < 0 ? tree_error(m, error) : true;
}

static bool make_host(struct sim_machine *m, struct sim_error *error)
{
    struct host_config config = {.cpu_page = m->options.cpu_page, .seed = m->options.seed};
    char why[256];

    if (!read_memory(m, &config, error))
        return false;
    m->host = host_create(&config, why, sizeof(why));
    if (!m->host)
        return sim_refuse(error, "%s: reg of its memory nodes: %s", m->board->path, why);
    host_log_level(m->host, -1);
    m->bus.host = m->host;
    return true;
}

/* The reason that the library logged in the form "NAME: why", or else the error's own words. */
static void reason_from_log(struct sim_machine *m, char *reason, const char *name, int ret)
{
    const char *line = host_last_log(m->host);
    size_t length = strlen(name);
    bool ours = strncmp(line, name, length) == 0 && strncmp(line + length, ": ", 2) == 0;

    if (!ours && ret == GR_ENOMEM)
        line = "no memory for its tables: describe RAM that its IOMMU can address";
    else
        line = ours ? line + length + 2 : gr_strerror(ret);
    snprintf(reason, SIM_REASON, "%s", line);
}

static bool is_smmu(const struct sim_iommu *iommu)
{
    return iommu->tree.driver == GR_DT_SMMUV3;
}

/* Hardware may look at the tables now. */
static void moment(void *arg)
{
    struct sim_machine *const m = arg;

    sim_firmware_look(m);
    if (m->observer)
        m->observer(m->observer_arg);
}

/* After a store to a register only the display looks. */
static void moment_of_display(void *arg)
{
    sim_firmware_look(arg);
}

void sim_machine_observe(struct sim_machine *m, void (*fn)(void *arg), void *arg)
{
    m->observer = fn;
    m->observer_arg = arg;
}

static bool start_smmu(struct sim_iommu *iommu)
{
    struct sim_machine *const m = iommu->machine;
    const struct gr_dt_iommu *const tree = &iommu->tree;
    const struct gr_smmuv3_config config = {
        .env = m->host,
        .mmio = sim_hw_mmio(&iommu->hw),
        .mmio_size = tree->reg_size,
        .name = tree->path,
        .granule_lg2 = (uint8_t)tree->page_bits,
        .va_bits = (uint8_t)tree->va_bits,
        .aperture = tree->has_aperture ? tree->aperture : (struct gr_range){0, 0},
    };
    int ret;

    ret = gr_smmuv3_init(&iommu->smmu, &config);
    if (ret) {
        reason_from_log(m, iommu->reason, tree->path, ret);
        return false;
    }
    iommu->inst = &iommu->smmu.inst;
    return true;
}

static bool start_dart(struct sim_iommu *iommu)
{
    struct sim_machine *const m = iommu->machine;
    const struct gr_dt_iommu *const tree = &iommu->tree;
    struct gr_dart_config config = {
        .kind = sim_hw_kind(tree->driver)->driver,
        .env = m->host,
        .mmio = sim_hw_mmio(&iommu->hw),
        .mmio_size = tree->reg_size,
        .name = tree->path,
        .va_bits = (uint8_t)tree->va_bits,
        .pa_bits = (uint8_t)tree->pa_bits,
        .streams = (uint16_t)tree->streams,
        .window_verified = tree->window_verified,
    };
    int ret;

    if (tree->has_aperture)
        config.aperture = tree->aperture;
    ret = gr_dart_init(&iommu->dart, &config);
    if (ret) {
        reason_from_log(m, iommu->reason, tree->path, ret);
        return false;
    }
    iommu->inst = &iommu->dart.inst;
    return true;
}

static void bring_up_iommu(struct sim_iommu *iommu)
{
    if (iommu->reason[0] != '\0' || !(is_smmu(iommu) ? start_smmu(iommu) : start_dart(iommu)))
        return;
    iommu->up = true;
    iommu->aperture = iommu->inst->aperture;
    iommu->granule = UINT64_C(1) << iommu->inst->table.granule_lg2;
    iommu->streams = iommu->inst->streams;
    iommu->locked = iommu->inst->locked;
    gr_instance_set_fault_handler(iommu->inst, on_instance_fault, iommu->machine);
}

static bool make_iommus(struct sim_machine *m, struct sim_error *error)
{
    struct gr_dt *const dt = &m->board->dt;
    struct gr_dt_iter count = {0};
    struct gr_dt_iter fill = {0};
    struct gr_dt_iommu tree;
    unsigned enabled = 0;
    int ret;

    while ((ret = gr_dt_iommu_next(dt, &count, &tree)) > 0) {
        enabled += tree.enabled;
        if (enabled > SIM_MAX)
            return sim_refuse(error,
                              "%s: %s: status enables it past the %u IOMMUs that we can hold: "
                              "disable some",
                              m->board->path, tree.path, SIM_MAX);
    }
    if (ret < 0)
        return tree_error(m, error);
    m->iommus = calloc(enabled + 1, sizeof(*m->iommus));
    if (!m->iommus)
        return out_of_memory(error);
    while (gr_dt_iommu_next(dt, &fill, &tree) > 0) {
        struct sim_iommu *const iommu = &m->iommus[m->niommus];

        if (tree.enabled) {
            iommu->tree = tree;
            iommu->machine = m;
            m->niommus++;
            (void)sim_hw_init(&iommu->hw, &m->bus, &iommu->tree, &m->rng, m->options.deferred,
                              iommu->reason, sizeof(iommu->reason));
        }
    }
    return true;
}

static struct sim_iommu *find_iommu(struct sim_machine *m, int node)
{
    for (unsigned i = 0; i < m->niommus; i++)
        if (m->iommus[i].tree.node == node)
            return &m->iommus[i];
    return NULL;
}

/* Note why the device stays blocked, though it should not be. */
__attribute__((format(printf, 2, 3))) static void fail(struct sim_device *dev, const char *format,
                                                       ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(dev->reason, sizeof(dev->reason), format, args);
    va_end(args);
    dev->failed = true;
}

/* Are all IOMMUs of the device up? Else it is blocked, with the reason of the last that is not. */
static bool connect(struct sim_device *dev)
{
    for (unsigned i = 0; i < dev->tree.nstreams; i++) {
        struct sim_iommu *const iommu = dev->iommu[i];

        if (!iommu->up)
            fail(dev, "%.100s is not usable: %.120s", iommu->tree.path, iommu->reason);
        dev->streams[i] = (struct gr_stream){
            .inst = iommu->inst,
            .sid = dev->tree.streams[i].sid,
            .window = dev->tree.streams[i].window,
        };
    }
    return !dev->failed;
}

static void fail_as_logged(struct sim_machine *m, struct sim_device *dev, int ret)
{
    reason_from_log(m, dev->reason, dev->tree.path, ret);
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

static enum gr_adopt adopt_of(const struct sim_machine *m, const struct sim_device *dev)
{
    for (unsigned i = 0; i < dev->tree.nstreams; i++)
        if (m->options.adopt == GR_ADOPT_REPLACE && dev->iommu[i]->locked)
            return GR_ADOPT_DEFAULT;
    return m->options.adopt;
}

static void register_device(struct sim_machine *m, struct sim_device *dev)
{
    static const enum gr_domain_type modes[] = {
        [GR_DT_MODE_ANY] = 0,
        [GR_DT_MODE_TRANSLATED] = GR_DOMAIN_TRANSLATED,
        [GR_DT_MODE_LINEAR] = GR_DOMAIN_LINEAR,
        [GR_DT_MODE_IDENTITY] = GR_DOMAIN_IDENTITY,
        [GR_DT_MODE_BLOCKED] = GR_DOMAIN_BLOCKED,
    };
    const struct sim_options *const options = &m->options;
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
    int ret;

    dev->untrusted = config.untrusted;
    dev->mode = GR_DOMAIN_BLOCKED;
    if (!connect(dev))
        return;
    config.adopt = adopt_of(m, dev);
    memcpy(dev->reserved, dev->tree.reserved, sizeof(dev->tree.reserved));
    for (unsigned i = 0; i < dev->tree.nregions; i++)
        dev->regions[i] = region_of(&dev->tree.regions[i]);
    if (dev->tree.dma.first > 0)
        dev->reserved[config.reserved_count++] = (struct gr_range){0, dev->tree.dma.first - 1};
    ret = gr_device_init(&dev->device, &config);
    if (ret) {
        fail_as_logged(m, dev, ret);
        return;
    }
    dev->registered = true;
}

/* ---- Domains ---- */

/* Does the device reach any RAM without translation? If so, it reaches the lowest. */
static bool reaches_memory(const struct sim_machine *m, const struct sim_device *dev)
{
    uint64_t last = (UINT64_C(1) << dev->iommu[0]->dart.inst.table.pa_bits) - 1;

    return m->ram_span.first <= last && m->ram_span.first <= dev->tree.dma.last;
}

/* Attach the device to the LINEAR domain of another one, if that is possible. */
static bool share_linear(struct sim_machine *m, struct sim_device *dev)
{
    for (unsigned i = 0; i < m->ndevices; i++) {
        struct sim_device *const other = &m->devices[i];

        if (other->owns_domain && other->mode == GR_DOMAIN_LINEAR &&
            gr_domain_attach(&other->domain, &dev->device) == 0) {
            dev->active = &other->domain;
            return true;
        }
    }
    return false;
}

static int make_domain(struct sim_machine *m, struct sim_device *dev, enum gr_domain_type type)
{
    struct gr_linear_config linear = {
        .ram = m->banks,
        .ram_count = m->nbanks,
        .holes = m->holes,
        .hole_count = m->nholes,
    };
    bool deferred = m->options.deferred && type == GR_DOMAIN_TRANSLATED;

    if (type == GR_DOMAIN_LINEAR)
        return gr_domain_init_linear(&dev->domain, m->host, &dev->device, &linear);
    if (type == GR_DOMAIN_IDENTITY && !reaches_memory(m, dev))
        return GR_ERANGE;
    return gr_domain_init(&dev->domain, m->host, &dev->device, type,
                          deferred ? GR_DOMAIN_DEFERRED : 0);
}

static enum gr_isolation isolation_of(const struct sim_device *dev)
{
    enum gr_isolation how = dev->device.config.isolation;

    if (dev->mode != GR_DOMAIN_TRANSLATED)
        return GR_ISOLATION_DEFAULT;
    if (how == GR_ISOLATION_DEFAULT || (how == GR_ISOLATION_EXPOSE && dev->untrusted))
        how = dev->untrusted ? GR_ISOLATION_WINDOW : GR_ISOLATION_EXPOSE;
    /* Unverified windows are good enough for trusted devices only; an SMMU has no windows. */
    if (how == GR_ISOLATION_WINDOW &&
        (!dev->active->pt.window_unit || (dev->untrusted && !dev->active->windows_verified)))
        how = GR_ISOLATION_BOUNCE;
    return how;
}

static void attach_device(struct sim_machine *m, struct sim_device *dev)
{
    struct gr_domain *shared = gr_device_domain(&dev->device);
    struct gr_policy policy;
    int ret = gr_device_policy(&dev->device, m->options.mode, &policy);

    dev->untrusted = gr_device_untrusted(&dev->device); /* its group's least trusted decides */
    snprintf(dev->reason, sizeof(dev->reason), "%s", policy.reason);
    if (ret) /* policy cannot give what was asked for: blocked */
        return;
    if (shared || (policy.type == GR_DOMAIN_LINEAR && share_linear(m, dev))) {
        shared = gr_device_domain(&dev->device);
    } else {
        ret = make_domain(m, dev, policy.type);
        if (ret == GR_ERANGE && policy.type == GR_DOMAIN_IDENTITY) {
            snprintf(dev->reason, sizeof(dev->reason), "no RAM lies within the device's reach");
            return;
        }
        if (ret) {
            fail_as_logged(m, dev, ret);
            dev->failed = policy.type == GR_DOMAIN_TRANSLATED || ret == GR_ENOMEM;
            return;
        }
        gr_domain_set_fault_handler(&dev->domain, on_domain_fault, dev);
        ret = gr_domain_attach(&dev->domain, &dev->device);
        if (ret) {
            fail_as_logged(m, dev, ret);
            ret = gr_domain_fini(&dev->domain);
            if (ret)
                sim_problem(m, "%s: gr_domain_fini() after a failed attach: %s", dev->tree.path,
                            gr_strerror(ret));
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
static gr_pa_t reach(const struct sim_device *dev)
{
    const struct gr_domain *const domain = dev->active;
    gr_pa_t last = domain->direct.last;

    if (dev->mode == GR_DOMAIN_TRANSLATED)
        return domain->pt.pa_mask;
    return last - domain->direct_offset <= dev->tree.dma.last
               ? last
               : dev->tree.dma.last + domain->direct_offset;
}

/* One bounce pool for all domains, within the reach of every device. */
static bool make_pool(struct sim_machine *m)
{
    struct gr_bounce_config config = {.pa_last = UINT64_MAX, .limit = m->ram / POOL_SHARE};
    int ret;

    config.limit = config.limit < POOL_MAX ? config.limit : POOL_MAX;
    config.limit &= ~(GR_BOUNCE_CHUNK - 1);
    config.limit = config.limit ? config.limit : GR_BOUNCE_CHUNK;
    for (unsigned i = 0; i < m->ndevices; i++)
        if (m->devices[i].active && reach(&m->devices[i]) < config.pa_last)
            config.pa_last = reach(&m->devices[i]);
    ret = gr_bounce_init(&m->pool, m->host, &config);
    m->has_pool = !ret;
    for (unsigned i = 0; !ret && i < m->ndevices; i++) {
        struct sim_device *const dev = &m->devices[i];

        if (dev->owns_domain && dev->active)
            ret = gr_domain_set_bounce(&dev->domain, &m->pool);
    }
    if (ret)
        sim_problem(m, "no bounce pool: %s", gr_strerror(ret));
    return ret != GR_ENOMEM;
}

/* Refuse options that must not be given where a device may be hostile. */
static bool check_trust(const struct sim_machine *m, const struct gr_dt_master *tree,
                        struct sim_error *error)
{
    const char *const option = m->options.deferred ? "--invalidate=deferred"
                               : m->options.isolation == GR_ISOLATION_EXPOSE ? "--isolation=expose"
                                                                             : NULL;

    if (option && (tree->untrusted || m->options.untrusted))
        return sim_refuse(error, "%s: %s is untrusted, and %s is for trusted devices: drop it",
                          m->board->path, tree->path, option);
    return true;
}

static bool read_devices(struct sim_machine *m, struct sim_error *error)
{
    struct gr_dt *const dt = &m->board->dt;
    struct gr_dt_iter it = {0};
    struct gr_dt_master tree;
    int ret;

    /*
     * Room for the most there may be: one pass, since each reference costs a walk over the tree,
     * and a device must not move once it is registered.
     */
    m->devices = calloc(SIM_MAX, sizeof(*m->devices));
    if (!m->devices)
        return out_of_memory(error);
    while ((ret = gr_dt_master_next(dt, &it, &tree)) > 0) {
        if (m->ndevices == SIM_MAX)
            return sim_refuse(error,
                              "%s: %s: its IOMMU makes it a device past the %u that we can "
                              "hold: disable some with status",
                              m->board->path, tree.path, SIM_MAX);
        if (!check_trust(m, &tree, error))
            return false;
        struct sim_device *const dev = &m->devices[m->ndevices++];

        dev->tree = tree;
        for (unsigned i = 0; i < tree.nstreams; i++)
            dev->iommu[i] = find_iommu(m, tree.streams[i].iommu);
    }
    return ret < 0 ? tree_error(m, error) : true;
}

/* Let firmware run, then start the drivers and give every device its domain. */
static bool start(struct sim_machine *m, struct sim_error *error)
{
    m->scan_rng.state = sim_rng_mix(m->options.seed ^ 0x7363616eu);
    if (!sim_firmware_boot(m))
        return sim_refuse(error,
                          "%s: no memory for the tables of granule,firmware: describe more RAM",
                          m->board->path);
    host_set_observer(m->host, moment, m);
    if (!sim_firmware_start_display(m))
        return sim_refuse(error, "--scanout=thread: no thread can be started: drop it");
    for (unsigned i = 0; i < m->niommus; i++)
        bring_up_iommu(&m->iommus[i]);
    /* Groups form as devices are registered; only then do they get their domains. */
    for (unsigned i = 0; i < m->ndevices; i++)
        register_device(m, &m->devices[i]);
    for (unsigned i = 0; i < m->ndevices; i++)
        if (m->devices[i].registered)
            attach_device(m, &m->devices[i]);
    sim_firmware_note_adoption(m);
    return make_pool(m) || out_of_memory(error);
}

bool sim_machine_up(struct sim_machine *m, struct sim_board *board,
                    const struct sim_options *options, struct sim_error *error)
{
    memset(m, 0, sizeof(*m));
    m->board = board;
    m->options = *options;
    m->rng.state = sim_rng_mix(options->seed ^ 0x6d6f64656c73u);
    pthread_mutex_init(&m->bus.lock, NULL);
    m->bus.before_read = moment;
    m->bus.after_write = moment_of_display;
    m->bus.arg = m;
    if (!make_host(m, error) || !make_iommus(m, error) || !read_devices(m, error) ||
        !start(m, error)) {
        sim_machine_detach(m);
        sim_machine_down(m);
        sim_machine_free(m);
        return false;
    }
    return true;
}

/* ---- What became of a device ---- */

const char *sim_mode_name(enum gr_domain_type mode)
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

bool sim_is_direct(const struct sim_device *dev)
{
    return dev->mode == GR_DOMAIN_LINEAR || dev->mode == GR_DOMAIN_IDENTITY;
}

const char *sim_isolation_name(const struct sim_device *dev)
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

static void check_down(struct sim_machine *m, const char *name, const char *call, int ret)
{
    if (ret)
        sim_problem(m, "%s: %s() failed when taking the machine down: %s", name, call,
                    gr_strerror(ret));
}

void sim_machine_detach(struct sim_machine *m)
{
    for (unsigned i = 0; i < m->ndevices; i++) {
        struct sim_device *dev = &m->devices[i];
        struct gr_domain *const domain = dev->registered ? gr_device_domain(&dev->device) : NULL;

        if (domain) { /* with its whole group */
            check_down(m, dev->tree.path, "gr_domain_detach",
                       gr_domain_detach(domain, &dev->device));
        }
    }
    for (unsigned i = 0; i < m->ndevices; i++) {
        struct sim_device *dev = &m->devices[i];

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

void sim_machine_down(struct sim_machine *m)
{
    for (unsigned i = 0; i < m->ndevices; i++) {
        struct sim_device *const dev = &m->devices[i];

        if (dev->registered) {
            check_down(m, dev->tree.path, "gr_device_fini", gr_device_fini(&dev->device));
            dev->registered = false;
        }
    }
    for (unsigned i = 0; i < m->niommus; i++) {
        struct sim_iommu *const iommu = &m->iommus[i];

        if (iommu->up && is_smmu(iommu))
            check_down(m, iommu->tree.path, "gr_smmuv3_fini", gr_smmuv3_fini(&iommu->smmu));
        else if (iommu->up)
            check_down(m, iommu->tree.path, "gr_dart_fini", gr_dart_fini(&iommu->dart));
    }
    sim_firmware_stop_display(m);
    sim_firmware_check(m, true);
}

uint64_t sim_machine_leaks(const struct sim_machine *m)
{
    return (uint64_t)host_leaks(m->host) + (uint64_t)host_ram_leaks(m->host);
}

uint64_t sim_machine_misuse(const struct sim_machine *m)
{
    uint64_t misuse = host_misuse(m->host) + m->stuck_irqs;

    for (unsigned i = 0; i < m->niommus; i++)
        misuse += sim_hw_stats(&m->iommus[i].hw).misuse;
    return misuse;
}

void sim_machine_free(struct sim_machine *m)
{
    for (unsigned i = 0; i < m->niommus; i++)
        sim_hw_fini(&m->iommus[i].hw);
    sim_firmware_free(m);
    pthread_mutex_destroy(&m->bus.lock);
    free(m->iommus);
    free(m->devices);
    if (m->host)
        host_destroy(m->host);
    *m = (struct sim_machine){0};
}

/* ---- Accesses ---- */

bool sim_reads_all(const struct sim_device *dev)
{
    return dev->iommu[0]->inst->table.format == GR_PT_LPAE_S1;
}

/*
 * The interrupt is an edge: call the handler until it finds no event. No new ones come meanwhile.
 */
static void serve_smmu(struct sim_iommu *iommu)
{
    if (!iommu->hw.smmu.irq)
        return;
    iommu->hw.smmu.irq = false;
    for (unsigned i = 0; gr_smmuv3_isr(&iommu->smmu); i++) {
        if (i == EVENT_TRIES) {
            iommu->machine->stuck_irqs++;
            break;
        }
        gr_fault_dispatch(iommu->inst);
    }
}

void sim_serve_irq(struct sim_iommu *iommu)
{
    if (is_smmu(iommu)) {
        serve_smmu(iommu);
        return;
    }
    for (unsigned i = 0; iommu->hw.dart.irq; i++) {
        if (i == IRQ_TRIES || !gr_dart_isr(&iommu->dart)) {
            iommu->machine->stuck_irqs++;
            break;
        }
    }
    gr_fault_dispatch(&iommu->dart.inst);
}

enum model_result sim_access_raw(struct sim_device *dev, unsigned stream, gr_iova_t iova, void *buf,
                                 uint64_t len, bool write, uint64_t *done)
{
    struct sim_iommu *const iommu = dev->iommu[stream];
    const uint32_t sid = dev->streams[stream].sid;
    enum model_result result;

    result = sim_hw_access(&iommu->hw, sid, iova, buf, len, write, dev->tree.coherent, done);
    sim_serve_irq(iommu);
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

enum model_result sim_access(struct sim_device *dev, unsigned stream, gr_iova_t iova, void *buf,
                             uint64_t len, bool write, uint64_t *done)
{
    gr_iova_t last = iova + (len - 1);

    *done = 0;
    /* The stream's window limits translated accesses only. */
    if (last < iova || !within(&dev->tree.dma, iova, last) ||
        (dev->mode != GR_DOMAIN_IDENTITY && !within(&dev->tree.streams[stream].window, iova, last)))
        return MODEL_BUS_ERROR;
    for (unsigned i = 0; i < dev->tree.nreserved; i++)
        if (overlaps(&dev->tree.reserved[i], iova, last))
            return MODEL_BUS_ERROR;
    return sim_access_raw(dev, stream, iova, buf, len, write, done);
}
