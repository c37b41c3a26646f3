#!/bin/sh
# SPDX-License-Identifier: MIT
# README.md and docs/PORTING.md are executed: each command of an indented block is run, in order, and
# what is shown below a `$ command` is what that command prints. UPDATE=1 writes the real output into
# the documents.
#
# In a block without `$` each line is a command whose output is not shown. In a command `build/granule`
# stands for the program under test, DIR for a folder that this test makes, cc for CC; in an output
# `...` stands for any number of lines. A command that is shown twice runs once.
root=$(dirname "$0")
while [ ! -f "$root/sources.mk" ]; do root=$root/..; done
cd "$root" || exit 1
. tests/cli/lib.sh

documents='README.md docs/PORTING.md'

# Commands that are shown and not run, one a line: the gate, since this test is a part of it.
not_run='make check'

# ---- tools ----
mkdir "$dir/DIR" "$dir/bin"
: > "$dir/err"
# `make` must not build: the tests beside this one use what is there, and what they run with is up to
# date.
cat > "$dir/bin/make" << END
#!/bin/sh
exec $(command -v make) -o '$granule' B='${granule%/*}' "\$@"
END
cat > "$dir/bin/cc" << END
#!/bin/sh
PATH='$PATH' exec ${CC:-cc} "\$@"
END
chmod +x "$dir/bin/make" "$dir/bin/cc"
PATH=$dir/bin:$PATH
unset MAKEFLAGS MFLAGS GNUMAKEFLAGS MAKELEVEL

# classify DOCUMENT: its lines, each behind a letter: S a command with output, L one without, c the
# rest of a command, O output, T all else.
classify() {
    awk '
        /^```/ { fence = !fence }
        !fence && /^$/ { blanks++; next }
        {
            tag = "T"
            if (!fence && /^    / && (code || blanks)) {
                if (!code) session = /^    \$ /
                code = 1
                tag = more ? "c" : !session ? "L" : /^    \$ / ? "S" : "O"
                more = tag != "O" && /\\$/
            } else code = 0
            for (; blanks > 0; blanks--) print tag == "O" ? "O" : "T"
            print tag $0
        }' "$1"
}

# extract FIRST: command N of a classified document into $dir/N.sh, its output into $dir/N.shown.
# Prints the number of the last one.
extract() {
    awk -v n="$1" -v dir="$dir" '
        { tag = substr($0, 1, 1); text = substr($0, 6) }
        tag == "S" || tag == "L" {
            close(dir "/" n ".sh")
            close(dir "/" n ".shown")
            n++
            sub(/^\$ /, "", text)
            sub(/  +# .*/, "", text)
            if (tag == "S") printf "" > (dir "/" n ".shown")
        }
        tag == "S" || tag == "L" || tag == "c" { print text > (dir "/" n ".sh") }
        tag == "O" { print text > (dir "/" n ".shown") }
        END { print n }'
}

# renew SHOWN OUTPUT: what the document has to show. Of the lines between two `...` the first is looked
# for, and the output goes on from there; false where it is not in the output, behind the part before.
renew() {
    awk '
        FILENAME == ARGV[1] {
            shown[++lines] = $0
            if ($0 == "...") { last = lines; if (!first) first = lines }
            next
        }
        { out[++count] = $0 }
        END {
            if (!first) {
                for (i = 1; i <= count; i++) print out[i]
                exit
            }
            for (at = 1; at < first && at <= count; at++) print out[at]
            for (i = first; i < last; i++) {
                if (shown[i] == "...") {
                    print "..."
                    for (; at <= count && out[at] != shown[i + 1]; at++) ;
                    if (at > count) { bad = 1; at = count + 1 }
                } else print at <= count ? out[at++] : shown[i]
            }
            print "..."
            at = count - (lines - last) + 1
            for (i = at > 1 ? at : 1; i <= count; i++) print out[i]
            exit bad
        }' "$1" "$2"
}

# rebuild FIRST: the document of a classified one, with the output of its commands from $dir/N.new.
rebuild() {
    awk -v n="$1" -v dir="$dir" '
        function show(   line) {
            while (shows && (getline line < (dir "/" n ".new")) > 0)
                print line == "" ? "" : "    " line
            shows = 0
        }
        { tag = substr($0, 1, 1) }
        tag == "O" { next }
        tag != "c" { show() }
        tag == "S" || tag == "L" { n++; shows = tag == "S" }
        { print substr($0, 2) }
        END { show() }'
}

# execute N: run command N into $dir/N.out.
execute() {
    sed -E 's,build/granule,'"$granule"',g; s,(^|[^A-Za-z_])DIR($|[^A-Za-z_]),\1'"$dir/DIR"'\2,g' \
        "$dir/$1.sh" > "$dir/command"
    told=$(cat "$dir/$1.sh")
    rc=0
    sh "$dir/command" > "$dir/raw" 2>&1 < /dev/null || rc=$?
    cp "$dir/raw" "$dir/out"
    status 0
    sed 's,'"$dir/DIR"',DIR,g; s,'"$granule"',build/granule,g' "$dir/raw" > "$dir/$1.out"
}

# ---- the commands ----
count=0
: > "$dir/skipped"
for document in $documents; do
    classify "$document" > "$dir/classified"
    first=$count
    count=$(extract "$first" < "$dir/classified")
    n=$first
    while [ "$n" -lt "$count" ]; do
        n=$((n + 1))
        if printf '%s\n' "$not_run" | grep -qxF -- "$(cat "$dir/$n.sh")"; then
            cat "$dir/$n.sh" >> "$dir/skipped"
            told="$document: $(cat "$dir/$n.sh")"
            check "it is not run, so its output cannot be shown" test ! -e "$dir/$n.shown"
            continue
        fi
        same=1
        while ! cmp -s "$dir/$same.sh" "$dir/$n.sh"; do same=$((same + 1)); done
        if [ "$same" -lt "$n" ]; then
            cp "$dir/$same.out" "$dir/$n.out"
        else
            execute "$n"
        fi
        [ -e "$dir/$n.shown" ] || continue
        told=$(cat "$dir/$n.sh")
        cp "$dir/$n.out" "$dir/out"
        check "$document: what is shown after ... is not in the output" \
            renew "$dir/$n.shown" "$dir/$n.out"
        renew "$dir/$n.shown" "$dir/$n.out" > "$dir/$n.new"
    done
    told=$document
    check "shows no command" test "$count" -gt "$first"
    rebuild "$first" < "$dir/classified" > "$dir/rebuilt"
    if [ -n "${UPDATE:-}" ] && [ "$failed" -eq 0 ]; then
        cmp -s "$dir/rebuilt" "$document" || cp "$dir/rebuilt" "$document"
    fi
    diff "$document" "$dir/rebuilt" > "$dir/out"
    check "the output is another: UPDATE=1 sh $0 writes it" test ! -s "$dir/out"
done
: > "$dir/out"
told='the list of commands that are not run'
check "some are not shown" test "$(sort -u "$dir/skipped")" = "$(printf '%s\n' "$not_run" | sort)"

# ---- what else a document says ----
told='README.md'
awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' README.md > "$dir/excerpt"
check "no excerpt" test -s "$dir/excerpt"
check "the C code is not in examples/hello-dma.c" awk '
    FILENAME == ARGV[1] { part = part $0 "\n"; next }
    { whole = whole $0 "\n" }
    END { exit index(whole, part) == 0 }' "$dir/excerpt" examples/hello-dma.c

# Every `make TARGET` in a text is a target, every `--option` of README.md an option of the command.
for document in README.md CONTRIBUTING.md docs/*.md; do
    told=$document
    # shellcheck disable=SC2016 # backquotes of the document
    for target in $(tr '\n' ' ' < "$document" | grep -o '`make [^`]*`' | tr -d '`' |
        sed "s/^make//; s/'[^']*'//g; s/ [A-Za-z_0-9]*=[^ ]*//g; s/ -[^ ]*//g; s/[&|].*//"); do
        check "make $target: no such target" grep -qE "^([a-z0-9 -]* )?$target( [a-z0-9 -]*)?:" Makefile
    done
done
told='README.md'
for verb in run attack dump walk bench; do "$granule" $verb --help; done > "$dir/out" 2> "$dir/err"
# shellcheck disable=SC2016
for option in $(grep -o '`[^`]*`' README.md | grep -oE -- '--[a-z-]+' | sort -u); do
    check "$option: no such option" grep -qE -- "(^| )$option([=, ]|\$)" "$dir/out"
done
: > "$dir/out"

for document in $documents; do
    told=$document
    awk '/^```/ { fence = !fence } !fence && !/^    / && length > 120 { print FNR ": " $0 }' "$document" \
        > "$dir/out"
    check "lines of more than 120 columns" test ! -s "$dir/out"
done

finish
