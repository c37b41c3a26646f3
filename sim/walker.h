/* SPDX-License-Identifier: MIT */
/*
 * An independent reader of IOMMU tables: what do these registers and this memory translate?
 *
 * It shares no header and no code with the library or the models. Formats and register layouts are
 * data (walker.c), so that a new one is a new table of numbers. Everything read is untrusted:
 * pointers may lead anywhere, tables may contain themselves.
 *
 * Levels as elsewhere: 0 is the leaf level, and levels count upward to the table a TTBR points at.
 * IOVA and PA ranges are (first, last), both inclusive.
 */
#ifndef SIM_WALKER_H
#define SIM_WALKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WALKER_LEVELS 5u
#define WALKER_ROOTS 16u

/* ---- What a format is: data ---- */

/* Bits [from, from + width) of an entry or register are bits [to, to + width) of an address. */
struct walker_field {
    uint8_t from, width, to;
};

/* Holds where (entry & mask) == value, or, with `differs`, where it is not. Mask 0: always. */
struct walker_test {
    uint64_t mask, value;
    bool differs;
};

/* Bytes of a page that a leaf opens: [first, last], counted in units of page >> width. */
struct walker_window {
    uint8_t first, last; /* lowest bit of each count in the entry */
    uint8_t width;       /* of a count, in bits; 0: the format has no windows */
    uint64_t disable;    /* where one of these bits is set, the whole page is open */
};

struct walker_format {
    const char *name;
    uint8_t page_bits;
    uint8_t entry_bytes; /* 4 or 8, little-endian */
    /*
     * Which entries point at a table, which map at level 0, and which map at the levels of the
     * mask.
     */
    struct walker_test table, leaf, block;
    uint8_t block_levels;
    struct walker_field pa[2]; /* pieces of the address, of tables and leaves alike */
    struct walker_test read, write, uncached; /* mask 0 in `uncached`: no such bit */
    struct walker_window window;
    /*
     * The bit that marks a group of neighbouring leaves as one mapping, and log2 of the group's
     * size by level. A group is aligned to its size. 0: the format has no groups.
     */
    uint64_t group;
    uint8_t group_lg2[3];
};

/* A field of a 32-bit register. Width 0: there is none, and it reads 0. */
struct walker_reg_field {
    uint32_t offset;
    uint8_t from, width;
};

/*
 * Where a kind of instance keeps the state of its streams: in registers (DART.md 2, 3 and 6),
 * or with `in_memory` in tables as an SMMUv3 does (Arm IHI 0070, 5); the rest is not used then.
 */
struct walker_kind {
    const char *compatible;
    unsigned streams;                       /* at most */
    const struct walker_format *formats[3]; /* the first with the granule's size counts */
    bool in_memory;
    struct walker_reg_field page_bits; /* log2 of the page, to be compared */
    struct walker_reg_field bypass_supported;
    struct walker_reg_field va_bits; /* IOVA bits compared, where a register says so */
    struct walker_reg_field pa_bits; /* PA bits driven; without it, those of the format */
    unsigned va_usual; /* IOVA bits compared unless tables use more; 0: all that the tables reach */
    unsigned levels;   /* of tables in memory */
    unsigned deeper;   /* TCR bit that adds a level... */
    struct walker_reg_field revision; /* ...but where this reads */
    unsigned shallow_revision;        /* this */
    unsigned tcr;                     /* of stream 0, one word each, */
    bool tcr_shared;                  /* or a byte of one word */
    unsigned translate, bypass;       /* TCR bits */
    unsigned ttbr;                    /* of stream 0 */
    unsigned ttbrs;                   /* per stream */
    struct walker_field ttbr_pa;
    unsigned ttbr_valid;
    unsigned enable;         /* bitmap of streams that may pass at all */
    unsigned enable_streams; /* those beyond it always pass */
    /*
     * A stream may use another stream's registers: a byte each from an offset on, or a field of
     * TCR.
     */
    unsigned remap_bytes;
    unsigned remap_streams; /* those beyond it are not remapped; 0: no such bytes */
    unsigned remap_enable;  /* TCR bit; 0: no such thing */
    unsigned remap_from, remap_width;
};

/* The kind whose name a tree's first `compatible` string is, or NULL. */
const struct walker_kind *walker_kind(const char *compatible);

/*
 * A format by name alone, for tables without an instance: "DART1", "DART2", "LPAE" or "LPAE2" (LPAE
 * of stage 2); or NULL.
 */
const struct walker_format *walker_entries(const char *name, uint64_t granule);

/* The kind's format with pages of `granule` bytes, or NULL. */
const struct walker_format *walker_format(const struct walker_kind *kind, uint64_t granule);

/* ---- Where bits come from ---- */

struct walker_source {
    void *opaque;
    /* Read a register. Unknown registers read 0. */
    uint32_t (*reg)(void *opaque, uint32_t offset);
    /* Copy memory. False: some of the bytes do not exist. */
    bool (*memory)(void *opaque, uint64_t pa, void *buf, size_t len);
};

uint64_t walker_register(const struct walker_source *from, struct walker_reg_field field);

struct walker_instance {
    const struct walker_kind *kind;
    const struct walker_format *format; /* one of the kind's */
    const struct walker_source *from;
    unsigned streams;
};

/* ---- A stream ---- */

enum walker_mode { WALKER_BLOCKED, WALKER_BYPASS, WALKER_TRANSLATE };

struct walker_root {
    uint32_t offset, value; /* of the TTBR */
    uint64_t pa;
    bool valid;
};

struct walker_stream {
    const struct walker_format *format;
    const struct walker_source *from;
    enum walker_mode mode;
    const char *reason; /* of the mode */
    unsigned sid; /* the stream whose TCR and TTBRs it uses: itself, or after a remap another */
    uint32_t tcr_offset, tcr;
    unsigned levels;
    unsigned reach_bits; /* IOVA bits that the tables could tell apart */
    unsigned va_bits;    /* IOVA bits that are compared: the bits above are dropped */
    unsigned pa_bits;
    unsigned nroots;
    struct walker_root roots[WALKER_ROOTS];
    /*
     * Instead of TCR and TTBR, where streams lie in memory: first words of entry and context, with
     * their addresses.
     */
    bool in_memory; /* IOVA bits above `va_bits` fault then */
    uint64_t entry_at, entry;
    uint64_t context_at, context; /* 0: there is none */
};

/*
 * Work out what happens to accesses of stream `sid`. All that the instance points at must outlive
 * the stream.
 */
void walker_stream(struct walker_stream *stream, const struct walker_instance *inst, unsigned sid);

/* How many bytes of IOVA one entry of a level spans, as a power of two. */
unsigned walker_span_bits(const struct walker_format *format, unsigned level);

/* ---- One walk ---- */

struct walker_leaf {
    uint64_t iova, last;        /* what it maps */
    uint64_t pa;                /* of `iova` */
    uint64_t whole, whole_last; /* the same, of the whole group */
    uint64_t open, open_last;   /* what its window lets through; open > open_last: nothing */
    uint64_t at, entry;         /* the entry's PA, and its value */
    unsigned level;
    bool read, write, uncached;
};

enum walker_end {
    WALKER_MAPPED,      /* the leaf says with which permissions and window */
    WALKER_NO_STREAM,   /* blocked or bypassed: nothing is walked */
    WALKER_TOO_HIGH,    /* the IOVA has more bits than are translated */
    WALKER_NO_ROOT,     /* the TTBR is not valid */
    WALKER_NO_ENTRY,    /* the last step's entry is not valid */
    WALKER_NO_MEMORY,   /* the last step's entry lies outside memory */
    WALKER_PA_TOO_WIDE, /* the leaf needs more PA bits than the instance drives */
};

struct walker_step {
    unsigned level;
    uint64_t index;
    uint64_t at;    /* PA of the entry */
    uint64_t entry; /* its value, 0 where it cannot be read */
    uint64_t pa;    /* of the table or page that it points at, where it is valid */
};

struct walker_walk {
    enum walker_end end;
    uint64_t iova; /* as compared */
    unsigned root; /* index of the TTBR */
    unsigned nsteps;
    struct walker_step steps[WALKER_LEVELS];
    uint64_t pa;             /* of the byte, with a leaf */
    struct walker_leaf leaf; /* with WALKER_MAPPED and WALKER_PA_TOO_WIDE */
};

void walker_walk(const struct walker_stream *stream, uint64_t iova, struct walker_walk *walk);

/* ---- All leaves ---- */

enum walker_event {
    WALKER_DONE,
    WALKER_LEAF,    /* `leaf` */
    WALKER_PROBLEM, /* `problem`; what is behind it is left out */
};

struct walker_problem {
    const char *text;    /* "its table lies outside memory" */
    uint64_t iova, last; /* what the entry would map */
    uint64_t at, entry;  /* the entry's PA and value; of a root, where its register or context has
                            the pointer, and that */
    unsigned level;      /* of the entry; of a root, as many as there are levels */
    uint64_t pa;         /* where it points */
};

struct walker_frame {
    uint8_t *table;
    uint64_t pa, iova;
    uint64_t index, entries;
};

/* Every leaf in the order of its IOVA. A table is entered once, so that the work has a bound. */
struct walker_iter {
    const struct walker_stream *stream;
    enum walker_event event; /* of the last walker_next() */
    struct walker_leaf leaf;
    struct walker_problem problem;
    uint64_t tables[WALKER_LEVELS]; /* entered so far, by level */
    unsigned root;                  /* the next */
    unsigned depth;                 /* frames in use */
    struct walker_frame frames[WALKER_LEVELS];
    uint8_t *buffer;
    uint64_t *seen; /* a hash set of tables: PA + 1, 0 is free */
    size_t nseen, room;
    bool dead; /* out of memory: that is the last problem */
};

/* Nothing to iterate where the stream does not translate. False: out of memory, nothing to end. */
bool walker_begin(struct walker_iter *iter, const struct walker_stream *stream);
enum walker_event walker_next(struct walker_iter *iter);
void walker_end(struct walker_iter *iter);

#endif
