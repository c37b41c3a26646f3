/* SPDX-License-Identifier: MIT */
/*
 * Two unmaps at the same time: the invalidation of a fake instance keeps the first under way while
 * the second is made. By another thread in an UNMANAGED domain: the overlap detector of debug
 * builds (GR_CFG_DEBUG). By the same one in a TRANSLATED domain: the last two ranges of an arena.
 */
#include <host.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <granule/dma.h>
#include <setjmp.h>

#include <cmocka.h>

#define G 0x4000u

struct stand {
    struct host *host;
    struct gr_instance inst;
    struct gr_stream stream;
    struct gr_device dev;
    struct gr_domain domain;
    gr_iova_t other; /* what the second thread unmaps while the first is under way */
    pthread_t thread;
    atomic_bool armed;
    gr_iova_t inside; /* what the first thread unmaps then; 0: nothing */
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

static void *second(void *arg)
{
    struct stand *const s = arg;

    return gr_domain_unmap(&s->domain, s->other, G) ? s : NULL;
}

#if GR_CFG_DEBUG
static bool second_is_noted(struct stand *s)
{
    const gr_lock_state_t state = gr_port_lock(&s->domain.busy_lock);
    const bool noted = s->domain.busy_count == 2;

    gr_port_unlock(&s->domain.busy_lock, state);
    return noted;
}
#else
static bool second_is_noted(struct stand *s)
{
    (void)s;
    return true;
}
#endif

/* Called inside the first unmap, in an UNMANAGED domain with its lock held: let the second come. */
static int fake_invalidate(struct gr_instance *inst, struct gr_binding *binding, gr_iova_t first,
                           gr_iova_t last, bool tables)
{
    struct stand *const s = &stand;
    const gr_iova_t inside = s->inside;

    (void)inst, (void)binding, (void)first, (void)last, (void)tables;
    s->inside = 0;
    if (inside)
        assert_int_equal(gr_dma_unmap(&s->dev, inside, G, GR_DMA_TO_DEVICE, 0), 0);
    if (atomic_exchange(&s->armed, false)) {
        assert_int_equal(pthread_create(&s->thread, NULL, second, s), 0);
        while (!second_is_noted(s))
            sched_yield();
    }
    return 0;
}

static const struct gr_instance_ops fake_ops = {
    .attach = fake_attach, .block = fake_block, .invalidate = fake_invalidate};

static void make(enum gr_domain_type type)
{
    const struct host_config config = {
        .cpu_page = 4096, .nbanks = 1, .banks = {{0, 16u << 20}}, .seed = 1};
    struct gr_device_config dev;
    struct stand *const s = &stand;

    memset(s, 0, sizeof(*s));
    s->host = host_create(&config, NULL, 0);
    assert_non_null(s->host);
    host_log_level(s->host, -1);
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
    assert_int_equal(gr_domain_init(&s->domain, s->host, &s->dev, type, GR_DOMAIN_LP_AWARE), 0);
    assert_int_equal(gr_domain_attach(&s->domain, &s->dev), 0);
}

static int setup(void **state)
{
    make(GR_DOMAIN_UNMANAGED);
    assert_int_equal(gr_domain_map(&stand.domain, 0, 0x100000, 4 * G, GR_PROT_READ), 0);
    *state = &stand;
    return 0;
}

static int setup_translated(void **state)
{
    make(GR_DOMAIN_TRANSLATED);
    *state = &stand;
    return 0;
}

static int teardown(void **state)
{
    struct stand *const s = *state;

    assert_int_equal(gr_domain_detach(&s->domain, &s->dev), 0);
    assert_int_equal(gr_domain_fini(&s->domain), 0);
    assert_int_equal(gr_device_fini(&s->dev), 0);
    assert_int_equal(gr_instance_fini(&s->inst), 0);
    assert_int_equal(host_misuse(s->host), 0);
    return host_destroy(s->host);
}

static void *unmap_both(struct stand *s, gr_iova_t first, gr_iova_t other)
{
    void *failed;

    s->other = other;
    atomic_store(&s->armed, true);
    assert_int_equal(gr_domain_unmap(&s->domain, first, G), 0);
    assert_int_equal(pthread_join(s->thread, &failed), 0);
    return failed;
}

static uint64_t overlaps(struct stand *s)
{
    struct gr_domain_stats stats;

    gr_domain_stats(&s->domain, &stats);
    return stats.overlaps;
}

static void disjoint_calls_are_fine(void **state)
{
    struct stand *const s = *state;

    assert_null(unmap_both(s, 0, G));
    assert_int_equal(overlaps(s), 0);
    assert_string_equal(host_last_log(s->host), "");
}

static void overlapping_calls_are_told(void **state)
{
    struct stand *const s = *state;

    assert_non_null(unmap_both(s, 0, 0)); /* and the second finds nothing to unmap */
#if GR_CFG_DEBUG
    assert_int_equal(overlaps(s), 1);
    assert_true(host_logged(s->host, "two calls at once on IOVAs of 0x0..0x3fff"));
#else
    assert_int_equal(overlaps(s), 0);
#endif
    assert_null(unmap_both(s, G, 2 * (gr_iova_t)G)); /* nothing is left of them */
    assert_int_equal(overlaps(s), GR_CFG_DEBUG ? 1 : 0);
}

/* Neither is the last of the arena when it begins; the table goes all the same. */
static void the_last_two(void **state)
{
    struct stand *const s = *state;
    struct gr_domain_stats stats;
    gr_iova_t iova[2];

    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(gr_dma_map(&s->dev, i * (gr_pa_t)G, G, GR_DMA_TO_DEVICE, 0, &iova[i]), 0);
    gr_domain_stats(&s->domain, &stats);
    assert_int_equal(stats.tables, 2);
    s->inside = iova[1];
    assert_int_equal(gr_dma_unmap(&s->dev, iova[0], G, GR_DMA_TO_DEVICE, 0), 0);
    gr_domain_stats(&s->domain, &stats);
    assert_int_equal(stats.tables, 1);
    assert_int_equal(stats.iova.allocations, 0);
    assert_int_equal(stats.iova.held, 0);
    assert_int_equal(stats.invalidations, 3); /* one each, one for the table */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(disjoint_calls_are_fine, setup, teardown),
        cmocka_unit_test_setup_teardown(overlapping_calls_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(the_last_two, setup_translated, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
