/* SPDX-License-Identifier: MIT */
/* ARM LPAE stage 1: three levels, used to the end. */
#define PROP_ROW prop_lpae_16k_va47
#define PROP_SHAPE                                                                                 \
    {                                                                                              \
        .name = "lpae_16k_va47", .entries = "LPAE", .hardware = PROP_SMMUV3,                       \
        .format = GR_PT_LPAE_S1, .granule_lg2 = 14, .levels = 3, .roots_lg2 = 0, .va_bits = 47,    \
        .pa_bits = 42,                                                                             \
    }
#include "prop_core.inc.h"
