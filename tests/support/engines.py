"""Which gRPC server the hubs of a test run: set by the fixture `grpc_engine`."""

import os

ENGINES = ("native", "grpcio")
VARIABLE = "TEST_GRPC_ENGINE"


def engine() -> str:
    """The value of `grpc.engine` for hubs of this test."""
    return os.environ.get(VARIABLE, ENGINES[0])


def engine_environment() -> dict[str, str]:
    """The variables that a hub in a process of its own needs for it."""
    return {"LLM_HUB_GRPC__ENGINE": engine()}
