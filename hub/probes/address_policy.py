"""Which addresses the hub may connect to.

Any caller that may register an endpoint makes the hub send requests, so the hub must not
give access to services that only its own host can reach. Link-local addresses, where
clouds serve instance metadata, are never probed, whatever the settings say. Inference
servers run on loopback and private addresses, so these are allowed unless `deny`
contains them.
"""

import ipaddress
from collections.abc import Iterable

from hub.base.settings import Network
from hub.contract.errors import TargetForbidden

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Metadata addresses outside 169.254/16 and fe80::/10:
# Google (IPv6), Alibaba, Azure's wire server, Oracle (first generation).
_METADATA = tuple(
    ipaddress.ip_address(address)
    for address in (
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
    )
)
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
# AWS serves an instance's metadata, credentials, time and DNS there.
_AWS_SERVICES = ipaddress.IPv6Network("fd00:ec2::/32")
# Local-use NAT64 (RFC 8215): each site decides where the address contains the IPv4 address.
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
# The IPv4 address is the last 32 bits: NAT64 (RFC 6052), IPv4-translated (RFC 2765).
_V4_AT_THE_END = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::ffff:0:0:0/96"))
_V4_COMPATIBLE = ipaddress.IPv6Network("::/96")
# ISATAP (RFC 5214): these 32 bits, under any prefix, precede an IPv4 address.
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)


class ForbiddenAddress(OSError):
    """The address may not be probed. An OSError, so that connecting treats it as a failure."""


class AddressPolicy:
    """Decides whether an address may be probed."""

    def __init__(self, allow: Iterable[Network] = (), deny: Iterable[Network] = ()) -> None:
        self.replace(allow, deny)

    def replace(self, allow: Iterable[Network], deny: Iterable[Network]) -> None:
        """Replaces both lists."""
        self._allow, self._deny = tuple(allow), tuple(deny)

    def refusal(self, address: str) -> str:
        """The reason why the numeric address may not be probed; "" if it may."""
        parsed = _parsed(address)
        return self._refusal(parsed) if parsed is not None else "is not a numeric address"

    def _refusal(self, parsed: Address) -> str:
        carried = _carried(parsed)
        judged = (parsed, *carried)
        for candidate in judged:
            if reason := _never(candidate):
                return reason
        if any(_is_in(candidate, self._deny) for candidate in judged):
            return "is in probes.deny"
        # Packets go to the IPv4 addresses.
        goals = carried or (parsed,)
        if self._allow and not all(_is_in(goal, self._allow) for goal in goals):
            return "is not in probes.allow"
        return ""

    def require(self, address: str) -> None:
        """Raises ForbiddenAddress unless the numeric address may be probed."""
        if reason := self.refusal(address):
            raise ForbiddenAddress(f"address {address} may not be probed: it {reason}")

    def require_host(self, host: str) -> None:
        """Raises TargetForbidden for a literal IP address that may not be probed.

        A DNS name is accepted here: its addresses are checked for every connection.
        """
        parsed = _parsed(host)
        if parsed is not None and (reason := self._refusal(parsed)):
            raise TargetForbidden(
                f"host {host} may not be probed: it {reason}", metadata={"host": host}
            )


def _parsed(address: str) -> Address | None:
    """The numeric address without its zone; None if the text is not an address."""
    try:
        return ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None


def _never(address: Address) -> str:
    if address.is_link_local:
        return "is link-local"
    if address.is_multicast:
        return "is a multicast address"
    if address.is_unspecified or address in _THIS_NETWORK:
        return "is the unspecified address"
    if address == _BROADCAST:
        return "is the broadcast address"
    if address in _LOCAL_NAT64:
        return "is in the local-use NAT64 block"
    if address in _METADATA or address in _AWS_SERVICES:
        return "is a cloud's metadata address"
    return ""


def _carried(address: Address) -> tuple[ipaddress.IPv4Address, ...]:
    """The IPv4 addresses inside an IPv6 address; for Teredo, those of server and client."""
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    if address.teredo is not None:
        return address.teredo
    for inner in (address.ipv4_mapped, address.sixtofour):
        if inner is not None:
            return (inner,)
    number = int(address)
    if (
        any(address in block for block in _V4_AT_THE_END)
        or (address in _V4_COMPATIBLE and number > 0xFFFF)
        or (number >> 32) & 0xFFFF_FFFF in _ISATAP
    ):
        return (ipaddress.IPv4Address(number & 0xFFFF_FFFF),)
    return ()


def _is_in(address: Address, blocks: Iterable[Network]) -> bool:
    return any(address.version == block.version and address in block for block in blocks)
