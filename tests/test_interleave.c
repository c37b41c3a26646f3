/* SPDX-License-Identifier: MIT */
/*
 * Two calls of the library at the same time, in every order in which they can meet at the port
 * (interleave.h). At every call of the port, whichever thread makes it: what is mapped translates
 * for the device, through a TLB that keeps all that was not invalidated and that is fed with every
 * IOVA around; what was unmapped does not. After every schedule: an independent walk finds the live
 * mappings and nothing else, as many tables as the domain counts; then all is taken down, nothing
 * leaks, no freed memory was touched.
 *
 * A failure prints a SEED and a SCHEDULE: with both in the environment it happens again, and every
 * call of the port is printed. SCHEDULE=NAME alone explores one scenario; BOUND=N with at most N
 * preemptions, BOUND=0 with any number, which for some scenarios takes hours.
 */
#include "chance.h"
#include "interleave.h"
#include "units.h"

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <granule/granule.h>
#include <host_dart.h>
#include <host_smmuv3.h>
#include <sim/walker.h>

#include <inttypes.h>

#define SID 2u
#define SIDS 2u
#define RAM UINT64_C(0x800000000)
#define RAM_SIZE UINT64_C(0x800000)
#define BUFFER UINT64_C(0x40000) /* what A and B each have, never handed out */
#define G UINT64_C(0x4000)
#define SPAN (UINT64_C(1) << 25) /* of a leaf table at 16 KiB */
#define WINDOW 8u                /* granules of IOVA that everything happens in */
#define LIVE 8u
#define LEN 100u

struct live {
    bool on;
    unsigned sid;
    gr_iova_t iova;
    gr_pa_t pa;
};

/* An instance and its model, and registers that can lie. */
struct machine {
    struct host *host;
    struct host_dart hw;
    struct host_mmio tap;
    struct gr_dart drv;
    struct gr_instance *inst;
    bool is_smmu; /* then these instead */
    struct host_smmuv3 smmu_hw;
    struct gr_smmuv3 smmu;
    bool hang;     /* the next TLB command times out, although it is done */
    uint32_t hung; /* it says busy as long as the driver's lock is held by who gave it */
};

/* All of a schedule. Two devices, each with a domain to be attached to, on one instance. */
struct world {
    const struct scenario *scenario;
    struct machine m;
    struct gr_stream stream[2];
    struct gr_device dev[2];
    struct gr_domain dom[2];
    gr_iova_t base; /* of the window */
    struct live live[LIVE];
    gr_iova_t iova[2]; /* mapped before, for A's and B's call */
    void *cpu[2];
    struct gr_seg segs[2][3];
    struct gr_dma_seg out[2][3];
    struct gr_dma_list list[2];
    int ret[2];
    unsigned dispatched, delivered; /* faults */
    uint64_t overlaps;              /* that the domains saw */
};

struct scenario {
    const char *name;
    enum gr_domain_type type;
    bool t8110;     /* else t8020 */
    bool smmu;      /* else a DART */
    bool firmware;  /* its streams translate through empty roots of firmware's */
    unsigned bound; /* of preemptions; 0: every schedule there is */
    bool two_domains;
    bool two_tables; /* the window lies in two leaf tables, else in one */
    bool incoherent; /* the devices */
    bool overlap;    /* both calls are on one range: the caller's error */
    void (*before)(struct world *w);
    void (*op[2])(struct world *w, unsigned who);
    void (*after)(struct world *w);
};

static gr_pa_t buffer(unsigned i)
{
    return RAM + i * BUFFER;
}

static unsigned sid_of(const struct gr_device *dev)
{
    return dev->config.streams[0].sid;
}

static struct dart_model *model(struct world *w)
{
    return w->m.hw.model;
}

/* ---- what must hold ---- */

static void lives(struct world *w, unsigned sid, gr_iova_t iova, gr_pa_t pa)
{
    for (unsigned i = 0; i < LIVE; i++) {
        if (!w->live[i].on) {
            w->live[i] = (struct live){true, sid, iova, pa};
            return;
        }
    }
    il_fail("the test keeps no more than %u mappings", LIVE);
}

/* Before an unmap: it may vanish from now on. */
static gr_pa_t dies(struct world *w, unsigned sid, gr_iova_t iova)
{
    for (unsigned i = 0; i < LIVE; i++) {
        if (w->live[i].on && w->live[i].sid == sid && w->live[i].iova == iova) {
            w->live[i].on = false;
            return w->live[i].pa;
        }
    }
    il_fail("the test has no mapping at 0x%" PRIx64, iova);
    return 0;
}

static bool translates(struct world *w, unsigned sid, gr_iova_t iova, gr_pa_t *out_pa)
{
    if (w->m.is_smmu)
        return smmuv3_model_translate(w->m.smmu_hw.model, sid, iova, false, 1, out_pa) == MODEL_OK;
    return dart_model_translate(model(w), sid, iova, false, 1, out_pa) == MODEL_OK;
}

/* After an unmap: the device does not get there any more; the IOVA may be someone else's by now. */
static void is_gone(struct world *w, unsigned sid, gr_iova_t iova, gr_pa_t old)
{
    gr_pa_t pa;

    if (translates(w, sid, iova, &pa) && pa == old)
        il_fail("stream %u still gets from 0x%" PRIx64 " to 0x%" PRIx64 " after the unmap", sid,
                iova, pa);
}

static void watch(void *arg)
{
    struct world *const w = arg;

    for (unsigned i = 0; i < LIVE; i++) {
        const struct live *const l = &w->live[i];
        gr_pa_t pa = 0;

        if (l->on && (!translates(w, l->sid, l->iova, &pa) || pa != l->pa))
            il_fail("stream %u gets from 0x%" PRIx64 " to 0x%" PRIx64 ", not 0x%" PRIx64, l->sid,
                    l->iova, pa, l->pa);
    }
    for (unsigned i = 0; i < SIDS * WINDOW; i++) {
        if (w->m.is_smmu)
            smmuv3_model_prefetch(w->m.smmu_hw.model, SID + i % SIDS, w->base + i / SIDS * G);
        else
            dart_model_prefetch(model(w), SID + i % SIDS, w->base + i / SIDS * G);
    }
}

struct eyes {
    struct walker_source source;
    struct world *w;
};

static uint32_t eyes_reg(void *opaque, uint32_t offset)
{
    const struct eyes *const e = opaque;

    return e->w->m.is_smmu ? smmuv3_model_read32(e->w->m.smmu_hw.model, offset)
                           : dart_model_read32(model(e->w), offset);
}

static bool eyes_memory(void *opaque, uint64_t pa, void *buf, size_t len)
{
    const struct eyes *const e = opaque;

    return host_read_held(e->w->m.host, pa, buf, len);
}

static const struct live *find(const struct world *w, unsigned sid, gr_iova_t iova)
{
    for (unsigned i = 0; i < LIVE; i++) {
        if (w->live[i].on && w->live[i].sid == sid && (w->live[i].iova ^ iova) < G)
            return &w->live[i];
    }
    return NULL;
}

static void walk_one(struct world *w, const struct walker_stream *stream, gr_iova_t iova)
{
    const struct live *const l = find(w, stream->sid, iova);
    struct walker_walk walk;

    walker_walk(stream, iova, &walk);
    if (l && (walk.end != WALKER_MAPPED || walk.pa != (l->pa & ~(G - 1))))
        il_fail("lost: stream %u at 0x%" PRIx64 " should lead to 0x%" PRIx64, stream->sid, iova,
                l->pa);
    if (!l && walk.end == WALKER_MAPPED)
        il_fail("left behind: stream %u at 0x%" PRIx64 " leads to 0x%" PRIx64, stream->sid, iova,
                walk.pa);
}

/* What the tables say, of every granule of the window and for every stream that translates. */
static void walk_all(struct world *w)
{
    struct eyes eyes = {.w = w};
    const struct walker_instance inst = {
        .kind = walker_kind(w->scenario->smmu    ? "arm,smmu-v3"
                            : w->scenario->t8110 ? "apple,t8110-dart"
                                                 : "apple,t8103-dart"),
        .from = &eyes.source,
        .streams = 16,
    };
    struct walker_instance seen = inst;

    eyes.source = (struct walker_source){&eyes, eyes_reg, eyes_memory};
    seen.format = walker_format(seen.kind, G);
    for (unsigned sid = SID; sid < SID + SIDS; sid++) {
        struct walker_stream stream;

        walker_stream(&stream, &seen, sid);
        for (gr_iova_t iova = w->base; iova < w->base + WINDOW * G; iova += G)
            walk_one(w, &stream, iova);
    }
}

/* Tables that hang in a domain's root, by the bits of DART.md 4.1. */
static uint64_t count_tables(struct world *w, const struct gr_domain *domain)
{
    static uint64_t root[G / 8];
    uint64_t n = 1;

    assert_int_equal(domain->pt.root_lg2, 14);
    if (!host_read_held(w->m.host, domain->pt.root_pa, root, sizeof(root)))
        il_fail("the root table is not in memory");
    for (size_t i = 0; i < G / 8; i++)
        n += root[i] & 1;
    return n;
}

static void check_domain(struct world *w, struct gr_domain *domain)
{
    struct gr_domain_stats stats;
    uint64_t tables = count_tables(w, domain);

    gr_domain_stats(domain, &stats);
    w->overlaps += stats.overlaps;
    if (stats.overlaps && !w->scenario->overlap)
        il_fail("calls on disjoint ranges are told to overlap: %s", host_last_log(w->m.host));
    if (!stats.broken && stats.tables != tables)
        il_fail("the domain counts %" PRIu64 " tables, there are %" PRIu64, stats.tables, tables);
}

static void check_machine(struct world *w)
{
    const bool smmu = w->m.is_smmu;
    const uint64_t bad = smmu ? smmuv3_model_stats(w->m.smmu_hw.model)->bad_fetches
                              : dart_model_stats(model(w))->bad_fetches;
    const uint64_t misuse =
        smmu ? smmuv3_model_stats(w->m.smmu_hw.model)->misuse : dart_model_stats(model(w))->misuse;

    if (bad)
        il_fail("the walker met %" PRIu64 " freed tables", bad);
    if (misuse)
        il_fail("%" PRIu64 " stores to busy registers and the like", misuse);
    if (host_misuse(w->m.host))
        il_fail("misuse: %s", host_last_log(w->m.host));
}

/* ---- calls, and what they are to give ---- */

static void expect(struct world *w, unsigned who, int ret)
{
    w->ret[who] = ret;
    if (ret)
        il_fail("%c: %s", il_letter(who), gr_strerror(ret));
}

static struct gr_device *device_of(struct world *w, unsigned who)
{
    return &w->dev[w->scenario->two_domains ? who : 0];
}

static void op_map(struct world *w, unsigned who)
{
    struct gr_device *const dev = device_of(w, who);
    gr_iova_t iova;

    expect(w, who, gr_dma_map(dev, buffer(who) + 8, LEN, GR_DMA_BIDIRECTIONAL, 0, &iova));
    if (!w->ret[who])
        lives(w, sid_of(dev), iova, buffer(who) + 8);
}

static void op_unmap_at(struct world *w, unsigned who, gr_iova_t iova)
{
    struct gr_device *const dev = device_of(w, who);
    const gr_pa_t pa = dies(w, sid_of(dev), iova);

    expect(w, who, gr_dma_unmap(dev, iova, LEN, GR_DMA_BIDIRECTIONAL, 0));
    is_gone(w, sid_of(dev), iova, pa);
}

static void op_unmap(struct world *w, unsigned who)
{
    op_unmap_at(w, who, w->iova[who]);
}

static void op_map_unmap(struct world *w, unsigned who)
{
    gr_iova_t iova;

    if (gr_dma_map(device_of(w, who), buffer(who), LEN, GR_DMA_BIDIRECTIONAL, 0, &iova)) {
        il_fail("%c: no map", il_letter(who));
        return;
    }
    lives(w, sid_of(device_of(w, who)), iova, buffer(who));
    op_unmap_at(w, who, iova);
}

static void op_map_sg(struct world *w, unsigned who)
{
    struct gr_dma_list *const l = &w->list[who];

    for (unsigned i = 0; i < 3; i++)
        w->segs[who][i] = (struct gr_seg){buffer(who) + 5 * i * G, G};
    *l = (struct gr_dma_list){.segs = w->segs[who], .count = 3, .out = w->out[who]};
    expect(w, who, gr_dma_map_sg(&w->dev[0], l, GR_DMA_BIDIRECTIONAL, 0));
    for (unsigned i = 0; !w->ret[who] && i < 3; i++)
        lives(w, SID, l->out[0].iova + i * G, w->segs[who][i].pa);
}

static void op_unmap_sg(struct world *w, unsigned who)
{
    const struct gr_dma_list *const l = &w->list[who];

    for (unsigned i = 0; i < 3; i++)
        (void)dies(w, SID, l->out[0].iova + i * G);
    expect(w, who, gr_dma_unmap_sg(&w->dev[0], l, GR_DMA_BIDIRECTIONAL, 0));
    for (unsigned i = 0; i < 3; i++)
        is_gone(w, SID, l->out[0].iova + i * G, w->segs[who][i].pa);
}

static void op_alloc(struct world *w, unsigned who)
{
    gr_iova_t iova;
    gr_pa_t pa;

    expect(w, who, gr_dma_alloc(&w->dev[0], 2 * G, 0, &w->cpu[who], &iova));
    if (w->ret[who])
        return;
    if (!host_pa_of(w->m.host, w->cpu[who], &pa))
        il_fail("the coherent buffer is not memory");
    w->iova[who] = iova;
    lives(w, SID, iova, pa);
    lives(w, SID, iova + G, pa + G);
}

static void op_free(struct world *w, unsigned who)
{
    const gr_pa_t pa = dies(w, SID, w->iova[who]);

    (void)dies(w, SID, w->iova[who] + G);
    expect(w, who, gr_dma_free(&w->dev[0], 2 * G, 0, w->cpu[who], w->iova[who]));
    is_gone(w, SID, w->iova[who], pa);
}

/* A's mapping, seen by the other thread: there or gone, and nothing else. */
static void op_ask(struct world *w, unsigned who)
{
    struct gr_domain_stats stats;
    gr_pa_t pa = 0;
    const int ret = gr_domain_iova_to_phys(&w->dom[0], w->iova[!who], &pa);

    if (ret != GR_ENOENT && (ret || pa != buffer(!who) + 8))
        il_fail("%s: 0x%" PRIx64 " is asked for and leads to 0x%" PRIx64, gr_strerror(ret),
                w->iova[!who], pa);
    gr_domain_stats(&w->dom[0], &stats);
}

static void op_sync(struct world *w, unsigned who)
{
    expect(w, who, gr_dma_sync_for_cpu(&w->dev[0], w->iova[who], LEN, GR_DMA_BIDIRECTIONAL));
    if (!w->ret[who])
        expect(w, who, gr_dma_sync_for_device(&w->dev[0], w->iova[who], LEN, GR_DMA_BIDIRECTIONAL));
}

static void op_interrupt(struct world *w, unsigned who)
{
    (void)who;
    if (!(w->m.is_smmu ? gr_smmuv3_isr(&w->m.smmu) : gr_dart_isr(&w->m.drv)))
        il_fail("the instance says that it raised no interrupt");
    w->dispatched += gr_fault_dispatch(w->m.inst);
}

static void op_isr(struct world *w, unsigned who)
{
    (void)who;
    if (!gr_dart_isr(&w->m.drv))
        il_fail("the instance says that it raised no interrupt");
}

static void op_dispatch(struct world *w, unsigned who)
{
    (void)who;
    w->dispatched += gr_fault_dispatch(w->m.inst);
}

/* UNMANAGED: A has the window's granule 0, B granule 1. */
static gr_iova_t own(const struct world *w, unsigned who)
{
    return w->base + who * G;
}

static void op_place(struct world *w, unsigned who)
{
    expect(w, who, gr_domain_map(&w->dom[0], own(w, who), buffer(who), G, RW));
    if (w->ret[who])
        return;
    for (unsigned i = 0; i < SIDS; i++) {
        if (w->dev[i].group->domain == &w->dom[0])
            lives(w, SID + i, own(w, who), buffer(who));
    }
}

/* Only dev[0] is watched: the other comes or goes meanwhile. */
static void op_place_first(struct world *w, unsigned who)
{
    expect(w, who, gr_domain_map(&w->dom[0], own(w, who), buffer(who), G, RW));
    if (!w->ret[who])
        lives(w, SID, own(w, who), buffer(who));
}

static void op_displace(struct world *w, unsigned who)
{
    for (unsigned i = 0; i < SIDS; i++) {
        if (find(w, SID + i, own(w, who)))
            (void)dies(w, SID + i, own(w, who));
    }
    expect(w, who, gr_domain_unmap(&w->dom[0], own(w, who), G));
    for (unsigned i = 0; i < SIDS; i++)
        is_gone(w, SID + i, own(w, who), buffer(who));
}

static void op_trim(struct world *w, unsigned who)
{
    expect(w, who, gr_domain_trim(&w->dom[0], own(w, who), (WINDOW - 1) * G));
}

static void op_join(struct world *w, unsigned who)
{
    expect(w, who, gr_domain_attach(&w->dom[0], &w->dev[1]));
}

static void op_leave(struct world *w, unsigned who)
{
    for (unsigned i = 0; i < LIVE; i++)
        w->live[i].on = w->live[i].on && w->live[i].sid != SID + 1;
    expect(w, who, gr_domain_detach(w->dev[1].group->domain, &w->dev[1]));
    is_gone(w, SID + 1, own(w, 0), buffer(0));
    is_gone(w, SID + 1, own(w, 1), buffer(1));
}

static void op_join_own(struct world *w, unsigned who)
{
    expect(w, who, gr_domain_attach(&w->dom[1], &w->dev[1]));
}

/* Either may meet what goes wrong once. */
static void op_place_or_fail(struct world *w, unsigned who)
{
    w->ret[who] = gr_domain_map(&w->dom[0], own(w, who), buffer(who), G, RW);
    if (!w->ret[who] && !w->dom[0].broken)
        lives(w, SID, own(w, who), buffer(who));
}

static void op_displace_or_fail(struct world *w, unsigned who)
{
    (void)dies(w, SID, own(w, who));
    for (unsigned i = 0; i < LIVE; i++)
        w->live[i].on = false; /* all streams are blocked if it fails */
    w->ret[who] = gr_domain_unmap(&w->dom[0], own(w, who), G);
    if (!w->ret[who])
        is_gone(w, SID, own(w, who), buffer(who));
}

/* Both unmap granule 0. */
static void op_displace_same(struct world *w, unsigned who)
{
    if (find(w, SID, own(w, 0)))
        (void)dies(w, SID, own(w, 0));
    w->ret[who] = gr_domain_unmap(&w->dom[0], own(w, 0), G);
    is_gone(w, SID, own(w, 0), buffer(0));
}

/* ---- before and after ---- */

static void map_a(struct world *w)
{
    op_map(w, 0);
    w->iova[0] = w->live[0].iova;
}

static void map_both(struct world *w)
{
    map_a(w);
    op_map(w, 1);
    w->iova[1] = w->live[1].iova;
}

static void map_b(struct world *w)
{
    op_map(w, 1);
    w->iova[1] = w->live[0].iova;
}

static void list_a(struct world *w)
{
    op_map_sg(w, 0);
}

static void alloc_b(struct world *w)
{
    op_alloc(w, 1);
}

static void place_a(struct world *w)
{
    op_place(w, 0);
}

static void join(struct world *w)
{
    op_join(w, 1);
}

static void join_and_place_b(struct world *w)
{
    op_join(w, 1);
    op_place(w, 1);
}

static void join_own(struct world *w)
{
    op_join_own(w, 1);
}

static void raise_fault(struct world *w)
{
    gr_pa_t pa;

    if (translates(w, SID, w->base, &pa) || !(w->m.is_smmu ? w->m.smmu_hw.irq : w->m.hw.irq))
        il_fail("a wild access did not fault");
}

static void raise_fault_map_a(struct world *w)
{
    map_a(w);
    raise_fault(w);
}

/* One fault waits for its delivery, the next for its interrupt. */
static void raise_two_faults(struct world *w)
{
    raise_fault(w);
    op_isr(w, 0);
    raise_fault(w);
}

static void fail_alloc(struct world *w)
{
    host_fail_alloc(w->m.host, 1);
}

static void place_a_then_hang(struct world *w)
{
    op_place(w, 0);
    w->m.hang = true;
}

static void one_failed(struct world *w)
{
    if ((w->ret[0] == GR_ENOMEM) + (w->ret[1] == GR_ENOMEM) != 1 ||
        w->ret[0] + w->ret[1] != GR_ENOMEM)
        il_fail("one allocation failed, and the calls gave %d and %d", w->ret[0], w->ret[1]);
}

static void one_unmapped(struct world *w)
{
    if ((w->ret[0] == 0) + (w->ret[1] == 0) != 1 || w->ret[0] + w->ret[1] != GR_ENOENT)
        il_fail("one range was unmapped twice, and the calls gave %d and %d", w->ret[0], w->ret[1]);
}

/* A's unmap met it and B's map is refused, or B's map met it, and then A's went well. */
static void one_timed_out(struct world *w)
{
    const bool a = w->ret[0] == GR_ETIMEDOUT && w->ret[1] == GR_EIO && w->dom[0].broken;
    const bool b = w->ret[0] == 0 && w->ret[1] == GR_ETIMEDOUT && !w->dom[0].broken;

    if (!a && !b)
        il_fail("one invalidation failed, and the calls gave %d and %d, domain %s", w->ret[0],
                w->ret[1], w->dom[0].broken ? "broken" : "whole");
}

static void one_fault(struct world *w)
{
    if (w->dispatched != 1 || w->delivered != 1)
        il_fail("one fault was raised, %u dispatched, %u delivered", w->dispatched, w->delivered);
}

/* It has a queue, and what the test asks after the unmap faults as well. */
static void some_faults(struct world *w)
{
    if (w->dispatched < 1 || w->delivered != 1)
        il_fail("a fault was raised, %u dispatched, %u delivered", w->dispatched, w->delivered);
}

static void two_faults(struct world *w)
{
    op_dispatch(w, 0);
    if (w->dispatched != 2 || w->delivered != 2)
        il_fail("two faults were raised, %u dispatched, %u delivered", w->dispatched, w->delivered);
}

/* dev[1] has come: it gets where dev[0] gets. */
static void both_see(struct world *w)
{
    for (unsigned i = 0; i < LIVE; i++) {
        if (w->live[i].on && w->live[i].sid == SID)
            lives(w, SID + 1, w->live[i].iova, w->live[i].pa);
    }
    watch(w);
}

/* ---- the scenarios ---- */

#define TR GR_DOMAIN_TRANSLATED
#define UN GR_DOMAIN_UNMANAGED

static const struct scenario scenarios[] = {
    {.name = "map-map", .bound = 3, .type = TR, .op = {op_map, op_map}},
    {.name = "map-map-t8110", .bound = 3, .type = TR, .t8110 = true, .op = {op_map, op_map}},
    {.name = "map-map-firmware", .bound = 3, .type = TR, .firmware = true, .op = {op_map, op_map}},
    {.name = "list-list-firmware",
     .bound = 2,
     .type = TR,
     .firmware = true,
     .two_tables = true,
     .op = {op_map_sg, op_map_sg}},
    {.name = "again-again-firmware",
     .bound = 2,
     .type = TR,
     .firmware = true,
     .op = {op_map_unmap, op_map_unmap}},
    {.name = "map-unmap", .bound = 3, .type = TR, .before = map_b, .op = {op_map, op_unmap}},
    {.name = "unmap-unmap", .bound = 3, .type = TR, .before = map_both, .op = {op_unmap, op_unmap}},
    {.name = "unmap-again",
     .bound = 3,
     .type = TR,
     .before = map_b,
     .op = {op_map_unmap, op_unmap}},
    {.name = "again-again", .bound = 3, .type = TR, .op = {op_map_unmap, op_map_unmap}},
    {.name = "list-list", .bound = 3, .type = TR, .two_tables = true, .op = {op_map_sg, op_map_sg}},
    {.name = "unlist-list",
     .bound = 3,
     .type = TR,
     .two_tables = true,
     .before = list_a,
     .op = {op_unmap_sg, op_map_sg}},
    {.name = "alloc-free", .bound = 3, .type = TR, .before = alloc_b, .op = {op_alloc, op_free}},
    {.name = "alloc-free-incoherent",
     .bound = 3,
     .type = TR,
     .incoherent = true,
     .before = alloc_b,
     .op = {op_alloc, op_free}},
    {.name = "unmap-sync",
     .bound = 3,
     .type = TR,
     .incoherent = true,
     .before = map_both,
     .op = {op_unmap, op_sync}},
    {.name = "unmap-ask", .bound = 3, .type = TR, .before = map_a, .op = {op_unmap, op_ask}},
    {.name = "map-interrupt",
     .type = TR,
     .bound = 3,
     .before = raise_fault,
     .op = {op_map, op_interrupt},
     .after = one_fault},
    {.name = "unmap-interrupt-t8110",
     .type = TR,
     .t8110 = true,
     .bound = 3,
     .before = raise_fault_map_a,
     .op = {op_unmap, op_interrupt},
     .after = one_fault},
    {.name = "map-unmap-smmu",
     .type = TR,
     .smmu = true,
     .bound = 3,
     .before = map_b,
     .op = {op_map, op_unmap}},
    {.name = "unmap-unmap-smmu",
     .type = TR,
     .smmu = true,
     .bound = 3,
     .before = map_both,
     .op = {op_unmap, op_unmap}},
    {.name = "unmap-unmap-two-domains-smmu",
     .type = TR,
     .smmu = true,
     .two_domains = true,
     .bound = 3,
     .before = map_both,
     .op = {op_unmap, op_unmap}},
    {.name = "unmap-interrupt-smmu",
     .type = TR,
     .smmu = true,
     .bound = 3,
     .before = raise_fault_map_a,
     .op = {op_unmap, op_interrupt},
     .after = some_faults},
    {.name = "interrupt-dispatch",
     .bound = 3,
     .type = TR,
     .before = raise_two_faults,
     .op = {op_isr, op_dispatch},
     .after = two_faults},
    {.name = "map-map-two-domains",
     .type = TR,
     .two_domains = true,
     .bound = 3,
     .op = {op_map, op_map}},
    {.name = "unmap-unmap-two-domains",
     .type = TR,
     .two_domains = true,
     .bound = 3,
     .before = map_both,
     .op = {op_unmap, op_unmap}},
    {.name = "map-map-no-memory",
     .type = UN,
     .before = fail_alloc,
     .op = {op_place_or_fail, op_place_or_fail},
     .after = one_failed},
    {.name = "unmap-map-timeout",
     .type = UN,
     .before = place_a_then_hang,
     .op = {op_displace_or_fail, op_place_or_fail},
     .after = one_timed_out},
    {.name = "map-map-unmanaged", .type = UN, .op = {op_place, op_place}},
    {.name = "unmap-map-unmanaged", .type = UN, .before = place_a, .op = {op_displace, op_place}},
    {.name = "unmap-unmap-overlap",
     .type = UN,
     .overlap = true,
     .before = place_a,
     .op = {op_displace_same, op_displace_same},
     .after = one_unmapped},
    {.name = "unmap-trim", .type = UN, .before = place_a, .op = {op_displace, op_trim}},
    {.name = "attach-map-firmware",
     .type = UN,
     .bound = 3,
     .firmware = true,
     .op = {op_join, op_place_first},
     .after = both_see},
    {.name = "detach-unmap-firmware",
     .type = UN,
     .bound = 3,
     .firmware = true,
     .before = join_and_place_b,
     .op = {op_leave, op_displace}},
    {.name = "move-map-firmware",
     .type = UN,
     .bound = 2,
     .firmware = true,
     .before = join_own,
     .op = {op_join, op_place_first},
     .after = both_see},
    {.name = "attach-map", .type = UN, .op = {op_join, op_place_first}, .after = both_see},
    {.name = "attach-unmap", .type = UN, .before = place_a, .op = {op_displace, op_join}},
    {.name = "detach-map", .type = UN, .before = join, .op = {op_leave, op_place_first}},
    {.name = "detach-unmap", .type = UN, .before = join_and_place_b, .op = {op_leave, op_displace}},
    {.name = "move-map",
     .bound = 3,
     .type = UN,
     .before = join_own,
     .op = {op_join, op_place_first},
     .after = both_see},
    {.name = "attach-elsewhere-map", .type = UN, .bound = 3, .op = {op_join_own, op_place_first}},
};

/* ---- one schedule ---- */

static bool is_command(const struct machine *m, uint32_t offset)
{
    return offset == (m->drv.kind == GR_DART_T8110 ? 0x80u : 0x20u);
}

static uint32_t tap_read32(void *opaque, uint32_t offset)
{
    struct machine *const m = opaque;
    uint32_t value = dart_model_read32(m->hw.model, offset);

    if (is_command(m, offset) && m->hung && m->hung == m->drv.inst.lock.cookie) {
        value |= m->drv.kind == GR_DART_T8110 ? 0x80000000u : 0x4u;
        host_advance(m->host, GR_CFG_DART_TIMEOUT_NS); /* so that the wait has few steps */
    }
    return value;
}

static void tap_write32(void *opaque, uint32_t offset, uint32_t value)
{
    struct machine *const m = opaque;

    if (is_command(m, offset) && m->hang) {
        m->hang = false;
        m->hung = m->drv.inst.lock.cookie;
    }
    dart_model_write32(m->hw.model, offset, value);
}

static bool on_fault(void *cookie, const struct gr_fault *fault)
{
    struct world *const w = cookie;

    w->delivered += fault->stream == SID && fault->iova == w->base;
    return true;
}

static uint32_t smmu_read32(void *opaque, uint32_t offset)
{
    struct machine *const m = opaque;

    return smmuv3_model_read32(m->smmu_hw.model, offset);
}

static void smmu_write32(void *opaque, uint32_t offset, uint32_t value)
{
    struct machine *const m = opaque;

    smmuv3_model_write32(m->smmu_hw.model, offset, value);
}

static void smmu_write64(void *opaque, uint32_t offset, uint64_t value)
{
    struct machine *const m = opaque;

    smmuv3_model_write64(m->smmu_hw.model, offset, value);
}

/* An SMMUv3 instead of the DART: a small one, since each schedule has its own. */
static void make_smmu(struct machine *m, struct gr_range aperture, uint64_t with)
{
    struct smmuv3_model_config model = smmuv3_model_defaults();
    const struct gr_smmuv3_config config = {
        .env = m->host,
        .mmio = &m->tap,
        .mmio_size = 0x20000,
        .name = "smmu",
        .granule_lg2 = 14,
        .va_bits = 36,
        .stream_bits = 4,
        .aperture = aperture,
    };

    model.keep_all = true;
    model.tlb_entries = model.walk_entries = 8;
    m->is_smmu = true;
    assert_true(host_smmuv3_init(&m->smmu_hw, m->host, &model, with));
    m->tap = (struct host_mmio){
        .host = m->host,
        .opaque = m,
        .size = 0x20000,
        .read32 = smmu_read32,
        .write32 = smmu_write32,
        .write64 = smmu_write64,
    };
    assert_int_equal(gr_smmuv3_init(&m->smmu, &config), 0);
    m->inst = &m->smmu.inst;
}

/* What firmware leaves in a t8020: DART.md 2. */
static void boot(struct machine *m)
{
    for (unsigned sid = SID; sid < SID + SIDS; sid++) {
        gr_pa_t root;

        assert_int_equal(host_firmware_alloc(m->host, G, &root), 0);
        dart_model_poke32(m->hw.model, 0x200 + 16 * sid, 0x80000000u | (uint32_t)(root >> 12));
        dart_model_poke32(m->hw.model, 0x100 + 4 * sid, 0x80);
    }
    dart_model_poke32(m->hw.model, 0xfc, 0xffff);
}

static void make_machine(struct machine *m, const struct scenario *s, struct gr_range aperture,
                         uint64_t with)
{
    const bool t8110 = s->t8110;
    const struct host_config host = {
        .cpu_page = 4096,
        .nbanks = 1,
        .nreserved = 1,
        .seed = with,
        .banks = {{RAM, RAM_SIZE}},
        .reserved = {{RAM, 2 * BUFFER}},
    };
    struct dart_model_config model =
        dart_model_defaults(t8110 ? DART_MODEL_T8110 : DART_MODEL_T8020);
    char why[160];

    m->host = host_create(&host, why, sizeof(why));
    assert_non_null(m->host);
    host_log_level(m->host, -1);
    if (s->smmu) {
        make_smmu(m, aperture, with);
        return;
    }
    model.keep_all = true;
    assert_true(host_dart_init(&m->hw, m->host, &model, with));
    m->tap = (struct host_mmio){
        .host = m->host,
        .opaque = m,
        .size = 0x4000,
        .read32 = tap_read32,
        .write32 = tap_write32,
    };

    if (s->firmware)
        boot(m);

    const struct gr_dart_config config = {
        .kind = t8110 ? GR_DART_T8110 : GR_DART_T8020,
        .env = m->host,
        .mmio = &m->tap,
        .mmio_size = 0x4000,
        .name = "dart",
        .aperture = aperture,
    };

    assert_int_equal(gr_dart_init(&m->drv, &config), 0);
    m->inst = &m->drv.inst;
}

static void end_machine(struct machine *m)
{
    if (m->is_smmu)
        host_smmuv3_fini(&m->smmu_hw);
    else
        host_dart_fini(&m->hw);
    (void)host_destroy(m->host);
}

static void make_world(struct world *w, const struct scenario *s, uint64_t with)
{
    memset(w, 0, sizeof(*w));
    w->scenario = s;
    w->base = SPAN - (s->two_tables ? WINDOW / 2 * G : 0);
    make_machine(&w->m, s, (struct gr_range){w->base, w->base + WINDOW * G - 1}, with);
    gr_instance_set_fault_handler(w->m.inst, on_fault, w);
    for (unsigned i = 0; i < 2; i++) {
        const struct gr_device_config config = {
            .name = "device",
            .streams = &w->stream[i],
            .stream_count = 1,
            .coherent = !s->incoherent,
        };

        w->stream[i] = (struct gr_stream){
            .inst = w->m.inst,
            .sid = SID + i,
            .window = {0, UINT64_MAX},
        };
        assert_int_equal(gr_device_init(&w->dev[i], &config), 0);
        assert_int_equal(
            gr_domain_init(&w->dom[i], w->m.host, &w->dev[i], s->type, GR_DOMAIN_LP_AWARE), 0);
    }
    assert_int_equal(gr_domain_attach(&w->dom[0], &w->dev[0]), 0);
    if (s->two_domains)
        assert_int_equal(gr_domain_attach(&w->dom[1], &w->dev[1]), 0);
}

/* Take down what a schedule left: single-threaded, and now it must all work. */
static void end_world(struct world *w)
{
    if (w->scenario->type == TR) {
        for (unsigned who = 0; who < 2; who++) {
            if (w->list[who].out_count && find(w, SID, w->list[who].out[0].iova))
                op_unmap_sg(w, who);
            if (w->cpu[who] && find(w, SID, w->iova[who]))
                op_free(w, who);
        }
    }
    for (unsigned i = 0; i < LIVE; i++) {
        const struct live l = w->live[i];
        const unsigned d = w->scenario->two_domains ? l.sid - SID : 0;

        if (!l.on)
            continue;
        if (w->scenario->type == TR)
            op_unmap_at(w, d, l.iova);
        else
            op_displace(w, (unsigned)((l.iova - w->base) / G));
    }
    for (unsigned i = 0; i < 2; i++) {
        struct gr_domain *const domain = w->dev[i].group->domain;
        struct gr_domain_stats stats;

        if (domain && gr_domain_detach(domain, &w->dev[i]))
            il_fail("the device does not detach");
        gr_domain_stats(&w->dom[i], &stats);
        if (w->scenario->type == TR && (stats.iova.allocations || stats.iova.held))
            il_fail("IOVAs are left: %" PRIu64, stats.iova.allocated);
    }
    for (unsigned i = 0; i < 2; i++) {
        struct gr_domain_stats stats;

        /* of what one CPU mapped and another unmapped, a table may stay with the first */
        if (w->scenario->type == TR && !w->dom[i].broken &&
            gr_domain_trim(&w->dom[i], w->dom[i].aperture.first,
                           w->dom[i].aperture.last - w->dom[i].aperture.first + 1))
            il_fail("domain %u is not trimmed", i);
        gr_domain_stats(&w->dom[i], &stats);
        if (w->scenario->type == TR && stats.tables != 1)
            il_fail("%" PRIu64 " tables are left", stats.tables);
        if (gr_domain_fini(&w->dom[i]) || gr_device_fini(&w->dev[i]))
            il_fail("domain %u does not end", i);
    }
    if (w->m.is_smmu ? gr_smmuv3_fini(&w->m.smmu) : gr_dart_fini(&w->m.drv))
        il_fail("the instance does not end");
    if (host_leaks(w->m.host))
        il_fail("%d pages leaked", host_leaks(w->m.host));
    check_machine(w);
}

static void run_op(void *arg, unsigned who)
{
    struct world *const w = arg;

    w->scenario->op[who](w, who);
}

/* Returns whether all held. */
static bool run_schedule(struct world *w, const struct scenario *s, uint64_t with)
{
    (void)snprintf(il.seed, sizeof(il.seed), "%" PRIu64, with);
    *il.failure = '\0';
    make_world(w, s, with);
    if (s->before)
        s->before(w);
    il_run(run_op, run_op, watch, w);
    if (s->after)
        s->after(w);
    if (!w->dom[0].broken) {
        walk_all(w);
        check_domain(w, &w->dom[0]);
        check_domain(w, &w->dom[1]);
    }
    check_machine(w);
    if (!*il.failure)
        end_world(w);
    end_machine(&w->m);
    if (!*il.failure)
        return true;
    (void)fprintf(stderr, "%s: %s\n", s->name, il.failure);
    il_say_schedule();
    return false;
}

static uint64_t seed;
static const char *only;   /* SCHEDULE */
static const char *deeper; /* BOUND */

/* The overlap detector's lock, taken twice in each unmap, multiplies the orders. */
static unsigned bound_of(const struct scenario *s)
{
#if GR_CFG_DEBUG
    return s->bound ? s->bound - 1 : 3;
#else
    return s->bound;
#endif
}

static void explore(void **state)
{
    const struct scenario *const s = *state;
    const unsigned bound = deeper ? (unsigned)strtoul(deeper, NULL, 0) : bound_of(s);
    const size_t length = strlen(s->name);
    const char *replay = NULL;
    static struct world w;
    uint64_t n = 0;
    uint64_t overlaps = 0; /* schedules in which one was seen */
    size_t longest = 0;

    if (only && (strncmp(only, s->name, length) != 0 || (only[length] && only[length] != ':')))
        skip();
    if (only && only[length])
        replay = only + length + 1;
    il_begin(s->name, bound, replay);
    do {
        if (!run_schedule(&w, s, replay ? seed : seed + n))
            fail();
        n++;
        overlaps += w.overlaps != 0;
        longest = il.taken > longest ? il.taken : longest;
    } while (!replay && il_next());
    if (bound)
        printf("%s: %" PRIu64 " schedules, all with at most %u preemptions", s->name, n, bound);
    else
        printf("%s: %" PRIu64 " schedules, all there are", s->name, n);
    printf(", of up to %zu choices\n", longest);
    assert_true(replay || n > 1);
    if (GR_CFG_DEBUG && s->overlap && !replay) /* and calls one after the other are no error */
        assert_in_range(overlaps, 1, n - 2);
}

int main(void)
{
    struct CMUnitTest tests[sizeof(scenarios) / sizeof(scenarios[0])];
    int failed;

    seed = chance_seed("interleave");
    only = getenv("SCHEDULE");
    deeper = getenv("BOUND");
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tests[i] = (struct CMUnitTest){
            .name = scenarios[i].name,
            .test_func = explore,
            .initial_state = (void *)(uintptr_t)&scenarios[i],
        };
    il_start();
    failed = cmocka_run_group_tests_name("interleave", tests, NULL, NULL);
    il_stop();
    return failed;
}
