"""Attacks on a running hub, each with an honest client beside it."""

import pytest

from llmhub.v1.resources_pb2 import ROLE_SIDECAR
from tests.support.hub import by_id, running_hub
from tools.fleetsim import FakeOllama, Fleet


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        ({"type": "endpoint_report", "error": "down\x1b[2J"}, "error"),
        ({"type": "endpoint_report", "version": "1\u202e0"}, "version"),
        ({"type": "endpoint_report", "models": [{"name": "llama\u2066"}]}, "models[0].name"),
        ({"type": "resource_report", "gpus": [{"name": "RTX\x1b]0;x\x07"}]}, "gpus[0].name"),
    ],
)
async def test_a_sidecar_that_writes_to_terminals(hub, fleet: Fleet, frame, field):
    """L14"""
    server = await fleet.add(FakeOllama())
    url = f"http://{server.id}"
    frame = {"url": url} | frame if frame["type"] == "endpoint_report" else frame
    async with hub.sidecar("attacker") as attacker, hub.sidecar("honest") as honest:
        answer = await attacker.ask(frame)
        assert (answer["type"], answer["error"]) == ("error", "validation_failed")
        (violation,) = answer["errors"]
        assert violation["field"] == field
        assert violation["detail"] == "must not contain control characters"
        report = {"type": "endpoint_report", "url": url, "error": "läuft nicht: 没有回应"}
        assert (await honest.ask(report))["status"] == "registered"


async def test_a_sidecar_that_reports_servers_of_others(tmp_path, fleet: Fleet):
    """L11"""
    server = await fleet.add(FakeOllama())
    async with running_hub(tmp_path, sidecars={"addresses": "own"}) as hub:
        stolen = await hub.token(ROLE_SIDECAR, "attacker")
        async with hub.sidecar("attacker", token=stolen) as attacker:
            for url in ("http://gpu-1.example", "http://192.0.2.9:11434"):
                answer = await attacker.ask({"type": "ollama_report", "ollama_url": url})
                assert answer["error"] == "target_forbidden"
                assert "sidecars.addresses" in answer["detail"]
            async with hub.sidecar("honest") as honest:
                frame = {"type": "ollama_report", "ollama_url": f"http://{server.id}"}
                assert (await honest.ask(frame))["status"] == "registered"
        assert list(by_id(await hub.snapshot())) == [server.id]
