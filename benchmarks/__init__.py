"""The hub's performance compared with the bare libraries it uses: `python -m benchmarks`."""

import os

# Nothing here forks while gRPC runs, and fork support only adds log lines.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
