/* SPDX-License-Identifier: MIT */
/* Faults of a DART. inst.lock is held. */
#include "drv/dart/dart_internal.h"

static uint64_t read_fault_address(const struct gr_dart *dart, uint32_t lo, uint32_t hi)
{
    uint32_t high = gri_dart_read(dart, hi);
    uint32_t low;
    uint32_t again;

    /* A later fault may replace the address between the two reads (DART.md 5): read HI again. */
    for (unsigned tries = 0; tries < 4; tries++) {
        low = gri_dart_read(dart, lo);
        again = gri_dart_read(dart, hi);
        if (again == high)
            return (uint64_t)high << 32 | low;
        high = again;
    }
    return (uint64_t)high << 32 | low;
}

/*
 * Which stream raised a fault. Where ERROR holds too few bits of the number (USB4: four of six,
 * DART.md 5), it is the open stream with these bits, and the lowest of several.
 */
static void find_stream(const struct gr_dart *dart, uint32_t error, struct gr_fault *out)
{
    const struct gr_dart_layout *const l = dart->layout;
    const uint32_t distinct = gri_field_get(UINT32_MAX, l->error_stream) + 1;
    unsigned open = 0;

    out->stream = gri_field_get(error, l->error_stream);
    if (dart->inst.streams <= distinct)
        return;
    for (uint32_t sid = out->stream; sid < dart->inst.streams; sid += distinct) {
        if (!gri_dart_read(dart, l->tcr + 4 * sid))
            continue;
        out->stream = open ? out->stream : sid;
        open++;
    }
    out->stream_shared = open > 1;
}

static void dart_decode(const struct gr_dart_layout *l, uint32_t error, struct gr_fault *out)
{
    out->level = GR_FAULT_LEVEL_UNKNOWN;
    for (size_t i = 0; i < GRI_ARRAY_SIZE(l->code); i++) {
        if (!(error & l->code[i].bits))
            continue;
        if (!out->reasons)
            out->level = l->code[i].level;
        out->reasons |= l->code[i].reason;
    }
    if (!out->reasons)
        out->reasons = GR_FAULT_UNKNOWN;
    if (l->error_write) {
        out->access_known = true;
        out->write = error & l->error_write;
    } else if (out->reasons == GR_FAULT_READ_PROT || out->reasons == GR_FAULT_WRITE_PROT) {
        out->access_known = true;
        out->write = out->reasons == GR_FAULT_WRITE_PROT;
    }
}

/*
 * Record a fault, and a GR_FAULT_SECONDARY for each other stream in ERROR_STREAMS. The faults of
 * these found the record taken: nothing but the stream is known of them. If SECONDARY is set and no
 * stream is named, one fault is lost.
 */
static void record_all(struct gr_dart *dart, struct gr_fault *fault)
{
    const struct gr_dart_layout *const l = dart->layout;
    const uint32_t first = fault->stream;
    uint32_t others[GR_DART_MAX_STREAMS / 32] = {0};
    uint32_t any = 0;

    for (uint32_t word = 0; l->error_streams && word * 32 < l->streams_max; word++) {
        others[word] = gri_dart_read(dart, l->error_streams + 4 * word);
        others[word] &= word == first / 32 ? ~(1u << first % 32) : UINT32_MAX;
        any |= others[word];
    }
    if (!(fault->raw & l->error_secondary))
        any = 0;
    gr_instance_fault(&dart->inst, fault, fault->raw & l->error_secondary && !any ? 1 : 0);
    for (uint32_t word = 0; any && word < GRI_ARRAY_SIZE(others); word++) {
        for (uint32_t rest = others[word]; rest; rest &= rest - 1) {
            const struct gr_fault other = {
                .instance = &dart->inst,
                .stream = word * 32 + gri_low_bit(rest),
                .reasons = GR_FAULT_SECONDARY,
                .level = GR_FAULT_LEVEL_UNKNOWN,
                .raw = fault->raw,
                .time_ns = fault->time_ns,
            };

            gr_instance_fault(&dart->inst, &other, 0);
        }
    }
}

/* Record and acknowledge the fault in ERROR, if there is any (DART.md 5). */
static bool take_record(struct gr_dart *dart)
{
    const struct gr_dart_layout *const l = dart->layout;
    const uint32_t error = gri_dart_read(dart, l->error);
    struct gr_fault fault = {
        .instance = &dart->inst,
        .raw = error,
        .time_ns = gr_port_now_ns(dart->inst.env),
    };

    if (!(error & GRI_DART_ERROR_FLAG))
        return false;
    if (l->error_addr_hi)
        fault.iova = read_fault_address(dart, l->error_addr_lo, l->error_addr_hi);
    else
        fault.iova = gri_dart_read(dart, l->error_addr_lo);
    if (l->fault_low) /* add the high bits that the bus dropped (DART.md 6) */
        fault.iova |= dart->inst.aperture.first & ~gri_mask(dart->inst.table.va_bits);
    find_stream(dart, error, &fault);
    dart_decode(l, error, &fault);
    record_all(dart, &fault);
    /* A word of ERROR_STREAMS that is not cleared interrupts again (DART.md 5). */
    gri_dart_write(dart, l->error, error);
    for (uint32_t word = 0; l->error_streams && word * 32 < l->streams_max; word++)
        gri_dart_write(dart, l->error_streams + 4 * word, UINT32_MAX);
    return true;
}

/*
 * An exception's status as bits, which the layout's `code` names: bits 0 to 3 for code 0, by the
 * level; bit 3 + n for code n (DART.md 5); and GRI_T8110_ERROR_WRITE.
 */
static uint32_t exception_bits(uint32_t status)
{
    const uint32_t code = gri_field_get(status, GRI_T8110_EXCEPTION_CODE);
    const uint32_t level = gri_field_get(status, GRI_T8110_EXCEPTION_LEVEL);

    return 1u << (code ? 3 + code : level) |
           (status & GRI_T8110_EXCEPTION_WRITE ? GRI_T8110_ERROR_WRITE : 0);
}

static void take_exception(struct gr_dart *dart, uint32_t sid)
{
    const uint32_t at = GRI_T8110_EXCEPTION(sid);
    struct gr_fault fault = {
        .instance = &dart->inst,
        .stream = sid,
        .reasons = GR_FAULT_STREAM, /* unless the register window holds the stream's record */
        .level = GR_FAULT_LEVEL_UNKNOWN,
        .time_ns = gr_port_now_ns(dart->inst.env),
    };

    if (at + GRI_T8110_EXCEPTION_ADDR_HI < dart->mmio_size) {
        fault.raw = gri_dart_read(dart, at);
        fault.iova = read_fault_address(dart, at + GRI_T8110_EXCEPTION_ADDR_LO,
                                        at + GRI_T8110_EXCEPTION_ADDR_HI);
        fault.reasons = 0;
        dart_decode(dart->layout, exception_bits(fault.raw), &fault);
    }
    gr_instance_fault(&dart->inst, &fault, 0);
}

/* Record and acknowledge all exceptions: from revision 2.2 on each stream has a record. */
static bool take_exceptions(struct gr_dart *dart)
{
    const struct gr_dart_layout *const l = dart->layout;
    bool any = false;

    for (uint32_t word = 0; word * 32 < l->streams_max; word++) {
        const uint32_t offset = l->exceptions + 4 * word;
        const uint32_t pending = gri_dart_read(dart, offset);

        for (uint32_t rest = pending; rest; rest &= rest - 1)
            take_exception(dart, word * 32 + gri_low_bit(rest));
        if (pending)
            gri_dart_write(dart, offset, pending);
        any = any || pending;
    }
    return any;
}

void gri_dart_rearm(struct gr_instance *inst)
{
    const struct gr_dart *const dart = gri_dart_of(inst);

    if (dart->layout->error_mask && !dart->off)
        gri_dart_write(dart, dart->layout->error_mask, 0);
}

bool gr_dart_isr(struct gr_dart *dart)
{
    const struct gr_dart_layout *const l = dart->layout;
    const gr_lock_state_t state = gr_port_lock(&dart->inst.lock);
    bool ours = false;

    if (!dart->off)
        ours = l->exceptions ? take_exceptions(dart) : take_record(dart);
    if (ours && dart->lock_on_error) {
        const int ret = gri_dart_unlock_tlb(dart);

        (void)ret; /* counted in `timeouts`; the next TLB command waits again */
    }
    if (ours && l->error_mask && dart->inst.fault_storm)
        gri_dart_write(dart, l->error_mask, UINT32_MAX); /* until gri_dart_rearm() */
    gr_port_unlock(&dart->inst.lock, state);
    return ours;
}
