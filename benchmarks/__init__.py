"""What the hub costs, held against the bare libraries it is made of: `python -m benchmarks`."""

import os

# Nothing here forks with a running gRPC, and asking for support of it only logs.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
