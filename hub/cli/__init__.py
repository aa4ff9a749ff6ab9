"""The `llm-hub` command: the hub itself, and clients of a running one."""

import os

# gRPC's core logs to stderr in addition to the errors that it raises. It reads
# this variable when it is first imported, so it must be set here.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from hub.cli.root import main

__all__ = ["main"]
