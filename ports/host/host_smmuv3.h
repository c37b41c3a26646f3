/* SPDX-License-Identifier: MIT */
/*
 * An SMMUv3 model as part of a hosted machine, as host_dart.h is for DARTs. Its two interrupts are
 * edges and set one flag. The code that serves the interrupt clears the flag first.
 */
#ifndef HOST_SMMUV3_H
#define HOST_SMMUV3_H

#include <granule/port.h>
#include <host.h>
#include <host_model.h>
#include <smmuv3/smmuv3.h>

struct host_smmuv3 {
    struct host *host;
    struct host_model machine;
    struct host_mmio mmio; /* &mmio is the gr_mmio_t for gr_smmuv3_init() */
    struct smmuv3_model *model;
    bool irq; /* there was an edge */
};

/*
 * Make the model that `config` describes; its `host` and `irq_cookie` are filled in here. `seed`
 * decides prefetches and replacement. False: the model refuses the configuration, or no memory.
 */
bool host_smmuv3_init(struct host_smmuv3 *smmu, struct host *host,
                      const struct smmuv3_model_config *config, uint64_t seed);
void host_smmuv3_fini(struct host_smmuv3 *smmu);

/* A device's access through the model. `done` as smmuv3_model_access(), may be NULL. */
enum model_result host_smmuv3_access(struct host_smmuv3 *smmu, uint32_t sid, uint64_t iova,
                                     void *buf, uint64_t len, bool write, bool coherent,
                                     uint64_t *done);

#endif
