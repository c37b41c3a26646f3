/* SPDX-License-Identifier: MIT */
/*
 * Saved machines from anywhere: what sim_snapshot_load() accepts, its tables can be decoded, walked
 * and checked, and what it refuses it refuses with one sentence.
 *
 * Input: machine.json up to the first NUL, then memory.img: chunks, each where it goes (2 bytes, in
 * units of 8), how long it is (1 byte) and its bytes. The image is as long as "ram_size" says.
 */
#include "fuzz.h"

#include "sim/snapshot_read.h"
#include "sim/tables.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IMAGE_MAX (UINT64_C(1) << 20)
#define STREAMS 4u

/* One folder for all runs, removed at the end. */
static char dir[] = "/tmp/fuzz-snapshot-XXXXXX";
static char json_path[64];
static char image_path[64];

static void remove_dir(void)
{
    (void)unlink(json_path);
    (void)unlink(image_path);
    (void)rmdir(dir);
}

static void make_dir(void)
{
    if (json_path[0])
        return;
    FUZZ_CHECK(mkdtemp(dir), "no folder");
    snprintf(json_path, sizeof(json_path), "%s/machine.json", dir);
    snprintf(image_path, sizeof(image_path), "%s/memory.img", dir);
    atexit(remove_dir);
}

static int create(const char *path)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    FUZZ_CHECK(fd >= 0, "%s", path);
    return fd;
}

static void write_json(const uint8_t *data, size_t size)
{
    const int fd = create(json_path);

    FUZZ_CHECK(write(fd, data, size) == (ssize_t)size, "%s", json_path);
    close(fd);
}

/* What the file says, so that most inputs get past the comparison with the image. */
static uint64_t image_size(const uint8_t *data, size_t size)
{
    json_t *const root = json_loadb((const char *)data, size, 0, NULL);
    const char *const text = json_string_value(json_object_get(root, "ram_size"));
    const uint64_t bytes = text ? strtoull(text, NULL, 16) : 0;

    json_decref(root);
    return bytes <= IMAGE_MAX ? bytes : 0;
}

static void write_image(struct fuzz *f, uint64_t size)
{
    const int fd = create(image_path);

    FUZZ_CHECK(!ftruncate(fd, (off_t)size), "%s", image_path);
    while (f->left) {
        const uint64_t at = fuzz_take(f, 2) * 8;
        const uint64_t room = at < size ? size - at : 0;
        size_t n = fuzz_byte(f);

        n = n < f->left ? n : f->left;
        FUZZ_CHECK(pwrite(fd, f->at, n < room ? n : room, (off_t)at) >= 0, "%s", image_path);
        f->at += n;
        f->left -= n;
    }
    close(fd);
}

/* ---- what a loaded snapshot can be used for ---- */

static void check_runs(const struct sim_tables *tables)
{
    uint64_t mapped = 0;

    for (size_t i = 0; i < tables->nruns; i++) {
        const struct sim_tables_run *const run = &tables->runs[i];
        struct walker_walk walk;

        FUZZ_CHECK(run->last >= run->iova && (!i || run->iova > run[-1].last), "not in order");
        mapped += run->last - run->iova + 1;
        walker_walk(&tables->stream, run->last, &walk);
        FUZZ_CHECK(walk.end == WALKER_MAPPED && walk.pa == run->pa + (run->last - run->iova) &&
                       walk.leaf.read == run->read && walk.leaf.write == run->write,
                   "a run that no walk finds");
        if (i >= 64)
            return;
    }
    FUZZ_CHECK(mapped == tables->mapped, "the sum is wrong");
}

static void use(const struct sim_snapshot *s)
{
    struct sim_tables_problems problems = {0};
    struct sim_tables_check check = {0};

    for (size_t i = 0; i < s->ninstances && i < 4; i++) {
        const struct sim_snapshot_instance *const inst = &s->instances[i];
        struct sim_tables tables;

        FUZZ_CHECK(sim_snapshot_find(s, inst->path) == inst, "%s", inst->path);
        if (!inst->walker.kind) {
            FUZZ_CHECK(sim_tables_check_unknown(inst, &check, &problems), "no memory");
            continue;
        }
        for (unsigned sid = 0; sid < inst->walker.streams && sid < STREAMS; sid++) {
            FUZZ_CHECK(sim_tables_load(&tables, inst, sid, &problems), "no memory");
            check_runs(&tables);
            FUZZ_CHECK(sim_tables_check(&tables, &check, &problems), "no memory");
            sim_tables_free(&tables);
        }
    }
    FUZZ_CHECK(check.wrong <= check.mappings && check.mappings <= s->nmappings, "counted twice");
    FUZZ_CHECK(problems.count || (!check.wrong && !check.unexplained), "wrong without a sentence");
    for (size_t i = 0; i < problems.count; i++)
        FUZZ_CHECK(problems.list[i].text[0], "a problem without a sentence");
    sim_tables_problems_free(&problems);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *const nul = size ? memchr(data, 0, size) : NULL;
    const size_t text = nul ? (size_t)(nul - data) : size;
    struct fuzz f = {data + text + (nul ? 1 : 0), size - text - (nul ? 1 : 0)};
    struct sim_error error = {""};
    struct sim_snapshot s;

    make_dir();
    write_json(data, text);
    write_image(&f, image_size(data, text));
    if (sim_snapshot_load(&s, dir, &error)) {
        use(&s);
        sim_snapshot_free(&s);
    } else {
        FUZZ_CHECK(error.text[0], "refused without a sentence");
    }
    return 0;
}
