"""The settings of a sidecar."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from hub.base.address import AddressError, join_host_port, parse_endpoint_url
from hub.base.tls_files import IN_PLACE_OF_TOKEN, TlsFiles
from hub.sidecar.discovery import USUAL_PORTS

MAX_TOKEN_LENGTH = 256

_EXAMPLE = "ws://hub.lan:4000/ws"
_USUAL_PORT = 4000


class SettingsError(Exception):
    """A setting of the sidecar is invalid; the message is one readable line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarSettings:
    """The address of the hub, the identity of the sidecar, and the servers that it watches.

    `hub_url` and `endpoints` are complete URLs. `token_source` is a file, which is read
    before every connection, or the secret itself. `tls_files` are also read before every
    connection; a ws:// URL does not use them.
    """

    hub_url: str
    agent_id: str
    token_source: "TokenSource"
    name: str | None = None
    interval_s: float = 15.0
    endpoints: Sequence[str] = ()
    ports: Sequence[int] = USUAL_PORTS
    keeps_trying_when_replaced: bool = False
    allows_actions: bool = False
    tls_files: TlsFiles = field(default_factory=TlsFiles)


class TokenSource:
    """The source of the token; `current` is the last one that was read."""

    def __init__(self, *, file: Path | None = None, text: str | None = None) -> None:
        self._file = file
        self.current = text

    @property
    def secret(self) -> str | None:
        """The last token read, to be kept out of the log; None if a certificate is the proof."""
        return None if self.current == IN_PLACE_OF_TOKEN else self.current

    def read(self) -> str:
        """Returns the token. Raises SettingsError."""
        if self._file is not None:
            try:
                self.current = self._file.read_text(encoding="ascii").strip()
            except OSError as error:
                raise SettingsError(f"{self._file}: cannot be read: {error.strerror}") from None
            except UnicodeDecodeError:
                raise SettingsError(f"{self._file}: contains no token") from None
        token = self.current or ""
        if not 0 < len(token) <= MAX_TOKEN_LENGTH or not token.isascii() or not token.isprintable():
            raise SettingsError(f"{self._file or 'the token'}: contains no token")
        return token


def hub_url(text: str, *, tls: bool = False) -> str:
    """Returns a ws:// or wss:// URL; the default path is "/ws". Raises SettingsError.

    Plain HOST[:PORT] gets the hub's usual port, and wss:// if `tls` is true.
    """
    text = text.strip()
    is_bare = "://" not in text
    try:
        parts = urlsplit(f"{'wss' if tls else 'ws'}://{text}" if is_bare else text)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError as error:
        raise SettingsError(f"{text!r} is not a URL: {error}") from None
    if parts.scheme not in ("ws", "wss"):
        raise SettingsError(
            f"{text!r}: a sidecar speaks WebSocket, ws:// or wss://, not {parts.scheme}://; "
            f"use the address of the hub's WebSocket server, such as {_EXAMPLE}"
        )
    if not parts.hostname or not port_is_valid:
        raise SettingsError(f"{text!r} is not a URL such as {_EXAMPLE}")
    if parts.username or parts.password or parts.fragment:
        raise SettingsError("the hub's URL must have no user and no fragment")
    netloc = parts.netloc
    if is_bare and parts.port is None:
        netloc = f"{netloc.removesuffix(':')}:{_USUAL_PORT}"
    path = parts.path if parts.path not in ("", "/") else "/ws"
    return urlunsplit((parts.scheme, netloc, path, parts.query, ""))


def endpoint_url(text: str) -> str:
    """Returns the canonical URL of a server, including the port. Raises SettingsError."""
    try:
        address = parse_endpoint_url(text)
    except AddressError as error:
        raise SettingsError(str(error)) from None
    host_port = join_host_port(address.host, address.port)
    return f"{address.scheme}://{host_port}{address.base_path}"
