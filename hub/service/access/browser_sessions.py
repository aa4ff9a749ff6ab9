"""Browser sessions: what a cookie stands for, so that no page has to store a token.

A session's id is 256 random bits, and only its digest is kept. The session is
bound to the token that opened it and has no rights of its own: it ends when that
token is revoked or expires. Sessions are durable, so that a restart of the hub
signs no user out.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

import orjson

from hub.contract.errors import InvalidToken
from hub.service.access.caller import Principal
from hub.service.access.tokens import TokenRegistry
from hub.service.records import SESSIONS, damaged_record, name_of
from hub.stores.store import Delete, Entry, Operation, Put

LIFETIME_MS: Final = 7 * 24 * 3600 * 1000
"""How long a session lasts, used or not."""

MAX_PER_TOKEN: Final = 32
"""The maximum number of sessions per token; the oldest end first."""

# Each sign-in removes some ended sessions: etcd takes 128 operations in a batch.
_PRUNED_AT_ONCE: Final = 64
_ID_BYTES: Final = 32
_ID_LENGTH: Final = 43


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """One browser's session; `key` names its record in the store."""

    key: str
    token_id: str
    expires_at_ms: int


class BrowserSessions:
    """The open sessions; a `hub.service.records.RecordConsumer` of "sessions"."""

    def __init__(self, tokens: TokenRegistry) -> None:
        self._tokens = tokens
        self._sessions: dict[str, BrowserSession] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def apply_put(self, entry: Entry) -> None:
        """See `RecordConsumer`."""
        try:
            token_id, expires_at_ms, *unknown = orjson.loads(entry.value)
        except (orjson.JSONDecodeError, ValueError, TypeError) as error:
            raise damaged_record(entry.key) from error
        if not isinstance(token_id, str) or not isinstance(expires_at_ms, int):
            raise damaged_record(entry.key)
        if unknown:
            # A newer hub limits it in a way that this one cannot judge: it must sign in again.
            self._sessions.pop(name_of(entry.key), None)
            return
        self._sessions[name_of(entry.key)] = BrowserSession(entry.key, token_id, expires_at_ms)

    def apply_delete(self, key: str) -> None:
        """See `RecordConsumer`."""
        self._sessions.pop(name_of(key), None)

    def find(self, session_id: str) -> BrowserSession | None:
        """The session with that id, ended or not; None if there is none."""
        if len(session_id) != _ID_LENGTH or not session_id.isascii():
            return None
        return self._sessions.get(_digest(session_id))

    def authenticate(self, session_id: str, now_ms: int) -> Principal:
        """The principal of the session's token. Raises InvalidToken."""
        session = self.find(session_id)
        if session is not None and now_ms < session.expires_at_ms:
            principal = self._tokens.principal(session.token_id, now_ms)
            if principal is not None:
                return principal
        raise InvalidToken("the session is over: sign in again")

    def open(self, principal: Principal, now_ms: int) -> tuple[str, int, list[Operation]]:
        """Makes a session: returns its id, its end in epoch ms, and what to commit.

        The operations also remove some ended sessions. The session is valid once they
        have come back as a change.
        """
        session_id = secrets.token_urlsafe(_ID_BYTES)
        expires_at_ms = now_ms + LIFETIME_MS
        if principal.expires_at_ms is not None:
            expires_at_ms = min(expires_at_ms, principal.expires_at_ms)
        key = f"{SESSIONS}/{_digest(session_id)}"
        operations: list[Operation] = [
            Delete(over) for over in self._superfluous(principal, now_ms)
        ]
        operations.append(Put(key, orjson.dumps([principal.token_id, expires_at_ms])))
        return session_id, expires_at_ms, operations

    def _superfluous(self, principal: Principal, now_ms: int) -> list[str]:
        over, own = [], []
        for session in self._sessions.values():
            if (
                now_ms >= session.expires_at_ms
                or self._tokens.principal(session.token_id, now_ms) is None
            ):
                over.append(session.key)
            elif session.token_id == principal.token_id:
                own.append(session)
        own.sort(key=lambda session: session.expires_at_ms, reverse=True)
        excess = [session.key for session in own[MAX_PER_TOKEN - 1 :]]
        return (excess + over)[:_PRUNED_AT_ONCE]


def _digest(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()
