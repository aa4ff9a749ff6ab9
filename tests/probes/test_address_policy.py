from collections.abc import Sequence
from ipaddress import ip_network

import pytest

from hub.contract.errors import TargetForbidden
from hub.probes.address_policy import AddressPolicy, ForbiddenAddress


def policy_of(allow: Sequence[str] = (), deny: Sequence[str] = ()) -> AddressPolicy:
    return AddressPolicy(map(ip_network, allow), map(ip_network, deny))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("169.254.169.254", "link-local"),
        ("169.254.0.1", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("2002:a9fe:a9fe::1", "link-local"),
        ("64:ff9b::169.254.169.254", "link-local"),
        ("::169.254.169.254", "link-local"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("::", "unspecified"),
        ("::ffff:0.0.0.0", "unspecified"),
        ("255.255.255.255", "broadcast"),
        ("::ffff:0:169.254.169.254", "link-local"),
        ("2001:0:a9fe:a9fe::f5ff:fffe", "link-local"),
        ("2001:0:808:808::5601:5601", "link-local"),
        ("2001:db8::5efe:169.254.169.254", "link-local"),
        ("2001:db8::200:5efe:169.254.169.254", "link-local"),
        ("64:ff9b:1::1", "local-use NAT64"),
        ("64:ff9b:1:a9fe:a9:fe00::", "local-use NAT64"),
        ("fd00:ec2::23", "metadata"),
        ("fd00:ec2::253", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("100.100.100.200", "metadata"),
        ("168.63.129.16", "metadata"),
        ("::ffff:100.100.100.200", "metadata"),
        ("not-an-address", "not a numeric address"),
    ],
)
def test_some_addresses_are_never_probed_even_if_allowed(address, reason):
    policy = policy_of(allow=["0.0.0.0/0", "::/0"])
    assert reason in policy.refusal(address)
    with pytest.raises(ForbiddenAddress, match="may not be probed"):
        policy.require(address)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.1.2.3", "192.168.1.9", "8.8.8.8", "fd00::1", "2001:db8::1"]
)
def test_loopback_private_and_public_addresses_are_probed_by_default(address):
    assert AddressPolicy().refusal(address) == ""


def test_deny_wins_over_allow():
    policy = policy_of(allow=["10.0.0.0/8"], deny=["10.9.0.0/16"])
    assert policy.refusal("10.1.2.3") == ""
    assert policy.refusal("10.9.2.3") == "is in probes.deny"
    assert policy.refusal("192.168.0.1") == "is not in probes.allow"


def test_an_ipv4_block_applies_to_mapped_addresses_too():
    assert policy_of(deny=["10.0.0.0/8"]).refusal("::ffff:10.0.0.1") == "is in probes.deny"
    assert policy_of(allow=["10.0.0.0/8"]).refusal("::ffff:10.0.0.1") == ""


@pytest.mark.parametrize(
    "address",
    [
        "::10.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:0:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:a00:1::1",
        "2001:db8::5efe:10.0.0.1",
        "2001:0:a00:1::f5ff:fffe",
    ],
)
def test_an_address_that_contains_an_ipv4_address_is_judged_by_it(address):
    policy = AddressPolicy()
    assert policy.refusal(address) == ""
    assert policy_of(deny=["10.0.0.0/8"]).refusal(address) == "is in probes.deny"
    assert policy_of(allow=["10.0.0.0/8"]).refusal(address) == ""
    assert policy_of(allow=["::/0"]).refusal(address) == "is not in probes.allow"


def test_both_addresses_of_teredo_must_be_allowed():
    policy = policy_of(allow=["10.0.0.0/8"])
    assert policy.refusal("2001:0:808:808::f5ff:fffe") == "is not in probes.allow"
    assert policy.refusal("2001:0:a00:1::f7f7:f7f7") == "is not in probes.allow"


def test_a_forbidden_ip_address_is_refused_at_registration_but_a_name_later():
    policy = AddressPolicy()
    with pytest.raises(TargetForbidden, match="link-local") as caught:
        policy.require_host("169.254.169.254")
    assert caught.value.metadata == {"host": "169.254.169.254"}
    policy.require_host("metadata.google.internal")
    policy.require_host("127.0.0.1")
