#!/bin/sh
# SPDX-License-Identifier: MIT
# check-size.sh [ROOT]: no function has more than 60 lines, and no file more than 900. A function lasts
# from a line that begins with { to one that begins with }, as clang-format lays out.
# check-size.sh --self-test: plants one that is too long, and one that is not, of each.
set -u

rooms='src sim cli models ports/host'
# One lock and one struct, or one hot path: a cut would only export their statics.
long_files='src/iova/iova.c ports/host/host.c src/pt/pt_core.inc.h'

check() {
    cd "$1" || return 1
    # shellcheck disable=SC2086
    files=$(find $rooms -name '*.[ch]' 2> /dev/null | sort)
    [ -n "$files" ] || {
        echo "check-size: no source in $1" >&2
        return 1
    }
    # shellcheck disable=SC2086
    awk -v function_max=60 -v file_max=900 -v long_files="$long_files" '
        BEGIN {
            n = split(long_files, file, " ")
            for (i = 1; i <= n; i++) may[file[i]] = 1
        }
        # After the last line of a file: lines of it so far.
        function end_file() {
            if (lines > file_max && !(path in may)) {
                printf "%s: %d lines, %d at most\n", path, lines, file_max
                bad++
            }
        }
        FNR == 1 { end_file(); path = FILENAME; begun = 0 }
        { lines = FNR }
        # The name is in the last line before the brace that has one in front of a parenthesis.
        !begun && /^[a-z].*[a-z0-9_]\(/ {
            name = $0
            sub(/^.*__attribute__\(\(.*\)\) /, "", name)
            sub(/\(.*/, "", name)
            sub(/.*[ *]/, "", name)
        }
        /^{/ { begun = FNR }
        /^}/ && begun {
            if (FNR - begun + 1 > function_max) {
                printf "%s:%d: %s() has %d lines, %d at most\n", path, begun, name, FNR - begun + 1, function_max
                bad++
            }
            begun = 0
        }
        END { end_file(); exit bad > 0 }' $files
}

# of LINES: a function that has so many, braces included
of() {
    echo 'static struct wrong name = {'
    echo '    .x = 1,'
    echo '};'
    echo
    echo 'static int planted(int a,'
    echo '                   int b)'
    echo '{'
    awk -v n="$(($1 - 2))" 'BEGIN { while (n-- > 0) print "    a++;" }'
    echo '}'
}

self_test() {
    tmp=$(mktemp -d) || exit 1
    trap 'rm -rf "$tmp"' EXIT
    for room in $rooms src/iova src/pt; do mkdir -p "$tmp/$room"; done
    of 60 > "$tmp/sim/good.c"
    cases=0 wrong=0
    # sign, file, lines of a function, of the file besides, what the complaint names
    while read -r sign file function besides name; do
        cases=$((cases + 1))
        { awk -v n="$besides" 'BEGIN { while (n-- > 0) print "" }'; of "$function"; } > "$tmp/$file"
        if (check "$tmp") > "$tmp/out" 2>&1; then found=+; else found=-; fi
        if [ "$found" != "$sign" ] || { [ "$sign" = - ] && ! grep -q "^$file.*$name" "$tmp/out"; }; then
            echo "self-test: $file, a function of $function lines after $besides: expected $sign" >&2
            cat "$tmp/out" >&2
            wrong=$((wrong + 1))
        fi
        rm "$tmp/$file"
    done <<'END'
+ src/x.c 60 0
- src/x.c 61 0 planted() has 61 lines
- cli/x.c 61 0 planted() has 61 lines
- sim/x.h 61 0 planted() has 61 lines
- models/x.c 100 0 planted() has 100 lines
- ports/host/x.c 61 0 planted() has 61 lines
+ sim/x.c 10 884
- sim/x.c 10 885 901 lines
- src/iova/x.c 10 885 901 lines
+ src/iova/iova.c 10 885
+ ports/host/host.c 10 885
+ src/pt/pt_core.inc.h 10 885
- src/iova/iova.c 61 885 planted() has 61 lines
END
    echo "check-size: self-test: $cases cases, $wrong wrong"
    [ "$wrong" -eq 0 ]
}

case ${1-} in
--self-test) self_test ;;
*) check "${1:-.}" ;;
esac
