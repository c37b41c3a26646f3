/* SPDX-License-Identifier: MIT */
#include "nvme.h"

/* Registers (3.1). */
#define CAP 0x00u
#define CC 0x14u
#define CSTS 0x1cu
#define AQA 0x24u
#define ASQ 0x28u
#define ACQ 0x30u
#define DOORBELLS 0x1000u

#define CC_ON 0x00460001u /* entries of 64 and 16 bytes, pages of 4 KiB, the NVM command set */
#define CSTS_READY 1u
#define CSTS_FATAL 2u

/* Admin commands (5). */
#define CREATE_SQ 0x01u
#define CREATE_CQ 0x05u
#define IDENTIFY 0x06u

#define PAGE 4096u
#define SQ_BYTES (NVME_ENTRIES * 64u)
#define CQ_BYTES (NVME_ENTRIES * 16u)
#define TIMEOUT_NS 60000000000u

static int wait_ready(struct nvme *nvme, uint32_t ready)
{
    uint64_t end =
        gr_port_now_ns(nvme->env) + ((mmio_read64(nvme->regs, CAP) >> 24 & 0xff) + 1) * 500000000u;

    for (;;) {
        uint32_t csts = mmio_read32(nvme->regs, CSTS);

        if (csts & CSTS_FATAL)
            return GR_EIO;
        if ((csts & CSTS_READY) == ready)
            return 0;
        if (gr_port_now_ns(nvme->env) > end)
            return GR_ETIMEDOUT;
        gr_port_relax(nvme->env);
    }
}

/* ---- Queues ---- */

static int make_queue(struct nvme *nvme, struct nvme_queue *queue, unsigned id)
{
    void *submit, *complete;
    int err = gr_dma_alloc(nvme->dma, SQ_BYTES, 0, &submit, &queue->submit_iova), undo;

    if (err)
        return err;
    err = gr_dma_alloc(nvme->dma, CQ_BYTES, 0, &complete, &queue->complete_iova);
    if (err) {
        undo = gr_dma_free(nvme->dma, SQ_BYTES, 0, submit, queue->submit_iova);
        return undo ? undo : err;
    }
    queue->submit = submit;
    queue->complete = complete;
    queue->id = id;
    queue->tail = queue->head = 0;
    queue->phase = 1;
    return 0;
}

static int free_queue(struct nvme *nvme, struct nvme_queue *queue)
{
    int err, err2;

    if (!queue->submit)
        return 0;
    err = gr_dma_free(nvme->dma, SQ_BYTES, 0, queue->submit, queue->submit_iova);
    err2 = gr_dma_free(nvme->dma, CQ_BYTES, 0, (void *)(uintptr_t)queue->complete,
                       queue->complete_iova);
    queue->submit = NULL;
    return err ? err : err2;
}

static void ring(struct nvme *nvme, unsigned doorbell, unsigned value)
{
    mmio_write32(nvme->regs, DOORBELLS + (doorbell << nvme->doorbell_lg2), value);
}

/* The command of dword 0's opcode; the rest are dwords 1 and 6 to 12 (4.2). */
struct command {
    uint32_t opcode, nsid;
    gr_iova_t prp1, prp2;
    uint32_t dword10, dword11, dword12;
};

static int execute(struct nvme *nvme, struct nvme_queue *queue, const struct command *command)
{
    uint64_t end = gr_port_now_ns(nvme->env) + TIMEOUT_NS;
    uint32_t *entry = queue->submit + 16 * queue->tail;
    volatile uint32_t *done = queue->complete + 4 * queue->head;

    __builtin_memset(entry, 0, 64);
    entry[0] = command->opcode | queue->tail << 16;
    entry[1] = command->nsid;
    entry[6] = (uint32_t)command->prp1;
    entry[7] = (uint32_t)(command->prp1 >> 32);
    entry[8] = (uint32_t)command->prp2;
    entry[9] = (uint32_t)(command->prp2 >> 32);
    entry[10] = command->dword10;
    entry[11] = command->dword11;
    entry[12] = command->dword12;
    queue->tail = (queue->tail + 1) % NVME_ENTRIES;
    gr_port_wmb(); /* the entry and the data, before the device looks */
    ring(nvme, 2 * queue->id, queue->tail);
    while ((done[3] >> 16 & 1) != queue->phase) {
        if (gr_port_now_ns(nvme->env) > end)
            return GR_ETIMEDOUT;
        gr_port_relax(nvme->env);
    }
    gr_port_rmb(); /* the rest of the entry and the data, after the phase */
    nvme->status = done[3] >> 17;
    queue->head = (queue->head + 1) % NVME_ENTRIES;
    queue->phase ^= queue->head == 0;
    ring(nvme, 2 * queue->id + 1, queue->head);
    return nvme->status ? GR_EIO : 0;
}

/* ---- Up and down ---- */

static int start_admin(struct nvme *nvme)
{
    int err;

    mmio_write32(nvme->regs, CC, 0);
    err = wait_ready(nvme, 0);
    err = err ? err : make_queue(nvme, &nvme->admin, 0);
    if (err)
        return err;
    mmio_write32(nvme->regs, AQA, (NVME_ENTRIES - 1) << 16 | (NVME_ENTRIES - 1));
    mmio_write64(nvme->regs, ASQ, nvme->admin.submit_iova);
    mmio_write64(nvme->regs, ACQ, nvme->admin.complete_iova);
    mmio_write32(nvme->regs, CC, CC_ON);
    return wait_ready(nvme, CSTS_READY);
}

/* Into the page of the PRP list, which nobody needs yet. */
static int identify(struct nvme *nvme)
{
    const struct command controller = {.opcode = IDENTIFY, .prp1 = nvme->prps_iova, .dword10 = 1};
    const struct command space = {.opcode = IDENTIFY, .nsid = 1, .prp1 = nvme->prps_iova};
    const uint8_t *answer = (const uint8_t *)nvme->prps;
    int err = execute(nvme, &nvme->admin, &controller);
    uint32_t format;

    if (err)
        return err;
    nvme->max_bytes = (uint64_t)NVME_SEGMENTS * PAGE;
    if (answer[77] && answer[77] < 52 && nvme->max_bytes > (uint64_t)PAGE << answer[77])
        nvme->max_bytes = (uint64_t)PAGE << answer[77]; /* MDTS */
    err = execute(nvme, &nvme->admin, &space);
    if (err)
        return err;
    nvme->blocks = nvme->prps[0];
    format = *(const uint32_t *)(const void *)(answer + 128 + 4 * (answer[26] & 15));
    nvme->block_lg2 = format >> 16 & 0xff;
    return nvme->block_lg2 < 9 || nvme->block_lg2 > 12 ? GR_ENODEV : 0;
}

static int start_io(struct nvme *nvme)
{
    int err = make_queue(nvme, &nvme->io, 1);
    const uint32_t what = (NVME_ENTRIES - 1) << 16 | 1; /* entries and number */

    err = err ? err
              : execute(nvme, &nvme->admin,
                        &(struct command){.opcode = CREATE_CQ,
                                          .prp1 = nvme->io.complete_iova,
                                          .dword10 = what,
                                          .dword11 = 3}); /* contiguous, interrupts, vector 0 */
    return err ? err
               : execute(nvme, &nvme->admin,
                         &(struct command){.opcode = CREATE_SQ,
                                           .prp1 = nvme->io.submit_iova,
                                           .dword10 = what,
                                           .dword11 = 1 << 16 | 1});
}

int nvme_init(struct nvme *nvme, gr_env_t env, const struct pci_function *fn, struct gr_device *dma)
{
    void *page = NULL;
    uint64_t cap;
    int err, undo;

    __builtin_memset(nvme, 0, sizeof(*nvme));
    nvme->env = env;
    nvme->dma = dma;
    nvme->regs = pci_bar(fn, 0);
    if (pci_read(fn, 8) >> 8 != NVME_CLASS || !nvme->regs)
        return GR_ENODEV;
    pci_enable(fn, true);
    cap = mmio_read64(nvme->regs, CAP);
    if ((cap >> 48 & 15) != 0 || (cap & 0xffff) < NVME_ENTRIES - 1)
        return GR_ENODEV; /* no pages of 4 KiB, or shorter queues */
    nvme->doorbell_lg2 = 2 + (unsigned)(cap >> 32 & 15);
    err = gr_dma_alloc(dma, PAGE, 0, &page, &nvme->prps_iova);
    nvme->prps = page;
    err = err ? err : start_admin(nvme);
    err = err ? err : identify(nvme);
    err = err ? err : start_io(nvme);
    if (err) {
        undo = nvme_fini(nvme);
        err = undo ? undo : err;
    }
    return err;
}

int nvme_fini(struct nvme *nvme)
{
    int err, err2;

    mmio_write32(nvme->regs, CC, 0);
    err = wait_ready(nvme, 0);
    if (err == GR_ETIMEDOUT)
        return err;
    err = free_queue(nvme, &nvme->io);
    err2 = free_queue(nvme, &nvme->admin);
    err = err ? err : err2;
    if (nvme->prps) {
        err2 = gr_dma_free(nvme->dma, PAGE, 0, nvme->prps, nvme->prps_iova);
        nvme->prps = NULL;
        err = err ? err : err2;
    }
    return err;
}

/* ---- Reads and writes ---- */

int nvme_io(struct nvme *nvme, unsigned opcode, uint64_t lba, unsigned blocks, gr_iova_t prp1,
            gr_iova_t prp2)
{
    const struct command command = {.opcode = opcode,
                                    .nsid = 1,
                                    .prp1 = prp1,
                                    .prp2 = prp2,
                                    .dword10 = (uint32_t)lba,
                                    .dword11 = (uint32_t)(lba >> 32),
                                    .dword12 = blocks - 1};

    return execute(nvme, &nvme->io, &command);
}

/* The pages of the output segments: the first entry, the second, or where a list of them is (4.3).
 */
static void fill_prps(struct nvme *nvme, const struct gr_dma_list *list, gr_iova_t *prp1,
                      gr_iova_t *prp2)
{
    unsigned pages = 0;

    for (unsigned i = 0; i < list->out_count; i++) {
        gr_iova_t at = list->out[i].iova, end = at + list->out[i].len;

        for (; at < end; at = (at | (PAGE - 1)) + 1) {
            if (pages++ == 0)
                *prp1 = at;
            else
                nvme->prps[pages - 2] = at;
        }
    }
    *prp2 = pages < 2 ? 0 : pages == 2 ? nvme->prps[0] : nvme->prps_iova;
}

/* Can PRPs say these segments? *out_len: their sum. */
static int check_segments(const struct nvme *nvme, const struct gr_seg *segs, unsigned count,
                          uint64_t *out_len)
{
    uint64_t len = 0;

    if (count == 0 || count > NVME_SEGMENTS)
        return count ? GR_EMSGSIZE : GR_EINVAL;
    for (unsigned i = 0; i < count; i++) {
        if (segs[i].pa & (i ? PAGE - 1 : 3) ||
            (i + 1 < count && (segs[i].pa + segs[i].len) & (PAGE - 1)))
            return GR_EINVAL;
        len += segs[i].len;
    }
    *out_len = len;
    if (len == 0 || len & (((uint64_t)1 << nvme->block_lg2) - 1))
        return GR_EINVAL;
    /* an odd start takes one entry more */
    return len > nvme->max_bytes || len > (NVME_SEGMENTS - 1) * (uint64_t)PAGE ? GR_EMSGSIZE : 0;
}

int nvme_rw(struct nvme *nvme, unsigned opcode, uint64_t lba, const struct gr_seg *segs,
            unsigned count)
{
    const enum gr_dma_dir dir = opcode == NVME_READ ? GR_DMA_FROM_DEVICE : GR_DMA_TO_DEVICE;
    struct gr_dma_list list = {.segs = segs, .count = count, .out = nvme->out};
    gr_iova_t prp1 = 0, prp2 = 0;
    uint64_t len;
    int err = check_segments(nvme, segs, count, &len), undo;

    err = err ? err : gr_dma_map_sg(nvme->dma, &list, dir, 0);
    if (err)
        return err;
    fill_prps(nvme, &list, &prp1, &prp2);
    err = nvme_io(nvme, opcode, lba, (unsigned)(len >> nvme->block_lg2), prp1, prp2);
    undo = gr_dma_unmap_sg(nvme->dma, &list, dir, 0);
    return err ? err : undo;
}
