/* SPDX-License-Identifier: MIT */
#include "sweep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats.h"
#include "iova_tools.h"

#include <inttypes.h>
#include <string.h>

#define LIMIT ((uint64_t)GR_CFG_DART_TIMEOUT_NS)

static const uint32_t sid_of[SWEEP_DEVICES] = {
    [MAIN] = RIG_SID, [SECOND] = 3, [SHARER] = RIG_SID, [BYSTANDER] = 1};

/* ---- The command register: DART.md 2, 3 ---- */

static const struct rig_kind *kind_of(const struct sweep_line *l)
{
    return l->sweep->rig.dart[l->dart].kind;
}

static bool is_command(const struct sweep_line *l, uint32_t offset)
{
    return offset == rig_command(kind_of(l));
}

static struct dart_model *model_of(const struct sweep_line *l)
{
    return l->sweep->rig.dart[l->dart].hw.model;
}

/* s5l8960x: it would do nothing for streams that were closed meanwhile, DART.md 6. */
static bool is_late(struct sweep_line *l)
{
    const uint32_t tcr = dart_model_read32(model_of(l), 0x0c);

    for (unsigned sid = 0; kind_of(l)->driver == GR_DART_S5L8960X && sid < 4; sid++) {
        if (l->command >> 8 >> sid & 1 && !(tcr >> 8 * sid & 0x80))
            return true;
    }
    return false;
}

static void arrive(struct sweep_line *l)
{
    l->busy_until = 0;
    if (l->held && !is_late(l))
        dart_model_write32(model_of(l), rig_command(kind_of(l)), l->command);
    l->held = false;
    l->waiting = false;
}

static bool is_busy(struct sweep_line *l)
{
    if (l->busy_until && host_now(l->sweep->rig.host) >= l->busy_until)
        arrive(l);
    return l->busy_until;
}

static void begin_wait(struct sweep_line *l)
{
    static const uint64_t quarters[HANG_KINDS] = {[HANG_ONCE] = 5, [HANG_TWICE] = 10};
    struct sweep *const s = l->sweep;

    l->waiting = true;
    if (++s->waits != s->fail_wait)
        return;
    s->stuck = (int)l->dart;
    l->busy_until = s->hang == HANG_ALWAYS
                        ? UINT64_MAX
                        : host_now(s->rig.host) + quarters[s->hang] * (LIMIT / 4);
}

static uint32_t line_read(void *opaque, uint32_t offset)
{
    struct sweep_line *const l = opaque;

    if (!is_command(l, offset))
        return dart_model_read32(model_of(l), offset);
    if (!is_busy(l) && !l->waiting)
        begin_wait(l);
    if (is_busy(l)) {
        host_advance(l->sweep->rig.host, LIMIT / 8); /* so that a time-out takes few reads */
        return dart_model_read32(model_of(l), offset) | rig_busy_bit(kind_of(l));
    }
    arrive(l);
    return dart_model_read32(model_of(l), offset);
}

static void line_write(void *opaque, uint32_t offset, uint32_t value)
{
    struct sweep_line *const l = opaque;

    if (!is_command(l, offset)) {
        dart_model_write32(model_of(l), offset, value);
        return;
    }
    l->accesses_while_busy += is_busy(l) || l->held;
    l->command = value;
    l->held = true;
}

void sweep_repair(struct sweep *s)
{
    for (unsigned i = 0; i < s->kind->darts; i++)
        arrive(&s->line[i]);
    s->fail_wait = 0;
    s->stuck = -1;
}

/* ---- The machine ---- */

/* While tables change, the IOMMU fetches what it can get of the mapping that changes. */
static void prefetch(void *arg)
{
    struct sweep *const s = arg;
    const struct sweep_slot *const slot = s->watched;

    for (unsigned i = 0; slot && i < s->kind->darts; i++) {
        rig_prefetch(&s->rig, i, sid_of[slot->dev], slot->iova);
        rig_prefetch(&s->rig, i, sid_of[slot->dev], slot->iova + slot->len - 1);
    }
}

static bool on_fault(void *cookie, const struct gr_fault *fault)
{
    struct sweep *const s = cookie;

    (void)fault;
    s->faults++;
    return true;
}

static struct sweep_slot slot_of(enum sweep_mapping how, unsigned dev, unsigned dom, uint64_t len)
{
    return (struct sweep_slot){.how = how, .dev = dev, .dom = dom, .len = len};
}

static void fill_slot(struct sweep *s, unsigned i)
{
    struct sweep_slot *const slot = &s->slot[i];
    const uint64_t g = s->g;
    const uint64_t size = slot->len + 4 * g;

    slot->pattern = (uint8_t)(i + 1);
    if (slot->how == SLOT_BUFFER)
        return;
    if (i > CROWD) {
        slot->pa = s->slot[CROWD].pa;
        slot->pattern = s->slot[CROWD].pattern;
    } else {
        slot->pa = rig_ram(&s->rig, size, g);
        memset(host_ptr(s->rig.host, slot->pa, size), slot->pattern, (size_t)size);
    }
    if (i >= CROWD) {
        slot->segs[0] = (struct gr_seg){slot->pa, slot->len};
        slot->list = (struct gr_dma_list){.segs = slot->segs, .count = 1, .out = slot->out};
        return;
    }
    if (i == ODD)
        slot->pa += 100;
    if (slot->how == SLOT_LIST) {
        for (unsigned k = 0; k < SWEEP_RUNS; k++)
            slot->segs[k] = (struct gr_seg){slot->pa + k * 3 * g, 2 * g};
        slot->list =
            (struct gr_dma_list){.segs = slot->segs, .count = SWEEP_RUNS, .out = slot->out};
    }
}

static void make_slots(struct sweep *s)
{
    const uint64_t g = s->g;
    const uint64_t span = UINT64_C(1) << (2 * s->rig.dart[0].inst->table.granule_lg2 - 3);

    s->slot[ODD] = slot_of(SLOT_MAP, MAIN, OURS, g + 5);
    s->slot[ACROSS] = slot_of(SLOT_MAP, MAIN, OURS, 4 * g);
    s->slot[SCATTER] = slot_of(SLOT_LIST, MAIN, OURS, 6 * g);
    s->slot[LIMITED] = slot_of(SLOT_LIST, MAIN, OURS, 6 * g);
    s->slot[RING] = slot_of(SLOT_BUFFER, MAIN, OURS, 100);
    s->slot[RINGS] = slot_of(SLOT_BUFFER, MAIN, OURS, 3 * g);
    s->slot[FIXED] = slot_of(SLOT_FIXED, MAIN, OTHER, 4 * g);
    s->slot[FIXED].iova = s->straddle - 2 * g;
    s->slot[NEAR] =
        slot_of(SLOT_FIXED, MAIN, OTHER, 4 * g); /* in FIXED's last table and the next */
    s->slot[NEAR].iova = s->straddle + span - 2 * g;
    s->slot[WHOLE] = slot_of(SLOT_FIXED, MAIN, OTHER, g == 4096 ? span : g);
    s->slot[WHOLE].iova = s->straddle + 4 * span;
    s->slot[LATER] = slot_of(SLOT_MAP, SECOND, OURS, g);
    s->slot[THEIR] = slot_of(SLOT_MAP, BYSTANDER, THEIRS, g);
    s->slot[THEIR_NEW] = slot_of(SLOT_MAP, BYSTANDER, THEIRS, 2 * g);
    for (unsigned i = CROWD; i < SWEEP_SLOTS; i++)
        s->slot[i] = slot_of(SLOT_LIST, MAIN, OURS, g);
    for (unsigned i = 0; i < SWEEP_SLOTS; i++)
        fill_slot(s, i);
}

static bool is_smmu(const struct sweep *s)
{
    return rig_is_smmu(s->kind->rig);
}

/* Pages that an SMMUv3 has once a stream was attached: four, a second table, in stage 1 a page of
 * contexts. */
#define SMMU_PAGES (4u + 4u)

static uint64_t smmu_pages(const struct sweep *s)
{
    uint64_t pages = 0;

    for (unsigned i = 0; is_smmu(s) && i < s->kind->darts; i++)
        pages += s->dart_live[i] ? SMMU_PAGES + !rig_is_stage_2(s->rig.dart[i].kind) : 0;
    return pages;
}

/* It keeps what it makes for the first stream: here it comes with the start. */
static int warm_up(struct rig_dart *d)
{
    const struct gr_pt pt = {.va_bits = 39, .granule_lg2 = 12, .pa_bits = 36};
    struct gr_binding binding = {.inst = d->inst};
    int rc = d->inst->ops->attach(d->inst, RIG_SID, &pt, &binding);

    if (!rc)
        rc = d->inst->ops->block(d->inst, RIG_SID, &binding);
    return rc;
}

static int start_smmu(struct sweep *s, unsigned i)
{
    struct rig_dart *const d = &s->rig.dart[i];
    const struct gr_smmuv3_config config = {
        .env = s->rig.host,
        .mmio = &d->tap,
        .mmio_size = 0x20000,
        .name = "dart",
        .granule_lg2 = (uint8_t)d->kind->page_bits,
        .va_bits = (uint8_t)d->kind->va_bits,
    };
    int rc = gr_smmuv3_init(&d->smmu, &config);

    if (rc)
        return rc;
    rc = warm_up(d);
    if (rc) {
        assert_int_equal(gr_smmuv3_fini(&d->smmu), 0);
        return rc;
    }
    s->dart_live[i] = true;
    gr_instance_set_fault_handler(d->inst, on_fault, s);
    return 0;
}

static int start_dart(struct sweep *s, unsigned i)
{
    struct rig_dart *const d = &s->rig.dart[i];
    const struct gr_dart_config config = {
        .kind = d->kind->driver,
        .env = s->rig.host,
        .mmio = &d->tap,
        .mmio_size = RIG_MMIO_SIZE,
        .name = "dart",
        .va_bits = (uint8_t)d->kind->va_bits,
        .pa_bits = (uint8_t)d->kind->pa_bits,
    };
    const int rc = gr_dart_init(&d->drv, &config);

    s->dart_live[i] = !rc;
    if (!rc)
        gr_instance_set_fault_handler(&d->drv.inst, on_fault, s);
    return rc;
}

void sweep_make(struct sweep *s, const struct sweep_kind *kind)
{
    unsigned lg2;
    unsigned below_root;

    memset(s, 0, sizeof(*s));
    s->kind = kind;
    s->stuck = -1;
    rig_make_plain(&s->rig, kind->rig, kind->darts);
    for (unsigned i = 0; i < kind->darts; i++) {
        s->dart_live[i] = true;
        gr_instance_set_fault_handler(s->rig.dart[i].inst, on_fault, s);
        if (is_smmu(s)) {
            assert_int_equal(warm_up(&s->rig.dart[i]), 0);
            continue;
        }
        s->line[i] = (struct sweep_line){.sweep = s, .dart = i};
        s->rig.dart[i].tap = (struct host_mmio){
            .host = s->rig.host,
            .opaque = &s->line[i],
            .size = RIG_MMIO_SIZE,
            .read32 = line_read,
            .write32 = line_write,
        };
    }
    lg2 = s->rig.dart[0].inst->table.granule_lg2;
    s->g = UINT64_C(1) << lg2;
    /* Between two tables of the level below the root, or two of the TTBRs. */
    below_root = lg2 + 2 * (lg2 - 3);
    s->straddle =
        UINT64_C(1) << (rig_kinds[kind->rig].va_bits > below_root ? below_root : 2 * lg2 - 3);
    for (unsigned i = 0; i < 40; i++)
        s->reserved[i] = (struct gr_range){(64 + 2 * i) * s->g, (65 + 2 * i) * s->g - 1};
    make_slots(s);
    host_set_observer(s->rig.host, prefetch, s);
}

void sweep_end(struct sweep *s)
{
    host_set_observer(s->rig.host, NULL, NULL);
    for (unsigned i = 0; i < s->kind->darts; i++)
        assert_int_equal(s->line[i].accesses_while_busy, 0);
    for (unsigned i = 0; i <= CROWD; i++) {
        if (s->slot[i].how != SLOT_BUFFER)
            host_ram_free(s->rig.host, s->slot[i].pa & ~(s->g - 1));
    }
    rig_end_leaking(&s->rig, (int)(s->lost_pages + s->lost_tables));
}

/* ---- Steps: DARTs and instances ---- */

SWEEP_CALL(sweep_dart_init)
{
    return is_smmu(s) ? start_smmu(s, step->a) : start_dart(s, step->a);
}

SWEEP_CALL(sweep_dart_fini)
{
    struct rig_dart *const d = &s->rig.dart[step->a];
    const int rc = is_smmu(s) ? gr_smmuv3_fini(&d->smmu) : gr_dart_fini(&d->drv);

    s->dart_live[step->a] = s->dart_live[step->a] && rc;
    return rc;
}

SWEEP_CALL(sweep_instance)
{
    (void)step;
    gr_instance_init(&s->instance);
    assert_int_equal(gr_instance_reattach(&s->instance), 0); /* of none */
    return gr_instance_fini(&s->instance);
}

SWEEP_CALL(sweep_instance_handler)
{
    gr_instance_set_fault_handler(s->rig.dart[step->a].inst, on_fault, s);
    return 0;
}

static void dispatch_one(struct sweep *s, struct gr_instance *inst)
{
    const uint64_t before = s->faults;

    assert_int_equal(gr_fault_dispatch(inst), 1);
    assert_int_equal(gr_fault_dispatch(inst), 0);
    assert_int_equal(s->faults, before + 1);
}

SWEEP_CALL(sweep_instance_fault)
{
    struct gr_instance *const inst = s->rig.dart[step->a].inst;
    const struct gr_fault fault = {.instance = inst, .reasons = GR_FAULT_NO_LEAF};
    const gr_lock_state_t state = gr_port_lock(&inst->lock);

    gr_instance_fault(inst, &fault, 0);
    gr_port_unlock(&inst->lock, state);
    dispatch_one(s, inst);
    assert_string_equal(gr_fault_reason_name(fault.reasons), "no-leaf");
    return 0;
}

SWEEP_CALL(sweep_isr)
{
    struct rig_dart *const d = &s->rig.dart[step->a];
    uint8_t byte;

    if (is_smmu(s)) {
        assert_int_not_equal(
            host_smmuv3_access(&d->smmu_hw, RIG_SID, s->g, &byte, 1, false, true, NULL), MODEL_OK);
        assert_true(d->smmu_hw.irq);
        d->smmu_hw.irq = false;
        assert_true(gr_smmuv3_isr(&d->smmu));
        assert_false(gr_smmuv3_isr(&d->smmu));
        dispatch_one(s, d->inst);
        return 0;
    }
    assert_int_not_equal(host_dart_access(&d->hw, RIG_SID, s->g, &byte, 1, false, true, NULL),
                         MODEL_OK);
    assert_true(d->hw.irq);
    assert_true(gr_dart_isr(&d->drv));
    assert_false(d->hw.irq);
    assert_false(gr_dart_isr(&d->drv));
    dispatch_one(s, d->inst);
    return 0;
}

static int power_up(struct rig_dart *d)
{
    dart_model_power(d->hw.model, false);
    dart_model_power(d->hw.model, true);
    return gr_dart_resume(&d->drv);
}

SWEEP_CALL(sweep_dart_suspend)
{
    struct rig_dart *const d = &s->rig.dart[step->a];
    int rc;

    if (is_smmu(s)) /* no driver of power */
        return 0;
    rc = gr_dart_suspend(&d->drv);
    return rc ? rc : power_up(d);
}

SWEEP_CALL(sweep_dart_lost)
{
    struct rig_dart *const d = &s->rig.dart[step->a];

    if (is_smmu(s))
        return 0;
    gr_dart_lost(&d->drv);
    return power_up(d);
}

/* ---- Steps: devices and domains ---- */

SWEEP_CALL(sweep_device_init)
{
    static const char *const names[SWEEP_DEVICES] = {"main", "second", "sharer", "bystander"};
    const unsigned d = step->a;
    const bool narrow = d == SHARER || d == BYSTANDER;
    struct gr_device_config config =
        rig_device(&s->rig, s->stream[d], 0, narrow ? 1 : s->kind->darts, sid_of[d]);
    int rc;

    config.name = names[d];
    config.coherent = s->kind->coherent;
    config.isolation = step->b == BOUNCES ? GR_ISOLATION_BOUNCE : GR_ISOLATION_DEFAULT;
    if (d == SECOND) {
        config.reserved = s->reserved;
        config.reserved_count = sizeof(s->reserved) / sizeof(s->reserved[0]);
    }
    rc = gr_device_init(&s->dev[d], &config);
    s->dev_live[d] = s->dev_live[d] || !rc;
    return rc;
}

SWEEP_CALL(sweep_device_fini)
{
    const int rc = gr_device_fini(&s->dev[step->a]);

    s->dev_live[step->a] = s->dev_live[step->a] && rc;
    return rc;
}

SWEEP_CALL(sweep_device_ask)
{
    assert_ptr_equal(gr_device_domain(&s->dev[step->a]), &s->domain[step->b]);
    assert_false(gr_device_untrusted(&s->dev[step->a]));
    return 0;
}

SWEEP_CALL(sweep_domain_init)
{
    const unsigned dom = step->b & 15u;
    const enum gr_domain_type type = (enum gr_domain_type)(step->b >> 4 & 15u);
    const int rc =
        gr_domain_init(&s->domain[dom], s->rig.host, &s->dev[step->a], type,
                       (step->b >> 8) | (type == GR_DOMAIN_UNMANAGED ? GR_DOMAIN_LP_AWARE : 0));

    s->domain_live[dom] = s->domain_live[dom] || !rc;
    return rc;
}

SWEEP_CALL(sweep_domain_fini)
{
    const int rc = gr_domain_fini(&s->domain[step->b]);

    s->domain_live[step->b] = s->domain_live[step->b] && rc;
    return rc;
}

SWEEP_CALL(sweep_domain_ask)
{
    const struct gr_fault fault = {.reasons = GR_FAULT_FILTER};
    const enum gr_diagnosis why = gr_domain_diagnose(&s->domain[step->b], &fault);
    struct gr_domain_stats stats;

    gr_domain_stats(&s->domain[step->b], &stats);
    assert_false(stats.broken);
    assert_non_null(gr_diagnosis_name(why));
    assert_int_equal(UINT64_C(1) << gr_domain_granule_lg2(&s->domain[step->b]), s->g);
    return 0;
}

SWEEP_CALL(sweep_domain_handler)
{
    gr_domain_set_fault_handler(&s->domain[step->b], on_fault, s);
    return 0;
}

SWEEP_CALL(sweep_attach)
{
    return gr_domain_attach(&s->domain[step->b], &s->dev[step->a]);
}

SWEEP_CALL(sweep_detach)
{
    return gr_domain_detach(&s->domain[step->b], &s->dev[step->a]);
}

SWEEP_CALL(sweep_policy)
{
    struct gr_policy policy;
    const int rc = gr_device_policy(&s->dev[step->a], GR_DOMAIN_LINEAR, &policy);

    assert_int_equal(policy.type, GR_DOMAIN_LINEAR);
    return rc;
}

/* Memory that is nobody's, far from where mappings are fixed. */
SWEEP_CALL(sweep_linear)
{
    const struct gr_range ram = {RIG_BIG, RIG_BIG + 1024 * 1024 - 1};
    const struct gr_range hole = {RIG_BIG + 0x12345, RIG_BIG + 0x12345};
    const struct gr_linear_config config = {&ram, 1, &hole, 1};
    const int rc =
        gr_domain_init_linear(&s->domain[step->b], s->rig.host, &s->dev[step->a], &config);

    s->domain_live[step->b] = s->domain_live[step->b] || !rc;
    return rc;
}

SWEEP_CALL(sweep_set_bounce)
{
    return gr_domain_set_bounce(&s->domain[step->b], &s->pool);
}

static int flush(struct sweep *s, const struct sweep_step *step)
{
    struct gr_domain *const domain = &s->domain[step->b];
    const int rc = gr_domain_flush(domain);

    for (unsigned i = 0; i < SWEEP_SLOTS; i++)
        s->slot[i].waiting = s->slot[i].waiting && &s->domain[s->slot[i].dom] != domain;
    return rc;
}

SWEEP_CALL(sweep_flush)
{
    return flush(s, step);
}

SWEEP_CALL(sweep_flush_again)
{
    return flush(s, step);
}

/* One chunk is all it has. */
SWEEP_CALL(sweep_pool_init)
{
    const struct gr_bounce_config config = {
        .pa_last = UINT64_C(0xfffffffff),
        .limit = GR_BOUNCE_CHUNK,
        .reserve = step->a * GR_BOUNCE_CHUNK,
    };
    const int rc = gr_bounce_init(&s->pool, s->rig.host, &config);

    s->pool_live = s->pool_live || !rc;
    return rc;
}

SWEEP_CALL(sweep_pool_ask)
{
    struct gr_bounce_stats stats;

    gr_bounce_stats(&s->pool, &stats);
    assert_int_equal(stats.slots, step->a);
    assert_int_equal(stats.lost, 0);
    return 0;
}

SWEEP_CALL(sweep_pool_fini)
{
    struct gr_bounce_stats stats;
    int rc;

    (void)step;
    gr_bounce_stats(&s->pool, &stats);
    rc = gr_bounce_fini(&s->pool);
    if (!rc && stats.lost)
        s->lost_pages += GR_BOUNCE_CHUNK / 4096;
    s->pool_live = s->pool_live && rc;
    return rc;
}

SWEEP_CALL(sweep_set_mask)
{
    const uint64_t mask = step->b ? s->straddle + step->b / 2 * s->g - 1 : UINT64_MAX;

    return gr_dma_set_mask(&s->dev[step->a], mask);
}

SWEEP_CALL(sweep_set_limits)
{
    return gr_dma_set_seg_limits(&s->dev[step->a], step->b * s->g, 0);
}

SWEEP_CALL(sweep_limits)
{
    const struct gr_device *const dev = &s->dev[step->a];

    assert_int_equal(gr_dma_merge_boundary(dev), s->g - 1);
    assert_in_range(gr_dma_max_mapping_size(dev), 1, gr_dma_required_mask(dev));
    assert_int_equal(gr_dma_opt_mapping_size(dev), gr_dma_max_mapping_size(dev));
    return 0;
}

/* ---- Steps: mappings ---- */

static int map_slot(struct sweep *s, struct sweep_slot *slot)
{
    struct gr_device *const dev = &s->dev[slot->dev];
    gr_iova_t iova = slot->iova;
    void *cpu = NULL;
    int rc = GR_EINVAL;

    switch (slot->how) {
    case SLOT_MAP:
        rc = gr_dma_map(dev, slot->pa, slot->len, BOTH, slot->attrs, &iova);
        break;
    case SLOT_LIST:
        rc = gr_dma_map_sg(dev, &slot->list, BOTH, slot->attrs);
        assert_true(rc ? !slot->list.out_count : slot->list.out_count > 0);
        iova = rc ? iova : slot->out[0].iova;
        break;
    case SLOT_BUFFER:
        rc = gr_dma_alloc(dev, slot->len, slot->attrs, &cpu, &iova);
        if (!rc)
            memset(cpu, slot->pattern, (size_t)slot->len);
        assert_true(!rc == !!cpu);
        slot->cpu = cpu;
        break;
    case SLOT_FIXED:
        rc = gr_domain_map(&s->domain[slot->dom], iova, slot->pa, slot->len, RW);
        break;
    }
    if (rc && slot->how != SLOT_FIXED)
        assert_true(iova == slot->iova);
    slot->iova = iova;
    slot->live = !rc;
    return rc;
}

static int unmap_slot(struct sweep *s, struct sweep_slot *slot)
{
    struct gr_device *const dev = &s->dev[slot->dev];
    int rc = GR_EINVAL;

    switch (slot->how) {
    case SLOT_MAP:
        rc = gr_dma_unmap(dev, slot->iova, slot->len, BOTH, slot->attrs);
        break;
    case SLOT_LIST:
        rc = gr_dma_unmap_sg(dev, &slot->list, BOTH, slot->attrs);
        break;
    case SLOT_BUFFER:
        rc = gr_dma_free(dev, slot->len, slot->attrs, slot->cpu, slot->iova);
        slot->lost = slot->lost || rc == GR_ETIMEDOUT;
        break;
    case SLOT_FIXED:
        rc = gr_domain_unmap(&s->domain[slot->dom], slot->iova, slot->len);
        slot->len = (!rc || rc == GR_ETIMEDOUT) && slot->len == 2 * s->g ? 4 * s->g : slot->len;
        break;
    }
    if (!rc || rc == GR_ETIMEDOUT)
        slot->live = false;
    slot->waiting = !rc && slot->how != SLOT_BUFFER && s->domain[slot->dom].defer;
    return rc;
}

SWEEP_CALL(sweep_map)
{
    return map_slot(s, &s->slot[step->a]);
}

SWEEP_CALL(sweep_unmap)
{
    return unmap_slot(s, &s->slot[step->a]);
}

SWEEP_CALL(sweep_unmap_half)
{
    struct sweep_slot *const slot = &s->slot[step->a];
    const uint64_t half = slot->len / 2;
    const int rc = gr_domain_unmap(&s->domain[slot->dom], slot->iova + half, half);

    if (!rc || rc == GR_ETIMEDOUT)
        slot->len = half;
    return rc;
}

/* What lay behind a mapping that was halved. */
SWEEP_CALL(sweep_trim)
{
    const struct sweep_slot *const slot = &s->slot[step->a];

    return gr_domain_trim(&s->domain[slot->dom], slot->iova + slot->len, slot->len);
}

SWEEP_CALL(sweep_iova_to_phys)
{
    const struct sweep_slot *const slot = &s->slot[step->a];
    gr_pa_t pa = 0;
    const int rc = gr_domain_iova_to_phys(&s->domain[slot->dom], slot->iova, &pa);

    if (!rc && slot->how != SLOT_BUFFER)
        assert_true(pa == slot->pa);
    return rc;
}

SWEEP_CALL(sweep_sync_for_cpu)
{
    const struct sweep_slot *const slot = &s->slot[step->a];
    struct gr_device *const dev = &s->dev[slot->dev];

    return slot->how == SLOT_LIST ? gr_dma_sync_sg_for_cpu(dev, &slot->list, BOTH)
                                  : gr_dma_sync_for_cpu(dev, slot->iova, slot->len, BOTH);
}

SWEEP_CALL(sweep_sync_for_device)
{
    const struct sweep_slot *const slot = &s->slot[step->a];
    struct gr_device *const dev = &s->dev[slot->dev];

    return slot->how == SLOT_LIST ? gr_dma_sync_sg_for_device(dev, &slot->list, BOTH)
                                  : gr_dma_sync_for_device(dev, slot->iova, slot->len, BOTH);
}

SWEEP_CALL(sweep_fill_up)
{
    struct gr_device *const dev = &s->dev[MAIN];
    int rc = 0;

    (void)step;
    /* A boundary this narrow keeps them out of arenas: each uses a node. */
    assert_int_equal(gr_dma_set_seg_limits(dev, 0, 2 * s->g), 0);
    for (s->crowd = 0; !rc && s->domain[OURS].iova.spares; s->crowd += !rc) {
        assert_in_range(CROWD + s->crowd, CROWD, SWEEP_SLOTS - 2);
        rc = map_slot(s, &s->slot[CROWD + s->crowd]);
    }
    assert_int_equal(gr_dma_set_seg_limits(dev, 0, 0), 0);
    return rc;
}

/* ---- Steps: page tables alone ---- */

SWEEP_CALL(sweep_pt_init)
{
    struct gr_pt_config config = s->rig.dart[0].inst->table;
    int rc;

    (void)step;
    assert_in_range(gr_pt_reach_bits(&config), config.va_bits, 63);
    rc = gr_pt_init(&s->pt, s->rig.host, &config);
    s->pt_live = s->pt_live || !rc;
    return rc;
}

/* What pt.h asks of the caller when it fails included: a rollback is an unmap. */
SWEEP_CALL(sweep_pt_map)
{
    const gr_iova_t iova = s->straddle - step->a * s->g;
    const uint64_t len = 2 * step->a * s->g;
    struct gr_pt_gather gather = {0};
    uint64_t done = len + 1;
    int rc = gr_pt_map(&s->pt, iova, RIG_BIG, len, RW, &done);

    assert_true(rc ? done < len : done == len);
    if (rc && done) {
        assert_int_equal(gr_pt_unmap(&s->pt, iova, done, NULL, &gather), 0);
        assert_int_equal(gr_pt_trim(&s->pt, iova, done, &gather), 0);
        gr_pt_gather_free(&s->pt, &gather);
    }
    return rc;
}

SWEEP_CALL(sweep_pt_unmap)
{
    const struct gr_range all = {0, UINT64_MAX};

    return gr_pt_unmap(&s->pt, s->straddle - step->a * s->g, step->a * s->g, step->b ? &all : NULL,
                       &s->gather);
}

SWEEP_CALL(sweep_pt_trim)
{
    const struct gr_range granule = {s->straddle, s->straddle + s->g - 1}; /* no table's span */

    gr_pt_retire(&s->pt, &granule, &s->gather);
    return gr_pt_trim(&s->pt, s->straddle - step->a * s->g, 2 * step->a * s->g, &s->gather);
}

SWEEP_CALL(sweep_pt_free)
{
    struct gr_pt_gather other = {0};

    (void)step;
    gr_pt_gather_join(&s->pt, &other, &s->gather);
    gr_pt_gather_free(&s->pt, &other);
    return 0;
}

SWEEP_CALL(sweep_pt_ask)
{
    struct gr_pt_walk walk;
    uint8_t spans[GR_PT_MAX_LEVELS];

    assert_int_equal(gr_pt_spans(&s->pt, spans), s->pt.levels - 1u);
    assert_true(gr_pt_tables(&s->pt) == s->pt.tables);
    assert_int_equal(gr_pt_check_mapped(&s->pt, s->straddle, step->a * s->g), 0);
    return gr_pt_walk(&s->pt, s->straddle, &walk);
}

SWEEP_CALL(sweep_pt_fini)
{
    (void)step;
    gr_pt_fini(&s->pt);
    s->pt_live = false;
    return 0;
}

/* ---- Steps: IOVA spaces alone; allocations have two granules ---- */

SWEEP_CALL(sweep_iova_init)
{
    static const uint8_t spans[] = {25, 36};
    int rc;

    (void)step;
    rc =
        gr_iova_init(&s->space, s->rig.host, s->rig.dart[0].inst->table.granule_lg2, 0, UINT64_MAX);
    s->space_live = s->space_live || !rc;
    s->space_count = 0;
    gr_iova_set_spans(&s->space, spans, 2);
    return rc;
}

SWEEP_CALL(sweep_iova_reserve)
{
    return gr_iova_reserve(&s->space, (gr_iova_t)step->a << 20, ((gr_iova_t)step->a << 20) + 5);
}

static int iova_alloc(struct sweep *s, const struct sweep_step *step, uint64_t boundary)
{
    const struct gr_iova_req req = {
        .size = 0x8000, .align = (uint64_t)step->a << 15, .boundary = boundary};
    gr_iova_t at = 1;
    const int rc = gr_iova_alloc(&s->space, &req, &at);

    assert_true(rc ? at == 1 : !(at & 0x3fff));
    if (!rc)
        s->space_at[s->space_count++] = at;
    return rc;
}

SWEEP_CALL(sweep_iova_alloc)
{
    return iova_alloc(s, step, 0);
}

SWEEP_CALL(sweep_iova_fixed)
{
    const gr_iova_t at = (gr_iova_t)step->a << 20;
    const int rc = gr_iova_alloc_fixed(&s->space, at, 0x8000);

    if (!rc)
        s->space_at[s->space_count++] = at;
    return rc;
}

SWEEP_CALL(sweep_iova_fill)
{
    while (s->space.spares > 1) {                   /* an aligned range takes two */
        const int rc = iova_alloc(s, step, 0x8000); /* not from an arena, by its boundary */

        assert_in_range(s->space_count, 0, 94);
        if (rc)
            return rc;
    }
    return 0;
}

SWEEP_CALL(sweep_iova_begin)
{
    (void)step;
    return gr_iova_free_begin(&s->space, s->space_at[s->space_count - 1], 0x8000, &s->space_held);
}

SWEEP_CALL(sweep_iova_finish)
{
    (void)step;
    assert_false(gr_iova_free_end(&s->space, &s->space_held, NULL));
    s->space_count--;
    assert_int_equal(gr_iova_free(&s->space, s->space_at[s->space_count - 1], 0x8000), 0);
    s->space_count--;
    assert_int_equal(gr_iova_free(&s->space, s->space_at[s->space_count], 0x8000), GR_ENOENT);
    (void)gr_iova_drain(&s->space);
    return 0;
}

SWEEP_CALL(sweep_iova_ask)
{
    struct gr_iova_stats stats;

    (void)step;
    gr_iova_stats(&s->space, &stats);
    assert_int_equal(stats.allocations, s->space_count);
    return gr_iova_check(&s->space, s->space_at[0], 0x8000);
}

SWEEP_CALL(sweep_iova_fini)
{
    (void)step;
    gr_iova_fini(&s->space);
    s->space_live = false;
    return 0;
}

/* ---- The bystander ---- */

void sweep_bystander(struct sweep *s)
{
    const struct sweep_step step = {.a = BYSTANDER, .b = TRANSLATED(THEIRS)};

    assert_int_equal(sweep_device_init(s, &step), 0);
    assert_int_equal(sweep_domain_init(s, &step), 0);
    assert_int_equal(gr_domain_attach(&s->domain[THEIRS], &s->dev[BYSTANDER]), 0);
    assert_int_equal(map_slot(s, &s->slot[THEIR]), 0);
}

/* ---- Down ---- */

uint64_t sweep_slot_bytes(const struct sweep *s, const struct sweep_slot *slot)
{
    const uint64_t offset = slot->how == SLOT_MAP ? slot->pa & (s->g - 1) : 0;

    return (offset + slot->len + s->g - 1) & ~(s->g - 1);
}

static void lose_buffer(struct sweep *s, struct sweep_slot *slot)
{
    uint64_t size = s->g;

    while (size < slot->len)
        size *= 2;
    if (slot->lost)
        s->lost_pages += size / 4096 + !s->kind->coherent; /* and its uncached mapping */
    slot->lost = false;
}

static void end_domain(struct sweep *s, unsigned dom)
{
    const struct gr_domain *const d = &s->domain[dom];
    const uint64_t root = UINT64_C(1) << d->pt.root_lg2;
    const uint64_t tables = (d->pt.tables - (UINT64_C(1) << d->pt.roots_lg2)) << d->pt.granule_lg2;

    if (!s->domain_live[dom])
        return;
    if (d->unconfirmed || d->doubtful.next != &d->doubtful)
        s->lost_tables += (root + tables) / 4096;
    assert_int_equal(gr_domain_fini(&s->domain[dom]), 0);
    s->domain_live[dom] = false;
}

static void end_device(struct sweep *s, unsigned dev)
{
    if (!s->dev_live[dev])
        return;
    assert_int_equal(gr_device_fini(&s->dev[dev]), 0);
    s->dev_live[dev] = false;
}

static void unmap_all(struct sweep *s)
{
    for (unsigned i = 0; i < SWEEP_SLOTS; i++) {
        struct sweep_slot *const slot = &s->slot[i];

        if (slot->live) {
            const bool home = gr_device_domain(&s->dev[slot->dev]) == &s->domain[slot->dom];
            int rc = 0;

            if (slot->how != SLOT_FIXED && !home) /* only an attached device can unmap */
                rc = gr_domain_attach(&s->domain[slot->dom], &s->dev[slot->dev]);
            assert_int_equal(rc, 0);
            rc = unmap_slot(s, slot);
            if (rc != GR_ETIMEDOUT)
                assert_int_equal(rc, 0);
        }
        lose_buffer(s, slot);
    }
}

void sweep_down(struct sweep *s, bool device_first)
{
    s->watched = NULL;
    unmap_all(s);
    for (unsigned i = 0; i < SWEEP_DEVICES; i++) {
        struct gr_domain *const d = s->dev_live[i] ? gr_device_domain(&s->dev[i]) : NULL;
        const int rc = d ? gr_domain_detach(d, &s->dev[i]) : 0;

        if (rc != GR_ETIMEDOUT)
            assert_int_equal(rc, 0);
    }
    for (unsigned i = 0; device_first && i < SWEEP_DEVICES; i++)
        end_device(s, i);
    for (unsigned i = 0; i < SWEEP_DOMAINS; i++)
        end_domain(s, i);
    for (unsigned i = 0; i < SWEEP_DEVICES; i++)
        end_device(s, i);
    if (s->pool_live)
        assert_int_equal(sweep_pool_fini(s, &(struct sweep_step){.a = 0}), 0);
    for (unsigned i = 0; i < SWEEP_SLOTS; i++)
        s->slot[i].waiting = false;
    if (s->pt_live) {
        gr_pt_gather_free(&s->pt, &s->gather);
        gr_pt_fini(&s->pt);
    }
    if (s->space_live)
        gr_iova_fini(&s->space);
    s->pt_live = s->space_live = false;
    assert_int_equal(host_leaks(s->rig.host), s->lost_pages + s->lost_tables + smmu_pages(s));
}

/* ---- What devices get ---- */

/* The mapping that a device sees at an address, live or waiting, or NULL. */
static const struct sweep_slot *expected(const struct sweep *s, unsigned dev, gr_iova_t iova,
                                         bool waiting)
{
    const struct gr_domain *const domain = s->dev_live[dev] ? gr_device_domain(&s->dev[dev]) : NULL;

    if (!domain || domain->broken)
        return NULL;
    for (unsigned i = 0; i < SWEEP_SLOTS; i++) {
        const struct sweep_slot *const slot = &s->slot[i];
        const gr_iova_t first = slot->iova & ~(s->g - 1);

        if ((waiting ? slot->waiting : slot->live) && &s->domain[slot->dom] == domain &&
            iova - first < sweep_slot_bytes(s, slot))
            return slot;
    }
    return NULL;
}

static void probe(struct sweep *s, unsigned dev, unsigned dart, gr_iova_t iova, const char *where)
{
    const struct sweep_slot *const slot = expected(s, dev, iova, false);
    const bool buffer = slot && slot->how == SLOT_BUFFER;
    const bool beside = slot && s->dev[dev].config.isolation == GR_ISOLATION_BOUNCE &&
                        iova - slot->iova >= slot->len;
    uint8_t byte = 0;
    const enum model_result got = rig_access(&s->rig, dart, sid_of[dev], iova, &byte, 1, false,
                                             !buffer || s->kind->coherent, NULL);

    if (slot && (got != MODEL_OK || (byte != (beside ? 0 : slot->pattern) && !buffer)))
        fail_msg("%s: device %u cannot read 0x%" PRIx64 " of mapping %u through DART %u", where,
                 dev, iova, (unsigned)(slot - s->slot), dart);
    if (!slot && got == MODEL_OK && !expected(s, dev, iova, true))
        fail_msg("%s: device %u reads 0x%" PRIx64 " through DART %u, and nothing is mapped", where,
                 dev, iova, dart);
}

void sweep_probe(struct sweep *s, const char *where)
{
    const unsigned slots = s->crowd ? CROWD + 2 : CROWD;

    for (unsigned i = 0; i < slots; i++) {
        const struct sweep_slot *const slot = &s->slot[i];

        for (unsigned dev = 0; slot->iova && dev < SWEEP_DEVICES; dev++) {
            const unsigned darts = dev == BYSTANDER || dev == SHARER ? 1 : s->kind->darts;

            /* One stream may be two devices': it is asked for once. */
            for (unsigned dart = 0; dev != SHARER && dart < darts; dart++) {
                if (!s->dart_live[dart])
                    continue;
                probe(s, dev, dart, slot->iova, where);
                probe(s, dev, dart, slot->iova + slot->len - 1, where);
            }
        }
    }
}

/* ---- What can be seen ---- */

static void note(struct sweep_seen *seen, unsigned kind, const char *name, uint64_t value)
{
    assert_in_range(seen->count, 0, sizeof(seen->number) / sizeof(seen->number[0]) - 1);
    seen->number[seen->count].kind = kind;
    seen->number[seen->count].name = name;
    seen->number[seen->count++].value = value;
}

static uint64_t mix(uint64_t sum, uint64_t word)
{
    sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return sum ^ sum >> 29;
}

/* What is reached from a root: leaves with their IOVAs, tables, and how many of them. */
struct reached {
    uint64_t leaves;
    uint64_t tables;
    uint64_t count;
};

static struct reached reach(struct sweep *s, const struct gr_pt *pt)
{
    struct {
        gr_pa_t pa;
        uint64_t iova;
        unsigned level;
    } todo[64] = {{pt->root_pa, 0, pt->levels - 1u}}, at;
    struct reached out = {1, 1, UINT64_C(1) << pt->roots_lg2};
    unsigned n = 1;

    while (n) {
        at = todo[--n];
        const bool root = at.level + 1 == pt->levels;
        const uint64_t size = UINT64_C(1) << (root ? pt->root_lg2 : pt->granule_lg2);
        const unsigned shift = pt->granule_lg2 + at.level * (pt->granule_lg2 - 3u);
        const uint64_t *const words = host_ptr(s->rig.host, at.pa, size);

        assert_non_null(words);
        out.tables = mix(mix(out.tables, at.pa), at.iova);
        for (uint64_t i = 0; i < size / 8; i++) {
            const uint64_t iova = at.iova + (i << shift);

            if (!words[i])
                continue;
            if (!at.level || !format_is_table(pt->format, words[i])) { /* or a block */
                out.leaves = mix(mix(out.leaves, iova), words[i]);
                continue;
            }
            assert_in_range(n, 0, 63);
            out.tables = mix(out.tables, words[i]);
            todo[n].pa = format_address(pt->format, pt->granule_lg2, words[i]);
            todo[n].iova = iova;
            todo[n++].level = at.level - 1;
            out.count++;
        }
    }
    return out;
}

static void mix_range(void *arg, uint64_t first, uint64_t units, enum gri_iova_state state)
{
    uint64_t *const sum = arg;

    *sum = mix(mix(mix(*sum, first), units), state);
}

/* Every range of a space and what it is. */
static uint64_t ranges_of(const struct gr_iova *space)
{
    uint64_t sum = 1;

    iova_each(space, mix_range, &sum);
    return sum;
}

/* `apart`: tables that are taken out and not freed yet. */
static void look_at_tables(struct sweep *s, const struct gr_pt *pt, uint64_t apart, unsigned kind,
                           struct sweep_seen *out)
{
    const struct reached now = reach(s, pt);

    assert_int_equal(now.count + apart, pt->tables);
    note(out, kind, "what the tables map", now.leaves);
    note(out, SEEN_TABLES, "tables", now.tables);
    note(out, SEEN_COUNT, "the number of tables", pt->tables);
}

static void look_at_space(struct gr_iova *space, unsigned kind, struct sweep_seen *out)
{
    struct gr_iova_stats stats;

    gr_iova_stats(space, &stats);
    note(out, kind, "IOVA ranges", ranges_of(space));
    note(out, kind, "IOVA allocations", stats.allocations);
    note(out, kind, "IOVA allocated", stats.allocated);
    note(out, kind, "IOVA held", stats.held);
    note(out, kind, "IOVA reserved", stats.reserved);
    note(out, kind, "IOVA available", stats.available);
}

static uint64_t bindings_of(const struct gr_domain *domain)
{
    uint64_t sum = 0; /* in any order */

    for (unsigned i = 0; i < domain->bindings; i++) {
        const struct gr_binding *const b = &domain->binding[i];
        uint64_t one = mix(1, (uintptr_t)b->inst);

        for (unsigned k = 0; k < 4; k++)
            one = mix(one, b->hw[k]);
        sum += mix(one, b->streams);
    }
    return sum;
}

static void look_at_domain(struct sweep *s, unsigned i, struct sweep_seen *out)
{
    struct gr_domain *const domain = &s->domain[i];
    struct gr_domain_stats stats;

    gr_domain_stats(domain, &stats);
    if (domain->pt.ops)
        look_at_tables(s, &domain->pt, domain->quarantined.count + domain->defer_tables.count,
                       SEEN_DOMAIN, out);
    note(out, SEEN_DOMAIN, "bytes quarantined", stats.quarantined_bytes);
    note(out, SEEN_DOMAIN, "broken", stats.broken);
    note(out, SEEN_DOMAIN, "unmaps that wait", stats.deferred);
    note(out, SEEN_DOMAIN, "overlapping calls", stats.overlaps);
    if (domain->type == GR_DOMAIN_TRANSLATED)
        look_at_space(&domain->iova, SEEN_DOMAIN, out);
#if GR_CFG_DEBUG
    note(out, SEEN_DOMAIN, "calls under way", domain->busy_count);
#endif
    note(out, SEEN_NOTES, "a domain's streams", bindings_of(domain));
}

/* Bookkeeping of IOVA spaces, which is kept for later (iova.h), and tables, which were counted. */
static uint64_t known_pages(const struct sweep *s)
{
    uint64_t bytes = (s->space_live ? s->space.memory : 0) + smmu_pages(s) * 4096;

    if (s->pool_live) /* chunks stay, each with its page */
        bytes += 4096 + s->pool.chunks * (GR_BOUNCE_CHUNK + 4096);
    if (s->pt_live)
        bytes += s->pt.tables << s->pt.granule_lg2;
    for (unsigned i = 0; i < SWEEP_DOMAINS; i++) {
        const struct gr_domain *const domain = &s->domain[i];

        if (s->domain_live[i])
            bytes += domain->iova.memory + (domain->pt.tables << domain->pt.granule_lg2);
    }
    return bytes / 4096;
}

void sweep_look(struct sweep *s, struct sweep_seen *out)
{
    out->count = 0;
    for (unsigned i = 0; i < SWEEP_DOMAINS; i++) {
        if (s->domain_live[i])
            look_at_domain(s, i, out);
    }
    for (unsigned i = 0; i < SWEEP_DEVICES; i++) {
        const struct gr_device *const dev = &s->dev[i];

        if (!s->dev_live[i])
            continue;
        note(out, SEEN_DEVICE, "a device's domain", (uintptr_t)gr_device_domain(dev));
        note(out, SEEN_DEVICE, "a device's group", (uintptr_t)dev->group);
        note(out, SEEN_DEVICE, "a device's mask", dev->dma_mask);
        note(out, SEEN_DEVICE, "a device's segments", mix(dev->seg_max, dev->seg_boundary));
        for (unsigned k = 0; k < dev->config.stream_count; k++) {
            struct gr_adoption told;

            gr_stream_adoption(&dev->config.streams[k], &told);
            note(out, SEEN_DEVICE, "what firmware left", told.state);
            note(out, SEEN_DEVICE, "a stream", dev->config.streams[k].domain != NULL);
        }
    }
    if (s->pt_live) {
        look_at_tables(s, &s->pt, s->gather.count, SEEN_LOOSE, out);
        note(out, SEEN_LOOSE, "tables gathered", s->gather.count);
    }
    if (s->space_live)
        look_at_space(&s->space, SEEN_LOOSE, out);
    if (s->pool_live) {
        struct gr_bounce_stats stats;

        gr_bounce_stats(&s->pool, &stats);
        note(out, SEEN_DOMAIN, "slots", stats.slots);
        note(out, SEEN_DOMAIN, "bytes of slots", stats.used);
        note(out, SEEN_LOST, "slots lost", stats.lost);
    }
    note(out, SEEN_MEMORY, "pages", (uint64_t)host_leaks(s->rig.host) - known_pages(s));
    note(out, SEEN_HARDWARE, "registers", rig_state(&s->rig, NULL).registers);
}

void sweep_same(struct sweep *s, const struct sweep_seen *before, unsigned kinds, const char *where)
{
    struct sweep_seen now;

    sweep_look(s, &now);
    if (now.count != before->count)
        fail_msg("%s: %u numbers were %u", where, now.count, before->count);
    for (unsigned i = 0; i < now.count; i++) {
        const uint64_t is = now.number[i].value;
        const uint64_t was = before->number[i].value;
        const bool grown = now.number[i].kind == SEEN_COUNT && is > was;

        if (grown || ((now.number[i].kind & kinds) && is != was))
            fail_msg("%s: %s changed from 0x%" PRIx64 " to 0x%" PRIx64, where, now.number[i].name,
                     was, is);
    }
}
