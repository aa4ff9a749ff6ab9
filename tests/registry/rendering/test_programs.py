import pytest

from hub.registry.rendering.programs import programs
from tests.support.routable import KEYS, fleet_of, mixed_fleet


@pytest.mark.parametrize("name", programs())
def test_no_program_gets_a_key_that_was_not_asked_for(name: str) -> None:
    assert KEYS["VLLM_KEY"] not in programs()[name](mixed_fleet())


@pytest.mark.parametrize("name", programs())
def test_the_same_fleet_is_the_same_text(name: str) -> None:
    assert programs()[name](mixed_fleet()) == programs()[name](mixed_fleet())


@pytest.mark.parametrize("name", programs())
def test_an_empty_fleet_is_rendered_too(name: str) -> None:
    assert programs()[name](fleet_of()).endswith("\n")


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_some_listen_at_the_given_address(name: str) -> None:
    assert "127.0.0.1:7777" in programs("127.0.0.1:7777")[name](fleet_of())
