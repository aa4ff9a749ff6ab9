"""Reads single gauges from a page in Prometheus' text format."""

import math
from collections.abc import Iterable


def gauges(page: bytes, names: Iterable[str]) -> dict[str, float]:
    """Returns the sum over all series of each named gauge that the page has.

    The sum is right for counts, where a server has one series per engine. What
    is no finite number is left out.
    """
    wanted = {name.encode(): name for name in names}
    found: dict[str, float] = {}
    for line in page.splitlines():
        for prefix, name in wanted.items():
            if not line.startswith(prefix):
                continue
            rest = line[len(prefix) :]
            if rest[:1] not in (b" ", b"{"):
                continue
            # A label's value may hold spaces and braces; the sample comes after the last one.
            fields = rest[rest.rfind(b"}") + 1 :].split()
            try:
                number = float(fields[0])
            except (IndexError, ValueError):
                continue
            if math.isfinite(number):
                found[name] = found.get(name, 0.0) + number
    return found


def series(page: bytes, name: str) -> int:
    """Returns how many series of the metric the page has."""
    prefixes = (f"{name} ".encode(), f"{name}{{".encode())
    return sum(line.startswith(prefixes) for line in page.splitlines())


def count(number: float | None) -> int | None:
    """Returns a gauge as a count; None for a negative or absurd one."""
    return int(number) if number is not None and 0 <= number < 1e9 else None


def share(number: float | None) -> float | None:
    """Returns a gauge as a ratio 0..1; None for anything else."""
    return number if number is not None and 0 <= number <= 1 else None
