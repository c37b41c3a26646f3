/* SPDX-License-Identifier: MIT */
/* ARM LPAE stage 1: a root of two entries. */
#define PROP_ROW prop_lpae_16k_va48
#define PROP_SHAPE                                                                                 \
    {                                                                                              \
        .name = "lpae_16k_va48", .entries = "LPAE", .hardware = PROP_SMMUV3,                       \
        .format = GR_PT_LPAE_S1, .granule_lg2 = 14, .levels = 4, .roots_lg2 = 0, .va_bits = 48,    \
        .pa_bits = 48,                                                                             \
    }
#include "prop_core.inc.h"
