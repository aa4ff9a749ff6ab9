"""The address of a connection's peer, which may be a proxy in front of the hub."""

import ipaddress
from collections.abc import Sequence

import structlog

from hub.base.settings import Network

log = structlog.get_logger()


def peer_address(address: str, trusted: Sequence[Network], forwarded: str) -> str:
    """The IP address of the peer, or the one that it forwards if it is a trusted proxy.

    `forwarded` is the call's X-Forwarded-For, "" if it has none.
    """
    if is_trusted(address, trusted):
        # The proxy appends the address that it saw, so only the last one is trustworthy.
        try:
            return str(ipaddress.ip_address(forwarded.rpartition(",")[2].strip()))
        except ValueError:
            log.warning("proxy sent no usable X-Forwarded-For", peer=address)
    return address


def network_of(address: str) -> str:
    """The network that counts as one peer: an IPv4 address, or the /64 of an IPv6 address.

    A host on a link has at least a /64 (RFC 4291, section 2.5.4), so one caller may use
    2**64 addresses.
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
    """Whether the address is that of a trusted proxy."""
    if not trusted:
        return False
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        # Not every peer that grpc names has an IP address.
        return False
    return any(ip in network for network in trusted if network.version == ip.version)
