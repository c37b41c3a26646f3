/* SPDX-License-Identifier: MIT */
/*
 * The first test of a port: this port, an ordinary program, and the model of a DART for the
 * hardware. docs/PORTING.md shows how to build and run it. The linker's --wrap leads the two
 * functions that access registers to the model; all others are the port's own.
 */
#include <granule/granule.h>
#include <stdio.h>
#include <string.h>

#include "dart/dart.h"

#define RAM_PA 0x800000000u
#define RAM_SIZE (1u << 20)
#define SID 1u

static _Alignas(65536) uint8_t ram[RAM_SIZE];
static struct template_env env = {.pa = RAM_PA, .va = ram, .size = RAM_SIZE / 2};

uint32_t __wrap_gr_port_read32(gr_mmio_t mmio, gr_reg32 reg);
void __wrap_gr_port_write32(gr_mmio_t mmio, gr_reg32 reg, uint32_t value);

uint32_t __wrap_gr_port_read32(gr_mmio_t mmio, gr_reg32 reg)
{
    return dart_model_read32((struct dart_model *)mmio, reg.offset);
}

void __wrap_gr_port_write32(gr_mmio_t mmio, gr_reg32 reg, uint32_t value)
{
    dart_model_write32((struct dart_model *)mmio, reg.offset, value);
}

/* ---- What the model asks of the machine ---- */

static bool in_ram(uint64_t pa, uint64_t len)
{
    return pa >= RAM_PA && pa - RAM_PA <= RAM_SIZE && RAM_SIZE - (pa - RAM_PA) >= len;
}

static bool mem_read(void *opaque, uint64_t pa, void *buf, size_t len, bool coherent)
{
    (void)opaque;
    (void)coherent;
    if (in_ram(pa, len))
        memcpy(buf, ram + (pa - RAM_PA), len);
    return in_ram(pa, len);
}

static bool mem_write(void *opaque, uint64_t pa, const void *buf, size_t len, bool coherent)
{
    (void)opaque;
    (void)coherent;
    if (in_ram(pa, len))
        memcpy(ram + (pa - RAM_PA), buf, len);
    return in_ram(pa, len);
}

static bool table_read64(void *opaque, uint64_t pa, uint64_t *out)
{
    return mem_read(opaque, pa, out, sizeof(*out), true);
}

static uint64_t now_ns(void *opaque)
{
    (void)opaque;
    return env.ns;
}

/* ---- The test ---- */

static struct dart_model *model;

/* The upper half of RAM is the driver's: its buffer begins and ends within a granule. */
static int use(struct gr_device *dev)
{
    char *const buffer = (char *)ram + RAM_SIZE / 2 + 0x123;
    const gr_pa_t pa = RAM_PA + RAM_SIZE / 2 + 0x123;
    char seen[6];
    gr_iova_t iova;
    int ret;

    memcpy(buffer, "hello", 6);
    ret = gr_dma_map(dev, pa, 6, GR_DMA_BIDIRECTIONAL, 0, &iova);
    if (ret)
        return ret;
    if (!dart_model_access(model, SID, iova, seen, 6, false, true, NULL))
        printf("the device reads %s\n", seen);
    if (!dart_model_access(model, SID, iova, "HELLO", 6, true, true, NULL))
        printf("the device wrote %s\n", buffer);
    ret = gr_dma_unmap(dev, iova, 6, GR_DMA_BIDIRECTIONAL, 0);
    if (!ret && dart_model_access(model, SID, iova, seen, 6, false, true, NULL))
        puts("after the unmap its access faults");
    return ret;
}

int main(void)
{
    static const struct model_host host = {.table_read64 = table_read64,
                                           .mem_read = mem_read,
                                           .mem_write = mem_write,
                                           .now_ns = now_ns};
    static struct gr_dart dart;
    static struct gr_domain domain;
    struct gr_stream stream = {.inst = &dart.inst, .sid = SID, .window = {0, UINT64_MAX}};
    const struct gr_device_config device = {
        .name = "device", .streams = &stream, .stream_count = 1, .coherent = true};
    struct dart_model_config config = dart_model_defaults(DART_MODEL_T8020);
    struct gr_device dev;
    int ret;

    config.host = &host;
    model = dart_model_create(&config);
    ret = gr_dart_init(&dart, &(struct gr_dart_config){.kind = GR_DART_T8020,
                                                       .env = &env,
                                                       .mmio = (uintptr_t)model,
                                                       .mmio_size = config.mmio_size,
                                                       .name = "dart"});
    ret = ret ? ret : gr_device_init(&dev, &device);
    ret = ret ? ret : gr_domain_init(&domain, &env, &dev, GR_DOMAIN_TRANSLATED, 0);
    ret = ret ? ret : gr_domain_attach(&domain, &dev);
    ret = ret ? ret : use(&dev);
    ret = ret ? ret : gr_domain_detach(&domain, &dev);
    ret = ret ? ret : gr_domain_fini(&domain);
    ret = ret ? ret : gr_device_fini(&dev);
    ret = ret ? ret : gr_dart_fini(&dart);
    dart_model_destroy(model);
    printf("%s\n", gr_strerror(ret));
    return ret != 0;
}
