/* SPDX-License-Identifier: MIT */
/* t8110 with 4 KiB granules and three levels: DART.md 3, 4. */
#define PROP_ROW prop_dart2_4k_va39
#define PROP_SHAPE                                                                                 \
    {                                                                                              \
        .name = "dart2_4k_va39", .entries = "DART2", .hardware = PROP_T8110,                       \
        .format = GR_PT_DART2, .granule_lg2 = 12, .levels = 3, .roots_lg2 = 0, .va_bits = 39,      \
        .pa_bits = 42,                                                                             \
    }
#include "prop_core.inc.h"
