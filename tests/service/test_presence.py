import pytest

from hub.base.timestamps import to_ms
from hub.contract.errors import (
    ConnectionReplaced,
    CooldownActive,
    Disconnected,
    HubError,
    InvalidToken,
    NotIdentified,
    ShuttingDown,
    TooManyViolations,
)
from hub.service.access.peer_certificate import PeerCertificate
from hub.service.presence import (
    CERTIFICATE_REVOKED,
    GOING_AWAY,
    IDENTIFY_TIMEOUT,
    REPLACED,
    TOKEN_EXPIRED,
    TOKEN_REVOKED,
    TOO_MANY_VIOLATIONS,
    Close,
    Presence,
    Sidecar,
    cooldown,
    disconnected,
)
from tests.support.fleet import NOW
from tests.support.sidecars import RecordingConnection, sidecar


@pytest.mark.parametrize(
    ("close", "code", "reason", "error"),
    [
        (GOING_AWAY, 1001, "hub is stopping", ShuttingDown),
        (IDENTIFY_TIMEOUT, 1008, "identify timeout", NotIdentified),
        (TOO_MANY_VIOLATIONS, 1008, "too many validation errors", TooManyViolations),
        (TOKEN_REVOKED, 1008, "token revoked", InvalidToken),
        (CERTIFICATE_REVOKED, 1008, "certificate revoked", InvalidToken),
        (TOKEN_EXPIRED, 1008, "token expired", InvalidToken),
        (REPLACED, 4001, "replaced", ConnectionReplaced),
        (cooldown(30), 1008, "cooldown active: retry in 30s", CooldownActive),
        (disconnected("maintenance"), 1000, "maintenance", Disconnected),
        (disconnected(""), 1000, "disconnected by an admin", Disconnected),
    ],
    ids=lambda value: value.reason if isinstance(value, Close) else "",
)
def test_every_close_has_its_code_and_reason(
    close: Close, code: int, reason: str, error: type[HubError]
) -> None:
    assert (close.code, close.reason) == (code, reason)
    assert type(close.as_error()) is error
    assert str(close.as_error()) == reason


def test_the_newer_connection_of_an_agent_replaces_the_older() -> None:
    presence = Presence()
    old, new = sidecar("gpu-1"), sidecar("gpu-1")
    presence.join(old)
    presence.join(new)
    assert old.connection.closes == [REPLACED]
    assert new.connection.closes == []
    assert presence.get("gpu-1") is new
    assert len(presence) == 1


def test_the_end_of_a_replaced_connection_removes_nothing() -> None:
    presence = Presence()
    old, new = sidecar("gpu-1"), sidecar("gpu-1")
    presence.join(old)
    presence.join(new)
    presence.leave(old)
    assert presence.get("gpu-1") is new
    presence.leave(new)
    presence.leave(new)
    assert presence.get("gpu-1") is None
    assert len(presence) == 0


def test_identifying_again_on_one_connection_replaces_no_sidecar() -> None:
    presence = Presence()
    first = sidecar("gpu-1")
    presence.join(first)
    presence.join(first)
    presence.join(sidecar("gpu-1", connection=first.connection))
    assert first.connection.closes == []


def test_sidecars_are_sorted() -> None:
    presence = Presence()
    for agent_id in ("b", "c", "a"):
        presence.join(sidecar(agent_id))
    assert [one.agent_id for one in presence.sidecars()] == ["a", "b", "c"]


def test_a_revoked_token_closes_its_connections_and_no_others() -> None:
    presence = Presence()
    with_it, without = sidecar("a", token_id="t1"), sidecar("b", token_id="t2")
    presence.join(with_it)
    presence.join(without)
    presence.close_token("t1", NOW)
    presence.close_token("nobody's", NOW)
    assert with_it.connection.closes == [TOKEN_REVOKED]
    assert without.connection.closes == []


def test_a_sidecar_may_leave_while_a_token_is_closed() -> None:
    presence = Presence()

    class LeavingConnection(RecordingConnection):
        def close(self, close: Close) -> None:
            super().close(close)
            presence.leave(entered[self])

    entered: dict[RecordingConnection, Sidecar] = {}
    for agent_id in ("a", "b", "c"):
        connection = LeavingConnection()
        entered[connection] = sidecar(agent_id, token_id="shared", connection=connection)
        presence.join(entered[connection])
    presence.close_token("shared", NOW)
    assert [connection.closes for connection in entered] == [[TOKEN_REVOKED]] * 3
    assert len(presence) == 0


def test_a_revoked_certificate_closes_its_connections_and_no_others() -> None:
    presence = Presence()
    bad, good = PeerCertificate(("dns:a",), 0), PeerCertificate(("dns:b",), 0)
    first, second, third = sidecar("a"), sidecar("b"), sidecar("c")
    first.certificate, second.certificate = bad, good
    for one in (first, second, third):
        presence.join(one)
    bad.is_revoked = True
    presence.close_revoked()
    closes = [one.connection.closes for one in (first, second, third)]
    assert closes == [[CERTIFICATE_REVOKED], [], []]


def test_a_sidecars_info_has_its_fields() -> None:
    one = sidecar("gpu-1", token_id="t1")
    one.frames, one.unknown_fields, one.violations = 3, 2, 1
    info = one.info()
    assert (info.agent_id, info.name, info.status) == ("gpu-1", "node gpu-1", "idle")
    assert list(info.capabilities) == ["ollama"]
    assert (info.remote_address, info.transport) == ("10.0.0.9", "ws")
    assert (info.frames_received, info.unknown_fields, info.violations) == (3, 2, 1)
    assert to_ms(info.connected_at) == one.connected_at_ms
    assert to_ms(info.last_seen_at) == one.last_seen_ms
    assert "t1" not in str(info)


def test_listeners_are_called_when_agents_connect_or_disconnect() -> None:
    presence, heard = Presence(), []
    presence.on_change(heard.append)
    first, second = sidecar("a"), sidecar("a")
    presence.join(first)
    presence.join(second)
    presence.leave(first)
    assert heard == ["a", "a"]
    presence.leave(second)
    assert heard == ["a", "a", "a"]


def test_a_pruned_expired_token_closes_as_expired() -> None:
    presence = Presence()
    expired, revoked = sidecar("a", token_id="t1"), sidecar("b", token_id="t2")
    expired.token_expires_at_ms = NOW
    revoked.token_expires_at_ms = NOW + 1
    for one in (expired, revoked):
        presence.join(one)
        presence.close_token(one.token_id, NOW)
    assert expired.connection.closes == [TOKEN_EXPIRED]
    assert revoked.connection.closes == [TOKEN_REVOKED]
