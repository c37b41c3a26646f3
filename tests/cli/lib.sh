# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# What the shell tests share: sourced by tests/cli/test_*.sh from the root of the repository. GRANULE
# names the program that is tested. A test ends with `finish`.
set -u

granule=${GRANULE:-build/granule}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0 rc=0 told=

# run ARGUMENT...: leaves $rc, $dir/out and $dir/err.
run() {
    rc=0
    "$granule" "$@" > "$dir/out" 2> "$dir/err" < /dev/null || rc=$?
    told="granule $*"
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

status() {
    check "exit status $rc, not $1" test "$rc" -eq "$1"
}

out_has() {
    check "stdout lacks '$1'" grep -qF -- "$1" "$dir/out"
}

err_has() {
    check "stderr lacks '$1'" grep -qF -- "$1" "$dir/err"
}

# The number after "NAME": in the last object that has it.
number() {
    sed 's/.*"'"$1"'":\([0-9]*\).*/\1/' "$dir/out"
}

# What every run has to say of itself.
clean() {
    status 0
    for _counter in mismatched_bytes touched_guard_bytes unexpected_faults missed_faults \
        live_mappings leaked_pages misuse; do
        check "$_counter is $(number $_counter)" test "$(number $_counter)" = 0
    done
}

# device PATH: its object in the report, alone, into $dir/device.
device() {
    sed 's/.*"devices":\[{/{/; s/\],"totals".*//; s/},{/}\n{/g' "$dir/out" |
        grep "^{\"path\":\"$1\"" > "$dir/device"
}

# device_has PATH TEXT...
device_has() {
    device "$1"
    _path=$1
    shift
    for _text; do
        check "$_path lacks '$_text'" grep -qF -- "$_text" "$dir/device"
    done
}

# Is stdout one line of JSON? A small recogniser of its grammar: no string may be left open, and
# every bracket must match. The tests compare what it lets through field by field.
json_ok() {
    check "stdout is not one line" test "$(wc -l < "$dir/out")" -eq 1
    check "stdout is not JSON" awk '
        {
            s = $0
            gsub(/"([^"\\]|\\.)*"/, "s", s)
            gsub(/-?[0-9]+/, "v", s)
            gsub(/true|false|null/, "v", s)
            do {
                before = s
                gsub(/\[\]|\{\}/, "v", s)
                gsub(/s:[vs]/, "m", s)
                gsub(/m,m/, "m", s)
                gsub(/\{m\}/, "v", s)
                gsub(/\[[vs]\]/, "v", s)
                s = list(s)
            } while (s != before)
            exit s != "v"
        }
        # [v,s,...] becomes v
        function list(t) {
            while (match(t, /\[[vs](,[vs])+\]/))
                t = substr(t, 1, RSTART - 1) "v" substr(t, RSTART + RLENGTH)
            return t
        }' "$dir/out"
}

# wrong_text WORD ARGUMENT...: refused with 2, nothing on stdout, one line with WORD on stderr.
wrong_text() {
    _word=$1
    shift
    run "$@"
    status 2
    check "stdout is not empty" test ! -s "$dir/out"
    check "stderr is not one line" test "$(wc -l < "$dir/err")" -eq 1
    err_has "$_word"
}

# wrong_json WORD ARGUMENT...: --json is one of them; an error object on stdout has WORD.
wrong_json() {
    _word=$(printf '%s\n' "$1" | sed 's/["\\]/\\&/g')
    shift
    run "$@"
    status 2
    json_ok
    check "no error object" grep -q '^{"error":".*"}$' "$dir/out"
    out_has "$_word"
}

# wrong WORD VERB ARGUMENT...: both.
wrong() {
    wrong_text "$@"
    _word=$1 _verb=$2
    shift 2
    wrong_json "$_word" "$_verb" --json "$@"
}

finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
