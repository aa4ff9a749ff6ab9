"""`llm-hub doctor`: is everything as it should be, and if not, what to do."""

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
from hub.base.settings import ADMIN_TOKEN_FILE, STORE_FILE, Settings
from hub.base.version import hub_version
from hub.cli.calling.connection import HubConnection, HubTarget, find_hub, hub_options
from hub.cli.commands import diagnosis, transport_checks
from hub.cli.commands.diagnosis import Finding, Level
from hub.cli.failures import CommandFailed, ExitCode
from hub.cli.output.grids import Grid, print_grids, print_value
from hub.cli.output.printable import printable
from llmhub.v1.admin_service_pb2 import (
    CheckEndpointRequest,
    GetServerInfoRequest,
    ListSidecarsRequest,
    ListTokensRequest,
)
from llmhub.v1.endpoint_pb2 import ADMIN_STATE_DISABLED, Endpoint
from llmhub.v1.registry_service_pb2 import ListEndpointsRequest

_PAGE_SIZE = 1000
# Each of these is probed anew while a person waits.
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
    """Look at everything that has to work, and say what to do about what does not.

    Settings, data directory, permissions, store and ports on this machine; then
    the hub, its doors, its clock, tokens, sidecars, and every endpoint. Ends with
    8 where something failed.
    """
    hub = find_hub(options)
    settings_finding, settings = diagnosis.settings_file(config)
    findings = [settings_finding]
    if settings is not None:
        hub = _of_settings(hub, settings)
    directory = hub.data_dir
    if directory is not None:
        findings += _here(directory)
    findings.append(door := diagnosis.grpc_door(hub.address))
    if door.level is Level.OK:
        try:
            with hub.connect() as connection:
                findings += _there(connection)
        except CommandFailed as error:
            findings.append(Finding(Level.FAILED, "hub", *_split(error.message)))
    elif settings is not None:
        findings += _ports(settings, hub)
    _show(findings, hub.output)
    failed = any(each.level is Level.FAILED for each in findings)
    return ExitCode.UNHEALTHY if failed else 0


def _here(directory: Path) -> Iterator[Finding]:
    """What can be seen on this machine."""
    yield from diagnosis.data_directory(directory)
    if not directory.exists():
        return
    yield diagnosis.token_file(directory / ADMIN_TOKEN_FILE)
    store = diagnosis.store_file(directory / STORE_FILE)
    if store is not None:
        yield store


def _of_settings(hub: HubTarget, settings: Settings) -> HubTarget:
    """Where nobody has named a hub, it is the one that runs with these settings."""
    host, port = settings.grpc.host, settings.grpc.port
    if not hub.is_named and port:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        hub = replace(hub, address=join_host_port(host, port))
    return replace(hub, data_dir=hub.data_dir or settings.data_dir)


def _ports(settings: Settings, hub: HubTarget) -> Iterator[Finding]:
    context = hub.tls_files.context() if hub.credentials is not None else None

    def is_a_hubs(door: str, host: str, port: int) -> bool | None:
        tls = settings.tls
        shows_too_little = tls.client_ca_file and not hub.tls_files.cert
        if tls.cert_file and (hub.credentials is None or shows_too_little):
            return None
        return transport_checks.is_a_hubs(
            door, host, port, context=context, credentials=hub.credentials
        )

    for name, listener in (("ws", settings.ws), ("grpc", settings.grpc), ("http", settings.http)):
        if listener.port:
            yield diagnosis.own_port(name, listener.address, is_a_hubs)


def _there(connection: HubConnection) -> Iterator[Finding]:
    """What the hub can be asked. Raises CommandFailed where it cannot be asked at all."""
    host, _ = parse_listen_address(connection.address)
    info = connection.call(connection.admin.GetServerInfo, GetServerInfoRequest())
    yield from diagnosis.server(info, hub_version())
    yield diagnosis.websocket_door(info.ws_address, host)
    context = connection.tls_files.context() if connection.is_tls else None
    yield from diagnosis.http_door(info.http_address, host, context)
    tokens = connection.pages(
        connection.admin.ListTokens,
        ListTokensRequest(page_size=_PAGE_SIZE, include_expired=True),
        "tokens",
    )
    yield diagnosis.tokens(tokens, time.time())
    endpoints = connection.pages(
        connection.registry.ListEndpoints, ListEndpointsRequest(page_size=_PAGE_SIZE), "endpoints"
    )
    sidecars = connection.pages(
        connection.admin.ListSidecars, ListSidecarsRequest(page_size=_PAGE_SIZE), "sidecars"
    )
    sidecar_finding = diagnosis.sidecar_hosts(endpoints, sidecars)
    if sidecar_finding is not None:
        yield sidecar_finding
    if not endpoints:
        yield Finding(Level.WARNING, "endpoints", "none", "llm-hub register HOST[:PORT]")
    yield from _endpoints(connection, endpoints)


def _endpoints(connection: HubConnection, endpoints: list[Endpoint]) -> Iterator[Finding]:
    """Probes those in trouble anew; those that answered a moment ago are believed."""
    checks = 0
    for each in endpoints:
        finding = diagnosis.endpoint(each)
        is_doubtful = finding is not None and finding.level is not Level.OK
        if is_doubtful and checks < _MAX_CHECKS and each.admin_state != ADMIN_STATE_DISABLED:
            checks += 1
            try:
                checked = connection.call(
                    connection.admin.CheckEndpoint, CheckEndpointRequest(id=each.id)
                )
            except CommandFailed as error:
                finding = Finding(Level.FAILED, f"endpoint {each.id}", *_split(error.message))
            else:
                finding = diagnosis.endpoint(checked.endpoint)
        if finding is not None:
            yield finding


def _split(message: str) -> tuple[str, str]:
    """An error's message as what was found and what to do."""
    found, _, advice = message.partition("; ")
    return found, advice


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
    """The findings for people, the advice below what it is about."""
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
