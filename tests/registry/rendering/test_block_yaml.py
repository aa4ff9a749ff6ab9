import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hub.registry.rendering.block_yaml import block_yaml

SCALARS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.integers(), st.booleans(), st.none()
)
ITEMS = st.one_of(SCALARS, st.dictionaries(st.text("aby.: ", min_size=1), SCALARS, min_size=1))
VALUES = st.recursive(
    st.one_of(SCALARS, st.lists(ITEMS)),
    lambda inner: st.dictionaries(st.text("noNO~ #:'x", min_size=1), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text('aey-"{[', min_size=1), VALUES))
def test_a_parser_reads_the_same_values(value: dict[str, object]) -> None:
    assert yaml.safe_load(block_yaml(value)) == value


@pytest.mark.parametrize("text", ["no", "1e3", "2026-01-01", "!!python/none", "a: b", "- x", "# y"])
def test_text_stays_text(text: str) -> None:
    assert yaml.safe_load(block_yaml({"k": [text], text: text})) == {"k": [text], text: text}


def test_a_small_document() -> None:
    value = {"list": [{"name": "a", "size": 1}, "b"], "none": None, "empty": {}, "no": []}
    assert block_yaml(value) == (
        'list:\n  - name: "a"\n    size: 1\n  - "b"\nnone: null\nempty: {}\n"no": []\n'
    )
    assert block_yaml({}) == "{}\n"
