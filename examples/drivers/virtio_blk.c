/* SPDX-License-Identifier: MIT */
#include "virtio_blk.h"

/* The common configuration (4.1.4.3). */
#define FEATURE_SELECT 0u
#define FEATURE 4u
#define DRIVER_SELECT 8u
#define DRIVER_FEATURE 12u
#define STATUS 20u
#define QUEUE_SELECT 22u
#define QUEUE_SIZE 24u
#define QUEUE_VECTOR 26u
#define QUEUE_ENABLE 28u
#define QUEUE_NOTIFY 30u
#define QUEUE_DESC 32u
#define QUEUE_AVAIL 40u
#define QUEUE_USED 48u

#define ACKNOWLEDGE 1u
#define DRIVER 2u
#define DRIVER_OK 4u
#define FEATURES_OK 8u

/* Features 32 and up (6). */
#define VERSION_1 1u
#define ACCESS_PLATFORM 2u

#define CAP_VENDOR 0x09u
#define CFG_COMMON 1u
#define CFG_NOTIFY 2u
#define CFG_DEVICE 4u

#define DESC_NEXT 1u
#define DESC_WRITE 2u

#define TIMEOUT_NS 60000000000u

struct virtio_blk_memory {
    struct {
        uint64_t addr;
        uint32_t len;
        uint16_t flags, next;
    } desc[VIRTIO_BLK_ENTRIES];
    struct {
        uint16_t flags, index, ring[VIRTIO_BLK_ENTRIES], event;
    } avail;
    struct {
        uint16_t flags, index;
        struct {
            uint32_t id, len;
        } ring[VIRTIO_BLK_ENTRIES];
        uint16_t event;
    } used __attribute__((aligned(4)));
    struct {
        uint32_t type, reserved;
        uint64_t sector;
    } head __attribute__((aligned(16)));
    uint8_t status;
};

/* The structure of this kind: where it is, and in *out_cap its capability (4.1.4). */
static volatile void *find(const struct pci_function *fn, unsigned kind, unsigned *out_cap)
{
    unsigned at = pci_read(fn, 0x34) & 0xfc;

    for (unsigned i = 0; at && i < 48; i++) {
        uint32_t head = pci_read(fn, at);

        if ((head & 0xff) == CAP_VENDOR && head >> 24 == kind) {
            volatile uint8_t *bar = pci_bar(fn, pci_read(fn, at + 4) & 0xff);

            *out_cap = at;
            return bar ? bar + pci_read(fn, at + 8) : NULL;
        }
        at = head >> 8 & 0xfc;
    }
    return NULL;
}

static int reset(struct virtio_blk *blk)
{
    uint64_t end = gr_port_now_ns(blk->env) + TIMEOUT_NS;

    mmio_write8(blk->common, STATUS, 0);
    while (mmio_read8(blk->common, STATUS)) {
        if (gr_port_now_ns(blk->env) > end)
            return GR_ETIMEDOUT;
        gr_port_relax(blk->env);
    }
    return 0;
}

static int agree_on_features(struct virtio_blk *blk)
{
    mmio_write8(blk->common, STATUS, ACKNOWLEDGE);
    mmio_write8(blk->common, STATUS, ACKNOWLEDGE | DRIVER);
    mmio_write32(blk->common, FEATURE_SELECT, 1);
    if (~mmio_read32(blk->common, FEATURE) & (VERSION_1 | ACCESS_PLATFORM))
        return GR_ENODEV; /* an old one, or one that the IOMMU does not translate */
    mmio_write32(blk->common, DRIVER_SELECT, 0);
    mmio_write32(blk->common, DRIVER_FEATURE, 0);
    mmio_write32(blk->common, DRIVER_SELECT, 1);
    mmio_write32(blk->common, DRIVER_FEATURE, VERSION_1 | ACCESS_PLATFORM);
    mmio_write8(blk->common, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    return mmio_read8(blk->common, STATUS) & FEATURES_OK ? 0 : GR_EIO;
}

static void write_address(struct virtio_blk *blk, unsigned offset, size_t at)
{
    uint64_t iova = blk->memory_iova + at;

    mmio_write32(blk->common, offset, (uint32_t)iova);
    mmio_write32(blk->common, offset + 4, (uint32_t)(iova >> 32));
}

static int start_queue(struct virtio_blk *blk)
{
    mmio_write16(blk->common, QUEUE_SELECT, 0);
    if (mmio_read16(blk->common, QUEUE_SIZE) < VIRTIO_BLK_ENTRIES)
        return GR_ENODEV;
    mmio_write16(blk->common, QUEUE_SIZE, VIRTIO_BLK_ENTRIES);
    mmio_write16(blk->common, QUEUE_VECTOR, 0);
    write_address(blk, QUEUE_DESC, offsetof(struct virtio_blk_memory, desc));
    write_address(blk, QUEUE_AVAIL, offsetof(struct virtio_blk_memory, avail));
    write_address(blk, QUEUE_USED, offsetof(struct virtio_blk_memory, used));
    mmio_write16(blk->common, QUEUE_ENABLE, 1);
    mmio_write8(blk->common, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    return 0;
}

int virtio_blk_init(struct virtio_blk *blk, gr_env_t env, const struct pci_function *fn,
                    struct gr_device *dma)
{
    volatile void *config;
    unsigned cap = 0;
    void *memory;
    int err, undo;

    __builtin_memset(blk, 0, sizeof(*blk));
    blk->env = env;
    blk->dma = dma;
    config = find(fn, CFG_DEVICE, &cap);
    blk->common = find(fn, CFG_COMMON, &cap);
    blk->notify = find(fn, CFG_NOTIFY, &cap);
    if (!config || !blk->common || !blk->notify)
        return GR_ENODEV;
    pci_enable(fn, true);
    err = reset(blk);
    err = err ? err : agree_on_features(blk);
    err = err ? err : gr_dma_alloc(dma, sizeof(*blk->memory), 0, &memory, &blk->memory_iova);
    if (err)
        return err;
    blk->memory = memory;
    err = start_queue(blk);
    if (err) {
        undo = virtio_blk_fini(blk);
        return undo ? undo : err;
    }
    blk->sectors = mmio_read32(config, 0) | (uint64_t)mmio_read32(config, 4) << 32;
    mmio_write16(blk->common, QUEUE_SELECT, 0);
    blk->notify = (volatile uint8_t *)blk->notify +
                  mmio_read16(blk->common, QUEUE_NOTIFY) * pci_read(fn, cap + 16);
    return 0;
}

int virtio_blk_fini(struct virtio_blk *blk)
{
    int err = reset(blk);

    if (err) /* it may still use its memory */
        return err;
    err = gr_dma_free(blk->dma, sizeof(*blk->memory), 0, blk->memory, blk->memory_iova);
    blk->memory = NULL;
    return err;
}

static void put(struct virtio_blk *blk, unsigned i, gr_iova_t addr, uint64_t len, unsigned flags)
{
    blk->memory->desc[i].addr = addr;
    blk->memory->desc[i].len = (uint32_t)len;
    blk->memory->desc[i].flags = (uint16_t)flags;
    blk->memory->desc[i].next = (uint16_t)(i + 1);
}

/* One request is in flight, so its chain always begins at descriptor 0 (2.6). */
static int execute(struct virtio_blk *blk)
{
    struct virtio_blk_memory *memory = blk->memory;
    uint64_t end = gr_port_now_ns(blk->env) + TIMEOUT_NS;

    memory->avail.ring[memory->avail.index % VIRTIO_BLK_ENTRIES] = 0;
    gr_port_wmb(); /* the chain and the data, before the index */
    *(volatile uint16_t *)&memory->avail.index = (uint16_t)(memory->avail.index + 1);
    gr_port_wmb(); /* the index, before the device is told */
    mmio_write16(blk->notify, 0, 0);
    while (*(volatile uint16_t *)&memory->used.index == blk->seen) {
        if (gr_port_now_ns(blk->env) > end)
            return GR_ETIMEDOUT;
        gr_port_relax(blk->env);
    }
    gr_port_rmb(); /* status and data, after the index */
    blk->seen++;
    return memory->status ? GR_EIO : 0;
}

int virtio_blk_rw(struct virtio_blk *blk, bool write, uint64_t sector, const struct gr_seg *segs,
                  unsigned count)
{
    const enum gr_dma_dir dir = write ? GR_DMA_TO_DEVICE : GR_DMA_FROM_DEVICE;
    struct gr_dma_list list = {.segs = segs, .count = count, .out = blk->out};
    struct virtio_blk_memory *memory = blk->memory;
    unsigned n = 0;
    int err, undo;

    if (count > VIRTIO_BLK_SEGMENTS)
        return GR_EMSGSIZE;
    err = gr_dma_map_sg(blk->dma, &list, dir, 0);
    if (err)
        return err;
    memory->head.type = write; /* VIRTIO_BLK_T_IN 0, VIRTIO_BLK_T_OUT 1 */
    memory->head.sector = sector;
    memory->status = 0xff;
    put(blk, n++, blk->memory_iova + offsetof(struct virtio_blk_memory, head), 16, DESC_NEXT);
    for (unsigned i = 0; i < list.out_count; i++)
        put(blk, n++, list.out[i].iova, list.out[i].len, DESC_NEXT | (write ? 0 : DESC_WRITE));
    put(blk, n, blk->memory_iova + offsetof(struct virtio_blk_memory, status), 1, DESC_WRITE);
    err = execute(blk);
    undo = gr_dma_unmap_sg(blk->dma, &list, dir, 0);
    return err ? err : undo;
}
