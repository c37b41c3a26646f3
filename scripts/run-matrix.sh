#!/bin/sh
# SPDX-License-Identifier: MIT
# run-matrix.sh RUNS [whole]: drive the boards, many at once, and look at what each run reports.
#   runs     RUNS runs of `granule run`, spread evenly over every pair of board and CPU page size, and
#            where a board's firmware left something translating over every way to share it (--adopt,
#            --scanout). RUNS=0: every pair once, but one page size for each SMMUv3 board, which differ in
#            their granule alone, and for the boards whose options below bring the other page sizes
#   options  `granule run` of some boards with each isolation and domain type
#   attacks  `granule attack --untrusted` over boards, CPU page sizes and isolations
# Of options and attacks every pair of two values comes once. With `whole`, every combination for attacks,
# and options also for a board that has firmware and for real machines.
# Each run of `granule run` saves a snapshot, which `granule dump --check` has to explain.
# Boards: boards/*.dts, tests/data/groups.dts and, where they are, the device trees of real machines
# in ../shared/boards. GRANULE: the program. SEED: the first run's seed (1), one more for each run.
# JOBS: how many at once. GR_CPU, GR_WALL: of one run, as bounded() of scripts/lib.sh.
set -u
. scripts/lib.sh

# --one TMP K SEED VERB PAGE WANTED BOARD [OPTION...]: one run; leaves TMP/K.bad with everything, if
# it was bad. WANTED: conditions that hold beside those of every run, joined by commas; - for none.
if [ "${1-}" = --one ]; then
    out=$2/$3 verb=$5 wanted=$7
    snapshot=
    [ "$verb" = attack ] || snapshot=--snapshot=$out.snap
    page=$6 seed=$4
    shift 7
    set -- "$GRANULE" "$verb" --json "--cpu-page=$page" "--seed=$seed" $snapshot "$@"
    rc=0
    bounded "$@" > "$out.json" 2> "$out.err" || rc=$?
    why=
    [ "$rc" -eq 0 ] || why=" ($(how_it_ended "$rc"))"
    [ ! -s "$out.err" ] || why="$why stderr-is-not-empty"
    # Exit status 0 is the program's word; the report has to agree, and to have done something.
    why=$why$(awk -v verb="$verb" -v wanted="$wanted" -v page="${page%K}" -v seed="$seed" '
        { text = text $0 }
        function value(name) {
            if (!match(text, "\"" name "\": *[0-9]+")) { why = why " no-" name; return 0 }
            name = substr(text, RSTART, RLENGTH)
            sub(/.*: */, "", name)
            return name + 0
        }
        function must(truth, what) { if (!truth) why = why " " what }
        END {
            gsub(/[ \t]/, "", text)
            must(NR == 1, "not-one-line")
            must(value("cpu_page") == page * 1024, "cpu_page")
            must(value("seed") == seed, "seed")
            must(text !~ /"changed":[1-9]/, "firmware-changed")
            must(text !~ /"scanout_faults":[1-9]/, "scanout-faults")
            must(text !~ /"restored":false/, "not-restored")
            whole = text
            must(sub(/.*"totals":/, "", text), "no-totals")
            n = split("mismatched_bytes touched_guard_bytes unexpected_faults missed_faults live_mappings leaked_pages misuse", bad, " ")
            for (i = 1; i <= n; i++) must(value(bad[i]) == 0, bad[i])
            if (verb == "attack") {
                must(value("leaked_bytes") == 0, "leaked_bytes")
                must(value("slack_bytes") == 0, "slack_bytes")
                must(value("maps") > 50, "few-maps")
                must(whole !~ /"untrusted":false/, "a-device-is-trusted")
            }
            n = split(wanted, want, ",")
            for (i = 1; i <= n; i++) {
                if (want[i] == "data") {
                    must(value("devices") > 0, "zero-devices")
                    must(value("maps") > 0, "zero-maps")
                    must(value("bytes") > 0, "zero-bytes")
                } else if (want[i] == "adopted")
                    must(whole ~ /"firmware":[{]"state":"(translating|locked)","policy":"/, "nothing-adopted")
                else if (want[i] == "no-copy") must(value("copied_bytes") == 0, "copied-bytes")
                else if (want[i] == "copies") must(value("copied_bytes") > 0, "nothing-was-copied")
                else if (want[i] == "more-copies") # ends of buffers that windows do not close
                    must(value("copied_bytes") > value("bounced_bytes"), "nothing-was-copied")
                else if (want[i] == "windows-hold")
                    must(whole !~ /"isolation":"(bounce|expose)"/ && whole !~ /"windows":"unverified"/, "no-window")
                else if (want[i] ~ /^policy-/)
                    must(index(whole, "\"policy\":\"" substr(want[i], 8) "\""), want[i])
                else if (want[i] !~ /^(-|record-.*)$/) must(0, "unknown-condition-" want[i])
            }
            print why
        }' "$out.json")
    if [ -n "$snapshot" ]; then
        "$GRANULE" dump --check --json "$out.snap" > "$out.dump" 2>> "$out.err" || why="$why dump-check"
        grep -qF '"wrong":0,"unexplained_bytes":0}' "$out.dump" || why="$why dump-report"
        for record in $(echo "$wanted" | tr , '\n' | sed -n 's/^record-//p'); do
            case $record in
            window) pattern='"window":\["0x' ;;
            *) pattern="\"kind\":\"$record\"" ;;
            esac
            grep -q "$pattern" "$out.snap/machine.json" || why="$why no-$record"
        done
    fi
    [ -z "$why" ] || {
        echo "FAIL:$why: $*"
        cat "$out.err"
        sed 's/.*"totals"/"totals"/' "$out.json"
    } > "$out.bad"
    times > "$out.times"
    cpu_in "$out.times" > "$out.cpu"
    rm -rf "$out.snap" "$out.json" "$out.err" "$out.dump" "$out.times"
    exit 0
fi

runs=${1:?"how many runs"}
product=${2-}
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

# Lines "PAGE BOARD FIRMWARE", FIRMWARE not 0 where firmware left something on.
k=0
for board in $boards tests/data/groups.dts $real; do
    firmware=$(grep -Eac 'granule,firmware = "(translating|locked)"' "$board")
    pages='4K 16K 64K'
    case $runs,$board in
    0,*smmuv3* | 0,*synthetic* | 0,*groups*)
        pages=$(echo "$pages" | cut -d ' ' -f $((k % 3 + 1)))
        k=$((k + 1))
        ;;
    esac
    for page in $pages; do
        echo "$page $board $firmware"
    done
done > "$tmp/pairs"
pairs=$(wc -l < "$tmp/pairs")
[ "$runs" -ge "$pairs" ] || runs=$pairs

# Every pair once, with one way to share or another, then every pair with the next, where it has one.
awk -v runs="$runs" '
    { page[NR - 1] = $1; board[NR - 1] = $2; firmware[NR - 1] = $3 }
    function adopted(i, how, policy) {
        policy = how
        sub(/ .*/, "", policy)
        # One of its instances is not locked, so each policy can be had there.
        return page[i] " data,adopted" (board[i] ~ /m2-pro/ ? ",policy-" policy : "") " " board[i] \
            " --adopt=" policy " --scanout=" substr(how, length(policy) + 2)
    }
    END {
        ways = split("keep_slots thread,import thread,replace thread,keep_slots step,import step,replace step", way, ",")
        for (k = 0; k < ways; k++)
            for (i = 0; i < NR; i++)
                if (firmware[i]) list[n++] = adopted(i, way[(i + k) % ways + 1])
                else if (!k) list[n++] = page[i] " data " board[i]
        for (i = 0; i < runs; i++) print "run", list[i % n]
    }' "$tmp/pairs" > "$tmp/rows"

# Boards with trusted devices and others. With the pages in turn, every pair of board and option, board
# and page, option and page comes.
options='data,record-bounce|--untrusted
data|--untrusted --isolation=window
data,record-bounce|--isolation=bounce
data,record-window|--isolation=window
record-linear|--mode=linear
-|--mode=identity
-|--mode=blocked'
k=0
for board in boards/synthetic.dts tests/data/groups.dts ${product:+boards/mac-mini-m1.dts $real}; do
    echo "$options" | awk -F '|' -v k="$k" -v board="$board" '
        BEGIN { split("4K 16K 64K", page, " ") }
        { print "run", page[(NR + k) % 3 + 1], $1, board, $2 }' >> "$tmp/rows"
    k=$((k + 1))
done

# Attacks: of three boards, pages and isolations the nine in which every pair of values comes once.
# Where all windows are known to hold and ends lie on the access unit, nothing is copied.
attacks() {
    printf '%s\n' "$@" | awk -v whole="$product" '
        BEGIN {
            split("4K 16K 64K", page, " ")
            isolations = split("none bounce window", isolation, " ")
        }
        {
            for (i = 1; i <= 3; i++)
                for (k = 1; k <= isolations; k++) {
                    if (whole == "" && k != (NR + i) % 3 + 1) continue
                    wanted = "-"
                    if ($1 ~ /synthetic/) wanted = isolation[k] == "window" ? "no-copy,windows-hold" : "copies"
                    if ($1 ~ /mac-mini/ && isolation[k] == "window") wanted = "more-copies"
                    print "attack", page[i], wanted, $1, "--untrusted" (k > 1 ? " --isolation=" isolation[k] : "")
                }
        }'
}
attacks boards/mac-mini-m1.dts boards/synthetic.dts tests/data/groups.dts >> "$tmp/rows"
# shellcheck disable=SC2086 # a list of files
[ -z "$real" ] || attacks $real >> "$tmp/rows"

# Attacks take longest: they start first. A run keeps its seed wherever it stands.
begin=$(date +%s)
awk -v seed="$seed" -v tmp="$tmp" '{ print tmp, NR, seed + NR - 1, $0 }' "$tmp/rows" |
    sort -s -k 4,4 | xargs -L 1 -P "${JOBS:-$(cores)}" sh "$0" --one || exit 1
all=$(wc -l < "$tmp/rows")
bad=$(find "$tmp" -name '*.bad' | wc -l)
find "$tmp" -name '*.bad' | sort | head -n 5 | while read -r file; do cat "$file"; done
[ "$bad" -le 5 ] || echo "... and $((bad - 5)) more failed"
awk '{ print $1 }' "$tmp/rows" | sort | uniq -c | awk '{ printf "%s%d of granule %s", (NR > 1 ? ", " : ""), $1, $2 }
    END { print "" }'
cat "$tmp"/*.cpu | awk -v pairs="$pairs" -v first="$seed" -v all="$all" -v wall="$(($(date +%s) - begin))" '
    { cpu += $1 }
    END { printf "%d pairs of board and CPU page, seeds %d to %d, %d CPU s, %d s\n", pairs, first,
        first + all - 1, cpu, wall }'
tally boards $((all - bad)) "$bad" "$([ -n "$real" ] && echo 0 || echo 1)"
[ "$bad" -eq 0 ]
