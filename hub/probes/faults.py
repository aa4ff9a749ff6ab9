"""What can be wrong with an endpoint, as readable sentences.

    ProbeError
    ├── Unreachable       no connection, or one that broke
    ├── Refused           the server refuses to answer
    │   ├── NeedsApiKey   401, 403
    │   ├── Busy          429, with the time to wait
    │   └── NotReady      503: starting, loading, asleep, or its engine is dead
    ├── BadAnswer         an answer that its kind of server never gives
    └── WrongKind         not the expected kind of server

    OwnFault              the hub could not send the request; no fact about the endpoint

The message completes "The endpoint …" or names the fault. It goes into
`Observation.error` unchanged. Text from the endpoint is shortened and cleaned before it
becomes part of a message.
"""

from llmhub.v1.endpoint_pb2 import Model

_SHOWN = 200


class ProbeError(Exception):
    """The probe failed for a reason that lies with the endpoint.

    `answered`: the server did answer. So it is running, but misconfigured or faulty.
    """

    answered = True


class Unreachable(ProbeError):
    """There is no connection, or it broke before an answer."""

    answered = False


class Refused(ProbeError):
    """The server answered that it will not answer now."""


class NeedsApiKey(Refused):
    """401 or 403: the endpoint's API key is missing or wrong."""


class Busy(Refused):
    """429: the server asks to be left alone for `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotReady(Refused):
    """503: the server is starting, loading its model or asleep, or its engine has died.

    `models` are those that a server lists while it loads; None if it lists none.
    """

    def __init__(
        self,
        message: str,
        *,
        is_loading: bool = False,
        models: tuple[Model, ...] | None = None,
    ) -> None:
        super().__init__(message)
        self.is_loading = is_loading
        self.models = models


class BadAnswer(ProbeError):
    """The answer is not one that a server of its kind gives."""


class WrongKind(ProbeError):
    """The server is of a different kind than expected."""


class OwnFault(Exception):
    """The hub lacks a resource that it needs for a request; no fact about the endpoint."""


def shown(text: str, limit: int = _SHOWN) -> str:
    """Returns untrusted text for an error message: one line, printable, shortened."""
    line = "".join(c if c.isprintable() else " " for c in text[: limit + 1]).strip()
    return line if len(line) <= limit else line[:limit] + "..."
