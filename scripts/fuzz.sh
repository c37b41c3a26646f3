#!/bin/sh
# SPDX-License-Identifier: MIT
# fuzz.sh [NAME...]: run clang's libFuzzer on every target fuzz/fuzz_NAME.c, or on those named, for
# FUZZ_SECONDS (60) each. MAKE and B come from the Makefile. What it finds becomes
# $B/fuzz/NAME-crash-* (or -timeout-, -oom-, -leak-); inputs that reach something new are kept in
# $B/fuzz/corpus/NAME.
set -u
. scripts/lib.sh

seconds=${FUZZ_SECONDS:-60}
out=$B/fuzz
case ${MAKEFLAGS-} in
*--jobserver*) ;;
*) MAKE="$MAKE -j$(cores)" ;;
esac
if [ $# -eq 0 ]; then
    for file in fuzz/fuzz_*.c; do
        name=${file#fuzz/fuzz_}
        set -- "$@" "${name%.c}"
    done
fi

fuzz() {
    mkdir -p "$out/corpus/$1"
    "$out/tests/fuzz_$1" -max_total_time="$seconds" -timeout=20 -max_len=4096 -len_control=20 \
        -use_value_profile=1 -print_final_stats=1 -artifact_prefix="$out/$1-" \
        "$out/corpus/$1" "fuzz/corpus/$1" > "$out/$1.log" 2>&1 || {
        _rc=$?
        grep -vE '^#|NEW_FUNC' "$out/$1.log" | tail -n 60
        return $_rc
    }
    awk '/^stat::number_of_executed_units/ { n = $2 } /^stat::new_units_added/ { new = $2 }
        { for (i = 1; i < NF; i++) if ($i == "cov:") cov = $(i + 1) }
        END { print n " runs, " cov " edges covered, " new " new inputs" }' "$out/$1.log"
}

$MAKE --no-print-directory B="$out" CC=clang SAN=address,undefined,fuzzer-no-link WERROR=1 \
    FUZZ_MAIN= LDFLAGS=-fsanitize=fuzzer fuzzers || exit 1
begin_tally
for name; do
    step "fuzz $name, $seconds s" fuzz "$name"
done
end_tally
