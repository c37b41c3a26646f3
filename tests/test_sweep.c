/* SPDX-License-Identifier: MIT */
/*
 * Every failure at every place. Each public call that allocates or waits is a step of a scenario,
 * on every kind of DART. First each allocation of each step fails in turn: all is as before, and
 * the step works when it is repeated. Then each wait for the hardware, for a moment, for longer,
 * and for good: nothing passes that should not, the caller is told, what cannot be undone is
 * quarantined, and everything else goes on. scripts/check-sweep.sh sees that no call is missing.
 */
#include "sweep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define STEPS 24u

struct scenario {
    const char *name;
    unsigned ready; /* so many steps only prepare: no failures there, they have been had */
    bool alone;     /* no bystander */
    struct sweep_step step[STEPS];
};

static struct sweep_kind kinds[] = {
    {"t8020", RIG_T8020, true, 1},
    {"t8020, 3 DARTs", RIG_T8020, false, 3},
    {"t8020 of 4K, four TTBRs", RIG_T8020_4K, false, 2},
    {"t6000", RIG_T6000, false, 1},
    {"t6000, 2 DARTs", RIG_T6000, true, 2},
    {"t8110", RIG_T8110, true, 1},
    {"t8110 of 4K", RIG_T8110_4K, false, 1},
    {"t8110 of 4K, three levels, 2 DARTs", RIG_T8110_4K_VA39, false, 2},
    {"t8110, three levels", RIG_T8110_VA42, false, 1},
    {"t8110, three levels, 3 DARTs", RIG_T8110_VA42, true, 3},
    {"t8110 2.2", RIG_T8110_2_2, true, 1},
    {"usb4, 2 DARTs", RIG_USB4, true, 2},
    {"s5l8960x", RIG_S5L8960X, true, 1},
    /* From here on not the waits: no map waits there, and what does not answer is not blocked. */
    {"SMMUv3 of 16K", RIG_SMMU_VA48, true, 1},
    {"SMMUv3 of 4K, 2 of them", RIG_SMMU_4K_VA39, false, 2},
    {"SMMUv3 of stage 2", RIG_SMMU_S2_4K_VA40, true, 1},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))
#define DARTS 10u

#define STEP_OF(call, class, a, b, ...)                                                            \
    {                                                                                              \
#call, sweep_##call, class, a, b                                                           \
    }
#define STEP(...) STEP_OF(__VA_ARGS__, 0, 0, ) /* call, class, a, b; of these zeroes can go */

/* The main device in a domain of its own; maps of `granules` straddle two tables. */
#define READY(granules)                                                                            \
    STEP(device_init, NEVER, MAIN), STEP(domain_init, MEMORY, MAIN, TRANSLATED(OURS)),             \
        STEP(attach, ATTACH, MAIN, OURS), STEP(set_mask, NEVER, MAIN, granules)

static const struct scenario scenarios[] = {
    {"a DART",
     0,
     true,
     {STEP(dart_fini, NEVER, 0), STEP(dart_init, START, 0), STEP(instance, NEVER, 0),
      STEP(instance_handler, NEVER, 0), STEP(instance_fault, NEVER, 0), STEP(dart_fini, NEVER, 0),
      STEP(dart_init, START, 0)}},
    {"power", 4, true, {READY(0), STEP(dart_suspend, POWER, 0), STEP(dart_lost, POWER, 0)}},
    {"a life",
     0,
     false,
     {STEP(device_init, NEVER, MAIN), STEP(domain_init, MEMORY, MAIN, TRANSLATED(OURS)),
      STEP(attach, ATTACH, MAIN, OURS), STEP(device_ask, NEVER, MAIN, OURS),
      STEP(domain_ask, NEVER, MAIN, OURS), STEP(limits, NEVER, MAIN), STEP(map, MAP, ODD),
      STEP(sync_for_cpu, NEVER, ODD), STEP(sync_for_device, NEVER, ODD),
      STEP(iova_to_phys, NEVER, ODD), STEP(set_mask, NEVER, MAIN, 4), STEP(map, MAP, ACROSS),
      STEP(unmap, UNMAP, ODD), STEP(domain_handler, NEVER, MAIN, OURS), STEP(isr, NEVER, 0),
      STEP(unmap, UNMAP, ACROSS), STEP(detach, DETACH, MAIN, OURS),
      STEP(domain_fini, NEVER, MAIN, OURS), STEP(device_fini, NEVER, MAIN)}},
    {"lists",
     4,
     false,
     {READY(6), STEP(map, MAP, SCATTER), STEP(set_limits, NEVER, MAIN, 2), STEP(map, MAP, LIMITED),
      STEP(sync_for_cpu, NEVER, SCATTER), STEP(sync_for_device, NEVER, LIMITED),
      STEP(unmap, UNMAP, SCATTER), STEP(unmap, UNMAP, LIMITED)}},
    {"buffers",
     4,
     false,
     {READY(0), STEP(map, MAP, RING), STEP(map, MAP, RINGS), STEP(unmap, UNMAP, RING),
      STEP(unmap, UNMAP, RINGS)}},
    {"bookkeeping that is used up, by a range",
     5,
     false,
     {READY(0), STEP(fill_up, MAP, CROWD), STEP(map, MAP, ODD), STEP(unmap, UNMAP, ODD)}},
    {"bookkeeping that is used up, by a list",
     5,
     false,
     {READY(0), STEP(fill_up, MAP, CROWD), STEP(map, MAP, SCATTER), STEP(unmap, UNMAP, SCATTER)}},
    {"bookkeeping that is used up, by a buffer",
     5,
     false,
     {READY(0), STEP(fill_up, MAP, CROWD), STEP(map, MAP, RINGS), STEP(unmap, UNMAP, RINGS)}},
    {"a domain of the caller's",
     2,
     false,
     {STEP(device_init, NEVER, MAIN), STEP(device_init, NEVER, SECOND),
      STEP(domain_init, MEMORY, MAIN, UNMANAGED(OTHER)), STEP(attach, ATTACH, MAIN, OTHER),
      STEP(attach, ATTACH, SECOND, OTHER), STEP(map, MAP, FIXED), STEP(iova_to_phys, NEVER, FIXED),
      STEP(unmap_half, UNMAP, FIXED), STEP(map, MAP, NEAR), STEP(unmap, UNMAP, NEAR),
      STEP(trim, TRIM, FIXED), STEP(map, MAP, WHOLE), STEP(unmap, UNMAP, WHOLE),
      STEP(detach, DETACH, SECOND, OTHER), STEP(unmap, UNMAP, FIXED),
      STEP(detach, DETACH, MAIN, OTHER), STEP(domain_fini, NEVER, MAIN, OTHER)}},
    {"moves",
     6,
     false,
     {READY(0), STEP(domain_init, MEMORY, MAIN, UNMANAGED(OTHER)), STEP(map, MAP, ODD),
      STEP(attach, MOVE, MAIN, OTHER), STEP(map, MAP, FIXED), STEP(attach, MOVE, MAIN, OURS),
      STEP(unmap, UNMAP, ODD), STEP(attach, MOVE, MAIN, OTHER), STEP(unmap, UNMAP, FIXED)}},
    {"two devices that share a stream",
     2,
     false,
     {STEP(device_init, NEVER, MAIN), STEP(device_init, NEVER, SHARER),
      STEP(domain_init, MEMORY, SHARER, TRANSLATED(OURS)), STEP(attach, ATTACH, SHARER, OURS),
      STEP(device_ask, NEVER, MAIN, OURS), STEP(map, MAP, ODD), STEP(unmap, UNMAP, ODD),
      STEP(detach, DETACH, MAIN, OURS), STEP(device_fini, NEVER, MAIN),
      STEP(device_fini, NEVER, SHARER)}},
    {"reserved ranges",
     5,
     false,
     {READY(0), STEP(detach, DETACH, MAIN, OURS), STEP(device_init, NEVER, SECOND),
      STEP(domain_init, MEMORY, SECOND, TRANSLATED(OTHER)), STEP(attach, ATTACH, SECOND, OURS),
      STEP(map, MAP, LATER), STEP(unmap, UNMAP, LATER), STEP(detach, DETACH, SECOND, OURS)}},
    {"slots",
     4,
     false,
     {STEP(pool_init, MEMORY, 0), STEP(device_init, NEVER, MAIN, BOUNCES),
      STEP(domain_init, MEMORY, MAIN, TRANSLATED(OURS)), STEP(set_bounce, NEVER, 0, OURS),
      STEP(attach, ATTACH, MAIN, OURS), STEP(set_mask, NEVER, MAIN, 4), STEP(map, MAP, ODD),
      STEP(pool_ask, NEVER, 2), STEP(sync_for_cpu, NEVER, ODD), STEP(sync_for_device, NEVER, ODD),
      STEP(map, MAP, SCATTER), STEP(unmap, UNMAP, SCATTER), STEP(unmap, UNMAP, ODD),
      STEP(pool_ask, NEVER, 0), STEP(detach, DETACH, MAIN, OURS),
      STEP(domain_fini, NEVER, MAIN, OURS), STEP(pool_fini, NEVER)}},
    {"slots from the start",
     0,
     true,
     {STEP(pool_init, MEMORY, 1), STEP(pool_ask, NEVER, 0), STEP(pool_fini, NEVER)}},
    {"unmaps that wait",
     2,
     false,
     {STEP(pool_init, MEMORY, 0), STEP(device_init, NEVER, MAIN, BOUNCES),
      STEP(domain_init, MEMORY, MAIN, DEFERRED(OURS)), STEP(set_bounce, NEVER, 0, OURS),
      STEP(attach, ATTACH, MAIN, OURS), STEP(set_mask, NEVER, MAIN, 4), STEP(map, MAP, ODD),
      STEP(unmap, NEVER, ODD), STEP(pool_ask, NEVER, 2), STEP(flush, FLUSH, ODD, OURS),
      STEP(flush_again, NEVER, ODD, OURS), STEP(pool_ask, NEVER, 0), STEP(map, MAP, ACROSS),
      STEP(unmap, NEVER, ACROSS), STEP(flush, FLUSH, ACROSS, OURS),
      STEP(detach, DETACH, MAIN, OURS), STEP(domain_fini, NEVER, MAIN, OURS)}},
    {"memory at an offset",
     0,
     false,
     {STEP(device_init, NEVER, MAIN), STEP(policy, NEVER, MAIN), STEP(linear, MEMORY, MAIN, OTHER),
      STEP(attach, ATTACH, MAIN, OTHER), STEP(detach, DETACH, MAIN, OTHER),
      STEP(domain_fini, NEVER, MAIN, OTHER)}},
    {"tables alone",
     0,
     true,
     {STEP(pt_init, MEMORY), STEP(pt_map, MEMORY, 3), STEP(pt_ask, NEVER, 3),
      STEP(pt_unmap, NEVER, 3, 0), STEP(pt_trim, NEVER, 3), STEP(pt_free, NEVER),
      STEP(pt_unmap, NEVER, 3, 1), STEP(pt_free, NEVER), STEP(pt_fini, NEVER)}},
    {"a space alone",
     0,
     true,
     {STEP(iova_init, MEMORY), STEP(iova_reserve, MEMORY, 3), STEP(iova_alloc, MEMORY, 1),
      STEP(iova_fixed, MEMORY, 5), STEP(iova_fill, MEMORY, 1), STEP(iova_fixed, MEMORY, 9),
      STEP(iova_ask, NEVER), STEP(iova_begin, NEVER), STEP(iova_finish, NEVER),
      STEP(iova_fini, NEVER)}},
    {"a space alone, used up before a range is reserved",
     2,
     true,
     {STEP(iova_init, MEMORY), STEP(iova_fill, MEMORY, 1), STEP(iova_reserve, MEMORY, 3)}},
    {"a space alone, used up before a range is allocated",
     2,
     true,
     {STEP(iova_init, MEMORY), STEP(iova_fill, MEMORY, 2), STEP(iova_alloc, MEMORY, 2)}},
};

#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

static char where[200];   /* what is going on, for messages */
static unsigned failures; /* had in this test */

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("%s: not so: %s", where, #condition);                                         \
    } while (0)

static void say(const struct sweep *s, const struct scenario *sc, unsigned i, const char *what,
                uint64_t n)
{
    (void)snprintf(where, sizeof(where), "%s: %s: step %u (%s), %s %u", s->kind->name, sc->name, i,
                   sc->step[i].name, what, (unsigned)n);
}

static bool is_mapping(const struct sweep_step *step)
{
    return step->class == MAP || step->class == UNMAP || step->class == TRIM ||
           step->class == FLUSH;
}

static int take(struct sweep *s, const struct sweep_step *step)
{
    int rc;

    s->watched = is_mapping(step) ? &s->slot[step->a] : NULL;
    rc = step->call(s, step);
    s->watched = NULL;
    return rc;
}

static void take_well(struct sweep *s, const struct scenario *sc, unsigned i)
{
    const int rc = take(s, &sc->step[i]);

    if (rc)
        fail_msg("%s: step %u (%s): %s", where, i, sc->step[i].name, gr_strerror(rc));
}

static void begin(struct sweep *s, const struct scenario *sc)
{
    s->waits = 0;
    s->crowd = 0;
    if (!sc->alone)
        sweep_bystander(s);
}

/* ---- Allocations ---- */

/* A failed call: the error, and nothing else. */
static void expect(struct sweep *s, int rc, int want, const struct sweep_seen *before,
                   unsigned kinds_of_number)
{
    if (rc != want)
        fail_msg("%s: %s", where, gr_strerror(rc));
    sweep_same(s, before, kinds_of_number, where);
    sweep_probe(s, where);
}

/*
 * What a failed step leaves alone. A roll back in a caller's domain trims: empty tables may go. An
 * SMMUv3's start has a first stream in it here, so it may have to be stopped again.
 */
static unsigned kept(const struct sweep *s, const struct sweep_step *step)
{
    const bool trims = step->class == MAP && s->slot[step->a].how == SLOT_FIXED;

    if (step->class == START && rig_is_smmu(s->kind->rig))
        return SEEN_ALL & ~SEEN_HARDWARE;
    return trims ? SEEN_ALL & ~(SEEN_TABLES | SEEN_COUNT) : SEEN_ALL;
}

/* One step with every allocation failing in turn, until it needs no more. */
static void fail_allocations(struct sweep *s, const struct scenario *sc, unsigned i)
{
    const struct sweep_step *const step = &sc->step[i];
    struct sweep_seen before;
    int rc = GR_ENOMEM;

    sweep_look(s, &before);
    if (step->call == sweep_map && s->slot[step->a].how == SLOT_BUFFER && !s->kind->coherent) {
        say(s, sc, i, "uncached mapping", 1);
        host_fail_uncached(s->rig.host, 1);
        expect(s, take(s, step), GR_EOPNOTSUPP, &before, SEEN_ALL);
        host_fail_uncached(s->rig.host, 0);
    }
    for (unsigned n = 1; rc; n++) {
        const uint64_t begun = host_allocs(s->rig.host);

        say(s, sc, i, "allocation", n);
        host_fail_alloc(s->rig.host, n);
        rc = take(s, step);
        host_fail_alloc(s->rig.host, 0);
        CHECK((rc == 0) == (host_allocs(s->rig.host) - begun < n));
        CHECK(!rc || step->class != NEVER);
        if (rc)
            expect(s, rc, GR_ENOMEM, &before, kept(s, step));
        failures += rc != 0;
    }
}

static void sweep_allocations(struct sweep *s, const struct scenario *sc)
{
    begin(s, sc);
    for (unsigned i = 0; i < STEPS && sc->step[i].call; i++) {
        say(s, sc, i, "no failure", 0);
        if (i < sc->ready)
            take_well(s, sc, i);
        else
            fail_allocations(s, sc, i);
        sweep_probe(s, where);
    }
    sweep_down(s, false);
    CHECK(s->lost_pages + s->lost_tables == 0);
}

/* ---- Waits ---- */

/* How one wait fails, and what the host does about it. */
struct hitch {
    const char *name;
    enum sweep_hang hang;
    bool repaired; /* before everything is taken down */
    bool device_first;
};

static const struct hitch hitches[] = {
    {"for a moment, wait", HANG_ONCE, true, false},
    {"for long, wait", HANG_TWICE, true, true},
    {"until repaired, wait", HANG_ALWAYS, true, false},
    {"for good, wait", HANG_ALWAYS, false, false},
    {"for good and without its device, wait", HANG_ALWAYS, false, true},
};

struct moment {
    struct sweep_seen seen;
    struct gr_domain *attached; /* the step's device to, where it has one */
    struct gr_domain_stats stats;
    uint64_t bytes; /* that a mapping's step is about */
    uint64_t lost_tables;
    uint64_t timeouts[RIG_DARTS]; /* that the drivers count */
};

static struct gr_domain *domain_of(struct sweep *s, const struct sweep_step *step)
{
    return is_mapping(step) ? &s->domain[s->slot[step->a].dom] : &s->domain[step->b & 15u];
}

static bool is_attach(const struct sweep_step *step)
{
    return step->class == ATTACH || step->class == MOVE;
}

static struct moment moment(struct sweep *s, const struct sweep_step *step)
{
    struct moment m = {.lost_tables = s->lost_tables};

    for (unsigned i = 0; i < s->kind->darts; i++)
        m.timeouts[i] = step->class == START ? 0 : s->rig.dart[i].drv.timeouts;
    sweep_probe(s, where); /* so that TLBs and walk caches know all that there is */
    sweep_look(s, &m.seen);
    if (is_attach(step) || step->class == DETACH)
        m.attached = gr_device_domain(&s->dev[step->a]);
    if (is_mapping(step)) {
        gr_domain_stats(domain_of(s, step), &m.stats);
        m.bytes = sweep_slot_bytes(s, &s->slot[step->a]) >> (step->call == sweep_unmap_half);
    }
    return m;
}

/* No map into a broken domain. */
static void expect_no_maps(struct sweep *s, const struct sweep_step *step)
{
    const struct sweep_slot *const slot = &s->slot[step->a];
    struct gr_domain *const domain = domain_of(s, step);
    struct sweep_seen before;
    gr_iova_t iova;
    void *cpu;

    sweep_look(s, &before);
    if (domain->type == GR_DOMAIN_TRANSLATED) {
        expect(s, gr_dma_map(&s->dev[slot->dev], s->slot[ODD].pa, 1, GR_DMA_TO_DEVICE, 0, &iova),
               GR_EIO, &before, SEEN_ALL);
        expect(s, gr_dma_alloc(&s->dev[slot->dev], 1, 0, &cpu, &iova), GR_EIO, &before, SEEN_ALL);
    } else {
        expect(s, gr_domain_map(domain, 0, 0, s->g, GR_PROT_READ), GR_EIO, &before, SEEN_ALL);
    }
}

/* What cannot be undone: quarantined, counted, told, blocked. sweep_probe() tries every stream. */
static void expect_quarantine(struct sweep *s, const struct sweep_step *step,
                              const struct moment *m)
{
    struct gr_domain *const domain = domain_of(s, step);
    const bool unmaps = step->class == UNMAP && domain->type == GR_DOMAIN_TRANSLATED;
    struct gr_domain_stats stats;

    CHECK(strstr(host_last_log(s->rig.host), "quarantined"));
    gr_domain_stats(domain, &stats);
    CHECK(stats.broken);
    CHECK(stats.quarantined_bytes - m->stats.quarantined_bytes == m->bytes);
    CHECK(stats.iova.allocations + unmaps == m->stats.iova.allocations);
    if (domain->type == GR_DOMAIN_TRANSLATED) /* what waits was held before */
        CHECK(stats.iova.held >= m->bytes + (step->class == FLUSH ? 0 : m->stats.iova.held));
    CHECK(stats.tables >= m->stats.tables); /* what was taken out is not freed */
    if (step->class != MAP)
        sweep_same(s, &m->seen, SEEN_MEMORY, where);
    expect_no_maps(s, step);
    if (step->call == sweep_unmap) { /* it is unmapped */
        struct sweep_seen before;

        sweep_look(s, &before);
        expect(s, take(s, step), GR_ENOENT, &before, SEEN_ALL);
    }
}

static void judge_map(struct sweep *s, const struct sweep_step *step, const struct hitch *hitch,
                      const struct moment *m)
{
    struct sweep_slot *const slot = &s->slot[step->a];

    if (step->class == MAP && hitch->hang == HANG_ONCE) { /* the second attempt was confirmed */
        sweep_same(s, &m->seen, kept(s, step), where);
        return;
    }
    if (step->class == MAP)
        slot->lost = slot->how == SLOT_BUFFER;
    expect_quarantine(s, step, m);
}

/* It is where it was, or nowhere and blocked. No domain has changed. */
static void judge_attach(struct sweep *s, const struct sweep_step *step, const struct hitch *hitch,
                         const struct moment *m)
{
    const struct gr_domain *const now = gr_device_domain(&s->dev[step->a]);

    if (now == m->attached) { /* a stream whose last answer is missing is still asked for one */
        sweep_same(s, &m->seen, hitch->hang == HANG_ONCE ? SEEN_ALL : SEEN_ALL & ~SEEN_NOTES,
                   where);
        return;
    }
    CHECK(!now);
    CHECK(hitch->hang != HANG_ONCE);
    sweep_same(s, &m->seen, SEEN_ALL & ~(SEEN_DEVICE | SEEN_HARDWARE | SEEN_NOTES), where);
}

static void judge(struct sweep *s, const struct sweep_step *step, const struct hitch *hitch,
                  const struct moment *m)
{
    switch (step->class) {
    case MAP:
    case UNMAP:
    case TRIM:
    case FLUSH:
        judge_map(s, step, hitch, m);
        break;
    case ATTACH:
    case MOVE:
        judge_attach(s, step, hitch, m);
        break;
    case DETACH:
        CHECK(!gr_device_domain(&s->dev[step->a]));
        sweep_same(s, &m->seen, SEEN_ALL & ~(SEEN_DEVICE | SEEN_HARDWARE | SEEN_NOTES), where);
        break;
    case START:
        CHECK(!(s->dart_live[step->a]));
        sweep_same(s, &m->seen, SEEN_ALL & ~SEEN_HARDWARE, where);
        break;
    case POWER: /* all streams are stopped */
        sweep_same(s, &m->seen, SEEN_ALL & ~SEEN_HARDWARE, where);
        break;
    case NEVER:
    case MEMORY:
        fail_msg("%s: it waits", where);
    }
    sweep_probe(s, where);
}

/* Others on the same instance go on, or are blocked where it does not answer them either. */
static void judge_bystander(struct sweep *s, bool stuck)
{
    const struct sweep_step map = STEP(map, MAP, THEIR_NEW);
    const int rc = take(s, &map);

    if (rc != (stuck ? GR_ETIMEDOUT : 0))
        fail_msg("%s: the bystander's map: %s", where, gr_strerror(rc));
    if (stuck)
        CHECK(s->domain[THEIRS].broken);
    sweep_probe(s, where);
}

/* Where nothing is lost, the same step works now, and all that follow it. */
static void go_on(struct sweep *s, const struct scenario *sc, unsigned i, bool again)
{
    for (i += !again; i < STEPS && sc->step[i].call; i++) {
        take_well(s, sc, i);
        sweep_probe(s, where);
    }
}

static void after(struct sweep *s, const struct scenario *sc, unsigned i, const struct hitch *hitch,
                  int rc)
{
    const struct sweep_step *const step = &sc->step[i];
    const struct sweep_step back = {"attach", sweep_attach, ATTACH, step->a, step->b};

    if (!hitch->repaired)
        return;
    if (!rc || is_attach(step) || step->class == START || step->class == POWER ||
        (step->class == MAP && hitch->hang == HANG_ONCE)) {
        go_on(s, sc, i, rc != 0);
    } else if (step->class == DETACH) { /* what was in doubt is confirmed */
        CHECK(take(s, &back) == 0);
        go_on(s, sc, i, true);
    }
}

/* A mapping that no attached device can reach: only an attach, so an answer, gets it unmapped. */
static bool is_stranded(const struct sweep *s)
{
    for (unsigned i = 0; i < SWEEP_SLOTS; i++) {
        const struct sweep_slot *const slot = &s->slot[i];

        if (slot->live && slot->how != SLOT_FIXED &&
            gr_device_domain(&s->dev[slot->dev]) != &s->domain[slot->dom])
            return true;
    }
    return false;
}

static void fail_wait(struct sweep *s, const struct scenario *sc, unsigned i, unsigned n,
                      const struct hitch *hitch)
{
    const struct sweep_step *const step = &sc->step[i];
    const bool loses = is_mapping(step) || step->class == DETACH;
    struct moment m;
    bool repaired;
    int rc;

    begin(s, sc);
    for (unsigned k = 0; k < i; k++)
        take_well(s, sc, k);
    say(s, sc, i, hitch->name, n);
    m = moment(s, step);
    s->waits = 0;
    s->fail_wait = n;
    s->hang = hitch->hang;
    rc = take(s, step);
    s->fail_wait = 0;
    CHECK(s->stuck >= 0);
    CHECK(s->rig.dart[s->stuck].drv.timeouts > m.timeouts[s->stuck]);
    if (rc || step->class != MOVE) {
        if (rc != GR_ETIMEDOUT)
            fail_msg("%s: %s", where, gr_strerror(rc));
        judge(s, step, hitch, &m);
    }
    sweep_probe(s, where);
    if (hitch->hang != HANG_ALWAYS)
        host_advance(s->rig.host, 3 * (uint64_t)GR_CFG_DART_TIMEOUT_NS);
    if (!sc->alone)
        judge_bystander(s, hitch->hang == HANG_ALWAYS && s->stuck == 0);
    repaired = hitch->repaired || step->class == START || is_stranded(s);
    if (repaired)
        sweep_repair(s);
    after(s, sc, i, hitch, rc);
    sweep_down(s, hitch->device_first);
    if (repaired)
        CHECK(s->lost_tables == m.lost_tables);
    else if (loses)
        CHECK(s->lost_tables > m.lost_tables);
    sweep_repair(s);
    failures++;
}

static void restart(struct sweep *s)
{
    for (unsigned i = 0; i < s->kind->darts; i++) {
        const struct sweep_step step = {.a = i};

        if (s->dart_live[i])
            CHECK(sweep_dart_fini(s, &step) == 0);
        CHECK(sweep_dart_init(s, &step) == 0);
    }
}

static void fail_waits(struct sweep *s, const struct scenario *sc, unsigned i, unsigned waits)
{
    for (unsigned n = 1; n <= waits; n++) {
        for (size_t k = 0; k < sizeof(hitches) / sizeof(hitches[0]); k++) {
            fail_wait(s, sc, i, n, &hitches[k]);
            if ((n + k) % 2 || !s->dart_live[0])
                restart(s);
        }
    }
}

/* How often each step waits. */
static void count_waits(struct sweep *s, const struct scenario *sc, unsigned *out)
{
    begin(s, sc);
    for (unsigned i = 0; i < STEPS && sc->step[i].call; i++) {
        const uint64_t before = s->waits;

        say(s, sc, i, "no failure", 0);
        take_well(s, sc, i);
        out[i] = (unsigned)(s->waits - before);
        if (sc->step[i].class <= MEMORY)
            CHECK(out[i] == 0);
        else if (sc->step[i].call != sweep_fill_up)
            CHECK(out[i] != 0);
    }
    sweep_down(s, false);
}

static void sweep_waits(struct sweep *s, const struct scenario *sc)
{
    unsigned waits[STEPS] = {0};

    count_waits(s, sc, waits);
    for (unsigned i = sc->ready; i < STEPS && sc->step[i].call; i++)
        fail_waits(s, sc, i, waits[i]);
    count_waits(s, sc, waits); /* it works afterwards */
}

/* ---- All of it ---- */

static void sweep(void **state, void (*fn)(struct sweep *s, const struct scenario *sc))
{
    const struct sweep_kind *const kind = *state;
    struct sweep *const s = test_calloc(1, sizeof(*s));

    failures = 0;
    for (unsigned i = 0; i < SCENARIOS; i++) {
        sweep_make(s, kind);
        fn(s, &scenarios[i]);
        sweep_end(s);
    }
    test_free(s);
    printf("%s: %u failures\n", kind->name, failures);
    CHECK(failures > 0);
}

static void test_allocations(void **state)
{
    sweep(state, sweep_allocations);
}

static void test_waits(void **state)
{
    sweep(state, sweep_waits);
}

/*
 * Detached without an answer, then refused by another domain: it is the tables it had that the
 * instance may still know, so these stay allocated, and the other's, never used, need not.
 */
static void test_doubt(void **state)
{
    static const struct scenario sc = {"doubt",
                                       0,
                                       true,
                                       {READY(0), STEP(domain_init, MEMORY, MAIN, UNMANAGED(OTHER)),
                                        STEP(map, MAP, ODD), STEP(unmap, UNMAP, ODD),
                                        STEP(detach, DETACH, MAIN, OURS),
                                        STEP(attach, ATTACH, MAIN, OTHER)}};
    struct sweep *const s = test_calloc(1, sizeof(*s));
    struct gr_pt ours;

    sweep_make(s, *state);
    begin(s, &sc);
    for (unsigned i = 0; i < 7; i++)
        take_well(s, &sc, i);
    say(s, &sc, 7, "for good, wait", 1);
    ours = s->domain[OURS].pt;
    s->waits = 0;
    s->fail_wait = 1;
    s->hang = HANG_ALWAYS;
    CHECK(take(s, &sc.step[7]) == GR_ETIMEDOUT);
    s->fail_wait = 0;
    CHECK(take(s, &sc.step[8]) == GR_ETIMEDOUT);
    sweep_probe(s, where);
    sweep_down(s, false);
    CHECK(host_use_of(s->rig.host, ours.root_pa) == HOST_TABLE);
    assert_int_equal(s->lost_tables, (UINT64_C(1) << ours.root_lg2) / 4096);
    sweep_repair(s);
    sweep_end(s);
    test_free(s);
}

int main(void)
{
    static const struct {
        const char *name;
        CMUnitTestFunction run;
    } all[] = {{"allocations", test_allocations}, {"waits", test_waits}, {"doubt", test_doubt}};
    struct CMUnitTest tests[KINDS + 2 * DARTS];
    char names[KINDS + 2 * DARTS][64];

    for (unsigned i = 0; i < KINDS + 2 * DARTS; i++) {
        struct sweep_kind *const kind = &kinds[i < KINDS ? i : (i - KINDS) % DARTS];
        const unsigned what = i < KINDS ? 0 : 1 + (unsigned)(i - KINDS) / DARTS;

        (void)snprintf(names[i], sizeof(names[i]), "%s: %s", all[what].name, kind->name);
        tests[i] = (struct CMUnitTest){
            .name = names[i], .test_func = all[what].run, .initial_state = kind};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
