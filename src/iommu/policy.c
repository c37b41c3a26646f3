/* SPDX-License-Identifier: MIT */
/* Which type of domain a device is given. */
#include <granule/domain.h>

#include "core/bits.h"
#include "core/list.h"
#include "iommu/adopt.h"

/* The strictest first. */
static const enum gr_domain_type strictness[] = {
    GR_DOMAIN_BLOCKED,
    GR_DOMAIN_TRANSLATED,
    GR_DOMAIN_LINEAR,
    GR_DOMAIN_IDENTITY,
};

static unsigned rank(enum gr_domain_type type)
{
    unsigned i = 0;

    while (i < GRI_ARRAY_SIZE(strictness) && strictness[i] != type)
        i++;
    return i;
}

/* The strictest type that the group of a device asks for. */
static void strictest_wish(const struct gr_device *dev, enum gr_domain_type wish,
                           struct gr_policy *out)
{
    const enum gr_domain_type usual = wish ? wish : GR_DOMAIN_TRANSLATED;

    out->type = dev->config.mode ? dev->config.mode : usual;
    out->reason = dev->config.mode ? "asked for by the device's configuration"
                  : wish           ? "asked for by the host"
                                   : "the default";
    GRI_LIST_FOREACH(link, &dev->group->members) {
        const struct gr_device *const member = GRI_CONTAINER(link, struct gr_device, group_link);
        const enum gr_domain_type its = member->config.mode ? member->config.mode : usual;

        if (rank(its) < rank(out->type)) {
            out->type = its;
            out->reason = "asked for by another device of its group";
        }
    }
}

/* Is `has` true of all streams of the group? */
static bool all_streams(const struct gr_group *group, bool (*has)(const struct gr_stream *))
{
    GRI_LIST_FOREACH(link, &group->members) {
        const struct gr_device *const member = GRI_CONTAINER(link, struct gr_device, group_link);

        for (unsigned i = 0; i < member->config.stream_count; i++) {
            if (!has(&member->config.streams[i]))
                return false;
        }
    }
    return true;
}

static bool is_open(const struct gr_stream *stream)
{
    return !stream->inst->locked && !stream->adopted;
}

static bool can_bypass(const struct gr_stream *stream)
{
    return stream->inst->bypass;
}

int gr_device_policy(const struct gr_device *dev, enum gr_domain_type wish, struct gr_policy *out)
{
    if (wish && rank(wish) == GRI_ARRAY_SIZE(strictness)) {
        *out = (struct gr_policy){GR_DOMAIN_BLOCKED, "no device can have a domain of this type"};
        return GR_EINVAL;
    }
    strictest_wish(dev, wish, out);
    if (out->type != GR_DOMAIN_LINEAR && out->type != GR_DOMAIN_IDENTITY)
        return 0;
    if (dev->group->untrusted) {
        *out =
            (struct gr_policy){GR_DOMAIN_TRANSLATED,
                               "the device is untrusted, or shares streams with an untrusted one"};
    } else if (!all_streams(dev->group, is_open)) {
        *out = (struct gr_policy){GR_DOMAIN_TRANSLATED,
                                  "an instance is locked, or translates for firmware"};
    } else if (gri_has_regions(dev->group)) {
        *out = (struct gr_policy){GR_DOMAIN_TRANSLATED,
                                  "the device has memory reserved at fixed IOVAs"};
    } else if (out->type == GR_DOMAIN_IDENTITY && !all_streams(dev->group, can_bypass)) {
        out->reason = "an instance cannot bypass translation, which IDENTITY needs";
        return GR_EOPNOTSUPP;
    }
    return 0;
}
