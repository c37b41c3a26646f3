/* SPDX-License-Identifier: MIT */
#include "host.h"

#include <granule/err.h>
#include <granule/port.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define UNIT_LG2 12 /* memory is accounted in 4 KiB, whatever P is */
#define UNIT ((uint64_t)1 << UNIT_LG2)
#define LINE ((uint64_t)GR_PORT_CACHE_LINE)

#define FREED_KEPT 0x4000u /* bytes up to which a freed test buffer is poisoned, not dropped */
#define POISON_FREED 0x5a
/* What a walker sees of fresh memory until its zeroes arrive: in every table format a valid pointer
 * to a table, and a valid leaf that lets everything through. */
#define POISON_FRESH UINT64_C(0x000fffabcdef0003)

#define LOG_LINES 64
#define LOG_WIDTH 256
#define KINDS 3u                   /* of HOST_CLEAN, HOST_INVAL, HOST_BARRIER */
#define PROBES 64                  /* random places tried before all of memory is searched */
#define WINDOWS 64u                /* places all over a big machine that most allocations go to, */
#define WINDOW ((uint64_t)2 << 20) /* so that a long run does not touch all of its memory */
#define LAZY_MAX 256u              /* pending stores remembered where no barrier retires them */
#define LOCK_MAGIC 0x10c4u         /* of an initialised lock */

/* The state of a unit of RAM. Units in a state up to FREED may be handed out. */
enum {
    FREE,  /* never used, or a test's buffer that was freed */
    FREED, /* a library page that was freed: poisoned */
    HOLE,
    PAGES,
    TABLE,
    BUFFER,
    FIRMWARE, /* tables that firmware left */
    OPENED,   /* tables that firmware left and the library may use */
};

struct bank {
    uint64_t base, size;
    uint8_t *cpu, *dev, *agreed;
    uint8_t *state;   /* of each unit */
    uint32_t *nunits; /* of the allocation that starts at this unit, else 0 */
    uint8_t *dropped; /* of each unit: 1 from an INVAL of the whole unit until it is cached again */
};

/* CPU stores that walkers may not see yet: one entry's 8 bytes, or the zeroes of a fresh block. */
struct store {
    uint64_t pa, len;
};

/*
 * The pending stores of one thread in one host. Thread and host hold a reference each; the queue is
 * freed with the last. Order of locks: `mutex`, then the host's lock. `mutex` guards `host`, the
 * host's lock all else.
 */
struct queue {
    pthread_mutex_t mutex;
    _Atomic(struct host *) host; /* NULL once the host is destroyed */
    atomic_uint refs;
    struct queue *thread_next, *host_next;
    struct store *stores;
    size_t n, room;
    bool stored; /* the thread has stored since its last barrier */
};

struct host {
    pthread_mutex_t lock;
    struct bank banks[HOST_MAX_BANKS];
    unsigned nbanks, cpu_page;
    bool noncoherent_walk;
    uint64_t windows[WINDOWS];
    unsigned nwindows;
    uint64_t place_rng, event_rng; /* two, so that one more walk does not move an allocation */
    struct queue *queues;
    void (*observer)(void *arg);
    void *observer_arg;
    uint64_t now;
    uint64_t used, buffers; /* units allocated by the library, by tests */
    unsigned misuse;
    uint64_t allocs, fail_alloc;
    uint64_t uncached, fail_uncached; /* mappings; the n-th from now on fails */
    uint64_t fail_firmware;
    uint64_t calls[KINDS], ignore[KINDS]; /* by bit of HOST_CLEAN, ... */
    int log_level;
    unsigned logged;
    char log[LOG_LINES][LOG_WIDTH];
};

/* ---- Threads ---- */

static _Thread_local struct queue *thread_queues; /* the queue last used comes first */
static _Thread_local unsigned thread_id;          /* from 1; 0 before the first use */
static _Thread_local unsigned thread_locks;       /* held */
static _Thread_local uint64_t thread_load_barriers;
static _Thread_local unsigned thread_cpu;     /* + 1; 0: the CPU of the thread's number */
static _Thread_local uint32_t thread_section; /* 0: in no exclusive section */

static unsigned self(void)
{
    static atomic_uint threads;

    if (!thread_id)
        thread_id = atomic_fetch_add(&threads, 1) + 1;
    return thread_id;
}

/* ---- Log and misuse; the host's lock is held ---- */

static void put_log(struct host *h, unsigned level, const char *line)
{
    (void)snprintf(h->log[h->logged++ % LOG_LINES], LOG_WIDTH, "%s", line);
    if ((int)level <= h->log_level)
        (void)fprintf(stderr, "host: %s\n", line);
}

__attribute__((format(printf, 2, 3))) static void misuse(struct host *h, const char *fmt, ...)
{
    char line[LOG_WIDTH];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    h->misuse++;
    put_log(h, GR_LOG_ERR, line);
}

/* ---- Chance: splitmix64 ---- */

static uint64_t next(uint64_t *rng)
{
    uint64_t z = *rng += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static bool chance(struct host *h, unsigned one_in)
{
    return next(&h->event_rng) % one_in == 0;
}

/* ---- Banks ---- */

static struct bank *bank_of(struct host *h, uint64_t pa)
{
    for (unsigned i = 0; i < h->nbanks; i++)
        if (pa - h->banks[i].base < h->banks[i].size)
            return &h->banks[i];
    return NULL;
}

/* The bank that has all of [pa, pa + len), or NULL. */
static struct bank *bank_of_range(struct host *h, uint64_t pa, uint64_t len)
{
    struct bank *b = bank_of(h, pa);

    return b && len <= b->size - (pa - b->base) ? b : NULL;
}

/* The bank and PA of a CPU address. */
static struct bank *bank_of_va(struct host *h, const void *va, uint64_t *out_pa)
{
    for (unsigned i = 0; i < h->nbanks; i++) {
        uint64_t off = (uint64_t)((uintptr_t)va - (uintptr_t)h->banks[i].cpu);

        if (off < h->banks[i].size) {
            *out_pa = h->banks[i].base + off;
            return &h->banks[i];
        }
    }
    return NULL;
}

static uint8_t state_of(const struct bank *b, uint64_t pa)
{
    return b->state[(pa - b->base) >> UNIT_LG2];
}

/* Is it table memory, where a walker may see stores late? */
static bool is_table(uint8_t state)
{
    return state == TABLE || state == FIRMWARE || state == OPENED;
}

static void fill(struct bank *b, uint64_t off, uint64_t len, int byte)
{
    memset(b->cpu + off, byte, (size_t)len);
    memset(b->dev + off, byte, (size_t)len);
    memset(b->agreed + off, byte, (size_t)len);
}

/* Make memory zero for the CPU, and not yet for walkers and non-coherent masters. */
static void fill_fresh(struct bank *b, uint64_t off, uint64_t len)
{
    const uint64_t poison = POISON_FRESH;

    memset(b->cpu + off, 0, (size_t)len);
    for (uint64_t i = 0; i < len; i += sizeof(poison))
        memcpy(b->dev + off + i, &poison, sizeof(poison));
    memcpy(b->agreed + off, b->dev + off, (size_t)len);
}

/* Make what the CPU sees at [off, off + len) visible to walkers and non-coherent masters. */
static void write_back(struct bank *b, uint64_t off, uint64_t len)
{
    memcpy(b->dev + off, b->cpu + off, (size_t)len);
    memcpy(b->agreed + off, b->cpu + off, (size_t)len);
}

static bool dirty(const struct bank *b, uint64_t line)
{
    return memcmp(b->cpu + line, b->agreed + line, (size_t)LINE) != 0;
}

/* ---- Pending stores; the host's lock is held unless said otherwise ---- */

static void queue_put(struct queue *q)
{
    if (atomic_fetch_sub(&q->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&q->mutex);
    free(q->stores);
    free(q);
}

/* Drop the queues of destroyed hosts from the thread's own list, which needs no lock. */
static void prune_queues(void)
{
    struct queue **link = &thread_queues;

    while (*link) {
        struct queue *q = *link;

        if (atomic_load(&q->host)) {
            link = &q->thread_next;
            continue;
        }
        *link = q->thread_next;
        queue_put(q);
    }
}

static void make_visible(struct host *h, const struct store *s)
{
    struct bank *b = bank_of(h, s->pa);

    write_back(b, s->pa - b->base, s->len);
}

static void drain(struct host *h, struct queue *q)
{
    for (size_t i = 0; i < q->n; i++)
        make_visible(h, &q->stores[i]);
    q->n = 0;
}

/* A thread has seen what other threads stored, so the stores have left those threads' buffers. */
static void drain_others(struct host *h, const struct queue *own)
{
    for (struct queue *q = h->queues; q; q = q->host_next) {
        if (q != own)
            drain(h, q);
    }
}

/* A thread that ends has switched context once more: its stores are visible. No lock is held. */
static void thread_ends(void *unused)
{
    (void)unused;
    while (thread_queues) {
        struct queue *q = thread_queues;
        struct host *h;

        thread_queues = q->thread_next;
        pthread_mutex_lock(&q->mutex);
        h = atomic_load(&q->host);
        if (h) {
            pthread_mutex_lock(&h->lock);
            if (!h->noncoherent_walk)
                drain(h, q);
            pthread_mutex_unlock(&h->lock);
        }
        pthread_mutex_unlock(&q->mutex);
        queue_put(q);
    }
}

static pthread_key_t end_key;

static void make_end_key(void)
{
    if (pthread_key_create(&end_key, thread_ends))
        gr_port_panic(NULL, "no thread key left");
}

static struct queue *queue_new(struct host *h)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct queue *q = calloc(1, sizeof(*q));

    if (!q)
        gr_port_panic(h, "out of host memory");
    prune_queues();
    pthread_once(&once, make_end_key);
    pthread_setspecific(end_key, &thread_queues);
    pthread_mutex_init(&q->mutex, NULL);
    atomic_store(&q->host, h);
    atomic_store(&q->refs, 2);
    q->host_next = h->queues;
    h->queues = q;
    q->thread_next = thread_queues;
    thread_queues = q;
    return q;
}

/* Take the host's lock in a port function, and make the host the one this thread used last. */
static struct queue *enter(struct host *h)
{
    struct queue **link = &thread_queues, *q;

    pthread_mutex_lock(&h->lock);
    while (*link && atomic_load(&(*link)->host) != h)
        link = &(*link)->thread_next;
    if (!*link)
        return queue_new(h);
    q = *link;
    *link = q->thread_next;
    q->thread_next = thread_queues;
    thread_queues = q;
    return q;
}

static void leave(struct host *h)
{
    pthread_mutex_unlock(&h->lock);
}

static void push(struct host *h, struct queue *q, uint64_t pa, uint64_t len)
{
    size_t at = q->n;

    q->stored = true;
    if (h->noncoherent_walk && q->n == LAZY_MAX) {
        at = (size_t)(next(&h->event_rng) % LAZY_MAX);
    } else if (q->n == q->room) {
        size_t room = q->room ? q->room * 2 : 64;
        struct store *stores = realloc(q->stores, room * sizeof(*stores));

        if (!stores)
            gr_port_panic(h, "out of host memory");
        q->stores = stores;
        q->room = room;
    }
    if (at == q->n)
        q->n++;
    q->stores[at] = (struct store){pa, len};
}

/* Drop the stores that are pending in freed memory. */
static void drop_pending(struct host *h, uint64_t pa, uint64_t len)
{
    for (struct queue *q = h->queues; q; q = q->host_next) {
        size_t kept = 0;

        for (size_t i = 0; i < q->n; i++)
            if (q->stores[i].pa - pa >= len)
                q->stores[kept++] = q->stores[i];
        q->n = kept;
    }
}

/* With some probability, let one pending store of any thread become visible. */
static void early(struct host *h)
{
    uint64_t n = 0, k;
    struct queue *q;
    struct store *s;

    if (!chance(h, 4))
        return;
    for (q = h->queues; q; q = q->host_next)
        n += q->n;
    if (!n)
        return;
    k = next(&h->event_rng) % n;
    for (q = h->queues; k >= q->n; q = q->host_next)
        k -= q->n;
    s = &q->stores[k];
    if (s->len > 8) {
        uint64_t slot = next(&h->event_rng) % (s->len / 8);

        make_visible(h, &(struct store){s->pa + slot * 8, 8});
        return;
    }
    make_visible(h, s);
    *s = q->stores[--q->n];
}

/* No lock is held. */
static void observe(struct host *h)
{
    void (*fn)(void *arg);
    void *arg;

    pthread_mutex_lock(&h->lock);
    fn = h->observer;
    arg = h->observer_arg;
    pthread_mutex_unlock(&h->lock);
    if (fn)
        fn(arg);
}

/* ---- Placing memory ---- */

/* The places for `size` bytes at `align` in a bank, up to pa_last: the first, and their number. */
static uint64_t places(const struct bank *b, uint64_t size, uint64_t align, uint64_t pa_last,
                       uint64_t *out_first)
{
    uint64_t last = b->base + (b->size - 1);
    uint64_t first = (b->base + (align - 1)) & ~(align - 1);

    if (last > pa_last)
        last = pa_last;
    if (first < b->base || first > last || last - first < size - 1)
        return 0;
    *out_first = first;
    return (last - first - (size - 1)) / align + 1;
}

/* Units from `pa` up to and including the last unit in use of `size` bytes; 0: all are free. */
static uint64_t taken(const struct bank *b, uint64_t pa, uint64_t size)
{
    uint64_t at = (pa - b->base) >> UNIT_LG2, n = size >> UNIT_LG2;

    while (n && b->state[at + n - 1] <= FREED)
        n--;
    return n;
}

static struct bank *place_random(struct host *h, uint64_t size, uint64_t align, uint64_t pa_last,
                                 uint64_t *out_pa)
{
    uint64_t total = 0, first = 0;

    for (unsigned i = 0; i < h->nbanks; i++)
        total += places(&h->banks[i], size, align, pa_last, &first);
    for (unsigned probe = 0; total && probe < PROBES; probe++) {
        uint64_t k = next(&h->place_rng) % total, n;
        struct bank *b = h->banks;

        for (; k >= (n = places(b, size, align, pa_last, &first)); b++)
            k -= n;
        if (!taken(b, first + k * align, size)) {
            *out_pa = first + k * align;
            return b;
        }
    }
    return NULL;
}

static struct bank *place_window(struct host *h, uint64_t size, uint64_t align, uint64_t pa_last,
                                 uint64_t *out_pa)
{
    if (!h->nwindows || size > WINDOW || align > WINDOW || next(&h->place_rng) % 64 == 0)
        return NULL;
    for (unsigned probe = 0; probe < PROBES; probe++) {
        uint64_t pa = h->windows[next(&h->place_rng) % h->nwindows];
        struct bank *b = bank_of(h, pa);

        pa += next(&h->place_rng) % ((WINDOW - size) / align + 1) * align;
        if (pa + (size - 1) <= pa_last && !taken(b, pa, size)) {
            *out_pa = pa;
            return b;
        }
    }
    return NULL;
}

/* Memory is nearly full: take the first place that fits. */
static struct bank *place_first(struct host *h, uint64_t size, uint64_t align, uint64_t pa_last,
                                uint64_t *out_pa)
{
    for (unsigned i = 0; i < h->nbanks; i++) {
        struct bank *b = &h->banks[i];
        uint64_t first = 0, n = places(b, size, align, pa_last, &first), k = 0;

        while (k < n) {
            uint64_t skip = taken(b, first + k * align, size) << UNIT_LG2;

            if (!skip) {
                *out_pa = first + k * align;
                return b;
            }
            k += (skip - 1) / align + 1;
        }
    }
    return NULL;
}

/* ---- Creation and destruction ---- */

/* Blocks up to this size are as aligned at the CPU's address as at the physical (port.h). */
#define MAP_ALIGN ((uint64_t)64 << 20)

/* Map `size` bytes at an address that is congruent to `base`, modulo MAP_ALIGN. */
static void *map(uint64_t size, uint64_t base)
{
    uint8_t *p;
    uint64_t skip;

    if (size > SIZE_MAX - 2 * MAP_ALIGN)
        return NULL;
    size = (size + UNIT - 1) & ~(UNIT - 1);
    p = mmap(NULL, (size_t)(size + MAP_ALIGN), PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    skip = (base - (uintptr_t)p) % MAP_ALIGN;
    if (skip)
        munmap(p, (size_t)skip);
    p += skip;
    munmap(p + size, (size_t)(MAP_ALIGN - skip));
    /* A huge page for each byte touched would make sparse memory dense. */
    (void)madvise(p, (size_t)size, MADV_NOHUGEPAGE);
    return p;
}

static void unmap(void *p, uint64_t size)
{
    if (p)
        munmap(p, (size_t)size);
}

static bool bank_map(struct bank *b)
{
    b->cpu = map(b->size, b->base);
    b->dev = map(b->size, b->base);
    b->agreed = map(b->size, b->base);
    b->state = map(b->size >> UNIT_LG2, 0);
    b->nunits = map((b->size >> UNIT_LG2) * sizeof(*b->nunits), 0);
    b->dropped = map(b->size >> UNIT_LG2, 0);
    return b->cpu && b->dev && b->agreed && b->state && b->nunits && b->dropped;
}

static void bank_unmap(struct bank *b)
{
    unmap(b->cpu, b->size);
    unmap(b->dev, b->size);
    unmap(b->agreed, b->size);
    unmap(b->state, b->size >> UNIT_LG2);
    unmap(b->nunits, (b->size >> UNIT_LG2) * sizeof(*b->nunits));
    unmap(b->dropped, b->size >> UNIT_LG2);
}

static void punch(struct bank *b, const struct host_hole *hole)
{
    uint64_t first = hole->base, last = hole->base + (hole->size - 1);
    uint64_t bank_last = b->base + (b->size - 1);

    if (!hole->size)
        return;
    if (last < first)
        last = UINT64_MAX;
    if (first > bank_last || last < b->base)
        return;
    first = (first < b->base ? 0 : first - b->base) >> UNIT_LG2;
    last = ((last > bank_last ? bank_last : last) - b->base) >> UNIT_LG2;
    memset(b->state + first, HOLE, (size_t)(last - first + 1));
}

/* Choose windows only where memory is so big that most of it should stay untouched. */
static void choose_windows(struct host *h)
{
    uint64_t ram = 0;

    for (unsigned i = 0; i < h->nbanks; i++)
        ram += h->banks[i].size;
    for (unsigned i = 0; i < WINDOWS && ram > 2 * WINDOWS * WINDOW; i++)
        if (place_random(h, WINDOW, WINDOW, UINT64_MAX, &h->windows[h->nwindows]))
            h->nwindows++;
}

static bool config_ok(const struct host_config *c, char *err, size_t errlen)
{
    if (c->cpu_page != 4096 && c->cpu_page != 16384 && c->cpu_page != 65536) {
        (void)snprintf(err, errlen, "CPU page of %u bytes: it is 4096, 16384 or 65536",
                       c->cpu_page);
        return false;
    }
    if (!c->nbanks || c->nbanks > HOST_MAX_BANKS || c->nreserved > HOST_MAX_RESERVED) {
        (void)snprintf(err, errlen,
                       "%u banks and %u reserved ranges: at least 1, at most %d and %d", c->nbanks,
                       c->nreserved, HOST_MAX_BANKS, HOST_MAX_RESERVED);
        return false;
    }
    for (unsigned i = 0; i < c->nbanks; i++) {
        const struct host_bank *b = &c->banks[i];

        if (!b->size || (b->base | b->size) % UNIT || b->base + (b->size - 1) < b->base) {
            (void)snprintf(err, errlen,
                           "bank %u at 0x%" PRIx64 " of 0x%" PRIx64
                           " bytes: base and size are multiples of 4 KiB below 2^64",
                           i, b->base, b->size);
            return false;
        }
        for (unsigned j = 0; j < i; j++) {
            const struct host_bank *o = &c->banks[j];

            if (b->base - o->base < o->size || o->base - b->base < b->size) {
                (void)snprintf(err, errlen, "banks %u and %u overlap at 0x%" PRIx64, j, i,
                               b->base > o->base ? b->base : o->base);
                return false;
            }
        }
    }
    return true;
}

static void host_free(struct host *h)
{
    for (unsigned i = 0; i < h->nbanks; i++)
        bank_unmap(&h->banks[i]);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

struct host *host_create(const struct host_config *config, char *err, size_t errlen)
{
    struct host *h;

    if (!config_ok(config, err, errlen))
        return NULL;
    h = calloc(1, sizeof(*h));
    if (!h) {
        (void)snprintf(err, errlen, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&h->lock, NULL);
    h->cpu_page = config->cpu_page;
    h->noncoherent_walk = config->noncoherent_walk;
    h->place_rng = config->seed;
    h->event_rng = ~config->seed;
    for (unsigned i = 0; i < config->nbanks; i++) {
        struct bank *b = &h->banks[h->nbanks++];

        b->base = config->banks[i].base;
        b->size = config->banks[i].size;
        if (!bank_map(b)) {
            (void)snprintf(err, errlen,
                           "bank %u of 0x%" PRIx64 " bytes: no address space left for it", i,
                           b->size);
            host_free(h);
            return NULL;
        }
        for (unsigned j = 0; j < config->nreserved; j++)
            punch(b, &config->reserved[j]);
    }
    choose_windows(h);
    return h;
}

static void log_leaks(struct host *h, const struct bank *b)
{
    for (uint64_t i = 0; i < b->size >> UNIT_LG2; i++) {
        char line[LOG_WIDTH];

        if (b->state[i] <= HOLE || b->state[i] >= FIRMWARE || !b->nunits[i])
            continue;
        (void)snprintf(line, sizeof(line), "leak: %s of %" PRIu64 " bytes at PA 0x%" PRIx64,
                       b->state[i] == BUFFER  ? "buffer"
                       : b->state[i] == TABLE ? "table"
                                              : "pages",
                       b->nunits[i] * UNIT, b->base + i * UNIT);
        put_log(h, GR_LOG_ERR, line);
    }
}

int host_destroy(struct host *h)
{
    int leaks;

    if (!h)
        return 0;
    leaks = host_leaks(h);
    for (unsigned i = 0; i < h->nbanks && h->used + h->buffers; i++)
        log_leaks(h, &h->banks[i]);
    while (h->queues) {
        struct queue *q = h->queues;

        h->queues = q->host_next;
        pthread_mutex_lock(&q->mutex);
        atomic_store(&q->host, NULL);
        pthread_mutex_unlock(&q->mutex);
        queue_put(q);
    }
    prune_queues();
    host_free(h);
    return leaks;
}

/* ---- Allocating ---- */

static bool poisoned(const uint8_t *p, uint64_t len)
{
    return p[0] == POISON_FREED && !memcmp(p, p + 1, (size_t)len - 1);
}

/* Count each freed library page among n units that was written after it was freed, once. */
static void check_freed(struct host *h, struct bank *b, uint64_t at, uint64_t n)
{
    for (uint64_t i = at; i < at + n; i++) {
        if (b->state[i] != FREED || poisoned(b->cpu + (i << UNIT_LG2), UNIT))
            continue;
        misuse(h, "a page at PA 0x%" PRIx64 " was written after it was freed",
               b->base + (i << UNIT_LG2));
        fill(b, i << UNIT_LG2, UNIT, POISON_FREED);
    }
}

static struct bank *place(struct host *h, uint64_t size, uint64_t align, uint64_t pa_last,
                          uint8_t state, uint64_t *out_pa)
{
    struct bank *b = place_window(h, size, align, pa_last, out_pa);
    uint64_t at, n = size >> UNIT_LG2;

    if (!b)
        b = place_random(h, size, align, pa_last, out_pa);
    if (!b)
        b = place_first(h, size, align, pa_last, out_pa);
    if (!b)
        return NULL;
    at = (*out_pa - b->base) >> UNIT_LG2;
    check_freed(h, b, at, n);
    memset(b->state + at, state, (size_t)n);
    memset(b->dropped + at, 0, (size_t)n);
    b->nunits[at] = (uint32_t)n;
    return b;
}

/* Give the host's memory behind [off, off + len) back; the range reads as zero afterwards. */
static void drop(struct bank *b, uint64_t off, uint64_t len)
{
    uint8_t *const view[] = {b->cpu, b->dev, b->agreed};
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    for (unsigned i = 0; i < 3; i++) {
        uint8_t *const first = view[i] + off;
        uint8_t *const start = first + (page - (uintptr_t)first % page) % page;
        uint8_t *const end = first + len - (uintptr_t)(first + len) % page;

        if (end > start)
            (void)madvise(start, (size_t)(end - start), MADV_DONTNEED);
    }
}

static void unplace(struct host *h, struct bank *b, uint64_t pa, uint8_t state)
{
    uint64_t at = (pa - b->base) >> UNIT_LG2, n = b->nunits[at];

    drop_pending(h, pa, n << UNIT_LG2);
    if (n << UNIT_LG2 > FREED_KEPT && state == FREE) /* a test's large buffer */
        drop(b, at << UNIT_LG2, n << UNIT_LG2);
    else
        fill(b, at << UNIT_LG2, n << UNIT_LG2, POISON_FREED);
    memset(b->state + at, state, (size_t)n);
    b->nunits[at] = 0;
}

int host_ram_alloc(struct host *h, uint64_t size, uint64_t align, gr_pa_t *out_pa)
{
    uint64_t p = h->cpu_page;
    struct bank *b;

    if (!size || size > UINT64_MAX - p || (align & (align - 1)))
        return GR_EINVAL;
    size = (size + (p - 1)) & ~(p - 1);
    pthread_mutex_lock(&h->lock);
    b = place(h, size, align > p ? align : p, UINT64_MAX, BUFFER, out_pa);
    if (b)
        h->buffers += size >> UNIT_LG2;
    pthread_mutex_unlock(&h->lock);
    return b ? 0 : GR_ENOMEM;
}

void host_ram_free(struct host *h, gr_pa_t pa)
{
    struct bank *b = bank_of(h, pa);

    pthread_mutex_lock(&h->lock);
    if (!b || pa % UNIT || state_of(b, pa) != BUFFER || !b->nunits[(pa - b->base) >> UNIT_LG2]) {
        misuse(h, "host_ram_free: no buffer starts at PA 0x%" PRIx64, pa);
    } else {
        h->buffers -= b->nunits[(pa - b->base) >> UNIT_LG2];
        unplace(h, b, pa, FREE);
    }
    pthread_mutex_unlock(&h->lock);
}

int host_firmware_alloc(struct host *h, uint64_t size, gr_pa_t *out_pa)
{
    struct bank *b;

    if (size < UNIT || (size & (size - 1)))
        return GR_EINVAL;
    pthread_mutex_lock(&h->lock);
    b = place(h, size, size, UINT64_MAX, FIRMWARE, out_pa);
    if (b)
        fill(b, *out_pa - b->base, size, 0);
    pthread_mutex_unlock(&h->lock);
    return b ? 0 : GR_ENOMEM;
}

void host_firmware_write64(struct host *h, gr_pa_t pa, uint64_t value)
{
    struct bank *b = pa % 8 ? NULL : bank_of(h, pa);

    pthread_mutex_lock(&h->lock);
    if (!b || state_of(b, pa) < FIRMWARE) {
        misuse(h, "host_firmware_write64: no table of firmware's is at PA 0x%" PRIx64, pa);
    } else {
        memcpy(b->cpu + (pa - b->base), &value, sizeof(value));
        write_back(b, pa - b->base, sizeof(value));
    }
    pthread_mutex_unlock(&h->lock);
}

void *gr_port_map_firmware(gr_env_t env, gr_pa_t pa, size_t len)
{
    struct host *h = env;
    struct bank *b = bank_of_range(h, pa, len);
    void *va = NULL;

    (void)enter(h);
    if (!len || (pa | len) % UNIT)
        misuse(h, "map firmware: PA 0x%" PRIx64 " and %zu bytes are not whole pages", pa, len);
    else if (b && !(h->fail_firmware && --h->fail_firmware == 0))
        va = b->cpu + (pa - b->base);
    for (uint64_t at = pa; va && at < pa + len; at += UNIT) {
        if (state_of(b, at) < FIRMWARE)
            va = NULL;
    }
    if (va)
        memset(b->state + ((pa - b->base) >> UNIT_LG2), OPENED, len >> UNIT_LG2);
    leave(h);
    return va;
}

void host_fail_firmware(struct host *h, uint64_t n)
{
    pthread_mutex_lock(&h->lock);
    h->fail_firmware = n;
    pthread_mutex_unlock(&h->lock);
}

void *host_ptr(struct host *h, gr_pa_t pa, uint64_t len)
{
    struct bank *b = bank_of_range(h, pa, len);

    return b ? b->cpu + (pa - b->base) : NULL;
}

const void *host_memory(struct host *h, gr_pa_t pa, uint64_t len)
{
    struct bank *b = bank_of_range(h, pa, len);

    return b ? b->dev + (pa - b->base) : NULL;
}

bool host_pa_of(struct host *h, const void *va, gr_pa_t *out_pa)
{
    if (bank_of_va(h, va, out_pa))
        return true;
    for (unsigned i = 0; i < h->nbanks; i++) {
        uint64_t off = (uint64_t)((uintptr_t)va - (uintptr_t)h->banks[i].dev);

        if (off < h->banks[i].size) {
            *out_pa = h->banks[i].base + off;
            return true;
        }
    }
    return false;
}

static enum host_use use_of(const struct bank *b, uint64_t unit)
{
    switch (b->state[unit]) {
    case PAGES:
        return HOST_LIBRARY;
    case TABLE:
        return HOST_TABLE;
    case BUFFER:
        return HOST_BUFFER;
    case FIRMWARE:
    case OPENED:
        return HOST_FIRMWARE;
    default:
        return HOST_UNUSED;
    }
}

enum host_use host_use_of(struct host *h, gr_pa_t pa)
{
    struct bank *b = bank_of(h, pa);
    enum host_use use;

    pthread_mutex_lock(&h->lock);
    use = b ? use_of(b, (pa - b->base) >> UNIT_LG2) : HOST_UNUSED;
    pthread_mutex_unlock(&h->lock);
    return use;
}

void host_for_each_used(struct host *h,
                        void (*fn)(void *arg, gr_pa_t pa, uint64_t len, enum host_use use),
                        void *arg)
{
    for (unsigned i = 0; i < h->nbanks; i++) {
        const struct bank *b = &h->banks[i];
        const uint64_t units = b->size >> UNIT_LG2;

        for (uint64_t first = 0, end; first < units; first = end) {
            enum host_use use = use_of(b, first);

            for (end = first + 1; end < units && use_of(b, end) == use; end++)
                ;
            if (use != HOST_UNUSED)
                fn(arg, b->base + (first << UNIT_LG2), (end - first) << UNIT_LG2, use);
        }
    }
}

bool host_read_held(struct host *h, gr_pa_t pa, void *buf, uint64_t len)
{
    struct bank *b = bank_of_range(h, pa, len);
    uint8_t *out = buf;
    uint64_t n;

    if (!b)
        return false;
    pthread_mutex_lock(&h->lock);
    for (uint64_t off = pa - b->base, end = off + len; off < end; off += n, out += n) {
        bool table = is_table(b->state[off >> UNIT_LG2]);
        uint64_t part = table ? UNIT : LINE; /* all of a part is read from the same copy */
        uint64_t first = off & ~(part - 1);
        bool cached = !table && dirty(b, first);

        n = first + part - off < end - off ? first + part - off : end - off;
        memcpy(out, (cached ? b->cpu : b->dev) + off, (size_t)n);
    }
    pthread_mutex_unlock(&h->lock);
    return true;
}

/* ---- Port: pages ---- */

void *gr_port_pages_alloc(gr_env_t env, unsigned lg2, gr_pa_t pa_last, unsigned flags)
{
    struct host *h = env;
    struct queue *q = enter(h);
    struct bank *b = NULL;
    uint64_t pa = 0, size = lg2 < 64 ? (uint64_t)1 << lg2 : 0;
    void *va = NULL;

    h->allocs++;
    if (lg2 < UNIT_LG2 || lg2 > 63 || (flags & ~(GR_PAGES_MAY_SLEEP | GR_PAGES_TABLE)))
        misuse(h, "pages_alloc: lg2 %u, flags 0x%x: lg2 is 12 to 63, flags are GR_PAGES_*", lg2,
               flags);
    else if (h->fail_alloc && --h->fail_alloc == 0)
        put_log(h, GR_LOG_INFO, "pages_alloc: failed on demand");
    else
        b = place(h, size, size, pa_last, flags & GR_PAGES_TABLE ? TABLE : PAGES, &pa);
    if (thread_section)
        misuse(h, "pages_alloc within an exclusive section");
    if ((flags & GR_PAGES_MAY_SLEEP) && thread_locks)
        misuse(h, "pages_alloc: GR_PAGES_MAY_SLEEP with %u lock(s) held", thread_locks);
    if (b) {
        h->used += size >> UNIT_LG2;
        fill_fresh(b, pa - b->base, size);
        va = b->cpu + (pa - b->base);
        if (flags & GR_PAGES_TABLE)
            push(h, q, pa, size);
    }
    leave(h);
    return va;
}

void gr_port_pages_free(gr_env_t env, void *va, unsigned lg2)
{
    struct host *h = env;
    uint64_t pa = 0, at, n = lg2 < 64 ? ((uint64_t)1 << lg2) >> UNIT_LG2 : 0;
    struct bank *b;

    (void)enter(h);
    b = bank_of_va(h, va, &pa);
    at = b ? (pa - b->base) >> UNIT_LG2 : 0;
    if (!b)
        misuse(h, "pages_free: %p is not memory of this host", va);
    else if (b->state[at] == FREED)
        misuse(h, "pages_free: PA 0x%" PRIx64 " is freed already", pa);
    else if ((b->state[at] != PAGES && b->state[at] != TABLE) || pa % UNIT || !b->nunits[at])
        misuse(h, "pages_free: PA 0x%" PRIx64 " is not the start of an allocation", pa);
    else if (b->nunits[at] != n)
        misuse(h, "pages_free: PA 0x%" PRIx64 " has %" PRIu64 " bytes, not 2^%u", pa,
               b->nunits[at] * UNIT, lg2);
    else {
        unplace(h, b, pa, FREED);
        h->used -= n;
    }
    leave(h);
}

gr_pa_t gr_port_virt_to_phys(gr_env_t env, const void *va)
{
    struct host *h = env;
    uint64_t pa = UINT64_MAX;
    struct bank *b;

    (void)enter(h);
    b = bank_of_va(h, va, &pa);
    if (!b || state_of(b, pa) <= FREED || state_of(b, pa) == FIRMWARE)
        misuse(h, "virt_to_phys: %p is not allocated memory of this host", va);
    leave(h);
    return pa;
}

void *gr_port_phys_to_virt(gr_env_t env, gr_pa_t pa)
{
    struct host *h = env;
    struct bank *b = bank_of(h, pa);
    struct queue *q = enter(h);

    if (!b || state_of(b, pa) <= FREED || state_of(b, pa) == FIRMWARE)
        misuse(h, "phys_to_virt: PA 0x%" PRIx64 " is not allocated memory", pa);
    else if (is_table(state_of(b, pa)) && !h->noncoherent_walk)
        drain_others(h, q);
    leave(h);
    return b ? b->cpu + (pa - b->base) : NULL;
}

void gr_port_table_store64(gr_env_t env, uint64_t *slot, uint64_t value)
{
    struct host *h = env;
    struct queue *q = enter(h);
    uint64_t pa = 0;
    struct bank *b = bank_of_va(h, slot, &pa);
    uint8_t state = b ? state_of(b, pa) : FREED;

    if ((uintptr_t)slot % 8 || state <= FREED || state == PAGES || state == FIRMWARE) {
        misuse(h, "table_store64: %p is not an entry in memory from GR_PAGES_TABLE", (void *)slot);
        leave(h);
        return;
    }
    __atomic_store_n(slot, value, __ATOMIC_RELEASE); /* for TSan; it orders nothing for devices */
    if (is_table(state)) {
        push(h, q, pa, 8);
        early(h);
    }
    leave(h);
    observe(h);
}

/* ---- Port: cache and barriers ---- */

/* Count a call of a kind (one bit); true when the call is to be ignored. */
static bool count(struct host *h, unsigned kind)
{
    unsigned i = (unsigned)__builtin_ctz(kind);

    h->calls[i]++;
    return h->ignore[i] && --h->ignore[i] == 0;
}

static void refetch(struct bank *b, uint64_t line)
{
    if (memcmp(b->cpu + line, b->dev + line, (size_t)LINE))
        memcpy(b->cpu + line, b->dev + line, (size_t)LINE);
    if (memcmp(b->agreed + line, b->dev + line, (size_t)LINE))
        memcpy(b->agreed + line, b->dev + line, (size_t)LINE);
}

static void cache_lines(struct host *h, struct bank *b, uint64_t off, uint64_t len, unsigned op)
{
    for (uint64_t line = off & ~(LINE - 1); line < off + len; line += LINE) {
        bool partial = line < off || off + len - line < LINE;

        /* INVAL drops a dirty line by luck only: the line may have been evicted a moment before. */
        if (dirty(b, line) && ((op & GR_CACHE_CLEAN) || partial || chance(h, 2)))
            write_back(b, line, LINE);
        if (op & GR_CACHE_INVAL)
            refetch(b, line);
    }
}

/* Note an INVAL that was asked for, also if it is ignored on demand. */
static void note_dropped(struct bank *b, uint64_t off, uint64_t len)
{
    for (uint64_t i = (off + UNIT - 1) >> UNIT_LG2; (i + 1) << UNIT_LG2 <= off + len; i++)
        b->dropped[i] = 1;
}

/* Were all units of [off, off + len) dropped from the caches? Note `now` for each of them. */
static bool swap_dropped(struct bank *b, uint64_t off, uint64_t len, bool now)
{
    bool all = true;

    for (uint64_t i = off >> UNIT_LG2; i << UNIT_LG2 < off + len; i++) {
        all = all && b->dropped[i];
        b->dropped[i] = now;
    }
    return all;
}

/* Whether [off, off + len) is in the bank and no page of it is freed. */
static bool live(const struct bank *b, uint64_t off, uint64_t len)
{
    if (len > b->size - off)
        return false;
    for (uint64_t i = off >> UNIT_LG2; i << UNIT_LG2 < off + len; i++)
        if (b->state[i] == FREED)
            return false;
    return true;
}

void gr_port_cache(gr_env_t env, const void *va, size_t len, unsigned op)
{
    struct host *h = env;
    uint64_t pa = 0;
    struct bank *b;

    (void)enter(h);
    b = bank_of_va(h, va, &pa);
    if (!b || !live(b, pa - b->base, len))
        misuse(h, "cache: %p and %zu bytes are not live memory of this host", va, len);
    else if (!op || (op & ~(GR_CACHE_CLEAN | GR_CACHE_INVAL)))
        misuse(h, "cache: operation 0x%x is not one or both of GR_CACHE_CLEAN, GR_CACHE_INVAL", op);
    else {
        if (op & GR_CACHE_INVAL)
            note_dropped(b, pa - b->base, len);
        if ((op & GR_CACHE_CLEAN) && count(h, HOST_CLEAN))
            op &= ~GR_CACHE_CLEAN;
        if ((op & GR_CACHE_INVAL) && count(h, HOST_INVAL))
            op &= ~GR_CACHE_INVAL;
        if (op)
            cache_lines(h, b, pa - b->base, len, op);
    }
    leave(h);
}

/* The uncached mapping is `dev`: accesses past the caches are what non-coherent masters see. */
void *gr_port_map_uncached(gr_env_t env, void *va, size_t len)
{
    struct host *h = env;
    uint64_t pa = 0;
    struct bank *b;
    void *mapped = NULL;

    (void)enter(h);
    b = bank_of_va(h, va, &pa);
    if (!b || !live(b, pa - b->base, len)) {
        misuse(h, "map uncached: %p and %zu bytes are not live memory of this host", va, len);
    } else if (h->fail_uncached != 1) {
        if (!swap_dropped(b, pa - b->base, len, true))
            misuse(h, "map uncached: %p and %zu bytes were not dropped from the caches", va, len);
        mapped = b->dev + (pa - b->base);
        h->uncached++;
    }
    h->fail_uncached -= h->fail_uncached > 0;
    leave(h);
    return mapped;
}

void gr_port_unmap_uncached(gr_env_t env, void *mapped, size_t len)
{
    struct host *h = env;
    bool ours = false;

    (void)enter(h);
    for (unsigned i = 0; i < h->nbanks; i++) {
        uint64_t off = (uint64_t)((uintptr_t)mapped - (uintptr_t)h->banks[i].dev);

        if (off < h->banks[i].size && live(&h->banks[i], off, len)) {
            ours = true;
            (void)swap_dropped(&h->banks[i], off, len, false);
        }
    }
    if (!ours || !h->uncached)
        misuse(h, "unmap uncached: %p is no uncached mapping of this host", mapped);
    else
        h->uncached--;
    leave(h);
}

static void fence(void)
{
#if !defined(__SANITIZE_THREAD__) /* TSan does not know fences; it sees the host's lock instead */
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

void gr_port_wmb(void)
{
    for (struct queue *q = thread_queues; q; q = q->thread_next) {
        bool stored = false;
        struct host *h;

        pthread_mutex_lock(&q->mutex);
        h = atomic_load(&q->host);
        if (h) {
            pthread_mutex_lock(&h->lock);
            stored = q->stored;
            q->stored = false;
            if (!(stored && count(h, HOST_BARRIER)) && !h->noncoherent_walk)
                drain(h, q);
            pthread_mutex_unlock(&h->lock);
        }
        pthread_mutex_unlock(&q->mutex);
        if (stored)
            observe(h);
    }
    fence();
}

void gr_port_rmb(void)
{
    thread_load_barriers++;
    fence();
}

void gr_port_mb(void)
{
    thread_load_barriers++;
    gr_port_wmb();
}

uint64_t host_load_barriers(void)
{
    return thread_load_barriers;
}

/* ---- Devices ---- */

bool host_table_read64(struct host *h, gr_pa_t pa, uint64_t *out)
{
    struct bank *b = pa % 8 ? NULL : bank_of(h, pa);
    bool ok = false;

    if (!b)
        return false;
    pthread_mutex_lock(&h->lock);
    early(h);
    if (state_of(b, pa) == FREED) {
        misuse(h, "a walker reads PA 0x%" PRIx64 ", which is freed", pa);
    } else {
        bool dev = is_table(state_of(b, pa)) || h->noncoherent_walk;

        memcpy(out, (dev ? b->dev : b->cpu) + (pa - b->base), 8);
        ok = true;
    }
    pthread_mutex_unlock(&h->lock);
    return ok;
}

/* Caches may write back or fetch again any line that a non-coherent master touches. */
static void disturb(struct host *h, struct bank *b, uint64_t off, uint64_t len)
{
    uint64_t first = off & ~(LINE - 1);
    uint64_t line;

    if (!chance(h, 4))
        return;
    line = first + next(&h->event_rng) % ((off + len - first + LINE - 1) / LINE) * LINE;
    if (dirty(b, line))
        write_back(b, line, LINE);
    else
        refetch(b, line);
}

/* Whether a device may touch all of [pa, pa + len). */
static bool device_may(struct host *h, uint64_t pa, uint64_t len, bool write)
{
    uint64_t at = pa & ~(UNIT - 1);

    if (pa + (len - 1) < pa)
        return false;
    do {
        struct bank *b = bank_of(h, at);

        if (!b)
            return false;
        if (state_of(b, at) == FREED) {
            misuse(h, "a device touches PA 0x%" PRIx64 ", a page that is freed", at);
            return false;
        }
        if (write && is_table(state_of(b, at))) {
            misuse(h, "a device writes PA 0x%" PRIx64 ", a page table", at);
            return false;
        }
        at += UNIT;
    } while (at && at <= pa + (len - 1));
    return true;
}

static void device_copy(struct host *h, uint64_t pa, uint8_t *in, const uint8_t *out, uint64_t len,
                        bool coherent)
{
    while (len) {
        struct bank *b = bank_of(h, pa);
        uint64_t off = pa - b->base, n = UNIT - off % UNIT;
        uint8_t *mem = (coherent ? b->cpu : b->dev) + off;

        n = n < len ? n : len;
        if (!coherent)
            disturb(h, b, off, n);
        if (in) {
            memcpy(in, mem, (size_t)n);
            in += n;
        } else {
            memcpy(mem, out, (size_t)n);
            out += n;
        }
        if (!coherent)
            disturb(h, b, off, n);
        pa += n;
        len -= n;
    }
}

bool host_mem_read(struct host *h, gr_pa_t pa, void *buf, uint64_t len, bool coherent)
{
    bool ok;

    pthread_mutex_lock(&h->lock);
    ok = !len || device_may(h, pa, len, false);
    if (ok)
        device_copy(h, pa, buf, NULL, len, coherent);
    pthread_mutex_unlock(&h->lock);
    return ok;
}

bool host_mem_write(struct host *h, gr_pa_t pa, const void *buf, uint64_t len, bool coherent)
{
    bool ok;

    pthread_mutex_lock(&h->lock);
    ok = !len || device_may(h, pa, len, true);
    if (ok)
        device_copy(h, pa, NULL, buf, len, coherent);
    pthread_mutex_unlock(&h->lock);
    return ok;
}

void host_set_observer(struct host *h, void (*fn)(void *arg), void *arg)
{
    pthread_mutex_lock(&h->lock);
    h->observer = fn;
    h->observer_arg = arg;
    pthread_mutex_unlock(&h->lock);
}

/* ---- Port: registers ---- */

static bool mmio_ok(gr_mmio_t m, uint32_t offset, uint32_t width, bool has)
{
    bool fits = offset % width == 0 && offset < m->size && m->size - offset >= width;

    if (fits && has)
        return true;
    (void)enter(m->host);
    misuse(m->host, "register access of %u bits at 0x%" PRIx32 ": %s", width * 8, offset,
           fits ? "the block has none of this width" : "unaligned or beyond the block");
    leave(m->host);
    return false;
}

uint32_t gr_port_read32(gr_mmio_t mmio, gr_reg32 reg)
{
    if (!mmio_ok(mmio, reg.offset, 4, mmio->read32))
        return UINT32_MAX;
    return mmio->read32(mmio->opaque, reg.offset);
}

void gr_port_write32(gr_mmio_t mmio, gr_reg32 reg, uint32_t value)
{
    if (mmio_ok(mmio, reg.offset, 4, mmio->write32))
        mmio->write32(mmio->opaque, reg.offset, value);
}

uint64_t gr_port_read64(gr_mmio_t mmio, gr_reg64 reg)
{
    if (!mmio_ok(mmio, reg.offset, 8, mmio->read64))
        return UINT64_MAX;
    return mmio->read64(mmio->opaque, reg.offset);
}

void gr_port_write64(gr_mmio_t mmio, gr_reg64 reg, uint64_t value)
{
    if (mmio_ok(mmio, reg.offset, 8, mmio->write64))
        mmio->write64(mmio->opaque, reg.offset, value);
}

/* ---- Port: locks ---- */

/* Count misuse in the live host that this thread used last; without one, panic. */
static void lock_misuse(const char *what)
{
    bool told = false;

    for (struct queue *q = thread_queues; q && !told; q = q->thread_next) {
        struct host *h;

        pthread_mutex_lock(&q->mutex);
        h = atomic_load(&q->host);
        if (h) {
            pthread_mutex_lock(&h->lock);
            misuse(h, "lock: %s", what);
            pthread_mutex_unlock(&h->lock);
            told = true;
        }
        pthread_mutex_unlock(&q->mutex);
    }
    if (!told)
        gr_port_panic(NULL, what);
}

void gr_port_lock_init(gr_lock_t *lock)
{
    memset(lock, 0, sizeof(*lock));
    pthread_mutex_init(&lock->mutex, NULL);
    lock->cookie = (uint32_t)(uintptr_t)lock | 1;
    lock->magic = LOCK_MAGIC;
}

void gr_port_lock_fini(gr_lock_t *lock)
{
    if (lock->magic != LOCK_MAGIC) {
        lock_misuse("destroyed, but not initialised or destroyed already");
    } else if (__atomic_load_n(&lock->owner, __ATOMIC_RELAXED)) {
        lock_misuse("destroyed while it is held");
    } else {
        lock->magic = 0;
        pthread_mutex_destroy(&lock->mutex);
    }
}

/* The state is 0 if the lock was misused and not taken: then the unlock does nothing. */
gr_lock_state_t gr_port_lock(gr_lock_t *lock)
{
    if (lock->magic != LOCK_MAGIC) {
        lock_misuse("taken, but not initialised or destroyed already");
        return 0;
    }
    if (thread_section)
        lock_misuse("taken within an exclusive section");
    if (__atomic_load_n(&lock->owner, __ATOMIC_RELAXED) == self()) {
        lock_misuse("taken twice by one thread");
        return 0;
    }
    pthread_mutex_lock(&lock->mutex);
    __atomic_store_n(&lock->owner, self(), __ATOMIC_RELAXED);
    thread_locks++;
    lock->cookie += 2;
    return lock->cookie;
}

void gr_port_unlock(gr_lock_t *lock, gr_lock_state_t state)
{
    if (!state)
        return;
    if (__atomic_load_n(&lock->owner, __ATOMIC_RELAXED) != self()) {
        lock_misuse("released by a thread that does not hold it");
        return;
    }
    if (lock->cookie != state)
        lock_misuse("released with a state that is not this lock's");
    __atomic_store_n(&lock->owner, 0, __ATOMIC_RELAXED);
    thread_locks--;
    pthread_mutex_unlock(&lock->mutex);
}

/* ---- Port: the rest ---- */

void host_set_cpu(uint32_t cpu)
{
    thread_cpu = cpu == UINT32_MAX ? 0 : cpu % GR_PORT_CPUS + 1;
}

unsigned gr_port_cpu(void)
{
    return thread_cpu ? thread_cpu - 1 : (self() - 1) % GR_PORT_CPUS;
}

#ifdef GR_PORT_HAS_EXCLUSIVE
static pthread_mutex_t *cpu_mutex(unsigned cpu)
{
    static pthread_mutex_t mutex[GR_PORT_CPUS];

    return &mutex[cpu]; /* on Linux all zeroes is PTHREAD_MUTEX_INITIALIZER */
}

/* The state is 0 if the section was misused and not entered: then leaving does nothing. */
gr_exclusive_t gr_port_exclusive_enter(void)
{
    const unsigned cpu = gr_port_cpu();

    if (thread_section) {
        lock_misuse("an exclusive section within another");
        return 0;
    }
    pthread_mutex_lock(cpu_mutex(cpu));
    thread_section = cpu + 1;
    return thread_section;
}

void gr_port_exclusive_leave(gr_exclusive_t section)
{
    const unsigned cpu = gr_port_cpu();

    if (!section)
        return;
    if (thread_section != section) {
        lock_misuse("an exclusive section left that was not entered, or on another CPU");
        return;
    }
    thread_section = 0;
    pthread_mutex_unlock(cpu_mutex(cpu));
}
#endif

unsigned gr_port_cpu_page_lg2(gr_env_t env)
{
    return (unsigned)__builtin_ctz(env->cpu_page);
}

void host_advance(struct host *h, uint64_t ns)
{
    pthread_mutex_lock(&h->lock);
    h->now += ns;
    pthread_mutex_unlock(&h->lock);
}

uint64_t host_now(struct host *h)
{
    uint64_t now;

    pthread_mutex_lock(&h->lock);
    now = h->now;
    pthread_mutex_unlock(&h->lock);
    return now;
}

uint64_t gr_port_now_ns(gr_env_t env)
{
    uint64_t now;

    (void)enter(env);
    now = env->now += 10;
    leave(env);
    return now;
}

void gr_port_relax(gr_env_t env)
{
    host_advance(env, 100);
}

void gr_port_log(gr_env_t env, unsigned level, const char *line)
{
    (void)enter(env);
    if (level > GR_LOG_INFO || strchr(line, '\n'))
        misuse(env, "log: level %u of \"%.100s\": GR_LOG_*, and a line without a newline", level,
               line);
    put_log(env, level, line);
    leave(env);
}

void gr_port_panic(gr_env_t env, const char *why)
{
    (void)env;
    (void)fprintf(stderr, "granule: panic: %s\n", why);
    abort();
}

/* ---- What tests ask ---- */

void host_fail_uncached(struct host *h, uint64_t n)
{
    pthread_mutex_lock(&h->lock);
    h->fail_uncached = n;
    pthread_mutex_unlock(&h->lock);
}

int host_leaks(struct host *h)
{
    uint64_t used;

    pthread_mutex_lock(&h->lock);
    used = h->used + h->uncached;
    pthread_mutex_unlock(&h->lock);
    return used > INT32_MAX ? INT32_MAX : (int)used;
}

int host_ram_leaks(struct host *h)
{
    uint64_t used;

    pthread_mutex_lock(&h->lock);
    used = h->buffers;
    pthread_mutex_unlock(&h->lock);
    return used > INT32_MAX ? INT32_MAX : (int)used;
}

unsigned host_misuse(struct host *h)
{
    unsigned n;

    pthread_mutex_lock(&h->lock);
    for (unsigned i = 0; i < h->nbanks; i++)
        check_freed(h, &h->banks[i], 0, h->banks[i].size >> UNIT_LG2);
    n = h->misuse;
    pthread_mutex_unlock(&h->lock);
    return n;
}

unsigned host_cpu_page(const struct host *h)
{
    return h->cpu_page;
}

void host_fail_alloc(struct host *h, uint64_t n)
{
    pthread_mutex_lock(&h->lock);
    h->fail_alloc = n;
    pthread_mutex_unlock(&h->lock);
}

uint64_t host_allocs(struct host *h)
{
    uint64_t n;

    pthread_mutex_lock(&h->lock);
    n = h->allocs;
    pthread_mutex_unlock(&h->lock);
    return n;
}

void host_ignore(struct host *h, unsigned what, uint64_t k)
{
    pthread_mutex_lock(&h->lock);
    for (unsigned i = 0; i < KINDS; i++)
        if (what & (1u << i))
            h->ignore[i] = k;
    pthread_mutex_unlock(&h->lock);
}

uint64_t host_calls(struct host *h, unsigned what)
{
    uint64_t n = 0;

    pthread_mutex_lock(&h->lock);
    for (unsigned i = 0; i < KINDS; i++)
        if (what & (1u << i))
            n += h->calls[i];
    pthread_mutex_unlock(&h->lock);
    return n;
}

void host_log_level(struct host *h, int level)
{
    pthread_mutex_lock(&h->lock);
    h->log_level = level;
    pthread_mutex_unlock(&h->lock);
}

const char *host_last_log(struct host *h)
{
    const char *line;

    pthread_mutex_lock(&h->lock);
    line = h->logged ? h->log[(h->logged - 1) % LOG_LINES] : "";
    pthread_mutex_unlock(&h->lock);
    return line;
}

bool host_logged(struct host *h, const char *text)
{
    bool found = false;

    pthread_mutex_lock(&h->lock);
    for (unsigned i = 0; i < LOG_LINES; i++)
        found = found || strstr(h->log[i], text);
    pthread_mutex_unlock(&h->lock);
    return found;
}
