/* SPDX-License-Identifier: MIT */
/*
 * What every hardware model needs from the machine it is part of.
 *
 * A model is a device written from documents alone: it shares no header, no number and no code with
 * the library under test. The machine (a test, the command line) fills in a struct model_host,
 * wires the model's registers to its MMIO and the model's accesses to its memory.
 *
 * Models are hosted C11, single-threaded and deterministic: time, memory and chance come from the
 * host only. Callbacks must not call back into the model that calls them, irq() excepted, which may
 * read registers.
 */
#ifndef MODELS_MODEL_H
#define MODELS_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct model_host {
    /* Passed to every callback. */
    void *opaque;

    /*
     * Fetch one 64-bit page-table word at physical address `pa` (8-aligned), in the CPU's byte
     * order, as the walker sees memory: the device-visible copy. False: nothing answers there, or
     * the host alarms (freed or poisoned table).
     */
    bool (*table_read64)(void *opaque, uint64_t pa, uint64_t *out);

    /*
     * The device's access after translation. `coherent`: through the CPU's caches. False: refused
     * (memory hole, PCI window, freed page).
     */
    bool (*mem_read)(void *opaque, uint64_t pa, void *buf, size_t len, bool coherent);
    bool (*mem_write)(void *opaque, uint64_t pa, const void *buf, size_t len, bool coherent);

    /* Virtual time, monotonic. */
    uint64_t (*now_ns)(void *opaque);

    /* The interrupt line of the instance that was made with `cookie` changed. NULL: not wired. */
    void (*irq)(void *opaque, void *cookie, bool level);

    /* Decides prefetches and random replacement. NULL: no prefetch, replacement is LRU. */
    uint32_t (*random)(void *opaque);
};

enum model_result {
    MODEL_OK,
    MODEL_FAULT,     /* refused by the IOMMU */
    MODEL_BUS_ERROR, /* refused elsewhere: memory hole, PCI window, power off, unreadable table */
    MODEL_STALLED,   /* the IOMMU is busy: let virtual time pass and retry from `done` */
};

#endif
