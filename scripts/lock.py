"""Writes and checks `requirements/*.lock`: every package that make installs, with its hashes.

    python scripts/lock.py              resolve again; keep the pins that still fit
    python scripts/lock.py --upgrade    resolve again; take the newest versions
    python scripts/lock.py --check      fail if a lock does not satisfy pyproject.toml

`pyproject.toml` holds the ranges that the project supports, the locks hold the
one version of each package that `make` and CI install. Each lock is valid for
every supported Python version on Linux and macOS. Writing needs the network,
checking does not.
"""

import argparse
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent

# The extras of pyproject.toml in each lock. The largest comes first: the others
# take their versions from it, so one environment can hold all three.
LOCKS = {
    "dev.lock": ("dev", "sidecar", "demo", "etcd", "otel"),
    "demo.lock": ("sidecar", "demo"),
    "runtime.lock": ("sidecar",),
}

# Dependency groups whose packages share none with the hub.
SEPARATE = {"real.lock": "real", "envoy.lock": "envoy"}

PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = (
    ("linux", "Linux", "x86_64"),
    ("linux", "Linux", "aarch64"),
    ("darwin", "Darwin", "arm64"),
)

UPPER_BOUNDS = {"<", "<=", "==", "~="}


@dataclass(frozen=True)
class Pin:
    """One package of a lock, with the marker that says where it applies."""

    requirement: Requirement
    hashes: int

    @property
    def name(self) -> str:
        """The package's name in its canonical spelling."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> Version:
        """The one version that the pin allows."""
        (specifier,) = self.requirement.specifier
        return Version(specifier.version)


def environments() -> Iterator[dict[str, str]]:
    """The marker variables of every machine that the locks must work on."""
    for python in PYTHONS:
        for sys_platform, system, machine in PLATFORMS:
            yield {
                "python_version": python,
                "python_full_version": f"{python}.0",
                "implementation_name": "cpython",
                "platform_python_implementation": "CPython",
                "os_name": "posix",
                "sys_platform": sys_platform,
                "platform_system": system,
                "platform_machine": machine,
            }


def applies(requirement: Requirement, environment: dict[str, str]) -> bool:
    """Whether the requirement applies on such a machine."""
    return requirement.marker is None or requirement.marker.evaluate(environment)


def wanted(project: Path, lock: str) -> list[Requirement]:
    """The requirements that pyproject.toml states for a lock.

    They are those to build, to run and for its extras, or those of its group alone.
    """
    table = tomllib.loads((project / "pyproject.toml").read_text())
    if lock in SEPARATE:
        return [Requirement(line) for line in table["dependency-groups"][SEPARATE[lock]]]
    lines = [*table["build-system"]["requires"], *table["project"]["dependencies"]]
    for extra in LOCKS[lock]:
        lines += table["project"]["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def parse(text: str) -> tuple[list[Pin], list[str]]:
    """The pins of a lock, and a complaint for each invalid line."""
    pins, complaints = [], []
    for line in text.replace("\\\n", " ").splitlines():
        requirement, *hashes = line.partition("#")[0].split("--hash=")
        if not requirement.strip():
            continue
        if requirement.startswith("-") or "://" in requirement:
            complaints.append(f"names a package index or a URL: {requirement.strip()}")
            continue
        pins.append(Pin(Requirement(requirement.strip()), len(hashes)))
    return pins, complaints


def complaints_about(project: Path, name: str) -> list[str]:
    """What is wrong with one lock, one line each."""
    path = project / "requirements" / name
    if not path.exists():
        return [f"{name}: missing"]
    pins, found = parse(path.read_text())
    found += [f"{pin.name} has no hash" for pin in pins if not pin.hashes]
    requirements = wanted(project, name)
    for environment in environments():
        locked: dict[str, Version] = {}
        for pin in pins:
            if applies(pin.requirement, environment):
                if pin.name in locked:
                    found.append(f"{pin.name} has two versions on one machine")
                locked[pin.name] = pin.version
        for requirement in requirements:
            if not applies(requirement, environment):
                continue
            version = locked.get(canonicalize_name(requirement.name))
            if version is None:
                found.append(f"{requirement.name} is missing")
            elif not requirement.specifier.contains(version, prereleases=True):
                found.append(f"{requirement.name} {version} is outside {requirement.specifier}")
    return [f"{name}: {complaint}" for complaint in dict.fromkeys(found)]


def check(project: Path) -> list[str]:
    """What is wrong with pyproject.toml's ranges and with the locks, one line each."""
    found = [
        f"pyproject.toml: {requirement.name} has no upper bound"
        for lock in ("dev.lock", *SEPARATE)
        for requirement in wanted(project, lock)
        if not any(each.operator in UPPER_BOUNDS for each in requirement.specifier)
    ]
    for name in (*LOCKS, *SEPARATE):
        found += complaints_about(project, name)
    return list(dict.fromkeys(found))


def write(project: Path, *, upgrade: bool) -> None:
    """Resolves pyproject.toml and writes the locks; raises CalledProcessError if uv fails."""
    directory = project / "requirements"
    directory.mkdir(exist_ok=True)
    command = [Path(sys.executable).with_name("uv"), "pip", "compile", "--quiet"]
    command += ["--universal", "--python-version", PYTHONS[0], "--generate-hashes"]
    command += ["--no-emit-index-url", "--no-emit-find-links", "--no-annotate"]
    command += ["--custom-compile-command", "make lock"]
    if upgrade:
        command.append("--upgrade")
    largest = next(iter(LOCKS))
    for name in (*LOCKS, *SEPARATE):
        output = directory / name
        is_alone = name == largest or name in SEPARATE
        constraint = [] if is_alone else ["--constraint", directory / largest]
        subprocess.run(
            [*command, *constraint, "--output-file", output, "-"],
            input="\n".join(str(each) for each in wanted(project, name)),
            text=True,
            check=True,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 if --check finds a fault or uv fails."""
    parser = argparse.ArgumentParser(description="Writes and checks requirements/*.lock.")
    parser.add_argument("--project", type=Path, default=ROOT, help="the directory to work on")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="compare instead of writing; offline")
    mode.add_argument("--upgrade", action="store_true", help="take the newest versions")
    options = parser.parse_args(arguments)
    if options.check:
        found = check(options.project)
        if found:
            print("\n".join(found), file=sys.stderr)
            print("Run `make lock` and commit requirements/.", file=sys.stderr)
        return 1 if found else 0
    try:
        write(options.project, upgrade=options.upgrade)
    except subprocess.CalledProcessError as error:
        print(f"uv failed with exit code {error.returncode}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
