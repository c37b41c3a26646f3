/* SPDX-License-Identifier: MIT */
/*
 * The port: everything the library asks of its host.
 *
 * A port is chosen by include path alone: `-Iports/<name>` supplies `gr_port.h`, which defines
 *
 *   GR_PORT_API        the contract's version it was written for (see below)
 *   gr_env_t           the host's cookie, a pointer type: which machine, NUMA node, memory pool.
 *                      The library stores it and hands it back, and never looks inside.
 *   gr_mmio_t          an opaque handle of one register block
 *   gr_lock_t          a lock, embedded in the library's objects
 *   gr_lock_state_t    what gr_port_lock() returns and gr_port_unlock() wants back
 *   GR_PORT_CACHE_LINE bytes of the largest cache line between the CPU and memory, a power of two
 *
 * and either defines each function below as `static inline` with GR_PORT_INLINE set to 1, or leaves
 * them to be linked. Optional parts are named at the end.
 *
 * "Any context" means: callable with interrupts off and with library locks held; must not sleep.
 */
#ifndef GRANULE_PORT_H
#define GRANULE_PORT_H

#include <granule/types.h>

/* Version of this contract. It changes whenever a port has to. */
#define GR_PORT_API_VERSION 1

/* Register offsets are their own types, so that a field mask cannot be used as an offset. */
typedef struct {
    uint32_t offset;
} gr_reg32;

typedef struct {
    uint32_t offset;
} gr_reg64;

/* Flags of gr_port_pages_alloc(). */
#define GR_PAGES_MAY_SLEEP                                                                         \
    0x1u                    /* the caller holds no lock and may wait; without it: any context      \
                             */
#define GR_PAGES_TABLE 0x2u /* an IOMMU will read this memory: page tables, streams, commands */

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
 * Allocate 2^lg2 bytes (lg2 >= 12), physically contiguous, naturally aligned in PA and in the CPU's
 * address space, zeroed, mapped cacheable for the CPU, last byte at or below `pa_last`. Returns
 * NULL when there is none. Zeroing is a CPU store like any other: the library cleans or orders it
 * before hardware looks. Context: any without GR_PAGES_MAY_SLEEP, else a context that may sleep.
 */
void *gr_port_pages_alloc(gr_env_t env, unsigned lg2, gr_pa_t pa_last, unsigned flags);

/* Free what gr_port_pages_alloc() gave, with the same `env` and `lg2`. Any context. */
void gr_port_pages_free(gr_env_t env, void *va, unsigned lg2);

/*
 * Exact inverses of each other on memory from gr_port_pages_alloc() and, where the device of a
 * mapping is not coherent or its domain has a bounce pool, on every buffer handed to the DMA API: a
 * physically contiguous buffer is contiguous here. No other address is asked for.
 * Any context.
 */
gr_pa_t gr_port_virt_to_phys(gr_env_t env, const void *va);
void *gr_port_phys_to_virt(gr_env_t env, gr_pa_t pa);

/*
 * Cache maintenance on [va, va + len), `op` one or both of GR_CACHE_CLEAN and GR_CACHE_INVAL, clean
 * first. On return the effect has reached the point that non-coherent masters see, completion
 * barrier included. Lines that the range covers only in part are cleaned before they are dropped,
 * whatever `op` says. Never called on a coherent machine. Any context.
 */
void gr_port_cache(gr_env_t env, const void *va, size_t len, unsigned op);

/*
 * Barriers for stores (wmb), loads (rmb) and both (mb): CPU accesses to normal memory before it are
 * observed by every DMA master before accesses to memory or device registers after it. Any context.
 */
void gr_port_wmb(void);
void gr_port_rmb(void);
void gr_port_mb(void);

/*
 * One access of exactly this width, naturally aligned, in program order with other accesses to the
 * same handle. No barrier is implied: the library writes the ones it needs. Any context.
 */
uint32_t gr_port_read32(gr_mmio_t mmio, gr_reg32 reg);
void gr_port_write32(gr_mmio_t mmio, gr_reg32 reg, uint32_t value);
uint64_t gr_port_read64(gr_mmio_t mmio, gr_reg64 reg);
void gr_port_write64(gr_mmio_t mmio, gr_reg64 reg, uint64_t value);

/*
 * A lock that is never taken twice by one CPU and is safe against the interrupt handlers that call
 * the library. One CPU without interrupts may define all four empty.
 */
void gr_port_lock_init(gr_lock_t *lock);
void gr_port_lock_fini(gr_lock_t *lock);
gr_lock_state_t gr_port_lock(gr_lock_t *lock);
void gr_port_unlock(gr_lock_t *lock, gr_lock_state_t state);

/* The number of the CPU we run on, from 0: a hint, it may be stale when it returns. Any context. */
unsigned gr_port_cpu(void);

/* log2 of the CPU's page size P: 12, 14 or 16. Constant for one `env`. Any context. */
unsigned gr_port_cpu_page_lg2(gr_env_t env);

/* Nanoseconds of a monotonic clock that advances while a register is polled. Any context. */
uint64_t gr_port_now_ns(gr_env_t env);

/* Called between two polls of a register: pause, yield, or nothing. Any context. */
void gr_port_relax(gr_env_t env);

/* One finished line of text without a newline, level GR_LOG_*. Any context. */
void gr_port_log(gr_env_t env, unsigned level, const char *line);

/* A broken invariant of the library itself, never bad input. Must not return. */
__attribute__((noreturn)) void gr_port_panic(gr_env_t env, const char *why);

GR_END_DECLS

#endif /* !GR_PORT_INLINE */

/*
 * Optional, with the macro GR_PORT_HAS_MAP_UNCACHED: a second CPU mapping of [va, va + len), pages
 * from gr_port_pages_alloc(), that goes past the caches, as aligned as va; NULL when there is none
 * to be had. The library has cleaned and dropped the cached lines, and uses only this mapping until
 * it unmaps it. Without it coherent buffers for devices that do not snoop are GR_EOPNOTSUPP. May
 * sleep.
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
 * Optional, with the macro GR_PORT_HAS_FIRMWARE: the page tables that firmware left. Make [pa, pa +
 * len), a page that an instance was found translating through, readable and writable for the CPU,
 * as pages from gr_port_pages_alloc() are; its address, as aligned as `pa`, or NULL where memory
 * that firmware may have its tables in is not. `pa` is what hardware or firmware says and may be
 * anything: memory that the host uses itself must be refused. Asked again for the same page it
 * gives the same address. From then on gr_port_phys_to_virt(), gr_port_virt_to_phys() and
 * gr_port_table_store64() work there. Nothing is ever undone. Without it streams that firmware left
 * translating are left alone, and devices behind them are refused. May sleep.
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
 * Optional: `gr_port_table_store64(env, slot, value)`, a store to a page-table entry that hardware
 * walks. It must be one single-copy atomic 64-bit store. A port that can do better than the
 * compiler's (a 32-bit CPU) or wants to watch (ports/host) defines it together with the macro
 * GR_PORT_HAS_TABLE_STORE64.
 */
#ifndef GR_PORT_HAS_TABLE_STORE64
static inline void gr_port_table_store64(gr_env_t env, uint64_t *slot, uint64_t value)
{
    (void)env;
    __atomic_store_n(slot, value, __ATOMIC_RELAXED);
}
#endif

/*
 * Optional, with the macro GR_PORT_HAS_EXCLUSIVE: a per-CPU exclusive section. It gives gr_port.h a
 * type gr_exclusive_t, and
 *
 *   gr_exclusive_t gr_port_exclusive_enter(void);
 *   void gr_port_exclusive_leave(gr_exclusive_t section);
 *
 * Between them this CPU runs nothing else that calls the library: the caller does not migrate, and
 * interrupt handlers and other threads that call the library wait. gr_port_cpu() is exact there,
 * and below GR_PORT_CPUS. A section is some tens of instructions long, or a scan of one arena; it
 * is not nested and takes no lock, but may be entered with library locks held. In a kernel:
 * interrupts off, or a restartable sequence. With it allocating and freeing IOVAs needs no atomic
 * instruction; without it a lock that is uncontended.
 */
#ifndef GR_PORT_HAS_EXCLUSIVE
typedef unsigned char gr_exclusive_t;
#endif

/* How many CPUs gr_port_cpu() tells apart, 4096 at most: numbers from here on share with others. */
#ifndef GR_PORT_CPUS
#define GR_PORT_CPUS 64u
#endif

#endif
