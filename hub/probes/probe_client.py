"""The HTTP client of the probes: everything is bounded, and every fault is a sentence.

All endpoints share the connections. Redirects are not followed, so that no key and no
request goes where the admin did not send it. Nothing is decompressed: the client requests
no compression and treats a compressed answer as a fault, so it cannot meet a
decompression bomb.
"""

import asyncio
import errno
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from urllib.parse import quote, urlencode

from hub.base.address import SCHEME_PORTS, join_host_port
from hub.base.settings import Network, ProbeSettings
from hub.probes.address_policy import AddressPolicy, ForbiddenAddress
from hub.probes.answer import Answer, JsonValue
from hub.probes.asker import ProbeTarget
from hub.probes.bounded_response import BoundedResponse
from hub.probes.connection_pool import ConnectionPool, ConnectTimeout
from hub.probes.faults import OwnFault, ProbeError, Unreachable, shown
from hub.probes.model_facts import ModelFactsCache
from hub.probes.probe_connection import Broken, ProbeConnection

# The number of bodies beyond 64 KiB that are read at a time.
_LARGE_BODIES = 16
_FIELDS = "User-Agent: llm-registry-hub\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._~-]*")


class SharedAsker:
    """Sends the requests of one probe over the shared connections; an `Asker`.

    `first_answer_ms` is the time of the first answer, None before it;
    `on_first_answer` is called when it arrives. `is_asked`: a caller waits for the result
    of this probe. `has_connected` becomes True when a request opens a new connection: the
    server may have been replaced since the last probe. `address` is the one that
    answered, as returned by `reached`.
    """

    def __init__(
        self,
        client: "ProbeClient",
        target: ProbeTarget,
        large_bodies: asyncio.Semaphore,
        *,
        is_asked: bool,
    ) -> None:
        self.target = target
        self.is_asked = is_asked
        self.first_answer_ms: float | None = None
        self.on_first_answer: Callable[[], None] = lambda: None
        self.asking = ""
        self.has_connected = False
        self.address = ""
        self._client = client
        self._large_bodies = large_bodies
        self._started_s = 0.0

    @property
    def facts(self) -> ModelFactsCache:
        """The facts of models that servers have reported, kept across probes."""
        return self._client.facts

    async def get(self, path: str, query: dict[str, str] | None = None) -> Answer:
        """Sends GET for a path under the endpoint's base path and returns the answer.

        Returns an answer of any status. Raises Unreachable, BadAnswer if the answer is
        not HTTP or too large, or OwnFault.
        """
        return await self._ask("GET", path, _request("GET", self.target, path, query))

    async def post(self, path: str, value: JsonValue) -> Answer:
        """Sends POST with JSON, for a read-only route that does not accept GET. See `get`.

        The request is not repeated on a broken connection.
        """
        body = json.dumps(value).encode()
        return await self._ask("POST", path, _request("POST", self.target, path, body=body))

    async def _ask(self, method: str, path: str, request: bytes) -> Answer:
        self.asking = f"{method} {path}"
        self._started_s = time.perf_counter()
        settings = self._client.settings
        try:
            async with asyncio.timeout(settings.total_timeout_s):
                response = await self._exchange(request, path, repeats=method == "GET")
        except (Broken, ConnectTimeout, OSError) as error:
            _raise_own_fault(error)
            _release_frames(error)
            raise self._sentence(error, path) from error
        return Answer(
            path=path,
            status=response.status,
            content_type=response.field(b"content-type"),
            server=response.field(b"server"),
            retry_after=response.field(b"retry-after"),
            location=response.field(b"location"),
            body=response.body,
            has_key=self.target.api_key is not None,
        )

    async def _exchange(self, request: bytes, path: str, *, repeats: bool) -> BoundedResponse:
        pool, target = self._client.pool, self.target
        kept = pool.take_idle(target)
        if kept is not None:
            try:
                return await self._ask_on(kept, request, path)
            except Broken:
                # A server may close an idle connection at any time (RFC 9112, section 9.5).
                if not repeats:
                    raise
        self.has_connected = True
        return await self._ask_on(await pool.connect(target), request, path)

    async def _ask_on(
        self, connection: ProbeConnection, request: bytes, path: str
    ) -> BoundedResponse:
        client = self._client
        self.address = self.address or connection.address
        response = BoundedResponse(path, client.settings.max_body_bytes, self._answers)
        await connection.exchange(request, response, self._large_bodies)
        client.pool.put_back(self.target, connection)
        return response

    def _answers(self) -> None:
        if self.first_answer_ms is None:
            # uvloop's clock has a resolution of only a millisecond.
            self.first_answer_ms = (time.perf_counter() - self._started_s) * 1000.0
            self.on_first_answer()

    def _sentence(self, error: Broken | ConnectTimeout | OSError, path: str) -> ProbeError:
        settings = self._client.settings
        match error:
            case ConnectTimeout():
                return Unreachable(f"no connection within {settings.connect_timeout_s:g} s")
            case Broken():
                cause = error.__cause__
                if isinstance(cause, OSError):
                    return Unreachable(_why(cause))
                return Unreachable(f"closed the connection without an answer to {path}")
            case TimeoutError() if error.errno is None:
                return Unreachable(f"no answer to {path} within {settings.total_timeout_s:g} s")
            case socket.gaierror():
                return Unreachable(f"host name {shown(self.target.host)} does not resolve")
            case ssl.SSLCertVerificationError():
                return Unreachable(f"TLS certificate is not trusted: {shown(error.verify_message)}")
            case ssl.SSLError():
                return Unreachable(
                    f"TLS handshake failed (is it plain http?): {shown(error.reason or str(error))}"
                )
            case OSError():
                return Unreachable(_why(error))


class ProbeClient:
    """The shared connections; open and close it in the loop that uses it."""

    def __init__(self, settings: ProbeSettings) -> None:
        self.settings = settings
        self.policy = AddressPolicy(settings.allow, settings.deny)
        self.facts = ModelFactsCache(max_bytes=settings.model_facts_bytes)
        self._pool: ConnectionPool | None = None
        # Failing endpoints must not hold all permits while healthy ones wait.
        self._large_bodies = {proven: asyncio.Semaphore(_LARGE_BODIES) for proven in (True, False)}

    @property
    def pool(self) -> ConnectionPool:
        """The connections of the open client."""
        if self._pool is None:
            raise RuntimeError("the probe client is not open")
        return self._pool

    async def open(self) -> None:
        """Creates the pool of connections, without any network traffic."""
        self._pool = ConnectionPool(self.policy, self.settings.connect_timeout_s)

    async def set_policy(self, allow: Iterable[Network], deny: Iterable[Network]) -> None:
        """Applies other CIDR blocks, also to connections that are already open.

        Probes in flight finish on their existing connections. Raises ValueError.
        """
        self.policy.replace(allow, deny)
        if self._pool is not None:
            self._pool.retire()

    async def close(self) -> None:
        """Closes all connections. Idempotent."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    def to(
        self, target: ProbeTarget, *, proven: bool = False, is_asked: bool = False
    ) -> SharedAsker:
        """Returns the asker for one probe of an endpoint."""
        return SharedAsker(self, target, self._large_bodies[proven], is_asked=is_asked)


def _request(
    method: str,
    target: ProbeTarget,
    path: str,
    query: dict[str, str] | None = None,
    body: bytes = b"",
) -> bytes:
    """A request as bytes. Keys and addresses are already free of control characters."""
    where = target.base_path + path
    if not _PLAIN_PATH.fullmatch(where):
        where = quote(where, safe="/~")
    if query:
        where += "?" + urlencode(query)
    host = join_host_port(target.host, target.port)
    if target.port == SCHEME_PORTS[target.scheme]:
        host = host.rpartition(":")[0]
    head = f"{method} {where} HTTP/1.1\r\nHost: {host}\r\n{_FIELDS}"
    if target.api_key:
        head += f"Authorization: Bearer {target.api_key}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


# The system's errors which mean that the hub itself has reached a limit.
_OWN = {
    errno.EMFILE: "it may open no more files (ulimit -n)",
    errno.ENFILE: "the system has no more files to open",
    errno.ENOBUFS: "the system has no more buffers for sockets",
    errno.ENOMEM: "the system has no more memory for sockets",
    errno.EADDRNOTAVAIL: "the system has no more ports for outgoing connections",
}


def _release_frames(error: BaseException) -> None:
    """Releases the frames of an error's traceback, which refer to the error in turn.

    Otherwise a fleet that is down would leave 80 objects per probe to the garbage collector.
    """
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop()
        if each is not None and each.__traceback__ is not None:
            each.__traceback__ = None
            pending += [each.__cause__, each.__context__]


def _raise_own_fault(error: Exception) -> None:
    cause = error.__cause__ if isinstance(error, Broken) else error
    if isinstance(cause, OSError) and (reason := _OWN.get(cause.errno or 0)):
        raise OwnFault(reason) from error


def _why(error: OSError) -> str:
    if isinstance(error, ForbiddenAddress):
        return str(error)
    if error.errno == errno.ECONNREFUSED:
        return "connection refused"
    if error.errno in (errno.ECONNRESET, errno.EPIPE):
        return "connection reset"
    return f"cannot connect: {shown(error.strerror or str(error) or type(error).__name__)}"
