"""The client for asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, AsyncIterator, Iterable, List, Optional, Type, Union

import grpc

from cascade_client import conversions, errors, options, requests, transfer
from cascade_client.async_calls import AsyncCalls
from cascade_client.connection import Connection, TlsOptions, check_session_id
from cascade_client.options import Message
from cascade_client.place import Place
from cascade_client.replies import Durability, Reply, Scores, ServerInfo, SessionInfo, Template
from cascade_client.retries import RetryPolicy, was_refused
from cascade_client.async_session import AsyncSession
from cascade_client.async_stream import AsyncStream
from cascade_client.turn import Turn
from cascade_client.wire import cascade_pb2 as pb

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from cascade_client.options import GenerateOptions

_DEFAULT_RETRY = RetryPolicy()


class AsyncClient:
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
        self._calls = AsyncCalls(Connection(address, api_key, tls), retry, timeout)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Any) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self.address!r})"

    async def close(self) -> None:
        """Ends the connection, and every call that still runs on it."""
        await self._calls.close()

    # One-shot ------------------------------------------------------------------------------------------------------

    async def generate(
        self,
        prompt: Optional[str] = None,
        *,
        messages: Optional[Iterable[Message]] = None,
        token_ids: Optional[Iterable[int]] = None,
        timeout: Optional[float] = None,
        **sampling: Unpack[GenerateOptions],
    ) -> Reply:
        """The reply to a prompt: a text, messages for the model's chat template, or token ids."""
        return await self.stream(prompt, messages=messages, token_ids=token_ids, timeout=timeout, **sampling).read()

    async def generate_many(
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
        await stream.read()
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
    ) -> AsyncStream:
        """The same, as it is made. The call is made when the iteration begins."""
        request = requests.one_shot(prompt, messages, token_ids, n, sampling)
        return AsyncStream(self._calls, Turn(request, self._calls.retries(timeout)))

    async def score(
        self,
        text: Optional[str] = None,
        *,
        token_ids: Optional[Iterable[int]] = None,
        parse_special: bool = False,
        timeout: Optional[float] = None,
    ) -> Scores:
        """Log-likelihood of a text, token by token."""
        request = pb.ScoreRequest(prompt=options.prompt(text, None, token_ids, parse_special, "text"))
        return await conversions.async_scores(
            self._calls.messages("Score", request, "", self._calls.retries(timeout), reads=True)
        )

    # Text and server -----------------------------------------------------------------------------------------------

    async def tokenize(self, text: str, *, parse_special: bool = False, timeout: Optional[float] = None) -> List[int]:
        request = requests.tokenize(text, parse_special)
        return list((await self._read("Tokenize", request, timeout)).token_ids)

    async def detokenize(self, token_ids: Iterable[int], *, timeout: Optional[float] = None) -> str:
        """Bytes that are no UTF-8 are replaced by U+FFFD."""
        text: str = (await self._read("Detokenize", requests.detokenize(token_ids), timeout)).text
        return text

    async def apply_chat_template(
        self, messages: Iterable[Message], *, add_generation_prompt: bool = True, timeout: Optional[float] = None
    ) -> Template:
        request = pb.ApplyChatTemplateRequest(
            messages=options.message_list(messages), add_generation_prompt=add_generation_prompt
        )
        response = await self._read("ApplyChatTemplate", request, timeout)
        return Template(response.text, list(response.token_ids))

    async def server_info(self, *, timeout: Optional[float] = None) -> ServerInfo:
        return conversions.server_info(await self._read("GetServerInfo", pb.GetServerInfoRequest(), timeout))

    # Sessions ------------------------------------------------------------------------------------------------------

    async def create_session(
        self, label: str = "", durability: Union[Durability, str, None] = None, *, timeout: Optional[float] = None
    ) -> AsyncSession:
        """A new one. `label` is for people: letters, digits, - and _, at most 64. Default durability: the server's."""
        request = requests.create_session(label, durability)
        info = await self._calls.unary("CreateSession", request, "", self._calls.retries(timeout), reads=False)
        return AsyncSession(self._calls, Place(info.session_id, info.position))

    def session(self, session_id: str) -> AsyncSession:
        """One that exists. Asks the server nothing yet."""
        return AsyncSession(self._calls, Place(check_session_id(session_id)))

    async def list_sessions(
        self, *, page_size: int = 100, timeout: Optional[float] = None
    ) -> AsyncIterator[SessionInfo]:
        """By time of creation, oldest first; a page is fetched when it is reached."""
        retries = self._calls.retries(timeout)
        request = requests.list_sessions(page_size)
        while True:
            response = await self._calls.unary("ListSessions", request, "", retries, reads=True)
            for each in response.sessions:
                yield conversions.session_info(each)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def import_session(
        self,
        file: transfer.File,
        *,
        label: str = "",
        durability: Union[Durability, str, None] = None,
        replay: bool = False,
        timeout: Optional[float] = None,
    ) -> AsyncSession:
        """A new session from what Session.export wrote: a path, or an open binary file.

        `replay`: where the caches differ, an export with its history may be read again from its first token.
        """
        first = requests.import_options(label, durability, replay)
        retries = self._calls.retries(timeout)
        with transfer.Source(file) as source:
            while True:
                try:
                    info = await self._calls.open("ImportSession", source.async_requests(first), "", retries)
                    return AsyncSession(self._calls, Place(info.session_id, info.position))
                except asyncio.CancelledError:
                    if source.failure is None:
                        raise
                    raise source.failure from None  # gRPC cancels a call whose messages cannot be read
                except grpc.RpcError as error:
                    failed = errors.from_grpc(error)
                    if source.failure is not None:
                        raise source.failure from None
                    if not was_refused(failed) or not source.again():
                        raise failed from error
                    await asyncio.sleep(retries.delay(failed))

    async def _read(self, method: str, request: Any, timeout: Optional[float]) -> Any:
        return await self._calls.unary(method, request, "", self._calls.retries(timeout), reads=True)
