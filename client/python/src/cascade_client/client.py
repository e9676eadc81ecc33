"""The synchronous client."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Iterable, Iterator, List, Optional, Type, Union

import grpc

from cascade_client import conversions, errors, options, requests, transfer
from cascade_client.calls import Calls
from cascade_client.connection import Connection, TlsOptions, check_session_id
from cascade_client.options import Message
from cascade_client.place import Place
from cascade_client.replies import Durability, Reply, Scores, ServerInfo, SessionInfo, Template
from cascade_client.retries import RetryPolicy, was_refused
from cascade_client.session import Session
from cascade_client.stream import Stream
from cascade_client.turn import Turn
from cascade_client.wire import cascade_pb2 as pb

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from cascade_client.options import GenerateOptions

_DEFAULT_RETRY = RetryPolicy()


class Client:
    """A connection to one server. Any thread may call anything; gRPC connects at the first call.

    `timeout`: seconds for each call, what it takes to make it again included; every method takes one of its own. None:
    as long as it needs. Errors are CascadeErrors; wrong values are InvalidArgument with the field's name.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:50051",
        api_key: Optional[str] = None,
        tls: Optional[TlsOptions] = None,
        timeout: Optional[float] = None,
        *,
        retry: RetryPolicy = _DEFAULT_RETRY,
    ) -> None:
        self.address = address
        self._calls = Calls(Connection(address, api_key, tls), retry, timeout)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.address!r})"

    def close(self) -> None:
        """Ends the connection, and every call that still runs on it."""
        self._calls.close()

    # One-shot ------------------------------------------------------------------------------------------------------

    def generate(
        self,
        prompt: Optional[str] = None,
        *,
        messages: Optional[Iterable[Message]] = None,
        token_ids: Optional[Iterable[int]] = None,
        timeout: Optional[float] = None,
        **sampling: Unpack[GenerateOptions],
    ) -> Reply:
        """The reply to a prompt: a text, messages for the model's chat template, or token ids."""
        return self.stream(prompt, messages=messages, token_ids=token_ids, timeout=timeout, **sampling).read()

    def generate_many(
        self,
        n: int,
        prompt: Optional[str] = None,
        *,
        messages: Optional[Iterable[Message]] = None,
        token_ids: Optional[Iterable[int]] = None,
        timeout: Optional[float] = None,
        **sampling: Unpack[GenerateOptions],
    ) -> List[Reply]:
        """n replies to one prompt, which is read once; the i-th uses seed + i."""
        stream = self.stream(prompt, messages=messages, token_ids=token_ids, n=n, timeout=timeout, **sampling)
        stream.read()
        return stream.results

    def stream(
        self,
        prompt: Optional[str] = None,
        *,
        messages: Optional[Iterable[Message]] = None,
        token_ids: Optional[Iterable[int]] = None,
        n: Optional[int] = None,
        timeout: Optional[float] = None,
        **sampling: Unpack[GenerateOptions],
    ) -> Stream:
        """The same, as it is made. The call is made when the iteration begins."""
        request = requests.one_shot(prompt, messages, token_ids, n, sampling)
        return Stream(self._calls, Turn(request, self._calls.retries(timeout)))

    def score(
        self,
        text: Optional[str] = None,
        *,
        token_ids: Optional[Iterable[int]] = None,
        parse_special: bool = False,
        timeout: Optional[float] = None,
    ) -> Scores:
        """Log-likelihood of a text, token by token."""
        request = pb.ScoreRequest(prompt=options.prompt(text, None, token_ids, parse_special, "text"))
        return conversions.scores(self._calls.messages("Score", request, "", self._calls.retries(timeout), reads=True))

    # Text and server -----------------------------------------------------------------------------------------------

    def tokenize(self, text: str, *, parse_special: bool = False, timeout: Optional[float] = None) -> List[int]:
        request = requests.tokenize(text, parse_special)
        return list(self._read("Tokenize", request, timeout).token_ids)

    def detokenize(self, token_ids: Iterable[int], *, timeout: Optional[float] = None) -> str:
        """Bytes that are no UTF-8 are replaced by U+FFFD."""
        text: str = self._read("Detokenize", requests.detokenize(token_ids), timeout).text
        return text

    def apply_chat_template(
        self, messages: Iterable[Message], *, add_generation_prompt: bool = True, timeout: Optional[float] = None
    ) -> Template:
        request = pb.ApplyChatTemplateRequest(
            messages=options.message_list(messages), add_generation_prompt=add_generation_prompt
        )
        response = self._read("ApplyChatTemplate", request, timeout)
        return Template(response.text, list(response.token_ids))

    def server_info(self, *, timeout: Optional[float] = None) -> ServerInfo:
        return conversions.server_info(self._read("GetServerInfo", pb.GetServerInfoRequest(), timeout))

    # Sessions ------------------------------------------------------------------------------------------------------

    def create_session(
        self, label: str = "", durability: Union[Durability, str, None] = None, *, timeout: Optional[float] = None
    ) -> Session:
        """A new one. `label` is for people: letters, digits, - and _, at most 64. Default durability: the server's."""
        request = requests.create_session(label, durability)
        info = self._calls.unary("CreateSession", request, "", self._calls.retries(timeout), reads=False)
        return Session(self._calls, Place(info.session_id, info.position))

    def session(self, session_id: str) -> Session:
        """One that exists. Asks the server nothing yet."""
        return Session(self._calls, Place(check_session_id(session_id)))

    def list_sessions(self, *, page_size: int = 100, timeout: Optional[float] = None) -> Iterator[SessionInfo]:
        """By time of creation, oldest first; a page is fetched when it is reached."""
        retries = self._calls.retries(timeout)
        request = requests.list_sessions(page_size)
        while True:
            response = self._calls.unary("ListSessions", request, "", retries, reads=True)
            for each in response.sessions:
                yield conversions.session_info(each)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    def import_session(
        self,
        file: transfer.File,
        *,
        label: str = "",
        durability: Union[Durability, str, None] = None,
        replay: bool = False,
        timeout: Optional[float] = None,
    ) -> Session:
        """A new session from what Session.export wrote: a path, or an open binary file.

        `replay`: where the caches differ, an export with its history may be read again from its first token.
        """
        first = requests.import_options(label, durability, replay)
        retries = self._calls.retries(timeout)
        with transfer.Source(file) as source:
            while True:
                try:
                    info = self._calls.open("ImportSession", source.requests(first), "", retries)
                    return Session(self._calls, Place(info.session_id, info.position))
                except grpc.RpcError as error:
                    failed = errors.from_grpc(error)
                    if source.failure is not None:
                        raise source.failure from None
                    if not was_refused(failed) or not source.again():
                        raise failed from error
                    time.sleep(retries.delay(failed))

    def _read(self, method: str, request: Any, timeout: Optional[float]) -> Any:
        return self._calls.unary(method, request, "", self._calls.retries(timeout), reads=True)
