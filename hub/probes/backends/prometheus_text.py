"""Reads single gauges from a page in Prometheus' text format, and interprets its counters."""

import math
from collections.abc import Iterable


def gauges(page: bytes, names: Iterable[str]) -> dict[str, float]:
    """Returns the sum over all series of each named gauge that the page has.

    The sum is right for counts, because a server may have one series per engine. Values
    that are not finite numbers are omitted.
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
            # A label's value may contain spaces and braces; the sample follows the last brace.
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
    """Returns a gauge as a count; None for a negative or implausible one."""
    return int(number) if number is not None and 0 <= number < 1e9 else None


def share(number: float | None) -> float | None:
    """Returns a gauge as a ratio 0..1; None for anything else."""
    return number if number is not None and 0 <= number <= 1 else None


class HitRatio:
    """The share of prompt tokens found in the prefix cache, from probe to probe."""

    __slots__ = ("_hits", "_queries", "_ratio")

    def __init__(self) -> None:
        self._queries = 0.0
        self._hits = 0.0
        self._ratio: float | None = None

    def count(self, queries: float | None, hits: float | None) -> float | None:
        """Adds both counters, in tokens since the server's start. Returns the ratio.

        It covers the tokens since the last call, and stays as it is while there are none.
        None before the first token, and if the server has no such counters.
        """
        if queries is None or hits is None or not 0 <= hits <= queries:
            return None
        if queries < self._queries or hits < self._hits:
            # The server was restarted.
            self._queries = self._hits = 0.0
        new = queries - self._queries
        if new > 0:
            self._ratio = min(1.0, (hits - self._hits) / new)
        self._queries, self._hits = queries, hits
        return self._ratio
