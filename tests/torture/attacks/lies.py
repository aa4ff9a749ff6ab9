"""A sidecar's token used for what it must not do; the hub must refuse each frame."""

import asyncio
import itertools
import json

from tests.support.raw_websocket import TEXT
from tests.support.websocket_fuzz import HANDSHAKE, frame
from tests.torture.attacks.target import STRANGERS, Attack, Tally, Target, again, connection

_FORBIDDEN = (
    "http://[fd00:ec2::23]",
    "http://[64:ff9b:1::1]",
    "http://[::ffff:0:169.254.169.254]",
    "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
    "http://169.254.169.254",
)
_ODD = ("down\x1b[2J", "1\u202e0", "a\u2066b")
_PACE_S = 0.01


async def _lie(target: Target, tally: Tally, number: int) -> None:
    agent, token = target.sidecars[number]
    foreign = f"http://{target.foreign}"
    lies = [{"type": "endpoint_report", "url": foreign, "models": [{"name": "mine"}]}]
    lies += [{"type": "ollama_report", "ollama_url": url} for url in _FORBIDDEN]
    lies += [{"type": "endpoint_report", "url": "http://127.0.0.1:9", "error": x} for x in _ODD]
    async with connection(target.ws, STRANGERS[0]) as (reader, writer):
        identify = {"type": "identify", "agent_id": agent, "token": token}
        writer.write(HANDSHAKE + frame(TEXT, json.dumps(identify).encode()))
        await reader.readuntil(b'"identified"')
        for lie in itertools.cycle(lies):
            writer.write(frame(TEXT, json.dumps(lie).encode()))
            answer = await reader.read(65_536)
            if not answer:
                return
            tally.count += 1
            tally.accepted += answer.count(b'"registered"')
            tally.ready()
            await asyncio.sleep(_PACE_S)


async def _lies(target: Target, tally: Tally) -> None:
    """Endpoints of others, forbidden addresses, control characters (L12, L13, L14)."""
    await asyncio.gather(
        *(again(lambda n=number: _lie(target, tally, n), 0.2) for number in range(4))
    )


LIES: dict[str, Attack] = {"L12 to L14: reports that must be refused": _lies}
