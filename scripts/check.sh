#!/bin/sh
# SPDX-License-Identifier: MIT
# check.sh [long]: what `make check` and `make check-long` do. MAKE and B come from the Makefile.
# Every step runs, whatever became of those before it; the sum stands at the end. docs/TESTING.md
# says what each step protects, where it runs and what it costs.
# GR_CHECK=start: without the steps that want all objects built, for check-fresh.
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
# What uses one CPU runs beside the tests, which use all there are.
aside headers $MAKE check-headers
aside layers sh scripts/check-layers.sh
aside "layers, self-test" sh scripts/check-layers.sh --self-test
aside docs sh scripts/check-docs.sh
aside "docs, self-test" sh scripts/check-docs.sh --self-test
aside "one unit" $MAKE check-unit
aside "one unit, self-test" sh scripts/check-unit.sh --self-test
aside sizes sh scripts/check-size.sh
aside "sizes, self-test" sh scripts/check-size.sh --self-test
aside "symbols, self-test" sh scripts/check-symbols.sh --self-test
aside sweep sh scripts/check-sweep.sh
aside "sweep, self-test" sh scripts/check-sweep.sh --self-test
aside freestanding $MAKE check-freestanding TARGET_FLAGS="$general"
# shellcheck disable=SC2086 # lists of arguments
{
    step tests env FUZZ_MUTATIONS="${FUZZ_MUTATIONS:-4}" $MAKE $san test
    gather
    if [ "${GR_CHECK-}" != start ]; then
        step symbols $MAKE $san check-symbols
        step "layers, objects" $MAKE $san check-objects
        step boards $MAKE $san RUNS=0 matrix
    fi
    if [ "${1-}" = long ]; then
        SEED=${SEED:-$(date +%s)} && export SEED
        step "boards, long" $MAKE RUNS="${RUNS:-3000}" PRODUCT=whole matrix
        step "planted bugs" $MAKE check-planted
        step "lists, long" $MAKE LISTS="${LISTS:-20000000}" lists
        step "properties, long" $MAKE OPS="${OPS:-1000000000}" properties
    fi
}
end_tally
