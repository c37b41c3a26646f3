/* SPDX-License-Identifier: MIT */
/*
 * The hardware of one IOMMU: a model of whatever kind the tree names, behind one face. The library
 * accesses the registers through sim_hw_mmio(). Hardware may look at the tables around each such
 * access, so hooks of the bus are called then.
 */
#ifndef SIM_HW_H
#define SIM_HW_H

#include "rng.h"

#include <granule/drv/dart.h>
#include <granule/dt.h>
#include <host.h>
#include <host_dart.h>
#include <host_smmuv3.h>

#include <pthread.h>

/* What the models of a machine share. A model takes one access at a time: hence the lock. */
struct sim_bus {
    struct host *host;
    pthread_mutex_t lock;
    void (*before_read)(void *arg); /* before the library reads a register; without the lock */
    void (*after_write)(void *arg); /* after the library writes a register of 32 bits */
    void *arg;
};

/* These cannot fail. */
void sim_bus_lock(struct sim_bus *bus);
void sim_bus_unlock(struct sim_bus *bus);

/* How the models, the drivers and the walker name one kind of IOMMU. */
struct sim_hw_kind {
    const char *compatible;
    bool smmu; /* an SMMUv3, else a DART, whose names follow */
    enum dart_model_kind model;
    enum gr_dart_kind driver;
};

/* NULL: there is no model of it. */
const struct sim_hw_kind *sim_hw_kind(enum gr_dt_driver driver);

struct sim_hw {
    const struct gr_dt_iommu *tree;
    struct sim_bus *bus;
    /* At most one of the two has a model. */
    struct host_dart dart;
    struct host_smmuv3 smmu;
};

/*
 * Make the model that `tree` describes; the tree must outlive it. `rng` decides what the tree
 * leaves open. With `watch_reuse` the model counts as misuse that a page is used again while a
 * stale translation of it may be cached. False, with a sentence in `reason`: there is no such
 * model, and of the calls below only sim_hw_fini(), sim_hw_compatible(), sim_hw_stats() and
 * sim_hw_size() may be made.
 */
bool sim_hw_init(struct sim_hw *hw, struct sim_bus *bus, const struct gr_dt_iommu *tree,
                 struct sim_rng *rng, bool watch_reuse, char *reason, size_t room);
void sim_hw_fini(struct sim_hw *hw);

/*
 * The `compatible` string that tells how to read the tables, wherever in the tree's list it stands.
 */
const char *sim_hw_compatible(const struct sim_hw *hw);

/* The registers, for the library's driver. */
gr_mmio_t sim_hw_mmio(struct sim_hw *hw);

/* What a model of any kind counts; without a model all is 0. */
struct sim_hw_stats {
    uint64_t hits, misses, fetches, invalidations;
    uint64_t misuse; /* of the hardware by the library */
};

struct sim_hw_stats sim_hw_stats(const struct sim_hw *hw);

/* Bytes of registers. */
uint32_t sim_hw_size(const struct sim_hw *hw);

/* The models' calls of these names. Each locks the bus. */
uint32_t sim_hw_read32(struct sim_hw *hw, uint32_t offset);
void sim_hw_prefetch(struct sim_hw *hw, uint32_t sid, gr_iova_t iova);
enum model_result sim_hw_translate(struct sim_hw *hw, uint32_t sid, gr_iova_t iova, bool write,
                                   uint64_t len, gr_pa_t *out_pa);
enum model_result sim_hw_access(struct sim_hw *hw, uint32_t sid, gr_iova_t iova, void *buf,
                                uint64_t len, bool write, bool coherent, uint64_t *done);

#endif
