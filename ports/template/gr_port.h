/* SPDX-License-Identifier: MIT */
/*
 * A port to copy: ports/<yours>/gr_port.h and gr_port.c. It is complete for one CPU without
 * interrupts, whose RAM is mapped at one constant offset and whose devices and walkers are
 * coherent. Change what is marked WRITE; <granule/port.h> says what each function owes.
 */
#ifndef GR_PORT_H
#define GR_PORT_H

#include <stdint.h>

/* The contract this port was written for: GR_PORT_API_VERSION of that day, as a number. */
#define GR_PORT_API 1

/* 0: functions in gr_port.c. 1: `static inline` here, each with the name it has in port.h. */
#define GR_PORT_INLINE 0

/* WRITE: bytes of the largest line of any cache between the CPU and memory. */
#define GR_PORT_CACHE_LINE 64

/*
 * WRITE: what your host knows about memory. Here: a region that the host gives the library, both
 * ends multiples of 4 KiB. Set pa, va and size, the rest to zero, before the first call.
 */
struct template_env {
    uint64_t pa;    /* where the region begins, for devices */
    uint8_t *va;    /* and for the CPU */
    uint64_t size;  /* bytes */
    uint64_t used;  /* bytes from the start that were handed out at least once */
    void *free[64]; /* chains of free blocks of 2^index bytes */
    uint64_t ns;    /* the clock, see gr_port_now_ns() */
};

typedef struct template_env *gr_env_t;

/* WRITE: the address of a register block, or what your port finds a register block by. */
typedef uintptr_t gr_mmio_t;

/* WRITE: a spin lock, and the interrupt state that locking saves. */
typedef struct {
    unsigned char unused;
} gr_lock_t;

typedef unsigned gr_lock_state_t;

/* WRITE, on more than 64 CPUs: how many. The IOVA allocator has a slot for each of them. */
#define GR_PORT_CPUS 64u

/*
 * Optional: let the library use the page tables that firmware left, so that a boot display goes on.
 *
 *   #define GR_PORT_HAS_FIRMWARE 1
 *   void *gr_port_map_firmware(gr_env_t env, gr_pa_t pa, size_t len);   (extern "C" in C++)
 */

/*
 * Optional: keep this CPU to the caller, which makes IOVAs faster. Here one CPU without interrupts
 * has nothing to do; a kernel turns interrupts off and on. Without the macro there are no exclusive
 * sections.
 *
 *   #define GR_PORT_HAS_EXCLUSIVE 1
 *   typedef unsigned gr_exclusive_t;
 *   gr_exclusive_t gr_port_exclusive_enter(void);
 *   void gr_port_exclusive_leave(gr_exclusive_t section);
 */

#endif
