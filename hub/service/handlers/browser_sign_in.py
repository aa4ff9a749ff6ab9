"""Browser sessions as calls: sign in, say who is signed in, sign out."""

from dataclasses import dataclass, field

from hub.service.access.browser_sessions import BrowserSessions
from hub.service.access.caller import Caller, Principal
from hub.service.changes.commits import Commits
from hub.stores.store import Delete


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A new session: its id, which only the browser keeps, and when it ends in epoch ms."""

    session_id: str = field(repr=False)
    expires_at_ms: int
    principal: Principal


class BrowserSessionHandlers:
    """Opens and closes the sessions of browsers."""

    def __init__(self, commits: Commits, sessions: BrowserSessions) -> None:
        self._commits = commits
        self._sessions = sessions

    async def open_browser_session(
        self, _request: None, caller: Caller, now_ms: int
    ) -> OpenedSession:
        """Opens a session for the caller's token. Raises StoreUnavailable."""
        session_id, expires_at_ms, operations = self._sessions.open(caller.principal, now_ms)
        await self._commits.write(operations)
        return OpenedSession(session_id, expires_at_ms, caller.principal)

    async def close_browser_session(self, session_id: str, _caller: Caller, _now_ms: int) -> None:
        """Closes a session if it exists. Raises StoreUnavailable."""
        session = self._sessions.find(session_id)
        if session is not None:
            await self._commits.write([Delete(session.key)])

    def show_caller(self, _request: None, caller: Caller, _now_ms: int) -> Principal:
        """Says who calls."""
        return caller.principal
