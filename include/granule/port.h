/* SPDX-License-Identifier: MIT */
/*
 * The port: everything the library asks of its host.
 *
 * A port is chosen by include path alone: `-Iports/<name>` supplies `gr_port.h`, which defines
 *
 *   GR_PORT_API        the version of this contract that the port was written for
 *   gr_env_t           the host's cookie, a pointer type: which machine, NUMA node, memory pool.
 *                      The library stores the cookie, passes it back, and never looks inside.
 *   gr_mmio_t          an opaque handle of one register block
 *   gr_lock_t          a lock, embedded in the library's objects
 *   gr_lock_state_t    what gr_port_lock() returns and gr_port_unlock() takes
 *   GR_PORT_CACHE_LINE bytes of the largest cache line between the CPU and memory, a power of two
 *
 * Either `gr_port.h` sets GR_PORT_INLINE to 1 and defines each function below as `static inline`,
 * or it leaves GR_PORT_INLINE alone and the port supplies the functions at link time. The optional
 * parts come last.
 *
 * "Any context" is said of the port's side here: the library calls the function with interrupts off
 * and with locks of the library held, so the function must not sleep.
 */
#ifndef GRANULE_PORT_H
#define GRANULE_PORT_H

#include <granule/types.h>

/* The version of this contract. A change that ports have to follow changes this number. */
#define GR_PORT_API_VERSION 1

/* Offsets of registers have types of their own, so that no field mask is taken for an offset. */
typedef struct {
    uint32_t offset;
} gr_reg32;

typedef struct {
    uint32_t offset;
} gr_reg64;

/* Flags of gr_port_pages_alloc(). */
#define GR_PAGES_MAY_SLEEP 0x1u /* the caller holds no lock and may wait */
#define GR_PAGES_TABLE 0x2u     /* an IOMMU reads this memory: page tables, streams, commands */

/* Operations of gr_port_cache(). */
#define GR_CACHE_CLEAN 0x1u /* write dirty lines back */
#define GR_CACHE_INVAL 0x2u /* drop lines, so that the next read comes from memory */

/* Levels of gr_port_log(). */
#define GR_LOG_ERR 0u
#define GR_LOG_WARN 1u
#define GR_LOG_INFO 2u

#include "gr_port.h"

#if !defined(GR_PORT_API) || GR_PORT_API != GR_PORT_API_VERSION
#error "gr_port.h was written for another version of the port contract: see docs/PORTING.md"
#endif

#ifndef GR_PORT_INLINE
#define GR_PORT_INLINE 0
#endif

#if !GR_PORT_INLINE

GR_BEGIN_DECLS

/*
 * Allocate 2^lg2 bytes, lg2 >= 12: physically contiguous, naturally aligned in PA and in the CPU's
 * address space, zeroed, mapped cacheable for the CPU, with the last byte at or below `pa_last`.
 * `flags`: GR_PAGES_*. Returns NULL when no such memory is left. The stores that zero the memory
 * need no barrier and no cache clean: the library does both before hardware reads the memory.
 * Context: any without GR_PAGES_MAY_SLEEP; with it the function may sleep.
 */
void *gr_port_pages_alloc(gr_env_t env, unsigned lg2, gr_pa_t pa_last, unsigned flags);

/* Free memory of gr_port_pages_alloc(), with the same `env` and `lg2`. Any context. */
void gr_port_pages_free(gr_env_t env, void *va, unsigned lg2);

/*
 * Translate between the CPU's addresses and physical ones. The two functions are exact inverses on
 * memory from gr_port_pages_alloc() and, where a device is not coherent or its domain has a bounce
 * pool, on every buffer that the DMA API is given. A buffer that is contiguous in physical memory
 * is contiguous in the CPU's addresses. The library passes no other address. Any context.
 */
gr_pa_t gr_port_virt_to_phys(gr_env_t env, const void *va);
void *gr_port_phys_to_virt(gr_env_t env, gr_pa_t pa);

/*
 * Cache maintenance on [va, va + len). `op` is GR_CACHE_CLEAN, GR_CACHE_INVAL, or both: clean
 * first. The function ends with a completion barrier: on return the effect has reached memory as
 * non-coherent masters see it. Lines that the range covers only in part are cleaned before they are
 * dropped, whatever `op` says. Never called on a coherent machine. Any context.
 */
void gr_port_cache(gr_env_t env, const void *va, size_t len, unsigned op);

/*
 * Barriers for stores (wmb), for loads (rmb) and for both (mb). Every DMA master observes the CPU's
 * accesses to normal memory before the barrier earlier than its accesses to memory or to device
 * registers after the barrier. Any context.
 */
void gr_port_wmb(void);
void gr_port_rmb(void);
void gr_port_mb(void);

/*
 * One access to a register, of exactly this width, naturally aligned, in program order with other
 * accesses through the same handle. The access implies no barrier: the library calls the barriers
 * that are needed. Any context.
 */
uint32_t gr_port_read32(gr_mmio_t mmio, gr_reg32 reg);
void gr_port_write32(gr_mmio_t mmio, gr_reg32 reg, uint32_t value);
uint64_t gr_port_read64(gr_mmio_t mmio, gr_reg64 reg);
void gr_port_write64(gr_mmio_t mmio, gr_reg64 reg, uint64_t value);

/*
 * A lock. While a CPU holds a lock, other CPUs wait for it, and so do interrupt handlers that call
 * the library: gr_port_lock() disables interrupts where there are such handlers. No CPU takes a
 * lock that it holds. gr_port_lock_init() and gr_port_lock_fini() are called in pairs. A port for
 * one CPU without interrupts may define all four empty. Any context.
 */
void gr_port_lock_init(gr_lock_t *lock);
void gr_port_lock_fini(gr_lock_t *lock);
gr_lock_state_t gr_port_lock(gr_lock_t *lock);
void gr_port_unlock(gr_lock_t *lock, gr_lock_state_t state);

/* The number of the calling CPU, from 0: a hint, for the caller may migrate. Any context. */
unsigned gr_port_cpu(void);

/* log2 of the CPU's page size P: 12, 14 or 16. Constant for one `env`. Any context. */
unsigned gr_port_cpu_page_lg2(gr_env_t env);

/*
 * Nanoseconds of a monotonic clock. The clock must advance while a register is polled, because only
 * the clock ends a wait for broken hardware. Any context.
 */
uint64_t gr_port_now_ns(gr_env_t env);

/* Called between two polls of a register: pause, yield, or nothing. Any context. */
void gr_port_relax(gr_env_t env);

/* Log one whole line of text, without a newline. `level`: GR_LOG_*. Any context. */
void gr_port_log(gr_env_t env, unsigned level, const char *line);

/* An invariant of the library is broken, never by bad input. Must not return. Any context. */
__attribute__((noreturn)) void gr_port_panic(gr_env_t env, const char *why);

GR_END_DECLS

#endif /* !GR_PORT_INLINE */

/*
 * Optional, with the macro GR_PORT_HAS_MAP_UNCACHED: a second CPU mapping of [va, va + len), which
 * is memory of gr_port_pages_alloc(). Accesses through the mapping bypass the caches; its alignment
 * is that of `va`. Returns NULL when no mapping can be made. The library has cleaned and dropped
 * the cached lines, and uses only this mapping until gr_port_unmap_uncached(). Without the two
 * functions gr_dma_alloc() returns GR_EOPNOTSUPP for devices that do not snoop. Context: may sleep.
 */
#ifdef GR_PORT_HAS_MAP_UNCACHED
GR_BEGIN_DECLS
void *gr_port_map_uncached(gr_env_t env, void *va, size_t len);
void gr_port_unmap_uncached(gr_env_t env, void *mapped, size_t len);
GR_END_DECLS
#else
static inline void *gr_port_map_uncached(gr_env_t env, void *va, size_t len)
{
    (void)env;
    (void)va;
    (void)len;
    return NULL;
}

static inline void gr_port_unmap_uncached(gr_env_t env, void *mapped, size_t len)
{
    (void)env;
    (void)mapped;
    (void)len;
}
#endif

/*
 * Optional, with the macro GR_PORT_HAS_FIRMWARE: map one page of the tables that firmware left.
 * [pa, pa + len) is a page that an instance was found translating through. Make the page readable
 * and writable for the CPU, as pages of gr_port_pages_alloc() are, and return its address, which
 * has the alignment of `pa`. The same `pa` always gets the same address.
 *
 * Return a mapping only for memory reserved by firmware, else NULL. `pa` is untrusted: it was read
 * from a register or from firmware's tables, and may lie in memory that the host uses.
 *
 * From then on gr_port_phys_to_virt(), gr_port_virt_to_phys() and gr_port_table_store64() work on
 * the page. The library never unmaps it. Without this function streams that firmware left
 * translating stay as they are, and devices behind them are refused. Context: may sleep.
 */
#ifdef GR_PORT_HAS_FIRMWARE
GR_BEGIN_DECLS
void *gr_port_map_firmware(gr_env_t env, gr_pa_t pa, size_t len);
GR_END_DECLS
#else
static inline void *gr_port_map_firmware(gr_env_t env, gr_pa_t pa, size_t len)
{
    (void)env;
    (void)pa;
    (void)len;
    return NULL;
}
#endif

/*
 * Optional, with the macro GR_PORT_HAS_TABLE_STORE64: store a page-table entry that hardware walks,
 * as one single-copy atomic 64-bit store. A port defines the function where the compiler's 64-bit
 * store is not one store (a 32-bit CPU), or to watch the stores (ports/host). Any context.
 */
#ifndef GR_PORT_HAS_TABLE_STORE64
static inline void gr_port_table_store64(gr_env_t env, uint64_t *slot, uint64_t value)
{
    (void)env;
    __atomic_store_n(slot, value, __ATOMIC_RELAXED);
}
#endif

/*
 * Optional, with the macro GR_PORT_HAS_EXCLUSIVE: an exclusive section of the calling CPU. Then
 * gr_port.h defines the type gr_exclusive_t, and
 *
 *   gr_exclusive_t gr_port_exclusive_enter(void);
 *   void gr_port_exclusive_leave(gr_exclusive_t section);
 *
 * Inside a section this CPU runs nothing else that calls the library: the caller does not migrate,
 * and interrupt handlers and threads that call the library wait. gr_port_cpu() is exact inside a
 * section, and below GR_PORT_CPUS. A section lasts some tens of instructions, or a scan of one
 * arena (iova.h). Sections are not nested. No lock is taken inside a section, but a section may be
 * entered with locks of the library held. In a kernel: interrupts off, or a restartable sequence.
 * With sections, allocating and freeing IOVAs needs no atomic instruction. Without them the library
 * takes a lock that is uncontended. Any context.
 */
#ifndef GR_PORT_HAS_EXCLUSIVE
typedef unsigned char gr_exclusive_t;
#endif

/*
 * The number of CPUs that have IOVA arenas of their own, 4096 at most. CPU n with n >= GR_PORT_CPUS
 * shares the arenas of CPU n % GR_PORT_CPUS.
 */
#ifndef GR_PORT_CPUS
#define GR_PORT_CPUS 64u
#endif

#endif
