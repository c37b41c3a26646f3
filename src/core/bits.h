/* SPDX-License-Identifier: MIT */
/* Bits, masks and ranges. Everything is 64 bits wide: addresses do not shrink with the CPU. */
#ifndef GRI_CORE_BITS_H
#define GRI_CORE_BITS_H

#include <granule/types.h>

#define GRI_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* The struct of `type` whose `member` is at `ptr`. */
#define GRI_CONTAINER(ptr, type, member)                                                           \
    ((type *)(void *)((unsigned char *)(void *)(ptr)-offsetof(type, member)))

/* A mask of the low n bits, n 0..64. */
static inline uint64_t gri_mask(unsigned n)
{
    return n >= 64 ? UINT64_MAX : ((uint64_t)1 << n) - 1;
}

static inline uint64_t gri_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t gri_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Does [start, start + len) pass the end of the address space? len is not 0. */
static inline bool gri_overflows(uint64_t start, uint64_t len)
{
    return len - 1 > UINT64_MAX - start;
}

static inline bool gri_range_contains(const struct gr_range *range, uint64_t first, uint64_t last)
{
    return first >= range->first && last <= range->last;
}

/*
 * The numbers of the lowest and the highest bit set in a word that is not 0. The builtin only where
 * an instruction exists; elsewhere it would call a function of the compiler's library.
 */
static inline unsigned gri_low_bit(uint64_t w)
{
#if defined(__x86_64__) || defined(__i386__) || defined(__aarch64__) || defined(__riscv_zbb) ||    \
    defined(__ARM_FEATURE_CLZ)
    return (unsigned)__builtin_ctzll(w);
#else
    unsigned n = 0;
    for (unsigned step = 32; step; step /= 2) {
        if (!(w & gri_mask(step))) {
            w >>= step;
            n += step;
        }
    }
    return n;
#endif
}

static inline unsigned gri_high_bit(uint64_t w)
{
#if defined(__x86_64__) || defined(__i386__) || defined(__aarch64__) || defined(__riscv_zbb) ||    \
    defined(__ARM_FEATURE_CLZ)
    return 63 - (unsigned)__builtin_clzll(w);
#else
    unsigned n = 0;
    for (unsigned step = 32; step; step /= 2) {
        if (w >> step) {
            w >>= step;
            n += step;
        }
    }
    return n;
#endif
}

/* Extract a field from a register's value, and shift a field into place; `mask` is its bits. */
static inline uint32_t gri_field_get(uint32_t value, uint32_t mask)
{
    return (value & mask) / (mask & (~mask + 1u));
}

static inline uint32_t gri_field_put(uint32_t value, uint32_t mask)
{
    return (value * (mask & (~mask + 1u))) & mask;
}

#endif
