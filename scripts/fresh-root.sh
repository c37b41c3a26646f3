#!/bin/sh
# SPDX-License-Identifier: MIT
# fresh-root.sh [start|whole]: the README's two commands on a machine that has only make and gcc. The
# working tree, without what was built, is copied into a new Debian root. There `make run` and
# `make check` start side by side with -j8, and have to install what they need and to pass.
#   start  `make check` runs one test program and leaves out the boards
#   whole  all of `make check`
# TREE: another working tree. B: the folder of what was built in it.
#
# The root's archive is kept in $GR_CACHE (granule/ in $XDG_CACHE_HOME or ~/.cache). debootstrap makes
# it from the mirror of this machine's apt, anew after 30 days or for another list of packages. Each
# run unpacks it into a tmpfs, in mount and PID namespaces that end with the run, even a killed one.
# All this needs root: skipped where that or debootstrap is missing.
set -u
. scripts/lib.sh

packages=make,gcc
cache=${GR_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/granule}
mnt=$cache/mnt
root=$mnt/root
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2> /dev/null)

# sources: lines "FILE MIRROR RELEASE" of what apt here has for this release and its updates.
sources() {
    apt-get indextargets --format '$(SOURCESENTRY)|$(REPO_URI)|$(RELEASE)|$(CODENAME)|$(COMPONENT)' \
        'Created-By: Packages' | awk -F'|' -v suite="$suite" '
        $5 == "main" && ($3 == suite || $4 == suite || index($3, suite "-") == 1) {
            sub(/:[0-9]*$/, "", $1)
            print $1, $2, ($3 == suite || $4 == suite) ? suite : $3
        }'
}

# ---- In the namespaces ----

# The pristine root, unpacked; made first where the cache has none that is new enough.
unpack() {
    mirror=$(sources | awk -v suite="$suite" '$3 == suite { print $2; exit }')
    key=$(echo "$suite $mirror $packages" | cksum)
    archive=$cache/fresh-root-${key%% *}.tar.gz
    exec 9> "$cache/lock" && flock 9 || return 1
    rm -f "$cache"/*.draft
    find "$cache" -name 'fresh-root-*' -mtime +30 -exec rm -f {} +
    if [ -e "$archive" ]; then
        tar -xzf "$archive" -C "$root" || return 1
    else
        echo "debootstrap: $suite with $packages, kept in $cache"
        begin=$(date +%s)
        eval "$(apt-config shell http Acquire::http::Proxy https Acquire::https::Proxy)"
        (
            [ "${http:-DIRECT}" = DIRECT ] || export http_proxy="$http"
            [ "${https:-DIRECT}" = DIRECT ] || export https_proxy="$https"
            debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" 9<&-
        ) > "$mnt/log" 2>&1 || {
            cat "$mnt/log" "$root/debootstrap/debootstrap.log"
            return 1
        }
        rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
        tar -czf "$archive.draft" -C "$root" . && mv "$archive.draft" "$archive" || return 1
        echo "debootstrap: $(($(date +%s) - begin)) s, $(($(wc -c < "$archive") / 1000000)) MB"
    fi
    exec 9>&-
}

# apt in the root reaches the same mirrors in the same way: sources, keys, proxies, names.
configure() {
    apt-config dump Acquire > "$root/etc/apt/apt.conf.d/99host" && rm -f "$root/etc/apt/sources.list" || return 1
    for file in $(sources | cut -d' ' -f1 | sort -u) /etc/apt/auth.conf /etc/apt/auth.conf.d \
        /etc/apt/keyrings /etc/apt/trusted.gpg /etc/apt/trusted.gpg.d /usr/share/keyrings \
        $(apt-config dump Acquire | sed -n 's,^[^"]*"\(/.*[^/]\)";$,\1,p') \
        /etc/ssl/certs/ca-certificates.crt /etc/hosts /etc/resolv.conf; do
        [ -e "$file" ] || continue
        mkdir -p "$root${file%/*}" && cp -RL "$file" "$root${file%/*}/" || return 1
    done
}

# in_root COMMAND: a shell's command in the tree's copy. Wall time ends only what hangs.
in_root() {
    rc=0
    timeout -k 10 "$limit" chroot "$root" env -i HOME=/root LANG=C.UTF-8 \
        PATH=/usr/sbin:/usr/bin:/sbin:/bin ${http_proxy:+"http_proxy=$http_proxy"} \
        ${https_proxy:+"https_proxy=$https_proxy"} sh -c "cd /granule && $1" || rc=$?
    case $rc in 124 | 137) echo "HUNG: not done after $limit s" ;; esac
    return "$rc"
}

# The list and nothing else: no package comes.
only_lists() {
    ! in_root 'GR_INSTALL=no make run' > "$mnt/log" 2>&1 && grep '^granule: missing' "$mnt/log" &&
        [ ! -e "$root/usr/bin/dtc" ] && return
    cat "$mnt/log"
    return 1
}

# Both at once. Each leaves /NAME.log and, in /NAME.end, its exit status, seconds and CPU time.
both() {
    in_root "timed() {
            name=\$1 begin=\$(date +%s) rc=0
            shift
            \"\$@\" > /\$name.log 2>&1 || rc=\$?
            times > /\$name.end
            set -- \$(sed -n 's/0000s/ s/g; 2p' /\$name.end)
            echo \$rc \$((\$(date +%s) - begin)) \$1 \$3 > /\$name.end
        }
        timed run make -j8 run &
        timed check $1 make -j8 check $2 &
        wait"
}

# passed NAME: did it, and in what time, with what installed?
passed() {
    read -r rc seconds user system < "$root/$1.end" || rc="not ended" seconds=? user=? system=?
    if [ "$rc" != 0 ]; then
        cat "$root/$1.log"
        echo "make $1: exit status $rc"
    else
        grep -E '^granule:|^[a-z0-9, -]+: [0-9]+ passed' "$root/$1.log"
        tail -n 1 "$root/$1.log"
    fi
    echo "make $1: $seconds s, CPU $user s user, $system s system"
    [ "$rc" = 0 ]
}

# Each make installs with one list at most.
one_list() {
    for name in run check; do
        [ "$(grep -c '^granule: installing' "$root/$name.log")" -le 1 ] || return 1
    done
    grep -q '^granule: installing' "$root/run.log" "$root/check.log"
}

inside() {
    mount -t tmpfs -o mode=755 granule "$mnt" && mkdir "$root" || return 1
    step "new root" unpack
    [ -e "$root/usr/bin/make" ] && configure && mount -t proc proc "$root/proc" &&
        mount -t devpts -o ptmxmode=666 devpts "$root/dev/pts" || return 1
    mkdir "$root/granule"
    tar -C "${TREE:-.}" --exclude=./.git --exclude=./build --exclude="./${B:-build}" -cf - . |
        tar -xf - -C "$root/granule" || return 1
    limit=3600
    step "GR_INSTALL=no" only_lists
    if [ "$1" = start ]; then
        both "env GR_CHECK=start" "'TESTS=\$(B)/tests/test_core' EXAMPLES= PROPS= FUZZERS= TEST_SCRIPTS="
    else
        limit=7200
        both "" ""
    fi
    step "make run in a new root" passed run
    step "make check in a new root" passed check
    step "one list for each" one_list
    echo "the root takes $(du -smx "$root" | cut -f1) MB"
}

# ---- Outside ----

# Is there what it takes? Else $why.
can() {
    why="a new root needs root"
    [ "$(id -u)" -eq 0 ] || return
    why="there is no apt-get or setpriv here"
    command -v apt-get > /dev/null && command -v setpriv > /dev/null || return
    why="this machine gives no mount and PID namespaces"
    unshare --mount --pid --fork --kill-child true || return
    why="apt has no mirror of this machine's release \`$suite'"
    sources | grep -q . || return
    why="there is no debootstrap"
    sh scripts/deps.sh fresh
}

# The namespaces end with their first process, that with unshare, and unshare with this script.
in_namespaces() {
    mkdir -p "$mnt" || return 1
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child sh "$0" --inside "$1" &
    trap 'kill -KILL $!; [ -z "$tally_is_ours" ] || rm -f "$GR_TALLY"; exit 1' HUP INT TERM
    wait $!
}

case ${1:-start} in
--inside) inside "$2" ;;
start | whole)
    begin_tally
    if can; then
        step "fresh root" in_namespaces "${1:-start}"
    else
        skip "fresh root" "$why"
    fi
    end_tally
    ;;
*)
    echo "fresh-root.sh: $1?" >&2
    exit 2
    ;;
esac
