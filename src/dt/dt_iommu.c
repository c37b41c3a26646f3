/* SPDX-License-Identifier: MIT */
/* IOMMU nodes, and facts about each compatible string. */
#include "dt_internal.h"

#include "core/bits.h"

/* The table of dt.h; DART.md 1, 4 and 6. */
static const struct kind {
    const char *compatible;
    enum gr_dt_driver driver;
    uint8_t page_bits[2]; /* the usual value, and the other that an override may give */
    uint8_t va_bits[2];   /* with pages of 4 KiB, and of 16 KiB */
    uint8_t va_max[2];    /* with pages of 4 KiB, and of 16 KiB */
    uint8_t pa_bits;
    uint32_t streams;
    uint32_t streams_max;
    uint8_t bypass;  /* the usual value, and the highest */
    bool drops_bits; /* the bus drops the IOVA bits that its window's start has (DART.md 6) */
} kinds[] = {
    {"apple,t8103-dart", GR_DT_DART_T8020, {14, 12}, {32, 32}, {32, 38}, 36, 16, 16, 1, false},
    {"apple,t6000-dart", GR_DT_DART_T6000, {14, 12}, {32, 32}, {32, 38}, 42, 16, 16, 1, false},
    {"apple,t8110-dart", GR_DT_DART_T8110, {14, 12}, {30, 36}, {48, 48}, 42, 16, 256, 1, false},
    /*
     * If such a node also names t8103-dart, after this string, the first string must decide: the
     * offsets of a t8103-dart's registers are wrong here.
     */
    {"apple,t8103-usb4-dart",
     GR_DT_DART_T8103_USB4,
     {14, 12},
     {32, 32},
     {32, 38},
     36,
     64,
     64,
     0,
     false},
    {"arm,smmu-v3", GR_DT_SMMUV3, {0, 0}, {48, 48}, {48, 48}, 44, 65536, 65536, 1, false},
    {"apple,s5l8960x-dart", GR_DT_DART_S5L8960X, {12, 12}, {32, 0}, {32, 0}, 36, 4, 4, 0, true},
};

#define SMMUV3_VA_MIN 32u
#define COMPATIBLES 8

/*
 * Copy the first string of `compatible` to out->compatible, and find the row of the first string
 * that has a row; *out_kind is NULL if none has.
 */
static int find_kind(struct gr_dt *dt, const struct gr_dt_chain *at, struct gr_dt_iommu *out,
                     const struct kind **out_kind)
{
    int left = 0;
    const char *s = gri_dt_get(dt, at, "compatible", &left);

    *out_kind = NULL;
    for (int i = 0; s && left && i < COMPATIBLES; i++) {
        int len = 0;

        while (len < left && s[len])
            len++;
        gri_dt_spend(dt, (uint32_t)len);
        if (len == left)
            return gri_dt_fail(dt, at, "compatible does not end with a NUL; write strings");
        if (!i) {
            if (len >= GR_DT_COMPATIBLE)
                return gri_dt_fail(dt, at,
                                   "compatible has a string of more than %u characters; "
                                   "shorten it",
                                   GR_DT_COMPATIBLE - 1u);
            for (const char *c = s; *c; c++) {
                if (*c < 0x20 || *c >= 0x7f)
                    return gri_dt_fail(dt, at, "compatible is not printable; write text");
            }
            memcpy(out->compatible, s, (size_t)len + 1);
        }
        for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
            if (gri_dt_length(kinds[k].compatible) == (size_t)len &&
                memcmp(s, kinds[k].compatible, (size_t)len) == 0) {
                *out_kind = &kinds[k];
                return 0;
            }
        }
        s += len + 1;
        left -= len + 1;
    }
    return 0;
}

static void set_reason(struct gr_dt_iommu *out)
{
    static const char prefix[] = "no driver for ";
    const char *const what = out->compatible[0] ? out->compatible : "a node without compatible";

    memcpy(out->reason, prefix, sizeof(prefix) - 1);
    memcpy(out->reason + sizeof(prefix) - 1, what, gri_dt_length(what) + 1);
}

/* Read one `granule,` property, from `min` to `max`. *value is unchanged if it is absent. */
static int override(struct gr_dt *dt, const struct gr_dt_chain *at, const char *prop, unsigned min,
                    unsigned max, unsigned *value)
{
    uint32_t v;
    const int ret = gri_dt_get_u32(dt, at, prop, &v);

    if (ret <= 0)
        return ret;
    if (v < min || v > max)
        return gri_dt_fail(dt, at, "%s is %u; give a value from %u to %u", prop, (unsigned)v, min,
                           max);
    *value = v;
    return 0;
}

/* Read one `granule,` property whose value is `a` or `b`. *value is unchanged if it is absent. */
static int override_either(struct gr_dt *dt, const struct gr_dt_chain *at, const char *prop,
                           unsigned a, unsigned b, unsigned *value)
{
    unsigned v = a;

    if (override(dt, at, prop, 0, UINT32_MAX, &v))
        return GR_EBADMSG;
    if (v != a && v != b)
        return gri_dt_fail(dt, at, a == b ? "%s is %u; give %u" : "%s is %u; give %u or %u", prop,
                           v, a, b);
    if (gri_dt_has(dt, at, prop))
        *value = v;
    return 0;
}

static const char page_bits_name[] = "granule,page-bits";
static const char va_bits_name[] = "granule,va-bits";
static const char pa_bits_name[] = "granule,pa-bits";
static const char streams_name[] = "granule,streams";
static const char bypass_name[] = "granule,bypass";
static const char firmware_name[] = "granule,firmware";

static const char verified_name[] = "granule,window-verified";

static int check_overrides(struct gr_dt *dt, const struct gr_dt_chain *at)
{
    static const char *const known[] = {page_bits_name, va_bits_name,  pa_bits_name, streams_name,
                                        bypass_name,    verified_name, firmware_name};

    return gri_dt_check_own(dt, at, known, sizeof(known) / sizeof(known[0]),
                            "granule,page-bits, -va-bits, -pa-bits, -streams, -bypass, "
                            "-window-verified and -firmware");
}

/* Read the flag granule,window-verified. A value is refused, because `= <0>` would read as set. */
static int read_verified(struct gr_dt *dt, const struct gr_dt_chain *at, bool *out)
{
    struct gri_dt_cells cells = {NULL, 0};
    const int ret = gri_dt_get_cells(dt, at, verified_name, &cells);

    if (ret < 0 || cells.n)
        return gri_dt_fail(dt, at, "%s has a value; leave it empty, or remove it", verified_name);
    *out = ret > 0;
    return 0;
}

/* Read the granule. An SMMUv3's is 0 unless the tree chooses one. */
static int read_page(struct gr_dt *dt, const struct gr_dt_chain *at, const struct kind *kind,
                     struct gr_dt_iommu *out)
{
    if (kind->driver != GR_DT_SMMUV3) {
        out->page_bits = kind->page_bits[0];
        return override_either(dt, at, page_bits_name, kind->page_bits[1], kind->page_bits[0],
                               &out->page_bits);
    }
    if (override(dt, at, page_bits_name, 12, 16, &out->page_bits))
        return GR_EBADMSG;
    if (out->page_bits & 1)
        return gri_dt_fail(dt, at, "%s is %u; give 12, 14 or 16", page_bits_name, out->page_bits);
    return 0;
}

static int read_numbers(struct gr_dt *dt, const struct gr_dt_chain *at, const struct kind *kind,
                        struct gr_dt_iommu *out)
{
    unsigned bypass = kind->bypass;
    unsigned va_min;
    bool large;

    out->pa_bits = kind->pa_bits;
    out->streams = kind->streams;
    if (check_overrides(dt, at) || read_page(dt, at, kind, out))
        return GR_EBADMSG;
    va_min = kind->driver == GR_DT_SMMUV3 ? SMMUV3_VA_MIN : out->page_bits + 1;
    large = out->page_bits == 14;
    out->va_bits = kind->va_bits[large];
    if (override(dt, at, va_bits_name, va_min, kind->va_max[large], &out->va_bits) ||
        override_either(dt, at, pa_bits_name, 36, kind->pa_bits, &out->pa_bits) ||
        override(dt, at, streams_name, 1, kind->streams_max, &out->streams) ||
        override(dt, at, bypass_name, 0, kind->bypass, &bypass) ||
        read_verified(dt, at, &out->window_verified))
        return GR_EBADMSG;
    out->bypass = bypass;
    return 0;
}

static int read_firmware(struct gr_dt *dt, const struct gr_dt_chain *at, struct gr_dt_iommu *out)
{
    static const char *const states[] = {"off", "bypass", "translating", "locked"};

    if (!gri_dt_has(dt, at, firmware_name))
        return 0;
    if (out->driver == GR_DT_SMMUV3)
        return gri_dt_fail(dt, at, "granule,firmware is for DARTs; remove it");
    for (unsigned i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        if (gri_dt_is(dt, at, firmware_name, states[i])) {
            out->firmware = (enum gr_dt_firmware)i;
            if ((out->firmware != GR_DT_FIRMWARE_BYPASS || out->bypass) &&
                (out->firmware != GR_DT_FIRMWARE_LOCKED || out->driver != GR_DT_DART_S5L8960X))
                return 0; /* "locked" only if there is a lock: an s5l8960x has none (DART.md 6) */
        }
    }
    return gri_dt_fail(
        dt, at,
        "granule,firmware is not \"off\", \"translating\" or, where the hardware can, "
        "\"bypass\" or \"locked\"; give one of these");
}

static int read_registers(struct gr_dt *dt, const struct gr_dt_chain *at, struct gr_dt_iommu *out)
{
    const int ret = gri_dt_get_reg(dt, at, 0, &out->reg_base, &out->reg_size);

    if (ret < 0)
        return ret;
    if (!ret)
        return gri_dt_fail(dt, at, "reg is missing; give address and size of the registers");
    if (!out->reg_size)
        return gri_dt_fail(dt, at, "reg has size 0; give the size of the register block");
    return 0;
}

/*
 * Start and end of apple,dma-range lie in one aligned block of 2^va_bits (DART.md 10). If the bus
 * drops bits (DART.md 6) and the aperture is an aligned block itself, only the bits below the block
 * are decoded: then these are the va_bits.
 */
static int read_aperture(struct gr_dt *dt, const struct gr_dt_chain *at, const struct kind *kind,
                         struct gr_dt_iommu *out)
{
    static const char prop[] = "apple,dma-range";
    const uint64_t mask = ((uint64_t)1 << out->page_bits) - 1;
    struct gri_dt_cells cells;
    struct gr_range r;
    const int ret = gri_dt_get_cells(dt, at, prop, &cells);

    out->aperture.first = 0;
    out->aperture.last = ((uint64_t)1 << out->va_bits) - 1;
    if (ret <= 0)
        return ret;
    if (cells.n != 4)
        return gri_dt_fail(dt, at, "%s has %u cells; give four, start and size of 64 bits each",
                           prop, cells.n);
    if (!gri_dt_make_range(gri_dt_number(cells.v, 2), gri_dt_number(cells.v + 2, 2), &r))
        return gri_dt_fail(dt, at,
                           "%s has a size that is zero or passes the end of the address "
                           "space; correct it",
                           prop);
    if (((r.first ^ r.last) & ~out->aperture.last) != 0)
        return gri_dt_fail(dt, at,
                           "%s spans more than one aligned block of 2^%u bytes, all that "
                           "this IOMMU decodes; shorten it",
                           prop, out->va_bits);
    if ((r.first >> out->page_bits) + ((r.first & mask) != 0) >=
        (r.last >> out->page_bits) + ((r.last & mask) == mask))
        return gri_dt_fail(dt, at, "%s holds no whole page of 2^%u bytes; widen it", prop,
                           out->page_bits);
    if (kind->drops_bits && !gri_dt_has(dt, at, va_bits_name)) {
        const unsigned bits = gri_high_bit(r.first ^ r.last) + 1;

        if (!(r.first & gri_mask(bits)))
            out->va_bits = bits;
    }
    out->aperture = r;
    out->has_aperture = true;
    return 0;
}

int gri_dt_read_iommu(struct gr_dt *dt, const struct gr_dt_chain *at, struct gr_dt_iommu *out)
{
    const struct kind *kind;
    uint32_t cells = 0;

    memset(out, 0, sizeof(*out));
    out->node = gri_dt_node(at);
    out->enabled = gri_dt_enabled(dt, at);
    if (gri_dt_path(dt, at, out->path) || find_kind(dt, at, out, &kind) ||
        gri_dt_get_u32(dt, at, "#iommu-cells", &cells) < 0)
        return GR_EBADMSG;
    if (cells > 8)
        return gri_dt_fail(dt, at, "#iommu-cells is %u; give 8 at most", (unsigned)cells);
    out->iommu_cells = cells;
    out->driver = kind ? kind->driver : GR_DT_NONE;
    if (!kind)
        set_reason(out);
    if (!out->enabled || !kind)
        return 0;
    if (cells != 1 && cells != 5)
        return gri_dt_fail(dt, at, "#iommu-cells is %u; give 1 (SID) or 5 (SID, start, size)",
                           (unsigned)cells);
    if (read_registers(dt, at, out) || read_numbers(dt, at, kind, out) ||
        read_firmware(dt, at, out) || read_aperture(dt, at, kind, out))
        return GR_EBADMSG;
    return 0;
}

static int iommu_next(struct gr_dt *dt, struct gr_dt_iter *it, struct gr_dt_iommu *out)
{
    int ret;

    do {
        ret = gri_dt_step(dt, &it->at);
        if (ret <= 0)
            return ret;
    } while (!gri_dt_has(dt, &it->at, "#iommu-cells"));
    ret = gri_dt_read_iommu(dt, &it->at, out);
    return ret ? ret : 1;
}

int gr_dt_iommu_next(struct gr_dt *dt, struct gr_dt_iter *it, struct gr_dt_iommu *out)
{
    struct gr_dt_iommu record;
    int ret;

    gri_dt_begin(dt, it);
    ret = gri_dt_end(dt, it, iommu_next(dt, it, &record));
    if (ret > 0)
        *out = record;
    return ret;
}
