"""What `serve` prints once it listens: where the hub is, its token, and what to do next.

The command in the banner works when it is pasted into a shell.
"""

import shlex
import shutil
import sys
from pathlib import Path

from hub.base.data_dir import ADMIN_TOKEN_FILE, default_data_dir
from hub.base.settings import Settings
from hub.client.hub_address import DEFAULT_ADDRESS
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse


def show_banner(
    info: GetServerInfoResponse, settings: Settings, new_admin_token: str | None
) -> None:
    """Prints the banner and, as its last line, the `ready` line that scripts wait for."""
    s = "s" if settings.tls.cert_file else ""
    print(f"LLM Registry Hub {info.version}, {_token_place(settings)}")
    print(
        f"  dashboard http{s}://{info.http_address}/   gRPC {info.grpc_address}"
        f"   sidecars ws{s}://{info.ws_address}{settings.ws.path}"
    )
    if new_admin_token is not None and sys.stdout.isatty():
        # Only a person reads a terminal; a pipe or a log may keep what it gets.
        print(f"  admin token, shown only now: {new_admin_token}")
    if not info.endpoint_count:
        print(
            f"  in another terminal, add a server:  {_command(info, settings)} register 127.0.0.1"
        )
    print(
        f"ready ws={info.ws_address} grpc={info.grpc_address} http={info.http_address}", flush=True
    )


def _token_place(settings: Settings) -> str:
    file = settings.data_dir / ADMIN_TOKEN_FILE
    if file.exists():
        return f"admin token in {shlex.quote(str(file))}"
    # Another hub of this store made it, or it was lost.
    return (
        f"no admin token in {shlex.quote(str(file))}: copy it there, or see"
        ' "A lost admin token" in docs/operations.md'
    )


def _command(info: GetServerInfoResponse, settings: Settings) -> str:
    """The command with what it cannot find itself: this hub's token, address and certificate."""
    command = _installed_command()
    if settings.data_dir != default_data_dir():
        token_file = shlex.quote(str(settings.data_dir / ADMIN_TOKEN_FILE))
        command = f"LLM_HUB_TOKEN=$(cat {token_file}) {command}"
    if info.grpc_address != DEFAULT_ADDRESS:
        command += f" --hub {info.grpc_address}"
    if settings.tls.cert_file:
        # A client that trusts the certificate itself does not need its authority.
        trusted = Path(settings.tls.cert_file).expanduser().absolute()
        command += f" --tls-ca {shlex.quote(str(trusted))}"
    return command


def _installed_command() -> str:
    """The command that runs this installation's `llm-hub` from another shell."""
    installed = Path(sys.executable).with_name("llm-hub")
    if shutil.which("llm-hub") is None and installed.exists():
        return shlex.quote(str(installed))
    return "llm-hub"
