# SPDX-License-Identifier: MIT
#
# awk -v OUT=FOLDER -f removal-sites.awk FILE...: write a copy of each file below FOLDER in which
# every barrier, cache operation and invalidation, every call of a function that is there for one,
# and what fills a slot of a bounce pool, is wrapped in SITE() or SITE_IN() (tests/removal/site.h), and print their names,
# FILE:LINE:WHAT. Lines keep their numbers. Relies on clang-format's layout: what is not indented is
# no call.

# Operations, and calls of what does them: switched off, such a call does all but these operations.
BEGIN {
    RS = "\001"
    operation = "gr_port_wmb|gr_port_rmb|gr_port_mb|gr_port_cache|dart_wait_idle|smmu_wait_idle|gri_smmu_command|gr_port_write32|gri_bounce_copy|memset"
    call = "clean|clean_slot|gri_smmu_clean|gri_dma_to_device|gri_dma_to_cpu|sync_list|invalidate|retire|finish_unmap|flush|attach|block" \
        "|gri_domain_invalidate|gri_domain_invalidate_visible|gri_dma_sync|gri_isolation_sync|gri_smmu_sync|gri_smmu_invalidate_[a-z_]*|adopt|release"
    any = "([A-Za-z_][A-Za-z_0-9]*->)*(" operation "|" call ")\\("
}

function line_of(text, at) {
    return gsub(/\n/, "\n", text) + 1
}

# The text from the last newline in `text` on.
function last_line(text) {
    sub(/.*\n/, "", text)
    return text
}

# The length of a call that starts `text`.
function call_length(text, i, c, depth) {
    for (i = index(text, "("); i <= length(text); i++) {
        c = substr(text, i, 1)
        depth += (c == "(") - (c == ")")
        if (!depth)
            return i
    }
    print FILENAME ": a call has no end" > "/dev/stderr"
    exit 1
}

# Register writes that start a TLB command, or say for which streams and IOVAs, and zeroes in slots; no others.
function is_site(name, text) {
    if (name == "memset")
        return text ~ /^memset\(va[, ]/
    return name != "gr_port_write32" || text ~ /^[^;]*\((dart->mmio, )?(command|[A-Z0-9_]*_(SELECT|SELECT_HI|RANGE_FIRST|RANGE_LAST)),/
}

function add(what) {
    what = place ":" what
    if (what in known) {
        print what ": two sites of one name" > "/dev/stderr"
        exit 1
    }
    known[what] = 1
    print what
    return "\"" what "\""
}

function wrap(name, text, what, a, b) {
    what = name
    sub(/^gr_port_/, "", what)
    if (name !~ "^(" operation ")$")
        return "SITE_IN(" add(what) ", " text ")"
    if (text ~ /GR_CACHE_CLEAN \| GR_CACHE_INVAL/) {
        a = "SITE(" add("cache-clean") ", 0u, GR_CACHE_CLEAN)"
        b = "SITE(" add("cache-inval") ", 0u, GR_CACHE_INVAL)"
        sub(/GR_CACHE_CLEAN \| GR_CACHE_INVAL/, a " | " b, text)
    }
    return "SITE(" add(what) ", " (name ~ /wait_idle$/ ? "0" : "(void)0") ", " text ")"
}

{
    rest = $0
    done = ""
    while (match(rest, any)) {
        before = substr(rest, 1, RSTART - 1)
        rest = substr(rest, RSTART)
        name = substr(rest, 1, RLENGTH - 1)
        sub(/.*->/, "", name)
        done = done before
        line = last_line(done)
        gsub(/\/\*[^*]*\*\//, "", line)
        n = call_length(rest)
        text = substr(rest, 1, n)
        if (done ~ /[A-Za-z0-9_]$/ || line !~ /^[ \t]/ || line ~ /\/\*|^[ \t]+\*/ ||
            !is_site(name, text)) {
            n = RLENGTH
            done = done substr(rest, 1, n)
        } else {
            place = FILENAME ":" line_of(done)
            done = done wrap(name, text)
        }
        rest = substr(rest, n + 1)
    }
    file = OUT "/" FILENAME
    printf "%s%s", done, rest > file
    close(file)
}
