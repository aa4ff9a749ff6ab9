"""The HTTP client of the probes: everything bounded, every fault a sentence.

One connector and session for all endpoints. Redirects are not followed, so that
neither a key nor a request goes where the admin did not send it. Nothing is
decompressed: no compression is asked for, and an answer that comes compressed
all the same is a fault, so that there is no bomb to defuse. The address policy
is enforced where the socket is made, hence on the very address that is
connected to, however a name was resolved or written.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Final

import aiohttp
import yarl
from aiohappyeyeballs import AddrInfoType
from aiohttp import hdrs
from aiohttp.connector import Connection

from hub.base.settings import Network, ProbeSettings
from hub.probes.address_policy import AddressPolicy, ForbiddenAddress
from hub.probes.answer import Answer, JsonValue
from hub.probes.asker import ProbeTarget
from hub.probes.bounded_response import BoundedConnector
from hub.probes.faults import BadAnswer, OwnFault, ProbeError, Unreachable, shown
from hub.probes.model_facts import ModelFactsCache
from hub.probes.resolver import ProbeResolver

# What one answer may hold without asking; a larger one takes one of few permits.
_SMALL_BODY = 64 * 1024
_LARGE_BODIES = 16
_DNS_TTL_S = 60
# So many hosts of a fleet are looked at once only, not at every request: yarl's default,
# 512, is a cache that ten thousand hosts in turn always miss.
_KNOWN_HOSTS = 16_384
_USER_AGENT = "llm-registry-hub"

KEEPALIVE_S: Final = 45.0
"""How long an idle connection stays open: longer than the default interval of probes.

That saves a third of the CPU of a large fleet. It costs a file descriptor and some
16 KiB per endpoint that answers; the process must be allowed that many.
"""


# Who a new socket is made for. aiohttp's own tracing would cost a fifth of each request.
_asking: ContextVar["SharedAsker | None"] = ContextVar("asking", default=None)


class _Response(aiohttp.ClientResponse):
    """An answer that gives its asker the address that it comes from."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        if (asker := _asking.get()) is not None and not asker.address:
            asker.address = reached(connection.transport)
        return await super().start(connection)


def reached(transport: asyncio.BaseTransport | None) -> str:
    """The IP address that a connection leads to; "" if it is not known.

    127.0.0.1 stands for all addresses of this machine, but for the others of
    127.0.0.0/8, at each of which another server may listen.
    """
    if transport is None:
        return ""
    peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    if not peer or not own:
        return ""
    host = str(peer[0]).removeprefix("::ffff:")
    if host.startswith("127.") or peer[0] != own[0]:
        return host
    return "127.0.0.1"


class SharedAsker:
    """Asks one endpoint during one probe, by the shared connections; an `Asker`.

    `first_answer_ms` is how long the first answer took, None before it;
    `on_first_answer` is called with it. `is_asked`: a caller waits for the outcome of this
    probe. `has_connected` becomes True when a request of this probe opens a new
    connection: the server may have been replaced since the probe before. `address` is
    the one that answered, as `reached` gives it.
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
        self._headers = {hdrs.AUTHORIZATION: f"Bearer {target.api_key}"} if target.api_key else None

    @property
    def facts(self) -> ModelFactsCache:
        """The facts of models that servers have reported, over all probes."""
        return self._client.facts

    async def get(self, path: str, query: dict[str, str] | None = None) -> Answer:
        """Sends GET for a path under the endpoint's base path and returns the answer.

        Any status is an answer. Raises Unreachable, BadAnswer for what is not
        HTTP or too large, or OwnFault.
        """
        return await self._ask(hdrs.METH_GET, path, query=query)

    async def post(self, path: str, value: JsonValue) -> Answer:
        """Sends a question that a server takes only as POST with JSON; as `get`.

        Only for routes that read. Not repeated on a broken connection.
        """
        return await self._ask(hdrs.METH_POST, path, value=value)

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        value: JsonValue = None,
    ) -> Answer:
        target = self.target
        self.asking = f"{method} {path}"
        _asking.set(self)
        try:
            url = yarl.URL.build(
                scheme=target.scheme,
                host=target.host,
                port=target.port,
                path=target.base_path + path,
                query=query,
            )
        except ValueError:
            raise Unreachable(f"has an address that is none: {shown(target.id)}") from None
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        try:
            async with self._client.session.request(
                method,
                url,
                json=value,
                allow_redirects=False,
                headers=self._headers,
            ) as response:
                if self.first_answer_ms is None:
                    self.first_answer_ms = (loop.time() - started_s) * 1000.0
                    self.on_first_answer()
                headers = response.headers
                encoding = headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
                if encoding not in ("", "identity"):
                    raise BadAnswer(f"answered {path} compressed ({shown(encoding, 20)}), unasked")
                body = await self._read(response, path)
        except ProbeError:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            _raise_own_fault(error)
            _let_go(error)
            raise self._sentence(error, path) from error
        return Answer(
            path=path,
            status=response.status,
            content_type=headers.get(hdrs.CONTENT_TYPE, ""),
            server=headers.get(hdrs.SERVER, ""),
            retry_after=headers.get(hdrs.RETRY_AFTER, ""),
            location=headers.get(hdrs.LOCATION, ""),
            body=body,
            has_key=target.api_key is not None,
        )

    async def _read(self, response: aiohttp.ClientResponse, path: str) -> bytes:
        limit = self._client.settings.max_body_bytes
        too_large = f"answered more than {limit:,} bytes to {path}"
        length = response.content_length
        if length is not None and length > limit:
            raise BadAnswer(too_large)
        chunks: list[bytes] = []
        size = 0
        permitted = False
        try:
            while chunk := await response.content.readany():
                size += len(chunk)
                if size > limit:
                    raise BadAnswer(too_large)
                chunks.append(chunk)
                if size > _SMALL_BODY and not permitted:
                    await self._large_bodies.acquire()
                    permitted = True
        finally:
            if permitted:
                self._large_bodies.release()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _sentence(self, error: Exception, path: str) -> ProbeError:
        settings = self._client.settings
        match error:
            case aiohttp.ConnectionTimeoutError():
                return Unreachable(f"no connection within {settings.connect_timeout_s:g} s")
            case TimeoutError():
                return Unreachable(f"no answer to {path} within {settings.total_timeout_s:g} s")
            case aiohttp.ClientConnectorDNSError():
                return Unreachable(f"host name {shown(self.target.host)} does not resolve")
            case aiohttp.ClientConnectorCertificateError():
                certificate = error.certificate_error
                reason = getattr(certificate, "verify_message", "") or str(certificate)
                return Unreachable(f"TLS certificate is not trusted: {shown(reason)}")
            case aiohttp.ClientSSLError():
                return Unreachable(
                    "TLS handshake failed (is it plain http?): "
                    + shown(getattr(error.os_error, "reason", None) or str(error.os_error))
                )
            case aiohttp.ClientConnectorError():
                return Unreachable(_why(error.os_error))
            case aiohttp.ServerDisconnectedError():
                return Unreachable(f"closed the connection without an answer to {path}")
            case aiohttp.ClientPayloadError():
                return Unreachable(f"broke off in the middle of its answer to {path}")
            case aiohttp.ClientResponseError():
                return BadAnswer(f"did not answer in HTTP to {path}")
            case OSError():
                return Unreachable(_why(error))
        return Unreachable(f"cannot be asked for {path}: {shown(type(error).__name__)}")


class ProbeClient:
    """The shared connections; open and close it in the loop that uses it."""

    def __init__(self, settings: ProbeSettings) -> None:
        self.settings = settings
        self.policy = AddressPolicy(settings.allow, settings.deny)
        self.facts = ModelFactsCache(max_bytes=settings.model_facts_bytes)
        self._session: aiohttp.ClientSession | None = None
        self._retired: aiohttp.ClientSession | None = None
        # Those that fail must not hold every permit while those that live wait.
        self._large_bodies = {proven: asyncio.Semaphore(_LARGE_BODIES) for proven in (True, False)}

    @property
    def session(self) -> aiohttp.ClientSession:
        """The open session."""
        if self._session is None:
            raise RuntimeError("the probe client is not open")
        return self._session

    async def open(self) -> None:
        """Makes the session; no network yet."""
        settings = self.settings
        yarl.cache_configure(encode_host_size=_KNOWN_HOSTS)
        connector = BoundedConnector(
            # The engine bounds the probes in flight, which have one connection each.
            limit=0,
            resolver=ProbeResolver(),
            ttl_dns_cache=_DNS_TTL_S,
            keepalive_timeout=KEEPALIVE_S,
            socket_factory=self._socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            response_class=_Response,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            headers={
                hdrs.USER_AGENT: _USER_AGENT,
                hdrs.ACCEPT: "*/*",
                hdrs.ACCEPT_ENCODING: "identity",
            },
            timeout=aiohttp.ClientTimeout(
                total=settings.total_timeout_s, connect=settings.connect_timeout_s
            ),
        )

    async def set_policy(self, allow: Iterable[Network], deny: Iterable[Network]) -> None:
        """Decides by other blocks, also about connections that are open already.

        Probes in flight end on the connections that they have. Raises ValueError.
        """
        self.policy.replace(allow, deny)
        if self._session is None:
            return
        if self._retired is not None:
            await self._retired.close()
        self._retired = self._session
        await self.open()

    async def close(self) -> None:
        """Closes all connections. Idempotent."""
        for session in (self._session, self._retired):
            if session is not None:
                await session.close()
        self._session = self._retired = None

    def to(
        self, target: ProbeTarget, *, proven: bool = False, is_asked: bool = False
    ) -> SharedAsker:
        """Returns what asks an endpoint during one probe."""
        return SharedAsker(self, target, self._large_bodies[proven], is_asked=is_asked)

    def _socket(self, info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        self.policy.require(str(address[0]))
        if (asker := _asking.get()) is not None:
            asker.has_connected = True
        return socket.socket(family, kind, protocol)


# What the system says when it is the hub that has come to a limit.
_OWN = {
    errno.EMFILE: "it may open no more files (ulimit -n)",
    errno.ENFILE: "the system has no more files to open",
    errno.ENOBUFS: "the system has no more buffers for sockets",
    errno.ENOMEM: "the system has no more memory for sockets",
    errno.EADDRNOTAVAIL: "the system has no more ports for outgoing connections",
}


def _let_go(error: BaseException) -> None:
    """Cuts an error off from the frames that it came through, which hold on to the error.

    A fleet that is down would else leave 80 objects a probe to the garbage collector.
    """
    pending: list[BaseException | None] = [error, getattr(error, "os_error", None)]
    while pending:
        each = pending.pop()
        if each is not None and each.__traceback__ is not None:
            each.__traceback__ = None
            pending += [each.__cause__, each.__context__]


def _raise_own_fault(error: Exception) -> None:
    # aiohttp's own classes keep the system's error apart.
    cause = getattr(error, "os_error", error)
    if isinstance(cause, OSError) and (reason := _OWN.get(cause.errno or 0)):
        raise OwnFault(reason) from error


def _why(error: OSError) -> str:
    if isinstance(error, ForbiddenAddress):
        return str(error)
    # aiohttp's own classes keep the errno but not the class of the system's error.
    if error.errno == errno.ECONNREFUSED:
        return "connection refused"
    if error.errno in (errno.ECONNRESET, errno.EPIPE):
        return "connection reset"
    return f"cannot connect: {shown(error.strerror or str(error) or type(error).__name__)}"
