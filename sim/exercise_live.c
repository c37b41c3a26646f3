/* SPDX-License-Identifier: MIT */
#include "attack.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define GUARD SIM_GUARD
#define LARGEST SIM_LARGEST
#define NEIGHBOURS 8u /* segments of a list that touch in memory, at most */

/* ---- What is to be mapped ---- */

static void free_live(struct sim_exercise *x, struct sim_live *live)
{
    for (unsigned i = 0; i < live->extent_count; i++)
        host_ram_free(x->machine->host, live->extents[i].alloc);
    free(live->parts);
    free(live->pieces);
    free(live->extents);
    free(live->segs);
    free(live->list.out);
}

static int make_room(struct sim_live *live, unsigned count)
{
    live->parts = calloc(count, sizeof(*live->parts));
    live->extents = calloc(count, sizeof(*live->extents));
    live->segs = calloc(count, sizeof(*live->segs));
    live->list.out = calloc(count, sizeof(*live->list.out));
    live->list.segs = live->segs;
    return live->parts && live->extents && live->segs && live->list.out ? 0 : GR_ENOMEM;
}

static void add_part(struct sim_live *live, gr_pa_t pa, uint64_t len)
{
    live->parts[live->count] = (struct sim_part){.pa = pa, .len = len};
    live->segs[live->count] = (struct gr_seg){.pa = pa, .len = len};
    live->count++;
    live->list.count = live->count;
    live->len += len;
}

/*
 * How many of `len` bytes at `pa` one segment may have under the limits. `kept` are the address
 * bits that IOVA and PA have in common.
 */
static uint64_t fit(const struct sim_live *live, uint64_t kept, gr_pa_t pa, uint64_t len)
{
    if (live->max_len && len > live->max_len)
        len = live->max_len;
    if (live->boundary) {
        uint64_t room = live->boundary - (pa & kept & (live->boundary - 1));

        len = len < room ? len : room;
    }
    return len;
}

static uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/*
 * Allocate memory with guards and make parts of it that touch, of at most the lengths given.
 * Addresses and lengths are multiples of `unit`: edge_unit(), the CPU's page or the granule.
 */
static int take_extent(struct sim_exercise *x, const struct sim_client *client,
                       struct sim_live *live, uint64_t unit, const uint64_t *lens, unsigned count)
{
    struct sim_extent *const extent = &live->extents[live->extent_count];
    uint64_t granule = sim_granule(client);
    uint64_t page = x->machine->options.cpu_page > granule ? x->machine->options.cpu_page : granule;
    uint64_t before = unit * (1 + sim_rng_below(&x->rng, page / unit));
    uint64_t kept = sim_is_direct(client->dev) ? UINT64_MAX : granule - 1;
    uint64_t size = 0;
    int ret;

    if (unit < GUARD) {
        before += GUARD;
        before &= sim_rng_below(&x->rng, 4) == 0 ? ~(uint64_t)(GUARD - 1) : UINT64_MAX;
    }
    for (unsigned i = 0; i < count; i++)
        size += round_up(lens[i], unit);
    ret = host_ram_alloc(x->machine->host, before + size + GUARD, unit == granule ? granule : 0,
                         &extent->alloc);
    if (ret)
        return ret;
    extent->pa = extent->alloc + before;
    for (unsigned i = 0; i < count; i++) {
        uint64_t len = fit(live, kept, extent->pa + extent->len, round_up(lens[i], unit));

        add_part(live, extent->pa + extent->len, len);
        extent->len += len;
    }
    live->extent_count++;
    return 0;
}

/* The unit of addresses and lengths: 1, unless windows alone are to keep a hostile device out. */
static uint64_t edge_unit(const struct sim_exercise *x, const struct sim_client *client)
{
    return client->dev->untrusted && x->machine->options.isolation == GR_ISOLATION_WINDOW
               ? sim_access_unit(client)
               : 1;
}

static int prepare_map(struct sim_exercise *x, const struct sim_client *client,
                       struct sim_live *live, unsigned nth)
{
    uint64_t granule = sim_granule(client);
    uint64_t page = x->machine->options.cpu_page;
    const uint64_t lengths[] = {
        1,    granule - 1, granule, granule + 1,
        page, page + 1,    LARGEST}; /* lengths that are easily got wrong come first */
    uint64_t len =
        nth < sizeof(lengths) / sizeof(lengths[0]) ? lengths[nth] : sim_draw_length(x, LARGEST);
    int ret = make_room(live, 1);

    return ret ? ret : take_extent(x, client, live, edge_unit(x, client), &len, 1);
}

static void draw_limits(struct sim_exercise *x, const struct sim_client *client,
                        struct sim_live *live)
{
    uint64_t unit = edge_unit(x, client);

    if (sim_rng_below(&x->rng, 2) == 0) /* 64 bytes to 1 MiB */
        live->boundary = UINT64_C(64) << sim_rng_below(&x->rng, 15);
    if (sim_rng_below(&x->rng, 2) == 0)
        live->max_len = 64 + sim_rng_below(&x->rng, 1 << sim_rng_below(&x->rng, 19));
    live->boundary = live->boundary && live->boundary < unit ? unit : live->boundary;
    live->max_len = round_up(live->max_len, unit);
}

/* Segments in extents all over memory: of odd bytes, of pages and of granules, and neighbours. */
static int prepare_list(struct sim_exercise *x, const struct sim_client *client,
                        struct sim_live *live, unsigned nth)
{
    static const unsigned counts[] = {1, 2, SIM_SEGMENTS}; /* these come first */
    uint64_t granule = sim_granule(client);
    uint64_t edge = edge_unit(x, client);
    const uint64_t units[] = {edge, x->machine->options.cpu_page, granule};
    unsigned count = nth < sizeof(counts) / sizeof(counts[0])
                         ? counts[nth]
                         : (unsigned)sim_draw_length(x, SIM_SEGMENTS);
    int ret = make_room(live, count);

    draw_limits(x, client, live);
    while (!ret && live->count < count) {
        unsigned left = count - live->count;
        uint64_t share = live->len < LARGEST ? 2 * (LARGEST - live->len) / left : 0;
        uint64_t unit = units[sim_rng_below(&x->rng, 3)];
        uint64_t lens[NEIGHBOURS];
        unsigned n =
            sim_rng_below(&x->rng, 2) ? 1 : 1 + (unsigned)sim_rng_below(&x->rng, NEIGHBOURS);

        n = n < left ? n : left;
        unit = unit <= share ? unit : edge;
        for (unsigned i = 0; i < n; i++)
            lens[i] = sim_draw_length(x, share ? share : 1);
        ret = take_extent(x, client, live, unit, lens, n);
    }
    return ret;
}

static int prepare_coherent(struct sim_exercise *x, const struct sim_client *client,
                            struct sim_live *live, unsigned nth)
{
    uint64_t granule = sim_granule(client);
    uint64_t page = x->machine->options.cpu_page;
    const uint64_t sizes[] = {1,       64,          page - 1, page,   granule - 1,
                              granule, granule + 1, 12345,    LARGEST}; /* these come first */
    int ret = make_room(live, 1);

    if (!ret)
        add_part(live, 0,
                 nth < sizeof(sizes) / sizeof(sizes[0]) ? sizes[nth] : sim_draw_length(x, LARGEST));
    return ret;
}

static int prepare(struct sim_exercise *x, const struct sim_client *client, struct sim_live *live,
                   unsigned nth)
{
    live->dir = (enum gr_dma_dir)(1 + sim_rng_below(&x->rng, 3));
    live->attrs = sim_rng_below(&x->rng, 8) == 0 ? GR_DMA_UNCACHED : 0;
    if (live->kind == SIM_LIVE_COHERENT) {
        live->dir = GR_DMA_BIDIRECTIONAL;
        return prepare_coherent(x, client, live, nth);
    }
    live->attrs |= sim_rng_below(&x->rng, 8) == 0 ? GR_DMA_SKIP_SYNC : 0;
    return live->kind == SIM_LIVE_SG ? prepare_list(x, client, live, nth)
                                     : prepare_map(x, client, live, nth);
}

/* ---- What the library says ---- */

__attribute__((format(printf, 3, 4))) static void
wrong(struct sim_exercise *x, const struct sim_client *client, const char *format, ...)
{
    char text[128];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    sim_problem(x->machine, "%.120s: %s", client->dev->tree.path, text);
}

/* Does [at, at + len) cross a multiple of the boundary? */
static bool crosses(uint64_t at, uint64_t len, uint64_t boundary)
{
    return boundary && (at ^ (at + (len - 1))) & ~(boundary - 1);
}

/* Take each part's IOVA from a list's output. False: the output is not the input in order. */
static bool place_list(struct sim_live *live)
{
    const struct gr_dma_list *const list = &live->list;
    unsigned out = 0;
    uint64_t used = 0;

    for (unsigned i = 0; i < live->count; i++) {
        struct sim_part *const part = &live->parts[i];

        if (i > 0 && used == list->out[out].len) {
            out++;
            used = 0;
        }
        if (live->segs[i].pa != part->pa || live->segs[i].len != part->len ||
            out == list->out_count || part->len > list->out[out].len - used)
            return false;
        part->iova = list->out[out].iova + used;
        used += part->len;
    }
    return out + 1 == list->out_count && used == list->out[out].len;
}

/* Can a part share an output with the one before it? */
static bool joins(const struct sim_client *client, const struct sim_part *part)
{
    uint64_t mask = sim_granule(client) - 1;
    gr_pa_t end = part[-1].pa + part[-1].len;

    if (sim_is_direct(client->dev)) { /* both parts have to lie in reach: neither bounces */
        uint64_t offset = client->dev->active->direct_offset;

        return end == part->pa && part->iova + offset == part->pa &&
               part[-1].iova + offset == part[-1].pa;
    }
    return end == part->pa ||
           (((end | part->pa) & mask) == 0 && client->dev->device.config.overread == 0);
}

/* How many outputs a list without limits has: parts that can share one do. */
static unsigned fewest_outputs(const struct sim_client *client, const struct sim_live *live)
{
    unsigned count = 1;

    for (unsigned i = 1; i < live->count; i++)
        count += !joins(client, &live->parts[i]);
    return count;
}

static bool limits_kept(const struct sim_client *client, const struct sim_live *live)
{
    for (unsigned i = 0; i < live->list.out_count; i++) {
        const struct gr_dma_seg *const out = &live->list.out[i];

        if ((live->max_len && out->len > live->max_len) ||
            crosses(out->iova, out->len, live->boundary))
            return false;
    }
    return live->max_len || live->boundary || live->list.out_count == fewest_outputs(client, live);
}

static uint64_t natural_mask(uint64_t size)
{
    uint64_t mask = 0;

    while (mask < size - 1)
        mask = mask * 2 + 1;
    return mask;
}

/* The physical address of a piece's first byte in the buffer. */
static gr_pa_t memory_of(const struct sim_live *live, const struct sim_piece *piece)
{
    for (unsigned i = 0; i < live->count; i++) {
        const struct sim_part *const part = &live->parts[i];

        if (piece->iova - part->iova < part->len)
            return part->pa + (piece->iova - part->iova);
    }
    return 0; /* the piece has none: it is what may be read beyond */
}

/* Work out where a mapping that was just made lies, and check that it may lie there. */
static void settle(struct sim_exercise *x, struct sim_client *client, struct sim_live *live)
{
    uint64_t mask = sim_granule(client) - 1;

    if (live->kind == SIM_LIVE_SG) {
        if (!place_list(live))
            wrong(x, client, "the mapped list is not the given list in order");
        else if (!limits_kept(client, live))
            wrong(x, client, "the mapped list exceeds the device's limits, or is not merged");
    }
    if (live->kind == SIM_LIVE_COHERENT) {
        uint64_t natural = natural_mask(live->len);
        struct sim_part *const part = &live->parts[0];

        if (!host_pa_of(x->machine->host, live->cpu, &part->pa) || part->iova & natural ||
            part->pa & (natural | mask) || (uintptr_t)live->cpu & (natural | mask)) {
            wrong(x, client, "a coherent buffer of %llu bytes is not aligned",
                  (unsigned long long)live->len);
        }
    }
    live->first = UINT64_MAX;
    live->last = 0;
    if (!sim_place_pieces(client, live)) {
        wrong(x, client, "out of memory: close something else and try again");
        return;
    }
    for (unsigned i = 0; i < live->npieces; i++) {
        const struct sim_piece *const piece = &live->pieces[i];
        const char *const why = sim_check_piece(x, client, piece, memory_of(live, piece));
        gr_iova_t last = (piece->iova + (piece->len + piece->over - 1)) | mask;

        if (why)
            wrong(x, client, "%llu bytes at IOVA 0x%llx: %s", (unsigned long long)piece->len,
                  (unsigned long long)piece->iova, why);
        live->first = (piece->iova & ~mask) < live->first ? piece->iova & ~mask : live->first;
        live->last = last > live->last ? last : live->last;
    }
}

/* ---- Mapping ---- */

static int call_map(const struct sim_client *client, struct sim_live *live)
{
    struct gr_device *const device = &client->dev->device;
    struct sim_part *const part = &live->parts[0];
    void *cpu = NULL;
    int ret;

    switch (live->kind) {
    case SIM_LIVE_MAP:
        return gr_dma_map(device, part->pa, part->len, live->dir, live->attrs, &part->iova);
    case SIM_LIVE_SG:
        return gr_dma_map_sg(device, &live->list, live->dir, live->attrs);
    case SIM_LIVE_COHERENT:
        ret = gr_dma_alloc(device, part->len, live->attrs, &cpu, &part->iova);
        live->cpu = cpu;
        return ret;
    case SIM_LIVE_KINDS:
        break;
    }
    return GR_EINVAL;
}

static int call_unmap(const struct sim_client *client, const struct sim_live *live)
{
    struct gr_device *const device = &client->dev->device;
    const struct sim_part *const part = &live->parts[0];

    switch (live->kind) {
    case SIM_LIVE_MAP:
        return gr_dma_unmap(device, part->iova, part->len, live->dir, live->attrs);
    case SIM_LIVE_SG:
        return gr_dma_unmap_sg(device, &live->list, live->dir, live->attrs);
    case SIM_LIVE_COHERENT:
        return gr_dma_free(device, part->len, live->attrs, live->cpu, part->iova);
    case SIM_LIVE_KINDS:
        break;
    }
    return GR_EINVAL;
}

static const char *name_of_call(const struct sim_live *live, bool map)
{
    static const char *const names[SIM_LIVE_KINDS][2] = {
        [SIM_LIVE_MAP] = {"gr_dma_unmap", "gr_dma_map"},
        [SIM_LIVE_SG] = {"gr_dma_unmap_sg", "gr_dma_map_sg"},
        [SIM_LIVE_COHERENT] = {"gr_dma_free", "gr_dma_alloc"},
    };

    return names[live->kind][map];
}

/* Map, with too little memory if `starve`. A refusal must leave nothing behind. */
static int attempt(struct sim_exercise *x, struct sim_client *client, struct sim_live *live,
                   bool starve)
{
    struct host *const host = x->machine->host;
    struct gr_domain_stats before;
    struct gr_domain_stats after;
    struct gr_bounce_stats slots;
    struct gr_bounce_stats left;
    int ret;

    sim_note_call(x, client, "gr_domain_flush", gr_domain_flush(client->dev->active));
    gr_domain_stats(client->dev->active, &before);
    gr_bounce_stats(&x->machine->pool, &slots);
    sim_begin_change(x, client, live);
    if (starve) {
        host_fail_alloc(host, 1 + sim_rng_below(&x->rng, 4));
        host_fail_uncached(host, sim_rng_below(&x->rng, 2));
    }
    ret = call_map(client, live);
    host_fail_alloc(host, 0);
    host_fail_uncached(host, 0);
    sim_end_change(x);
    if (ret) {
        gr_domain_stats(client->dev->active, &after);
        gr_bounce_stats(&x->machine->pool, &left);
        if (slots.slots != left.slots || before.iova.allocations != after.iova.allocations ||
            before.iova.held != after.iova.held ||
            (before.iova.reserved == 0 && before.tables != after.tables)) {
            wrong(x, client, "%s() failed (%s) and left slots, IOVAs or tables behind",
                  name_of_call(live, true), gr_strerror(ret));
        }
    }
    return ret;
}

/* Can the bounce pool not give what the mapping needs? */
static bool pool_is_short(const struct sim_exercise *x, const struct sim_client *client,
                          const struct sim_live *live)
{
    struct gr_bounce_stats stats;

    gr_bounce_stats(&x->machine->pool, &stats);
    for (unsigned i = 0; sim_is_direct(client->dev) && i < live->count; i++)
        if (live->parts[i].len > GR_BOUNCE_CHUNK - 4096)
            return true; /* longer than a slot */
    return stats.memory == stats.limit;
}

/* Is this refusal right? Otherwise it is a problem. */
static bool may_refuse(const struct sim_exercise *x, const struct sim_client *client,
                       const struct sim_live *live, int ret)
{
    unsigned pa_bits = client->dev->active->table.pa_bits;
    bool beyond = false;

    for (unsigned i = 0; i < live->count; i++)
        beyond = beyond || (live->parts[i].pa + live->parts[i].len - 1) >> pa_bits != 0;
    return ret == GR_ENOSPC || ret == GR_ENOMEM || (ret == GR_EFAULT && beyond) ||
           (ret == GR_ENOBUFS && pool_is_short(x, client, live)) ||
           /* The device's reach has holes, and a slot or buffer may come to lie in one. */
           (ret == GR_ERANGE && sim_is_direct(client->dev)) ||
           /* fit() counts boundaries in PA; with this offset they lie elsewhere in IOVA. */
           (ret == GR_EINVAL && live->boundary &&
            (client->dev->active->direct_offset & (live->boundary - 1)) != 0);
}

/* Set a limit below the longest segment: the list must be refused. */
static void refuse_list(struct sim_exercise *x, struct sim_client *client, struct sim_live *live)
{
    uint64_t longest = 0;
    int ret;

    for (unsigned i = 0; i < live->count; i++)
        longest = live->parts[i].len > longest ? live->parts[i].len : longest;
    if (longest == 1)
        return;
    sim_note_call(x, client, "gr_dma_set_seg_limits",
                  gr_dma_set_seg_limits(&client->dev->device, longest - 1, 0));
    ret = attempt(x, client, live, false);
    if (ret != GR_EINVAL && (!ret || !may_refuse(x, client, live, ret)))
        wrong(x, client, "gr_dma_map_sg() of a segment over the limit returned: %s",
              gr_strerror(ret));
    if (!ret)
        sim_note_call(x, client, "gr_dma_unmap_sg", call_unmap(client, live));
}

/* Now and then a DMA mask with less room; else the device's own. */
static uint64_t draw_mask(struct sim_exercise *x, const struct sim_client *client)
{
    const struct gr_device *const device = &client->dev->device;
    uint64_t required = gr_dma_required_mask(device);
    uint64_t mask = required < device->dma_mask ? required : device->dma_mask;

    if (sim_rng_below(&x->rng, 4) != 0 || sim_is_direct(client->dev))
        return device->dma_mask;
    mask >>= 1 + sim_rng_below(&x->rng, 8);
    return mask < client->dev->active->aperture.first + 64 * sim_granule(client) ? device->dma_mask
                                                                                 : mask;
}

/* Map under a narrow mask, if one is drawn; if that has no room, under the device's own. */
static int map_masked(struct sim_exercise *x, struct sim_client *client, struct sim_live *live)
{
    struct gr_device *const device = &client->dev->device;
    uint64_t whole = device->dma_mask;
    uint64_t mask = draw_mask(x, client);
    int ret = GR_ENOSPC;

    if (mask != whole) {
        sim_note_call(x, client, "gr_dma_set_mask", gr_dma_set_mask(device, mask));
        ret = attempt(x, client, live, false);
        sim_note_call(x, client, "gr_dma_set_mask", gr_dma_set_mask(device, whole));
        if (!ret) {
            settle(x, client, live);
            if (live->last > mask)
                wrong(x, client, "IOVA 0x%llx is above the mask 0x%llx",
                      (unsigned long long)live->last, (unsigned long long)mask);
        }
    }
    if (ret == GR_ENOSPC) {
        ret = attempt(x, client, live, false);
        if (!ret)
            settle(x, client, live);
    }
    return ret;
}

static int map_live(struct sim_exercise *x, struct sim_client *client, struct sim_live *live)
{
    bool starve = sim_rng_below(&x->rng, 8) == 0;
    int ret = GR_ENOMEM;

    if (live->kind == SIM_LIVE_SG) {
        if (sim_rng_below(&x->rng, 8) == 0)
            refuse_list(x, client, live);
        sim_note_call(x, client, "gr_dma_set_seg_limits",
                      gr_dma_set_seg_limits(&client->dev->device, live->max_len, live->boundary));
    }
    if (starve) {
        ret = attempt(x, client, live, true);
        if (!ret)
            settle(x, client, live);
        else if (ret == GR_EOPNOTSUPP && live->kind == SIM_LIVE_COHERENT &&
                 !client->dev->tree.coherent)
            ret = GR_ENOMEM; /* the uncached CPU mapping was made to fail */
    }
    return ret == GR_ENOMEM ? map_masked(x, client, live) : ret;
}

static void count_live(struct sim_exercise *x, struct sim_client *client,
                       const struct sim_live *live)
{
    client->live_count++;
    client->result->maps++;
    client->result->bytes += live->len;
    if (live->kind == SIM_LIVE_SG) {
        x->tally->lists++;
        x->tally->segments += live->count;
    }
    x->tally->coherent += live->kind == SIM_LIVE_COHERENT;
}

/* A hostile device writes while the CPU owns the buffer, and then while the device owns it. */
static void endure_writes(struct sim_exercise *x, struct sim_client *client, struct sim_live *live)
{
    bool apart = live->kind !=
                 SIM_LIVE_COHERENT; /* what the device writes does not reach what the CPU sees */

    if (!(live->dir & GR_DMA_FROM_DEVICE))
        return;
    sim_sync_all(x, client, live, true);
    sim_attack_write(x, client, live);
    for (unsigned i = 0; i < live->npieces; i++)
        apart = apart && live->pieces[i].bounced;
    x->tally->mismatched_bytes += apart ? sim_cpu_compare(x, live) : 0;
    sim_check_guards(x, client, live);
    sim_device_write(x, client, 0, live);
    sim_sync_all(x, client, live, true);
    x->tally->mismatched_bytes += sim_cpu_compare(x, live);
    sim_sync_all(x, client, live, false);
}

bool sim_live_make(struct sim_exercise *x, struct sim_client *client, enum sim_live_kind kind)
{
    struct sim_live *live = &client->live[client->live_count];
    unsigned streams = client->dev->tree.nstreams;
    int ret;

    *live = (struct sim_live){.kind = kind};
    client->tried++;
    ret = prepare(x, client, live, client->tried_kind[kind]++);
    if (!ret) {
        if (kind != SIM_LIVE_COHERENT) {
            sim_fill_guards(x, live);
            sim_cpu_fill(x, live);
        }
        ret = map_live(x, client, live);
        if (ret && !may_refuse(x, client, live, ret))
            sim_note_call(x, client, name_of_call(live, true), ret);
    }
    if (ret) {
        client->refusal = ret;
        free_live(x, live);
        return false;
    }
    count_live(x, client, live);
    if (x->attack) {
        sim_attack_padding(x, client, live);
        sim_attack_edges(x, client, live);
        sim_attack_sweep(x, client);
    }
    if (kind == SIM_LIVE_COHERENT) {
        sim_check_zero(x, client, (unsigned)sim_rng_below(&x->rng, streams), live);
        sim_cpu_fill(x, live);
    } else if (live->attrs & GR_DMA_SKIP_SYNC) {
        sim_sync_all(x, client, live, false);
    }
    for (unsigned s = 0; s < streams; s++)
        sim_work_through(x, client, s, live);
    if (x->attack)
        endure_writes(x, client, live);
    sim_probe_gaps(x, client, live);
    sim_check_guards(x, client, live);
    return true;
}

void sim_live_end(struct sim_exercise *x, struct sim_client *client, unsigned index)
{
    struct sim_live live = client->live[index];
    unsigned stream = (unsigned)sim_rng_below(&x->rng, client->dev->tree.nstreams);
    int ret;

    /* Only the unmap makes the device's last write visible. */
    if (live.dir & GR_DMA_FROM_DEVICE)
        sim_device_write(x, client, stream, &live);
    if (live.attrs & GR_DMA_SKIP_SYNC)
        sim_sync_all(x, client, &live, true);
    if (live.kind == SIM_LIVE_COHERENT) { /* its memory goes with it */
        x->tally->mismatched_bytes += sim_cpu_compare(x, &live);
        sim_check_guards(x, client, &live);
    }
    sim_begin_change(x, client, NULL);
    ret = call_unmap(client, &live);
    sim_end_change(x);
    sim_note_call(x, client, name_of_call(&live, false), ret);
    client->live[index] = client->live[--client->live_count];
    if (x->attack) {
        sim_attack_edges(x, client, &live);
        sim_attack_sweep(x, client);
    }
    sim_probe_after(x, client, &live);
    if (live.kind != SIM_LIVE_COHERENT) {
        x->tally->mismatched_bytes += sim_cpu_compare(x, &live);
        sim_check_guards(x, client, &live);
    }
    free_live(x, &live);
}
