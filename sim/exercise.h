/* SPDX-License-Identifier: MIT */
/*
 * What `granule run` does to a machine: every device of a board moves data through every instance
 * in front of it, and every byte is checked. `granule attack` does the same, and attack.c besides.
 *
 *   exercise.c        the course of a run: turns, the busiest moment, the end
 *   exercise_piece.c  where their bytes lie, and what is let through around them
 *   exercise_live.c   maps, lists and coherent buffers come and go
 *   exercise_check.c  what must hold while they live
 *   exercise_probe.c  what must fault
 *
 * Whatever is mapped is a list of parts to all checks; a single map is a list of one.
 */
#ifndef SIM_EXERCISE_H
#define SIM_EXERCISE_H

#include "machine.h"
#include "tally.h"

#define EXERCISE_LARGEST (UINT64_C(1) << 20) /* bytes of a map or buffer; a list, about */
#define EXERCISE_SEGMENTS 256u
#define EXERCISE_GUARD 256u
#define EXERCISE_CHUNK 65536u
#define EXERCISE_LIVE 48u /* mappings of one device at once */

enum live_kind {
    LIVE_MAP,
    LIVE_SG,
    LIVE_COHERENT,
    LIVE_KINDS,
};

/* Bytes that lie side by side in memory and for the device: a segment of a list, a whole buffer. */
struct part {
    gr_iova_t iova;
    gr_pa_t pa;
    uint64_t len;
};

/*
 * Bytes of one or more parts that lie side by side wherever the device finds them: as they are in
 * memory, or in a slot of the bounce pool.
 */
struct piece {
    gr_iova_t iova;
    gr_pa_t pa; /* where the device finds byte `iova` */
    uint64_t len;
    uint64_t over;         /* bytes behind it that the device may read; len can be 0 then */
    gr_iova_t first, last; /* what leaves let through: whole granules, or less if `narrow` */
    bool narrow;
    bool bounced;
};

/* A test's memory with guard bytes on both sides. */
struct extent {
    gr_pa_t alloc; /* what host_ram_alloc() gave */
    gr_pa_t pa;    /* between the guards */
    uint64_t len;
};

struct live {
    enum live_kind kind;
    enum gr_dma_dir dir;
    unsigned attrs;
    uint64_t key;    /* of the content, see pattern() */
    uint64_t len;    /* of all parts */
    gr_iova_t first; /* of all parts, in whole granules */
    gr_iova_t last;
    struct part *parts; /* in the order of the content */
    unsigned count;
    struct piece *pieces;
    unsigned npieces;
    struct extent *extents; /* none for a coherent buffer */
    unsigned extent_count;
    uint8_t *cpu;        /* a coherent buffer's address for the CPU, else NULL */
    struct gr_seg *segs; /* a list as the library gets it */
    struct gr_dma_list list;
    uint64_t max_len; /* the limits under which the list was mapped; 0: none */
    uint64_t boundary;
};

struct client {
    struct machine_device *dev;
    struct sim_tally_device *result;
    struct live live[EXERCISE_LIVE + LIVE_KINDS];
    unsigned live_count;
    unsigned tried; /* of exercise.tries */
    unsigned tried_kind[LIVE_KINDS];
    bool shrinking;
    uint64_t tables; /* pages of tables when nothing is mapped */
    int refusal;     /* the last error of a map that may fail, for the message if none worked */
};

struct attack;

struct exercise {
    struct machine *machine;
    struct sim_tally *tally;
    struct sim_rng rng;
    struct sim_rng watch_rng; /* of watch() */
    struct client *clients;
    unsigned nclients;
    unsigned tries;            /* maps, lists and buffers that each client is to make */
    unsigned live_most;        /* mappings of one device at once */
    struct attack *attack;     /* NULL: nobody means harm */
    struct client *moving;     /* whose tables are being changed now, or NULL */
    const struct live *coming; /* what is being mapped, whose IOVA is not yet known, or NULL */
    uint8_t got[EXERCISE_CHUNK];
    uint8_t want[EXERCISE_CHUNK];
    uint8_t held[EXERCISE_LARGEST]; /* what a view of a mapping held before a sync */
};

/*
 * Drive DMA through all active devices, then take the machine down, and fill in the tally.
 * With `snapshot`, a folder, write it at the busiest moment. False, with a sentence in `error`,
 * when memory is short or the snapshot could not be written.
 */
bool exercise(struct machine *m, struct sim_tally *tally, const char *snapshot,
              struct cli_error *error);

/* ---- exercise_piece.c ---- */

uint64_t granule_of(const struct client *client);

/* What edges of windows are a multiple of. */
uint64_t access_unit(const struct client *client);

/* Where an IOVA leads: 0, or that it leads nowhere. */
int physical(const struct client *client, gr_iova_t iova, gr_pa_t *out_pa);

/* Work out the pieces of a mapping whose IOVAs are known. False: out of memory. */
bool place_pieces(const struct client *client, struct live *live);

/* What is wrong with a piece, whose bytes have `pa` in memory, as the library says; NULL: nothing.
 */
const char *check_piece(struct exercise *x, const struct client *client, const struct piece *piece,
                        gr_pa_t pa);

/* A length from 1 to `largest`, each magnitude as likely as the others. */
uint64_t draw_length(struct exercise *x, uint64_t largest);

/* Any byte of the mapping, as the device addresses it. */
gr_iova_t random_byte(struct exercise *x, const struct live *live);

/* A problem, if rc says that a call failed. */
void note_rc(struct exercise *x, const struct client *client, const char *call, int rc);

/* ---- exercise_live.c ---- */

/* Make one, work with it through each stream, check everything about it. False: refused. */
bool live_make(struct exercise *x, struct client *client, enum live_kind kind);

/* A last write, then free it, then see that it is gone. The last of client->live takes its place.
 */
void live_end(struct exercise *x, struct client *client, unsigned index);

/* ---- exercise_check.c ---- */

/* The CPU gives the mapping a new content, or counts what of its content it does not see. */
void cpu_fill(struct exercise *x, struct live *live);
uint64_t cpu_compare(struct exercise *x, const struct live *live);

/* The device writes all of it, a new content. */
void device_write(struct exercise *x, struct client *client, unsigned stream, struct live *live);

void fill_guards(struct exercise *x, const struct live *live);
void check_guards(struct exercise *x, struct client *client, const struct live *live);

/* A coherent buffer that was just made reads as zero, wherever the device and the CPU reach it. */
void check_zero(struct exercise *x, struct client *client, unsigned stream,
                const struct live *live);

/* Hand all of it to the CPU or to the device. */
void sync_all(struct exercise *x, const struct client *client, const struct live *live, bool cpu);

/* All that the direction allows, and what it does not, through one stream. */
void work_through(struct exercise *x, struct client *client, unsigned stream, struct live *live);

/* At a later time, while others come and go. */
void check_again(struct exercise *x, struct client *client, struct live *live);

/* ---- exercise_probe.c ---- */

/* Whatever fault has come in by now was not provoked. */
void no_faults_expected(struct exercise *x);

/* The IOMMU refuses this access and says so in exactly one record. */
void expect_fault(struct exercise *x, struct client *client, unsigned stream, gr_iova_t iova,
                  bool write);

/* Where nothing is mapped between and around its parts while it lives. */
void probe_gaps(struct exercise *x, struct client *client, const struct live *live);

/* `live` is no longer among the client's: every part of it faults. */
void probe_after(struct exercise *x, struct client *client, const struct live *live);

/* Is a byte let through now, and if so, to where? By the library's word in a LINEAR domain. */
bool is_mapped(const struct exercise *x, const struct client *client, gr_iova_t iova,
               gr_pa_t *out_pa);

/* A device without a domain, or with one that blocks: nothing passes. */
void probe_blocked(struct exercise *x, struct machine_device *dev);

/* Both ends of the aperture, and what the tree keeps from the device. */
void probe_edges(struct exercise *x, struct client *client);

/* Begin, and end, a change of the client's tables: only then does watch() look at them. */
void begin_change(struct exercise *x, struct client *client, const struct live *coming);
void end_change(struct exercise *x);

/* For machine_observe(): the IOMMU looks at the tables at any moment. */
void watch(void *arg);

#endif
