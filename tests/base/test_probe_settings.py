"""The engine's defaults are those of the hub's settings."""

from hub.base.probe_settings import ProbeSettings
from hub.base.settings import ProbeConfig


def test_the_defaults_are_those_of_the_configuration() -> None:
    config, own = ProbeConfig(), ProbeSettings()
    shared = {name for name in ProbeConfig.model_fields if hasattr(own, name)}
    assert shared >= {"interval_s", "jitter", "concurrency", "per_host", "max_body_bytes"}
    for name in shared:
        assert getattr(own, name) == getattr(config, name), name


def test_a_connection_outlives_the_longest_interval() -> None:
    own = ProbeSettings()
    assert own.keepalive_s > own.interval_s * (1 + own.jitter)


def test_a_probe_that_hangs_is_counted_apart_long_before_it_ends() -> None:
    own = ProbeSettings()
    assert own.demote_after_s < own.connect_timeout_s < own.total_timeout_s < own.interval_s
