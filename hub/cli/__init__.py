"""The `llm-hub` command: the hub itself, and clients of a running one."""

from hub.cli.root import main

__all__ = ["main"]
