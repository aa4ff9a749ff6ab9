"""`llm-hub render`: the fleet as the configuration of another program."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path

import click

from hub.base.address import AddressError, parse_listen_address
from hub.cli.calling.connection import hub_command
from hub.cli.calling.hook import HookFailed, parse_hook, run_hook
from hub.cli.calling.kept_file import Settling, read_contents, replace_contents
from hub.cli.calling.options import label_option
from hub.cli.failures import CommandFailed, ExitCode
from hub.cli.output.grids import BACKENDS
from hub.cli.output.printable import printable
from hub.client import CallFailed, FleetCache, Hub
from hub.registry.filters import EndpointFilter
from hub.registry.rendering.programs import DEFAULT_LISTEN, programs
from hub.registry.rendering.routable_fleet import UnusableKey, api_keys, routable_fleet
from llmhub.v1.endpoint_pb2 import BACKEND_UNSPECIFIED, STATUS_UNSPECIFIED, Endpoint
from llmhub.v1.model_alias_pb2 import ModelAlias

_POLL_S = 0.2
# Rendering again and again takes at most this share of a processor.
_BUSY_SHARE = 0.1

Contents = Callable[[Iterable[Endpoint], Iterable[ModelAlias]], bytes]


def _listen(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        parse_listen_address(value)
    except AddressError as error:
        raise click.BadParameter(f"{error}.") from None
    return value


def _hook(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> list[str] | None:
    try:
        return None if value is None else parse_hook(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


@click.command()
@click.argument("program", type=click.Choice(list(programs())))
@click.option("--model", default="", help="Only endpoints that have this model.")
@click.option("--backend", type=click.Choice(list(BACKENDS)), help="Only those of this kind.")
@label_option
@click.option(
    "--listen",
    default=DEFAULT_LISTEN,
    metavar="HOST:PORT",
    callback=_listen,
    help=f"Where nginx or HAProxy accepts requests ({DEFAULT_LISTEN}).",
)
@click.option(
    "--with-api-keys",
    is_flag=True,
    help="Write the keys themselves, from the variables that the endpoints' labels name.",
)
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
@click.option("--watch", is_flag=True, help="Keep the file true until interrupted.")
@click.option(
    "--settle",
    type=click.FloatRange(0.1, 300),
    default=1.0,
    help="With --watch: seconds without a change before the file is written (1).",
)
@click.option("--hook", metavar="COMMAND", callback=_hook, help="Run this after a change.")
@click.option(
    "--hook-timeout", type=click.FloatRange(0.1, 3600), default=30.0, help="Its seconds (30)."
)
@hub_command
def render(
    *,
    hub: Hub,
    output: str,
    program: str,
    model: str,
    backend: str | None,
    labels: Mapping[str, str],
    listen: str,
    with_api_keys: bool,
    file: Path | None,
    watch: bool,
    settle: float,
    hook: list[str] | None,
    hook_timeout: float,
) -> None:
    """Print the fleet as the configuration of another program.

    It contains the healthy endpoints that are neither draining nor disabled. API keys stay
    out of it: an endpoint's label api-key-env names the variable that has the key, and the
    program reads it from its environment, if it can.
    """
    if output != "table":
        raise CommandFailed("render prints the program's own format only", ExitCode.USAGE)
    if file is None and (watch or hook):
        raise CommandFailed("--watch and --hook need --file", ExitCode.USAGE)
    chosen = EndpointFilter.of(
        model, BACKENDS[backend] if backend else BACKEND_UNSPECIFIED, STATUS_UNSPECIFIED, labels
    )
    environment = os.environ if with_api_keys else None

    def contents(endpoints: Iterable[Endpoint], aliases: Iterable[ModelAlias]) -> bytes:
        kept = [endpoint for endpoint in endpoints if chosen.matches(endpoint)]
        keys = api_keys(kept, environment)
        return programs(listen)[program](routable_fleet(kept, aliases, keys)).encode()

    try:
        now = contents(list(hub.list_endpoints()), list(hub.list_aliases()))
    except UnusableKey as error:
        raise CommandFailed(printable(str(error)), ExitCode.USAGE) from None
    if file is None:
        click.echo(now.decode(), nl=False)
        return
    target = _Target(file, hook, hook_timeout, is_private=with_api_keys)
    target.replace(now)
    if watch:
        with closing(hub.fleet_cache()) as copy:
            _keep_true(target, copy, contents, settle)


class _Target:
    """The file, and the command to run after it has changed."""

    def __init__(
        self, path: Path, hook: list[str] | None, hook_timeout_s: float, *, is_private: bool
    ) -> None:
        self._path = path
        self._hook = hook
        self._hook_timeout_s = hook_timeout_s
        self._is_private = is_private

    def replace(self, contents: bytes) -> None:
        """Writes the file and runs the command, if the contents differ. Raises CommandFailed."""
        try:
            if contents == read_contents(self._path):
                return
            replace_contents(self._path, contents, private=self._is_private)
        except OSError as error:
            raise CommandFailed(f"{self._path}: {error.strerror}") from None
        try:
            if self._hook is not None:
                run_hook(self._hook, self._hook_timeout_s)
        except HookFailed as error:
            raise CommandFailed(f"{self._path} is written, but --hook failed: {error}") from None


def _keep_true(target: _Target, copy: FleetCache, contents: Contents, settle_s: float) -> None:
    """Writes each change until interrupted; while no hub answers, the file stays as it is.

    Reports a failed hook and an unusable key on stderr and continues. Raises CommandFailed and
    CallFailed if the hub refuses to go on.
    """
    settling = Settling(settle_s)
    revision, reported, pause_s = 0, "", _POLL_S
    while True:
        time.sleep(pause_s)
        if isinstance(copy.failure, CallFailed):
            raise copy.failure
        freshness = copy.freshness
        if freshness.revision == revision and not settling.is_waiting:
            continue
        revision = freshness.revision
        started = time.monotonic()
        try:
            latest = contents(copy.endpoints(), copy.aliases().values())
            if freshness.synced and settling.is_due(latest, started):
                target.replace(latest)
            problem = ""
        except (CommandFailed, UnusableKey) as error:
            problem = printable(str(error))
        if problem and problem != reported:
            click.echo(f"llm-hub: {problem}", err=True)
        reported = problem
        pause_s = max(_POLL_S, (time.monotonic() - started) / _BUSY_SHARE)
