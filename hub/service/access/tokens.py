"""Bearer tokens: shown once, stored as a digest, checked on every call.

A token is `llmhub_<id>_<secret>`. The id, 12 characters of base 32, finds the record
and may be shown; the secret is 256 random bits. A fast hash is enough, because the
secret cannot be guessed; slow hashes are for passwords, which can.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from hub.contract.errors import InvalidToken, ScopeForbidden, ValidationFailed
from hub.service.access.caller import Principal
from hub.service.access.scopes import compiled
from hub.service.records import damaged_record, name_of, token_key, unknown_fields
from hub.stores.store import Entry, Put
from llmhub.v1.resources_pb2 import (
    ROLE_ADMIN,
    ROLE_READER,
    ROLE_SIDECAR,
    ROLE_UNSPECIFIED,
    Role,
    TokenInfo,
    TokenScope,
)

PREFIX: Final = "llmhub_"

KEPT_EXPIRED_MS: Final = 30 * 24 * 3600 * 1000
MAX_KEPT_EXPIRED: Final = 1000
"""How long, and at most how many, expired tokens can still be listed."""

_ID_LENGTH: Final = 12
_ID_START: Final = len(PREFIX)
_ID_END: Final = _ID_START + _ID_LENGTH
_SECRET_BYTES: Final = 32
_DIGEST_BYTES: Final = 32
# url-safe base 64 without padding: 43 characters for 32 bytes.
_TOKEN_LENGTH: Final = _ID_END + 1 + 43

_ROLES: Final = (ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR)
# One message for every reason: it must not reveal which tokens exist.
_REFUSAL: Final = "the token is missing, wrong, revoked or expired"


@dataclass(frozen=True, slots=True)
class _Record:
    digest: bytes
    principal: Principal
    info: TokenInfo
    revision: int
    # What a newer hub wrote: the token may be limited in a way that this hub cannot judge.
    unknown: tuple[str, ...] = ()


def _unknown_record() -> _Record:
    """Stands in for an unknown token, so that rejecting it takes the same time."""
    return _Record(
        secrets.token_bytes(_DIGEST_BYTES), Principal(ROLE_UNSPECIFIED, "", ""), TokenInfo(), 0
    )


def encode_token(digest: bytes, info: TokenInfo) -> bytes:
    """Serializes a token's record: 32 bytes of SHA-256 of the token, then its TokenInfo."""
    return digest + info.SerializeToString(deterministic=True)


class TokenRegistry:
    """The tokens, valid and expired; a `hub.service.records.RecordConsumer` of "tokens"."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}
        self.changes = 0
        """How often a token was added, changed or removed."""
        self._unknown = _unknown_record()

    def __len__(self) -> int:
        return len(self._records)

    def apply_put(self, entry: Entry) -> None:
        """See `RecordConsumer`."""
        record = _decode(entry)
        self._records[record.info.id] = record
        self.changes += 1

    def apply_delete(self, key: str) -> None:
        """See `RecordConsumer`."""
        self._records.pop(name_of(key), None)
        self.changes += 1

    def authenticate(self, token: str, now_ms: int) -> Principal:
        """Returns the principal of the token.

        Raises InvalidToken, with the same message and after the same work for a
        malformed, unknown, wrong, revoked or expired token; ScopeForbidden for a token that
        a newer hub made with limits that this one does not know.
        """
        if len(token) != _TOKEN_LENGTH or not token.isascii():
            # Bounds the hashing, and excludes text that cannot be encoded.
            token = ""
        record = self._records.get(token[_ID_START:_ID_END], self._unknown)
        digest = hashlib.sha256(token.encode()).digest()
        if not hmac.compare_digest(digest, record.digest) or _has_expired(record, now_ms):
            raise InvalidToken(_REFUSAL)
        if record.unknown:
            raise ScopeForbidden(
                "a newer version of the hub made this token, with limits that this version does"
                f" not know ({', '.join(record.unknown)}): upgrade the hub, or use another token",
                metadata={"scope": "unknown"},
            )
        return record.principal

    def principal(self, token_id: str, now_ms: int) -> Principal | None:
        """The principal of the token with that id; None if `authenticate` would refuse it."""
        record = self._records.get(token_id)
        if record is None or record.unknown or _has_expired(record, now_ms):
            return None
        return record.principal

    def mint(
        self,
        role: Role,
        agent_id: str,
        ttl_ms: int | None,
        description: str,
        now_ms: int,
        scope: TokenScope | None = None,
    ) -> tuple[str, TokenInfo, Put]:
        """Makes a token: returns the secret, its description, and what to store.

        It is valid once the Put has come back as a change. With `ttl_ms` None it is valid
        until it is revoked; with `scope` None only its role limits it. Raises ValueError if
        role and agent_id do not fit together: a sidecar token is bound to one agent, and
        any other token to none.
        """
        if role not in _ROLES or (role == ROLE_SIDECAR) != bool(agent_id):
            raise ValueError("a sidecar token needs an agent_id, and no other token has one")
        token_id = _new_id()
        while token_id in self._records:
            token_id = _new_id()
        token = f"{PREFIX}{token_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
        info = TokenInfo(
            id=token_id, role=role, agent_id=agent_id, description=description, scope=scope
        )
        info.created_at.FromMilliseconds(now_ms)
        if ttl_ms is not None:
            info.expires_at.FromMilliseconds(now_ms + ttl_ms)
        digest = hashlib.sha256(token.encode()).digest()
        return token, info, Put(token_key(token_id), encode_token(digest, info))

    def get(self, token_id: str) -> TokenInfo | None:
        """What the hub knows about a token, valid or expired; None if there is no such token."""
        record = self._records.get(token_id)
        return None if record is None else record.info

    def written_at(self, token_id: str) -> int:
        """The store revision that wrote the token; 0 if there is no such token."""
        record = self._records.get(token_id)
        return 0 if record is None else record.revision

    def list(self, now_ms: int, *, include_expired: bool = False) -> tuple[TokenInfo, ...]:
        """The valid tokens, sorted by id. The caller must not change them.

        With `include_expired` it adds the expired ones, marked as such.
        """
        found = []
        for _, record in sorted(self._records.items()):
            if not _has_expired(record, now_ms):
                found.append(record.info)
            elif include_expired:
                marked = TokenInfo(expired=True)
                marked.MergeFrom(record.info)
                found.append(marked)
        return tuple(found)

    def count_valid(self, now_ms: int) -> int:
        """How many tokens are valid."""
        return sum(not _has_expired(record, now_ms) for record in self._records.values())

    def outdated(self, now_ms: int) -> tuple[str, ...]:
        """The keys of expired tokens that the store need not keep, oldest first.

        Tokens that expired in the last 30 days are kept, so that an admin can see what
        became of them, but at most the latest 1000.
        """
        expired = sorted(
            (expires_at_ms, token_id)
            for token_id, record in self._records.items()
            if (expires_at_ms := record.principal.expires_at_ms) is not None
            and now_ms >= expires_at_ms
        )
        surplus = len(expired) - MAX_KEPT_EXPIRED
        return tuple(
            token_key(token_id)
            for i, (expires_at_ms, token_id) in enumerate(expired)
            if i < surplus or now_ms - expires_at_ms >= KEPT_EXPIRED_MS
        )


def _has_expired(record: _Record, now_ms: int) -> bool:
    expires_at_ms = record.principal.expires_at_ms
    return expires_at_ms is not None and now_ms >= expires_at_ms


def _new_id() -> str:
    # 60 of the 64 random bits.
    return base64.b32encode(secrets.token_bytes(8)).decode().lower()[:_ID_LENGTH]


def _decode(entry: Entry) -> _Record:
    digest, rest = entry.value[:_DIGEST_BYTES], entry.value[_DIGEST_BYTES:]
    try:
        info = TokenInfo.FromString(rest)
    except DecodeError as error:
        raise damaged_record(entry.key) from error
    if (
        info.id != name_of(entry.key)
        or info.role not in _ROLES
        or (info.role == ROLE_SIDECAR) != bool(info.agent_id)
    ):
        raise damaged_record(entry.key)
    expires_at_ms = info.expires_at.ToMilliseconds() if info.HasField("expires_at") else None
    try:
        scope = compiled(info.scope) if info.HasField("scope") else None
    except ValidationFailed as error:
        raise damaged_record(entry.key) from error
    principal = Principal(info.role, info.agent_id, info.id, expires_at_ms, scope)
    return _Record(digest, principal, info, entry.revision, unknown_fields(info))


class Revocations:
    """Reports removed tokens; a `RecordConsumer` of "tokens"."""

    def __init__(self, on_removed: Callable[[str], None]) -> None:
        self._on_removed = on_removed

    def apply_put(self, entry: Entry) -> None:
        """A new token disconnects no sidecar."""

    def apply_delete(self, key: str) -> None:
        """See `RecordConsumer`."""
        self._on_removed(name_of(key))
