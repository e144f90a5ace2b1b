/* A disk that refuses writes while a file exists: a library for LD_PRELOAD, loaded before the C library.

   The disk contains the files whose paths start with $REFUSING_DISK_FILES. While the file $REFUSING_DISK_FLAGS.full
   exists, creating, writing and extending these files fails with ENOSPC. Syncing them fails as well, because a file
   system that allocates late reports a full disk there. While $REFUSING_DISK_FLAGS.read-only exists, all of these
   calls, and opening the files for writing, fail with EROFS. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Returns the error with which a write to the disk must fail now; 0 if the disk accepts writes. */
static int refuses(void) {
    const char *flags = getenv("REFUSING_DISK_FLAGS");
    char path[4096];
    struct stat found;
    int before = errno, error = 0;
    if (flags == NULL) return 0;
    snprintf(path, sizeof path, "%s.full", flags);
    if (stat(path, &found) == 0) error = ENOSPC;
    snprintf(path, sizeof path, "%s.read-only", flags);
    if (stat(path, &found) == 0) error = EROFS;
    errno = before;
    return error;
}

static int is_on_disk(const char *path) {
    const char *files = getenv("REFUSING_DISK_FILES");
    return files != NULL && strncmp(path, files, strlen(files)) == 0;
}

static int refuses_file(int file) {
    int error = refuses(), before = errno;
    char name[64], path[4096];
    ssize_t length;
    if (error == 0) return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    length = readlink(name, path, sizeof path - 1);
    errno = before;
    if (length < 0) return 0;
    path[length] = 0;
    return is_on_disk(path) ? error : 0;
}

/* A full disk has no space for a new file. On a read-only disk, no file can be opened for writing. */
static int refuses_open(const char *path, int flags) {
    int error = is_on_disk(path) ? refuses() : 0;
    struct stat found;
    int before = errno, is_there;
    if (error == 0) return 0;
    is_there = stat(path, &found) == 0;
    errno = before;
    if (error == EROFS) return (flags & O_ACCMODE) != O_RDONLY || ((flags & O_CREAT) && !is_there) ? error : 0;
    return (flags & O_CREAT) && !is_there ? error : 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define REFUSING(result, name, parameters, arguments)                                                                  \
    result name parameters {                                                                                           \
        static __typeof__(&name) real;                                                                                 \
        int error = refuses_file(file);                                                                                \
        if (error != 0) {                                                                                              \
            errno = error;                                                                                             \
            return -1;                                                                                                 \
        }                                                                                                              \
        if (real == NULL) real = REAL(name);                                                                           \
        return real arguments;                                                                                         \
    }

REFUSING(ssize_t, write, (int file, const void *from, size_t n), (file, from, n))
REFUSING(ssize_t, pwrite, (int file, const void *from, size_t n, off_t at), (file, from, n, at))
REFUSING(ssize_t, pwrite64, (int file, const void *from, size_t n, off64_t at), (file, from, n, at))
REFUSING(ssize_t, writev, (int file, const struct iovec *from, int n), (file, from, n))
REFUSING(int, ftruncate, (int file, off_t length), (file, length))
REFUSING(int, ftruncate64, (int file, off64_t length), (file, length))
REFUSING(int, fallocate, (int file, int mode, off_t at, off_t n), (file, mode, at, n))
REFUSING(int, fallocate64, (int file, int mode, off64_t at, off64_t n), (file, mode, at, n))
REFUSING(int, fsync, (int file), (file))
REFUSING(int, fdatasync, (int file), (file))

/* These functions return the error instead of setting errno. */
int posix_fallocate(int file, off_t at, off_t n) {
    int error = refuses_file(file);
    return error != 0 ? error : REAL(posix_fallocate)(file, at, n);
}
int posix_fallocate64(int file, off64_t at, off64_t n) {
    int error = refuses_file(file);
    return error != 0 ? error : REAL(posix_fallocate64)(file, at, n);
}

#define OPENING(name, parameters, arguments)                                                                           \
    int name parameters {                                                                                              \
        static __typeof__(&name) real;                                                                                 \
        int error = refuses_open(path, flags);                                                                         \
        mode_t mode = 0;                                                                                               \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                                                         \
            va_list rest;                                                                                              \
            va_start(rest, flags);                                                                                     \
            mode = va_arg(rest, mode_t);                                                                               \
            va_end(rest);                                                                                              \
        }                                                                                                              \
        if (error != 0) {                                                                                              \
            errno = error;                                                                                             \
            return -1;                                                                                                 \
        }                                                                                                              \
        if (real == NULL) real = REAL(name);                                                                           \
        return real arguments;                                                                                         \
    }

OPENING(open, (const char *path, int flags, ...), (path, flags, mode))
OPENING(open64, (const char *path, int flags, ...), (path, flags, mode))
OPENING(openat, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))
OPENING(openat64, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))
