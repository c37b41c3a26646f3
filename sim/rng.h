/* SPDX-License-Identifier: MIT */
/*
 * The one generator of random numbers of the simulator, the tests and the fuzz targets
 * (splitmix64): small, seeded, and the same on every host. One state per purpose. Inline, and free
 * of the other headers of sim/, since tests that need nothing else of the simulator draw from it.
 */
#ifndef SIM_RNG_H
#define SIM_RNG_H

#include <stdint.h>

struct sim_rng {
    uint64_t state;
};

static inline uint64_t sim_rng_mix(uint64_t value)
{
    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return value ^ value >> 31;
}

static inline uint64_t sim_rng_next(struct sim_rng *rng)
{
    rng->state += UINT64_C(0x9e3779b97f4a7c15);
    return sim_rng_mix(rng->state);
}

/* 0 .. bound - 1; bound is not 0. */
static inline uint64_t sim_rng_below(struct sim_rng *rng, uint64_t bound)
{
    return sim_rng_next(rng) % bound;
}

#endif
