from ipaddress import ip_network

import pytest

from hub.service.dispatcher import Dispatcher
from hub.transports.peer import is_trusted, network_of, peer_address
from tests.support.hub import running_hub

TRUSTED = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "seen"),
    [
        ("127.0.0.1", "198.51.100.1, 192.0.2.7", "192.0.2.7"),
        ("::1", "2001:db8::7", "2001:db8::7"),
        ("127.0.0.1", "unknown", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("10.0.0.1", "192.0.2.7", "10.0.0.1"),
        ("unix:", "192.0.2.7", "unix:"),
    ],
)
def test_a_trusted_proxys_last_address_counts(peer, forwarded, seen):
    assert peer_address(peer, TRUSTED, forwarded) == seen
    assert peer_address(peer, (), forwarded) == peer


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::7", "2001:db8:0:1::/64"),
        ("fe80::1%lo", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("unix:", "unix:"),
    ],
)
def test_an_ipv4_address_or_an_ipv6_64_is_one_peer(address, network):
    assert network_of(address) == network


def test_only_configured_networks_are_trusted():
    assert is_trusted("127.0.0.9", TRUSTED)
    assert not is_trusted("fe80::1%lo", TRUSTED)


async def test_grpc_and_http_use_the_forwarded_address_too(tmp_path, monkeypatch):
    seen = []
    dispatch = Dispatcher.dispatch

    def seeing(self, called, credentials, *args, **kwargs):
        reply = dispatch(self, called, credentials, *args, **kwargs)
        # The HTTP transport wraps them, to learn who the caller is.
        given = getattr(credentials, "_credentials", credentials)
        seen.append((given.transport, given.remote_address))
        return reply

    # The transports bind the method when they start.
    monkeypatch.setattr(Dispatcher, "dispatch", seeing)
    async with running_hub(tmp_path, ws={"trusted_proxies": ["127.0.0.1"]}) as hub:
        reported = {"X-Forwarded-For": "192.0.2.1, 192.0.2.7"}
        await hub.http("GET", "/api/models", headers=reported)
        method = hub.channel.unary_unary("/llmhub.v1.RegistryService/ListModels")
        metadata = (*hub.metadata(None), ("x-forwarded-for", "192.0.2.8"))
        await method(b"", metadata=metadata, timeout=10)
        assert seen == [("http", "192.0.2.7"), ("grpc", "192.0.2.8")]
