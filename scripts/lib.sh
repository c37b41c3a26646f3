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

# step NAME COMMAND...: run a check, and say what CPU time it took. It counts as one, unless it counts
# for itself.
step() {
    _name=$1
    shift
    echo "== $_name"
    _lines=$(wc -l < "$GR_TALLY")
    times > "$GR_TALLY.times"
    _from=$(cpu_in "$GR_TALLY.times")
    _rc=0
    "$@" || _rc=$?
    times > "$GR_TALLY.times"
    echo "$_from $(cpu_in "$GR_TALLY.times")" | awk -v name="$_name" '{ printf "%s: %.1f CPU s\n", name, $2 - $1 }'
    _bad=$(awk -v from="$_lines" 'NR > from { n++; bad += $2 } END { print n + 0, bad + 0 }' "$GR_TALLY")
    case $_rc,$_bad in
    0,"0 0") tally "$_name" 1 0 ;;
    0,*) ;;
    *,*" 0") tally "$_name" 0 1 ;; # also where a part of it counted and then something else broke
    esac
}

# aside NAME COMMAND...: a step that runs beside what comes next. gather: wait for all of them, and
# print each in one piece.
aside() {
    [ -n "${asides:-}" ] || asides=$(mktemp -d)
    asides_begun=$((${asides_begun:-0} + 1))
    (
        GR_TALLY=$asides/$asides_begun.tally
        export GR_TALLY
        : > "$GR_TALLY"
        step "$@"
    ) > "$asides/$asides_begun.log" 2>&1 < /dev/null &
}

gather() {
    wait
    _k=1
    while [ "$_k" -le "${asides_begun:-0}" ]; do
        cat "$asides/$_k.log"
        cat "$asides/$_k.tally" >> "$GR_TALLY"
        _k=$((_k + 1))
    done
    rm -rf "${asides:?}"
    asides='' asides_begun=0
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
    rm -f "$GR_TALLY" "$GR_TALLY.times"
    return $_rc
}

# bounded COMMAND...: run it. CPU time decides: no process of it may use more than GR_CPU seconds
# (600). GR_WALL seconds (1800) only end what waits for ever, however busy the machine is.
bounded() {
    (ulimit -t "${GR_CPU:-600}" && exec timeout -k 10 "${GR_WALL:-1800}" "$@")
}

# how_it_ended STATUS: the exit status of bounded() in words.
how_it_ended() {
    case $1 in
    124 | 137) echo "HUNG: it did not end within ${GR_WALL:-1800} s" ;;
    152) echo "it used more than ${GR_CPU:-600} s of CPU time" ;;
    *) echo "exit status $1" ;;
    esac
}

# cpu_in FILE: seconds of CPU time of a shell's children. FILE is what `times` wrote in that shell
# itself: a command substitution is a shell of its own, without children.
cpu_in() {
    awk -F '[ms ]+' 'NR == 2 { printf "%.2f\n", $1 * 60 + $2 + $3 * 60 + $4 }' "$1"
}

# enough SECONDS: the CPU time that a program gets which takes SECONDS when all is well.
enough() {
    awk -v took="$1" 'BEGIN { limit = int(5 * took) + 1; print limit < 30 ? 30 : limit }'
}

# machine_busy: seconds of CPU time that all processes of this machine have used, by Linux's count.
machine_busy() {
    awk '$1 == "cpu" { print ($2 + $3 + $4 + $7 + $8) / 100; exit }' /proc/stat 2> /dev/null
}

# begin_idle, then is_idle FILE: was the machine ours alone, but for a tenth of its time? FILE is
# what `times` wrote at the end. Where nothing counts that, the answer is yes: what could not be
# decided is then a failure.
begin_idle() {
    idle_from="$(date +%s) $(machine_busy)"
}

is_idle() {
    echo "$idle_from $(date +%s) $(machine_busy) $(cpu_in "$1")" | awk -v cores="$(cores)" '
        NF < 5 { exit 0 }
        { exit $4 - $2 - $5 > 0.1 * cores * ($3 - $1) + 1 }'
}

# cores: how many jobs to run side by side.
cores() {
    nproc 2> /dev/null || getconf _NPROCESSORS_ONLN 2> /dev/null || echo 1
}
