"""The native transport against h2spec and gRPC's own interop client (both in Go)."""

import asyncio
import re
import shutil

import pytest

_WITHIN_S = 120
# Every case that a server without load balancing and credentials can serve.
_CASES = (
    *("empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong"),
    *("empty_stream", "timeout_on_sleeping_server", "cancel_after_begin"),
    *("cancel_after_first_response", "status_code_and_message", "special_status_message"),
    *("custom_metadata", "unimplemented_method", "unimplemented_service", "pick_first_unary"),
    *("rpc_soak", "channel_soak"),
)


async def _run(command: str, *arguments: str) -> tuple[int, str]:
    path = shutil.which(command)
    if path is None:
        pytest.skip(f"{command} is not on PATH")
    process = await asyncio.create_subprocess_exec(
        path, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(_WITHIN_S):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_h2spec_passes_completely(interop_port: int) -> None:
    code, output = await _run("h2spec", "-h", "127.0.0.1", "-p", str(interop_port), "-o", "10")
    assert re.search(r"145 tests, 145 passed, 0 skipped, 0 failed", output), output
    assert code == 0


@pytest.mark.parametrize("case", _CASES)
async def test_an_interop_case_passes(interop_port: int, case: str) -> None:
    code, output = await _run(
        "grpc-interop-client",
        "-server_host=127.0.0.1",
        f"-server_port={interop_port}",
        f"-test_case={case}",
    )
    assert code == 0, output
