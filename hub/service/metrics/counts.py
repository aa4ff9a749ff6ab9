"""Counts that cost almost nothing to keep: plain integers, for one thread.

Each increment of a prometheus-client counter takes a lock and about 0.5 µs. The hub
handles a frame in 10 µs, so it keeps plain counts and turns them into metrics on request.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Final, Generic, TypeVarTuple

from hub.contract.rpcs import FRAMES, FrameKind
from hub.service.metrics.refusals import Refusals

LATENCY_BOUNDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01),
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)
"""Seconds: from a read that memory answers to a disk that hangs."""

SIZE_BOUNDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)

TRANSPORTS: Final = ("ws", "grpc")
"""The transports of sidecars' frames."""

_Labels = TypeVarTuple("_Labels")


class Histogram:
    """Observations, sorted into buckets by their upper bounds."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are inclusive, ascending, and without the infinite last one."""
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Adds one observation."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Each upper bound, as text, with the number of observations up to it."""
        total = 0
        cumulative: list[tuple[str, float]] = []
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            cumulative.append(("+Inf" if bound == float("inf") else repr(bound), total))
        return cumulative


class Histograms(Generic[*_Labels]):
    """One histogram for each tuple of label values.

    Label values must come from a bounded set, because they are kept forever.
    """

    __slots__ = ("_bounds", "_by_labels")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._by_labels: dict[tuple[*_Labels], Histogram] = {}

    def observe(self, labels: tuple[*_Labels], value: float) -> None:
        """Adds one observation."""
        histogram = self._by_labels.get(labels)
        if histogram is None:
            histogram = self._by_labels[labels] = Histogram(self._bounds)
        histogram.observe(value)

    def items(self) -> list[tuple[tuple[*_Labels], Histogram]]:
        """Every tuple of label values that was observed, with its histogram."""
        return list(self._by_labels.items())


class Traffic:
    """What the transports have carried since the start. All times are seconds.

    - `rpcs`: unary calls by RPC and code
    - `open_streams`, `streams`: running streams by RPC, ended ones by RPC and code
    - `requests`: HTTP requests by method, route template and status
    - `event_streams`: ended server-sent event streams by route template
    - `frames`: sidecars' frames by transport and kind
    - `frame_waits`: those that waited for the disk, by transport and type
    - `errors`: errors that callers got, by transport and reason
    - `violations`: frames that count against the sidecar, by transport
    - `closes`: sidecar connections that the hub ended, by transport and reason
    - `websockets`: open WebSocket connections, identified or not
    - `websocket_refusals`: WebSocket connections refused because there are too many, by
      the bound that was reached
    - `http_turned_away`: HTTP connections refused because there are too many
    - `refusals`: what the bounds refused, by transport and bound
    """

    def __init__(self) -> None:
        self.rpcs: Histograms[str, str] = Histograms(LATENCY_BOUNDS)
        self.open_streams: Counter[str] = Counter()
        self.streams: Counter[tuple[str, str]] = Counter()
        self.requests: Histograms[str, str, str] = Histograms(LATENCY_BOUNDS)
        self.event_streams: Counter[str] = Counter()
        self.frames: dict[str, dict[FrameKind, int]] = {
            transport: dict.fromkeys(FRAMES.values(), 0) for transport in TRANSPORTS
        }
        self.frame_waits: Histograms[str, str] = Histograms(LATENCY_BOUNDS)
        self.errors: Counter[tuple[str, str]] = Counter()
        self.violations: Counter[str] = Counter(dict.fromkeys(TRANSPORTS, 0))
        self.closes: Counter[tuple[str, str]] = Counter()
        self.websockets = 0
        self.websocket_refusals: Counter[str] = Counter()
        self.http_turned_away = 0
        self.refusals = Refusals()


class StoreCounts:
    """The store's transactions: seconds to disk, and changes in each."""

    def __init__(self) -> None:
        self.seconds = Histogram(LATENCY_BOUNDS)
        self.batches = Histogram(SIZE_BOUNDS)

    def add(self, batches: int, seconds: float) -> None:
        """One transaction; a `hub.stores.store.TransactionObserver`."""
        self.seconds.observe(seconds)
        self.batches.observe(batches)
