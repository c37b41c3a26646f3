/* SPDX-License-Identifier: MIT */
/*
 * How long the IOVA allocator holds its locks. The same work is done a few times over; the lock
 * that is taken as the n-th is held for the same reason each time, so its shortest time is what it
 * takes, and what the machine did besides falls out.
 */
#include <granule/iova.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define UNIT_LG2 12u
#define MEMORY (UINT64_C(1) << 30)
#define REPEATS 9
#define HOLDS_MOST (1u << 21)
#define OPS 200000u
#define DEPTH 2 /* a slot's lock, then the space's */

__thread unsigned gr_bench_cpu;

static struct {
    uint32_t ns[HOLDS_MOST]; /* the shortest so far */
    unsigned count;
    bool first;
    bool counts; /* not while a space is being filled */
    struct {
        const gr_lock_t *lock;
        unsigned number;
        uint64_t since;
    } open[DEPTH];
    unsigned depth;
} holds;

static uint64_t seed;

static unsigned below(unsigned n)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (unsigned)((seed >> 33) % n);
}

void holds_begin(gr_lock_t *lock)
{
    if (!holds.counts)
        return;
    if (holds.depth == DEPTH || holds.count == HOLDS_MOST)
        abort();
    holds.open[holds.depth].lock = lock;
    holds.open[holds.depth].number = holds.count++;
    holds.open[holds.depth++].since = gr_port_now_ns(NULL);
}

void holds_end(const gr_lock_t *lock)
{
    const uint64_t now = holds.counts ? gr_port_now_ns(NULL) : 0;
    uint32_t *ns;
    uint32_t held;

    if (!holds.counts)
        return;
    if (!holds.depth || holds.open[--holds.depth].lock != lock)
        abort();
    ns = &holds.ns[holds.open[holds.depth].number];
    held = (uint32_t)(now - holds.open[holds.depth].since);
    if (holds.first || held < *ns)
        *ns = held;
}

/* ---- what is done ---- */

struct work {
    const char *name;
    unsigned least, spread; /* units of a range */
    unsigned live; /* ranges; 0: as many as there is room for in 32 bits, and every second goes */
};

static const struct work works[] = {
    {"churn 1..32 live=10k", 1, 32, 10000},       {"churn 1..32 live=100k", 1, 32, 100000},
    {"churn 64..512 live=1k", 64, 449, 1000},     {"churn 64..512 live=10k", 64, 449, 10000},
    {"churn 64..512 live=100k", 64, 449, 100000}, {"no room, fragmented", 1, 1, 0},
};

struct range {
    gr_iova_t at;
    uint64_t size;
};

static bool take(struct gr_iova *space, struct range *r, uint64_t units)
{
    const struct gr_iova_req req = {.size = units << UNIT_LG2};

    r->size = req.size;
    return !gr_iova_alloc(space, &req, &r->at);
}

static void give(struct gr_iova *space, const struct range *r)
{
    if (gr_iova_free(space, r->at, r->size))
        abort();
}

static void churn(struct gr_iova *space, struct range *live, const struct work *w)
{
    for (unsigned i = 0; i < OPS; i++) {
        struct range *const r = &live[below(w->live)];

        give(space, r);
        if (!take(space, r, w->least + below(w->spread)))
            abort();
    }
}

static void fail(struct gr_iova *space)
{
    struct range r;

    for (unsigned i = 0; i < OPS / 10; i++) {
        if (take(space, &r, 2) || !take(space, &r, 1))
            abort();
        give(space, &r);
    }
}

/* Do it once, in fresh memory. */
static void run(const struct work *w, struct bench_env *env, void *memory)
{
    const unsigned most = w->live ? w->live : 1u << 20;
    struct range *const live = calloc(most, sizeof(*live));
    struct gr_iova space;
    unsigned n = 0;

    seed = 1;
    bench_env_init(env, memory, UINT64_C(1) << 40, MEMORY);
    if (!live ||
        gr_iova_init(&space, env, UNIT_LG2, 0, w->live ? (UINT64_C(1) << 48) - 1 : UINT32_MAX))
        abort();
    while (n < most && take(&space, &live[n], w->least + below(w->spread)))
        n++;
    for (unsigned i = 0; i < n && !w->live; i++) {
        if (live[i].at >> UNIT_LG2 & 1)
            give(&space, &live[i]);
    }
    holds.count = 0;
    holds.counts = true;
    if (w->live)
        churn(&space, live, w);
    else
        fail(&space);
    holds.counts = false;
    gr_iova_fini(&space);
    free(live);
}

static int compare(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a;
    const uint32_t y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

int main(void)
{
    static struct bench_env env;
    const uint64_t block = UINT64_C(1) << GR_BENCH_BLOCK_LG2;
    uint8_t *memory = mmap(NULL, MEMORY + block, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED)
        return 1;
    memory += -(uintptr_t)memory & (block - 1);
    printf("%-26s %10s %8s %8s %8s\n", "ns under a lock", "times", "median", "99.9 %", "longest");
    for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++) {
        for (unsigned k = 0; k < REPEATS; k++) {
            const unsigned before = holds.count;

            holds.first = !k;
            run(&works[i], &env, memory);
            if (k && holds.count != before) {
                fputs("the same work took locks another number of times\n", stderr);
                return 1;
            }
        }
        qsort(holds.ns, holds.count, sizeof(holds.ns[0]), compare);
        printf("%-26s %10u %8u %8u %8u\n", works[i].name, holds.count, holds.ns[holds.count / 2],
               holds.ns[(uint64_t)holds.count * 999 / 1000], holds.ns[holds.count - 1]);
    }
    return 0;
}
