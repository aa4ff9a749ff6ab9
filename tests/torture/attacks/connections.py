"""Strangers who hold connections, or half of a request on each."""

import itertools
import json
from collections.abc import Iterator

from hub.transports.grpc.native import http2_frames as frames
from tests.support.browser_calls import SESSION
from tests.torture.attacks.http2 import block, call, headers, hello
from tests.torture.attacks.target import Attack, Tally, Target, flood, hold

_MIB = 1_048_576


async def _grpc(target: Target, tally: Tally) -> None:
    """2,300 gRPC connections without a token (L2)."""
    await hold(target.grpc, 2_300, tally, lambda _: hello())


async def _silent_grpc(target: Target, tally: Tally) -> None:
    """1,500 gRPC connections on which nothing is ever sent."""
    await hold(target.grpc, 1_500, tally)


async def _half_calls(target: Target, tally: Tally) -> None:
    """Calls whose message was announced with 4 MB and does not come."""
    encoded = block(target.reader)
    half = b"\0" + (4_000_000).to_bytes(4) + b"x" * 16_000
    said = hello() + b"".join(
        headers(each, encoded) + frames.frame(frames.DATA, 0, each, half)
        for each in range(1, 80, 2)
    )
    await hold(target.grpc, 100, tally, lambda _: said)


async def _garbage_tokens(target: Target, tally: Tally) -> None:
    """Calls with tokens that there are not."""

    def pieces() -> Iterator[bytes]:
        encoded = block("llmh_" + "x" * 40)
        for first in itertools.count(0, 64):
            yield b"".join(call(2 * each + 1, encoded) for each in range(first, first + 64))

    await flood(target.grpc, 2, tally, hello, pieces, 64)


async def _http(target: Target, tally: Tally) -> None:
    """2,000 HTTP connections that ask for nothing (L7)."""
    await hold(target.http, 2_000, tally)


async def _half_heads(target: Target, tally: Tally) -> None:
    """1,000 requests whose head does not end."""
    await hold(target.http, 1_000, tally, lambda _: b"GET / HTTP/1.1\r\nHost: h\r\nX-A: b\r\n")


async def _half_sign_ins(target: Target, tally: Tally) -> None:
    """1,900 sign-ins of 1 MiB, of which half is sent (L8)."""
    head = (
        f"POST {SESSION} HTTP/1.1\r\nHost: h\r\nX-LLM-Hub: d\r\nSec-Fetch-Site: same-origin\r\n"
        f"Content-Length: {_MIB}\r\n\r\n"
    )
    said = head.encode() + b"x" * (_MIB // 2)
    await hold(target.http, 1_900, tally, lambda _: said)


async def _wrong_sign_ins(target: Target, tally: Tally) -> None:
    """Sign-ins with tokens that there are not."""
    body = json.dumps({"token": "llmh_" + "x" * 40}).encode()
    head = (
        f"POST {SESSION} HTTP/1.1\r\nHost: h\r\nX-LLM-Hub: d\r\nSec-Fetch-Site: same-origin\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    await flood(target.http, 4, tally, lambda: b"", lambda: itertools.repeat(head.encode() + body))


GRPC: dict[str, Attack] = {
    "L2: 2,300 connections without a token": _grpc,
    "1,500 silent connections": _silent_grpc,
    "4,000 half calls with a token": _half_calls,
    "calls with wrong tokens": _garbage_tokens,
}
HTTP: dict[str, Attack] = {
    "L7: 2,000 HTTP connections": _http,
    "1,000 half HTTP heads": _half_heads,
    "L8: 1,900 half sign-ins of 1 MiB": _half_sign_ins,
    "sign-ins with wrong tokens": _wrong_sign_ins,
}
