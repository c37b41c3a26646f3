#!/bin/sh
# SPDX-License-Identifier: MIT
# check-removal.sh TEST...: every barrier, cache operation and invalidation of the library is needed
# by a test. The programs are those that make linked with the library that has a switch at each site
# ($B/removal/sites lists them, scripts/removal-sites.awk says what they are). Each is switched off
# for a whole run of the programs that reach it, fastest first: one must fail or crash.
# CPU time decides. A program that needs more than GR_CPU seconds (10) with every site on is left
# out; so are those of SLOW, by name. A run with a site off may take five times what the program takes
# otherwise, and at least 30 s. A site that no program failed for is UNDECIDED where a program was
# left out for its time or used up a run's limit: it is listed, and fails the check where the machine
# was idle.
# SEED: of the random tests (1). ONLY: sites that match this pattern of grep -E.
set -u
. scripts/lib.sh
export SEED="${SEED:-1}" GR_CPU="${GR_CPU:-10}" LC_ALL=C

SLOW='test_interleave test_pt_threads'

# --reach DIR PROGRAM: run it with every site on: which does it reach, and how long does it take?
if [ "${1-}" = --reach ]; then
    name=${3##*/} rc=0
    GR_LIST_SITES="$2/reach/$name" bounded "$3" > "$2/log/$name" 2>&1 < /dev/null || rc=$?
    times > "$2/log/$name.times"
    case $rc in
    0) echo "$(cpu_in "$2/log/$name.times") $3" >> "$2/times" ;;
    152) echo "$name" >> "$2/left" ;;
    *) echo "$name: $(how_it_ended $rc)" >> "$2/broken" ;;
    esac
    exit 0
fi

# --one SITE [SECONDS PROGRAM]...: the site is off: which of the programs that reach it fails?
if [ "${1-}" = --one ]; then
    site=$2
    shift 2
    verdict="REACHED BY NO TEST" unended=
    while [ $# -gt 1 ]; do
        rc=0
        GR_CPU=$1 GR_SKIP_SITE=$site bounded "$2" > /dev/null 2>&1 < /dev/null || rc=$?
        verdict="NOT NEEDED BY ANY TEST"
        case $rc in
        0) ;;
        124 | 137 | 152) unended="$unended ${2##*/}" ;;
        *)
            verdict="caught by ${2##*/}" unended=
            break
            ;;
        esac
        shift 2
    done
    [ -z "$unended" ] || verdict="UNDECIDED: these do not end:$unended"
    echo "${site%:*} ${site##*:} $verdict"
    exit 0
fi

dir=$B/removal
rm -rf "$dir/reach" "$dir/log"
mkdir -p "$dir/reach" "$dir/log"
: > "$dir/times"
: > "$dir/left"
: > "$dir/broken"
begin_idle

for slow in $SLOW; do
    case " $* " in
    *"/$slow "*) ;;
    *)
        echo "check-removal.sh: SLOW names $slow, which is no test" >&2
        exit 1
        ;;
    esac
done
for program; do
    case " $SLOW " in
    *" ${program##*/} "*) ;;
    *) echo "$program" ;;
    esac
done | xargs -P "$(cores)" -L 1 sh "$0" --reach "$dir"
while read -r name why; do
    cat "$dir/log/${name%:}"
    echo "check-removal.sh: ${name%:} fails although every site is on: $why" >&2
done < "$dir/broken"
[ ! -s "$dir/broken" ] || {
    tally removal 0 1
    exit 1
}
left=$(sort "$dir/left" | tr '\n' ' ')
[ -z "$left" ] || echo "left out, since they need more than $GR_CPU s of CPU time: $left"
sort -n -o "$dir/times" "$dir/times"

grep -E -e "${ONLY:-.}" "$dir/sites" | while read -r site; do
    line=$site
    while read -r took program; do
        ! grep -qxF -e "$site" "$dir/reach/${program##*/}" 2> /dev/null ||
            line="$line $(enough "$took") $program"
    done < "$dir/times"
    echo "$line"
done > "$dir/work"
xargs -P "$(cores)" -L 1 sh "$0" --one < "$dir/work" |
    sed "${left:+s/ \(REACHED BY NO\|NOT NEEDED BY ANY\) TEST\$/ UNDECIDED: left out: $left/}" \
        > "$dir/result"
sort -t : -k 1,1 -k 2,2n "$dir/result"
times > "$dir/log/times"
all=$(wc -l < "$dir/work") caught=$(grep -c ' caught by ' "$dir/result")
undecided=$(grep -c ' UNDECIDED' "$dir/result")
if [ "$undecided" -gt 0 ] && ! is_idle "$dir/log/times"; then
    echo "!! SKIPPED: the machine was busy: $undecided sites are undecided; ONLY= tries them again"
else
    undecided=0
fi
tally removal "$caught" $((all - caught - undecided)) "$undecided"
[ "$all" -gt 0 ] && [ $((caught + undecided)) -eq "$all" ]
