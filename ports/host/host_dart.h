/* SPDX-License-Identifier: MIT */
/*
 * A DART model as part of a hosted machine: its registers behind a gr_mmio_t, its walks and its
 * devices' accesses on the host's memory, its interrupt as a flag.
 */
#ifndef HOST_DART_H
#define HOST_DART_H

#include <dart/dart.h>
#include <granule/port.h>
#include <host.h>
#include <host_model.h>

struct host_dart {
    struct host *host;
    struct host_model machine;
    struct host_mmio mmio; /* &mmio is the gr_mmio_t for gr_dart_init() */
    struct dart_model *model;
    bool irq; /* level of the interrupt line; serve it after an access, not from within the model */
};

/*
 * Make the model that `config` describes; its `host` and `irq_cookie` are filled in here. `seed`
 * decides prefetches and replacement. False: the model refuses the configuration, or no memory.
 */
bool host_dart_init(struct host_dart *dart, struct host *host,
                    const struct dart_model_config *config, uint64_t seed);
void host_dart_fini(struct host_dart *dart);

/*
 * A device's access through the model, however long an invalidation stalls it (time passes). Gives
 * up, with MODEL_STALLED, after 100 ms of virtual time. `done` as dart_model_access(), may be NULL.
 */
enum model_result host_dart_access(struct host_dart *dart, unsigned sid, uint64_t iova, void *buf,
                                   uint64_t len, bool write, bool coherent, uint64_t *done);

#endif
