import pytest

from hub.cli.output.endpoint_grid import endpoint_grid
from hub.cli.output.grids import print_grids
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DRAINING,
    BACKEND_VLLM,
    BREAKER_STATE_CLOSED,
    BREAKER_STATE_OPEN,
    FAULT_DEAD,
    FAULT_UNREACHABLE,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_UNSPECIFIED,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    STATUS_UNKNOWN,
    Endpoint,
    EndpointLoad,
    Flapping,
    Model,
    ModelState,
)


def row(endpoint: Endpoint) -> dict[str, str]:
    grid = endpoint_grid([endpoint])
    return dict(zip(grid.headings, grid.rows[0], strict=True))


def test_a_row_shows_models_load_and_state() -> None:
    endpoint = Endpoint(
        id="h:1",
        name="one",
        backend=BACKEND_VLLM,
        status=STATUS_HEALTHY,
        admin_state=ADMIN_STATE_DRAINING,
        load=EndpointLoad(running=2, slots=4, waiting=1, kv_cache_used_ratio=0.5),
        models=[
            Model(name=f"m{number}", state=MODEL_STATE_LOADED, context_length=8192)
            for number in range(5)
        ],
    )
    endpoint.last_checked_at.FromMilliseconds(1_800_000_000_123)
    assert row(endpoint) == {
        "ID": "h:1",
        "NAME": "one",
        "BACKEND": "vllm",
        "STATUS": "healthy",
        "STATE": "draining",
        "MODELS": "5/5 m0 (8192), m1 (8192), m2 (8192), +2",
        "VERSION": "-",
        "LOAD": "2/4, 1 waiting, cache 50%",
        "CHECKED": "2027-01-15T08:00:00Z",
        "ERROR": "-",
    }


@pytest.mark.parametrize(
    ("state", "fields", "shown"),
    [
        (MODEL_STATE_LOADED, {}, "1/1 m"),
        (MODEL_STATE_AVAILABLE, {}, "0/1"),
        (MODEL_STATE_UNSPECIFIED, {}, "?/1"),
        (MODEL_STATE_LOADED, {"last_error": "connection refused"}, "?/1"),
        (MODEL_STATE_LOADED, {"status": STATUS_UNHEALTHY}, "?/1"),
        (MODEL_STATE_LOADED, {"status": STATUS_UNKNOWN}, "?/1"),
    ],
)
def test_loaded_models_are_counted_only_if_they_are_known(
    state: ModelState, fields: dict[str, object], shown: str
) -> None:
    values = {"id": "h:1", "status": STATUS_HEALTHY, "models": [Model(name="m", state=state)]}
    assert row(Endpoint(**(values | fields)))["MODELS"] == shown


def test_before_the_first_answer_no_models_are_known() -> None:
    assert row(Endpoint(id="h:1"))["MODELS"] == "-"
    assert row(Endpoint(id="h:1", status=STATUS_HEALTHY))["MODELS"] == "0/0"


def test_an_error_says_whether_the_sidecar_reaches_the_server() -> None:
    endpoint = Endpoint(id="h:1", last_error="refused", fault=FAULT_DEAD)
    assert row(endpoint)["ERROR"] == "refused (its sidecar cannot reach it either)"
    endpoint.fault = FAULT_UNREACHABLE
    assert row(endpoint)["ERROR"] == "refused (but its sidecar can reach it)"
    endpoint.flapping.CopyFrom(Flapping(reason="5 changes"))
    assert row(endpoint)["ERROR"].startswith("flapping: 5 changes; refused")
    endpoint.provenance.status.restored = True
    assert row(endpoint)["ERROR"].startswith("restored: not probed since the hub started; flapping")


def test_a_servers_text_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    print_grids(endpoint_grid([Endpoint(id="h:1", last_error="x\x1b[2J\ty\nz\x9b1m")]))
    shown = capsys.readouterr().out
    assert shown.splitlines()[1].split("\t")[-1] == r"x\x1b[2J\ty\nz\x9b1m"


def test_another_address_of_a_server_is_named() -> None:
    endpoint = Endpoint(id="localhost:1", same_server_as="127.0.0.1:1")
    assert row(endpoint)["ERROR"] == "same server as 127.0.0.1:1"
    endpoint.last_error = "refused"
    assert row(endpoint)["ERROR"] == "same server as 127.0.0.1:1; refused"


def test_an_open_breaker_is_an_error() -> None:
    endpoint = Endpoint(id="h:1", status=STATUS_HEALTHY)
    endpoint.outcomes.add(model="well", breaker=BREAKER_STATE_CLOSED)
    endpoint.outcomes.add(model="m", breaker=BREAKER_STATE_OPEN, reason="5 requests failed")
    assert row(endpoint)["ERROR"] == "requests for m fail: 5 requests failed"
