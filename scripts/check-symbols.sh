#!/bin/sh
# SPDX-License-Identifier: MIT
# check-symbols.sh ARCHIVE... OBJECT...: what the library adds to a host's namespace has its prefix,
# and so has what the files of one room of the hosted code see of each other.
#   global symbols of the archives                         gr_ gri_
#   macros of include/granule and of ports/*/gr_port.h     GR_ gr_, include guards GRANULE_
#   macros of src/**/*.h                                   GR_ GRI_ gr_ gri_, guards GRANULE_
#   tags, typedefs and functions of include/granule        gr_, enumerators GR_
#   all of these of the rooms below, whose objects are FOLDER/obj/ROOM/*.o
# and every file states its licence within its first three lines.
# check-symbols.sh --self-test: plants each kind of violation and sees it found.
set -u

# FILES | symbols, tags, typedefs and functions | macros and enumerators. The first line that fits counts.
rooms='
sim/walker | walker_ | WALKER_ SIM_WALKER_H
sim/       | sim_    | SIM_
cli/       | cli_    | CLI_
'

# Names that headers declare: lines "FILE kind NAME". A tag without a body is a mention.
declared() {
    awk '
        # Characters without comments, strings and preprocessor lines, one string for a file.
        function finish() { if (text != "") scan(text); text = "" }
        FNR == 1 { finish(); path = FILENAME; comment = 0; directive = 0 }
        {
            line = $0
            out = ""
            while (line != "") {
                if (comment) {
                    i = index(line, "*/")
                    if (!i) { line = ""; break }
                    line = substr(line, i + 2); comment = 0
                    continue
                }
                i = index(line, "/*")
                j = index(line, "//")
                if (j && (!i || j < i)) { out = out substr(line, 1, j - 1); line = ""; break }
                if (!i) { out = out line; line = ""; break }
                out = out substr(line, 1, i - 1) " "
                line = substr(line, i + 2); comment = 1
            }
            if (directive || out ~ /^[ \t]*#/) { directive = out ~ /\\$/; next }
            gsub(/"[^"]*"/, "", out)
            text = text " " out
        }
        END { finish() }

        function tell(kind, name) { print path, kind, name }

        # The statement with the bodies of its braces emptied, and what enum bodies hold.
        function scan(t, i, c, depth, statement, body) {
            gsub(/GR_BEGIN_DECLS|GR_END_DECLS|GR_MUST_CHECK/, " ", t)
            while (match(t, /__attribute__ *\(\([^()]*(\([^()]*\)[^()]*)*\)\)/))
                t = substr(t, 1, RSTART - 1) " " substr(t, RSTART + RLENGTH)
            depth = 0; statement = ""; body = ""
            while (match(t, /(struct|union|enum)[ \t]+[A-Za-z_0-9]+/)) {
                c = substr(t, RSTART, RLENGTH)
                sub(/.*[ \t]/, "", c)
                tell(substr(t, RSTART + RLENGTH) ~ /^[ \t]*{/ ? "tag" : "mention", c)
                t = substr(t, 1, RSTART - 1) "TAG@" (c) "@ " substr(t, RSTART + RLENGTH)
            }
            for (i = 1; i <= length(t); i++) {
                c = substr(t, i, 1)
                if (c == "{") { if (depth++ == 0) { statement = statement "{"; body = "" } else body = body c }
                else if (c == "}") {
                    if (--depth == 0) {
                        statement = statement "}"
                        if (statement ~ /enum|TAG@/) enumerators(body)
                        if (statement ~ /\)[ \t]*{}$/) { judge(statement); statement = "" }
                    } else body = body c
                }
                else if (c == ";" && depth == 0) { judge(statement); statement = "" }
                else if (depth) body = body c
                else statement = statement c
            }
        }

        # An enum body is a comma list; a struct body has semicolons and is none.
        function enumerators(body, n, part, i) {
            if (body ~ /;/) return
            n = split(body, part, ",")
            for (i = 1; i <= n; i++)
                if (match(part[i], /[A-Za-z_][A-Za-z_0-9]*/))
                    tell("enumerator", substr(part[i], RSTART, RLENGTH))
        }

        function judge(s, head) {
            if (s ~ /^[ \t]*$/) return
            gsub(/{}/, " ", s)
            if (s ~ /^[ \t]*typedef/) {
                if (match(s, /\( *\* *[A-Za-z_0-9]+/)) head = substr(s, RSTART, RLENGTH)
                else { head = s; sub(/[ \t]*(\[[^\]]*\])?[ \t]*$/, "", head) }
                gsub(/@ /, " ", head)
                sub(/.*[^A-Za-z_0-9]/, "", head)
                tell("typedef", head)
            } else if (match(s, /[A-Za-z_0-9]+[ \t]*\(/)) {
                head = substr(s, RSTART, RLENGTH - 1)
                sub(/[ \t]+$/, "", head)
                tell("function", head)
            }
        }' "$@"
}

# macros ALLOWED FILE...: complain about a macro that does not match the pattern.
macros() {
    allowed=$1
    shift
    awk -v allowed="^($allowed)" '/^[ \t]*#[ \t]*define[ \t]/ {
        name = $0
        sub(/^[ \t]*#[ \t]*define[ \t]+/, "", name)
        value = name
        sub(/[^A-Za-z_0-9].*/, "", name)
        if (value == name " GRI_FMT_OF(" name ")") next # src/pt/pt_names.inc.h, which ends it again
        if (name !~ allowed) { print FILENAME ":" FNR ": macro " name; bad = 1 }
    }
    END { exit bad }' "$@"
}

# check_rooms OBJECT...: headers of the rooms in the table, and these objects of theirs.
check_rooms() {
    # shellcheck disable=SC2046
    set -- "$@" -- $(find sim cli -name '*.h')
    objects=
    while [ "$1" != -- ]; do objects="$objects $1"; shift; done
    shift
    # shellcheck disable=SC2086
    {
        declared "$@"
        awk '/^[ \t]*#[ \t]*define[ \t]/ {
            sub(/^[ \t]*#[ \t]*define[ \t]+/, "")
            sub(/[^A-Za-z_0-9].*/, "")
            print FILENAME, "macro", $0
        }' "$@"
        nm -A -g $objects | awk 'index($1, ":") < length($1) && $NF !~ /^__|^main$/ { # else undefined, or of a sanitizer
            sub(/:.*/, "", $1)
            sub(/^(.*\/)?obj\//, "", $1)
            print $1, "symbol", $3
        }'
    } | awk -v rooms="$rooms" '
        BEGIN {
            n = split(rooms, line, "\n")
            for (i = 1; i <= n; i++) {
                if (split(line[i], field, "|") != 3) continue
                gsub(/^ +| +$/, "", field[3])
                gsub(/ +/, "|", field[3])
                gsub(/ /, "", field[1])
                gsub(/ /, "", field[2])
                files[++count] = field[1]
                lower[count] = "^" field[2]
                upper[count] = "^(" field[3] ")"
            }
        }
        $2 == "mention" { next }
        {
            for (i = 1; i <= count && index($1, files[i]) != 1; i++) ;
            found[i, $2]++
            if (i > count || $3 !~ ($2 ~ /macro|enumerator/ ? upper[i] : lower[i])) {
                print $1 ": " $2 " " $3
                bad = 1
            }
        }
        END {
            for (i = 1; i <= count; i++)
                if (!found[i, "symbol"] || !found[i, "function"]) {
                    print "check-symbols: no symbol or no function of " files[i]
                    bad = 1
                }
            exit bad
        }'
}

# Everything in the tree but what git ignores; without git, everything but build folders.
all_files() {
    if [ -e .git ] && git ls-files > /dev/null 2>&1; then
        git ls-files --cached --others --exclude-standard
    else
        find . \( -name .git -o -name build \) -prune -o -type f -print | sed 's,^\./,,'
    fi
}

check() {
    rc=0
    public=$(find include/granule -name '*.h')
    private=$(find src -name '*.h')
    if [ -z "$public" ] || [ -z "$private" ] || [ $# -eq 0 ]; then
        echo "check-symbols: no headers, or no archive named" >&2
        return 1
    fi
    # shellcheck disable=SC2086
    macros 'GR_|gr_|GRANULE_' $public $(find ports -name gr_port.h) || rc=1
    # shellcheck disable=SC2086
    macros 'GR_|gr_|GRI_|gri_|GRANULE_' $private || rc=1
    # shellcheck disable=SC2086
    declared $public | awk '
        $2 == "enumerator" ? $3 !~ /^GR_/ : $3 !~ /^gr_/ {
            print $1 ": " ($2 == "mention" ? "tag" : $2) " " $3
            bad = 1
        }
        END { if (NR < 10) { print "check-symbols: found too little in include/granule"; bad = 1 }
              exit bad }' || rc=1
    archives=$(for file in "$@"; do echo "$file"; done | grep '\.a$')
    objects=$(for file in "$@"; do echo "$file"; done | grep '\.o$')
    # shellcheck disable=SC2086
    check_rooms $objects || rc=1
    # nm -g prints "value type name"; undefined symbols have no value. ASan names each variable twice.
    # shellcheck disable=SC2086
    nm -g $archives | awk '{ sub(/^__odr_asan\./, "", $3) }
        NF == 3 { n++; if ($3 !~ /^_?gri?_/) { print "symbol " $3; bad = 1 } }
        END { if (!n) { print "check-symbols: no symbol at all in the archives"; bad = 1 }
              exit bad }' || rc=1
    for file in $(all_files); do
        case $file in LICENSE | fuzz/corpus/*) continue ;; esac
        [ -f "$file" ] || continue
        head -n 3 "$file" | grep -q 'SPDX-License-Identifier: MIT' || {
            echo "$file: no line \"SPDX-License-Identifier: MIT\" at its top"
            rc=1
        }
    done
    [ $rc -eq 0 ] || echo "check-symbols: each line above lacks its prefix or its licence" >&2
    return $rc
}

self_test() {
    tmp=$(mktemp -d) || exit 1
    trap 'rm -rf "$tmp"' EXIT
    cd "$tmp" || exit 1
    mkdir -p include/granule src ports/x
    spdx='/* SPDX-License-Identifier: MIT */'
    # Every shape that the headers use, all of it right.
    cat > include/granule/good.h <<END
$spdx
#ifndef GRANULE_GOOD_H
#define GRANULE_GOOD_H
/* struct wrong { } #define WRONG
 * int wrong(void); */
#define GR_ONE 1
#define GR_LONG(x) \\
    wrong(x)
GR_BEGIN_DECLS
struct gr_later;
struct gr_a { int wrong; struct gr_later *(*fn)(void *wrong, int); };
enum gr_e { GR_A, GR_B = 2 };
enum { GR_C };
typedef struct { unsigned wrong; } gr_t;
typedef unsigned gr_u[4];
typedef int (*gr_handler)(void *wrong);
GR_MUST_CHECK int gr_f(struct gr_a *wrong, void (*wrong2)(int));
__attribute__((noreturn)) void gr_g(void);
static inline int gr_h(void) { if (1) { return wrong(); } return 0; }
extern const struct gr_a gr_table[];
GR_END_DECLS
#endif
END
    printf '%s\n#define GRI_X 1\n#define clean GRI_FMT_OF(clean)\n' "$spdx" > src/good.h
    printf '%s\n#define GR_PORT_X 1\n' "$spdx" > ports/x/gr_port.h
    printf '%s\nint gr_x(void); int gr_x(void) { return 0; } static int s; int *gri_y(void); int *gri_y(void) { return &s; }\n' \
        "$spdx" > good.c
    archive() {
        rm -f good.o good.a
        ${CC:-gcc} -c -o good.o "$1" && ar rc good.a good.o && rm -f good.o
        mkdir -p build && mv good.a build/good.a
    }
    archive good.c || exit 1
    objects="build/obj/sim/walker.o build/obj/sim/good.o build/obj/cli/good.o"
    # room PREFIX FILE: a header and an object of which all is right
    room() {
        mkdir -p "${2%/*}" "build/obj/${2%/*}"
        printf '%s\n#define %s 1\nstruct gr_mention; struct %sx { int wrong; struct host *h; }; enum %se { %s };\nint %sf(struct host *h);\n' \
            "$spdx" "$3A" "$1" "$1" "$3B" "$1" > "$2.h"
        echo "int right(void); int $1g(void); int $1g(void) { return right(); } static int wrong(void) { return $1g(); } int main(void); int main(void) { return wrong(); }" |
            ${CC:-gcc} -x c -c -o "build/obj/$2.o" - || exit 1
    }
    rooms_anew() {
        room walker_ sim/walker WALKER_ && room sim_ sim/good SIM_ && room cli_ cli/good CLI_
        rm -f build/obj/*/bad.o
    }
    rooms_anew
    # shellcheck disable=SC2086
    (check build/good.a $objects) > build/out 2>&1 || {
        echo "self-test: the clean tree fails:" >&2
        cat build/out >&2
        exit 1
    }
    # file | one wrong line | what the complaint names
    cases=0 wrong=0
    while IFS='|' read -r file line name; do
        cases=$((cases + 1))
        case $file in
        *.h) printf '%s\n%s\n' "$spdx" "$line" > "$file" ;;
        *) printf '%s\n' "$line" > "$file" ;;
        esac
        [ "$file" = bad.c ] && archive bad.c
        case $file in */*.c) ${CC:-gcc} -c -o "build/obj/${file%.c}.o" "$file" || exit 1 ;; esac
        # shellcheck disable=SC2046
        if (check build/good.a $(find build/obj -name '*.o')) > build/out 2>&1 || ! grep -q "$name" build/out; then
            echo "self-test: not found: $file: $line" >&2
            wrong=$((wrong + 1))
        fi
        rm "$file"
        rooms_anew
        archive good.c
    done <<'END'
include/granule/bad.h|#define MAX 1|macro MAX
include/granule/bad.h|# define GRX(a) 1|macro GRX
ports/gr_port.h|#define PORT_X 1|macro PORT_X
src/bad.h|#define BIT(n) 1|macro BIT
src/bad.h|#define clean GRI_FMT_OF(dirty)|macro clean
include/granule/bad.h|struct range { int a; };|tag range
include/granule/bad.h|int gr_f(struct link *l);|tag link
include/granule/bad.h|enum gr_k { GR_OK, BAD };|enumerator BAD
include/granule/bad.h|enum { BAD = 1 };|enumerator BAD
include/granule/bad.h|typedef unsigned long word_t;|typedef word_t
include/granule/bad.h|typedef struct { int a; } reg32;|typedef reg32
include/granule/bad.h|typedef void (*handler)(int);|typedef handler
include/granule/bad.h|int map(int a);|function map
include/granule/bad.h|static inline int min(int a) { return a; }|function min
bad.c|/* SPDX-License-Identifier: MIT */ int map(void); int map(void) { return 0; }|symbol map
bad.c|/* SPDX-License-Identifier: MIT */ int counter;|symbol counter
bad.c|int gr_x;|bad.c: no line
sim/bad.h|#define MAX 1|macro MAX
sim/bad.h|#define CLI_X 1|macro CLI_X
sim/bad.h|#define WALKER_X 1|macro WALKER_X
sim/walker.h|#define SIM_X 1|macro SIM_X
cli/bad.h|#define SIM_X 1|macro SIM_X
sim/bad.h|struct live { int a; };|tag live
cli/bad.h|struct sim_x { int a; };|tag sim_x
sim/bad.h|enum sim_k { SIM_OK, BAD };|enumerator BAD
sim/bad.h|typedef unsigned long word_t;|typedef word_t
sim/bad.h|int watch(void *arg);|function watch
cli/bad.h|static inline int min(int a) { return a; }|function min
sim/walker.h|int sim_walk(void);|function sim_walk
sim/bad.c|/* SPDX-License-Identifier: MIT */ int watch(void); int watch(void) { return 0; }|symbol watch
sim/bad.c|/* SPDX-License-Identifier: MIT */ int walker_x;|symbol walker_x
cli/bad.c|/* SPDX-License-Identifier: MIT */ int sim_x;|symbol sim_x
notes.md|# Notes|notes.md: no line
END
    echo "check-symbols: self-test: $cases cases, $wrong wrong"
    [ "$wrong" -eq 0 ]
}

case ${1-} in
--self-test) self_test ;;
*) check "$@" ;;
esac
