"""Facts that a model is known to have, known to lack, or of which nothing is known."""

from hub.registry.selection.criteria import unknown_capabilities, unknown_facts
from llmhub.v1.endpoint_pb2 import Model
from llmhub.v1.model_alias_pb2 import AliasTarget


def test_a_model_fits_a_target_in_all_that_it_names() -> None:
    model = Model(digest="d", family="Llama", quantization="Q4", context_length=10)
    assert unknown_facts(model, AliasTarget(digest="d", family="llama", quantization="q4")) == ()
    assert unknown_facts(model, AliasTarget(min_context_length=10)) == ()
    assert unknown_facts(model, AliasTarget(min_context_length=11)) is None
    assert unknown_facts(model, AliasTarget(digest="D")) is None


def test_a_fact_that_nothing_reports_is_unknown_and_not_false() -> None:
    target = AliasTarget(digest="d", family="f", quantization="q", min_context_length=1)
    names = ("digest", "family", "quantization", "context_length")
    assert unknown_facts(Model(), target) == names
    assert unknown_facts(Model(family="g"), target) is None
    # A context of 0 is what the server said.
    assert unknown_facts(Model(context_length=0), AliasTarget(min_context_length=1)) is None


def test_a_capability_is_lacking_only_if_the_backend_says_so() -> None:
    wanted = {"tools", "vision"}
    assert unknown_capabilities(Model(capabilities=["vision", "tools"]), wanted) == ()
    assert unknown_capabilities(Model(capabilities=["tools"]), wanted) == ("capability vision",)
    complete = Model(capabilities=["tools"], capabilities_known=True)
    assert unknown_capabilities(complete, wanted) is None
    assert unknown_capabilities(Model(absent_capabilities=["vision"]), wanted) is None
