/* SPDX-License-Identifier: MIT */
/* Streams of a DART that firmware left translating. */
#include "drv/dart/dart_internal.h"

static const struct gr_dart *const_dart_of(const struct gr_instance *inst)
{
    return (const struct gr_dart *)(const void *)((const unsigned char *)(const void *)inst -
                                                  offsetof(struct gr_dart, inst));
}

/* Is the stream not remapped? Else TCR and TTBR of another stream count (DART.md 2, 3). */
static bool is_not_remapped(const struct gr_dart *dart, uint32_t sid, uint32_t tcr)
{
    const struct gr_dart_layout *const l = dart->layout;

    if (sid / 4 >= l->remap_words)
        return !(tcr & l->tcr_remap);
    return (gri_dart_read(dart, l->remap + (sid & ~3u)) >> sid % 4 * 8 & 0xff) == sid;
}

void gri_dart_firmware(const struct gr_instance *inst, uint32_t stream, struct gr_firmware *out)
{
    const struct gr_dart *const dart = const_dart_of(inst);
    const struct gr_dart_layout *const l = dart->layout;
    uint32_t tcr;

    *out = (struct gr_firmware){.state = inst->locked ? GR_FIRMWARE_LOCKED : GR_FIRMWARE_OFF};
    if (dart->off)
        return;
    tcr = gri_dart_read_tcr(dart, stream);
    out->levels = tcr & l->tcr_four_levels ? 3 : 2;
    for (uint32_t i = 0; i < 1u << l->ttbrs_lg2; i++) {
        const uint32_t ttbr = gri_dart_read(dart, gri_dart_ttbr_at(l, stream, i));
        const uint64_t field = (ttbr & ~l->ttbr_valid) >> l->ttbr_field_shift;

        out->raw[i] = ttbr;
        out->root[i] = field << l->ttbr_pa_shift;
        out->roots |= (uint8_t)(ttbr & l->ttbr_valid ? 1u << i : 0);
    }
    out->serves = (tcr & l->tcr_translate) && !(tcr & l->tcr_bypass_dart) && out->roots &&
                  is_not_remapped(dart, stream, tcr);
    if (!inst->locked && out->serves)
        out->state = GR_FIRMWARE_TRANSLATING;
    else if (!inst->locked && tcr & l->tcr_bypass_dart && !(tcr & l->tcr_translate))
        out->state = GR_FIRMWARE_BYPASS;
}

void gri_dart_find_kept(struct gr_dart *dart)
{
    for (uint32_t sid = 0; sid < dart->streams; sid++) {
        struct gr_firmware firmware;

        gri_dart_firmware(&dart->inst, sid, &firmware);
        if (firmware.state >= GR_FIRMWARE_TRANSLATING)
            dart->kept[sid / 64] |= (uint64_t)1 << sid % 64;
    }
}

/*
 * Point the TTBRs of a stream that translates at the tables of `pt`, or with NULL at firmware's
 * again. Each TTBR changes with one store, so that every access uses either the old table or the
 * new one; both translate all that firmware mapped (docs/ASSUMPTIONS.md).
 */
static void swap_ttbrs(const struct gr_dart *dart, uint32_t sid, const struct gr_firmware *firmware,
                       const struct gr_pt *pt)
{
    const struct gr_dart_layout *const l = dart->layout;

    for (uint32_t i = 0; i < 1u << l->ttbrs_lg2; i++) {
        const uint32_t value =
            pt && i < 1u << pt->roots_lg2 ? gri_dart_ttbr_of(l, pt, i) : firmware->raw[i];

        if (gri_dart_read(dart, gri_dart_ttbr_at(l, sid, i)) != value)
            gri_dart_write(dart, gri_dart_ttbr_at(l, sid, i), value);
    }
}

int gri_dart_adopt(struct gr_instance *inst, uint32_t stream, const struct gr_firmware *firmware,
                   const struct gr_pt *pt, struct gr_binding *binding)
{
    struct gr_dart *const dart = gri_dart_of(inst);
    const struct gr_dart_layout *const l = dart->layout;
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    int ret = 0;

    binding->hw[stream / 64] |= (uint64_t)1 << stream % 64;
    if (!dart->off) {
        /* Did the registers lose firmware's values with the power? */
        const bool lost = !(gri_dart_read_tcr(dart, stream) & l->tcr_translate);

        if (pt || lost)
            swap_ttbrs(dart, stream, firmware, pt);
        ret = gri_dart_flush_streams(dart, stream, stream + 1);
        if (!ret && lost)
            gri_dart_write_tcr(dart, stream,
                               l->tcr_translate | (firmware->levels > 2 ? l->tcr_four_levels : 0));
    }
    gr_port_unlock(&inst->lock, state);
    return ret;
}

int gri_dart_release(struct gr_instance *inst, uint32_t stream, const struct gr_firmware *firmware,
                     struct gr_binding *binding)
{
    struct gr_dart *const dart = gri_dart_of(inst);
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    int ret = 0;

    if (!dart->off) {
        swap_ttbrs(dart, stream, firmware, NULL);
        ret = gri_dart_flush_streams(dart, stream, stream + 1);
    }
    if (!ret) /* else the next invalidation asks for a confirmation again */
        binding->hw[stream / 64] &= ~((uint64_t)1 << stream % 64);
    gr_port_unlock(&inst->lock, state);
    return ret;
}
