"""`llm-hub` itself: the group of all commands, and what happens when one fails."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from hub.cli.failures import CommandFailed, ExitCode
from hub.cli.lazy import LazyCommands
from hub.cli.options import global_options
from hub.cli.text import printable

_COMMANDS = {
    "serve": "hub.cli.serve:serve",
    "sidecar": "hub.cli.sidecar:sidecar",
    "endpoints": "hub.cli.endpoints:endpoints",
    "register": "hub.cli.endpoints:register",
    "remove": "hub.cli.endpoints:remove",
    "drain": "hub.cli.states:drain",
    "enable": "hub.cli.states:enable",
    "disable": "hub.cli.states:disable",
    "labels": "hub.cli.states:labels",
    "check": "hub.cli.states:check",
    "snapshot": "hub.cli.endpoints:snapshot",
    "models": "hub.cli.fleet:models",
    "sidecars": "hub.cli.fleet:sidecars",
    "disconnect": "hub.cli.fleet:disconnect",
    "info": "hub.cli.fleet:info",
    "top": "hub.cli.top:top",
    "watch": "hub.cli.watch:watch",
    "select": "hub.cli.select:select",
    "doctor": "hub.cli.doctor:doctor",
    "config": "hub.cli.config:config",
    "completion": "hub.cli.completion:completion",
    "token": "hub.cli.tokens:token",
}


def _show_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:  # noqa: FBT001
    if not wanted or context.resilient_parsing:
        return
    # Reading the metadata of packages costs more than most commands' imports.
    from hub.version import hub_version

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
    """Run the LLM Registry Hub, or ask one that runs.

    Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 no hub answers,
    4 not authorised, 5 not found, 6 refused as invalid, 7 replaced by another
    sidecar, 8 what was looked at is not well, 130 interrupted.
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
        # Who reads has seen enough; the interpreter must not flush into the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    return code if isinstance(code, int) else 0
