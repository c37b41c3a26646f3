/* SPDX-License-Identifier: MIT */
/*
 * The machine as the scenarios use it: one SMMU at one granule, and behind it an NVMe controller, a
 * virtio disk and three edu devices, each with a domain of its own. The second has 28 address bits,
 * the third is not trusted.
 */
#ifndef QEMU_AARCH64_RIG_H
#define QEMU_AARCH64_RIG_H

#include <granule/dma.h>
#include <granule/drv/smmuv3.h>
#include <granule/dt.h>

#include "board.h"
#include "examples/drivers/edu.h"
#include "examples/drivers/nvme.h"
#include "examples/drivers/virtio_blk.h"
#include "pci.h"

#define FUNCTIONS 16u

/* What the device tree and the PCI bus say. */
struct machine {
    struct gr_range ram;
    uint64_t smmu; /* PA of its registers */
    uint64_t smmu_size;
    int smmu_node;
    struct pci_function functions[FUNCTIONS];
    struct gr_dt_master masters[FUNCTIONS]; /* of each function: streams and reserved IOVAs */
    unsigned function_count;
};

extern struct machine machine;

enum { EDU, EDU2, EDU3, NVME, DISK, MASTERS };

struct master {
    const char *name;
    const struct pci_function *fn;
    struct gr_stream stream;
    struct gr_device dev;
    struct gr_domain domain;
    unsigned intid;
    volatile unsigned interrupts;
    struct gr_seg doorbell_page; /* what is mapped for the doorbell */
    gr_iova_t doorbell;          /* MSI_DOORBELL as the device sees it */
};

struct rig {
    unsigned lg2;   /* of the granule */
    unsigned stage; /* of the SMMU's tables, 1 or 2 */
    uint64_t granule;
    struct gr_smmuv3 smmu;
    struct master masters[MASTERS];
    struct edu edu, edu2, edu3;
    struct gr_bounce bounce; /* for edu3 */
    struct nvme nvme;
    struct virtio_blk disk;
    /* See faults_expect(). */
    struct {
        uint32_t sid, reasons;
        struct gr_range iovas;
        bool any;
        volatile unsigned met, others;
    } faults;
};

/* The stage to ask an SMMU for that has both; 0 for an SMMU that has one: the driver finds it. */
static inline uint8_t rig_asks(unsigned stage)
{
    const uint32_t idr0 = mmio_read32((volatile void *)(uintptr_t)machine.smmu, 0);

    return (idr0 & 3) == 3 ? (uint8_t)stage : 0; /* S1P and S2P */
}

/* The IOVA bits of a rig: QEMU's stage 2 has one root only (docs/QEMU.md), 42 bits with 64 KiB. */
static inline uint8_t rig_va_bits(unsigned granule_lg2, unsigned stage)
{
    return granule_lg2 == 16 && stage == 2 ? 42 : 48;
}

/* Bring a rig up, or down. Returns NULL, or what went wrong, memory leaked by the rig included. */
const char *rig_up(struct rig *rig, unsigned granule_lg2, unsigned stage);
const char *rig_down(struct rig *rig);

/*
 * Move a device that has nothing mapped but its doorbell into another domain, or with NULL back to
 * its own. The doorbell is mapped there.
 */
GR_MUST_CHECK int rig_move(struct rig *rig, unsigned master, struct gr_domain *domain);

/* Make a device that has nothing mapped but its doorbell trusted or not, with a new domain. */
GR_MUST_CHECK int rig_trust(struct rig *rig, unsigned master, bool trusted);

/* Turn a rig's interrupts off, and leave everything else as it is. */
void rig_abandon(struct rig *rig);

/* `what` and the words for `err`; valid until the next call. */
const char *rig_error(const char *what, int err);

/*
 * From now on faults of this device in [iova, iova + len) for one of these reasons are expected,
 * and no other faults. faults_met() waits for an expected fault; true if there was one, and no
 * other fault. After it no fault is expected. One access may be many faults: QEMU reports every
 * four bytes.
 */
void faults_expect(struct rig *rig, unsigned master, gr_iova_t iova, uint64_t len,
                   uint32_t reasons);
bool faults_met(struct rig *rig);

/* Wait until the master has had more interrupts than `before`; false: none came. */
bool interrupt_came(struct rig *rig, unsigned master, unsigned before);

/* ---- walk.c: the tables as they lie in memory, found from the SMMU's registers ---- */

struct walk {
    uint64_t pa;
    uint64_t size;  /* bytes of the leaf */
    uint64_t entry; /* the leaf's PA */
    bool write;
    const char *bad; /* what is wrong with the tables that the walk read, or NULL */
};

/* Find what an IOVA of a stream is mapped to; false: to nothing. */
bool walk(const struct machine *machine, uint32_t sid, unsigned granule_lg2, uint64_t iova,
          struct walk *out);

/* Add up the bytes of all leaves of a stream and check each one; NULL or what is wrong. */
const char *walk_all(const struct machine *machine, uint32_t sid, unsigned granule_lg2,
                     uint64_t *out_bytes);

/* ---- scenarios.c ---- */

struct scenario {
    const char *name;
    const char *(*run)(struct rig *rig); /* NULL, or why it failed */
};

extern const struct scenario scenarios[];
extern const unsigned scenario_count;
const char *left_on(unsigned granule_lg2, unsigned stage);
const char *two_roots(unsigned granule_lg2);
const char *bench(struct rig *rig);
const char *demo(struct rig *rig);
void scenarios_seed(uint32_t seed);

#endif
