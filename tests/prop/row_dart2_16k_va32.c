/* SPDX-License-Identifier: MIT */
/* t6000 with a narrow PA: DART.md 1, 4. */
#define PROP_ROW prop_dart2_16k_va32
#define PROP_SHAPE                                                                                 \
    {                                                                                              \
        .name = "dart2_16k_va32", .entries = "DART2", .hardware = PROP_T6000,                      \
        .format = GR_PT_DART2, .granule_lg2 = 14, .levels = 2, .roots_lg2 = 2, .va_bits = 32,      \
        .pa_bits = 36,                                                                             \
    }
#include "prop_core.inc.h"
