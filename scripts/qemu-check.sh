#!/bin/sh
# SPDX-License-Identifier: MIT
# qemu-check.sh [check|run|bench]: boot the image under QEMU (TCG) and judge what it says.
#   check  every scenario at granules of 4, 16 and 64 KiB; and that a crash is reported as one
#   run    the NVMe demonstration, for people
#   bench  map + 4 KiB NVMe read + unmap per second, by granule, on the host's clock
# B is the folder of the image. GR_TIMEOUT: seconds for one boot (240). APPEND: more arguments for
# the image (seed=N, only=NAME). It fails if QEMU does not end in time, if the closing line is not there,
# or if the guest's exit status is not the one expected.
set -u
. scripts/lib.sh

B=${B:-build/qemu}
image=$B/granule-qemu.elf
log=$B/log
what=${1:-check}

# boot OUTPUT EXTRA-ARGUMENTS...: returns the guest's exit status.
boot() {
    _image=$1 _out=$2
    shift 2
    timeout "${GR_TIMEOUT:-240}" qemu-system-aarch64 -M virt,iommu=smmuv3 -cpu cortex-a57 -m 256M \
        -nodefaults -display none -serial stdio -no-reboot \
        -semihosting-config enable=on,target=native \
        -drive "file=$B/nvme.img,if=none,id=nvme,format=raw,snapshot=on" \
        -device nvme,drive=nvme,serial=granule,addr=1 \
        -drive "file=$B/disk.img,if=none,id=disk,format=raw,snapshot=on" \
        -device virtio-blk-pci,drive=disk,disable-legacy=on,iommu_platform=on,addr=2 \
        -device edu,dma_mask=0xffffffffffffffff,addr=3 -device edu,addr=4 \
        -device edu,dma_mask=0xffffffffffffffff,addr=5 \
        -kernel "$_image" "$@" < /dev/null > "$_out.raw" 2>&1
    _status=$?
    tr -d '\r' < "$_out.raw" > "$_out"
    rm -f "$_out.raw"
    [ "$_status" -ne 124 ] || echo "qemu-check: QEMU did not end within ${GR_TIMEOUT:-240} s" >&2
    return $_status
}

# Virtual time that stands still while nothing runs: a DMA of the edu device takes 100 ms of it.
icount="-icount shift=8,sleep=off"

for disk in nvme disk; do
    [ -e "$B/$disk.img" ] || truncate -s 16M "$B/$disk.img" || exit 1
done

begin=$(date +%s.%N)
status=0
case $what in
check)
    # shellcheck disable=SC2086 # a list of arguments
    boot "$image" "$log" $icount -append "${APPEND:-}" || status=$?
    ;;
run) # shellcheck disable=SC2086
    boot "$image" "$log" $icount -append "demo ${APPEND:-}" || status=$?
    ;;
bench) # the clock is the host's here
    boot "$image" "$log" -append "bench ${APPEND:-}" || status=$?
    ;;
*)
    echo "qemu-check.sh: $what?" >&2
    exit 2
    ;;
esac
cat "$log"
end=$(date +%s.%N)

# The closing line, of which there is one, and what it says.
read -r passed failed <<END
$(awk '/^[0-9]+ passed, [0-9]+ failed$/ { n++; p = $1; f = $3 } END { if (n == 1) print p, f }' "$log")
END
why=
if [ -z "${passed:-}" ]; then
    why="there is no closing line"
    passed=0 failed=1
elif [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
    why="exit status $status"
    failed=1
elif [ "$passed" -ne "$(grep -c '^ok ' "$log")" ] || [ "$failed" -ne "$(grep -c '^FAIL ' "$log")" ]; then
    why="the closing line does not add up"
    failed=$((failed + 1))
elif [ "$passed" -eq 0 ] || { [ "$failed" -ne 0 ] && [ "$status" -eq 0 ]; }; then
    why="$passed passed and $failed failed, but exit status $status"
    failed=$((failed + 1))
fi
[ -z "$why" ] || echo "FAIL the run: $why (exit status $status)"

if [ "$what" = check ]; then
    # A wild store has to end the run with a report, not hang it or pass.
    status=0
    # shellcheck disable=SC2086
    boot "$image" "$log.trap" $icount -append trap || status=$?
    if [ "$status" -eq 71 ] &&
        grep -q '^\*\*\* exception: data abort, not mapped, write$' "$log.trap"; then
        echo "ok trap"
        passed=$((passed + 1))
    else
        echo "FAIL trap: exit status $status"
        cat "$log.trap"
        failed=$((failed + 1))
    fi
    status=0
    # shellcheck disable=SC2086
    boot "$B/template.elf" "$log.template" $icount || status=$?
    if printf 'Hello from 4 KiB pages\nevery call succeeded\n' | cmp -s - "$log.template" &&
        [ "$status" -eq 0 ]; then
        echo "ok template"
        passed=$((passed + 1))
    else
        echo "FAIL template: exit status $status"
        cat "$log.template"
        failed=$((failed + 1))
    fi
fi
echo "$begin $end" | awk '{ printf "boot to exit %.2f s; ", $2 - $1 }'
${SIZE:-size} "$image" | awk 'NR == 2 { printf "image %d KiB of code and data, %d KiB zeroed\n", ($1 + $2 + 1023) / 1024, $3 / 1024 }'
tally qemu "$passed" "$failed"
[ "$failed" -eq 0 ]
