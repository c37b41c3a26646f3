/* SPDX-License-Identifier: MIT */
/* Two TTBRs: DART.md 4. */
#define PROP_ROW prop_dart1_16k_va37
#define PROP_SHAPE                                                                                 \
    {                                                                                              \
        .name = "dart1_16k_va37", .entries = "DART1", .hardware = PROP_T8020,                      \
        .format = GR_PT_DART1, .granule_lg2 = 14, .levels = 2, .roots_lg2 = 2, .va_bits = 37,      \
        .pa_bits = 36,                                                                             \
    }
#include "prop_core.inc.h"
