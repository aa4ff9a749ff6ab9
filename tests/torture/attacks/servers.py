"""Probed servers, registered by sidecars' tokens, that answer without end or with too much."""

import asyncio
import itertools
import json

from tests.support.raw_websocket import TEXT
from tests.support.websocket_fuzz import HANDSHAKE, frame
from tests.torture.attacks.target import Attack, Tally, Target, again, connection, swallow

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _rich_models() -> bytes:
    models = [
        {
            "name": f"{number:0200}",
            "model": f"{number:0200}",
            "size": 4_661_224_676,
            "digest": f"{number:064x}",
            "details": {"family": "f" * 200, "parameter_size": "8B", "quantization_level": "Q4"},
        }
        for number in range(4_096)
    ]
    body = json.dumps({"models": models}).encode()
    return _OK + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body


ANSWERS = {
    "L3: 8 probed servers, endless 100 Continue": (
        8,
        lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 500),
    ),
    "8 probed servers, endless head": (
        8,
        lambda: itertools.chain([_OK], itertools.repeat(b"X-A: " + b"b" * 1_000 + b"\r\n")),
    ),
    "8 probed servers, endless body": (
        8,
        lambda: itertools.chain(
            [_OK + b"Transfer-Encoding: chunked\r\n\r\n"], itertools.repeat(_chunk(b" " * 65_000))
        ),
    ),
    "L10: 41 servers with 4,096 rich models": (41, lambda: iter([_rich_models()])),
}


def _serving(name: str) -> Attack:
    count, answers = ANSWERS[name]

    async def attack(target: Target, tally: Tally) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readuntil(b"\r\n\r\n")
                for piece in answers():
                    writer.write(piece)
                    await writer.drain()
                    tally.count += 1
                    tally.ready()
                    await asyncio.sleep(0)
            except (OSError, EOFError, asyncio.LimitOverrunError):
                pass
            finally:
                writer.transport.abort() if count == 8 else writer.close()

        servers = [await asyncio.start_server(answer, "127.0.0.1", 0) for _ in range(count)]
        urls = [f"http://127.0.0.1:{each.sockets[0].getsockname()[1]}" for each in servers]
        await asyncio.gather(
            *(again(lambda n=number: _report(target, n, urls[n::8]), 1.0) for number in range(8))
        )

    return attack


async def _report(target: Target, number: int, urls: list[str]) -> None:
    """A sidecar that reports its servers, and stays."""
    agent, token = target.sidecars[number]
    async with connection(target.ws, "127.0.0.1") as (reader, writer):
        said = [{"type": "identify", "agent_id": agent, "token": token}]
        said += [{"type": "ollama_report", "ollama_url": url} for url in urls]
        writer.write(HANDSHAKE + b"".join(frame(TEXT, json.dumps(x).encode()) for x in said))
        await swallow(reader)


SERVERS: dict[str, Attack] = {name: _serving(name) for name in ANSWERS}
