"""The baseline is chosen in real repositories, and the script run on them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """git in a repository that holds this contract and these scripts."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "test",
        "GIT_AUTHOR_EMAIL": "test@localhost",
        "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@localhost",
    }

    def run(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copytree(
        ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    run("init", "--quiet")
    return run


def commit(git: Git, message: str) -> str:
    git("add", "--all")
    git("commit", "--quiet", "--allow-empty", "--message", message)
    return git("rev-parse", "HEAD").strip()


def rename_field(directory: Path) -> None:
    path = directory / "proto" / "llmhub" / "v1" / "resources.proto"
    text = path.read_text()
    path.write_text(text.replace("string agent_id = 1;", "string agent_name = 1;"))


def breaking(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "scripts/breaking.py"],
        cwd=directory,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_first_contract_breaks_no_client(git: Git, tmp_path: Path) -> None:
    assert "skipped" in breaking(tmp_path).stdout
    commit(git, "first")
    commit(git, "unrelated")
    done = breaking(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "skipped" in done.stdout


def test_a_change_is_compared_before_and_after_its_commit(git: Git, tmp_path: Path) -> None:
    commit(git, "first")
    rename_field(tmp_path)
    uncommitted = breaking(tmp_path)
    assert uncommitted.returncode != 0
    assert "comparing with HEAD" in uncommitted.stdout
    last = commit(git, "renamed")
    commit(git, "unrelated")
    committed = breaking(tmp_path)
    assert committed.returncode != 0
    assert f"comparing with {last}^" in committed.stdout
    assert "agent_id" in committed.stdout


def test_a_release_is_the_baseline_from_then_on(git: Git, tmp_path: Path) -> None:
    commit(git, "first")
    rename_field(tmp_path)
    commit(git, "renamed before the release")
    git("tag", "v1.0.0")
    git("tag", "unrelated")
    done = breaking(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "comparing with v1.0.0" in done.stdout
