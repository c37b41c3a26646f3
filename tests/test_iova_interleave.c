/* SPDX-License-Identifier: MIT */
/*
 * Two CPUs on one IOVA space, at the moments where they can meet: every schedule that two threads
 * can have (interleave.h) which switch at locks, at allocations of memory and around exclusive
 * sections. SCHEDULE= as a failure prints it replays that one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <host.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "iova_tools.h"

#define IL_SECTIONS
#include "interleave.h"

#define K4 UINT64_C(4096)
#define UNITS (1u << 14)
#define ARENA 64u /* units */
#define MOST 16u

struct range {
    gr_iova_t at;
    uint64_t units; /* 0: none */
    struct gr_range held;
};

struct race {
    const struct scenario *scenario;
    struct host *host;
    struct gr_iova space;
    struct range range[MOST]; /* what there is before, and what A and B allocate */
    unsigned ranges;
    unsigned char unit[UNITS]; /* 1: somebody's or held, as far as callers know */
    unsigned retired[2];       /* arenas' tables */
    int ret[2];
};

struct scenario {
    const char *name;
    bool spans;
    unsigned bound; /* preemptions */
    void (*before)(struct race *r);
    void (*op[2])(struct race *r, unsigned who);
    void (*after)(struct race *r);
};

/* ---- what both do ---- */

static void set(struct race *r, uint64_t first, uint64_t last, unsigned char value)
{
    for (uint64_t i = first / K4; i <= last / K4; i++) {
        if (r->unit[i] == value)
            il_fail("unit %" PRIu64 " is %s", i, value ? "in use" : "free");
        r->unit[i] = value;
    }
}

static int take(struct race *r, struct range *range, uint64_t units)
{
    const struct gr_iova_req req = {.size = units * K4};
    const int rc = gr_iova_alloc(&r->space, &req, &range->at);

    if (!rc) {
        range->units = units;
        set(r, range->at, range->at + units * K4 - 1, 1);
    }
    return rc;
}

static bool begin(struct race *r, struct range *range)
{
    const int rc = gr_iova_free_begin(&r->space, range->at, range->units * K4, &range->held);
    const uint64_t end = range->at + range->units * K4;

    if (rc) {
        il_fail("free_begin: %s", gr_strerror(rc));
        return false;
    }
    if (range->held.first < range->at)
        set(r, range->held.first, range->at - 1, 1);
    if (range->held.last >= end)
        set(r, end, range->held.last, 1);
    range->units = 0;
    return true;
}

static void finish(struct race *r, unsigned who, struct gr_range held)
{
    bool more = true;

    while (more) {
        r->retired[who] += held.last - held.first + 1 >= ARENA * K4;
        set(r, held.first, held.last, 0);
        more = gr_iova_free_end(&r->space, &held, &held);
        if (more)
            set(r, held.first, held.last, 1);
    }
}

static void give(struct race *r, unsigned who, struct range *range)
{
    if (begin(r, range))
        finish(r, who, range->held);
}

static void give_at_once(struct race *r, struct range *range)
{
    set(r, range->at, range->at + range->units * K4 - 1, 0);
    if (gr_iova_free(&r->space, range->at, range->units * K4))
        il_fail("free");
    range->units = 0;
}

/* ---- scenarios: thread A is CPU 0, B is CPU 1 ---- */

/* On CPU 0, from the arena that is current there. */
static void two_ranges(struct race *r)
{
    for (r->ranges = 0; r->ranges < 2; r->ranges++) {
        if (take(r, &r->range[r->ranges], 3))
            il_fail("no space");
    }
}

/* The same, in an arena that is not current: one unit is too little for what comes next. */
static void two_in_another(struct race *r)
{
    static const unsigned units[] = {16, 16, 16, 15, 16};

    for (r->ranges = 0; r->ranges < 5; r->ranges++) {
        if (take(r, &r->range[r->ranges], units[r->ranges]))
            il_fail("no space");
    }
    give(r, 0, &r->range[2]);
    give(r, 0, &r->range[3]);
    if (r->space.slots[0]->cur == gri_arena_of(&r->space, r->range[0].at / K4))
        il_fail("the arena is current");
}

static void own(struct race *r, unsigned who)
{
    give(r, who, &r->range[who]);
}

static void own_at_once(struct race *r, unsigned who)
{
    give_at_once(r, &r->range[who]);
}

/* The owner of the arena goes on to another one, or back. */
static void move_on(struct race *r, unsigned who)
{
    struct range got[6] = {{0}};

    (void)who;
    for (unsigned i = 0; i < 6; i++) {
        if (take(r, &got[i], 16))
            il_fail("no space");
    }
    for (unsigned i = 0; i < 6; i++)
        give(r, who, &got[i]);
}

static void take_and_give(struct race *r, unsigned who)
{
    struct range got = {0};

    for (unsigned i = 0; i < 2; i++) {
        if (take(r, &got, 2))
            il_fail("no space");
        give(r, who, &got);
    }
}

static void alloc_first(struct race *r, unsigned who)
{
    struct range got = {0};

    if (take(r, &got, 4))
        il_fail("no space");
    give(r, who, &got);
}

/* All but an empty arena on CPU 0, current, and none elsewhere. */
static void nearly_full(struct race *r)
{
    const struct gr_iova_req rest = {.size = (UNITS - ARENA) * K4};

    if (take(r, &r->range[0], 3) || gr_iova_alloc(&r->space, &rest, &r->range[1].at))
        il_fail("no space");
    r->range[1].units = UNITS - ARENA;
    set(r, r->range[1].at, r->range[1].at + rest.size - 1, 1);
    r->ranges = 2;
}

/* What fails looks everywhere; it may find only what was free at some time. */
static void drain_for(struct race *r, unsigned who)
{
    struct range got = {0};

    r->ret[who] = take(r, &got, ARENA);
    if (!r->ret[who])
        give(r, who, &got);
    else if (r->ret[who] != GR_ENOSPC)
        il_fail("%s", gr_strerror(r->ret[who]));
}

static void drain_for_few(struct race *r, unsigned who)
{
    struct range got = {0};

    r->ret[who] = take(r, &got, 16);
    if (!r->ret[who])
        give(r, who, &got);
    else if (r->ret[who] != GR_ENOSPC)
        il_fail("%s", gr_strerror(r->ret[who]));
}

static void free_first(struct race *r, unsigned who)
{
    give(r, who, &r->range[0]);
}

static void remote_last(struct race *r, unsigned who)
{
    (void)who;
    give(r, 1, &r->range[0]);
    give(r, 1, &r->range[1]);
}

static void begun_before(struct race *r)
{
    two_in_another(r);
    if (begin(r, &r->range[0]) && begin(r, &r->range[1]))
        r->ret[0] = 1;
}

static void only_end(struct race *r, unsigned who)
{
    if (r->ret[0])
        finish(r, who, r->range[who].held);
}

/* Against the rules; but under locks only one can be right. */
static void twice(struct race *r, unsigned who)
{
    struct gr_range held;

    r->ret[who] = gr_iova_free_begin(&r->space, r->range[0].at, r->range[0].units * K4, &held);
    if (!r->ret[who] && gr_iova_free_end(&r->space, &held, &held))
        il_fail("retired twice");
}

static void one_in_another(struct race *r)
{
    two_in_another(r);
    give(r, 0, &r->range[1]);
}

static void only_one(struct race *r)
{
    if (!r->ret[0] == !r->ret[1] || (r->ret[0] != GR_ENOENT && r->ret[1] != GR_ENOENT))
        il_fail("%d and %d", r->ret[0], r->ret[1]);
    set(r, r->range[0].at, r->range[0].at + r->range[0].units * K4 - 1, 0);
    r->range[0].units = 0;
}

/* Both retire: one of them, and once. */
static void one_retires(struct race *r)
{
    if (r->retired[0] + r->retired[1] != 1)
        il_fail("%u and %u arenas retired", r->retired[0], r->retired[1]);
}

static void nothing(struct race *r)
{
    (void)r;
}

static void clear_retired(struct race *r)
{
    two_in_another(r);
    r->retired[0] = 0;
}

static const struct scenario scenarios[] = {
    {"two last frees, current", true, 3, two_ranges, {own, own}, nothing},
    {"two last frees at once, current", false, 3, two_ranges, {own_at_once, own_at_once}, nothing},
    {"two last frees", true, 3, clear_retired, {own, own}, one_retires},
    {"two last frees at once", false, 3, clear_retired, {own_at_once, own_at_once}, nothing},
    {"two last frees at once, tables", true, 3, clear_retired, {own_at_once, own_at_once}, nothing},
    {"two last ends", true, 3, begun_before, {only_end, only_end}, one_retires},
    {"one range freed twice", true, 3, one_in_another, {twice, twice}, only_one},
    {"remote frees beside an owner that moves on",
     true,
     2,
     two_ranges,
     {move_on, remote_last},
     nothing},
    {"remote frees beside an owner that allocates",
     true,
     3,
     two_ranges,
     {take_and_give, remote_last},
     nothing},
    {"the first slots", true, 2, nothing, {alloc_first, alloc_first}, nothing},
    {"a drain beside a last free", true, 3, nearly_full, {free_first, drain_for}, nothing},
    {"a drain beside a last free, no tables",
     false,
     3,
     nearly_full,
     {free_first, drain_for},
     nothing},
    {"a drain beside an owner that allocates",
     false,
     3,
     nearly_full,
     {take_and_give, drain_for_few},
     nothing},
};

#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

/* ---- every schedule ---- */

static void op(void *arg, unsigned who)
{
    struct race *const r = arg;

    host_set_cpu(who);
    r->scenario->op[who](r, who);
}

static void watch(void *arg)
{
    (void)arg;
}

static void open_race(struct race *r, const struct scenario *scenario)
{
    static const uint8_t span_lg2[] = {12 + 6, 12 + 11};
    const struct host_config config = {
        .cpu_page = 4096, .nbanks = 1, .banks = {{.base = 1 << 20, .size = 1 << 20}}};
    char err[200] = "";

    memset(r, 0, sizeof(*r));
    r->scenario = scenario;
    r->host = host_create(&config, err, sizeof(err));
    assert_non_null(r->host);
    assert_int_equal(gr_iova_init(&r->space, r->host, 12, 0, UNITS * K4 - 1), 0);
    gr_iova_set_spans(&r->space, span_lg2, scenario->spans ? 2 : 0);
    assert_true(gri_arena_units(&r->space) == ARENA);
    host_set_cpu(0);
    scenario->before(r);
}

/* What is left is freed; then all is as it was. */
static void check_race(struct race *r)
{
    struct gr_iova_stats stats;

    r->scenario->after(r);
    host_set_cpu(0);
    for (unsigned i = 0; i < r->ranges; i++) {
        if (r->range[i].units)
            give(r, 0, &r->range[i]);
    }
    gr_iova_stats(&r->space, &stats);
    if (stats.allocations || stats.allocated || stats.held || stats.available != UNITS * K4)
        il_fail("%" PRIu64 " allocations, %" PRIu64 " and %" PRIu64 " bytes", stats.allocations,
                stats.allocated, stats.held);
    if (r->scenario->spans && stats.arenas > GRI_IOVA_EXCLUSIVE * 2)
        il_fail("%" PRIu64 " arenas are left", stats.arenas);
    if (gr_iova_drain(&r->space) != stats.stranded || r->space.arenas ||
        r->space.root->state != GRI_IOVA_FREE || r->space.root->units != UNITS)
        il_fail("not all comes back");
    for (unsigned i = 0; i < UNITS; i++) {
        if (r->unit[i])
            il_fail("unit %u", i);
    }
}

static void every_schedule(const struct scenario *scenario)
{
    static struct race r;
    const char *const replay = getenv("SCHEDULE");
    const char *const path = replay ? strchr(replay, ':') : NULL;
    const size_t len = strlen(scenario->name);
    unsigned n = 0;

    if (path && (strncmp(replay, scenario->name, len) != 0 || replay[len] != ':'))
        return;
    il_begin(scenario->name, scenario->bound, path ? path + 1 : NULL);
    do {
        *il.failure = '\0';
        open_race(&r, scenario);
        il_run(op, op, watch, &r);
        check_race(&r);
        if (*il.failure) {
            il_say_schedule();
            fail_msg("%s: %s", scenario->name, il.failure);
        }
        gr_iova_fini(&r.space);
        assert_int_equal(host_misuse(r.host), 0);
        assert_int_equal(host_destroy(r.host), 0);
        n++;
    } while (!path && il_next());
    print_message("%s: %u schedules\n", scenario->name, n);
    il.name = NULL;
}

static void races(void **state)
{
    (void)state;
    (void)snprintf(il.seed, sizeof(il.seed), "0");
    il_start();
    for (unsigned i = 0; i < SCENARIOS; i++)
        every_schedule(&scenarios[i]);
    il_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(races),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
