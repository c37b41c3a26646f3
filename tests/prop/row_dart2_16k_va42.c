/* SPDX-License-Identifier: MIT */
/* t8110, three levels below the TTBR, the top one in part: DART.md 3, 4. */
#define PROP_ROW prop_dart2_16k_va42
#define PROP_SHAPE                                                                                 \
    {                                                                                              \
        .name = "dart2_16k_va42", .entries = "DART2", .hardware = PROP_T8110,                      \
        .format = GR_PT_DART2, .granule_lg2 = 14, .levels = 3, .roots_lg2 = 0, .va_bits = 42,      \
        .pa_bits = 42,                                                                             \
    }
#include "prop_core.inc.h"
