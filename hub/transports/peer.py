"""The address of a connection's peer, which may be a proxy in front of the hub."""

import ipaddress
from collections.abc import Sequence

import structlog

from hub.base.settings import Network

log = structlog.get_logger()


def peer_address(address: str, trusted: Sequence[Network], forwarded: str) -> str:
    """The IP address of the peer, or what it says of its own peer if it is a trusted proxy.

    `forwarded` is the X-Forwarded-For that came with the call, "" for none.
    """
    if is_trusted(address, trusted):
        # The proxy appends the address it saw, so only the last one is its own word.
        try:
            return str(ipaddress.ip_address(forwarded.rpartition(",")[2].strip()))
        except ValueError:
            log.warning("proxy sent no usable X-Forwarded-For", peer=address)
    return address


def network_of(address: str) -> str:
    """What counts as one peer: an IPv4 address, or the /64 of an IPv6 address.

    A /64 is the least that a host on a link is given (RFC 4291, section 2.5.4), so one
    caller has 2**64 addresses there.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, 64), strict=False))


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether that is the address of a trusted proxy."""
    if not trusted:
        return False
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        # Not all that grpc calls a peer has one.
        return False
    return any(ip in network for network in trusted if network.version == ip.version)
