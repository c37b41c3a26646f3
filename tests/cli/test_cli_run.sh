#!/bin/sh
# SPDX-License-Identifier: MIT
# granule run: what it drives, and the snapshots that it saves.
cd "$(dirname "$0")/../.." || exit 1
. tests/cli/lib.sh

snap=$dir/snap

# The string after "NAME": at the top of the snapshot.
field() {
    sed 's/.*"'"$1"'":"*\([0-9a-fx]*\)"*,.*/\1/' "$snap/machine.json"
}

# The mappings of the snapshot, one a line.
mappings() {
    sed 's/.*"mappings":\[//; s/\]}$//; s/},{/}\n{/g' "$snap/machine.json"
}

# has_mapping PATTERN...: is there one that matches all of them?
has_mapping() {
    mappings > "$dir/lines"
    for _pattern; do
        grep -- "$_pattern" "$dir/lines" > "$dir/more"
        mv "$dir/more" "$dir/lines"
    done
    [ -s "$dir/lines" ]
}

lacks_mapping() {
    ! has_mapping "$@"
}

# Does each line of $dir/lines match, whole?
all_lines() {
    [ -s "$dir/lines" ] && ! grep -qvxE -- "$1" "$dir/lines"
}

differ() {
    ! cmp -s "$1" "$2"
}

# One device, and a second that nothing drives.
stranded=tests/data/driverless.dts
good=$dir/good.dts
sed -e '/odd: iommu/,/};/d' -e '/stranded {/,/};/d' "$stranded" > "$good"

# ---- what is driven ----
run run --json --seed=11 "$good"
status 0
cp "$dir/out" "$dir/plain"
check "few lists" test "$(number lists)" -ge 30
check "few segments" test "$(number segments)" -ge $(($(number lists) * 8))
check "few coherent buffers" test "$(number coherent)" -ge 20
check "maps are not all kinds" test "$(number maps)" -ge $(($(number lists) + $(number coherent) + 50))

# ---- odd machines ----
# iommu PROPERTY...: the good board with these in its IOMMU.
iommu() {
    sed "s/#iommu-cells = <1>;/& $*/" "$good" > "$dir/odd.dts"
}
iommu 'granule,va-bits = <20>;' # less than a table spans
run run --json "$dir/odd.dts"
status 0
iommu 'granule,streams = <17>;' # what no model has, no tree may ask for
wrong 'granule,streams is 17; give a value from 1 to 16' run "$dir/odd.dts"
iommu 'granule,strems = <8>;'
wrong '/iommu@10000000: granule,strems is not known; give one of granule,page-bits' run "$dir/odd.dts"
iommu 'granule,streams = <16>;'
run run --json "$dir/odd.dts"
status 0
# RAM, most of which the IOMMU cannot address: such buffers are refused, and that is no problem.
sed 's/reg = <0x0 0x40000000 .*>;/reg = <0x0 0x40000000 0x80 0x0>;/' "$good" > "$dir/odd.dts"
run run --json "$dir/odd.dts"
status 0
sed 's/reg = <0x0 0x40000000 .*>;/reg = <0x0 0x40000000 0xffffffff 0x0>;/' "$good" > "$dir/odd.dts"
wrong 'reg of its memory nodes' run "$dir/odd.dts"

# As much as dt.h lets through runs; what does not fit is named.
# many COUNT LINE: the good board with COUNT nodes more; @ is the number in LINE.
many() {
    awk -v n="$1" -v line="$2" '/^};$/ { for (i = 0; i < n; i++) {
            s = line; gsub(/@/, sprintf("%x", 4096 + i), s); print "\t" s } }
        { print }' "$good" > "$dir/odd.dts"
}
many 63 'm@ { device_type = "memory"; reg = <0x1 0x@000 0x0 0x1000>; };'
run run --json "$dir/odd.dts"
status 0
many 64 'm@ { device_type = "memory"; reg = <0x1 0x@000 0x0 0x1000>; };'
wrong '/m103f: reg is past the 64 banks of RAM' run "$dir/odd.dts"
many 256 'i@ { compatible = "x"; #iommu-cells = <0>; };'
wrong '/i10ff: status enables it past the 256 IOMMUs' run "$dir/odd.dts"
many 256 'd@ { iommus = <&good 1>; };'
wrong '/d10ff: its IOMMU makes it a device past the 256' run "$dir/odd.dts"
awk '/^\/dts-v1/ { print; for (i = 0; i < 65; i++) printf "/memreserve/ 0x4%07x 0x1000;\n", i * 65536; next }
    { print }' "$good" > "$dir/odd.dts"
wrong '/memreserve/: 0x40400000 is past the 64 reserved regions' run "$dir/odd.dts"

# ---- a snapshot ----
run run --help
check "--snapshot is not told of" grep -qF -- --snapshot=DIR "$dir/out"
mkdir "$snap"
echo kept > "$snap/other"
echo old > "$snap/memory.img"
run run --json --seed=11 --snapshot="$snap" "$good"
status 0
check "a run with a snapshot is another run" cmp "$dir/out" "$dir/plain"
check "another file was touched" test "$(cat "$snap/other")" = kept
check "files were left behind" test "$(find "$snap" -type f | wc -l)" -eq 3
check "machine.json is not one line" test "$(wc -l < "$snap/machine.json")" -eq 1
check "cpu_page" grep -q '^{"cpu_page":4096,"ram_base":"0x[0-9a-f]*","ram_size":"0x[0-9a-f]*","instances":\[{"path":"/' "$snap/machine.json"
check "instances" grep -qF '"instances":[{"path":"/iommu@10000000","compatible":"apple,t8103-dart","granule":16384,"streams":16,"locked":false,"registers":{"0x0":"0x' "$snap/machine.json"
check "ram_size is not memory.img's" test "$(($(field ram_size)))" -eq "$(stat -c %s "$snap/memory.img")"
check "ram_base" grep -q "reg = <0x0 $(field ram_base) " "$good"
check "memory.img is not sparse" test $(($(stat -c %b "$snap/memory.img") * 512)) -lt \
    $(($(stat -c %s "$snap/memory.img") / 2))
mappings > "$dir/lines"
check "a record is not as it should be" all_lines '[{]"device":"/worker","instance":"/iommu@10000000","stream":3,"iova":"0x[0-9a-f]+","pa":"0x[0-9a-f]+","length":[1-9][0-9]*,"read":(true|false),"write":(true|false),"window":null,"kind":"(map|sg|coherent)"[}]'
for kind in map sg coherent; do
    check "no $kind" has_mapping "\"kind\":\"$kind\""
done
check "no read-only map" has_mapping '"kind":"map"' '"read":true,"write":false'
check "no write-only map" has_mapping '"kind":"map"' '"read":false,"write":true'
check "no write-only list" has_mapping '"kind":"sg"' '"read":false,"write":true'
check "a coherent buffer of one direction" lacks_mapping '"kind":"coherent"' 'false'
check "a mapping without permission" lacks_mapping '"read":false,"write":false'
check "no odd length" has_mapping '"length":[0-9]*[13579],'
run dump --check "$snap"
status 0

# The same seed, the same snapshot, whatever else is in the folder.
run run --seed=11 --snapshot "$dir/again/" "$good"
status 0
check "the table does not name it" grep -qF "$dir/again/" "$dir/out"
check "machine.json differs" cmp "$snap/machine.json" "$dir/again/machine.json"
check "memory.img differs" cmp "$snap/memory.img" "$dir/again/memory.img"
run run --seed=12 --snapshot="$dir/again" "$good"
status 0
check "another seed, the same machine.json" differ "$snap/machine.json" "$dir/again/machine.json"

# Also of a machine that is only usable in part; and where other page sizes are.
for page in 16K 64K; do
    run run --json --cpu-page=$page --snapshot="$snap" "$stranded"
    status 1
    check "cpu_page" test "$(field cpu_page)" -eq $((${page%K} * 1024))
    check "an IOMMU without a driver is in it" sh -c "! grep -q 20000000 '$snap/machine.json'"
    run dump --check "$snap"
    status 0
done

# The string that a driver knows may come later: what reads the snapshot must know it, too.
sed 's/compatible = "apple,t8103-dart"/compatible = "example,first", "apple,t6000-dart"/' \
    "$good" > "$dir/odd.dts"
run run --json --snapshot="$snap" "$dir/odd.dts"
status 0
out_has '"compatible":"example,first"'
check "compatible" grep -qF '"compatible":"apple,t6000-dart"' "$snap/machine.json"
run dump --check "$snap"
status 0

# Groups, several streams and windows: each stream of a domain has all of the domain's mappings.
run run --json --snapshot="$snap" tests/data/groups.dts
status 0
check "a group's other stream lacks mappings" has_mapping '"device":"/shares-1"' '"stream":5,'
run dump --check "$snap"
status 0

# ---- where it cannot be written ----
kept=$(cksum < "$snap/machine.json")
wrong 'option --snapshot needs a value' run "$good" --snapshot
wrong "$dir/no/such" run --snapshot="$dir/no/such" "$good"
wrong "$dir/plain: Not a directory" run --snapshot="$dir/plain" "$good"
wrong 'name a folder' run --snapshot= "$good"
mkdir -p "$dir/taken/machine.json"
wrong "$dir/taken/machine.json" run --snapshot="$dir/taken" "$good"
check "half of a snapshot" test "$(find "$dir/taken" | wc -l)" -eq 2
run run --snapshot="$dir/none" "$dir/missing.dtb"
status 2
check "a folder for a board that is not there" test ! -e "$dir/none"

# No room: what was there stays, and nothing else is left.
told="ulimit -f"
(
    ulimit -f 100
    exec "$granule" run --json --snapshot="$snap" "$good"
) > "$dir/out" 2> "$dir/err" < /dev/null
rc=$?
status 2
check "no error object" grep -q '^{"error":".*memory.img.*"}$' "$dir/out"
check "the old snapshot is gone" test "$(cksum < "$snap/machine.json")" = "$kept"
check "files were left behind" test "$(find "$snap" -type f | wc -l)" -eq 3

finish
