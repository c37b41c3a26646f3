/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* The line that the signal handler prints. All but the seconds is made before the timer runs. */
static struct {
    char text[80];
    volatile sig_atomic_t ticks;
} line;

/* Calls only functions that a signal handler may call. */
static void tick(int signal)
{
    const int before = errno;
    char text[sizeof(line.text) + 12];
    size_t length = strlen(line.text);
    sig_atomic_t n = ++line.ticks;
    sig_atomic_t unit = 1;

    (void)signal;
    memcpy(text, line.text, length);
    while (n / unit >= 10)
        unit *= 10;
    for (; unit > 0; unit /= 10)
        text[length++] = (char)('0' + n / unit % 10);
    memcpy(text + length, " s", 2);
    if (write(STDERR_FILENO, text, length + 2) < 0) {
        /* the terminal is gone: nothing to be done */
    }
    errno = before;
}

void cli_progress_begin(const char *what, const char *name)
{
    const struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
    const struct itimerval every = {.it_interval = {.tv_sec = 1}, .it_value = {.tv_sec = 1}};

    line.ticks = 0;
    if (isatty(STDERR_FILENO)) {
        snprintf(line.text, sizeof(line.text), "\r%s %.50s, ", what, name);
        for (char *c = line.text + 1; *c; c++) /* whatever a name has in it */
            *c = *c < ' ' || *c > '~' ? '?' : *c;
        sigaction(SIGALRM, &action, NULL);
        setitimer(ITIMER_REAL, &every, NULL);
    }
}

void cli_progress_end(void)
{
    const struct itimerval never = {0};

    setitimer(ITIMER_REAL, &never, NULL);
    if (line.ticks > 0) {
        fprintf(stderr, "\r%-78s\r", "");
        fflush(stderr);
    }
    line.ticks = 0;
}

/* ---- Of a run, which counts ---- */

static struct {
    struct timespec begun;
    bool wanted; /* stderr is a terminal */
    bool shown;
} maps;

void cli_progress_begin_maps(void)
{
    maps.wanted = isatty(STDERR_FILENO) && clock_gettime(CLOCK_MONOTONIC, &maps.begun) == 0;
    maps.shown = false;
}

void cli_progress_maps(unsigned tried, unsigned tries)
{
    struct timespec now;

    if (!maps.wanted || clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        return;
    if ((now.tv_sec - maps.begun.tv_sec) * 1000 + (now.tv_nsec - maps.begun.tv_nsec) / 1000000 >
        1000) {
        fprintf(stderr, "\r%u of %u maps", tried, tries);
        fflush(stderr);
        maps.shown = true;
    }
}

void cli_progress_end_maps(void)
{
    if (maps.shown) {
        fprintf(stderr, "\r%-40s\r", "");
        fflush(stderr);
    }
}
