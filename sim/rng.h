/* SPDX-License-Identifier: MIT */
#ifndef SIM_RNG_H
#define SIM_RNG_H

#include <stdint.h>

/* A small seeded generator (splitmix64), the same on every host. One state per purpose. */
struct sim_rng {
    uint64_t state;
};

uint64_t sim_rng_mix(uint64_t value);
uint64_t sim_rng_next(struct sim_rng *rng);
uint64_t sim_rng_below(struct sim_rng *rng, uint64_t bound); /* 0 .. bound - 1; bound is not 0 */

#endif
