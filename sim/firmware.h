/* SPDX-License-Identifier: MIT */
/*
 * What firmware leaves in the models before the library comes (`granule,firmware` of an IOMMU), and
 * the devices that go on using it: a display that scans its frame buffer out, a coprocessor that
 * runs from its memory. They look whenever hardware could: after every store to a table and around
 * every access to a register, or on a thread of their own. Written from DART.md 2 to 4 and 9;
 * nothing of the library is used.
 */
#ifndef SIM_FIRMWARE_H
#define SIM_FIRMWARE_H

#include "machine.h"

/* Memory that firmware mapped in one stream. */
struct sim_scan {
    struct sim_iommu *iommu;
    const struct sim_device *device;
    uint32_t sid;
    gr_iova_t iova; /* whole granules */
    gr_pa_t pa;
    uint64_t pages;
    uint64_t *seen; /* entries that were right when last looked at, one a page */
};

struct sim_firmware_table {
    struct sim_iommu *iommu;
    gr_pa_t pa;
    uint64_t *copy; /* of what it held when firmware was done */
};

/* Fill registers and tables of every model whose node asks for it. False: no memory. */
bool sim_firmware_boot(struct sim_machine *m);

/* A moment: every translation by the tables alone, and one through the IOMMU. */
void sim_firmware_look(struct sim_machine *m);

/*
 * The same on a thread of its own, at any time instead of at moments, where the options ask for it.
 * False: no thread. It has looked at everything before the one returns, and after the other came.
 */
bool sim_firmware_start_display(struct sim_machine *m);
void sim_firmware_stop_display(struct sim_machine *m);

/* Every translation, and, with `down`, is all of it back as it was? */
void sim_firmware_check(struct sim_machine *m, bool down);

void sim_firmware_free(struct sim_machine *m);

/* What each IOMMU's streams were found with, once the devices have their domains. */
void sim_firmware_note_adoption(struct sim_machine *m);

/* Is `iova` firmware's, or of a region, for a domain's devices, and where does it lead? */
bool sim_firmware_leads(const struct sim_machine *m, const struct gr_domain *domain, gr_iova_t iova,
                        gr_pa_t *out_pa);

#endif
