/* SPDX-License-Identifier: MIT */
/*
 * What has to hold on an IOMMU that is not ours, at each granule. A scenario is a function and a
 * line of the list at the end; it returns NULL, or why it failed.
 *
 * Whether an access passed is seen from memory and from the SMMU's events, because devices of QEMU
 * report success for accesses that were blocked.
 */
#include "rig.h"

#define STRING_(x) #x
#define STRING(x) STRING_(x)

/* Go on if the condition holds; else the scenario has failed here. */
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return "line " STRING(__LINE__) ": " #condition;                                       \
    } while (0)

/* The same for a call that returns an error. */
#define OK(call)                                                                                   \
    do {                                                                                           \
        int err_ = (call);                                                                         \
        if (err_)                                                                                  \
            return rig_error("line " STRING(__LINE__) ": " #call, err_);                           \
    } while (0)

#define GUARD 0xa5u

/* ---- Memory: CPU pages in random order ---- */

#define POOL 160u

static uint8_t *pool[POOL];
static uint32_t random_state = 1;

static uint32_t random_below(uint32_t bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % bound;
}

void scenarios_seed(uint32_t seed)
{
    random_state = seed ? seed : 1;
}

static gr_pa_t pa_of(const void *va)
{
    return ram_pa(va);
}

static void pool_shuffle(void)
{
    for (unsigned i = POOL - 1; i > 0; i--) {
        unsigned k = random_below(i + 1);
        uint8_t *page = pool[i];

        pool[i] = pool[k];
        pool[k] = page;
    }
}

/* Take pages in random order, full of GUARD: every second page that the allocator gives. */
static bool pool_open(void)
{
    static uint8_t *all[2 * POOL];

    for (unsigned i = 0; i < 2 * POOL; i++) {
        all[i] = pages_alloc(12, UINT64_MAX);
        if (!all[i])
            return false;
    }
    for (unsigned i = 0; i < POOL; i++) {
        unsigned odd = random_below(2);

        pool[i] = all[2 * i + odd];
        pages_free(all[2 * i + 1 - odd], 12);
        __builtin_memset(pool[i], GUARD, PAGE);
    }
    pool_shuffle();
    return true;
}

static void pool_close(void)
{
    for (unsigned i = 0; i < POOL; i++)
        pages_free(pool[i], 12);
}

/* Byte `at` of a stream of bytes that does not repeat soon. */
static uint8_t pattern(uint64_t at)
{
    return (uint8_t)((uint32_t)at * 2654435761u >> 23);
}

static void fill(uint8_t *at, uint64_t len, uint64_t from)
{
    for (uint64_t i = 0; i < len; i++)
        at[i] = pattern(from + i);
}

static bool filled(const uint8_t *at, uint64_t len, uint64_t from)
{
    for (uint64_t i = 0; i < len; i++) {
        if (at[i] != pattern(from + i))
            return false;
    }
    return true;
}

static bool all_bytes(const uint8_t *at, uint64_t len, uint8_t byte)
{
    /* all bytes are the same if each byte equals the next */
    return len == 0 || (at[0] == byte && __builtin_memcmp(at, at + 1, len - 1) == 0);
}

static uint8_t *cpu(gr_pa_t pa)
{
    return ram_at(pa);
}

static void fill_list(const struct gr_seg *segs, unsigned count, uint64_t from)
{
    for (unsigned i = 0; i < count; from += segs[i++].len)
        fill(cpu(segs[i].pa), segs[i].len, from);
}

/* Every segment, one to a page, has the pattern, and the rest of its page the guard. */
static bool list_filled(const struct gr_seg *segs, unsigned count, uint64_t from)
{
    for (unsigned i = 0; i < count; from += segs[i++].len) {
        const uint64_t before = segs[i].pa & (PAGE - 1), after = before + segs[i].len;

        if (!filled(cpu(segs[i].pa), segs[i].len, from) ||
            !all_bytes(cpu(segs[i].pa - before), before, GUARD) ||
            !all_bytes(cpu(segs[i].pa + segs[i].len), PAGE - after, GUARD))
            return false;
    }
    return true;
}

static void guard_pool(void)
{
    for (unsigned i = 0; i < POOL; i++)
        __builtin_memset(pool[i], GUARD, PAGE);
}

/* ---- Data ---- */

/* A list for PRPs: whole pages, but the first begins and the last ends anywhere. Its count. */
static unsigned prp_list(struct gr_seg *segs, unsigned pages, uint64_t *out_len)
{
    const unsigned start = random_below(PAGE / 4) * 4, rest = start & 511;
    const unsigned last = rest + 512 * random_below((PAGE - 512) / 512) + (rest ? 0 : 512);

    pool_shuffle();
    for (unsigned i = 0; i < pages; i++)
        segs[i] = (struct gr_seg){pa_of(pool[i]), PAGE};
    segs[0].pa += start;
    segs[0].len -= start;
    segs[pages - 1].len = last;
    *out_len = segs[0].len + last + (uint64_t)PAGE * (pages - 2);
    return pages;
}

static const char *run_nvme(struct rig *rig, uint64_t bytes)
{
    static struct gr_seg segs[NVME_SEGMENTS];
    uint64_t lba = 0, total = 0, len;
    unsigned count;

    while (total < bytes) {
        count = prp_list(segs, 2 + random_below(118), &len);
        fill_list(segs, count, lba << 9);
        OK(nvme_rw(&rig->nvme, NVME_WRITE, lba, segs, count));
        /* the same blocks into other pages */
        guard_pool();
        pool_shuffle();
        for (unsigned i = 0; i < count; i++)
            segs[i].pa = pa_of(pool[i]) + (segs[i].pa & (PAGE - 1));
        OK(nvme_rw(&rig->nvme, NVME_READ, lba, segs, count));
        EXPECT(list_filled(segs, count, lba << 9));
        guard_pool();
        lba += len >> 9;
        total += len;
    }
    return NULL;
}

static const char *nvme_data(struct rig *rig, uint64_t bytes)
{
    const char *why;

    EXPECT(pool_open());
    EXPECT(rig->nvme.block_lg2 == 9 && rig->nvme.blocks << 9 >= 8 << 20);
    why = run_nvme(rig, bytes);
    pool_close();
    return why;
}

static const char *nvme_lists(struct rig *rig)
{
    return nvme_data(rig, 4 << 20);
}

/* Segments of any length at any offset, one to a page; the sum is in sectors. */
static unsigned odd_list(struct gr_seg *segs, unsigned pages, uint64_t *out_len)
{
    uint64_t sum = 0;

    pool_shuffle();
    for (unsigned i = 0; i < pages; i++) {
        const unsigned start = random_below(PAGE - 512);
        unsigned len = 1 + random_below(PAGE - start);

        if (i + 1 == pages) /* the bytes that the last sector lacks, and some sectors */
            len = (unsigned)(512 - (sum & 511));
        segs[i] = (struct gr_seg){pa_of(pool[i]) + start, len};
        sum += len;
    }
    *out_len = sum;
    return pages;
}

static const char *run_disk(struct rig *rig, uint64_t bytes)
{
    static struct gr_seg segs[VIRTIO_BLK_SEGMENTS];
    uint64_t sector = 0, total = 0, len;
    unsigned count;

    while (total < bytes) {
        count = odd_list(segs, 1 + random_below(VIRTIO_BLK_SEGMENTS), &len);
        fill_list(segs, count, sector << 9);
        OK(virtio_blk_rw(&rig->disk, true, sector, segs, count));
        guard_pool();
        pool_shuffle();
        for (unsigned i = 0; i < count; i++)
            segs[i].pa = pa_of(pool[i]) + (segs[i].pa & (PAGE - 1));
        OK(virtio_blk_rw(&rig->disk, false, sector, segs, count));
        EXPECT(list_filled(segs, count, sector << 9));
        guard_pool();
        sector += len >> 9;
        total += len;
    }
    return NULL;
}

static const char *disk_data(struct rig *rig, uint64_t bytes)
{
    const char *why;

    EXPECT(pool_open());
    EXPECT(rig->disk.sectors << 9 >= 8 << 20);
    why = run_disk(rig, bytes);
    pool_close();
    return why;
}

static const char *disk_lists(struct rig *rig)
{
    return disk_data(rig, 4 << 20);
}

/* One range over several pages, at an odd offset, through a device that moves single bytes. */
static const char *odd_ranges(struct rig *rig)
{
    const unsigned lg2 = 15;
    uint8_t *from = pages_alloc(lg2, UINT64_MAX), *to = pages_alloc(lg2, UINT64_MAX);

    EXPECT(from && to);
    fill(from, 1 << lg2, 77);
    for (unsigned i = 0; i < 40; i++) {
        const unsigned len = 1 + random_below(EDU_MAX);
        const unsigned a = random_below((1u << lg2) - len), b = random_below((1u << lg2) - len);

        __builtin_memset(to, GUARD, 1 << lg2);
        OK(edu_copy(&rig->edu, &rig->masters[EDU].dev, pa_of(to) + b, pa_of(from) + a, len));
        EXPECT(filled(to + b, len, 77 + a));
        EXPECT(all_bytes(to, b, GUARD) && all_bytes(to + b + len, (1u << lg2) - b - len, GUARD));
    }
    pages_free(from, lg2);
    pages_free(to, lg2);
    return NULL;
}

/* A device with 28 address bits reaches RAM at 1 GiB only because the SMMU translates. */
static const char *narrow_device(struct rig *rig)
{
    struct gr_device *dev = &rig->masters[EDU2].dev;
    uint8_t *page = pages_alloc(13, UINT64_MAX);
    gr_iova_t iova;

    EXPECT(page);
    EXPECT(pa_of(page) > 0xfffffff);
    OK(gr_dma_map(dev, pa_of(page) + 100, 2000, GR_DMA_BIDIRECTIONAL, 0, &iova));
    EXPECT(iova + 2000 <= 0x10000000);
    OK(gr_dma_unmap(dev, iova, 2000, GR_DMA_BIDIRECTIONAL, 0));
    fill(page, 4000, 5);
    OK(edu_copy(&rig->edu2, dev, pa_of(page) + 4100, pa_of(page) + 3, 3900));
    EXPECT(filled(page + 4100, 3900, 8));
    pages_free(page, 13);
    return NULL;
}

/* Coherent buffers: aligned to their size, all zeros, and both sides see what the other writes. */
static const char *coherent(struct rig *rig)
{
    static const uint64_t sizes[] = {1, 24, 4096, 4097, 20000, 65536, 100000};
    struct gr_device *dev = &rig->masters[EDU].dev;
    struct edu *edu = &rig->edu;

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const uint64_t size = sizes[i];
        const uint32_t len = size < EDU_MAX ? (uint32_t)size : EDU_MAX;
        uint64_t round = 1;
        uint8_t *va;
        void *at;
        gr_iova_t iova;

        while (round < size)
            round *= 2;
        OK(gr_dma_alloc(dev, size, 0, &at, &iova));
        va = at;
        EXPECT(iova % round == 0 && pa_of(va) % round == 0 && pa_of(va) % rig->granule == 0);
        EXPECT(all_bytes(va, (size + rig->granule - 1) & ~(rig->granule - 1), 0));
        fill(va, len, i);
        OK(edu_read(edu, iova, len));
        __builtin_memset(va, 0, len);
        OK(edu_write(edu, iova + size - len, len)); /* to its end */
        EXPECT(filled(va + size - len, len, i));
        OK(gr_dma_free(dev, size, 0, at, iova));
    }
    return NULL;
}

/* ---- Interrupts ---- */

static const char *msi_arrives(struct rig *rig)
{
    static const unsigned which[] = {EDU, EDU2};
    struct gr_seg seg = {0, 4096};
    unsigned before;
    void *page;

    for (unsigned i = 0; i < 2; i++) {
        struct edu *edu = which[i] == EDU ? &rig->edu : &rig->edu2;

        before = rig->masters[which[i]].interrupts;
        edu_interrupt(edu);
        EXPECT(interrupt_came(rig, which[i], before));
        edu_acknowledge(edu);
    }
    page = pages_alloc(12, UINT64_MAX);
    EXPECT(page);
    seg.pa = pa_of(page);
    before = rig->masters[NVME].interrupts;
    OK(nvme_rw(&rig->nvme, NVME_READ, 0, &seg, 1));
    EXPECT(interrupt_came(rig, NVME, before));
    before = rig->masters[DISK].interrupts;
    OK(virtio_blk_rw(&rig->disk, false, 0, &seg, 1));
    EXPECT(interrupt_came(rig, DISK, before));
    pages_free(page, 12);
    return NULL;
}

static const char *msi_blocked(struct rig *rig)
{
    struct master *edu = &rig->masters[EDU];
    const gr_iova_t hole = 0x5000000; /* no IOVA so low is mapped */
    unsigned before = edu->interrupts;
    gr_pa_t pa;

    EXPECT(gr_domain_iova_to_phys(&edu->domain, hole, &pa) == GR_ENOENT);
    EXPECT(pci_msi(edu->fn, hole, edu->intid));
    faults_expect(rig, EDU, hole, 4, GR_FAULT_NO_LEAF | GR_FAULT_NO_TABLE);
    edu_interrupt(&rig->edu);
    EXPECT(faults_met(rig));
    EXPECT(edu->interrupts == before);
    edu_acknowledge(&rig->edu);
    /* and again through the doorbell */
    EXPECT(pci_msi(edu->fn, edu->doorbell, edu->intid));
    edu_interrupt(&rig->edu);
    EXPECT(interrupt_came(rig, EDU, before));
    edu_acknowledge(&rig->edu);
    return NULL;
}

/* ---- Faults ---- */

/* At an IOVA that is not mapped a read and a write fault, and the write changes nothing. */
static const char *fault_unmapped(struct rig *rig)
{
    struct master *edu = &rig->masters[EDU];
    gr_iova_t iova = 0x7654000;
    gr_pa_t pa;

    EXPECT(gr_domain_iova_to_phys(&edu->domain, iova, &pa) == GR_ENOENT);
    faults_expect(rig, EDU, iova, 64, GR_FAULT_NO_LEAF | GR_FAULT_NO_TABLE);
    OK(edu_write(&rig->edu, iova, 64));
    EXPECT(faults_met(rig));
    faults_expect(rig, EDU, iova, 64, GR_FAULT_NO_LEAF | GR_FAULT_NO_TABLE);
    OK(edu_read(&rig->edu, iova, 64));
    EXPECT(faults_met(rig));
    /* A physical address is no IOVA: an access at RAM's own address faults, too. */
    iova = machine.ram.last - 0xffff;
    if (gr_domain_iova_to_phys(&edu->domain, iova, &pa) == GR_ENOENT) {
        faults_expect(rig, EDU, iova, 64, GR_FAULT_NO_LEAF | GR_FAULT_NO_TABLE);
        OK(edu_write(&rig->edu, iova, 64));
        EXPECT(faults_met(rig));
    }
    return NULL;
}

/* On a first access, and on an access that the IOTLB serves: QEMU reports that in stage 1 only. */
static const char *fault_read_only(struct rig *rig)
{
    struct gr_device *dev = &rig->masters[EDU].dev;
    uint8_t *page = pages_alloc(12, UINT64_MAX);
    gr_iova_t iova;

    EXPECT(page);
    fill(page, PAGE, 9);
    OK(gr_dma_map(dev, pa_of(page) + 40, 1000, GR_DMA_TO_DEVICE, 0, &iova));
    faults_expect(rig, EDU, iova + 500, 100, GR_FAULT_WRITE_PROT);
    OK(edu_write(&rig->edu, iova + 500, 100));
    EXPECT(faults_met(rig));
    OK(edu_read(&rig->edu, iova, 1000));
    faults_expect(rig, EDU, iova + 500, 100, GR_FAULT_WRITE_PROT);
    OK(edu_write(&rig->edu, iova + 500, 100));
    EXPECT(rig->stage == 2 || faults_met(rig));
    EXPECT(filled(page, PAGE, 9));
    OK(gr_dma_unmap(dev, iova, 1000, GR_DMA_TO_DEVICE, 0));
    pages_free(page, 12);
    return NULL;
}

/* Memory that a device may write only: in stage 2 the device cannot read it, in stage 1 it can. */
static const char *fault_write_only(struct rig *rig)
{
    struct gr_device *dev = &rig->masters[EDU].dev;
    uint8_t *page = pages_alloc(12, UINT64_MAX);
    gr_iova_t iova, seen;

    EXPECT(page);
    fill(page, PAGE, 9);
    OK(gr_dma_map(dev, pa_of(page), PAGE, GR_DMA_TO_DEVICE, 0, &seen));
    OK(edu_read(&rig->edu, seen, 500));
    OK(gr_dma_unmap(dev, seen, PAGE, GR_DMA_TO_DEVICE, 0));
    OK(gr_dma_map(dev, pa_of(page) + 40, 1000, GR_DMA_FROM_DEVICE, 0, &iova));
    fill(page, PAGE, 3000);
    if (rig->stage == 2)
        faults_expect(rig, EDU, iova, 500, GR_FAULT_READ_PROT);
    OK(edu_read(&rig->edu, iova, 500));
    EXPECT(rig->stage == 1 || faults_met(rig));
    OK(edu_write(&rig->edu, iova + 500, 500));
    /* in stage 2 the device's copy is not what memory holds */
    EXPECT(filled(page + 540, 500, 3040) == (rig->stage == 1));
    EXPECT(filled(page, 540, 3000) && filled(page + 1040, PAGE - 1040, 4040));
    OK(gr_dma_unmap(dev, iova, 1000, GR_DMA_FROM_DEVICE, 0));
    pages_free(page, 12);
    return NULL;
}

static const char *fault_freed(struct rig *rig)
{
    struct gr_device *dev = &rig->masters[EDU].dev;
    uint8_t *page = pages_alloc(12, UINT64_MAX);
    gr_iova_t iova;

    EXPECT(page);
    fill(page, PAGE, 21);
    OK(gr_dma_map(dev, pa_of(page), PAGE, GR_DMA_BIDIRECTIONAL, 0, &iova));
    OK(edu_read(&rig->edu, iova, 512)); /* the IOTLB has it now */
    OK(edu_write(&rig->edu, iova + 2048, 512));
    EXPECT(filled(page + 2048, 512, 21));
    __builtin_memset(page, GUARD, PAGE);
    OK(gr_dma_unmap(dev, iova, PAGE, GR_DMA_BIDIRECTIONAL, 0));
    faults_expect(rig, EDU, iova, PAGE, GR_FAULT_NO_LEAF | GR_FAULT_NO_TABLE);
    OK(edu_write(&rig->edu, iova, 512));
    EXPECT(faults_met(rig));
    faults_expect(rig, EDU, iova, PAGE, GR_FAULT_NO_LEAF | GR_FAULT_NO_TABLE);
    OK(edu_read(&rig->edu, iova + 2048, 512));
    EXPECT(faults_met(rig));
    EXPECT(all_bytes(page, PAGE, GUARD));
    pages_free(page, 12);
    return NULL;
}

/* A device cannot reach what another device has mapped: an IOVA belongs to one domain. */
static const char *fault_foreign(struct rig *rig)
{
    struct master *own = &rig->masters[EDU], *foreign = &rig->masters[NVME];
    uint8_t *page = pages_alloc(12, UINT64_MAX);
    gr_iova_t iova[64];
    unsigned n = 0;
    gr_pa_t pa;

    EXPECT(page);
    __builtin_memset(page, GUARD, PAGE);
    /* until the IOVA is not mapped in the edu's own domain */
    do {
        EXPECT(n < 64);
        OK(gr_dma_map(&foreign->dev, pa_of(page), PAGE, GR_DMA_BIDIRECTIONAL, 0, &iova[n]));
    } while (gr_domain_iova_to_phys(&own->domain, iova[n++], &pa) != GR_ENOENT);
    OK(nvme_io(&rig->nvme, NVME_READ, 0, 8, iova[n - 1], 0)); /* now the IOTLB may have it */
    __builtin_memset(page, GUARD, PAGE);
    faults_expect(rig, EDU, iova[n - 1], 256, GR_FAULT_NO_LEAF | GR_FAULT_NO_TABLE);
    OK(edu_write(&rig->edu, iova[n - 1], 256));
    EXPECT(faults_met(rig));
    EXPECT(all_bytes(page, PAGE, GUARD));
    while (n-- > 0)
        OK(gr_dma_unmap(&foreign->dev, iova[n], PAGE, GR_DMA_BIDIRECTIONAL, 0));
    pages_free(page, 12);
    return NULL;
}

/* An IOVA is mapped to two pages in two domains; unmapping it in one leaves the other alone. */
static const char *same_iova_twice(struct rig *rig)
{
    static struct gr_domain domain;
    struct gr_device *dev = &rig->masters[EDU].dev, *dev2 = &rig->masters[EDU2].dev;
    uint8_t *page = pages_alloc(rig->lg2, UINT64_MAX), *page2 = pages_alloc(rig->lg2, UINT64_MAX);
    gr_iova_t iova;

    EXPECT(page && page2);
    OK(gr_dma_set_mask(dev, 0xfffffff)); /* an IOVA that the other device can put out, too */
    OK(gr_dma_map(dev, pa_of(page), PAGE, GR_DMA_BIDIRECTIONAL, 0, &iova));
    OK(gr_domain_init(&domain, NULL, dev2, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE));
    gr_domain_set_fault_handler(&domain, rig->masters[EDU2].domain.fault_handler, rig);
    OK(gr_domain_map(&domain, iova, pa_of(page2), rig->granule, GR_PROT_READ | GR_PROT_WRITE));
    OK(gr_domain_attach(&domain, dev2));
    fill(page, PAGE, 0);
    fill(page2, PAGE, 5000);
    OK(edu_read(&rig->edu, iova, 1024));
    OK(edu_read(&rig->edu2, iova, 1024));
    OK(edu_write(&rig->edu, iova + 2048, 1024));
    OK(edu_write(&rig->edu2, iova + 2048, 1024));
    EXPECT(filled(page + 2048, 1024, 0) && filled(page2 + 2048, 1024, 5000));
    OK(gr_dma_unmap(dev, iova, PAGE, GR_DMA_BIDIRECTIONAL, 0));
    __builtin_memset(page, GUARD, PAGE);
    OK(edu_write(&rig->edu2, iova, 1024));
    EXPECT(filled(page2, 1024, 5000));
    faults_expect(rig, EDU, iova, PAGE, GR_FAULT_NO_LEAF | GR_FAULT_NO_TABLE);
    OK(edu_write(&rig->edu, iova, 1024));
    EXPECT(faults_met(rig));
    EXPECT(all_bytes(page, PAGE, GUARD));
    OK(gr_domain_unmap(&domain, iova, rig->granule));
    OK(gr_domain_attach(&rig->masters[EDU2].domain, dev2));
    OK(gr_domain_fini(&domain));
    OK(gr_dma_set_mask(dev, UINT64_MAX));
    pages_free(page, rig->lg2);
    pages_free(page2, rig->lg2);
    return NULL;
}

/* A page of a real driver's data: blocked in the middle of a command, and the driver goes on. */
static const char *fault_nvme(struct rig *rig)
{
    struct master *nvme = &rig->masters[NVME];
    uint8_t *page = pages_alloc(12, UINT64_MAX);
    struct gr_seg seg = {pa_of(page), PAGE};
    gr_iova_t iova;

    EXPECT(page);
    fill(page, PAGE, 300);
    OK(nvme_rw(&rig->nvme, NVME_WRITE, 64, &seg, 1));
    OK(gr_dma_map(&nvme->dev, seg.pa, PAGE, GR_DMA_FROM_DEVICE, 0, &iova));
    OK(nvme_io(&rig->nvme, NVME_READ, 64, 8, iova, 0));
    OK(gr_dma_unmap(&nvme->dev, iova, PAGE, GR_DMA_FROM_DEVICE, 0));
    __builtin_memset(page, GUARD, PAGE);
    /* 1024 faults are more than fit into the event queue, which has to recover */
    faults_expect(rig, NVME, iova, PAGE, GR_FAULT_NO_LEAF | GR_FAULT_NO_TABLE);
    EXPECT(nvme_io(&rig->nvme, NVME_READ, 64, 8, iova, 0) != GR_ETIMEDOUT);
    EXPECT(faults_met(rig));
    EXPECT(all_bytes(page, PAGE, GUARD));
    OK(nvme_rw(&rig->nvme, NVME_READ, 64, &seg, 1));
    EXPECT(filled(page, PAGE, 300));
    pages_free(page, 12);
    return fault_unmapped(rig); /* events are still reported */
}

/* A device without a domain reaches nothing. */
static const char *fault_detached(struct rig *rig)
{
    struct master *edu = &rig->masters[EDU];
    uint8_t *page = pages_alloc(12, UINT64_MAX);
    gr_iova_t iova;

    EXPECT(page);
    OK(gr_dma_map(&edu->dev, pa_of(page), PAGE, GR_DMA_BIDIRECTIONAL, 0, &iova));
    fill(page, PAGE, 1);
    OK(edu_read(&rig->edu, iova, 100));
    __builtin_memset(page, GUARD, PAGE);
    OK(gr_domain_detach(&edu->domain, &edu->dev));
    /* whether a blocked stream is an event is the driver's choice: memory decides */
    faults_expect(rig, EDU, 0, UINT64_MAX, UINT32_MAX);
    OK(edu_write(&rig->edu, iova, 100));
    OK(edu_write(&rig->edu, pa_of(page), 100));
    EXPECT(all_bytes(page, PAGE, GUARD));
    OK(gr_domain_attach(&edu->domain, &edu->dev));
    OK(edu_write(&rig->edu, iova, 100));
    EXPECT(filled(page, 100, 1));
    OK(gr_dma_unmap(&edu->dev, iova, PAGE, GR_DMA_BIDIRECTIONAL, 0));
    pages_free(page, 12);
    return NULL;
}

/* ---- The test of the tests ---- */

static int skip_invalidation(struct gr_instance *inst, struct gr_binding *binding, gr_iova_t first,
                             gr_iova_t last, bool tables)
{
    (void)inst;
    (void)binding;
    (void)first;
    (void)last;
    (void)tables;
    return 0;
}

/* After an unmap without its invalidation accesses still pass: the scenarios above would see it. */
static const char *stale_access(struct rig *rig)
{
    const struct gr_instance_ops *good = rig->smmu.inst.ops;
    struct gr_instance_ops bad = *good;
    struct master *edu = &rig->masters[EDU];
    uint8_t *page = pages_alloc(12, UINT64_MAX);
    gr_iova_t iova;
    int err;

    EXPECT(page);
    bad.invalidate = skip_invalidation;
    OK(gr_dma_map(&edu->dev, pa_of(page), PAGE, GR_DMA_BIDIRECTIONAL, 0, &iova));
    fill(page, PAGE, 55);
    OK(edu_read(&rig->edu, iova, 512));
    __builtin_memset(page, GUARD, PAGE);
    rig->smmu.inst.ops = &bad;
    err = gr_dma_unmap(&edu->dev, iova, PAGE, GR_DMA_BIDIRECTIONAL, 0);
    rig->smmu.inst.ops = good;
    OK(err);
    OK(edu_write(&rig->edu, iova, 512));
    EXPECT(filled(page, 512, 55)); /* the stale access landed */
    __builtin_memset(page, GUARD, PAGE);
    OK(good->invalidate(&rig->smmu.inst, &edu->domain.binding[0], iova & ~(rig->granule - 1),
                        iova | (rig->granule - 1), true));
    faults_expect(rig, EDU, iova, PAGE, GR_FAULT_NO_LEAF | GR_FAULT_NO_TABLE);
    OK(edu_write(&rig->edu, iova, 512));
    EXPECT(faults_met(rig));
    EXPECT(all_bytes(page, PAGE, GUARD));
    pages_free(page, 12);
    return NULL;
}

/* ---- Interrupt handlers that call the library ---- */

#define TICKS 8u

static struct {
    struct rig *rig;
    gr_pa_t pa;
    uint32_t random;
    unsigned runs;
    struct {
        gr_iova_t iova;
        uint64_t len;
    } held[TICKS];
    const char *why;
} tick;

/* Check and unmap what the handler mapped TICKS calls ago, and map anew. */
static const char *tick_map(struct rig *rig, unsigned which, uint64_t len)
{
    struct master *edu = &rig->masters[EDU];
    struct walk w;

    if (tick.held[which].len) {
        EXPECT(walk(&machine, edu->stream.sid, rig->lg2, tick.held[which].iova, &w));
        EXPECT(w.pa == tick.pa);
        OK(gr_dma_unmap(&edu->dev, tick.held[which].iova, tick.held[which].len,
                        GR_DMA_BIDIRECTIONAL, 0));
    }
    tick.held[which].len = len;
    if (len)
        OK(gr_dma_map(&edu->dev, tick.pa, len, GR_DMA_BIDIRECTIONAL, 0, &tick.held[which].iova));
    return NULL;
}

static void on_tick(void *cookie)
{
    (void)cookie;
    timer_off();
    if (!tick.why)
        tick.why = tick_map(tick.rig, tick.runs % TICKS, 1 + tick.runs * 7 % 9000);
    tick.runs++;
    tick.random = tick.random * 1664525 + 1013904223;
    timer_arm(16 + tick.random / 65536 % 30000);
}

static const char *run_interrupted(struct rig *rig)
{
    static struct gr_seg segs[16];
    static struct gr_dma_seg out[16];
    struct master *edu = &rig->masters[EDU];

    for (unsigned round = 0; round < 1500 && !tick.why; round++) {
        struct gr_dma_list list = {.segs = segs, .count = 1 + random_below(16), .out = out};
        struct walk w;
        gr_iova_t iova;

        for (unsigned i = 0; i < list.count; i++)
            segs[i] = (struct gr_seg){pa_of(pool[i]) + random_below(100), 1 + random_below(3900)};
        OK(gr_dma_map_sg(&edu->dev, &list, GR_DMA_TO_DEVICE, 0));
        OK(gr_dma_map(&edu->dev, segs[0].pa, segs[0].len, GR_DMA_TO_DEVICE, 0, &iova));
        EXPECT(walk(&machine, edu->stream.sid, rig->lg2, out[0].iova, &w) && w.pa == segs[0].pa);
        EXPECT(walk(&machine, edu->stream.sid, rig->lg2, iova, &w) && w.pa == segs[0].pa);
        OK(gr_dma_unmap_sg(&edu->dev, &list, GR_DMA_TO_DEVICE, 0));
        OK(gr_dma_unmap(&edu->dev, iova, segs[0].len, GR_DMA_TO_DEVICE, 0));
    }
    return tick.why;
}

/* A timer's handler maps and unmaps in a domain, at any instruction of code that does the same. */
static const char *map_in_interrupt(struct rig *rig)
{
    void *pages = pages_alloc(14, UINT64_MAX);
    const char *why;

    EXPECT(pages && pool_open());
    __builtin_memset(&tick, 0, sizeof(tick));
    tick.rig = rig;
    tick.pa = pa_of(pages);
    tick.random = random_below(1u << 30);
    irq_enable(TIMER, false, on_tick, NULL);
    timer_arm(1000);
    why = run_interrupted(rig);
    irq_disable(TIMER);
    timer_off();
    for (unsigned i = 0; i < TICKS && !why; i++)
        why = tick_map(rig, i, 0);
    pool_close();
    pages_free(pages, 14);
    if (!why)
        EXPECT(tick.runs > 1000);
    return why;
}

/* ---- The tables themselves ---- */

struct held {
    gr_pa_t pa;
    uint64_t len;
    gr_iova_t iova;
};

static const char *check_held(struct rig *rig, const struct held *held, uint64_t *bytes)
{
    const struct master *edu = &rig->masters[EDU];
    const uint64_t mask = rig->granule - 1;
    struct walk w;

    EXPECT((held->pa & mask) == (held->iova & mask));
    for (gr_iova_t at = held->iova & ~mask; at < held->iova + held->len; at += rig->granule) {
        if (!walk(&machine, edu->stream.sid, rig->lg2, at, &w))
            return w.bad ? w.bad : "the second opinion finds nothing where a mapping is";
        EXPECT(w.pa == (held->pa & ~mask) + (at - (held->iova & ~mask)));
        *bytes += rig->granule;
    }
    return NULL;
}

/* Many mappings of many sizes: another walker finds each, all leaves are aligned, and none is
 * extra. */
static const char *tables(struct rig *rig)
{
    static struct held held[120];
    struct master *edu = &rig->masters[EDU];
    const unsigned big = 24; /* 16 MiB: blocks of 2 MiB, contiguous groups */
    uint8_t *room = pages_alloc(big, UINT64_MAX);
    uint64_t before, after, bytes = 0;
    const char *why;
    unsigned n = 0;
    struct walk w;

    EXPECT(room);
    why = walk_all(&machine, edu->stream.sid, rig->lg2, &before);
    if (why)
        return why;
    for (; n < 120; n++) {
        struct held *h = &held[n];

        h->len = n < 4 ? 4u << 20 : 1 + random_below(n % 8 ? 20000 : 3u << 20);
        h->pa =
            pa_of(room) + (n < 4 ? n << 20 << 1 : random_below((uint32_t)((1u << big) - h->len)));
        OK(gr_dma_map(&edu->dev, h->pa, h->len, GR_DMA_BIDIRECTIONAL, 0, &h->iova));
    }
    for (unsigned i = 0; i < n; i++) {
        why = check_held(rig, &held[i], &bytes);
        if (why)
            return why;
    }
    why = walk_all(&machine, edu->stream.sid, rig->lg2, &after);
    if (why)
        return why;
    EXPECT(after - before == bytes);
    if (rig->lg2 > 12) { /* the test of this test: a wrong leaf that QEMU accepts */
        volatile uint64_t *entry;

        EXPECT(walk(&machine, edu->stream.sid, rig->lg2, held[n - 1].iova, &w));
        entry = ram_at(w.entry);
        *entry ^= 1u << 12;
        EXPECT(!walk(&machine, edu->stream.sid, rig->lg2, held[n - 1].iova, &w) && w.bad);
        *entry ^= 1u << 12;
    }
    while (n-- > 0)
        OK(gr_dma_unmap(&edu->dev, held[n].iova, held[n].len, GR_DMA_BIDIRECTIONAL, 0));
    EXPECT(!walk(&machine, edu->stream.sid, rig->lg2, held[0].iova, &w) && !w.bad);
    why = walk_all(&machine, edu->stream.sid, rig->lg2, &after);
    if (why)
        return why;
    EXPECT(after == before);
    pages_free(room, big);
    return NULL;
}

/* In an UNMANAGED domain: blocks, which QEMU walks as the architecture has them. */
static const char *blocks(struct rig *rig)
{
    static const uint64_t size[17] = {[12] = 2u << 20, [14] = 32u << 20, [16] = 512u << 20};
    static struct gr_domain domain;
    struct master *edu = &rig->masters[EDU];
    const uint64_t block = size[rig->lg2];
    const gr_iova_t iova = 4 * block;
    const gr_pa_t pa = machine.ram.first & ~(block - 1);
    uint8_t *page = pages_alloc(12, UINT64_MAX);
    const uint64_t at = pa_of(page) - pa;
    struct walk w;

    EXPECT(page);
    EXPECT(gr_domain_init(&domain, NULL, &edu->dev, GR_DOMAIN_UNMANAGED, 0) ==
           (rig->lg2 > 12 ? GR_EOPNOTSUPP : 0));
    if (rig->lg2 == 12)
        OK(gr_domain_fini(&domain));
    OK(gr_domain_init(&domain, NULL, &edu->dev, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE));
    gr_domain_set_fault_handler(&domain, edu->domain.fault_handler, rig);
    const uint64_t first = iova + (at & ~(block - 1)); /* the block that holds the page */

    OK(gr_domain_map(&domain, first, pa + (at & ~(block - 1)), block,
                     GR_PROT_READ | GR_PROT_WRITE));
    OK(gr_domain_attach(&domain, &edu->dev));
    EXPECT(walk(&machine, edu->stream.sid, rig->lg2, iova + at, &w));
    EXPECT(w.size == block && w.pa == pa_of(page));
    fill(page, 2000, 3);
    OK(edu_read(&rig->edu, iova + at, 2000));
    OK(edu_write(&rig->edu, iova + at + 2001, 2000));
    EXPECT(filled(page + 2001, 2000, 3));
    OK(gr_domain_unmap(&domain, first, block));
    __builtin_memset(page, GUARD, PAGE);
    faults_expect(rig, EDU, iova + at, PAGE, GR_FAULT_NO_LEAF | GR_FAULT_NO_TABLE);
    OK(edu_write(&rig->edu, iova + at, 2000));
    EXPECT(faults_met(rig));
    EXPECT(all_bytes(page, PAGE, GUARD));
    OK(gr_domain_attach(&edu->domain, &edu->dev)); /* back */
    OK(gr_domain_fini(&domain));
    pages_free(page, 12);
    return NULL;
}

/* ---- Isolation: the third edu is not trusted ---- */

/* Copy what the device reads at [iova, iova + len) to `out`, by way of the device's own memory. */
static const char *see(struct rig *rig, gr_iova_t iova, uint64_t len, gr_pa_t out)
{
    struct gr_device *dev = &rig->masters[EDU3].dev;
    gr_iova_t spy;

    OK(gr_dma_map(dev, out, 1u << 17, GR_DMA_FROM_DEVICE, 0, &spy)); /* whole granules */
    for (uint64_t at = 0; at < len; at += 2048) {
        OK(edu_read(&rig->edu3, iova + at, 2048));
        OK(edu_write(&rig->edu3, spy + at, 2048));
    }
    OK(gr_dma_unmap(dev, spy, 1u << 17, GR_DMA_FROM_DEVICE, 0));
    return NULL;
}

/* A few bytes among secrets: the rest of the granule is zeros to the device, and not written. */
static const char *bounced_few(struct rig *rig, uint8_t *secrets, uint8_t *seen)
{
    struct gr_device *dev = &rig->masters[EDU3].dev;
    const uint64_t granule = rig->granule, offset = granule - 1500, len = 1000;
    gr_iova_t iova;
    const char *why;

    fill(secrets, granule, 0);
    OK(gr_dma_map(dev, pa_of(secrets) + offset, len, GR_DMA_TO_DEVICE, 0, &iova));
    EXPECT((iova & (granule - 1)) == offset);
    why = see(rig, iova - offset, granule, pa_of(seen));
    if (why)
        return why;
    EXPECT(all_bytes(seen, offset, 0) && all_bytes(seen + offset + len, granule - offset - len, 0));
    EXPECT(filled(seen + offset, len, offset));
    OK(gr_dma_unmap(dev, iova, len, GR_DMA_TO_DEVICE, 0));

    fill(seen, 2048, 9000);
    OK(gr_dma_map(dev, pa_of(seen), 2048, GR_DMA_TO_DEVICE, 0, &iova));
    OK(edu_read(&rig->edu3, iova, 2048));
    OK(gr_dma_unmap(dev, iova, 2048, GR_DMA_TO_DEVICE, 0));
    OK(gr_dma_map(dev, pa_of(secrets) + offset, len, GR_DMA_FROM_DEVICE, 0, &iova));
    for (uint64_t at = 0; at < granule; at += 2048)
        OK(edu_write(&rig->edu3, iova - offset + at, 2048)); /* over the whole granule */
    OK(gr_dma_sync_for_cpu(dev, iova, len, GR_DMA_FROM_DEVICE));
    OK(gr_dma_unmap(dev, iova, len, GR_DMA_FROM_DEVICE, 0));
    EXPECT(filled(secrets, offset, 0));
    for (uint64_t i = offset; i < offset + len; i++)
        EXPECT(secrets[i] == pattern(9000 + i % 2048));
    EXPECT(filled(secrets + offset + len, granule - offset - len, offset + len));
    faults_expect(rig, EDU3, iova, len, GR_FAULT_NO_LEAF | GR_FAULT_NO_TABLE);
    OK(edu_write(&rig->edu3, iova, 100));
    EXPECT(faults_met(rig));
    return NULL;
}

static const char *bounced(struct rig *rig)
{
    struct master *edu = &rig->masters[EDU3];
    uint8_t *secrets = pages_alloc(19, UINT64_MAX), *seen = pages_alloc(17, UINT64_MAX);
    struct gr_bounce_stats stats;
    gr_iova_t iova, old[8];
    struct walk w;
    const char *why;

    EXPECT(secrets && seen);
    /* leave slots full of another buffer's bytes, for the next map to find */
    fill(secrets, rig->granule, 1);
    for (unsigned i = 0; i < 8; i++)
        OK(gr_dma_map(&edu->dev, pa_of(secrets) + 1, rig->granule - 2, GR_DMA_TO_DEVICE, 0,
                      &old[i]));
    for (unsigned i = 0; i < 8; i++)
        OK(gr_dma_unmap(&edu->dev, old[i], rig->granule - 2, GR_DMA_TO_DEVICE, 0));
    why = bounced_few(rig, secrets, seen);
    if (why)
        return why;
    /* The ends bounce, and the middle is mapped in place. */
    OK(gr_dma_map(&edu->dev, pa_of(secrets) + 100, 3 * rig->granule, GR_DMA_TO_DEVICE, 0, &iova));
    EXPECT(walk(&machine, edu->stream.sid, rig->lg2, iova, &w));
    EXPECT(w.pa != pa_of(secrets) + 100);
    EXPECT(walk(&machine, edu->stream.sid, rig->lg2, iova + rig->granule, &w));
    EXPECT(w.pa == pa_of(secrets) + 100 + rig->granule);
    EXPECT(walk(&machine, edu->stream.sid, rig->lg2, iova + 3 * rig->granule - 1, &w));
    EXPECT(w.pa != pa_of(secrets) + 100 + 3 * rig->granule - 1);
    OK(gr_dma_unmap(&edu->dev, iova, 3 * rig->granule, GR_DMA_TO_DEVICE, 0));
    for (unsigned i = 0; i < 40; i++) {
        const unsigned len = 1 + random_below(EDU_MAX), from = random_below(100000);
        const unsigned to = 200000 + random_below(100000);

        fill(secrets + from, len, i);
        __builtin_memset(secrets + 190000, GUARD, 120000);
        OK(edu_copy(&rig->edu3, &edu->dev, pa_of(secrets) + to, pa_of(secrets) + from, len));
        EXPECT(filled(secrets + to, len, i));
        EXPECT(all_bytes(secrets + 190000, to - 190000, GUARD));
        EXPECT(all_bytes(secrets + to + len, 310000 - to - len, GUARD));
    }
    gr_bounce_stats(&rig->bounce, &stats);
    EXPECT(stats.slots == 0 && stats.bounced > 0 && stats.lost == 0);
    pages_free(secrets, 19);
    pages_free(seen, 17);
    return NULL;
}

/* Lists of a real driver: every segment begins and ends beside bytes that are not the buffer's. */
static const char *nvme_bounced(struct rig *rig)
{
    struct master *nvme = &rig->masters[NVME];
    struct gr_bounce_stats stats;
    uint64_t before;
    const char *why;

    gr_bounce_stats(&rig->bounce, &stats);
    before = stats.bounced;
    OK(nvme_fini(&rig->nvme));
    OK(rig_trust(rig, NVME, false));
    OK(nvme_init(&rig->nvme, NULL, nvme->fn, &nvme->dev));
    why = nvme_data(rig, 1 << 20);
    if (why)
        return why;
    gr_bounce_stats(&rig->bounce, &stats);
    EXPECT(stats.slots == 0 && stats.bounced > before);
    OK(nvme_fini(&rig->nvme));
    OK(rig_trust(rig, NVME, true));
    OK(nvme_init(&rig->nvme, NULL, nvme->fn, &nvme->dev));
    return NULL;
}

static const char *disk_bounced(struct rig *rig)
{
    struct master *disk = &rig->masters[DISK];
    struct gr_bounce_stats stats;
    uint64_t before;
    const char *why;

    gr_bounce_stats(&rig->bounce, &stats);
    before = stats.bounced;
    OK(virtio_blk_fini(&rig->disk));
    OK(rig_trust(rig, DISK, false));
    OK(virtio_blk_init(&rig->disk, NULL, disk->fn, &disk->dev));
    why = disk_data(rig, 1 << 20);
    if (why)
        return why;
    gr_bounce_stats(&rig->bounce, &stats);
    EXPECT(stats.slots == 0 && stats.bounced > before);
    OK(virtio_blk_fini(&rig->disk));
    OK(rig_trust(rig, DISK, true));
    OK(virtio_blk_init(&rig->disk, NULL, disk->fn, &disk->dev));
    return NULL;
}

/* ---- Deferred invalidation ---- */

static const char *run_deferred(struct rig *rig, struct gr_domain *domain)
{
    struct gr_device *dev = &rig->masters[EDU].dev;
    uint8_t *page = pages_alloc(13, UINT64_MAX);
    struct gr_domain_stats before, after;
    gr_iova_t iova, next;

    EXPECT(page);
    OK(gr_dma_map(dev, pa_of(page), PAGE, GR_DMA_BIDIRECTIONAL, 0, &iova));
    OK(edu_read(&rig->edu, iova, 512)); /* the IOTLB has it now */
    OK(gr_dma_unmap(dev, iova, PAGE, GR_DMA_BIDIRECTIONAL, 0));
    /* The IOVA is not given out as long as the device may still use it. */
    for (unsigned i = 0; i < 8; i++) {
        OK(gr_dma_map(dev, pa_of(page), PAGE, GR_DMA_BIDIRECTIONAL, 0, &next));
        EXPECT(next != iova);
        OK(gr_dma_unmap(dev, next, PAGE, GR_DMA_BIDIRECTIONAL, 0));
    }
    OK(gr_domain_flush(domain));
    __builtin_memset(page, GUARD, PAGE);
    faults_expect(rig, EDU, iova, PAGE, GR_FAULT_NO_LEAF | GR_FAULT_NO_TABLE);
    OK(edu_write(&rig->edu, iova, 512));
    EXPECT(faults_met(rig));
    EXPECT(all_bytes(page, PAGE, GUARD));
    gr_domain_stats(domain, &before);
    for (unsigned i = 0; i < 1000; i++) {
        OK(gr_dma_map(dev, pa_of(page) + i % 100, 3000, GR_DMA_BIDIRECTIONAL, 0, &iova));
        if (i % 50 == 0) {
            fill(page, PAGE, i);
            OK(edu_read(&rig->edu, iova, 1000));
            OK(edu_write(&rig->edu, iova + 2000, 1000));
            EXPECT(filled(page + i % 100 + 2000, 1000, i + i % 100));
        }
        OK(gr_dma_unmap(dev, iova, 3000, GR_DMA_BIDIRECTIONAL, 0));
    }
    OK(gr_domain_flush(domain));
    gr_domain_stats(domain, &after);
    EXPECT(after.invalidations - before.invalidations < 500);
    pages_free(page, 13);
    return NULL;
}

/* Unmaps whose invalidations come later and together, in a DEFERRED domain. */
static const char *deferred(struct rig *rig)
{
    static struct gr_domain domain;
    struct master *edu = &rig->masters[EDU];
    const char *why;

    OK(gr_domain_init(&domain, NULL, &edu->dev, GR_DOMAIN_TRANSLATED, GR_DOMAIN_DEFERRED));
    gr_domain_set_fault_handler(&domain, edu->domain.fault_handler, rig);
    OK(rig_move(rig, EDU, &domain));
    why = run_deferred(rig, &domain);
    if (why)
        return why;
    OK(rig_move(rig, EDU, NULL));
    OK(gr_domain_fini(&domain));
    return NULL;
}

/* Call `run` with the NVMe controller in a DEFERRED domain. */
static const char *nvme_in_deferred(struct rig *rig, const char *(*run)(struct rig *rig))
{
    static struct gr_domain domain;
    struct master *nvme = &rig->masters[NVME];
    const char *why;

    OK(nvme_fini(&rig->nvme));
    OK(gr_domain_init(&domain, NULL, &nvme->dev, GR_DOMAIN_TRANSLATED, GR_DOMAIN_DEFERRED));
    gr_domain_set_fault_handler(&domain, nvme->domain.fault_handler, rig);
    OK(rig_move(rig, NVME, &domain));
    OK(nvme_init(&rig->nvme, NULL, nvme->fn, &nvme->dev));
    why = run(rig);
    if (why)
        return why;
    OK(nvme_fini(&rig->nvme));
    OK(rig_move(rig, NVME, NULL));
    OK(gr_domain_fini(&domain));
    OK(nvme_init(&rig->nvme, NULL, nvme->fn, &nvme->dev));
    return NULL;
}

static const char *nvme_megabyte(struct rig *rig)
{
    return nvme_data(rig, 1 << 20);
}

static const char *nvme_deferred(struct rig *rig)
{
    return nvme_in_deferred(rig, nvme_megabyte);
}

/* ---- Memory mapped once ---- */

static const char *linear(struct rig *rig)
{
    static struct gr_domain domain;
    struct master *edu = &rig->masters[EDU];
    const uint64_t granule = rig->granule;
    uint8_t *room = pages_alloc(18, UINT64_MAX); /* four of the largest granules */
    const gr_pa_t pa = pa_of(room);
    const struct gr_range hole = {pa + 0x10000, pa + 0x1ffff};
    const struct gr_linear_config config = {
        .ram = &machine.ram, .ram_count = 1, .holes = &hole, .hole_count = 1};
    const char *why;
    gr_iova_t iova;
    uint64_t bytes;

    EXPECT(room && granule <= 0x10000);
    OK(gr_domain_init_linear(&domain, NULL, &edu->dev, &config));
    gr_domain_set_fault_handler(&domain, edu->domain.fault_handler, rig);
    EXPECT(gr_dma_unmap(&edu->dev, edu->doorbell, 4, GR_DMA_FROM_DEVICE, GR_DMA_MMIO) == 0);
    OK(gr_domain_attach(&domain, &edu->dev));
    why = walk_all(&machine, edu->stream.sid, rig->lg2, &bytes);
    if (why)
        return why;
    EXPECT(bytes < machine.ram.last - machine.ram.first && bytes > 200u << 20);
    fill(room, 0x10000, 4);
    OK(edu_copy(&rig->edu, &edu->dev, pa + 0x20123, pa + 0x777, 4000));
    EXPECT(filled(room + 0x20123, 4000, 4 + 0x777));
    OK(gr_dma_map(&edu->dev, pa, 100, GR_DMA_BIDIRECTIONAL, 0, &iova));
    /* the hole is not mapped */
    __builtin_memset(room + 0x10000, GUARD, 0x10000);
    faults_expect(rig, EDU, iova + 0x10000, 0x10000, GR_FAULT_NO_LEAF | GR_FAULT_NO_TABLE);
    OK(edu_write(&rig->edu, iova + 0x18000, 100));
    EXPECT(faults_met(rig));
    EXPECT(all_bytes(room + 0x10000, 0x10000, GUARD));
    OK(gr_dma_unmap(&edu->dev, iova, 100, GR_DMA_BIDIRECTIONAL, 0));
    OK(gr_domain_attach(&edu->domain, &edu->dev));
    OK(gr_dma_map(&edu->dev, MSI_DOORBELL, 4, GR_DMA_FROM_DEVICE, GR_DMA_MMIO, &edu->doorbell));
    EXPECT(pci_msi(edu->fn, edu->doorbell, edu->intid));
    OK(gr_domain_fini(&domain));
    pages_free(room, 18);
    return NULL;
}

/* A stream that passes untranslated, and a stream that is blocked. */
static const char *identity(struct rig *rig)
{
    static struct gr_domain through, blocked;
    struct master *edu = &rig->masters[EDU];
    uint8_t *room = pages_alloc(14, UINT64_MAX);
    const gr_pa_t pa = pa_of(room);
    gr_iova_t iova;

    EXPECT(room);
    OK(gr_domain_init(&through, NULL, &edu->dev, GR_DOMAIN_IDENTITY, 0));
    OK(gr_domain_init(&blocked, NULL, &edu->dev, GR_DOMAIN_BLOCKED, 0));
    EXPECT(gr_dma_unmap(&edu->dev, edu->doorbell, 4, GR_DMA_FROM_DEVICE, GR_DMA_MMIO) == 0);
    OK(gr_domain_attach(&through, &edu->dev));
    OK(gr_dma_map(&edu->dev, pa + 5, 4000, GR_DMA_BIDIRECTIONAL, 0, &iova));
    EXPECT(iova == pa + 5);
    fill(room, 0x2000, 9);
    OK(edu_copy(&rig->edu, &edu->dev, pa + 0x2123, pa + 0x777, 4000));
    EXPECT(filled(room + 0x2123, 4000, 9 + 0x777));
    OK(gr_dma_unmap(&edu->dev, iova, 4000, GR_DMA_BIDIRECTIONAL, 0));
    OK(gr_domain_attach(&blocked, &edu->dev));
    EXPECT(gr_dma_map(&edu->dev, pa, 1, GR_DMA_BIDIRECTIONAL, 0, &iova) == GR_ENODEV);
    __builtin_memset(room, GUARD, 0x4000);
    OK(edu_write(&rig->edu, pa, 1000)); /* no event: the stream is told to abort in silence */
    EXPECT(all_bytes(room, 0x4000, GUARD));
    OK(gr_domain_attach(&edu->domain, &edu->dev));
    OK(gr_dma_map(&edu->dev, MSI_DOORBELL, 4, GR_DMA_FROM_DEVICE, GR_DMA_MMIO, &edu->doorbell));
    EXPECT(pci_msi(edu->fn, edu->doorbell, edu->intid));
    OK(gr_domain_fini(&blocked));
    OK(gr_domain_fini(&through));
    pages_free(room, 14);
    return NULL;
}

/* ---- Firmware ---- */

/* The first domain of an SMMU that was taken over maps an IOVA that was mapped before. */
static const char *use_again(struct gr_smmuv3 *smmu, struct rig *old, gr_iova_t iova)
{
    static struct gr_domain domain;
    static struct gr_device dev;
    const uint64_t granule = 1ull << old->lg2;
    uint8_t *room = pages_alloc(old->lg2, UINT64_MAX);
    struct gr_stream stream = {
        .inst = &smmu->inst, .sid = old->masters[EDU].stream.sid, .window = {0, UINT64_MAX}};
    const struct gr_device_config config = {
        .name = "edu", .streams = &stream, .stream_count = 1, .coherent = true};

    EXPECT(room);
    OK(gr_device_init(&dev, &config));
    OK(gr_domain_init(&domain, NULL, &dev, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE));
    iova &= ~(granule - 1);
    OK(gr_domain_map(&domain, iova, pa_of(room), granule, GR_PROT_READ | GR_PROT_WRITE));
    OK(gr_domain_attach(&domain, &dev));
    fill(room, 1000, 0);
    OK(edu_read(&old->edu, iova, 1000));
    OK(edu_write(&old->edu, iova + 2000, 1000));
    EXPECT(filled(room + 2000, 1000, 0));
    OK(gr_domain_detach(&domain, &dev));
    OK(gr_domain_unmap(&domain, iova, granule));
    OK(gr_domain_fini(&domain));
    OK(gr_device_fini(&dev));
    pages_free(room, old->lg2);
    return NULL;
}

/*
 * An SMMU that was left running, with translations cached, is taken over: no old mapping works from
 * then on, and nothing passes untranslated. Runs before the rig is up; what the abandoned rig had
 * allocated is lost.
 */
const char *left_on(unsigned granule_lg2, unsigned stage)
{
    static struct rig old;
    static struct gr_smmuv3 smmu;
    const struct gr_smmuv3_config config = {.mmio = machine.smmu,
                                            .mmio_size = machine.smmu_size,
                                            .name = "smmu",
                                            .granule_lg2 = (uint8_t)granule_lg2,
                                            .va_bits = rig_va_bits(granule_lg2, stage),
                                            .stage = rig_asks(stage)};
    const char *why = rig_up(&old, granule_lg2, stage);
    uint8_t *page = pages_alloc(12, UINT64_MAX);
    gr_iova_t iova;

    if (why)
        return why;
    EXPECT(page);
    fill(page, PAGE, 700);
    OK(gr_dma_map(&old.masters[EDU].dev, pa_of(page), PAGE, GR_DMA_BIDIRECTIONAL, 0, &iova));
    OK(edu_read(&old.edu, iova, 1000));
    OK(edu_write(&old.edu, iova + 2000, 1000));
    EXPECT(filled(page + 2000, 1000, 700));
    rig_abandon(&old);
    __builtin_memset(page, GUARD, PAGE);
    OK(gr_smmuv3_init(&smmu, &config));
    OK(edu_write(&old.edu, iova, 1000));
    OK(edu_write(&old.edu, pa_of(page), 1000));
    EXPECT(all_bytes(page, PAGE, GUARD));
    why = use_again(&smmu, &old, iova);
    if (why)
        return why;
    EXPECT(all_bytes(page, PAGE, GUARD));
    OK(gr_smmuv3_fini(&smmu)); /* off, and still nothing passes */
    if (mmio_read32((volatile void *)(uintptr_t)machine.smmu, 0x44) >> 20 & 1) { /* GBPA.ABORT */
        OK(edu_write(&old.edu, iova, 1000));
        OK(edu_write(&old.edu, pa_of(page), 1000));
        EXPECT(all_bytes(page, PAGE, GUARD));
    } else {
        print("# SKIPPED: this QEMU has no GBPA register, all passes an SMMU that is off\n");
    }
    pages_free(page, 12);
    return NULL;
}

/* ---- Roots of stage 2 ---- */

/* Two tables side by side are one root: map an IOVA in each, and let the device read both. */
static const char *read_both(struct gr_smmuv3 *smmu, struct edu *edu, uint32_t sid,
                             const gr_iova_t *iova, uint8_t *room, uint32_t lg2)
{
    static struct gr_domain domain;
    static struct gr_device dev;
    const uint64_t granule = 1ull << lg2;
    struct gr_stream stream = {.inst = &smmu->inst, .sid = sid, .window = {0, UINT64_MAX}};
    const struct gr_device_config config = {
        .name = "edu", .streams = &stream, .stream_count = 1, .coherent = true};
    const char *why;
    struct walk w;

    OK(gr_device_init(&dev, &config));
    OK(gr_domain_init(&domain, NULL, &dev, GR_DOMAIN_UNMANAGED, GR_DOMAIN_LP_AWARE));
    for (unsigned i = 0; i < 3; i++)
        OK(gr_domain_map(&domain, iova[i], pa_of(room) + i * granule, granule,
                         GR_PROT_READ | GR_PROT_WRITE));
    OK(gr_domain_attach(&domain, &dev));
    for (unsigned i = 0; i < 3; i++) {
        EXPECT(walk(&machine, sid, lg2, iova[i] + 5, &w) && w.pa == pa_of(room) + i * granule + 5);
        fill(room + i * granule, 1000, 1000 * i);
    }
    /* from the second root to a place below both */
    OK(edu_read(edu, iova[1], 1000));
    OK(edu_write(edu, iova[2], 1000));
    why = filled(room + 2 * granule, 1000, 1000) ? NULL
          : filled(room + 2 * granule, 1000, 0)  ? "first"
                                                 : "what the device read is neither page's";
    OK(gr_domain_detach(&domain, &dev));
    for (unsigned i = 0; i < 3; i++)
        OK(gr_domain_unmap(&domain, iova[i], granule));
    OK(gr_domain_fini(&domain));
    OK(gr_device_fini(&dev));
    return why;
}

const char *two_roots(unsigned granule_lg2)
{
    static const uint8_t reach[17] = {[12] = 39, [14] = 36, [16] = 42}; /* of one table */
    static struct gr_smmuv3 smmu;
    static struct edu edu;
    const struct gr_smmuv3_config config = {.mmio = machine.smmu,
                                            .mmio_size = machine.smmu_size,
                                            .name = "smmu",
                                            .granule_lg2 = (uint8_t)granule_lg2,
                                            .va_bits = (uint8_t)(reach[granule_lg2] + 1),
                                            .stage = 2};
    const gr_iova_t half = 1ull << reach[granule_lg2];
    const gr_iova_t iova[3] = {0x40000, half + 0x40000, 0x80000};
    uint8_t *room = pages_alloc(granule_lg2 + 2, UINT64_MAX);
    unsigned n = 0;
    const char *why;

    EXPECT(room);
    while (n < machine.function_count && machine.functions[n].vendor != EDU_VENDOR)
        n++;
    EXPECT(n < machine.function_count);
    OK(gr_smmuv3_init(&smmu, &config));
    OK(edu_init(&edu, NULL, &machine.functions[n]));
    why = read_both(&smmu, &edu, machine.masters[n].streams[0].sid, iova, room, granule_lg2);
    if (why && why[0] == 'f') {
        print("# SKIPPED: roots side by side: this QEMU takes the first of them for all\n");
        why = NULL;
    }
    if (why)
        return why;
    OK(gr_smmuv3_fini(&smmu));
    pages_free(room, granule_lg2 + 2);
    return NULL;
}

/* ---- The list ---- */

const struct scenario scenarios[] = {
    {"nvme-lists", nvme_lists},
    {"disk-lists", disk_lists},
    {"odd-ranges", odd_ranges},
    {"narrow-device", narrow_device},
    {"coherent", coherent},
    {"msi-arrives", msi_arrives},
    {"msi-blocked", msi_blocked},
    {"fault-unmapped", fault_unmapped},
    {"fault-read-only", fault_read_only},
    {"fault-write-only", fault_write_only},
    {"fault-freed", fault_freed},
    {"fault-foreign", fault_foreign},
    {"same-iova-twice", same_iova_twice},
    {"fault-nvme", fault_nvme},
    {"fault-detached", fault_detached},
    {"stale-access", stale_access},
    {"map-in-interrupt", map_in_interrupt},
    {"tables", tables},
    {"blocks", blocks},
    {"bounced", bounced},
    {"nvme-bounced", nvme_bounced},
    {"disk-bounced", disk_bounced},
    {"deferred", deferred},
    {"nvme-deferred", nvme_deferred},
    {"linear", linear},
    {"identity", identity},
};

const unsigned scenario_count = sizeof(scenarios) / sizeof(scenarios[0]);

/* ---- Not scenarios ---- */

#define BENCH_ROUNDS 9u
#define BENCH_COUNT 1000u

/* Per second, from the median of the rounds' times. */
static uint64_t per_second(uint64_t *ns)
{
    for (unsigned i = 1; i < BENCH_ROUNDS; i++) {
        for (unsigned k = i; k > 0 && ns[k - 1] > ns[k]; k--) {
            uint64_t t = ns[k];

            ns[k] = ns[k - 1];
            ns[k - 1] = t;
        }
    }
    return BENCH_COUNT * 1000000000ul / ns[BENCH_ROUNDS / 2];
}

/* Map, read 4 KiB from the disk, unmap and invalidate; and the parts of it. */
static const char *measure(struct rig *rig)
{
    uint8_t *page = pages_alloc(12, UINT64_MAX);
    struct gr_seg seg = {pa_of(page), PAGE};
    struct gr_device *dev = &rig->masters[NVME].dev;
    uint64_t all[BENCH_ROUNDS], reads[BENCH_ROUNDS], maps[BENCH_ROUNDS], begin;
    gr_iova_t iova;

    EXPECT(page);
    for (unsigned round = 0; round < BENCH_ROUNDS; round++) {
        begin = time_ns();
        for (unsigned i = 0; i < BENCH_COUNT; i++)
            OK(nvme_rw(&rig->nvme, NVME_READ, i % 64 * 8, &seg, 1));
        all[round] = time_ns() - begin;
        OK(gr_dma_map(dev, seg.pa, PAGE, GR_DMA_FROM_DEVICE, 0, &iova));
        begin = time_ns();
        for (unsigned i = 0; i < BENCH_COUNT; i++)
            OK(nvme_io(&rig->nvme, NVME_READ, i % 64 * 8, 8, iova, 0));
        reads[round] = time_ns() - begin;
        OK(gr_dma_unmap(dev, iova, PAGE, GR_DMA_FROM_DEVICE, 0));
        begin = time_ns();
        for (unsigned i = 0; i < BENCH_COUNT; i++) {
            OK(gr_dma_map(dev, seg.pa, PAGE, GR_DMA_FROM_DEVICE, 0, &iova));
            OK(gr_dma_unmap(dev, iova, PAGE, GR_DMA_FROM_DEVICE, 0));
        }
        maps[round] = time_ns() - begin;
    }
    print("map, read 4 KiB, unmap %lu/s; the read alone %lu/s; map, unmap %lu/s\n", per_second(all),
          per_second(reads), per_second(maps));
    pages_free(page, 12);
    return NULL;
}

const char *bench(struct rig *rig)
{
    const char *why;

    print("bench G=%luK strict: ", rig->granule >> 10);
    why = measure(rig);
    if (why)
        return why;
    print("bench G=%luK deferred: ", rig->granule >> 10);
    return nvme_in_deferred(rig, measure);
}

/* Copy a block of the disk to and from CPU pages, with output for people. */
const char *demo(struct rig *rig)
{
    static const char text[] = "hello from 4 KiB pages";
    struct master *nvme = &rig->masters[NVME];
    struct gr_seg seg[2];
    struct gr_dma_seg out[2];
    struct gr_dma_list list = {.segs = seg, .count = 2, .out = out};
    gr_iova_t prp[2];

    EXPECT(pool_open());
    seg[0] = (struct gr_seg){pa_of(pool[0]) + 0xc00, 0x400};
    seg[1] = (struct gr_seg){pa_of(pool[1]), 0xc00};
    print("G = %lu KiB, CPU pages of 4 KiB; %lu blocks of %u bytes\n", rig->granule >> 10,
          rig->nvme.blocks, 1u << rig->nvme.block_lg2);
    __builtin_memcpy(cpu(seg[0].pa), text, sizeof(text));
    OK(gr_dma_map_sg(&nvme->dev, &list, GR_DMA_TO_DEVICE, 0));
    for (unsigned i = 0; i < 2; i++)
        print("  memory %lx, %lu bytes\n", seg[i].pa, seg[i].len);
    for (unsigned i = 0; i < list.out_count; i++)
        print("  IOVA %lx, %lu bytes\n", out[i].iova, out[i].len);
    prp[0] = out[0].iova;
    prp[1] = list.out_count > 1 ? out[1].iova : (out[0].iova | (PAGE - 1)) + 1;
    OK(nvme_io(&rig->nvme, NVME_WRITE, 8, 8, prp[0], prp[1]));
    OK(gr_dma_unmap_sg(&nvme->dev, &list, GR_DMA_TO_DEVICE, 0));
    guard_pool();
    OK(nvme_rw(&rig->nvme, NVME_READ, 8, seg, 2));
    print("  written, and read back: %s\n", (const char *)cpu(seg[0].pa));
    faults_expect(rig, NVME, prp[0], 0x400, GR_FAULT_NO_LEAF | GR_FAULT_NO_TABLE);
    EXPECT(nvme_io(&rig->nvme, NVME_READ, 8, 2, prp[0], 0) != GR_ETIMEDOUT);
    EXPECT(faults_met(rig));
    print("  after the unmap a read of it faults at IOVA %lx, and no byte arrives\n", prp[0]);
    pool_close();
    return NULL;
}
