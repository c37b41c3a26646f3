/* SPDX-License-Identifier: MIT */
/*
 * A small machine for tests: a host, up to three models of DARTs or SMMUv3s that keep every stale
 * entry and prefetch at random, their drivers, and a tap on each register block that can lose TLB
 * commands. What is called a DART below is any of them.
 * Every function fails the running test where it cannot do what it says.
 */
#ifndef TESTS_RIG_H
#define TESTS_RIG_H

#include <granule/granule.h>

#include <host_dart.h>
#include <host_smmuv3.h>

#include "chance.h"
#include "kinds.h"
#include "units.h"

#define RIG_DARTS 3u
#define RIG_SID 2u

struct rig_kind {
    const char *name;
    enum dart_model_kind model;
    enum gr_dart_kind driver; /* 0: it is an SMMUv3 */
    unsigned page_bits;
    unsigned va_bits;
    unsigned pa_bits;
    uint16_t revision; /* of t8110, DART.md 3; 0: the model's usual one */
    unsigned stage;    /* of an SMMUv3 */
};

/* Where its TLB command is, and the bit that says that it runs. */
uint32_t rig_command(const struct rig_kind *kind);
uint32_t rig_busy_bit(const struct rig_kind *kind);

#define RIG_MMIO_SIZE 0xc000u /* a window that is large enough for every kind */

#define RIG_ENUM(name, ...) RIG_##name,
enum {
    RIG_DART_KINDS(RIG_ENUM) RIG_SMMU_KINDS(RIG_ENUM) RIG_KINDS,
    RIG_SMMU = RIG_SMMU_VA48, /* from here on SMMUv3s */
};
#undef RIG_ENUM
extern const struct rig_kind rig_kinds[RIG_KINDS];

static inline bool rig_is_stage_2(const struct rig_kind *kind)
{
    return kind->stage == 2;
}

struct rig_dart {
    struct gr_instance *inst;
    struct host_dart hw;
    struct host_mmio tap; /* what the driver talks to */
    struct gr_dart drv;
    struct host_smmuv3 smmu_hw; /* these two instead, where it is one */
    struct gr_smmuv3 smmu;
    const struct rig_kind *kind;
    bool lose_commands; /* TLB commands do not arrive, and look done at once */
    unsigned lost;      /* of an SMMUv3: batches, up to a CMD_SYNC each */
    unsigned
        busy_reads; /* so many reads of the command register say busy, whatever the model says */
    unsigned hang;  /* the n-th TLB command from now times out, although it is done; 0: none */
};

struct rig {
    struct host *host;
    unsigned darts;
    struct rig_dart dart[RIG_DARTS];
    uint64_t rng;
    uint64_t faults; /* delivered to the instances' handlers */
    struct gr_fault last_fault;
};

static inline bool rig_is_smmu(unsigned kind)
{
    return kind >= RIG_SMMU;
}

/* An SMMUv3's stage 1 has no write-only. */
static inline bool rig_has_write_only(unsigned kind)
{
    return !rig_is_smmu(kind) || rig_is_stage_2(&rig_kinds[kind]);
}

/* What GR_DMA_* or GR_PROT_* lets a device do there. */
static inline unsigned rig_opens(unsigned kind, unsigned bits)
{
    return rig_has_write_only(kind) ? bits : bits | 1;
}

/* One DART of a machine; zeroes take the kind's own values. */
struct rig_setup {
    unsigned kind;
    struct gr_range aperture;
};

/* RAM that is never handed out, and that a test may use as it likes. */
#define RIG_FIXED_SIZE 0x40000u
#define RIG_LOW UINT64_C(0) /* from PA 0 */
#define RIG_BIG UINT64_C(0x900000000)
#define RIG_BIG_SIZE UINT64_C(0x8000000)
#define RIG_TOP(pa_bits) ((UINT64_C(1) << (pa_bits)) - RIG_FIXED_SIZE) /* to the widest PA */

void rig_make(struct rig *rig, unsigned cpu_page, uint64_t seed, unsigned darts,
              const struct rig_setup *setup);

/* A machine of `darts` instances of one kind, P = 4 KiB. */
void rig_make_plain(struct rig *rig, unsigned kind, unsigned darts);

/*
 * A test of cmocka's that, where it fails, says which rig it was at: the last that it made and did
 * not end.
 */
#define rig_test(function) cmocka_unit_test_teardown(function, rig_teardown)
int rig_teardown(void **state);
void rig_call(const char *kind); /* another name for the kind of that rig */

/* Tear down; devices and domains are gone. Nothing may be misused or leaked, but `leaks` pages. */
void rig_end_leaking(struct rig *rig, int leaks);
void rig_end(struct rig *rig);

/* Fill one stream per DART of [first, first + count), all with number `sid`, and a device of them.
 */
struct gr_device_config rig_device(struct rig *rig, struct gr_stream *streams, unsigned first,
                                   unsigned count, uint32_t sid);

static inline uint64_t rig_random(struct rig *rig, uint64_t below)
{
    return chance_below(&rig->rng, below);
}

/* As dart_model_set_busy() and dart_model_prefetch(); stuck: TLB commands are. */
void rig_set_busy(struct rig *rig, unsigned dart, uint64_t delay_ns, bool stuck);
void rig_prefetch(struct rig *rig, unsigned dart, uint32_t sid, uint64_t iova);

/* A device's access through one DART, waiting while it stalls. Faults are taken and recorded. */
enum model_result rig_access(struct rig *rig, unsigned dart, uint32_t sid, uint64_t iova, void *buf,
                             uint64_t len, bool write, bool coherent, uint64_t *done);
bool rig_can_read(struct rig *rig, unsigned dart, uint32_t sid, uint64_t iova);
bool rig_can_write(struct rig *rig, unsigned dart, uint32_t sid, uint64_t iova);

/* RAM for tests, naturally aligned to `align`. */
gr_pa_t rig_ram(struct rig *rig, uint64_t size, uint64_t align);

/*
 * What a refused call must leave alone: the domain's numbers, its tables' content, the streams'
 * registers of every DART. `domain` may be NULL.
 */
struct rig_state {
    struct gr_domain_stats stats;
    uint64_t tables;    /* a digest of every table reachable from the root */
    uint64_t registers; /* a digest */
};
struct rig_state rig_state(struct rig *rig, struct gr_domain *domain);
void rig_same(struct rig *rig, struct gr_domain *domain, const struct rig_state *before,
              const char *where);

/* Tables that a domain without maps holds: its root's. */
uint64_t rig_root_tables(const struct gr_domain *domain);

/*
 * Tables that a domain holds when exactly these ranges are mapped: its root's, and at each level
 * below one for every span that some range touches.
 */
uint64_t rig_tables(const struct gr_domain *domain, const struct gr_range *ranges, unsigned count);

/* How many bytes of IOVA one leaf table spans. */
uint64_t rig_span(const struct gr_domain *domain);

#endif
