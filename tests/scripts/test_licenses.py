import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "runtime.lock"


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_document_lists_the_lock():
    done = run("scripts/licenses.py", "--check")
    assert (done.returncode, done.stdout) == (0, "")


def test_a_document_that_is_behind_is_found(tmp_path):
    for name in ("scripts/licenses.py", "requirements/runtime.lock", "docs/licenses.md"):
        copy = tmp_path / name
        copy.parent.mkdir(exist_ok=True)
        copy.write_text((ROOT / name).read_text())
    lock = tmp_path / "requirements" / "runtime.lock"
    lock.write_text(lock.read_text() + "new-package==1.0\n")
    done = run("scripts/licenses.py", "--check", cwd=tmp_path)
    assert done.returncode == 1
    assert "run `make licenses`" in done.stdout


def test_the_bill_of_materials_has_every_package_with_its_hashes(tmp_path):
    file = tmp_path / "sbom.json"
    done = run(
        *("-m", "cyclonedx_py", "requirements", str(LOCK), "--pyproject", "pyproject.toml"),
        *("--output-reproducible", "--output-file", str(file)),
    )
    assert done.returncode == 0, done.stderr
    bill = json.loads(file.read_text())
    found = {each["name"]: each["version"] for each in bill["components"]}
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from licenses import pins
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    assert found == pins()
    assert all(
        reference["hashes"]
        for each in bill["components"]
        for reference in each["externalReferences"]
    )
