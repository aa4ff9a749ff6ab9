"""Serves captured answers on loopback, byte for byte (tests/captures/README.md)."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from hub.probes.asker import ProbeTarget

CAPTURES = Path(__file__).parent.parent / "captures"
OLLAMA = "ollama-0.17.4"
ROUTER = "llama.cpp-router-7e4c0a9"
OLLAMA_FILES = {
    "/": "root",
    "/api/version": "version",
    "/api/tags": "tags",
    "/api/ps": "ps-none",
    "/v1/models": "v1-models",
    "/api/show real-chat:latest": "show-real-chat_latest",
    "/api/show real-embed:latest": "show-real-embed_latest",
}
ROUTER_FILES = {
    "/health": "before-health",
    "/props": "before-props",
    "/v1/models": "before-v1-models",
    "/models": "before-models",
    "/slots": "before-slots",
    "/metrics": "before-metrics",
}
ALPHA_FILES = {
    "/v1/models": "loaded-v1-models",
    "/models": "loaded-v1-models",
    "/slots?model=alpha&autoload=false": "loaded-slots",
    "/props?model=alpha&autoload=false": "loaded-props",
}

_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


@dataclass(slots=True)
class Replay:
    """A server that answers each request with a captured file.

    `files` maps a request to a file name in `folder`, without its suffix. A request is a
    path with its query, or for a POST the path and the model ("/api/show a:latest"). The
    server answers other requests with 404. `asked` are the requests so far.
    """

    folder: str
    files: dict[str, str]
    port: int = 0
    asked: list[str] = field(default_factory=list)

    @property
    def target(self) -> ProbeTarget:
        return ProbeTarget(f"127.0.0.1:{self.port}", "http", "127.0.0.1", self.port)

    def answer(self, question: str) -> bytes:
        self.asked.append(question)
        name = self.files.get(question)
        return captured(self.folder, name) if name is not None else _NOT_FOUND


def captured(folder: str, name: str) -> bytes:
    """The whole answer, ready to send; with a length if its chunks were joined."""
    head, body = (CAPTURES / folder / f"{name}.http").read_bytes().split(b"\r\n\r\n", 1)
    lines = [
        b"Content-Length: %d" % len(body) if line == b"Transfer-Encoding: chunked" else line
        for line in head.split(b"\r\n")
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@asynccontextmanager
async def replaying(folder: str, files: Mapping[str, str]) -> AsyncIterator[Replay]:
    replay = Replay(folder, dict(files))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while question := await _question(reader):
                answer = replay.answer(question)
                writer.write(answer)
                if b"\r\nConnection: close\r\n" in answer.split(b"\r\n\r\n", 1)[0] + b"\r\n":
                    break
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        replay.port = server.sockets[0].getsockname()[1]
        yield replay


async def _question(reader: asyncio.StreamReader) -> str:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return ""
    path = head[0].split(" ")[1]
    lengths = [line.partition(":")[2] for line in head if line.startswith("content-length:")]
    if not lengths:
        return path
    model = orjson.loads(await reader.readexactly(int(lengths[0])))["model"]
    return f"{path} {model}"
