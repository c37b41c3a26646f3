/* SPDX-License-Identifier: MIT */
/* ARM LPAE stage 2: 16 roots of two levels, used to the end. */
#define PROP_ROW prop_lpae_s2_16k_va40
#define PROP_SHAPE                                                                                 \
    {                                                                                              \
        .name = "lpae_s2_16k_va40", .entries = "LPAE2", .hardware = PROP_SMMUV3,                   \
        .format = GR_PT_LPAE_S2, .granule_lg2 = 14, .levels = 2, .roots_lg2 = 4, .va_bits = 40,    \
        .pa_bits = 40,                                                                             \
    }
#include "prop_core.inc.h"
