/* SPDX-License-Identifier: MIT */
/*
 * Registers and tables that nobody sane wrote: two readers that share no code, the DART model and
 * sim/walker.c, end, stay inside memory, and agree about every access. Tables of LPAE are read
 * without a stream: there the walker agrees with a few lines written from the Arm ARM.
 *
 * Input: the kind, the registers that are not 0 (of LPAE: the shape), memory, then IOVAs.
 */
#include "fuzz.h"

#include <dart/dart.h>

#include "sim/walker.h"

#include <stdbool.h>
#include <string.h>

#define MEMORY (UINT64_C(64) << 10)
#define WINDOW 0x4000u
#define ACCESSES 32u
#define LEAVES 100000u

struct world {
    const struct dart_model_config *config;
    struct dart_model *model;
    bool lpae; /* and neither of the above */
    uint8_t *memory;
    uint64_t now;
    bool irq;
};

/* ---- what the model asks for ---- */

static bool memory_read(void *opaque, uint64_t pa, void *buf, size_t len)
{
    const struct world *const w = opaque;

    if (pa >= MEMORY || len > MEMORY - pa)
        return false;
    memcpy(buf, w->memory + pa, len);
    return true;
}

static bool table_read64(void *opaque, uint64_t pa, uint64_t *out)
{
    uint8_t bytes[8];

    FUZZ_CHECK(!(pa & 7), "an unaligned entry");
    if (!memory_read(opaque, pa, bytes, sizeof(bytes)))
        return false;
    *out = 0;
    for (unsigned i = 0; i < 8; i++)
        *out |= (uint64_t)bytes[i] << 8 * i;
    return true;
}

static bool mem_read(void *opaque, uint64_t pa, void *buf, size_t len, bool coherent)
{
    (void)coherent;
    return memory_read(opaque, pa, buf, len);
}

/* The tables stay as they are: what was cached of them must stay true. */
static bool mem_write(void *opaque, uint64_t pa, const void *buf, size_t len, bool coherent)
{
    (void)opaque;
    (void)buf;
    (void)coherent;
    return pa < MEMORY && len <= MEMORY - pa;
}

static uint64_t now_ns(void *opaque)
{
    const struct world *const w = opaque;

    return w->now;
}

static void on_irq(void *opaque, void *cookie, bool level)
{
    struct world *const w = opaque;

    (void)cookie;
    w->irq = level;
}

static uint32_t chance(void *opaque)
{
    struct world *const w = opaque;

    return (uint32_t)(++w->now * 2654435761u);
}

static uint32_t reg(void *opaque, uint32_t offset)
{
    const struct world *const w = opaque;

    return offset < WINDOW ? dart_model_read32(w->model, offset) : 0;
}

/* ---- agreement ---- */

static void compare(struct world *w, const struct walker_instance *inst, unsigned sid,
                    uint64_t iova, bool write, uint64_t len)
{
    const uint64_t page = UINT64_C(1) << w->config->page_bits;
    const uint64_t room = page - (iova & (page - 1));
    struct walker_stream stream;
    struct walker_walk walk;
    enum model_result result;
    uint64_t model_pa = 0;
    uint64_t pa = 0;
    bool ok = false;

    if (sid >= inst->streams)
        return;
    len = len < room ? len : room;
    result = dart_model_translate(w->model, sid, iova, write, len, &model_pa);
    FUZZ_CHECK(result == MODEL_OK || result == MODEL_FAULT || result == MODEL_BUS_ERROR, "%d",
               (int)result);
    walker_stream(&stream, inst, sid);
    walker_walk(&stream, iova, &walk);
    /* Tables that use more than the usual bits: the walker goes by them, the model by its 32. */
    if (stream.va_bits > w->config->va_bits && iova >> w->config->va_bits)
        return;
    if (stream.mode == WALKER_BYPASS) {
        ok = !(iova >> w->config->pa_bits);
        pa = iova;
    } else if (walk.end == WALKER_MAPPED) {
        const struct walker_leaf *const leaf = &walk.leaf;

        FUZZ_CHECK(walk.iova >= leaf->iova && walk.iova <= leaf->last, "the leaf is elsewhere");
        ok = (write ? leaf->write : leaf->read) && walk.iova >= leaf->open &&
             walk.iova + (len - 1) <= leaf->open_last;
        pa = walk.pa;
    }
    FUZZ_CHECK((result == MODEL_OK) == ok && (!ok || pa == model_pa),
               "stream %u, %s of %llu bytes at IOVA 0x%llx: the model says %d, PA 0x%llx, the "
               "walker %d, PA 0x%llx",
               sid, write ? "write" : "read", (unsigned long long)len, (unsigned long long)iova,
               (int)result, (unsigned long long)model_pa, (int)walk.end, (unsigned long long)pa);
}

/* All leaves, in order; each is what a walk to it finds. Returns how many. */
static unsigned iterate(const struct walker_stream *stream)
{
    struct walker_iter iter;
    enum walker_event event;
    unsigned events = 0;
    uint64_t next = 0;

    FUZZ_CHECK(walker_begin(&iter, stream), "no memory");
    while ((event = walker_next(&iter)) != WALKER_DONE) {
        FUZZ_CHECK(++events < LEAVES, "more than memory can hold");
        if (event == WALKER_LEAF) {
            struct walker_walk walk;

            FUZZ_CHECK(iter.leaf.iova >= next && iter.leaf.last >= iter.leaf.iova, "not in order");
            FUZZ_CHECK(iter.leaf.whole <= iter.leaf.iova && iter.leaf.whole_last >= iter.leaf.last,
                       "a leaf outside its group");
            next = iter.leaf.last + 1;
            if (events % 61 == 1) {
                walker_walk(stream, iter.leaf.iova, &walk);
                FUZZ_CHECK(walk.end == WALKER_MAPPED && walk.pa == iter.leaf.pa &&
                               walk.leaf.entry == iter.leaf.entry,
                           "a leaf that is not there");
            }
        }
    }
    walker_end(&iter);
    return events;
}

/* ---- the input ---- */

static void set_registers(struct world *w, struct fuzz *f)
{
    const bool t8110 = w->config->kind == DART_MODEL_T8110;
    const uint32_t enable = t8110 ? 0xc00 : 0xfc;
    const uint32_t tcr = t8110 ? 0x1000 : 0x100;
    const uint32_t ttbr = t8110 ? 0x1400 : w->config->kind == DART_MODEL_T8103_USB4 ? 0x400 : 0x200;
    const uint8_t usual = fuzz_byte(f);

    if (usual & 1) { /* stream 0 translates from the beginning of memory on */
        dart_model_write32(w->model, enable, UINT32_MAX);
        dart_model_write32(w->model, tcr, t8110 ? 1 | (usual & 8) : 0x80);
        dart_model_write32(w->model, ttbr, t8110 ? 1 : 0x80000000);
    }
    for (unsigned n = fuzz_pick(f, 16); n; n--) {
        const unsigned kind = fuzz_pick(f, 5);
        const uint32_t index = fuzz_pick(f, w->config->streams < 256 ? w->config->streams : 256);

        switch (kind) {
        case 0:
            dart_model_write32(w->model, tcr + 4 * index, (uint32_t)fuzz_take(f, 4));
            break;
        case 1: /* mostly inside memory */
            dart_model_write32(w->model, ttbr + 4 * index,
                               t8110 ? fuzz_byte(f) : 1u << 31 | fuzz_byte(f) % 32);
            break;
        case 2:
            dart_model_write32(w->model, ttbr + 4 * index, (uint32_t)fuzz_take(f, 4));
            break;
        case 3:
            dart_model_write32(w->model, enable, (uint32_t)fuzz_take(f, 4));
            break;
        default: {
            const uint32_t at = (uint32_t)fuzz_take(f, 2) % WINDOW & ~3u;

            /* Not PARAMS, which the model does not read back, and no commands. */
            if (at >= 0x40 && at != 0x80)
                dart_model_poke32(w->model, at, (uint32_t)fuzz_take(f, 4));
            break;
        }
        }
    }
}

/* Entries at places of the input's choice; most point into memory. */
static void set_memory(struct world *w, struct fuzz *f)
{
    for (unsigned n = fuzz_pick(f, 64); n; n--) {
        const uint64_t at = (fuzz_byte(f) & 1 ? fuzz_take(f, 2) : fuzz_pick(f, 4)) % (MEMORY / 8);
        const uint8_t kind = fuzz_byte(f);
        const uint64_t page = fuzz_pick(f, 17);
        uint64_t entry = fuzz_byte(f); /* valid and permissions */

        if (kind < 64)
            entry = fuzz_take(f, 8);
        else if (w->lpae) /* and the lower attributes beside AttrIndx and AP */
            entry |= page << 12 | (fuzz_take(f, 1) & 0xf) << 8;
        else
            entry |= page << (w->config->kind < DART_MODEL_T6000 ? 12 : 8);
        if (kind & 1)
            entry |= fuzz_take(f, 3) << 40;
        if (kind & 2)
            entry |= UINT64_C(0xfff) << 40;
        for (unsigned i = 0; i < 8; i++)
            w->memory[8 * at + i] = (uint8_t)(entry >> 8 * i);
    }
}

static struct dart_model_config choose(struct fuzz *f)
{
    const uint8_t kind = fuzz_byte(f);
    struct dart_model_config config = dart_model_defaults((enum dart_model_kind)(kind % 4));

    config.page_bits = kind & 4 ? 12 : 14;
    config.keep_all = kind & 8;
    config.random_replacement = kind & 16;
    config.bypass = config.bypass && (kind & 32); /* USB4 never bypasses: DART.md 2 */
    config.tlb_entries = 1 + fuzz_pick(f, 64);
    config.walk_entries = 1 + fuzz_pick(f, 8);
    if (config.kind == DART_MODEL_T8110 && (kind & 64))
        config.revision = 0x0100;
    if (config.kind == DART_MODEL_T8110 && (kind & 128))
        config.streams = 256;
    return config;
}

/* ---- LPAE ---- */

struct lpae {
    unsigned page_bits, levels, va_bits, pa_bits;
};

/* Kinds of DART models that choose() does not tell apart, for three granules and three depths. */
static bool choose_lpae(struct fuzz *f, struct lpae *out)
{
    static const uint8_t widths[] = {32, 36, 40, 42, 44, 48};
    const unsigned kind = f->left ? *f->at : 0;

    if ((kind & 0xc0) != 0xc0 || (kind & 3) == 3)
        return false;
    (void)fuzz_byte(f);
    out->page_bits = 12 + 2 * (kind & 3);
    out->levels = 2 + (kind >> 2 & 3) % (out->page_bits == 16 ? 2 : 3);
    out->va_bits = out->page_bits + out->levels * (out->page_bits - 3);
    out->va_bits = (out->va_bits < 48 ? out->va_bits : 48) - fuzz_pick(f, 9);
    out->pa_bits = widths[fuzz_pick(f, sizeof(widths))];
    return true;
}

/*
 * One translation with the root at 0, as the Arm ARM tells it (VMSAv8-64, stage 1, a privileged
 * table and an unprivileged access): false where it faults.
 */
static bool lpae_translate(struct world *w, const struct lpae *c, uint64_t iova, bool write,
                           uint64_t *out_pa)
{
    const unsigned stride = c->page_bits - 3;
    const uint64_t va = iova & ((UINT64_C(1) << c->va_bits) - 1);
    uint64_t table = 0;

    for (unsigned level = 4 - c->levels; level < 4; level++) { /* as Arm counts: pages are at 3 */
        const unsigned low = c->page_bits + (3 - level) * stride;
        const uint64_t in = (UINT64_C(1) << low) - 1;
        const bool may_block = level == 2 || (level == 1 && c->page_bits == 12);
        uint64_t entry;
        uint64_t pa;

        if (!table_read64(w, table + 8 * (va >> low & ((UINT64_C(1) << stride) - 1)), &entry) ||
            !(entry & 1))
            return false;
        pa = entry & UINT64_C(0xfffffffff000);
        if (level < 3 && (entry & 2)) {
            table = pa >> c->page_bits << c->page_bits;
            continue;
        }
        if (level < 3 ? !may_block : !(entry & 2))
            return false; /* reserved */
        *out_pa = (pa & ~in) | (va & in);
        return !(*out_pa >> c->pa_bits) && (entry >> 10 & 1) && (entry >> 6 & 1) &&
               !(write && (entry >> 7 & 1));
    }
    return false;
}

static void fuzz_lpae(struct fuzz *f, const struct lpae *c)
{
    struct world w = {.lpae = true};
    const struct walker_source source = {&w, NULL, memory_read};
    const struct walker_stream stream = {
        .format = walker_entries("LPAE", UINT64_C(1) << c->page_bits),
        .from = &source,
        .mode = WALKER_TRANSLATE,
        .levels = c->levels,
        .va_bits = c->va_bits,
        .pa_bits = c->pa_bits,
        .nroots = 1,
        .roots = {{.valid = true}},
    };

    w.memory = calloc(1, MEMORY);
    FUZZ_CHECK(w.memory && stream.format, "no memory");
    set_memory(&w, f);
    for (unsigned i = 0; i < ACCESSES && f->left; i++) {
        const uint64_t iova = fuzz_number(f);
        const bool write = fuzz_byte(f) & 1;
        struct walker_walk walk;
        uint64_t pa = 0;
        bool ok, own;

        walker_walk(&stream, iova, &walk);
        own = walk.end == WALKER_MAPPED && (write ? walk.leaf.write : walk.leaf.read);
        ok = lpae_translate(&w, c, iova, write, &pa);
        FUZZ_CHECK(ok == own && (!ok || pa == walk.pa),
                   "%s at IOVA 0x%llx: PA 0x%llx (%d), the walker says %d, PA 0x%llx",
                   write ? "write" : "read", (unsigned long long)iova, (unsigned long long)pa, ok,
                   (int)walk.end, (unsigned long long)walk.pa);
    }
    (void)iterate(&stream);
    free(w.memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {
        [DART_MODEL_T8020] = "apple,t8103-dart",
        [DART_MODEL_T8103_USB4] = "apple,t8103-usb4-dart",
        [DART_MODEL_T6000] = "apple,t6000-dart",
        [DART_MODEL_T8110] = "apple,t8110-dart",
    };
    struct fuzz f = {data, size};
    struct lpae lpae;

    if (choose_lpae(&f, &lpae)) {
        fuzz_lpae(&f, &lpae);
        return 0;
    }
    struct dart_model_config config = choose(&f);
    struct world w = {.config = &config};
    const struct model_host host = {
        .opaque = &w,
        .table_read64 = table_read64,
        .mem_read = mem_read,
        .mem_write = mem_write,
        .now_ns = now_ns,
        .irq = on_irq,
        .random = chance,
    };
    const struct walker_source source = {&w, reg, memory_read};
    struct walker_instance inst = {.kind = walker_kind(names[config.kind]), .from = &source};

    config.host = &host;
    w.memory = calloc(1, MEMORY);
    w.model = dart_model_create(&config);
    FUZZ_CHECK(w.memory && w.model, "no memory");
    set_registers(&w, &f);
    set_memory(&w, &f);
    inst.streams = config.streams;
    if (inst.kind)
        inst.format = walker_format(inst.kind, UINT64_C(1) << config.page_bits);
    for (unsigned i = 0; i < ACCESSES && f.left; i++) {
        const unsigned sid = fuzz_byte(&f) % 8;
        const uint64_t iova = fuzz_number(&f);
        const uint8_t how = fuzz_byte(&f);
        const uint64_t len = 1 + fuzz_take(&f, how & 1 ? 2 : 1);
        uint8_t buf[1024];
        uint64_t done = 0;

        dart_model_prefetch(w.model, sid, iova ^ (uint64_t)how << 12);
        if (inst.format)
            compare(&w, &inst, sid, iova, how & 2, len);
        (void)dart_model_access(w.model, sid, iova, buf, len & 1023, how & 4, how & 8, &done);
        FUZZ_CHECK(done <= (len & 1023), "more than asked for");
    }
    for (unsigned sid = 0; inst.format && sid < 4; sid++) {
        struct walker_stream stream;

        walker_stream(&stream, &inst, sid);
        (void)iterate(&stream);
    }
    dart_model_destroy(w.model);
    free(w.memory);
    return 0;
}
