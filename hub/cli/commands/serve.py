"""`llm-hub serve`: the hub in the foreground."""

import os
from functools import partial
from pathlib import Path

import click

from hub.base.load_settings import ConfigError, load_settings
from hub.cli.failures import CommandFailed, ExitCode


@click.command()
@click.option("--data-dir", metavar="DIR", help="The directory where the hub keeps its state.")
@click.option("--ws", metavar="HOST:PORT", help="Where the WebSocket server listens.")
@click.option("--grpc", metavar="HOST:PORT", help="Where the gRPC server listens.")
@click.option("--http", metavar="HOST:PORT", help="Where the HTTP server listens.")
@click.option(
    "--config",
    metavar="FILE",
    envvar="LLM_HUB_CONFIG",
    type=click.Path(path_type=Path),
    help="Settings in TOML; the environment and the flags win over them.",
)
def serve(
    data_dir: str | None,
    ws: str | None,
    grpc: str | None,
    http: str | None,
    config: Path | None,
) -> int:
    """Run the hub until a signal stops it.

    Port 0 picks a free port. Once all servers answer, stdout says
    "ready ws=HOST:PORT grpc=HOST:PORT http=HOST:PORT".
    """
    flags = {"--data-dir": data_dir, "--ws": ws, "--grpc": grpc, "--http": http}
    load = partial(load_settings, config, dict(os.environ), flags)
    try:
        settings = load()
    except ConfigError as error:
        raise CommandFailed(str(error), ExitCode.USAGE) from None
    # The server's libraries take longer to load than any client command runs.
    from hub.server.configured_endpoints import wanted_endpoints
    from hub.server.process import run

    try:
        wanted_endpoints(settings)
    except ConfigError as error:
        raise CommandFailed(f"{config}: {error}", ExitCode.USAGE) from None
    return run(settings, load, config)
