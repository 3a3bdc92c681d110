/* Make the n-th file-system call below one folder fail, in any program: LD_PRELOAD=faults.so.
 *
 * Armed by faults_arm(), or for a whole program by FAULT="folder|kinds|n|errno|mode". Counts only calls of the given
 * kinds whose path, or whose descriptor's path, lies in the folder. What a call is called follows glibc on Linux, where
 * CPython uses the names that end in 64. The real call is not made, but for close (whose descriptor is gone on Linux
 * whatever it returns), and for any call in the modes SHORT (it writes half), FILL and CROWD.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, CREATE = 2, READ = 4, WRITE = 8, SYNC = 16, NAME = 32, REMOVE = 64, STAT = 128, CLOSE = 256, MODE = 512,
       SPACE = 1024, CLOSE_WRITTEN = 2048 };
enum { ONCE, STICKY, SHORT, FILL, CROWD };

static char folder[PATH_MAX], fired[PATH_MAX + 64];
static size_t folder_length;
static int kinds, error, mode;
static long nth, count;
static __thread int shorten;

void faults_arm(const char *where, int which, long n, int number, int how) {
    folder_length = strlen(where);
    memcpy(folder, where, folder_length + 1);
    error = number, mode = how, nth = n, count = 0, fired[0] = 0;
    __atomic_store_n(&kinds, which, __ATOMIC_SEQ_CST);
}

long faults_disarm(void) {
    __atomic_store_n(&kinds, 0, __ATOMIC_SEQ_CST);
    return count;
}

const char *faults_fired(void) { return fired; }

__attribute__((constructor)) static void arm_from_environment(void) {
    char *text = getenv("FAULT"), where[PATH_MAX];
    int which, number, how;
    long n;
    if (text && sscanf(text, "%4000[^|]|%d|%ld|%d|%d", where, &which, &n, &number, &how) == 5)
        faults_arm(where, which, n, number, how);
}

static int lies_inside(const char *path) {
    return !strncmp(path, folder, folder_length) && (path[folder_length] == 0 || path[folder_length] == '/');
}

static int inside(int descriptor, char *path) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t n = syscall(SYS_readlink, link, path, PATH_MAX - 1);
    path[n < 0 ? 0 : n] = 0;
    return n > 0 && lies_inside(path);
}

static int inside_at(int at, const char *name, char *path) {
    if (name && (name[0] == '/' || at == AT_FDCWD)) {
        snprintf(path, PATH_MAX, "%s", name);
        return lies_inside(path);
    }
    if (!inside(at, path)) return 0;
    size_t n = strlen(path);
    snprintf(path + n, PATH_MAX - n, "/%s", name ? name : "");
    return 1;
}

/* Use up all bytes, or all inodes: so that the kernel itself refuses whatever comes next. */
static void fill_the_disk(void) {
    static char zeros[1 << 16];
    char name[PATH_MAX + 32];
    long file = 0;
    for (int i = 0; file >= 0 && (i == 0 || mode == CROWD); i++) {
        snprintf(name, sizeof name, "%s/../ballast/%d", folder, i);
        file = syscall(SYS_openat, AT_FDCWD, name, O_CREAT | O_WRONLY, 0600);
        for (size_t step = mode == FILL ? sizeof zeros : 0; file >= 0 && step;)
            if (syscall(SYS_write, file, zeros, step) <= 0) step /= 2;
        if (file >= 0) syscall(SYS_close, file);
    }
}

static int fails(const char *call, const char *path) {
    long n = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    if (n < nth || (n > nth && mode != STICKY)) return 0;
    if (n == nth) snprintf(fired, sizeof fired, "%s %s", call, path);
    if (mode == FILL || mode == CROWD) fill_the_disk();
    shorten = mode == SHORT;
    if (mode != ONCE && mode != STICKY) return 0;
    errno = error;
    return 1;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define FAILS(kind, name, where) \
    (__atomic_load_n(&kinds, __ATOMIC_SEQ_CST) & (kind) && (where) && fails(#name, path))
#define CALL(type, name, parameters, arguments, kind, where, failure) \
    type name parameters { \
        char path[PATH_MAX]; \
        REAL(name); \
        if (FAILS(kind, name, where)) return failure; \
        return real arguments; \
    }
#define AT(at, name) inside_at(at, name, path)
#define FD(descriptor) inside(descriptor, path)
#define OPEN_OR_CREATE (flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR) ? CREATE : OPEN)
#define OPENER(name, parameters, arguments, where) \
    int name parameters { \
        char path[PATH_MAX]; \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = va_arg(more, mode_t); \
        va_end(more); \
        REAL(name); \
        if (FAILS(OPEN_OR_CREATE, name, where)) return -1; \
        return real arguments; \
    }

OPENER(open, (const char *name, int flags, ...), (name, flags, mode), AT(AT_FDCWD, name))
OPENER(open64, (const char *name, int flags, ...), (name, flags, mode), AT(AT_FDCWD, name))
OPENER(openat, (int at, const char *name, int flags, ...), (at, name, flags, mode), AT(at, name))
OPENER(openat64, (int at, const char *name, int flags, ...), (at, name, flags, mode), AT(at, name))
CALL(DIR *, opendir, (const char *name), (name), OPEN, AT(AT_FDCWD, name), NULL)
CALL(DIR *, fdopendir, (int fd), (fd), OPEN, FD(fd), NULL)
CALL(struct dirent *, readdir, (DIR *d), (d), READ, FD(dirfd(d)), NULL)
CALL(struct dirent64 *, readdir64, (DIR *d), (d), READ, FD(dirfd(d)), NULL)
CALL(ssize_t, read, (int fd, void *to, size_t n), (fd, to, n), READ, FD(fd), -1)
CALL(ssize_t, readv, (int fd, const struct iovec *v, int n), (fd, v, n), READ, FD(fd), -1)
CALL(ssize_t, pread64, (int fd, void *to, size_t n, off64_t at), (fd, to, n, at), READ, FD(fd), -1)
CALL(ssize_t, preadv64v2, (int fd, const struct iovec *v, int n, off64_t at, int f), (fd, v, n, at, f), READ, FD(fd), -1)
CALL(void *, mmap64, (void *a, size_t n, int p, int f, int fd, off64_t at), (a, n, p, f, fd, at), READ, FD(fd), MAP_FAILED)
CALL(int, fsync, (int fd), (fd), SYNC, FD(fd), -1)
CALL(int, fdatasync, (int fd), (fd), SYNC, FD(fd), -1)
CALL(int, syncfs, (int fd), (fd), SYNC, FD(fd), -1)
CALL(int, ftruncate64, (int fd, off64_t n), (fd, n), WRITE, FD(fd), -1)
CALL(int, fchmod, (int fd, mode_t m), (fd, m), MODE, FD(fd), -1)
CALL(int, chmod, (const char *name, mode_t m), (name, m), MODE, AT(AT_FDCWD, name), -1)
CALL(int, fchmodat, (int at, const char *name, mode_t m, int f), (at, name, m, f), MODE, AT(at, name), -1)
CALL(int, chown, (const char *name, uid_t u, gid_t g), (name, u, g), MODE, AT(AT_FDCWD, name), -1)
CALL(int, fchown, (int fd, uid_t u, gid_t g), (fd, u, g), MODE, FD(fd), -1)
CALL(int, utimensat, (int at, const char *name, const struct timespec t[2], int f), (at, name, t, f), MODE, AT(at, name), -1)
CALL(int, link, (const char *from, const char *to), (from, to), NAME, AT(AT_FDCWD, to), -1)
CALL(int, linkat, (int a, const char *from, int b, const char *to, int f), (a, from, b, to, f), NAME, AT(b, to), -1)
CALL(int, symlink, (const char *from, const char *to), (from, to), NAME, AT(AT_FDCWD, to), -1)
CALL(int, rename, (const char *from, const char *to), (from, to), NAME, AT(AT_FDCWD, to), -1)
CALL(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), NAME, AT(b, to), -1)
CALL(int, mkdir, (const char *name, mode_t m), (name, m), NAME, AT(AT_FDCWD, name), -1)
CALL(int, mkdirat, (int at, const char *name, mode_t m), (at, name, m), NAME, AT(at, name), -1)
CALL(int, unlink, (const char *name), (name), REMOVE, AT(AT_FDCWD, name), -1)
CALL(int, unlinkat, (int at, const char *name, int f), (at, name, f), REMOVE, AT(at, name), -1)
CALL(int, rmdir, (const char *name), (name), REMOVE, AT(AT_FDCWD, name), -1)
CALL(int, stat64, (const char *name, struct stat64 *s), (name, s), STAT, AT(AT_FDCWD, name), -1)
CALL(int, lstat64, (const char *name, struct stat64 *s), (name, s), STAT, AT(AT_FDCWD, name), -1)
CALL(int, fstat64, (int fd, struct stat64 *s), (fd, s), STAT, FD(fd), -1)
CALL(int, fstatat64, (int at, const char *name, struct stat64 *s, int f), (at, name, s, f), STAT, AT(at, name), -1)
CALL(int, access, (const char *name, int m), (name, m), STAT, AT(AT_FDCWD, name), -1)
CALL(int, statvfs64, (const char *name, struct statvfs64 *s), (name, s), SPACE, AT(AT_FDCWD, name), -1)
CALL(int, fstatvfs64, (int fd, struct statvfs64 *s), (fd, s), SPACE, FD(fd), -1)

/* A second descriptor of a file: os.scandir and mmap make one. */
int fcntl64(int fd, int command, ...) {
    char path[PATH_MAX];
    va_list more;
    va_start(more, command);
    void *argument = va_arg(more, void *);
    va_end(more);
    REAL(fcntl64);
    if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && FAILS(OPEN, fcntl, FD(fd))) return -1;
    return real(fd, command, argument);
}

int close(int fd) {
    char path[PATH_MAX];
    REAL(close);
    int written = kinds && (syscall(SYS_fcntl, fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
    int failed = FAILS(written ? CLOSE_WRITTEN : CLOSE, close, FD(fd));
    int closed = real(fd);
    if (failed) errno = error;
    return failed ? -1 : closed;
}

ssize_t write(int fd, const void *from, size_t n) {
    char path[PATH_MAX];
    REAL(write);
    shorten = 0;
    if (FAILS(WRITE, write, FD(fd))) return -1;
    return real(fd, from, shorten && n > 1 ? n / 2 : n);
}

ssize_t pwrite64(int fd, const void *from, size_t n, off64_t at) {
    char path[PATH_MAX];
    REAL(pwrite64);
    if (FAILS(WRITE, pwrite64, FD(fd))) return -1;
    return real(fd, from, n, at);
}
