"""The locks of this tree are checked as CI checks them, and so are locks that are wrong."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def check(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "lock.py", "--project", project, "--check"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the ranges and the locks that a test may change."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    return tmp_path


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_the_locks_satisfy_pyproject() -> None:
    done = check(ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_version_outside_its_range_is_named(project: Path) -> None:
    change(project / "pyproject.toml", '"websockets>=17,<18"', '"websockets>=18,<19"')
    done = check(project)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert any(line.startswith("runtime.lock: websockets 17.") for line in lines), lines
    assert "make lock" in lines[-1]


def test_a_package_that_no_lock_has_is_named(project: Path) -> None:
    change(project / "pyproject.toml", '"click>=8.4,<9"', '"click>=8.4,<9", "docopt>=0.6,<1"')
    assert check(project).stderr.splitlines()[:-1] == [
        f"{name}: docopt is missing" for name in ("dev.lock", "demo.lock", "runtime.lock")
    ]


def test_a_package_for_another_machine_is_not_demanded(project: Path) -> None:
    only_windows = '"click>=8.4,<9", "docopt>=0.6,<1; sys_platform == \'win32\'"'
    change(project / "pyproject.toml", '"click>=8.4,<9"', only_windows)
    assert check(project).returncode == 0


def test_a_package_for_one_python_version_is_demanded(project: Path) -> None:
    only_311 = '"click>=8.4,<9", "docopt>=0.6,<1; python_version < \'3.12\'"'
    change(project / "pyproject.toml", '"click>=8.4,<9"', only_311)
    assert "runtime.lock: docopt is missing" in check(project).stderr


def test_a_range_without_an_upper_bound_is_named(project: Path) -> None:
    change(project / "pyproject.toml", '"structlog>=26,<27"', '"structlog>=26"')
    assert check(project).stderr.splitlines()[0] == "pyproject.toml: structlog has no upper bound"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("click==", "--index-url https://127.0.0.1/\nclick==", "names a package index or a URL"),
        ("click==", "click @ https://127.0.0.1/click.whl\nclick==", "names a package index"),
        ("click==", "docopt==0.6.2\nclick==", "docopt has no hash"),
        ("click==", "click==8.4.0 --hash=sha256:00\nclick==", "click has two versions"),
    ],
)
def test_a_line_that_a_lock_must_not_have_is_named(
    project: Path, old: str, new: str, complaint: str
) -> None:
    change(project / "requirements" / "runtime.lock", old, new)
    done = check(project)
    assert done.returncode == 1
    assert f"runtime.lock: {complaint}" in done.stderr


def test_a_lock_that_is_missing_is_named(project: Path) -> None:
    (project / "requirements" / "demo.lock").unlink()
    assert check(project).stderr.splitlines()[0] == "demo.lock: missing"


def test_the_lock_of_another_environment_is_checked_against_its_group(project: Path) -> None:
    change(project / "pyproject.toml", "litellm[proxy]>=1.108,<2", "litellm[proxy]>=2,<3")
    first, advice = check(project).stderr.splitlines()
    assert first.startswith("real.lock: litellm 1.")
    assert "make lock" in advice
    change(project / "pyproject.toml", "litellm[proxy]>=2,<3", "litellm[proxy]>=1")
    assert "litellm has no upper bound" in check(project).stderr


def test_the_locks_of_one_environment_agree_with_each_other() -> None:
    versions: dict[str, set[str]] = {}
    for lock in ("dev.lock", "demo.lock", "runtime.lock"):
        for line in (ROOT / "requirements" / lock).read_text().splitlines():
            if "==" in line and not line.startswith(("#", " ")):
                pin, _, marker = line.removesuffix("\\").partition(";")
                name, _, version = pin.strip().partition("==")
                versions.setdefault(f"{name};{marker}", set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}
