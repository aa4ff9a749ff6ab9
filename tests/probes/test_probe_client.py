import asyncio
import contextlib
import gc
import gzip
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from hub.base.settings import ProbeSettings
from hub.probes.asker import ProbeTarget
from hub.probes.bounded_response import BoundedResponse
from hub.probes.faults import (
    BadAnswer,
    NeedsApiKey,
    NotReady,
    ProbeError,
    Refused,
    Unreachable,
    WrongKind,
)
from hub.probes.probe_client import ProbeClient, SharedAsker
from hub.probes.probe_connection import ProbeConnection
from tools.fleetsim import Behaviour, FakeOllama, Fleet, Reply, Request

DEFAULTS = ProbeSettings()
LOOPBACK = ip_network("127.0.0.0/8")
FAST = ProbeSettings(connect_timeout_s=0.5, total_timeout_s=0.5)


@contextlib.asynccontextmanager
async def asking(
    target: ProbeTarget, settings: ProbeSettings = DEFAULTS
) -> AsyncIterator[SharedAsker]:
    client = ProbeClient(settings)
    await client.open()
    try:
        yield client.to(target)
    finally:
        await client.close()


def at(host: str, port: int, scheme: str = "http", base_path: str = "") -> ProbeTarget:
    return ProbeTarget(f"{host}:{port}", scheme, host, port, base_path=base_path)


async def fault(target: ProbeTarget, settings: ProbeSettings = DEFAULTS) -> ProbeError:
    async with asking(target, settings) as ask:
        with pytest.raises(ProbeError) as caught:
            (await ask.get("/api/tags")).json()
    return caught.value


class Fixed:
    """Answers every request in the same way."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply

    def answer(self, request: Request) -> Reply:
        return self.reply


async def test_an_answer_has_json_and_its_latency(fleet: Fleet):
    server = await fleet.add(FakeOllama("a:latest"))
    async with asking(at(server.host, server.port)) as ask:
        assert ask.first_answer_ms is None
        value = (await ask.get("/api/version")).json()
        first = ask.first_answer_ms
        await ask.get("/api/tags")
    assert value == {"version": "0.12.6"}
    assert first is not None
    assert 0 < first < 5000
    assert ask.first_answer_ms == first


async def test_one_connection_serves_all_requests_of_an_endpoint(fleet: Fleet):
    server = await fleet.add(FakeOllama("a:latest"))
    async with asking(at(server.host, server.port)) as ask:
        for _ in range(5):
            await ask.get("/api/tags")
    assert (server.requests, server.connections) == (5, 1)


async def test_the_key_base_path_query_and_headers_are_sent(fleet: Fleet):
    server = await fleet.add(Fixed(Reply(body=b"{}")))
    target = ProbeTarget(
        "x", "http", server.host, server.port, base_path="/gpu/1", api_key="s3cret"
    )
    async with asking(target) as ask:
        await ask.get("/slots", {"model": "a/b c&d"})
    (request,) = server.recent
    assert request.path == "/gpu/1/slots"
    assert request.query == {"model": "a/b c&d"}
    assert request.headers["authorization"] == "Bearer s3cret"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"] == "llm-registry-hub"
    assert "s3cret" not in repr(target)


async def test_proxy_settings_of_the_environment_are_ignored(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server = await fleet.add(FakeOllama())
    async with asking(at(server.host, server.port)) as ask:
        assert (await ask.get("/api/version")).ok


@pytest.mark.parametrize(
    ("behaviour", "kind", "sentence"),
    [
        (Behaviour.REFUSED, Unreachable, "connection refused"),
        (Behaviour.HALF_OPEN, Unreachable, "connection reset"),
        (Behaviour.DROP, Unreachable, "broke off in the middle of its answer to /api/tags"),
        (Behaviour.MALFORMED, BadAnswer, "answered malformed data, not JSON, to /api/tags"),
        (Behaviour.HTML, BadAnswer, "answered HTML, not JSON, to /api/tags"),
        (Behaviour.HANGING, Unreachable, "no answer to /api/tags within 0.5 s"),
        (Behaviour.DRIP, Unreachable, "no answer to /api/tags within 0.5 s"),
    ],
)
async def test_every_misbehaviour_gives_a_clear_error(
    fleet: Fleet, behaviour: Behaviour, kind: type[ProbeError], sentence: str
):
    server = await fleet.add(FakeOllama("a:latest"), behaviour)
    error = await fault(at(server.host, server.port), FAST)
    assert type(error) is kind
    assert str(error) == sentence
    assert error.answered is (kind is not Unreachable)


@pytest.fixture
def uncollected() -> Iterator[Callable[[], list[object]]]:
    """The objects that only the garbage collector would find; it is off meanwhile."""
    gc.collect()
    gc.disable()

    def found() -> list[object]:
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        return gc.garbage[:]

    yield found
    gc.garbage.clear()
    gc.enable()


@pytest.mark.parametrize("behaviour", [Behaviour.REFUSED, Behaviour.HALF_OPEN, Behaviour.HANGING])
async def test_a_failed_probe_leaves_nothing_to_the_garbage_collector(
    fleet: Fleet, uncollected: Callable[[], list[object]], behaviour: Behaviour
):
    server = await fleet.add(FakeOllama("a:latest"), behaviour)
    client = ProbeClient(FAST)
    await client.open()
    for _ in range(3):
        with contextlib.suppress(ProbeError):
            await client.to(at(server.host, server.port)).get("/api/tags")
    left = uncollected()
    await client.close()
    assert [
        each for each in left if isinstance(each, SharedAsker | BoundedResponse | ProbeConnection)
    ] == []


async def test_an_oversized_answer_stops_at_the_limit(fleet: Fleet):
    server = await fleet.add(FakeOllama(), Behaviour.OVERSIZED)
    error = await fault(at(server.host, server.port), ProbeSettings(max_body_bytes=100_000))
    assert str(error) == "answered more than 100,000 bytes to /api/tags"
    await server.wait_until(lambda: server.open_connections == 0)


async def test_a_body_whose_announced_length_exceeds_the_limit_is_not_read(fleet: Fleet):
    server = await fleet.add(Fixed(Reply(body=b"[" + b"1," * 60_000 + b"1]")))
    error = await fault(at(server.host, server.port), ProbeSettings(max_body_bytes=100_000))
    assert str(error) == "answered more than 100,000 bytes to /api/tags"


async def test_a_large_answer_within_the_limit_is_read_whole(fleet: Fleet):
    server = await fleet.add(Fixed(Reply(body=b"[" + b"1," * 1_000_000 + b"1]")))
    async with asking(at(server.host, server.port)) as ask:
        assert len((await ask.get("/x")).body) == 2_000_003


async def test_a_compressed_answer_is_refused_without_reading_it(fleet: Fleet):
    bomb = gzip.compress(b" " * 10_000_000)
    server = await fleet.add(Fixed(Reply(body=bomb, headers=(("Content-Encoding", "gzip"),))))
    error = await fault(at(server.host, server.port))
    assert str(error) == "compressed its answer to /api/tags (gzip)"


async def test_a_redirect_is_not_followed(fleet: Fleet):
    server = await fleet.add(FakeOllama(), Behaviour.REDIRECT)
    error = await fault(at(server.host, server.port))
    assert isinstance(error, BadAnswer)
    assert str(error) == (
        f"answered a redirect (302 to http://{server.id}/elsewhere/api/tags) to /api/tags; "
        "redirects are not followed"
    )
    assert server.paths == ["/api/tags"]


@pytest.mark.parametrize(
    ("reply", "kind", "sentence"),
    [
        (Reply(401, b"{}"), NeedsApiKey, "needs an API key (401 to /api/tags)"),
        (Reply(403, b"no"), NeedsApiKey, "needs an API key (403 to /api/tags)"),
        (
            Reply(503, b'{"error":{"message":"Loading model"}}'),
            NotReady,
            "is not ready (503 to /api/tags): Loading model",
        ),
        (
            Reply(404, b'{"detail":"Not Found"}'),
            WrongKind,
            "does not know /api/tags (404): Not Found",
        ),
        (
            Reply(500, b"out of \x1b[31mmemory\n", "text/plain"),
            Refused,
            "answered 500 to /api/tags: out of  [31mmemory",
        ),
        (Reply(200, b""), BadAnswer, "answered nothing, not JSON, to /api/tags"),
        (Reply(200, b"hi", "text/plain"), BadAnswer, "answered text, not JSON, to /api/tags"),
        (Reply(200, b"[" * 5000), BadAnswer, "answered malformed data, not JSON, to /api/tags"),
    ],
)
async def test_every_status_is_distinguished(
    fleet: Fleet, reply: Reply, kind: type[ProbeError], sentence: str
):
    server = await fleet.add(Fixed(reply))
    error = await fault(at(server.host, server.port))
    assert type(error) is kind
    assert str(error) == sentence


async def test_a_refused_key_is_not_reported_as_missing(fleet: Fleet):
    server = await fleet.add(FakeOllama(), api_key="new")
    target = ProbeTarget(server.id, "http", server.host, server.port, api_key="old")
    error = await fault(target)
    assert isinstance(error, NeedsApiKey)
    assert str(error) == (
        "refuses the registered API key (401 to /api/tags); it may have been replaced on the server"
    )
    assert "old" not in str(error)


async def test_a_request_with_a_body_is_posted_as_json(fleet: Fleet):
    server = await fleet.add(FakeOllama("a"))
    async with asking(at(server.host, server.port, base_path="")) as ask:
        answer = await ask.post("/api/show", {"model": "a"})
        assert ask.asking == "POST /api/show"
    assert answer.ok
    (request,) = server.recent
    assert (request.method, request.body) == ("POST", b'{"model": "a"}')


async def test_a_new_connection_is_noticed(fleet: Fleet):
    server = await fleet.add(FakeOllama("a"))
    client = ProbeClient(DEFAULTS)
    await client.open()
    noticed = []
    for has_been_cut in (False, False, True):
        if has_been_cut:
            fleet.cut(server)
        ask = client.to(at(server.host, server.port))
        await ask.get("/api/version")
        await ask.get("/api/version")
        noticed.append(ask.has_connected)
    await client.close()
    assert noticed == [True, False, True]


async def test_a_server_that_does_not_speak_http_is_reported():
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        error = await fault(at(*server.sockets[0].getsockname()))
    assert str(error) == "did not answer in HTTP to /api/tags"


async def test_a_forbidden_literal_address_is_not_connected_to():
    error = await fault(at("169.254.169.254", 80))
    assert str(error) == "address 169.254.169.254 may not be probed: it is link-local"


async def test_a_name_that_resolves_to_a_forbidden_address_is_not_connected_to(fleet: Fleet):
    server = await fleet.add(FakeOllama())
    settings = ProbeSettings(deny=(LOOPBACK, ip_network("::1/128")))
    error = await fault(at("localhost", server.port), settings)
    assert "may not be probed: it is in probes.deny" in str(error)
    assert server.connections == 0


async def test_a_name_that_resolves_to_an_allowed_address_is_used(fleet: Fleet):
    server = await fleet.add(FakeOllama())
    async with asking(at("localhost", server.port)) as ask:
        assert (await ask.get("/api/version")).ok


async def test_a_name_that_does_not_resolve_is_reported():
    error = await fault(at("no-such-host.invalid", 80))
    assert str(error) == "host name no-such-host.invalid does not resolve"


async def test_ipv6_addresses_are_used():
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with Fleet() as fleet:
        try:
            server = await fleet.add(FakeOllama(), host="::1")
        except OSError:
            pytest.skip("no IPv6 loopback here")
        async with asking(at("::1", server.port)) as ask:
            assert (await ask.get("/api/version")).ok


async def test_plain_http_behind_an_https_address_is_reported(fleet: Fleet):
    server = await fleet.add(Fixed(Reply(400)))
    error = await fault(at(server.host, server.port, "https"), FAST)
    assert isinstance(error, Unreachable)


async def test_an_untrusted_certificate_is_named(tmp_path: Path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "2"]
    try:
        await asyncio.to_thread(
            subprocess.run, [*command, "-subj", "/CN=localhost"], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0, ssl=context)
    async with server:
        error = await fault(at(*server.sockets[0].getsockname(), "https"))
    assert str(error).startswith("TLS certificate is not trusted: self")


async def test_a_new_policy_applies_to_open_connections() -> None:
    async with Fleet() as fleet:
        server = await fleet.add(FakeOllama("a:1"))
        target = ProbeTarget(id=server.id, scheme="http", host=server.host, port=server.port)
        client = ProbeClient(DEFAULTS)
        await client.open()
        try:
            ask = client.to(target)
            assert (await ask.get("/api/version")).ok
            await client.set_policy((), (LOOPBACK,))
            with pytest.raises(Unreachable, match=r"is in probes\.deny"):
                await ask.get("/api/version")
            await client.set_policy((LOOPBACK,), ())
            assert (await ask.get("/api/version")).ok
        finally:
            await client.close()
        await server.wait_until(lambda: server.open_connections == 0)


async def test_the_address_that_answered_is_known_on_a_kept_connection_too(fleet: Fleet):
    server = await fleet.add(FakeOllama("m"))
    async with asking(at("localhost", server.port)) as first:
        assert first.address == ""
        await first.get("/api/tags")
        assert (first.address, first.has_connected) == ("127.0.0.1", True)
        second = first._client.to(at("localhost", server.port))
        await second.get("/api/tags")
        assert (second.address, second.has_connected) == ("127.0.0.1", False)
