/* SPDX-License-Identifier: MIT */
#include "host_dart.h"

#define STALL_STEP_NS 100u
#define STALL_STEPS 1000000u

static bool glue_table_read64(void *opaque, uint64_t pa, uint64_t *out)
{
    const struct host_dart *const dart = opaque;

    return host_table_read64(dart->host, pa, out);
}

static bool glue_mem_read(void *opaque, uint64_t pa, void *buf, size_t len, bool coherent)
{
    const struct host_dart *const dart = opaque;

    return host_mem_read(dart->host, pa, buf, len, coherent);
}

static bool glue_mem_write(void *opaque, uint64_t pa, const void *buf, size_t len, bool coherent)
{
    const struct host_dart *const dart = opaque;

    return host_mem_write(dart->host, pa, buf, len, coherent);
}

static uint64_t glue_now_ns(void *opaque)
{
    const struct host_dart *const dart = opaque;

    return host_now(dart->host);
}

static void glue_irq(void *opaque, void *cookie, bool level)
{
    struct host_dart *const dart = opaque;

    (void)cookie;
    dart->irq = level;
}

static uint32_t glue_random(void *opaque)
{
    struct host_dart *const dart = opaque;

    dart->chance = dart->chance * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(dart->chance >> 32);
}

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

    *dart = (struct host_dart){
        .host = host,
        .glue =
            {
                .opaque = dart,
                .table_read64 = glue_table_read64,
                .mem_read = glue_mem_read,
                .mem_write = glue_mem_write,
                .now_ns = glue_now_ns,
                .irq = glue_irq,
                .random = glue_random,
            },
        .chance = seed,
    };
    wired.host = &dart->glue;
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
