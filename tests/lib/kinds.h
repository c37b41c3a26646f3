/* SPDX-License-Identifier: MIT */
/*
 * The IOMMUs that a rig can have, a row each; rig.h makes RIG_NAME and rig_kinds[] of them, and
 * tests that loop over the kinds take a new one along. fuzz_api.c's inputs count on the order: add
 * a row at the end of its list.
 */
#ifndef TESTS_KINDS_H
#define TESTS_KINDS_H

/* X(NAME, what a failure calls it, GR_DART_*, page bits, IOVA bits, PA bits, revision or 0) */
#define RIG_DART_KINDS(X)                                                                          \
    X(T8020, "t8020 16K", T8020, 14, 32, 36, 0)                                                    \
    X(T8020_VA38, "t8020 16K va38", T8020, 14, 38, 36, 0)                                          \
    X(T8020_4K, "t8020 4K", T8020, 12, 32, 36, 0)                                                  \
    X(T6000, "t6000 16K", T6000, 14, 32, 42, 0)                                                    \
    X(T8110, "t8110 16K", T8110, 14, 36, 42, 0)                                                    \
    X(T8110_4K, "t8110 4K va30", T8110, 12, 30, 42, 0)                                             \
    X(T8110_PA36, "t8110 16K pa36", T8110, 14, 36, 36, 0)                                          \
    X(T6000_PA36, "t6000 16K pa36", T6000, 14, 32, 36, 0)                                          \
    X(T8110_VA42, "t8110 16K va42", T8110, 14, 42, 42, 0) /* four levels, the TTBR counted */      \
    X(T8110_4K_VA39, "t8110 4K va39", T8110, 12, 39, 42, 0)                                        \
    X(T8110_2_2_4K, "t8110 2.2 4K", T8110, 12, 39, 42, 0x0202) /* range invalidation, */           \
    X(T8110_2_2, "t8110 2.2 va42", T8110, 14, 42, 42, 0x0202)  /* a fault record per stream */     \
    X(USB4, "usb4 16K", T8103_USB4, 14, 32, 36, 0)                                                 \
    X(S5L8960X, "s5l8960x 4K", S5L8960X, 12, 32, 36, 0)

/* X(NAME, what a failure calls it, stage, page bits, IOVA bits, PA bits); stage 2 after stage 1. */
#define RIG_SMMU_KINDS(X)                                                                          \
    X(SMMU_VA48, "smmuv3 16K va48", 1, 14, 48, 42)                                                 \
    X(SMMU_4K_VA39, "smmuv3 4K va39", 1, 12, 39, 42)                                               \
    X(SMMU_4K_VA48, "smmuv3 4K va48", 1, 12, 48, 36)                                               \
    X(SMMU_64K_VA42, "smmuv3 64K va42", 1, 16, 42, 42)                                             \
    X(SMMU_S2_4K_VA40, "smmuv3 stage 2 4K va40", 2, 12, 40, 42)   /* two roots of three levels */  \
    X(SMMU_S2_64K_VA36, "smmuv3 stage 2 64K va36", 2, 16, 36, 36) /* one of two, PA as narrow */   \
    X(SMMU_S2_16K_VA42, "smmuv3 stage 2 16K va42", 2, 14, 42, 42) /* one of three */

#endif
