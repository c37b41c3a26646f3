/* SPDX-License-Identifier: MIT */
/* ARM LPAE stage 1: the IOVA space of most SMMUs. */
#define PROP_ROW prop_lpae_4k_va39
#define PROP_SHAPE                                                                                 \
    {                                                                                              \
        .name = "lpae_4k_va39", .entries = "LPAE", .hardware = PROP_SMMUV3,                        \
        .format = GR_PT_LPAE_S1, .granule_lg2 = 12, .levels = 3, .roots_lg2 = 0, .va_bits = 39,    \
        .pa_bits = 40,                                                                             \
    }
#include "prop_core.inc.h"
