import pytest

from hub.contract.errors import InvalidToken
from hub.service.access.browser_sessions import LIFETIME_MS, MAX_PER_TOKEN, BrowserSessions
from hub.service.access.tokens import TokenRegistry
from hub.service.records import token_key
from hub.stores.store import Delete, Entry, Put, StoreError
from llmhub.v1.resources_pb2 import ROLE_READER

NOW = 1_800_000_000_000


class Rig:
    """Registries that follow a store which takes everything at once."""

    def __init__(self) -> None:
        self.tokens = TokenRegistry()
        self.sessions = BrowserSessions(self.tokens)
        self.stored: dict[str, bytes] = {}

    def token(self, ttl_ms: int | None = None) -> str:
        token, info, put = self.tokens.mint(ROLE_READER, "", ttl_ms, "", NOW)
        self.tokens.apply_put(Entry(put.key, put.value, 1))
        self.last_id = info.id
        return token

    def sign_in(self, token: str, now_ms: int = NOW) -> tuple[str, int]:
        principal = self.tokens.authenticate(token, now_ms)
        session_id, expires_at_ms, operations = self.sessions.open(principal, now_ms)
        for operation in operations:
            match operation:
                case Put(key, value):
                    self.stored[key] = value
                    self.sessions.apply_put(Entry(key, value, 1))
                case Delete(key):
                    del self.stored[key]
                    self.sessions.apply_delete(key)
        return session_id, expires_at_ms

    def is_in(self, session_id: str, now_ms: int = NOW) -> bool:
        try:
            self.sessions.authenticate(session_id, now_ms)
        except InvalidToken:
            return False
        return True


def test_a_session_has_the_rights_of_its_token() -> None:
    rig = Rig()
    token = rig.token()
    session_id, expires_at_ms = rig.sign_in(token)
    assert rig.sessions.authenticate(session_id, NOW) == rig.tokens.authenticate(token, NOW)
    assert expires_at_ms == NOW + LIFETIME_MS
    assert rig.is_in(session_id, NOW + LIFETIME_MS - 1)
    assert not rig.is_in(session_id, NOW + LIFETIME_MS)


def test_revoking_the_token_ends_the_session() -> None:
    rig = Rig()
    session_id, _ = rig.sign_in(rig.token())
    rig.tokens.apply_delete(token_key(rig.last_id))
    assert not rig.is_in(session_id)


def test_a_session_ends_with_its_token() -> None:
    rig = Rig()
    session_id, expires_at_ms = rig.sign_in(rig.token(ttl_ms=5_000))
    assert expires_at_ms == NOW + 5_000
    assert not rig.is_in(session_id, NOW + 5_000)


@pytest.mark.parametrize("given", ["", "x", "x" * 43, "é" * 43, "x" * 100_000])
def test_an_invented_id_is_refused(given: str) -> None:
    rig = Rig()
    rig.sign_in(rig.token())
    assert not rig.is_in(given)


def test_the_store_has_no_usable_session_id() -> None:
    rig = Rig()
    session_id, _ = rig.sign_in(rig.token())
    (key,) = rig.stored
    assert session_id not in key
    assert session_id.encode() not in rig.stored[key]
    assert not rig.is_in(key.partition("/")[2])


def test_sign_in_removes_expired_sessions() -> None:
    rig = Rig()
    rig.sign_in(rig.token(ttl_ms=5_000))
    rig.sign_in(rig.token())
    rig.tokens.apply_delete(token_key(rig.last_id))
    session_id, _ = rig.sign_in(rig.token(), NOW + 6_000)
    assert len(rig.stored) == len(rig.sessions) == 1
    assert rig.is_in(session_id, NOW + 6_000)


def test_one_sign_in_removes_at_most_a_batch_of_sessions() -> None:
    rig = Rig()
    for _ in range(5):
        token = rig.token(ttl_ms=5_000)
        for _ in range(MAX_PER_TOKEN):
            rig.sign_in(token)
    token, later = rig.token(), NOW + 6_000
    left = []
    for _ in range(3):
        rig.sign_in(token, later)
        left.append(len(rig.stored))
    assert left == [160 - 64 + 1, 160 - 128 + 2, 3]


def test_sessions_per_token_are_bounded_and_the_oldest_end_first() -> None:
    rig = Rig()
    other, _ = rig.sign_in(rig.token())
    token = rig.token()
    opened = [rig.sign_in(token, NOW + i)[0] for i in range(MAX_PER_TOKEN + 3)]
    assert [rig.is_in(each) for each in opened] == [False] * 3 + [True] * MAX_PER_TOKEN
    assert rig.is_in(other)


def test_a_session_survives_a_restart() -> None:
    rig = Rig()
    session_id, _ = rig.sign_in(rig.token())
    again = BrowserSessions(rig.tokens)
    for key, value in rig.stored.items():
        again.apply_put(Entry(key, value, 1))
    assert again.authenticate(session_id, NOW).role == ROLE_READER


def test_a_session_with_limits_of_a_newer_hub_is_over() -> None:
    rig = Rig()
    session_id, _ = rig.sign_in(rig.token())
    ((key, value),) = rig.stored.items()
    rig.sessions.apply_put(Entry(key, value[:-1] + b', "10.0.0.9"]', 2))
    assert not rig.is_in(session_id)


@pytest.mark.parametrize("value", [b"", b"{}", b"[1, 2]", b'["a"]', b'["a", "b"]', b"nonsense"])
def test_a_damaged_record_is_named(value: bytes) -> None:
    with pytest.raises(StoreError, match="sessions/abc"):
        Rig().sessions.apply_put(Entry("sessions/abc", value, 1))
