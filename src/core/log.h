/* SPDX-License-Identifier: MIT */
/* Format one line of text for the host's log, without a C library. */
#ifndef GRI_CORE_LOG_H
#define GRI_CORE_LOG_H

#include <granule/port.h>

#define GRI_LOG_LINE 200u /* bytes, with the final 0 */

/*
 * Knows %s, %u (uint32_t), %x (uint64_t, printed with 0x) and %%. A longer line than GRI_LOG_LINE
 * is cut. There is no format attribute, since compilers would take %x for an unsigned int.
 */
void gri_log(gr_env_t env, unsigned level, const char *format, ...);

#endif
