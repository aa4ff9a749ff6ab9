"""`llm-hub endpoints|register|remove|snapshot`: shows and changes the fleet."""

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from hub.base.address import EndpointAddress
from hub.cli.calling.connection import hub_command
from hub.cli.calling.options import AddressType, label_option
from hub.cli.failures import CommandFailed, ExitCode
from hub.cli.output.endpoint_grid import endpoint_grid
from hub.cli.output.grids import (
    BACKENDS,
    STATUSES,
    Grid,
    bytes_text,
    print_grids,
    print_message,
    print_messages,
    print_value,
    time_text,
)
from hub.client import Hub
from llmhub.v1.endpoint_pb2 import BACKEND_UNSPECIFIED, STATUS_UNSPECIFIED
from llmhub.v1.resources_pb2 import HostResources

_MAX_API_KEY_LENGTH = 4096


@click.command()
@click.option("--model", default="", help="Only those that have this model.")
@click.option("--status", type=click.Choice(list(STATUSES)), help="Only those in this state.")
@click.option("--backend", type=click.Choice(list(BACKENDS)), help="Only those of this kind.")
@label_option
@hub_command
def endpoints(
    *,
    hub: Hub,
    output: str,
    model: str,
    status: str | None,
    backend: str | None,
    labels: Mapping[str, str],
) -> None:
    """List the endpoints, sorted by id."""
    found = list(
        hub.list_endpoints(
            model=model,
            status=STATUSES[status] if status else STATUS_UNSPECIFIED,
            backend=BACKENDS[backend] if backend else BACKEND_UNSPECIFIED,
            labels=labels,
        )
    )
    if output != "table":
        print_messages("endpoints", found, output)
    else:
        print_grids(endpoint_grid(found))


@click.command()
@click.argument("address", type=AddressType(), metavar="URL|HOST[:PORT]")
@click.option("--name", default="", help="A display name; by default HOST:PORT.")
@label_option
@click.option(
    "--backend", type=click.Choice(list(BACKENDS)), help="Its kind; by default the hub detects it."
)
@click.option("--agent", default="", help="The agent_id of the sidecar on its host.")
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    help="A file with the API key that the server requires.",
)
@click.option("--api-key-stdin", is_flag=True, help="Read that key from standard input.")
@hub_command
def register(
    *,
    hub: Hub,
    output: str,
    address: EndpointAddress,
    name: str,
    labels: Mapping[str, str],
    backend: str | None,
    agent: str,
    api_key_file: Path | None,
    api_key_stdin: bool,
) -> None:
    """Register an endpoint, or register it again.

    Without a port, HOST means 11434, http://HOST means 80, https://HOST means
    443. Registering again replaces name, labels, backend and agent; it keeps
    models, status and, without a new one, the key.
    """
    registered = hub.register(
        address,
        name=name,
        labels=labels,
        backend=BACKENDS[backend] if backend else BACKEND_UNSPECIFIED,
        agent_id=agent,
        api_key=_api_key(api_key_file, from_stdin=api_key_stdin),
    )
    if output != "table":
        print_message(registered, output)
    else:
        print_grids(endpoint_grid([registered]))


@click.command()
@click.argument("address", type=AddressType(), metavar="ID")
@click.option("--etag", default="", help="Remove it only if it still has this etag.")
@hub_command
def remove(*, hub: Hub, output: str, address: EndpointAddress, etag: str) -> None:
    """Remove an endpoint; ID is HOST:PORT, or the URL that was registered."""
    hub.remove(address.id, etag=etag)
    if output != "table":
        print_value({"id": address.id}, output)
    else:
        click.echo(f"removed {address.id}")


@click.command()
@hub_command
def snapshot(*, hub: Hub, output: str) -> None:
    """Show the whole fleet: endpoints, hosts' resources, models."""
    fleet = hub.snapshot()
    if output != "table":
        print_message(fleet, output)
        return
    models = [(name, str(count)) for name, count in sorted(fleet.fleet_models.items())]
    hosts = [_resources_row(host) for _, host in sorted(fleet.resources.items())]
    print_grids(
        endpoint_grid(fleet.endpoints),
        Grid(("AGENT", "CPU", "RAM", "VRAM", "REPORTED"), hosts, "Hosts", ("REPORTED",)),
        Grid(("MODEL", "ENDPOINTS"), models, "Models"),
    )


def _resources_row(host: HostResources) -> tuple[str, ...]:
    def known(field: str) -> int | None:
        return getattr(host, field) if host.HasField(field) else None

    def share(kind: str) -> str:
        used, total = known(f"{kind}_used_bytes"), known(f"{kind}_total_bytes")
        return f"{bytes_text(used)} of {bytes_text(total)}"

    cpu = f"{host.cpu_percent:.0f} %" if host.HasField("cpu_percent") else "?"
    reported = time_text(host.reported_at, present=host.HasField("reported_at"))
    return (host.agent_id, cpu, share("ram"), share("vram"), reported)


def _api_key(file: Path | None, *, from_stdin: bool) -> str | None:
    """The key without its line ending; None if none was given."""
    if file is not None and from_stdin:
        raise CommandFailed("give --api-key-file or --api-key-stdin, not both", ExitCode.USAGE)
    if from_stdin:
        text = sys.stdin.read(_MAX_API_KEY_LENGTH + 2)
    elif file is not None:
        try:
            with file.open(encoding="utf-8") as opened:
                text = opened.read(_MAX_API_KEY_LENGTH + 2)
        except OSError as error:
            raise CommandFailed(
                f"{file}: cannot be read: {error.strerror}", ExitCode.USAGE
            ) from None
        except UnicodeDecodeError:
            raise CommandFailed(f"{file}: does not contain a key", ExitCode.USAGE) from None
    else:
        return None
    return text.rstrip("\r\n")
