"""`llm-hub serve` runs the hub in the foreground; `llm-hub config check` checks its settings."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from hub.base.load_settings import ConfigError, load_settings
from hub.base.settings import Settings
from hub.cli.failures import CommandFailed, ExitCode


@click.command()
@click.option("--data-dir", metavar="DIR", help="The directory where the hub keeps its state.")
@click.option("--ws", metavar="HOST:PORT", help="Where the WebSocket server listens.")
@click.option("--grpc", metavar="HOST:PORT", help="Where the gRPC server listens.")
@click.option("--http", metavar="HOST:PORT", help="Where the HTTP server listens.")
@click.option(
    "--insecure", is_flag=True, help="Allow plain text on addresses that other machines reach."
)
@click.option(
    "--config",
    metavar="FILE",
    envvar="LLM_HUB_CONFIG",
    type=click.Path(path_type=Path),
    help="Settings in TOML; the environment and the flags override them.",
)
def serve(
    *,
    data_dir: str | None,
    ws: str | None,
    grpc: str | None,
    http: str | None,
    insecure: bool,
    config: Path | None,
) -> int:
    """Run the hub until a signal stops it.

    Port 0 picks a free port. Once all servers listen, stdout says
    "ready ws=HOST:PORT grpc=HOST:PORT http=HOST:PORT".
    """
    flags = {
        "--data-dir": data_dir,
        "--ws": ws,
        "--grpc": grpc,
        "--http": http,
        "--insecure": "true" if insecure else None,
    }
    load = partial(load_settings, config, dict(os.environ), flags)
    settings = _checked_settings(load, config)
    # The server's libraries take longer to import than a client command takes to run.
    from hub.server.process import run

    return run(settings, load, config)


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
    """Check a settings file together with the environment, as `serve` would.

    LLM_HUB_CONFIG names the file if FILE is missing. On an error it exits with 2 and
    prints one line that says where it is.
    """
    settings = _checked_settings(partial(load_settings, file, os.environ), file)
    place = file if file is not None else "the environment"
    click.echo(f"{place}: fine; {len(settings.endpoints)} endpoints, data in {settings.data_dir}")


def _checked_settings(load: Callable[[], Settings], file: Path | None) -> Settings:
    """The settings, whose endpoints the hub would accept. Raises CommandFailed."""
    try:
        settings = load()
    except ConfigError as error:
        raise CommandFailed(str(error), ExitCode.USAGE) from None
    # The contract, which validates the endpoints, takes long to import.
    from hub.server.configured_endpoints import wanted_endpoints

    try:
        wanted_endpoints(settings)
    except ConfigError as error:
        raise CommandFailed(f"{file}: {error}", ExitCode.USAGE) from None
    return settings
