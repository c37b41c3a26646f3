/* SPDX-License-Identifier: MIT */
/*
 * A DART whose registers say anything, and something else at the next read: the driver's waits are
 * bounded, what it decodes is in range, and no answer of the hardware makes it break the port's
 * rules or lose memory.
 *
 * Input: the driver's configuration, the registers that are not 0, then events.
 */
#include "user.h"

#include <host.h>
#include <stdbool.h>
#include <string.h>

#define WINDOW 0xc000u /* of all generations */
#define EVENTS 48u
#define REASONS_ALL 0x1fffu

struct world {
    struct host *host;
    struct host_mmio mmio;
    struct gr_dart dart;
    struct fuzz *input;
    uint32_t reg[WINDOW / 4];
    bool keeps_stores;
    bool restless; /* registers change from read to read */
    uint64_t reads;
    uint64_t taken; /* faults that a handler got */
    unsigned streams;
};

static uint32_t on_read(void *opaque, uint32_t offset)
{
    struct world *const w = opaque;

    w->reads++;
    if (w->restless && w->input->left && (fuzz_byte(w->input) & 3) == 0)
        w->reg[offset / 4] = (uint32_t)fuzz_take(w->input, 4);
    return w->reg[offset / 4];
}

static void on_write(void *opaque, uint32_t offset, uint32_t value)
{
    struct world *const w = opaque;

    if (w->keeps_stores)
        w->reg[offset / 4] = value;
}

static bool on_fault(void *cookie, const struct gr_fault *fault)
{
    struct world *const w = cookie;

    w->taken++;
    FUZZ_CHECK(fault->instance == &w->dart.inst, "instance");
    FUZZ_CHECK(fault->stream < GR_DART_MAX_STREAMS, "%u", fault->stream);
    FUZZ_CHECK(fault->reasons && !(fault->reasons & ~REASONS_ALL), "%x", fault->reasons);
    FUZZ_CHECK(fault->level < GR_PT_MAX_LEVELS || fault->level == GR_FAULT_LEVEL_UNKNOWN, "%u",
               fault->level);
    FUZZ_CHECK(fault->access_known || !fault->write, "a write, and not known to be one");
    FUZZ_CHECK(fault->raw >> 31 || (w->reg[2] & 0xffff) >= 0x0202, "no fault was flagged");
    for (uint32_t bit = 1; bit; bit <<= 1) {
        if (fault->reasons & bit)
            FUZZ_CHECK(gr_fault_reason_name(bit), "%x", bit);
    }
    return fault->raw & 1; /* else it goes to the log */
}

/*
 * A call with at most `waits` waits for the hardware, each as long as the library allows. Registers
 * that stay as they are make the first of them the last.
 */
struct watch {
    uint64_t now, reads;
};

static struct watch begin(struct world *w)
{
    return (struct watch){host_now(w->host), w->reads};
}

static void end(struct world *w, struct watch since, unsigned waits)
{
    const uint64_t ns = (uint64_t)waits * (GR_CFG_DART_TIMEOUT_NS + 1000u) + 100000u;

    FUZZ_CHECK(host_now(w->host) - since.now <= ns, "waited too long");
    FUZZ_CHECK(w->reads - since.reads <= ns / 100 + 4096, "read too often");
}

/* ---- a start ---- */

static int start(struct world *w, struct fuzz *f)
{
    static const uint8_t widths[] = {0, 0, 0, 32, 36, 38, 42, 12, 13, 14, 15, 30, 48, 63, 64, 255};
    const uint8_t kind = fuzz_byte(f);
    struct gr_dart_config config = {
        .kind = (enum gr_dart_kind)(kind < 250 ? kind % 5 : GR_DART_S5L8960X),
        .env = w->host,
        .mmio = &w->mmio,
        .mmio_size = WINDOW,
        .name = "dart",
        .va_bits = widths[fuzz_pick(f, 16)],
        .pa_bits = widths[fuzz_pick(f, 16)],
        .streams = fuzz_byte(f) < 128 ? 0 : (uint16_t)fuzz_take(f, 2),
    };
    const uint8_t more = fuzz_byte(f);
    const struct watch since = begin(w);
    int rc;

    if (more & 1)
        config.aperture = (struct gr_range){fuzz_number(f), fuzz_number(f)};
    if (more & 2)
        config.mmio_size = fuzz_number(f);
    rc = gr_dart_init(&w->dart, &config);
    end(w, since, w->restless ? 1 + 2 * GR_DART_MAX_STREAMS : 1);
    if (!rc) {
        const struct gr_instance *const inst = &w->dart.inst;
        const struct gr_pt_config *const t = &inst->table;

        FUZZ_CHECK(t->granule_lg2 == 12 || t->granule_lg2 == 14, "%u", t->granule_lg2);
        FUZZ_CHECK(t->pa_bits == 36 || t->pa_bits == 42, "%u", t->pa_bits);
        FUZZ_CHECK(t->va_bits > t->granule_lg2 && t->va_bits <= gr_pt_reach_bits(t), "%u",
                   t->va_bits);
        FUZZ_CHECK(inst->streams >= 1 && inst->streams <= GR_DART_MAX_STREAMS, "%u", inst->streams);
        FUZZ_CHECK(inst->aperture.first <= inst->aperture.last, "an empty aperture");
        FUZZ_CHECK(!((inst->aperture.first ^ inst->aperture.last) >> t->va_bits),
                   "an aperture over several blocks");
        w->streams = inst->streams;
    } else {
        FUZZ_CHECK(rc == GR_EINVAL || rc == GR_EIO || rc == GR_EOPNOTSUPP || rc == GR_ETIMEDOUT,
                   "%d", rc);
    }
    return rc;
}

/* ---- events ---- */

/* Tables that no firmware can have made are refused. */
static void use(struct world *w, struct user *u, struct fuzz *f)
{
    struct watch since;

    if (!u->device) {
        user_begin(u, &w->dart.inst, fuzz_byte(f) % w->streams, GR_EOPNOTSUPP);
        return;
    }
    if (!u->made)
        return;
    since = begin(w);
    user_map_and_unmap(u, f);
    /* Each: one command, one that undoes it, the stream's blocking; two waits a command. */
    end(w, since, 2 * 2 * 4);
}

static void interrupt(struct world *w)
{
    const struct watch since = begin(w);

    for (unsigned i = 0; i <= GR_CFG_FAULT_RING; i++)
        (void)gr_dart_isr(&w->dart);
    /* Revision 2.2: a record for each of 256 streams each time, and perhaps a TLB command. */
    end(w, since, (w->dart.params[2] & 0xffff) >= 0x0200 ? 2 * (GR_CFG_FAULT_RING + 1) : 0);
    user_faults(&w->dart.inst, &w->taken);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct host_config config = {
        .cpu_page = 4096, .nbanks = 1, .seed = 1, .banks = {{0, 0x400000}}};
    struct fuzz f = {data, size};
    struct world *const w = calloc(1, sizeof(*w));
    struct user u = {0};
    char why[160];
    int leaks;

    FUZZ_CHECK(w, "no memory");
    w->host = host_create(&config, why, sizeof(why));
    FUZZ_CHECK(w->host, "%s", why);
    host_log_level(w->host, -1);
    w->input = &f;
    w->mmio = (struct host_mmio){
        .host = w->host, .opaque = w, .size = WINDOW, .read32 = on_read, .write32 = on_write};
    w->keeps_stores = fuzz_byte(&f) & 1;
    if (fuzz_byte(&f) & 1) { /* DART.md 2, 3: parameters that a driver accepts */
        w->reg[0x0 / 4] = 0x0e000000;
        w->reg[0x8 / 4] = 0x2a240200;
        w->reg[0xc / 4] = (uint32_t)fuzz_take(&f, 2);
    }
    for (unsigned n = fuzz_pick(&f, 32); n; n--) {
        const uint32_t at = (uint32_t)fuzz_take(&f, 2) % WINDOW / 4;

        w->reg[at] = (uint32_t)fuzz_take(&f, 4);
    }
    w->restless = fuzz_byte(&f) & 1;
    if (!start(w, &f)) {
        gr_instance_set_fault_handler(&w->dart.inst, on_fault, w);
        for (unsigned i = 0; i < EVENTS && f.left; i++) {
            switch (fuzz_pick(&f, 5)) {
            case 0:
                w->reg[fuzz_take(&f, 2) % WINDOW / 4] = (uint32_t)fuzz_take(&f, 4);
                break;
            case 1: /* ERROR, of either layout */
                w->reg[0x40 / 4] = w->reg[0x100 / 4] = 1u << 31 | (uint32_t)fuzz_take(&f, 4);
                break;
            case 2:
                interrupt(w);
                break;
            case 3:
                use(w, &u, &f);
                break;
            default:
                w->restless = fuzz_byte(&f) & 1;
                break;
            }
        }
        interrupt(w);
        user_end(&u);
        FUZZ_CHECK(!gr_dart_fini(&w->dart), "dart");
    }
    FUZZ_CHECK(!host_misuse(w->host), "%s", host_last_log(w->host));
    leaks = host_destroy(w->host);
    FUZZ_CHECK(!leaks || u.late, "%d pages leaked", leaks);
    free(w);
    return 0;
}
