#!/bin/sh
# SPDX-License-Identifier: MIT
# check-32bit.sh: what an address of 32 bits could break. The library compiles for i686 and armv7
# with every warning and without libc, and asks the compiler's runtime for nothing but
# __atomic_store_8, which a port replaces (gr_port_table_store64). Library, hosted port, models and
# tests are built for i686 with the sanitizers, and every test program and example runs.
# `make check-32bit` calls this with MAKE, B, SRCS, HOSTED_SRCS and WARNINGS set; clang compiles,
# because it brings its own runtime and sanitizers for i686.
#
# Nothing is installed and apt's configuration stays as it is: the i386 packages of libc and of the
# libraries that tests link are unpacked into $B/32bit/root, by an apt-get with lists of its own.
set -u
. scripts/lib.sh

mkdir -p "$B/32bit" || exit 1
out=$(cd "$B/32bit" && pwd)
root=$out/root
lib=lib/i386-linux-gnu
packages='libc6-dev libatomic1 libcmocka-dev libfdt-dev libjansson-dev'

# ---- The library alone ----

# library TARGET FLAGS...: compile it, and look at what it leaves to the compiler's runtime.
library() {
    _dir=$out/$1
    _target=$1
    shift
    rm -rf "$_dir"
    mkdir -p "$_dir" || return 1
    for _src in $SRCS; do
        # shellcheck disable=SC2086 # a list of flags
        clang "--target=$_target" "$@" -std=c11 -O2 -ffreestanding $WARNINGS -Werror \
            -Wno-atomic-alignment -Iinclude -Isrc -Iports/template -c \
            -o "$_dir/$(echo "${_src%.c}" | tr / .).o" "$_src" || return 1
    done
    # Division of 32 bits is what every armv7 has a function for.
    _asked=$(nm -u "$_dir"/*.o | awk '$1 == "U" { print $2 }' | sort -u |
        grep '^__' | grep -vxE '__atomic_store_8|__aeabi_(mem.*|u?idiv(mod)?)')
    [ -z "$_asked" ] || {
        echo "check-32bit: $_target: the library asks for $(echo "$_asked" | tr '\n' ' ')" >&2
        return 1
    }
}

# ---- A root with libc and the tests' libraries ----

fetch() {
    apt=$out/apt
    rm -rf "$apt" "$root"
    mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$root" && : > "$apt/status" || return 1
    set -- -qq -y -o APT::Architecture=i386 -o APT::Architectures=i386 -o Dir::State="$apt" \
        -o Dir::State::status="$apt/status" -o Dir::Cache="$apt" -o Dir::Log="$apt" \
        -o Acquire::Languages=none -o APT::Sandbox::User= --no-install-recommends
    echo "check-32bit: unpacking into $root the i386 packages $packages and what they need"
    # One source of many may fail; what then is missing is said below.
    apt-get "$@" update > "$apt/log" 2>&1
    # shellcheck disable=SC2086 # a list of packages
    apt-get "$@" --download-only install $packages >> "$apt/log" 2>&1 || {
        cat "$apt/log" >&2
        return 1
    }
    for _deb in "$apt"/archives/*.deb; do
        dpkg-deb -x "$_deb" "$root" || return 1
    done
    [ -e "$root/lib" ] || ln -s usr/lib "$root/lib" # where a release has one folder only
    rm -rf "$apt"
    echo "$packages" > "$root/packages"
}

# The compiler of the hosted build. Libraries by name of file, since a linker's libgcc_s.so and
# libatomic.so belong to gcc. A cast that tests leave out where 64 bits shrink to size_t is no
# error here, but a value that does not survive it is (implicit-integer-truncation).
make_compiler() {
    cat > "$out/cc" << END
#!/bin/sh
exec clang --target=i686-linux-gnu '--sysroot=$root' -D_FILE_OFFSET_BITS=64 -Qunused-arguments \\
    --rtlib=compiler-rt --unwindlib=none "\$@" '-Wl,--dynamic-linker=$root/lib/ld-linux.so.2' \\
    '-Wl,-rpath,$root/$lib:$root/usr/$lib' -Wl,--as-needed \\
    -l:libatomic.so.1 -Wl,--no-as-needed -l:libgcc_s.so.1
END
    chmod +x "$out/cc"
}

hosted() {
    echo "$packages" | cmp -s - "$root/packages" || fetch || return 1
    make_compiler || return 1
    # shellcheck disable=SC2086 # a list of flags
    "$out/cc" -std=c11 -D_GNU_SOURCE $WARNINGS -Werror -Wno-atomic-alignment -Iinclude \
        -Iports/host -Imodels -fsyntax-only $HOSTED_SRCS || return 1
    # Test scripts are of the command, which wants machines of many GiB.
    $MAKE --no-print-directory B="$B/32bit" CC="$out/cc" WERROR=1 TEST_SCRIPTS= \
        W="-Wno-atomic-alignment -Wno-shorten-64-to-32" \
        SAN=address,undefined,implicit-integer-truncation test
}

begin_tally
step "32 bits, i686 library" library i686-none-elf -mgeneral-regs-only
step "32 bits, armv7 library" library armv7-none-eabi
if echo "$packages" | cmp -s - "$root/packages" || command -v apt-get > /dev/null; then
    step "32 bits, tests" hosted
else
    skip "32 bits, tests" "the i386 packages $packages come by apt-get, which is not here"
fi
end_tally
