/* SPDX-License-Identifier: MIT */
/* All four TTBRs: DART.md 4. */
#define PROP_ROW prop_dart1_16k_va38
#define PROP_SHAPE                                                                                 \
    {                                                                                              \
        .name = "dart1_16k_va38", .entries = "DART1", .hardware = PROP_T8020,                      \
        .format = GR_PT_DART1, .granule_lg2 = 14, .levels = 2, .roots_lg2 = 2, .va_bits = 38,      \
        .pa_bits = 36,                                                                             \
    }
#include "prop_core.inc.h"
