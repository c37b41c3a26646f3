/* SPDX-License-Identifier: MIT */
#include "site.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic(struct site *) executed;
static const char *skipped;
static _Thread_local unsigned muted; /* calls under way that are switched off */

/* Appended with one write, so that programs side by side may share the file. */
static void list_sites(void)
{
    const char *const path = getenv("GR_LIST_SITES");
    char text[16384];
    size_t n = 0;
    int fd;

    for (const struct site *s = executed; s && n < sizeof(text) - 256; s = s->next)
        n += (size_t)snprintf(text + n, 256, "%s\n", s->name);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (fd < 0 || write(fd, text, n) != (ssize_t)n)
        perror(path);
}

__attribute__((constructor)) static void start(void)
{
    skipped = getenv("GR_SKIP_SITE");
    if (getenv("GR_LIST_SITES"))
        (void)atexit(list_sites);
}

static bool is_off(struct site *site)
{
    if (!__atomic_exchange_n(&site->listed, true, __ATOMIC_RELAXED)) {
        site->next = executed;
        while (!atomic_compare_exchange_weak(&executed, &site->next, site))
            ;
    }
    return skipped && !strcmp(skipped, site->name);
}

bool site_runs(struct site *site)
{
    return !is_off(site) && !muted;
}

bool site_enter(struct site *site)
{
    const bool off = is_off(site);

    muted += off;
    return off;
}

void site_leave(const bool *off)
{
    muted -= *off;
}
