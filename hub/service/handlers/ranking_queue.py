"""Rankings with many endpoints to judge catch up in turns, while their callers wait."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from hub.base.tasks import Slices
from hub.contract.errors import LimitReached, RateLimited
from hub.contract.rpcs import Tier
from hub.registry.selection.kept_rankings import Kept
from hub.service.access.rate_limits import RateLimiter

FEW: Final = 100
"""This many endpoints are judged at once, which takes no longer than a slice."""

FAR_BEHIND: Final = 1000
"""A ranking with more endpoints to judge than this waits in a queue of its own kind."""

LARGE_RANKING: Final = 1000
"""A ranking of more candidates than this is expensive to make."""

LARGE_RANKINGS: Final = 30
"""How many large rankings one token may request per minute.

Each costs 50 µs of CPU per candidate and evicts others, because there is room for 20
rankings of 10,000 candidates. While the hub makes one, other large ones wait.
"""

MAX_WAITING: Final = 1000
"""How many callers with the same token may wait at a time."""

MAX_WAIT_S: Final = 5.0
"""How long a caller waits; less than the default timeout of the hub's clients."""

_RETRY_MS: Final = 1_000


class Admission:
    """Limits the large rankings that a token may request.

    Callers choose the weights freely, so every request may need a new ranking.
    """

    def __init__(self) -> None:
        self._large = RateLimiter({Tier.HEAVY: LARGE_RANKINGS})

    def charge(self, candidates: int, token: str, now_ms: int) -> None:
        """Charges for a new ranking of that many candidates. Raises RateLimited."""
        if candidates > LARGE_RANKING:
            verdict = self._large.take(token, Tier.HEAVY, now_ms)
            if not verdict.allowed:
                raise RateLimited(Tier.HEAVY.wire_name, verdict.retry_after_ms)


class CatchingUp:
    """Which callers wait for which ranking.

    At a time, each token catches up one ranking that is far behind and one that is not.
    """

    def __init__(self, *, max_wait_s: float = MAX_WAIT_S) -> None:
        self._max_wait_s = max_wait_s
        self._near = Slices()
        self._far = Slices()
        self._at_work: dict[tuple[str, Kept], asyncio.Event] = {}
        self._waiting: Counter[str] = Counter()

    async def wait(self, token: str, current: Callable[[], Kept]) -> Kept:
        """Returns a ranking with at most `FEW` endpoints to judge, as of this turn of the loop.

        `current` finds the ranking, or makes it again if it was evicted, with all changes
        applied. After LimitReached the caller may try again: the hub keeps the endpoints
        that it has judged.
        """
        if self._waiting[token] >= MAX_WAITING:
            raise LimitReached(
                f"{MAX_WAITING} selections of this token are already waiting",
                retry_after_ms=_RETRY_MS,
            )
        self._waiting[token] += 1
        try:
            async with asyncio.timeout(self._max_wait_s):
                while (kept := current()).behind() > FEW:
                    await self._work_on(kept, token, current)
                return kept
        except TimeoutError:
            raise LimitReached(
                f"not all endpoints are judged after {self._max_wait_s:g} s; try again",
                retry_after_ms=_RETRY_MS,
            ) from None
        finally:
            self._waiting[token] -= 1
            if not self._waiting[token]:
                del self._waiting[token]

    async def _work_on(self, kept: Kept, token: str, current: Callable[[], Kept]) -> None:
        """Catches up, or waits until another call of the same token has."""
        ended = self._at_work.get((token, kept))
        if ended is not None:
            await ended.wait()
            return
        is_far = kept.behind() > FAR_BEHIND

        def work() -> Iterator[None]:
            again = current()
            # A ranking that has fallen far behind meanwhile must not delay the others.
            moves = not is_far and again.behind() > FAR_BEHIND
            return iter(()) if moves else again.catch_up()

        ended = self._at_work[token, kept] = asyncio.Event()
        try:
            await (self._far if is_far else self._near).run(work, token)
        finally:
            del self._at_work[token, kept]
            ended.set()
