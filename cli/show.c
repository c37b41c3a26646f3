/* SPDX-License-Identifier: MIT */
#include "show.h"

#include "cli.h"
#include "progress.h"

#include <inttypes.h>
#include <stdio.h>

bool cli_open_snapshot(struct sim_snapshot *snapshot, const char *dir, bool json, int *out_status)
{
    struct sim_error error;
    bool loaded;

    cli_progress_begin("reading", dir);
    loaded = sim_snapshot_load(snapshot, dir, &error);
    cli_progress_end();
    if (!loaded)
        *out_status = cli_refuse(&error, json);
    return loaded;
}

const char *cli_show_mode(enum walker_mode mode)
{
    static const char *const names[] = {"blocked", "bypass", "translate"};

    return names[mode];
}

struct cli_show_text cli_show_size(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    struct cli_show_text show;
    uint64_t tenths = 0;
    unsigned unit = 0;

    for (; bytes >= 1024; bytes /= 1024) {
        tenths = bytes % 1024 * 10 / 1024;
        unit++;
    }
    if (tenths) {
        snprintf(show.text, sizeof(show.text), "%" PRIu64 ".%" PRIu64 " %s", bytes, tenths,
                 units[unit]);
    } else {
        snprintf(show.text, sizeof(show.text), "%" PRIu64 " %s", bytes, units[unit]);
    }
    return show;
}

struct cli_show_text cli_show_range(uint64_t first, uint64_t last)
{
    struct cli_show_text show;

    snprintf(show.text, sizeof(show.text), "0x%" PRIx64 "-0x%" PRIx64, first, last);
    return show;
}
