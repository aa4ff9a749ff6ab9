"""The picture that `llm-hub top` shows, made of a fleet, a size and a time. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hub.cli.output.grids import BACKEND_WORDS, span_text
from hub.cli.output.printable import printable
from hub.registry.filters import answers
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    ADMIN_STATE_DRAINING,
    MODEL_STATE_LOADED,
    MODEL_STATE_UNSPECIFIED,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    Endpoint,
)
from llmhub.v1.resources_pb2 import HostResources, Snapshot

# In columns; from this width on, the figures have bars.
WIDE = 110

_BAR = 7
_TIMES = "\N{MULTIPLICATION SIGN}"
_EIGHTHS = " ▏▎▍▌▋▊▉█"
# The dot, the style and the place in the order of each state.
_STATES = {
    "healthy": ("●", "green", 4),
    "failing": ("▲", "red", 1),
    "unhealthy": ("●", "bold red", 0),
    "unknown": ("●", "yellow", 2),
    "draining": ("◐", "yellow", 3),
    "disabled": ("○", "dim", 5),
}
# Lines above the rows and below them.
_FRAME = 7


class Order(Enum):
    """What the rows are sorted by."""

    STATE = "state"
    NAME = "name"
    CPU = "cpu"
    VRAM = "vram"

    def next(self) -> "Order":
        """The next order; the last is followed by the first."""
        every = list(Order)
        return every[(every.index(self) + 1) % len(every)]


@dataclass(frozen=True, slots=True)
class Picture:
    """The content of the screen. `trouble` says why `snapshot` is out of date."""

    address: str
    now_ms: int
    snapshot: Snapshot = field(default_factory=Snapshot)
    info: GetServerInfoResponse | None = None
    trouble: str = ""
    order: Order = Order.STATE
    offset: int = 0


def rows_that_fit(height: int) -> int:
    """How many endpoints a terminal of this height shows."""
    return max(1, height - _FRAME)


def render(picture: Picture, width: int, height: int, *, with_keys: bool = True) -> RenderableType:
    """The picture for a terminal of that many columns and lines.

    `with_keys` adds the line that names the keys, for a picture that reacts to them.
    """
    endpoints = _sorted(picture)
    room = rows_that_fit(height)
    offset = min(picture.offset, max(0, len(endpoints) - room))
    shown = endpoints[offset : offset + room]
    parts: list[RenderableType] = [
        _title(picture, width),
        _counts(picture, width),
        _models(picture.snapshot, width),
        Text(""),
    ]
    if shown:
        parts.append(_rows(picture, shown, width))
    elif not picture.trouble:
        parts.append(Text("No endpoints yet. Register one:  llm-hub register HOST", style="dim"))
    if with_keys:
        hidden = len(endpoints) - len(shown)
        parts += [Text(""), _footer(picture, hidden, width)]
    return Group(*parts)


def _title(picture: Picture, width: int) -> Text:
    left = Text.assemble((" LLM Registry Hub ", "bold reverse"), (f"  {picture.address}", "bold"))
    info = picture.info
    if info is not None:
        up_s = picture.now_ms / 1000 - info.started_at.ToMilliseconds() / 1000
        version = f"{info.version}  " if info.version != "unknown" else ""
        left.append(f"  {version}up {span_text(up_s)}", style="dim")
    if picture.trouble:
        right = Text(picture.trouble, style="bold red")
    else:
        right = Text(f"revision {picture.snapshot.revision}", style="dim")
    left.truncate(width - (32 if picture.trouble else 0), overflow="ellipsis")
    room = width - cell_len(left.plain) - 2
    if picture.trouble:
        right.truncate(max(0, room), overflow="ellipsis")
    elif cell_len(right.plain) > room:
        right = Text("")
    left.append(" " * max(2, width - cell_len(left.plain) - cell_len(right.plain)))
    return left.append_text(right)


def _counts(picture: Picture, width: int) -> Text:
    endpoints = picture.snapshot.endpoints
    counts = Counter(_state(each) for each in endpoints)
    noun = "endpoint " if len(endpoints) == 1 else "endpoints"
    line = Text.assemble((f"{len(endpoints):>5} ", "bold"), f"{noun}  ")
    for word, (dot, style, _) in _STATES.items():
        if counts[word] or word == "healthy":
            line.append(f"{dot} {counts[word]} {word}  ", style=style)
    hosts = len(picture.snapshot.resources)
    reporting = f" {hosts} host{'' if hosts == 1 else 's'} reporting"
    if cell_len(line.plain) + cell_len(reporting) <= width:
        line.append(reporting, style="dim")
    line.truncate(width, overflow="ellipsis")
    return line


def _models(snapshot: Snapshot, width: int) -> Text:
    loaded: dict[str, int] = {}
    for endpoint in snapshot.endpoints:
        if endpoint.same_server_as or not answers(endpoint):
            continue
        for name in {each.name for each in endpoint.models if each.state == MODEL_STATE_LOADED}:
            loaded[name] = loaded.get(name, 0) + 1
    ranked = sorted(snapshot.fleet_models.items(), key=lambda item: (-item[1], item[0]))
    noun = "model " if len(ranked) == 1 else "models"
    line = Text.assemble((f"{len(ranked):>5} ", "bold"), f"{noun}     ")
    left_out = 0
    for name, count in ranked:
        item = Text(f"{printable(name)} {_TIMES}{count}")
        if warm := loaded.get(name, 0):
            item.append(f" {warm} loaded", style="green")
        # Skip a name that is too long, but show shorter ones after it. "+9" and its spaces
        # take five columns.
        if cell_len(line.plain) + cell_len(item.plain) + 8 > width:
            left_out += 1
            continue
        line.append_text(item.append("   "))
    if left_out:
        line.append(f"+{left_out}", style="dim")
    return line


def _rows(picture: Picture, endpoints: Sequence[Endpoint], width: int) -> Table:
    is_wide = width >= WIDE
    table = Table.grid(padding=(0, 2, 0, 0))
    figure = _BAR + 6 if is_wide else 5
    # A dot, the kind, three figures and, on a wide terminal, the latency; two spaces between.
    fixed = 1 + 9 + 3 * figure + 6 * 2 + (8 + 2 if is_wide else 0)
    flexible = max(20, width - fixed)
    names = [cell_len(_name(endpoint, with_id=is_wide).plain) for endpoint in endpoints]
    name_width = max(8, min(max(names), flexible * 11 // 20))
    table.add_column(width=1)
    table.add_column(width=name_width, no_wrap=True, overflow="ellipsis")
    table.add_column(width=9, no_wrap=True, overflow="ellipsis")
    table.add_column(width=max(8, flexible - name_width), no_wrap=True, overflow="ellipsis")
    for _ in range(3):
        table.add_column(width=figure, no_wrap=True, justify="left" if is_wide else "right")
    headings = ["", "ENDPOINT", "BACKEND", "LOADED", "CPU", "RAM", "VRAM"]
    if is_wide:
        table.add_column(width=8, no_wrap=True, justify="right")
        headings.append("ANSWERS")
    table.add_row(*(Text(heading, style="bold dim") for heading in headings))
    for endpoint in endpoints:
        host = picture.snapshot.resources.get(endpoint.agent_id) if endpoint.agent_id else None
        cells = [
            _dot(endpoint),
            _name(endpoint, with_id=is_wide),
            Text(BACKEND_WORDS.get(endpoint.backend, "-"), style="dim"),
            _activity(endpoint, picture.now_ms),
            *(_figure(share, with_bar=is_wide) for share in _shares(host)),
        ]
        if is_wide:
            cells.append(_latency(endpoint))
        table.add_row(*cells)
    return table


def _footer(picture: Picture, hidden: int, width: int) -> Text:
    line = Text.assemble((" q", "bold"))
    line.append(" quit   ", style="dim")
    line.append("s", style="bold")
    line.append(f" sorted by {picture.order.value}   ", style="dim")
    if hidden:
        line.append("↑↓", style="bold")
        line.append(f" {hidden} more", style="dim")
    line.truncate(width)
    return line


def _state(endpoint: Endpoint) -> str:
    """The word for an endpoint's state: exactly one of `_STATES`."""
    if endpoint.admin_state == ADMIN_STATE_DISABLED:
        return "disabled"
    if endpoint.admin_state == ADMIN_STATE_DRAINING:
        return "draining"
    if endpoint.status == STATUS_UNHEALTHY:
        return "unhealthy"
    if endpoint.status != STATUS_HEALTHY:
        return "unknown"
    return "healthy" if answers(endpoint) else "failing"


def _dot(endpoint: Endpoint) -> Text:
    dot, style, _ = _STATES[_state(endpoint)]
    return Text(dot, style=style)


def _name(endpoint: Endpoint, *, with_id: bool) -> Text:
    name = Text(printable(endpoint.name))
    if with_id and endpoint.name != endpoint.id:
        name.append(f" {endpoint.id}", style="dim")
    return name


def _activity(endpoint: Endpoint, now_ms: int) -> Text:
    """The models in memory, or why the endpoint does not answer."""
    if endpoint.status == STATUS_UNHEALTHY or endpoint.last_error:
        return Text(printable(endpoint.last_error or "unhealthy"), style="red")
    if endpoint.admin_state == ADMIN_STATE_DRAINING:
        return Text("draining", style="yellow")
    if endpoint.admin_state == ADMIN_STATE_DISABLED:
        return Text("disabled", style="dim")
    if endpoint.status != STATUS_HEALTHY:
        return Text("not probed yet", style="yellow")
    loaded = [each for each in endpoint.models if each.state == MODEL_STATE_LOADED]
    if not loaded:
        are_known = not any(each.state == MODEL_STATE_UNSPECIFIED for each in endpoint.models)
        words = "none of" if are_known else "unknown, of"
        return Text(f"{words} {len(endpoint.models)}", style="dim")
    text = Text(", ".join(printable(each.name) for each in loaded), style="green")
    ends_ms = [each.expires_at.ToMilliseconds() for each in loaded if each.HasField("expires_at")]
    # Ollama expresses "forever" as a time some centuries away.
    if len(loaded) == 1 and ends_ms and 0 < (left_s := (ends_ms[0] - now_ms) / 1000) < 86_400:
        text.append(f" {span_text(left_s)}", style="dim")
    return text


def _shares(host: HostResources | None) -> tuple[float | None, float | None, float | None]:
    """CPU, RAM and VRAM in use, 0 to 1; None where unknown."""
    if host is None:
        return None, None, None
    cpu = host.cpu_percent / 100 if host.HasField("cpu_percent") else None
    return cpu, _share(host, "ram"), _share(host, "vram")


def _share(host: HostResources, kind: str) -> float | None:
    used, total = f"{kind}_used_bytes", f"{kind}_total_bytes"
    if not host.HasField(used) or not getattr(host, total):
        return None
    return float(getattr(host, used) / getattr(host, total))


def _figure(share: float | None, *, with_bar: bool) -> Text:
    if share is None:
        return Text(f"{'·' * _BAR}     ?" if with_bar else "?", style="dim")
    share = min(max(share, 0.0), 1.0)
    style = "green" if share < 0.7 else "yellow" if share < 0.9 else "red"
    number = f"{share * 100:3.0f} %"
    if not with_bar:
        return Text(number, style=style)
    eighths = round(share * _BAR * 8)
    bar = "█" * (eighths // 8)
    if eighths % 8:
        bar += _EIGHTHS[eighths % 8]
    text = Text.assemble((bar, f"{style} on grey23"))
    text.append(" " * (_BAR - len(bar)), style="on grey23")
    return text.append(f" {number}", style=style)


def _latency(endpoint: Endpoint) -> Text:
    if not endpoint.HasField("latency") or not answers(endpoint):
        return Text("-", style="dim")
    milliseconds = endpoint.latency.ToMicroseconds() / 1000
    return Text(f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms")


def _sorted(picture: Picture) -> list[Endpoint]:
    def load(endpoint: Endpoint, place: int) -> float:
        share = _shares(picture.snapshot.resources.get(endpoint.agent_id))[place]
        return -1.0 if share is None else share

    def by_name(endpoint: Endpoint) -> tuple[str, str]:
        return endpoint.name, endpoint.id

    endpoints = sorted(picture.snapshot.endpoints, key=by_name)
    match picture.order:
        case Order.STATE:
            endpoints.sort(key=_urgency)
        case Order.CPU:
            endpoints.sort(key=lambda endpoint: load(endpoint, 0), reverse=True)
        case Order.VRAM:
            endpoints.sort(key=lambda endpoint: load(endpoint, 2), reverse=True)
    return endpoints


def _urgency(endpoint: Endpoint) -> int:
    """Sorts what needs attention first."""
    return _STATES[_state(endpoint)][2]
