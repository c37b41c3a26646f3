/* SPDX-License-Identifier: MIT */
/* A buddy allocator over the device tree's RAM, for the port and for the scenarios' buffers. */
#include "board.h"

#define PAGES 0x40000u /* of 1 GiB from RAM_BASE on; RAM above is left alone */
#define ORDERS 19u

struct block {
    struct block *next, *prev;
};

static struct block free_list[ORDERS];
static uint8_t free_order[PAGES]; /* of a free block's first page: its order + 1; else 0 */
static uint64_t used;

static struct block *block_at(unsigned page)
{
    return ram_at(RAM_BASE + (uint64_t)page * PAGE);
}

static unsigned page_of(const void *at)
{
    return (unsigned)((ram_pa(at) - RAM_BASE) / PAGE);
}

/*
 * Only this allocator may touch free memory, where it keeps its lists. In ports/qemu-qtest the
 * address sanitizer watches that.
 */
#define UNWATCHED __attribute__((no_sanitize_address))

extern __attribute__((weak)) void __asan_poison_memory_region(const volatile void *at, size_t len);
extern __attribute__((weak)) void __asan_unpoison_memory_region(const volatile void *at,
                                                                size_t len);

static void watch(const void *at, size_t len)
{
    if (__asan_poison_memory_region)
        __asan_poison_memory_region(at, len);
}

static void unwatch(const void *at, size_t len)
{
    if (__asan_unpoison_memory_region)
        __asan_unpoison_memory_region(at, len);
}

UNWATCHED static void insert(unsigned page, unsigned order)
{
    struct block *block = block_at(page), *list = &free_list[order];

    if (!list->next)
        list->next = list->prev = list;
    block->next = list->next;
    block->prev = list;
    list->next->prev = block;
    list->next = block;
    free_order[page] = (uint8_t)(order + 1);
}

UNWATCHED static void take(unsigned page)
{
    struct block *block = block_at(page);

    block->prev->next = block->next;
    block->next->prev = block->prev;
    free_order[page] = 0;
}

static void give(unsigned page, unsigned order)
{
    for (; order + 1 < ORDERS; order++) {
        unsigned buddy = page ^ 1u << order;

        if (buddy >= PAGES || free_order[buddy] != order + 1)
            break;
        take(buddy);
        page &= buddy;
    }
    insert(page, order);
}

void pages_add(uint64_t first, uint64_t last)
{
    uint64_t from = (first - RAM_BASE + PAGE - 1) / PAGE, end = (last + 1 - RAM_BASE) / PAGE;

    end = end < PAGES ? end : PAGES;
    while (from < end) { /* blocks as large as fit, so that unused RAM is hardly touched */
        unsigned order = 0;

        while (order + 1 < ORDERS && from % (2u << order) == 0 && from + (2u << order) <= end)
            order++;
        watch(block_at((unsigned)from), (size_t)PAGE << order);
        give((unsigned)from, order);
        from += 1u << order;
    }
}

UNWATCHED void *pages_alloc(unsigned lg2, uint64_t pa_last)
{
    const unsigned want = lg2 > 12 ? lg2 - 12 : 0;
    const uint64_t size = (uint64_t)PAGE << want;
    uint64_t state = irq_save();
    void *got = NULL;

    for (unsigned from = want; from < ORDERS && !got; from++) {
        struct block *list = &free_list[from], *block = list->next;

        while (block && block != list && ram_pa(block) + size - 1 > pa_last)
            block = block->next;
        if (!block || block == list)
            continue;
        unsigned page = page_of(block), order = from;

        take(page);
        while (order-- > want)
            insert(page + (1u << order), order);
        used += size;
        got = block;
    }
    irq_restore(state);
    if (got) {
        unwatch(got, size);
        __builtin_memset(got, 0, size);
    }
    return got;
}

void pages_free(void *at, unsigned lg2)
{
    const unsigned order = lg2 > 12 ? lg2 - 12 : 0;
    uint64_t state = irq_save();

    /* A use after free shall find wrong data. */
    __builtin_memset(at, 0xdb, (size_t)PAGE << order);
    watch(at, (size_t)PAGE << order);
    used -= (uint64_t)PAGE << order;
    give(page_of(at), order);
    irq_restore(state);
}

uint64_t pages_used(void)
{
    return used;
}
