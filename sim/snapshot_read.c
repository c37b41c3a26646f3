/* SPDX-License-Identifier: MIT */
#define _FILE_OFFSET_BITS 64 /* images beyond 2 GiB on 32-bit hosts */
#include "snapshot_read.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_ROOM 4096
#define INSTANCES 1024u

/* Where in machine.json: "instances[2]" or "". */
struct place {
    struct sim_snapshot *snapshot;
    struct sim_error *error;
    char name[48];
};

/* ---- Values ---- */

__attribute__((format(printf, 2, 3))) static bool wrong(const struct place *at, const char *format,
                                                        ...)
{
    char why[400];
    va_list args;

    va_start(args, format);
    vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    sim_refuse(at->error, "%.160s/machine.json: %s%s%s", at->snapshot->dir, at->name,
               at->name[0] ? ": " : "", why);
    return false;
}

/* "0x" and up to 16 digits. */
static bool parse_hex(const char *text, uint64_t max, uint64_t *out)
{
    size_t digits = strncmp(text, "0x", 2) == 0 ? strspn(text + 2, "0123456789abcdefABCDEF") : 0;

    if (digits == 0 || digits > 16 || text[2 + digits] != '\0')
        return false;
    *out = strtoull(text, NULL, 16);
    return *out <= max;
}

static bool get_hex(const struct place *at, const json_t *object, const char *key, uint64_t *out)
{
    const char *const text = json_string_value(json_object_get(object, key));

    if (!text || !parse_hex(text, UINT64_MAX, out))
        return wrong(at, "\"%s\" is not an address: write a string such as \"0x4000\"", key);
    return true;
}

static bool get_integer(const struct place *at, const json_t *object, const char *key, uint64_t max,
                        uint64_t *out)
{
    const json_t *const value = json_object_get(object, key);

    *out = 0;
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        (uint64_t)json_integer_value(value) > max)
        return wrong(at, "\"%s\" is not a number: write an integer from 0 to %" PRIu64, key, max);
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static bool get_string(const struct place *at, const json_t *object, const char *key,
                       const char **out)
{
    *out = json_string_value(json_object_get(object, key));
    for (const char *c = *out; c && *c; c++) {
        if (*c < ' ' || *c > '~') {
            *out = NULL; /* terminals obey some control characters */
            break;
        }
    }
    return *out || wrong(at, "\"%s\" is not a string of printable ASCII characters", key);
}

static bool get_bool(const struct place *at, const json_t *object, const char *key, bool *out)
{
    const json_t *const value = json_object_get(object, key);

    if (!json_is_boolean(value))
        return wrong(at, "\"%s\" is neither true nor false", key);
    *out = json_is_true(value);
    return true;
}

/* A page size. */
static bool get_page(const struct place *at, const json_t *object, const char *key, uint64_t *out)
{
    if (!get_integer(at, object, key, UINT64_C(1) << 30, out))
        return false;
    if (*out < 4096 || (*out & (*out - 1)) != 0)
        return wrong(at, "\"%s\" is %" PRIu64 ": page sizes are powers of two from 4096 on", key,
                     *out);
    return true;
}

/* The array `key` with room for its elements, each of `size` bytes, in *out. */
static bool get_array(const struct place *at, const json_t *object, const char *key, size_t size,
                      const json_t **out_array, size_t *out_count, void **out)
{
    *out = NULL;
    *out_count = 0;
    *out_array = json_object_get(object, key);
    if (!json_is_array(*out_array)) {
        wrong(at, "\"%s\" is not an array", key);
        return false;
    }
    *out_count = json_array_size(*out_array);
    *out = calloc(*out_count + 1, size);
    if (!*out) {
        wrong(at, "no memory for \"%s\"", key);
        return false;
    }
    return true;
}

/* ---- What the walker reads ---- */

static int by_offset(const void *a, const void *b)
{
    const struct sim_snapshot_register *const x = a;
    const struct sim_snapshot_register *const y = b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static uint32_t read_register(void *opaque, uint32_t offset)
{
    const struct sim_snapshot_instance *const inst = opaque;
    const struct sim_snapshot_register key = {offset, 0};
    const struct sim_snapshot_register *found = NULL;

    if (inst->nregisters > 0)
        found =
            bsearch(&key, inst->registers, inst->nregisters, sizeof(*inst->registers), by_offset);
    return found ? found->value : 0;
}

static bool read_memory(void *opaque, uint64_t pa, void *buf, size_t len)
{
    const struct sim_snapshot_instance *const inst = opaque;
    const struct sim_snapshot *const s = inst->snapshot;
    uint64_t at = pa - s->ram_base;
    size_t done = 0;

    if (pa < s->ram_base || at >= s->ram_size || len > s->ram_size - at)
        return false;
    while (done < len) {
        ssize_t n = pread(s->memory, (char *)buf + done, len - done, (off_t)(at + done));

        if (n <= 0 && !(n < 0 && errno == EINTR))
            return false;
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* ---- machine.json ---- */

static bool load_registers(const struct place *at, json_t *object,
                           struct sim_snapshot_instance *inst)
{
    json_t *const registers = json_object_get(object, "registers");
    const char *key;
    json_t *value;

    if (!json_is_object(registers))
        return wrong(at, "\"registers\" is not an object");
    inst->registers = calloc(json_object_size(registers) + 1, sizeof(*inst->registers));
    if (!inst->registers)
        return wrong(at, "no memory for \"registers\"");
    json_object_foreach(registers, key, value)
    {
        const char *const text = json_string_value(value);
        uint64_t offset;
        uint64_t bits;

        if (!parse_hex(key, UINT32_MAX, &offset) || offset % 4 != 0 || !text ||
            !parse_hex(text, UINT32_MAX, &bits)) {
            return wrong(at,
                         "register \"%.20s\": write offset and 32-bit value as strings: "
                         "\"0x100\":\"0x80\"",
                         key);
        }
        inst->registers[inst->nregisters++] =
            (struct sim_snapshot_register){(uint32_t)offset, (uint32_t)bits};
    }
    qsort(inst->registers, inst->nregisters, sizeof(*inst->registers), by_offset);
    for (size_t i = 1; i < inst->nregisters; i++)
        if (inst->registers[i - 1].offset == inst->registers[i].offset)
            return wrong(at, "register 0x%" PRIx32 " is there twice", inst->registers[i].offset);
    return true;
}

/* Find the walker's description of the instance's kind, and see that the two agree. */
static bool describe(const struct place *at, struct sim_snapshot_instance *inst)
{
    struct walker_instance *const walker = &inst->walker;
    uint64_t bits;

    inst->source = (struct walker_source){inst, read_register, read_memory};
    walker->from = &inst->source;
    walker->kind = walker_kind(inst->compatible);
    if (!walker->kind)
        return true;
    if (walker->streams > walker->kind->streams)
        return wrong(at, "%u streams are more than the %u that %s has", walker->streams,
                     (unsigned)walker->kind->streams, walker->kind->compatible);
    walker->format = walker_format(walker->kind, inst->granule);
    if (!walker->format)
        return wrong(at, "%s has no tables with a granule of %" PRIu64, walker->kind->compatible,
                     inst->granule);
    bits = walker_register(walker->from, walker->kind->page_bits);
    if (walker->kind->page_bits.width && bits != walker->format->page_bits)
        return wrong(at,
                     "\"granule\" is %" PRIu64 ", but bits 27:24 of register 0x%" PRIx32
                     " stand for 2^%" PRIu64,
                     inst->granule, walker->kind->page_bits.offset, bits);
    return true;
}

static bool load_instance(struct place *at, json_t *object, struct sim_snapshot_instance *inst)
{
    uint64_t streams;

    inst->snapshot = at->snapshot;
    if (!json_is_object(object))
        return wrong(at, "it is not an object");
    if (!get_string(at, object, "path", &inst->path) ||
        !get_string(at, object, "compatible", &inst->compatible) ||
        !get_page(at, object, "granule", &inst->granule) ||
        !get_integer(at, object, "streams", 65536, &streams) ||
        !get_bool(at, object, "locked", &inst->locked) || !load_registers(at, object, inst))
        return false;
    inst->walker.streams = (unsigned)streams;
    return describe(at, inst);
}

static bool load_instances(struct place *at)
{
    struct sim_snapshot *const s = at->snapshot;
    const json_t *array;
    void *room;
    size_t count;

    if (!get_array(at, s->root, "instances", sizeof(*s->instances), &array, &count, &room))
        return false;
    s->instances = room;
    if (count > INSTANCES)
        return wrong(at, "%zu instances are more than %u", count, INSTANCES);
    for (size_t i = 0; i < count; i++) {
        struct sim_snapshot_instance *const inst = &s->instances[s->ninstances++];

        snprintf(at->name, sizeof(at->name), "instances[%zu]", i);
        if (!load_instance(at, json_array_get(array, i), inst))
            return false;
        if (sim_snapshot_find(s, inst->path) != inst)
            return wrong(at, "\"path\" %.200s is there twice", inst->path);
    }
    at->name[0] = '\0';
    return true;
}

static bool load_window(const struct place *at, const json_t *object,
                        struct sim_snapshot_mapping *map)
{
    const json_t *const window = json_object_get(object, "window");
    const char *const first = json_string_value(json_array_get(window, 0));
    const char *const last = json_string_value(json_array_get(window, 1));

    if (json_is_null(window))
        return true;
    if (json_array_size(window) != 2 || !first || !last ||
        !parse_hex(first, UINT64_MAX, &map->window) ||
        !parse_hex(last, UINT64_MAX, &map->window_last) || map->window > map->window_last) {
        return wrong(at, "\"window\" is neither null nor first and last byte: "
                         "write [\"0x4000\",\"0x40ff\"]");
    }
    map->windowed = true;
    return true;
}

static bool known_mapping_kind(const char *kind)
{
    static const char *const names[] = {"map",    "sg",       "coherent", "bounce",
                                        "linear", "reserved", "firmware"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(kind, names[i]) == 0)
            return true;
    return false;
}

static bool load_mapping(const struct place *at, const json_t *object,
                         struct sim_snapshot_mapping *map)
{
    const struct sim_snapshot_instance *inst;
    const char *path;
    uint64_t stream;

    if (!json_is_object(object))
        return wrong(at, "it is not an object");
    if (!get_string(at, object, "device", &map->device) ||
        !get_string(at, object, "instance", &path) || !get_string(at, object, "kind", &map->kind) ||
        !get_integer(at, object, "stream", 65536, &stream) ||
        !get_hex(at, object, "iova", &map->iova) || !get_hex(at, object, "pa", &map->pa) ||
        !get_integer(at, object, "length", INT64_MAX, &map->length) ||
        !get_bool(at, object, "read", &map->read) || !get_bool(at, object, "write", &map->write) ||
        !load_window(at, object, map))
        return false;
    inst = sim_snapshot_find(at->snapshot, path);
    if (!inst)
        return wrong(at, "\"instance\" %.200s is none of \"instances\"", path);
    if (stream >= inst->walker.streams)
        return wrong(at, "\"stream\" is %" PRIu64 ", but %.200s has %u", stream, path,
                     inst->walker.streams);
    if (!known_mapping_kind(map->kind))
        return wrong(at,
                     "\"kind\" %.40s is none of map, sg, coherent, bounce, linear, reserved, "
                     "firmware",
                     map->kind);
    if (map->length == 0 || map->length - 1 > UINT64_MAX - map->iova ||
        map->length - 1 > UINT64_MAX - map->pa)
        return wrong(at, "\"length\" %" PRIu64 " is zero, or passes the end of the addresses",
                     map->length);
    map->instance = (unsigned)(inst - at->snapshot->instances);
    map->stream = (unsigned)stream;
    return true;
}

static int by_stream(const void *a, const void *b)
{
    const struct sim_snapshot_mapping *const x = a;
    const struct sim_snapshot_mapping *const y = b;

    if (x->instance != y->instance)
        return x->instance < y->instance ? -1 : 1;
    if (x->stream != y->stream)
        return x->stream < y->stream ? -1 : 1;
    return x->iova < y->iova ? -1 : x->iova > y->iova;
}

static bool load_mappings(struct place *at)
{
    struct sim_snapshot *const s = at->snapshot;
    const json_t *array;
    void *room;
    size_t count;

    if (!get_array(at, s->root, "mappings", sizeof(*s->mappings), &array, &count, &room))
        return false;
    s->mappings = room;
    for (size_t i = 0; i < count; i++) {
        snprintf(at->name, sizeof(at->name), "mappings[%zu]", i);
        if (!load_mapping(at, json_array_get(array, i), &s->mappings[s->nmappings++]))
            return false;
    }
    at->name[0] = '\0';
    qsort(s->mappings, s->nmappings, sizeof(*s->mappings), by_stream);
    return true;
}

/* DIR/NAME, which must be a regular file of *out_size bytes. */
static bool find_file(const struct sim_snapshot *s, const char *name, char path[PATH_ROOM],
                      uint64_t *out_size, struct sim_error *error)
{
    struct stat file;

    *out_size = 0;
    if (snprintf(path, PATH_ROOM, "%s/%s", s->dir, name) >= PATH_ROOM)
        return sim_refuse(error, "the path of the snapshot is too long: move the folder up");
    if (stat(path, &file) != 0)
        return sim_refuse(error, "%.400s: %s: name a folder that granule run --snapshot has made",
                          path, strerror(errno));
    if (!S_ISREG(file.st_mode))
        return sim_refuse(error,
                          "%.400s: not a regular file: name a folder that granule run --snapshot "
                          "has made",
                          path);
    *out_size = (uint64_t)file.st_size;
    return true;
}

static bool load_machine(struct place *at)
{
    struct sim_snapshot *const s = at->snapshot;
    char path[PATH_ROOM];
    json_error_t why;
    uint64_t cpu_page;
    uint64_t size;

    if (!find_file(s, "machine.json", path, &size, at->error))
        return false;
    s->root = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
    if (!s->root)
        return sim_refuse(at->error, "%.300s: line %d: not JSON: %.160s", path, why.line, why.text);
    if (!json_is_object(s->root))
        return wrong(at, "it is not an object");
    if (!get_page(at, s->root, "cpu_page", &cpu_page) ||
        !get_hex(at, s->root, "ram_base", &s->ram_base) ||
        !get_hex(at, s->root, "ram_size", &s->ram_size))
        return false;
    s->cpu_page = (unsigned)cpu_page;
    if (s->ram_size == 0 || s->ram_size - 1 > UINT64_MAX - s->ram_base ||
        s->ram_size > (uint64_t)INT64_MAX)
        return wrong(at, "\"ram_size\" 0x%" PRIx64 " is zero, or passes the end of the addresses",
                     s->ram_size);
    return load_instances(at) && load_mappings(at);
}

/* ---- memory.img ---- */

static bool open_memory(struct sim_snapshot *s, struct sim_error *error)
{
    char path[PATH_ROOM];
    uint64_t size;

    if (!find_file(s, "memory.img", path, &size, error))
        return false;
    if (size != s->ram_size)
        return sim_refuse(error,
                          "%.400s: it has 0x%" PRIx64
                          " bytes, but \"ram_size\" of machine.json says 0x%" PRIx64,
                          path, size, s->ram_size);
    s->memory = open(path, O_RDONLY | O_CLOEXEC);
    return s->memory >= 0 || sim_refuse(error, "%.400s: %s", path, strerror(errno));
}

bool sim_snapshot_load(struct sim_snapshot *snapshot, const char *dir, struct sim_error *error)
{
    struct place at = {.snapshot = snapshot, .error = error};

    memset(snapshot, 0, sizeof(*snapshot));
    snapshot->dir = dir;
    snapshot->memory = -1;
    if (load_machine(&at) && open_memory(snapshot, error))
        return true;
    sim_snapshot_free(snapshot);
    return false;
}

void sim_snapshot_free(struct sim_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->ninstances; i++)
        free(snapshot->instances[i].registers);
    free(snapshot->instances);
    free(snapshot->mappings);
    json_decref(snapshot->root);
    if (snapshot->memory >= 0)
        close(snapshot->memory);
}

const struct sim_snapshot_instance *sim_snapshot_find(const struct sim_snapshot *snapshot,
                                                      const char *path)
{
    for (size_t i = 0; i < snapshot->ninstances; i++)
        if (snapshot->instances[i].path && strcmp(snapshot->instances[i].path, path) == 0)
            return &snapshot->instances[i];
    return NULL;
}

size_t sim_snapshot_mappings(const struct sim_snapshot_instance *inst, unsigned first,
                             unsigned last, const struct sim_snapshot_mapping **out)
{
    const struct sim_snapshot *const s = inst->snapshot;
    const struct sim_snapshot_mapping key = {.instance = (unsigned)(inst - s->instances),
                                             .stream = first};
    size_t low = 0;
    size_t count = 0;

    for (size_t high = s->nmappings; low < high;) {
        size_t middle = low + (high - low) / 2;

        if (by_stream(&s->mappings[middle], &key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *out = s->mappings + low;
    while (low + count < s->nmappings && (*out)[count].instance == key.instance &&
           (*out)[count].stream <= last)
        count++;
    return count;
}
