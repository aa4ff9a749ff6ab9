"""`llm-hub models|sidecars|disconnect|info`: what the hub knows, seen from other sides."""

import click

from hub.cli.calling.connection import HubConnection, hub_command
from hub.cli.output.grids import Grid, print_grids, print_message, print_messages, time_text
from llmhub.v1.admin_service_pb2 import (
    DisconnectSidecarRequest,
    GetServerInfoRequest,
    GetServerInfoResponse,
    ListSidecarsRequest,
)
from llmhub.v1.registry_service_pb2 import ListModelsRequest

_PAGE_SIZE = 1000


@click.command()
@hub_command
def models(*, connection: HubConnection, output: str) -> None:
    """List the models of the fleet and how many endpoints have each."""
    request = ListModelsRequest(page_size=_PAGE_SIZE)
    found = connection.pages(connection.registry.ListModels, request, "models")
    if output != "table":
        print_messages("models", found, output)
        return
    headings = ("MODEL", "ENDPOINTS", "LOADED", "HEALTHY", "WHERE")
    rows = [
        (
            each.name,
            str(each.endpoint_count),
            str(each.loaded_count),
            str(each.healthy_count),
            ", ".join(each.endpoint_ids),
        )
        for each in found
    ]
    print_grids(Grid(headings, rows, optional=("WHERE",), folds="WHERE"))


@click.command()
@hub_command
def sidecars(*, connection: HubConnection, output: str) -> None:
    """List the sidecars that are connected."""
    request = ListSidecarsRequest(page_size=_PAGE_SIZE)
    found = connection.pages(connection.admin.ListSidecars, request, "sidecars")
    if output != "table":
        print_messages("sidecars", found, output)
        return
    headings = (
        "AGENT",
        "NAME",
        "STATUS",
        "FROM",
        "DOOR",
        "SINCE",
        "LAST SEEN",
        "FRAMES",
        "INVALID",
    )
    rows = [
        (
            each.agent_id,
            each.name,
            each.status or "-",
            each.remote_address,
            each.transport,
            time_text(each.connected_at, present=each.HasField("connected_at")),
            time_text(each.last_seen_at, present=each.HasField("last_seen_at")),
            str(each.frames_received),
            str(each.violations),
        )
        for each in found
    ]
    print_grids(Grid(headings, rows, optional=("NAME", "SINCE", "DOOR", "STATUS", "FRAMES")))


@click.command()
@click.argument("agent_id", metavar="AGENT")
@click.option("--reason", default="", help="What the sidecar is told.")
@hub_command
def disconnect(*, connection: HubConnection, output: str, agent_id: str, reason: str) -> None:
    """Close a sidecar's connection; it may come back."""
    response = connection.call(
        connection.admin.DisconnectSidecar,
        DisconnectSidecarRequest(agent_id=agent_id, reason=reason),
    )
    if output != "table":
        print_message(response, output)
    else:
        click.echo(f"disconnected {agent_id}")


@click.command()
@hub_command
def info(*, connection: HubConnection, output: str) -> None:
    """Show what the hub says of itself."""
    response: GetServerInfoResponse = connection.call(
        connection.admin.GetServerInfo, GetServerInfoRequest()
    )
    if output != "table":
        print_message(response, output)
        return
    rows = [
        ("version", response.version),
        ("started", time_text(response.started_at, present=response.HasField("started_at"))),
        ("store", response.store),
        ("revision", f"{response.revision} (this incarnation began at {response.first_revision})"),
        ("endpoints", f"{response.endpoint_count}, {response.healthy_count} of them healthy"),
        ("sidecars", str(response.sidecar_count)),
        ("WebSocket", response.ws_address),
        ("gRPC", response.grpc_address),
        ("HTTP", response.http_address),
    ]
    print_grids(Grid(("HUB", connection.address), rows))
