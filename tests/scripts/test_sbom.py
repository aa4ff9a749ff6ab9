"""The SBOM has what the lock pins, and the list of licences is up to date."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("sbom", ROOT / "scripts" / "sbom.py")
assert spec is not None
assert spec.loader is not None
sbom = importlib.util.module_from_spec(spec)
sys.modules["sbom"] = sbom
spec.loader.exec_module(sbom)

LOCK = """\
# made by a tool
Click==8.5.1 \\
    --hash=sha256:bb \\
    --hash=sha256:aa
nothing-of-this-name==1.0 ; sys_platform != 'win32' \\
    --hash=sha256:cc
"""
PROJECT = {"name": "llm-registry-hub", "version": "0.1.0", "license": "Apache-2.0"}


def test_the_list_of_licences_is_up_to_date() -> None:
    pinned = sbom.packages((ROOT / "requirements" / "runtime.lock").read_text())
    listed = (ROOT / "docs" / "licences.md").read_text()
    assert sbom.complaints(listed, pinned) == []
    assert "unknown" not in listed


def test_a_list_with_other_packages_is_refused() -> None:
    pinned = sbom.packages(LOCK)
    listed = sbom.licences(pinned).replace("| click | 8.5.1 |", "| click | 8.5.0 |")
    assert sbom.complaints(listed, pinned) == ["click 8.5.1 is missing", "click 8.5.0 is gone"]


def test_a_package_has_its_url_hashes_marker_and_licence() -> None:
    made = sbom.sbom(PROJECT, sbom.packages(LOCK))
    click, other = made["components"]
    assert (click["purl"], click["version"]) == ("pkg:pypi/click@8.5.1", "8.5.1")
    assert [each["content"] for each in click["externalReferences"][0]["hashes"]] == ["aa", "bb"]
    assert click["licenses"] == [{"license": {"name": "BSD-3-Clause"}}]
    assert other["licenses"] == [{"license": {"name": "unknown"}}]
    assert other["properties"] == [{"name": "python:marker", "value": 'sys_platform != "win32"'}]
    assert made["dependencies"][0]["dependsOn"] == [click["purl"], other["purl"]]


@pytest.mark.parametrize(
    "changed", [LOCK.replace("sha256:cc", "sha256:dd"), LOCK.replace("1.0", "1.1")]
)
def test_the_same_lock_gives_the_same_file_and_another_one_another(changed: str) -> None:
    first, second, third = (
        json.dumps(sbom.sbom(PROJECT, sbom.packages(lock))) for lock in (LOCK, LOCK, changed)
    )
    assert first == second
    assert json.loads(first)["serialNumber"] != json.loads(third)["serialNumber"]
