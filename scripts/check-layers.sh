#!/bin/sh
# SPDX-License-Identifier: MIT
# check-layers.sh [ROOT]: includes point down only (docs/DESIGN.md, layers).
# check-layers.sh --self-test: plants each kind of violation and sees it found.
set -u

# LAYER | where its files are (the first prefix that fits decides) | what they may include besides
# their own layer. A name with a trailing + means that layer's public headers only.
# fs: the headers of a freestanding C11 compiler. libc: any other system header. port: gr_port.h.
# fdt, json, cmocka: the libraries.
rules='
base     | include/granule/types.h include/granule/err.h include/granule/port.h include/granule/config.h | port fs
core     | include/granule/log.h src/core/ | base fs
iova     | include/granule/iova.h src/iova/ | base core fs
pt       | include/granule/pt.h src/pt/ | base core fs
instance | include/granule/instance.h include/granule/fault.h | base core pt+ fs
drv      | include/granule/drv/ src/drv/ | base core pt+ instance fs
iommu    | include/granule/domain.h include/granule/bounce.h src/iommu/ | base core iova pt instance fs
dma      | include/granule/dma.h src/dma/ | base core iova pt instance iommu fs
dt       | include/granule/dt.h src/dt/ | base core fdt fs
all      | include/granule/granule.h | base core+ iova+ pt+ instance+ drv+ iommu+ dma+
models   | models/ | fs libc
image    | ports/template/image.c | public fs
porttest | ports/template/test.c | public models fs libc
template | ports/template/ | base fs
qemu     | ports/qemu-aarch64/ | public drivers fdt fs
qtest    | ports/qemu-qtest/ | public qemu drivers fs libc
ports    | ports/ | public models fs libc
walker   | cli/walker.h cli/walker.c | fs libc
cli      | cli/ | walker public ports models fdt json fs libc
drivers  | examples/drivers/ | public fs
examples | examples/ | public ports models fs libc
bench    | bench/ | public ports json fs libc
tests    | tests/ | walker public private ports models fdt json cmocka fs libc
fuzz     | fuzz/ | tests cli walker public private ports models fdt json cmocka fs libc
'

check() {
    cd "$1" || return 1
    files=$(find include src models ports cli examples bench tests fuzz \
        \( -name '*.[ch]' -o -name '*.inc' \) 2> /dev/null | sort)
    [ -n "$files" ] || {
        echo "check-layers: no source in $1" >&2
        return 1
    }
    # shellcheck disable=SC2086
    awk -v rules="$rules" -v files="$files" '
        BEGIN {
            n = split(rules, line, "\n")
            for (i = 1; i <= n; i++) {
                if (split(line[i], field, "|") != 3) continue
                gsub(/ /, "", field[1])
                m = split(field[2], path, " ")
                for (j = 1; j <= m; j++) { prefix[++prefixes] = path[j]; layer[prefixes] = field[1] }
                m = split(field[3], what, " ")
                for (j = 1; j <= m; j++) may[field[1], what[j]] = 1
                may[field[1], field[1]] = 1
            }
            n = split(files, file, "\n")
            for (i = 1; i <= n; i++) exists[file[i]] = 1
        }
        function layer_of(path, i) {
            for (i = 1; i <= prefixes; i++)
                if (index(path, prefix[i]) == 1) return layer[i]
            return ""
        }
        # folder/../x -> x
        function plain(path) {
            while (sub(/[^\/]+\/\.\.\//, "", path)) ;
            return path
        }
        function resolve(name, dir, i, n, try, where) {
            n = split(dir " include src ports/host models .", where, " ")
            for (i = 1; i <= n; i++) {
                try = where[i] == "." ? name : plain(where[i] "/" name)
                if (try in exists) return try
            }
            return ""
        }
        function complain(why) {
            printf "%s:%d: %s\n", FILENAME, FNR, why
            bad++
        }
        FNR == 1 {
            own = layer_of(FILENAME)
            dir = FILENAME
            sub(/\/[^\/]*$/, "", dir)
            if (own == "") complain("belongs to no layer: name one in scripts/check-layers.sh")
        }
        own != "" && /^[ \t]*#[ \t]*include/ {
            name = $0
            if (!match(name, /["<][^">]*[">]/)) {
                # A computed include names a file by a macro; what it names is checked itself.
                next
            }
            name = substr(name, RSTART + 1, RLENGTH - 2)
            if (name == "gr_port.h") {
                if (!((own, "port") in may) && !((own, "ports") in may))
                    complain("only include/granule/port.h and hosted code include gr_port.h")
                next
            }
            target = resolve(name, dir)
            if (target == "") {
                if (name ~ /^(libfdt|fdt|libfdt_env)\.h$/) kind = "fdt"
                else if (name == "jansson.h") kind = "json"
                else if (name == "cmocka.h") kind = "cmocka"
                else if (name ~ /^(stddef|stdint|stdbool|stdarg|limits)\.h$/) kind = "fs"
                else if ($0 ~ /"/) { complain("\"" name "\" is nowhere"); next }
                else kind = "libc"
                if (!((own, kind) in may)) complain(own " may not include <" name ">")
                next
            }
            to = layer_of(target)
            public = target ~ /^include\//
            if (FILENAME ~ /^include\// && !public) {
                complain("a public header includes public headers only, not " target)
                next
            }
            if ((own, to) in may) next
            if (public && (((own, to "+") in may) || ((own, "public") in may))) next
            if (target ~ /^src\// && ((own, "private") in may)) next
            complain(own " may not include " target " (" (to == "" ? "no layer" : to) ")")
        }
        END { exit bad > 0 }' $files
}

self_test() {
    tmp=$(mktemp -d) || exit 1
    trap 'rm -rf "$tmp"' EXIT
    mkdir -p "$tmp/include/granule/drv" "$tmp/models/dart" "$tmp/ports/host" "$tmp/ports/template" \
        "$tmp/ports/qemu-aarch64" "$tmp/ports/qemu-qtest" "$tmp/examples/drivers"
    for dir in core iova pt/fmt drv/dart iommu dma dt; do mkdir -p "$tmp/src/$dir"; done
    for dir in cli examples bench tests fuzz; do mkdir -p "$tmp/$dir"; done
    for name in types err port config pt iova fault instance domain dma dt drv/dart; do
        echo '#include <stdint.h>' > "$tmp/include/granule/$name.h"
    done
    echo '#include <granule/dma.h>' > "$tmp/include/granule/granule.h"
    for name in src/core/log src/iova/iova src/pt/pt src/pt/pt_core.inc src/pt/fmt/dart1 \
        src/drv/dart/regs src/iommu/iommu src/dma/dma src/dt/dt models/model models/dart/dart \
        ports/host/host ports/template/gr_port ports/host/gr_port cli/cli cli/walker examples/hello \
        examples/drivers/pci ports/qemu-aarch64/board; do
        echo '#include <stdint.h>' > "$tmp/$name.h"
    done

    # Lines "+" must pass, lines "-" must be found: file, then what it includes.
    cases=0 wrong=0
    while read -r sign file include; do
        cases=$((cases + 1))
        echo "#include $include" > "$tmp/$file"
        if (check "$tmp") > "$tmp/out" 2>&1; then found=+; else found=-; fi
        if [ "$found" != "$sign" ]; then
            echo "self-test: $file with #include $include: expected $sign" >&2
            cat "$tmp/out" >&2
            wrong=$((wrong + 1))
        fi
        rm "$tmp/$file"
    done <<END
+ src/core/x.c "core/log.h"
+ src/core/x.c <granule/err.h>
- src/core/x.c "iova/iova.h"
- src/core/x.c <granule/iova.h>
- src/core/x.c <string.h>
- src/core/x.c "nowhere.h"
+ src/iova/x.c "core/log.h"
- src/iova/x.c "../pt/pt.h"
- src/iova/x.c <granule/domain.h>
+ src/pt/x.c "fmt/dart1.h"
+ src/pt/fmt/x.h "../pt_core.inc.h"
- src/pt/x.c "iova/iova.h"
- src/pt/x.c <granule/instance.h>
+ src/drv/dart/x.c <granule/pt.h>
+ src/drv/dart/x.c <granule/instance.h>
- src/drv/dart/x.c "pt/pt.h"
- src/drv/dart/x.c <granule/domain.h>
- src/drv/dart/x.c "models/dart/dart.h"
+ src/iommu/x.c "iova/iova.h"
- src/iommu/x.c "drv/dart/regs.h"
- src/iommu/x.c <granule/drv/dart.h>
- src/iommu/x.c "dma/dma.h"
+ src/dma/x.c "iommu/iommu.h"
- src/dma/x.c <granule/drv/dart.h>
- src/dma/x.c <libfdt.h>
- src/dma/x.c <granule/granule.h>
+ src/dt/x.c <libfdt.h>
- src/dt/x.c <granule/dma.h>
- include/granule/x.h <stdint.h>
- include/granule/drv/x.h "core/log.h"
- include/granule/drv/x.h <granule/dma.h>
- src/other.c <stdint.h>
+ models/dart/x.c "../model.h"
+ models/dart/x.c <stdlib.h>
- models/dart/x.c <granule/types.h>
- models/dart/x.c "drv/dart/regs.h"
- models/dart/x.c "host.h"
+ ports/host/x.c "dart/dart.h"
- ports/host/x.c "core/log.h"
- ports/template/x.h <stdlib.h>
- ports/template/gr_port.c <granule/dma.h>
+ ports/template/image.c <granule/dma.h>
- ports/template/image.c <stdlib.h>
+ ports/template/test.c "dart/dart.h"
- ports/template/x.c "dart/dart.h"
+ ports/qemu-aarch64/x.c "examples/drivers/pci.h"
+ ports/qemu-aarch64/x.c <libfdt.h>
- ports/qemu-aarch64/x.c <stdlib.h>
- ports/qemu-aarch64/x.c "core/log.h"
+ ports/qemu-qtest/x.c "ports/qemu-aarch64/board.h"
+ ports/qemu-qtest/x.c <stdlib.h>
- ports/qemu-qtest/x.c "core/log.h"
- ports/qemu-qtest/x.c "host.h"
+ examples/drivers/x.c <granule/dma.h>
- examples/drivers/x.c <stdlib.h>
- examples/drivers/x.c "host.h"
+ cli/x.c "models/dart/dart.h"
+ cli/x.c <jansson.h>
+ cli/x.c "host.h"
- cli/x.c "core/log.h"
- examples/x.c "drv/dart/regs.h"
- examples/x.c <libfdt.h>
- bench/x.c "cli/cli.h"
+ tests/x.c "pt/fmt/dart1.h"
+ tests/x.c <cmocka.h>
- tests/x.c "cli/cli.h"
+ fuzz/x.c "cli/cli.h"
- cli/x.c "fuzz/fuzz.h"
+ tests/x.c "cli/walker.h"
+ cli/x.c "walker.h"
- cli/walker.c "cli.h"
- cli/walker.c <granule/types.h>
- cli/walker.c "models/model.h"
END
    echo "check-layers: self-test: $cases cases, $wrong wrong"
    [ "$wrong" -eq 0 ]
}

case ${1-} in
--self-test) self_test ;;
*) check "${1:-.}" ;;
esac
