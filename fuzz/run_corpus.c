/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target without a fuzzer: every stored input, and FUZZ_MUTATIONS (16) mutations of
 * each, always the same ones for the same SEED. With arguments: these files alone, as they are.
 */
#include "fuzz.h"

#include "tests/lib/chance.h"

#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#define INPUTS 1024u
#define ROOM (UINT64_C(1) << 16)
#define MUTATIONS 16u

/* Of whichever sanitizer is linked. */
extern void __sanitizer_set_death_callback(void (*fn)(void)) __attribute__((weak));

struct input {
    uint8_t *data;
    size_t size;
};

static struct input inputs[INPUTS];
static size_t ninputs;
static uint8_t current[ROOM];
static size_t current_size;
static const char *name;
static uint64_t rng;

static uint64_t chance(uint64_t below)
{
    return chance_below(&rng, below);
}

/* ---- when one fails ---- */

static void keep(void)
{
    char path[512];
    FILE *file;

    snprintf(path, sizeof(path), "%s.failed", name);
    file = fopen(path, "wb");
    if (file) {
        fwrite(current, 1, current_size, file);
        fclose(file);
        fprintf(stderr, "replay: %s %s\n", name, path);
    }
}

static void on_signal(int number)
{
    keep();
    signal(number, SIG_DFL);
    raise(number);
}

/* ---- inputs ---- */

static void fail(const char *path, const char *why)
{
    fprintf(stderr, "%s: %s\n", path, why);
    exit(1);
}

static void load(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct input *in = &inputs[ninputs];

    if (!file)
        fail(path, "cannot be read");
    if (ninputs == INPUTS)
        fail(path, "too many inputs");
    in->data = malloc(ROOM);
    if (!in->data)
        fail(path, "no memory");
    in->size = fread(in->data, 1, ROOM, file);
    fclose(file);
    ninputs++;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* fuzz_NAME lies anywhere; its inputs in fuzz/corpus/NAME, seen from the repository's root. */
static void load_corpus(void)
{
    const char *slash = strrchr(name, '/');
    const char *own = slash ? slash + 1 : name;
    struct dirent **list;
    char path[512];
    int n;

    if (strncmp(own, "fuzz_", 5) == 0)
        own += 5;
    snprintf(path, sizeof(path), "fuzz/corpus/%.64s", own);
    n = scandir(path, &list, is_visible, alphasort);
    if (n <= 0)
        fail(path, "no inputs there: run it from the repository's root");
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "fuzz/corpus/%.64s/%.255s", own, list[i]->d_name);
        load(path);
        free(list[i]);
    }
    free(list);
}

/* ---- running ---- */

static void run(void)
{
    /* An exact copy, so that a byte read beyond its end is noticed. */
    uint8_t *copy = malloc(current_size ? current_size : 1);

    if (!copy)
        fail(name, "no memory");
    memcpy(copy, current, current_size);
    LLVMFuzzerTestOneInput(copy, current_size);
    free(copy);
}

static void set(const struct input *in)
{
    memcpy(current, in->data, in->size);
    current_size = in->size;
}

static void insert(size_t at, const uint8_t *bytes, size_t n)
{
    if (n > ROOM - current_size)
        return;
    memmove(current + at + n, current + at, current_size - at);
    memmove(current + at, bytes, n);
    current_size += n;
}

static void mutate(void)
{
    const size_t at = (size_t)chance(current_size + 1);
    const size_t n = (size_t)chance(current_size - at + 1) % 32;
    const uint8_t byte = (uint8_t)chance(256);
    const struct input *other = &inputs[chance(ninputs)];
    uint8_t part[32];

    switch (chance(6)) {
    case 0: /* change one bit, */
        if (at < current_size)
            current[at] ^= (uint8_t)(1u << byte % 8);
        break;
    case 1: /* one byte, */
        if (at < current_size)
            current[at] = byte;
        break;
    case 2:
        insert(at, &byte, 1);
        break;
    case 3: /* leave some out, */
        memmove(current + at, current + at + n, current_size - at - n);
        current_size -= n;
        break;
    case 4: /* repeat some, */
        memcpy(part, current + at, n);
        insert(at, part, n);
        break;
    default: /* or go on as another input does. */
        if (at < other->size) {
            memcpy(current + at, other->data + at, other->size - at);
            current_size = other->size;
        }
        break;
    }
}

int main(int argc, char **argv)
{
    const char *const mutations = getenv("FUZZ_MUTATIONS");
    const unsigned long each = mutations ? strtoul(mutations, NULL, 0) : MUTATIONS;
    uint64_t runs = 0;

    name = argv[0];
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(keep);
    else
        signal(SIGSEGV, on_signal);
    signal(SIGABRT, on_signal);
    rng = chance_seed_or(name, 1);
    for (int i = 1; i < argc; i++)
        load(argv[i]);
    if (argc == 1)
        load_corpus();
    current_size = 0;
    run();
    for (size_t i = 0; i < ninputs; i++) {
        set(&inputs[i]);
        run();
        for (unsigned long k = 0; argc == 1 && k < each; k++) {
            set(&inputs[i]);
            for (uint64_t more = 1 + chance(4); more; more--)
                mutate();
            run();
            runs++;
        }
    }
    printf("%s: %zu stored inputs, %" PRIu64 " mutations\n", name, ninputs, runs);
    for (size_t i = 0; i < ninputs; i++)
        free(inputs[i].data);
    return 0;
}
