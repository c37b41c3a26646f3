/* SPDX-License-Identifier: MIT */
/* The M1's usual instance, one TTBR of four in use: DART.md 1, 4. */
#define PROP_ROW prop_dart1_16k_va32
#define PROP_SHAPE                                                                                 \
    {                                                                                              \
        .name = "dart1_16k_va32", .entries = "DART1", .hardware = PROP_T8020,                      \
        .format = GR_PT_DART1, .granule_lg2 = 14, .levels = 2, .roots_lg2 = 2, .va_bits = 32,      \
        .pa_bits = 36,                                                                             \
    }
#include "prop_core.inc.h"
