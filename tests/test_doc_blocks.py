"""Every code block of the documentation is run, loaded or parsed.

The shell and Python blocks of one document are one session, in order, beside a
hub of its own whose default ports stand for the ones that the hub has here. A
block that cannot run says why in its first line:

    ```bash no-run: it needs a domain and its certificate
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from hub.base.load_settings import load_settings
from tests.support.hub import ROOT
from tests.support.hub_process import HubProcess, running_hub

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]

NOT_RUN = Counter(
    {
        "README.md": 4,
        "docs/configuration.md": 3,
        "docs/envoy.md": 3,
        "docs/for-admins.md": 1,
        # tests/contract/test_descriptors.py runs two of them.
        "docs/for-services.md": 4,
        "docs/metrics.md": 1,
        "docs/operations.md": 6,
        "docs/other-programs.md": 1,
        "docs/quickstart.md": 1,
        "docs/sidecar.md": 1,
    }
)
"""How many blocks of each document cannot run. One more wants a good reason."""

_RUN = {"bash", "python"}
_SHOWN = {"mermaid", "text"}
_SESSION_S = 140.0
_FENCE = re.compile(r"^( *)```([a-z]*) *(.*)$")
_WHY_NOT = re.compile(r"no-run: \S.{10,}")
_TOOLS = ("buf", "curl", "grpcurl", "jq", "sqlite3")


@dataclass(frozen=True)
class Block:
    document: str
    line: int
    language: str
    note: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


def blocks_of(document: Path) -> list[Block]:
    blocks = []
    opened: tuple[int, str, str, str] | None = None
    text: list[str] = []
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None:
            if fence:
                opened, text = (number, *fence.groups()), []
        elif fence and not fence[2]:
            at, indent, language, note = opened
            body = "".join(f"{each.removeprefix(indent)}\n" for each in text)
            name = str(document.relative_to(ROOT))
            blocks.append(Block(name, at, language, note, body))
            opened = None
        else:
            text.append(line)
    assert opened is None, f"{document}: the block that line {opened} opens has no end"
    return blocks


BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]
CHECKED = [block for block in BLOCKS if not block.note]


def test_blocks_that_are_not_run_say_why_and_are_counted():
    excused = [block for block in BLOCKS if block.note]
    assert [block.place for block in excused if not _WHY_NOT.fullmatch(block.note)] == []
    assert Counter(block.document for block in excused) == NOT_RUN


def test_every_other_block_is_in_a_checked_language():
    known = _RUN | _SHOWN | {"toml", "json", "yaml"}
    assert [block.place for block in CHECKED if block.language not in known] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_code_is_in_fenced_blocks(document: Path):
    inside = False
    before = ""
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        if _FENCE.match(line):
            inside = not inside
        indented = line.startswith("    ") and before == ""
        assert inside or not indented, f"{document.name}:{number} is a block without a fence"
        before = line.strip()


@pytest.mark.parametrize(
    "block", [each for each in CHECKED if each.language == "toml"], ids=lambda block: block.place
)
def test_toml_blocks_are_valid_settings(block: Block, tmp_path: Path):
    file = tmp_path / "hub.toml"
    file.write_text(block.text)
    assert tomllib.loads(block.text)
    load_settings(file)


@pytest.mark.parametrize(
    "block", [each for each in CHECKED if each.language == "json"], ids=lambda block: block.place
)
def test_json_blocks_are_valid(block: Block):
    try:
        json.loads(block.text)
    except json.JSONDecodeError:
        # Frames, one in a line.
        for line in block.text.splitlines():
            assert isinstance(json.loads(line), dict), line


@pytest.mark.parametrize(
    "block", [each for each in CHECKED if each.language == "yaml"], ids=lambda block: block.place
)
def test_yaml_blocks_are_valid(block: Block):
    assert yaml.safe_load(block.text)


def test_a_lost_admin_token_is_replaced_as_documented(tmp_path: Path):
    [block] = [each for each in BLOCKS if "DELETE FROM entries" in each.text]
    data = tmp_path / "data"
    with running_hub(data) as hub:
        lost = hub.admin_token
        hub.stop()
    [statement] = re.findall(r'"(DELETE [^"]*)"', block.text)
    with closing(sqlite3.connect(data / "hub.db")) as file, file:
        file.execute(statement)
    with running_hub(data) as hub:
        assert hub.admin_token != lost
        assert hub.admin_token not in hub.said, "stdout is a pipe"


STORIES = sorted({block.document for block in CHECKED if block.language in _RUN})


@pytest.mark.parametrize("document", STORIES)
def test_the_commands_of_a_document_work(document: str, tmp_path: Path):
    environment = _environment(tmp_path)
    places = environment["PATH"]
    missing = {tool for tool in _TOOLS if shutil.which(tool, path=places) is None}
    blocks = [block for block in CHECKED if block.document == document and block.language in _RUN]
    runnable = [
        block
        for block in blocks
        if not any(re.search(rf"\b{tool} ", block.text) for tool in missing)
    ]
    if not runnable:
        pytest.skip(f"not installed: {', '.join(sorted(missing))}")
    data = Path(environment["HOME"]) / ".local" / "share" / "llm-hub"
    data.parent.mkdir(parents=True)
    with running_hub(data) as hub:
        done = subprocess.run(
            ["bash", "-c", _session(runnable, hub)],
            cwd=_made(tmp_path / "work"),
            env=environment | {"LLM_HUB_ADDRESS": hub.grpc, "LLM_HUB_TOKEN": hub.admin_token},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SESSION_S,
            check=False,
        )
    assert done.returncode == 0, done.stdout
    if len(runnable) < len(blocks):
        pytest.skip(f"{len(blocks) - len(runnable)} blocks need {', '.join(sorted(missing))}")


def _session(blocks: list[Block], hub: HubProcess) -> str:
    """One script of all blocks, in which documented addresses are those of the hub."""
    parts = ["set -euo pipefail"]
    for block in blocks:
        text = block.text
        for documented, real in (
            (".venv/bin/llm-hub", "llm-hub"),
            ("127.0.0.1:4000", hub.ws),
            ("127.0.0.1:50051", hub.grpc),
            ("127.0.0.1:8080", hub.http),
        ):
            text = text.replace(documented, real)
        parts.append(f"echo '--- {block.place}'")
        if block.language == "python":
            text = f"python - <<'END_OF_BLOCK'\n{text}END_OF_BLOCK\n"
        parts.append(text)
    return "\n".join(parts)


def _environment(directory: Path) -> dict[str, str]:
    """What an installed hub's user has: the command on PATH, and a home."""
    commands = _made(directory / "bin")
    for name, arguments in (("llm-hub", "-m hub.cli "), ("python", "")):
        file = commands / name
        file.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        file.chmod(0o755)
    go = Path(os.environ.get("GOPATH", str(Path.home() / "go"))) / "bin"
    return {
        "HOME": str(_made(directory / "home")),
        "PATH": os.pathsep.join([str(commands), os.environ["PATH"], str(go)]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "gen")]),
    }


def _made(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory
