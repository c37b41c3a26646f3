/* SPDX-License-Identifier: MIT */
#include <granule/domain.h>

#include "core/bits.h"
#include "core/list.h"
#include "core/log.h"
#include "iommu/adopt.h"

static struct gr_group *group_of_stream(const struct gr_stream *stream)
{
    GRI_LIST_FOREACH(link, &stream->inst->stream_list) {
        const struct gr_stream *const other = GRI_CONTAINER(link, struct gr_stream, link);

        if (other->sid == stream->sid || (stream->adopted && other->adopted == stream->adopted))
            return other->dev->group; /* what is mapped for one stream is mapped for the other */
    }
    return NULL;
}

static bool is_isolated(const struct gr_device_config *config)
{
    return config->untrusted || config->overread || config->isolation == GR_ISOLATION_WINDOW ||
           config->isolation == GR_ISOLATION_BOUNCE;
}

static void join_group(struct gr_device *dev, struct gr_group *group)
{
    gri_list_append(&group->members, &dev->group_link);
    group->untrusted += dev->config.untrusted;
    group->isolated += is_isolated(&dev->config);
    dev->group = group;
}

static void leave_group(struct gr_device *dev)
{
    gri_list_remove(&dev->group_link);
    dev->group->untrusted -= dev->config.untrusted;
    dev->group->isolated -= is_isolated(&dev->config);
    dev->group = NULL;
}

static void move_members(struct gr_group *from, struct gr_group *to)
{
    while (!gri_list_empty(&from->members)) {
        struct gr_device *const member =
            GRI_CONTAINER(from->members.next, struct gr_device, group_link);

        leave_group(member);
        join_group(member, to);
    }
}

static int check_streams(const struct gr_device_config *config)
{
    if (!config->stream_count)
        return GR_EINVAL;
    for (unsigned i = 0; i < config->stream_count; i++) {
        const struct gr_stream *const s = &config->streams[i];

        if (s->window.first > s->window.last)
            return GR_EINVAL;
        if (s->sid >= s->inst->streams) {
            gri_log(s->inst->env, GR_LOG_ERR, "%s: stream %u is beyond the %u streams of %s",
                    config->name, s->sid, s->inst->streams, s->inst->name);
            return GR_ERANGE;
        }
        for (unsigned k = 0; k < i; k++) {
            if (config->streams[k].inst == s->inst && config->streams[k].sid == s->sid)
                return GR_EINVAL;
        }
    }
    return 0;
}

static int check_access(const struct gr_device_config *config)
{
    const uint32_t unit = config->access_unit;
    const uint32_t align = config->min_align_mask;

    if ((unit & (unit - 1)) || unit > 4096 || config->overread > 4096 || (align & (align + 1)) ||
        align > 0xffff || config->mode > GR_DOMAIN_BLOCKED || config->mode == GR_DOMAIN_UNMANAGED ||
        config->isolation > GR_ISOLATION_EXPOSE || config->adopt > GR_ADOPT_REPLACE)
        return GR_EINVAL;
    if (config->untrusted && config->isolation == GR_ISOLATION_EXPOSE) {
        gri_log(config->streams->inst->env, GR_LOG_ERR,
                "%s: an untrusted device cannot have its buffers' granules exposed: choose another "
                "isolation",
                config->name);
        return GR_EINVAL;
    }
    return 0;
}

/* May a device with this stream be registered? Not while the stream's group has a domain. */
static int check_idle(const struct gr_stream *stream)
{
    const struct gr_group *const met = group_of_stream(stream);

    return met && met->domain ? GR_EBUSY : 0;
}

int gr_device_init(struct gr_device *dev, const struct gr_device_config *config)
{
    struct gr_group *group = NULL;
    gr_lock_state_t state;
    int ret = check_streams(config);

    if (!ret)
        ret = check_access(config);
    if (ret)
        return ret;
    for (unsigned i = 0; i < config->reserved_count; i++) {
        if (config->reserved[i].first > config->reserved[i].last)
            return GR_EINVAL;
    }
    ret = gri_region_check(config);
    for (unsigned i = 0; !ret && i < config->stream_count; i++) {
        config->streams[i].adopted = NULL;
        ret = check_idle(&config->streams[i]); /* with a domain, registers are not firmware's */
    }
    if (!ret)
        ret = gri_adopt_streams(config);
    for (unsigned i = 0; !ret && i < config->stream_count; i++) {
        ret = check_idle(&config->streams[i]);
        if (ret)
            gri_adopt_drop(config);
    }
    if (ret)
        return ret;

    *dev = (struct gr_device){
        .config = *config,
        .dma_mask = config->dma_mask ? config->dma_mask : UINT64_MAX,
        .seg_max = UINT64_MAX,
    };
    gri_list_init(&dev->own_group.members);
    gri_list_init(&dev->group_link);
    gri_list_init(&dev->own_group.domain_link);
    for (unsigned i = 0; i < config->stream_count; i++) {
        struct gr_group *const met = group_of_stream(&config->streams[i]);

        if (met && group && met != group)
            move_members(met, group);
        else if (met)
            group = met;
    }
    join_group(dev, group ? group : &dev->own_group);
    for (unsigned i = 0; i < config->stream_count; i++) {
        struct gr_stream *const s = &config->streams[i];

        s->dev = dev;
        s->domain = NULL;
        gri_list_init(&s->doubt);
        state = gr_port_lock(&s->inst->lock);
        gri_list_append(&s->inst->stream_list, &s->link);
        gr_port_unlock(&s->inst->lock, state);
    }
    return 0;
}

int gr_device_fini(struct gr_device *dev)
{
    struct gr_group *const group = dev->group;
    gr_lock_state_t state;

    if (group->domain)
        return GR_EBUSY;
    for (unsigned i = 0; i < dev->config.stream_count; i++) {
        struct gr_stream *const s = &dev->config.streams[i];

        if (!gri_list_empty(&s->doubt))
            s->doubted->unconfirmed = true;
        gri_list_remove(&s->doubt);
        state = gr_port_lock(&s->inst->lock);
        gri_list_remove(&s->link);
        gr_port_unlock(&s->inst->lock, state);
    }
    gri_adopt_drop(&dev->config);
    leave_group(dev);
    /* A group is stored in one of its members. If that was this device, the other members move to
     * the group stored in one of them. */
    if (group == &dev->own_group && !gri_list_empty(&group->members)) {
        struct gr_device *const heir =
            GRI_CONTAINER(group->members.next, struct gr_device, group_link);

        move_members(group, &heir->own_group);
    }
    return 0;
}

struct gr_domain *gr_device_domain(const struct gr_device *dev)
{
    return dev->group->domain;
}

bool gr_device_untrusted(const struct gr_device *dev)
{
    return dev->group->untrusted;
}
