import json
from pathlib import Path

import pytest

from llmhub.v1 import endpoint_pb2
from llmhub.v1.resources_pb2 import HostResources
from tests.cli.conftest import Ask
from tests.support.grpc_stand_in import StandIn


def add(hub: StandIn, host: str, **fields: object) -> endpoint_pb2.Endpoint:
    endpoint = endpoint_pb2.Endpoint(id=f"{host}:1", host=host, port=1, name=host, **fields)
    hub.endpoints[endpoint.id] = endpoint
    return endpoint


def test_register_sends_what_was_given_and_shows_the_endpoint(
    hub: StandIn, ask: Ask, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("sk-123\n")
    done = ask(
        *("register", "https://GPU-1.lan/ollama", "--name", "big one", "--label", "zone=a=b"),
        *("--backend", "llama_cpp", "--agent", "node-1", "--api-key-file", str(key)),
    )
    assert (done.code, done.err) == (0, "")
    [request] = hub.requests
    assert (request.scheme, request.host, request.port) == ("https", "gpu-1.lan", 443)
    assert (request.base_path, request.name) == ("/ollama", "big one")
    assert dict(request.labels) == {"zone": "a=b"}
    assert (request.backend, request.agent_id) == (endpoint_pb2.BACKEND_LLAMA_CPP, "node-1")
    assert request.api_key == "sk-123"
    headings, row = (line.split("\t") for line in done.out.splitlines())
    assert headings[:4] == ["ID", "NAME", "BACKEND", "STATUS"]
    assert row[:4] == ["gpu-1.lan:443", "big one", "llama_cpp", "unknown"]


def test_register_keeps_the_key_unless_told(hub: StandIn, ask: Ask) -> None:
    assert ask("register", "gpu-1").code == 0
    assert ask("register", "gpu-1", "--api-key-stdin", stdin="").code == 0
    assert ask("register", "gpu-1", "--api-key-stdin", stdin="sk-9\r\n").code == 0
    kept, cleared, changed = hub.requests
    assert not kept.HasField("api_key")
    assert cleared.HasField("api_key")
    assert (cleared.api_key, changed.api_key) == ("", "sk-9")
    assert kept.port == 11434


def test_register_in_json_is_the_http_doors_endpoint(ask: Ask) -> None:
    done = ask("register", "[::1]:8000", "--output", "json")
    endpoint = json.loads(done.out)
    assert (endpoint["host"], endpoint["port"], endpoint["status"]) == ("::1", 8000, "unknown")
    assert endpoint["registered_at"] is None


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("register", "ftp://x"), "the scheme is 'ftp', not http or https"),
        (("register", "gpu-1", "--label", "zone"), "'zone' is not KEY=VALUE"),
        (("register", "gpu-1", "--backend", "nope"), "'nope' is not one of"),
        (("register", "gpu-1", "--api-key-file", "/none/x"), "/none/x: cannot be read"),
        (("register", "gpu-1", "--api-key-file", "x", "--api-key-stdin"), "not both"),
        (("remove", "::1:x"), "write an IPv6 host in brackets"),
        (("endpoints", "--status", "fine"), "'fine' is not one of"),
    ],
)
def test_bad_arguments_reach_no_hub(
    hub: StandIn, ask: Ask, arguments: tuple[str, ...], complaint: str
) -> None:
    done = ask(*arguments)
    assert (done.code, done.out, hub.requests) == (2, "", [])
    assert complaint in done.err
    assert done.err.count("\n") == 1


def test_endpoints_reads_all_pages_and_passes_the_filters(hub: StandIn, ask: Ask) -> None:
    for host in "abcde":
        add(hub, host, status=endpoint_pb2.STATUS_HEALTHY)
    add(hub, "f", status=endpoint_pb2.STATUS_UNHEALTHY)
    done = ask("endpoints", "--status", "healthy", "--model", "m:1", "--label", "zone=a")
    assert [line.split("\t")[0] for line in done.out.splitlines()[1:]] == [
        f"{host}:1" for host in "abcde"
    ]
    assert len(hub.requests) == 3
    for request in hub.requests:
        assert (request.model, dict(request.labels)) == ("m:1", {"zone": "a"})
        assert request.status == endpoint_pb2.STATUS_HEALTHY
    document = json.loads(ask("endpoints", "-o", "json").out)
    assert [each["id"] for each in document["endpoints"]] == [f"{host}:1" for host in "abcdef"]


def test_a_servers_words_cannot_move_the_cursor(hub: StandIn, ask: Ask) -> None:
    add(hub, "a", last_error="x\x1b[2J\ty\nz\x9b1m")
    done = ask("endpoints")
    assert done.out.splitlines()[1].split("\t")[-1] == r"x\x1b[2J\ty\nz\x9b1m"


def test_snapshot_shows_endpoints_hosts_and_models(hub: StandIn, ask: Ask) -> None:
    loaded = endpoint_pb2.Model(name="llama3:8b", state=endpoint_pb2.MODEL_STATE_LOADED)
    on_disk = endpoint_pb2.Model(name="qwen3:4b", state=endpoint_pb2.MODEL_STATE_AVAILABLE)
    add(hub, "a", status=endpoint_pb2.STATUS_HEALTHY, models=[loaded, on_disk])
    add(hub, "b", models=[on_disk])
    host = HostResources(agent_id="node-1", cpu_percent=12.4, ram_used_bytes=2**31)
    host.reported_at.FromMilliseconds(1_800_000_000_123)
    hub.resources["node-1"] = host
    endpoints, hosts, models = ask("snapshot").out.strip().split("\n\n")
    assert endpoints.splitlines()[1].split("\t")[3:6] == ["healthy", "enabled", "1/2 llama3:8b"]
    assert hosts.splitlines()[1].split("\t") == [
        "node-1",
        "12 %",
        "2.0 GiB of ?",
        "? of ?",
        "2027-01-15T08:00:00Z",
    ]
    assert models.splitlines()[1:] == ["llama3:8b\t1", "qwen3:4b\t2"]
    document = json.loads(ask("snapshot", "--output", "json").out)
    assert document["fleet_models"] == {"llama3:8b": 1, "qwen3:4b": 2}
    assert document["resources"]["node-1"]["ram_used_bytes"] == 2**31
    assert document["resources"]["node-1"]["vram_total_bytes"] is None
    assert document["revision"] == 7


def test_remove_takes_what_register_took(hub: StandIn, ask: Ask) -> None:
    ask("register", "http://gpu-1")
    done = ask("remove", "http://gpu-1")
    assert (done.code, done.out) == (0, "removed gpu-1:80\n")
    assert hub.endpoints == {}
    again = ask("remove", "gpu-1:80")
    assert (again.code, again.out) == (5, "")
    assert again.err == "llm-hub: there is no endpoint gpu-1:80 [ENDPOINT_NOT_FOUND]\n"
