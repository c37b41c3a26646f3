#!/bin/sh
# SPDX-License-Identifier: MIT
# run-tests.sh TEST... [-- PROGRAM...]: run cmocka programs and shell tests (*.sh, which end on a
# line "N passed, N failed"), then programs that just have to exit 0 (the examples). One line each; the whole output of what failed. A test program that runs no test,
# or loses some on the way, has failed. GR_TIMEOUT: seconds for one program (600).
set -u
. scripts/lib.sh

log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0 failed=0 skipped=0 programs=0
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"

# Reads the output of cmocka, or of a shell test; prints "passed failed skipped announced".
count() {
    awk '/^\[==========\] Running [0-9]+ test\(s\)/ { all += $3 }
        /^\[  PASSED  \] [0-9]+ test\(s\)/ { p += $4 }
        /^\[  FAILED  \] [0-9]+ test\(s\)/ { f += $4 }
        /^\[  SKIPPED \] [0-9]+ test\(s\)/ { s += $4 }
        /^[0-9]+ passed, [0-9]+ failed/ { p += $1; f += $3; s += $5; all += $1 + $3 + $5 }
        END { print p + 0, f + 0, s + 0, all + 0 }' "$log"
}

cmocka=1
for program; do
    if [ "$program" = -- ]; then
        cmocka=
        continue
    fi
    programs=$((programs + 1))
    begin=$(date +%s.%N)
    rc=0
    case $program in
    *.sh) set_shell=sh ;;
    *) set_shell= ;;
    esac
    # shellcheck disable=SC2086 # empty for a program
    timeout "${GR_TIMEOUT:-600}" $set_shell "$program" > "$log" 2>&1 < /dev/null || rc=$?
    seconds=$(echo "$begin $(date +%s.%N)" | awk '{ printf "%.2f", $2 - $1 }')
    why=
    if [ -n "$cmocka" ]; then
        read -r p f s all <<END
$(count)
END
        if [ "$rc" -ne 0 ] && [ "$f" -eq 0 ]; then
            f=1 why=" (exit status $rc)"
        elif [ "$all" -eq 0 ]; then
            f=1 why=" (it ran no test)"
        elif [ $((p + f + s)) -ne "$all" ]; then
            f=$((f + 1)) why=" (of $all tests, $((p + f - 1 + s)) ended)"
        fi
    else
        p=0 f=0 s=0
        if [ "$rc" -eq 0 ]; then p=1; else f=1 why=" (exit status $rc)"; fi
    fi
    [ "$s" -eq 0 ] || why="$why ($s skipped)"
    if [ "$f" -eq 0 ]; then word=ok; else word=FAIL; fi
    printf '%-4s %-24s %4d tests %7ss%s\n' "$word" "${program##*/}" $((p + f + s)) "$seconds" "$why"
    [ "$f" -eq 0 ] || cat "$log"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
if [ "$programs" -eq 0 ]; then
    echo "run-tests.sh: no programs to run" >&2
    failed=1
fi
tally tests "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
