"""Processors and main memory, read with psutil."""

import psutil

# Over a shorter time psutil's busy share is meaningless (says its documentation).
_LEAST_S = 0.1


class Processor:
    """Reads the busy share of all processors since the last reading."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def cpu_percent(self) -> float | None:
        """0 to 100; None at the first reading, and if too little time has passed."""
        try:
            times = psutil.cpu_times()
        except (OSError, psutil.Error):
            return None
        # Linux also counts guest time in user and nice.
        guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        whole = sum(times) - guests
        idle = times.idle + getattr(times, "iowait", 0.0)
        last, self._last = self._last, (whole, idle)
        if last is None or whole - last[0] < _LEAST_S:
            return None
        busy = 1.0 - (idle - last[1]) / (whole - last[0])
        return round(100.0 * min(max(busy, 0.0), 1.0), 1)


def memory() -> tuple[int | None, int | None]:
    """Main memory in use and in total, in bytes.

    Memory in use is everything that is not available without swapping, so the file
    cache does not count.
    """
    try:
        ram = psutil.virtual_memory()
    except (OSError, psutil.Error):
        return None, None
    return ram.total - ram.available, ram.total
