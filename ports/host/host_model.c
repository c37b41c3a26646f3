/* SPDX-License-Identifier: MIT */
#include "host_model.h"

static bool table_read64(void *opaque, uint64_t pa, uint64_t *out)
{
    const struct host_model *const m = opaque;

    return host_table_read64(m->host, pa, out);
}

static bool mem_read(void *opaque, uint64_t pa, void *buf, size_t len, bool coherent)
{
    const struct host_model *const m = opaque;

    return host_mem_read(m->host, pa, buf, len, coherent);
}

static bool mem_write(void *opaque, uint64_t pa, const void *buf, size_t len, bool coherent)
{
    const struct host_model *const m = opaque;

    return host_mem_write(m->host, pa, buf, len, coherent);
}

static uint64_t now_ns(void *opaque)
{
    const struct host_model *const m = opaque;

    return host_now(m->host);
}

static void irq(void *opaque, void *cookie, bool level)
{
    const struct host_model *const m = opaque;

    (void)cookie;
    *m->irq = level || (m->edges && *m->irq);
}

static uint32_t draw(void *opaque)
{
    struct host_model *const m = opaque;

    m->chance = m->chance * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(m->chance >> 32);
}

void host_model_init(struct host_model *m, struct host *host, uint64_t seed, bool *line, bool edges)
{
    *m = (struct host_model){
        .calls =
            {
                .opaque = m,
                .table_read64 = table_read64,
                .mem_read = mem_read,
                .mem_write = mem_write,
                .now_ns = now_ns,
                .irq = irq,
                .random = draw,
            },
        .host = host,
        .irq = line,
        .edges = edges,
        .chance = seed,
    };
}
