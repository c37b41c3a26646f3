/* SPDX-License-Identifier: MIT */
#include "board.h"
#include "pci.h"
#include <granule/dt.h>
int board_main(void);
static struct pci_function fns[16];
int board_main(void)
{
    struct gr_dt dt;
    struct gr_dt_iter it = {0};
    struct gr_range bank;
    struct gr_dt_iommu iommu;
    struct gr_dt_master m;
    irq_init();
    print("hello %s %5u|%-5u|%05x|%d|%lx\n", "x", 42u, 42u, 0xabcu, -7, time_ns());
    int rc = gr_dt_open(&dt, (void *)(uintptr_t)RAM_BASE, GR_DT_SIZE_MAX);
    if (rc) panic("dt %d %s", rc, dt.error);
    while ((rc = gr_dt_memory_next(&dt, &it, &bank)) > 0)
        print("ram %lx-%lx\n", bank.first, bank.last);
    it = (struct gr_dt_iter){0};
    while ((rc = gr_dt_iommu_next(&dt, &it, &iommu)) > 0)
        print("iommu %s %s %lx %lx\n", iommu.path, iommu.compatible, iommu.reg_base, iommu.reg_size);
    if (rc) panic("%s", dt.error);
    it = (struct gr_dt_iter){0};
    while ((rc = gr_dt_master_next(&dt, &it, &m)) > 0) {
        print("master %s streams %u sid %x res %u\n", m.path, m.nstreams, m.streams[0].sid, m.nreserved);
        for (unsigned i = 0; i < m.nreserved; i++) print("  %lx-%lx\n", m.reserved[i].first, m.reserved[i].last);
    }
    if (rc) panic("%s", dt.error);
    unsigned n = pci_scan(fns, 16);
    for (unsigned i = 0; i < n; i++) print("pci %04x %04x:%04x bar %x %x %x %x\n", fns[i].rid, fns[i].vendor, fns[i].device, fns[i].bar[0], fns[i].bar[1], fns[i].bar[2], fns[i].bar[4]);
    mmu_map_ram(0x40000000, 0x4fffffff);
    pages_add(0x40800000, 0x4fffffff);
    void *p = pages_alloc(14, ~0ull);
    print("%lx used %lx\n", (uint64_t)p, pages_used());
    pages_free(p, 14);
    *(volatile int *)0x1234 = 3;
    return 0;
}
