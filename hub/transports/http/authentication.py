"""HTTP requests as calls: credentials and JSON off the wire, then on to the dispatcher.

A browser sends a cookie whichever page makes the request, so a request with a cookie must
also prove that the dashboard made it:

- It carries the header `X-LLM-Hub`. Another origin's page cannot add it without
  a CORS preflight (https://fetch.spec.whatwg.org/#cors-preflight-fetch), and the
  hub answers none.
- `Sec-Fetch-Site`, if the browser sends it, says "same-origin". It is sent over
  TLS and to loopback only, so without it a changing call's `Origin` must name the
  host that was called.
- The cookie itself is SameSite=Strict.
"""

import asyncio
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
    Anonymous,
    BearerToken,
    BrowserCookie,
    ClientCertificate,
    Credentials,
    bearer_token,
)
from hub.service.dispatcher import Called, Dispatcher, Encode, Read, Received
from hub.transports.certificate import ServerTls
from hub.transports.peer import is_trusted, peer_address
from hub.transports.peer_certificates import shown_certificate

PROOF_HEADER: Final = "X-LLM-Hub"
"""Proves, with any value, that a request with a cookie is the dashboard's own."""

_NOTHING: Final = Received(None)
_SAFE: Final = frozenset({"GET", "HEAD"})


def _no_request() -> Received:
    return _NOTHING


class HttpCredentials:
    """Finds the credentials of a request, and where its caller is."""

    def __init__(
        self, trusted_proxies: Sequence[Network] = (), tls: ServerTls | None = None
    ) -> None:
        self._tls = tls
        self._trusted_proxies = trusted_proxies
        self.cookie = "llm_hub_session"

    def use_port(self, port: int) -> None:
        """Names the cookie after the port.

        Cookies do not tell ports apart (RFC 6265, section 8.5): two hubs on one
        machine would sign each other's users out.
        """
        self.cookie = f"llm_hub_session_{port}"

    def of(self, request: web.Request) -> Credentials:
        """Returns what came with the request. Raises InvalidToken, HTTPForbidden."""
        address = self.address(request)
        # A revoked certificate spoils the connection, whatever else comes over it.
        shown = shown_certificate(request.transport) if self._tls is not None else None
        certificate = self._tls.peers.read(shown) if self._tls is not None else None
        token = bearer_token(request.headers.get("Authorization", ""))
        if token is not None:
            return BearerToken(token, address, "http")
        session_id = self.session_id(request)
        if session_id is None and certificate is not None:
            require_no_other_page(request)
            return ClientCertificate(certificate, address, "http")
        if session_id is None:
            raise InvalidToken("header `Authorization: Bearer <token>` is missing")
        require_own_page(request)
        return BrowserCookie(session_id, address)

    def anonymous(self, request: web.Request) -> Credentials:
        """The credentials of a call that needs none."""
        return Anonymous(self.address(request), "http")

    def address(self, request: web.Request) -> str:
        """Where the caller is: the peer, or the address that a trusted proxy passes on."""
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
        """The session's id that the browser sent, valid or not."""
        return request.cookies.get(self.cookie)


class HttpCalls:
    """Passes requests on to the dispatcher."""

    def __init__(self, dispatcher: Dispatcher, credentials: HttpCredentials, clock: Clock) -> None:
        self._dispatcher = dispatcher
        self.credentials = credentials
        self.clock = clock

    # Any: what the operation's handler answers, or what `encode` makes of it.
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
        answer = self._dispatcher.dispatch(
            called,
            credentials or self.credentials.of(request),
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
    """Raises HTTPForbidden if a page that is not the hub's own may have made the request."""
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


# A body of the longest kind at 1 Mbit/s; sign-in reads one from strangers.
_BODY_S: Final = 10.0


async def json_body(request: web.Request) -> dict[str, object]:
    """The body's JSON object.

    Raises InvalidJson, ValidationFailed, HTTPUnsupportedMediaType, HTTPRequestTimeout,
    HTTPBadRequest; ConnectionError if the caller has gone.
    """
    if "Content-Type" in request.headers and request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType
    if "Content-Encoding" in request.headers:
        raise web.HTTPUnsupportedMediaType
    try:
        async with asyncio.timeout(_BODY_S):
            raw = await request.read()
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
