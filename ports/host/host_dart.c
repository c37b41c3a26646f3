/* SPDX-License-Identifier: MIT */
#include "host_dart.h"

#define STALL_STEP_NS 100u
#define STALL_STEPS 1000000u

static uint32_t mmio_read32(void *opaque, uint32_t offset)
{
    return dart_model_read32(opaque, offset);
}

static void mmio_write32(void *opaque, uint32_t offset, uint32_t value)
{
    dart_model_write32(opaque, offset, value);
}

bool host_dart_init(struct host_dart *dart, struct host *host,
                    const struct dart_model_config *config, uint64_t seed)
{
    struct dart_model_config wired = *config;

    *dart = (struct host_dart){.host = host};
    host_model_init(&dart->machine, host, seed, &dart->irq, false);
    wired.host = &dart->machine.calls;
    dart->model = dart_model_create(&wired);
    dart->mmio = (struct host_mmio){
        .host = host,
        .opaque = dart->model,
        .size = wired.mmio_size,
        .read32 = mmio_read32,
        .write32 = mmio_write32,
    };
    return dart->model;
}

void host_dart_fini(struct host_dart *dart)
{
    dart_model_destroy(dart->model);
    dart->model = NULL;
}

enum model_result host_dart_access(struct host_dart *dart, unsigned sid, uint64_t iova, void *buf,
                                   uint64_t len, bool write, bool coherent, uint64_t *done)
{
    enum model_result result = MODEL_STALLED;
    uint64_t total = 0;

    for (unsigned step = 0; result == MODEL_STALLED && step < STALL_STEPS; step++) {
        uint64_t part = 0;

        result = dart_model_access(dart->model, sid, iova + total, (uint8_t *)buf + total,
                                   len - total, write, coherent, &part);
        total += part;
        if (result == MODEL_STALLED)
            host_advance(dart->host, STALL_STEP_NS);
    }
    if (done)
        *done = total;
    return result;
}
