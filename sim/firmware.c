/* SPDX-License-Identifier: MIT */
#include "firmware.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES_MAX 0x800u /* entries of a table of 16 KiB */

/* The registers and bits that firmware sets, by kind: DART.md 2, 3, 6. */
static const struct registers {
    uint32_t tcr, ttbr, enable;
    uint32_t translate, four_levels, bypass;
    uint32_t ttbrs;
    bool dart2;
    bool packed; /* TCR is a byte of one register, and no stream has to be enabled */
} kinds[] = {
    [GR_DT_DART_T8020] = {0x100, 0x200, 0xfc, 0x80, 0, 0x1100, 4, false, false},
    [GR_DT_DART_T6000] = {0x100, 0x200, 0xfc, 0x80, 0, 0x1100, 4, true, false},
    [GR_DT_DART_T8110] = {0x1000, 0x1400, 0xc00, 0x1, 0x8, 0x6, 1, true, false},
    [GR_DT_DART_T8103_USB4] = {0x100, 0x400, 0xfc, 0x80, 0, 0, 4, false, false},
    [GR_DT_DART_S5L8960X] = {0x0c, 0x40, 0, 0x80, 0, 0, 4, false, true},
};

static const struct registers *registers_of(const struct sim_iommu *iommu)
{
    return &kinds[iommu->tree.driver];
}

/* Bits of IOVA that index one table. */
static unsigned index_bits(const struct sim_iommu *iommu)
{
    return iommu->tree.page_bits - 3;
}

/* Levels of tables in memory: as many as the IOVAs need. */
static unsigned levels_of(const struct sim_iommu *iommu)
{
    return registers_of(iommu)->ttbrs == 1 &&
                   iommu->tree.va_bits > iommu->tree.page_bits + 2 * index_bits(iommu)
               ? 3
               : 2;
}

static bool translates(const struct sim_iommu *iommu)
{
    return iommu->hw.dart.model && iommu->tree.firmware >= GR_DT_FIRMWARE_TRANSLATING;
}

/* ---- Entries ---- */

static uint64_t entry_pa(const struct sim_iommu *iommu, uint64_t entry)
{
    uint64_t pa = registers_of(iommu)->dart2 ? entry << 4 & ((UINT64_C(1) << 42) - 1)
                                             : entry & ((UINT64_C(1) << 36) - 1);

    return pa >> iommu->tree.page_bits << iommu->tree.page_bits;
}

/*
 * Bit 1 of a table entry is set, as other software does (DART.md 4.3); in a DART1 leaf bit 1
 * is SP_DIS.
 */
static uint64_t make_entry(const struct sim_iommu *iommu, gr_pa_t pa, bool leaf)
{
    bool dart2 = registers_of(iommu)->dart2;
    uint64_t flags = leaf ? UINT64_C(0xfff) << 40 | (dart2 ? 1 : 3) : 3;

    return (dart2 ? pa >> 4 : pa) | flags;
}

static gr_iova_t decoded(const struct sim_iommu *iommu, gr_iova_t iova)
{
    return iova & ((UINT64_C(1) << iommu->tree.va_bits) - 1);
}

static uint32_t ttbr_at(const struct sim_iommu *iommu, uint32_t sid, gr_iova_t iova)
{
    const struct registers *const r = registers_of(iommu);
    unsigned top = iommu->tree.page_bits + levels_of(iommu) * index_bits(iommu);

    return r->ttbr + 4 * (r->ttbrs * sid + ((uint32_t)(iova >> top) & (r->ttbrs - 1)));
}

static bool root_of(const struct sim_iommu *iommu, uint32_t sid, gr_iova_t iova, gr_pa_t *out)
{
    uint32_t ttbr = dart_model_read32(iommu->hw.dart.model, ttbr_at(iommu, sid, iova));

    if (registers_of(iommu)->ttbrs == 1) {
        *out = (uint64_t)(ttbr >> 2) << 14;
        return (ttbr & 1) != 0;
    }
    *out = (uint64_t)(ttbr & 0x7fffffff) << 12;
    return ttbr >> 31 != 0;
}

static gr_pa_t slot_of(const struct sim_iommu *iommu, gr_pa_t table, unsigned level, gr_iova_t iova)
{
    unsigned shift = iommu->tree.page_bits + level * index_bits(iommu);

    return table + 8 * (iova >> shift & ((UINT64_C(1) << index_bits(iommu)) - 1));
}

/* ---- What firmware does ---- */

static bool new_table(struct sim_iommu *iommu, gr_pa_t *out_pa)
{
    struct sim_machine *const m = iommu->machine;
    struct sim_firmware_table *const grown =
        realloc(m->firmware_tables, (m->nfirmware_tables + 1) * sizeof(*grown));

    if (!grown)
        return false;
    m->firmware_tables = grown;
    if (host_firmware_alloc(m->host, UINT64_C(1) << iommu->tree.page_bits, out_pa) != 0)
        return false;
    grown[m->nfirmware_tables++] = (struct sim_firmware_table){.iommu = iommu, .pa = *out_pa};
    return true;
}

static bool ensure_root(struct sim_iommu *iommu, uint32_t sid, gr_iova_t iova, gr_pa_t *out_pa)
{
    if (root_of(iommu, sid, iova, out_pa))
        return true;
    if (!new_table(iommu, out_pa))
        return false;
    dart_model_poke32(iommu->hw.dart.model, ttbr_at(iommu, sid, iova),
                      registers_of(iommu)->ttbrs == 1
                          ? (uint32_t)(*out_pa >> 14) << 2 | 1
                          : UINT32_C(1) << 31 | (uint32_t)(*out_pa >> 12));
    return true;
}

static bool map_page(struct sim_iommu *iommu, uint32_t sid, gr_iova_t iova, gr_pa_t pa)
{
    struct sim_machine *const m = iommu->machine;
    gr_pa_t table;
    gr_pa_t slot;

    iova = decoded(iommu, iova);
    if (!ensure_root(iommu, sid, iova, &table))
        return false;
    for (unsigned level = levels_of(iommu) - 1; level > 0; level--) {
        uint64_t entry = 0;

        slot = slot_of(iommu, table, level, iova);
        if (!host_table_read64(m->host, slot, &entry))
            return false;
        if ((entry & 1) == 0) {
            if (!new_table(iommu, &table))
                return false;
            entry = make_entry(iommu, table, false);
            host_firmware_write64(m->host, slot, entry);
        }
        table = entry_pa(iommu, entry);
    }
    host_firmware_write64(m->host, slot_of(iommu, table, 0, iova), make_entry(iommu, pa, true));
    return true;
}

static bool map_region(struct sim_device *dev, unsigned stream, const struct gr_dt_region *region)
{
    struct sim_iommu *const iommu = dev->iommu[stream];
    struct sim_machine *const m = iommu->machine;
    uint64_t mask = (UINT64_C(1) << iommu->tree.page_bits) - 1;
    struct sim_scan *const grown = realloc(m->scans, (m->nscans + 1) * sizeof(*grown));
    struct sim_scan scan = {
        .iommu = iommu,
        .device = dev,
        .sid = dev->tree.streams[stream].sid,
        .iova = region->iova.first & ~mask,
        .pa = region->pa & ~mask,
        .pages = ((region->iova.last | mask) - (region->iova.first & ~mask) + 1) >>
                 iommu->tree.page_bits,
    };

    if (grown) {
        m->scans = grown;
        scan.seen = calloc(scan.pages, sizeof(*scan.seen));
    }
    if (!scan.seen)
        return false;
    grown[m->nscans++] = scan;
    for (uint64_t i = 0; i < scan.pages; i++) {
        uint64_t offset = i << iommu->tree.page_bits;

        if (!map_page(iommu, scan.sid, scan.iova + offset, scan.pa + offset))
            return false;
    }
    return true;
}

/* Set up one stream that a master names. */
static bool boot_stream(struct sim_device *dev, unsigned stream)
{
    struct sim_iommu *const iommu = dev->iommu[stream];
    const struct registers *const r = registers_of(iommu);
    uint32_t sid = dev->tree.streams[stream].sid;
    struct dart_model *const model = iommu->hw.dart.model;
    uint32_t tcr = r->bypass;
    bool ok = true;

    if (translates(iommu)) {
        tcr = r->translate | (levels_of(iommu) > 2 ? r->four_levels : 0);
        for (uint32_t i = 0; ok && i < r->ttbrs; i++) {
            unsigned top = iommu->tree.page_bits + levels_of(iommu) * index_bits(iommu);
            gr_iova_t iova = (uint64_t)i << top;
            gr_pa_t root;

            ok = iova != decoded(iommu, iova) || ensure_root(iommu, sid, iova, &root);
        }
        for (unsigned i = 0; ok && i < dev->tree.nregions; i++)
            if (dev->tree.regions[i].kind != GR_DT_REGION_RESERVED)
                ok = map_region(dev, stream, &dev->tree.regions[i]);
    }
    if (r->packed) {
        dart_model_poke32(model, r->tcr, dart_model_read32(model, r->tcr) | tcr << 8 * sid);
        return ok;
    }
    dart_model_poke32(model, r->tcr + 4 * sid, tcr);
    if (iommu->tree.driver == GR_DT_DART_T8110 || sid < 32) {
        uint32_t enable = r->enable + sid / 32 * 4;

        dart_model_poke32(model, enable,
                          dart_model_read32(model, enable) | UINT32_C(1) << sid % 32);
    }
    return ok;
}

static void save_registers(struct sim_iommu *iommu)
{
    for (uint32_t i = 0; i < SIM_SAVED; i++)
        iommu->saved[i] = dart_model_read32(iommu->hw.dart.model, 4 * i);
}

bool sim_firmware_boot(struct sim_machine *m)
{
    for (unsigned i = 0; i < m->ndevices; i++) {
        struct sim_device *const dev = &m->devices[i];

        for (unsigned s = 0; s < dev->tree.nstreams; s++) {
            struct sim_iommu *const iommu = dev->iommu[s];

            if (iommu->hw.dart.model && iommu->tree.firmware != GR_DT_FIRMWARE_OFF &&
                !boot_stream(dev, s))
                return false;
        }
    }
    for (unsigned i = 0; i < m->nfirmware_tables; i++) {
        struct sim_firmware_table *const t = &m->firmware_tables[i];
        size_t size = (size_t)1 << t->iommu->tree.page_bits;

        t->copy = malloc(size);
        if (!t->copy || !host_read_held(m->host, t->pa, t->copy, size))
            return false;
    }
    for (unsigned i = 0; i < m->niommus; i++)
        if (translates(&m->iommus[i]))
            save_registers(&m->iommus[i]);
    sim_firmware_check(m, false);
    return true;
}

void sim_firmware_free(struct sim_machine *m)
{
    for (unsigned i = 0; i < m->nfirmware_tables; i++)
        free(m->firmware_tables[i].copy);
    for (unsigned i = 0; i < m->nscans; i++)
        free(m->scans[i].seen);
    free(m->firmware_tables);
    free(m->scans);
}

/* ---- What goes on using it ---- */

/* The leaf table of `iova`, found in the tables as walkers see them, past all caches. */
static bool leaf_table(const struct sim_iommu *iommu, uint32_t sid, gr_iova_t iova, gr_pa_t *out_pa)
{
    if (!root_of(iommu, sid, iova, out_pa))
        return false;
    for (unsigned level = levels_of(iommu) - 1; level > 0; level--) {
        uint64_t entry = 0;

        if (!host_table_read64(iommu->machine->host, slot_of(iommu, *out_pa, level, iova),
                               &entry) ||
            (entry & 1) == 0)
            return false;
        *out_pa = entry_pa(iommu, entry);
    }
    return true;
}

/*
 * Look up the pages from `first` on that lie in one leaf table, by the tables alone. Returns how
 * many there are. The bus is held meanwhile: a TLB command ends no sooner than walks that began
 * before it.
 */
static uint64_t scan_table(const struct sim_scan *scan, uint64_t first)
{
    struct sim_iommu *const iommu = scan->iommu;
    unsigned bits = iommu->tree.page_bits;
    gr_iova_t iova = decoded(iommu, scan->iova + (first << bits));
    uint64_t index = iova >> bits & ((1u << index_bits(iommu)) - 1);
    uint64_t count = (1u << index_bits(iommu)) - index;
    uint64_t entries[ENTRIES_MAX];
    uint64_t wrong = 0;
    gr_pa_t table;

    if (count > scan->pages - first)
        count = scan->pages - first;
    sim_bus_lock(&iommu->machine->bus);
    if (!leaf_table(iommu, scan->sid, iova, &table) ||
        !host_read_held(iommu->machine->host, table + 8 * index, entries, 8 * count))
        wrong = count;
    sim_bus_unlock(&iommu->machine->bus);
    if (wrong == 0 && memcmp(entries, &scan->seen[first], 8 * count) != 0) {
        for (uint64_t i = 0; i < count; i++)
            wrong += (entries[i] & 1) == 0 ||
                     entry_pa(iommu, entries[i]) != scan->pa + ((first + i) << bits);
        memcpy(&scan->seen[first], entries, wrong == 0 ? 8 * count : 0);
    }
    iommu->firmware.changed += wrong;
    return count;
}

/* Look up all pages by the tables alone. */
static void scan_tables(const struct sim_scan *scan)
{
    for (uint64_t page = 0; page < scan->pages;)
        page += scan_table(scan, page);
}

static void look_through(const struct sim_scan *scan, uint64_t page)
{
    uint64_t offset = page << scan->iommu->tree.page_bits;
    enum model_result result;
    gr_pa_t pa = scan->pa + offset;

    result = sim_hw_translate(&scan->iommu->hw, scan->sid, scan->iova + offset, false, 64, &pa);
    if (result != MODEL_OK && result != MODEL_STALLED)
        scan->iommu->firmware.scanout_faults++;
    else if (pa != scan->pa + offset)
        scan->iommu->firmware.changed++;
}

/* Look up one page of one scan through the IOMMU. */
static void look_anywhere(struct sim_machine *m)
{
    const struct sim_scan *const scan = &m->scans[sim_rng_below(&m->scan_rng, m->nscans)];

    look_through(scan, sim_rng_below(&m->scan_rng, scan->pages));
}

void sim_firmware_look(struct sim_machine *m)
{
    if (m->nscans == 0 || m->in_look || m->options.scanout_thread)
        return;
    m->in_look = true;
    for (unsigned i = 0; i < m->nscans; i++)
        scan_tables(&m->scans[i]);
    look_anywhere(m);
    m->in_look = false;
}

/* A display and its coprocessor, on a thread of their own. */
static void *scan_out(void *arg)
{
    struct sim_machine *const m = arg;

    while (!__atomic_load_n(&m->scanout_stop, __ATOMIC_ACQUIRE)) {
        for (unsigned i = 0; i < m->nscans; i++) {
            scan_tables(&m->scans[i]);
            look_anywhere(m);
        }
        __atomic_add_fetch(&m->scanouts, 1, __ATOMIC_RELEASE);
    }
    return NULL;
}

/* Wait until the thread has looked at everything once, from its beginning. */
static void await_scan_out(struct sim_machine *m)
{
    uint64_t now = __atomic_load_n(&m->scanouts, __ATOMIC_ACQUIRE);

    while (__atomic_load_n(&m->scanouts, __ATOMIC_ACQUIRE) < now + 2)
        sched_yield();
}

bool sim_firmware_start_display(struct sim_machine *m)
{
    if (m->nscans == 0 || !m->options.scanout_thread)
        return true;
    m->scanning = pthread_create(&m->scanout, NULL, scan_out, m) == 0;
    if (m->scanning)
        await_scan_out(m);
    return m->scanning;
}

void sim_firmware_stop_display(struct sim_machine *m)
{
    if (!m->scanning)
        return;
    await_scan_out(m);
    __atomic_store_n(&m->scanout_stop, true, __ATOMIC_RELEASE);
    pthread_join(m->scanout, NULL);
    m->scanning = false;
}

static bool is_restored(struct sim_iommu *iommu)
{
    const struct registers *const r = registers_of(iommu);
    const struct sim_machine *const m = iommu->machine;
    bool same = true;

    for (unsigned i = 0; i < m->nfirmware_tables; i++) {
        const struct sim_firmware_table *const t = &m->firmware_tables[i];
        size_t size = (size_t)1 << iommu->tree.page_bits;

        if (t->iommu == iommu)
            same = same && memcmp(t->copy, host_ptr(m->host, t->pa, size), size) == 0;
    }
    for (uint32_t sid = 0; sid < iommu->tree.streams; sid++) {
        uint32_t tcr = r->packed ? r->tcr : r->tcr + 4 * sid;
        unsigned shift = r->packed ? 8 * sid : 0;

        if ((iommu->saved[tcr / 4] >> shift & r->translate) == 0)
            continue; /* firmware left this stream alone */
        same = same && (dart_model_read32(iommu->hw.dart.model, tcr) ^ iommu->saved[tcr / 4]) >>
                               shift % 32 << (r->packed ? 24 : 0) ==
                           0;
        for (uint32_t i = 0; i < r->ttbrs; i++) {
            uint32_t ttbr = r->ttbr + 4 * (r->ttbrs * sid + i);

            same = same && dart_model_read32(iommu->hw.dart.model, ttbr) == iommu->saved[ttbr / 4];
        }
    }
    return same;
}

void sim_firmware_check(struct sim_machine *m, bool down)
{
    for (unsigned i = 0; i < m->nscans; i++) {
        scan_tables(&m->scans[i]);
        for (uint64_t page = 0; page < m->scans[i].pages; page++)
            look_through(&m->scans[i], page);
    }
    for (unsigned i = 0; down && i < m->niommus; i++)
        if (translates(&m->iommus[i]))
            m->iommus[i].firmware.changed_at_end = !is_restored(&m->iommus[i]);
}

/* ---- What the library made of it ---- */

/* Does a device that comes before share this stream? */
static bool counted_before(const struct sim_machine *m, const struct sim_device *dev,
                           unsigned stream)
{
    for (const struct sim_device *d = m->devices; d < dev; d++) {
        for (unsigned s = 0; s < d->tree.nstreams; s++)
            if (d->iommu[s] == dev->iommu[stream] && d->registered &&
                d->streams[s].sid == dev->streams[stream].sid)
                return true;
    }
    return false;
}

void sim_firmware_note_adoption(struct sim_machine *m)
{
    for (unsigned i = 0; i < m->ndevices; i++) {
        struct sim_device *const dev = &m->devices[i];

        for (unsigned s = 0; dev->registered && s < dev->tree.nstreams; s++) {
            struct sim_firmware *const firmware = &dev->iommu[s]->firmware;
            struct gr_adoption told;

            gr_stream_adoption(&dev->streams[s], &told);
            if (counted_before(m, dev, s) || told.state == GR_FIRMWARE_OFF)
                continue;
            firmware->adopted += told.leaves;
            if (told.policy != GR_ADOPT_DEFAULT) {
                firmware->policy = told.policy;
                firmware->reason = told.reason;
            }
        }
    }
}

bool sim_firmware_leads(const struct sim_machine *m, const struct gr_domain *domain, gr_iova_t iova,
                        gr_pa_t *out_pa)
{
    for (unsigned i = 0; i < m->ndevices; i++) {
        const struct sim_device *const dev = &m->devices[i];

        for (unsigned k = 0; dev->active == domain && k < dev->tree.nregions; k++) {
            const struct gr_dt_region *const r = &dev->tree.regions[k];
            uint64_t mask = dev->iommu[0]->granule - 1;

            if (r->kind != GR_DT_REGION_RESERVED && iova >= (r->iova.first & ~mask) &&
                iova <= (r->iova.last | mask)) {
                *out_pa = (r->pa & ~mask) + (iova - (r->iova.first & ~mask));
                return true;
            }
        }
    }
    return false;
}
