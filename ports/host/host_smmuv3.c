/* SPDX-License-Identifier: MIT */
#include "host_smmuv3.h"

static uint32_t mmio_read32(void *opaque, uint32_t offset)
{
    return smmuv3_model_read32(opaque, offset);
}

static void mmio_write32(void *opaque, uint32_t offset, uint32_t value)
{
    smmuv3_model_write32(opaque, offset, value);
}

static uint64_t mmio_read64(void *opaque, uint32_t offset)
{
    return smmuv3_model_read64(opaque, offset);
}

static void mmio_write64(void *opaque, uint32_t offset, uint64_t value)
{
    smmuv3_model_write64(opaque, offset, value);
}

bool host_smmuv3_init(struct host_smmuv3 *smmu, struct host *host,
                      const struct smmuv3_model_config *config, uint64_t seed)
{
    struct smmuv3_model_config wired = *config;

    *smmu = (struct host_smmuv3){.host = host};
    host_model_init(&smmu->machine, host, seed, &smmu->irq, true);
    wired.host = &smmu->machine.calls;
    smmu->model = smmuv3_model_create(&wired);
    smmu->mmio = (struct host_mmio){
        .host = host,
        .opaque = smmu->model,
        .size = wired.mmio_size,
        .read32 = mmio_read32,
        .write32 = mmio_write32,
        .read64 = mmio_read64,
        .write64 = mmio_write64,
    };
    return smmu->model;
}

void host_smmuv3_fini(struct host_smmuv3 *smmu)
{
    smmuv3_model_destroy(smmu->model);
    smmu->model = NULL;
}

enum model_result host_smmuv3_access(struct host_smmuv3 *smmu, uint32_t sid, uint64_t iova,
                                     void *buf, uint64_t len, bool write, bool coherent,
                                     uint64_t *done)
{
    return smmuv3_model_access(smmu->model, sid, iova, buf, len, write, coherent, done);
}
