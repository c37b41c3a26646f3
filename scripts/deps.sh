#!/bin/sh
# SPDX-License-Identifier: MIT
# deps.sh GROUP...: install what is missing, having said what; silent when nothing is.
#   build  what `make` and `make run` need     check  and what `make check` needs
#   ci     and what .ci/run needs              dev    clang-format and clang-tidy
#   peer   Linux's sources for bench-peer      plots  and gnuplot
#   qemu   what `make qemu-check` needs
# Needs are probed, never looked up in a package database, so a machine that has them in its own
# way is left alone. Installing is apt-get's work; elsewhere the list is printed, and that is all.
set -u

cc=${CC:-gcc}
groups=" $* "
case $groups in *" plots "*) groups="$groups peer " ;; esac
case $groups in *" ci "*) groups="$groups check " ;; esac
case $groups in *" check "* | *" peer "*) groups="$groups build " ;; esac
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

missing=

# need PACKAGE COMMAND...: PACKAGE is missing unless COMMAND succeeds.
need() {
    _package=$1
    shift
    "$@" > "$tmp/log" 2>&1 || missing="$missing $_package"
}

has() {
    command -v "$1" > /dev/null 2>&1
}

# builds COMPILER CODE FLAGS...: does this little program compile and link?
builds() {
    _compiler=$1
    printf '%b\n' "$2" > "$tmp/probe.c"
    shift 2
    # shellcheck disable=SC2086 # a compiler may come with arguments
    $_compiler "$tmp/probe.c" -o "$tmp/probe" "$@"
}

find_missing() {
    missing=
    case $groups in *" build "*)
        case $cc in
        gcc*) need gcc has "${cc%% *}" ;;
        clang*) need clang has "${cc%% *}" ;;
        *) has "${cc%% *}" || {
            echo "granule: there is no compiler \`$cc'; name another with CC=" >&2
            exit 1
        } ;;
        esac
        if has "${cc%% *}"; then
            need libc6-dev builds "$cc" '#include <stdio.h>\nint main(void) { return puts(""); }'
            need libfdt-dev builds "$cc" \
                '#include <libfdt.h>\nint main(void) { return fdt_check_header(""); }' -lfdt
            need libjansson-dev builds "$cc" \
                '#include <jansson.h>\nint main(void) { return json_null() == 0; }' -ljansson
        else
            missing="$missing libc6-dev libfdt-dev libjansson-dev"
        fi
        need device-tree-compiler has dtc
        ;;
    esac
    case $groups in *" check "*)
        need g++ has g++
        need binutils has nm
        need patch has patch
        if has "${cc%% *}"; then
            need libcmocka-dev builds "$cc" '#include <stdarg.h>\n#include <stddef.h>
#include <setjmp.h>\n#include <stdint.h>\n#include <cmocka.h>\nint main(void) { skip(); }' -lcmocka
        else
            missing="$missing libcmocka-dev"
        fi
        ;;
    esac
    case $groups in *" ci "*)
        need clang has clang
        if has clang; then # its sanitizers' package carries its version
            need "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev" \
                builds clang 'int main(void) { return 0; }' -fsanitize=address,undefined
        fi
        need clang-format has clang-format
        need gcc-aarch64-linux-gnu has aarch64-linux-gnu-gcc
        need libc6-dev-arm64-cross cross aarch64-linux-gnu-gcc
        need gcc-riscv64-linux-gnu has riscv64-linux-gnu-gcc
        need libc6-dev-riscv64-cross cross riscv64-linux-gnu-gcc
        need gcovr has gcovr
        need valgrind has callgrind_annotate
        ;;
    esac
    case $groups in *" peer "*)
        need binutils has objcopy
        need xz-utils has xz
        need linux-source-6.12 test -e /usr/src/linux-source-6.12.tar.xz
        ;;
    esac
    case $groups in *" plots "*)
        need gnuplot-nox has gnuplot
        ;;
    esac
    case $groups in *" qemu "*)
        need qemu-system-arm has qemu-system-aarch64
        need gcc-aarch64-linux-gnu has aarch64-linux-gnu-gcc
        ;;
    esac
    case $groups in *" dev "*)
        need clang-format has clang-format
        need clang-tidy has clang-tidy
        ;;
    esac
}

# cross COMPILER: does it have the C headers that libfdt.h wants?
cross() {
    builds "$1" '#include <string.h>\n#include <limits.h>' -c
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

find_missing
updated=
# More than one round, because a compiler has to be there before its version is known.
for _ in 1 2; do
    [ -n "$missing" ] || exit 0
    if ! has apt-get; then
        echo "granule: missing, by the names of Debian's packages:$missing" >&2
        echo "granule: install them your system's way (there is no apt-get here), then try again." >&2
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ] && ! has sudo; then
        echo "granule: missing:$missing" >&2
        echo "granule: installing needs root or sudo; as root: apt-get install$missing" >&2
        exit 1
    fi
    echo "granule: installing with apt-get:$missing"
    if [ -z "$updated" ]; then
        as_root apt-get -qq update ||
            echo "granule: apt-get update failed; going on with the package lists that are here" >&2
        updated=1
    fi
    # shellcheck disable=SC2086 # a list of packages
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends \
        $missing > "$tmp/apt.log" 2>&1 || {
        cat "$tmp/apt.log" >&2
        echo "granule: apt-get could not install:$missing" >&2
        exit 1
    }
    find_missing
done
[ -z "$missing" ] && exit 0
echo "granule: installed, and yet these do not work with CC=$cc:$missing" >&2
cat "$tmp/log" >&2
exit 1
