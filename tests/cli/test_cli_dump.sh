#!/bin/sh
# SPDX-License-Identifier: MIT
# granule dump and granule walk on snapshots made here by hand, good, wrong and hostile ones. Those
# that granule run saves are for scripts/run-matrix.sh.
cd "$(dirname "$0")/../.." || exit 1
. tests/cli/lib.sh

snap=$dir/snap

# word PA VALUE: store 64 bits, little-endian. Both in hex, VALUE of 16 digits.
word() {
    # shellcheck disable=SC2046,SC2086 # splits into bytes
    set -- $(($1)) $(echo "$2" | sed 's/../ 0x&/g')
    # shellcheck disable=SC2059
    printf "$(printf '\\%03o' "$9" "$8" "$7" "$6" "$5" "$4" "$3" "$2")" |
        dd of="$snap/memory.img" bs=8 seek=$((($1 - 0x800000000) / 8)) conv=notrunc 2> /dev/null
}

# ---- a snapshot by hand: the numbers are those of DART.md 13 ----
mkdir "$snap"
dd if=/dev/null of="$snap/memory.img" bs=1 seek=4294967296 2> /dev/null
# 16K, DART1: a window, and three pages to be read only.
word 0x8a0b0c278 00000008a0b10001
word 0x8a0b12940 04047f08c5d54001
word 0x8a0b12950 000fff0810000083
word 0x8a0b12958 000fff0810004083
word 0x8a0b12960 000fff0810008083
# 4K, DART1, TTBR 2.
word 0x8700017d0 0000000870002001
word 0x870002508 000fff08700ab003
# 16K, DART2, four levels: one uncached page, one page to be written only.
word 0x8a0b08080 000000008a0b8001
word 0x8a0b82a78 000000008a0b8401
word 0x8a0b86940 000fff008c5d5403
word 0x8a0b86948 000fff0098000009
cat > "$dir/good.json" << 'END'
{"cpu_page":4096,"ram_base":"0x800000000","ram_size":"0x100000000",
"instances":[
{"path":"/soc/iommu@10","compatible":"apple,t8103-dart","granule":16384,"streams":16,"locked":false,"registers":{
"0x0":"0xe000000","0x4":"0x1","0x80":"0x3020100","0x84":"0x7060504","0x88":"0xb0a0908","0x8c":"0xf0e0d0c",
"0xfc":"0xffff","0x104":"0x1100","0x114":"0x80","0x250":"0x808a0b0c"}},
{"path":"/soc/iommu@20","compatible":"apple,t8103-dart","granule":4096,"streams":16,"locked":true,"registers":{
"0x0":"0xc000000","0x80":"0x3020100","0x84":"0x7060504","0xfc":"0xffff","0x114":"0x80","0x258":"0x80870001"}},
{"path":"/soc/iommu@30","compatible":"apple,t8112-dart","granule":16384,"streams":16,"locked":false,"registers":{
"0x0":"0xe000000","0x8":"0x2a2f0200","0xc00":"0xffff","0x1014":"0x9","0x1018":"0x580","0x1414":"0x8a0b09"}},
{"path":"/soc/iommu@40","compatible":"apple,none","granule":16384,"streams":16,"locked":false,"registers":{}}],
"mappings":[
{"device":"/soc/a","instance":"/soc/iommu@10","stream":5,"iova":"0x9f4a0100","pa":"0x8c5d54100","length":4352,"read":true,"write":true,"window":["0x9f4a0100","0x9f4a11ff"],"kind":"map"},
{"device":"/soc/a","instance":"/soc/iommu@10","stream":5,"iova":"0x9f4a8123","pa":"0x810000123","length":36864,"read":true,"write":false,"window":null,"kind":"sg"},
{"device":"/soc/b","instance":"/soc/iommu@20","stream":5,"iova":"0x79f4a1000","pa":"0x8700ab000","length":4096,"read":true,"write":true,"window":null,"kind":"bounce"},
{"device":"/soc/c","instance":"/soc/iommu@30","stream":5,"iova":"0x10a9f4a0000","pa":"0x8c5d54000","length":64,"read":true,"write":true,"window":null,"kind":"coherent"},
{"device":"/soc/c","instance":"/soc/iommu@30","stream":5,"iova":"0x10a9f4a0040","pa":"0x8c5d54040","length":64,"read":true,"write":true,"window":null,"kind":"coherent"},
{"device":"/soc/c","instance":"/soc/iommu@30","stream":5,"iova":"0x10a9f4a4000","pa":"0x980000000","length":16384,"read":false,"write":true,"window":null,"kind":"map"},
{"device":"/soc/d","instance":"/soc/iommu@30","stream":6,"iova":"0x10a9f4a0040","pa":"0x8c5d54040","length":64,"read":true,"write":true,"window":null,"kind":"firmware"},
{"device":"/soc/e","instance":"/soc/iommu@30","stream":6,"iova":"0x10a9f4a0040","pa":"0x8c5d54040","length":64,"read":true,"write":true,"window":null,"kind":"firmware"},
{"device":"/soc/d","instance":"/soc/iommu@30","stream":6,"iova":"0x10a9f4a4000","pa":"0x980000000","length":16384,"read":false,"write":true,"window":null,"kind":"map"}]}
END
cp "$dir/good.json" "$snap/machine.json"

# edit SCRIPT: machine.json is the good one, changed by sed, which must change something.
edit() {
    sed "$1" "$dir/good.json" > "$snap/machine.json"
    told="sed '$1'"
    check "it changes nothing" sh -c "! cmp -s '$dir/good.json' '$snap/machine.json'"
}

# ---- usage ----
for verb in dump walk; do
    run "$verb" --help
    status 0
    out_has "Usage: granule $verb"
    wrong 'no snapshot' "$verb"
    wrong 'unknown option --frob' "$verb" --frob
done
wrong 'more than one DIR' dump a b
wrong 'no IOVA' walk "$snap"
wrong 'more than DIR and IOVA' walk "$snap" 1 2
wrong 'is not an IOVA' walk "$snap" 0xg
wrong 'is not an IOVA' walk "$snap" 0x10000000000000000
wrong 'is not a stream' walk --stream=x "$snap" 1
wrong '--stream needs a value' walk "$snap" 1 --stream
wrong 'no such instance' walk --instance=/soc "$snap" 1
wrong 'cannot read the tables of apple,none' walk --instance=/soc/iommu@40 "$snap" 1
wrong 'has streams 0 to 15' walk --instance=/soc/iommu@10 --stream=16 "$snap" 1

# ---- dump ----
run dump --check "$snap"
status 0
check "stderr is not empty" test ! -s "$dir/err"
out_has 'PASS: 9 mappings of 4 streams, 0 wrong, 0 B unexplained'
out_has '/soc/iommu@10: apple,t8103-dart, 16 KiB pages, DART1 tables'
out_has '/soc/iommu@20: apple,t8103-dart, 4 KiB pages, DART1 tables, locked'
out_has '/soc/iommu@40: apple,none, 16 KiB pages, unknown tables'
out_has 'stream 1: bypass: TCR asks for bypass'
out_has 'streams 2 to 4: blocked: TCR asks for neither'
out_has 'stream 6: translates 47 bits of IOVA, with the tables of stream 5'
check "the window" grep -q '0x9f4a0000-0x9f4a3fff *0x8c5d54000-0x8c5d57fff *read and write *cached *0x9f4a0100-0x9f4a11ff$' "$dir/out"
check "the run" grep -q '0x9f4a8000-0x9f4b3fff *0x810000000-0x81000bfff *read only *cached *-$' "$dir/out"
check "the uncached page" grep -q '0x10a9f4a0000-0x10a9f4a3fff *0x8c5d54000-0x8c5d57fff *read and write *uncached *-$' "$dir/out"
out_has '2 runs, 64 KiB mapped; tables: 1 of level 1, 1 of level 0, 32 KiB'
out_has '2 runs, 32 KiB mapped; tables: 1 of level 2, 1 of level 1, 1 of level 0, 48 KiB'
out_has '[.......................................-........................] 0x0-0xffffffff, 64 MiB each'
out_has '[........................................#.###...................] 0x9f400000-0x9f4fffff, 16 KiB each'
run dump --json --check "$snap"
status 0
check "stdout is not one line" test "$(wc -l < "$dir/out")" -eq 1
out_has '"check":{"mappings":9,"wrong":0,"unexplained_bytes":0}'
out_has '"problems":[]'
out_has '{"iova":"0x9f4a0000","last":"0x9f4a3fff","pa":"0x8c5d54000","read":true,"write":true,"cached":true,"window":["0x9f4a0100","0x9f4a11ff"]}'
out_has '{"stream":1,"last":1,"mode":"bypass"'
run dump "$snap"
status 0
check "nobody asked for a check" sh -c "! grep -q PASS '$dir/out'"

# ---- dump --check finds what is wrong: WORDS of its line, then what sed does to the records ----
finds() {
    edit "$2"
    run dump --check "$snap"
    status 1
    out_has "$1"
    out_has 'FAIL: '
    run dump --check --json "$snap"
    status 1
    out_has '"text":"'
}
a='/soc/iommu@10, stream 5, IOVA'
finds "$a 0x9f4a0000: the map of /soc/a at 0x9f4a0100: the tables say PA 0x8c5d54000, not 0x8c5d58000" 's/"0x8c5d54100"/"0x8c5d58100"/'
finds "$a 0x9f4a8000: the sg of /soc/a at 0x9f4a8123: the tables say PA" 's/"0x810000123"/"0x810000122"/'
finds 'the tables permit read only, not read and write' 's/"length":36864,"read":true,"write":false/"length":36864,"read":true,"write":true/'
finds 'the tables permit read only, not no access' 's/"length":36864,"read":true,"write":false/"length":36864,"read":false,"write":false/'
finds "$a 0x9f4b4000: the sg of /soc/a at 0x9f4a8123: it is not mapped there" 's/36864/65536/'
finds "$a 0x9f4b0000: mapped up to 0x9f4b3fff, but no mapping covers it" 's/36864/16384/'
finds "$a 0x9f4a0000: mapped up to 0x9f4a3fff, but no mapping covers it" '/"length":4352/d'
finds '32 KiB unexplained' '/"stream":6/d; s/"kind":"map"},$/"kind":"map"}]}/; /"length":4352/s/]}$/,/'
finds 'it overlaps the coherent of /soc/c at 0x10a9f4a0000' 's/"0x10a9f4a0040","pa":"0x8c5d54040","length":64/"0x10a9f4a003f","pa":"0x8c5d5403f","length":65/'
finds 'it overlaps the firmware of /soc/d' 's,/soc/e,/soc/d,'
finds 'but it has no window' 's/\["0x9f4a0100","0x9f4a11ff"\]/null/'
finds 'its leaves open 0x9f4a0100-0x9f4a11ff, its window is 0x9f4a0100-0x9f4a11fe' 's/"0x9f4a11ff"/"0x9f4a11fe"/'
finds 'closes some of its bytes' 's/"length":4352/"length":4353/'
finds 'closes some of its bytes' 's/"0x9f4a0100","pa":"0x8c5d54100"/"0x9f4a00ff","pa":"0x8c5d540ff"/'
finds 'its leaves open whole granules, but it has a window' 's/null,"kind":"sg"/["0x9f4a8000","0x9f4b3fff"],"kind":"sg"/'
finds 'the stream does not translate: TCR asks for neither' 's/"0x114":"0x80",//'
finds 'the stream does not translate: the stream is not enabled' 's/"0xfc":"0xffff"/"0xfc":"0xff0f"/'
finds 'exceeds the 32 bits' 's/"iova":"0x9f4a8123","pa":"0x810000123","length":36864/"iova":"0xffffc123","pa":"0x810000123","length":36864/'
finds 'granule cannot read the tables of apple,none' 's|"instance":"/soc/iommu@20"|"instance":"/soc/iommu@40"|'
finds 'no mapping covers it' 's/"stream":5,"iova":"0x9f4a0100"/"stream":4,"iova":"0x9f4a0100"/'
cp "$dir/good.json" "$snap/machine.json"

# The page in the middle of three gets a window; one of another record gets an empty one.
word 0x8a0b12958 00103f0810004081
word 0x870002508 fff00008700ab001
run dump --check "$snap"
status 1
out_has "$a 0x9f4ac000: the sg of /soc/a at 0x9f4a8123: a window closes bytes in the middle of it"
out_has '/soc/iommu@20, stream 5, IOVA 0x9f4a1000: the bounce of /soc/b at 0x79f4a1000: the window of its leaf is empty'
out_has 'FAIL: 9 mappings of 4 streams, 2 wrong, 0 B unexplained'
run walk --instance=/soc/iommu@20 "$snap" 0x9f4a1000
status 1
out_has "fails at level 0: the leaf's window is empty"
word 0x8a0b12958 000fff0810004083
word 0x870002508 000fff08700ab003

# ---- walk ----
run walk "$snap" 0x9f4a1134
status 0
out_has '/soc/iommu@10, stream 5: IOVA 0x9f4a1134'
check "the first entry" grep -q 'level 1  \[  79\] at 0x8a0b0c278  *0x00000008a0b10001  table at 0x8a0b10000$' "$dir/out"
check "the leaf" grep -q 'level 0  \[1320\] at 0x8a0b12940  *0x04047f08c5d54001  page at 0x8c5d54000$' "$dir/out"
out_has '  PA 0x8c5d55134, read and write, cached, window: 0x9f4a0100-0x9f4a11ff'
out_has '/soc/iommu@20, stream 5: '
out_has '  PA 0x8700ab134, read and write, cached, window: the whole page'
out_has '/soc/iommu@30, stream 6: '
out_has "fails at level 2: the entry at 0x8a0b08000 is not valid"
check "four walks" test "$(grep -c 'IOVA 0x' "$dir/out")" -eq 4
run walk --instance=/soc/iommu@10 "$snap" 0x9f4a1234
status 1
out_has "fails at level 0: the leaf's window lets through 0x9f4a0100-0x9f4a11ff only"
run walk --instance=/soc/iommu@30 --stream=5 "$snap" 0x8010a9f4a4010
status 0
out_has 'the IOMMU ignores IOVA bits from 47 on: walked as 0x10a9f4a4010'
out_has 'PA 0x980000010, write only, cached'
run walk --instance=/soc/iommu@20 --stream=5 "$snap" 0x1000
status 1
out_has 'fails above level 1: TTBR0, register 0x250, is not valid'
run walk --instance=/soc/iommu@10 --stream=0 "$snap" 0x1000
status 1
out_has 'blocked: TCR asks for neither'
run walk --instance=/soc/iommu@10 --stream=1 "$snap" 0x1000
status 0
out_has 'bypassed, PA 0x1000'
run walk --stream=7 "$snap" 0x1000
status 1
out_has 'no stream translates'
run walk --json --instance=/soc/iommu@10 --stream=5 "$snap" 0x9f4a1134
status 0
check "stdout is not one line" test "$(wc -l < "$dir/out")" -eq 1
out_has '"pa":"0x8c5d55134"'
out_has '"steps":[{"level":1,"index":79,"address":"0x8a0b0c278","entry":"0x8a0b10001","meaning":"table at 0x8a0b10000"},{"level":0,"index":1320,"address":"0x8a0b12940","entry":"0x4047f08c5d54001","meaning":"page at 0x8c5d54000"}]'
out_has '"ttbr":{"index":0,"register":"0x250","value":"0x808a0b0c","valid":true,"table":"0x8a0b0c000"}'
out_has '"window":["0x9f4a0100","0x9f4a11ff"]'
run walk --json --instance=/soc/iommu@10 --stream=5 "$snap" 0x9f4a7134
status 1
out_has '"ok":false,"verdict":"fails at level 0: the entry at 0x8a0b12948 is not valid"'

# ---- snapshots that are none: WORDS of the sentence, then what sed does ----
refused() {
    edit "$2"
    wrong "$1" dump "$snap"
}
refused 'not JSON' '1s/{/[/'
refused 'not JSON' 's/}]}$/}]/'
refused 'not JSON' 's/"cpu_page":4096/&,&/'
refused '"cpu_page" is not a number' 's/"cpu_page":4096/"cpu_page":"4096"/'
refused '"cpu_page" is 4095' 's/"cpu_page":4096/"cpu_page":4095/'
refused '"ram_base" is not an address' 's/"ram_base":"0x800000000"/"ram_base":1/'
refused '"ram_base" is not an address' 's/"ram_base":"0x/"ram_base":"/'
refused '"ram_size"' 's/"ram_size":"0x100000000"/"ram_size":"0x0"/'
refused '"ram_size"' 's/"ram_base":"0x800000000"/"ram_base":"0xffffffffffff0000"/'
refused 'memory.img: it has 0x100000000 bytes' 's/"ram_size":"0x100000000"/"ram_size":"0x100000001"/'
refused '"instances" is not an array' 's/"instances":\[/"others":[/'
refused '"mappings" is not an array' 's/"mappings":\[/"others":[/'
refused 'instances[1]: "path" /soc/iommu@10 is there twice' 's,"path":"/soc/iommu@20","path":"/soc/iommu@10",'
refused 'instances[0]: "path" is not a string' 's,"path":"/soc/iommu@10","path":true,'
refused 'instances[0]: "path" is not a string' 's,"path":"/soc/iommu@10","path":"\\u001b[2J",'
refused 'instances[0]: "granule" is 16383' 's/"granule":16384/"granule":16383/'
refused 'instances[0]: "granule" is 4096, but bits 27:24 of register 0x0 stand for 2^14' '3s/"granule":16384/"granule":4096/'
refused 'has no tables with a granule of 65536' 's/"granule":16384/"granule":65536/'
refused '64 streams are more than the 32' 's/"streams":16/"streams":64/'
refused '"streams" is not a number' 's/"streams":16/"streams":-1/'
refused '"locked" is neither' 's/"locked":true/"locked":1/'
refused '"registers" is not an object' 's/"registers":{}/"registers":[]/'
refused 'register "0x102"' 's/"0x104"/"0x102"/'
refused 'register "0x114"' 's/"0x114":"0x80"/"0x114":128/'
refused 'register "0x114"' 's/"0x114":"0x80"/"0x114":"0x100000080"/'
refused 'register 0x114 is there twice' 's/"0x104"/"0x0114"/'
refused 'mappings[0]: "instance"' '12s,"instance":"/soc/iommu@10","instance":"/soc/iommu@11",'
refused 'mappings[0]: "stream" is 16' '12s/"stream":5/"stream":16/'
refused 'mappings[0]: "length" 0' 's/"length":4352/"length":0/'
refused 'mappings[0]: "length" is not a number' 's/"length":4352/"length":4352.0/'
refused 'mappings[0]: "length"' 's/"iova":"0x9f4a0100"/"iova":"0xfffffffffffffff0"/'
refused 'mappings[0]: "read"' 's/"length":4352,"read":true/"length":4352,"read":null/'
refused 'mappings[0]: "window"' 's/\["0x9f4a0100","0x9f4a11ff"\]/["0x9f4a0100"]/'
refused 'mappings[0]: "window"' 's/\["0x9f4a0100","0x9f4a11ff"\]/["0x9f4a1200","0x9f4a11ff"]/'
refused 'mappings[0]: "kind" mop' '12s/"kind":"map"/"kind":"mop"/'
refused 'mappings[1]: it is not an object' 's/^"mappings":\[$/"mappings":[[],/; s/\[\[\],/[ {"device":"d","instance":"\/soc\/iommu@10","stream":5,"iova":"0x0","pa":"0x0","length":1,"read":true,"write":true,"window":null,"kind":"map"},[],/'
echo '[]' > "$snap/machine.json"
wrong 'it is not an object' dump "$snap"
: > "$snap/machine.json"
wrong 'not JSON' dump "$snap"
cp "$dir/good.json" "$snap/machine.json"
wrong 'No such file' dump "$dir/missing"
wrong 'No such file' walk "$dir/missing" 0
wrong 'Not a directory' dump "$dir/good.json"
mkdir "$dir/half" "$dir/odd" "$dir/odd/machine.json"
cp "$dir/good.json" "$dir/half/machine.json"
wrong 'memory.img: No such file' dump "$dir/half"
wrong 'not a regular file' dump "$dir/odd"
mkfifo "$dir/half/memory.img"
wrong 'not a regular file' dump "$dir/half"
wrong 'too long' dump "$(printf '%05000d' 1)"

# ---- hostile tables: said in one line each, and no more ----
word 0x8a0b0c000 00000008a0b0c001 # the table itself
word 0x8a0b0c008 00000008a0b10001 # used twice
word 0x8a0b0c010 0000000100000001 # below memory
word 0x8a0b0c018 00000008ffffc001 # the last page of memory is one
word 0x8a0b0c020 0000000900000001 # beyond memory
word 0x8a0b0c278 0000000000000000
run dump --check "$snap"
status 1
out_has "$a 0x0: entry 0x8a0b0c001 of level 1, at 0x8a0b0c000, points at 0x8a0b0c000: its table has been used already"
out_has "$a 0x4000000: entry 0x100000001 of level 1, at 0x8a0b0c010, points at 0x100000000: its table lies outside memory"
out_has "$a 0x8000000: entry 0x900000001"
out_has "the map of /soc/a at 0x9f4a0100: it is not mapped there"
run walk --instance=/soc/iommu@10 "$snap" 0x4000000
status 1
out_has 'fails at level 0: the entry at 0x100000000 lies outside memory'
run walk --instance=/soc/iommu@10 "$snap" 0x9f4a1234
status 1
out_has 'fails at level 1: the entry at 0x8a0b0c278 is not valid'

finish
