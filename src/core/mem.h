/* SPDX-License-Identifier: MIT */
/* All that the library takes from libc: four functions that compilers call by themselves. */
#ifndef GRANULE_CORE_MEM_H
#define GRANULE_CORE_MEM_H

#include <stddef.h>

void *memcpy(void *dst, const void *src, size_t len);
void *memmove(void *dst, const void *src, size_t len);
void *memset(void *dst, int byte, size_t len);
int memcmp(const void *a, const void *b, size_t len);

#endif
