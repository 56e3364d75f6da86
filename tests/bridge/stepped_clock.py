"""A wall clock that a test can step, for the processes that it starts and for nobody else.

A library of a few lines of C is loaded before theirs and adds seconds to every time of day; monotonic clocks pass
untouched, as they do when somebody sets a machine's clock.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *ahead_s;

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("STEPPED_CLOCK"), O_RDONLY);
    void *page = file < 0 ? MAP_FAILED : mmap(0, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    ahead_s = page == MAP_FAILED ? 0 : page;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, id, now);
    if (!failed && ahead_s && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += *ahead_s;
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
"""

COMPILER = shutil.which("cc") or shutil.which("gcc")


class SteppedClock:
    """The time of day of the processes that get `environment`."""

    def __init__(self, folder: Path) -> None:
        """Compile the library into a folder."""
        assert COMPILER is not None
        source, library, self._ahead = folder / "clock.c", folder / "clock.so", folder / "ahead_s"
        source.write_text(_SOURCE)
        subprocess.run([COMPILER, "-shared", "-fPIC", "-o", str(library), str(source)], check=True, timeout=60)
        self._ahead.write_bytes(struct.pack("=q", 0))
        self.environment = {"LD_PRELOAD": str(library), "STEPPED_CLOCK": str(self._ahead)}

    def step_to(self, ahead_s: int) -> None:
        """Set the clock to be so far ahead of the real one; at once, while everything runs."""
        with self._ahead.open("r+b") as file:
            file.write(struct.pack("=q", ahead_s))
