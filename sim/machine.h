/* SPDX-License-Identifier: MIT */
/*
 * The machine that a device tree describes, brought up: memory, a model and a driver for every
 * enabled IOMMU, a device and a domain for every master behind one.
 *
 * What cannot work is not an error of bringing up: the IOMMU or the device carries a reason, and
 * the rest of the machine runs. Everything is deterministic from the seed.
 */
#ifndef SIM_MACHINE_H
#define SIM_MACHINE_H

#include "board.h"
#include "error.h"
#include "hw.h"
#include "rng.h"

#include <granule/dt.h>
#include <granule/granule.h>
#include <host.h>

#include <pthread.h>

#define SIM_REASON 256
#define SIM_MAX 256u /* of IOMMUs, and of devices */

/* What the command's options say. */
struct sim_options {
    unsigned cpu_page;
    uint64_t seed;
    bool untrusted;              /* every device is hostile, whatever the tree says */
    enum gr_isolation isolation; /* of every device */
    enum gr_domain_type mode;    /* of devices of which the tree says nothing; 0: any */
    uint32_t access_unit;        /* of every device; 0: what the tree says */
    bool deferred;               /* invalidations */
    enum gr_adopt adopt;         /* of every device; REPLACE where nothing is locked */
    bool scanout_thread;         /* firmware's displays wait for nobody */
};

struct sim_machine;

#define SIM_SAVED 0x800u /* registers from 0 on that firmware's state is kept of */

/* What firmware left of an IOMMU, and how that fared. */
struct sim_firmware {
    enum gr_adopt policy; /* 0: no device of it has a domain */
    const char *reason;
    uint64_t adopted;        /* leaves */
    uint64_t changed;        /* looks at a translation that was absent or another */
    uint64_t scanout_faults; /* accesses that were refused */
    bool changed_at_end;     /* a table or register was not put back */
};

struct sim_iommu {
    struct gr_dt_iommu tree;
    struct sim_machine *machine;
    struct sim_hw hw;
    struct gr_dart dart; /* set up if `up` */
    struct gr_smmuv3 smmu;
    struct gr_instance *inst; /* of the driver; and what it said of itself, which stays: */
    struct gr_range aperture;
    uint64_t granule; /* bytes */
    uint32_t streams;
    bool locked;
    struct sim_firmware firmware;
    uint32_t saved[SIM_SAVED]; /* as firmware left them */
    bool up;                   /* the driver has it */
    char reason[SIM_REASON];   /* why it is not up, or "" */
};

struct sim_device {
    struct gr_dt_master tree;
    struct sim_iommu *iommu[GR_DT_STREAMS]; /* of each stream */
    struct gr_stream streams[GR_DT_STREAMS];
    struct gr_range reserved[GR_DT_RESERVED + 1];
    struct gr_region regions[GR_DT_REGIONS];
    struct gr_device device;  /* set up if `registered` */
    struct gr_domain domain;  /* set up if `owns_domain`; a group has one */
    struct gr_domain *active; /* what its DMA goes through; NULL: blocked */
    enum gr_domain_type mode; /* of `active`, or BLOCKED */
    /* What its buffers leave of their granules is closed off like that; DEFAULT: not at all. */
    enum gr_isolation isolation;
    bool registered;
    bool owns_domain;
    bool untrusted;          /* or in a group with one that is */
    bool failed;             /* blocked, though policy gave it another domain */
    char reason[SIM_REASON]; /* of its mode */
};

/* A fault record as it arrived. */
struct sim_fault {
    struct gr_fault fault;
    struct gr_domain *domain; /* whose handler got it; NULL: the instance's */
};

#define SIM_FAULTS 32
#define SIM_PROBLEMS 8

struct sim_machine {
    struct sim_board *board;
    struct sim_options options;
    uint64_t ram;             /* bytes */
    struct gr_range ram_span; /* all banks, and what is between them */
    struct gr_range banks[HOST_MAX_BANKS];
    unsigned nbanks;
    struct gr_range holes[HOST_MAX_RESERVED]; /* RAM that is not ours */
    unsigned nholes;
    struct host *host;
    struct gr_bounce pool; /* of all domains; set up if `has_pool` */
    bool has_pool;
    struct gr_bounce_stats bounced; /* once it is down: what became of it */
    struct sim_rng rng;             /* what the hardware does by chance */
    void (*observer)(void *arg);
    void *observer_arg;
    struct sim_iommu *iommus;
    unsigned niommus;
    struct sim_device *devices;
    unsigned ndevices;
    struct sim_scan *scans; /* firmware.h */
    unsigned nscans;
    struct sim_firmware_table *firmware_tables;
    unsigned nfirmware_tables;
    struct sim_rng scan_rng;
    bool in_look;
    struct sim_bus bus;
    pthread_t scanout;
    bool scanning;
    bool scanout_stop;
    uint64_t scanouts; /* times that all was looked at */
    /* Since the last sim_drop_faults(). */
    struct sim_fault faults[SIM_FAULTS];
    unsigned nfaults;
    uint64_t lost_faults;
    uint64_t stuck_irqs; /* interrupts that the handler did not acknowledge */
    /* Sentences about what no counter covers. */
    char problems[SIM_PROBLEMS][SIM_REASON];
    unsigned nproblems; /* all of them, also those that are not kept */
};

/* Bring it up. On false nothing is left and `error` says what is wrong with the tree or options. */
bool sim_machine_up(struct sim_machine *m, struct sim_board *board,
                    const struct sim_options *options, struct sim_error *error);

/* "translated", "linear", "identity", "blocked" */
const char *sim_mode_name(enum gr_domain_type mode);

/* "window", "bounce", "expose", "none" */
const char *sim_isolation_name(const struct sim_device *dev);

/* LINEAR or IDENTITY: an address is the memory's, but for a constant. */
bool sim_is_direct(const struct sim_device *dev);

/* Take every device out of its domain and free the domains. Nothing may be mapped. */
void sim_machine_detach(struct sim_machine *m);

/* After sim_machine_detach(): take drivers and devices down. Models and host live on for reports.
 */
void sim_machine_down(struct sim_machine *m);

/* Pages that the library has not freed, and then those of test buffers. */
uint64_t sim_machine_leaks(const struct sim_machine *m);

/* Times that the library misused host or hardware. */
uint64_t sim_machine_misuse(const struct sim_machine *m);

void sim_machine_free(struct sim_machine *m);

/*
 * An access by a device through one of its streams, as the bus lets it through: not what is outside
 * the stream's window and the bus's limits, nor what a window of its host bridge or the MSI
 * doorbell takes. Interrupts are served before it returns. *done counts the bytes completed.
 */
enum model_result sim_access(struct sim_device *dev, unsigned stream, gr_iova_t iova, void *buf,
                             uint64_t len, bool write, uint64_t *done);

/* The same, straight at the IOMMU. */
enum model_result sim_access_raw(struct sim_device *dev, unsigned stream, gr_iova_t iova, void *buf,
                                 uint64_t len, bool write, uint64_t *done);

/*
 * Call `fn` whenever the library stores to a table or reads a register of an IOMMU: moments at
 * which the hardware may look at the tables. It may use the models, not the library. NULL for none.
 */
void sim_machine_observe(struct sim_machine *m, void (*fn)(void *arg), void *arg);

/* Can a device read what is mapped for its writes only? Some formats have no such leaves. */
bool sim_reads_all(const struct sim_device *dev);

/* Run the interrupt handler while the line is up, and deliver what it recorded. */
void sim_serve_irq(struct sim_iommu *iommu);

void sim_drop_faults(struct sim_machine *m);

/* Note a sentence about something wrong that has no counter. */
__attribute__((format(printf, 2, 3))) void sim_problem(struct sim_machine *m, const char *format,
                                                       ...);

#endif
