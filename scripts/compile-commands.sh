#!/bin/sh
# SPDX-License-Identifier: MIT
# compile-commands.sh FILE: how each source is compiled, for clangd and other tools. What make would
# run is asked of make itself, so the variables as given hold: `make SAN=address compile_commands.json`.
# A source that is compiled several times has one entry, the first of: program and tests, benchmarks,
# tests beside QEMU, the image for QEMU, the benchmarks beside Linux. MAKE and B come from the Makefile.
set -u

file=${1:?name the file}

commands() {
    $MAKE --no-print-directory -Bn tests "$B/granule-bench" "$B/granule-qtest" "$B/obj/tests/removal/site.o" \
        lock-holds || return 1
    # Makefiles of their own, whose compilers are not the one that may have been given. Linux's sources
    # need not be here: make only has to believe it.
    set -- env -u MAKEFLAGS -u CC $MAKE --no-print-directory -Bn
    "$@" -f ports/qemu-aarch64/Makefile B="$B/qemu" && "$@" -f bench/peer/Makefile B="$B/peer" LINUX_TAR=/dev/null
}

# Lines that end in a backslash go on. A command ends at &&; its outputs are left out. A command that
# compiles several sources is one command for each.
entries() {
    awk -v directory="$(pwd)" '
        function text(s) {
            gsub(/[\\"]/, "\\\\&", s)
            return "\"" s "\""
        }
        { line = line $0 }
        sub(/\\$/, " ", line) { next }
        {
            sub(/ && .*/, "", line)
            n = split(line, word, /[ \t]+/)
            compiles = line ~ / -std=/
            line = ""
            if (!compiles) next
            command = ""
            sources = 0
            for (i = 1; i <= n; i++) {
                if (word[i] ~ /^-(o|MF|MT)$/) i++
                else if (word[i] ~ /^[^-].*\.c$/) source[++sources] = word[i]
                else if (word[i] !~ /^(-c|-MMD|-MP|)$/) command = command word[i] " "
            }
            for (i = 1; i <= sources; i++) {
                if (seen[source[i]]++ || (getline first < source[i]) <= 0) continue
                close(source[i])
                printf "%s\n{\"directory\": %s, \"file\": %s, \"command\": %s}", count++ ? "," : "[",
                    text(directory), text(source[i]), text(command "-c " source[i])
            }
        }
        END { print count ? "\n]" : "[]" }'
}

draft=$file.$$.tmp
trap 'rm -f "$draft" "$draft.make"' EXIT
commands > "$draft.make" || {
    echo "compile-commands.sh: make does not say what it would do" >&2
    exit 1
}
entries < "$draft.make" > "$draft" && mv "$draft" "$file"
