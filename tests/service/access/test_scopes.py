from pathlib import Path

import pytest

from hub.base.address import parse_endpoint_url
from hub.contract.errors import ScopeForbidden, ValidationFailed
from hub.contract.rpcs import RPCS, rpc
from hub.registry.views import View
from hub.service import operations
from hub.service.access.scopes import NAMES, Scope, check, compiled
from llmhub.v1.resources_pb2 import ROLE_ADMIN, TokenScope


def refused(scope: Scope, called) -> str:
    """The limit that the error names; "" if the call is allowed."""
    try:
        scope.require(called)
    except ScopeForbidden as error:
        return error.metadata["scope"]
    return ""


def test_a_scope_of_calls():
    scope = compiled(TokenScope(rpcs=["GetEndpoint", "GetMetrics"]))
    allowed = {each.name for each in RPCS if not refused(scope, each)}
    assert allowed == {"GetEndpoint", "Connect"}
    allowed = {each.name for each in operations.OPERATIONS if not refused(scope, each)}
    assert allowed == {"GetEndpointJson", "GetMetrics"}


def test_a_read_only_admin():
    scope = compiled(TokenScope(read_only=True))
    allowed = {each.name for each in RPCS if each.role == ROLE_ADMIN and not refused(scope, each)}
    assert allowed == {"GetServerInfo", "ListAuditEvents", "ListSidecars", "ListTokens"}
    assert not refused(scope, rpc("SelectEndpoint"))
    assert refused(scope, operations.COPY_STORE) == "read_only"


@pytest.mark.parametrize("scope", [Scope(), Scope(rpcs=frozenset({"CreateToken"}))])
def test_no_token_with_a_scope_creates_tokens(scope):
    assert refused(scope, rpc("CreateToken")) == "create_token"


@pytest.mark.parametrize(
    ("place", "address", "included"),
    [
        ("10.1.0.0/16", "10.1.2.3", True),
        ("10.1.0.0/16", "10.2.2.3", False),
        ("10.1.0.0/16", "fd00::1", False),
        ("10.1.0.0/16", "gpu-1", False),
        ("10.1.2.3", "10.1.2.3:9", True),
        ("10.1.2.3:9", "10.1.2.3:9", True),
        ("10.1.2.3:9", "10.1.2.3:10", False),
        ("GPU-1.lan", "gpu-1.lan.", True),
        ("gpu-1.lan:80", "http://gpu-1.lan", True),
        ("gpu-1.lan", "gpu-10.lan", False),
        ("fd00::/8", "[fd00::1]:9", True),
        ("127.0.0.1", "localhost", True),
        ("localhost:9", "[::1]:9", True),
    ],
)
def test_the_addresses_of_a_sidecar(place, address, included):
    scope = compiled(TokenScope(addresses=[place]))
    reported = parse_endpoint_url(address)
    if included:
        scope.require_address(reported)
    else:
        with pytest.raises(ScopeForbidden, match="does not include the address") as error:
            scope.require_address(reported)
        assert error.value.metadata == {"scope": "addresses"}


def test_a_scope_without_addresses_limits_none():
    Scope().require_address(parse_endpoint_url("10.1.2.3"))


@pytest.mark.parametrize(
    ("scope", "field"),
    [
        (TokenScope(rpcs=["GetSnapshot", "Nonsense"]), "scope.rpcs"),
        (TokenScope(rpcs=["CreateToken"]), "scope.rpcs"),
        (TokenScope(addresses=["10.0.0.1", "10.0.0.0/99"]), "scope.addresses[1]"),
        (TokenScope(addresses=["http://"]), "scope.addresses[0]"),
    ],
)
def test_what_no_new_token_can_have(scope, field):
    with pytest.raises(ValidationFailed) as error:
        check(scope)
    assert [violation.field for violation in error.value.violations] == [field]


def test_a_call_that_only_a_newer_hub_knows_allows_nothing_more():
    scope = compiled(TokenScope(rpcs=["NewerCall"]))
    assert {refused(scope, each) for each in RPCS if each.name != "Connect"} == {
        "rpcs",
        "create_token",
    }


def test_the_view_of_a_scope():
    scope = compiled(TokenScope(labels={"a": "b"}, models=["m"]))
    assert scope.view == View(frozenset({("a", "b")}), frozenset({"m"}))
    assert not compiled(TokenScope(rpcs=["Ping"])).view


def test_a_scope_can_name_every_call_that_needs_a_role():
    assert {"SelectEndpoint", "ReportEndpoint", "GetMetrics", "CopyStore"} <= NAMES
    only_http = {name for name in NAMES if name not in {each.name for each in RPCS}}
    protocol = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
    assert {name for name in only_http if f"`{name}`" not in protocol} == set()
    assert not NAMES & {"CreateToken", "ShowCaller", "GetSnapshotJson"}
