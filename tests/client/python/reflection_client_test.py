"""A plain grpcio client that knows the server's address, and learns the rest by reflection; without the package."""

import subprocess
import sys
from typing import Any, Dict

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def generate(address: str, text: str) -> Dict[str, Any]:
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = descriptor_pool.DescriptorPool(database)
        services = []
        for name in database.get_services():
            try:
                services.append(pool.FindServiceByName(name))
            except KeyError:
                assert name.startswith("grpc.")  # gRPC's own health service, which has no descriptor in it
        # Whatever takes a prompt, and streams texts back.
        (method,) = [
            method
            for service in services
            for method in service.methods
            if "prompt" in method.input_type.fields_by_name and "finish_reason" in method.output_type.fields_by_name
        ]
        request_class = message_factory.GetMessageClass(method.input_type)
        response_class = message_factory.GetMessageClass(method.output_type)
        call = channel.unary_stream(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=request_class.SerializeToString,
            response_deserializer=response_class.FromString,
        )
        request = request_class()
        request.prompt.text = text
        request.sampling.temperature = 0
        request.stopping.max_tokens = 8
        responses = list(call(request, timeout=60))
        reasons = method.output_type.fields_by_name["finish_reason"].enum_type.values_by_number
        return {
            "method": f"{method.containing_service.full_name}/{method.name}",
            "token_ids": [each for response in responses for each in response.token_ids],
            "text": "".join(response.text for response in responses),
            "finish_reason": reasons[responses[-1].finish_reason].name,
        }


def test_generates(server: Any) -> None:
    # In a process of its own, where nothing has loaded the package's descriptors.
    program = (
        f"import sys; sys.path.insert(0, {sys.path[0]!r}); import reflection_client_test as test\n"
        f"print(test.generate({server.address!r}, 'Hello'))\n"
        "assert 'cascade_client' not in sys.modules"
    )
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    found = eval(output)
    assert found["method"] == "cascade.v1.Cascade/Generate"
    assert len(found["token_ids"]) > 0 and found["finish_reason"] in ("FINISH_REASON_LENGTH", "FINISH_REASON_STOP")

    from cascade_client import Client

    with Client(server.address) as client:
        reply = client.generate("Hello", temperature=0, max_tokens=8)
    assert (found["token_ids"], found["text"]) == (reply.token_ids, reply.text)
