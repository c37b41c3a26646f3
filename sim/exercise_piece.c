/* SPDX-License-Identifier: MIT */
/*
 * Where the bytes of a mapping lie for the device, and what its leaves let through around them:
 * what docs/DESIGN.md promises of isolation, worked out here a second time.
 */
#include "exercise.h"

#include <stdlib.h>

#define ACCESS_UNIT 8u /* the default of struct gr_device_config */

uint64_t sim_granule(const struct sim_client *client)
{
    return UINT64_C(1) << gr_domain_granule_lg2(client->dev->active);
}

uint64_t sim_access_unit(const struct sim_client *client)
{
    uint64_t window = sim_granule(client) >> 12; /* DART.md 4.4 */
    uint64_t unit = client->dev->device.config.access_unit;

    unit = unit ? unit : ACCESS_UNIT;
    return unit > window ? unit : window;
}

/* May the device reach whole granules at the ends of its buffers? */
static bool exposes(const struct sim_client *client)
{
    return client->dev->isolation == GR_ISOLATION_EXPOSE;
}

int sim_physical(const struct sim_client *client, gr_iova_t iova, gr_pa_t *out_pa)
{
    if (client->dev->mode == GR_DOMAIN_IDENTITY) {
        *out_pa = iova;
        return 0;
    }
    return gr_domain_iova_to_phys(client->dev->active, iova, out_pa);
}

static void add(struct sim_live *live, const struct sim_piece *piece)
{
    live->pieces[live->npieces++] = *piece;
}

/* Parts that touch, as one. */
struct run {
    gr_iova_t iova;
    gr_pa_t pa;
    uint64_t len;
    uint64_t over; /* bytes that the device may read beyond it */
};

/*
 * Can a window let through bytes [at, at + len) of a run, which lie in one granule, and the `over`
 * bytes that may be read beyond, and nothing else?
 */
static bool fits_window(const struct sim_client *client, uint64_t at, uint64_t len, uint64_t over,
                        uint64_t granule, struct sim_piece *piece)
{
    uint64_t unit = sim_access_unit(client);
    uint64_t first = at & (granule - 1);
    uint64_t end = first + len + over;

    if (client->dev->isolation != GR_ISOLATION_WINDOW ||
        (client->dev->untrusted && (((first | (first + len)) & (unit - 1)) != 0 || over != 0)))
        return false;
    first &= ~(unit - 1);
    end = (end + unit - 1) & ~(unit - 1);
    end = end < granule ? end : granule;
    piece->first = (at & ~(granule - 1)) + first;
    piece->last = (at & ~(granule - 1)) + (end - 1);
    piece->narrow = piece->last - piece->first != granule - 1;
    return true;
}

/* Add the bytes [iova, iova + len) of a run, which lie in one granule. */
static void add_end(const struct sim_client *client, struct sim_live *live, const struct run *run,
                    gr_iova_t iova, uint64_t len, uint64_t over)
{
    uint64_t granule = sim_granule(client);
    struct sim_piece piece = {
        .iova = iova,
        .pa = run->pa + (iova - run->iova),
        .len = len,
        .over = over,
        .first = iova & ~(granule - 1),
        .last = (iova + (len + over - 1)) | (granule - 1),
    };

    if (len == 0 || piece.last - piece.first != granule - 1 ||
        (!exposes(client) && !fits_window(client, iova, len, over, granule, &piece))) {
        piece.first = iova & ~(granule - 1);
        piece.last = (iova + (len + over - 1)) | (granule - 1);
        piece.bounced = true;
        if (sim_physical(client, piece.first, &piece.pa) != 0)
            piece.pa = 0; /* no slot is there: sim_check_piece() says so */
        piece.pa += iova - piece.first;
    }
    add(live, &piece);
}

/* Add a run. Only bytes in its first and last granule may be bounced or behind a window. */
static void add_run(const struct sim_client *client, struct sim_live *live, const struct run *run)
{
    uint64_t granule = sim_granule(client);
    gr_iova_t end = run->iova + run->len;
    gr_iova_t middle = (run->iova + granule - 1) & ~(granule - 1);
    gr_iova_t tail = end & ~(granule - 1);

    if (exposes(client) && run->over == 0) {
        middle = run->iova & ~(granule - 1);
        tail = (end + granule - 1) & ~(granule - 1);
    } else if (tail < middle || (run->iova != middle && middle == end)) {
        add_end(client, live, run, run->iova, run->len, run->over);
        return;
    } else if (run->iova != middle) {
        add_end(client, live, run, run->iova, middle - run->iova, 0);
    }
    if (middle != tail) {
        gr_iova_t first = middle > run->iova ? middle : run->iova;
        gr_iova_t last = (tail - 1 < end - 1 ? tail : end) - 1;
        struct sim_piece piece = {
            .iova = first,
            .pa = run->pa + (first - run->iova),
            .len = last - first + 1,
            .first = middle,
            .last = tail - 1,
        };

        add(live, &piece);
    }
    if (tail < end || (tail == end && run->over != 0))
        add_end(client, live, run, tail, end - tail, run->over);
}

/* A part in a LINEAR or IDENTITY domain: in place, or bounced as a whole. */
static void add_direct(const struct sim_client *client, struct sim_live *live,
                       const struct sim_part *part)
{
    struct sim_piece piece = {
        .iova = part->iova,
        .len = part->len,
        .pa = part->iova + client->dev->active->direct_offset,
        .first = part->iova,
        .last = part->iova + (part->len - 1),
    };

    piece.bounced = piece.pa != part->pa;
    add(live, &piece);
}

bool sim_place_pieces(const struct sim_client *client, struct sim_live *live)
{
    struct run run = {0};

    live->pieces = calloc(live->count, 3 * sizeof(*live->pieces));
    live->npieces = 0;
    for (unsigned i = 0; live->pieces && i < live->count; i++) {
        const struct sim_part *const part = &live->parts[i];

        if (sim_is_direct(client->dev)) {
            add_direct(client, live, part);
            continue;
        }
        if (i == 0 || part->iova != run.iova + run.len || part->pa != run.pa + run.len)
            run = (struct run){.iova = part->iova, .pa = part->pa};
        run.len += part->len;
        if (i + 1 == live->count || part[1].iova != run.iova + run.len ||
            part[1].pa != run.pa + run.len) {
            run.over = client->dev->device.config.overread;
            if (live->kind == SIM_LIVE_COHERENT) { /* a coherent buffer owns its granules */
                uint64_t mask = sim_granule(client) - 1;
                struct sim_piece whole = {
                    .iova = run.iova,
                    .pa = run.pa,
                    .len = run.len,
                    .over = run.over,
                    .first = run.iova & ~mask,
                    .last = (run.iova + (run.len + run.over - 1)) | mask,
                };

                add(live, &whole);
            } else {
                add_run(client, live, &run);
            }
        }
    }
    return live->pieces != NULL;
}

/* Does the device reach these bytes without bouncing? */
static bool is_within_reach(const struct sim_client *client, gr_pa_t pa, uint64_t len)
{
    const struct gr_domain *const domain = client->dev->active;
    gr_iova_t iova = pa - domain->direct_offset;
    gr_pa_t at;

    return domain->direct.first <= pa && pa + (len - 1) <= domain->direct.last &&
           iova + (len - 1) <= client->dev->device.dma_mask &&
           sim_physical(client, iova, &at) == 0 && sim_physical(client, iova + (len - 1), &at) == 0;
}

const char *sim_check_piece(struct sim_exercise *x, const struct sim_client *client,
                            const struct sim_piece *piece, gr_pa_t pa)
{
    uint64_t kept = sim_is_direct(client->dev) ? 4095 : sim_granule(client) - 1;
    uint64_t len = piece->len ? piece->len : 1;
    gr_pa_t at[2] = {0, 0};

    if (sim_physical(client, piece->iova, &at[0]) != 0 ||
        sim_physical(client, piece->iova + (len - 1), &at[1]) != 0 || at[1] - at[0] != len - 1)
        return "not mapped, or not to contiguous physical addresses";
    if (!piece->bounced)
        return at[0] == piece->pa ? NULL : "translated to another physical address";
    if (host_use_of(x->machine->host, at[0]) != HOST_LIBRARY || at[0] != piece->pa)
        return "not bounced, although it must be";
    if (piece->len && ((at[0] ^ pa) & kept) != 0)
        return "the bounce slot has another offset in its granule";
    return sim_is_direct(client->dev) && is_within_reach(client, pa, len)
               ? "bounced, although the device reaches the buffer"
               : NULL;
}

/* ---- What checks and probes both need ---- */

uint64_t sim_draw_length(struct sim_exercise *x, uint64_t largest)
{
    unsigned bits = 0;
    uint64_t length;

    while (largest >> (bits + 1))
        bits++;
    length = UINT64_C(1) << sim_rng_below(&x->rng, bits + 1);
    length += sim_rng_below(&x->rng, length);
    return length < largest ? length : largest;
}

gr_iova_t sim_random_byte(struct sim_exercise *x, const struct sim_live *live)
{
    const struct sim_part *const part = &live->parts[sim_rng_below(&x->rng, live->count)];

    return part->iova + sim_rng_below(&x->rng, part->len);
}

void sim_note_call(struct sim_exercise *x, const struct sim_client *client, const char *call,
                   int ret)
{
    if (ret)
        sim_problem(x->machine, "%.120s: %s() failed: %s", client->dev->tree.path, call,
                    gr_strerror(ret));
}
