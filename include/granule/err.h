/* SPDX-License-Identifier: MIT */
/*
 * Errors: a function that can fail returns 0 or one of these, all negative. The numbers are
 * Linux's, so that a Linux-like host passes them on as they are. Results come through out_ pointers
 * only: IOVA 0 and PA 0 are ordinary addresses, never errors. An out_ pointer is written on success
 * alone, unless the comment of its function says otherwise.
 *
 * The same mistake has the same number everywhere.
 */
#ifndef GRANULE_ERR_H
#define GRANULE_ERR_H

#include <granule/types.h>

GR_BEGIN_DECLS

#define GR_ENOENT (-2)  /* nothing is mapped or allocated there (also: unmapped twice) */
#define GR_EIO (-5)     /* a register has an impossible value, or an invalidation failed before */
#define GR_ENOMEM (-12) /* the port has no memory left */
#define GR_EACCES (-13) /* no permission asked for: neither read nor write */
#define GR_EFAULT (-14) /* a physical address above those that the IOMMU can put out */
#define GR_EBUSY (-16)  /* in use: attached, allocated, reserved, or held by another owner */
#define GR_EEXIST (-17) /* something is mapped there already */
#define GR_ENODEV (-19) /* the device has no domain of the kind that the call needs */
#define GR_EINVAL (-22) /* unaligned, or an argument out of its documented range */
#define GR_ENOSPC                                                                                  \
    (-28)                /* no IOVA range left that fits the request; or a fixed limit is reached  \
                          */
#define GR_ERANGE (-34)  /* an IOVA outside the aperture, or a limit that nothing fits under */
#define GR_ENODATA (-61) /* a length of zero */
#define GR_EOVERFLOW (-75)  /* start + length passes the end of the address space */
#define GR_ENOBUFS (-105)   /* the bounce pool is at its limit */
#define GR_EMSGSIZE (-90)   /* not exactly the range that was mapped or allocated */
#define GR_EOPNOTSUPP (-95) /* this hardware, device or domain cannot do it; an unknown flag */
/* The hardware did not finish in time. Each function says what is safe then. */
#define GR_ETIMEDOUT (-110)
#define GR_EBADMSG (-74) /* malformed input (a device tree): the reader's message says where */

/*
 * One short English phrase for an error value, without a full stop. Never NULL; an unknown value
 * gives "unknown error". Any context. The string is constant.
 */
const char *gr_strerror(int err);

GR_END_DECLS

#endif
