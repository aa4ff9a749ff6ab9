import subprocess
import sys

import pytest

from tests.support.command import llm_hub
from tests.support.hub_process import hub_environment


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_completion_script(shell: str) -> None:
    done = llm_hub("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert "_LLM_HUB_COMPLETE" in done.out


@pytest.mark.parametrize(
    ("typed", "word", "offered"),
    [
        ("llm-hub dr", "dr", {"drain"}),
        ("llm-hub token ", "", {"create", "list", "path", "revoke"}),
        ("llm-hub endpoints --status ", "", {"unknown", "healthy", "unhealthy"}),
        ("llm-hub register --ba", "--ba", {"--backend"}),
    ],
)
def test_the_command_answers_the_shell(typed: str, word: str, offered: set[str]) -> None:
    words = len(typed.split()) - (1 if word else 0)
    variables = {
        "_LLM_HUB_COMPLETE": "bash_complete",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(words),
    }
    done = subprocess.run(
        [sys.executable, "-m", "hub.cli"],
        env={**hub_environment(), **variables},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == offered


def test_another_shell_is_refused() -> None:
    assert llm_hub("completion", "csh").code == 2
