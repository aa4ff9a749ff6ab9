"""Pages: an opaque token that says after which key the next page begins.

A page begins after a key, not at a number, so nothing is skipped or repeated
when entries before it come or go (https://google.aip.dev/158).
"""

import base64
import binascii
import hashlib

from google.protobuf.message import Message

from hub.contract.errors import InvalidPageToken

DEFAULT_PAGE_SIZE = 100


def page_size(wanted: int) -> int:
    """The page size for what a request asks, 0 meaning the default."""
    return wanted or DEFAULT_PAGE_SIZE


def encode_page_token(request: Message, last_key: str) -> str:
    """The token of the page that begins after `last_key`."""
    return base64.urlsafe_b64encode(_fingerprint(request) + last_key.encode()).decode()


def decode_page_token(request: Message) -> str:
    """The key after which the asked page begins; "" for the first page.

    Raises InvalidPageToken for a token of another request or of nobody.
    """
    token: str = request.page_token  # type: ignore[attr-defined]
    if not token:
        return ""
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
        key = raw[_FINGERPRINT_BYTES:].decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidPageToken("page_token: not a page token") from error
    if raw[:_FINGERPRINT_BYTES] != _fingerprint(request) or not key:
        raise InvalidPageToken("page_token: belongs to a request with other filters")
    return key


_FINGERPRINT_BYTES = 8


def _fingerprint(request: Message) -> bytes:
    """Tells requests with other filters apart; paging fields do not count."""
    filters = type(request)()
    filters.CopyFrom(request)
    filters.ClearField("page_size")
    filters.ClearField("page_token")
    named = request.DESCRIPTOR.full_name.encode() + filters.SerializeToString(deterministic=True)
    return hashlib.sha256(named).digest()[:_FINGERPRINT_BYTES]
