/* SPDX-License-Identifier: MIT */
/* On a terminal, a line about work that has taken a second, until it ends. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

/*
 * From now on print every second, if stderr is a terminal, "<what> <name>, N s" in one line that is
 * written over. A timer does it (SIGALRM), so that code of another program or library need not.
 * System calls are restarted.
 */
void cli_progress_begin(const char *what, const char *name);

/* Erase the line. Call it before anything else is printed. */
void cli_progress_end(void);

/* From now on cli_progress_maps() prints "N of M maps" in such a line, if stderr is a terminal. */
void cli_progress_begin_maps(void);
void cli_progress_maps(unsigned tried, unsigned tries);
void cli_progress_end_maps(void);

#endif
