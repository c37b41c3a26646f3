#!/bin/sh
# SPDX-License-Identifier: MIT
# granule run and granule attack beside what firmware left translating: each way to share a stream
# with it, and each way to look at it meanwhile.
cd "$(dirname "$0")/../.." || exit 1
. tests/cli/lib.sh

wrong '--adopt=steal: give keep_slots, import or replace' run --adopt=steal x.dts
for policy in keep_slots import; do
    for option in --untrusted --isolation=bounce --invalidate=deferred --mode=identity; do
        run run --json --adopt=$policy $option boards/mac-mini-m1.dts
        clean
        out_has "\"firmware\":{\"state\":\"locked\",\"policy\":\"$policy\""
        check "nothing was kept" sh -c "! grep -qE '\"restored\":false' '$dir/out'"
        device_has /soc/display-subsystem '"mode":"translated"'
    done
    run attack --json --untrusted --adopt=$policy boards/mac-mini-m1.dts
    clean
done
device_has /soc/display-subsystem '"leaked_bytes":0'
wrong '--scanout=never: give step or thread' run --scanout=never x.dts
for policy in keep_slots import replace; do
    run run --json --scanout=thread --adopt=$policy boards/mac-mini-m2-pro.dts
    clean
    check "a policy is not used" sh -c "grep -q '\"policy\":\"$policy\"' '$dir/out'"
    check "a scan failed" sh -c "! grep -qE '\"(changed|scanout_faults)\":[1-9]|\"restored\":false' '$dir/out'"
done
run run --json --adopt=replace --isolation=bounce boards/mac-mini-m2-pro.dts
clean
out_has '"firmware":{"state":"translating","policy":"replace"'
out_has '"firmware":{"state":"locked","policy":"keep_slots"'

finish
