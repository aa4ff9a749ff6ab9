"""What holds for every test."""

import logging
import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

from tests.support.engines import ENGINES, VARIABLE

# A deadline for each example measures how busy the machine is. A failure is printed so
# that it can be repeated anywhere; in CI there is no earlier run's database to build on.
settings.register_profile("hub", deadline=None, print_blob=True)
settings.register_profile("hub-ci", settings.get_profile("hub"), database=None)
settings.load_profile("hub-ci" if os.environ.get("CI") else "hub")


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A hub that takes over other settings configures the log of the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(params=ENGINES)
def grpc_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs the test with each of the gRPC servers; modules ask for it with `usefixtures`."""
    monkeypatch.setenv(VARIABLE, request.param)
    engine: str = request.param
    return engine
