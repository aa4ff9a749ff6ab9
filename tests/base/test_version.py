import subprocess
import sys
import tomllib
from pathlib import Path

from hub.base.version import hub_version

ROOT = Path(__file__).parents[2]


def test_the_version_is_that_of_the_installed_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert hub_version() == project["version"]


def test_the_version_of_a_source_tree_is_unknown() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
        "from hub.base.version import hub_version; print(hub_version())"
    )
    # Without site-packages Python finds no installed package.
    python = [sys.executable, "-I", "-S", "-c", program]
    done = subprocess.run(python, capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"unknown\n", b"")
