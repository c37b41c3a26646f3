/* SPDX-License-Identifier: MIT */
#include "attack.h"
#include "snapshot_write.h"

#include <stdlib.h>

#define TRIES 120u /* mappings per device and run, on a machine with up to CROWD devices */
#define TRIES_FEW 16u
#define TRIES_ATTACK 20u /* each mapping with all that attack.c tries */
#define LIVE_ATTACK 6u
#define CROWD 16u
#define RETRIES                                                                                    \
    4u /* attempts for each kind of mapping that a device lacks at the busiest moment              \
        */

static void tell_progress(const struct sim_exercise *x)
{
    unsigned tried = 0;

    for (unsigned i = 0; i < x->nclients; i++)
        tried += x->clients[i].tried;
    x->progress(tried, x->nclients * x->tries);
}

/* ---- Turns ---- */

/* Every kind takes its turn, so that each run has the first, special lengths of every kind. */
static enum sim_live_kind next_kind(const struct sim_client *client)
{
    static const enum sim_live_kind order[] = {
        SIM_LIVE_MAP, SIM_LIVE_SG,  SIM_LIVE_COHERENT, SIM_LIVE_MAP, SIM_LIVE_SG,
        SIM_LIVE_MAP, SIM_LIVE_MAP, SIM_LIVE_COHERENT, SIM_LIVE_SG,  SIM_LIVE_MAP,
    };

    return order[client->tried % (sizeof(order) / sizeof(order[0]))];
}

/* One step of one device: its live mappings grow to the most, shrink to a few, and grow again. */
static void step(struct sim_exercise *x, struct sim_client *client)
{
    uint64_t roll = sim_rng_below(&x->rng, 100);
    bool can_map = client->tried < x->tries && client->live_count < x->live_most;

    if (client->live_count >= x->live_most)
        client->shrinking = true;
    else if (client->live_count <= x->live_most / 6)
        client->shrinking = false;
    if (can_map && (client->live_count == 0 || roll < (client->shrinking ? 15u : 75u))) {
        sim_live_make(x, client, next_kind(client));
    } else if (client->live_count > 0) {
        unsigned index = (unsigned)sim_rng_below(&x->rng, client->live_count);

        if (roll < 85)
            sim_live_end(x, client, index);
        else
            sim_check_again(x, client, &client->live[index]);
    }
}

/* Has the client reached its busiest moment? Some mappings are left to make after that. */
static bool has_grown(const struct sim_exercise *x, const struct sim_client *client)
{
    return client->live_count >= x->live_most || client->tried >= x->tries * 3 / 4;
}

static bool has_finished(const struct sim_exercise *x, const struct sim_client *client)
{
    return client->tried >= x->tries && client->live_count == 0;
}

/* Devices take turns at random, each until `done`. */
static bool take_turns(struct sim_exercise *x,
                       bool (*done)(const struct sim_exercise *x, const struct sim_client *client))
{
    struct sim_client **busy = calloc(x->nclients + 1, sizeof(struct sim_client *));
    unsigned left = x->nclients;
    unsigned steps = 0;

    if (!busy)
        return false;
    for (unsigned i = 0; i < left; i++) {
        busy[i] = &x->clients[i];
        sim_probe_edges(x, busy[i]);
        if (x->attack)
            sim_attack_sweep(x, busy[i]);
    }
    while (left > 0) {
        unsigned index = (unsigned)sim_rng_below(&x->rng, left);

        step(x, busy[index]);
        if (done(x, busy[index])) {
            sim_probe_edges(x, busy[index]);
            busy[index] = busy[--left];
        }
        if (++steps % 64 == 0 && x->progress)
            tell_progress(x);
    }
    free(busy);
    return true;
}

/* ---- The busiest moment ---- */

static bool has_kind(const struct sim_client *client, enum sim_live_kind kind)
{
    for (unsigned i = 0; i < client->live_count; i++)
        if (client->live[i].kind == kind)
            return true;
    return false;
}

/* Give every device mappings of every kind, where that is possible. */
static void complete_kinds(struct sim_exercise *x)
{
    for (unsigned i = 0; i < x->nclients; i++) {
        for (enum sim_live_kind kind = SIM_LIVE_MAP; kind < SIM_LIVE_KINDS; kind++)
            for (unsigned k = 0; k < RETRIES && !has_kind(&x->clients[i], kind); k++)
                sim_live_make(x, &x->clients[i], kind);
    }
}

/* Is `dev`'s stream the same as one of the first `count` streams of the device `of`? */
static bool is_among(const struct sim_device *of, unsigned count, const struct sim_device *dev,
                     unsigned stream)
{
    for (unsigned s = 0; s < count; s++)
        if (of->iommu[s] == dev->iommu[stream] && of->streams[s].sid == dev->streams[stream].sid)
            return true;
    return false;
}

static bool is_new_stream(const struct sim_exercise *x, const struct sim_client *last,
                          unsigned stream)
{
    for (const struct sim_client *c = x->clients; c <= last; c++)
        if (is_among(c->dev, c == last ? stream : c->dev->tree.nstreams, last->dev, stream))
            return false;
    return true;
}

/* Does `piece` continue the last record, in memory and in IOVA? */
static bool touch(const struct sim_snapshot_record *last, const struct sim_piece *piece)
{
    return last->iova + last->length == piece->iova && last->pa + last->length == piece->pa;
}

/* Records of one mapping: pieces that touch in memory and in IOVA share a record. */
static struct sim_snapshot_record *record(const struct sim_client *client,
                                          const struct sim_live *live,
                                          struct sim_snapshot_record *out)
{
    static const char *const kinds[SIM_LIVE_KINDS] = {"map", "sg", "coherent"};
    uint64_t mask = sim_granule(client) - 1;
    struct sim_snapshot_record *last = NULL; /* the record that the next piece may continue */

    for (unsigned i = 0; i < live->npieces; i++) {
        const struct sim_piece *const piece = &live->pieces[i];
        uint64_t length = piece->len;

        if (length == 0 || ((piece->iova + (length - 1)) | mask) != (piece->last | mask))
            length += piece->over; /* what may be read beyond lies in the next granule */

        if (last && !piece->bounced && touch(last, piece)) {
            last->length += length;
        } else {
            *out = (struct sim_snapshot_record){
                .device = client->dev->tree.path,
                .kind = piece->bounced ? "bounce" : kinds[live->kind],
                .iova = piece->iova,
                .pa = piece->pa,
                .length = length,
                .read = (live->dir & GR_DMA_TO_DEVICE) != 0 || sim_reads_all(client->dev),
                .write = (live->dir & GR_DMA_FROM_DEVICE) != 0,
                .window = piece->first,
            };
            last = piece->bounced ? NULL : out;
            out++;
        }
        if (last) {
            last->window_last = piece->last;
            last->narrow = ((last->window | ~last->window_last) & mask) != 0;
        }
    }
    return out;
}

/* The regions of one device as a stream of its domain maps them; firmware's mappings go on. */
static struct sim_snapshot_record *record_regions(const struct sim_device *dev,
                                                  const struct sim_iommu *iommu,
                                                  struct sim_snapshot_record *out)
{
    bool firmware = iommu->tree.firmware >= GR_DT_FIRMWARE_TRANSLATING;
    bool there = firmware || dev->mode == GR_DOMAIN_TRANSLATED;

    for (unsigned i = 0; there && i < dev->tree.nregions; i++) {
        const struct gr_dt_region *const r = &dev->tree.regions[i];

        if (r->kind != GR_DT_REGION_RESERVED) {
            *out++ = (struct sim_snapshot_record){
                .device = dev->tree.path,
                .kind = firmware ? "firmware" : "reserved",
                .iova = r->iova.first,
                .pa = r->pa,
                .length = r->iova.last - r->iova.first + 1,
                .read = true,
                .write = true,
            };
        }
    }
    return out;
}

/* The runs of memory that a LINEAR domain maps: all of its window but the holes. */
static struct sim_snapshot_record *record_linear(const struct sim_client *client,
                                                 struct sim_snapshot_record *out)
{
    const struct gr_domain *const domain = client->dev->active;
    gr_pa_t at = domain->direct.first;

    for (unsigned i = 0; i <= domain->hole_count; i++) {
        const struct gr_range *const hole = i < domain->hole_count ? &domain->holes[i] : NULL;
        gr_pa_t end = hole ? hole->first : domain->direct.last + 1;

        if (at != end) {
            *out++ = (struct sim_snapshot_record){
                .device = client->dev->tree.path,
                .kind = "linear",
                .iova = at - domain->direct_offset,
                .pa = at,
                .length = end - at,
                .read = true,
                .write = true,
            };
        }
        at = hole ? hole->last + 1 : end;
        if (at == domain->direct.last + 1)
            break;
    }
    return out;
}

/*
 * All mappings of a domain as one of its streams has them; none where the domain does not
 * translate.
 */
static struct sim_snapshot_record *record_stream(const struct sim_exercise *x,
                                                 const struct sim_client *of, unsigned stream,
                                                 struct sim_snapshot_record *out)
{
    struct sim_snapshot_record *first = out;

    if (of->dev->mode == GR_DOMAIN_LINEAR)
        out = record_linear(of, out);
    for (unsigned i = 0; i < x->machine->ndevices; i++)
        if (x->machine->devices[i].active == of->dev->active)
            out = record_regions(&x->machine->devices[i], of->dev->iommu[stream], out);
    for (unsigned i = 0; of->dev->mode == GR_DOMAIN_TRANSLATED && i < x->nclients; i++) {
        const struct sim_client *const client = &x->clients[i];

        for (unsigned k = 0; client->dev->active == of->dev->active && k < client->live_count; k++)
            out = record(client, &client->live[k], out);
    }
    for (; first < out; first++) {
        first->instance = of->dev->iommu[stream]->tree.path;
        first->stream = of->dev->streams[stream].sid;
    }
    return out;
}

/* Firmware's mappings of a stream that no client drives: they go on as well. */
static struct sim_snapshot_record *record_idle(const struct sim_exercise *x,
                                               const struct sim_device *dev, unsigned stream,
                                               struct sim_snapshot_record *out)
{
    struct sim_snapshot_record *first = out;

    for (unsigned i = 0; i < x->nclients; i++) {
        const struct sim_device *const other = x->clients[i].dev;

        if (is_among(other, other->tree.nstreams, dev, stream))
            return out;
    }
    if (dev->iommu[stream]->tree.firmware >= GR_DT_FIRMWARE_TRANSLATING)
        out = record_regions(dev, dev->iommu[stream], out);
    for (; first < out; first++) {
        first->instance = dev->iommu[stream]->tree.path;
        first->stream = dev->tree.streams[stream].sid;
    }
    return out;
}

static size_t most_records(const struct sim_exercise *x)
{
    size_t count = 1;

    for (unsigned i = 0; i < x->machine->ndevices; i++)
        count += (size_t)x->machine->devices[i].tree.nstreams * GR_DT_REGIONS;
    for (unsigned i = 0; i < x->nclients; i++) {
        const struct sim_device *const dev = x->clients[i].dev;

        count += (size_t)dev->tree.nstreams * (dev->active->hole_count + 1);
        for (unsigned k = 0; k < x->nclients; k++) {
            const struct sim_client *const other = &x->clients[k];

            if (other->dev->active == dev->active)
                count += (size_t)dev->tree.nstreams * GR_DT_REGIONS;
            for (unsigned n = 0; other->dev->active == dev->active && n < other->live_count; n++)
                count += (size_t)dev->tree.nstreams * other->live[n].npieces;
        }
    }
    return count;
}

/* Carry out the invalidations that are queued. */
static void flush_all(struct sim_exercise *x)
{
    for (unsigned i = 0; i < x->nclients; i++)
        sim_note_call(x, &x->clients[i], "gr_domain_flush",
                      gr_domain_flush(x->clients[i].dev->active));
}

static bool take_snapshot(struct sim_exercise *x, const char *dir, struct sim_error *error)
{
    struct sim_snapshot_record *const first = calloc(most_records(x), sizeof(*first));
    struct sim_snapshot_record *end = first;
    bool ok;

    if (!first)
        return sim_refuse(error, "--snapshot=%s: out of memory", dir);
    flush_all(x);
    for (unsigned i = 0; i < x->nclients; i++) {
        for (unsigned s = 0; s < x->clients[i].dev->tree.nstreams; s++)
            if (is_new_stream(x, &x->clients[i], s))
                end = record_stream(x, &x->clients[i], s, end);
    }
    for (unsigned i = 0; i < x->machine->ndevices; i++) {
        const struct sim_device *const dev = &x->machine->devices[i];

        for (unsigned s = 0; dev->registered && s < dev->tree.nstreams; s++)
            end = record_idle(x, dev, s, end);
    }
    ok = sim_snapshot_write(x->machine, first, (size_t)(end - first), dir, error);
    free(first);
    return ok;
}

/* ---- The end ---- */

/* End the mappings that a run left that was cut short. */
static void end_all(struct sim_exercise *x)
{
    for (unsigned i = 0; i < x->nclients; i++)
        while (x->clients[i].live_count > 0)
            sim_live_end(x, &x->clients[i], 0);
}

/* With nothing mapped the domain is as it was before the first map. */
static void check_empty(struct sim_exercise *x, const struct sim_client *client)
{
    const struct gr_range *const aperture = &client->dev->active->aperture;
    struct gr_domain_stats stats;

    /*
     * Deferred unmaps leave tables: of several ranges in one table, all in the queue, none was the
     * last.
     */
    if (x->machine->options.deferred)
        sim_note_call(x, client, "gr_domain_trim",
                      gr_domain_trim(client->dev->active, aperture->first,
                                     aperture->last - aperture->first + 1));
    gr_domain_stats(client->dev->active, &stats);
    x->tally->live_mappings += stats.iova.allocations;
    if (stats.iova.held != 0 || stats.broken)
        sim_problem(x->machine, "%.120s: 0x%llx bytes of IOVA were not freed",
                    client->dev->tree.path, (unsigned long long)stats.iova.held);
    /* A table that also spans a reserved range stays until the domain ends. */
    if (stats.iova.reserved == 0 && stats.tables != client->tables)
        sim_problem(x->machine,
                    "%.120s: with nothing mapped there are %llu pages of tables, not %llu",
                    client->dev->tree.path, (unsigned long long)stats.tables,
                    (unsigned long long)client->tables);
}

/* Without clients: has policy blocked every device, and none been blocked by a failure? */
static bool is_all_blocked(const struct sim_machine *m)
{
    for (unsigned i = 0; i < m->ndevices; i++)
        if (m->devices[i].failed)
            return false;
    return m->ndevices > 0;
}

/* A device without a domain, or with a blocking domain, gets nothing through. */
static void probe_all_blocked(struct sim_exercise *x)
{
    for (unsigned i = 0; i < x->machine->ndevices; i++) {
        struct sim_device *const dev = &x->machine->devices[i];

        if (dev->registered && !dev->active)
            sim_probe_blocked(x, dev);
    }
}

/* Sum up, take everything down, and look at what is left. */
static void finish(struct sim_exercise *x)
{
    struct sim_machine *const m = x->machine;
    struct sim_tally *const tally = x->tally;
    struct gr_bounce_stats slots;

    flush_all(x);
    for (unsigned i = 0; i < x->nclients; i++) {
        const struct sim_client *const client = &x->clients[i];

        tally->maps += client->result->maps;
        tally->bytes += client->result->bytes;
        if (client->result->maps == 0)
            sim_problem(m, "%.120s: no map succeeded, the last with: %s", client->dev->tree.path,
                        gr_strerror(client->refusal));
        if (client->dev->owns_domain)
            check_empty(x, client);
    }
    if (x->nclients == 0 && !is_all_blocked(m))
        sim_problem(m, "nothing was driven: no device behind an IOMMU can be used");
    sim_no_faults_expected(x);
    probe_all_blocked(x);
    gr_bounce_stats(&m->pool, &slots);
    tally->live_mappings += slots.slots;
    sim_machine_detach(m);
    for (unsigned i = 0; i < m->ndevices; i++)
        m->devices[i].active = NULL;
    probe_all_blocked(x);
    sim_machine_down(m);
    tally->leaked_pages = sim_machine_leaks(m);
    tally->misuse = sim_machine_misuse(m);
    if (tally->misuse != 0 || tally->leaked_pages != 0)
        sim_problem(m, "the library's last log line: %.200s", host_last_log(m->host));
}

/* ---- The run ---- */

static bool begin(struct sim_exercise *x, struct sim_machine *m, struct sim_tally *tally)
{
    x->machine = m;
    x->tally = tally;
    x->rng.state = sim_rng_mix(m->options.seed);
    x->watch_rng.state = sim_rng_mix(~m->options.seed);
    x->clients = calloc(m->ndevices + 1, sizeof(*x->clients));
    if (!x->clients)
        return false;
    for (unsigned i = 0; i < m->ndevices; i++) {
        if (m->devices[i].active) {
            struct gr_domain_stats stats;

            gr_domain_stats(m->devices[i].active, &stats);
            x->clients[x->nclients++] = (struct sim_client){
                .dev = &m->devices[i],
                .result = &tally->devices[i],
                .tables = stats.tables,
            };
        }
    }
    x->live_most = SIM_LIVE_MAX;
    x->tries = x->nclients <= CROWD ? TRIES : TRIES * CROWD / x->nclients;
    x->tries = x->tries < TRIES_FEW ? TRIES_FEW : x->tries;
    if (!tally->attack)
        return true;
    x->live_most = LIVE_ATTACK;
    x->tries = TRIES_ATTACK;
    return sim_attack_begin(x);
}

bool sim_exercise(struct sim_machine *m, struct sim_tally *tally, const char *snapshot,
                  void (*progress)(unsigned tried, unsigned tries), struct sim_error *error)
{
    struct sim_exercise *const x = calloc(1, sizeof(*x));
    bool ok = x && begin(x, m, tally);

    sim_refuse(error, "out of memory: close something else and try again");
    if (ok) {
        x->progress = progress;
        sim_machine_observe(m, sim_watch, x);
        ok = take_turns(x, has_grown);
        complete_kinds(x);
        ok = ok && (!snapshot || take_snapshot(x, snapshot, error)) && take_turns(x, has_finished);
        end_all(x);
        sim_machine_observe(m, NULL, NULL);
        if (x->attack)
            sim_attack_end(x);
        finish(x);
        free(x->clients);
    }
    free(x);
    return ok;
}
