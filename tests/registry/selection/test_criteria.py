"""Facts of a model: known to hold, known not to hold, or unknown."""

from hub.registry.selection.criteria import unknown_capabilities, unknown_facts
from llmhub.v1.endpoint_pb2 import Model
from llmhub.v1.model_alias_pb2 import AliasTarget


def test_a_model_must_fit_every_fact_that_a_target_names() -> None:
    model = Model(digest="d", family="Llama", quantization="Q4", context_length=10)
    assert unknown_facts(model, AliasTarget(digest="d", family="llama", quantization="q4")) == ()
    assert unknown_facts(model, AliasTarget(min_context_length=10)) == ()
    assert unknown_facts(model, AliasTarget(min_context_length=11)) is None
    assert unknown_facts(model, AliasTarget(digest="D")) is None


def test_an_unreported_fact_is_unknown_and_not_false() -> None:
    target = AliasTarget(digest="d", family="f", quantization="q", min_context_length=1)
    names = ("digest", "family", "quantization", "context_length")
    assert unknown_facts(Model(), target) == names
    assert unknown_facts(Model(family="g"), target) is None
    # The server reported a context of 0, so it is known.
    assert unknown_facts(Model(context_length=0), AliasTarget(min_context_length=1)) is None


def test_a_capability_is_lacking_only_if_the_backend_says_so() -> None:
    wanted = {"tools", "vision"}
    assert unknown_capabilities(Model(capabilities=["vision", "tools"]), wanted) == ()
    assert unknown_capabilities(Model(capabilities=["tools"]), wanted) == ("capability vision",)
    complete = Model(capabilities=["tools"], capabilities_known=True)
    assert unknown_capabilities(complete, wanted) is None
    assert unknown_capabilities(Model(absent_capabilities=["vision"]), wanted) is None
