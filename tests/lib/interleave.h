/* SPDX-License-Identifier: MIT */
/*
 * Two threads of the library, of which one runs at a time, handing over only at calls of the port:
 * every order in which they can meet, one after the other. The program is linked with
 * --wrap=gr_port_NAME for each __wrap_ function below (Makefile), and includes this file once.
 *
 * A schedule is a string: which of A and B begins, then for each place where both could go on
 * whether the other does ('B' or 'A' again, the one that goes on). All schedules are enumerated,
 * depth first, or all of those with at most so many preemptions (a thread that could go on does
 * not). Locks are waited for by letting the other go on; nobody can is a deadlock.
 *
 * These are real threads, so that each has its own store buffer in ports/host.
 */
#ifndef TESTS_INTERLEAVE_H
#define TESTS_INTERLEAVE_H

#include <granule/port.h>

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IL_CHOICES 4096u
#define IL_MAIN 2u

struct il_task {
    unsigned relaxed; /* in a row */
    pthread_t thread;
    void (*fn)(void *arg, unsigned who);
    gr_lock_t *wants;
    bool done;
};

static struct {
    sem_t go[3]; /* of A, B and the test itself */
    struct il_task task[2];
    void *arg;
    void (*watch)(void *arg); /* called at every port call, by the thread that makes it */
    char path[IL_CHOICES + 1];
    bool other[IL_CHOICES]; /* the other way was not tried yet */
    size_t given;           /* choices of `path` that are prescribed */
    size_t taken;
    unsigned bound, preemptions;
    bool stop, trace;
    char failure[256]; /* the first */
    const char *name;
    char seed[24];
} il;

static _Thread_local unsigned il_me = IL_MAIN;

__attribute__((format(printf, 1, 2))) static void il_fail(const char *fmt, ...)
{
    va_list ap;

    if (*il.failure)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(il.failure, sizeof(il.failure), fmt, ap);
    va_end(ap);
}

/* Also from a signal's handler. */
static void il_say_schedule(void)
{
    const char *const part[] = {"replay with SEED=", il.seed, " SCHEDULE=", il.name, ":"};

    for (unsigned i = 0; il.name && i < 5; i++)
        (void)!write(STDERR_FILENO, part[i], strlen(part[i]));
    if (il.name && (!write(STDERR_FILENO, il.path, il.taken) || !write(STDERR_FILENO, "\n", 1)))
        return;
}

static void il_on_signal(int number)
{
    il_say_schedule();
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

/* ---- who goes on ---- */

static bool il_waits(const struct il_task *t)
{
    return t->wants && __atomic_load_n(&t->wants->owner, __ATOMIC_RELAXED);
}

static char il_letter(unsigned who)
{
    return who ? 'B' : 'A';
}

/* Take the next choice: `stay` unless the path says otherwise. */
static unsigned il_choose(unsigned stay, bool may_differ)
{
    const size_t at = il.taken;

    if (at == IL_CHOICES) {
        il_fail("more than %u choices in one schedule", IL_CHOICES);
        return stay;
    }
    if (at >= il.given) {
        il.path[at] = il_letter(stay);
        il.other[at] = may_differ;
    }
    il.taken++;
    return il.path[at] == 'B';
}

static void il_hand_over(unsigned to)
{
    (void)sem_post(&il.go[to]);
    while (sem_wait(&il.go[il_me]))
        continue;
}

static void il_deadlock(void)
{
    (void)fprintf(stderr, "%s: deadlock\n", il.name);
    il_say_schedule();
    _exit(1);
}

/* At each port call, before it is made. */
static void il_step(const char *what, bool gives_way)
{
    const unsigned me = il_me;
    unsigned next = me;

    if (me == IL_MAIN)
        return;
    if (il.trace)
        (void)fprintf(stderr, "%*s%c %s\n", me ? 40 : 0, "", il_letter(me), what);
    il.watch(il.arg);

    struct il_task *const other = &il.task[!me];
    const bool can_stay = !il_waits(&il.task[me]);
    const bool can_switch = !other->done && !il_waits(other);

    if (can_stay && can_switch) {
        if (gives_way) {
            next = !me; /* it waits for what the other does, and has waited before */
        } else {
            next = il_choose(me, il.preemptions < il.bound);
            il.preemptions += next != me;
        }
    } else if (can_switch) {
        next = !me;
    } else if (!can_stay) {
        il_deadlock();
    }
    if (next != me) {
        il.task[me].relaxed = 0;
        il_hand_over(next);
    }
}

static void il_yield(const char *what)
{
    il_step(what, false);
}

static void *il_thread(void *arg)
{
    struct il_task *const t = arg;
    const unsigned me = (unsigned)(t - il.task);

    il_me = me;
    while (sem_wait(&il.go[me]))
        continue;
    while (!il.stop) {
        t->fn(il.arg, me);
        t->done = true;
        il.watch(il.arg);
        if (!il.task[!me].done && il_waits(&il.task[!me]))
            il_deadlock();
        il_hand_over(il.task[!me].done ? IL_MAIN : !me);
    }
    return NULL;
}

/* ---- running ---- */

static void il_start(void)
{
    cpu_set_t one;

    /* Only one runs at a time anyway, and on one CPU the other is there sooner. */
    CPU_ZERO(&one);
    CPU_SET((unsigned)sched_getcpu(), &one);
    (void)sched_setaffinity(0, sizeof(one), &one);
    (void)signal(SIGABRT, il_on_signal);
    (void)signal(SIGSEGV, il_on_signal);
    for (unsigned i = 0; i < 3; i++)
        (void)sem_init(&il.go[i], 0, 0);
    for (unsigned i = 0; i < 2; i++) {
        if (pthread_create(&il.task[i].thread, NULL, il_thread, &il.task[i]))
            abort();
    }
}

static void il_stop(void)
{
    il.stop = true;
    for (unsigned i = 0; i < 2; i++)
        (void)sem_post(&il.go[i]);
    for (unsigned i = 0; i < 2; i++)
        (void)pthread_join(il.task[i].thread, NULL);
}

/* Before a scenario's first schedule. `bound` 0: none. `replay`: one schedule's choices, or NULL.
 */
static void il_begin(const char *name, unsigned bound, const char *replay)
{
    il.name = name;
    il.bound = bound ? bound : UINT32_MAX;
    il.given = replay ? strlen(replay) : 0;
    il.trace = replay;
    memset(il.other, 0, sizeof(il.other));
    (void)snprintf(il.path, sizeof(il.path), "%s", replay ? replay : "");
}

/* Run one schedule. The caller empties il.failure before, and looks at it after. */
static void il_run(void (*a)(void *, unsigned), void (*b)(void *, unsigned), void (*watch)(void *),
                   void *arg)
{
    il.task[0].fn = a;
    il.task[1].fn = b;
    il.task[0].done = il.task[1].done = false;
    il.task[0].relaxed = il.task[1].relaxed = 0;
    il.arg = arg;
    il.watch = watch;
    il.taken = 0;
    il.preemptions = 0;

    const unsigned first = il_choose(0, true);

    (void)sem_post(&il.go[first]);
    while (sem_wait(&il.go[IL_MAIN]))
        continue;
    if (il.taken < il.given)
        il_fail("the schedule ended before its choices: something is not deterministic");
}

/* Prescribe the next schedule; false after the last. */
static bool il_next(void)
{
    for (size_t i = il.taken; i--;) {
        if (!il.other[i])
            continue;
        il.other[i] = false;
        il.path[i] = il.path[i] == 'A' ? 'B' : 'A';
        il.given = i + 1;
        return true;
    }
    return false;
}

/* ---- the port, wrapped by the linker: all that another thread or the hardware can tell ---- */

#define IL_WRAP(type, name, ...)                                                                   \
    type __real_gr_port_##name(__VA_ARGS__);                                                       \
    type __wrap_gr_port_##name(__VA_ARGS__);                                                       \
    type __wrap_gr_port_##name(__VA_ARGS__)

IL_WRAP(void *, pages_alloc, gr_env_t env, unsigned lg2, gr_pa_t pa_last, unsigned flags)
{
    il_yield("pages_alloc");
    return __real_gr_port_pages_alloc(env, lg2, pa_last, flags);
}

IL_WRAP(void, pages_free, gr_env_t env, void *va, unsigned lg2)
{
    il_yield("pages_free");
    __real_gr_port_pages_free(env, va, lg2);
}

IL_WRAP(void *, phys_to_virt, gr_env_t env, gr_pa_t pa)
{
    il_yield("phys_to_virt");
    return __real_gr_port_phys_to_virt(env, pa);
}

IL_WRAP(void, table_store64, gr_env_t env, uint64_t *slot, uint64_t value)
{
    il_yield("table_store64");
    __real_gr_port_table_store64(env, slot, value);
}

IL_WRAP(void, cache, gr_env_t env, const void *va, size_t len, unsigned op)
{
    il_yield("cache");
    __real_gr_port_cache(env, va, len, op);
}

IL_WRAP(void *, map_uncached, gr_env_t env, void *va, size_t len)
{
    il_yield("map_uncached");
    return __real_gr_port_map_uncached(env, va, len);
}

IL_WRAP(void, unmap_uncached, gr_env_t env, void *mapped, size_t len)
{
    il_yield("unmap_uncached");
    __real_gr_port_unmap_uncached(env, mapped, len);
}

IL_WRAP(void, wmb, void)
{
    il_yield("wmb");
    __real_gr_port_wmb();
}

IL_WRAP(uint32_t, read32, gr_mmio_t mmio, gr_reg32 reg)
{
    il_yield("read32");
    return __real_gr_port_read32(mmio, reg);
}

IL_WRAP(void, write32, gr_mmio_t mmio, gr_reg32 reg, uint32_t value)
{
    il_yield("write32");
    __real_gr_port_write32(mmio, reg, value);
}

IL_WRAP(void, relax, gr_env_t env)
{
    if (il_me != IL_MAIN)
        il_step("relax", ++il.task[il_me].relaxed > 2);
    __real_gr_port_relax(env);
}

IL_WRAP(gr_lock_state_t, lock, gr_lock_t *lock)
{
    if (il_me != IL_MAIN) {
        il.task[il_me].wants = lock;
        il_yield("lock");
        il.task[il_me].wants = NULL;
    }
    return __real_gr_port_lock(lock);
}

/* The other's turn comes after it: nothing that it could do before is not done there as well. */
IL_WRAP(void, unlock, gr_lock_t *lock, gr_lock_state_t state)
{
    __real_gr_port_unlock(lock, state);
    il_yield("unlocked");
}

/* With IL_SECTIONS: around exclusive sections, never inside. Their port calls are none of these. */
#if defined(IL_SECTIONS) && defined(GR_PORT_HAS_EXCLUSIVE)
IL_WRAP(gr_exclusive_t, exclusive_enter, void)
{
    il_yield("exclusive_enter");
    return __real_gr_port_exclusive_enter();
}

IL_WRAP(void, exclusive_leave, gr_exclusive_t section)
{
    __real_gr_port_exclusive_leave(section);
    il_yield("exclusive_left");
}
#endif

#endif
