"""docs/protocol.md names all that is on the wire and nothing else; other documents are true."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml
from google.rpc import code_pb2

from hub.base.settings import RateLimitSettings
from hub.contract import rpcs
from hub.contract.dialect.frames import parse_frame
from hub.contract.errors import HubError, ValidationFailed
from hub.contract.errors import RateLimited as RateLimitedError
from hub.contract.rpcs import Tier
from hub.contract.validation import violations
from hub.service import presence
from hub.transports.http.responses import error_response
from llmhub.v1.error_reason_pb2 import ErrorReason
from llmhub.v1.frame_pb2 import HubFrame
from llmhub.v1.resources_pb2 import Role
from tests.support.dialect import request_of
from tests.support.hub import running_hub

ROOT = Path(__file__).parents[1]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
HUB_FRAMES = HubFrame.DESCRIPTOR.oneofs_by_name["frame"].fields


def section(title: str) -> str:
    """The text below a heading, up to the next one of any level."""
    (text,) = re.findall(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", PROTOCOL, re.M | re.S)
    return text


def rows(title: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    table = re.search(r"(?:^\|.*\n)+", section(title), re.M)
    assert table is not None, title
    lines = table.group().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def named(title: str) -> list[str]:
    """The first column of that table; every cell is one name in backticks."""
    names = [row[0] for row in rows(title)]
    assert all(re.fullmatch(r"`[^`]+`", name) for name in names), names
    return [name.strip("`") for name in names]


def leaves(kind: type[HubError]) -> list[type[HubError]]:
    below = kind.__subclasses__()
    return [leaf for each in below for leaf in leaves(each)] if below else [kind]


ERRORS = {kind.reason: kind for kind in leaves(HubError)}


@pytest.mark.parametrize("service", rpcs.SERVICES, ids=lambda service: service.name)
def test_every_rpc_is_documented(service):
    assert named(service.name) == [method.name for method in service.methods]


def test_frames_from_sidecars_are_documented():
    reported = {row[0].strip("`"): row[1:] for row in rows("Frames from sidecars")}
    assert reported == {
        name: [kind.rpc.name, f"`{kind.reply}`" if kind.reply else "nothing"]
        for name, kind in rpcs.FRAMES.items()
    }


def test_frames_to_sidecars_are_documented():
    assert named("Frames to sidecars") == [field.name for field in HUB_FRAMES]


def examples(title: str) -> list[str]:
    (block,) = re.findall(r"```json\n(.*?)```", section(title), re.S)
    return block.splitlines()


def test_every_frame_from_sidecars_has_an_example_that_is_valid():
    seen = set()
    for line in examples("Frames from sidecars"):
        frame = parse_frame(line)
        assert violations(request_of(frame)) == [], line
        assert frame.unknown_fields == 0, line
        seen.add(frame.type)
    assert seen == set(rpcs.FRAMES)


def test_every_frame_to_sidecars_has_an_example_with_its_fields():
    members = {field.name: field.message_type for field in HUB_FRAMES}
    seen = set()
    for line in examples("Frames to sidecars"):
        frame = json.loads(line)
        kind = frame.pop("type")
        assert set(frame) <= set(members[kind].fields_by_name), line
        seen.add(kind)
    assert seen == set(members)


async def test_every_route_is_documented(tmp_path):
    async with running_hub(tmp_path) as running:
        served = running.hub._listeners._http.routes()
    pattern = re.compile(r"{(\w+):[^}]*}")
    routes = [f"{each.method} " + pattern.sub(r"{\1}", each.path) for each in served]
    # One row describes the routes of all RPCs.
    one_row = {re.sub(r"(?<=/api/rpc/)\w+", "{name}", route) for route in routes}
    assert sorted(named("HTTP")) == sorted(one_row)


def test_every_close_is_documented():
    closes = [value for value in vars(presence).values() if isinstance(value, presence.Close)]
    closes += [presence.cooldown(30), presence.disconnected("")]
    expected = {}
    for close in closes:
        error = close.as_error()
        code = code_pb2.Code.Name(error.code)
        expected[f"`{close.code} {close.reason}`"] = f"{code} `{error.reason_name}`"
    reported = {row[0]: row[2] for row in rows("How a connection is closed")}
    assert reported == expected


def test_every_reason_is_documented():
    known = [name.removeprefix("ERROR_REASON_") for name, number in ErrorReason.items() if number]
    assert sorted(named("Reasons")) == sorted(known)


def test_reasons_have_the_documented_codes():
    for name, code, status, _ in rows("Reasons"):
        kind = ERRORS[ErrorReason.Value(f"ERROR_REASON_{name.strip('`')}")]
        assert code == code_pb2.Code.Name(kind.code), name
        if status and kind not in (ValidationFailed, RateLimitedError):
            assert int(status) == error_response(kind("x")).status, name


def test_every_field_error_is_documented():
    assert sorted(named("Field errors")) == sorted(field_error_kinds())


def field_error_kinds() -> set[str]:
    """Every kind that the code gives to a violation, read off its calls and returns."""
    kinds: set[ast.expr | None] = set()
    for file in (ROOT / "hub").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
                name = node.func.id if isinstance(node.func, ast.Name) else name
                if name == "FieldViolation" or (name == "add" and len(node.args) > 2):
                    keywords = {each.arg: each.value for each in node.keywords}
                    kinds.add(node.args[1] if len(node.args) > 1 else keywords.get("error"))
            elif isinstance(node, ast.FunctionDef) and node.name == "_kind_and_detail":
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Return) and isinstance(inner.value, ast.Tuple):
                        kinds.add(inner.value.elts[0])
    return {kind.value for kind in kinds if isinstance(kind, ast.Constant)}


def test_rate_limit_tiers_are_documented():
    reported = {row[0]: row[1:] for row in rows("Rate limits")}
    limits = RateLimitSettings()
    assert list(reported) == [tier.wire_name for tier in Tier]
    for tier in Tier:
        takes, sidecars, others = reported[tier.wire_name]
        if takes != "everything else":
            assert sorted(takes.split(", ")) == sorted(
                rpc.name for rpc in rpcs.RPCS if rpc.tier is tier
            )
        assert sidecars == f"{getattr(limits.sidecar, tier.wire_name):,}/min"
        for role in (limits.reader, limits.admin):
            assert others == f"{getattr(role, tier.wire_name):,}/min"


def test_roles_are_enforced():
    reported = [row[0].upper() for row in rows("Callers and tokens")]
    assert [f"ROLE_{name}" for name in reported] == Role.keys()[1:]


def test_links_are_valid():
    for file in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)\s]+)\)", file.read_text()):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            linked = file.parent / name if name else file
            assert linked.exists(), f"{file.name}: {target}"
            assert not anchor or anchor in anchors(linked), f"{file.name}: {target}"


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings."""
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", document.read_text(), re.M)
    }


@pytest.mark.parametrize(
    "path",
    sorted(set(re.findall(r"`([\w.]+(?:/[\w.-]+)+/?|pyproject\.toml)`", CONTRIBUTING))),
)
def test_files_named_in_contributing_exist(path):
    assert (ROOT / path).exists()


def test_contributing_says_where_each_kind_of_change_goes():
    headings = re.findall(r"^## (.*)$", CONTRIBUTING, re.M)
    assert headings == [
        *("Style", "An RPC", "A setting", "A backend", "A store", "A dashboard view"),
    ]


def test_the_hooks_are_the_checks_of_ci_and_need_no_network():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    in_ci = re.findall(r"^check (make [a-z-]+)", (ROOT / ".ci" / "run").read_text(), re.M)
    assert [hook["entry"] for hook in hooks] == [each for each in in_ci if each != "make test"]


def test_make_ci_and_ci_run_check_the_same():
    makefile = (ROOT / "Makefile").read_text()
    (targets,) = re.findall(r"^ci: ([a-z -]+?) ##", makefile, re.M)
    in_ci = re.findall(r"^check make ([a-z-]+)", (ROOT / ".ci" / "run").read_text(), re.M)
    assert targets.split() == in_ci


PLAIN = (
    *("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "Makefile", ".ci/run"),
    *("docs/*.md", "docs/decisions/*.md", "packaging/*", "scripts/*.py"),
)
AVOIDED = re.compile(r"\b(doors?|houses?|told|nobody|anew|whoever|shall|at the most)\b", re.I)


@pytest.mark.parametrize("pattern", PLAIN)
def test_avoided_words_do_not_occur(pattern):
    files = sorted(ROOT.glob(pattern))
    assert files
    found = {
        f"{file.relative_to(ROOT)}:{number}": match.group()
        for file in files
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if (match := AVOIDED.search(line))
    }
    assert found == {}
