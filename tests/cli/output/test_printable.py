import pytest

from hub.cli.output.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain ä 模型", "plain ä 模型"), ("a\r\nb", r"a\r\nb"), ("\u202e\x00", r"\u202e\x00")],
)
def test_control_characters_become_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown
