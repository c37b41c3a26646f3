/* SPDX-License-Identifier: MIT */
#include "json.h"

#include "error.h"

#include <inttypes.h>

json_t *sim_json_text(const char *text)
{
    json_t *const string = json_string(text);
    char ascii[sizeof(((struct sim_error *)NULL)->text)];
    size_t i;

    if (string)
        return string;
    for (i = 0; i < sizeof(ascii) - 1 && text[i]; i++)
        ascii[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
    ascii[i] = '\0';
    return json_string(ascii);
}

json_t *sim_json_hex(uint64_t value)
{
    return json_sprintf("0x%" PRIx64, value);
}

json_t *sim_json_range(uint64_t first, uint64_t last)
{
    return json_pack("[o,o]", sim_json_hex(first), sim_json_hex(last));
}
