"""Generates `gen/` from `proto/`, offline: `python scripts/generate.py [--out DIR] [--image FILE]`.

protovalidate ships `buf/validate/validate.proto` only as a descriptor in its
Python package, so protoc is given a descriptor set made from the installed
package in place of a vendored copy of the .proto file. With `--image` nothing
is generated but the file set with comments that `buf lint` and `buf breaking` read, so that
they need no network either.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import grpc_tools
from google.protobuf import descriptor_pb2
from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2
from grpc_tools import protoc
from protovalidate._gen.buf.validate import validate_pb

ROOT = Path(__file__).resolve().parent.parent
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"
VALIDATE = "buf/validate/validate.proto"


def write_validate_descriptor_set(path: Path) -> None:
    """Writes the descriptor set that stands in for the .proto file of buf.validate."""
    files = descriptor_pb2.FileDescriptorSet()
    imports = (
        descriptor_pb2.DESCRIPTOR,
        duration_pb2.DESCRIPTOR,
        field_mask_pb2.DESCRIPTOR,
        timestamp_pb2.DESCRIPTOR,
    )
    for imported in imports:
        imported.CopyToProto(files.file.add())
    files.file.add().ParseFromString(validate_pb.desc().proto.to_binary())
    path.write_bytes(files.SerializeToString(deterministic=True))


def run_protoc(proto: Path, descriptor_set: Path, *arguments: str) -> None:
    """Runs protoc on every file under `proto`; exits with its code when it fails."""
    sources = sorted(str(path.relative_to(proto)) for path in proto.rglob("*.proto"))
    code = protoc.main(
        [
            "protoc",
            f"--proto_path={proto}",
            f"--proto_path={WELL_KNOWN}",
            f"--descriptor_set_in={descriptor_set}",
            *arguments,
            *sources,
        ]
    )
    if code != 0:
        sys.exit(code)
