#!/bin/sh
# SPDX-License-Identifier: MIT
# fetch-libfdt.sh DIR: unpack Debian's arm64 package of libfdt into DIR: libfdt.a, libfdt.h, fdt.h.
# Nothing is installed and apt's configuration stays as it is: the lists are DIR's own.
# LIBFDT_A names an archive for aarch64 elsewhere; then this script is not asked.
set -u

mkdir -p "$1" || exit 1
dir=$(cd "$1" && pwd)
apt=$dir/apt
command -v apt-get > /dev/null || {
    echo "qemu: libfdt for aarch64 comes by apt-get, which is not here; name one with LIBFDT_A= and LIBFDT_INC=" >&2
    exit 1
}
rm -rf "$apt"
mkdir -p "$apt/lists/partial" "$apt/archives/partial" && : > "$apt/status" || exit 1
echo "qemu: unpacking the arm64 package libfdt-dev into $dir"
set -- -qq -y -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$apt" \
    -o Dir::State::status="$apt/status" -o Dir::Cache="$apt" -o Dir::Log="$apt" \
    -o Acquire::Languages=none -o APT::Sandbox::User=
{
    apt-get "$@" update # one source of many may fail
    (cd "$apt" && apt-get "$@" download libfdt-dev) && dpkg-deb -x "$apt"/libfdt-dev_*.deb "$apt/root"
} > "$dir/log" 2>&1 &&
    cp "$apt/root/usr/include/libfdt.h" "$apt/root/usr/include/fdt.h" \
        "$apt/root/usr/lib/aarch64-linux-gnu/libfdt.a" "$dir" || {
    cat "$dir/log" >&2
    exit 1
}
rm -rf "$apt"
