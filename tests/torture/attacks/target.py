"""What an attack needs to know of its hub, and how it reports what it did."""

import asyncio
import contextlib
import itertools
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass

STRANGERS = tuple(f"127.0.0.{number}" for number in range(66, 70))
"""Where attacks come from. A hub counts each as another caller; honest clients are elsewhere."""

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Target:
    """A hub's addresses, and the tokens that an attacker has come by."""

    ws: str
    grpc: str
    http: str
    reader: str
    sidecars: tuple[tuple[str, str], ...]
    """agents and their tokens"""
    foreign: str
    """the id of an endpoint that belongs to another agent"""

    def encoded(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decoded(cls, text: str) -> "Target":
        fields = json.loads(text)
        return cls(**fields | {"sidecars": tuple(map(tuple, fields["sidecars"]))})


class Tally:
    """Counts what an attack did; prints a line once it has its full strength."""

    def __init__(self) -> None:
        self.count = 0
        self.accepted = 0
        """What the hub should have refused."""
        self._is_ready = False

    def ready(self) -> None:
        """The attack has its full strength. Idempotent."""
        if not self._is_ready:
            self._is_ready = True
            print("ready", flush=True)

    def report(self) -> None:
        print(json.dumps({"count": self.count, "accepted": self.accepted}), flush=True)


Attack = Callable[[Target, Tally], Awaitable[None]]
"""Goes on until it is cancelled."""


@contextlib.asynccontextmanager
async def connection(address: str, source: str) -> AsyncIterator[Connection]:
    """A TCP connection from one of the strangers' addresses, cut at the end."""
    host, _, port = address.rpartition(":")
    opened = await asyncio.open_connection(host, int(port), local_addr=(source, 0))
    try:
        yield opened
    finally:
        opened[1].transport.abort()


async def swallow(reader: asyncio.StreamReader) -> None:
    """Reads to the end, which comes with an error or without."""
    with contextlib.suppress(OSError):
        while await reader.read(65_536):
            pass


async def again(work: Callable[[], Awaitable[None]], pause_s: float = 0.02) -> None:
    """Repeats the work when the hub cuts its connection."""
    while True:
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            await work()
        await asyncio.sleep(pause_s)


async def together(works: list[Awaitable[None]]) -> None:
    """Runs all until they are cancelled."""
    await asyncio.gather(*works)


async def hold(
    address: str,
    count: int,
    tally: Tally,
    say: Callable[[int], bytes] = lambda _: b"",
    *,
    reads: bool = True,
) -> None:
    """Keeps `count` connections open from all strangers; each begins with what `say` returns.

    A connection that the hub cuts is opened again.
    """

    async def one(number: int) -> None:
        async with connection(address, STRANGERS[number % len(STRANGERS)]) as (reader, writer):
            writer.write(say(number))
            await writer.drain()
            tally.count += 1
            if tally.count >= count:
                tally.ready()
            if not reads:
                reader._transport.pause_reading()  # type: ignore[attr-defined]
            while not writer.transport.is_closing():
                if reads:
                    await swallow(reader)
                    return
                await asyncio.sleep(0.5)

    async def late(number: int) -> None:
        # The system's queue of new connections is not part of the attack.
        await asyncio.sleep(number / 2_000)
        await again(lambda: one(number), 0.5)

    await together([late(number) for number in range(count)])


async def flood(
    address: str,
    connections: int,
    tally: Tally,
    greeting: Callable[[], bytes],
    pieces: Callable[[], Iterator[bytes]],
    per_piece: int = 1,
) -> None:
    """Sends piece after piece as fast as the hub takes them, on some connections at once."""

    async def one(source: str) -> None:
        async with connection(address, source) as (reader, writer):
            reading = asyncio.ensure_future(swallow(reader))
            try:
                writer.write(greeting())
                for piece in pieces():
                    writer.write(piece)
                    await writer.drain()
                    tally.count += per_piece
                    tally.ready()
                    if reading.done():
                        return
                    await asyncio.sleep(0)
                await reading
            finally:
                reading.cancel()

    sources = itertools.islice(itertools.cycle(STRANGERS), connections)
    await together([again(lambda source=source: one(source)) for source in sources])


def main(attacks: dict[str, Attack]) -> None:
    """Runs an attack by its name until a line, or the end, arrives on stdin."""
    from benchmarks.machine import raise_open_files

    raise_open_files()
    name, target = sys.argv[1], Target.decoded(sys.argv[2])
    tally = Tally()

    async def attack() -> None:
        running = asyncio.ensure_future(attacks[name](target, tally))
        ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.readline))
        await asyncio.wait([running, ended], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(attack())
    tally.report()
