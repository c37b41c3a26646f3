/* SPDX-License-Identifier: MIT */
/*
 * The device-tree front end: which IOMMUs a machine has, who sits behind them, where its RAM is.
 *
 * It reads a flattened tree (.dtb) through libfdt, in place, with no memory of its own: four
 * iterators hand out fixed-size records. A tree is untrusted input. Whatever it holds, nothing
 * outside the blob is read, every call ends, and a mistake is GR_EBADMSG with one sentence in
 * `gr_dt.error` that names the node, the property and the mend.
 *
 *     struct gr_dt dt;
 *     struct gr_dt_iter it = {0};
 *     struct gr_dt_iommu iommu;
 *     int rc = gr_dt_open(&dt, blob, size);
 *
 *     while (rc >= 0 && (rc = gr_dt_iommu_next(&dt, &it, &iommu)) > 0)
 *         use(&iommu);
 *     if (rc < 0)
 *         puts(dt.error);
 *
 * Context: any; no locks, no allocation. One gr_dt belongs to one thread at a time (its error text
 * is written). Opening takes time linear in the size of the tree; an iteration looks at GR_DT_WORK
 * entries of it at most, however often at the same ones: a second for a hostile tree, next to
 * nothing for others.
 *
 * What counts
 *   An IOMMU is a node with `#iommu-cells`, whatever its name. Node and master are enabled when
 *   `status` is absent, "okay" or "ok" on the node and on every parent. Only enabled IOMMUs that
 *   have a driver are looked into; a mistake in another one does no harm.
 *
 * What the tree cannot say about an instance comes from this table and from overrides on its node:
 *
 *                          granule,  -va-bits         -pa-bits  -streams       -bypass
 *   compatible   driver    page-bits  16K      4K
 *   apple,
 *   t8103-dart   T8020     14 (12)    32 (38)  32 (32)  36 (36)   16 (16)        1 (0)
 *   t6000-dart   T6000     14 (12)    32 (38)  32 (32)  42 (36)   16 (16)        1 (0)
 *   t8110-dart   T8110     14 (12)    36 (48)  30 (48)  42 (36)   16 (256)       1 (0)
 *   t8103-usb4-  T8103_    14 (12)    32 (38)  32 (32)  36 (36)   64 (64)        0 (0)
 *   dart         USB4
 *   s5l8960x-    S5L8960X  12 (12)       -     32 (32)  36 (36)    4 (4)         0 (0)
 *   dart
 *   arm,smmu-v3  SMMUV3    0 (16)     48 (48)  48 (48)  44 (36)   65536 (65536)  1 (0)
 *
 *   Brackets: the other value that an override may give, or the highest. An SMMUv3 has several
 *   granules: `granule,page-bits` says which of 12, 14 and 16 to use, and 0 that nobody has said;
 *   its IOVAs have 32 bits at least, and what its registers say goes before the table. Sources:
 *   DART.md 1, 4, 6, 8, docs/QEMU.md. The t8110 values are read from its registers on
 *   hardware: VA 36 fits the windows of T8112's own tree; PA 42 covers both widths that exist; 16
 *   streams cover every SID that a tree is known to use. Bypass is 1 because most instances have it
 *   (PCIe DARTs do not); a tree that knows better says `granule,bypass = <0>`. An override is one
 *   cell; VA bits are at least page bits + 1. An s5l8960x with an `apple,dma-range` that is an
 *   aligned block has the bits of that block, unless an override says otherwise. A DART's
 *   `granule,firmware` = "off", "bypass", "translating" or "locked" says what firmware left of its
 *   streams, where it is modelled: see gr_dt_iommu. Of the first eight strings in `compatible`, the
 *   first in the table decides.
 *
 *   `granule,window-verified`, empty, says that on this hardware the windows of leaves
 *   (DART.md 4.4) have been seen to hold, so that devices that are not trusted may rely on
 *   them.
 *
 * What it cannot say about a master stands on the master's node (gr_dt_master.node):
 *
 *   granule,dma-mode = "translated", "linear", "identity" or "blocked"
 *                               the domain that it is to be given, as far as policy lets it
 *   granule,access-unit = <n>   it reads and writes in aligned units of n bytes: a power of two, 1
 *                               to 4096
 *   granule,overread = <n>      it may read so many bytes beyond a buffer, 0 to 4096
 *
 *   Any other property of these nodes whose name begins with `granule,` is a mistake.
 */
#ifndef GRANULE_DT_H
#define GRANULE_DT_H

#include <granule/err.h>
#include <granule/types.h>

GR_BEGIN_DECLS

#define GR_DT_SIZE_MAX 0x200000u /* bytes of a tree: the limit of the arm64 boot protocol */
#define GR_DT_DEPTH 32           /* nesting of nodes, the root included */
#define GR_DT_PATH 160           /* bytes of a path with its NUL */
#define GR_DT_COMPATIBLE 64      /* bytes of a compatible string with its NUL */
#define GR_DT_STREAMS 8          /* streams of one master */
#define GR_DT_RESERVED 16        /* reserved IOVA ranges of one master */
#define GR_DT_REGIONS 16         /* regions of one master */
#define GR_DT_BANKS 64           /* banks of RAM */
#define GR_DT_REFS 1024          /* references to IOMMUs in a tree */
#define GR_DT_NAME 160           /* bytes of a node's or a property's name with its NUL */
#define GR_DT_WORK 0x2000000u    /* nodes, properties and windows that an iteration may look at */

/* A tree. It points into the caller's blob, which must stay unchanged. */
struct gr_dt {
    const void *fdt;
    uint32_t work;   /* of GR_DT_WORK, what is left to the iteration that runs; private */
    char error[384]; /* of the last error: one sentence, no newline, printable ASCII; "" before */
};

/* Nodes from the root (node[0]) to one node (node[depth - 1]), as libfdt offsets. Private. */
struct gr_dt_chain {
    int depth;
    int node[GR_DT_DEPTH];
};

/*
 * The place of one iteration: zero it to begin, use it with one kind of gr_dt_*_next() only. Every
 * member is private. After the end, and after an error, the iteration stays at its end.
 */
struct gr_dt_iter {
    struct gr_dt_chain at;
    unsigned entry;
    unsigned count;
    uint32_t work;
    uint32_t phandle; /* of `target`, the last IOMMU that was looked up; 0: none */
    struct gr_dt_chain target;
};

enum gr_dt_driver {
    GR_DT_NONE,
    GR_DT_DART_T8020,
    GR_DT_DART_T6000,
    GR_DT_DART_T8110,
    GR_DT_DART_T8103_USB4,
    GR_DT_DART_S5L8960X,
    GR_DT_SMMUV3,
};

/* What firmware left, of a model: each stream that a master names. Hardware says it itself. */
enum gr_dt_firmware {
    GR_DT_FIRMWARE_OFF, /* also without the property */
    GR_DT_FIRMWARE_BYPASS,
    GR_DT_FIRMWARE_TRANSLATING, /* by tables that hold the masters' regions */
    GR_DT_FIRMWARE_LOCKED,      /* the same, and the registers cannot be changed */
};

/* One IOMMU. Members after `iommu_cells` are 0 unless it is enabled and has a driver. */
struct gr_dt_iommu {
    char path[GR_DT_PATH];
    char compatible[GR_DT_COMPATIBLE]; /* the first string as the tree has it; "" when absent */
    char
        reason[GR_DT_COMPATIBLE + 16]; /* "no driver for X" where `driver` is GR_DT_NONE, else "" */
    int node;                          /* names the node in this tree; see gr_dt_stream */
    bool enabled;
    enum gr_dt_driver driver;
    unsigned iommu_cells;
    uint64_t reg_base; /* registers: the first `reg` entry as a CPU address, and its bytes */
    uint64_t reg_size;
    unsigned page_bits; /* log2 of the granule: 12 or 14; of an SMMUv3 also 16, or 0: any */
    unsigned va_bits;
    unsigned pa_bits;
    unsigned streams;
    bool bypass; /* the hardware can bypass */
    enum gr_dt_firmware firmware;
    bool window_verified;
    bool has_aperture; /* `apple,dma-range` is there; without it `aperture` is all va_bits */
    struct gr_range
        aperture; /* IOVAs; its bits above va_bits are equal throughout and not decoded */
};

/* `granule,dma-mode`. */
enum gr_dt_mode {
    GR_DT_MODE_ANY, /* the tree does not say */
    GR_DT_MODE_TRANSLATED,
    GR_DT_MODE_LINEAR,
    GR_DT_MODE_IDENTITY,
    GR_DT_MODE_BLOCKED,
};

/* One requester of a master at one enabled IOMMU. */
struct gr_dt_stream {
    int iommu;              /* gr_dt_iommu.node */
    uint32_t sid;           /* below gr_dt_iommu.streams; unchecked where there is no driver */
    struct gr_range window; /* IOVAs allowed here: the aperture, cut to the five-cell specifier's
                               window; everything where there is no driver */
};

/*
 * IOVAs that a device or its firmware uses before its driver comes (DART.md 10): an entry of
 * `iommu-addresses` = <&master IOVA size>... in a node that the master's `memory-region` names;
 * IOVA and size have the cells of the bus that the master named is on. Nodes that are not enabled,
 * or that do not name this master, say nothing.
 */
enum gr_dt_region_kind {
    GR_DT_REGION_RESERVED,   /* the node has no `reg`, or one of a byte at most: not to be used */
    GR_DT_REGION_DIRECT,     /* its IOVA is the address in `reg` */
    GR_DT_REGION_TRANSLATED, /* it leads to what `reg` says */
};

struct gr_dt_region {
    enum gr_dt_region_kind kind;
    struct gr_range iova;
    uint64_t pa; /* but for RESERVED */
};

/*
 * One device.
 *
 * Either a node with `iommus`: <&iommu SID>..., or with five cells <&iommu SID start-hi start-lo
 * size-hi size-lo>..., where entries with the same IOMMU and SID are intersected.
 *
 * Or one entry of an `iommu-map` = <RID-base &iommu SID-base length>..., one IOMMU cell, on a PCI
 * host bridge: the streams are the SIDs of the RIDs in it that `iommu-map-mask` can produce (on an
 * IOMMU without a driver, and of more than eight RIDs on an SMMUv3, only the first). Its path is
 * the port: the outermost bridge below the host bridge whose `bus-range` holds RID-base >> 8,
 * enabled or not; without one "<bridge>/rid@HEX".
 *
 * Entries whose IOMMU is disabled are left out, and so is a master that has no other, or that is
 * disabled itself.
 */
struct gr_dt_master {
    char path[GR_DT_PATH];
    int node; /* the node with `iommus`, the port, or the host bridge */
    unsigned nstreams;
    struct gr_dt_stream streams[GR_DT_STREAMS];
    /* `dma-coherent` or `dma-noncoherent` on it or its nearest parent that has one; default true */
    bool coherent;
    /* `external-facing` on it, on a parent, or on a bridge that its RIDs may be behind */
    bool untrusted;
    enum gr_dt_mode mode;
    uint32_t access_unit; /* bytes; 0: the tree does not say */
    uint32_t overread;
    /*
     * Bus addresses that `dma-ranges` of all parents let through, 1:1 only; no property, no limit.
     * For gr_device_config: `last` is its dma_mask, what lies below `first` one more reserved
     * range.
     */
    struct gr_range dma;
    /*
     * IOVAs it must never be given: memory windows of its PCI host bridge (`ranges`, bus addresses;
     * I/O windows are no memory), the page of the MSI doorbell, gaps between `dma-ranges`. They
     * may overlap.
     */
    unsigned nreserved;
    struct gr_range reserved[GR_DT_RESERVED];
    unsigned nregions;
    struct gr_dt_region regions[GR_DT_REGIONS];
};

/*
 * Check a tree of `size` bytes at `blob`, 8-byte aligned, and prepare *dt. Needs no closing.
 * Returns 0, GR_EINVAL (blob NULL or not aligned), GR_EBADMSG (too short, too long, not a flattened
 * tree, its structure is broken, a name is longer than GR_DT_NAME), with the sentence in dt->error.
 */
GR_MUST_CHECK int gr_dt_open(struct gr_dt *dt, const void *blob, size_t size);

/*
 * The next record of each kind, in the order of the tree. Return 1 and *out, 0 at the end, or
 * GR_EBADMSG and the sentence, also where the iteration would pass GR_DT_WORK; *out is written only
 * with 1.
 *
 * Memory: every `reg` entry of every enabled node with device_type = "memory". Banks that overlap
 * or are empty and a tree without any bank are errors.
 *
 * Reserved: RAM that is not ours, the /memreserve/ entries first, then each `reg` entry of each
 * enabled child of /reserved-memory, with `no-map` or without. Empty entries and children without
 * `reg` (placed by an operating system, or IOVA only) are left out.
 */
GR_MUST_CHECK int gr_dt_iommu_next(struct gr_dt *dt, struct gr_dt_iter *it,
                                   struct gr_dt_iommu *out);
GR_MUST_CHECK int gr_dt_master_next(struct gr_dt *dt, struct gr_dt_iter *it,
                                    struct gr_dt_master *out);
GR_MUST_CHECK int gr_dt_memory_next(struct gr_dt *dt, struct gr_dt_iter *it, struct gr_range *out);
GR_MUST_CHECK int gr_dt_reserved_next(struct gr_dt *dt, struct gr_dt_iter *it,
                                      struct gr_range *out);

/*
 * The record of one PCI function that the host has found: `rid` behind the host bridge at libfdt's
 * offset `bridge`, with the streams of this function only. An iommu-map is often one entry for a
 * whole segment, which is no device to iterate over. Returns 1 and *out; 0 where no entry covers
 * it, the IOMMU is disabled, or there is no enabled node with an iommu-map at `bridge`; or
 * GR_EBADMSG.
 */
GR_MUST_CHECK int gr_dt_pci_function(struct gr_dt *dt, int bridge, uint32_t rid,
                                     struct gr_dt_master *out);

GR_END_DECLS

#endif
