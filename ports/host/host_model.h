/* SPDX-License-Identifier: MIT */
/* What a model of any kind takes from the host: memory, time, chance, an interrupt line. */
#ifndef HOST_MODEL_H
#define HOST_MODEL_H

#include <granule/port.h>
#include <host.h>
#include <model.h>

struct host_model {
    struct model_host calls; /* for the model's configuration */
    struct host *host;
    bool *irq;
    bool edges;
    uint64_t chance;
};

/*
 * `seed` decides prefetches and replacement. *line is the level of the interrupt line, or with
 * `edges` becomes true at each edge. `m`, `host` and `line` must not move afterwards.
 */
void host_model_init(struct host_model *m, struct host *host, uint64_t seed, bool *line,
                     bool edges);

#endif
