"""Fakes of proxies in front of other servers: llama-swap and LiteLLM.

Each records the effects that a probe must not have.
"""

from dataclasses import dataclass, field

from tools.fleetsim.replies import json_reply, model_list, not_found
from tools.fleetsim.server import Reply, Request


@dataclass(slots=True)
class FakeLlamaSwap:
    """A llama-swap: `state` by model; a request to a model's own path starts its server.

    `is_old` has no /api/version.
    """

    state: dict[str, str] = field(default_factory=lambda: {"small": "ready", "big": "stopped"})
    version: str = "175"
    is_old: bool = False
    started: list[str] = field(default_factory=list)

    def answer(self, request: Request) -> Reply:
        """See `Persona`."""
        if request.path.startswith("/upstream/") or "model" in request.query:
            name = request.query.get("model") or request.path.split("/")[2]
            self.started.append(name)
            self.state[name] = "ready"
            return json_reply({"status": "ok"})
        if request.path.startswith("/api/models/unload/") and request.method == "POST":
            self.state[request.path.rpartition("/")[2]] = "stopped"
            return Reply(body=b"OK", content_type="text/plain")
        match request.path:
            case "/health":
                return Reply(body=b"OK", content_type="text/plain; charset=utf-8")
            case "/v1/models":
                return model_list(list(self.state), "llama-swap")
            case "/running":
                running = [
                    {"model": name, "state": state, "cmd": "llama-server", "ttl": 0}
                    for name, state in self.state.items()
                    if state != "stopped"
                ]
                return json_reply({"running": running})
            case "/api/version" if not self.is_old:
                return json_reply(
                    {"version": self.version, "commit": "abcd1234", "build_date": "2026-05-01"}
                )
        return not_found()


@dataclass(slots=True)
class FakeLiteLlm:
    """A LiteLLM proxy; `deployments` are the entries of /model/info.

    `completions` counts the calls of /health, each of which would cost a completion per
    deployment. `may_see_info` is False for a key without access to /model/info.
    """

    deployments: list[tuple[str, dict[str, object]]] = field(
        default_factory=lambda: [
            (
                "gpt-4o",
                {
                    "mode": "chat",
                    "max_input_tokens": 128_000,
                    "supports_function_calling": True,
                    "supports_vision": True,
                    "supports_reasoning": False,
                },
            )
        ]
    )
    version: str = "1.80.0"
    may_see_info: bool = True
    is_old: bool = False
    completions: int = 0

    def answer(self, request: Request) -> Reply:
        """See `Persona`."""
        match request.path:
            case "/health":
                self.completions += 1
                return json_reply({"healthy_endpoints": [], "unhealthy_endpoints": []})
            case "/health/liveliness":
                return json_reply("I'm alive!")
            case "/health/readiness" | "/health/readiness/details":
                has_version = self.is_old or request.path.endswith("/details")
                version = {"litellm_version": self.version} if has_version else {}
                return json_reply({"status": "healthy", "db": "Not connected", **version})
            case "/v1/models":
                return model_list(list(dict(self.deployments)), "openai")
            case "/model/info" if self.may_see_info:
                data = [
                    {"model_name": name, "litellm_params": {"model": name}, "model_info": info}
                    for name, info in self.deployments
                ]
                return json_reply({"data": data})
            case "/model/info":
                return json_reply({"error": {"message": "not allowed"}}, 403)
        return not_found()
