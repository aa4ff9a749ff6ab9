"""What ends a sidecar's connection by itself: it does not identify, or its token expires."""

import asyncio

from hub.base.clock import Alarm, Clock
from hub.transports.session.sidecar_session import SidecarSession


class SessionDeadlines:
    """The timers of one session; one that has identified with a lasting token has none.

    Call `update` after a frame that may have changed who the sidecar is, `identified` once
    it has identified, and `cancel` when the connection is gone.
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
        """Follows the token that the session holds now."""
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
        """The connection is gone."""
        self.identified()
        if self._expiry is not None:
            self._expiry.cancel()

    def _expired(self) -> None:
        self._session.close_if_expired(self._clock.now_ms())
