"""Turns HTTP requests into calls: reads credentials and JSON, and calls the dispatcher.

A browser sends a cookie no matter which page makes the request, so a request with a
cookie must also prove that the dashboard made it:

- It has the header `X-LLM-Hub`. A page of another origin cannot add it without a CORS
  preflight (https://fetch.spec.whatwg.org/#cors-preflight-fetch), which the hub does not
  answer.
- `Sec-Fetch-Site`, if the browser sends it, is "same-origin". Browsers send it only over
  TLS and to loopback; without it, the `Origin` of a call that changes something must
  name the host that was called.
- The cookie itself is SameSite=Strict.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from types import CoroutineType
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from hub.base.clock import Clock
from hub.base.settings import Network
from hub.contract.dialect.frames import not_an_object
from hub.contract.errors import InvalidJson, InvalidToken
from hub.service.access.access_control import (
    AccessControl,
    Anonymous,
    BearerToken,
    BrowserCookie,
    ClientCertificate,
    Credentials,
    bearer_token,
)
from hub.service.access.caller import Caller
from hub.service.access.peer_certificate import PeerCertificate
from hub.service.dispatcher import Called, Dispatcher, Encode, Read, Received
from hub.transports.certificate import ServerTls
from hub.transports.http.connections import HttpProtocol
from hub.transports.http.in_flight import BodiesInFlight
from hub.transports.http.responses import has_etag
from hub.transports.peer import is_trusted, peer_address
from hub.transports.peer_certificates import shown_certificate

PROOF_HEADER: Final = "X-LLM-Hub"
"""Proves, with any value, that the dashboard made a request with a cookie."""

_NOTHING: Final = Received(None)
_SAFE: Final = frozenset({"GET", "HEAD"})


def _no_request() -> Received:
    return _NOTHING


class HttpCredentials:
    """Finds the credentials of a request, and its caller's address."""

    def __init__(
        self, trusted_proxies: Sequence[Network] = (), tls: ServerTls | None = None
    ) -> None:
        self._tls = tls
        self._trusted_proxies = trusted_proxies
        self.cookie = "llm_hub_session"

    def use_port(self, port: int) -> None:
        """Names the cookie after the port.

        Cookies are shared between ports (RFC 6265, section 8.5), so two hubs on one machine
        would sign each other's users out.
        """
        self.cookie = f"llm_hub_session_{port}"

    def of(self, request: web.Request) -> Credentials:
        """The credentials of the request. Raises InvalidToken, HTTPForbidden."""
        address = self.address(request)
        certificate = self.certificate(request)
        token = bearer_token(request.headers.get("Authorization", ""))
        if token is not None:
            return BearerToken(token, address, "http", certificate)
        session_id = self.session_id(request)
        if session_id is None and certificate is not None:
            require_no_other_page(request)
            return ClientCertificate(certificate, address, "http")
        if session_id is None:
            raise InvalidToken("header `Authorization: Bearer <token>` is missing")
        require_own_page(request)
        return BrowserCookie(session_id, address, certificate)

    def certificate(self, request: web.Request) -> PeerCertificate | None:
        """The client certificate of the request's connection. Raises InvalidToken if revoked."""
        if self._tls is None:
            return None
        return self._tls.peers.read(shown_certificate(request.transport))

    def are_given(self, request: web.Request) -> bool:
        """Whether the request has any credentials, valid or not."""
        return "Authorization" in request.headers or self.session_id(request) is not None

    def anonymous(self, request: web.Request) -> Credentials:
        """Anonymous credentials, for a call that needs no others."""
        return Anonymous(self.address(request), "http")

    def address(self, request: web.Request) -> str:
        """The caller's address: the peer's, or the one that a trusted proxy forwards."""
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))
        return peer_address(request.remote or "", self._trusted_proxies, forwarded)

    def is_secure(self, request: web.Request) -> bool:
        """Whether the caller uses TLS, to the hub or to a trusted proxy that says so."""
        proto = ",".join(request.headers.getall("X-Forwarded-Proto", ()))
        forwarded = proto.rpartition(",")[2].strip().lower() == "https"
        return request.secure or (
            forwarded and is_trusted(request.remote or "", self._trusted_proxies)
        )

    def session_id(self, request: web.Request) -> str | None:
        """The session id that the browser sent, valid or not."""
        return request.cookies.get(self.cookie)


class _Shown:
    """Credentials that remember whose they are, once they have been checked.

    A connection on which valid ones were shown keeps its place if places become scarce.
    """

    caller: Caller

    def __init__(self, credentials: Credentials, request: web.Request) -> None:
        self._credentials = credentials
        self._protocol = request.protocol

    def authenticate(self, access: AccessControl, now_ms: int) -> Caller:
        """See `Credentials`."""
        self.caller = self._credentials.authenticate(access, now_ms)
        if self.caller.principal.token_id and isinstance(self._protocol, HttpProtocol):
            self._protocol.know()
        return self.caller


class HttpCalls:
    """Passes requests on to the dispatcher."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        credentials: HttpCredentials,
        clock: Clock,
        bodies: BodiesInFlight,
    ) -> None:
        self._dispatcher = dispatcher
        self.credentials = credentials
        self.clock = clock
        self.bodies = bodies

    async def read(
        self,
        request: web.Request,
        called: Called,
        read: Read = _no_request,
        *,
        credentials: Credentials | None = None,
        encode: Encode | None = None,
        content_type: str = "application/json",
        tagged: bool = False,
    ) -> web.Response:
        """Answers a request with the body that its handler, or `encode`, has encoded.

        A `tagged` body has an ETag; to a caller that has it already goes status 304. A long
        body counts against the caller's token until it is sent. Raises HubError and
        HTTPForbidden.
        """
        shown = _Shown(credentials or self.credentials.of(request), request)
        body: bytes = await self.call(request, called, read, credentials=shown, encode=encode)
        etag = hashlib.sha256(body).hexdigest()[:32] if tagged else None
        if etag is not None and has_etag(request, etag):
            response = web.Response(status=304)
        else:
            response = self.bodies.response(shown.caller.principal.token_id, body, content_type)
        if etag is not None:
            response.etag = etag
            response.headers["Cache-Control"] = "private, no-cache"
        return response

    # Any: the handler's reply, or what `encode` returns for it.
    async def call(
        self,
        request: web.Request,
        called: Called,
        read: Read = _no_request,
        *,
        credentials: Credentials | None = None,
        encode: Encode | None = None,
    ) -> Any:
        """Answers a request, with its own credentials unless others are given.

        Raises HubError, HTTPForbidden and what `read` raises.
        """
        if not isinstance(credentials, _Shown):
            credentials = _Shown(credentials or self.credentials.of(request), request)
        answer = self._dispatcher.dispatch(
            called,
            credentials,
            read,
            self.clock.now_ms(),
            encode=encode,
        )
        return await answer if isinstance(answer, CoroutineType) else answer


def require_no_other_page(request: web.Request) -> None:
    """Raises HTTPForbidden if a page of another origin made the request.

    A browser presents a client certificate to whichever page asks, as it does a cookie.
    What is no browser sends none of these headers.
    """
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise web.HTTPForbidden
    origin = request.headers.get("Origin")
    if origin is not None and _netloc(origin) != request.host.lower():
        raise web.HTTPForbidden


def require_own_page(request: web.Request) -> None:
    """Raises HTTPForbidden if a page other than the hub's may have made the request."""
    if PROOF_HEADER not in request.headers:
        raise web.HTTPForbidden
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        if site != "same-origin":
            raise web.HTTPForbidden
        return
    origin = request.headers.get("Origin")
    if origin is None:
        if request.method not in _SAFE:
            raise web.HTTPForbidden
    elif _netloc(origin) != request.host.lower():
        raise web.HTTPForbidden


def _netloc(origin: str) -> str | None:
    """The host and port of an origin, or None if it is not a URL."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


# Enough for the longest body at 1 Mbit/s; sign-in reads a body before authentication.
_BODY_S: Final = 10.0


async def json_body(request: web.Request, max_bytes: int | None = None) -> dict[str, object]:
    """The body's JSON object, of at most `max_bytes`; None stands for `http.max_body_bytes`.

    Raises InvalidJson, ValidationFailed, HTTPUnsupportedMediaType, HTTPRequestTimeout,
    HTTPRequestEntityTooLarge, HTTPBadRequest; ConnectionError if the caller has gone.
    """
    if "Content-Type" in request.headers and request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType
    if "Content-Encoding" in request.headers:
        raise web.HTTPUnsupportedMediaType
    try:
        async with asyncio.timeout(_BODY_S):
            raw = await _body(request, request.client_max_size if max_bytes is None else max_bytes)
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except web.RequestPayloadError:
        raise web.HTTPBadRequest from None
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidJson(f"not JSON: {error}") from None
    if type(body) is not dict:
        raise not_an_object()
    return body


async def _body(request: web.Request, max_bytes: int) -> bytearray:
    """Reads a body, and stops as soon as it is too long, or says that it will be."""
    length = request.content_length or 0
    body = bytearray()
    while length <= max_bytes:
        chunk = await request.content.readany()
        if not chunk:
            return body
        body += chunk
        length = len(body)
    raise web.HTTPRequestEntityTooLarge(max_size=max_bytes, actual_size=length)
