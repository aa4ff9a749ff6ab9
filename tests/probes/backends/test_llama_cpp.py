"""Tests of the real llama.cpp server; only the router, which needs its binary, is a fake."""

from pathlib import Path

import orjson
import pytest

from hub.base.settings import ProbeSettings
from hub.probes.asker import ProbeTarget
from hub.probes.backends import llama_cpp
from hub.registry.observation import Load
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import (
    BACKEND_LLAMA_CPP,
    BACKEND_OLLAMA,
    FAULT_NOT_SERVING,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_LOADING,
    Endpoint,
)
from tests.support.llama import LlamaServer, running_llama, write_model
from tests.support.observing import running_engine, target_of
from tests.support.ports import lasting_port
from tools.fleetsim import FakeLlamaRouter, Fleet, Reply, Request

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


async def test_a_real_server_registered_as_ollama_is_reported_as_llama_cpp(tiny_model: Path):
    async with running_llama(tiny_model) as server, running_engine() as (engine, _):
        engine.watch(target(server, backend=BACKEND_OLLAMA))
        seen = await engine.check(server.id, 10)
    assert seen.error == "is llama.cpp server, not Ollama as registered"
    assert seen.answered


async def test_without_metrics_the_slots_show_the_load(tiny_model: Path):
    async with (
        running_llama(tiny_model, metrics=False, slots=3) as server,
        running_engine() as (engine, _),
    ):
        engine.watch(target(server))
        seen = await engine.check(server.id, 10)
    assert seen.load == Load(running=0, slots=3)


async def test_a_missing_wrong_and_right_key(tiny_model: Path):
    async with (
        running_llama(tiny_model, api_key="right") as server,
        running_engine() as (engine, _),
    ):
        for key, said in (
            (None, "needs an API key"),
            ("wrong", "refuses the registered API key"),
            ("right", ""),
        ):
            engine.watch(target(server, api_key=key))
            seen = await engine.check(server.id, 10)
            assert seen.error.partition(" (")[0] == said
            assert seen.answered
    assert seen.backend == BACKEND_LLAMA_CPP


async def test_a_server_restarted_with_another_model(tiny_model: Path, tmp_path: Path):
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


async def test_a_sleeping_server_is_not_woken(tiny_model: Path):
    """Requests to `/slots` and `/metrics` would load the model again, as the end shows."""
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


async def test_a_router_reports_each_models_state_and_loads_none(fleet: Fleet):
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
    assert {request.path for request in named} == {"/slots", "/props"}
    assert all(request.query == {"model": "small", "autoload": "false"} for request in named)
    small = next(model for model in seen.models or () if model.name == "small")
    assert list(small.capabilities) == ["tools"]
    assert list(small.absent_capabilities) == ["vision", "audio"]


async def test_a_router_without_models_is_detected(fleet: Fleet):
    server = await fleet.add(FakeLlamaRouter({}))
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        seen = await engine.check(server.id, 10)
    assert (seen.error, seen.backend, seen.models) == ("", BACKEND_LLAMA_CPP, ())


def test_metrics_add_waiting_requests_to_the_figures_of_the_slots():
    page = b"llamacpp:requests_processing 2\nllamacpp:requests_deferred 5\n"
    assert llama_cpp.parse_metrics(page, Load(running=1, slots=4)) == Load(
        running=1, waiting=5, slots=4
    )
    assert llama_cpp.parse_metrics(b"", Load(slots=4)) == Load(slots=4)


def test_models_whose_servers_may_sleep_get_no_requests():
    value = {
        "data": [
            {"id": "a", "status": {"args": ["llama-server", "--sleep-idle-seconds", "60"]}},
            {"id": "b", "status": {"args": ["llama-server"]}},
            {"id": "c", "status": {}},
        ]
    }
    assert llama_cpp.never_asleep(value) == {"b"}


def test_a_list_without_meta_is_accepted():
    value = {"data": [{"id": "x", "owned_by": "llamacpp"}]}
    (model,) = llama_cpp.parse_models(value)
    assert not model.HasField("context_length")
    assert model.state == MODEL_STATE_LOADED


def test_a_null_meta_means_a_loading_model_unless_the_server_sleeps():
    value = {"data": [{"id": "x", "owned_by": "llamacpp", "meta": None}]}
    (model,) = llama_cpp.parse_models(value)
    assert model.state == MODEL_STATE_LOADING
    (model,) = llama_cpp.parse_models(value, llama_cpp.Props(is_sleeping=True))
    assert model.state == MODEL_STATE_AVAILABLE


class StillLoading:
    """A build that lists its model while loading it; only /props answers 503."""

    def __init__(self, *, has_null_meta: bool, props_status: int) -> None:
        self.has_null_meta = has_null_meta
        self.props_status = props_status

    def answer(self, request: Request) -> Reply:
        meta = None if self.has_null_meta else {"n_ctx": 512, "size": 1}
        bodies = {
            "/v1/models": {"data": [{"id": "tiny", "owned_by": "llamacpp", "meta": meta}]},
            "/props": {"error": {"code": 503, "message": "Loading model"}},
        }
        if self.props_status == 200:
            bodies["/props"] = {"build_info": "b1", "total_slots": 1}
        status = self.props_status if request.path == "/props" else 200
        return Reply(status, orjson.dumps(bodies.get(request.path, {})))


@pytest.mark.parametrize(
    ("has_null_meta", "props_status"), [(True, 200), (False, 503), (True, 503)]
)
async def test_a_server_that_lists_its_model_while_loading_is_loading(
    fleet: Fleet, has_null_meta: bool, props_status: int
):
    fake = StillLoading(has_null_meta=has_null_meta, props_status=props_status)
    server = await fleet.add(fake)
    async with running_engine() as (engine, _):
        engine.watch(target_of(server, BACKEND_LLAMA_CPP))
        seen = await engine.check(server.id, 10)
    assert (seen.error, seen.is_loading, seen.answered) == ("is loading its model", True, True)
    assert [(model.name, model.state) for model in seen.models or ()] == [
        ("tiny", MODEL_STATE_LOADING)
    ]
    assert "/slots" not in server.paths
    registry = Registry(first_revision=1)
    registry.put_endpoint(Endpoint(id=server.id))
    registry.observe(server.id, seen)
    record = registry.get(server.id)
    assert record is not None
    assert record.message.models[0].state == MODEL_STATE_LOADING
    assert record.message.fault == FAULT_NOT_SERVING


async def test_capabilities_are_those_that_the_real_server_reports(tiny_model: Path):
    async with running_llama(tiny_model, alias="tiny") as server, running_engine() as (engine, _):
        engine.watch(target(server))
        seen = await engine.check(server.id, 10)
    (model,) = seen.models or ()
    assert list(model.capabilities) == ["completion"]
    assert sorted(model.absent_capabilities) == ["audio", "tools", "vision"]
    assert not model.capabilities_known


def test_capabilities_come_from_the_list_its_modalities_and_the_template():
    value = {
        "models": [{"name": "x", "capabilities": ["completion", "multimodal"]}],
        "data": [
            {
                "id": "x",
                "owned_by": "llamacpp",
                "architecture": {"input_modalities": ["text", "image"]},
            }
        ],
    }
    props = llama_cpp.parse_props(
        {"chat_template_caps": {"supports_tools": True}, "modalities": {"vision": True}}
    )
    (model,) = llama_cpp.parse_models(value, props)
    assert list(model.capabilities) == ["completion", "multimodal", "vision", "tools"]
    assert list(model.absent_capabilities) == ["audio"]


def test_adapters_are_named_by_their_files():
    value = [
        {"id": 0, "path": "/loras/french.gguf", "scale": 1.0},
        {"id": 1, "path": "C:\\loras\\legal.gguf", "scale": 0.0},
        {"id": 2},
        7,
    ]
    assert llama_cpp.parse_adapters(value) == ["french", "legal"]
    assert llama_cpp.parse_adapters({"error": "x"}) == []


def test_the_cached_share_is_of_all_prompt_tokens_including_cached_ones():
    page = b"llamacpp:prompt_tokens_total 75\nllamacpp:prompt_tokens_cached_total 25\n"
    assert llama_cpp.prompt_tokens(page) == (100, 25)
    assert llama_cpp.prompt_tokens(b"llamacpp:prompt_tokens_total 75\n") == (None, None)
