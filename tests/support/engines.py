"""The gRPC server that the hubs of a test use; the fixture `grpc_engine` sets it."""

import os

ENGINES = ("native", "grpcio")
VARIABLE = "TEST_GRPC_ENGINE"


def engine() -> str:
    """The value of `grpc.engine` for the hubs of this test."""
    return os.environ.get(VARIABLE, ENGINES[0])


def engine_environment() -> dict[str, str]:
    """The environment variables that select it for a hub in a separate process."""
    return {"LLM_HUB_GRPC__ENGINE": engine()}
