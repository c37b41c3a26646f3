/* SPDX-License-Identifier: MIT */
/* A device behind an instance whose hardware says anything: what its driver may be told, and no
 * more. */
#ifndef FUZZ_USER_H
#define FUZZ_USER_H

#include "fuzz.h"

#include <granule/granule.h>

#include <stdbool.h>

struct user {
    struct gr_stream stream;
    struct gr_device dev;
    struct gr_domain domain;
    bool device, made, late; /* late: the hardware left something unconfirmed */
};

/* `refusal`: an error with which gr_device_init() may refuse the device; 0: it may not. */
static inline void user_begin(struct user *u, struct gr_instance *inst, uint32_t sid, int refusal)
{
    const struct gr_device_config config = {
        .name = "device", .streams = &u->stream, .stream_count = 1, .coherent = true};
    int ret;

    u->stream = (struct gr_stream){.inst = inst, .sid = sid, .window = {0, UINT64_MAX}};
    ret = gr_device_init(&u->dev, &config);
    FUZZ_CHECK(!ret || ret == refusal, "%d", ret);
    u->device = !ret;
    if (ret)
        return;
    ret = gr_domain_init(&u->domain, inst->env, &u->dev, GR_DOMAIN_TRANSLATED, 0);
    FUZZ_CHECK(!ret || ret == GR_ERANGE || (ret == GR_EOPNOTSUPP && inst->locked), "%d", ret);
    u->made = !ret;
    if (ret)
        return;
    ret = gr_domain_attach(&u->domain, &u->dev);
    FUZZ_CHECK(!ret || ret == GR_ETIMEDOUT, "%d", ret);
    u->late = ret;
}

static inline void user_map_and_unmap(struct user *u, struct fuzz *f)
{
    const gr_pa_t pa = fuzz_number(f) & 0xffffff;
    const uint64_t len = 1 + fuzz_take(f, 2);
    gr_iova_t iova;
    int ret = gr_dma_map(&u->dev, pa, len, GR_DMA_BIDIRECTIONAL, 0, &iova);

    if (!ret) {
        ret = gr_dma_unmap(&u->dev, iova, len, GR_DMA_BIDIRECTIONAL, 0);
        FUZZ_CHECK(!ret || ret == GR_ETIMEDOUT, "%d", ret);
    }
    FUZZ_CHECK(!ret || ret == GR_ETIMEDOUT || ret == GR_EIO || ret == GR_ENODEV ||
                   ret == GR_ENOSPC || ret == GR_ENOMEM || ret == GR_EFAULT,
               "%d", ret);
    u->late |= ret == GR_ETIMEDOUT;
}

static inline void user_end(struct user *u)
{
    int ret;

    if (!u->device)
        return;
    if (u->made) {
        ret = gr_domain_detach(&u->domain, &u->dev);
        FUZZ_CHECK(!ret || ret == GR_ETIMEDOUT || ret == GR_ENODEV, "%d", ret);
        u->late |= ret == GR_ETIMEDOUT;
    }
    FUZZ_CHECK(!gr_device_fini(&u->dev), "device");
    if (u->made)
        FUZZ_CHECK(!gr_domain_fini(&u->domain) || u->late, "domain");
}

/* Deliver what was recorded. A handler counts in *taken, and all that was ever recorded got there.
 */
static inline void user_faults(struct gr_instance *inst, const uint64_t *taken)
{
    const uint64_t before = *taken;
    const unsigned n = gr_fault_dispatch(inst);

    FUZZ_CHECK(n <= GR_CFG_FAULT_RING && *taken - before == n, "%u delivered", n);
    FUZZ_CHECK(inst->faults_recorded == *taken, "faults got lost without a count");
    FUZZ_CHECK(!gr_fault_dispatch(inst), "one more");
}

#endif
