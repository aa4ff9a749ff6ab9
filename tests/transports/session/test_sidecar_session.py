import inspect
import json
from pathlib import Path

import pytest
from google.protobuf.message import Message

from hub.contract.dialect.encode import encode_frame
from hub.service.presence import REPLACED, TOKEN_EXPIRED, TOO_MANY_VIOLATIONS, Close
from llmhub.v1.endpoint_pb2 import BACKEND_OLLAMA, SOURCE_AUTO
from llmhub.v1.frame_pb2 import (
    IdentifyRequest,
    PingRequest,
    ReportOllamaRequest,
    ReportResourcesRequest,
    SidecarFrame,
)
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER
from tests.support.service import ServiceRig

CAPTURED = Path(__file__).parents[2] / "support" / "sidecar-frames.jsonl"
KNOWN_TYPES = [
    "endpoint_report",
    "identify",
    "model_action_result",
    "ollama_report",
    "ping",
    "resource_report",
]


class Talk:
    """One session, spoken to in JSON."""

    def __init__(self, rig: ServiceRig, remote_address: str = "127.0.0.1") -> None:
        self.rig = rig
        self.session, self.connection = rig.session(remote_address=remote_address)

    async def say(self, frame: object) -> list[dict]:
        raw = frame if isinstance(frame, str | bytes) else json.dumps(frame)
        now_ms = self.rig.clock.now_ms()
        if isinstance(raw, bytes):
            replies = self.session.receive_binary(now_ms)
        else:
            replies = self.session.receive_text(raw, now_ms)
        if inspect.isawaitable(replies):
            replies = await replies
        return [json.loads(encode_frame(reply)) for reply in replies]

    async def identify(self, agent_id: str = "node-1", **fields: object) -> list[dict]:
        token = fields.pop("token", None) or await self.rig.token(agent_id=agent_id)
        return await self.say({"type": "identify", "agent_id": agent_id, "token": token, **fields})

    @property
    def closing(self) -> Close | None:
        return self.session.closing


@pytest.fixture
def talk(rig) -> Talk:
    return Talk(rig)


@pytest.fixture
async def known(rig) -> Talk:
    """A sidecar that has identified itself as node-1."""
    talk = Talk(rig)
    assert await talk.identify() == [{"type": "identified", "agent_id": "node-1"}]
    return talk


def binary(**member: Message) -> bytes:
    return SidecarFrame(**member).SerializeToString()


def failed(message_type: str, **violation: object) -> list[dict]:
    error = {"type": "error", "error": "validation_failed", "message_type": message_type}
    return [error | {"errors": [violation]}]


# What sidecars say and hear.


async def test_a_sidecar_identifies(talk, rig):
    assert not talk.session.identified
    fields = {"name": "rack", "status": "idle", "capabilities": ["code", "x"]}
    assert await talk.identify("node-1", **fields) == [{"type": "identified", "agent_id": "node-1"}]
    assert talk.session.identified
    assert talk.session.agent_id == "node-1"
    info = rig.context.presence.get("node-1").info()
    assert (info.name, info.status, info.capabilities) == ("rack", "idle", ["code", "x"])
    assert (info.remote_address, info.transport) == ("127.0.0.1", "ws")
    assert info.connected_at.ToMilliseconds() == rig.clock.now_ms()
    assert info.frames_received == 1
    assert len(rig.registry) == 0


async def test_identify_with_ollama_url_registers_it(talk, rig):
    reply = await talk.identify("node-1", ollama_url="http://gpu-1.lan:11434")
    assert reply == [{"type": "identified", "agent_id": "node-1"}]
    endpoint = rig.registry.get("gpu-1.lan:11434").message
    assert endpoint.name == "node-1-local"
    assert endpoint.source == SOURCE_AUTO
    assert endpoint.backend == BACKEND_OLLAMA
    assert endpoint.agent_id == "node-1"


async def test_null_means_absent(talk, rig):
    reply = await talk.identify("node-1", name=None, ollama_url=None, capabilities=None)
    assert reply == [{"type": "identified", "agent_id": "node-1"}]
    assert rig.context.presence.get("node-1").name == "node-1"


async def test_an_ollama_report_registers_and_is_acknowledged(known, rig):
    assert await known.say({"type": "ollama_report", "ollama_url": "10.0.0.7"}) == [
        {"type": "ollama_report_ack", "status": "registered", "endpoint_id": "10.0.0.7:11434"}
    ]
    assert rig.registry.get("10.0.0.7:11434").message.name == "node-1-local"


async def test_localhost_means_the_sidecars_own_host(rig):
    talk = Talk(rig, "10.9.8.7")
    await talk.identify("node-1", ollama_url="http://localhost:11434")
    assert [each.message.id for each in rig.registry.endpoints()] == ["10.9.8.7:11434"]


async def test_resource_report_is_not_answered(known, rig):
    report = {"type": "resource_report", "cpu_percent": 12, "vram_total_bytes": None}
    assert await known.say(report) == []
    resources = rig.registry.resources.get("node-1").message
    assert resources.cpu_percent == 12
    assert not resources.HasField("vram_total_bytes")
    assert resources.reported_at.ToMilliseconds() == rig.clock.now_ms()


async def test_resource_report_with_its_own_agent_id(known, rig):
    assert await known.say({"type": "resource_report", "agent_id": "node-1"}) == []
    assert rig.registry.resources.get("node-1") is not None


async def test_resource_report_with_another_agents_id(known, rig):
    report = {"type": "resource_report", "agent_id": "node-2", "cpu_percent": 1}
    assert await known.say(report) == [{"type": "error", "error": "token_agent_mismatch"}]
    assert list(rig.registry.resources.items()) == []
    assert rig.context.presence.get("node-1").violations == 1


async def test_a_ping_is_answered(known, rig):
    rig.clock.advance(1234)
    assert await known.say({"type": "ping"}) == [{"type": "pong", "timestamp": rig.clock.now_ms()}]


async def test_frames_of_existing_sidecars_are_accepted(talk, rig):
    token = await rig.token(agent_id="rack-7")
    answers = []
    for line in CAPTURED.read_text().splitlines():
        answers.append(await talk.say(line.replace("TOKEN", token)))
        rig.clock.advance(1000)
    assert answers == [
        [{"type": "identified", "agent_id": "rack-7"}],
        [],
        [{"type": "pong", "timestamp": rig.clock.now_ms() - 2000}],
        [],
    ]
    assert rig.registry.get("127.0.0.1:11434").message.name == "rack-7-local"
    assert rig.registry.resources.get("rack-7").message.cpu_percent == 39
    info = rig.context.presence.get("rack-7").info()
    assert (info.frames_received, info.unknown_fields, info.violations) == (4, 5, 0)


# Who they are.


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "ping"},
        {"type": "resource_report", "cpu_percent": "x"},
        {"type": "ollama_report"},
        {"type": "endpoint_report"},
    ],
    ids=lambda frame: frame["type"],
)
async def test_frames_before_identify_are_refused(talk, frame):
    assert await talk.say(frame) == [{"type": "error", "error": "not_identified"}]
    assert talk.closing is None


@pytest.mark.parametrize("case", ["wrong", "foreign", "revoked", "expired", "reader", "admin"])
async def test_invalid_tokens_are_refused(talk, rig, case):
    token = await rig.token(agent_id="node-1", ttl_ms=1000)
    match case:
        case "wrong":
            token = token[:-1] + ("A" if token[-1] != "A" else "B")
        case "foreign":
            token = "s3cret"
        case "revoked":
            await rig.revoke(token)
        case "expired":
            rig.clock.advance(1000)
        case "reader":
            token = await rig.token(ROLE_READER)
        case "admin":
            token = await rig.token(ROLE_ADMIN)
    assert await talk.identify("node-1", token=token) == [
        {"type": "error", "error": "invalid_token"}
    ]
    assert not talk.session.identified
    assert len(rig.context.presence) == 0
    # The connection stays, and a right token is taken on it.
    assert talk.closing is None
    assert await talk.identify("node-1") == [{"type": "identified", "agent_id": "node-1"}]


async def test_a_token_of_another_agent_is_refused(talk, rig):
    token = await rig.token(agent_id="node-2")
    reply = await talk.identify("node-1", token=token, ollama_url="10.0.0.1")
    assert reply == [{"type": "error", "error": "token_agent_mismatch"}]
    assert len(rig.registry) == 0


@pytest.mark.parametrize("kind", ["wrong", "mismatch"])
async def test_wrong_tokens_count_as_violations(talk, rig, kind):
    token = "wrong" if kind == "wrong" else await rig.token(agent_id="node-2")
    for _ in range(9):
        await talk.identify("node-1", token=token)
        assert talk.closing is None
    await talk.identify("node-1", token=token)
    assert talk.closing == TOO_MANY_VIOLATIONS
    # Who only claims to be node-1 cannot keep node-1 out.
    assert await Talk(rig).identify("node-1") == [{"type": "identified", "agent_id": "node-1"}]


async def test_identifying_again_updates_the_sidecar(known, rig):
    first = rig.context.presence.get("node-1")
    rig.clock.advance(5000)
    token = await rig.token(agent_id="node-1")
    reply = await known.identify("node-1", token=token, name="new", status="busy")
    assert reply == [{"type": "identified", "agent_id": "node-1"}]
    assert len(rig.context.presence) == 1
    assert known.connection.closes == []
    now = rig.context.presence.get("node-1")
    assert (now.name, now.status) == ("new", "busy")
    assert now.connected_at_ms == first.connected_at_ms
    assert now.token_id == rig.tokens.authenticate(token, rig.clock.now_ms()).token_id
    assert now.frames == 2


async def test_a_connection_speaks_for_one_agent(known, rig):
    assert await known.identify("node-2") == [
        {
            "type": "error",
            "error": "already_identified",
            "detail": "this connection speaks for node-1",
        }
    ]
    assert known.session.agent_id == "node-1"
    assert rig.context.presence.get("node-2") is None


async def test_a_newer_connection_replaces_the_older(known, rig):
    newer = Talk(rig)
    await newer.identify("node-1")
    assert known.connection.closes == [REPLACED]
    assert newer.connection.closes == []
    known.session.end()
    assert rig.context.presence.get("node-1").connection is newer.session
    newer.session.end()
    assert len(rig.context.presence) == 0


async def test_an_expired_token_ends_the_session(rig):
    talk = Talk(rig)
    await talk.identify("node-1", token=await rig.token(agent_id="node-1", ttl_ms=5000))
    rig.clock.advance(4999)
    assert len(await talk.say({"type": "ping"})) == 1
    rig.clock.advance(1)
    assert await talk.say({"type": "resource_report", "cpu_percent": 1}) == []
    assert talk.closing == TOKEN_EXPIRED
    assert list(rig.registry.resources.items()) == []


async def test_a_token_revoked_during_a_registration_is_refused(rig):
    talk = Talk(rig)
    token = await rig.token(agent_id="node-1")
    frame = {"type": "identify", "agent_id": "node-1", "token": token, "ollama_url": "10.0.0.1"}
    later = talk.session.receive_text(json.dumps(frame), rig.clock.now_ms())
    await rig.revoke(token)
    (reply,) = await later
    assert json.loads(encode_frame(reply)) == {"type": "error", "error": "invalid_token"}
    assert not talk.session.identified
    assert len(rig.context.presence) == 0


# What is wrong with a frame.


@pytest.mark.parametrize("text", ["", "nope", "{", '{"type":"ping"', '{"type":"ping","n":NaN}'])
async def test_invalid_json_is_refused(talk, text):
    assert await talk.say(text) == [{"type": "error", "error": "invalid_json"}]


@pytest.mark.parametrize("raw", ["[]", "1", "null", '"ping"', b"{}", b'{"type":"ping"}', b"\xff"])
async def test_values_that_are_not_objects_are_refused(talk, raw):
    expected = failed("unknown", field="message", error="wrong_type", detail="expected JSON object")
    assert await talk.say(raw) == expected


async def test_an_unknown_type_is_refused(talk):
    assert await talk.say({"type": "nope"}) == failed(
        "nope",
        field="type",
        error="unknown_message_type",
        detail="unknown message type 'nope'",
        value="nope",
        known_types=KNOWN_TYPES,
    )


@pytest.mark.parametrize("frame", [{}, {"type": None}])
async def test_a_missing_type_is_refused(talk, frame):
    expected = failed("unknown", field="type", error="required", detail="is required")
    assert await talk.say(frame) == expected


async def test_a_type_that_is_not_a_string_is_refused(talk):
    assert await talk.say({"type": 7}) == failed(
        "unknown",
        field="type",
        error="wrong_type",
        detail="expected string, got integer",
        value="7",
    )


@pytest.mark.parametrize("missing", ["agent_id", "token"])
@pytest.mark.parametrize("how", ["absent", "null"])
async def test_missing_required_fields_are_named(talk, missing, how):
    frame = {"type": "identify", "agent_id": "node-1", "token": "t", missing: None}
    if how == "absent":
        del frame[missing]
    expected = failed("identify", field=missing, error="required", detail="is required")
    assert await talk.say(frame) == expected


@pytest.mark.parametrize(
    ("field", "limit"),
    [("agent_id", 128), ("name", 256), ("status", 256), ("ollama_url", 512)],
)
async def test_fields_that_are_too_long_are_named(talk, field, limit):
    frame = {"type": "identify", "agent_id": "node-1", "token": "t", field: "x" * (limit + 1)}
    assert await talk.say(frame) == failed(
        "identify",
        field=field,
        error="too_long",
        detail=f"exceeds maximum length of {limit} characters",
        value="x" * 50 + "...",
    )


async def test_a_token_that_is_too_long_is_not_shown(talk):
    assert await talk.say({"type": "identify", "agent_id": "a", "token": "t" * 257}) == failed(
        "identify",
        field="token",
        error="too_long",
        detail="exceeds maximum length of 256 characters",
    )


@pytest.mark.parametrize(
    ("field", "given", "detail", "value"),
    [
        ("agent_id", 5, "expected string, got integer", "5"),
        ("name", True, "expected string, got boolean", "true"),
        ("capabilities", "x", "expected array, got string", "x"),
        ("capabilities", {}, "expected array, got object", None),
    ],
)
async def test_fields_of_the_wrong_type_are_named(talk, field, given, detail, value):
    frame = {"type": "identify", "agent_id": "node-1", "token": "t", field: given}
    violation = {"field": field, "error": "wrong_type", "detail": detail}
    if value is not None:
        violation["value"] = value
    assert await talk.say(frame) == failed("identify", **violation)


async def test_a_wrong_item_is_named_by_its_place(talk):
    frame = {"type": "identify", "agent_id": "n", "token": "t", "capabilities": ["a", 7, "c"]}
    assert await talk.say(frame) == failed(
        "identify",
        field="capabilities[1]",
        error="wrong_type",
        detail="expected string, got integer",
        value="7",
    )


async def test_a_string_is_not_a_number(known):
    assert await known.say({"type": "resource_report", "cpu_percent": "12"}) == failed(
        "resource_report",
        field="cpu_percent",
        error="wrong_type",
        detail="expected number, got string",
        value="12",
    )


@pytest.mark.parametrize("value", [-1, 101, 100.5])
async def test_numbers_out_of_range_are_named(known, rig, value):
    (reply,) = await known.say({"type": "resource_report", "cpu_percent": value})
    (violation,) = reply["errors"]
    assert (violation["field"], violation["error"]) == ("cpu_percent", "out_of_range")
    assert violation["value"] == str(value)
    assert list(rig.registry.resources.items()) == []


async def test_lists_with_too_many_items_are_named(talk):
    (reply,) = await talk.identify("node-1", token="t", capabilities=["x"] * 65)
    (violation,) = reply["errors"]
    assert violation["field"] == "capabilities"
    assert violation["error"] == "too_many_items"
    assert violation["detail"] == "exceeds maximum of 64 items"


@pytest.mark.parametrize("url", ["ftp://h", "http://", "http://h:99999", "http://a b", "h?x"])
async def test_an_invalid_url_is_named(known, rig, url):
    (reply,) = await known.say({"type": "ollama_report", "ollama_url": url})
    (violation,) = reply["errors"]
    assert (violation["field"], violation["error"]) == ("ollama_url", "invalid")
    assert violation["value"] == url
    assert len(rig.registry) == 0


async def test_a_forbidden_probe_target_is_refused(known, rig):
    (reply,) = await known.say({"type": "ollama_report", "ollama_url": "http://169.254.169.254"})
    assert reply["error"] == "target_forbidden"
    assert "link-local" in reply["detail"]
    assert len(rig.registry) == 0


async def test_all_errors_are_reported_at_once(talk):
    (reply,) = await talk.say({"type": "identify", "name": 1, "status": "s" * 257})
    reported = {(each["field"], each["error"]) for each in reply["errors"]}
    assert reported == {
        ("agent_id", "required"),
        ("token", "required"),
        ("name", "wrong_type"),
        ("status", "too_long"),
    }


# What happens to who misbehaves.


async def spoil(talk: Talk, times: int) -> None:
    for _ in range(times):
        assert await talk.say("nope") == [{"type": "error", "error": "invalid_json"}]


async def test_the_tenth_violation_within_a_minute_closes(known, rig):
    await spoil(known, 9)
    rig.clock.advance(59_999)
    assert known.closing is None
    await spoil(known, 1)
    assert known.closing == TOO_MANY_VIOLATIONS
    assert (known.closing.code, known.closing.reason) == (1008, "too many validation errors")


async def test_violations_older_than_a_minute_do_not_count(known, rig):
    await spoil(known, 9)
    rig.clock.advance(60_000)
    await spoil(known, 9)
    assert known.closing is None


async def test_every_kind_of_violation_counts(known, rig):
    frames = [
        "nope",
        b"{}",
        {"type": "nope"},
        {"type": "resource_report", "cpu_percent": 101},
        {"type": "resource_report", "agent_id": "node-2"},
        {"type": "ollama_report"},
        {"type": "identify", "agent_id": "node-1", "token": "wrong"},
    ]
    for frame in frames:
        await known.say(frame)
    assert rig.context.presence.get("node-1").violations == len(frames)
    await spoil(known, 10 - len(frames))
    assert known.closing == TOO_MANY_VIOLATIONS


async def test_the_cooldown_grows(rig):
    for seconds in (30, 60, 300, 300):
        talk = Talk(rig)
        assert await talk.identify() == [{"type": "identified", "agent_id": "node-1"}]
        await spoil(talk, 10)
        refused = Talk(rig)
        assert await refused.identify() == []
        assert refused.closing.code == 1008
        assert refused.closing.reason == f"cooldown active: retry in {seconds}s"
        rig.clock.advance(1)
        almost = Talk(rig)
        await almost.identify()
        assert almost.closing.reason == f"cooldown active: retry in {seconds}s"
        rig.clock.advance(seconds * 1000 - 2)
        almost = Talk(rig)
        await almost.identify()
        assert almost.closing.reason == "cooldown active: retry in 1s"
        rig.clock.advance(1)


async def test_another_agent_has_no_cooldown(known, rig):
    await spoil(known, 10)
    assert await Talk(rig).identify("node-2") == [{"type": "identified", "agent_id": "node-2"}]


async def test_frames_after_the_close_are_ignored(known, rig):
    await spoil(known, 10)
    for _ in range(30):
        assert await known.say("nope") == []
        assert await known.say({"type": "resource_report", "cpu_percent": 1}) == []
    assert list(rig.registry.resources.items()) == []
    refused = Talk(rig)
    await refused.identify()
    # One burst is one punishment.
    assert refused.closing.reason == "cooldown active: retry in 30s"


# How often they may speak.


async def test_the_last_fifth_of_a_bucket_warns_before_the_reply(known):
    replies = [await known.say({"type": "ping"}) for _ in range(120)]
    assert [len(each) for each in replies].index(2) == 95
    for number, reply in enumerate(replies[95:]):
        warning, pong = reply
        assert warning == {
            "type": "rate_limit_warning",
            "tier": "light",
            "remaining": 24 - number,
            "capacity": 120,
        }
        assert pong["type"] == "pong"
    assert await known.say({"type": "ping"}) == [
        {"type": "rate_limited", "tier": "light", "retry_after_ms": 500}
    ]


async def test_a_limited_frame_is_dropped(known, rig):
    for number in range(60):
        replies = await known.say({"type": "resource_report", "ram_used_bytes": number})
        assert [each["type"] for each in replies] == ["rate_limit_warning"] * (number >= 47)
    (limited,) = await known.say({"type": "resource_report", "ram_used_bytes": 1000})
    assert limited == {"type": "rate_limited", "tier": "normal", "retry_after_ms": 1000}
    assert rig.registry.resources.get("node-1").message.ram_used_bytes == 59
    # No violation, and the other tiers are not touched.
    assert rig.context.presence.get("node-1").violations == 0
    assert [each["type"] for each in await known.say({"type": "ping"})] == ["pong"]
    rig.clock.advance(1000)
    (warning,) = await known.say({"type": "resource_report", "ram_used_bytes": 1001})
    assert warning["remaining"] == 0
    assert rig.registry.resources.get("node-1").message.ram_used_bytes == 1001


async def test_a_sidecar_that_talks_too_much_is_told_and_stays(known, rig):
    """Ten minutes at twenty frames per second: twenty times what it may."""
    for number in range(12_000):
        await known.say({"type": "resource_report", "ram_used_bytes": number})
        assert known.session.take_pause_ms() == 0
        rig.clock.advance(50)
    assert known.closing is None
    assert rig.context.presence.get("node-1").violations == 0


async def test_a_thousand_late_reports_at_once_are_only_refused(known, rig):
    for number in range(1_050):
        await known.say({"type": "resource_report", "ram_used_bytes": number})
    assert known.closing is None
    assert rig.context.presence.get("node-1").violations == 0


async def test_a_flood_of_refused_frames_is_slowed_down_and_then_closed(known, rig):
    pauses, said = [], 0
    while known.closing is None:
        await known.say({"type": "ping"})
        said += 1
        if pause_ms := known.session.take_pause_ms():
            pauses.append(pause_ms)
            rig.clock.advance(pause_ms)
    # Ten violations, of which the last closes; what it cost is bounded.
    assert pauses == [1_000] * 10
    assert said < 120 + 1_000 + 10 * (20 + 2) + 10
    assert known.closing == TOO_MANY_VIOLATIONS
    again = Talk(rig)
    await again.identify()
    assert again.closing.reason == "cooldown active: retry in 29s"


@pytest.mark.parametrize("frame", [{"type": "ping"}, {"type": "resource_report"}])
async def test_frames_before_identify_are_violations(rig, frame):
    talk = Talk(rig)
    for _ in range(10):
        assert talk.closing is None
        assert await talk.say(frame) == [{"type": "error", "error": "not_identified"}]
    assert talk.closing == TOO_MANY_VIOLATIONS
    # No agent is punished: none was proved.
    assert await Talk(rig).identify() == [{"type": "identified", "agent_id": "node-1"}]


async def test_claims_of_another_agent_are_bounded_as_refusals_are(known, rig):
    token = await rig.token(agent_id="node-2")
    other = {"type": "identify", "agent_id": "node-2", "token": token}
    for _ in range(1_000):
        ((error),) = await known.say(other)
        assert error["error"] == "already_identified"
    assert known.session.take_pause_ms() == 0
    await known.say(other)
    assert known.session.take_pause_ms() == 1_000


async def test_identify_is_limited_by_agent_over_all_connections(rig):
    for _ in range(10):
        replies = await Talk(rig).identify("node-1")
        assert replies[-1] == {"type": "identified", "agent_id": "node-1"}
    late = Talk(rig)
    assert await late.identify("node-1") == [
        {"type": "rate_limited", "tier": "heavy", "retry_after_ms": 6000}
    ]
    assert not late.session.identified
    assert late.closing is None
    assert await Talk(rig).identify("node-2") == [{"type": "identified", "agent_id": "node-2"}]


# The same in binary.


async def test_binary_frames_behave_like_json_frames(rig):
    session, recorder = rig.session(transport="grpc")
    token = await rig.token(agent_id="node-1")
    now_ms = rig.clock.now_ms()
    (early,) = session.receive_bytes(binary(ping=PingRequest()), now_ms)
    assert early.error.error == "not_identified"
    identify = IdentifyRequest(agent_id="node-1", token=token)
    (identified,) = session.receive_bytes(
        SidecarFrame(identify=identify).SerializeToString(), now_ms
    )
    assert identified.identified.agent_id == "node-1"
    report = ReportResourcesRequest(cpu_percent=3)
    assert session.receive_bytes(binary(resource_report=report), now_ms) == ()
    assert rig.registry.resources.get("node-1").message.cpu_percent == 3
    (pong,) = session.receive_bytes(binary(ping=PingRequest()), now_ms)
    assert pong.pong.timestamp.ToMilliseconds() == now_ms
    ollama = ReportOllamaRequest(ollama_url="10.0.0.1")
    (ack,) = await session.receive_bytes(
        SidecarFrame(ollama_report=ollama).SerializeToString(), now_ms
    )
    assert ack.ollama_report_ack.endpoint_id == "10.0.0.1:11434"
    report = ReportResourcesRequest(cpu_percent=float("nan"))
    (refused,) = session.receive_bytes(
        SidecarFrame(resource_report=report).SerializeToString(), now_ms
    )
    assert refused.error.error == "validation_failed"
    assert refused.error.message_type == "resource_report"
    assert refused.error.errors[0].field == "cpu_percent"
    assert recorder.closes == []


async def test_an_empty_binary_frame_is_refused(rig):
    session, _ = rig.session(transport="grpc")
    (reply,) = session.receive_bytes(binary(), rig.clock.now_ms())
    assert reply.error.message_type == "unknown"
    assert [(each.field, each.error) for each in reply.error.errors] == [("frame", "required")]


async def test_empty_binary_frames_are_violations(rig):
    session, _ = rig.session(transport="grpc")
    for _ in range(10):
        assert session.closing is None
        session.receive_bytes(binary(), rig.clock.now_ms())
    assert session.closing == TOO_MANY_VIOLATIONS


# What the hub itself gets wrong.


async def test_a_store_failure_is_reported_and_is_not_a_violation(known, rig):
    await rig.store.close()
    (reply,) = await known.say({"type": "ollama_report", "ollama_url": "10.0.0.1"})
    assert reply["error"] == "store_unavailable"
    assert rig.context.presence.get("node-1").violations == 0
    assert len(await known.say({"type": "ping"})) == 1


async def test_an_unexpected_error_is_reported_without_details(known, rig, monkeypatch):
    def explode(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(rig.registry, "report_resources", explode)
    (reply,) = await known.say({"type": "resource_report", "cpu_percent": 1})
    assert (reply["type"], reply["error"]) == ("error", "internal")
    assert reply["detail"].startswith("the hub failed on this frame; request id")
    assert known.closing is None
