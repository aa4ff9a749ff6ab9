import pytest

from hub.probes.backends.lemonade import mark_loaded, parse_models
from hub.probes.faults import WrongKind
from llmhub.v1.endpoint_pb2 import (
    BACKEND_LEMONADE,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_LOADING,
    Model,
)
from tests.support.observing import running_engine, target_of
from tools.fleetsim import FakeLemonade, Fleet, Reply, Request


async def test_models_on_disk_and_in_memory_with_their_labels(fleet: Fleet):
    server = await fleet.add(FakeLemonade())
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        seen = await engine.check(server.id, 10)
    assert (seen.error, seen.backend, seen.version) == ("", BACKEND_LEMONADE, "9.3.3")
    chat, embed = seen.models or ()
    assert (chat.state, chat.context_length) == (MODEL_STATE_LOADED, 4096)
    assert chat.quantization == "Q4_0"
    assert list(chat.capabilities) == ["completion", "thinking", "tools"]
    assert embed.state == MODEL_STATE_AVAILABLE
    assert list(embed.capabilities) == ["embedding"]
    assert list(embed.absent_capabilities) == ["completion"]


async def test_an_old_version_without_labels_leaves_capabilities_unknown(fleet: Fleet):
    server = await fleet.add(FakeLemonade(is_old=True))
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        seen = await engine.check(server.id, 10)
    assert not any(m.capabilities or m.absent_capabilities for m in seen.models or ())


@pytest.mark.parametrize(
    ("entry", "state"),
    [
        ({"status": "loading"}, MODEL_STATE_LOADING),
        ({"loaded": False}, MODEL_STATE_LOADING),
        ({"loaded": True, "status": "in_use"}, MODEL_STATE_LOADED),
    ],
)
def test_loading_is_distinguished_from_loaded(entry, state):
    models = [Model(name="m")]
    mark_loaded(models, {"all_models_loaded": [{"model_name": "m", **entry}]})
    assert models[0].state == state


def test_models_not_downloaded_are_left_out():
    value = {"data": [{"id": "a", "downloaded": False}, {"id": "b", "downloaded": True}, 7]}
    assert [model.name for model in parse_models(value)] == ["b"]


def test_an_answer_without_a_list_is_another_kind():
    with pytest.raises(WrongKind):
        parse_models({"models": []})


class NotLemonade:
    """A server that answers Lemonade's health route differently."""

    def answer(self, request: Request) -> Reply:
        return Reply(200, b'{"status": "ok"}')


async def test_a_wrongly_registered_lemonade_is_reported(fleet: Fleet):
    server = await fleet.add(NotLemonade())
    async with running_engine() as (engine, _):
        engine.watch(target_of(server, BACKEND_LEMONADE))
        seen = await engine.check(server.id, 10)
    assert "without Lemonade's list of loaded models" in seen.error
