"""The deadlines of a sidecar's connection: to identify, and the expiry of its token."""

import asyncio

from hub.base.clock import Alarm, Clock
from hub.transports.session.sidecar_session import SidecarSession


class SessionDeadlines:
    """The timers of one session. It has none after it identified with a lasting token.

    Call `update` after a frame that may have changed the session's token, `identified`
    once the sidecar has identified, and `cancel` when the connection is closed.
    """

    __slots__ = ("_clock", "_expires_at_ms", "_expiry", "_identify", "_session")

    def __init__(self, session: SidecarSession, clock: Clock, identify_timeout_s: float) -> None:
        self._session = session
        self._clock = clock
        self._identify: asyncio.TimerHandle | None = asyncio.get_running_loop().call_later(
            identify_timeout_s, session.close_unless_identified
        )
        self._expires_at_ms: int | None = None
        self._expiry: Alarm | None = None

    def update(self) -> None:
        """Sets the expiry timer for the session's current token."""
        expires_at_ms = self._session.expires_at_ms
        if expires_at_ms == self._expires_at_ms:
            return
        self._expires_at_ms = expires_at_ms
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if expires_at_ms is not None:
            self._expiry = Alarm(self._clock, expires_at_ms, self._expired)

    def identified(self) -> None:
        """The sidecar has identified. Idempotent."""
        if self._identify is not None:
            self._identify.cancel()
            self._identify = None

    def cancel(self) -> None:
        """Stops the timers."""
        self.identified()
        if self._expiry is not None:
            self._expiry.cancel()

    def _expired(self) -> None:
        self._session.close_if_expired(self._clock.now_ms())
