import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from hub.cli.output.top_view import Order, Picture, render, rows_that_fit
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    ADMIN_STATE_DRAINING,
    ADMIN_STATE_ENABLED,
    BACKEND_OLLAMA,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_UNSPECIFIED,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    STATUS_UNKNOWN,
    Endpoint,
)
from llmhub.v1.resources_pb2 import Snapshot

NOW = 1_800_000_000_000


def fleet(count: int = 6) -> Snapshot:
    """A fleet with one endpoint of each state, and more that are healthy."""
    snapshot = Snapshot(revision=1_795_357_368_256_013)
    for number in range(count):
        endpoint = snapshot.endpoints.add(
            id=f"10.0.0.{number + 1}:11434",
            name=f"gpu-{number + 1:03}",
            backend=BACKEND_OLLAMA,
            status=STATUS_HEALTHY,
            admin_state=ADMIN_STATE_ENABLED,
            agent_id=f"gpu-{number + 1:03}",
        )
        endpoint.latency.FromMicroseconds(4200)
        endpoint.models.add(name="phi4:14b", state=MODEL_STATE_AVAILABLE)
        loaded = endpoint.models.add(name="llama3.1:8b", state=MODEL_STATE_LOADED)
        loaded.expires_at.FromMilliseconds(NOW + 240_000)
        host = snapshot.resources[endpoint.agent_id]
        host.cpu_percent = number
        host.ram_used_bytes, host.ram_total_bytes = 48 << 30, 64 << 30
        host.vram_used_bytes, host.vram_total_bytes = 23 << 30, 24 << 30
    one, two, three, four, five = snapshot.endpoints[:5]
    one.status, one.last_error = STATUS_UNHEALTHY, "connection refused\x1b[2J"
    two.status = STATUS_UNKNOWN
    three.admin_state = ADMIN_STATE_DRAINING
    four.admin_state = ADMIN_STATE_DISABLED
    snapshot.resources[five.agent_id].Clear()
    for name in ("llama3.1:8b", "phi4:14b"):
        snapshot.fleet_models[name] = count
    return snapshot


def drawn(picture: Picture, width: int, height: int = 24, *, colour: bool = False) -> list[str]:
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=colour, color_system="truecolor" if colour else None
    )
    console.print(render(picture, width, height))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_the_picture_fits_the_terminal(width: int) -> None:
    for height in (8, 24):
        lines = drawn(Picture("hub.lan:50051", NOW, fleet(40)), width, height)
        assert max(cell_len(line) for line in lines) <= width
        assert len(lines) <= height


def test_at_80_columns_it_has_the_figures_without_bars() -> None:
    info = GetServerInfoResponse(version="0.1.0")
    info.started_at.FromMilliseconds(NOW - 7_500_000)
    lines = drawn(Picture("hub.lan:50051", NOW, fleet(), info), 80)
    assert "hub.lan:50051  0.1.0  up 2 h 5 min" in lines[0]
    assert "6 endpoints  ● 2 healthy  ● 1 unhealthy  ● 1 unknown  ◐ 1 draining  ○ 1 dis" in lines[1]
    assert "llama3.1:8b \N{MULTIPLICATION SIGN}6 4 loaded" in lines[2]
    row = next(line for line in lines if "gpu-006" in line)
    assert re.search(r"ollama +llama3\.1:8b 4 min +5 % +75 % +96 %$", row)
    assert "█" not in "".join(lines)


def test_a_server_whose_probe_fails_is_neither_healthy_nor_has_it_models_loaded() -> None:
    snapshot = fleet()
    failing = snapshot.endpoints[5]
    failing.last_error = "connection refused"
    lines = drawn(Picture("hub.lan:50051", NOW, snapshot), 120)
    assert "● 1 healthy  ▲ 1 failing  ● 1 unhealthy" in lines[1]
    assert "llama3.1:8b \N{MULTIPLICATION SIGN}6 3 loaded" in lines[2]
    row = next(line for line in lines if "gpu-006" in line)
    assert row.startswith("▲")
    assert "connection refused" in row
    assert row.endswith("-"), "no latency stands beside a failure"


def test_the_state_of_models_that_a_backend_does_not_report_is_unknown() -> None:
    snapshot = fleet()
    for model in snapshot.endpoints[5].models:
        model.state = MODEL_STATE_UNSPECIFIED
    row = next(line for line in drawn(Picture("h:1", NOW, snapshot), 120) if "gpu-006" in line)
    assert "unknown, of 2" in row


def test_at_120_columns_it_has_bars_addresses_and_latencies() -> None:
    lines = drawn(Picture("hub.lan:50051", NOW, fleet()), 120)
    row = next(line for line in lines if "gpu-006" in line)
    assert "10.0.0.6:11434" in row
    assert row.endswith("4.2 ms")
    assert "█████" in row
    unknown = next(line for line in lines if "gpu-005" in line)
    assert unknown.count("·······     ?") == 3


def test_trouble_comes_first_and_cannot_move_the_cursor() -> None:
    lines = drawn(Picture("h:1", NOW, fleet()), 100)
    rows = [line for line in lines if "gpu-" in line]
    assert "connection refused\\x1b[2J" in rows[0]
    assert "not probed yet" in rows[1]
    assert "draining" in rows[2]
    assert "disabled" in rows[-1]
    assert not any("\x1b" in line for line in lines)


def test_the_order_can_be_changed() -> None:
    def names(order: Order) -> list[str]:
        lines = drawn(Picture("h:1", NOW, fleet(), order=order), 100)
        return re.findall(r"gpu-\d+", "\n".join(lines))

    assert names(Order.NAME) == [f"gpu-{n:03}" for n in range(1, 7)]
    assert names(Order.CPU)[0] == "gpu-006"
    assert names(Order.CPU)[-1] == "gpu-005"
    assert Order.VRAM.next() is Order.STATE


def test_hidden_rows_can_be_scrolled_to() -> None:
    shown = rows_that_fit(20)
    picture = Picture("h:1", NOW, fleet(40), order=Order.NAME)
    lines = drawn(picture, 100, 20)
    assert f"{40 - shown} more" in lines[-1]
    end = drawn(Picture("h:1", NOW, fleet(40), order=Order.NAME, offset=10_000), 100, 20)
    assert any("gpu-040" in line for line in end)
    assert not any("gpu-001" in line for line in end)


def test_an_empty_fleet_says_what_to_do() -> None:
    assert any("llm-hub register HOST" in line for line in drawn(Picture("h:1", NOW), 80))


def test_an_unreachable_hub_is_shown_as_such() -> None:
    picture = Picture("h:1", NOW, fleet(), trouble="no hub answers at h:1")
    lines = drawn(picture, 80)
    assert lines[0].endswith("no hub answers at h:1")
    assert any("gpu-006" in line for line in lines)


def test_colours_are_used_only_if_the_console_has_them() -> None:
    assert "\x1b[" not in "".join(drawn(Picture("h:1", NOW, fleet()), 120))
    assert "\x1b[" in "".join(drawn(Picture("h:1", NOW, fleet()), 120, colour=True))


def test_an_endpoint_without_known_facts_still_has_a_row() -> None:
    snapshot = Snapshot(endpoints=[Endpoint(id="a:1", name="a:1")])
    assert any("a:1" in line for line in drawn(Picture("h:1", NOW, snapshot), 80))


def test_a_picture_that_reacts_to_no_key_names_none() -> None:
    console = Console(file=io.StringIO(), width=80, height=24)
    with console.capture() as shown:
        console.print(render(Picture("hub", NOW, fleet()), 80, 24, with_keys=False))
    assert " quit" not in shown.get()


def test_one_endpoint_is_singular() -> None:
    counts = drawn(Picture("hub", NOW, fleet(5)), 80)[1]
    assert counts.startswith("    5 endpoints  ")
    snapshot = Snapshot()
    snapshot.endpoints.add(id="a:1", name="a")
    assert drawn(Picture("hub", NOW, snapshot), 80)[1].startswith("    1 endpoint   ")
