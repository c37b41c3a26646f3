#!/bin/sh
# SPDX-License-Identifier: MIT
# granule bench: not how fast, but that it measures the right thing: options, JSON, and the numbers
# that are facts: walks and invalidations of each list. GRANULE names the program; the last line
# printed is "N passed, N failed".
set -u
cd "$(dirname "$0")/.." || exit 1

granule=${GRANULE:-build/granule}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0

# run STATUS ARGUMENT...: leaves $dir/out and $dir/err, and checks the exit status.
run() {
    _want=$1 rc=0
    shift
    told="granule bench $*"
    "$granule" bench "$@" > "$dir/out" 2> "$dir/err" < /dev/null || rc=$?
    check "exit status $rc, not $_want" test "$rc" -eq "$_want"
}

# check WHAT COMMAND...: one check of the last run.
check() {
    _what=$1
    shift
    if "$@" > /dev/null 2>&1; then
        passed=$((passed + 1))
        return
    fi
    failed=$((failed + 1))
    echo "FAILED: $told: $_what"
    head -c 2000 "$dir/out"
    head -c 2000 "$dir/err"
}

out_has() {
    check "stdout lacks '$1'" grep -qF -- "$1" "$dir/out"
}

# wrong WORD ARGUMENT...: refused, one line with WORD on stderr, and in JSON on stdout if asked.
wrong() {
    _word=$1
    shift
    run 2 "$@"
    check "stderr is not one line" test "$(wc -l < "$dir/err")" -eq 1
    check "stderr lacks '$_word'" grep -qF -- "$_word" "$dir/err"
    check "stdout is not empty" test ! -s "$dir/out"
    run 2 --json "$@"
    check "no error object with '$_word'" grep -q "^{\"error\":\".*$_word.*\"}\$" "$dir/out"
}

# rows COUNT MAP: COUNT rows in JSON, each with every field; MAP invalidations for a map and one for
# an unmap, at least one walk and no more than one for each leaf table.
rows() {
    check "not $1 rows that are as they should be" awk -v want="$1" -v map="$2" '
        function value(row, name) {
            if (!match(row, "\"" name "\":[0-9.]+")) return -1
            return substr(row, RSTART + length(name) + 3, RLENGTH - length(name) - 3) + 0
        }
        NR > 1 { bad = 1 }
        {
            if (!sub(/^\{"seed":[0-9]+,"rounds":1,"hardware":"none","caches_absent":[a-z]+,"rows":\[/, ""))
                bad = 1
            if (!sub(/\],"held":true\}$/, "")) bad = 1
            n = split($0, row, /\{"row":/)
            for (i = 2; i <= n; i++) {
                count++
                if (row[i] !~ /^"(4|16)K\/[a-z]+\/[0-9]+K?\/(kept|made)","granule":/) bad = 1
                if (value(row[i], "granule") != (row[i] ~ /^"4K/ ? 4096 : 16384)) bad = 1
                if (value(row[i], "segments") < 1 || value(row[i], "segment_bytes") < 4096) bad = 1
                if (value(row[i], "iterations") < 1) bad = 1
                ns = value(row[i], "ns")
                if (ns <= 0 || value(row[i], "ns_min") > ns) bad = 1
                per = value(row[i], "ns_per_segment") * value(row[i], "segments") / ns
                if (per < 0.99 || per > 1.01) bad = 1
                if (row[i] !~ /"instructions_per_segment":(null|[0-9.]+)/) bad = 1
                walks = value(row[i], "walks")
                if (walks < 1 || walks > value(row[i], "leaf_tables")) bad = 1
                if (row[i] !~ "\"invalidations\":\\{\"map\":" map ",\"unmap\":1\\},\"held\":true\\}") bad = 1
            }
        }
        END { exit bad || count != want }' "$dir/out"
}

run 0 --help
for option in --rounds --time --iterations --seed --row --no-absent --json icount.sh; do
    out_has "$option"
done
wrong '--rounds=0' --rounds=0
wrong '--rounds=x' --rounds=x
wrong '--time=-1' --time=-1
wrong '--seed= 1' --seed=' 1'
wrong '--fast' --fast
wrong 'needs a value' --rounds
wrong 'takes options only' boards/synthetic.dts
wrong 'no such row' --row=16K/scattered/3/kept --iterations=1 --rounds=1

run 0 --json --rounds=1 --time=1
rows 40 1
for n in 1 8 64 256; do
    out_has "\"row\":\"16K/scattered/$n/kept\",\"granule\":16384,\"kind\":\"scattered\",\"segments\":$n,"
    out_has "\"row\":\"4K/scattered/$n/made\",\"granule\":4096,\"kind\":\"scattered\",\"segments\":$n,"
done
run 0 --json --rounds=1 --time=1 --no-absent --seed=99
rows 40 0
out_has '"seed":99,'
run 0 --json --rounds=1 --iterations=7 --row=4K/single/1024K/made
rows 1 1
out_has '"iterations":7,'

run 0 --rounds=1 --time=1
check "not one line for each row" test "$(grep -cE '^(4|16)K/.* 1\+1$' "$dir/out")" -eq 40
check "stderr is not empty" test ! -s "$dir/err"

# Alone, without the program that measures.
mkdir "$dir/bin"
cp "$granule" "$dir/bin/granule"
granule=$dir/bin/granule
wrong granule-bench

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
