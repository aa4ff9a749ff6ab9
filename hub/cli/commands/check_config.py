"""`llm-hub config check`: whether a file of settings would be accepted."""

import os
from pathlib import Path

import click

from hub.base.load_settings import ConfigError, load_settings
from hub.cli.failures import CommandFailed, ExitCode


@click.group()
def config() -> None:
    """Check the settings of a hub."""


@config.command(name="check")
@click.argument(
    "file",
    type=click.Path(path_type=Path),
    envvar="LLM_HUB_CONFIG",
    metavar="[FILE]",
    required=False,
)
def check_config(file: Path | None) -> None:
    """Check a file of settings together with the environment, as `serve` would.

    Without FILE, LLM_HUB_CONFIG names it. If something is wrong, it ends with 2 and
    one line that names the place.
    """
    try:
        settings = load_settings(file, os.environ)
    except ConfigError as error:
        raise CommandFailed(str(error), ExitCode.USAGE) from None
    # The contract, which says what an endpoint may be, takes long to load.
    from hub.server.configured_endpoints import wanted_endpoints

    try:
        wanted_endpoints(settings)
    except ConfigError as error:
        raise CommandFailed(f"{file}: {error}", ExitCode.USAGE) from None
    place = file if file is not None else "the environment"
    click.echo(f"{place}: fine; {len(settings.endpoints)} endpoints, data in {settings.data_dir}")
