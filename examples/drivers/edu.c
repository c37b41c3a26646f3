/* SPDX-License-Identifier: MIT */
#include "edu.h"

#define ID 0x00u
#define IRQ_STATUS 0x24u
#define IRQ_RAISE 0x60u
#define IRQ_ACK 0x64u
#define DMA_SOURCE 0x80u
#define DMA_TARGET 0x88u
#define DMA_COUNT 0x90u
#define DMA_COMMAND 0x98u
#define DMA_RUN 1u
#define DMA_TO_HOST 2u

#define MEMORY 0x40000u
#define TIMEOUT_NS 10000000000u

int edu_init(struct edu *edu, gr_env_t env, const struct pci_function *fn)
{
    edu->env = env;
    edu->regs = pci_bar(fn, 0);
    if (!edu->regs)
        return GR_ENODEV;
    pci_enable(fn, true);
    return (mmio_read32(edu->regs, ID) & 0xffff) == 0x00ed ? 0 : GR_ENODEV;
}

static int transfer(struct edu *edu, uint64_t source, uint64_t target, uint32_t len,
                    uint64_t command)
{
    uint64_t end = gr_port_now_ns(edu->env) + TIMEOUT_NS;

    if (len == 0 || len > EDU_MAX)
        return GR_EINVAL;
    mmio_write64(edu->regs, DMA_SOURCE, source);
    mmio_write64(edu->regs, DMA_TARGET, target);
    mmio_write64(edu->regs, DMA_COUNT, len);
    gr_port_wmb(); /* what the CPU wrote, before the device looks */
    mmio_write64(edu->regs, DMA_COMMAND, command);
    while (mmio_read64(edu->regs, DMA_COMMAND) & DMA_RUN) {
        if (gr_port_now_ns(edu->env) > end)
            return GR_ETIMEDOUT;
        gr_port_relax(edu->env);
    }
    gr_port_rmb(); /* before the CPU looks */
    return 0;
}

int edu_read(struct edu *edu, gr_iova_t iova, uint32_t len)
{
    return transfer(edu, iova, MEMORY, len, DMA_RUN);
}

int edu_write(struct edu *edu, gr_iova_t iova, uint32_t len)
{
    return transfer(edu, MEMORY, iova, len, DMA_RUN | DMA_TO_HOST);
}

void edu_interrupt(struct edu *edu)
{
    mmio_write32(edu->regs, IRQ_RAISE, 1);
}

void edu_acknowledge(struct edu *edu)
{
    mmio_write32(edu->regs, IRQ_ACK, mmio_read32(edu->regs, IRQ_STATUS));
}

int edu_copy(struct edu *edu, struct gr_device *dma, gr_pa_t to, gr_pa_t from, uint32_t len)
{
    gr_iova_t source, target;
    int err, undo;

    err = gr_dma_map(dma, from, len, GR_DMA_TO_DEVICE, 0, &source);
    if (err)
        return err;
    err = gr_dma_map(dma, to, len, GR_DMA_FROM_DEVICE, 0, &target);
    if (!err) {
        err = edu_read(edu, source, len);
        err = err ? err : edu_write(edu, target, len);
        undo = gr_dma_unmap(dma, target, len, GR_DMA_FROM_DEVICE, 0);
        err = err ? err : undo;
    }
    undo = gr_dma_unmap(dma, source, len, GR_DMA_TO_DEVICE, 0);
    return err ? err : undo;
}
