/* SPDX-License-Identifier: MIT */
/* ARM LPAE stage 1: two levels, used to the end. */
#define PROP_ROW prop_lpae_64k_va42
#define PROP_SHAPE                                                                                 \
    {                                                                                              \
        .name = "lpae_64k_va42", .entries = "LPAE", .hardware = PROP_SMMUV3,                       \
        .format = GR_PT_LPAE_S1, .granule_lg2 = 16, .levels = 2, .roots_lg2 = 0, .va_bits = 42,    \
        .pa_bits = 44,                                                                             \
    }
#include "prop_core.inc.h"
