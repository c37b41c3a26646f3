/* SPDX-License-Identifier: MIT */
/*
 * Devices, groups and domains.
 *
 * A device is a DMA master: one or several (instance, stream) pairs, all of which it may use for
 * one access. Devices that share a stream cannot be told apart: they are one group, have one domain
 * and the weakest member's trust. A domain is one IOVA space with its tables, made *for* a device,
 * so that a granule or width that does not fit is refused there and attaching never has to undo it.
 *
 * Every object lives in the caller's memory and is initialised and torn down in pairs; the members
 * of each struct are private unless a comment says otherwise.
 *
 * Context: calls that set up or tear down (init, fini, attach, detach, set_*) may sleep and are
 * serialised by the host for objects that are connected; in a TRANSLATED domain also against map
 * and unmap, which take no lock there. Map, unmap and lookups: any context, any CPU, at the same
 * time.
 */
#ifndef GRANULE_DOMAIN_H
#define GRANULE_DOMAIN_H

#include <granule/bounce.h>
#include <granule/config.h>
#include <granule/err.h>
#include <granule/fault.h>
#include <granule/instance.h>
#include <granule/iova.h>
#include <granule/port.h>
#include <granule/pt.h>
#include <granule/types.h>

GR_BEGIN_DECLS

struct gr_device;
struct gr_domain;

/* One requester in front of one instance. The caller fills the first three members. */
struct gr_stream {
    struct gr_instance *inst;
    uint32_t sid;
    struct gr_range window; /* IOVAs that this stream may use; {0, UINT64_MAX} for all */
    struct gr_device *dev;  /* private from here */
    struct gr_link link;
    struct gr_domain *doubted; /* the domain whose `doubtful` it is in */
    struct gr_link doubt;
    struct gr_domain *domain;   /* that translates for it; inst->lock */
    struct gr_adopted *adopted; /* firmware's tables, where it was found translating */
};

struct gr_group {
    struct gr_link members;
    struct gr_link domain_link;
    struct gr_domain *domain;
    unsigned untrusted; /* members that are */
    unsigned isolated;  /* members whose mappings need a closer look: see gri_isolated() */
};

/*
 * What a device may see of a granule that a buffer only partly fills. That decides about the first
 * and the last granule of a buffer; those between are mapped as they are.
 */
enum gr_isolation {
    GR_ISOLATION_DEFAULT = 0, /* WINDOW if the device is untrusted, else EXPOSE */
    /*
     * The leaf lets through only the buffer's part. Where the format has no windows, or an
     * untrusted device meets an instance whose windows are not verified or a buffer that does not
     * begin or end on the access unit, that end bounces. A trusted device's window is widened to
     * the access unit instead.
     */
    GR_ISOLATION_WINDOW = 1,
    GR_ISOLATION_BOUNCE = 2, /* the buffer's part is copied to a granule of its own */
    GR_ISOLATION_EXPOSE = 3, /* the device sees all of the granule; trusted devices only */
};

enum gr_domain_type {
    GR_DOMAIN_TRANSLATED = 1, /* the DMA API hands out the IOVAs */
    GR_DOMAIN_UNMANAGED = 2,  /* the caller owns the IOVAs: gr_domain_map(), gr_domain_unmap() */
    /*
     * The hardware lets every stream pass as it is: IOVA is PA. Only where all instances can. The
     * DMA API checks the device's mask and keeps caches in step. No isolation.
     */
    GR_DOMAIN_IDENTITY = 3,
    /*
     * Tables that map the machine's memory once, at a constant offset: see gr_domain_init_linear().
     * The DMA API adds the offset, and bounces what lies beyond. No isolation.
     */
    GR_DOMAIN_LINEAR = 4,
    GR_DOMAIN_BLOCKED = 5, /* nothing passes, nothing can be mapped */
};

/*
 * How a domain shares a stream with the mappings that firmware left in it and that its device may
 * be using at this moment: the boot display. They stay valid, in every domain and without a
 * moment's gap, and their IOVAs are nobody else's. When the device leaves its domain every page of
 * firmware's tables, and every register, is as it was found.
 */
enum gr_adopt {
    /* KEEP_SLOTS, unless that leaves no IOVAs or a region's (gr_region) table lacks it: IMPORT */
    GR_ADOPT_DEFAULT = 0,
    /*
     * What an entry above a leaf table of firmware's spans (32 MiB at 16 KiB) stays firmware's as a
     * whole; the domain's tables hang beside it. No entry that leads anywhere is ever stored to.
     */
    GR_ADOPT_KEEP_SLOTS = 1,
    /*
     * Each domain has copies of firmware's leaf tables, and maps into what they leave free. An
     * entry that leads to a leaf table is replaced by one that leads to its copy.
     */
    GR_ADOPT_IMPORT = 2,
    /*
     * The domain's own tables, which hold firmware's leaves, are put in place of firmware's by one
     * store to the top register: docs/ASSUMPTIONS.md. Not where that is locked.
     */
    GR_ADOPT_REPLACE = 3,
};

enum gr_region_kind {
    GR_REGION_RESERVED = 1,   /* its IOVAs are not used */
    GR_REGION_DIRECT = 2,     /* mapped to the same physical addresses; `pa` is not read */
    GR_REGION_TRANSLATED = 3, /* mapped to `pa` */
};

/*
 * IOVAs that a device or its firmware uses before and beside its driver: mapped in every TRANSLATED
 * and UNMANAGED domain before the device is attached, and never unmapped or allocated. In whole
 * granules: the start is rounded down, the end up.
 */
struct gr_region {
    enum gr_region_kind kind;
    gr_iova_t iova;
    gr_pa_t pa; /* as far into a granule as `iova` is */
    uint64_t len;
    unsigned prot; /* GR_PROT_* */
};

/* The caller of an UNMANAGED domain reads the granule and aligns to it, also where it exceeds P. */
#define GR_DOMAIN_LP_AWARE 0x1u
/*
 * An unmap in a TRANSLATED domain queues its invalidation: see gr_domain_flush(). Until then the
 * device may still reach what was unmapped, so never for an untrusted device.
 */
#define GR_DOMAIN_DEFERRED 0x2u

/* What the host knows of a device. Pointers must stay valid until gr_device_fini(). */
struct gr_device_config {
    const char *name;                /* for messages */
    struct gr_stream *streams;       /* owned by the device until fini */
    unsigned stream_count;           /* at least 1 */
    const struct gr_range *reserved; /* IOVAs that must never be mapped: MSI page, host windows */
    unsigned reserved_count;
    const struct gr_region *regions;
    unsigned region_count;
    enum gr_adopt adopt; /* for its domains, where a stream was found translating */
    uint64_t dma_mask;   /* highest address the device can put out; 0: 2^64 - 1 */
    bool untrusted;      /* it may be hostile */
    /* How its buffers are closed off; the rest of the granules is nobody's where it says EXPOSE. */
    enum gr_isolation isolation;
    uint32_t access_unit; /* it reads and writes in naturally aligned units of this: a power of two
                             up to 4096; 0: 8 bytes (DART.md 4.4) */
    uint32_t overread;    /* it may read so many bytes beyond a buffer, and must not fault there: up
                             to 4096; they are zero, or of the granule of an EXPOSEd buffer */
    uint32_t min_align_mask;  /* 2^n - 1 below 64 KiB: these bits of an address are the buffer's,
                                 also where it bounces */
    enum gr_domain_type mode; /* the domain that the host or the tree wants for it; 0: any, see
                                 gr_device_policy() */
    bool coherent;            /* its accesses snoop the CPU's caches */
};

struct gr_device {
    struct gr_device_config config; /* as given */
    uint64_t dma_mask;              /* see gr_dma_set_mask() */
    uint64_t seg_max;               /* see gr_dma_set_seg_limits() */
    uint64_t seg_boundary;
    struct gr_group *group;
    struct gr_link group_link;
    struct gr_group own_group;
};

/* Counters of one CPU, a cache line apart from another's. */
struct gr_domain_counts {
    uintptr_t walks;
    uintptr_t invalidations;
    uint8_t apart[GR_PORT_CACHE_LINE - 2 * sizeof(uintptr_t)];
};

struct gr_domain {
    enum gr_domain_type type;
    gr_env_t env;
    struct gr_pt pt;
    struct gr_iova iova;
    struct gr_range aperture; /* to be read: the IOVAs that can be mapped, whole granules */
    struct gr_pt_config table;
    uint64_t table_span; /* bytes that a leaf table spans, less 1 */
    gr_lock_t lock;      /* of what is rare; UNMANAGED: of the tables */
    struct gr_binding binding[GR_CFG_DOMAIN_INSTANCES];
    unsigned bindings;
    struct gr_link groups; /* attached */
    bool invalidate_on_map;
    bool broken;             /* an invalidation failed: see gr_domain_stats */
    struct gr_link doubtful; /* streams that left without their instance confirming that it forgot
                                the tables, and that have not been confirmed since */
    bool unconfirmed;        /* one of them is gone for good */
    struct gr_pt_gather quarantined;
    uint64_t quarantined_bytes;
    struct gr_domain_counts counts[GR_CFG_COUNTS];
#if GR_CFG_DEBUG
    gr_lock_t busy_lock; /* innermost */
    struct gr_range busy[GR_CFG_DEBUG_CALLS];
    unsigned busy_count;
    uint64_t overlaps;
#endif
    gr_fault_handler fault_handler;
    void *fault_cookie;
    struct gr_bounce *bounce; /* see gr_domain_set_bounce() */
    bool windows_verified;    /* by all instances */
    struct gr_range passing;  /* LINEAR, IDENTITY: physical addresses that devices reach, */
    bool beyond;              /* there is memory that the window leaves out */
    uint64_t pa_offset;       /* at IOVAs smaller by this, */
    struct gr_range *holes;   /* but for these: ascending, apart; a page of the port's */
    unsigned hole_count;
    unsigned holes_lg2;
    enum gr_adopt adopt; /* how it shares streams with firmware; DEFAULT: with none */
    const char *adopt_reason;
    uint8_t fixed_levels;   /* of tables, because firmware's have so many; 0: any */
    struct gr_range *fixed; /* IOVAs of firmware's mappings and regions; pages of the port's */
    unsigned fixed_count;
    unsigned fixed_lg2;
    struct gr_defer_queue *defer; /* one for each CPU; NULL: STRICT */
    struct gr_pt_gather defer_tables;
};

struct gr_domain_stats {
    struct gr_iova_stats iova;
    uint64_t tables;            /* page-table pages held */
    uint64_t quarantined_bytes; /* IOVA bytes whose invalidation failed: never reused */
    bool broken;                /* streams are blocked, maps are refused with GR_EIO */
    uint64_t deferred;          /* unmaps that wait for an invalidation */
    uint64_t walks;             /* page-table walks from the root, to map; not of UNMANAGED maps */
    uint64_t invalidations;     /* of the domain, each on all its instances */
    uint64_t overlaps; /* calls that met another on the same IOVAs; 0 but with GR_CFG_DEBUG */
};

/*
 * Register a device with its instances and find its group: devices that share a stream, or a table
 * that firmware left. Firmware's tables of its streams are read here; memory for that is held until
 * gr_device_fini(). May sleep.
 * Returns 0, GR_EINVAL (no stream, a stream listed twice, an empty window or reserved range; an
 * isolation, access unit, overread, min_align_mask, mode or adopt out of its range; EXPOSE of an
 * untrusted device; a region that is empty, passes the end of the addresses, has no permission, or
 * lies differently in granules than what it leads to), GR_ERANGE (a stream number that the instance
 * does not have), GR_EBUSY (it joins a group that has a domain attached, or would join two groups
 * of which one has), GR_ENOMEM; GR_EOPNOTSUPP (firmware left tables that the port cannot map or
 * that are not sound, or are in part another stream's), GR_ENOSPC (more than GR_CFG_FIRMWARE_TABLES
 * of them).
 */
GR_MUST_CHECK int gr_device_init(struct gr_device *dev, const struct gr_device_config *config);

/* What became of the mappings that firmware left in a stream. */
struct gr_adoption {
    enum gr_firmware_state state; /* TRANSLATING and LOCKED: else all the rest is 0 */
    uint64_t tables;              /* pages of firmware's tables */
    uint64_t leaves;              /* valid ones in them */
    enum gr_adopt policy;         /* of the domain that the device is attached to; 0: none */
    const char *reason;           /* for the policy: a sentence without a full stop, or NULL */
    bool partial; /* in a BLOCKED domain: firmware's mappings go on, since they cannot be cut off */
};

/* Configuration context. `stream` is one of an initialised device. */
void gr_stream_adoption(const struct gr_stream *stream, struct gr_adoption *out);

/* Forget a device. Returns 0, or GR_EBUSY while its group has a domain attached. */
GR_MUST_CHECK int gr_device_fini(struct gr_device *dev);

/* The device's domain, or NULL. */
struct gr_domain *gr_device_domain(const struct gr_device *dev);

/* Is any device of the group untrusted? */
bool gr_device_untrusted(const struct gr_device *dev);

/*
 * Which domain shall it be? `wish` is what the host wants for devices that do not say
 * (gr_device_config.mode); 0: TRANSLATED. A group gets the strictest wish of its members: BLOCKED,
 * TRANSLATED, LINEAR, IDENTITY. An untrusted device, one behind a locked instance or with a stream
 * that firmware left translating, and one with regions is never given LINEAR or IDENTITY but
 * TRANSLATED, and *out says so. Nothing is attached.
 * Returns 0, GR_EINVAL (wish), GR_EOPNOTSUPP (IDENTITY and an instance that cannot bypass); *out is
 * written always, its reason a sentence without a full stop.
 */
struct gr_policy {
    enum gr_domain_type type;
    const char *reason;
};
GR_MUST_CHECK int gr_device_policy(const struct gr_device *dev, enum gr_domain_type wish,
                                   struct gr_policy *out);

/*
 * Make a domain that the device's whole group can be attached to: granule, format and widths of all
 * its streams' instances, their apertures' intersection, the group's reserved ranges kept free, its
 * regions mapped. IDENTITY and BLOCKED have no tables, and LINEAR is not made here. Where firmware
 * left a stream translating, its mappings are part of every domain that has tables (see gr_adopt),
 * which then have as many levels as firmware's; a BLOCKED domain lets them go on, and nothing else.
 * Returns 0, GR_EINVAL (type), GR_EOPNOTSUPP (unknown flags; the instances have different granules,
 * formats; a stream of a locked instance was not left translating; firmware's tables have different
 * depths; IDENTITY where firmware left a stream translating or the group has regions; REPLACE and a
 * locked instance; UNMANAGED without LP_AWARE although G > P; IDENTITY or DEFERRED for an untrusted
 * device, IDENTITY where an instance cannot bypass, DEFERRED for another type; a min_align_mask
 * beyond the granule),
 * GR_ERANGE (the apertures and windows have nothing in common, or do not lie in one block of the
 * translated bits; a region that is mapped is not all within, or needs a root that firmware left
 * out), GR_EFAULT (a region leads beyond the width), GR_EBUSY (reserved ranges leave nothing; two
 * regions, or a region and firmware, or firmware in two streams, map one address differently; a
 * region is not mapped in a slot that KEEP_SLOTS keeps), GR_ENOMEM. A refusal that concerns
 * the device is logged in one sentence.
 */
GR_MUST_CHECK int gr_domain_init(struct gr_domain *domain, gr_env_t env, struct gr_device *dev,
                                 enum gr_domain_type type, unsigned flags);

/*
 * Make a LINEAR domain: memory is mapped once, for read and write, at IOVA = PA - offset, and stays
 * so. Offset 0 where the aperture reaches all memory as it is, else one that puts the lowest memory
 * at the aperture's start; what the aperture, the tables' PA width or the device's mask do not
 * reach bounces. Left out are the holes, the reserved IOVAs of the group, the domain's own tables,
 * and what is not memory, all in whole granules. Other devices may be attached to the same domain:
 * it keeps none of them from anything. Returns as gr_domain_init(), and GR_EINVAL (no memory, an
 * empty or overlapping bank), GR_EOPNOTSUPP (an untrusted device), GR_ERANGE (no granule of memory
 * is within reach). May sleep.
 */
struct gr_linear_config {
    const struct gr_range *ram; /* banks, in any order */
    unsigned ram_count;
    const struct gr_range *holes; /* physical, in any order: no-map and other masters' memory */
    unsigned hole_count;
};
GR_MUST_CHECK int gr_domain_init_linear(struct gr_domain *domain, gr_env_t env,
                                        struct gr_device *dev,
                                        const struct gr_linear_config *config);

/*
 * Give a TRANSLATED, LINEAR or IDENTITY domain a pool to bounce from; the domain only refers to it.
 * While nothing is mapped. Returns 0, GR_EOPNOTSUPP (another type), GR_EFAULT (chunks may lie where
 * the domain does not reach: lower the pool's pa_last), GR_EBUSY (it has a pool).
 */
GR_MUST_CHECK int gr_domain_set_bounce(struct gr_domain *domain, struct gr_bounce *pool);

/*
 * DEFERRED domains: invalidate, and make everything that was unmapped before the call available
 * again: IOVAs, tables, slots. A domain flushes by itself when one CPU has queued GR_CFG_DEFER
 * unmaps, at an unmap that finds one queued for longer than GR_CFG_DEFER_NS, when room runs out,
 * when a map has to invalidate, and before a device leaves. The host bounds the time also where no
 * more unmaps come by calling this every so often, from a timer. Free of cost where nothing waits.
 * Any context. Returns 0, GR_ETIMEDOUT (what was queued is quarantined, the domain broken).
 */
GR_MUST_CHECK int gr_domain_flush(struct gr_domain *domain);

/*
 * Free a domain with all its tables. Tables that an instance may still walk because it never
 * confirmed an invalidation are leaked on purpose, and the log says so.
 * Returns 0, GR_EBUSY while a group is attached or, for a TRANSLATED domain, something is mapped
 * (unless an invalidation failed, since then there may be no way left to unmap it); the domain is
 * untouched then.
 */
GR_MUST_CHECK int gr_domain_fini(struct gr_domain *domain);

/*
 * Move the device's group into the domain; every stream of every member, on every instance. If one
 * fails, the group goes back to the domain it had, or is blocked, and the error is returned; if
 * going back fails as well it is in the old domain, blocked, which is broken then. Returns 0,
 * GR_EOPNOTSUPP (an instance's granule, format or widths differ from the domain's; it was made for
 * another device and lacks a region or what firmware left in a stream), GR_ERANGE (an
 * aperture does not cover the domain's), GR_EBUSY (a TRANSLATED domain and another group; something
 * is mapped where the group has a reserved range), GR_EIO (broken), GR_ENOMEM, GR_ENOSPC (more than
 * GR_CFG_DOMAIN_INSTANCES instances), GR_ETIMEDOUT.
 */
GR_MUST_CHECK int gr_domain_attach(struct gr_domain *domain, struct gr_device *dev);

/*
 * Take the device's group out; all its streams are blocked, but those that firmware left
 * translating do so again as they did, with every page of firmware's tables as it was. Returns 0,
 * GR_ENODEV (it is not attached to this domain), GR_ETIMEDOUT (blocked and detached, but an
 * instance did not confirm: memory that was mapped may still be written).
 */
GR_MUST_CHECK int gr_domain_detach(struct gr_domain *domain, struct gr_device *dev);

/* log2 of the domain's granule G. */
unsigned gr_domain_granule_lg2(const struct gr_domain *domain);

/*
 * UNMANAGED domains: map [iova, iova + len) to pa, all in whole granules; all or nothing, but that
 * a map that fails may free tables that map nothing, whoever made them. Reserved ranges of the
 * devices are the caller's to avoid.
 * Returns 0, GR_ENODEV (not UNMANAGED), GR_ENODATA, GR_EINVAL (unaligned), GR_EOVERFLOW, GR_ERANGE
 * (outside the aperture), GR_EBUSY (in part firmware's, or a region's), GR_EFAULT (PA beyond the
 * width), GR_EACCES, GR_EOPNOTSUPP, GR_EEXIST (in part mapped already), GR_ENOMEM, GR_EIO (broken),
 * GR_ETIMEDOUT (mapped nothing, but the memory is not safe to reuse; broken from now on unless a
 * second attempt was confirmed).
 */
GR_MUST_CHECK int gr_domain_map(struct gr_domain *domain, gr_iova_t iova, gr_pa_t pa, uint64_t len,
                                unsigned prot);

/*
 * UNMANAGED domains: unmap whole granules, all of which must be mapped. A call that covers the span
 * of a table frees the table.
 * Returns 0, GR_ENODEV, GR_ENODATA, GR_EINVAL, GR_EOVERFLOW, GR_ERANGE, GR_EBUSY (in part
 * firmware's, or a region's), GR_ENOENT (a granule is not mapped; nothing changed), GR_EMSGSIZE (as
 * gr_pt_unmap()), GR_ETIMEDOUT (unmapped, but the memory is not safe to reuse).
 */
GR_MUST_CHECK int gr_domain_unmap(struct gr_domain *domain, gr_iova_t iova, uint64_t len);

/*
 * Free the tables on the way to [iova, iova + len) that map nothing any more, and what a TRANSLATED
 * domain keeps for its CPUs: where ranges are unmapped by another CPU than mapped them, an arena of
 * IOVAs and its tables may stay with each CPU (iova.h); otherwise a table goes with its last range.
 * Nobody may map or unmap in the domain meanwhile. Errors as gr_domain_unmap(), but GR_ENODEV only
 * where the domain has no tables.
 */
GR_MUST_CHECK int gr_domain_trim(struct gr_domain *domain, gr_iova_t iova, uint64_t len);

/*
 * Where does an IOVA lead? 0 and *out_pa, GR_ERANGE (outside the aperture), GR_ENOENT (also in
 * slots that GR_ADOPT_KEEP_SLOTS leaves to firmware), GR_ENODEV (IDENTITY and BLOCKED domains have
 * no tables).
 */
GR_MUST_CHECK int gr_domain_iova_to_phys(struct gr_domain *domain, gr_iova_t iova, gr_pa_t *out_pa);

/*
 * Why was an access of the domain's stream refused? From the tables, the allocator and the reserved
 * ranges as they are now: what was mapped only after the fault counts as stale. A stale entry means
 * an invalidation that was missed, by the library, the hardware or a caller that changed tables.
 * Any context; from a fault handler too.
 */
enum gr_diagnosis gr_domain_diagnose(struct gr_domain *domain, const struct gr_fault *fault);

/*
 * The first to be asked about faults of the domain's streams; NULL for none. Set it before
 * attaching. A dispatch that runs while the domain is detached may still be inside the handler.
 */
void gr_domain_set_fault_handler(struct gr_domain *domain, gr_fault_handler handler, void *cookie);

void gr_domain_stats(struct gr_domain *domain, struct gr_domain_stats *out);

GR_END_DECLS

#endif
