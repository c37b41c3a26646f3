#!/bin/sh
# SPDX-License-Identifier: MIT
# granule run and granule attack: what isolation, domain type, kind of invalidation and trust mean for
# a device. That they hold on every board is for scripts/run-matrix.sh.
cd "$(dirname "$0")/../.." || exit 1
. tests/cli/lib.sh

# ---- usage ----
for verb in run attack; do
    run $verb --help
    status 0
    for option in --untrusted --isolation=window --mode=translated --access-unit=N \
        --invalidate=strict; do
        out_has "$option"
    done
    wrong '--isolation=open: give window, bounce or expose' $verb --isolation=open x.dts
    wrong '--mode=bypass: give translated, linear, identity or blocked' $verb --mode=bypass x.dts
    wrong '--invalidate=never: give strict or deferred' $verb --invalidate=never x.dts
    for unit in 0 3 8192 x -8; do
        wrong "--access-unit=$unit: give a power of two from 1 to 4096" $verb --access-unit=$unit x.dts
    done
    wrong '--untrusted takes no value' $verb --untrusted=yes x.dts
    wrong 'no board given' $verb
    # What must not be asked for where a device may be hostile, by an option or by the tree.
    wrong '--invalidate=deferred' $verb --untrusted --invalidate=deferred boards/mac-mini-m1.dts
    wrong '--isolation=expose' $verb --untrusted --isolation=expose boards/mac-mini-m1.dts
    wrong '/shares-2 is untrusted, and --invalidate=deferred' $verb --invalidate=deferred \
        tests/data/groups.dts
    wrong '/shares-2 is untrusted, and --isolation=expose' $verb --isolation=expose \
        tests/data/groups.dts
done
run attack --help
out_has 'leaked'
wrong 'unknown option --snapshot' attack --snapshot="$dir/snap" boards/mac-mini-m1.dts

# ---- hostile devices reach nothing ----
# So many streams that what is known of one makes room for another's.
run attack --json --untrusted boards/smmuv3-4k.dts
clean
run run --json --untrusted --isolation=window boards/mac-mini-m1.dts
clean
out_has '"windows":"unverified"'
device_has '/soc/usb@382280000' '"isolation":"bounce"'
run attack --json --untrusted --isolation=window --access-unit=256 boards/synthetic.dts
clean
check "bytes were copied" test "$(number copied_bytes)" = 0

# No windows at all: what a trusted device is given bounces too.
run run --json --isolation=window boards/smmuv3-16k.dts
clean
device_has '/soc/device@1100000' '"isolation":"bounce"'
out_has '"windows":"none"'

# ---- what trusted devices could reach is counted ----
run attack --json --seed=5 boards/mac-mini-m1.dts
clean
device_has '/soc/usb@382280000' '"isolation":"expose"' '"untrusted":false' '"leaked_bytes":'
check "granules of 16 KiB show nothing" test "$(number leaked_bytes)" -gt 100000
check "there are windows" test "$(number slack_bytes)" = 0
run attack --json --isolation=window boards/mac-mini-m1.dts
clean
check "widened windows show nothing" test "$(number slack_bytes)" -gt 0
check "more than windows" test "$(number slack_bytes)" = "$(number leaked_bytes)"
run attack --json --mode=identity boards/mac-mini-m1.dts
clean
check "not all memory" test "$(number leaked_bytes)" -ge $((3 * 0x200000000))
device_has '/soc/pcie@690000000/pci@0,0' '"mode":"blocked"' '"leaked_bytes":0' \
    'an instance cannot bypass translation'
run attack boards/iphone6-a8.dts
status 0
out_has 'PASS: every byte arrived, and no untrusted device reached anything else'
check "no columns" grep -qE 'bytes +leaked +slack$' "$dir/out"

# A group is as trusted as its least trusted member.
run attack --json tests/data/groups.dts
clean
for name in shares-1 shares-2 shares-3 one-granule; do
    device_has "/$name" '"untrusted":true' '"leaked_bytes":0'
done

# The same seed, the same attack.
run attack --json --seed=9 --untrusted boards/iphone6-a8.dts
cp "$dir/out" "$dir/first"
run attack --json --seed=9 --untrusted boards/iphone6-a8.dts
check "another attack" cmp "$dir/out" "$dir/first"

# ---- what the runs of the matrix do not ask for ----
run run --json --mode=linear --cpu-page=16K boards/synthetic.dts
clean
check "nothing beyond the window" test "$(number bounced_bytes)" -gt 0
for isolation in expose window bounce; do
    run run --json --snapshot="$dir/snap" --invalidate=deferred --isolation=$isolation \
        boards/mac-studio-m1-ultra.dts
    clean
    run dump --check "$dir/snap"
    status 0
    rm -rf "$dir/snap"
done

# ---- policy ----
run run --json --mode=blocked boards/mac-mini-m1.dts
clean
check "something was mapped" test "$(number maps)" = 0
device_has /soc/usb@382280000 '"mode":"blocked","reason":"asked for by the host","isolation":"none"'
run run --json boards/synthetic.dts
clean
for what in 1400000:linear 1500000:identity 1600000:blocked; do
    device_has "/soc@2000000000/device@${what%:*}" "\"mode\":\"${what#*:}\"" \
        "\"reason\":\"asked for by the device's configuration\""
done
device_has '/soc@2000000000/device@1100000' '"mode":"translated","reason":"the default"'
run run boards/synthetic.dts
status 0
out_has "device@1400000: linear (asked for by the device's configuration)"
out_has 'all others: translated (the default)'
# What is said in the end is no more than what was seen.
out_has 'PASS: every byte arrived; devices in linear and identity domains reach all memory'
run run --mode=blocked boards/iphone6-a8.dts
status 0
out_has 'all devices: blocked (asked for by the host)'
out_has 'PASS: nothing was mapped: every device is blocked, and reached nothing'
# A hostile device gets neither, whoever asks; what the tree says goes before the option.
sed 's/^\tsmall-pages {/&\n\t\tgranule,dma-mode = "identity";\n\t\texternal-facing;/' \
    tests/data/groups.dts > "$dir/plugged.dts"
run run --json --mode=linear "$dir/plugged.dts"
clean
device_has /small-pages '"mode":"translated"' 'the device is untrusted'
device_has /two-streams '"mode":"linear","reason":"asked for by the host"'
sed 's/^\tsmall-pages {/&\n\t\tgranule,dma-mode = "translated";/' tests/data/groups.dts > "$dir/said.dts"
run run --json --mode=blocked "$dir/said.dts"
clean
device_has /small-pages '"mode":"translated"' "asked for by the device's configuration"
device_has /two-streams '"mode":"blocked"'
# A mistake in the tree is one sentence.
sed 's/^\tsmall-pages {/&\n\t\tgranule,dma-mode = "bypass";/' tests/data/groups.dts > "$dir/odd.dts"
wrong '/small-pages: granule,dma-mode is none that there is' run "$dir/odd.dts"
wrong '/small-pages: granule,dma-mode is none that there is' attack "$dir/odd.dts"

finish
