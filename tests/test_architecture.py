"""docs/architecture.md has a row for each folder below hub/, and names only files that exist."""

import re
from pathlib import Path

import pytest

from llmhub.v1.endpoint_pb2 import AdminState, Status

ROOT = Path(__file__).parents[1]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


def table_below(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    _, _, text = ARCHITECTURE.partition(f"\n## {heading}\n")
    table = re.search(r"(?:^\|.*\n)+", text, re.M)
    assert table is not None, heading
    lines = table.group().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def diagrams() -> dict[str, str]:
    """The Mermaid diagrams by their kind, the first word of each."""
    blocks = re.findall(r"^```mermaid\n(.*?)^```", ARCHITECTURE, re.M | re.S)
    return {block.split()[0]: block for block in blocks}


def folders() -> list[str]:
    """Every folder below hub/ that holds a file of the project."""
    below = (ROOT / "hub").rglob("*")
    return sorted(
        f"{path.relative_to(ROOT).as_posix()}/"
        for path in below
        if path.is_dir()
        and path.name != "__pycache__"
        and any(each.is_file() for each in path.iterdir())
    )


def test_every_folder_has_a_row_and_every_row_a_folder():
    assert sorted(row[0].strip("`") for row in table_below("The rooms")) == folders()


def test_no_row_is_empty():
    assert [row for row in table_below("The rooms") if len(row) != 2 or not row[1]] == []


def test_the_package_and_the_document_name_the_same_rooms():
    import hub

    assert hub.__doc__ is not None
    listed = re.findall(r"^ {4}(\w+) {2,}", hub.__doc__, re.M)
    rooms = [folder.split("/")[1] for folder in folders()]
    assert sorted(listed) == sorted(set(rooms))


def test_there_are_at_least_ten_questions_and_each_names_a_file():
    rows = table_below("Where to look")
    assert len(rows) >= 10
    assert [row[0] for row in rows if not re.search(r"`hub/[\w/]+\.py`", row[1])] == []


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(hub/[\w/.]+)`", ARCHITECTURE))))
def test_a_path_in_the_text_exists(path: str):
    assert (ROOT / path).exists()


def test_the_document_has_three_diagrams():
    assert sorted(diagrams()) == ["flowchart", "sequenceDiagram", "stateDiagram-v2"]


@pytest.mark.parametrize(
    ("composite", "enum"),
    [("status", Status), ("admin_state", AdminState)],
    ids=("status", "admin_state"),
)
def test_the_diagrams_states_match_the_contract(composite: str, enum: type):
    text = diagrams()["stateDiagram-v2"]
    (body,) = re.findall(rf"as {composite} {{\n(.*?)^ *}}", text, re.M | re.S)
    drawn = {word for pair in re.findall(r"(\S+) --> (\S+)", body) for word in pair} - {"[*]"}
    prefix = f"{composite.upper()}_"
    known = {name.removeprefix(prefix).lower() for name, number in enum.items() if number}
    assert drawn == known


def test_every_participant_of_the_sequence_is_declared():
    text = diagrams()["sequenceDiagram"]
    declared = set(re.findall(r"participant (\w+)", text))
    used = {name for pair in re.findall(r"(\w+)-?->>(\w+):", text) for name in pair}
    assert used == declared
