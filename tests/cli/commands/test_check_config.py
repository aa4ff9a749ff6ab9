from pathlib import Path

import pytest

from tests.support.command import llm_hub


def test_a_good_file_is_said_to_be_fine(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("data_dir = '/srv/hub'\n[[endpoints]]\nurl = 'gpu-1'\n")
    done = llm_hub("config", "check", str(file))
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{file}: fine; 1 endpoints, data in /srv/hub\n"
    assert llm_hub("config", "check", env={"LLM_HUB_CONFIG": str(file)}).out == done.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ws]\nadress = 'x'", "ws.adress: unknown setting; did you mean ws.address?"),
        ("[[endpoints]]\nurl = 'ftp://x'", "endpoints[0].url: the scheme is 'ftp'"),
        ("[[endpoints]]\nurl = 'x'\nlabel = 1", "endpoints[0].label: unknown setting"),
        ("[[endpoints]]\nurl = '169.254.1.1'", "endpoints[0].url: host 169.254.1.1 may not be"),
        ("endpoints = 7", "endpoints: "),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(text)
    for arguments in (("config", "check", str(file)), ("serve", "--config", str(file))):
        done = llm_hub(*arguments)
        assert (done.code, done.out) == (2, "")
        assert f"{file}: {said}" in done.err
        assert done.err.count("\n") == 1


def test_the_environment_is_checked_too() -> None:
    done = llm_hub("config", "check", env={"LLM_HUB_WS__ADDRESS": "x"})
    assert done.code == 2
    assert "LLM_HUB_WS__ADDRESS" in done.err
