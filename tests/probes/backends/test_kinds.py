from hub.probes.backends.kinds import PROBERS
from llmhub.v1.endpoint_pb2 import BACKEND_UNSPECIFIED, Backend


def test_there_is_a_prober_for_every_kind():
    assert set(PROBERS) == set(Backend.values()) - {BACKEND_UNSPECIFIED}
    assert all(prober.kind == kind and prober.title for kind, prober in PROBERS.items())
