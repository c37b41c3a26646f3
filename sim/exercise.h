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

#define SIM_LARGEST                                                                                \
    (UINT64_C(1) << 20) /* bytes of a map or coherent buffer, at most; of a list, about */
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

/* Bytes contiguous in memory and in IOVA: a segment of a list, or a whole buffer. */
struct sim_part {
    gr_iova_t iova;
    gr_pa_t pa;
    uint64_t len;
};

/*
 * Bytes of one or more parts, contiguous at the address that the device reaches: the buffer's own
 * memory, or a slot of the bounce pool.
 */
struct sim_piece {
    gr_iova_t iova;
    gr_pa_t pa; /* where the device finds byte `iova` */
    uint64_t len;
    uint64_t over;         /* bytes after the piece that the device may read; `len` may be 0 then */
    gr_iova_t first, last; /* what the leaves let through: whole granules, or less if `narrow` */
    bool narrow;
    bool bounced;
};

/* Memory of a buffer with guard bytes on both sides. */
struct sim_extent {
    gr_pa_t alloc; /* the allocation's start, from host_ram_alloc() */
    gr_pa_t pa;    /* start of the bytes between the guards */
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
    unsigned tried; /* mappings attempted, of sim_exercise.tries */
    unsigned tried_kind[SIM_LIVE_KINDS];
    bool shrinking;
    uint64_t tables; /* pages of tables when nothing is mapped */
    int refusal;     /* the last error of a map that may fail, for the report if none worked */
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
    struct sim_attack *attack; /* NULL: no device is hostile */
    struct sim_client *moving; /* the client whose tables are changing now, or NULL */
    const struct sim_live
        *coming; /* the mapping being made, whose IOVA is not known yet, or NULL */
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

/* Edges of windows are multiples of this. */
uint64_t sim_access_unit(const struct sim_client *client);

/* The physical address of an IOVA. Returns 0 or, where it is not mapped, an error. */
int sim_physical(const struct sim_client *client, gr_iova_t iova, gr_pa_t *out_pa);

/* Work out the pieces of a mapping whose IOVAs are known. False: out of memory. */
bool sim_place_pieces(const struct sim_client *client, struct sim_live *live);

/* What is wrong with the library's translation of a piece of a buffer at `pa`; NULL: nothing. */
const char *sim_check_piece(struct sim_exercise *x, const struct sim_client *client,
                            const struct sim_piece *piece, gr_pa_t pa);

/* A length from 1 to `largest`, each magnitude as likely as the others. */
uint64_t sim_draw_length(struct sim_exercise *x, uint64_t largest);

/* Any byte of the mapping, as the device addresses it. */
gr_iova_t sim_random_byte(struct sim_exercise *x, const struct sim_live *live);

/* Note a problem if `ret`, of the named call, is an error. */
void sim_note_call(struct sim_exercise *x, const struct sim_client *client, const char *call,
                   int ret);

/* ---- exercise_live.c ---- */

/* Make a mapping, work with it through each stream, check everything about it. False: refused. */
bool sim_live_make(struct sim_exercise *x, struct sim_client *client, enum sim_live_kind kind);

/*
 * Write once more, end the mapping, check that nothing of it is left. The last of client->live
 * takes its place in the list.
 */
void sim_live_end(struct sim_exercise *x, struct sim_client *client, unsigned index);

/* ---- exercise_check.c ---- */

/* The CPU writes a new content, or counts the bytes in which it sees another than the mapping's. */
void sim_cpu_fill(struct sim_exercise *x, struct sim_live *live);
uint64_t sim_cpu_compare(struct sim_exercise *x, const struct sim_live *live);

/* The device writes a new content over the whole mapping. */
void sim_device_write(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                      struct sim_live *live);

void sim_fill_guards(struct sim_exercise *x, const struct sim_live *live);
void sim_check_guards(struct sim_exercise *x, struct sim_client *client,
                      const struct sim_live *live);

/* A coherent buffer that was just made reads as zero, wherever the device and the CPU reach it. */
void sim_check_zero(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                    const struct sim_live *live);

/* Hand the whole mapping to the CPU or to the device. */
void sim_sync_all(struct sim_exercise *x, const struct sim_client *client,
                  const struct sim_live *live, bool cpu);

/* Through one stream: do what the direction allows, and see the rest fault. */
void sim_work_through(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                      struct sim_live *live);

/* Check a mapping again, while others come and go. */
void sim_check_again(struct sim_exercise *x, struct sim_client *client, struct sim_live *live);

/* ---- exercise_probe.c ---- */

/* Count every fault that has been recorded by now as unexpected. */
void sim_no_faults_expected(struct sim_exercise *x);

/* Expect that the IOMMU refuses this access and reports it in exactly one record. */
void sim_expect_fault(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                      gr_iova_t iova, bool write);

/* Expect faults between and around the parts of a live mapping. */
void sim_probe_gaps(struct sim_exercise *x, struct sim_client *client, const struct sim_live *live);

/* `live` has ended: expect a fault at every part of it. */
void sim_probe_after(struct sim_exercise *x, struct sim_client *client,
                     const struct sim_live *live);

/* Is an IOVA mapped now, and to which address? In a LINEAR domain the library's word is taken. */
bool sim_is_mapped(const struct sim_exercise *x, const struct sim_client *client, gr_iova_t iova,
                   gr_pa_t *out_pa);

/* Expect that nothing passes of a device without a domain, or with one that blocks. */
void sim_probe_blocked(struct sim_exercise *x, struct sim_device *dev);

/* Probe both ends of the aperture, and the ranges that the tree reserves. */
void sim_probe_edges(struct sim_exercise *x, struct sim_client *client);

/* Begin, and end, a change of the client's tables: only then does sim_watch() look at them. */
void sim_begin_change(struct sim_exercise *x, struct sim_client *client,
                      const struct sim_live *coming);
void sim_end_change(struct sim_exercise *x);

/* For sim_machine_observe(): the IOMMU looks at the tables of the client that changes them. */
void sim_watch(void *arg);

#endif
