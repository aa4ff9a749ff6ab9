from hub.contract.rpcs import RPCS
from hub.service import operations
from hub.service.operations import OPERATIONS, Operation


def test_every_operation_is_in_the_table() -> None:
    defined = {each for each in vars(operations).values() if isinstance(each, Operation)}
    assert set(OPERATIONS) == defined
    assert len(OPERATIONS) == len(defined)


def test_no_operation_has_the_name_of_an_rpc() -> None:
    names = [called.name for called in (*RPCS, *OPERATIONS)]
    assert len(set(names)) == len(names)
    rpc_handlers = {rpc.handler for rpc in RPCS}
    assert not rpc_handlers & {operation.handler for operation in OPERATIONS}
