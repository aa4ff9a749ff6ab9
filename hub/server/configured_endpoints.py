"""The endpoints that the configuration file lists: registered from it, and removed with it.

The file overrides an endpoint's earlier registration. The endpoint keeps its models,
status, admin state and time of registration.
"""

import asyncio
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, cast

import structlog

from hub.base.address import AddressError, parse_endpoint_url, spellings
from hub.base.clock import Clock
from hub.base.load_settings import ConfigError
from hub.base.settings import Settings, StaticEndpoint
from hub.contract import validation
from hub.contract.dialect.names import enum_words
from hub.contract.errors import EndpointNotFound, HubError, TargetForbidden
from hub.probes.address_policy import AddressPolicy
from hub.registry.state import Registry
from hub.service.changes.registrar import Registrar, Registration
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.endpoint_pb2 import BACKEND_UNSPECIFIED, SOURCE_CONFIG, Backend

log = structlog.get_logger()

_BACKENDS = cast(dict[str, Backend], {"": BACKEND_UNSPECIFIED} | enum_words(Backend.DESCRIPTOR))

AT_ONCE: Final = 64
"""How many endpoints are registered together, so that they share one write to the disk."""

Wanted = Mapping[str, Registration]
"""Registrations by the endpoint's id."""


def wanted_endpoints(settings: Settings) -> Wanted:
    """The endpoints that the settings list. Raises ConfigError, whose message is one line."""
    policy = AddressPolicy(settings.probes.allow, settings.probes.deny)
    wanted: dict[str, Registration] = {}
    for number, entry in enumerate(settings.endpoints):
        place = f"endpoints[{number}]"
        id_, registration = _registration(place, entry)
        if _is_among(id_, wanted):
            raise ConfigError(f"{place}.url: {id_} is listed twice")
        try:
            policy.require_host(registration.host)
        except TargetForbidden as error:
            raise ConfigError(f"{place}.url: {error.message}") from None
        wanted[id_] = registration
    return wanted


@dataclass(frozen=True, slots=True)
class StaticEndpoints:
    """Keeps the registry in step with the file.

    `is_alone` says that no other hub writes to the store: then every endpoint from a file
    came from this hub's file. Otherwise it may come from another hub's file, and this hub
    removes only the endpoints that it has read from its own.
    """

    registrar: Registrar
    registry: Registry
    clock: Clock
    is_alone: bool
    _listed: set[str] = field(default_factory=set, init=False)

    async def sync(self, wanted: Wanted) -> None:
        """Registers the wanted endpoints, and removes those that only an earlier file had.

        Logs an endpoint that cannot be registered or removed, and goes on with the others;
        the next reload tries again.
        """
        gone = [
            record.message.id
            for record in self.registry.endpoints()
            if record.message.source == SOURCE_CONFIG
            and not _is_among(record.message.id, wanted)
            and (self.is_alone or _is_among(record.message.id, self._listed))
        ]
        self._listed.update(wanted)
        for id_ in gone:
            await self._remove(id_)
        left = iter(wanted.items())
        while group := list(islice(left, AT_ONCE)):
            async with asyncio.TaskGroup() as tasks:
                for id_, registration in group:
                    tasks.create_task(self._register(id_, registration))

    async def _remove(self, id_: str) -> None:
        try:
            await self.registrar.remove(id_, "")
        except EndpointNotFound:
            pass
        except HubError as error:
            _failed("removed", id_, error)
            return
        else:
            log.info("endpoint removed: no longer in the file", id=id_)
        self._listed.difference_update(spellings(id_))

    async def _register(self, id_: str, registration: Registration) -> None:
        try:
            await self.registrar.register(id_, registration, self.clock.now_ms())
        except HubError as error:
            _failed("registered", id_, error)


def _is_among(id_: str, ids: Container[str]) -> bool:
    """Whether the endpoint is listed under any spelling of its id."""
    return any(each in ids for each in spellings(id_))


def _failed(what: str, id_: str, error: HubError) -> None:
    log.error(f"endpoint of the file not {what}", id=id_, reason=error.message)


def _registration(place: str, entry: StaticEndpoint) -> tuple[str, Registration]:
    """One entry, checked by the rules of a request. Raises ConfigError."""
    try:
        address = parse_endpoint_url(entry.url)
    except AddressError as error:
        raise ConfigError(f"{place}.url: {error}") from None
    backend = _BACKENDS[entry.backend]
    request = RegisterEndpointRequest(
        host=address.host,
        port=address.port,
        scheme=address.scheme,
        base_path=address.base_path,
        name=entry.name,
        backend=backend,
        agent_id=entry.agent_id,
        labels=entry.labels,
    )
    if violations := validation.violations(request):
        first = violations[0]
        raise ConfigError(f"{place}.{first.field}: {first.detail}")
    return address.id, Registration(
        host=address.host,
        port=address.port,
        scheme=address.scheme,
        base_path=address.base_path,
        source=SOURCE_CONFIG,
        name=entry.name or address.id,
        backend=backend,
        labels=dict(entry.labels),
        agent_id=entry.agent_id or None,
    )
