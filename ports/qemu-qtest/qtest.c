/* SPDX-License-Identifier: MIT */
/*
 * The machine of ports/qemu-aarch64 with its CPU switched off: this program is the CPU. It shares
 * the machine's RAM with QEMU, and reaches registers through QEMU's test protocol (qtest). So the
 * library and the scenarios run on the host, under its sanitizers, against QEMU's SMMUv3.
 *
 *   granule-qtest [WORD...] -- QEMU [ARGUMENT...]
 *
 * The words are the image's (ports/qemu-aarch64/main.c), and `wait=SECONDS`: the limit for one
 * answer of QEMU's (60). QEMU runs with the arguments given, and with RAM and protocol added. RAM
 * has no name in any file system, and QEMU is killed with this program: nothing is left behind.
 */
#include "examples/drivers/pci.h"
#include "ports/qemu-aarch64/board.h"

#include <granule/port.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RAM_SIZE 0x10000000u /* QEMU's -m */

static struct {
    pid_t pid;
    int socket; /* QEMU's standard input and output */
    int errors; /* QEMU's standard error, shown if QEMU fails */
    unsigned seconds;
    uint8_t *ram;
    uint64_t masked; /* 1: interrupts are masked */
    uint64_t timer;  /* the timer interrupts at so many more unmaskings; 0: off */
    char words[256];
} qemu = {.pid = -1, .seconds = 60};

/* ---- Text and the end ---- */

void print(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
}

static void show_errors(void)
{
    char text[4096];
    ssize_t n = pread(qemu.errors, text, sizeof(text) - 1, 0);

    if (n > 0) {
        text[n] = '\0';
        print("# QEMU's standard error:\n%s", text);
    }
}

void board_exit(unsigned status)
{
    if (qemu.pid > 0) {
        (void)kill(qemu.pid, SIGKILL);
        (void)waitpid(qemu.pid, NULL, 0);
    }
    exit((int)status);
}

void panic(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print("panic: ");
    (void)vprintf(format, args);
    print("\n");
    va_end(args);
    if (qemu.ram)
        show_errors();
    board_exit(70);
}

/* ---- The protocol: a line each way ---- */

/* How QEMU ended, as words for a message. */
static const char *its_end(void)
{
    static char text[64];
    int status = 0;

    (void)kill(qemu.pid, SIGKILL); /* QEMU closed its end: it is ending, or of no more use */
    (void)waitpid(qemu.pid, &status, 0);
    qemu.pid = -1;
    if (WIFEXITED(status))
        (void)snprintf(text, sizeof(text), "exit status %d", WEXITSTATUS(status));
    else
        (void)snprintf(text, sizeof(text), "by signal %d", WTERMSIG(status));
    return text;
}

/* Wait for QEMU's answer to `question`, for a bounded time. */
static void wait_readable(const char *question)
{
    struct pollfd fd = {.fd = qemu.socket, .events = POLLIN};
    int n;

    do {
        n = poll(&fd, 1, (int)qemu.seconds * 1000);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        panic("QEMU has not answered in %u s: %s", qemu.seconds, question);
}

/* Ask QEMU, and return the number in its answer, or 0 if the answer has none. */
__attribute__((format(printf, 1, 2))) static uint64_t ask(const char *format, ...)
{
    char question[64], answer[128];
    size_t got = 0;
    va_list args;
    bool sent;
    int len;

    va_start(args, format);
    len = vsnprintf(question, sizeof(question) - 1, format, args);
    va_end(args);
    question[len] = '\n';
    sent = send(qemu.socket, question, (size_t)len + 1, MSG_NOSIGNAL) == len + 1;
    question[len] = '\0';
    if (sent) {
        do {
            ssize_t n;

            wait_readable(question);
            n = recv(qemu.socket, answer + got, sizeof(answer) - 1 - got, 0);
            if (n <= 0)
                break;
            got += (size_t)n;
        } while (!memchr(answer, '\n', got) && got < sizeof(answer) - 1);
    }
    answer[got] = '\0';
    if (!got)
        panic("QEMU is gone, %s: no answer to %s", its_end(), question);
    if (strncmp(answer, "OK", 2) != 0 || answer[got - 1] != '\n')
        panic("QEMU answers %sto %s", answer, question);
    return strtoull(answer + 2, NULL, 0);
}

#define ACCESS(bits, letter)                                                                       \
    uint##bits##_t mmio_read##bits(volatile void *regs, unsigned offset)                           \
    {                                                                                              \
        return (uint##bits##_t)ask("read" letter " 0x%" PRIxPTR, (uintptr_t)regs + offset);        \
    }                                                                                              \
                                                                                                   \
    void mmio_write##bits(volatile void *regs, unsigned offset, uint##bits##_t value)              \
    {                                                                                              \
        (void)ask("write" letter " 0x%" PRIxPTR " 0x%" PRIx64, (uintptr_t)regs + offset,           \
                  (uint64_t)value);                                                                \
    }

ACCESS(8, "b")
ACCESS(16, "w")
ACCESS(32, "l")
ACCESS(64, "q")

/* ---- The port: what cpu.c does with instructions of the CPU ---- */

void gr_port_wmb(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void gr_port_rmb(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void gr_port_mb(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void gr_port_cache(gr_env_t env, const void *va, size_t len, unsigned op)
{
    (void)env;
    panic("cache operation %u on %p, %zu bytes, of a coherent machine", op, va, len);
}

/* ---- Interrupts: QEMU's controller is asked between two polls ---- */

uint64_t irq_save(void)
{
    const uint64_t masked = qemu.masked;

    qemu.masked = 1;
    return masked;
}

static void let_in(void)
{
    qemu.masked = 1;
    irq_dispatch();
    qemu.masked = 0;
}

void irq_restore(uint64_t masked)
{
    qemu.masked = masked;
    if (!masked && qemu.timer && --qemu.timer == 0) {
        mmio_write32((volatile void *)(uintptr_t)GIC_DIST, 0x200, 1u << TIMER); /* GICD_ISPENDR */
        let_in();
    }
}

void irq_on(void)
{
    qemu.masked = 0;
}

void cpu_relax(void)
{
    if (!qemu.masked)
        let_in();
}

uint64_t time_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Time that a seed replays: a tick is not counted by a clock, but a thousand for each unmasking. */
void timer_arm(uint64_t ticks)
{
    qemu.timer = 1 + ticks / 1000;
}

void timer_off(void)
{
    qemu.timer = 0;
}

/* ---- RAM: mapped at another address than its physical one ---- */

void *ram_at(uint64_t pa)
{
    if (pa < RAM_BASE || pa - RAM_BASE > RAM_SIZE)
        panic("PA 0x%" PRIx64 " is not RAM", pa);
    return qemu.ram + (pa - RAM_BASE);
}

uint64_t ram_pa(const void *va)
{
    const uintptr_t offset = (uintptr_t)va - (uintptr_t)qemu.ram;

    if (offset > RAM_SIZE)
        panic("%p is not in the machine's RAM", va);
    return RAM_BASE + offset;
}

uint64_t ram_open(uint64_t last)
{
    if (last != RAM_BASE + (RAM_SIZE - 1u))
        panic("RAM ends at 0x%" PRIx64, last);
    return RAM_BASE + 0x200000u; /* the device tree lies below */
}

/* ---- What to run ---- */

const char *board_arguments(const void *tree)
{
    (void)tree;
    return qemu.words;
}

static bool is(const char *kind, const char *name)
{
    return strncmp(kind, name, strlen(name)) == 0;
}

/* `freed` is for the sanitizer to report; `gone` and `mute` are for this file, about QEMU. */
void cpu_trap(const char *kind)
{
    if (is(kind, "freed")) {
        volatile uint8_t *page = pages_alloc(12, UINT64_MAX);

        pages_free((void *)(uintptr_t)page, 12);
        page[100] = 1;
    }
    if (is(kind, "gone"))
        (void)kill(qemu.pid, SIGKILL);
    if (is(kind, "mute"))
        (void)kill(qemu.pid, SIGSTOP);
    while (mmio_read32((volatile void *)(uintptr_t)GIC_DIST, 0))
        ;
}

/* ---- Up ---- */

static void need(const char *what, bool good)
{
    if (!good)
        panic("%s: %s", what, strerror(errno));
}

/* In the child: become QEMU. */
__attribute__((noreturn)) static void become(char **argv, int argc, int end, int ram, pid_t parent)
{
    char more[][96] = {"-object", "",      "-machine",   "memory-backend=ram",
                       "-qtest",  "stdio", "-qtest-log", "none"};
    const size_t n = sizeof(more) / sizeof(more[0]);
    char **all = calloc((size_t)argc + n + 1, sizeof(*all));

    (void)snprintf(more[1], sizeof(more[1]),
                   "memory-backend-file,id=ram,size=%u,share=on,mem-path=/proc/self/fd/%d",
                   RAM_SIZE, ram);
    if (all && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent && dup2(end, 0) == 0 &&
        dup2(end, 1) == 1 && dup2(qemu.errors, 2) == 2) {
        memcpy(all, argv, (size_t)argc * sizeof(*all));
        for (size_t i = 0; i < n; i++)
            all[(size_t)argc + i] = more[i];
        (void)execvp(all[0], all);
    }
    dprintf(qemu.errors, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static void start(char **argv, int argc)
{
    const pid_t parent = getpid();
    int ends[2], ram = memfd_create("ram", 0);

    qemu.errors = memfd_create("errors", MFD_CLOEXEC);
    need("memory", ram >= 0 && qemu.errors >= 0 && ftruncate(ram, RAM_SIZE) == 0);
    qemu.ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, ram, 0);
    need("memory", qemu.ram != MAP_FAILED);
    need("socketpair", socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    qemu.pid = fork();
    need("fork", qemu.pid >= 0);
    if (qemu.pid == 0)
        become(argv, argc, ends[1], ram, parent);
    qemu.socket = ends[0];
    (void)close(ends[1]);
    (void)close(ram);
}

int main(int argc, char **argv)
{
    int i = 1;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        size_t n = strlen(qemu.words);

        if (strncmp(argv[i], "wait=", 5) == 0)
            qemu.seconds = (unsigned)strtoul(argv[i] + 5, NULL, 10);
        else if ((size_t)snprintf(qemu.words + n, sizeof(qemu.words) - n, "%s ", argv[i]) >=
                 sizeof(qemu.words) - n)
            panic("too many words");
    }
    if (i + 1 >= argc) {
        (void)fprintf(stderr, "usage: granule-qtest [WORD...] -- QEMU [ARGUMENT...]\n");
        return 2;
    }
    start(argv + i + 1, argc - i - 1);
    board_exit((unsigned)board_main());
}
