/* A file system that lacks one thing, which BREAK names. Preloaded: all else goes to the real one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int breaks(const char *what) {
    const char *set = getenv("BREAK");
    return set && !strcmp(set, what);
}

static int refuse(int error) {
    errno = error;
    return -1;
}

static int copy(const char *from, const char *to) {
    char buffer[4096];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (in < 0 || out < 0) return -1;
    ssize_t n = read(in, buffer, sizeof buffer);
    int short_of = write(out, buffer, n) != n;
    close(in);
    close(out);
    return short_of ? refuse(EIO) : 0;
}

int link(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    if (!real) real = dlsym(RTLD_NEXT, "link");
    if (breaks("link")) return refuse(EPERM);
    if (breaks("link copies")) return copy(from, to);
    if (breaks("link replaces")) unlink(to);
    return real(from, to);
}

int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    if (!real) real = dlsym(RTLD_NEXT, "rename");
    struct stat facts;
    if (!stat(from, &facts) && S_ISDIR(facts.st_mode)) {
        if (breaks("rename")) return refuse(EXDEV);
        if (breaks("rename replaces") && !access(to, F_OK)) {
            char aside[4096];
            snprintf(aside, sizeof aside, "%s.aside", to);
            real(to, aside);
        }
    }
    return real(from, to);
}

int fsync(int descriptor) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    struct stat facts;
    if (breaks("fsync") && !fstat(descriptor, &facts) && S_ISDIR(facts.st_mode)) return refuse(EINVAL);
    return real(descriptor);
}

int fchmod(int descriptor, mode_t mode) {
    static int (*real)(int, mode_t);
    if (!real) real = dlsym(RTLD_NEXT, "fchmod");
    return breaks("file mode") ? 0 : real(descriptor, mode);
}

int mkdir(const char *path, mode_t mode) {
    static int (*real)(const char *, mode_t);
    if (!real) real = dlsym(RTLD_NEXT, "mkdir");
    return real(path, breaks("folder mode") ? 0777 : mode);
}

int chmod(const char *path, mode_t mode) {
    static int (*real)(const char *, mode_t);
    if (!real) real = dlsym(RTLD_NEXT, "chmod");
    return breaks("folder mode") ? 0 : real(path, mode);
}

static int opened(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    struct stat facts;
    if (breaks("exclusive") && (flags & O_EXCL) && !stat(path, &facts)) flags &= ~O_EXCL;
    return real(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    if (!real) real = dlsym(RTLD_NEXT, "open");
    __builtin_va_list more;
    __builtin_va_start(more, flags);
    mode_t mode = flags & O_CREAT ? __builtin_va_arg(more, mode_t) : 0;
    __builtin_va_end(more);
    return opened(real, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    if (!real) real = dlsym(RTLD_NEXT, "open64");
    __builtin_va_list more;
    __builtin_va_start(more, flags);
    mode_t mode = flags & O_CREAT ? __builtin_va_arg(more, mode_t) : 0;
    __builtin_va_end(more);
    return opened(real, path, flags, mode);
}
