/* SPDX-License-Identifier: MIT */
/*
 * A fast port, for measuring: user space, everything inline, nothing checked. It stands for a
 * kernel on x86-64 or arm64 whose devices and table walkers snoop the CPU's caches:
 *
 *   CPUs      threads that have numbered themselves in gr_bench_cpu; a single thread need not
 *   memory    one mapping with a constant distance between virtual and physical; free blocks on
 *             chains of the CPU that freed them; zeroed when handed out, as the contract wants
 *   lock      a real spin lock, uncontended; what a kernel adds to keep interrupts out is missing
 *   barriers  x86-64: sfence, lfence, mfence. TSO alone would do for memory and uncached registers,
 *             but a port cannot know that every doorbell is mapped so (write-combining is not), and
 *             kernels pay this price. arm64: dsb st, dsb ld, dsb sy (docs/PORTING.md 4).
 *   cache     none: all is coherent, so the library never calls it
 *
 * <granule/port.h> says what each function owes.
 */
#ifndef GR_PORT_H
#define GR_PORT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GR_PORT_API 1
#define GR_PORT_INLINE 1
#define GR_PORT_CACHE_LINE 64
#ifndef GR_BENCH_NO_EXCLUSIVE
#define GR_PORT_HAS_EXCLUSIVE 1
#endif

/* The largest block; the region is aligned to its size at both addresses. */
#define GR_BENCH_BLOCK_LG2 21u

/* More threads than this must not number themselves. */
#define GR_BENCH_CPUS 64u
#define GR_PORT_CPUS GR_BENCH_CPUS

/* The number of this thread's CPU: the program that measures defines it and keeps it true. */
extern __thread unsigned gr_bench_cpu;

struct bench_env {
    uint8_t *va;
    uint64_t pa;
    uint64_t distance; /* va - pa */
    uint64_t size;
    uint64_t used; /* bytes from the start that were handed out at least once; atomic */
    struct {
        void *free[GR_BENCH_BLOCK_LG2 + 1];
        uint64_t live; /* bytes handed out less bytes taken back, by this CPU */
    } __attribute__((aligned(128))) cpu[GR_BENCH_CPUS];
};

typedef struct bench_env *gr_env_t;
typedef volatile uint8_t *gr_mmio_t;

typedef struct {
    uint8_t held;
} gr_lock_t;

typedef uint8_t gr_lock_state_t;

#ifdef __cplusplus
extern "C" {
#endif

/* Set up [va, va + size), aligned as above at both addresses, with nothing handed out. */
static inline void bench_env_init(struct bench_env *env, void *va, uint64_t pa, uint64_t size)
{
    memset(env, 0, sizeof(*env));
    env->va = (uint8_t *)va;
    env->pa = pa;
    env->distance = (uintptr_t)va - pa;
    env->size = size;
}

/* Bytes that are handed out; exact while no thread allocates or frees. */
static inline uint64_t bench_env_live(const struct bench_env *env)
{
    uint64_t live = 0;

    for (unsigned i = 0; i < GR_BENCH_CPUS; i++)
        live += env->cpu[i].live;
    return live;
}

static inline void *gr_port_pages_alloc(gr_env_t env, unsigned lg2, gr_pa_t pa_last, unsigned flags)
{
    const uint64_t size = (uint64_t)1 << lg2;
    void **const chain = &env->cpu[gr_bench_cpu].free[lg2];
    uint8_t *block;

    (void)flags;
    if (lg2 > GR_BENCH_BLOCK_LG2 || pa_last < env->pa + env->size - 1)
        return NULL;
    block = (uint8_t *)*chain;
    if (block) {
        memcpy(chain, block, sizeof(void *));
    } else {
        uint64_t used = __atomic_load_n(&env->used, __ATOMIC_RELAXED);
        uint64_t start;

        do {
            start = (used + size - 1) & ~(size - 1);
            if (start + size > env->size)
                return NULL;
        } while (!__atomic_compare_exchange_n(&env->used, &used, start + size, 1, __ATOMIC_RELAXED,
                                              __ATOMIC_RELAXED));
        block = env->va + start;
    }
    env->cpu[gr_bench_cpu].live += size;
    return memset(block, 0, size);
}

static inline void gr_port_pages_free(gr_env_t env, void *va, unsigned lg2)
{
    void **const chain = &env->cpu[gr_bench_cpu].free[lg2];

    memcpy(va, chain, sizeof(void *));
    *chain = va;
    env->cpu[gr_bench_cpu].live -= (uint64_t)1 << lg2;
}

static inline gr_pa_t gr_port_virt_to_phys(gr_env_t env, const void *va)
{
    return (uintptr_t)va - env->distance;
}

static inline void *gr_port_phys_to_virt(gr_env_t env, gr_pa_t pa)
{
    return (void *)(uintptr_t)(pa + env->distance);
}

static inline void gr_port_cache(gr_env_t env, const void *va, size_t len, unsigned op)
{
    (void)env;
    (void)va;
    (void)len;
    (void)op;
}

#if defined(__x86_64__)
static inline void gr_port_wmb(void)
{
    __asm__ volatile("sfence" ::: "memory");
}

static inline void gr_port_rmb(void)
{
    __asm__ volatile("lfence" ::: "memory");
}

static inline void gr_port_mb(void)
{
    __asm__ volatile("mfence" ::: "memory");
}
#elif defined(__aarch64__)
static inline void gr_port_wmb(void)
{
    __asm__ volatile("dsb st" ::: "memory");
}

static inline void gr_port_rmb(void)
{
    __asm__ volatile("dsb ld" ::: "memory");
}

static inline void gr_port_mb(void)
{
    __asm__ volatile("dsb sy" ::: "memory");
}
#else
static inline void gr_port_wmb(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline void gr_port_rmb(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline void gr_port_mb(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
#endif

static inline uint32_t gr_port_read32(gr_mmio_t mmio, gr_reg32 reg)
{
    return *(volatile uint32_t *)(uintptr_t)(mmio + reg.offset);
}

static inline void gr_port_write32(gr_mmio_t mmio, gr_reg32 reg, uint32_t value)
{
    *(volatile uint32_t *)(uintptr_t)(mmio + reg.offset) = value;
}

static inline uint64_t gr_port_read64(gr_mmio_t mmio, gr_reg64 reg)
{
    return *(volatile uint64_t *)(uintptr_t)(mmio + reg.offset);
}

static inline void gr_port_write64(gr_mmio_t mmio, gr_reg64 reg, uint64_t value)
{
    *(volatile uint64_t *)(uintptr_t)(mmio + reg.offset) = value;
}

static inline void gr_bench_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline void gr_port_lock_init(gr_lock_t *lock)
{
    lock->held = 0;
}

static inline void gr_port_lock_fini(gr_lock_t *lock)
{
    (void)lock;
}

static inline gr_lock_state_t gr_port_lock(gr_lock_t *lock)
{
    while (__atomic_exchange_n(&lock->held, 1, __ATOMIC_ACQUIRE)) {
        while (__atomic_load_n(&lock->held, __ATOMIC_RELAXED))
            gr_bench_pause();
    }
    return 0;
}

static inline void gr_port_unlock(gr_lock_t *lock, gr_lock_state_t state)
{
    (void)state;
    __atomic_store_n(&lock->held, 0, __ATOMIC_RELEASE);
}

static inline unsigned gr_port_cpu(void)
{
    return gr_bench_cpu;
}

#ifdef GR_PORT_HAS_EXCLUSIVE
/* A thread is alone on its CPU, and nothing interrupts it: what a kernel adds is missing. */
typedef unsigned gr_exclusive_t;

static inline gr_exclusive_t gr_port_exclusive_enter(void)
{
    __asm__ volatile("" ::: "memory");
    return 0;
}

static inline void gr_port_exclusive_leave(gr_exclusive_t section)
{
    (void)section;
    __asm__ volatile("" ::: "memory");
}
#endif

static inline unsigned gr_port_cpu_page_lg2(gr_env_t env)
{
    (void)env;
    return 12;
}

static inline uint64_t gr_port_now_ns(gr_env_t env)
{
    struct timespec now;

    (void)env;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void gr_port_relax(gr_env_t env)
{
    (void)env;
}

static inline void gr_port_log(gr_env_t env, unsigned level, const char *line)
{
    (void)env;
    (void)level;
    fprintf(stderr, "granule: %s\n", line);
}

static inline __attribute__((noreturn)) void gr_port_panic(gr_env_t env, const char *why)
{
    gr_port_log(env, 0, why);
    abort();
}

#ifdef __cplusplus
}
#endif

#endif
