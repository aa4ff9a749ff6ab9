from pathlib import Path

import pytest

from tests.support.command import llm_hub


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no token: give --token-file or set LLM_HUB_TOKEN"),
        (("--token", "t", "--token-file", "f"), "not both"),
        (("--token", "t", "--endpoint", "ftp://h"), "not http or https"),
        (("--token-file", "/nonexistent/token"), "cannot be read"),
        (("--token", "t", "--interval", "0.5"), "--interval"),
        (("--token", "t", "--tls-cert", "c.pem"), "is plain text; certificates need wss"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    done = llm_hub("sidecar", "--hub", "ws://127.0.0.1:1", "--agent", "node-1", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1


def test_a_hub_url_of_another_scheme_is_refused() -> None:
    done = llm_hub("sidecar", "--hub", "http://127.0.0.1:1", "--token", "t")
    assert done.code == 2
    assert "ws://hub.lan:4000/ws" in done.err


def test_an_empty_token_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("")
    done = llm_hub("sidecar", "--hub", "ws://127.0.0.1:1", "--token-file", str(file))
    assert done.code == 2
    assert f"{file}: contains no token" in done.err


def test_unusable_certificates_are_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    for address in ("127.0.0.1:1", "wss://127.0.0.1:1"):
        done = llm_hub("sidecar", "--hub", address, "--token", "t", "--tls-cert", missing)
        assert done.code == 2
        assert done.err == f"llm-hub: --tls-cert: {missing}: No such file or directory\n"
