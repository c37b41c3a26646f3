/* SPDX-License-Identifier: MIT */
/*
 * The hosted port's half of <granule/port.h>: Linux user space, every function out of line in
 * host.c. Its own interface, for tests and the command line, is host.h.
 */
#ifndef GR_PORT_H
#define GR_PORT_H

#include <pthread.h>
#include <stdint.h>

#define GR_PORT_API 1
#define GR_PORT_INLINE 0
#define GR_PORT_HAS_TABLE_STORE64 1
#define GR_PORT_HAS_MAP_UNCACHED 1
#define GR_PORT_HAS_FIRMWARE 1
#define GR_PORT_CACHE_LINE 128
#define GR_PORT_CPUS 64u
#ifndef GR_HOST_NO_EXCLUSIVE
#define GR_PORT_HAS_EXCLUSIVE 1
typedef uint32_t gr_exclusive_t;
#endif

struct host;      /* a machine: host_create() */
struct host_mmio; /* a register block: host.h */

typedef struct host *gr_env_t;
typedef struct host_mmio *gr_mmio_t;

typedef struct {
    pthread_mutex_t mutex;
    uint32_t magic;  /* set between init and fini */
    uint32_t owner;  /* the holder's number, 0 when free */
    uint32_t cookie; /* what the holder's gr_port_lock() returned */
} gr_lock_t;

typedef uint32_t gr_lock_state_t;

#ifdef __cplusplus
extern "C" {
#endif

/* See the end of <granule/port.h>, and "Table memory" in host.h. */
void gr_port_table_store64(gr_env_t env, uint64_t *slot, uint64_t value);
#ifdef GR_PORT_HAS_EXCLUSIVE
gr_exclusive_t gr_port_exclusive_enter(void);
void gr_port_exclusive_leave(gr_exclusive_t section);
#endif

#ifdef __cplusplus
}
#endif

#endif
