"""Concurrent users of the hub's parts, in many orders, and what must hold in each of them.

`python -m tests.support.interleavings COUNT [FIRST_SEED]` plays that many orders, in turn
of each scenario, and prints the seeds that fail. `... 1 SEED` plays a seed again: the
scenario, the users' choices and the order of the callbacks all follow from it.
"""

import asyncio
import contextlib
import json
import logging
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import structlog

from hub.base.clock import ManualClock
from hub.contract.errors import EtagMismatch, HubError, LeaseNotFound
from hub.registry.segments import Interest
from hub.registry.state import Registry
from hub.service.change_feed import ChangeFeed
from hub.service.changes.commits import Commits
from hub.service.changes.owners import Owners
from hub.service.changes.registrar import Registrar, Registration
from hub.service.handlers.select_endpoint import SelectionHandlers
from hub.service.presence import Close
from hub.service.records import ENDPOINTS, RecordRouter, decode_endpoint
from hub.stores.store import Change, Entry, Expect, PreconditionFailed, Put, StoreError
from hub.transports.session.misbehaviour import Cooldowns
from hub.transports.session.sidecar_session import SessionContext, SidecarSession
from llmhub.v1 import registry_service_pb2 as pb
from llmhub.v1.admin_service_pb2 import RevokeTokenRequest
from llmhub.v1.endpoint_pb2 import SOURCE_MANUAL, Endpoint
from llmhub.v1.frame_pb2 import HubFrame, ReportResourcesRequest
from llmhub.v1.resources_pb2 import ROLE_SIDECAR
from tests.support.core import running_core
from tests.support.fleet_of import NOW, add, loaded
from tests.support.selecting import CALLER
from tests.support.shuffled_loop import ShuffledLoop
from tests.support.stores import Feed
from tests.support.unthreaded_store import LONGEST_COMMIT_S, UnthreadedStore
from tests.support.waiting_interleavings import waiting
from tests.support.watching import Copy

Scenario = Callable[[ShuffledLoop, Random, Path], Awaitable[None]]

_SHARED_MEMORY = Path("/dev/shm")


async def _pause(random: Random) -> None:
    """Lets others run: for a turn of the loop, or for some virtual time."""
    await asyncio.sleep(random.choice((0, 0, 0.001, 0.01, 0.3)))


async def _together(*users: Awaitable[None]) -> None:
    async with asyncio.TaskGroup() as group:
        for user in users:
            group.create_task(user)  # type: ignore[arg-type]


# The store: batches with preconditions.


async def store(_loop: ShuffledLoop, random: Random, directory: Path) -> None:
    """An acknowledged batch is delivered first, in order, and is in the file afterwards."""
    kept = UnthreadedStore(directory / "hub.db", random)
    feed = Feed()
    await kept.open(feed)
    acknowledged: Counter[str] = Counter()

    async def count_up(keys: list[str]) -> None:
        for _ in range(4):
            key = random.choice(keys)
            entry = feed.replayed().get(key)
            value, revision = (int(entry.value), entry.revision) if entry else (0, 0)
            await _pause(random)
            try:
                done = await kept.commit([Put(key, b"%d" % (value + 1))], [Expect(key, revision)])
            except PreconditionFailed:
                continue
            assert feed.changes[-1].revision >= done, "acknowledged before it was delivered"
            acknowledged[key] += 1

    async def give_up() -> None:
        for _ in range(2):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(0, 0.03)):
                    await kept.commit([Put("given-up", b"0")])

    await _together(*(count_up(["a", "b"]) for _ in range(3)), give_up())
    closing = asyncio.ensure_future(kept.close())
    with contextlib.suppress(StoreError):
        await kept.commit([Put("late", b"0")])
        acknowledged["late"] += 0
    await closing
    revisions = [change.revision for change in feed.changes]
    assert revisions == list(range(1, len(revisions) + 1)), revisions
    await _reopened(directory, random, feed.replayed())
    assert {key: int(feed.replayed()[key].value) for key in acknowledged} == acknowledged


async def _reopened(directory: Path, random: Random, expected: dict[str, Entry]) -> None:
    again = UnthreadedStore(directory / "hub.db", random)
    contents = await again.open(lambda _: None)
    await again.close()
    found = {entry.key: entry for entry in contents.entries}
    assert found == expected, "the file has other entries than were acknowledged"


# The registrar: durable changes of endpoints, by two hubs that share a store.


class _Endpoints:
    """Puts a store's endpoints into a registry, as the hub's follower does; probes nothing."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def apply_put(self, entry: Entry) -> None:
        self._registry.put_endpoint(decode_endpoint(entry))

    def apply_delete(self, key: str) -> None:
        self._registry.remove_endpoint(key.partition("/")[2])


async def registrar(_loop: ShuffledLoop, random: Random, directory: Path) -> None:
    """No acknowledged change is lost, none comes back, and the registry keeps its bound."""
    kept, registry, feed = (
        UnthreadedStore(directory / "hub.db", random),
        Registry(first_revision=1_000),
        Feed(),
    )
    router = RecordRouter({ENDPOINTS: [_Endpoints(registry)]})

    def follow(change: Change) -> None:
        feed(change)
        router.apply(change)

    await kept.open(follow)
    owners = Owners(registry, lambda _agent: False)
    most = random.choice((3, 100))
    hubs = [
        Registrar(Commits(kept), registry, owners=owners, max_endpoints=most)
        # A bound over several hubs is only approximate, so it is tested with one.
        for _ in range(1 if most == 3 else 2)
    ]
    counted: Counter[str] = Counter()

    def one_more(current: Endpoint) -> Endpoint:
        after = Endpoint()
        after.CopyFrom(current)
        after.labels["count"] = str(int(current.labels.get("count", "0")) + 1)
        return after

    async def count_up() -> None:
        for _ in range(3):
            id_ = random.choice(("kept-1:1", "kept-2:1"))
            await _pause(random)
            with contextlib.suppress(EtagMismatch):
                await random.choice(hubs).update(id_, one_more, "")
                counted[id_] += 1

    async def come_and_go(host: str) -> None:
        for _ in range(3):
            wanted = Registration(host=host, port=1, source=SOURCE_MANUAL)
            with contextlib.suppress(HubError):
                made = await random.choice(hubs).register(f"{host}:1", wanted, NOW)
                assert made.id == f"{host}:1"
            await _pause(random)
            with contextlib.suppress(HubError):
                await random.choice(hubs).remove(f"{host}:1", "")
        assert len(registry) <= most

    for host in ("kept-1", "kept-2"):
        await hubs[0].register(
            f"{host}:1", Registration(host=host, port=1, source=SOURCE_MANUAL), NOW
        )
    await _together(*(count_up() for _ in range(3)), *(come_and_go(f"h-{n}") for n in (1, 2)))
    for id_ in ("kept-1:1", "kept-2:1"):
        record = registry.get(id_)
        assert record is not None
        found = int(record.message.labels.get("count", "0"))
        assert found == counted[id_], f"{counted[id_]} changes acknowledged, {found} kept"
    await kept.close()
    await _reopened(directory, random, feed.replayed())
    assert {f"endpoints/{each.message.id}" for each in registry.endpoints()} == set(feed.replayed())


# The change feed: watchers that build a copy.


async def watchers(_loop: ShuffledLoop, random: Random, _directory: Path) -> None:
    """Every watcher sees each change once and in order, and catches up in time."""
    registry = Registry(first_revision=1_000)
    feed = ChangeFeed(registry)

    async def change() -> None:
        for _ in range(random.randrange(1, 6)):
            # Mostly in the turn in which a watcher is woken, which is the hard case.
            await asyncio.sleep(random.choice((0, 0, 0, 0.01)))
            id_ = f"h-{random.randrange(3)}:1"
            action = random.randrange(4)
            if action == 0:
                registry.remove_endpoint(id_)
            elif action == 1:
                report = ReportResourcesRequest(cpu_percent=random.randrange(100))
                registry.report_resources(random.choice("ab"), report, NOW)
            else:
                registry.put_endpoint(Endpoint(id=id_, name=str(random.random())))

    async def watch(interest: Interest, copy: Copy) -> None:
        copy.revision = registry.revision
        with feed.watching(interest, registry.revision) as watcher:
            while True:
                segment = watcher.read()
                for response in segment.responses:
                    copy.apply(pb.WatchRegistryResponse.FromString(response))
                watcher.revision = segment.revision
                if not segment.more:
                    # So long that only a change ends it before the test does.
                    await watcher.wait(3600)

    # A watcher alone is woken by nothing that was meant for others.
    interests = (Interest(), Interest(resources=True), Interest())[: random.randrange(1, 4)]
    copies = [(each, Copy()) for each in interests]
    watching = [asyncio.ensure_future(watch(*each)) for each in copies]
    await asyncio.sleep(0.01)
    for _ in range(6):
        await _together(*(change() for _ in range(random.randrange(1, 4))))
        await asyncio.sleep(0.5)
        for interest, copy in copies:
            assert _is_equal(copy, registry, interest), "a watcher was not woken by a change"
    for each in watching:
        each.cancel()
    await asyncio.wait(watching)
    assert len(feed) == 0
    assert feed.lag().events == 0
    feed.close()


def _is_equal(copy: Copy, registry: Registry, interest: Interest) -> bool:
    fleet = {record.message.id: record.message for record in registry.endpoints()}
    hosts = {key: record.message for key, record in registry.resources.items()}
    return copy.endpoints == fleet and (not interest.resources or copy.resources == hosts)


# Leases: selections that count.


async def leases(loop: ShuffledLoop, random: Random, _directory: Path) -> None:
    """Counts of leases are never negative, add up, and a lease is released once."""
    registry, clock = Registry(first_revision=1_000), ManualClock(NOW)
    handlers = SelectionHandlers(registry, clock, max_leases=8, max_leases_per_token=8)
    ids = [f"h-{n}:1" for n in range(3)]
    for id_ in ids:
        add(registry, id_, loaded())

    def check() -> None:
        counts = [handlers.leases.in_flight(id_) for id_ in ids]
        assert min(counts) >= 0, counts
        assert sum(counts) == len(handlers.leases) <= 8, (counts, len(handlers.leases))

    loop.check = check
    released: Counter[str] = Counter()

    async def release(lease_id: str) -> None:
        await _pause(random)
        request = pb.ReleaseSelectionRequest(lease_id=lease_id)
        with contextlib.suppress(LeaseNotFound):
            handlers.release_selection(request, CALLER, clock.now_ms())
            released[lease_id] += 1

    async def select() -> None:
        for _ in range(3):
            request = pb.SelectEndpointRequest(model="m")
            request.lease_ttl.FromMilliseconds(random.choice((1_000, 60_000)))
            await _pause(random)
            with contextlib.suppress(HubError):
                raw = handlers.select_endpoint(request, CALLER, clock.now_ms())
                if not isinstance(raw, bytes):
                    raw = await raw
                (chosen,) = pb.SelectEndpointResponse.FromString(raw).selections
                # A client whose deadline passed releases again.
                await _together(release(chosen.lease_id), release(chosen.lease_id))

    async def disturb() -> None:
        for _ in range(4):
            await _pause(random)
            id_ = random.choice(ids)
            if random.random() < 0.5:
                registry.remove_endpoint(id_)
            else:
                add(registry, id_, loaded())
            clock.advance(random.choice((10, 2_000)))

    await _together(*(select() for _ in range(3)), disturb())
    assert all(times == 1 for times in released.values()), released
    clock.advance(3_600_000)
    assert [handlers.in_flight_now(id_, clock.now_ms()) for id_ in ids] == [0, 0, 0]
    assert len(handlers.leases) == 0


# Sessions: sidecars that come, report and go, while admins revoke their tokens.


class _Wire:
    """A sidecar's connection; the session runs in one task, as in the transports."""

    def __init__(self, context: SessionContext) -> None:
        self.session = SidecarSession(context, self, "10.0.0.9", "ws")
        self.is_open = True
        self.closed = asyncio.Event()

    def send(self, _frame: HubFrame) -> None:
        """The frame is of no interest."""

    def close(self, _close: Close) -> None:
        self.closed.set()


async def sessions(loop: ShuffledLoop, random: Random, directory: Path) -> None:
    """Presence is the open sessions, one per agent; an endpoint keeps its present owner."""
    kept = UnthreadedStore(directory / "hub.db", random)
    async with running_core(directory, store=kept) as core:
        core.claims.start(lambda: None)
        wires: list[_Wire] = []
        context = SessionContext(core.dispatcher, core.presence, Cooldowns())
        owners: dict[str, str] = {}
        connected_at: dict[str, float] = {}

        def note(agent: str) -> None:
            if core.presence.is_connected(agent):
                connected_at.setdefault(agent, loop.time())
            else:
                connected_at.pop(agent, None)

        def check() -> None:
            for sidecar in core.presence.sidecars():
                wire = next(each for each in wires if each.session is sidecar.connection)
                assert wire.is_open, f"{sidecar.agent_id} is present without a connection"
            for wire in wires:
                session = wire.session
                if wire.is_open and session.agent_id and session.closing is None:
                    present = core.presence.get(session.agent_id)
                    assert present is not None, f"{session.agent_id} is connected, not present"
                    assert present.connection is session, "presence has another connection"

        def follow() -> None:
            for record in core.registry.endpoints():
                id_, agent = record.message.id, record.message.agent_id
                before = owners.get(id_, agent)
                # An owner that returns while the change is written comes too late.
                decided_by = loop.time() - LONGEST_COMMIT_S
                assert before == agent or connected_at.get(before, loop.time()) >= decided_by, (
                    f"{agent} took {id_} from {before}, which is connected"
                )
                owners[id_] = agent

        loop.check = check
        core.registry.on_change(follow)
        core.presence.on_change(note)
        agents = {agent: await core.token(ROLE_SIDECAR, agent) for agent in ("node-1", "node-2")}

        async def answer(wire: _Wire, frame: dict[str, object]) -> None:
            replies = wire.session.receive_text(json.dumps(frame), core.clock.now_ms())
            if not isinstance(replies, tuple):
                await replies
            if wire.session.closing is not None:
                wire.closed.set()

        async def talk(wire: _Wire, agent: str) -> None:
            url = random.choice((None, "http://10.0.0.7:11434"))
            token = agents[agent]
            await answer(
                wire, {"type": "identify", "agent_id": agent, "token": token, "ollama_url": url}
            )
            for _ in range(2):
                await _pause(random)
                url = f"http://10.0.0.{random.choice((7, 8))}:11434"
                report = random.choice(
                    ({"type": "resource_report", "cpu_percent": 1}, {"type": "ping"})
                )
                await answer(
                    wire, random.choice((report, {"type": "ollama_report", "ollama_url": url}))
                )
                await answer(wire, {"type": "endpoint_report", "url": url, "reachable": True})

        async def connect(agent: str) -> None:
            for _ in range(2):
                wire = _Wire(context)
                wires.append(wire)
                talking = asyncio.ensure_future(talk(wire, agent))
                closing = asyncio.ensure_future(wire.closed.wait())
                # The peer may go at any time.
                await asyncio.wait(
                    (talking, closing),
                    timeout=random.uniform(0, 2),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for each in (talking, closing):
                    each.cancel()
                await asyncio.wait((talking, closing))
                wire.session.end()
                wire.is_open = False
                await _pause(random)

        async def revoke() -> None:
            await _pause(random)
            old = core.tokens.authenticate(agents["node-1"], core.clock.now_ms()).token_id
            agents["node-1"] = await core.token(ROLE_SIDECAR, "node-1")
            await core.as_admin("RevokeToken", RevokeTokenRequest(id=old))
            for sidecar in core.presence.sidecars():
                closing = sidecar.connection.closing  # type: ignore[attr-defined]
                assert sidecar.token_id != old or closing, "a revoked token stays connected"

        async def time_passes() -> None:
            for _ in range(6):
                await asyncio.sleep(0.5)
                core.clock.advance(random.choice((500, 6_000)))

        await _together(
            *(connect(agent) for agent in ("node-1", "node-1", "node-2")), revoke(), time_passes()
        )
        assert core.presence.sidecars() == []
        await core.claims.stop()


SCENARIOS: dict[str, Scenario] = {
    each.__name__: each for each in (store, registrar, watchers, leases, waiting, sessions)
}


def play(name: str, seed: int) -> int:
    """Plays one order of a scenario; returns its number of callbacks. Raises AssertionError."""
    loop = ShuffledLoop(seed)
    parent = _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=parent) as directory:
        try:
            loop.run(SCENARIOS[name](loop, Random(seed), Path(directory)))
        except BaseExceptionGroup as group:
            # What went wrong first; the others were cancelled for it.
            raise _first(group) from group
    return loop.steps


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def scenario_of(seed: int) -> str:
    """The scenarios take turns."""
    return list(SCENARIOS)[seed % len(SCENARIOS)]


def main(count: int, first: int) -> int:
    """Plays orders; returns how many failed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    steps: Counter[str] = Counter()
    failed = 0
    for seed in range(first, first + count):
        name = scenario_of(seed)
        try:
            steps[name] += play(name, seed)
        except Exception:
            failed += 1
            print(f"{name}, seed {seed}:\n{traceback.format_exc()}", flush=True)
            if failed == 10:
                break
    print(
        f"{count:,} interleavings from seed {first}, {sum(steps.values()):,} callbacks "
        f"({', '.join(f'{name} {done:,}' for name, done in steps.items())}): {failed} failed"
    )
    return failed


if __name__ == "__main__":
    sys.exit(bool(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)))
