"""Writes what a hub consists of: a CycloneDX SBOM of the runtime lock, and the list of licences.

    python scripts/sbom.py              write build/sbom.cdx.json and docs/licences.md
    python scripts/sbom.py --check      fail if docs/licences.md lists other packages or versions

The SBOM has every package that `requirements/runtime.lock` pins, with the hashes that the
lock accepts. Licences come from the metadata of the installed packages, so run it in the
environment that `make setup` creates. The same lock gives the same file.
"""

import argparse
import json
import sys
import tomllib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
SBOM = Path("build") / "sbom.cdx.json"
LICENCES = Path("docs") / "licences.md"
UNKNOWN = "unknown"

_SPEC_VERSION = "1.6"
_NAMESPACE = uuid.UUID("6f9d5f0e-3f0b-4f0d-9c5b-9a4f4f4c1c1e")
# Longer ones are whole licence texts, not names.
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Package:
    """One package of the lock."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    @property
    def purl(self) -> str:
        """Its package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"


def packages(lock: str) -> list[Package]:
    """The packages of a lock file's text, in its order."""
    found = []
    for line in lock.replace("\\\n", " ").splitlines():
        pin, *hashes = line.partition("#")[0].split("--hash=")
        if not pin.strip():
            continue
        requirement = Requirement(pin.strip())
        (specifier,) = requirement.specifier
        found.append(
            Package(
                canonicalize_name(requirement.name),
                specifier.version,
                str(requirement.marker or ""),
                tuple(sorted(each.strip().removeprefix("sha256:") for each in hashes)),
            )
        )
    return found


def licence(name: str) -> str:
    """The licence that an installed package states; "unknown" if it is not installed."""
    try:
        stated = metadata(name)
    except PackageNotFoundError:
        return UNKNOWN
    if expression := stated.get("License-Expression"):
        return str(expression)
    classified = [
        each.rpartition(" :: ")[2]
        for each in stated.get_all("Classifier") or ()
        if each.startswith("License :: OSI Approved :: ")
    ]
    if classified:
        return " AND ".join(classified)
    text = str(stated.get("License") or "").strip()
    return text if text and len(text) <= _LONGEST_NAME and "\n" not in text else UNKNOWN


def sbom(project: dict[str, Any], pinned: Sequence[Package]) -> dict[str, Any]:
    """The SBOM as CycloneDX JSON."""
    own = f"pkg:pypi/{project['name']}@{project['version']}"
    content = "\n".join(f"{each.purl} {' '.join(each.hashes)}" for each in pinned)
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{_SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": _SPEC_VERSION,
        # From the contents, so that the same lock gives the same file.
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, f'{own} {content}')}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": project["name"],
                "version": project["version"],
                "purl": own,
                "licenses": [{"expression": project["license"]}],
            }
        },
        "components": [_component(each) for each in pinned],
        "dependencies": [{"ref": own, "dependsOn": [each.purl for each in pinned]}],
    }


def _component(package: Package) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "licenses": [{"license": {"name": licence(package.name)}}],
        # Each file of the release that the lock accepts.
        "externalReferences": [
            {
                "type": "distribution",
                "url": package.purl,
                "hashes": [{"alg": "SHA-256", "content": each} for each in package.hashes],
            }
        ],
    }
    if package.marker:
        component["properties"] = [{"name": "python:marker", "value": package.marker}]
    return component


def licences(pinned: Sequence[Package]) -> str:
    """The list of licences as a document."""
    lines = [
        "# Licences of the dependencies",
        "",
        "`make sbom` writes this list: the packages of `requirements/runtime.lock`, with which",
        "a hub and a sidecar run.",
        "",
        "| package | version | licence |",
        "| --- | --- | --- |",
        *(f"| {each.name} | {each.version} | {licence(each.name)} |" for each in pinned),
    ]
    return "\n".join(lines) + "\n"


def complaints(listed: str, pinned: Sequence[Package]) -> list[str]:
    """Where a list differs from the lock. Licences are not compared: some need an installation."""
    rows = [line.strip("| ").split(" | ") for line in listed.splitlines() if line.startswith("| ")]
    found = {(row[0], row[1]) for row in rows[2:]}
    wanted = {(each.name, each.version) for each in pinned}
    missing = [f"{name} {version} is missing" for name, version in sorted(wanted - found)]
    return missing + [f"{name} {version} is gone" for name, version in sorted(found - wanted)]


def main() -> int:
    """Writes or checks the files; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="fail if a file is not up to date")
    arguments = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = packages((ROOT / "requirements" / "runtime.lock").read_text())
    if arguments.check:
        found = complaints((ROOT / LICENCES).read_text(), pinned)
        for complaint in found:
            print(f"{LICENCES}: {complaint}; run `make sbom`", file=sys.stderr)
        return 1 if found else 0
    (ROOT / LICENCES).write_text(licences(pinned))
    (ROOT / SBOM).parent.mkdir(exist_ok=True)
    (ROOT / SBOM).write_text(json.dumps(sbom(project, pinned), indent=2) + "\n")
    print(f"{SBOM}: {len(pinned)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
