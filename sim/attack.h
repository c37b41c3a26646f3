/* SPDX-License-Identifier: MIT */
/*
 * What a hostile device tries, and which memory it reaches. What it may reach the walker says, the
 * second opinion on every table; the IOMMU's model is then tried address by address against that.
 */
#ifndef SIM_ATTACK_H
#define SIM_ATTACK_H

#include "exercise.h"

/* False: out of memory. */
bool sim_attack_begin(struct sim_exercise *x);

/* Find out all that the device and the other streams of its instances reach now. */
void sim_attack_sweep(struct sim_exercise *x, struct sim_client *client);

/* Try all edges of a mapping that was just made or ended, as the device and as other streams. */
void sim_attack_edges(struct sim_exercise *x, struct sim_client *client,
                      const struct sim_live *live);

/* Read the bytes around the buffer in the bounce slots of a mapping that was just made. */
void sim_attack_padding(struct sim_exercise *x, struct sim_client *client,
                        const struct sim_live *live);

/* Write, between two syncs, wherever the mapping lets the device write. */
void sim_attack_write(struct sim_exercise *x, struct sim_client *client,
                      const struct sim_live *live);

/* Fill in the tally of what was reached, and free everything. */
void sim_attack_end(struct sim_exercise *x);

#endif
