"""How a command fails: one line on stderr and an exit code that scripts can tell apart."""

from collections.abc import Mapping
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
    """The command cannot do its work; `message` is one line for people.

    `reason` and `metadata` are those of the hub's ErrorInfo, where the hub refused.
    """

    def __init__(
        self,
        message: str,
        code: ExitCode = ExitCode.FAILED,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.metadata = dict(metadata or {})
