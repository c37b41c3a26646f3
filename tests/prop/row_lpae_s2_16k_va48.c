/* SPDX-License-Identifier: MIT */
/* ARM LPAE stage 2: two roots of three levels, used to the end. */
#define PROP_ROW prop_lpae_s2_16k_va48
#define PROP_SHAPE                                                                                 \
    {                                                                                              \
        .name = "lpae_s2_16k_va48", .entries = "LPAE2", .hardware = PROP_SMMUV3,                   \
        .format = GR_PT_LPAE_S2, .granule_lg2 = 14, .levels = 3, .roots_lg2 = 4, .va_bits = 48,    \
        .pa_bits = 48,                                                                             \
    }
#include "prop_core.inc.h"
