#!/bin/sh
# SPDX-License-Identifier: MIT
# deps.sh GROUP...: install what is missing, having said what; silent when nothing is.
#   build  what `make` and `make run` need     check  and what `make check` needs
#   ci     and what .ci/run needs              dev    clang-format and clang-tidy
#   peer   Linux's sources for bench-peer      plots  and gnuplot
#   qemu   what `make qemu-check` needs        fresh  what `make check-fresh` needs
# Needs are probed, never looked up in a package database, so a machine that has them in its own
# way is left alone. Installing is apt-get's work; elsewhere the list is printed, and that is all.
# GR_INSTALL=no: print the list, install nothing, and fail.
#
# All groups make one list for one apt-get. One deps.sh installs at a time in a checkout: the next
# waits for the first to end, then probes again. apt-get itself waits for other users of dpkg.
set -u

cc=${CC:-gcc}
groups=" $* "
case $groups in *" plots "*) groups="$groups peer " ;; esac
case $groups in *" ci "*) groups="$groups check qemu fresh " ;; esac
case $groups in *" check "* | *" peer "*) groups="$groups build " ;; esac
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

missing=

# need PACKAGE COMMAND...: PACKAGE is missing unless COMMAND succeeds.
need() {
    _package=$1
    shift
    case "$missing " in *" $_package "*) return ;; esac
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

# cross COMPILER: does it have the C headers that libfdt.h wants?
cross() {
    builds "$1" '#include <string.h>\n#include <limits.h>' -c
}

# Without a compiler no probe builds, so that everything behind builds() is missing too.
find_missing() {
    missing=
    case $groups in *" build "*)
        case $cc in
        gcc* | clang*) need "${cc%% *}" has "${cc%% *}" ;; # gcc-12 is a package as well
        *) has "${cc%% *}" || {
            echo "granule: there is no compiler \`$cc'; name another with CC=" >&2
            exit 1
        } ;;
        esac
        need libc6-dev builds "$cc" '#include <stdio.h>\nint main(void) { return puts(""); }'
        need libfdt-dev builds "$cc" \
            '#include <libfdt.h>\nint main(void) { return fdt_check_header(""); }' -lfdt
        need libjansson-dev builds "$cc" \
            '#include <jansson.h>\nint main(void) { return json_null() == 0; }' -ljansson
        need device-tree-compiler has dtc
        ;;
    esac
    case $groups in *" check "*)
        need g++ has g++
        need binutils has nm
        need patch has patch
        need libcmocka-dev builds "$cc" '#include <stdarg.h>\n#include <stddef.h>
#include <setjmp.h>\n#include <stdint.h>\n#include <cmocka.h>\nint main(void) { skip(); }' -lcmocka
        ;;
    esac
    case $groups in *" ci "*)
        need clang has clang
        # The sanitizers' package carries clang's version, or that of the clang that comes now.
        version=$(clang -dumpversion 2> /dev/null | cut -d. -f1)
        need "libclang-rt-${version:+$version-}dev" \
            builds clang 'int main(void) { return 0; }' -fsanitize=address,undefined
        need clang-format has clang-format
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
    case $groups in *" fresh "*)
        need debootstrap has debootstrap
        ;;
    esac
    case $groups in *" dev "*)
        need clang-format has clang-format
        need clang-tidy has clang-tidy
        ;;
    esac
}

# leave WHY: nothing is installed.
leave() {
    echo "granule: missing, by the names of Debian's packages:$missing" >&2
    echo "granule: $1" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# The lock is not handed down: a daemon that a package starts would keep it.
apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 "$@" 9<&-
}

find_missing
[ -n "$missing" ] || exit 0
[ "${GR_INSTALL:-}" != no ] || leave "GR_INSTALL=no: install them yourself, then try again."
has apt-get || leave "install them your system's way (there is no apt-get here), then try again."
[ "$(id -u)" -eq 0 ] || has sudo ||
    leave "installing needs root or sudo; as root: apt-get install$missing"

# The lock is on this file, which is there whatever B is, and ends with its holder.
exec 9< "$0"
flock -n 9 || {
    echo "granule: waiting for another make in this folder, which installs packages"
    flock 9 || exit 1
}
find_missing # once more: another make may have installed since
[ -n "$missing" ] || exit 0
echo "granule: installing with apt-get:$missing"
apt update || echo "granule: apt-get update failed; going on with the package lists that are here" >&2
# shellcheck disable=SC2086 # a list of packages
apt -y install --no-install-recommends $missing > "$tmp/apt.log" 2>&1 || {
    cat "$tmp/apt.log" >&2
    echo "granule: apt-get could not install:$missing" >&2
    exit 1
}
find_missing
[ -n "$missing" ] || exit 0
echo "granule: installed, and yet these do not work with CC=$cc:$missing" >&2
cat "$tmp/log" >&2
exit 1
