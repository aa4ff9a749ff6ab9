"""Who calls over HTTP: the bearer of a token, or a browser with a session's cookie.

A cookie is sent by the browser whoever made the page that asks, so a call that
comes with one must also prove that the dashboard made it:

- It carries the header `X-LLM-Hub`. Another origin's page cannot add it without
  a CORS preflight (https://fetch.spec.whatwg.org/#cors-preflight-fetch), and the
  hub answers none.
- `Sec-Fetch-Site`, where the browser sends it, says "same-origin". It is sent over
  TLS and to loopback only, so without it a changing call's `Origin` must name the
  host that was called.
- The cookie itself is SameSite=Strict.
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from hub.base.settings import Network
from hub.contract.errors import InvalidToken
from hub.service.access.browser_sessions import SessionRegistry
from hub.service.access.principal import Principal
from hub.service.access.tokens import TokenRegistry
from hub.transports.peer import is_trusted, peer_address

PROOF_HEADER: Final = "X-LLM-Hub"
"""Proves, with any value, that a call with a cookie is the dashboard's own."""

_SAFE: Final = frozenset({"GET", "HEAD"})


class Authenticator:
    """Finds the principal of a request."""

    def __init__(
        self,
        tokens: TokenRegistry,
        sessions: SessionRegistry,
        trusted_proxies: Sequence[Network] = (),
    ) -> None:
        self._trusted_proxies = trusted_proxies
        self._tokens = tokens
        self._sessions = sessions
        self.cookie = "llm_hub_session"

    def use_port(self, port: int) -> None:
        """Names the cookie after the door's port.

        Cookies do not tell ports apart (RFC 6265, section 8.5): two hubs on one
        machine would sign each other's users out.
        """
        self.cookie = f"llm_hub_session_{port}"

    def principal(self, request: web.Request, now_ms: int) -> Principal:
        """Who makes the request. Raises InvalidToken, HTTPForbidden.

        May be asked again while a long answer is under way: a revoked token or
        an ended session is then refused.
        """
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._tokens.authenticate(token.strip(), now_ms)
        session_id = self.session_id(request)
        if session_id is None:
            raise InvalidToken("header `Authorization: Bearer <token>` is missing")
        require_own_page(request)
        return self._sessions.authenticate(session_id, now_ms)

    def address(self, request: web.Request) -> str:
        """Where the caller is: the peer, or what a trusted proxy says of it."""
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))
        return peer_address(request.remote or "", self._trusted_proxies, forwarded)

    def is_secure(self, request: web.Request) -> bool:
        """Whether the caller speaks TLS, to the hub or to a trusted proxy that says so."""
        proto = ",".join(request.headers.getall("X-Forwarded-Proto", ()))
        told = proto.rpartition(",")[2].strip().lower() == "https"
        return request.secure or (told and is_trusted(request.remote or "", self._trusted_proxies))

    def session_id(self, request: web.Request) -> str | None:
        """The session's id that the browser sent, valid or not."""
        return request.cookies.get(self.cookie)


def require_own_page(request: web.Request) -> None:
    """Raises HTTPForbidden where another page than the hub's own may have made the call."""
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
    """The host and port of an origin; None where it is no URL at all."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
