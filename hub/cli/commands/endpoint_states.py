"""`llm-hub drain|enable|disable|labels|check`: one endpoint's life, by an admin."""

import re
from collections.abc import Mapping, Sequence

import click
from google.protobuf.field_mask_pb2 import FieldMask

from hub.base.address import EndpointAddress
from hub.cli.calling.connection import HubConnection, hub_command
from hub.cli.commands.endpoints import STATE_WORDS, AddressType, endpoint_grid
from hub.cli.failures import ExitCode
from hub.cli.output.grids import Grid, print_grids, print_message
from hub.cli.output.printable import printable
from llmhub.v1.admin_service_pb2 import (
    CheckEndpointRequest,
    CheckEndpointResponse,
    UpdateEndpointRequest,
    UpdateEndpointResponse,
)
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    ADMIN_STATE_DRAINING,
    ADMIN_STATE_ENABLED,
    STATUS_HEALTHY,
    AdminState,
    Endpoint,
)
from llmhub.v1.registry_service_pb2 import GetEndpointRequest

_address = click.argument("address", type=AddressType(), metavar="ID")
_dry_run = click.option("--dry-run", is_flag=True, help="Say what would be and change nothing.")


class LabelChangeType(click.ParamType[tuple[str, str | None]]):
    """KEY=VALUE sets a label, KEY- takes it away (None)."""

    name = "label"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str | None]:
        """See click.ParamType."""
        text = str(value)
        key, equals, new = text.partition("=")
        if equals and key:
            return key, new
        if not (match := re.fullmatch(r"([^=]+)-", text)):
            self.fail(f"{text!r} is neither KEY=VALUE nor KEY-.", param, ctx)
        return match[1], None


@click.command()
@_address
@_dry_run
@hub_command
def drain(
    *, connection: HubConnection, output: str, address: EndpointAddress, dry_run: bool
) -> None:
    """Let an endpoint run out: it is selected no more, and stays in the registry."""
    _set_state(connection, output, address.id, ADMIN_STATE_DRAINING, dry_run=dry_run)


@click.command()
@_address
@_dry_run
@hub_command
def enable(
    *, connection: HubConnection, output: str, address: EndpointAddress, dry_run: bool
) -> None:
    """Let an endpoint be selected again."""
    _set_state(connection, output, address.id, ADMIN_STATE_ENABLED, dry_run=dry_run)


@click.command()
@_address
@_dry_run
@hub_command
def disable(
    *, connection: HubConnection, output: str, address: EndpointAddress, dry_run: bool
) -> None:
    """Take an endpoint out of service: it is neither selected nor probed."""
    _set_state(connection, output, address.id, ADMIN_STATE_DISABLED, dry_run=dry_run)


@click.command()
@_address
@click.argument("changes", nargs=-1, type=LabelChangeType(), metavar="[KEY=VALUE|KEY-]...")
@hub_command
def labels(
    *,
    connection: HubConnection,
    output: str,
    address: EndpointAddress,
    changes: Sequence[tuple[str, str | None]],
) -> None:
    """Show an endpoint's labels, or change those that are named.

    KEY=VALUE sets one, KEY- takes one away. Where somebody else changes the
    endpoint in the same moment, nothing is changed and the command fails.
    """
    endpoint: Endpoint = connection.call(
        connection.registry.GetEndpoint, GetEndpointRequest(id=address.id)
    ).endpoint
    if changes:
        wanted = Endpoint(id=address.id, labels=_changed(endpoint.labels, changes))
        request = UpdateEndpointRequest(
            endpoint=wanted, update_mask=FieldMask(paths=["labels"]), etag=endpoint.etag
        )
        response: UpdateEndpointResponse = connection.call(connection.admin.UpdateEndpoint, request)
        endpoint = response.endpoint
    if output != "table":
        print_message(endpoint, output)
    else:
        print_grids(Grid(("LABEL", "VALUE"), sorted(endpoint.labels.items())))


@click.command()
@_address
@hub_command
def check(*, connection: HubConnection, output: str, address: EndpointAddress) -> int:
    """Probe an endpoint now and show what that saw.

    Ends with 8 where the endpoint does not answer as it should.
    """
    response: CheckEndpointResponse = connection.call(
        connection.admin.CheckEndpoint, CheckEndpointRequest(id=address.id)
    )
    endpoint = response.endpoint
    if output != "table":
        print_message(endpoint, output)
    else:
        print_grids(endpoint_grid([endpoint]))
    is_well = endpoint.status == STATUS_HEALTHY and not endpoint.last_error
    return 0 if is_well else ExitCode.UNHEALTHY


def _set_state(
    connection: HubConnection, output: str, id_: str, state: AdminState, *, dry_run: bool
) -> None:
    request = UpdateEndpointRequest(
        endpoint=Endpoint(id=id_, admin_state=state),
        update_mask=FieldMask(paths=["admin_state"]),
        validate_only=dry_run,
    )
    response: UpdateEndpointResponse = connection.call(connection.admin.UpdateEndpoint, request)
    if output != "table":
        print_message(response, output)
        return
    print_grids(endpoint_grid([response.endpoint]))
    if dry_run:
        word = STATE_WORDS.get(state, "-")
        click.echo(f"llm-hub: a dry run: {id_} would be {word}; nothing was changed", err=True)
    for line in _losses(response):
        click.echo(f"llm-hub: {printable(line)}", err=True)


def _losses(response: UpdateEndpointResponse) -> list[str]:
    """What the fleet loses by the change, for people."""
    impact = response.impact
    lines = []
    if impact.last_available_models:
        names = ", ".join(impact.last_available_models)
        lines.append(f"nobody else that can be selected has {names}")
    if impact.last_loaded_models:
        names = ", ".join(impact.last_loaded_models)
        lines.append(f"nobody else that can be selected has in memory {names}")
    if impact.in_flight:
        lines.append(f"{impact.in_flight} leases still run there")
    return lines


def _changed(
    labels: Mapping[str, str], changes: Sequence[tuple[str, str | None]]
) -> dict[str, str]:
    changed = dict(labels)
    for key, value in changes:
        if value is None:
            changed.pop(key, None)
        else:
            changed[key] = value
    return changed
