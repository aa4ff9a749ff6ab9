import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click import Group

from hub.cli.failures import ExitCode
from hub.cli.root import LazyCommands
from hub.cli.root import llm_hub as group
from tests.support.command import llm_hub
from tests.support.hub_process import HubProcess, hub_environment

ROOT = Path(__file__).parents[2]


def test_every_command_says_what_it_does() -> None:
    for name in group.commands:
        shown = llm_hub(name, "--help")
        assert (shown.code, shown.err) == (0, "")
        assert f"llm-hub {name}" in shown.out


def test_the_help_and_the_documentation_name_every_exit_code() -> None:
    listed = llm_hub("--help").out.partition("Exit codes:")[2].partition("Options:")[0].split()
    documented = (ROOT / "docs/cli.md").read_text().partition("## Exit codes")[2]
    for code in (0, *ExitCode):
        assert f"{code:d}" in listed
        assert f"| {code:d} | " in documented


def test_without_a_command_it_lists_the_commands() -> None:
    shown = llm_hub()
    assert (shown.code, shown.out) == (2, "")
    assert "snapshot" in shown.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("nope",), "llm-hub: No such command 'nope'."),
        (("--nope",), "llm-hub: No such option '--nope'."),
        (("token", "create"), "llm-hub token create: Missing option '--role'."),
        (("serve", "--port", "1"), "llm-hub serve: No such option '--port'."),
        (("remove",), "llm-hub remove: Missing argument 'ID'."),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], line: str) -> None:
    done = llm_hub(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1


def test_a_closed_pipe_causes_no_traceback(hub: HubProcess) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "hub.cli", "endpoints"],
            stdout=pipe,
            stderr=subprocess.PIPE,
            env={**hub_environment(), **hub.environment},
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == b""


def test_every_command_and_option_is_documented() -> None:
    document = (Path(__file__).parent.parent.parent / "docs" / "cli.md").read_text()
    missing = []
    for name, command in group.commands.items():
        leaves = command.commands.items() if isinstance(command, Group) else [("", command)]
        for leaf, leaf_command in leaves:
            path = f"{name} {leaf}".strip()
            if f"`{path}" not in document:
                missing.append(path)
            # The flags of serve are settings and stand in docs/configuration.md.
            if path != "serve":
                missing += [
                    f"{path} {option}"
                    for parameter in leaf_command.params
                    for option in parameter.opts
                    if option.startswith("--") and option not in document
                ]
    assert missing == []


def imported_by(*arguments: str, **environment: str) -> set[str]:
    """The modules that a process of the command has imported when it ends."""
    script = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
        "from hub.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        env={**hub_environment(), **environment},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


# The server's packages, and rooms that no client of a hub needs.
SERVERS = {
    "aiohttp",
    "hub.base.settings",
    "hub.server",
    "hub.service",
    "hub.transports",
    "protovalidate",
    "pydantic",
    "sqlite3",
    "structlog",
    "uvloop",
    "websockets",
    "yaml",
}
HEAVY = SERVERS | {
    "asyncio",
    "google.protobuf",
    "grpc",
    "hub.cli.calling.connection",
    "hub.cli.commands",
    "hub.client",
    "llmhub",
    "rich",
    "ssl",
}


def test_the_help_imports_no_command() -> None:
    assert imported_by("--help") & HEAVY == set()


def test_completing_a_command_imports_none() -> None:
    imported = imported_by(
        _LLM_HUB_COMPLETE="bash_complete", COMP_WORDS="llm-hub end", COMP_CWORD="1"
    )
    assert imported & HEAVY == set()


def test_a_client_of_a_hub_imports_nothing_of_the_server() -> None:
    imported = imported_by("endpoints", "--help")
    assert "grpc" in imported, "the modules are those of the process"
    assert imported & SERVERS == set()
    assert "rich" not in imported, "only a table on a terminal needs it"


def test_the_help_lists_what_each_command_says_of_itself() -> None:
    listed = {}
    for line in llm_hub("--help").out.partition("Commands:")[2].splitlines():
        name, _, summary = line.strip().partition(" ")
        if name:
            listed[name] = summary.strip()
    own = {name: command.get_short_help_str(200) for name, command in group.commands.items()}
    assert listed.keys() == own.keys()
    for name, summary in listed.items():
        assert own[name].startswith(summary.removesuffix("...")), name


def test_a_command_is_imported_when_it_is_looked_up() -> None:
    commands = LazyCommands({"serve": "hub.cli.commands.serve:serve", "none": "no.such.module:x"})
    assert list(commands) == ["serve", "none"]
    assert len(commands) == 2
    assert commands["serve"].name == "serve"
    assert commands["serve"] is commands["serve"]


def test_a_command_can_be_added_and_removed() -> None:
    commands = LazyCommands({})
    commands["x"] = click.Command("x")
    assert commands["x"].name == "x"
    del commands["x"]
    assert "x" not in commands
