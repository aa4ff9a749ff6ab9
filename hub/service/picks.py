"""What a gateway asks for one HTTP request, what it gets, and how the request ended."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PickRequest:
    """The needs of one request: the model that it names, and where it may go.

    `needs_ollama`: its path exists only on Ollama. `subset` limits the choice to these
    addresses, each "ip:port"; None is no limit. `head` is the beginning of the request's
    body, as far as it has come and is JSON.
    """

    model: str
    needs_ollama: bool = False
    subset: frozenset[str] | None = None
    head: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class PickOutcome:
    """How a picked request ended, as far as the gateway reports it.

    `address` is the "ip:port" that answered, or "" if none did. `tried` are the picked
    addresses before it, which failed. `error` is "" if `ok`, else "no_response",
    "overloaded" (status 429) or "server_error" (status 500 and above). `status` is the
    HTTP status, 0 if there was none. `ttft_ms` is the time from the pick to the response's
    head, None if there was none. `bytes` is the length of the response's body, None if
    the gateway does not report it.
    """

    ok: bool
    error: str = ""
    status: int = 0
    address: str = ""
    tried: tuple[str, ...] = ()
    ttft_ms: int | None = None
    duration_ms: int = 0
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Pick:
    """The endpoints for one request, and what its way to them needs.

    `addresses` are "ip:port", the best first; the others are tried if it fails. `ids` are
    their endpoints' ids, in the same order. All of them know the model as `model`, serve
    below `base_path` and take `api_key`. Whoever gets a pick calls `finish` once, with
    the outcome and the time in epoch milliseconds: until then the request counts as load.
    """

    addresses: tuple[str, ...]
    ids: tuple[str, ...]
    model: str
    base_path: str
    api_key: str | None = field(repr=False)
    finish: Callable[[PickOutcome, int], None] = field(repr=False)
