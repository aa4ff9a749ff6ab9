"""Generates `gen/` from `proto/`, offline.

    python scripts/generate.py                 regenerate gen/ from scratch
    python scripts/generate.py --check         fail if gen/ is not what proto/ generates
    python scripts/generate.py --image FILE    write the image that buf lints and compares

protovalidate ships `buf/validate/validate.proto` only as a descriptor in its
Python package. protoc therefore gets a descriptor set made from the installed
package instead of a vendored copy of the .proto file. buf could not resolve that
import without a network either, so it reads the image that protoc writes.
"""

import argparse
import difflib
import filecmp
import shutil
import sys
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    duration_pb2,
    field_mask_pb2,
    timestamp_pb2,
)
from grpc_tools import protoc
from protovalidate._gen.buf.validate import validate_pb

ROOT = Path(__file__).resolve().parent.parent
VALIDATE = "buf/validate/validate.proto"
OWN_PREFIX = "llmhub/"

# buf's own extension of FileDescriptorProto in an image: field 8042 holds a
# message whose field 1 is `is_import`. buf does not lint imported files.
IS_IMPORT = b"\xd2\xf6\x03\x02\x08\x01"

# The beginning of a longer diff says enough.
MAX_DIFF_LINES = 60


class GenerateError(Exception):
    """protoc refused the contract; it has printed the reason to stderr."""


def write_validate_descriptor_set(path: Path) -> None:
    """Writes the descriptor set that stands in for the .proto file of buf.validate."""
    file_set = descriptor_pb2.FileDescriptorSet()
    for imported in (any_pb2, descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        imported.DESCRIPTOR.CopyToProto(file_set.file.add())
    file_set.file.add().ParseFromString(validate_pb.desc().proto.to_binary())
    path.write_bytes(file_set.SerializeToString(deterministic=True))


def own_sources(proto: Path) -> list[str]:
    """The project's .proto files as import paths, sorted."""
    return sorted(path.relative_to(proto).as_posix() for path in proto.rglob("*.proto"))


def run_protoc(proto: Path, scratch: Path, sources: Sequence[str], *arguments: str) -> None:
    """Runs protoc on `sources` below `proto`; raises GenerateError if it fails."""
    descriptor_set = scratch / "validate.binpb"
    write_validate_descriptor_set(descriptor_set)
    well_known = files("grpc_tools") / "_proto"
    paths = [f"--proto_path={proto}", f"--proto_path={well_known}"]
    code = protoc.main(
        ["protoc", *paths, f"--descriptor_set_in={descriptor_set}", *arguments, *sources]
    )
    if code != 0:
        raise GenerateError(f"protoc failed with exit code {code}")


def generate(proto: Path, out: Path) -> None:
    """Writes messages, type stubs and, for files with services, gRPC stubs below `out`."""
    out.mkdir(parents=True, exist_ok=True)
    messages = [f"--python_out={out}", f"--pyi_out={out}"]
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        sources = own_sources(proto)
        run_protoc(proto, scratch, sources, *messages, f"--grpc_python_out={out}")
        run_protoc(proto, scratch, [VALIDATE], *messages)
    for stub in out.rglob("*_pb2_grpc.py"):
        # protoc writes one for every file, even for a file without a service.
        if "class " not in stub.read_text():
            stub.unlink()


def write_image(proto: Path, path: Path) -> None:
    """Writes the contract as a buf image, with comments and imports."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        plain = scratch / "plain.binpb"
        options = ("--include_imports", "--include_source_info")
        run_protoc(proto, scratch, own_sources(proto), f"--descriptor_set_out={plain}", *options)
        image = descriptor_pb2.FileDescriptorSet.FromString(plain.read_bytes())
    for file in image.file:
        if not file.name.startswith(OWN_PREFIX):
            file.MergeFromString(IS_IMPORT)
    path.write_bytes(image.SerializeToString(deterministic=True))


def generated_files(directory: Path) -> set[str]:
    """Every file below `directory` except bytecode, as relative paths."""
    return {
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def differences(expected: Path, actual: Path) -> list[str]:
    """One line for each file that differs, the first lines of each text diff below it."""
    report = []
    wanted, present = generated_files(expected), generated_files(actual)
    for name in sorted(wanted | present):
        if name not in present:
            report.append(f"missing: {name}")
        elif name not in wanted:
            report.append(f"not generated: {name}")
        elif not filecmp.cmp(expected / name, actual / name, shallow=False):
            diff = list(
                difflib.unified_diff(
                    (actual / name).read_text().splitlines(),
                    (expected / name).read_text().splitlines(),
                    fromfile="committed",
                    tofile="generated",
                    n=1,
                    lineterm="",
                )
            )
            report.append(f"differs: {name}")
            # A serialized descriptor is one line of kilobytes.
            report += [f"    {line[:160]}" for line in diff[:MAX_DIFF_LINES]]
    return report


def replace(generated: Path, target: Path) -> None:
    """Replaces the whole directory `target` by `generated`."""
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(generated, target)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 if --check finds a difference or protoc fails."""
    parser = argparse.ArgumentParser(description="Generates gen/ from proto/, offline.")
    parser.add_argument("--proto", type=Path, default=ROOT / "proto", help="the contract")
    parser.add_argument("--out", type=Path, default=ROOT / "gen", help="the generated code")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="compare instead of writing")
    mode.add_argument("--image", type=Path, metavar="FILE", help="write a buf image instead")
    options = parser.parse_args(arguments)
    try:
        if options.image is not None:
            write_image(options.proto, options.image)
            return 0
        with tempfile.TemporaryDirectory() as directory:
            fresh = Path(directory) / "gen"
            generate(options.proto, fresh)
            if not options.check:
                replace(fresh, options.out)
                return 0
            report = differences(fresh, options.out)
    except GenerateError as error:
        print(error, file=sys.stderr)
        return 1
    if report:
        print("\n".join(report), file=sys.stderr)
        print(
            f"{options.out} is not what {options.proto} generates: run `make proto`",
            file=sys.stderr,
        )
    return 1 if report else 0


if __name__ == "__main__":
    sys.exit(main())
