"""Pages of listings: an opaque token holds the key after which the next page starts.

A page starts after a key, not at an offset, so no entry is skipped or repeated if
earlier entries come or go (https://google.aip.dev/158).
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from google.protobuf.message import Message

from hub.base.bounds import PAGE_BYTES
from hub.contract.errors import InvalidPageToken

DEFAULT_PAGE_SIZE: Final = 100

_FINGERPRINT_BYTES: Final = 8

T = TypeVar("T")


class Pager:
    """One page of a listing, for a request with `page_size` and `page_token`."""

    def __init__(self, request: Message) -> None:
        """Raises InvalidPageToken for a token that is malformed or of another request."""
        self._request = request
        self._size: int = request.page_size or DEFAULT_PAGE_SIZE  # type: ignore[attr-defined]
        self.after = self._key_of(request.page_token)  # type: ignore[attr-defined]
        """The key after which the page starts; "" for the first page."""

    def cut(
        self, entries: Iterable[T], key: Callable[[T], str], size: Callable[[T], int] | None = None
    ) -> tuple[list[T], str]:
        """The page, and the token of the next one, or "" for the last page.

        `entries` are those after the key `after`, in the order of the listing; no more
        than one page and one entry are taken of them. `size` returns an entry's bytes: a page
        of more than one entry has at most `PAGE_BYTES`, which any gRPC client accepts.
        """
        page: list[T] = []
        total = 0
        for entry in entries:
            total += size(entry) if size is not None else 0
            if len(page) == self._size or (page and total > PAGE_BYTES):
                return page, self._token_of(key(page[-1]))
            page.append(entry)
        return page, ""

    def _token_of(self, key: str) -> str:
        return base64.urlsafe_b64encode(_fingerprint(self._request) + key.encode()).decode()

    def _key_of(self, token: str) -> str:
        if not token:
            return ""
        try:
            raw = base64.b64decode(token, altchars=b"-_", validate=True)
            key = raw[_FINGERPRINT_BYTES:].decode()
        except (binascii.Error, ValueError) as error:
            raise InvalidPageToken("page_token: not a page token") from error
        if raw[:_FINGERPRINT_BYTES] != _fingerprint(self._request) or not key:
            raise InvalidPageToken("page_token: belongs to a request with other filters")
        return key


def _fingerprint(request: Message) -> bytes:
    """Identifies the listing and its filters; ignores the paging fields."""
    filters = type(request)()
    filters.CopyFrom(request)
    filters.ClearField("page_size")
    filters.ClearField("page_token")
    named = request.DESCRIPTOR.full_name.encode() + filters.SerializeToString(deterministic=True)
    return hashlib.sha256(named).digest()[:_FINGERPRINT_BYTES]
