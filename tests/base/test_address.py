import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hub.base.address import (
    AddressError,
    EndpointAddress,
    endpoint_id,
    join_host_port,
    normalize_host,
    parse_endpoint_url,
    parse_listen_address,
    spellings,
)
from hub.contract.validation import violations
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpu-1", EndpointAddress("http", "gpu-1", 11434)),
        ("gpu-1:8000", EndpointAddress("http", "gpu-1", 8000)),
        ("http://gpu-1", EndpointAddress("http", "gpu-1", 80)),
        ("https://gpu-1", EndpointAddress("https", "gpu-1", 443)),
        ("http://gpu-1:11434/", EndpointAddress("http", "gpu-1", 11434)),
        ("HTTPS://GPU-1.Lan.:8443/ollama/", EndpointAddress("https", "gpu-1.lan", 8443, "/ollama")),
        ("gpu-1/a/b", EndpointAddress("http", "gpu-1", 11434, "/a/b")),
        ("  10.0.0.1  ", EndpointAddress("http", "10.0.0.1", 11434)),
        ("[::1]", EndpointAddress("http", "::1", 11434)),
        ("::1", EndpointAddress("http", "::1", 11434)),
        ("[2001:DB8:0:0::1]:80", EndpointAddress("http", "2001:db8::1", 80)),
        ("http://[::1]", EndpointAddress("http", "::1", 80)),
        ("my_ollama", EndpointAddress("http", "my_ollama", 11434)),
    ],
)
def test_endpoint_url_forms(text: str, expected: EndpointAddress) -> None:
    assert parse_endpoint_url(text) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("http://", "host is missing"),
        (":80", "host is missing"),
        ("ftp://gpu-1", "scheme is 'ftp'"),
        ("gpu-1:0", "from 1 to 65535"),
        ("gpu-1:99999", "from 1 to 65535"),
        ("gpu-1:", "port ''"),
        ("gpu-1:+80", "port"),
        ("gpu-1:٨٠", "port"),  # digits, but not ASCII ones
        ("http://user@gpu-1", "a user"),
        ("http://gpu-1/?x=1", "a query"),
        ("http://gpu-1/#x", "a fragment"),
        ("http://gpu-1/a b", "path"),
        ("http://gpu-1//a", "path"),
        ("[::1", "closing bracket"),
        ("[::1]x", "where a port is expected"),
        ("::1:x:80", "in brackets"),
        ("[fe80::1%eth0]:80", "zone"),
        ("999.1.1.1", "not an IPv4 address"),
        ("1234", "not an IPv4 address"),
        ("a..b", "not a host name"),
        ("-a", "not a host name"),
        ("a b", "not a host name"),
        ("x" * 254, "longer than 253"),
    ],
)
def test_endpoint_url_refusals(text: str, complaint: str) -> None:
    with pytest.raises(AddressError, match=complaint):
        parse_endpoint_url(text)


@pytest.mark.parametrize("text", ["a\n", " a", "", ".", "[a]", "[1.2.3.4]", "a:80", "1.2.3.4.5"])
def test_hosts_are_neither_trimmed_nor_guessed(text: str) -> None:
    with pytest.raises(AddressError):
        normalize_host(text)


def test_ids_have_one_spelling() -> None:
    assert normalize_host("::FFFF:a00:1") == "::ffff:10.0.0.1"
    assert endpoint_id("GPU-1.", 80) == endpoint_id("gpu-1", 80) == "gpu-1:80"
    assert endpoint_id("[::1]", 80) == endpoint_id("0:0::1", 80) == "[::1]:80"
    assert parse_endpoint_url("http://[::1]:9").id == "[::1]:9"


@given(st.ip_addresses(), st.integers(1, 65535))
def test_an_id_reads_back_as_its_address(ip: object, port: int) -> None:
    address = parse_endpoint_url(join_host_port(str(ip), port))
    assert (address.host, address.port) == (normalize_host(str(ip)), port)
    assert address.id == endpoint_id(str(ip), port)


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_an_address_error(text: str) -> None:
    try:
        address = parse_endpoint_url(text)
    except AddressError:
        return
    assert parse_endpoint_url(f"{address.scheme}://{address.id}{address.base_path}") == address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::]:4000", ("::", 4000)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_listen_addresses(text: str, expected: tuple[str, int]) -> None:
    assert parse_listen_address(text) == expected


@pytest.mark.parametrize(
    "text", ["", "4000", ":4000", "localhost", "::1", "::1:80:x", "a:-1", "a:x"]
)
def test_listen_address_refusals(text: str) -> None:
    with pytest.raises(AddressError):
        parse_listen_address(text)


@pytest.mark.parametrize("path", ["/.", "/..", "/a/../b", "/a/.", "/./a", "/a/.."])
def test_a_path_that_clients_would_rewrite_is_refused(path: str) -> None:
    with pytest.raises(AddressError, match="not a valid path of an endpoint"):
        parse_endpoint_url(f"http://h{path}")
    request = RegisterEndpointRequest(host="h", base_path=path)
    (violation,) = violations(request)
    assert (violation.field, violation.error) == ("base_path", "invalid")


@pytest.mark.parametrize("path", ["/...", "/.hidden", "/a.b", "/..a", "/a..", "/.a./b", "/v1"])
def test_dots_inside_a_segment_are_allowed(path: str) -> None:
    assert parse_endpoint_url(f"http://h{path}").base_path == path
    assert violations(RegisterEndpointRequest(host="h", base_path=path)) == []


LOOPBACK = {"127.0.0.1:80", "localhost:80", "[::1]:80", "[::ffff:127.0.0.1]:80"}


@pytest.mark.parametrize("id_", ["LOCALHOST.:80", "127.0.0.1:80", "[0:0::1]:80", "::1:80"])
def test_all_spellings_of_the_loopback_lead_to_each_other(id_: str) -> None:
    found = spellings(id_)
    assert set(found) == LOOPBACK
    assert len(found) == len(LOOPBACK)
    assert found[0] == parse_endpoint_url(f"http://{id_}").id if id_ != "::1:80" else "[::1]:80"


@pytest.mark.parametrize(
    ("id_", "own"),
    [
        ("GPU-1.:80", "gpu-1:80"),
        ("ollama.localhost:80", "ollama.localhost:80"),
        ("127.0.0.2:80", "127.0.0.2:80"),
        ("0.0.0.0:80", "0.0.0.0:80"),
        ("[2001:DB8:0::9]:80", "[2001:db8::9]:80"),
    ],
)
def test_other_addresses_have_only_their_canonical_spelling(id_: str, own: str) -> None:
    assert spellings(id_) == (own,)


@given(st.text(max_size=40))
def test_any_text_has_spellings(text: str) -> None:
    found = spellings(text)
    assert found
    assert text in found or found[0] == parse_endpoint_url(found[0]).id or text == found[0]


@given(
    st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,4}){3}", fullmatch=True) | st.ip_addresses(v=4).map(str)
)
@example("0.0.0.0")
@example("255.255.255.255")
@example("1.2.3.256")
@example("01.2.3.4")
@example("1.2.3")
@example("1.2.3.4.")
def test_an_ipv4_address_is_what_the_standard_library_takes_for_one(text: str) -> None:
    try:
        expected = str(ipaddress.IPv4Address(text.removesuffix(".")))
    except ipaddress.AddressValueError:
        with pytest.raises(AddressError, match="is not an IPv4 address"):
            normalize_host(text)
    else:
        assert normalize_host(text) == expected
