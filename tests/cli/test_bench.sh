#!/bin/sh
# SPDX-License-Identifier: MIT
# granule bench: not how fast, but that it measures the right thing: options, JSON, and the numbers
# that are facts: walks and invalidations of each list.
cd "$(dirname "$0")/../.." || exit 1
. tests/cli/lib.sh

# measure ARGUMENT...: a run that succeeds.
measure() {
    run bench "$@"
    status 0
}

# rows COUNT MAP [none]: COUNT rows in JSON, each with every field; MAP invalidations for a map and
# one for an unmap, at least one walk and no more than one for each leaf table. none: the hardware's
# time was not measured. No figure of time is compared with another: that is noise.
rows() {
    check "not $1 rows that are as they should be" awk -v want="$1" -v map="$2" \
        -v hardware="${3:-}" '
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
                if (row[i] !~ /^"(4|16|lpae-4)K\/[a-z]+\/[0-9]+K?\/(kept|made)","format":"(dart|lpae)","granule":/) bad = 1
                if ((row[i] ~ /"format":"lpae"/) != (row[i] ~ /^"lpae-/)) bad = 1
                if (value(row[i], "granule") != (row[i] ~ /^"16K/ ? 16384 : 4096)) bad = 1
                if (value(row[i], "segments") < 1 || value(row[i], "segment_bytes") < 4096) bad = 1
                if (value(row[i], "iterations") < 1) bad = 1
                ns = value(row[i], "ns")
                if (ns <= 0 || value(row[i], "ns_min") > ns) bad = 1
                hw = value(row[i], "ns_hardware")
                if (hardware == "none" ? row[i] !~ /"ns_hardware":null,/ : hw <= 0) bad = 1
                per = value(row[i], "ns_per_segment") * value(row[i], "segments") / ns
                if (per < 0.99 || per > 1.01) bad = 1
                if (row[i] !~ /"instructions_per_segment":(null|[0-9.]+)/) bad = 1
                walks = value(row[i], "walks")
                if (walks < 1 || walks > value(row[i], "leaf_tables")) bad = 1
                if (row[i] !~ "\"invalidations\":\\{\"map\":" map ",\"unmap\":1,\"leaf_only\":[0-2]\\},\"held\":true\\}") bad = 1
            }
        }
        END { exit bad || count != want }' "$dir/out"
}

measure --help
for option in --rounds --time --iterations --seed --row --no-absent --invalidation --svg --json \
    icount.sh bench-peer; do
    out_has "$option"
done
wrong '--rounds=0' bench --rounds=0
wrong '--rounds=x' bench --rounds=x
wrong '--time=-1' bench --time=-1
wrong '--seed= 1' bench --seed=' 1'
wrong '--fast' bench --fast
wrong 'needs a value' bench --rounds
wrong 'takes options only' bench boards/synthetic.dts
wrong 'no such row' bench --row=16K/scattered/3/kept --iterations=1 --rounds=1

wrong '--invalidation=vtd' bench --invalidation=vtd
wrong 'needs a value' bench --svg

measure --json --rounds=1 --time=1
all=40
grep -q '"format":"lpae"' "$dir/out" && all=60
rows $all 1
for n in 1 8 64 256; do
    out_has "\"row\":\"16K/scattered/$n/kept\",\"format\":\"dart\",\"granule\":16384,\"kind\":\"scattered\",\"segments\":$n,"
    out_has "\"row\":\"4K/scattered/$n/made\",\"format\":\"dart\",\"granule\":4096,\"kind\":\"scattered\",\"segments\":$n,"
done
measure --json --rounds=1 --time=1 --no-absent --seed=99 --invalidation=none
rows $all 0 none
out_has '"seed":99,'
measure --json --rounds=1 --iterations=7 --row=4K/single/1024K/made
rows 1 1
out_has '"iterations":7,'
out_has '"leaf_only":0}' # a table came and went
measure --json --rounds=1 --iterations=7 --row=16K/scattered/8/kept --invalidation=smmu
rows 1 1
check "the unmap was not of leaves alone" grep -q '"leaf_only":[12]}' "$dir/out"

measure --rounds=1 --time=1
check "not one line for each row" \
    test "$(grep -cE '^(4|16|lpae-4)K/.* 1\+1 \([0-2]\)$' "$dir/out")" -eq $all
check "stderr is not empty" test ! -s "$dir/err"

# ---- isolation: who copies what, and how many commands it takes ----
measure --help
out_has 'granule bench isolation'
measure isolation --json --rounds=1 --iterations=3
check "not 35 rows" test "$(grep -o '"isolation":"' "$dir/out" | wc -l)" -eq 35
check "a buffer that is exposed is copied" \
    sh -c "! grep -q '\"isolation\":\"\(expose\|window\)\"[^}]*\"copied_bytes\":[1-9]' '$dir/out'"
# Both ends of a buffer that is longer, both ways; and all of it where nothing is mapped for it.
out_has '{"isolation":"bounce","invalidate":"strict","bytes":4096,"fits":true,'
check "ends are not copied" grep -q '"isolation":"bounce","invalidate":"strict","bytes":1048576,"fits":true,[^}]*"copied_bytes":32768.0,"invalidations":2.0}' "$dir/out"
check "not all is copied" grep -q '"isolation":"copy","invalidate":"none","bytes":65536,"fits":true,[^}]*"copied_bytes":131072.0,"invalidations":0.0}' "$dir/out"
out_has '{"isolation":"copy","invalidate":"none","bytes":1048576,"fits":false}'
measure isolation --json --rounds=1 --iterations=200 --no-absent
check "strict is not one command" grep -q '"isolation":"window","invalidate":"strict","bytes":64,[^}]*"invalidations":1.0}' "$dir/out"
check "deferred is not less" grep -q '"isolation":"window","invalidate":"deferred","bytes":64,[^}]*"invalidations":0.0[0-9]*}' "$dir/out"
measure isolation --rounds=1 --iterations=3
check "not one line for each" test "$(grep -cE '^(expose|window|bounce|copy) +(strict|deferred|none) ' "$dir/out")" -eq 35
wrong 'no rows to choose' bench isolation --row=16K/single/4K/kept
wrong 'no rows to choose' bench isolation --invalidation=smmu
wrong 'takes options only' bench isolation more

# Alone, without the program that measures.
mkdir "$dir/bin"
cp "$granule" "$dir/bin/granule"
granule=$dir/bin/granule
wrong granule-bench bench

finish
