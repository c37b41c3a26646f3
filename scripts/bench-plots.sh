#!/bin/sh
# SPDX-License-Identifier: MIT
# bench-plots.sh JSON DIR: draw what `make bench-peer` measured with --growth as SVG files.
set -eu

json=$1
out=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$out"

# points "ROW PREFIX" FIELD: lines of n and FIELD (ours, linux) for the rows named PREFIX n=N.
points() {
    awk -v prefix="\"row\":\"$1 n=" -v field="\"$2\":" '
        (at = index($0, prefix)) {
            n = substr($0, at + length(prefix)) + 0
            rest = substr($0, index($0, field) + length(field))
            if (rest !~ /^null/) print n, rest + 0
        }' "$json"
}

# plot NAME TITLE X-LABEL Y-LABEL SETTINGS PREFIX...: two lines for each PREFIX that has points.
plot() {
    _name=$1
    {
        printf "set terminal svg size 800,480 dynamic background rgb 'white'\n"
        printf "set output '%s/%s.svg'\nset title '%s'\nset xlabel '%s'\nset ylabel '%s'\n" \
            "$out" "$_name" "$2" "$3" "$4"
        printf 'set grid\nset key outside right top\nset termoption noenhanced\n%s\nplot ' "$5"
    } > "$tmp/$_name.gp"
    shift 5
    _end=
    _color=1
    for _prefix; do
        for _side in ours linux; do
            _file="$tmp/$_name-$_color-$_side"
            points "$_prefix" "$_side" > "$_file"
            [ -s "$_file" ] || continue
            [ $_side = linux ] && _style='dt 2 pt 6' _who=Linux || _style='pt 7' _who=Granule
            printf "%s'%s' with linespoints lc %s %s title '%s, %s'" "$_end" "$_file" $_color \
                "$_style" "$_who" "${_prefix#growth *[a-z] }" >> "$tmp/$_name.gp"
            _end=', '
        done
        _color=$((_color + 1))
    done
    [ -n "$_end" ] || return 0 # not measured
    echo >> "$tmp/$_name.gp"
    gnuplot "$tmp/$_name.gp"
    sed -i '1a <!-- SPDX-License-Identifier: MIT -->' "$out/$_name.svg"
    echo "  SVG $out/$_name.svg"
}

plot live 'Replace a random allocation, in an aperture of 42 bits' 'live allocations' ns \
    'set logscale xy' 'growth live 1..32' 'growth live 64..512'
plot list 'Map and unmap a list of scattered pages' 'segments in the list' ns 'set logscale xy' \
    'growth list dart16k' 'growth list lpae4k'
plot fill 'Replace a random allocation, in an aperture of 32 bits' '% of it in use' ns \
    'set logscale y' 'growth fill 1..32'
plot threads 'Threads on one domain' threads 'million operations a second, in all' \
    'set yrange [0:]; set xtics 1' 'growth threads pair 1..32' 'growth threads pair 64..512' \
    'growth threads dma_map_sg dart16k'
