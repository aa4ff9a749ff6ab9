"""`llm-hub envoy config|run`: an Envoy in front of the fleet, set up for this hub."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click

from hub.base.address import AddressError, parse_listen_address
from hub.cli.calling.connection import HubTarget, find_hub, hub_options
from hub.cli.calling.options import with_options
from hub.cli.failures import CommandFailed, ExitCode
from llmhub.v1.resources_pb2 import ROLE_ADMIN, TokenScope

GATEWAY_CALLS: Final = ("ProcessRequests", "PickEndpoint", "DiscoverEndpoints", "ListOpenAiModels")
"""What the token of a gateway is limited to."""

_TOKEN_VARIABLE: Final = "LLM_HUB_GATEWAY_TOKEN"  # noqa: S105 - the variable's name

Command = Callable[..., object]


@click.group()
def envoy() -> None:
    """Put Envoy in front of the fleet: one URL for every OpenAI and Ollama client."""


def _bootstrap_options(command: Command) -> Command:
    return with_options(
        hub_options(command),
        (
            click.option(
                "--listen",
                default="127.0.0.1:10000",
                show_default=True,
                callback=_address,
                metavar="HOST:PORT",
                help="Where clients send their requests.",
            ),
            click.option(
                "--admin",
                default="",
                callback=_address,
                metavar="HOST:PORT",
                help="Where Envoy's own admin interface listens; it has no password.",
            ),
            click.option("--cert", default="", metavar="FILE", help="Serve TLS to clients."),
            click.option("--key", default="", metavar="FILE", help="The certificate's key."),
            click.option(
                "--servers-ca",
                metavar="FILE",
                help="Authorities of inference servers that speak TLS; by default the system's.",
            ),
            click.option(
                "--retries",
                type=click.IntRange(0, 20),
                default=2,
                show_default=True,
                help="Attempts after the first; not more than the hub's gateway.fallbacks.",
            ),
            click.option(
                "--idle",
                "idle_s",
                type=click.IntRange(1, 86_400),
                default=600,
                show_default=True,
                help="Seconds without a byte after which a request ends.",
            ),
            click.option(
                "--gateway-token",
                envvar=_TOKEN_VARIABLE,
                metavar="TOKEN",
                help="The gateway's token; by default the hub makes one.",
            ),
        ),
    )


def _address(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if value:
        try:
            parse_listen_address(value)
        except AddressError as error:
            raise click.BadParameter(f"{error}.") from None
    return value


@envoy.command(name="config")
@_bootstrap_options
def print_config(**options: Any) -> None:
    """Print Envoy's configuration for this hub, complete and commented.

    It contains the gateway's token: write it to a file that only Envoy can read. The hub
    needs `[gateway] enabled = true`.
    """
    click.echo(_configuration(options), nl=False)


@envoy.command()
@_bootstrap_options
@click.option(
    "--binary", type=click.Path(path_type=Path), help="The program; by default from PATH."
)
@click.argument("arguments", nargs=-1, metavar="[-- ENVOY'S OPTIONS]")
def run(*, binary: Path | None, arguments: Sequence[str], **options: Any) -> int:
    """Run Envoy for this hub until a signal stops it.

    It looks for the program at --binary, in PATH, and in the package of the extra `envoy`.
    """
    program = find_envoy(binary)
    with tempfile.TemporaryDirectory(prefix="llm-hub-envoy-") as directory:
        file = Path(directory) / "envoy.yaml"
        file.touch(mode=0o600)
        file.write_text(_configuration(options))
        return _run([str(program), "--config-path", str(file), *arguments])


def find_envoy(binary: Path | None) -> Path:
    """The program. Raises CommandFailed."""
    if binary is not None:
        if not os.access(binary, os.X_OK) or binary.is_dir():
            raise CommandFailed(f"{binary} is not a program", ExitCode.NOT_FOUND)
        return binary
    # A script of that name could be the package's own, which starts Python first.
    packaged = find_spec("envoy")
    if packaged is not None and packaged.origin is not None:
        program = Path(packaged.origin).parent / "_bin" / "envoy"
        if program.is_file():
            program.chmod(program.stat().st_mode | 0o100)
            return program
    found = shutil.which("envoy")
    if found is None:
        raise CommandFailed(
            "Envoy is not installed",
            ExitCode.NOT_FOUND,
            advice="pip install '.[envoy]' in a clone of the hub, or name it with --binary",
        )
    return Path(found)


def _configuration(options: dict[str, Any]) -> str:
    """The configuration that the options ask for. Raises CommandFailed."""
    from hub.cli.output.envoy_bootstrap import Bootstrap
    from hub.transports.envoy_resources import AUTHORITIES

    target = find_hub(options)
    files = target.tls_files
    return Bootstrap(
        hub=target.address,
        token=options["gateway_token"] or _new_token(target, options["listen"]),
        listen=options["listen"],
        admin=options["admin"],
        hub_ca=files.ca or (AUTHORITIES if target.tls is not None else ""),
        hub_cert=files.cert or "",
        hub_key=files.key or "",
        cert=options["cert"],
        key=options["key"],
        servers_ca=options["servers_ca"] or AUTHORITIES,
        retries=options["retries"],
        idle_s=options["idle_s"],
    ).text()


def _new_token(target: HubTarget, listen: str) -> str:
    with target.connect() as hub:
        made = hub.create_token(
            ROLE_ADMIN,
            description=f"Envoy at {listen}",
            scope=TokenScope(rpcs=GATEWAY_CALLS),
        )
    click.echo(
        f"made the token {made.token_info.id} for this gateway; to use it again, set "
        f"{_TOKEN_VARIABLE}",
        err=True,
    )
    return made.token


def _run(command: Sequence[str]) -> int:
    """Runs a program until it ends, and passes the signals that stop it on."""
    process = subprocess.Popen(command)  # noqa: S603 - the caller names the program

    def forward(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    before = {each: signal.signal(each, forward) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return ExitCode.FAILED if code > 0 else 0
