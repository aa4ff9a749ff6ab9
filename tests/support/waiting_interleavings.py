"""Selections that wait, leases and outcomes, in any order; a scenario of `interleavings`."""

import asyncio
import contextlib
from collections import Counter
from pathlib import Path
from random import Random

from hub.contract.errors import HubError
from hub.registry.outcomes.shown import why_open
from hub.registry.state import Registry
from hub.service.handlers.select_endpoint import SelectionHandlers
from llmhub.v1 import registry_service_pb2 as pb
from tests.support.fleet_of import NOW, add, loaded
from tests.support.selecting import caller
from tests.support.shuffled_loop import ShuffledLoop

_RESULTS = (
    *(pb.OUTCOME_RESULT_OK, pb.OUTCOME_RESULT_SERVER_ERROR, pb.OUTCOME_RESULT_SERVER_ERROR),
    *(pb.OUTCOME_RESULT_CANCELLED, None),
)


class _LoopClock:
    def __init__(self, loop: ShuffledLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return NOW + round(self._loop.time() * 1000)


async def waiting(loop: ShuffledLoop, random: Random, _directory: Path) -> None:
    """No place is given twice or lost, none is free while a selection waits, all come to an end."""
    registry, clock = Registry(first_revision=1_000), _LoopClock(loop)
    handlers = SelectionHandlers(registry, clock)
    line = handlers._waiting
    ids = [f"h-{n}:1" for n in range(4)]
    for id_ in ids:
        add(registry, id_, loaded(), checked_ms=clock.now_ms())
    ended: Counter[str] = Counter()

    def check() -> None:
        # A lease that has expired counts until the hub looks at the time.
        for id_ in ids:
            assert handlers.leases.in_flight(id_) <= 1, f"{id_} has two leases"
        assert handlers.counts.waiting == len(line), "the count of those that wait is wrong"
        if line.is_stale or not len(line):
            return
        for id_ in ids:
            record = registry.get(id_)
            if record is None or handlers.leases.in_flight(id_):
                continue
            assert why_open(record.message, "m"), f"{id_} is free while a selection waits"

    loop.check = check

    async def use(name: str, raw: bytes) -> None:
        (chosen,) = pb.SelectEndpointResponse.FromString(raw).selections
        await asyncio.sleep(random.choice((0, 0.001, 0.3, 4)))
        request = pb.ReleaseSelectionRequest(lease_id=chosen.lease_id)
        result = random.choice(_RESULTS)
        if result is not None:
            request.outcome.result = result
        with contextlib.suppress(HubError):
            handlers.release_selection(request, caller(name), clock.now_ms())

    async def ask(name: str) -> None:
        for _ in range(4):
            await asyncio.sleep(random.choice((0, 0, 0.001, 0.1)))
            request = pb.SelectEndpointRequest(
                model="m", max_in_flight=1, priority=random.choice((0, 0, 5))
            )
            request.lease_ttl.FromMilliseconds(random.choice((1_000, 60_000)))
            request.wait.FromMilliseconds(random.choice((0, 1, 500, 200_000)))
            patience_s = random.choice((0.0005, 0.4, 1_000, 1_000))
            try:
                async with asyncio.timeout(patience_s):
                    raw = handlers.select_endpoint(request, caller(name), clock.now_ms())
                    raw = raw if isinstance(raw, bytes) else await raw
            except TimeoutError:
                ended["left"] += 1
            except HubError:
                ended["refused"] += 1
            else:
                ended["served"] += 1
                await use(name, raw)

    async def disturb() -> None:
        for _ in range(5):
            await asyncio.sleep(random.choice((0, 0.001, 0.3, 20)))
            id_ = random.choice(ids)
            if random.random() < 0.4:
                registry.remove_endpoint(id_)
            else:
                add(registry, id_, loaded(), checked_ms=clock.now_ms())
            registry.expire(clock.now_ms())

    async with asyncio.TaskGroup() as group:
        for name in ("a", "a", "b", "c"):
            group.create_task(ask(name))
        group.create_task(disturb())
    assert ended.total() == 16
    assert len(line) == handlers.counts.waiting == 0
    assert line._timer is None
    # What a caller took that left at that moment is free again.
    for id_ in ids:
        add(registry, id_, loaded())
    handlers.leases.expire(clock.now_ms() + 60_000)
    assert len(handlers.leases) == 0
