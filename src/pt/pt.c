/* SPDX-License-Identifier: MIT */
#include <granule/pt.h>

#include "core/bits.h"
#include "pt/pt_internal.h"

static const struct gr_pt_ops *ops_of(enum gr_pt_format format)
{
    switch (format) {
    case GR_PT_DART1:
        return &gri_pt_dart1_ops;
    case GR_PT_DART2:
        return &gri_pt_dart2_ops;
    default:
        return NULL;
    }
}

static bool shape_is_valid(const struct gr_pt_config *config)
{
    const struct gr_pt_ops *const ops = ops_of(config->format);

    return ops && (config->granule_lg2 == 12 || config->granule_lg2 == 14) && config->levels >= 2 &&
           config->levels <= ops->levels_max && config->roots_lg2 <= 2;
}

unsigned gr_pt_reach_bits(const struct gr_pt_config *config)
{
    if (!shape_is_valid(config))
        return 0;
    return config->granule_lg2 + config->levels * (config->granule_lg2 - 3u) + config->roots_lg2;
}

int gr_pt_init(struct gr_pt *pt, gr_env_t env, const struct gr_pt_config *config)
{
    const unsigned reach = gr_pt_reach_bits(config);
    unsigned one_root; /* bits that a single top table translates */

    if (!reach || config->va_bits > reach || config->va_bits <= config->granule_lg2 ||
        (config->pa_bits != 36 && config->pa_bits != 42) ||
        config->pa_bits > ops_of(config->format)->pa_bits_max)
        return GR_EINVAL;
    one_root = reach - config->roots_lg2;
    *pt = (struct gr_pt){
        .ops = ops_of(config->format),
        .env = env,
        .granule_lg2 = config->granule_lg2,
        .levels = config->levels,
        .index_bits = (uint8_t)(config->granule_lg2 - 3u),
        .va_bits = config->va_bits,
        .pa_bits = config->pa_bits,
        .format = (uint8_t)config->format,
        .roots_lg2 = (uint8_t)(config->va_bits > one_root ? config->va_bits - one_root : 0),
        .coherent = config->coherent,
    };
    pt->root_lg2 = (uint8_t)gri_max(pt->granule_lg2 + pt->roots_lg2, pt->ops->root_align_lg2);
    pt->root = gr_port_pages_alloc(env, pt->root_lg2, gri_mask(pt->pa_bits),
                                   GR_PAGES_TABLE | GR_PAGES_MAY_SLEEP);
    if (!pt->root)
        return GR_ENOMEM;
    gr_port_lock_init(&pt->lock);
    pt->root_pa = gr_port_virt_to_phys(env, pt->root);
    pt->tables = (uint64_t)1 << pt->roots_lg2;
    if (!pt->coherent)
        gr_port_cache(env, pt->root, (size_t)1 << pt->root_lg2, GR_CACHE_CLEAN);
    gr_port_wmb(); /* the zeroes before the register that points to them */
    return 0;
}

void gr_pt_fini(struct gr_pt *pt)
{
    struct gr_pt_gather gather = {0};

    pt->ops->gather_all(pt, &gather);
    gr_pt_gather_free(pt, &gather);
    gr_port_pages_free(pt->env, pt->root, pt->root_lg2);
    gr_port_lock_fini(&pt->lock);
    *pt = (struct gr_pt){.ops = NULL};
}

uint64_t gr_pt_tables(struct gr_pt *pt)
{
    const gr_lock_state_t state = gr_port_lock(&pt->lock);
    const uint64_t tables = pt->tables;

    gr_port_unlock(&pt->lock, state);
    return tables;
}

void gr_pt_gather_free(struct gr_pt *pt, struct gr_pt_gather *gather)
{
    gr_lock_state_t state;

    if (!gather->head)
        return;
    while (gather->head) {
        uint64_t *const table = gather->head;

        gather->head = (uint64_t *)(uintptr_t)table[0];
        gr_port_pages_free(pt->env, table, pt->granule_lg2);
    }
    state = gr_port_lock(&pt->lock);
    pt->tables -= gather->count;
    gr_port_unlock(&pt->lock, state);
    gather->count = 0;
}

void gr_pt_gather_join(const struct gr_pt *pt, struct gr_pt_gather *to, struct gr_pt_gather *from)
{
    while (from->head) {
        uint64_t *const table = from->head;

        from->head = (uint64_t *)(uintptr_t)table[0];
        gr_port_table_store64(pt->env, table, (uintptr_t)to->head);
        to->head = table;
        to->count++;
    }
    from->count = 0;
}

/* Check a range of IOVAs and turn it into the bits that are translated. */
static int check_range(const struct gr_pt *pt, gr_iova_t iova, uint64_t len, uint64_t *out_va)
{
    const uint64_t va = iova & gri_mask(pt->va_bits);

    if (!len)
        return GR_ENODATA;
    if ((iova | len) & gri_mask(pt->granule_lg2))
        return GR_EINVAL;
    if (gri_overflows(iova, len))
        return GR_EOVERFLOW;
    if (len - 1 > gri_mask(pt->va_bits) - va)
        return GR_ERANGE;
    *out_va = va;
    return 0;
}

int gr_pt_map(struct gr_pt *pt, gr_iova_t iova, gr_pa_t pa, uint64_t len, unsigned prot,
              uint64_t *out_done)
{
    uint64_t va;
    const int ret = check_range(pt, iova, len, &va);

    *out_done = 0;
    if (ret)
        return ret;
    if (pa & gri_mask(pt->granule_lg2))
        return GR_EINVAL;
    if (prot & ~(GR_PROT_READ | GR_PROT_WRITE | GR_PROT_UNCACHED))
        return GR_EOPNOTSUPP;
    if (!(prot & (GR_PROT_READ | GR_PROT_WRITE)))
        return GR_EACCES;
    if (gri_overflows(pa, len))
        return GR_EOVERFLOW;
    if (pa + len - 1 > gri_mask(pt->pa_bits))
        return GR_EFAULT;

    struct gri_pt_cursor cursor = {.pt = pt, .prot = prot, .end = va};
    const struct gri_pt_run run = {va, pa, len};
    const int failed = gri_pt_map_runs(&cursor, &run, 1);

    gri_pt_map_end(&cursor);
    *out_done = cursor.end - va;
    return failed;
}

int gr_pt_unmap(struct gr_pt *pt, gr_iova_t iova, uint64_t len, const struct gr_range *retire,
                struct gr_pt_gather *gather)
{
    struct gr_range masked = {1, 0};
    uint64_t va;
    const int ret = check_range(pt, iova, len, &va);

    if (ret)
        return ret;
    if (retire) { /* as far as it lies in the same block of translated bits */
        const uint64_t block = iova - va;
        const uint64_t block_last = block + gri_mask(pt->va_bits);

        if (retire->first <= block_last && retire->last >= block) {
            masked.first = gri_max(retire->first, block) - block;
            masked.last = gri_min(retire->last, block_last) - block;
        }
    }
    pt->ops->unmap(pt, va, va + len - 1, masked, gather);
    return 0;
}

int gr_pt_trim(struct gr_pt *pt, gr_iova_t iova, uint64_t len, struct gr_pt_gather *gather)
{
    uint64_t va;
    const int ret = check_range(pt, iova, len, &va);

    if (!ret)
        pt->ops->trim(pt, va, va + len - 1, gather);
    return ret;
}

int gr_pt_check_mapped(const struct gr_pt *pt, gr_iova_t iova, uint64_t len)
{
    uint64_t va;
    const int ret = check_range(pt, iova, len, &va);

    return ret ? ret : pt->ops->check_mapped(pt, va, va + len - 1);
}

int gr_pt_walk(const struct gr_pt *pt, gr_iova_t iova, struct gr_pt_walk *out)
{
    return pt->ops->walk(pt, iova & gri_mask(pt->va_bits), out);
}

unsigned gr_pt_spans(const struct gr_pt *pt, uint8_t *out_span_lg2)
{
    unsigned n = 0;

    for (unsigned level = 1; level < pt->levels; level++)
        out_span_lg2[n++] = (uint8_t)gri_pt_shift(pt, level);
    return n;
}
