/* SPDX-License-Identifier: MIT */
/*
 * One port, one IOMMU, one domain, one mapping, one DMA: the whole of Granule in one page.
 *
 * The machine is a hosted one: 64 MiB of RAM, CPU pages of 4 KiB, and the model of an Apple DART,
 * whose pages are 16 KiB. On real hardware only machine_up() is different.
 */
#include <granule/granule.h>
#include <stdio.h>
#include <string.h>

#include "host_dart.h"

#define SID 2u

static struct host *host;
static struct host_dart hardware;

static void machine_up(void)
{
    const struct host_config config = {
        .cpu_page = 4096,
        .nbanks = 1,
        .banks = {{0x800000000, 64 << 20}},
    };
    const struct dart_model_config model = dart_model_defaults(DART_MODEL_T8020);
    char why[160];

    host = host_create(&config, why, sizeof(why));
    if (!host || !host_dart_init(&hardware, host, &model, 1))
        puts("no machine");
}

static int dma(struct gr_device *dev, gr_pa_t pa, const char *text)
{
    char seen[64] = {0};
    gr_iova_t iova;
    int err = gr_dma_map(dev, pa, strlen(text), GR_DMA_TO_DEVICE, 0, &iova);

    if (err)
        return err;
    printf("PA %#llx is IOVA %#llx\n", (unsigned long long)pa, (unsigned long long)iova);
    if (!host_dart_access(&hardware, SID, iova, seen, strlen(text), false, true, NULL))
        printf("the device reads: %s\n", seen);
    err = gr_dma_unmap(dev, iova, strlen(text), GR_DMA_TO_DEVICE, 0);
    if (!err && host_dart_access(&hardware, SID, iova, seen, 1, false, true, NULL))
        puts("after the unmap it reads nothing");
    return err;
}

int main(void)
{
    static struct gr_dart dart;
    static struct gr_domain domain;
    struct gr_device dev;
    gr_pa_t page;
    int err;

    machine_up();
    err = gr_dart_init(&dart, &(struct gr_dart_config){.kind = GR_DART_T8020,
                                                       .env = host,
                                                       .mmio = &hardware.mmio,
                                                       .mmio_size = 0x4000,
                                                       .name = "dart"});
    struct gr_stream stream = {.inst = &dart.inst, .sid = SID, .window = {0, UINT64_MAX}};
    const struct gr_device_config config = {
        .name = "hello", .streams = &stream, .stream_count = 1, .coherent = true};

    err = err ? err : gr_device_init(&dev, &config);
    err = err ? err : gr_domain_init(&domain, host, &dev, GR_DOMAIN_TRANSLATED, 0);
    err = err ? err : gr_domain_attach(&domain, &dev);
    err = err ? err : host_ram_alloc(host, 4096, 0, &page);
    if (!err) {
        strcpy(host_ptr(host, page + 0x123, 64), "hello from 4 KiB pages");
        err = dma(&dev, page + 0x123, "hello from 4 KiB pages");
        host_ram_free(host, page);
    }
    err = err ? err : gr_domain_detach(&domain, &dev);
    err = err ? err : gr_domain_fini(&domain);
    err = err ? err : gr_device_fini(&dev);
    err = err ? err : gr_dart_fini(&dart);
    host_dart_fini(&hardware);
    printf("%s, %d pages leaked\n", gr_strerror(err), host_destroy(host));
    return err != 0;
}
