"""The real llama.cpp server; only the router, which needs its binary, is a fake."""

from pathlib import Path

from hub.base.settings import ProbeSettings
from hub.probes.backends import llama_cpp
from hub.probes.target import ProbeTarget
from hub.registry.observation import Load
from llmhub.v1.endpoint_pb2 import (
    BACKEND_LLAMA_CPP,
    BACKEND_OLLAMA,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
)
from tests.support.llama import LlamaServer, running_llama, write_model
from tests.support.observing import running_engine, target_of
from tests.support.ports import lasting_port
from tools.fleetsim import FakeLlamaRouter, Fleet

FAST = ProbeSettings(interval_s=0.2)


def target(server: LlamaServer, **more) -> ProbeTarget:
    return ProbeTarget(server.id, "http", server.host, server.port, **more)


async def test_the_real_server_shows_model_context_build_and_slots(tiny_model: Path):
    async with (
        running_llama(tiny_model, alias="tiny", context=256, slots=2) as server,
        running_engine() as (engine, _),
    ):
        engine.watch(target(server))
        seen = await engine.check(server.id, 10)
    assert seen.error == ""
    assert seen.backend == BACKEND_LLAMA_CPP
    assert seen.version.startswith("b")
    (model,) = seen.models or ()
    assert (model.name, model.state) == ("tiny", MODEL_STATE_LOADED)
    assert model.context_length == 256
    assert model.parameter_size == "16.5K"
    assert model.size_bytes == 65_920
    assert seen.load == Load(running=0, waiting=0, slots=2)


async def test_pinned_as_ollama_the_real_server_is_named_for_what_it_is(tiny_model: Path):
    async with running_llama(tiny_model) as server, running_engine() as (engine, _):
        engine.watch(target(server, backend=BACKEND_OLLAMA))
        seen = await engine.check(server.id, 10)
    assert seen.error == "is llama.cpp server, not Ollama as registered"
    assert seen.answered


async def test_without_metrics_the_slots_tell_the_load(tiny_model: Path):
    async with (
        running_llama(tiny_model, metrics=False, slots=3) as server,
        running_engine() as (engine, _),
    ):
        engine.watch(target(server))
        seen = await engine.check(server.id, 10)
    assert seen.load == Load(running=0, slots=3)


async def test_the_key_is_needed_wrong_and_right(tiny_model: Path):
    async with (
        running_llama(tiny_model, api_key="right") as server,
        running_engine() as (engine, _),
    ):
        for key, is_right in ((None, False), ("wrong", False), ("right", True)):
            engine.watch(target(server, api_key=key))
            seen = await engine.check(server.id, 10)
            assert seen.error.startswith("needs an API key") is not is_right
            assert seen.answered
    assert seen.backend == BACKEND_LLAMA_CPP


async def test_stopped_and_started_again_with_another_model(tiny_model: Path, tmp_path: Path):
    async with running_engine(FAST) as (engine, notebook):
        async with running_llama(tiny_model, alias="tiny", port=lasting_port()) as server:
            engine.watch(target(server))
            assert (await notebook.next_of(server.id)).error == ""
        await notebook.until(lambda: notebook.of(server.id)[-1].error == "connection refused")
        other = write_model(tmp_path / "other.gguf", name="other", context=128, seed=9)
        async with running_llama(other, alias="other", context=128, port=server.port):
            await notebook.until(lambda: notebook.of(server.id)[-1].error == "")
            (model,) = notebook.of(server.id)[-1].models or ()
            assert (model.name, model.context_length) == ("other", 128)


async def test_a_server_that_sleeps_is_not_woken(tiny_model: Path):
    """`/slots` and `/metrics` would load the model again, as this server shows if asked."""
    # Slow enough that the server falls asleep between two probes.
    async with (
        running_llama(tiny_model, alias="tiny", sleep_idle_s=1) as server,
        running_engine(ProbeSettings(interval_s=2.5)) as (engine, notebook),
    ):
        engine.watch(target(server))
        await notebook.until(
            lambda: (
                [o.models[0].state for o in notebook.of(server.id) if o.models][-2:]
                == [MODEL_STATE_AVAILABLE] * 2
            )
        )
        assert {o.error for o in notebook.of(server.id)} == {""}
        assert notebook.of(server.id)[-1].load == Load(slots=2)


async def test_a_router_tells_each_models_state_and_loads_none(fleet: Fleet):
    fake = FakeLlamaRouter({"small": "loaded", "big": "unloaded", "coming": "downloading"})
    server = await fleet.add(fake)
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        seen = await engine.check(server.id, 10)
    assert seen.backend == BACKEND_LLAMA_CPP
    assert seen.version == fake.build
    assert fake.status == {"small": "loaded", "big": "unloaded", "coming": "downloading"}
    states = {model.name: (model.state, model.context_length) for model in seen.models or ()}
    assert states == {
        "small": (MODEL_STATE_LOADED, 8192),
        "big": (MODEL_STATE_AVAILABLE, 0),
        "coming": (0, 0),
    }
    assert seen.load == Load(running=1, slots=4)
    named = [request for request in server.recent if "model" in request.query]
    assert [request.query for request in named] == [{"model": "small", "autoload": "false"}]


async def test_a_router_without_models_is_known(fleet: Fleet):
    server = await fleet.add(FakeLlamaRouter({}))
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        seen = await engine.check(server.id, 10)
    assert (seen.error, seen.backend, seen.models) == ("", BACKEND_LLAMA_CPP, ())


def test_metrics_add_what_waits_to_what_the_slots_tell():
    page = b"llamacpp:requests_processing 2\nllamacpp:requests_deferred 5\n"
    assert llama_cpp.parse_metrics(page, Load(running=1, slots=4)) == Load(
        running=1, waiting=5, slots=4
    )
    assert llama_cpp.parse_metrics(b"", Load(slots=4)) == Load(slots=4)


def test_models_whose_servers_may_sleep_are_left_in_peace():
    value = {
        "data": [
            {"id": "a", "status": {"args": ["llama-server", "--sleep-idle-seconds", "60"]}},
            {"id": "b", "status": {"args": ["llama-server"]}},
            {"id": "c", "status": {}},
        ]
    }
    assert llama_cpp.never_asleep(value) == {"b"}


def test_a_missing_meta_is_no_fault():
    value = {"data": [{"id": "x", "owned_by": "llamacpp", "meta": None}]}
    (model,) = llama_cpp.parse_models(value)
    assert not model.HasField("context_length")
