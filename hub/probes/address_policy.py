"""Which addresses the hub may connect to.

Anyone who may register an endpoint makes the hub send requests, so the hub must not
open a way to services that only its own host can reach. Link-local addresses, where
clouds serve instance metadata, are never probed, whatever the settings say. Loopback
and private addresses are where inference servers run, so they are allowed unless
`deny` contains them.
"""

import ipaddress
from collections.abc import Iterable

from hub.base.settings import Network
from hub.contract.errors import TargetForbidden

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Instance metadata that does not lie in 169.254/16 or fe80::/10: AWS (IPv6),
# Google (IPv6), Alibaba, Azure's wire server, Oracle (first generation).
_METADATA = tuple(
    ipaddress.ip_address(address)
    for address in (
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
    )
)
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_V4_COMPATIBLE = ipaddress.IPv6Network("::/96")


class ForbiddenAddress(OSError):
    """The address may not be probed; an OSError, so that connecting treats it as failed."""


class AddressPolicy:
    """Decides whether an address may be probed."""

    def __init__(self, allow: Iterable[Network] = (), deny: Iterable[Network] = ()) -> None:
        self.replace(allow, deny)

    def replace(self, allow: Iterable[Network], deny: Iterable[Network]) -> None:
        """Replaces both lists."""
        self._allow, self._deny = tuple(allow), tuple(deny)

    def refusal(self, address: str) -> str:
        """Why the numeric address may not be probed; "" if it may."""
        parsed = _parsed(address)
        return self._refusal(parsed) if parsed is not None else "is not a numeric address"

    def _refusal(self, parsed: Address) -> str:
        inner = _unwrapped(parsed)
        for candidate in {parsed, inner}:
            if reason := _never(candidate):
                return reason
        if any(_contains(block, (parsed, inner)) for block in self._deny):
            return "is in probes.deny"
        if self._allow and not any(_contains(block, (inner,)) for block in self._allow):
            return "is not in probes.allow"
        return ""

    def require(self, address: str) -> None:
        """Raises ForbiddenAddress unless the numeric address may be probed."""
        if reason := self.refusal(address):
            raise ForbiddenAddress(f"address {address} may not be probed: it {reason}")

    def require_host(self, host: str) -> None:
        """Raises TargetForbidden for a literal IP address that may not be probed.

        A DNS name passes: what it resolves to is checked at every connection.
        """
        parsed = _parsed(host)
        if parsed is not None and (reason := self._refusal(parsed)):
            raise TargetForbidden(
                f"host {host} may not be probed: it {reason}", metadata={"host": host}
            )


def _parsed(address: str) -> Address | None:
    """The numeric address without its zone; None for what is none."""
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
    if address in _METADATA:
        return "is a cloud's metadata address"
    return ""


def _unwrapped(address: Address) -> Address:
    """Returns the IPv4 address that an IPv6 address carries, else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    carries_v4 = address in _NAT64 or (address in _V4_COMPATIBLE and int(address) > 0xFFFF)
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if carries_v4 else address


def _contains(block: Network, addresses: tuple[Address, ...]) -> bool:
    return any(a.version == block.version and a in block for a in addresses)
