"""Client of Cascade, a server for Llama-family models whose sessions keep a cache of constant size.

    from cascade_client import Client

    with Client("127.0.0.1:50051") as client:
        print(client.generate("Once upon a time", max_tokens=20))

AsyncClient has the same methods, to be awaited. The README shows sessions, streams and what happens when a connection
breaks.
"""

from cascade_client.async_chat import AsyncChat, AsyncChatReply
from cascade_client.async_client import AsyncClient
from cascade_client.async_session import AsyncSession
from cascade_client.async_stream import AsyncStream
from cascade_client.chat import Chat, ChatReply
from cascade_client.client import Client
from cascade_client.connection import TlsOptions
from cascade_client.errors import (
    Busy,
    Cancelled,
    CascadeError,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    InternalError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from cascade_client.options import GenerateOptions, Message, TurnOptions
from cascade_client.replies import (
    Acknowledgement,
    CacheGeometry,
    Delta,
    Durability,
    FinishReason,
    HeldTokens,
    OnCancel,
    ParkTarget,
    Reply,
    Scores,
    ServerInfo,
    SessionInfo,
    SessionState,
    Template,
    TokenLogprob,
    TokenLogprobs,
    Usage,
)
from cascade_client.retries import RetryPolicy
from cascade_client.session import Session
from cascade_client.stream import Stream
from cascade_client.version import __version__

__all__ = [
    "Acknowledgement",
    "AsyncChat",
    "AsyncChatReply",
    "AsyncClient",
    "AsyncSession",
    "AsyncStream",
    "Busy",
    "CacheGeometry",
    "Cancelled",
    "CascadeError",
    "Chat",
    "ChatReply",
    "Client",
    "DataLoss",
    "DeadlineExceeded",
    "Delta",
    "Durability",
    "FailedPrecondition",
    "FinishReason",
    "GenerateOptions",
    "HeldTokens",
    "InternalError",
    "InvalidArgument",
    "Message",
    "NotFound",
    "OnCancel",
    "ParkTarget",
    "PermissionDenied",
    "Reply",
    "ResourceExhausted",
    "RetryPolicy",
    "Scores",
    "ServerInfo",
    "Session",
    "SessionInfo",
    "SessionState",
    "Stream",
    "Template",
    "TlsOptions",
    "TokenLogprob",
    "TokenLogprobs",
    "TurnOptions",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Usage",
    "__version__",
]
