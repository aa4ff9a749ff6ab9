"""What a proxy that does not change bodies needs: a path and a group of servers for each model.

A client's base URL is `http://PROXY/models/MODEL/v1`. An alias would need a rewritten body, so
it has no route. Such a proxy treats all servers of a group alike, so they must have the same
base path, the same API key and whatever else the program sets once for a group.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from hub.registry.rendering.routable_fleet import ApiKey, RoutableFleet, RoutableServer

PREFIX: Final = "/models/"

# What servers call their models ends up between other programs' quotes and braces.
_SAFE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:/@+-]*[A-Za-z0-9])?")
_NOT_IN_A_NAME: Final = re.compile("[^A-Za-z0-9]+")

Common = Callable[[RoutableServer], Hashable]


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """One model: the `path` of its requests, with a slash at the end, and its servers.

    `name` is unique and consists of letters, digits and underscores.
    """

    name: str
    model: str
    path: str
    servers: tuple[RoutableServer, ...]

    @property
    def base_path(self) -> str:
        """The prefix of the servers' own paths; "" or with a slash in front."""
        return self.servers[0].base_path

    @property
    def key(self) -> ApiKey | None:
        """The API key of these servers."""
        return self.servers[0].key


@dataclass(frozen=True, slots=True)
class ModelRoutes:
    """The routes sorted by model, and what has none, each with the reason."""

    routes: tuple[ModelRoute, ...]
    left_out: tuple[str, ...]

    def remarks(self) -> str:
        """What has no route, as comment lines of the kind that begins with "#"."""
        return "".join(f"# Left out: {each}\n" for each in self.left_out)


def model_routes(fleet: RoutableFleet, common: Common) -> ModelRoutes:
    """A route for each model, to the largest group of its servers with the same `common`."""
    routes, left_out = [], []
    for model, deployments in fleet.models.items():
        if not _SAFE.fullmatch(model):
            left_out.append(f"{model!a}, not a name for a path")
            continue
        groups = defaultdict(list)
        for deployment in deployments:
            groups[common(deployment.server)].append(deployment.server)
        # The first of several largest groups, so that the choice is stable.
        largest = max(groups.values(), key=len)
        left_out += (
            f"{model} at {server.url}, unlike the other servers in path, key or TLS"
            for group in groups.values()
            if group is not largest
            for server in group
        )
        routes.append(ModelRoute(_name(model), model, f"{PREFIX}{model}/", tuple(largest)))
    left_out += (f"alias {name!a}, which needs a rewritten body" for name in fleet.aliases)
    return ModelRoutes(tuple(routes), tuple(left_out))


def refusal(message: str) -> str:
    """The body of a response with status 404, in the shape of OpenAI's errors."""
    error = {"message": message, "type": "invalid_request_error", "code": "model_not_found"}
    return json.dumps({"error": error}, separators=(",", ":"))


def server_name(server: RoutableServer) -> str:
    """A name of the server for programs that allow letters, digits and underscores."""
    return _NOT_IN_A_NAME.sub("_", server.id).strip("_")


def _name(model: str) -> str:
    slug = _NOT_IN_A_NAME.sub("_", model).strip("_")
    # "a.b" and "a_b" are two models.
    return f"{slug[:60]}_{hashlib.sha256(model.encode()).hexdigest()[:8]}"
