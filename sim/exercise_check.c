/* SPDX-License-Identifier: MIT */
/*
 * Contents come from a key, never from a copy: byte k of a mapping is a function of (key, k), and
 * each write of a mapping changes its key. A read of an older content is a mismatch.
 */
#include "exercise.h"

#include <granule/port.h>
#include <string.h>

#define GUARD SIM_GUARD
#define CHUNK SIM_CHUNK
#define LINE ((uint64_t)GR_PORT_CACHE_LINE)

/* ---- Contents ---- */

static uint64_t pattern_word(uint64_t key, uint64_t index)
{
    uint64_t word = (key ^ index * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;

    return word ^ (word >> 32);
}

/* Much of a run's time goes here, so the sanitizer checks the range once: pattern()'s memset(). */
__attribute__((no_sanitize("address"))) static void pattern_words(uint8_t *out, uint64_t key,
                                                                  uint64_t index, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t word = pattern_word(key, index + i);

        __builtin_memcpy(out + 8 * i, &word, 8); /* a store, where memcpy() may be a checked call */
    }
}

/* Bytes [offset, offset + len) of the content that belongs to `key`. */
static void pattern(uint8_t *out, uint64_t key, uint64_t offset, uint64_t len)
{
    uint64_t word = pattern_word(key, offset / 8);

    for (; len > 0 && offset % 8 != 0; offset++, len--)
        *out++ = (uint8_t)(word >> (offset % 8 * 8));
    memset(out, 0, len / 8 * 8);
    pattern_words(out, key, offset / 8, len / 8);
    out += len / 8 * 8;
    offset += len / 8 * 8;
    len %= 8;
    word = pattern_word(key, offset / 8);
    for (; len > 0; offset++, len--)
        *out++ = (uint8_t)(word >> (offset % 8 * 8));
}

static uint64_t differences(const uint8_t *a, const uint8_t *b, uint64_t len)
{
    uint64_t count = 0;

    if (memcmp(a, b, len) == 0)
        return 0;
    for (uint64_t i = 0; i < len; i++)
        count += a[i] != b[i];
    return count;
}

/* How many of the `len` bytes at `at` are not those of the content from `offset` on. */
static uint64_t mismatches(struct sim_exercise *x, const uint8_t *at, uint64_t key, uint64_t offset,
                           uint64_t len)
{
    uint64_t count = 0;

    for (uint64_t done = 0; done < len; done += CHUNK) {
        uint64_t n = len - done < CHUNK ? len - done : CHUNK;

        pattern(x->want, key, offset + done, n);
        count += differences(at + done, x->want, n);
    }
    return count;
}

/* Where the CPU finds a part. */
static uint8_t *cpu_at(struct sim_exercise *x, const struct sim_live *live,
                       const struct sim_part *part)
{
    return live->cpu ? live->cpu : host_ptr(x->machine->host, part->pa, part->len);
}

void sim_cpu_fill(struct sim_exercise *x, struct sim_live *live)
{
    uint64_t offset = 0;

    live->key = sim_rng_next(&x->rng);
    for (unsigned i = 0; i < live->count; i++) {
        pattern(cpu_at(x, live, &live->parts[i]), live->key, offset, live->parts[i].len);
        offset += live->parts[i].len;
    }
}

/* As sim_cpu_compare(), of bytes [at, at + len) of the content. */
static uint64_t cpu_compare_span(struct sim_exercise *x, const struct sim_live *live, uint64_t at,
                                 uint64_t len)
{
    uint64_t count = 0;
    uint64_t offset = 0; /* of the part */

    for (unsigned i = 0; i < live->count; i++) {
        const struct sim_part *const part = &live->parts[i];
        uint64_t first = at > offset ? at : offset;
        uint64_t end = at + len < offset + part->len ? at + len : offset + part->len;

        if (first < end)
            count += mismatches(x, cpu_at(x, live, part) + (first - offset), live->key, first,
                                end - first);
        offset += part->len;
    }
    return count;
}

uint64_t sim_cpu_compare(struct sim_exercise *x, const struct sim_live *live)
{
    return cpu_compare_span(x, live, 0, live->len);
}

/* Guard bytes depend on their address, so that a copy at another address is found. */
void sim_fill_guards(struct sim_exercise *x, const struct sim_live *live)
{
    struct host *const host = x->machine->host;

    for (unsigned i = 0; i < live->extent_count; i++) {
        const struct sim_extent *const e = &live->extents[i];

        pattern(host_ptr(host, e->pa - GUARD, GUARD), e->pa, 0, GUARD);
        pattern(host_ptr(host, e->pa + e->len, GUARD), ~e->pa, 0, GUARD);
    }
}

/* How many bytes of [iova, iova + len) the device does not read as zero. */
static uint64_t not_zero(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                         gr_iova_t iova, uint64_t len)
{
    uint64_t count = 0;
    uint64_t n;

    for (uint64_t at = 0; at < len; at += n) {
        uint64_t done;

        n = len - at < CHUNK ? len - at : CHUNK;
        sim_access(client->dev, stream, iova + at, x->got, n, false, &done);
        memset(x->want, 0, n);
        count += differences(x->got, x->want, done) + (n - done);
    }
    sim_no_faults_expected(x);
    return count;
}

/* The rest of a coherent buffer's last granule is never used, and stays zero. */
void sim_check_guards(struct sim_exercise *x, struct sim_client *client,
                      const struct sim_live *live)
{
    struct host *const host = x->machine->host;
    uint64_t *touched = &x->tally->touched_guard_bytes;

    for (unsigned i = 0; i < live->extent_count; i++) {
        const struct sim_extent *const e = &live->extents[i];

        *touched += mismatches(x, host_ptr(host, e->pa - GUARD, GUARD), e->pa, 0, GUARD) +
                    mismatches(x, host_ptr(host, e->pa + e->len, GUARD), ~e->pa, 0, GUARD);
    }
    if (live->kind == SIM_LIVE_COHERENT) {
        gr_iova_t end = live->parts[0].iova + live->len;

        *touched += not_zero(x, client, 0, end, live->last - end + 1);
    }
}

void sim_check_zero(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                    const struct sim_live *live)
{
    uint64_t *bad = &x->tally->mismatched_bytes;

    *bad += not_zero(x, client, stream, live->first, live->last - live->first + 1);
    for (uint64_t i = 0; i < live->len; i++)
        *bad += live->cpu[i] != 0;
}

/* ---- What devices do ---- */

/* The IOVA of byte `at` of the content; *out_run: how many bytes follow contiguously in IOVA. */
static gr_iova_t device_at(const struct sim_live *live, uint64_t at, uint64_t *out_run)
{
    const struct sim_part *part = live->parts;
    const struct sim_part *const end = part + live->count;
    gr_iova_t iova;

    for (; at >= part->len; part++)
        at -= part->len;
    iova = part->iova + at;
    *out_run = part->len - at;
    for (part++; part < end && part->iova == iova + *out_run; part++)
        *out_run += part->len;
    return iova;
}

/* The device reads and compares, or writes, bytes [at, at + len) of the content. */
static void device_move(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                        const struct sim_live *live, uint64_t at, uint64_t len, bool write)
{
    uint64_t end = at + len;
    uint64_t n;

    for (; at < end; at += n) {
        uint64_t done;
        uint64_t run;
        gr_iova_t iova = device_at(live, at, &run);

        run = run < end - at ? run : end - at;
        n = sim_draw_length(x, run < CHUNK ? run : CHUNK);
        pattern(x->want, live->key, at, n);
        sim_access(client->dev, stream, iova, write ? x->want : x->got, n, write, &done);
        x->tally->mismatched_bytes += n - done;
        if (!write)
            x->tally->mismatched_bytes += differences(x->got, x->want, done);
    }
    sim_no_faults_expected(x);
}

/* The device may overread a buffer. In a slot and after a coherent buffer these bytes are zero. */
static void read_beyond(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                        const struct sim_live *live)
{
    for (unsigned i = 0; i < live->npieces; i++) {
        const struct sim_piece *const piece = &live->pieces[i];
        uint64_t done = 0;

        if (piece->over == 0)
            continue;
        sim_access(client->dev, stream, piece->iova + piece->len, x->got, piece->over, false,
                   &done);
        memset(x->want, 0, piece->over);
        x->tally->mismatched_bytes += piece->over - done;
        if ((piece->bounced || live->kind == SIM_LIVE_COHERENT) &&
            !x->attack) /* a hostile device has written there */
            x->tally->mismatched_bytes += differences(x->got, x->want, done);
    }
    sim_no_faults_expected(x);
}

static void device_read(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                        const struct sim_live *live)
{
    device_move(x, client, stream, live, 0, live->len, false);
    read_beyond(x, client, stream, live);
}

void sim_device_write(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                      struct sim_live *live)
{
    live->key = sim_rng_next(&x->rng);
    device_move(x, client, stream, live, 0, live->len, true);
}

/* ---- Handing over ---- */

/*
 * Of `run` bytes at `iova`, those in one output segment of a list: two outputs may touch by chance.
 */
static uint64_t in_output(const struct sim_live *live, gr_iova_t iova, uint64_t run)
{
    for (unsigned i = 0; live->kind == SIM_LIVE_SG && i < live->list.out_count; i++) {
        const struct gr_dma_seg *const out = &live->list.out[i];

        if (iova - out->iova < out->len) {
            uint64_t rest = out->len - (iova - out->iova);

            return rest < run ? rest : run;
        }
    }
    return run;
}

/* Sync bytes [at, at + len) of the content, one call for each run contiguous in IOVA. */
static void sync_span(struct sim_exercise *x, const struct sim_client *client,
                      const struct sim_live *live, uint64_t at, uint64_t len, bool cpu)
{
    struct gr_device *const device = &client->dev->device;
    uint64_t end = at + len;
    uint64_t run;

    for (; at < end; at += run) {
        gr_iova_t iova = device_at(live, at, &run);

        run = in_output(live, iova, run);
        run = run < end - at ? run : end - at;
        if (cpu) {
            sim_note_call(x, client, "gr_dma_sync_for_cpu",
                          gr_dma_sync_for_cpu(device, iova, run, live->dir));
        } else {
            sim_note_call(x, client, "gr_dma_sync_for_device",
                          gr_dma_sync_for_device(device, iova, run, live->dir));
        }
    }
}

void sim_sync_all(struct sim_exercise *x, const struct sim_client *client,
                  const struct sim_live *live, bool cpu)
{
    struct gr_device *const device = &client->dev->device;

    if (live->kind == SIM_LIVE_MAP) {
        sync_span(x, client, live, 0, live->len, cpu);
    } else if (live->kind == SIM_LIVE_SG && cpu) {
        sim_note_call(x, client, "gr_dma_sync_sg_for_cpu",
                      gr_dma_sync_sg_for_cpu(device, &live->list, live->dir));
    } else if (live->kind == SIM_LIVE_SG) {
        sim_note_call(x, client, "gr_dma_sync_sg_for_device",
                      gr_dma_sync_sg_for_device(device, &live->list, live->dir));
    }
}

/* A part as it looks to the side that a sync updates: the CPU's view, or memory itself. */
static const uint8_t *view_of(struct sim_exercise *x, const struct sim_part *part, bool cpu)
{
    return cpu ? host_ptr(x->machine->host, part->pa, part->len)
               : host_memory(x->machine->host, part->pa, part->len);
}

static void hold_view(struct sim_exercise *x, const struct sim_live *live, bool cpu)
{
    uint8_t *to = x->held;

    for (unsigned i = 0; i < live->count; i++) {
        memcpy(to, view_of(x, &live->parts[i], cpu), live->parts[i].len);
        to += live->parts[i].len;
    }
}

/* How many bytes of the physical range [first, end) differ between the view and `held`. */
static uint64_t changed(const struct sim_part *part, const uint8_t *view, const uint8_t *held,
                        gr_pa_t first, gr_pa_t end)
{
    return first < end
               ? differences(view + (first - part->pa), held + (first - part->pa), end - first)
               : 0;
}

/*
 * After hold_view() and a sync of bytes [at, at + len) of the content: how many bytes have changed
 * in cache lines that lie wholly in a part and have none of the synced bytes.
 */
static uint64_t moved_besides(struct sim_exercise *x, const struct sim_live *live, uint64_t at,
                              uint64_t len, bool cpu)
{
    uint64_t count = 0;
    uint64_t offset = 0;

    for (unsigned i = 0; i < live->count; offset += live->parts[i++].len) {
        const struct sim_part *const part = &live->parts[i];
        const uint8_t *const view = view_of(x, part, cpu);
        const uint8_t *const held = x->held + offset;
        gr_pa_t first = (part->pa + LINE - 1) & ~(LINE - 1);
        gr_pa_t end = (part->pa + part->len) & ~(LINE - 1);

        if (at >= offset + part->len || at + len <= offset) {
            count += changed(part, view, held, first, end);
        } else {
            gr_pa_t from = at > offset ? (part->pa + (at - offset)) & ~(LINE - 1) : first;
            gr_pa_t to = part->pa + (at + len - offset) + LINE - 1;

            to = at + len < offset + part->len ? to & ~(LINE - 1) : end;
            count += changed(part, view, held, first, from < end ? from : end) +
                     changed(part, view, held, to > first ? to : first, end);
        }
    }
    return count;
}

/*
 * Sync a part of the mapping. That part arrives; for a device that does not snoop nothing else
 * moves.
 */
static void sync_part(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                      const struct sim_live *live, bool cpu)
{
    uint64_t at = sim_rng_below(&x->rng, live->len);
    uint64_t len = 1 + sim_rng_below(&x->rng, live->len - at);

    hold_view(x, live, cpu);
    sync_span(x, client, live, at, len, cpu);
    if (!client->dev->tree.coherent)
        x->tally->mismatched_bytes += moved_besides(x, live, at, len, cpu);
    if (cpu)
        x->tally->mismatched_bytes += cpu_compare_span(x, live, at, len);
    else if (live->dir & GR_DMA_TO_DEVICE)
        device_move(x, client, stream, live, at, len, false);
}

/* Sync the whole mapping, sometimes a part of it first. Coherent buffers need no sync. */
static void hand_over(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                      const struct sim_live *live, bool cpu)
{
    if (live->kind != SIM_LIVE_COHERENT) {
        if (live->len <= sizeof(x->held) && sim_rng_below(&x->rng, 4) == 0)
            sync_part(x, client, stream, live, cpu);
        sim_sync_all(x, client, live, cpu);
    }
}

/* ---- Work ---- */

static void cpu_check(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                      const struct sim_live *live)
{
    hand_over(x, client, stream, live, true);
    x->tally->mismatched_bytes += sim_cpu_compare(x, live);
    hand_over(x, client, stream, live, false);
}

void sim_work_through(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                      struct sim_live *live)
{
    bool reads = (live->dir & GR_DMA_TO_DEVICE) != 0;
    bool writes = (live->dir & GR_DMA_FROM_DEVICE) != 0;
    bool open = sim_is_direct(client->dev); /* the device may read and write all memory in reach */

    if (reads)
        device_read(x, client, stream, live);
    else if (!open && !sim_reads_all(client->dev))
        sim_expect_fault(x, client, stream, sim_random_byte(x, live), false);
    if (writes) {
        sim_device_write(x, client, stream, live);
        cpu_check(x, client, stream, live);
    } else if (!open) {
        sim_expect_fault(x, client, stream, sim_random_byte(x, live), true);
    }
    if (reads) {
        hand_over(x, client, stream, live, true);
        sim_cpu_fill(x, live);
        hand_over(x, client, stream, live, false);
        device_read(x, client, stream, live);
    }
}

void sim_check_again(struct sim_exercise *x, struct sim_client *client, struct sim_live *live)
{
    unsigned stream = (unsigned)sim_rng_below(&x->rng, client->dev->tree.nstreams);

    if (sim_rng_below(&x->rng, 2) == 0)
        sim_work_through(x, client, stream, live);
    else if (live->dir & GR_DMA_TO_DEVICE)
        device_read(x, client, stream, live);
    else
        cpu_check(x, client, stream, live);
    sim_probe_gaps(x, client, live);
    sim_check_guards(x, client, live);
}
