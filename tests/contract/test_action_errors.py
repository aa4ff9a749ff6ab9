from hub.contract import action_errors, errors
from hub.contract.errors import HubError


def test_it_has_the_errors_of_model_actions_and_no_others() -> None:
    defined = {
        name
        for name, each in vars(action_errors).items()
        if isinstance(each, type)
        and issubclass(each, HubError)
        and each.__module__ == action_errors.__name__
    }
    assert defined
    assert all(name.startswith("Action") for name in defined)
    assert not [name for name in vars(errors) if name.startswith("Action")]
