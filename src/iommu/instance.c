/* SPDX-License-Identifier: MIT */
#include <granule/domain.h>
#include <granule/instance.h>

#include "core/list.h"
#include "iommu/iommu_internal.h"

void gr_instance_init(struct gr_instance *inst)
{
    gri_list_init(&inst->stream_list);
    gr_port_lock_init(&inst->lock);
    inst->adopted = NULL;
    inst->fault_handler = NULL;
    inst->fault_head = 0;
    inst->fault_count = 0;
    inst->faults_lost = 0;
    inst->fault_storm = false;
    inst->faults_recorded = 0;
    inst->faults_dropped = 0;
}

int gr_instance_fini(struct gr_instance *inst)
{
    if (!gri_list_empty(&inst->stream_list))
        return GR_EBUSY;
    gr_port_lock_fini(&inst->lock);
    return 0;
}

/* Under the domain's lock, because the domain may break meanwhile. */
static int reattach(struct gr_domain *domain, struct gr_stream *stream)
{
    const gr_lock_state_t state = gr_port_lock(&domain->lock);
    const int ret = domain->broken ? 0 : gri_domain_open_stream(domain, stream);

    gr_port_unlock(&domain->lock, state);
    return ret;
}

int gr_instance_reattach(struct gr_instance *inst)
{
    int ret = 0;

    GRI_LIST_FOREACH(link, &inst->stream_list) {
        struct gr_stream *const stream = GRI_CONTAINER(link, struct gr_stream, link);

        if (!ret && stream->domain)
            ret = reattach(stream->domain, stream);
    }
    return ret;
}
