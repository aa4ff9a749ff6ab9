"""The `llm-hub` command: the hub itself, and clients of a running one."""

import os

# gRPC's core writes to stderr beside the errors that it raises. It reads this
# when it is first imported, so no later place will do.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from hub.cli.root import main

__all__ = ["main"]
