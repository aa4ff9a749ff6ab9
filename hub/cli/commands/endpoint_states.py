"""`llm-hub drain|enable|disable|labels|check`: changes and probes one endpoint."""

import re
from collections.abc import Mapping, Sequence

import click

from hub.base.address import EndpointAddress
from hub.cli.calling.connection import hub_command
from hub.cli.calling.options import AddressType
from hub.cli.failures import ExitCode
from hub.cli.output.endpoint_grid import endpoint_grid
from hub.cli.output.grids import STATE_WORDS, Grid, print_grids, print_message
from hub.cli.output.printable import printable
from hub.client import Hub
from llmhub.v1.admin_service_pb2 import UpdateEndpointResponse, UpdateImpact
from llmhub.v1.endpoint_pb2 import STATUS_HEALTHY

_address = click.argument("address", type=AddressType(), metavar="ID")
_dry_run = click.option(
    "--dry-run", is_flag=True, help="Say what would change, and change nothing."
)


class LabelChangeType(click.ParamType[tuple[str, str | None]]):
    """KEY=VALUE sets a label, KEY- removes it (None)."""

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
def drain(*, hub: Hub, output: str, address: EndpointAddress, dry_run: bool) -> None:
    """Stop selecting an endpoint; running requests go on, and it stays registered."""
    _show_change(hub.drain(address.id, validate_only=dry_run), output, dry_run=dry_run)


@click.command()
@_address
@_dry_run
@hub_command
def enable(*, hub: Hub, output: str, address: EndpointAddress, dry_run: bool) -> None:
    """Let an endpoint be selected again."""
    _show_change(hub.enable(address.id, validate_only=dry_run), output, dry_run=dry_run)


@click.command()
@_address
@_dry_run
@hub_command
def disable(*, hub: Hub, output: str, address: EndpointAddress, dry_run: bool) -> None:
    """Take an endpoint out of service: it is neither selected nor probed."""
    _show_change(hub.disable(address.id, validate_only=dry_run), output, dry_run=dry_run)


@click.command()
@_address
@click.argument("changes", nargs=-1, type=LabelChangeType(), metavar="[KEY=VALUE|KEY-]...")
@hub_command
def labels(
    *,
    hub: Hub,
    output: str,
    address: EndpointAddress,
    changes: Sequence[tuple[str, str | None]],
) -> None:
    """Show an endpoint's labels, or change the given ones.

    KEY=VALUE sets one, KEY- removes one. If the endpoint changes at the same
    moment, the command fails and changes nothing.
    """
    endpoint = hub.get_endpoint(address.id)
    if changes:
        labels = _changed(endpoint.labels, changes)
        endpoint = hub.update(address.id, labels=labels, etag=endpoint.etag).endpoint
    if output != "table":
        print_message(endpoint, output)
    else:
        print_grids(Grid(("LABEL", "VALUE"), sorted(endpoint.labels.items())))


@click.command()
@_address
@hub_command
def check(*, hub: Hub, output: str, address: EndpointAddress) -> int:
    """Probe an endpoint now and show the result.

    Exits with 8 if the endpoint does not answer as it should.
    """
    endpoint = hub.check(address.id)
    if output != "table":
        print_message(endpoint, output)
    else:
        print_grids(endpoint_grid([endpoint]))
    is_well = endpoint.status == STATUS_HEALTHY and not endpoint.last_error
    return 0 if is_well else ExitCode.UNHEALTHY


def _show_change(changed: UpdateEndpointResponse, output: str, *, dry_run: bool) -> None:
    if output != "table":
        print_message(changed, output)
        return
    endpoint = changed.endpoint
    print_grids(endpoint_grid([endpoint]))
    if dry_run:
        word = STATE_WORDS.get(endpoint.admin_state, "-")
        click.echo(
            f"llm-hub: dry run: {endpoint.id} would be {word}; nothing was changed", err=True
        )
    for line in _losses(changed.impact):
        click.echo(f"llm-hub: {printable(line)}", err=True)


def _losses(impact: UpdateImpact) -> list[str]:
    """What the fleet loses by the change, one sentence per loss."""
    lines = []
    if impact.last_available_models:
        names = ", ".join(impact.last_available_models)
        lines.append(f"no other selectable endpoint has {names}")
    if impact.last_loaded_models:
        names = ", ".join(impact.last_loaded_models)
        lines.append(f"no other selectable endpoint has {names} in memory")
    if impact.in_flight:
        lines.append(f"leases still running there: {impact.in_flight}")
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
