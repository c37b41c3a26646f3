# SPDX-License-Identifier: MIT
# Shared by the scripts here and .ci/run: counting what passed. POSIX sh, sourced from the
# repository's root. GR_TALLY names a file with one line "passed failed skipped" per count.

# tally NAME PASSED FAILED [SKIPPED]: print one count and remember it.
tally() {
    _skipped=
    [ "${4:-0}" -eq 0 ] || _skipped=", $4 skipped"
    echo "$1: $2 passed, $3 failed$_skipped"
    [ -z "${GR_TALLY:-}" ] || echo "$2 $3 ${4:-0}" >> "$GR_TALLY"
}

# step NAME COMMAND...: run a check. It counts as one, unless it counts for itself.
step() {
    _name=$1
    shift
    echo "== $_name"
    _lines=$(wc -l < "$GR_TALLY")
    _rc=0
    "$@" || _rc=$?
    _bad=$(awk -v from="$_lines" 'NR > from { n++; bad += $2 } END { print n + 0, bad + 0 }' "$GR_TALLY")
    case $_rc,$_bad in
    0,"0 0") tally "$_name" 1 0 ;;
    0,*) ;;
    *,*" 0") tally "$_name" 0 1 ;; # also where a part of it counted and then something else broke
    esac
}

# skip NAME WHY: a check that this machine cannot run.
skip() {
    echo "== $1"
    echo "!! SKIPPED: $2"
    tally "$1" 0 0 1
}

# begin_tally: start counting, unless a caller does. end_tally: print the sum if we started, and
# fail if anything failed or nothing passed.
begin_tally() {
    tally_is_ours=
    if [ -n "${GR_TALLY:-}" ]; then
        tally_from=$(wc -l < "$GR_TALLY")
        return 0
    fi
    GR_TALLY=$(mktemp)
    export GR_TALLY
    tally_is_ours=1
}

end_tally() {
    [ -n "$tally_is_ours" ] || {
        awk -v from="$tally_from" 'NR > from { bad += $2 } END { exit bad > 0 }' "$GR_TALLY"
        return
    }
    _rc=0
    awk '{ p += $1; f += $2; s += $3 }
        END { printf "%d passed, %d failed%s\n", p, f, s ? ", " s " skipped" : ""
              exit f > 0 || p == 0 }' "$GR_TALLY" || _rc=$?
    rm -f "$GR_TALLY"
    return $_rc
}

# limit NANOSECONDS: the seconds after which a program that takes so long when all is well hangs.
limit() {
    _limit=$(($1 / 200000000 + 1)) # five times as long
    [ "$_limit" -ge 30 ] || _limit=30
    echo "$_limit"
}

# cores: how many jobs to run side by side.
cores() {
    nproc 2> /dev/null || getconf _NPROCESSORS_ONLN 2> /dev/null || echo 1
}
