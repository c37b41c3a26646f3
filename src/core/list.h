/* SPDX-License-Identifier: MIT */
/* The intrusive, circular list of struct gr_link. A removed item links to itself. */
#ifndef GRI_CORE_LIST_H
#define GRI_CORE_LIST_H

#include <granule/types.h>

#include "core/bits.h"

static inline void gri_list_init(struct gr_link *head)
{
    head->next = head;
    head->prev = head;
}

static inline bool gri_list_empty(const struct gr_link *head)
{
    return head->next == head;
}

static inline void gri_list_append(struct gr_link *head, struct gr_link *item)
{
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
}

static inline void gri_list_remove(struct gr_link *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    gri_list_init(item);
}

#define GRI_LIST_FOREACH(it, head)                                                                 \
    for (struct gr_link *it = (head)->next; it != (head); it = it->next)

#endif
