#!/bin/sh
# SPDX-License-Identifier: MIT
# check.sh [long]: what `make check` and `make check-long` do. MAKE and B come from the Makefile.
# Every step runs, whatever became of those before it; the sum stands at the end.
# GR_CHECK=start: without the steps that take minutes, for check-fresh.
set -u
. scripts/lib.sh

case ${MAKEFLAGS-} in
*--jobserver*) ;;
*) MAKE="$MAKE -j$(cores)" ;;
esac
MAKE="$MAKE --no-print-directory"
case $(uname -m) in # no floating point and vector registers, as kernels build
x86_64 | aarch64) general=-mgeneral-regs-only ;;
*) general= ;;
esac
san="B=$B/san SAN=address,undefined WERROR=1 W=-DGR_CFG_DEBUG=1"

$MAKE deps-check || exit 1
begin_tally
# shellcheck disable=SC2086 # lists of arguments
{
    step tests $MAKE $san test
    [ "${GR_CHECK-}" = start ] || step "threads, TSan" $MAKE B="$B/tsan" SAN=thread WERROR=1 W=-DGR_CFG_DEBUG=1 threads
    step headers $MAKE check-headers
    step layers sh scripts/check-layers.sh
    step "layers, self-test" sh scripts/check-layers.sh --self-test
    step symbols $MAKE check-symbols
    step "symbols, self-test" sh scripts/check-symbols.sh --self-test
    step sweep sh scripts/check-sweep.sh
    step "sweep, self-test" sh scripts/check-sweep.sh --self-test
    step freestanding $MAKE check-freestanding TARGET_FLAGS="$general"
    [ "${GR_CHECK-}" = start ] || step boards $MAKE $san RUNS=1 matrix
    [ "${GR_CHECK-}" = start ] || step "QEMU's SMMUv3" $MAKE qemu-check
    [ "${GR_CHECK-}" = start ] || step "QEMU's SMMUv3 without a guest" $MAKE qemu-qtest
    step "QEMU's SMMUv3, self-test" sh scripts/qemu-check.sh --self-test
    if [ "${1-}" = long ]; then
        SEED=${SEED:-$(date +%s)} && export SEED
        step "boards, long" $MAKE RUNS="${RUNS:-3000}" matrix
        step "planted bugs" $MAKE check-planted
        step "lists, long" $MAKE LISTS="${LISTS:-20000000}" lists
        step "properties, long" $MAKE OPS="${OPS:-1000000000}" properties
    fi
}
end_tally
