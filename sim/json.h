/* SPDX-License-Identifier: MIT */
/* Values of JSON that snapshots and reports have in common. */
#ifndef SIM_JSON_H
#define SIM_JSON_H

#include <jansson.h>
#include <stdint.h>

/* A JSON string. Of a text that is not UTF-8 the bytes beyond ASCII become '?'. */
json_t *sim_json_text(const char *text);

/* "0x..." in lower case. */
json_t *sim_json_hex(uint64_t value);

/* ["0x...","0x..."] */
json_t *sim_json_range(uint64_t first, uint64_t last);

#endif
