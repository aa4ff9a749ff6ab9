import json
from typing import Any

import pytest

from hub.contract.dialect.frames import parse_frame
from hub.sidecar.conversation import (
    ANSWER_TIMEOUT_MS,
    INVALID_PAUSE_MS,
    MAX_FRAME_BYTES,
    MAX_REPORTS_PER_MINUTE,
    Conversation,
    Identity,
)
from hub.sidecar.ending import REFUSED_WAIT_MS
from hub.sidecar.local_server import LocalServer
from llmhub.v1.endpoint_pb2 import Model

T0 = 1_800_000_000_000
INTERVAL = 15_000
HOST = {"cpu_percent": 12.5, "ram_used_bytes": 1, "ram_total_bytes": 2, "vram_total_bytes": None}
OLLAMA = LocalServer("http://127.0.0.1:11434", "ollama", "0.12.6", (Model(name="llama3.1:8b"),))
VLLM = LocalServer("http://127.0.0.1:8000", "vllm", "0.11.0", (Model(name="qwen3"),))


class Talk:
    """A conversation with a simulated hub."""

    def __init__(self, *servers: LocalServer, host: dict[str, object] | None = HOST) -> None:
        self.servers = servers
        self.host = host
        self.now = T0
        self.it = Conversation(
            Identity("node-1", "secret"), servers, interval_ms=INTERVAL, now_ms=T0
        )

    def sent(self) -> list[dict[str, Any]]:
        frames = []
        while frame := self.it.next_frame(self.host, self.servers, self.now):
            # The hub's own parser accepts every frame without a violation.
            assert not parse_frame(json.dumps(frame)).decode().violations
            frames.append(frame)
        return frames

    def says(self, type_: str, **fields: object) -> None:
        self.it.receive(json.dumps({"type": type_, **fields}), self.now)

    def identified(self) -> None:
        [frame] = self.sent()
        assert frame["type"] == "identify"
        self.says("identified", agent_id="node-1")

    def types(self) -> list[str]:
        return [frame["type"] for frame in self.sent()]


def test_a_sidecar_sends_nothing_but_identify_until_it_is_identified() -> None:
    talk = Talk(OLLAMA, VLLM)
    [frame] = talk.sent()
    assert (frame["type"], frame["agent_id"], frame["token"]) == ("identify", "node-1", "secret")
    assert frame["ollama_url"] == OLLAMA.url
    talk.now += 1000
    assert talk.sent() == []
    assert talk.it.identified_at_ms is None
    talk.says("identified", agent_id="node-1")
    assert talk.it.identified_at_ms == talk.now


def test_a_hub_that_does_not_answer_is_disconnected() -> None:
    talk = Talk()
    talk.sent()
    assert talk.it.wake_ms == T0 + ANSWER_TIMEOUT_MS
    talk.now = talk.it.wake_ms
    assert talk.sent() == []
    assert talk.it.ending is not None
    assert "identify" in talk.it.ending.reason


def test_reports_come_at_once_and_then_at_every_interval_without_drift() -> None:
    talk = Talk()
    talk.identified()
    assert talk.sent() == [{"type": "resource_report", **HOST}]
    assert talk.it.wake_ms == T0 + INTERVAL
    talk.now = T0 + INTERVAL - 1
    assert talk.sent() == []
    talk.now = T0 + INTERVAL + 700
    assert talk.types() == ["resource_report"]
    assert talk.it.wake_ms == T0 + 2 * INTERVAL


def test_reports_missed_during_sleep_are_not_made_up_for() -> None:
    talk = Talk()
    talk.identified()
    talk.sent()
    talk.now += 100 * INTERVAL
    assert talk.types() == ["resource_report"]
    talk.now += 10
    assert talk.types() == ["resource_report"]
    talk.now += 10
    assert talk.types() == []


def test_without_a_fresh_sample_the_host_is_not_reported() -> None:
    talk = Talk(host=None)
    talk.identified()
    assert talk.sent() == []


def test_each_report_waits_for_the_answer_to_the_one_before() -> None:
    talk = Talk(OLLAMA, VLLM)
    talk.identified()
    assert talk.types() == ["resource_report", "endpoint_report"]
    assert talk.types() == []
    talk.says("endpoint_report_ack", status="registered", endpoint_id="127.0.0.1:11434")
    [frame] = talk.sent()
    assert frame == {
        "type": "endpoint_report",
        "url": VLLM.url,
        "backend": "vllm",
        "version": "0.11.0",
        "reachable": True,
        "models": [{"name": "qwen3"}],
    }


def test_an_ollama_that_appears_later_is_registered_once() -> None:
    talk = Talk()
    talk.identified()
    talk.sent()
    talk.servers = (OLLAMA,)
    talk.now += INTERVAL
    assert talk.types() == ["resource_report", "ollama_report"]
    talk.says("ollama_report_ack", status="registered", endpoint_id="127.0.0.1:11434")
    assert talk.types() == ["endpoint_report"]
    talk.says("error", error="not_implemented", detail="not yet")
    talk.now += INTERVAL
    assert talk.types() == ["resource_report"]


def test_a_hub_that_refuses_endpoint_reports_gets_no_more_of_them() -> None:
    talk = Talk(VLLM, VLLM)
    talk.identified()
    assert talk.types() == ["resource_report", "endpoint_report"]
    talk.says("error", error="not_implemented", detail="not yet")
    assert talk.it.ending is None
    for _ in range(3):
        talk.now += INTERVAL
        assert talk.types() in ([], ["resource_report"])


def test_a_refused_token_ends_the_connection_and_is_not_retried_at_once() -> None:
    talk = Talk()
    talk.sent()
    talk.says("error", error="invalid_token")
    assert talk.it.ending is not None
    assert talk.it.ending.wait_ms == REFUSED_WAIT_MS
    assert "invalid_token" in talk.it.ending.reason
    assert "not a sidecar token, or it was revoked" in talk.it.ending.reason


def test_a_token_of_another_agent_is_explained() -> None:
    talk = Talk()
    talk.sent()
    talk.says("error", error="token_agent_mismatch", detail="not bound to the agent node-1")
    assert talk.it.ending is not None
    assert talk.it.ending.reason.endswith(
        "this token is bound to another agent (token_agent_mismatch: not bound to the agent node-1)"
    )


def test_a_limited_identify_waits_as_long_as_the_hub_says() -> None:
    talk = Talk()
    talk.sent()
    talk.says("rate_limited", tier="heavy", retry_after_ms=4200)
    assert talk.it.ending is not None
    assert talk.it.ending.wait_ms == 4200


def test_a_dropped_report_is_sent_again_after_the_wait() -> None:
    talk = Talk(VLLM)
    talk.identified()
    assert talk.types() == ["resource_report", "endpoint_report"]
    talk.says("rate_limited", tier="normal", retry_after_ms=3000)
    assert talk.sent() == []
    assert talk.it.wake_ms == talk.now + 3000
    talk.now += 3000
    assert talk.types() == ["endpoint_report"]


def test_a_warning_slows_the_sidecar_down() -> None:
    talk = Talk(VLLM)
    talk.identified()
    talk.sent()
    talk.says("rate_limit_warning", tier="normal", remaining=3, capacity=60)
    talk.says("endpoint_report_ack", status="registered", endpoint_id="127.0.0.1:8000")
    talk.now = T0 + INTERVAL
    talk.says("rate_limit_warning", tier="normal", remaining=2, capacity=60)
    assert talk.sent() == []
    assert talk.it.wake_ms == talk.now + 2000
    talk.now += 2000
    assert talk.types() == ["resource_report", "endpoint_report"]


def test_invalid_frames_are_not_repeated_ten_times_per_minute() -> None:
    talk = Talk()
    talk.identified()
    assert talk.types() == ["resource_report"]
    sent = 1
    for _ in range(60_000 // INTERVAL):
        talk.says(
            "error",
            error="validation_failed",
            message_type="resource_report",
            errors=[{"field": "cpu_percent", "error": "out_of_range", "detail": "must be ≤ 100"}],
        )
        talk.now += INTERVAL
        sent += len(talk.sent())
    assert sent <= 2
    assert INVALID_PAUSE_MS == 60_000


def test_models_that_do_not_fit_into_a_frame_are_omitted() -> None:
    models = tuple(Model(name=f"{'m' * 500}{number}") for number in range(256))
    talk = Talk(LocalServer("http://h:1", "openai", None, models))
    talk.identified()
    [_, frame] = talk.sent()
    assert frame["models_omitted"] == 256 - len(frame["models"])
    assert len(json.dumps(frame)) <= MAX_FRAME_BYTES


@pytest.mark.parametrize("text", ["", "[]", "7", "{}", '{"type":[]}', b"\xff", '{"type":"news"}'])
def test_unknown_frames_change_nothing(text: str | bytes) -> None:
    talk = Talk()
    talk.identified()
    talk.it.receive(text, talk.now)
    assert talk.types() == ["resource_report"]
    assert talk.it.ending is None


@pytest.mark.parametrize("value", [None, "soon", -1, 10**12, True])
def test_an_invalid_wait_counts_as_one_second(value: object) -> None:
    talk = Talk(VLLM)
    talk.identified()
    talk.sent()
    talk.says("rate_limited", tier="normal", retry_after_ms=value)
    assert talk.it.wake_ms <= talk.now + 1000


DOWN = LocalServer(VLLM.url, error="Connection refused")


def known(*servers: LocalServer) -> Talk:
    """A conversation that has already reported its servers."""
    talk = Talk(*servers)
    talk.identified()
    frames = talk.sent()
    while frames[-1]["type"] != "endpoint_report" or frames[-1]["url"] != servers[-1].url:
        talk.says(f"{frames[-1]['type']}_ack", endpoint_id="x:1", status="registered")
        frames = talk.sent()
    talk.says("endpoint_report_ack", endpoint_id="x:1", status="registered")
    assert talk.sent() == []
    return talk


def test_only_changed_servers_are_reported_at_once() -> None:
    talk = known(OLLAMA, VLLM)
    talk.now += 2000
    talk.servers = (OLLAMA, DOWN)
    [frame] = talk.sent()
    assert (frame["type"], frame["url"], frame["reachable"]) == (
        "endpoint_report",
        VLLM.url,
        False,
    )
    talk.says("endpoint_report_ack", endpoint_id="x:1", status="registered")
    talk.now += 2000
    talk.servers = (OLLAMA, LocalServer(VLLM.url, error="Connection refused"))
    assert talk.sent() == [], "the same state again is not a change"
    talk.servers = (OLLAMA, VLLM)
    [frame] = talk.sent()
    assert (frame["url"], frame["reachable"]) == (VLLM.url, True)
    assert talk.it.wake_ms <= talk.now + ANSWER_TIMEOUT_MS


def test_nothing_is_reported_before_identification() -> None:
    talk = Talk(VLLM)
    [frame] = talk.sent()
    assert frame["type"] == "identify"
    talk.servers = (DOWN,)
    assert talk.sent() == []


def test_reports_of_a_server_that_goes_up_and_down_stay_within_the_rate_limit() -> None:
    talk = known(VLLM)
    reports = 0
    for second in range(240):
        talk.now += 250
        talk.servers = (DOWN if second % 2 else LocalServer(VLLM.url, "vllm", str(second)),)
        for frame in talk.sent():
            reports += 1
            if frame["type"] == "endpoint_report":
                talk.says("endpoint_report_ack", endpoint_id="x:1", status="registered")
    # In a whole minute, changes use exactly what the regular reports leave.
    assert reports == MAX_REPORTS_PER_MINUTE
    talk.now += INTERVAL
    assert "resource_report" in talk.types()


def test_a_refused_endpoint_is_logged_with_its_owner(caplog: pytest.LogCaptureFixture) -> None:
    talk = Talk(OLLAMA)
    talk.sent()
    refused = {"reason": "endpoint_owned", "owner": "node-2", "detail": "agent node-2 reports it"}
    talk.says("identified", agent_id="node-1", endpoint_refused=refused)
    assert "the hub refused the endpoint: agent node-2 reports it" in caplog.text
    assert "resource_report" in talk.types()
