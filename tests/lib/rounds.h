/* SPDX-License-Identifier: MIT */
/*
 * How long threads that run as they like go on. ThreadSanitizer sees a race in any order of the
 * threads and is given all rounds; without it, more rounds find next to nothing more, and a tenth
 * is run. GR_ROUNDS=N: N percent of all rounds, in any build.
 */
#ifndef TESTS_ROUNDS_H
#define TESTS_ROUNDS_H

#include <stdbool.h>
#include <stdlib.h>

#if defined(__SANITIZE_THREAD__)
#define ROUNDS_TSAN true
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ROUNDS_TSAN true
#endif
#endif
#ifndef ROUNDS_TSAN
#define ROUNDS_TSAN false
#endif

/* At least one. */
static inline unsigned rounds_of(unsigned all)
{
    const char *const given = getenv("GR_ROUNDS");
    const unsigned long percent = given ? strtoul(given, NULL, 10) : ROUNDS_TSAN ? 100 : 10;

    return 1 + (unsigned)((all - 1) * percent / 100);
}

#endif
