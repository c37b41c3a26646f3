/* SPDX-License-Identifier: MIT */
/*
 * Driver of Apple's DART (docs/hardware/DART.md). Instances of every generation that is known,
 * locked or not: the t8020 (t8103), its USB4 variant, t6000, t8110 of revisions 1 to 2.2, and
 * s5l8960x. An aperture beyond the reach of the deepest tables that an instance walks (t8110
 * revision 1: 36 bits at 16 KiB; revision 2: 47) is clamped to it.
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
     * apple,s5l8960x-dart, of A7 to A9: four streams, 4 KiB, no lock, no bypass. Its bus may drop
     * the high bits of an IOVA: with an aperture from 0x80000000 on, of 1 GiB, va_bits is 30.
     */
    GR_DART_S5L8960X = 5,
};

#define GR_DART_MAX_STREAMS 256u

struct gr_dart_config {
    enum gr_dart_kind kind;
    gr_env_t env;
    gr_mmio_t mmio;
    uint64_t mmio_size; /* of the register window, at least 0x4000; s5l8960x: 0x2000; t8110 from
                           revision 2.2 on: 0x8000 and 0x40 for each stream */
    const char *name;   /* for messages; must live on */
    /*
     * What no register says; 0 takes the kind's usual value: 32 bits, 36 bits (t6000: 42), 16
     * streams (USB4: 64, s5l8960x: 4). ERROR has room for the low four bits of a stream: see
     * gr_fault.stream_shared. t8110 says all three: a value here can only narrow them.
     */
    uint8_t va_bits;
    uint8_t pa_bits;
    uint16_t streams;
    /*
     * The windows of leaves (DART.md 4.4) have been seen to hold on this hardware, so that
     * untrusted devices may rely on them. What they do is inferred: docs/ASSUMPTIONS.md.
     */
    bool window_verified;
    /* IOVAs the bus lets through (apple,dma-range); {0, 0} for all that va_bits give. */
    struct gr_range aperture;
};

struct gr_dart_layout; /* private */

/* Size is public so that a caller can embed it; pass &dart->inst on, all else is private. */
struct gr_dart {
    struct gr_instance inst;
    const struct gr_dart_layout *layout;
    enum gr_dart_kind kind;
    gr_mmio_t mmio;
    uint64_t mmio_size;
    uint32_t streams;                        /* that can pass, counted or not */
    uint32_t params[4];                      /* as read at init, for reports */
    uint64_t kept[GR_DART_MAX_STREAMS / 64]; /* streams that firmware left translating */
    bool unlockable;        /* it is locked, and PROTECT_LOCK would let UNPROTECT undo it */
    bool lock_on_error;     /* DIAG_LOCK */
    bool off;               /* no register may be touched */
    uint64_t invalidations; /* commands issued */
    uint64_t timeouts;
};

/*
 * Read the parameters, check them, reset the instance: every stream enabled, blocked and going as
 * itself, no table installed, the TLB empty, faults reported (DART.md 2, 7). But a stream
 * that is being translated, as itself and by a table, goes on as firmware left it, its display with
 * it, and no TCR, TTBR or remap of a locked instance is stored to: see gr_adopt in domain.h. May
 * sleep. The host routes the instance's interrupt to gr_dart_isr(). Returns 0, GR_EINVAL (the
 * configuration contradicts itself or the registers), GR_EIO (parameters no DART has, or a stream
 * that firmware had go as another and that stays so), GR_EOPNOTSUPP (locked until reboot, and the
 * port has no GR_PORT_HAS_FIRMWARE), GR_ETIMEDOUT (it does not finish a TLB command). A refusal is
 * logged in one sentence; the hardware is untouched, but where a stream stays another or a command
 * does not finish: that leaves it blocked.
 */
GR_MUST_CHECK int gr_dart_init(struct gr_dart *dart, const struct gr_dart_config *config);

/*
 * Block every stream and let go. Returns 0, or GR_EBUSY while a device names the instance: detach
 * its domain and gr_device_fini() it first, which works whatever became of the hardware.
 */
GR_MUST_CHECK int gr_dart_fini(struct gr_dart *dart);

/*
 * The instance is about to lose its power, its registers with it: stop every stream and make the
 * TLB forget. From a 0 on until gr_dart_resume() no register is touched: invalidations succeed, as
 * there is nothing to forget, map and unmap go on, attach and detach are remembered,
 * gr_dart_isr() returns false. The devices behind it must be quiet, since what they do is refused.
 * Configuration context; maps and unmaps may run. Returns 0 (also if it is off already),
 * GR_EOPNOTSUPP (it is locked, or has streams that firmware left translating: they need the power,
 * and nothing was touched), or GR_ETIMEDOUT: it does not finish a TLB command; it counts as on,
 * with all streams stopped: suspend again, or resume.
 */
GR_MUST_CHECK int gr_dart_suspend(struct gr_dart *dart);

/*
 * It has power again, and its registers hold nothing, or what they held: reset it as
 * gr_dart_init() does, and give each stream back what its domain says by now: translated, bypassed
 * or blocked. A stream that firmware had left translating is left alone; if it lost its registers
 * and has a domain, it gets firmware's back. Configuration context; maps and unmaps may run.
 * Returns 0, or GR_EIO (its parameters are not those that it had, so it has no power or is another)
 * or GR_EOPNOTSUPP (firmware has locked it), both with not a register written and the instance as
 * it was; GR_EIO (STREAM_REMAP does not keep what is written) or GR_ETIMEDOUT (it does not finish a
 * TLB command), both with all streams but firmware's stopped and the instance on: try again.
 */
GR_MUST_CHECK int gr_dart_resume(struct gr_dart *dart);

/*
 * The hardware went without a word, as a docked one does: as after gr_dart_suspend(), but nothing
 * was stopped. Devices can now be detached and removed, then the instance; or it comes back with
 * gr_dart_resume(). Any context.
 */
void gr_dart_lost(struct gr_dart *dart);

/*
 * The interrupt handler: records the faults and acknowledges them. Returns false if this instance
 * has raised none (the line may be shared). Then call gr_fault_dispatch(&dart->inst), here or
 * later. When GR_CFG_FAULT_RING records wait, a t8110 is kept from interrupting until that
 * dispatch. The others have nothing to do so with: each fault is still acknowledged and counted,
 * and gr_instance.fault_storm tells the host that it may keep the line masked until the dispatch.
 * Context: interrupt.
 */
bool gr_dart_isr(struct gr_dart *dart);

GR_END_DECLS

#endif
