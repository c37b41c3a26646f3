#!/bin/sh
# SPDX-License-Identifier: MIT
# run-matrix.sh RUNS: at least RUNS runs of `granule run`, spread evenly over every pair of board
# and CPU page size, never fewer than one for each pair, and where a board's firmware left something
# translating over every way to share it (--adopt, --scanout). Boards: boards/*.dts and, where they
# are, the device trees of real machines in ../shared/boards. GRANULE: the program. SEED: the first
# run's seed (1), one more for each run. JOBS: how many at once. GR_TIMEOUT: seconds for one run (300).
set -u
. scripts/lib.sh

# --one TMP K SEED PAGE BOARD [OPTION]: one run; leaves TMP/K.bad with everything, if it was bad.
if [ "${1-}" = --one ]; then
    out=$2/$3
    adopts=${7:+1}
    set -- "$GRANULE" run --json "--cpu-page=$5" "--seed=$4" "$6" ${7+"$7"}
    rc=0
    timeout "${GR_TIMEOUT:-300}" "$@" > "$out.json" 2> "$out.err" || rc=$?
    # Exit status 0 is the program's word; the report has to agree, and to have done something.
    why=$(awk -v rc="$rc" -v adopts="$adopts" '
        { text = text $0 }
        function value(name) {
            if (!match(text, "\"" name "\": *[0-9]+")) { why = why " no-" name; return 0 }
            name = substr(text, RSTART, RLENGTH)
            sub(/.*: */, "", name)
            return name + 0
        }
        END {
            if (rc) why = " exit-status-" rc
            gsub(/[ \t]/, "", text)
            if (adopts && text !~ /"firmware":\{"state":"(translating|locked)","policy":"/)
                why = why " nothing-adopted"
            if (text ~ /"changed":[1-9]/) why = why " firmware-changed"
            if (text ~ /"scanout_faults":[1-9]/) why = why " scanout-faults"
            if (text ~ /"restored":false/) why = why " not-restored"
            if (!sub(/.*"totals":/, "", text)) why = why " no-totals"
            n = split("devices maps bytes", good, " ")
            for (i = 1; i <= n; i++) if (value(good[i]) == 0) why = why " zero-" good[i]
            n = split("mismatched_bytes touched_guard_bytes unexpected_faults missed_faults live_mappings leaked_pages", bad, " ")
            for (i = 1; i <= n; i++) if (value(bad[i]) != 0) why = why " " bad[i]
            print why
        }' "$out.json")
    [ -z "$why" ] || {
        echo "FAIL:$why: $*"
        cat "$out.err"
        sed 's/.*"totals"/"totals"/' "$out.json"
    } > "$out.bad"
    rm -f "$out.json" "$out.err"
    exit 0
fi

runs=${1:?how many runs}
seed=${SEED:-1}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

boards=$(ls boards/*.dts 2> /dev/null)
[ -n "$boards" ] || {
    echo "run-matrix.sh: no board in boards/" >&2
    exit 1
}
real=$(ls ../shared/boards/*.dtb 2> /dev/null)
[ -n "$real" ] ||
    echo "!! SKIPPED: no real machines' device trees in ../shared/boards; running on ours alone"
boards="$boards $real"

pairs=0
for board in $boards; do
    firmware=$(grep -Eac 'granule,firmware = "(translating|locked)"' "$board")
    for page in 4K 16K 64K; do
        echo "$page $board $firmware" >> "$tmp/pairs"
        pairs=$((pairs + 1))
    done
done
[ "$runs" -ge "$pairs" ] || runs=$pairs

# Every pair once, with one way to share or another, then every pair with the next, where it has one.
begin=$(date +%s)
awk -v runs="$runs" -v seed="$seed" -v tmp="$tmp" '
    { pair[NR - 1] = $1 " " $2; firmware[NR - 1] = $3 }
    END {
        ways = split("--adopt=keep_slots --scanout=thread --adopt=import --adopt=replace --scanout=step", way, " ")
        for (k = 0; k < ways; k++)
            for (i = 0; i < NR; i++)
                if (firmware[i]) list[n++] = pair[i] " " way[(i + k) % ways + 1]
                else if (!k) list[n++] = pair[i]
        for (i = 0; i < runs; i++) print tmp, i, seed + i, list[i % n]
    }' "$tmp/pairs" | xargs -L 1 -P "${JOBS:-$(cores)}" sh "$0" --one || exit 1
bad=$(find "$tmp" -name '*.bad' | wc -l)
find "$tmp" -name '*.bad' | sort | head -n 5 | while read -r file; do cat "$file"; done
[ "$bad" -le 5 ] || echo "... and $((bad - 5)) more failed"
echo "$runs runs over $pairs pairs of board and CPU page, seeds $seed to $((seed + runs - 1)), $(($(date +%s) - begin)) s"
tally boards $((runs - bad)) "$bad" "$([ -n "$real" ] && echo 0 || echo 1)"
[ "$bad" -eq 0 ]
