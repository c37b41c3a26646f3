# SPDX-License-Identifier: MIT
#
# The library's sources, and nothing else: plain assignments that any make can include. Paths are
# relative to this file. Include paths a host needs: include/, src/, and the folder of its gr_port.h.
# GR_SRCS needs no libc but memcpy, memmove, memset and memcmp; GR_SRCS_dt needs libfdt as well.

GR_SRCS_core = src/core/err.c src/core/log.c
GR_SRCS_iova = src/iova/iova.c src/iova/iova_core.c src/iova/iova_fixed.c
GR_SRCS_pt = src/pt/pt.c src/pt/pt_dart1.c src/pt/pt_dart2.c src/pt/pt_lpae_s1.c src/pt/pt_lpae_s2.c
GR_SRCS_iommu = src/iommu/instance.c src/iommu/fault.c src/iommu/device.c src/iommu/policy.c src/iommu/domain.c src/iommu/mapping.c src/iommu/retire.c src/iommu/overlap.c src/iommu/adopt.c src/iommu/coexist.c src/iommu/fixed.c src/iommu/region.c src/iommu/bounce.c src/iommu/defer.c src/iommu/linear.c src/iommu/diagnose.c
GR_SRCS_dma = src/dma/dma.c src/dma/sync.c src/dma/sg.c src/dma/coherent.c src/dma/isolate.c src/dma/offset.c
GR_SRCS_drv = src/drv/dart/dart.c src/drv/dart/dart_layout.c src/drv/dart/dart_stream.c src/drv/dart/dart_firmware.c src/drv/dart/dart_fault.c src/drv/smmuv3/smmuv3.c src/drv/smmuv3/smmuv3_queue.c src/drv/smmuv3/smmuv3_stream.c src/drv/smmuv3/smmuv3_event.c

GR_SRCS = $(GR_SRCS_core) $(GR_SRCS_iova) $(GR_SRCS_pt) $(GR_SRCS_iommu) $(GR_SRCS_dma) $(GR_SRCS_drv)

GR_SRCS_dt = src/dt/dt.c src/dt/dt_iommu.c src/dt/dt_master.c src/dt/dt_memory.c src/dt/dt_region.c
