/* SPDX-License-Identifier: MIT */
/*
 * Reading the tables that firmware left in a stream.
 *
 * Firmware's tables are untrusted. Tables above the leaves are read once, into copies. Every page
 * is asked of the port, counted, and accepted only once, so the walk ends whatever the tables hold.
 * DART.md 9, 10; REQUIREMENTS.md 4.
 */
#include "iommu/adopt.h"

#include "core/bits.h"
#include "core/log.h"
#include "core/mem.h"

static int refuse_tables(const struct gr_adopted *a, int err, const char *why, gr_pa_t pa)
{
    gri_log(a->inst->env, GR_LOG_ERR, "%s: firmware's tables cannot be adopted: the table at %x %s",
            a->inst->name, pa, why);
    return err;
}

static int add_table(struct gr_adopted *a, gr_pa_t pa, uint64_t va, unsigned level)
{
    const gr_env_t env = a->inst->env;
    const unsigned lg2 = a->inst->table.granule_lg2;
    struct gri_pt_foreign *const t = &a->table[a->mirror.count];

    for (unsigned i = 0; i < a->mirror.count; i++) {
        if (a->table[i].pa == pa)
            return refuse_tables(a, GR_EOPNOTSUPP, "is reached twice", pa);
    }
    if (a->mirror.count == GR_CFG_FIRMWARE_TABLES)
        return refuse_tables(a, GR_ENOSPC, "exceeds GR_CFG_FIRMWARE_TABLES", pa);
    *t = (struct gri_pt_foreign){.pa = pa, .va = va, .level = level};
    t->live = pa & gri_mask(lg2) ? NULL : gr_port_map_firmware(env, pa, (size_t)1 << lg2);
    if (!t->live)
        return refuse_tables(a, GR_EOPNOTSUPP, "is not in memory that firmware may use", pa);
    if (level) {
        t->boot = gr_port_pages_alloc(env, lg2, UINT64_MAX, GR_PAGES_MAY_SLEEP);
        if (!t->boot)
            return GR_ENOMEM;
        memcpy(t->boot, t->live, (size_t)1 << lg2);
    }
    a->mirror.count++;
    return 0;
}

/* Add the tables that a table points to, or count its leaves. */
static int read_table(struct gr_adopted *a, const struct gri_pt_foreign *t)
{
    const unsigned lg2 = a->inst->table.granule_lg2;
    const uint64_t *const entry = t->level ? t->boot : t->live;
    int ret = 0;

    for (size_t i = 0; !ret && i < gri_adopt_entries(a->inst); i++) {
        gr_pa_t pa;

        if (!a->ops->decode(entry[i], lg2, &pa))
            continue;
        if (t->level)
            ret = add_table(a, pa, t->va + ((uint64_t)i << gri_adopt_span_lg2(a->inst, t->level)),
                            t->level - 1);
        else
            a->leaves++;
    }
    return ret;
}

static int read_tables(struct gr_adopted *a)
{
    const unsigned top = a->firmware.levels - 1u;
    int ret = 0;

    for (unsigned i = 0; !ret && i < GR_FIRMWARE_ROOTS; i++) {
        if (a->firmware.roots >> i & 1)
            ret = add_table(a, a->firmware.root[i],
                            (uint64_t)i << gri_adopt_span_lg2(a->inst, top + 1), top);
    }
    for (unsigned i = 0; !ret && i < a->mirror.count; i++)
        ret = read_table(a, &a->table[i]);
    return ret;
}

static void free_adopted(struct gr_adopted *a)
{
    for (unsigned i = 0; i < a->mirror.count; i++) {
        if (a->table[i].boot)
            gr_port_pages_free(a->inst->env, a->table[i].boot, a->inst->table.granule_lg2);
    }
    gr_port_pages_free(a->inst->env, a, a->lg2);
}

/* Streams with different roots may share leaf tables, and no table above. */
static int check_shared(const struct gr_adopted *a)
{
    for (const struct gr_adopted *o = a->inst->adopted; o; o = o->next) {
        for (unsigned i = 0; i < a->mirror.count; i++) {
            for (unsigned k = 0; k < o->mirror.count; k++) {
                if (a->table[i].pa == o->table[k].pa && (a->table[i].level || o->table[k].level))
                    return refuse_tables(a, GR_EOPNOTSUPP, "is shared in part with another stream",
                                         a->table[i].pa);
            }
        }
    }
    return 0;
}

static bool same_roots(const struct gr_firmware *a, const struct gr_firmware *b)
{
    if (a->levels != b->levels || a->roots != b->roots)
        return false;
    for (unsigned i = 0; i < GR_FIRMWARE_ROOTS; i++) {
        if ((a->roots >> i & 1) && a->root[i] != b->root[i])
            return false;
    }
    return true;
}

static int adopt_stream(struct gr_stream *stream)
{
    struct gr_instance *const inst = stream->inst;
    struct gr_firmware firmware = {0};
    struct gr_adopted *a;
    unsigned lg2 = 12;
    int ret;

    if (inst->ops->firmware)
        inst->ops->firmware(inst, stream->sid, &firmware);
    if (!firmware.serves || !inst->table.coherent)
        return 0;
    for (a = inst->adopted; a; a = a->next) {
        if (same_roots(&a->firmware, &firmware)) {
            a->users++;
            stream->adopted = a;
            return 0;
        }
    }
    while (sizeof(*a) >> lg2)
        lg2++;
    a = gr_port_pages_alloc(inst->env, lg2, UINT64_MAX, GR_PAGES_MAY_SLEEP);
    if (!a)
        return GR_ENOMEM;
    *a = (struct gr_adopted){.inst = inst, .firmware = firmware, .users = 1, .lg2 = lg2};
    a->ops = gri_pt_ops_of(&inst->table);
    a->mirror.table = a->table;
    ret = read_tables(a);
    if (!ret)
        ret = check_shared(a);
    if (ret) {
        free_adopted(a);
        return ret;
    }
    a->next = inst->adopted;
    inst->adopted = a;
    stream->adopted = a;
    return 0;
}

static void drop_stream(struct gr_stream *stream)
{
    struct gr_adopted *const a = stream->adopted;
    struct gr_adopted **link = &stream->inst->adopted;

    if (!a || --a->users)
        return;
    while (*link != a)
        link = &(*link)->next;
    *link = a->next;
    free_adopted(a);
}

int gri_adopt_streams(const struct gr_device_config *config)
{
    int ret = 0;

    for (unsigned i = 0; i < config->stream_count; i++) {
        ret = adopt_stream(&config->streams[i]);
        if (ret) {
            while (i--)
                drop_stream(&config->streams[i]);
            break;
        }
    }
    return ret;
}

void gri_adopt_drop(const struct gr_device_config *config)
{
    for (unsigned i = 0; i < config->stream_count; i++)
        drop_stream(&config->streams[i]);
}

void gr_stream_adoption(const struct gr_stream *stream, struct gr_adoption *out)
{
    const struct gr_adopted *const a = stream->adopted;

    *out = (struct gr_adoption){0};
    if (!a)
        return;
    out->state = a->firmware.state;
    out->tables = a->mirror.count;
    out->leaves = a->leaves;
    if (stream->domain) {
        out->policy = stream->domain->adopt;
        out->reason = stream->domain->adopt_reason;
        out->partial = stream->domain->type == GR_DOMAIN_BLOCKED;
    }
}
