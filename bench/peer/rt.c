/* SPDX-License-Identifier: MIT */
#include "rt.h"
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
__thread unsigned long shim_pcpu_off;
__thread int shim_cpu;
__thread unsigned gr_bench_cpu; /* the same for ports/bench */
int rt_cpus;
unsigned rt_invalidation_ns;
__thread unsigned long rt_invalidations;
unsigned long shim_warn_count;

unsigned long long rt_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}
void rt_burn(unsigned ns)
{
    const unsigned long long end = rt_now_ns() + ns;
    while (rt_now_ns() < end)
        ;
}
void shim_bug(const char *c, const char *f, int l)
{
    fprintf(stderr, "BUG_ON(%s) %s:%d\n", c, f, l);
    abort();
}
void shim_warn(const char *c, const char *f, int l)
{
    if (__atomic_fetch_add(&shim_warn_count, 1, 5) < 5)
        fprintf(stderr, "WARN(%s) %s:%d\n", c, f, l);
}
void shim_printk(const char *f, ...)
{
    (void)f;
}
void shim_spin_slow(unsigned int *v)
{
    for (;;) {
        while (__atomic_load_n(v, __ATOMIC_RELAXED))
            __builtin_ia32_pause();
        unsigned int z = 0;
        if (__atomic_compare_exchange_n(v, &z, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return;
    }
}

/* big low arena (below 64 GiB: DART1 paddrs are 36 bit), THP like the kernel's direct map */
#define ARENA_BASE 0x400000000ul
#define ARENA_SIZE (12ul << 30) /* of addresses; memory only as it is used */
static unsigned long arena_brk;
static unsigned arena_lock;
static void lk(unsigned *l)
{
    unsigned z = 0;
    if (!__atomic_compare_exchange_n(l, &z, 1, 0, 2, 0))
        shim_spin_slow(l);
}
static void ulk(unsigned *l)
{
    __atomic_store_n(l, 0, __ATOMIC_RELEASE);
}
static char *arena_get(unsigned long bytes, unsigned long align)
{
    lk(&arena_lock);
    unsigned long p = (arena_brk + align - 1) & ~(align - 1);
    arena_brk = p + bytes;
    ulk(&arena_lock);
    if (arena_brk > ARENA_BASE + ARENA_SIZE) {
        fprintf(stderr, "arena exhausted\n");
        abort();
    }
    return (char *)p;
}

/* slab: per-thread freelist (as SLUB's per-cpu fast path, without its cmpxchg16b), 64 KiB chunks
 * handed out in address order; 2*BATCH more frees than allocations on one cpu: a batch goes to a
 * shared list, so that objects freed on another cpu come back. */
#define BATCH 256
struct chunk {
    struct chunk *next;
    char *p;
    int cpu;
};
struct slab {
    unsigned long sz, osz;
    const char *name;
    struct slab *next;
    struct chunk *chunks;
    unsigned lock;
    void *batches;
    struct {
        void *free;
        long n;
        char pad[112];
    } c[SHIM_NR_CPUS] __attribute__((aligned(128))); /* no false sharing */
};
static struct slab *slabs;
void *shim_slab_create(const char *n, rt_size sz, unsigned f)
{
    (void)f;
    struct slab *s = aligned_alloc(128, sizeof *s);
    memset(s, 0, sizeof *s);
    s->name = n;
    s->osz = sz;
    s->sz = (sz + 63) & ~63ul;
    s->next = slabs;
    slabs = s;
    return s;
}
static void chunk_link(struct slab *s, struct chunk *k, int cpu)
{
    unsigned long n = (1ul << 16) / s->sz;
    for (unsigned long i = n; i-- > 0;) {
        void **o = (void **)(k->p + i * s->sz);
        *o = s->c[cpu].free;
        s->c[cpu].free = o;
    }
}
static __attribute__((noinline)) void slab_refill(struct slab *s)
{
    int cpu = shim_cpu;
    lk(&s->lock);
    void **b = s->batches;
    if (b)
        s->batches = b[1];
    ulk(&s->lock);
    if (b) {
        s->c[cpu].free = b;
        return;
    }
    struct chunk *k = malloc(sizeof *k);
    k->p = arena_get((1ul << 16), 1ul << 12);
    k->cpu = cpu;
    lk(&s->lock);
    k->next = s->chunks;
    s->chunks = k;
    ulk(&s->lock);
    chunk_link(s, k, cpu);
}
static __attribute__((noinline)) void slab_spill(struct slab *s)
{
    int cpu = shim_cpu;
    void **b = s->c[cpu].free, **e = b;
    for (int i = 1; i < BATCH; i++)
        e = *e;
    s->c[cpu].free = *e;
    *e = NULL;
    s->c[cpu].n -= BATCH;
    lk(&s->lock);
    b[1] = s->batches;
    s->batches = b;
    ulk(&s->lock);
}
void *shim_slab_alloc(void *c)
{
    struct slab *s = c;
    void **f = &s->c[shim_cpu].free;
    if (__builtin_expect(!*f, 0))
        slab_refill(s);
    void *p = *f;
    *f = *(void **)p;
    s->c[shim_cpu].n--;
    return p;
}
void *shim_slab_zalloc(void *c)
{
    void *p = shim_slab_alloc(c);
    memset(p, 0, ((struct slab *)c)->osz);
    return p;
}
void shim_slab_free(void *c, void *p)
{
    struct slab *s = c;
    void **f = &s->c[shim_cpu].free;
    *(void **)p = *f;
    *f = p;
    if (__builtin_expect(++s->c[shim_cpu].n > 2 * BATCH, 0))
        slab_spill(s);
}
/* only while no object is live: every cell starts from the same, address-ordered memory */
void rt_slab_reset(void)
{
    for (struct slab *s = slabs; s; s = s->next) {
        struct chunk *r = NULL, *k, *n;
        s->batches = NULL;
        int m = 0;
        for (int i = 0; i < SHIM_NR_CPUS; i++)
            s->c[i].free = NULL, s->c[i].n = 0;
        for (k = s->chunks; k; k = k->next)
            m++;
        struct chunk **v = malloc((unsigned)(m + 1) * sizeof *v);
        int i = 0;
        for (k = s->chunks; k; k = k->next)
            v[i++] = k;
        for (i = 0; i < m; i++)
            chunk_link(s, v[i], v[i]->cpu); /* newest first, so oldest ends on top */
        free(v);
        (void)r;
        (void)n;
    }
}
unsigned long shim_slab_bytes_live(void)
{
    unsigned long live = 0;
    for (struct slab *s = slabs; s; s = s->next) {
        for (struct chunk *k = s->chunks; k; k = k->next)
            live += (1ul << 16) / s->sz * s->sz;
        for (void **b = s->batches; b; b = b[1])
            live -= BATCH * s->sz;
        for (int i = 0; i < SHIM_NR_CPUS; i++)
            for (void **o = s->c[i].free; o; o = *o)
                live -= s->sz;
    }
    return live;
}
/* as kmalloc: never two objects on a line */
void *shim_kmalloc(rt_size n)
{
    return aligned_alloc(128, (n + 127) & ~127ul);
}
void *shim_kzalloc(rt_size n)
{
    void *p = shim_kmalloc(n);
    return p ? memset(p, 0, n) : p;
}
void shim_kfree(const void *p)
{
    free((void *)p);
}

/* page pool: per-thread freelist per power of two */
static struct {
    void *f[24];
    char pad[64];
} pg[SHIM_NR_CPUS];
static unsigned long pg_live;
static unsigned pgo(unsigned long b)
{
    return b <= 4096 ? 0 : 64u - (unsigned)__builtin_clzl((b - 1) >> 12);
}
void *shim_page_alloc(rt_size bytes, int zero)
{
    unsigned o = pgo(bytes);
    void *p = pg[shim_cpu].f[o];
    unsigned long b = 4096ul << o;
    if (p)
        pg[shim_cpu].f[o] = *(void **)p;
    else
        p = arena_get(b, b);
    __atomic_fetch_add(&pg_live, b, __ATOMIC_RELAXED);
    if (zero)
        memset(p, 0, b);
    return p;
}
void shim_page_free(void *p, rt_size bytes)
{
    unsigned o = pgo(bytes);
    *(void **)p = pg[shim_cpu].f[o];
    pg[shim_cpu].f[o] = p;
    __atomic_fetch_sub(&pg_live, 4096ul << o, __ATOMIC_RELAXED);
}
unsigned long shim_page_bytes_live(void)
{
    return pg_live;
}

/* per cpu */
static char *pc_base;
static unsigned long pc_off;
struct pcf {
    struct pcf *n;
    unsigned long sz;
};
static void *pc_free64;
void *shim_pcpu_alloc(rt_size s, rt_size a)
{
    (void)a;
    s = (s + 63) & ~63ul;
    char *p;
    lk(&arena_lock);
    if (s == 64 && pc_free64) {
        p = pc_free64;
        pc_free64 = *(void **)p;
    } else {
        p = pc_base + pc_off;
        pc_off += s;
    }
    ulk(&arena_lock);
    if (pc_off > SHIM_PCPU_STRIDE) {
        fprintf(stderr, "pcpu exhausted\n");
        abort();
    }
    for (int i = 0; i < rt_cpus; i++)
        memset(p + (unsigned long)i * SHIM_PCPU_STRIDE, 0, s);
    return p;
}
void shim_pcpu_free(void *p)
{
    lk(&arena_lock);
    *(void **)p = pc_free64;
    pc_free64 = p;
    ulk(&arena_lock);
}

/* delayed work */
static struct shim_dwork *dw_head;
static unsigned dw_lock;
int shim_queue_dwork(struct shim_dwork *d)
{
    if (__atomic_exchange_n(&d->pending, 1, __ATOMIC_SEQ_CST))
        return 0;
    lk(&dw_lock);
    d->next = dw_head;
    dw_head = d;
    ulk(&dw_lock);
    return 1;
}
void shim_cancel_dwork(struct shim_dwork *d)
{
    lk(&dw_lock);
    for (struct shim_dwork **p = &dw_head; *p; p = &(*p)->next)
        if (*p == d) {
            *p = d->next;
            break;
        }
    d->pending = 0;
    ulk(&dw_lock);
}
int shim_run_delayed_work(void)
{
    lk(&dw_lock);
    struct shim_dwork *d = dw_head;
    dw_head = NULL;
    ulk(&dw_lock);
    int n = 0;
    while (d) {
        struct shim_dwork *x = d->next;
        __atomic_store_n(&d->pending, 0, __ATOMIC_SEQ_CST);
        d->fn(d->arg);
        n++;
        d = x;
    }
    return n;
}

void rt_thread_init(int cpu)
{
    cpu_set_t s;
    CPU_ZERO(&s);
    CPU_SET(cpu, &s);
    pthread_setaffinity_np(pthread_self(), sizeof s, &s);
    shim_cpu = cpu % rt_cpus;
    gr_bench_cpu = (unsigned)shim_cpu;
    shim_pcpu_off = (unsigned long)shim_cpu * SHIM_PCPU_STRIDE;
}
void rt_init(void)
{
    void *p = mmap((void *)ARENA_BASE, ARENA_SIZE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (p != (void *)ARENA_BASE) {
        perror("arena");
        abort();
    }
    madvise(p, ARENA_SIZE, MADV_HUGEPAGE);
    arena_brk = ARENA_BASE;
    rt_cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (rt_cpus > SHIM_NR_CPUS)
        rt_cpus = SHIM_NR_CPUS;
    if (rt_cpus < 2)
        rt_cpus = 2;
    pc_base = arena_get(SHIM_NR_CPUS * SHIM_PCPU_STRIDE, 1 << 21);
}
