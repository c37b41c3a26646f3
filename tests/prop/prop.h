/* SPDX-License-Identifier: MIT */
/*
 * The property tests: random operations on domains of every format and geometry, after each of
 * which devices probe.
 *
 *   suite.c       what an episode does
 *   prop.c        the table of rows: formats and geometries; runs episodes in processes of their
 * own, replays and shrinks what fails on_fast.c     a program: on a machine that does little, for
 * volume on_model.c    another: on the hosted port with models of the hardware
 *
 * An episode is a fresh machine and up to PROP_STEPS steps. A step draws its numbers from the
 * episode's seed and its own number alone, so steps can be left out of a replay.
 *
 * Environment: SEED=N the first number of everything; OPS=N operations in all, over all rows;
 * ROW=TEXT only rows whose name has it; EPISODE=N only that one, every step told; JOBS=N processes;
 * SHRINK=N seconds to find fewer steps that fail, 0 for none.
 */
#ifndef PROP_H
#define PROP_H

#include <granule/granule.h>

#include "chance.h"
#include "formats.h"
#include "sim/walker.h"
#include "units.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>

#define PROP_STEPS 4096u
#define PROP_INSTANCES 2u
#define PROP_STREAMS 4u /* stream numbers that a suite may use on each instance */

/* ---- Rows ---- */

/* The hardware that the model's machine makes for a row. */
enum prop_hardware { PROP_T8020, PROP_T6000, PROP_T8110, PROP_SMMUV3 };

/* A row. */
struct prop_shape {
    const char *name;
    enum prop_hardware hardware;
    enum gr_pt_format format;
    uint8_t granule_lg2;
    uint8_t levels;    /* that an aperture of all va_bits needs */
    uint8_t roots_lg2; /* of the instance */
    uint8_t va_bits;
    uint8_t pa_bits;
};

/* ---- One episode ---- */

struct prop_episode {
    uint64_t seed;
    unsigned steps;        /* how many to play */
    unsigned step;         /* the one that plays, for messages */
    const uint8_t *left;   /* steps to leave out, one byte each; NULL: none */
    bool tell;             /* print each step */
    volatile uint64_t *at; /* where to note the number of the step under way; may be NULL */
};

/* Play one episode on a machine of this shape. What fails ends the process. */
void prop_play(const struct prop_shape *shape, struct prop_episode *episode);

/* Say what is wrong and end the process of this episode. */
__attribute__((noreturn, format(printf, 1, 2))) void prop_fail(const char *format, ...);

/* Part of what a step does, printed where the episode is told. */
__attribute__((format(printf, 1, 2))) void prop_tell(const char *format, ...);

/* ---- Machines: each program brings one ---- */

struct prop_machine {
    gr_env_t env;
    struct gr_instance *inst[PROP_INSTANCES];
    bool snoops; /* every device must be coherent */
    /* Set by the suite; called by machines that can, after the library's single stores to tables.
     */
    void (*observer)(void *opaque);
    void *opaque;
};

/* What became of the CPU's caches of buffers since the machine was last asked. */
struct prop_cache {
    uint64_t cleaned, dropped; /* bytes */
    uint64_t first, last;      /* PAs; first > last: none */
};

struct machine;

/* Fail the episode where they cannot do what they say. */
struct prop_machine *machine_make(const struct prop_shape *shape, struct gr_range aperture,
                                  uint64_t seed);
void machine_end(struct prop_machine *m); /* everything must be given back */

/*
 * A device's access to one byte: where it leads, or false: refused. The observer, who comes in the
 * middle of the library's work, uses machine_peek(), which leaves a fault for later.
 */
bool machine_reach(struct prop_machine *m, unsigned inst, unsigned sid, gr_iova_t iova, bool write,
                   gr_pa_t *out_pa);

bool machine_peek(struct prop_machine *m, unsigned inst, unsigned sid, gr_iova_t iova, bool write,
                  gr_pa_t *out_pa);

/* Table memory as walkers see it. */
bool machine_read(void *m, uint64_t pa, void *buf, size_t len);

/* The n-th allocation from now fails; 0: none. How many there were so far. */
void machine_fail_alloc(struct prop_machine *m, uint64_t n);
uint64_t machine_allocs(struct prop_machine *m);

/* Where a coherent buffer lies. */
gr_pa_t machine_pa(struct prop_machine *m, void *cpu);

/* False where the machine does not say. */
bool machine_cache(struct prop_machine *m, struct prop_cache *out);

/* ---- For the programs' main() ---- */

/* Run `ops` operations (OPS= overrides) over all rows; 0 or 1, as an exit status. */
int prop_main(const char *name, uint64_t ops);

#endif
