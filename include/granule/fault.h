/* SPDX-License-Identifier: MIT */
/*
 * The fault record: what an IOMMU reports when it refuses an access, in one form for all hardware.
 */
#ifndef GRANULE_FAULT_H
#define GRANULE_FAULT_H

#include <granule/port.h>
#include <granule/types.h>

GR_BEGIN_DECLS

struct gr_instance;

/* Reasons. They form a set: hardware may report several at once. */
#define GR_FAULT_NO_ROOT 0x01u    /* no valid top table for the stream */
#define GR_FAULT_NO_TABLE 0x02u   /* a table entry above the leaf is not valid */
#define GR_FAULT_NO_LEAF 0x04u    /* the leaf is not valid: nothing is mapped there */
#define GR_FAULT_READ_PROT 0x08u  /* mapped, but not for reading */
#define GR_FAULT_WRITE_PROT 0x10u /* mapped, but not for writing */
#define GR_FAULT_WINDOW 0x20u     /* mapped, but outside the leaf's sub-page window */
#define GR_FAULT_EXTERNAL 0x40u   /* the IOMMU's own memory access failed */
#define GR_FAULT_UNKNOWN 0x80u    /* a code that the driver does not know; see `raw` */
#define GR_FAULT_FILTER 0x100u    /* refused by an address filter beside the IOMMU */
#define GR_FAULT_PROTECTED 0x200u /* memory that the machine protects from devices */
#define GR_FAULT_STREAM 0x400u    /* the IOMMU has no such stream */
#define GR_FAULT_CACHE 0x800u     /* the IOMMU found its own caches inconsistent */
/*
 * The hardware noted the stream of this fault and nothing else, because another fault had taken the
 * record. `iova`, `raw`, `level` and the access say nothing about this fault.
 */
#define GR_FAULT_SECONDARY 0x1000u

#define GR_FAULT_LEVEL_UNKNOWN 0xffu

struct gr_fault {
    struct gr_instance *instance;
    uint32_t stream;
    /* Several open streams have this number in the hardware's record; `stream` is the lowest. */
    bool stream_shared;
    uint32_t reasons; /* GR_FAULT_*, at least one */
    gr_iova_t iova;
    uint8_t level; /* of the entry that refused the access, 0: a leaf; or GR_FAULT_LEVEL_UNKNOWN */
    bool access_known;
    bool write;       /* of the access: write or read; valid if access_known */
    uint32_t raw;     /* the hardware's error register */
    uint64_t time_ns; /* gr_port_now_ns() when the record was read */
    /* Faults of this instance that were lost since the previous record, as far as is known. */
    uint64_t lost;
};

/*
 * A handler of faults. Return true if the fault is dealt with, false to pass it on: the domain's
 * handler is asked first, then the instance's, then the fault is logged. Called in the context of
 * gr_fault_dispatch(), with no lock of the library held. The record is valid during the call only.
 */
typedef bool (*gr_fault_handler)(void *cookie, const struct gr_fault *fault);

/*
 * The name of one reason, for reports: "no-leaf" for GR_FAULT_NO_LEAF. NULL if `single_reason` is
 * not exactly one known bit. The string is constant. Any context.
 */
const char *gr_fault_reason_name(uint32_t single_reason);

/*
 * Deliver the faults that the instance's interrupt handler has recorded, and end a storm
 * (gr_instance.fault_storm). The ring holds GR_CFG_FAULT_RING records; the next record tells as
 * `lost` how many faults found it full. One call delivers GR_CFG_FAULT_RING records at most, so
 * that a storm cannot hold the caller. Returns how many were delivered.
 * Context: any, the interrupt handler too, but one call at a time per instance. Devices may be
 * registered and removed, and domains attached and detached, meanwhile. Handlers are called without
 * a lock of the library; the instance's lock is taken between them.
 */
unsigned gr_fault_dispatch(struct gr_instance *instance);

/* Why an access was refused: see gr_domain_diagnose(). */
enum gr_diagnosis {
    GR_DIAGNOSIS_STALE = 1,    /* the tables allow the access: the IOMMU used a stale entry */
    GR_DIAGNOSIS_NEVER_MAPPED, /* the IOVA is not mapped, and not allocated */
    GR_DIAGNOSIS_CHANGING,   /* the IOVA is allocated but not mapped: a map or unmap is under way */
    GR_DIAGNOSIS_PROTECTION, /* the IOVA is mapped, but not for this kind of access */
    GR_DIAGNOSIS_WINDOW,     /* the IOVA is mapped, but this part of the granule is no buffer */
    GR_DIAGNOSIS_OUTSIDE,    /* the IOVA is outside the domain's aperture */
    GR_DIAGNOSIS_FIRMWARE,   /* the IOVA is reserved: firmware's, a doorbell, a host window */
    GR_DIAGNOSIS_BLOCKED,    /* the domain lets nothing pass: its type is BLOCKED, or it broke */
    GR_DIAGNOSIS_HARDWARE,   /* the hardware refused the access for another reason than tables */
};

/* A diagnosis in a few words, for reports; NULL if unknown. The string is constant. Any context. */
const char *gr_diagnosis_name(enum gr_diagnosis diagnosis);

GR_END_DECLS

#endif
