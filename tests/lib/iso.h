/* SPDX-License-Identifier: MIT */
/*
 * One device that has a domain and perhaps a bounce pool: behind DART models, or behind a walker of
 * ARM LPAE tables, whose leaves have no windows. The walker keeps what it met until it is told to
 * forget, and may be told to fail. Every function fails the running test where it cannot do what it
 * says.
 */
#ifndef TESTS_ISO_H
#define TESTS_ISO_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rig.h"

/* Kinds beyond RIG_KINDS. */
enum { ISO_LPAE_4K = RIG_KINDS, ISO_LPAE_16K, ISO_LPAE_64K, ISO_KINDS };

struct iso_setup {
    unsigned kind;
    unsigned darts;    /* 0: 1 */
    unsigned cpu_page; /* 0: 4096 */
    uint64_t seed;
    bool untrusted;
    bool verified; /* windows */
    bool noncoherent;
    enum gr_isolation isolation;
    uint32_t access_unit;
    uint32_t overread;
    uint32_t min_align_mask;
    uint64_t pool; /* limit of a pool; 0: none */
    unsigned flags;
    struct gr_range aperture; /* 0, 0: the kind's */
    bool bare;                /* make no domain and no pool */
};

#define ISO_CACHED 512u

/* The walker of LPAE tables; it forgets all when its memory is full. */
struct iso_walker {
    struct gr_instance inst;
    struct host *host;
    const struct gr_pt *pt; /* NULL: blocked, or everything passes */
    bool pass;
    struct {
        uint64_t page;
        gr_pa_t pa;
        unsigned prot;
    } cached[ISO_CACHED];
    unsigned count;
    uint64_t reused;        /* as the model of a DART counts it */
    uint64_t invalidations; /* asked for */
    uint64_t fail;        /* the n-th invalidation from now on fails, and drops nothing; 0: none */
    bool dead;            /* all fail */
    bool deaf;            /* they look done and drop nothing */
    struct gr_range last; /* invalidated */
};

struct iso {
    struct iso_setup setup;
    struct rig rig;
    struct iso_walker walker;
    struct gr_stream stream[RIG_DARTS];
    struct gr_device_config config;
    struct gr_device dev;
    struct gr_domain domain;
    struct gr_bounce pool;
    uint64_t g;
    bool lpae;
};

void iso_make(struct iso *iso, const struct iso_setup *setup);
void iso_end(struct iso *iso);
void iso_end_leaking(struct iso *iso, int leaks);

/* A walker alone; `aperture` may be {0, 0}: its own. */
void iso_walker_make(struct iso_walker *w, struct host *host, unsigned lg2,
                     struct gr_range aperture);

/* The granule and the widest PA of a kind. */
unsigned iso_granule_lg2(unsigned kind);
bool iso_has_windows(unsigned kind);
const char *iso_name(unsigned kind);

/* Streams of a second device of the same instances. */
struct gr_device_config iso_device(struct iso *iso, struct gr_stream *streams, uint32_t sid);

/* The device's access, through one of the DARTs at random. */
bool iso_access(struct iso *iso, uint64_t iova, void *buf, uint64_t len, bool write);
bool iso_sid_access(struct iso *iso, uint32_t sid, uint64_t iova, void *buf, uint64_t len,
                    bool write);
bool iso_reads(struct iso *iso, uint64_t iova);

/* Bytes of memory as the CPU sees them, in RAM that nobody is given: RIG_BIG. */
uint8_t *iso_at(struct iso *iso, gr_pa_t pa, uint64_t len);

/* Set them, and let no cache hold them back: what is not the buffer's is not written again. */
void iso_set(struct iso *iso, gr_pa_t pa, uint8_t byte, uint64_t len);

/* 64-bit words that differ from one seed to the next, for buffers. */
void iso_scramble(struct iso *iso, gr_pa_t pa, uint64_t len);

struct gr_bounce_stats iso_pool(struct iso *iso);
struct gr_domain_stats iso_stats(struct iso *iso);

/* Hits of a TLB by an IOVA that meant something else already, on all instances. */
uint64_t iso_reused(struct iso *iso);

/* What a refused call leaves alone. */
struct iso_state {
    struct gr_domain_stats domain;
    struct gr_bounce_stats pool;
};
struct iso_state iso_state(struct iso *iso);
void iso_same(struct iso *iso, const struct iso_state *before, const char *where);

#endif
