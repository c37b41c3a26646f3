/* SPDX-License-Identifier: MIT */
/* A domain and a device over an instance whose driver only counts. */
#include "bench.h"

#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#define MEMORY (UINT64_C(64) << 20)
#define MEMORY_PA (UINT64_C(1) << 35)
#define BLOCK (UINT64_C(1) << GR_BENCH_BLOCK_LG2)

__thread unsigned gr_bench_cpu;

/* With a block behind it for buffers, see stand_buffer(). */
static int memory_make(struct bench_env *env)
{
    void *region = mmap(NULL, MEMORY + 2 * BLOCK, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint64_t skip;

    if (region == MAP_FAILED)
        return GR_ENOMEM;
    skip = -(uint64_t)(uintptr_t)region & (BLOCK - 1);
    bench_env_init(env, (uint8_t *)region + skip, MEMORY_PA, MEMORY);
    munmap(region, skip);
    munmap(env->va + MEMORY + BLOCK, BLOCK - skip);
    return 0;
}

static int fake_attach(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                       struct gr_binding *binding)
{
    (void)inst;
    (void)stream;
    (void)pt;
    (void)binding;
    return 0;
}

static int fake_block(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding)
{
    (void)inst;
    (void)stream;
    (void)binding;
    return 0;
}

static int fake_invalidate(struct gr_instance *inst, struct gr_binding *binding, gr_iova_t first,
                           gr_iova_t last, bool tables)
{
    struct stand *const s = (void *)((char *)inst - offsetof(struct stand, inst));

    (void)binding;
    (void)first;
    (void)last;
    s->leaf_only += !tables;
    s->with_tables += tables;
    if (s->command_ns) {
        const uint64_t end = gr_port_now_ns(&s->env) + s->command_ns;

        while (gr_port_now_ns(&s->env) < end)
            ;
    }
    return 0;
}

static const struct gr_instance_ops fake_ops = {
    .attach = fake_attach,
    .block = fake_block,
    .invalidate = fake_invalidate,
};

static const struct gr_pt_config tables[FORMATS] = {
    [FORMAT_DART_16K] = {.format = GR_PT_DART1,
                         .granule_lg2 = 14,
                         .levels = 2,
                         .roots_lg2 = 2,
                         .va_bits = 32,
                         .pa_bits = 36,
                         .coherent = true},
    [FORMAT_DART_4K] = {.format = GR_PT_DART1,
                        .granule_lg2 = 12,
                        .levels = 2,
                        .roots_lg2 = 2,
                        .va_bits = 32,
                        .pa_bits = 36,
                        .coherent = true},
    [FORMAT_LPAE_4K] = {.format = GR_PT_LPAE_S1,
                        .granule_lg2 = 12,
                        .levels = 4,
                        .va_bits = 48,
                        .pa_bits = 48,
                        .coherent = true},
};

unsigned stand_granule_lg2(enum shape_format format)
{
    return tables[format].granule_lg2;
}

bool stand_knows(enum shape_format format)
{
    return gr_pt_reach_bits(&tables[format]) != 0;
}

gr_pa_t stand_buffer(void)
{
    return MEMORY_PA + MEMORY;
}

/* Memory, an instance, and a device that is attached to nothing yet. */
static int make_device(struct stand *s, enum shape_format format, bool caches_absent,
                       enum gr_isolation how)
{
    struct gr_device_config config = {.name = "bench",
                                      .streams = &s->stream,
                                      .stream_count = 1,
                                      .isolation = how,
                                      .coherent = true};
    int ret;

    memset(s, 0, sizeof(*s));
    ret = memory_make(&s->env);
    if (ret)
        return ret;
    s->inst = (struct gr_instance){
        .ops = &fake_ops,
        .env = &s->env,
        .name = "no hardware",
        .table = tables[format],
        .aperture = {0, (UINT64_C(1) << tables[format].va_bits) - 1},
        .streams = 16,
        .caches_absent = caches_absent,
    };
    gr_instance_init(&s->inst);
    s->stream = (struct gr_stream){.inst = &s->inst, .window = {0, UINT64_MAX}};
    return gr_device_init(&s->dev, &config);
}

int stand_make(struct stand *s, enum shape_format format, bool caches_absent, bool keeps)
{
    int ret = make_device(s, format, caches_absent, GR_ISOLATION_DEFAULT);

    s->keeps = keeps;
    if (!ret)
        ret = gr_domain_init(&s->domain, &s->env, &s->dev, GR_DOMAIN_TRANSLATED, 0);
    if (!ret)
        ret = gr_domain_attach(&s->domain, &s->dev);
    if (!ret && keeps)
        ret = gr_dma_map(&s->dev, MEMORY_PA - 4096, 4096, GR_DMA_BIDIRECTIONAL, 0, &s->kept);
    return ret;
}

int stand_make_isolated(struct stand *s, enum gr_isolation how, bool deferred, bool linear,
                        bool caches_absent)
{
    const struct gr_range ram = {MEMORY_PA, MEMORY_PA + MEMORY - 1};
    const struct gr_linear_config all = {.ram = &ram, .ram_count = 1};
    const struct gr_bounce_config pool = {.pa_last = ram.last, .limit = 64 * GR_BOUNCE_CHUNK};
    int ret = make_device(s, FORMAT_DART_16K, caches_absent, how);

    if (!ret)
        ret = linear ? gr_domain_init_linear(&s->domain, &s->env, &s->dev, &all)
                     : gr_domain_init(&s->domain, &s->env, &s->dev, GR_DOMAIN_TRANSLATED,
                                      deferred ? GR_DOMAIN_DEFERRED : 0);
    if (!ret)
        ret = gr_domain_attach(&s->domain, &s->dev);
    if (!ret)
        ret = gr_bounce_init(&s->pool, &s->env, &pool);
    s->bounces = !ret;
    if (!ret)
        ret = gr_domain_set_bounce(&s->domain, &s->pool);
    if (!ret && !linear) {
        s->keeps = true;
        ret = gr_dma_map(&s->dev, stand_buffer(), 16384, GR_DMA_BIDIRECTIONAL, 0, &s->kept);
    }
    return ret;
}

int stand_end(struct stand *s)
{
    int ret = 0;

    if (s->keeps)
        ret = gr_dma_unmap(&s->dev, s->kept, s->bounces ? 16384 : 4096, GR_DMA_BIDIRECTIONAL, 0);
    if (!ret)
        ret = gr_domain_detach(&s->domain, &s->dev);
    if (!ret)
        ret = gr_domain_fini(&s->domain);
    if (!ret && s->bounces)
        ret = gr_bounce_fini(&s->pool);
    if (!ret)
        ret = gr_device_fini(&s->dev);
    if (!ret)
        ret = gr_instance_fini(&s->inst);
    if (!ret && bench_env_live(&s->env))
        ret = GR_EBUSY;
    munmap(s->env.va, MEMORY + BLOCK);
    return ret;
}
