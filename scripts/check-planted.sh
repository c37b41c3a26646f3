#!/bin/sh
# SPDX-License-Identifier: MIT
# check-planted.sh: the test of the tests. Each bug in tests/planted is applied to a copy of the tree,
# which is built as `make check` builds it; a test must fail. CPU time decides: a test that uses up
# five times what it takes without a bug, and at least 30 s, has not failed. A bug for which no test
# fails is UNDECIDED where such a test is among those that ran: it is listed, and fails the check
# where the machine was idle. MAKE and B come from the Makefile.
# BUG: only those whose name matches this pattern of grep -E.
set -u
. scripts/lib.sh

# --one TREE SECONDS PROGRAM: run it in the tree. Without a bug SECONDS is 0: leaves TREE/limits.
# With one: 255, which ends xargs, if the program fails, whose name is then in TREE/failed.
if [ "${1-}" = --one ]; then
    name=${4##*/} rc=0
    log=$2/log/$name
    [ "$3" = 0 ] || export GR_CPU="$3"
    (cd "$2" && bounded "$4") > "$log" 2>&1 < /dev/null || rc=$?
    times > "$log.times"
    case $3,$rc in
    0,0) echo "$(cpu_in "$log.times") $4" >> "$2/times" ;;
    0,*) echo "$name $(how_it_ended $rc)" >> "$2/failed" ;;
    *,0) ;;
    *,124 | *,137 | *,152) echo "$name" >> "$2/unended" ;;
    *)
        echo "$name" >> "$2/failed"
        exit 255
        ;;
    esac
    exit 0
fi

tree=$B/planted
rm -rf "$tree"
mkdir -p "$tree/log" || exit 1
cp -R Makefile sources.mk include src models ports sim cli boards bench tests fuzz examples scripts "$tree" || exit 1
begin_idle

# build WHAT: the tests in the copy as they are now
build() {
    $MAKE -s -C "$tree" B=build SAN=address,undefined WERROR= W=-DGR_CFG_DEBUG=1 tests > "$tree/build.log" 2>&1 || {
        cat "$tree/build.log"
        echo "check-planted: $1 does not build" >&2
        exit 1
    }
}

build "the tree without a bug"
: > "$tree/times"
: > "$tree/failed"
for source in tests/test_*.c; do
    source=${source##*/}
    echo "$tree 0 build/tests/${source%.c}"
done | xargs -P "$(cores)" -L 1 sh "$0" --one
[ ! -s "$tree/failed" ] || {
    while read -r name why; do
        cat "$tree/log/$name"
        echo "check-planted: $name fails without a bug: $why" >&2
    done < "$tree/failed"
    tally planted 0 1
    exit 1
}
sort -n "$tree/times" | while read -r took program; do
    echo "$tree $(enough "$took") $program"
done > "$tree/work"

passed=0 failed=0 undecided=0
for bug in tests/planted/*.patch; do
    name=$(basename "$bug" .patch)
    echo "$name" | grep -qE "${BUG:-.}" || continue
    patch -s -d "$tree" -p1 < "$bug" || exit 1
    build "$name"
    : > "$tree/failed"
    : > "$tree/unended"
    xargs -P "$(cores)" -L 1 sh "$0" --one < "$tree/work" 2> "$tree/stderr"
    if [ -s "$tree/failed" ]; then
        echo "$name: caught by $(head -n 1 "$tree/failed")"
        passed=$((passed + 1))
    elif [ -s "$tree/unended" ]; then
        echo "$name: UNDECIDED: these do not end: $(sort "$tree/unended" | tr '\n' ' ')"
        undecided=$((undecided + 1))
    else
        echo "$name: NOT CAUGHT"
        failed=$((failed + 1))
    fi
    patch -s -R -d "$tree" -p1 < "$bug" || exit 1
done
times > "$tree/log/times"
if [ "$undecided" -gt 0 ] && is_idle "$tree/log/times"; then
    failed=$((failed + undecided)) undecided=0
fi
tally planted "$passed" "$failed" "$undecided"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
