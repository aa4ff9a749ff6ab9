"""`llm-hub` itself: the group of all commands, and what a failure prints.

A command is imported when it is called. Otherwise each would load what all others need:
the sidecar would load gRPC, settings and tables, and `--version` everything.
"""

import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

import click

from hub.cli.calling.options import global_options
from hub.cli.failures import CommandFailed, ExitCode
from hub.cli.output.printable import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


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
    "serve": ("hub.cli.commands.serve:serve", "Run the hub until a signal stops it."),
    "sidecar": (
        "hub.cli.commands.run_sidecar:sidecar",
        "Report this host's resources and inference servers to a hub.",
    ),
    "endpoints": ("hub.cli.commands.endpoints:endpoints", "List the endpoints, sorted by id."),
    "register": (
        "hub.cli.commands.endpoints:register",
        "Register an endpoint, or register it again.",
    ),
    "remove": (
        "hub.cli.commands.endpoints:remove",
        "Remove an endpoint; ID is HOST:PORT, or the URL that was registered.",
    ),
    "drain": (
        "hub.cli.commands.endpoint_states:drain",
        "Stop selecting an endpoint; running requests go on, and it stays registered.",
    ),
    "enable": ("hub.cli.commands.endpoint_states:enable", "Let an endpoint be selected again."),
    "disable": (
        "hub.cli.commands.endpoint_states:disable",
        "Take an endpoint out of service: it is neither selected nor probed.",
    ),
    "labels": (
        "hub.cli.commands.endpoint_states:labels",
        "Show an endpoint's labels, or change the given ones.",
    ),
    "check": (
        "hub.cli.commands.endpoint_states:check",
        "Probe an endpoint now and show the result.",
    ),
    "snapshot": (
        "hub.cli.commands.endpoints:snapshot",
        "Show the whole fleet: endpoints, hosts' resources, models.",
    ),
    "model": (
        "hub.cli.commands.load_and_unload:model",
        "Load and unload an endpoint's models through the sidecar on its host.",
    ),
    "models": (
        "hub.cli.commands.inventory:models",
        "List the models of the fleet and how many endpoints have each.",
    ),
    "sidecars": ("hub.cli.commands.inventory:sidecars", "List the sidecars that are connected."),
    "disconnect": (
        "hub.cli.commands.inventory:disconnect",
        "Close a sidecar's connection; it may reconnect.",
    ),
    "info": (
        "hub.cli.commands.inventory:info",
        "Show version, store, counts and addresses of the hub.",
    ),
    "top": (
        "hub.cli.commands.top:top",
        "Watch the fleet: health, models in memory, and the hosts' resources.",
    ),
    "watch": (
        "hub.cli.commands.watch:watch",
        "Show the fleet and then every change, one line each, until interrupted.",
    ),
    "render": (
        "hub.cli.commands.render:render",
        "Print the fleet as the configuration of another program.",
    ),
    "select": (
        "hub.cli.commands.select:select",
        "Choose an endpoint for MODEL, as the hub would for any caller.",
    ),
    "doctor": (
        "hub.cli.commands.doctor:doctor",
        "Check everything that has to work, and say how to fix what does not.",
    ),
    "config": ("hub.cli.commands.serve:config", "Check the settings of a hub."),
    "completion": (
        "hub.cli.commands.completion:completion",
        "Print a script that completes commands and options in a shell.",
    ),
    "token": ("hub.cli.commands.token:token", "Create, list and revoke tokens."),
    "tls": ("hub.cli.commands.tls:tls", "Make and renew certificates of a private authority."),
    "envoy": (
        "hub.cli.commands.envoy:envoy",
        "Put Envoy in front of the fleet: one URL for every OpenAI and Ollama client.",
    ),
    "secrets": (
        "hub.cli.commands.secrets:secrets",
        "List and rotate the keys that encrypt secrets in the store.",
    ),
}
"""Where each command is, and the first sentence of its help, which a test compares.

The help of `llm-hub` and the completion of a command's name import no command.
"""


def _summary(name: str, limit: int = 45) -> str:
    return click.Command(name, help=_COMMANDS[name][1]).get_short_help_str(limit)


class _Root(click.Group):
    """Lists its commands without importing them."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click.Group."""
        limit = formatter.width - 6 - max(map(len, _COMMANDS))
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(name, limit)) for name in self.list_commands(ctx)])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """See click.Group."""
        from click.shell_completion import CompletionItem

        commands = [
            CompletionItem(name, help=_summary(name))
            for name in self.list_commands(ctx)
            if name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)


def _show_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:  # noqa: FBT001
    if not wanted or context.resilient_parsing:
        return
    # Reading package metadata takes longer than the imports of most commands.
    from hub.base.version import hub_version

    click.echo(f"llm-hub {hub_version()}")
    context.exit()


@click.group(
    cls=_Root,
    commands=LazyCommands({name: place for name, (place, _) in _COMMANDS.items()}),
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
    sidecar, 8 a check failed, 130 interrupted.
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
        # The reader closed the pipe; the interpreter must not flush into it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    return code if isinstance(code, int) else 0
