/* SPDX-License-Identifier: MIT */
/* One line of text to the host, put together without a C library. */
#ifndef GRI_CORE_LOG_H
#define GRI_CORE_LOG_H

#include <granule/port.h>

#define GRI_LOG_LINE 200u

/*
 * Knows %s, %u (uint32_t), %x (uint64_t, with 0x) and %%. What does not fit GRI_LOG_LINE is cut.
 * The attribute is left off on purpose: %x takes 64 bits here on every machine.
 */
void gri_log(gr_env_t env, unsigned level, const char *format, ...);

#endif
