/* SPDX-License-Identifier: MIT */
/*
 * What firmware leaves in the models before the library starts (`granule,firmware` of an IOMMU),
 * and the devices that go on using firmware's mappings: a display that scans its frame buffer out,
 * a coprocessor that runs from its memory. They look at the tables whenever hardware could: after
 * every store to a table and around every access to a register, or on a thread of their own.
 * Written from DART.md 2 to 4 and 9; nothing of the library is used.
 */
#ifndef SIM_FIRMWARE_H
#define SIM_FIRMWARE_H

#include "machine.h"

/* One range that firmware mapped in one stream. */
struct sim_scan {
    struct sim_iommu *iommu;
    const struct sim_device *device;
    uint32_t sid;
    gr_iova_t iova; /* whole granules */
    gr_pa_t pa;
    uint64_t pages;
    uint64_t *seen; /* one entry a page: as it was when it was last right */
};

struct sim_firmware_table {
    struct sim_iommu *iommu;
    gr_pa_t pa;
    uint64_t *copy; /* the table's content when firmware was done */
};

/* Fill registers and tables of every model whose node asks for it. False: no memory. */
bool sim_firmware_boot(struct sim_machine *m);

/* Look at every translation by the tables alone, and at one through the IOMMU. */
void sim_firmware_look(struct sim_machine *m);

/*
 * Start and stop a thread that looks all the time, where the options ask for it;
 * sim_firmware_look() does nothing then. False: no thread. The thread has looked at everything
 * before the first call returns, and once more after the second is made.
 */
bool sim_firmware_start_display(struct sim_machine *m);
void sim_firmware_stop_display(struct sim_machine *m);

/*
 * Look at every translation both ways and, with `down`, note whether tables and registers are
 * restored.
 */
void sim_firmware_check(struct sim_machine *m, bool down);

void sim_firmware_free(struct sim_machine *m);

/* Once the devices have their domains: note what the library adopted of each IOMMU's streams. */
void sim_firmware_note_adoption(struct sim_machine *m);

/*
 * Does firmware, or a region of the tree, map `iova` for a device of the domain, and to which
 * address?
 */
bool sim_firmware_leads(const struct sim_machine *m, const struct gr_domain *domain, gr_iova_t iova,
                        gr_pa_t *out_pa);

#endif
