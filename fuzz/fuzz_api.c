/* SPDX-License-Identifier: MIT */
/*
 * Sequences of calls of the public API, memory and hardware failing now and then, against a shadow:
 * after every call the tables map exactly what is live, the model's TLB has forgotten what is not,
 * a call that failed has changed nothing, and at the end nothing is left.
 *
 * Input: the machine, then one call after the other.
 */
#include "fuzz.h"

#include "sim/walker.h"
#include "tests/lib/rig.h"

#include <stdbool.h>
#include <string.h>

#define CALLS 64u
#define LIVE 24u
#define SEGS 8u
#define DEVICES 3u
#define DOMAINS 2u
#define SLOTS 40u /* granules at each of BASES places of an UNMANAGED domain */
#define BASES 3u
#define STALE 8u
#define BUFFER 0x80000u /* RAM for devices that do not snoop */
#define LEN_MAX (UINT64_C(4) << 20)

enum kind { NONE, MAP, LIST, COHERENT };

/* What a TRANSLATED domain has live. */
struct live {
    enum kind kind;
    uint64_t iova, len; /* as the caller knows it; not for a list */
    void *cpu;          /* of a coherent buffer */
    enum gr_dma_dir dir;
    unsigned attrs;
    bool coherent; /* of the device that made it: one of the same kind has to undo it */
    unsigned pieces;
    struct {
        uint64_t iova, pa, len;
    } piece[SEGS];
    struct gr_seg segs[SEGS];
    struct gr_dma_seg out[SEGS];
    struct gr_dma_list list;
};

struct slot {
    bool mapped;
    unsigned prot;
    uint64_t pa;
};

struct domain {
    bool made;
    struct gr_domain it;
    struct live live[LIVE];
    struct slot slot[BASES][SLOTS];
    uint64_t stale[STALE]; /* IOVAs that were unmapped */
    unsigned nstale;
    uint64_t walked; /* the round in which its leaves were looked at */
};

struct device {
    bool made;
    struct gr_stream streams[RIG_DARTS];
    struct gr_range reserved[2];
    struct gr_device it;
};

struct world {
    struct rig rig;
    struct fuzz *f;
    struct device device[DEVICES];
    struct domain domain[DOMAINS];
    gr_pa_t buffer;
    unsigned lg2; /* the granule */
    unsigned pa_bits;
    uint64_t round; /* of checks */
    bool starved;   /* an allocation may fail in this call, */
    bool hung;      /* a command may time out, */
    bool late;      /* and one has: a stream or range stays unconfirmed */
};

static uint64_t granule(const struct world *w)
{
    return UINT64_C(1) << w->lg2;
}

static struct domain *domain_of(struct world *w, const struct device *dev)
{
    struct gr_domain *const it = dev->made ? gr_device_domain(&dev->it) : NULL;

    for (unsigned i = 0; it && i < DOMAINS; i++) {
        if (&w->domain[i].it == it)
            return &w->domain[i];
    }
    FUZZ_CHECK(!it, "a domain that nobody made");
    return NULL;
}

static unsigned count_live(const struct domain *d)
{
    unsigned n = 0;

    for (unsigned i = 0; i < LIVE; i++)
        n += d->live[i].kind != NONE;
    return n;
}

/* ---- the shadow ---- */

static uint64_t slot_iova(const struct world *w, const struct domain *d, unsigned base)
{
    const uint64_t bytes = (uint64_t)SLOTS << w->lg2;
    const struct gr_range *const a = &d->it.aperture;

    switch (base) {
    case 0:
        return a->first;
    case 1: /* over the border between two leaf tables */
        return a->first + (UINT64_C(1) << (2 * w->lg2 - 3)) - (bytes / 2 & ~(granule(w) - 1));
    default:
        return a->last - (bytes - 1);
    }
}

static unsigned prot_of(enum gr_dma_dir dir, unsigned attrs)
{
    return (dir & GR_DMA_TO_DEVICE ? GR_PROT_READ : 0) |
           (dir & GR_DMA_FROM_DEVICE ? GR_PROT_WRITE : 0) |
           (attrs & GR_DMA_UNCACHED ? GR_PROT_UNCACHED : 0);
}

/* Is the granule at `iova` to be mapped, whereto and how? */
static bool expected(const struct world *w, const struct domain *d, uint64_t iova, uint64_t *out_pa,
                     unsigned *out_prot)
{
    const uint64_t mask = granule(w) - 1;

    for (unsigned i = 0; i < LIVE; i++) {
        const struct live *const l = &d->live[i];

        for (unsigned k = 0; l->kind != NONE && k < l->pieces; k++) {
            const uint64_t first = l->piece[k].iova & ~mask;

            if (iova >= first && iova <= ((l->piece[k].iova + l->piece[k].len - 1) | mask)) {
                *out_pa = (l->piece[k].pa & ~mask) + (iova - first);
                *out_prot = prot_of(l->dir, l->attrs);
                return true;
            }
        }
    }
    for (unsigned b = 0; d->it.type == GR_DOMAIN_UNMANAGED && b < BASES; b++) {
        const uint64_t at = (iova - slot_iova(w, d, b)) >> w->lg2;

        if (iova >= slot_iova(w, d, b) && at < SLOTS && d->slot[b][at].mapped) {
            *out_pa = d->slot[b][at].pa;
            *out_prot = d->slot[b][at].prot;
            return true;
        }
    }
    return false;
}

static void remember_stale(struct domain *d, uint64_t iova)
{
    d->stale[d->nstale++ % STALE] = iova;
}

static void forget(struct world *w, struct domain *d, struct live *l)
{
    for (unsigned i = 0; i < l->pieces; i++) {
        remember_stale(d, l->piece[i].iova & ~(granule(w) - 1));
        remember_stale(d, (l->piece[i].iova + l->piece[i].len - 1) & ~(granule(w) - 1));
    }
    l->kind = NONE;
}

/* ---- looking at the machine ---- */

static uint32_t reg(void *opaque, uint32_t offset)
{
    const struct rig_dart *const d = opaque;

    return dart_model_read32(d->hw.model, offset);
}

static bool memory(void *opaque, uint64_t pa, void *buf, size_t len)
{
    const struct rig_dart *const d = opaque;

    return host_read_held(d->hw.host, pa, buf, len);
}

static void serve(struct rig_dart *dart)
{
    while (dart->hw.irq) {
        FUZZ_CHECK(gr_dart_isr(&dart->drv), "an interrupt that is not its own");
        (void)gr_fault_dispatch(&dart->drv.inst);
    }
}

/* What the model, TLB and all, makes of one byte. */
static void check_byte(struct world *w, const struct domain *d, const struct gr_stream *s,
                       uint64_t iova)
{
    struct rig_dart *const dart = &w->rig.dart[s->inst == &w->rig.dart[0].drv.inst ? 0 : 1];
    const uint64_t at = iova & ~(granule(w) - 1);
    uint64_t want = 0;
    unsigned prot = 0;
    const bool mapped = expected(w, d, at, &want, &prot) && !d->it.broken;

    for (unsigned write = 0; write < 2; write++) {
        const bool ok = mapped && (prot & (write ? GR_PROT_WRITE : GR_PROT_READ));
        enum model_result result;
        uint64_t pa = 0;

        result = dart_model_translate(dart->hw.model, s->sid, iova, write, 1, &pa);
        FUZZ_CHECK((result == MODEL_OK) == ok && (!ok || pa == want + (iova - at)),
                   "%s IOVA 0x%llx: the model says %d, PA 0x%llx, not %d, PA 0x%llx",
                   write ? "write to" : "read from", (unsigned long long)iova, (int)result,
                   (unsigned long long)pa, ok, (unsigned long long)want);
        serve(dart);
    }
}

/* A stream has its domain's root, or none. Every leaf below is expected, unless `known`. */
static void check_leaves(struct world *w, const struct domain *d, const struct gr_stream *s,
                         bool known)
{
    static const char *const names[] = {
        [GR_DART_T8020] = "apple,t8103-dart",       [GR_DART_T6000] = "apple,t6000-dart",
        [GR_DART_T8110] = "apple,t8110-dart",       [GR_DART_T8103_USB4] = "apple,t8103-usb4-dart",
        [GR_DART_S5L8960X] = "apple,s5l8960x-dart",
    };
    struct rig_dart *const dart = &w->rig.dart[s->inst == &w->rig.dart[0].drv.inst ? 0 : 1];
    const struct walker_source source = {dart, reg, memory};
    struct walker_instance inst = {
        .kind = walker_kind(names[dart->kind->driver]),
        .from = &source,
        .streams = dart->drv.inst.streams,
    };
    struct walker_stream stream;
    struct walker_iter iter;
    enum walker_event event;

    inst.format = walker_format(inst.kind, granule(w));
    walker_stream(&stream, &inst, s->sid);
    if (!d || d->it.broken) {
        FUZZ_CHECK(stream.mode == WALKER_BLOCKED, "a stream without a domain passes");
        return;
    }
    FUZZ_CHECK(stream.mode == WALKER_TRANSLATE, "%s", stream.reason);
    FUZZ_CHECK(stream.roots[0].pa == d->it.pt.root_pa, "another domain's tables");
    if (known)
        return;
    FUZZ_CHECK(walker_begin(&iter, &stream), "no memory");
    while ((event = walker_next(&iter)) != WALKER_DONE) {
        const struct walker_leaf *const leaf = &iter.leaf;
        uint64_t pa = 0;
        unsigned prot = 0;

        FUZZ_CHECK(event == WALKER_LEAF, "%s", iter.problem.text);
        FUZZ_CHECK(expected(w, d, leaf->iova, &pa, &prot), "IOVA 0x%llx is mapped",
                   (unsigned long long)leaf->iova);
        FUZZ_CHECK(pa == leaf->pa && leaf->read == !!(prot & GR_PROT_READ) &&
                       leaf->write == !!(prot & GR_PROT_WRITE) && leaf->open == leaf->iova &&
                       leaf->open_last == leaf->last,
                   "IOVA 0x%llx leads to 0x%llx, not 0x%llx, or with other permissions",
                   (unsigned long long)leaf->iova, (unsigned long long)leaf->pa,
                   (unsigned long long)pa);
    }
    walker_end(&iter);
}

static void check_mapped(struct world *w, struct domain *d, uint64_t iova, uint64_t want)
{
    gr_pa_t pa = 0;
    const int rc = gr_domain_iova_to_phys(&d->it, iova, &pa);

    FUZZ_CHECK(!rc && pa == want, "IOVA 0x%llx: %d, PA 0x%llx, not 0x%llx",
               (unsigned long long)iova, rc, (unsigned long long)pa, (unsigned long long)want);
    (void)w;
}

/* Every byte that is live is mapped: the ends of each piece and one byte of each granule. */
static void check_live(struct world *w, struct domain *d)
{
    for (unsigned i = 0; i < LIVE; i++) {
        const struct live *const l = &d->live[i];

        for (unsigned k = 0; l->kind != NONE && k < l->pieces; k++) {
            const uint64_t len = l->piece[k].len;

            for (uint64_t at = 0; at < len; at += granule(w))
                check_mapped(w, d, l->piece[k].iova + at, l->piece[k].pa + at);
            check_mapped(w, d, l->piece[k].iova + len - 1, l->piece[k].pa + len - 1);
        }
    }
    for (unsigned b = 0; d->it.type == GR_DOMAIN_UNMANAGED && b < BASES; b++) {
        for (unsigned i = 0; i < SLOTS; i++) {
            if (d->slot[b][i].mapped)
                check_mapped(w, d, slot_iova(w, d, b) + ((uint64_t)i << w->lg2), d->slot[b][i].pa);
        }
    }
}

static void check_stream(struct world *w, const struct domain *d, const struct gr_stream *s)
{
    if (!d)
        return;
    for (unsigned i = 0; i < STALE; i++)
        check_byte(w, d, s, d->stale[i] + (i & 3));
    for (unsigned i = 0; i < LIVE; i++) {
        const struct live *const l = &d->live[i];

        if (l->kind != NONE) {
            check_byte(w, d, s, l->piece[0].iova);
            check_byte(w, d, s, l->piece[l->pieces - 1].iova + l->piece[l->pieces - 1].len - 1);
        }
    }
}

static void check_all(struct world *w, bool leaves)
{
    w->round++;
    for (unsigned i = 0; i < DOMAINS; i++) {
        struct domain *const d = &w->domain[i];
        struct gr_domain_stats stats;

        if (!d->made)
            continue;
        gr_domain_stats(&d->it, &stats);
        FUZZ_CHECK(!stats.broken || w->late, "broken, and no command timed out");
        FUZZ_CHECK(d->it.type != GR_DOMAIN_TRANSLATED || stats.iova.allocations == count_live(d),
                   "%llu allocations, not %u", (unsigned long long)stats.iova.allocations,
                   count_live(d));
        FUZZ_CHECK(d->it.type != GR_DOMAIN_TRANSLATED || w->late || stats.iova.allocations ||
                       stats.iova.reserved || stats.tables == rig_root_tables(&d->it),
                   "%llu tables, and nothing is mapped", (unsigned long long)stats.tables);
        check_live(w, d);
    }
    for (unsigned i = 0; i < DEVICES; i++) {
        struct device *const dev = &w->device[i];

        for (unsigned k = 0; dev->made && k < dev->it.config.stream_count; k++) {
            struct domain *const d = domain_of(w, dev);

            check_stream(w, d, &dev->streams[k]);
            /* Leaves are slow to read: now and then, and once for all streams of a domain. */
            check_leaves(w, d, &dev->streams[k], !leaves || (d && d->walked == w->round));
            if (d)
                d->walked = w->round;
        }
    }
}

/* ---- results ---- */

struct before {
    struct domain *domain;
    struct gr_domain_stats stats;
};

static struct before look(struct domain *d)
{
    struct before b = {.domain = d};

    if (d)
        gr_domain_stats(&d->it, &b.stats);
    return b;
}

static void same(const struct before *b, int rc)
{
    struct gr_domain_stats now;
    const struct gr_iova_stats *const x = &b->stats.iova;
    const struct gr_iova_stats *const y = &now.iova;

    if (!b->domain)
        return;
    gr_domain_stats(&b->domain->it, &now);
    FUZZ_CHECK(x->allocations == y->allocations && x->allocated == y->allocated &&
                   x->held == y->held && x->reserved == y->reserved &&
                   x->available == y->available && b->stats.tables == now.tables &&
                   b->stats.quarantined_bytes == now.quarantined_bytes &&
                   b->stats.broken == now.broken,
               "it failed with %d and left something changed", rc);
}

/*
 * `refused`: the arguments alone make it fail, so this call must, and with one of the errors that
 * need no bad luck.
 */
static void judge(struct world *w, const struct before *b, int rc, bool refused)
{
    FUZZ_CHECK(rc <= 0, "%d", rc);
    FUZZ_CHECK(rc || !refused, "it took what it had to refuse");
    FUZZ_CHECK(rc != GR_ENOMEM || w->starved, "there was memory");
    FUZZ_CHECK(rc != GR_ETIMEDOUT || w->hung || w->late, "nothing hung");
    FUZZ_CHECK(rc != GR_EIO || (b->domain && b->domain->it.broken), "no domain is broken");
    if (rc == GR_ETIMEDOUT)
        w->late = true;
    else if (rc)
        same(b, rc);
}

/* ---- the DMA API ---- */

static enum gr_dma_dir take_dir(struct fuzz *f)
{
    const uint8_t byte = fuzz_byte(f);

    return (enum gr_dma_dir)(byte >= 250 ? byte - 248 : 1 + byte % 3);
}

static unsigned take_attrs(struct fuzz *f)
{
    const uint8_t byte = fuzz_byte(f);

    return byte < 128 ? 0 : byte < 250 ? byte % 8 : byte;
}

static bool args_bad(enum gr_dma_dir dir, unsigned attrs)
{
    return dir < GR_DMA_TO_DEVICE || dir > GR_DMA_BIDIRECTIONAL || attrs > 7;
}

/* Somewhere to map: real RAM for a device that does not snoop, else anything. */
static struct gr_seg take_seg(struct world *w, const struct device *dev)
{
    struct fuzz *const f = w->f;
    const uint8_t kind = fuzz_byte(f);
    struct gr_seg seg;

    if (!dev->it.config.coherent) {
        seg.pa = w->buffer + 0x10000 + fuzz_take(f, 3) % (BUFFER - 0x40000);
        seg.len = (kind != 255) + fuzz_take(f, 1 + kind % 2);
        return seg;
    }
    switch (kind % 8) {
    default:
        seg.pa = RIG_BIG + fuzz_take(f, 3);
        break;
    case 5:
        seg.pa = RIG_LOW + fuzz_take(f, 2);
        break;
    case 6:
        seg.pa = (UINT64_C(1) << w->pa_bits) - 1 - fuzz_take(f, 2);
        break;
    case 7:
        seg.pa = fuzz_number(f);
        break;
    }
    if (kind & 0x10)
        seg.pa &= ~(granule(w) - 1);
    switch (kind >> 5) {
    default:
        seg.len = 1 + fuzz_take(f, 1);
        break;
    case 4:
    case 5:
        seg.len = 1 + fuzz_take(f, 2);
        break;
    case 6:
        seg.len = (uint64_t)(1 + fuzz_pick(f, 4)) << w->lg2;
        break;
    case 7:
        seg.len = fuzz_number(f);
        if (seg.len > LEN_MAX)
            seg.len |= UINT64_C(1) << 43;
        break;
    }
    return seg;
}

static bool seg_bad(const struct world *w, const struct device *dev, const struct gr_seg *seg)
{
    return !seg->len || seg->len - 1 > UINT64_MAX - seg->pa ||
           (seg->pa + (seg->len - 1)) >> w->pa_bits ||
           (gr_device_untrusted(&dev->it) && ((seg->pa | seg->len) & (granule(w) - 1)));
}

static struct live *take_live(struct world *w, struct domain *d, enum kind kind)
{
    const unsigned start = fuzz_byte(w->f);

    for (unsigned i = 0; i < LIVE; i++) {
        if (d->live[(start + i) % LIVE].kind == kind)
            return &d->live[(start + i) % LIVE];
    }
    return NULL;
}

static bool has_dma(const struct domain *d)
{
    return d && d->it.type == GR_DOMAIN_TRANSLATED;
}

static void do_map(struct world *w, struct device *dev)
{
    struct domain *const d = domain_of(w, dev);
    struct live *const l = d ? take_live(w, d, NONE) : NULL;
    const struct gr_seg seg = take_seg(w, dev);
    const enum gr_dma_dir dir = take_dir(w->f);
    const unsigned attrs = take_attrs(w->f);
    const struct before b = look(d);
    gr_iova_t iova = 1;
    int rc;

    if (d && !l)
        return;
    rc = gr_dma_map(&dev->it, seg.pa, seg.len, dir, attrs, &iova);
    judge(w, &b, rc, !has_dma(d) || args_bad(dir, attrs) || seg_bad(w, dev, &seg));
    if (rc) {
        FUZZ_CHECK(iova == 1, "written on failure");
        return;
    }
    FUZZ_CHECK(!((iova ^ seg.pa) & (granule(w) - 1)), "another offset");
    FUZZ_CHECK(iova >= d->it.aperture.first && iova + (seg.len - 1) <= d->it.aperture.last &&
                   iova + (seg.len - 1) <= dev->it.dma_mask,
               "out of reach");
    *l = (struct live){
        .kind = MAP, .iova = iova, .len = seg.len, .dir = dir, .attrs = attrs, .pieces = 1};
    l->piece[0].iova = iova;
    l->piece[0].pa = seg.pa;
    l->piece[0].len = seg.len;
    l->coherent = dev->it.config.coherent;
}

static int unmap(struct device *dev, struct live *l)
{
    switch (l->kind) {
    case MAP:
        return gr_dma_unmap(&dev->it, l->iova, l->len, l->dir, l->attrs);
    case LIST:
        l->list.segs = l->segs;
        l->list.out = l->out;
        return gr_dma_unmap_sg(&dev->it, &l->list, l->dir, l->attrs);
    case COHERENT:
        return gr_dma_free(&dev->it, l->len, l->attrs, l->cpu, l->iova);
    case NONE:
    default:
        return 0;
    }
}

static void do_unmap(struct world *w, struct device *dev)
{
    struct domain *const d = domain_of(w, dev);
    struct live *const l = d ? take_live(w, d, (enum kind)(MAP + fuzz_pick(w->f, 3))) : NULL;
    const struct before b = look(d);
    int rc;

    if (!l || l->coherent != dev->it.config.coherent)
        return;
    rc = unmap(dev, l);
    FUZZ_CHECK(!rc || rc == GR_ETIMEDOUT, "%d, but it is mapped", rc);
    judge(w, &b, rc, false);
    forget(w, d, l);
}

/* Somewhere that is nearly or not at all mapped. */
static void do_wrong_unmap(struct world *w, struct device *dev)
{
    struct domain *const d = domain_of(w, dev);
    struct live *const l = d ? take_live(w, d, MAP) : NULL;
    const uint64_t mask = granule(w) - 1;
    const struct before b = look(d);
    uint64_t iova = fuzz_number(w->f);
    uint64_t len = fuzz_number(w->f);
    bool exact = false;
    int rc;

    if (l) {
        const int8_t near = (int8_t)fuzz_byte(w->f);

        iova = l->iova + (uint64_t)(int64_t)near * 64;
        len = fuzz_byte(w->f) & 1 ? l->len : len & 0xffff;
    }
    for (unsigned i = 0; d && i < LIVE; i++) {
        const struct live *const x = &d->live[i];

        if (x->kind != NONE && len && iova <= UINT64_MAX - (len - 1))
            exact |=
                (x->piece[0].iova & ~mask) == (iova & ~mask) &&
                (x->kind == LIST || ((x->iova + x->len - 1) | mask) == ((iova + len - 1) | mask));
    }
    if (exact)
        return;
    rc = gr_dma_unmap(&dev->it, iova, len, GR_DMA_TO_DEVICE, 0);
    judge(w, &b, rc, true);
}

static void do_alloc(struct world *w, struct device *dev)
{
    struct domain *const d = domain_of(w, dev);
    struct live *const l = d ? take_live(w, d, NONE) : NULL;
    const uint8_t kind = fuzz_byte(w->f);
    const uint64_t size = kind < 240 ? fuzz_take(w->f, 1 + kind % 2) : fuzz_number(w->f) >> 1;
    const unsigned attrs = kind & 4 ? GR_DMA_UNCACHED : kind & 8 ? fuzz_byte(w->f) % 16 : 0;
    const struct before b = look(d);
    gr_iova_t iova = 1;
    void *cpu = NULL;
    gr_pa_t pa;
    int rc;

    if ((d && !l) || (size > LEN_MAX && size < UINT64_C(1) << 38))
        return;
    w->starved |= size > LEN_MAX;
    rc = gr_dma_alloc(&dev->it, size, attrs, &cpu, &iova);
    judge(w, &b, rc, !has_dma(d) || !size || (attrs & ~GR_DMA_UNCACHED));
    if (rc) {
        FUZZ_CHECK(iova == 1 && !cpu, "written on failure");
        return;
    }
    FUZZ_CHECK(host_pa_of(w->rig.host, cpu, &pa), "memory from elsewhere");
    FUZZ_CHECK(iova + (size - 1) <= dev->it.dma_mask, "out of reach");
    for (uint64_t i = 0; i < size; i++)
        FUZZ_CHECK(!((const uint8_t *)cpu)[i], "not zero");
    *l = (struct live){
        .kind = COHERENT,
        .iova = iova,
        .len = size,
        .cpu = cpu,
        .dir = GR_DMA_BIDIRECTIONAL,
        .attrs = attrs,
        .pieces = 1,
    };
    l->piece[0].iova = iova;
    l->piece[0].pa = pa;
    l->piece[0].len = size;
    l->coherent = dev->it.config.coherent;
}

static void do_wrong_free(struct world *w, struct device *dev)
{
    struct domain *const d = domain_of(w, dev);
    const struct live *const l = d ? take_live(w, d, COHERENT) : NULL;
    const struct before b = look(d);
    const uint64_t size = fuzz_number(w->f);
    const uint64_t mask = granule(w) - 1;

    if (l && (size > INT64_MAX || ((size + mask) & ~mask) != ((l->len + mask) & ~mask)))
        judge(w, &b, gr_dma_free(&dev->it, size, l->attrs, l->cpu, l->iova), true);
}

static void do_map_sg(struct world *w, struct device *dev)
{
    struct domain *const d = domain_of(w, dev);
    struct live *const l = d ? take_live(w, d, NONE) : NULL;
    const unsigned count = fuzz_pick(w->f, SEGS + 1);
    const enum gr_dma_dir dir = take_dir(w->f);
    const unsigned attrs = take_attrs(w->f);
    const struct before b = look(d);
    struct live made = {.kind = LIST, .dir = dir, .attrs = attrs, .pieces = count};
    bool bad = !has_dma(d) || args_bad(dir, attrs) || !count;
    unsigned out = 0;
    uint64_t at = 0;
    int rc;

    if (d && !l)
        return;
    for (unsigned i = 0; i < count; i++) {
        const uint8_t joined = fuzz_byte(w->f);
        struct gr_seg seg = take_seg(w, dev);

        if (i && joined < 96) { /* neighbours in memory */
            seg.pa = made.segs[i - 1].pa + made.segs[i - 1].len;
            if (!dev->it.config.coherent && seg.pa + seg.len > w->buffer + BUFFER - 0x10000)
                seg.pa = w->buffer + 0x10000;
        }
        made.segs[i] = seg;
        bad |= seg_bad(w, dev, &seg) && !gr_device_untrusted(&dev->it);
        bad |=
            seg.len > dev->it.seg_max || (dev->it.seg_boundary && seg.len > dev->it.seg_boundary);
    }
    made.list = (struct gr_dma_list){.segs = made.segs, .count = count, .out = made.out};
    rc = gr_dma_map_sg(&dev->it, &made.list, dir, attrs);
    judge(w, &b, rc, bad);
    if (rc)
        return;
    FUZZ_CHECK(made.list.out_count && made.list.out_count <= count, "%u", made.list.out_count);
    for (unsigned i = 0; i < count; i++) {
        const struct gr_dma_seg *const o = &made.out[out];

        FUZZ_CHECK(out < made.list.out_count && made.segs[i].len <= o->len - at, "cut");
        made.piece[i].iova = o->iova + at;
        made.piece[i].pa = made.segs[i].pa;
        made.piece[i].len = made.segs[i].len;
        at += made.segs[i].len;
        if (at == o->len) {
            FUZZ_CHECK(o->len <= dev->it.seg_max, "too long");
            FUZZ_CHECK(!dev->it.seg_boundary ||
                           !((o->iova ^ (o->iova + o->len - 1)) & ~(dev->it.seg_boundary - 1)),
                       "a boundary is crossed");
            FUZZ_CHECK(o->iova + (o->len - 1) <= dev->it.dma_mask, "out of reach");
            out++;
            at = 0;
        }
    }
    FUZZ_CHECK(out == made.list.out_count && !at, "longer than the list");
    made.iova = made.out[0].iova;
    made.coherent = dev->it.config.coherent;
    *l = made;
}

static void do_sync(struct world *w, struct device *dev)
{
    struct domain *const d = domain_of(w, dev);
    struct live *const l = d ? take_live(w, d, (enum kind)(MAP + fuzz_pick(w->f, 3))) : NULL;
    const struct before b = look(d);
    const bool for_cpu = fuzz_byte(w->f) & 1;
    uint64_t at = fuzz_take(w->f, 2);
    uint64_t len = 1 + fuzz_take(w->f, 2);
    int rc;

    if (!l) {
        rc = gr_dma_sync_for_cpu(&dev->it, at, len, GR_DMA_FROM_DEVICE);
        judge(w, &b, rc, !has_dma(d));
        return;
    }
    if (l->kind == LIST) {
        l->list.segs = l->segs;
        l->list.out = l->out;
        rc = for_cpu ? gr_dma_sync_sg_for_cpu(&dev->it, &l->list, l->dir)
                     : gr_dma_sync_sg_for_device(&dev->it, &l->list, l->dir);
    } else {
        at %= l->len;
        len = len < l->len - at ? len : l->len - at;
        rc = for_cpu ? gr_dma_sync_for_cpu(&dev->it, l->iova + at, len, l->dir)
                     : gr_dma_sync_for_device(&dev->it, l->iova + at, len, l->dir);
    }
    FUZZ_CHECK(!rc, "%d, but it is mapped", rc);
    judge(w, &b, rc, false);
}

static void do_limits(struct world *w, struct device *dev)
{
    const struct domain *const d = domain_of(w, dev);
    const uint8_t kind = fuzz_byte(w->f);
    const uint64_t mask = fuzz_number(w->f);
    const uint64_t boundary = kind & 2   ? UINT64_C(1) << fuzz_pick(w->f, 64)
                              : kind & 4 ? granule(w) << fuzz_pick(w->f, 6)
                                         : fuzz_byte(w->f);
    int rc;

    if (kind & 1) {
        rc = gr_dma_set_mask(&dev->it, mask);
        FUZZ_CHECK((rc == GR_ENODEV) == !has_dma(d), "%d", rc);
        FUZZ_CHECK(!rc || rc == GR_ENODEV || rc == GR_ERANGE, "%d", rc);
        FUZZ_CHECK(rc || dev->it.dma_mask == mask, "another mask");
    } else {
        rc = gr_dma_set_seg_limits(&dev->it, kind & 8 ? 0 : mask, boundary);
        FUZZ_CHECK(rc == (boundary & (boundary - 1) ? GR_EINVAL : 0), "%d", rc);
    }
    if (has_dma(d)) {
        FUZZ_CHECK(gr_dma_required_mask(&dev->it) >= d->it.aperture.last, "too small");
        FUZZ_CHECK(gr_dma_max_mapping_size(&dev->it) <=
                       d->it.aperture.last - d->it.aperture.first + 1,
                   "more than there is");
        FUZZ_CHECK(gr_dma_merge_boundary(&dev->it) == granule(w) - 1, "not G - 1");
    } else {
        FUZZ_CHECK(!gr_dma_required_mask(&dev->it) && !gr_dma_max_mapping_size(&dev->it), "no 0");
    }
}

/* ---- UNMANAGED domains ---- */

struct place {
    unsigned base, at, n;
    uint64_t iova, len;
};

static struct place take_place(struct world *w, const struct domain *d)
{
    struct place p = {.base = fuzz_pick(w->f, BASES), .at = fuzz_pick(w->f, SLOTS)};

    p.n = 1 + fuzz_pick(w->f, SLOTS - p.at);
    p.iova = slot_iova(w, d, p.base) + ((uint64_t)p.at << w->lg2);
    p.len = (uint64_t)p.n << w->lg2;
    return p;
}

static void do_domain_map(struct world *w, struct domain *d)
{
    const uint8_t kind = fuzz_byte(w->f);
    const struct place p = take_place(w, d);
    const uint64_t pa = kind < 200 ? RIG_BIG + (fuzz_take(w->f, 2) << w->lg2) : fuzz_number(w->f);
    const unsigned prot = kind % 8 ? 1u + kind % 3u : fuzz_byte(w->f);
    const struct before b = look(d);
    bool taken = false;
    bool bad;
    int rc;

    for (unsigned i = p.at; i < p.at + p.n; i++)
        taken |= d->slot[p.base][i].mapped;
    bad = (pa & (granule(w) - 1)) || !(prot & 3) || (prot & ~7u) ||
          pa > (UINT64_C(1) << w->pa_bits) - p.len;
    rc = gr_domain_map(&d->it, p.iova, pa, p.len, prot);
    judge(w, &b, rc, d->it.type != GR_DOMAIN_UNMANAGED || taken || bad);
    if (rc) {
        FUZZ_CHECK(rc != GR_EEXIST || taken, "nothing was there");
        return;
    }
    for (unsigned i = 0; i < p.n; i++)
        d->slot[p.base][p.at + i] = (struct slot){true, prot, pa + ((uint64_t)i << w->lg2)};
}

static void do_domain_unmap(struct world *w, struct domain *d)
{
    const struct place p = take_place(w, d);
    const struct before b = look(d);
    bool all = true;
    int rc;

    for (unsigned i = p.at; i < p.at + p.n; i++)
        all = all && d->slot[p.base][i].mapped;
    rc = gr_domain_unmap(&d->it, p.iova, p.len);
    judge(w, &b, rc, d->it.type != GR_DOMAIN_UNMANAGED || !all);
    FUZZ_CHECK(rc != GR_ENOENT || !all, "all of it was there");
    if (rc && rc != GR_ETIMEDOUT)
        return;
    for (unsigned i = p.at; i < p.at + p.n; i++)
        d->slot[p.base][i].mapped = false;
    remember_stale(d, p.iova);
    remember_stale(d, p.iova + p.len - granule(w));
}

static void do_domain_odd(struct world *w, struct domain *d)
{
    const struct before b = look(d);
    const uint64_t iova = fuzz_number(w->f);
    const uint64_t len = fuzz_number(w->f);
    const bool bad = d->it.type != GR_DOMAIN_UNMANAGED || !len ||
                     ((iova | len) & (granule(w) - 1)) || len - 1 > UINT64_MAX - iova ||
                     iova < d->it.aperture.first || iova + (len - 1) > d->it.aperture.last;

    if (bad) {
        judge(w, &b, gr_domain_map(&d->it, iova, RIG_BIG, len, GR_PROT_READ), true);
        judge(w, &b, gr_domain_unmap(&d->it, iova, len), true);
        if (d->it.type == GR_DOMAIN_UNMANAGED)
            judge(w, &b, gr_domain_trim(&d->it, iova, len), true);
    }
}

static void do_domain_trim(struct world *w, struct domain *d)
{
    const struct place p = take_place(w, d);
    const struct before b = look(d);
    const int rc = gr_domain_trim(&d->it, p.iova, p.len);

    judge(w, &b, rc, false);
    FUZZ_CHECK(!rc || rc == GR_ETIMEDOUT, "%d", rc);
}

/* ---- devices and domains ---- */

static void make_device(struct world *w, struct device *dev)
{
    struct fuzz *const f = w->f;
    const uint8_t kind = fuzz_byte(f);
    const unsigned darts = w->rig.darts > 1 && (kind & 1) ? 2 : 1;
    struct gr_device_config config;
    int rc;

    if (dev->made)
        return;
    config = rig_device(&w->rig, dev->streams, 0, darts, kind & 2 ? 3 : RIG_SID);
    config.coherent = !(kind & 4);
    config.untrusted = (kind & 0x18) == 0x18;
    config.dma_mask = kind & 0x20 ? fuzz_number(f) : 0;
    config.reserved = dev->reserved;
    config.reserved_count = kind >> 6 > 2 ? 2 : kind >> 6;
    for (unsigned i = 0; i < config.reserved_count; i++) {
        dev->reserved[i].first = fuzz_number(f);
        dev->reserved[i].last =
            fuzz_byte(f) & 1 ? dev->reserved[i].first + fuzz_take(f, 3) : fuzz_number(f);
    }
    rc = gr_device_init(&dev->it, &config);
    FUZZ_CHECK(!rc || rc == GR_EINVAL || rc == GR_EBUSY, "%d", rc);
    dev->made = !rc;
}

static void end_device(struct world *w, struct device *dev)
{
    const bool attached = domain_of(w, dev);
    const int rc = gr_device_fini(&dev->it);

    FUZZ_CHECK(rc == (attached ? GR_EBUSY : 0), "%d", rc);
    dev->made = rc;
}

static void make_domain(struct world *w, struct domain *d, struct device *dev)
{
    const uint8_t kind = fuzz_byte(w->f);
    int rc;

    if (d->made)
        return;
    memset(d, 0, sizeof(*d));
    rc = gr_domain_init(&d->it, w->rig.host, &dev->it,
                        kind % 4 ? GR_DOMAIN_TRANSLATED : GR_DOMAIN_UNMANAGED,
                        kind & 8 ? 0 : GR_DOMAIN_LP_AWARE);
    FUZZ_CHECK(!rc || rc == GR_EOPNOTSUPP || rc == GR_EBUSY || rc == GR_ERANGE ||
                   (rc == GR_ENOMEM && w->starved),
               "%d", rc);
    d->made = !rc;
}

static bool is_attached(struct world *w, const struct domain *d)
{
    for (unsigned i = 0; i < DEVICES; i++) {
        if (domain_of(w, &w->device[i]) == d)
            return true;
    }
    return false;
}

static void end_domain(struct world *w, struct domain *d)
{
    const bool busy = is_attached(w, d) || (d->it.type == GR_DOMAIN_TRANSLATED && count_live(d));
    const int rc = gr_domain_fini(&d->it);

    FUZZ_CHECK(rc == (busy ? GR_EBUSY : 0), "%d", rc);
    d->made = rc;
}

static void attach(struct world *w, struct domain *d, struct device *dev)
{
    struct domain *const had = domain_of(w, dev);
    const struct before b = look(d);
    const int rc = gr_domain_attach(&d->it, &dev->it);

    if (!rc) {
        FUZZ_CHECK(domain_of(w, dev) == d, "elsewhere");
        return;
    }
    FUZZ_CHECK(rc == GR_EOPNOTSUPP || rc == GR_ERANGE || rc == GR_EBUSY || rc == GR_EIO ||
                   rc == GR_ENOMEM || rc == GR_ENOSPC || rc == GR_ETIMEDOUT,
               "%d", rc);
    FUZZ_CHECK(rc != GR_ENOMEM || w->starved, "there was memory");
    FUZZ_CHECK(rc != GR_ETIMEDOUT || w->hung, "nothing hung");
    FUZZ_CHECK(domain_of(w, dev) == had || rc == GR_ETIMEDOUT, "it lost its domain");
    w->late |= rc == GR_ETIMEDOUT;
    /* Its reserved ranges may have been taken over before it failed. */
    FUZZ_CHECK(rc == GR_ETIMEDOUT || b.stats.tables == d->it.pt.tables, "tables");
}

static void detach(struct world *w, struct domain *d, struct device *dev)
{
    const bool was = domain_of(w, dev) == d;
    const int rc = gr_domain_detach(&d->it, &dev->it);

    FUZZ_CHECK((rc == GR_ENODEV) == !was, "%d", rc);
    FUZZ_CHECK(!rc || !was || (rc == GR_ETIMEDOUT && (w->hung || w->late)), "%d", rc);
    FUZZ_CHECK(domain_of(w, dev) != d, "still there");
    w->late |= rc == GR_ETIMEDOUT;
}

/* ---- a sequence ---- */

static void call(struct world *w)
{
    struct fuzz *const f = w->f;
    const uint8_t which = fuzz_byte(f);
    struct device *const dev = &w->device[which % DEVICES];
    struct domain *const d = &w->domain[which / 4 % DOMAINS];
    const unsigned op = fuzz_pick(f, 24);

    switch (op) {
    case 0:
        make_device(w, dev);
        return;
    case 1:
        if (dev->made)
            end_device(w, dev);
        return;
    case 2:
        if (dev->made)
            make_domain(w, d, dev);
        return;
    case 3:
        if (d->made)
            end_domain(w, d);
        return;
    case 4:
        if (dev->made && d->made)
            attach(w, d, dev);
        return;
    case 5:
        /* A broken domain takes nobody back in: what is live there could only be dropped with it.
         */
        if (dev->made && d->made && !(d->it.broken && count_live(d)))
            detach(w, d, dev);
        return;
    case 6:
        if (d->made)
            do_domain_odd(w, d);
        return;
    case 7:
        if (d->made)
            do_domain_trim(w, d);
        return;
    case 8:
    case 9:
        if (d->made)
            do_domain_map(w, d);
        return;
    case 10:
    case 11:
        if (d->made)
            do_domain_unmap(w, d);
        return;
    default:
        break;
    }
    if (!dev->made)
        return;
    switch (op) {
    case 12:
    case 13:
        do_map_sg(w, dev);
        break;
    case 14:
    case 15:
    case 16:
        do_unmap(w, dev);
        break;
    case 17:
        do_alloc(w, dev);
        break;
    case 18:
        do_sync(w, dev);
        break;
    case 19:
        do_limits(w, dev);
        break;
    case 20:
        do_wrong_unmap(w, dev);
        break;
    case 21:
        do_wrong_free(w, dev);
        break;
    default:
        do_map(w, dev);
        break;
    }
}

/* One device that does DMA and one domain to map in by hand, or nothing at all. */
static void prepare(struct world *w)
{
    make_device(w, &w->device[0]);
    make_device(w, &w->device[1]);
    for (unsigned i = 0; i < DOMAINS; i++) {
        if (w->device[i].made)
            make_domain(w, &w->domain[i], &w->device[i]);
        if (w->domain[i].made)
            attach(w, &w->domain[i], &w->device[i]);
    }
}

static void step(struct world *w)
{
    const uint8_t luck = fuzz_byte(w->f);
    const unsigned n = 1 + luck % 8;

    w->starved = luck >= 208 && luck < 252;
    w->hung = luck >= 252;
    if (w->starved) {
        host_fail_alloc(w->rig.host, n);
        host_fail_uncached(w->rig.host, luck & 1);
    }
    if (w->hung)
        w->rig.dart[luck % w->rig.darts].hang = 1 + luck / 2 % 2;
    call(w);
    host_fail_alloc(w->rig.host, 0);
    host_fail_uncached(w->rig.host, 0);
    for (unsigned i = 0; i < w->rig.darts; i++)
        w->rig.dart[i].hang = 0;
    w->starved = false;
    w->hung = false;
    check_all(w, w->round % 8 == 0 || !w->f->left);
}

/* Unmap what is live with whichever devices can be brought in. */
static void empty(struct world *w, struct domain *d, struct device *by)
{
    const bool other = domain_of(w, by) != d;

    if (!count_live(d) || (other && gr_domain_attach(&d->it, &by->it)))
        return;
    for (unsigned i = 0; i < LIVE; i++) {
        if (d->live[i].kind != NONE && d->live[i].coherent == by->it.config.coherent) {
            const int rc = unmap(by, &d->live[i]);

            FUZZ_CHECK(!rc || (rc == GR_ETIMEDOUT && w->late), "%d", rc);
            w->late |= rc != 0;
            forget(w, d, &d->live[i]);
        }
    }
    if (other)
        detach(w, d, by);
}

static void end(struct world *w)
{
    bool stranded = false; /* nobody is left who could unmap it */

    for (unsigned i = 0; i < DOMAINS; i++) {
        for (unsigned k = 0; w->domain[i].made && k < DEVICES; k++) {
            if (w->device[k].made && w->domain[i].it.type == GR_DOMAIN_TRANSLATED)
                empty(w, &w->domain[i], &w->device[k]);
        }
    }
    check_all(w, true);
    for (unsigned i = 0; i < DEVICES; i++) {
        struct domain *const d = domain_of(w, &w->device[i]);

        if (d)
            detach(w, d, &w->device[i]);
    }
    for (unsigned i = 0; i < DEVICES; i++) {
        if (w->device[i].made)
            end_device(w, &w->device[i]);
    }
    for (unsigned i = 0; i < DOMAINS; i++) {
        if (w->domain[i].made)
            end_domain(w, &w->domain[i]);
        stranded |= w->domain[i].made;
    }
    for (unsigned i = 0; i < w->rig.darts; i++) {
        const struct dart_model_stats *const stats = dart_model_stats(w->rig.dart[i].hw.model);

        FUZZ_CHECK(!gr_dart_fini(&w->rig.dart[i].drv), "dart");
        FUZZ_CHECK(!stats->bad_fetches && !stats->misuse, "the model complains");
        host_dart_fini(&w->rig.dart[i].hw);
    }
    FUZZ_CHECK(!host_misuse(w->rig.host), "%s", host_last_log(w->rig.host));
    FUZZ_CHECK(!host_leaks(w->rig.host) || w->late || stranded, "%d pages leaked",
               host_leaks(w->rig.host));
    (void)host_destroy(w->rig.host);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned pages[] = {4096, 16384, 65536, 4096};
    struct fuzz f = {data, size};
    struct world *const w = calloc(1, sizeof(*w));
    const uint8_t kind = fuzz_byte(&f);
    /* DARTs. A kind that joins rig.c leaves what stored inputs mean alone. */
    const unsigned which = (kind & 7u) + (kind >> 6 == 3 && (kind & 7u) + 8 < RIG_SMMU ? 8u : 0u);
    const struct rig_kind *const k = &rig_kinds[which];
    struct rig_setup setup[2] = {{.kind = which}, {.kind = which}};

    FUZZ_CHECK(w, "no memory");
    FUZZ_CHECK(!setenv("CMOCKA_TEST_ABORT", "1", 1), "no memory"); /* of rig.c's assertions */
    if (kind & 0x20)
        setup[0].aperture = (struct gr_range){UINT64_C(1) << 20, (UINT64_C(1) << 28) - 1};
    rig_make(&w->rig, pages[kind >> 6], 1, kind & 0x10 ? 2 : 1, setup);
    w->f = &f;
    w->lg2 = k->page_bits;
    w->pa_bits = k->pa_bits;
    w->buffer = rig_ram(&w->rig, BUFFER, 0);
    if (kind & 8)
        prepare(w);
    for (unsigned i = 0; i < CALLS && f.left; i++)
        step(w);
    end(w);
    free(w);
    return 0;
}
