"""`llm-hub doctor`: checks a hub and its fleet, and advises how to fix each problem."""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hub.base.address import join_host_port, parse_listen_address
from hub.base.data_dir import ADMIN_TOKEN_FILE, STORE_FILE
from hub.base.settings import Settings
from hub.base.version import hub_version
from hub.cli.calling.connection import HubTarget, find_hub, hub_options
from hub.cli.commands import diagnosis, local_checks
from hub.cli.commands.diagnosis import Finding, Level
from hub.cli.failures import CommandFailed, ExitCode
from hub.cli.output.grids import Grid, print_grids, print_value
from hub.cli.output.printable import printable
from hub.client import CallFailed, Hub
from llmhub.v1.endpoint_pb2 import ADMIN_STATE_DISABLED, Endpoint

# Endpoints that are probed again while the user waits.
_MAX_CHECKS = 50
_MARKS = {Level.OK: ("✓", "green"), Level.WARNING: ("!", "yellow"), Level.FAILED: ("✗", "bold red")}


@click.command()
@click.option(
    "--config",
    metavar="FILE",
    envvar="LLM_HUB_CONFIG",
    type=click.Path(path_type=Path),
    help="The settings that the hub on this machine runs with.",
)
@hub_options
def doctor(*, config: Path | None, **options: object) -> int:
    """Check everything that has to work, and say how to fix what does not.

    Settings, data directory, permissions, store and ports on this machine; then
    the hub, its ports, its clock, tokens, sidecars, and every endpoint. Ends with
    8 if something failed.
    """
    target = find_hub(options)
    settings_finding, settings = local_checks.settings_file(config)
    findings = [settings_finding]
    if settings is not None:
        target = _of_settings(target, settings)
    directory = target.data_dir
    if directory is not None:
        findings += _local(directory)
    findings.append(grpc := diagnosis.grpc_server(target.address))
    if grpc.level is Level.OK:
        try:
            with target.connect() as hub:
                findings += _remote(hub, target)
        except CommandFailed as failure:
            findings.append(Finding(Level.FAILED, "hub", failure.found, failure.advice))
    elif settings is not None:
        findings += _ports(settings, target)
    _show(findings, target.output)
    failed = any(each.level is Level.FAILED for each in findings)
    return ExitCode.UNHEALTHY if failed else 0


def _local(directory: Path) -> Iterator[Finding]:
    """The state of a data directory on this machine."""
    yield from local_checks.data_directory(directory)
    if not directory.exists():
        return
    yield local_checks.token_file(directory / ADMIN_TOKEN_FILE)
    store = local_checks.store_file(directory / STORE_FILE)
    if store is not None:
        yield store


def _of_settings(target: HubTarget, settings: Settings) -> HubTarget:
    """The hub that runs with these settings, unless another was named."""
    host, port = settings.grpc.host, settings.grpc.port
    if not target.is_named and port:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        target = replace(target, address=join_host_port(host, port))
    return replace(target, data_dir=target.data_dir or settings.data_dir)


def _ports(settings: Settings, target: HubTarget) -> Iterator[Finding]:
    context = target.tls_files.context() if target.tls is not None else None

    def is_a_hub(transport: str, host: str, port: int) -> bool | None:
        tls = settings.tls
        shows_too_little = tls.client_ca_file and not target.tls_files.cert
        if tls.cert_file and (target.tls is None or shows_too_little):
            return None
        return diagnosis.is_a_hub(
            transport, host, port, context=context, tls=target.tls, ws_path=settings.ws.path
        )

    for name, listener in (("ws", settings.ws), ("grpc", settings.grpc), ("http", settings.http)):
        if listener.port:
            yield local_checks.own_port(name, listener.address, is_a_hub)


def _remote(hub: Hub, target: HubTarget) -> Iterator[Finding]:
    """The state of the hub and its fleet. Raises CallFailed."""
    host, _ = parse_listen_address(hub.address)
    info = hub.server_info()
    yield from diagnosis.server(info, hub_version())
    yield diagnosis.websocket_server(info.ws_address, host)
    context = target.tls_files.context() if target.tls is not None else None
    yield from diagnosis.http_server(info.http_address, host, context)
    yield diagnosis.tokens(list(hub.list_tokens(include_expired=True)), time.time())
    endpoints = list(hub.list_endpoints())
    sidecar_finding = diagnosis.sidecar_hosts(endpoints, list(hub.list_sidecars()))
    if sidecar_finding is not None:
        yield sidecar_finding
    if not endpoints:
        yield Finding(Level.WARNING, "endpoints", "none", "llm-hub register HOST[:PORT]")
    yield from _endpoints(hub, target, endpoints)


def _endpoints(hub: Hub, target: HubTarget, endpoints: list[Endpoint]) -> Iterator[Finding]:
    """Probes only the failed endpoints again; the others have answered lately."""
    checks = 0
    for each in endpoints:
        finding = diagnosis.endpoint(each)
        is_doubtful = finding is not None and finding.level is Level.FAILED
        if is_doubtful and checks < _MAX_CHECKS and each.admin_state != ADMIN_STATE_DISABLED:
            checks += 1
            try:
                finding = diagnosis.endpoint(hub.check(each.id))
            except CallFailed as failed:
                failure = target.failure(failed)
                what = f"endpoint {each.id}"
                finding = Finding(Level.FAILED, what, failure.found, failure.advice)
        if finding is not None:
            yield finding


def _show(findings: list[Finding], output: str) -> None:
    if output != "table":
        rows = [
            {
                "level": each.level.value,
                "what": each.what,
                "found": each.found,
                "advice": each.advice or None,
            }
            for each in findings
        ]
        print_value({"findings": rows}, output)
        return
    if not sys.stdout.isatty():
        cells = [(each.level.value, each.what, each.found, each.advice or "-") for each in findings]
        print_grids(Grid(("LEVEL", "WHAT", "FOUND", "ADVICE"), cells))
        return
    console = Console(highlight=False)
    console.print(picture(findings))
    counts = {level: sum(each.level is level for each in findings) for level in Level}
    console.print()
    console.print(
        f"{counts[Level.OK]} fine, {counts[Level.WARNING]} to look at, "
        f"{counts[Level.FAILED]} failed",
        style="bold",
    )


def picture(findings: list[Finding]) -> Table:
    """A table of the findings, with the advice below each."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=1)
    table.add_column(overflow="fold", max_width=36)
    table.add_column(overflow="fold")
    for each in findings:
        mark, style = _MARKS[each.level]
        is_ok = each.level is Level.OK
        found = Text(printable(each.found), style="dim" if is_ok else style)
        if each.advice:
            found.append(f"\n{printable(each.advice)}", style="not bold default")
        table.add_row(Text(mark, style=style), Text(printable(each.what)), found)
    return table
