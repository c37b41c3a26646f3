/* SPDX-License-Identifier: MIT */
#include "board.h"

#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Limits of dtc's time and memory: a tree may include /dev/zero. */
#define DTC_SECONDS 20
#define DTC_MEMORY ((rlim_t)1 << 30)

/* Read all of `file`, one byte past the largest tree at most: gr_dt_open() refuses that. */
static bool read_all(struct sim_board *board, FILE *file, struct sim_error *error)
{
    size_t room = (size_t)GR_DT_SIZE_MAX + 1;

    board->blob = malloc(room);
    if (!board->blob)
        return sim_refuse(error, "%s: out of memory", board->path);
    board->size = fread(board->blob, 1, room, file);
    if (ferror(file))
        return sim_refuse(error, "%s: %s", board->path, strerror(errno));
    return true;
}

/* The child's end: dtc with its streams in files. Does not return. */
static void exec_dtc(const char *path, FILE *out, FILE *messages)
{
    const struct rlimit seconds = {DTC_SECONDS, DTC_SECONDS};
    const struct rlimit memory = {DTC_MEMORY, DTC_MEMORY};

    setrlimit(RLIMIT_CPU, &seconds);
    setrlimit(RLIMIT_AS, &memory);
    setrlimit(RLIMIT_FSIZE, &memory);
    if (dup2(fileno(out), STDOUT_FILENO) >= 0 && dup2(fileno(messages), STDERR_FILENO) >= 0)
        execlp("dtc", "dtc", "-q", "-I", "dts", "-O", "dtb", "-o", "-", "--", path, (char *)NULL);
    _exit(127);
}

/* dtc's first complaint, without the file name, which our sentence has already. */
static void dtc_complaint(FILE *messages, const char *path, char *text, size_t size)
{
    char line[512];

    snprintf(text, size, "no reason given");
    rewind(messages);
    while (fgets(line, sizeof(line), messages)) {
        const char *const error = strstr(line, "rror");

        if (error) {
            const char *const start = error > line ? error - 1 : line;
            const char *const where = strstr(line, path);

            line[strcspn(line, "\n")] = '\0';
            snprintf(text, size, "%.200s", where ? where + strlen(path) : start);
            return;
        }
    }
}

static bool compile_into(struct sim_board *board, FILE *out, FILE *messages,
                         struct sim_error *error)
{
    int status = 0;
    char why[256];
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0)
        exec_dtc(board->path, out, messages);
    if (child < 0 || waitpid(child, &status, 0) != child)
        return sim_refuse(error, "%s: cannot start dtc: %s", board->path, strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return sim_refuse(error,
                          "%s: cannot run dtc, which compiles device tree sources: install the "
                          "device-tree-compiler, or give a compiled .dtb",
                          board->path);
    if (WIFSIGNALED(status))
        return sim_refuse(error,
                          "%s: dtc was stopped by signal %d (it may use %d s and 1 GiB): make "
                          "the source smaller",
                          board->path, WTERMSIG(status), DTC_SECONDS);
    if (WEXITSTATUS(status) != 0) {
        dtc_complaint(messages, board->path, why, sizeof(why));
        if (strncmp(why, ":0.0", 4) == 0)
            return sim_refuse(error, "%s: it holds no device tree: begin with /dts-v1/;",
                              board->path);
        return sim_refuse(error,
                          "%s: dtc does not compile it (%s%s): mend the source there; "
                          "a source with #include goes through cpp first",
                          board->path, why[0] == ':' ? "line " : "", why[0] == ':' ? why + 1 : why);
    }
    rewind(out);
    return read_all(board, out, error);
}

static bool compile(struct sim_board *board, struct sim_error *error)
{
    FILE *const out = tmpfile();
    FILE *const messages = tmpfile();
    bool ok = false;

    if (out && messages)
        ok = compile_into(board, out, messages, error);
    else
        sim_refuse(error, "%s: no temporary file for dtc: %s", board->path, strerror(errno));
    if (out)
        fclose(out);
    if (messages)
        fclose(messages);
    return ok;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);

    return length >= strlen(end) && strcmp(text + length - strlen(end), end) == 0;
}

static bool load(struct sim_board *board, FILE *file, struct sim_error *error)
{
    static const unsigned char magic[4] = {0xd0, 0x0d, 0xfe, 0xed};

    if (!read_all(board, file, error))
        return false;
    if (board->size >= sizeof(magic) && memcmp(board->blob, magic, sizeof(magic)) == 0)
        return true;
    if (ends_with(board->path, ".dts")) {
        free(board->blob);
        board->blob = NULL;
        return compile(board, error);
    }
    return sim_refuse(error,
                      "%s: not a device tree: give a compiled .dtb, or a source whose name ends "
                      "in .dts",
                      board->path);
}

static void read_model(struct sim_board *board)
{
    int length = 0;
    const char *const model = fdt_getprop(board->blob, 0, "model", &length);

    for (int i = 0; model && i < length && i < (int)sizeof(board->model) - 1 && model[i]; i++) {
        bool plain = model[i] >= ' ' && model[i] <= '~';

        board->model[i] = plain ? model[i] : '?';
    }
}

bool sim_board_load(struct sim_board *board, const char *path, struct sim_error *error)
{
    FILE *const file = fopen(path, "rb");
    bool ok;

    *board = (struct sim_board){.path = path};
    if (!file)
        return sim_refuse(error, "%s: %s: give a .dtb or .dts that can be read", path,
                          strerror(errno));
    ok = load(board, file, error);
    fclose(file);
    if (ok && gr_dt_open(&board->dt, board->blob, board->size) != 0)
        ok = sim_refuse(error, "%s: %s", path, board->dt.error);
    if (!ok) {
        sim_board_free(board);
        return false;
    }
    read_model(board);
    return true;
}

void sim_board_free(struct sim_board *board)
{
    free(board->blob);
    board->blob = NULL;
}
