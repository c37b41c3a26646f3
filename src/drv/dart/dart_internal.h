/* SPDX-License-Identifier: MIT */
/*
 * Shared by the parts of the DART driver. The generations differ in data (struct gr_dart_layout),
 * and in the function that gives a TLB command. What is known of DARTs: docs/hardware/DART.md.
 */
#ifndef GRI_DART_INTERNAL_H
#define GRI_DART_INTERNAL_H

#include <granule/drv/dart.h>

#include "core/bits.h"
#include "core/log.h"
#include "drv/dart/regs.h"

/* What bits of ERROR mean. Several bits may have the same meaning. */
struct gri_dart_code {
    uint32_t bits;
    uint32_t reason; /* GR_FAULT_* */
    uint8_t level;   /* of the entry, or GR_FAULT_LEVEL_UNKNOWN */
};

/* What a TLB command invalidates. */
struct gri_dart_flush {
    uint64_t streams[4]; /* a bitmap */
    bool range;          /* limited to [first, last], in the register's units; else all IOVAs */
    bool tables;         /* entries above the leaves as well */
    uint32_t first;
    uint32_t last;
};

/*
 * One generation, or a t8110 from one revision on: offsets of registers, bits, and facts. Where an
 * offset, a mask of bits or a number of words is 0, the hardware has none.
 */
struct gr_dart_layout {
    enum gr_dart_kind kind;
    uint16_t revision; /* the first revision (PARAMS3) that the row is for */
    enum gr_pt_format format;
    uint8_t levels;        /* of the deepest tables that the hardware walks */
    uint8_t params;        /* how many words of PARAMS there are, from offset 0 on */
    uint8_t granule_lg2;   /* 0: PARAMS1 tells it */
    uint8_t ttbrs_lg2;     /* log2 of the TTBRs of a stream */
    uint8_t ttbr_pa_shift; /* TTBR = ttbr_valid | (pa >> ttbr_pa_shift) << ttbr_field_shift */
    uint8_t ttbr_field_shift;
    uint8_t tcr_lg2; /* log2 of the bytes of a stream's TCR: 2, or 0: four streams in one word */
    uint8_t va_bits; /* usual values, where no register tells them (DART.md 1) */
    uint8_t pa_bits;
    uint16_t streams;
    uint16_t streams_max;
    uint16_t streams_open; /* streams below this may pass whatever `enable` holds */
    bool fault_low;        /* a fault's address lacks the bits above va_bits (DART.md 6) */
    bool flush_closed;     /* a TLB command lets its streams translate: without TTBRs (DART.md 6) */
    uint32_t mmio_size;    /* the smallest register window */
    uint32_t ttbr_valid;
    uint32_t ttbr;
    uint32_t tcr;
    uint32_t tcr_translate;
    uint32_t tcr_bypass;      /* BYPASS_DART and BYPASS_DAPF, as known drivers set it (DART.md 2) */
    uint32_t tcr_bypass_dart; /* BYPASS_DART alone */
    uint32_t tcr_remap;       /* the stream uses another stream's TCR and TTBR; or see `remap` */
    uint32_t tcr_four_levels; /* three levels of tables below the TTBR */
    uint32_t enable;          /* a bitmap of streams, `enable_words` long */
    uint32_t enable_words;
    uint32_t remap; /* byte n: the stream whose TCR and TTBR stream n uses */
    uint32_t remap_words;
    uint32_t lock;
    uint32_t lock_bit;
    uint32_t lock_final; /* while this register is 0, the lock can be undone */
    uint32_t error;
    uint32_t error_mask; /* ones keep faults from interrupting */
    uint32_t error_addr_lo;
    uint32_t error_addr_hi;
    uint32_t error_stream;
    uint32_t error_write;     /* 0: ERROR does not tell reads from writes */
    uint32_t error_secondary; /* set when a fault found the record taken */
    uint32_t error_streams;   /* a bitmap of the streams of such faults; writing ones clears it */
    uint32_t exceptions;      /* a bitmap of streams that have a record each; 0: `error` is used */
    bool select_hi;           /* t8020: STREAM_SELECT has a second word, for streams from 32 on */
    uint32_t flush_flags;     /* t8110: set in every command that flushes a stream */
    bool flush_range;         /* t8110: there are commands for a range */
    bool flush_unlock;        /* t8110: after a fault DIAG_LOCK may ask for a command (DART.md 5) */
    struct gri_dart_code code[16];
    int (*flush)(struct gr_dart *dart, const struct gri_dart_flush *what);
};

static inline uint32_t gri_dart_read(const struct gr_dart *dart, uint32_t offset)
{
    return gr_port_read32(dart->mmio, (gr_reg32){offset});
}

static inline void gri_dart_write(const struct gr_dart *dart, uint32_t offset, uint32_t value)
{
    gr_port_write32(dart->mmio, (gr_reg32){offset}, value);
}

static inline struct gr_dart *gri_dart_of(struct gr_instance *inst)
{
    return GRI_CONTAINER(inst, struct gr_dart, inst);
}

/* Did firmware leave the stream translating or locked, so that its registers stay firmware's? */
static inline bool gri_dart_is_kept(const struct gr_dart *dart, uint32_t sid)
{
    return dart->kept[sid / 64] >> sid % 64 & 1;
}

/* ---- dart_layout.c; inst.lock is held ---- */

/* The layout of a kind and revision, or NULL if there is no such kind. */
const struct gr_dart_layout *gri_dart_find_layout(enum gr_dart_kind kind, uint32_t revision);

/* Invalidate all that is cached for streams [first, end). Returns 0, GR_ETIMEDOUT. */
GR_MUST_CHECK int gri_dart_flush_streams(struct gr_dart *dart, uint32_t first, uint32_t end);

/*
 * Give the command that must follow each fault if DIAG_LOCK.LOCK_ON_ERR is set (DART.md 5). Returns
 * 0, GR_ETIMEDOUT.
 */
GR_MUST_CHECK int gri_dart_unlock_tlb(struct gr_dart *dart);

/* ---- dart_stream.c; inst.lock is held ---- */

/* The offset of a stream's TTBR `i`; and the value that TTBR `i` has for the tables of `pt`. */
uint32_t gri_dart_ttbr_at(const struct gr_dart_layout *l, uint32_t sid, uint32_t i);
uint32_t gri_dart_ttbr_of(const struct gr_dart_layout *l, const struct gr_pt *pt, uint32_t i);

/* Write all TTBRs of a stream: for the tables of `pt`, the rest invalid; with NULL all invalid. */
void gri_dart_write_ttbrs(const struct gr_dart *dart, uint32_t sid, const struct gr_pt *pt);

uint32_t gri_dart_read_tcr(const struct gr_dart *dart, uint32_t sid);
void gri_dart_write_tcr(const struct gr_dart *dart, uint32_t sid, uint32_t value);

/* ---- the instance's operations, which take inst.lock: dart_stream.c, ---- */

int gri_dart_attach(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                    struct gr_binding *binding);
int gri_dart_bypass(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding);
int gri_dart_block(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding);
int gri_dart_invalidate(struct gr_instance *inst, struct gr_binding *binding, gr_iova_t first,
                        gr_iova_t last, bool tables);

/* ---- dart_fault.c, ---- */

/* Let faults interrupt again, after a storm; inst->lock is held. */
void gri_dart_rearm(struct gr_instance *inst);

/* ---- and dart_firmware.c ---- */

void gri_dart_firmware(const struct gr_instance *inst, uint32_t stream, struct gr_firmware *out);
int gri_dart_adopt(struct gr_instance *inst, uint32_t stream, const struct gr_firmware *firmware,
                   const struct gr_pt *pt, struct gr_binding *binding);
int gri_dart_release(struct gr_instance *inst, uint32_t stream, const struct gr_firmware *firmware,
                     struct gr_binding *binding);

/* Note the streams that firmware left translating or locked, before the reset. */
void gri_dart_find_kept(struct gr_dart *dart);

#endif
