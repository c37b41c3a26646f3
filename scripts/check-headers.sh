#!/bin/sh
# SPDX-License-Identifier: MIT
# Each public header compiles alone, in C11 and C++17, against the template's port without libc and
# against the host's. CC and CXX choose the compilers.
set -u
. scripts/lib.sh

warnings="-Wall -Wextra -Wpedantic -Wundef -Werror"
good=0 bad=0
for header in $(find include/granule -name '*.h' | sort); do
    for how in "${CC:-gcc} -x c -std=c11" "${CXX:-g++} -x c++ -std=c++17"; do
        for port in "ports/template -ffreestanding" ports/host; do
            # Twice, so that the guard is seen to work; and a file may not be empty.
            include="#include <${header#include/}>"
            # shellcheck disable=SC2086 # lists of arguments
            if printf '%s\n' "$include" "$include" 'typedef int gr_not_empty;' |
                $how $warnings -Iinclude -I$port -fsyntax-only -; then
                good=$((good + 1))
            else
                echo "$header does not compile alone: $how -Iinclude -I$port" >&2
                bad=$((bad + 1))
            fi
        done
    done
done
tally headers "$good" "$bad"
[ "$bad" -eq 0 ] && [ "$good" -gt 0 ]
