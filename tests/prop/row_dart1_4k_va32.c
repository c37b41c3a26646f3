/* SPDX-License-Identifier: MIT */
/* 4 KiB granules, four TTBRs of 1 GiB: DART.md 4. */
#define PROP_ROW prop_dart1_4k_va32
#define PROP_SHAPE                                                                                 \
    {                                                                                              \
        .name = "dart1_4k_va32", .entries = "DART1", .hardware = PROP_T8020,                       \
        .format = GR_PT_DART1, .granule_lg2 = 12, .levels = 2, .roots_lg2 = 2, .va_bits = 32,      \
        .pa_bits = 36,                                                                             \
    }
#include "prop_core.inc.h"
