"""docs/limits.md is held against the code: every bound is there, with the value that it has."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
from pydantic import BaseModel

from hub.base import bounds
from hub.base.settings import Settings
from hub.service.overload.pressure import _BEGINS, FALL_MS, LAG_READINGS, MARGIN

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "limits.md").read_text()
ROWS = re.findall(r"^\| (.+?) \| (.+?) \| ([\d.]+) \| (.+?) \| `([\w.]+)` \|$", TEXT, re.M)
PLACES = {place: float(default) for _, _, default, _, place in ROWS}

ELSEWHERE = {
    "hub/contract/dialect/frames.py": {"MAX_UNREAD_BYTES"},
    "hub/contract/dialect/names.py": {"MAX_VALUE_CHARS"},
    "hub/contract/dialect/scalars.py": {"MAX_TIMESTAMP_MS", "MAX_DURATION_MS", "MAX_DOUBLE_BITS"},
    "hub/contract/validation.py": {"_MAX_REMEMBERED_BYTES"},
    "hub/registry/health/status.py": {"MAX_ERROR_CHARACTERS", "_MAX_LOAD"},
    "hub/registry/selection/near_names.py": {
        *("MAX_EXAMINED", "MAX_BYTES", "_MAX_COMPARED", "_MAX_LENGTH"),
    },
    "hub/service/handlers/ranking_queue.py": {"MAX_WAIT_S"},
    "hub/service/handlers/selection_refusals.py": {"_MAX_RETRY_MS"},
    "hub/stores/facts_file.py": {"_MAX_KEY"},
    "hub/transports/grpc/grpc_server.py": {
        *("_MAX_CHECKS_WAITING", "_MAX_CHECKS_WAITING_PER_PEER"),
        *("_MAX_CHECK_REPLIES", "_MAX_CHECK_REPLIES_PER_CONNECTION"),
    },
    "hub/transports/grpc/picker/json_model.py": {"_MAX_KEY_BYTES"},
    "hub/transports/grpc/xds/discovery_stream.py": {"_MAX_ERROR"},
    "hub/transports/http/dashboard/transitions.py": {"_MAX_REASON_CHARACTERS"},
    "hub/transports/http/dashboard/updates.py": {"_MAX_EVENTS"},
}
"""Bounds of one engine, of texts and of single steps, which their modules explain."""

OTHER_NUMBERS = {
    *("probes.unhealthy_after", "preservation.min_endpoints", "flapping.changes"),
    *("rate_limits.reader.light", "rate_limits.reader.heavy"),
    *("rate_limits.admin.light", "rate_limits.admin.heavy"),
    *("overload.memory_bytes",),
}
"""Settings that are numbers but no bounds, or are described in words."""


def settings_below(model: BaseModel, path: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            found |= settings_below(value, f"{path}{name}.")
        else:
            found[path + name] = value
    return found


SETTINGS = settings_below(Settings())


def value_at(place: str) -> object:
    if place in SETTINGS:
        return SETTINGS[place]
    module, _, name = place.rpartition(".")
    if module.endswith("Limits"):
        home, _, limits = module.rpartition(".")
        return getattr(getattr(import_module(home), limits)(), name)
    return getattr(import_module(module), name)


@pytest.mark.parametrize("place", PLACES)
def test_a_bound_has_the_value_that_the_document_says(place: str) -> None:
    assert value_at(place) == PLACES[place]


def test_each_bound_is_listed_once() -> None:
    assert len(ROWS) == len(PLACES)
    # Every row of a table with five columns is one that could be read.
    in_tables = [line for line in TEXT.splitlines() if line.count(" | ") == 4]
    heads = [line for line in in_tables if line.startswith(("| bound", "| ---"))]
    assert len(in_tables) - len(heads) == len(ROWS)


def test_every_setting_that_is_a_bound_is_listed() -> None:
    numbers = {path for path, value in SETTINGS.items() if type(value) is int}
    assert numbers - OTHER_NUMBERS == {
        place for place in PLACES if type(SETTINGS.get(place)) is int
    }


def constants(module: Path) -> set[str]:
    names = set()
    for node in ast.parse(module.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("room", ["contract", "registry", "service", "stores", "transports"])
def test_every_constant_that_is_a_bound_is_listed(room: str) -> None:
    for module in sorted((ROOT / "hub" / room).rglob("*.py")):
        name = str(module.relative_to(ROOT))
        if "/native/" in name:
            continue
        dotted = name.removesuffix(".py").replace("/", ".")
        found = {each for each in constants(module) if re.match(r"_?(DEFAULT_)?MAX_", each)}
        listed = {each for each in found if f"{dotted}.{each}" in PLACES}
        assert found - listed <= ELSEWHERE.get(name, set()), name


def test_every_bound_of_the_module_of_bounds_is_listed_and_explained() -> None:
    module = ast.parse(Path(bounds.__file__).read_text())
    for each, following in zip(module.body, [*module.body[1:], None], strict=True):
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            name = each.target.id
            assert isinstance(following, ast.Expr), name
            assert f"hub.base.bounds.{name}" in PLACES or name == "RETRY_AFTER_MS"


def test_the_levels_of_overload_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d\.\d\d) \|", TEXT, re.M)
    assert [(word, float(begins)) for word, begins in rows] == [
        (level.word, begins) for level, begins in _BEGINS.items()
    ]
    assert f"was {MARGIN:.2f} below its beginning\nfor {FALL_MS // 1000} s" in TEXT
    assert LAG_READINGS == 4
    assert "four readings in a row" in TEXT
