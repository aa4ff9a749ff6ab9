"""The part of the fleet that other programs may send requests to, by model and alias."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from hub.base.address import join_host_port
from hub.registry.selection.criteria import is_meant_by
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    ADMIN_STATE_DRAINING,
    FAULT_DEAD,
    STATUS_HEALTHY,
    Backend,
    Endpoint,
    Model,
)
from llmhub.v1.model_alias_pb2 import ModelAlias

KEY_LABEL: Final = "api-key-env"
"""The label that names the environment variable with an endpoint's API key."""

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
# RFC 6750, section 2.1, and the colon. None of it is special between another program's quotes.
_BEARER_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/:-]+=*")


class UnusableKey(ValueError):
    """An endpoint's API key cannot be rendered; the message names the endpoint and says why."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The API key of a server, which other programs read from a variable of their environment.

    `value` is the key itself, or None if the configuration must not contain it.
    """

    variable: str
    value: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RoutableServer:
    """One server that may get requests. `host` has no brackets; `scheme` is never empty."""

    id: str
    scheme: str
    host: str
    port: int
    base_path: str
    backend: Backend
    labels: Mapping[str, str]
    models: tuple[Model, ...]
    key: ApiKey | None = None

    @property
    def origin(self) -> str:
        """The URL without a path, such as "http://10.0.0.1:11434"."""
        return f"{self.scheme}://{join_host_port(self.host, self.port)}"

    @property
    def url(self) -> str:
        """The URL at which the backend's own paths begin."""
        return self.origin + self.base_path


@dataclass(frozen=True, slots=True)
class Deployment:
    """One model on one server."""

    server: RoutableServer
    model: Model


@dataclass(frozen=True, slots=True)
class RoutableFleet:
    """The servers sorted by id, and where each model and each alias is.

    If an alias and a model have the same name, the name means the alias.
    """

    servers: tuple[RoutableServer, ...]
    models: Mapping[str, tuple[Deployment, ...]]
    aliases: Mapping[str, tuple[Deployment, ...]]


def api_keys(
    endpoints: Iterable[Endpoint], environment: Mapping[str, str] | None = None
) -> dict[str, ApiKey]:
    """The API keys by endpoint id, of the endpoints whose label names a variable.

    With an `environment`, its variables give the values. Raises UnusableKey for a label that
    cannot be the name of a variable, and for a variable without a bearer token.
    """
    found = {}
    for endpoint in endpoints:
        variable = endpoint.labels.get(KEY_LABEL)
        if variable is None:
            continue
        if not _VARIABLE.fullmatch(variable):
            raise UnusableKey(
                f"{endpoint.id}: label {KEY_LABEL}: {variable!r} is not the name of a variable"
            )
        if environment is None:
            found[endpoint.id] = ApiKey(variable)
            continue
        value = environment.get(variable, "")
        if not value:
            raise UnusableKey(f"{endpoint.id}: the variable {variable} is not set")
        if not _BEARER_TOKEN.fullmatch(value):
            raise UnusableKey(f"{endpoint.id}: the variable {variable} has no bearer token")
        found[endpoint.id] = ApiKey(variable, value)
    return found


def routable_fleet(
    endpoints: Iterable[Endpoint],
    aliases: Iterable[ModelAlias] = (),
    keys: Mapping[str, ApiKey] | None = None,
) -> RoutableFleet:
    """The enabled, healthy endpoints; each server once, even if it has several endpoints."""
    known = keys or {}
    servers = tuple(
        _server(endpoint, known.get(endpoint.id))
        for endpoint in sorted(endpoints, key=lambda each: each.id)
        if _is_routable(endpoint)
    )
    of_model = defaultdict(list)
    for server in servers:
        for model in server.models:
            of_model[model.name].append(Deployment(server, model))
    of_alias = {alias.name: _of_alias(alias, servers) for alias in aliases}
    return RoutableFleet(
        servers=servers,
        models={
            name: tuple(deployments)
            for name, deployments in sorted(of_model.items())
            if name not in of_alias
        },
        aliases={name: found for name, found in sorted(of_alias.items()) if found},
    )


def _is_routable(endpoint: Endpoint) -> bool:
    return (
        endpoint.status == STATUS_HEALTHY
        and endpoint.fault != FAULT_DEAD
        and endpoint.admin_state not in (ADMIN_STATE_DRAINING, ADMIN_STATE_DISABLED)
        and not endpoint.same_server_as
    )


def _server(endpoint: Endpoint, key: ApiKey | None) -> RoutableServer:
    return RoutableServer(
        id=endpoint.id,
        scheme=endpoint.scheme or "http",
        host=endpoint.host,
        port=endpoint.port,
        base_path=endpoint.base_path,
        backend=endpoint.backend,
        labels=dict(sorted(endpoint.labels.items())),
        models=tuple(sorted(endpoint.models, key=lambda model: model.name)),
        key=key,
    )


def _of_alias(alias: ModelAlias, servers: Iterable[RoutableServer]) -> tuple[Deployment, ...]:
    """One deployment for each server that has a model which the alias means."""
    found = []
    for server in servers:
        meant = [model for model in server.models if is_meant_by(model, alias.targets)]
        if meant:
            found.append(Deployment(server, meant[0]))
    return tuple(found)
