/* SPDX-License-Identifier: MIT */
/* What must fault: accesses that no mapping allows, also while tables are changing. */
#include "exercise.h"
#include "firmware.h"

/* ---- Faults ---- */

void sim_no_faults_expected(struct sim_exercise *x)
{
    x->tally->unexpected_faults += x->machine->nfaults + x->machine->lost_faults;
    sim_drop_faults(x->machine);
}

/* The IOMMU drops IOVA bits above those it translates, so a record may lack them. */
static bool same_iova(const struct gr_instance *inst, gr_iova_t a, gr_iova_t b)
{
    return ((a ^ b) & ((UINT64_C(1) << inst->table.va_bits) - 1)) == 0;
}

static bool is_record_of(const struct sim_fault *got, const struct sim_client *client,
                         unsigned stream, gr_iova_t iova, bool write)
{
    const struct gr_stream *const where = &client->dev->streams[stream];

    return got->domain == client->dev->active && got->fault.instance == where->inst &&
           got->fault.stream == where->sid && same_iova(where->inst, got->fault.iova, iova) &&
           got->fault.reasons != 0 && (!got->fault.access_known || got->fault.write == write);
}

void sim_expect_fault(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                      gr_iova_t iova, bool write)
{
    struct sim_machine *const m = x->machine;
    uint8_t byte = 0;
    uint64_t done;
    bool recorded = false;

    sim_no_faults_expected(x);
    if (sim_access_raw(client->dev, stream, iova, &byte, 1, write, &done) != MODEL_FAULT) {
        x->tally->missed_faults++;
        sim_no_faults_expected(x);
        return;
    }
    for (unsigned i = 0; i < m->nfaults; i++)
        if (!recorded && is_record_of(&m->faults[i], client, stream, iova, write))
            recorded = true;
        else
            x->tally->unexpected_faults++;
    x->tally->unexpected_faults += m->lost_faults;
    x->tally->missed_faults += !recorded;
    sim_drop_faults(m);
}

/* Expect that the bus takes the access: it never gets to the IOMMU. */
static void expect_bus_error(struct sim_exercise *x, struct sim_client *client, unsigned stream,
                             gr_iova_t iova)
{
    uint8_t byte = 0;
    uint64_t done;
    enum model_result result = sim_access(client->dev, stream, iova, &byte, 1, false, &done);

    x->tally->missed_faults += result != MODEL_BUS_ERROR;
    sim_no_faults_expected(x);
}

/* ---- Where nothing is mapped ---- */

/* Does a piece of the mapping map the IOVA, and to which address? */
static bool leads(const struct sim_live *live, gr_iova_t iova, gr_pa_t *out_pa)
{
    if (iova < live->first || iova > live->last)
        return false;
    for (unsigned i = 0; i < live->npieces; i++) {
        const struct sim_piece *const piece = &live->pieces[i];

        if (piece->first <= iova && iova <= piece->last) {
            *out_pa = piece->pa + (iova - piece->iova);
            return true;
        }
    }
    return false;
}

/* As leads(), for all live mappings of the domain and for firmware's. */
static bool leads_any(const struct sim_exercise *x, const struct sim_client *client, gr_iova_t iova,
                      gr_pa_t *out_pa)
{
    for (unsigned i = 0; i < x->nclients; i++) {
        const struct sim_client *const other = &x->clients[i];

        if (other->dev->active == client->dev->active) {
            for (unsigned k = 0; k < other->live_count; k++)
                if (leads(&other->live[k], iova, out_pa))
                    return true;
        }
    }
    return sim_firmware_leads(x->machine, client->dev->active, iova, out_pa);
}

bool sim_is_mapped(const struct sim_exercise *x, const struct sim_client *client, gr_iova_t iova,
                   gr_pa_t *out_pa)
{
    return sim_is_direct(client->dev) ? sim_physical(client, iova, out_pa) == 0
                                      : leads_any(x, client, iova, out_pa);
}

static bool in_aperture(const struct sim_client *client, gr_iova_t iova)
{
    const struct gr_range *const aperture = &client->dev->active->aperture;

    return aperture->first <= iova && iova <= aperture->last;
}

/* If nothing is mapped at `iova`, expect a fault through each stream. */
static void probe(struct sim_exercise *x, struct sim_client *client, gr_iova_t iova)
{
    gr_pa_t pa;

    if (x->machine->options.deferred) /* before the flush a device may reach what was unmapped */
        sim_note_call(x, client, "gr_domain_flush", gr_domain_flush(client->dev->active));

    if (!in_aperture(client, iova) || sim_is_mapped(x, client, iova, &pa))
        return;
    for (unsigned s = 0; s < client->dev->tree.nstreams; s++)
        sim_expect_fault(x, client, s, iova, sim_rng_below(&x->rng, 2) != 0);
}

/* A probe flushes queued invalidations: let them stay queued most of the time. */
static bool worth_probing(struct sim_exercise *x)
{
    return !x->machine->options.deferred || sim_rng_below(&x->rng, 8) == 0;
}

void sim_probe_gaps(struct sim_exercise *x, struct sim_client *client, const struct sim_live *live)
{
    if (!worth_probing(x))
        return;
    probe(x, client, live->first - 1);
    probe(x, client, live->last + 1);
    for (unsigned i = 0; i < 8 && live->npieces > 0; i++) {
        const struct sim_piece *const piece = &live->pieces[sim_rng_below(&x->rng, live->npieces)];

        probe(x, client, piece->first - 1);
        probe(x, client, piece->last + 1);
    }
}

void sim_probe_after(struct sim_exercise *x, struct sim_client *client, const struct sim_live *live)
{
    if (!worth_probing(x))
        return;
    for (unsigned i = 0; i < live->count; i++) {
        const struct sim_part *const part = &live->parts[i];

        probe(x, client, part->iova);
        probe(x, client, part->iova + (part->len - 1));
    }
    probe(x, client, sim_random_byte(x, live));
    probe(x, client, live->first - 1);
    probe(x, client, live->last + 1);
}

void sim_probe_edges(struct sim_exercise *x, struct sim_client *client)
{
    const struct sim_device *const dev = client->dev;
    const struct gr_range *const aperture = &dev->active->aperture;

    if (dev->mode == GR_DOMAIN_IDENTITY) /* only the bus limits the device */
        return;
    probe(x, client, aperture->first);
    probe(x, client, aperture->last);
    for (unsigned i = 0; i < dev->tree.nreserved; i++) {
        const struct gr_range *const hole = &dev->tree.reserved[i];

        for (unsigned s = 0; s < dev->tree.nstreams; s++) {
            expect_bus_error(x, client, s, hole->first);
            expect_bus_error(x, client, s, hole->last);
        }
        probe(x, client, hole->first);
        probe(x, client, hole->last);
    }
}

void sim_probe_blocked(struct sim_exercise *x, struct sim_device *dev)
{
    uint8_t byte = 0;
    uint64_t done;

    for (unsigned s = 0; s < dev->tree.nstreams; s++) {
        gr_iova_t iova = dev->tree.streams[s].window.first;
        if (dev->iommu[s]->tree.firmware >= GR_DT_FIRMWARE_TRANSLATING)
            continue; /* firmware's mappings go on */
        enum model_result result = sim_access_raw(dev, s, iova, &byte, 1, false, &done);

        /* A DART reports nothing of a blocked stream; an SMMU reports streams without a table. */
        x->tally->missed_faults +=
            result != MODEL_FAULT ||
            (x->machine->nfaults != 0 && dev->iommu[s]->tree.driver != GR_DT_SMMUV3);
        sim_drop_faults(x->machine);
    }
}

/* ---- While tables change ---- */

/*
 * May the mapping being made lead to `pa`? Memory that the library allocates for it is not known
 * yet.
 */
static bool may_come(const struct sim_exercise *x, gr_pa_t pa)
{
    const struct sim_live *const coming = x->coming;
    const struct sim_device *const dev = x->moving->dev;
    uint64_t mask = dev->untrusted ? 0 : sim_granule(x->moving) - 1;

    if (!coming)
        return false;
    if (coming->kind == SIM_LIVE_COHERENT || dev->isolation != GR_ISOLATION_EXPOSE ||
        dev->device.config.overread != 0) {
        if (host_use_of(x->machine->host, pa) == HOST_LIBRARY)
            return true;
    }
    for (unsigned i = 0; i < coming->count; i++) {
        const struct sim_part *const part = &coming->parts[i];

        if (pa >= (part->pa & ~mask) && pa <= ((part->pa + (part->len - 1)) | mask))
            return true;
    }
    return false;
}

/*
 * The IOMMU may look at the tables at any moment, also between two stores. Prefetch an address
 * nearby, or translate one: the result must be a mapping that is live, ending or being made.
 */
void sim_watch(void *arg)
{
    struct sim_exercise *const x = arg;
    struct sim_client *const client = x->moving;
    struct sim_rng *const rng = &x->watch_rng;
    gr_iova_t iova;
    gr_pa_t pa;
    gr_pa_t want;

    if (!client || client->dev->mode == GR_DOMAIN_IDENTITY ||
        (client->live_count > 0 && sim_rng_below(rng, x->attack ? 2 : 8) != 0))
        return;
    unsigned stream = (unsigned)sim_rng_below(rng, client->dev->tree.nstreams);
    struct sim_iommu *const iommu = client->dev->iommu[stream];
    uint32_t sid = client->dev->streams[stream].sid;

    if (client->live_count > 0) {
        const struct sim_live *const near = &client->live[sim_rng_below(rng, client->live_count)];

        iova = near->parts[sim_rng_below(rng, near->count)].iova;
    } else {
        iova = client->dev->active->aperture.last;
    }
    iova += (sim_rng_below(rng, 64) - 48) * sim_granule(client);
    if (!in_aperture(client, iova))
        return;
    if (sim_rng_below(rng, 2) != 0) {
        sim_hw_prefetch(&iommu->hw, sid, iova);
    } else if (sim_hw_translate(&iommu->hw, sid, iova, sim_rng_below(rng, 2) != 0, 1, &pa) ==
               MODEL_OK) {
        bool right = client->dev->mode == GR_DOMAIN_LINEAR
                         ? pa == iova + client->dev->active->direct_offset
                     : leads_any(x, client, iova, &want) ? pa == want
                                                         : may_come(x, pa);

        /* With deferred invalidation a mapping that has ended may still be cached. */
        x->tally->missed_faults += !right && !x->machine->options.deferred;
    }
}

void sim_begin_change(struct sim_exercise *x, struct sim_client *client,
                      const struct sim_live *coming)
{
    x->moving = client;
    x->coming = coming;
}

void sim_end_change(struct sim_exercise *x)
{
    const struct sim_device *const dev = x->moving->dev;

    x->moving = NULL; /* first: the interrupt handler reads registers, which calls sim_watch() */
    x->coming = NULL;
    for (unsigned s = 0; s < dev->tree.nstreams; s++)
        sim_serve_irq(dev->iommu[s]);
    sim_drop_faults(x->machine);
}
