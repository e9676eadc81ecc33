"""Errors by gRPC status code. The original grpc error is `__cause__` and `grpc_error`."""

from __future__ import annotations

from typing import Any, Dict, Optional, Type

import grpc
from google.protobuf.message import DecodeError

from cascade_client.replies import Reply
from cascade_client.wire import status_details_pb2 as details_pb


class CascadeError(Exception):
    """A call failed. The class tells how; see the subclasses."""

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __init__(
        self, message: str, *, grpc_error: Optional[BaseException] = None, code: Optional[grpc.StatusCode] = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.grpc_error = grpc_error
        # What had come of the reply; None where the call makes none.
        self.reply: Optional[Reply] = None
        if code is not None:
            self.code = code


class InvalidArgument(CascadeError, ValueError):
    """A field is wrong; `field` names it, where the server did."""

    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(
        self,
        message: str,
        *,
        grpc_error: Optional[BaseException] = None,
        code: Optional[grpc.StatusCode] = None,
        field: str = "",
    ) -> None:
        super().__init__(message, grpc_error=grpc_error, code=code)
        self.field = field


class NotFound(CascadeError):
    """The session is unknown, expired or somebody else's."""

    code = grpc.StatusCode.NOT_FOUND


class Busy(CascadeError):
    """The session has another turn, or another call that needs its cache."""

    code = grpc.StatusCode.ABORTED


class FailedPrecondition(CascadeError):
    """The session's position is another than expected, or the call needs what this session or server has not."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class ResourceExhausted(CascadeError):
    """A queue, the sessions or a place for them are full. `retry_after`: seconds, where the server said."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(
        self,
        message: str,
        *,
        grpc_error: Optional[BaseException] = None,
        code: Optional[grpc.StatusCode] = None,
        retry_after: Optional[float] = None,
    ) -> None:
        super().__init__(message, grpc_error=grpc_error, code=code)
        self.retry_after = retry_after


class Unavailable(CascadeError):
    """No server answers, it is going away, or the connection broke."""

    code = grpc.StatusCode.UNAVAILABLE


class DataLoss(CascadeError):
    """A session's files, or the bytes to import, are damaged."""

    code = grpc.StatusCode.DATA_LOSS


class DeadlineExceeded(CascadeError, TimeoutError):
    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(CascadeError):
    code = grpc.StatusCode.CANCELLED


class Unauthenticated(CascadeError):
    """No API key, or a wrong one."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(CascadeError):
    code = grpc.StatusCode.PERMISSION_DENIED


class Unimplemented(CascadeError):
    """This server does not know the call."""

    code = grpc.StatusCode.UNIMPLEMENTED


class InternalError(CascadeError):
    """The server failed; its log says more."""

    code = grpc.StatusCode.INTERNAL


_CLASSES: Dict[grpc.StatusCode, Type[CascadeError]] = {
    each.code: each
    for each in (
        InvalidArgument,
        NotFound,
        Busy,
        FailedPrecondition,
        ResourceExhausted,
        Unavailable,
        DataLoss,
        DeadlineExceeded,
        Cancelled,
        Unauthenticated,
        PermissionDenied,
        Unimplemented,
        InternalError,
    )
}
_CODES: Dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def from_code(number: int, message: str) -> CascadeError:
    """Of an error that came as a message: google.rpc.Code and text."""
    code = _CODES.get(number, grpc.StatusCode.UNKNOWN)
    return _CLASSES.get(code, CascadeError)(message, code=code)


def from_grpc(error: Any) -> CascadeError:
    """Of a grpc.RpcError, sync or async."""
    code: grpc.StatusCode = error.code()
    message = error.details() or code.name
    arguments: Dict[str, Any] = {"grpc_error": error, "code": code}
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        retry = details_pb.RetryInfo()
        if _unpack(error, "google.rpc.RetryInfo", retry):
            arguments["retry_after"] = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    elif code == grpc.StatusCode.INVALID_ARGUMENT:
        bad = details_pb.BadRequest()
        if _unpack(error, "google.rpc.BadRequest", bad) and bad.field_violations:
            arguments["field"] = bad.field_violations[0].field
    converted = _CLASSES.get(code, CascadeError)(message, **arguments)
    converted.__cause__ = error
    return converted


def _unpack(error: Any, name: str, detail: Any) -> bool:
    """Whether the error carries a detail of that type; its fields are then in `detail`."""
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        try:
            for each in details_pb.StatusDetails.FromString(value).details:
                if each.type_url.rpartition("/")[2] == name:
                    detail.ParseFromString(each.value)
                    return True
        except DecodeError:
            pass  # a proxy's own; the code and the message are enough
    return False
