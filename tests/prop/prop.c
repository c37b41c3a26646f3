/* SPDX-License-Identifier: MIT */
/*
 * Runs episodes in worker processes, shows progress, and makes a failure small: steps are left out
 * as long as the episode still fails, then it is played once more and told.
 */
#include "prop.h"

#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 64u
#define SHRINK_SECONDS 20
#define HANG_SECONDS 120 /* of CPU time */

/*
 * DARTs' geometries are those of DART.md 1, 3 and 4. The columns: name, hardware, format,
 * lg2 of the granule, levels, lg2 of the roots, bits of VA and PA.
 */
static const struct prop_shape rows[] = {
    /* The M1's usual instance, one TTBR of four in use; two TTBRs; all four. */
    {"dart1_16k_va32", PROP_T8020, GR_PT_DART1, 14, 2, 2, 32, 36},
    {"dart1_16k_va37", PROP_T8020, GR_PT_DART1, 14, 2, 2, 37, 36},
    {"dart1_16k_va38", PROP_T8020, GR_PT_DART1, 14, 2, 2, 38, 36},
    /* 4 KiB granules, four TTBRs of 1 GiB. */
    {"dart1_4k_va32", PROP_T8020, GR_PT_DART1, 12, 2, 2, 32, 36},
    /* t6000 with a narrow PA. */
    {"dart2_16k_va32", PROP_T6000, GR_PT_DART2, 14, 2, 2, 32, 36},
    /* t8110, its only TTBR used to the end with two levels. */
    {"dart2_16k_va36", PROP_T8110, GR_PT_DART2, 14, 2, 0, 36, 42},
    /* t6000 with all four TTBRs. */
    {"dart2_16k_va38", PROP_T6000, GR_PT_DART2, 14, 2, 2, 38, 42},
    /* t8110 with two levels and t6000 with four TTBRs, 4 KiB granules. */
    {"dart2_4k_va30", PROP_T8110, GR_PT_DART2, 12, 2, 0, 30, 42},
    {"dart2_4k_va32", PROP_T6000, GR_PT_DART2, 12, 2, 2, 32, 42},
    /* t8110, three levels below the TTBR: the top one in part, used to the end, of 4 KiB. */
    {"dart2_16k_va42", PROP_T8110, GR_PT_DART2, 14, 3, 0, 42, 42},
    {"dart2_16k_va47", PROP_T8110, GR_PT_DART2, 14, 3, 0, 47, 42},
    {"dart2_4k_va39", PROP_T8110, GR_PT_DART2, 12, 3, 0, 39, 42},
    /* ARM LPAE stage 1: the IOVA space of most SMMUs, and four levels. */
    {"lpae_4k_va39", PROP_SMMUV3, GR_PT_LPAE_S1, 12, 3, 0, 39, 40},
    {"lpae_4k_va48", PROP_SMMUV3, GR_PT_LPAE_S1, 12, 4, 0, 48, 48},
    /* Two levels and three, used to the end, and a root of two entries. */
    {"lpae_16k_va36", PROP_SMMUV3, GR_PT_LPAE_S1, 14, 2, 0, 36, 36},
    {"lpae_16k_va47", PROP_SMMUV3, GR_PT_LPAE_S1, 14, 3, 0, 47, 42},
    {"lpae_16k_va48", PROP_SMMUV3, GR_PT_LPAE_S1, 14, 4, 0, 48, 48},
    /* Two levels, used to the end, and a root of 64 entries. */
    {"lpae_64k_va42", PROP_SMMUV3, GR_PT_LPAE_S1, 16, 2, 0, 42, 44},
    {"lpae_64k_va48", PROP_SMMUV3, GR_PT_LPAE_S1, 16, 3, 0, 48, 48},
    /* Stage 2, all used to the end: 16 roots of two levels, 8 of three. */
    {"lpae_s2_4k_va34", PROP_SMMUV3, GR_PT_LPAE_S2, 12, 2, 4, 34, 36},
    {"lpae_s2_4k_va42", PROP_SMMUV3, GR_PT_LPAE_S2, 12, 3, 4, 42, 42},
    /* 16 roots of two levels, 2 of three. */
    {"lpae_s2_16k_va40", PROP_SMMUV3, GR_PT_LPAE_S2, 14, 2, 4, 40, 40},
    {"lpae_s2_16k_va48", PROP_SMMUV3, GR_PT_LPAE_S2, 14, 3, 4, 48, 48},
    /* Four roots of two levels. */
    {"lpae_s2_64k_va44", PROP_SMMUV3, GR_PT_LPAE_S2, 16, 2, 4, 44, 44},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* One after the other, a row each: unit u is episode u / rows in use of row u % rows in use. */
struct plan {
    const char *name;
    const struct prop_shape *row[ROWS];
    unsigned nrows;
    uint64_t seed;
    uint64_t end; /* units from 0 on */
    uint64_t ops; /* to do, for progress */
    unsigned jobs;
    bool shown; /* progress */
};

/* Shared by the processes. */
struct board {
    uint64_t next;
    uint64_t done; /* steps */
    uint64_t unit[WORKERS];
    uint64_t step[WORKERS];
};

static const struct prop_shape *playing;
static struct prop_episode *episode;
static bool quiet;

void prop_fail(const char *format, ...)
{
    va_list args;

    if (!quiet) {
        fprintf(stderr, "%s, step %u: ", playing->name, episode->step);
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
        fputc('\n', stderr);
    }
    _exit(1); /* with everything as it is: no report of leaks on top */
}

void prop_tell(const char *format, ...)
{
    va_list args;

    if (!episode->tell)
        return;
    fprintf(stderr, "  step %4u: ", episode->step);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *const given = getenv(name);

    return given && *given ? strtoull(given, NULL, 0) : otherwise;
}

static uint64_t unit_seed(const struct plan *plan, const struct prop_shape *row, uint64_t unit)
{
    uint64_t z = plan->seed;

    for (const char *c = row->name; *c; c++) /* a row's own, whichever others run */
        z = chance_mix(z ^ (uint64_t)*c);
    return chance_mix(z ^ chance_mix(unit / plan->nrows));
}

static const struct prop_shape *unit_row(const struct plan *plan, uint64_t unit)
{
    return plan->row[unit % plan->nrows];
}

/* SIGPROF ends the process after so much CPU time; 0: never. */
static void limit_cpu(time_t seconds)
{
    const struct itimerval limit = {.it_value.tv_sec = seconds};

    (void)setitimer(ITIMER_PROF, &limit, NULL);
}

static void play(const struct plan *plan, uint64_t unit, struct prop_episode *e)
{
    playing = unit_row(plan, unit);
    episode = e;
    e->seed = unit_seed(plan, playing, unit);
    limit_cpu(HANG_SECONDS);
    prop_play(playing, e);
    limit_cpu(0);
}

/* ---- Workers ---- */

static void work(const struct plan *plan, struct board *board, unsigned worker)
{
    for (;;) {
        const uint64_t unit = __atomic_fetch_add(&board->next, 1, __ATOMIC_RELAXED);
        struct prop_episode e = {.steps = PROP_STEPS, .at = &board->step[worker]};

        if (unit >= plan->end)
            return;
        board->unit[worker] = unit;
        play(plan, unit, &e);
        __atomic_fetch_add(&board->done, PROP_STEPS, __ATOMIC_RELAXED);
    }
}

static pid_t start(const struct plan *plan, struct board *board, unsigned worker)
{
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        work(plan, board, worker);
        exit(0);
    }
    return pid;
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void show(const struct plan *plan, const struct board *board, double begin)
{
    const double done = (double)__atomic_load_n(&board->done, __ATOMIC_RELAXED);
    const double passed = seconds() - begin;
    const double rate = done / passed;

    fprintf(stderr, "%s: %.0f of %.0f operations (%.1f %%), %.0f/s, %.0f s, %.0f s to go\n",
            plan->name, done, (double)plan->ops, 100 * done / (double)plan->ops, rate, passed,
            rate > 0 ? ((double)plan->ops - done) / rate : 0);
}

/* ---- What failed ---- */

/* Play a unit in a process of its own: does it fail? Its last step goes to *out_step. */
static bool fails(const struct plan *plan, uint64_t unit, struct board *board, const uint8_t *left,
                  unsigned steps, bool tell)
{
    int status = 0;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        struct prop_episode e = {.steps = steps, .left = left, .tell = tell, .at = &board->step[0]};

        quiet = !tell;
        if (quiet) {
            const int null = open("/dev/null", O_WRONLY);

            (void)dup2(null, 1);
            (void)dup2(null, 2);
        }
        play(plan, unit, &e);
        _exit(0);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status != 0;
}

static void shrink(const struct plan *plan, uint64_t unit, struct board *board)
{
    static uint8_t left[PROP_STEPS];
    const double end = seconds() + (double)number("SHRINK", SHRINK_SECONDS);
    const unsigned steps = PROP_STEPS;
    unsigned kept = 0;

    memset(left, 0, sizeof(left));
    for (unsigned size = steps / 2; size; size /= 2) {
        for (unsigned at = 0; at < steps && seconds() < end; at += size) {
            uint8_t before[PROP_STEPS];

            if (memchr(left + at, 0, size) == NULL)
                continue;
            memcpy(before, left, sizeof(left));
            memset(left + at, 1, size);
            if (!fails(plan, unit, board, left, steps, false))
                memcpy(left, before, sizeof(left));
        }
    }
    for (unsigned i = 0; i < steps; i++)
        kept += !left[i];
    fprintf(stderr, "%u of %u steps are enough:\n", kept, steps);
    if (!fails(plan, unit, board, left, steps, true))
        fprintf(stderr, "... which now passes: something else than the seed decides\n");
}

static void report(const struct plan *plan, struct board *board, unsigned worker, int status)
{
    const uint64_t unit = board->unit[worker];

    if (WIFSIGNALED(status))
        fprintf(stderr, "killed by signal %d%s\n", WTERMSIG(status),
                WTERMSIG(status) == SIGPROF ? ": it hangs" : "");
    fprintf(stderr,
            "FAILED: step %" PRIu64 "; replay: SEED=%" PRIu64 " ROW=%s EPISODE=%" PRIu64 " %s\n",
            board->step[worker], plan->seed, unit_row(plan, unit)->name, unit / plan->nrows,
            plan->name);
    if (number("SHRINK", SHRINK_SECONDS))
        shrink(plan, unit, board);
}

/* Run a plan; true if all of it passed. */
static bool run(const struct plan *plan)
{
    struct board *const board =
        mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const double begin = seconds();
    double shown = begin;
    pid_t pid[WORKERS];
    unsigned alive = 0;
    bool good = board != MAP_FAILED;

    if (!good)
        return false;
    for (; alive < plan->jobs; alive++) {
        pid[alive] = start(plan, board, alive);
        good = good && pid[alive] > 0;
    }
    while (alive) {
        const struct timespec tick = {0, 20 * 1000 * 1000};
        int status;
        const pid_t ended = waitpid(-1, &status, plan->shown ? WNOHANG : 0);

        if (ended > 0) {
            alive--;
            for (unsigned i = 0; status && good && i < plan->jobs; i++) {
                if (pid[i] != ended)
                    continue;
                good = false;
                __atomic_store_n(&board->next, plan->end, __ATOMIC_RELAXED); /* the others stop */
                report(plan, board, i, status);
            }
            good = good && !status;
        } else if (ended < 0) {
            break;
        } else {
            nanosleep(&tick, NULL);
        }
        if (plan->shown && seconds() - shown > (isatty(2) ? 1 : 15)) {
            show(plan, board, begin);
            shown = seconds();
        }
    }
    if (plan->shown)
        show(plan, board, begin);
    printf("%s: SEED=%" PRIu64 ", %u rows, %" PRIu64 " operations in %.2f s\n", plan->name,
           plan->seed, plan->nrows, board->done, seconds() - begin);
    munmap(board, sizeof(*board));
    return good;
}

/* ---- main ---- */

/* EPISODE=: that one of each row, told. */
static bool tell(const struct plan *plan)
{
    const uint64_t which = number("EPISODE", 0) * plan->nrows;
    struct board board = {0};
    bool good = true;

    for (uint64_t unit = which; unit < which + plan->nrows; unit++)
        good = !fails(plan, unit, &board, NULL, PROP_STEPS, true) && good;
    return good;
}

int prop_main(const char *name, uint64_t ops)
{
    const char *const only = getenv("ROW");
    struct plan plan = {.name = name};
    bool good;

    for (size_t i = 0; i < ROWS; i++) {
        if (!only || strstr(rows[i].name, only))
            plan.row[plan.nrows++] = &rows[i];
    }
    if (!plan.nrows) {
        fprintf(stderr, "%s: no row's name has %s in it\n", name, only);
        return 1;
    }
    plan.ops = number("OPS", ops);
    plan.shown = plan.ops > ops;
    plan.end = (plan.ops + PROP_STEPS - 1) / PROP_STEPS;
    plan.end = plan.end < plan.nrows ? plan.nrows : plan.end; /* at least an episode of each */
    plan.ops = plan.end * PROP_STEPS;
    plan.jobs = (unsigned)number("JOBS", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
    plan.jobs = plan.jobs < 1 ? 1 : plan.jobs > WORKERS ? WORKERS : plan.jobs;
    plan.seed = chance_seed(name);
    good = getenv("EPISODE") ? tell(&plan) : run(&plan);
    /* What did not fail may not have ended: it does not count. */
    printf("%u passed, %u failed\n", good ? plan.nrows : 0, good ? 0 : 1);
    return good ? 0 : 1;
}
