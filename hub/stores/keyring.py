"""The keys that encrypt what the store must not tell: AES-256-GCM, several keys, one current.

A key ring is text: one key a line, in base64, the current one first; # begins a comment. The
others are there to read what they have encrypted. A key's id is made of the key itself, so
that two rings never mean different keys by one id.
"""

import base64
import binascii
import hashlib
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub.stores.store import StoreError

CREDENTIAL: Final = "llm-hub.key"
"""The name of the credential by which systemd hands the key ring over."""

# No API key begins so: it consists of visible ASCII.
_MAGIC: Final = b"\0llmhub-sealed-1\0"
_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_HEAD_BYTES: Final = len(_MAGIC) + _ID_BYTES + _NONCE_BYTES


@dataclass(frozen=True, slots=True)
class Key:
    """One key; `id` may be shown."""

    secret: bytes = field(repr=False)

    @classmethod
    def new(cls) -> Self:
        """A random key."""
        return cls(secrets.token_bytes(_KEY_BYTES))

    @property
    def id(self) -> str:
        """Eight hexadecimal digits."""
        return hashlib.sha256(b"llm-hub key id" + self.secret).digest()[:_ID_BYTES].hex()

    @property
    def line(self) -> str:
        """Its line of a key ring."""
        return base64.b64encode(self.secret).decode()


class Keyring:
    """Seals with the current key, opens with any."""

    def __init__(self, keys: Sequence[Key]) -> None:
        if not keys:
            raise ValueError("a key ring needs a key")
        self.keys = tuple(keys)
        self._ciphers = {key.id: AESGCM(key.secret) for key in keys}

    @property
    def current(self) -> str:
        """The id of the key that seals."""
        return self.keys[0].id

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._ciphers

    def seal(self, record: str, value: bytes) -> bytes:
        """Encrypts the value of a record. It cannot be opened under another record's name."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[self.current].encrypt(nonce, value, record.encode())
        return _MAGIC + bytes.fromhex(self.current) + nonce + sealed

    def open(self, record: str, value: bytes) -> bytes:
        """Decrypts the value of a record; returns one that is not sealed as it is.

        Raises StoreError, which names the record and never the value.
        """
        key_id = key_of(value)
        if key_id is None:
            return value
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise StoreError(
                f"the record {record!r} is encrypted with the key {key_id}, which is not in the"
                f" key ring (secrets.key_file): add the key of the hub that wrote it, or remove"
                f" the record"
            )
        nonce = value[_HEAD_BYTES - _NONCE_BYTES : _HEAD_BYTES]
        try:
            return cipher.decrypt(nonce, value[_HEAD_BYTES:], record.encode())
        except (InvalidTag, ValueError):
            raise StoreError(
                f"the record {record!r} in the store is damaged: restore a backup, or remove it"
            ) from None


def key_of(value: bytes) -> str | None:
    """The id of the key that sealed a value; None if it is not sealed."""
    if not value.startswith(_MAGIC):
        return None
    return value[len(_MAGIC) : len(_MAGIC) + _ID_BYTES].hex()


def parse_keys(text: str, place: str) -> tuple[Key, ...]:
    """The keys of a key ring. Raises StoreError, which names the place and shows no key."""
    keys = []
    for number, line in enumerate(text.splitlines(), start=1):
        wanted = line.partition("#")[0].strip()
        if not wanted:
            continue
        try:
            secret = base64.b64decode(wanted, validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) != _KEY_BYTES:
            raise StoreError(f"{place}: line {number} is not a key of 32 bytes in base64")
        keys.append(Key(secret))
    if not keys:
        raise StoreError(f"{place}: holds no key")
    return tuple(dict.fromkeys(keys))


class KeySource:
    """Where the key ring comes from: a setting, a file, systemd, or a file that it creates."""

    def __init__(
        self,
        own_file: Path,
        *,
        text: str = "",
        file: str = "",
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """`text` is the ring itself, `file` names one; `own_file` is created without either."""
        self._text = text
        self._may_create = False
        credentials = environment.get("CREDENTIALS_DIRECTORY", "")
        credential = Path(credentials) / CREDENTIAL
        if file:
            self.path = Path(file).expanduser()
        elif credentials and credential.exists():
            self.path = credential
        else:
            self.path = own_file
            self._may_create = True

    def read(self) -> Keyring | None:
        """Reads the ring; returns None if `load` would create it. Raises StoreError."""
        if self._text:
            return Keyring(parse_keys(self._text.replace(",", "\n"), "secrets.key"))
        if self._may_create and not self.path.exists():
            return None
        return Keyring(read_keys(self.path))

    def load(self) -> Keyring:
        """Reads the ring, or creates it. Raises StoreError."""
        keyring = self.read()
        if keyring is None:
            write_keys(self.path, (Key.new(),))
            keyring = Keyring(read_keys(self.path))
        return keyring


def read_keys(file: Path) -> tuple[Key, ...]:
    """The keys in a file that only its owner may read. Raises StoreError."""
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise StoreError(f"{file}: the key ring cannot be read: {error.strerror}") from None
    # systemd's own directory of credentials lets the service's group read them.
    if stat.S_ISREG(mode) and mode & 0o037 and os.name == "posix":
        raise StoreError(
            f"{file} holds keys and is open to other users (mode {mode & 0o777:04o}):"
            " make it private with chmod 600"
        )
    return parse_keys(text, str(file))


def write_keys(file: Path, keys: Sequence[Key]) -> None:
    """Writes a key ring for this user alone, whole or not at all. Raises StoreError.

    A symbolic link stays, and the file that it names is replaced. One that leads nowhere is
    refused, because that may be a disk that is not mounted. A file keeps its owner, its group
    and whether the group may read it: the hub may be another user than its administrator.
    """
    lines = "".join(f"{key.line}  # {key.id}\n" for key in keys)
    try:
        target = Path(os.path.realpath(file, strict=file.is_symlink()))
        temporary = target.with_name(f"{target.name}.new")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            if target.exists() and os.name == "posix":
                before = target.stat()
                os.fchown(descriptor, before.st_uid, before.st_gid)
                os.fchmod(descriptor, before.st_mode & 0o640)
            out.write("# Keys of an LLM Registry Hub, the current one first. Keep them secret.\n")
            out.write(lines)
            out.flush()
            # What they encrypt is lost without them.
            os.fsync(out.fileno())
        temporary.replace(target)
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise StoreError(f"{file}: the key ring cannot be written: {error.strerror}") from None
