"""Who the peer of a connection is, where it may be a proxy in front of the hub."""

import ipaddress
from collections.abc import Sequence

import structlog

from hub.settings import Network

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
