"""`llm-hub watch`: prints every change of the fleet as it happens."""

import time
from collections.abc import Mapping

import click
from rich.console import Console
from rich.text import Text

from hub.cli.calling.connection import hub_command
from hub.cli.calling.options import label_option
from hub.cli.failures import CommandFailed, ExitCode
from hub.cli.output.grids import (
    BACKEND_WORDS,
    BACKENDS,
    STATE_WORDS,
    STATUS_WORDS,
    STATUSES,
    is_interactive,
    print_line,
)
from hub.cli.output.printable import printable
from hub.cli.output.tables import STYLES
from hub.client import CallFailed, Hub
from hub.contract.dialect.encode import to_json
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_ENABLED,
    BACKEND_UNSPECIFIED,
    MODEL_STATE_LOADED,
    STATUS_UNSPECIFIED,
    Endpoint,
)
from llmhub.v1.resources_pb2 import EVENT_TYPE_DELETE, HostResources, RegistryEvent

_ADVICE = {
    "SHUTTING_DOWN": (ExitCode.UNREACHABLE, "watch again when it is back"),
    "REVISION_COMPACTED": (ExitCode.FAILED, "leave out --after"),
}


@click.command()
@click.option("--model", default="", help="Only endpoints that have this model.")
@click.option("--status", type=click.Choice(list(STATUSES)), help="Only those in this state.")
@click.option("--backend", type=click.Choice(list(BACKENDS)), help="Only those of this kind.")
@label_option
@click.option("--resources", is_flag=True, help="Show the reports of the hosts too.")
@click.option("--checks", is_flag=True, help="Show every probe, not only changes.")
@click.option("--after", type=click.IntRange(1), help="Resume after this revision.")
@hub_command
def watch(
    *,
    hub: Hub,
    output: str,
    model: str,
    status: str | None,
    backend: str | None,
    labels: Mapping[str, str],
    resources: bool,
    checks: bool,
    after: int | None,
) -> None:
    """Show the fleet and then every change, one line each, until interrupted.

    An endpoint that stops matching a filter is shown as deleted. With -o json each
    line is an event; --after resumes from its revision.
    """
    events = hub.watch(
        # A program that reads the output resumes from the revision of its last line.
        resume=False,
        after_revision=after,
        include_resources=resources,
        include_checks=checks,
        model=model,
        backend=BACKENDS[backend] if backend else BACKEND_UNSPECIFIED,
        status=STATUSES[status] if status else STATUS_UNSPECIFIED,
        labels=labels,
    )
    console = Console(highlight=False, soft_wrap=not is_interactive())
    try:
        for event in events:
            if output != "table":
                print_line(to_json(event), output)
            elif is_interactive():
                console.print(line(event, time.time()), no_wrap=True, overflow="ellipsis")
            else:
                click.echo(line(event, time.time()).plain)
    except CallFailed as failed:
        if failed.reason not in _ADVICE:
            raise
        code, advice = _ADVICE[failed.reason]
        raise CommandFailed(
            printable(failed.message), code, advice=advice, reason=failed.reason
        ) from None


def line(event: RegistryEvent, now_s: float) -> Text:
    """An event in one line: local time, the change, its subject and its new state."""
    clock = time.strftime("%H:%M:%S", time.localtime(now_s))
    what = "delete" if event.type == EVENT_TYPE_DELETE else "put"
    text = Text.assemble((f"{clock}  ", "dim"), (f"{what:<6}  ", STYLES[what]))
    match event.WhichOneof("subject"):
        case "endpoint":
            text.append("endpoint  ", style="dim")
            _endpoint(text, event.endpoint, is_gone=what == "delete")
        case "resources":
            text.append("host      ", style="dim")
            _host(text, event.resources, is_gone=what == "delete")
        case "model_alias":
            text.append("alias     ", style="dim")
            text.append(printable(event.model_alias.name))
    return text


def _endpoint(text: Text, endpoint: Endpoint, *, is_gone: bool) -> None:
    text.append(printable(endpoint.id), style="bold")
    if is_gone:
        return
    if endpoint.name != endpoint.id:
        text.append(f" {printable(endpoint.name)}")
    status = STATUS_WORDS.get(endpoint.status, "-")
    text.append(f"  {status}", style=STYLES.get(status, ""))
    if endpoint.admin_state not in (0, ADMIN_STATE_ENABLED):
        state = STATE_WORDS[endpoint.admin_state]
        text.append(f"  {state}", style=STYLES.get(state, ""))
    text.append(f"  {BACKEND_WORDS.get(endpoint.backend, '-')}", style="dim")
    loaded = [each.name for each in endpoint.models if each.state == MODEL_STATE_LOADED]
    text.append(f"  {len(loaded)}/{len(endpoint.models)} models", style="dim")
    if endpoint.last_error:
        text.append(f"  {printable(endpoint.last_error)}", style="red")
    elif loaded:
        text.append(f"  {printable(', '.join(loaded))}", style="green")


def _host(text: Text, host: HostResources, *, is_gone: bool) -> None:
    text.append(printable(host.agent_id), style="bold")
    if is_gone:
        return
    cpu = f"{host.cpu_percent:.0f} %" if host.HasField("cpu_percent") else "?"
    text.append(f"  cpu {cpu}")
    for kind in ("ram", "vram"):
        used, total = f"{kind}_used_bytes", f"{kind}_total_bytes"
        share = "?"
        if host.HasField(used) and getattr(host, total):
            share = f"{100 * getattr(host, used) / getattr(host, total):.0f} %"
        text.append(f"  {kind} {share}")
