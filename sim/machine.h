/* SPDX-License-Identifier: MIT */
/*
 * The machine that a device tree describes, brought up: memory, a model and a driver for every
 * enabled IOMMU, a device and a domain for every master behind one. An IOMMU or device that cannot
 * work does not fail the machine: it carries a reason, and the rest runs. Everything is
 * deterministic from the seed.
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
#define SIM_MAX 256u /* IOMMUs at most, and devices */

/* How to bring the machine up: the command's options. */
struct sim_options {
    unsigned cpu_page;
    uint64_t seed;
    bool untrusted;              /* every device is hostile, whatever the tree says */
    enum gr_isolation isolation; /* of every device */
    enum gr_domain_type mode;    /* of devices whose node names none; 0: any */
    uint32_t access_unit;        /* of every device; 0: what the tree says */
    bool deferred;               /* invalidations */
    enum gr_adopt adopt;         /* of every device; REPLACE where nothing is locked */
    bool scanout_thread;         /* firmware's displays run on a thread of their own */
};

struct sim_machine;

#define SIM_SAVED 0x800u /* registers of 32 bits from 0 on whose values are kept */

/* What the library made of firmware's state in an IOMMU, and what firmware's devices saw. */
struct sim_firmware {
    enum gr_adopt policy; /* 0: no device of the IOMMU has a domain */
    const char *reason;
    uint64_t adopted;        /* leaves adopted */
    uint64_t changed;        /* times that a translation was looked up and absent or wrong */
    uint64_t scanout_faults; /* accesses that were refused */
    bool changed_at_end;     /* a table or register was not put back */
};

struct sim_iommu {
    struct gr_dt_iommu tree;
    struct sim_machine *machine;
    struct sim_hw hw;
    struct gr_dart dart; /* set up if `up` */
    struct gr_smmuv3 smmu;
    struct gr_instance *inst; /* the driver's. Copies of what it says, which outlive the driver: */
    struct gr_range aperture;
    uint64_t granule; /* bytes */
    uint32_t streams;
    bool locked;
    struct sim_firmware firmware;
    uint32_t saved[SIM_SAVED]; /* registers as firmware left them */
    bool up;                   /* a driver runs it */
    char reason[SIM_REASON];   /* why the IOMMU is not up, or "" */
};

struct sim_device {
    struct gr_dt_master tree;
    struct sim_iommu *iommu[GR_DT_STREAMS]; /* of each stream */
    struct gr_stream streams[GR_DT_STREAMS];
    struct gr_range reserved[GR_DT_RESERVED + 1];
    struct gr_region regions[GR_DT_REGIONS];
    struct gr_device device;  /* set up if `registered` */
    struct gr_domain domain;  /* set up if `owns_domain`: one device of each group */
    struct gr_domain *active; /* the domain of the device's DMA; NULL: blocked */
    enum gr_domain_type mode; /* of `active`, or BLOCKED */
    /* How bytes beside its buffers are kept from the device; DEFAULT: no mapping needs it. */
    enum gr_isolation isolation;
    bool registered;
    bool owns_domain;
    bool untrusted;          /* or its group has an untrusted device */
    bool failed;             /* blocked, though policy gave it another domain */
    char reason[SIM_REASON]; /* why the device has that mode */
};

/* A fault record as it was delivered. */
struct sim_fault {
    struct gr_fault fault;
    struct gr_domain *domain; /* the domain whose handler got it; NULL: the instance's did */
};

#define SIM_FAULTS 32
#define SIM_PROBLEMS 8

struct sim_machine {
    struct sim_board *board;
    struct sim_options options;
    uint64_t ram;             /* bytes */
    struct gr_range ram_span; /* from the first bank to the last, with the gaps */
    struct gr_range banks[HOST_MAX_BANKS];
    unsigned nbanks;
    struct gr_range holes[HOST_MAX_RESERVED]; /* RAM that the tree reserves */
    unsigned nholes;
    struct host *host;
    struct gr_bounce pool; /* shared by all domains; set up if `has_pool` */
    bool has_pool;
    struct gr_bounce_stats bounced; /* the pool's last figures, once the machine is down */
    struct sim_rng rng;             /* for what models do by chance */
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
    uint64_t scanouts; /* rounds of the display's thread */
    /* Since the last sim_drop_faults(). */
    struct sim_fault faults[SIM_FAULTS];
    unsigned nfaults;
    uint64_t lost_faults;
    uint64_t stuck_irqs; /* interrupts whose line stayed up after the handler */
    /* Sentences about problems that no counter covers. */
    char problems[SIM_PROBLEMS][SIM_REASON];
    unsigned nproblems; /* also those that are not kept */
};

/*
 * Bring a machine up. On false nothing is left, and `error` says what is wrong with tree or
 * options.
 */
bool sim_machine_up(struct sim_machine *m, struct sim_board *board,
                    const struct sim_options *options, struct sim_error *error);

/* "translated", "linear", "identity", "blocked" */
const char *sim_mode_name(enum gr_domain_type mode);

/* "window", "bounce", "expose", "none" */
const char *sim_isolation_name(const struct sim_device *dev);

/* LINEAR or IDENTITY: IOVA and PA differ by a constant. */
bool sim_is_direct(const struct sim_device *dev);

/* Take every device out of its domain and free the domains. Nothing may be mapped. */
void sim_machine_detach(struct sim_machine *m);

/* After sim_machine_detach(): take drivers and devices down. Models and host live on for reports.
 */
void sim_machine_down(struct sim_machine *m);

/* Pages that were not freed: the library's and those of test buffers. */
uint64_t sim_machine_leaks(const struct sim_machine *m);

/* Times that the library misused host or hardware. */
uint64_t sim_machine_misuse(const struct sim_machine *m);

void sim_machine_free(struct sim_machine *m);

/*
 * An access by a device through one of its streams. The bus refuses what is outside the stream's
 * window and the bus's limits, in a window of the host bridge, or at the MSI doorbell. Interrupts
 * are served before the call returns. *done counts the bytes completed.
 */
enum model_result sim_access(struct sim_device *dev, unsigned stream, gr_iova_t iova, void *buf,
                             uint64_t len, bool write, uint64_t *done);

/* The same without the bus, straight at the IOMMU. */
enum model_result sim_access_raw(struct sim_device *dev, unsigned stream, gr_iova_t iova, void *buf,
                                 uint64_t len, bool write, uint64_t *done);

/*
 * Call `fn` whenever the library stores to a table or reads a register of an IOMMU: at such moments
 * hardware may look at the tables. `fn` may use the models, not the library. NULL: call nothing.
 */
void sim_machine_observe(struct sim_machine *m, void (*fn)(void *arg), void *arg);

/* Can a device read what is mapped for writes only? Some formats have no write-only leaves. */
bool sim_reads_all(const struct sim_device *dev);

/* Run the interrupt handler while the line is up, and deliver the faults. */
void sim_serve_irq(struct sim_iommu *iommu);

void sim_drop_faults(struct sim_machine *m);

/* Note a sentence about something wrong that has no counter. */
__attribute__((format(printf, 2, 3))) void sim_problem(struct sim_machine *m, const char *format,
                                                       ...);

#endif
