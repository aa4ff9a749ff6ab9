"""The capability as the hub uses it: a start, a run, a stop, and a start that goes wrong."""

import pytest
from structlog.testing import capture_logs

from hub.base.clock import ManualClock
from hub.base.data_dir import FACTS_FILE
from hub.cluster.warm_start import WarmStart
from hub.probes.model_facts import ModelFacts, ModelFactsCache
from hub.registry.state import Registry
from hub.server.warm_restart import WarmRestart
from hub.stores.facts_file import read
from llmhub.v1.endpoint_pb2 import STATUS_HEALTHY, STATUS_UNKNOWN
from tests.support.facts import NOW, endpoint, registry_of, success
from tests.support.hub import settings_for

ID = endpoint().id
TOOLS = ModelFacts(("completion", "tools"), 131_072, "llama")


async def run(path, registry: Registry, clock: ManualClock, *, probed: bool) -> ModelFactsCache:
    """One life of a hub, from its start to its stop; returns the facts of its models."""
    facts = ModelFactsCache()
    warm = WarmRestart(settings_for(path), clock, registry, facts)
    await warm.restore()
    warm.start()
    if probed:
        registry.observe(ID, success(clock.now_ms()))
        registry.health.load_times.measured(ID, "m", 4000)
        facts.put(ID, "sha256:1", TOOLS)
    await warm.stop()
    await warm.stop()
    return facts


def status_of(registry: Registry) -> int:
    record = registry.get(ID)
    assert record is not None
    return record.message.status


async def test_a_restarted_hub_restores_the_facts(tmp_path):
    clock = ManualClock(NOW)
    await run(tmp_path, registry_of(endpoint()), clock, probed=True)
    clock.advance(5000)
    after = registry_of(endpoint(), first_revision=1000)
    with capture_logs() as logs:
        facts = await run(tmp_path, after, clock, probed=False)
    assert status_of(after) == STATUS_HEALTHY
    assert facts.get(ID, "sha256:1") == TOOLS
    assert after.health.load_times.expected_ms(ID, "m") == 4000
    (line,) = logs
    assert (line["event"], line["endpoints"], line["damaged"]) == ("facts_restored", 1, 0)


async def test_a_first_start_logs_nothing(tmp_path):
    with capture_logs() as logs:
        await run(tmp_path, registry_of(), ManualClock(NOW), probed=False)
    assert logs == []


async def test_an_unexpected_error_while_restoring_does_not_prevent_the_start(
    tmp_path, monkeypatch: pytest.MonkeyPatch
):
    clock = ManualClock(NOW)
    await run(tmp_path, registry_of(endpoint()), clock, probed=True)

    def unforeseen(*_: object) -> None:
        raise KeyError("unforeseen")

    monkeypatch.setattr(WarmStart, "restore", unforeseen)
    after = registry_of(endpoint(), first_revision=1000)
    with capture_logs() as logs:
        await run(tmp_path, after, clock, probed=False)
    assert [line["event"] for line in logs] == ["facts_not_restored"]
    assert status_of(after) == STATUS_UNKNOWN
    # What could not be restored now will not be tried again.
    assert read(tmp_path / FACTS_FILE) == {}
