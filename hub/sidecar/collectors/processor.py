"""Processors and main memory, by psutil."""

import psutil

# Over a shorter time psutil's share of busy time means nothing (its own docs).
_LEAST_S = 0.1


class Processor:
    """Reads the share of busy time since the last reading, over all processors."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def cpu_percent(self) -> float | None:
        """0 to 100; None on the first reading, and where too little time has passed."""
        try:
            times = psutil.cpu_times()
        except (OSError, psutil.Error):
            return None
        # Linux counts guests within user and nice too.
        guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        whole = sum(times) - guests
        idle = times.idle + getattr(times, "iowait", 0.0)
        last, self._last = self._last, (whole, idle)
        if last is None or whole - last[0] < _LEAST_S:
            return None
        busy = 1.0 - (idle - last[1]) / (whole - last[0])
        return round(100.0 * min(max(busy, 0.0), 1.0), 1)


def memory() -> tuple[int | None, int | None]:
    """Main memory in use and in all, in bytes.

    In use is what no program could have without swapping: all but what is
    available, so that the cache of files does not count.
    """
    try:
        ram = psutil.virtual_memory()
    except (OSError, psutil.Error):
        return None, None
    return ram.total - ram.available, ram.total
