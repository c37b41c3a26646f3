#!/bin/sh
# SPDX-License-Identifier: MIT
# check-planted.sh: the test of the tests. Each bug in tests/planted is applied to a copy of the tree,
# which is built as `make check` builds it; a test must fail. One that runs into its limit, five times
# what it takes without a bug and at least 30 s, has not failed: the machine may be busy. Where no
# other fails either, such tests are tried once more. MAKE and B come from the Makefile.
# BUG: only those whose name matches this pattern of grep -E.
set -u
. scripts/lib.sh

tree=$B/planted
rm -rf "$tree"
mkdir -p "$tree" || exit 1
cp -R Makefile sources.mk include src models ports sim cli boards bench tests fuzz examples scripts "$tree" || exit 1
# build WHAT: the tests in the copy as they are now
build() {
    $MAKE -s -C "$tree" B=build SAN=address,undefined WERROR= W=-DGR_CFG_DEBUG=1 tests > "$tree/log" 2>&1 || {
        cat "$tree/log"
        echo "check-planted: $1 does not build" >&2
        exit 1
    }
}

# run SECONDS PROGRAM
run() {
    (cd "$tree" && timeout "$1" "build/tests/$2") > "$tree/log" 2>&1 < /dev/null
}

# Without a bug: how long does each take?
build "the tree without a bug"
for program in "$tree"/build/tests/test_*; do
    program=${program##*/}
    case $program in *.d) continue ;; esac
    begin=$(date +%s%N)
    run "${GR_TIMEOUT:-600}" "$program" || {
        cat "$tree/log" >&2
        echo "check-planted: $program fails without a bug" >&2
        tally planted 0 1 >&2
        exit 1
    }
    echo "$(limit $(($(date +%s%N) - begin))) $program"
done > "$tree/limits"

# first_to_fail LIMITS: the program that fails, or "". Those that do not end are in $tree/hung.
first_to_fail() {
    : > "$tree/hung"
    while read -r seconds program; do
        rc=0
        run "$seconds" "$program" || rc=$?
        case $rc in
        0) ;;
        124) echo "$seconds $program" >> "$tree/hung" ;;
        *)
            echo "$program"
            return
            ;;
        esac
    done < "$1"
}

passed=0 failed=0
for bug in tests/planted/*.patch; do
    name=$(basename "$bug" .patch)
    echo "$name" | grep -qE "${BUG:-.}" || continue
    patch -s -d "$tree" -p1 < "$bug" || exit 1
    build "$name"
    by=$(first_to_fail "$tree/limits")
    if [ -z "$by" ] && [ -s "$tree/hung" ]; then
        mv "$tree/hung" "$tree/again"
        by=$(first_to_fail "$tree/again")
    fi
    if [ -n "$by" ]; then
        echo "$name: caught by $by"
        passed=$((passed + 1))
    else
        echo "$name: NOT CAUGHT"
        [ ! -s "$tree/hung" ] || sed 's/.* //; s/$/ does not end/' "$tree/hung"
        failed=$((failed + 1))
    fi
    patch -s -R -d "$tree" -p1 < "$bug" || exit 1
done
tally planted "$passed" "$failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
