#!/bin/sh
# SPDX-License-Identifier: MIT
# icount.sh PROGRAM: instructions of one map and unmap on the hot paths, counted by valgrind's
# callgrind, against the baselines in bench/icount.txt. PROGRAM is build/granule-bench. More than
# TOLERANCE percent above fails; as much below passes and asks for new baselines, which UPDATE=1
# writes. Another compiler counts otherwise: unless it is the one that the baselines name, nothing
# is checked, and that is said. bench/icount.sh shows the functions behind a number.
set -u
. scripts/lib.sh

TOLERANCE=3
LISTS=100

program=${1:?"name the program: build/granule-bench"}
baselines=bench/icount.txt
cc=${CC:-gcc}
case $($cc --version) in
*clang*) compiler="clang $($cc -dumpversion) $($cc -dumpmachine)" ;;
*) compiler="gcc $($cc -dumpfullversion) $($cc -dumpmachine)" ;;
esac
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

# count ROW: instructions of one list, 1 decimal.
count() {
    valgrind --tool=callgrind --callgrind-out-file="$tmp/out" --toggle-collect=bench_measured \
        "$program" --invalidation=none --rounds=1 --iterations=$LISTS --row="$1" > "$tmp/log" 2>&1 || {
        cat "$tmp/log" >&2
        return 1
    }
    awk -v lists=$LISTS '/^(summary|totals):/ { n = $2 } END { printf "%.1f\n", n / lists; exit !n }' \
        "$tmp/out"
}

named=$(sed -n 's/^compiler //p' "$baselines")
if [ "$compiler" != "$named" ] && [ -z "${UPDATE:-}" ]; then
    skip "instruction counts" \
        "the baselines in $baselines are for $named; this is $compiler (UPDATE=1 makes them anew)"
    exit 0
fi
sed -n '/^#/p' "$baselines" > "$tmp/new"
echo "compiler $compiler" >> "$tmp/new"
failed=0
for row in $(awk '/\// && !/^#/ { print $1 }' "$baselines"); do
    now=$(count "$row") || exit 1
    echo "$row $now" >> "$tmp/new"
    awk -v row="$row" -v now="$now" -v limit=$TOLERANCE '
        $1 == row {
            change = 100 * (now - $2) / $2
            printf "%-24s %10.1f, baseline %10.1f  %+6.1f %%%s\n", row, now, $2, change,
                (change > limit) ? "  TOO MANY" : (change < -limit) ? "  update the baseline" : ""
            exit (change > limit)
        }' "$baselines" || failed=1
done
if [ -n "${UPDATE:-}" ]; then
    cp "$tmp/new" "$baselines" && echo "icount: wrote $baselines"
    exit
fi
[ "$failed" -eq 0 ] ||
    echo "icount: make it cheaper; or, if the instructions are worth it: make icount UPDATE=1"
exit "$failed"
