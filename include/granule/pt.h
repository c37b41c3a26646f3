/* SPDX-License-Identifier: MIT */
/*
 * Page tables: one engine, compiled once per format.
 *
 * Useful on its own (a boot loader or hypervisor that builds tables) and below gr_domain. Levels
 * count from the leaves: level 0 maps memory. The root is level `levels` - 1; where the hardware
 * has several top registers (DART's four TTBRs) the root is that many tables side by side, indexed
 * as one.
 *
 * Locking: calls on disjoint ranges of IOVAs may run at the same time, on any CPUs. Only making a
 * missing table takes the lock inside (and, where walkers do not snoop, finding one). A call owns
 * the IOVAs that it names: what another call maps, unmaps or asks about meanwhile must not overlap
 * them, nor a `retire` range, all of whose IOVAs its call owns. gr_pt_init(), gr_pt_fini() and
 * gr_pt_trim() want the table exclusively, gr_pt_trim() as far as the spans of tables reach.
 *
 * Table lifetime: map makes tables; unmap with a `retire` range, retire and trim take them out. A
 * retired table goes on the gather, because hardware may still hold pointers to it; free the gather
 * with gr_pt_gather_free() after the IOMMU was invalidated and before anything in the retired range
 * is mapped again.
 *
 * Order of stores: children before parents, a barrier between, the parent's entry last, and a cache
 * clean of each where the walker is not coherent. A barrier ends gr_pt_map() and gr_pt_init().
 * After gr_pt_unmap(), gr_pt_retire() and gr_pt_trim() the caller puts a gr_port_wmb() before the
 * invalidation: one for all the calls that it covers.
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
     * ARM LPAE (VMSAv8-64) stage 1, as an SMMU walks it. Blocks and contiguous groups are made
     * where IOVA, PA and length allow. There is no write-only: GR_PROT_WRITE alone maps read and
     * write, and that is what a walk says. MAIR index 0 is normal memory, 1 GR_PROT_UNCACHED's.
     */
    GR_PT_LPAE_S1 = 3,
    /*
     * The same of stage 2: the root may be up to 16 tables, reading and writing are permitted each
     * for itself, and a leaf says by itself what memory it is.
     */
    GR_PT_LPAE_S2 = 4,
};

#define GR_PT_MAX_LEVELS 4u /* of any format, the root included */

struct gr_pt_config {
    enum gr_pt_format format;
    uint8_t granule_lg2; /* 12 or 14, LPAE also 16 */
    uint8_t levels;      /* of tables, the root included: 2, DART2 also 3, LPAE up to 4 */
    uint8_t roots_lg2; /* log2 of the tables that the root may consist of: 0..2, LPAE_S1 0, LPAE_S2
                          0..4 */
    /*
     * IOVA bits that are translated; higher ones are ignored, as DARTs do (an SMMU faults on them).
     * LPAE: 25 to 48, and as many as need all the levels, because an SMMU derives these from T0SZ
     * (of LPAE_S2 even with 16 roots). LPAE_S2: no more than pa_bits.
     */
    uint8_t va_bits;
    uint8_t
        pa_bits;   /* of a physical address: DART1 36, DART2 36 or 42; LPAE 32 to 48, as IPS has */
    bool coherent; /* the walker sees CPU stores without a cache clean */
};

struct gr_pt_ops;    /* private */
struct gr_pt_mirror; /* private: tables of others that lead to ours, see src/iommu/adopt.h */

/* Size is public so that a caller can embed it; every member is private but for reading. */
struct gr_pt {
    const struct gr_pt_ops *ops;
    gr_env_t env;
    uint64_t *root;
    uint64_t va_mask; /* of va_bits */
    uint64_t pa_mask;
    uint64_t granule_mask;
    uint32_t window_unit; /* a leaf's window begins and ends on this; 0: leaves have no windows */
    uint8_t granule_lg2;
    uint8_t levels;
    uint8_t index_bits; /* of every level below the root */
    uint8_t root_shift; /* log2 of what an entry of the root spans */
    uint8_t root_lg2;   /* log2 bytes allocated for the root */
    uint8_t va_bits;
    uint8_t pa_bits;
    uint8_t format;
    uint8_t roots_lg2; /* log2 of the tables that the root does consist of */
    bool coherent;
    gr_pa_t
        root_pa; /* what goes into the top registers; root i is at root_pa + (i << granule_lg2) */
    gr_lock_t lock;  /* making tables; innermost */
    uint64_t tables; /* pages held: the root's and all others; see gr_pt_tables() */
    struct gr_pt_mirror *mirrors;
};

/* Tables taken out and not yet freed. Start with all zeros. Private. */
struct gr_pt_gather {
    uint64_t *head;
    uint64_t count;
};

/* What the walk of one IOVA met, from the root down. */
struct gr_pt_walk {
    unsigned steps; /* entries read */
    struct {
        unsigned level;
        gr_pa_t entry_pa;
        uint64_t entry;
    } step[GR_PT_MAX_LEVELS];
    gr_pa_t pa;    /* translation of the IOVA itself, offset in the granule included */
    unsigned prot; /* GR_PROT_* */
    struct gr_range
        window; /* bytes of the granule, relative to its start, that the leaf lets through */
};

/*
 * The highest number of IOVA bits that tables of this shape translate. For drivers that clamp an
 * aperture. `config`'s va_bits and pa_bits are not read. 0 for an unknown format or granule.
 */
unsigned gr_pt_reach_bits(const struct gr_pt_config *config);

/*
 * Make an empty table: only the root is allocated. May sleep.
 * Returns 0, GR_EINVAL (a member of `config` outside its range, va_bits beyond the reach or not
 * above the granule), GR_ENOMEM.
 */
GR_MUST_CHECK int gr_pt_init(struct gr_pt *pt, gr_env_t env, const struct gr_pt_config *config);

/* Free every table but those on a gather, which go first. The hardware must not walk them any more.
 */
void gr_pt_fini(struct gr_pt *pt);

/* How many pages tables take. Any context, also while others map; takes the lock. */
uint64_t gr_pt_tables(struct gr_pt *pt);

/*
 * Map [iova, iova + len) to [pa, pa + len) with GR_PROT_*. All three in whole granules.
 * *out_done is always written: on success len, on failure the bytes from iova on that were mapped
 * before it; the caller unmaps these, and invalidates, before it reports the failure (a rollback is
 * an unmap, and never one that GR_EMSGSIZE refuses). Context: any.
 * Returns 0, GR_ENODATA (len 0), GR_EINVAL (unaligned), GR_EOVERFLOW, GR_EACCES (neither read nor
 * write), GR_EOPNOTSUPP (unknown bits in prot), GR_EFAULT (beyond pa_bits), GR_ERANGE (the range
 * passes a multiple of 2^va_bits), GR_EEXIST (some of it is mapped), GR_ENOMEM.
 */
GR_MUST_CHECK int gr_pt_map(struct gr_pt *pt, gr_iova_t iova, gr_pa_t pa, uint64_t len,
                            unsigned prot, uint64_t *out_done);

/*
 * Clear the leaves of [iova, iova + len), whole granules, mapped or not. `retire`, where not NULL,
 * is a range that holds no other user: tables whose span lies within it go on `gather`. No memory
 * is needed. No barrier: see "Order of stores" above. Context: any. Returns 0, GR_ENODATA,
 * GR_EINVAL (unaligned), GR_EOVERFLOW, GR_ERANGE, GR_EMSGSIZE (an end of the range is inside what
 * one map made a block or a contiguous group; LPAE only); nothing changed then.
 */
GR_MUST_CHECK int gr_pt_unmap(struct gr_pt *pt, gr_iova_t iova, uint64_t len,
                              const struct gr_range *retire, struct gr_pt_gather *gather);

/*
 * Put every table whose span lies in `range` on `gather`: IOVAs that the caller owns and that map
 * nothing. The range lies in one block of the translated bits. No memory is needed, and there is no
 * barrier: see "Order of stores" above. Context: any.
 */
void gr_pt_retire(struct gr_pt *pt, const struct gr_range *range, struct gr_pt_gather *gather);

/*
 * Take out every table on the way to [iova, iova + len) that maps nothing, wherever else its span
 * reaches: nobody may be mapping there meanwhile. Reads whole tables, so not for hot paths. No
 * barrier, as gr_pt_unmap().
 * Returns as gr_pt_unmap().
 */
GR_MUST_CHECK int gr_pt_trim(struct gr_pt *pt, gr_iova_t iova, uint64_t len,
                             struct gr_pt_gather *gather);

/* Free what was gathered; see "Table lifetime" above. Any context. */
void gr_pt_gather_free(struct gr_pt *pt, struct gr_pt_gather *gather);

/* Move all of `from` to `to`. Any context. */
void gr_pt_gather_join(const struct gr_pt *pt, struct gr_pt_gather *to, struct gr_pt_gather *from);

/* 0 if every granule of [iova, iova + len) is mapped, GR_ENOENT if one is not; else as unmap. */
GR_MUST_CHECK int gr_pt_check_mapped(const struct gr_pt *pt, gr_iova_t iova, uint64_t len);

/*
 * Translate one IOVA. `out` holds every entry read, also on failure. Whoever asks about an IOVA
 * that is not its own keeps tables from being retired meanwhile. Returns 0 or GR_ENOENT (an entry
 * is not valid: the last step's).
 */
GR_MUST_CHECK int gr_pt_walk(const struct gr_pt *pt, gr_iova_t iova, struct gr_pt_walk *out);

/*
 * log2 of the bytes that one table of each level below the root spans, for gr_iova_free_begin().
 * Writes GR_PT_MAX_LEVELS values at most and returns how many.
 */
unsigned gr_pt_spans(const struct gr_pt *pt, uint8_t *out_span_lg2);

GR_END_DECLS

#endif
