/* SPDX-License-Identifier: MIT */
/* Memory, per-CPU data, deferred work, threads and the clock: see rt.h. */
#include "rt.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

__thread unsigned long shim_pcpu_off;
__thread int shim_cpu;
__thread unsigned gr_bench_cpu; /* the same for ports/bench */
__thread unsigned long rt_invalidations;
unsigned rt_invalidation_ns;
int rt_cpus;
unsigned long shim_warn_count;

static int cpu_of[SHIM_NR_CPUS]; /* the system's number of each of ours */

/* ---- clock ---- */

unsigned long long rt_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (unsigned long long)t.tv_sec * 1000000000u + (unsigned long long)t.tv_nsec;
}

void rt_burn(unsigned ns)
{
    const unsigned long long end = rt_now_ns() + ns;

    while (rt_now_ns() < end)
        ;
}

/* ---- complaints ---- */

void shim_bug(const char *condition, const char *file, int line)
{
    fprintf(stderr, "BUG_ON(%s) %s:%d\n", condition, file, line);
    abort();
}

void shim_warn(const char *condition, const char *file, int line)
{
    if (__atomic_fetch_add(&shim_warn_count, 1, __ATOMIC_RELAXED) < 5)
        fprintf(stderr, "WARN_ON(%s) %s:%d\n", condition, file, line);
}

void shim_printk(const char *format, ...)
{
    (void)format;
}

/* ---- locks ---- */

void shim_spin_slow(unsigned int *v)
{
    unsigned int zero;

    do {
        while (__atomic_load_n(v, __ATOMIC_RELAXED))
            __builtin_ia32_pause();
        zero = 0;
    } while (!__atomic_compare_exchange_n(v, &zero, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
}

static void lock(unsigned *v)
{
    unsigned zero = 0;

    if (!__atomic_compare_exchange_n(v, &zero, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        shim_spin_slow(v);
}

static void unlock(unsigned *v)
{
    __atomic_store_n(v, 0, __ATOMIC_RELEASE);
}

/* ---- the arena that all memory comes from ---- */

/* Below 64 GiB, because a DART1's physical addresses have 36 bits; large pages, as kernels have. */
#define ARENA_BASE 0x400000000ul
#define ARENA_SIZE (12ul << 30) /* of addresses; memory only as it is used */

static unsigned long arena_used = ARENA_BASE;
static unsigned arena_lock;

static char *arena_take(unsigned long bytes, unsigned long align)
{
    unsigned long at;

    lock(&arena_lock);
    at = (arena_used + align - 1) & ~(align - 1);
    arena_used = at + bytes;
    unlock(&arena_lock);
    if (at + bytes > ARENA_BASE + ARENA_SIZE) {
        fputs("peer: the arena is used up\n", stderr);
        abort();
    }
    return (char *)at;
}

/* ---- slabs ---- */

/*
 * A chain of free objects for each CPU, as SLUB's fast path but without its cmpxchg16b. Chunks give
 * objects in address order. Where a CPU frees many more than it allocates, a batch at a time goes
 * to a shared list: object 0 of a batch links the batch, object 1 the batches.
 */
#define CHUNK (1ul << 16)
#define BATCH 256

struct chunk {
    struct chunk *next;
    char *start;
    int cpu;
};

struct slab {
    unsigned long size;   /* with padding */
    unsigned long object; /* without */
    struct slab *next;
    struct chunk *chunks; /* newest first */
    void **batches;
    unsigned lock;
    struct {
        void **free;
        long surplus; /* of frees */
    } __attribute__((aligned(128))) cpu[SHIM_NR_CPUS];
};

static struct slab *slabs;

static void *host_alloc(unsigned long size)
{
    void *const p = aligned_alloc(128, (size + 127) & ~127ul);

    if (!p) {
        fputs("peer: no memory left\n", stderr);
        abort();
    }
    return p;
}

void *shim_slab_create(const char *name, rt_size size, unsigned flags)
{
    struct slab *const s = host_alloc(sizeof(*s));

    (void)name;
    (void)flags;
    memset(s, 0, sizeof(*s));
    s->object = size;
    s->size = (size + 63) & ~63ul;
    s->next = slabs;
    slabs = s;
    return s;
}

static void chunk_give(struct slab *s, const struct chunk *k)
{
    for (unsigned long i = CHUNK / s->size; i-- > 0;) {
        void **const object = (void **)(k->start + i * s->size);

        *object = s->cpu[k->cpu].free;
        s->cpu[k->cpu].free = object;
    }
}

static __attribute__((noinline)) void slab_refill(struct slab *s)
{
    struct chunk *k;
    void **batch;

    lock(&s->lock);
    batch = s->batches;
    if (batch)
        s->batches = batch[1];
    unlock(&s->lock);
    if (batch) {
        s->cpu[shim_cpu].free = batch;
        return;
    }
    k = host_alloc(sizeof(*k));
    k->start = arena_take(CHUNK, 1ul << 12);
    k->cpu = shim_cpu;
    lock(&s->lock);
    k->next = s->chunks;
    s->chunks = k;
    unlock(&s->lock);
    chunk_give(s, k);
}

static __attribute__((noinline)) void slab_spill(struct slab *s)
{
    void **const batch = s->cpu[shim_cpu].free;
    void **last = batch;

    for (int i = 1; i < BATCH; i++)
        last = *last;
    s->cpu[shim_cpu].free = *last;
    s->cpu[shim_cpu].surplus -= BATCH;
    *last = NULL;
    lock(&s->lock);
    batch[1] = s->batches;
    s->batches = batch;
    unlock(&s->lock);
}

void *shim_slab_alloc(void *slab)
{
    struct slab *const s = slab;
    void ***const chain = &s->cpu[shim_cpu].free;
    void **object;

    if (__builtin_expect(!*chain, 0))
        slab_refill(s);
    object = *chain;
    *chain = *object;
    s->cpu[shim_cpu].surplus--;
    return object;
}

void *shim_slab_zalloc(void *slab)
{
    return memset(shim_slab_alloc(slab), 0, ((struct slab *)slab)->object);
}

void shim_slab_free(void *slab, void *p)
{
    struct slab *const s = slab;
    void **const object = p;

    *object = s->cpu[shim_cpu].free;
    s->cpu[shim_cpu].free = object;
    if (__builtin_expect(++s->cpu[shim_cpu].surplus > 2 * BATCH, 0))
        slab_spill(s);
}

void rt_slab_reset(void)
{
    for (struct slab *s = slabs; s; s = s->next) {
        s->batches = NULL;
        for (int i = 0; i < SHIM_NR_CPUS; i++) {
            s->cpu[i].free = NULL;
            s->cpu[i].surplus = 0;
        }
        for (const struct chunk *k = s->chunks; k; k = k->next) /* the oldest ends on top */
            chunk_give(s, k);
    }
}

unsigned long shim_slab_bytes_live(void)
{
    unsigned long live = 0;

    for (const struct slab *s = slabs; s; s = s->next) {
        for (const struct chunk *k = s->chunks; k; k = k->next)
            live += CHUNK / s->size * s->size;
        for (void **batch = s->batches; batch; batch = batch[1])
            live -= BATCH * s->size;
        for (int i = 0; i < SHIM_NR_CPUS; i++) {
            for (void **object = s->cpu[i].free; object; object = *object)
                live -= s->size;
        }
    }
    return live;
}

/* As the kernel's: no two objects on one line. */
void *shim_kmalloc(rt_size size)
{
    return host_alloc(size);
}

void *shim_kzalloc(rt_size size)
{
    return memset(host_alloc(size), 0, size);
}

void shim_kfree(const void *p)
{
    free((void *)p);
}

/* ---- pages: a chain for each CPU and power of two ---- */

static struct {
    void **free[24];
    long live; /* bytes handed out less bytes taken back, by this CPU */
} __attribute__((aligned(128))) pages[SHIM_NR_CPUS];

static unsigned page_order(unsigned long bytes)
{
    return bytes <= 4096 ? 0 : 64u - (unsigned)__builtin_clzl((bytes - 1) >> 12);
}

void *shim_page_alloc(rt_size bytes, int zero)
{
    const unsigned order = page_order(bytes);
    const unsigned long size = 4096ul << order;
    void **block = pages[shim_cpu].free[order];

    if (block)
        pages[shim_cpu].free[order] = *block;
    else
        block = (void **)arena_take(size, size);
    pages[shim_cpu].live += (long)size;
    return zero ? memset(block, 0, size) : block;
}

void shim_page_free(void *p, rt_size bytes)
{
    const unsigned order = page_order(bytes);
    void **const block = p;

    *block = pages[shim_cpu].free[order];
    pages[shim_cpu].free[order] = block;
    pages[shim_cpu].live -= 4096l << order;
}

unsigned long shim_page_bytes_live(void)
{
    long live = 0;

    for (int i = 0; i < SHIM_NR_CPUS; i++)
        live += pages[i].live;
    return (unsigned long)live;
}

/* ---- per CPU: the same offset in each CPU's block ---- */

static char *pcpu_base;
static unsigned long pcpu_used;
static void **pcpu_free64; /* blocks of 64 bytes, the only size that comes back often */

void *shim_pcpu_alloc(rt_size size, rt_size align)
{
    char *p;

    (void)align;
    size = (size + 63) & ~63ul;
    lock(&arena_lock);
    if (size == 64 && pcpu_free64) {
        p = (char *)pcpu_free64;
        pcpu_free64 = *pcpu_free64;
    } else {
        p = pcpu_base + pcpu_used;
        pcpu_used += size;
    }
    unlock(&arena_lock);
    if (pcpu_used > SHIM_PCPU_STRIDE) {
        fputs("peer: per-CPU memory is used up\n", stderr);
        abort();
    }
    for (int i = 0; i < rt_cpus; i++)
        memset(p + (unsigned long)i * SHIM_PCPU_STRIDE, 0, size);
    return p;
}

void shim_pcpu_free(void *p)
{
    void **const block = p;

    lock(&arena_lock);
    *block = pcpu_free64;
    pcpu_free64 = block;
    unlock(&arena_lock);
}

/* ---- deferred work ---- */

static struct shim_dwork *deferred;
static unsigned deferred_lock;

int shim_queue_dwork(struct shim_dwork *d)
{
    if (__atomic_exchange_n(&d->pending, 1, __ATOMIC_SEQ_CST))
        return 0;
    lock(&deferred_lock);
    d->next = deferred;
    deferred = d;
    unlock(&deferred_lock);
    return 1;
}

void shim_cancel_dwork(struct shim_dwork *d)
{
    lock(&deferred_lock);
    for (struct shim_dwork **p = &deferred; *p; p = &(*p)->next) {
        if (*p == d) {
            *p = d->next;
            break;
        }
    }
    d->pending = 0;
    unlock(&deferred_lock);
}

int shim_run_delayed_work(void)
{
    struct shim_dwork *d;
    int n = 0;

    lock(&deferred_lock);
    d = deferred;
    deferred = NULL;
    unlock(&deferred_lock);
    while (d) {
        struct shim_dwork *const next = d->next;

        __atomic_store_n(&d->pending, 0, __ATOMIC_SEQ_CST);
        d->fn(d->arg);
        d = next;
        n++;
    }
    return n;
}

/* ---- threads ---- */

void rt_thread_init(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu_of[cpu], &set);
    pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
    shim_cpu = cpu;
    gr_bench_cpu = (unsigned)cpu;
    shim_pcpu_off = (unsigned long)cpu * SHIM_PCPU_STRIDE;
}

void rt_init(void)
{
    void *const p = mmap((void *)ARENA_BASE, ARENA_SIZE, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    cpu_set_t allowed;

    if (p != (void *)ARENA_BASE) {
        perror("peer: no place for the arena");
        exit(1);
    }
    madvise(p, ARENA_SIZE, MADV_HUGEPAGE);
    sched_getaffinity(0, sizeof(allowed), &allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE && rt_cpus < SHIM_NR_CPUS; cpu++) {
        if (CPU_ISSET(cpu, &allowed))
            cpu_of[rt_cpus++] = cpu;
    }
    pcpu_base = arena_take(SHIM_NR_CPUS * SHIM_PCPU_STRIDE, 1ul << 21);
}
