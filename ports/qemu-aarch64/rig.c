/* SPDX-License-Identifier: MIT */
#include "rig.h"

#define SMMU_EVENTS 106u /* INTIDs (docs/QEMU.md) */
#define SMMU_SYNC 108u
#define SMMU_ERRORS 109u

static const struct {
    const char *name;
    uint16_t vendor, device;
    unsigned nth;
    uint64_t mask;
    bool untrusted;
} kinds[MASTERS] = {
    [EDU] = {"edu", EDU_VENDOR, EDU_DEVICE, 0, 0, false},
    [EDU2] = {"edu2", EDU_VENDOR, EDU_DEVICE, 1, 0xfffffff, false}, /* cannot reach RAM itself */
    [EDU3] = {"edu3", EDU_VENDOR, EDU_DEVICE, 2, 0, true},
    [NVME] = {"nvme", 0x1b36, 0x0010, 0, 0, false},
    [DISK] = {"disk", VIRTIO_VENDOR, VIRTIO_BLK_DEVICE, 0, 0, false},
};

static uint64_t used_before;

const char *rig_error(const char *what, int err)
{
    static char text[160];
    size_t n = 0;

    for (const char *p = what; *p && n < 100; p++)
        text[n++] = *p;
    text[n++] = ':';
    text[n++] = ' ';
    for (const char *p = gr_strerror(err); *p && n < sizeof(text) - 1; p++)
        text[n++] = *p;
    text[n] = '\0';
    return text;
}

/* ---- Faults ---- */

static bool on_fault(void *cookie, const struct gr_fault *fault)
{
    struct rig *rig = cookie;

    if (rig->faults.any && fault->stream == rig->faults.sid &&
        fault->iova >= rig->faults.iovas.first && fault->iova <= rig->faults.iovas.last &&
        fault->reasons & rig->faults.reasons) {
        rig->faults.met++;
        return true;
    }
    if (rig->faults.others++ == 0)
        print("# a fault that nobody expected: stream %x, IOVA %lx, reasons %x, raw %x, level %u\n",
              fault->stream, fault->iova, fault->reasons, fault->raw, fault->level);
    return true;
}

static void on_smmu_interrupt(void *cookie)
{
    struct rig *rig = cookie;

    /* Interrupts are edges: one edge stands for all events that came before the queue was empty. */
    while (gr_smmuv3_isr(&rig->smmu)) {
        while (gr_fault_dispatch(&rig->smmu.inst))
            ;
    }
}

void faults_expect(struct rig *rig, unsigned master, gr_iova_t iova, uint64_t len, uint32_t reasons)
{
    uint64_t state = irq_save();

    rig->faults.sid = rig->masters[master].stream.sid;
    rig->faults.iovas = (struct gr_range){iova, iova + (len - 1)};
    rig->faults.reasons = reasons;
    rig->faults.any = true;
    rig->faults.met = 0;
    irq_restore(state);
}

/*
 * Wait long in the guest's time: with -icount that is a second of polling, in which other threads
 * of a busy host get their turn.
 */
static bool waited(const volatile unsigned *count, unsigned before)
{
    uint64_t end = time_ns() + 20000000000u;

    while (*count == before && time_ns() < end)
        cpu_relax();
    return *count != before;
}

bool faults_met(struct rig *rig)
{
    bool met = waited(&rig->faults.met, 0);

    rig->faults.any = false;
    return met && rig->faults.others == 0;
}

bool interrupt_came(struct rig *rig, unsigned master, unsigned before)
{
    return waited(&rig->masters[master].interrupts, before);
}

/* ---- Up and down ---- */

static void on_interrupt(void *cookie)
{
    struct master *master = cookie;

    master->interrupts++;
}

/*
 * The doorbell is a register that the device writes, so it is mapped like a buffer. A register
 * cannot bounce: an untrusted device gets the whole granule.
 */
static int map_doorbell(struct rig *rig, struct master *master)
{
    struct gr_seg *page = &master->doorbell_page;
    int err;

    *page = (struct gr_seg){MSI_DOORBELL, 4};
    if (master->dev.config.untrusted)
        *page = (struct gr_seg){MSI_DOORBELL & ~(rig->granule - 1), rig->granule};
    err = gr_dma_map(&master->dev, page->pa, page->len, GR_DMA_FROM_DEVICE, GR_DMA_MMIO,
                     &master->doorbell);
    master->doorbell += MSI_DOORBELL - page->pa;
    return err;
}

static int unmap_doorbell(struct master *master)
{
    const struct gr_seg *page = &master->doorbell_page;

    return gr_dma_unmap(&master->dev, master->doorbell - (MSI_DOORBELL - page->pa), page->len,
                        GR_DMA_FROM_DEVICE, GR_DMA_MMIO);
}

static int master_up(struct rig *rig, unsigned which, bool untrusted)
{
    struct master *master = &rig->masters[which];
    static unsigned intids[MASTERS]; /* kept, because irq_msi_alloc() gives an INTID only once */
    unsigned nth = kinds[which].nth;
    const struct gr_dt_master *tree = NULL;
    struct gr_device_config config;
    int err;

    __builtin_memset(master, 0, sizeof(*master));
    master->name = kinds[which].name;
    for (unsigned i = 0; i < machine.function_count && !master->fn; i++) {
        const struct pci_function *fn = &machine.functions[i];

        if (fn->vendor == kinds[which].vendor && fn->device == kinds[which].device && nth-- == 0) {
            master->fn = fn;
            tree = &machine.masters[i];
        }
    }
    if (!tree)
        return GR_ENODEV;
    master->stream = (struct gr_stream){
        .inst = &rig->smmu.inst, .sid = tree->streams[0].sid, .window = tree->streams[0].window};
    config = (struct gr_device_config){.name = master->name,
                                       .streams = &master->stream,
                                       .stream_count = 1,
                                       .reserved = tree->reserved,
                                       .reserved_count = tree->nreserved,
                                       .dma_mask = kinds[which].mask,
                                       .coherent = tree->coherent,
                                       .untrusted = tree->untrusted || untrusted};
    err = gr_device_init(&master->dev, &config);
    err = err ? err : gr_domain_init(&master->domain, NULL, &master->dev, GR_DOMAIN_TRANSLATED, 0);
    if (err)
        return err;
    gr_domain_set_fault_handler(&master->domain, on_fault, rig);
    err = gr_domain_attach(&master->domain, &master->dev);
    if (!err && untrusted)
        err = gr_domain_set_bounce(&master->domain, &rig->bounce);
    err = err ? err : map_doorbell(rig, master);
    if (err)
        return err;
    if (!intids[which])
        intids[which] = irq_msi_alloc();
    master->intid = intids[which];
    irq_enable(master->intid, true, on_interrupt, master);
    return pci_msi(master->fn, master->doorbell, master->intid) ? 0 : GR_ENODEV;
}

static int master_down(struct master *master)
{
    int err, err2;

    pci_enable(master->fn, false);
    irq_disable(master->intid);
    err = unmap_doorbell(master);
    err2 = gr_domain_detach(&master->domain, &master->dev);
    err = err ? err : err2;
    err2 = gr_domain_fini(&master->domain);
    err = err ? err : err2;
    err2 = gr_device_fini(&master->dev);
    return err ? err : err2;
}

int rig_move(struct rig *rig, unsigned which, struct gr_domain *domain)
{
    struct master *master = &rig->masters[which];
    int err = unmap_doorbell(master);

    err = err ? err : gr_domain_attach(domain ? domain : &master->domain, &master->dev);
    err = err ? err : map_doorbell(rig, master);
    return err || pci_msi(master->fn, master->doorbell, master->intid) ? err : GR_ENODEV;
}

int rig_trust(struct rig *rig, unsigned which, bool trusted)
{
    int err = master_down(&rig->masters[which]);

    err = err ? err : master_up(rig, which, !trusted);
    pci_enable(rig->masters[which].fn, true);
    return err;
}

const char *rig_up(struct rig *rig, unsigned granule_lg2, unsigned stage)
{
    const struct gr_bounce_config pool = {.pa_last = machine.ram.last,
                                          .limit = 64 * GR_BOUNCE_CHUNK};
    const struct gr_smmuv3_config config = {.mmio = machine.smmu,
                                            .mmio_size = machine.smmu_size,
                                            .name = "smmu",
                                            .granule_lg2 = (uint8_t)granule_lg2,
                                            .va_bits = rig_va_bits(granule_lg2, stage),
                                            .stage = rig_asks(stage)};
    int err;

    used_before = pages_used();
    __builtin_memset(rig, 0, sizeof(*rig));
    rig->lg2 = granule_lg2;
    rig->stage = stage;
    rig->granule = 1ull << granule_lg2;
    err = gr_smmuv3_init(&rig->smmu, &config);
    if (err)
        return rig_error("gr_smmuv3_init", err);
    gr_instance_set_fault_handler(&rig->smmu.inst, on_fault, rig);
    irq_enable(SMMU_EVENTS, true, on_smmu_interrupt, rig);
    irq_enable(SMMU_SYNC, true, on_smmu_interrupt, rig);
    irq_enable(SMMU_ERRORS, true, on_smmu_interrupt, rig);
    err = gr_bounce_init(&rig->bounce, NULL, &pool);
    if (err)
        return rig_error("gr_bounce_init", err);
    for (unsigned i = 0; i < MASTERS; i++) {
        err = master_up(rig, i, kinds[i].untrusted);
        if (err)
            return rig_error(kinds[i].name, err);
    }
    err = edu_init(&rig->edu, NULL, rig->masters[EDU].fn);
    err = err ? err : edu_init(&rig->edu2, NULL, rig->masters[EDU2].fn);
    err = err ? err : edu_init(&rig->edu3, NULL, rig->masters[EDU3].fn);
    if (err)
        return rig_error("edu_init", err);
    err = nvme_init(&rig->nvme, NULL, rig->masters[NVME].fn, &rig->masters[NVME].dev);
    if (err)
        return rig_error("nvme_init", err);
    err = virtio_blk_init(&rig->disk, NULL, rig->masters[DISK].fn, &rig->masters[DISK].dev);
    return err ? rig_error("virtio_blk_init", err) : NULL;
}

void rig_abandon(struct rig *rig)
{
    irq_disable(SMMU_EVENTS);
    irq_disable(SMMU_SYNC);
    irq_disable(SMMU_ERRORS);
    for (unsigned i = 0; i < MASTERS; i++)
        irq_disable(rig->masters[i].intid);
}

const char *rig_down(struct rig *rig)
{
    int err = virtio_blk_fini(&rig->disk);

    if (err)
        return rig_error("virtio_blk_fini", err);
    err = nvme_fini(&rig->nvme);
    if (err)
        return rig_error("nvme_fini", err);
    for (unsigned i = MASTERS; i-- > 0;) {
        err = master_down(&rig->masters[i]);
        if (err)
            return rig_error(kinds[i].name, err);
    }
    err = gr_bounce_fini(&rig->bounce);
    if (err)
        return rig_error("gr_bounce_fini", err);
    irq_disable(SMMU_EVENTS);
    irq_disable(SMMU_SYNC);
    irq_disable(SMMU_ERRORS);
    err = gr_smmuv3_fini(&rig->smmu);
    if (err)
        return rig_error("gr_smmuv3_fini", err);
    if (pages_used() != used_before) {
        print("# %lu bytes before, %lu after\n", used_before, pages_used());
        return "pages leaked";
    }
    return NULL;
}
