"""Where the server is and how it is reached: what the sync and the async client share."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, List, Optional, Sequence, Tuple, Union

import grpc
from google.protobuf import message_factory

from cascade_client.errors import InvalidArgument
from cascade_client.wire import cascade_pb2 as pb

Metadata = Tuple[Tuple[str, str], ...]

# PEM: the bytes themselves, or the path of a file that holds them.
Pem = Union[bytes, str, "os.PathLike[str]"]

# A head's inspection of the largest cache has room; the server takes 16 MiB.
_MAX_MESSAGE_BYTES = 64 << 20

_CHANNEL_OPTIONS: List[Tuple[str, Any]] = [
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    # gRPC's own first retry comes after a second, later ones after minutes: too slow for a server that just starts.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Calls are made again by rules of our own (retries.py).
    ("grpc.enable_retries", 0),
    # An http_proxy in the environment is meant for the web; through it a server on this very machine is not found.
    ("grpc.enable_http_proxy", 0),
    # A server whose machine vanished is noticed. Servers take pings every five minutes, unless told otherwise.
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Clients of one process that name the same server do not share, and so do not queue on, one connection.
    ("grpc.use_local_subchannel_pool", 1),
]


@dataclasses.dataclass(frozen=True)
class TlsOptions:
    """All None: the system's authorities, no certificate of our own."""

    root_certificates: Optional[Pem] = None
    certificate_chain: Optional[Pem] = None  # of this client, with private_key
    private_key: Optional[Pem] = dataclasses.field(default=None, repr=False)
    # The name in the server's certificate, where it is not the address.
    server_name: Optional[str] = None

    def __post_init__(self) -> None:
        if (self.certificate_chain is None) != (self.private_key is None):
            raise InvalidArgument("certificate_chain and private_key must be given together", field="tls")


class Connection:
    """Where to, and as whom. Opens nothing."""

    def __init__(self, address: str, api_key: Optional[str], tls: Optional[TlsOptions]) -> None:
        if not isinstance(address, str) or not address or any(c.isspace() for c in address):
            raise InvalidArgument("address must be host:port", field="address")
        if address.startswith(("http://", "https://", "grpc://")):
            raise InvalidArgument("address must be host:port, without a scheme; `tls` turns TLS on", field="address")
        if api_key is not None and (
            not isinstance(api_key, str) or not api_key or not all("!" <= c <= "~" for c in api_key)
        ):
            raise InvalidArgument("api_key must be printable ASCII without blanks", field="api_key")
        if tls is not None and not isinstance(tls, TlsOptions):
            raise InvalidArgument("tls must be a TlsOptions", field="tls")
        self.address = address
        self._authorization: Metadata = () if api_key is None else (("authorization", f"Bearer {api_key}"),)
        self._tls = tls

    def metadata(self, session_id: str) -> Metadata:
        """A proxy routes by the session's id."""
        if not session_id:
            return self._authorization
        return (*self._authorization, ("cascade-session-id", session_id))

    def credentials(self) -> Optional[grpc.ChannelCredentials]:
        """None: plain text."""
        if self._tls is None:
            return None
        return grpc.ssl_channel_credentials(
            _pem(self._tls.root_certificates, "root_certificates"),
            _pem(self._tls.private_key, "private_key"),
            _pem(self._tls.certificate_chain, "certificate_chain"),
        )

    def channel_options(self) -> Sequence[Tuple[str, Any]]:
        if self._tls is None or self._tls.server_name is None:
            return _CHANNEL_OPTIONS
        return [*_CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", self._tls.server_name)]


def _pem(value: Optional[Pem], name: str) -> Optional[bytes]:
    if value is None or isinstance(value, bytes):
        return value
    try:
        with open(value, "rb") as file:
            return file.read()
    except OSError as error:
        raise InvalidArgument(f"tls: {name} cannot be read: {error.strerror}", field="tls") from error


def check_session_id(session_id: Any) -> str:
    """It goes into metadata, where gRPC would answer other characters with an error of its own."""
    if not isinstance(session_id, str) or not session_id or not all("!" <= c <= "~" for c in session_id):
        raise InvalidArgument("session_id must be the id of a session, as create_session() made it", field="session_id")
    return session_id


_service = pb.DESCRIPTOR.services_by_name["Cascade"]
_STREAMING = {"Generate", "Score", "ResumeTurn", "ExportSession", "InspectSession"}
_BOTH = {"Chat"}
_SENDING = {"ImportSession"}


class Methods:
    """The service's methods over a channel, sync or async: `methods.GetSession(request, timeout=.., metadata=..)`."""

    def __init__(self, channel: Any) -> None:
        for name, method in _service.methods_by_name.items():
            kind = (
                "stream_stream"
                if name in _BOTH
                else "stream_unary" if name in _SENDING else "unary_stream" if name in _STREAMING else "unary_unary"
            )
            request = message_factory.GetMessageClass(method.input_type)
            response = message_factory.GetMessageClass(method.output_type)
            setattr(
                self,
                name,
                getattr(channel, kind)(
                    f"/{_service.full_name}/{name}",
                    request_serializer=request.SerializeToString,
                    response_deserializer=response.FromString,
                ),
            )

    def __getattr__(self, name: str) -> Any:  # for the type checker; __init__ sets them all
        raise AttributeError(name)
