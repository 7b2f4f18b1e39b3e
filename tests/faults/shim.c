/* What the harness preloads: counts every change of the disk below one folder, and at one of them kills or fails.

   Python's, pyarrow's, sqlite's, DuckDB's and torch's writes all pass through these functions of the C library. The
   block that says what is to happen lies in a file that all processes of a case map, so that they count together. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { COUNT = 0, KILL = 1, FAIL = 2 };

struct control {           /* as tests/faults/disk.py packs it */
    int64_t count, at;     /* operations so far; the one at which it happens, 0: none */
    int64_t action, error; /* of FAIL: the number of the error, from `at` on */
    int64_t group;         /* process group that KILL ends */
    int64_t clock;         /* seconds that the clock is wrong by */
    int64_t happened;      /* how often */
    char root[1024], what[1024];
};
static struct control *control;

__attribute__((visibility("default"))) void faults_attach(const char *path)
{
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) return;
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (control) munmap(control, sizeof(struct control));
    control = mapped == MAP_FAILED ? NULL : mapped;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULTS_CONTROL");
    if (path && *path) faults_attach(path);
}

static void *next(void **kept, const char *name)
{
    if (!*kept) *kept = dlsym(RTLD_NEXT, name);
    return *kept;
}
#define REAL(name, type, ...) static void *kept_##name; type (*real)(__VA_ARGS__) = next(&kept_##name, #name)

/* The absolute path of a name beside a folder's handle; 0 if it lies elsewhere. */
static int below(int folder, const char *name, char *out)
{
    if (!control || !control->root[0] || !name) return 0;
    size_t used = 0;
    if (name[0] != '/') {
        if (folder == AT_FDCWD) {
            if (syscall(SYS_getcwd, out, PATH_MAX) < 0) return 0;
            used = strlen(out);
        } else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            ssize_t n = readlink(link, out, PATH_MAX - 1);
            if (n < 0) return 0;
            used = n;
        }
        out[used++] = '/';
    }
    strncpy(out + used, name, 2 * PATH_MAX - used - 1);
    out[2 * PATH_MAX - 1] = 0;
    size_t n = strlen(control->root);
    return !strncmp(out, control->root, n) && (out[n] == '/' || !out[n]);
}

static int open_below(int fd, char *out)
{
    if (!control || !control->root[0]) return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    if (n <= 0 || out[0] != '/') return 0;
    out[n] = 0;
    size_t length = strlen(control->root);
    return !strncmp(out, control->root, length) && out[length] == '/';
}

static void die(void)
{
    if (control->group > 1) kill(-(pid_t)control->group, SIGKILL);
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* One operation. `takes` says whether it needs room. 0: do it; otherwise the number of the error it ends with. */
static int point(const char *what, const char *path, int takes)
{
    int64_t number = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
    if (!control->at || number < control->at || control->action == COUNT) return 0;
    if (control->action == KILL && number > control->at) return 0;
    if (control->action == FAIL && control->error == ENOSPC && !takes) return 0;
    if (!__atomic_fetch_add(&control->happened, 1, __ATOMIC_SEQ_CST))
        snprintf(control->what, sizeof control->what, "%s %s", what, path);
    if (control->action == KILL) die();
    return (int)control->error;
}
#define AT(what, path, takes) do { int e_ = point(what, path, takes); if (e_) { errno = e_; return -1; } } while (0)

/* ---- contents: killed before a write, and in its middle ---- */
#define MIDDLE(n, half) do { if ((n) > 1) { \
    int64_t number_ = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST); \
    if (control->action == KILL && number_ == control->at) { \
        half; control->happened = 1; snprintf(control->what, sizeof control->what, "half of a write %s", path); \
        die(); } } } while (0)

ssize_t write(int fd, const void *data, size_t n)
{
    REAL(write, ssize_t, int, const void *, size_t);
    char path[2 * PATH_MAX];
    if (fd > 2 && open_below(fd, path)) { AT("write", path, 1); MIDDLE(n, real(fd, data, n / 2)); }
    return real(fd, data, n);
}
ssize_t writev(int fd, const struct iovec *parts, int n)
{
    REAL(writev, ssize_t, int, const struct iovec *, int);
    char path[2 * PATH_MAX];
    if (fd > 2 && open_below(fd, path)) { AT("writev", path, 1); MIDDLE(n, real(fd, parts, n / 2)); }
    return real(fd, parts, n);
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
    REAL(pwrite, ssize_t, int, const void *, size_t, off_t);
    char path[2 * PATH_MAX];
    if (open_below(fd, path)) { AT("pwrite", path, 1); MIDDLE(n, real(fd, data, n / 2, at)); }
    return real(fd, data, n, at);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at)
{
    REAL(pwrite64, ssize_t, int, const void *, size_t, off64_t);
    char path[2 * PATH_MAX];
    if (open_below(fd, path)) { AT("pwrite", path, 1); MIDDLE(n, real(fd, data, n / 2, at)); }
    return real(fd, data, n, at);
}
ssize_t sendfile(int to, int from, off_t *at, size_t n)
{
    REAL(sendfile, ssize_t, int, int, off_t *, size_t);
    char path[2 * PATH_MAX];
    if (open_below(to, path)) AT("sendfile", path, 1);
    return real(to, from, at, n);
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t n)
{
    REAL(sendfile64, ssize_t, int, int, off64_t *, size_t);
    char path[2 * PATH_MAX];
    if (open_below(to, path)) AT("sendfile", path, 1);
    return real(to, from, at, n);
}
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t n, unsigned flags)
{
    REAL(copy_file_range, ssize_t, int, off64_t *, int, off64_t *, size_t, unsigned);
    char path[2 * PATH_MAX];
    if (open_below(to, path)) AT("copy_file_range", path, 1);
    return real(from, a, to, b, n, flags);
}

/* ---- on an open file ---- */
#define ON_FILE(name, takes, declared, given) int name declared { \
    REAL(name, int, int, ...); char path[2 * PATH_MAX]; \
    if (open_below(fd, path)) AT(#name, path, takes); return real given; }
#undef REAL
#define REAL(name, type, ...) static void *kept_##name; type (*real)() = (type (*)())next(&kept_##name, #name)
ON_FILE(fsync, 0, (int fd), (fd))
ON_FILE(fdatasync, 0, (int fd), (fd))
ON_FILE(ftruncate, 0, (int fd, off_t n), (fd, n))
ON_FILE(ftruncate64, 0, (int fd, off64_t n), (fd, n))

/* ---- on names ---- */
#define ON_NAME(name, takes, declared, folder, which, given) int name declared { \
    REAL(name, int); char path[2 * PATH_MAX]; \
    if (below(folder, which, path)) AT(#name, path, takes); return real given; }
ON_NAME(unlink, 0, (const char *a), AT_FDCWD, a, (a))
ON_NAME(unlinkat, 0, (int d, const char *a, int flags), d, a, (d, a, flags))
ON_NAME(rmdir, 0, (const char *a), AT_FDCWD, a, (a))
ON_NAME(mkdir, 1, (const char *a, mode_t mode), AT_FDCWD, a, (a, mode))
ON_NAME(mkdirat, 1, (int d, const char *a, mode_t mode), d, a, (d, a, mode))
ON_NAME(rename, 0, (const char *a, const char *b), AT_FDCWD, b, (a, b))
ON_NAME(renameat, 0, (int c, const char *a, int d, const char *b), d, b, (c, a, d, b))
ON_NAME(renameat2, 0, (int c, const char *a, int d, const char *b, unsigned flags), d, b, (c, a, d, b, flags))
ON_NAME(link, 1, (const char *a, const char *b), AT_FDCWD, b, (a, b))
ON_NAME(linkat, 1, (int c, const char *a, int d, const char *b, int flags), d, b, (c, a, d, b, flags))
ON_NAME(symlink, 1, (const char *a, const char *b), AT_FDCWD, b, (a, b))
ON_NAME(symlinkat, 1, (const char *a, int d, const char *b), d, b, (a, d, b))

/* ---- opening to write ---- */
#define WRITES(flags) ((flags) & (O_CREAT | O_TRUNC) || ((flags) & O_ACCMODE) != O_RDONLY)
#define POINT(flags) (WRITES(flags) && (((flags) & (O_CREAT | O_TRUNC)) || (control && control->error == EROFS)))
#define OPENS(name, declared, folder, given) int name declared { \
    REAL(name, int); char path[2 * PATH_MAX]; mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
    if (POINT(flags) && below(folder, a, path)) AT(#name, path, 1); \
    return real given; }
OPENS(open, (const char *a, int flags, ...), AT_FDCWD, (a, flags, mode))
OPENS(open64, (const char *a, int flags, ...), AT_FDCWD, (a, flags, mode))
OPENS(openat, (int d, const char *a, int flags, ...), d, (d, a, flags, mode))
OPENS(openat64, (int d, const char *a, int flags, ...), d, (d, a, flags, mode))

FILE *fopen(const char *a, const char *mode)
{
    static void *kept; FILE *(*real)() = (FILE *(*)())next(&kept, "fopen"); char path[2 * PATH_MAX];
    int e = strpbrk(mode, "wa") && below(AT_FDCWD, a, path) ? point("fopen", path, 1) : 0;
    if (e) { errno = e; return NULL; }
    return real(a, mode);
}
FILE *fopen64(const char *a, const char *mode)
{
    static void *kept; FILE *(*real)() = (FILE *(*)())next(&kept, "fopen64"); char path[2 * PATH_MAX];
    int e = strpbrk(mode, "wa") && below(AT_FDCWD, a, path) ? point("fopen", path, 1) : 0;
    if (e) { errno = e; return NULL; }
    return real(a, mode);
}

/* ---- the clock ---- */
int clock_gettime(clockid_t which, struct timespec *now)
{
    REAL(clock_gettime, int);
    int told = real(which, now);
    if (!told && control && which == CLOCK_REALTIME) now->tv_sec += control->clock;
    return told;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    REAL(gettimeofday, int);
    int told = real(now, zone);
    if (!told && control && now) now->tv_sec += control->clock;
    return told;
}
time_t time(time_t *to)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}
