"""What can be wrong with an endpoint, as sentences for people.

    ProbeError
    ├── Unreachable       no connection, or none that held
    ├── Refused           answered that it will not answer
    │   ├── NeedsApiKey   401, 403
    │   ├── Busy          429, with the time to come back
    │   └── NotReady      503: starting, loading, asleep, or its engine is dead
    ├── BadAnswer         answered what its kind of server never answers
    └── WrongKind         is not the kind of server that it was taken for

    OwnFault              the hub could not ask; says nothing of the endpoint

The message completes "The endpoint …" or names the fault; it goes to
`Observation.error` as it is. Text that came from the endpoint is cut and
cleaned before it gets into one.
"""

from llmhub.v1.endpoint_pb2 import Model

_SHOWN = 200


class ProbeError(Exception):
    """The probe failed for a reason that lies with the endpoint.

    `answered` is True where the server did answer: it lives, and its set-up or
    its software is at fault.
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
    """429: the server wants to be left alone for `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotReady(Refused):
    """503: the server starts, loads its model, sleeps, or its engine has died.

    `models` are those that a server lists while it loads; None where it lists none.
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
    """The answer is not what a server of its kind gives."""


class WrongKind(ProbeError):
    """The server is of another kind than the one asked for."""


class OwnFault(Exception):
    """The hub lacks what it needs to ask: it says nothing of the endpoint."""


def shown(text: str, limit: int = _SHOWN) -> str:
    """Returns foreign text fit for an error message: one line, printable, cut."""
    line = "".join(c if c.isprintable() else " " for c in text[: limit + 1]).strip()
    return line if len(line) <= limit else line[:limit] + "..."
