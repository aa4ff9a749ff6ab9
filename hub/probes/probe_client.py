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
from dataclasses import dataclass
from typing import TypeAlias

import aiohttp
import orjson
import yarl
from aiohappyeyeballs import AddrInfoType
from aiohttp import hdrs

from hub.base.probe_settings import ProbeSettings
from hub.probes.address_policy import AddressPolicy, ForbiddenAddress
from hub.probes.faults import (
    BadAnswer,
    Busy,
    NeedsApiKey,
    NotReady,
    OwnFault,
    ProbeError,
    Refused,
    Unreachable,
    WrongKind,
    shown,
)
from hub.probes.resolver import ProbeResolver
from hub.probes.target import Target

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

# What one answer may hold without asking; a larger one takes one of few permits.
_SMALL_BODY = 64 * 1024
_LARGE_BODIES = 16
_DNS_TTL_S = 60
# So many hosts of a fleet are looked at once only, not at every request: yarl's default,
# 512, is a cache that ten thousand hosts in turn always miss.
_KNOWN_HOSTS = 16_384


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. `path` is what was asked, for the error messages."""

    path: str
    status: int
    content_type: str
    server: str
    retry_after: str
    location: str
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    def require_ok(self) -> "Answer":
        """Returns the answer if its status is 2xx.

        Raises NeedsApiKey, Busy, NotReady, WrongKind (404, 405, 501: no server of
        the kind asked for), BadAnswer (3xx) or Refused (any other status).
        """
        if self.ok:
            return self
        raise self._fault()

    def json(self) -> JsonValue:
        """Returns the body of a 2xx answer as JSON. Raises as `require_ok`, and BadAnswer."""
        self.require_ok()
        try:
            value: JsonValue = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise BadAnswer(f"answered {self._what_it_is()}, not JSON, to {self.path}") from None
        return value

    def json_or_none(self) -> JsonValue:
        """Returns the body as JSON whatever the status; None where it is none."""
        try:
            value: JsonValue = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None
        return value

    def _what_it_is(self) -> str:
        start = self.body[:64].lstrip().lower()
        if not self.body.strip():
            return "nothing"
        if start.startswith((b"<!doctype html", b"<html")) or "html" in self.content_type:
            return "HTML"
        return "text" if "text/" in self.content_type else "malformed data"

    def _fault(self) -> ProbeError:
        detail = self._detail()
        match self.status:
            case 401 | 403:
                return NeedsApiKey(f"needs an API key ({self.status} to {self.path})")
            case 429:
                retry_after_s = _seconds(self.retry_after)
                until = "" if retry_after_s is None else f"; asks to wait {retry_after_s:.0f} s"
                return Busy(
                    f"refuses for too many requests (429 to {self.path}){until}", retry_after_s
                )
            case 503:
                return NotReady(f"is not ready (503 to {self.path}){detail}")
            case 404 | 405 | 501:
                return WrongKind(f"does not know {self.path} ({self.status}){detail}")
            case status if 300 <= status < 400:
                where = f" to {shown(self.location)}" if self.location else ""
                return BadAnswer(
                    f"answered a redirect ({status}{where}) to {self.path}; "
                    "redirects are not followed"
                )
        return Refused(f"answered {self.status} to {self.path}{detail}")

    def _detail(self) -> str:
        """What the server says of its error: the usual shapes of JSON, or plain text."""
        value = self.json_or_none()
        if isinstance(value, dict):
            error = value.get("error", value.get("detail", value.get("message")))
            text = error.get("message") if isinstance(error, dict) else error
            return f": {shown(text)}" if isinstance(text, str) and text else ""
        if value is None and "text/plain" in self.content_type:
            text = shown(self.body[:400].decode("utf-8", "replace"))
            return f": {text}" if text else ""
        return ""


# Who a new socket is made for. aiohttp's own tracing would cost a fifth of each request.
_asking: ContextVar["Asker | None"] = ContextVar("asking", default=None)


class Asker:
    """Asks one endpoint during one probe.

    `first_answer_ms` is how long the first answer took, None before it. `connections`
    counts those that had to be opened. `is_asked`: somebody waits for what this sees.
    """

    def __init__(
        self,
        client: "ProbeClient",
        target: Target,
        large_bodies: asyncio.Semaphore,
        *,
        is_asked: bool,
    ) -> None:
        self.target = target
        self.is_asked = is_asked
        self.first_answer_ms: float | None = None
        self.on_first_answer: Callable[[], None] = lambda: None
        self.connections = 0
        self.asking = ""
        self._client = client
        self._large_bodies = large_bodies
        self._headers = {hdrs.AUTHORIZATION: f"Bearer {target.api_key}"} if target.api_key else None

    async def get(self, path: str, query: dict[str, str] | None = None) -> Answer:
        """Sends GET for a path under the endpoint's base path and returns the answer.

        Any status is an answer. Raises Unreachable, BadAnswer for what is not
        HTTP or too large, or OwnFault.
        """
        target = self.target
        self.asking = f"GET {path}"
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
            async with self._client.session.get(
                url, allow_redirects=False, headers=self._headers
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
        """Raises ValueError for a block in `allow` or `deny` that is none."""
        self.settings = settings
        self.policy = AddressPolicy(settings.allow, settings.deny)
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
        connector = aiohttp.TCPConnector(
            # The engine bounds the probes in flight, which have one connection each.
            limit=0,
            resolver=ProbeResolver(),
            ttl_dns_cache=_DNS_TTL_S,
            keepalive_timeout=settings.keepalive_s,
            socket_factory=self._socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            headers={
                hdrs.USER_AGENT: settings.user_agent,
                hdrs.ACCEPT: "*/*",
                hdrs.ACCEPT_ENCODING: "identity",
            },
            timeout=aiohttp.ClientTimeout(
                total=settings.total_timeout_s, connect=settings.connect_timeout_s
            ),
        )

    async def set_policy(self, allow: Iterable[str], deny: Iterable[str]) -> None:
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

    def to(self, target: Target, *, proven: bool = False, is_asked: bool = False) -> Asker:
        """Returns what asks an endpoint during one probe."""
        return Asker(self, target, self._large_bodies[proven], is_asked=is_asked)

    def _socket(self, info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        self.policy.require(str(address[0]))
        if (asker := _asking.get()) is not None:
            asker.connections += 1
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


def _seconds(retry_after: str) -> float | None:
    """Parses Retry-After in its form of seconds (RFC 9110, 10.2.3); a date is not used."""
    digits = retry_after.strip()
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        return None
    return float(digits)
