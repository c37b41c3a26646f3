/* SPDX-License-Identifier: MIT */
#include <granule/pt.h>

#include "core/bits.h"
#include "pt/pt_internal.h"

static const struct gri_pt_format *format_of(const struct gr_pt_config *config)
{
    switch (config->format) {
    case GR_PT_DART1:
        return &gri_pt_dart1;
    case GR_PT_DART2:
        return &gri_pt_dart2;
    case GR_PT_LPAE_S1:
        return &gri_pt_lpae_s1;
    case GR_PT_LPAE_S2:
        return &gri_pt_lpae_s2;
    default:
        return NULL;
    }
}

/* The index of the granule: 4, 16 and 64 KiB are 0 to 2. */
static unsigned granule_number(const struct gr_pt_config *config)
{
    return (config->granule_lg2 - 12u) / 2;
}

static bool shape_is_valid(const struct gri_pt_format *format, const struct gr_pt_config *config)
{
    return format && config->granule_lg2 >= 12 && !(config->granule_lg2 & 1) &&
           granule_number(config) < format->granules && config->levels >= 2 &&
           config->levels <= format->levels_max && config->roots_lg2 <= format->roots_lg2_max;
}

const struct gr_pt_ops *gri_pt_ops_of(const struct gr_pt_config *config)
{
    return &format_of(config)->ops[granule_number(config)];
}

/* log2 of the bytes that one table of the top level translates. */
static unsigned one_root_bits(const struct gr_pt_config *config)
{
    return config->granule_lg2 + config->levels * (config->granule_lg2 - 3u);
}

unsigned gr_pt_reach_bits(const struct gr_pt_config *config)
{
    const struct gri_pt_format *const format = format_of(config);

    if (!shape_is_valid(format, config))
        return 0;
    return (unsigned)gri_min(one_root_bits(config) + config->roots_lg2, format->va_bits_max);
}

/*
 * va_bits up to this are too few. Where the number of levels follows from va_bits, one level less
 * would translate them. The engine has no trees of one level, so several roots of such a tree do
 * not count.
 */
static unsigned va_bits_too_few(const struct gri_pt_format *format,
                                const struct gr_pt_config *config)
{
    if (!format->levels_follow_va)
        return config->granule_lg2;
    return one_root_bits(config) - (config->granule_lg2 - 3u) +
           (config->levels > 2 ? format->roots_lg2_max : 0);
}

static bool widths_are_valid(const struct gri_pt_format *format, const struct gr_pt_config *config)
{
    return config->va_bits <= gr_pt_reach_bits(config) &&
           config->va_bits > va_bits_too_few(format, config) &&
           config->va_bits >= format->va_bits_min && config->pa_bits < 64 &&
           (format->pa_bits >> config->pa_bits & 1) &&
           !(format->va_within_pa && config->va_bits > config->pa_bits);
}

int gr_pt_init(struct gr_pt *pt, gr_env_t env, const struct gr_pt_config *config)
{
    const struct gri_pt_format *const format = format_of(config);
    const unsigned index_bits = config->granule_lg2 - 3u;

    if (!shape_is_valid(format, config) || !widths_are_valid(format, config))
        return GR_EINVAL;
    *pt = (struct gr_pt){
        .ops = gri_pt_ops_of(config),
        .env = env,
        .va_mask = gri_mask(config->va_bits),
        .pa_mask = gri_mask(config->pa_bits),
        .granule_mask = gri_mask(config->granule_lg2),
        .window_unit = format->windows ? 1u << (config->granule_lg2 - 12) : 0,
        .granule_lg2 = config->granule_lg2,
        .levels = config->levels,
        .index_bits = (uint8_t)index_bits,
        .root_shift = (uint8_t)(config->granule_lg2 + (config->levels - 1u) * index_bits),
        .va_bits = config->va_bits,
        .pa_bits = config->pa_bits,
        .format = (uint8_t)config->format,
        .roots_lg2 = (uint8_t)(config->va_bits > one_root_bits(config)
                                   ? config->va_bits - one_root_bits(config)
                                   : 0),
        .coherent = config->coherent,
    };
    pt->root_lg2 = (uint8_t)gri_max(pt->granule_lg2 + pt->roots_lg2, format->root_align_lg2);
    pt->root =
        gr_port_pages_alloc(env, pt->root_lg2, pt->pa_mask, GR_PAGES_TABLE | GR_PAGES_MAY_SLEEP);
    if (!pt->root)
        return GR_ENOMEM;
    gr_port_lock_init(&pt->lock);
    pt->root_pa = gr_port_virt_to_phys(env, pt->root);
    pt->tables = (uint64_t)1 << pt->roots_lg2;
    if (!pt->coherent)
        gr_port_cache(env, pt->root, (size_t)1 << pt->root_lg2, GR_CACHE_CLEAN);
    gr_port_wmb(); /* the zeroed root before the register that points to it */
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

/*
 * Is [iova, iova + len) in whole granules and within one block of translated bits? One comparison
 * does for length and end: a length of 0, less 1, is longer than any block, and a range that ends
 * within its block does not pass 2^64.
 */
static inline bool range_is_good(const struct gr_pt *pt, gr_iova_t iova, uint64_t len)
{
    return !((iova | len) & pt->granule_mask) && len - 1 <= pt->va_mask - (iova & pt->va_mask);
}

/* The error of a range that is not good. */
static int range_error(const struct gr_pt *pt, gr_iova_t iova, uint64_t len)
{
    if (!len)
        return GR_ENODATA;
    if ((iova | len) & pt->granule_mask)
        return GR_EINVAL;
    return gri_overflows(iova, len) ? GR_EOVERFLOW : GR_ERANGE;
}

/* The error of a map that was refused. */
static int map_error(const struct gr_pt *pt, gr_iova_t iova, gr_pa_t pa, uint64_t len,
                     unsigned prot)
{
    if (!range_is_good(pt, iova, len))
        return range_error(pt, iova, len);
    if (pa & pt->granule_mask)
        return GR_EINVAL;
    if (prot & ~(GR_PROT_READ | GR_PROT_WRITE | GR_PROT_UNCACHED))
        return GR_EOPNOTSUPP;
    if (!(prot & (GR_PROT_READ | GR_PROT_WRITE)))
        return GR_EACCES;
    return gri_overflows(pa, len) ? GR_EOVERFLOW : GR_EFAULT;
}

int gr_pt_map(struct gr_pt *pt, gr_iova_t iova, gr_pa_t pa, uint64_t len, unsigned prot,
              uint64_t *out_done)
{
    if (__builtin_expect(!range_is_good(pt, iova, len) || (pa & pt->granule_mask) ||
                             ((pa | (pa + len - 1)) & ~pt->pa_mask) ||
                             prot > (GR_PROT_READ | GR_PROT_WRITE | GR_PROT_UNCACHED) ||
                             !(prot & (GR_PROT_READ | GR_PROT_WRITE)),
                         0)) {
        *out_done = 0;
        return map_error(pt, iova, pa, len, prot);
    }
    return pt->ops->map(pt, iova & pt->va_mask, pa, len, prot, out_done);
}

/*
 * `retire` in translated bits, clipped to the block of 2^va_bits that `iova` is in. A range that
 * includes the block's last IOVA covers the end of any span there, since nothing is mapped beyond:
 * see fmt_retire().
 */
static struct gr_range mask_range(const struct gr_pt *pt, gr_iova_t iova, struct gr_range retire)
{
    const uint64_t block = iova & ~pt->va_mask;
    const uint64_t block_last = block | pt->va_mask;

    if (retire.first > block_last || retire.last < block)
        return (struct gr_range){1, 0};
    return (struct gr_range){gri_max(retire.first, block) - block,
                             retire.last < block_last ? retire.last - block : UINT64_MAX};
}

int gr_pt_unmap(struct gr_pt *pt, gr_iova_t iova, uint64_t len, const struct gr_range *retire,
                struct gr_pt_gather *gather)
{
    const uint64_t va = iova & pt->va_mask;

    if (__builtin_expect(!range_is_good(pt, iova, len), 0))
        return range_error(pt, iova, len);
    return pt->ops->unmap(pt, va, va + len - 1,
                          retire ? mask_range(pt, iova, *retire) : (struct gr_range){1, 0}, gather);
}

void gr_pt_retire(struct gr_pt *pt, const struct gr_range *range, struct gr_pt_gather *gather)
{
    pt->ops->retire(pt, range->first & pt->va_mask, range->last & pt->va_mask, gather);
}

int gr_pt_trim(struct gr_pt *pt, gr_iova_t iova, uint64_t len, struct gr_pt_gather *gather)
{
    const uint64_t va = iova & pt->va_mask;

    if (!range_is_good(pt, iova, len))
        return range_error(pt, iova, len);
    pt->ops->trim(pt, va, va + len - 1, gather);
    return 0;
}

int gr_pt_check_mapped(const struct gr_pt *pt, gr_iova_t iova, uint64_t len)
{
    const uint64_t va = iova & pt->va_mask;

    if (!range_is_good(pt, iova, len))
        return range_error(pt, iova, len);
    return pt->ops->check_mapped(pt, va, va + len - 1);
}

int gr_pt_walk(const struct gr_pt *pt, gr_iova_t iova, struct gr_pt_walk *out)
{
    return pt->ops->walk(pt, iova & pt->va_mask, out);
}

unsigned gr_pt_spans(const struct gr_pt *pt, uint8_t *out_span_lg2)
{
    unsigned n = 0;

    for (unsigned level = 1; level < pt->levels; level++)
        out_span_lg2[n++] = (uint8_t)(pt->granule_lg2 + level * pt->index_bits);
    return n;
}
