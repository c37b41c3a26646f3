/* SPDX-License-Identifier: MIT */
#include "attack.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define GUARD EXERCISE_GUARD
#define LARGEST EXERCISE_LARGEST
#define NEIGHBOURS 8u /* segments of a list that touch in memory, at most */

/* ---- What is to be mapped ---- */

static void forget(struct exercise *x, struct live *live)
{
    for (unsigned i = 0; i < live->extent_count; i++) {
        host_ram_free(x->machine->host, live->extents[i].alloc);
    }
    free(live->parts);
    free(live->pieces);
    free(live->extents);
    free(live->segs);
    free(live->list.out);
}

static int make_room(struct live *live, unsigned count)
{
    live->parts = calloc(count, sizeof(*live->parts));
    live->extents = calloc(count, sizeof(*live->extents));
    live->segs = calloc(count, sizeof(*live->segs));
    live->list.out = calloc(count, sizeof(*live->list.out));
    live->list.segs = live->segs;
    return live->parts && live->extents && live->segs && live->list.out ? 0 : GR_ENOMEM;
}

static void add_part(struct live *live, gr_pa_t pa, uint64_t len)
{
    live->parts[live->count] = (struct part){.pa = pa, .len = len};
    live->segs[live->count] = (struct gr_seg){.pa = pa, .len = len};
    live->count++;
    live->list.count = live->count;
    live->len += len;
}

/*
 * Of `len` bytes at `pa`, as many as one segment may have under the limits; the bits `kept` of its
 * address are the IOVA's, too.
 */
static uint64_t fit(const struct live *live, uint64_t kept, gr_pa_t pa, uint64_t len)
{
    if (live->max_len && len > live->max_len) {
        len = live->max_len;
    }
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
 * Take memory with its guards from somewhere in RAM and make parts of it that touch, of at most the
 * lengths given. `unit`, of their addresses and lengths, is that of edge_unit(), the CPU's page or
 * the granule.
 */
static int take_extent(struct exercise *x, const struct client *client, struct live *live,
                       uint64_t unit, const uint64_t *lens, unsigned count)
{
    struct extent *extent = &live->extents[live->extent_count];
    uint64_t granule = granule_of(client);
    uint64_t page = x->machine->options.cpu_page > granule ? x->machine->options.cpu_page : granule;
    uint64_t before = unit * (1 + rng_below(&x->rng, page / unit));
    uint64_t kept = machine_is_direct(client->dev) ? UINT64_MAX : granule - 1;
    uint64_t size = 0;
    int rc;

    if (unit < GUARD) {
        before += GUARD;
        before &= rng_below(&x->rng, 4) == 0 ? ~(uint64_t)(GUARD - 1) : UINT64_MAX;
    }
    for (unsigned i = 0; i < count; i++) {
        size += round_up(lens[i], unit);
    }
    rc = host_ram_alloc(x->machine->host, before + size + GUARD, unit == granule ? granule : 0,
                        &extent->alloc);
    if (rc != 0) {
        return rc;
    }
    extent->pa = extent->alloc + before;
    for (unsigned i = 0; i < count; i++) {
        uint64_t len = fit(live, kept, extent->pa + extent->len, round_up(lens[i], unit));

        add_part(live, extent->pa + extent->len, len);
        extent->len += len;
    }
    live->extent_count++;
    return 0;
}

/* Of addresses and lengths: 1, but where windows alone are to keep a hostile device out. */
static uint64_t edge_unit(const struct exercise *x, const struct client *client)
{
    return client->dev->untrusted && x->machine->options.isolation == GR_ISOLATION_WINDOW
               ? access_unit(client)
               : 1;
}

static int prepare_map(struct exercise *x, const struct client *client, struct live *live,
                       unsigned nth)
{
    uint64_t granule = granule_of(client);
    uint64_t page = x->machine->options.cpu_page;
    const uint64_t lengths[] = {
        1,    granule - 1, granule, granule + 1,
        page, page + 1,    LARGEST}; /* easily got wrong: these come first */
    uint64_t len =
        nth < sizeof(lengths) / sizeof(lengths[0]) ? lengths[nth] : draw_length(x, LARGEST);
    int rc = make_room(live, 1);

    return rc != 0 ? rc : take_extent(x, client, live, edge_unit(x, client), &len, 1);
}

static void draw_limits(struct exercise *x, const struct client *client, struct live *live)
{
    uint64_t unit = edge_unit(x, client);

    if (rng_below(&x->rng, 2) == 0) { /* 64 bytes to 1 MiB */
        live->boundary = UINT64_C(64) << rng_below(&x->rng, 15);
    }
    if (rng_below(&x->rng, 2) == 0) {
        live->max_len = 64 + rng_below(&x->rng, 1 << rng_below(&x->rng, 19));
    }
    live->boundary = live->boundary && live->boundary < unit ? unit : live->boundary;
    live->max_len = round_up(live->max_len, unit);
}

/* Segments in extents all over memory: of odd bytes, of pages and of granules, and neighbours. */
static int prepare_list(struct exercise *x, const struct client *client, struct live *live,
                        unsigned nth)
{
    static const unsigned counts[] = {1, 2, EXERCISE_SEGMENTS}; /* these come first */
    uint64_t granule = granule_of(client);
    uint64_t edge = edge_unit(x, client);
    const uint64_t units[] = {edge, x->machine->options.cpu_page, granule};
    unsigned count = nth < sizeof(counts) / sizeof(counts[0])
                         ? counts[nth]
                         : (unsigned)draw_length(x, EXERCISE_SEGMENTS);
    int rc = make_room(live, count);

    draw_limits(x, client, live);
    while (rc == 0 && live->count < count) {
        unsigned left = count - live->count;
        uint64_t share = live->len < LARGEST ? 2 * (LARGEST - live->len) / left : 0;
        uint64_t unit = units[rng_below(&x->rng, 3)];
        uint64_t lens[NEIGHBOURS];
        unsigned n = rng_below(&x->rng, 2) ? 1 : 1 + (unsigned)rng_below(&x->rng, NEIGHBOURS);

        n = n < left ? n : left;
        unit = unit <= share ? unit : edge;
        for (unsigned i = 0; i < n; i++) {
            lens[i] = draw_length(x, share ? share : 1);
        }
        rc = take_extent(x, client, live, unit, lens, n);
    }
    return rc;
}

static int prepare_coherent(struct exercise *x, const struct client *client, struct live *live,
                            unsigned nth)
{
    uint64_t granule = granule_of(client);
    uint64_t page = x->machine->options.cpu_page;
    const uint64_t sizes[] = {1,       64,          page - 1, page,   granule - 1,
                              granule, granule + 1, 12345,    LARGEST}; /* these come first */
    int rc = make_room(live, 1);

    if (rc == 0) {
        add_part(live, 0,
                 nth < sizeof(sizes) / sizeof(sizes[0]) ? sizes[nth] : draw_length(x, LARGEST));
    }
    return rc;
}

static int prepare(struct exercise *x, const struct client *client, struct live *live, unsigned nth)
{
    live->dir = (enum gr_dma_dir)(1 + rng_below(&x->rng, 3));
    live->attrs = rng_below(&x->rng, 8) == 0 ? GR_DMA_UNCACHED : 0;
    if (live->kind == LIVE_COHERENT) {
        live->dir = GR_DMA_BIDIRECTIONAL;
        return prepare_coherent(x, client, live, nth);
    }
    live->attrs |= rng_below(&x->rng, 8) == 0 ? GR_DMA_SKIP_SYNC : 0;
    return live->kind == LIVE_SG ? prepare_list(x, client, live, nth)
                                 : prepare_map(x, client, live, nth);
}

/* ---- What the library says ---- */

__attribute__((format(printf, 3, 4))) static void
wrong(struct exercise *x, const struct client *client, const char *format, ...)
{
    char text[128];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    machine_problem(x->machine, "%.120s: %s", client->dev->tree.path, text);
}

/* Does [at, at + len) cross a multiple of the boundary? */
static bool crosses(uint64_t at, uint64_t len, uint64_t boundary)
{
    return boundary && (at ^ (at + (len - 1))) & ~(boundary - 1);
}

/* Take each part's IOVA from a list's output. False: order, lengths or count are not as promised.
 */
static bool place_list(struct live *live)
{
    const struct gr_dma_list *list = &live->list;
    unsigned out = 0;
    uint64_t used = 0;

    for (unsigned i = 0; i < live->count; i++) {
        struct part *part = &live->parts[i];

        if (i > 0 && used == list->out[out].len) {
            out++;
            used = 0;
        }
        if (live->segs[i].pa != part->pa || live->segs[i].len != part->len ||
            out == list->out_count || part->len > list->out[out].len - used) {
            return false;
        }
        part->iova = list->out[out].iova + used;
        used += part->len;
    }
    return out + 1 == list->out_count && used == list->out[out].len;
}

/* Can a part share an output with the one before it? */
static bool joins(const struct client *client, const struct part *part)
{
    uint64_t mask = granule_of(client) - 1;
    gr_pa_t end = part[-1].pa + part[-1].len;

    if (machine_is_direct(client->dev)) { /* in memory, both */
        uint64_t offset = client->dev->active->direct_offset;

        return end == part->pa && part->iova + offset == part->pa &&
               part[-1].iova + offset == part[-1].pa;
    }
    return end == part->pa ||
           (((end | part->pa) & mask) == 0 && client->dev->device.config.overread == 0);
}

/* How many outputs a list without limits has: all that can share one do. */
static unsigned fewest_outputs(const struct client *client, const struct live *live)
{
    unsigned count = 1;

    for (unsigned i = 1; i < live->count; i++) {
        count += !joins(client, &live->parts[i]);
    }
    return count;
}

static bool limits_kept(const struct client *client, const struct live *live)
{
    for (unsigned i = 0; i < live->list.out_count; i++) {
        const struct gr_dma_seg *out = &live->list.out[i];

        if ((live->max_len && out->len > live->max_len) ||
            crosses(out->iova, out->len, live->boundary)) {
            return false;
        }
    }
    return live->max_len || live->boundary || live->list.out_count == fewest_outputs(client, live);
}

static uint64_t natural_mask(uint64_t size)
{
    uint64_t mask = 0;

    while (mask < size - 1) {
        mask = mask * 2 + 1;
    }
    return mask;
}

/* Where a piece's first byte is for the CPU. */
static gr_pa_t memory_of(const struct live *live, const struct piece *piece)
{
    for (unsigned i = 0; i < live->count; i++) {
        const struct part *part = &live->parts[i];

        if (piece->iova - part->iova < part->len) {
            return part->pa + (piece->iova - part->iova);
        }
    }
    return 0; /* it has none: it is what may be read beyond */
}

/* Where it is now, of a mapping that was just made, and whether that is where it may be. */
static void settle(struct exercise *x, struct client *client, struct live *live)
{
    uint64_t mask = granule_of(client) - 1;

    if (live->kind == LIVE_SG) {
        if (!place_list(live)) {
            wrong(x, client, "the mapped list is not the given list in order");
        } else if (!limits_kept(client, live)) {
            wrong(x, client, "the mapped list exceeds the device's limits, or is not merged");
        }
    }
    if (live->kind == LIVE_COHERENT) {
        uint64_t natural = natural_mask(live->len);
        struct part *part = &live->parts[0];

        if (!host_pa_of(x->machine->host, live->cpu, &part->pa) || part->iova & natural ||
            part->pa & (natural | mask) || (uintptr_t)live->cpu & (natural | mask)) {
            wrong(x, client, "a coherent buffer of %llu bytes is not aligned",
                  (unsigned long long)live->len);
        }
    }
    live->first = UINT64_MAX;
    live->last = 0;
    if (!place_pieces(client, live)) {
        wrong(x, client, "out of memory: close something else and try again");
        return;
    }
    for (unsigned i = 0; i < live->npieces; i++) {
        const struct piece *piece = &live->pieces[i];
        const char *why = check_piece(x, client, piece, memory_of(live, piece));
        gr_iova_t last = (piece->iova + (piece->len + piece->over - 1)) | mask;

        if (why) {
            wrong(x, client, "%llu bytes at IOVA 0x%llx: %s", (unsigned long long)piece->len,
                  (unsigned long long)piece->iova, why);
        }
        live->first = (piece->iova & ~mask) < live->first ? piece->iova & ~mask : live->first;
        live->last = last > live->last ? last : live->last;
    }
}

/* ---- Mapping ---- */

static int call_map(const struct client *client, struct live *live)
{
    struct gr_device *device = &client->dev->device;
    struct part *part = &live->parts[0];
    void *cpu = NULL;
    int rc;

    switch (live->kind) {
    case LIVE_MAP:
        return gr_dma_map(device, part->pa, part->len, live->dir, live->attrs, &part->iova);
    case LIVE_SG:
        return gr_dma_map_sg(device, &live->list, live->dir, live->attrs);
    case LIVE_COHERENT:
        rc = gr_dma_alloc(device, part->len, live->attrs, &cpu, &part->iova);
        live->cpu = cpu;
        return rc;
    case LIVE_KINDS:
        break;
    }
    return GR_EINVAL;
}

static int call_unmap(const struct client *client, const struct live *live)
{
    struct gr_device *device = &client->dev->device;
    const struct part *part = &live->parts[0];

    switch (live->kind) {
    case LIVE_MAP:
        return gr_dma_unmap(device, part->iova, part->len, live->dir, live->attrs);
    case LIVE_SG:
        return gr_dma_unmap_sg(device, &live->list, live->dir, live->attrs);
    case LIVE_COHERENT:
        return gr_dma_free(device, part->len, live->attrs, live->cpu, part->iova);
    case LIVE_KINDS:
        break;
    }
    return GR_EINVAL;
}

static const char *name_of_call(const struct live *live, bool map)
{
    static const char *const names[LIVE_KINDS][2] = {
        [LIVE_MAP] = {"gr_dma_unmap", "gr_dma_map"},
        [LIVE_SG] = {"gr_dma_unmap_sg", "gr_dma_map_sg"},
        [LIVE_COHERENT] = {"gr_dma_free", "gr_dma_alloc"},
    };

    return names[live->kind][map];
}

/* Call the library; with too little memory if `starve`. A refusal must not leave a trace. */
static int attempt(struct exercise *x, struct client *client, struct live *live, bool starve)
{
    struct host *host = x->machine->host;
    struct gr_domain_stats before;
    struct gr_domain_stats after;
    struct gr_bounce_stats slots;
    struct gr_bounce_stats left;
    int rc;

    note_rc(x, client, "gr_domain_flush", gr_domain_flush(client->dev->active));
    gr_domain_stats(client->dev->active, &before);
    gr_bounce_stats(&x->machine->pool, &slots);
    begin_change(x, client, live);
    if (starve) {
        host_fail_alloc(host, 1 + rng_below(&x->rng, 4));
        host_fail_uncached(host, rng_below(&x->rng, 2));
    }
    rc = call_map(client, live);
    host_fail_alloc(host, 0);
    host_fail_uncached(host, 0);
    end_change(x);
    if (rc != 0) {
        gr_domain_stats(client->dev->active, &after);
        gr_bounce_stats(&x->machine->pool, &left);
        if (slots.slots != left.slots || before.iova.allocations != after.iova.allocations ||
            before.iova.held != after.iova.held ||
            (before.iova.reserved == 0 && before.tables != after.tables)) {
            wrong(x, client, "%s() failed (%s) and left slots, IOVAs or tables behind",
                  name_of_call(live, true), gr_strerror(rc));
        }
    }
    return rc;
}

/* Is the pool to blame, which cannot give what the mapping needs? */
static bool pool_is_short(const struct exercise *x, const struct client *client,
                          const struct live *live)
{
    struct gr_bounce_stats stats;

    gr_bounce_stats(&x->machine->pool, &stats);
    for (unsigned i = 0; machine_is_direct(client->dev) && i < live->count; i++) {
        if (live->parts[i].len > GR_BOUNCE_CHUNK - 4096) {
            return true; /* longer than a slot */
        }
    }
    return stats.memory == stats.limit;
}

/* Is this refusal right? Otherwise it is a problem. */
static bool may_refuse(const struct exercise *x, const struct client *client,
                       const struct live *live, int rc)
{
    unsigned pa_bits = client->dev->active->table.pa_bits;
    bool beyond = false;

    for (unsigned i = 0; i < live->count; i++) {
        beyond = beyond || (live->parts[i].pa + live->parts[i].len - 1) >> pa_bits != 0;
    }
    return rc == GR_ENOSPC || rc == GR_ENOMEM || (rc == GR_EFAULT && beyond) ||
           (rc == GR_ENOBUFS && pool_is_short(x, client, live)) ||
           /* What the device reaches has holes, and slots and buffers come from where they may. */
           (rc == GR_ERANGE && machine_is_direct(client->dev)) ||
           /* fit() took memory's boundaries for the device's. */
           (rc == GR_EINVAL && live->boundary &&
            (client->dev->active->direct_offset & (live->boundary - 1)) != 0);
}

/* Limits under which its longest segment is too long: the list is refused. */
static void refuse_list(struct exercise *x, struct client *client, struct live *live)
{
    uint64_t longest = 0;
    int rc;

    for (unsigned i = 0; i < live->count; i++) {
        longest = live->parts[i].len > longest ? live->parts[i].len : longest;
    }
    if (longest == 1) {
        return;
    }
    note_rc(x, client, "gr_dma_set_seg_limits",
            gr_dma_set_seg_limits(&client->dev->device, longest - 1, 0));
    rc = attempt(x, client, live, false);
    if (rc != GR_EINVAL && (rc == 0 || !may_refuse(x, client, live, rc))) {
        wrong(x, client, "gr_dma_map_sg() of a segment over the limit returned: %s",
              gr_strerror(rc));
    }
    if (rc == 0) {
        note_rc(x, client, "gr_dma_unmap_sg", call_unmap(client, live));
    }
}

/* A mask under which there is less room; now and then. The whole one otherwise. */
static uint64_t draw_mask(struct exercise *x, const struct client *client)
{
    const struct gr_device *device = &client->dev->device;
    uint64_t required = gr_dma_required_mask(device);
    uint64_t mask = required < device->dma_mask ? required : device->dma_mask;

    if (rng_below(&x->rng, 4) != 0 || machine_is_direct(client->dev)) {
        return device->dma_mask;
    }
    mask >>= 1 + rng_below(&x->rng, 8);
    return mask < client->dev->active->aperture.first + 64 * granule_of(client) ? device->dma_mask
                                                                                : mask;
}

/* Under a narrow mask first, if one is drawn, then the device's own. */
static int map_masked(struct exercise *x, struct client *client, struct live *live)
{
    struct gr_device *device = &client->dev->device;
    uint64_t whole = device->dma_mask;
    uint64_t mask = draw_mask(x, client);
    int rc = GR_ENOSPC;

    if (mask != whole) {
        note_rc(x, client, "gr_dma_set_mask", gr_dma_set_mask(device, mask));
        rc = attempt(x, client, live, false);
        note_rc(x, client, "gr_dma_set_mask", gr_dma_set_mask(device, whole));
        if (rc == 0) {
            settle(x, client, live);
            if (live->last > mask) {
                wrong(x, client, "IOVA 0x%llx is above the mask 0x%llx",
                      (unsigned long long)live->last, (unsigned long long)mask);
            }
        }
    }
    if (rc == GR_ENOSPC) {
        rc = attempt(x, client, live, false);
        if (rc == 0) {
            settle(x, client, live);
        }
    }
    return rc;
}

static int map_live(struct exercise *x, struct client *client, struct live *live)
{
    bool starve = rng_below(&x->rng, 8) == 0;
    int rc = GR_ENOMEM;

    if (live->kind == LIVE_SG) {
        if (rng_below(&x->rng, 8) == 0) {
            refuse_list(x, client, live);
        }
        note_rc(x, client, "gr_dma_set_seg_limits",
                gr_dma_set_seg_limits(&client->dev->device, live->max_len, live->boundary));
    }
    if (starve) {
        rc = attempt(x, client, live, true);
        if (rc == 0) {
            settle(x, client, live);
        } else if (rc == GR_EOPNOTSUPP && live->kind == LIVE_COHERENT &&
                   !client->dev->tree.coherent) {
            rc = GR_ENOMEM; /* the uncached mapping that was made to fail */
        }
    }
    return rc == GR_ENOMEM ? map_masked(x, client, live) : rc;
}

static void count_live(struct exercise *x, struct client *client, const struct live *live)
{
    client->live_count++;
    client->result->maps++;
    client->result->bytes += live->len;
    if (live->kind == LIVE_SG) {
        x->report->lists++;
        x->report->segments += live->count;
    }
    x->report->coherent += live->kind == LIVE_COHERENT;
}

/* While it is the CPU's, and then while it is the device's, that writes what and where it likes. */
static void endure_writes(struct exercise *x, struct client *client, struct live *live)
{
    bool apart = live->kind != LIVE_COHERENT; /* what the device writes, from what the CPU sees */

    if (!(live->dir & GR_DMA_FROM_DEVICE)) {
        return;
    }
    sync_all(x, client, live, true);
    attack_write(x, client, live);
    for (unsigned i = 0; i < live->npieces; i++) {
        apart = apart && live->pieces[i].bounced;
    }
    x->report->mismatched_bytes += apart ? cpu_compare(x, live) : 0;
    check_guards(x, client, live);
    device_write(x, client, 0, live);
    sync_all(x, client, live, true);
    x->report->mismatched_bytes += cpu_compare(x, live);
    sync_all(x, client, live, false);
}

bool live_make(struct exercise *x, struct client *client, enum live_kind kind)
{
    struct live *live = &client->live[client->live_count];
    unsigned streams = client->dev->tree.nstreams;
    int rc;

    *live = (struct live){.kind = kind};
    client->tried++;
    rc = prepare(x, client, live, client->tried_kind[kind]++);
    if (rc == 0) {
        if (kind != LIVE_COHERENT) {
            fill_guards(x, live);
            cpu_fill(x, live);
        }
        rc = map_live(x, client, live);
        if (rc != 0 && !may_refuse(x, client, live, rc)) {
            note_rc(x, client, name_of_call(live, true), rc);
        }
    }
    if (rc != 0) {
        client->refusal = rc;
        forget(x, live);
        return false;
    }
    count_live(x, client, live);
    if (x->attack) {
        attack_padding(x, client, live);
        attack_edges(x, client, live);
        attack_sweep(x, client);
    }
    if (kind == LIVE_COHERENT) {
        check_zero(x, client, (unsigned)rng_below(&x->rng, streams), live);
        cpu_fill(x, live);
    } else if (live->attrs & GR_DMA_SKIP_SYNC) {
        sync_all(x, client, live, false);
    }
    for (unsigned s = 0; s < streams; s++) {
        work_through(x, client, s, live);
    }
    if (x->attack) {
        endure_writes(x, client, live);
    }
    probe_gaps(x, client, live);
    check_guards(x, client, live);
    return true;
}

void live_end(struct exercise *x, struct client *client, unsigned index)
{
    struct live live = client->live[index];
    unsigned stream = (unsigned)rng_below(&x->rng, client->dev->tree.nstreams);
    int rc;

    /* What the device writes last is what only the unmap makes visible. */
    if (live.dir & GR_DMA_FROM_DEVICE) {
        device_write(x, client, stream, &live);
    }
    if (live.attrs & GR_DMA_SKIP_SYNC) {
        sync_all(x, client, &live, true);
    }
    if (live.kind == LIVE_COHERENT) { /* its memory goes with it */
        x->report->mismatched_bytes += cpu_compare(x, &live);
        check_guards(x, client, &live);
    }
    begin_change(x, client, NULL);
    rc = call_unmap(client, &live);
    end_change(x);
    note_rc(x, client, name_of_call(&live, false), rc);
    client->live[index] = client->live[--client->live_count];
    if (x->attack) {
        attack_edges(x, client, &live);
        attack_sweep(x, client);
    }
    probe_after(x, client, &live);
    if (live.kind != LIVE_COHERENT) {
        x->report->mismatched_bytes += cpu_compare(x, &live);
        check_guards(x, client, &live);
    }
    forget(x, &live);
}
