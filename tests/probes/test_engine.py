import asyncio
import errno

import pytest

from hub.base.settings import ProbeSettings
from hub.contract.errors import EndpointNotFound, LimitReached, ShuttingDown
from hub.probes.asker import ProbeTarget
from hub.probes.connection_pool import ConnectionPool
from hub.probes.probe_connection import ProbeConnection
from hub.registry.observation import Observation
from llmhub.v1.endpoint_pb2 import (
    BACKEND_LLAMA_CPP,
    BACKEND_OLLAMA,
    BACKEND_UNSPECIFIED,
    BACKEND_VLLM,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
)
from tests.support.observing import running_engine, target_of
from tests.support.ports import lasting_port
from tools.fleetsim import Behaviour, FakeOllama, FakeOpenAi, FakeVllm, Fleet
from tools.fleetsim.ollama import OllamaModel
from tools.fleetsim.server import Reply, Request

AWKWARD = [b for b in Behaviour if b not in (Behaviour.OK, Behaviour.FLAPPING)]
FAST = ProbeSettings(interval_s=0.3, connect_timeout_s=0.5, total_timeout_s=0.6, per_host=64)


def states(observation: Observation) -> dict[str, int]:
    assert observation.models is not None
    return {model.name: model.state for model in observation.models}


async def test_a_new_endpoint_is_probed_at_once_and_reported(fleet: Fleet):
    fake = FakeOllama("llama3:8b", "qwen3:latest")
    fake.load("qwen3:latest", size_vram=123)
    server = await fleet.add(fake)
    async with running_engine() as (engine, notebook):
        engine.watch(target_of(server))
        seen = await notebook.next_of(server.id)
    assert seen.error == ""
    assert seen.answered
    assert seen.backend == BACKEND_OLLAMA
    assert seen.version == "0.12.6"
    assert seen.latency_ms is not None
    assert states(seen) == {"llama3:8b": MODEL_STATE_AVAILABLE, "qwen3:latest": MODEL_STATE_LOADED}
    assert seen.next_check_at_ms - seen.checked_at_ms + 1000 >= 27_000
    assert seen.next_check_at_ms - seen.checked_at_ms <= 33_000


async def test_probes_repeat_and_see_changes(fleet: Fleet):
    fake = FakeOllama("a:latest")
    server = await fleet.add(fake)
    async with running_engine(FAST) as (engine, notebook):
        engine.watch(target_of(server))
        assert states(await notebook.next_of(server.id)) == {"a:latest": MODEL_STATE_AVAILABLE}
        fake.load("a:latest")
        fake.pull(OllamaModel("b:latest"))
        await notebook.until(lambda: len(states(notebook.of(server.id)[-1])) == 2)
        assert states(notebook.of(server.id)[-1])["a:latest"] == MODEL_STATE_LOADED


async def test_faulty_endpoints_fail_clearly_and_delay_no_others(fleet: Fleet):
    good = [await fleet.add(FakeOllama("a:latest")) for _ in range(5)]
    awkward = [await fleet.add(FakeOllama("a"), b, delay_s=5.0) for b in AWKWARD for _ in range(3)]
    async with running_engine(FAST) as (engine, notebook):
        for server in awkward + good:
            engine.watch(target_of(server))
        await notebook.until(lambda: all(notebook.of(server.id) for server in awkward + good))
        # Good endpoints keep their rhythm while the others hang again.
        rounds = {server.id: len(notebook.of(server.id)) for server in good}
        await notebook.until(
            lambda: all(len(notebook.of(id_)) >= seen + 3 for id_, seen in rounds.items())
        )
        for server in good:
            assert [o.error for o in notebook.of(server.id)] == [""] * len(notebook.of(server.id))
        for server in awkward:
            errors = {o.error for o in notebook.of(server.id)}
            assert all(errors), server.behaviour
        slowest = max(len(notebook.of(server.id)) for server in awkward[:3])
        assert all(len(notebook.of(server.id)) >= slowest / 4 for server in good)


async def test_good_endpoints_overtake_hanging_ones_that_were_due_earlier(fleet: Fleet):
    hanging = [await fleet.add(FakeOllama(), Behaviour.HANGING) for _ in range(20)]
    good = await fleet.add(FakeOllama("a"))
    async with running_engine(ProbeSettings(per_host=64, total_timeout_s=5)) as (engine, notebook):
        for server in [*hanging, good]:
            engine.watch(target_of(server))
        await notebook.next_of(good.id)
        assert [id_ for id_, _ in notebook.entries] == [good.id]
        assert engine.active == 20
        assert engine.stats.active["doubtful"] == 20


async def test_nothing_accumulates_when_everything_hangs(fleet: Fleet):
    servers = [await fleet.add(FakeOllama(), Behaviour.HANGING) for _ in range(30)]
    settings = ProbeSettings(
        interval_s=0.2, total_timeout_s=0.3, concurrency=4, doubtful_concurrency=8, per_host=64
    )
    async with running_engine(settings) as (engine, notebook):
        for server in servers:
            engine.watch(target_of(server))
        most = 0

        def all_seen_twice() -> bool:
            nonlocal most
            most = max(most, engine.active)
            return all(len(notebook.of(server.id)) >= 2 for server in servers)

        await notebook.until(all_seen_twice)
        assert most <= 12
    assert max(server.most_open_connections for server in servers) <= 2


async def test_one_host_gets_no_more_than_its_share(fleet: Fleet):
    server_list = [await fleet.add(FakeOllama(), Behaviour.SLOW, delay_s=0.05) for _ in range(12)]
    async with running_engine(ProbeSettings(per_host=3)) as (engine, notebook):
        for server in server_list:
            engine.watch(target_of(server))
        most = 0

        def done() -> bool:
            nonlocal most
            most = max(most, engine.active)
            return len(notebook.entries) == 12

        await notebook.until(done)
        assert most <= 3


async def test_the_kind_is_remembered_and_static_facts_are_rarely_requested(fleet: Fleet):
    server = await fleet.add(FakeOllama("a:latest"))
    async with running_engine(FAST) as (engine, notebook):
        engine.watch(target_of(server))
        await notebook.until(lambda: len(notebook.of(server.id)) == 5)
        # Two requests to detect it, one for the version and one for the model; then 2 and 1.
        assert server.paths[:2] == ["/api/version", "/"]
        assert server.paths[2:6] == ["/api/ps", "/api/version", "/api/tags", "/api/show"]
        assert server.paths[6:11] == ["/api/ps", "/api/ps", "/api/tags", "/api/ps", "/api/ps"]
        assert server.connections == 1


async def test_a_port_with_a_new_server_is_detected_again(fleet: Fleet):
    server = await fleet.add(FakeOllama("a:latest"))
    async with running_engine(FAST) as (engine, notebook):
        engine.watch(target_of(server))
        assert (await notebook.next_of(server.id)).backend == BACKEND_OLLAMA
        server.persona = FakeVllm()
        await notebook.until(lambda: notebook.of(server.id)[-1].backend == BACKEND_VLLM)
    assert {o.error for o in notebook.of(server.id)} == {""}


async def test_a_wrongly_registered_kind_is_reported(fleet: Fleet):
    server = await fleet.add(FakeVllm())
    async with running_engine() as (engine, notebook):
        engine.watch(target_of(server, BACKEND_OLLAMA))
        seen = await notebook.next_of(server.id)
        assert seen.error == "is vLLM, not Ollama as registered"
        assert seen.answered
        assert seen.backend == BACKEND_UNSPECIFIED
        engine.watch(target_of(server, BACKEND_LLAMA_CPP))
        seen = await notebook.next_of(server.id)
        assert seen.error == "is vLLM, not llama.cpp server as registered"


async def test_an_endpoint_works_once_its_missing_key_is_given(fleet: Fleet):
    server = await fleet.add(FakeVllm(), api_key="k", open_paths=frozenset({"/health"}))
    async with running_engine() as (engine, notebook):
        engine.watch(target_of(server))
        seen = await notebook.next_of(server.id)
        assert seen.error.startswith("needs an API key (401")
        assert seen.answered
        engine.watch(target_of(server, api_key="k"))
        assert (await notebook.next_of(server.id)).backend == BACKEND_VLLM


async def test_a_server_with_too_many_requests_is_left_alone_for_a_while(fleet: Fleet):
    server = await fleet.add(FakeOpenAi(retry_after="120"))
    async with running_engine() as (engine, notebook):
        engine.watch(target_of(server))
        seen = await notebook.next_of(server.id)
    assert "asks to wait 120 s" in seen.error
    assert seen.next_check_at_ms == seen.checked_at_ms + 120_000


async def test_only_a_changed_address_is_probed_at_once(fleet: Fleet):
    first, second = await fleet.add(FakeOllama("a")), await fleet.add(FakeOllama("b"))
    async with running_engine() as (engine, notebook):
        engine.watch(ProbeTarget("x", "http", first.host, first.port))
        await notebook.next_of("x")
        engine.watch(ProbeTarget("x", "http", first.host, first.port))
        engine.watch(ProbeTarget("x", "http", second.host, second.port))
        assert list(states(await notebook.next_of("x"))) == ["b"]
    assert first.requests == second.requests == 6


async def test_check_probes_now_or_joins_the_probe_in_flight(fleet: Fleet):
    server = await fleet.add(FakeOllama("a"), Behaviour.SLOW, delay_s=0.05)
    async with running_engine() as (engine, notebook):
        engine.watch(target_of(server), spread=True)
        seen = await asyncio.gather(*(engine.check(server.id, 10) for _ in range(5)))
        assert len(notebook.entries) == 1
        assert all(o is notebook.entries[0][1] for o in seen)
        later = await engine.check(server.id, 10)
        assert later is notebook.entries[1][1]


async def test_check_does_not_wait_behind_hanging_endpoints(fleet: Fleet):
    hanging = [await fleet.add(FakeOllama(), Behaviour.HANGING) for _ in range(8)]
    good = await fleet.add(FakeOllama("a"))
    settings = ProbeSettings(concurrency=1, doubtful_concurrency=2, per_host=64)
    async with running_engine(settings) as (engine, notebook):
        for server in [*hanging, good]:
            engine.watch(target_of(server))
        assert (await engine.check(good.id, 4)).error == ""
        assert len(notebook.entries) == 1


async def test_check_of_an_unknown_a_removed_and_a_slow_endpoint(fleet: Fleet):
    server = await fleet.add(FakeOllama(), Behaviour.HANGING)
    async with running_engine() as (engine, notebook):
        with pytest.raises(EndpointNotFound):
            await engine.check("unknown:1", 1)
        engine.watch(target_of(server))
        with pytest.raises(TimeoutError):
            await engine.check(server.id, 0.05)
        waiting = asyncio.create_task(engine.check(server.id, 10))
        await server.wait_until(lambda: server.requests == 1)
        await asyncio.sleep(0)
        engine.unwatch(server.id)
        with pytest.raises(EndpointNotFound, match="was removed"):
            await waiting
        await server.wait_until(lambda: server.open_connections == 0)
        assert engine.stats.watched == 0
        assert notebook.entries == []


async def test_a_cancelled_check_does_not_cancel_the_probe(fleet: Fleet):
    server = await fleet.add(FakeOllama("a"), Behaviour.SLOW, delay_s=0.1)
    async with running_engine() as (engine, notebook):
        engine.watch(target_of(server), spread=True)
        waiting = asyncio.create_task(engine.check(server.id, 10))
        await server.wait_until(lambda: server.requests == 1)
        waiting.cancel()
        assert (await notebook.next_of(server.id)).error == ""


async def test_stop_is_fast_and_leaves_nothing_behind(fleet: Fleet):
    servers = [await fleet.add(FakeOllama(), Behaviour.HANGING) for _ in range(10)]
    settings = ProbeSettings(per_host=64, total_timeout_s=600)
    async with running_engine(settings) as (engine, notebook):
        for server in servers:
            engine.watch(target_of(server))
        waiting = asyncio.create_task(engine.check(servers[0].id, 600))
        await asyncio.sleep(0)
        for server in servers:
            await server.wait_until(lambda s=server: s.requests == 1)
        async with asyncio.timeout(30):
            await engine.stop()
        with pytest.raises(ShuttingDown):
            await waiting
        assert engine.active == 0
        with pytest.raises(ShuttingDown):
            await engine.check(servers[0].id, 1)
        await engine.stop()
    for server in servers:
        await server.wait_until(lambda s=server: s.open_connections == 0)
    assert notebook.entries == []


async def test_an_exception_in_a_probe_or_a_report_does_not_stop_the_engine(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
):
    good, other = await fleet.add(FakeOllama("a")), await fleet.add(FakeVllm())

    async def explode(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("hub.probes.backends.vllm.VllmProber.probe", explode)
    async with running_engine(FAST) as (engine, notebook):
        note = notebook.report

        def fail_once(id_: str, observation: Observation) -> None:
            note(id_, observation)
            if len(notebook.entries) == 1:
                raise RuntimeError

        engine._report = fail_once
        engine.watch(target_of(good))
        engine.watch(target_of(other))
        await notebook.until(
            lambda: len(notebook.of(good.id)) >= 2 and len(notebook.of(other.id)) >= 2
        )
    seen = notebook.of(other.id)[0]
    assert seen.error == "the hub could not probe it (ZeroDivisionError, see log)"


async def test_a_fault_of_the_hub_is_not_an_observation(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
):
    server = await fleet.add(FakeOllama("a"))
    real = ConnectionPool.connect
    refused = 0

    async def no_more_files(pool: ConnectionPool, target: ProbeTarget) -> ProbeConnection:
        nonlocal refused
        if refused < 3:
            refused += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return await real(pool, target)

    monkeypatch.setattr(ConnectionPool, "connect", no_more_files)
    async with running_engine(FAST) as (engine, notebook):
        engine.watch(target_of(server))
        with pytest.raises(LimitReached, match="may open no more files"):
            await engine.check(server.id, 10)
        assert (await notebook.next_of(server.id)).error == ""
        assert (engine.stats.own_faults, engine.stats.failures) == (3, 0)
    assert {each.error for _, each in notebook.entries} == {""}


class LoadingLlama:
    """A llama-server that is loading until the test ends the load."""

    def __init__(self) -> None:
        self.is_loading = True

    def answer(self, request: Request) -> Reply:
        named = (("Server", "llama.cpp"),)
        if self.is_loading:
            body = b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'
            return Reply(503, body, headers=named)
        if request.path == "/v1/models":
            return Reply(body=b'{"data":[{"id":"m","owned_by":"llamacpp"}]}', headers=named)
        return Reply(404, headers=named)


async def test_a_loading_server_is_probed_again_soon_and_fails_only_once(fleet: Fleet):
    persona = LoadingLlama()
    server = await fleet.add(persona)
    async with running_engine() as (engine, notebook):
        engine.watch(target_of(server))
        first = await notebook.next_of(server.id)
        assert (first.error, first.answered) == ("is loading its model", True)
        assert first.is_loading
        assert not first.is_extra
        assert first.next_check_at_ms - first.checked_at_ms <= 1000
        again = await notebook.next_of(server.id)
        assert again.is_extra
        persona.is_loading = False
        ready = await notebook.next_of(server.id)
    assert (ready.error, ready.is_loading) == ("", False)
    assert states(ready) == {"m": MODEL_STATE_LOADED}
    assert ready.next_check_at_ms - ready.checked_at_ms > 20_000, "back to the usual interval"


async def test_a_server_that_stops_and_returns_is_observed(fleet: Fleet):
    server = await fleet.add(FakeOllama("a"), port=lasting_port())
    async with running_engine(FAST) as (engine, notebook):
        engine.watch(target_of(server))
        await notebook.next_of(server.id)
        await fleet.stop(server)
        await notebook.until(lambda: notebook.of(server.id)[-1].error == "connection refused")
        assert not notebook.of(server.id)[-1].answered
        assert notebook.of(server.id)[-1].models is None
        await fleet.add(FakeOllama("b"), port=server.port)
        await notebook.until(lambda: notebook.of(server.id)[-1].error == "")
        assert list(states(notebook.of(server.id)[-1])) == ["b"]


async def test_all_facts_of_a_server_replaced_between_probes_are_updated_at_once(fleet: Fleet):
    """The version is requested only in every tenth probe or after a lost connection."""
    server = await fleet.add(FakeOllama("a", version="0.12.6"))
    async with running_engine() as (engine, notebook):
        engine.watch(target_of(server))
        await notebook.next_of(server.id)
        await engine.check(server.id, 10)
        assert server.connections == 1
        server.persona = FakeOllama("a", version="0.13.0")
        assert (await engine.check(server.id, 10)).version == "0.12.6", "it was not restarted"
        fleet.cut(server)
        await server.wait_until(lambda: server.open_connections == 0)
        assert (await engine.check(server.id, 10)).version == "0.13.0"
        assert server.connections == 2
        server.persona = FakeVllm()
        fleet.cut(server)
        await server.wait_until(lambda: server.open_connections == 0)
        await engine.check(server.id, 10)
        assert (await engine.check(server.id, 10)).backend == BACKEND_VLLM
    assert {each.error for _, each in notebook.entries} == {""}


@pytest.mark.parametrize("behaviour", [Behaviour.HALF_OPEN, Behaviour.MALFORMED])
async def test_the_version_is_requested_again_after_a_reset_or_a_bad_answer(
    fleet: Fleet, behaviour: Behaviour
):
    server = await fleet.add(FakeOllama("a", version="0.12.6"))
    async with running_engine() as (engine, notebook):
        engine.watch(target_of(server))
        await notebook.next_of(server.id)
        server.behaviour = behaviour
        assert (await engine.check(server.id, 10)).error
        server.behaviour = Behaviour.OK
        server.persona = FakeOllama("a", version="0.13.0")
        assert (await notebook.next_of(server.id)).version == "0.13.0", "after the repeated probe"


async def test_a_failed_probe_is_repeated_within_2_s_with_a_short_timeout(fleet: Fleet):
    server = await fleet.add(FakeOllama("a"))
    settings = ProbeSettings(total_timeout_s=2)
    async with running_engine(settings) as (engine, notebook):
        engine.watch(target_of(server))
        await notebook.next_of(server.id)
        server.behaviour = Behaviour.HANGING
        miss = await engine.check(server.id, 10)
        assert miss.error.endswith("within 2 s")
        assert 1000 <= miss.next_check_at_ms - miss.checked_at_ms <= 1500
        repeat = await notebook.next_of(server.id)
        assert repeat.error == "no answer to GET /api/version within 1.25 s"
        assert repeat.next_check_at_ms - repeat.checked_at_ms > 20_000, "back to the usual interval"
        assert not repeat.is_extra


async def test_a_repeated_probe_that_begins_to_answer_has_the_whole_timeout(fleet: Fleet):
    server = await fleet.add(FakeOllama("a"))
    async with running_engine() as (engine, notebook):
        engine.watch(target_of(server))
        await notebook.next_of(server.id)
        server.behaviour = Behaviour.MALFORMED
        await engine.check(server.id, 10)
        # Each request takes less than the time of a first answer; together they take more.
        server.behaviour, server.delay_s = Behaviour.SLOW, 0.5
        assert (await notebook.next_of(server.id)).error == ""


async def test_a_sidecars_report_causes_an_immediate_probe(fleet: Fleet):
    server = await fleet.add(FakeOllama("a"))
    async with running_engine() as (engine, notebook):
        engine.hasten("unknown:1", is_doubted=True)
        engine.watch(target_of(server))
        await notebook.next_of(server.id)
        engine.hasten(server.id, is_doubted=False)
        engine.hasten(server.id, is_doubted=False)
        assert (await notebook.next_of(server.id, 5)).error == ""
    assert len(notebook.entries) == 2


async def test_1000_endpoints_are_probed_within_seconds_without_blocking_the_loop(fleet: Fleet):
    servers = await fleet.add_spread([FakeOllama("a") for _ in range(1000)], [Behaviour.OK] * 1000)
    async with running_engine() as (engine, notebook):
        for server in servers:
            engine.watch(target_of(server), spread=True)
        # It takes 3 s on an idle machine; here, servers and hub share a loop.
        await notebook.until(lambda: len(notebook.entries) >= 1000, 20)
    assert {each.error for _, each in notebook.entries} == {""}
