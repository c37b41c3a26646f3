/* SPDX-License-Identifier: MIT */
/*
 * The port for QEMU's aarch64 `virt` machine: one CPU with interrupts, 4 KiB pages, all memory
 * mapped at its physical address, every device and walker coherent. <granule/port.h> is the
 * contract.
 */
#ifndef GR_PORT_H
#define GR_PORT_H

#include <stdint.h>

#define GR_PORT_API 1
#define GR_PORT_INLINE 0
#define GR_PORT_CACHE_LINE 64
#define GR_PORT_CPUS 1u

/* There is only one machine, so NULL will do. */
typedef struct board *gr_env_t;

/* The address of a register block. */
typedef uintptr_t gr_mmio_t;

/* With one CPU a lock keeps out interrupt handlers only. Its state is the interrupt mask. */
typedef struct {
    uint32_t held;
} gr_lock_t;

typedef uint64_t gr_lock_state_t;

#define GR_PORT_HAS_EXCLUSIVE 1
typedef uint64_t gr_exclusive_t;

#ifdef __cplusplus
extern "C" {
#endif

gr_exclusive_t gr_port_exclusive_enter(void);
void gr_port_exclusive_leave(gr_exclusive_t section);

#ifdef __cplusplus
}
#endif

#endif
