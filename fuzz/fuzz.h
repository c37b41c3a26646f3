/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets share. Each fuzz_<name>.c decodes the bytes it is given, drives one part of
 * the project with them and aborts where something that must hold does not. libFuzzer supplies the
 * bytes (`make fuzz`), or run_corpus.c does (`make test`).
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition, ...)                                                                 \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                        \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* What is left of the input. Beyond its end everything reads 0. */
struct fuzz {
    const uint8_t *at;
    size_t left;
};

/* The next 1 to 8 bytes, little-endian. */
static inline uint64_t fuzz_take(struct fuzz *f, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes && f->left; i++, f->at++, f->left--)
        value |= (uint64_t)*f->at << 8 * i;
    return value;
}

static inline uint8_t fuzz_byte(struct fuzz *f)
{
    return (uint8_t)fuzz_take(f, 1);
}

/* One byte's choice of 0 .. n - 1, n at most 256. */
static inline unsigned fuzz_pick(struct fuzz *f, unsigned n)
{
    return fuzz_byte(f) % n;
}

/* Any 64-bit number; small, round and extreme ones take few bytes. */
static inline uint64_t fuzz_number(struct fuzz *f)
{
    const unsigned kind = fuzz_byte(f);
    const unsigned shift = kind & 63;
    uint64_t value;

    switch (kind >> 6) {
    case 0:
        return fuzz_take(f, 1 + kind % 8);
    case 1:
        value = UINT64_C(1) << shift;
        break;
    case 2:
        value = UINT64_MAX >> shift;
        break;
    default:
        return fuzz_take(f, 2) << shift;
    }
    return value + (uint64_t)(int64_t)(int8_t)fuzz_byte(f);
}

#endif
