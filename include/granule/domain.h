/* SPDX-License-Identifier: MIT */
/*
 * Devices, groups and domains.
 *
 * A device is a DMA master: one or several (instance, stream) pairs, all of which the device may
 * use for one access. Devices that share a stream cannot be told apart. They are one *group*: they
 * have one domain, and the group is untrusted if one member is. A domain is one IOVA space with its
 * tables. A domain is made *for* a device: a granule or width that does not fit is refused when the
 * domain is made, so that attaching never has to undo it.
 *
 * Every object lives in the caller's memory and is set up and torn down in pairs. The members of a
 * struct are private unless a comment says otherwise.
 *
 * Context: calls that set up or tear down (init, fini, attach, detach, set_*) come from the
 * configuration context (types.h): the host serialises them for objects that are connected. In a
 * TRANSLATED domain it serialises them against map and unmap too, which take no lock there. Map,
 * unmap and lookups: any context, at the same time. Calls in any context may take the domain's lock
 * and, below it, an instance's.
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

/* One requester in front of one instance. The caller fills in the first three members. */
struct gr_stream {
    struct gr_instance *inst;
    uint32_t sid;           /* below inst->streams */
    struct gr_range window; /* IOVAs that this stream may use; {0, UINT64_MAX} for all */
    struct gr_device *dev;  /* private from here on */
    struct gr_link link;
    struct gr_domain *doubted;  /* the domain whose list `doubtful` holds this stream */
    struct gr_link doubt;       /* in that list */
    struct gr_domain *domain;   /* the domain that the stream is attached to; under inst->lock */
    struct gr_adopted *adopted; /* firmware's tables, if the stream was found translating */
};

struct gr_group {
    struct gr_link members;
    struct gr_link domain_link;
    struct gr_domain *domain;
    unsigned untrusted; /* how many members are untrusted */
    unsigned isolated;  /* how many members have the ends of their buffers closed off */
};

/*
 * What a device may see of a granule that a buffer only partly fills. This concerns the first and
 * the last granule of a buffer: the granules between them are mapped as they are.
 */
enum gr_isolation {
    GR_ISOLATION_DEFAULT = 0, /* WINDOW if the device is untrusted, else EXPOSE */
    /*
     * The leaf's window lets through only the buffer's part. An end of a buffer bounces if the
     * format has no windows. For an untrusted device it also bounces if an instance's windows are
     * not verified, or if the end does not lie on the access unit. For a trusted device the window
     * is widened to the access unit.
     */
    GR_ISOLATION_WINDOW = 1,
    GR_ISOLATION_BOUNCE = 2, /* the buffer's part is copied to a slot of the bounce pool */
    GR_ISOLATION_EXPOSE = 3, /* the device sees all of the granule; trusted devices only */
};

enum gr_domain_type {
    GR_DOMAIN_TRANSLATED = 1, /* the DMA API hands out the IOVAs */
    GR_DOMAIN_UNMANAGED = 2,  /* the caller owns the IOVAs: gr_domain_map(), gr_domain_unmap() */
    /*
     * Every stream passes untranslated: IOVA is PA. All instances must have bypass hardware. The
     * DMA API checks the device's mask and maintains caches. No isolation.
     */
    GR_DOMAIN_IDENTITY = 3,
    /*
     * Tables map the machine's memory once, at a constant offset: see gr_domain_init_linear(). The
     * DMA API adds the offset, and bounces buffers that are out of reach. No isolation.
     */
    GR_DOMAIN_LINEAR = 4,
    GR_DOMAIN_BLOCKED = 5, /* nothing passes, nothing can be mapped */
};

/*
 * How a domain shares a stream with the mappings that firmware left in the stream, and that the
 * device may be using at this moment: the boot display. These mappings stay valid in every domain,
 * without a moment's gap, and their IOVAs are never used for anything else. When the device leaves
 * its domain, every page of firmware's tables and every register is as it was found.
 */
enum gr_adopt {
    /*
     * KEEP_SLOTS. IMPORT instead if KEEP_SLOTS leaves no IOVAs, or if a region (gr_region) lies in
     * the span of one of firmware's leaf tables and is not mapped there.
     */
    GR_ADOPT_DEFAULT = 0,
    /*
     * The whole span of each of firmware's leaf tables (32 MiB at 16 KiB) stays firmware's. The
     * domain's tables hang beside them: only entries of firmware's tables that point nowhere are
     * stored to.
     */
    GR_ADOPT_KEEP_SLOTS = 1,
    /*
     * Each domain has copies of firmware's leaf tables, and maps into the free entries of the
     * copies. In firmware's tables an entry that points to a leaf table is replaced by one that
     * points to the copy.
     */
    GR_ADOPT_IMPORT = 2,
    /*
     * The domain's own tables, which hold firmware's leaves, replace firmware's tables by one store
     * to the top register (docs/ASSUMPTIONS.md). Not possible where the top register is locked.
     */
    GR_ADOPT_REPLACE = 3,
};

enum gr_region_kind {
    GR_REGION_RESERVED = 1,   /* the IOVAs are not used */
    GR_REGION_DIRECT = 2,     /* the IOVAs are mapped to the same addresses; `pa` is not read */
    GR_REGION_TRANSLATED = 3, /* the IOVAs are mapped to `pa` */
};

/*
 * IOVAs that a device or its firmware uses before and beside its driver (DART.md 10). A region is
 * mapped in every TRANSLATED and UNMANAGED domain before the device is attached, and is never
 * unmapped or allocated. Only whole granules are mapped: the start is rounded down, the end up.
 */
struct gr_region {
    enum gr_region_kind kind;
    gr_iova_t iova;
    gr_pa_t pa; /* at the same offset in a granule as `iova` */
    uint64_t len;
    unsigned prot; /* GR_PROT_* */
};

/* The caller of an UNMANAGED domain aligns to the domain's granule, also where that exceeds P. */
#define GR_DOMAIN_LP_AWARE 0x1u
/*
 * An unmap in a TRANSLATED domain queues its invalidation: see gr_domain_flush(). Until then the
 * device may still reach the memory that was unmapped. So never for an untrusted device.
 */
#define GR_DOMAIN_DEFERRED 0x2u

/* What the host knows of a device. Pointers must stay valid until gr_device_fini(). */
struct gr_device_config {
    const char *name;                /* for messages */
    struct gr_stream *streams;       /* the device owns them until gr_device_fini() */
    unsigned stream_count;           /* at least 1 */
    const struct gr_range *reserved; /* IOVAs that must never be mapped: MSI page, host windows */
    unsigned reserved_count;
    const struct gr_region *regions;
    unsigned region_count;
    enum gr_adopt adopt; /* for the device's domains, if a stream was found translating */
    uint64_t dma_mask;   /* the highest address that the device can put out; 0: 2^64 - 1 */
    bool untrusted;      /* the device may be hostile */
    /*
     * What the device may see around its buffers. With EXPOSE it sees all of a buffer's granules,
     * whatever else they hold.
     */
    enum gr_isolation isolation;
    /*
     * The device reads and writes in naturally aligned units of this many bytes: a power of two up
     * to 4096; 0: 8 bytes (DART.md 4.4).
     */
    uint32_t access_unit;
    /*
     * How many bytes beyond a buffer the device may read and must not fault on, up to 4096. They
     * read as zero, or as what follows in the granule of a buffer with EXPOSE.
     */
    uint32_t overread;
    /* 2^n - 1 below 64 KiB: these bits of a buffer's address are kept, also where it bounces. */
    uint32_t min_align_mask;
    /* The domain that host or device tree want for the device; 0: see gr_device_policy(). */
    enum gr_domain_type mode;
    bool coherent; /* the device's accesses snoop the CPU's caches */
};

struct gr_device {
    struct gr_device_config config; /* a copy of what gr_device_init() was given */
    uint64_t dma_mask;              /* see gr_dma_set_mask() */
    uint64_t seg_max;               /* see gr_dma_set_seg_limits() */
    uint64_t seg_boundary;
    struct gr_group *group;
    struct gr_link group_link;
    struct gr_group own_group;
};

/* Counters of one CPU, a cache line apart from those of the next. */
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
    struct gr_range aperture; /* may be read: the IOVAs that can be mapped, whole granules */
    struct gr_pt_config table;
    uint64_t table_span; /* bytes that a leaf table spans, less 1 */
    gr_lock_t lock;      /* TRANSLATED: for retiring tables and for breaking; UNMANAGED: for all */
    struct gr_binding binding[GR_CFG_DOMAIN_INSTANCES];
    unsigned bindings;
    struct gr_link groups; /* those attached */
    bool invalidate_on_map;
    bool broken; /* an invalidation failed: see gr_domain_stats */
    /*
     * Streams that were detached while their instance did not confirm that it invalidated the
     * tables, and that have not been confirmed since.
     */
    struct gr_link doubtful;
    bool unconfirmed; /* the device of such a stream is gone, so nothing can confirm it any more */
    struct gr_pt_gather quarantined;
    uint64_t quarantined_bytes;
    struct gr_domain_counts counts[GR_CFG_COUNTS];
#if GR_CFG_DEBUG
    gr_lock_t busy_lock; /* no other lock is taken under this one */
    struct gr_range busy[GR_CFG_DEBUG_CALLS];
    unsigned busy_count;
    uint64_t overlaps;
#endif
    gr_fault_handler fault_handler;
    void *fault_cookie;
    struct gr_bounce *bounce; /* see gr_domain_set_bounce() */
    bool windows_verified;    /* for all instances */
    struct gr_range direct;   /* LINEAR, IDENTITY: physical addresses that devices reach */
    bool beyond;              /* LINEAR: there is memory outside `direct` */
    uint64_t direct_offset;   /* PA - IOVA in `direct` */
    struct gr_range *holes;   /* what of `direct` is not mapped: ascending, apart; port's pages */
    unsigned hole_count;
    unsigned holes_lg2;
    enum gr_adopt adopt; /* how the domain shares streams with firmware; DEFAULT: it does not */
    const char *adopt_reason;
    uint8_t fixed_levels;   /* levels of firmware's tables, which the domain must have; 0: none */
    struct gr_range *fixed; /* IOVAs of firmware's mappings and regions; port's pages */
    unsigned fixed_count;
    unsigned fixed_lg2;
    struct gr_defer_queue *defer;     /* DEFERRED: a queue for each CPU; else NULL */
    struct gr_pt_gather defer_tables; /* DEFERRED: tables that wait for the next flush */
};

struct gr_domain_stats {
    struct gr_iova_stats iova;
    uint64_t tables;            /* granules that page tables take */
    uint64_t quarantined_bytes; /* IOVA bytes whose invalidation failed: never reused */
    bool broken;                /* streams are blocked, maps are refused with GR_EIO */
    uint64_t deferred;          /* unmaps that wait for an invalidation */
    uint64_t walks;             /* walks from the root that maps made; UNMANAGED: not counted */
    uint64_t invalidations;     /* of the domain; each of them covers all instances */
    uint64_t overlaps;          /* calls that overlapped another one; 0 without GR_CFG_DEBUG */
};

/*
 * Register a device with its instances and find its group: the devices that share a stream with it,
 * or a root table that firmware left. Firmware's tables of the device's streams are read here; the
 * memory for that is held until gr_device_fini(). Configuration context; may sleep.
 * Returns 0, GR_EINVAL (no stream; a stream listed twice; an empty window or reserved range; an
 * isolation, access unit, overread, min_align_mask, mode or adopt out of its range; EXPOSE for an
 * untrusted device; a region that is empty, passes the end of the addresses, has no permission, or
 * has other offsets in a granule for IOVA and PA), GR_ERANGE (a stream number that the instance
 * does not have), GR_EBUSY (a group that the device would join has a domain attached), GR_ENOMEM,
 * GR_EOPNOTSUPP (firmware left tables that the port cannot map, that are not sound, or that are in
 * part another stream's), GR_ENOSPC (firmware left more than GR_CFG_FIRMWARE_TABLES tables). The
 * device is not registered after a failure.
 */
GR_MUST_CHECK int gr_device_init(struct gr_device *dev, const struct gr_device_config *config);

/* What became of the mappings that firmware left in a stream. */
struct gr_adoption {
    enum gr_firmware_state state; /* TRANSLATING or LOCKED; else all members are 0 */
    uint64_t tables;              /* pages of firmware's tables */
    uint64_t leaves;              /* valid leaves in these tables */
    enum gr_adopt policy;         /* of the domain that the device is attached to; 0: none */
    const char *reason;           /* why this policy: a sentence without a full stop, or NULL */
    bool partial; /* the domain is BLOCKED, but firmware's mappings go on: see gr_domain_init() */
};

/*
 * What became of firmware's mappings in a stream of a registered device. Configuration context;
 * takes no lock.
 */
void gr_stream_adoption(const struct gr_stream *stream, struct gr_adoption *out);

/*
 * Remove a device from its instances and its group. The caller may reuse the memory of the device
 * and of its streams afterwards. Configuration context.
 * Returns 0, or GR_EBUSY while the device's group has a domain attached.
 */
GR_MUST_CHECK int gr_device_fini(struct gr_device *dev);

/* The domain that the device's group is attached to, or NULL. Any context; takes no lock. */
struct gr_domain *gr_device_domain(const struct gr_device *dev);

/* Is any device of the group untrusted? Any context; takes no lock. */
bool gr_device_untrusted(const struct gr_device *dev);

/*
 * Which type of domain shall a device be given? `wish` is the host's wish for devices whose
 * gr_device_config.mode is 0; a `wish` of 0 means TRANSLATED. A group gets the strictest type that
 * its members ask for; from the strictest: BLOCKED, TRANSLATED, LINEAR, IDENTITY. Instead of LINEAR
 * or IDENTITY the answer is TRANSLATED if a device of the group is untrusted or has regions, if an
 * instance is locked, or if firmware left a stream translating; *out says so. Nothing is attached.
 * Configuration context; takes no lock.
 * Returns 0, GR_EINVAL (wish), GR_EOPNOTSUPP (IDENTITY, and an instance has no bypass hardware).
 * *out is written in every case.
 */
struct gr_policy {
    enum gr_domain_type type;
    const char *reason; /* a sentence without a full stop; a constant string */
};
GR_MUST_CHECK int gr_device_policy(const struct gr_device *dev, enum gr_domain_type wish,
                                   struct gr_policy *out);

/*
 * Make a domain that the device's whole group can be attached to. Its granule, format and widths
 * are those that all instances of the group's streams have. Its aperture is the intersection of
 * their apertures and of the streams' windows. The group's reserved ranges are kept free and its
 * regions are mapped. IDENTITY and BLOCKED domains have no tables. LINEAR domains are made by
 * gr_domain_init_linear().
 *
 * Where firmware left a stream translating, firmware's mappings are part of every domain that has
 * tables (see gr_adopt), and the domain's tables have as many levels as firmware's. A BLOCKED
 * domain lets firmware's mappings go on, because they cannot be cut off, and nothing else.
 *
 * The domain owns its tables and its IOVA space until gr_domain_fini(). Configuration context; may
 * sleep. A refusal that concerns the device is logged in one sentence. Returns 0 or
 *   - GR_EINVAL      type is none of these, or is LINEAR
 *   - GR_EOPNOTSUPP  unknown flags; DEFERRED and not TRANSLATED; IDENTITY or DEFERRED for an
 *                    untrusted device; IDENTITY and an instance without bypass hardware, a stream
 *                    that firmware left translating, or regions; the instances have different
 *                    granules or formats, or disagree in IOVA bits of the aperture; UNMANAGED
 *                    without LP_AWARE although G > P; a min_align_mask beyond the granule; a locked
 *                    instance whose stream was not left translating; firmware's tables in two
 *                    streams have different numbers of levels; REPLACE and a locked instance
 *   - GR_ERANGE      the apertures and windows have no granule in common, or what they have in
 *                    common crosses a multiple of 2^va_bits; a region is not all within the
 *                    aperture, or needs a root that firmware left out
 *   - GR_EFAULT      a region's PA is beyond the PA width of the tables
 *   - GR_EBUSY       the reserved ranges leave no IOVA; two regions, a region and firmware, or
 *                    firmware in two streams map one IOVA differently; a region lies in a slot that
 *                    KEEP_SLOTS keeps, and firmware does not map it there
 *   - GR_ENOMEM      the port has no memory left
 */
GR_MUST_CHECK int gr_domain_init(struct gr_domain *domain, gr_env_t env, struct gr_device *dev,
                                 enum gr_domain_type type, unsigned flags);

/*
 * Make a LINEAR domain: memory is mapped once, for read and write, at IOVA = PA - offset, and stays
 * mapped. The offset is 0 if the aperture reaches all memory without one; else it puts the lowest
 * memory at the aperture's start. Not mapped are the holes, the reserved IOVAs of the group, the
 * domain's own tables, and what is not memory, each in whole granules. Buffers bounce that lie
 * there, or beyond the aperture, the tables' PA width or the device's mask. Other devices may be
 * attached to the domain as well: it isolates none of them. Configuration context; may sleep.
 * Returns as gr_domain_init(), and GR_EINVAL (no memory; an empty bank or hole; banks that
 * overlap), GR_EOPNOTSUPP (an untrusted device; regions; a stream that firmware left translating),
 * GR_ERANGE (no granule of memory is within reach).
 */
struct gr_linear_config {
    const struct gr_range *ram; /* banks of physical memory, in any order */
    unsigned ram_count;
    const struct gr_range *holes; /* physical, in any order: no-map and other masters' memory */
    unsigned hole_count;
};
GR_MUST_CHECK int gr_domain_init_linear(struct gr_domain *domain, gr_env_t env,
                                        struct gr_device *dev,
                                        const struct gr_linear_config *config);

/*
 * Give a TRANSLATED, LINEAR or IDENTITY domain a bounce pool, while nothing is mapped. The pool
 * stays the caller's, and must live until gr_domain_fini(). Configuration context; takes no lock.
 * Returns 0, GR_EOPNOTSUPP (another type), GR_EFAULT (chunks may lie where the domain does not
 * reach: lower the pool's pa_last), GR_EBUSY (the domain has a pool).
 */
GR_MUST_CHECK int gr_domain_set_bounce(struct gr_domain *domain, struct gr_bounce *pool);

/*
 * DEFERRED domains: invalidate, and make everything that was unmapped before the call available
 * again: IOVAs, tables, slots. A domain flushes its queues by itself
 *   - when one CPU has queued GR_CFG_DEFER unmaps;
 *   - at an unmap on a CPU whose oldest queued unmap is older than GR_CFG_DEFER_NS;
 *   - when IOVAs or slots run out;
 *   - when a map has to invalidate;
 *   - before a device is detached.
 * Without further unmaps nothing bounds the wait, so the host calls this from a timer. The call
 * costs little if nothing waits, and does nothing in other domains. Any context.
 * Returns 0, GR_ETIMEDOUT (not confirmed: what was queued is quarantined).
 */
GR_MUST_CHECK int gr_domain_flush(struct gr_domain *domain);

/*
 * Free a domain with all its tables. If an instance never confirmed an invalidation it may still
 * walk the tables: they are leaked on purpose then, and the log says so. Configuration context.
 * Returns 0, or GR_EBUSY while a group is attached or, for a TRANSLATED domain, while something is
 * mapped; the domain is unchanged then. Mappings are no obstacle once an invalidation has failed,
 * because there may be no way left to unmap them.
 */
GR_MUST_CHECK int gr_domain_fini(struct gr_domain *domain);

/*
 * Attach the device's group to the domain: every stream of every member, on every instance. A group
 * that is attached to another domain leaves that domain first. If a stream fails, the group goes
 * back to the domain that it had, and the error is returned. If it had none, or going back fails as
 * well, the group is attached to no domain and its streams are blocked, which is logged in the
 * second case. Nothing happens if the group is attached to this domain already. Configuration
 * context. Returns 0 or
 *   - GR_EOPNOTSUPP  an instance's granule, format or widths do not fit the domain; the domain was
 *                    made for another device, and lacks a region or what firmware left in a stream;
 *                    a type or flag that gr_domain_init() refuses for this group
 *   - GR_ERANGE      an instance's aperture or a stream's window does not cover the domain's
 *                    aperture
 *   - GR_EBUSY       another group is attached to this TRANSLATED domain; an IOVA of the group's
 *                    reserved ranges is in use
 *   - GR_EIO         the domain is broken
 *   - GR_ENOMEM      no memory for an instance's or the allocator's bookkeeping
 *   - GR_ENOSPC      more than GR_CFG_DOMAIN_INSTANCES instances, or no context left
 *   - GR_ETIMEDOUT   an instance did not confirm
 */
GR_MUST_CHECK int gr_domain_attach(struct gr_domain *domain, struct gr_device *dev);

/*
 * Detach the device's group from the domain. Its streams are blocked. Streams that firmware left
 * translating translate through firmware's tables again, and every page of these is as it was.
 * Configuration context.
 * Returns 0, GR_ENODEV (the group is not attached to this domain), GR_ETIMEDOUT (the group is
 * detached and blocked, but an instance did not confirm: the device may still write to memory that
 * was mapped).
 */
GR_MUST_CHECK int gr_domain_detach(struct gr_domain *domain, struct gr_device *dev);

/* log2 of the domain's granule G. Any context; takes no lock. */
unsigned gr_domain_granule_lg2(const struct gr_domain *domain);

/*
 * UNMANAGED domains: map [iova, iova + len) to `pa`, all three in whole granules, with GR_PROT_*.
 * The call maps all of the range or nothing. A map that fails may free tables that map nothing,
 * also tables that other maps made. The caller must avoid the devices' reserved ranges.
 * Context: any.
 * Returns 0, GR_ENODEV (not UNMANAGED), GR_ENODATA, GR_EINVAL (unaligned), GR_EOVERFLOW, GR_ERANGE
 * (outside the aperture), GR_EBUSY (the range is firmware's or a region's in part), GR_EFAULT (PA
 * beyond the width), GR_EACCES, GR_EOPNOTSUPP (unknown bits in prot), GR_EEXIST (mapped in part),
 * GR_ENOMEM, GR_EIO (the domain is broken), GR_ETIMEDOUT (nothing is mapped, but the memory is not
 * safe to reuse; the domain is broken from now on unless a second invalidation was confirmed).
 */
GR_MUST_CHECK int gr_domain_map(struct gr_domain *domain, gr_iova_t iova, gr_pa_t pa, uint64_t len,
                                unsigned prot);

/*
 * UNMANAGED domains: unmap whole granules, all of which must be mapped. A call that covers the span
 * of a table frees the table. Any context.
 * Returns 0, GR_ENODEV (not UNMANAGED), GR_ENODATA, GR_EINVAL (unaligned), GR_EOVERFLOW, GR_ERANGE
 * (outside the aperture), GR_EBUSY (the range is firmware's or a region's in part), GR_ENOENT (a
 * granule is not mapped), GR_EMSGSIZE (as gr_pt_unmap()), GR_ETIMEDOUT (unmapped, but the memory is
 * not safe to reuse). After any other error nothing has changed.
 */
GR_MUST_CHECK int gr_domain_unmap(struct gr_domain *domain, gr_iova_t iova, uint64_t len);

/*
 * Free the tables on the way to [iova, iova + len) that map nothing any more. In a TRANSLATED
 * domain a table goes with its last range, unless ranges are unmapped on other CPUs than they were
 * mapped on: then each CPU may keep an arena of IOVAs with its tables (iova.h). This call gives the
 * arenas back first. In a LINEAR domain it does nothing. No other call may map or unmap in the
 * domain meanwhile. Never sleeps.
 * Returns 0, GR_ENODEV (the domain has no tables), GR_ENODATA, GR_EINVAL (unaligned), GR_EOVERFLOW,
 * GR_ERANGE (outside the aperture), GR_ETIMEDOUT (an invalidation failed: the tables are
 * quarantined).
 */
GR_MUST_CHECK int gr_domain_trim(struct gr_domain *domain, gr_iova_t iova, uint64_t len);

/*
 * Translate an IOVA through the domain's tables. Any context; takes the domain's lock.
 * Returns 0 and *out_pa, or GR_ERANGE (outside the aperture), GR_ENOENT (not mapped, or mapped by
 * firmware in a slot that GR_ADOPT_KEEP_SLOTS keeps), GR_ENODEV (IDENTITY and BLOCKED domains have
 * no tables).
 */
GR_MUST_CHECK int gr_domain_iova_to_phys(struct gr_domain *domain, gr_iova_t iova, gr_pa_t *out_pa);

/*
 * Why was an access of one of the domain's streams refused? The answer comes from the tables, the
 * allocator and the reserved ranges as they are now: an IOVA that was mapped after the fault counts
 * as stale. GR_DIAGNOSIS_STALE means that an invalidation was missed: by the library, by the
 * hardware, or by a caller that changed tables. Any context, fault handlers too; takes the domain's
 * lock.
 */
enum gr_diagnosis gr_domain_diagnose(struct gr_domain *domain, const struct gr_fault *fault);

/*
 * Set the handler that is asked first about faults of the domain's streams; NULL: none. Set it
 * before attaching. A gr_fault_dispatch() that runs while the domain is detached may still be
 * inside the handler afterwards. Configuration context; takes no lock.
 */
void gr_domain_set_fault_handler(struct gr_domain *domain, gr_fault_handler handler, void *cookie);

/*
 * The domain's counters. Exact when no other call uses the domain. Any context; takes the domain's
 * lock.
 */
void gr_domain_stats(struct gr_domain *domain, struct gr_domain_stats *out);

GR_END_DECLS

#endif
