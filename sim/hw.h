/* SPDX-License-Identifier: MIT */
/*
 * The hardware of one IOMMU: a model of whatever kind a tree names, behind one face. The library
 * finds its registers in sim_hw_mmio(); tables may be looked at by hardware around each access to
 * these, and then the bus calls whoever observes it.
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

/* What the models of a machine share. They take one access at a time, and so it has a lock. */
struct sim_bus {
    struct host *host;
    pthread_mutex_t lock;
    void (*before_read)(void *arg); /* of a register by the library; not under the lock */
    void (*after_write)(void *arg); /* of 32 bits */
    void *arg;
};

/* Neither of them fails. */
void sim_bus_lock(struct sim_bus *bus);
void sim_bus_unlock(struct sim_bus *bus);

/* How the models, the drivers and the walker name one kind of IOMMU. */
struct sim_hw_kind {
    const char *compatible;
    bool smmu; /* else a DART: */
    enum dart_model_kind model;
    enum gr_dart_kind driver;
};

/* NULL: there is no model of it. */
const struct sim_hw_kind *sim_hw_kind(enum gr_dt_driver driver);

struct sim_hw {
    const struct gr_dt_iommu *tree;
    struct sim_bus *bus;
    /* One of the two has a model, or with sim_hw_kind() NULL none. */
    struct host_dart dart;
    struct host_smmuv3 smmu;
};

/*
 * Make the model that `tree` describes, which stays where it is. What a tree leaves open `rng`
 * decides. `watch_reuse`: is a page that is used again while a stale entry leads there misuse?
 * False, with a sentence in `reason`: there is no such model, and the calls below must not be made
 * but for sim_hw_fini(), sim_hw_stats() and sim_hw_size().
 */
bool sim_hw_init(struct sim_hw *hw, struct sim_bus *bus, const struct gr_dt_iommu *tree,
                 struct sim_rng *rng, bool watch_reuse, char *reason, size_t room);
void sim_hw_fini(struct sim_hw *hw);

/* What tells how to read its tables: the string that its driver was found by, wherever it stands.
 */
const char *sim_hw_compatible(const struct sim_hw *hw);

/* For the library. */
gr_mmio_t sim_hw_mmio(struct sim_hw *hw);

/* What a model counts, whatever it is of; without one all is 0. */
struct sim_hw_stats {
    uint64_t hits, misses, fetches, invalidations;
    uint64_t misuse; /* by the library, of the hardware */
};

struct sim_hw_stats sim_hw_stats(const struct sim_hw *hw);

/* Bytes of registers. */
uint32_t sim_hw_size(const struct sim_hw *hw);

/* The models' calls of these names; each takes the bus for itself. */
uint32_t sim_hw_read32(struct sim_hw *hw, uint32_t offset);
void sim_hw_prefetch(struct sim_hw *hw, uint32_t sid, gr_iova_t iova);
enum model_result sim_hw_translate(struct sim_hw *hw, uint32_t sid, gr_iova_t iova, bool write,
                                   uint64_t len, gr_pa_t *out_pa);
enum model_result sim_hw_access(struct sim_hw *hw, uint32_t sid, gr_iova_t iova, void *buf,
                                uint64_t len, bool write, bool coherent, uint64_t *done);

#endif
