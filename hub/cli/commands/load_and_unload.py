"""`llm-hub model load|unload`: loads or unloads a model through an endpoint's sidecar."""

import click

from hub.base.address import EndpointAddress
from hub.cli.calling.connection import hub_command
from hub.cli.calling.options import AddressType
from hub.cli.output.grids import print_message
from hub.cli.output.printable import printable
from hub.client import Hub
from hub.contract.dialect.names import enum_word
from llmhub.v1.admin_service_pb2 import LoadModelResponse, UnloadModelResponse
from llmhub.v1.endpoint_pb2 import ModelState

_endpoint = click.argument("address", type=AddressType(), metavar="ENDPOINT")
_model = click.argument("name", metavar="MODEL")
_wait = click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(1, 86_400),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait; the hub may allow less.",
)
_dry_run = click.option(
    "--dry-run", is_flag=True, help="Say whether the hub would do it, and do nothing."
)


@click.group()
def model() -> None:
    """Load and unload an endpoint's models through the sidecar on its host.

    The hub's setting actions.enabled and the sidecar's option --allow-actions must
    both allow it.
    """


@model.command()
@_endpoint
@_model
@click.option(
    "--keep-alive",
    "keep_alive_s",
    type=click.FloatRange(1, 2_592_000),
    metavar="SECONDS",
    help="How long it stays in memory without requests (Ollama only).",
)
@_wait
@_dry_run
@hub_command
def load(
    *,
    hub: Hub,
    output: str,
    address: EndpointAddress,
    name: str,
    keep_alive_s: float | None,
    wait_s: float,
    dry_run: bool,
) -> None:
    """Load a model into an endpoint's memory, and wait until it is there."""
    done = hub.load_model(
        address.id, name, keep_alive_s=keep_alive_s, timeout_s=wait_s, validate_only=dry_run
    )
    _show(done, output, f"load {name} on {address.id}", dry_run=dry_run)


@model.command()
@_endpoint
@_model
@_wait
@_dry_run
@hub_command
def unload(
    *, hub: Hub, output: str, address: EndpointAddress, name: str, wait_s: float, dry_run: bool
) -> None:
    """Free the memory that a model takes on an endpoint."""
    done = hub.unload_model(address.id, name, timeout_s=wait_s, validate_only=dry_run)
    _show(done, output, f"unload {name} on {address.id}", dry_run=dry_run)


def _show(
    done: LoadModelResponse | UnloadModelResponse, output: str, what: str, *, dry_run: bool
) -> None:
    if output != "table":
        print_message(done, output)
        return
    agent_id = printable(done.agent_id)
    if dry_run:
        text = f"dry run: the sidecar {agent_id} would {what}; nothing was changed"
        click.echo(f"llm-hub: {printable(text)}", err=True)
        return
    state = enum_word(ModelState.DESCRIPTOR, done.model.state) if done.HasField("model") else ""
    click.echo(printable(f"{done.model.name} {state or 'not listed'} (by {agent_id})"))
