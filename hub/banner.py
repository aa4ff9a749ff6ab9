"""What `serve` prints once all doors answer: addresses, and lines that work when pasted."""

import shlex

from hub.bootstrap import ADMIN_TOKEN_FILE
from hub.config import Settings
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse


def show(info: GetServerInfoResponse, settings: Settings, new_admin_token: str | None) -> None:
    """Prints the banner and, as its last line, the `ready` line that scripts wait for."""
    token_file = shlex.quote(str(settings.data_dir / ADMIN_TOKEN_FILE))
    print(f"LLM Registry Hub {info.version}, data in {settings.data_dir}")
    print(f"  sidecars   ws://{info.ws_address}{settings.ws.path}")
    print(f"  gRPC       {info.grpc_address}")
    print(f"  dashboard  http://{info.http_address}/ (and the HTTP API)")
    if new_admin_token is not None:
        print(f"An admin token was created and is kept in {token_file}; it is shown this once:")
        print(f"  {new_admin_token}")
    print("Register an endpoint and see the fleet:")
    print(
        f'  grpcurl -plaintext -H "authorization: Bearer $(cat {token_file})" '
        f'-d \'{{"host": "127.0.0.1"}}\' {info.grpc_address} '
        "llmhub.v1.AdminService/RegisterEndpoint"
    )
    hub = f"LLM_HUB_ADDRESS={info.grpc_address} LLM_HUB_TOKEN=$(cat {token_file})"
    print(f"  {hub} llm-hub snapshot")
    print("Make a token for a sidecar:")
    print(f"  {hub} llm-hub token create --role sidecar --agent node-1")
    print(
        f"ready ws={info.ws_address} grpc={info.grpc_address} http={info.http_address}", flush=True
    )
