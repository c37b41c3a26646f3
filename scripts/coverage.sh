#!/bin/sh
# SPDX-License-Identifier: MIT
# coverage.sh: build the test programs with gcc's counters, run them, and ask what of src/ they
# reached: every line, LEAST_BRANCHES percent of all branches, LEAST_IN_FILE of each file's. MAKE
# and B come from the Makefile. The report stays in $B/cov, with what nobody reached.
set -u
. scripts/lib.sh

LEAST_BRANCHES=95
LEAST_IN_FILE=90

cov=$B/cov
programs=
for source in tests/test_*.c; do
    source=${source##*/}
    programs="$programs $cov/tests/${source%.c}"
done

# Without optimisation, a branch is one of the source; threads count as well, so the counters are
# atomic; with a seed, the next run takes the same branches. What the page-table engine inlines for
# each granule is one function here, or constants would count as branches. Notes and counters are
# named by -dumpdir and -dumpbase: the Makefile compiles into a draft of another name.
# shellcheck disable=SC2086 # lists of arguments
{
    $MAKE --no-print-directory B="$cov" CC=gcc SAN= W='-DGR_CFG_DEBUG=1 -DGRI_PT_INLINE=' \
        CFLAGS='-O0 -g --coverage -fprofile-abs-path -fprofile-update=atomic \
            -dumpdir $(@D)/ -dumpbase $(<F) -dumpbase-ext .c' $programs || exit 1
    find "$cov" -name '*.gcda' -exec rm -f {} +
    SEED=${SEED:-1} GR_TALLY='' sh scripts/run-tests.sh $programs || exit 1
}
gcovr -r . --object-directory "$cov" --filter src/ --json "$cov/all.json" --csv "$cov/files.csv" \
    "$cov/obj/src" || exit 1
for what in lines branches; do
    if [ $what = lines ]; then flag=; else flag=-b; fi
    # shellcheck disable=SC2086 # empty for lines
    gcovr -r . -a "$cov/all.json" $flag --txt "$cov/$what.txt" || exit 1
done

# filename, then total, covered and a ratio of lines, then the same of branches
awk -F, -v all="$LEAST_BRANCHES" -v each="$LEAST_IN_FILE" '
    function percent(part, whole) { return whole ? 100 * part / whole : 100 }
    function row(name, lines, hit, branches, taken, least,    bad) {
        bad = hit < lines || percent(taken, branches) < least
        printf "%-28s %5d of %5d lines %6.1f %%  %5d of %5d branches %6.1f %%%s\n", name, hit,
            lines, percent(hit, lines), taken, branches, percent(taken, branches),
            bad ? "  TOO FEW" : ""
        failed += bad
    }
    NR > 1 {
        row($1, $2, $3, $5, $6, each)
        lines += $2; hit += $3; branches += $5; taken += $6
    }
    END {
        row("all of src/", lines, hit, branches, taken, all)
        exit failed > 0 || !lines
    }' "$cov/files.csv" && exit 0
echo "coverage: the lines that no test reached; $cov/branches.txt has the branches"
awk '$2 > $3 && /^src/' "$cov/lines.txt"
exit 1
