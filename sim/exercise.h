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

#define SIM_LARGEST (UINT64_C(1) << 20) /* bytes of a map or buffer; a list, about */
#define SIM_SEGMENTS 256u
#define SIM_GUARD 256u
#define SIM_CHUNK 65536u
#define SIM_LIVE_MAX 48u /* mappings of one device at once */

enum sim_live_kind {
    SIM_LIVE_MAP,
    SIM_LIVE_SG,
    SIM_LIVE_COHERENT,
    SIM_LIVE_KINDS,
};

/* Bytes that lie side by side in memory and for the device: a segment of a list, a whole buffer. */
struct sim_part {
    gr_iova_t iova;
    gr_pa_t pa;
    uint64_t len;
};

/*
 * Bytes of one or more parts that lie side by side wherever the device finds them: as they are in
 * memory, or in a slot of the bounce pool.
 */
struct sim_piece {
    gr_iova_t iova;
    gr_pa_t pa; /* where the device finds byte `iova` */
    uint64_t len;
    uint64_t over;         /* bytes behind it that the device may read; len can be 0 then */
    gr_iova_t first, last; /* what leaves let through: whole granules, or less if `narrow` */
    bool narrow;
    bool bounced;
};

/* A test's memory with guard bytes on both sides. */
struct sim_extent {
    gr_pa_t alloc; /* what host_ram_alloc() gave */
    gr_pa_t pa;    /* between the guards */
    uint64_t len;
};

struct sim_live {
    enum sim_live_kind kind;
    enum gr_dma_dir dir;
    unsigned attrs;
    uint64_t key;    /* of the content, see pattern() */
    uint64_t len;    /* of all parts */
    gr_iova_t first; /* of all parts, in whole granules */
    gr_iova_t last;
    struct sim_part *parts; /* in the order of the content */
    unsigned count;
    struct sim_piece *pieces;
    unsigned npieces;
    struct sim_extent *extents; /* none for a coherent buffer */
    unsigned extent_count;
    uint8_t *cpu;        /* a coherent buffer's address for the CPU, else NULL */
    struct gr_seg *segs; /* a list as the library gets it */
    struct gr_dma_list list;
    uint64_t max_len; /* the limits under which the list was mapped; 0: none */
    uint64_t boundary;
};

struct sim_client {
    struct sim_device *dev;
    struct sim_tally_device *result;
    struct sim_live live[SIM_LIVE_MAX + SIM_LIVE_KINDS];
    unsigned live_count;
    unsigned tried; /* of exercise.tries */
    unsigned tried_kind[SIM_LIVE_KINDS];
    bool shrinking;
    uint64_t tables; /* pages of tables when nothing is mapped */
    int refusal;     /* the last error of a map that may fail, for the message if none worked */
};

struct sim_attack;

struct sim_exercise {
    struct sim_machine *machine;
    struct sim_tally *tally;
    struct sim_rng rng;
    struct sim_rng watch_rng; /* of sim_watch() */
    struct sim_client *clients;
    unsigned nclients;
    unsigned tries;     /* maps, lists and buffers that each client is to make */
    unsigned live_most; /* mappings of one device at once */
    void (*progress)(unsigned tried, unsigned tries);
    struct sim_attack *attack;     /* NULL: nobody means harm */
    struct sim_client *moving;     /* whose tables are being changed now, or NULL */
    const struct sim_live *coming; /* what is being mapped, whose IOVA is not yet known, or NULL */
    uint8_t got[SIM_CHUNK];
    uint8_t want[SIM_CHUNK];
    uint8_t held[SIM_LARGEST]; /* what a view of a mapping held before a sync */
};

/*
 * Drive DMA through all active devices, then take the machine down, and fill in the tally.
 * With `snapshot`, a folder, write it at the busiest moment. `progress`, if not NULL, is told now
 * and then how many of the maps have been tried. False, with a sentence in `error`, when memory is
 * short or the snapshot could not be written.
 */
bool sim_exercise(struct sim_machine *m, struct sim_tally *tally, const char *snapshot,
                  void (*progress)(unsigned tried, unsigned tries), struct sim_error *error);

/* ---- exercise_piece.c ---- */

uint64_t sim_granule(const struct sim_client *client);

/* What edges of windows are a multiple of. */
uint64_t sim_access_unit(const struct sim_client *client);

/* Where an IOVA leads: 0, or that it leads nowhere. */
int sim_physical(const struct sim_client *client, gr_iova_t iova, gr_pa_t *out_pa);

/* Work out the pieces of a mapping whose IOVAs are known. False: out of memory. */
bool sim_place_pieces(const struct sim_client *client, struct sim_live *live);

/* What is wrong with a piece, whose bytes have `pa` in memory, as the library says; NULL: nothing.
 */
const char *sim_check_piece(struct sim_exercise *x, const struct sim_client *client,
                            const struct sim_piece *piece, gr_pa_t pa);

/* A length from 1 to `largest`, each magnitude as likely as the others. */
uint64_t sim_draw_length(struct sim_exercise *x, uint64_t largest);

/* Any byte of the mapping, as the device addresses it. */
gr_iova_t sim_random_byte(struct sim_exercise *x, const struct sim_live *live);

/* A problem, if `ret` says that a call failed. */
void sim_note_call(struct sim_exercise *x, const struct sim_client *client, const char *call,
                   int ret);

/* ---- exercise_live.c ---- */

/* Make one, work with it through each stream, check everything about it. False: refused. */
bool sim_live_make(struct sim_exercise *x, struct sim_client *client, enum sim_live_kind kind);

/* A last write, then free it, then see that it is gone. The last of client->live takes its place.
 */
void sim_live_end(struct sim_exercise *x, struct sim_client *client, unsigned index);

/* ---- exercise_check.c ---- */

/* The CPU gives the mapping a new content, or counts what of its content it does not see. */
void sim_cpu_fill(struct sim_exercise *x, struct sim_live *live);
uint64_t sim_cpu_compare(struct sim_exercise *x, const struct sim_live *live);

/* The device writes all of it, a new content. */
void sim_device_write(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                      struct sim_live *live);

void sim_fill_guards(struct sim_exercise *x, const struct sim_live *live);
void sim_check_guards(struct sim_exercise *x, struct sim_client *client,
                      const struct sim_live *live);

/* A coherent buffer that was just made reads as zero, wherever the device and the CPU reach it. */
void sim_check_zero(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                    const struct sim_live *live);

/* Hand all of it to the CPU or to the device. */
void sim_sync_all(struct sim_exercise *x, const struct sim_client *client,
                  const struct sim_live *live, bool cpu);

/* All that the direction allows, and what it does not, through one stream. */
void sim_work_through(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                      struct sim_live *live);

/* At a later time, while others come and go. */
void sim_check_again(struct sim_exercise *x, struct sim_client *client, struct sim_live *live);

/* ---- exercise_probe.c ---- */

/* Whatever fault has come in by now was not provoked. */
void sim_no_faults_expected(struct sim_exercise *x);

/* The IOMMU refuses this access and says so in exactly one record. */
void sim_expect_fault(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                      gr_iova_t iova, bool write);

/* Where nothing is mapped between and around its parts while it lives. */
void sim_probe_gaps(struct sim_exercise *x, struct sim_client *client, const struct sim_live *live);

/* `live` is no longer among the client's: every part of it faults. */
void sim_probe_after(struct sim_exercise *x, struct sim_client *client,
                     const struct sim_live *live);

/* Is a byte let through now, and if so, to where? By the library's word in a LINEAR domain. */
bool sim_is_mapped(const struct sim_exercise *x, const struct sim_client *client, gr_iova_t iova,
                   gr_pa_t *out_pa);

/* A device without a domain, or with one that blocks: nothing passes. */
void sim_probe_blocked(struct sim_exercise *x, struct sim_device *dev);

/* Both ends of the aperture, and what the tree keeps from the device. */
void sim_probe_edges(struct sim_exercise *x, struct sim_client *client);

/* Begin, and end, a change of the client's tables: only then does sim_watch() look at them. */
void sim_begin_change(struct sim_exercise *x, struct sim_client *client,
                      const struct sim_live *coming);
void sim_end_change(struct sim_exercise *x);

/* For sim_machine_observe(): the IOMMU looks at the tables at any moment. */
void sim_watch(void *arg);

#endif
