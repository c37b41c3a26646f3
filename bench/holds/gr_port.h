/* SPDX-License-Identifier: MIT */
/* ports/bench with locks that tell how long they were held; every step of the allocator is under
 * one, since there is no exclusive section. */
#ifndef HOLDS_GR_PORT_H
#define HOLDS_GR_PORT_H

#define GR_BENCH_NO_EXCLUSIVE
#define gr_port_lock bench_port_lock
#define gr_port_unlock bench_port_unlock
#include "../../ports/bench/gr_port.h"
#undef gr_port_lock
#undef gr_port_unlock

void holds_begin(gr_lock_t *lock);
void holds_end(const gr_lock_t *lock);

static inline gr_lock_state_t gr_port_lock(gr_lock_t *lock)
{
    const gr_lock_state_t state = bench_port_lock(lock);

    holds_begin(lock);
    return state;
}

static inline void gr_port_unlock(gr_lock_t *lock, gr_lock_state_t state)
{
    holds_end(lock);
    bench_port_unlock(lock, state);
}

#endif
