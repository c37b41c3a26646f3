#!/bin/sh
# SPDX-License-Identifier: MIT
# check-removal.sh TEST...: every barrier, cache operation and invalidation of the library is needed
# by a test. The programs are those that make linked with the library that has a switch at each site
# ($B/removal/sites lists them, scripts/removal-sites.awk says what they are). Each is switched off
# for a whole run of the programs that reach it, fastest first: one must fail or crash. A program that
# runs into its limit, five times what it takes with every site on and at least 30 s, proves nothing,
# since the machine may be busy: a site for which no other program fails is tried once more, alone,
# and fails the check if that does not end either.
# SEED: of the random tests (1). GR_TIMEOUT: seconds for one program with every site on (10); those
# that take longer are left out. ONLY: sites that match this pattern of grep -E.
set -u
. scripts/lib.sh
export SEED="${SEED:-1}" GR_TIMEOUT="${GR_TIMEOUT:-10}" LC_ALL=C

# One site, then the limit and the name of each program that reaches it: print which of them needs it.
if [ "${1:-}" = --one ]; then
    site=$2
    shift 2
    verdict="REACHED BY NO TEST" hung=
    while [ $# -gt 1 ]; do
        rc=0
        GR_SKIP_SITE=$site timeout "$1" "$2" > /dev/null 2>&1 < /dev/null || rc=$?
        verdict="NOT NEEDED BY ANY TEST"
        case $rc in
        0) ;;
        124) hung=$2 ;;
        *)
            verdict="caught by ${2##*/}" hung=
            break
            ;;
        esac
        shift 2
    done
    [ -z "$hung" ] || verdict="NOT SEEN TO FAIL: ${hung##*/} does not end"
    echo "${site%:*} ${site##*:} $verdict"
    exit 0
fi

dir=$B/removal
rm -rf "$dir/reach"
mkdir -p "$dir/reach"
: > "$dir/times"

# Every site on: which does each program reach, and how long does it take?
for program; do
    begin=$(date +%s%N) rc=0
    GR_LIST_SITES="$dir/reach/${program##*/}" timeout "$GR_TIMEOUT" "$program" \
        > "$dir/log" 2>&1 < /dev/null || rc=$?
    case $rc in
    0) echo "$(($(date +%s%N) - begin)) $program" >> "$dir/times" ;;
    124) echo "left out: ${program##*/}, which takes more than $GR_TIMEOUT s" ;;
    *)
        cat "$dir/log"
        echo "check-removal.sh: ${program##*/} fails although every site is on" >&2
        tally removal 0 1
        exit 1
        ;;
    esac
done
sort -n -o "$dir/times" "$dir/times"

grep -E -e "${ONLY:-.}" "$dir/sites" | while read -r site; do
    line=$site
    while read -r took program; do
        ! grep -qxF -e "$site" "$dir/reach/${program##*/}" 2> /dev/null ||
            line="$line $(limit "$took") $program"
    done < "$dir/times"
    echo "$line"
done > "$dir/work"
xargs -P "$(cores)" -L 1 sh "$0" --one < "$dir/work" > "$dir/first"
grep -v ' does not end$' "$dir/first" > "$dir/result"
grep ' does not end$' "$dir/first" | while read -r place call _; do
    grep -F -e "$place:$call " "$dir/work"
done | xargs -r -L 1 sh "$0" --one >> "$dir/result"
sort -t : -k 1,1 -k 2,2n "$dir/result"
all=$(wc -l < "$dir/work") caught=$(grep -c ' caught by ' "$dir/result")
tally removal "$caught" $((all - caught))
[ "$all" -gt 0 ] && [ "$caught" -eq "$all" ]
