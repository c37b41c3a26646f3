#!/bin/sh
# SPDX-License-Identifier: MIT
# scripts/compile-commands.sh: each source of the tree has one entry, and what it says compiles. Files
# that an editor opens alone, although a source includes them behind a codec, do so.
cd "$(dirname "$0")/../.." || exit 1
. tests/cli/lib.sh

# Compiled by hand where a document shows it, and by no make.
elsewhere=ports/template/test.c

json=$dir/compile_commands.json
unset MAKEFLAGS MFLAGS MAKELEVEL

# command_of FILE: that of its entry, without the quotes of JSON
command_of() {
    sed -n 's,^{"directory": ".*"\, "file": "'"$1"'"\, "command": "\(.*\)"}\,*$,\1,p' "$json" |
        sed 's/\\\(["\\]\)/\1/g'
}

# compiles NAME COMMAND: without the linker, and with the compiler that compiles this tree
compiles() {
    told=$1
    (cd "$where" && sh -c "$2") > "$dir/out" 2> "$dir/err"
    rc=$?
    status 0
}

told=compile-commands.sh
MAKE=make B="${granule%/*}" sh scripts/compile-commands.sh "$json" > "$dir/out" 2> "$dir/err"
rc=$?
status 0

# One entry a line, all but the last with a comma; a quote in a string has a backslash before it.
check "it is not a list of entries" awk '
    function string(s) { return s ~ /^"([^"\\]|\\["\\])*"$/ }
    NR == 1 { good = $0 == "["; next }
    last { good = 0 }
    $0 == "]" { last = 1; next }
    {
        if (open) good = 0
        open = !sub(/,$/, "")
        if (!sub(/^[{]"directory": /, "") || !sub(/[}]$/, "")) good = 0
        at = index($0, ", \"file\": ")
        to = index($0, ", \"command\": ")
        if (!at || to < at || !string(substr($0, 1, at - 1)) || !string(substr($0, at + 10, to - at - 10)) ||
            !string(substr($0, to + 13))) good = 0
    }
    END { exit !(good && last && open) }' "$json"

sed -n 's/.*"file": "\([^"]*\)", .*/\1/p' "$json" | sort > "$dir/entries"
find . -name .git -prune -o -name 'build*' -prune -o -name '*.c' -print |
    sed 's,^\./,,' | grep -vxF "$elsewhere" | sort > "$dir/sources"
diff "$dir/sources" "$dir/entries" > "$dir/out" 2>&1
check "each source has one entry" test ! -s "$dir/out"

where=$(sed -n '2s/^{"directory": "\([^"]*\)".*/\1/p' "$json")
check "the folder is not this one" test "$where" = "$(pwd)"
for source in src/iova/iova.c src/pt/pt_lpae_s2.c models/dart/dart.c tests/test_core.c bench/holds/main.c; do
    compiles "$source" "$(command_of "$source" | sed 's/ -c / -fsyntax-only /')"
done
check "a mistake compiles" sh -c '! (cd "$1" && eval "$2") ' sh "$where" \
    "$(command_of src/core/err.c | sed 's/ -c / -fsyntax-only -Dgr_strerror=+ /')"
for included in src/pt/pt_core.inc.h src/pt/fmt/lpae.inc.h tests/lib/pt_lpae.inc.h tests/lib/pt_dart.inc.h; do
    compiles "$included alone" "$(command_of tests/test_pt_dart1.c |
        sed "s, -c .*, -fsyntax-only -Wno-error -Werror=implicit -x c $included,")"
done

finish
