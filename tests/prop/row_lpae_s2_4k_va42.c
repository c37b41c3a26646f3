/* SPDX-License-Identifier: MIT */
/* ARM LPAE stage 2: 8 roots of three levels, used to the end. */
#define PROP_ROW prop_lpae_s2_4k_va42
#define PROP_SHAPE                                                                                 \
    {                                                                                              \
        .name = "lpae_s2_4k_va42", .entries = "LPAE2", .hardware = PROP_SMMUV3,                    \
        .format = GR_PT_LPAE_S2, .granule_lg2 = 12, .levels = 3, .roots_lg2 = 4, .va_bits = 42,    \
        .pa_bits = 42,                                                                             \
    }
#include "prop_core.inc.h"
