/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the DART's driver share. What differs between the generations is data (struct
 * gr_dart_layout), but for the TLB command, which is a function. What is known of it:
 * docs/hardware/DART.md.
 */
#ifndef GRI_DART_INTERNAL_H
#define GRI_DART_INTERNAL_H

#include <granule/drv/dart.h>

#include "core/bits.h"
#include "core/log.h"
#include "drv/dart/regs.h"

struct gri_dart_code {
    uint32_t bits;
    uint32_t reason;
    uint8_t level;
};

/* What a TLB command shall invalidate. */
struct gri_dart_flush {
    uint64_t streams[4];
    bool range; /* limited to [first, last], in the register's units */
    bool tables;
    uint32_t first;
    uint32_t last;
};

struct gr_dart_layout {
    enum gr_dart_kind kind;
    uint16_t revision; /* the first that it is for: PARAMS3 */
    enum gr_pt_format format;
    uint8_t levels;      /* of tables that it walks */
    uint8_t params;      /* registers of parameters, from 0 on */
    uint8_t granule_lg2; /* where PARAMS1 does not say */
    uint8_t ttbrs_lg2;
    uint8_t ttbr_pa_shift; /* TTBR = valid | (pa >> pa_shift) << field_shift */
    uint8_t ttbr_field_shift;
    uint8_t tcr_lg2; /* bytes of a stream's TCR: 4, or 1 of a register that four streams share */
    uint8_t va_bits; /* usual values, where no register says them (DART.md 1) */
    uint8_t pa_bits;
    uint16_t streams;
    uint16_t streams_max;
    uint16_t streams_open; /* these pass whatever `enable` says: blocked also where not counted */
    bool fault_low;        /* a fault's address lacks the bits above those translated: DART.md 6 */
    bool flush_closed;     /* the flush opens a stream: no table may be installed (DART.md 6) */
    uint32_t mmio_size;    /* at least */
    uint32_t ttbr_valid;
    uint32_t ttbr;
    uint32_t tcr;
    uint32_t tcr_translate;
    uint32_t tcr_bypass;      /* DART.md 2: of DART and of DAPF, as known drivers set it; */
    uint32_t tcr_bypass_dart; /* the former alone */
    uint32_t tcr_remap;       /* the stream goes as another; or see `remap` */
    uint32_t tcr_four_levels; /* three levels below the TTBR */
    uint32_t enable;          /* a bitmap, as far as `enable_words`; */
    uint32_t enable_words;
    uint32_t remap; /* byte n says which stream n goes as */
    uint32_t remap_words;
    uint32_t lock;
    uint32_t lock_bit;
    uint32_t lock_final; /* while it is 0, the lock can be undone; no such register: 0 */
    uint32_t error;
    uint32_t error_mask; /* 0: faults cannot be kept from interrupting */
    uint32_t error_addr_lo;
    uint32_t error_addr_hi; /* 0: there is none */
    uint32_t error_stream;
    uint32_t error_write;     /* 0: the register does not tell reads from writes */
    uint32_t error_secondary; /* set when a fault found the record taken */
    uint32_t error_streams;   /* bitmaps of those, to be cleared; 0: none */
    uint32_t exceptions;      /* bitmaps of streams with a record of their own; 0: `error` it is */
    bool select_hi;           /* t8020: SELECT has a word for streams from 32 on */
    uint32_t flush_flags;     /* t8110: in every command that flushes a stream */
    bool flush_range;         /* t8110: commands for a range */
    bool flush_unlock;        /* t8110: DIAG_LOCK may want a command after each fault */
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

/* Is its state firmware's, so that no register of it is stored to? */
static inline bool gri_dart_is_kept(const struct gr_dart *dart, uint32_t sid)
{
    return dart->kept[sid / 64] >> sid % 64 & 1;
}

/* ---- dart_layout.c; inst.lock is held ---- */

/* The row of a kind, or NULL. */
const struct gr_dart_layout *gri_dart_find_layout(enum gr_dart_kind kind, uint32_t revision);

/* Flush all that is cached of streams [first, end). Returns 0, GR_ETIMEDOUT. */
GR_MUST_CHECK int gri_dart_flush_streams(struct gr_dart *dart, uint32_t first, uint32_t end);

/* DIAG_LOCK.LOCK_ON_ERR: after a fault the TLB waits for this (DART.md 5). Returns the same. */
GR_MUST_CHECK int gri_dart_unlock_tlb(struct gr_dart *dart);

/* ---- dart_stream.c; inst.lock is held ---- */

/* The register of a stream's TTBR `i`; and what it says for `pt`. */
uint32_t gri_dart_ttbr_at(const struct gr_dart_layout *l, uint32_t sid, uint32_t i);
uint32_t gri_dart_ttbr_of(const struct gr_dart_layout *l, const struct gr_pt *pt, uint32_t i);

/* All TTBRs of a stream: those of `pt`, the others invalid. NULL: all are. */
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

/* Note the streams that firmware left translating; before the reset. */
void gri_dart_find_kept(struct gr_dart *dart);

#endif
