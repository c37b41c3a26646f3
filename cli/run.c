/* SPDX-License-Identifier: MIT */
/*
 * granule run: every device of a board moves data through every instance in front of it, and every
 * byte is checked.
 *
 * Contents come from a key, never from a copy: byte k of a buffer is a function of (key, k), and
 * whoever writes a buffer changes its key. A read that meets an older content is a mismatch.
 */
#include "board.h"
#include "cli.h"
#include "machine.h"
#include "report.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAPS 120u /* per device and run */
#define LIVE 48u  /* of these, at once */
#define LIVE_FEW 8u
#define LARGEST (UINT64_C(1) << 20)
#define GUARD 256u
#define CHUNK 65536u
/* Maps of exact sizes that each device gets before sizes are drawn: see forced_length(). */
#define FORCED 7u

struct mapping {
    gr_pa_t alloc; /* what host_ram_alloc() gave */
    gr_pa_t pa;    /* the buffer in it, guard bytes on both sides */
    uint64_t len;
    gr_iova_t iova;
    enum gr_dma_dir dir;
    unsigned attrs;
    uint64_t key;
};

struct client {
    struct machine_device *dev;
    struct report_device *result;
    struct mapping maps[LIVE];
    unsigned live;
    unsigned tried; /* maps, of MAPS */
    bool shrinking;
    uint64_t tables; /* pages of tables when nothing is mapped */
    int refusal;     /* the last error of a map that may fail, for the message if none worked */
};

struct exercise {
    struct machine *machine;
    struct report *report;
    struct rng rng;
    struct rng watch_rng; /* of watch() */
    struct client *clients;
    unsigned nclients;
    struct client *moving;        /* whose tables are being changed now, or NULL */
    const struct mapping *coming; /* the map under way, whose IOVA is not yet known, or NULL */
    struct timespec begun;
    bool progress; /* stderr is a terminal */
    bool progress_shown;
    uint8_t got[CHUNK];
    uint8_t want[CHUNK];
};

/* ---- Contents ---- */

static uint64_t pattern_word(uint64_t key, uint64_t index)
{
    return rng_mix(key + index * 0x9e3779b97f4a7c15u);
}

/* Bytes [offset, offset + len) of the content that belongs to `key`. */
static void pattern(uint8_t *out, uint64_t key, uint64_t offset, uint64_t len)
{
    uint64_t word = pattern_word(key, offset / 8);

    for (; len > 0 && offset % 8 != 0; offset++, len--) {
        *out++ = (uint8_t)(word >> (offset % 8 * 8));
    }
    for (; len >= 8; offset += 8, len -= 8, out += 8) {
        word = pattern_word(key, offset / 8);
        memcpy(out, &word, 8);
    }
    word = pattern_word(key, offset / 8);
    for (; len > 0; offset++, len--) {
        *out++ = (uint8_t)(word >> (offset % 8 * 8));
    }
}

static uint64_t differences(const uint8_t *a, const uint8_t *b, uint64_t len)
{
    uint64_t count = 0;

    if (memcmp(a, b, len) == 0) {
        return 0;
    }
    for (uint64_t i = 0; i < len; i++) {
        count += a[i] != b[i];
    }
    return count;
}

/* The CPU fills, or compares, [pa, pa + len). */
static void cpu_fill(struct exercise *x, gr_pa_t pa, uint64_t len, uint64_t key)
{
    pattern(host_ptr(x->machine->host, pa, len), key, 0, len);
}

static uint64_t cpu_compare(struct exercise *x, gr_pa_t pa, uint64_t len, uint64_t key)
{
    const uint8_t *at = host_ptr(x->machine->host, pa, len);
    uint64_t count = 0;

    for (uint64_t done = 0; done < len; done += CHUNK) {
        uint64_t n = len - done < CHUNK ? len - done : CHUNK;

        pattern(x->want, key, done, n);
        count += differences(at + done, x->want, n);
    }
    return count;
}

/* Guard bytes know where they are: a copy of them elsewhere is wrong. */
static void fill_guards(struct exercise *x, const struct mapping *map)
{
    cpu_fill(x, map->pa - GUARD, GUARD, map->pa);
    cpu_fill(x, map->pa + map->len, GUARD, ~map->pa);
}

static void check_guards(struct exercise *x, const struct mapping *map)
{
    x->report->touched_guard_bytes += cpu_compare(x, map->pa - GUARD, GUARD, map->pa) +
                                      cpu_compare(x, map->pa + map->len, GUARD, ~map->pa);
}

/* ---- Faults ---- */

/* Whatever has come in now was not provoked. */
static void no_faults_expected(struct exercise *x)
{
    x->report->unexpected_faults += x->machine->nfaults + x->machine->lost_faults;
    machine_forget_faults(x->machine);
}

/* The IOMMU drops the bits above those it translates, so a record may lack them. */
static bool same_iova(const struct gr_instance *inst, gr_iova_t a, gr_iova_t b)
{
    return ((a ^ b) & ((UINT64_C(1) << inst->table.va_bits) - 1)) == 0;
}

static bool is_record_of(const struct machine_fault *got, const struct client *client,
                         unsigned stream, gr_iova_t iova, bool write)
{
    const struct gr_stream *where = &client->dev->streams[stream];

    return got->domain == client->dev->active && got->fault.instance == where->inst &&
           got->fault.stream == where->sid && same_iova(where->inst, got->fault.iova, iova) &&
           got->fault.reasons != 0 && (!got->fault.access_known || got->fault.write == write);
}

/* The IOMMU refuses this access and says so in exactly one record. */
static void expect_fault(struct exercise *x, struct client *client, unsigned stream, gr_iova_t iova,
                         bool write)
{
    struct machine *m = x->machine;
    uint8_t byte = 0;
    uint64_t done;
    bool recorded = false;

    no_faults_expected(x);
    if (machine_access_raw(client->dev, stream, iova, &byte, 1, write, &done) != MODEL_FAULT) {
        x->report->missed_faults++;
        no_faults_expected(x);
        return;
    }
    for (unsigned i = 0; i < m->nfaults; i++) {
        if (!recorded && is_record_of(&m->faults[i], client, stream, iova, write)) {
            recorded = true;
        } else {
            x->report->unexpected_faults++;
        }
    }
    x->report->unexpected_faults += m->lost_faults;
    x->report->missed_faults += !recorded;
    machine_forget_faults(m);
}

/* What the bus takes away never gets to the IOMMU. */
static void expect_bus_error(struct exercise *x, struct client *client, unsigned stream,
                             gr_iova_t iova)
{
    uint8_t byte = 0;
    uint64_t done;
    enum model_result result = machine_access(client->dev, stream, iova, &byte, 1, false, &done);

    x->report->missed_faults += result != MODEL_BUS_ERROR;
    no_faults_expected(x);
}

/* ---- What devices do ---- */

static uint64_t draw_length(struct exercise *x, uint64_t largest)
{
    unsigned bits = 0;
    uint64_t length;

    while (largest >> (bits + 1)) {
        bits++;
    }
    length = UINT64_C(1) << rng_below(&x->rng, bits + 1);
    length += rng_below(&x->rng, length);
    return length < largest ? length : largest;
}

static void device_read(struct exercise *x, struct client *client, unsigned stream,
                        const struct mapping *map)
{
    uint64_t n;

    for (uint64_t at = 0; at < map->len; at += n) {
        uint64_t done;

        n = draw_length(x, map->len - at < CHUNK ? map->len - at : CHUNK);
        machine_access(client->dev, stream, map->iova + at, x->got, n, false, &done);
        pattern(x->want, map->key, at, n);
        x->report->mismatched_bytes += differences(x->got, x->want, done) + (n - done);
    }
    no_faults_expected(x);
}

static void device_write(struct exercise *x, struct client *client, unsigned stream,
                         struct mapping *map)
{
    uint64_t n;

    map->key = rng_next(&x->rng);
    for (uint64_t at = 0; at < map->len; at += n) {
        uint64_t done;

        n = draw_length(x, map->len - at < CHUNK ? map->len - at : CHUNK);
        pattern(x->want, map->key, at, n);
        machine_access(client->dev, stream, map->iova + at, x->want, n, true, &done);
        x->report->mismatched_bytes += n - done;
    }
    no_faults_expected(x);
}

static gr_iova_t random_byte(struct exercise *x, const struct mapping *map)
{
    return map->iova + rng_below(&x->rng, map->len);
}

static void note_rc(struct exercise *x, const struct client *client, const char *call, int rc)
{
    if (rc != 0) {
        machine_problem(x->machine, "%.120s: %s() failed: %s", client->dev->tree.path, call,
                        gr_strerror(rc));
    }
}

/* Hand the whole buffer to the CPU or to the device, in one call or in two parts. */
static void sync_for(struct exercise *x, struct client *client, const struct mapping *map, bool cpu)
{
    int (*sync)(struct gr_device *, gr_iova_t, uint64_t, enum gr_dma_dir) =
        cpu ? gr_dma_sync_for_cpu : gr_dma_sync_for_device;
    const char *name = cpu ? "gr_dma_sync_for_cpu" : "gr_dma_sync_for_device";
    struct gr_device *device = &client->dev->device;
    uint64_t first = map->len;

    if (map->len > 1 && rng_below(&x->rng, 4) == 0) {
        first = 1 + rng_below(&x->rng, map->len - 1);
        note_rc(x, client, name, sync(device, map->iova + first, map->len - first, map->dir));
    }
    note_rc(x, client, name, sync(device, map->iova, first, map->dir));
}

static void cpu_check(struct exercise *x, struct client *client, const struct mapping *map)
{
    sync_for(x, client, map, true);
    x->report->mismatched_bytes += cpu_compare(x, map->pa, map->len, map->key);
    sync_for(x, client, map, false);
}

/* All that the direction allows, and what it does not, through one stream. */
static void work_through(struct exercise *x, struct client *client, unsigned stream,
                         struct mapping *map)
{
    bool reads = (map->dir & GR_DMA_TO_DEVICE) != 0;
    bool writes = (map->dir & GR_DMA_FROM_DEVICE) != 0;

    if (reads) {
        device_read(x, client, stream, map);
    } else {
        expect_fault(x, client, stream, random_byte(x, map), false);
    }
    if (writes) {
        device_write(x, client, stream, map);
        cpu_check(x, client, map);
    } else {
        expect_fault(x, client, stream, random_byte(x, map), true);
    }
    if (reads) {
        sync_for(x, client, map, true);
        map->key = rng_next(&x->rng);
        cpu_fill(x, map->pa, map->len, map->key);
        sync_for(x, client, map, false);
        device_read(x, client, stream, map);
    }
}

/* At a later time, while other maps come and go. */
static void check_again(struct exercise *x, struct client *client, struct mapping *map)
{
    unsigned stream = (unsigned)rng_below(&x->rng, client->dev->tree.nstreams);

    if (rng_below(&x->rng, 2) == 0) {
        work_through(x, client, stream, map);
    } else if (map->dir & GR_DMA_TO_DEVICE) {
        device_read(x, client, stream, map);
    } else {
        cpu_check(x, client, map);
    }
    check_guards(x, map);
}

/* ---- Where nothing is mapped ---- */

static uint64_t granule_of(const struct client *client)
{
    return UINT64_C(1) << gr_domain_granule_lg2(client->dev->active);
}

/* Does a live mapping of the domain, by whichever of its devices, touch this granule? */
static bool is_mapped(struct exercise *x, const struct client *client, gr_iova_t iova)
{
    uint64_t mask = ~(granule_of(client) - 1);

    for (unsigned i = 0; i < x->nclients; i++) {
        const struct client *other = &x->clients[i];

        for (unsigned k = 0; other->dev->active == client->dev->active && k < other->live; k++) {
            const struct mapping *map = &other->maps[k];
            gr_iova_t first = map->iova & mask;
            gr_iova_t last = (map->iova + (map->len - 1)) | ~mask;

            if (first <= iova && iova <= last) {
                return true;
            }
        }
    }
    return false;
}

static bool in_aperture(const struct client *client, gr_iova_t iova)
{
    const struct gr_range *aperture = &client->dev->active->aperture;

    return aperture->first <= iova && iova <= aperture->last;
}

/* If nothing is mapped there: does it fault through each stream? */
static void probe(struct exercise *x, struct client *client, gr_iova_t iova)
{
    if (!in_aperture(client, iova) || is_mapped(x, client, iova)) {
        return;
    }
    for (unsigned s = 0; s < client->dev->tree.nstreams; s++) {
        expect_fault(x, client, s, iova, rng_below(&x->rng, 2) != 0);
    }
}

static void probe_after_unmap(struct exercise *x, struct client *client, const struct mapping *map)
{
    uint64_t granule = granule_of(client);
    gr_iova_t last = map->iova + (map->len - 1);

    probe(x, client, map->iova);
    probe(x, client, last);
    probe(x, client, random_byte(x, map));
    probe(x, client, map->iova - granule);
    probe(x, client, last + granule);
}

/* Both ends of the aperture, and what the tree keeps from the device. */
static void probe_edges(struct exercise *x, struct client *client)
{
    const struct machine_device *dev = client->dev;
    const struct gr_range *aperture = &dev->active->aperture;

    probe(x, client, aperture->first);
    probe(x, client, aperture->last);
    for (unsigned i = 0; i < dev->tree.nreserved; i++) {
        const struct gr_range *hole = &dev->tree.reserved[i];

        for (unsigned s = 0; s < dev->tree.nstreams; s++) {
            expect_bus_error(x, client, s, hole->first);
            expect_bus_error(x, client, s, hole->last);
        }
        probe(x, client, hole->first);
        probe(x, client, hole->last);
    }
}

/* After its domain is gone a device is blocked: the model refuses it without a record. */
static void probe_detached(struct exercise *x, struct client *client)
{
    uint8_t byte = 0;
    uint64_t done;

    for (unsigned s = 0; s < client->dev->tree.nstreams; s++) {
        gr_iova_t iova = client->dev->tree.streams[s].window.first;
        enum model_result result = machine_access_raw(client->dev, s, iova, &byte, 1, false, &done);

        x->report->missed_faults += result != MODEL_FAULT || x->machine->nfaults != 0;
        machine_forget_faults(x->machine);
    }
}

/* ---- While tables change ---- */

/* May this translation exist now, by a mapping that is live, ending or coming? */
static bool explained(const struct exercise *x, gr_iova_t iova, gr_pa_t pa)
{
    uint64_t mask = granule_of(x->moving) - 1;

    if (x->coming && pa >= (x->coming->pa & ~mask) &&
        pa <= ((x->coming->pa + x->coming->len - 1) | mask)) {
        return true;
    }
    for (unsigned i = 0; i < x->nclients; i++) {
        const struct client *other = &x->clients[i];

        for (unsigned k = 0; other->dev->active == x->moving->dev->active && k < other->live; k++) {
            const struct mapping *map = &other->maps[k];

            if (pa - map->pa == iova - map->iova && iova >= (map->iova & ~mask) &&
                iova <= ((map->iova + map->len - 1) | mask)) {
                return true;
            }
        }
    }
    return false;
}

/*
 * The IOMMU looks at the tables at any moment, also between two stores to them: it prefetches what
 * lies around, and what it translates must be a mapping.
 */
static void watch(void *arg)
{
    struct exercise *x = arg;
    struct client *client = x->moving;
    struct rng *rng = &x->watch_rng;
    gr_iova_t iova;
    gr_pa_t pa;

    if (!client || rng_below(rng, 8) != 0) {
        return;
    }
    unsigned stream = (unsigned)rng_below(rng, client->dev->tree.nstreams);
    struct dart_model *model = client->dev->iommu[stream]->hardware.model;
    uint32_t sid = client->dev->streams[stream].sid;

    iova = client->live ? client->maps[rng_below(rng, client->live)].iova
                        : client->dev->active->aperture.last;
    iova += (rng_below(rng, 64) - 48) * granule_of(client);
    if (!in_aperture(client, iova)) {
        return;
    }
    if (rng_below(rng, 2) != 0) {
        dart_model_prefetch(model, sid, iova);
    } else if (dart_model_translate(model, sid, iova, rng_below(rng, 2) != 0, 1, &pa) == MODEL_OK &&
               !explained(x, iova, pa)) {
        x->report->missed_faults++;
    }
}

/* Begin, and end, a change of the client's tables. What watch() provoked is forgotten. */
static void begin_change(struct exercise *x, struct client *client, const struct mapping *coming)
{
    x->moving = client;
    x->coming = coming;
}

static void end_change(struct exercise *x)
{
    for (unsigned s = 0; s < x->moving->dev->tree.nstreams; s++) {
        machine_serve_irq(x->moving->dev->iommu[s]);
    }
    machine_forget_faults(x->machine);
    x->moving = NULL;
    x->coming = NULL;
}

/* ---- Maps ---- */

/* Sizes that are easily got wrong come first, in this order. */
static uint64_t forced_length(const struct exercise *x, uint64_t granule, unsigned nth)
{
    const uint64_t lengths[FORCED] = {1,           granule - 1,          granule,
                                      granule + 1, x->machine->cpu_page, x->machine->cpu_page + 1,
                                      LARGEST};

    return lengths[nth];
}

/*
 * Take a buffer with its guards from somewhere in RAM, at any offset. An untrusted device must not
 * share a granule with anything, guards included: its buffers are whole granules.
 */
static int take_buffer(struct exercise *x, struct client *client, struct mapping *map)
{
    struct host *host = x->machine->host;
    uint64_t granule = granule_of(client);
    uint64_t before;
    int rc;

    map->len =
        client->tried < FORCED ? forced_length(x, granule, client->tried) : draw_length(x, LARGEST);
    if (gr_device_untrusted(&client->dev->device)) {
        map->len = (map->len + granule - 1) & ~(granule - 1);
        before = granule;
        rc = host_ram_alloc(host, before + map->len + GUARD, granule, &map->alloc);
    } else {
        uint64_t page = x->machine->cpu_page > granule ? x->machine->cpu_page : granule;

        before = GUARD + rng_below(&x->rng, page);
        if (rng_below(&x->rng, 4) == 0) {
            before &= ~(uint64_t)(GUARD - 1);
        }
        rc = host_ram_alloc(host, before + map->len + GUARD, 0, &map->alloc);
    }
    map->pa = map->alloc + before;
    return rc;
}

static unsigned draw_attrs(struct exercise *x)
{
    unsigned attrs = 0;

    if (rng_below(&x->rng, 8) == 0) {
        attrs |= GR_DMA_UNCACHED;
    }
    if (rng_below(&x->rng, 8) == 0) {
        attrs |= GR_DMA_SKIP_SYNC;
    }
    return attrs;
}

/* Is this refusal right? Otherwise it is a problem. */
static bool may_refuse(const struct client *client, const struct mapping *map, int rc)
{
    unsigned pa_bits = client->dev->active->table.pa_bits;

    return rc == GR_ENOSPC || rc == GR_ENOMEM ||
           (rc == GR_EFAULT && (map->pa + map->len - 1) >> pa_bits != 0);
}

static void check_address(struct exercise *x, struct client *client, const struct mapping *map)
{
    uint64_t offset = granule_of(client) - 1;
    gr_pa_t pa = 0;
    int rc = gr_domain_iova_to_phys(client->dev->active, map->iova, &pa);

    if (rc != 0 || pa != map->pa || ((map->iova ^ map->pa) & offset) != 0) {
        machine_problem(x->machine, "%.100s: IOVA 0x%llx leads to 0x%llx (%s), not to 0x%llx",
                        client->dev->tree.path, (unsigned long long)map->iova,
                        (unsigned long long)pa, gr_strerror(rc), (unsigned long long)map->pa);
    }
}

/* gr_dma_map(), at times with too little memory first: that must not leave a trace. */
static int map_buffer(struct exercise *x, struct client *client, struct mapping *map)
{
    struct gr_device *device = &client->dev->device;
    struct host *host = x->machine->host;
    int rc = GR_ENOMEM;

    begin_change(x, client, map);
    if (rng_below(&x->rng, 8) == 0) {
        host_fail_alloc(host, 1 + rng_below(&x->rng, 3));
        rc = gr_dma_map(device, map->pa, map->len, map->dir, map->attrs, &map->iova);
        host_fail_alloc(host, 0);
    }
    if (rc == GR_ENOMEM) {
        rc = gr_dma_map(device, map->pa, map->len, map->dir, map->attrs, &map->iova);
    }
    end_change(x);
    return rc;
}

static void make_map(struct exercise *x, struct client *client)
{
    struct machine_device *dev = client->dev;
    struct mapping *map = &client->maps[client->live];
    int rc = take_buffer(x, client, map);

    client->tried++;
    map->dir = (enum gr_dma_dir)(1 + rng_below(&x->rng, 3));
    map->attrs = draw_attrs(x);
    map->key = rng_next(&x->rng);
    if (rc != 0) {
        client->refusal = rc;
        return;
    }
    fill_guards(x, map);
    cpu_fill(x, map->pa, map->len, map->key);
    rc = map_buffer(x, client, map);
    if (rc != 0) {
        client->refusal = rc;
        if (!may_refuse(client, map, rc)) {
            note_rc(x, client, "gr_dma_map", rc);
        }
        host_ram_free(x->machine->host, map->alloc);
        return;
    }
    client->live++;
    client->result->maps++;
    client->result->bytes += map->len;
    check_address(x, client, map);
    if (map->attrs & GR_DMA_SKIP_SYNC) {
        sync_for(x, client, map, false);
    }
    for (unsigned s = 0; s < dev->tree.nstreams; s++) {
        work_through(x, client, s, map);
    }
    check_guards(x, map);
}

static void end_map(struct exercise *x, struct client *client, unsigned index)
{
    struct mapping map = client->maps[index];
    unsigned stream = (unsigned)rng_below(&x->rng, client->dev->tree.nstreams);
    int rc;

    /* What the device writes last is what only the unmap makes visible. */
    if (map.dir & GR_DMA_FROM_DEVICE) {
        device_write(x, client, stream, &map);
    }
    if (map.attrs & GR_DMA_SKIP_SYNC) {
        sync_for(x, client, &map, true);
    }
    begin_change(x, client, NULL);
    rc = gr_dma_unmap(&client->dev->device, map.iova, map.len, map.dir, map.attrs);
    end_change(x);
    note_rc(x, client, "gr_dma_unmap", rc);
    client->maps[index] = client->maps[--client->live];
    probe_after_unmap(x, client, &map);
    x->report->mismatched_bytes += cpu_compare(x, map.pa, map.len, map.key);
    check_guards(x, &map);
    host_ram_free(x->machine->host, map.alloc);
}

/* ---- The run ---- */

static bool finished(const struct client *client)
{
    return client->tried == MAPS && client->live == 0;
}

/* One step of one device: its live maps grow to LIVE, shrink to a few, and grow again. */
static void step(struct exercise *x, struct client *client)
{
    uint64_t roll = rng_below(&x->rng, 100);
    bool can_map = client->tried < MAPS && client->live < LIVE;

    if (client->live == LIVE) {
        client->shrinking = true;
    } else if (client->live <= LIVE_FEW) {
        client->shrinking = false;
    }
    if (can_map && (client->live == 0 || roll < (client->shrinking ? 15u : 75u))) {
        make_map(x, client);
    } else if (client->live > 0) {
        unsigned index = (unsigned)rng_below(&x->rng, client->live);

        if (roll < 85) {
            end_map(x, client, index);
        } else {
            check_again(x, client, &client->maps[index]);
        }
    }
}

/* On a terminal, a line that is written over, once the run has taken a second. */
static void show_progress(struct exercise *x)
{
    struct timespec now;
    unsigned tried = 0;

    if (!x->progress || clock_gettime(CLOCK_MONOTONIC, &now) != 0) {
        return;
    }
    if ((now.tv_sec - x->begun.tv_sec) * 1000 + (now.tv_nsec - x->begun.tv_nsec) / 1000000 > 1000) {
        for (unsigned i = 0; i < x->nclients; i++) {
            tried += x->clients[i].tried;
        }
        fprintf(stderr, "\r%u of %u maps", tried, x->nclients * MAPS);
        fflush(stderr);
        x->progress_shown = true;
    }
}

static void end_progress(const struct exercise *x)
{
    if (x->progress_shown) {
        fprintf(stderr, "\r%-40s\r", "");
        fflush(stderr);
    }
}

/* Devices take turns at random until each has made its maps and freed them. */
static bool run_clients(struct exercise *x)
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
    }
    while (left > 0) {
        unsigned index = (unsigned)rng_below(&x->rng, left);

        step(x, busy[index]);
        if (finished(busy[index])) {
            probe_edges(x, busy[index]);
            busy[index] = busy[--left];
        }
        if (++steps % 64 == 0) {
            show_progress(x);
        }
    }
    free(busy);
    return true;
}

/* Nothing is mapped: the domain is as it was before the first map. */
static void check_empty(struct exercise *x, const struct client *client)
{
    struct gr_domain_stats stats;

    gr_domain_stats(client->dev->active, &stats);
    x->report->live_mappings += stats.iova.allocations;
    if (stats.iova.held != 0 || stats.broken) {
        machine_problem(x->machine, "%.120s: 0x%llx bytes of IOVA were not freed",
                        client->dev->tree.path, (unsigned long long)stats.iova.held);
    }
    /* A table that spans a reserved range as well stays until the domain goes. */
    if (stats.iova.reserved == 0 && stats.tables != client->tables) {
        machine_problem(x->machine, "%.120s: %llu pages of tables with nothing mapped, not %llu",
                        client->dev->tree.path, (unsigned long long)stats.tables,
                        (unsigned long long)client->tables);
    }
}

/* Sum up, take everything down, and look at what is left. */
static void finish(struct exercise *x)
{
    struct machine *m = x->machine;
    struct report *report = x->report;

    for (unsigned i = 0; i < x->nclients; i++) {
        const struct client *client = &x->clients[i];

        report->maps += client->result->maps;
        report->bytes += client->result->bytes;
        if (client->result->maps == 0) {
            machine_problem(m, "%.120s: not one map was possible: %s", client->dev->tree.path,
                            gr_strerror(client->refusal));
        }
        if (client->dev->owns_domain) {
            check_empty(x, client);
        }
    }
    no_faults_expected(x);
    machine_detach(m);
    for (unsigned i = 0; i < x->nclients; i++) {
        probe_detached(x, &x->clients[i]);
    }
    machine_down(m);
    report->leaked_pages = machine_leaks(m);
    report->misuse = machine_misuse(m);
    if (report->misuse != 0 || report->leaked_pages != 0) {
        machine_problem(m, "the last thing logged: %.200s", host_last_log(m->host));
    }
}

static bool exercise(struct machine *m, struct report *report)
{
    struct exercise *x = calloc(1, sizeof(*x));
    bool ok = false;

    if (x) {
        x->machine = m;
        x->report = report;
        x->rng.state = rng_mix(m->seed);
        x->watch_rng.state = rng_mix(~m->seed);
        x->progress = isatty(STDERR_FILENO) && clock_gettime(CLOCK_MONOTONIC, &x->begun) == 0;
        x->clients = calloc(m->ndevices + 1, sizeof(*x->clients));
    }
    if (x && x->clients) {
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
        machine_observe(m, watch, x);
        ok = run_clients(x);
        machine_observe(m, NULL, NULL);
        end_progress(x);
        finish(x);
        free(x->clients);
    }
    free(x);
    return ok;
}

/* ---- The verb ---- */

struct run_options {
    const char *board;
    unsigned cpu_page;
    uint64_t seed;
    bool json;
    bool help;
};

static void print_help(void)
{
    printf("Usage: granule run [OPTION]... BOARD.dtb|BOARD.dts\n"
           "\n"
           "Bring up the machine that a device tree describes on register-level models of its\n"
           "IOMMUs. Give every device behind one maps of 1 byte to 1 MiB, let it read and write\n"
           "all of them through each of its instances, and check every byte, the bytes beside\n"
           "every buffer, and that what is not mapped faults. A .dts is compiled by dtc.\n"
           "\n"
           "  --cpu-page=4K|16K|64K  page size of the CPU (4K)\n"
           "  --seed=N               the same seed gives the same run (1)\n"
           "  --json                 one line of JSON instead of tables\n"
           "  --help                 this text\n"
           "\n"
           "Exit status: 0 all held, 1 something did not, 2 wrong usage or wrong input.\n");
}

static bool parse_page(const char *text, struct run_options *options, struct cli_error *error)
{
    static const struct {
        const char *name;
        unsigned bytes;
    } pages[] = {{"4K", 4096}, {"16K", 16384}, {"64K", 65536}};

    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        if (strcmp(text, pages[i].name) == 0) {
            options->cpu_page = pages[i].bytes;
            return true;
        }
    }
    return cli_error_set(error, "--cpu-page=%s is no page size: give 4K, 16K or 64K", text);
}

static bool parse(int argc, char **argv, struct run_options *options, struct cli_error *error)
{
    static const struct option long_options[] = {
        {"cpu-page", required_argument, NULL, 'p'},
        {"seed", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int code;

    opterr = 0;
    while ((code = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
        switch (code) {
        case 'p':
            if (!parse_page(optarg, options, error)) {
                return false;
            }
            break;
        case 's': /* as far as JSON's integers go */
            if (!cli_parse_u64(optarg, INT64_MAX, &options->seed)) {
                return cli_error_set(error, "--seed=%s is no seed: give a number from 0 to %lld",
                                     optarg, (long long)INT64_MAX);
            }
            break;
        case 'j':
            options->json = true;
            break;
        case 'h':
            options->help = true;
            return true;
        default:
            return cli_option_error(error, code, argv, "run");
        }
    }
    if (argc - optind != 1) {
        return cli_error_set(error,
                             "%s: give one BOARD.dtb or BOARD.dts, or see granule run --help",
                             argc == optind ? "no board given" : "more than one board given");
    }
    options->board = argv[optind];
    return true;
}

/* Exercise, report, and the exit status. */
static int run_machine(struct machine *m, const struct run_options *options)
{
    struct report report = {.machine = m};
    struct cli_error error;
    bool told = false;
    bool passed = false;

    report.devices = calloc(m->ndevices + 1, sizeof(*report.devices));
    if (report.devices && exercise(m, &report)) {
        passed = report_passed(&report);
        told = options->json ? report_json(&report) : report_table(&report);
    }
    free(report.devices);
    if (!told || fflush(stdout) != 0) {
        cli_error_set(&error, "no memory for the report, or no room where it is written");
        return cli_refuse(&error, options->json);
    }
    return passed ? CLI_OK : CLI_FAILED;
}

int cli_run(int argc, char **argv)
{
    struct run_options options = {.cpu_page = 4096, .seed = 1, .json = cli_wants_json(argc, argv)};
    struct cli_error error;
    struct board board;
    struct machine machine;
    int status;

    if (!parse(argc, argv, &options, &error)) {
        return cli_refuse(&error, options.json);
    }
    if (options.help) {
        print_help();
        return CLI_OK;
    }
    if (!board_load(&board, options.board, &error)) {
        return cli_refuse(&error, options.json);
    }
    if (machine_up(&machine, &board, options.cpu_page, options.seed, &error)) {
        status = run_machine(&machine, &options);
        machine_free(&machine);
    } else {
        status = cli_refuse(&error, options.json);
    }
    board_free(&board);
    return status;
}
