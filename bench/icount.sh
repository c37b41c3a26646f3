#!/bin/sh
# SPDX-License-Identifier: MIT
# icount.sh PROGRAM [ROW]...: instructions per segment of map + unmap, counted by callgrind, and the
# functions that they are in. PROGRAM is build/granule-bench; rows as `granule bench` names them
# (those of scattered lists). TOP: how many functions (8). N: lists that are counted (200). A string
# instruction counts once for each byte, so zeroing a new table looks dearer than it is.
set -u

program=${1:?"name the program: build/granule-bench"}
shift
n=${N:-200}
[ $# -gt 0 ] || set -- 16K/scattered/1/kept 16K/scattered/8/kept 16K/scattered/64/kept \
    16K/scattered/256/kept 4K/scattered/1/kept 4K/scattered/8/kept 4K/scattered/64/kept \
    4K/scattered/256/kept
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

for row; do
    segments=$("$program" --json --rounds=1 --iterations=1 --row="$row" |
        sed -n 's/.*"segments":\([0-9]*\).*/\1/p')
    [ -n "$segments" ] || exit 1
    valgrind --tool=callgrind --callgrind-out-file="$tmp/out" --toggle-collect=bench_measured \
        "$program" --invalidation=none --rounds=1 --iterations="$n" --row="$row" > "$tmp/log" 2>&1 || {
        cat "$tmp/log" >&2
        exit 1
    }
    # One function's lines may be spread over files, by inlining: "COUNT (PERCENT) FILE:FUNCTION".
    callgrind_annotate --threshold=100 --auto=no "$tmp/out" 2> /dev/null |
        awk -v per="$((n * segments))" -v name="$row" '
            { count = $1; gsub(/,/, "", count) }
            /PROGRAM TOTALS/ { printf "0 %-26s %.1f a segment\n", name, count / per }
            /^ *[0-9,]+ \(.*:/ {
                sub(/ \[[^]]*\]$/, ""); sub(/.*:/, ""); sub(/\..*/, "")
                sum[$0] += count
            }
            END { for (f in sum) printf "%.1f     %s\n", sum[f] / per, f }' |
        sort -k1,1 -g -r | awk -v top="${TOP:-8}" '
            $1 == 0 && / a segment/ { head = substr($0, 3); next }
            { line[++lines] = $0 }
            END { print head; for (i = 1; i <= lines && i <= top; i++) print "    " line[i] }'
done
