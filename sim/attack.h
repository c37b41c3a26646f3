/* SPDX-License-Identifier: MIT */
/*
 * What a hostile device tries, and what it reaches. What it should reach is taken from the walker,
 * the second opinion on every table; that the IOMMU's model agrees is tried address by address.
 */
#ifndef SIM_ATTACK_H
#define SIM_ATTACK_H

#include "exercise.h"

/* False: out of memory. */
bool attack_begin(struct exercise *x);

/* Everything that the device and its neighbours on the instance reach now. */
void attack_sweep(struct exercise *x, struct client *client);

/* All edges of a mapping that has just come, or gone, as the device and as every other stream. */
void attack_edges(struct exercise *x, struct client *client, const struct live *live);

/* What lies around the buffer in the slots of a mapping that was just made. */
void attack_padding(struct exercise *x, struct client *client, const struct live *live);

/* Write, between two syncs, wherever the mapping lets it. */
void attack_write(struct exercise *x, struct client *client, const struct live *live);

/* Fill in what was reached, and end. */
void attack_end(struct exercise *x);

#endif
