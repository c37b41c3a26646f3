/* SPDX-License-Identifier: MIT */
/* Faults of an instance: recorded in a ring by its driver, handed to the host's handlers later. */
#include <granule/domain.h>
#include <granule/instance.h>

#include "core/bits.h"
#include "core/list.h"
#include "core/log.h"

void gr_instance_set_fault_handler(struct gr_instance *inst, gr_fault_handler handler, void *cookie)
{
    inst->fault_handler = handler;
    inst->fault_cookie = cookie;
}

const char *gr_fault_reason_name(uint32_t single_reason)
{
    switch (single_reason) {
    case GR_FAULT_NO_ROOT:
        return "no-root";
    case GR_FAULT_NO_TABLE:
        return "no-table";
    case GR_FAULT_NO_LEAF:
        return "no-leaf";
    case GR_FAULT_READ_PROT:
        return "read-protected";
    case GR_FAULT_WRITE_PROT:
        return "write-protected";
    case GR_FAULT_WINDOW:
        return "outside-window";
    case GR_FAULT_EXTERNAL:
        return "memory-error";
    case GR_FAULT_UNKNOWN:
        return "unknown";
    case GR_FAULT_FILTER:
        return "filtered";
    case GR_FAULT_PROTECTED:
        return "protected-memory";
    case GR_FAULT_STREAM:
        return "no-such-stream";
    case GR_FAULT_CACHE:
        return "cache-error";
    case GR_FAULT_SECONDARY:
        return "secondary";
    default:
        return NULL;
    }
}

void gr_instance_fault(struct gr_instance *inst, const struct gr_fault *fault, uint64_t lost)
{
    inst->faults_lost += lost;
    if (inst->fault_count == GR_CFG_FAULT_RING) {
        inst->faults_lost++;
        inst->faults_dropped++;
        inst->fault_storm = true;
        return;
    }
    struct gr_fault *const slot =
        &inst->fault_ring[(inst->fault_head + inst->fault_count++) % GR_CFG_FAULT_RING];

    *slot = *fault;
    slot->lost = inst->faults_lost;
    inst->faults_lost = 0;
    inst->faults_recorded++;
    inst->fault_storm = inst->fault_count == GR_CFG_FAULT_RING;
}

static bool take_fault(struct gr_instance *inst, struct gr_fault *out)
{
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    const bool any = inst->fault_count;

    if (any) {
        *out = inst->fault_ring[inst->fault_head];
        inst->fault_head = (inst->fault_head + 1) % GR_CFG_FAULT_RING;
        inst->fault_count--;
    }
    gr_port_unlock(&inst->lock, state);
    return any;
}

static const char *first_reason(uint32_t reasons)
{
    return gr_fault_reason_name(reasons & (~reasons + 1u));
}

static const char *level_name(uint8_t level)
{
    static const char *const names[] = {"0", "1", "2", "3"};

    return level < GRI_ARRAY_SIZE(names) ? names[level] : "unknown";
}

/* The name of the device that has a stream, or NULL, and the handler of its domain. */
static const char *find_owner(struct gr_instance *inst, uint32_t sid, gr_fault_handler *out_handler,
                              void **out_cookie)
{
    const gr_lock_state_t state = gr_port_lock(&inst->lock);
    const char *name = NULL;

    *out_handler = NULL;
    GRI_LIST_FOREACH(link, &inst->stream_list) {
        const struct gr_stream *const stream = GRI_CONTAINER(link, struct gr_stream, link);

        if (stream->sid != sid)
            continue;
        name = stream->dev->config.name;
        if (stream->domain) {
            *out_handler = stream->domain->fault_handler;
            *out_cookie = stream->domain->fault_cookie;
        }
        break;
    }
    gr_port_unlock(&inst->lock, state);
    return name;
}

static void deliver(struct gr_instance *inst, const struct gr_fault *fault)
{
    gr_fault_handler handler;
    void *cookie;
    const char *const name = find_owner(inst, fault->stream, &handler, &cookie);

    if (handler && handler(cookie, fault))
        return;
    if (inst->fault_handler && inst->fault_handler(inst->fault_cookie, fault))
        return;
    gri_log(inst->env, GR_LOG_ERR,
            "%s: stream %u (%s): %s at IOVA %x refused: %s%s, level %s, raw %x, %u lost",
            inst->name, fault->stream, name ? name : "no device",
            !fault->access_known ? "access"
            : fault->write       ? "write"
                                 : "read",
            fault->iova, first_reason(fault->reasons),
            fault->reasons & (fault->reasons - 1u) ? " and more" : "", level_name(fault->level),
            (uint64_t)fault->raw, (uint32_t)gri_min(fault->lost, UINT32_MAX));
}

static void end_storm(struct gr_instance *inst)
{
    const gr_lock_state_t state = gr_port_lock(&inst->lock);

    if (inst->fault_storm && inst->ops->rearm)
        inst->ops->rearm(inst);
    inst->fault_storm = false;
    gr_port_unlock(&inst->lock, state);
}

unsigned gr_fault_dispatch(struct gr_instance *inst)
{
    struct gr_fault fault;
    unsigned n = 0;

    /* Bounded, so that a storm cannot keep the caller here: later faults wait for the next call. */
    while (n < GR_CFG_FAULT_RING && take_fault(inst, &fault)) {
        deliver(inst, &fault);
        n++;
    }
    end_storm(inst);
    return n;
}
