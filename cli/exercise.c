/* SPDX-License-Identifier: MIT */
#include "attack.h"
#include "snapshot_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define TRIES 120u /* per device and run, on a machine with CROWD devices at most */
#define TRIES_FEW 16u
#define TRIES_ATTACK 20u /* each with all that attack.c tries */
#define LIVE_ATTACK 6u
#define CROWD 16u
#define RETRIES 4u /* for each kind that the busiest moment lacks */

/* On a terminal, a line that is written over, once the run has taken a second. */
struct progress {
    struct timespec begun;
    bool wanted; /* stderr is a terminal */
    bool shown;
};

static void show_progress(struct progress *progress, const struct exercise *x)
{
    struct timespec now;
    unsigned tried = 0;

    if (!progress->wanted || clock_gettime(CLOCK_MONOTONIC, &now) != 0) {
        return;
    }
    if ((now.tv_sec - progress->begun.tv_sec) * 1000 +
            (now.tv_nsec - progress->begun.tv_nsec) / 1000000 >
        1000) {
        for (unsigned i = 0; i < x->nclients; i++) {
            tried += x->clients[i].tried;
        }
        fprintf(stderr, "\r%u of %u maps", tried, x->nclients * x->tries);
        fflush(stderr);
        progress->shown = true;
    }
}

static void end_progress(const struct progress *progress)
{
    if (progress->shown) {
        fprintf(stderr, "\r%-40s\r", "");
        fflush(stderr);
    }
}

/* ---- Turns ---- */

/* Every kind takes its turn, so that what comes first of each comes in every run. */
static enum live_kind next_kind(const struct client *client)
{
    static const enum live_kind order[] = {
        LIVE_MAP, LIVE_SG,  LIVE_COHERENT, LIVE_MAP, LIVE_SG,
        LIVE_MAP, LIVE_MAP, LIVE_COHERENT, LIVE_SG,  LIVE_MAP,
    };

    return order[client->tried % (sizeof(order) / sizeof(order[0]))];
}

/* One step of one device: its live mappings grow to the most, shrink to a few, and grow again. */
static void step(struct exercise *x, struct client *client)
{
    uint64_t roll = rng_below(&x->rng, 100);
    bool can_map = client->tried < x->tries && client->live_count < x->live_most;

    if (client->live_count >= x->live_most) {
        client->shrinking = true;
    } else if (client->live_count <= x->live_most / 6) {
        client->shrinking = false;
    }
    if (can_map && (client->live_count == 0 || roll < (client->shrinking ? 15u : 75u))) {
        live_make(x, client, next_kind(client));
    } else if (client->live_count > 0) {
        unsigned index = (unsigned)rng_below(&x->rng, client->live_count);

        if (roll < 85) {
            live_end(x, client, index);
        } else {
            check_again(x, client, &client->live[index]);
        }
    }
}

/* Up to the busiest moment, at which there is still something left to make. */
static bool has_grown(const struct exercise *x, const struct client *client)
{
    return client->live_count >= x->live_most || client->tried >= x->tries * 3 / 4;
}

static bool has_finished(const struct exercise *x, const struct client *client)
{
    return client->tried >= x->tries && client->live_count == 0;
}

/* Devices take turns at random, each until `done`. */
static bool take_turns(struct exercise *x, struct progress *progress,
                       bool (*done)(const struct exercise *x, const struct client *client))
{
    struct client **busy = calloc(x->nclients + 1, sizeof(struct client *));
    unsigned left = x->nclients;
    unsigned steps = 0;

    if (!busy) {
        return false;
    }
    for (unsigned i = 0; i < left; i++) {
        busy[i] = &x->clients[i];
        probe_edges(x, busy[i]);
        if (x->attack) {
            attack_sweep(x, busy[i]);
        }
    }
    while (left > 0) {
        unsigned index = (unsigned)rng_below(&x->rng, left);

        step(x, busy[index]);
        if (done(x, busy[index])) {
            probe_edges(x, busy[index]);
            busy[index] = busy[--left];
        }
        if (++steps % 64 == 0) {
            show_progress(progress, x);
        }
    }
    free(busy);
    return true;
}

/* ---- The busiest moment ---- */

static bool has_kind(const struct client *client, enum live_kind kind)
{
    for (unsigned i = 0; i < client->live_count; i++) {
        if (client->live[i].kind == kind) {
            return true;
        }
    }
    return false;
}

/* Every device that can has mappings of every kind. */
static void complete_kinds(struct exercise *x)
{
    for (unsigned i = 0; i < x->nclients; i++) {
        for (enum live_kind kind = LIVE_MAP; kind < LIVE_KINDS; kind++) {
            for (unsigned k = 0; k < RETRIES && !has_kind(&x->clients[i], kind); k++) {
                live_make(x, &x->clients[i], kind);
            }
        }
    }
}

/* A stream of a domain, once, by whichever of its devices. */
/* Is a stream one of the first `count` of another device? */
static bool is_among(const struct machine_device *of, unsigned count,
                     const struct machine_device *dev, unsigned stream)
{
    for (unsigned s = 0; s < count; s++) {
        if (of->iommu[s] == dev->iommu[stream] && of->streams[s].sid == dev->streams[stream].sid) {
            return true;
        }
    }
    return false;
}

static bool is_new_stream(const struct exercise *x, const struct client *last, unsigned stream)
{
    for (const struct client *c = x->clients; c <= last; c++) {
        if (is_among(c->dev, c == last ? stream : c->dev->tree.nstreams, last->dev, stream)) {
            return false;
        }
    }
    return true;
}

/* Do two pieces that are as they are in memory touch there and for the device? */
static bool touch(const struct snapshot_record *last, const struct piece *piece)
{
    return last->iova + last->length == piece->iova && last->pa + last->length == piece->pa;
}

/* Records of one mapping: what touches both in memory and for the device is one. */
static struct snapshot_record *record(const struct client *client, const struct live *live,
                                      struct snapshot_record *out)
{
    static const char *const kinds[LIVE_KINDS] = {"map", "sg", "coherent"};
    uint64_t mask = granule_of(client) - 1;
    struct snapshot_record *last = NULL; /* if more of the mapping may be added */

    for (unsigned i = 0; i < live->npieces; i++) {
        const struct piece *piece = &live->pieces[i];
        uint64_t length = piece->len;

        if (length == 0 || ((piece->iova + (length - 1)) | mask) != (piece->last | mask)) {
            length += piece->over; /* that goes on in a granule of its own */
        }

        if (last && !piece->bounced && touch(last, piece)) {
            last->length += length;
        } else {
            *out = (struct snapshot_record){
                .device = client->dev->tree.path,
                .kind = piece->bounced ? "bounce" : kinds[live->kind],
                .iova = piece->iova,
                .pa = piece->pa,
                .length = length,
                .read = (live->dir & GR_DMA_TO_DEVICE) != 0 || machine_reads_all(client->dev),
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

/* The regions of one device as a stream of its domain has them; what firmware mapped goes on. */
static struct snapshot_record *record_regions(const struct machine_device *dev,
                                              const struct machine_iommu *iommu,
                                              struct snapshot_record *out)
{
    bool firmware = iommu->tree.firmware >= GR_DT_FIRMWARE_TRANSLATING;
    bool there = firmware || dev->mode == GR_DOMAIN_TRANSLATED;

    for (unsigned i = 0; there && i < dev->tree.nregions; i++) {
        const struct gr_dt_region *r = &dev->tree.regions[i];

        if (r->kind != GR_DT_REGION_RESERVED) {
            *out++ = (struct snapshot_record){
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
static struct snapshot_record *record_linear(const struct client *client,
                                             struct snapshot_record *out)
{
    const struct gr_domain *domain = client->dev->active;
    gr_pa_t at = domain->direct.first;

    for (unsigned i = 0; i <= domain->hole_count; i++) {
        const struct gr_range *hole = i < domain->hole_count ? &domain->holes[i] : NULL;
        gr_pa_t end = hole ? hole->first : domain->direct.last + 1;

        if (at != end) {
            *out++ = (struct snapshot_record){
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
        if (at == domain->direct.last + 1) {
            break;
        }
    }
    return out;
}

/* All mappings of a domain as one of its streams has them; none where it does not translate. */
static struct snapshot_record *record_stream(const struct exercise *x, const struct client *of,
                                             unsigned stream, struct snapshot_record *out)
{
    struct snapshot_record *first = out;

    if (of->dev->mode == GR_DOMAIN_LINEAR) {
        out = record_linear(of, out);
    }
    for (unsigned i = 0; i < x->machine->ndevices; i++) {
        if (x->machine->devices[i].active == of->dev->active) {
            out = record_regions(&x->machine->devices[i], of->dev->iommu[stream], out);
        }
    }
    for (unsigned i = 0; of->dev->mode == GR_DOMAIN_TRANSLATED && i < x->nclients; i++) {
        const struct client *client = &x->clients[i];

        for (unsigned k = 0; client->dev->active == of->dev->active && k < client->live_count;
             k++) {
            out = record(client, &client->live[k], out);
        }
    }
    for (; first < out; first++) {
        first->instance = of->dev->iommu[stream]->tree.path;
        first->stream = of->dev->streams[stream].sid;
    }
    return out;
}

/* What firmware mapped for those who map nothing goes on as well. */
static struct snapshot_record *record_idle(const struct exercise *x,
                                           const struct machine_device *dev, unsigned stream,
                                           struct snapshot_record *out)
{
    struct snapshot_record *first = out;

    for (unsigned i = 0; i < x->nclients; i++) {
        const struct machine_device *other = x->clients[i].dev;

        if (is_among(other, other->tree.nstreams, dev, stream)) {
            return out;
        }
    }
    if (dev->iommu[stream]->tree.firmware >= GR_DT_FIRMWARE_TRANSLATING) {
        out = record_regions(dev, dev->iommu[stream], out);
    }
    for (; first < out; first++) {
        first->instance = dev->iommu[stream]->tree.path;
        first->stream = dev->tree.streams[stream].sid;
    }
    return out;
}

static size_t most_records(const struct exercise *x)
{
    size_t count = 1;

    for (unsigned i = 0; i < x->machine->ndevices; i++) {
        count += (size_t)x->machine->devices[i].tree.nstreams * GR_DT_REGIONS;
    }
    for (unsigned i = 0; i < x->nclients; i++) {
        const struct machine_device *dev = x->clients[i].dev;

        count += (size_t)dev->tree.nstreams * (dev->active->hole_count + 1);
        for (unsigned k = 0; k < x->nclients; k++) {
            const struct client *other = &x->clients[k];

            if (other->dev->active == dev->active) {
                count += (size_t)dev->tree.nstreams * GR_DT_REGIONS;
            }
            for (unsigned n = 0; other->dev->active == dev->active && n < other->live_count; n++) {
                count += (size_t)dev->tree.nstreams * other->live[n].npieces;
            }
        }
    }
    return count;
}

/* Invalidations that are queued. */
static void flush_all(struct exercise *x)
{
    for (unsigned i = 0; i < x->nclients; i++) {
        note_rc(x, &x->clients[i], "gr_domain_flush", gr_domain_flush(x->clients[i].dev->active));
    }
}

static bool take_snapshot(struct exercise *x, const char *dir, struct cli_error *error)
{
    struct snapshot_record *first = calloc(most_records(x), sizeof(*first));
    struct snapshot_record *end = first;
    bool ok;

    if (!first) {
        return cli_error_set(error, "--snapshot=%s: out of memory", dir);
    }
    flush_all(x);
    for (unsigned i = 0; i < x->nclients; i++) {
        for (unsigned s = 0; s < x->clients[i].dev->tree.nstreams; s++) {
            if (is_new_stream(x, &x->clients[i], s)) {
                end = record_stream(x, &x->clients[i], s, end);
            }
        }
    }
    for (unsigned i = 0; i < x->machine->ndevices; i++) {
        const struct machine_device *dev = &x->machine->devices[i];

        for (unsigned s = 0; dev->registered && s < dev->tree.nstreams; s++) {
            end = record_idle(x, dev, s, end);
        }
    }
    ok = snapshot_write(x->machine, first, (size_t)(end - first), dir, error);
    free(first);
    return ok;
}

/* ---- The end ---- */

/* What a run that was cut short left. */
static void end_all(struct exercise *x)
{
    for (unsigned i = 0; i < x->nclients; i++) {
        while (x->clients[i].live_count > 0) {
            live_end(x, &x->clients[i], 0);
        }
    }
}

/* Nothing is mapped: the domain is as it was before the first map. */
static void check_empty(struct exercise *x, const struct client *client)
{
    const struct gr_range *aperture = &client->dev->active->aperture;
    struct gr_domain_stats stats;

    /* Of ranges that waited beside each other for one invalidation none was a table's last. */
    if (x->machine->options.deferred) {
        note_rc(x, client, "gr_domain_trim",
                gr_domain_trim(client->dev->active, aperture->first,
                               aperture->last - aperture->first + 1));
    }
    gr_domain_stats(client->dev->active, &stats);
    x->report->live_mappings += stats.iova.allocations;
    if (stats.iova.held != 0 || stats.broken) {
        machine_problem(x->machine, "%.120s: 0x%llx bytes of IOVA were not freed",
                        client->dev->tree.path, (unsigned long long)stats.iova.held);
    }
    /* A table that spans a reserved range as well stays until the domain goes. */
    if (stats.iova.reserved == 0 && stats.tables != client->tables) {
        machine_problem(x->machine,
                        "%.120s: with nothing mapped there are %llu pages of tables, not %llu",
                        client->dev->tree.path, (unsigned long long)stats.tables,
                        (unsigned long long)client->tables);
    }
}

/* Policy wanted no device to do anything: there are some, and that was what they did. */
static bool is_all_blocked(const struct machine *m)
{
    for (unsigned i = 0; i < m->ndevices; i++) {
        if (m->devices[i].failed) {
            return false;
        }
    }
    return m->ndevices > 0;
}

/* What has no domain, or one that blocks, gets nothing through. */
static void probe_all_blocked(struct exercise *x)
{
    for (unsigned i = 0; i < x->machine->ndevices; i++) {
        struct machine_device *dev = &x->machine->devices[i];

        if (dev->registered && !dev->active) {
            probe_blocked(x, dev);
        }
    }
}

/* Sum up, take everything down, and look at what is left. */
static void finish(struct exercise *x)
{
    struct machine *m = x->machine;
    struct report *report = x->report;
    struct gr_bounce_stats slots;

    flush_all(x);
    for (unsigned i = 0; i < x->nclients; i++) {
        const struct client *client = &x->clients[i];

        report->maps += client->result->maps;
        report->bytes += client->result->bytes;
        if (client->result->maps == 0) {
            machine_problem(m, "%.120s: no map succeeded, the last with: %s",
                            client->dev->tree.path, gr_strerror(client->refusal));
        }
        if (client->dev->owns_domain) {
            check_empty(x, client);
        }
    }
    if (x->nclients == 0 && !is_all_blocked(m)) {
        machine_problem(m, "nothing was driven: no device behind an IOMMU can be used");
    }
    no_faults_expected(x);
    probe_all_blocked(x);
    gr_bounce_stats(&m->pool, &slots);
    report->live_mappings += slots.slots;
    machine_detach(m);
    for (unsigned i = 0; i < m->ndevices; i++) {
        m->devices[i].active = NULL;
    }
    probe_all_blocked(x);
    machine_down(m);
    report->leaked_pages = machine_leaks(m);
    report->misuse = machine_misuse(m);
    if (report->misuse != 0 || report->leaked_pages != 0) {
        machine_problem(m, "the library's last log line: %.200s", host_last_log(m->host));
    }
}

/* ---- The run ---- */

static bool begin(struct exercise *x, struct machine *m, struct report *report)
{
    x->machine = m;
    x->report = report;
    x->rng.state = rng_mix(m->options.seed);
    x->watch_rng.state = rng_mix(~m->options.seed);
    x->clients = calloc(m->ndevices + 1, sizeof(*x->clients));
    if (!x->clients) {
        return false;
    }
    for (unsigned i = 0; i < m->ndevices; i++) {
        if (m->devices[i].active) {
            struct gr_domain_stats stats;

            gr_domain_stats(m->devices[i].active, &stats);
            x->clients[x->nclients++] = (struct client){
                .dev = &m->devices[i],
                .result = &report->devices[i],
                .tables = stats.tables,
            };
        }
    }
    x->live_most = EXERCISE_LIVE;
    x->tries = x->nclients <= CROWD ? TRIES : TRIES * CROWD / x->nclients;
    x->tries = x->tries < TRIES_FEW ? TRIES_FEW : x->tries;
    if (!report->attack) {
        return true;
    }
    x->live_most = LIVE_ATTACK;
    x->tries = TRIES_ATTACK;
    return attack_begin(x);
}

bool exercise(struct machine *m, struct report *report, const char *snapshot,
              struct cli_error *error)
{
    struct exercise *x = calloc(1, sizeof(*x));
    struct progress progress = {.wanted = isatty(STDERR_FILENO)};
    bool ok = x && begin(x, m, report);

    cli_error_set(error, "out of memory: close something else and try again");
    if (ok) {
        progress.wanted = progress.wanted && clock_gettime(CLOCK_MONOTONIC, &progress.begun) == 0;
        machine_observe(m, watch, x);
        ok = take_turns(x, &progress, has_grown);
        complete_kinds(x);
        ok = ok && (!snapshot || take_snapshot(x, snapshot, error)) &&
             take_turns(x, &progress, has_finished);
        end_all(x);
        machine_observe(m, NULL, NULL);
        end_progress(&progress);
        if (x->attack) {
            attack_end(x);
        }
        finish(x);
        free(x->clients);
    }
    free(x);
    return ok;
}
