"""The command that a user wants to run after a change, with a deadline and without a shell."""

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Sequence

from hub.cli.output.printable import printable


class HookFailed(Exception):
    """The command failed; the message says how."""


def parse_hook(text: str) -> list[str]:
    """The words of a command line, as a shell reads them. Raises ValueError."""
    words = shlex.split(text)
    if not words:
        raise ValueError("the command is empty")
    return words


def run_hook(words: Sequence[str], timeout_s: float) -> None:
    """Runs the command until it ends; its stderr is ours. Raises HookFailed.

    After the deadline it is killed, with the processes that it has started.
    """
    name = printable(words[0])
    try:
        # The user who runs this command gives the words; they are never those of the fleet.
        process = subprocess.Popen(  # noqa: S603
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise HookFailed(f"{name}: {error.strerror}") from None
    try:
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise HookFailed(f"{name} did not end within {timeout_s:g} s") from None
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code:
        raise HookFailed(f"{name} ended with exit code {code}")
