"""`llm-hub endpoints|register|remove|snapshot`: the fleet, seen and changed."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from hub.base.address import AddressError, EndpointAddress, parse_endpoint_url
from hub.cli.calling.connection import HubConnection, hub_command
from hub.cli.failures import CommandFailed, ExitCode
from hub.cli.output.grids import (
    Grid,
    bytes_text,
    print_grids,
    print_message,
    print_messages,
    time_text,
)
from hub.contract.dialect.names import enum_words
from llmhub.v1.admin_service_pb2 import (
    RegisterEndpointRequest,
    RegisterEndpointResponse,
    RemoveEndpointRequest,
    RemoveEndpointResponse,
)
from llmhub.v1.endpoint_pb2 import (
    FAULT_DEAD,
    FAULT_UNREACHABLE,
    MODEL_STATE_LOADED,
    AdminState,
    Backend,
    Endpoint,
    Status,
)
from llmhub.v1.registry_service_pb2 import (
    GetSnapshotRequest,
    GetSnapshotResponse,
    ListEndpointsRequest,
)
from llmhub.v1.resources_pb2 import HostResources

# The words of the command line, with the names that requests take.
BACKENDS = {word: f"BACKEND_{word.upper()}" for word in enum_words(Backend.DESCRIPTOR)}
STATUSES = {word: f"STATUS_{word.upper()}" for word in enum_words(Status.DESCRIPTOR)}

BACKEND_WORDS = {number: word for word, number in enum_words(Backend.DESCRIPTOR).items()}
STATUS_WORDS = {number: word for word, number in enum_words(Status.DESCRIPTOR).items()}
STATE_WORDS = {number: word for word, number in enum_words(AdminState.DESCRIPTOR).items()}

PAGE_SIZE = 1000
_MAX_API_KEY_LENGTH = 4096
_SHOWN_MODELS = 3


class AddressType(click.ParamType[EndpointAddress]):
    """An endpoint's address on the command line: HOST, HOST:PORT or a URL."""

    name = "address"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> EndpointAddress:
        """See click.ParamType."""
        try:
            return parse_endpoint_url(str(value))
        except AddressError as error:
            self.fail(f"{error}.", param, ctx)


def parse_labels(
    context: click.Context, parameter: click.Parameter, pairs: Sequence[str]
) -> dict[str, str]:
    """KEY=VALUE, again and again, as a mapping."""
    labels = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE.", context, parameter)
        labels[key] = value
    return labels


label_option = click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    callback=parse_labels,
    help="Repeatable.",
)


@click.command()
@click.option("--model", default="", help="Only those that have this model.")
@click.option("--status", type=click.Choice(list(STATUSES)), help="Only those in this state.")
@click.option("--backend", type=click.Choice(list(BACKENDS)), help="Only those of this kind.")
@label_option
@hub_command
def endpoints(
    *,
    connection: HubConnection,
    output: str,
    model: str,
    status: str | None,
    backend: str | None,
    labels: Mapping[str, str],
) -> None:
    """List the endpoints, sorted by id."""
    request = ListEndpointsRequest(
        page_size=PAGE_SIZE,
        model=model,
        status=STATUSES[status] if status else None,
        backend=BACKENDS[backend] if backend else None,
        labels=labels,
    )
    found = connection.pages(connection.registry.ListEndpoints, request, "endpoints")
    if output != "table":
        print_messages("endpoints", found, output)
    else:
        print_grids(endpoint_grid(found))


@click.command()
@click.argument("address", type=AddressType(), metavar="URL|HOST[:PORT]")
@click.option("--name", default="", help="What people shall call it; else HOST:PORT.")
@label_option
@click.option("--backend", type=click.Choice(list(BACKENDS)), help="Its kind; else the hub asks.")
@click.option("--agent", default="", help="The sidecar on its host, whose resources are its own.")
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    help="A file with the key that the server itself asks for.",
)
@click.option("--api-key-stdin", is_flag=True, help="Read that key from standard input.")
@hub_command
def register(
    *,
    connection: HubConnection,
    output: str,
    address: EndpointAddress,
    name: str,
    labels: Mapping[str, str],
    backend: str | None,
    agent: str,
    api_key_file: Path | None,
    api_key_stdin: bool,
) -> None:
    """Register an endpoint, or register it anew.

    Without a port, HOST means 11434, http://HOST means 80, https://HOST means
    443. Registering anew replaces name, labels, backend and agent; it keeps
    models, status and, without a new one, the key.
    """
    request = RegisterEndpointRequest(
        host=address.host,
        port=address.port,
        scheme=address.scheme,
        base_path=address.base_path,
        name=name,
        labels=labels,
        backend=BACKENDS[backend] if backend else None,
        agent_id=agent,
        api_key=_api_key(api_key_file, from_stdin=api_key_stdin),
    )
    response: RegisterEndpointResponse = connection.call(connection.admin.RegisterEndpoint, request)
    if output != "table":
        print_message(response.endpoint, output)
    else:
        print_grids(endpoint_grid([response.endpoint]))


@click.command()
@click.argument("address", type=AddressType(), metavar="ID")
@click.option("--etag", default="", help="Remove it only if it is as it was read.")
@hub_command
def remove(*, connection: HubConnection, output: str, address: EndpointAddress, etag: str) -> None:
    """Remove an endpoint; ID is HOST:PORT, or what `register` was given."""
    response: RemoveEndpointResponse = connection.call(
        connection.admin.RemoveEndpoint, RemoveEndpointRequest(id=address.id, etag=etag)
    )
    if output != "table":
        print_message(response, output)
    else:
        click.echo(f"removed {response.id}")


@click.command()
@hub_command
def snapshot(*, connection: HubConnection, output: str) -> None:
    """Show the whole fleet: endpoints, hosts' resources, models."""
    response: GetSnapshotResponse = connection.call(
        connection.registry.GetSnapshot, GetSnapshotRequest()
    )
    fleet = response.snapshot
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


def endpoint_grid(found: Sequence[Endpoint]) -> Grid:
    """Endpoints as people look at them.

    MODELS is how many are loaded of how many, and what is loaded with its context in
    tokens. LOAD is the requests running, of how many slots, and those that wait.
    """
    headings = (
        *("ID", "NAME", "BACKEND", "STATUS", "STATE", "MODELS"),
        *("VERSION", "LOAD", "CHECKED", "ERROR"),
    )
    rows = [
        (
            each.id,
            each.name,
            BACKEND_WORDS.get(each.backend, "-"),
            STATUS_WORDS.get(each.status, "-"),
            STATE_WORDS.get(each.admin_state, "enabled"),
            _models_text(each),
            each.version or "-",
            _load_text(each),
            time_text(each.last_checked_at, present=each.HasField("last_checked_at")),
            _error_text(each),
        )
        for each in found
    ]
    # The least telling column is the first to go on a narrow terminal.
    optional = ("LOAD", "VERSION", "CHECKED", "NAME", "STATE", "BACKEND", "ERROR")
    return Grid(headings, rows, "Endpoints", optional, folds="ERROR", shortens="MODELS")


def _models_text(endpoint: Endpoint) -> str:
    loaded = [model for model in endpoint.models if model.state == MODEL_STATE_LOADED]
    names = [
        f"{model.name} ({model.context_length})" if model.HasField("context_length") else model.name
        for model in loaded[:_SHOWN_MODELS]
    ]
    if len(loaded) > _SHOWN_MODELS:
        names.append(f"+{len(loaded) - _SHOWN_MODELS}")
    return f"{len(loaded)}/{len(endpoint.models)} {', '.join(names)}".rstrip()


def _load_text(endpoint: Endpoint) -> str:
    load = endpoint.load
    told = []
    if load.HasField("running") or load.HasField("slots"):
        running = str(load.running) if load.HasField("running") else "?"
        told.append(f"{running}/{load.slots}" if load.HasField("slots") else running)
    if load.HasField("waiting"):
        told.append(f"{load.waiting} waiting")
    if load.HasField("kv_cache_used_ratio"):
        told.append(f"cache {load.kv_cache_used_ratio:.0%}")
    if load.HasField("prefix_cache_hit_ratio"):
        told.append(f"prefix hits {load.prefix_cache_hit_ratio:.0%}")
    return ", ".join(told) or "-"


_FAULTS = {
    FAULT_DEAD: " (nor does its sidecar reach it)",
    FAULT_UNREACHABLE: " (but its sidecar reaches it)",
}


def _error_text(endpoint: Endpoint) -> str:
    text = endpoint.last_error + _FAULTS.get(endpoint.fault, "")
    if endpoint.HasField("flapping"):
        text = f"flapping: {endpoint.flapping.reason}" + (f"; {text}" if text else "")
    return text or "-"


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
    """The key without the line's end; None where none was given."""
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
            raise CommandFailed(f"{file}: holds no key", ExitCode.USAGE) from None
    else:
        return None
    return text.rstrip("\r\n")
