/* SPDX-License-Identifier: MIT */
#include "hw.h"

#include <stdio.h>
#include <string.h>

/* More register space than any DART has; a tree may claim anything. */
#define MMIO_MAX 0x10000u
#define SMMU_MMIO 0x20000u
/* The va_bits that a model takes. Tables and driver still use the va_bits of the tree. */
#define MODEL_VA_MIN 32u
#define MODEL_VA_MAX 47u
/* Where the records of a t8110 of revision 2.2 end: DART.md 5. */
#define RECORDS_END 0xc000u
/* The longest time that an invalidation takes, below the drivers' GR_CFG_*_TIMEOUT_NS. */
#define BUSY_NS 20000u

const struct sim_hw_kind *sim_hw_kind(enum gr_dt_driver driver)
{
    static const struct sim_hw_kind kinds[] = {
        [GR_DT_DART_T8020] = {"apple,t8103-dart", false, DART_MODEL_T8020, GR_DART_T8020},
        [GR_DT_DART_T6000] = {"apple,t6000-dart", false, DART_MODEL_T6000, GR_DART_T6000},
        [GR_DT_DART_T8110] = {"apple,t8110-dart", false, DART_MODEL_T8110, GR_DART_T8110},
        [GR_DT_DART_T8103_USB4] = {"apple,t8103-usb4-dart", false, DART_MODEL_T8103_USB4,
                                   GR_DART_T8103_USB4},
        [GR_DT_DART_S5L8960X] = {"apple,s5l8960x-dart", false, DART_MODEL_S5L8960X,
                                 GR_DART_S5L8960X},
        [GR_DT_SMMUV3] = {.compatible = "arm,smmu-v3", .smmu = true},
    };

    return kinds[driver].compatible ? &kinds[driver] : NULL;
}

static bool is_smmu(const struct sim_hw *hw)
{
    return hw->smmu.model;
}

void sim_bus_lock(struct sim_bus *bus)
{
    pthread_mutex_lock(&bus->lock);
}

void sim_bus_unlock(struct sim_bus *bus)
{
    pthread_mutex_unlock(&bus->lock);
}

/* ---- The library's accesses to registers ---- */

static uint32_t observed_read32(void *opaque, uint32_t offset)
{
    struct sim_hw *const hw = opaque;

    hw->bus->before_read(hw->bus->arg);
    return sim_hw_read32(hw, offset);
}

static void observed_write32(void *opaque, uint32_t offset, uint32_t value)
{
    struct sim_hw *const hw = opaque;

    sim_bus_lock(hw->bus);
    if (is_smmu(hw))
        smmuv3_model_write32(hw->smmu.model, offset, value);
    else
        dart_model_write32(hw->dart.model, offset, value);
    sim_bus_unlock(hw->bus);
    hw->bus->after_write(hw->bus->arg);
}

static void observed_write64(void *opaque, uint32_t offset, uint64_t value)
{
    struct sim_hw *const hw = opaque;

    sim_bus_lock(hw->bus);
    smmuv3_model_write64(hw->smmu.model, offset, value);
    sim_bus_unlock(hw->bus);
}

static void observe(struct sim_hw *hw, struct host_mmio *mmio)
{
    mmio->opaque = hw;
    mmio->read32 = observed_read32;
    mmio->write32 = observed_write32;
    mmio->read64 = NULL; /* the library reads no register of 64 bits */
    mmio->write64 = mmio->write64 ? observed_write64 : NULL;
}

/* ---- Models ---- */

static uint32_t clamp(uint32_t value, uint32_t least, uint32_t most)
{
    return value < least ? least : value > most ? most : value;
}

static bool make_dart(struct sim_hw *hw, enum dart_model_kind kind, struct sim_rng *rng,
                      bool watch_reuse)
{
    const struct gr_dt_iommu *const tree = hw->tree;
    struct dart_model_config config = dart_model_defaults(kind);

    config.mmio_size = tree->reg_size < MMIO_MAX ? (uint32_t)tree->reg_size & ~3u : MMIO_MAX;
    config.page_bits = tree->page_bits;
    /* The bus of an s5l8960x may pass fewer bits than its tables translate. */
    config.va_bits =
        clamp(tree->va_bits, kind == DART_MODEL_S5L8960X ? 0 : MODEL_VA_MIN, MODEL_VA_MAX);
    config.pa_bits = tree->pa_bits;
    config.streams = tree->streams;
    config.bypass = tree->bypass;
    /* Of revision 2.2 now and then, where its record of errors lies within the window. */
    if (kind == DART_MODEL_T8110 && config.mmio_size >= RECORDS_END && sim_rng_below(rng, 2) != 0)
        config.revision = 0x0202;
    config.locked = tree->firmware == GR_DT_FIRMWARE_LOCKED;
    config.random_replacement = sim_rng_below(rng, 2) != 0;
    config.keep_all = sim_rng_below(rng, 4) == 0;
    config.watch_reuse = watch_reuse;
    config.serve_while_busy = sim_rng_below(rng, 2) != 0;
    if (!host_dart_init(&hw->dart, hw->bus->host, &config, sim_rng_next(rng)))
        return false;
    observe(hw, &hw->dart.mmio);
    dart_model_set_busy(hw->dart.model, sim_rng_below(rng, BUSY_NS), false);
    return true;
}

/* Now and then a model has linear stream tables only, or no range commands. */
static bool make_smmu(struct sim_hw *hw, struct sim_rng *rng)
{
    struct smmuv3_model_config config = smmuv3_model_defaults();
    const uint32_t oas = hw->tree->pa_bits == 36 ? 1 : 4;

    config.idr5 = (config.idr5 & ~7u) | oas;
    if (strcmp(hw->tree->compatible, "granule,smmuv3-stage-2") == 0)
        smmuv3_model_set_stages(&config, SMMUV3_MODEL_STAGE_2);
    if (sim_rng_below(rng, 4) == 0)
        config.idr0 &= ~(3u << 27);
    if (sim_rng_below(rng, 4) == 0)
        config.idr3 = 0;
    config.random_replacement = sim_rng_below(rng, 2) != 0;
    config.keep_all = sim_rng_below(rng, 4) == 0;
    if (hw->tree->reg_size < SMMU_MMIO ||
        !host_smmuv3_init(&hw->smmu, hw->bus->host, &config, sim_rng_next(rng)))
        return false;
    observe(hw, &hw->smmu.mmio);
    smmuv3_model_set_busy(hw->smmu.model, sim_rng_below(rng, BUSY_NS), 0);
    return true;
}

bool sim_hw_init(struct sim_hw *hw, struct sim_bus *bus, const struct gr_dt_iommu *tree,
                 struct sim_rng *rng, bool watch_reuse, char *reason, size_t room)
{
    const struct sim_hw_kind *const kind = sim_hw_kind(tree->driver);

    *hw = (struct sim_hw){.tree = tree, .bus = bus};
    if (!kind) {
        snprintf(reason, room, "%s", tree->reason);
        return false;
    }
    if (kind->smmu ? make_smmu(hw, rng) : make_dart(hw, kind->model, rng, watch_reuse))
        return true;
    snprintf(reason, room, "no model of such %s: its reg has 0x%llx bytes, %s are needed",
             kind->smmu ? "an SMMUv3" : "a DART", (unsigned long long)tree->reg_size,
             kind->smmu ? "0x20000" : "at least 0x4000");
    return false;
}

void sim_hw_fini(struct sim_hw *hw)
{
    if (hw->smmu.model)
        host_smmuv3_fini(&hw->smmu);
    if (hw->dart.model)
        host_dart_fini(&hw->dart);
}

/* ---- The face ---- */

const char *sim_hw_compatible(const struct sim_hw *hw)
{
    const struct sim_hw_kind *const kind = sim_hw_kind(hw->tree->driver);

    return kind ? kind->compatible : hw->tree->compatible;
}

gr_mmio_t sim_hw_mmio(struct sim_hw *hw)
{
    return is_smmu(hw) ? &hw->smmu.mmio : &hw->dart.mmio;
}

struct sim_hw_stats sim_hw_stats(const struct sim_hw *hw)
{
    if (hw->smmu.model) {
        const struct smmuv3_model_stats *const s = smmuv3_model_stats(hw->smmu.model);

        return (struct sim_hw_stats){s->hits, s->misses, s->fetches, s->invalidations,
                                     s->misuse + s->bad_fetches};
    }
    if (hw->dart.model) {
        const struct dart_model_stats *const s = dart_model_stats(hw->dart.model);

        return (struct sim_hw_stats){s->hits, s->misses, s->fetches, s->invalidations,
                                     s->misuse + s->bad_fetches + s->locked_writes + s->reused};
    }
    return (struct sim_hw_stats){0};
}

uint32_t sim_hw_size(const struct sim_hw *hw)
{
    return is_smmu(hw) ? hw->smmu.mmio.size : hw->dart.mmio.size;
}

uint32_t sim_hw_read32(struct sim_hw *hw, uint32_t offset)
{
    uint32_t value;

    sim_bus_lock(hw->bus);
    value = is_smmu(hw) ? smmuv3_model_read32(hw->smmu.model, offset)
                        : dart_model_read32(hw->dart.model, offset);
    sim_bus_unlock(hw->bus);
    return value;
}

void sim_hw_prefetch(struct sim_hw *hw, uint32_t sid, gr_iova_t iova)
{
    sim_bus_lock(hw->bus);
    if (is_smmu(hw))
        smmuv3_model_prefetch(hw->smmu.model, sid, iova);
    else
        dart_model_prefetch(hw->dart.model, sid, iova);
    sim_bus_unlock(hw->bus);
}

enum model_result sim_hw_translate(struct sim_hw *hw, uint32_t sid, gr_iova_t iova, bool write,
                                   uint64_t len, gr_pa_t *out_pa)
{
    enum model_result result;

    sim_bus_lock(hw->bus);
    result = is_smmu(hw) ? smmuv3_model_translate(hw->smmu.model, sid, iova, write, len, out_pa)
                         : dart_model_translate(hw->dart.model, sid, iova, write, len, out_pa);
    sim_bus_unlock(hw->bus);
    return result;
}

enum model_result sim_hw_access(struct sim_hw *hw, uint32_t sid, gr_iova_t iova, void *buf,
                                uint64_t len, bool write, bool coherent, uint64_t *done)
{
    enum model_result result;

    sim_bus_lock(hw->bus);
    result = is_smmu(hw) ? host_smmuv3_access(&hw->smmu, sid, iova, buf, len, write, coherent, done)
                         : host_dart_access(&hw->dart, sid, iova, buf, len, write, coherent, done);
    sim_bus_unlock(hw->bus);
    return result;
}
