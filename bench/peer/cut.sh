#!/bin/sh
# SPDX-License-Identifier: MIT
# cut.sh LINUX: the map and unmap functions of iommu.c and dma-iommu.c, unchanged, on stdout.
set -eu
linux=$1

# cut FILE START: from the line that begins with START( to the end of that function.
cut_out() {
    sed -n "/^$2(/,/^}/p" "$linux/drivers/iommu/$1" | grep . || {
        echo "cut.sh: $1 has no $2()" >&2
        exit 1
    }
    echo
}

while read -r file start; do
    cut_out "$file" "$start"
done << 'END'
iommu.c static size_t iommu_pgsize
iommu.c static int __iommu_map
iommu.c int iommu_map
iommu.c static size_t __iommu_unmap
iommu.c size_t iommu_unmap
iommu.c size_t iommu_unmap_fast
iommu.c ssize_t iommu_map_sg
dma-iommu.c static int dma_info_to_prot
dma-iommu.c static dma_addr_t iommu_dma_alloc_iova
dma-iommu.c static void iommu_dma_free_iova
dma-iommu.c static void __iommu_dma_unmap
dma-iommu.c static dma_addr_t __iommu_dma_map
dma-iommu.c static int __finalise_sg
dma-iommu.c static void __invalidate_sg
dma-iommu.c int iommu_dma_map_sg
dma-iommu.c void iommu_dma_unmap_sg
END
