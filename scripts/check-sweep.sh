#!/bin/sh
# SPDX-License-Identifier: MIT
# check-sweep.sh [ROOT]: tests/test_sweep.c makes every public call fail that can: each function that
# a public header declares is called in the sweep, or is below with a reason; each step that
# tests/lib/sweep.h offers is part of a scenario.
# check-sweep.sh --self-test: plants a call, an exception and a step that are missing, and sees it
# found.
set -u

# PATTERN | why it is not swept. A pattern that no declaration matches is an error.
exceptions='
gr_port_* | the host supplies it: what fails is this
gr_dt_*   | reads a blob: no source of dt/ uses the port, so it neither allocates nor waits
'

# code FILE...: without comments and strings
code() {
    cat "$@" | tr '\n' '\001' | sed 's,/\*[^*]*\**\([^/*][^*]*\**\)*\*/, ,g; s,"[^"]*",,g' | tr '\001' '\n'
}

# called: the functions of the library that stand before a parenthesis
called() {
    grep -oE '(^|[^A-Za-z0-9_])gr_[a-z0-9_]+\(' | sed 's/.*\(gr_[a-z0-9_]*\)(/\1/' | sort -u
}

check() {
    _bad=0 _swept=0 _excepted=0
    _public=$(code "$1"/include/granule/*.h "$1"/include/granule/drv/*.h | called)
    _calls=$(code "$1"/tests/lib/sweep.c "$1"/tests/test_sweep.c | called)
    for _name in $_public; do
        _why=$(echo "$exceptions" | while IFS='| ' read -r _pattern _reason; do
            # shellcheck disable=SC2254 # a pattern
            case $_name in $_pattern) echo "$_reason" ;; esac
        done)
        if [ -n "$_why" ]; then
            _excepted=$((_excepted + 1))
        elif echo "$_calls" | grep -qx "$_name"; then
            _swept=$((_swept + 1))
        else
            echo "$_name() is public, and tests/lib/sweep.c never makes it fail: add a step"
            _bad=$((_bad + 1))
        fi
    done
    for _pattern in $(echo "$exceptions" | awk '/\|/ { print $1 }'); do
        echo "$_public" | grep -q "^${_pattern%\*}" || {
            echo "$_pattern: an exception for nothing: remove it from scripts/check-sweep.sh"
            _bad=$((_bad + 1))
        }
    done
    if grep -l 'gr_port_' "$1"/src/dt/*.[ch]; then
        echo "uses the port: gr_dt_*() is no exception any more"
        _bad=$((_bad + 1))
    fi
    for _step in $(code "$1"/tests/lib/sweep.h | sed -n 's/^SWEEP_CALL(sweep_\([a-z0-9_]*\));.*/\1/p'); do
        tr -d ' \n' < "$1"/tests/test_sweep.c | grep -q "STEP($_step," || {
            echo "sweep_$_step() is a step of no scenario"
            _bad=$((_bad + 1))
        }
    done
    [ "$_swept" -gt 0 ] || _bad=$((_bad + 1))
    echo "$_swept calls swept, $_excepted excepted, $_bad wrong"
    [ "$_bad" -eq 0 ]
}

copy=
if [ "${1-}" != --self-test ]; then
    check "${1:-.}"
    exit
fi
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
missed=0

# plant TEXT FILE: append and see it found, then take it back.
plant() {
    cp "$copy/$2" "$copy/kept"
    printf '%s\n' "$1" >> "$copy/$2"
    if check "$copy" > "$copy/log" 2>&1; then
        echo "not found: $1 in $2"
        missed=$((missed + 1))
    fi
    cp "$copy/kept" "$copy/$2"
}

mkdir -p "$copy/tests/lib" "$copy/src"
cp -r include "$copy/"
cp -r src/dt "$copy/src/"
cp tests/lib/sweep.[ch] "$copy/tests/lib/"
cp tests/test_sweep.c "$copy/tests/"
check "$copy" || exit 1
plant 'int gr_dma_planted(struct gr_device *dev);' include/granule/dma.h
plant 'void gr_dart_planted(void);' include/granule/drv/dart.h
plant 'SWEEP_CALL(sweep_planted);' tests/lib/sweep.h
plant 'void f(void) { gr_port_relax(0); }' src/dt/dt.c
plant '/* gr_dma_planted() is in a comment only */
int gr_dma_planted(void);' include/granule/pt.h
check "$copy" || exit 1
echo "$missed of 5 missed"
[ "$missed" -eq 0 ]
