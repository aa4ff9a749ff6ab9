"""Hubs for tests: one in the test's own loop, one in a separate process, and their clients."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from websockets.asyncio.client import ClientConnection, connect

from hub.base.clock import Clock, SystemClock
from hub.base.data_dir import ADMIN_TOKEN_FILE
from hub.base.settings import Settings
from hub.contract import rpcs
from hub.server.hub_server import HubServer
from hub.service.dispatcher import Called, Dispatcher
from llmhub.v1.admin_service_pb2 import CreateTokenRequest, CreateTokenResponse
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.registry_service_pb2 import GetSnapshotRequest
from llmhub.v1.resources_pb2 import ROLE_SIDECAR, Role, Snapshot, TokenScope
from tests.support.command import Outcome, llm_hub
from tests.support.engines import engine, engine_environment

ROOT = Path(__file__).parents[2]
REGISTRY_PATH = "/api/admin/llm-registry"

_CALL_S = 30.0
_START_S = 60.0


@dataclass(frozen=True)
class Answer:
    """An HTTP reply whose body is JSON."""

    status: int
    headers: Mapping[str, str]
    json: Any


class SidecarSocket:
    """A sidecar's WebSocket; every wait has a deadline."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, frame: object) -> None:
        """Sends an object as JSON, and text or bytes unchanged."""
        raw = frame if isinstance(frame, str | bytes) else json.dumps(frame)
        await self.connection.send(raw)

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(_CALL_S):
            return json.loads(await self.connection.recv())

    async def ask(self, frame: object) -> dict[str, Any]:
        await self.send(frame)
        return await self.receive()

    async def closed(self) -> tuple[int | None, str | None]:
        """Waits until the hub has closed the connection; returns code and reason."""
        async with asyncio.timeout(_CALL_S):
            await self.connection.wait_closed()
        return self.connection.close_code, self.connection.close_reason


class HubClient:
    """Clients of all three transports of one hub, closed together."""

    def __init__(self, *, ws: str, grpc_address: str, http: str, admin_token: str) -> None:
        self.ws_address = ws
        self.grpc_address = grpc_address
        self.http_address = http
        self.admin_token = admin_token
        self.channel = grpc.aio.insecure_channel(
            grpc_address, options=[("grpc.use_local_subchannel_pool", 1)]
        )
        self.session = aiohttp.ClientSession()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.channel.close()
        await self.session.close()

    # gRPC

    def metadata(self, token: str | None) -> Sequence[tuple[str, str]]:
        """The caller's credentials; None means the admin's token, "" no token."""
        given = self.admin_token if token is None else token
        return (("authorization", f"Bearer {given}"),) if given else ()

    async def call(
        self,
        name: str,
        request: Message | None = None,
        *,
        token: str | None = None,
        timeout_s: float = _CALL_S,
    ) -> Any:
        """Calls a unary RPC by its name in the contract."""
        rpc = rpcs.rpc(name)
        method = self.channel.unary_unary(
            rpc.path,
            request_serializer=rpc.request.SerializeToString,
            response_deserializer=rpc.response.FromString,
        )
        return await method(
            request or rpc.request(), metadata=self.metadata(token), timeout=timeout_s
        )

    async def snapshot(self) -> Snapshot:
        return (await self.call("GetSnapshot", GetSnapshotRequest())).snapshot

    async def token(self, role: Role, agent_id: str = "", ttl_s: int | None = None) -> str:
        return (await self.created_token(role, agent_id, ttl_s)).token

    async def created_token(
        self,
        role: Role,
        agent_id: str = "",
        ttl_s: int | None = None,
        scope: TokenScope | None = None,
    ) -> CreateTokenResponse:
        request = CreateTokenRequest(role=role, agent_id=agent_id, scope=scope)
        if ttl_s is not None:
            request.ttl.FromSeconds(ttl_s)
        return await self.call("CreateToken", request)

    # HTTP

    async def http(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: object = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Sends a request; `path` and `data` are sent unchanged, `body` as JSON."""
        from yarl import URL

        sent = {key.title(): value for key, value in self.metadata(token)} | dict(headers or {})
        if body is not None:
            data = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        async with self.session.request(
            method,
            URL(f"http://{self.http_address}{path}", encoded=True),
            data=data,
            headers=sent,
            skip_auto_headers=("Content-Type",),
            timeout=aiohttp.ClientTimeout(total=_CALL_S),
        ) as response:
            raw = await response.read()
            assert response.content_type == "application/json", (response.status, raw)
            return Answer(response.status, response.headers, json.loads(raw or b"null"))

    # WebSocket

    @asynccontextmanager
    async def socket(
        self, *, path: str = "/ws", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[SidecarSocket]:
        async with connect(
            f"ws://{self.ws_address}{path}",
            additional_headers=headers,
            compression=None,
            proxy=None,
            close_timeout=2,
        ) as connection:
            yield SidecarSocket(connection)

    @asynccontextmanager
    async def sidecar(
        self, agent_id: str, *, token: str | None = None, **fields: object
    ) -> AsyncIterator[SidecarSocket]:
        """An identified sidecar; `fields` are additional fields of the identify frame."""
        token = token or await self.token(ROLE_SIDECAR, agent_id)
        async with self.socket() as socket:
            identify = {"type": "identify", "agent_id": agent_id, "token": token, **fields}
            assert await socket.ask(identify) == {"type": "identified", "agent_id": agent_id}
            yield socket


class RunningHub(HubClient):
    """A hub in this loop."""

    def __init__(self, hub: HubServer, settings: Settings) -> None:
        info = hub.info()
        token = (settings.data_dir / ADMIN_TOKEN_FILE).read_text().strip()
        super().__init__(
            ws=info.ws_address,
            grpc_address=info.grpc_address,
            http=info.http_address,
            admin_token=token,
        )
        self.hub = hub
        self.settings = settings

    @property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher behind all transports."""
        assert self.hub._listeners is not None
        return self.hub._listeners.dispatcher

    def handlers_of(self, called: Called) -> Any:
        """The object that answers an RPC or operation."""
        return self.dispatcher._routes[called].handler.__self__


PROBED = ("127.0.0.0/8", "::1/128")
"""A hub under test connects only to this machine, whatever a test registers."""


def settings_for(data_dir: Path, **sections: Mapping[str, object]) -> Settings:
    """Settings with ports that the system picks; `sections` are additional settings."""
    values: dict[str, dict[str, object]] = {
        transport: {"address": "127.0.0.1:0"} for transport in ("ws", "grpc", "http")
    }
    values["probes"] = {"allow": PROBED}
    values["grpc"]["engine"] = engine()
    for name, section in sections.items():
        values[name] = values.get(name, {}) | dict(section)
    return Settings.model_validate({"data_dir": data_dir, **values})


@asynccontextmanager
async def running_hub(
    data_dir: Path, clock: Clock | None = None, **sections: Mapping[str, object]
) -> AsyncIterator[RunningHub]:
    """Runs a hub until the block ends."""
    settings = settings_for(data_dir, **sections)
    hub = HubServer(settings, clock or SystemClock())
    try:
        await hub.start()
        async with RunningHub(hub, settings) as running:
            yield running
    finally:
        await hub.stop()


class HubProcess:
    """`python -m hub.cli serve` in a separate process, on one data directory."""

    def __init__(
        self, data_dir: Path, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.data_dir = data_dir
        self.arguments = arguments
        self.environment = dict(environment or {})
        self.banner: list[str] = []
        self.addresses: dict[str, str] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._errors: asyncio.Task[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        return self._running().pid

    async def start(self) -> None:
        """Starts it and waits for the `ready` line. Raises RuntimeError if it exits."""
        await self.launch()
        process = self._running()
        assert process.stdout is not None
        self.banner = []
        async with asyncio.timeout(_START_S):
            while line := (await process.stdout.readline()).decode().rstrip("\n"):
                self.banner.append(line)
                if line.startswith("ready "):
                    pairs = (each.split("=", 1) for each in line.split()[1:])
                    self.addresses = dict(pairs)
                    return
        code, errors = await self.exited()
        raise RuntimeError(f"the hub exited with {code}: {errors}")

    async def launch(self) -> None:
        """Starts it without waiting."""
        options = ("--ws", "--grpc", "--http")
        given = [f"{option}=127.0.0.1:0" for option in options if option not in self.arguments]
        kept = {key: value for key, value in os.environ.items() if not key.startswith("LLM_HUB_")}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "hub.cli", "serve", "--data-dir", str(self.data_dir), *given, *self.arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env=kept
            | engine_environment()
            | {
                "LLM_HUB_PROBES__ALLOW": ",".join(PROBED),
                "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}",
            }
            | self.environment,
        )
        assert self._process.stderr is not None
        # Read continuously, because a full pipe would block the hub at its next log line.
        self._errors = asyncio.create_task(self._process.stderr.read())

    def send(self, signal_number: signal.Signals) -> None:
        self._running().send_signal(signal_number)

    async def exited(self, timeout_s: float = _START_S) -> tuple[int, str]:
        """Waits until it ends; returns the exit code and its stderr."""
        process = self._running()
        assert self._errors is not None
        assert process.stdout is not None
        async with asyncio.timeout(timeout_s):
            await process.stdout.read()
            errors = await self._errors
            code = await process.wait()
        self._process = self._errors = None
        return code, errors.decode()

    async def kill(self) -> None:
        """Kills it with SIGKILL, like a power cut."""
        self.send(signal.SIGKILL)
        assert (await self.exited())[0] == -signal.SIGKILL

    def client(self) -> HubClient:
        """Clients of its transports. Use it as a context manager."""
        return HubClient(
            ws=self.addresses["ws"],
            grpc_address=self.addresses["grpc"],
            http=self.addresses["http"],
            admin_token=(self.data_dir / ADMIN_TOKEN_FILE).read_text().strip(),
        )

    async def command(self, *arguments: str) -> Outcome:
        """The output of `llm-hub` for it, without the log of any hub in this process."""
        environment = {
            "LLM_HUB_ADDRESS": self.addresses["grpc"],
            "LLM_HUB_DATA_DIR": str(self.data_dir),
        }
        return await asyncio.to_thread(llm_hub, *arguments, env=environment)

    async def close(self) -> None:
        """Ends it if it is still running."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self.exited()

    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process


@asynccontextmanager
async def hub_process(data_dir: Path, *arguments: str) -> AsyncIterator[HubProcess]:
    """Runs a hub in a separate process, and kills it at the end if it is still running."""
    process = HubProcess(data_dir, *arguments)
    try:
        await process.start()
        yield process
    finally:
        await process.close()


# Errors of RPCs.


@dataclass(frozen=True)
class Failure:
    """The error of an RPC, with its details unpacked."""

    code: grpc.StatusCode
    message: str
    reason: str
    domain: str
    metadata: dict[str, str]
    violations: list[tuple[str, str, str]]
    retry_after_ms: int | None


async def failure_of(call: Any) -> Failure:
    """Awaits a call that must fail with a rich error."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return failure(error)
    raise AssertionError(f"the call did not fail: {answer}")


def failure(error: grpc.aio.AioRpcError) -> Failure:
    status = rpc_status.from_call(error)
    assert status is not None, f"no details: {error.code()} {error.details()}"
    assert status.code == error.code().value[0]
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    retry_after_ms = None
    for detail in status.details:
        if detail.Unpack(retry):
            retry_after_ms = retry.retry_delay.ToMilliseconds()
        else:
            assert detail.Unpack(info) or detail.Unpack(bad), detail.type_url
    return Failure(
        error.code(),
        status.message,
        info.reason,
        info.domain,
        dict(info.metadata),
        [(each.field, each.reason, each.description) for each in bad.field_violations],
        retry_after_ms,
    )


def by_id(snapshot: Snapshot) -> dict[str, Endpoint]:
    return {endpoint.id: endpoint for endpoint in snapshot.endpoints}
