"""The rules of structure that a machine can check: see CONTRIBUTING.md and `hub/__init__.py`.

- A module imports at most fifteen of the project's own modules. Generated code is not counted.
- A constructor takes at most six collaborators. Every parameter of `__init__` counts but
  `self`, and parameters of plain values: numbers, text, flags, bytes, paths, address blocks.
  Generated constructors of dataclasses, which hold data, are exempt.
- A module has at most 400 lines.
- A file stem stands for one thing: it is not used twice.
- A module has a test file of its own at the mirrored path, with the exceptions of `UNTESTED`.
- `hub/` has at most twelve rooms, and each folder says in its docstring what it is.
"""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HUB = ROOT / "hub"
MODULES = sorted(HUB.rglob("*.py"))
MAX_OWN_IMPORTS = 15
MAX_COLLABORATORS = 6
MAX_LINES = 400
MAX_ROOMS = 12

UNTESTED = {
    "hub/registry/following.py": "plain data and a protocol",
    "hub/registry/observation.py": "plain data",
    "hub/service/picks.py": "plain data",
    "hub/stores/store.py": "a protocol, which test_contract.py checks on each engine",
    "hub/transports/context.py": "plain data",
    "hub/transports/grpc/gateway_methods.py": "plain data",
    "hub/transports/grpc/native/events.py": "plain data",
    "hub/transports/grpc/native/limits.py": "plain data",
    "hub/transports/grpc/native/method.py": "plain data",
    "hub/transports/grpc/native/protocol_errors.py": "plain data",
    "hub/transports/websocket/websocket_limits.py": "plain data",
}
"""Modules without a test file of their own, each with the reason."""

PLAIN = {"int", "float", "str", "bool", "bytes", "Path", "None", "Network"}
"""Types that are values and not collaborators. Settings and the clock are collaborators."""


def name_of(module: Path) -> str:
    return str(module.relative_to(ROOT))


def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text())


def is_module(dotted: str) -> bool:
    path = ROOT.joinpath(*dotted.split("."))
    return path.with_suffix(".py").exists()


def own_imports(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "hub"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hub":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if is_module(inner) else str(node.module))
    return found


def is_plain(annotation: ast.expr | None) -> bool:
    """Whether a parameter holds a value, by its annotation: all its names are plain."""
    if annotation is None:
        return False
    containers = {"Sequence", "tuple", "list", "frozenset", "Mapping", "dict"}
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    return names <= PLAIN | containers


def collaborators(function: ast.FunctionDef) -> list[str]:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [each.arg for each in arguments[1:] if not is_plain(each.annotation)]


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_modules_are_small_and_import_few_others(module: Path) -> None:
    imports = own_imports(tree_of(module))
    assert len(imports) <= MAX_OWN_IMPORTS, sorted(imports)
    assert len(module.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_constructors_take_few_collaborators(module: Path) -> None:
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            taken = collaborators(node)
            assert len(taken) <= MAX_COLLABORATORS, (module.name, node.lineno, taken)


def test_file_stems_are_unique() -> None:
    stems = Counter(module.stem for module in MODULES)
    assert {stem for stem, times in stems.items() if times > 1} <= {"__init__", "__main__"}


def test_there_are_few_rooms_and_each_has_a_docstring() -> None:
    rooms = [path for path in HUB.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert len(rooms) <= MAX_ROOMS
    for folder in {module.parent for module in MODULES}:
        assert ast.get_docstring(tree_of(folder / "__init__.py")), folder


def test_each_module_has_a_test_file() -> None:
    without = set()
    for module in MODULES:
        if not module.stem.startswith("__"):
            folder = ROOT / "tests" / module.parent.relative_to(HUB)
            if not (folder / f"test_{module.stem.removeprefix('_')}.py").exists():
                without.add(name_of(module))
    assert without == set(UNTESTED)
