/* SPDX-License-Identifier: MIT */
/* Streams of a DART: their TTBRs, their TCRs, and what the TLB holds of them. */
#include "drv/dart/dart_internal.h"

uint32_t gri_dart_ttbr_at(const struct gr_dart_layout *l, uint32_t sid, uint32_t i)
{
    return l->ttbr + 4 * ((sid << l->ttbrs_lg2) + i);
}

uint32_t gri_dart_ttbr_of(const struct gr_dart_layout *l, const struct gr_pt *pt, uint32_t i)
{
    const gr_pa_t pa = pt->root_pa + ((uint64_t)i << pt->granule_lg2);

    return l->ttbr_valid | (uint32_t)(pa >> l->ttbr_pa_shift) << l->ttbr_field_shift;
}

void gri_dart_write_ttbrs(const struct gr_dart *dart, uint32_t sid, const struct gr_pt *pt)
{
    const struct gr_dart_layout *const l = dart->layout;
    const uint32_t roots = pt ? 1u << pt->roots_lg2 : 0;

    for (uint32_t i = 0; i < 1u << l->ttbrs_lg2; i++)
        gri_dart_write(dart, gri_dart_ttbr_at(l, sid, i),
                       i < roots ? gri_dart_ttbr_of(l, pt, i) : 0);
}

uint32_t gri_dart_read_tcr(const struct gr_dart *dart, uint32_t sid)
{
    const struct gr_dart_layout *const l = dart->layout;
    const uint32_t byte = sid << l->tcr_lg2;
    const uint32_t value = gri_dart_read(dart, l->tcr + (byte & ~3u)) >> byte % 4 * 8;

    return l->tcr_lg2 ? value : value & 0xff;
}

void gri_dart_write_tcr(const struct gr_dart *dart, uint32_t sid, uint32_t value)
{
    const struct gr_dart_layout *const l = dart->layout;
    const uint32_t byte = sid << l->tcr_lg2;
    const uint32_t offset = l->tcr + (byte & ~3u);
    const uint32_t shift = byte % 4 * 8;

    if (!l->tcr_lg2) /* keep the bytes of the other three streams (DART.md 6) */
        value = (gri_dart_read(dart, offset) & ~(0xffu << shift)) | value << shift;
    gri_dart_write(dart, offset, value);
}

/*
 * Give a stream the tables of `pt`, or none, and the mode `tcr`. The stream is blocked first, and
 * opened last, when its TLB entries are invalidated, so that no access meets a mix of old and new.
 * Known drivers open the stream before they flush (DART.md 7).
 */
static int set_stream(struct gr_dart *dart, uint32_t sid, const struct gr_pt *pt, uint32_t tcr)
{
    const struct gr_dart_layout *const l = dart->layout;
    int ret;

    gri_dart_write_tcr(dart, sid, 0);
    gri_dart_write_ttbrs(dart, sid, l->flush_closed ? NULL : pt);
    ret = gri_dart_flush_streams(dart, sid, sid + 1);
    if (ret || !tcr)
        return ret;
    if (l->flush_closed)
        gri_dart_write_ttbrs(dart, sid, pt);
    gri_dart_write_tcr(dart, sid, tcr);
    return 0;
}

static int dart_open(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                     uint32_t tcr, struct gr_binding *binding)
{
    struct gr_dart *const dart = gri_dart_of(inst);
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    const int ret = dart->off ? 0 : set_stream(dart, stream, pt, tcr);

    binding->hw[stream / 64] |= (uint64_t)1 << stream % 64;
    gr_port_unlock(&inst->lock, state);
    return ret;
}

int gri_dart_attach(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                    struct gr_binding *binding)
{
    const struct gr_dart_layout *const l = gri_dart_of(inst)->layout;

    return dart_open(inst, stream, pt, l->tcr_translate | (pt->levels > 2 ? l->tcr_four_levels : 0),
                     binding);
}

int gri_dart_bypass(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding)
{
    return dart_open(inst, stream, NULL, gri_dart_of(inst)->layout->tcr_bypass, binding);
}

int gri_dart_block(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding)
{
    struct gr_dart *const dart = gri_dart_of(inst);
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    const int ret = dart->off ? 0 : set_stream(dart, stream, NULL, 0);

    if (!ret) /* else the next invalidation asks for a confirmation again */
        binding->hw[stream / 64] &= ~((uint64_t)1 << stream % 64);
    gr_port_unlock(&inst->lock, state);
    return ret;
}

/*
 * Limit a TLB command to [first, last] if the range is short, so that the streams keep the rest of
 * their entries. Longer ranges are invalidated with everything else of the streams.
 */
static void choose_range(const struct gr_dart *dart, gr_iova_t first, gr_iova_t last,
                         struct gri_dart_flush *what)
{
    const struct gr_pt_config *const t = &dart->inst.table;
    const uint64_t from = (first & gri_mask(t->va_bits)) >> t->granule_lg2;
    const uint64_t more = (last >> t->granule_lg2) - (first >> t->granule_lg2);

    if (!dart->layout->flush_range || more >= GR_CFG_DART_RANGE || from + more > UINT32_MAX >> 2)
        return;
    what->range = true;
    what->first = (uint32_t)from << 2;
    what->last = (uint32_t)(from + more) << 2;
}

int gri_dart_invalidate(struct gr_instance *inst, struct gr_binding *binding, gr_iova_t first,
                        gr_iova_t last, bool tables)
{
    struct gr_dart *const dart = gri_dart_of(inst);
    struct gri_dart_flush what = {.tables = tables};
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    uint64_t any = 0;
    int ret = 0;

    for (uint32_t word = 0; word < GRI_ARRAY_SIZE(what.streams); word++) {
        what.streams[word] = binding->hw[word];
        any |= binding->hw[word];
    }
    if (any && !dart->off) {
        choose_range(dart, first, last, &what);
        ret = dart->layout->flush(dart, &what);
    }
    gr_port_unlock(&inst->lock, state);
    return ret;
}
