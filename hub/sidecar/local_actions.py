"""Loads and unloads models with the APIs of this host's servers, when the hub requests it.

An action applies only to a server that this sidecar reports and reaches over loopback: the
hub names one of the reported endpoints, never an address.
"""

import asyncio
import ipaddress
import json
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from hub.sidecar.discovery import Discovery
from hub.sidecar.local_action import LocalAction
from hub.sidecar.local_http import AskError, LocalAnswer, send
from hub.sidecar.local_server import LocalServer
from llmhub.v1.endpoint_pb2 import (
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_LOADING,
    MODEL_STATE_UNSPECIFIED,
    ModelState,
)

# How often a server is probed to see whether an accepted action is done.
_POLL_S = 0.5
_UNKNOWN_ROUTE = (404, 405, 501)
_MAX_DETAIL = 500


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    path: str
    body: dict[str, object] | None = None


class ActionError(Exception):
    """The action is not done; `outcome` is a value of the frame's field."""

    def __init__(self, outcome: str, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome


class LocalActions:
    """Carries out one action per server at a time.

    `on_look` is called after every probe of the server, so that changes meanwhile, such
    as a model that is loading, are reported at once.
    """

    def __init__(self, discovery: Discovery, on_look: Callable[[], None] = lambda: None) -> None:
        self._discovery = discovery
        self._on_look = on_look
        self._busy: set[str] = set()

    async def run(self, action: LocalAction) -> dict[str, object]:
        """Carries out an action. Returns the `model_action_result` frame."""
        frame: dict[str, object] = {
            "type": "model_action_result",
            "action_id": action.action_id,
            "outcome": "done",
        }
        try:
            await self._carry_out(action)
        except ActionError as error:
            frame |= {"outcome": error.outcome, "detail": _one_line(str(error))}
        return frame

    async def _carry_out(self, action: LocalAction) -> None:
        server = self._server(action.url)
        if server is None:
            raise ActionError("refused", f"this sidecar does not report {action.endpoint_id}")
        if not _is_loopback(server.url):
            raise ActionError("refused", f"{server.url} is not a loopback address of this host")
        if server.url in self._busy:
            raise ActionError("refused", f"another action on {server.url} has not ended yet")
        call = _call(server, action)
        if call is None:
            kind = server.backend or "a server of unknown kind"
            word = "load" if action.is_load else "unload"
            raise ActionError("unsupported", f"{kind} has no way to {word} a model on request")
        self._busy.add(server.url)
        try:
            async with asyncio.timeout(action.timeout_s):
                await self._send(server, action, call)
                await self._settle(server.url, action)
        except TimeoutError:
            raise ActionError(
                "unknown", f"not done within {action.timeout_s:g} s, but it may still complete"
            ) from None
        finally:
            self._busy.discard(server.url)

    async def _send(self, server: LocalServer, action: LocalAction, call: _Call) -> None:
        body = b"" if call.body is None else json.dumps(call.body).encode()
        try:
            answer = await send(
                call.method, server.url, call.path, body, timeout_s=action.timeout_s
            )
        except AskError as error:
            raise ActionError("unknown" if error.connected else "failed", str(error)) from None
        if 200 <= answer.status < 300:
            return
        said = f"the server answered {answer.status} to {call.path}{_detail(answer)}"
        # Ollama answers 404 for a model that it does not have.
        if answer.status in _UNKNOWN_ROUTE and server.backend != "ollama":
            raise ActionError("unsupported", said)
        raise ActionError("failed", said)

    async def _settle(self, url: str, action: LocalAction) -> None:
        """Waits until the server shows the model in the requested state."""
        has_begun = False
        while True:
            await self._discovery.look_at(url)
            self._on_look()
            state = self._state(url, action.model)
            if state in (None, MODEL_STATE_UNSPECIFIED):
                return
            if (state == MODEL_STATE_LOADED) == action.is_load and state != MODEL_STATE_LOADING:
                return
            if action.is_load and has_begun and state == MODEL_STATE_AVAILABLE:
                raise ActionError("failed", f"the server gave up loading {action.model}")
            has_begun = has_begun or state == MODEL_STATE_LOADING
            await asyncio.sleep(_POLL_S)

    def _server(self, url: str | None) -> LocalServer | None:
        return next((each for each in self._discovery.servers if each.url == url), None)

    def _state(self, url: str, name: str) -> ModelState | None:
        """The state of the model; None if the server does not show it."""
        server = self._server(url)
        models = (server.models if server is not None else None) or ()
        return next((model.state for model in models if model.name == name), None)


def _call(server: LocalServer, action: LocalAction) -> _Call | None:
    """The request for a server of that kind; None if it has no such API."""
    model = action.model
    match server.backend, action.is_load:
        case "ollama", True:
            return _ollama_load(server, action)
        case "ollama", False:
            return _Call("POST", "/api/generate", {"model": model, "keep_alive": 0})
        case "llama_cpp", is_load:
            return _Call("POST", f"/models/{'load' if is_load else 'unload'}", {"model": model})
        case "vllm", True:
            return _Call("POST", "/wake_up")
        case "vllm", False:
            return _Call("POST", "/sleep?level=1")
        case "llama_swap", True:
            # The first request through the proxy starts the model's server.
            return _Call("GET", f"/upstream/{quote(model)}/health")
        case "llama_swap", False:
            return _Call("POST", f"/api/models/unload/{quote(model)}")
    return None


def _ollama_load(server: LocalServer, action: LocalAction) -> _Call:
    body: dict[str, object] = {"model": action.model, "stream": False}
    if action.keep_alive_s is not None:
        body["keep_alive"] = action.keep_alive_s
    model = next((each for each in server.models or () if each.name == action.model), None)
    capabilities = model.capabilities if model is not None else ()
    # The other route refuses a model that only embeds.
    if "embedding" in capabilities and "completion" not in capabilities:
        return _Call("POST", "/api/embed", {**body, "input": ""})
    return _Call("POST", "/api/generate", body)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _one_line(text: str) -> str:
    """The text as the hub takes it: servers write what they like into their errors."""
    return "".join(c if c.isprintable() else " " for c in text[:_MAX_DETAIL])


def _detail(answer: LocalAnswer) -> str:
    """The server's error text, in the usual shapes of JSON."""
    try:
        value = json.loads(answer.body)
    except ValueError:
        return ""
    error = value.get("error") if isinstance(value, dict) else None
    text = error.get("message") if isinstance(error, dict) else error
    return f": {text}" if isinstance(text, str) else ""
