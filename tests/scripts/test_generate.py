"""The generator is run as `make` runs it, on copies of the contract."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).resolve().parent.parent.parent
BUF = Path(sys.executable).with_name("buf")


def generate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "generate.py", *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def buf(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BUF, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False
    )


@pytest.fixture
def proto(tmp_path: Path) -> Path:
    """A copy of the contract that a test may change."""
    return Path(shutil.copytree(ROOT / "proto", tmp_path / "proto"))


def change(proto: Path, file: str, old: str, new: str) -> None:
    path = proto / "llmhub" / "v1" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_gen_is_what_the_contract_generates() -> None:
    done = generate("--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_only_files_with_services_have_grpc_stubs() -> None:
    stubs = {path.name for path in (ROOT / "gen").rglob("*_pb2_grpc.py")}
    assert stubs == {
        "admin_service_pb2_grpc.py",
        "registry_service_pb2_grpc.py",
        "sidecar_service_pb2_grpc.py",
    }


def test_out_is_made_from_scratch_and_checked(proto: Path, tmp_path: Path) -> None:
    out = tmp_path / "gen"
    (out / "llmhub" / "v1").mkdir(parents=True)
    (out / "llmhub" / "v1" / "old_pb2.py").write_text("gone = True\n")
    assert generate("--proto", proto, "--out", out).returncode == 0
    assert not (out / "llmhub" / "v1" / "old_pb2.py").exists()
    assert (out / "buf" / "validate" / "validate_pb2.pyi").exists()

    (out / "llmhub" / "v1" / "stray.py").write_text("")
    (out / "llmhub" / "v1" / "frame_pb2.pyi").unlink()
    change(proto, "endpoint.proto", "string id = 1", "string name_of_it = 1")
    done = generate("--proto", proto, "--out", out, "--check")
    assert done.returncode == 1
    report = done.stderr.splitlines()
    assert "missing: llmhub/v1/frame_pb2.pyi" in report
    assert "not generated: llmhub/v1/stray.py" in report
    assert "differs: llmhub/v1/endpoint_pb2.pyi" in report
    assert any("name_of_it: str" in line for line in report)
    assert "make proto" in report[-1]


def test_a_contract_that_protoc_refuses_leaves_gen_alone(proto: Path, tmp_path: Path) -> None:
    out = tmp_path / "gen"
    assert generate("--proto", proto, "--out", out).returncode == 0
    before = (out / "llmhub" / "v1" / "frame_pb2.py").read_bytes()
    change(proto, "frame.proto", "message SidecarFrame {", "message SidecarFrame { nonsense")
    done = generate("--proto", proto, "--out", out)
    assert done.returncode == 1
    assert "frame.proto" in done.stderr
    assert "Traceback" not in done.stderr
    assert (out / "llmhub" / "v1" / "frame_pb2.py").read_bytes() == before


def test_the_image_has_comments_and_marks_imports(tmp_path: Path) -> None:
    image = tmp_path / "build" / "image.binpb"
    assert generate("--image", image).returncode == 0
    files = FileDescriptorSet.FromString(image.read_bytes()).file
    imports = {
        file.name for file in files if b"\xd2\xf6\x03\x02\x08\x01" in file.SerializeToString()
    }
    assert {"buf/validate/validate.proto", "google/protobuf/timestamp.proto"} <= imports
    assert not any(name.startswith("llmhub/") for name in imports)
    frame = next(file for file in files if file.name == "llmhub/v1/frame.proto")
    assert any(
        location.leading_comments.startswith(" SidecarFrame is one frame")
        for location in frame.source_code_info.location
    )
    linted = buf("lint", image, "--config", "buf.yaml")
    assert (linted.returncode, linted.stdout) == (0, "")


def test_lint_is_in_force_and_its_exceptions_are_narrow(proto: Path, tmp_path: Path) -> None:
    change(
        proto,
        "registry_service.proto",
        "service RegistryService {",
        "message bad_name { int32 badField = 1; }\n"
        "service RegistryService {\n  rpc Odd(bad_name) returns (GetSnapshotResponse);",
    )
    image = tmp_path / "image.binpb"
    assert generate("--proto", proto, "--image", image).returncode == 0
    linted = buf("lint", image, "--config", "buf.yaml")
    assert linted.returncode != 0
    for complaint in (
        'Message name "bad_name" should be PascalCase',
        'Field name "badField" should be lower_snake_case',
        'RPC request type "bad_name" should be named',
        '"llmhub.v1.GetSnapshotResponse" is used as the request or response type for multiple RPCs',
    ):
        assert complaint in linted.stdout


def test_breaking_sees_a_renamed_field_and_allows_a_new_one(proto: Path, tmp_path: Path) -> None:
    earlier, renamed, extended = (tmp_path / f"{name}.binpb" for name in ("a", "b", "c"))
    generate("--image", earlier)
    change(proto, "resources.proto", "string agent_id = 1;", "string agent_id = 1; string x = 99;")
    generate("--proto", proto, "--image", extended)
    change(proto, "resources.proto", "string agent_id = 1;", "string agent_name = 1;")
    generate("--proto", proto, "--image", renamed)
    fine = buf("breaking", extended, "--against", earlier, "--config", "buf.yaml")
    assert (fine.returncode, fine.stdout) == (0, "")
    broken = buf("breaking", renamed, "--against", earlier, "--config", "buf.yaml")
    assert broken.returncode != 0
    assert "agent_id" in broken.stdout
