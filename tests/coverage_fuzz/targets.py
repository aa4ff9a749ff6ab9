"""What is fuzzed: functions of bytes that raise nothing unless the hub has a fault."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final

import orjson
import protovalidate

from hub.base.address import (
    AddressError,
    join_host_port,
    normalize_host,
    parse_endpoint_url,
    parse_listen_address,
    spellings,
)
from hub.contract.errors import ValidationFailed
from hub.probes.backends import llama_cpp, lmdeploy, sglang, text_embeddings, vllm
from hub.probes.faults import ProbeError
from hub.registry.observation import Load
from hub.transports.session.sidecar_frames import parse_binary_frame
from llmhub.v1.endpoint_pb2 import Endpoint
from tests.support import dialect_fuzz, http2_fuzz
from tests.support.backend_parsers import LOADS, PARSERS

CORPUS: Final = Path(__file__).parent / "corpus"


def frames(data: bytes) -> None:
    """A frame as text and as a message."""
    dialect_fuzz.damage(data)
    with suppress(ValidationFailed):
        parse_binary_frame(data).decode()


def addresses(data: bytes) -> None:
    """An address has one spelling: what a parser returns, it reads as the same again."""
    text = data.decode(errors="replace")
    with suppress(AddressError):
        host = normalize_host(text)
        assert normalize_host(host) == host
    with suppress(AddressError):
        found = parse_endpoint_url(text)
        assert 0 < found.port < 65_536
        url = f"{found.scheme}://{found.id}{found.base_path}"
        assert parse_endpoint_url(url) == found
        assert found.id in spellings(found.id)
    with suppress(AddressError):
        host, port = parse_listen_address(text)
        assert parse_listen_address(join_host_port(host, port)) == (host, port)


def backends(data: bytes) -> None:
    """An answer of a probed server, to each parser of each backend."""
    for metrics in (vllm, sglang, lmdeploy, text_embeddings):
        metrics.parse_metrics(data)
    vllm.prefix_tokens(data)
    llama_cpp.prompt_tokens(data)
    llama_cpp.parse_metrics(data, Load())
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return
    for parse in PARSERS.values():
        with suppress(ProbeError):
            models = parse(value) or []
            names = [model.name for model in models]
            assert names == sorted(set(names))
            protovalidate.validate(Endpoint(models=models))
    for parse_load in LOADS.values():
        load = parse_load(value) or Load()
        assert all(each is None or each >= 0 for each in (load.running, load.waiting, load.slots))


def http2(data: bytes) -> None:
    """What a peer of the gRPC server sends after the preface."""
    http2_fuzz.hear(http2_fuzz.frames.PREFACE + data, Random(len(data)))


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "addresses": addresses,
    "backends": backends,
    "frames": frames,
    "http2": http2,
}


def corpus(name: str) -> list[bytes]:
    """The inputs that are kept for a target, one per line in hexadecimal digits."""
    lines = (CORPUS / f"{name}.hex").read_text(encoding="ascii").split()
    return [bytes.fromhex(line) for line in lines]
