/* SPDX-License-Identifier: MIT */
/*
 * Random numbers of tests and fuzz targets: the generator of sim/rng.h over a word that may start
 * anywhere, and the seed that a failure is replayed with.
 */
#ifndef TESTS_CHANCE_H
#define TESTS_CHANCE_H

#include "sim/rng.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t chance_next(uint64_t *state)
{
    struct sim_rng rng = {*state};
    const uint64_t drawn = sim_rng_next(&rng);

    *state = rng.state;
    return drawn;
}

/* 0 .. bound - 1; bound is not 0. */
static inline uint64_t chance_below(uint64_t *state, uint64_t bound)
{
    return chance_next(state) % bound;
}

/* A number that differs from that of value + 1 as much as two numbers can. */
static inline uint64_t chance_mix(uint64_t value)
{
    return chance_next(&value);
}

/* SEED=, else `usual`; printed. */
static inline uint64_t chance_seed_or(const char *test, uint64_t usual)
{
    const char *const given = getenv("SEED");
    const uint64_t seed = given ? strtoull(given, NULL, 0) : usual;

    printf("%s: SEED=%" PRIu64 "\n", test, seed);
    fflush(stdout);
    return seed;
}

/* SEED=, else another one each time, short enough to type; printed. */
static inline uint64_t chance_seed(const char *test)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return chance_seed_or(test, ((uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 20) & UINT32_MAX);
}

#endif
