from pathlib import Path

import pytest

from tests.support.command import llm_hub


@pytest.mark.parametrize(
    ("arguments", "environment", "line"),
    [
        (("--ws", "4000"), {}, "llm-hub: --ws: '4000' has no port; give HOST:PORT"),
        (("--grpc", "x:99999"), {}, "llm-hub: --grpc: port '99999' is not a number"),
        (("--config", "/none.toml"), {}, "llm-hub: /none.toml: cannot be read: No such file"),
        ((), {"LLM_HUB_CONFIG": "/none.toml"}, "llm-hub: /none.toml: cannot be read"),
        ((), {"LLM_HUB_PROBES__INTERVAL": "1"}, "llm-hub: LLM_HUB_PROBES__INTERVAL: unknown"),
    ],
)
def test_bad_settings_are_one_line(
    arguments: tuple[str, ...], environment: dict[str, str], line: str
) -> None:
    done = llm_hub("serve", *arguments, env=environment)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1


def test_the_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("[http]\naddress = 'localhost'\n")
    done = llm_hub("serve", "--config", str(file))
    assert done.err.startswith(f"llm-hub: {file}: http.address: 'localhost' has no port")
