/* SPDX-License-Identifier: MIT */
#include "snapshot_write.h"

#include "json.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096u /* bytes of a block of the image; a block of zeroes stays a hole */

/* A file under a temporary name. */
struct draft {
    char path[PATH_MAX];
    char temporary[PATH_MAX];
    int fd; /* -1: none */
};

static bool failed(struct sim_error *error, const char *path, int why)
{
    return sim_refuse(error, "%s: %s: name a folder for --snapshot that can be written to", path,
                      strerror(why));
}

bool sim_snapshot_prepare(const char *dir, struct sim_error *error)
{
    struct stat is;

    if (mkdir(dir, 0777) != 0 && errno != EEXIST)
        return failed(error, dir, errno);
    if (stat(dir, &is) != 0)
        return failed(error, dir, errno);
    if (!S_ISDIR(is.st_mode))
        return failed(error, dir, ENOTDIR);
    return access(dir, W_OK | X_OK) == 0 || failed(error, dir, errno);
}

/* ---- Files ---- */

static bool draft_open(struct draft *draft, const char *dir, const char *name,
                       struct sim_error *error)
{
    struct stat is;
    mode_t mask = umask(0);

    umask(mask);
    draft->fd = -1;
    if (snprintf(draft->path, sizeof(draft->path), "%s/%s", dir, name) >= PATH_MAX ||
        snprintf(draft->temporary, sizeof(draft->temporary), "%s/.%s.XXXXXX", dir, name) >=
            PATH_MAX)
        return failed(error, dir, ENAMETOOLONG);
    if (lstat(draft->path, &is) == 0 && !S_ISREG(is.st_mode))
        return sim_refuse(error,
                          "%s: not a regular file: move it away, the snapshot needs the name",
                          draft->path);
    draft->fd = mkstemp(draft->temporary);
    if (draft->fd < 0 || fchmod(draft->fd, 0666 & ~mask) != 0)
        return failed(error, draft->temporary, errno);
    return true;
}

/* Without draft_place() before, this removes the file. */
static void draft_close(struct draft *draft)
{
    if (draft->fd >= 0) {
        close(draft->fd);
        unlink(draft->temporary);
        draft->fd = -1;
    }
}

static bool draft_place(struct draft *draft, struct sim_error *error)
{
    int fd = draft->fd;

    if (rename(draft->temporary, draft->path) != 0)
        return failed(error, draft->path, errno);
    draft->fd = -1;
    return close(fd) == 0 || failed(error, draft->path, errno);
}

/* ---- memory.img ---- */

struct image {
    struct sim_machine *machine;
    int fd;
    int why; /* errno of the first call that failed */
};

static void write_block(struct image *image, gr_pa_t pa, const uint8_t *block)
{
    uint64_t at = pa - image->machine->ram_span.first;

    for (size_t done = 0; done < BLOCK && image->why == 0;) {
        ssize_t n = pwrite(image->fd, block + done, BLOCK - done, (off_t)(at + done));

        if (n <= 0)
            image->why = n < 0 ? errno : ENOSPC;
        else
            done += (size_t)n;
    }
}

/* Whole blocks: runs and banks are multiples of 4 KiB. */
static void write_blocks(struct image *image, gr_pa_t pa, uint64_t len)
{
    static const uint8_t zeroes[BLOCK];
    uint8_t block[BLOCK];

    for (uint64_t at = 0; at < len && image->why == 0; at += BLOCK)
        if (!host_read_held(image->machine->host, pa + at, block, BLOCK))
            image->why = EIO;
        else if (memcmp(block, zeroes, BLOCK) != 0)
            write_block(image, pa + at, block);
}

/*
 * Write tables and buffers. The library's other memory is left out, as it holds pointers that
 * differ from run to run; but for what records map: see write_records().
 */
static void write_run(void *arg, gr_pa_t pa, uint64_t len, enum host_use use)
{
    if (use != HOST_LIBRARY)
        write_blocks(arg, pa, len);
}

static void write_records(struct image *image, const struct sim_snapshot_record *records,
                          size_t count)
{
    for (size_t i = 0; i < count; i++) {
        gr_pa_t first = records[i].pa & ~(gr_pa_t)(BLOCK - 1);
        gr_pa_t end = (records[i].pa + records[i].length + BLOCK - 1) & ~(gr_pa_t)(BLOCK - 1);

        if (strcmp(records[i].kind, "linear") !=
                0 && /* a linear record maps all memory: most is unused */
            host_use_of(image->machine->host, first) == HOST_LIBRARY)
            write_blocks(image, first, end - first);
    }
}

static bool write_image(struct sim_machine *m, const struct sim_snapshot_record *records,
                        size_t count, const struct draft *draft, struct sim_error *error)
{
    struct image image = {.machine = m, .fd = draft->fd};
    uint64_t last = m->ram_span.last - m->ram_span.first;

    if (last >= INT64_MAX || ftruncate(draft->fd, (off_t)(last + 1)) != 0)
        return sim_refuse(error, "%s: no file of 0x%llx bytes can be made there: %s", draft->path,
                          (unsigned long long)last + 1,
                          last >= INT64_MAX ? "too long" : strerror(errno));
    host_for_each_used(m->host, write_run, &image);
    write_records(&image, records, count);
    return image.why == 0 || failed(error, draft->path, image.why);
}

/* ---- machine.json ---- */

static json_t *json_registers(struct sim_iommu *iommu)
{
    json_t *const registers = json_object();

    for (uint32_t offset = 0; offset < sim_hw_size(&iommu->hw); offset += 4) {
        uint32_t value = sim_hw_read32(&iommu->hw, offset);
        char key[16];

        if (value != 0) {
            snprintf(key, sizeof(key), "0x%x", (unsigned)offset);
            json_object_set_new(registers, key, sim_json_hex(value));
        }
    }
    return registers;
}

static json_t *json_instance(struct sim_iommu *iommu)
{
    return json_pack("{s:o,s:o,s:I,s:I,s:b,s:o}", "path", sim_json_text(iommu->tree.path),
                     "compatible", sim_json_text(sim_hw_compatible(&iommu->hw)), "granule",
                     (json_int_t)iommu->granule, "streams", (json_int_t)iommu->streams, "locked",
                     iommu->locked, "registers", json_registers(iommu));
}

static json_t *json_record(const struct sim_snapshot_record *record)
{
    json_t *const window =
        record->narrow ? sim_json_range(record->window, record->window_last) : json_null();

    return json_pack("{s:o,s:o,s:I,s:o,s:o,s:I,s:b,s:b,s:o,s:s}", "device",
                     sim_json_text(record->device), "instance", sim_json_text(record->instance),
                     "stream", (json_int_t)record->stream, "iova", sim_json_hex(record->iova), "pa",
                     sim_json_hex(record->pa), "length", (json_int_t)record->length, "read",
                     record->read, "write", record->write, "window", window, "kind", record->kind);
}

/* NULL: out of memory. An IOMMU without a driver is left out. */
static json_t *json_machine(struct sim_machine *m, const struct sim_snapshot_record *records,
                            size_t count)
{
    json_t *const instances = json_array();
    json_t *const mappings = json_array();
    int bad = 0;

    for (unsigned i = 0; i < m->niommus; i++)
        if (m->iommus[i].up)
            bad |= json_array_append_new(instances, json_instance(&m->iommus[i]));
    for (size_t i = 0; i < count; i++)
        bad |= json_array_append_new(mappings, json_record(&records[i]));
    if (bad) {
        json_decref(instances);
        json_decref(mappings);
        return NULL;
    }
    return json_pack("{s:I,s:o,s:o,s:o,s:o}", "cpu_page", (json_int_t)m->options.cpu_page,
                     "ram_base", sim_json_hex(m->ram_span.first), "ram_size",
                     sim_json_hex(m->ram_span.last - m->ram_span.first + 1), "instances", instances,
                     "mappings", mappings);
}

static bool write_machine(struct sim_machine *m, const struct sim_snapshot_record *records,
                          size_t count, const struct draft *draft, struct sim_error *error)
{
    json_t *const root = json_machine(m, records, count);
    char *const text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    size_t size = text ? strlen(text) : 0;
    ssize_t n = 0;

    json_decref(root);
    if (!text)
        return sim_refuse(error, "%s: out of memory", draft->path);
    /* One string: json_dumpfd() makes a system call for each token. */
    text[size++] = '\n'; /* replaces the terminator */
    for (size_t done = 0; done < size && n >= 0; done += (size_t)n)
        n = write(draft->fd, text + done, size - done);
    free(text);
    return n >= 0 || failed(error, draft->path, errno);
}

bool sim_snapshot_write(struct sim_machine *m, const struct sim_snapshot_record *records,
                        size_t count, const char *dir, struct sim_error *error)
{
    struct draft image = {.fd = -1};
    struct draft machine = {.fd = -1};
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN); /* a limit on files is an error to report */
    bool ok;

    ok = draft_open(&image, dir, "memory.img", error) &&
         draft_open(&machine, dir, "machine.json", error) &&
         write_image(m, records, count, &image, error) &&
         write_machine(m, records, count, &machine, error) && draft_place(&image, error) &&
         draft_place(&machine, error);
    draft_close(&image);
    draft_close(&machine);
    signal(SIGXFSZ, before);
    return ok;
}
