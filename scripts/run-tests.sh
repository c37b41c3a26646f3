#!/bin/sh
# SPDX-License-Identifier: MIT
# run-tests.sh TEST... [-- PROGRAM...]: run cmocka programs and shell tests (*.sh, which end on a
# line "N passed, N failed"), then programs that just have to exit 0 (the examples). JOBS of them run
# side by side (as many as there are CPUs), those of tests/slow first. Each has one line with its CPU
# time as it ends; the whole output of what failed stands at the end. A test program that runs no
# test, or loses some on the way, has failed. GR_CPU, GR_WALL: bounded() of scripts/lib.sh.
set -u
. scripts/lib.sh

# Reads the output of cmocka, or of a shell test; prints "passed failed skipped announced".
count() {
    awk '/^\[==========\] Running [0-9]+ test\(s\)/ { all += $3 }
        /^\[  PASSED  \] [0-9]+ test\(s\)/ { p += $4 }
        /^\[  FAILED  \] [0-9]+ test\(s\)/ { f += $4 }
        /^\[  SKIPPED \] [0-9]+ test\(s\)/ { s += $4 }
        /^[0-9]+ passed, [0-9]+ failed/ { p += $1; f += $3; s += $5; all += $1 + $3 + $5 }
        END { print p + 0, f + 0, s + 0, all + 0 }' "$1"
}

# --one DIR cmocka|plain PROGRAM: leaves DIR/NAME.count, and DIR/NAME.bad with everything if it failed.
if [ "${1-}" = --one ]; then
    kind=$3 program=$4 name=${4##*/} rc=0
    log=$2/$name.log
    case $program in
    *.sh) bounded sh "$program" > "$log" 2>&1 < /dev/null || rc=$? ;;
    *) bounded "$program" > "$log" 2>&1 < /dev/null || rc=$? ;;
    esac
    why=
    if [ "$kind" = cmocka ]; then
        read -r p f s all <<END
$(count "$log")
END
        if [ "$rc" -ne 0 ] && { [ "$f" -eq 0 ] || [ "$rc" -gt 123 ]; }; then
            f=$((f + 1)) why=" ($(how_it_ended "$rc"))"
        elif [ "$all" -eq 0 ]; then
            f=1 why=" (it ran no test)"
        elif [ $((p + f + s)) -ne "$all" ]; then
            f=$((f + 1)) why=" (of $all tests, $((p + f - 1 + s)) ended)"
        fi
    else
        p=0 f=0 s=0
        if [ "$rc" -eq 0 ]; then p=1; else f=1 why=" ($(how_it_ended "$rc"))"; fi
    fi
    [ "$s" -eq 0 ] || why="$why ($s skipped)"
    if [ "$f" -eq 0 ]; then word=ok; else word=FAIL; fi
    times > "$2/$name.times"
    line=$(printf '%-4s %-24s %4d tests %7s CPU s%s' "$word" "$name" $((p + f + s)) "$(cpu_in "$2/$name.times")" "$why")
    echo "$line"
    grep '^!! SKIPPED' "$log"
    [ "$f" -eq 0 ] || { echo "== $line"; cat "$log"; } > "$2/$name.bad"
    echo "$p $f $s" > "$2/$name.count"
    exit 0
fi

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"

kind=cmocka
for program; do
    if [ "$program" = -- ]; then
        kind=plain
        continue
    fi
    echo "$kind $program"
done > "$tmp/programs"
# What tests/slow does not name takes about a second.
awk 'FNR == NR { if (!/^#/) slow[$2] = $1; next }
    { name = $2; sub(/.*\//, "", name); print (name in slow) ? slow[name] : 1, $0 }' \
    tests/slow "$tmp/programs" | sort -s -k 1,1nr | cut -d ' ' -f 2- > "$tmp/order"
xargs -r -P "${JOBS:-$(cores)}" -L 1 sh "$0" --one "$tmp" < "$tmp/order"
for file in "$tmp"/*.bad; do
    [ ! -e "$file" ] || cat "$file"
done
programs=$(wc -l < "$tmp/order")
cat "$tmp"/*.count > "$tmp/counts" 2> /dev/null
# A program that left no count was killed with its runner: that is a failure as well.
read -r passed failed skipped <<END
$(awk -v all="$programs" '{ p += $1; f += $2; s += $3 }
    END { if (NR < all) f += all - NR; print p + 0, f + 0, s + 0 }' "$tmp/counts")
END
if [ "$programs" -eq 0 ]; then
    echo "run-tests.sh: no programs to run" >&2
    failed=1
fi
tally tests "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
