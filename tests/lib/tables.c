/* SPDX-License-Identifier: MIT */
#include "tables.h"

#include <host.h>

#include <inttypes.h>
#include <string.h>

#include "formats.h"

static bool tables_memory(void *opaque, uint64_t pa, void *buf, size_t len)
{
    uint8_t *const to = buf;

    for (size_t i = 0; i < len; i += 8) {
        uint64_t entry;

        if (!host_table_read64(opaque, pa + i, &entry))
            return false;
        memcpy(to + i, &entry, 8);
    }
    return true;
}

void tables_open(struct tables *t, const struct gr_pt *pt)
{
    const struct format *const f = format_of((enum gr_pt_format)pt->format);

    t->source = (struct walker_source){.opaque = pt->env, .memory = tables_memory};
    t->stream = (struct walker_stream){
        .format = walker_entries(f->entries, UINT64_C(1) << pt->granule_lg2),
        .from = &t->source,
        .mode = WALKER_TRANSLATE,
        .levels = pt->levels,
        .va_bits = pt->va_bits,
        .pa_bits = pt->pa_bits,
        .nroots = 1u << pt->roots_lg2,
    };
    for (unsigned i = 0; i < t->stream.nroots; i++)
        t->stream.roots[i] = (struct walker_root){
            .pa = pt->root_pa + ((gr_pa_t)i << pt->granule_lg2), .valid = true};
}

static void print_leaf(FILE *to, const struct walker_leaf *leaf)
{
    fprintf(to, "0x%012" PRIx64 "-0x%012" PRIx64 ": PA 0x%" PRIx64 " %c%c%c", leaf->iova,
            leaf->last, leaf->pa, leaf->read ? 'r' : '-', leaf->write ? 'w' : '-',
            leaf->uncached ? 'u' : '-');
    if (leaf->open != leaf->iova || leaf->open_last != leaf->last)
        fprintf(to, ", open 0x%" PRIx64 "-0x%" PRIx64, leaf->open, leaf->open_last);
    fprintf(to, ", level %u: 0x%016" PRIx64 " at 0x%" PRIx64 "\n", leaf->level, leaf->entry,
            leaf->at);
}

static void print_problem(FILE *to, const struct walker_problem *problem)
{
    fprintf(
        to, "0x%012" PRIx64 "-0x%012" PRIx64 ": %s, level %u: 0x%016" PRIx64 " at 0x%" PRIx64 "\n",
        problem->iova, problem->last, problem->text, problem->level, problem->entry, problem->at);
}

void tables_print(FILE *to, const struct gr_pt *pt)
{
    struct tables t;
    struct walker_iter iter;
    enum walker_event event;
    unsigned leaves = 0, problems = 0;

    tables_open(&t, pt);
    fprintf(to, "%s, granule 2^%u, %u levels, %u bits of IOVA, root at PA 0x%" PRIx64 "\n",
            t.stream.format->name, pt->granule_lg2, pt->levels, pt->va_bits, pt->root_pa);
    if (!walker_begin(&iter, &t.stream)) {
        fprintf(to, "no memory to read them\n");
        return;
    }
    while ((event = walker_next(&iter)) != WALKER_DONE) {
        if (event == WALKER_LEAF) {
            print_leaf(to, &iter.leaf);
            leaves++;
        } else {
            print_problem(to, &iter.problem);
            problems++;
        }
    }
    walker_end(&iter);
    fprintf(to, "%u leaves, %u entries that lead nowhere\n", leaves, problems);
}

void dump_tables(const struct gr_pt *pt)
{
    tables_print(stderr, pt);
}
