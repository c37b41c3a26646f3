/* SPDX-License-Identifier: MIT */
/*
 * Threads that use one instance at the same time: the DMA API on one domain and on two, UNMANAGED
 * maps beside attach and detach, while other threads ask for translations, let the walker fetch
 * what it likes, and serve the interrupt. The IOVA space is so small that leaf tables come and go
 * all the time. `make check` runs it under ThreadSanitizer as well. The order of threads is not
 * replayed by SEED, what each of them does is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rig.h"
#include "rounds.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define WORKERS 4u
#define OTHERS 4u
#define DELIVER 3u /* the one of them that may be deliver() */
#define SLOTS 3u
#define SEGS 3u
#define OPS rounds_of(2000)
#define BUSY_NS 400u /* of a TLB command */
#define G UINT64_C(0x4000)
#define SPAN (UINT64_C(1) << 25)
#define EACH 7u /* granules of the aperture in each of two leaf tables */
#define ROOM (8 * G)

enum kind { NONE, SINGLE, LIST, COHERENT };

struct slot {
    enum kind kind;
    gr_pa_t ram; /* ROOM bytes of its own */
    gr_pa_t pa;
    uint64_t len;
    gr_iova_t iova;
    void *cpu;
    enum gr_dma_dir dir;
    struct gr_dma_list list;
    struct gr_seg segs[SEGS];
    struct gr_dma_seg out[SEGS];
};

struct test;

struct worker {
    struct test *test;
    pthread_t thread;
    uint64_t rng;
    unsigned id;
    struct gr_device *dev;
    struct gr_domain *dom;
    struct slot slot[SLOTS];
    uint64_t maps, lists, allocs, full;
};

struct test {
    struct rig rig;
    bool smmu;          /* the instances are SMMUv3s */
    pthread_mutex_t hw; /* the model is not for threads */
    struct gr_stream stream[2];
    struct gr_device dev[2];
    struct gr_domain dom[2];
    unsigned domains;
    struct worker worker[WORKERS];
    uint64_t rng[2]; /* of `ask` and `wander` */
    atomic_bool stop;
    atomic_uint bad;
    atomic_bool delivered;   /* a fault */
    pthread_barrier_t start; /* of the workers */
    pthread_mutex_t why_lock;
    char why[200]; /* the first */
};

__attribute__((format(printf, 2, 3))) static void bad(struct test *t, const char *fmt, ...)
{
    va_list ap;

    pthread_mutex_lock(&t->why_lock);
    va_start(ap, fmt);
    if (!atomic_fetch_add(&t->bad, 1))
        (void)vsnprintf(t->why, sizeof(t->why), fmt, ap);
    va_end(ap);
    pthread_mutex_unlock(&t->why_lock);
}

/* ---- the hardware, one at a time ---- */

static uint32_t locked_read32(void *opaque, uint32_t offset)
{
    struct test *const t = opaque;
    uint32_t value;

    pthread_mutex_lock(&t->hw);
    value = t->smmu ? smmuv3_model_read32(t->rig.dart[0].smmu_hw.model, offset)
                    : dart_model_read32(t->rig.dart[0].hw.model, offset);
    pthread_mutex_unlock(&t->hw);
    return value;
}

static void locked_write32(void *opaque, uint32_t offset, uint32_t value)
{
    struct test *const t = opaque;

    pthread_mutex_lock(&t->hw);
    if (t->smmu)
        smmuv3_model_write32(t->rig.dart[0].smmu_hw.model, offset, value);
    else
        dart_model_write32(t->rig.dart[0].hw.model, offset, value);
    pthread_mutex_unlock(&t->hw);
}

static enum model_result translate(struct test *t, uint32_t sid, gr_iova_t iova, bool write,
                                   gr_pa_t *out_pa)
{
    return t->smmu
               ? smmuv3_model_translate(t->rig.dart[0].smmu_hw.model, sid, iova, write, 1, out_pa)
               : dart_model_translate(t->rig.dart[0].hw.model, sid, iova, write, 1, out_pa);
}

static bool device(struct worker *w, gr_iova_t iova, void *buf, uint64_t len, bool write)
{
    struct test *const t = w->test;
    const unsigned sid = w->dev->config.streams[0].sid;
    enum model_result result;

    pthread_mutex_lock(&t->hw);
    if (t->smmu)
        result = host_smmuv3_access(&t->rig.dart[0].smmu_hw, sid, iova, buf, len, write,
                                    w->dev->config.coherent, NULL);
    else
        result = host_dart_access(&t->rig.dart[0].hw, sid, iova, buf, len, write,
                                  w->dev->config.coherent, NULL);
    pthread_mutex_unlock(&t->hw);
    return result == MODEL_OK;
}

static bool translates(struct worker *w, gr_iova_t iova, gr_pa_t *out_pa)
{
    struct test *const t = w->test;
    enum model_result result = MODEL_STALLED;

    while (result == MODEL_STALLED) {
        pthread_mutex_lock(&t->hw);
        result = translate(t, w->dev->config.streams[0].sid, iova, false, out_pa);
        pthread_mutex_unlock(&t->hw);
        if (result == MODEL_STALLED)
            host_advance(t->rig.host, 100);
    }
    return result == MODEL_OK;
}

/* ---- a worker's calls ---- */

static bool expect(struct worker *w, const char *what, int ret)
{
    if (ret)
        bad(w->test, "worker %u: %s: %s", w->id, what, gr_strerror(ret));
    return !ret;
}

/* A map may find the aperture full, and nothing else. */
static bool made(struct worker *w, const char *what, int ret)
{
    if (ret == GR_ENOSPC)
        w->full++;
    else
        (void)expect(w, what, ret);
    return !ret;
}

static void fill_slot(struct worker *w, struct slot *s)
{
    const unsigned what = (unsigned)chance_below(&w->rng, 8);

    s->dir = GR_DMA_BIDIRECTIONAL;
    if (what < 4) {
        s->pa = s->ram + chance_below(&w->rng, G);
        s->len = 1 + chance_below(&w->rng, 2 * G);
        if (!made(w, "map", gr_dma_map(w->dev, s->pa, s->len, s->dir, 0, &s->iova)))
            return;
        s->kind = SINGLE;
        w->maps++;
    } else if (what < 7) {
        for (unsigned i = 0; i < SEGS; i++)
            s->segs[i] = (struct gr_seg){s->ram + 2 * i * G, G};
        s->list = (struct gr_dma_list){.segs = s->segs, .count = SEGS, .out = s->out};
        if (!made(w, "map_sg", gr_dma_map_sg(w->dev, &s->list, s->dir, 0)))
            return;
        s->kind = LIST;
        s->iova = s->out[0].iova;
        s->pa = s->ram;
        s->len = G;
        w->lists++;
    } else {
        s->len = 1 + chance_below(&w->rng, 2 * G);
        if (!made(w, "alloc", gr_dma_alloc(w->dev, s->len, 0, &s->cpu, &s->iova)))
            return;
        s->kind = COHERENT;
        if (!host_pa_of(w->test->rig.host, s->cpu, &s->pa))
            bad(w->test, "worker %u: coherent memory is nowhere", w->id);
        w->allocs++;
    }
}

static void empty_slot(struct worker *w, struct slot *s)
{
    gr_pa_t pa;
    int ret = 0;

    if (s->kind == SINGLE)
        ret = gr_dma_unmap(w->dev, s->iova, s->len, s->dir, 0);
    else if (s->kind == LIST)
        ret = gr_dma_unmap_sg(w->dev, &s->list, s->dir, 0);
    else
        ret = gr_dma_free(w->dev, s->len, 0, s->cpu, s->iova);
    (void)expect(w, "unmap", ret);
    /* The IOVA may be someone else's by now; coherent memory as well. */
    if (s->kind != COHERENT && translates(w, s->iova, &pa) && pa == s->pa)
        bad(w->test, "worker %u: 0x%" PRIx64 " still leads to the buffer", w->id, s->iova);
    s->kind = NONE;
}

/* Where does it lead, by the library's walk and by the model's? */
static void check_walk(struct worker *w, const struct slot *s, uint64_t offset)
{
    gr_pa_t pa = 0;
    gr_pa_t seen = 0;

    (void)expect(w, "iova_to_phys", gr_domain_iova_to_phys(w->dom, s->iova + offset, &pa));
    if (pa != s->pa + offset || !translates(w, s->iova + offset, &seen) || seen != pa)
        bad(w->test,
            "worker %u: 0x%" PRIx64 " leads to 0x%" PRIx64 " and 0x%" PRIx64 ", not 0x%" PRIx64,
            w->id, s->iova + offset, pa, seen, s->pa + offset);
}

/* Both ways: the CPU writes and the device reads, and then the device writes. */
static void use_slot(struct worker *w, const struct slot *s)
{
    const size_t len = s->len < 64 ? (size_t)s->len : 64;
    const uint64_t offset = chance_below(&w->rng, s->len - len + 1);
    uint8_t *cpu = s->kind == COHERENT ? (uint8_t *)s->cpu + offset
                                       : host_ptr(w->test->rig.host, s->pa + offset, len);
    uint8_t sent[64];
    uint8_t got[64] = {0};

    for (unsigned i = 0; i < sizeof(sent); i++)
        sent[i] = (uint8_t)chance_below(&w->rng, 256);
    check_walk(w, s, offset);
    if (s->kind != COHERENT)
        (void)expect(w, "sync", gr_dma_sync_for_cpu(w->dev, s->iova + offset, len, s->dir));
    memcpy(cpu, sent, len);
    if (s->kind != COHERENT)
        (void)expect(w, "sync", gr_dma_sync_for_device(w->dev, s->iova + offset, len, s->dir));
    if (!device(w, s->iova + offset, got, len, false) || memcmp(got, sent, len) != 0)
        bad(w->test, "worker %u: the device does not read what the CPU wrote", w->id);
    for (unsigned i = 0; i < len; i++)
        sent[i] ^= 0xff;
    if (!device(w, s->iova + offset, sent, len, true))
        bad(w->test, "worker %u: the device cannot write", w->id);
    if (s->kind != COHERENT)
        (void)expect(w, "sync", gr_dma_sync_for_cpu(w->dev, s->iova + offset, len, s->dir));
    if (memcmp(cpu, sent, len) != 0)
        bad(w->test, "worker %u: the CPU does not read what the device wrote", w->id);
}

static void *work(void *arg)
{
    struct worker *const w = arg;

    const unsigned ops = OPS;

    (void)pthread_barrier_wait(&w->test->start);
    for (unsigned i = 0; i < ops && !atomic_load(&w->test->bad); i++) {
        struct slot *const s = &w->slot[chance_below(&w->rng, SLOTS)];

        if (s->kind == NONE)
            fill_slot(w, s);
        else if (chance_below(&w->rng, 3))
            empty_slot(w, s);
        else
            use_slot(w, s);
    }
    return NULL;
}

/* ---- the others ---- */

static gr_iova_t anywhere(const struct gr_domain *domain, uint64_t *rng)
{
    const struct gr_range a = domain->aperture;

    return a.first + chance_below(rng, a.last - a.first + 1);
}

static void *ask(void *arg)
{
    struct test *const t = arg;

    while (!atomic_load(&t->stop)) {
        struct gr_domain *const domain = &t->dom[chance_below(&t->rng[0], t->domains)];
        const gr_iova_t iova = anywhere(domain, &t->rng[0]);
        struct gr_domain_stats stats;
        gr_pa_t pa = 0;
        const int ret = gr_domain_iova_to_phys(domain, iova, &pa);

        if (ret && ret != GR_ENOENT)
            bad(t, "iova_to_phys: %s", gr_strerror(ret));
        gr_domain_stats(domain, &stats);
        if (stats.broken)
            bad(t, "a domain broke");
    }
    return NULL;
}

/* Prefetches everywhere, and now and then an access that faults. */
static void *wander(void *arg)
{
    struct test *const t = arg;
    gr_pa_t pa;

    while (!atomic_load(&t->stop)) {
        const unsigned sid = RIG_SID + (unsigned)chance_below(&t->rng[1], 2);
        const gr_iova_t iova = anywhere(&t->dom[0], &t->rng[1]);

        pthread_mutex_lock(&t->hw);
        rig_prefetch(&t->rig, 0, sid, iova);
        if (!chance_below(&t->rng[1], 8))
            (void)translate(t, sid, iova, true, &pa);
        pthread_mutex_unlock(&t->hw);
    }
    return NULL;
}

static void *serve(void *arg)
{
    struct test *const t = arg;
    struct gr_dart *const dart = &t->rig.dart[0].drv;

    while (t->smmu && !atomic_load(&t->stop))
        (void)gr_smmuv3_isr(&t->rig.dart[0].smmu); /* whether there is something or not */
    while (!atomic_load(&t->stop)) {
        bool raised;

        pthread_mutex_lock(&t->hw);
        raised = t->rig.dart[0].hw.irq;
        pthread_mutex_unlock(&t->hw);
        if (raised != gr_dart_isr(dart) && raised)
            bad(t, "the instance says that it raised no interrupt");
    }
    return NULL;
}

static void *deliver(void *arg)
{
    struct test *const t = arg;

    while (!atomic_load(&t->stop)) {
        if (gr_fault_dispatch(t->rig.dart[0].inst))
            atomic_store(&t->delivered, true);
    }
    return NULL;
}

/* ---- making and ending ---- */

/* dev[1] is behind the second DART, if there is one, whose model only the driver's lock protects.
 */
static void make_test(struct test *t, const char *name, unsigned kind, struct gr_range aperture,
                      enum gr_domain_type type, unsigned domains, unsigned darts)
{
    const struct rig_setup setup[2] = {{kind, aperture}, {kind, aperture}};
    struct rig_dart *const d = &t->rig.dart[0];
    const uint64_t seed = chance_seed(name);

    memset(t, 0, sizeof(*t));
    t->smmu = rig_is_smmu(kind);
    rig_make(&t->rig, 4096, seed, darts, setup);
    pthread_mutex_init(&t->hw, NULL);
    pthread_mutex_init(&t->why_lock, NULL);
    pthread_barrier_init(&t->start, NULL, WORKERS);
    d->tap.opaque = t;
    d->tap.read32 = locked_read32;
    d->tap.write32 = locked_write32;
    rig_set_busy(&t->rig, 0, BUSY_NS, false);
    t->domains = domains;
    for (unsigned i = 0; i < 2; i++) {
        struct gr_device_config config =
            rig_device(&t->rig, &t->stream[i], i * (darts - 1), 1, RIG_SID + i);

        config.coherent = i;
        assert_int_equal(gr_device_init(&t->dev[i], &config), 0);
        if (i >= domains)
            continue;
        assert_int_equal(
            gr_domain_init(&t->dom[i], t->rig.host, &t->dev[i], type, GR_DOMAIN_LP_AWARE), 0);
        assert_int_equal(gr_domain_attach(&t->dom[i], &t->dev[i]), 0);
    }
    for (unsigned i = 0; i < 2; i++)
        t->rng[i] = ~seed - i;
    for (unsigned i = 0; i < WORKERS; i++) {
        t->worker[i] = (struct worker){
            .test = t,
            .rng = seed * WORKERS + i,
            .id = i,
            .dev = &t->dev[i % domains],
            .dom = &t->dom[i % domains],
        };
    }
}

static void run_threads(struct test *t, void *(*worker)(void *), void *(*const others[])(void *))
{
    pthread_t other[OTHERS];

    for (unsigned i = 0; i < OTHERS; i++)
        assert_int_equal(pthread_create(&other[i], NULL, others[i], t), 0);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&t->worker[i].thread, NULL, worker, &t->worker[i]), 0);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_join(t->worker[i].thread, NULL), 0);
    while (others[DELIVER] == deliver && !atomic_load(&t->delivered))
        sched_yield(); /* on a busy machine the workers may be done before the first fault */
    atomic_store(&t->stop, true);
    for (unsigned i = 0; i < OTHERS; i++)
        assert_int_equal(pthread_join(other[i], NULL), 0);
}

static void end_test(struct test *t)
{
    for (unsigned i = 0; i < t->domains; i++) {
        struct gr_domain_stats stats;

        gr_domain_stats(&t->dom[i], &stats);
        if (stats.tables != rig_root_tables(&t->dom[i]) || stats.iova.allocations ||
            stats.iova.held || stats.overlaps)
            bad(t,
                "domain %u: %" PRIu64 " tables, %" PRIu64 " allocations, %" PRIu64
                " bytes held, %" PRIu64 " overlaps",
                i, stats.tables, stats.iova.allocations, stats.iova.held, stats.overlaps);
    }
    if (atomic_load(&t->bad))
        fail_msg("%u bad, the first: %s", atomic_load(&t->bad), t->why);
    for (unsigned i = 0; i < 2; i++) {
        struct gr_domain *const domain = gr_device_domain(&t->dev[i]);

        if (domain)
            assert_int_equal(gr_domain_detach(domain, &t->dev[i]), 0);
    }
    for (unsigned i = 0; i < t->domains; i++)
        assert_int_equal(gr_domain_fini(&t->dom[i]), 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(gr_device_fini(&t->dev[i]), 0);
    rig_end(&t->rig);
    pthread_mutex_destroy(&t->hw);
    pthread_mutex_destroy(&t->why_lock);
    pthread_barrier_destroy(&t->start);
}

/* ---- the DMA API ---- */

static void dma_threads(const char *name, unsigned kind, unsigned domains)
{
    static void *(*const others[OTHERS])(void *) = {ask, wander, serve, deliver};
    static struct test t;
    uint64_t coherent = 0;
    uint64_t tables;
    uint64_t maps = 0;

    make_test(&t, name, kind, (struct gr_range){SPAN - EACH * G, SPAN + EACH * G - 1},
              GR_DOMAIN_TRANSLATED, domains, 1);
    for (unsigned i = 0; i < WORKERS; i++) {
        for (unsigned k = 0; k < SLOTS; k++)
            t.worker[i].slot[k].ram = rig_ram(&t.rig, ROOM, G);
    }
    tables = host_allocs(t.rig.host);
    run_threads(&t, work, others);
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *const w = &t.worker[i];

        printf("worker %u: %" PRIu64 " maps, %" PRIu64 " lists, %" PRIu64 " buffers, %" PRIu64
               " times no room\n",
               i, w->maps, w->lists, w->allocs, w->full);
        maps += w->maps + w->lists + w->allocs;
        coherent += w->allocs;
    }
    /* What lives at the end still works, and only then goes. */
    for (unsigned i = 0; i < WORKERS; i++) {
        for (unsigned k = 0; k < SLOTS; k++) {
            if (t.worker[i].slot[k].kind != NONE)
                use_slot(&t.worker[i], &t.worker[i].slot[k]);
        }
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        for (unsigned k = 0; k < SLOTS; k++) {
            if (t.worker[i].slot[k].kind != NONE)
                empty_slot(&t.worker[i], &t.worker[i].slot[k]);
        }
    }
    tables = host_allocs(t.rig.host) - tables - coherent;
    printf("%" PRIu64 " maps, %" PRIu64 " tables made, %" PRIu64 " faults\n", maps, tables,
           t.rig.faults);
    end_test(&t);
    assert_true(maps > WORKERS * OPS / 10);
    assert_true(tables > maps / 100); /* tables did come and go */
    assert_true(t.rig.faults > 0);
}

static void test_one_domain(void **state)
{
    (void)state;
    dma_threads("one domain", RIG_T8020, 1);
}

static void test_two_domains(void **state)
{
    (void)state;
    dma_threads("two domains", RIG_T8020, 2);
}

static void test_smmuv3(void **state)
{
    (void)state;
    dma_threads("two domains of an SMMUv3", RIG_SMMU, 2);
}

/* ---- UNMANAGED ---- */

#define PAGE UINT64_C(0x1000)
#define TABLE (UINT64_C(1) << 21) /* spanned by a leaf table at 4 KiB */
#define ROUNDS rounds_of(40)

/*
 * Each worker has granules in a table of all and, every now and then, all of a table of its own,
 * which the unmap frees.
 */
static void *place(void *arg)
{
    struct worker *const w = arg;
    struct test *const t = w->test;
    const gr_iova_t base = t->dom[0].aperture.first;
    const gr_iova_t whole = base + (1 + w->id) * TABLE;
    const unsigned rounds = ROUNDS;

    (void)pthread_barrier_wait(&t->start);
    for (unsigned i = 0; i < rounds && !atomic_load(&t->bad); i++) {
        const gr_iova_t one = base + (chance_below(&w->rng, 64) * WORKERS + w->id) * PAGE;
        gr_pa_t pa = RIG_BIG + w->id * TABLE;

        if (!expect(w, "map", gr_domain_map(&t->dom[0], one, pa, PAGE, RW)) ||
            !expect(w, "map", gr_domain_map(&t->dom[0], whole, pa, TABLE, RW)))
            break;
        if (!translates(w, one, &pa) || pa != RIG_BIG + w->id * TABLE)
            bad(t, "worker %u: lost its granule", w->id);
        if (!translates(w, whole + TABLE - 1, &pa) || pa != RIG_BIG + (w->id + 1) * TABLE - 1)
            bad(t, "worker %u: lost its table", w->id);
        (void)expect(w, "unmap", gr_domain_unmap(&t->dom[0], whole, TABLE));
        (void)expect(w, "unmap", gr_domain_unmap(&t->dom[0], one, PAGE));
        if (translates(w, one, &pa) || translates(w, whole, &pa))
            bad(t, "worker %u: still there after the unmap", w->id);
    }
    /* Nobody may map while tables are trimmed; others may unmap, and trim the same table. */
    for (unsigned i = 0; i < rounds; i++) {
        const gr_iova_t one = base + w->id * PAGE;

        (void)expect(w, "map", gr_domain_map(&t->dom[0], one, RIG_BIG, PAGE, RW));
        (void)pthread_barrier_wait(&t->start);
        (void)expect(w, "unmap", gr_domain_unmap(&t->dom[0], one, PAGE));
        (void)expect(w, "trim", gr_domain_trim(&t->dom[0], one, PAGE));
        (void)pthread_barrier_wait(&t->start);
    }
    return NULL;
}

static void *come_and_go(void *arg)
{
    struct test *const t = arg;

    while (!atomic_load(&t->stop)) {
        if (gr_domain_attach(&t->dom[0], &t->dev[1]) || gr_domain_detach(&t->dom[0], &t->dev[1]))
            bad(t, "a second device does not come and go");
    }
    return NULL;
}

static void test_unmanaged(void **state)
{
    /* Faults are not delivered while devices come and go: fault.h. */
    static void *(*const others[OTHERS])(void *) = {ask, wander, serve, come_and_go};
    const gr_iova_t base = 8 * TABLE;
    static struct test t;

    (void)state;
    make_test(&t, "unmanaged", RIG_T8110_4K,
              (struct gr_range){base, base + (1 + WORKERS) * TABLE - 1}, GR_DOMAIN_UNMANAGED, 1, 2);
    run_threads(&t, place, others);
    end_test(&t);
}

/* ---- slots, and unmaps that wait ---- */

static int say_done(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding)
{
    (void)inst;
    (void)stream;
    (void)binding;
    return 0;
}

static int say_attached(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                        struct gr_binding *binding)
{
    (void)pt;
    return say_done(inst, stream, binding);
}

static int say_forgotten(struct gr_instance *inst, struct gr_binding *binding, gr_iova_t first,
                         gr_iova_t last, bool tables)
{
    (void)inst;
    (void)binding;
    (void)tables;
    sched_yield(); /* whoever finds the ring full meanwhile */
    return first <= last ? 0 : GR_EINVAL;
}

static const struct gr_instance_ops easy_ops = {
    .attach = say_attached, .block = say_done, .invalidate = say_forgotten};

struct crowd {
    struct rig rig;
    struct gr_instance inst;
    struct gr_stream stream;
    struct gr_device dev;
    struct gr_domain dom;
    struct gr_bounce pool;
    bool one_cpu;    /* all share a ring, which they find full when another flushes it */
    atomic_uint bad; /* the number of the first check that failed */
    atomic_bool stop;
};

struct member {
    struct crowd *crowd;
    pthread_t thread;
    uint64_t rng;
    gr_pa_t ram;
    uint64_t maps, full;
};

/* What went wrong first. */
static void wrong(struct crowd *c, unsigned what, bool is)
{
    unsigned none = 0;

    if (is)
        (void)atomic_compare_exchange_strong(&c->bad, &none, what);
}

/* What the device writes to a buffer arrives, and nobody else's. */
static void *bounce(void *arg)
{
    struct member *const m = arg;
    struct crowd *const c = m->crowd;
    const unsigned ops = OPS;

    if (c->one_cpu)
        host_set_cpu(0);
    for (unsigned i = 0; i < ops; i++) {
        const uint64_t offset = chance_below(&m->rng, G);
        const uint64_t len = 1 + chance_below(&m->rng, 2 * G);
        uint8_t *const at = host_ptr(c->rig.host, m->ram + offset, len);
        const uint8_t mark = (uint8_t)(1 + chance_below(&m->rng, 250));
        gr_iova_t iova;
        gr_pa_t pa;
        int ret;

        at[0] = at[len - 1] = 0;
        ret = gr_dma_map(&c->dev, m->ram + offset, len, GR_DMA_BIDIRECTIONAL, 0, &iova);
        if (ret) {
            m->full++;
            wrong(c, 1, ret != GR_ENOBUFS && ret != GR_ENOSPC);
            continue;
        }
        m->maps++;
        wrong(c, 2, gr_domain_iova_to_phys(&c->dom, iova + len - 1, &pa) != 0);
        wrong(c, 3, !host_mem_write(c->rig.host, pa, &mark, 1, true));
        if (i % 3 == 0)
            wrong(c, 4, gr_dma_sync_for_cpu(&c->dev, iova, len, GR_DMA_BIDIRECTIONAL) != 0);
        wrong(c, 5, gr_dma_unmap(&c->dev, iova, len, GR_DMA_BIDIRECTIONAL, 0) != 0);
        wrong(c, 6, at[len - 1] != mark);
    }
    return NULL;
}

/* The host's timer, and who asks how it goes. */
static void *tick(void *arg)
{
    struct crowd *const c = arg;

    while (!c->one_cpu && !atomic_load(&c->stop)) {
        struct gr_bounce_stats stats;
        struct gr_domain_stats domain;

        wrong(c, 7, gr_domain_flush(&c->dom) != 0);
        gr_bounce_stats(&c->pool, &stats);
        gr_domain_stats(&c->dom, &domain);
        wrong(c, 8, domain.deferred > GR_CFG_DEFER * GR_CFG_COUNTS);
        host_advance(c->rig.host, GR_CFG_DEFER_NS / 8);
    }
    return NULL;
}

static void crowd(const char *name, unsigned flags, bool one_cpu)
{
    static struct crowd c;
    static struct member m[WORKERS];
    const struct gr_bounce_config limits = {UINT64_C(0xfffffffff), 2 * GR_BOUNCE_CHUNK, 0};
    struct gr_device_config config = {.name = "device",
                                      .streams = &c.stream,
                                      .stream_count = 1,
                                      .isolation =
                                          one_cpu ? GR_ISOLATION_EXPOSE : GR_ISOLATION_BOUNCE,
                                      .coherent = true};
    const uint64_t room = one_cpu ? 400 * G : 40 * G;
    const uint64_t seed = chance_seed(name);
    struct gr_domain_stats stats;
    uint64_t maps = 0;
    pthread_t timer;

    memset(&c, 0, sizeof(c));
    c.one_cpu = one_cpu;
    rig_make_plain(&c.rig, RIG_T8020, 1);
    c.inst = (struct gr_instance){
        .ops = &easy_ops,
        .env = c.rig.host,
        .name = "easy",
        .table = c.rig.dart[0].drv.inst.table,
        .aperture = {SPAN - room, SPAN + room - 1},
        .streams = 1,
        .caches_absent = !one_cpu && seed % 2,
    };
    gr_instance_init(&c.inst);
    c.stream = (struct gr_stream){.inst = &c.inst, .window = {0, UINT64_MAX}};
    assert_int_equal(gr_device_init(&c.dev, &config), 0);
    assert_int_equal(gr_domain_init(&c.dom, c.rig.host, &c.dev, GR_DOMAIN_TRANSLATED, flags), 0);
    assert_int_equal(gr_bounce_init(&c.pool, c.rig.host, &limits), 0);
    assert_int_equal(gr_domain_set_bounce(&c.dom, &c.pool), 0);
    assert_int_equal(gr_domain_attach(&c.dom, &c.dev), 0);
    assert_int_equal(pthread_create(&timer, NULL, tick, &c), 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        m[i] = (struct member){.crowd = &c, .rng = seed + i, .ram = rig_ram(&c.rig, 4 * G, G)};
        assert_int_equal(pthread_create(&m[i].thread, NULL, bounce, &m[i]), 0);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(pthread_join(m[i].thread, NULL), 0);
        maps += m[i].maps;
    }
    atomic_store(&c.stop, true);
    assert_int_equal(pthread_join(timer, NULL), 0);
    assert_int_equal(c.bad, 0);
    assert_true(maps > WORKERS * OPS / 4);
    assert_int_equal(gr_domain_flush(&c.dom), 0);
    assert_int_equal(gr_domain_detach(&c.dom, &c.dev), 0);
    gr_domain_stats(&c.dom, &stats);
    assert_int_equal(stats.iova.held, 0);
    assert_int_equal(stats.overlaps, 0);
    assert_int_equal(gr_domain_fini(&c.dom), 0);
    assert_int_equal(gr_bounce_fini(&c.pool), 0);
    assert_int_equal(gr_device_fini(&c.dev), 0);
    assert_int_equal(gr_instance_fini(&c.inst), 0);
    rig_end(&c.rig);
}

static void test_slots(void **state)
{
    (void)state;
    crowd("slots", 0, false);
}

static void test_deferred(void **state)
{
    (void)state;
    crowd("deferred", GR_DOMAIN_DEFERRED, false);
}

static void test_one_ring(void **state)
{
    (void)state;
    crowd("one ring", GR_DOMAIN_DEFERRED, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(test_one_domain), rig_test(test_two_domains), rig_test(test_smmuv3),
        rig_test(test_unmanaged),  rig_test(test_slots),       rig_test(test_deferred),
        rig_test(test_one_ring),
    };

    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
