/* SPDX-License-Identifier: MIT */
/*
 * The least that runs: this port as it is, on a machine without an operating system. QEMU's `virt`,
 * one SMMUv3 with pages of 64 KiB, one edu device (slot 3) that copies a text through it.
 * `make qemu-check` builds and boots it.
 */
#include <granule/granule.h>

#define SMMU 0x09050000u
#define UART 0x09000000u
#define EDU_CONFIG 0x4010018000u /* slot 3 of bus 0 */
#define EDU_RID 0x18u
#define EDU_BAR 0x10000000u
#define EDU_MEMORY 0x40000u
#define REGISTERS 0x60000000000401ull /* a block of 1 GiB: never run, accessed, MAIR 0: device */
#define MEMORY 0x705ull               /* inner shareable, accessed, MAIR 1: write-back */

int image_main(void);

/* A stack, the MMU with three blocks of 1 GiB, image_main(); its result is QEMU's exit status. */
uint64_t image_table[512] __attribute__((aligned(4096))) = {
    [0] = REGISTERS, [1] = 0x40000000 | MEMORY, [256] = 0x4000000000 | REGISTERS};
__asm__(".section .text.start, \"ax\"\n"
        ".global _start\n"
        "_start: ldr x1, =image_stack_end\n mov sp, x1\n"
        " ldr x1, =image_bss\n ldr x2, =image_bss_end\n"
        "1: str xzr, [x1], #8\n cmp x1, x2\n b.lo 1b\n"
        " mov x1, #0xff04\n msr mair_el1, x1\n"     /* 0: device, 1: write-back */
        " ldr x1, =0x200803519\n msr tcr_el1, x1\n" /* 39 bits, 4 KiB, PAs of 40 bits */
        " ldr x1, =image_table\n msr ttbr0_el1, x1\n"
        " tlbi vmalle1\n dsb sy\n isb\n"
        " mrs x1, sctlr_el1\n mov x2, #0x1005\n orr x1, x1, x2\n bic x1, x1, #2\n"
        " msr sctlr_el1, x1\n isb\n"
        " bl image_main\n"
        " ldr x1, =image_exit\n str x0, [x1, #8]\n mov x0, #0x18\n hlt #0xf000\n b .\n"
        ".data\n.balign 8\nimage_exit: .quad 0x20026, 0\n.text\n");

static volatile uint32_t *reg32(uint64_t at)
{
    return (volatile uint32_t *)(uintptr_t)at;
}

static void say(const char *text)
{
    for (; *text; text++)
        *reg32(UART) = (uint8_t)*text;
}

/* Place the device's BAR and enable it, as PCI firmware does on other machines. */
static void edu_up(void)
{
    *reg32(EDU_CONFIG + 0x10) = EDU_BAR;
    *reg32(EDU_CONFIG + 0x04) = 6; /* memory, bus master */
}

static void edu_dma(uint64_t from, uint64_t to, uint32_t len, uint32_t command)
{
    volatile uint64_t *regs = (volatile uint64_t *)(uintptr_t)EDU_BAR;

    regs[0x80 / 8] = from;
    regs[0x88 / 8] = to;
    regs[0x90 / 8] = len;
    gr_port_wmb();
    regs[0x98 / 8] = command;
    while (regs[0x98 / 8] & 1)
        ;
    gr_port_rmb();
}

static int copy(struct gr_device *dev, struct template_env *env, char *to, const char *from,
                uint32_t len)
{
    const gr_pa_t source = gr_port_virt_to_phys(env, from), target = gr_port_virt_to_phys(env, to);
    gr_iova_t read, write;
    int err = gr_dma_map(dev, source, len, GR_DMA_TO_DEVICE, 0, &read);

    err = err ? err : gr_dma_map(dev, target, len, GR_DMA_FROM_DEVICE, 0, &write);
    if (err)
        return err;
    edu_dma(read, EDU_MEMORY, len, 1);
    edu_dma(EDU_MEMORY, write, len, 3);
    err = gr_dma_unmap(dev, write, len, GR_DMA_FROM_DEVICE, 0);
    err = err ? err : gr_dma_unmap(dev, read, len, GR_DMA_TO_DEVICE, 0);
    to[0] = 'H';
    edu_dma(EDU_MEMORY, write, 1, 3); /* blocked; else to[0] is an h again */
    return err ? err : to[0] == 'H' ? 0 : GR_EACCES;
}

int image_main(void)
{
    static uint8_t memory[8 << 20] __attribute__((aligned(65536)));
    static struct template_env env;
    static struct gr_smmuv3 smmu;
    static struct gr_domain domain;
    static struct gr_stream stream = {
        .inst = &smmu.inst, .sid = EDU_RID, .window = {0, UINT64_MAX}};
    struct gr_device dev;
    char *page;
    int err;

    env.pa = (uintptr_t)memory;
    env.va = memory;
    env.size = sizeof(memory);
    edu_up();
    err = gr_smmuv3_init(
        &smmu,
        &(struct gr_smmuv3_config){
            .env = &env, .mmio = SMMU, .mmio_size = 0x20000, .name = "smmu", .granule_lg2 = 16});
    err = err ? err
              : gr_device_init(&dev, &(struct gr_device_config){.name = "edu",
                                                                .streams = &stream,
                                                                .stream_count = 1,
                                                                .dma_mask = 0xfffffff,
                                                                .coherent = true});
    err = err ? err : gr_domain_init(&domain, &env, &dev, GR_DOMAIN_TRANSLATED, 0);
    err = err ? err : gr_domain_attach(&domain, &dev);
    page = gr_port_pages_alloc(&env, 12, UINT64_MAX, 0);
    if (!err && page) {
        __builtin_memcpy(page + 0x123, "hello from 4 KiB pages\n", 24);
        err = copy(&dev, &env, page + 0x801, page + 0x123, 24);
        say(page + 0x801);
    }
    err = err ? err : gr_domain_detach(&domain, &dev);
    err = err ? err : gr_domain_fini(&domain);
    err = err ? err : gr_device_fini(&dev);
    err = err ? err : gr_smmuv3_fini(&smmu);
    say(err ? gr_strerror(err) : "every call succeeded");
    say("\n");
    return err != 0;
}
