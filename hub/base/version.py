"""The version of the package."""

from importlib.metadata import PackageNotFoundError, version


def hub_version() -> str:
    """The installed version, or "unknown" in a source tree that is not installed."""
    try:
        return version("llm-registry-hub")
    except PackageNotFoundError:
        return "unknown"
