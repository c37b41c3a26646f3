/* SPDX-License-Identifier: MIT */
/*
 * granule bench: start granule-bench, which lies beside this program. It cannot be a part of it: it
 * holds the library a second time, compiled for a port that is as fast as a kernel's.
 */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int cli_bench(int argc, char **argv)
{
    static const char name[] = "granule-bench";
    char path[4096];
    struct sim_error error;
    const ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - sizeof(name));
    char *slash;

    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--version") == 0)
            return cli_version(cli_wants_json(argc, argv));
    path[length > 0 ? length : 0] = '\0';
    slash = strrchr(path, '/');
    memcpy(slash ? slash + 1 : path, name, sizeof(name));
    execv(path, argv);
    sim_refuse(&error, "%s: %s: build it with `make` and keep it beside granule", path,
               strerror(errno));
    return cli_refuse(&error, cli_wants_json(argc, argv));
}
