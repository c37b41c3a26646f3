/* SPDX-License-Identifier: MIT */
/* Why there is no result, as one sentence. */
#ifndef SIM_ERROR_H
#define SIM_ERROR_H

#include <stdbool.h>

/* One clear sentence about why there is no result, and how to mend that. */
struct sim_error {
    char text[640];
};

/* Fill in `error` from a format and return false, for `return sim_refuse(...)`. */
__attribute__((format(printf, 2, 3))) bool sim_refuse(struct sim_error *error, const char *format,
                                                      ...);

#endif
