/* SPDX-License-Identifier: MIT */
/*
 * The neutral fault record: what an IOMMU says when it refuses an access, whatever the hardware.
 */
#ifndef GRANULE_FAULT_H
#define GRANULE_FAULT_H

#include <granule/port.h>
#include <granule/types.h>

GR_BEGIN_DECLS

struct gr_instance;

/* Reasons, a set: hardware may raise several at once. */
#define GR_FAULT_NO_ROOT 0x01u    /* no valid top table for the stream */
#define GR_FAULT_NO_TABLE 0x02u   /* a table entry above the leaf is not valid */
#define GR_FAULT_NO_LEAF 0x04u    /* nothing is mapped there */
#define GR_FAULT_READ_PROT 0x08u  /* mapped, but not for reading */
#define GR_FAULT_WRITE_PROT 0x10u /* mapped, but not for writing */
#define GR_FAULT_WINDOW 0x20u     /* mapped, but outside the leaf's sub-page window */
#define GR_FAULT_EXTERNAL 0x40u   /* the IOMMU's own memory access failed */
#define GR_FAULT_UNKNOWN 0x80u    /* a code that the driver does not know; see `raw` */
#define GR_FAULT_FILTER 0x100u    /* refused by an address filter beside the IOMMU */
#define GR_FAULT_PROTECTED 0x200u /* memory that the machine protects from devices */
#define GR_FAULT_STREAM 0x400u    /* the IOMMU has no such stream */
#define GR_FAULT_CACHE 0x800u     /* the IOMMU's own caches are at odds */
/*
 * The hardware had no room for more than the stream of this fault: `iova`, `raw` and what is left
 * out say nothing.
 */
#define GR_FAULT_SECONDARY 0x1000u

#define GR_FAULT_LEVEL_UNKNOWN 0xffu

struct gr_fault {
    struct gr_instance *instance;
    uint32_t stream;
    bool stream_shared; /* the hardware names several streams alike; `stream` is the lowest of those
                           that are open */
    uint32_t reasons;   /* GR_FAULT_*, at least one */
    gr_iova_t iova;
    uint8_t level; /* whose entry was refused, leaves are 0; or GR_FAULT_LEVEL_UNKNOWN */
    bool access_known;
    bool write;       /* if access_known */
    uint32_t raw;     /* the hardware's error register */
    uint64_t time_ns; /* gr_port_now_ns() when the record was read */
    uint64_t
        lost; /* faults of this instance that were lost since the record before, as far as known */
};

/*
 * Called for one fault. Return true if it is dealt with, false to pass it on: domain, then
 * instance, then the log. Context: that of gr_fault_dispatch()'s caller. The record is valid during
 * the call.
 */
typedef bool (*gr_fault_handler)(void *cookie, const struct gr_fault *fault);

/* The names of the reasons' bits, lowest first, for reports: "no-leaf" and so on; NULL if unknown.
 */
const char *gr_fault_reason_name(uint32_t single_reason);

/*
 * Deliver the faults that the instance's interrupt handler has recorded. The record ring is fixed
 * (GR_CFG_FAULT_RING): what does not fit is counted and told as `lost` with the next record.
 * Call it from the interrupt handler itself or from a deferred context, one caller at a time per
 * instance; devices may come and go and domains be attached meanwhile. Handlers are called without
 * any lock. At most GR_CFG_FAULT_RING records a call.
 * Returns how many were delivered.
 */
unsigned gr_fault_dispatch(struct gr_instance *instance);

/* What became of an access that was refused: see gr_domain_diagnose(). */
enum gr_diagnosis {
    GR_DIAGNOSIS_STALE = 1,    /* the tables allow it: the IOMMU goes by what it had cached */
    GR_DIAGNOSIS_NEVER_MAPPED, /* nothing is mapped there, or is any more */
    GR_DIAGNOSIS_CHANGING,     /* allocated, and not in the tables: being mapped or unmapped */
    GR_DIAGNOSIS_PROTECTION,   /* mapped, but not for such an access */
    GR_DIAGNOSIS_WINDOW,       /* mapped, but this part of the granule is not the buffer's */
    GR_DIAGNOSIS_OUTSIDE,      /* outside what the domain can map at all */
    GR_DIAGNOSIS_FIRMWARE,     /* reserved: firmware's, a doorbell, a host window */
    GR_DIAGNOSIS_BLOCKED,      /* the domain lets nothing pass: by its type, or it broke */
    GR_DIAGNOSIS_HARDWARE,     /* not a matter of tables, or nothing is known of it */
};

/* In a few words, for reports; NULL if unknown. */
const char *gr_diagnosis_name(enum gr_diagnosis diagnosis);

GR_END_DECLS

#endif
