"""What it costs to validate a request, in process; the floor is protovalidate alone."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

from google.protobuf.message import Message
from protovalidate import Validator

from benchmarks.rows import Row, ratio
from benchmarks.sampling import Sample, in_turn
from hub.contract import validation
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from llmhub.v1.registry_service_pb2 import GetEndpointRequest, SelectEndpointRequest

_HOSTS: Final = 64
_US: Final = 1e6
_GPU: Final = {
    "index": 0,
    "name": "RTX 4090",
    "utilization_percent": 50.0,
    "vram_used_bytes": 8 << 30,
    "vram_total_bytes": 24 << 30,
    "temperature_celsius": 61.0,
    "power_watts": 310.0,
}


def _requests() -> dict[str, list[Message]]:
    """Valid requests by what they are called in the table."""
    host = ReportResourcesRequest(
        cpu_percent=12.5, ram_used_bytes=7 << 30, ram_total_bytes=31 << 30, vram_used_bytes=6 << 30
    )
    with_gpu = ReportResourcesRequest(gpus=[_GPU])
    with_gpu.MergeFrom(host)
    labels = {"zone": "a", "tier": "gold"}
    return {
        "resource_report": [host],
        "resource_report with a GPU": [with_gpu],
        "RegisterEndpoint": [
            RegisterEndpointRequest(host=f"10.0.0.{n}", port=11434, name="x", labels=labels)
            for n in range(_HOSTS)
        ],
        "SelectEndpoint, asked again": [SelectEndpointRequest(model="llama3:8b", labels=labels)],
        "SelectEndpoint, each another": [
            SelectEndpointRequest(model=f"model-{n}", labels=labels) for n in range(2_000)
        ],
        "GetEndpoint": [GetEndpointRequest(id="10.0.0.1:11434")],
    }


async def run(*, quick: bool) -> list[Row]:
    """Measures each kind of request beside protovalidate."""
    validation.warm()
    protovalidate = Validator()

    def ask(message: Message) -> None:
        protovalidate.collect_violations(message, fail_fast=True)

    rounds, count = (5, 4_000) if quick else (15, 20_000)
    rows = []
    for name, requests in _requests().items():
        taken = await in_turn(
            rounds,
            hub=_judging(validation.check, requests, count),
            floor=_judging(ask, requests, count),
        )
        rows.append(
            Row(
                work=f"validating a {name}",
                unit="µs CPU",
                subject=taken["hub"]["cpu_us"],
                floor=taken["floor"]["cpu_us"],
                budget=ratio(1),
            )
        )
    return rows


def _judging(
    judge: Callable[[Message], None], requests: list[Message], count: int
) -> Callable[[], Awaitable[Sample]]:
    async def take() -> Sample:
        turns = count // len(requests) or 1
        started = time.process_time()
        for _ in range(turns):
            for request in requests:
                judge(request)
        return {"cpu_us": (time.process_time() - started) / (turns * len(requests)) * _US}

    return take
