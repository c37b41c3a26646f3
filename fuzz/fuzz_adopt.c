/* SPDX-License-Identifier: MIT */
/*
 * Tables that no sane firmware left: they are adopted or refused, and whichever it is, every
 * mapping in them that hardware would find is there at every moment, what is mapped beside them
 * leads where it should, and at the end all of it is as it was to the bit.
 *
 * Input: the kind, the lock, the policy, entries of firmware's tables, then maps and unmaps.
 */
#include "fuzz.h"

#include "tests/lib/adopt_tools.h"

#define SID 0u
#define TABLES 6u
#define ENTRIES 48u
#define STEPS 24u
#define LIVE 8u
#define THEIRS                                                                                     \
    UINT64_C(0x100000000) /* no RAM: a walker that takes it for a table finds nothing              \
                           */
#define MINE (FW_RAM + UINT64_C(0x18000000))

struct live {
    gr_iova_t iova;
    uint64_t len;
};

/* ---- what firmware left ---- */

/* One of these, so that tables are shared, form cycles and lead to themselves. */
static gr_pa_t some_table(struct fw *fw, struct fuzz *f)
{
    return fw->table[fuzz_pick(f, fw->tables)];
}

static uint64_t some_entry(struct fw *fw, struct fuzz *f)
{
    const gr_pa_t memory = THEIRS + ((uint64_t)fuzz_byte(f) << fw->k->page_bits);

    switch (fuzz_pick(f, 4)) {
    case 0:
        return fw_entry(fw->k, some_table(fw, f)) | fuzz_pick(f, 4);
    case 1:
        return fw_leaf(fw->k, memory);
    case 2:
        return fw_entry(fw->k, memory) | (uint64_t)fuzz_byte(f) << 2;
    default:
        return fuzz_number(f);
    }
}

static bool is_table(const struct fw *fw, gr_pa_t pa)
{
    for (unsigned i = 0; i < fw->tables; i++) {
        if (fw->table[i] == pa)
            return true;
    }
    return false;
}

/* Memory that firmware has no tables in is the host's: no walker may come there. */
static bool is_fair(const struct fw *fw, uint64_t entry)
{
    const gr_pa_t pa = fw_entry_pa(fw->k, entry);

    return !(entry & 1) || is_table(fw, pa) || pa < FW_RAM || pa >= FW_RAM + FW_RAM_SIZE;
}

static void fill(struct fw *fw, struct fuzz *f)
{
    const uint64_t entries = UINT64_C(1) << (fw->k->page_bits - 3);

    (void)fw_stream(fw, 0, SID);
    (void)fw_slot(fw, 0, SID, (uint64_t)fuzz_byte(f) << 25);
    while (fw->tables < TABLES)
        (void)fw_table(fw);
    if (fuzz_pick(f, 4) == 0 && fw->k->ttbrs > 1)
        fw_set_ttbr(fw, 0, SID, 1, some_table(fw, f));
    for (unsigned i = fuzz_pick(f, ENTRIES); i; i--) {
        const gr_pa_t slot = some_table(fw, f) + 8 * (fuzz_take(f, 2) % entries);
        const uint64_t entry = some_entry(fw, f);

        host_firmware_write64(fw->host, slot, is_fair(fw, entry) ? entry : 0);
    }
}

/* Note what hardware finds in a table: an odometer over the levels, no recursion. */
static void note_leaves(struct fw *fw, gr_pa_t root, uint64_t base)
{
    const struct fw_kind *const k = fw->k;
    const unsigned bits = k->page_bits - 3;
    const uint64_t entries = UINT64_C(1) << bits;
    struct fw_dart *const d = &fw->dart[0];
    uint64_t index[4] = {0};
    gr_pa_t table[4];
    unsigned level = k->levels - 1;

    table[level] = root;
    while (level < k->levels && d->leaves < FW_LEAVES) {
        uint64_t entry;
        uint64_t iova = base;

        if (index[level] == entries) {
            index[level++] = 0;
            index[level]++; /* of the level above; past the top nobody reads it */
            continue;
        }
        entry = fw_peek(fw, table[level] + 8 * index[level]);
        if (!(entry & 1)) {
            index[level]++;
        } else if (level) {
            table[--level] = fw_entry_pa(k, entry);
            if (!is_table(fw, table[level]))
                index[++level]++;
        } else {
            for (unsigned i = 0; i < k->levels; i++)
                iova |= index[i] << (k->page_bits + i * bits);
            /* The display reads: what it may not read is none of its pictures. */
            if (iova >> k->va_bits == 0 && (entry >> (k->dart2 ? 3 : 8) & 1) == 0 &&
                (entry >> 52 & 0xfff) == 0 && (entry >> 40 & 0xfff) == 0xfff)
                d->leaf[d->leaves++] = (struct fw_leaf){iova, fw_entry_pa(k, entry), SID};
            index[0]++;
        }
    }
}

static void note_all(struct fw *fw)
{
    const struct fw_kind *const k = fw->k;
    const unsigned top = k->page_bits + k->levels * (k->page_bits - 3);
    gr_pa_t root;

    for (unsigned i = 0; i < k->ttbrs; i++) {
        if (fw_root(&fw->dart[0], SID, (uint64_t)i << top, &root) && is_table(fw, root))
            note_leaves(fw, root, (uint64_t)i << top);
    }
}

/* ---- a domain beside it ---- */

static bool reads(struct fw *fw, gr_iova_t iova, gr_pa_t pa)
{
    uint64_t got = 0;

    return dart_model_translate(fw->dart[0].hw.model, SID, iova, false, 1, &got) == MODEL_OK &&
           got == pa;
}

static void unmap(struct gr_device *dev, struct live *live)
{
    const int rc = gr_dma_unmap(dev, live->iova, live->len, GR_DMA_TO_DEVICE, 0);

    FUZZ_CHECK(!rc, "%d", rc);
    live->len = 0;
}

static void use(struct fw *fw, struct gr_device *dev, struct fuzz *f)
{
    struct live live[LIVE] = {{0, 0}};

    for (unsigned i = fuzz_pick(f, STEPS); i; i--) {
        struct live *const l = &live[fuzz_pick(f, LIVE)];
        const gr_pa_t pa = MINE + (fuzz_take(f, 2) << 12);
        int rc;

        if (l->len) {
            unmap(dev, l);
            continue;
        }
        l->len = (1 + fuzz_take(f, 2) % 256) << 12;
        rc = gr_dma_map(dev, pa, l->len, GR_DMA_TO_DEVICE, 0, &l->iova);
        FUZZ_CHECK(!rc || rc == GR_ENOSPC, "%d", rc);
        if (rc)
            l->len = 0;
        else
            FUZZ_CHECK(reads(fw, l->iova, pa), "0x%llx leads elsewhere",
                       (unsigned long long)l->iova);
    }
    for (unsigned i = 0; i < LIVE; i++) {
        if (live[i].len)
            unmap(dev, &live[i]);
    }
}

static void drive(struct fw *fw, struct gr_device *dev, enum gr_domain_type type, struct fuzz *f)
{
    struct gr_domain domain;
    int rc = gr_domain_init(&domain, fw->host, dev, type, 0);

    FUZZ_CHECK(!rc || rc == GR_EOPNOTSUPP || rc == GR_ENOSPC, "%d", rc);
    if (rc)
        return;
    rc = gr_domain_attach(&domain, dev);
    FUZZ_CHECK(!rc, "%d", rc);
    if (type == GR_DOMAIN_TRANSLATED)
        use(fw, dev, f);
    rc = gr_domain_detach(&domain, dev);
    FUZZ_CHECK(!rc, "%d", rc);
    rc = gr_domain_fini(&domain);
    FUZZ_CHECK(!rc, "%d", rc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    struct gr_device_config config;
    struct gr_stream stream;
    struct gr_device dev;
    const struct fw_kind *kind;
    struct fw fw;
    int rc;

    setenv("CMOCKA_TEST_ABORT", "1", 1); /* what adopt_tools.h asserts is a crash here */
    kind = &fw_kinds[fuzz_pick(&f, FW_KINDS)];
    fw_make(&fw, kind, 1, fuzz_byte(&f) & 1 && !kind->packed, 1);
    fw.wild = true;
    fill(&fw, &f);
    note_all(&fw);
    fw_boot(&fw);
    rc = fw_driver(&fw, 0, NULL);
    FUZZ_CHECK(!rc, "%d", rc);
    config = fw_device(&fw, &stream, 1, SID);
    config.adopt = (enum gr_adopt)fuzz_pick(&f, GR_ADOPT_REPLACE + 1);
    rc = gr_device_init(&dev, &config);
    FUZZ_CHECK(!rc || rc == GR_EOPNOTSUPP || rc == GR_ENOSPC, "%d", rc);
    if (!rc) {
        drive(&fw, &dev, GR_DOMAIN_TRANSLATED, &f);
        drive(&fw, &dev, GR_DOMAIN_BLOCKED, &f);
        drive(&fw, &dev, GR_DOMAIN_TRANSLATED, &f);
        rc = gr_device_fini(&dev);
        FUZZ_CHECK(!rc, "%d", rc);
    }
    fw_end(&fw);
    return 0;
}
