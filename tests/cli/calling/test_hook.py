import os
import signal
import sys
from pathlib import Path

import pytest

from hub.cli.calling.hook import HookFailed, parse_hook, run_hook


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def test_words_are_those_of_a_shell_but_no_shell_runs() -> None:
    assert parse_hook("nginx -s 'a b' $HOME") == ["nginx", "-s", "a b", "$HOME"]


@pytest.mark.parametrize("text", ["", "  ", "'open"])
def test_a_line_without_words_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"empty|quotation"):
        parse_hook(text)


def test_it_returns_when_the_command_ends(tmp_path: Path) -> None:
    run_hook(python("import sys; open(sys.argv[1], 'w')", str(tmp_path / "ran")), 30)
    assert (tmp_path / "ran").exists()


def test_an_exit_code_is_a_failure() -> None:
    with pytest.raises(HookFailed, match="ended with exit code 3"):
        run_hook(python("raise SystemExit(3)"), 30)


def test_a_missing_program_is_a_failure() -> None:
    with pytest.raises(HookFailed, match="no-such-program: No such file"):
        run_hook(["no-such-program"], 30)


def test_after_the_deadline_the_whole_group_is_dead(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # The child holds the other end of the pipe, so that its end can be seen here.
    child = "import signal, sys; held = open(sys.argv[1], 'w'); signal.pause()"
    parent = (
        "import signal, subprocess, sys;"
        f"subprocess.Popen([sys.executable, '-c', {child!r}, sys.argv[1]]); signal.pause()"
    )
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(HookFailed, match="did not end within 1 s"):
            run_hook(python(parent, str(fifo)), 1)
        os.set_blocking(reader, True)
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


def test_the_command_does_not_get_our_interrupts() -> None:
    # Ctrl-C goes to the terminal's group, which must not cut a reload short.
    run_hook(python("import os; raise SystemExit(os.getpgrp() != os.getpid())"), 30)
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
