"""Every parser with arbitrary JSON: a parser raises only its documented errors."""

import orjson
import protovalidate
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.probes import json_fields
from hub.probes.answer import JsonValue
from hub.probes.backends import (
    llama_cpp,
    lmdeploy,
    ollama,
    prometheus_text,
    sglang,
    text_embeddings,
    vllm,
)
from hub.probes.faults import ProbeError
from hub.registry.observation import Load, Observation
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import Endpoint
from tests.support.backend_parsers import LOADS, PARSERS

# Members that parsers read, each with plausible kinds of values.
MEMBERS = {
    "texts": "name model id key digest family arch quantization remote_host expires_at owned_by "
    "parent path checkpoint model_name model_id model_sha state mode status general.architecture",
    "numbers": "size size_vram context_length n_ctx n_params max_model_len num_running_reqs "
    "max_running_requests cache_hit_rate max_input_tokens max_input_length ctx_size "
    "llama.context_length max_context_window",
    "flags": "downloaded loaded loading supports_vision supports_tools vision "
    "supports_function_calling",
    "objects": "details meta status config default_generation_settings quantization architecture "
    "model_info model_type modalities chat_template_caps recipe_options capabilities embedding",
    "lists": "models data capabilities args loaded_instances loads running all_models_loaded "
    "labels tags input_modalities",
}
WORDS = [word for words in MEMBERS.values() for word in words.split()]
VALUES = [
    "llamacpp",
    "loaded",
    "ready",
    "image",
    "embeddings",
    "chat",
    "llama",
    "a",
    "router",
    "a:latest",
    "2031-06-04T14:38:31Z",
    "x" * 700,
    "\x00é",
]
NUMBERS = [0, -1, True, 2**53, 2**64 - 1, -(2**63), 0.5, 1e300, 4096.0]
LEAVES = st.none() | st.sampled_from(VALUES) | st.sampled_from(NUMBERS) | st.text(max_size=8)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)
    ),
    max_leaves=6,
)
ENTRIES = st.lists(st.dictionaries(st.sampled_from(WORDS), JSON, max_size=6) | JSON, max_size=3)
ANSWERS = (
    JSON
    | st.fixed_dictionaries({"models": ENTRIES})
    | st.fixed_dictionaries({"data": ENTRIES})
    | st.fixed_dictionaries({"loads": ENTRIES})
    | ENTRIES
)


FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("parser", PARSERS)
@FUZZ
@given(value=ANSWERS)
def test_every_model_list_parses_into_valid_models_or_a_probe_error(parser: str, value):
    try:
        models = PARSERS[parser](orjson.loads(orjson.dumps(value)))
    except ProbeError:
        return
    if models is None:
        return
    names = [model.name for model in models]
    assert names == sorted(set(names))
    protovalidate.validate(Endpoint(models=models))


@pytest.mark.parametrize("parser", LOADS)
@FUZZ
@given(value=ANSWERS)
def test_every_load_parses_into_sane_figures(parser: str, value):
    load = LOADS[parser](orjson.loads(orjson.dumps(value)))
    if load is None:
        return
    counts = (load.running, load.waiting, load.slots)
    assert all(count is None or count >= 0 for count in counts)
    for ratio in (load.kv_cache_used_ratio, load.prefix_cache_hit_ratio):
        assert ratio is None or 0 <= ratio <= 1
    registry = Registry(first_revision=1)
    registry.put_endpoint(Endpoint(id="a:1"))
    registry.observe("a:1", Observation(checked_at_ms=1, next_check_at_ms=2, load=load))
    record = registry.get("a:1")
    assert record is not None
    protovalidate.validate(record.message)


@FUZZ
@given(value=ANSWERS)
def test_props_and_router_arguments_never_raise(value):
    llama_cpp.parse_props(value)
    llama_cpp.never_asleep(value)
    llama_cpp.context_of_slots(value)


@FUZZ
@given(
    st.lists(
        st.binary(max_size=60)
        | st.sampled_from(
            [
                b"vllm:num_requests_running",
                b"sglang:token_usage 7",
                b"te_queue_size -1",
                b'{a="}',
                b"} ",
                b" nan",
                b" 1e999",
                b"\n",
            ]
        ),
        max_size=20,
    )
)
def test_metrics_pages_never_raise(parts: list[bytes]):
    page = b"".join(parts)
    vllm.parse_metrics(page)
    vllm.prefix_tokens(page)
    sglang.parse_metrics(page)
    lmdeploy.parse_metrics(page)
    text_embeddings.parse_metrics(page)
    llama_cpp.prompt_tokens(page)
    llama_cpp.parse_metrics(page, Load())
    assert all(
        abs(number) < float("inf") for number in prometheus_text.gauges(page, ["a"]).values()
    )


@FUZZ
@given(st.text(max_size=60))
def test_expiries_never_raise(value: str):
    ollama.parse_expiry(value)


def test_lone_surrogates_and_control_characters_do_not_reach_a_message():
    value: JsonValue = {"name": "a\ud800b\x07c", "long": "x" * 9999}
    assert json_fields.text(value, "name") == "abc"
    assert json_fields.model_name(value, "name", "long") == ""
    assert len(json_fields.text(value, "long")) == json_fields.MAX_TEXT


@pytest.mark.parametrize(
    ("number", "expected"),
    [(5, 5), (5.0, 5), (5.5, None), (-1, None), (True, None), ("5", None), (2**53, None), (0, 0)],
)
def test_whole_numbers_are_read_strictly(number: JsonValue, expected: int | None):
    assert json_fields.whole({"n": number}, "n") == expected


def test_gauges_are_summed_and_names_matched_whole():
    page = b'a{x="1 } 2"} 3\na 4\nab 100\na{y="z"} nan\n# a 7\na\n'
    assert prometheus_text.gauges(page, ["a"]) == {"a": 7.0}
