/* crashpoint.so: an LD_PRELOAD library that stops a process at its k-th operation on durable state.
 *
 * An operation counts when it creates, writes, syncs, moves, truncates or removes something at or under one folder
 * (the prefix). Before it is done, the operation gets the next number and, when a log is wanted, one line
 * "number TAB operation TAB path below the prefix". Then, at the chosen number:
 *
 *   count    nothing happens
 *   kill     the process kills itself (SIGKILL, all threads) instead of doing the operation
 *   after    it does the operation and then kills itself
 *   torn     a write puts half of its bytes and then the process kills itself; another operation: as kill
 *   enospc   from here on, whatever needs room (write, create, mkdir, link) fails with ENOSPC; the rest works
 *   eio      from here on, every counted operation fails with EIO
 *
 * Armed by the environment (CRASH_PREFIX, CRASH_AT, CRASH_MODE, CRASH_WHEN, CRASH_COUNT_FILE: taken out of it at once,
 * so that programs started from here are not armed) or by crashpoint_arm(). Only the process that was armed counts,
 * with all of its threads; a forked child does not.
 *
 * Not seen: stores into mapped memory, and what C's stdio writes through an open FILE (the opening itself is seen).
 * The operations are raw system calls, so nothing here calls itself. 64-bit Linux only.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#if !defined(__linux__) || __SIZEOF_LONG__ != 8
#error "crashpoint.c is for 64-bit Linux"
#endif

enum mode { COUNT, KILL, AFTER, TORN, NO_SPACE, IO_ERROR };
static const char *const MODES[] = {"count", "kill", "after", "torn", "enospc", "eio"};

enum kind { CHANGES, GROWS, WRITES };       /* GROWS needs room; WRITES needs room and can be torn */
enum action { GO, FAIL, DIE_AFTER, TEAR };  /* what to do with one operation */

static char prefix[PATH_MAX];
static size_t prefix_bytes;
static char log_path[PATH_MAX];
static long stop_at;
static enum mode mode;
static pid_t owner; /* the process that counts; 0 = nobody */
static long count;

static int armed(void) {
    pid_t who = __atomic_load_n(&owner, __ATOMIC_ACQUIRE);
    return who != 0 && who == getpid();
}

static void park(void) {
    for (;;) pause();
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    park();
}

static int under_prefix(const char *path) {
    return strncmp(path, prefix, prefix_bytes) == 0 && (path[prefix_bytes] == '/' || path[prefix_bytes] == 0);
}

static int fd_path(int fd, char out[PATH_MAX]) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long bytes = syscall(SYS_readlinkat, AT_FDCWD, link, out, PATH_MAX - 1);
    if (bytes <= 0) return 0;
    out[bytes] = 0;
    return 1;
}

/* The absolute path: the parent with its links resolved, the last name as it is. 0 when the parent is missing. */
static int full_path(int dir, const char *path, char out[PATH_MAX]) {
    char joined[PATH_MAX], base[PATH_MAX];
    if (path == NULL || *path == 0) return 0;
    if (*path == '/') base[0] = 0;
    else if (dir == AT_FDCWD ? getcwd(base, sizeof base) == NULL : !fd_path(dir, base)) return 0;
    size_t length = (size_t)snprintf(joined, sizeof joined, "%s%s%s", base, *path == '/' ? "" : "/", path);
    if (length >= sizeof joined) return 0;
    while (length > 1 && joined[length - 1] == '/') joined[--length] = 0;
    char *slash = strrchr(joined, '/'), *name = slash + 1;
    if (*name == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return realpath(joined, out) != NULL;
    *slash = 0;
    if (realpath(slash == joined ? "/" : joined, out) == NULL) return 0;
    size_t parent = strlen(out);
    if (parent == 1) parent = 0;
    return (size_t)snprintf(out + parent, PATH_MAX - parent, "/%s", name) < PATH_MAX - parent;
}

static void log_line(long number, const char *operation, const char *path) {
    if (log_path[0] == 0) return;
    char line[PATH_MAX + 64];
    const char *below = path[prefix_bytes] == '/' ? path + prefix_bytes + 1 : ".";
    int bytes = snprintf(line, sizeof line, "%ld\t%s\t%s\n", number, operation, below);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || syscall(SYS_write, fd, line, (size_t)bytes) != bytes) {
        static const char problem[] = "crashpoint: the log cannot be written\n";
        syscall(SYS_write, 2, problem, sizeof problem - 1);
        abort();
    }
    syscall(SYS_close, fd);
}

static enum action decide(const char *operation, enum kind kind, const char *path) {
    long number = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    log_line(number, operation, path);
    if (stop_at <= 0 || number < stop_at) return GO;
    switch (mode) {
        case KILL: die(); break;
        case TORN:
            if (number > stop_at) park(); /* another thread is about to die */
            if (kind != WRITES) die();
            return TEAR;
        case AFTER:
            if (number > stop_at) park();
            return DIE_AFTER;
        case NO_SPACE:
            if (kind == CHANGES) return GO;
            errno = ENOSPC;
            return FAIL;
        case IO_ERROR: errno = EIO; return FAIL;
        case COUNT: break;
    }
    return GO;
}

static enum action fd_operation(const char *operation, enum kind kind, int fd) {
    char path[PATH_MAX];
    int saved = errno;
    int counted = armed() && fd_path(fd, path) && under_prefix(path);
    errno = saved;
    return counted ? decide(operation, kind, path) : GO;
}

static enum action path_operation(const char *operation, enum kind kind, int dir, const char *name) {
    char path[PATH_MAX];
    int saved = errno;
    int counted = armed() && full_path(dir, name, path) && under_prefix(path);
    errno = saved;
    return counted ? decide(operation, kind, path) : GO;
}

/* Two paths: counted once, under the new name when that lies under the prefix. */
static enum action pair_operation(const char *operation, enum kind kind, int old_dir, const char *old, int new_dir,
                                  const char *new) {
    char path[PATH_MAX];
    int saved = errno;
    int counted = armed() && ((full_path(new_dir, new, path) && under_prefix(path)) ||
                              (full_path(old_dir, old, path) && under_prefix(path)));
    errno = saved;
    return counted ? decide(operation, kind, path) : GO;
}

static long finish(enum action action, long result) {
    if (action == DIE_AFTER || action == TEAR) die();
    return result;
}

static size_t share(enum action action, size_t bytes) { return action == TEAR ? bytes / 2 : bytes; }

/* Start counting from 0 in this process. `at` 0 = only count; `log` may be NULL or empty. Returns 0, or -1 = bad input. */
int crashpoint_arm(const char *folder, long at, int how, const char *log) {
    if (folder == NULL || *folder != '/' || how < COUNT || how > IO_ERROR) return -1;
    if (strlen(folder) >= PATH_MAX || (log != NULL && strlen(log) >= PATH_MAX)) return -1;
    __atomic_store_n(&owner, 0, __ATOMIC_RELEASE);
    if (realpath(folder, prefix) == NULL) strcpy(prefix, folder); /* may be created later */
    prefix_bytes = strlen(prefix);
    strcpy(log_path, log == NULL ? "" : log);
    stop_at = at;
    mode = (enum mode)how;
    __atomic_store_n(&count, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&owner, getpid(), __ATOMIC_RELEASE);
    return 0;
}

static const char *variable(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value == NULL ? otherwise : value;
}

__attribute__((constructor)) static void arm_from_environment(void) {
    const char *folder = getenv("CRASH_PREFIX");
    if (folder == NULL) return;
    const char *wanted = variable("CRASH_MODE", "kill");
    int how = -1;
    for (int i = COUNT; i <= IO_ERROR; i++)
        if (strcmp(wanted, MODES[i]) == 0) how = i;
    if (how == KILL && strcmp(variable("CRASH_WHEN", "before"), "after") == 0) how = AFTER;
    if (crashpoint_arm(folder, atol(variable("CRASH_AT", "0")), how, getenv("CRASH_COUNT_FILE")) != 0) {
        fprintf(stderr, "crashpoint: CRASH_PREFIX must be absolute, CRASH_MODE one of count kill after torn enospc eio\n");
        _exit(2);
    }
    static const char *const ours[] = {"CRASH_PREFIX", "CRASH_AT", "CRASH_MODE", "CRASH_WHEN", "CRASH_COUNT_FILE"};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) unsetenv(ours[i]);
}

static enum action open_operation(int dir, const char *path, int flags) {
    if ((flags & (O_CREAT | O_TRUNC)) == 0 && (flags & O_TMPFILE) != O_TMPFILE) return GO;
    int saved = errno;
    int there = syscall(SYS_faccessat, dir, path, F_OK) == 0 && (flags & O_TMPFILE) != O_TMPFILE;
    errno = saved;
    return path_operation("open", there ? CHANGES : GROWS, dir, path);
}

static int open_at(int dir, const char *path, int flags, mode_t permissions) {
    enum action action = open_operation(dir, path, flags);
    if (action == FAIL) return -1;
    return (int)finish(action, syscall(SYS_openat, dir, path, flags, permissions));
}

static mode_t permissions_of(int flags, va_list rest) {
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                                                 \
    int name(const char *path, int flags, ...) {                   \
        va_list rest;                                              \
        va_start(rest, flags);                                     \
        mode_t permissions = permissions_of(flags, rest);          \
        va_end(rest);                                              \
        return open_at(AT_FDCWD, path, flags, permissions);        \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                               \
    int name(int dir, const char *path, int flags, ...) {          \
        va_list rest;                                              \
        va_start(rest, flags);                                     \
        mode_t permissions = permissions_of(flags, rest);          \
        va_end(rest);                                              \
        return open_at(dir, path, flags, permissions);             \
    }
OPENAT(openat)
OPENAT(openat64)

int creat(const char *path, mode_t permissions) {
    return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, permissions);
}

int creat64(const char *path, mode_t permissions) { return creat(path, permissions); }

static FILE *stdio_open(const char *symbol, const char *path, const char *how) {
    int flags = *how == 'w' ? O_CREAT | O_TRUNC : *how == 'a' ? O_CREAT : 0;
    enum action action = open_operation(AT_FDCWD, path, flags);
    if (action == FAIL) return NULL;
    FILE *(*real)(const char *, const char *) = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, symbol);
    FILE *file = real(path, how);
    finish(action, 0);
    return file;
}

FILE *fopen(const char *path, const char *how) { return stdio_open("fopen", path, how); }
FILE *fopen64(const char *path, const char *how) { return stdio_open("fopen64", path, how); }

ssize_t write(int fd, const void *data, size_t bytes) {
    enum action action = fd_operation("write", WRITES, fd);
    if (action == FAIL) return -1;
    return finish(action, syscall(SYS_write, fd, data, share(action, bytes)));
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset) {
    enum action action = fd_operation("pwrite", WRITES, fd);
    if (action == FAIL) return -1;
    return finish(action, syscall(SYS_pwrite64, fd, data, share(action, bytes), offset));
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t offset) { return pwrite(fd, data, bytes, offset); }

/* The first half of the bytes of `from`; returns the number of pieces put into `to`. */
static int first_half(const struct iovec *from, int pieces, struct iovec to[IOV_MAX]) {
    size_t left = 0;
    for (int i = 0; i < pieces; i++) left += from[i].iov_len;
    left /= 2;
    int used = 0;
    for (; left > 0 && used < pieces && used < IOV_MAX; used++) {
        to[used] = from[used];
        if (to[used].iov_len > left) to[used].iov_len = left;
        left -= to[used].iov_len;
    }
    return used;
}

ssize_t writev(int fd, const struct iovec *data, int pieces) {
    enum action action = fd_operation("writev", WRITES, fd);
    struct iovec half[IOV_MAX];
    if (action == FAIL) return -1;
    if (action == TEAR) pieces = first_half(data, pieces, half), data = half;
    return finish(action, syscall(SYS_writev, fd, data, pieces));
}

ssize_t pwritev(int fd, const struct iovec *data, int pieces, off_t offset) {
    enum action action = fd_operation("pwritev", WRITES, fd);
    struct iovec half[IOV_MAX];
    if (action == FAIL) return -1;
    if (action == TEAR) pieces = first_half(data, pieces, half), data = half;
    return finish(action, syscall(SYS_pwritev, fd, data, pieces, offset, 0));
}

ssize_t pwritev64(int fd, const struct iovec *data, int pieces, off64_t offset) {
    return pwritev(fd, data, pieces, offset);
}

/* A caller may ask for more bytes than the source has. */
static size_t copy_share(enum action action, int from, size_t bytes) {
    struct stat about;
    if (action != TEAR || fstat(from, &about) != 0) return bytes;
    return ((size_t)about.st_size < bytes ? (size_t)about.st_size : bytes) / 2;
}

ssize_t sendfile(int to, int from, off_t *offset, size_t bytes) {
    enum action action = fd_operation("sendfile", WRITES, to);
    if (action == FAIL) return -1;
    return finish(action, syscall(SYS_sendfile, to, from, offset, copy_share(action, from, bytes)));
}

ssize_t sendfile64(int to, int from, off64_t *offset, size_t bytes) { return sendfile(to, from, offset, bytes); }

ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t bytes, unsigned flags) {
    enum action action = fd_operation("copy_file_range", WRITES, to);
    if (action == FAIL) return -1;
    bytes = copy_share(action, from, bytes);
    return finish(action, syscall(SYS_copy_file_range, from, from_offset, to, to_offset, bytes, flags));
}

int fsync(int fd) {
    enum action action = fd_operation("fsync", CHANGES, fd);
    return action == FAIL ? -1 : (int)finish(action, syscall(SYS_fsync, fd));
}

int fdatasync(int fd) {
    enum action action = fd_operation("fdatasync", CHANGES, fd);
    return action == FAIL ? -1 : (int)finish(action, syscall(SYS_fdatasync, fd));
}

int ftruncate(int fd, off_t length) {
    enum action action = fd_operation("ftruncate", CHANGES, fd);
    return action == FAIL ? -1 : (int)finish(action, syscall(SYS_ftruncate, fd, length));
}

int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

int truncate(const char *path, off_t length) {
    enum action action = path_operation("truncate", CHANGES, AT_FDCWD, path);
    return action == FAIL ? -1 : (int)finish(action, syscall(SYS_truncate, path, length));
}

int truncate64(const char *path, off64_t length) { return truncate(path, length); }

int renameat2(int old_dir, const char *old, int new_dir, const char *new, unsigned flags) {
    enum action action = pair_operation("rename", CHANGES, old_dir, old, new_dir, new);
    return action == FAIL ? -1 : (int)finish(action, syscall(SYS_renameat2, old_dir, old, new_dir, new, flags));
}

int renameat(int old_dir, const char *old, int new_dir, const char *new) {
    return renameat2(old_dir, old, new_dir, new, 0);
}

int rename(const char *old, const char *new) { return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }

int linkat(int old_dir, const char *old, int new_dir, const char *new, int flags) {
    enum action action = pair_operation("link", GROWS, old_dir, old, new_dir, new);
    return action == FAIL ? -1 : (int)finish(action, syscall(SYS_linkat, old_dir, old, new_dir, new, flags));
}

int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }

int symlinkat(const char *target, int dir, const char *path) {
    enum action action = path_operation("symlink", GROWS, dir, path);
    return action == FAIL ? -1 : (int)finish(action, syscall(SYS_symlinkat, target, dir, path));
}

int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }

int unlinkat(int dir, const char *path, int flags) {
    enum action action = path_operation(flags & AT_REMOVEDIR ? "rmdir" : "unlink", CHANGES, dir, path);
    return action == FAIL ? -1 : (int)finish(action, syscall(SYS_unlinkat, dir, path, flags));
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int remove(const char *path) {
    struct stat about;
    int folder = lstat(path, &about) == 0 && S_ISDIR(about.st_mode);
    return unlinkat(AT_FDCWD, path, folder ? AT_REMOVEDIR : 0);
}

int mkdirat(int dir, const char *path, mode_t permissions) {
    enum action action = path_operation("mkdir", GROWS, dir, path);
    return action == FAIL ? -1 : (int)finish(action, syscall(SYS_mkdirat, dir, path, permissions));
}

int mkdir(const char *path, mode_t permissions) { return mkdirat(AT_FDCWD, path, permissions); }
