/* LD_PRELOAD: fsync and fdatasync wait, or fail with EIO, as the file $FAULTS says. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int sync_with_faults(const char *name, int fd) {
    int milliseconds = 0;
    FILE *faults = fopen(getenv("FAULTS"), "r");
    if (faults != NULL) {
        if (fscanf(faults, "%d", &milliseconds) != 1) milliseconds = 0;
        fclose(faults);
    }
    if (milliseconds < 0) {
        errno = EIO;
        return -1;
    }
    usleep(milliseconds * 1000);
    return ((int (*)(int))dlsym(RTLD_NEXT, name))(fd);
}

int fsync(int fd) { return sync_with_faults("fsync", fd); }

int fdatasync(int fd) { return sync_with_faults("fdatasync", fd); }
