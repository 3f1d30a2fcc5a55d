/* Loaded before the C library: its functions as they are on a machine whose clock is set, or whose disk fails.
 *
 * FAULTS_CLOCK names a file with a 64-bit number: the seconds by which the clock of the day is ahead, from one moment to the
 * next. FAULTS_CALLS names the calls that fail on files whose path has FAULTS_PATH in it, and FAULTS_ERRNO how.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *ahead;
static const char *calls, *path;
static int error;

__attribute__((constructor)) static void begin(void) {
    const char *clock = getenv("FAULTS_CLOCK"), *number = getenv("FAULTS_ERRNO");
    calls = getenv("FAULTS_CALLS");
    path = getenv("FAULTS_PATH");
    error = number ? atoi(number) : EIO;
    if (clock) {
        int file = open(clock, O_RDONLY);
        void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
        if (mapped == MAP_FAILED) {
            abort();
        }
        ahead = mapped;
        close(file);
    }
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        time->tv_sec += *ahead;
    }
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    int result = (int)syscall(SYS_gettimeofday, time, zone);
    if (result == 0 && ahead) {
        time->tv_sec += *ahead;
    }
    return result;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) {
        *result = now.tv_sec;
    }
    return now.tv_sec;
}

static int fails(const char *call, int file) {
    char link[64], target[4096];
    if (!calls || !path || !strstr(calls, call)) {
        return 0;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, target, sizeof target - 1);
    if (length < 0) {
        return 0;
    }
    target[length] = 0;
    if (!strstr(target, path)) {
        return 0;
    }
    errno = error;
    return 1;
}

ssize_t read(int file, void *bytes, size_t length) {
    return fails("<read>", file) ? -1 : syscall(SYS_read, file, bytes, length);
}

ssize_t write(int file, const void *bytes, size_t length) {
    return fails("<write>", file) ? -1 : syscall(SYS_write, file, bytes, length);
}

int fdatasync(int file) {
    return fails("<fdatasync>", file) ? -1 : (int)syscall(SYS_fdatasync, file);
}

int ftruncate64(int file, off64_t length) {
    return fails("<ftruncate>", file) ? -1 : (int)syscall(SYS_ftruncate, file, length);
}
