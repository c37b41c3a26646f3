/* SPDX-License-Identifier: MIT */
/* ARM LPAE stage 2: four roots of two levels, used to the end. */
#define PROP_ROW prop_lpae_s2_64k_va44
#define PROP_SHAPE                                                                                 \
    {                                                                                              \
        .name = "lpae_s2_64k_va44", .entries = "LPAE2", .hardware = PROP_SMMUV3,                   \
        .format = GR_PT_LPAE_S2, .granule_lg2 = 16, .levels = 2, .roots_lg2 = 4, .va_bits = 44,    \
        .pa_bits = 44,                                                                             \
    }
#include "prop_core.inc.h"
