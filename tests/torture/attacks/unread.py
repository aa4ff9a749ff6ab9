"""Readers with a token who do not take what they asked for, or take it a byte at a time."""

import asyncio
import contextlib
import itertools

from hub.contract import rpcs
from hub.transports.grpc.native import http2_frames as frames
from tests.support.hub import REGISTRY_PATH
from tests.torture.attacks.http2 import block, call, hello
from tests.torture.attacks.target import STRANGERS, Attack, Tally, Target, again, connection, hold

_INITIAL_WINDOW_SIZE = 4
_CONNECTIONS = 20
_STREAMS = 100
_WATCHES = 1_000


async def _snapshots(target: Target, tally: Tally) -> None:
    """2,000 snapshots over gRPC with a flow-control window of 0 (L1)."""
    encoded = block(target.reader)
    streams = range(1, 2 * _STREAMS, 2)
    said = hello({_INITIAL_WINDOW_SIZE: 0}) + b"".join(call(each, encoded) for each in streams)
    await hold(target.grpc, _CONNECTIONS, tally, lambda _: said)


async def _windows(target: Target, tally: Tally) -> None:
    """The window grows by one byte at a time (CVE-2019-9511)."""
    encoded = block(target.reader)

    async def dribble(source: str) -> None:
        async with connection(target.grpc, source) as (reader, writer):
            writer.write(hello({_INITIAL_WINDOW_SIZE: 0}))
            streams = [*range(1, 2 * _STREAMS, 2)]
            writer.write(b"".join(call(each, encoded) for each in streams))
            for each in itertools.cycle(streams):
                writer.write(frames.window_update(each, 1))
                await writer.drain()
                tally.count += 1
                tally.ready()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.001):
                        if not await reader.read(65_536):
                            return

    await asyncio.gather(*(again(lambda at=at: dribble(at)) for at in STRANGERS))


async def _sockets(target: Target, tally: Tally) -> None:
    """Wide windows, and a socket that is not read (CVE-2019-9517)."""
    encoded = block(target.reader)
    streams = range(1, 2 * _STREAMS, 2)
    said = hello({_INITIAL_WINDOW_SIZE: 2**31 - 1}) + frames.window_update(0, 2**30)
    said += b"".join(call(each, encoded) for each in streams)
    await hold(target.grpc, _CONNECTIONS, tally, lambda _: said, reads=False)


async def _watches(target: Target, tally: Tally) -> None:
    """20,000 watches that are not read (L4)."""
    encoded = block(target.reader, rpcs.rpc("WatchRegistry").path)
    said = hello({_INITIAL_WINDOW_SIZE: 0})
    said += b"".join(call(each, encoded) for each in range(1, 2 * _WATCHES, 2))
    await hold(target.grpc, _CONNECTIONS, tally, lambda _: said)


async def _lists(target: Target, tally: Tally) -> None:
    """400 readers of the snapshot over HTTP who read nothing (L1)."""
    said = (
        f"GET {REGISTRY_PATH}/snapshot HTTP/1.1\r\nHost: h\r\n"
        f"Authorization: Bearer {target.reader}\r\n\r\n"
    ).encode()
    await hold(target.http, 400, tally, lambda _: said, reads=False)


GRPC: dict[str, Attack] = {
    "L1: 2,000 snapshots, window 0": _snapshots,
    "windows of one byte": _windows,
    "wide windows, unread socket": _sockets,
    "L4: 20,000 unread watches": _watches,
}
HTTP: dict[str, Attack] = {"L1: 400 snapshots over HTTP, unread": _lists}
