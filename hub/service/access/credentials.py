"""What a caller presents to prove who it is: a bearer token, or a browser session's cookie."""

from dataclasses import dataclass, field
from typing import Protocol

from hub.service.access.access_control import AccessControl
from hub.service.access.caller import Caller, Principal
from llmhub.v1.resources_pb2 import ROLE_UNSPECIFIED


class Credentials(Protocol):
    """What comes with a request; a transport reads it off the wire and does not judge it."""

    def authenticate(self, access: AccessControl, now_ms: int) -> Caller:
        """Returns the caller. Raises InvalidToken or another HubError."""
        ...


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A token, sent with the request."""

    token: str = field(repr=False)
    remote_address: str
    transport: str

    def authenticate(self, access: AccessControl, now_ms: int) -> Caller:
        """See `Credentials`. Raises InvalidToken."""
        principal = access.tokens.authenticate(self.token, now_ms)
        return Caller(principal, self.remote_address, self.transport)


@dataclass(frozen=True, slots=True)
class BrowserCookie:
    """The id of a browser session, sent as a cookie over HTTP."""

    session_id: str = field(repr=False)
    remote_address: str

    def authenticate(self, access: AccessControl, now_ms: int) -> Caller:
        """See `Credentials`. Raises InvalidToken."""
        principal = access.browser_sessions.authenticate(self.session_id, now_ms)
        return Caller(principal, self.remote_address, "http")


@dataclass(frozen=True, slots=True)
class Anonymous:
    """No proof at all. It has no role, so it may call only what needs none."""

    remote_address: str
    transport: str

    def authenticate(self, _access: AccessControl, _now_ms: int) -> Caller:
        """See `Credentials`."""
        principal = Principal(ROLE_UNSPECIFIED, "", "")
        return Caller(principal, self.remote_address, self.transport)


def bearer_token(authorization: str) -> str | None:
    """The token in an `Authorization` value (RFC 6750), or None if it has another scheme."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
