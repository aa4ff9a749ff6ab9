import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.contract.errors import InvalidToken, ScopeForbidden
from hub.service.access.tokens import KEPT_EXPIRED_MS, MAX_KEPT_EXPIRED, TokenRegistry, encode_token
from hub.service.records import token_key
from hub.stores.store import Entry, Put, StoreError
from llmhub.v1.resources_pb2 import (
    ROLE_ADMIN,
    ROLE_READER,
    ROLE_SIDECAR,
    Role,
    TokenInfo,
    TokenScope,
)

NOW = 1_800_000_000_000


def add(
    registry: TokenRegistry, role: Role = ROLE_READER, agent_id: str = "", ttl_ms: int | None = None
) -> tuple[str, TokenInfo]:
    token, info, put = registry.mint(role, agent_id, ttl_ms, "a note", NOW)
    registry.apply_put(Entry(put.key, put.value, 1))
    return token, info


def refusal(registry: TokenRegistry, token: str, now_ms: int = NOW) -> str:
    with pytest.raises(InvalidToken) as failure:
        registry.authenticate(token, now_ms)
    return failure.value.message


def test_a_token_proves_its_role_and_agent() -> None:
    registry = TokenRegistry()
    token, info = add(registry, ROLE_SIDECAR, "gpu-1", ttl_ms=5_000)
    principal = registry.authenticate(token, NOW)
    assert principal.role == ROLE_SIDECAR
    assert principal.agent_id == "gpu-1"
    assert principal.token_id == info.id
    assert principal.expires_at_ms == NOW + 5_000


def test_a_token_has_the_documented_format() -> None:
    token, info = add(TokenRegistry())
    assert re.fullmatch(r"llmhub_[a-z2-7]{12}_[A-Za-z0-9_-]{43}", token)
    assert token[7:19] == info.id


def test_tokens_are_different_every_time() -> None:
    registry = TokenRegistry()
    minted = [registry.mint(ROLE_ADMIN, "", None, "", NOW) for _ in range(200)]
    assert len({token for token, _, _ in minted}) == 200
    assert len({info.id for _, info, _ in minted}) == 200


def test_stored_record_does_not_hold_the_secret() -> None:
    registry = TokenRegistry()
    token, info, put = registry.mint(ROLE_ADMIN, "", None, "", NOW)
    assert token[20:].encode() not in put.value
    assert put.key == token_key(info.id)
    assert token[20:] not in str(info)


def test_a_minted_token_is_valid_only_once_stored() -> None:
    registry = TokenRegistry()
    token, _, put = registry.mint(ROLE_ADMIN, "", None, "", NOW)
    refusal(registry, token)
    registry.apply_put(Entry(put.key, put.value, 1))
    assert registry.authenticate(token, NOW).role == ROLE_ADMIN


def test_a_tokens_info_has_its_fields() -> None:
    registry = TokenRegistry()
    _, forever = add(registry)
    assert forever.created_at.ToMilliseconds() == NOW
    assert not forever.HasField("expires_at")
    _, short = add(registry, ttl_ms=1_500)
    assert short.expires_at.ToMilliseconds() == NOW + 1_500
    assert registry.get(short.id) == short
    assert registry.get("nothing") is None


def test_a_token_expires_to_the_millisecond() -> None:
    registry = TokenRegistry()
    token, info = add(registry, ttl_ms=1_000)
    _, kept = add(registry)
    registry.authenticate(token, NOW + 999)
    assert registry.list(NOW + 999, include_expired=True) == registry.list(NOW + 999)
    assert registry.count_valid(NOW + 999) == 2
    refusal(registry, token, NOW + 1_000)
    assert registry.count_valid(NOW + 1_000) == 1
    assert registry.list(NOW + 1_000) == (kept,)
    listed = {each.id: each for each in registry.list(NOW + 1_000, include_expired=True)}
    assert listed[kept.id] == kept
    assert listed[info.id].expired
    assert listed[info.id].expires_at == info.expires_at
    assert not info.expired, "what is kept stays as it was stored"


def test_expired_tokens_are_kept_for_thirty_days() -> None:
    registry = TokenRegistry()
    add(registry)
    _, info = add(registry, ttl_ms=1_000)
    outdated_ms = NOW + 1_000 + KEPT_EXPIRED_MS
    assert registry.outdated(outdated_ms - 1) == ()
    assert registry.outdated(outdated_ms) == (token_key(info.id),)


def test_only_the_latest_expired_tokens_are_kept() -> None:
    registry = TokenRegistry()
    made = [add(registry, ttl_ms=1_000 + n)[1] for n in range(MAX_KEPT_EXPIRED + 2)]
    oldest = tuple(token_key(info.id) for info in made[:2])
    assert registry.outdated(NOW + 10_000) == oldest


def test_a_revoked_token_is_refused() -> None:
    registry = TokenRegistry()
    token, info = add(registry)
    registry.apply_delete(token_key(info.id))
    registry.apply_delete(token_key(info.id))
    refusal(registry, token)
    assert registry.list(NOW) == ()


def test_every_refusal_has_the_same_message() -> None:
    registry = TokenRegistry()
    token, _ = add(registry)
    expired, _ = add(registry, ttl_ms=1)
    other, _ = add(registry)
    wrong = [
        "",
        "x",
        token[:-1],
        token + "A",
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        token.upper(),
        token[:20] + other[20:],
        "llmhub_" + "a" * 12 + token[19:],
        "\ud800" * len(token),
        "é" * len(token),
        token[:-1] + "\udcff",
        "A" * 10_000_000,
    ]
    messages = {refusal(registry, candidate) for candidate in wrong}
    messages.add(refusal(registry, expired, NOW + 1))
    assert len(messages) == 1
    assert registry.authenticate(token, NOW)


@given(st.text(max_size=80) | st.text(min_size=63, max_size=63))
def test_arbitrary_text_is_refused_without_a_crash(candidate: str) -> None:
    registry = TokenRegistry()
    add(registry)
    refusal(registry, candidate)


@pytest.mark.parametrize(
    ("role", "agent_id"),
    [(ROLE_SIDECAR, ""), (ROLE_ADMIN, "gpu-1"), (ROLE_READER, "gpu-1"), (0, ""), (9, "")],
)
def test_only_sidecar_tokens_have_an_agent(role: Role, agent_id: str) -> None:
    with pytest.raises(ValueError, match="agent_id"):
        TokenRegistry().mint(role, agent_id, None, "", NOW)


def test_the_list_is_sorted_by_id() -> None:
    registry = TokenRegistry()
    ids = sorted(add(registry)[1].id for _ in range(20))
    assert [info.id for info in registry.list(NOW)] == ids


# Field 15 of each message: a newer hub may have it, this one does not.
LATER = b"\x7a\x03new"


@pytest.mark.parametrize("place", ["TokenInfo.15", "TokenScope.15"])
def test_a_token_with_limits_of_a_newer_hub_is_refused(place: str) -> None:
    registry = TokenRegistry()
    scope = TokenScope(models=["llama3"])
    if place == "TokenScope.15":
        scope.MergeFromString(LATER)
    token, info, put = registry.mint(ROLE_READER, "", None, "", NOW, scope)
    value = put.value + LATER if place == "TokenInfo.15" else put.value
    registry.apply_put(Entry(put.key, value, 1))
    with pytest.raises(ScopeForbidden, match=rf"does not know \({place}\): upgrade") as refused:
        registry.authenticate(token, NOW)
    assert refused.value.metadata == {"scope": "unknown"}
    # Only its bearer learns so.
    assert refusal(registry, token[:-1] + "x") == refusal(registry, "nonsense")
    assert registry.principal(info.id, NOW) is None
    assert [each.id for each in registry.list(NOW)] == [info.id]


def test_damaged_records_are_named() -> None:
    registry = TokenRegistry()
    _, info, put = registry.mint(ROLE_SIDECAR, "gpu-1", None, "", NOW)
    digest = put.value[:32]

    def changed(**fields: object) -> bytes:
        copy = TokenInfo()
        copy.CopyFrom(info)
        for name, value in fields.items():
            setattr(copy, name, value)
        return encode_token(digest, copy)

    values = [
        b"",
        put.value[:31],
        put.value[:-1],
        put.value + b"\xff",
        changed(id="other"),
        changed(role=0),
        changed(role=77),
        changed(agent_id=""),
        changed(role=ROLE_ADMIN),
    ]
    for value in values:
        with pytest.raises(StoreError, match=info.id):
            registry.apply_put(Entry(put.key, value, 1))
    assert registry.list(NOW) == ()
    registry.apply_put(Entry(put.key, put.value, 1))
    assert registry.list(NOW) == (info,)


def test_another_hub_accepts_a_token_from_its_put() -> None:
    token, info, put = TokenRegistry().mint(ROLE_ADMIN, "", None, "", NOW)
    assert put == Put(**dataclasses.asdict(put))
    other = TokenRegistry()
    other.apply_put(Entry(put.key, put.value, 9))
    assert other.authenticate(token, NOW).token_id == info.id


def test_a_principal_is_found_by_id_while_its_token_is_valid() -> None:
    registry = TokenRegistry()
    token, info = add(registry, ttl_ms=5_000)
    assert registry.principal(info.id, NOW + 4_999) == registry.authenticate(token, NOW)
    assert registry.principal(info.id, NOW + 5_000) is None
    assert registry.principal("nobody", NOW) is None
    registry.apply_delete(token_key(info.id))
    assert registry.principal(info.id, NOW) is None
