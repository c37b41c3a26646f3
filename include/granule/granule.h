/* SPDX-License-Identifier: MIT */
/* All public headers but dt.h, whose code needs libfdt; and the version of the library. */
#ifndef GRANULE_GRANULE_H
#define GRANULE_GRANULE_H

#include <granule/bounce.h>
#include <granule/config.h>
#include <granule/dma.h>
#include <granule/domain.h>
#include <granule/drv/dart.h>
#include <granule/drv/smmuv3.h>
#include <granule/err.h>
#include <granule/fault.h>
#include <granule/instance.h>
#include <granule/iova.h>
#include <granule/port.h>
#include <granule/pt.h>
#include <granule/types.h>

#define GR_VERSION_MAJOR 0
#define GR_VERSION_MINOR 1
#define GR_VERSION_PATCH 0
#define GR_VERSION_STRING "0.1.0"

#endif
