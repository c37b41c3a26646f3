/* SPDX-License-Identifier: MIT */
/*
 * The driver of Arm's SMMUv3 (IHI 0070): stage 1 or stage 2, AArch64 tables with granules of 4, 16
 * or 64 KiB, walks that are coherent or not, one context for each domain; no substreams, no stalls,
 * no ATS. Contexts of calls: types.h.
 *
 * Either stage does all that a domain asks for. Stage 2 translates no more bits of IOVA than a
 * physical address has, can map for writing alone, and may need up to 16 tables side by side, 1
 * MiB, as the root of a domain.
 *
 * Memory comes from gr_port_pages_alloc():
 *   - 4 KiB each for the command queue, the event queue and the list of contexts;
 *   - the stream table, linear or of two levels. A table of the second level (256 streams, 16 KiB)
 *     is made with the first attach of one of its streams;
 *   - in stage 1, 4 KiB for each 64 domains.
 * The driver keeps this memory until gr_smmuv3_fini().
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
    uint64_t mmio_size; /* bytes of the register window, at least 0x20000: two pages of 64 KiB */
    const char *name;   /* for messages; must stay valid until gr_smmuv3_fini() */
    /*
     * 12, 14 or 16, a granule that IDR5 has. 0: the CPU's page where IDR5 has that granule, else
     * the smallest granule of IDR5.
     */
    uint8_t granule_lg2;
    /*
     * IOVA bits to translate, 32 to 48; 0: 48. Fewer bits make shallower tables. Stage 2 uses no
     * more bits than a PA has.
     */
    uint8_t va_bits;
    uint8_t stage; /* the stage that translates, 1 or 2; 0: 1 if the hardware has it, else 2 */
    /*
     * Bits of a stream number, at most IDR1.SIDSIZE, and at most 16 with a linear stream table (64
     * bytes a stream) or 25 with two levels; 0: as many as possible. Streams beyond these fault.
     */
    uint8_t stream_bits;
    /* IOVAs that reach the SMMU; {0, 0}: all IOVAs of va_bits bits. */
    struct gr_range aperture;
};

struct gr_smmuv3_contexts; /* private */

/* The size is public, for embedding. Pass &smmu->inst on; all other members are private. */
struct gr_smmuv3 {
    struct gr_instance inst;
    gr_mmio_t mmio;
    uint32_t idr0, idr1, idr3, idr5; /* as read at init, for reports */
    uint8_t stream_bits;
    uint8_t strtab_lg2; /* log2 of the bytes of the stream table, or of its first level */
    uint8_t cmdq_lg2;   /* log2 of the commands in the command queue */
    uint8_t evtq_lg2;   /* log2 of the events in the event queue */
    bool behind;        /* after a time-out: the queue may hold commands that nobody waits for */
    uint32_t prod;      /* CMDQ_PROD with its wrap bit, as last computed */
    uint32_t evtq_cons; /* EVENTQ_CONS with its wrap and overflow bits, as last written */
    uint32_t context_count; /* how many ASIDs, in stage 2 VMIDs, there are */
    uint32_t single;        /* the longest range, in granules, that is invalidated one by one */
    uint32_t lost;          /* lost events that no record has told of yet: a lower bound */
    uint64_t *strtab;
    uint64_t *cmdq;
    uint64_t *evtq;
    struct gr_smmuv3_contexts *contexts;
    uint64_t commands; /* commands issued, of all kinds */
    uint64_t syncs;    /* CMD_SYNCs among them */
    uint64_t timeouts; /* waits for commands that ended before the commands did */
    uint64_t refused;  /* commands that the hardware refused and the driver skipped */
    uint32_t gerrors;  /* bits of GERROR that were ever seen, the command queue's included */
};

/*
 * Read the identification registers, check them, and start the SMMU. It is disabled first, whatever
 * firmware left running, and aborts all accesses meanwhile. Afterwards every stream aborts, all
 * caches are empty, and faults are reported. Configuration context; may sleep. The host routes the
 * interrupts of the event queue and of global errors, as wires, to gr_smmuv3_isr() once this has
 * returned 0.
 *
 * Returns 0, GR_EINVAL (the configuration contradicts itself or the registers), GR_EIO (registers
 * hold what no SMMUv3 has), GR_EOPNOTSUPP (neither stage, no AArch64 or no little-endian tables,
 * stalls that cannot be turned off, queues or tables in preset places), GR_ENOMEM, GR_ETIMEDOUT (a
 * register is not acknowledged, or a command does not finish). A refusal is logged in one sentence.
 *
 * The hardware is untouched after an error other than GR_ETIMEDOUT. After GR_ETIMEDOUT the driver
 * has tried to disable the SMMU with all accesses aborted. If even that is not confirmed once the
 * SMMU knows of its tables and queues, they stay allocated on purpose.
 */
GR_MUST_CHECK int gr_smmuv3_init(struct gr_smmuv3 *smmu, const struct gr_smmuv3_config *config);

/*
 * Disable the SMMU, with all accesses aborted, and free its memory. gr_smmuv3_isr() must not be
 * called any more. Configuration context.
 * Returns 0, GR_EBUSY while a device names the instance, or GR_ETIMEDOUT: the instance has ended,
 * but the hardware did not confirm that it stopped, so its memory stays allocated on purpose.
 */
GR_MUST_CHECK int gr_smmuv3_fini(struct gr_smmuv3 *smmu);

/*
 * The handler of both interrupts. It records events of the queue as faults, as many as the
 * instance's ring has room for; recovers the queue from an overflow; and logs and acknowledges
 * global errors. Returns whether there was anything to do.
 *
 * The interrupts are edges, and no edge comes for an event that joins others in the queue. So call
 * this until it returns false, at once or later, and call gr_fault_dispatch(&smmu->inst) after each
 * call. A call that finds the ring full takes events all the same: these are lost, and counted.
 * Context: any; made for the interrupt handler. Takes the instance's lock.
 */
bool gr_smmuv3_isr(struct gr_smmuv3 *smmu);

GR_END_DECLS

#endif
