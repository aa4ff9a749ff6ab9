"""Helpers that make the replies of fake servers."""

from collections.abc import Sequence

import orjson

from tools.fleetsim.server import Reply

METRICS_TYPE = "text/plain; version=0.0.4"


def json_reply(value: object, status: int = 200, server: str = "uvicorn") -> Reply:
    """A reply with a value as JSON."""
    return Reply(status, orjson.dumps(value), headers=(("Server", server),))


def not_found() -> Reply:
    """The reply of a server to an unknown route."""
    return json_reply({"detail": "Not Found"}, 404)


def model_list(names: Sequence[str], owner: str, **more: object) -> Reply:
    """The OpenAI API's list of models, each with the same owner."""
    data = [
        {"id": name, "object": "model", "created": 1_717_000_000, "owned_by": owner, **more}
        for name in names
    ]
    return json_reply({"object": "list", "data": data})
