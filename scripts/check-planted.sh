#!/bin/sh
# SPDX-License-Identifier: MIT
# check-planted.sh: the test of the tests. Each bug in tests/planted is applied to a copy of the tree,
# which is built as `make check` builds it; a test must fail. MAKE and B come from the Makefile.
# BUG: only those whose name matches this pattern of grep -E.
set -u
. scripts/lib.sh

tree=$B/planted
rm -rf "$tree"
mkdir -p "$tree" || exit 1
cp -R Makefile sources.mk include src models ports cli boards bench tests fuzz examples scripts "$tree" || exit 1
passed=0 failed=0
for bug in tests/planted/*.patch; do
    name=$(basename "$bug" .patch)
    echo "$name" | grep -qE "${BUG:-.}" || continue
    here=$(pwd)
    patch -s -d "$tree" -p1 < "$bug" || exit 1
    $MAKE -s -C "$tree" B=build SAN=address,undefined WERROR= W=-DGR_CFG_DEBUG=1 tests > "$tree/log" 2>&1 || {
        cat "$tree/log"
        echo "check-planted: $name does not build" >&2
        exit 1
    }
    by=
    for program in "$tree"/build/tests/test_*; do
        case $program in *.d) continue ;; esac
        (cd "$tree" && timeout 120 "build/tests/${program##*/}") > "$tree/log" 2>&1 < /dev/null || {
            by=${program##*/}
            break
        }
    done
    cd "$here" || exit 1
    if [ -n "$by" ]; then
        echo "$name: caught by $by"
        passed=$((passed + 1))
    else
        echo "$name: NOT CAUGHT"
        failed=$((failed + 1))
    fi
    patch -s -R -d "$tree" -p1 < "$bug" || exit 1
done
tally planted "$passed" "$failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
