/* SPDX-License-Identifier: MIT */
/*
 * An SMMUv3 whose registers and events say anything, and something else at the next read: the
 * driver's waits are bounded, what it decodes is in range, and no answer of the hardware makes it
 * break the port's rules or lose memory without saying so.
 *
 * Input: the registers, the driver's configuration, then events.
 */
#include "user.h"

#include <host.h>
#include <stdbool.h>
#include <string.h>

#define WINDOW 0x20000u
#define EVENTS 48u
#define REASONS_ALL 0xffu
#define LIMIT ((uint64_t)GR_CFG_SMMUV3_TIMEOUT_NS)

/* Arm IHI 0070, 6.3 */
#define CR0 0x20u
#define CR0ACK 0x24u
#define GBPA 0x44u
#define IRQ_CTRL 0x50u
#define IRQ_CTRLACK 0x54u
#define GERROR 0x60u
#define CMDQ_PROD 0x98u
#define CMDQ_CONS 0x9cu
#define EVENTQ_BASE 0xa0u
#define EVENTQ_PROD 0x100a8u

struct world {
    struct host *host;
    struct host_mmio mmio;
    struct gr_smmuv3 smmu;
    struct fuzz *input;
    uint32_t reg[WINDOW / 4];
    bool obeys;    /* acknowledges and consumes */
    bool restless; /* registers change from read to read */
    uint64_t reads;
    uint64_t taken; /* faults that a handler got */
};

static uint32_t on_read(void *opaque, uint32_t offset)
{
    struct world *const w = opaque;

    w->reads++;
    if (offset == CR0ACK || offset == GBPA || offset == IRQ_CTRLACK || offset == CMDQ_CONS)
        host_advance(w->host, LIMIT / 64); /* so that a time-out takes few reads */
    if (w->restless && w->input->left && (fuzz_byte(w->input) & 3) == 0)
        w->reg[offset / 4] = (uint32_t)fuzz_take(w->input, 4);
    return w->reg[offset / 4];
}

static void on_write(void *opaque, uint32_t offset, uint32_t value)
{
    struct world *const w = opaque;

    w->reg[offset / 4] = value;
    if (!w->obeys)
        return;
    if (offset == CR0 || offset == IRQ_CTRL)
        w->reg[offset / 4 + 1] = value;
    if (offset == GBPA)
        w->reg[offset / 4] &= ~(1u << 31);
    if (offset == CMDQ_PROD)
        w->reg[CMDQ_CONS / 4] = value;
}

static void on_write64(void *opaque, uint32_t offset, uint64_t value)
{
    struct world *const w = opaque;

    w->reg[offset / 4] = (uint32_t)value;
    w->reg[offset / 4 + 1] = (uint32_t)(value >> 32);
}

static bool on_fault(void *cookie, const struct gr_fault *fault)
{
    struct world *const w = cookie;

    w->taken++;
    FUZZ_CHECK(fault->instance == &w->smmu.inst, "instance");
    FUZZ_CHECK(fault->reasons && !(fault->reasons & ~REASONS_ALL), "%x", fault->reasons);
    FUZZ_CHECK(fault->level == GR_FAULT_LEVEL_UNKNOWN, "%u", fault->level);
    FUZZ_CHECK(fault->access_known || (!fault->write && !fault->iova), "of no known access");
    FUZZ_CHECK(gr_fault_reason_name(fault->reasons), "%x", fault->reasons);
    return fault->raw & 1; /* else it goes to the log */
}

/* A call with at most `waits` waits for the hardware, each as long as the library allows. */
struct watch {
    uint64_t now, reads;
};

static struct watch begin(struct world *w)
{
    return (struct watch){host_now(w->host), w->reads};
}

static void end(struct world *w, struct watch since, unsigned waits)
{
    const uint64_t ns = (waits + 1u) * (LIMIT + LIMIT / 16) + 100000u;

    FUZZ_CHECK(host_now(w->host) - since.now <= ns, "waited too long");
    FUZZ_CHECK(w->reads - since.reads <= 512u * (waits + 1u), "read too often");
}

/* ---- a start ---- */

static int start(struct world *w, struct fuzz *f)
{
    struct gr_smmuv3_config config = {
        .env = w->host,
        .mmio = &w->mmio,
        .mmio_size = WINDOW,
        .name = "smmu",
        .granule_lg2 = (uint8_t)(fuzz_pick(f, 4) ? 0 : fuzz_byte(f)),
        .va_bits = (uint8_t)(fuzz_pick(f, 4) ? 0 : fuzz_byte(f)),
        .stream_bits = (uint8_t)(1 + fuzz_pick(f, 11)), /* a linear table costs its time */
    };
    const uint8_t more = fuzz_byte(f);
    const struct watch since = begin(w);
    int rc;

    if (more & 1)
        config.aperture = (struct gr_range){fuzz_number(f), fuzz_number(f)};
    if ((more & 0xe) == 2)
        config.mmio_size = fuzz_number(f);
    config.stage = more >> 4 & 3;
    rc = gr_smmuv3_init(&w->smmu, &config);
    end(w, since, 12);
    if (!rc) {
        const struct gr_instance *const inst = &w->smmu.inst;
        const struct gr_pt_config *const t = &inst->table;

        FUZZ_CHECK(t->granule_lg2 == 12 || t->granule_lg2 == 14 || t->granule_lg2 == 16, "%u",
                   t->granule_lg2);
        FUZZ_CHECK(t->pa_bits >= 32 && t->pa_bits <= 48, "%u", t->pa_bits);
        FUZZ_CHECK(t->va_bits >= 32 && t->va_bits <= gr_pt_reach_bits(t), "%u", t->va_bits);
        FUZZ_CHECK(t->format == GR_PT_LPAE_S1 || t->va_bits <= t->pa_bits, "%u", t->va_bits);
        FUZZ_CHECK(inst->streams >= 1 && inst->streams <= 1u << 11, "%u", inst->streams);
        FUZZ_CHECK(inst->aperture.first <= inst->aperture.last, "an empty aperture");
        FUZZ_CHECK(!(inst->aperture.last >> t->va_bits), "an aperture beyond the tables");
    } else {
        FUZZ_CHECK(rc == GR_EINVAL || rc == GR_EIO || rc == GR_EOPNOTSUPP || rc == GR_ETIMEDOUT ||
                       rc == GR_ENOMEM,
                   "%d", rc);
    }
    return rc;
}

/* ---- events ---- */

static void use(struct world *w, struct user *u, struct fuzz *f)
{
    struct watch since;

    if (!u->device) {
        user_begin(u, &w->smmu.inst, (uint32_t)fuzz_take(f, 2) % w->smmu.inst.streams, 0);
        return;
    }
    if (!u->made)
        return;
    since = begin(w);
    user_map_and_unmap(u, f);
    end(w, since, 8);
}

/* Whatever is read as a record. */
static void scribble(struct world *w, struct fuzz *f)
{
    const uint64_t base =
        (w->reg[EVENTQ_BASE / 4] & ~31u) | (uint64_t)(w->reg[EVENTQ_BASE / 4 + 1] & 0xfffff) << 32;
    const uint64_t word[4] = {fuzz_number(f), fuzz_number(f), fuzz_number(f), 0};

    /* Where the register says, as far as that is the driver's. */
    if (host_use_of(w->host, base) == HOST_LIBRARY)
        (void)!host_mem_write(w->host, base + 32 * fuzz_pick(f, 128), word, sizeof(word), true);
}

static void interrupt(struct world *w)
{
    const struct watch since = begin(w);

    for (unsigned i = 0; i < 3; i++)
        (void)gr_smmuv3_isr(&w->smmu);
    end(w, since, 0);
    user_faults(&w->smmu.inst, &w->taken);
}

static void run(struct world *w, struct user *u, struct fuzz *f)
{
    static const uint32_t telling[] = {GERROR, CMDQ_CONS, EVENTQ_PROD, CR0ACK};

    for (unsigned i = 0; i < EVENTS && f->left; i++) {
        switch (fuzz_pick(f, 7)) {
        case 0:
            w->reg[fuzz_take(f, 2) % (WINDOW / 4)] = (uint32_t)fuzz_take(f, 4);
            break;
        case 1:
            w->reg[telling[fuzz_pick(f, 4)] / 4] = (uint32_t)fuzz_take(f, 4);
            break;
        case 2:
            interrupt(w);
            break;
        case 3:
            use(w, u, f);
            break;
        case 4:
            scribble(w, f);
            break;
        case 5:
            w->reg[EVENTQ_PROD / 4] += fuzz_pick(f, 8);
            break;
        default:
            w->restless = fuzz_byte(f) & 1;
            w->obeys = fuzz_byte(f) & 7;
            break;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct host_config config = {
        .cpu_page = 4096, .nbanks = 1, .seed = 1, .banks = {{0, 0x800000}}};
    struct fuzz f = {data, size};
    struct world *const w = calloc(1, sizeof(*w));
    struct user u = {0};
    char why[160];
    bool late = false;
    int leaks, rc;

    FUZZ_CHECK(w, "no memory");
    w->host = host_create(&config, why, sizeof(why));
    FUZZ_CHECK(w->host, "%s", why);
    host_log_level(w->host, -1);
    w->input = &f;
    w->mmio = (struct host_mmio){.host = w->host,
                                 .opaque = w,
                                 .size = WINDOW,
                                 .read32 = on_read,
                                 .write32 = on_write,
                                 .write64 = on_write64};
    w->obeys = fuzz_byte(&f) & 7;
    if (fuzz_byte(&f) & 7) { /* docs/QEMU.md: what a driver accepts */
        w->reg[0x00 / 4] = 0x0d40101a ^ (fuzz_byte(&f) & 3 ? 0 : (uint32_t)fuzz_take(&f, 4));
        w->reg[0x04 / 4] =
            (uint32_t)fuzz_pick(&f, 20) << 21 | (uint32_t)fuzz_pick(&f, 20) << 16 | 16;
        w->reg[0x0c / 4] = (uint32_t)fuzz_byte(&f) << 10;
        w->reg[0x14 / 4] = 0x74;
    }
    for (unsigned n = fuzz_pick(&f, 32); n; n--) {
        const uint32_t at = (uint32_t)fuzz_take(&f, 2) % (WINDOW / 4);

        w->reg[at] = (uint32_t)fuzz_take(&f, 4);
    }
    w->restless = fuzz_byte(&f) & 1;
    rc = start(w, &f);
    late = rc == GR_ETIMEDOUT;
    if (!rc) {
        gr_instance_set_fault_handler(&w->smmu.inst, on_fault, w);
        run(w, &u, &f);
        interrupt(w);
        user_end(&u);
        rc = gr_smmuv3_fini(&w->smmu);
        FUZZ_CHECK(!rc || rc == GR_ETIMEDOUT, "%d", rc);
        late = rc;
    }
    FUZZ_CHECK(!host_misuse(w->host), "%s", host_last_log(w->host));
    leaks = host_destroy(w->host);
    FUZZ_CHECK(!leaks || late || u.late, "%d pages leaked", leaks);
    free(w);
    return 0;
}
