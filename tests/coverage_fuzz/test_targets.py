"""The corpus of each target; `make fuzz` runs them under atheris."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable

import pytest

from hub.base.address import AddressError
from hub.contract.dialect.frames import ParsedFrame
from hub.transports.grpc.native.http2_connection import Connection
from tests.coverage_fuzz import targets
from tests.coverage_fuzz.targets import TARGETS, corpus


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_of_the_corpus_finds_a_fault(name: str) -> None:
    kept = corpus(name)
    assert len(kept) > 50
    run(name)


def run(name: str) -> None:
    for one in corpus(name):
        TARGETS[name](one)


def _fault(*_: object, **__: object) -> None:
    raise ZeroDivisionError


def _two_spellings(text: str) -> str:
    if len(text) > 20:
        raise AddressError("too long")
    return f"{text}.lan"


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("addresses", lambda patch: patch.setattr(targets, "normalize_host", _two_spellings)),
        ("backends", lambda patch: patch.setitem(targets.PARSERS, "planted", _fault)),
        ("frames", lambda patch: patch.setattr(ParsedFrame, "decode", _fault)),
        ("http2", lambda patch: patch.setattr(Connection, "receive", _fault)),
    ],
)
def test_a_planted_fault_is_found(
    name: str, plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, ZeroDivisionError)):
        run(name)


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_atheris_finds_no_fault_in_a_few_inputs() -> None:
    command = [sys.executable, "-m", "tests.coverage_fuzz", "--runs", "2000"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "faults: none" in ended.stdout
