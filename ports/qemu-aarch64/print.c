/* SPDX-License-Identifier: MIT */
/* Text through the PL011, and the report of an exception. */
#include "board.h"

static void put(char c)
{
    volatile uint32_t *uart = (volatile uint32_t *)(uintptr_t)UART;

    while (uart[0x18 / 4] & 0x20) /* FR.TXFF */
        ;
    uart[0] = (uint8_t)c;
}

static unsigned length(const char *s)
{
    unsigned n = 0;

    while (s[n])
        n++;
    return n;
}

static void pad(unsigned count, char with)
{
    while (count--)
        put(with);
}

struct field {
    bool left;
    bool zeros;
    unsigned width;
    unsigned longs;
};

static void put_text(const struct field *f, const char *s, unsigned n)
{
    unsigned space = f->width > n ? f->width - n : 0;

    if (!f->left)
        pad(space, f->zeros ? '0' : ' ');
    while (n--)
        put(*s++);
    if (f->left)
        pad(space, ' ');
}

static void put_number(const struct field *f, uint64_t value, unsigned base, bool negative)
{
    char text[21];
    unsigned at = sizeof(text);

    do {
        text[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    if (negative)
        text[--at] = '-';
    put_text(f, text + at, (unsigned)sizeof(text) - at);
}

static const char *read_field(const char *p, struct field *f)
{
    for (;; p++) {
        if (*p == '-')
            f->left = true;
        else if (*p == '0' && f->width == 0)
            f->zeros = true;
        else if (*p >= '0' && *p <= '9')
            f->width = f->width * 10 + (unsigned)(*p - '0');
        else if (*p == 'l')
            f->longs++;
        else
            return p;
    }
}

static void print_v(const char *format, va_list args)
{
    for (const char *p = format; *p; p++) {
        struct field f = {0};
        const char *s;
        int64_t n;
        char c;

        if (*p == '\n')
            put('\r');
        if (*p != '%') {
            put(*p);
            continue;
        }
        p = read_field(p + 1, &f);
        switch (*p) {
        case 's':
            s = va_arg(args, const char *);
            put_text(&f, s, length(s));
            break;
        case 'c':
            c = (char)va_arg(args, int);
            put_text(&f, &c, 1);
            break;
        case 'd':
            n = f.longs ? va_arg(args, long) : va_arg(args, int);
            put_number(&f, n < 0 ? 0 - (uint64_t)n : (uint64_t)n, 10, n < 0);
            break;
        case 'u':
        case 'x':
            put_number(&f, f.longs ? va_arg(args, unsigned long) : va_arg(args, unsigned),
                       *p == 'u' ? 10 : 16, false);
            break;
        default:
            put(*p);
        }
    }
}

void print(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_v(format, args);
    va_end(args);
}

void panic(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print("panic: ");
    print_v(format, args);
    print("\n");
    va_end(args);
    board_exit(70);
}

extern __attribute__((noreturn)) void __stack_chk_fail(void);

void __stack_chk_fail(void)
{
    panic("a stack frame was overwritten");
}

/* ---- Exceptions ---- */

struct trap {
    uint64_t x[31];
    uint64_t sp, elr, spsr, esr, far;
};

__attribute__((noreturn)) void trap_report(const struct trap *trap, unsigned vector);

static const char *class_name(unsigned class)
{
    switch (class) {
    case 0x00:
        return "undefined instruction";
    case 0x07:
        return "vector registers are off";
    case 0x0e:
        return "illegal execution state";
    case 0x15:
        return "system call";
    case 0x20:
    case 0x21:
        return "instruction abort";
    case 0x22:
        return "program counter not aligned";
    case 0x24:
    case 0x25:
        return "data abort";
    case 0x26:
        return "stack pointer not aligned";
    case 0x2f:
        return "SError";
    case 0x3c:
        return "breakpoint";
    default:
        return "exception of another class";
    }
}

/* DFSC and IFSC, bits 5 to 2 or all. */
static const char *abort_name(unsigned status)
{
    if (status == 0x10)
        return ", nothing answered at this address";
    if (status == 0x21)
        return ", not aligned";
    switch (status & 0x3c) {
    case 0x04:
        return ", not mapped";
    case 0x08:
        return ", access flag";
    case 0x0c:
        return ", no permission";
    default:
        return "";
    }
}

void trap_report(const struct trap *trap, unsigned vector)
{
    static const char *const kind[] = {"synchronous", "IRQ", "FIQ", "SError"};
    const unsigned class = (unsigned)(trap->esr >> 26) & 0x3f;
    const bool is_abort = class == 0x20 || class == 0x21 || class == 0x24 || class == 0x25;

    print("\n*** exception: %s%s%s\n", class_name(class),
          is_abort ? abort_name((unsigned)trap->esr & 0x3f) : "",
          class == 0x24 || class == 0x25 ? trap->esr & 0x40 ? ", write" : ", read" : "");
    print("    %s, vector %u, ESR %016lx\n    at %016lx, address %016lx, PSTATE %08lx\n",
          kind[vector & 3], vector, trap->esr, trap->elr, trap->far, trap->spsr);
    for (unsigned i = 0; i < 31; i++)
        print("%s%s%u %016lx%s", i % 4 ? "  " : "    ", i < 10 ? " x" : "x", i, trap->x[i],
              i % 4 == 3 ? "\n" : "");
    print("   sp %016lx\n", trap->sp);
    board_exit(71);
}
