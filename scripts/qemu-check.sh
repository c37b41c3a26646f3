#!/bin/sh
# SPDX-License-Identifier: MIT
# qemu-check.sh [check|qtest|run|bench|--self-test]: boot the image under QEMU (TCG), or run the
# hosted program beside a QEMU without a guest, and judge what it says.
#   check        every scenario at granules of 4, 16 and 64 KiB, in each stage that the SMMU has;
#                where QEMU lets one choose, once more with stage 2 only; crashes that have to be
#                reported as such; the template's image
#   qtest        the scenarios in $PROGRAM, built from ports/qemu-qtest; what it says of memory
#                that is used after it was freed, and of a QEMU that goes or does not answer
#   run          the NVMe demonstration, for people
#   bench        map + 4 KiB NVMe read + unmap per second, by granule, on the host's clock
#   --self-test  a QEMU that hangs, lies or dies, and sees it found
# B is the folder of the images. GR_CPU (240), GR_WALL: of one boot, see bounded(). APPEND: more arguments for
# the image or program (seed=N, only=NAME, stage=N). QEMU: another qemu-system-aarch64. It fails if
# QEMU does not end in time, if the closing line is not there or does not add up, or if the guest's
# exit status is not the one expected.
set -u
. scripts/lib.sh
export GR_CPU="${GR_CPU:-240}"

B=${B:-build/qemu}
image=$B/granule-qemu.elf
log=$B/log
qemu=${QEMU:-qemu-system-aarch64}
board=virt

# machine OUTPUT EXTRA-ARGUMENTS...: returns the exit status of QEMU, or of what is $under it.
under=
machine() {
    _out=$1
    shift
    # shellcheck disable=SC2086 # a command, or empty
    bounded $under "$qemu" -M "$board,iommu=smmuv3" -m 256M \
        -nodefaults -display none -no-reboot \
        -drive "file=$B/nvme.img,if=none,id=nvme,format=raw,snapshot=on" \
        -device nvme,drive=nvme,serial=granule,addr=1 \
        -drive "file=$B/disk.img,if=none,id=disk,format=raw,snapshot=on" \
        -device virtio-blk-pci,drive=disk,disable-legacy=on,iommu_platform=on,addr=2 \
        -device edu,dma_mask=0xffffffffffffffff,addr=3 -device edu,addr=4 \
        -device edu,dma_mask=0xffffffffffffffff,addr=5 \
        "$@" < /dev/null > "$_out.raw" 2>&1
    _status=$?
    tr -d '\r' < "$_out.raw" > "$_out"
    rm -f "$_out.raw"
    case $_status in
    124 | 137 | 152) echo "qemu-check: QEMU: $(how_it_ended $_status)" >&2 ;;
    esac
    return $_status
}

# boot IMAGE OUTPUT EXTRA-ARGUMENTS...: returns the guest's exit status.
boot() {
    _image=$1 _to=$2
    shift 2
    machine "$_to" -cpu cortex-a57 -serial stdio -semihosting-config enable=on,target=native \
        -kernel "$_image" "$@"
}

# hosted OUTPUT WORDS: the program with these words, and a CPU that never starts.
hosted() {
    _rc=0
    under="$PROGRAM $2 --"
    # shellcheck disable=SC2086
    machine "$1" -cpu cortex-a57,start-powered-off=on $icount || _rc=$?
    under=
    return $_rc
}

# judge STATUS LOG: what the log says, added to passed, failed, skipped; a reason where it is more
# than that.
judge() {
    _lines=$(awk '/^[0-9]+ passed, [0-9]+ failed$/ { n++; p = $1; f = $3 }
        /^ok / { oks++ } /^FAIL / { fails++ } /^# SKIPPED/ { skips++ }
        END { print n + 0, p + 0, f + 0, (p == oks && f == fails), skips + 0 }' "$2")
    # shellcheck disable=SC2086 # five numbers
    set -- "$1" $_lines
    why=
    if [ "$2" -ne 1 ]; then
        why="there is no closing line"
        set -- "$1" "$2" 0 "$4" "$5" "$6"
    elif [ "$5" -ne 1 ]; then
        why="the closing line does not add up"
    elif [ "$3" -eq 0 ]; then
        why="nothing passed"
    elif [ "$1" -ne $(($4 > 0)) ]; then
        why="$4 failed, but the exit status is not"
    fi
    passed=$((passed + $3)) failed=$((failed + $4)) skipped=$((skipped + $6))
    [ -z "$why" ] || {
        echo "FAIL the run: $why $1"
        failed=$((failed + 1))
    }
}

# one NAME RESULT: a result of our own.
one() {
    if [ "$2" -eq 0 ]; then
        echo "ok $1"
        passed=$((passed + 1))
    else
        echo "FAIL $1"
        failed=$((failed + 1))
    fi
}

# trap KIND REPORT: a crash of this kind has to end the run with this report.
trapped() {
    _rc=0
    # shellcheck disable=SC2086 # a list of arguments
    boot "$image" "$log.trap" $icount -append "trap=$1" || _rc=$?
    [ "$_rc" -eq 71 ] && grep -qxF "*** exception: $2" "$log.trap"
    _rc=$?
    [ "$_rc" -eq 0 ] || cat "$log.trap"
    one "trap $1" "$_rc"
}

# broken WHAT WORDS REPORT: this breaks the run, and the report says why.
broken() {
    _bad=1
    hosted "$log.broken" "$2" || _bad=0
    grep -qF "$3" "$log.broken" || _bad=1
    [ "$_bad" -eq 0 ] || cat "$log.broken"
    one "$1" "$_bad"
}

# Once more, with an SMMU that has stage 2 and no other, where this QEMU has such a thing. Its newer
# machines set the property to both themselves.
stage_2_only() {
    timeout 10 "$qemu" -device arm-smmuv3,help 2> /dev/null | grep -q '^  stage=' || return 0
    case " ${APPEND:-} " in *' stage=1 '*) return 0 ;; esac
    timeout 10 "$qemu" -M help 2> /dev/null | grep -q '^virt-9\.0 ' && board=virt-9.0
    _rc=0
    # shellcheck disable=SC2086
    boot "$image" "$log.stage2" $icount -global arm-smmuv3.stage=2 -append "${APPEND:-}" || _rc=$?
    echo "# $board with -global arm-smmuv3.stage=2"
    board=virt
    cat "$log.stage2"
    judge "$_rc" "$log.stage2"
}

template() {
    _rc=0
    # shellcheck disable=SC2086
    boot "$B/template.elf" "$log.template" $icount || _rc=$?
    printf 'Hello from 4 KiB pages\nevery call succeeded\n' | cmp -s - "$log.template" || _rc=1
    [ "$_rc" -eq 0 ] || cat "$log.template"
    one template "$_rc"
}

# Virtual time that stands still while nothing runs: a DMA of the edu device takes 100 ms of it.
icount="-icount shift=8,sleep=off"

main() {
    if [ "$1" = qtest ] && ! command -v "$qemu" > /dev/null; then
        skip "QEMU's SMMUv3 without a guest" "there is no $qemu (make deps-qemu installs it)"
        return 0
    fi
    mkdir -p "$B" || return 1
    for _disk in nvme disk; do
        [ -e "$B/$_disk.img" ] || truncate -s 16M "$B/$_disk.img" || return 1
    done
    _begin=$(date +%s.%N)
    _rc=0
    # shellcheck disable=SC2086
    case $1 in
    check) boot "$image" "$log" $icount -append "${APPEND:-}" || _rc=$? ;;
    qtest) hosted "$log" "${APPEND:-}" || _rc=$? ;;
    run) boot "$image" "$log" $icount -append "demo ${APPEND:-}" || _rc=$? ;;
    bench) boot "$image" "$log" -append "bench ${APPEND:-}" || _rc=$? ;; # the host's clock
    *)
        echo "qemu-check.sh: $1?" >&2
        return 2
        ;;
    esac
    cat "$log"
    echo "start to exit: $(echo "$_begin $(date +%s.%N)" | awk '{ printf "%.2f", $2 - $1 }') s"
    passed=0 failed=0 skipped=0
    judge "$_rc" "$log"
    if [ "$1" = check ]; then
        stage_2_only
        trapped store "data abort, not mapped, write"
        trapped text "data abort, no permission, write"
        trapped stack "data abort, not mapped, write"
        template
    elif [ "$1" = qtest ]; then
        broken "memory used after it was freed" trap=freed "AddressSanitizer: use-after-poison"
        broken "QEMU goes" trap=gone "panic: QEMU is gone, by signal 9: no answer to readl"
        broken "QEMU does not answer" "wait=1 trap=mute" "panic: QEMU has not answered in 1 s: readl"
    fi
    tally "qemu $1" "$passed" "$failed" "$skipped"
    [ "$failed" -eq 0 ]
}

# ---- Self-test ----

# expect PASS? WHAT SCRIPT [SECONDS]: a QEMU that is this shell script; `check` must pass, or not.
expect() {
    printf '#!/bin/sh\nfor last; do :; done\n%s\n' "$3" > "$tmp/bin/qemu-system-aarch64"
    chmod +x "$tmp/bin/qemu-system-aarch64"
    _rc=0
    PATH=$tmp/bin:$PATH QEMU='' GR_TALLY='' B=$tmp GR_WALL="${4:-600}" sh scripts/qemu-check.sh check \
        > "$tmp/out" 2>&1 || _rc=1
    [ "$_rc" -eq "$1" ] || {
        cat "$tmp/out"
        echo "qemu-check: self-test: $2: not found"
        wrong=$((wrong + 1))
    }
    cases=$((cases + 1))
}

self_test() {
    tmp=$(mktemp -d) || return 1
    trap 'rm -rf "$tmp"' EXIT
    mkdir "$tmp/bin"
    : > "$tmp/granule-qemu.elf"
    cases=0 wrong=0
    # What comes after the scenarios' boot, as it should be.
    traps='case $last in
trap=text) echo "*** exception: data abort, no permission, write"; exit 71 ;;
trap=*) echo "*** exception: data abort, not mapped, write"; exit 71 ;;
sleep=off | shift=*) printf "Hello from 4 KiB pages\r\nevery call succeeded\r\n"; exit 0 ;;
esac'
    good='echo "ok a G=4K"; echo "1 passed, 0 failed"'
    expect 0 "what is right" "$traps
$good"
    expect 1 "no end" "$traps
$good; exec sleep 600" 1
    expect 1 "an exit status" "$traps
$good; exit 1"
    expect 1 "no closing line" "$traps
echo 'ok a G=4K'"
    expect 1 "two closing lines" "$traps
$good; $good"
    expect 1 "a sum that is wrong" "$traps
$good; echo 'ok b G=4K'"
    expect 1 "nothing that ran" "$traps
echo '0 passed, 0 failed'"
    expect 1 "a failure" "$traps
echo 'ok a'; echo 'FAIL b: why'; echo '1 passed, 1 failed'; exit 1"
    expect 1 "a failure that exits with 0" "$traps
echo 'ok a'; echo 'FAIL b: why'; echo '1 passed, 1 failed'"
    expect 1 "a crash that passes" "$good"
    expect 1 "a crash of another kind" "$(echo "$traps" | sed 's/no permission/not mapped/')
$good"
    stages='case "$*" in
*arm-smmuv3,help) echo "  stage=<str>"; exit 0 ;;
*stage=2*) echo "FAIL b: why"; echo "0 passed, 1 failed"; exit 1 ;;
esac'
    expect 1 "a failure with stage 2 only" "$stages
$traps
$good"
    expect 0 "stage 2 only" "$(echo "$stages" | sed '/FAIL/d')
$traps
$good"
    expect 1 "a template that says nothing" "$(echo "$traps" | sed 's/Hello/hello/')
$good"
    echo "qemu-check: self-test: $cases cases, $wrong wrong"
    [ "$wrong" -eq 0 ]
}

case ${1:-check} in
--self-test) self_test ;;
*) main "${1:-check}" ;;
esac
