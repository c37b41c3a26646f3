#!/bin/sh
# SPDX-License-Identifier: MIT
# The command line's contract: exit statuses, sentences, JSON.
cd "$(dirname "$0")/../.." || exit 1
. tests/cli/lib.sh

clean_run() {
    clean
    json_ok
    check "nothing was mapped" test "$(number maps)" -gt 100
    check "stderr is not empty" test ! -s "$dir/err"
}

# ---- help, versions, wrong usage ----
run --help
status 0
out_has 'Usage: granule'
out_has 'run '
run --version
status 0
check "no version" grep -qE '^granule [0-9]+\.[0-9]+\.[0-9]+$' "$dir/out"
cp "$dir/out" "$dir/version"
version=$(sed 's/granule //' "$dir/version")
run --help
out_has '--version'
for verb in run dump walk bench; do
    run $verb --version
    status 0
    check "another version" cmp "$dir/out" "$dir/version"
    run $verb --json --version
    status 0
    json_ok
    check "no version" test "$(cat "$dir/out")" = "{\"version\":\"$version\"}"
    run $verb --version --json
    check "no version" test "$(cat "$dir/out")" = "{\"version\":\"$version\"}"
done
for verb in run dump walk; do
    wrong_text '--version takes no value' $verb --version=1
    run $verb --help
    out_has '--version'
done
run --version --json
check "no version" test "$(cat "$dir/out")" = "{\"version\":\"$version\"}"
run --json --version
check "no version" test "$(cat "$dir/out")" = "{\"version\":\"$version\"}"
wrong_json 'option --json belongs after the verb' --json run a.dtb

# No room for the output: one sentence, the same status whoever finds out.
full() {
    rc=0
    "$granule" "$@" > /dev/full 2> "$dir/err" < /dev/null || rc=$?
    told="granule $* > /dev/full"
    status 2
    check "stderr is not one line" test "$(wc -l < "$dir/err")" -eq 1
    err_has 'granule: not all of the output could be written: standard output is full or closed'
}
if [ -w /dev/full ]; then
    "$granule" run --snapshot="$dir/snap" boards/iphone6-a8.dts > "$dir/out"
    iova=$(sed 's/.*"iova":"\([0-9a-fx]*\)".*/\1/' "$dir/snap/machine.json")
    full --help
    full --version
    for json in '' --json; do
        # shellcheck disable=SC2086 # empty for none
        {
            full run $json boards/iphone6-a8.dts
            full dump $json "$dir/snap"
            full dump --check $json "$dir/snap"
            full walk $json "$dir/snap" "$iova"
            full walk $json "$dir/snap" 0
        }
    done
    rm -rf "$dir/snap"
fi

run run --help
status 0
out_has '--cpu-page'
out_has '--seed'
out_has '--json'

wrong_text 'no verb'
wrong 'unknown verb fly' fly
wrong_text 'unknown option --frob' --frob run
wrong_text 'unknown option -q' -q
wrong_text '--help takes no value' --help=x
wrong 'no board' run
wrong 'more than one board' run a.dtb b.dtb
wrong 'unknown option --pages' run --pages=4K a.dtb
wrong 'unknown option -x' run -x a.dtb
wrong '--seed needs a value' run a.dtb --seed
wrong '--json' run --json=yes a.dtb
for page in 8K 4k 4096 0 ''; do
    wrong "--cpu-page=$page is not a page size" run --cpu-page="$page" a.dtb
done
for seed in -1 +1 ' 1' 1x 0x '' 9223372036854775808 18446744073709551616 1.5; do
    wrong "--seed=$seed is not a seed" run --seed="$seed" a.dtb
done
wrong_json 'unknown option --pages' run --pages --json a.dtb

# ---- wrong input ----
wrong 'No such file' run "$dir/missing.dtb"
wrong "$dir" run "$dir"
: > "$dir/empty.dtb"
wrong 'not a device tree' run "$dir/empty.dtb"
echo 'no tree at all' > "$dir/text.txt"
wrong 'not a device tree' run "$dir/text.txt"
printf '\320\015\376\355' > "$dir/short.dtb"
wrong "$dir/short.dtb" run "$dir/short.dtb"
printf '/dts-v1/;\n/ {\n\tbroken = <;\n};\n' > "$dir/broken.dts"
wrong 'dtc does not compile it' run "$dir/broken.dts"
err_has 'line 3.'
: > "$dir/empty.dts"
wrong 'it holds no device tree' run "$dir/empty.dts"
printf '#include "soc.dtsi"\n/dts-v1/;\n/ { };\n' > "$dir/include.dts"
wrong '#include goes through cpp first' run "$dir/include.dts"
printf '/dts-v1/;\n/ { };\n' > "$dir/bare.dts"
wrong 'memory' run "$dir/bare.dts"
name=$(printf 'bad\377name.dtb')
wrong_json 'No such file' run --json "$dir/$name"

# A property that is wrong: the sentence names node and property.
sed 's/<&good 3>/<\&good 99>/' tests/data/driverless.dts > "$dir/sid.dts"
wrong 'iommus' run "$dir/sid.dts"
err_has '/worker'
sed 's/<&good 3>/<\&good>/' tests/data/driverless.dts > "$dir/cut.dts"
wrong 'iommus' run "$dir/cut.dts"

# ---- what takes a second says so, on a terminal ----
# A tree that comes from a pipe only once the line is there: the line is what is waited for.
sed -e '/odd: iommu/,/};/d' -e '/stranded {/,/};/d' tests/data/driverless.dts > "$dir/good.dts"
dtc -q -I dts -O dtb -o "$dir/good.dtb" "$dir/good.dts"
mkfifo "$dir/pipe.dtb"
feed() { # not for ever where nobody reads
    timeout "${GR_WALL:-1800}" sh -c "cat '$dir/good.dtb' > '$dir/pipe.dtb'"
}
if command -v script > /dev/null; then
    told="granule run $dir/pipe.dtb on a terminal"
    script -qefc "'$granule' run '$dir/pipe.dtb' > '$dir/out'; echo \$? > '$dir/rc'" "$dir/err" \
        > /dev/null 2>&1 < /dev/null &
    for _ in $(seq 18000); do
        ! grep -q ' s$' "$dir/err" 2> /dev/null || break
        sleep 0.1
    done
    feed
    wait $!
    check "exit status is not 0" grep -qx 0 "$dir/rc"
    err_has 'reading '
    out_has 'PASS'
fi
# Elsewhere there is nothing but the result.
run run "$dir/pipe.dtb" &
feed
wait $!
check "stderr is not empty" test ! -s "$dir/err"

# ---- an IOMMU without a driver ----
board=tests/data/driverless.dts
run run --json "$board"
status 1
json_ok
out_has '"path":"/stranded","instances":["/iommu@20000000"],"mode":"blocked"'
out_has '"path":"/worker","instances":["/iommu@10000000"],"mode":"translated"'
out_has 'no driver for example,no-such-iommu'
check "the other device did not run" test "$(number maps)" -gt 100
run run "$board"
status 1
out_has '/stranded: blocked ('
out_has 'FAIL: '

# ---- nothing to drive: no device, no IOMMU, and neither ----
nothing() {
    run run "$1"
    status 1
    out_has 'nothing was driven: '
    out_has 'FAIL: problems: 1; see above'
    run run --json "$1"
    status 1
    json_ok
    out_has '"problems":["nothing was driven: no device behind an IOMMU can be used"]'
}
sed -e '/odd: iommu/,/};/d' -e '/stranded {/,/};/d' -e '/worker {/,/};/d' "$board" > "$dir/none.dts"
nothing "$dir/none.dts"
sed -e '/good: iommu/,/};/d' "$dir/none.dts" > "$dir/less.dts"
nothing "$dir/less.dts"

# ---- groups, windows, and instances that do not go together ----
board=tests/data/groups.dts
run run --json --seed=3 "$board"
clean_run
for name in shares-1 shares-2 shares-3 one-granule; do
    check "$name does not bounce" grep -q "\"path\":\"/$name\"[^}]*\"isolation\":\"bounce\"" "$dir/out"
done
for name in two-streams small-window many-streams; do
    check "$name is not exposed" grep -q "\"path\":\"/$name\"[^}]*\"isolation\":\"expose\"" "$dir/out"
done
sed 's/^};$/\tmixed { iommus = <\&a 9>, <\&d 8>; };\n};/' "$board" > "$dir/mixed.dts"
run run --json "$dir/mixed.dts"
status 1
json_ok
out_has '"path":"/mixed","instances":["/iommu@10000000","/iommu@40000000"],"mode":"blocked"'
out_has 'granules'

# ---- clean runs ----
run run "$dir/good.dts"
status 0
out_has 'PASS'
board=$dir/good.dts
for page in 4K 16K 64K; do
    run run --json --cpu-page=$page --seed=7 "$board"
    clean_run
    check "cpu_page" test "$(number cpu_page)" -eq $((${page%K} * 1024))
    check "seed" test "$(number seed)" -eq 7
done
run run --json --seed=5 "$board"
clean_run
out_has '{"path":"/iommu@10000000","compatible":"apple,t8103-dart","granule":16384,"aperture":["0x0","0xffffffff"],"streams":16,"locked":false,"windows":"unverified","firmware":{"state":"off","policy":null,"reason":null,"adopted":0,"changed":0,"scanout_faults":0,"restored":true},"tlb":{"hits":'
check "board" grep -qF "{\"board\":\"$board\"," "$dir/out"
cp "$dir/out" "$dir/first"
run run --seed=0x5 --json "$board"
check "the same seed gives another run" cmp "$dir/out" "$dir/first"
run run --seed=6 --json "$board"
check "another seed gives the same run" sh -c "! cmp -s '$dir/out' '$dir/first'"
run run --json --seed=5 "$dir/good.dtb"
clean_run
check "a compiled tree runs otherwise" sh -c "sed 's/good.dtb/good.dts/' '$dir/out' | cmp - '$dir/first'"

finish
