/* SPDX-License-Identifier: MIT */
#include "host_smmuv3.h"

static bool glue_table_read64(void *opaque, uint64_t pa, uint64_t *out)
{
    const struct host_smmuv3 *const smmu = opaque;

    return host_table_read64(smmu->host, pa, out);
}

static bool glue_mem_read(void *opaque, uint64_t pa, void *buf, size_t len, bool coherent)
{
    const struct host_smmuv3 *const smmu = opaque;

    return host_mem_read(smmu->host, pa, buf, len, coherent);
}

static bool glue_mem_write(void *opaque, uint64_t pa, const void *buf, size_t len, bool coherent)
{
    const struct host_smmuv3 *const smmu = opaque;

    return host_mem_write(smmu->host, pa, buf, len, coherent);
}

static uint64_t glue_now_ns(void *opaque)
{
    const struct host_smmuv3 *const smmu = opaque;

    return host_now(smmu->host);
}

static void glue_irq(void *opaque, void *cookie, bool level)
{
    struct host_smmuv3 *const smmu = opaque;

    (void)cookie;
    smmu->irq = smmu->irq || level;
}

static uint32_t glue_random(void *opaque)
{
    struct host_smmuv3 *const smmu = opaque;

    smmu->chance = smmu->chance * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(smmu->chance >> 32);
}

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

    *smmu = (struct host_smmuv3){
        .host = host,
        .glue =
            {
                .opaque = smmu,
                .table_read64 = glue_table_read64,
                .mem_read = glue_mem_read,
                .mem_write = glue_mem_write,
                .now_ns = glue_now_ns,
                .irq = glue_irq,
                .random = glue_random,
            },
        .chance = seed,
    };
    wired.host = &smmu->glue;
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
