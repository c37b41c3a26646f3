/* SPDX-License-Identifier: MIT */
/*
 * The machine that tests/test_sweep.c takes through its scenarios: a rig with several devices,
 * domains and mappings, each public call as one step, waits that fail on demand, and all that can
 * be seen from outside as a list of numbers.
 */
#ifndef TESTS_SWEEP_H
#define TESTS_SWEEP_H

#include "rig.h"

enum { MAIN, SECOND, SHARER, BYSTANDER, SWEEP_DEVICES };
enum { OURS, OTHER, THEIRS, SWEEP_DOMAINS };

/* Mappings. All but CROWD are named in the scenarios; CROWD and above fill bookkeeping pages. */
enum {
    ODD,
    ACROSS,
    SCATTER,
    LIMITED,
    RING,
    RINGS,
    FIXED,
    NEAR,
    WHOLE,
    LATER,
    THEIR,
    THEIR_NEW,
    CROWD
};
#define SWEEP_SLOTS (CROWD + 96u) /* more than a page of nodes, also where pointers are short */
#define SWEEP_RUNS 3u

struct sweep_kind {
    const char *name;
    unsigned rig;  /* RIG_* */
    bool coherent; /* the devices */
    unsigned darts;
};

enum sweep_mapping { SLOT_MAP, SLOT_LIST, SLOT_BUFFER, SLOT_FIXED };

struct sweep_slot {
    enum sweep_mapping how;
    unsigned dev;
    unsigned dom;
    bool live;
    bool lost;    /* a buffer whose memory must stay allocated */
    bool waiting; /* unmapped, and not yet forgotten: the device may get there or not */
    gr_pa_t pa;
    gr_iova_t iova; /* also from an earlier run: where it will lie */
    uint64_t len;
    unsigned attrs;
    void *cpu;
    uint8_t pattern; /* of every byte */
    struct gr_dma_list list;
    struct gr_seg segs[SWEEP_RUNS];
    struct gr_dma_seg out[SWEEP_RUNS];
};

/* How long the command register says busy in a wait that fails. */
enum sweep_hang {
    HANG_ONCE,   /* through one wait, then the command is done */
    HANG_TWICE,  /* through the next as well */
    HANG_ALWAYS, /* until sweep_repair() */
    HANG_KINDS
};

/* A command waits here until the wait for it ends: till then the model keeps what it cached. */
struct sweep_line {
    struct sweep *sweep;
    unsigned dart;
    bool waiting;
    bool held;
    uint32_t command;
    uint64_t busy_until;
    uint64_t accesses_while_busy; /* stores to the command register: lost */
};

struct sweep {
    struct rig rig;
    const struct sweep_kind *kind;
    uint64_t g;
    uint64_t straddle; /* an IOVA with other tables on either side */
    struct sweep_line line[RIG_DARTS];
    bool dart_live[RIG_DARTS];
    struct gr_stream stream[SWEEP_DEVICES][RIG_DARTS];
    struct gr_device dev[SWEEP_DEVICES];
    bool dev_live[SWEEP_DEVICES];
    struct gr_range reserved[40];
    struct gr_domain domain[SWEEP_DOMAINS];
    bool domain_live[SWEEP_DOMAINS];
    struct gr_bounce pool;
    bool pool_live;
    struct sweep_slot slot[SWEEP_SLOTS];
    unsigned crowd;
    const struct sweep_slot *watched; /* devices ask for it at every store to a table */

    struct gr_pt pt;
    struct gr_pt_gather gather;
    bool pt_live;
    struct gr_iova space;
    bool space_live;
    struct gr_range space_held;
    gr_iova_t space_at[96];
    unsigned space_count;
    struct gr_instance instance;

    uint64_t waits; /* begun so far */
    uint64_t fail_wait;
    enum sweep_hang hang;
    int stuck; /* the DART whose wait failed, or -1 */
    uint64_t faults;
    uint64_t lost_pages;  /* 4 KiB each, allocated on purpose for ever: buffers, */
    uint64_t lost_tables; /* and tables that an instance may still know */
};

void sweep_make(struct sweep *s, const struct sweep_kind *kind);
void sweep_end(struct sweep *s);

/* DARTs answer again, and finish what they had begun. */
void sweep_repair(struct sweep *s);

/* A device of its own group with a mapping, which nothing that happens to others may harm. */
void sweep_bystander(struct sweep *s);

/* Take down whatever there is, and count what has to stay. `device_first`: before its domain. */
void sweep_down(struct sweep *s, bool device_first);

/* Each device reads each place where something is or was mapped: what it gets is right. */
void sweep_probe(struct sweep *s, const char *where);

uint64_t sweep_slot_bytes(const struct sweep *s, const struct sweep_slot *slot);

/* ---- What can be seen ---- */

#define SEEN_DOMAIN 0x1u   /* a domain's numbers, its tables, its IOVA space */
#define SEEN_DEVICE 0x2u   /* a device's: domain, limits */
#define SEEN_HARDWARE 0x4u /* registers */
#define SEEN_MEMORY 0x8u   /* pages of the library */
#define SEEN_LOOSE 0x10u   /* tables and spaces without a domain */
#define SEEN_NOTES 0x20u   /* the streams that a domain's invalidations cover */
#define SEEN_TABLES 0x40u  /* which tables there are, beside what they map */
#define SEEN_COUNT 0x80u   /* how many; more than before is never the same */
#define SEEN_LOST 0x100u   /* slots of the pool */
#define SEEN_ALL 0x1ffu

struct sweep_seen {
    unsigned count;
    struct {
        unsigned kind;
        const char *name;
        uint64_t value;
    } number[160];
};

void sweep_look(struct sweep *s, struct sweep_seen *out);
void sweep_same(struct sweep *s, const struct sweep_seen *before, unsigned kinds,
                const char *where);

/* ---- Steps ---- */

enum sweep_class {
    NEVER,  /* neither allocates nor waits */
    MEMORY, /* may allocate, never waits */
    START,  /* of a DART */
    POWER,  /* of one that has no mapping */
    ATTACH,
    MOVE, /* attach of what is attached elsewhere: the new tables may confirm what the old did not
           */
    DETACH,
    MAP,
    UNMAP,
    TRIM,
    FLUSH, /* of the one mapping that waits */
};

struct sweep_step {
    const char *name;
    int (*call)(struct sweep *s, const struct sweep_step *step);
    enum sweep_class class;
    unsigned a; /* a device, a mapping, a DART */
    unsigned b; /* a domain, a limit */
};

#define SWEEP_CALL(name) int name(struct sweep *s, const struct sweep_step *step)

/* a: DART */
SWEEP_CALL(sweep_dart_init);
SWEEP_CALL(sweep_dart_fini);
SWEEP_CALL(sweep_instance);
SWEEP_CALL(sweep_instance_handler);
SWEEP_CALL(sweep_instance_fault);
SWEEP_CALL(sweep_isr);
SWEEP_CALL(sweep_dart_suspend); /* and resume, with the power off between */
SWEEP_CALL(sweep_dart_lost);    /* and found again */

/* a: device; b, for a device's init: does it bounce? */
#define BOUNCES 1u

/* a: device; b: domain, for init also its type << 4, and flags << 8 */
#define DEFERRED(domain) (TRANSLATED(domain) | GR_DOMAIN_DEFERRED << 8)
#define TRANSLATED(domain) ((domain) | (unsigned)GR_DOMAIN_TRANSLATED << 4)
#define UNMANAGED(domain) ((domain) | (unsigned)GR_DOMAIN_UNMANAGED << 4)
SWEEP_CALL(sweep_device_init);
SWEEP_CALL(sweep_device_fini);
SWEEP_CALL(sweep_device_ask);
SWEEP_CALL(sweep_domain_init);
SWEEP_CALL(sweep_domain_fini);
SWEEP_CALL(sweep_domain_ask);
SWEEP_CALL(sweep_domain_handler);
SWEEP_CALL(sweep_attach);
SWEEP_CALL(sweep_detach);
SWEEP_CALL(sweep_policy);
SWEEP_CALL(sweep_linear);

/* b: domain; a, for flush: the mapping that waits */
SWEEP_CALL(sweep_set_bounce);
SWEEP_CALL(sweep_flush);
SWEEP_CALL(sweep_flush_again);

/* a: chunks to have from the start; slots in use; are any lost? */
SWEEP_CALL(sweep_pool_init);
SWEEP_CALL(sweep_pool_ask);
SWEEP_CALL(sweep_pool_fini);

/* a: device; b: 0, or a mapping's length in granules that straddles under the mask */
SWEEP_CALL(sweep_set_mask);
SWEEP_CALL(sweep_set_limits);
SWEEP_CALL(sweep_limits);

/* a: mapping */
SWEEP_CALL(sweep_map);
SWEEP_CALL(sweep_unmap);
SWEEP_CALL(sweep_unmap_half);
SWEEP_CALL(sweep_trim);
SWEEP_CALL(sweep_iova_to_phys);
SWEEP_CALL(sweep_sync_for_cpu);
SWEEP_CALL(sweep_sync_for_device);
SWEEP_CALL(sweep_fill_up); /* as many mappings as use up the domain's bookkeeping */

SWEEP_CALL(sweep_pt_init);
SWEEP_CALL(sweep_pt_map);
SWEEP_CALL(sweep_pt_unmap);
SWEEP_CALL(sweep_pt_trim);
SWEEP_CALL(sweep_pt_free);
SWEEP_CALL(sweep_pt_ask);
SWEEP_CALL(sweep_pt_fini);

SWEEP_CALL(sweep_iova_init);
SWEEP_CALL(sweep_iova_reserve);
SWEEP_CALL(sweep_iova_alloc);
SWEEP_CALL(sweep_iova_fixed);
SWEEP_CALL(sweep_iova_fill);
SWEEP_CALL(sweep_iova_begin);
SWEEP_CALL(sweep_iova_finish);
SWEEP_CALL(sweep_iova_ask);
SWEEP_CALL(sweep_iova_fini);

#endif
