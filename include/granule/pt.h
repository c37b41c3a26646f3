/* SPDX-License-Identifier: MIT */
/*
 * Page tables: one engine, compiled once per format.
 *
 * Useful alone (a boot loader or hypervisor that builds tables) and below gr_domain. Levels count
 * from the leaves: an entry of level 0 is a leaf. The root is at level `levels` - 1. Where the
 * hardware has several top registers (DART's four TTBRs) the root is that many tables side by side,
 * indexed as one.
 *
 * Locking: calls on disjoint ranges of IOVAs may run at the same time, on any CPUs. Only making a
 * missing table takes the table's lock and, where the walker is not coherent, finding a table. A
 * call owns the IOVAs that it names, and all IOVAs of its `retire` range: no other call may map,
 * unmap or ask about any of them meanwhile. gr_pt_init() and gr_pt_fini() need the whole table
 * exclusively, gr_pt_trim() the spans of all tables on its way.
 *
 * Table lifetime: gr_pt_map() makes tables. gr_pt_unmap() with a `retire` range, gr_pt_retire() and
 * gr_pt_trim() take tables out. A table that was taken out goes on the gather, because hardware may
 * still hold pointers to the table. Free the gather with gr_pt_gather_free() after the invalidation
 * and before anything in the retired range is mapped again.
 *
 * Order of stores: children before parents, a barrier between them, the parent's entry last, and a
 * cache clean of each where the walker is not coherent. gr_pt_map() and gr_pt_init() end with a
 * barrier. After gr_pt_unmap(), gr_pt_retire() and gr_pt_trim() the caller calls gr_port_wmb()
 * before the invalidation: one barrier for all the calls that the invalidation covers.
 */
#ifndef GRANULE_PT_H
#define GRANULE_PT_H

#include <granule/err.h>
#include <granule/port.h>
#include <granule/types.h>

GR_BEGIN_DECLS

enum gr_pt_format {
    GR_PT_DART1 = 1, /* s5l8960x, t8020, t8103 (DART.md 4.1) */
    GR_PT_DART2 = 2, /* t6000, t8110 (DART.md 4.2) */
    /*
     * ARM LPAE (VMSAv8-64) stage 1, as an SMMU walks it. gr_pt_map() makes blocks and contiguous
     * groups where IOVA, PA and length allow. The format has no write-only leaf: GR_PROT_WRITE
     * alone maps for read and write, and a walk reports both. MAIR index 0 is normal memory, index
     * 1 the memory of GR_PROT_UNCACHED.
     */
    GR_PT_LPAE_S1 = 3,
    /*
     * LPAE stage 2. The root may be up to 16 tables; read and write are permitted independently; a
     * leaf holds its memory type itself, without MAIR.
     */
    GR_PT_LPAE_S2 = 4,
};

#define GR_PT_MAX_LEVELS 4u /* of any format, the root included */

struct gr_pt_config {
    enum gr_pt_format format;
    uint8_t granule_lg2; /* 12 or 14, LPAE also 16 */
    uint8_t levels;      /* of tables, the root included: 2, DART2 also 3, LPAE up to 4 */
    /* log2 of the most tables that the root may be: 0..2, LPAE_S1 0, LPAE_S2 0..4 */
    uint8_t roots_lg2;
    /*
     * IOVA bits that are translated. Higher bits are ignored, as DARTs do; an SMMU faults on them.
     * LPAE: 25 to 48, and so many that a level less would not do, because an SMMU derives the
     * number of levels from T0SZ. LPAE_S2: with three levels or more a level less would not do even
     * with 16 tables in its root; and no more bits than pa_bits.
     */
    uint8_t va_bits;
    /* Bits of a physical address: DART1 36, DART2 36 or 42; LPAE 32, 36, 40, 42, 44, 48 (IPS). */
    uint8_t pa_bits;
    bool coherent; /* the walker sees CPU stores without a cache clean */
};

struct gr_pt_ops;    /* private */
struct gr_pt_mirror; /* private: firmware's tables that point to this one's, see docs/DESIGN.md */

/* The size is public, so that a caller can embed the struct. Callers never write a member. */
struct gr_pt {
    const struct gr_pt_ops *ops;
    gr_env_t env;
    uint64_t *root;
    uint64_t va_mask; /* the lowest va_bits bits */
    uint64_t pa_mask;
    uint64_t granule_mask;
    uint32_t window_unit; /* bytes: where a leaf's window may begin and end; 0: no windows */
    uint8_t granule_lg2;
    uint8_t levels;
    uint8_t index_bits; /* of every level below the root */
    uint8_t root_shift; /* log2 of the bytes that an entry of the root spans */
    uint8_t root_lg2;   /* log2 of the bytes allocated for the root */
    uint8_t va_bits;
    uint8_t pa_bits;
    uint8_t format;
    uint8_t roots_lg2; /* log2 of the tables that the root is */
    bool coherent;
    gr_pa_t root_pa; /* for the top registers; table i of the root: root_pa + (i << granule_lg2) */
    gr_lock_t lock;  /* to make a table; no other lock is taken under this one */
    uint64_t tables; /* granules held: of the root and of all other tables; see gr_pt_tables() */
    struct gr_pt_mirror *mirrors;
};

/* Tables that were taken out and are not freed yet. All zeros: none. Private. */
struct gr_pt_gather {
    uint64_t *head;
    uint64_t count;
};

/* The entries that the walk of one IOVA read, from the root down. */
struct gr_pt_walk {
    unsigned steps; /* how many */
    struct {
        unsigned level;
        gr_pa_t entry_pa;
        uint64_t entry;
    } step[GR_PT_MAX_LEVELS];
    gr_pa_t pa;    /* translation of the IOVA itself, offset in the granule included */
    unsigned prot; /* GR_PROT_* */
    /* The bytes of the granule that the leaf lets through, relative to the granule's start. */
    struct gr_range window;
};

/*
 * The highest number of IOVA bits that tables of this shape translate. For drivers that clamp an
 * aperture. `config`'s va_bits and pa_bits are not read. 0 for a format, granule, number of levels
 * or roots_lg2 that does not exist. Any context.
 */
unsigned gr_pt_reach_bits(const struct gr_pt_config *config);

/*
 * Make an empty table: only the root is allocated. The table owns all its pages until gr_pt_fini().
 * Context: may sleep.
 * Returns 0, GR_EINVAL (a member of `config` outside its range, va_bits above gr_pt_reach_bits() or
 * not above granule_lg2), GR_ENOMEM. Nothing is held after a failure.
 */
GR_MUST_CHECK int gr_pt_init(struct gr_pt *pt, gr_env_t env, const struct gr_pt_config *config);

/*
 * Free every table, the root included. Free the gathers of this table first. No hardware may walk
 * the tables any more, and no other call may use `pt`. Never sleeps.
 */
void gr_pt_fini(struct gr_pt *pt);

/* The granules that all tables take. Any context, also while other CPUs map; takes the lock. */
uint64_t gr_pt_tables(struct gr_pt *pt);

/*
 * Map [iova, iova + len) to [pa, pa + len) with GR_PROT_*. All three are in whole granules.
 * *out_done is always written: on success len, on failure how many bytes from `iova` on are mapped.
 * After a failure the caller unmaps these bytes and invalidates, before it reports the failure;
 * that unmap is never refused with GR_EMSGSIZE. Context: any.
 * Returns 0, GR_ENODATA (len 0), GR_EINVAL (unaligned), GR_EOVERFLOW, GR_EACCES (neither read nor
 * write), GR_EOPNOTSUPP (unknown bits in prot), GR_EFAULT (beyond pa_bits), GR_ERANGE (the range
 * passes a multiple of 2^va_bits), GR_EEXIST (an IOVA of the range is mapped), GR_ENOMEM.
 */
GR_MUST_CHECK int gr_pt_map(struct gr_pt *pt, gr_iova_t iova, gr_pa_t pa, uint64_t len,
                            unsigned prot, uint64_t *out_done);

/*
 * Clear the leaves of [iova, iova + len), whole granules, mapped or not. `retire`, if not NULL, is
 * a range that maps nothing else: every table whose span lies within `retire` goes on `gather`.
 * Needs no memory. Ends without a barrier: see "Order of stores" above. Context: any.
 * Returns 0, GR_ENODATA, GR_EINVAL (unaligned), GR_EOVERFLOW, GR_ERANGE, GR_EMSGSIZE (an end of the
 * range lies inside a block or a contiguous group that one map made; LPAE only). On failure nothing
 * has changed.
 */
GR_MUST_CHECK int gr_pt_unmap(struct gr_pt *pt, gr_iova_t iova, uint64_t len,
                              const struct gr_range *retire, struct gr_pt_gather *gather);

/*
 * Put every table whose span lies in `range` on `gather`. The caller owns the IOVAs of `range`, and
 * none of them is mapped. The range crosses no multiple of 2^va_bits. Needs no memory. Ends without
 * a barrier: see "Order of stores" above. Context: any.
 */
void gr_pt_retire(struct gr_pt *pt, const struct gr_range *range, struct gr_pt_gather *gather);

/*
 * Take out every table on the way to [iova, iova + len) that maps nothing, and put it on `gather`.
 * The span of such a table may reach beyond the range: no other call may map, unmap or walk in that
 * span meanwhile. Reads whole tables, so not for hot paths. Ends without a barrier: see "Order of
 * stores" above. Context: any.
 * Returns 0, GR_ENODATA, GR_EINVAL (unaligned), GR_EOVERFLOW, GR_ERANGE.
 */
GR_MUST_CHECK int gr_pt_trim(struct gr_pt *pt, gr_iova_t iova, uint64_t len,
                             struct gr_pt_gather *gather);

/* Free the tables on a gather; see "Table lifetime" above. Any context. */
void gr_pt_gather_free(struct gr_pt *pt, struct gr_pt_gather *gather);

/* Move all tables of the gather `from` to the gather `to`. Any context. */
void gr_pt_gather_join(const struct gr_pt *pt, struct gr_pt_gather *to, struct gr_pt_gather *from);

/*
 * Is every granule of [iova, iova + len) mapped? Any context.
 * Returns 0, GR_ENOENT (a granule is not mapped), GR_ENODATA, GR_EINVAL (unaligned), GR_EOVERFLOW,
 * GR_ERANGE.
 */
GR_MUST_CHECK int gr_pt_check_mapped(const struct gr_pt *pt, gr_iova_t iova, uint64_t len);

/*
 * Translate one IOVA. `out` holds every entry that was read, also on failure. Bits of `iova` above
 * va_bits are ignored. A caller that does not own the IOVA must keep tables from being retired
 * meanwhile. Any context.
 * Returns 0 or GR_ENOENT (the entry of the last step is not valid).
 */
GR_MUST_CHECK int gr_pt_walk(const struct gr_pt *pt, gr_iova_t iova, struct gr_pt_walk *out);

/*
 * log2 of the bytes that one table of each level below the root spans, for gr_iova_set_spans().
 * Writes GR_PT_MAX_LEVELS values at most and returns how many. Any context.
 */
unsigned gr_pt_spans(const struct gr_pt *pt, uint8_t *out_span_lg2);

GR_END_DECLS

#endif
