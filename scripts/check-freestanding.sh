#!/bin/sh
# SPDX-License-Identifier: MIT
# check-freestanding.sh [TARGET-FLAGS...]: build the library as a kernel would, with the template's
# port and no libc, link it relocatably, and hold what is left undefined against what a host is
# told to supply: the functions of include/granule/port.h and memcpy memmove memset memcmp; for the
# device-tree front end libfdt's fdt_* as well, and the string functions that libfdt itself wants.
# `make check-freestanding` calls this with CC, SRCS, SRCS_DT and WARNINGS set.
set -u

out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT
mkdir -p "$out/include/gnu" || exit 1

# What a host without libc gives libfdt: its header libfdt_env.h, which is libfdt's own port.
cat > "$out/include/libfdt_env.h" <<'END'
#ifndef LIBFDT_ENV_H
#define LIBFDT_ENV_H
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "big endian: the conversions below do nothing there"
#endif
typedef uint16_t fdt16_t;
typedef uint32_t fdt32_t;
typedef uint64_t fdt64_t;
#define fdt16_to_cpu(x) __builtin_bswap16(x)
#define cpu_to_fdt16(x) __builtin_bswap16(x)
#define fdt32_to_cpu(x) __builtin_bswap32(x)
#define cpu_to_fdt32(x) __builtin_bswap32(x)
#define fdt64_to_cpu(x) __builtin_bswap64(x)
#define cpu_to_fdt64(x) __builtin_bswap64(x)
void *memcpy(void *, const void *, size_t);
void *memmove(void *, const void *, size_t);
void *memset(void *, int, size_t);
int memcmp(const void *, const void *, size_t);
void *memchr(const void *, int, size_t);
char *strchr(const char *, int);
char *strrchr(const char *, int);
size_t strlen(const char *);
size_t strnlen(const char *, size_t);
#endif
END
# The C library's limits.h leads to a list of stubs, which cross packages have for one ABI only.
: > "$out/include/gnu/stubs-lp64.h"
for header in libfdt.h fdt.h; do
    # The preprocessor of this machine's own compiler knows where libfdt is.
    from=$(echo "#include <$header>" | gcc -E - | sed -n "s/^# 1 \"\(.*\/$header\)\".*/\1/p" | head -n 1)
    cp "$from" "$out/include/" || exit 1
done

# objects SOURCE...: compile each; prints the objects.
objects() {
    for src; do
        obj=$out/$(echo "${src%.c}" | tr / .).o
        # shellcheck disable=SC2086 # lists of flags
        $CC -std=c11 -O2 -ffreestanding -nostdlib -fno-pic -fno-pie $WARNINGS -Werror $target \
            -Iinclude -Isrc -Iports/template -isystem "$out/include" -c -o "$obj" "$src" || return 1
        echo "$obj"
    done
}

target=$*
lib=$(objects $SRCS) && dt=$(objects $SRCS_DT) || exit 1

# The port's functions: what port.h declares without defining it.
awk '
    { while (1) { # without comments
          if (open) { if (!(i = index($0, "*/"))) next; $0 = substr($0, i + 2); open = 0 }
          if (!(i = index($0, "/*"))) break
          j = index(substr($0, i + 2), "*/")
          if (j) $0 = substr($0, 1, i - 1) substr($0, i + j + 3)
          else { held = substr($0, 1, i - 1); $0 = held; open = 1; break } } }
    /^[ \t]*#/ || /static inline/ { next }
    match($0, /gr_port_[a-z0-9_]+\(/) { print substr($0, RSTART, RLENGTH - 1) }
' include/granule/port.h | sort -u > "$out/port"
if [ ! -s "$out/port" ]; then
    echo "check-freestanding: no function found in include/granule/port.h" >&2
    exit 1
fi
printf '%s\n' memcpy memmove memset memcmp | sort -u - "$out/port" > "$out/allowed"

# undefined NAME OBJECT...: link, and list what is undefined.
nm=$($CC -print-prog-name=nm)
undefined() {
    name=$1
    shift
    # shellcheck disable=SC2086
    $CC $target -nostdlib -no-pie -r -o "$out/$name" "$@" || exit 1
    $nm -u "$out/$name" | awk '{ print $NF }' | sort -u
}

rc=0
undefined granule.o $lib > "$out/undefined" || exit 1
if extra=$(grep -vxFf "$out/allowed" "$out/undefined"); then
    echo "check-freestanding: the library asks for more than the port:" $extra >&2
    rc=1
fi
undefined granule-dt.o $lib $dt > "$out/undefined-dt" || exit 1
if extra=$(grep -vxFf "$out/allowed" "$out/undefined-dt" | grep -vxFf "$out/undefined" |
    grep -vxE 'fdt_.*'); then
    echo "check-freestanding: the device-tree front end asks for more than the port and libfdt:" $extra >&2
    rc=1
fi
echo "$($CC -dumpmachine): $(wc -l < "$out/undefined") undefined symbols: $(tr '\n' ' ' < "$out/undefined")"
echo "functions of the port that nothing needs: $(grep -vxFf "$out/undefined-dt" "$out/port" | tr '\n' ' ')"
exit $rc
