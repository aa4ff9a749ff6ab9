"""The credentials of an identify frame, which carries its token in its payload."""

from collections.abc import Callable

from hub.contract import validation
from hub.service.access.access_control import AccessControl
from hub.service.access.caller import Caller, Principal
from hub.service.dispatcher import Request


class IdentityClaim:
    """Proves that a sidecar is its agent; `caller` is set once that is done.

    `accept` makes the caller, or raises what the session has against it.
    """

    caller: Caller

    def __init__(self, payload: Request, accept: Callable[[Principal, int], Caller]) -> None:
        self._payload = payload
        self._accept = accept

    def authenticate(self, access: AccessControl, now_ms: int) -> Caller:
        """See `Credentials`. Raises ValidationFailed and what `accept` raises, too."""
        request = self._payload.message
        # A frame without a token is an invalid frame, not one with a wrong token.
        validation.check(request, self._payload.violations)
        principal = access.authenticate_agent(request.token, request.agent_id, now_ms)
        self.caller = self._accept(principal, now_ms)
        return self.caller
