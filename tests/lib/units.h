/* SPDX-License-Identifier: MIT */
/* Short words of tests: sizes, and a device that both reads and writes. */
#ifndef TESTS_UNITS_H
#define TESTS_UNITS_H

#include <granule/dma.h>
#include <granule/pt.h>

#include <stdint.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define GIB (KIB * MIB)

#define RW (GR_PROT_READ | GR_PROT_WRITE)
#define BOTH GR_DMA_BIDIRECTIONAL

#endif
