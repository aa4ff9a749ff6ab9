import grpc
import grpc_testing
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import ReflectionServicer

from hub.contract import rpcs
from hub.transports.grpc import reflection_service

pytestmark = pytest.mark.usefixtures("grpc_engine")

NAMES = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]
SERVICES = sorted(
    [*(service.full_name for service in rpcs.SERVICES), "grpc.health.v1.Health", *NAMES]
)


async def ask(hub, name, **request):
    """Asks once and ends the stream; the answer of the one and the other version is the same."""
    method = hub.channel.stream_stream(
        f"/{name}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    call = method(iter([reflection_pb2.ServerReflectionRequest(**request)]), timeout=30)
    answers = [answer async for answer in call]
    assert len(answers) == 1
    return answers[0]


def files_of(answer):
    found = {}
    for encoded in answer.file_descriptor_response.file_descriptor_proto:
        file = descriptor_pb2.FileDescriptorProto.FromString(encoded)
        found[file.name] = file
    return found


@pytest.mark.parametrize("name", NAMES)
async def test_services_are_listed_without_a_token(hub, name):
    answer = await ask(hub, name, list_services="")
    assert [each.name for each in answer.list_services_response.service] == SERVICES


@pytest.mark.parametrize("name", NAMES)
async def test_a_client_can_rebuild_the_contract(hub, name):
    pool = descriptor_pool.DescriptorPool()
    waiting = {"llmhub/v1/admin_service.proto", "llmhub/v1/registry_service.proto"}
    files = {}
    while waiting:
        answer = await ask(hub, name, file_by_filename=waiting.pop())
        assert not answer.HasField("error_response")
        files |= files_of(answer)
        missing = {each for file in files.values() for each in file.dependency} - set(files)
        waiting |= missing

    def add(file):
        for dependency in file.dependency:
            add(files[dependency])
        pool.Add(file)

    for file in files.values():
        add(file)
    found = pool.FindServiceByName("llmhub.v1.AdminService")
    theirs = descriptor_pb2.ServiceDescriptorProto()
    ours = descriptor_pb2.ServiceDescriptorProto()
    found.CopyToProto(theirs)
    rpcs.SERVICES[1].CopyToProto(ours)
    assert theirs == ours


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("symbol", ["llmhub.v1.Endpoint", "llmhub.v1.AdminService", *NAMES])
async def test_symbols_are_described(hub, name, symbol):
    files = files_of(await ask(hub, name, file_containing_symbol=symbol))
    assert any(symbol.startswith(file.package) for file in files.values())


@pytest.mark.parametrize("name", NAMES)
async def test_v1_describes_itself_by_its_own_names(hub, name):
    symbol = "grpc.reflection.v1.ServerReflection"
    (file,) = files_of(await ask(hub, name, file_containing_symbol=symbol)).values()
    assert file.package == "grpc.reflection.v1"
    assert b"v1alpha" not in file.SerializeToString()


def test_the_servicer_works_without_a_server():
    """The servicer behind both names, without a network."""
    names = (*(service.full_name for service in rpcs.SERVICES), *NAMES)
    service = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
    assert reflection_service.handlers([], lambda stream: stream)
    server = grpc_testing.server_from_dictionary(
        {service: ReflectionServicer(names)}, grpc_testing.strict_real_time()
    )
    call = server.invoke_stream_stream(service.methods_by_name["ServerReflectionInfo"], (), 10)
    call.send_request(reflection_pb2.ServerReflectionRequest(list_services=""))
    answer = call.take_response()
    listed = [each.name for each in answer.list_services_response.service]
    assert listed == sorted(names)
    request = reflection_pb2.ServerReflectionRequest(
        file_containing_symbol="grpc.reflection.v1.ServerReflection"
    )
    call.send_request(request)
    assert files_of(call.take_response())
    call.requests_closed()
    _, code, _ = call.termination()
    assert code == grpc.StatusCode.OK


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "symbol", ["RegistryService", "RegistryService.GetSnapshot", "Endpoint.id"]
)
async def test_the_file_of_a_symbol_is_found(hub, name, symbol):
    answer = await ask(hub, name, file_containing_symbol=f"llmhub.v1.{symbol}")
    assert any(file.startswith("llmhub/v1/") for file in files_of(answer))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("symbol", ["Nothing", "RegistryService.None"])
async def test_an_unknown_symbol_is_not_found(hub, name, symbol):
    answer = await ask(hub, name, file_containing_symbol=f"llmhub.v1.{symbol}")
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
