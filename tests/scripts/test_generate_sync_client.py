import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = "scripts/generate_sync_client.py"


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_committed_ranking_is_up_to_date() -> None:
    done = run(ROOT, "--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_module_that_is_not_up_to_date_is_shown_and_can_be_written(tmp_path: Path) -> None:
    for name in ("scripts", "hub/client", "tests/client"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    # Ruff sorts imports by whether the package is there.
    shutil.copytree(ROOT / "gen/llmhub", tmp_path / "gen/llmhub")
    shutil.copy(ROOT / "hub/__init__.py", tmp_path / "hub")
    generated = tmp_path / "hub/client/sync_hub.py"
    text = generated.read_text()
    generated.write_text(text.replace("class Hub(", "class Hob("))
    done = run(tmp_path, "--check")
    assert done.returncode == 1
    assert "-class Hob(" in done.stderr
    assert "make client" in done.stderr
    assert run(tmp_path).returncode == 0
    assert generated.read_text() == text


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("async def f() -> AsyncHub:\n    return await g()\n", "def f() -> Hub:\n    return g()\n"),
        ("from hub.client._async_runtime import x\n", "from hub.client._sync_runtime import x\n"),
        ("async with aclosing(a) as b:\n    pass", "with closing(a) as b:\n    pass"),
        (
            '"""Of `AsyncHub`.\n\n    x\n"""\nawaited = "await"  # async',
            '"""Of `Hub`.\n\n    x\n"""\nawaited = "await"  # async',
        ),
        ("x = [\n    i\n    async for i in y\n]\n", "x = [\n    i\n    for i in y\n]\n"),
        ("", ""),
    ],
)
def test_tokens_are_replaced_and_the_rest_stays(source: str, wanted: str) -> None:
    assert runpy.run_path(str(ROOT / SCRIPT))["sync_source"](source) == wanted
