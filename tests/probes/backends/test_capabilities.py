from hub.probes import json_fields
from hub.probes.backends.capabilities import Capabilities
from llmhub.v1.endpoint_pb2 import Model


def test_listed_capabilities_are_present_or_absent_and_others_unknown():
    capabilities = Capabilities(["completion"])
    capabilities.add("tools", is_there=True)
    capabilities.add("vision", is_there=False)
    capabilities.add("audio", is_there=None)
    assert capabilities.present == ["completion", "tools"]
    assert capabilities.absent == ["vision"]


def test_a_backends_own_word_is_translated():
    capabilities = Capabilities(["tool_use", "embeddings", "reasoning"])
    assert capabilities.present == ["tools", "embedding", "thinking"]


def test_a_contradictory_capability_counts_as_present():
    capabilities = Capabilities(["vision"])
    capabilities.add("vision", is_there=False)
    assert (capabilities.present, capabilities.absent) == (["vision"], [])


def test_the_number_of_capabilities_is_bounded():
    model = Model(name="m", capabilities=["old"])
    Capabilities(str(number) for number in range(999)).write(model)
    assert len(model.capabilities) == json_fields.MAX_CAPABILITIES
    assert not model.absent_capabilities
