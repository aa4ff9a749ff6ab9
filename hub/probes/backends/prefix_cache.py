"""How well a server's prefix cache works, from counters that only ever grow."""


class HitRatio:
    """The share of prompt tokens found in the prefix cache, from probe to probe."""

    __slots__ = ("_hits", "_queries", "_ratio")

    def __init__(self) -> None:
        self._queries = 0.0
        self._hits = 0.0
        self._ratio: float | None = None

    def count(self, queries: float | None, hits: float | None) -> float | None:
        """Takes in both counters, in tokens since the server's start; returns the ratio.

        It is that of the tokens since the last count, and stays while none come. None
        before the first token, and where the server has no such counters.
        """
        if queries is None or hits is None or not 0 <= hits <= queries:
            return None
        if queries < self._queries or hits < self._hits:
            # The server was started again.
            self._queries = self._hits = 0.0
        new = queries - self._queries
        if new > 0:
            self._ratio = min(1.0, (hits - self._hits) / new)
        self._queries, self._hits = queries, hits
        return self._ratio
