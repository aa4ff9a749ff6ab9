"""Writes docs/licenses.md: every package that a hub needs, with its version and its license.

    python scripts/licenses.py            write the document
    python scripts/licenses.py --check    fail if it does not list what runtime.lock pins

The names and versions are those of requirements/runtime.lock, the licenses those that the
installed packages state.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "runtime.lock"
DOCUMENT = ROOT / "docs" / "licenses.md"

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)
_ROW = re.compile(r"^\| ([A-Za-z0-9._-]+) \| ([0-9]\S*) \|", re.MULTILINE)

_HEAD = """# Licenses of the dependencies

What `make run` installs, with the license that each package states. `make licenses` writes this
page, `make sbom` the same as a CycloneDX document with the packages' hashes.

| package | version | license |
| --- | --- | --- |
"""


def pins() -> dict[str, str]:
    """The version of every package in the lock, by its name."""
    return dict(_PIN.findall(LOCK.read_text()))


def listed() -> dict[str, str]:
    """The packages in the document."""
    return dict(_ROW.findall(DOCUMENT.read_text()))


def license_of(name: str) -> str:
    """What an installed package says of its license, in a few words."""
    try:
        facts = metadata(name)
    except PackageNotFoundError:
        return "not installed here"
    classified = [
        each.rpartition(" :: ")[2]
        for each in facts.get_all("Classifier") or ()
        if each.startswith("License :: ")
    ]
    stated = (facts.get("License") or "").strip()
    # Some packages put the whole text there.
    short = stated if stated and "\n" not in stated and len(stated) < 60 else ""
    return facts.get("License-Expression") or short or ", ".join(classified) or "not stated"


def main() -> int:
    """Writes or checks the document; returns the exit code."""
    if "--check" in sys.argv[1:]:
        if listed() == pins():
            return 0
        print("docs/licenses.md does not list requirements/runtime.lock: run `make licenses`")
        return 1
    rows = [f"| {name} | {version} | {license_of(name)} |\n" for name, version in pins().items()]
    DOCUMENT.write_text(_HEAD + "".join(sorted(rows, key=str.lower)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
