#!/bin/sh
# SPDX-License-Identifier: MIT
# check-layers.sh [ROOT]: includes point down only (docs/DESIGN.md, layers).
# check-layers.sh --objects FILE.o...: so do the symbols that object files use, and no files use each
# other's in a circle. FILE is FOLDER/obj/SOURCE.o, compiled from SOURCE.c.
# check-layers.sh --self-test: plants each kind of violation and sees it found.
set -u

# LAYER | where its files are (the first prefix that fits decides) | what they may include besides
# their own layer | if there is a fourth column: the layers whose symbols its objects may use; without
# one, those of the third. A layer's name stands for the layers below it, too: models for models/dart.
# A name with a trailing + means that layer's public headers and gr_ symbols only; public means those
# of all layers. Any layer that may include base may use gr_port_ symbols.
# fs: the headers of a freestanding C11 compiler. libc: any other system header. port: gr_port.h.
# fdt, json, cmocka: the libraries.
rules='
base     | include/granule/types.h include/granule/err.h include/granule/port.h include/granule/config.h | port fs
core     | include/granule/log.h src/core/ | base fs
iova     | include/granule/iova.h src/iova/ | base core fs
pt       | include/granule/pt.h src/pt/ | base core fs
instance | include/granule/instance.h include/granule/fault.h | base core pt+ fs
drv/dart | include/granule/drv/dart.h src/drv/dart/ | base core pt+ instance fs | core pt+ iommu+
drv/smmuv3 | include/granule/drv/smmuv3.h src/drv/smmuv3/ | base core pt+ instance fs | core pt+ iommu+
drv      | include/granule/drv/ src/drv/ | base core pt+ instance fs | core pt+ iommu+
iommu    | include/granule/domain.h include/granule/bounce.h src/iommu/ | base core iova pt instance fs
dma      | include/granule/dma.h src/dma/ | base core iova pt instance iommu fs
dt       | include/granule/dt.h src/dt/ | base core fdt fs
all      | include/granule/granule.h | base core+ iova+ pt+ instance+ drv+ iommu+ dma+
models/common | models/model.h | fs libc
models/dart | models/dart/ | models/common fs libc
models/smmuv3 | models/smmuv3/ | models/common fs libc
models   | models/ | fs libc
image    | ports/template/image.c | public fs
porttest | ports/template/test.c | public models fs libc
template | ports/template/ | base fs
qemu     | ports/qemu-aarch64/ | public drivers fdt fs
qtest    | ports/qemu-qtest/ | public qemu drivers fs libc
ports    | ports/ | public models fs libc | models
walker   | sim/walker.h sim/walker.c | fs libc
sim      | sim/ | walker public ports models fdt json fs libc
cli      | cli/ | sim walker public json fs libc
drivers  | examples/drivers/ | public fs
examples | examples/ | public ports models fs libc
bench    | bench/ | public ports json fs libc
tests/lib | tests/lib/ | sim walker public private ports models fdt json cmocka fs libc
tests    | tests/ | sim walker public private ports models fdt json cmocka fs libc
fuzz     | fuzz/ | tests sim walker public private ports models fdt json cmocka fs libc
'

# awk: the table in `rules` as prefix[], layer[], may[LAYER, LAYER] for includes, uses[] for symbols.
table='
        BEGIN {
            n = split(rules, line, "\n")
            for (i = 1; i <= n; i++) {
                columns = split(line[i], field, "|")
                if (columns < 3) continue
                gsub(/ /, "", field[1])
                m = split(field[2], path, " ")
                for (j = 1; j <= m; j++) { prefix[++prefixes] = path[j]; layer[prefixes] = field[1] }
                m = split(field[3], what, " ")
                for (j = 1; j <= m; j++) may[field[1], what[j]] = 1
                m = split(field[columns], what, " ")
                for (j = 1; j <= m; j++) uses[field[1], what[j]] = 1
                may[field[1], field[1]] = uses[field[1], field[1]] = 1
            }
        }
        function layer_of(path, i) {
            for (i = 1; i <= prefixes; i++)
                if (index(path, prefix[i]) == 1) return layer[i]
            return ""
        }
        # Is `to`, or a layer that `to` is below, in the list of `own`?
        function allows(list, own, to, sign) {
            do if ((own, to sign) in list) return 1
            while (sub(/\/[^\/]*$/, "", to))
            return 0
        }
'

check() {
    cd "$1" || return 1
    files=$(find include src models ports sim cli examples bench tests fuzz \
        \( -name '*.[ch]' -o -name '*.inc' \) 2> /dev/null | sort)
    [ -n "$files" ] || {
        echo "check-layers: no source in $1" >&2
        return 1
    }
    # shellcheck disable=SC2086
    awk -v rules="$rules" -v files="$files" "$table"'
        BEGIN {
            n = split(files, file, "\n")
            for (i = 1; i <= n; i++) exists[file[i]] = 1
        }
        # folder/../x -> x
        function plain(path) {
            while (sub(/[^\/]+\/\.\.\//, "", path)) ;
            return path
        }
        function resolve(name, dir, i, n, try, where) {
            n = split(dir " include src ports/host models tests/lib .", where, " ")
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
            if (allows(may, own, to, "")) next
            if (public && (allows(may, own, to, "+") || ((own, "public") in may))) next
            if (target ~ /^src\// && ((own, "private") in may)) next
            complain(own " may not include " target " (" (to == "" ? "no layer" : to) ")")
        }
        END { exit bad > 0 }' $files
}

# What nm says of the objects: no arrow between layers that the table lacks, and no circle of files.
# A call of the port is neither: the library and the port want each other.
check_objects() {
    LC_ALL=C nm -A -g "$@" | awk -v rules="$rules" "$table"'
        # FOLDER/obj/SOURCE.o:VALUE TYPE NAME, without a value where NAME is undefined
        {
            at = index($1, ":")
            unit = substr($1, 1, at - 1)
            sub(/^(.*\/)?obj\//, "", unit)
            sub(/\.o$/, "", unit)
            if (!(unit in own)) {
                object[++objects] = unit
                own[unit] = layer_of(unit ".c")
                if (own[unit] == "") complain(unit ".o belongs to no layer: name one in scripts/check-layers.sh")
            }
        }
        $NF ~ /^__|^main$/ { next } # the sanitizers and each program have such
        at < length($1) { defines[$NF] = defines[$NF] " " unit; next }
        { user[++wants] = unit; wanted[wants] = $NF }
        function complain(why) { print why; bad++ }
        function check_arrow(from, to, name, a, b) {
            a = own[from]
            b = own[to]
            if (name ~ /^gr_port_/ && ((a, "base") in may)) return 0
            if (a != b && !allows(uses, a, b, "") && !(name !~ /^gri_/ && allows(uses, a, b, "+")) &&
                !(to ~ /^src\// && ((a, name ~ /^gri_/ ? "private" : "public") in uses)))
                complain(from ".o -> " to ".o (" name "): " a " may not use symbols of " b)
            return 1
        }
        # The shortest way along arrows from `start` back to it.
        function circle(start, queue, head, tail, from, to, before, i, text) {
            queue[tail = 1] = start
            for (head = 1; head <= tail; head++) {
                from = queue[head]
                for (i = 1; i <= out[from]; i++) {
                    to = arrow[from, i]
                    if (to == start) {
                        text = " (" why[from, to] ") -> " to ".o"
                        while (from != start) {
                            told[from] = 1
                            text = " (" why[before[from], from] ") -> " from ".o" text
                            from = before[from]
                        }
                        told[start] = 1
                        return start ".o" text
                    }
                    if (!(to in before)) { before[to] = from; queue[++tail] = to }
                }
            }
            return ""
        }
        END {
            if (!wants) { print "check-layers: no symbols in these objects"; exit 1 }
            for (i = 1; i <= wants; i++) {
                n = split(defines[wanted[i]], to, " ")
                for (j = 1; j <= n; j++) {
                    if (to[j] == user[i] || !check_arrow(user[i], to[j], wanted[i])) continue
                    if ((user[i], to[j]) in why) continue
                    why[user[i], to[j]] = wanted[i]
                    arrow[user[i], ++out[user[i]]] = to[j]
                }
            }
            for (i = 1; i <= objects; i++) {
                if (object[i] in told) continue
                text = circle(object[i])
                if (text != "") complain("circle: " text)
            }
            exit bad > 0
        }'
}

# plant FILE CODE: compile CODE as if it were FILE.c
plant() {
    mkdir -p "$tmp/obj/${1%/*}"
    echo "$2" | ${CC:-gcc} -x c -c -o "$tmp/obj/$1.o" - || exit 1
}

# Lines "+" must pass, lines "-" must be found: file, the function that it calls. Then two circles.
self_test_objects() {
    plant src/core/log 'void gri_log(void); void gr_port_log(void); void gri_log(void) { gr_port_log(); }'
    plant src/iommu/instance 'void gri_log(void); void gr_instance(void); void gri_instance(void);
        void gr_instance(void) { gri_log(); } void gri_instance(void) {}'
    plant src/iommu/domain 'void gr_instance(void); void gr_domain(void); void gri_domain(void);
        void gr_domain(void) { gr_instance(); } void gri_domain(void) {}'
    plant src/drv/smmuv3/smmuv3 'void gr_instance(void); void gr_smmuv3(void); void gr_smmuv3(void) { gr_instance(); }'
    plant models/dart/dart 'void dart_model(void); void dart_model(void) {}'
    plant models/smmuv3/smmuv3 'void smmuv3_model(void); void smmuv3_model(void) {}'
    plant ports/host/host 'void dart_model(void); void gr_port_log(void); void gr_port_log(void) { dart_model(); }
        void host_init(void); void host_init(void) {}'
    plant sim/hw 'void sim_hw(void); void sim_hw(void) {}'
    plant tests/lib/rig 'void gri_domain(void); void sim_hw(void); void rig(void); void rig(void) { gri_domain(); sim_hw(); }'
    plant cli/main 'void gr_domain(void); void sim_hw(void); int main(void); int cli_back(void);
        int main(void) { gr_domain(); sim_hw(); return 0; } int cli_back(void) { return 0; }'
    cases=0 wrong=0
    while read -r sign file name; do
        cases=$((cases + 1))
        plant "$file" "void $name(void); void planted(void); void planted(void) { $name(); }"
        # shellcheck disable=SC2046 # none of these names has a blank
        if check_objects $(find "$tmp/obj" -name '*.o') > "$tmp/out" 2>&1; then found=+; else found=-; fi
        if [ "$found" != "$sign" ] || [ "$(grep -c "^$file" "$tmp/out")" != "$(wc -l < "$tmp/out")" ]; then
            echo "self-test: $file.o with a call of $name(): expected $sign" >&2
            cat "$tmp/out" >&2
            wrong=$((wrong + 1))
        fi
        rm "$tmp/obj/$file.o"
    done <<END
+ src/iommu/x gri_log
+ src/iommu/x gr_port_log
- src/core/x gr_domain
- src/iommu/x gr_smmuv3
+ src/drv/dart/x gr_instance
- src/drv/dart/x gri_instance
- src/drv/dart/x gr_smmuv3
- src/dma/x dart_model
- models/dart/x smmuv3_model
- models/dart/x gri_log
- models/dart/x host_init
+ ports/host/x dart_model
- ports/host/x gr_domain
+ sim/x dart_model
- sim/x gri_domain
- sim/x cli_back
- ports/host/x sim_hw
+ cli/x sim_hw
- cli/x dart_model
+ cli/x gr_domain
- cli/x gri_domain
- ports/host/x cli_back
+ tests/x rig
- sim/x rig
- elsewhere/x gr_domain
END
    # Two files of one room, and three.
    plant src/iommu/a 'void gri_b(void); void gri_a(void); void gri_a(void) { gri_b(); }'
    plant src/iommu/b 'void gri_c(void); void gri_b(void); void gri_b(void) { gri_c(); }'
    for back in gri_b gri_a; do
        cases=$((cases + 1))
        plant src/iommu/c "void $back(void); void gri_c(void); void gri_c(void) { $back(); }"
        # shellcheck disable=SC2046
        if check_objects $(find "$tmp/obj" -name '*.o') > "$tmp/out" 2>&1 || ! grep -q "^circle: .*($back)" "$tmp/out" ||
            [ "$(wc -l < "$tmp/out")" -ne 1 ]; then
            echo "self-test: a circle over $back() is not found" >&2
            cat "$tmp/out" >&2
            wrong=$((wrong + 1))
        fi
    done
    echo "check-layers: self-test of objects: $cases cases, $wrong wrong"
    [ "$wrong" -eq 0 ]
}

self_test() {
    tmp=$(mktemp -d) || exit 1
    trap 'rm -rf "$tmp"' EXIT
    mkdir -p "$tmp/include/granule/drv" "$tmp/models/dart" "$tmp/models/smmuv3" "$tmp/ports/host" "$tmp/ports/template" \
        "$tmp/ports/qemu-aarch64" "$tmp/ports/qemu-qtest" "$tmp/examples/drivers"
    for dir in core iova pt/fmt drv/dart drv/smmuv3 iommu dma dt; do mkdir -p "$tmp/src/$dir"; done
    for dir in sim cli examples bench tests/lib tests/prop fuzz; do mkdir -p "$tmp/$dir"; done
    for name in types err port config pt iova fault instance domain dma dt drv/dart; do
        echo '#include <stdint.h>' > "$tmp/include/granule/$name.h"
    done
    echo '#include <granule/dma.h>' > "$tmp/include/granule/granule.h"
    for name in src/core/log src/iova/iova src/pt/pt src/pt/pt_core.inc src/pt/fmt/dart1 \
        src/drv/dart/regs src/drv/smmuv3/regs src/iommu/iommu src/dma/dma src/dt/dt models/model \
        models/dart/dart models/smmuv3/smmuv3 \
        ports/host/host ports/template/gr_port ports/host/gr_port sim/hw cli/cli sim/walker \
        tests/lib/chance tests/lib/rig tests/prop/prop \
        examples/hello examples/drivers/pci ports/qemu-aarch64/board; do
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
- src/drv/dart/x.c "drv/smmuv3/regs.h"
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
- models/dart/x.c "../smmuv3/smmuv3.h"
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
+ sim/x.c "models/dart/dart.h"
+ sim/x.c <libfdt.h>
+ sim/x.c "host.h"
+ sim/x.c "walker.h"
+ sim/x.c <granule/dma.h>
- sim/x.c "core/log.h"
- sim/x.c "cli/cli.h"
- sim/x.c <cmocka.h>
- ports/host/x.c "sim/hw.h"
+ cli/x.c "sim/hw.h"
+ cli/x.c <jansson.h>
- cli/x.c "models/dart/dart.h"
- cli/x.c "host.h"
- cli/x.c "core/log.h"
- examples/x.c "drv/dart/regs.h"
- examples/x.c <libfdt.h>
- bench/x.c "cli/cli.h"
+ tests/x.c "pt/fmt/dart1.h"
+ tests/x.c <cmocka.h>
- tests/x.c "cli/cli.h"
- fuzz/x.c "cli/cli.h"
+ fuzz/x.c "sim/hw.h"
+ tests/x.c "tests/lib/chance.h"
+ tests/lib/x.c "sim/hw.h"
- sim/x.c "tests/lib/chance.h"
+ tests/x.c "rig.h"
+ tests/lib/x.h "pt/fmt/dart1.h"
- tests/lib/x.h "tests/prop/prop.h"
- cli/x.c "tests/lib/rig.h"
+ fuzz/x.c "tests/lib/rig.h"
- cli/x.c "fuzz/fuzz.h"
+ tests/x.c "sim/walker.h"
+ cli/x.c "sim/walker.h"
- sim/walker.c "hw.h"
- sim/walker.c <granule/types.h>
- sim/walker.c "models/model.h"
END
    echo "check-layers: self-test: $cases cases, $wrong wrong"
    [ "$wrong" -eq 0 ]
}

case ${1-} in
--self-test) self_test && self_test_objects ;;
--objects) shift && check_objects "$@" ;;
*) check "${1:-.}" ;;
esac
