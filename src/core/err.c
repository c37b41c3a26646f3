/* SPDX-License-Identifier: MIT */
#include <granule/err.h>

const char *gr_strerror(int err)
{
    switch (err) {
    case 0:
        return "success";
    case GR_ENOENT:
        return "nothing is mapped there";
    case GR_EIO:
        return "the hardware answered nonsense";
    case GR_ENOMEM:
        return "out of memory";
    case GR_EACCES:
        return "neither read nor write permission asked for";
    case GR_EFAULT:
        return "physical address beyond what the IOMMU can address";
    case GR_EBUSY:
        return "in use";
    case GR_EEXIST:
        return "already mapped";
    case GR_ENODEV:
        return "the device has no domain of the kind needed";
    case GR_EINVAL:
        return "unaligned or invalid argument";
    case GR_ENOSPC:
        return "no IOVA space left";
    case GR_ERANGE:
        return "outside the aperture";
    case GR_ENODATA:
        return "the length is zero";
    case GR_EBADMSG:
        return "malformed input";
    case GR_EOVERFLOW:
        return "the range passes the end of the address space";
    case GR_EMSGSIZE:
        return "the range is not exactly one that was mapped";
    case GR_ENOBUFS:
        return "the bounce pool is exhausted";
    case GR_EOPNOTSUPP:
        return "not supported";
    case GR_ETIMEDOUT:
        return "the hardware did not finish in time";
    default:
        return "unknown error";
    }
}
