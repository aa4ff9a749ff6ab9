"""What `serve` prints once the hub listens: addresses, and lines that work when pasted."""

import shlex
import shutil
import sys
from pathlib import Path

from hub.base.settings import ADMIN_TOKEN_FILE, Settings
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse


def show(info: GetServerInfoResponse, settings: Settings, new_admin_token: str | None) -> None:
    """Prints the banner and, as its last line, the `ready` line that scripts wait for."""
    token_file = shlex.quote(str(settings.data_dir / ADMIN_TOKEN_FILE))
    print(f"LLM Registry Hub {info.version}, data in {settings.data_dir}")
    cert_file = settings.tls.cert_file
    s = "s" if cert_file else ""
    print(f"  sidecars   ws{s}://{info.ws_address}{settings.ws.path}")
    print(f"  gRPC       {info.grpc_address}{' (TLS)' if cert_file else ''}")
    print(f"  dashboard  http{s}://{info.http_address}/ (and the HTTP API)")
    if (settings.data_dir / ADMIN_TOKEN_FILE).exists():
        # Always: a user who missed the first start's banner finds it here.
        print(f"  admin token: kept in {token_file}")
    else:
        # It was made by another hub of this store, or was lost.
        print(
            f"  admin token: not on this machine, {token_file} is missing; bring one, or see"
            ' "A lost admin token" in docs/operations.md'
        )
    if new_admin_token is not None:
        print("It was created just now, and is shown this once:")
        print(f"  {new_admin_token}")
    # A client that trusts the certificate itself need not know who signed it.
    trusted = shlex.quote(str(Path(cert_file).expanduser().absolute()))
    trust = f"-cacert {trusted}" if cert_file else "-plaintext"
    command = f"{_command()} --hub {info.grpc_address}"
    if cert_file:
        command += f" --tls-ca {trusted}"
    environment = f"LLM_HUB_TOKEN=$(cat {token_file})"
    print("Paste in another terminal, to register an endpoint (an Ollama on this machine):")
    print(
        f'  grpcurl {trust} -H "authorization: Bearer $(cat {token_file})" '
        f'-d \'{{"host": "127.0.0.1"}}\' {info.grpc_address} '
        "llmhub.v1.AdminService/RegisterEndpoint"
    )
    print("to see the fleet:")
    print(f"  {environment} {command} snapshot")
    token = f"{environment} {command} token create --role sidecar --agent node-1"
    print("to make a token for a sidecar, or to make one and start the sidecar of this machine:")
    print(f"  {token}")
    print(
        f"  LLM_HUB_TOKEN=$({token}) {_command()} sidecar "
        f"--hub ws{s}://{info.ws_address}{settings.ws.path} --agent node-1"
    )
    print(
        f"ready ws={info.ws_address} grpc={info.grpc_address} http={info.http_address}", flush=True
    )


def _command() -> str:
    """How to call this very installation's `llm-hub` from another shell."""
    beside = Path(sys.executable).with_name("llm-hub")
    if shutil.which("llm-hub") is None and beside.exists():
        return shlex.quote(str(beside))
    return "llm-hub"
