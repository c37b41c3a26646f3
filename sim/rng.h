/* SPDX-License-Identifier: MIT */
#ifndef SIM_RNG_H
#define SIM_RNG_H

#include <stdint.h>

/* A small generator (splitmix64): the same everywhere, seeded, one state per purpose. */
struct rng {
    uint64_t state;
};

uint64_t rng_mix(uint64_t value);
uint64_t rng_next(struct rng *rng);
uint64_t rng_below(struct rng *rng, uint64_t bound); /* 0 .. bound - 1; bound is not 0 */

#endif
