"""`llm-hub sidecar`: runs the reference sidecar next to the inference servers of a host."""

import os
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path

import click

from hub.cli.failures import CommandFailed, ExitCode


@click.command()
@click.option(
    "--hub", metavar="URL", required=True, help="The hub, as ws://HOST:PORT/ws or HOST:PORT."
)
@click.option(
    "--agent",
    metavar="ID",
    default=socket.gethostname,
    show_default="the host's name",
    help="The agent that the token is bound to.",
)
@click.option("--name", metavar="NAME", help="The sidecar's display name.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="A file with the token, read again for every connection.",
)
@click.option("--token", metavar="TOKEN", help="The token; every user of the machine can see it.")
@click.option("--tls-ca", metavar="FILE", help="Trust only the certificates in FILE.")
@click.option("--tls-cert", metavar="FILE", help="The client certificate for the hub.")
@click.option("--tls-key", metavar="FILE", help="Its key, if the certificate's file has none.")
@click.option(
    "--interval",
    type=click.FloatRange(1, 80),
    default=15.0,
    show_default=True,
    help="Seconds between reports; the hub drops a host that is silent for 90.",
)
@click.option(
    "--endpoint", "endpoints", multiple=True, metavar="URL", help="A server to report; repeatable."
)
@click.option(
    "--discover/--no-discover", default=True, help="Look for servers on the usual local ports."
)
@click.option(
    "--allow-actions",
    is_flag=True,
    help="Let admins of the hub load and unload models of this host's servers.",
)
@click.option(
    "--if-replaced",
    type=click.Choice(("stop", "retry")),
    default="stop",
    show_default=True,
    help="What to do when another sidecar identifies as the same agent.",
)
@click.option(
    "--log-level",
    type=click.Choice(("debug", "info", "warning", "error")),
    default="info",
    show_default=True,
    help="The least severe level that is logged.",
)
def sidecar(
    *,
    hub: str,
    agent: str,
    name: str | None,
    token_file: Path | None,
    token: str | None,
    tls_ca: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    interval: float,
    endpoints: Sequence[str],
    discover: bool,
    allow_actions: bool,
    if_replaced: str,
    log_level: str,
) -> int:
    """Report this host's resources and inference servers to a hub.

    It probes the usual local ports for servers, reports the servers and the host at
    every interval, and reconnects when it loses the connection to the hub.
    """
    try:
        from hub.base.tls_files import IN_PLACE_OF_TOKEN, TlsFiles, TlsFilesError
        from hub.sidecar.discovery import USUAL_PORTS
        from hub.sidecar.runner import run
        from hub.sidecar.sidecar_settings import (
            SettingsError,
            SidecarSettings,
            TokenSource,
            endpoint_url,
            hub_url,
        )
    except ModuleNotFoundError as error:
        raise CommandFailed(
            f"{error.name} is not installed: pip install '.[sidecar]' in a clone of the hub"
        ) from None
    if token_file is not None and token is not None:
        raise CommandFailed("give --token-file or --token, not both", ExitCode.USAGE)
    secret = token or (os.environ.get("LLM_HUB_TOKEN") if token_file is None else None)
    files = TlsFiles.of(tls_ca, tls_cert, tls_key)
    if token_file is None and not secret and files.cert:
        secret = IN_PLACE_OF_TOKEN
    if token_file is None and not secret:
        raise CommandFailed(
            "no token: give --token-file or set LLM_HUB_TOKEN; an admin makes one with "
            f"`llm-hub token create --role sidecar --agent {shlex.quote(agent)}`",
            ExitCode.USAGE,
        )
    try:
        url = hub_url(hub, tls=bool(files))
        if url.startswith("wss:"):
            files.context()
        elif tls_ca or tls_cert or tls_key:
            raise SettingsError(f"{url} is plain text; certificates need wss://")
        settings = SidecarSettings(
            hub_url=url,
            agent_id=agent,
            token_source=TokenSource(file=token_file, text=secret),
            name=name,
            interval_s=interval,
            endpoints=[endpoint_url(each) for each in endpoints],
            ports=USUAL_PORTS if discover else (),
            keeps_trying_when_replaced=if_replaced == "retry",
            allows_actions=allow_actions,
            tls_files=files,
        )
        settings.token_source.read()
    except TlsFilesError as error:
        raise CommandFailed(f"--tls-{error.option}: {error}", ExitCode.USAGE) from None
    except SettingsError as error:
        raise CommandFailed(str(error), ExitCode.USAGE) from None
    return run(settings, log_level)
