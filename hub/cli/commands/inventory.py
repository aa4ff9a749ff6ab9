"""`llm-hub models|sidecars|disconnect|info`: models, sidecars and the hub itself."""

import click

from hub.cli.calling.connection import hub_command
from hub.cli.output.grids import (
    Grid,
    print_grids,
    print_message,
    print_messages,
    print_value,
    time_text,
)
from hub.client import Hub
from llmhub.v1.resources_pb2 import ModelSummary


@click.command()
@hub_command
def models(*, hub: Hub, output: str) -> None:
    """List the models of the fleet and how many endpoints have each.

    LOADED counts endpoints that answer and have the model in memory. Some backends do not
    report that: "unknown".
    """
    found = list(hub.list_models())
    if output != "table":
        print_messages("models", found, output)
        return
    headings = ("MODEL", "ENDPOINTS", "LOADED", "HEALTHY", "WHERE")
    rows = [
        (
            each.name,
            str(each.endpoint_count),
            _loaded_text(each),
            str(each.healthy_count),
            ", ".join(each.endpoint_ids),
        )
        for each in found
    ]
    print_grids(Grid(headings, rows, optional=("WHERE",), folds="WHERE"))


def _loaded_text(model: ModelSummary) -> str:
    if not model.unknown_count:
        return str(model.loaded_count)
    return (
        f"{model.loaded_count} + {model.unknown_count} unknown" if model.loaded_count else "unknown"
    )


@click.command()
@hub_command
def sidecars(*, hub: Hub, output: str) -> None:
    """List the sidecars that are connected."""
    found = list(hub.list_sidecars())
    if output != "table":
        print_messages("sidecars", found, output)
        return
    headings = (
        "AGENT",
        "NAME",
        "STATUS",
        "FROM",
        "TRANSPORT",
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
    print_grids(Grid(headings, rows, optional=("NAME", "SINCE", "TRANSPORT", "STATUS", "FRAMES")))


@click.command()
@click.argument("agent_id", metavar="AGENT")
@click.option("--reason", default="", help="A reason to send to the sidecar.")
@hub_command
def disconnect(*, hub: Hub, output: str, agent_id: str, reason: str) -> None:
    """Close a sidecar's connection; it may reconnect."""
    hub.disconnect_sidecar(agent_id, reason=reason)
    if output != "table":
        print_value({}, output)
    else:
        click.echo(f"disconnected {agent_id}")


@click.command()
@hub_command
def info(*, hub: Hub, output: str) -> None:
    """Show version, store, counts and addresses of the hub."""
    response = hub.server_info()
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
    print_grids(Grid(("HUB", hub.address), rows))
