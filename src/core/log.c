/* SPDX-License-Identifier: MIT */
#include "core/log.h"

#include <stdarg.h>

struct line {
    char text[GRI_LOG_LINE];
    size_t used;
};

static void put_char(struct line *line, char c)
{
    if (line->used < sizeof(line->text) - 1)
        line->text[line->used++] = c;
}

static void put_string(struct line *line, const char *s)
{
    for (; *s; s++)
        put_char(line, *s);
}

static void put_decimal(struct line *line, uint32_t value)
{
    uint32_t unit = 1;

    while (value / unit >= 10)
        unit *= 10;
    for (; unit; unit /= 10)
        put_char(line, (char)('0' + value / unit % 10));
}

static void put_hex(struct line *line, uint64_t value)
{
    unsigned shift = 60;

    put_string(line, "0x");
    while (shift && !(value >> shift))
        shift -= 4;
    for (;; shift -= 4) {
        put_char(line, "0123456789abcdef"[value >> shift & 0xf]);
        if (!shift)
            break;
    }
}

void gri_log(gr_env_t env, unsigned level, const char *format, ...)
{
    struct line line = {.used = 0};
    va_list args;

    va_start(args, format);
    for (const char *f = format; *f; f++) {
        if (*f != '%' || !f[1]) {
            put_char(&line, *f);
            continue;
        }
        switch (*++f) {
        case 's':
            put_string(&line, va_arg(args, const char *));
            break;
        case 'u':
            put_decimal(&line, va_arg(args, uint32_t));
            break;
        case 'x':
            put_hex(&line, va_arg(args, uint64_t));
            break;
        default:
            put_char(&line, *f);
            break;
        }
    }
    va_end(args);
    line.text[line.used] = '\0';
    gr_port_log(env, level, line.text);
}
