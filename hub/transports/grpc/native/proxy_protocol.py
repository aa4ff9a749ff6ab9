"""The PROXY protocol, version 2: how a layer 4 proxy names the client of a connection.

The format: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, section 2.2.
"""

import ipaddress
from struct import Struct
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
HEAD_BYTES: Final = 16
"""The signature, version and command, family, and length of the rest."""

_HEAD: Final = Struct(">BBH")
_VERSION: Final = 0x20
_LOCAL: Final = 0x0
_PROXY: Final = 0x1
_TCP4: Final = 0x11
_TCP6: Final = 0x21
_ADDRESS_BYTES: Final = {_TCP4: 4, _TCP6: 16}
# Addresses and two ports, and room for TLVs, which are ignored.
_MAX_BYTES: Final = 4_096


class BadProxyHeader(ValueError):
    """A trusted proxy did not send a valid header of version 2."""


def rest_bytes(head: bytes) -> int:
    """How many bytes follow the first 16. Raises BadProxyHeader."""
    version_command, _, length = _HEAD.unpack_from(head, len(SIGNATURE))
    if not head.startswith(SIGNATURE) or version_command & 0xF0 != _VERSION:
        raise BadProxyHeader("not version 2 of the PROXY protocol")
    if length > _MAX_BYTES:
        raise BadProxyHeader(f"a PROXY header of {length} bytes")
    return int(length)


def source(header: bytes) -> str | None:
    """The client's IP address in a complete header; None if the proxy is itself the client.

    Raises BadProxyHeader.
    """
    version_command, family, _ = _HEAD.unpack_from(header, len(SIGNATURE))
    command = version_command & 0x0F
    if command == _LOCAL:
        return None
    size = _ADDRESS_BYTES.get(family)
    if command != _PROXY or size is None:
        raise BadProxyHeader("neither TCP over IPv4 nor over IPv6")
    if len(header) < HEAD_BYTES + 2 * size + 4:
        raise BadProxyHeader("a PROXY header without its addresses")
    return str(ipaddress.ip_address(header[HEAD_BYTES : HEAD_BYTES + size]))
