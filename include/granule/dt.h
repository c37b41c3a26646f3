/* SPDX-License-Identifier: MIT */
/*
 * The device-tree front end: a machine's IOMMUs, the masters behind them, and its RAM.
 *
 * It reads a flattened tree (.dtb) through libfdt, in place, without memory of its own: four
 * iterators write records of fixed size. A tree is untrusted input. Whatever the tree holds,
 * nothing outside the blob is read, and every call ends. A mistake in the tree is GR_EBADMSG, with
 * one sentence in `gr_dt.error` that names the node, the property and the mend.
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
 * Context: any (types.h), no locks, no allocation; but one gr_dt belongs to one thread at a time,
 * because calls write to it. Opening takes time linear in the size of the tree. An iteration looks
 * at GR_DT_WORK entries of the tree at most, counted each time: about a second for a hostile tree,
 * next to nothing for others.
 *
 * What counts
 *   An IOMMU is a node with `#iommu-cells`, whatever its name. An IOMMU or a master is enabled when
 *   `status` is absent, "okay" or "ok" on its node and on every parent. Only enabled IOMMUs that
 *   have a driver are checked: a mistake in another IOMMU does no harm.
 *
 * Facts that the binding has no property for come from this table, and from overrides on the
 * IOMMU's node:
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
 *   In brackets stands the other value that an override may give, or the highest. An override is
 *   one cell. Of the first eight strings in `compatible`, the first that is in the table decides.
 *   Sources: DART.md 1, 4, 6, 8, docs/QEMU.md.
 *
 *   SMMUv3: the hardware has several granules. `granule,page-bits` chooses 12, 14 or 16; 0 means
 *   that the tree does not choose. IOVAs have at least 32 bits. On hardware the registers override
 *   the table.
 *
 *   DARTs: VA bits are at least page bits + 1. On hardware a t8110 has its values in registers. The
 *   table's VA 36 fits the windows in T8112's own tree, PA 42 covers both widths that exist, and 16
 *   streams cover every SID that a tree is known to use. Bypass is 1 because most instances have
 *   bypass hardware; for others (PCIe DARTs) the tree says `granule,bypass = <0>`. If the
 *   `apple,dma-range` of an s5l8960x is an aligned block, the VA bits are those of the block,
 *   unless an override says otherwise (DART.md 6).
 *
 *   `granule,firmware` = "off", "bypass", "translating" or "locked" says what firmware left of a
 *   modelled DART's streams: see gr_dt_firmware.
 *
 *   `granule,window-verified`, empty, says that the windows of leaves (DART.md 4.4) have been seen
 *   to hold on this hardware, so that the isolation of untrusted devices may rely on windows.
 *
 * Facts about a master that no binding knows stand on the master's node (gr_dt_master.node):
 *
 *   granule,dma-mode = "translated", "linear", "identity" or "blocked"
 *                               the type of domain for the master, as far as gr_device_policy()
 *                               allows it
 *   granule,access-unit = <n>   the master reads and writes in aligned units of n bytes: a power of
 *                               two, 1 to 4096
 *   granule,overread = <n>      the master may read n bytes beyond a buffer, 0 to 4096
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
#define GR_DT_COMPATIBLE 64      /* bytes of the first compatible string with its NUL */
#define GR_DT_STREAMS 8          /* streams of one master */
#define GR_DT_RESERVED 16        /* reserved IOVA ranges of one master */
#define GR_DT_REGIONS 16         /* regions of one master */
#define GR_DT_BANKS 64           /* banks of RAM */
#define GR_DT_REFS 1024          /* references to IOMMUs in a tree */
#define GR_DT_NAME 160           /* bytes of a node's or a property's name with its NUL */
#define GR_DT_WORK 0x2000000u    /* nodes, properties and windows that an iteration may look at */

/* A tree. The blob stays the caller's, and must stay unchanged while the tree is used. */
struct gr_dt {
    const void *fdt;
    uint32_t work;   /* private: what the running iteration has left of GR_DT_WORK */
    char error[384]; /* of the last error: one sentence, no newline, printable ASCII; "" before */
};

/* Nodes from the root (node[0]) to one node (node[depth - 1]), as libfdt offsets. Private. */
struct gr_dt_chain {
    int depth;
    int node[GR_DT_DEPTH];
};

/*
 * The place of one iteration. Zero the struct to begin, and use it with one kind of gr_dt_*_next()
 * only. Every member is private. After the end, and after an error, the iteration stays at its end.
 */
struct gr_dt_iter {
    struct gr_dt_chain at;
    unsigned entry;
    unsigned count;
    uint32_t work;
    uint32_t phandle; /* the phandle of `target`, the last IOMMU that was looked up; 0: none */
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

/*
 * `granule,firmware`: the state of each stream that a master names, for a model to start in.
 * Hardware tells it in registers.
 */
enum gr_dt_firmware {
    GR_DT_FIRMWARE_OFF, /* also without the property */
    GR_DT_FIRMWARE_BYPASS,
    GR_DT_FIRMWARE_TRANSLATING, /* the tables map the regions of the masters */
    GR_DT_FIRMWARE_LOCKED,      /* the same, and the registers cannot be changed */
};

/* One IOMMU. Members after `iommu_cells` are 0 unless the IOMMU is enabled and has a driver. */
struct gr_dt_iommu {
    char path[GR_DT_PATH];
    char compatible[GR_DT_COMPATIBLE]; /* the first string of `compatible`; "" when absent */
    /* "no driver for X" if `driver` is GR_DT_NONE, else "" */
    char reason[GR_DT_COMPATIBLE + 16];
    int node; /* names the node in this tree; see gr_dt_stream */
    bool enabled;
    enum gr_dt_driver driver;
    unsigned iommu_cells;
    uint64_t reg_base;  /* of the registers: the first `reg` entry as a CPU address */
    uint64_t reg_size;  /* in bytes */
    unsigned page_bits; /* log2 of the granule: 12 or 14; SMMUv3 also 16, or 0: not chosen */
    unsigned va_bits;
    unsigned pa_bits;
    unsigned streams;
    bool bypass; /* a stream can pass untranslated */
    enum gr_dt_firmware firmware;
    bool window_verified;
    bool has_aperture; /* `apple,dma-range` is there; without it `aperture` is all of va_bits */
    /* IOVAs. Bits above va_bits are the same in the whole range; the hardware ignores them. */
    struct gr_range aperture;
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
    int iommu;    /* gr_dt_iommu.node of the IOMMU */
    uint32_t sid; /* below gr_dt_iommu.streams; not checked if the IOMMU has no driver */
    /*
     * IOVAs that the stream may use: the aperture, cut to the window of a specifier with five
     * cells. All addresses if the IOMMU has no driver.
     */
    struct gr_range window;
};

/*
 * IOVAs that a device or its firmware uses before its driver comes (DART.md 10): an entry of
 * `iommu-addresses` = <&master IOVA size>... in a node that the master's `memory-region` names.
 * IOVA and size have as many cells as on the bus of the master in the entry. Nodes that are not
 * enabled and entries of other masters are skipped.
 */
enum gr_dt_region_kind {
    GR_DT_REGION_RESERVED,   /* no `reg`, or a `reg` of 0 or 1 byte: the IOVAs are not used */
    GR_DT_REGION_DIRECT,     /* the IOVA is the address in `reg` */
    GR_DT_REGION_TRANSLATED, /* the IOVA is mapped to the address in `reg` */
};

struct gr_dt_region {
    enum gr_dt_region_kind kind;
    struct gr_range iova;
    uint64_t pa; /* 0 for RESERVED */
};

/*
 * One device, a master of DMA. There are two kinds:
 *
 * A node with `iommus` = <&iommu SID>..., or with five cells, <&iommu SID start-hi start-lo size-hi
 * size-lo>.... The windows of entries with the same IOMMU and SID are intersected.
 *
 * One entry of `iommu-map` = <RID-base &iommu SID-base length>... on a PCI host bridge; the IOMMU
 * has one cell. The streams are the SIDs of those RIDs of the entry that `iommu-map-mask` can
 * produce; only the first if the IOMMU has no driver, or if it is an SMMUv3 and the entry has more
 * than eight RIDs. The path is that of the port: the outermost bridge below the host bridge,
 * enabled or not, whose `bus-range` holds RID-base >> 8. Without such a bridge it is
 * "<bridge>/rid@HEX".
 *
 * Entries with a disabled IOMMU are left out. So is a master that is disabled, or that has no other
 * entries.
 */
struct gr_dt_master {
    char path[GR_DT_PATH];
    int node; /* the node with `iommus`, the port, or the host bridge */
    unsigned nstreams;
    struct gr_dt_stream streams[GR_DT_STREAMS];
    /* By `dma-coherent` or `dma-noncoherent` on the nearest of node and parents; default true. */
    bool coherent;
    /* `external-facing` is on the node, on a parent, or on a bridge that the RIDs may be behind. */
    bool untrusted;
    enum gr_dt_mode mode;
    uint32_t access_unit; /* bytes; 0: the tree does not say */
    uint32_t overread;    /* bytes */
    /*
     * Bus addresses that `dma-ranges` of all parents let through, 1:1 only; a parent without the
     * property sets no limit. For gr_device_config: `last` is the dma_mask, and addresses below
     * `first` are one more reserved range.
     */
    struct gr_range dma;
    /*
     * IOVAs that must never be mapped for the master: memory windows of its PCI host bridge
     * (`ranges`, bus addresses; I/O windows are no memory), the page of the MSI doorbell, gaps
     * between `dma-ranges`. These ranges may overlap.
     */
    unsigned nreserved;
    struct gr_range reserved[GR_DT_RESERVED];
    unsigned nregions;
    struct gr_dt_region regions[GR_DT_REGIONS];
};

/*
 * Check a tree of `size` bytes at `blob`, 8-byte aligned, and prepare *dt. There is no call to
 * close a tree. Any context.
 * Returns 0, GR_EINVAL (blob NULL or not aligned), GR_EBADMSG (too short, too long, no flattened
 * tree, a broken structure, a name of GR_DT_NAME characters or more), with the sentence in
 * dt->error.
 */
GR_MUST_CHECK int gr_dt_open(struct gr_dt *dt, const void *blob, size_t size);

/*
 * The next record of each kind, in the order of the tree. Any context. Return 1 and *out; 0 at the
 * end; or GR_EBADMSG, with the sentence in dt->error, also if the iteration would pass GR_DT_WORK.
 * *out is written only with 1.
 *
 * Memory: every `reg` entry of every enabled node with device_type = "memory". Errors are banks
 * that overlap, empty banks, and a tree without a bank.
 *
 * Reserved: RAM that the host must not use. The /memreserve/ entries come first, then each `reg`
 * entry of each enabled child of /reserved-memory, with `no-map` or without. Left out are empty
 * entries, and children without `reg`: these are placed by an operating system, or reserve IOVAs.
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
 * offset `bridge`. The record has the streams of this function only. gr_dt_master_next() cannot
 * replace this, because an iommu-map often has one entry for a whole segment. Any context.
 * Returns 1 and *out; 0 if no entry covers `rid`, if the IOMMU is disabled, or if no enabled node
 * with an iommu-map is at `bridge`; or GR_EBADMSG, with the sentence in dt->error.
 */
GR_MUST_CHECK int gr_dt_pci_function(struct gr_dt *dt, int bridge, uint32_t rid,
                                     struct gr_dt_master *out);

GR_END_DECLS

#endif
