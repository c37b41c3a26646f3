/* SPDX-License-Identifier: MIT */
/* Apple's DART: parameters, reset and power. What is known of DARTs: docs/hardware/DART.md. */
#include "drv/dart/dart_internal.h"

static const struct gr_instance_ops dart_ops = {
    .attach = gri_dart_attach,
    .bypass = gri_dart_bypass,
    .block = gri_dart_block,
    .invalidate = gri_dart_invalidate,
    .rearm = gri_dart_rearm,
    .firmware = gri_dart_firmware,
    .adopt = gri_dart_adopt,
    .release = gri_dart_release,
};

/* ---- parameters and reset ---- */

static int dart_refuse(const struct gr_dart_config *config, int err, const char *why,
                       uint32_t value)
{
    gri_log(config->env, GR_LOG_ERR, "%s: %s (%x)", config->name, why, (uint64_t)value);
    return err;
}

/*
 * A t8110 has its widths and its number of streams in PARAMS3 and PARAMS4 (DART.md 3). A configured
 * value can only narrow them. The revision in PARAMS3 chooses the layout.
 */
static int read_t8110(struct gr_dart *dart, const struct gr_dart_config *config)
{
    struct gr_instance *const inst = &dart->inst;

    dart->layout = gri_dart_find_layout(dart->kind,
                                        gri_field_get(dart->params[2], GRI_T8110_PARAMS3_REVISION));
    inst->table.levels = dart->layout->levels;
    inst->table.va_bits = (uint8_t)gri_field_get(dart->params[2], GRI_T8110_PARAMS3_VA_WIDTH);
    inst->table.pa_bits = (uint8_t)gri_field_get(dart->params[2], GRI_T8110_PARAMS3_PA_WIDTH);
    inst->streams = gri_field_get(dart->params[3], GRI_T8110_PARAMS4_SIDS);
    if (inst->streams > dart->layout->streams_max || !inst->streams)
        return dart_refuse(config, GR_EIO, "PARAMS4 gives a number of streams that no DART has",
                           dart->params[3]);
    if (inst->table.va_bits <= inst->table.granule_lg2 ||
        (inst->table.pa_bits != 36 && inst->table.pa_bits != 42))
        return dart_refuse(config, GR_EIO, "PARAMS3 gives address widths that no DART has",
                           dart->params[2]);
    if (dart->layout->exceptions && dart->mmio_size < GRI_T8110_EXCEPTION(inst->streams))
        return dart_refuse(config, GR_EINVAL,
                           "its register window ends before its streams' errors do",
                           (uint32_t)config->mmio_size);
    dart->streams = inst->streams;
    if (config->va_bits)
        inst->table.va_bits = (uint8_t)gri_min(inst->table.va_bits, config->va_bits);
    if (config->pa_bits)
        inst->table.pa_bits = (uint8_t)gri_min(inst->table.pa_bits, config->pa_bits);
    if (config->streams)
        inst->streams = (uint32_t)gri_min(inst->streams, config->streams);
    return 0;
}

static bool dart_is_locked(const struct gr_dart *dart)
{
    const struct gr_dart_layout *const l = dart->layout;

    return l->lock_bit && gri_dart_read(dart, l->lock) & l->lock_bit;
}

static int read_params(struct gr_dart *dart, const struct gr_dart_config *config)
{
    const struct gr_dart_layout *const l = dart->layout;
    struct gr_instance *const inst = &dart->inst;
    uint8_t granule_lg2;
    int ret = 0;

    for (uint32_t i = 0; i < l->params; i++)
        dart->params[i] = gri_dart_read(dart, 4 * i);
    granule_lg2 = (uint8_t)gri_field_get(dart->params[0], GRI_DART_PARAMS1_PAGE_LG2);
    inst->bypass = l->tcr_bypass && dart->params[1] & GRI_DART_PARAMS2_BYPASS;
    inst->locked = dart_is_locked(dart);
    dart->unlockable = inst->locked && l->lock_final && !gri_dart_read(dart, l->lock_final);
    inst->window_verified = config->window_verified;
    inst->caches_absent = true; /* inferred: Linux flushes after map as well (DART.md 4.5) */
    inst->table = (struct gr_pt_config){
        .format = l->format,
        .granule_lg2 = l->granule_lg2 ? l->granule_lg2 : granule_lg2,
        .levels = l->levels,
        .roots_lg2 = l->ttbrs_lg2,
        .va_bits = config->va_bits ? config->va_bits : l->va_bits,
        .pa_bits = config->pa_bits ? config->pa_bits : l->pa_bits,
        .coherent = true,
    };
    inst->streams = config->streams ? config->streams : l->streams;
    dart->streams = (uint32_t)gri_max(inst->streams, l->streams_open);
    if (inst->table.granule_lg2 != 12 && inst->table.granule_lg2 != 14)
        return dart_refuse(config, GR_EIO, "PARAMS1 gives a page size that no DART has",
                           dart->params[0]);
    if (l->params == 4)
        ret = read_t8110(dart, config);
    if (ret)
        return ret;
    if (inst->streams > l->streams_max)
        return dart_refuse(config, GR_EINVAL, "more streams configured than this kind has",
                           inst->streams);
    if (inst->table.pa_bits != 36 && (l->format != GR_PT_DART2 || inst->table.pa_bits != 42))
        return dart_refuse(config, GR_EINVAL,
                           "a physical address width that this kind does not have",
                           inst->table.pa_bits);
    return 0;
}

/* The configured aperture and va_bits, cut to what the tables reach. */
static int dart_settle_aperture(struct gr_dart *dart, const struct gr_dart_config *config)
{
    struct gr_instance *const inst = &dart->inst;
    const struct gr_range a = config->aperture;
    const bool given = a.first || a.last;

    inst->aperture = given ? a : (struct gr_range){0, gri_mask(inst->table.va_bits)};
    /* The hardware ignores bits above va_bits, so both ends must agree in them (DART.md 4, 10). */
    if (inst->aperture.first > inst->aperture.last ||
        ((inst->aperture.first ^ inst->aperture.last) & ~gri_mask(inst->table.va_bits)))
        return dart_refuse(config, GR_EINVAL,
                           "the aperture does not lie in one block of the translated bits",
                           inst->table.va_bits);
    inst->table.va_bits = (uint8_t)gri_min(inst->table.va_bits, gr_pt_reach_bits(&inst->table));
    if (inst->table.va_bits <= inst->table.granule_lg2)
        return dart_refuse(config, GR_EINVAL, "fewer IOVA bits than a granule has",
                           inst->table.va_bits);
    inst->aperture.last =
        gri_min(inst->aperture.last, inst->aperture.first | gri_mask(inst->table.va_bits));
    return 0;
}

/*
 * Let STREAM_REMAP map each stream to itself (DART.md 2): a remapped stream would use the TCR and
 * the tables of another stream, whatever its domain says. On t8110 the remap is a part of TCR
 * (DART.md 3). Returns 0, GR_EIO.
 */
static int reset_remap(const struct gr_dart *dart)
{
    const struct gr_dart_layout *const l = dart->layout;

    for (uint32_t word = 0; word < l->remap_words; word++) {
        const uint32_t offset = l->remap + 4 * word;
        const uint32_t identity = 0x03020100u + word * 0x04040404u;

        if (gri_dart_read(dart, offset) == identity)
            continue;
        gri_dart_write(dart, offset, identity);
        if (gri_dart_read(dart, offset) != identity)
            return GR_EIO;
    }
    return 0;
}

/*
 * Block every stream but those that stay firmware's. Streams beyond inst.streams are included: they
 * may be enabled, because stores to a t8110's ENABLE_STREAMS only add streams (DART.md 3), and
 * USB4 and s5l8960x have no enable for them (DART.md 6, 14.2).
 */
static void close_streams(const struct gr_dart *dart)
{
    for (uint32_t sid = 0; sid < dart->streams; sid++) {
        if (!gri_dart_is_kept(dart, sid))
            gri_dart_write_tcr(dart, sid, 0);
    }
}

static void clear_ttbrs(const struct gr_dart *dart)
{
    for (uint32_t sid = 0; sid < dart->streams; sid++) {
        if (!gri_dart_is_kept(dart, sid))
            gri_dart_write_ttbrs(dart, sid, NULL);
    }
}

/* Clear the faults that were raised before the reset, and let later ones interrupt. */
static void drop_faults(const struct gr_dart *dart)
{
    const struct gr_dart_layout *const l = dart->layout;

    gri_dart_write(dart, l->error, gri_dart_read(dart, l->error));
    for (uint32_t word = 0; l->exceptions && word * 32 < l->streams_max; word++)
        gri_dart_write(dart, l->exceptions + 4 * word, UINT32_MAX);
    if (l->error_mask)
        gri_dart_write(dart, l->error_mask, 0);
}

/* Reset in the order of DART.md 7. Streams that firmware left translating go on. */
static int dart_reset(struct gr_dart *dart)
{
    const struct gr_dart_layout *const l = dart->layout;
    const uint32_t streams = dart->inst.streams;
    int ret;

    close_streams(dart);
    ret = dart->inst.locked ? 0 : reset_remap(dart);
    if (ret)
        return ret;
    clear_ttbrs(dart);
    for (uint32_t word = 0; word < l->enable_words && word * 32 < streams; word++)
        gri_dart_write(dart, l->enable + 4 * word, (uint32_t)gri_mask(streams - word * 32));
    drop_faults(dart);
    dart->lock_on_error =
        l->flush_unlock && gri_dart_read(dart, GRI_T8110_DIAG_LOCK) & GRI_T8110_DIAG_LOCK_ON_ERR;
    if (dart->lock_on_error)
        ret = gri_dart_unlock_tlb(dart);
    return ret ? ret : gri_dart_flush_streams(dart, 0, dart->streams);
}

int gr_dart_init(struct gr_dart *dart, const struct gr_dart_config *config)
{
    const struct gr_dart_layout *const l = gri_dart_find_layout(config->kind, 0);
    int ret;

    if (!l)
        return dart_refuse(config, GR_EINVAL, "no such kind of DART", (uint32_t)config->kind);
    if (config->mmio_size < l->mmio_size)
        return dart_refuse(config, GR_EINVAL, "its register window is smaller than any DART's",
                           (uint32_t)config->mmio_size);
    *dart = (struct gr_dart){
        .inst = {.ops = &dart_ops, .env = config->env, .name = config->name},
        .layout = l,
        .kind = config->kind,
        .mmio = config->mmio,
        .mmio_size = config->mmio_size,
    };
    ret = read_params(dart, config);
    if (!ret)
        ret = dart_settle_aperture(dart, config);
    if (ret)
        return ret;
#ifndef GR_PORT_HAS_FIRMWARE
    if (dart->inst.locked)
        return dart_refuse(config, GR_EOPNOTSUPP,
                           dart->unlockable ? "it is locked by firmware; the lock can be undone"
                                            : "it is locked until reboot by firmware",
                           gri_dart_read(dart, dart->layout->lock));
#endif
    gri_dart_find_kept(dart);
    ret = dart_reset(dart);
    if (ret == GR_EIO)
        return dart_refuse(config, ret,
                           "STREAM_REMAP does not keep what is written; it starts with",
                           gri_dart_read(dart, dart->layout->remap));
    if (ret)
        return dart_refuse(config, ret, "a TLB command does not finish; PARAMS1", dart->params[0]);
    gr_instance_init(&dart->inst);
    return 0;
}

int gr_dart_fini(struct gr_dart *dart)
{
    const int ret = gr_instance_fini(&dart->inst);

    if (!ret && !dart->off) { /* streams were blocked at reset or on detach: make sure of it */
        for (uint32_t sid = 0; sid < dart->inst.streams; sid++) {
            if (!gri_dart_is_kept(dart, sid))
                gri_dart_write_tcr(dart, sid, 0);
        }
    }
    return ret;
}

/* ---- power ---- */

static bool keeps_any(const struct gr_dart *dart)
{
    return dart->kept[0] | dart->kept[1] | dart->kept[2] | dart->kept[3];
}

int gr_dart_suspend(struct gr_dart *dart)
{
    const gr_lock_state_t state = gr_port_lock(&dart->inst.lock);
    int ret = 0;

    if (keeps_any(dart)) {
        ret = GR_EOPNOTSUPP;
    } else if (!dart->off) {
        /* Blocked, with an empty TLB: later unmaps need no TLB command. */
        close_streams(dart);
        clear_ttbrs(dart);
        ret = gri_dart_flush_streams(dart, 0, dart->streams);
        dart->off = !ret;
    }
    gr_port_unlock(&dart->inst.lock, state);
    return ret;
}

void gr_dart_lost(struct gr_dart *dart)
{
    const gr_lock_state_t state = gr_port_lock(&dart->inst.lock);

    dart->off = true;
    gr_port_unlock(&dart->inst.lock, state);
}

/* Are all PARAMS what they were at init? */
static bool params_are_same(const struct gr_dart *dart)
{
    for (uint32_t i = 0; i < dart->layout->params; i++) {
        if (gri_dart_read(dart, 4 * i) != dart->params[i])
            return false;
    }
    return true;
}

int gr_dart_resume(struct gr_dart *dart)
{
    gr_lock_state_t state = gr_port_lock(&dart->inst.lock);
    int ret;

    if (!params_are_same(dart)) {
        ret = GR_EIO;
    } else if (dart_is_locked(dart)) {
        ret = GR_EOPNOTSUPP;
    } else {
        ret = dart_reset(dart);
        dart->off = false; /* also after a failure, so that invalidations ask the hardware again */
    }
    gr_port_unlock(&dart->inst.lock, state);
    if (ret)
        return ret;
    ret = gr_instance_reattach(&dart->inst);
    if (ret) {
        state = gr_port_lock(&dart->inst.lock);
        close_streams(dart);
        gr_port_unlock(&dart->inst.lock, state);
    }
    return ret;
}
