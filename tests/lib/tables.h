/* SPDX-License-Identifier: MIT */
/*
 * Page tables of the library as the independent walker reads them, in memory of ports/host. When a
 * test stops in a debugger, `call dump_tables(&domain.pt)` prints a domain's tables.
 */
#ifndef TESTS_TABLES_H
#define TESTS_TABLES_H

#include <granule/pt.h>

#include <stdio.h>

#include "sim/walker.h"

/* Stays where it is, since `stream` points to `source`. */
struct tables {
    struct walker_source source;
    struct walker_stream stream;
};

/* A stream that these tables translate, as wide as they are. */
void tables_open(struct tables *t, const struct gr_pt *pt);

/*
 * A line for the root, then one for each leaf and for each entry that leads nowhere, then a sum.
 * An entry that leads to freed memory counts as misuse of the host.
 */
void tables_print(FILE *to, const struct gr_pt *pt);

/* The same on stderr, for debuggers. */
void dump_tables(const struct gr_pt *pt);

#endif
