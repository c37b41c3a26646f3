/* SPDX-License-Identifier: MIT */
#include "attack.h"

#include "walker.h"

#include <stdlib.h>
#include <string.h>

#define RANDOM_PROBES 1000u
#define EDGE 9u         /* bytes at each edge: the default access unit, and one */
#define EDGES 2         /* pieces of a mapping whose edges the device itself tries */
#define SELDOM 8u       /* tables that never change are swept at every eighth call only */
#define MANY_LEAVES 512 /* leaves of one stream: beyond that a sweep tries a random choice */

/* ---- Sets of bytes ---- */

struct set {
    struct gr_range *list;
    size_t count, room;
    bool lost; /* out of memory */
};

static void set_add(struct set *set, gr_pa_t first, gr_pa_t last)
{
    struct gr_range *const before = set->count > 0 ? &set->list[set->count - 1] : NULL;

    if (before && before->last + 1 == first) {
        before->last = last;
        return;
    }
    if (set->count == set->room) {
        size_t room = set->room ? 2 * set->room : 64;
        struct gr_range *const list = realloc(set->list, room * sizeof(*list));

        if (!list) {
            set->lost = true;
            return;
        }
        set->list = list;
        set->room = room;
    }
    set->list[set->count++] = (struct gr_range){first, last};
}

static int by_first(const void *a, const void *b)
{
    const struct gr_range *const x = a;
    const struct gr_range *const y = b;

    return x->first < y->first ? -1 : x->first > y->first;
}

/* Sort the ranges, and join those that overlap or touch. */
static void set_settle(struct set *set)
{
    size_t count = 0;

    if (set->count == 0)
        return;
    qsort(set->list, set->count, sizeof(*set->list), by_first);
    for (size_t i = 1; i < set->count; i++) {
        struct gr_range *const last = &set->list[count];

        if (set->list[i].first <= last->last || set->list[i].first == last->last + 1)
            last->last = set->list[i].last > last->last ? set->list[i].last : last->last;
        else
            set->list[++count] = set->list[i];
    }
    set->count = count + 1;
}

/* Add to `to` the parts of `from` that are not in `but`. Both are settled. */
static void set_add_rest(struct set *to, const struct set *from, const struct set *but)
{
    size_t k = 0;

    for (size_t i = 0; i < from->count; i++) {
        gr_pa_t at = from->list[i].first;
        gr_pa_t last = from->list[i].last;

        while (k < but->count && but->list[k].last < at)
            k++;
        for (size_t n = k; at <= last; n++) {
            if (n == but->count || but->list[n].first > last) {
                set_add(to, at, last);
                break;
            }
            if (but->list[n].first > at)
                set_add(to, at, but->list[n].first - 1);
            if (but->list[n].last >= last)
                break;
            at = but->list[n].last + 1;
        }
    }
}

static uint64_t set_bytes(struct set *set)
{
    uint64_t bytes = 0;

    set_settle(set);
    for (size_t i = 0; i < set->count; i++)
        bytes += set->list[i].last - set->list[i].first + 1;
    return bytes;
}

/* ---- The tables, as the walker reads them ---- */

/* How many streams of an instance try each edge: all of a DART's, a choice of an SMMU's. */
#define STREAMS 256u

/* An instance as the walker sees it. The registers do not change while the view is open. */
struct view {
    struct walker_source source;
    struct walker_instance instance;
    struct sim_iommu *iommu;
    bool known[STREAMS];
    unsigned sid[STREAMS]; /* the stream whose walker stream is known: several share a place */
    struct walker_stream streams[STREAMS];
};

static uint32_t read_register(void *opaque, uint32_t offset)
{
    struct sim_iommu *const iommu = opaque;

    return sim_hw_read32(&iommu->hw, offset);
}

static bool read_memory(void *opaque, uint64_t pa, void *buf, size_t len)
{
    const struct sim_iommu *const iommu = opaque;

    return host_read_held(iommu->machine->host, pa, buf, len);
}

static void view_open(struct view *view, struct sim_iommu *iommu)
{
    view->source = (struct walker_source){iommu, read_register, read_memory};
    view->iommu = iommu;
    memset(view->known, 0, sizeof(view->known));
    view->instance.kind = walker_kind(sim_hw_compatible(&iommu->hw));
    view->instance.format = walker_format(view->instance.kind, iommu->granule);
    view->instance.from = &view->source;
    view->instance.streams = iommu->streams;
}

static const struct walker_stream *view_stream(struct view *view, unsigned sid)
{
    unsigned at = sid % STREAMS;

    if (!view->known[at] || view->sid[at] != sid) {
        walker_stream(&view->streams[at], &view->instance, sid);
        view->known[at] = true;
        view->sid[at] = sid;
    }
    return &view->streams[at];
}

/* ---- State ---- */

/* Bytes that one device reached outside its buffers. */
struct loot {
    struct set leaked, slack;
    uint64_t sweeps;
};

struct sim_attack {
    struct sim_rng rng;
    struct loot *loot; /* one for each client */
    struct set reach;  /* what the stream of this sweep reaches, */
    struct set narrow; /* of that, what windows let through, */
    struct set own;    /* and what the device has been given */
    struct view view;  /* the instance under attack */
};

bool sim_attack_begin(struct sim_exercise *x)
{
    struct sim_attack *const attack = calloc(1, sizeof(*attack));

    if (!attack)
        return false;
    attack->rng.state = sim_rng_mix(x->machine->options.seed ^ 0x61747461636bu);
    attack->loot = calloc(x->nclients + 1, sizeof(*attack->loot));
    x->attack = attack;
    return attack->loot != NULL;
}

void sim_attack_end(struct sim_exercise *x)
{
    struct sim_attack *const attack = x->attack;
    bool lost = attack->reach.lost || attack->narrow.lost || attack->own.lost;

    for (unsigned i = 0; attack->loot && i < x->nclients; i++) {
        struct loot *const loot = &attack->loot[i];

        x->clients[i].result->leaked = set_bytes(&loot->leaked);
        x->clients[i].result->slack = set_bytes(&loot->slack);
        lost = lost || loot->leaked.lost || loot->slack.lost;
        free(loot->leaked.list);
        free(loot->slack.list);
    }
    if (lost)
        sim_problem(x->machine, "out of memory: not all leaked bytes are counted");
    free(attack->reach.list);
    free(attack->narrow.list);
    free(attack->own.list);
    free(attack->loot);
    free(attack);
    x->attack = NULL;
}

static struct loot *loot_of(struct sim_exercise *x, const struct sim_client *client)
{
    return &x->attack->loot[client - x->clients];
}

/* A walk, for all bytes of the smallest page that the walked byte lies in. */
struct walked {
    bool known;
    gr_iova_t iova; /* the walked byte */
    struct walker_walk walk;
};

/* Do the registers and tables let this access through, and to which address? */
static bool may_pass(const struct walker_stream *stream, unsigned pa_bits, gr_iova_t iova,
                     bool write, struct walked *walked, gr_pa_t *out_pa)
{
    const struct walker_walk *const walk = &walked->walk;
    uint64_t at;

    if (stream->mode == WALKER_BYPASS) {
        *out_pa = iova;
        return iova >> pa_bits == 0;
    }
    if (!walked->known || (walked->iova ^ iova) >> 12) {
        walker_walk(stream, iova, &walked->walk);
        walked->iova = iova;
        walked->known = true;
    }
    at = walk->iova + (iova - walked->iova);
    *out_pa = walk->pa + (iova - walked->iova);
    return walk->end == WALKER_MAPPED && (write ? walk->leaf.write : walk->leaf.read) &&
           walk->leaf.open <= at && at <= walk->leaf.open_last;
}

/* ---- Single accesses ---- */

/* The client that the stream belongs to; NULL: no client's. */
static struct sim_client *owner_of(const struct sim_exercise *x, const struct sim_iommu *iommu,
                                   unsigned sid)
{
    for (unsigned i = 0; i < x->nclients; i++) {
        const struct sim_device *const dev = x->clients[i].dev;

        for (unsigned s = 0; s < dev->tree.nstreams; s++)
            if (dev->iommu[s] == iommu && dev->streams[s].sid == sid)
                return &x->clients[i];
    }
    return NULL;
}

/* The IOMMU let a byte through that the tables do not map, or map to another address. */
static void note_stray(struct sim_exercise *x, const struct view *view, unsigned sid,
                       gr_iova_t iova, gr_pa_t pa)
{
    const struct sim_client *const client = owner_of(x, view->iommu, sid);

    if (client)
        set_add(&loot_of(x, client)->leaked, pa, pa);
    if (!client || !x->machine->options.deferred) { /* a deferred invalidation is still queued */
        sim_problem(x->machine,
                    "%.100s, stream %u reaches PA 0x%llx by IOVA 0x%llx: no table maps it",
                    view->iommu->tree.path, sid, (unsigned long long)pa, (unsigned long long)iova);
    }
}

/* As stream `sid`, read and write one byte: what passes must be what the tables let through. */
static void try_walked(struct sim_exercise *x, unsigned sid, gr_iova_t iova, struct walked *walked)
{
    struct view *const view = &x->attack->view;
    const struct walker_stream *const stream = view_stream(view, sid);
    unsigned pa_bits = view->iommu->tree.pa_bits;

    for (unsigned write = 0; write < 2; write++) {
        gr_pa_t want = 0;
        gr_pa_t pa = 0;
        bool may = may_pass(stream, pa_bits, iova, write, walked, &want);
        enum model_result result = sim_hw_translate(&view->iommu->hw, sid, iova, write, 1, &pa);

        if (result == MODEL_OK && (!may || pa != want))
            note_stray(x, view, sid, iova, pa);
    }
}

static void try_byte(struct sim_exercise *x, unsigned sid, gr_iova_t iova)
{
    struct walked walked;

    walked.known = false;
    try_walked(x, sid, iova, &walked);
}

/* As try_byte(), for an address of which the walker has just said that nothing is mapped. */
static void try_nothing(struct sim_exercise *x, unsigned sid, gr_iova_t iova)
{
    struct view *const view = &x->attack->view;
    gr_pa_t pa = 0;

    for (unsigned write = 0; write < 2; write++)
        if (sim_hw_translate(&view->iommu->hw, sid, iova, write, 1, &pa) == MODEL_OK)
            note_stray(x, view, sid, iova, pa);
}

/* Take the faults of the accesses that were tried, and drop them: there are too many to compare. */
static void drop_faults(struct sim_exercise *x)
{
    sim_serve_irq(x->attack->view.iommu);
    sim_drop_faults(x->machine);
}

/* ---- What a stream reaches ---- */

/* Try the bytes on both sides of the edge between `at - 1` and `at`. */
static void try_edge(struct sim_exercise *x, unsigned sid, gr_iova_t at)
{
    struct walked below;
    struct walked above;

    below.known = above.known = false;
    for (unsigned i = 0; i < EDGE; i++) {
        try_walked(x, sid, at - 1 - i, &below);
        try_walked(x, sid, at + i, &above);
    }
}

static void try_leaf(struct sim_exercise *x, unsigned sid, const struct walker_leaf *leaf)
{
    unsigned streams = x->attack->view.iommu->streams;

    try_edge(x, sid, leaf->iova);
    if (leaf->open != leaf->iova)
        try_edge(x, sid, leaf->open);
    if (leaf->open_last != leaf->last)
        try_edge(x, sid, leaf->open_last + 1);
    try_edge(x, sid, leaf->last + 1);
    try_byte(x, (unsigned)sim_rng_below(&x->attack->rng, streams), leaf->open);
}

static void note_leaf(struct sim_attack *attack, const struct walker_leaf *leaf)
{
    gr_pa_t first = leaf->pa + (leaf->open - leaf->iova);
    gr_pa_t last = leaf->pa + (leaf->open_last - leaf->iova);

    if (leaf->open > leaf->open_last || !(leaf->read || leaf->write))
        return;
    set_add(&attack->reach, first, last);
    if (leaf->open != leaf->iova || leaf->open_last != leaf->last)
        set_add(&attack->narrow, first, last);
}

/* Try one address of every absent entry between two leaves, at the highest level that is absent. */
static void try_absent(struct sim_exercise *x, unsigned sid, const struct walker_stream *stream,
                       gr_iova_t at, gr_iova_t end)
{
    struct sim_rng *const rng = &x->attack->rng;

    while (at < end) {
        unsigned up = walker_span_bits(stream->format, 0);

        /*
         * The highest entry that begins at `at` and ends before `end`: there is no table below it.
         */
        for (unsigned level = 1; level < stream->levels; level++) {
            unsigned bits = walker_span_bits(stream->format, level);

            if (at % (UINT64_C(1) << bits) == 0 && end - at >= UINT64_C(1) << bits)
                up = bits;
        }
        try_nothing(x, sid, at + sim_rng_below(rng, UINT64_C(1) << up));
        at += UINT64_C(1) << up;
    }
}

/* Try all leaves of a stream, and the absent entries between them. */
static void try_tables(struct sim_exercise *x, unsigned sid, const struct walker_stream *stream)
{
    struct sim_attack *const attack = x->attack;
    const struct view *const view = &attack->view;
    struct walker_iter iter;
    gr_iova_t at = 0;
    size_t leaves = 0;

    if (!walker_begin(&iter, stream)) {
        attack->reach.lost = true;
        return;
    }
    for (;;) {
        enum walker_event event = walker_next(&iter);

        if (event == WALKER_DONE)
            break;
        if (event == WALKER_PROBLEM) {
            sim_problem(x->machine, "%.100s, stream %u, IOVA 0x%llx: %.80s", view->iommu->tree.path,
                        sid, (unsigned long long)iter.problem.iova, iter.problem.text);
            continue;
        }
        try_absent(x, sid, stream, at, iter.leaf.iova);
        at = iter.leaf.last + 1;
        note_leaf(attack, &iter.leaf);
        if (leaves++ < MANY_LEAVES || sim_rng_below(&attack->rng, leaves / MANY_LEAVES) == 0)
            try_leaf(x, sid, &iter.leaf);
    }
    walker_end(&iter);
    try_absent(x, sid, stream, at, UINT64_C(1) << stream->va_bits);
}

/* All RAM that the device reaches with untranslated addresses. */
static void note_bypass(struct sim_exercise *x, const struct sim_client *client)
{
    const struct sim_machine *const m = x->machine;

    for (unsigned i = 0; i < m->nbanks; i++) {
        gr_pa_t last = client->dev->tree.dma.last;

        last = last < m->banks[i].last ? last : m->banks[i].last;
        if (m->banks[i].first <= last)
            set_add(&x->attack->reach, m->banks[i].first, last);
    }
}

/* Regions that the tree maps for devices of the domain count as given, in whole granules. */
static void note_regions(struct sim_exercise *x, const struct gr_domain *domain)
{
    const struct sim_machine *const m = x->machine;

    for (unsigned i = 0; i < m->ndevices; i++) {
        const struct sim_device *const dev = &m->devices[i];

        for (unsigned k = 0; dev->active == domain && k < dev->tree.nregions; k++) {
            const struct gr_dt_region *const r = &dev->tree.regions[k];
            uint64_t mask = dev->iommu[0]->granule - 1;

            if (r->kind != GR_DT_REGION_RESERVED)
                set_add(&x->attack->own, r->pa & ~mask,
                        (r->pa + (r->iova.last - r->iova.first)) | mask);
        }
    }
}

/*
 * All that the device has been given: its buffers, and whole granules of slots and coherent memory.
 */
static void note_own(struct sim_exercise *x, const struct sim_client *client)
{
    struct sim_attack *const attack = x->attack;

    note_regions(x, client->dev->active);
    for (unsigned i = 0; i < x->nclients; i++) {
        const struct sim_client *const other = &x->clients[i];

        /* Devices of one group share one domain: nothing tells them apart. */
        if (other != client && (other->dev->active != client->dev->active ||
                                client->dev->mode != GR_DOMAIN_TRANSLATED))
            continue;
        for (unsigned k = 0; k < other->live_count; k++) {
            const struct sim_live *const live = &other->live[k];

            for (unsigned n = 0; n < live->npieces; n++) {
                const struct sim_piece *const piece = &live->pieces[n];
                gr_pa_t pa = piece->pa;

                if (piece->bounced || live->kind == SIM_LIVE_COHERENT) {
                    gr_pa_t before = piece->iova - piece->first;

                    set_add(&attack->own, pa - before, pa - before + (piece->last - piece->first));
                } else if (piece->len) {
                    set_add(&attack->own, pa, pa + (piece->len - 1));
                }
            }
        }
    }
}

/* Try random addresses, as this stream and as any other of the instance. */
static void try_random(struct sim_exercise *x, unsigned sid, const struct walker_stream *stream)
{
    unsigned bits = stream->mode == WALKER_TRANSLATE ? stream->va_bits : 36;
    unsigned streams = x->attack->view.iommu->streams;
    struct sim_rng *const rng = &x->attack->rng;

    for (unsigned i = 0; i < RANDOM_PROBES; i++) {
        unsigned as = i % 2 ? sid : (unsigned)sim_rng_below(rng, streams);

        try_byte(x, as, sim_rng_next(rng) & ((UINT64_C(1) << bits) - 1));
    }
}

/* Find out what one stream of the device reaches. */
static void sweep_stream(struct sim_exercise *x, const struct sim_client *client, unsigned index)
{
    unsigned sid = client->dev->streams[index].sid;
    struct walker_stream stream;

    view_open(&x->attack->view, client->dev->iommu[index]);
    stream =
        *view_stream(&x->attack->view,
                     sid); /* a copy: another stream may take its place in the view meanwhile */
    if (stream.mode == WALKER_BYPASS)
        note_bypass(x, client);
    else if (stream.mode == WALKER_TRANSLATE)
        try_tables(x, sid, &stream);
    try_random(x, sid, &stream);
    drop_faults(x);
}

void sim_attack_sweep(struct sim_exercise *x, struct sim_client *client)
{
    struct sim_attack *const attack = x->attack;
    struct loot *const loot = loot_of(x, client);

    if (loot->sweeps++ % SELDOM != 0 && sim_is_direct(client->dev))
        return;
    attack->reach.count = 0;
    attack->narrow.count = 0;
    attack->own.count = 0;
    for (unsigned s = 0; s < client->dev->tree.nstreams; s++)
        sweep_stream(x, client, s);
    note_own(x, client);
    set_settle(&attack->reach);
    set_settle(&attack->narrow);
    set_settle(&attack->own);
    set_add_rest(&loot->leaked, &attack->reach, &attack->own);
    set_add_rest(&loot->slack, &attack->narrow, &attack->own);
    if (loot->leaked.count > 4096) {
        set_settle(&loot->leaked);
        set_settle(&loot->slack);
    }
}

/* The i-th stream to try: one of all, or of the machine's devices, or a random one. */
static unsigned other_stream(struct sim_exercise *x, const struct sim_iommu *iommu, unsigned i)
{
    const struct sim_machine *const m = x->machine;

    if (iommu->streams <= STREAMS)
        return i;
    for (unsigned d = 0; d < m->ndevices; d++) {
        const struct sim_device *const dev = &m->devices[d];

        for (unsigned s = 0; s < dev->tree.nstreams; s++)
            if (dev->iommu[s] == iommu && i-- == 0)
                return dev->streams[s].sid;
    }
    return (unsigned)sim_rng_below(&x->attack->rng, iommu->streams);
}

void sim_attack_edges(struct sim_exercise *x, struct sim_client *client,
                      const struct sim_live *live)
{
    struct sim_device *const dev = client->dev;

    for (unsigned s = 0; s < dev->tree.nstreams && live->npieces > 0; s++) {
        unsigned own = dev->streams[s].sid;

        view_open(&x->attack->view, dev->iommu[s]);
        for (unsigned i = 0; i < STREAMS && i < dev->iommu[s]->streams; i++) {
            const struct sim_piece *piece =
                &live->pieces[sim_rng_below(&x->attack->rng, live->npieces)];
            unsigned sid = other_stream(x, dev->iommu[s], i);

            if (sid != own) {
                try_byte(x, sid, piece->first);
                try_byte(x, sid, piece->last);
            }
        }
        for (unsigned i = 0; i < EDGES; i++) {
            const struct sim_piece *piece =
                &live->pieces[sim_rng_below(&x->attack->rng, live->npieces)];

            try_edge(x, own, piece->first);
            try_edge(x, own, piece->last + 1);
        }
        for (unsigned i = 0; i < dev->tree.nreserved;
             i++) { /* the MSI doorbell is among the reserved ranges */
            try_byte(x, own, dev->tree.reserved[i].first);
            try_byte(x, own, dev->tree.reserved[i].last);
        }
        drop_faults(x);
    }
}

/* Bytes [first, end) of a slot lie outside the buffer: any byte that is not zero is a leak. */
static void read_padding(struct sim_exercise *x, struct sim_client *client,
                         const struct sim_piece *piece, gr_iova_t first, gr_iova_t end)
{
    uint64_t n;

    for (; first < end; first += n) {
        uint64_t done = 0;

        n = end - first < sizeof(x->got) ? end - first : sizeof(x->got);
        sim_access(client->dev, 0, first, x->got, n, false, &done);
        for (uint64_t i = 0; i < done; i++) {
            if (x->got[i] != 0) {
                gr_pa_t pa = piece->pa + (first + i - piece->iova);

                set_add(&loot_of(x, client)->leaked, pa, pa);
            }
        }
    }
    sim_no_faults_expected(x);
}

void sim_attack_padding(struct sim_exercise *x, struct sim_client *client,
                        const struct sim_live *live)
{
    for (unsigned i = 0; (live->dir & GR_DMA_TO_DEVICE) && i < live->npieces; i++) {
        const struct sim_piece *const piece = &live->pieces[i];

        if (piece->bounced) {
            read_padding(x, client, piece, piece->first, piece->iova);
            read_padding(x, client, piece, piece->iova + piece->len, piece->last + 1);
        }
    }
}

/*
 * A cache may drop a clean line and fetch it again at any time. Do so now, so that it holds the
 * rubbish. Else the model takes the zeroes that the library stores there later for what the cache
 * holds already, and the store for none.
 */
static void refetch(struct sim_exercise *x, const struct sim_piece *piece)
{
    uint64_t len = piece->last - piece->first + 1;
    void *const slot = host_ptr(x->machine->host, piece->pa - (piece->iova - piece->first), len);

    if (slot)
        gr_port_cache(x->machine->host, slot, len, GR_CACHE_INVAL);
}

/* Write rubbish, through a random stream, over the device's own bytes and the rest of its slots. */
void sim_attack_write(struct sim_exercise *x, struct sim_client *client,
                      const struct sim_live *live)
{
    unsigned stream = (unsigned)sim_rng_below(&x->attack->rng, client->dev->tree.nstreams);

    memset(x->got, (int)sim_rng_below(&x->attack->rng, 256), sizeof(x->got));
    for (unsigned i = 0; i < live->npieces; i++) {
        const struct sim_piece *const piece = &live->pieces[i];
        gr_iova_t first = piece->bounced ? piece->first : piece->iova;
        gr_iova_t last = piece->bounced ? piece->last : piece->iova + (piece->len - 1);
        uint64_t done;

        for (uint64_t n; first <= last; first += n) {
            n = last - first + 1 < sizeof(x->got) ? last - first + 1 : sizeof(x->got);
            sim_access(client->dev, stream, first, x->got, n, true, &done);
        }
        if (piece->bounced && !client->dev->tree.coherent)
            refetch(x, piece);
    }
    sim_no_faults_expected(x);
}
