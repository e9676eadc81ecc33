"""A session on the server, seen from the async client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, AsyncIterator, Awaitable, Iterable, Literal, Optional, Sequence, Union, overload

from cascade_client import conversions, requests, transfer
from cascade_client.async_calls import AsyncCalls
from cascade_client.async_chat import AsyncChat
from cascade_client.errors import NotFound
from cascade_client.options import Message
from cascade_client.place import Place
from cascade_client.replies import HeldTokens, OnCancel, ParkTarget, Reply, Scores, SessionInfo
from cascade_client.async_stream import AsyncStream
from cascade_client.turn import Turn
from cascade_client.wire import cascade_pb2 as pb

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from cascade_client.options import TurnOptions


class AsyncSession:
    """Holds the handle only: the session lives on the server until delete(), or until it expires there.

    Knows the session's position and sends it with every turn, so that somebody else's turn in between is
    FailedPrecondition, not a surprise; the next call after that error asks anew. One turn at a time.
    """

    def __init__(self, calls: AsyncCalls, place: Place) -> None:
        self._calls = calls
        self._place = place

    @property
    def id(self) -> str:
        return self._place.session_id

    @property
    def position(self) -> Optional[int]:
        """Tokens of its whole life, as far as this handle knows; None: it has to ask."""
        return self._place.position

    def __repr__(self) -> str:
        return f"AsyncSession({self.id[:8]!r}..)"  # the whole id is all that is needed to use it

    # Turns ---------------------------------------------------------------------------------------------------------

    @overload
    def send(
        self,
        text: Optional[str] = None,
        *,
        stream: Literal[False] = False,
        messages: Optional[Iterable[Message]] = None,
        prompt: Optional[str] = None,
        token_ids: Optional[Iterable[int]] = None,
        timeout: Optional[float] = None,
        **sampling: Unpack[TurnOptions],
    ) -> Awaitable[Reply]: ...

    @overload
    def send(
        self,
        text: Optional[str] = None,
        *,
        stream: Literal[True],
        messages: Optional[Iterable[Message]] = None,
        prompt: Optional[str] = None,
        token_ids: Optional[Iterable[int]] = None,
        timeout: Optional[float] = None,
        **sampling: Unpack[TurnOptions],
    ) -> AsyncStream: ...

    def send(
        self,
        text: Optional[str] = None,
        *,
        stream: bool = False,
        messages: Optional[Iterable[Message]] = None,
        prompt: Optional[str] = None,
        token_ids: Optional[Iterable[int]] = None,
        timeout: Optional[float] = None,
        **sampling: Unpack[TurnOptions],
    ) -> Union[Awaitable[Reply], AsyncStream]:
        """A turn: feeds what is new, and replies. One of:

        `text`: what the user says, a message of the role "user". `messages`: any messages, only those that are new.
        `prompt`: bare text, without the chat template; "" goes on from where the session is. `token_ids`: the same.

        on_cancel is "continue" by default, so that a reply survives a broken connection; with `stream` it is "keep", so
        that leaving the stream ends the reply.
        """
        default = OnCancel.KEEP if stream else OnCancel.CONTINUE
        request = requests.session_turn(text, messages, prompt, token_ids, sampling, default)
        result = AsyncStream(self._calls, Turn(request, self._calls.retries(timeout), self._place))
        return result if stream else result.read()

    def resume(self, from_seq: int = 0, *, timeout: Optional[float] = None) -> AsyncStream:
        """The session's running or last turn, after its first `from_seq` tokens. Leaving it ends nothing."""
        requests.check_count("from_seq", from_seq)
        return AsyncStream(self._calls, Turn(None, self._calls.retries(timeout), self._place, from_seq))

    def chat(self, *, auto_ack: bool = True) -> AsyncChat:
        """Turns over one stream, which can be interrupted; see AsyncChat."""
        return AsyncChat(self._calls, self._place, auto_ack)

    async def score(
        self,
        text: Optional[str] = None,
        *,
        token_ids: Optional[Iterable[int]] = None,
        parse_special: bool = False,
        timeout: Optional[float] = None,
        **turn: Any,
    ) -> Scores:
        """Feeds a text and says how probable it was, token by token.

        `turn`: durability, on_cancel, expected_position.
        """
        retries = self._calls.retries(timeout)
        await self._calls.settle(self._place, retries)
        request = requests.session_score(text, token_ids, parse_special, turn, self._place)
        self._place.position = None  # until it has ended well
        try:
            result = await conversions.async_scores(
                self._calls.messages("Score", request, self.id, retries, reads=False)
            )
        except BaseException:
            self._place.leaving = True
            raise
        if result.usage is not None and result.acknowledgement is not None:
            self._place.position = result.usage.position
        return result

    # The session ---------------------------------------------------------------------------------------------------

    async def info(self, *, timeout: Optional[float] = None) -> SessionInfo:
        """Asks the server, and takes the session's position from there."""
        request = pb.GetSessionRequest(session_id=self.id)
        info = await self._calls.unary("GetSession", request, self.id, self._calls.retries(timeout), reads=True)
        if info.state != pb.SESSION_STATE_BUSY:
            self._place.settle(info)
        return conversions.session_info(info)

    async def fork(self, label: str = "", *, timeout: Optional[float] = None) -> AsyncSession:
        """A new session with the state that this one has now; neither sees the other's turns."""
        request = requests.fork(self._place, label)
        info = await self._change("ForkSession", request, timeout, move=False)
        return AsyncSession(self._calls, Place(info.session_id, info.position))

    async def rewind(
        self,
        turns: Optional[int] = None,
        *,
        to_turn: Optional[int] = None,
        allow_replay: bool = False,
        timeout: Optional[float] = None,
    ) -> SessionInfo:
        """Takes back the newest `turns` (default 1), or all after the first `to_turn`.

        `allow_replay`: turns older than the server keeps at hand may be taken back by reading all tokens again.
        """
        request = requests.rewind(self._place, turns, to_turn, allow_replay)
        return conversions.session_info(await self._change("RewindSession", request, timeout))

    async def park(
        self, target: Union[ParkTarget, str, None] = None, *, timeout: Optional[float] = None
    ) -> SessionInfo:
        """Moves it out of its cache slot: "host", "disk", or where there is room. Its next turn brings it back."""
        return conversions.session_info(await self._change("ParkSession", requests.park(self._place, target), timeout))

    async def export(self, file: transfer.File, *, with_history: bool = False, timeout: Optional[float] = None) -> int:
        """Writes the session for AsyncClient.import_session; the number of bytes. A file appears only when it is whole.

        `with_history`: with its token ids, which a server with another cache geometry needs.
        """
        retries = self._calls.retries(timeout)
        await self._calls.settle(self._place, retries)
        request = pb.ExportSessionRequest(session_id=self.id, with_history=with_history)
        with transfer.Target(file) as target:
            async for piece in self._calls.messages("ExportSession", request, self.id, retries, reads=True):
                await asyncio.to_thread(target.write, piece)
            return await asyncio.to_thread(target.finish)

    async def inspect(
        self, layers: Sequence[int] = (), kv_heads: Sequence[int] = (), *, timeout: Optional[float] = None
    ) -> AsyncIterator[HeldTokens]:
        """Which tokens it still holds, per layer and KV head; empty: all of them."""
        retries = self._calls.retries(timeout)
        request = requests.inspect(self.id, layers, kv_heads)
        await self._calls.settle(self._place, retries)
        async for each in self._calls.messages("InspectSession", request, self.id, retries, reads=True):
            yield conversions.held_tokens(each)

    async def delete(self, *, timeout: Optional[float] = None) -> None:
        """A turn that still runs is cancelled first."""
        retries = self._calls.retries(timeout)
        try:
            await self._calls.unary(
                "DeleteSession", pb.DeleteSessionRequest(session_id=self.id), self.id, retries, reads=True
            )
        except NotFound:
            if not retries.used:
                raise  # otherwise the call before has deleted it, and its answer was lost

    async def _change(self, method: str, request: Any, timeout: Optional[float], *, move: bool = True) -> Any:
        """A call that must not meet a turn that this handle left. `move`: the answer is this session as it is then."""
        retries = self._calls.retries(timeout)
        await self._calls.settle(self._place, retries)
        requests.set_position(request, self._place)
        info = await self._calls.unary(method, request, self.id, retries, reads=False)
        if move:
            self._place.settle(info)
        return info
