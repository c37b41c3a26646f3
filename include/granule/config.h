/* SPDX-License-Identifier: MIT */
/*
 * Build options. Each has a default that suits most hosts; override with -DGR_CFG_X=value.
 */
#ifndef GRANULE_CONFIG_H
#define GRANULE_CONFIG_H

/* Fault records kept per instance until gr_fault_dispatch() delivers them. A power of two. */
#ifndef GR_CFG_FAULT_RING
#define GR_CFG_FAULT_RING 16u
#endif

/* Instances that one domain may be attached to (DART.md 8: up to 8 per master are known). */
#ifndef GR_CFG_DOMAIN_INSTANCES
#define GR_CFG_DOMAIN_INSTANCES 8u
#endif

/* Sets of counters in a domain, one a CPU. More CPUs than that share sets, and may lose a count. */
#ifndef GR_CFG_COUNTS
#define GR_CFG_COUNTS 16u
#endif

/* Areas of a bounce pool, one a CPU. More CPUs than that share areas. */
#ifndef GR_CFG_BOUNCE_AREAS
#define GR_CFG_BOUNCE_AREAS 16u
#endif

/*
 * DEFERRED domains: unmaps that one CPU may queue, and the age of the oldest, in nanoseconds, at
 * which the next unmap flushes the queue. See gr_domain_flush().
 */
#ifndef GR_CFG_DEFER
#define GR_CFG_DEFER 64u
#endif
#ifndef GR_CFG_DEFER_NS
#define GR_CFG_DEFER_NS 10000000u
#endif

/* How long a DART may take to finish a TLB command, in nanoseconds (DART.md 2, 3). */
#ifndef GR_CFG_DART_TIMEOUT_NS
#define GR_CFG_DART_TIMEOUT_NS 2000000u
#endif

/* Pages of firmware's tables that one stream may be found with. */
#ifndef GR_CFG_FIRMWARE_TABLES
#define GR_CFG_FIRMWARE_TABLES 256u
#endif

/*
 * A DART that can invalidate a range (DART.md 3) does so for up to this many granules. For more
 * granules the driver invalidates whole streams.
 */
#ifndef GR_CFG_DART_RANGE
#define GR_CFG_DART_RANGE 256u
#endif

/* How long an SMMUv3 may take to finish its commands, or to acknowledge a register, in ns. */
#ifndef GR_CFG_SMMUV3_TIMEOUT_NS
#define GR_CFG_SMMUV3_TIMEOUT_NS 10000000u
#endif

/*
 * An SMMUv3 without range commands invalidates up to this many granules one by one. For more
 * granules the driver invalidates the whole ASID or VMID.
 */
#ifndef GR_CFG_SMMUV3_SINGLE
#define GR_CFG_SMMUV3_SINGLE 32u
#endif

/*
 * 1: look for calls on overlapping ranges of one domain at the same time, which only a bug of the
 * caller can make. They are logged and counted (gr_domain_stats.overlaps); each call costs more.
 * The value changes the size of struct gr_domain, so library and host must agree in it.
 */
#ifndef GR_CFG_DEBUG
#define GR_CFG_DEBUG 0
#endif

/* With GR_CFG_DEBUG: how many calls of one domain are watched at the same time. */
#define GR_CFG_DEBUG_CALLS 16u

#if (GR_CFG_FAULT_RING & (GR_CFG_FAULT_RING - 1u)) != 0 || GR_CFG_FAULT_RING == 0
#error "GR_CFG_FAULT_RING must be a power of two"
#endif

#endif
