"""How many cores of the machine are idle just now."""

import os


class _Load:
    """The system's count of threads that can run, where it tells one: Linux does."""

    def __init__(self):
        try:
            self._file = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = None

    def running(self) -> int:
        """Return how many threads of the machine run or wait for a core; 0 if nobody knows."""
        if self._file is None:
            return 0
        # "0.20 0.18 0.12 1/80 11206": of 80 threads, 1 can run, the one that reads this.
        return int(os.pread(self._file, 64, 0).split()[3].partition(b"/")[0])


_LOAD = _Load()


def idle_cores() -> int | None:
    """Return how many cores are idle, in two microseconds; None where the system does not tell.

    In a container these are threads and cores of the whole machine, whatever the container may use
    of it.
    """
    running = _LOAD.running()
    return max(0, (os.cpu_count() or 1) - running) if running else None
