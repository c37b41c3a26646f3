/* SPDX-License-Identifier: MIT */
/*
 * The image: brings the machine up from its device tree and runs what the command line asks for
 * (QEMU's -append, or the program's arguments): nothing for every scenario at every granule, in
 * each stage that the SMMU has; `bench`, `demo`, `trap=store`, `trap=text`, `trap=stack`; and
 * `seed=N`, `only=NAME`, `stage=N`.
 */
#include <granule/dt.h>
#include <libfdt.h>

#include "rig.h"

struct machine machine;

static const void *tree;

/* ---- The device tree ---- */

static struct gr_dt dt;

static void read_tree(void)
{
    static struct gr_dt_iommu iommu;
    struct gr_dt_iter it = {0};
    int rc = gr_dt_open(&dt, tree, GR_DT_SIZE_MAX);

    if (rc == 0)
        rc = gr_dt_memory_next(&dt, &it, &machine.ram);
    it = (struct gr_dt_iter){0};
    if (rc > 0)
        rc = gr_dt_iommu_next(&dt, &it, &iommu);
    if (rc <= 0)
        panic("the device tree: %s", rc ? dt.error : "no RAM, or no IOMMU");
    if (iommu.driver != GR_DT_SMMUV3)
        panic("the device tree: %s is no SMMUv3", iommu.path);
    machine.smmu = iommu.reg_base;
    machine.smmu_size = iommu.reg_size;
    machine.smmu_node = iommu.node;
    print("# RAM %lx-%lx, %s at %lx\n", machine.ram.first, machine.ram.last, iommu.path,
          machine.smmu);
}

/* Which PCI functions are behind the SMMU, and as which streams. */
static void read_functions(void)
{
    const int bridge = fdt_node_offset_by_compatible(tree, -1, "pci-host-ecam-generic");

    machine.function_count = pci_scan(machine.functions, FUNCTIONS);
    for (unsigned i = 0; i < machine.function_count; i++) {
        struct gr_dt_master *master = &machine.masters[i];
        const int rc = gr_dt_pci_function(&dt, bridge, machine.functions[i].rid, master);

        if (rc < 0)
            panic("the device tree: %s", dt.error);
        if (rc == 0 || master->streams[0].iommu != machine.smmu_node)
            panic("the device tree has function %x behind no IOMMU, or another one",
                  machine.functions[i].rid);
    }
}

static void add_ram(void)
{
    pages_add(ram_open(machine.ram.last), machine.ram.last);
}

/* ---- The command line ---- */

/* The text after `name` in the word that begins with it, or NULL. */
static const char *argument(const char *name)
{
    const char *args = board_arguments(tree);
    size_t n = strlen(name);

    for (const char *p = args; p && *p; p++) {
        if ((p == args || p[-1] == ' ') && strlen(p) >= n && memcmp(p, name, n) == 0)
            return p + n;
    }
    return NULL;
}

static uint32_t number(const char *s)
{
    uint32_t n = 0;

    for (; s && *s >= '0' && *s <= '9'; s++)
        n = n * 10 + (uint32_t)(*s - '0');
    return n;
}

static bool chosen_one(const char *only, const char *name)
{
    size_t n = strlen(name);

    return !only ||
           (strlen(only) >= n && memcmp(only, name, n) == 0 && (!only[n] || only[n] == ' '));
}

/* ---- Running ---- */

static unsigned passed, failed;

static void report(const char *name, unsigned lg2, unsigned stage, const char *why)
{
    if (why)
        print("FAIL %s G=%uK stage %u: %s\n", name, 1u << lg2 >> 10, stage, why);
    else
        print("ok %s G=%uK stage %u\n", name, 1u << lg2 >> 10, stage);
    passed += !why;
    failed += !!why;
}

static const char *run_one(struct rig *rig, const char *(*run)(struct rig *rig))
{
    const char *why;

    rig->faults.others = 0;
    why = run(rig);
    cpu_relax(); /* let events of the last access come in */
    if (!why && rig->faults.others)
        why = "a fault that nobody expected";
    rig->faults.any = false;
    return why;
}

static void run_granule(unsigned lg2, unsigned stage, const char *only)
{
    static struct rig rig;
    const char *why;

    if (!argument("bench") && !argument("demo") && chosen_one(only, "left-on"))
        report("left-on", lg2, stage, left_on(lg2, stage));
    if (stage == 2 && !argument("bench") && !argument("demo") && chosen_one(only, "two-roots"))
        report("two-roots", lg2, stage, two_roots(lg2));
    why = rig_up(&rig, lg2, stage);
    report("up", lg2, stage, why);
    if (why)
        return;
    if (argument("bench")) {
        report("bench", lg2, stage, run_one(&rig, bench));
    } else if (argument("demo")) {
        report("demo", lg2, stage, run_one(&rig, demo));
    } else {
        for (unsigned i = 0; i < scenario_count; i++) {
            if (chosen_one(only, scenarios[i].name))
                report(scenarios[i].name, lg2, stage, run_one(&rig, scenarios[i].run));
        }
    }
    report("down", lg2, stage, rig_down(&rig));
}

/* Run at every granule, in each stage that the SMMU has and the command line asks for. */
static void run_stages(const char *only)
{
    const uint32_t idr0 = mmio_read32((volatile void *)(uintptr_t)machine.smmu, 0);
    const char *asked = argument("stage=");

    for (unsigned stage = 1; stage <= 2; stage++) {
        if (asked && number(asked) != stage)
            continue;
        if (!(idr0 >> (2 - stage) & 1)) {
            print("# SKIPPED: stage %u: this QEMU's SMMUv3 has none\n", stage);
            continue;
        }
        for (unsigned lg2 = 12; lg2 <= 16; lg2 += 2)
            run_granule(lg2, stage, only);
    }
}

int board_main(void)
{
    const char *seed, *only;

    tree = ram_at(RAM_BASE);
    irq_init();
    read_tree();
    add_ram();
    read_functions();
    if (argument("trap="))
        cpu_trap(argument("trap="));
    seed = argument("seed=");
    only = argument("only=");
    scenarios_seed(seed ? number(seed) : 1);
    print("# seed %u\n", seed ? number(seed) : 1);
    run_stages(only);
    print("%u passed, %u failed\n", passed, failed);
    return failed || !passed;
}
