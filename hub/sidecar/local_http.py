"""A small, bounded HTTP client for the servers on this host.

It uses HTTP/1.0 on purpose: a server must not send such an answer in chunks (RFC 9112,
section 6.1) and closes the connection after it, so the body is everything up to the end.
"""

import asyncio
import os
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

TIMEOUT_S = 2.0
MAX_BYTES = 1_048_576


class AskError(Exception):
    """There is no usable answer; the message is one readable line.

    `answered`: the server sent an answer that is not HTTP or too large. `connected`: it
    may have received the request.
    """

    def __init__(self, message: str, *, answered: bool = False, connected: bool = True) -> None:
        super().__init__(message)
        self.answered = answered
        self.connected = connected


@dataclass(frozen=True, slots=True)
class LocalAnswer:
    """A status, the unparsed head, and the body."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str:
        """The first header with that name, or ""."""
        return _header(self.head, name.lower().encode("ascii")).decode("latin-1")


def why(error: OSError) -> str:
    """The system's error text; asyncio's names the failed call instead of the reason."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__


async def get(base_url: str, path: str, timeout_s: float = TIMEOUT_S) -> LocalAnswer:
    """Requests a path below `base_url`. Raises AskError, after `timeout_s` at the latest."""
    return await send("GET", base_url, path, timeout_s=timeout_s)


async def send(
    method: str, base_url: str, path: str, body: bytes = b"", *, timeout_s: float = TIMEOUT_S
) -> LocalAnswer:
    """Sends a request to a path below `base_url`, with `body` as JSON. See `get`."""
    try:
        async with asyncio.timeout(timeout_s):
            return _parse(await _exchange(method, base_url, path, body))
    except TimeoutError:
        raise AskError(f"did not answer within {timeout_s:g} s") from None
    except ssl.SSLError as error:
        raise AskError(f"TLS failed: {error.reason or error}") from None
    except OSError as error:
        connected = not isinstance(error, ConnectionRefusedError | socket.gaierror)
        raise AskError(why(error), connected=connected) from None
    except ValueError as error:
        raise AskError(str(error), answered=True) from None


async def _exchange(method: str, base_url: str, path: str, body: bytes) -> bytes:
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    is_tls = parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    # An SSL context takes megabytes, and most hosts never need one.
    context = ssl.create_default_context() if is_tls else None
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        head = (
            f"{method} {parts.path.rstrip('/')}{path} HTTP/1.0\r\n"
            f"Host: {parts.netloc}\r\n"
            "Accept: application/json\r\nConnection: close\r\n"
            "User-Agent: llm-hub-sidecar\r\n"
        )
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode("ascii") + b"\r\n" + body)
        return await _read(reader)
    finally:
        writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Reads head and body, up to the announced length or else to the end."""
    received = bytearray()
    wanted = MAX_BYTES
    while part := await reader.read(min(65_536, wanted - len(received))):
        received += part
        end = received.find(b"\r\n\r\n")
        if end >= 0 and wanted == MAX_BYTES:
            length = _header(bytes(received[:end]), b"content-length")
            if length.isdigit():
                wanted = end + 4 + int(length)
        if len(received) >= wanted or wanted > MAX_BYTES:
            break
    if wanted > MAX_BYTES or (len(received) >= MAX_BYTES and wanted == MAX_BYTES):
        raise ValueError(f"answered more than {MAX_BYTES} bytes")
    if len(received) < wanted != MAX_BYTES:
        raise ConnectionAbortedError("closed the connection in the middle of its answer")
    if not received:
        raise ConnectionAbortedError("closed the connection without an answer")
    return bytes(received)


def _parse(raw: bytes) -> LocalAnswer:
    head, _, body = raw.partition(b"\r\n\r\n")
    first = head.partition(b"\r\n")[0].split(b" ")
    if len(first) < 2 or not first[0].startswith(b"HTTP/1.") or not first[1].isdigit():
        raise ValueError("does not speak HTTP")
    return LocalAnswer(int(first[1]), head, body)


def _header(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return b""
