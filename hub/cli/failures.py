"""How a command fails: one line on stderr and an exit code that scripts can tell apart."""

from enum import IntEnum

import click


class ExitCode(IntEnum):
    """The exit codes of every command; docs/cli.md lists them too."""

    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_AUTHORISED = 4
    NOT_FOUND = 5
    INVALID = 6
    REPLACED = 7
    UNHEALTHY = 8
    INTERRUPTED = 130


class CommandFailed(click.ClickException):
    """The command failed; `message` is one line for the user.

    It consists of what was `found`, the `advice` on what to do, and the `reason` in
    brackets if the hub gave one.
    """

    def __init__(
        self, found: str, code: ExitCode = ExitCode.FAILED, *, advice: str = "", reason: str = ""
    ) -> None:
        bracket = f" [{reason}]" if reason else ""
        super().__init__((f"{found}; {advice}" if advice else found) + bracket)
        self.found = found + bracket
        self.advice = advice
        self.code = code
