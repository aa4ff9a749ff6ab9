"""WebSockets that send too much, too early, never the rest, or never read."""

import itertools
import json
from collections.abc import Callable, Iterator

from tests.support.raw_websocket import PING, TEXT
from tests.support.websocket_fuzz import HANDSHAKE, frame
from tests.torture.attacks.target import Attack, Tally, Target, flood, hold

_A_PING = frame(TEXT, b'{"type":"ping"}')
_AT_ONCE = 200


def _identify(target: Target, number: int) -> bytes:
    agent, token = target.sidecars[number % len(target.sidecars)]
    return frame(TEXT, json.dumps({"type": "identify", "agent_id": agent, "token": token}).encode())


async def _unidentified(target: Target, tally: Tally) -> None:
    """20 strangers send frames before they identify (L6)."""
    await flood(
        target.ws, 20, tally, lambda: HANDSHAKE, lambda: itertools.repeat(_A_PING * _AT_ONCE), 200
    )


def _as_sidecars(said: bytes, count: int, connections: int = 8) -> Attack:
    """Identified sidecars send the same again and again; `said` has `count` frames."""

    async def attack(target: Target, tally: Tally) -> None:
        numbers = itertools.count()

        def greeting() -> bytes:
            return HANDSHAKE + _identify(target, next(numbers))

        def pieces() -> Iterator[bytes]:
            return itertools.repeat(said)

        await flood(target.ws, connections, tally, greeting, pieces, count)

    return attack


async def _handshakes(target: Target, tally: Tally) -> None:
    """1,500 handshakes from four addresses that are never finished."""
    await hold(target.ws, 1_500, tally, lambda _: HANDSHAKE[:40])


async def _never_identify(target: Target, tally: Tally) -> None:
    """2,500 connections that do not identify."""
    await hold(target.ws, 2_500, tally, lambda _: HANDSHAKE)


async def _wrong_tokens(target: Target, tally: Tally) -> None:
    """Handshake, a wrong token, and the same again."""
    identify = frame(TEXT, b'{"type":"identify","agent_id":"a","token":"llmh_nothing"}')
    greeting: Callable[[], bytes] = lambda: HANDSHAKE + identify  # noqa: E731
    await flood(target.ws, 8, tally, greeting, lambda: iter([identify] * 20))


async def _unread(target: Target, tally: Tally) -> None:
    """Sidecars that ask and never read the answers."""

    def said(number: int) -> bytes:
        return HANDSHAKE + _identify(target, number) + _A_PING * 5_000

    await hold(target.ws, len(target.sidecars), tally, said, reads=False)


WEBSOCKETS: dict[str, Attack] = {
    "L6: frames before identify, 20 strangers": _unidentified,
    "L6: pings over the rate limit, 8 sidecars": _as_sidecars(_A_PING * _AT_ONCE, _AT_ONCE),
    "invalid frames": _as_sidecars(frame(TEXT, b"{") * _AT_ONCE, _AT_ONCE),
    "WebSocket PING frames": _as_sidecars(frame(PING, b"x") * _AT_ONCE, _AT_ONCE),
    "empty fragments": _as_sidecars(
        frame(TEXT, b"", fin=False) + frame(0, b"", fin=False) * _AT_ONCE, _AT_ONCE
    ),
    "frames of 64 KiB": _as_sidecars(frame(TEXT, b'{"type":"' + b"x" * 65_000 + b'"}'), 1),
    "1,500 unfinished handshakes": _handshakes,
    "2,500 connections that do not identify": _never_identify,
    "identifies with wrong tokens": _wrong_tokens,
    "sidecars that do not read": _unread,
}
