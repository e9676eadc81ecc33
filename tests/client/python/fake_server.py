"""A Cascade server whose answers a test writes down, and that remembers what it was asked."""

import threading
from concurrent import futures
from typing import Any, Callable, Dict, List, Optional, Tuple

import grpc
from cascade_client.wire import cascade_pb2 as pb
from cascade_client.wire import status_details_pb2
from google.protobuf import message_factory

_SERVICE = pb.DESCRIPTOR.services_by_name["Cascade"]
_STREAMING = {"Generate", "Score", "ResumeTurn", "ExportSession", "InspectSession"}


class Failure(Exception):
    """Raised by a script: the call ends with it."""

    def __init__(self, code: grpc.StatusCode, message: str = "", details: bytes = b"") -> None:
        super().__init__(message)
        self.code, self.message, self.details = code, message, details


def unavailable() -> Failure:
    return Failure(grpc.StatusCode.UNAVAILABLE, "gone")


def full(seconds: float, nanos: int = 0) -> Failure:
    retry = status_details_pb2.RetryInfo(retry_delay=status_details_pb2.Delay(seconds=int(seconds), nanos=nanos))
    return Failure(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "the queue is full",
        packed(8, "type.googleapis.com/google.rpc.RetryInfo", retry),
    )


def packed(code: int, type_url: str, message: Any) -> bytes:
    status = status_details_pb2.StatusDetails(code=code)
    status.details.add(type_url=type_url, value=message.SerializeToString())
    return bytes(status.SerializeToString())


Script = Callable[..., Any]


class FakeServer:
    """`scripts[method]`: one function per call that is expected, in this order. It is given the request (Chat: the
    iterator), and returns the answer, or yields answers; or raises a Failure."""

    def __init__(self) -> None:
        self.scripts: Dict[str, List[Script]] = {}
        self.calls: List[Tuple[str, Any]] = []
        self.metadata: List[Dict[str, str]] = []
        self.time_left: List[Optional[float]] = []
        self._lock = threading.Lock()
        self._server = grpc.server(futures.ThreadPoolExecutor(16))
        self._server.add_generic_rpc_handlers([_Handler(self)])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        self._server.stop(None)

    def expect(self, method: str, *scripts: Script) -> None:
        self.scripts.setdefault(method, []).extend(scripts)

    def asked(self, method: str) -> List[Any]:
        return [request for name, request in self.calls if name == method]

    def unused(self) -> List[str]:
        return [method for method, scripts in self.scripts.items() for _ in scripts]

    def begin(self, method: str, request: Any, context: Any) -> Script:
        with self._lock:
            self.calls.append((method, request))
            self.metadata.append({key: value for key, value in context.invocation_metadata()})
            self.time_left.append(context.time_remaining())
            scripts = self.scripts.get(method)
            if not scripts:
                context.abort(grpc.StatusCode.INTERNAL, f"{method} was not expected")
            return scripts.pop(0)


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, server: FakeServer) -> None:
        self._fake = server

    def service(self, details: Any) -> Any:
        name = details.method.rpartition("/")[2]
        method = _SERVICE.methods_by_name[name]
        codec = {
            "request_deserializer": message_factory.GetMessageClass(method.input_type).FromString,
            "response_serializer": message_factory.GetMessageClass(method.output_type).SerializeToString,
        }

        def one(request: Any, context: Any) -> Any:
            if name == "ImportSession":
                request = list(request)
            script = self._fake.begin(name, request, context)
            try:
                return script(request)
            except Failure as failure:
                _abort(context, failure)

        def many(request: Any, context: Any) -> Any:
            script = self._fake.begin(name, request, context)
            try:
                yield from script(request)
            except Failure as failure:
                _abort(context, failure)

        if name == "Chat":
            return grpc.stream_stream_rpc_method_handler(many, **codec)
        if name in _STREAMING:
            return grpc.unary_stream_rpc_method_handler(many, **codec)
        if name == "ImportSession":
            return grpc.stream_unary_rpc_method_handler(one, **codec)
        return grpc.unary_unary_rpc_method_handler(one, **codec)


def _abort(context: Any, failure: Failure) -> None:
    if failure.details:
        context.set_trailing_metadata((("grpc-status-details-bin", failure.details),))
    context.abort(failure.code, failure.message)
