import json
from random import Random

from hub.contract.dialect.frames import parse_frame
from tools.simulated_hosts import GIB, SimulatedHost, Walk


def test_a_walk_moves_within_its_bounds() -> None:
    walk = Walk(Random(1), 0.9)
    values = [walk.step() for _ in range(2000)]
    assert 0.01 <= min(values) < max(values) <= 0.99
    assert len(set(values)) > 1500


def test_every_report_is_valid() -> None:
    host = SimulatedHost("gpu-01", Random(2), lambda: 300 * GIB)
    for _ in range(200):
        report = host.read()
        decoded = parse_frame(json.dumps({"type": "resource_report", **report})).decode()
        assert not decoded.violations
        assert report["vram_used_bytes"] <= report["vram_total_bytes"]
