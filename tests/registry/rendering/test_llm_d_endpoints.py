import ipaddress

import yaml

from hub.registry.rendering.llm_d_endpoints import llm_d_endpoints
from tests.support.routable import endpoint, fleet_of, mixed_fleet, model


def test_only_what_the_plugin_accepts_is_listed() -> None:
    text = llm_d_endpoints(mixed_fleet())
    (only,) = yaml.safe_load(text)["endpoints"]
    assert only == {"name": "127-0-0-1-8001", "address": "127.0.0.1", "port": "8001"}
    for left_out in ("http://127.0.0.1:8002/gpu", "http://[::1]:8003", "https://localhost:8004"):
        assert f"# Left out, not http://IPV4:PORT: {left_out}\n" in text


def test_each_entry_has_the_types_of_the_plugins_schema() -> None:
    endpoints = [
        endpoint(f"127.0.0.{n}:8000", model("m"), labels={"zone": "a: b"}) for n in range(1, 4)
    ]
    entries = yaml.safe_load(llm_d_endpoints(fleet_of(*endpoints)))["endpoints"]
    assert len({each["name"] for each in entries}) == 3
    for each in entries:
        ipaddress.IPv4Address(each["address"])
        assert each["port"] == "8000"
        assert each["labels"] == {"zone": "a: b"}


def test_an_empty_fleet_is_an_empty_list() -> None:
    assert yaml.safe_load(llm_d_endpoints(fleet_of())) == {"endpoints": []}
