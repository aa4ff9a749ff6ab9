"""How a hub describes itself: in GetServerInfo, on its dashboard, and in the banner of `serve`.

The commands in the banner work when they are pasted into a shell.
"""

import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hub.base.clock import Clock
from hub.base.data_dir import ADMIN_TOKEN_FILE
from hub.base.settings import Settings
from hub.base.timestamps import to_timestamp
from hub.base.version import hub_version
from hub.server.fleet import Fleet, self_preservation
from hub.service.overload.shedding import Overload
from llmhub.v1.admin_service_pb2 import (
    GetServerInfoResponse,
    OverloadLevel,
    OverloadState,
)


@dataclass
class ServerInfo:
    """Describes a hub that started at `started_ms`.

    `addresses` maps "ws", "grpc" and "http" to where the hub listens.
    """

    fleet: Fleet
    clock: Clock
    store: str
    started_ms: int
    overload: Overload = field(default_factory=Overload)
    addresses: Mapping[str, str] = field(default_factory=dict)

    def get(self) -> GetServerInfoResponse:
        """Returns version, counts and addresses as of now."""
        registry = self.fleet.registry
        return GetServerInfoResponse(
            version=hub_version(),
            started_at=to_timestamp(self.started_ms),
            first_revision=registry.first_revision,
            revision=registry.revision,
            endpoint_count=len(registry),
            healthy_count=registry.healthy_count,
            sidecar_count=len(self.fleet.presence),
            store=self.store,
            ws_address=self.addresses.get("ws", ""),
            grpc_address=self.addresses.get("grpc", ""),
            http_address=self.addresses.get("http", ""),
            self_preservation=self_preservation(registry, self.clock.now_ms()),
            overload=_overload_state(self.overload),
        )


def _overload_state(overload: Overload) -> OverloadState:
    pressure = overload.pressure
    state = OverloadState(
        level=OverloadLevel.Name(overload.level),
        cause=pressure.cause if overload.level else "",
        pressure=pressure.by_resource,
        shed_count=overload.shed.total(),
    )
    if pressure.since_ms is not None:
        state.since.CopyFrom(to_timestamp(pressure.since_ms))
    return state


def show_banner(
    info: GetServerInfoResponse, settings: Settings, new_admin_token: str | None
) -> None:
    """Prints the banner and, as its last line, the `ready` line that scripts wait for."""
    token_file = shlex.quote(str(settings.data_dir / ADMIN_TOKEN_FILE))
    print(f"LLM Registry Hub {info.version}, data in {settings.data_dir}")
    cert_file = settings.tls.cert_file
    s = "s" if cert_file else ""
    print(f"  sidecars   ws{s}://{info.ws_address}{settings.ws.path}")
    print(f"  gRPC       {info.grpc_address}{' (TLS)' if cert_file else ''}")
    print(f"  dashboard  http{s}://{info.http_address}/ (and the HTTP API)")
    if (settings.data_dir / ADMIN_TOKEN_FILE).exists():
        # Always shown, for users who missed the banner of the first start.
        print(f"  admin token: kept in {token_file}")
    else:
        # Another hub of this store made it, or it was lost.
        print(
            f"  admin token: not on this machine, {token_file} is missing; copy it there, or see"
            ' "A lost admin token" in docs/operations.md'
        )
    if new_admin_token is not None and sys.stdout.isatty():
        # Only a person reads a terminal; a pipe or a log may keep what it gets.
        print("It was created just now and is shown only once:")
        print(f"  {new_admin_token}")
    # A client that trusts the certificate itself does not need its authority.
    trusted = shlex.quote(str(Path(cert_file).expanduser().absolute()))
    trust = f"-cacert {trusted}" if cert_file else "-plaintext"
    command = f"{_command()} --hub {info.grpc_address}"
    if cert_file:
        command += f" --tls-ca {trusted}"
    environment = f"LLM_HUB_TOKEN=$(cat {token_file})"
    print("Paste into another terminal to register an endpoint (an Ollama on this machine):")
    print(
        f'  grpcurl {trust} -H "authorization: Bearer $(cat {token_file})" '
        f'-d \'{{"host": "127.0.0.1"}}\' {info.grpc_address} '
        "llmhub.v1.AdminService/RegisterEndpoint"
    )
    print("to see the fleet:")
    print(f"  {environment} {command} snapshot")
    token = f"{environment} {command} token create --role sidecar --agent node-1"
    print("to create a token for a sidecar, or to create one and start a sidecar here:")
    print(f"  {token}")
    print(
        f"  LLM_HUB_TOKEN=$({token}) {_command()} sidecar "
        f"--hub ws{s}://{info.ws_address}{settings.ws.path} --agent node-1"
    )
    print(
        f"ready ws={info.ws_address} grpc={info.grpc_address} http={info.http_address}", flush=True
    )


def _command() -> str:
    """The command that runs this installation's `llm-hub` from another shell."""
    installed = Path(sys.executable).with_name("llm-hub")
    if shutil.which("llm-hub") is None and installed.exists():
        return shlex.quote(str(installed))
    return "llm-hub"
