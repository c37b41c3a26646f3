/* SPDX-License-Identifier: MIT */
/*
 * Our side: the library compiled for ports/bench with the flags that Linux's files are compiled
 * with. What is measured is what a caller pays: the public functions, with every check they make.
 */
#include <granule/granule.h>

#include "side.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define UNIT_LG2 12u
#define DIR GR_DMA_BIDIRECTIONAL
#define PROT (GR_PROT_READ | GR_PROT_WRITE)
#define MEMORY (UINT64_C(4) << 30)
#define MEMORY_PA (UINT64_C(32) << 30)

/* One region for all: like the other side's, in large pages; only what is used costs anything. */
static struct bench_env memory;

static struct bench_env *env(void)
{
    const uint64_t block = UINT64_C(1) << GR_BENCH_BLOCK_LG2;
    uint8_t *va;

    if (memory.va)
        return &memory;
    va = mmap(NULL, MEMORY + block, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (va == MAP_FAILED)
        abort();
    va += -(uintptr_t)va & (block - 1);
    madvise(va, MEMORY, MADV_HUGEPAGE);
    bench_env_init(&memory, va, MEMORY_PA, MEMORY);
    return &memory;
}

static void need(int ret, const char *what)
{
    if (!ret)
        return;
    fprintf(stderr, "granule: %s: %s\n", what, gr_strerror(ret));
    abort();
}

static ul side_memory(void)
{
    return bench_env_live(&memory);
}

static void side_reset(void)
{
    if (!side_memory())
        bench_env_init(env(), memory.va, MEMORY_PA, MEMORY);
}

/* ---- the address allocator ---- */

struct space {
    struct gr_iova iova;
};

static void *side_space_make(ul limit)
{
    struct space *const s = aligned_alloc(128, (sizeof(*s) + 127) & ~127ul);

    if (!s)
        abort();
    memset(s, 0, sizeof(*s));
    need(gr_iova_init(&s->iova, env(), UNIT_LG2, UINT64_C(1) << UNIT_LG2,
                      ((limit + 1) << UNIT_LG2) - 1),
         "gr_iova_init");
    return s;
}

static void side_space_end(void *space)
{
    gr_iova_fini(&((struct space *)space)->iova);
    free(space);
}

static inline ul side_alloc(void *space, ul size, ul limit)
{
    struct space *const s = space;
    const struct gr_iova_req req = {.size = size << UNIT_LG2,
                                    .last = ((limit + 1) << UNIT_LG2) - 1};
    gr_iova_t iova;
    int ret;

    ret = gr_iova_alloc(&s->iova, &req, &iova);
    return ret ? 0 : iova >> UNIT_LG2;
}

static inline void side_release(void *space, ul at, ul size)
{
    struct space *const s = space;
    int ret;

    ret = gr_iova_free(&s->iova, at << UNIT_LG2, size << UNIT_LG2);
    if (__builtin_expect(ret, 0))
        need(ret, "gr_iova_free");
}

static ul side_alloc_plain(void *space, ul size, ul limit)
{
    return side_alloc(space, size, limit);
}

static void side_release_plain(void *space, ul at, ul size)
{
    side_release(space, at, size);
}

/* ---- page tables ---- */

static struct gr_pt_config table_of(enum fmt f)
{
    if (f == FMT_DART16K)
        return (struct gr_pt_config){.format = GR_PT_DART1,
                                     .granule_lg2 = 14,
                                     .levels = 2,
                                     .roots_lg2 = 2,
                                     .va_bits = 32,
                                     .pa_bits = 36,
                                     .coherent = true};
    return (struct gr_pt_config){.format = GR_PT_LPAE_S1,
                                 .granule_lg2 = 12,
                                 .levels = 4,
                                 .va_bits = 48,
                                 .pa_bits = 48,
                                 .coherent = true};
}

static void *side_pt_make(enum fmt f)
{
    const struct gr_pt_config config = table_of(f);
    struct gr_pt *pt;

    if (!gr_pt_reach_bits(&config))
        return NULL;
    pt = aligned_alloc(128, (sizeof(*pt) + 127) & ~127ul);
    if (!pt)
        abort();
    memset(pt, 0, sizeof(*pt));
    need(gr_pt_init(pt, env(), &config), "gr_pt_init");
    return pt;
}

static void side_pt_end(void *pt)
{
    gr_pt_fini(pt);
    free(pt);
}

static inline ul side_pt_map(void *pt, ul iova, ul pa, ul page, ul n)
{
    uint64_t done;

    if (gr_pt_map(pt, iova, pa, page * n, PROT, &done))
        return 0;
    return done;
}

static inline ul side_pt_unmap(void *pt, ul iova, ul page, ul n)
{
    struct gr_pt_gather gather = {0};

    if (gr_pt_unmap(pt, iova, page * n, NULL, &gather))
        return 0;
    return page * n;
}

static ul side_pt_phys(void *pt, ul iova)
{
    struct gr_pt_walk walk;

    return gr_pt_walk(pt, iova, &walk) ? 0 : walk.pa;
}

/* ---- a device ---- */

struct dev {
    struct gr_instance inst;
    struct gr_stream stream;
    struct gr_device device;
    struct gr_domain domain;
};

struct list {
    struct gr_dma_list list;
    struct gr_dma_seg *out;
    struct gr_seg segs[];
};

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
    (void)inst;
    (void)binding;
    (void)first;
    (void)last;
    (void)tables;
    rt_invalidate();
    return 0;
}

static const struct gr_instance_ops fake_ops = {
    .attach = fake_attach,
    .block = fake_block,
    .invalidate = fake_invalidate,
};

static void *side_dev_make(enum fmt f)
{
    struct gr_device_config config = {.name = "peer", .stream_count = 1, .coherent = true};
    const struct gr_pt_config table = table_of(f);
    struct dev *d;

    if (!gr_pt_reach_bits(&table))
        return NULL;
    d = aligned_alloc(128, (sizeof(*d) + 127) & ~127ul);
    if (!d)
        abort();
    memset(d, 0, sizeof(*d));
    d->inst = (struct gr_instance){
        .ops = &fake_ops,
        .env = env(),
        .name = "no hardware",
        .table = table,
        .aperture = {0, (UINT64_C(1) << fmt_bits(f)) - 1},
        .streams = 16,
        .caches_absent = rt_invalidation_ns && f == FMT_DART16K,
    };
    gr_instance_init(&d->inst);
    d->stream = (struct gr_stream){.inst = &d->inst, .window = {0, UINT64_MAX}};
    config.streams = &d->stream;
    need(gr_device_init(&d->device, &config), "gr_device_init");
    need(gr_domain_init(&d->domain, env(), &d->device, GR_DOMAIN_TRANSLATED, 0), "gr_domain_init");
    need(gr_domain_attach(&d->domain, &d->device), "gr_domain_attach");
    need(gr_dma_set_seg_limits(&d->device, 65536, UINT64_C(1) << 32), "gr_dma_set_seg_limits");
    return d;
}

static void side_dev_end(void *dev)
{
    struct dev *const d = dev;

    need(gr_domain_detach(&d->domain, &d->device), "gr_domain_detach");
    need(gr_domain_fini(&d->domain), "gr_domain_fini");
    need(gr_device_fini(&d->device), "gr_device_fini");
    need(gr_instance_fini(&d->inst), "gr_instance_fini");
    free(d);
}

struct ring {
    void *cpu;
    gr_iova_t iova;
};

static void *side_ring_make(void *dev)
{
    struct ring *const r = malloc(sizeof(*r));

    if (!r)
        abort();
    need(gr_dma_alloc(&((struct dev *)dev)->device, SEG_LEN, 0, &r->cpu, &r->iova), "gr_dma_alloc");
    return r;
}

static void side_ring_end(void *dev, void *ring)
{
    const struct ring *const r = ring;

    need(gr_dma_free(&((struct dev *)dev)->device, SEG_LEN, 0, r->cpu, r->iova), "gr_dma_free");
    free(ring);
}

static void *side_list_make(const ul *pa, long n)
{
    const size_t size = sizeof(struct list) + (size_t)n * sizeof(struct gr_seg);
    struct list *const l = aligned_alloc(128, (size + 127) & ~127ul);

    if (!l)
        abort();
    l->out = aligned_alloc(128, ((size_t)n * sizeof(*l->out) + 127) & ~127ul);
    if (!l->out)
        abort();
    for (long i = 0; i < n; i++)
        l->segs[i] = (struct gr_seg){pa[i], SEG_LEN};
    l->list = (struct gr_dma_list){l->segs, (unsigned)n, 0, l->out};
    return l;
}

static void side_list_end(void *list)
{
    free(((struct list *)list)->out);
    free(list);
}

static inline long side_list_map(void *dev, void *list, long n)
{
    struct gr_dma_list *const l = &((struct list *)list)->list;

    (void)n;
    if (gr_dma_map_sg(&((struct dev *)dev)->device, l, DIR, 0))
        return 0;
    return l->out_count;
}

static inline void side_list_unmap(void *dev, void *list, long n)
{
    const int ret =
        gr_dma_unmap_sg(&((struct dev *)dev)->device, &((struct list *)list)->list, DIR, 0);

    (void)n;
    if (__builtin_expect(ret, 0))
        need(ret, "gr_dma_unmap_sg");
}

static long side_list_bad(void *dev, void *list, const ul *pa, long n)
{
    struct gr_domain *const domain = &((struct dev *)dev)->domain;
    const struct gr_dma_seg *out = ((struct list *)list)->out;
    long bad = 0;
    uint64_t used = 0; /* bytes of out that are accounted for */

    for (long i = 0; i < n; i++) {
        gr_pa_t first = 0;
        gr_pa_t last = 0;

        bad += gr_domain_iova_to_phys(domain, out->iova + used, &first) != 0 || first != pa[i];
        bad += gr_domain_iova_to_phys(domain, out->iova + used + SEG_LEN - 1, &last) != 0 ||
               last != pa[i] + SEG_LEN - 1;
        used += SEG_LEN;
        if (used >= out->len) {
            out++;
            used = 0;
        }
    }
    return bad;
}

static ul side_dev_tables(void *dev)
{
    const struct dev *const d = dev;
    struct gr_domain_stats stats;

    gr_domain_stats((struct gr_domain *)&d->domain, &stats);
    return stats.tables << d->inst.table.granule_lg2;
}

#define SIDE_SYMBOL side_granule
#define SIDE_NAME PEER_NAME
#include "loops.h"
