#!/bin/sh
# SPDX-License-Identifier: MIT
# check-unit.sh SOURCE...: the library compiles as one translation unit, so a host may build it so: no
# two files have a static function, a type or a macro of the same name. CC is the compiler, beside
# clang where that is installed; WARNINGS its flags, B where to build.
# check-unit.sh --self-test: plants each kind of collision and sees it found.
set -u

check() {
    [ $# -gt 0 ] || {
        echo "check-unit: no sources named" >&2
        return 1
    }
    for source; do
        [ -f "$source" ] || {
            echo "check-unit: no file $source" >&2
            return 1
        }
        echo "#include \"$source\""
    done > "$B/unit.c"
    for cc in ${CC:-gcc} clang; do
        command -v "$cc" > /dev/null || continue
        # shellcheck disable=SC2086 # a list of flags
        "$cc" -std=c11 -O0 $WARNINGS -Werror -I. -Iinclude -Isrc -Iports/host -c -o "$B/unit.o" "$B/unit.c" || {
            echo "check-unit: the sources do not compile as one: the names above occur in two files" >&2
            return 1
        }
    done
}

self_test() {
    tmp=$(mktemp -d) || exit 1
    trap 'rm -rf "$tmp"' EXIT
    cd "$tmp" || exit 1
    B=. WARNINGS=-Wall
    printf '#define A_SIZE 1\nstruct a { int x; };\nstatic int find(struct a *a) { return a->x; }\nint gr_a(struct a *a);\nint gr_a(struct a *a) { return find(a) + A_SIZE; }\n' > a.c
    cases=0 wrong=0
    while IFS='|' read -r sign code; do
        cases=$((cases + 1))
        echo "$code" > b.c
        if check a.c b.c > out 2>&1; then found=+; else found=-; fi
        if [ "$found" != "$sign" ]; then
            echo "self-test: expected $sign: $code" >&2
            cat out >&2
            wrong=$((wrong + 1))
        fi
    done <<'END'
+|static int look(int b) { return b; } int gr_b(void); int gr_b(void) { return look(2); }
-|static int find(int b) { return b; } int gr_b(void); int gr_b(void) { return find(2); }
-|struct a { int y; };
-|#define A_SIZE 2
-|enum { A_SIZE };
END
    echo "check-unit: self-test: $cases cases, $wrong wrong"
    [ "$wrong" -eq 0 ]
}

case ${1-} in
--self-test) self_test ;;
*) check "$@" ;;
esac
