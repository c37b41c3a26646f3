/* SPDX-License-Identifier: MIT */
/*
 * The driver of Apple's DART (docs/hardware/DART.md). It drives every generation that is known,
 * locked or not: t8020 (t8103), its USB4 variant, t6000, t8110 of revisions 1 to 2.2, s5l8960x. An
 * aperture is clamped to what the deepest tables that the instance walks reach: 36 bits at 16 KiB
 * for t8110 revision 1, 47 for revision 2 (DART.md 4). Contexts: types.h.
 */
#ifndef GRANULE_DRV_DART_H
#define GRANULE_DRV_DART_H

#include <granule/err.h>
#include <granule/instance.h>
#include <granule/port.h>
#include <granule/types.h>

GR_BEGIN_DECLS

enum gr_dart_kind {
    GR_DART_T8020 = 1,      /* apple,t8103-dart */
    GR_DART_T6000 = 2,      /* apple,t6000-dart */
    GR_DART_T8110 = 3,      /* apple,t8110-dart */
    GR_DART_T8103_USB4 = 4, /* apple,t8103-usb4-dart */
    /*
     * apple,s5l8960x-dart, of A7 to A9: four streams, 4 KiB, no lock, no bypass. The bus may drop
     * high bits of an IOVA (DART.md 6): for an aperture of 1 GiB from 0x80000000 on, va_bits is 30.
     */
    GR_DART_S5L8960X = 5,
};

#define GR_DART_MAX_STREAMS 256u

struct gr_dart_config {
    enum gr_dart_kind kind;
    gr_env_t env;
    gr_mmio_t mmio;
    /*
     * Bytes of the register window: at least 0x4000 (s5l8960x: 0x2000; t8110 from revision 2.2 on:
     * 0x8000, and 0x40 for each stream).
     */
    uint64_t mmio_size;
    const char *name; /* for messages; must stay valid until gr_dart_fini() */
    /*
     * Facts that no register tells. 0 takes the kind's usual value: 32 IOVA bits; 36 PA bits
     * (t6000: 42); 16 streams (USB4: 64, s5l8960x: 4). A t8110 tells all three: a value here can
     * only narrow them. ERROR holds four bits of a stream's number: see gr_fault.stream_shared.
     */
    uint8_t va_bits;
    uint8_t pa_bits;
    uint16_t streams;
    /*
     * The windows of leaves (DART.md 4.4) have been seen to hold on this hardware, so that
     * isolation of untrusted devices may rely on windows. What windows do is inferred:
     * docs/ASSUMPTIONS.md.
     */
    bool window_verified;
    /* IOVAs that the bus lets through (apple,dma-range); {0, 0}: all IOVAs of va_bits bits. */
    struct gr_range aperture;
};

struct gr_dart_layout; /* private */

/* The size is public, for embedding. Pass &dart->inst on; all other members are private. */
struct gr_dart {
    struct gr_instance inst;
    const struct gr_dart_layout *layout;
    enum gr_dart_kind kind;
    gr_mmio_t mmio;
    uint64_t mmio_size;
    uint32_t streams;   /* streams that may pass, also those beyond inst.streams */
    uint32_t params[4]; /* PARAMS as read at init, for reports */
    uint64_t kept[GR_DART_MAX_STREAMS / 64]; /* bitmap of streams whose registers stay firmware's */
    bool unlockable;        /* the instance is locked, but UNPROTECT could undo it (DART.md 3) */
    bool lock_on_error;     /* DIAG_LOCK.LOCK_ON_ERR is set (DART.md 5) */
    bool off;               /* no power: no register may be touched */
    uint64_t invalidations; /* TLB commands issued */
    uint64_t timeouts;      /* TLB commands that did not finish in time */
};

/*
 * Read the parameters, check them, and reset the instance: every stream is enabled, blocked, and
 * not remapped to another stream; no table is installed; the TLB is empty; faults are reported
 * (DART.md 2, 7). Two things are left alone, see gr_adopt in domain.h: a stream that firmware left
 * translating through its own tables goes on, and so does the display behind it; and no TCR, TTBR
 * or remap of a locked instance is stored to. Configuration context; may sleep. The host routes the
 * instance's interrupt to gr_dart_isr() once this has returned 0.
 *
 * Returns 0, GR_EINVAL (the configuration contradicts itself or the registers), GR_EIO (PARAMS hold
 * what no DART has; or STREAM_REMAP does not keep what is written), GR_EOPNOTSUPP (the instance is
 * locked and the port has no GR_PORT_HAS_FIRMWARE), GR_ETIMEDOUT (a TLB command does not finish). A
 * refusal is logged in one sentence. The hardware is untouched then, except where STREAM_REMAP or
 * a TLB command failed: then all streams but firmware's are blocked.
 */
GR_MUST_CHECK int gr_dart_init(struct gr_dart *dart, const struct gr_dart_config *config);

/*
 * Block every stream but those that firmware left translating, and end the instance. No register is
 * touched after gr_dart_suspend() or gr_dart_lost(). gr_dart_isr() must not be called any more.
 * Configuration context.
 * Returns 0, or GR_EBUSY while a device names the instance: first gr_domain_detach() and
 * gr_device_fini() the device, which works whatever became of the hardware.
 */
GR_MUST_CHECK int gr_dart_fini(struct gr_dart *dart);

/*
 * Prepare for the loss of the instance's power, and of its registers with it: block every stream
 * and invalidate the TLB. After a 0 no register is touched until gr_dart_resume(). Meanwhile
 * invalidations succeed, because the TLB is empty; map and unmap go on; attach and detach take
 * effect in gr_dart_resume(); gr_dart_isr() returns false. The devices behind the instance must be
 * quiet, because their accesses are refused. Configuration context; maps and unmaps may run.
 * Returns 0 (also if the instance is off already), GR_EOPNOTSUPP (the instance is locked, or has
 * streams that firmware left translating, which need the power; nothing was touched), or
 * GR_ETIMEDOUT (a TLB command does not finish; the instance counts as on, with all streams blocked:
 * suspend again, or resume).
 */
GR_MUST_CHECK int gr_dart_suspend(struct gr_dart *dart);

/*
 * Resume an instance that has power again, whether its registers were lost or kept: reset it as
 * gr_dart_init() does, then set up each stream as its domain says by now: translated, bypassed or
 * blocked. A stream that firmware had left translating is not reset; if such a stream has a domain
 * and lost its registers, it gets firmware's values back. Configuration context; maps and unmaps
 * may run.
 * Returns 0 or
 *   - GR_EIO         PARAMS are not what they were: the instance has no power, or is another one.
 *                    No register was written, and the instance is as before the call
 *   - GR_EOPNOTSUPP  firmware has locked the instance. As above
 *   - GR_EIO         STREAM_REMAP does not keep what is written. All streams but firmware's are
 *                    blocked and the instance is on: try again
 *   - GR_ETIMEDOUT   a TLB command does not finish. As above
 */
GR_MUST_CHECK int gr_dart_resume(struct gr_dart *dart);

/*
 * The hardware has gone without a warning, for example behind a cable that was pulled. Afterwards
 * all is as after gr_dart_suspend(), but no register was touched. Either the devices are detached
 * and removed, and the instance after them; or the hardware comes back, and gr_dart_resume()
 * follows. Any context.
 */
void gr_dart_lost(struct gr_dart *dart);

/*
 * The interrupt handler: records the faults and acknowledges them. Returns whether this instance
 * had raised any; the line may be shared. After a true call gr_fault_dispatch(&dart->inst), at once
 * or later. When GR_CFG_FAULT_RING records wait, a t8110's interrupt is masked in ERROR_MASK until
 * the dispatch. The other kinds have no such register: each fault is acknowledged and counted as
 * before, and gr_instance.fault_storm tells the host that it may keep the line masked until the
 * dispatch. Context: any; made for the interrupt handler. Takes the instance's lock.
 */
bool gr_dart_isr(struct gr_dart *dart);

GR_END_DECLS

#endif
