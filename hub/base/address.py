"""Addresses: where an endpoint answers, where a server listens, and how both are written.

Each address has one spelling: host names are in lower case without the trailing dot,
IP addresses in their canonical form (RFC 5952 for IPv6). So one server cannot be
registered under two ids. Loopback is the exception, because several hosts name one
server there; `spellings` lists them.
"""

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

OLLAMA_PORT = 11434
SCHEME_PORTS = {"http": 80, "https": 443}
MAX_HOST_LENGTH = 253
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1", "::ffff:127.0.0.1")
"""The hosts that people and programs use for a listener on their own machine.

Names below "localhost" are not included, because proxies route by them. Neither is the
rest of 127.0.0.0/8: a server may listen on 127.0.0.2 only.
"""

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://(.*)$", re.DOTALL)
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
# The one spelling of an IPv4 address, read ten times as fast as `ipaddress` does.
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_DIGITS_AND_DOTS = re.compile(r"[0-9.]+")
_HOST_NAME = re.compile(r"^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$")
# Excludes the segments "." and "..", which clients remove from a path (RFC 3986, 5.2.4).
_BASE_PATH = re.compile(r"^(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*$")
_MAX_BASE_PATH_LENGTH = 256


class AddressError(ValueError):
    """The text is not an address; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class EndpointAddress:
    """Where an inference server answers.

    `scheme` is "http" or "https", `host` has no brackets, `base_path` is empty
    or begins with a slash and does not end with one.
    """

    scheme: str
    host: str
    port: int
    base_path: str = ""

    @property
    def id(self) -> str:
        """The endpoint's id, "host:port"."""
        return join_host_port(self.host, self.port)


def normalize_host(text: str) -> str:
    """Returns the one spelling of a host name or IP address, without brackets.

    Raises AddressError, also for a name that consists of digits and dots only, because
    resolvers disagree about its meaning (RFC 6943, section 3.1.1).
    """
    host = text
    bracketed = host.startswith("[") or host.endswith("]")
    if bracketed:
        if not (host.startswith("[") and host.endswith("]")):
            raise AddressError(f"{_shown(text)} has only one of two brackets")
        host = host[1:-1]
    if bracketed or ":" in host:
        return _normalize_ipv6(host)
    # "gpu-1.lan." names the same host as "gpu-1.lan" (RFC 1034, section 3.1).
    host = host.lower().removesuffix(".")
    if not host:
        raise AddressError("the host is missing")
    if len(host) > MAX_HOST_LENGTH:
        raise AddressError(f"the host is longer than {MAX_HOST_LENGTH} characters")
    if _IPV4.fullmatch(host):
        return host
    if _DIGITS_AND_DOTS.fullmatch(host):
        raise AddressError(f"{_shown(text)} is not an IPv4 address")
    if not _HOST_NAME.fullmatch(host) or ".." in host:
        raise AddressError(f"{_shown(text)} is not a host name or an IP address")
    return host


def join_host_port(host: str, port: int) -> str:
    """Returns "host:port", with brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def endpoint_id(host: str, port: int) -> str:
    """Returns the id of the endpoint at `host`, in any spelling. Raises AddressError."""
    return join_host_port(normalize_host(host), port)


@lru_cache(maxsize=4096)
def spellings(id_: str) -> tuple[str, ...]:
    """Returns every id that names the same endpoint as `id_`.

    The canonical spelling of `id_` comes first. On loopback the other spellings follow.
    Text that is not "host:port" is returned unchanged.
    """
    host, _, port = id_.rpartition(":")
    try:
        address = EndpointAddress("http", normalize_host(host), _parse_port(port, lowest=0))
    except AddressError:
        return (id_,)
    hosts = [address.host]
    if address.host in LOOPBACK_HOSTS:
        hosts += (each for each in LOOPBACK_HOSTS if each != address.host)
    return tuple(join_host_port(each, address.port) for each in hosts)


def parse_endpoint_url(text: str) -> EndpointAddress:
    """Reads the address of a server, written as "host", "host:port" or a URL.

    The default port is Ollama's 11434 without a scheme, 80 with "http://" and 443 with
    "https://", as in Ollama's own OLLAMA_HOST. Raises AddressError, also for a user, a
    query or a fragment, which an endpoint cannot have.
    """
    stripped = text.strip()
    if not stripped:
        raise AddressError("the address is empty")
    scheme, default_port, rest = "http", OLLAMA_PORT, stripped
    if match := _SCHEME.match(stripped):
        scheme, rest = match[1].lower(), match[2]
        if scheme not in SCHEME_PORTS:
            raise AddressError(f"the scheme is {_shown(scheme)}, not http or https")
        default_port = SCHEME_PORTS[scheme]
    for character, name in (("?", "a query"), ("#", "a fragment"), ("@", "a user")):
        if character in rest:
            raise AddressError(f"an endpoint's address cannot contain {name}")
    authority, slash, path = rest.partition("/")
    base_path = (slash + path).rstrip("/")
    if len(base_path) > _MAX_BASE_PATH_LENGTH or not _BASE_PATH.fullmatch(base_path):
        raise AddressError(f"{_shown(base_path)} is not a valid path of an endpoint")
    host, port_text = _split_authority(authority)
    port = default_port if port_text is None else _parse_port(port_text, lowest=1)
    return EndpointAddress(scheme, normalize_host(host), port, base_path)


def parse_listen_address(text: str) -> tuple[str, int]:
    """Reads "HOST:PORT" strictly: both are required; port 0 lets the system choose.

    Returns host (without brackets) and port. Raises AddressError.
    """
    host, port_text = _split_authority(text)
    if port_text is None:
        raise AddressError(f"{_shown(text)} has no port; use HOST:PORT, such as 127.0.0.1:50051")
    return normalize_host(host), _parse_port(port_text, lowest=0)


def _normalize_ipv6(host: str) -> str:
    if "%" in host:
        raise AddressError(f"{_shown(host)} has a zone, which has no meaning on another host")
    try:
        address = ipaddress.IPv6Address(host)
    except ipaddress.AddressValueError:
        raise AddressError(f"{_shown(host)} is not an IPv6 address") from None
    # str() spells these differently from one Python version to the next.
    return f"::ffff:{address.ipv4_mapped}" if address.ipv4_mapped else str(address)


def _split_authority(text: str) -> tuple[str, str | None]:
    """Splits host and port; the port is None if the text has none."""
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        if not bracket:
            raise AddressError(f"{_shown(text)} has no closing bracket")
        if not rest:
            return host + bracket, None
        if not rest.startswith(":"):
            raise AddressError(f"{_shown(text)} has {_shown(rest)} where a port is expected")
        return host + bracket, rest[1:]
    if text.count(":") > 1:
        # "::1" is an address; "::1:80" may be one as well, or an address with a port.
        try:
            ipaddress.IPv6Address(text)
        except ipaddress.AddressValueError:
            raise AddressError(f"{_shown(text)}: write an IPv6 host in brackets") from None
        return text, None
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _parse_port(text: str, *, lowest: int) -> int:
    # int() also accepts "+80", "8_0" and digits of other scripts.
    if not re.fullmatch(r"[0-9]{1,5}", text) or not lowest <= int(text) <= 65535:
        raise AddressError(f"port {_shown(text)} is not a number from {lowest} to 65535")
    return int(text)


def _shown(text: str) -> str:
    """`text` for an error message: quoted, printable and cut to 60 characters."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
