#!/bin/sh
# SPDX-License-Identifier: MIT
# granule run and granule attack beside what firmware left translating. Each way to share a stream with
# it, and each way to look at it meanwhile, is for scripts/run-matrix.sh.
cd "$(dirname "$0")/../.." || exit 1
. tests/cli/lib.sh

wrong '--adopt=steal: give keep_slots, import or replace' run --adopt=steal x.dts
# A policy with each option that changes what a domain maps, and who may reach it.
beside() {
    policy=$1
    shift
    run "$@" --json --adopt="$policy" boards/mac-mini-m1.dts
    clean
    out_has "\"firmware\":{\"state\":\"locked\",\"policy\":\"$policy\""
    check "nothing was kept" sh -c "! grep -qE '\"restored\":false' '$dir/out'"
    device_has /soc/display-subsystem '"mode":"translated"'
}
beside keep_slots run --untrusted
beside import run --isolation=bounce
beside keep_slots run --invalidate=deferred
beside import run --mode=identity
beside import attack --untrusted
device_has /soc/display-subsystem '"leaked_bytes":0'
wrong '--scanout=never: give step or thread' run --scanout=never x.dts
run run --json --adopt=replace --isolation=bounce boards/mac-mini-m2-pro.dts
clean
out_has '"firmware":{"state":"translating","policy":"replace"'
out_has '"firmware":{"state":"locked","policy":"keep_slots"'

finish
