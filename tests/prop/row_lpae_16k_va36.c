/* SPDX-License-Identifier: MIT */
/* ARM LPAE stage 1: two levels, used to the end. */
#define PROP_ROW prop_lpae_16k_va36
#define PROP_SHAPE                                                                                 \
    {                                                                                              \
        .name = "lpae_16k_va36", .entries = "LPAE", .hardware = PROP_SMMUV3,                       \
        .format = GR_PT_LPAE_S1, .granule_lg2 = 14, .levels = 2, .roots_lg2 = 0, .va_bits = 36,    \
        .pa_bits = 36,                                                                             \
    }
#include "prop_core.inc.h"
