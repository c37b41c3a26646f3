/* SPDX-License-Identifier: MIT */
#include <granule/port.h>

/*
 * WRITE: your page allocator. This allocator takes a free block from the chain of its size, or else
 * the next block of the region. Bytes that alignment skips are lost, and blocks are neither split
 * nor joined.
 */
void *gr_port_pages_alloc(gr_env_t env, unsigned lg2, gr_pa_t pa_last, unsigned flags)
{
    uint64_t size = (uint64_t)1 << lg2, at = env->used, pa;
    void **link = &env->free[lg2], *block;

    (void)flags; /* never sleeps; tables are ordinary memory */
    while (*link && gr_port_virt_to_phys(env, *link) + (size - 1) > pa_last)
        link = (void **)*link;
    block = *link;
    if (block) {
        *link = *(void **)block;
    } else {
        at += (0 - (env->pa + at)) & (size - 1);
        pa = env->pa + at;
        if (at > env->size || env->size - at < size || pa > pa_last || pa_last - pa < size - 1)
            return NULL;
        env->used = at + size;
        block = env->va + at;
    }
    __builtin_memset(block, 0, (size_t)size);
    return block;
}

void gr_port_pages_free(gr_env_t env, void *va, unsigned lg2)
{
    *(void **)va = env->free[lg2];
    env->free[lg2] = va;
}

/* WRITE, unless all RAM that the library meets is mapped at this one offset. */
gr_pa_t gr_port_virt_to_phys(gr_env_t env, const void *va)
{
    return env->pa + (uint64_t)((uintptr_t)va - (uintptr_t)env->va);
}

void *gr_port_phys_to_virt(gr_env_t env, gr_pa_t pa)
{
    return (void *)((uintptr_t)env->va + (uintptr_t)(pa - env->pa));
}

/* WRITE where a device or a walker is not coherent. */
void gr_port_cache(gr_env_t env, const void *va, size_t len, unsigned op)
{
    (void)va;
    (void)len;
    (void)op;
    gr_port_panic(env, "gr_port_cache: this port is for coherent machines");
}

/* WRITE for other CPUs: the compiler's fence orders CPUs, and need not order DMA masters. */
void gr_port_mb(void)
{
#if defined(__aarch64__)
    __asm__ volatile("dsb sy" ::: "memory");
#elif defined(__riscv)
    __asm__ volatile("fence iorw, iorw" ::: "memory");
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

void gr_port_wmb(void)
{
    gr_port_mb();
}

void gr_port_rmb(void)
{
    gr_port_mb();
}

uint32_t gr_port_read32(gr_mmio_t mmio, gr_reg32 reg)
{
    return *(volatile uint32_t *)(mmio + reg.offset);
}

void gr_port_write32(gr_mmio_t mmio, gr_reg32 reg, uint32_t value)
{
    *(volatile uint32_t *)(mmio + reg.offset) = value;
}

/* A 32-bit CPU splits these into two accesses: WRITE, if a register must be accessed at once. */
uint64_t gr_port_read64(gr_mmio_t mmio, gr_reg64 reg)
{
    return *(volatile uint64_t *)(mmio + reg.offset);
}

void gr_port_write64(gr_mmio_t mmio, gr_reg64 reg, uint64_t value)
{
    *(volatile uint64_t *)(mmio + reg.offset) = value;
}

/*
 * WRITE for several CPUs, or when an interrupt handler calls the library: save the interrupt state,
 * disable interrupts, spin; release, restore. The page allocator above then needs a lock, too.
 */
void gr_port_lock_init(gr_lock_t *lock)
{
    lock->unused = 0;
}

void gr_port_lock_fini(gr_lock_t *lock)
{
    (void)lock;
}

gr_lock_state_t gr_port_lock(gr_lock_t *lock)
{
    (void)lock;
    return 0;
}

void gr_port_unlock(gr_lock_t *lock, gr_lock_state_t state)
{
    (void)lock;
    (void)state;
}

unsigned gr_port_cpu(void)
{
    return 0;
}

/* WRITE: log2 of the CPU's page size. */
unsigned gr_port_cpu_page_lg2(gr_env_t env)
{
    (void)env;
    return 12;
}

/* WRITE: read a clock. This one counts 10 ns per call: time-outs end, but are not exact. */
uint64_t gr_port_now_ns(gr_env_t env)
{
    return env->ns += 10;
}

void gr_port_relax(gr_env_t env)
{
    (void)env;
}

/* WRITE: where you print. */
void gr_port_log(gr_env_t env, unsigned level, const char *line)
{
    (void)env;
    (void)level;
    (void)line;
}

/* WRITE: say `why`, and stop the machine. */
void gr_port_panic(gr_env_t env, const char *why)
{
    (void)env;
    (void)why;
    for (;;)
        gr_port_mb();
}
