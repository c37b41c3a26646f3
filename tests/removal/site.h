/* SPDX-License-Identifier: MIT */
/*
 * Switching off one barrier, cache operation or invalidation of the library at run time. Every
 * source of the copy that scripts/removal-sites.awk makes is compiled with `-include` this file.
 *
 * A site is called "FILE:LINE:WHAT". GR_SKIP_SITE=<site> switches it off for the whole run;
 * GR_LIST_SITES=<file> appends to that file, at exit, the sites that were executed.
 */
#ifndef TESTS_REMOVAL_SITE_H
#define TESTS_REMOVAL_SITE_H

#include <stdbool.h>

struct site {
    const char *name;
    struct site *next; /* of those executed */
    bool listed;
};

/* Is this operation to be done? Not if it is switched off, nor inside a call that is. */
bool site_runs(struct site *site);

/* A call under which nothing is done if it is switched off. leave() gets what enter() returned. */
bool site_enter(struct site *site);
void site_leave(const bool *off);

#define SITE_OF(name_)                                                                             \
    (__extension__({                                                                               \
        static struct site site_ = {name_, 0, false};                                              \
        &site_;                                                                                    \
    }))

/* An operation, and what stands for it when it is not done. */
#define SITE(name_, otherwise, operation) (site_runs(SITE_OF(name_)) ? (operation) : (otherwise))

/* A call that leads to operations. */
#define SITE_IN(name_, call)                                                                       \
    (__extension__({                                                                               \
        __attribute__((cleanup(site_leave), unused)) const bool off_ = site_enter(SITE_OF(name_)); \
        call;                                                                                      \
    }))

#endif
