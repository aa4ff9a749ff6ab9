"""Compares the contract with its last version: `buf breaking`, offline.

The baseline is the newest `v*` tag that can be reached; before the first
release it is the last commit if proto/ has uncommitted changes, otherwise the
parent of the last commit that touched proto/. Without a baseline (first commit,
no git, a shallow clone) the script says that there is nothing to compare, and
succeeds.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from generate import ROOT, write_image

BUF = Path(sys.executable).with_name("buf")


def git(root: Path, *arguments: str) -> str | None:
    """The output of git, or None if git is missing or fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            check=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def baseline_candidates(root: Path) -> list[str]:
    """The revisions to compare with, the best first; they may not exist."""
    tag = git(root, "describe", "--tags", "--match", "v*", "--abbrev=0")
    if tag:
        return [tag]
    if git(root, "status", "--porcelain", "--", "proto"):
        return ["HEAD"]
    last_change = git(root, "log", "-1", "--format=%H", "--", "proto")
    return [f"{last_change}^"] if last_change else []


def find_baseline(root: Path) -> str | None:
    """The revision to compare with, or None if none has a contract."""
    for revision in baseline_candidates(root):
        if git(root, "ls-tree", "--name-only", revision, "proto/"):
            return revision
    return None


def extract_contract(root: Path, revision: str, directory: Path) -> Path:
    """Writes proto/ as it was at `revision` below `directory` and returns it."""
    archive = subprocess.run(
        ["git", "-C", str(root), "archive", "--format=tar", revision, "proto"],
        capture_output=True,
        check=True,
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(directory, filter="data")
    return directory / "proto"


def main(root: Path = ROOT) -> int:
    """Returns buf's exit code: 0 if nothing breaks or there is nothing to compare."""
    revision = find_baseline(root)
    if revision is None:
        print("buf breaking: skipped, there is no earlier contract to compare with")
        return 0
    print(f"buf breaking: comparing with {revision}")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        present, earlier = directory / "present.binpb", directory / "earlier.binpb"
        write_image(root / "proto", present)
        write_image(extract_contract(root, revision, directory), earlier)
        compare = [BUF, "breaking", present, "--against", earlier]
        return subprocess.run([*compare, "--config", root / "buf.yaml"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
