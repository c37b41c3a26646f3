/* SPDX-License-Identifier: MIT */
/* How the verbs that decode tables show what they found. */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include "snapshot.h"

/* "0x..." in lower case. */
json_t *show_json_hex(uint64_t value);

/* ["0x...","0x..."] */
json_t *show_json_range(uint64_t first, uint64_t last);

/* "blocked", "bypass", "translate" */
const char *show_mode(enum walker_mode mode);

/* "read and write", "read only", "write only", "no access" */
const char *show_access(bool read, bool write);

struct show_text {
    char text[64];
};

/* "16 KiB", "1.5 MiB": cut off after one digit. */
struct show_text show_size(uint64_t bytes);

/* "0xFIRST-0xLAST" */
struct show_text show_range(uint64_t first, uint64_t last);

#endif
