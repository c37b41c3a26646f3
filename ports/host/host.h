/* SPDX-License-Identifier: MIT */
/*
 * ports/host: a machine in user space, and an adversary. It obeys <granule/port.h> to the letter
 * and no further: whatever the contract leaves open happens, at random, replayable from a seed.
 *
 * Memory. Each bank of RAM exists three times, each sparse, so that a machine of many GiB costs
 * what it touches:
 *   cpu   what the CPU sees; gr_port_phys_to_virt() points here
 *   dev   what non-coherent masters and table walkers see
 *   base  the state in which cpu and dev last agreed: a line is dirty where cpu differs from base
 * Coherent masters use `cpu`. CLEAN copies dirty lines from cpu to dev; INVAL copies dev to cpu.
 * Whenever a non-coherent master touches a line or an INVAL drops it, a dirty line may also be
 * written back, and a clean line be fetched again. Always whole lines of GR_PORT_CACHE_LINE bytes.
 *
 * Table memory (GR_PAGES_TABLE). gr_port_table_store64() changes cpu at once. It changes dev at the
 * latest at the thread's next gr_port_wmb() or gr_port_mb(), or when another thread follows a
 * pointer to a table, because that thread has seen the store. With `noncoherent_walk` only the
 * CLEAN that covers a store changes dev; no barrier does. A store may also become visible earlier:
 * at any store and at any walker's read, one pending 64-bit store of any thread may, alone and out
 * of order. The zeroes of a fresh page are pending stores too; until they are visible a walker sees
 * poison that looks valid.
 *
 * Misuse of the contract is counted, logged in one sentence, and survived where possible. Lock
 * functions and barriers have no `env`: lock misuse goes to the host that the thread used last.
 *
 * Threads: every function may be called from any thread at any time; host_destroy() only when no
 * other thread is inside a call with that host. Nothing is shared between hosts but the numbers of
 * threads (gr_port_cpu()) and each thread's list of its store buffers.
 */
#ifndef HOST_H
#define HOST_H

#include <granule/types.h>

GR_BEGIN_DECLS

struct host;

#define HOST_MAX_BANKS 64
#define HOST_MAX_RESERVED 64

struct host_bank {
    uint64_t base; /* multiples of 4 KiB, disjoint; PA 0 is an ordinary address */
    uint64_t size;
};

struct host_hole {
    uint64_t base; /* any alignment; may reach outside RAM */
    uint64_t size;
};

struct host_config {
    unsigned cpu_page; /* P: 4096, 16384 or 65536 */
    unsigned nbanks;
    unsigned nreserved;
    bool noncoherent_walk; /* walkers see tables after a CLEAN, not after a barrier */
    uint64_t seed;
    struct host_bank banks[HOST_MAX_BANKS];
    struct host_hole reserved[HOST_MAX_RESERVED]; /* RAM that is never handed out */
};

/* Make a machine. NULL, with one sentence in `err`, when `config` is not valid. */
struct host *host_create(const struct host_config *config, char *err, size_t errlen);

/*
 * Destroy a machine, with a line in the log for each library page or test buffer still allocated.
 * Returns host_leaks(). Stores of any thread that are pending in the machine are dropped.
 */
int host_destroy(struct host *h);

/*
 * host_leaks(): what the library has allocated and not freed, in pages of 4 KiB; an uncached
 * mapping counts one. host_ram_leaks(): the same of tests' buffers.
 */
int host_leaks(struct host *h);
int host_ram_leaks(struct host *h);

/* Times the contract was broken so far. Looks for writes to freed library pages first. */
unsigned host_misuse(struct host *h);

unsigned host_cpu_page(const struct host *h);

/* ---- Memory for tests: buffers, and the CPU's view of any RAM ---- */

/*
 * `size` bytes rounded up to P, aligned to P and `align` (a power of two or 0), anywhere in RAM,
 * and not cleared. GR_EINVAL, GR_ENOMEM. host_ram_free() takes exactly such a PA.
 */
GR_MUST_CHECK int host_ram_alloc(struct host *h, uint64_t size, uint64_t align, gr_pa_t *out_pa);
void host_ram_free(struct host *h, gr_pa_t pa);

/*
 * A page of firmware's tables: `size` bytes, a power of two, naturally aligned, zero for CPU and
 * devices. The page stays until the machine is destroyed. gr_port_map_firmware() gives the page to
 * the library; from then on walkers see the library's stores to it as those to its own tables.
 * GR_EINVAL, GR_ENOMEM.
 */
GR_MUST_CHECK int host_firmware_alloc(struct host *h, uint64_t size, gr_pa_t *out_pa);

/* Store an entry of such a page, visible to CPU and devices at once: firmware did it long ago. */
void host_firmware_write64(struct host *h, gr_pa_t pa, uint64_t value);

/* The n-th gr_port_map_firmware() from now fails; 0 for none. */
void host_fail_firmware(struct host *h, uint64_t n);

/* The CPU's address of [pa, pa + len), or NULL if that range is not within one bank. */
void *host_ptr(struct host *h, gr_pa_t pa, uint64_t len);

/* The same range past the caches: what masters that are not coherent see. */
const void *host_memory(struct host *h, gr_pa_t pa, uint64_t len);

/* The PA of a CPU address, cached or uncached. False: not memory of this host. */
GR_MUST_CHECK bool host_pa_of(struct host *h, const void *va, gr_pa_t *out_pa);

enum host_use {
    HOST_UNUSED,  /* never used, freed, or reserved; outside RAM */
    HOST_LIBRARY, /* from gr_port_pages_alloc(), for anything but tables */
    HOST_TABLE,
    HOST_BUFFER,   /* from host_ram_alloc() */
    HOST_FIRMWARE, /* from host_firmware_alloc() */
};

/* What the 4 KiB at `pa` are used for. */
enum host_use host_use_of(struct host *h, gr_pa_t pa);

/* Call `fn` for each run of memory of one use that is not HOST_UNUSED, bank by bank, ascending. */
void host_for_each_used(struct host *h,
                        void (*fn)(void *arg, gr_pa_t pa, uint64_t len, enum host_use use),
                        void *arg);

/*
 * Copy [pa, pa + len), within one bank, and change no cache: of table memory what walkers see; of
 * other memory the line in the CPU's caches if it is dirty, or else what lies in memory.
 */
GR_MUST_CHECK bool host_read_held(struct host *h, gr_pa_t pa, void *buf, uint64_t len);

/* ---- For models: what devices and walkers do ---- */

/*
 * One 64-bit read of a table by a walker. False outside RAM and at unaligned addresses; a read of a
 * freed library page is false and misuse. RAM that is no table page is read from cpu, or with
 * `noncoherent_walk` from dev.
 */
GR_MUST_CHECK bool host_table_read64(struct host *h, gr_pa_t pa, uint64_t *out);

/*
 * A device's access, whole or (false) not at all: outside RAM; misuse on freed library pages and,
 * for writes, on live table pages.
 */
GR_MUST_CHECK bool host_mem_read(struct host *h, gr_pa_t pa, void *buf, uint64_t len,
                                 bool coherent);
GR_MUST_CHECK bool host_mem_write(struct host *h, gr_pa_t pa, const void *buf, uint64_t len,
                                  bool coherent);

/*
 * Called after each table store and each barrier that follows one, in the storing thread, so that a
 * walker can look at any moment. It may use the functions of this section, and must not call the
 * library, the port's locks or its barriers. NULL for none.
 */
void host_set_observer(struct host *h, void (*fn)(void *arg), void *arg);

/*
 * A register block. An access beyond `size`, unaligned, or of a width without a function is misuse;
 * such a read gives all ones. Stores are not made visible by an MMIO access. The functions run in
 * the calling thread without any lock of the host.
 */
struct host_mmio {
    struct host *host;
    void *opaque;
    uint32_t size;
    uint32_t (*read32)(void *opaque, uint32_t offset);
    void (*write32)(void *opaque, uint32_t offset, uint32_t value);
    uint64_t (*read64)(void *opaque, uint32_t offset);              /* may be NULL */
    void (*write64)(void *opaque, uint32_t offset, uint64_t value); /* may be NULL */
};

/* ---- Virtual time: gr_port_now_ns() takes 10 ns, gr_port_relax() 100 ns, all else none ---- */

uint64_t host_now(struct host *h); /* takes no time itself */
void host_advance(struct host *h, uint64_t ns);

/* ---- Failures on demand, each happening once ---- */

#define HOST_CLEAN 0x1u
#define HOST_INVAL 0x2u
#define HOST_BARRIER 0x4u /* wmb or mb with table stores of the thread since its last barrier */

/* The n-th gr_port_pages_alloc() from now fails; 0 for none. */
void host_fail_alloc(struct host *h, uint64_t n);
void host_fail_uncached(struct host *h, uint64_t n); /* the n-th gr_port_map_uncached() */
uint64_t host_allocs(struct host *h);                /* calls so far, failed ones included */

/* The k-th call from now of each kind in `what` is ignored; 0 for none. */
void host_ignore(struct host *h, unsigned what, uint64_t k);
uint64_t host_calls(struct host *h, unsigned what); /* calls so far of the kinds in `what` */

/*
 * Calls of gr_port_rmb() and gr_port_mb() by this thread so far. A CPU may load a value ahead of
 * its program, and use it unless a barrier comes between. A test imitates that by keeping this
 * number with a value that it has loaded.
 */
uint64_t host_load_barriers(void);

/*
 * The calling thread's CPU from now on, below GR_PORT_CPUS; UINT32_MAX: the thread's own number
 * again. A CPU's exclusive section keeps out other threads with the same CPU.
 */
void host_set_cpu(uint32_t cpu);

/* ---- The log: the last 64 lines are kept ---- */

/* Print lines of GR_LOG_* up to `level` to stderr; -1 for none. At first: GR_LOG_ERR. */
void host_log_level(struct host *h, int level);

/* The last line, "" when there is none; valid until 64 more lines are logged. */
const char *host_last_log(struct host *h);

/* Whether a kept line contains `text`. */
bool host_logged(struct host *h, const char *text);

GR_END_DECLS

#endif
