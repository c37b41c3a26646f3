/* SPDX-License-Identifier: MIT */
/* The CPU's own count of instructions; virtual machines usually hide it. */
#include "bench.h"

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

static int counter = -1;

void counter_open(void)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_HARDWARE,
        .size = sizeof(attr),
        .config = PERF_COUNT_HW_INSTRUCTIONS,
        .exclude_kernel = 1,
        .exclude_hv = 1,
    };

    counter = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

int64_t counter_read(void)
{
    int64_t count;

    if (counter < 0 || read(counter, &count, sizeof(count)) != (ssize_t)sizeof(count))
        return -1;
    return count;
}
