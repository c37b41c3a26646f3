/* SPDX-License-Identifier: MIT */
/* ARM LPAE stage 2: 16 roots of two levels, used to the end. */
#define PROP_ROW prop_lpae_s2_4k_va34
#define PROP_SHAPE                                                                                 \
    {                                                                                              \
        .name = "lpae_s2_4k_va34", .entries = "LPAE2", .hardware = PROP_SMMUV3,                    \
        .format = GR_PT_LPAE_S2, .granule_lg2 = 12, .levels = 2, .roots_lg2 = 4, .va_bits = 34,    \
        .pa_bits = 36,                                                                             \
    }
#include "prop_core.inc.h"
