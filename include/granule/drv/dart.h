/* SPDX-License-Identifier: MIT */
/*
 * Driver of Apple's DART (facts/DART.md). Unlocked instances of the t8020 (t8103), t6000 and t8110
 * register layouts, t8110 of revisions 1 and 2. An aperture beyond the reach of the deepest tables
 * that an instance walks (t8110 revision 1: 36 bits at 16 KiB; revision 2: 47) is clamped to it.
 */
#ifndef GRANULE_DRV_DART_H
#define GRANULE_DRV_DART_H

#include <granule/err.h>
#include <granule/instance.h>
#include <granule/port.h>
#include <granule/types.h>

GR_BEGIN_DECLS

enum gr_dart_kind {
    GR_DART_T8020 = 1, /* apple,t8103-dart */
    GR_DART_T6000 = 2, /* apple,t6000-dart */
    GR_DART_T8110 = 3, /* apple,t8110-dart */
};

#define GR_DART_MAX_STREAMS 256u

struct gr_dart_config {
    enum gr_dart_kind kind;
    gr_env_t env;
    gr_mmio_t mmio;
    uint64_t mmio_size; /* of the register window, at least 0x4000 */
    const char *name;   /* for messages; must live on */
    /*
     * What the registers of t8020 and t6000 do not say; 0 takes the kind's usual value: 32 bits,
     * 36 or 42 bits, 16 streams (faults of further ones cannot be told from those). t8110 says all
     * three: a value here can only narrow them.
     */
    uint8_t va_bits;
    uint8_t pa_bits;
    uint16_t streams;
    /*
     * The windows of leaves (facts/DART.md 4.4) have been seen to hold on this hardware, so that
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
    uint32_t params[4];     /* as read at init, for reports */
    uint64_t invalidations; /* commands issued */
    uint64_t timeouts;
};

/*
 * Read the parameters, check them, reset the instance: every stream enabled, blocked and going as
 * itself, no table installed, the TLB empty, faults reported (facts/DART.md 2, 7). What firmware
 * had set up is gone, its display too, unless the instance is locked. May sleep. The host routes
 * the instance's interrupt to gr_dart_isr(). Returns 0, GR_EINVAL (the configuration contradicts
 * itself or the registers), GR_EIO (parameters no DART has, or a stream that firmware had go as
 * another and that stays so), GR_EOPNOTSUPP (locked until reboot: its state belongs to firmware),
 * GR_ETIMEDOUT (it does not finish a TLB command). A refusal is logged in one sentence; the
 * hardware is untouched, but where a stream stays another or a command does not finish: that leaves
 * it blocked.
 */
GR_MUST_CHECK int gr_dart_init(struct gr_dart *dart, const struct gr_dart_config *config);

/* Block every stream and let go. Returns 0, or GR_EBUSY while a device names the instance. */
GR_MUST_CHECK int gr_dart_fini(struct gr_dart *dart);

/*
 * The interrupt handler: records the fault and acknowledges it. Returns false if this instance has
 * raised none (the line may be shared). Then call gr_fault_dispatch(&dart->inst), here or later.
 * Context: interrupt.
 */
bool gr_dart_isr(struct gr_dart *dart);

GR_END_DECLS

#endif
