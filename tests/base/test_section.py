import pytest

from hub.base.section import Section


class Example(Section):
    """A section."""

    size: float = 1.0
    """how large it is"""


def test_a_section_is_frozen_and_takes_no_unknown_key_and_no_infinity():
    with pytest.raises(ValueError, match="frozen"):
        Example().size = 2.0
    with pytest.raises(ValueError, match="not permitted"):
        Example(sise=2.0)
    with pytest.raises(ValueError, match="finite"):
        Example(size=float("inf"))


def test_a_setting_is_described_by_the_text_below_it():
    assert Example.model_fields["size"].description == "how large it is"
