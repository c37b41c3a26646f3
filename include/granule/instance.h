/* SPDX-License-Identifier: MIT */
/*
 * An IOMMU instance as the layers above a driver see it, and what a driver must supply.
 *
 * A driver embeds struct gr_instance in its own state, fills in the facts that it read from the
 * hardware, and points `ops` at its functions. include/granule/drv/ has the drivers that come with
 * the library. Hosts only pass instances on. Contexts: types.h.
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
    GR_FIRMWARE_OFF = 0,         /* no access passes */
    GR_FIRMWARE_BYPASS = 1,      /* accesses pass untranslated */
    GR_FIRMWARE_TRANSLATING = 2, /* accesses are translated by firmware's tables */
    GR_FIRMWARE_LOCKED = 3,      /* the stream's registers cannot be changed, whatever they say */
};

#define GR_FIRMWARE_ROOTS 4u

struct gr_firmware {
    enum gr_firmware_state state;
    bool serves;                     /* tables translate the stream; then all below is set */
    uint8_t levels;                  /* of the tables, as in struct gr_pt_config */
    uint8_t roots;                   /* bit n: top register n is valid */
    gr_pa_t root[GR_FIRMWARE_ROOTS]; /* the table that top register n points to */
    uint32_t raw[GR_FIRMWARE_ROOTS]; /* for the driver: the values of the top registers */
};

/*
 * What a driver implements. No call may sleep: all but `firmware` come with a lock of the library
 * held. `attach`, `bypass`, `adopt` and `firmware` come from the host's configuration context;
 * `block` and `release` do too, but come from any context once an invalidation has failed. While
 * an instance has no power the calls return 0 and touch no register: the TLB is empty then, and
 * gr_instance_reattach() sets up each stream once the power is back.
 */
struct gr_instance_ops {
    /*
     * Translate `stream` through the tables of `pt`, whatever the stream did before. Note in
     * `binding->hw` what invalidate() needs. No access may be translated by a mix of old and new.
     * Returns 0, GR_ETIMEDOUT, GR_EOPNOTSUPP, GR_ENOMEM, GR_ENOSPC (no context left), GR_EIO. After
     * an error the stream is blocked and has not used `pt`; after GR_EIO the old translations are
     * invalidated, but the stream may be using `pt` until block() confirms that it does not.
     */
    int (*attach)(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                  struct gr_binding *binding);
    /*
     * Let `stream` pass untranslated, whatever the stream did before. Called only if
     * gr_instance.bypass is set, and may be NULL otherwise. Returns as attach().
     */
    int (*bypass)(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding);
    /*
     * Let no access of `stream` pass, invalidate what was cached for the stream, and take back what
     * attach() noted in `binding->hw`.
     * Returns 0, or GR_ETIMEDOUT: the stream is blocked, but the hardware did not confirm the
     * invalidation. The note stays then, so that the next invalidate() asks the hardware again.
     */
    int (*block)(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding);
    /*
     * Invalidate [first, last]. After a 0 no access of the binding's streams uses a translation of
     * [first, last] that was cached before the call, and accesses that used one have finished. The
     * caller has made its stores to tables visible. `tables`: entries above the leaves changed as
     * well. Any context. Returns 0 or GR_ETIMEDOUT.
     */
    int (*invalidate)(struct gr_instance *inst, struct gr_binding *binding, gr_iova_t first,
                      gr_iova_t last, bool tables);
    /*
     * Let faults interrupt again after a storm (gr_instance.fault_storm). inst->lock is held. Any
     * context. NULL: the driver never masks the interrupt.
     */
    void (*rearm)(struct gr_instance *inst);
    /*
     * Read from the registers what firmware left of `stream`. Called only while the library has not
     * attached the stream. Drivers that never find a stream translating have NULL here and in the
     * next two.
     */
    void (*firmware)(const struct gr_instance *inst, uint32_t stream, struct gr_firmware *out);
    /*
     * Take over a stream that firmware left translating: from now on invalidate() covers the stream
     * as well. If `pt` is not NULL its tables replace firmware's. They translate all that
     * firmware's tables translate, and meanwhile no access may be refused, or translated by other
     * tables than these two. Never with a `pt` where the stream is locked. Invalidates what was
     * cached. Returns 0, GR_ETIMEDOUT.
     */
    int (*adopt)(struct gr_instance *inst, uint32_t stream, const struct gr_firmware *firmware,
                 const struct gr_pt *pt, struct gr_binding *binding);
    /*
     * Undo adopt() in the same way: the registers are as firmware left them afterwards. Returns 0,
     * or GR_ETIMEDOUT: the registers are restored, but the hardware did not confirm the
     * invalidation; the next invalidate() asks the hardware again.
     */
    int (*release)(struct gr_instance *inst, uint32_t stream, const struct gr_firmware *firmware,
                   struct gr_binding *binding);
};

/* A pair of domain and instance: the instance's streams that are attached to the domain. */
struct gr_binding {
    struct gr_instance *inst;
    uint32_t streams; /* how many */
    uint64_t hw[4];   /* for the driver: a bitmap of streams, an ASID, ... */
};

/* The size is public, so that drivers can embed the struct. */
struct gr_instance {
    /* Set by the driver's init, constant afterwards: */
    const struct gr_instance_ops *ops;
    gr_env_t env;
    const char *name;          /* for messages; the host's string, valid as long as the instance */
    struct gr_pt_config table; /* the deepest and widest tables that the hardware walks */
    struct gr_range aperture;  /* IOVAs that the hardware can translate */
    uint32_t streams;          /* stream numbers are 0 .. streams - 1 */
    bool bypass;               /* a stream can pass untranslated */
    bool locked;               /* TCR and TTBR of all streams cannot be changed (DART.md 9.1) */
    bool window_verified;      /* the windows of leaves were seen to hold on this hardware */
    bool caches_absent; /* not-present entries are cached, so a map needs an invalidation too */

    /* Private to the layers above, unless a comment says otherwise: */
    struct gr_link stream_list; /* streams of registered devices; under `lock` */
    struct gr_adopted *adopted; /* firmware's tables that streams of devices use */
    gr_lock_t lock;             /* guards the registers, `stream_list` and the ring of faults */
    gr_fault_handler fault_handler;
    void *fault_cookie;
    struct gr_fault fault_ring[GR_CFG_FAULT_RING];
    uint32_t fault_head;
    uint32_t fault_count;
    uint64_t faults_lost; /* lost faults that no record has told of yet */
    /*
     * The ring is full: faults come faster than gr_fault_dispatch() delivers them. The dispatch
     * clears this. The host may read it after the interrupt handler, and keep the interrupt masked
     * until the dispatch.
     */
    bool fault_storm;
    uint64_t faults_recorded; /* since gr_instance_init(); may be read */
    uint64_t faults_dropped;  /* since gr_instance_init(), because the ring was full; may be read */
};

/*
 * For drivers: set up and tear down the private part. Configuration context; neither sleeps.
 * gr_instance_fini() returns 0, or GR_EBUSY while a device still names the instance.
 */
void gr_instance_init(struct gr_instance *inst);
GR_MUST_CHECK int gr_instance_fini(struct gr_instance *inst);

/*
 * For drivers: record a fault, with inst->lock held. `lost`: how many faults before this one the
 * hardware dropped, as far as it tells. A fault for which the ring has no room is counted as lost.
 * The record is copied. Any context.
 */
void gr_instance_fault(struct gr_instance *inst, const struct gr_fault *fault, uint64_t lost);

/*
 * For drivers: set up every stream again, through `ops`, as its domain says, after the hardware
 * lost its registers. The driver has blocked all streams before. Streams of a broken domain stay
 * blocked. Configuration context; takes the domains' locks.
 * Returns 0, or the first error of `ops`: then some streams are set up, and the rest are blocked.
 */
GR_MUST_CHECK int gr_instance_reattach(struct gr_instance *inst);

/*
 * Set the handler for faults that no domain's handler took; NULL: such faults are logged. Set it
 * while no gr_fault_dispatch() runs. Configuration context; takes no lock.
 */
void gr_instance_set_fault_handler(struct gr_instance *inst, gr_fault_handler handler,
                                   void *cookie);

GR_END_DECLS

#endif
