#!/bin/sh
# SPDX-License-Identifier: MIT
# check-docs.sh [ROOT]: what is cited is there.
#   NAME.md in sources, scripts and documents         a file: from the root, beside, or below docs/
#   NAME.md 4.2, NAME.md 2, 3 and 4.1 to 4.4          headings with these numbers, or items of lists:
#                                                     5.9 is item 9 of section 5
#   NAME.md, "Words"                                  a heading
#   "section 3"                                       of the same document; elsewhere NAME.md 3
#   links of documents                                a file and, after #, a heading
#   lines of documents                                at most 120 columns, but for blocks of code
#   lists of errors in public headers                 one error a line
# check-docs.sh --self-test: plants each kind of violation and sees it found.
set -u

check() {
    cd "$1" || return 1
    here=$(find . -name .git -prune -o -name 'build*' -prune -o -print | sed 's,^\./,,' | sort)
    # This script and the self-tests of others cite what is nowhere.
    texts=$(echo "$here" | grep -E '\.([chS]|inc|awk|dtsi?|ld|md|mk|patch|py|sh|txt)$|(^|/)(Makefile|run)$' |
        grep -vE '^(scripts/check-(docs|symbols)\.sh|fuzz/corpus/|tests/planted/)')
    documents=$(echo "$texts" | grep '\.md$')
    [ -n "$documents" ] || {
        echo "check-docs: no document in $1" >&2
        return 1
    }
    # shellcheck disable=SC2086
    echo "$here" | awk '
        function complain(line, why) {
            printf "%s:%d: %s\n", path, line, why
            bad++
        }
        function folder(name) { return sub(/[^\/]*$/, "", name) ? name : "" }
        # folder/../x -> x
        function plain(name) {
            while (sub(/(^|[^\/]+)\/\.\.\//, "", name)) ;
            gsub(/(^|\/)\.\//, "", name)
            sub(/\/$/, "", name)
            return name
        }
        # The anchor that a heading gets.
        function slug(text) {
            text = tolower(text)
            gsub(/[^a-z0-9 _-]/, "", text)
            gsub(/ /, "-", text)
            return text
        }
        # The document that a name means, or "".
        function document(name) {
            if (plain(name) in there) return plain(name)
            if (plain(folder(path) name) in there) return plain(folder(path) name)
            return name !~ /\// && name in unique ? unique[name] : ""
        }
        function heading(text, number) {
            sub(/^#+ */, "", text)
            at = ""
            if (match(text, /^[0-9]+(\.[0-9]+)*/)) {
                at = substr(text, 1, RLENGTH)
                number[FILENAME, at] = 1
            }
            text = slug(text)
            anchors[FILENAME, text seen[FILENAME, text]] = 1
            seen[FILENAME, text] = "-" (++twice[FILENAME, text])
        }
        # The numbers at the start of `text`: each is a section of `to`.
        function numbers(text, to, line, called, n) {
            while (match(text, /^[0-9]+(\.[0-9]+)*/)) {
                n = substr(text, 1, RLENGTH)
                text = substr(text, RLENGTH + 1)
                if (text ~ /^[A-Za-z0-9_%]/) return
                if (!((to, n) in sections)) complain(line, called " has no section " n)
                if (!match(text, /^(,|;|,? (and|or|to))[ \n]/)) return
                text = substr(text, RLENGTH + 1)
            }
        }
        function lines_of(text) { return gsub(/\n/, "", text) }

        # One file, its lines without the signs of comments in `all`.
        function finish(rest, line, name, to, before, after, quoted) {
            rest = all
            line = 1
            while (match(rest, /[A-Za-z0-9_.\/-]*[A-Z][A-Za-z0-9-]*\.md/)) {
                before = substr(rest, 1, RSTART - 1)
                name = substr(rest, RSTART, RLENGTH)
                after = substr(rest, RSTART + RLENGTH)
                line += lines_of(before)
                rest = after
                if (before ~ /\]\($/) continue # a link
                to = document(name)
                if (to == "") {
                    complain(line, name " is nowhere")
                    continue
                }
                sub(/^,?[ \n](sections? )?/, "", after)
                numbers(after, to, line, name)
                if (match(after, /^"[^"]*"/)) {
                    quoted = substr(after, 2, RLENGTH - 2)
                    gsub(/\n/, " ", quoted)
                    if (!((to, slug(quoted)) in anchors)) complain(line, name " has no heading \"" quoted "\"")
                }
            }
            rest = all
            line = 1
            while (match(rest, /[Ss]ections?[ \n][0-9]/)) {
                before = substr(rest, 1, RSTART - 1)
                line += lines_of(before)
                rest = substr(rest, RSTART + RLENGTH - 1)
                if (before ~ /[A-Za-z_]$/ || before ~ /\.md,?[ \n]$/) continue
                if (path ~ /\.md$/) numbers(rest, path, line, path)
                else complain(line, "a section of which document? Write NAME.md and the number")
            }
        }
        # Links of one line of a document.
        function links(text, target, anchor, to) {
            gsub(/`[^`]*`/, "", text)
            while (match(text, /\]\([^) ]*\)/)) {
                target = substr(text, RSTART + 2, RLENGTH - 3)
                text = substr(text, RSTART + RLENGTH)
                if (target ~ /^[a-z]+:/) continue
                anchor = ""
                if (match(target, /#.*/)) {
                    anchor = substr(target, RSTART + 1)
                    target = substr(target, 1, RSTART - 1)
                }
                to = target == "" ? path : plain(folder(path) target)
                if (!(to in there)) complain(FNR, "a link to " target ", which is nowhere")
                else if (anchor != "" && !((to, anchor) in anchors))
                    complain(FNR, "a link to #" anchor ", which is no heading of " to)
            }
        }

        pass == "names" {
            there[$0] = 1
            if ($0 ~ /\.md$/) {
                name = $0
                sub(/.*\//, "", name)
                if (name in unique) unique[name] = ""
                else unique[name] = $0
            }
            next
        }
        FNR == 1 { code = 0; at = "" }
        FILENAME ~ /\.md$/ && /^ *```/ { code = !code }
        { indented = /^    / && (indented || blank); blank = /^$/ } # a block of code, too
        pass == "headings" && !code && /^#/ { heading($0, sections) }
        pass == "headings" && !code && match($0, /^[0-9]+\. /) {
            sections[FILENAME, (at == "" ? "" : at ".") substr($0, 1, RLENGTH - 2)] = 1
        }
        pass == "headings" { next }

        FNR == 1 { if (path != "") finish(); path = FILENAME; all = "" }
        path ~ /\.md$/ && !code && !indented {
            if (length($0) > 120) complain(FNR, length($0) " columns: at most 120 outside of code")
            links($0)
        }
        /(^|[^A-Za-z_])facts\// { complain(FNR, "no facts/ is in this repository") }
        path ~ /^include\// && /^ *\*/ {
            line = $0
            sub(/^ *\* *(- )?(GR_E[A-Z0-9]+ +)?/, "", line)
            if (line ~ /- GR_E[A-Z0-9]+ |GR_E[A-Z0-9]+  /)
                complain(FNR, "an error of a list stands inside the text of another")
        }
        {
            line = $0
            sub(/^[ \t]*(\/\*+|\*+\/?|\/\/+|#+)?[ \t]*/, "", line)
            all = all line "\n"
        }
        END { if (path != "") finish(); exit bad > 0 }' \
        pass=names - pass=headings $documents pass=text $texts
}

self_test() {
    tmp=$(mktemp -d) || exit 1
    trap 'rm -rf "$tmp"' EXIT
    mkdir -p "$tmp/docs/hardware" "$tmp/include/granule" "$tmp/src" "$tmp/tests"
    # shellcheck disable=SC2016 # no expansion is meant
    printf '%s\n' '# Chip' '## 1. First' '## 4. Tables' '### 4.2 Leaf `x_y`' '1. one' '2. two' \
        '## Words, and more' > "$tmp/docs/hardware/CHIP.md"
    printf '%s\n' '# Guide' '1. one' '2. two' '## Twice' '## Twice' '```' '# no heading' '```' > "$tmp/docs/GUIDE.md"
    printf '%s\n' '# Read' > "$tmp/README.md"
    long=$(printf '%0121d' 0)

    # FILE|TEXT|what is said of it. Nothing said: it must pass. ~ stands for the end of a line.
    cases=0 wrong=0
    while IFS='|' read -r file text expected; do
        cases=$((cases + 1))
        printf '%s\n' "$text" | tr '~' '\n' > "$tmp/$file"
        (check "$tmp") > "$tmp/out" 2>&1
        found=$?
        if [ -z "$expected" ] && [ "$found" -ne 0 ]; then
            echo "self-test: $file: $text: nothing is wrong with it" >&2
        elif [ -n "$expected" ] && ! { [ "$found" -ne 0 ] && grep -qF "$file:$expected" "$tmp/out"; }; then
            echo "self-test: $file: $text: not found: $expected" >&2
        else
            expected=
            rm "$tmp/$file"
            continue
        fi
        cat "$tmp/out" >&2
        rm "$tmp/$file"
        wrong=$((wrong + 1))
    done <<END
src/x.c|/* CHIP.md 1, 4.2 and 4: x */|
src/x.c|/* docs/hardware/CHIP.md 4 to 4.2. */|
src/x.c|/*~ * See CHIP.md~ * 4.2, which has 16 KiB. */|
src/x.c|/* CHIP.md 4.2.2, an item */|
src/x.c|/* docs/GUIDE.md 2 */|
src/x.c|/* docs/hardware/CHIP.md, "Words, and more" */|
src/x.c|/* the section of 4 KiB; README.md */|
src/x.c|/* CHIP.md 3 */|1: CHIP.md has no section 3
src/x.c|/* CHIP.md 1, 4.2, 5: x */|1: CHIP.md has no section 5
src/x.c|/* CHIP.md 4 and 6 */|1: CHIP.md has no section 6
src/x.c|/* CHIP.md 4 to 4.3 */|1: CHIP.md has no section 4.3
src/x.c|/*~ * CHIP.md 4,~ * 7 */|2: CHIP.md has no section 7
src/x.c|/*~ * See CHIP.md~ * 8. */|2: CHIP.md has no section 8
src/x.c|/* CHIP.md 4.2.3 */|1: CHIP.md has no section 4.2.3
src/x.c|/* docs/GUIDE.md 3 */|1: docs/GUIDE.md has no section 3
src/x.c|/* CHIP.md, sections 1 and 9 */|1: CHIP.md has no section 9
src/x.c|/* docs/GUIDE.md, "Thrice" */|1: docs/GUIDE.md has no heading "Thrice"
src/x.c|/* docs/GUIDE.md, "no heading" */|1: docs/GUIDE.md has no heading "no heading"
src/x.c|/* docs/CHIP.md */|1: docs/CHIP.md is nowhere
src/x.c|/* NONE.md 4 */|1: NONE.md is nowhere
src/x.c|/*~ * section 4 */|2: a section of which document?
src/x.c|/* facts/CHIP.txt */|1: no facts/ is in
tests/x.sh|# artefacts/x; CHIP.md 1|
tests/x.sh|# CHIP.md 3|1: CHIP.md has no section 3
docs/X.md|[a](hardware/CHIP.md#42-leaf-x_y) [b](../README.md) [c](../src) [d](https://a.b/c)|
docs/X.md|[a](GUIDE.md#twice-1) [b](#x)~# X|
docs/X.md|[a](CHIP.md)|1: a link to CHIP.md, which is nowhere
docs/X.md|[a](GUIDE.md#twice-2)|1: a link to #twice-2, which is no heading
docs/X.md|# X~[a](#y)|2: a link to #y, which is no heading
docs/X.md|## 2. Two~section 2, CHIP.md 4|
docs/X.md|## 2. Two~sections 2 and 3|2: docs/X.md has no section 3
docs/X.md|CHIP.md 3|1: CHIP.md has no section 3
docs/X.md|$long|1: 121 columns
docs/X.md|\`\`\`~$long~\`\`\`|
docs/X.md|x~~    $long~    $long|
docs/X.md|x~    $long|2: 125 columns
README.md|# Read~[a](docs/NONE.md)|2: a link to docs/NONE.md, which is nowhere
include/granule/x.h|/*~ *   - GR_EIO     broken, after~ *                GR_EACCES too~ *   - GR_ENOMEM  none */|
include/granule/x.h|/*~ *   GR_EIO     broken~ *   GR_ENOMEM  none */|
include/granule/x.h|/*~ *   GR_EIO     broken~ * or not GR_ENOMEM  none */|3: an error of a list
include/granule/x.h|/*~ *   GR_EIO     broken GR_ENOMEM  none */|2: an error of a list
include/granule/x.h|/*~ *   - GR_EIO broken~ * or not - GR_ENOMEM none */|3: an error of a list
END
    echo "check-docs: self-test: $cases cases, $wrong wrong"
    [ "$wrong" -eq 0 ]
}

case ${1-} in
--self-test) self_test ;;
*) check "${1:-.}" ;;
esac
