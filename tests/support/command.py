"""Runs `llm-hub` in this process, as its entry point does."""

import contextlib
import io
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from unittest import mock

import pytest

from hub.cli import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def llm_hub(*arguments: str, env: Mapping[str, str] | None = None, stdin: str = "") -> Outcome:
    """Runs the command line without this process's LLM_HUB_… variables."""
    out, err = io.StringIO(), io.StringIO()
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LLM_HUB_")}
    with (
        mock.patch.dict(os.environ, kept | dict(env or {}), clear=True),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as exit_,
    ):
        main(arguments)
    return Outcome(int(exit_.value.code or 0), out.getvalue(), err.getvalue())
