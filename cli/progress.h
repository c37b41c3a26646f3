/* SPDX-License-Identifier: MIT */
/* On a terminal, a line about work that has taken a second, until it ends. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

/*
 * From now on stderr, if it is a terminal, says every second "<what> <name>, N s" in one line that
 * is written over. A timer does it (SIGALRM), so that the work need not: it may lie in another
 * program or a library. System calls are restarted.
 */
void cli_progress_begin(const char *what, const char *name);

/* The line goes. Before anything else is printed. */
void cli_progress_end(void);

/* From now on cli_progress_maps() says on stderr, if it is a terminal, "N of M maps" in such a
 * line. */
void cli_progress_begin_maps(void);
void cli_progress_maps(unsigned tried, unsigned tries);
void cli_progress_end_maps(void);

#endif
