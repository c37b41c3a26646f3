/* SPDX-License-Identifier: MIT */
#include "iso.h"

#include <string.h>

/* ---- the walker ---- */

static struct iso_walker *walker_of(struct gr_instance *inst)
{
    return (struct iso_walker *)(void *)inst; /* its first member */
}

static int set_stream(struct gr_instance *inst, const struct gr_pt *pt, bool pass)
{
    struct iso_walker *const w = walker_of(inst);

    w->pt = NULL;
    w->pass = false;
    if (w->dead)
        return GR_ETIMEDOUT;
    w->count = 0;
    w->pt = pt;
    w->pass = pass;
    return 0;
}

static int walker_attach(struct gr_instance *inst, uint32_t stream, const struct gr_pt *pt,
                         struct gr_binding *binding)
{
    (void)stream;
    (void)binding;
    return set_stream(inst, pt, false);
}

static int walker_bypass(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding)
{
    (void)stream;
    (void)binding;
    return set_stream(inst, NULL, true);
}

static int walker_block(struct gr_instance *inst, uint32_t stream, struct gr_binding *binding)
{
    (void)stream;
    (void)binding;
    return set_stream(inst, NULL, false);
}

static int walker_invalidate(struct gr_instance *inst, struct gr_binding *binding, gr_iova_t first,
                             gr_iova_t last, bool tables)
{
    struct iso_walker *const w = walker_of(inst);
    const unsigned lg2 = inst->table.granule_lg2;
    unsigned kept = 0;

    (void)binding;
    (void)tables;
    w->invalidations++;
    if (w->dead || (w->fail && !--w->fail))
        return GR_ETIMEDOUT;
    w->last = (struct gr_range){first, last};
    for (unsigned i = 0; i < w->count; i++) {
        if (w->deaf || w->cached[i].page < first >> lg2 || w->cached[i].page > last >> lg2)
            w->cached[kept++] = w->cached[i];
    }
    w->count = kept;
    return 0;
}

static const struct gr_instance_ops walker_ops = {
    .attach = walker_attach,
    .bypass = walker_bypass,
    .block = walker_block,
    .invalidate = walker_invalidate,
};

/* Where the page of an IOVA is; false: nowhere. */
static bool walk(struct iso_walker *w, uint64_t iova, gr_pa_t *out_pa, unsigned *out_prot)
{
    const unsigned lg2 = w->inst.table.granule_lg2;
    const uint64_t page = iova >> lg2;
    struct gr_pt_walk now;
    const bool there = w->pt && !gr_pt_walk(w->pt, page << lg2, &now);

    for (unsigned i = 0; i < w->count; i++) {
        if (w->cached[i].page == page) {
            *out_pa = w->cached[i].pa;
            *out_prot = w->cached[i].prot;
            w->reused += there && now.pa != *out_pa;
            return true;
        }
    }
    if (!there)
        return false;
    if (w->count == ISO_CACHED)
        w->count = 0;
    w->cached[w->count].page = page;
    w->cached[w->count].pa = *out_pa = now.pa;
    w->cached[w->count++].prot = *out_prot = now.prot;
    return true;
}

static bool walker_access(struct iso *iso, uint64_t iova, uint8_t *buf, uint64_t len, bool write)
{
    struct iso_walker *const w = &iso->walker;
    const uint64_t mask = iso->g - 1;

    while (len) {
        const uint64_t rest = iso->g - (iova & mask);
        const uint64_t piece = len < rest ? len : rest;
        gr_pa_t pa = iova & ~mask;
        unsigned prot = GR_PROT_READ | GR_PROT_WRITE;

        if (!w->pass &&
            (!walk(w, iova, &pa, &prot) || !(prot & (write ? GR_PROT_WRITE : GR_PROT_READ))))
            return false;
        pa += iova & mask;
        if (!(write ? host_mem_write(w->host, pa, buf, piece, !iso->setup.noncoherent)
                    : host_mem_read(w->host, pa, buf, piece, !iso->setup.noncoherent)))
            return false;
        buf += piece;
        iova += piece;
        len -= piece;
    }
    return true;
}

/* ---- making and ending ---- */

unsigned iso_granule_lg2(unsigned kind)
{
    return kind < RIG_KINDS ? rig_kinds[kind].page_bits : 12 + 2 * (kind - ISO_LPAE_4K);
}

bool iso_has_windows(unsigned kind)
{
    return kind < RIG_KINDS;
}

void iso_walker_make(struct iso_walker *w, struct host *host, unsigned lg2,
                     struct gr_range aperture)
{
    memset(w, 0, sizeof(*w));
    w->host = host;
    w->inst = (struct gr_instance){
        .ops = &walker_ops,
        .env = host,
        .name = "walker",
        .table = {.format = GR_PT_LPAE_S1,
                  .granule_lg2 = (uint8_t)lg2,
                  .levels = lg2 == 16 ? 2 : 3,
                  .va_bits = lg2 == 12 ? 39 : 40,
                  .pa_bits = 40,
                  .coherent = true},
        .aperture = aperture.last ? aperture : (struct gr_range){0, (UINT64_C(1) << 38) - 1},
        .streams = 4,
        .bypass = true,
    };
    gr_instance_init(&w->inst);
}

struct gr_device_config iso_device(struct iso *iso, struct gr_stream *streams, uint32_t sid)
{
    struct gr_device_config config =
        rig_device(&iso->rig, streams, 0, iso->lpae ? 1 : iso->setup.darts, sid);

    if (iso->lpae)
        streams[0].inst = &iso->walker.inst;
    config.coherent = !iso->setup.noncoherent;
    return config;
}

const char *iso_name(unsigned kind)
{
    static const char *const lpae[] = {"LPAE 4K", "LPAE 16K", "LPAE 64K"};

    return kind < RIG_KINDS ? rig_kinds[kind].name : lpae[kind - ISO_LPAE_4K];
}

void iso_make(struct iso *iso, const struct iso_setup *setup)
{
    struct rig_setup rig[RIG_DARTS] = {{0}};

    memset(iso, 0, sizeof(*iso));
    iso->setup = *setup;
    iso->lpae = setup->kind >= RIG_KINDS;
    iso->setup.darts += !setup->darts;
    for (unsigned i = 0; i < RIG_DARTS; i++) {
        rig[i].kind = iso->lpae ? RIG_T6000 : setup->kind;
        rig[i].aperture = iso->lpae ? (struct gr_range){0, 0} : setup->aperture;
    }
    rig_make(&iso->rig, setup->cpu_page ? setup->cpu_page : 4096, setup->seed ? setup->seed : 1,
             iso->setup.darts, rig);
    rig_call(iso_name(setup->kind));
    if (iso->lpae)
        iso_walker_make(&iso->walker, iso->rig.host, iso_granule_lg2(setup->kind), setup->aperture);
    for (unsigned i = 0; i < iso->setup.darts; i++)
        iso->rig.dart[i].drv.inst.window_verified = setup->verified;
    iso->config = iso_device(iso, iso->stream, iso->lpae ? 0 : RIG_SID);
    iso->config.untrusted = setup->untrusted;
    iso->config.isolation = setup->isolation;
    iso->config.access_unit = setup->access_unit;
    iso->config.overread = setup->overread;
    iso->config.min_align_mask = setup->min_align_mask;
    assert_int_equal(gr_device_init(&iso->dev, &iso->config), 0);
    iso->g = UINT64_C(1) << iso_granule_lg2(setup->kind);
    if (setup->bare)
        return;
    assert_int_equal(
        gr_domain_init(&iso->domain, iso->rig.host, &iso->dev, GR_DOMAIN_TRANSLATED, setup->flags),
        0);
    if (setup->pool) {
        const struct gr_bounce_config config = {.pa_last = UINT64_C(0xfffffffff),
                                                .limit = setup->pool};

        assert_int_equal(gr_bounce_init(&iso->pool, iso->rig.host, &config), 0);
        assert_int_equal(gr_domain_set_bounce(&iso->domain, &iso->pool), 0);
    }
    assert_int_equal(gr_domain_attach(&iso->domain, &iso->dev), 0);
}

void iso_end_leaking(struct iso *iso, int leaks)
{
    assert_int_equal(iso_reused(iso), 0);
    if (!iso->setup.bare) {
        if (iso->dev.group && gr_device_domain(&iso->dev))
            assert_int_equal(gr_domain_detach(&iso->domain, &iso->dev), 0);
        assert_int_equal(gr_domain_fini(&iso->domain), 0);
        if (iso->setup.pool)
            assert_int_equal(gr_bounce_fini(&iso->pool), 0);
    }
    if (iso->dev.group)
        assert_int_equal(gr_device_fini(&iso->dev), 0);
    if (iso->lpae)
        assert_int_equal(gr_instance_fini(&iso->walker.inst), 0);
    rig_end_leaking(&iso->rig, leaks);
}

void iso_end(struct iso *iso)
{
    iso_end_leaking(iso, 0);
}

/* ---- accesses and memory ---- */

bool iso_sid_access(struct iso *iso, uint32_t sid, uint64_t iova, void *buf, uint64_t len,
                    bool write)
{
    const unsigned dart = (unsigned)rig_random(&iso->rig, iso->setup.darts);

    if (iso->lpae)
        return walker_access(iso, iova, buf, len, write);
    return rig_access(&iso->rig, dart, sid, iova, buf, len, write, !iso->setup.noncoherent, NULL) ==
           MODEL_OK;
}

bool iso_access(struct iso *iso, uint64_t iova, void *buf, uint64_t len, bool write)
{
    return iso_sid_access(iso, RIG_SID, iova, buf, len, write);
}

bool iso_reads(struct iso *iso, uint64_t iova)
{
    uint8_t byte;

    return iso_access(iso, iova, &byte, 1, false);
}

uint8_t *iso_at(struct iso *iso, gr_pa_t pa, uint64_t len)
{
    uint8_t *const at = host_ptr(iso->rig.host, pa, len);

    assert_non_null(at);
    return at;
}

static void settle(struct iso *iso, const uint8_t *at, uint64_t len)
{
    if (iso->setup.noncoherent)
        gr_port_cache(iso->rig.host, at, (size_t)len, GR_CACHE_CLEAN);
}

void iso_set(struct iso *iso, gr_pa_t pa, uint8_t byte, uint64_t len)
{
    uint8_t *const at = iso_at(iso, pa, len);

    memset(at, byte, (size_t)len);
    settle(iso, at, len);
}

void iso_scramble(struct iso *iso, gr_pa_t pa, uint64_t len)
{
    uint8_t *const at = iso_at(iso, pa, len);

    for (uint64_t i = 0; i < len; i++)
        at[i] = (uint8_t)(1 + rig_random(&iso->rig, 127)); /* never 0, never a guard */
}

/* ---- numbers ---- */

struct gr_bounce_stats iso_pool(struct iso *iso)
{
    struct gr_bounce_stats stats = {0};

    if (iso->setup.pool)
        gr_bounce_stats(&iso->pool, &stats);
    return stats;
}

struct gr_domain_stats iso_stats(struct iso *iso)
{
    struct gr_domain_stats stats;

    gr_domain_stats(&iso->domain, &stats);
    return stats;
}

uint64_t iso_reused(struct iso *iso)
{
    uint64_t n = iso->walker.reused;

    for (unsigned i = 0; i < iso->setup.darts; i++)
        n += dart_model_stats(iso->rig.dart[i].hw.model)->reused;
    return n;
}

struct iso_state iso_state(struct iso *iso)
{
    return (struct iso_state){iso_stats(iso), iso_pool(iso)};
}

void iso_same(struct iso *iso, const struct iso_state *before, const char *where)
{
    const struct iso_state now = iso_state(iso);
    const struct gr_domain_stats *const a = &before->domain;
    const struct gr_domain_stats *const b = &now.domain;

    if (a->iova.allocations != b->iova.allocations || a->iova.allocated != b->iova.allocated ||
        a->iova.held != b->iova.held || a->iova.available != b->iova.available ||
        a->tables != b->tables || a->quarantined_bytes != b->quarantined_bytes ||
        a->broken != b->broken || a->deferred != b->deferred)
        fail_msg("%s: the domain's numbers changed: allocations %u to %u, held 0x%llx to 0x%llx, "
                 "tables %u to %u, deferred %u to %u",
                 where, (unsigned)a->iova.allocations, (unsigned)b->iova.allocations,
                 (unsigned long long)a->iova.held, (unsigned long long)b->iova.held,
                 (unsigned)a->tables, (unsigned)b->tables, (unsigned)a->deferred,
                 (unsigned)b->deferred);
    if (before->pool.slots != now.pool.slots || before->pool.used != now.pool.used ||
        before->pool.lost != now.pool.lost)
        fail_msg("%s: the pool's numbers changed: %u slots were %u", where,
                 (unsigned)now.pool.slots, (unsigned)before->pool.slots);
}
