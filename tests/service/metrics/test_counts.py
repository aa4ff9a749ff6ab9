from hub.contract.rpcs import FRAMES
from hub.service.metrics.counts import LATENCY_BOUNDS, Histogram, Histograms, StoreCounts, Traffic


def test_a_histogram_bucket_includes_its_bound():
    histogram = Histogram((1.0, 2.5))
    for value in (0.0, 1.0, 1.1, 2.5, 2.6, 1e9):
        histogram.observe(value)
    assert histogram.buckets() == [("1.0", 2), ("2.5", 4), ("+Inf", 6)]
    assert histogram.sum == 0.0 + 1.0 + 1.1 + 2.5 + 2.6 + 1e9


def test_each_tuple_of_labels_has_its_own_histogram():
    histograms: Histograms[str, str] = Histograms((1.0,))
    histograms.observe(("a", "x"), 0.5)
    histograms.observe(("a", "y"), 2)
    histograms.observe(("a", "x"), 3)
    shown = {labels: histogram.buckets() for labels, histogram in histograms.items()}
    assert shown == {
        ("a", "x"): [("1.0", 1), ("+Inf", 2)],
        ("a", "y"): [("1.0", 0), ("+Inf", 1)],
    }


def test_every_kind_of_frame_starts_with_a_count_of_zero():
    for transport, frames in Traffic().frames.items():
        assert transport in {"ws", "grpc"}
        assert {kind.type: count for kind, count in frames.items()} == dict.fromkeys(FRAMES, 0)


def test_a_transaction_is_observed_by_time_and_size():
    counts = StoreCounts()
    counts.add(3, 0.004)
    counts.add(1, 0.0002)
    assert (counts.batches.sum, counts.seconds.sum) == (4, 0.0042)
    assert counts.batches.buckets()[-1] == counts.seconds.buckets()[-1] == ("+Inf", 2)


def test_histogram_bounds_ascend():
    assert sorted(set(LATENCY_BOUNDS)) == list(LATENCY_BOUNDS)
