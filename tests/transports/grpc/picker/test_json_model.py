import json
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.transports.grpc.picker.json_model import MAX_VALUE_BYTES, BadBody, JsonModel

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
# Keys that look like the model's are for the tests of refusals.
KEYS = TEXT.filter(lambda key: key.casefold() != "model")


def scanned(body: bytes, *cuts: int) -> JsonModel:
    scan = JsonModel()
    edges = [0, *sorted(cuts), len(body)]
    for start, end in pairwise(edges):
        scan.feed(body[start:end])
    return scan


@given(
    before=st.dictionaries(KEYS, VALUES, max_size=4),
    model=TEXT,
    after=st.dictionaries(KEYS, VALUES, max_size=4),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
    data=st.data(),
)
def test_the_model_of_any_object_is_found_in_any_chunks(
    before, model, after, ascii_only, indent, data
):
    value = {**before, "model": model, **{k: v for k, v in after.items() if k not in before}}
    body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=6))
    scan = scanned(body, *cuts)
    assert scan.finish() == model
    assert json.loads(body[scan.start : scan.end]) == model


@given(st.binary(max_size=64), st.lists(st.integers(0, 64), max_size=4))
def test_no_bytes_crash_it_and_chunks_do_not_matter(body, cuts):
    def outcome(*at: int) -> str | None:
        try:
            return scanned(body, *at).finish()
        except BadBody:
            return None

    assert outcome() == outcome(*(cut for cut in cuts if cut <= len(body)))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b'{"messages": []', "not a JSON object"),
        (b'{"messages": [{"model": "x"}]}', "names no model"),
        (b'{"model": 7}', "not a string"),
        (b'{"model": null, "x": "y"}', "not a string"),
        (b'{"model": ["x"]}', "not a string"),
        (b'{"model": {"a": "b"}}', "not a string"),
        (b'{"model": "a", "model": "b"}', "twice"),
        (b'{"model": "a", "mod\\u0065l": "b"}', "twice"),
        (b'{"model": "a", "MODEL": "b"}', "lower case"),
        (b'{"Model": "a"}', "lower case"),
        (b'{"model": "a"} {"model": "b"}', "goes on"),
        (b'{"model": "\xff"}', "not JSON"),
        (b'{"model": "%b"}' % (b"x" * (MAX_VALUE_BYTES + 1)), "too long"),
    ],
)
def test_what_two_parsers_could_read_differently_is_refused(body, why):
    with pytest.raises(BadBody, match=why):
        scanned(body).finish()
    with pytest.raises(BadBody, match=why):
        scanned(body, *range(len(body))).finish()


def test_the_model_is_known_before_the_body_ends_and_a_second_one_is_noticed_after():
    scan = JsonModel()
    scan.feed(b'{"model": "m", "messages": ["')
    assert scan.model == "m"
    scan.feed(b'x"], "mo')
    with pytest.raises(BadBody, match="twice"):
        scan.feed(b'del": "n"}')


def test_escaped_quotes_at_the_edges_of_chunks():
    text = '\\"' * 50 + "\\"
    body = json.dumps({"prompt": text, "model": 'a"\\b'}).encode()
    rng = random.Random(3)
    for _ in range(200):
        cuts = [rng.randrange(len(body)) for _ in range(rng.randrange(8))]
        assert scanned(body, *cuts).finish() == 'a"\\b'


def test_what_it_keeps_does_not_grow_with_the_body():
    scan = JsonModel()
    scan.feed(b'{"')
    for _ in range(1000):
        scan.feed(b"k" * 1000)
    scan.feed(b'": "')
    for _ in range(1000):
        scan.feed(b"v" * 1000)
    scan.feed(b'", "model": "m"}')
    assert scan.finish() == "m"
    assert scan.start > 2_000_000
