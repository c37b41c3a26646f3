/* SPDX-License-Identifier: MIT */
/*
 * What a hostile device tries, and what it reaches. What it should reach is taken from the walker,
 * the second opinion on every table; that the IOMMU's model agrees is tried address by address.
 */
#ifndef SIM_ATTACK_H
#define SIM_ATTACK_H

#include "exercise.h"

/* False: out of memory. */
bool sim_attack_begin(struct sim_exercise *x);

/* Everything that the device and its neighbours on the instance reach now. */
void sim_attack_sweep(struct sim_exercise *x, struct sim_client *client);

/* All edges of a mapping that has just come, or gone, as the device and as every other stream. */
void sim_attack_edges(struct sim_exercise *x, struct sim_client *client,
                      const struct sim_live *live);

/* What lies around the buffer in the slots of a mapping that was just made. */
void sim_attack_padding(struct sim_exercise *x, struct sim_client *client,
                        const struct sim_live *live);

/* Write, between two syncs, wherever the mapping lets it. */
void sim_attack_write(struct sim_exercise *x, struct sim_client *client,
                      const struct sim_live *live);

/* Fill in what was reached, and end. */
void sim_attack_end(struct sim_exercise *x);

#endif
