/* SPDX-License-Identifier: MIT */
/*
 * Unmaps that are under way at the same time in one arena of a TRANSLATED domain, on one thread:
 * the second is made by the fake instance while it invalidates for the first.
 */
#include <host.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <granule/dma.h>
#include <setjmp.h>

#include <cmocka.h>

#define LEN 0x4000u

struct stand {
    struct host *host;
    struct gr_instance inst;
    struct gr_stream stream;
    struct gr_device dev;
    struct gr_domain domain;
    gr_iova_t inside; /* to be unmapped while something else is; 0: nothing */
};

static struct stand stand;

static int fake_attach(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                       struct gr_binding *binding)
{
    (void)inst, (void)stream, (void)pt, (void)binding;
    return 0;
}

static int fake_block(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding)
{
    (void)inst, (void)stream, (void)binding;
    return 0;
}

static int fake_invalidate(struct gr_instance *inst, struct gr_binding *binding, gr_iova_t first,
                           gr_iova_t last, bool tables)
{
    struct stand *const s = &stand;
    const gr_iova_t inside = s->inside;

    (void)inst, (void)binding, (void)first, (void)last, (void)tables;
    s->inside = 0;
    if (inside)
        assert_int_equal(gr_dma_unmap(&s->dev, inside, LEN, GR_DMA_TO_DEVICE, 0), 0);
    return 0;
}

static const struct gr_instance_ops fake_ops = {
    .attach = fake_attach, .block = fake_block, .invalidate = fake_invalidate};

static uint64_t tables(struct stand *s)
{
    struct gr_domain_stats stats;

    gr_domain_stats(&s->domain, &stats);
    return stats.tables;
}

/* Neither is the last of the arena when it begins; the table goes all the same. */
static void the_last_two(void **state)
{
    const struct host_config config = {
        .cpu_page = 4096, .nbanks = 1, .banks = {{0, 16u << 20}}, .seed = 1};
    struct gr_device_config dev;
    struct stand *const s = &stand;
    struct gr_domain_stats stats;
    gr_iova_t iova[2];

    (void)state;
    s->host = host_create(&config, NULL, 0);
    assert_non_null(s->host);
    s->inst = (struct gr_instance){
        .ops = &fake_ops,
        .env = s->host,
        .name = "fake",
        .table = {.format = GR_PT_DART1,
                  .granule_lg2 = 14,
                  .levels = 2,
                  .va_bits = 32,
                  .pa_bits = 36,
                  .coherent = true},
        .aperture = {0, UINT32_MAX},
        .streams = 1,
    };
    gr_instance_init(&s->inst);
    s->stream = (struct gr_stream){.inst = &s->inst, .window = {0, UINT64_MAX}};
    dev = (struct gr_device_config){
        .name = "dev", .streams = &s->stream, .stream_count = 1, .coherent = true};
    assert_int_equal(gr_device_init(&s->dev, &dev), 0);
    assert_int_equal(gr_domain_init(&s->domain, s->host, &s->dev, GR_DOMAIN_TRANSLATED, 0), 0);
    assert_int_equal(gr_domain_attach(&s->domain, &s->dev), 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(gr_dma_map(&s->dev, i * LEN, LEN, GR_DMA_TO_DEVICE, 0, &iova[i]), 0);
    assert_int_equal(tables(s), 2);
    s->inside = iova[1];
    assert_int_equal(gr_dma_unmap(&s->dev, iova[0], LEN, GR_DMA_TO_DEVICE, 0), 0);
    assert_int_equal(tables(s), 1);
    gr_domain_stats(&s->domain, &stats);
    assert_int_equal(stats.iova.allocations, 0);
    assert_int_equal(stats.iova.held, 0);
    assert_int_equal(stats.invalidations, 3); /* one each, one for the table */
    assert_int_equal(gr_domain_detach(&s->domain, &s->dev), 0);
    assert_int_equal(gr_domain_fini(&s->domain), 0);
    assert_int_equal(gr_device_fini(&s->dev), 0);
    assert_int_equal(gr_instance_fini(&s->inst), 0);
    assert_int_equal(host_misuse(s->host), 0);
    assert_int_equal(host_destroy(s->host), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_last_two)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
