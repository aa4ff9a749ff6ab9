"""An HTTP answer to a probe, and the meaning of its status."""

from dataclasses import dataclass
from typing import TypeAlias

import orjson

from hub.probes.faults import (
    BadAnswer,
    Busy,
    NeedsApiKey,
    NotReady,
    ProbeError,
    Refused,
    WrongKind,
    shown,
)

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer.

    `path` is the requested path, for error messages. `has_key`: the request carried the
    endpoint's API key.
    """

    path: str
    status: int
    content_type: str
    server: str
    retry_after: str
    location: str
    body: bytes
    has_key: bool = False

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    def require_ok(self) -> "Answer":
        """Returns the answer if its status is 2xx.

        Raises NeedsApiKey, Busy, NotReady, WrongKind (404, 405, 501: not a server of
        the expected kind), BadAnswer (3xx) or Refused (any other status).
        """
        if self.ok:
            return self
        raise self._fault()

    def json(self) -> JsonValue:
        """Returns the body of a 2xx answer as JSON. Raises BadAnswer and see `require_ok`."""
        self.require_ok()
        try:
            value: JsonValue = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise BadAnswer(f"answered {self._what_it_is()}, not JSON, to {self.path}") from None
        return value

    def json_or_none(self) -> JsonValue:
        """Returns the body as JSON, whatever the status; None if it is not JSON."""
        try:
            value: JsonValue = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None
        return value

    def _what_it_is(self) -> str:
        start = self.body[:64].lstrip().lower()
        if not self.body.strip():
            return "nothing"
        if start.startswith((b"<!doctype html", b"<html")) or "html" in self.content_type:
            return "HTML"
        return "text" if "text/" in self.content_type else "malformed data"

    def _fault(self) -> ProbeError:
        detail = self._detail()
        match self.status:
            case 401 | 403:
                if self.has_key:
                    return NeedsApiKey(
                        f"refuses the registered API key ({self.status} to {self.path}); "
                        "it may have been replaced on the server"
                    )
                return NeedsApiKey(f"needs an API key ({self.status} to {self.path})")
            case 429:
                retry_after_s = _seconds(self.retry_after)
                until = "" if retry_after_s is None else f"; asks to wait {retry_after_s:.0f} s"
                return Busy(
                    f"receives too many requests (429 to {self.path}){until}", retry_after_s
                )
            case 503:
                return NotReady(f"is not ready (503 to {self.path}){detail}")
            case 404 | 405 | 501:
                return WrongKind(f"does not know {self.path} ({self.status}){detail}")
            case status if 300 <= status < 400:
                where = f" to {shown(self.location)}" if self.location else ""
                return BadAnswer(
                    f"answered a redirect ({status}{where}) to {self.path}; "
                    "redirects are not followed"
                )
        return Refused(f"answered {self.status} to {self.path}{detail}")

    def _detail(self) -> str:
        """The server's error text: from the usual shapes of JSON, or from plain text."""
        value = self.json_or_none()
        if isinstance(value, dict):
            error = value.get("error", value.get("detail", value.get("message")))
            text = error.get("message") if isinstance(error, dict) else error
            return f": {shown(text)}" if isinstance(text, str) and text else ""
        if value is None and "text/plain" in self.content_type:
            text = shown(self.body[:400].decode("utf-8", "replace"))
            return f": {text}" if text else ""
        return ""


def _seconds(retry_after: str) -> float | None:
    """Parses a Retry-After given in seconds (RFC 9110, 10.2.3); a date is ignored."""
    digits = retry_after.strip()
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        return None
    return float(digits)
