/* SPDX-License-Identifier: MIT */
/* Error phrases and the log's formats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <granule/err.h>
#include <host.h>
#include <string.h>

#include "core/log.h"

static const int errors[] = {
    0,           GR_ENOENT,     GR_EIO,       GR_ENOMEM,  GR_EACCES,
    GR_EFAULT,   GR_EBUSY,      GR_EEXIST,    GR_ENODEV,  GR_EINVAL,
    GR_ENOSPC,   GR_ERANGE,     GR_ENODATA,   GR_EBADMSG, GR_EOVERFLOW,
    GR_EMSGSIZE, GR_EOPNOTSUPP, GR_ETIMEDOUT, GR_ENOBUFS,
};
#define ERRORS (sizeof(errors) / sizeof(errors[0]))

static void test_phrases(void **state)
{
    unsigned known = 0;

    (void)state;
    for (size_t i = 0; i < ERRORS; i++) {
        const char *const phrase = gr_strerror(errors[i]);
        const size_t len = strlen(phrase);

        assert_in_range(len, 1, 60);
        assert_int_not_equal(phrase[len - 1], '.');
        assert_string_not_equal(phrase, "unknown error");
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(phrase, gr_strerror(errors[k]));
    }
    /* All others are unknown, the positive numbers among them: no value is missing above. */
    for (int err = -4096; err <= 4096; err++)
        known += strcmp(gr_strerror(err), "unknown error") != 0;
    assert_int_equal(known, ERRORS);
    assert_string_equal(gr_strerror(INT32_MIN), "unknown error");
    assert_string_equal(gr_strerror(INT32_MAX), "unknown error");
}

static struct host *machine(void)
{
    const struct host_config config = {
        .cpu_page = 4096, .nbanks = 1, .banks = {{0, 1u << 20}}, .seed = 1};
    struct host *const h = host_create(&config, NULL, 0);

    assert_non_null(h);
    host_log_level(h, -1);
    return h;
}

static void test_formats(void **state)
{
    struct host *const h = machine();

    (void)state;
    gri_log(h, GR_LOG_ERR, "%s", "");
    assert_string_equal(host_last_log(h), "");
    gri_log(h, GR_LOG_WARN, "no format");
    assert_string_equal(host_last_log(h), "no format");
    gri_log(h, GR_LOG_INFO, "%s and %s", "one", "two");
    assert_string_equal(host_last_log(h), "one and two");
    gri_log(h, GR_LOG_ERR, "%u %u %u %u %u", 0u, 9u, 10u, 305u, UINT32_MAX);
    assert_string_equal(host_last_log(h), "0 9 10 305 4294967295");
    gri_log(h, GR_LOG_ERR, "%x %x %x %x", UINT64_C(0), UINT64_C(0xa), UINT64_C(0x10305),
            UINT64_MAX);
    assert_string_equal(host_last_log(h), "0x0 0xa 0x10305 0xffffffffffffffff");
    gri_log(h, GR_LOG_ERR, "%u%% of %s at %x", 50u, "all", UINT64_C(1) << 63);
    assert_string_equal(host_last_log(h), "50% of all at 0x8000000000000000");
    /* What is no format stands for itself. */
    gri_log(h, GR_LOG_ERR, "%d%q 5%");
    assert_string_equal(host_last_log(h), "dq 5%");
    assert_int_equal(host_misuse(h), 0);
    assert_int_equal(host_destroy(h), 0);
}

/* A line that does not fit is cut at the same place, whatever it is made of. */
static void test_long_lines(void **state)
{
    struct host *const h = machine();
    char text[2 * GRI_LOG_LINE];
    char want[GRI_LOG_LINE];

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + i % 26);
    text[sizeof(text) - 1] = '\0';
    memcpy(want, text, sizeof(want) - 1);
    want[sizeof(want) - 1] = '\0';
    gri_log(h, GR_LOG_ERR, "%s", text);
    assert_string_equal(host_last_log(h), want);
    gri_log(h, GR_LOG_ERR, text); /* it has no % */
    assert_string_equal(host_last_log(h), want);
    text[GRI_LOG_LINE - 1] = '\0'; /* what just fits */
    gri_log(h, GR_LOG_ERR, "%s", text);
    assert_string_equal(host_last_log(h), want);
    text[GRI_LOG_LINE - 4] = '\0';
    gri_log(h, GR_LOG_ERR, "%s%x", text, UINT64_C(0xbcd));
    memcpy(want + GRI_LOG_LINE - 4, "0xb", 3);
    assert_string_equal(host_last_log(h), want);
    gri_log(h, GR_LOG_ERR, "%s%u", text, 98765u);
    memcpy(want + GRI_LOG_LINE - 4, "987", 3);
    assert_string_equal(host_last_log(h), want);
    assert_int_equal(host_misuse(h), 0);
    assert_int_equal(host_destroy(h), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_phrases),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_long_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
