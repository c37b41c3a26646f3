/* SPDX-License-Identifier: MIT */
/*
 * An IOMMU instance as the layers above a driver see it, and what a driver must supply.
 *
 * A driver embeds struct gr_instance in its own state, fills the facts that it read from the
 * hardware and points `ops` at its functions (include/granule/drv/ has those that come with the
 * library). Hosts only pass instances on.
 */
#ifndef GRANULE_INSTANCE_H
#define GRANULE_INSTANCE_H

#include <granule/config.h>
#include <granule/err.h>
#include <granule/fault.h>
#include <granule/port.h>
#include <granule/pt.h>
#include <granule/types.h>

GR_BEGIN_DECLS

struct gr_binding;
struct gr_adopted; /* private */

/* What firmware left of a stream. */
enum gr_firmware_state {
    GR_FIRMWARE_OFF = 0,         /* nothing passes */
    GR_FIRMWARE_BYPASS = 1,      /* it passes untranslated */
    GR_FIRMWARE_TRANSLATING = 2, /* it is translated by firmware's tables, now */
    GR_FIRMWARE_LOCKED = 3,      /* and the registers that say so cannot be changed */
};

#define GR_FIRMWARE_ROOTS 4u

struct gr_firmware {
    enum gr_firmware_state state;
    bool serves;                     /* it is translated, and by tables: what follows is set */
    uint8_t levels;                  /* as in struct gr_pt_config */
    uint8_t roots;                   /* bit n: top register n is valid, */
    gr_pa_t root[GR_FIRMWARE_ROOTS]; /* and leads here */
    uint32_t raw[GR_FIRMWARE_ROOTS]; /* the driver's: the top registers */
};

/*
 * What a driver implements. All calls but `invalidate` and `rearm` come from the host's
 * configuration context. While an instance has no power they return 0 and touch nothing: its TLB is
 * empty, and gr_instance_reattach() does what was asked for.
 */
struct gr_instance_ops {
    /*
     * Translate `stream` through the tables of `pt`, replacing whatever it did before; note in
     * `binding->hw` what invalidate() needs. No access is ever translated by a mix of old and new.
     * On failure the stream is blocked and has not used `pt`. Returns 0, GR_ETIMEDOUT,
     * GR_EOPNOTSUPP, GR_ENOMEM, GR_ENOSPC (no context left), or GR_EIO: what it did before is
     * forgotten, but it may be using `pt` until block() confirms that it does not.
     */
    int (*attach)(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                  struct gr_binding *binding);
    /*
     * Let `stream` pass untranslated, replacing whatever it did before. Only where `bypass` below
     * is set; may be NULL elsewhere. Returns as attach().
     */
    int (*bypass)(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding);
    /*
     * Let nothing of `stream` pass, and forget what was cached for it; undoes attach()'s note.
     * Returns 0, or GR_ETIMEDOUT: the stream is blocked, but the hardware did not confirm; the note
     * stays, so that invalidate() asks again.
     */
    int (*block)(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding);
    /*
     * On return of 0 no access of the binding's streams uses a translation of [first, last] that
     * was cached before the call, and accesses that used one have finished. The caller has made its
     * table stores visible. `tables`: entries above the leaves changed as well. Any context.
     * Returns 0 or GR_ETIMEDOUT.
     */
    int (*invalidate)(struct gr_instance *inst, struct gr_binding *binding, gr_iova_t first,
                      gr_iova_t last, bool tables);
    /*
     * Faults may interrupt again, after a storm (`fault_storm` below). inst->lock is held. NULL:
     * the driver never keeps them from it.
     */
    void (*rearm)(struct gr_instance *inst);
    /*
     * What firmware left of `stream`, read from the registers: only while the library has not
     * attached it. NULL, and the two below: none of this driver's is ever found translating.
     */
    void (*firmware)(const struct gr_instance *inst, uint32_t stream, struct gr_firmware *out);
    /*
     * Take over a stream that firmware left translating: from now on invalidate() is for it as
     * well. `pt`, where not NULL and only where the stream is not locked, replaces firmware's
     * tables: it translates all that they do, and no access is refused or translated by anything
     * else meanwhile. Forgets what was cached. Returns 0, GR_ETIMEDOUT.
     */
    int (*adopt)(struct gr_instance *inst, uint32_t stream, const struct gr_firmware *firmware,
                 const struct gr_pt *pt, struct gr_binding *binding);
    /*
     * Give it back as it was, in the same way. Returns 0, or GR_ETIMEDOUT: the registers are as
     * they were, but the hardware did not confirm; invalidate() asks again.
     */
    int (*release)(struct gr_instance *inst, uint32_t stream, const struct gr_firmware *firmware,
                   struct gr_binding *binding);
};

/* One (domain, instance) pair: the streams of the instance that the domain translates. */
struct gr_binding {
    struct gr_instance *inst;
    uint32_t streams; /* how many */
    uint64_t hw[4];   /* the driver's: a bitmap of streams, an ASID, ... */
};

/* Size is public so that drivers can embed it. Set by the driver's init, constant afterwards: */
struct gr_instance {
    const struct gr_instance_ops *ops;
    gr_env_t env;
    const char *name;          /* for messages; the host's string, it must live on */
    struct gr_pt_config table; /* the tables it walks, as wide as it can */
    struct gr_range aperture;  /* IOVAs it can translate */
    uint32_t streams;          /* stream numbers are 0 .. streams - 1 */
    bool bypass;               /* it can let a stream pass untranslated */
    bool locked;               /* its registers cannot be changed */
    bool window_verified;      /* leaves' windows were seen to hold on this hardware */
    bool caches_absent;        /* not-present entries are cached: a map needs an invalidation too */

    /* Private: lists and counters of the layers above; `lock` is the driver's register lock. */
    struct gr_link stream_list;
    struct gr_adopted *adopted; /* firmware's tables that devices' streams use */
    gr_lock_t lock;
    gr_fault_handler fault_handler;
    void *fault_cookie;
    struct gr_fault fault_ring[GR_CFG_FAULT_RING];
    uint32_t fault_head;
    uint32_t fault_count;
    uint64_t faults_lost; /* not yet reported with a record */
    /*
     * The ring is full, since faults come faster than gr_fault_dispatch(), which ends this. May be
     * read by the host after the interrupt handler: it may keep the line masked until then.
     */
    bool fault_storm;
    uint64_t faults_recorded; /* ever */
    uint64_t faults_dropped;  /* ever */
};

/*
 * For drivers: set up and tear down the private part. gr_instance_fini() returns GR_EBUSY while a
 * device still names the instance.
 */
void gr_instance_init(struct gr_instance *inst);
GR_MUST_CHECK int gr_instance_fini(struct gr_instance *inst);

/*
 * For drivers: record a fault, from the interrupt handler, with inst->lock held. `lost`: how many
 * the hardware says it dropped. Never blocks; counts what the ring cannot take.
 */
void gr_instance_fault(struct gr_instance *inst, const struct gr_fault *fault, uint64_t lost);

/*
 * For drivers: the hardware lost what streams had, and all are blocked. Let each do again what its
 * domain says, through `ops`; those of a broken domain stay blocked. Configuration context.
 * Returns 0, or the first error of `ops`: then some are open.
 */
GR_MUST_CHECK int gr_instance_reattach(struct gr_instance *inst);

/* The handler for faults that no domain's handler took; NULL logs them. Configuration context. */
void gr_instance_set_fault_handler(struct gr_instance *inst, gr_fault_handler handler,
                                   void *cookie);

GR_END_DECLS

#endif
