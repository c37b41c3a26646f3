/* SPDX-License-Identifier: MIT */
#include "report.h"

#include "show.h"
#include "sim/json.h"

#include <stdio.h>
#include <string.h>

/* The counters that must be 0. JSON has these names; the table has blanks in them. */
static const struct counter {
    const char *name;
    size_t offset;
} counters[] = {
    {"mismatched_bytes", offsetof(struct sim_tally, mismatched_bytes)},
    {"touched_guard_bytes", offsetof(struct sim_tally, touched_guard_bytes)},
    {"unexpected_faults", offsetof(struct sim_tally, unexpected_faults)},
    {"missed_faults", offsetof(struct sim_tally, missed_faults)},
    {"live_mappings", offsetof(struct sim_tally, live_mappings)},
    {"leaked_pages", offsetof(struct sim_tally, leaked_pages)},
    {"misuse", offsetof(struct sim_tally, misuse)},
};

#define COUNTERS (sizeof(counters) / sizeof(counters[0]))

static uint64_t counter_value(const struct cli_report *report, size_t i)
{
    uint64_t value;

    memcpy(&value, (const char *)report->tally + counters[i].offset, sizeof(value));
    return value;
}

static unsigned blocked_devices(const struct sim_machine *m)
{
    unsigned blocked = 0;

    for (unsigned i = 0; i < m->ndevices; i++)
        blocked += m->devices[i].failed;
    return blocked;
}

static unsigned dead_iommus(const struct sim_machine *m)
{
    unsigned dead = 0;

    for (unsigned i = 0; i < m->niommus; i++)
        dead += !m->iommus[i].up;
    return dead;
}

/* Did firmware's mappings go on, and is firmware's state restored? */
static bool firmware_held(const struct sim_machine *m)
{
    for (unsigned i = 0; i < m->niommus; i++) {
        const struct sim_firmware *const f = &m->iommus[i].firmware;

        if (f->changed != 0 || f->scanout_faults != 0 || f->changed_at_end)
            return false;
    }
    return true;
}

/*
 * Bytes that devices reached and must not: of a trusted device only a figure, of others a failure.
 */
static uint64_t leaks(const struct cli_report *report, bool untrusted)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < report->machine->ndevices; i++)
        if (!untrusted || report->machine->devices[i].untrusted)
            bytes += report->tally->devices[i].leaked;
    return bytes;
}

static uint64_t slack(const struct cli_report *report)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < report->machine->ndevices; i++)
        bytes += report->tally->devices[i].slack;
    return bytes;
}

bool cli_report_passed(const struct cli_report *report)
{
    uint64_t bad = report->machine->nproblems + blocked_devices(report->machine) +
                   dead_iommus(report->machine) + leaks(report, true);

    for (size_t i = 0; i < COUNTERS; i++)
        bad |= counter_value(report, i);
    return bad == 0 && firmware_held(report->machine);
}

/* Do the windows of its leaves hold, as far as is known? DARTs have some, SMMUs none. */
static const char *windows(const struct sim_iommu *iommu)
{
    return !iommu->up || iommu->tree.driver == GR_DT_SMMUV3 ? "none"
           : iommu->tree.window_verified                    ? "verified"
                                                            : "unverified";
}

/* Does an earlier stream have the same instance? A device lists each instance once. */
static bool listed_before(const struct sim_device *dev, unsigned stream)
{
    for (unsigned i = 0; i < stream; i++)
        if (dev->iommu[i] == dev->iommu[stream])
            return true;
    return false;
}

/* ---- For machines ---- */

static json_t *json_u64(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static const char *firmware_state(const struct sim_iommu *iommu)
{
    static const char *const states[] = {"off", "bypass", "translating", "locked"};

    return states[iommu->tree.firmware];
}

/* NULL where no domain shares a stream with firmware. */
static const char *firmware_policy(const struct sim_iommu *iommu)
{
    static const char *const names[] = {NULL, "keep_slots", "import", "replace"};

    return names[iommu->firmware.policy];
}

static json_t *json_firmware(const struct sim_iommu *iommu)
{
    const struct sim_firmware *const f = &iommu->firmware;

    return json_pack("{s:s,s:s?,s:s?,s:o,s:o,s:o,s:b}", "state", firmware_state(iommu), "policy",
                     firmware_policy(iommu), "reason", f->reason, "adopted", json_u64(f->adopted),
                     "changed", json_u64(f->changed), "scanout_faults", json_u64(f->scanout_faults),
                     "restored", !f->changed_at_end);
}

static json_t *json_instance(const struct sim_iommu *iommu)
{
    const struct sim_hw_stats tlb = sim_hw_stats(&iommu->hw);
    json_t *object;

    object = json_pack(
        "{s:o,s:o,s:o,s:[o,o],s:o,s:b,s:s,s:o,s:{s:o,s:o,s:o,s:o}}", "path",
        sim_json_text(iommu->tree.path), "compatible", sim_json_text(iommu->tree.compatible),
        "granule", json_u64(iommu->granule), "aperture", sim_json_hex(iommu->aperture.first),
        sim_json_hex(iommu->aperture.last), "streams", json_u64(iommu->streams), "locked",
        iommu->locked, "windows", windows(iommu), "firmware", json_firmware(iommu), "tlb", "hits",
        json_u64(tlb.hits), "misses", json_u64(tlb.misses), "fetches", json_u64(tlb.fetches),
        "invalidations", json_u64(tlb.invalidations));
    if (object && !iommu->up)
        json_object_set_new(object, "reason", sim_json_text(iommu->reason));
    return object;
}

static json_t *json_device(const struct cli_report *report, unsigned index)
{
    const struct sim_device *const dev = &report->machine->devices[index];
    const struct sim_tally_device *const result = &report->tally->devices[index];
    json_t *const instances = json_array();
    json_t *object;

    for (unsigned i = 0; i < dev->tree.nstreams; i++)
        if (!listed_before(dev, i))
            json_array_append_new(instances, sim_json_text(dev->iommu[i]->tree.path));
    object =
        json_pack("{s:o,s:o,s:s,s:o,s:s,s:b,s:o,s:o}", "path", sim_json_text(dev->tree.path),
                  "instances", instances, "mode", sim_mode_name(dev->mode), "reason",
                  sim_json_text(dev->reason), "isolation", sim_isolation_name(dev), "untrusted",
                  dev->untrusted, "maps", json_u64(result->maps), "bytes", json_u64(result->bytes));
    if (object && report->tally->attack) {
        json_object_set_new(object, "leaked_bytes", json_u64(result->leaked));
        json_object_set_new(object, "slack_bytes", json_u64(result->slack));
    }
    return object;
}

static json_t *json_totals(const struct cli_report *report)
{
    const struct sim_machine *const m = report->machine;
    json_t *const totals =
        json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "devices", json_u64(m->ndevices), "maps",
                  json_u64(report->tally->maps), "bytes", json_u64(report->tally->bytes), "lists",
                  json_u64(report->tally->lists), "segments", json_u64(report->tally->segments),
                  "coherent", json_u64(report->tally->coherent), "bounced_bytes",
                  json_u64(m->bounced.bounced), "copied_bytes", json_u64(m->bounced.copied));

    if (report->tally->attack) {
        json_object_set_new(totals, "leaked_bytes", json_u64(leaks(report, false)));
        json_object_set_new(totals, "slack_bytes", json_u64(slack(report)));
    }
    for (size_t i = 0; i < COUNTERS; i++)
        json_object_set_new(totals, counters[i].name, json_u64(counter_value(report, i)));
    return totals;
}

bool cli_report_json(const struct cli_report *report)
{
    const struct sim_machine *const m = report->machine;
    json_t *const instances = json_array();
    json_t *const devices = json_array();
    json_t *const problems = json_array();
    json_t *root;
    bool ok;

    for (unsigned i = 0; i < m->niommus; i++)
        json_array_append_new(instances, json_instance(&m->iommus[i]));
    for (unsigned i = 0; i < m->ndevices; i++)
        json_array_append_new(devices, json_device(report, i));
    for (unsigned i = 0; i < m->nproblems && i < SIM_PROBLEMS; i++)
        json_array_append_new(problems, sim_json_text(m->problems[i]));
    root = json_pack("{s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:o}", "board", sim_json_text(m->board->path),
                     "model", m->board->model, "cpu_page", json_u64(m->options.cpu_page), "seed",
                     json_u64(m->options.seed), "instances", instances, "devices", devices,
                     "totals", json_totals(report), "problems", problems);
    ok = root && json_dumpf(root, stdout, JSON_COMPACT) == 0;
    putchar('\n');
    json_decref(root);
    return ok;
}

/* ---- For people ---- */

/* Of a path that is too long, show the end: that tells it from others. */
static const char *path_text(const char *path, int width, char *text, size_t room)
{
    int length = (int)strlen(path);

    if (length <= width)
        snprintf(text, room, "%s", path);
    else
        snprintf(text, room, "..%s", path + (length - width + 2));
    return text;
}

static int widest(int width, const char *text, int most)
{
    int length = (int)strlen(text);

    return length > most ? most : length > width ? length : width;
}

static void table_instances(const struct sim_machine *m)
{
    char path[GR_DT_PATH];
    char aperture[48];
    int width = 8;
    int kind = 10;

    for (unsigned i = 0; i < m->niommus; i++) {
        width = widest(width, m->iommus[i].tree.path, 27);
        kind = widest(kind, m->iommus[i].tree.compatible, 20);
    }
    printf("\n%-*s  %-*s  %6s  %-24s %4s  %9s %7s %6s\n", width, "Instance", kind, "compatible",
           "G", "aperture", "SIDs", "TLB hits", "misses", "inval.");
    for (unsigned i = 0; i < m->niommus; i++) {
        const struct sim_iommu *const iommu = &m->iommus[i];

        path_text(iommu->tree.path, width, path, sizeof(path));
        printf("%-*s  %-*.*s  ", width, path, kind, kind, iommu->tree.compatible);
        if (iommu->up) {
            const struct sim_hw_stats tlb = sim_hw_stats(&iommu->hw);

            snprintf(aperture, sizeof(aperture), "0x%llx-0x%llx",
                     (unsigned long long)iommu->aperture.first,
                     (unsigned long long)iommu->aperture.last);
            printf("%6s  %-24s %4u  %9llu %7llu %6llu\n", cli_show_size(iommu->granule).text,
                   aperture, iommu->streams, (unsigned long long)tlb.hits,
                   (unsigned long long)tlb.misses, (unsigned long long)tlb.invalidations);
        } else {
            printf("not used\n");
        }
    }
}

static void table_firmware(const struct sim_machine *m)
{
    char path[GR_DT_PATH];
    int width = 8;
    bool any = false;

    for (unsigned i = 0; i < m->niommus; i++)
        width = widest(width, m->iommus[i].tree.path, 27);
    for (unsigned i = 0; i < m->niommus; i++) {
        const struct sim_iommu *const iommu = &m->iommus[i];
        const struct sim_firmware *const f = &iommu->firmware;

        if (iommu->tree.firmware < GR_DT_FIRMWARE_TRANSLATING)
            continue;
        if (!any)
            printf("\n%-*s  %-11s  %8s  %5s  %6s  %-12s  %s\n", width, "Firmware", "left it",
                   "granules", "wrong", "faults", "in the end", "domains share it by");
        any = true;
        printf("%-*s  %-11s  %8llu  %5llu  %6llu  %-12s  ", width,
               path_text(iommu->tree.path, width, path, sizeof(path)), firmware_state(iommu),
               (unsigned long long)f->adopted, (unsigned long long)f->changed,
               (unsigned long long)f->scanout_faults,
               f->changed_at_end ? "NOT RESTORED" : "restored");
        if (f->reason)
            printf("%s (%s)\n", firmware_policy(iommu), f->reason);
        else
            printf("no domain\n");
    }
}

static void table_devices(const struct cli_report *report)
{
    const struct sim_machine *const m = report->machine;
    char path[GR_DT_PATH];
    int width = 6;

    for (unsigned i = 0; i < m->ndevices; i++)
        width = widest(width, m->devices[i].tree.path, 60);
    printf("\n%-*s  %9s  %-10s  %-9s  %5s  %10s", width, "Device", "instances", "mode", "isolation",
           "maps", "bytes");
    printf(report->tally->attack ? "  %10s  %10s\n" : "\n", "leaked", "slack");
    for (unsigned i = 0; i < m->ndevices; i++) {
        const struct sim_device *const dev = &m->devices[i];
        const struct sim_tally_device *const result = &report->tally->devices[i];
        unsigned instances = 0;

        for (unsigned k = 0; k < dev->tree.nstreams; k++)
            instances += !listed_before(dev, k);
        printf("%-*s  %9u  %-10s  %-9s  %5llu  %10s", width,
               path_text(dev->tree.path, width, path, sizeof(path)), instances,
               sim_mode_name(dev->mode), sim_isolation_name(dev), (unsigned long long)result->maps,
               cli_show_size(result->bytes).text);
        if (report->tally->attack) {
            printf("  %10s", cli_show_size(result->leaked).text);
            printf("  %10s", cli_show_size(result->slack).text);
        }
        printf("\n");
    }
}

/* Why devices got their mode. Most, as a rule, got it for the same reason as the first. */
static void table_modes(const struct sim_machine *m)
{
    const struct sim_device *const first = m->devices;
    unsigned same = 0;

    for (unsigned i = 0; i < m->ndevices; i++) {
        const struct sim_device *const dev = &m->devices[i];

        if (!dev->failed && dev->mode == first->mode && strcmp(dev->reason, first->reason) == 0)
            same++;
        else
            printf("%s: %s (%s)\n", dev->tree.path, sim_mode_name(dev->mode), dev->reason);
    }
    if (same > 0)
        printf("%s: %s (%s)\n", same == m->ndevices ? "all devices" : "all others",
               sim_mode_name(first->mode), first->reason);
}

/* What needs a person's attention, one sentence a line. */
static void table_reasons(const struct sim_machine *m)
{
    for (unsigned i = 0; i < m->niommus; i++)
        if (!m->iommus[i].up)
            printf("%s: not used: %s\n", m->iommus[i].tree.path, m->iommus[i].reason);
    for (unsigned i = 0; i < m->nproblems && i < SIM_PROBLEMS; i++)
        printf("%s\n", m->problems[i]);
    if (m->nproblems > SIM_PROBLEMS)
        printf("and %u more\n", m->nproblems - SIM_PROBLEMS);
}

/* What the run has shown: less where devices see memory as it is, or get nothing at all. */
static const char *passed_text(const struct cli_report *report)
{
    const struct sim_machine *const m = report->machine;

    if (report->tally->maps == 0)
        return "nothing was mapped: every device is blocked, and reached nothing";
    if (leaks(report, false))
        return "every byte arrived, and no untrusted device reached anything else";
    for (unsigned i = 0; i < m->ndevices; i++) {
        if (m->devices[i].mode == GR_DOMAIN_LINEAR || m->devices[i].mode == GR_DOMAIN_IDENTITY)
            return "every byte arrived; devices in linear and identity domains reach all memory";
    }
    return "every byte arrived, and nothing else was reached";
}

static void table_verdict(const struct cli_report *report)
{
    const struct sim_machine *const m = report->machine;
    const char *comma = "";

    if (cli_report_passed(report)) {
        printf("PASS: %s\n", passed_text(report));
        return;
    }
    printf("FAIL:");
    for (size_t i = 0; i < COUNTERS; i++) {
        uint64_t value = counter_value(report, i);

        if (value) {
            printf("%s %s=%llu", comma, counters[i].name, (unsigned long long)value);
            comma = ",";
        }
    }
    if (leaks(report, true)) {
        printf("%s bytes leaked to untrusted devices: %llu", comma,
               (unsigned long long)leaks(report, true));
        comma = ",";
    }
    if (dead_iommus(m)) {
        printf("%s instances not used: %u", comma, dead_iommus(m));
        comma = ",";
    }
    if (blocked_devices(m)) {
        printf("%s devices blocked: %u", comma, blocked_devices(m));
        comma = ",";
    }
    if (m->nproblems)
        printf("%s problems: %u", comma, m->nproblems);
    printf("; see above\n");
}

bool cli_report_table(const struct cli_report *report)
{
    const struct sim_machine *const m = report->machine;

    printf("%s%s%s%s: %s RAM, %s CPU pages, seed %llu\n", m->board->path,
           m->board->model[0] ? " (" : "", m->board->model, m->board->model[0] ? ")" : "",
           cli_show_size(m->ram).text, cli_show_size(m->options.cpu_page).text,
           (unsigned long long)m->options.seed);
    table_instances(m);
    table_firmware(m);
    table_devices(report);
    table_modes(m);
    printf("\n%u device%s, %llu maps of %s in all\n", m->ndevices, m->ndevices == 1 ? "" : "s",
           (unsigned long long)report->tally->maps, cli_show_size(report->tally->bytes).text);
    printf("among them %llu lists of %llu segments and %llu coherent buffers\n",
           (unsigned long long)report->tally->lists, (unsigned long long)report->tally->segments,
           (unsigned long long)report->tally->coherent);
    if (m->bounced.slots_ever) {
        printf("bounced: %s in %llu slots;", cli_show_size(m->bounced.bounced).text,
               (unsigned long long)m->bounced.slots_ever);
        printf(" copied: %s\n", cli_show_size(m->bounced.copied).text);
    }
    if (report->snapshot)
        printf("snapshot at the busiest moment: %s\n", report->snapshot);
    for (size_t i = 0; i < COUNTERS; i++) {
        char name[32];

        snprintf(name, sizeof(name), "%s", counters[i].name);
        for (char *c = name; *c; c++)
            *c = *c == '_' ? ' ' : *c;
        printf("  %-20s %8llu\n", name, (unsigned long long)counter_value(report, i));
    }
    table_reasons(m);
    table_verdict(report);
    return ferror(stdout) == 0;
}
