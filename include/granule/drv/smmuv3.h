/* SPDX-License-Identifier: MIT */
/*
 * Driver of Arm's SMMUv3 (IHI 0070): stage 1 or stage 2 with AArch64 tables of 4, 16 or 64 KiB
 * granules, one context for each domain, no substreams, no stalling, no ATS. Not coherent ones too.
 *
 * Either stage does all that a domain asks for. Stage 2 translates no more bits of IOVA than a
 * physical address has, tells reading from writing also where only writing is allowed, and may need
 * up to 16 tables side by side, 1 MiB, as the root of a domain.
 *
 * Memory comes from gr_port_pages_alloc(): a page each for the command queue, the event queue and
 * the list of contexts; the stream table, linear or of two levels, whose second ones (256 streams,
 * 16 KiB) come with the first stream that is attached there; in stage 1 a page for each 64 domains.
 * All of it stays until gr_smmuv3_fini().
 */
#ifndef GRANULE_DRV_SMMUV3_H
#define GRANULE_DRV_SMMUV3_H

#include <granule/err.h>
#include <granule/instance.h>
#include <granule/port.h>
#include <granule/types.h>

GR_BEGIN_DECLS

struct gr_smmuv3_config {
    gr_env_t env;
    gr_mmio_t mmio;
    uint64_t mmio_size; /* of the register window, at least 0x20000: both pages of 64 KiB */
    const char *name;   /* for messages; must live on */
    /*
     * 12, 14 or 16, one that IDR5 has. 0: the CPU's page where IDR5 has it, else the smallest.
     */
    uint8_t granule_lg2;
    /*
     * IOVA bits to translate, 32 to 48; 0: 48. Fewer make shallower tables. In stage 2 as many as a
     * PA has, where that is less.
     */
    uint8_t va_bits;
    uint8_t stage; /* which translates, 1 or 2; 0: stage 1 where there is one, else stage 2 */
    /*
     * Stream numbers have so many bits, at most as many as the hardware has (IDR1.SIDSIZE); 0: as
     * the hardware, 16 at most with a linear table (64 bytes a stream), else 25. Others fault.
     */
    uint8_t stream_bits;
    /* IOVAs that reach it; {0, 0} for all that va_bits give. */
    struct gr_range aperture;
};

struct gr_smmuv3_contexts; /* private */

/* Size is public so that a caller can embed it; pass &smmu->inst on, all else is private. */
struct gr_smmuv3 {
    struct gr_instance inst;
    gr_mmio_t mmio;
    uint32_t idr0, idr1, idr3, idr5; /* as read at init, for reports */
    uint8_t stream_bits;
    uint8_t strtab_lg2; /* of the table's, or its first level's, bytes */
    uint8_t cmdq_lg2;   /* of the queues' entries */
    uint8_t evtq_lg2;
    bool behind;            /* commands that were given up may still be in the queue */
    uint32_t prod;          /* of the command queue, with its wrap bit */
    uint32_t evtq_cons;     /* of the event queue, with its wrap bit */
    uint32_t context_count; /* ASIDs, in stage 2 VMIDs, that there are */
    uint32_t single;        /* most invalidations of one address each for a range */
    uint32_t lost;          /* events, not yet reported with a record; at least so many */
    uint64_t *strtab;
    uint64_t *cmdq;
    uint64_t *evtq;
    struct gr_smmuv3_contexts *contexts;
    uint64_t commands; /* issued, of all kinds */
    uint64_t syncs;    /* of these, waits for all before them */
    uint64_t timeouts;
    uint64_t refused; /* commands that the hardware refused and that were skipped */
    uint32_t gerrors; /* bits of GERROR that were ever seen, the command queue's included */
};

/*
 * Read the identification registers, check them, and start it: whatever firmware left running is
 * disabled first, with everything aborted meanwhile; then every stream is aborted, the caches are
 * empty, faults reported. May sleep. The host routes the event queue's and the global error's
 * interrupts, as wires, to gr_smmuv3_isr() once this has returned.
 *
 * Returns 0, GR_EINVAL (the configuration contradicts itself or the registers), GR_EIO (registers
 * no SMMUv3 has), GR_EOPNOTSUPP (neither stage, no AArch64 or no little-endian tables, stalls that
 * cannot be turned off, queues or tables in preset places), GR_ENOMEM, GR_ETIMEDOUT (it does not
 * acknowledge, or does not finish a command). A refusal is logged in one sentence. The hardware is
 * untouched, but after GR_ETIMEDOUT: disabled then, with everything aborted, as far as it obeys; if
 * it does not even confirm that, its tables and queues stay allocated on purpose.
 */
GR_MUST_CHECK int gr_smmuv3_init(struct gr_smmuv3 *smmu, const struct gr_smmuv3_config *config);

/*
 * Disable it, with every access aborted, and free its memory. From here on gr_smmuv3_isr() is not
 * to be called. Returns 0, GR_EBUSY while a device names the instance, or GR_ETIMEDOUT: gone as
 * well, but it did not confirm that it stopped, and its memory stays allocated on purpose.
 */
GR_MUST_CHECK int gr_smmuv3_fini(struct gr_smmuv3 *smmu);

/*
 * The interrupt handler of both interrupts: records events of the queue as faults, as many as the
 * instance has room for, recovers the queue from an overflow, and acknowledges global errors, which
 * it logs. Returns whether there was anything. The interrupts are edges, and none comes for an
 * event that joins others: call it until it returns false, now or later, and gr_fault_dispatch() on
 * &smmu->inst after each call; events of calls without a dispatch between are lost, and counted.
 * Context: interrupt.
 */
bool gr_smmuv3_isr(struct gr_smmuv3 *smmu);

GR_END_DECLS

#endif
