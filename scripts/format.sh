#!/bin/sh
# SPDX-License-Identifier: MIT
# format.sh -i: lay out every source. format.sh --dry-run -Werror: fail where one differs.
find include src models ports sim cli tests examples bench fuzz \
    \( -name '*.[ch]' -o -name '*.inc' \) 2> /dev/null |
    xargs clang-format "$@"
