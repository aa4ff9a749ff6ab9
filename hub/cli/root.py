"""`llm-hub` itself: the group of all commands, and what a failure prints.

A command is imported when it is called. Otherwise every command would load what any of
them needs: the sidecar would load gRPC, the settings and the tables, and `--version` all of it.
"""

import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from importlib import import_module
from typing import NoReturn

import click

from hub.cli.calling.options import global_options
from hub.cli.failures import CommandFailed, ExitCode
from hub.cli.output.printable import printable


class LazyCommands(MutableMapping[str, click.Command]):
    """Commands by name; a value is "module:attribute" until it is looked up."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = dict(places)
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            module, _, attribute = self._places[name].partition(":")
            command = getattr(import_module(module), attribute)
            assert isinstance(command, click.Command)
            self._loaded[name] = command
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._places.setdefault(name, "")
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._places[name]
        self._loaded.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


_COMMANDS = {
    "serve": "hub.cli.commands.serve:serve",
    "sidecar": "hub.cli.commands.run_sidecar:sidecar",
    "endpoints": "hub.cli.commands.endpoints:endpoints",
    "register": "hub.cli.commands.endpoints:register",
    "remove": "hub.cli.commands.endpoints:remove",
    "drain": "hub.cli.commands.endpoint_states:drain",
    "enable": "hub.cli.commands.endpoint_states:enable",
    "disable": "hub.cli.commands.endpoint_states:disable",
    "labels": "hub.cli.commands.endpoint_states:labels",
    "check": "hub.cli.commands.endpoint_states:check",
    "snapshot": "hub.cli.commands.endpoints:snapshot",
    "model": "hub.cli.commands.load_and_unload:model",
    "models": "hub.cli.commands.inventory:models",
    "sidecars": "hub.cli.commands.inventory:sidecars",
    "disconnect": "hub.cli.commands.inventory:disconnect",
    "info": "hub.cli.commands.inventory:info",
    "top": "hub.cli.commands.top:top",
    "watch": "hub.cli.commands.watch:watch",
    "select": "hub.cli.commands.select:select",
    "doctor": "hub.cli.commands.doctor:doctor",
    "config": "hub.cli.commands.serve:config",
    "completion": "hub.cli.commands.completion:completion",
    "token": "hub.cli.commands.token:token",
    "secrets": "hub.cli.commands.secrets:secrets",
}


def _show_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:  # noqa: FBT001
    if not wanted or context.resilient_parsing:
        return
    # Reading the metadata of packages costs more than most commands' imports.
    from hub.base.version import hub_version

    click.echo(f"llm-hub {hub_version()}")
    context.exit()


@click.group(
    commands=LazyCommands(_COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version and exit.",
)
@global_options
@click.pass_context
def llm_hub(context: click.Context, /, **options: object) -> None:
    """Run the LLM Registry Hub, or talk to a running one.

    Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 no hub answers,
    4 not authorised, 5 not found, 6 refused as invalid, 7 replaced by another
    sidecar, 8 what was checked is not well, 130 interrupted.
    """
    context.obj = options


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits; every failure is one line on stderr."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = llm_hub.main(args=arguments, prog_name="llm-hub", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "llm-hub"
        click.echo(f"{path}: {printable(error.format_message())} See {path} --help.", err=True)
        return ExitCode.USAGE
    except CommandFailed as error:
        click.echo(f"llm-hub: {error.message}", err=True)
        return error.code
    except click.ClickException as error:
        click.echo(f"llm-hub: {printable(error.format_message())}", err=True)
        return ExitCode.FAILED
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader has gone; the interpreter must not flush into the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    return code if isinstance(code, int) else 0
