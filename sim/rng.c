/* SPDX-License-Identifier: MIT */
#include "rng.h"

uint64_t sim_rng_mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

uint64_t sim_rng_next(struct sim_rng *rng)
{
    rng->state += 0x9e3779b97f4a7c15u;
    return sim_rng_mix(rng->state);
}

uint64_t sim_rng_below(struct sim_rng *rng, uint64_t bound)
{
    return sim_rng_next(rng) % bound;
}
